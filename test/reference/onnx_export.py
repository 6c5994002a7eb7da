"""Exported ONNX graphs in ONNX Runtime against eyelet itself, for tiny checkpoints of every family.

Usage: onnx_export.py --build BUILD [--work DIR] [--only NAME] [--model DIR]      (pip install onnx onnxruntime numpy pillow)

Each checkpoint is made on the spot and exported in all forms. onnx.checker with full shape inference must pass; the results must equal
`eyelet probe` (fp32: relative RMS 1e-4, fp16: 1e-2); the fixed-KV decoder, step by step or in blocks, must give what one prefill
gives, and greedy decoding by it the tokens of `eyelet run`. --model: a checkpoint of yours in place of the tiny ones, a few forms. Ends with
"N passed, N failed".
"""
import argparse
import glob
import itertools
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

from suite import Checks, rel_rms

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden")
IMAGE = os.path.join(HERE, "..", "..", "doc", "demo.jpg")
PROMPT = "Describe the image."
REL, REL16 = 1e-4, 1e-2
QNN_REFUSED = {"Shape", "Range", "Where", "Expand", "ConstantOfShape", "Trilu", "LessOrEqual", "Scatter", "ScatterND", "GatherND", "GatherElements"}

FORMS = ("fastvlm", "smolvlm", "compose-small-map")  # of each kind of decoder and of eyes one
FASTVLM = [("fastvlm", ["--size", "tiny"]), ("fastvlm-apple-f16", ["--format", "apple", "--dtype", "f16"]),
           ("fastvlm-train", ["--format", "apple-train"]), ("fastvlm-bf16", ["--dtype", "bf16"]), ("fastvlm-odd", ["--size", "odd"])]


class Suite(Checks):
    def check(self, ok, text):
        if not ok:
            print("FAIL " + text, flush=True)
        self.passed += bool(ok)
        self.failed += not ok

    def close(self, got, want, rel, text):
        e = rel_rms(got, want) if got.shape == want.shape else float("inf")
        self.check(e <= rel, f"{text}: relative RMS {e:.2e} <= {rel:.0e}, shapes {got.shape} {want.shape}")
        return e


class Exported:
    """One `eyelet export onnx` call: sessions by file name, each checked first."""
    def __init__(self, suite, model, name, *args):
        self.suite, self.dir, self.name, self.session, self.proto = suite, os.path.join(suite.work, "onnx-" + name), name, {}, {}
        args = [str(a) for a in args]
        self.files = json.loads(suite.eyelet("export", "onnx", model, "-o", self.dir, "--json", "-q", *args))["files"]
        for f in self.files:
            path = os.path.join(self.dir, f["file"])
            try:
                onnx.checker.check_model(path, full_check=True)
            except Exception as e:  # the checker has many kinds
                suite.check(False, f"{name}: {f['file']}: onnx.checker: {e}")
            else:
                suite.check(True, "")
            proto = self.proto[f["file"]] = onnx.load(path, load_external_data=False)
            used = {i for n in proto.graph.node for i in n.input} | {o.name for o in proto.graph.output}
            idle = [i.name for i in list(proto.graph.initializer) + list(proto.graph.input) if i.name not in used]
            suite.check(not idle, f"{name}: {f['file']}: never read: {idle}")
            if "qnn" in args:
                ops = {n.op_type for n in proto.graph.node} & QNN_REFUSED
                suite.check(not ops, f"{name}: {f['file']}: has {ops}")

    def io(self, file):
        g = self.proto[file].graph
        return [i.name for i in g.input], [o.name for o in g.output]

    def __call__(self, file, **feeds):
        if file not in self.session:
            o = ort.SessionOptions()
            o.intra_op_num_threads = 1
            self.session[file] = ort.InferenceSession(os.path.join(self.dir, file), o, providers=["CPUExecutionProvider"])
        s = self.session[file]
        kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
        feeds = {i.name: np.ascontiguousarray(feeds[i.name].astype(kinds[i.type])) for i in s.get_inputs()}
        return dict(zip([o.name for o in s.get_outputs()], s.run(None, feeds)))


