/* train/optim: the step from gradients to weights: AdamW, Adam, SGD with momentum; groups with their own learning rate, decay or
 * none at all; clipping by the global norm; sums over micro-batches; a moving average of the weights. Formulas are PyTorch's
 * (torch.optim 2.x, torch.nn.utils.clip_grad_norm_). Work is split over elements in pieces of fixed size and sums go over these
 * pieces in order, in double: the number of threads changes no bit. Knows no graph: a parameter is n floats. */
#ifndef EYE_TRAIN_OPTIM_H
#define EYE_TRAIN_OPTIM_H

#include "engine/engine.h"

enum eye_optim_kind {
    EYE_OPTIM_ADAMW, /* decay of the weights themselves, w -= lr wd w (Loshchilov & Hutter, arXiv 1711.05101) */
    EYE_OPTIM_ADAM,  /* decay as part of the gradient, g += wd w */
    EYE_OPTIM_SGD    /* with momentum; decay as part of the gradient */
};

struct eye_optim_group {
    double lr_factor;    /* on the step's learning rate */
    double weight_decay;
    bool frozen;         /* its parameters stay as they are, cost no memory and do not count in the norm */
};

struct eye_optim_param {
    float *w;            /* the trainer's, [n]; written by every step */
    size_t n;
    int group;           /* index into opts.group */
};

struct eye_optim_opts {
    enum eye_optim_kind kind;
    double beta1, beta2, eps; /* adam, adamw: 0.9, 0.999, 1e-8 are PyTorch's */
    double momentum;          /* sgd; 0 = none */
    bool nesterov;            /* sgd */
    double clip;              /* largest global norm of the gradients; 0 = no clipping */
    double ema;               /* decay of the weights' moving average; 0 = none is kept */
    bool accumulate;          /* several micro-batches per step: keeps sums beside the gradients */
    const struct eye_optim_group *group; /* copied */
    size_t n_groups;
};

struct eye_optim;
/* param is copied; its memory w stays the caller's. e lends threads and kernels. Errors: ARG, NOMEM, LIMIT. */
EYE_MUST_CHECK enum eye_status eye_optim_new(struct eye_optim **o, const struct eye_engine *e, const struct eye_optim_opts *opts,
                                             const struct eye_optim_param *param, size_t n_params, struct eye_err *err);
void eye_optim_free(struct eye_optim *o);

/* Where the run of a micro-batch shall write parameter i's gradient [n]; NULL = frozen. The memory stays the same. */
float *eye_optim_grad(struct eye_optim *o, size_t i);
/* accumulate: after each micro-batch's run, adds the gradients to the step's sums (the first one of a step sets them). */
void eye_optim_collect(struct eye_optim *o);
/* One step with learning rate lr from scale times the gradients (or their sums; scale: 1 / number of micro-batches for a mean).
 * Gives the global norm before clipping. Gradients that are not all finite: the step is not made (and not counted), the norm
 * is infinite or NaN. Begins the next sums. */
double eye_optim_step(struct eye_optim *o, double lr, double scale);

/* Steps made. Setting is for going on from a checkpoint. */
int64_t eye_optim_n_steps(const struct eye_optim *o);
void eye_optim_set_steps(struct eye_optim *o, int64_t n);
/* The state beside the weights, for checkpoints and for judging with the average; each [n], or NULL where there is none. */
enum eye_optim_state { EYE_OPTIM_FIRST, EYE_OPTIM_SECOND, EYE_OPTIM_EMA }; /* momentum, second moment, average */
float *eye_optim_state(struct eye_optim *o, size_t i, enum eye_optim_state which);
/* Bytes of gradients and states that eye_optim_new would take. */
EYE_MUST_CHECK enum eye_status eye_optim_measure(const struct eye_optim_opts *opts, const struct eye_optim_param *param,
                                                 size_t n_params, size_t *bytes, struct eye_err *err);

#endif
