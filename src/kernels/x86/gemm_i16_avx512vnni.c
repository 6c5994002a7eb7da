/* GEMM, i16 activations x s8 weights, AVX512-VNNI: up to 4 rows x one panel of 32 columns. The weights are widened as they are
 * loaded, once per 4 rows: the packed layout is that of u8. vpdpwssd sums two products, so a column's sum is kept as two halves,
 * even and odd pairs of k. Registers: 16 sums, 4 of weights, 1 broadcast. */
#include <immintrin.h>

#include "kernels/rows.h"
#include "kernels/x86/math_avx512.h"

enum { MR = 4 };

EYE_INLINE void store(const struct eye_gemm_i8_args *a, float *c, size_t j, __mmask16 t, __m512i sum) {
    __m512 scale = _mm512_maskz_loadu_ps(t, a->scale + j), bias = _mm512_maskz_loadu_ps(t, a->bias + j);
    _mm512_mask_storeu_ps(c, t, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, bias));
}

/* Halves of 8 columns each to 16 columns. */
EYE_INLINE __m512i columns(__m512i lo, __m512i hi) {
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return _mm512_add_epi32(_mm512_permutex2var_epi32(lo, even, hi), _mm512_permutex2var_epi32(lo, odd, hi));
}

/* 4 of k, or the last n. */
EYE_INLINE void step(const struct eye_gemm_i8_args *a, const size_t m, const int16_t *row, size_t n, const int8_t *w,
                     __m512i sum[MR][4]) {
    __m512i wide[4];
    EYE_UNROLL
    for (size_t v = 0; v < 4; v++) wide[v] = _mm512_cvtepi8_epi16(_mm256_load_si256((const __m256i *)(w + 32 * v)));
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) {
        __m512i x = _mm512_set1_epi64((int64_t)eye_i16_four(row + r * a->a_stride, n));
        EYE_UNROLL
        for (size_t v = 0; v < 4; v++) sum[r][v] = _mm512_dpwssd_epi32(sum[r][v], x, wide[v]);
    }
}

/* m rows (constant) from row i on, columns from j on. */
EYE_INLINE void tile(const struct eye_gemm_i8_args *a, const size_t m, size_t i, size_t j, const int8_t *w) {
    const int16_t *row = (const int16_t *)a->a + i * a->a_stride;
    __m512i sum[MR][4];
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) sum[r][0] = sum[r][1] = sum[r][2] = sum[r][3] = _mm512_setzero_si512();
    size_t left = a->k;
    for (; left >= EYE_I8_KR; left -= EYE_I8_KR, row += EYE_I8_KR, w += EYE_I8_KR * EYE_I8_NR) step(a, m, row, EYE_I8_KR, w, sum);
    if (left) step(a, m, row, left, w, sum);
    size_t n = a->n - j;
    __mmask16 t0 = n >= 16 ? 0xffff : eye_tail16(n), t1 = n >= 32 ? 0xffff : n <= 16 ? 0 : eye_tail16(n - 16);
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) {
        store(a, a->c + (i + r) * a->c_stride + j, j, t0, columns(sum[r][0], sum[r][1]));
        if (t1) store(a, a->c + (i + r) * a->c_stride + j + 16, j + 16, t1, columns(sum[r][2], sum[r][3]));
    }
}

void eye_gemm_i16_avx512vnni(const struct eye_gemm_i8_args *a) {
    const int8_t *w = (const int8_t *)a->w + EYE_I8_SUMS_BYTES;
    for (size_t j = 0; j < a->n; j += EYE_I8_NR, w += eye_i8_panel_bytes(a->k)) {
        size_t i = 0;
        for (; i + MR <= a->m; i += MR) tile(a, MR, i, j, w);
        if (i + 2 <= a->m) tile(a, 2, i, j, w), i += 2;
        if (i < a->m) tile(a, 1, i, j, w);
    }
}