class Truth:
    """What eyelet says about one model and prompt."""
    def __init__(self, suite, model):
        self.model = model
        with open(os.path.join(model, "config.json")) as f:
            c = json.load(f)
        self.config = {**c, **c.get("text_config", {}), **(c.get("text") or {})}
        self.sees = any(k in c for k in ("vision_config", "mm_vision_tower", "vision"))
        img = ["-i", IMAGE] if self.sees else []
        text = ["-p", PROMPT]
        if not self.sees:
            text += ["--raw"]
        elif "mm_vision_tower" in c and c["model_type"] == "llava_llama":  # its template wants a token that the tiny vocabulary lacks
            text = ["-p", "<image>\n" + PROMPT, "--raw"]
        p = lambda stage, *a: suite.probe(model, stage, *a)
        if self.sees:
            self.pixels, self.features, self.projected = p("pixels", *img), p("vision", *img), p("projected", *img)
            self.pixels = self.pixels.reshape(-1, 3, *self.pixels.shape[-2:])
        self.embeddings, self.logits = p("embeddings", *img, *text), p("logits", *img, *text)
        self.greedy = json.loads(suite.eyelet("run", "-m", model, *img, *text, "--temp", "0", "-n", "16", "--ignore-eos", "--json"))["tokens"]
        self.ids = np.array([[3, 77, 201, 33, 118]])
        self.ids_rows = p("embeddings", "--tokens", "3 77 201 33 118")

    def rope(self, positions):
        """cos, sin [1,1,n,D/2] of positions [1,n]; None without RoPE."""
        c = self.config
        if "n_embd" in c:
            return None
        theta = (c.get("rope_parameters") or {}).get("rope_theta") or c.get("rope_theta", 10000.0)
        d = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
        a = positions[0][:, None] * theta ** (-np.arange(0, d, 2) / d)
        return np.cos(a)[None, None], np.sin(a)[None, None]


def joined(parts):
    """[n,N,C] of pictures as the rows of a prompt."""
    return parts.reshape(-1, parts.shape[-1])


def vision(suite, t, x, rel):
    got = x("vision_encoder.onnx", pixel_values=t.pixels)["image_features"]
    suite.close(joined(got), t.projected, rel, f"{x.name}: vision")


def towers(suite, t, name):
    """Tower and projector apart; a batch of two gives what each alone does."""
    x = Exported(suite, t.model, name + "-tower", "--graph", "vision", "--graph", "projector", "--no-projector")
    f = x("vision_encoder.onnx", pixel_values=t.pixels)["vision_features"]
    suite.close(joined(f), t.features, REL, f"{name}: tower")
    suite.close(joined(x("projector.onnx", vision_features=f)["image_features"]), t.projected, REL, f"{name}: projector")
    other = t.pixels[:1, :, ::-1]
    both = x("vision_encoder.onnx", pixel_values=np.concatenate([t.pixels[:1], other]))["vision_features"]
    alone = x("vision_encoder.onnx", pixel_values=other)["vision_features"]
    suite.close(both[0], f[0], 1e-5, f"{name}: first of two pictures")
    suite.close(both[1], alone[0], 1e-5, f"{name}: second of two pictures")


def from_bytes(suite, t, name):
    """A picture of the tower's size as bytes: the graph normalises as eyelet does."""
    side = t.pixels.shape[-1]
    rgb = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    path = os.path.join(suite.work, "bytes.ppm")
    with open(path, "wb") as f:
        f.write(b"P6 %d %d 255\n" % (side, side) + rgb.tobytes())
    want = suite.probe(t.model, "projected", "-i", path)
    for form, pixels in (("u8", rgb[None]), ("u8-flat", rgb.reshape(-1, 3))):
        x = Exported(suite, t.model, f"{name}-{form}", "--graph", "vision", "--pixels", form)
        suite.close(x("vision_encoder.onnx", pixel_values=pixels)["image_features"][0], want, REL, f"{x.name}: vision")


