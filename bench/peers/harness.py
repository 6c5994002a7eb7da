"""What the peers' scripts share: rounds in which every contestant runs once, the ratios of each round, the file of results.

One script per peer, run by a Python of its own that has the peer (pip install); nothing here is a dependency of eyelet. A
script makes a Contest, gives it groups of rows (run), and ends with finish(). A slow spell of a shared machine hits all
contestants of a round, so the median of the rounds' ratios is what counts; times of different runs should not be compared.

--fifo P measures at real-time priority P (Linux, as root): the peer's threads are raised for the timed part alone, eyelet's
process by chrt. What contestants do before (compiling graphs, quantizing) runs at the priority of the script.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time

FEATURES = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "asimddp", "i8mm", "bf16"]
MORE_IS_BETTER = ("tok/s",)
N_CAPTION = 16


def machine():
    name, flags, threads = platform.machine(), [], os.cpu_count()
    with open("/proc/cpuinfo") as f:
        for line in f:
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                name = value.strip()
            if key.strip() in ("flags", "Features"):
                flags = value.split()
    if "without_avx512" in os.environ.get("LD_PRELOAD", ""):
        flags = [x for x in flags if not x.startswith(("avx512", "avx_vnni", "amx"))]
    return {"cpu": name, "features": [x for x in FEATURES if x in flags], "processors": threads, "kernel": platform.release()}


class Contest:
    def __init__(self, doc, peer, options=None):
        ap = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        ap.add_argument("--build", required=True, help="eyelet's build folder")
        ap.add_argument("--runs", type=int, default=5, help="rounds")
        ap.add_argument("--threads", type=int, default=2)
        ap.add_argument("--fifo", type=int, default=0, help="real-time priority of what is timed; 0 = none")
        ap.add_argument("--json", help="file for the results")
        ap.add_argument("--keep", help="folder for what is made (exports, quantized files); found there it is not made again")
        ap.add_argument("--only", default="", help="groups whose name contains this")
        if options:
            options(ap)
        self.a = ap.parse_args()
        self.peer, self.rows = peer, []
        self.tmp = None if self.a.keep else tempfile.TemporaryDirectory()
        self.folder = self.a.keep or self.tmp.name
        os.makedirs(self.folder, exist_ok=True)
        self.program = os.path.join(self.a.build, "eyelet")

    # ---- eyelet ----

    def first(self):
        return ["chrt", "-f", str(self.a.fifo)] if self.a.fifo else []

    def bench(self, model, *args, **env):
        """`eyelet bench --json`, measured; env: variables."""
        cmd = [*self.first(), self.program, "bench", "-m", model, "-t", str(self.a.threads), "--json", "-q", *map(str, args)]
        return json.loads(subprocess.run(cmd, capture_output=True, check=True, env={**os.environ, **env}).stdout)

    def make(self, name, *args):
        """The file or folder `name`; where it is not there, what `eyelet args` (name's path for "OUT") makes."""
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            subprocess.run([self.program, *[path if x == "OUT" else x for x in args]], check=True, stdout=subprocess.DEVNULL)
        return path

    def vision_ms(self, model, kind, n):
        """The tower with weights of that kind, median of n."""
        report = self.bench(model, "--vision", kind, "--decoder", "q8_0", "--prefill", 1, "--decode", 1, "-r", n)
        return stage(report, "vision")

    # ---- files that eyelet makes ----

    def tower_onnx(self, name, model, *more):
        """The tower as a graph, without projector; more: options of `eyelet export onnx`."""
        folder = self.make(name, "export", "onnx", model, "-o", "OUT", "--graph", "vision", "--no-projector", *more, "-q")
        return os.path.join(folder, "vision_encoder.onnx")

    def int8_file(self, name, model):
        """The model with an int8 tower that --pictures calibrated."""
        how = ["--vision", "int8", "--calibration", self.a.pictures, "--max-pairs", "8"]
        return self.make(name + "-int8.gguf", "convert", model, "-o", "OUT", *how, "-q")

    def decoder_file(self, weights):
        """The decoder of --model alone; embedding and head are q8_0."""
        how = ["--decoder", weights, "--decoder-only"]
        return self.make(f"decoder-{weights}.gguf", "convert", self.a.model, "-o", "OUT", *how, "-q")

    # ---- rounds ----

    def _raise_threads(self, policy, priority):
        for tid in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(int(tid), policy, os.sched_param(priority))

    @contextlib.contextmanager
    def timed(self):
        """Around what a peer is timed by: priority, for all threads of this process."""
        if self.a.fifo:
            self._raise_threads(os.SCHED_FIFO, self.a.fifo)
        try:
            yield
        finally:
            if self.a.fifo:
                self._raise_threads(os.SCHED_OTHER, 0)

    def median_ms(self, fn, n):
        """Of n calls, at the priority asked for, after one that warms up."""
        with self.timed():
            fn()
            times = []
            for _ in range(n):
                t0 = time.perf_counter()
                fn()
                times.append(1e3 * (time.perf_counter() - t0))
        return statistics.median(times)

    def wanted(self, group):
        return self.a.only in group

    def group(self, unit, bars, ours, theirs):
        """Rounds of one group of rows.
        bars    {row: ratio eyelet / best peer that is wanted, or None}
        ours    () -> {row: value}
        theirs  {peer: () -> {row: value}}; a peer may leave rows out"""
        values = {row: {} for row in bars}
        for _ in range(self.a.runs + 1):  # the first warms caches
            for name, fn in [("eyelet", ours), *theirs.items()]:
                for row, v in fn().items():
                    values[row].setdefault(name, []).append(v)
        for row, bar in bars.items():
            self._row(row, unit, bar, {name: v[1:] for name, v in values[row].items()})

    def one_row(self, row, unit, bar, ours, theirs):
        """A group of one row, whose functions give its value alone."""

        def of(fn):
            return lambda: {row: fn()}

        self.group(unit, {row: bar}, of(ours), {p: of(fn) for p, fn in theirs.items()})

    def caption_row(self, run):
        """--small, int8: a picture in, N_CAPTION tokens out; run: the same by the peer."""
        model = self.int8_file("mobile", self.a.small)
        how = ["--vision", "int8", "--decoder", "q8_0", "--prefill", 2, "--decode", N_CAPTION - 1, "-r", 10]

        def ours():
            report = self.bench(model, *how)
            return sum(stage(report, s) for s in ("vision", "projector", "prefill", "decode"))

        row = f"caption of {N_CAPTION} tokens, int8"
        self.one_row(row, "ms", 0.45, ours, {self.peer: lambda: self.median_ms(run, 10)})

    def run(self, groups):
        """groups: {function of the contest: the model it needs, or None}; those run that --only names and whose model is given."""
        for fn, needs in groups.items():
            if needs and self.wanted(fn.__name__):
                fn(self)

    def _row(self, row, unit, bar, values):
        more = unit in MORE_IS_BETTER
        peers = [p for p in values if p != "eyelet"]
        best = (max if more else min)(peers, key=lambda p: statistics.median(values[p]))
        ratios = [x / y for x, y in zip(values["eyelet"], values[best])]
        ratio = statistics.median(ratios)
        met = None if bar is None else bool(ratio >= bar if more else ratio <= bar)
        self.rows.append(
            {
                "row": row,
                "unit": unit,
                "more_is_better": more,
                "values": {p: [round(x, 4) for x in v] for p, v in values.items()},
                "best_peer": best,
                "ratio": round(ratio, 4),
                "ratio_range": [round(min(ratios), 4), round(max(ratios), 4)],
                "bar": bar,
                "met": met,
            }
        )
        print(f"{row}")
        for p in ["eyelet", *peers]:
            print(f"  {p:38s} median {statistics.median(values[p]):9.2f}  best {(max if more else min)(values[p]):9.2f} {unit}")
        verdict = "" if bar is None else f"; wanted {'>=' if more else '<='} {bar}: {'met' if met else 'MISSED'}"
        print(
            f"  eyelet / {best}: {ratio:.3f} (of {len(ratios)} rounds: {min(ratios):.3f} to {max(ratios):.3f}){verdict}",
            flush=True,
        )

    def finish(self, versions):
        if self.a.json:
            commit = subprocess.run(
                ["git", "-C", os.path.dirname(os.path.abspath(__file__)), "rev-parse", "--short=12", "HEAD"],
                capture_output=True,
                text=True,
            ).stdout.strip()
            out = {
                "peer": self.peer,
                "versions": versions,
                "commit": commit,
                "date": datetime.date.today().isoformat(),
                "machine": machine(),
                "threads": self.a.threads,
                "rounds": self.a.runs,
                "fifo": self.a.fifo,
                "rows": self.rows,
            }
            old = []
            if self.a.only and os.path.exists(self.a.json):  # a part measured again takes the place of its rows
                with open(self.a.json) as f:
                    new = {r["row"] for r in self.rows}
                    old = [r for r in json.load(f)["rows"] if r["row"] not in new]
            out["rows"] = old + self.rows
            with open(self.a.json, "w") as f:
                json.dump(out, f, indent=1)
                f.write("\n")
        if self.tmp:
            self.tmp.cleanup()


def stage(report, name, key="median_ms"):
    return report["stages"][name][key]
