"""Trains a small VLM for measuring quantization: weights that mean something, where random ones would not show what rounding costs.

Usage: train_vlm.py -o FOLDER [--minutes 10] [--images 2400] [--lines 20000] [--data DIR]

The result is a composition (doc/models/compose.md): minimalistic MobileNetV3-Large with Google's ImageNet weights, frozen, its 960 pooled
features as one image row; a two-layer projector; a Qwen2 decoder of 4 layers, 256 wide, with 4096 byte-level tokens. Projector and decoder
are trained from nothing on Flickr8k's training pictures and on captions without pictures (DIR: ../shared/data, see EYELET_DATA). A few minutes
on one core make a decoder that writes captions, not a good one. Pictures and captions are not ours: the folder is not for publishing.
"""
import argparse
import json
import os
import random
import time

import numpy as np
import torch_env  # noqa: F401  (before torchvision)
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import compose

HERE = os.path.dirname(os.path.abspath(__file__))
WEIGHTS = "mobilenetv3_large_minimalistic_imagenet"
VISION = {"type": "mobilenetv3", "variant": "large_minimalistic", "padding": "tf_same", "batch_norm": False, "output": "pooled",
          "image_size": 224}
TEXT = {"type": "qwen2", "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 4096, "max_position_embeddings": 256, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True}
PREP = {"fit": "stretch", "resample": "bilinear", "mean": [128 / 255] * 3, "std": [127 / 255] * 3}
END = "<|endoftext|>"  # begins and ends every caption


def read_data(data, n_images, n_lines, rng):
    with open(os.path.join(data, "flickr8k", "Flickr_8k.trainImages.txt")) as f:
        train = {line.strip() for line in f}
    captions = {}
    with open(os.path.join(data, "flickr8k", "captions.txt")) as f:
        next(f)
        for line in f:
            image, text = line.rstrip("\n").split(",", 1)
            if image in train:
                captions.setdefault(image, []).append(text.strip(' "'))
    with open(os.path.join(data, "captions_text", "flickr30k_without_flickr8k_dev_test.txt")) as f:
        lines = [line.strip() for line in f]
    names = sorted(captions)
    rng.shuffle(names)
    rng.shuffle(lines)
    return {n: captions[n] for n in names[:n_images]}, lines[:n_lines]


def train_tokenizer(texts, folder):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=TEXT["vocab_size"], special_tokens=[END], show_progress=False,
                                                     initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.TemplateProcessing(single=END + " $A", special_tokens=[(END, 0)])
    t.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END, "eos_token": END}, f)
    return t


class Tower(compose.Minimalistic):
    """With the last convolution, whose pooled map is the feature row."""

    def __init__(self, tensors):
        super().__init__(VISION)
        self.params = torch.nn.ParameterDict({k[2:].replace(".", "/"): torch.nn.Parameter(torch.from_numpy(np.array(v)), False)
                                              for k, v in tensors.items() if "classifier" not in k})

    @torch.no_grad()
    def forward(self, px):
        return F.relu(self.conv(self.features(px), "features.16.0", 1)).mean((2, 3))


def features_of(tower, data, names):
    out = []
    for i in range(0, len(names), 16):
        px = [compose.image_pixels(os.path.join(data, "flickr8k", "images", n), 224, PREP) for n in names[i:i + 16]]
        out.append(tower(torch.from_numpy(np.stack(px))))
    return torch.cat(out)


def batch_loss(model, projector, rows, ids, lengths):
    """rows [B, 960] or None; ids [B, T] from END on, padded. Each position says the next token; the image row says nothing."""
    x = model.get_input_embeddings()(ids[:, :-1])
    if rows is not None:
        x = torch.cat([projector(rows)[:, None], x], 1)
    logits = model(inputs_embeds=x).logits[:, -(ids.shape[1] - 1):].float()
    target = ids[:, 1:].masked_fill(torch.arange(1, ids.shape[1]) >= lengths[:, None], -100)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-100)


def train(model, projector, features, pairs, lines, minutes, rng, batch=96):
    params = [*model.parameters(), *projector.parameters()]
    opt = torch.optim.AdamW(params, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05)
    start, step, done = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in opt.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 30) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done)))
        with_image = rng.random() < 0.25 + 0.75 * done  # first to write, then to look
        chosen = [pairs[rng.randrange(len(pairs))] if with_image else (None, lines[rng.randrange(len(lines))]) for _ in range(batch)]
        lengths = torch.tensor([len(ids) for _, ids in chosen])
        ids = torch.zeros(batch, int(lengths.max()), dtype=torch.long)
        for i, (_, t) in enumerate(chosen):
            ids[i, :len(t)] = torch.tensor(t)
        rows = features[[image for image, _ in chosen]] if with_image else None
        loss = batch_loss(model, projector, rows, ids, lengths)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        if step % 25 == 0:
            print(f"step {step}, {100 * done:.0f} %: loss {loss.item():.3f}{' with image' if with_image else ''}", flush=True)
        step += 1
    print(f"{step} steps of {batch} captions, last loss {loss.item():.3f}")


def save(folder, tower_tensors, projector, model):
    out = {k: np.ascontiguousarray(v) for k, v in tower_tensors.items() if "classifier" not in k}
    out.update({f"mm.{k}": p.detach().numpy() for k, p in projector.state_dict().items()})
    out.update({k: p.detach().numpy() for k, p in compose.canonical_text(model, TEXT).items()})
    save_file(out, os.path.join(folder, "model.safetensors"))
    config = {"model_type": "eyelet_vlm", "vision": VISION, "projector": {"type": "mlp2x_gelu"},
              "text": {**TEXT, "bos_token_id": 0, "eos_token_id": 0}, "image_position": "first", "chat_template": "tinyllava", "preprocessing": PREP}
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=1)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-o", required=True)
    ap.add_argument("--minutes", type=float, default=10)
    ap.add_argument("--images", type=int, default=2400)
    ap.add_argument("--lines", type=int, default=20000)
    ap.add_argument("--data", default=os.environ.get("EYELET_DATA", os.path.join(HERE, "..", "..", "..", "shared", "data")))
    a = ap.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    rng = random.Random(1)
    os.makedirs(a.o, exist_ok=True)
    captions, texts = read_data(a.data, a.images, a.lines, rng)
    tokenizer = train_tokenizer(texts + [t for c in captions.values() for t in c], a.o)
    with open(os.path.join(a.data, "weights", WEIGHTS + ".graph.json")) as f:
        tensors = compose.Suite.minimalistic_tensors(json.load(f), load_file(os.path.join(a.data, "weights", WEIGHTS + ".safetensors")))
    start = time.monotonic()
    features = features_of(Tower(tensors), a.data, list(captions))
    print(f"{len(features)} pictures in {time.monotonic() - start:.0f} s, features' RMS {features.pow(2).mean().sqrt():.3f}", flush=True)

    def encode(text):
        return [*tokenizer.encode(text).ids[:60], 0]
    pairs = [(i, encode(t)) for i, c in enumerate(captions.values()) for t in c]
    model = compose.qwen2(TEXT).train()
    projector = torch.nn.Sequential(torch.nn.Linear(960, 256), torch.nn.GELU(), torch.nn.Linear(256, 256))
    train(model, projector, features, pairs, [encode(t) for t in texts], a.minutes, rng)
    save(a.o, tensors, projector, model)


if __name__ == "__main__":
    main()
