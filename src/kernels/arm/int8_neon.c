/* Static int8 element-wise, NEON. Bit for bit the plain C versions. Whole blocks go straight, the rest through a small buffer:
 * a memcpy of variable length per vector would be a call of it. */
#include <string.h>

#include "kernels/arm/math_neon.h"
#include "kernels/gelu_tables.h"
#include "kernels/rows.h"

enum { BYTES = 16, WORDS = 8 }; /* of a block */

/* Conversion and narrowing saturate: what is below 0 or NaN gives 0, in the end what is too large 255. */
EYE_INLINE uint16x4_t to_u16(float32x4_t v) { return vqmovn_u32(vcvtnq_u32_f32(v)); }

EYE_INLINE void quant_u8(uint8_t *q, const float *x, float inv_scale, float32x4_t zero) {
    uint16x4_t h[4];
    EYE_UNROLL
    for (int i = 0; i < 4; i++) h[i] = to_u16(vfmaq_n_f32(zero, vld1q_f32(x + 4 * i), inv_scale));
    vst1q_u8(q, vqmovn_high_u16(vqmovn_u16(vcombine_u16(h[0], h[1])), vcombine_u16(h[2], h[3])));
}

void eye_quant_u8_neon(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const float32x4_t z = vdupq_n_f32(zero);
    size_t i = 0;
    for (; i + BYTES <= n; i += BYTES) quant_u8(q + i, x + i, inv_scale, z);
    if (i == n) return;
    float in[BYTES] = {0};
    uint8_t out[BYTES];
    memcpy(in, x + i, (n - i) * sizeof in[0]);
    quant_u8(out, in, inv_scale, z);
    memcpy(q + i, out, n - i);
}

/* Of 16 numbers: bytes 0 and 1 of all, bytes 2 and 3. So a vector of indices finds halves of 8 numbers, in two registers. */
struct planes {
    uint8_t lo[32], hi[32];
};
EYE_INLINE struct planes planes(const float t[16], float scale) {
    struct planes p;
    for (size_t i = 0; i < 16; i++) {
        float f = t[i] * scale;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        p.lo[i] = (uint8_t)bits, p.lo[16 + i] = (uint8_t)(bits >> 8);
        p.hi[i] = (uint8_t)(bits >> 16), p.hi[16 + i] = (uint8_t)(bits >> 24);
    }
    return p;
}
/* Tables are passed each by itself: a compiler keeps structs of pairs of registers in memory. */
EYE_INLINE void look_up(float32x4_t out[2], uint8x16x2_t t_lo, uint8x16x2_t t_hi, uint8x16_t at) {
    uint16x8_t lo = vreinterpretq_u16_u8(vqtbl2q_u8(t_lo, at)), hi = vreinterpretq_u16_u8(vqtbl2q_u8(t_hi, at));
    out[0] = vreinterpretq_f32_u16(vzip1q_u16(lo, hi));
    out[1] = vreinterpretq_f32_u16(vzip2q_u16(lo, hi));
}

/* The same numbers as the plain C version's, whose u is 4 times ours and whose pieces are scaled for that: powers of two change
 * no rounding. So t is cut and placed by additions alone. */
/* n: a multiple of 8. */
static void gelu_u8(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const struct planes p0 = planes(eye_gelu_coarse[0], 1.0f), p1 = planes(eye_gelu_coarse[1], 4.0f),
                        p2 = planes(eye_gelu_coarse[2], 16.0f);
    const uint8x16x2_t lo0 = vld1q_u8_x2(p0.lo), hi0 = vld1q_u8_x2(p0.hi), lo1 = vld1q_u8_x2(p1.lo), hi1 = vld1q_u8_x2(p1.hi),
                       lo2 = vld1q_u8_x2(p2.lo), hi2 = vld1q_u8_x2(p2.hi);
    const float32x4_t magic = vdupq_n_f32(3145728.0f); /* 1.5 x 2^21: adding it rounds to quarters, counted in the low bits */
    const float32x4_t z = vdupq_n_f32(zero);
    const uint32x4_t end = vreinterpretq_u32_f32(vdupq_n_f32(EYE_GELU_COARSE_MAX));
    for (; n; n -= WORDS, x += WORDS, q += WORDS) {
        float32x4_t v[2], u[2], biased[2], k0[2], k1[2], k2[2];
        uint16x4_t h[2];
        EYE_UNROLL
        for (int j = 0; j < 2; j++) {
            v[j] = vld1q_f32(x + 4 * j);
            /* as integers: NaN gives the end */
            float32x4_t t = vreinterpretq_f32_u32(vminq_u32(vreinterpretq_u32_f32(vabsq_f32(v[j])), end));
            biased[j] = vaddq_f32(t, magic);
            u[j] = vsubq_f32(t, vsubq_f32(biased[j], magic));
        }
        uint16x8_t piece = vuzp1q_u16(vreinterpretq_u16_f32(biased[0]), vreinterpretq_u16_f32(biased[1]));
        /* the 2 bytes of piece p are p of the first register and p of the second */
        uint8x16_t at = vreinterpretq_u8_u16(vorrq_u16(vsliq_n_u16(piece, piece, 8), vdupq_n_u16(0x1000)));
        look_up(k0, lo0, hi0, at);
        look_up(k1, lo1, hi1, at);
        look_up(k2, lo2, hi2, at);
        EYE_UNROLL
        for (int j = 0; j < 2; j++) {
            float32x4_t k = vfmaq_f32(k0[j], vfmaq_f32(k1[j], k2[j], u[j]), u[j]);
            float32x4_t y = vsubq_f32(vmaxnmq_f32(v[j], vdupq_n_f32(0.0f)), k); /* maxnm: the number where the other is NaN */
            h[j] = to_u16(vfmaq_n_f32(z, y, inv_scale));
        }
        vst1_u8(q, vqmovn_u16(vcombine_u16(h[0], h[1])));
    }
}

