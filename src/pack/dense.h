/* pack, inside the room: products and factors of plain f32 matrices, by the engine's own kernels and threads. Row-major. */
#ifndef EYE_PACK_DENSE_H
#define EYE_PACK_DENSE_H

#include "engine/engine.h"

/* c [m, n] += a [m, k] b [n, k]^T; strides in floats. The order of sums does not depend on the number of threads. */
EYE_MUST_CHECK enum eye_status eye_dense_mul_add(const struct eye_engine *e, size_t m, size_t n, size_t k, const float *a,
                                                 size_t a_stride, const float *b, size_t b_stride, float *c, size_t c_stride,
                                                 struct eye_err *err);
/* c [k, k] += x^T y for t rows of x and y [t, k]. */
EYE_MUST_CHECK enum eye_status eye_dense_gram(const struct eye_engine *e, size_t t, size_t k, const float *x, const float *y,
                                              float *c, struct eye_err *err);
/* h [k, k], symmetric, becomes the factors of h = u diag(d) u^T, u upper triangular with ones: u above its diagonal, d [k] on
 * its own; what is below is left over. False: not positive definite in f32, h is spoilt. */
EYE_MUST_CHECK enum eye_status eye_dense_udu(const struct eye_engine *e, size_t k, float *h, float *d, bool *positive,
                                             struct eye_err *err);

#endif
