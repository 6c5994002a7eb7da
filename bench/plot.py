"""Draws the results of bench/peers/ and bench/growth.py as SVG: plain text, no library.

Usage: plot.py peers OUT.svg RESULT.json...      bars: eyelet's time over the best peer's, a mark at what is wanted
       plot.py growth OUT.svg RESULT.json        curves: what each size costs, per unit of work
"""

import json
import sys
from xml.sax.saxutils import escape

STYLE = (
    "text{font:12px sans-serif;fill:#222}.small{font-size:10px;fill:#666}.bar{fill:#3b6ea5}.slow{fill:#b5533c}"
    ".grid{stroke:#ddd}.one{stroke:#222}.bound{stroke:#222;stroke-width:2;stroke-dasharray:3 2}.line{fill:none;stroke-width:2}"
)
COLOURS = ["#3b6ea5", "#b5533c", "#5a8f3c", "#8a5aa0"]


def svg(width, height, parts):
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>'
    return head + f'<rect width="{width}" height="{height}" fill="#fff"/>' + "".join(parts) + "</svg>\n"


def text(x, y, s, anchor="start", kind=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(s)}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def peers(files):
    """One bar a row: time of eyelet / time of the peer (rates: the other way round), so shorter is faster."""
    rows = []
    for name in files:
        with open(name) as f:
            for r in json.load(f)["rows"]:
                turned = r["more_is_better"]
                bound = r["bar"] and (1 / r["bar"] if turned else r["bar"])
                rows.append((r["row"], r["best_peer"], 1 / r["ratio"] if turned else r["ratio"], bound))
    rows.sort(key=lambda r: r[0])
    left, wide, high, most = 430, 420, 20, max(1.2, *(r[2] for r in rows))
    at = lambda v: left + wide * v / most  # noqa: E731
    height = 60 + high * len(rows)
    out = [text(10, 18, "Time of eyelet over time of its best peer, measured in turns; dashes: what is wanted")]
    for i in range(0, int(10 * most) + 1, 2):
        out += [
            line(at(i / 10), 30, at(i / 10), height - 24, "grid"),
            text(at(i / 10), height - 10, f"{i / 10:.1f}", "middle", "small"),
        ]
    out.append(line(at(1), 30, at(1), height - 24, "one"))
    for i, (row, peer, ratio, bound) in enumerate(rows):
        y = 34 + high * i
        out += [
            text(left - 8, y + 12, row, "end"),
            f'<rect x="{left}" y="{y}" width="{at(ratio) - left:.1f}" height="{high - 6}" '
            f'class="{"bar" if ratio <= 1 else "slow"}"/>',
            text(left + wide + 12, y + 11, f"{ratio:.2f}  {peer}", "start", "small"),
        ]
        if bound:
            out.append(line(at(bound), y - 2, at(bound), y + high - 4, "bound"))
    return svg(left + wide + 200, height, out)


def growth(files):
    with open(files[0]) as f:
        charts = json.load(f)["charts"]
    wide, high, gap, out = 380, 220, 70, []
    for k, chart in enumerate(charts):
        x0, y0 = 60 + (k % 2) * (wide + gap), 40 + (k // 2) * (high + gap)
        xs = chart["x"]
        most = 1.1 * max(v for s in chart["series"].values() for v in s if v is not None)
        ax = lambda i: x0 + wide * i / max(len(xs) - 1, 1)  # noqa: E731
        ay = lambda v: y0 + high - high * v / most  # noqa: E731
        out.append(text(x0, y0 - 12, f'{chart["name"]}, {chart["unit"]}'))
        for j in range(5):
            v = most * j / 4
            out += [
                line(x0, ay(v), x0 + wide, ay(v), "grid"),
                text(x0 - 6, ay(v) + 4, f"{v:.0f}" if v >= 100 else f"{v:.3g}", "end", "small"),
            ]
        for i, x in enumerate(xs):
            out.append(text(ax(i), y0 + high + 14, str(x), "middle", "small"))
        for j, (name, values) in enumerate(chart["series"].items()):
            points = " ".join(f"{ax(i):.1f},{ay(v):.1f}" for i, v in enumerate(values) if v is not None)
            out += [
                f'<polyline points="{points}" class="line" stroke="{COLOURS[j % 4]}"/>',
                f'<rect x="{x0 + 130 * (j % 3)}" y="{y0 + high + 22 + 14 * (j // 3)}" width="10" height="10" '
                f'fill="{COLOURS[j % 4]}"/>',
                text(x0 + 14 + 130 * (j % 3), y0 + high + 31 + 14 * (j // 3), name, "start", "small"),
            ]
    return svg(2 * (wide + gap) + 60, 40 + (len(charts) + 1) // 2 * (high + gap) + 10, out)


if len(sys.argv) < 4 or sys.argv[1] not in ("peers", "growth"):
    sys.exit(__doc__)
with open(sys.argv[2], "w") as out_file:
    out_file.write({"peers": peers, "growth": growth}[sys.argv[1]](sys.argv[3:]))
