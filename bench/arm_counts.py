"""Counts the instructions of the Arm kernels' hottest loops and estimates, from a core's published widths, what they can reach.

Usage: arm_counts.py BUILD [--objdump NAME]     BUILD: a build folder for aarch64 (objects are enough); prints Markdown

A loop's cycles are the largest of: instructions / decoders; vector instructions / vector pipes (and those that only one pipe
takes); loads and stores / their pipes; scalar ones / theirs; the chain of dependent instructions from one turn to the next.
No cache misses, no branches guessed wrong: a bound, not a measurement. "Peak" is the unit's rate of that multiply instruction.
"""

import argparse
import collections
import glob
import os
import re
import subprocess
import sys

# Loop, version, object, function, conversions of f16 scales in it (of 4 columns each; 1: a tile of 8 rows, 8: of one; q4_K has
# two scales; 0: any).
KERNELS = [
    ("gemm f32", "neon", "gemm_float_neon", "run_f32", 0),
    ("gemm f16 weights", "neon", "gemm_float_neon", "run_f16", 0),
    ("gemm bf16 weights", "neon", "gemm_float_neon", "run_bf16", 0),
    ("gemm bf16", "bf16", "gemm_bf16_bf16_bf16", "run", 0),
    ("gemm q8_0", "neon", "gemm_q8b32_neon", "run_q8", 1),
    ("gemm q8_0", "dotprod", "gemm_q8b32_dotprod", "run_q8", 1),
    ("gemm q8_0", "i8mm", "gemm_q8b32_i8mm", "run_q8", 1),
    ("gemm q8_0, one row", "dotprod", "gemm_q8b32_dotprod", "run_q8", 8),
    ("gemm q8_0, one row", "i8mm", "gemm_q8b32_i8mm", "run_q8", 8),
    ("gemm q4_0", "neon", "gemm_q8b32_neon", "run_q4", 1),
    ("gemm q4_0", "dotprod", "gemm_q8b32_dotprod", "run_q4", 1),
    ("gemm q4_0", "i8mm", "gemm_q8b32_i8mm", "run_q4", 1),
    ("gemm q4_0, one row", "dotprod", "gemm_q8b32_dotprod", "run_q4", 8),
    ("gemm q4_0, one row", "i8mm", "gemm_q8b32_i8mm", "run_q4", 8),
    ("gemm q4_K", "dotprod", "gemm_q8b32_q4k_dotprod", "run_q4k", 2),
    ("gemm q4_K, one row", "dotprod", "gemm_q8b32_q4k_dotprod", "run_q4k", 16),
    ("gemm_i8", "neon", "gemm_i8_neon", "eye_gemm_i8_neon", 0),
    ("gemm_i8", "dotprod", "gemm_i8_dotprod", "eye_gemm_i8_dotprod", 0),
    ("gemm_i8", "i8mm", "gemm_i8_i8mm", "eye_gemm_i8_i8mm", 0),
    ("gelu_u8, 8 values", "neon", "int8_neon", "gelu_u8", 0),
    ("dwconv f32 7x7", "neon", "dwconv_neon", "group_7_1_1", 0),
    ("dwconv f32 3x3", "neon", "dwconv_neon", "group_3_1_1", 0),
    ("dwconv u8 7x7", "neon", "dwconv_u8_neon", "group_7_1_1", 0),
    ("dwconv u8 7x7", "dotprod", "dwconv_u8_dotprod", "rows_7_1", 0),
    ("attention qk f32", "neon", "attn_neon", "eye_attn_qk_f32_neon", 0),
    ("attention qk f16", "neon", "attn_neon", "eye_attn_qk_f16_neon", 0),
    ("attention pv f16", "neon", "attn_neon", "eye_attn_pv_f16_neon", 0),
]

