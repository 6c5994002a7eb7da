/* GEMM, int8 activations x q8_0 weights, AVX512-VNNI. */
#include "kernels/x86/gemm_block_avx512.h"

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_b512_pack_lhs(m, k, src, src_stride, dst, 128, false);
}
static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_block_pack_rhs(n, k, src, src_stride_bytes, dst, 32);
}
EYE_B512_RUN(run, 32)
static void run_streams(size_t n, size_t panels, size_t k, const void *lhs, size_t rhs_panel_stride,
                        const struct eye_gemm_stream *s) {
    for (size_t i = 0; i < panels; i++) eye_b512_panels(32, n, k, lhs, i, rhs_panel_stride, s);
}

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q8b32_avx512vnni = {
    EYE_B512_MR, EYE_BLOCK_NR, EYE_BLOCK_KR, sizeof(struct eye_block_row), EYE_BLOCK_D_BYTES + EYE_BLOCK_NR * 32,
    pack_lhs, pack_rhs, run, .run_streams = run_streams};
