/* Activations and element-wise pairs, AVX2 + FMA. Tails are masked. Errors as in act_avx512.c except GELU's. */
#include "kernels/gelu_tables.h"
#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

/* One function over a row: f(vector) -> vector. */
#define EYE_MAP(name, f)                                                                      \
    void name(float *dst, const float *src, size_t n) {                                       \
        size_t i = 0;                                                                         \
        for (; i + 8 <= n; i += 8) _mm256_storeu_ps(dst + i, f(_mm256_loadu_ps(src + i)));    \
        if (i < n) eye_store8(dst + i, n - i, f(eye_load8(src + i, n - i)));                  \
    }
#define EYE_ZIP(name, f)                                                                      \
    void name(float *dst, const float *a, const float *b, size_t n) {                         \
        size_t i = 0;                                                                         \
        for (; i + 8 <= n; i += 8)                                                            \
            _mm256_storeu_ps(dst + i, f(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));     \
        if (i < n) eye_store8(dst + i, n - i, f(eye_load8(a + i, n - i), eye_load8(b + i, n - i))); \
    }

/* max(x, 0) - k(|x|), k one polynomial (gelu_tables.py). |error| <= 1.1e-7 (1 + |x|). */
EYE_INLINE __m256 gelu(__m256 x) {
    __m256 t = _mm256_min_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x), _mm256_set1_ps(EYE_GELU_POLY_MAX));
    __m256 s = _mm256_fmsub_ps(_mm256_mul_ps(t, t), _mm256_set1_ps(EYE_GELU_POLY_SCALE), _mm256_set1_ps(1.0f));
    __m256 p = _mm256_set1_ps(eye_gelu_poly[EYE_GELU_POLY_DEG]);
    for (int d = EYE_GELU_POLY_DEG - 1; d >= 0; d--) p = _mm256_fmadd_ps(p, s, _mm256_set1_ps(eye_gelu_poly[d]));
    __m256 k = _mm256_mul_ps(t, _mm256_fnmadd_ps(t, p, _mm256_set1_ps(0.5f)));
    return _mm256_sub_ps(_mm256_max_ps(_mm256_setzero_ps(), x), k); /* this order keeps NaN */
}
EYE_INLINE __m256 gelu_tanh(__m256 x) {
    __m256 c = _mm256_fmadd_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(0.044715f * 1.59576912160573071f),
                               _mm256_set1_ps(1.59576912160573071f));
    return eye_sigmoid_mul_avx2(_mm256_mul_ps(c, x), x);
}
EYE_INLINE __m256 quick_gelu(__m256 x) { return eye_sigmoid_mul_avx2(_mm256_mul_ps(x, _mm256_set1_ps(1.702f)), x); }
EYE_INLINE __m256 silu(__m256 x) { return eye_sigmoid_mul_avx2(x, x); }
EYE_INLINE __m256 sigmoid(__m256 x) { return eye_sigmoid_mul_avx2(x, _mm256_set1_ps(1.0f)); }
EYE_INLINE __m256 relu(__m256 x) { return _mm256_max_ps(x, _mm256_setzero_ps()); }
EYE_INLINE __m256 hardsigmoid(__m256 x) { /* 6 (1/6) rounds to 1: large x stay what they are under hardswish */
    __m256 t = _mm256_max_ps(_mm256_add_ps(x, _mm256_set1_ps(3.0f)), _mm256_setzero_ps());
    return _mm256_mul_ps(_mm256_min_ps(t, _mm256_set1_ps(6.0f)), _mm256_set1_ps(1.0f / 6.0f));
}
EYE_INLINE __m256 hardswish(__m256 x) { return _mm256_mul_ps(x, hardsigmoid(x)); }
EYE_INLINE __m256 add(__m256 a, __m256 b) { return _mm256_add_ps(a, b); }
EYE_INLINE __m256 mul(__m256 a, __m256 b) { return _mm256_mul_ps(a, b); }
EYE_INLINE __m256 swiglu(__m256 a, __m256 b) { return eye_sigmoid_mul_avx2(a, _mm256_mul_ps(a, b)); }

EYE_MAP(eye_gelu_f32_avx2, gelu)
EYE_MAP(eye_gelu_tanh_f32_avx2, gelu_tanh)
EYE_MAP(eye_quick_gelu_f32_avx2, quick_gelu)
EYE_MAP(eye_silu_f32_avx2, silu)
EYE_MAP(eye_sigmoid_f32_avx2, sigmoid)
EYE_MAP(eye_relu_f32_avx2, relu)
EYE_MAP(eye_hardsigmoid_f32_avx2, hardsigmoid)
EYE_MAP(eye_hardswish_f32_avx2, hardswish)
EYE_ZIP(eye_add_f32_avx2, add)
EYE_ZIP(eye_mul_f32_avx2, mul)
EYE_ZIP(eye_swiglu_f32_avx2, swiglu)
