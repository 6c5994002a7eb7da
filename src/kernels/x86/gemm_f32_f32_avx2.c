/* GEMM, f32 x f32, AVX2. */
#include "kernels/x86/gemm_float_avx2.h"

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_pack_lhs_f32(m, k, src, src_stride, dst);
}
static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_pack_rhs(n, k, src, src_stride_bytes, dst, 4, EYE_F256_NR, EYE_PACK_KR, 1);
}
static void pack_lhs_t(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_pack_lhs_t_f256(m, k, src, src_stride, dst);
}
static void pack_rhs_t(size_t n, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_pack_rhs_t_f32(n, k, src, src_stride, dst, EYE_F256_NR);
}
EYE_F256_RUN(run, EYE_F256_F32)

const struct eye_gemm_ukr eye_gemm_f32_f32_f32_avx2 = {EYE_F256_MR, EYE_F256_NR, EYE_PACK_KR, EYE_PACK_KR * 4,
                                                       EYE_F256_NR * EYE_PACK_KR * 4, pack_lhs, pack_rhs, run,
                                                         pack_lhs_t, pack_rhs_t};