def last_logits(suite, t, name, length):
    x = Exported(suite, t.model, name + "-last", "--graph", "all", "--last-logits", "--cache-len", length)
    suite.close(x("decoder.onnx", inputs_embeds=t.embeddings[None])["logits"][0], t.logits[-1:], REL, f"{x.name}: decoder")
    x = Exported(suite, t.model, name + "-last5", "--graph", "decoder-kv", "--last-logits", "--cache-len", length, "--step", "5")
    c = Cache(x, "decoder_kv.onnx", t)
    suite.close(c.run(t.embeddings[:5]), t.logits[4:5], REL, f"{x.name}: decoder-kv")


def gguf(suite, t, name):
    """The same graphs from a .gguf, where rows of q and k may stand in another order and matrices are not turned round."""
    path = os.path.join(suite.work, name + ".gguf")
    suite.eyelet("convert", t.model, "-o", path, "-q")
    x = Exported(suite, path, name + "-gguf", *(["--graph", "vision"] * t.sees), "--graph", "decoder")
    suite.close(x("decoder.onnx", inputs_embeds=t.embeddings[None])["logits"][0], t.logits, REL, f"{x.name}: decoder")
    if t.sees:
        vision(suite, t, x, REL)


def decoders(suite, t, x, rel):
    name = x.name
    emb = t.embeddings[None]
    n = emb.shape[1]
    suite.close(x("decoder.onnx", inputs_embeds=emb)["logits"][0], t.logits, rel, f"{name}: decoder")
    suite.close(x("token_embedder.onnx", input_ids=t.ids)["inputs_embeds"][0], t.ids_rows, max(rel / 10, 1e-7), f"{name}: embedder")
    pos = np.arange(n)[None]
    suite.close(x("decoder_prefill.onnx", inputs_embeds=emb, attention_mask=np.ones((1, n)), position_ids=pos)["logits"][0], t.logits, rel,
                f"{name}: prefill")
    # a batch of two of different length: the shorter one padded behind
    k = n // 2
    two = np.concatenate([emb, emb])
    two[1, k:] = 7
    mask = np.ones((2, n))
    mask[1, k:] = 0
    got = x("decoder_prefill.onnx", inputs_embeds=two, attention_mask=mask, position_ids=np.repeat(pos, 2, 0))["logits"]
    suite.close(got[0], t.logits, rel, f"{name}: prefill, first of two")
    suite.close(got[1, :k], t.logits[:k], rel, f"{name}: prefill, second of two")
    # padded in front: positions begin at its first row
    two[1, n - k:], two[1, :n - k] = emb[0, :k], 7
    mask[1] = np.arange(n) >= n - k
    got = x("decoder_prefill.onnx", inputs_embeds=two, attention_mask=mask, position_ids=np.stack([pos[0], np.maximum(pos[0] - (n - k), 0)]))
    suite.close(got["logits"][1, n - k:], t.logits[:k], rel, f"{name}: prefill, padded in front")


def joint(suite, t, x, rel):
    name = x.name
    f = t.features if t.features.shape[0] == t.projected.shape[0] else None
    if f is None:
        return
    got = x("decoder_with_projection.onnx", vision_features=f[None], input_ids=t.ids)["logits"][0]
    rows = np.concatenate([t.projected, t.ids_rows])[None]
    suite.close(got, x("decoder.onnx", inputs_embeds=rows)["logits"][0], rel, f"{name}: decoder with projection")


