"""Decoders that `eyelet convert --decoder-only` writes, run by llama.cpp and by transformers: the same greedy tokens.

Usage: gguf_decoders.py EYELET [--keep DIR]     (pip install gguf llama-cpp-python numpy torch transformers)
Random Qwen2, Llama, Mistral and GPT-2 folders over the tokenizers of test/golden/text are written by transformers, converted in
float32, float16, q8_0 and q4_0, loaded by llama.cpp, and asked for ids of texts and for greedy tokens. float32 and float16 must give
transformers' tokens; block types are compared with eyelet's own run of the same file, up to the first near tie (llama.cpp rounds
activations in other blocks). Then the decoder-only file goes back through eyelet.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch_env  # noqa: F401  (first: see there)
import llama_cpp
import numpy as np
import sentencepiece
import torch
import transformers

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "text"
N_PREDICT, TIE = 24, {"f32": 1e-3, "f16": 0.02, "q8_0": 0.15, "q4_0": 0.25}
COMMON = dict(vocab_size=0, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.4)
CASES = {  # name: (configuration, tokenizer file, further keywords)
    "qwen2": (transformers.Qwen2Config, "modern.json", dict(tie_word_embeddings=True)),
    "llama-bytes": (transformers.LlamaConfig, "gpt2.json", {}),
    "llama-pieces": (transformers.LlamaConfig, "pieces", dict(attention_bias=True, mlp_bias=True)),
    "llama-sp": (transformers.LlamaConfig, "sp.model", dict(num_key_value_heads=4, head_dim=24)),
    "mistral": (transformers.MistralConfig, "pieces", dict(sliding_window=None)),
    "gpt2": (transformers.GPT2Config, "gpt2.json", {}),
}
TEXTS = ["a small dog runs near the water", "Ein Hund l\u00e4uft \u4e00\u53ea\u72d7!  Two  blanks\nand a line."]


def byte_level(name):
    """A golden tokenizer without what llama.cpp has no word for: NFC under GPT-2's pattern, added tokens that strip."""
    j = json.loads((GOLDEN / name).read_text())
    if name != "modern.json":
        j["normalizer"] = None
    j["added_tokens"] = [t for t in j["added_tokens"] if t["content"].startswith("<|")]
    return j, max(len(j["model"]["vocab"]), max(t["id"] for t in j["added_tokens"]) + 1)


def pieces_as_json():
    """sp.model as transformers' converter writes it: every cut of a piece is a merge, ranked by the piece's score."""
    sp = sentencepiece.SentencePieceProcessor(model_file=str(GOLDEN / "sp.model"))
    n = sp.get_piece_size()
    vocab = {sp.id_to_piece(i): i for i in range(n)}
    merges = [(-sp.get_score(i), vocab[p[:k]], vocab[p[k:]], [p[:k], p[k:]]) for p, i in vocab.items()
              if not (sp.is_control(i) or sp.is_byte(i) or sp.is_unknown(i))
              for k in range(1, len(p)) if p[:k] in vocab and p[k:] in vocab]
    special = [{"id": i, "content": sp.id_to_piece(i), "special": True, "normalized": False, "single_word": False, "lstrip": False,
                "rstrip": False} for i in range(n) if sp.is_control(i) or sp.is_unknown(i)]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {"version": "1.0", "added_tokens": special, "pre_tokenizer": None,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
            "post_processor": {"type": "TemplateProcessing", "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
                               "special_tokens": {"<s>": {"id": "<s>", "ids": [sp.bos_id()], "tokens": ["<s>"]}}},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocab,
                      "merges": [m for *_, m in sorted(merges, key=lambda m: m[:3])]}}, n


