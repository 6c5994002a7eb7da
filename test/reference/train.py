"""Loss and all gradients of one training step against PyTorch's autograd, and ten steps of AdamW, for each family that is trained.

Usage: train.py --build BUILD [--engine THREADS [--bf16]]     ends with "N passed, N failed"

Checkpoints are compose.py's and llava.py's (random weights); BUILD's train_step computes the step, by the oracle or with --engine by the
engine, and says which batch it took: images, each followed by two captions that see its rows but not each other. Here each caption is
a sequence of its own behind the image's rows, in float64. BatchNorms take the batch's statistics, or the stored ones.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch_env  # noqa: F401  (before torchvision)
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file

import compose
import llava

TOKENS, CAPTIONS, SMOOTHING = 5, 2, float(np.float32(0.1))  # of test/support/train_model.h
STUDENTS = [("small-map", True), ("small-map", False), ("small-classifier", True), ("large-pooled", True), ("minimal-tap", False),
            ("mobilenetv3-shuffle-gpt2", True), ("mobilenetv3-llama", False)]
TEXTS = ["llama", "llama-bias", "mistral", "qwen2"]


def features(model, px):
    """Rows of all images of a batch, [N, rows, C]."""
    v = model.cfg["vision"]
    net = model.vision
    x = net.features(px) if isinstance(net, compose.Minimalistic) else net.features[:v["tap"] + 1 if v.get("tap", -1) >= 0 else None](px)
    kind = v.get("output", "map")
    if kind == "map":
        return x.flatten(2).transpose(1, 2)
    x = x.mean((2, 3))
    return (x if kind == "pooled" else net.classifier(x))[:, None]


def image_rows(model, px):
    """Of all images of a batch, as the decoder reads them."""
    rows = torch.stack([model.shuffled(x) for x in features(model, px)])
    for i, p in enumerate(model.projector):
        rows = p(F.gelu(rows) if i else rows)
    return rows


def caption_loss(text, rows, ids, target, weight):
    """Weighted cross-entropy of one caption behind its image's rows (None = without)."""
    x = text.get_input_embeddings()(ids)
    if rows is not None:
        x = torch.cat([rows, x])
    logits = text(inputs_embeds=x[None]).logits[0, -len(ids):]
    return (F.cross_entropy(logits, target, reduction="none", label_smoothing=SMOOTHING) * weight).sum()


def total_loss(text, rows, batch):
    """rows [N, n, hidden] or None. The batch's rows: per image n rows, then the captions."""
    n = 0 if rows is None else rows.shape[1]
    ids, target, weight = (torch.from_numpy(batch[k]) for k in ("ids", "target", "weight"))
    loss, at = 0, 0
    for g in range(1 if rows is None else len(rows)):
        at += n
        for _ in range(CAPTIONS):
            part = slice(at, at + TOKENS)
            loss = loss + caption_loss(text, None if rows is None else rows[g], ids[part].long(), target[part].long(), weight[part].double())
            at += TOKENS
    return loss


