"""Times eyelet and its peers on the same machine, in turns, in one run, and prints the ratios.

Usage: peers.py --build BUILD vision --model FOLDER [--runs 5] [--threads 2]
           FastViTHD of FOLDER: eyelet f32 and bf16 against PyTorch eager (channels_last) in the same types
       peers.py --build BUILD decoder --model FOLDER [--runs 5] [--threads 2]
           the decoder: q8_0 and q4_0, prefill of 288 tokens and decode of 64 after them, against llama.cpp (llama-cpp-python)
       peers.py --build BUILD training [--runs 5] [--threads 2]
           whole training steps (loss and all gradients) of bench_train's networks against PyTorch eager: f32, and bf16 against
           autocast; with --threads 1 in processor time, which other programs disturb less
       peers.py --build BUILD hpml --model FOLDER [--runs 5] [--threads 2]
           one forward of the HPML study's network over ten tokens, the picture seen: `bench --hpml` of FOLDER (a student of
           recipes/hpml.json) against PyTorch eager, quantized as the study quantizes (dynamic int8 of nn.Linear), traced, both

Every round runs each contestant once, so that a slow spell of a shared machine hits all; the medians' ratio is what counts.
Needs what test/reference needs; `decoder` also llama-cpp-python.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "test", "reference"))


def eyelet_bench(build, threads, *args):
    out = subprocess.run([os.path.join(build, "eyelet"), "bench", "-t", str(threads), "--json", *args], capture_output=True, check=True).stdout
    return json.loads(out)


def stage(report, name, key):
    return report["stages"][name][key]


class Table:
    def __init__(self):
        self.rows = {}

    def add(self, name, value):
        self.rows.setdefault(name, []).append(value)

    def show(self, unit, pairs):
        for name, v in self.rows.items():
            print(f"{name:34s} median {statistics.median(v):9.2f}  best {min(v) if unit == 'ms' else max(v):9.2f} {unit}")
        for a, b in pairs:
            ratios = [x / y for x, y in zip(self.rows[a], self.rows[b])]
            print(f"{a} / {b}: {statistics.median(ratios):.3f} (of {len(ratios)} rounds: {min(ratios):.3f} to {max(ratios):.3f})")


def vision(a):
    import fastvlm
    import torch
    torch.set_num_threads(a.threads)
    model = fastvlm.FastVLM(a.model)
    side = model.side()
    x = torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    f32 = model.vision.to(memory_format=torch.channels_last)
    import copy
    bf16 = copy.deepcopy(f32).bfloat16()
    t = Table()
    for _ in range(a.runs + 1):
        for name, net, inp in (("torch f32", f32, x), ("torch bf16", bf16, x.bfloat16())):
            with torch.no_grad():
                t0 = time.perf_counter()
                net.forward_features(inp)
                t.add(name, 1e3 * (time.perf_counter() - t0))
        for kind in ("f32", "bf16"):
            r = eyelet_bench(a.build, a.threads, "-m", a.model, "--vision", kind, "--runs", "2", "--prefill", "1", "--decode", "1")
            t.add("eyelet " + kind, stage(r, "vision", "min_ms"))
    for v in t.rows.values():
        v.pop(0)  # the first round warms caches
    t.show("ms", [("eyelet f32", "torch f32"), ("eyelet bf16", "torch bf16")])


def llama_times(path, threads, n_prompt, n_gen):
    """(prefill tok/s, decode tok/s) through the C API: no sampling, no detokenizing."""
    import ctypes

    import llama_cpp as ll
    ll.llama_backend_init()
    mp = ll.llama_model_default_params()
    model = ll.llama_model_load_from_file(path.encode(), mp)
    cp = ll.llama_context_default_params()
    cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_threads, cp.n_threads_batch = 1024, 512, 512, threads, threads
    ctx = ll.llama_init_from_model(model, cp)

    def run(n):
        ids = (ctypes.c_int32 * n)(*[100 + i % 500 for i in range(n)])
        if ll.llama_decode(ctx, ll.llama_batch_get_one(ids, n)):
            raise SystemExit("llama_decode failed")
    mem = ll.llama_get_memory(ctx)
    run(n_prompt)  # warm
    ll.llama_memory_clear(mem, True)
    t0 = time.perf_counter()
    run(n_prompt)
    pp = n_prompt / (time.perf_counter() - t0)
    ll.llama_memory_clear(mem, True)
    run(n_prompt)
    run(1)
    t0 = time.perf_counter()
    for _ in range(n_gen):
        run(1)
    tg = n_gen / (time.perf_counter() - t0)
    ll.llama_free(ctx)
    ll.llama_model_free(model)
    return pp, tg


def decoder(a):
    from llama_cpp import llama_log_callback, llama_log_set
    import ctypes
    quiet = llama_log_callback(lambda level, text, data: None)
    llama_log_set(quiet, ctypes.c_void_p(0))
    with tempfile.TemporaryDirectory() as tmp:
        pp, tg, pairs = Table(), Table(), []
        files = {}
        for q in ("q8_0", "q4_0"):
            files[q] = os.path.join(a.keep or tmp, f"decoder-{q}.gguf")
            if not os.path.exists(files[q]):
                subprocess.run([os.path.join(a.build, "eyelet"), "convert", a.model, "-o", files[q], "--decoder", q, "--decoder-only"], check=True)
            pairs.append((f"eyelet {q}", f"llama.cpp {q}"))
        for _ in range(a.runs):
            for q in files:
                p, g = llama_times(files[q], a.threads, 288, 64)
                pp.add(f"llama.cpp {q}", p)
                tg.add(f"llama.cpp {q}", g)
                r = eyelet_bench(a.build, a.threads, "-m", a.model, "--decoder", q, "--vision", "bf16", "--runs", "2", "--prefill", "288",
                                 "--decode", "64")
                pp.add(f"eyelet {q}", stage(r, "prefill", "tok_per_s"))
                tg.add(f"eyelet {q}", stage(r, "decode", "tok_per_s"))
        print("prefill of 288 tokens")
        pp.show("tok/s", pairs)
        print("decode of 64 tokens after them")
        tg.show("tok/s", pairs)


def training_decoder(torch, d, layers):
    """GPT-2's blocks as bench_train.c builds them: 64 sequences of 48 rows, vocabulary 4096, head tied to the table."""
    from torch import nn
    import torch.nn.functional as F

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.out, self.up, self.down = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

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


