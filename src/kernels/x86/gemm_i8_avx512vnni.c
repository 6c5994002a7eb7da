/* GEMM, u8 activations x s8 weights, AVX512-VNNI: up to 8 rows x one panel of 32 columns. vpdpbusd takes activations as they
 * are and does not saturate. Registers: 16 sums, 2 of weights, 1 broadcast; with 12 rows gcc 12 keeps sums in memory, at half
 * the speed. The panel of weights stays in the first-level cache while all rows of the call pass by; the rows that come next
 * are fetched there meanwhile, 8 short streams that the hardware does not see in time. */
#include <immintrin.h>

#include "kernels/rows.h"
#include "kernels/x86/math_avx512.h"

enum { MR = 8 };

/* Results of m rows in 16 columns. */
EYE_INLINE void store(const struct eye_gemm_i8_args *a, const size_t m, size_t i, size_t j, __m512i sum[MR][2],
                      const size_t v) {
    size_t n = a->n - j;
    __mmask16 t = n >= 16 ? 0xffff : eye_tail16(n);
    __m512 scale = _mm512_maskz_loadu_ps(t, a->scale + j), bias = _mm512_maskz_loadu_ps(t, a->bias + j);
    EYE_UNROLL
    for (size_t r = 0; r < m; r++)
        _mm512_mask_storeu_ps(a->c + (i + r) * a->c_stride + j, t, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][v]), scale, bias));
}

/* 4 of k, or the last n. */
EYE_INLINE void step(const struct eye_gemm_i8_args *a, const size_t m, const size_t nv, const uint8_t *row, size_t n,
                     const int8_t *w, __m512i sum[MR][2]) {
    __m512i w0 = _mm512_load_si512(w), w1 = nv > 1 ? _mm512_load_si512(w + 64) : w0;
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) {
        __m512i x = _mm512_set1_epi32((int32_t)eye_i8_four(row + r * a->a_stride, n));
        sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], x, w0);
        if (nv > 1) sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], x, w1);
    }
}

/* m rows (constant) from row i on, nv times 16 columns (constant) from j on. */
EYE_INLINE void tile(const struct eye_gemm_i8_args *a, const size_t m, const size_t nv, size_t i, size_t j, const int8_t *w) {
    const uint8_t *row = (const uint8_t *)a->a + i * a->a_stride;
    __m512i sum[MR][2];
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    size_t left = a->k;
    const char *next = (const char *)row + m * a->a_stride; /* rows; behind the last one it does no harm */
    for (size_t at = 0; left >= 16; left -= 16, at += 16) { /* every line of MR rows in turn; four steps: addresses cost, too */
        _mm_prefetch(next + at + at / 16 % 4 * a->a_stride, _MM_HINT_T0);
        _mm_prefetch(next + at + (at / 16 % 4 + 4) * a->a_stride, _MM_HINT_T0);
        EYE_UNROLL
        for (int t = 0; t < 4; t++, row += EYE_I8_KR, w += EYE_I8_KR * EYE_I8_NR) step(a, m, nv, row, EYE_I8_KR, w, sum);
    }
    for (; left >= EYE_I8_KR; left -= EYE_I8_KR, row += EYE_I8_KR, w += EYE_I8_KR * EYE_I8_NR)
        step(a, m, nv, row, EYE_I8_KR, w, sum);
    if (left) step(a, m, nv, row, left, w, sum);
    store(a, m, i, j, sum, 0);
    if (nv > 1) store(a, m, i, j + 16, sum, 1);
}

/* All rows, nv times 16 columns. */
EYE_INLINE void panel(const struct eye_gemm_i8_args *a, const size_t nv, size_t j, const int8_t *w) {
    size_t i = 0;
    for (; i + MR <= a->m; i += MR) tile(a, MR, nv, i, j, w);
    if (i + 4 <= a->m) tile(a, 4, nv, i, j, w), i += 4;
    if (i + 2 <= a->m) tile(a, 2, nv, i, j, w), i += 2;
    if (i < a->m) tile(a, 1, nv, i, j, w);
}

void eye_gemm_i8_avx512vnni(const struct eye_gemm_i8_args *a) {
    const int8_t *w = (const int8_t *)a->w + EYE_I8_SUMS_BYTES;
    for (size_t j = 0; j < a->n; j += EYE_I8_NR, w += eye_i8_panel_bytes(a->k)) {
        if (a->n - j > EYE_I8_NR / 2) panel(a, 2, j, w);
        else panel(a, 1, j, w);
    }
}
