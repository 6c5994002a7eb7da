/* GEMM tiles with q4_K weights, Arm. Formula: kernels/q4k.h. Included once by each gemm_q8b32_q4k_<isa>.c, which defines
 * before: dot(a_lo, a_hi, w_lo, w_hi), the sums of products of 32 int8 in any four lanes.
 *
 * rhs step, 32 columns: f16 d, f16 dmin of each, [8 groups][32] scale bytes and [32] min bytes, [8 groups][32] quants of 16
 * bytes in q4_0's order. lhs step: [8 groups] of gemm_neon.h's steps. */
#include <assert.h>

#include "kernels/arm/gemm_neon.h"
#include "kernels/q4k.h"
#include "kernels/rows.h"

enum { AT_MIN = 64, AT_SCALES = 128, AT_QUANTS = 640, STEP = 640 + 4096 };

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    size_t n = (k + 31) / 32, whole = (k + EYE_Q4K_KR - 1) / EYE_Q4K_KR * EYE_Q4K_GROUPS;
    eye_pack_q8b32_rows(m, k, src, src_stride, dst);
    memset((uint8_t *)dst + n * m * EYE_Q8_ROW_BYTES, 0, (whole - n) * m * EYE_Q8_ROW_BYTES);
}

static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    uint8_t *out = dst;
    for (size_t e = 0, b = 0; e < k; e += EYE_Q4K_KR, b++, out += STEP) {
        memset(out, 0, STEP);
        for (size_t j = 0; j < n; j++) {
            const uint8_t *block = (const uint8_t *)src + j * src_stride_bytes + b * EYE_Q4K_BYTES;
            memcpy(out + 2 * j, block, 2);
            memcpy(out + AT_MIN + 2 * j, block + 2, 2);
            for (size_t g = 0; g < EYE_Q4K_GROUPS; g++) {
                uint8_t *scales = out + AT_SCALES + 64 * g;
                eye_q4k_scale(block, g, scales + j, scales + 32 + j);
                eye_q4k_quants(block, g, out + AT_QUANTS + 512 * g + 16 * j);
            }
        }
    }
}

EYE_INLINE float32x4_t floats4(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four)))));
}

/* One row of the group: scale, quants and their sum. */
struct row {
    int8x16_t lo, hi;
    float d, sum;
};
EYE_INLINE struct row load_row(const uint8_t *lhs, int m, int i) {
    const int8_t *q = (const int8_t *)lhs + 4 * m + 32 * i;
    struct row r = {.lo = vld1q_s8(q), .hi = vld1q_s8(q + 16)};
    memcpy(&r.d, lhs + 4 * i, sizeof r.d);
    r.sum = (float)vaddlvq_s16(vaddq_s16(vpaddlq_s8(r.lo), vpaddlq_s8(r.hi)));
    return r;
}

/* acc += one group: m rows, nq times 4 columns from column col on, whose quants take q_bytes each. */
EYE_INLINE void add_group(int m, int nq, size_t col, size_t g, const uint8_t *lhs, const uint8_t *rhs, int q_bytes,
                          float32x4_t acc[EYE_Q8_MR][8]) {
    const uint8_t *scales = rhs + AT_SCALES + 64 * g + col;
    const uint8_t *quants = rhs + AT_QUANTS + (size_t)q_bytes * (EYE_Q8_NR * g + col);
    struct row a[EYE_Q8_MR];
    EYE_UNROLL
    for (int i = 0; i < m; i++) a[i] = load_row(lhs, m, i);
    EYE_UNROLL
    for (int j = 0; j < nq; j++) {
        float32x4_t scale = vmulq_f32(eye_scales4(rhs + 2 * (col + 4 * (size_t)j)), floats4(scales + 4 * j));
        float32x4_t min = vmulq_f32(eye_scales4(rhs + AT_MIN + 2 * (col + 4 * (size_t)j)), floats4(scales + 32 + 4 * j));
        int8x16_t w[4][2];
        for (int x = 0; x < 4; x++) {
            uint8x16_t b = vld1q_u8(quants + 16 * (4 * j + x));
            w[x][0] = vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(15)));
            w[x][1] = vreinterpretq_s8_u8(vshrq_n_u8(b, 4));
        }
        EYE_UNROLL
        for (int i = 0; i < m; i++) {
            int32x4_t s01 = vpaddq_s32(dot(a[i].lo, a[i].hi, w[0][0], w[0][1]), dot(a[i].lo, a[i].hi, w[1][0], w[1][1]));
            int32x4_t s23 = vpaddq_s32(dot(a[i].lo, a[i].hi, w[2][0], w[2][1]), dot(a[i].lo, a[i].hi, w[3][0], w[3][1]));
            acc[i][j] = vfmaq_f32(acc[i][j], vcvtq_f32_s32(vpaddq_s32(s01, s23)), vmulq_n_f32(scale, a[i].d));
            acc[i][j] = vfmsq_f32(acc[i][j], vdupq_n_f32(a[i].sum), vmulq_n_f32(min, a[i].d));
        }
    }
}

EYE_INLINE void tile(int m, int nq, size_t col, size_t k, const uint8_t *lhs, const uint8_t *rhs, float *c, size_t c_stride,
                     const float *bias, bool accumulate, int q_bytes) {
    float32x4_t acc[EYE_Q8_MR][8];
    EYE_UNROLL
    for (int i = 0; i < m; i++) {
        EYE_UNROLL
        for (int j = 0; j < nq; j++)
            acc[i][j] = eye_start4(c + (size_t)i * c_stride + 4 * j, bias ? bias + 4 * j : NULL, accumulate);
    }
    for (size_t e = 0; e < k; e += EYE_Q4K_KR, rhs += STEP)
        for (size_t g = 0; g < EYE_Q4K_GROUPS; g++, lhs += m * EYE_Q8_ROW_BYTES) add_group(m, nq, col, g, lhs, rhs, q_bytes, acc);
    EYE_UNROLL
    for (int i = 0; i < m; i++) {
        EYE_UNROLL
        for (int j = 0; j < nq; j++) vst1q_f32(c + (size_t)i * c_stride + 4 * j, acc[i][j]);
    }
}

#include "kernels/arm/gemm_q8b32_run.h"

EYE_Q8_RUN(run_q4k, 16)

#define EYE_Q4K_KERNEL(symbol)                                                                                                \
    const struct eye_gemm_ukr symbol = {EYE_Q8_MR, EYE_Q8_NR, EYE_Q4K_KR, EYE_Q4K_GROUPS * EYE_Q8_ROW_BYTES, STEP, pack_lhs, \
                                        pack_rhs, run_q4k};
