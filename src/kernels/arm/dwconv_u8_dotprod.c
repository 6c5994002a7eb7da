/* Depthwise convolution of u8, Arm DOTPROD: vectors of dwconv_quads.h are 4 channels. SDOT wants both signed: bytes less 128, made
 * good by the sums of weights. */
#include <stdint.h>
#include <string.h>

#include "kernels/arm/math_neon.h"

typedef int32x4_t vec;
typedef struct {
    uint8x16_t q[4]; /* 16 channels each */
} block;
enum { LANES = 4 };

EYE_INLINE vec load(const void *p) { return vld1q_s32(p); }
EYE_INLINE void save(void *p, vec v) { vst1q_s32(p, v); }
EYE_INLINE vec dot(vec sum, vec quads, vec weights) {
    return vdotq_s32(sum, vreinterpretq_s8_s32(quads), vreinterpretq_s8_s32(weights));
}
EYE_INLINE vec start(vec sums, int zero) { return vmulq_n_s32(sums, 128 - zero); }

EYE_INLINE block blank(uint8_t zero) {
    block b;
    EYE_UNROLL
    for (int i = 0; i < 4; i++) b.q[i] = vdupq_n_u8(zero ^ 0x80);
    return b;
}
EYE_INLINE block read(const uint8_t *p, size_t n, int mult) {
    const uint8x16_t sign = vdupq_n_u8(0x80);
    uint8_t part[64];
    block b;
    if (n < 64) {
        memset(part, 0, sizeof part);
        memcpy(part, p, n / (size_t)mult);
        p = part;
    }
    EYE_UNROLL
    for (int i = 0; i < 4; i++) {
        uint8x16_t q;
        if (mult == 1) {
            q = vld1q_u8(p + 16 * i);
        } else {
            uint8x8_t half = vld1_u8(p + 8 * i);
            q = vcombine_u8(vzip1_u8(half, half), vzip2_u8(half, half));
        }
        b.q[i] = veorq_u8(q, sign);
    }
    return b;
}
EYE_INLINE void mix(uint8_t *out, size_t step, const block *r) {
    EYE_UNROLL
    for (size_t i = 0; i < 4; i++) {
        const uint8x16_t r0 = r[0].q[i], r1 = r[1].q[i], r2 = r[2].q[i], r3 = r[3].q[i];
        const uint16x8_t lo01 = vreinterpretq_u16_u8(vzip1q_u8(r0, r1)), hi01 = vreinterpretq_u16_u8(vzip2q_u8(r0, r1));
        const uint16x8_t lo23 = vreinterpretq_u16_u8(vzip1q_u8(r2, r3)), hi23 = vreinterpretq_u16_u8(vzip2q_u8(r2, r3));
        save(out + i * step, vreinterpretq_s32_u16(vzip1q_u16(lo01, lo23)));
        save(out + (4 + i) * step, vreinterpretq_s32_u16(vzip2q_u16(lo01, lo23)));
        save(out + (8 + i) * step, vreinterpretq_s32_u16(vzip1q_u16(hi01, hi23)));
        save(out + (12 + i) * step, vreinterpretq_s32_u16(vzip2q_u16(hi01, hi23)));
    }
}

struct strip;
static void finish(const struct strip *s, size_t y, const int32_t *sums);

#include "kernels/dwconv_quads.h"

static void finish(const struct strip *s, size_t y, const int32_t *sums) {
    const struct eye_dwconv_u8_args *a = s->a;
    const size_t n_out = (size_t)a->channels_in * a->mult, at = (y * a->width_out + s->x) * n_out + s->c;
    const float *scale = a->scale + s->c, *bias = a->bias + s->c;
    float row[EYE_DW_NC];
    for (size_t x = 0; x < s->m; x++, sums += EYE_DW_NC) {
        float *out = a->q ? row : a->out + at + x * n_out;
        for (size_t c = 0; c < s->n; c += 4) {
            const size_t n = s->n - c < 4 ? s->n - c : 4;
            const float32x4_t sum = vcvtq_f32_s32(load(sums + c / 4 % 4 * 16 + c / 16 * 4));
            eye_store4(out + c, n, vfmaq_f32(eye_load4(bias + c, n), sum, eye_load4(scale + c, n)));
        }
        if (a->q) eye_quant_u8_neon(a->q + at + x * n_out, row, s->n, a->q_inv_scale, a->q_zero);
    }
}

void eye_dwconv_u8_dotprod(const struct eye_dwconv_u8_args *a) { dwconv(a, eye_dwconv_u8_neon); }
