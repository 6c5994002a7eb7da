"""A FastVLM checkpoint folder in PyTorch: the executable twin of doc/models/fastvlm.md, used to write and check goldens.

Reads config.json and the safetensors of any of the three forms (transformers-native, re-parameterised llava_qwen2, train-time
llava_qwen2) into timm's FastViTHD and transformers' Qwen2. Everything runs in float32 from the weights exactly as stored.
Needs torch, timm, transformers, safetensors, numpy, pillow.
"""
import json
import os
import re

import numpy as np
import torch_env  # noqa: F401  (before timm)
import timm
import torch
from PIL import Image
from safetensors import safe_open
from transformers import Qwen2Config, Qwen2ForCausalLM

# Position of the blocks, the downsampling before them and the positional convolution in the flat `network` list, by stage.
NETWORK = {0: (0, None, None), 1: (2, 1, None), 2: (4, 3, None), 3: (7, 5, 6), 4: (10, 8, 9)}


def tensors(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            with safe_open(os.path.join(folder, name), "pt") as f:
                for key in f.keys():
                    t = f.get_tensor(key)
                    found[key] = t.float() if t.is_floating_point() else t
    return found


def flat_to_timm(key):
    """Name of a vision tensor in the llava_qwen2 layout -> timm's name, both forms."""
    key = re.sub(r"^patch_embed\.", "stem.", key)
    key = re.sub(r"^conv_exp\.", "final_conv.", key)
    m = re.match(r"^network\.(\d+)\.(.*)$", key)
    if m:
        index, rest = int(m[1]), m[2]
        for stage, (blocks, down, cpe) in NETWORK.items():
            if index == blocks:
                key = f"stages.{stage}.blocks.{rest}"
            elif index == down:
                rest = re.sub(r"^proj\.0\.lkb_reparam\.", "proj.0.reparam_conv.", rest)
                rest = re.sub(r"^proj\.0\.lkb_origin\.", "proj.0.large_conv.", rest)
                key = f"stages.{stage}.downsample.{rest}"
            elif index == cpe:
                key = f"stages.{stage}.pos_emb." + re.sub(r"^pe\.", "pos_enc.", rest)
    for old, new in ((".convffn.", ".mlp."), (".rbr_conv.", ".conv_kxk."), (".rbr_scale.", ".conv_scale."), (".rbr_skip.", ".identity."),
                     (".se.reduce.", ".se.fc1."), (".se.expand.", ".se.fc2.")):
        key = key.replace(old, new)
    return re.sub(r"(\.layer_scale(_[12])?)$", r"\1.gamma", key)


class FastVLM:
    def __init__(self, folder):
        with open(os.path.join(folder, "config.json")) as f:
            self.config = json.load(f)
        self.flat = self.config["model_type"] == "llava_qwen2"
        sd = tensors(folder)
        v_prefix = "model.vision_tower.vision_tower.model." if self.flat else "model.vision_tower.timm_model."
        vision = {k[len(v_prefix):]: t for k, t in sd.items() if k.startswith(v_prefix)}
        if self.flat:
            vision = {flat_to_timm(k): t for k, t in vision.items() if k != "head.proj"}
        self.vision = self._vision(vision)
        projector = "model.mm_projector." if self.flat else "model.multi_modal_projector.linear_"
        keys = sorted({k[len(projector):].split(".")[0] for k in sd if k.startswith(projector)}, key=int)
        self.projector = [(sd[f"{projector}{i}.weight"], sd[f"{projector}{i}.bias"]) for i in keys]
        self.text = self._text(sd, "model." if self.flat else "model.language_model.")
        self.features_of = None

    @staticmethod
    def _vision(sd):
        blocks = lambda s: 1 + max(int(k.split(".")[3]) for k in sd if k.startswith(f"stages.{s}.blocks."))
        layers = tuple(blocks(s) for s in range(5))
        dims = tuple(sd[f"stages.{s}.blocks.0.mlp.fc2.bias"].shape[0] for s in range(5))
        folded = not any(".conv_kxk." in k for k in sd)
        model = timm.create_model("fastvit_mci3", num_classes=0, inference_mode=folded, layers=layers, embed_dims=dims)
        # layer scales are [C] or [C,1,1] in files; timm wants [C,1,1]
        want = model.state_dict()
        sd = {k: t.reshape(want[k].shape) if k in want and t.numel() == want[k].numel() else t for k, t in sd.items()}
        missing, extra = model.load_state_dict(sd, strict=False)
        missing = [k for k in missing if not k.endswith("num_batches_tracked")]
        if missing or extra:
            raise SystemExit(f"vision tower: missing {missing[:4]}, unexpected {extra[:4]}")
        return model.eval()

    def _text(self, sd, prefix):
        c = self.config if self.flat else self.config["text_config"]
        theta = c.get("rope_theta") or c["rope_parameters"]["rope_theta"]
        tied = bool(self.config.get("tie_word_embeddings", c.get("tie_word_embeddings")))
        cfg = Qwen2Config(vocab_size=c["vocab_size"], hidden_size=c["hidden_size"], intermediate_size=c["intermediate_size"],
                          num_hidden_layers=c["num_hidden_layers"], num_attention_heads=c["num_attention_heads"],
                          num_key_value_heads=c["num_key_value_heads"], rms_norm_eps=c["rms_norm_eps"], tie_word_embeddings=tied,
                          rope_parameters={"rope_type": "default", "rope_theta": theta}, max_position_embeddings=32768,
                          use_sliding_window=False, dtype="float32")
        model = Qwen2ForCausalLM(cfg).float().eval()
        state = {"model." + k[len(prefix):]: t for k, t in sd.items()
                 if k.startswith(prefix) and not re.match(r"model\.(vision_tower|mm_projector|multi_modal_projector)\.", k)}
        state["lm_head.weight"] = state["model.embed_tokens.weight"] if tied else sd["lm_head.weight"]
        model.load_state_dict(state, strict=True)
        return model

    # ---- stages ----
    def side(self):
        if self.flat:
            return int(self.config["mm_vision_tower"].rsplit("_", 1)[1])
        return int(round(self.config["image_seq_length"] ** 0.5)) * 64

    def pixels(self, path, mode="pad"):
        """[3, S, S] float32 in [0,1]: pad to a black square or centre crop, Pillow bicubic."""
        im, side = Image.open(path).convert("RGB"), self.side()
        if mode == "pad" and im.width != im.height:
            s = max(im.size)
            square = Image.new("RGB", (s, s))
            square.paste(im, ((s - im.width) // 2, (s - im.height) // 2))
            im = square
        short, long = sorted(im.size)
        other = int(side * long / short)
        im = im.resize((side, other) if im.width <= im.height else (other, side), Image.Resampling.BICUBIC)
        x, y = (im.width - side) // 2, (im.height - side) // 2
        a = np.asarray(im)[y:y + side, x:x + side]
        return np.ascontiguousarray((a.astype(np.float64) / 255).astype(np.float32).transpose(2, 0, 1))

    @torch.no_grad()
    def vision_features(self, pixels, taps=None):
        """[n_tok, C]; taps: dict that receives named maps as [H, W, C]."""
        hooks = []
        if taps is not None:
            keep = lambda name: lambda m, a, o: taps.__setitem__(name, o[0].permute(1, 2, 0).contiguous().numpy())
            for i, m in enumerate(self.vision.stem):
                hooks.append(m.register_forward_hook(keep(f"v.stem{i}")))
            for s, stage in enumerate(self.vision.stages):
                for b, m in enumerate(stage.blocks):
                    hooks.append(m.register_forward_hook(keep(f"v.stage{s}.block{b}")))
            hooks.append(self.vision.final_conv.register_forward_hook(keep("v.final")))
        y = self.vision.forward_features(torch.from_numpy(pixels)[None])[0]
        for h in hooks:
            h.remove()
        return y.flatten(1).T.contiguous().numpy()

    @torch.no_grad()
    def projected(self, features):
        x = torch.from_numpy(features)
        for i, (w, b) in enumerate(self.projector):
            x = torch.nn.functional.linear(torch.nn.functional.gelu(x) if i else x, w, b)
        return x.numpy()

    @torch.no_grad()
    def embeddings(self, ids, image_rows):
        """ids with -200 at the image's place -> [T, C]."""
        rows = []
        for i in ids:
            rows.append(torch.from_numpy(image_rows) if i == -200 else self.text.model.embed_tokens(torch.tensor([i])))
        return torch.cat(rows).numpy()

    @torch.no_grad()
    def logits(self, embeddings):
        return self.text(inputs_embeds=torch.from_numpy(embeddings)[None]).logits[0].numpy()

    @torch.no_grad()
    def greedy(self, embeddings, n):
        x, out = torch.from_numpy(embeddings)[None], []
        step = self.text(inputs_embeds=x, use_cache=True)
        for _ in range(n):
            out.append(int(step.logits[0, -1].argmax()))
            step = self.text(input_ids=torch.tensor([[out[-1]]]), past_key_values=step.past_key_values, use_cache=True)
        return out
