"""Writes tiny SmolVLM and Idefics3 checkpoints with random weights, as transformers saves them, and a byte-level BPE tokenizer with
the special tokens of the family.

Usage: make_smolvlm.py OUT [--type smolvlm|idefics3] [--size tiny|mini] [--whole]

mini is as small as the C tests' golden wants it. --whole turns image splitting off. Idefics3's sides are odd: patches that do not
fill a tile, a picture side that is no multiple of it, pixel shuffle of 3, another filter.
"""
import argparse
import json
import os

import torch_env  # noqa: F401
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, SmolVLMConfig, SmolVLMForConditionalGeneration

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>"]


def tokenizer(n):
    tk = Tokenizer(models.BPE())
    tk.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tk.decoder = decoders.ByteLevel()
    text = [f"User Assistant describe the {a} {b} of this picture, please" for a in ("large", "small", "red") for b in ("form", "edge", "line")]
    tk.train_from_iterator(text, trainers.BpeTrainer(vocab_size=n, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    rows = [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
    tk.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL + rows])
    return tk


def shape(kind, size):
    mini = size == "mini"
    odd = kind == "idefics3"
    vision = dict(hidden_size=24 if mini else 48, num_attention_heads=2 if mini else 3, intermediate_size=40 if mini else 96,
                  num_hidden_layers=1 if mini else 3, image_size=62 if odd else 32 if mini else 56, patch_size=10 if odd else 8 if mini else 14)
    text = dict(model_type="llama", hidden_size=32 if mini else 64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1 if mini else 3,
                intermediate_size=48 if mini else 128, max_position_embeddings=2048, rope_theta=1e5, rms_norm_eps=1e-5, hidden_act="silu",
                attention_bias=False, mlp_bias=False)
    return vision, text, 3 if odd else 2


def make(out, kind, size, whole, seed=5):
    os.makedirs(out, exist_ok=True)
    tk = tokenizer(280)
    tk.save(os.path.join(out, "tokenizer.json"))
    ids = {t: tk.token_to_id(t) for t in SPECIAL}
    vision, text, s = shape(kind, size)
    text |= dict(vocab_size=tk.get_vocab_size(), bos_token_id=ids["<|im_start|>"], eos_token_id=ids["<end_of_utterance>"], pad_token_id=ids["<|im_end|>"])
    config, model = (SmolVLMConfig, SmolVLMForConditionalGeneration) if kind == "smolvlm" else (Idefics3Config, Idefics3ForConditionalGeneration)
    c = config(vision_config=vision, text_config=text, scale_factor=s, image_token_id=ids["<image>"], tie_word_embeddings=False)
    torch.manual_seed(seed)
    net = model(c).float().eval()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 1:
                p.copy_(0.1 * torch.randn_like(p) + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
            else:
                p.copy_(torch.randn_like(p) * (1.0 if "embed" in name and "patch" not in name else p[0].numel() ** -0.5))
    (net.half() if size == "mini" else net).save_pretrained(out)
    side = vision["image_size"]
    prep = dict(image_processor_type=("SmolVLM" if kind == "smolvlm" else "Idefics3") + "ImageProcessor", do_convert_rgb=True, do_resize=True,
                do_rescale=True, do_normalize=True, do_pad=True, do_image_splitting=not whole, rescale_factor=1 / 255,
                resample=3 if kind == "idefics3" else 1, size={"longest_edge": 200 if kind == "idefics3" else 4 * side},
                max_image_size={"longest_edge": side}, image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5])
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump(prep, f, indent=1)


if __name__ == "__main__":
    a = argparse.ArgumentParser()
    a.add_argument("out")
    a.add_argument("--type", default="smolvlm", choices=["smolvlm", "idefics3"])
    a.add_argument("--size", default="tiny", choices=["tiny", "mini"])
    a.add_argument("--whole", action="store_true")
    o = a.parse_args()
    make(o.out, o.type, o.size, o.whole)
