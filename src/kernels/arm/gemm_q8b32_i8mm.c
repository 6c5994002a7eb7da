/* GEMM micro-kernels with GGUF q8_0 and q4_0 weights, Arm I8MM: SMMLA multiplies 2 rows x 8 k by 8 k x 2 columns; 8 rows x 4
 * columns. One row takes SDOT, half of an SMMLA would be for nothing. Per block of 32: c += isum * (d_a * d_w), fused: the
 * bits of gemm_q8b32_neon.c.
 *
 * rhs step: [32 columns] f16 scale, then per 2 columns: q8 [4][2 columns][8 k] int8; q4 [2][2 columns][8 k] bytes, k in the
 * low and k + 16 in the high nibble, as eye_q4_signed.
 * lhs step: [m] f32 scale, then row pairs [4][2 rows][8 k], an odd last row alone [32].
 */
#include <assert.h>

#include "kernels/arm/gemm_neon.h"
#include "kernels/rows.h"

static void put_q8(uint8_t *quants, size_t col, const uint8_t *block) {
    uint8_t *pair = quants + col / 2 * 64 + col % 2 * 8;
    for (size_t t = 0; t < 4; t++) memcpy(pair + 16 * t, block + 8 * t, 8);
}
static void put_q4(uint8_t *quants, size_t col, const uint8_t *block) {
    uint8_t *pair = quants + col / 2 * 32 + col % 2 * 8;
    for (size_t t = 0; t < 2; t++) eye_q4_signed(pair + 16 * t, block + 8 * t, 8);
}

/* Packs rows one after the other, then interleaves the pairs in place. */
static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_pack_q8b32_rows(m, k, src, src_stride, dst, false);
    uint8_t *step = dst;
    for (size_t e = 0; e < k; e += EYE_Q8_KR, step += m * EYE_Q8_ROW_BYTES) {
        for (size_t p = 0; p < m / 2; p++) {
            uint8_t *q = step + 4 * m + 64 * p;
            uint8x16_t a0 = vld1q_u8(q), a1 = vld1q_u8(q + 16), b0 = vld1q_u8(q + 32), b1 = vld1q_u8(q + 48);
            vst1q_u8(q, vcombine_u8(vget_low_u8(a0), vget_low_u8(b0)));
            vst1q_u8(q + 16, vcombine_u8(vget_high_u8(a0), vget_high_u8(b0)));
            vst1q_u8(q + 32, vcombine_u8(vget_low_u8(a1), vget_low_u8(b1)));
            vst1q_u8(q + 48, vcombine_u8(vget_high_u8(a1), vget_high_u8(b1)));
        }
    }
}
static void pack_rhs_q8(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_pack_gguf(n, k, src, src_stride_bytes, dst, 32, put_q8);
}
static void pack_rhs_q4(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_pack_gguf(n, k, src, src_stride_bytes, dst, 16, put_q4);
}

/* w[t]: k = 8t .. 8t+7 of 2 columns; of q4: 16 times these. */
EYE_INLINE void load_weights(int8x16_t w[4], const uint8_t *p, int q_bytes) {
    if (q_bytes == 32) {
        EYE_UNROLL
        for (int t = 0; t < 4; t++) w[t] = vreinterpretq_s8_u8(vld1q_u8(p + 16 * t));
        return;
    }
    EYE_UNROLL
    for (int t = 0; t < 2; t++) {
        uint8x16_t b = vld1q_u8(p + 16 * t);
        w[t] = eye_q4_low(b);
        w[t + 2] = eye_q4_high(b);
    }
}

EYE_INLINE float32x4_t magic_of(int q_bytes) { return vdupq_n_f32(q_bytes == 32 ? EYE_MAGIC : EYE_MAGIC_16); }

