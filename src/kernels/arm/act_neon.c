/* Activations and element-wise pairs, NEON. Errors as in the AVX2 versions (x86/act_avx2.c). */
#include "kernels/arm/math_neon.h"
#include "kernels/gelu_tables.h"
#include "kernels/normal.h"
#include "kernels/rows.h"

/* One function over a row: f(vector) -> vector. */
#define EYE_MAP(name, f)                                                             \
    void name(float *dst, const float *src, size_t n) {                              \
        size_t i = 0;                                                                \
        for (; i + 8 <= n; i += 8) {                                                 \
            float32x4_t a = f(vld1q_f32(src + i)), b = f(vld1q_f32(src + i + 4));    \
            vst1q_f32(dst + i, a);                                                   \
            vst1q_f32(dst + i + 4, b);                                               \
        }                                                                            \
        for (; i < n; i += 4) eye_store4(dst + i, n - i, f(eye_load4(src + i, n - i))); \
    }
#define EYE_ZIP(name, f)                                                             \
    void name(float *dst, const float *a, const float *b, size_t n) {                \
        size_t i = 0;                                                                \
        for (; i + 4 <= n; i += 4) vst1q_f32(dst + i, f(vld1q_f32(a + i), vld1q_f32(b + i))); \
        if (i < n) eye_store4(dst + i, n - i, f(eye_load4(a + i, n - i), eye_load4(b + i, n - i))); \
    }

/* max(x, 0) - k(|x|), k one polynomial (gelu_tables.py). |error| <= 1.1e-7 (1 + |x|). */
EYE_INLINE float32x4_t gelu(float32x4_t x) {
    float32x4_t t = vminq_f32(vabsq_f32(x), vdupq_n_f32(EYE_GELU_POLY_MAX));
    float32x4_t s = vfmaq_n_f32(vdupq_n_f32(-1.0f), vmulq_f32(t, t), EYE_GELU_POLY_SCALE);
    float32x4_t p = vdupq_n_f32(eye_gelu_poly[EYE_GELU_POLY_DEG]);
    for (int d = EYE_GELU_POLY_DEG - 1; d >= 0; d--) p = vfmaq_f32(vdupq_n_f32(eye_gelu_poly[d]), p, s);
    return vsubq_f32(vmaxq_f32(x, vdupq_n_f32(0.0f)), vmulq_f32(t, vfmsq_f32(vdupq_n_f32(0.5f), t, p)));
}
EYE_INLINE float32x4_t gelu_tanh(float32x4_t x) {
    float32x4_t c = vfmaq_n_f32(vdupq_n_f32(1.59576912160573071f), vmulq_f32(x, x), 0.044715f * 1.59576912160573071f);
    return eye_sigmoid_mul_neon(vmulq_f32(c, x), x);
}
EYE_INLINE float32x4_t quick_gelu(float32x4_t x) { return eye_sigmoid_mul_neon(vmulq_n_f32(x, 1.702f), x); }
EYE_INLINE float32x4_t silu(float32x4_t x) { return eye_sigmoid_mul_neon(x, x); }
EYE_INLINE float32x4_t sigmoid(float32x4_t x) { return eye_sigmoid_mul_neon(x, vdupq_n_f32(1.0f)); }
EYE_INLINE float32x4_t relu(float32x4_t x) { return vmaxnmq_f32(x, vdupq_n_f32(0.0f)); } /* NaN gives 0, as everywhere */
EYE_INLINE float32x4_t hardsigmoid(float32x4_t x) {
    float32x4_t t = vmaxnmq_f32(vaddq_f32(x, vdupq_n_f32(3.0f)), vdupq_n_f32(0.0f));
    return vmulq_n_f32(vminq_f32(t, vdupq_n_f32(6.0f)), 1.0f / 6.0f);
}
EYE_INLINE float32x4_t hardswish(float32x4_t x) { return vmulq_f32(x, hardsigmoid(x)); }
EYE_INLINE float32x4_t add(float32x4_t a, float32x4_t b) { return vaddq_f32(a, b); }
EYE_INLINE float32x4_t mul(float32x4_t a, float32x4_t b) { return vmulq_f32(a, b); }
EYE_INLINE float32x4_t swiglu(float32x4_t a, float32x4_t b) { return eye_sigmoid_mul_neon(a, vmulq_f32(a, b)); }

EYE_MAP(eye_gelu_f32_neon, gelu)
EYE_MAP(eye_gelu_tanh_f32_neon, gelu_tanh)
EYE_MAP(eye_quick_gelu_f32_neon, quick_gelu)
EYE_MAP(eye_silu_f32_neon, silu)
EYE_MAP(eye_sigmoid_f32_neon, sigmoid)
EYE_MAP(eye_relu_f32_neon, relu)
EYE_MAP(eye_hardsigmoid_f32_neon, hardsigmoid)
EYE_MAP(eye_hardswish_f32_neon, hardswish)
EYE_ZIP(eye_add_f32_neon, add)
EYE_ZIP(eye_mul_f32_neon, mul)
EYE_ZIP(eye_swiglu_f32_neon, swiglu)

