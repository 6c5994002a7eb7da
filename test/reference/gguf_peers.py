"""GGUF files that llama.cpp's own tools make, and those that eyelet makes of them with calibration, run by eyelet and by llama.cpp:
the same greedy tokens.

Usage: gguf_peers.py EYELET [--keep DIR]     (pip install gguf llama-cpp-python numpy)
Random Qwen2 and Llama decoders are written with the gguf package, quantized by llama.cpp to every type eyelet reads, and run by
both. llama.cpp rounds activations to 8 bit for most block types (to Q8_K for K types), so tokens are compared up to the first
place where llama.cpp's two best logits are closer than a part of their spread; how many were equal is printed. And exactly: the
numbers of the quantized file as the gguf package reads them, in a float32 file run by llama.cpp with a float32 cache, against
eyelet's own reading of the quantized file with --decoder f32: every token must be equal.
"""
import argparse
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

HIDDEN, FFN, HEADS, KV_HEADS, LAYERS, N_PREDICT = 256, 512, 8, 4, 2, 24
TIE = {"F32": 1e-3, "F16": 0.02}  # others: TIE_ROUNDED
TIE_ROUNDED = 0.25
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K_M", "Q5_K_M", "Q6_K"]
OURS = {"calibrated-Q8_0": "q8_0", "calibrated-Q4_0": "q4_0", "calibrated-Q4_K": "q4_k"}
FTYPE = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "BF16": 32}


def byte_alphabet():
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in kept] + [chr(256 + i) for i in range(256 - len(kept))]


def vocabulary():
    tokens = byte_alphabet()
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("Ġ", "a"), ("a", "n"), ("e", "r"), ("o", "n")]
    tokens += [a + b for a, b in merges]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens += special
    unused = [f"[PAD{i}]" for i in range(len(tokens), 320)]
    kinds = [1] * (len(tokens) - len(special)) + [3] * len(special) + [5] * len(unused)
    return tokens + unused, kinds, [" ".join(m) for m in merges], tokens.index("<|endoftext|>")


