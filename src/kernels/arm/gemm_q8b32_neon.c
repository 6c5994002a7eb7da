/* GEMM micro-kernels with GGUF q8_0 and q4_0 weights, baseline NEON (no dot product instructions): SMULL + SMLAL sum two
 * products in 16 bits (2 x 127 x 128 fits), SADALP widens. Quants of a column lie side by side. */
#include "kernels/arm/gemm_neon.h"

static void put_q8(uint8_t *quants, size_t col, const uint8_t *block) { memcpy(quants + 32 * col, block, 32); }
static void put_q4(uint8_t *quants, size_t col, const uint8_t *block) { eye_q4_signed(quants + 16 * col, block, 16); }

struct weights {
    int8x16_t lo[4], hi[4]; /* k = 0 .. 15, 16 .. 31 of each column */
};
EYE_INLINE struct weights load(const uint8_t *quants, int q_bytes) {
    struct weights w;
    EYE_UNROLL
    for (int j = 0; j < 4; j++) {
        uint8x16_t b = vld1q_u8(quants + j * q_bytes);
        w.lo[j] = q_bytes == 32 ? vreinterpretq_s8_u8(b) : eye_q4_low(b);
        w.hi[j] = q_bytes == 32 ? vreinterpretq_s8_u8(vld1q_u8(quants + j * q_bytes + 16)) : eye_q4_high(b);
    }
    return w;
}

EYE_INLINE float32x4_t sums(const struct weights *w, const int8_t *row, int q_bytes) {
    int32x4_t s = eye_dot32x4(w->lo, w->hi, row);
    return q_bytes == 32 ? vcvtq_f32_s32(s) : vcvtq_n_f32_s32(s, 4);
}

#include "kernels/arm/gemm_q8b32_tile.h"

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q8b32_neon = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 32, pack_lhs, pack_rhs_q8, run_q8};
const struct eye_gemm_ukr eye_gemm_f32_q8b32_q4b32_neon = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 16, pack_lhs, pack_rhs_q4, run_q4};
