#!/usr/bin/env python3
"""Writes src/kernels/gelu_tables.h: the coefficients of the fast exact-erf GELU. Needs numpy. Usage: gelu_tables.py > FILE

gelu(x) = max(x, 0) - k(|x|) with k(t) = t Phi(-t): small (<= 0.17), smooth for t >= 0, and 0 at infinity, so nothing cancels.
  segments  k in 32 pieces of width 1/S, degree 4 in u = t S - i, |u| <= 1/2. One permute per coefficient (AVX-512).
  coarse    k in 16 pieces of width 1/4, degree 2: what is rounded to bytes next asks no more (gelu_u8, every CPU).
  rounded   k in 31 pieces of width 1/6, degree 2 in t itself, then 0; fitted to relative error: what is rounded to bf16 next
            loses eight times as much by that at the worst, on average a hundred times (AVX512-BF16).
  poly      k(t) = t (1/2 - t P(s)), s = 2 t^2/T^2 - 1, one polynomial for t <= T (AVX2, NEON).
Fitted for least maximal error by Lawson's iteratively reweighted least squares; errors of the float32 result are printed."""
import math
import numpy as np

S, T, DEG, R = 5.25, 5.4, 14, 6
erfc = np.vectorize(math.erfc)


def k_exact(t):
    return t * 0.5 * erfc(t / math.sqrt(2))


def lawson(A, f, weight, steps=300):
    w, best = np.full(len(f), 1.0 / len(f)), (math.inf, None)
    for _ in range(steps):
        r = np.sqrt(w) * weight
        c = np.linalg.lstsq(A * r[:, None], f * r, rcond=None)[0]
        e = np.abs((A @ c - f) * weight)
        best = min(best, (e.max(), c), key=lambda b: b[0])
        w = w * (e + 1e-30)
        w /= w.sum()
    return best[1]


def segments():
    rows = []
    for i in range(32):
        lo, hi = (0.0 if i == 0 else -0.5), (0.0 if i == 31 else 0.5)
        u = lo + (hi - lo) * (1 - np.cos(np.linspace(0, np.pi, 400))) / 2
        f = k_exact((u + i) / S)
        if i == 0:  # k(0) = 0, k'(0) = 1/2: tiny x keep their relative accuracy
            c = np.r_[0, 0.5 / S, lawson(np.stack([u**2, u**3, u**4], 1), f - 0.5 * u / S, np.ones_like(u))]
        elif i == 31:  # ends in exactly 0: gelu(x) = max(x, 0) from here on
            c = np.r_[0, lawson(np.stack([u, u**2, u**3, u**4], 1), f - f[-1], np.ones_like(u))]
        else:
            c = lawson(np.stack([u**p for p in range(5)], 1), f, np.ones_like(u))
        rows.append(c)
    return np.array(rows).astype(np.float32)


def coarse():
    rows = []
    for i in range(16):
        u = (0.0 if i == 0 else -0.5) + (0.5 if i == 0 else 1.0) * (1 - np.cos(np.linspace(0, np.pi, 400))) / 2
        f = k_exact((u + i) / 4)
        if i == 0:  # k(0) = 0
            c = np.r_[0, lawson(np.stack([u, u**2], 1), f, np.ones_like(u))].astype(np.float32)
        else:
            c = lawson(np.stack([u**p for p in range(3)], 1), f, np.ones_like(u)).astype(np.float32)
        rows.append(c)
    c[0] = -fma(c[2], np.float32(0.5), c[1]) / 2  # ends in 0: max(x, 0) from there on
    return np.array(rows)


def rounded_piece(t):  # in whole 512ths, three times by 256: what float and integer additions do
    return (np.rint(t.astype(np.float64) * 512).astype(int) * 3) >> 8


def rounded():
    rows = []
    for i in range(31):
        lo, hi = max(i / R - 1 / 1024, 0), (i + 1) / R + 1 / 1024
        t = (lo + (hi - lo) * (1 - np.cos(np.linspace(0, np.pi, 400))) / 2)[1 if i == 0 else 0 :]
        f, first = k_exact(t), 1 if i == 0 else 0  # k(0) = 0
        c = lawson(np.stack([t**p for p in range(first, 3)], 1), f, 1 / (f + 3e-3 * (1 - first)))
        rows.append(np.r_[np.zeros(first), c])
    return np.array(rows + [np.zeros(3)]).astype(np.float32)


