"""Prints the table of test/unit/test_optim.c: a few steps of PyTorch's optimisers on six numbers.

    python3 test/reference/optim.py
"""
import torch

W = [1.0, -0.5, 0.25, 2.0, -3.0, 0.0]
G = [[0.1, -0.2, 0.3, 0.0, 5.0, -1e-4], [0.2, 0.2, -0.6, 1e-3, 4.0, 2e-4], [-0.3, 0.5, 0.9, 2e-3, -8.0, 1e-4]]
KINDS = {
    "ADAMW": lambda p: torch.optim.AdamW([p], lr=0.01, weight_decay=0.1, foreach=False),
    "ADAM": lambda p: torch.optim.Adam([p], lr=0.01, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-6, foreach=False),
    "SGD": lambda p: torch.optim.SGD([p], lr=0.1, weight_decay=0.01, foreach=False),
    "SGD momentum": lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01, foreach=False),
    "SGD nesterov": lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True, foreach=False),
    "ADAMW clip 1": lambda p: torch.optim.AdamW([p], lr=0.01, weight_decay=0.1, foreach=False),
}

for name, make in KINDS.items():
    p = torch.nn.Parameter(torch.tensor(W))
    optimiser = make(p)
    for g in G:
        p.grad = torch.tensor(g)
        if "clip" in name:
            torch.nn.utils.clip_grad_norm_([p], 1.0)
        optimiser.step()
    print("    {%s}, /* %s */" % (", ".join("%.9g" % x for x in p.tolist()), name))
