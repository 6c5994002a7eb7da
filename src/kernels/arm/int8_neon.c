/* Static int8 element-wise, NEON. Bit for bit the plain C versions; tails go through a small buffer. */
#include <string.h>

#include "kernels/arm/math_neon.h"
#include "kernels/rows.h"

void eye_quant_u8_neon(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const float32x4_t z = vdupq_n_f32(zero), top = vdupq_n_f32(255.0f);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = vfmaq_n_f32(z, eye_load4(x + i, n - i), inv_scale);
        v = vminq_f32(vmaxnmq_f32(v, vdupq_n_f32(0.0f)), top); /* maxnm: the number where the other is NaN */
        uint16x4_t h = vmovn_u32(vcvtnq_u32_f32(v));
        uint8_t last[8];
        vst1_u8(last, vmovn_u16(vcombine_u16(h, h)));
        memcpy(q + i, last, n - i < 4 ? n - i : 4);
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
