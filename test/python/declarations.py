#!/usr/bin/env python3
"""Has a C compiler hold the declarations of python/eyelet/_c.py against the headers: every enumerator's value and that none is
left out, every field's type and offset and that none is left out, every struct's size, every function's type. Nothing is run,
so the compiler may be one for another machine of the same sizes.

Usage: declarations.py SOURCE_ROOT COMPILER...
"""
import ctypes
import importlib.util
import os
import re
import subprocess
import sys
import tempfile


def load(root):
    spec = importlib.util.spec_from_file_location("_c", os.path.join(root, "python", "eyelet", "_c.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def source(c):
    lines = ['#include "eyelet/eyelet.h"', "#include <stddef.h>"]

    def hold(condition, what):
        lines.append(f'_Static_assert({condition}, "python/eyelet/_c.py: {what} is not what the header has");')

    for name, values in c.enums().items():
        for i, value in enumerate(values):
            hold(f"{value} == {i}", value)
        cases = " ".join(f"case {v}: return {i};" for i, v in enumerate(values))
        lines.append(f"int all_{name}(enum {name} e);\nint all_{name}(enum {name} e) {{ switch (e) {{ {cases} }} return -1; }}")
    for name, fields in c.structs().items():
        cls = c.struct(name)
        hold(f"sizeof(struct {name}) == {ctypes.sizeof(cls)}", f"the size of {name}")
        zeros = []
        for text in fields:
            base, stars, field, n = c.declarator(text)
            array = f"[{n}]" if n else ""
            hold(f"offsetof(struct {name}, {field}) == {getattr(cls, field).offset}", f"the offset of {name}.{field}")
            hold(f"_Generic(&((struct {name} *)0)->{field}, {base} {stars}(*){array}: 1, default: 0)", f"the type of {name}.{field}")
            zeros.append("{0}" if n or (base.startswith("struct") and not stars) else f"({base} {stars})0")
        lines.append(f"extern const struct {name} all_{name};\nconst struct {name} all_{name} = {{{', '.join(zeros)}}};")
    for result, whole, _ in c.prototypes(c.FUNCTIONS):
        name = c.declarator(result)[2]
        lines.append(f"typedef __typeof__({name}) there_{name};\n{whole}")  # unknown to the headers: an error; of another type: one too
    for _, whole, _ in c.prototypes(c.CALLBACKS):
        lines.append(whole)
    return "\n".join(lines) + "\n"


def main():
    root, compiler = sys.argv[1], sys.argv[2:]
    c = load(root)
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "declarations.c")
        with open(path, "w", encoding="utf-8") as f:
            f.write(source(c))
        flags = ["-std=gnu11", "-Werror=missing-field-initializers", "-Werror=switch", "-Werror=incompatible-pointer-types",
                 "-I", os.path.join(root, "include"), "-fsyntax-only", path]
        status = subprocess.run(compiler + flags, check=False).returncode
    if status:
        print("python/eyelet/_c.py and include/eyelet differ: write the change of the header there too")
        return 1
    with open(os.path.join(root, "test", "libeyelet.syms"), encoding="utf-8") as f:
        exported = {line.strip() for line in f if not line.startswith("#")}
    bound = {c.declarator(result)[2] for result, _, _ in c.prototypes(c.FUNCTIONS)}
    fields = sum(map(len, c.structs().values()))
    print(f"{len(bound)} functions, {len(c.structs())} structs with {fields} fields agree with the headers")
    print("public, not bound:", " ".join(sorted(exported - bound)) or "none")
    if not re.search(rf"version: '{re.escape(c.VERSION)}'", open(os.path.join(root, "meson.build"), encoding="utf-8").read()):
        print(f"VERSION of python/eyelet/_c.py is {c.VERSION}, meson.build has another")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
