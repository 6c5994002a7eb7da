/* GEMM, int8 activations x q4_K weights, baseline NEON: SMULL + SMLAL sum two products in 16 bits (2 x 127 x 15 fits). */
#include "kernels/arm/gemm_neon.h"

struct weights {
    int8x16_t lo[4], hi[4]; /* k = 0 .. 15, 16 .. 31 of each column */
};

static void put(uint8_t *quants, size_t col, const uint8_t *block) { memcpy(quants + 16 * col, block, 16); }

EYE_INLINE struct weights load(const uint8_t *quants) {
    struct weights w;
    EYE_UNROLL
    for (int j = 0; j < 4; j++) {
        uint8x16_t b = vld1q_u8(quants + 16 * j);
        w.lo[j] = vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(15)));
        w.hi[j] = vreinterpretq_s8_u8(vshrq_n_u8(b, 4));
    }
    return w;
}

EYE_INLINE float32x4_t sums(const struct weights *w, const int8_t *row) {
    return vcvtq_f32_s32(eye_dot32x4(w->lo, w->hi, row));
}

#include "kernels/arm/gemm_q4k_neon.h"

EYE_Q4K_KERNEL(eye_gemm_f32_q8b32_q4k_neon)
