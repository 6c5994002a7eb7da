"""Towers in static int8 as ONNX QDQ graphs, in ONNX Runtime, against eyelet's own int8 kernels and against fp32.

Usage: onnx_qdq.py --build BUILD [--work DIR] [--only NAME] [--model DIR --pictures DIR]      (pip install onnx onnxruntime numpy pillow)

Tiny checkpoints are made on the spot and calibrated on cuttings of doc/demo.jpg; others judge. Random weights: their features say
little of a trained tower's (doc/QUANTIZATION.md), but rounding is rounding.

Floats summed in another order differ in their last bits; now and then a number then falls on the other side of the border between two
bytes, is off by a whole step, and moves others across theirs: a few layers on, the two sides' rounding noises have little to do with each
other. So of correct graphs, as signal-to-noise ratios:

    first layers                 at least FIRST dB between ONNX Runtime and eyelet: only near ties differ
    features against fp32        within EQUAL dB of eyelet's int8: noises are equally large (of 16 bits: not worse by more, since floats
                                 and whole 16 bits cut nothing off)
    features against int8        at least int8's own - 3 - EQUAL dB: two independent noises add up to 3 dB more than one

EQUAL is what the noise power of a few rows of features is uncertain by: four pictures, 64 rows or fewer, whose channels are not independent.
The same holds of the encodings, played by hand on the float graph. Ends with "N passed, N failed".
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from PIL import Image

from suite import Checks

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden")
IMAGE = os.path.join(HERE, "..", "..", "doc", "demo.jpg")
EQUAL = 2.0
FIRST = 70.0
CASES = [("fastvlm", ["--size", "tiny"]), ("fastvlm-train", ["--format", "apple-train"]), ("fastvlm-odd", ["--size", "odd"]),
         ("small-map", ["--listed", os.path.join(GOLDEN, "compose/small-map")]),
         ("large-pooled", ["--listed", os.path.join(GOLDEN, "compose/large-pooled")]),
         ("minimal-tap", ["--listed", os.path.join(GOLDEN, "compose/minimal-tap")]),
         ("clip", ["--listed", os.path.join(GOLDEN, "llava/clip")]), ("siglip", ["--listed", os.path.join(GOLDEN, "llava/siglip")])]


def snr_db(got, want):
    e = np.sum((got.astype(np.float64) - want) ** 2)
    return float(10 * np.log10(np.sum(want.astype(np.float64) ** 2) / max(e, 1e-300)))


def cuttings(folder, first, n):
    """n pictures: places, sizes and mirrorings of the demo picture."""
    os.makedirs(folder, exist_ok=True)
    img = Image.open(IMAGE).convert("RGB")
    rng = np.random.default_rng(first)
    for i in range(n):
        side = int(min(img.size) * rng.uniform(0.4, 1))
        x, y = (int(rng.uniform(0, s - side + 1)) for s in img.size)
        cut = img.crop((x, y, x + side, y + side))
        if i % 2:
            cut = cut.transpose(Image.FLIP_LEFT_RIGHT)
        cut.save(os.path.join(folder, f"{first + i:03d}.png"))
    return folder


def session(model, optimized=True):
    o = ort.SessionOptions()
    o.intra_op_num_threads = 1
    o.log_severity_level = 3
    if not optimized:
        o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model if isinstance(model, str) else model.SerializeToString(), o, providers=["CPUExecutionProvider"])


def play_encodings(path, encodings):
    """The float graph with every tensor that has an encoding rounded by it: what a converter makes of the two files."""
    m = onnx.load(path)
    with open(encodings) as f:
        e = json.load(f)
    g, known = m.graph, {i.name for i in m.graph.input} | {o for n in m.graph.node for o in n.output}
    weights = {i.name: i for i in g.initializer}
    missing = [k for k in e["activation_encodings"] if k not in known] + [k for k in e["param_encodings"] if k not in weights]
    for name, rows in e["param_encodings"].items():
        w = numpy_helper.to_array(weights[name])
        scale = np.array([r["scale"] for r in rows], np.float64)
        shape = [-1] + [1] * (w.ndim - 1) if w.shape[0] == len(rows) and w.ndim != 2 else [1] * (w.ndim - 1) + [-1]
        q = w / scale.reshape(shape)
        assert np.abs(q - np.rint(q)).max() < 1e-3 and np.abs(q).max() < 128.001, name  # floats on their grid
    nodes = list(g.node)
    out = []
    def rounded(name):
        (r,) = e["activation_encodings"][name]
        top = 2 ** r["bitwidth"] - 1
        for key, v in (("s", r["scale"]), ("lo", r["offset"]), ("hi", top + r["offset"])):
            g.initializer.append(numpy_helper.from_array(np.float32(v), f"{name}.{key}"))
        t = lambda k: f"{name}.{k}"
        return [helper.make_node("Div", [name, t("s")], [t("1")]), helper.make_node("Round", [t("1")], [t("2")]),
                helper.make_node("Max", [t("2"), t("lo")], [t("3")]), helper.make_node("Min", [t("3"), t("hi")], [t("4")]),
                helper.make_node("Mul", [t("4"), t("s")], [t("q")])]
    for i in g.input:
        if i.name in e["activation_encodings"]:
            out += rounded(i.name)
    for n in nodes:
        for k, name in enumerate(n.input):
            if name in e["activation_encodings"]:
                n.input[k] = name + ".q"
        out.append(n)
        for o in n.output:
            if o in e["activation_encodings"]:
                out += rounded(o)
    del g.node[:]
    g.node.extend(out)
    return m, missing, e


class Suite(Checks):
    def export(self, model, name, *args):
        d = os.path.join(self.work, "onnx-" + name)
        (f,) = json.loads(self.eyelet("export", "onnx", model, "-o", d, "--graph", "vision", "--json", "-q", *args))["files"]
        path = os.path.join(d, f["file"])
        try:
            onnx.checker.check_model(path, full_check=True)
        except Exception as e:  # the checker has many kinds
            self.check(False, f"{name}: {' '.join(map(str, args))}: onnx.checker: {e}")
        return path, f, d

    def structure(self, name, path, f):
        """Every int8 product reads a DequantizeLinear on both sides."""
        g = onnx.load(path).graph
        made = {o: n for n in g.node for o in n.output}
        products = [n for n in g.node if n.op_type in ("Conv", "MatMul") and n.input[1] in made and made[n.input[1]].op_type == "DequantizeLinear"]
        bytes_in = [n for n in products if n.input[0] in made and made[n.input[0]].op_type == "DequantizeLinear"]
        self.check(len(products) == len(bytes_in) == f["int8"] > 2, f"{name}: {len(products)} products int8, {len(bytes_in)} of bytes")
        return f["int8"]

    def case(self, name, model, pictures, judges, snr):
        label = name + (f"-{snr}dB" if snr else "")
        file = os.path.join(self.work, label + ".gguf")
        self.eyelet("convert", model, "-o", file, "--vision", "int8", "--calibration", pictures, "-q", *(["--vision-snr", snr] if snr else []))
        want = np.stack([self.probe(file, "projected", "-i", p) for p in judges])
        exact = np.stack([self.probe(model, "projected", "-i", p) for p in judges])
        pixels = [self.probe(file, "pixels", "-i", p)[None] for p in judges]
        path, f, _ = self.export(file, label + "-qdq", "--int8", "qdq")
        n = self.structure(label, path, f)
        if name in ("fastvlm", "clip"):
            self.forms(file, label)
        if name.startswith("fastvlm"):
            self.first(label, file, path, judges, pixels)
        for optimized in (False, True):
            s = session(path, optimized)
            got = np.stack([s.run(None, {"pixel_values": p})[0][0] for p in pixels])
            self.equal(f"{label}: ONNX Runtime {'optimized' if optimized else 'as it is'}", got, want, exact, snr)
        path, f, d = self.export(file, label + "-encodings", "--int8", "encodings")
        m, missing, e = play_encodings(path, os.path.join(d, f["encodings"]))
        wide = sum(r[0]["bitwidth"] == 16 for r in e["activation_encodings"].values())
        self.check(not missing and len(e["param_encodings"]) == f["int8"] >= n and (f["int8"] > n) == (wide > 0),
                   f"{label}: encodings of {len(e['activation_encodings'])} activations ({wide} of 16 bits) and "
                   f"{len(e['param_encodings'])} weights; not in the graph: {missing}")
        got = np.stack([session(m, False).run(None, {"pixel_values": p})[0][0] for p in pixels])
        self.equal(f"{label}: encodings", got, want, exact, wide)

    def forms(self, file, label):
        """The checker alone, over what else changes the graphs' form."""
        for form in ("numbers", "qdq", "encodings"):
            for opset in range(14, 19):
                for pixels in ("nchw", "u8", "u8-flat"):
                    self.export(file, f"{label}-form", "--int8", form, "--opset", opset, "--pixels", pixels)
            for more in (["--no-projector"], ["--target", "qnn"], ["--axes", "static"]):
                self.export(file, f"{label}-form", "--int8", form, *more)

    def first(self, label, file, path, judges, pixels):
        """The stem of FastViTHD: one rounding (of the pixels) in front of the first layer, two in front of the second."""
        m = onnx.load(path)
        names = [[o for n in m.graph.node for o in n.output if o.startswith(tap + "/Mul")][-1] for tap in ("v.stem0", "v.stem1")]
        for name in names:
            m.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        s = session(m, False)
        runs = [s.run(names, {"pixel_values": p}) for p in pixels]
        for k, name in enumerate(names):
            want = np.stack([self.probe(file, "layer:" + name.split("/")[0], "-i", p) for p in judges])
            d = snr_db(np.stack([np.moveaxis(r[k], 1, -1) for r in runs]), want)
            self.check(d >= FIRST, f"{label}: {name.split('/')[0]}: {d:.1f} dB between the two")

    def equal(self, text, got, want, exact, wide):
        cost, own, between = snr_db(want, exact), snr_db(got, exact), snr_db(got, want)
        self.check(own >= cost - EQUAL and (wide or own <= cost + EQUAL) and between >= cost - 3 - EQUAL,
                   f"{text}: {own:.1f} dB from fp32, eyelet's int8 {cost:.1f}; {between:.1f} dB between the two")

    def all(self, only=None, model=None, pictures=None):
        os.makedirs(self.work, exist_ok=True)
        pictures = pictures or cuttings(os.path.join(self.work, "pictures"), 0, 16)
        judges = cuttings(os.path.join(self.work, "judges"), 100, 4)
        judges = [os.path.join(judges, p) for p in sorted(os.listdir(judges))]
        for name, args in [("model", None)] if model else CASES:
            if only and only != name:
                continue
            folder = model or os.path.join(self.work, name)
            if args:
                subprocess.run([os.path.join(self.build, "test/support/make_checkpoint"), *args, "-o", folder], check=True, stdout=subprocess.DEVNULL)
            for snr in (0, 30):
                self.case(name, folder, pictures, judges, snr)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    ap.add_argument("--work")
    ap.add_argument("--only")
    ap.add_argument("--model")
    ap.add_argument("--pictures")
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        suite = Suite(a.build, a.work or tmp)
        suite.all(a.only, a.model, a.pictures)
        print(f"{suite.passed} passed, {suite.failed} failed")
        sys.exit(suite.failed != 0 or suite.passed == 0)


if __name__ == "__main__":
    main()
