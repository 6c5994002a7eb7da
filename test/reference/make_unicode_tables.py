#!/usr/bin/env python3
"""Writes src/text/unicode_tables.c: character classes and normal-form data, exactly as the `tokenizers` library applies them.

    python test/reference/make_unicode_tables.py [-o src/text/unicode_tables.c]

The library mixes Unicode versions (its regex engine, its normaliser and Rust's own char methods each carry tables of their
own age), so nothing is taken from a Unicode release: every code point is shown to the library and what it does is written
down. After that NFC is restated from the tables alone and compared with the library on random strings; a mismatch is fatal.
"""
import argparse
import itertools
import os
import random
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
S_BASE, L_BASE, V_BASE, T_BASE, S_COUNT = 0xAC00, 0x1100, 0x1161, 0x11A7, 11172
BLOCK = 64           # code points per block of the two-stage class table
TABLE_END = 0x32400  # the table ends here; what lies above is one class but for a few ranges
FLAGS = ("L", "N", "S", "W", "D", "Q")

nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str


def chunks(n=4096):
    for i in range(0, len(CODE_POINTS), n):
        yield CODE_POINTS[i:i + n]


def by_regex(pattern):
    """Members of a one-character pattern: `removed` leaves exactly the others."""
    cut = pre_tokenizers.Split(Regex(pattern), "removed")
    members = set()
    for part in chunks():
        left = {c for piece, _ in cut.pre_tokenize_str("".join(map(chr, part))) for c in piece}
        members.update(c for c in part if chr(c) not in left)
    return members


def by_digits():
    """Members of the Digits pre-tokenizer: each becomes a piece of its own between two letters."""
    cut = pre_tokenizers.Digits(individual_digits=True)
    members = set()
    for part in chunks():
        spans = {span for _, span in cut.pre_tokenize_str("".join("x" + chr(c) for c in part) + "x")}
        members.update(c for i, c in enumerate(part) if (2 * i + 1, 2 * i + 2) in spans)
    return members


def by_added_token(seen, **flags):
    """Spans of the added token <q> with a code point before each; seen(i, spans) tells whether that one counts."""
    tk = Tokenizer(models.BPE(vocab={"z": 0}, merges=[]))
    tk.add_tokens([AddedToken("<q>", normalized=False, **flags)])
    members = set()
    for part in chunks():
        spans = set(tk.encode("".join("." + chr(c) + "<q>" for c in part)).offsets)
        members.update(c for i, c in enumerate(part) if seen(i, spans))
    return members


def combining_classes(decomposed):
    """Put among one mark of each class, NFD moves a mark to its place: the place is the class. A starter does not move."""
    marks = {}
    for c in CODE_POINTS:
        k = unicodedata.combining(chr(c))
        if k and k not in marks and c not in decomposed and nfd("\u0345" + chr(c)) != "\u0345" + chr(c):
            marks[k] = chr(c)                             # U+0345 has the highest class: the library knows c as a mark
    order = sorted(marks)
    line = "".join(marks[k] for k in order)
    assert nfd(line[::-1]) == line and order[0] == 1 and order[-1] < unicodedata.combining("\u0345") == 240
    order.append(240)
    line += "\u0345"
    ccc = {}
    for c in CODE_POINTS:
        ch = chr(c)
        if nfd(ch) != ch:
            continue
        after, before = nfd(line + ch), nfd(ch + line)
        if after == line + ch and before == ch + line:
            continue                                      # class 0
        # From behind it passes all of a higher class, from before all of a lower one: it stops on either side of its equal.
        i = next(i for i, k in enumerate(order) if before[i] == ch)
        assert after == line[:i + 1] + ch + line[i + 1:] and before == line[:i] + ch + line[i:], hex(c)
        ccc[c] = order[i]
    return ccc


def normal_forms():
    hangul = range(S_BASE, S_BASE + S_COUNT)
    decomp = {c: [ord(x) for x in nfd(chr(c))] for c in CODE_POINTS if c not in hangul and nfd(chr(c)) != chr(c)}
    pairs = {}
    for c, full in decomp.items():
        head = nfc("".join(map(chr, full[:-1])))
        if len(head) == 1 and nfc(head + chr(full[-1])) == chr(c):
            pairs[ord(head), full[-1]] = c
    return decomp, pairs, combining_classes(decomp)


