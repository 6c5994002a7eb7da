"""LLaVA (CLIP and SigLIP towers) and decoders alone against transformers.

Usage: llava.py --build BUILD [--work DIR]   checks on checkpoints made on the spot; ends with "N passed, N failed"
       llava.py --fixtures                   writes test/golden/llava: what test_llava.c reads

transformers builds the model from the case's config.json. Weights are make_checkpoint's formula over the names the checkpoint
has; offset and gain of each tensor are written down in tensors.txt, so the C tests make the same files. Tensors that the tower
does not need (layers after the tapped one, the last LayerNorm, SigLIP's pooling head) are in the files as they are in real ones.
Goldens are computed in float64.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch_env  # noqa: F401  (before transformers)
import torch
from PIL import Image
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlavaConfig, LlavaForConditionalGeneration

from formula import uniform
from suite import Checks, rel_rms

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden", "llava")
IMAGE = os.path.join(HERE, "..", "..", "doc", "demo.jpg")
BEFORE, AFTER = [1, 77], [201, 33, 118]
REL = 1e-4

LLAMA = {"model_type": "llama", "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 4, "vocab_size": 320, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}
QWEN2 = {**LLAMA, "model_type": "qwen2", "num_key_value_heads": 2, "tie_word_embeddings": True}
MISTRAL = {**LLAMA, "model_type": "mistral", "num_key_value_heads": 2, "head_dim": 16, "sliding_window": None}
CLIP = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 3, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 7, "projection_dim": 16}
SIGLIP = {**CLIP, "model_type": "siglip_vision_model", "image_size": 30}  # 30 / 7: two columns of pixels are never looked at


def llava(vision, text, **more):
    return {"model_type": "llava", "vision_config": vision, "text_config": text, "image_token_index": 300,
            "vision_feature_layer": -2, "vision_feature_select_strategy": "default", **more}


# name: config, the names of the tensors (how transformers 5 has them in memory -> the checkpoint's)
NEW = [("model.vision_tower.", "model.vision_tower."), ("model.language_model.", "model.language_model.")]
OLD = [("model.vision_tower.", "vision_tower.vision_model."), ("model.multi_modal_projector.", "multi_modal_projector."),
       ("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head.")]
MIXED = [("model.vision_tower.", "vision_tower."), ("model.multi_modal_projector.", "multi_modal_projector."),
         ("model.language_model.", "language_model."), ("lm_head.", "lm_head.")]
ORIGINAL = [("model.vision_tower.", "model.vision_tower.vision_tower.vision_model."),
            ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
            ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."), ("model.language_model.", "model.")]
CASES = {
    "clip": (llava(CLIP, LLAMA), NEW),
    "clip-old": (llava({**CLIP, "hidden_act": "gelu"}, {**LLAMA, "attention_bias": True, "mlp_bias": True, "head_dim": 20,
                                                       "num_key_value_heads": 2}, projector_hidden_act="gelu_pytorch_tanh"), OLD),
    "clip-list": (llava(CLIP, MISTRAL, vision_feature_layer=[1, -1], vision_feature_select_strategy="full",
                        multimodal_projector_bias=False), MIXED),
    "siglip": (llava(SIGLIP, QWEN2, vision_feature_layer=-1, vision_feature_select_strategy="full", tie_word_embeddings=True), OLD),
    "original": (llava(CLIP, {**LLAMA, "num_key_value_heads": 2}), ORIGINAL),
    "llama": ({**LLAMA, "tie_word_embeddings": True}, []),
    "llama-bias": ({**LLAMA, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "num_key_value_heads": 1}, []),
    "qwen2": ({**QWEN2, "architectures": ["Qwen2ForCausalLM"]}, []),
    "mistral": ({**MISTRAL, "tie_word_embeddings": False}, []),
}


def flat(cfg):
    """The same model's config.json as the original LLaVA writes it."""
    return {**cfg["text_config"], "model_type": "llava_llama", "mm_vision_tower": "somebody/tiny-clip", "mm_projector_type": "mlp2x_gelu",
            "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch", "mm_hidden_size": cfg["vision_config"]["hidden_size"],
            "image_aspect_ratio": "pad", "vision_config": cfg["vision_config"], "tie_word_embeddings": False}


def build(cfg):
    if cfg["model_type"] != "llava":
        kind = cfg["model_type"]
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{k: v for k, v in cfg.items() if k != "model_type"})).eval()
    return LlavaForConditionalGeneration(LlavaConfig(**{k: v for k, v in cfg.items() if k != "model_type"})).eval()


def spread(name, shape):
    """offset, gain: activations stay near one."""
    if "position_embedding" in name or "class_embedding" in name:
        return 0.0, 0.5
    if "embed_tokens" in name:
        return 0.0, 2.5 * (3 / shape[1]) ** 0.5
    if len(shape) == 1:
        return (1.0, 0.3) if name.endswith(".weight") else (0.0, 0.2)
    return 0.0, (2.0 if "layers." in name else 1.5) * (3 / np.prod(shape[1:])) ** 0.5