def poly():
    x = np.maximum(T * np.cos(np.linspace(0, np.pi / 2, 3000)), 1e-6)
    s = 2 * x * x / T / T - 1
    c = lawson(np.polynomial.chebyshev.chebvander(s, DEG) * x[:, None], 0.5 - 0.5 * erfc(x / math.sqrt(2)), x / (1 + x))
    return np.polynomial.Chebyshev(c).convert(kind=np.polynomial.Polynomial).coef.astype(np.float32)


def fma(a, b, c):
    return (np.asarray(a, np.float64) * b + c).astype(np.float32)


def report(name, x, g):
    xd = x.astype(np.float64)
    e = np.abs(g - xd * 0.5 * erfc(-xd / math.sqrt(2)))
    return f" *   {name}: |error| <= {(e / (1 + np.abs(xd))).max():.1e} (1 + |x|), largest {e.max():.1e}, on |x| <= 8\n"


def lines(values, sep):
    text = [f"{v:.9g}f" if v % 1 else f"{v:.1f}f" for v in values]
    return sep.join(", ".join(text[j : j + 6]) for j in range(0, len(text), 6))


def main():
    x = np.linspace(-8, 8, 800001).astype(np.float32)
    tab, p = segments(), poly()
    t = np.minimum(np.abs(x), np.float32(31 / S))
    i = np.rint(t.astype(np.float64) * S)
    u, y = fma(t, np.float32(S), -i), tab[i.astype(int), 4]
    for d in (3, 2, 1, 0):
        y = fma(y, u, tab[i.astype(int), d])
    text = report("segments", x, np.maximum(x, 0) - y)
    low = coarse()
    end = np.nextafter(np.float32(15.5 / 4), np.float32(0))  # 15.5 itself would round to piece 16
    t = np.minimum(np.abs(x), end)
    i = np.rint(t.astype(np.float64) * 4)
    u, y = fma(t, np.float32(4), -i), low[i.astype(int), 2]
    for d in (1, 0):
        y = fma(y, u, low[i.astype(int), d])
    text += report("coarse", x, np.maximum(x, 0) - y)
    bf = rounded()
    t = np.minimum(np.abs(x), np.float32(5.25))
    i = rounded_piece(t)
    y = fma(fma(bf[i, 2], t, bf[i, 1]), t, bf[i, 0])
    exact = x.astype(np.float64) * 0.5 * erfc(-x.astype(np.float64) / math.sqrt(2))
    e = np.abs(np.maximum(x, 0) - y - exact) - 8e-7
    text += f" *   rounded: |error| <= {(e / np.maximum(np.abs(exact), 1e-30)).max():.1e} |gelu(x)| + 8e-7 on |x| <= 8\n"
    t = np.minimum(np.abs(x), np.float32(T))
    s = fma((t * t).astype(np.float32), np.float32(2 / T / T), -1)
    y = np.full_like(s, p[-1])
    for c in p[-2::-1]:
        y = fma(y, s, c)
    y = t * fma(-t, y, 0.5)
    text += report("poly", x, np.maximum(x, 0) - y)
    print("/* Generated by test/reference/gelu_tables.py, which says what these are.\n" + text + " */")
    print("#ifndef EYE_GELU_TABLES_H\n#define EYE_GELU_TABLES_H\n")
    print(f"#define EYE_GELU_SEG_SCALE {S}f\n#define EYE_GELU_SEG_MAX {np.float32(31 / S):.9g}f")
    print("static const float eye_gelu_seg[5][32] = { /* [degree][segment] */")
    for d in range(5):
        print("    {" + lines(tab[:, d], ",\n     ") + "},")
    print("};\n")
    print(f"#define EYE_GELU_COARSE_MAX {end:.9g}f /* times 4 rounds to 15 */")
    print("static const float eye_gelu_coarse[3][16] = { /* [degree][piece] */")
    for d in range(3):
        print("    {" + lines(low[:, d], ",\n     ") + "},")
    print("};\n")
    print("#define EYE_GELU_ROUNDED_MAX 5.25f /* piece 31 */")
    print("static const float eye_gelu_rounded[3][32] = { /* [degree][piece] */")
    for d in range(3):
        print("    {" + lines(bf[:, d], ",\n     ") + "},")
    print("};\n")
    print(f"#define EYE_GELU_POLY_MAX {T}f\n#define EYE_GELU_POLY_SCALE {np.float32(2 / T / T):.9g}f")
    print(f"#define EYE_GELU_POLY_DEG {DEG}")
    print("static const float eye_gelu_poly[EYE_GELU_POLY_DEG + 1] = { /* P, constant first */")
    print("    " + lines(p, ",\n    ") + ",\n};\n\n#endif")


main()
