/* Vector mathematics for NEON files: partial vectors, exp, sigmoid. static inline only. */
#ifndef EYE_MATH_NEON_H
#define EYE_MATH_NEON_H

#include <arm_neon.h>
#include <stddef.h>

#include "kernels/inline.h"

/* The first n floats at p, then zeros; n >= 4 is all. */
EYE_INLINE float32x4_t eye_load4(const float *p, size_t n) {
    if (n >= 4) return vld1q_f32(p);
    float32x4_t v = vdupq_n_f32(0.0f);
    if (n >= 1) v = vld1q_lane_f32(p, v, 0);
    if (n >= 2) v = vld1q_lane_f32(p + 1, v, 1);
    if (n >= 3) v = vld1q_lane_f32(p + 2, v, 2);
    return v;
}
EYE_INLINE void eye_store4(float *p, size_t n, float32x4_t v) {
    if (n >= 4) {
        vst1q_f32(p, v);
        return;
    }
    if (n >= 1) vst1q_lane_f32(p, v, 0);
    if (n >= 2) vst1q_lane_f32(p + 1, v, 1);
    if (n >= 3) vst1q_lane_f32(p + 2, v, 2);
}

/* All ones in the first n lanes. */
EYE_INLINE uint32x4_t eye_mask4(size_t n) {
    static const uint32_t lane[4] = {0, 1, 2, 3};
    return vcgtq_u32(vdupq_n_u32(n < 4 ? (uint32_t)n : 4), vld1q_u32(lane));
}

/* e^x, error < 1 ulp (2 in the denormals); 0 below -104, infinite above 88.73, NaN stays. x = n ln 2 + r, |r| <= ln 2 / 2;
 * the polynomial of e^r is Cephes' expf; 2^n is multiplied in two halves, so that n = 128 and n < -126 come out right. */
EYE_INLINE float32x4_t eye_exp_neon(float32x4_t x) {
    x = vmaxq_f32(vdupq_n_f32(-104.0f), vminq_f32(vdupq_n_f32(89.0f), x));
    float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 1.44269504088896341f));
    float32x4_t r = vfmsq_n_f32(x, n, 0.693359375f); /* ln 2 in two parts: the first product is exact */
    r = vfmsq_n_f32(r, n, -2.12194440e-4f);
    float32x4_t p = vdupq_n_f32(1.9875691500e-4f);
    p = vfmaq_f32(vdupq_n_f32(1.3981999507e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(8.3334519073e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(4.1665795894e-2f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.6666665459e-1f), p, r);
    p = vfmaq_f32(vdupq_n_f32(5.0000001201e-1f), p, r);
    p = vaddq_f32(vfmaq_f32(r, p, vmulq_f32(r, r)), vdupq_n_f32(1.0f));
    int32x4_t i = vcvtnq_s32_f32(n), h = vshrq_n_s32(i, 1), one = vdupq_n_s32(127);
    int32x4_t a = vshlq_n_s32(vaddq_s32(h, one), 23), b = vshlq_n_s32(vaddq_s32(vsubq_s32(i, h), one), 23);
    return vmulq_f32(vmulq_f32(p, vreinterpretq_f32_s32(a)), vreinterpretq_f32_s32(b));
}

/* x's sigmoid times a: only e^-|x| is taken, which cannot overflow. */
EYE_INLINE float32x4_t eye_sigmoid_mul_neon(float32x4_t x, float32x4_t a) {
    const float32x4_t one = vdupq_n_f32(1.0f);
    float32x4_t e = eye_exp_neon(vnegq_f32(vabsq_f32(x)));
    return vmulq_f32(vdivq_f32(vbslq_f32(vcltzq_f32(x), e, one), vaddq_f32(one, e)), a);
}

#endif
