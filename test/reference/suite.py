"""What the suites share: checks that are counted, the program, its values on the way."""
import os
import subprocess

import numpy as np


def rel_rms(got, want):
    want = want.astype(np.float64)
    return float(np.sqrt(np.mean((got.astype(np.float64) - want) ** 2) / max(np.mean(want ** 2), 1e-30)))


class Checks:
    def __init__(self, build, work):
        self.build, self.work, self.passed, self.failed = os.path.abspath(build), work, 0, 0

    def check(self, ok, text):
        print(("ok   " if ok else "FAIL ") + text, flush=True)
        self.passed += bool(ok)
        self.failed += not ok

    def eyelet(self, *args):
        r = subprocess.run([os.path.join(self.build, "eyelet"), *map(str, args)], capture_output=True)
        if r.returncode:
            raise SystemExit(f"eyelet {' '.join(map(str, args))}: exit {r.returncode}: {r.stderr.decode(errors='replace')}")
        return r.stdout

    def probe(self, model, stage, *args):
        out = os.path.join(self.work, "probe.npy")
        self.eyelet("probe", "-m", model, "--stage", stage, "-o", out, *args)
        return np.load(out)
