"""Whole training steps (loss and all gradients) of bench_train's networks against PyTorch eager, in turns: f32, and bf16
against autocast.

Usage: peer_torch_training.py --build BUILD [--runs 5] [--threads 2] [--fifo P] [--json FILE] [--only NAME]
With --threads 1 in processor time, which other programs disturb less. Networks: "decoder 256 4", "decoder 384 6",
"mobilenet 32", "tail 32" (--only takes a part of such a name). bench_train must be built (ninja bench/bench_train). Needs torch.
"""

import os
import subprocess
import time

import torch
from harness import Contest


def decoder(d, layers):
    """GPT-2's blocks as bench_train.c builds them: 64 sequences of 48 rows, vocabulary 4096, head tied to the table."""
    from torch import nn
    import torch.nn.functional as F

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.out, self.up, self.down = (
                nn.Linear(d, 3 * d),
                nn.Linear(d, d),
                nn.Linear(d, 4 * d),
                nn.Linear(4 * d, d),
            )

        def forward(self, x):
            b, t, _ = x.shape
            q, k, v = (y.view(b, t, d // 64, 64).transpose(1, 2) for y in self.qkv(self.ln1(x)).split(d, 2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(b, t, d))
            return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh"))

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.pos = nn.Embedding(4096, d), nn.Embedding(48, d)
            self.blocks, self.ln = nn.Sequential(*[Block() for _ in range(layers)]), nn.LayerNorm(d)

        def forward(self, ids, target):
            x = self.ln(self.blocks(self.table(ids) + self.pos.weight))
            return F.cross_entropy(F.linear(x, self.table.weight).flatten(0, 1), target.flatten())

    net, ids = Decoder(), torch.randint(4096, (64, 48))
    return net, lambda: net(ids, ids)


def mobilenet(tail):
    """MobileNetV3-Large minimalistic, batch norms folded, batch 32; tail: trained after 14 x 14 x 112 only."""
    from torch import nn

    def conv(c, o, k, stride=1, groups=1, relu=True):
        y = nn.Conv2d(c, o, k, stride, k // 2, groups=groups)
        return nn.Sequential(y, nn.ReLU(inplace=True)) if relu else y

    class Block(nn.Module):
        def __init__(self, c, inner, o, stride):
            super().__init__()
            first = [conv(c, inner, 1)] if inner != c else []
            self.body = nn.Sequential(*first, conv(inner, inner, 3, stride, inner), conv(inner, o, 1, relu=False))
            self.same = stride == 1 and c == o

        def forward(self, x):
            return x + self.body(x) if self.same else self.body(x)

    rows = [
        (16, 16, 1),
        (64, 24, 2),
        (72, 24, 1),
        (72, 40, 2),
        (120, 40, 1),
        (120, 40, 1),
        (240, 80, 2),
        (200, 80, 1),
        (184, 80, 1),
        (184, 80, 1),
        (480, 112, 1),
        (672, 112, 1),
        (672, 160, 2),
        (960, 160, 1),
        (960, 160, 1),
    ]
    layers, c = [conv(3, 16, 3, 2)], 16
    for inner, o, stride in rows:
        layers.append(Block(c, inner, o, stride))
        c = o
    net = nn.Sequential(*layers, conv(160, 960, 1)).to(memory_format=torch.channels_last)
    for p in net[:13].parameters():
        p.requires_grad_(not tail)
    x = torch.rand(32, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    wanted = torch.rand(32, 960)
    return net, lambda: (net(x).mean((2, 3)) - wanted).square().mean()


c = Contest(__doc__, "PyTorch")
torch.set_num_threads(c.a.threads)
clock = time.process_time if c.a.threads == 1 else time.perf_counter
nets = {
    "decoder 256 4": lambda: decoder(256, 4),
    "decoder 384 6": lambda: decoder(384, 6),
    "mobilenet 32": lambda: mobilenet(False),
    "tail 32": lambda: mobilenet(True),
}


def best_ms(net, loss, bf16):
    best = float("inf")
    with c.timed():
        for _ in range(3):
            net.zero_grad(set_to_none=True)
            t0 = clock()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                y = loss()
            y.backward()
            best = min(best, 1e3 * (clock() - t0))
    return best


def ours_ms(what, bf16):
    kind, *size = what.split()
    cmd = [
        *c.first(),
        os.path.join(c.a.build, "bench", "bench_train"),
        kind,
        "bf16" if bf16 else "f32",
        str(c.a.threads),
        *size,
    ]
    out = subprocess.run(cmd, env=dict(os.environ, RUNS="3"), capture_output=True, text=True, check=True).stdout
    return float(out.split("best ")[2 if c.a.threads == 1 else 1].split()[0])


for what, make in nets.items():
    if c.wanted(what):
        net, loss = make()
        for bf16 in (False, True):
            row = f"training step, {what}, {'bf16' if bf16 else 'f32'}"
            c.one_row(row, "ms", None, lambda: ours_ms(what, bf16), {"PyTorch": lambda: best_ms(net, loss, bf16)})
c.finish({"torch": torch.__version__})
