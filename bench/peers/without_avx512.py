"""Runs a command as on a processor without AVX-512, AVX-VNNI and AMX: both sides then run their AVX2 code.

Usage: without_avx512.py --copies DIR FOLDER... -- COMMAND...
Each FOLDER (a peer's virtual environment, eyelet's build) is copied into DIR unless it is there; in the copies' programs and
libraries CPUID instructions become UD2, of the same length, which without_avx512.c answers. In COMMAND and its arguments the
names of FOLDERs stand for the copies. libc is not copied: its memcpy is the same for all. Needs binutils and a C compiler;
x86-64 Linux.

The multipliers stay those of the machine at hand: older ones have other rates. Ratios say which side's AVX2 code is faster.
"""

import argparse
import os
import shutil
import subprocess
import sys


def is_elf(path):
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as f:
        return f.read(4) == b"\x7fELF"


def cpuid_addresses(path):
    """Virtual addresses of the CPUID instructions."""
    how = ["objdump", "-d", "--no-show-raw-insn", path]
    with subprocess.Popen(how, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as out:
        return [int(line.split(":")[0], 16) for line in out.stdout if line.split()[1:] == ["cpuid"]]


def segments(path):
    """(virtual address, offset in the file, size) of what is loaded."""
    out = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True).stdout.split("\n")
    found = []
    for first, second in zip(out, out[1:]):
        if first.strip().startswith("LOAD"):
            a, b = first.split(), second.split()
            found.append((int(a[4], 16), int(a[2], 16), int(b[1], 16)))
    return found


def patch(path):
    with open(path, "rb") as f:
        if b"\x0f\xa2" not in f.read():
            return 0
    addresses = cpuid_addresses(path)
    loads = segments(path) if addresses else []
    with open(path, "r+b") as f:
        for address in addresses:
            start, offset, _ = next(s for s in loads if s[0] <= address < s[0] + s[2])
            f.seek(address - start + offset)
            if f.read(2) != b"\x0f\xa2":
                raise SystemExit(f"{path}: no CPUID at {address:x}")
            f.seek(-2, os.SEEK_CUR)
            f.write(b"\x0f\x0b")
    return len(addresses)


def copy(folder, copies):
    target = os.path.join(copies, os.path.basename(os.path.normpath(folder)))
    if os.path.exists(target):
        return target
    shutil.copytree(folder, target + ".part", symlinks=True)
    for at, _, files in os.walk(target + ".part"):
        for name in files:
            path = os.path.join(at, name)
            if is_elf(path) and (n := patch(path)):
                print(f"{os.path.relpath(path, target + '.part')}: {n}", flush=True)
    os.rename(target + ".part", target)
    return target


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--copies", required=True)
    ap.add_argument("folders", nargs="+", metavar="FOLDER")
    i = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    a, command = ap.parse_args(sys.argv[1:i]), sys.argv[i + 1 :]
    os.makedirs(a.copies, exist_ok=True)
    library = os.path.join(os.path.abspath(a.copies), "without_avx512.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "without_avx512.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    for folder in a.folders:
        target = copy(folder, a.copies)
        command = [x.replace(os.path.normpath(folder), target) for x in command]
    if command:
        os.execvpe(command[0], command, {**os.environ, "LD_PRELOAD": library})


main()
