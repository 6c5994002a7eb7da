"""SmolVLM and Idefics3 in PyTorch: transformers' network, its Pillow image processor and its prompt strings, step by step; and
eyelet against it (part of reference.py; alone: smolvlm.py BUILD [CASE]). smolvlm.py --fixtures OUT writes test/golden/smolvlm: a
checkpoint of 100 KB, and what PyTorch makes of two drawings in one prompt."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch_env  # noqa: F401
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import Idefics3ForConditionalGeneration, SmolVLMForConditionalGeneration
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from suite import Checks, rel_rms


class SmolVLM:
    def __init__(self, path):
        with open(os.path.join(path, "config.json")) as f:
            self.config = json.load(f)
        with open(os.path.join(path, "preprocessor_config.json")) as f:
            prep = json.load(f)
        smol = self.config["model_type"] == "smolvlm"
        prep.pop("image_processor_type")
        self.prep = (SmolVLMImageProcessorPil if smol else Idefics3ImageProcessorPil)(**prep)
        self.net = (SmolVLMForConditionalGeneration if smol else Idefics3ForConditionalGeneration).from_pretrained(path, dtype=torch.float32).eval()
        self.tokenizer = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
        v = self.config["vision_config"]
        self.per_tile = (v["image_size"] // v["patch_size"]) ** 2 // self.config["scale_factor"] ** 2

    def pictures(self, images):
        """pixel_values of all images one after the other [n, 3, S, S], and (rows, cols) of each. images: files or RGB arrays."""
        all_pixels, grids = [], []
        for image in images:
            a = image if isinstance(image, np.ndarray) else np.asarray(Image.open(image).convert("RGB"))
            o = self.prep(a, return_row_col_info=True, return_tensors="np", input_data_format="channels_last")
            all_pixels.append(np.asarray(o["pixel_values"][0], np.float32))
            grids.append((o["rows"][0][0], o["cols"][0][0]))
        return np.concatenate(all_pixels), grids

    def ids(self, prompt, grids):
        images = "".join(get_image_prompt_string(r, c, self.per_tile, "<fake_token_around_image>", "<image>", "<global-img>") for r, c in grids)
        text = "<|im_start|>User:" + (images if grids else " ") + prompt + "<end_of_utterance>\nAssistant:"
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    @torch.no_grad()
    def features(self, pixels):
        """(pixel-shuffled features, projected rows) of some pictures, [n * per_tile, ...]"""
        m = self.net.model
        x = torch.from_numpy(pixels)
        mask = torch.ones(len(x), *[x.shape[-1] // m.config.vision_config.patch_size] * 2, dtype=torch.bool)
        h = m.vision_model(pixel_values=x, patch_attention_mask=mask).last_hidden_state
        h = m.connector.pixel_shuffle(h, m.config.scale_factor)
        return h.flatten(0, 1).numpy(), m.connector.modality_projection(h).flatten(0, 1).numpy()

    @torch.no_grad()
    def text_logits(self, ids):
        return self.net(input_ids=torch.tensor([ids])).logits[0].numpy()

    @torch.no_grad()
    def logits(self, ids, pixels):
        mask = np.ones((1, len(pixels), *pixels.shape[2:]), np.int64)
        return self.net(input_ids=torch.tensor([ids]), pixel_values=torch.from_numpy(pixels[None]), pixel_attention_mask=torch.from_numpy(mask),
                        attention_mask=torch.ones(1, len(ids), dtype=torch.long)).logits[0].numpy()

    def greedy(self, ids, pixels, n):
        ids, out = list(ids), []
        for _ in range(n):
            out.append(int((self.logits(ids, pixels) if len(pixels) else self.text_logits(ids))[-1].argmax()))
            ids.append(out[-1])
        return out


# ---- the suite ----

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPT = "describe the edge of this picture"
REL = 1e-4  # float32 against float32, as in reference.py
CASES = [  # name, make_smolvlm arguments, sizes of the images of one prompt
    ("smolvlm", ["--type", "smolvlm"], [(400, 300)]),
    ("smolvlm-tall", ["--type", "smolvlm"], [(90, 310)]),
    ("smolvlm-square", ["--type", "smolvlm"], [(77, 77)]),
    ("smolvlm-two", ["--type", "smolvlm"], [(300, 100), (64, 64)]),
    ("smolvlm-whole", ["--type", "smolvlm", "--whole"], [(300, 200)]),
    ("smolvlm-text", ["--type", "smolvlm"], []),
    ("idefics3-odd", ["--type", "idefics3"], [(201, 130)]),
    ("idefics3-three", ["--type", "idefics3"], [(50, 400), (31, 30), (200, 200)]),
]


class Suite(Checks):
    def near(self, name, what, got, want):
        e = rel_rms(got, want) if got.shape == want.shape else float("inf")
        self.check(e <= REL, f"{name}: {what} {want.shape}: relative RMS {e:.2e} <= {REL:.0e}")

    def run(self, model, images):
        return json.loads(self.eyelet("run", "-m", model, *images, "-p", PROMPT, "--temp", "0", "-n", "16", "--ignore-eos", "--json"))["tokens"]

    def case(self, name, args, sizes):
        model = os.path.join(self.work, name)
        subprocess.run([sys.executable, os.path.join(HERE, "make_smolvlm.py"), model, *args], check=True, capture_output=True)
        ref, paths, images = SmolVLM(model), [], []
        for i, size in enumerate(sizes):
            paths.append(os.path.join(self.work, f"{name}-{i}.png"))
            with Image.open(os.path.join(HERE, "..", "..", "doc", "demo.jpg")) as im:
                im.convert("RGB").resize(size).save(paths[-1])
            images += ["-i", paths[-1]]
        px, grids = ref.pictures(paths) if paths else (np.zeros((0, 3, 1, 1), np.float32), [])
        ids = ref.ids(PROMPT, grids)
        if paths:
            last = px[sum(r * c + 1 for r, c in grids[:1]) - 1:][:1]  # the whole of the first image: what probe shows
            self.check(np.array_equal(self.probe(model, "pixels", *images), last[0]), f"{name}: grids {grids}: pixels exact")
            features, projected = ref.features(last)
            self.near(name, "features", self.probe(model, "vision", *images), features)
            self.near(name, "projected rows", self.probe(model, "projected", *images), projected)
        logits = ref.logits(ids, px) if paths else ref.text_logits(ids)
        self.near(name, "logits", self.probe(model, "logits", *images, "-p", PROMPT), logits)
        want = ref.greedy(ids, px, 16)
        self.check(self.run(model, images) == want, f"{name}: 16 greedy tokens {want}")
        if name in ("smolvlm-two", "idefics3-odd"):
            gguf = os.path.join(self.work, name + ".gguf")
            self.eyelet("convert", model, "-o", gguf)
            self.check(self.run(gguf, images) == want, f"{name}: its GGUF gives the same tokens")

    def all(self, only=None):
        for name, args, sizes in CASES:
            if only in (None, name):
                self.case(name, args, sizes)


def fixtures(out):
    from make_image_fixtures import drawing
    import make_smolvlm
    make_smolvlm.make(out, "smolvlm", "mini", False)
    os.remove(os.path.join(out, "generation_config.json"))
    ref = SmolVLM(out)
    px, grids = ref.pictures([drawing(w, h) for w, h in ((90, 50), (40, 41))])
    ids = ref.ids(PROMPT, grids)
    image = ref.tokenizer.token_to_id("<image>")
    golden = dict(ids=np.array([-1 if i == image else i for i in ids], np.int32), logits=ref.logits(ids, px)[-1],
                  greedy=np.array(ref.greedy(ids, px, 16), np.int32), projected=ref.features(px)[1])
    for key, value in golden.items():
        np.save(os.path.join(out, key + ".npy"), value)


if __name__ == "__main__":
    if sys.argv[1] == "--fixtures":
        fixtures(sys.argv[2])
        sys.exit()
    with tempfile.TemporaryDirectory() as tmp:
        suite = Suite(os.path.abspath(sys.argv[1]), tmp)
        suite.all(*sys.argv[2:])
    print(f"\n{suite.passed} passed, {suite.failed} failed")
    sys.exit(suite.failed != 0 or suite.passed == 0)