def write_folder(name, folder):
    config_class, tokenizer, more = CASES[name]
    if tokenizer == "sp.model":
        shutil.copy(GOLDEN / tokenizer, folder / "tokenizer.model")
        n = sentencepiece.SentencePieceProcessor(model_file=str(GOLDEN / tokenizer)).get_piece_size()
    else:
        j, n = pieces_as_json() if tokenizer == "pieces" else byte_level(tokenizer)
        (folder / "tokenizer.json").write_text(json.dumps(j))
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"} if tokenizer == "pieces" else {}))
    keys = dict(COMMON, **more)
    if config_class is transformers.GPT2Config:
        keys = dict(n_embd=64, n_inner=160, n_layer=3, n_head=4, n_positions=256, initializer_range=0.4)
    keys.update(vocab_size=n, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(11)
    model = transformers.AutoModelForCausalLM.from_config(config_class(**keys)).float().eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "norm" in key or "ln_" in key or "bias" in key:
                value.add_(0.2 * torch.randn_like(value))
    model.save_pretrained(folder)
    return model


def greedy_transformers(model, ids):
    out = list(ids)
    for _ in range(N_PREDICT):
        with torch.no_grad():
            out.append(int(model(torch.tensor([out])).logits[0, -1].argmax()))
    return out[len(ids):]


def greedy_llama(llama, ids):
    llama.reset()
    llama.eval(ids)
    out, gaps = [], []
    for _ in range(N_PREDICT):
        logits = np.array(llama.scores[llama.n_tokens - 1])
        top = np.argsort(logits)[::-1]
        out.append(int(top[0]))
        gaps.append(float((logits[top[0]] - logits[top[1]]) / logits.std()))
        llama.eval([out[-1]])
    return out, gaps


def eyelet_json(eyelet, *args):
    run = subprocess.run([eyelet, *args, "--json"], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"eyelet {' '.join(args)}: {run.stderr.strip()}")
    return json.loads(run.stdout)


def first_difference(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("eyelet")
    p.add_argument("--keep")
    args = p.parse_args()
    n_bad = n_all = 0

    def note(good, text):
        nonlocal n_bad, n_all
        n_all += 1
        n_bad += not good
        print(f"{'ok ' if good else 'BAD'} {text}", flush=True)

    with tempfile.TemporaryDirectory() as tmp:
        for name in CASES:
            folder = pathlib.Path(args.keep or tmp) / name
            folder.mkdir(parents=True, exist_ok=True)
            model = write_folder(name, folder)
            for kind, near in TIE.items():
                out = str(folder / f"{kind}.gguf")
                eyelet_json(args.eyelet, "convert", str(folder), "-o", out, "--decoder", kind, "--decoder-only")
                try:
                    llama = llama_cpp.Llama(out, n_ctx=256, verbose=False, logits_all=True, n_threads=2, type_k=0, type_v=0)
                except ValueError as e:
                    note(False, f"{name} {kind}: llama.cpp: {e}")
                    continue
                for text in TEXTS:
                    want = eyelet_json(args.eyelet, "tokens", "-m", str(folder), "--bos", text)["tokens"]
                    again = eyelet_json(args.eyelet, "tokens", "-m", out, "--bos", text)["tokens"]
                    got = llama.tokenize(text.encode(), add_bos=True, special=True)
                    note(got == want == again, f"{name} {kind}: {len(want)} ids of a text{'' if got == want else f': {got} {want}'}")
                    tokens, gaps = greedy_llama(llama, want)
                    ours = eyelet_json(args.eyelet, "run", "-m", out, "-p", text, "--raw", "-n", str(N_PREDICT), "--ignore-eos")["tokens"]
                    exact = greedy_transformers(model, want) if kind in ("f32", "f16") else ours
                    end = next((i for i, gap in enumerate(gaps) if gap < near), N_PREDICT)
                    same = min(first_difference(tokens, exact), first_difference(tokens, ours))
                    note(same >= end, f"{name} {kind}: {same} equal greedy tokens, first near tie at {end}")
                del llama
    print(f"{n_all - n_bad} passed, {n_bad} failed")
    return n_bad != 0


if __name__ == "__main__":
    sys.exit(main())