def renamed(name, names):
    for old, new in names:
        if name.startswith(old):
            return new + name[len(old):]
    return name


def make(cfg, names):
    """The model with its weights, its tensors, the list of them."""
    model, tensors, lines = build(cfg), {}, []
    with torch.no_grad():
        params = dict(model.named_parameters())  # a tied matrix once
        for inside, p in params.items():
            name, shape = renamed(inside, names), list(p.shape)
            offset, gain = spread(inside, shape)
            gain = round(float(gain), 4)
            tensors[name] = (offset + gain * uniform(name, 1, int(np.prod(shape)))).astype(np.float32).reshape(shape)
            p.copy_(torch.from_numpy(tensors[name]))
            lines.append(f"{name} {offset!r} {gain!r} {' '.join(map(str, shape))}\n")
    return model, tensors, "".join(lines)


@torch.no_grad()
def run(model, px, n_greedy=0):
    """features, projected rows (None without eyes), last logits, greedy ids: over BEFORE, image rows, AFTER."""
    features = rows = None
    emb = model.get_input_embeddings()
    parts = [emb(torch.tensor(BEFORE)), emb(torch.tensor(AFTER))]
    if px is not None:
        keep = []
        hook = model.model.multi_modal_projector.register_forward_pre_hook(lambda m, a: keep.append(a[0]))
        rows = model.model.get_image_features(pixel_values=px[None])
        rows = getattr(rows, "pooler_output", rows)
        rows = (rows[0] if isinstance(rows, (list, tuple)) else rows).reshape(-1, parts[0].shape[1])
        hook.remove()
        features = keep[0].reshape(-1, keep[0].shape[-1])
        parts.insert(1, rows)
    x, greedy = torch.cat(parts)[None], []
    decode = (lambda e: model.lm_head(model.model.language_model(inputs_embeds=e).last_hidden_state)) if px is not None else (
        lambda e: model(inputs_embeds=e).logits)
    logits = decode(x)[0, -1]
    for _ in range(n_greedy):
        greedy.append(int(decode(x)[0, -1].argmax()))
        x = torch.cat([x, emb(torch.tensor([greedy[-1:]]))], 1)
    return features, rows, logits, greedy


def side(cfg):
    return cfg["vision_config"]["image_size"] if "vision_config" in cfg else 0


def test_pixels(n):
    return ((uniform("pixels", 1, n * n * 3) + 1) / 2).astype(np.float32).reshape(n, n, 3).transpose(2, 0, 1).copy()


