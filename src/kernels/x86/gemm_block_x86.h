/* GGUF block weights for the x86 int8 kernels: one packed layout and one activation format for all instruction sets, so that a
 * packed matrix can be shared. Plain C; static inline only.
 *
 * A step is one block of 32 along K. rhs step, 32 columns:
 *   offset  size  what
 *   0       64    f16 scale of each column (f16 keeps 18 bytes per 32 4-bit weights: decoding is bound by bytes)
 *   64      1024  q8: [8 groups g][32 columns][4 k]: byte = quant + 128, k = 4 g + 0..3
 *   64      512   q4: [4 groups g][32 columns][4 k]: low nibble k = 4 g + 0..3, high nibble k + 16; a GGUF block's bytes in
 *                 its own order, four at a time
 * Lines are read in the order of their addresses: with the halves of the columns apart, the hardware prefetcher lost the
 * stream and q8 decoding fell from 28 to 12 GB/s.
 * Weights are unsigned for vpdpbusd, whose other operand, four activations, is signed and broadcast. Their offset (128 or 8)
 * is taken back by starting each integer sum at -offset * (sum of the block's activations), which a row carries along. */
#ifndef EYE_GEMM_BLOCK_X86_H
#define EYE_GEMM_BLOCK_X86_H

#include <stdint.h>
#include <string.h>

#include "kernels/inline.h"

enum { EYE_BLOCK_NR = 32, EYE_BLOCK_KR = 32, EYE_BLOCK_D_BYTES = 64 };

struct eye_block_row { /* lhs: one row of one step */
    int8_t q[32];
    float d;       /* scale; AVX-512: its exponent, -infinity for 0 */
    int32_t start; /* -offset * sum of q */
};

/* q_bytes 32 (q8_0: xor turns int8 into quant + 128) or 16 (q4_0: offset 8 already). */
EYE_INLINE void eye_block_pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst,
                                   const size_t q_bytes) {
    const uint32_t flip = q_bytes == 32 ? 0x80808080u : 0;
    const size_t step = EYE_BLOCK_D_BYTES + EYE_BLOCK_NR * q_bytes;
    uint8_t *out = dst;
    for (size_t e = 0, b = 0; e < k; e += EYE_BLOCK_KR, b++, out += step) {
        if (n < EYE_BLOCK_NR) memset(out, 0, step); /* scale 0: the quants do not matter */
        for (size_t j = 0; j < n; j++) {
            const uint8_t *block = (const uint8_t *)src + j * src_stride_bytes + b * (2 + q_bytes);
            uint8_t *q = out + EYE_BLOCK_D_BYTES + j * 4;
            memcpy(out + j * 2, block, 2);
            for (size_t g = 0; g < q_bytes / 4; g++) {
                uint32_t four;
                memcpy(&four, block + 2 + 4 * g, 4);
                four ^= flip;
                memcpy(q + g * 4 * EYE_BLOCK_NR, &four, 4);
            }
        }
    }
}

#endif
