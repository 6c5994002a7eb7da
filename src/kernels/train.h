/* kernels, training: gradients of norms and softmax, the pieces losses are made of, dropout, steps of optimisers. Rows in
 * train.def; part of kernels.h. Sums of a row run in float lanes by position, then over the lanes in one order: they depend on
 * the row alone. */
#ifndef EYE_KERNELS_TRAIN_H
#define EYE_KERNELS_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One row of n >= 1, xhat = (x - mean) / sqrt(var + eps), rms: x / sqrt(mean(x^2) + eps).
 * dx: with e = d w: (e - mean(e) - xhat mean(e xhat)) / sqrt(var + eps), rms without mean(e). dx may be d.
 * dw: dw[i] += d[i] xhat[i]. */
typedef void eye_norm_dx_fn(float *dx, const float *d, const float *x, const float *w, size_t n, float eps);
typedef void eye_norm_dw_fn(float *dw, const float *d, const float *x, size_t n, float eps);
/* dx = scale y (d - sum(d y)); dx may be d or y. */
typedef void eye_softmax_grad_fn(float *dx, const float *d, const float *y, size_t n, float scale);
/* log(sum(exp(by x))) of one row of n >= 1; by > 0. */
typedef double eye_lse_fn(const float *x, size_t n, float by);
/* dst = by_a a + by_b b + plus; b NULL = 0; dst may be a or b. */
typedef void eye_affine_fn(float *dst, const float *a, float by_a, const float *b, float by_b, float plus, size_t n);
/* A sum over n: of a b (dot), (a - b)^2 (distance), a (sum; b is not read). Float lanes within 1024 elements, double beyond. */
typedef double eye_reduce_fn(const float *a, const float *b, size_t n);

struct eye_dropout_args { /* element i of the whole tensor is kept when hash(i) >= threshold: graph/dropout.h */
    uint32_t key[2], threshold;
    float scale; /* of what is kept */
};
/* y[i] = x[i] scale or 0; x begins at element `first` of the whole; y may be x. */
typedef void eye_dropout_fn(float *y, const float *x, size_t n, uint32_t first, const struct eye_dropout_args *a);

/* torch.optim.Adam and AdamW, a piece of one tensor:
 *   w *= keep; g = grad_scale g + l2 w; m += (g - m) rest1; v = v beta2 + g^2 rest2; w -= step m / (sqrt(v) root + eps) */
struct eye_adam_args {
    float *w, *m, *v;
    const float *g;
    float grad_scale, keep, l2, rest1, beta2, rest2, step, root, eps; /* rest: 1 - beta; step: lr / (1 - beta1^t);
                                                                          root: 1 / sqrt(1 - beta2^t) */
};
typedef void eye_adam_fn(const struct eye_adam_args *a, size_t n);
/* torch.optim.SGD: g = grad_scale g + l2 w; m = momentum m + g; w -= lr (nesterov ? g + momentum m : m). m NULL: w -= lr g. */
struct eye_sgd_args {
    float *w, *m;
    const float *g;
    float grad_scale, l2, momentum, lr;
    bool nesterov;
};
typedef void eye_sgd_fn(const struct eye_sgd_args *a, size_t n);

#endif
