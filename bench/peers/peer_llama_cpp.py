"""eyelet and llama.cpp (llama-cpp-python's library, through its C API) in turns on the same GGUF files.

Usage: peer_llama_cpp.py --build BUILD --model FOLDER [--runs 5] [--threads 2] [--fifo P] [--json FILE] [--keep DIR]
           [--only NAME]
Groups:
  decoder   q8_0 and q4_0: prefill of 288 tokens, decode of 64 after them; no sampling, no text on either side
  cold      from the start of a process to its first token, q4_0, a question of text: `eyelet run` on the compiled file and
            on the .gguf against cold.c, a program of a few lines; with the file in the page cache, and dropped from it

Model: a FastVLM-0.5B shaped checkpoint. `eyelet convert --decoder-only` writes the files both read (embedding and head q8_0
in both).
"""

import ctypes
import mmap
import os
import subprocess
import time

import llama_cpp as ll
from harness import Contest, stage

QUESTION = "<|im_start|>user\nWhat is on the table, and what colour is it?<|im_end|>\n<|im_start|>assistant\n"


def decoder(c):
    files = {q: c.decoder_file(q) for q in ("q8_0", "q4_0")}

    def llama(path):
        model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
        cp = ll.llama_context_default_params()
        cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_threads, cp.n_threads_batch = 1024, 512, 512, c.a.threads, c.a.threads
        ctx = ll.llama_init_from_model(model, cp)
        mem = ll.llama_get_memory(ctx)

        def run(n):
            ids = (ctypes.c_int32 * n)(*[100 + i % 500 for i in range(n)])
            if ll.llama_decode(ctx, ll.llama_batch_get_one(ids, n)):
                raise SystemExit("llama_decode failed")

        with c.timed():
            run(288)
            ll.llama_memory_clear(mem, True)
            t0 = time.perf_counter()
            run(288)
            t1 = time.perf_counter()
            run(1)
            t2 = time.perf_counter()
            for _ in range(64):
                run(1)
            t3 = time.perf_counter()
        ll.llama_free(ctx)
        ll.llama_model_free(model)
        return 288 / (t1 - t0), 64 / (t3 - t2)

    for q, path in files.items():
        rows = f"prefill of 288, {q}", f"decode at 300, {q}"

        def ours():
            r = c.bench(path, "--prefill", 288, "--decode", 64, "-r", 3)
            return dict(zip(rows, (stage(r, "prefill", "tok_per_s"), stage(r, "decode", "tok_per_s"))))

        c.group("tok/s", dict(zip(rows, (2.2, 1.4))), ours, {"llama.cpp": lambda: dict(zip(rows, llama(path)))})


def touch_memory(n=1 << 30):
    """In a virtual machine the host may have taken free memory back (free page reporting), and whoever wants it first waits
    for the host: up to half a second for a model. Memory that was in use a moment ago is there, for either contestant."""
    with mmap.mmap(-1, n) as m:
        m.madvise(mmap.MADV_HUGEPAGE)
        m[::4096] = bytes(n // 4096)


def cold(c):
    gguf = c.decoder_file("q4_0")
    compiled = c.make("decoder-q4_0.eyelet", "compile", gguf, "-o", "OUT", "-q")
    site = os.path.dirname(os.path.dirname(ll.__file__))
    lib, program = os.path.join(site, "llama_cpp", "lib"), os.path.join(c.folder, "llama_cold")
    subprocess.run(
        [
            "cc",
            "-O2",
            "-I" + os.path.join(site, "include"),
            os.path.join(os.path.dirname(os.path.abspath(__file__)), "cold.c"),
            "-o",
            program,
            "-L" + lib,
            "-lllama",
            "-lggml",
            "-lggml-base",
            "-lggml-cpu",
            "-Wl,-rpath," + lib,
        ],
        check=True,
    )

    def ms(path, *cmd):
        if drop:
            with open(path) as f:
                os.fsync(f.fileno())
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        touch_memory()
        t0 = time.perf_counter()
        subprocess.run([*c.first(), *cmd], check=True, capture_output=True)
        return 1e3 * (time.perf_counter() - t0)

    def eyelet(path):
        how = ["--raw", "-p", QUESTION, "-n", "1", "-c", "1024", "-t", str(c.a.threads), "-q"]
        return ms(path, c.program, "run", "-m", path, *how)

    for drop in (False, True):
        row = "cold start to first token, q4_0, page cache " + ("cold" if drop else "warm")
        peers = {"llama.cpp": lambda: ms(gguf, program, gguf, QUESTION, str(c.a.threads))}
        c.one_row(row, "ms", 0.3, lambda: eyelet(compiled), peers)
        c.one_row(row + ", without compiling", "ms", None, lambda: eyelet(gguf), peers)


c = Contest(__doc__, "llama.cpp", lambda ap: ap.add_argument("--model", required=True))
quiet = ll.llama_log_callback(lambda level, text, data: None)
ll.llama_log_set(quiet, ctypes.c_void_p(0))
ll.llama_backend_init()
c.run({decoder: c.a.model, cold: c.a.model})
c.finish({"llama-cpp-python": ll.__version__})
