/* GEMM, int8 activations x q4_K weights, Arm DOTPROD: SDOT by lane, as in gemm_q8b32_dotprod.c. */
#include "kernels/arm/gemm_dotprod.h"

static void put(uint8_t *quants, size_t col, const uint8_t *block) {
    for (size_t t = 0; t < 4; t++) memcpy(quants + 16 * t + 4 * col, block + 4 * t, 4);
}

EYE_INLINE struct weights load(const uint8_t *quants) {
    struct weights w;
    EYE_UNROLL
    for (int t = 0; t < 4; t++) {
        uint8x16_t b = vld1q_u8(quants + 16 * t);
        w.four[t] = vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(15)));
        w.four[t + 4] = vreinterpretq_s8_u8(vshrq_n_u8(b, 4));
    }
    return w;
}

EYE_INLINE float32x4_t sums(const struct weights *w, const int8_t *row) {
    return eye_dot_lanes(w, row, EYE_MAGIC);
}

#include "kernels/arm/gemm_q4k_neon.h"

EYE_Q4K_KERNEL(eye_gemm_f32_q8b32_q4k_dotprod)
