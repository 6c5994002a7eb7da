/* GEMM, int8 activations x q4_K weights, baseline NEON: SMULL + SMLAL sum two products in 16 bits (2 x 127 x 15 fits). */
#include <arm_neon.h>

#include "kernels/inline.h"

EYE_INLINE int32x4_t dot(int8x16_t a_lo, int8x16_t a_hi, int8x16_t w_lo, int8x16_t w_hi) {
    int16x8_t s = vmlal_s8(vmull_s8(vget_low_s8(a_lo), vget_low_s8(w_lo)), vget_high_s8(a_lo), vget_high_s8(w_lo));
    int16x8_t t = vmlal_s8(vmull_s8(vget_low_s8(a_hi), vget_low_s8(w_hi)), vget_high_s8(a_hi), vget_high_s8(w_hi));
    return vpadalq_s16(vpaddlq_s16(s), t);
}

#include "kernels/arm/gemm_q4k_neon.h"

EYE_Q4K_KERNEL(eye_gemm_f32_q8b32_q4k_neon)
