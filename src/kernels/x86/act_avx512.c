/* Activations and element-wise pairs, AVX-512. Tails are masked. Errors are stated per function, over all finite x. */
#include "kernels/gelu_tables.h"
#include "kernels/normal.h"
#include "kernels/rows.h"
#include "kernels/x86/math_avx512.h"

/* One function over a row: f(vector) -> vector. */
#define EYE_MAP(name, f)                                                                          \
    void name(float *dst, const float *src, size_t n) {                                           \
        size_t i = 0;                                                                             \
        for (; i + 16 <= n; i += 16) _mm512_storeu_ps(dst + i, f(_mm512_loadu_ps(src + i)));      \
        if (i == n) return;                                                                       \
        __mmask16 t = eye_tail16(n - i);                                                          \
        _mm512_mask_storeu_ps(dst + i, t, f(_mm512_maskz_loadu_ps(t, src + i)));                  \
    }
#define EYE_ZIP(name, f)                                                                          \
    void name(float *dst, const float *a, const float *b, size_t n) {                             \
        size_t i = 0;                                                                             \
        for (; i + 16 <= n; i += 16)                                                              \
            _mm512_storeu_ps(dst + i, f(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i)));         \
        if (i == n) return;                                                                       \
        __mmask16 t = eye_tail16(n - i);                                                          \
        _mm512_mask_storeu_ps(dst + i, t, f(_mm512_maskz_loadu_ps(t, a + i), _mm512_maskz_loadu_ps(t, b + i))); \
    }

