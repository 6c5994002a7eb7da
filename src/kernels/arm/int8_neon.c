/* Static int8 element-wise, NEON. Bit for bit the plain C versions; tails go through a small buffer. */
#include <string.h>

#include "kernels/arm/math_neon.h"
#include "kernels/gelu_tables.h"
#include "kernels/rows.h"

/* n <= 4 of v, as bytes. */
EYE_INLINE void store_u8(uint8_t *q, size_t n, float32x4_t v) {
    v = vminq_f32(vmaxnmq_f32(v, vdupq_n_f32(0.0f)), vdupq_n_f32(255.0f)); /* maxnm: the number where the other is NaN */
    uint16x4_t h = vmovn_u32(vcvtnq_u32_f32(v));
    uint8_t last[8];
    vst1_u8(last, vmovn_u16(vcombine_u16(h, h)));
    memcpy(q, last, n < 4 ? n : 4);
}

void eye_quant_u8_neon(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const float32x4_t z = vdupq_n_f32(zero);
    for (size_t i = 0; i < n; i += 4) store_u8(q + i, n - i, vfmaq_n_f32(z, eye_load4(x + i, n - i), inv_scale));
}

EYE_INLINE uint8x16x4_t table(const float t[16]) {
    const uint8_t *p = (const uint8_t *)t;
    uint8x16x4_t r = {{vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}};
    return r;
}
EYE_INLINE float32x4_t look_up(uint8x16x4_t t, uint8x16_t bytes) { return vreinterpretq_f32_u8(vqtbl4q_u8(t, bytes)); }

void eye_gelu_u8_neon(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const uint8x16x4_t t0 = table(eye_gelu_coarse[0]), t1 = table(eye_gelu_coarse[1]), t2 = table(eye_gelu_coarse[2]);
    const float32x4_t z = vdupq_n_f32(zero);
    for (size_t e = 0; e < n; e += 4) {
        float32x4_t v = eye_load4(x + e, n - e), t = vminnmq_f32(vabsq_f32(v), vdupq_n_f32(EYE_GELU_COARSE_MAX));
        float32x4_t piece = vrndnq_f32(vmulq_n_f32(t, 4.0f)), u = vfmaq_n_f32(vnegq_f32(piece), t, 4.0f);
        /* the 4 bytes of float i: 4 i … 4 i + 3 */
        uint8x16_t at = vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100u), vcvtq_u32_f32(piece), 0x04040404u));
        float32x4_t k = vfmaq_f32(look_up(t1, at), look_up(t2, at), u);
        k = vfmaq_f32(look_up(t0, at), k, u);
        v = vsubq_f32(vmaxnmq_f32(v, vdupq_n_f32(0.0f)), k);
        store_u8(q + e, n - e, vfmaq_n_f32(z, v, inv_scale));
    }
}

void eye_add_u8_neon(float *y, const uint8_t *q, const float *a, size_t n, float scale, float zero) {
    const float32x4_t z = vdupq_n_f32(zero);
    for (size_t i = 0; i < n; i += 4) {
        uint64_t four = 0;
        memcpy(&four, q + i, n - i < 4 ? n - i : 4);
        float32x4_t v = vsubq_f32(vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))))), z);
        float32x4_t start = a ? eye_load4(a + i, n - i) : vdupq_n_f32(0.0f);
        eye_store4(y + i, n - i, vfmaq_n_f32(start, v, scale));
    }
}

void eye_quant_i16_neon(int16_t *q, const float *x, size_t n, float inv_scale, float top) {
    const float32x4_t hi = vdupq_n_f32(top), lo = vdupq_n_f32(-top);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(eye_load4(x + i, n - i), inv_scale);
        v = vminq_f32(vmaxnmq_f32(v, lo), hi); /* maxnm: the number where the other is NaN */
        int16_t last[4];
        vst1_s16(last, vmovn_s32(vcvtnq_s32_f32(v)));
        memcpy(q + i, last, (n - i < 4 ? n - i : 4) * sizeof *q);
    }
}

void eye_add_i16_neon(float *y, const int16_t *q, const float *a, size_t n, float scale) {
    for (size_t i = 0; i < n; i += 4) {
        int16_t four[4] = {0};
        memcpy(four, q + i, (n - i < 4 ? n - i : 4) * sizeof *q);
        float32x4_t v = vcvtq_f32_s32(vmovl_s16(vld1_s16(four)));
        float32x4_t start = a ? eye_load4(a + i, n - i) : vdupq_n_f32(0.0f);
        eye_store4(y + i, n - i, vfmaq_n_f32(start, v, scale));
    }
}
