/* GEMM micro-kernels with GGUF q8_0 and q4_0 weights, baseline NEON (no dot product instructions): SMULL + SMLAL sum two
 * products in 16 bits (2 x 127 x 128 fits), SADALP widens. Per block of 32: c += isum * (d_a * d_w), fused.
 *
 * rhs step: [32 columns] f16 scale, [32 columns] the quants of the GGUF block as they are. lhs step: gemm_neon.h.
 */
#include <assert.h>

#include "kernels/arm/gemm_neon.h"
#include "kernels/rows.h"

static void put_q8(uint8_t *quants, size_t col, const uint8_t *block) { memcpy(quants + 32 * col, block, 32); }
static void put_q4(uint8_t *quants, size_t col, const uint8_t *block) { memcpy(quants + 16 * col, block, 16); }

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_pack_q8b32_rows(m, k, src, src_stride, dst);
}
static void pack_rhs_q8(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_pack_gguf(n, k, src, src_stride_bytes, dst, 32, put_q8);
}
static void pack_rhs_q4(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_pack_gguf(n, k, src, src_stride_bytes, dst, 16, put_q4);
}

struct block {
    int8x16_t lo, hi; /* elements 0..15, 16..31 */
};

EYE_INLINE struct block load_weights(const uint8_t *p, int q_bytes) {
    if (q_bytes == 32) return (struct block){vreinterpretq_s8_u8(vld1q_u8(p)), vreinterpretq_s8_u8(vld1q_u8(p + 16))};
    uint8x16_t b = vld1q_u8(p);
    const int8x16_t eight = vdupq_n_s8(8);
    return (struct block){vsubq_s8(vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(15))), eight),
                          vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(b, 4)), eight)};
}

EYE_INLINE int32x4_t dot(struct block a, struct block w) {
    int16x8_t s = vmlal_s8(vmull_s8(vget_low_s8(a.lo), vget_low_s8(w.lo)), vget_high_s8(a.lo), vget_high_s8(w.lo));
    int16x8_t t = vmlal_s8(vmull_s8(vget_low_s8(a.hi), vget_low_s8(w.hi)), vget_high_s8(a.hi), vget_high_s8(w.hi));
    return vpadalq_s16(vpaddlq_s16(s), t);
}

/* m rows times nq groups of 4 columns (both constant), from column `col` of the panel on. */
EYE_INLINE void tile(int m, int nq, size_t col, size_t k, const uint8_t *lhs, const uint8_t *rhs, float *c,
                     size_t c_stride, const float *bias, bool accumulate, int q_bytes) {
    float32x4_t acc[EYE_Q8_MR][8];
    EYE_UNROLL
    for (int i = 0; i < m; i++) {
        EYE_UNROLL
        for (int j = 0; j < nq; j++)
            acc[i][j] = eye_start4(c + (size_t)i * c_stride + 4 * j, bias ? bias + 4 * j : NULL, accumulate);
    }
    for (size_t e = 0; e < k; e += EYE_Q8_KR, lhs += m * EYE_Q8_ROW_BYTES, rhs += EYE_Q8_SCALE_BYTES + EYE_Q8_NR * q_bytes) {
        const uint8_t *quants = rhs + EYE_Q8_SCALE_BYTES + col * (size_t)q_bytes;
        EYE_UNROLL
        for (int j = 0; j < nq; j++) {
            float32x4_t dw = eye_scales4(rhs + 2 * (col + 4 * (size_t)j));
            struct block w[4];
            for (int x = 0; x < 4; x++) w[x] = load_weights(quants + (4 * j + x) * q_bytes, q_bytes);
            EYE_UNROLL
            for (int i = 0; i < m; i++) {
                const int8_t *q = (const int8_t *)lhs + 4 * m + 32 * i;
                struct block a = {vld1q_s8(q), vld1q_s8(q + 16)};
                float da;
                memcpy(&da, lhs + 4 * i, sizeof da);
                int32x4_t s01 = vpaddq_s32(dot(a, w[0]), dot(a, w[1])), s23 = vpaddq_s32(dot(a, w[2]), dot(a, w[3]));
                acc[i][j] = vfmaq_f32(acc[i][j], vcvtq_f32_s32(vpaddq_s32(s01, s23)), vmulq_n_f32(dw, da));
            }
        }
    }
    EYE_UNROLL
    for (int i = 0; i < m; i++) {
        EYE_UNROLL
        for (int j = 0; j < nq; j++) vst1q_f32(c + (size_t)i * c_stride + 4 * j, acc[i][j]);
    }
}

#include "kernels/arm/gemm_q8b32_run.h"

EYE_Q8_RUN(run_q8, 32)
EYE_Q8_RUN(run_q4, 16)

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q8b32_neon = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 32, pack_lhs, pack_rhs_q8, run_q8};
const struct eye_gemm_ukr eye_gemm_f32_q8b32_q4b32_neon = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 16, pack_lhs, pack_rhs_q4, run_q4};
