/* q4_K weights in kernels: 256 elements along K are one step, 8 groups of 32 with a 6-bit scale and a 6-bit minimum each: w = d
 * scale q - dmin min. Layout of the file's block: tensor/ggml_blocks.h.
 *
 * An output is bias (or c), then per group, in order: += isum (d_a (d scale)), then -= asum (d_a (dmin min)), with isum the
 * exact sum of products and asum the exact sum of the group's activations. d scale and dmin min are exact in f32: 11 + 6 bits.
 * */
#ifndef EYE_KERNEL_Q4K_H
#define EYE_KERNEL_Q4K_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { EYE_Q4K_KR = 256, EYE_Q4K_GROUPS = 8, EYE_Q4K_BYTES = 144, EYE_Q4K_SCALES = 4, EYE_Q4K_QUANTS = 16 };

/* The 6-bit numbers of group g. block: as in the file. */
static inline void eye_q4k_scale(const uint8_t *block, size_t g, uint8_t *scale, uint8_t *min) {
    const uint8_t *s = block + EYE_Q4K_SCALES;
    *scale = g < 4 ? s[g] & 63 : (uint8_t)((s[g + 4] & 15) | s[g - 4] >> 6 << 4);
    *min = g < 4 ? s[g + 4] & 63 : (uint8_t)(s[g + 4] >> 4 | s[g] >> 6 << 4);
}

/* The quants of group g in q4_0's order: byte j has element j (low nibble) and j + 16 (high). */
static inline void eye_q4k_quants(const uint8_t *block, size_t g, uint8_t out[16]) {
    const uint8_t *q = block + EYE_Q4K_QUANTS + g / 2 * 32;
    unsigned shift = g % 2 * 4;
    for (size_t j = 0; j < 16; j++) out[j] = (uint8_t)((q[j] >> shift & 15) | (q[j + 16] >> shift & 15) << 4);
}

#endif
