/* How int8 products end on AVX2. static inline only. */
#ifndef EYE_I8_SUMS_AVX2_H
#define EYE_I8_SUMS_AVX2_H

#include "kernels/int8.h"
#include "kernels/x86/math_avx2.h"

/* m rows (constant) of nv times 8 columns (constant) from j on, c the first number: results where sums are complete (last), else
 * the sums as they are, which wait there for more. */
EYE_INLINE void eye_i8_put_sums(const struct eye_gemm_i8_args *a, bool last, const size_t m, const size_t nv, __m256i sum[][2],
                                float *c, size_t j) {
    const size_t n = a->n - j;
    EYE_UNROLL
    for (size_t v = 0; v < nv; v++) {
        __m256 scale = eye_load8(a->scale + j + 8 * v, n - 8 * v), bias = eye_load8(a->bias + j + 8 * v, n - 8 * v);
        EYE_UNROLL
        for (size_t r = 0; r < m; r++) {
            __m256 s = last ? _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[r][v]), scale, bias) : _mm256_castsi256_ps(sum[r][v]);
            eye_store8(c + r * a->c_stride + 8 * v, n - 8 * v, s);
        }
    }
}

#endif
