"""Times eyelet and its peers on the same machine, in turns, in one run, and prints the ratios.

Usage: peers.py --build BUILD vision --model FOLDER [--runs 5] [--threads 2]
           FastViTHD of FOLDER: eyelet f32 and bf16 against PyTorch eager (channels_last) in the same types
       peers.py --build BUILD decoder --model FOLDER [--runs 5] [--threads 2]
           the decoder: q8_0 and q4_0, prefill of 288 tokens and decode of 64 after them, against llama.cpp (llama-cpp-python)

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


ap = argparse.ArgumentParser()
ap.add_argument("--build", required=True)
ap.add_argument("what", choices=["vision", "decoder"])
ap.add_argument("--model", required=True)
ap.add_argument("--runs", type=int, default=5)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--keep", help="folder for the converted files")
a = ap.parse_args()
{"vision": vision, "decoder": decoder}[a.what](a)
