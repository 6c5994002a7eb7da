"""What the scripts share whose peers run the graphs of `eyelet export onnx`: options, pictures, a caption by hand."""

import os

import numpy as np
from harness import N_CAPTION

PAST = 2 * N_CAPTION - 1  # positions of the caches
rng = np.random.default_rng(1)


def options(ap):
    ap.add_argument("--model")
    ap.add_argument("--small")
    ap.add_argument("--pictures", required=True, help="folder that calibrates eyelet's int8 towers")


def picture(side):
    """Large blots and a little noise, so that ranges are not those of noise alone."""
    x = np.kron(rng.standard_normal((1, 3, 8, 8), dtype=np.float32), np.ones((1, 1, side // 8, side // 8), np.float32))
    return x + 0.3 * rng.standard_normal(x.shape, dtype=np.float32)


def small(c):
    """Paths of --small's graphs: tower and projector, embedder, {rows: decoder's step of so many}."""
    parts = ["--graph", "vision", "--graph", "embedder", "--graph", "decoder-kv", "--step", "1,2", "--cache-len", str(PAST)]
    folder = c.make("small-onnx", "export", "onnx", c.a.small, "-o", "OUT", *parts, "-q")
    path = {k: os.path.join(folder, f"decoder_kv_ar{k}.onnx") for k in (1, 2)}
    return os.path.join(folder, "vision_encoder.onnx"), os.path.join(folder, "token_embedder.onnx"), path


def caption(look, embed, step, shapes):
    """Picture in, N_CAPTION tokens out, with cached keys. The caller's part is numpy on views, as little as there can be.
    look    () -> rows of the picture [1, 1, hidden]
    embed   ids [1, 1] -> [1, 1, hidden]
    step    (rows, inputs in the graph's order) -> what it gives: logits, then each cache's new rows
    shapes  of the caches"""
    first = np.concatenate([look(), embed(np.array([[1]], np.int64))], axis=1)
    caches, at = [np.zeros(s, np.float32) for s in shapes], 0
    for i in range(N_CAPTION):
        k = 2 if i == 0 else 1
        rows = first if i == 0 else embed(np.array([[7 * i]], np.int64))
        room = PAST + 1 - k
        mask = np.zeros((1, PAST + 1), np.int64)
        mask[0, :at] = 1
        mask[0, room:] = 1
        out = step(k, [rows, mask, np.arange(at, at + k, dtype=np.int64)[None], *(x[:, :, :room] for x in caches)])
        for j, old in enumerate(caches):
            old[:, :, at : at + k] = out[j + 1]
        at += k
