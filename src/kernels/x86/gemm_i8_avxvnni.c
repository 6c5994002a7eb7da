/* GEMM, u8 activations x s8 weights, AVX-VNNI: up to 6 rows x 16 columns. */
#include <immintrin.h>

#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

enum { MR = 6 };

/* m rows (constant) from row i on, 16 columns: those from `half` of the panel at w on. */
EYE_INLINE void tile(const struct eye_gemm_i8_args *a, const size_t m, size_t i, size_t j, const int8_t *w) {
    const uint8_t *row = (const uint8_t *)a->a + i * a->a_stride;
    __m256i sum[MR][2];
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t e = 0; e < a->k; e += EYE_I8_KR, row += EYE_I8_KR, w += EYE_I8_KR * EYE_I8_NR) {
        __m256i w0 = _mm256_load_si256((const __m256i *)w), w1 = _mm256_load_si256((const __m256i *)(w + 32));
        size_t left = a->k - e;
        EYE_UNROLL
        for (size_t r = 0; r < m; r++) {
            int32_t four = (int32_t)eye_i8_four(row + r * a->a_stride, left);
            __m256i x = _mm256_set1_epi32(four);
            sum[r][0] = _mm256_dpbusd_avx_epi32(sum[r][0], x, w0);
            sum[r][1] = _mm256_dpbusd_avx_epi32(sum[r][1], x, w1);
        }
    }
    for (size_t v = 0; v < 2 && j + 8 * v < a->n; v++) {
        size_t at = j + 8 * v, n = a->n - at;
        __m256 scale = eye_load8(a->scale + at, n), bias = eye_load8(a->bias + at, n);
        EYE_UNROLL
        for (size_t r = 0; r < m; r++) {
            __m256 f = _mm256_cvtepi32_ps(v ? sum[r][1] : sum[r][0]);
            eye_store8(a->c + (i + r) * a->c_stride + at, n, _mm256_fmadd_ps(f, scale, bias));
        }
    }
}

void eye_gemm_i8_avxvnni(const struct eye_gemm_i8_args *a) {
    for (size_t j = 0; j < a->n; j += 16) {
        const int8_t *w = (const int8_t *)a->w + j / EYE_I8_NR * eye_i8_panel_bytes(a->k) + EYE_I8_SUMS_BYTES + j % EYE_I8_NR * 4;
        size_t i = 0;
        for (; i + MR <= a->m; i += MR) tile(a, MR, i, j, w);
        if (i + 3 <= a->m) tile(a, 3, i, j, w), i += 3;
        for (; i < a->m; i++) tile(a, 1, i, j, w);
    }
}
