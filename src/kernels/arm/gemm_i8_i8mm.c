/* GEMM, u8 activations x s8 weights, Arm I8MM: USMMLA multiplies 2 rows x 8 k by 8 k x 2 columns; 8 rows x 8 columns. A panel's
 * two steps of 4 k, zipped, are 2 columns of 8 k. */
#include "kernels/arm/gemm_i8_neon.h"

enum { MR = 8, STEP = EYE_I8_KR * EYE_I8_NR, KV = 8 /* k of a vector */ };

/* 8 k of rows r and r + 1 at e; a missing row is the one before it again. */
EYE_INLINE uint8x16_t rows2(const struct eye_gemm_i8_args *a, const uint8_t *row, size_t second, size_t e) {
    size_t left = a->k - e, rest = left > 4 ? left - 4 : 0;
    const uint8_t *p = row + e, *q = row + second + e;
    uint32_t x[4] = {eye_i8_four(p, left), rest ? eye_i8_four(p + 4, rest) : 0, eye_i8_four(q, left),
                     rest ? eye_i8_four(q + 4, rest) : 0};
    return vreinterpretq_u8_u32(vld1q_u32(x));
}

/* 8 k at w of 8 columns; x: of row pairs. last: only 4 k are left. */
EYE_INLINE void add8(int32x4_t sum[MR / 2][4], const uint8x16_t x[MR / 2], const size_t pairs, const int8_t *w, bool last) {
    EYE_UNROLL
    for (size_t v = 0; v < 2; v++) {
        int32x4_t lo = vreinterpretq_s32_s8(vld1q_s8(w + 16 * v));
        int32x4_t hi = last ? vdupq_n_s32(0) : vreinterpretq_s32_s8(vld1q_s8(w + STEP + 16 * v));
        int8x16_t w01 = vreinterpretq_s8_s32(vzip1q_s32(lo, hi)), w23 = vreinterpretq_s8_s32(vzip2q_s32(lo, hi));
        EYE_UNROLL
        for (size_t p = 0; p < pairs; p++) {
            sum[p][2 * v] = vusmmlaq_s32(sum[p][2 * v], x[p], w01);
            sum[p][2 * v + 1] = vusmmlaq_s32(sum[p][2 * v + 1], x[p], w23);
        }
    }
}

EYE_INLINE void tile(const struct eye_gemm_i8_args *a, const size_t m, size_t i, size_t j) {
    const size_t pairs = (m + 1) / 2;
    const int8_t *w = eye_i8_panel(a, j) + EYE_I8_SUMS_BYTES + j % EYE_I8_NR * EYE_I8_KR;
    const uint8_t *row = (const uint8_t *)a->a + i * a->a_stride;
    int32x4_t sum[MR / 2][4]; /* [row pair][column pair]: 2 x 2 */
    size_t e = 0;
    EYE_UNROLL
    for (size_t p = 0; p < pairs; p++) {
        EYE_UNROLL
        for (size_t v = 0; v < 4; v++) sum[p][v] = vdupq_n_s32(0);
    }
    for (; e + KV <= a->k; e += KV, w += 2 * STEP) {
        uint8x16_t x[MR / 2];
        EYE_UNROLL
        for (size_t p = 0; p < pairs; p++) {
            const uint8_t *first = row + 2 * p * a->a_stride + e;
            x[p] = vcombine_u8(vld1_u8(first), vld1_u8(2 * p + 1 < m ? first + a->a_stride : first));
        }
        add8(sum, x, pairs, w, false);
    }
    if (e < a->k) {
        uint8x16_t x[MR / 2];
        EYE_UNROLL
        for (size_t p = 0; p < pairs; p++)
            x[p] = rows2(a, row + 2 * p * a->a_stride, 2 * p + 1 < m ? a->a_stride : 0, e);
        add8(sum, x, pairs, w, a->k - e <= EYE_I8_KR);
    }
    EYE_UNROLL
    for (size_t p = 0; p < pairs; p++) {
        EYE_UNROLL
        for (size_t v = 0; v < 2; v++) {
            int32x4_t b0 = sum[p][2 * v], b1 = sum[p][2 * v + 1];
            eye_i8_store(a, i + 2 * p, j + 4 * v, vcombine_s32(vget_low_s32(b0), vget_low_s32(b1)));
            if (2 * p + 1 < m) eye_i8_store(a, i + 2 * p + 1, j + 4 * v, vcombine_s32(vget_high_s32(b0), vget_high_s32(b1)));
        }
    }
}

void eye_gemm_i8_i8mm(const struct eye_gemm_i8_args *a) {
    for (size_t j = 0; j < a->n; j += 8) {
        size_t i = 0;
        for (; i + MR <= a->m; i += MR) tile(a, MR, i, j);
        if (i + 4 <= a->m) tile(a, 4, i, j), i += 4;
        if (i + 2 <= a->m) tile(a, 2, i, j), i += 2;
        if (i < a->m) tile(a, 1, i, j);
    }
}
