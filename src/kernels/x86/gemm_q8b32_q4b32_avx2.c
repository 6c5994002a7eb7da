/* GEMM, int8 activations x q4_0 weights, AVX2. */
#include "kernels/x86/gemm_block_avx2.h"

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_b256_pack_lhs(m, k, src, src_stride, dst, 8, EYE_B256_HALVES);
}
static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_block_pack_rhs(n, k, src, src_stride_bytes, dst, 16);
}
EYE_B256_RUN(run, EYE_B256_NIBBLES)

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q4b32_avx2 = {
    EYE_B256_MR, EYE_BLOCK_NR, EYE_BLOCK_KR, sizeof(struct eye_block_row), EYE_BLOCK_D_BYTES + EYE_BLOCK_NR * 16,
    pack_lhs, pack_rhs, run};
