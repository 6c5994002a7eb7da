/* GEMM tiles with float weights, AVX-512: up to 14 rows x 32 columns of accumulators in registers, one fused multiply-add per
 * product and k in order. One function of constant parameters, instantiated per weight type and row count.
 * static inline only; layouts in gemm_pack.h.
 *
 * Registers: 28 accumulators, 2 vectors of weights, 1 broadcast. Loads per k: 2 + 14 for 28 multiply-adds, so the multipliers
 * are the limit. With few rows the chains of additions are: 1 row takes 4 panels at once (8 chains), which also keeps four
 * streams of memory going. */
#ifndef EYE_GEMM_FLOAT_AVX512_H
#define EYE_GEMM_FLOAT_AVX512_H

#include <assert.h>
#include <immintrin.h>

#include "kernels/rows.h"
#include "kernels/x86/gemm_pack.h"
#include "kernels/x86/math_avx512.h"

enum { EYE_F512_MR = 14, EYE_F512_NR = 32 };

enum eye_f512_weights { EYE_F512_F32, EYE_F512_F16, EYE_F512_BF16, EYE_F512_BF16_PAIRS };

/* Packs lhs rows from src [k][m]. */
EYE_INLINE void eye_pack_lhs_t_f512(size_t m, size_t k, const float *src, size_t src_stride, float *out) {
    const __mmask16 rows = (__mmask16)((1u << m) - 1);
    for (size_t e = 0; e < k; e += EYE_PACK_KR, src += EYE_PACK_KR * src_stride) {
        __m512 r[16];
        EYE_UNROLL
        for (size_t t = 0; t < 16; t++)
            r[t] = e + t < k ? _mm512_maskz_loadu_ps(rows, src + t * src_stride) : _mm512_setzero_ps();
        eye_transpose16(r);
        EYE_UNROLL
        for (size_t i = 0; i < EYE_F512_MR; i++)
            if (i < m) _mm512_store_ps(out + i * EYE_PACK_KR, r[i]);
        out += m * EYE_PACK_KR;
    }
}

/* One vector of 16 columns in one unit of k (1; with bf16 weights 2) times m rows. */
EYE_INLINE void eye_f512_unit(const enum eye_f512_weights t, const size_t m, const size_t nv, const float *a, const uint8_t *b,
                              size_t panel_stride, __m512 acc[][8]) {
    __m512 w[8];
    for (int odd = 0; odd < (t == EYE_F512_BF16 ? 2 : 1); odd++) {
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++) {
            const uint8_t *p = b + v / 2 * panel_stride;
            if (t == EYE_F512_F16) {
                w[v] = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)p + v % 2));
            } else if (t == EYE_F512_BF16) { /* two k per word: low half first */
                __m512i two = _mm512_load_si512((const __m512i *)p + v % 2);
                w[v] = _mm512_castsi512_ps(odd ? _mm512_and_si512(two, _mm512_set1_epi32((int)0xffff0000))
                                               : _mm512_slli_epi32(two, 16));
            } else {
                w[v] = _mm512_load_ps((const float *)p + v % 2 * 16);
            }
        }
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) {
            __m512 x = _mm512_set1_ps(a[i * EYE_PACK_KR + (size_t)odd]);
            EYE_UNROLL
            for (size_t v = 0; v < nv; v++) {
#ifdef __AVX512BF16__
                if (t == EYE_F512_BF16_PAIRS) {
                    __m512bh w2 = (__m512bh)_mm512_castps_si512(w[v]), x2 = (__m512bh)_mm512_castps_si512(x);
                    acc[i][v] = _mm512_dpbf16_ps(acc[i][v], w2, x2);
                    continue;
                }
#endif
                acc[i][v] = _mm512_fmadd_ps(x, w[v], acc[i][v]);
            }
        }
    }
}

/* Sums begin with x's rows, or 0. */
EYE_INLINE void eye_f512_start(const size_t m, const size_t nv, const bool whole, const __mmask16 mask[8], __m512 acc[][8],
                               const float *x, size_t stride) {
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) {
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++) acc[i][v] = _mm512_setzero_ps();
    }
    if (!x) return;
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) {
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++)
            acc[i][v] = whole ? _mm512_loadu_ps(x + i * stride + 16 * v) : _mm512_maskz_loadu_ps(mask[v], x + i * stride + 16 * v);
    }
}

/* A whole step of k: 64 bytes of each row. */
EYE_INLINE void eye_f512_step(const enum eye_f512_weights t, const size_t m, const size_t nv, const float *a, const uint8_t *b,
                              size_t panel_stride, __m512 acc[][8]) {
    const size_t words = t == EYE_F512_BF16 ? 2 : 1, n_units = EYE_PACK_KR / words, unit_bytes = t == EYE_F512_F16 ? 64 : 128;
    EYE_UNROLL_4
    for (size_t u = 0; u < n_units; u++, b += unit_bytes) eye_f512_unit(t, m, nv, a + u * words, b, panel_stride, acc);
}

