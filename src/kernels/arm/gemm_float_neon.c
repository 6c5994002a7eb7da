/* GEMM micro-kernels with float weights, NEON: f32, f16 and bf16 weights widened to f32, and bf16 x bf16 emulated by rounding
 * the activations while packing. 6 rows x 16 columns, one fused multiply-add per product in order of k.
 *
 * A step is 64 bytes of weights: f32 one k x 16 columns, 16-bit types two k x 16 columns (an odd last k is padded with
 * zeros). lhs step: [1 or 2 k][m] f32.
 */
#include <assert.h>

#include "kernels/arm/gemm_neon.h"
#include "kernels/rows.h"
#include "tensor/tensor.h"

enum { MR = 6, NR = 16, STEP = 64 };
enum weight { W_F32, W_F16, W_BF16 };

EYE_INLINE int kr_of(enum weight w) { return w == W_F32 ? 1 : 2; }

/* ---- packing ---- */

static void pack_lhs_1(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    float *out = dst;
    for (size_t e = 0; e < k; e++)
        for (size_t i = 0; i < m; i++) *out++ = src[i * src_stride + e];
}

static void pack_lhs_2(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    pack_lhs_1(m, k, src, src_stride, dst);
    if (k % 2) memset((float *)dst + k * m, 0, m * sizeof(float));
}

/* A step is one k of all rows: from [k][m] packing is copying. */
static void pack_lhs_t_1(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    for (size_t e = 0; e < k; e++) memcpy((float *)dst + e * m, src + e * src_stride, m * sizeof *src);
}

static void pack_lhs_t_bf16(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    float *out = dst;
    pack_lhs_t_1(m, k, src, src_stride, dst);
    for (size_t i = 0; i < k * m; i++) out[i] = eye_bf16_to_f32(eye_f32_to_bf16(out[i]));
    if (k % 2) memset(out + k * m, 0, m * sizeof *out);
}

static void pack_lhs_bf16(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    float *out = dst;
    pack_lhs_2(m, k, src, src_stride, dst);
    for (size_t i = 0; i < k * m; i++) out[i] = eye_bf16_to_f32(eye_f32_to_bf16(out[i]));
}

/* Bytes, since weights in a file may lie at any address. */
EYE_INLINE void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst, size_t elem_bytes) {
    size_t kr = STEP / (NR * elem_bytes);
    memset(dst, 0, (k + kr - 1) / kr * STEP);
    for (size_t j = 0; j < n; j++) {
        const uint8_t *row = (const uint8_t *)src + j * src_stride_bytes;
        for (size_t e = 0; e < k; e++)
            memcpy((uint8_t *)dst + (e * NR + j) * elem_bytes, row + e * elem_bytes, elem_bytes);
    }
}
static void pack_rhs_32(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    pack_rhs(n, k, src, src_stride_bytes, dst, 4);
}
static void pack_rhs_16(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    pack_rhs(n, k, src, src_stride_bytes, dst, 2);
}

static void pack_rhs_t_32(size_t n, size_t k, const float *src, size_t src_stride, void *dst) {
    float *out = dst;
    for (size_t e = 0; e < k; e++, out += NR) {
        memset(out, 0, NR * sizeof *out);
        memcpy(out, src + e * src_stride, n * sizeof *out);
    }
}
static void pack_rhs_t_16(size_t n, size_t k, const float *src, size_t src_stride, void *dst) {
    uint16_t *out = dst;
    memset(out, 0, (k + 1) / 2 * STEP);
    for (size_t e = 0; e < k; e++, out += NR)
        for (size_t j = 0; j < n; j++) out[j] = eye_f32_to_bf16(src[e * src_stride + j]);
}

/* ---- multiplication ---- */

