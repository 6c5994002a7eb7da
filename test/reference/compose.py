"""Compositions (doc/models/compose.md) and GPT-2 against PyTorch: torchvision's MobileNetV3, transformers' GPT-2 and Qwen2.

Usage: compose.py --build BUILD                  checks on checkpoints made on the spot; ends with "N passed, N failed"
       compose.py --fixtures                     writes test/golden/compose: what test_compose.c reads
       compose.py --build BUILD --weights DIR --labels FILE PICTURE...
                                                 the minimalistic MobileNetV3 of DIR (a TFLite graph as .graph.json and
                                                 .safetensors): eyelet against an interpreter of the graph, and top labels

A checkpoint's weights are make_checkpoint's formula over canonical names; offset and gain of each tensor are chosen here and
written down in tensors.txt, so the C tests make the same files. Goldens are computed in float64.
"""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch_env  # noqa: F401  (before torchvision)
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import load_file, save_file
from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf
from transformers import (CLIPVisionConfig, CLIPVisionModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel)

import fastvlm
from formula import uniform
from suite import Checks, rel_rms

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden", "compose")
IMAGE = os.path.join(HERE, "..", "..", "doc", "demo.jpg")
IDS, N_BPE, VOCAB = [5, 77, 201, 33, 118], 300, 320
REL = 1e-4

