/* GEMM micro-kernels with GGUF q8_0 and q4_0 weights, plain C. Activations become int8 on the fly, one scale per row and
 * block of 32; each output is bias (or c), then += isum * (d_a * d_w) in order of the blocks, isum the exact integer sum.
 *
 * A step is one block of 32 along K.
 *   lhs step: [m] struct row_block
 *   rhs step: [32 columns] f16 scale, then [32 columns] the quants of a GGUF block as they are (q8_0: 32 bytes, q4_0: 16)
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/q8b32.h"
#include "kernels/rows.h"
#include "tensor/tensor.h"

enum { MR = 4, NR = 32, KR = 32, D_BYTES = NR * 2 };

struct row_block {
    float d;
    int8_t q[KR];
};

typedef int isum_fn(const int8_t *a, const uint8_t *w); /* one block */

static int isum_q8(const int8_t *a, const uint8_t *w) {
    int sum = 0;
    for (size_t i = 0; i < KR; i++) sum += a[i] * (int8_t)w[i];
    return sum;
}

static int isum_q4(const int8_t *a, const uint8_t *w) {
    int sum = 0;
    for (size_t i = 0; i < KR / 2; i++) sum += a[i] * ((w[i] & 15) - 8) + a[i + KR / 2] * ((w[i] >> 4) - 8);
    return sum;
}

/* ---- packing ---- */

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    struct row_block *out = dst;
    for (size_t e = 0; e < k; e += KR)
        for (size_t i = 0; i < m; i++, out++) out->d = eye_q8b32_quant(out->q, src + i * src_stride + e, k - e);
}

static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, uint8_t *out, size_t q_bytes) {
    memset(out, 0, (k + KR - 1) / KR * (D_BYTES + NR * q_bytes));
    for (size_t b = 0; b < (k + KR - 1) / KR; b++, out += D_BYTES + NR * q_bytes) {
        for (size_t j = 0; j < n; j++) {
            const uint8_t *block = (const uint8_t *)src + j * src_stride_bytes + b * (2 + q_bytes);
            memcpy(out + j * 2, block, 2);
            memcpy(out + D_BYTES + j * q_bytes, block + 2, q_bytes);
        }
    }
}

static void pack_rhs_q8(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    pack_rhs(n, k, src, src_stride_bytes, dst, 32);
}
static void pack_rhs_q4(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    pack_rhs(n, k, src, src_stride_bytes, dst, 16);
}

/* ---- multiplication ---- */

static float dot(size_t m, size_t j, size_t n_blocks, const struct row_block *lhs, const uint8_t *rhs, size_t q_bytes,
                 isum_fn *isum, float acc) {
    for (size_t b = 0; b < n_blocks; b++, lhs += m, rhs += D_BYTES + NR * q_bytes) {
        uint16_t d_w;
        memcpy(&d_w, rhs + j * 2, sizeof d_w);
        acc += (float)isum(lhs->q, rhs + D_BYTES + j * q_bytes) * (lhs->d * eye_f16_to_f32(d_w));
    }
    return acc;
}

static void run(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                size_t c_stride, const float *bias, bool accumulate, size_t q_bytes, isum_fn *isum) {
    assert(m <= MR);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            float *out = &c[i * c_stride + j], start = accumulate ? *out : bias ? bias[j] : 0.0f;
            *out = dot(m, j % NR, (k + KR - 1) / KR, (const struct row_block *)lhs + i,
                       (const uint8_t *)rhs + j / NR * rhs_panel_stride, q_bytes, isum, start);
        }
    }
}

static void run_q8(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                   size_t c_stride, const float *bias, bool accumulate) {
    run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate, 32, isum_q8);
}
static void run_q4(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                   size_t c_stride, const float *bias, bool accumulate) {
    run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate, 16, isum_q4);
}

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q8b32_ref = {
    MR, NR, KR, sizeof(struct row_block), D_BYTES + NR * 32, pack_lhs, pack_rhs_q8, run_q8};
const struct eye_gemm_ukr eye_gemm_f32_q8b32_q4b32_ref = {
    MR, NR, KR, sizeof(struct row_block), D_BYTES + NR * 16, pack_lhs, pack_rhs_q4, run_q4};