# Multiply-adds of one 128-bit instruction, by family: what a loop multiplies with is the family with most of them.
FAMILIES = {
    "fmla": {"fmla": 4, "fmls": 4},
    "sdot": {"sdot": 16, "udot": 16, "usdot": 16},
    "smmla": {"smmla": 32, "usmmla": 32, "ummla": 32},
    "bfmmla": {"bfmmla": 16},
    "smull": {"smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8},
}
ACCUMULATE = {"fmla", "fmls", "sdot", "udot", "usdot", "smmla", "usmmla", "ummla", "bfmmla", "smlal", "smlal2", "mla", "sadalp",
              "uadalp", "bfi", "bfxil", "ins"}
SHIFTS = {"shl", "ushr", "sshr", "shll", "shll2", "sxtl", "sxtl2", "uxtl", "uxtl2", "sshll", "ushll", "sadalp", "uadalp",
          "shrn"}
CONVERT = re.compile(r"^(scvtf|ucvtf|fcvt\w*|frint\w)$")


class Core:
    """A core's widths; vector(op, operands) -> (cycles of any vector pipe, of the first alone, of the second alone)."""

    def __init__(self, name, decode, pipes, memory, scalar, branches, per_cycle, latency, vector):
        self.name, self.decode, self.pipes, self.memory = name, decode, pipes, memory
        self.scalar, self.branches = scalar, branches
        self.per_cycle, self.latency, self.vector = per_cycle, latency, vector


def a76_vector(op, operands):
    """As LLVM's model of Neoverse N1, the A76's twin: V0 converts and multiplies integers, V1 shifts."""
    if CONVERT.match(op):
        return (0, 2, 0)
    if op in FAMILIES["smull"]:
        return (0, 1, 0)
    if op in ("mul", "mla"):
        return (0, 2, 0)
    if op in SHIFTS or op in ("umov", "smov"):
        return (0, 0, 1)
    if op == "dup" and re.search(r", [wx]\d+", operands):
        return (0, 0, 0)  # the multi-cycle integer pipe
    if op == "tbl":
        return (max(1, len(re.findall(r"v\d+", operands)) - 3), 0, 0)  # one or two tables: one
    return (1, 0, 0)


def oryon_vector(op, operands):
    """As LLVM's AArch64SchedOryon.td: four like pipes, but SMMLA and BFMMLA 2 a cycle (its comment: BFMMLA 1/2)."""
    if op in FAMILIES["smmla"] or op in FAMILIES["bfmmla"]:
        return (2, 0, 0)
    return (2 if op == "dup" and re.search(r", [wx]\d+", operands) else 1, 0, 0)


# Instructions a cycle of each family (absent: the core has none), latencies: (result, accumulated operand forwarded).
A76 = Core("Cortex-A76", 4, 2, 2, 3, 1, {"fmla": 2, "sdot": 2, "smull": 1},
           {"fmla": (4, 2), "sdot": (2, 1), "smull": (4, 1), "load": 5, "convert": 4, "scalar": 1, "other": 3}, a76_vector)
ORYON = Core("Oryon", 8, 4, 4, 6, 2, {"fmla": 4, "sdot": 4, "smmla": 2, "bfmmla": 2, "smull": 4},
             {"fmla": (4, 4), "sdot": (3, 3), "smull": (3, 3), "smmla": (4, 4), "bfmmla": (8, 8), "load": 5, "convert": 3,
              "scalar": 1, "other": 3}, oryon_vector)
CORES = [A76, ORYON]


def disassemble(objdump, path):
    out = subprocess.run([objdump, "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    functions, code = {}, None
    for line in out.splitlines():
        head = re.match(r"^[0-9a-f]+ <(.+)>:", line)
        one = re.match(r"^\s*([0-9a-f]+):\t(\S+)\s*(.*)", line)
        if head:
            code = functions.setdefault(head.group(1), [])
        elif one:
            code.append((int(one.group(1), 16), one.group(2), one.group(3).split("//")[0].strip()))
    return functions


def family_of(code):
    sums = {f: sum(ops.get(op, 0) for _, op, _ in code) for f, ops in FAMILIES.items()}
    best = max(sums, key=sums.get)
    return best, sums[best]


def hot_loop(code, scales):
    """The innermost loop (a conditional branch backwards) with most multiply-adds among those that are nearly the densest in
    them and convert so many scales; the shortest where equal."""
    at = {a: i for i, (a, _, _) in enumerate(code)}
    loops = []
    for i, (_, op, operands) in enumerate(code):
        to = re.search(r"\b([0-9a-f]+) <", operands)
        if to and re.match(r"b\.|cbn?z|tbn?z", op) and at.get(int(to.group(1), 16), i + 1) <= i:
            loops.append((at[int(to.group(1), 16)], i + 1))
    loops = [l for l in loops if not scales or sum(op == "fcvtl" for _, op, _ in code[l[0]:l[1]]) == scales]
    macs = {(a, b): family_of(code[a:b])[1] for a, b in loops}
    inner = [l for l in loops if macs[l] and not any(o != l and l[0] <= o[0] and o[1] <= l[1] and macs[o] for o in loops)]
    if not inner:
        return []
    densest = max(macs[l] / (l[1] - l[0]) for l in inner)
    a, b = max((l for l in inner if macs[l] / (l[1] - l[0]) > 0.8 * densest), key=lambda l: (macs[l], l[0] - l[1]))
    return code[a:b]


def kind(op, operands):
    if op.startswith(("ld", "prfm")):
        return "load"
    if op.startswith("st"):
        return "store"
    if re.search(r"\bv\d+\.|\b[qdshb]\d+\b", operands):
        return "vector"
    return "branch" if op.startswith(("b.", "cb", "tb")) or op in ("b", "bl", "ret") else "scalar"


def memory_slots(op, operands):
    """Slots of 128-bit load or store pipes; and vector slots: replicating loads, stores' data."""
    wide = bool(re.match(r"q\d", operands))
    if op.startswith("st"):
        return (4, 2) if wide and op == "stp" else (2, 2) if wide else (1, 1 if re.match(r"[dshb{]", operands) else 0)
    registers = len(re.findall(r"v\d+\.", operands)) if op.startswith("ld1") else 1
    return (2 if wide and op == "ldp" else registers, 1 if op == "ld1r" or "}[" in operands else 0)


def names(text):
    return [("v" if c in "vqdshb" else "x") + n for c, n in re.findall(r"\b([vqdshbwx])(\d+)\b", text)]


def chain(core, code):
    """Cycles from one turn to the next that dependent instructions take, all else being free. Memory is not followed."""
    ready, marks = collections.defaultdict(float), []
    for _ in range(40):
        for _, op, operands in code:
            k, regs = kind(op, operands), names(operands)
            if k in ("store", "branch") or not regs or op in ("cmp", "ccmp", "tst", "cmn"):
                continue
            n_out = 2 if op == "ldp" else len(re.findall(r"v\d+\.", operands)) if op.startswith("ld1") else 1
            outs, ins = regs[:n_out], regs[n_out:]
            family = next((f for f, ops in FAMILIES.items() if op in ops), None)
            late = core.latency.get(family, (4, 4)) if family else None
            time = late[0] if family else core.latency["load"] if k == "load" else \
                core.latency["convert"] if CONVERT.match(op) else core.latency["scalar" if k == "scalar" else "other"]
            start = max([ready[r] for r in ins], default=0.0)
            if op in ACCUMULATE or "[" in operands.split(",")[0] and k == "vector":
                start = max(start, ready[outs[0]] - (late[0] - late[1] if family else 0))
            for r in outs:
                ready[r] = start + time
            if "]!" in operands or re.search(r"\], ", operands):  # the address moves on
                ready[ins[0]] = max(ready[ins[0]] + 1, 0)
        marks.append(max(ready.values(), default=0.0))
    return (marks[-1] - marks[len(marks) // 2 - 1]) / (len(marks) - len(marks) // 2)


def count(code):
    family, macs = family_of(code)
    c = collections.Counter({"macs": macs, "all": len(code)})
    for _, op, operands in code:
        k = kind(op, operands)
        c["multiply" if op in FAMILIES[family] else k] += 1
    return family, c


def bounds(core, code):
    c, any_pipe, first, second, slots = collections.Counter(), 0, 0, 0, 0
    for _, op, operands in code:
        k = kind(op, operands)
        c[k] += 1
        if k in ("load", "store"):
            s, v = memory_slots(op, operands)
            slots, any_pipe = slots + s, any_pipe + v
        elif k == "vector":
            v = core.vector(op, operands)
            any_pipe, first, second = any_pipe + v[0], first + v[1], second + v[2]
    return {"decode": len(code) / core.decode, "vector": max((any_pipe + first + second) / core.pipes, first, second),
            "memory": slots / core.memory, "scalar": max(c["scalar"] / core.scalar, c["branch"] / core.branches),
            "chain": chain(core, code)}


# Stages: what each computes, as (10^9 operations, loop, version on an A76, on an Oryon), and 10^9 bytes it reads from memory.
# Operations are two per multiply-add. FastVLM-0.5B: 357.8 M weights in the decoder's layers, 136.2 M in its head (q8_0), 34 and
# 18 bytes per 32; keys and values of 300 positions in f16. Depthwise 7x7 by quads of rows does 8 products for 7. The
# captioner's tower: MobileNetV3-Large minimalistic at 224; its decoder has 7.4 M weights, its head 1.3 M.
STAGES = [
    ("FastViTHD 1024, int8: products", [(454, "gemm_i8", "dotprod", "i8mm")], 0.12),
    ("its depthwise convolutions, counted as 7x7", [(11.6 * 8 / 7, "dwconv u8 7x7", "dotprod", "dotprod")], 0),
    ("its GELU, 418 M values of three multiply-adds", [(2.508, "gelu_u8, 8 values", "neon", "neon")], 0),
    ("its attention", [(13.7, "attention qk f32", "neon", "neon")], 0),
    ("prefill 288, q8_0", [(206, "gemm q8_0", "dotprod", "i8mm"), (3.6, "attention qk f16", "neon", "neon")], 0.38),
    ("prefill 288, q4_0", [(206, "gemm q4_0", "dotprod", "i8mm"), (3.6, "attention qk f16", "neon", "neon")], 0.20),
    ("decode at 300, q8_0", [(0.988, "gemm q8_0, one row", "dotprod", "i8mm")], 0.529),
    ("decode at 300, q4_0",
     [(0.716, "gemm q4_0, one row", "dotprod", "i8mm"), (0.272, "gemm q8_0, one row", "dotprod", "i8mm")], 0.350),
    ("captioner: tower", [(0.388, "gemm_i8", "dotprod", "i8mm"), (0.025, "dwconv f32 3x3", "neon", "neon")], 0.002),
    ("captioner: prefill of 49 rows", [(0.75, "gemm q8_0", "dotprod", "i8mm")], 0.008),
    ("captioner: a token", [(0.0174, "gemm q8_0, one row", "dotprod", "i8mm")], 0.0092),
]

# Name, core, cores, GHz, 10^9 bytes per second that the memory could give at most.
MACHINES = [("1 A76, 17 GB/s", A76, 1, 2.4, 17), ("4 A76, 17 GB/s", A76, 4, 2.4, 17), ("4 A76, 34 GB/s", A76, 4, 2.4, 34),
            ("1 Oryon, 135 GB/s", ORYON, 1, 4.0, 135), ("4 Oryon, 135 GB/s", ORYON, 4, 4.0, 135)]


def print_loops(objects, objdump):
    """Prints the table of loops; returns multiply-adds per cycle of [loop, version, core]."""
    print("| loop | version | multiply | loads, stores | other vector | scalar, branch | multiply-adds | "
          + " | ".join(f"{c.name}: cycles (by), of peak" for c in CORES) + " |")
    print("| --- " * (7 + len(CORES)) + "|")
    rates, files = {}, {}
    for what, version, name, function, scales in KERNELS:
        if name not in objects:
            sys.exit(f"no object of {name}.c: is the build current?")
        if name not in files:
            files[name] = disassemble(objdump, objects[name])
        code = hot_loop(files[name].get(function, []), scales)
        if not code:
            sys.exit(f"{objects[name]}: no loop that multiplies in {function}")
        family, c = count(code)
        cells = []
        for core in CORES:
            if family not in core.per_cycle:
                cells.append("has none")
                continue
            b = bounds(core, code)
            worst = max(b, key=b.get)
            peak = max(FAMILIES[family].values()) * core.per_cycle[family]
            rates[what, version, core.name] = c["macs"] / b[worst]
            cells.append(f"{b[worst]:.1f} ({worst}), {100 * c['macs'] / b[worst] / peak:.0f} %")
        print(f"| {what} | {version} | {c['multiply']} {family} | {c['load']}, {c['store']} | {c['vector']} | {c['scalar']}, "
              f"{c['branch']} | {c['macs']} | " + " | ".join(cells) + " |")
    return rates


def print_stages(rates):
    print("\n| estimate, ms | " + " | ".join(m[0] for m in MACHINES) + " |")
    print("| --- " * (1 + len(MACHINES)) + "|")
    for what, products, gb in STAGES:
        cells = []
        for _, core, cores, ghz, gb_per_s in MACHINES:
            compute = sum(gop / (2 * rates[loop, versions[core is ORYON], core.name] * ghz * cores)
                          for gop, loop, *versions in products)
            ms = 1e3 * max(compute, gb / gb_per_s)
            cells.append(f"{ms:.{0 if ms >= 100 else 1 if ms >= 1 else 2}f}{' (memory)' if gb / gb_per_s > compute else ''}")
        print(f"| {what} | " + " | ".join(cells) + " |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build")
    p.add_argument("--objdump", default="aarch64-linux-gnu-objdump")
    o = p.parse_args()
    objects = {os.path.basename(f)[:-4]: f for f in glob.glob(os.path.join(o.build, "src/kernels/arm/*/*.c.o"))}
    if not objects:
        sys.exit(f"{o.build}: no objects under src/kernels/arm; is it a build for aarch64?")
    print_stages(print_loops(objects, o.objdump))


if __name__ == "__main__":
    main()
