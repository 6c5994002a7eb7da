"""eyelet and ONNX Runtime in turns on the same networks; ONNX Runtime's are `eyelet export onnx` of the models that eyelet
runs.

Usage: peer_onnxruntime.py --build BUILD [--model FOLDER] [--small FOLDER] --pictures DIR [--runs 5] [--threads 2] [--fifo P]
           [--json FILE]
           [--keep DIR] [--only NAME]
Models as for peer_openvino.py. Groups:
  tower     FastViTHD: f32; int8 against eyelet's int8 network as QDQ
  mobile    MobileNetV3-Large: f32; int8 against eyelet's QDQ and against ONNX Runtime's own static quantization (per channel)
  caption   picture in, 16 tokens out with cached keys: its own int8 tower, text by its dynamic int8
Needs onnxruntime, onnx, numpy.
"""

import os

import numpy as np
import onnxruntime as ort
from harness import Contest, stage
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

rng = np.random.default_rng(1)
ort.set_default_logger_severity(3)


def options(ap):
    ap.add_argument("--model")
    ap.add_argument("--small")
    ap.add_argument("--pictures", required=True, help="folder that calibrates eyelet's int8 towers")


def session(c, path):
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.inter_op_num_threads = c.a.threads, 1
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])


def picture(side):
    x = np.kron(rng.standard_normal((1, 3, 8, 8), dtype=np.float32), np.ones((1, 1, side // 8, side // 8), np.float32))
    return x + 0.3 * rng.standard_normal(x.shape, dtype=np.float32)


class Pictures(CalibrationDataReader):
    def __init__(self, side):
        self.left = [{"pixel_values": picture(side)} for _ in range(4)]

    def get_next(self):
        return self.left.pop() if self.left else None


def static(c, name, onnx, side):
    path = os.path.join(c.folder, name + "-ort8.onnx")
    if not os.path.exists(path):
        quantize_static(
            onnx,
            path,
            Pictures(side),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return path


def files(c, model, name):
    f32 = c.make(name + "-onnx", "export", "onnx", model, "-o", "OUT", "--graph", "vision", "--no-projector", "-q")
    file8 = c.make(
        name + "-int8.gguf",
        "convert",
        model,
        "-o",
        "OUT",
        "--vision",
        "int8",
        "--calibration",
        c.a.pictures,
        "--max-pairs",
        "8",
        "-q",
    )
    qdq = c.make(
        name + "-qdq", "export", "onnx", file8, "-o", "OUT", "--graph", "vision", "--no-projector", "--int8", "qdq", "-q"
    )
    return os.path.join(f32, "vision_encoder.onnx"), file8, os.path.join(qdq, "vision_encoder.onnx")


def tower_rows(c, what, model, name, side, inner, own):
    f32, file8, qdq = files(c, model, name)
    x = picture(side)

    def theirs(path):
        s = session(c, path)
        return lambda row: {row: c.median_ms(lambda: s.run(None, {"pixel_values": x}), inner)}

    int8 = {"ONNX Runtime, eyelet's QDQ": qdq, **({"ONNX Runtime, its own QDQ": static(c, name, f32, side)} if own else {})}
    for kind, file, peers in (("f32", model, {"ONNX Runtime": f32}), ("int8", file8, int8)):
        row = f"{what}, {kind}"

        def ours():
            return {
                row: stage(
                    c.bench(file, "--vision", kind, "--decoder", "q8_0", "--prefill", 1, "--decode", 1, "-r", inner), "vision"
                )
            }

        c.group("ms", {row: None}, ours, {p: (lambda f=theirs(path): f(row)) for p, path in peers.items()})


def tower(c):
    tower_rows(c, "FastViTHD 1024", c.a.model, "tower", 1024, 1, False)


def mobile(c):
    tower_rows(c, "MobileNetV3-Large 224", c.a.small, "mobile", 224, 30, True)


def caption(c):
    row, n, past = "caption of 16 tokens, int8", 16, 31
    f32, file8, _ = files(c, c.a.small, "mobile")
    folder = c.make(
        "small-onnx",
        "export",
        "onnx",
        c.a.small,
        "-o",
        "OUT",
        "--graph",
        "vision",
        "--graph",
        "embedder",
        "--graph",
        "decoder-kv",
        "--step",
        "1,2",
        "--cache-len",
        str(past),
        "-q",
    )
    look, embed = session(c, static(c, "mobile", f32, 224)), session(c, os.path.join(folder, "token_embedder.onnx"))
    steps = {}
    for k in (1, 2):
        path = os.path.join(c.folder, f"small-decoder-{k}-ort8.onnx")
        if not os.path.exists(path):
            quantize_dynamic(
                os.path.join(folder, f"decoder_kv_ar{k}.onnx"), path, per_channel=True, weight_type=QuantType.QInt8
            )
        steps[k] = session(c, path)
    names = {k: [i.name for i in s.get_inputs()] for k, s in steps.items()}
    shapes = [i.shape for i in steps[1].get_inputs()[3:]]
    x = picture(224)

    def run():
        rows = look.run(None, {"pixel_values": x})[0]
        first = np.concatenate([rows, embed.run(None, {"input_ids": np.array([[1]], np.int64)})[0]], axis=1)
        keys, at = [np.zeros(s, np.float32) for s in shapes], 0
        for i in range(n):
            k = 2 if i == 0 else 1
            e = first if i == 0 else embed.run(None, {"input_ids": np.array([[7 * i]], np.int64)})[0]
            room = past + 1 - k
            mask = np.zeros((1, past + 1), np.int64)
            mask[0, :at] = 1
            mask[0, room:] = 1
            values = [e, mask, np.arange(at, at + k, dtype=np.int64)[None], *(y[:, :, :room] for y in keys)]
            out = steps[k].run(None, dict(zip(names[k], values)))
            for j, old in enumerate(keys):
                old[:, :, at : at + k] = out[j + 1]
            at += k

    def ours():
        r = c.bench(file8, "--vision", "int8", "--decoder", "q8_0", "--prefill", 2, "--decode", n - 1, "-r", 10)
        return {row: sum(stage(r, s) for s in ("vision", "projector", "prefill", "decode"))}

    c.group("ms", {row: 0.45}, ours, {"ONNX Runtime": lambda: {row: c.median_ms(run, 10)}})


c = Contest(__doc__, "ONNX Runtime", options)
for fn, model in ((tower, c.a.model), (mobile, c.a.small), (caption, c.a.small)):
    if model and c.wanted(fn.__name__):
        fn(c)
c.finish({"onnxruntime": ort.__version__})
