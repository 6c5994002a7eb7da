/* Vector mathematics for AVX2 + FMA files: exp, sigmoid, tail masks, sums over lanes in one fixed order. static inline only. */
#ifndef EYE_MATH_AVX2_H
#define EYE_MATH_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/inline.h"

/* Mask of the first n lanes, for maskload and maskstore; n >= 8 is all. */
EYE_INLINE __m256i eye_tail8(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 8 ? (int)n : 8), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* The first n floats at p; n >= 8 is all. Whole vectors take the plain move: maskstore costs tens of cycles on some CPUs. */
EYE_INLINE __m256 eye_load8(const float *p, size_t n) {
    return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, eye_tail8(n));
}
EYE_INLINE void eye_store8(float *p, size_t n, __m256 v) {
    if (n >= 8) _mm256_storeu_ps(p, v);
    else _mm256_maskstore_ps(p, eye_tail8(n), v);
}

/* e^x, error < 1 ulp (2 in the denormals); 0 below -104, infinite above 88.73, NaN stays. As eye_exp_avx512, but 2^n is
 * multiplied in two halves, so that n = 128 and n < -126 come out right. */
EYE_INLINE __m256 eye_exp_avx2(__m256 x) {
    x = _mm256_max_ps(_mm256_set1_ps(-104.0f), _mm256_min_ps(_mm256_set1_ps(89.0f), x)); /* in this order NaN passes */
    __m256 n = _mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f));
    n = _mm256_round_ps(n, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.9875691500e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
    p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
    __m256i i = _mm256_cvtps_epi32(n), h = _mm256_srai_epi32(i, 1), one = _mm256_set1_epi32(127);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(h, one), 23);
    __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, h), one), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}

/* x's sigmoid times a: only e^-|x| is taken, which cannot overflow. */
EYE_INLINE __m256 eye_sigmoid_mul_avx2(__m256 x, __m256 a) {
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 e = eye_exp_avx2(_mm256_or_ps(x, _mm256_set1_ps(-0.0f)));
    return _mm256_mul_ps(_mm256_div_ps(_mm256_blendv_ps(one, e, x), _mm256_add_ps(one, e)), a);
}

EYE_INLINE float eye_sum_avx2(__m256 v) {
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

EYE_INLINE float eye_max_avx2(__m256 v) {
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

#endif
