"""eyelet and OpenVINO in turns on the same networks; OpenVINO's are `eyelet export onnx` of the models that eyelet runs.

Usage: peer_openvino.py --build BUILD [--model FOLDER] [--small FOLDER] --pictures DIR [--runs 5] [--threads 2] [--fifo P]
           [--json FILE] [--keep DIR] [--only NAME]
--model is FastVLM-0.5B shaped, --small MobileNetV3-Large 224 with a GPT-2 of six layers (small.py makes one). Groups:
  tower     FastViTHD: f32, bf16, and int8 against a network that NNCF quantized (preset performance, random pictures) and
            against eyelet's own int8 network as QDQ, each with bf16 and with f32 around the int8 products
  prefill   288 rows of the 0.5B decoder, logits of the last: q8_0 and q4_0 against NNCF's int8 and int4 (groups of 32) weights
  mobile    MobileNetV3-Large, as tower
  caption   picture in, 16 tokens out with cached keys (lengths fixed, 32 positions): int8 tower and int8 weights on both sides
Needs openvino, nncf, numpy.
"""

import os

import graphs
import nncf
import numpy as np
import openvino as ov
from graphs import picture, rng
from harness import Contest, stage

core = ov.Core()


def compiled(c, model, precision):
    hints = {"INFERENCE_NUM_THREADS": c.a.threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if precision:
        hints["INFERENCE_PRECISION_HINT"] = precision
    return core.compile_model(model, "CPU", hints)


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
    f32, file8 = c.tower_onnx(name + "-onnx", model), c.int8_file(name, model)
    qdq = c.tower_onnx(name + "-qdq", file8, "--int8", "qdq")
    x = picture(side)

    def theirs(path, precision):
        m = core.read_model(path)
        m.reshape({0: [1, 3, side, side]})
        request = compiled(c, m, precision).create_infer_request()
        return lambda: c.median_ms(lambda: request.infer({0: x}), inner)

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
        peers = {p: theirs(*how) for p, how in peers.items()}
        c.one_row(f"{what}, {kind}", "ms", bars[kind], lambda: c.vision_ms(file, kind, inner), peers)


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
    for q, mode in (("q8_0", nncf.CompressWeightsMode.INT8_SYM), ("q4_0", nncf.CompressWeightsMode.INT4_SYM)):
        file = c.decoder_file(q)
        m = core.read_model(compressed(c, f"decoder-{q}", onnx, mode))
        width = m.inputs[0].partial_shape[2].get_length()
        m.reshape({0: [1, 288, width]})
        x = 0.02 * rng.standard_normal((1, 288, width), dtype=np.float32)
        request = compiled(c, m, None).create_infer_request()
        c.one_row(
            f"prefill of 288, {q}",
            "tok/s",
            1.7,
            lambda: stage(c.bench(file, "--prefill", 288, "--decode", 1, "-r", 3), "prefill", "tok_per_s"),
            {"OpenVINO": lambda: 288e3 / c.median_ms(lambda: request.infer({0: x}), 2)},
        )
        del request


def caption(c):
    """Lengths fixed: 32 positions."""
    pixels, words, step = graphs.small(c)
    look = compiled(c, quantized(c, "mobile", pixels, 224), None).create_infer_request()
    embed = compiled(c, core.read_model(words), None).create_infer_request()
    steps = {}
    for k, onnx in step.items():
        path = compressed(c, f"small-decoder-{k}", onnx, nncf.CompressWeightsMode.INT8_SYM)
        steps[k] = compiled(c, core.read_model(path), None).create_infer_request()
    shapes = [list(i.shape) for i in steps[1].model_inputs[3:]]
    x = picture(224)
    c.caption_row(
        lambda: graphs.caption(
            lambda: look.infer({0: x})[0],
            lambda ids: embed.infer({0: ids})[0],
            lambda k, values: steps[k].infer(values),
            shapes,
        )
    )


c = Contest(__doc__, "OpenVINO", graphs.options)
c.run({tower: c.a.model, prefill: c.a.model, mobile: c.a.small, caption: c.a.small})
c.finish({"openvino": ov.__version__.split("-")[0], "nncf": nncf.__version__})