void eye_gelu_u8_neon(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const size_t whole = n / WORDS * WORDS;
    float in[WORDS] = {0};
    uint8_t out[WORDS];
    if (whole) gelu_u8(q, x, whole, inv_scale, zero);
    if (whole == n) return;
    memcpy(in, x + whole, (n - whole) * sizeof in[0]);
    gelu_u8(out, in, WORDS, inv_scale, zero);
    memcpy(q + whole, out, n - whole);
}

/* a: NULL is zeros. */
EYE_INLINE void add_u8(float *y, const uint8_t *q, const float *a, float scale, float32x4_t zero) {
    uint8x16_t b = vld1q_u8(q);
    uint16x8_t h[2] = {vmovl_u8(vget_low_u8(b)), vmovl_high_u8(b)};
    EYE_UNROLL
    for (int i = 0; i < 4; i++) {
        uint32x4_t four = i % 2 ? vmovl_high_u16(h[i / 2]) : vmovl_u16(vget_low_u16(h[i / 2]));
        float32x4_t start = a ? vld1q_f32(a + 4 * i) : vdupq_n_f32(0.0f);
        vst1q_f32(y + 4 * i, vfmaq_n_f32(start, vsubq_f32(vcvtq_f32_u32(four), zero), scale));
    }
}

void eye_add_u8_neon(float *y, const uint8_t *q, const float *a, size_t n, float scale, float zero) {
    const float32x4_t z = vdupq_n_f32(zero);
    size_t i = 0;
    for (; i + BYTES <= n; i += BYTES) add_u8(y + i, q + i, a ? a + i : NULL, scale, z);
    if (i == n) return;
    uint8_t in[BYTES] = {0};
    float start[BYTES] = {0}, out[BYTES];
    memcpy(in, q + i, n - i);
    if (a) memcpy(start, a + i, (n - i) * sizeof start[0]);
    add_u8(out, in, start, scale, z);
    memcpy(y + i, out, (n - i) * sizeof out[0]);
}

EYE_INLINE void quant_i16(int16_t *q, const float *x, float inv_scale, float32x4_t top) {
    int32x4_t r[2];
    EYE_UNROLL
    for (int i = 0; i < 2; i++) {
        float32x4_t v = vmulq_n_f32(vld1q_f32(x + 4 * i), inv_scale);
        r[i] = vcvtnq_s32_f32(vminq_f32(vmaxnmq_f32(v, vnegq_f32(top)), top)); /* maxnm: the number where the other is NaN */
    }
    vst1q_s16(q, vmovn_high_s32(vmovn_s32(r[0]), r[1]));
}

void eye_quant_i16_neon(int16_t *q, const float *x, size_t n, float inv_scale, float top) {
    const float32x4_t t = vdupq_n_f32(top);
    size_t i = 0;
    for (; i + WORDS <= n; i += WORDS) quant_i16(q + i, x + i, inv_scale, t);
    if (i == n) return;
    float in[WORDS] = {0};
    int16_t out[WORDS];
    memcpy(in, x + i, (n - i) * sizeof in[0]);
    quant_i16(out, in, inv_scale, t);
    memcpy(q + i, out, (n - i) * sizeof out[0]);
}

EYE_INLINE void add_i16(float *y, const int16_t *q, const float *a, float scale) {
    int16x8_t h = vld1q_s16(q);
    int32x4_t four[2] = {vmovl_s16(vget_low_s16(h)), vmovl_high_s16(h)};
    EYE_UNROLL
    for (int i = 0; i < 2; i++) {
        float32x4_t start = a ? vld1q_f32(a + 4 * i) : vdupq_n_f32(0.0f);
        vst1q_f32(y + 4 * i, vfmaq_n_f32(start, vcvtq_f32_s32(four[i]), scale));
    }
}

void eye_add_i16_neon(float *y, const int16_t *q, const float *a, size_t n, float scale) {
    size_t i = 0;
    for (; i + WORDS <= n; i += WORDS) add_i16(y + i, q + i, a ? a + i : NULL, scale);
    if (i == n) return;
    int16_t in[WORDS] = {0};
    float start[WORDS] = {0}, out[WORDS];
    memcpy(in, q + i, (n - i) * sizeof in[0]);
    if (a) memcpy(start, a + i, (n - i) * sizeof start[0]);
    add_i16(out, in, start, scale);
    memcpy(y + i, out, (n - i) * sizeof out[0]);
}
