/* GEMM micro-kernel with GGUF q4_K weights, plain C. Formula: q4k.h.
 *
 *   lhs step: [8 groups][m] struct row_group
 *   rhs step: [32 columns] the blocks of the file as they are
 */
#include <assert.h>

#include "kernels/q4k.h"
#include "kernels/q8b32.h"
#include "kernels/rows.h"
#include "tensor/tensor.h"

enum { MR = 4, NR = 32, GROUP = 32 };

struct row_group {
    float d;
    int8_t q[GROUP];
};

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    struct row_group *out = dst;
    for (size_t e = 0; e < EYE_ALIGN_UP(k, EYE_Q4K_KR); e += GROUP)
        for (size_t i = 0; i < m; i++, out++)
            out->d = eye_q8b32_quant(out->q, src + i * src_stride + EYE_MIN(e, k), k - EYE_MIN(e, k));
}

static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    uint8_t *out = dst;
    for (size_t b = 0; b < (k + EYE_Q4K_KR - 1) / EYE_Q4K_KR; b++, out += NR * EYE_Q4K_BYTES) {
        memset(out, 0, NR * EYE_Q4K_BYTES);
        for (size_t j = 0; j < n; j++)
            memcpy(out + j * EYE_Q4K_BYTES, (const uint8_t *)src + j * src_stride_bytes + b * EYE_Q4K_BYTES, EYE_Q4K_BYTES);
    }
}

static float add_group(float acc, const struct row_group *a, const uint8_t *block, size_t g) {
    uint16_t d, dmin;
    uint8_t scale, min, q[16];
    int isum = 0, asum = 0;
    memcpy(&d, block, sizeof d);
    memcpy(&dmin, block + 2, sizeof dmin);
    eye_q4k_scale(block, g, &scale, &min);
    eye_q4k_quants(block, g, q);
    for (size_t i = 0; i < GROUP; i++) {
        isum += a->q[i] * (i < 16 ? q[i] & 15 : q[i - 16] >> 4);
        asum += a->q[i];
    }
    acc += (float)isum * (a->d * (eye_f16_to_f32(d) * (float)scale));
    return acc - (float)asum * (a->d * (eye_f16_to_f32(dmin) * (float)min));
}

static void run(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                size_t c_stride, const float *bias, bool accumulate) {
    assert(m <= MR);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            const struct row_group *a = (const struct row_group *)lhs + i;
            const uint8_t *block = (const uint8_t *)rhs + j / NR * rhs_panel_stride + j % NR * EYE_Q4K_BYTES;
            float *out = &c[i * c_stride + j], acc = accumulate ? *out : bias ? bias[j] : 0.0f;
            for (size_t e = 0; e < k; e += EYE_Q4K_KR, block += NR * EYE_Q4K_BYTES)
                for (size_t g = 0; g < EYE_Q4K_GROUPS; g++, a += m) acc = add_group(acc, a, block, g);
            *out = acc;
        }
    }
}

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q4k_ref = {
    MR, NR, EYE_Q4K_KR, EYE_Q4K_GROUPS * sizeof(struct row_group), NR * EYE_Q4K_BYTES, pack_lhs, pack_rhs, run};
