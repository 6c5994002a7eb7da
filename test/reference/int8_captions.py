"""What static int8 in the vision tower changes of a captioner's captions: float32 against int8, on pictures that calibration did not see.

Usage: int8_captions.py --build BUILD --model F32 --calibration DIR --pictures DIR|LIST [--first N] [--beams N]

F32: a checkpoint with a float tower. LIST: a file with a path a line. Converted with `--vision int8`, as bytes and with `--vision-snr 30`;
the decoder stays as it is. More than half of the captions must be the same, word for word. Ends with "N passed, N failed".
"""
import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile


def eyelet(build, *args):
    r = subprocess.run([os.path.join(build, "eyelet"), *map(str, args)], capture_output=True, text=True)
    if r.returncode:
        raise SystemExit(f"eyelet {' '.join(map(str, args))}: exit {r.returncode}: {r.stderr}")


def captions(a, work, model, name):
    out = os.path.join(work, name + ".jsonl")
    eyelet(a.build, "batch", "-m", model, os.path.join(work, "list"), "-o", out, "--beams", a.beams, "-q")
    with open(out, encoding="utf-8") as f:
        return [json.loads(line)["caption"] for line in f]


def paths(pictures):
    if os.path.isdir(pictures):
        return sorted(os.path.join(pictures, p) for p in os.listdir(pictures))
    with open(pictures, encoding="utf-8") as f:
        return f.read().split("\n")


def main():
    ap = argparse.ArgumentParser()
    for name in ("build", "model", "calibration", "pictures"):
        ap.add_argument("--" + name, required=True)
    ap.add_argument("--first", type=int, default=100)
    ap.add_argument("--beams", type=int, default=1)
    a = ap.parse_args()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as work:
        seen = set(os.listdir(a.calibration))
        held_out = (os.path.abspath(p) for p in paths(a.pictures) if p and os.path.basename(p) not in seen)
        with open(os.path.join(work, "list"), "w", encoding="utf-8") as f:
            f.writelines(p + "\n" for p in itertools.islice(held_out, a.first))
        want = captions(a, work, a.model, "f32")
        for name, more in (("bytes", []), ("snr30", ["--vision-snr", 30])):
            file = os.path.join(work, name + ".gguf")
            eyelet(a.build, "convert", a.model, "-o", file, "--vision", "int8", "--calibration", a.calibration, "-q", *more)
            got = captions(a, work, file, name)
            same = sum(x == y for x, y in zip(want, got))
            ok = len(got) == len(want) > 0 and same > len(want) / 2
            print(f"{'ok  ' if ok else 'FAIL'} {name}: {same} of {len(want)} captions unchanged", flush=True)
            passed, failed = passed + ok, failed + (not ok)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
