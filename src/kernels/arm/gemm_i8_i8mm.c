/* GEMM, u8 activations x s8 weights, Arm I8MM: USMMLA multiplies 2 rows x 8 k by 8 k x 2 columns; 4 rows x 16 columns. A panel's
 * two steps of 4 k, zipped, are 2 columns of 8 k. */
#include "kernels/arm/gemm_i8_neon.h"

enum { MR = 4 };

/* 8 k of rows r and r + 1 at e; a missing row is the one before it again. */
EYE_INLINE uint8x16_t rows2(const struct eye_gemm_i8_args *a, const uint8_t *row, size_t second, size_t e) {
    size_t left = a->k - e, rest = left > 4 ? left - 4 : 0;
    const uint8_t *p = row + e, *q = row + second + e;
    uint32_t x[4] = {eye_i8_four(p, left), rest ? eye_i8_four(p + 4, rest) : 0, eye_i8_four(q, left),
                     rest ? eye_i8_four(q + 4, rest) : 0};
    return vreinterpretq_u8_u32(vld1q_u32(x));
}

EYE_INLINE void tile(const struct eye_gemm_i8_args *a, const size_t m, size_t i, size_t j) {
    const size_t pairs = (m + 1) / 2, step = EYE_I8_KR * EYE_I8_NR;
    const int8_t *w = eye_i8_panel(a, j) + EYE_I8_SUMS_BYTES + j % EYE_I8_NR * EYE_I8_KR;
    const uint8_t *row = (const uint8_t *)a->a + i * a->a_stride;
    int32x4_t sum[MR / 2][8]; /* [row pair][column pair]: 2 x 2 */
    EYE_UNROLL
    for (size_t p = 0; p < pairs; p++) {
        EYE_UNROLL
        for (size_t v = 0; v < 8; v++) sum[p][v] = vdupq_n_s32(0);
    }
    for (size_t e = 0; e < a->k; e += 2 * EYE_I8_KR, w += 2 * step) {
        bool two = a->k - e > EYE_I8_KR;
        uint8x16_t x[MR / 2];
        EYE_UNROLL
        for (size_t p = 0; p < pairs; p++)
            x[p] = rows2(a, row + 2 * p * a->a_stride, 2 * p + 1 < m ? a->a_stride : 0, e);
        EYE_UNROLL
        for (size_t v = 0; v < 4; v++) {
            int32x4_t lo = vreinterpretq_s32_s8(vld1q_s8(w + 16 * v));
            int32x4_t hi = two ? vreinterpretq_s32_s8(vld1q_s8(w + step + 16 * v)) : vdupq_n_s32(0);
            int8x16_t w01 = vreinterpretq_s8_s32(vzip1q_s32(lo, hi)), w23 = vreinterpretq_s8_s32(vzip2q_s32(lo, hi));
            EYE_UNROLL
            for (size_t p = 0; p < pairs; p++) {
                sum[p][2 * v] = vusmmlaq_s32(sum[p][2 * v], x[p], w01);
                sum[p][2 * v + 1] = vusmmlaq_s32(sum[p][2 * v + 1], x[p], w23);
            }
        }
    }
    EYE_UNROLL
    for (size_t p = 0; p < pairs; p++) {
        EYE_UNROLL
        for (size_t v = 0; v < 4; v++) {
            int32x4_t b0 = sum[p][2 * v], b1 = sum[p][2 * v + 1];
            eye_i8_store(a, i + 2 * p, j + 4 * v, vcombine_s32(vget_low_s32(b0), vget_low_s32(b1)));
            if (2 * p + 1 < m) eye_i8_store(a, i + 2 * p + 1, j + 4 * v, vcombine_s32(vget_high_s32(b0), vget_high_s32(b1)));
        }
    }
}

void eye_gemm_i8_i8mm(const struct eye_gemm_i8_args *a) {
    for (size_t j = 0; j < a->n; j += 16) {
        size_t i = 0;
        for (; i + MR <= a->m; i += MR) tile(a, MR, i, j);
        if (i + 2 <= a->m) tile(a, 2, i, j), i += 2;
        if (i < a->m) tile(a, 1, i, j);
    }
}