class Cache:
    """A fixed-KV decoder's caller: owns the cache, fills it from the front, tells by the mask what lives."""
    def __init__(self, x, file, t):
        self.x, self.file, self.t = x, file, t
        g = x.proto[file].graph
        self.shape = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in g.input}
        self.real = {1: np.float32, 10: np.float16}[g.input[0].type.tensor_type.elem_type]
        self.mask_kind = [i.type.tensor_type.elem_type for i in g.input if i.name == "attention_mask"][0]
        self.outs = [o.name for o in g.output][1:]
        self.ins = [i.name for i in g.input if i.name.startswith("past_")]
        self.n, self.past = self.shape["inputs_embeds"][1], 0
        self.p = self.shape["attention_mask"][-1] - self.n
        self.cache = {n: np.zeros(self.shape[n], self.real) for n in self.ins}

    def key_axis(self, name):
        s = self.shape[name]
        return 2 if s[2] == self.p else 3

    def run(self, rows, seen=1):
        """rows [k, C], k <= n: logits of these rows. What stands behind row k is padding."""
        k, n = len(rows), self.n
        emb = np.zeros((1, n, rows.shape[1]))
        emb[0, :k] = rows
        live = np.zeros((n, self.p + n), bool)
        live[:, :self.past] = True
        for q in range(n):
            live[q, self.p:self.p + q + 1] = True
        live[:, self.p + k:] &= np.eye(n, dtype=bool)[:, k:]
        pos = self.past + np.arange(n)[None]
        feeds = dict(self.cache, inputs_embeds=emb, position_ids=pos)
        if len(self.shape["attention_mask"]) == 2:
            feeds["attention_mask"] = live[k - 1:k]
        elif self.mask_kind in (1, 10):
            feeds["attention_mask"] = np.where(live, 0.0, -1000.0)[None, None]
        else:
            feeds["attention_mask"] = live[None, None] * seen
        if "position_ids_cos" in self.shape:
            feeds["position_ids_cos"], feeds["position_ids_sin"] = self.t.rope(pos)
        out = self.x(self.file, **feeds)
        for a, b in zip(self.ins, self.outs):
            axis = self.key_axis(a)
            cut = [slice(None)] * 4
            to = list(cut)
            cut[axis], to[axis] = slice(0, k), slice(self.past, self.past + k)
            self.cache[a][tuple(to)] = out[b][tuple(cut)]
        self.past += k
        return out["logits"][0, :k]


def kv(suite, t, x, rel, seen=1):
    """The prompt in blocks as large as there are graphs for, then tokens one by one."""
    name, n = x.name, len(t.embeddings)
    files = sorted((f["file"] for f in x.files if f["graph"] == "decoder-kv"), key=lambda f: Cache(x, f, t).n)
    for f in files:
        c, got = Cache(x, f, t), []
        for at in range(0, n, c.n):
            got.append(c.run(t.embeddings[at:at + c.n], seen))
        suite.close(np.concatenate(got), t.logits, rel, f"{name}: {f}: {c.n} rows a call = one prefill")
    return c if len(files) == 1 else None


def greedy(suite, t, x, table):
    """16 tokens by the one-row graph."""
    c = Cache(x, [f["file"] for f in x.files if f["graph"] == "decoder-kv"][0], t)
    logits, tokens = None, []
    for row in t.embeddings:
        logits = c.run(row[None])
    for i in range(16):
        tokens.append(int(np.argmax(logits[-1])))
        if i < 15:
            logits = c.run(table("token_embedder.onnx", input_ids=np.array([[tokens[-1]]]))["inputs_embeds"][0])
    suite.check(tokens == t.greedy, f"{x.name}: 16 greedy tokens {tokens}, eyelet says {t.greedy}")


def window(suite, t, name, length):
    """The cache that slides: what comes out goes in again; slots that hold nothing yet are masked."""
    x = Exported(suite, t.model, name + "-window", "--graph", "decoder-kv", "--kv-out", "window", "--cache-len", length)
    c = Cache(x, "decoder_kv.onnx", t)
    got = []
    for i, row in enumerate(t.embeddings):
        mask = np.zeros((1, length + 1))
        mask[0, length - min(i, length):] = 1
        out = x("decoder_kv.onnx", **c.cache, inputs_embeds=row[None, None], attention_mask=mask, position_ids=np.array([[i]]))
        c.cache = {a: out[b] for a, b in zip(c.ins, c.outs)}
        got.append(out["logits"][0])
    suite.close(np.concatenate(got), t.logits, REL, f"{name}: window")


