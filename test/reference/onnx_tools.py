"""`eyelet onnx patch` against ONNX Runtime: a graph with fused nodes and the patched one give the same numbers.

Usage: onnx_tools.py --eyelet BUILD/eyelet [--work DIR] [--only TEXT]      needs onnx and onnxruntime

Each case builds a small graph with com.microsoft's fused operators, runs it in ONNX Runtime, patches it, has onnx.checker look at
the result (with full shape inference), runs that too and compares; and sees that the linter finds nothing fused any more. Prints
one line per case and ends with "N passed, N failed".
"""
import argparse
import itertools
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

MS = "com.microsoft"
F32, F16, I32, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64
NP = {F32: np.float32, F16: np.float16, I32: np.int32, I64: np.int64}
# Both sides compute the same sums in f32 (some 1e-6 apart); in f16 results are rounded at other places, 2^-11 each.
TOLERANCE = {F32: 2e-5, F16: 1e-2}


class Suite:
    def __init__(self, eyelet, work, only=""):
        self.eyelet, self.work, self.only, self.passed, self.failed = eyelet, work, only, 0, 0

    def check(self, ok, text):
        print(("ok   " if ok else "FAIL ") + text, flush=True)
        self.passed += bool(ok)
        self.failed += not ok

    def tool(self, *args):
        r = subprocess.run([self.eyelet, "onnx", *args], capture_output=True, text=True)
        return r.returncode, r.stdout, r.stderr

    def patch(self, model, name, *args):
        """The patched model's path, or None and why."""
        a, b = os.path.join(self.work, "in.onnx"), os.path.join(self.work, "out.onnx")
        onnx.save(model, a)
        if os.path.exists(b):
            os.remove(b)
        code, _, err = self.tool("patch", a, b, "-q", *args)
        return (b, "") if code == 0 else (None, err.strip())


def run(model, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # no fusing again
    s = ort.InferenceSession(model if isinstance(model, str) else model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = {i.name for i in s.get_inputs()}
    return dict(zip([o.name for o in s.get_outputs()], s.run(None, {k: v for k, v in feeds.items() if k in names})))


def rel(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.sqrt(np.mean((a - b) ** 2)) / max(np.sqrt(np.mean(b ** 2)), 1e-30)) if a.size else 0.0


def compare(suite, name, model, feeds, dtype, args=(), new_feeds=None, expect=None, fused=()):
    """expect: outputs the patched graph should give, if not the original's."""
    if suite.only and suite.only not in name:
        return
    want = expect or run(model, feeds)
    path, why = suite.patch(model, name, *args)
    if not path:
        return suite.check(False, f"{name}: {why}")
    try:
        onnx.checker.check_model(path, full_check=True)
        got = run(path, {**feeds, **(new_feeds or {})})
    except Exception as e:  # what the checker or the runtime says is the failure
        return suite.check(False, f"{name}: {str(e).splitlines()[0][:300]}")
    worst = 0.0
    for k, v in want.items():
        if got[k].shape != v.shape or got[k].dtype != v.dtype:
            return suite.check(False, f"{name}: {k} is {got[k].dtype}{got[k].shape}, expected {v.dtype}{v.shape}")
        worst = max(worst, rel(got[k], v)) if np.isfinite(v.astype(np.float64)).all() else float("inf")
    code, out, _ = suite.tool("lint", path, "--target", "plain")
    left = {n.op_type for n in onnx.load(path).graph.node if n.domain} - set(fused)
    suite.check(worst <= TOLERANCE[dtype] and not left and (code == 0 or fused),
                f"{name}: {worst:.1e}" + (f", left: {left} {out}" if left or (code and not fused) else ""))


def model(nodes, ins, outs, inits=(), infos=(), opset=17):
    g = helper.make_graph(list(nodes), "t", [helper.make_tensor_value_info(n, t, s) for n, t, s in ins],
                          [helper.make_tensor_value_info(n, t, s) for n, t, s in outs],
                          [numpy_helper.from_array(v, n) for n, v in inits],
                          value_info=[helper.make_tensor_value_info(n, t, s) for n, t, s in infos])
    return helper.make_model(g, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)], ir_version=8)


