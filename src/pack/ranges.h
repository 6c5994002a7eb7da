/* pack, inside the room: what a value was seen to be, and the range int8 gives it. */
#ifndef EYE_PACK_RANGES_H
#define EYE_PACK_RANGES_H

#include "eyelet/convert.h"
#include "graph/graph.h"

#define EYE_SEEN_BINS 4096

struct eye_seen { /* zeroed = nothing yet */
    float min, max;
    double limit;               /* the bins lie over -limit … limit; doubled when something larger comes */
    uint64_t n;                 /* numbers */
    uint64_t bin[EYE_SEEN_BINS];
    int64_t n_channels;
    uint64_t n_rows;
    float *channel_max;         /* [n_channels] largest magnitude */
    double *channel_sum;        /* [n_channels] */
    float *gram;                /* [n_channels, n_channels] sum of x x^T, the owner's to count; or NULL */
};
/* rows of n_channels; the arrays are the caller's. Numbers that are not finite are left out. */
void eye_seen_add(struct eye_seen *s, const float *x, size_t n);
/* Never scale 0; zero is a number of the range, so that padding and ReLU lose nothing. */
struct eye_quant eye_seen_range(const struct eye_seen *s, enum eye_range_method method);
/* 16 bits for what linears of rows of k multiply, with room for more than was seen: four times as much, less where long rows
 * leave few bits. scale 0: there are none, or nothing was seen. */
struct eye_quant eye_seen_wide_range(const struct eye_seen *s, int64_t k);

#endif