def write(path, arch, tied, seed, stored=None):
    """stored: the numbers of another file of these tensors."""
    rng = np.random.default_rng(seed)
    w = gguf.GGUFWriter(str(path), arch)
    tokens, kinds, merges, end = vocabulary()
    w.add_context_length(512)
    w.add_embedding_length(HIDDEN)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_rope_freq_base(10000.0)
    w.add_layer_norm_rms_eps(1e-5)
    if arch == "llama":
        w.add_rope_dimension_count(HIDDEN // HEADS)
        w.add_vocab_size(len(tokens))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2" if arch == "qwen2" else "smollm")
    w.add_token_list(tokens)
    w.add_token_types(kinds)
    w.add_token_merges(merges)
    w.add_eos_token_id(end)
    w.add_add_bos_token(False)

    def matrix(name, rows, columns, gain=1.0):
        made = (rng.standard_normal((rows, columns)) * gain / np.sqrt(columns)).astype(np.float32)
        w.add_tensor(name, made if stored is None else stored[name].reshape(rows, columns))

    def vector(name, n, mean=0.0):
        made = (mean + 0.2 * rng.standard_normal(n)).astype(np.float32)
        w.add_tensor(name, made if stored is None else stored[name].reshape(n))

    head = HIDDEN // HEADS
    matrix("token_embd.weight", len(tokens), HIDDEN)
    for i in range(LAYERS):
        for name, rows in (("attn_q", HIDDEN), ("attn_k", KV_HEADS * head), ("attn_v", KV_HEADS * head)):
            matrix(f"blk.{i}.{name}.weight", rows, HIDDEN, 2)
            if arch == "qwen2":
                vector(f"blk.{i}.{name}.bias", rows)
        matrix(f"blk.{i}.attn_output.weight", HIDDEN, HIDDEN)
        matrix(f"blk.{i}.ffn_gate.weight", FFN, HIDDEN)
        matrix(f"blk.{i}.ffn_up.weight", FFN, HIDDEN)
        matrix(f"blk.{i}.ffn_down.weight", HIDDEN, FFN)
        vector(f"blk.{i}.attn_norm.weight", HIDDEN, 1)
        vector(f"blk.{i}.ffn_norm.weight", HIDDEN, 1)
    vector("output_norm.weight", HIDDEN, 1)
    if not tied:
        matrix("output.weight", len(tokens), HIDDEN, 4)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def quantize(src, dst, kind):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FTYPE[kind]
    params.nthread = 2
    if llama_cpp.llama_model_quantize(str(src).encode(), str(dst).encode(), ctypes.byref(params)) != 0:
        sys.exit(f"llama.cpp cannot quantize {src} to {kind}")


def dequantized(path):
    return {t.name: gguf.dequantize(t.data, t.tensor_type).astype(np.float32) for t in gguf.GGUFReader(str(path)).tensors}


def greedy_peer(path, prompt):
    """ids, and at each the distance of the two best logits over the logits' standard deviation."""
    model = llama_cpp.Llama(str(path), n_ctx=256, verbose=False, logits_all=True, n_threads=2, type_k=0, type_v=0)
    ids = model.tokenize(prompt.encode(), add_bos=False, special=False)
    out, gaps, n = [], [], len(ids)
    model.eval(ids)
    for _ in range(N_PREDICT):
        logits = np.array(model.scores[model.n_tokens - 1])
        top = np.argsort(logits)[::-1]
        out.append(int(top[0]))
        gaps.append(float((logits[top[0]] - logits[top[1]]) / logits.std()))
        model.eval([out[-1]])
    del model
    return ids[:n], out, gaps


def greedy_eyelet(eyelet, path, prompt, *options):
    run = subprocess.run([eyelet, "run", "-m", path, "-p", prompt, "--raw", "-n", str(N_PREDICT), "--ignore-eos", "--json", *options],
                         capture_output=True, text=True)
    if run.returncode:
        return None, run.stderr.strip()
    return json.loads(run.stdout)["tokens"], ""


def calibrate(eyelet, src, dst, kind, folder):
    """eyelet's own rounding to a block type, for lines of words as inputs."""
    rng, words = np.random.default_rng(3), ["the", "man", "in", "on", "another", "1", "42", "hat", "then", "a", "one", "thin"]
    lines = folder / "lines"
    lines.mkdir(exist_ok=True)
    (lines / "captions.txt").write_text("".join(" ".join(rng.choice(words, 20)) + "\n" for _ in range(40)))
    run = subprocess.run([eyelet, "convert", src, "-o", dst, "--decoder", kind, "--decoder-only", "--calibration", lines],
                         capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"eyelet cannot convert {src} to {kind}: {run.stderr.strip()}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("eyelet")
    p.add_argument("--keep")
    args = p.parse_args()
    prompt, n_bad, n_all = "the man in 1 the on 42", 0, 0
    with tempfile.TemporaryDirectory() as tmp:
        folder = pathlib.Path(args.keep or tmp)
        folder.mkdir(parents=True, exist_ok=True)
        for arch, tied in (("qwen2", True), ("qwen2", False), ("llama", False)):
            base = folder / f"{arch}{'-tied' if tied else ''}-F32.gguf"
            write(base, arch, tied, 7)
            for kind in TYPES + list(OURS):
                n_all += 1
                path = base if kind == "F32" else base.with_name(base.name.replace("F32", kind))
                if kind in OURS:
                    calibrate(args.eyelet, base, path, OURS[kind], folder)
                elif kind != "F32":
                    quantize(base, path, kind)
                _, want, gaps = greedy_peer(path, prompt)
                got, why = greedy_eyelet(args.eyelet, path, prompt)
                n = next((i for i, gap in enumerate(gaps) if gap < TIE.get(kind, TIE_ROUNDED)), len(gaps))
                same = got is not None and got[:n] == want[:n]
                n_bad += not same
                n_same = next((i for i, (a, b) in enumerate(zip(got or [], want)) if a != b), len(got or []))
                print(f"{'ok ' if same else 'BAD'} {path.name}: {n_same} equal tokens, first near tie at {n} {why}")
                if kind == "F32":
                    continue
                plain = folder / "plain.gguf"
                write(plain, arch, tied, 7, dequantized(path))
                _, exact, _ = greedy_peer(plain, prompt)
                got, why = greedy_eyelet(args.eyelet, path, prompt, "--decoder", "f32")
                n_all += 1
                n_bad += got != exact
                print(f"{'ok ' if got == exact else 'BAD'} {path.name}: its numbers in float32, all tokens {why}")
    print(f"{n_all - n_bad} passed, {n_bad} failed")
    return n_bad != 0


if __name__ == "__main__":
    sys.exit(main())
