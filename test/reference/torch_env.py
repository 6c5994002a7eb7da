"""Import this before torchvision: where its compiled operators cannot load (a CUDA build of torchvision beside a CPU torch), the two
operators whose fake kernels it registers at import are declared, which is all that timm and transformers need of it."""
import ctypes
import importlib.util
import os
import pathlib

import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

_spec = importlib.util.find_spec("torchvision")
if _spec is not None and _spec.origin:
    try:
        ctypes.CDLL(str(pathlib.Path(_spec.origin).with_name("_C.so")))
    except OSError:
        _declared = torch.library.Library("torchvision", "FRAGMENT")
        for _name in ("nms", "qnms"):
            _declared.define(_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
