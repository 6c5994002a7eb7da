"""eyelet and ONNX Runtime in turns on the same networks; ONNX Runtime's are `eyelet export onnx` of the models that eyelet
runs.

Usage: peer_onnxruntime.py --build BUILD [--model FOLDER] [--small FOLDER] --pictures DIR [--runs 5] [--threads 2] [--fifo P]
           [--json FILE] [--keep DIR] [--only NAME]
Models as for peer_openvino.py. Groups:
  tower     FastViTHD: f32; int8 against eyelet's int8 network as QDQ
  mobile    MobileNetV3-Large: f32; int8 against eyelet's QDQ and against ONNX Runtime's own static quantization (per channel)
  caption   picture in, 16 tokens out with cached keys: its own int8 tower, text by its dynamic int8
Needs onnxruntime, onnx, numpy.
"""

import os

import graphs
import onnxruntime as ort
from graphs import picture
from harness import Contest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

ort.set_default_logger_severity(3)


def session(c, path):
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.inter_op_num_threads = c.a.threads, 1
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])


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


def tower_rows(c, what, model, name, side, inner, own):
    f32, file8 = c.tower_onnx(name + "-onnx", model), c.int8_file(name, model)
    qdq = c.tower_onnx(name + "-qdq", file8, "--int8", "qdq")
    x = picture(side)

    def theirs(path):
        s = session(c, path)
        return lambda: c.median_ms(lambda: s.run(None, {"pixel_values": x}), inner)

    int8 = {"ONNX Runtime, eyelet's QDQ": qdq, **({"ONNX Runtime, its own QDQ": static(c, name, f32, side)} if own else {})}
    for kind, file, peers in (("f32", model, {"ONNX Runtime": f32}), ("int8", file8, int8)):
        peers = {p: theirs(path) for p, path in peers.items()}
        c.one_row(f"{what}, {kind}", "ms", None, lambda: c.vision_ms(file, kind, inner), peers)


def tower(c):
    tower_rows(c, "FastViTHD 1024", c.a.model, "tower", 1024, 1, False)


def mobile(c):
    tower_rows(c, "MobileNetV3-Large 224", c.a.small, "mobile", 224, 30, True)


def caption(c):
    _, words, step = graphs.small(c)
    look = session(c, static(c, "mobile", c.tower_onnx("mobile-onnx", c.a.small), 224))
    embed, steps = session(c, words), {}
    for k, onnx in step.items():
        path = os.path.join(c.folder, f"small-decoder-{k}-ort8.onnx")
        if not os.path.exists(path):
            quantize_dynamic(onnx, path, per_channel=True, weight_type=QuantType.QInt8)
        steps[k] = session(c, path)
    names = {k: [i.name for i in s.get_inputs()] for k, s in steps.items()}
    shapes = [i.shape for i in steps[1].get_inputs()[3:]]
    x = picture(224)
    c.caption_row(
        lambda: graphs.caption(
            lambda: look.run(None, {"pixel_values": x})[0],
            lambda ids: embed.run(None, {"input_ids": ids})[0],
            lambda k, values: steps[k].run(None, dict(zip(names[k], values))),
            shapes,
        )
    )


c = Contest(__doc__, "ONNX Runtime", graphs.options)
c.run({tower: c.a.model, mobile: c.a.small, caption: c.a.small})
c.finish({"onnxruntime": ort.__version__})