/* 4 columns of one k, from byte p on. */
EYE_INLINE float32x4_t widen(const uint8_t *p, enum weight w) {
    if (w == W_F32) return vreinterpretq_f32_u8(vld1q_u8(p));
    if (w == W_F16) return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

/* m (constant) rows times one panel. */
EYE_INLINE void tile(int m, size_t k, const float *lhs, const uint8_t *rhs, float *c, size_t c_stride,
                     const float *bias, bool accumulate, enum weight weight) {
    const size_t n_k = (k + (size_t)kr_of(weight) - 1) / (size_t)kr_of(weight) * (size_t)kr_of(weight);
    const size_t k_bytes = STEP / (size_t)kr_of(weight);
    float32x4_t acc[MR][4];
    EYE_UNROLL
    for (int i = 0; i < m; i++) {
        EYE_UNROLL
        for (int j = 0; j < 4; j++)
            acc[i][j] = eye_start4(c + (size_t)i * c_stride + 4 * j, bias ? bias + 4 * j : NULL, accumulate);
    }
    for (size_t e = 0; e < n_k; e++, lhs += m, rhs += k_bytes) {
        float32x4_t w[4];
        EYE_UNROLL
        for (int j = 0; j < 4; j++) w[j] = widen(rhs + k_bytes / 4 * (size_t)j, weight);
        EYE_UNROLL
        for (int i = 0; i < m; i++) {
            EYE_UNROLL
            for (int j = 0; j < 4; j++) acc[i][j] = vfmaq_n_f32(acc[i][j], w[j], lhs[i]);
        }
    }
    EYE_UNROLL
    for (int i = 0; i < m; i++) {
        EYE_UNROLL
        for (int j = 0; j < 4; j++) vst1q_f32(c + (size_t)i * c_stride + 4 * j, acc[i][j]);
    }
}

EYE_INLINE void run(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                    size_t c_stride, const float *bias, bool accumulate, enum weight weight) {
    assert(m <= MR);
    for (size_t j = 0; j < n; j += NR, c += NR) {
        const uint8_t *panel = (const uint8_t *)rhs + j / NR * rhs_panel_stride;
        const float *b = bias ? bias + j : NULL;
        float *out = c;
        size_t stride = c_stride;
        struct eye_edge edge;
        if (n - j < NR) {
            eye_edge_in(&edge, NR, m, n - j, c, c_stride, b);
            out = edge.c, stride = NR, b = edge.bias;
        }
        switch (m) {
        case 1: tile(1, k, lhs, panel, out, stride, b, accumulate, weight); break;
        case 2: tile(2, k, lhs, panel, out, stride, b, accumulate, weight); break;
        case 3: tile(3, k, lhs, panel, out, stride, b, accumulate, weight); break;
        case 4: tile(4, k, lhs, panel, out, stride, b, accumulate, weight); break;
        case 5: tile(5, k, lhs, panel, out, stride, b, accumulate, weight); break;
        case 6: tile(6, k, lhs, panel, out, stride, b, accumulate, weight); break;
        default: break;
        }
        if (n - j < NR) eye_edge_out(&edge, NR, m, n - j, c, c_stride);
    }
}

static void run_f32(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                    size_t c_stride, const float *bias, bool accumulate) {
    run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate, W_F32);
}
static void run_f16(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                    size_t c_stride, const float *bias, bool accumulate) {
    run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate, W_F16);
}
static void run_bf16(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                     size_t c_stride, const float *bias, bool accumulate) {
    run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate, W_BF16);
}

const struct eye_gemm_ukr eye_gemm_f32_f32_f32_neon = {MR, NR, 1, 4, STEP, pack_lhs_1, pack_rhs_32, run_f32,
                                                       pack_lhs_t_1, pack_rhs_t_32};
const struct eye_gemm_ukr eye_gemm_f32_f32_f16_neon = {MR, NR, 2, 8, STEP, pack_lhs_2, pack_rhs_16, run_f16};
const struct eye_gemm_ukr eye_gemm_f32_f32_bf16_neon = {MR, NR, 2, 8, STEP, pack_lhs_2, pack_rhs_16, run_bf16};
const struct eye_gemm_ukr eye_gemm_f32_bf16_bf16_neon = {MR, NR, 2, 8, STEP, pack_lhs_bf16, pack_rhs_16, run_bf16,
                                                         pack_lhs_t_bf16, pack_rhs_t_16};
