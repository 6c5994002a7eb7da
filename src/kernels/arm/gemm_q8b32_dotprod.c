/* GEMM micro-kernels with GGUF q8_0 and q4_0 weights, Arm DOTPROD: SDOT by lane, 4 columns x 4 k per instruction.
 * Per block of 32: c += isum * (d_a * d_w), fused: the bits of gemm_q8b32_neon.c.
 *
 * rhs step: [32 columns] f16 scale, then per 4 columns: q8 [8][4 columns][4 k] int8; q4 [4][4 columns][4 k] bytes, k in the
 * low and k + 16 in the high nibble as in the file. lhs step: gemm_neon.h.
 */
#include <assert.h>

#include "kernels/arm/gemm_neon.h"
#include "kernels/rows.h"

EYE_INLINE void put(uint8_t *quants, size_t col, const uint8_t *block, size_t q_bytes) {
    uint8_t *group = quants + col / 4 * 4 * q_bytes + col % 4 * 4;
    for (size_t t = 0; t < q_bytes / 4; t++) memcpy(group + 16 * t, block + 4 * t, 4);
}
static void put_q8(uint8_t *quants, size_t col, const uint8_t *block) { put(quants, col, block, 32); }
static void put_q4(uint8_t *quants, size_t col, const uint8_t *block) { put(quants, col, block, 16); }

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_pack_q8b32_rows(m, k, src, src_stride, dst);
}
static void pack_rhs_q8(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_pack_gguf(n, k, src, src_stride_bytes, dst, 32, put_q8);
}
static void pack_rhs_q4(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_pack_gguf(n, k, src, src_stride_bytes, dst, 16, put_q4);
}

/* w[t]: k = 4t .. 4t+3 of 4 columns. */
EYE_INLINE void load_weights(int8x16_t w[8], const uint8_t *p, int q_bytes) {
    const int8x16_t eight = vdupq_n_s8(8);
    if (q_bytes == 32) {
        EYE_UNROLL
        for (int t = 0; t < 8; t++) w[t] = vreinterpretq_s8_u8(vld1q_u8(p + 16 * t));
        return;
    }
    EYE_UNROLL
    for (int t = 0; t < 4; t++) {
        uint8x16_t b = vld1q_u8(p + 16 * t);
        w[t] = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(15))), eight);
        w[t + 4] = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(b, 4)), eight);
    }
}

EYE_INLINE int32x4_t dot(const int8x16_t w[8], const int8_t *q) {
    int8x16_t a = vld1q_s8(q), b = vld1q_s8(q + 16);
    int32x4_t s = vdotq_laneq_s32(vdupq_n_s32(0), w[0], a, 0);
    s = vdotq_laneq_s32(s, w[1], a, 1);
    s = vdotq_laneq_s32(s, w[2], a, 2);
    s = vdotq_laneq_s32(s, w[3], a, 3);
    s = vdotq_laneq_s32(s, w[4], b, 0);
    s = vdotq_laneq_s32(s, w[5], b, 1);
    s = vdotq_laneq_s32(s, w[6], b, 2);
    return vdotq_laneq_s32(s, w[7], b, 3);
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
            int8x16_t w[8];
            load_weights(w, quants + 4 * j * q_bytes, q_bytes);
            EYE_UNROLL
            for (int i = 0; i < m; i++) {
                float da;
                memcpy(&da, lhs + 4 * i, sizeof da);
                int32x4_t s = dot(w, (const int8_t *)lhs + 4 * m + 32 * i);
                acc[i][j] = vfmaq_f32(acc[i][j], vcvtq_f32_s32(s), vmulq_n_f32(dw, da));
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

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q8b32_dotprod = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 32, pack_lhs, pack_rhs_q8, run_q8};
const struct eye_gemm_ukr eye_gemm_f32_q8b32_q4b32_dotprod = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 16, pack_lhs, pack_rhs_q4, run_q4};
