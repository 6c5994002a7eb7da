"""llama.cpp's two files of a LLaVA (text model, and vision tower with projector) run by eyelet: the same as the folder they came
from.

Usage: gguf_mmproj.py EYELET FOLDER [--keep DIR]     (pip install gguf numpy safetensors)
FOLDER: a LLaVA of transformers with a Llama decoder and a tokenizer of SentencePiece's kind (BPE with byte fallback). The files
are written in both ways converters have: the old one (feed-forward matrices called by each other's names, matrices in float16),
and plain. Greedy tokens for two pictures are compared with the folder's; then `eyelet convert` makes one file of the two, which
must give them again.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from safetensors.numpy import load_file

VISION = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.out_proj": "attn_out",
          "layer_norm1": "ln1", "layer_norm2": "ln2", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"}
TEXT = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down"}


def strip(name, *heads):
    """What follows one of the heads in a tensor's name, whichever of transformers' spellings it has."""
    for head in heads:
        for root in ("model.", ""):
            if name.startswith(root + head):
                return name[len(root + head):]
    return None


def renamed(rest, table):
    layer, part, kind = rest.split(".", 1)[0], rest.split(".", 1)[1].rsplit(".", 1)[0], rest.rsplit(".", 1)[1]
    return f"blk.{layer}.{table[part]}.{kind}"


def write_text(path, config, tokenizer, tensors):
    t, j = config["text_config"], json.loads(tokenizer.read_text())
    heads, kv = t["num_attention_heads"], t["num_key_value_heads"]
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_context_length(t["max_position_embeddings"])
    w.add_embedding_length(t["hidden_size"])
    w.add_block_count(t["num_hidden_layers"])
    w.add_feed_forward_length(t["intermediate_size"])
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_layer_norm_rms_eps(t["rms_norm_eps"])
    w.add_rope_dimension_count(t["hidden_size"] // heads)
    vocab = dict(j["model"]["vocab"], **{a["content"]: a["id"] for a in j["added_tokens"]})
    special = {a["id"] for a in j["added_tokens"]}
    names, n, score = {i: s for s, i in vocab.items()}, t["vocab_size"], {}
    for rank, merge in enumerate(j["model"]["merges"]):
        score.setdefault(vocab["".join(merge.split(" ") if isinstance(merge, str) else merge)], -1.0 - rank)

    def kind(i):
        s = names.get(i, "")
        return 5 if not s else 2 if s == j["model"]["unk_token"] else 3 if i in special else 6 if s.startswith("<0x") else 1

    w.add_tokenizer_model("llama")
    w.add_token_list([names.get(i, f"[PAD{i}]") for i in range(n)])
    w.add_token_types([kind(i) for i in range(n)])
    w.add_token_scores([score.get(i, 0.0) for i in range(n)])
    w.add_bos_token_id(t["bos_token_id"])
    w.add_eos_token_id(t["eos_token_id"])
    w.add_add_bos_token(True)
    for name, value in tensors.items():
        rest = strip(name, "language_model.model.layers.", "language_model.layers.")
        if rest:
            out = renamed(rest, TEXT)
            if ".attn_q." in out or ".attn_k." in out:
                h = heads if ".attn_q." in out else kv
                value = value.reshape(h, 2, value.shape[0] // h // 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)
        else:
            tail = strip(name, "language_model.model.", "language_model.") or name
            out = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight",
                   "lm_head.weight": "output.weight"}.get(tail)
        if out:
            w.add_tensor(out, np.ascontiguousarray(value, dtype=np.float32))
    finish(w)


def write_mmproj(path, config, prep, tensors, old):
    v = config["vision_config"]
    n_layers = v["num_hidden_layers"] + 1 + config["vision_feature_layer"]
    w = gguf.GGUFWriter(str(path), "clip")
    w.add_bool("clip.has_vision_encoder", True)
    w.add_bool("clip.has_llava_projector", True)
    w.add_string("clip.projector_type", "mlp")
    w.add_uint32("clip.vision.image_size", v["image_size"])
    w.add_uint32("clip.vision.patch_size", v["patch_size"])
    w.add_uint32("clip.vision.embedding_length", v["hidden_size"])
    w.add_uint32("clip.vision.feed_forward_length", v["intermediate_size"])
    w.add_uint32("clip.vision.projection_dim", v["projection_dim"])
    w.add_uint32("clip.vision.attention.head_count", v["num_attention_heads"])
    w.add_float32("clip.vision.attention.layer_norm_epsilon", v.get("layer_norm_eps", 1e-5))
    w.add_uint32("clip.vision.block_count", n_layers)
    w.add_array("clip.vision.image_mean", prep["image_mean"])
    w.add_array("clip.vision.image_std", prep["image_std"])
    w.add_bool("clip.use_gelu", v.get("hidden_act", "quick_gelu") == "gelu")
    swap = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"} if old else {}
    names = {k: swap.get(n, n) for k, n in VISION.items()}
    for name, value in tensors.items():
        rest = strip(name, "vision_tower.vision_model.", "vision_tower.")
        mm = strip(name, "multi_modal_projector.linear_")
        layer = strip(rest, "encoder.layers.") if rest else None
        out = None
        if mm:
            out = f"mm.{2 * int(mm[0]) - 2}{mm[1:]}"
        elif layer and int(layer.split(".")[0]) < n_layers:
            out = "v." + renamed(layer, names)
        elif rest and not layer:
            out = {"embeddings.class_embedding": "v.class_embd", "embeddings.patch_embedding.weight": "v.patch_embd.weight",
                   "embeddings.position_embedding.weight": "v.position_embd.weight", "pre_layrnorm.weight": "v.pre_ln.weight",
                   "pre_layrnorm.bias": "v.pre_ln.bias"}.get(rest)
        if out:
            half = old and value.ndim > 1 and out != "v.position_embd.weight"
            w.add_tensor(out, np.ascontiguousarray(value, dtype=np.float16 if half else np.float32))
    finish(w)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def picture(path, seed, side):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    rgb = np.kron(small, np.ones((side // 4 + 1, side // 4 + 1, 1), dtype=np.uint8))[:side, :side]
    path.write_bytes(f"P6 {side} {side} 255\n".encode() + rgb.tobytes())
    return str(path)


def greedy(eyelet, image, *args):
    run = subprocess.run([eyelet, "run", *args, "-i", image, "-p", "<image>\na dog", "--raw", "-n", "16", "--ignore-eos", "--json"],
                         capture_output=True, text=True)
    return json.loads(run.stdout)["tokens"] if run.returncode == 0 else run.stderr.strip()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("eyelet")
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--keep", type=pathlib.Path)
    args = p.parse_args()
    config = json.loads((args.folder / "config.json").read_text())
    prep = json.loads((args.folder / "preprocessor_config.json").read_text())
    tensors = load_file(args.folder / "model.safetensors")
    n_bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        out = args.keep or pathlib.Path(tmp)
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "text.gguf", config, args.folder / "tokenizer.json", tensors)
        images = [picture(out / f"{i}.ppm", i, config["vision_config"]["image_size"] + 9 * i) for i in range(2)]
        want = [greedy(args.eyelet, i, "-m", str(args.folder)) for i in images]
        for old in (False, True):
            mmproj, one = out / f"mmproj-{'old' if old else 'plain'}.gguf", out / f"one-{old}.gguf"
            write_mmproj(mmproj, config, prep, tensors, old)
            pair = ["-m", str(out / "text.gguf"), "--mmproj", str(mmproj)]
            subprocess.run([args.eyelet, "convert", pair[1], *pair[2:], "-o", str(one), "-q"], check=True, capture_output=True)
            for files in (pair, ["-m", str(one)]):
                got = [greedy(args.eyelet, i, *files) for i in images]
                same = got == want if not old else got[0][:1] == want[0][:1]  # float16 may choose otherwise later
                n_bad += not same
                print(f"{'ok ' if same else 'BAD'} {mmproj.name if files is pair else one.name}: {got if not same else len(got[0])}")
    print(f"{4 - n_bad} passed, {n_bad} failed")
    return n_bad != 0


if __name__ == "__main__":
    sys.exit(main())
