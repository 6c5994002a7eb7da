/* pack, inside the room: rounding matrices to a block format so that their products change least for the inputs they really
 * get.
 *
 * What is made small is sum over rows of (w - v) H (w - v)^T with H = sum of x x^T over the calibration inputs: the squared
 * error of y = W x. Steps, each within the block format as it is:
 *   1. scales per block by weighted search (tensor/grid.h), each input weighing what the ones before it leave of it (D below);
 *   2. levels in order of the columns, each making up for the errors of those before it: GPTQ (arXiv 2210.17323), written as
 *      LDLQ (arXiv 2307.13304): H = U D U^T, target of column k = w_k + sum over i < k of (w_i - v_i) U_ik;
 *   3. scales and levels again, one at a time, each to where the sum is least while the others stay: it only ever falls;
 *   4. rows that plain rounding serves better after all take that.
 * Where H is known on its diagonal alone (rows too long for the square matrix) only the weighted search is left.
 */
#ifndef EYE_PACK_ROUNDING_H
#define EYE_PACK_ROUNDING_H

#include "engine/engine.h"
#include "tensor/grid.h"

struct eye_moments { /* of the inputs of some linears */
    size_t k, n;     /* columns; rows seen */
    float *h;        /* [k, k] sum of x x^T, or NULL */
    float *diag;     /* [k] sum of x^2 */
};

struct eye_round_cost { /* sums of squares: they add up over matrices and rows */
    double err, all;                   /* (w - v)^2, w^2 */
    double weighted_err, weighted_all; /* (w - v) H (w - v)^T, w H w^T */
};

struct eye_rounder { /* for all matrices that read the same inputs */
    const struct eye_engine *e;
    const struct eye_moments *m; /* borrowed */
    float *u, *d;                /* H with `damp` added to its diagonal = u diag(d) u^T; NULL: diagonal only */
    float damp;
};
/* damp: 1 % of the mean of H's diagonal and up to 10 % more (few rows), more if H is not positive definite with that. */
EYE_MUST_CHECK enum eye_status eye_rounder_init(struct eye_rounder *r, const struct eye_engine *e, const struct eye_moments *m,
                                                struct eye_err *err);
void eye_rounder_clear(struct eye_rounder *r);
/* w [n, k] f32 to rows of t (q8_0, q4_0, q4_K, whose block divides k) in out. cost is added to. Uses the engine's threads; the
 * result does not depend on their number. */
EYE_MUST_CHECK enum eye_status eye_rounder_run(const struct eye_rounder *r, enum eye_dtype t, size_t n, const float *w,
                                               void *out, struct eye_round_cost *cost, struct eye_err *err);
/* The same, rounded plainly (eye_row_from_f32). */
EYE_MUST_CHECK enum eye_status eye_rounder_plain(const struct eye_rounder *r, enum eye_dtype t, size_t n, const float *w,
                                                 void *out, struct eye_round_cost *cost, struct eye_err *err);

#endif
