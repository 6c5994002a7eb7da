/* GEMM, int8 activations x q4_K weights, Arm DOTPROD. */
#include <arm_neon.h>

#include "kernels/inline.h"

EYE_INLINE int32x4_t dot(int8x16_t a_lo, int8x16_t a_hi, int8x16_t w_lo, int8x16_t w_hi) {
    return vdotq_s32(vdotq_s32(vdupq_n_s32(0), a_lo, w_lo), a_hi, w_hi);
}

#include "kernels/arm/gemm_q4k_neon.h"

EYE_Q4K_KERNEL(eye_gemm_f32_q8b32_q4k_dotprod)
