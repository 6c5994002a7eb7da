"""Writes test/golden/model/: what test_model.c compares the graphs with.

Usage: make_model_golden.py MAKE_CHECKPOINT [OUT]

For checkpoints of make_checkpoint (their weights are a formula, so nothing but results is stored): PyTorch's features,
projected rows and last logits in float64, rounded once to float32, for pixels and ids that are formulas too. Beside them the
largest difference of the same graph run in float32: how much rounding alone may do.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np

import fastvlm
import torch
from formula import uniform

CASES = [("tiny-hf", "tiny", "hf"), ("tiny-train", "tiny", "apple-train"), ("odd-hf", "odd", "hf"), ("odd-train", "odd", "apple-train")]
BEFORE, AFTER = [5, 300, 77], [401, 12, 599, 33]


def run(model, pixels, dtype):
    model.vision.to(dtype)
    model.text.to(dtype)
    model.projector = [(w.to(dtype), b.to(dtype)) for w, b in model.projector]
    torch.set_default_dtype(dtype)  # attention scales and rotary tables follow
    f = model.vision_features(pixels.astype(np.float64 if dtype == torch.float64 else np.float32))
    p = model.projected(f)
    e = model.embeddings(BEFORE + [-200] + AFTER, p)
    return f, p, model.logits(e)[-1]


def main():
    tool = sys.argv[1]
    out = sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "model")
    os.makedirs(out, exist_ok=True)
    for name, size, form in CASES:
        with tempfile.TemporaryDirectory() as d:
            subprocess.run([tool, "--size", size, "--format", form, "-o", d], check=True)
            side = fastvlm.FastVLM(d).side()
            px = ((uniform("pixels", 1, side * side * 3) + 1) / 2).astype(np.float32).reshape(side, side, 3).transpose(2, 0, 1)
            single = run(fastvlm.FastVLM(d), px, torch.float32)
            double = run(fastvlm.FastVLM(d), px, torch.float64)
        noise = []
        for key, a, b in zip(("features", "projected", "logits"), single, double):
            np.save(os.path.join(out, f"{name}-{key}.npy"), b.astype(np.float32))
            noise.append(np.abs(a.astype(np.float64) - b).max())
            print(f"{name} {key}: std {b.std():.3f}, float32 differs by at most {noise[-1]:.2e}")
        np.save(os.path.join(out, f"{name}-noise.npy"), np.array(noise, np.float32))


main()
