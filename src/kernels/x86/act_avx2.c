/* Activations and element-wise pairs, AVX2 + FMA. Tails are masked. Errors as in act_avx512.c except GELU's. */
#include "kernels/gelu_tables.h"
#include "kernels/normal.h"
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

/* ---- gradients: f'(a) b; |error| <= 4 eps |b| (hardsigmoid, hardswish 2, relu 0) ---- */

/* (sigmoid(v) + x sigmoid'(v) slope) dy: the gradient of x sigmoid(v(x)). */
EYE_INLINE __m256 sigmoid_product_grad(__m256 x, __m256 v, __m256 slope, __m256 dy) {
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 e = eye_exp_avx2(_mm256_or_ps(v, _mm256_set1_ps(-0.0f)));
    __m256 r = _mm256_div_ps(one, _mm256_add_ps(one, e)), er = _mm256_mul_ps(e, r);
    __m256 s = _mm256_blendv_ps(r, er, v);
    return _mm256_mul_ps(_mm256_fmadd_ps(_mm256_mul_ps(x, slope), _mm256_mul_ps(er, r), s), dy);
}
/* The distribution by normal.h, which shares the density's exponential. */
EYE_INLINE __m256 gelu_grad(__m256 x, __m256 dy) {
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 t = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    __m256 e = eye_exp_avx2(_mm256_mul_ps(_mm256_mul_ps(t, t), _mm256_set1_ps(-0.5f)));
    __m256 r = _mm256_div_ps(one, _mm256_fmadd_ps(t, _mm256_set1_ps(EYE_NORMAL_SCALE), one));
    __m256 p = _mm256_set1_ps(eye_normal_poly[4]);
    for (int d = 3; d >= 0; d--) p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(eye_normal_poly[d]));
    __m256 tail = _mm256_mul_ps(_mm256_mul_ps(p, r), e);
    __m256 below = _mm256_blendv_ps(_mm256_sub_ps(one, tail), tail, x);
    return _mm256_mul_ps(_mm256_fmadd_ps(_mm256_mul_ps(x, _mm256_set1_ps(EYE_NORMAL_DENSITY)), e, below), dy);
}
EYE_INLINE __m256 gelu_tanh_grad(__m256 x, __m256 dy) { /* beyond 30 the slope is 0 or 1, and x^3 must not overflow */
    const __m256 c1 = _mm256_set1_ps(1.59576912160573071f);
    x = _mm256_max_ps(_mm256_set1_ps(-30.0f), _mm256_min_ps(_mm256_set1_ps(30.0f), x));
    __m256 x2 = _mm256_mul_ps(x, x);
    __m256 v = _mm256_mul_ps(_mm256_fmadd_ps(x2, _mm256_set1_ps(0.044715f * 1.59576912160573071f), c1), x);
    return sigmoid_product_grad(x, v, _mm256_fmadd_ps(x2, _mm256_set1_ps(0.134145f * 1.59576912160573071f), c1), dy);
}
EYE_INLINE __m256 quick_gelu_grad(__m256 x, __m256 dy) {
    const __m256 c = _mm256_set1_ps(1.702f);
    return sigmoid_product_grad(x, _mm256_mul_ps(x, c), c, dy);
}
EYE_INLINE __m256 silu_grad(__m256 x, __m256 dy) { return sigmoid_product_grad(x, x, _mm256_set1_ps(1.0f), dy); }
EYE_INLINE __m256 sigmoid_grad(__m256 x, __m256 dy) {
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 e = eye_exp_avx2(_mm256_or_ps(x, _mm256_set1_ps(-0.0f))), r = _mm256_div_ps(one, _mm256_add_ps(one, e));
    return _mm256_mul_ps(_mm256_mul_ps(_mm256_mul_ps(e, r), r), dy);
}
EYE_INLINE __m256 relu_grad(__m256 x, __m256 dy) {
    return _mm256_and_ps(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ), dy);
}
EYE_INLINE __m256 hardsigmoid_grad(__m256 x, __m256 dy) {
    __m256 inside = _mm256_cmp_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x), _mm256_set1_ps(3.0f), _CMP_LT_OQ);
    return _mm256_and_ps(inside, _mm256_mul_ps(dy, _mm256_set1_ps(1.0f / 6.0f)));
}
EYE_INLINE __m256 hardswish_grad(__m256 x, __m256 dy) {
    __m256 slope = _mm256_fmadd_ps(x, _mm256_set1_ps(1.0f / 3.0f), _mm256_set1_ps(0.5f));
    slope = _mm256_blendv_ps(slope, _mm256_set1_ps(1.0f), _mm256_cmp_ps(x, _mm256_set1_ps(3.0f), _CMP_GT_OQ));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, _mm256_set1_ps(-3.0f), _CMP_LT_OQ), _mm256_mul_ps(slope, dy));
}

EYE_ZIP(eye_gelu_grad_f32_avx2, gelu_grad)
EYE_ZIP(eye_gelu_tanh_grad_f32_avx2, gelu_tanh_grad)
EYE_ZIP(eye_quick_gelu_grad_f32_avx2, quick_gelu_grad)
EYE_ZIP(eye_silu_grad_f32_avx2, silu_grad)
EYE_ZIP(eye_sigmoid_grad_f32_avx2, sigmoid_grad)
EYE_ZIP(eye_relu_grad_f32_avx2, relu_grad)
EYE_ZIP(eye_hardsigmoid_grad_f32_avx2, hardsigmoid_grad)
EYE_ZIP(eye_hardswish_grad_f32_avx2, hardswish_grad)