/* ---- gradients: f'(a) b, as in x86/act_avx2.c ---- */

EYE_INLINE float32x4_t sigmoid_product_grad(float32x4_t x, float32x4_t v, float32x4_t slope, float32x4_t dy) {
    const float32x4_t one = vdupq_n_f32(1.0f);
    float32x4_t e = eye_exp_neon(vnegq_f32(vabsq_f32(v))), r = vdivq_f32(one, vaddq_f32(one, e)), er = vmulq_f32(e, r);
    float32x4_t s = vbslq_f32(vcltzq_f32(v), er, r);
    return vmulq_f32(vfmaq_f32(s, vmulq_f32(x, slope), vmulq_f32(er, r)), dy);
}
EYE_INLINE float32x4_t gelu_grad(float32x4_t x, float32x4_t dy) {
    const float32x4_t one = vdupq_n_f32(1.0f);
    float32x4_t t = vabsq_f32(x), e = eye_exp_neon(vmulq_n_f32(vmulq_f32(t, t), -0.5f));
    float32x4_t r = vdivq_f32(one, vfmaq_n_f32(one, t, EYE_NORMAL_SCALE)), p = vdupq_n_f32(eye_normal_poly[4]);
    for (int d = 3; d >= 0; d--) p = vfmaq_f32(vdupq_n_f32(eye_normal_poly[d]), p, r);
    float32x4_t tail = vmulq_f32(vmulq_f32(p, r), e), below = vbslq_f32(vcltzq_f32(x), tail, vsubq_f32(one, tail));
    return vmulq_f32(vfmaq_f32(below, vmulq_n_f32(x, EYE_NORMAL_DENSITY), e), dy);
}
EYE_INLINE float32x4_t gelu_tanh_grad(float32x4_t x, float32x4_t dy) {
    const float32x4_t c1 = vdupq_n_f32(1.59576912160573071f);
    x = vmaxq_f32(vdupq_n_f32(-30.0f), vminq_f32(vdupq_n_f32(30.0f), x));
    float32x4_t x2 = vmulq_f32(x, x), v = vmulq_f32(vfmaq_n_f32(c1, x2, 0.044715f * 1.59576912160573071f), x);
    return sigmoid_product_grad(x, v, vfmaq_n_f32(c1, x2, 0.134145f * 1.59576912160573071f), dy);
}
EYE_INLINE float32x4_t quick_gelu_grad(float32x4_t x, float32x4_t dy) {
    return sigmoid_product_grad(x, vmulq_n_f32(x, 1.702f), vdupq_n_f32(1.702f), dy);
}
EYE_INLINE float32x4_t silu_grad(float32x4_t x, float32x4_t dy) { return sigmoid_product_grad(x, x, vdupq_n_f32(1.0f), dy); }
EYE_INLINE float32x4_t sigmoid_grad(float32x4_t x, float32x4_t dy) {
    const float32x4_t one = vdupq_n_f32(1.0f);
    float32x4_t e = eye_exp_neon(vnegq_f32(vabsq_f32(x))), r = vdivq_f32(one, vaddq_f32(one, e));
    return vmulq_f32(vmulq_f32(vmulq_f32(e, r), r), dy);
}
EYE_INLINE float32x4_t where(uint32x4_t mask, float32x4_t v) {
    return vreinterpretq_f32_u32(vandq_u32(mask, vreinterpretq_u32_f32(v)));
}
EYE_INLINE float32x4_t relu_grad(float32x4_t x, float32x4_t dy) { return where(vcgtzq_f32(x), dy); }
EYE_INLINE float32x4_t hardsigmoid_grad(float32x4_t x, float32x4_t dy) {
    return where(vcltq_f32(vabsq_f32(x), vdupq_n_f32(3.0f)), vmulq_n_f32(dy, 1.0f / 6.0f));
}
EYE_INLINE float32x4_t hardswish_grad(float32x4_t x, float32x4_t dy) {
    float32x4_t slope = vfmaq_n_f32(vdupq_n_f32(0.5f), x, 1.0f / 3.0f);
    slope = vbslq_f32(vcgtq_f32(x, vdupq_n_f32(3.0f)), vdupq_n_f32(1.0f), slope);
    return where(vmvnq_u32(vcltq_f32(x, vdupq_n_f32(-3.0f))), vmulq_f32(slope, dy));
}

EYE_ZIP(eye_gelu_grad_f32_neon, gelu_grad)
EYE_ZIP(eye_gelu_tanh_grad_f32_neon, gelu_tanh_grad)
EYE_ZIP(eye_quick_gelu_grad_f32_neon, quick_gelu_grad)
EYE_ZIP(eye_silu_grad_f32_neon, silu_grad)
EYE_ZIP(eye_sigmoid_grad_f32_neon, sigmoid_grad)
EYE_ZIP(eye_relu_grad_f32_neon, relu_grad)
EYE_ZIP(eye_hardsigmoid_grad_f32_neon, hardsigmoid_grad)
EYE_ZIP(eye_hardswish_grad_f32_neon, hardswish_grad)
