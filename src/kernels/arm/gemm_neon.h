/* What the Arm GEMM kernels share: tiles at the right edge, and the int8 packing of activations (q8b32), so that
 * NEON, DOTPROD and I8MM give the same bits. static inline only.
 *
 * q8b32 lhs step: [m] f32 scale, then the quants as the kernel wants them: 36 bytes per row. */
#ifndef EYE_GEMM_NEON_H
#define EYE_GEMM_NEON_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/inline.h"
#include "kernels/q8b32.h"

enum { EYE_Q8_MR = 8, EYE_Q8_NR = 32, EYE_Q8_KR = 32, EYE_Q8_ROW_BYTES = 36, EYE_Q8_SCALE_BYTES = EYE_Q8_NR * 2 };

/* Four columns' sums start from c, the bias, or zero. */
EYE_INLINE float32x4_t eye_start4(const float *c, const float *bias, bool accumulate) {
    if (accumulate) return vld1q_f32(c);
    return bias ? vld1q_f32(bias) : vdupq_n_f32(0.0f);
}

/* Of m rows x nq groups of 4 columns, constants. */
EYE_INLINE void eye_start_tile(int m, int nq, float32x4_t acc[EYE_Q8_MR][8], const float *c, size_t c_stride, const float *bias,
                               bool accumulate) {
    EYE_UNROLL
    for (int i = 0; i < m; i++) {
        EYE_UNROLL
        for (int j = 0; j < nq; j++)
            acc[i][j] = eye_start4(c + (size_t)i * c_stride + 4 * j, bias ? bias + 4 * j : NULL, accumulate);
    }
}
EYE_INLINE void eye_end_tile(int m, int nq, float32x4_t acc[EYE_Q8_MR][8], float *c, size_t c_stride) {
    EYE_UNROLL
    for (int i = 0; i < m; i++) {
        EYE_UNROLL
        for (int j = 0; j < nq; j++) vst1q_f32(c + (size_t)i * c_stride + 4 * j, acc[i][j]);
    }
}

/* A tile whose last columns do not exist is computed in a buffer; these are its ways in and out. */
struct eye_edge {
    float c[8 * 32], bias[32];
};
EYE_INLINE void eye_edge_in(struct eye_edge *e, size_t cols, size_t m, size_t n, const float *c, size_t c_stride,
                            const float *bias) {
    memset(e, 0, sizeof *e);
    if (bias) memcpy(e->bias, bias, n * sizeof *bias);
    for (size_t i = 0; i < m; i++) memcpy(e->c + i * cols, c + i * c_stride, n * sizeof *c);
}
EYE_INLINE void eye_edge_out(const struct eye_edge *e, size_t cols, size_t m, size_t n, float *c, size_t c_stride) {
    for (size_t i = 0; i < m; i++) memcpy(c + i * c_stride, e->c + i * cols, n * sizeof *c);
}

/* Sums of products of int8 as floats, without a conversion, which is slow on some cores: integers that start from the bits of
 * EYE_MAGIC count in units of its last bit; EYE_MAGIC_16: in 16ths, for sums 16 times too large. Exact below 2^22. */
#define EYE_MAGIC 12582912.0f   /* 1.5 x 2^23 */
#define EYE_MAGIC_16 786432.0f  /* 1.5 x 2^19 */

/* Quants of q4_0 as two's complement nibbles: q - 8 of both at once. A nibble in the upper half of a byte is 16 times that. */
EYE_INLINE void eye_q4_signed(uint8_t *out, const uint8_t *quants, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = quants[i] ^ 0x88;
}
EYE_INLINE int8x16_t eye_q4_low(uint8x16_t b) { return vreinterpretq_s8_u8(vshlq_n_u8(b, 4)); }
EYE_INLINE int8x16_t eye_q4_high(uint8x16_t b) { return vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(0xf0))); }

