"""What merging image rows costs a model: its own greedy answers with all rows, read again with fewer. KL divergence of the
next token from what all rows say, in nats, mean over answer tokens; how often the most likely token is the same; milliseconds
of prefill.

Usage: EYELET_LIBRARY=BUILD/libeyelet.so PYTHONPATH=python merged_rows.py --model MODEL [--rows 64,16] [--predict N]
           [--prompt TEXT] [--text] [--json FILE] PICTURE...
Needs numpy. --text: the first answers, for reading.
"""

import argparse
import json
import time

import numpy as np

import eyelet

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--model")
ap.add_argument("--rows", default="0")
ap.add_argument("--predict", type=int, default=16)
ap.add_argument("--prompt")
ap.add_argument("--threads", type=int, default=0)
ap.add_argument("--text", action="store_true")
ap.add_argument("--json")
ap.add_argument("picture", nargs="+")
a = ap.parse_args()


def log_softmax(x):
    x = x.astype(np.float64) - x.max()
    return x - np.log(np.exp(x).sum())


def read(session, picture, answer):
    """Log probabilities after the question and after each token of the answer but the last; milliseconds of the question."""
    session.reset()
    image = eyelet.load_image(picture)
    ids, rows = session.assemble(a.prompt, [image]), session.encode_image(image)
    begin = time.monotonic()
    out = [session.prefill(ids, rows)]
    ms = 1000 * (time.monotonic() - begin)
    out += [session.step(int(t)) for t in answer[:-1]]
    return [log_softmax(x) for x in out], ms


def answers(model):
    with model.session() as s:
        for picture in a.picture:
            s.reset()
            yield list(s.generate(a.prompt, [picture], n_predict=a.predict, n_beams=1).tokens)


with eyelet.Model(a.model, n_threads=a.threads) as model:
    all_rows = model.info.image_tokens
    said = list(answers(model))
    with model.session() as s:
        want = [read(s, p, t) for p, t in zip(a.picture, said)]
    if a.text:
        print(*(model.detokenize(t) for t in said[:5]), sep="\n")
print(f"{'':10}{'rows':>6}{'KL':>12}{'top-1':>8}{'prefill ms':>12}")
print(f"{'all':10}{all_rows:6}{'':20}{np.median([ms for _, ms in want]):12.2f}")
result = []
for how in ("pool", "similar"):
    for n in map(int, a.rows.split(",")):
        with eyelet.Model(a.model, n_threads=a.threads, image_tokens=n, image_merge=how) as model, model.session() as s:
            got = [read(s, p, t) for p, t in zip(a.picture, said)]
            pairs = [(p, q) for (w, _), (g, _) in zip(want, got) for p, q in zip(w, g)]
            kl = float(np.mean([(np.exp(p) * (p - q)).sum() for p, q in pairs]))
            same = float(np.mean([p.argmax() == q.argmax() for p, q in pairs]))
            ms = float(np.median([ms for _, ms in got]))
            result.append({"merge": how, "rows": model.info.image_tokens, "kl": kl, "top1": same, "prefill_ms": ms,
                           "tokens": len(pairs)})
            print(f"{how:10}{model.info.image_tokens:6}{kl:12.4g}{100 * same:7.1f}%{ms:12.2f}")
            if a.text:
                print(*(model.detokenize(t) for t in list(answers(model))[:5]), sep="\n")
if a.json:
    with open(a.json, "w", encoding="utf-8") as f:
        json.dump({"model": a.model, "pictures": len(a.picture), "all_rows": all_rows, "rows": result}, f, indent=1)
