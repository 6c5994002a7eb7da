/* GGUF q4_K weights for the x86 int8 kernels: one packed layout for all instruction sets. Plain C; static inline only.
 *
 * rhs step, 256 along K, 32 columns:
 *   offset  size  what
 *   0       64    f16 d of each column
 *   64      64    f16 dmin
 *   128     512   [8 groups][32 columns] scale, [32 columns] min, a byte each: unpacking 6 bits would cost more than it saves
 *   640     4096  [8 groups] quants as gemm_block_x86.h has those of q4_0
 * lhs step: [8 groups][m] struct eye_block_row, whose start is minus the sum of the group's activations times d, a
 * float: exact, d being a power of two. */
#ifndef EYE_GEMM_Q4K_X86_H
#define EYE_GEMM_Q4K_X86_H

#include "kernels/q4k.h"
#include "kernels/x86/gemm_block_x86.h"

enum { EYE_Q4K_AT_SCALES = 128, EYE_Q4K_AT_QUANTS = 640, EYE_Q4K_GROUP_QUANTS = 512, EYE_Q4K_STEP = 640 + 4096 };

EYE_INLINE void eye_q4k_pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    uint8_t *out = dst;
    for (size_t e = 0, b = 0; e < k; e += EYE_Q4K_KR, b++, out += EYE_Q4K_STEP) {
        if (n < EYE_BLOCK_NR) memset(out, 0, EYE_Q4K_STEP);
        for (size_t j = 0; j < n; j++) {
            const uint8_t *block = (const uint8_t *)src + j * src_stride_bytes + b * EYE_Q4K_BYTES;
            memcpy(out + 2 * j, block, 2);
            memcpy(out + 64 + 2 * j, block + 2, 2);
            for (size_t g = 0; g < EYE_Q4K_GROUPS; g++) {
                uint8_t quants[16], *scales = out + EYE_Q4K_AT_SCALES + g * 64;
                uint8_t *q = out + EYE_Q4K_AT_QUANTS + g * EYE_Q4K_GROUP_QUANTS + j * 4;
                eye_q4k_scale(block, g, scales + j, scales + 32 + j);
                eye_q4k_quants(block, g, quants);
                for (size_t t = 0; t < 4; t++) memcpy(q + t * 4 * EYE_BLOCK_NR, quants + 4 * t, 4);
            }
        }
    }
}

/* Groups of zeros behind those of k elements, up to the end of the step. */
EYE_INLINE void eye_q4k_pad_lhs(size_t m, size_t k, void *dst) {
    size_t n = (k + 31) / 32, whole = (k + EYE_Q4K_KR - 1) / EYE_Q4K_KR * EYE_Q4K_GROUPS;
    memset((struct eye_block_row *)dst + n * m, 0, (whole - n) * m * sizeof(struct eye_block_row));
}

#endif