/* Products of 32 int8, two of which fit 16 bits, in any four lanes; and four columns' of these. */
EYE_INLINE int32x4_t eye_dot32(int8x16_t a_lo, int8x16_t a_hi, int8x16_t w_lo, int8x16_t w_hi) {
    int16x8_t s = vmlal_s8(vmull_s8(vget_low_s8(a_lo), vget_low_s8(w_lo)), vget_high_s8(a_lo), vget_high_s8(w_lo));
    int16x8_t t = vmlal_s8(vmull_s8(vget_low_s8(a_hi), vget_low_s8(w_hi)), vget_high_s8(a_hi), vget_high_s8(w_hi));
    return vpadalq_s16(vpaddlq_s16(s), t);
}
/* lo, hi: k = 0 .. 15, 16 .. 31 of each column. */
EYE_INLINE int32x4_t eye_dot32x4(const int8x16_t lo[4], const int8x16_t hi[4], const int8_t *row) {
    int8x16_t a = vld1q_s8(row), b = vld1q_s8(row + 16);
    int32x4_t s01 = vpaddq_s32(eye_dot32(a, b, lo[0], hi[0]), eye_dot32(a, b, lo[1], hi[1]));
    int32x4_t s23 = vpaddq_s32(eye_dot32(a, b, lo[2], hi[2]), eye_dot32(a, b, lo[3], hi[3]));
    return vpaddq_s32(s01, s23);
}

/* Four f16 scales. */
EYE_INLINE float32x4_t eye_scales4(const uint8_t *p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

/* eye_q8b32_quant of whole blocks, by vectors: the same IEEE operations, so the same bytes. */
EYE_INLINE float eye_q8b32_quant_neon(int8_t *q, const float *x) {
    float32x4_t v[8], max = vdupq_n_f32(0.0f);
    for (int i = 0; i < 8; i++) {
        v[i] = vld1q_f32(x + 4 * i);
        max = vmaxnmq_f32(max, vabsq_f32(v[i])); /* a number beats NaN, as in amax < |x| */
    }
    float amax = vmaxnmvq_f32(max);
    float d = eye_q8b32_scale(amax), scale = eye_q8b32_inverse(d);
    const float32x4_t top = vdupq_n_f32(127.0f), low = vdupq_n_f32(-127.0f);
    for (int i = 0; i < 8; i += 4) {
        int16x4_t h[4];
        for (int j = 0; j < 4; j++)
            h[j] = vmovn_s32(vcvtnq_s32_f32(vmaxnmq_f32(low, vminnmq_f32(top, vmulq_n_f32(v[i + j], scale)))));
        vst1q_s8(q + 4 * i, vcombine_s8(vmovn_s16(vcombine_s16(h[0], h[1])), vmovn_s16(vcombine_s16(h[2], h[3]))));
    }
    return d;
}

/* Steps of rows: scales, then with sums each row's sum of quants (f32, exact), then rows of 32 quants one after the other. */
EYE_INLINE void eye_pack_q8b32_rows(size_t m, size_t k, const float *src, size_t src_stride, void *dst, bool sums) {
    const size_t head = sums ? 8 : 4;
    uint8_t *out = dst;
    for (size_t e = 0; e < k; e += EYE_Q8_KR, out += m * (head + 32)) {
        for (size_t i = 0; i < m; i++) {
            const float *x = src + i * src_stride + e;
            int8_t *q = (int8_t *)out + head * m + 32 * i;
            float d = k - e >= 32 ? eye_q8b32_quant_neon(q, x) : eye_q8b32_quant(q, x, k - e);
            memcpy(out + 4 * i, &d, sizeof d);
            if (!sums) continue;
            float sum = (float)vaddlvq_s16(vaddq_s16(vpaddlq_s8(vld1q_s8(q)), vpaddlq_s8(vld1q_s8(q + 16))));
            memcpy(out + 4 * m + 4 * i, &sum, sizeof sum);
        }
    }
}

/* A panel from n GGUF rows: per step 32 f16 scales, then put(quants of one block, column, where the step's quants begin). */
EYE_INLINE void eye_pack_gguf(size_t n, size_t k, const void *src, size_t src_stride_bytes, uint8_t *out, size_t q_bytes,
                              void (*put)(uint8_t *quants, size_t col, const uint8_t *block)) {
    const size_t n_blocks = (k + EYE_Q8_KR - 1) / EYE_Q8_KR, step = EYE_Q8_SCALE_BYTES + EYE_Q8_NR * q_bytes;
    memset(out, 0, n_blocks * step);
    for (size_t b = 0; b < n_blocks; b++, out += step) {
        for (size_t j = 0; j < n; j++) {
            const uint8_t *block = (const uint8_t *)src + j * src_stride_bytes + b * (2 + q_bytes);
            memcpy(out + 2 * j, block, 2);
            put(out + EYE_Q8_SCALE_BYTES, j, block + 2);
        }
    }
}

#endif
