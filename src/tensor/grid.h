/* tensor: the grid of one block: the values that a block of q4_0, q8_0 or q4_K can hold once its scales are chosen.
 *
 * Rounding a weight is two choices: scales (a grid per block), then a level per element. Plain conversion makes both from the
 * block alone; calibrated quantization (pack/rounding.h) chooses scales by what the elements' inputs weigh, and levels by the
 * errors already made. Both end here, so that neither can write a block the format does not have.
 */
#ifndef EYE_TENSOR_GRID_H
#define EYE_TENSOR_GRID_H

#include "tensor/tensor.h"

#define EYE_GRID_GROUP 32u  /* elements that share a scale and a minimum */
#define EYE_GRID_GROUPS 8u  /* in the largest block */

struct eye_grid { /* element e of the block: scale[e / 32] q - min[e / 32], lo <= q <= hi; numbers as the block stores them */
    enum eye_dtype dtype;
    int lo, hi;
    float scale[EYE_GRID_GROUPS], min[EYE_GRID_GROUPS];
    uint16_t d, dmin;                                            /* f16; dmin, and the 6-bit numbers below, of q4_K only */
    uint8_t scale_bits[EYE_GRID_GROUPS], min_bits[EYE_GRID_GROUPS];
};

/* Is t one of the three? */
bool eye_grid_has(enum eye_dtype t);
/* Scales for one whole block x. weight: of each element's squared error, NULL = all alike, never negative. What is not finite
 * counts as zero. */
void eye_grid_fit(struct eye_grid *g, enum eye_dtype t, const float *x, const float *weight);
/* The same with the scales of plain conversion: ggml's rule for q8_0 and q4_0; for q4_K eye_grid_fit's own. */
void eye_grid_plain(struct eye_grid *g, enum eye_dtype t, const float *x);
/* Other scale for a block of one group: the nearest f16. q8_0 and q4_0. */
void eye_grid_set_scale(struct eye_grid *g, float scale);
/* Nearest level. Any x, NaN too. */
int eye_grid_level(const struct eye_grid *g, size_t e, float x);
static inline float eye_grid_value(const struct eye_grid *g, size_t e, int level) {
    size_t i = e / EYE_GRID_GROUP;
    return g->scale[i] * (float)level - g->min[i];
}
/* sum of weight (x - nearest)^2 over the block. */
double eye_grid_error(const struct eye_grid *g, const float *x, const float *weight);
/* The block's bytes. */
void eye_grid_store(const struct eye_grid *g, const int8_t *level, void *block);

#endif
