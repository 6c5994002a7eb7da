"""eyelet and OpenVINO in turns on the same networks; OpenVINO's are `eyelet export onnx` of the models that eyelet runs.

Usage: peer_openvino.py --build BUILD [--model FOLDER] [--small FOLDER] --pictures DIR [--runs 5] [--threads 2] [--fifo P]
           [--json FILE]
           [--keep DIR] [--only NAME]
--model is FastVLM-0.5B shaped, --small MobileNetV3-Large 224 with a GPT-2 of six layers (small.py makes one). Groups:
  tower     FastViTHD: f32, bf16, and int8 against a network that NNCF quantized (preset performance, random pictures) and
  against
            eyelet's own int8 network as QDQ, each with bf16 and with f32 around the int8 products
  prefill   288 rows of the 0.5B decoder, logits of the last: q8_0 and q4_0 against NNCF's int8 and int4 (groups of 32) weights
  mobile    MobileNetV3-Large, as tower
  caption   picture in, 16 tokens out with cached keys (lengths fixed, 32 positions): int8 tower and int8 weights on both sides
Needs openvino, nncf, numpy.
"""

import os

import nncf
import numpy as np
import openvino as ov
from harness import Contest, stage

core = ov.Core()
rng = np.random.default_rng(1)


def options(ap):
    ap.add_argument("--model")
    ap.add_argument("--small")
    ap.add_argument("--pictures", required=True, help="folder that calibrates eyelet's int8 towers")


