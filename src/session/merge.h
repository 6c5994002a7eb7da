/* merge: the rows of a picture to fewer, between projector and decoder, without training and without attention's scores.
 * A row less is a position less to prefill, to keep and to attend to. Knows rows, no model. */
#ifndef EYE_MERGE_H
#define EYE_MERGE_H

#include "base/sys.h"
#include "eyelet/model.h"

/* Rows that n become where at most `most` are wanted: POOL takes the largest square map, so n must be a square; 0 = it is none.
 * n itself where that is few enough. */
int64_t eye_merge_rows(enum eye_image_merge how, int64_t n, int64_t most);

struct eye_merge {
    enum eye_image_merge how;
    size_t n, n_out, width; /* n at most INT32_MAX, n_out as eye_merge_rows says, below n */
};
size_t eye_merge_scratch_bytes(size_t n);
/* rows [n, width] to out [n_out, width], in the order of the map; rows are overwritten. scratch: so many bytes, aligned to 8.
 * pool: NULL = by this thread alone; changes no bit. */
void eye_merge_run(const struct eye_merge *m, struct eye_pool *pool, float *rows, void *scratch, float *out);

#endif
