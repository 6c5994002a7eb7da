/* Ranks: one step of training by several processes. Each runs some of the step's batches; here their gradients are added in the
 * order of the batches, as one process adds them, so the weights after a step are the same to the last bit whatever the number
 * of processes. Each rank owns a part of the numbers: it gets that part from all, adds, and hands the sum out at the step's end.
 * The way the bytes go is the caller's (eye_ranks in eyelet/train.h). Knows no graph and no file. */
#ifndef EYE_TRAIN_RANKS_H
#define EYE_TRAIN_RANKS_H

#include "eyelet/train.h"
#include "train/optim.h"

struct eye_rank_sum { /* arrays of a call's caller: one weight */
    const float *g;   /* this rank's gradient of the round */
    float *sum;       /* of all batches: in the end of all ranks */
    size_t n;
};

/* r NULL: alone. */
static inline int32_t eye_ranks_n(const struct eye_ranks *r) { return r ? r->n : 1; }
static inline int32_t eye_ranks_me(const struct eye_ranks *r) { return r ? r->rank : 0; }

/* ARG: ranks that are none, or that do not agree on what [bytes]: a run of another recipe, state or kind of CPU. */
EYE_MUST_CHECK enum eye_status eye_ranks_check(const struct eye_ranks *r, const void *what, size_t bytes, struct eye_err *err);
/* Returns when all are here. Alone: at once, as all that follows. */
EYE_MUST_CHECK enum eye_status eye_ranks_wait(const struct eye_ranks *r, struct eye_err *err);
/* what [bytes] becomes that of rank `from`. bytes * n of memory for a moment. */
EYE_MUST_CHECK enum eye_status eye_ranks_take(const struct eye_ranks *r, int32_t from, void *what, size_t bytes,
                                              const struct eye_alloc *alloc, struct eye_err *err);
/* One number of each rank, in their order: all [n]. */
EYE_MUST_CHECK enum eye_status eye_ranks_each(const struct eye_ranks *r, float mine, float *all, struct eye_err *err);
/* A round's gradients onto the sums; first: they are the first ones. Only this rank's part of the sums is right afterwards. */
EYE_MUST_CHECK enum eye_status eye_ranks_add(const struct eye_ranks *r, const struct eye_engine *e, const struct eye_rank_sum *s,
                                             size_t n, bool first, struct eye_err *err);
/* Then, once: the sums are whole everywhere. */
EYE_MUST_CHECK enum eye_status eye_ranks_share(const struct eye_ranks *r, const struct eye_engine *e, const struct eye_rank_sum *s,
                                               size_t n, struct eye_err *err);

#endif
