/* GEMM micro-kernels with GGUF q8_0 and q4_0 weights, Arm without matrix instructions: 8 rows x 4 columns. Per block of 32:
 * c += isum * (d_a * d_w), fused. Included once by gemm_q8b32_<isa>.c, which defines before:
 *   struct weights                   a block's quants of 4 columns, in registers; of q4 16 times these
 *   put_q8, put_q4(quants, col, block)  quants of one column of a GGUF block into its step
 *   load(quants, q_bytes)            struct weights of 4 columns
 *   sums(w, row, q_bytes)            products of 32 int8 with 4 columns, as floats
 *
 * rhs step: [32 columns] f16 scale, then quants of 4 columns side by side, 4 q_bytes. lhs step: gemm_neon.h. */
#include <assert.h>

#include "kernels/arm/gemm_neon.h"
#include "kernels/rows.h"

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_pack_q8b32_rows(m, k, src, src_stride, dst, false);
}
static void pack_rhs_q8(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_pack_gguf(n, k, src, src_stride_bytes, dst, 32, put_q8);
}
static void pack_rhs_q4(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_pack_gguf(n, k, src, src_stride_bytes, dst, 16, put_q4);
}

/* m, nq: constant. See gemm_q8b32_run.h. */
EYE_INLINE void tile(int m, int nq, size_t first, size_t rows, size_t col, size_t k, const uint8_t *lhs, const uint8_t *rhs,
                     float *c, size_t c_stride, const float *bias, bool accumulate, int q_bytes) {
    const uint8_t *scale = lhs + 4 * first, *row = lhs + 4 * rows + 32 * first;
    float32x4_t acc[EYE_Q8_MR][8];
    eye_start_tile(m, nq, acc, c, c_stride, bias, accumulate);
    for (size_t e = 0; e < k; e += EYE_Q8_KR) {
        const uint8_t *quants = rhs + EYE_Q8_SCALE_BYTES + col * (size_t)q_bytes;
        EYE_UNROLL
        for (int j = 0; j < nq; j++) {
            const float32x4_t dw = eye_scales4(rhs + 2 * (col + 4 * (size_t)j));
            const struct weights w = load(quants + 4 * j * q_bytes, q_bytes);
            EYE_UNROLL
            for (int i = 0; i < m; i++) {
                float da;
                memcpy(&da, scale + 4 * i, sizeof da);
                acc[i][j] = vfmaq_f32(acc[i][j], sums(&w, (const int8_t *)row + 32 * i, q_bytes), vmulq_n_f32(dw, da));
            }
        }
        scale += rows * EYE_Q8_ROW_BYTES, row += rows * EYE_Q8_ROW_BYTES;
        rhs += EYE_Q8_SCALE_BYTES + EYE_Q8_NR * q_bytes;
    }
    eye_end_tile(m, nq, acc, c, c_stride);
}

#include "kernels/arm/gemm_q8b32_run.h"

EYE_Q8_RUN(run_q8, 32)
EYE_Q8_RUN(run_q4, 16)
