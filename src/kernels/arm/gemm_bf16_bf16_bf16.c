/* GEMM micro-kernel bf16 x bf16, Arm BF16 extension: BFMMLA multiplies 2 rows x 4 k by 4 k x 2 columns. 8 rows x 8 columns.
 *
 * lhs step (4 k): row pairs [2 rows][4 k] bf16, an odd last row alone. rhs step: column pairs [2 columns][4 k] bf16.
 * The instruction sums k in two fixed pairs, rounds to odd and flushes denormals: each output depends on its own row and
 * column only, but its bits differ from the emulation by gemm_float_neon.c (within the bound of checkkern).
 */
#include <assert.h>

#include "kernels/arm/gemm_neon.h"
#include "kernels/rows.h"
#include "tensor/tensor.h"

enum { MR = 8, NR = 8, KR = 4, STEP = NR * KR * 2 };

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    uint16_t *out = dst;
    for (size_t e = 0; e < k; e += KR)
        for (size_t i = 0; i < m; i++)
            for (size_t t = e; t < e + KR; t++) *out++ = t < k ? eye_f32_to_bf16(src[i * src_stride + t]) : 0;
}

static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    uint8_t *out = dst;
    memset(out, 0, (k + KR - 1) / KR * STEP);
    for (size_t e = 0; e < k; e += KR, out += STEP) {
        size_t bytes = (k - e < KR ? k - e : KR) * 2;
        for (size_t j = 0; j < n; j++) memcpy(out + j * KR * 2, (const uint8_t *)src + j * src_stride_bytes + e * 2, bytes);
    }
}

static void pack_lhs_t(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    uint16_t *out = dst;
    for (size_t e = 0; e < k; e += KR)
        for (size_t i = 0; i < m; i++)
            for (size_t t = e; t < e + KR; t++) *out++ = t < k ? eye_f32_to_bf16(src[t * src_stride + i]) : 0;
}

static void pack_rhs_t(size_t n, size_t k, const float *src, size_t src_stride, void *dst) {
    uint16_t *out = dst;
    for (size_t e = 0; e < k; e += KR)
        for (size_t j = 0; j < NR; j++)
            for (size_t t = e; t < e + KR; t++) *out++ = t < k && j < n ? eye_f32_to_bf16(src[t * src_stride + j]) : 0;
}

/* Two rows' 8 columns from and to 2 x 2 blocks. */
EYE_INLINE void split(float32x4_t blocks[4], const float *c, size_t c_stride, const float *bias, bool accumulate, int rows) {
    for (int h = 0; h < 2; h++) {
        float32x4_t top = eye_start4(c + 4 * h, bias ? bias + 4 * h : NULL, accumulate), low = top;
        if (rows == 2) low = eye_start4(c + c_stride + 4 * h, bias ? bias + 4 * h : NULL, accumulate);
        blocks[2 * h] = vcombine_f32(vget_low_f32(top), vget_low_f32(low));
        blocks[2 * h + 1] = vcombine_f32(vget_high_f32(top), vget_high_f32(low));
    }
}
EYE_INLINE void join(const float32x4_t blocks[4], float *c, size_t c_stride, int rows) {
    for (int h = 0; h < 2; h++) {
        float32x4_t a = blocks[2 * h], b = blocks[2 * h + 1];
        vst1q_f32(c + 4 * h, vcombine_f32(vget_low_f32(a), vget_low_f32(b)));
        if (rows == 2) vst1q_f32(c + c_stride + 4 * h, vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
    }
}

/* m (constant) rows times one panel. */
EYE_INLINE void tile(int m, size_t k, const uint8_t *lhs, const uint8_t *rhs, float *c, size_t c_stride,
                     const float *bias, bool accumulate) {
    float32x4_t acc[MR / 2][4];
    const int pairs = (m + 1) / 2;
    EYE_UNROLL
    for (int p = 0; p < pairs; p++)
        split(acc[p], c + 2 * (size_t)p * c_stride, c_stride, bias, accumulate, m - 2 * p < 2 ? 1 : 2);
    for (size_t e = 0; e < k; e += KR, lhs += m * KR * 2, rhs += STEP) {
        bfloat16x8_t w[4];
        EYE_UNROLL
        for (int j = 0; j < 4; j++) w[j] = vreinterpretq_bf16_u8(vld1q_u8(rhs + 16 * j));
        EYE_UNROLL
        for (int p = 0; p < pairs; p++) {
            uint8x16_t a = m - 2 * p < 2 ? vcombine_u8(vld1_u8(lhs + 16 * p), vdup_n_u8(0)) : vld1q_u8(lhs + 16 * p);
            EYE_UNROLL
            for (int j = 0; j < 4; j++) acc[p][j] = vbfmmlaq_f32(acc[p][j], vreinterpretq_bf16_u8(a), w[j]);
        }
    }
    EYE_UNROLL
    for (int p = 0; p < pairs; p++)
        join(acc[p], c + 2 * (size_t)p * c_stride, c_stride, m - 2 * p < 2 ? 1 : 2);
}

static void run(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                size_t c_stride, const float *bias, bool accumulate) {
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
        case 1: tile(1, k, lhs, panel, out, stride, b, accumulate); break;
        case 2: tile(2, k, lhs, panel, out, stride, b, accumulate); break;
        case 3: tile(3, k, lhs, panel, out, stride, b, accumulate); break;
        case 4: tile(4, k, lhs, panel, out, stride, b, accumulate); break;
        case 5: tile(5, k, lhs, panel, out, stride, b, accumulate); break;
        case 6: tile(6, k, lhs, panel, out, stride, b, accumulate); break;
        case 7: tile(7, k, lhs, panel, out, stride, b, accumulate); break;
        case 8: tile(8, k, lhs, panel, out, stride, b, accumulate); break;
        default: break;
        }
        if (n - j < NR) eye_edge_out(&edge, NR, m, n - j, c, c_stride);
    }
}

const struct eye_gemm_ukr eye_gemm_f32_bf16_bf16_bf16 = {MR, NR, KR, KR * 2, STEP, pack_lhs, pack_rhs, run, pack_lhs_t,
                                                        pack_rhs_t};
