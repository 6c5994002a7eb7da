"""Caption metrics against coco-caption (PyPI: pycocoevalcap, which needs java for its tokenizer).

  metrics.py --write     writes test/golden/metrics/coco.json: captions of our own and what coco-caption says of them
  metrics.py --words PTB_WORDS FILE...   compares the words of every line with the Stanford tokenizer's; PTB_WORDS is
                         build/test/support/ptb_words
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "metrics" / "coco.json"

PICTURES = [  # (caption to judge, references)
    ("a red kite flies over the beach .", ["A red kite is flying over a sandy beach.", "Someone flies a kite at the seaside.",
                                           "The kite, red and long-tailed, hangs over the beach."]),
    ("two cats sleep on a sofa", ["Two cats are sleeping on the sofa.", "Cats asleep on a couch", "A pair of cats share the sofa's cushions."]),
    ("a man is riding a bicycle down the the street", ["A man rides his bicycle down a busy street.", "A cyclist on the street."]),
    ("", ["Three boats lie in the harbour.", "Boats (old ones) in a harbor."]),
    ("bread", ["A loaf of bread cools on the window sill.", "Fresh bread.", "Somebody's bread isn't cut yet."]),
    ("the children can't stop laughing at the dog's trick", ["Children laugh at a dog doing tricks.", "The dog's trick makes the children laugh."]),
    ("a train leaves the station at 8:15", ["The 8:15 train leaves.", "A train pulls out of the station - it is quarter past eight."]),
    ("a a a a a a", ["A tree stands alone in a field.", "One tree, one field."]),
    ("a woman in a T-shirt plays the piano for a crowd of people in a park on a sunny day",
     ["A woman plays piano in the park.", "People gather around a pianist outdoors; it's sunny."]),
    ("zyxt wvut srqp onml", ["Snow covers the mountains.", "A snowy mountain range under a blue sky"]),
]


def words(texts):
    """texts -> lists of words, by the jar that coco-caption brings."""
    jar = pathlib.Path(ptbtokenizer.__file__).parent / "stanford-corenlp-3.4.1.jar"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
        f.write("\n".join(t.replace("\n", " ") for t in texts))
        f.flush()
        out = subprocess.run(["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", f.name],
                             capture_output=True, text=True, check=True).stdout
    return [[w for w in line.rstrip().split(" ") if w and w not in ptbtokenizer.PUNCTUATIONS] for line in out.split("\n")][:len(texts)]


def write():
    flat = words([c for c, _ in PICTURES] + [r for _, refs in PICTURES for r in refs])
    res, gts, at = {}, {}, len(PICTURES)
    for i, (_, refs) in enumerate(PICTURES):
        res[i] = [" ".join(flat[i])]
        gts[i] = [" ".join(w) for w in flat[at:at + len(refs)]]
        at += len(refs)
    bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
    cider, each = Cider().compute_score(gts, res)
    rouge, _ = Rouge().compute_score(gts, res)
    GOLDEN.write_text(json.dumps({
        "note": "written by test/reference/metrics.py",
        "pictures": [{"caption": c, "references": r, "cider": float(s)} for (c, r), s in zip(PICTURES, each)],
        "bleu": [float(b) for b in bleu], "cider": float(cider), "rouge_l": float(rouge)}, indent=1) + "\n")


def compare_words(program, files):
    texts = [line.rstrip("\n") for f in files for line in open(f, encoding="utf8", errors="replace")]
    ours = subprocess.run([program], input="\n".join(texts), capture_output=True, text=True, check=True).stdout.split("\n")
    differ = [(t, w, o) for t, w, o in zip(texts, words(texts), ours) if " ".join(w) != o]
    for t, w, o in differ[:20]:
        print(f"{t}\n  theirs {' '.join(w)}\n  ours   {o}")
    print(f"{len(texts)} captions, {len(differ)} differ")
    return 0 if len(differ) <= len(texts) // 5000 else 1


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--write", action="store_true")
    ap.add_argument("--words", nargs="+")
    args = ap.parse_args()
    if args.write:
        write()
    if args.words:
        sys.exit(compare_words(args.words[0], args.words[1:]))
