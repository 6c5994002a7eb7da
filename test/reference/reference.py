"""The reference suite: eyelet against PyTorch, stage by stage, on checkpoints made on the spot.

Usage: reference.py --build BUILD [--work DIR] [--only NAME] [--full]
       reference.py --build BUILD --fixtures OUT      write the small goldens that the C tests read

For each checkpoint (formats, forms, dtypes, odd dims) make_checkpoint writes weights, fastvlm.py computes in float32 with timm
and transformers, and `eyelet probe` and `eyelet run` must agree: pixels exactly; vision features, projected rows and logits
within REL relative RMS; the 16 greedy tokens equal. --full adds the 0.5B shape. Prints one line per comparison and ends with
"N passed, N failed".
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

import compose
import fastvlm
import onnx_export
import onnx_qdq
import onnx_tools
import python_package
import serve_openai
import smolvlm
import train
from suite import Checks, rel_rms

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGE = os.path.join(HERE, "..", "..", "doc", "demo.jpg")
PROMPT = "Describe the image."
REL = 1e-4       # float32 against float32: the noise floor of such graphs is some 1e-5 (see doc/models/fastvlm.md)
REL_FULL = 1e-3  # 24 layers and 243 GMAC of rounding

CASES = [  # name, make_checkpoint arguments
    ("tiny", ["--size", "tiny"]),
    ("tiny-apple", ["--size", "tiny", "--format", "apple"]),
    ("tiny-train", ["--size", "tiny", "--format", "apple-train"]),
    ("tiny-bf16", ["--size", "tiny", "--dtype", "bf16"]),
    ("tiny-f16", ["--size", "tiny", "--format", "apple", "--dtype", "f16"]),
    ("odd", ["--size", "odd", "--shards", "3"]),
    ("odd-train", ["--size", "odd", "--format", "apple-train"]),
]
FULL = ("0.5b", ["--size", "0.5b", "--dtype", "bf16"])


class Suite(Checks):
    def make(self, name, args):
        out = os.path.join(self.work, name)
        subprocess.run([os.path.join(self.build, "test/support/make_checkpoint"), *args, "-o", out], check=True, stdout=subprocess.DEVNULL)
        return out

    def probe(self, model, stage, *args):
        return super().probe(model, stage, "--preprocess", "pad", *args)

    def prompt_ids(self, model):
        """Ids of the template with -200 at the image, from the tokenizers library."""
        from tokenizers import Tokenizer
        tk = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
        text = ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\n" + PROMPT +
                "<|im_end|>\n<|im_start|>assistant\n")
        a, b = text.split("<image>")
        return tk.encode(a, add_special_tokens=False).ids + [-200] + tk.encode(b, add_special_tokens=False).ids

    def case(self, name, args, rel):
        model = self.make(name, args)
        ref = fastvlm.FastVLM(model)
        px = ref.pixels(IMAGE)
        taps = {}
        features = ref.vision_features(px, taps)
        projected = ref.projected(features)
        emb = ref.embeddings(self.prompt_ids(model), projected)
        logits = ref.logits(emb)
        img = ["-i", IMAGE]
        txt = img + ["-p", PROMPT]
        self.check(np.array_equal(self.probe(model, "pixels", *img), px), f"{name}: pixels exact")
        for stage, want, extra in (("vision", features, img), ("projected", projected, img), ("embeddings", emb, txt), ("logits", logits, txt)):
            got = self.probe(model, stage, *extra)
            if got.shape != want.shape:
                self.check(False, f"{name}: {stage}: shape {got.shape}, want {want.shape}")
                continue
            e = rel_rms(got, want)
            self.check(e <= rel, f"{name}: {stage}: relative RMS {e:.2e} <= {rel:.0e}")
        for tap in ("v.stem2", "v.stage0.block0", "v.stage2.block0", "v.stage4.block0", "v.final"):
            got = self.probe(model, "layer:" + tap, *img)
            e = rel_rms(got.reshape(taps[tap].shape), taps[tap])
            self.check(e <= rel, f"{name}: {tap}: relative RMS {e:.2e}")
        want = ref.greedy(emb, 16)
        self.check(self.greedy(model) == want, f"{name}: 16 greedy tokens {want}")
        if name in ("tiny", "tiny-apple"):
            self.two_images(name, model, ref)
        if name in ("tiny", "odd"):
            self.quantized(name, model, ref, px, emb, logits)
        return model, dict(projected=projected, logits_last=logits[-1], greedy=np.array(want, np.int32))

    def two_images(self, name, model, ref):
        """-i A -i B: each image stands where the template has its mark, in the order given."""
        other = os.path.join(self.work, "other.png")
        with Image.open(IMAGE) as im:
            im.convert("RGB").resize((90, 160)).transpose(Image.Transpose.ROTATE_180).save(other)
        a, b = (ref.projected(ref.vision_features(ref.pixels(path), {})) for path in (IMAGE, other))
        ids = self.prompt_ids(model)
        at = ids.index(-200)
        line_end = ref.embeddings(ids[at + 1:at + 2], None)  # what follows each image: one newline
        emb = np.concatenate([ref.embeddings(ids[:at], None), a, line_end, b, ref.embeddings(ids[at + 1:], None)])
        want = ref.greedy(emb, 16)
        self.check(self.greedy(model, "-i", other) == want, f"{name}: two images: 16 greedy tokens {want}")

    def greedy(self, model, *args):
        r = json.loads(self.eyelet("run", "-m", model, "-i", IMAGE, "-p", PROMPT, "--preprocess", "pad", "--temp", "0", "-n", "16",
                                   "--ignore-eos", "--json", *args))
        return r["tokens"]

    def quantized(self, name, model, ref, px, emb, logits):
        """Reduced weights: the bound is what rounding weights and activations to that type must cost. A linear of independent
        roundings with relative RMS u (weights) and a (activations) adds sqrt(u^2 + a^2) to its output; a decoder of L layers with
        unit-gain blocks adds the variances of its 7 L + 1 linears. u, a: f16 2^-11/sqrt 3; bf16 2^-8/sqrt 3, both operands; q8_0: a
        step of amax/127, uniform, amax about 2.6 sigma in 32 normal samples -> 0.6 %, both operands; q4_0: a step of amax/8 -> 9.4 %
        on weights, 0.6 % on activations. Attention's softmax and the norm may amplify: a factor 3 is granted, and no more."""
        L = ref.text.config.num_hidden_layers
        unit = {"f16": 2 ** -11 / 3 ** 0.5, "bf16": 2 ** -8 * (2 / 3) ** 0.5, "q8_0": 0.006 * 2 ** 0.5, "q4_0": (0.094 ** 2 + 0.006 ** 2) ** 0.5}
        for t, u in unit.items():
            e = rel_rms(self.probe(model, "logits", "-i", IMAGE, "-p", PROMPT, "--decoder", t), logits)
            bound = 3 * u * (7 * L + 1) ** 0.5
            self.check(e <= bound, f"{name}: logits with a {t} decoder: relative RMS {e:.2e} <= {bound:.2e}")
            gguf = os.path.join(self.work, f"{name}-{t}.gguf")
            self.eyelet("convert", model, "-o", gguf, "--decoder", t)
            same = self.greedy(gguf) == self.greedy(model, "--decoder", t)
            self.check(same, f"{name}: {t}: folder and GGUF give the same tokens")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    ap.add_argument("--work")
    ap.add_argument("--only")
    ap.add_argument("--full", action="store_true")
    ap.add_argument("--fixtures")
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        os.makedirs(a.work or tmp, exist_ok=True)
        s = Suite(os.path.abspath(a.build), a.work or tmp)
        for name, args in CASES + ([FULL] if a.full else []):
            if a.only and a.only != name:
                continue
            _, golden = s.case(name, args, REL_FULL if name == FULL[0] else REL)
            if a.fixtures and name != FULL[0]:
                os.makedirs(os.path.join(a.fixtures, name), exist_ok=True)
                for key, value in golden.items():
                    np.save(os.path.join(a.fixtures, name, key + ".npy"), value)
        if not a.only and not a.fixtures:
            v = smolvlm.Suite(os.path.abspath(a.build), a.work or tmp)
            v.all()
            s.passed += v.passed
            s.failed += v.failed
            y = python_package.Suite(os.path.abspath(a.build))
            y.all()
            s.passed += y.passed
            s.failed += y.failed
            c = compose.Suite(a.build, a.work or tmp)
            c.compositions()
            s.passed += c.passed
            s.failed += c.failed
            o = serve_openai.run(os.path.join(os.path.abspath(a.build), "eyelet"))
            s.passed += o.passed
            s.failed += o.failed
            o = onnx_tools.Suite(os.path.join(os.path.abspath(a.build), "eyelet"), a.work or tmp)
            onnx_tools.all_parts(o)
            s.passed += o.passed
            s.failed += o.failed
            x = onnx_export.OnnxSuite(os.path.abspath(a.build), a.work or tmp)
            x.all()
            s.passed += x.passed
            s.failed += x.failed
            x = onnx_qdq.Suite(os.path.abspath(a.build), os.path.join(a.work or tmp, "qdq"))
            x.all()
            s.passed += x.passed
            s.failed += x.failed
            for threads in (0, 2):  # the oracle, the engine
                t = train.Suite(a.build, a.work or tmp, threads)
                t.all()
                s.passed += t.passed
                s.failed += t.failed
    print(f"\n{s.passed} passed, {s.failed} failed")
    sys.exit(s.failed != 0 or s.passed == 0)


main()
