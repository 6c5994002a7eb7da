/* Wish: the tensors that a configuration asks for, found by building every part of the model over a checkpoint that has none of
 * them. So a fresh model's list of names and shapes comes from the family files themselves; there is no second list. */
#ifndef EYE_MODEL_WISH_H
#define EYE_MODEL_WISH_H

#include "model/vlm.h"

struct eye_wished {
    const char *name; /* canonical, in the wish's arena */
    enum eye_part part;
    int rank;
    int64_t dims[EYE_MAX_RANK];
};
struct eye_wish {
    int64_t any;                 /* what a dim becomes that the configuration leaves to the tensors (a classifier's last
                                    width); 0: such a dim is an error */
    const char *const *optional; /* [n_optional] optional tensors that are wanted too: "output.bias" */
    size_t n_optional;
    struct eye_arena arena;
    struct eye_wished *tensor;   /* [n] in the order in which the parts ask for them */
    size_t n, cap;
    struct eye_strmap map;
    enum eye_part part;          /* being built */
};

/* any, optional and n_optional are the caller's, the rest is set here. ckpt: config.json and, as a rule, no tensors; those it
 * has are not wished for. UNSUPPORTED: a tower that takes its sizes from its tensors. */
EYE_MUST_CHECK enum eye_status eye_vlm_wish(struct eye_wish *w, const struct eye_checkpoint *ckpt,
                                            const struct eye_alloc *alloc, struct eye_err *err);
void eye_wish_clear(struct eye_wish *w);

/* For the binder: a tensor of this name and shape from now on; its data is NULL. False: no memory, or a dim nobody knows. */
bool eye_wish_tensor(struct eye_wish *w, const char *name, const struct eye_shape *shape, struct eye_tensor *t);
bool eye_wish_wants(const struct eye_wish *w, const char *name); /* an optional tensor */

#endif
