"""Times the ops of bench_train_rows in PyTorch, forward and backward, eager: the best of some runs.

    python3 bench/bench_train_rows.py [threads] [image rows] [d] [vocabulary]

Attention there knows no segments: a picture and its captions are one sequence with a mask of its own.
"""
import sys
import time

import torch
import torch.nn.functional as F

THREADS, IMAGE, D, V = [int(x) for x in (sys.argv[1:] + ["1", "25", "256", "4096"][len(sys.argv) - 1:])]
PICTURES, CAPTIONS, ROWS, RUNS = 32, 5, 13, 7
T, HEADS = PICTURES * (IMAGE + CAPTIONS * ROWS), D // 64
torch.set_num_threads(THREADS)


def best(fn):
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        fn()
        times.append(time.perf_counter() - start)
    return min(times[1:]) * 1e3


def measure(name, forward, *variables):
    variables = [v.requires_grad_() for v in variables]
    ahead = best(forward)
    y = forward()
    d = torch.ones_like(y)
    back = best(lambda: torch.autograd.grad(y, variables, d, retain_graph=True))
    print("%-20s %8.3f ms forward %8.3f ms backward" % (name, ahead, back))


def rand(*shape):
    return torch.rand(*shape) * 2 - 1


def rms_norm(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w


def rope(q, cos, sin):
    a, b = q.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


per = IMAGE + CAPTIONS * ROWS
mask = torch.zeros(per, per, dtype=torch.bool)
mask[:IMAGE, :IMAGE] = torch.ones(IMAGE, IMAGE).tril().bool()
for i in range(CAPTIONS):
    at = IMAGE + i * ROWS
    mask[at:at + ROWS, :IMAGE] = True
    mask[at:at + ROWS, at:at + ROWS] = torch.ones(ROWS, ROWS).tril().bool()

x, w, b, z = rand(T, D), rand(D), rand(D), rand(T, V)
ids, target, table = torch.randint(V, (T,)), torch.randint(V, (T,)), rand(V, D)
q, k, v = rand(PICTURES, HEADS, per, 64), rand(PICTURES, HEADS, per, 64), rand(PICTURES, HEADS, per, 64)
angle = rand(T, 1, 32)
weight = torch.rand(T)
teacher = rand(T, V)
print("%d rows, d %d, vocabulary %d, %d threads" % (T, D, V, THREADS))
measure("layer_norm", lambda: F.layer_norm(x, (D,), w, b), x, w, b)
measure("rms_norm", lambda: rms_norm(x, w), x, w)
measure("dropout", lambda: F.dropout(x, 0.1), x)
measure("softmax", lambda: F.softmax(x, -1), x)
measure("embed", lambda: F.embedding(ids, table), table)
heads = rand(T, HEADS, 64)
measure("rope", lambda: rope(heads, angle.cos(), angle.sin()), heads)
measure("attention", lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask), q, k, v)
measure("cross_entropy", lambda: F.cross_entropy(z, target, reduction="none", label_smoothing=0.1) * weight, z)
measure("kl_rows", lambda: F.kl_div(F.log_softmax(z / 2, -1), F.softmax(teacher / 2, -1), reduction="none").sum(-1) * 4 * weight, z)