/* x/2 (1 + tanh u) = x sigmoid(2u). |error| <= 2^-22 |x|: x^3 and 2u round, and |v sigmoid'(v)| < 0.23. */
EYE_INLINE __m512 gelu_tanh(__m512 x) {
    __m512 c = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(0.044715f * 1.59576912160573071f),
                               _mm512_set1_ps(1.59576912160573071f));
    return eye_sigmoid_mul_avx512(_mm512_mul_ps(c, x), x);
}
EYE_INLINE __m512 quick_gelu(__m512 x) { return eye_sigmoid_mul_avx512(_mm512_mul_ps(x, _mm512_set1_ps(1.702f)), x); }
EYE_INLINE __m512 silu(__m512 x) { return eye_sigmoid_mul_avx512(x, x); }
EYE_INLINE __m512 sigmoid(__m512 x) { return eye_sigmoid_mul_avx512(x, _mm512_set1_ps(1.0f)); }
EYE_INLINE __m512 relu(__m512 x) { return _mm512_max_ps(x, _mm512_setzero_ps()); }
EYE_INLINE __m512 hardsigmoid(__m512 x) { /* 6 (1/6) rounds to 1: large x stay what they are under hardswish */
    __m512 t = _mm512_max_ps(_mm512_add_ps(x, _mm512_set1_ps(3.0f)), _mm512_setzero_ps());
    return _mm512_mul_ps(_mm512_min_ps(t, _mm512_set1_ps(6.0f)), _mm512_set1_ps(1.0f / 6.0f));
}
EYE_INLINE __m512 hardswish(__m512 x) { return _mm512_mul_ps(x, hardsigmoid(x)); }
EYE_INLINE __m512 add(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
EYE_INLINE __m512 mul(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
EYE_INLINE __m512 swiglu(__m512 a, __m512 b) { return eye_sigmoid_mul_avx512(a, _mm512_mul_ps(a, b)); }

struct gelu_regs {
    __m512 lo[5], hi[5]; /* coefficients of segments 0..15 and 16..31 by degree */
};

/* max(x, 0) - k(|x|), k by segments (gelu_tables.py). |error| <= 5e-8 (1 + |x|); exactly max(x, 0) from |x| = 5.9 on. */
EYE_INLINE __m512 gelu(__m512 x, const struct gelu_regs *g) {
    const __m512 scale = _mm512_set1_ps(EYE_GELU_SEG_SCALE);
    const __m512 magic = _mm512_set1_ps(12582912.0f); /* 1.5 x 2^23: adding it rounds to an integer, left in the low bits */
    __m512 t = _mm512_range_ps(x, _mm512_set1_ps(EYE_GELU_SEG_MAX), 0x0a); /* min(|x|, MAX) */
    __m512 biased = _mm512_fmadd_ps(t, scale, magic);
    __m512 u = _mm512_fmsub_ps(t, scale, _mm512_sub_ps(biased, magic));
    __m512i i = _mm512_castps_si512(biased);
    __m512 k = _mm512_permutex2var_ps(g->lo[4], i, g->hi[4]);
    k = _mm512_fmadd_ps(k, u, _mm512_permutex2var_ps(g->lo[3], i, g->hi[3]));
    k = _mm512_fmadd_ps(k, u, _mm512_permutex2var_ps(g->lo[2], i, g->hi[2]));
    k = _mm512_fmadd_ps(k, u, _mm512_permutex2var_ps(g->lo[1], i, g->hi[1]));
    k = _mm512_fmadd_ps(k, u, _mm512_permutex2var_ps(g->lo[0], i, g->hi[0]));
    return _mm512_sub_ps(_mm512_max_ps(_mm512_setzero_ps(), x), k); /* this order keeps NaN */
}

void eye_gelu_f32_avx512(float *dst, const float *src, size_t n) {
    struct gelu_regs g;
    for (int d = 0; d < 5; d++) {
        g.lo[d] = _mm512_loadu_ps(eye_gelu_seg[d]);
        g.hi[d] = _mm512_loadu_ps(eye_gelu_seg[d] + 16);
    }
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m512 a = gelu(_mm512_loadu_ps(src + i), &g), b = gelu(_mm512_loadu_ps(src + i + 16), &g);
        _mm512_storeu_ps(dst + i, a);
        _mm512_storeu_ps(dst + i + 16, b);
    }
    for (; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        _mm512_mask_storeu_ps(dst + i, t, gelu(_mm512_maskz_loadu_ps(t, src + i), &g));
    }
}

EYE_MAP(eye_gelu_tanh_f32_avx512, gelu_tanh)
EYE_MAP(eye_quick_gelu_f32_avx512, quick_gelu)
EYE_MAP(eye_silu_f32_avx512, silu)
EYE_MAP(eye_sigmoid_f32_avx512, sigmoid)
EYE_MAP(eye_relu_f32_avx512, relu)
EYE_MAP(eye_hardsigmoid_f32_avx512, hardsigmoid)
EYE_MAP(eye_hardswish_f32_avx512, hardswish)
EYE_ZIP(eye_add_f32_avx512, add)
EYE_ZIP(eye_mul_f32_avx512, mul)
EYE_ZIP(eye_swiglu_f32_avx512, swiglu)

/* ---- gradients: f'(a) b, as in act_avx2.c ---- */

EYE_INLINE __m512 sigmoid_product_grad(__m512 x, __m512 v, __m512 slope, __m512 dy) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 e = eye_exp_avx512(_mm512_or_ps(v, _mm512_set1_ps(-0.0f)));
    __m512 r = _mm512_div_ps(one, _mm512_add_ps(one, e)), er = _mm512_mul_ps(e, r);
    __m512 s = _mm512_mask_mov_ps(r, _mm512_movepi32_mask(_mm512_castps_si512(v)), er);
    return _mm512_mul_ps(_mm512_fmadd_ps(_mm512_mul_ps(x, slope), _mm512_mul_ps(er, r), s), dy);
}
EYE_INLINE __m512 gelu_grad(__m512 x, __m512 dy) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 t = _mm512_abs_ps(x);
    __m512 e = eye_exp_avx512(_mm512_mul_ps(_mm512_mul_ps(t, t), _mm512_set1_ps(-0.5f)));
    __m512 r = _mm512_div_ps(one, _mm512_fmadd_ps(t, _mm512_set1_ps(EYE_NORMAL_SCALE), one));
    __m512 p = _mm512_set1_ps(eye_normal_poly[4]);
    for (int d = 3; d >= 0; d--) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(eye_normal_poly[d]));
    __m512 tail = _mm512_mul_ps(_mm512_mul_ps(p, r), e);
    __m512 below = _mm512_mask_mov_ps(_mm512_sub_ps(one, tail), _mm512_movepi32_mask(_mm512_castps_si512(x)), tail);
    return _mm512_mul_ps(_mm512_fmadd_ps(_mm512_mul_ps(x, _mm512_set1_ps(EYE_NORMAL_DENSITY)), e, below), dy);
}
EYE_INLINE __m512 gelu_tanh_grad(__m512 x, __m512 dy) {
    const __m512 c1 = _mm512_set1_ps(1.59576912160573071f);
    x = _mm512_max_ps(_mm512_set1_ps(-30.0f), _mm512_min_ps(_mm512_set1_ps(30.0f), x));
    __m512 x2 = _mm512_mul_ps(x, x);
    __m512 v = _mm512_mul_ps(_mm512_fmadd_ps(x2, _mm512_set1_ps(0.044715f * 1.59576912160573071f), c1), x);
    return sigmoid_product_grad(x, v, _mm512_fmadd_ps(x2, _mm512_set1_ps(0.134145f * 1.59576912160573071f), c1), dy);
}
EYE_INLINE __m512 quick_gelu_grad(__m512 x, __m512 dy) {
    const __m512 c = _mm512_set1_ps(1.702f);
    return sigmoid_product_grad(x, _mm512_mul_ps(x, c), c, dy);
}
EYE_INLINE __m512 silu_grad(__m512 x, __m512 dy) { return sigmoid_product_grad(x, x, _mm512_set1_ps(1.0f), dy); }
EYE_INLINE __m512 sigmoid_grad(__m512 x, __m512 dy) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 e = eye_exp_avx512(_mm512_or_ps(x, _mm512_set1_ps(-0.0f))), r = _mm512_div_ps(one, _mm512_add_ps(one, e));
    return _mm512_mul_ps(_mm512_mul_ps(_mm512_mul_ps(e, r), r), dy);
}
EYE_INLINE __m512 relu_grad(__m512 x, __m512 dy) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), dy);
}
EYE_INLINE __m512 hardsigmoid_grad(__m512 x, __m512 dy) {
    __mmask16 inside = _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(3.0f), _CMP_LT_OQ);
    return _mm512_maskz_mul_ps(inside, dy, _mm512_set1_ps(1.0f / 6.0f));
}
EYE_INLINE __m512 hardswish_grad(__m512 x, __m512 dy) {
    __m512 slope = _mm512_fmadd_ps(x, _mm512_set1_ps(1.0f / 3.0f), _mm512_set1_ps(0.5f));
    slope = _mm512_mask_mov_ps(slope, _mm512_cmp_ps_mask(x, _mm512_set1_ps(3.0f), _CMP_GT_OQ), _mm512_set1_ps(1.0f));
    return _mm512_maskz_mul_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(-3.0f), _CMP_NLT_UQ), slope, dy);
}

EYE_ZIP(eye_gelu_grad_f32_avx512, gelu_grad)
EYE_ZIP(eye_gelu_tanh_grad_f32_avx512, gelu_tanh_grad)
EYE_ZIP(eye_quick_gelu_grad_f32_avx512, quick_gelu_grad)
EYE_ZIP(eye_silu_grad_f32_avx512, silu_grad)
EYE_ZIP(eye_sigmoid_grad_f32_avx512, sigmoid_grad)
EYE_ZIP(eye_relu_grad_f32_avx512, relu_grad)
EYE_ZIP(eye_hardsigmoid_grad_f32_avx512, hardsigmoid_grad)
EYE_ZIP(eye_hardswish_grad_f32_avx512, hardswish_grad)
