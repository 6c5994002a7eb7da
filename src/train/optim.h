/* train/optim: the step from gradients to weights: AdamW, Adam, SGD with momentum, and what goes with it: the global norm and
 * clipping by it, sums over micro-batches, a moving average of the weights. Formulas are PyTorch's (torch.optim,
 * clip_grad_norm_, AveragedModel with a fixed decay). The trainer owns all arrays; groups are its own matter: each parameter
 * brings its learning rate and decay, and what is frozen is not in the list. Work is split into pieces of fixed size, and sums
 * go over these pieces in order, in double: the number of threads changes no bit. Knows no graph. */
#ifndef EYE_TRAIN_OPTIM_H
#define EYE_TRAIN_OPTIM_H

#include "engine/engine.h"

enum eye_optim_kind {
    EYE_OPTIM_ADAMW, /* decay of the weights themselves, w -= lr decay w (Loshchilov & Hutter, arXiv 1711.05101) */
    EYE_OPTIM_ADAM,  /* decay as part of the gradient, g += decay w */
    EYE_OPTIM_SGD    /* with momentum; decay as part of the gradient */
};

struct eye_optim_param { /* one weight of n floats */
    float *w;
    const float *g;
    float *m;            /* first moment or momentum; zeros before the first step. sgd without momentum: NULL */
    float *v;            /* second moment; zeros before the first step. sgd: NULL */
    size_t n;
    double lr, weight_decay;
};

struct eye_optim_hyper {
    enum eye_optim_kind kind;
    double beta1, beta2, eps; /* adam, adamw: 0.9, 0.999, 1e-8 are PyTorch's */
    double momentum;          /* sgd; 0 = none */
    bool nesterov;            /* sgd */
    double grad_scale;        /* on every gradient: clipping times 1 / number of micro-batches; 1 = as they are */
    int64_t step;             /* 1 for the first step */
};

/* One step of all parameters, in place. */
void eye_optim_step(const struct eye_engine *e, const struct eye_optim_hyper *h, const struct eye_optim_param *p, size_t n);
/* Global norm of all gradients as they are, sqrt(sum g^2). Infinite or NaN when a gradient is: then make no step. */
double eye_optim_norm(const struct eye_engine *e, const struct eye_optim_param *p, size_t n);
/* What clip_grad_norm_ multiplies gradients of this norm by: min(1, max / (norm + 1e-6)); max 0 = no clipping, 1. */
double eye_optim_clip(double norm, double max);
/* sum += g; the micro-batches of one step. */
void eye_optim_add(const struct eye_engine *e, float *sum, const float *g, size_t n);
/* average = decay average + (1 - decay) w. */
void eye_optim_average(const struct eye_engine *e, float *average, const float *w, size_t n, double decay);

#endif
