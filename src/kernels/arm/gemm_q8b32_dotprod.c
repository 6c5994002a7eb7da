/* GEMM micro-kernels with GGUF q8_0 and q4_0 weights, Arm DOTPROD: SDOT by lane, 4 columns x 4 k per instruction. The bits of
 * gemm_q8b32_neon.c. Quants of 4 columns: q8 [8][4 columns][4 k] int8; q4 [4][4 columns][4 k] bytes, k in the low and k + 16 in
 * the high nibble. */
#include "kernels/arm/gemm_dotprod.h"

static void put_q8(uint8_t *quants, size_t col, const uint8_t *block) {
    uint8_t *group = quants + col / 4 * 128 + col % 4 * 4;
    for (size_t t = 0; t < 8; t++) memcpy(group + 16 * t, block + 4 * t, 4);
}
static void put_q4(uint8_t *quants, size_t col, const uint8_t *block) {
    uint8_t *group = quants + col / 4 * 64 + col % 4 * 4;
    for (size_t t = 0; t < 4; t++) eye_q4_signed(group + 16 * t, block + 4 * t, 4);
}

EYE_INLINE struct weights load(const uint8_t *quants, int q_bytes) {
    struct weights w;
    EYE_UNROLL
    for (int t = 0; t < 4; t++) {
        uint8x16_t b = vld1q_u8(quants + 16 * t);
        w.four[t] = q_bytes == 32 ? vreinterpretq_s8_u8(b) : eye_q4_low(b);
        w.four[t + 4] = q_bytes == 32 ? vreinterpretq_s8_u8(vld1q_u8(quants + 64 + 16 * t)) : eye_q4_high(b);
    }
    return w;
}

EYE_INLINE float32x4_t sums(const struct weights *w, const int8_t *row, int q_bytes) {
    return eye_dot_lanes(w, row, q_bytes == 32 ? EYE_MAGIC : EYE_MAGIC_16);
}

#include "kernels/arm/gemm_q8b32_tile.h"

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q8b32_dotprod = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 32, pack_lhs, pack_rhs_q8, run_q8};
const struct eye_gemm_ukr eye_gemm_f32_q8b32_q4b32_dotprod = {
    EYE_Q8_MR, EYE_Q8_NR, EYE_Q8_KR, EYE_Q8_ROW_BYTES, EYE_Q8_SCALE_BYTES + EYE_Q8_NR * 16, pack_lhs, pack_rhs_q4, run_q4};
