"""The Python package as people get it: pip install ./python, then its tests from outside the checkout's package, those of clusters
too (Ray, Spark, GNU parallel), and mypy. Called by reference.py."""
import os
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


class Suite:
    def __init__(self, build):
        self.build, self.passed, self.failed = build, 0, 0

    def command(self, title, *args, **env):
        done = subprocess.run([sys.executable, "-m", *args], cwd=os.path.join(ROOT, "python", "tests"), check=False,
                              capture_output=True, text=True, env={**os.environ, **env})
        ok = done.returncode == 0
        last = (done.stdout.strip().splitlines() or [""])[-1]
        print(("ok   " if ok else "FAIL ") + f"{title}: {last}", flush=True)
        if not ok:
            print(done.stdout + done.stderr)
        self.passed += ok
        self.failed += not ok

    def all(self):
        self.command("pip install ./python", "pip", "install", "-q", "--force-reinstall", "--no-deps", os.path.join(ROOT, "python"),
                     EYELET_BUILD=self.build)
        self.command("mypy --strict", "mypy", "--strict", "-p", "eyelet")
        self.command("pytest python/tests", "pytest", "-q", "-rs", "-p", "no:cacheprovider", ".",
                     EYELET_PROGRAM=os.path.join(self.build, "eyelet"), RAY_USAGE_STATS_ENABLED="0",
                     EYELET_MAKE_CHECKPOINT=os.path.join(self.build, "test", "support", "make_checkpoint"))