class Suite:
    def __init__(self, build, work, threads=0, bf16=False):
        self.build, self.work, self.threads, self.bf16, self.passed, self.failed = os.path.abspath(build), work, threads, bf16, 0, 0
        self.rel = 0.02 if bf16 else 1e-4 if threads else 1e-5
        # A gradient that is 0 but for rounding (of a bias before a batch norm) has no scale of its own: what is left of its terms, which
        # are as large as others' gradients, is 1e-7 of them in float32.
        self.floor = 1e-3 if threads else 1e-6

    def check(self, ok, text):
        print(("ok   " if ok else "FAIL ") + text, flush=True)
        self.passed += bool(ok)
        self.failed += not ok

    def folder(self, name, cfg, tensors):
        out = os.path.join(self.work, name)
        os.makedirs(out, exist_ok=True)
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, os.path.join(out, "model.safetensors"))
        with open(os.path.join(out, "config.json"), "w") as f:
            json.dump(cfg, f)
        return out

    def step(self, folder, *args):
        out = os.path.join(self.work, "step.safetensors")
        args = list(args) + (["--engine", str(self.threads)] if self.threads else []) + (["--bf16"] if self.bf16 else [])
        subprocess.run([os.path.join(self.build, "test/support/train_step"), folder, "-o", out, *args], check=True)
        return load_file(out)

    def compare(self, name, got, loss, grads, amplified=1):
        """grads: canonical name -> PyTorch's, in our layout."""
        e = abs(float(got["loss"][0]) - loss) / loss
        self.check(e <= self.rel, f"{name}: loss {loss:.4f}, relative error {e:.1e}")
        ours = {k[5:]: v for k, v in got.items() if k.startswith("grad.")}
        self.check(set(ours) == set(grads), f"{name}: {len(grads)} gradients" + ("" if set(ours) == set(grads) else
                   f": {sorted(set(ours) ^ set(grads))[:6]}"))
        if self.bf16:  # single weights' gradients cancel too much for 8 bits: all of them as one vector
            both = [np.concatenate([x[k].astype(np.float64).ravel() for k in sorted(grads)]) for x in (ours, grads)]
            e = compose.rel_rms(*both)
            return self.check(e <= 0.05, f"{name}: gradients, in all: relative RMS {e:.1e}")
        top = max(float(np.abs(g).max()) for g in grads.values())
        worst, where = 0.0, ""
        for k in set(ours) & set(grads):
            want = grads[k].reshape(ours[k].shape)
            scale = max(np.sqrt(np.mean(want ** 2)), self.floor * top)
            rel = float(np.sqrt(np.mean((ours[k].astype(np.float64) - want) ** 2)) / scale)
            if rel > worst:
                worst, where = rel, k
        return self.check(worst <= amplified * self.rel, f"{name}: gradients: worst relative RMS {worst:.1e} ({where})")

    def student(self, case, train_norms):
        cfg = json.loads(json.dumps((compose.CASES | compose.OTHERS)[case]))
        model, tensors, _ = compose.make(case, cfg)
        name = case + (", norms trained" if train_norms else "")
        got = self.step(self.folder(case, cfg, tensors), "--images", "2", *(["--train-norms"] if train_norms else []))
        params = self.parameters(model.names, model.vision, model.text, *model.projector)
        model.double()
        model.vision.train(train_norms)
        norms = {k: m for k, m in model.vision.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
        for m in model.vision.modules():
            if isinstance(m, torch.nn.Dropout):
                m.p = 0.0
        sizes = {}
        for k, m in norms.items():
            m.momentum = 1.0
            m.register_forward_hook(lambda _, x, y, k=k: sizes.update({k: y.numel() // y.shape[1]}))
        px = torch.from_numpy(got["pixels"].transpose(0, 3, 1, 2).copy()).double()
        loss = total_loss(model.text, image_rows(model, px), got)
        loss.backward()
        grads = {k: self.grad(p, k, cfg["text"]) for k, p in params.items() if p.grad is not None}
        self.compare(name, got, loss.item(), grads, 10 if train_norms else 1)  # the last maps' statistics are of 8 numbers: ill-conditioned
        if case == "small-map" and not train_norms:
            self.ten_steps(name, os.path.join(self.work, case), ["--images", "2"], params, lambda: total_loss(model.text, image_rows(model, px), got),
                           cfg["text"])
        if train_norms:
            worst = 0.0
            for k, m in norms.items():
                stats = got.get(f"stats.v.{k}.running_mean")
                if stats is None:
                    continue  # behind the tap
                want = np.stack([m.running_mean.numpy(), m.running_var.numpy() * (sizes[k] - 1) / sizes[k]])
                worst = max(worst, compose.rel_rms(stats, want))
            self.check(worst <= 10 * self.rel, f"{name}: statistics: worst relative RMS {worst:.1e}")

    @staticmethod
    def parameters(names, *nets):
        """Canonical name -> the parameter itself: state_dict's are detached. Before double(), which moves them."""
        by_place = {p.data_ptr(): p for net in nets for p in net.parameters()}
        return {k: by_place[t.data_ptr()] for k, t in names.items() if t.data_ptr() in by_place}

    @staticmethod
    def grad(p, name, text):
        g = p.grad.numpy()
        return g.T if compose.is_conv1d(name, text) else g

    def all(self):
        for case, train_norms in STUDENTS:
            if not self.bf16:  # towers of 40 layers with a gain above 1, on 2 pictures: 8 bits say nothing there
                self.student(case, train_norms)
        for case in TEXTS:
            self.text(case)
        self.gpt2()

    def text(self, case):
        cfg, names = llava.CASES[case]
        model, tensors, _ = llava.make(cfg, names)
        got = self.step(self.folder(case, cfg, tensors))
        self.language_model(case, model, {**cfg, "type": "llama"}, got)

    def gpt2(self):
        model, tensors, _ = compose.make_text(compose.TEXT)
        got = self.step(self.folder("gpt2", compose.TEXT, tensors))
        self.language_model("gpt2", model, {**compose.TEXT, "type": "gpt2"}, got)

    def language_model(self, name, model, text, got):
        params = self.parameters(compose.canonical_text(model, text), model)
        loss = total_loss(model.double(), None, got)
        loss.backward()
        self.compare(name, got, loss.item(), {k: self.grad(p, k, text) for k, p in params.items()})
        self.ten_steps(name, os.path.join(self.work, name), [], params, lambda: total_loss(model, None, got), text)

    def ten_steps(self, name, folder, args, params, loss_of, text):
        """AdamW, clipped at 1. Its first steps divide a gradient by its size: elements that are rounding alone go anywhere, so what is
        compared is how far the weights moved, tensor by tensor."""
        got, start = self.step(folder, *args, "--steps", "10"), {k: p.detach().clone() for k, p in params.items()}
        optimiser = torch.optim.AdamW(params.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)
        for _ in range(10):
            optimiser.zero_grad()
            loss = loss_of()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
            optimiser.step()
        e = abs(float(got["loss"][0]) - loss.item()) / loss.item()
        worst, where = 0.0, ""
        for k, p in params.items():
            if p.grad is None:
                continue
            ours, moved = got["weight." + k], (p.detach() - start[k]).numpy()
            if compose.is_conv1d(k, text):
                ours = ours.T
            off = ours.astype(np.float64).reshape(p.shape) - p.detach().numpy()
            if k.endswith("attn_qkv.bias"):  # without RoPE no softmax sees the keys' part: its gradient is rounding alone
                off[len(off) // 3:2 * len(off) // 3] = 0
            rel = float(np.sqrt(np.mean(off ** 2) / np.mean(moved ** 2)))
            if rel > worst:
                worst, where = rel, k
        limit = 100 * self.rel
        self.check(e <= self.rel and worst <= limit, f"{name}: 10 steps of AdamW: loss {loss.item():.4f}, relative error {e:.1e}; "
                   f"weights' way: worst relative RMS {worst:.1e} ({where})")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    ap.add_argument("--engine", type=int, default=0)
    ap.add_argument("--bf16", action="store_true")
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as work:
        s = Suite(a.build, work, a.engine, a.bf16)
        s.all()
    print(f"\n{s.passed} passed, {s.failed} failed")
    sys.exit(s.failed != 0 or s.passed == 0)


if __name__ == "__main__":
    main()