def compiled(c, model, precision):
    hints = {"INFERENCE_NUM_THREADS": c.a.threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if precision:
        hints["INFERENCE_PRECISION_HINT"] = precision
    return core.compile_model(model, "CPU", hints)


def picture(side):
    """Large blots and a little noise, so that ranges are not those of noise alone."""
    x = np.kron(rng.standard_normal((1, 3, 8, 8), dtype=np.float32), np.ones((1, 1, side // 8, side // 8), np.float32))
    return x + 0.3 * rng.standard_normal(x.shape, dtype=np.float32)


def quantized(c, name, onnx, side):
    """NNCF's int8 network as a file, made once."""
    path = os.path.join(c.folder, name + ".xml")
    if not os.path.exists(path):
        m = core.read_model(onnx)
        m.reshape({0: [1, 3, side, side]})
        data = nncf.Dataset(range(2), lambda _: picture(side))
        ov.save_model(
            nncf.quantize(m, data, preset=nncf.QuantizationPreset.PERFORMANCE, subset_size=2), path, compress_to_fp16=False
        )
    return path


def tower_rows(c, what, model, name, side, inner, bars):
    f32 = os.path.join(
        c.make(name + "-onnx", "export", "onnx", model, "-o", "OUT", "--graph", "vision", "--no-projector", "-q"),
        "vision_encoder.onnx",
    )
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
    qdq = os.path.join(
        c.make(
            name + "-qdq", "export", "onnx", file8, "-o", "OUT", "--graph", "vision", "--no-projector", "--int8", "qdq", "-q"
        ),
        "vision_encoder.onnx",
    )
    x = picture(side)

    def theirs(path, precision):
        m = core.read_model(path)
        m.reshape({0: [1, 3, side, side]})
        request = compiled(c, m, precision).create_infer_request()
        return lambda row: {row: c.median_ms(lambda: request.infer({0: x}), inner)}

    kinds = {
        "f32": (model, {"OpenVINO": (f32, "f32")}),
        "bf16": (model, {"OpenVINO": (f32, "bf16")}),
        "int8": (
            file8,
            {
                "OpenVINO, NNCF int8": (quantized(c, name, f32, side), None),
                "OpenVINO, NNCF int8, rest f32": (quantized(c, name, f32, side), "f32"),
                "OpenVINO, eyelet's QDQ": (qdq, None),
            },
        ),
    }
    for kind, (file, peers) in kinds.items():
        row = f"{what}, {kind}"

        def ours():
            return {
                row: stage(
                    c.bench(file, "--vision", kind, "--decoder", "q8_0", "--prefill", 1, "--decode", 1, "-r", inner), "vision"
                )
            }

        c.group("ms", {row: bars[kind]}, ours, {p: (lambda f=theirs(*how): f(row)) for p, how in peers.items()})


def tower(c):
    tower_rows(c, "FastViTHD 1024", c.a.model, "tower", 1024, 1, {"f32": 1.0, "bf16": 0.85, "int8": 0.75})


def mobile(c):
    tower_rows(c, "MobileNetV3-Large 224", c.a.small, "mobile", 224, 30, {"f32": 0.8, "bf16": 0.8, "int8": 0.8})


def compressed(c, name, onnx, mode):
    path = os.path.join(c.folder, name + ".xml")
    if not os.path.exists(path):
        m, how = core.read_model(onnx), {"mode": mode}
        if mode == nncf.CompressWeightsMode.INT4_SYM:
            how.update(group_size=32, ratio=1.0)
        ov.save_model(nncf.compress_weights(m, **how), path, compress_to_fp16=False)
    return path


def prefill(c):
    onnx = os.path.join(
        c.make("decoder-onnx", "export", "onnx", c.a.model, "-o", "OUT", "--graph", "decoder", "--last-logits", "-q"),
        "decoder.onnx",
    )
    x = None
    for q, mode in (("q8_0", nncf.CompressWeightsMode.INT8_SYM), ("q4_0", nncf.CompressWeightsMode.INT4_SYM)):
        row = f"prefill of 288, {q}"
        file = c.make(f"decoder-{q}.gguf", "convert", c.a.model, "-o", "OUT", "--decoder", q, "--decoder-only", "-q")
        m = core.read_model(compressed(c, f"decoder-{q}", onnx, mode))
        width = m.inputs[0].partial_shape[2].get_length()
        m.reshape({0: [1, 288, width]})
        x = 0.02 * rng.standard_normal((1, 288, width), dtype=np.float32)
        request = compiled(c, m, None).create_infer_request()
        c.group(
            "tok/s",
            {row: 1.7},
            lambda: {row: stage(c.bench(file, "--prefill", 288, "--decode", 1, "-r", 3), "prefill", "tok_per_s")},
            {"OpenVINO": lambda: {row: 288e3 / c.median_ms(lambda: request.infer({0: x}), 2)}},
        )
        del request


def caption(c):
    """The caller's part (embedding a token, putting new keys into their place) is numpy on views, as little as there can be."""
    row, n, past = "caption of 16 tokens, int8", 16, 31
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
    file8 = c.make(
        "mobile-int8.gguf",
        "convert",
        c.a.small,
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
    look = compiled(c, quantized(c, "mobile", os.path.join(folder, "vision_encoder.onnx"), 224), None).create_infer_request()
    embed = compiled(c, core.read_model(os.path.join(folder, "token_embedder.onnx")), None).create_infer_request()
    steps = {}
    for k in (1, 2):
        path = compressed(
            c, f"small-decoder-{k}", os.path.join(folder, f"decoder_kv_ar{k}.onnx"), nncf.CompressWeightsMode.INT8_SYM
        )
        steps[k] = compiled(c, core.read_model(path), None).create_infer_request()
    x = picture(224)

    def cache(k):
        m = steps[k].model_inputs[3:]
        return [np.zeros(list(i.shape), np.float32) for i in m]

    def run():
        rows = look.infer({0: x})[0]
        first = np.concatenate([rows, embed.infer({0: np.array([[1]], np.int64)})[0]], axis=1)
        keys, at = cache(1), 0
        for i in range(n):
            k = 2 if i == 0 else 1
            e = first if i == 0 else embed.infer({0: np.array([[7 * i]], np.int64)})[0]
            room = past + 1 - k
            mask = np.zeros((1, past + 1), np.int64)
            mask[0, :at] = 1
            mask[0, room:] = 1
            out = steps[k].infer([e, mask, np.arange(at, at + k, dtype=np.int64)[None], *(x[:, :, :room] for x in keys)])
            for j, old in enumerate(keys):
                old[:, :, at : at + k] = out[j + 1]
            at += k

    def ours():
        r = c.bench(file8, "--vision", "int8", "--decoder", "q8_0", "--prefill", 2, "--decode", n - 1, "-r", 10)
        return {row: sum(stage(r, s) for s in ("vision", "projector", "prefill", "decode"))}

    c.group("ms", {row: 0.45}, ours, {"OpenVINO": lambda: {row: c.median_ms(run, 10)}})


c = Contest(__doc__, "OpenVINO", options)
for fn, model in ((tower, c.a.model), (prefill, c.a.model), (mobile, c.a.small), (caption, c.a.small)):
    if model and c.wanted(fn.__name__):
        fn(c)
c.finish({"openvino": ov.__version__.split("-")[0], "nncf": nncf.__version__})
