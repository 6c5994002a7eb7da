/* Conversions and int8 quantization, NEON. Bit for bit the plain C versions; tails go through a small buffer. */
#include <string.h>

#include "kernels/arm/math_neon.h"
#include "kernels/rows.h"

EYE_INLINE uint16x4_t to_f16(float32x4_t f) { return vreinterpret_u16_f16(vcvt_f16_f32(f)); }

EYE_INLINE uint16x4_t to_bf16(float32x4_t f) {
    uint32x4_t x = vreinterpretq_u32_f32(f), top = vshrq_n_u32(x, 16);
    uint32x4_t bias = vaddq_u32(vdupq_n_u32(0x7fff), vandq_u32(top, vdupq_n_u32(1)));
    uint32x4_t r = vshrq_n_u32(vaddq_u32(x, bias), 16);
    return vmovn_u32(vbslq_u32(vceqq_f32(f, f), r, vorrq_u32(top, vdupq_n_u32(0x40)))); /* NaN differs from itself */
}

#define EYE_NARROW(name, f)                                                     \
    void name(uint16_t *dst, const float *src, size_t n) {                      \
        size_t i = 0;                                                           \
        for (; i + 4 <= n; i += 4) vst1_u16(dst + i, f(vld1q_f32(src + i)));    \
        if (i == n) return;                                                     \
        uint16_t last[4];                                                       \
        vst1_u16(last, f(eye_load4(src + i, n - i)));                           \
        memcpy(dst + i, last, (n - i) * sizeof last[0]);                        \
    }
EYE_NARROW(eye_f32_to_f16_neon, to_f16)
EYE_NARROW(eye_f32_to_bf16_neon, to_bf16)

void eye_f16_to_f32_neon(float *dst, const uint16_t *src, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(dst + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(src + i))));
    if (i == n) return;
    uint16_t last[4] = {0};
    memcpy(last, src + i, (n - i) * sizeof last[0]);
    eye_store4(dst + i, n - i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(last))));
}

float eye_quant_i8_f32_neon(int8_t *q, const float *x, size_t n) {
    const float32x4_t limit = vdupq_n_f32(127.0f), low = vdupq_n_f32(-127.0f);
    float32x4_t max = vdupq_n_f32(0.0f);
    for (size_t i = 0; i < n; i += 4) max = vmaxnmq_f32(max, vabsq_f32(eye_load4(x + i, n - i)));
    float scale = vmaxnmvq_f32(max) / 127.0f;
    if (!(scale > 0.0f)) {
        memset(q, 0, n);
        return scale;
    }
    const float32x4_t s = vdupq_n_f32(scale);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = vmaxnmq_f32(low, vminnmq_f32(limit, vdivq_f32(eye_load4(x + i, n - i), s)));
        int16x4_t h = vmovn_s32(vcvtnq_s32_f32(v));
        int8_t last[8];
        vst1_s8(last, vmovn_s16(vcombine_s16(h, h)));
        memcpy(q + i, last, n - i < 4 ? n - i : 4);
    }
    return scale;
}