rng = np.random.default_rng(7)


def rand(shape, dtype, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(NP[dtype])


# ---- norms ----
def norms(suite):
    for dtype, opset, eps in itertools.product((F32, F16), (14, 17, 18), (1e-6, 0.25, None)):
        attrs = {} if eps is None else {"epsilon": eps}
        x = rand((2, 3, 64), dtype, 400 if dtype == F16 else 1)  # squares that f16 cannot hold
        m = model([helper.make_node("SimplifiedLayerNormalization", ["x", "g"], ["y"], axis=-1, **attrs)], [("x", dtype, ["b", "s", 64])],
                  [("y", dtype, ["b", "s", 64])], [("g", rand(64, dtype))], opset=opset)
        compare(suite, f"norm {NP[dtype].__name__} opset {opset} eps {eps}", m, {"x": x}, dtype)
    x, g = rand((2, 3, 64), F16), rand(64, F16)
    m = model([helper.make_node("SimplifiedLayerNormalization", ["x", "g"], ["y"], epsilon=1e-2)], [("x", F16, [2, 3, 64])],
              [("y", F16, [2, 3, 64])], [("g", g)])
    compare(suite, "norm float16 as stored", m, {"x": x}, F16, ["--norms-as-stored"])
    for axis in (1, 2, -2):
        shape = (3, 64)[{1: 0, 2: 1, -2: 0}[axis]:]
        m = model([helper.make_node("SimplifiedLayerNormalization", ["x", "g"], ["y"], axis=axis, epsilon=1e-5)], [("x", F32, [2, 3, 64])],
                  [("y", F32, [2, 3, 64])], [("g", rand(shape, F32))])
        compare(suite, f"norm axis {axis}", m, {"x": rand((2, 3, 64), F32)}, F32)
    for dtype, bias, outs in itertools.product((F32, F16), (False, True), (1, 4)):
        names = ["y", "", "", "sum"][:outs]
        ins = ["x", "skip", "g"] + (["bias"] if bias else [])
        m = model([helper.make_node("SkipSimplifiedLayerNormalization", ins, names, domain=MS, epsilon=1e-6)],
                  [("x", dtype, ["b", "s", 64]), ("skip", dtype, ["b", "s", 64])],
                  [("y", dtype, ["b", "s", 64])] + ([("sum", dtype, ["b", "s", 64])] if outs == 4 else []),
                  [("g", rand(64, dtype))] + ([("bias", rand(64, dtype))] if bias else []))
        compare(suite, f"skip norm {NP[dtype].__name__} bias {bias} outputs {outs}", m,
                {"x": rand((2, 3, 64), dtype), "skip": rand((2, 3, 64), dtype)}, dtype)


# ---- rotation ----
def tables(positions, half, dtype):
    angle = np.arange(positions)[:, None] / 10000.0 ** (np.arange(half)[None] / half)
    return np.cos(angle).astype(NP[dtype]), np.sin(angle).astype(NP[dtype])


def rotations(suite):
    b, s, h, d = 2, 5, 4, 16
    for dtype, inter, form, dynamic, one in itertools.product((F32, F16), (0, 1), ("flat", "heads", "partial"), (False, True), (False, True)):
        half = d // 4 if form == "partial" else d // 2
        cos, sin = tables(40, half, dtype)
        shape = [b, s, h * d] if form != "heads" else [b, h, s, d]
        said = (["b", "s", h * d] if form != "heads" else ["b", h, "s", d]) if dynamic else shape
        attrs = {"interleaved": inter}
        if form == "partial":
            attrs.update(num_heads=h, rotary_embedding_dim=2 * half)
        ids = np.array([7], np.int64) if one else rng.integers(0, 40, (b, s))
        m = model([helper.make_node("RotaryEmbedding", ["x", "ids", "cos", "sin"], ["y"], domain=MS, **attrs)],
                  [("x", dtype, said), ("ids", I64, [1] if one else (["b", "s"] if dynamic else [b, s]))], [("y", dtype, said)],
                  [("cos", cos), ("sin", sin)])
        name = f"rope {NP[dtype].__name__} {form} interleaved {inter} {'dynamic' if dynamic else 'static'} {'first' if one else 'all'}"
        feeds = {"x": rand(shape, dtype), "ids": ids}
        compare(suite, name, m, feeds, dtype)
        if not one:
            feeds["ids"][:] = feeds["ids"][:1]  # inputs are of one sequence
            compare(suite, name + ", inputs", m, feeds, dtype, ["--rope-inputs"],
                    {"position_ids_cos": cos[feeds["ids"][0]][None, None], "position_ids_sin": sin[feeds["ids"][0]][None, None]})


def angles(suite):
    """Graphs that compute their angles: Sin and Cos give way to inputs."""
    half, s = 8, 3
    inv = (1 / 10000.0 ** (np.arange(half) / half)).astype(np.float32)
    for twice in (True, False):
        nodes = [helper.make_node("Cast", ["position_ids"], ["p"], to=F32), helper.make_node("Unsqueeze", ["p", "two"], ["q"]),
                 helper.make_node("Mul", ["q", "inv"], ["f"])]
        if twice:
            nodes.append(helper.make_node("Concat", ["f", "f"], ["a"], axis=-1))
        src, width = ("a", 2 * half) if twice else ("f", half)
        nodes += [helper.make_node("Cos", [src], ["c"]), helper.make_node("Sin", [src], ["n"]), helper.make_node("Mul", ["x", "c"], ["xc"]),
                  helper.make_node("Sub", ["xc", "n"], ["y"])]
        m = model(nodes, [("x", F32, [1, s, width]), ("position_ids", I64, [1, s])], [("y", F32, [1, s, width])],
                  [("inv", inv), ("two", np.array([2]))], [(src, F32, [1, s, width])])
        ids = np.array([[4, 9, 2]])
        cos, sin = np.cos(ids[0][:, None] * inv)[None, None], np.sin(ids[0][:, None] * inv)[None, None]
        compare(suite, f"angles, doubled {twice}", m, {"x": rand((1, s, width), F32), "position_ids": ids}, F32, ["--rope-inputs"],
                {"position_ids_cos": cos.astype(np.float32), "position_ids_sin": sin.astype(np.float32)})


# ---- attention ----
def gqa(dtype, b, s, past, h=4, hkv=2, d=16, packed=False, rotary=False, dynamic=False, lengths=None, form="model", bias=False,
        norms=False, ids=False, **attrs):
    """A model and its feeds. lengths: positions held after the call, of each sequence."""
    half = d // 2
    lengths = lengths or [past + s] * b
    cos, sin = tables(64, half, dtype)
    B, S, P, T = ("b", "s", "p", "t") if dynamic else (b, s, past, past + s)
    ins = [("q", dtype, [B, S, (h + 2 * hkv if packed else h) * d])]
    feeds = {"q": rand((b, s, (h + 2 * hkv if packed else h) * d), dtype)}
    names = ["q", "", ""] if packed else ["q", "k", "v"]
    if not packed:
        for n in "kv":
            ins.append((n, dtype, [B, S, hkv * d]))
            feeds[n] = rand((b, s, hkv * d), dtype)
    if past or dynamic:
        for n in ("past_key", "past_value"):
            ins.append((n, dtype, [B, hkv, P, d]))
            feeds[n] = rand((b, hkv, past, d), dtype)
        names += ["past_key", "past_value"]
    else:
        names += ["", ""]
    ins += [("seqlens", I32, [B]), ("total", I32, [])]
    feeds["seqlens"] = np.array([n - 1 for n in lengths], np.int32)
    feeds["total"] = np.array(max(lengths), np.int32)
    names += ["seqlens", "total"]
    inits = []
    if rotary:
        names += ["cos", "sin"]
        inits += [("cos", cos), ("sin", sin)]
    rest = {9: "ids" if ids else "", 10: "bias" if bias else "", 14: "qn" if norms else "", 15: "kn" if norms else ""}
    if ids:
        ins.append(("ids", I64, [B, S]))
        feeds["ids"] = np.stack([np.arange(n - s, n) for n in lengths])
    if bias:
        ins.append(("bias", dtype, [1, 1, S, T]))
        feeds["bias"] = rand((1, 1, s, past + s), dtype)
    if norms:
        inits += [("qn", rand(d, dtype)), ("kn", rand(d, dtype))]
    last = max([i for i, n in rest.items() if n], default=0)
    names += [""] * (9 - len(names)) if last else []
    names += [rest.get(i, "") for i in range(9, last + 1)]
    node = helper.make_node("GroupQueryAttention", names, ["y", "present_key", "present_value"], domain=MS, num_heads=h, kv_num_heads=hkv,
                            do_rotary=int(rotary), **attrs)
    outs = [("y", dtype, [B, S, h * d])] + [(n, dtype, [B, hkv, T, d]) for n in ("present_key", "present_value")]
    return model([node], ins, outs, inits), feeds, (cos, sin)


def attentions(suite):
    for dtype, packed, rotary, dynamic in itertools.product((F32, F16), (False, True), (False, True), (False, True)):
        kind = f"{NP[dtype].__name__}{' packed' if packed else ''}{' rotary' if rotary else ''}{' dynamic' if dynamic else ''}"
        for what, b, s, past in (("prompt", 2, 5, 0), ("step", 2, 1, 6), ("chunk", 1, 3, 6)):
            m, feeds, _ = gqa(dtype, b, s, past, packed=packed, rotary=rotary, dynamic=dynamic)
            compare(suite, f"attention {what} {kind}", m, feeds, dtype)
    for h, hkv in ((4, 4), (6, 1), (14, 2)):
        m, feeds, _ = gqa(F32, 1, 3, 4, h=h, hkv=hkv, rotary=True)
        compare(suite, f"attention {h} heads over {hkv}", m, feeds, F32)
    for text, attrs in (("interleaved", {"rotary_interleaved": 1, "rotary": True}), ("scale", {"scale": 0.5}), ("softcap", {"softcap": 2.0}),
                        ("window 2", {"local_window_size": 2}), ("window 4", {"local_window_size": 4}), ("bias", {"bias": True}),
                        ("positions", {"ids": True, "rotary": True})):
        for s, past in ((6, 0), (1, 6)):
            m, feeds, _ = gqa(F32, 1, s, past, **attrs)
            compare(suite, f"attention {text}, {s} after {past}", m, feeds, F32)
    # Normed heads: the runtime has them on other devices only; here the norms stand before the node.
    m, feeds, _ = gqa(F32, 1, 6, 0, norms=True, rotary=True, qk_norm_epsilon=0.1)
    plain = onnx.ModelProto()
    plain.CopyFrom(m)
    node = plain.graph.node.pop()
    del node.input[9:]
    node.attribute.remove(next(a for a in node.attribute if a.name == "qk_norm_epsilon"))
    for i, (name, heads) in enumerate((("q", 4), ("k", 2))):
        plain.graph.initializer.extend([numpy_helper.from_array(np.array([0, 0, heads, 16]), name + "4"), numpy_helper.from_array(np.array([0, 0, -1]), name + "3")])
        plain.graph.node.extend([helper.make_node("Reshape", [name, name + "4"], [name + "_a"]),
                                 helper.make_node("SimplifiedLayerNormalization", [name + "_a", name + "n"], [name + "_b"], epsilon=0.1),
                                 helper.make_node("Reshape", [name + "_b", name + "3"], [name + "_c"])])
        node.input[i] = name + "_c"
    plain.graph.node.append(node)
    compare(suite, "attention normed", m, feeds, F32, expect=run(plain, feeds))
    # Prompts of several lengths, padded on the right: rows behind a prompt's end mean nothing, so only the others are compared.
    m, feeds, _ = gqa(F32, 2, 5, 0, rotary=True, lengths=[5, 3])
    want = run(m, feeds)
    path, why = suite.patch(m, "padded")
    got = run(path, feeds) if path else None
    suite.check(path and max(rel(got["y"][0], want["y"][0]), rel(got["y"][1, :3], want["y"][1, :3])) < 2e-5, f"attention padded prompts {why}")
    m, feeds, _ = gqa(F32, 1, 2, 3, dynamic=True)
    want = run(m, feeds)
    compare(suite, "attention, keys turned and joined", m, {**feeds, "past_key": feeds["past_key"].swapaxes(2, 3)}, F32, ["--turned-keys"],
            expect={**want, "present_key": want["present_key"].swapaxes(2, 3)})
    caches(suite)


def caches(suite):
    """A caller's own cache: P positions of which some are held, new keys out, mask and angles in."""
    s, past, held, h, hkv, d = 2, 8, 5, 4, 2, 16
    for dtype, form in itertools.product((F32, F16), ("i64", "i32", "added", "lengths")):
        m, feeds, (cos, sin) = gqa(dtype, 1, s, past, h=h, hkv=hkv, d=d, rotary=True, lengths=[held + s])
        short, small, _ = gqa(dtype, 1, s, held, h=h, hkv=hkv, d=d, rotary=True)
        small.update({k: feeds[k] for k in "qkv"})
        for n in ("past_key", "past_value"):
            small[n] = feeds[n][:, :, :held]
        short.graph.initializer[0].CopyFrom(m.graph.initializer[0])
        short.graph.initializer[1].CopyFrom(m.graph.initializer[1])
        want = run(short, small)
        expect = {"y": want["y"], **{n: want[n][:, :, held:] for n in ("present_key", "present_value")}}
        seen = np.zeros((1, 1, s, past + s), bool)
        seen[..., :held] = True
        for i in range(s):
            seen[0, 0, i, past:past + i + 1] = True
        masks = {"i64": np.where(seen, -1, 0).astype(np.int64), "i32": seen.astype(np.int32),
                 "added": np.where(seen, 0, -1000).astype(NP[dtype]), "lengths": None}
        at = np.arange(held, held + s)
        extra = {"position_ids_cos": cos[at][None, None], "position_ids_sin": sin[at][None, None]}
        if masks[form] is not None:
            extra["attention_mask"] = masks[form]
        compare(suite, f"cache {NP[dtype].__name__} mask {form}", m, feeds, dtype, ["--present", "new", "--rope-inputs", "--mask", form], extra, expect)
        turned = {**feeds, "past_key": feeds["past_key"].swapaxes(2, 3)}
        compare(suite, f"cache {NP[dtype].__name__} mask {form}, keys turned", m, turned, dtype,
                ["--present", "new", "--rope-inputs", "--mask", form, "--turned-keys"], extra,
                {**expect, "present_key": expect["present_key"].swapaxes(2, 3)})
        if form != "lengths":
            code, out, _ = suite.tool("lint", os.path.join(suite.work, "out.onnx"), "--target", "qnn")
            suite.check(code == 0, f"cache {NP[dtype].__name__} mask {form}: lint qnn {out.strip()}")


def masks(suite):
    """An integer mask that is an input already: its type, and any number but 0."""
    m = model([helper.make_node("Cast", ["attention_mask"], ["f"], to=F32), helper.make_node("Sub", ["one", "f"], ["g"]),
               helper.make_node("Mul", ["g", "big"], ["y"])], [("attention_mask", I64, [1, 4])], [("y", F32, [1, 4])],
              [("one", np.float32(1)), ("big", np.float32(-100))])
    want = run(m, {"attention_mask": np.array([[1, 0, 1, 1]])})
    compare(suite, "mask i32, -1 counts", m, {}, F32, ["--mask-type", "i32", "--mask-nonzero"],
            {"attention_mask": np.array([[-1, 0, 1, -1]], np.int32)}, want)
    compare(suite, "mask i32", m, {}, F32, ["--mask-type", "i32"], {"attention_mask": np.array([[1, 0, 1, 1]], np.int32)}, want)


def decoder(suite):
    """A small decoder as exporters for ONNX Runtime write it: everything fused, lengths from the mask, shapes symbolic."""
    h, hkv, d, layers, vocab, width = 4, 2, 16, 2, 32, 64
    for dtype in (F32, F16):
        cos, sin = tables(64, d // 2, dtype)
        inits = [("table", rand((vocab, width), dtype)), ("cos", cos), ("sin", sin), ("one", np.array(1)), ("axis", np.array([1])),
                 ("head", rand((width, vocab), dtype, 0.1)), ("final", rand(width, dtype)), ("zero", np.array(1))]
        nodes = [helper.make_node("Gather", ["table", "input_ids"], ["x0"]),
                 helper.make_node("ReduceSum", ["attention_mask", "axis"], ["sum"], keepdims=0), helper.make_node("Sub", ["sum", "one"], ["sub"]),
                 helper.make_node("Cast", ["sub"], ["seqlens"], to=I32), helper.make_node("Shape", ["attention_mask"], ["shape"]),
                 helper.make_node("Gather", ["shape", "zero"], ["long"]), helper.make_node("Cast", ["long"], ["total"], to=I32)]
        ins = [("input_ids", I64, ["batch_size", "sequence_length"]), ("attention_mask", I64, ["batch_size", "total_sequence_length"])]
        outs = [("logits", dtype, ["batch_size", "sequence_length", vocab])]
        x, skip = "x0", None
        for i in range(layers):
            if skip is None:
                nodes.append(helper.make_node("SimplifiedLayerNormalization", [x, f"g{i}"], [f"n{i}"], epsilon=1e-6))
            else:
                nodes.append(helper.make_node("SkipSimplifiedLayerNormalization", [x, skip, f"g{i}"], [f"n{i}", "", "", f"s{i}"], domain=MS, epsilon=1e-6))
                x = f"s{i}"
            inits += [(f"g{i}", rand(width, dtype)), (f"qkv{i}", rand((width, (h + 2 * hkv) * d), dtype, 0.1)), (f"o{i}", rand((h * d, width), dtype, 0.1))]
            nodes += [helper.make_node("MatMul", [f"n{i}", f"qkv{i}"], [f"q{i}"]),
                      helper.make_node("GroupQueryAttention", [f"q{i}", "", "", f"past_key_values.{i}.key", f"past_key_values.{i}.value", "seqlens",
                                                               "total", "cos", "sin"], [f"a{i}", f"present.{i}.key", f"present.{i}.value"],
                                       domain=MS, num_heads=h, kv_num_heads=hkv, do_rotary=1),
                      helper.make_node("MatMul", [f"a{i}", f"o{i}"], [f"d{i}"])]
            skip = f"d{i}"
            for kv in ("key", "value"):
                ins.append((f"past_key_values.{i}.{kv}", dtype, ["batch_size", hkv, "past_sequence_length", d]))
                outs.append((f"present.{i}.{kv}", dtype, ["batch_size", hkv, "total_sequence_length", d]))
        nodes += [helper.make_node("SkipSimplifiedLayerNormalization", [x, skip, "final"], ["last"], domain=MS, epsilon=1e-6),
                  helper.make_node("MatMul", ["last", "head"], ["logits"])]
        m = model(nodes, ins, outs, inits)
        for s, past in ((5, 0), (1, 5)):
            feeds = {"input_ids": rng.integers(0, vocab, (1, s)), "attention_mask": np.ones((1, past + s), np.int64)}
            feeds.update({f"past_key_values.{i}.{kv}": rand((1, hkv, past, d), dtype) for i in range(layers) for kv in ("key", "value")})
            compare(suite, f"decoder {NP[dtype].__name__}, {s} after {past}", m, feeds, dtype)
        extra = {"attention_mask": np.ones((1, 1, 1, 6), np.int32), "position_ids_cos": cos[5:6][None, None], "position_ids_sin": sin[5:6][None, None]}
        want = run(m, feeds)
        expect = {k: (v if k == "logits" else v[:, :, 5:]) for k, v in want.items()}
        compare(suite, f"decoder {NP[dtype].__name__}, cache of its own", m, {k: v for k, v in feeds.items() if k != "attention_mask"}, dtype,
                ["--present", "new", "--rope-inputs", "--mask", "i32"], extra, expect)
        fixed = ["--present", "new", "--rope-inputs", "--mask", "i32"]
        for text in ("batch_size=1", "sequence_length=1", "past_sequence_length=5", "total_sequence_length=6"):
            fixed += ["--size", text]
        compare(suite, f"decoder {NP[dtype].__name__}, all sizes fixed", m, {k: v for k, v in feeds.items() if k != "attention_mask"}, dtype,
                fixed, extra, expect)
        both, renamed = os.path.join(suite.work, "in.onnx"), os.path.join(suite.work, "renamed.onnx")
        suite.tool("patch", both, renamed, "-q", "--turned-keys", *fixed)
        suite.tool("rename", renamed, renamed, "-q", "input_ids=inputs_embeds")
        suite.tool("rename", renamed, renamed, "-q", "--to", "genie", "--layers", str(layers))
        code, out, _ = suite.tool("check", renamed, "--signature", "decoder-kv", "--kv-style", "genie", "--cache-len", "5")
        wrong = [line for line in out.splitlines() if line.startswith("  - ")]
        suite.check(code == 1 and len(wrong) == 1 and "inputs_embeds" in wrong[0], f"decoder {NP[dtype].__name__}, for Genie but for its ids: {wrong}")
        code, out, _ = suite.tool("lint", os.path.join(suite.work, "out.onnx"), "--target", "qnn")
        suite.check(code == 0, f"decoder {NP[dtype].__name__}, all sizes fixed: lint qnn {out.strip()}")


def refusals(suite):
    m, _, _ = gqa(F32, 1, 1, 6, smooth_softmax=1)
    _, why = suite.patch(m, "smooth")
    suite.check("smooth_softmax is not taken apart" in why, f"refused: {why}")
    m, _, _ = gqa(F32, 1, 1, 6)
    for o in m.graph.output[1:]:
        o.type.tensor_type.shape.dim[2].dim_value = 6
    _, why = suite.patch(m, "shared")
    suite.check("past and present are one buffer" in why, f"refused: {why}")
    m = model([helper.make_node("Neg", ["x"], ["y"])], [("x", F32, [1])], [("y", F32, [1])])
    _, why = suite.patch(m, "nothing")
    suite.check("nothing to patch" in why, f"refused: {why}")
    cos, sin = tables(9, 8, F32)
    m = model([helper.make_node("RotaryEmbedding", ["x", "ids", "cos", "sin"], ["y"], domain=MS, scale=2.0)],
              [("x", F32, [1, 2, 64]), ("ids", I64, [1, 2])], [("y", F32, [1, 2, 64])], [("cos", cos), ("sin", sin)])
    _, why = suite.patch(m, "scale")
    suite.check("scale 2: expected 1" in why, f"refused: {why}")


def all_parts(suite):
    for part in (norms, rotations, angles, attentions, masks, decoder, refusals):
        part(suite)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--eyelet", required=True)
    a.add_argument("--work")
    a.add_argument("--only", default="")
    a = a.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        suite = Suite(os.path.abspath(a.eyelet), a.work or tmp, a.only)
        all_parts(suite)
        print(f"{suite.passed} passed, {suite.failed} failed")
        sys.exit(1 if suite.failed or not suite.passed else 0)


if __name__ == "__main__":
    main()
