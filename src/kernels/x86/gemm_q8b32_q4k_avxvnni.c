/* GEMM, int8 activations x q4_K weights, AVX-VNNI. */
#include "kernels/x86/gemm_q4k_avx2.h"

EYE_Q4K_KERNEL(eye_gemm_f32_q8b32_q4k_avxvnni, EYE_B256_VNNI4)