def model_case(suite, name, model):
    t = Truth(suite, model)
    n = len(t.embeddings)
    length = n + 20
    at = (suite.passed, suite.failed)
    full = Exported(suite, model, name, "--graph", "all", "--cache-len", length)
    decoders(suite, t, full, REL)
    if t.sees:
        vision(suite, t, full, REL)
        towers(suite, t, name)
        joint(suite, t, full, REL)
    kv(suite, t, full, REL)
    greedy(suite, t, full, full)
    for style, more in (("dot", []), ("genie", ["--ids", "int32"]), ("plain", ["--mask", "added", "--external-data"])):
        x = Exported(suite, model, f"{name}-{style}", "--graph", "decoder-kv", "--kv-style", style, "--cache-len", length, *more)
        kv(suite, t, x, REL, seen=-1 if style == "genie" else 1)
    blocks = Exported(suite, model, name + "-blocks", "--graph", "decoder-kv", "--kv-style", "dot", "--cache-len", length, "--step", "1,4,16")
    kv(suite, t, blocks, REL)
    datas = {f.get("data") for f in blocks.files}
    suite.check(len(datas) == 1 and None not in datas, f"{name}: blocks share one weights file: {datas}")
    keys = Exported(suite, model, name + "-keys", "--graph", "decoder-kv", "--cache-len", length, "--step", "3")
    kv(suite, t, keys, REL)
    if t.rope(np.zeros((1, 1))):
        x = Exported(suite, model, name + "-rope", "--graph", "decoder-kv", "--kv-style", "genie", "--cache-len", length, "--rope-inputs", "--step", "1,8")
        kv(suite, t, x, REL)
    window(suite, t, name, length)
    last_logits(suite, t, name, length)
    gguf(suite, t, name)
    if t.sees and len(t.pixels) == 1 and "scale_factor" not in t.config:  # SmolVLM scales every picture
        from_bytes(suite, t, name)
    npu(suite, t, name, n, length)
    if name in FORMS:
        forms(suite, t, name, length)
    for opset in (14, 15, 16, 18):
        graphs = ["--graph", "vision"] * t.sees + ["--graph", "decoder"]
        x = Exported(suite, model, f"{name}-opset{opset}", *graphs, "--opset", opset)
        if t.sees:
            vision(suite, t, x, REL)
        suite.close(x("decoder.onnx", inputs_embeds=t.embeddings[None])["logits"][0], t.logits, REL, f"{x.name}: decoder")
    half = Exported(suite, model, name + "-fp16", "--graph", "all", "--precision", "fp16", "--cache-len", length)
    decoders(suite, t, half, REL16)
    if t.sees:
        vision(suite, t, half, REL16)
        joint(suite, t, half, REL16)
    kv(suite, t, half, REL16)
    print(f"{name}: {suite.passed - at[0]} passed, {suite.failed - at[1]} failed", flush=True)


def npu(suite, t, name, n, length):
    """Static graphs without ops that QNN refuses, in both precisions."""
    for precision, rel in (("fp32", REL), ("fp16", REL16)):
        x = Exported(suite, t.model, f"{name}-qnn-{precision}", "--graph", "all", "--target", "qnn", "--kv-style", "genie", "--cache-len", length,
                     "--seq-len", n, "--precision", precision, "--step", "1,4")
        emb, pos = t.embeddings[None], np.arange(n)[None]
        suite.close(x("decoder.onnx", inputs_embeds=emb)["logits"][0], t.logits, rel, f"{x.name}: decoder")
        got = x("decoder_prefill.onnx", inputs_embeds=emb, attention_mask=np.ones((1, n)), position_ids=pos)["logits"][0]
        suite.close(got, t.logits, rel, f"{x.name}: prefill")
        kv(suite, t, x, rel)
        if t.sees and len(t.pixels) == 1:
            vision(suite, t, x, rel)


