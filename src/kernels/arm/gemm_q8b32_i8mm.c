/* GEMM micro-kernels with GGUF q8_0 and q4_0 weights, Arm I8MM: SMMLA multiplies 2 rows x 8 k by 8 k x 2 columns.
 * Per block of 32: c += isum * (d_a * d_w), fused: the bits of gemm_q8b32_neon.c.
 *
 * rhs step: [32 columns] f16 scale, then per 2 columns: q8 [4][2 columns][8 k] int8; q4 [2][2 columns][8 k] bytes, k in the
 * low and k + 16 in the high nibble as in the file.
 * lhs step: [m] f32 scale, then row pairs [4][2 rows][8 k], an odd last row alone [32].
 */
#include <assert.h>

#include "kernels/arm/gemm_neon.h"
#include "kernels/rows.h"

EYE_INLINE void put(uint8_t *quants, size_t col, const uint8_t *block, size_t q_bytes) {
    uint8_t *pair = quants + col / 2 * 2 * q_bytes + col % 2 * 8;
    for (size_t t = 0; t < q_bytes / 8; t++) memcpy(pair + 16 * t, block + 8 * t, 8);
}
static void put_q8(uint8_t *quants, size_t col, const uint8_t *block) { put(quants, col, block, 32); }
static void put_q4(uint8_t *quants, size_t col, const uint8_t *block) { put(quants, col, block, 16); }

/* Packs rows one after the other, then interleaves the pairs in place. */
static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_pack_q8b32_rows(m, k, src, src_stride, dst);
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

/* w[t]: k = 8t .. 8t+7 of 2 columns. */
EYE_INLINE void load_weights(int8x16_t w[4], const uint8_t *p, int q_bytes) {
    const int8x16_t eight = vdupq_n_s8(8);
    if (q_bytes == 32) {
        for (int t = 0; t < 4; t++) w[t] = vreinterpretq_s8_u8(vld1q_u8(p + 16 * t));
        return;
    }
    for (int t = 0; t < 2; t++) {
        uint8x16_t b = vld1q_u8(p + 16 * t);
        w[t] = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(15))), eight);
        w[t + 2] = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(b, 4)), eight);
    }
}

/* Row pair p of m rows: 2 x 8 k per vector; the missing second row is zero. */
EYE_INLINE void load_rows(int8x16_t a[4], float32x4_t *da, int m, int p, const uint8_t *lhs) {
    const int8_t *q = (const int8_t *)lhs + 4 * m + 64 * p;
    float d[2] = {0};
    memcpy(d, lhs + 8 * p, (m - 2 * p < 2 ? 1 : 2) * sizeof d[0]);
    *da = vcombine_f32(vdup_n_f32(d[0]), vdup_n_f32(d[1]));
    for (int t = 0; t < 4; t++)
        a[t] = m - 2 * p < 2 ? vcombine_s8(vld1_s8(q + 8 * t), vdup_n_s8(0)) : vld1q_s8(q + 16 * t);
}

/* Two rows' 4 columns from and to two 2 x 2 blocks. */
EYE_INLINE void split(float32x4_t ab[2], const float *c, size_t c_stride, const float *bias, bool accumulate, int rows) {
    float32x4_t top = eye_start4(c, bias, accumulate), low = rows < 2 ? top : eye_start4(c + c_stride, bias, accumulate);
    ab[0] = vcombine_f32(vget_low_f32(top), vget_low_f32(low));
    ab[1] = vcombine_f32(vget_high_f32(top), vget_high_f32(low));
}
EYE_INLINE void join(const float32x4_t ab[2], float *c, size_t c_stride, int rows) {
    vst1q_f32(c, vcombine_f32(vget_low_f32(ab[0]), vget_low_f32(ab[1])));
    if (rows >= 2) vst1q_f32(c + c_stride, vcombine_f32(vget_high_f32(ab[0]), vget_high_f32(ab[1])));
}

/* m rows times nq groups of 4 columns (both constant), from column `col` of the panel on. */
EYE_INLINE void tile(int m, int nq, size_t col, size_t k, const uint8_t *lhs, const uint8_t *rhs, float *c,
                     size_t c_stride, const float *bias, bool accumulate, int q_bytes) {
    float32x4_t acc[2][16];
    const int pairs = (m + 1) / 2;
    EYE_UNROLL
    for (int p = 0; p < pairs; p++) {
        EYE_UNROLL
        for (int j = 0; j < nq; j++)
            split(&acc[p][2 * j], c + 2 * (size_t)p * c_stride + 4 * j, c_stride, bias ? bias + 4 * j : NULL, accumulate,
                  m - 2 * p);
    }
    for (size_t e = 0; e < k; e += EYE_Q8_KR, lhs += m * EYE_Q8_ROW_BYTES, rhs += EYE_Q8_SCALE_BYTES + EYE_Q8_NR * q_bytes) {
        const uint8_t *quants = rhs + EYE_Q8_SCALE_BYTES + col * (size_t)q_bytes;
        int8x16_t a[2][4];
        float32x4_t da[2];
        EYE_UNROLL
        for (int p = 0; p < pairs; p++) load_rows(a[p], &da[p], m, p, lhs);
        EYE_UNROLL
        for (int j = 0; j < 2 * nq; j++) {
            float32x4_t four = eye_scales4(rhs + 2 * (col + 4 * (size_t)(j / 2)));
            float32x2_t two = j % 2 ? vget_high_f32(four) : vget_low_f32(four);
            float32x4_t dw = vcombine_f32(two, two);
            int8x16_t w[4];
            load_weights(w, quants + 2 * j * q_bytes, q_bytes);
            EYE_UNROLL
            for (int p = 0; p < pairs; p++) {
                int32x4_t s = vdupq_n_s32(0);
                for (int t = 0; t < 4; t++) s = vmmlaq_s32(s, a[p][t], w[t]);
                acc[p][j] = vfmaq_f32(acc[p][j], vcvtq_f32_s32(s), vmulq_f32(dw, da[p]));
            }
        }
    }
    EYE_UNROLL
    for (int p = 0; p < pairs; p++) {
        EYE_UNROLL
        for (int j = 0; j < nq; j++)
            join(&acc[p][2 * j], c + 2 * (size_t)p * c_stride + 4 * j, c_stride, m - 2 * p);
    }
}

#include "kernels/arm/gemm_q8b32_run.h"

EYE_Q8_RUN(run_q8, 32)
EYE_Q8_RUN(run_q4, 16)

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q8b32_i8mm = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 32, pack_lhs, pack_rhs_q8, run_q8};
const struct eye_gemm_ukr eye_gemm_f32_q8b32_q4b32_i8mm = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 16, pack_lhs, pack_rhs_q4, run_q4};
