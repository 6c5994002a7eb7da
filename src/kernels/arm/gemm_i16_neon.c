/* GEMM, i16 activations x s8 weights, NEON: 4 rows x 4 columns. A column's sum is kept as its 4 k until the end. */
#include "kernels/arm/gemm_i8_neon.h"

enum { MR = 4 };

EYE_INLINE void tile(const struct eye_gemm_i8_args *a, const size_t m, size_t i, size_t j) {
    const int8_t *w = eye_i8_panel(a, j) + EYE_I8_SUMS_BYTES + j % EYE_I8_NR * EYE_I8_KR;
    const int16_t *row = (const int16_t *)a->a + i * a->a_stride;
    int32x4_t sum[MR][4];
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) {
        EYE_UNROLL
        for (size_t v = 0; v < 4; v++) sum[r][v] = vdupq_n_s32(0);
    }
    for (size_t e = 0; e < a->k; e += EYE_I8_KR, w += EYE_I8_KR * EYE_I8_NR) {
        int8x16_t four = vld1q_s8(w);
        int16x8_t w01 = vmovl_s8(vget_low_s8(four)), w23 = vmovl_high_s8(four);
        EYE_UNROLL
        for (size_t r = 0; r < m; r++) {
            int16x4_t x = vcreate_s16(eye_i16_four(row + r * a->a_stride + e, a->k - e));
            sum[r][0] = vmlal_s16(sum[r][0], vget_low_s16(w01), x);
            sum[r][1] = vmlal_s16(sum[r][1], vget_high_s16(w01), x);
            sum[r][2] = vmlal_s16(sum[r][2], vget_low_s16(w23), x);
            sum[r][3] = vmlal_s16(sum[r][3], vget_high_s16(w23), x);
        }
    }
    EYE_UNROLL
    for (size_t r = 0; r < m; r++)
        eye_i8_store(a, i + r, j, vpaddq_s32(vpaddq_s32(sum[r][0], sum[r][1]), vpaddq_s32(sum[r][2], sum[r][3])));
}

void eye_gemm_i16_neon(const struct eye_gemm_i8_args *a) {
    for (size_t j = 0; j < a->n; j += 4) {
        size_t i = 0;
        for (; i + MR <= a->m; i += MR) tile(a, MR, i, j);
        for (; i < a->m; i++) tile(a, 1, i, j);
    }
}
