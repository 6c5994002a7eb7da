"""Writes a checkpoint of the small contestants' shape, random weights: MobileNetV3-Large 224, whose classifier gives one
row, and GPT-2 of six layers (DistilGPT2).

Usage: small.py --build BUILD --data DATA OUT     (DATA: the folder that holds tokenizers/llama2_sp)
"""

import argparse
import json
import os
import subprocess
import tempfile

ap = argparse.ArgumentParser(description=__doc__)
ap.add_argument("--build", required=True)
ap.add_argument("--data", required=True)
ap.add_argument("out")
a = ap.parse_args()
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "recipes", "hpml.json")) as f:
    recipe = json.load(f)
config = recipe["student"]["config"]
config["vision"].update(variant="large", image_size=224)
config["text"].update(vocab_size=50257, embedding_rows=50257, n_positions=1024, tie_word_embeddings=True)
del recipe["student"]["optional"]
with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
    json.dump(recipe, f)
    f.flush()
    subprocess.run([os.path.join(a.build, "eyelet"), "train", "init", f.name, "-o", a.out, "--data", a.data], check=True)
