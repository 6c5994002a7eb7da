/* GEMM micro-kernels with float weights, plain C: the fall-back on any CPU and the model to read before the fast ones.
 *
 * lhs step (one k): [m] f32. rhs step (one k): [32 columns] in the weights' own type, so a packed matrix is no bigger than
 * the file. Each output is bias (or c), then += a * w in order of k, in f32: not in double, because c is f32 and a sum
 * continued from c must give the bits of one that was never interrupted.
 */
#include <assert.h>
#include <string.h>

#include "kernels/rows.h"
#include "tensor/tensor.h"

enum { MR = 4, NR = 32 };

typedef void widen_fn(float *w, const void *src); /* one rhs step to f32 */

static void widen_f32(float *w, const void *src) { memcpy(w, src, NR * sizeof *w); }
static void widen_f16(float *w, const void *src) { eye_row_to_f32(EYE_F16, src, w, NR); }
static void widen_bf16(float *w, const void *src) { eye_row_to_f32(EYE_BF16, src, w, NR); }

/* ---- packing ---- */

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    float *out = dst;
    for (size_t e = 0; e < k; e++)
        for (size_t i = 0; i < m; i++) *out++ = src[i * src_stride + e];
}

static void pack_lhs_bf16(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    float *out = dst;
    for (size_t e = 0; e < k; e++)
        for (size_t i = 0; i < m; i++) *out++ = eye_bf16_to_f32(eye_f32_to_bf16(src[i * src_stride + e]));
}

/* Bytes, since weights in a file may lie at any address. */
static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst, size_t elem_bytes) {
    uint8_t *out = dst;
    for (size_t e = 0; e < k; e++) {
        for (size_t j = 0; j < NR; j++, out += elem_bytes) {
            if (j < n)
                memcpy(out, (const uint8_t *)src + j * src_stride_bytes + e * elem_bytes, elem_bytes);
            else
                memset(out, 0, elem_bytes);
        }
    }
}

static void pack_rhs_32(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    pack_rhs(n, k, src, src_stride_bytes, dst, 4);
}
static void pack_rhs_16(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    pack_rhs(n, k, src, src_stride_bytes, dst, 2);
}

static void pack_lhs_t(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    float *out = dst;
    for (size_t e = 0; e < k; e++)
        for (size_t i = 0; i < m; i++) *out++ = src[e * src_stride + i];
}
static void pack_lhs_t_bf16(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    float *out = dst;
    for (size_t e = 0; e < k; e++)
        for (size_t i = 0; i < m; i++) *out++ = eye_bf16_to_f32(eye_f32_to_bf16(src[e * src_stride + i]));
}
static void pack_rhs_t_32(size_t n, size_t k, const float *src, size_t src_stride, void *dst) {
    float *out = dst;
    for (size_t e = 0; e < k; e++)
        for (size_t j = 0; j < NR; j++) *out++ = j < n ? src[e * src_stride + j] : 0.0f;
}
static void pack_rhs_t_16(size_t n, size_t k, const float *src, size_t src_stride, void *dst) {
    uint16_t *out = dst;
    for (size_t e = 0; e < k; e++)
        for (size_t j = 0; j < NR; j++) *out++ = j < n ? eye_f32_to_bf16(src[e * src_stride + j]) : 0;
}

/* ---- multiplication ---- */

/* m rows times one panel, of which cols <= NR columns are wanted. */
static void tile(size_t m, size_t cols, size_t k, const float *lhs, const uint8_t *rhs, size_t rhs_step, widen_fn *widen,
                 float *c, size_t c_stride, const float *bias, bool accumulate) {
    float acc[MR][NR] = {{0}}, w[NR];
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < cols; j++) acc[i][j] = accumulate ? c[i * c_stride + j] : bias ? bias[j] : 0.0f;
    for (size_t e = 0; e < k; e++) {
        widen(w, rhs + e * rhs_step);
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < NR; j++) acc[i][j] += lhs[e * m + i] * w[j];
    }
    for (size_t i = 0; i < m; i++) memcpy(c + i * c_stride, acc[i], cols * sizeof **acc);
}

static void run(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                size_t c_stride, const float *bias, bool accumulate, size_t rhs_step, widen_fn *widen) {
    assert(m <= MR);
    for (size_t j = 0; j < n; j += NR)
        tile(m, n - j < NR ? n - j : NR, k, lhs, (const uint8_t *)rhs + j / NR * rhs_panel_stride, rhs_step, widen, c + j,
             c_stride, bias ? bias + j : NULL, accumulate);
}

static void run_f32(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                    size_t c_stride, const float *bias, bool accumulate) {
    run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate, NR * 4, widen_f32);
}
static void run_f16(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                    size_t c_stride, const float *bias, bool accumulate) {
    run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate, NR * 2, widen_f16);
}
static void run_bf16(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                     size_t c_stride, const float *bias, bool accumulate) {
    run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate, NR * 2, widen_bf16);
}

const struct eye_gemm_ukr eye_gemm_f32_f32_f32_ref = {MR, NR, 1, 4, NR * 4, pack_lhs, pack_rhs_32, run_f32,
                                                      pack_lhs_t, pack_rhs_t_32};
const struct eye_gemm_ukr eye_gemm_f32_f32_f16_ref = {MR, NR, 1, 4, NR * 2, pack_lhs, pack_rhs_16, run_f16};
const struct eye_gemm_ukr eye_gemm_f32_f32_bf16_ref = {MR, NR, 1, 4, NR * 2, pack_lhs, pack_rhs_16, run_bf16};
const struct eye_gemm_ukr eye_gemm_f32_bf16_bf16_ref = {MR, NR, 1, 4, NR * 2, pack_lhs_bf16, pack_rhs_16, run_bf16,
                                                        pack_lhs_t_bf16, pack_rhs_t_16};
