"""What more work costs: pictures of 256 to 2048 pixels, prompts of 16 to 4096 tokens, one thread and two (and all, where there
are more); and memory beside what was planned. Writes JSON, says where a step up is dearer than it should be.

Usage: growth.py --build BUILD --model FILE [--fifo P] [--json FILE] [--sides 256,...] [--prompts 16,...] [--threads 1,2]
           [--runs 3]
--model: a vision-language model whose tower takes any side (FastVLM), best a compiled file: of others the peak holds the
packed weights and what was read of the file.
Memory: peak of the process against what `inspect` plans with the same options: file and weights + 1.3 x (cache + activations).
"""

import argparse
import json
import os
import subprocess

from peers.harness import machine

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--build", required=True)
ap.add_argument("--model", required=True)
ap.add_argument("--fifo", type=int, default=0)
ap.add_argument("--json")
ap.add_argument("--runs", type=int, default=3)
ap.add_argument("--decoder", default="stored")
ap.add_argument("--vision", default="stored")
for name, default in (("sides", "256,512,768,1024,1536,2048"), ("prompts", "16,64,256,1024,2048,4096"), ("threads", "1,2")):
    ap.add_argument("--" + name, default=default)
a = ap.parse_args()
sides, prompts, threads = ([int(x) for x in getattr(a, k).split(",")] for k in ("sides", "prompts", "threads"))
program = os.path.join(a.build, "eyelet")
types = ["--decoder", a.decoder, "--vision", a.vision]


def eyelet(*args):
    out = subprocess.run([*args], capture_output=True, text=True)
    if out.returncode:
        raise SystemExit(out.stderr.strip() or f"{args[0]}: failed")
    return json.loads(out.stdout)


def bench(*args):
    first = ["chrt", "-f", str(a.fifo)] if a.fifo else []
    return eyelet(*first, program, "bench", "-m", a.model, "-q", "--json", "-r", str(a.runs), *types, *map(str, args))


def cliffs(chart):
    """Attention makes the cost of a unit a straight line in the number of units: dearer than 1.15 times the line through the
    two sizes before (never a falling one) is a cliff."""
    size, found = [x * x if "pixels" in chart["name"] else x for x in chart["x"]], []
    for s, v in chart["series"].items():
        for i in range(1, len(v)):
            slope = max(0, (v[i - 1] - v[i - 2]) / (size[i - 1] - size[i - 2])) if i > 1 else 0
            line = v[i - 1] + slope * (size[i] - size[i - 1])
            if v[i] > 1.15 * line:
                found.append(f"{chart['name']}, {s}: {chart['x'][i]} costs {v[i] / line:.2f} times what is expected")
    return found


pixel, token, step, over, memory = {}, {}, {}, {}, []
for t in threads:
    name = f"{t} thread" + "s" * (t > 1)
    for s in sides:
        r = bench("-t", t, "--image-side", s, "--prefill", 1, "--decode", 1, "-c", 4096)
        pixel.setdefault(name, []).append(round(r["stages"]["vision"]["median_ms"] / (s * s / 1e6), 2))
        plan = eyelet(
            program,
            "inspect",
            a.model,
            "--json",
            "-q",
            "--no-tensors",
            "-t",
            str(t),
            "--image-side",
            str(s),
            "-c",
            "4096",
            *types,
        )["model"]["memory_bytes"]
        memory.append({"threads": t, "side": s, "peak": r["peak_rss_bytes"], **plan})
    for n in prompts:
        r = bench("-t", t, "--prefill", n, "--decode", 8, "-c", n + 8, "--image-side", min(sides))
        token.setdefault(name, []).append(round(r["stages"]["prefill"]["median_ms"] / n, 4))
        step.setdefault(name, []).append(round(r["stages"]["decode"]["median_ms"] / 8, 4))
charts = [
    {"name": "vision tower by side in pixels", "unit": "ms per megapixel", "x": sides, "series": pixel},
    {"name": "prefill by tokens", "unit": "ms per token", "x": prompts, "series": token},
    {"name": "decode by context", "unit": "ms per token", "x": prompts, "series": step},
]
found = [line for c in charts for line in cliffs(c)]
for c in charts:
    print(c["name"], "in", c["unit"], c["x"])
    for s, v in c["series"].items():
        print(f"  {s:10s}", " ".join(f"{x:9.3f}" for x in v))
print("\n".join(found) or "no cliff")
for m in memory:
    planned, weights = m["kv_cache"] + m["activations"], m["files"] + m["weights"]
    m["kept"] = m["peak"] <= weights + 1.3 * planned
    print(
        f"{m['threads']} threads, {m['side']} px: peak {m['peak'] >> 20} MiB, file and weights {weights >> 20}, "
        f"planned {planned >> 20}: {'kept' if m['kept'] else 'MORE'}"
    )
if a.json:
    with open(a.json, "w") as f:
        json.dump(
            {
                "machine": machine(),
                "decoder": a.decoder,
                "vision": a.vision,
                "charts": charts,
                "cliffs": found,
                "memory": memory,
            },
            f,
            indent=1,
        )
        f.write("\n")