def training_mobilenet(torch, tail):
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

    rows = [(16, 16, 1), (64, 24, 2), (72, 24, 1), (72, 40, 2), (120, 40, 1), (120, 40, 1), (240, 80, 2), (200, 80, 1), (184, 80, 1),
            (184, 80, 1), (480, 112, 1), (672, 112, 1), (672, 160, 2), (960, 160, 1), (960, 160, 1)]
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


def training(a):
    import torch
    torch.set_num_threads(a.threads)
    clock = time.process_time if a.threads == 1 else time.perf_counter
    nets = {"decoder 256 4": training_decoder(torch, 256, 4), "decoder 384 6": training_decoder(torch, 384, 6),
            "mobilenet 32": training_mobilenet(torch, False), "tail 32": training_mobilenet(torch, True)}
    for what, (net, loss) in nets.items():
        if a.only not in what:
            continue
        t, pairs = Table(), []
        kind, *size = what.split()
        for bf16 in (False, True):
            pairs.append((f"eyelet {what} " + ("bf16" if bf16 else "f32"), f"torch {what} " + ("autocast" if bf16 else "f32")))
            for i in range(a.runs + 1):
                best = float("inf")
                for _ in range(3):
                    net.zero_grad(set_to_none=True)
                    t0 = clock()
                    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                        y = loss()
                    y.backward()
                    best = min(best, 1e3 * (clock() - t0))
                t.add(pairs[-1][1], best)
                out = subprocess.run([os.path.join(a.build, "bench", "bench_train"), kind, "bf16" if bf16 else "f32", str(a.threads), *size],
                                     env=dict(os.environ, RUNS="3"), capture_output=True, text=True, check=True).stdout
                t.add(pairs[-1][0], float(out.split("best ")[2 if a.threads == 1 else 1].split()[0]))
        for v in t.rows.values():
            v.pop(0)  # the first round warms caches
        t.show("ms", pairs)


def hpml_network(torch):
    import torch_env  # noqa: F401: before torchvision
    import torchvision
    import transformers
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.eyes = torchvision.models.mobilenet_v3_small()
            self.eyes.classifier[3] = nn.Linear(1024, 768)
            self.projector = nn.Linear(768, 768)
            config = transformers.GPT2Config(vocab_size=50257, n_positions=4096, n_embd=768, n_layer=6, n_head=12, use_cache=False)
            self.decoder = transformers.GPT2Model(config)
            self.head = nn.Linear(768, 32000)

        def forward(self, pixels, ids):
            rows = self.projector(self.eyes(pixels))[:, None]
            x = torch.cat([rows, self.decoder.wte(ids)], 1)
            return self.head(self.decoder(inputs_embeds=x, return_dict=False)[0][:, 1:])

    return Network().eval()


def hpml(a):
    import torch
    torch.set_num_threads(a.threads)
    x = torch.rand(1, 3, 336, 336), torch.randint(0, 32000, (1, 10))
    plain = hpml_network(torch)
    quantized = torch.ao.quantization.quantize_dynamic(plain, {torch.nn.Linear}, dtype=torch.qint8)
    names = ["plain", "quantized", "compiled", "both"]
    with torch.no_grad():
        nets = [plain, quantized, torch.jit.trace(plain, x), torch.jit.trace(quantized, x)]
        t = Table()
        for i in range(a.runs + 1):
            for row in eyelet_bench(a.build, a.threads, "-m", a.model, "--hpml", "-r", "5")["rows"]:
                t.add("eyelet " + row["name"], row["ms"])
            for name, net in zip(names, nets):
                times = []
                for _ in range(6):
                    t0 = time.perf_counter()
                    net(*x)
                    times.append(1e3 * (time.perf_counter() - t0))
                t.add("torch " + name, statistics.median(times[1:]))
    for v in t.rows.values():
        v.pop(0)  # the first round warms caches
    t.show("ms", [("eyelet " + name, "torch " + name) for name in names])


ap = argparse.ArgumentParser()
ap.add_argument("--build", required=True)
ap.add_argument("what", choices=["vision", "decoder", "training", "hpml"])
ap.add_argument("--model", help="not for training")
ap.add_argument("--runs", type=int, default=5)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--keep", help="folder for the converted files")
ap.add_argument("--only", default="", help="training: networks whose name contains this")
a = ap.parse_args()
if not a.model and a.what != "training":
    ap.error("--model FOLDER is needed")
{"vision": vision, "decoder": decoder, "training": training, "hpml": hpml}[a.what](a)