/* One row: a[t] is k = 8t .. 8t+7 twice; a column's sum comes in two lanes, the first of which starts from the magic. */
EYE_INLINE void tile1(int nq, const uint8_t *scale, const uint8_t *row, size_t step, size_t col, size_t k, const uint8_t *rhs,
                      float *c, const float *bias, bool accumulate, int q_bytes) {
    const float32x4_t magic = magic_of(q_bytes);
    const int32x4_t from = vreinterpretq_s32_u64(vandq_u64(vreinterpretq_u64_f32(magic), vdupq_n_u64(UINT32_MAX)));
    float32x4_t acc[8];
    EYE_UNROLL
    for (int j = 0; j < nq; j++) acc[j] = eye_start4(c + 4 * j, bias ? bias + 4 * j : NULL, accumulate);
    for (size_t e = 0; e < k; e += EYE_Q8_KR, scale += step, row += step, rhs += EYE_Q8_SCALE_BYTES + EYE_Q8_NR * q_bytes) {
        const uint8_t *quants = rhs + EYE_Q8_SCALE_BYTES + col * (size_t)q_bytes;
        int8x16_t a[4];
        float da;
        memcpy(&da, scale, sizeof da);
        int64x2_t lo = vreinterpretq_s64_u8(vld1q_u8(row)), hi = vreinterpretq_s64_u8(vld1q_u8(row + 16));
        a[0] = vreinterpretq_s8_s64(vdupq_laneq_s64(lo, 0));
        a[1] = vreinterpretq_s8_s64(vdupq_laneq_s64(lo, 1));
        a[2] = vreinterpretq_s8_s64(vdupq_laneq_s64(hi, 0));
        a[3] = vreinterpretq_s8_s64(vdupq_laneq_s64(hi, 1));
        EYE_UNROLL
        for (int j = 0; j < nq; j++) {
            int32x4_t s[2];
            EYE_UNROLL
            for (int h = 0; h < 2; h++) {
                int8x16_t w[4];
                load_weights(w, quants + (4 * j + 2 * h) * q_bytes, q_bytes);
                s[h] = from;
                EYE_UNROLL
                for (int t = 0; t < 4; t++) s[h] = vdotq_s32(s[h], w[t], a[t]);
            }
            float32x4_t sum = vsubq_f32(vreinterpretq_f32_s32(vpaddq_s32(s[0], s[1])), magic);
            acc[j] = vfmaq_f32(acc[j], sum, vmulq_n_f32(eye_scales4(rhs + 2 * (col + 4 * (size_t)j)), da));
        }
    }
    EYE_UNROLL
    for (int j = 0; j < nq; j++) vst1q_f32(c + 4 * j, acc[j]);
}

/* Two rows' 4 columns from and to two 2 x 2 blocks. */
EYE_INLINE void split(float32x4_t ab[2], const float *c, size_t c_stride, const float *bias, bool accumulate) {
    float32x4_t top = eye_start4(c, bias, accumulate), low = eye_start4(c + c_stride, bias, accumulate);
    ab[0] = vcombine_f32(vget_low_f32(top), vget_low_f32(low));
    ab[1] = vcombine_f32(vget_high_f32(top), vget_high_f32(low));
}
EYE_INLINE void join(const float32x4_t ab[2], float *c, size_t c_stride) {
    vst1q_f32(c, vcombine_f32(vget_low_f32(ab[0]), vget_low_f32(ab[1])));
    vst1q_f32(c + c_stride, vcombine_f32(vget_high_f32(ab[0]), vget_high_f32(ab[1])));
}
/* Scales of m rows, as pairs want them: d0 d0 d1 d1. */
EYE_INLINE void load_scales(float32x4_t da[4], int m, const uint8_t *scale) {
    EYE_UNROLL
    for (int i = 0; i < m; i += 4) {
        float d[4] = {0};
        memcpy(d, scale + 4 * i, (m < 4 ? 2 : 4) * sizeof d[0]);
        float32x4_t v = vld1q_f32(d);
        da[i / 2] = vzip1q_f32(v, v);
        if (m >= 4) da[i / 2 + 1] = vzip2q_f32(v, v);
    }
}

