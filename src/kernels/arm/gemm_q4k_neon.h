/* GEMM tiles with q4_K weights, Arm: 8 rows x 4 columns. Formula: kernels/q4k.h. Included once by each
 * gemm_q8b32_q4k_<isa>.c, which defines before:
 *   struct weights                            a group's quants of 4 columns, in registers
 *   put(quants, col, block)                   16 bytes of a column, in q4_0's order, to where quants of 4 columns lie: 64 bytes
 *   load(quants)                              struct weights of 4 columns
 *   sums(w, row)                              products of 32 int8 with 4 columns, as floats
 *
 * rhs step, 32 columns: f16 d, f16 dmin of each, [8 groups][32] scale bytes and [32] min bytes, [8 groups] quants. lhs step:
 * [8 groups] of gemm_neon.h's steps, with sums. */
#include <assert.h>

#include "kernels/arm/gemm_neon.h"
#include "kernels/q4k.h"
#include "kernels/rows.h"

enum { ROW_BYTES = 40, AT_MIN = 64, AT_SCALES = 128, AT_QUANTS = 640, STEP = 640 + 4096 };

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    size_t n = (k + 31) / 32, whole = (k + EYE_Q4K_KR - 1) / EYE_Q4K_KR * EYE_Q4K_GROUPS;
    eye_pack_q8b32_rows(m, k, src, src_stride, dst, true);
    memset((uint8_t *)dst + n * m * ROW_BYTES, 0, (whole - n) * m * ROW_BYTES);
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
                uint8_t quants[16];
                eye_q4k_quants(block, g, quants);
                put(out + AT_QUANTS + 512 * g + j / 4 * 64, j % 4, quants);
            }
        }
    }
}

EYE_INLINE float32x4_t floats4(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four)))));
}

/* acc += one group: m rows, nq times 4 columns from column col on. head: the first row's scale, row: its quants. */
EYE_INLINE void add_group(int m, int nq, size_t rows, size_t col, size_t g, const uint8_t *head, const uint8_t *row,
                          const uint8_t *rhs, float32x4_t acc[EYE_Q8_MR][8]) {
    const uint8_t *scales = rhs + AT_SCALES + 64 * g + col;
    const uint8_t *quants = rhs + AT_QUANTS + 16 * (EYE_Q8_NR * g + col);
    EYE_UNROLL
    for (int j = 0; j < nq; j++) {
        float32x4_t scale = vmulq_f32(eye_scales4(rhs + 2 * (col + 4 * (size_t)j)), floats4(scales + 4 * j));
        float32x4_t min = vmulq_f32(eye_scales4(rhs + AT_MIN + 2 * (col + 4 * (size_t)j)), floats4(scales + 32 + 4 * j));
        const struct weights w = load(quants + 64 * j);
        EYE_UNROLL
        for (int i = 0; i < m; i++) {
            float da, sum;
            memcpy(&da, head + 4 * i, sizeof da);
            memcpy(&sum, head + 4 * rows + 4 * i, sizeof sum);
            acc[i][j] = vfmaq_f32(acc[i][j], sums(&w, (const int8_t *)row + 32 * i), vmulq_n_f32(scale, da));
            acc[i][j] = vfmsq_n_f32(acc[i][j], vmulq_n_f32(min, da), sum);
        }
    }
}

/* m, nq: constant. See gemm_q8b32_run.h. */
EYE_INLINE void tile(int m, int nq, size_t first, size_t rows, size_t col, size_t k, const uint8_t *lhs, const uint8_t *rhs,
                     float *c, size_t c_stride, const float *bias, bool accumulate, int q_bytes) {
    const uint8_t *head = lhs + 4 * first, *row = lhs + 8 * rows + 32 * first;
    float32x4_t acc[EYE_Q8_MR][8];
    eye_start_tile(m, nq, acc, c, c_stride, bias, accumulate);
    (void)q_bytes;
    for (size_t e = 0; e < k; e += EYE_Q4K_KR, rhs += STEP)
        for (size_t g = 0; g < EYE_Q4K_GROUPS; g++, head += rows * ROW_BYTES, row += rows * ROW_BYTES)
            add_group(m, nq, rows, col, g, head, row, rhs, acc);
    eye_end_tile(m, nq, acc, c, c_stride);
}

#include "kernels/arm/gemm_q8b32_run.h"

EYE_Q8_RUN(run_q4k, 16)

#define EYE_Q4K_KERNEL(symbol)                                                                                                \
    const struct eye_gemm_ukr symbol = {EYE_Q8_MR, EYE_Q8_NR, EYE_Q4K_KR, EYE_Q4K_GROUPS * ROW_BYTES, STEP, pack_lhs, \
                                        pack_rhs, run_q4k};