def restated_nfc(text, decomp, pairs, ccc):
    """The algorithm of src/text/nfc.c on these tables."""
    def decompose(c):
        s = c - S_BASE
        if not 0 <= s < S_COUNT:
            return decomp.get(c, [c])
        return [L_BASE + s // 588, V_BASE + s % 588 // 28] + [T_BASE + s % 28] * (s % 28 > 0)

    def compose(a, b):
        if 0 <= a - L_BASE < 19 and 0 <= b - V_BASE < 21:
            return S_BASE + ((a - L_BASE) * 21 + b - V_BASE) * 28
        if 0 <= a - S_BASE < S_COUNT and (a - S_BASE) % 28 == 0 and 0 < b - T_BASE < 28:
            return a + b - T_BASE
        return pairs.get((a, b))

    full = [(ccc.get(d, 0), d) for c in text for d in decompose(ord(c))]
    ordered = []
    for starter, group in itertools.groupby(full, lambda x: x[0] == 0):
        ordered += group if starter else sorted(group, key=lambda x: x[0])
    out, starter = [], None                               # starter: index in out
    for k, c in ordered:
        last = out[-1][0] if starter is not None and len(out) > starter + 1 else -1
        made = compose(out[starter][1], c) if starter is not None and (last == -1 or 0 < last < k) else None
        if made is not None:
            out[starter] = (0, made)
            continue
        if k == 0:
            starter = len(out)
        out.append((k, c))
    return "".join(chr(c) for _, c in out)


def check_nfc(decomp, pairs, ccc):
    rng = random.Random(1)
    marks = sorted(ccc)
    bases = sorted(decomp) + sorted({a for a, _ in pairs}) + list(range(L_BASE, 0x1200)) + list(range(S_BASE, S_BASE + 600)) + \
        list(range(0x41, 0x7b))
    tests = map(chr, CODE_POINTS)
    mixed = ("".join(chr(rng.choice(marks if rng.random() < .5 else bases)) for _ in range(rng.randint(1, 9)))
             for _ in range(80000))
    for group in (tests, mixed):
        for s in group:
            assert restated_nfc(s, decomp, pairs, ccc) == nfc(s), [hex(ord(x)) for x in s]


def lines(items, width=126):
    out, line = [], "    "
    for it in items:
        if len(line) + len(it) + 1 > width:
            out.append(line)
            line = "    "
        line += it + ","
    return "\n".join(out + [line]) + "\n"


def main():
    ap = argparse.ArgumentParser()
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("-o", default=os.path.join(here, "..", "..", "src", "text", "unicode_tables.c"))
    out_path = ap.parse_args().o

    decomp, pairs, ccc = normal_forms()
    check_nfc(decomp, pairs, ccc)
    seconds = {b for _, b in pairs} | set(range(V_BASE, V_BASE + 21)) | set(range(T_BASE + 1, T_BASE + 28))
    space = by_regex(r"\s")
    sets = dict(
        L=by_regex(r"\p{L}"), N=by_regex(r"\p{N}"), S=space, D=by_digits(),
        W=by_added_token(lambda i, spans: (5 * i + 2, 5 * i + 5) not in spans, single_word=True),
        Q={c for c in CODE_POINTS if nfc(chr(c)) == chr(c) and c not in ccc and c not in seconds})
    # One table serves the regexes' \s and the white space that an added token's lstrip/rstrip eats: prove they agree.
    assert by_added_token(lambda i, spans: (5 * i + 1, 5 * i + 5) in spans, lstrip=True) == space
    # The case-insensitive contractions are written into pretok.c: these are their only unusual members.
    for letter in "stremvld":
        assert by_regex(f"(?i:{letter})") == {ord(letter), ord(letter.upper())} | ({0x17F} if letter == "s" else set()), letter
        assert by_regex(letter) == {ord(letter)}

    def mask(c):
        return sum(1 << i for i, f in enumerate(FLAGS) if c in sets[f])
    masks = [mask(c) for c in range(0x110000)]
    kinds = sorted(set(masks), key=lambda m: -masks.count(m))
    assert len(kinds) <= 16
    block_of, stage1, blocks = {}, [], []
    for b in range(0, TABLE_END, BLOCK):
        key = tuple(kinds.index(m) for m in masks[b:b + BLOCK])
        if key not in block_of:
            block_of[key] = len(blocks)
            blocks.append(key)
        stage1.append(block_of[key])
    tail = []                                             # ranges above the table that are not the plain class
    plain = masks[TABLE_END]
    for c in range(TABLE_END, 0x110000):
        if masks[c] != plain:
            if tail and tail[-1][1] == c - 1 and tail[-1][2] == masks[c]:
                tail[-1][1] = c
            else:
                tail.append([c, c, masks[c]])

    pool, index, where = [], [], {}
    for c in sorted(decomp):
        key = tuple(decomp[c])
        if key not in where:
            where[key] = len(pool)
            pool += key
        index.append((c, where[key], len(key)))
    runs = []
    for c in sorted(ccc):
        if runs and runs[-1][1] == c - 1 and runs[-1][2] == ccc[c]:
            runs[-1][1] = c
        else:
            runs.append([c, c, ccc[c]])

    with open(out_path, "w", encoding="ascii") as f:
        f.write(f"""/* Generated by test/reference/make_unicode_tables.py from tokenizers {tokenizers.__version__}; do not edit.
 * What that library's regex engine, normaliser and added-token matcher do with each code point, found by probing:
 * {len(sets['L'])} letters (\\p{{L}}), {len(sets['N'])} numbers (\\p{{N}}), {len(space)} spaces (\\s), {len(sets['W'])} word \
characters (\\w),
 * {len(sets['D'])} digits (Digits); {len(decomp)} decompositions, {len(pairs)} compositions, {len(ccc)} combining marks. */
#include "text/unicode.h"

""")
        def table(declaration, items, note=""):
            f.write(f"{note}const {declaration} = {{\n{lines(items)}}};\n")

        table("uint8_t eye_uc_kind_flags[16]",
              ["|".join(f"EYE_UC_{n}" for i, n in enumerate(FLAGS) if m >> i & 1) or "0" for m in kinds])
        f.write(f"const uint8_t eye_uc_above = {plain};\n")
        table("struct eye_uc_range eye_uc_above_ranges[]", [f"{{0x{a:x},0x{b:x},{m}}}" for a, b, m in tail])
        f.write(f"const size_t eye_uc_n_above = {len(tail)};\n\n")
        f.write(f"_Static_assert(EYE_UC_BLOCK == {BLOCK} && EYE_UC_TABLE_END == 0x{TABLE_END:x}, \"made for other sizes\");\n")
        table(f"uint16_t eye_uc_stage1[{len(stage1)}]", map(str, stage1))
        packed = [str(b[i + 1] << 4 | b[i]) for b in blocks for i in range(0, BLOCK, 2)]
        table(f"uint8_t eye_uc_stage2[{len(packed)}]", packed, "/* Two kinds per byte, low nibble first. */\n")
        table("struct eye_uc_range eye_uc_ccc[]", [f"{{0x{a:x},0x{b:x},{k}}}" for a, b, k in runs])
        f.write(f"const size_t eye_uc_n_ccc = {len(runs)};\n\n")
        table("struct eye_uc_decomp eye_uc_decomp[]", [f"{{0x{c:x},{o},{n}}}" for c, o, n in index])
        f.write(f"const size_t eye_uc_n_decomp = {len(index)};\n\n")
        table("uint32_t eye_uc_decomp_pool[]", [f"0x{c:x}" for c in pool])
        table("struct eye_uc_pair eye_uc_pair[]", [f"{{0x{a:x},0x{b:x},0x{c:x}}}" for (a, b), c in sorted(pairs.items())])
        f.write(f"const size_t eye_uc_n_pair = {len(pairs)};\n")
    print(f"{out_path}: {os.path.getsize(out_path)} bytes, {len(kinds)} kinds, {len(blocks)} blocks, {len(tail)} ranges above")


if __name__ == "__main__":
    main()
