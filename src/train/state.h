/* State: a run on disk, so that it can go on as if it had never stopped, to the last bit. One file holds the weights, the
 * optimiser's arrays, averages, the counters and the hashes of what the run depends on; all that is drawn (order of pictures,
 * dropout, augmentation) follows from seed and counters, so there is no generator to save.
 *
 * The file is a safetensors file: tensors "w.NAME", "m.NAME", "v.NAME", "a.NAME"; metadata: the counters as decimal texts, and
 * "xxh64" over all of it. It appears under its name only when it is whole and on disk; older ones go after that. */
#ifndef EYE_TRAIN_STATE_H
#define EYE_TRAIN_STATE_H

#include "train/params.h"

struct eye_train_state {
    int64_t stage;        /* index of the recipe's stage that runs */
    int64_t stage_step;   /* steps made in it */
    int64_t step;         /* in all */
    int64_t evals;        /* made in this stage */
    int64_t bad_evals;    /* since the best one */
    int64_t bad_steps;    /* without a finite loss, in a row */
    double best_mark;     /* of this stage's evaluations: the least -CIDEr-D or loss, see dev.c */
    double seconds;       /* spent training before this process */
    double sum_loss;      /* since the last line of the log */
    int64_t n_loss;
    uint64_t recipe_hash, tokenizer_hash; /* what it belongs to */
};

/* dir/step-00001234.safetensors; then all but the newest keep files of that form are removed. */
EYE_MUST_CHECK enum eye_status eye_state_save(const struct eye_train_state *s, const struct eye_params *p, const char *dir,
                                              int64_t keep, struct eye_err *err);
/* The newest good file of dir into p and s. Files that are damaged are passed over: *n_bad counts them. *found false: there is
 * none (p and s are as before). CORRUPT: a file that belongs to other weights; ARG: to another recipe or tokenizer (the hashes
 * in s when called, 0 = any). */
EYE_MUST_CHECK enum eye_status eye_state_load(struct eye_train_state *s, struct eye_params *p, const char *dir, bool *found,
                                              int *n_bad, struct eye_err *err);

#endif
