#!/usr/bin/env python3
"""A tokenizer.json that `eyelet data tokenizer` made, against the tokenizers library: it loads there, gives equal ids for the
same texts, and holds the merges that the library's own BpeTrainer learns from them.

    python test/reference/bpe_train.py EYELET FILES…      (FILES: captions, one a line)
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

eyelet, files = sys.argv[1], sys.argv[2:]
lines = [line.strip() for f in files for line in Path(f).read_text(encoding="utf-8").splitlines()]
lines = [line for line in lines if line]
failed = 0
with tempfile.TemporaryDirectory() as tmp:
    for lower, vocab, least in ((False, 4096, 2), (True, 1000, 2), (False, 8192, 5)):
        out = Path(tmp) / "tokenizer.json"
        subprocess.run([eyelet, "data", "tokenizer", "--vocab", str(vocab), "--min-count", str(least), "-o", out, "-q",
                        *(["--lowercase"] if lower else []), *files], check=True, stdout=subprocess.DEVNULL)
        ours, theirs = Tokenizer.from_file(str(out)), Tokenizer(models.BPE())
        theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        theirs.decoder = decoders.ByteLevel()
        if lower:
            theirs.normalizer = normalizers.Lowercase()
        theirs.train_from_iterator(lines, trainers.BpeTrainer(
            vocab_size=vocab, min_frequency=least, show_progress=False, special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
        a, b = (json.loads(t.to_str())["model"] for t in (ours, theirs))
        merges = sum(x == y for x, y in zip(a["merges"], b["merges"]))
        sample = lines[::37]
        ids = sum(x.ids == y.ids for x, y in zip(ours.encode_batch(sample), theirs.encode_batch(sample)))
        good = a["merges"] == b["merges"] and a["vocab"] == b["vocab"] and ids == len(sample)
        failed += not good
        print(f"{'ok' if good else 'not ok'}: lowercase {lower}, vocabulary {vocab}, min count {least}: {merges} of "
              f"{len(b['merges'])} merges equal, vocabularies {'equal' if a['vocab'] == b['vocab'] else 'differ'}, "
              f"{ids} of {len(sample)} texts with equal ids")
print(f"{3 - failed} passed, {failed} failed")
sys.exit(failed > 0)
