/* GEMM, u8 activations x s8 weights, AVX2: up to 4 rows x 8 columns.
 *
 * vpmaddubsw would saturate: two products of 255 127 do not fit 16 bits. So both sides are widened to 16 bits and multiplied by
 * vpmaddwd, which sums two products in 32 bits: as many instructions as the ways around the saturation take, and exact. A sum
 * is kept as two halves of its column until the end. */
#include <immintrin.h>

#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

enum { MR = 4 };

/* Two vectors of 4 columns [even pair, odd pair] each to 8 columns. */
EYE_INLINE __m256i columns(__m256i lo, __m256i hi) {
    __m256i h = _mm256_hadd_epi32(lo, hi); /* within 128-bit lanes: 0 1 4 5 2 3 6 7 */
    return _mm256_permute4x64_epi64(h, 0xd8);
}

EYE_INLINE void tile(const struct eye_gemm_i8_args *a, const size_t m, size_t i, size_t j, const int8_t *w) {
    const uint8_t *row = (const uint8_t *)a->a + i * a->a_stride;
    __m256i sum[MR][2];
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t e = 0; e < a->k; e += EYE_I8_KR, row += EYE_I8_KR, w += EYE_I8_KR * EYE_I8_NR) {
        __m256i w0 = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)w));
        __m256i w1 = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(w + 16)));
        size_t left = a->k - e;
        EYE_UNROLL
        for (size_t r = 0; r < m; r++) {
            int32_t four = (int32_t)eye_i8_four(row + r * a->a_stride, left);
            __m256i x = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
            sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(x, w0));
            sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(x, w1));
        }
    }
    size_t n = a->n - j;
    __m256 scale = eye_load8(a->scale + j, n), bias = eye_load8(a->bias + j, n);
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) {
        __m256 f = _mm256_cvtepi32_ps(columns(sum[r][0], sum[r][1]));
        eye_store8(a->c + (i + r) * a->c_stride + j, n, _mm256_fmadd_ps(f, scale, bias));
    }
}

void eye_gemm_i8_avx2(const struct eye_gemm_i8_args *a) {
    for (size_t j = 0; j < a->n; j += 8) {
        const int8_t *w = (const int8_t *)a->w + j / EYE_I8_NR * eye_i8_panel_bytes(a->k) + EYE_I8_SUMS_BYTES + j % EYE_I8_NR * 4;
        size_t i = 0;
        for (; i + MR <= a->m; i += MR) tile(a, MR, i, j, w);
        for (; i < a->m; i++) tile(a, 1, i, j, w);
    }
}