/* m rows x nv vectors of columns (two a panel), of which n columns are wanted; whole: all of them, without masks. units: of the
 * last step, the others are full. */
EYE_INLINE void eye_f512_tile(const enum eye_f512_weights t, const size_t m, const size_t nv, const bool whole, size_t n, size_t k,
                              const float *a, const uint8_t *b, size_t panel_stride, float *c, size_t c_stride,
                              const float *bias, bool accumulate) {
    const size_t per_word = t == EYE_F512_BF16_PAIRS ? 2 : 1;       /* k per 4 bytes of lhs */
    const size_t words = t == EYE_F512_BF16 ? 2 : 1;                /* of lhs per unit */
    const size_t unit_bytes = t == EYE_F512_F16 ? 64 : 128, step_k = EYE_PACK_KR * per_word;
    const size_t step_bytes = EYE_PACK_KR / words * unit_bytes;
    __m512 acc[EYE_F512_MR][8];
    __mmask16 mask[8];
    EYE_UNROLL
    for (size_t v = 0; v < nv; v++)
        mask[v] = n >= 16 * v + 16 ? 0xffff : n <= 16 * v ? 0 : (__mmask16)((1u << (n - 16 * v)) - 1);
    eye_f512_start(m, nv, whole, mask, acc, accumulate ? c : bias, accumulate ? c_stride : 0);
    for (; k >= step_k; k -= step_k, a += m * EYE_PACK_KR, b += step_bytes) eye_f512_step(t, m, nv, a, b, panel_stride, acc);
    for (size_t u = 0; u * per_word * words < k; u++, b += unit_bytes)
        eye_f512_unit(t, m, nv, a + u * words, b, panel_stride, acc);
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) {
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++) {
            if (whole) _mm512_storeu_ps(c + i * c_stride + 16 * v, acc[i][v]);
            else _mm512_mask_storeu_ps(c + i * c_stride + 16 * v, mask[v], acc[i][v]);
        }
    }
}

/* All columns, np panels at a time while they last, then one by one. */
EYE_INLINE void eye_f512_rows(const enum eye_f512_weights t, const size_t m, const size_t np, size_t n, size_t k,
                              const void *lhs, const void *rhs, size_t panel_stride, float *c, size_t c_stride,
                              const float *bias, bool accumulate) {
    const uint8_t *b = rhs;
    size_t j = 0;
    for (; np > 1 && j + (np - 1) * EYE_F512_NR < n; j += np * EYE_F512_NR, b += np * panel_stride)
        eye_f512_tile(t, m, 2 * np, false, n - j, k, lhs, b, panel_stride, c + j, c_stride, bias ? bias + j : NULL, accumulate);
    for (; j + EYE_F512_NR <= n; j += EYE_F512_NR, b += panel_stride)
        eye_f512_tile(t, m, 2, true, n - j, k, lhs, b, panel_stride, c + j, c_stride, bias ? bias + j : NULL, accumulate);
    for (; j + EYE_F512_NR / 2 < n; j += EYE_F512_NR, b += panel_stride)
        eye_f512_tile(t, m, 2, false, n - j, k, lhs, b, panel_stride, c + j, c_stride, bias ? bias + j : NULL, accumulate);
    if (j < n) /* half a panel */
        eye_f512_tile(t, m, 1, false, n - j, k, lhs, b, panel_stride, c + j, c_stride, bias ? bias + j : NULL, accumulate);
}

/* The run function of a kernel: one instance per number of rows, since registers are not indexable. */
#define EYE_F512_CASE(t, m_, np) \
    case m_: eye_f512_rows(t, m_, np, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate); return;
#define EYE_F512_RUN(name, t)                                                                                          \
    static void name(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c, \
                     size_t c_stride, const float *bias, bool accumulate) {                                            \
        assert(m <= EYE_F512_MR);                                                                                      \
        switch (m) {                                                                                                   \
            EYE_F512_CASE(t, 1, 4) EYE_F512_CASE(t, 2, 4) EYE_F512_CASE(t, 3, 2) EYE_F512_CASE(t, 4, 1)                \
            EYE_F512_CASE(t, 5, 1) EYE_F512_CASE(t, 6, 1) EYE_F512_CASE(t, 7, 1) EYE_F512_CASE(t, 8, 1)                \
            EYE_F512_CASE(t, 9, 1) EYE_F512_CASE(t, 10, 1) EYE_F512_CASE(t, 11, 1) EYE_F512_CASE(t, 12, 1)             \
            EYE_F512_CASE(t, 13, 1) EYE_F512_CASE(t, 14, 1)                                                            \
        }                                                                                                              \
    }

#endif