def image_pixels(cfg, original):
    """What the case's preprocessing makes of the demo picture: pad for the original, a centre crop for CLIP, SigLIP squeezes."""
    im, n = Image.open(IMAGE).convert("RGB"), side(cfg)
    siglip = "siglip" in cfg["vision_config"]["model_type"]
    mean, std = ([0.5] * 3, [0.5] * 3) if siglip else ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    if siglip:
        im = im.resize((n, n), Image.Resampling.BICUBIC)
    else:
        if original:
            s = max(im.size)
            square = Image.new("RGB", (s, s), tuple(int(m * 255) for m in mean))
            square.paste(im, ((s - im.width) // 2, (s - im.height) // 2))
            im = square
        short, long = sorted(im.size)
        other = int(n * long / short)
        im = im.resize((n, other) if im.width <= im.height else (other, n), Image.Resampling.BICUBIC)
        x, y = (im.width - n) // 2, (im.height - n) // 2
        im = im.crop((x, y, x + n, y + n))
    a = np.asarray(im).astype(np.float64) / 255
    return ((a - np.array(mean)) / np.array(std)).astype(np.float32).transpose(2, 0, 1).copy()


def write_fixtures():
    for case, (cfg, names) in CASES.items():
        folder = os.path.join(GOLDEN, case)
        os.makedirs(folder, exist_ok=True)
        model, _, lines = make(cfg, names)
        model.double()
        px = torch.from_numpy(test_pixels(side(cfg))).double() if side(cfg) else None
        features, rows, logits, greedy = run(model, px, 0 if side(cfg) else 12)
        if side(cfg):
            *_, greedy = run(model, torch.from_numpy(image_pixels(cfg, case == "original")).double(), 12)
        with open(os.path.join(folder, "tensors.txt"), "w") as f:
            f.write(lines)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(flat(cfg) if case == "original" else cfg, f)
        for key, value in (("features", features), ("projected", rows), ("logits", logits)):
            if value is not None:
                np.save(os.path.join(folder, key + ".npy"), np.ascontiguousarray(value.numpy(), np.float32))
                print(f"{case} {key}: {tuple(value.shape)}, std {value.std():.3f}")
        np.save(os.path.join(folder, "greedy.npy"), np.array(greedy, np.int32))
        print(f"{case} greedy: {greedy}")


# ---- the suite ----

class Suite(Checks):
    def folder(self, case, cfg, tensors):
        out, tokens = os.path.join(self.work, case), os.path.join(self.work, "tokens")
        if not os.path.isdir(tokens):
            subprocess.run([os.path.join(self.build, "test/support/make_checkpoint"), "--format", "apple", "-o", tokens], check=True,
                           stdout=subprocess.DEVNULL)
        os.makedirs(out, exist_ok=True)
        save_file(tensors, os.path.join(out, "model.safetensors"))
        with open(os.path.join(out, "config.json"), "w") as f:
            json.dump(cfg, f)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(os.path.join(tokens, file), out)
        return out

    def case(self, case, cfg, names):
        cfg = json.loads(json.dumps(cfg))
        cfg.get("text_config", cfg)["vocab_size"] = 640  # of make_checkpoint's tiny tokenizer
        model, tensors, _ = make(cfg, names)
        folder = self.folder(case, flat(cfg) if case == "original" else cfg, tensors)
        gguf = os.path.join(self.work, case + ".gguf")
        self.eyelet("convert", folder, "-o", gguf)
        px = image_pixels(cfg, case == "original") if side(cfg) else None
        features, rows, logits, _ = run(model, None if px is None else torch.from_numpy(px))
        img = ["-i", IMAGE] if side(cfg) else []
        ids = " ".join(map(str, BEFORE + [-1] * (0 if rows is None else len(rows)) + AFTER))
        for what in (folder, gguf):
            kind = "GGUF" if what == gguf else "folder"
            if px is not None:
                # ours divides once, after subtracting; the difference is one rounding
                e = np.abs(self.probe(what, "pixels", *img) - px).max()
                self.check(e <= 1e-6, f"{case}: {kind}: pixels differ by {e:.0e}")
            for stage, want, more in (("vision", features, img), ("projected", rows, img), ("logits", logits, img + ["--tokens", ids, "--last"])):
                if want is None:
                    continue
                got = self.probe(what, stage, *more)
                e = rel_rms(got.reshape(want.shape), want.numpy())
                self.check(e <= REL, f"{case}: {kind}: {stage}: relative RMS {e:.1e}")
            self.greedy(f"{case}: {kind}", what, model, rows, img)
        self.quantized(case, folder, img)

    def greedy(self, what, path, model, rows, img):
        """16 tokens after a raw prompt, the image in its middle."""
        from tokenizers import Tokenizer
        tk = Tokenizer.from_file(os.path.join(self.work, "tokens", "tokenizer.json"))
        emb = model.get_input_embeddings()
        text = lambda t: emb(torch.tensor(tk.encode(t, add_special_tokens=False).ids))
        with torch.no_grad():
            x = torch.cat([text("Look: "), rows, text(" What is it?")] if rows is not None else [text("Look:  What is it?")])
            want = self.continued(model, x[None], 16)
        prompt = "Look: <image> What is it?" if rows is not None else "Look:  What is it?"
        self.check(self.tokens(path, prompt, img) == want, f"{what}: 16 greedy tokens {want[:6]}…")

    @staticmethod
    def continued(model, x, n):
        inner, head, out = getattr(model.model, "language_model", model.model), model.lm_head, []
        for _ in range(n):
            out.append(int(head(inner(inputs_embeds=x).last_hidden_state)[0, -1].argmax()))
            x = torch.cat([x, model.get_input_embeddings()(torch.tensor([out[-1:]]))], 1)
        return out

    def tokens(self, path, prompt, img, *args):
        r = self.eyelet("run", "-m", path, *img, "--raw", "-p", prompt, "--temp", "0", "-n", "16", "--ignore-eos", "--json", *args)
        return json.loads(r)["tokens"]

    def quantized(self, case, folder, img):
        """Reduced weights: a file computes what its folder does under the same options."""
        prompt = "Look: <image> What is it?" if img else "Look: what is it?"
        for decoder, vision in (("q8_0", "bf16"), ("q4_0", "q8_0")):
            types = ["--decoder", decoder] + (["--vision", vision] if img else [])
            gguf = os.path.join(self.work, f"{case}-{decoder}.gguf")
            self.eyelet("convert", folder, "-o", gguf, *types)
            same = self.tokens(gguf, prompt, img) == self.tokens(folder, prompt, img, *types)
            self.check(same, f"{case}: {' '.join(types)}: folder and GGUF give the same tokens")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build")
    ap.add_argument("--work")
    ap.add_argument("--fixtures", action="store_true")
    a = ap.parse_args()
    if a.fixtures:
        return write_fixtures()
    with tempfile.TemporaryDirectory() as tmp:
        os.makedirs(a.work or tmp, exist_ok=True)
        s = Suite(a.build, a.work or tmp)
        for case, (cfg, names) in CASES.items():
            s.case(case, cfg, names)
    print(f"\n{s.passed} passed, {s.failed} failed")
    sys.exit(s.failed != 0 or s.passed == 0)


if __name__ == "__main__":
    main()