def forms(suite, t, name, length):
    """The checker alone, over options that change a graph's form: what is computed is the other cases' matter."""
    common = ["--cache-len", length, "--seq-len", 16]
    for opset in range(14, 19):
        for precision in ("fp32", "fp16"):
            for target, axes in (("plain", "static"), ("plain", "dynamic"), ("qnn", "static")):
                Exported(suite, t.model, f"{name}-form", "--graph", "all", "--opset", opset, "--precision", precision, "--target", target,
                         "--axes", axes, *(["--last-logits"] if opset == 15 else []), *common)
    turning = [[], ["--rope-inputs"]] if t.rope(np.zeros((1, 1))) else [[]]
    kv_forms = itertools.product(("plain", "dot", "genie"), ("new", "window"), ("keys", "full", "added"), ("int64", "int32"), turning)
    for i, (style, out, mask, ids, turn) in enumerate(kv_forms):
        Exported(suite, t.model, f"{name}-form", "--graph", "decoder-kv", "--graph", "embedder", "--kv-style", style, "--kv-out", out, "--mask", mask,
                 "--ids", ids, *turn, "--step", "1,4", "--precision", ("fp32", "fp16")[i % 2], "--target", ("plain", "qnn")[i // 2 % 2], *common)
    if not t.sees or len(t.pixels) > 1 or "scale_factor" in t.config:
        return
    for pixels, precision, target, tower in itertools.product(("u8", "u8-flat"), ("fp32", "fp16"), ("plain", "qnn"), ([], ["--no-projector"])):
        Exported(suite, t.model, f"{name}-form", "--graph", "vision", "--pixels", pixels, "--precision", precision, "--target", target, *tower)


def real_case(suite, model):
    """A whole checkpoint: its size forbids all forms. 24 layers of rounding get 1e-3, as in reference.py."""
    t = Truth(suite, model)
    n = len(t.embeddings)
    for precision, rel in (("fp32", 1e-3), ("fp16", REL16)):
        x = Exported(suite, model, "model-" + precision, "--graph", "vision", "--graph", "embedder", "--graph", "decoder-kv", "--precision", precision,
                     "--cache-len", n + 84, "--step", "1,64")
        if t.sees:
            vision(suite, t, x, rel)
        block, one = Cache(x, "decoder_kv_ar64.onnx", t), Cache(x, "decoder_kv_ar1.onnx", t)
        got = np.concatenate([block.run(t.embeddings[at:at + 64]) for at in range(0, n, 64)])
        suite.close(got, t.logits, rel, f"{x.name}: 64 rows a call = one prefill")
        for name, shape in one.shape.items():  # the caller moves what is live to the other graph's slots
            if name in one.cache:
                axis = one.key_axis(name)
                cut = [slice(None)] * 4
                cut[axis] = slice(0, n)
                one.cache[name][tuple(cut)] = block.cache[name][tuple(cut)]
        one.past, logits, tokens = n, got, []
        for i in range(16):
            tokens.append(int(np.argmax(logits[-1])))
            logits = one.run(x("token_embedder.onnx", input_ids=np.array([[tokens[-1]]]))["inputs_embeds"][0])
        same = next((i for i in range(16) if tokens[i] != t.greedy[i]), 16)
        suite.check(same == 16 or precision == "fp16", f"{x.name}: greedy tokens {tokens}, eyelet says {t.greedy}")
        print(f"{x.name}: greedy tokens equal: {same} of 16", flush=True)


class OnnxSuite(Suite):
    def all(self, only=None):
        for name, args in FASTVLM + [(os.path.basename(os.path.dirname(d)) + "-" + os.path.basename(d), ["--listed", d]) for d in
                                     sorted(os.path.dirname(f) for f in glob.glob(os.path.join(GOLDEN, "*", "*", "tensors.txt")))]:
            if only and only != name:
                continue
            model = os.path.join(self.work, name)
            subprocess.run([os.path.join(self.build, "test/support/make_checkpoint"), *args, "-o", model], check=True, stdout=subprocess.DEVNULL)
            model_case(self, name, model)
        if not only or only == "smolvlm":
            model_case(self, "smolvlm", os.path.join(GOLDEN, "smolvlm"))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    ap.add_argument("--work")
    ap.add_argument("--only")
    ap.add_argument("--model")
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        suite = OnnxSuite(a.build, a.work or tmp)
        os.makedirs(suite.work, exist_ok=True)
        if a.model:
            real_case(suite, a.model)
        else:
            suite.all(a.only)
        print(f"{suite.passed} passed, {suite.failed} failed")
        sys.exit(suite.failed != 0 or suite.passed == 0)


if __name__ == "__main__":
    main()