/* m (2, 4 or 8), nq: constant. See gemm_q8b32_run.h. */
EYE_INLINE void tile2(int m, int nq, const uint8_t *scale, const uint8_t *row, size_t step, size_t col, size_t k,
                      const uint8_t *rhs, float *c, size_t c_stride, const float *bias, bool accumulate, int q_bytes) {
    const float32x4_t magic = magic_of(q_bytes);
    const int pairs = m / 2;
    float32x4_t acc[4][8];
    EYE_UNROLL
    for (int p = 0; p < pairs; p++) {
        EYE_UNROLL
        for (int j = 0; j < nq; j++)
            split(&acc[p][2 * j], c + 2 * (size_t)p * c_stride + 4 * j, c_stride, bias ? bias + 4 * j : NULL, accumulate);
    }
    for (size_t e = 0; e < k; e += EYE_Q8_KR, scale += step, row += step, rhs += EYE_Q8_SCALE_BYTES + EYE_Q8_NR * q_bytes) {
        const uint8_t *quants = rhs + EYE_Q8_SCALE_BYTES + col * (size_t)q_bytes;
        float32x4_t da[4];
        load_scales(da, m, scale);
        EYE_UNROLL
        for (int j = 0; j < nq; j++) {
            float32x4_t four = eye_scales4(rhs + 2 * (col + 4 * (size_t)j));
            float32x4_t dw[2] = {vcombine_f32(vget_low_f32(four), vget_low_f32(four)),
                                 vcombine_f32(vget_high_f32(four), vget_high_f32(four))};
            int8x16_t w[2][4];
            load_weights(w[0], quants + 4 * j * q_bytes, q_bytes);
            load_weights(w[1], quants + (4 * j + 2) * q_bytes, q_bytes);
            EYE_UNROLL
            for (int p = 0; p < pairs; p++) {
                int32x4_t s[2] = {vreinterpretq_s32_f32(magic), vreinterpretq_s32_f32(magic)};
                EYE_UNROLL
                for (int t = 0; t < 4; t++) {
                    int8x16_t a = vld1q_s8((const int8_t *)row + 64 * p + 16 * t);
                    s[0] = vmmlaq_s32(s[0], a, w[0][t]);
                    s[1] = vmmlaq_s32(s[1], a, w[1][t]);
                }
                EYE_UNROLL
                for (int h = 0; h < 2; h++)
                    acc[p][2 * j + h] = vfmaq_f32(acc[p][2 * j + h], vsubq_f32(vreinterpretq_f32_s32(s[h]), magic),
                                                  vmulq_f32(dw[h], da[p]));
            }
        }
    }
    EYE_UNROLL
    for (int p = 0; p < pairs; p++) {
        EYE_UNROLL
        for (int j = 0; j < nq; j++) join(&acc[p][2 * j], c + 2 * (size_t)p * c_stride + 4 * j, c_stride);
    }
}

EYE_INLINE void tile(int m, int nq, size_t first, size_t rows, size_t col, size_t k, const uint8_t *lhs, const uint8_t *rhs,
                     float *c, size_t c_stride, const float *bias, bool accumulate, int q_bytes) {
    const uint8_t *scale = lhs + 4 * first, *row = lhs + 4 * rows + 32 * first;
    const size_t step = rows * EYE_Q8_ROW_BYTES;
    if (m == 1) tile1(nq, scale, row, step, col, k, rhs, c, bias, accumulate, q_bytes);
    else tile2(m, nq, scale, row, step, col, k, rhs, c, c_stride, bias, accumulate, q_bytes);
}

#include "kernels/arm/gemm_q8b32_run.h"

EYE_Q8_RUN(run_q8, 32)
EYE_Q8_RUN(run_q4, 16)

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q8b32_i8mm = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 32, pack_lhs, pack_rhs_q8, run_q8};
const struct eye_gemm_ukr eye_gemm_f32_q8b32_q4b32_i8mm = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 16, pack_lhs, pack_rhs_q4, run_q4};
