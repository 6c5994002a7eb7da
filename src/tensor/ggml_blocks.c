/* tensor: readers of the block formats in ggml_blocks.h. Plain C, element by element: weights are read once, at load. */
#include "tensor/ggml_blocks.h"

#define BLOCK 32

/* 4 bits of element j of a block of 32. */
static inline int nibble(const uint8_t *q, size_t j) { return j < BLOCK / 2 ? q[j] & 15 : q[j - BLOCK / 2] >> 4; }
static inline int bit5(const uint8_t *high, size_t j) { return (high[j / 8] >> j % 8 & 1) << 4; }

static float q4_1_at(const struct eye_block_q4_1 *b, size_t j) {
    return eye_f16_to_f32(b->d) * (float)nibble(b->q, j) + eye_f16_to_f32(b->m);
}

static float q5_0_at(const struct eye_block_q5_0 *b, size_t j) {
    return eye_f16_to_f32(b->d) * (float)((nibble(b->q, j) | bit5(b->high, j)) - 16);
}

static float q5_1_at(const struct eye_block_q5_1 *b, size_t j) {
    return eye_f16_to_f32(b->d) * (float)(nibble(b->q, j) | bit5(b->high, j)) + eye_f16_to_f32(b->m);
}

/* ---- 256 elements: scales first, then the group ---- */

static void scale_and_min(const uint8_t *s, size_t g, int *scale, int *min) {
    if (g < 4) {
        *scale = s[g] & 63;
        *min = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
        *min = s[g + 4] >> 4 | s[g] >> 6 << 4;
    }
}

static float k_value(uint16_t d, uint16_t dmin, const uint8_t *scales, size_t group, int q) {
    int scale, min;
    scale_and_min(scales, group, &scale, &min);
    return eye_f16_to_f32(d) * (float)scale * (float)q - eye_f16_to_f32(dmin) * (float)min;
}

static inline int k_nibble(const uint8_t *q, size_t e) {
    int byte = q[e / 64 * 32 + e % 32];
    return e % 64 < 32 ? byte & 15 : byte >> 4;
}

static float q4_k_at(const struct eye_block_q4_k *b, size_t e) {
    return k_value(b->d, b->dmin, b->scales, e / 32, k_nibble(b->q, e));
}

static float q5_k_at(const struct eye_block_q5_k *b, size_t e) {
    int high = b->high[e % 32] >> e / 32 & 1;
    return k_value(b->d, b->dmin, b->scales, e / 32, k_nibble(b->q, e) | high << 4);
}

static float q6_k_at(const struct eye_block_q6_k *b, size_t e) {
    size_t half = e / 128, in_half = e % 128;
    int low = b->low[64 * half + in_half % 64], high = b->high[32 * half + in_half % 32] >> 2 * (in_half / 32) & 3;
    int q = (in_half < 64 ? low & 15 : low >> 4) | high << 4;
    return eye_f16_to_f32(b->d) * (float)b->scale[e / 16] * (float)(q - 32);
}

/* ---- */

#define EACH(type, block, at)                                                                                    \
    do {                                                                                                         \
        const struct type *b = src;                                                                              \
        for (size_t i = 0; i < n; i++) dst[i] = at(&b[i / (block)], i % (block));                                \
    } while (0)

void eye_ggml_row_to_f32(enum eye_dtype t, const void *src, float *dst, size_t n) {
    switch (t) {
    case EYE_Q4_1: EACH(eye_block_q4_1, BLOCK, q4_1_at); return;
    case EYE_Q5_0: EACH(eye_block_q5_0, BLOCK, q5_0_at); return;
    case EYE_Q5_1: EACH(eye_block_q5_1, BLOCK, q5_1_at); return;
    case EYE_Q4_K: EACH(eye_block_q4_k, EYE_SUPER_BLOCK, q4_k_at); return;
    case EYE_Q5_K: EACH(eye_block_q5_k, EYE_SUPER_BLOCK, q5_k_at); return;
    case EYE_Q6_K: EACH(eye_block_q6_k, EYE_SUPER_BLOCK, q6_k_at); return;
    default: assert(!"one of the formats above");
    }
}