GPT2 = {"type": "gpt2", "n_embd": 48, "n_layer": 2, "n_head": 4, "vocab_size": VOCAB, "n_positions": 128}
QWEN2 = {"type": "qwen2", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": VOCAB, "max_position_embeddings": 256, "rope_theta": 10000.0}
PREP = {"fit": "stretch", "resample": "bilinear", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def config(vision, projector, text, **more):
    return {"model_type": "eyelet_vlm", "vision": {"type": "mobilenetv3", **vision}, "projector": projector, "text": text,
            "image_position": "first", "preprocessing": PREP, **more}


CASES = {  # the seed's shape is "pooled": one image row before BOS, a linear projector, an untied head with bias
    "small-map": config({"variant": "small", "width": 0.25, "image_size": 65}, {"type": "linear"}, {**GPT2, "tie_word_embeddings": True}),
    "small-classifier": config({"variant": "small", "width": 0.15, "image_size": 64, "output": "classifier"}, {"type": "linear"},
                               {**GPT2, "embedding_rows": 333, "tie_word_embeddings": False}),
    "large-pooled": config({"variant": "large", "width": 0.2, "image_size": 64, "output": "pooled"}, {"type": "mlp2x_gelu"},
                           {**QWEN2, "tie_word_embeddings": True}),
    "minimal-tap": config({"variant": "large_minimalistic", "width": 0.25, "image_size": 70, "padding": "tf_same", "batch_norm": False,
                           "tap": 12}, {"type": "linear", "bias": False}, {**GPT2, "tie_word_embeddings": True}),
}

FULL = {  # the published sizes; no fixtures
    "small-full": config({"variant": "small", "image_size": 224}, {"type": "linear"}, {**GPT2, "tie_word_embeddings": True}),
    "large-full": config({"variant": "large", "image_size": 160}, {"type": "linear"}, {**GPT2, "tie_word_embeddings": True}),
}
LLAMA = {**QWEN2, "type": "llama", "tie_word_embeddings": False}
VIT = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4, "patch_size": 8, "image_size": 40,
       "vision_feature_layer": -2}
OTHERS = {  # one of each tower and decoder that has tests of its own
    "clip-qwen2": config({**VIT, "type": "clip"}, {"type": "mlp2x_gelu"}, {**QWEN2, "tie_word_embeddings": True}),
    "siglip-gpt2": config({**VIT, "type": "siglip"}, {"type": "linear"}, {**GPT2, "tie_word_embeddings": True}),
    "siglip-shuffle-llama": config({**VIT, "type": "siglip", "image_size": 64}, {"type": "linear", "shuffle": 4, "bias": False}, LLAMA),
    "mobilenetv3-shuffle-gpt2": config({"variant": "large", "width": 0.25, "image_size": 128, "tap": 12}, {"type": "mlp2x_gelu", "shuffle": 2},
                                       {**GPT2, "tie_word_embeddings": True}),
    "mobilenetv3-llama": config({"variant": "small", "width": 0.25, "image_size": 65}, {"type": "mlp3x_gelu"}, LLAMA),
}
TEXT = {"model_type": "gpt2", "activation_function": "gelu_new", **{k: v for k, v in GPT2.items() if k != "type"}, "n_inner": None,
        "bos_token_id": N_BPE, "eos_token_id": N_BPE, "tie_word_embeddings": True}  # a folder as transformers writes it


# ---- models ----

def is_large(v):
    return v["variant"].startswith("large")


class Minimalistic(torch.nn.Module):
    """The network of keras' MobileNetV3 with minimalistic=True, BatchNorms folded, over torchvision's names."""

    def __init__(self, v):
        super().__init__()
        setting, last = _mobilenet_v3_conf("mobilenet_v3_" + ("large" if is_large(v) else "small"), width_mult=v.get("width", 1))
        self.setting, self.tap, self.last = setting, v.get("tap", -1), last
        self.params = torch.nn.ParameterDict()

        def conv(name, o, c, k):
            self.params[(name + ".weight").replace(".", "/")] = torch.nn.Parameter(torch.zeros(o, c, k, k))
            self.params[(name + ".bias").replace(".", "/")] = torch.nn.Parameter(torch.zeros(o))
        conv("features.0.0", setting[0].input_channels, 3, 3)
        for i, s in enumerate(setting, 1):
            if 0 <= self.tap < i:
                break
            e, part = s.expanded_channels, 0
            if e != s.input_channels:
                conv(f"features.{i}.block.0.0", e, s.input_channels, 1)
                part = 1
            conv(f"features.{i}.block.{part}.0", e, 1, 3)
            conv(f"features.{i}.block.{part + 1}.0", s.out_channels, e, 1)

    def state(self):
        return {k.replace("/", "."): p for k, p in self.params.items()}

    def conv(self, x, name, stride, groups=1):
        w, b = self.params[(name + ".weight").replace(".", "/")], self.params[(name + ".bias").replace(".", "/")]
        pads = []
        for n in (x.shape[3], x.shape[2]):
            total = max((-(-n // stride) - 1) * stride + w.shape[2] - n, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), w, b, stride, groups=groups)

    def features(self, x):
        x = F.relu(self.conv(x, "features.0.0", 2))
        for i, s in enumerate(self.setting[:self.tap if self.tap >= 0 else None], 1):
            y, part = x, 0
            if s.expanded_channels != s.input_channels:
                y, part = F.relu(self.conv(y, f"features.{i}.block.0.0", 1)), 1
            y = F.relu(self.conv(y, f"features.{i}.block.{part}.0", s.stride, y.shape[1]))
            y = self.conv(y, f"features.{i}.block.{part + 1}.0", 1)
            x = x + y if s.stride == 1 and x.shape[1] == y.shape[1] else y
        return x


class Composition:
    def __init__(self, cfg):
        self.cfg = cfg
        v, t = cfg["vision"], cfg["text"]
        if v["type"] in ("clip", "siglip"):
            self.vision = vit(v)
            vision = {vit_name(k): p for k, p in self.vision.state_dict().items()}
        elif "minimalistic" in v["variant"]:
            self.vision = Minimalistic(v)
            vision = self.vision.state()
        else:
            setting, last = _mobilenet_v3_conf("mobilenet_v3_" + v["variant"], width_mult=v.get("width", 1))
            self.vision = MobileNetV3(setting, last, num_classes=56)
            vision = {k: p for k, p in self.vision.state_dict().items() if not k.endswith("num_batches_tracked")}
        self.names = {"v." + k: p for k, p in vision.items()}
        self.vision.eval()
        side = v["image_size"]
        channels = self.shuffled(self.run_vision(torch.zeros(1, 3, side, side))).shape[1]
        hidden = t["n_embd"] if t["type"] == "gpt2" else t["hidden_size"]
        n = int(cfg["projector"]["type"][3]) if cfg["projector"]["type"].startswith("mlp") else 1
        self.projector = [torch.nn.Linear(channels if i == 0 else hidden, hidden, cfg["projector"].get("bias", True)) for i in range(n)]
        for i, p in enumerate(self.projector):
            self.names.update({f"mm.{2 * i}." + k: q for k, q in p.state_dict().items()})
        self.text = {"gpt2": gpt2, "qwen2": qwen2, "llama": llama}[t["type"]](t)
        self.names.update(canonical_text(self.text, t))

    def load(self, tensors):
        with torch.no_grad():
            for name, p in self.names.items():
                w = torch.from_numpy(tensors[name])
                p.copy_(w.T if is_conv1d(name, self.cfg["text"]) else w)

    def double(self):
        self.vision.double(), self.text.double()
        self.projector = [p.double() for p in self.projector]
        return self

    def run_vision(self, px):
        v = self.cfg["vision"]
        if v["type"] in ("clip", "siglip"):
            return self.vision(px, output_hidden_states=True).hidden_states[v["vision_feature_layer"]][0, v["type"] == "clip":]
        if isinstance(self.vision, Minimalistic):
            x = self.vision.features(px)
        else:
            x = self.vision.features[:v["tap"] + 1 if v.get("tap", -1) >= 0 else None](px)
        kind = v.get("output", "map")
        if kind == "map":
            return x[0].flatten(1).T
        x = x.mean((2, 3))
        return x if kind == "pooled" else self.vision.classifier(x)

    def shuffled(self, x):
        """s x s neighbours become one row."""
        s, side = self.cfg["projector"].get("shuffle", 1), round(len(x) ** 0.5)
        return x.reshape(side // s, s, side // s, s, -1).transpose(1, 2).reshape((side // s) ** 2, -1)

    @torch.no_grad()
    def run(self, px, ids, n_greedy=0):
        features = self.run_vision(px[None])
        rows = self.shuffled(features)
        for i, p in enumerate(self.projector):
            rows = p(F.gelu(rows) if i else rows)
        emb = self.text.get_input_embeddings()
        x = torch.cat([rows, emb(torch.tensor(ids))])
        logits, greedy = self.text(inputs_embeds=x[None]).logits[0, -1], []
        for _ in range(n_greedy):
            greedy.append(int(self.text(inputs_embeds=x[None]).logits[0, -1].argmax()))
            x = torch.cat([x, emb(torch.tensor(greedy[-1:]))])
        return features, rows, logits, greedy


def gpt2(t):
    cfg = GPT2Config(vocab_size=t["vocab_size"], n_positions=t["n_positions"], n_embd=t["n_embd"], n_layer=t["n_layer"], n_head=t["n_head"],
                     tie_word_embeddings=t["tie_word_embeddings"], bos_token_id=N_BPE, eos_token_id=N_BPE)
    model = GPT2LMHeadModel(cfg).eval()
    if not t["tie_word_embeddings"]:
        model.lm_head = torch.nn.Linear(t["n_embd"], t["vocab_size"])
    if "embedding_rows" in t:
        model.transformer.wte = torch.nn.Embedding(t["embedding_rows"], t["n_embd"])
    return model


def qwen2(t):
    keys = {k: v for k, v in t.items() if k not in ("type", "rope_theta")}
    return Qwen2ForCausalLM(Qwen2Config(**keys, rope_parameters={"rope_type": "default", "rope_theta": t["rope_theta"]})).eval()


def llama(t):
    keys = {k: v for k, v in t.items() if k not in ("type", "rope_theta")}
    return LlamaForCausalLM(LlamaConfig(**keys, rope_parameters={"rope_type": "default", "rope_theta": t["rope_theta"]})).eval()


def vit(v):
    keys = {k: x for k, x in v.items() if k not in ("type", "vision_feature_layer")}
    if v["type"] == "clip":
        return CLIPVisionModel(CLIPVisionConfig(**keys)).eval()
    return SiglipVisionModel(SiglipVisionConfig(**keys, vision_use_head=False)).eval()


def vit_name(name):
    """transformers' name of a CLIP or SigLIP tensor -> ours, without "v."."""
    for old, new in (("vision_model.", ""), ("embeddings.class_embedding", "class_embd"), ("embeddings.patch_embedding", "patch_embd"),
                     ("embeddings.position_embedding", "position_embd"), ("pre_layrnorm", "pre_ln"), ("post_layernorm", "post_ln"),
                     ("encoder.layers.", "blk."), ("layer_norm", "ln"), ("self_attn.out_proj", "attn_out"), ("self_attn.", "attn_"),
                     ("_proj.", "."), ("mlp.fc1", "ffn_up"), ("mlp.fc2", "ffn_down")):
        name = name.replace(old, new)
    return name


GPT2_NAMES = {"ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up",
              "mlp.c_proj": "ffn_down"}
QWEN2_NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
               "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
               "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def canonical_text(model, t):
    """Canonical name -> parameter, as the model has it."""
    is_gpt2, out = t["type"] == "gpt2", {}
    top = ({"transformer.wte.weight": "token_embd.weight", "transformer.wpe.weight": "position_embd.weight",
            "transformer.ln_f.weight": "output_norm.weight", "transformer.ln_f.bias": "output_norm.bias"} if is_gpt2 else
           {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"})
    for name, p in model.state_dict().items():
        if name.startswith("lm_head."):
            if not t["tie_word_embeddings"]:
                out["output." + name[8:]] = p
        elif name in top:
            out[top[name]] = p
        else:
            layer, rest = name.removeprefix("transformer.h." if is_gpt2 else "model.layers.").split(".", 1)
            part, kind = rest.rsplit(".", 1)
            out[f"blk.{layer}.{(GPT2_NAMES if is_gpt2 else QWEN2_NAMES)[part]}.{kind}"] = p
    return out


def fastvithd_name(name):
    """timm's name of a re-parameterised FastViTHD tensor -> ours."""
    for old, new in ((r"^stages\.", "stage."), (r"^final_conv\.", "final."), (r"\.blocks\.", ".block."), (r"\.token_mixer\.(qkv|proj)\.", r".attn.\1."),
                     (r"\.token_mixer\.reparam", ".mixer.reparam"), (r"\.downsample\.proj\.", ".down."), (r"\.pos_emb\.", ".cpe."),
                     (r"\.reparam_conv\.", ".conv."), (r"\.mlp\.conv\.(conv|bn)\.", lambda m: ".mlp." + m[1] + "."), (r"\.gamma$", "")):
        name = re.sub(old, new, name)
    return "v." + name


def is_conv1d(name, t):
    return t["type"] == "gpt2" and name.startswith("blk.") and name.endswith(".weight") and "norm" not in name


# ---- weights ----

def spread(name, shape):
    """offset, gain: activations stay near one."""
    if name == "position_embd.weight":
        return 0.0, 0.3
    if name == "token_embd.weight":
        return 0.0, 2.5 * (3 / shape[1]) ** 0.5
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith("running_mean"):
        return 0.0, 0.2
    if len(shape) == 1:
        return (1.0, 0.3) if name.endswith(".weight") else (0.0, 0.2)
    return 0.0, (1.25 if name.startswith("v.") else 2.2 if name.startswith("blk.") else 1.2) * (3 / np.prod(shape[1:])) ** 0.5


def make_tensors(model):
    tensors, lines = {}, []
    for name, p in model.names.items():
        shape = list(p.shape)[::-1] if is_conv1d(name, model.cfg["text"]) else list(p.shape)
        offset, gain = spread(name, shape)
        gain = round(float(gain), 4)
        tensors[name] = (offset + gain * uniform(name, 1, int(np.prod(shape)))).astype(np.float32).reshape(shape)
        lines.append(f"{name} {offset!r} {gain!r} {' '.join(map(str, shape))}\n")
    return tensors, "".join(lines)


def make(case, cfg):
    model = Composition(cfg)
    tensors, lines = make_tensors(model)
    model.load(tensors)
    return model, tensors, lines


def make_text(cfg):
    """GPT-2 under transformers' own names and with its [in, out] matrices."""
    model, tensors, lines = gpt2(cfg), {}, []
    state = {k: p for k, p in model.state_dict().items() if k != "lm_head.weight"}
    canonical = {p.data_ptr(): name for name, p in canonical_text(model, {**cfg, "type": "gpt2"}).items()}
    with torch.no_grad():
        for name, p in state.items():
            shape = list(p.shape)
            ours = canonical[p.data_ptr()]
            offset, gain = spread(ours, shape[::-1] if is_conv1d(ours, {"type": "gpt2"}) else shape)
            gain = round(float(gain), 4)
            tensors[name] = (offset + gain * uniform(name, 1, p.numel())).astype(np.float32).reshape(p.shape)
            p.copy_(torch.from_numpy(tensors[name]))
            lines.append(f"{name} {offset!r} {gain!r} {' '.join(map(str, p.shape))}\n")
    return model, tensors, "".join(lines)


@torch.no_grad()
def continue_text(model, ids, n):
    ids = list(ids)
    logits = model(torch.tensor([ids])).logits[0, -1]
    for _ in range(n):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return logits.numpy(), ids[-n:]


def test_pixels(side):
    return ((uniform("pixels", 1, side * side * 3) + 1) / 2).astype(np.float32).reshape(side, side, 3).transpose(2, 0, 1).copy()


def image_pixels(path, side, prep=PREP):
    im = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    a = (np.asarray(im).astype(np.float64) / 255).astype(np.float32)
    return ((a - np.array(prep["mean"], np.float32)) / np.array(prep["std"], np.float32)).transpose(2, 0, 1).copy()


def write_fixtures():
    for case, cfg in CASES.items():
        folder = os.path.join(GOLDEN, case)
        os.makedirs(folder, exist_ok=True)
        model, _, lines = make(case, cfg)
        model.double()
        px = torch.from_numpy(test_pixels(cfg["vision"]["image_size"])).double()
        features, rows, logits, _ = model.run(px, IDS)
        *_, greedy = model.run(torch.from_numpy(image_pixels(IMAGE, cfg["vision"]["image_size"])).double(), IDS, 12)
        with open(os.path.join(folder, "tensors.txt"), "w") as f:
            f.write(lines)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(cfg, f)
        for key, value in (("features", features), ("projected", rows), ("logits", logits)):
            np.save(os.path.join(folder, key + ".npy"), np.ascontiguousarray(value.numpy(), np.float32))
            print(f"{case} {key}: {tuple(value.shape)}, std {value.std():.3f}")
        np.save(os.path.join(folder, "greedy.npy"), np.array(greedy, np.int32))
        print(f"{case} greedy: {greedy}")
    folder = os.path.join(GOLDEN, "gpt2")
    os.makedirs(folder, exist_ok=True)
    model, _, lines = make_text(TEXT)
    logits, greedy = continue_text(model.double(), IDS, 12)
    with open(os.path.join(folder, "tensors.txt"), "w") as f:
        f.write(lines)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(TEXT, f)
    np.save(os.path.join(folder, "logits.npy"), logits.astype(np.float32))
    np.save(os.path.join(folder, "greedy.npy"), np.array(greedy, np.int32))
    print(f"gpt2 greedy: {greedy}")


# ---- the suite ----

class Suite(Checks):
    def folder(self, name, cfg, tensors):
        out = os.path.join(self.work, name)
        tokens = os.path.join(self.work, "tokens")
        if not os.path.isdir(tokens):
            subprocess.run([os.path.join(self.build, "test/support/make_checkpoint"), "--format", "apple", "-o", tokens], check=True)
        os.makedirs(out, exist_ok=True)
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, os.path.join(out, "model.safetensors"))
        with open(os.path.join(out, "config.json"), "w") as f:
            json.dump(cfg, f)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(os.path.join(tokens, file), out)
        return out

    def ids(self, folder, text):
        from tokenizers import Tokenizer
        return Tokenizer.from_file(os.path.join(folder, "tokenizer.json")).encode(text).ids

    def compositions(self):
        for case, cfg in (CASES | OTHERS | FULL).items():
            self.composition(case, cfg)
        self.fastvithd()
        self.text()
        data = os.environ.get("EYELET_DATA", os.path.join(HERE, "..", "..", "..", "shared", "data"))
        pictures = sorted(glob.glob(os.path.join(data, "photos", "*.jpg")))[:6]
        if pictures and os.path.isdir(os.path.join(data, "weights")):
            self.classifier(os.path.join(data, "weights"), os.path.join(data, "weights", "imagenet_labels.txt"), pictures)
        else:
            print("skipped: the trained classifier (no weights and photos under EYELET_DATA)")

    def fastvithd(self):
        """FastVLM's tower before GPT-2: a tower from its own checkpoint under our names, a projector and a decoder of another's."""
        source = os.path.join(self.work, "fastvlm")
        subprocess.run([os.path.join(self.build, "test/support/make_checkpoint"), "-o", source], check=True)
        twin, t = fastvlm.FastVLM(source), {**GPT2, "vocab_size": 640, "tie_word_embeddings": True}
        tensors = {fastvithd_name(k): v.numpy() for k, v in twin.vision.state_dict().items() if not k.endswith("num_batches_tracked")}
        projector, text = torch.nn.Linear(256, 48), gpt2(t)
        cfg = {"model_type": "eyelet_vlm", "vision": {"type": "fastvithd", "image_size": 256}, "projector": {"type": "linear"}, "text": t,
               "image_position": "first", "preprocessing": {"fit": "pad"}}
        with torch.no_grad():
            for params in ({"mm.0." + k: p for k, p in projector.state_dict().items()}, canonical_text(text, t)):
                for name, p in params.items():
                    shape = list(p.shape)[::-1] if is_conv1d(name, t) else list(p.shape)
                    offset, gain = spread(name, shape)
                    tensors[name] = (offset + gain * uniform(name, 1, p.numel())).astype(np.float32).reshape(shape)
                    p.copy_(torch.from_numpy(tensors[name].T if is_conv1d(name, t) else tensors[name]))
            folder = self.folder("fastvithd-gpt2", cfg, tensors)
            rows = projector(torch.from_numpy(twin.vision_features(twin.pixels(IMAGE))))
            ids = torch.tensor(self.ids(folder, "A picture of"))
            logits = text(inputs_embeds=torch.cat([rows, text.transformer.wte(ids)])[None]).logits[0, -1]
        e = rel_rms(self.probe(folder, "logits", "-i", IMAGE, "-p", "A picture of")[-1], logits.numpy())
        self.check(e <= REL, f"fastvithd-gpt2: logits: relative RMS {e:.1e}")

    def text(self):
        cfg = {**TEXT, "vocab_size": 640}
        model, tensors, _ = make_text(cfg)
        folder, gguf = self.folder("gpt2", cfg, tensors), os.path.join(self.work, "gpt2.gguf")
        logits, greedy = continue_text(model, self.ids(folder, "A picture of"), 16)
        e = rel_rms(self.probe(folder, "logits", "-p", "A picture of")[-1], logits)
        self.check(e <= REL, f"gpt2: logits: relative RMS {e:.1e}")
        self.eyelet("convert", folder, "-o", gguf)
        for what in (folder, gguf):
            r = json.loads(self.eyelet("run", "-m", what, "-p", "A picture of", "--temp", "0", "-n", "16", "--ignore-eos", "--json"))
            self.check(r["tokens"] == greedy, f"gpt2: {os.path.splitext(what)[1][1:] or 'folder'}: 16 greedy tokens {r['tokens'][:6]}…")
        for t in ("f16", "q8_0", "q4_0"):
            self.eyelet("convert", folder, "-o", gguf, "--decoder", t)
            same = np.array_equal(self.probe(gguf, "logits", "-p", "A picture of"),
                                  self.probe(folder, "logits", "-p", "A picture of", "--decoder", t))
            self.check(same, f"gpt2: {t}: folder and GGUF give the same logits, bit for bit")

    def composition(self, case, cfg):
        cfg = json.loads(json.dumps(cfg))
        cfg["text"]["vocab_size"] = 640  # of make_checkpoint's tiny tokenizer
        if "embedding_rows" in cfg["text"]:
            cfg["text"]["embedding_rows"] = 700
        model, tensors, _ = make(case, cfg)
        folder = self.folder(case, cfg, tensors)
        px = image_pixels(IMAGE, cfg["vision"]["image_size"])
        features, rows, logits, greedy = model.run(torch.from_numpy(px), self.ids(folder, "A picture of"), 16)
        features = model.shuffled(features)  # the vision stage ends behind the shuffle
        self.check(np.array_equal(self.probe(folder, "pixels", "-i", IMAGE), px), f"{case}: pixels exact")
        for stage, want, more in (("vision", features, []), ("projected", rows, []), ("logits", logits[None], ["-p", "A picture of"])):
            e = rel_rms(self.probe(folder, stage, "-i", IMAGE, *more)[-len(want):], want.numpy())
            self.check(e <= REL, f"{case}: {stage}: relative RMS {e:.1e}")
        gguf = os.path.join(self.work, case + ".gguf")
        self.eyelet("convert", folder, "-o", gguf)
        for what in (folder, gguf):
            r = json.loads(self.eyelet("run", "-m", what, "-i", IMAGE, "-p", "A picture of", "--temp", "0", "-n", "16", "--ignore-eos", "--json"))
            self.check(r["tokens"] == greedy, f"{case}: {os.path.splitext(what)[1][1:] or 'folder'}: 16 greedy tokens {r['tokens'][:6]}…")

    # ---- the trained classifier ----
    def classifier(self, folder, labels, pictures):
        name = "mobilenetv3_large_minimalistic_imagenet"
        w = load_file(os.path.join(folder, name + ".safetensors"))
        with open(os.path.join(folder, name + ".graph.json")) as f:
            graph = json.load(f)
        with open(labels) as f:
            labels = [line.strip() for line in f]
        prep = {"fit": "stretch", "resample": "bilinear", "mean": [128 / 255] * 3, "std": [127 / 255] * 3}
        cfg = config({"variant": "large_minimalistic", "padding": "tf_same", "batch_norm": False, "output": "classifier"}, {"type": "linear"},
                     {**GPT2, "tie_word_embeddings": True, "vocab_size": 640})
        cfg["preprocessing"] = prep
        tensors = self.minimalistic_tensors(graph, w)
        text = canonical_text(gpt2(cfg["text"]), cfg["text"])
        tensors.update({k: (p.T if is_conv1d(k, cfg["text"]) else p).numpy() for k, p in text.items()})
        tensors["mm.0.weight"], tensors["mm.0.bias"] = np.zeros((48, 1001), np.float32), np.zeros(48, np.float32)
        model = self.folder("minimalistic", cfg, tensors)
        for picture in pictures:
            want = run_tflite(graph, w, image_pixels(picture, 224, prep))
            got = self.probe(model, "vision", "-i", picture)[0]
            e = rel_rms(got, want)
            p = np.exp(got - got.max())
            top = np.argsort(-got)[:3]
            said = ", ".join(f"{labels[i].split(',')[0]} {p[i] / p.sum():.2f}" for i in top)
            self.check(e <= REL and got.argmax() == want.argmax(), f"{os.path.basename(picture)}: relative RMS {e:.1e}: {said}")

    @staticmethod
    def minimalistic_tensors(graph, w):
        """The graph's convolutions in order, under our names."""
        ops = iter([o for o in graph["ops"] if "weight" in o])
        setting, _ = _mobilenet_v3_conf("mobilenet_v3_large")
        names = ["v.features.0.0"]
        for i, s in enumerate(setting, 1):
            n = 2 + (s.expanded_channels != s.input_channels)
            names += [f"v.features.{i}.block.{k}.0" for k in range(n)]
        names += ["v.features.16.0", "v.classifier.0", "v.classifier.3"]
        out = {}
        for name in names:
            o = next(ops)
            k = w[o["weight"]]
            if o["op"] == "DEPTHWISE_CONV_2D":
                k = k.reshape(-1, 1, *k.shape[-2:])
            out[name + ".weight"] = k.reshape(k.shape[:2]) if "classifier" in name else k
            out[name + ".bias"] = w[o["bias"]]
        assert next(ops, None) is None
        return out


def run_tflite(graph, w, px):
    """Logits by the graph's own list of operations, in float64."""
    values = {graph["input"]: torch.from_numpy(px).double()[None]}
    for o in graph["ops"]:
        x = [values[i] for i in o["in"]]
        if "weight" in o:
            k, groups = torch.from_numpy(w[o["weight"]]).double(), 1
            if o["op"] == "DEPTHWISE_CONV_2D":
                k, groups = k.reshape(-1, 1, *k.shape[-2:]), x[0].shape[1]
            s, pads = o["stride"][0], []
            for n, size in ((x[0].shape[3], k.shape[3]), (x[0].shape[2], k.shape[2])):
                total = max((-(-n // s) - 1) * s + size - n, 0) if o["padding"] == "SAME" else 0
                pads += [total // 2, total - total // 2]
            y = F.conv2d(F.pad(x[0], pads), k, torch.from_numpy(w[o["bias"]]).double(), s, groups=groups)
            y = {"relu": F.relu, "none": lambda v: v}[o["act"]](y)
        elif o["op"] == "ADD":
            y = x[0] + x[1]
        elif o["op"] == "AVERAGE_POOL_2D":
            y = x[0].mean((2, 3), keepdim=True)
        elif o["op"] == "RESHAPE":
            return x[0].flatten().numpy()
        else:
            raise SystemExit(o["op"])
        values[o["out"][0]] = y


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build")
    ap.add_argument("--fixtures", action="store_true")
    ap.add_argument("--weights")
    ap.add_argument("--labels")
    ap.add_argument("pictures", nargs="*")
    a = ap.parse_args()
    if a.fixtures:
        write_fixtures()
        return
    with tempfile.TemporaryDirectory() as work:
        s = Suite(a.build, work)
        if a.weights:
            s.classifier(a.weights, a.labels, a.pictures)
        else:
            s.compositions()
    print(f"\n{s.passed} passed, {s.failed} failed")
    sys.exit(s.failed != 0 or s.passed == 0)


if __name__ == "__main__":
    main()
