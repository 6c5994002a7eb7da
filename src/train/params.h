/* Params: a student's numbers while it is trained: each tensor of its checkpoint as f32, with the optimiser's arrays beside it,
 * under its canonical name. Graphs borrow the weights (eye_graph_unfreeze), so they outlive them. Writing them back as a plain
 * checkpoint folder is the export of a student. Knows no loss and no schedule. */
#ifndef EYE_TRAIN_PARAMS_H
#define EYE_TRAIN_PARAMS_H

#include "model/vlm.h"

struct eye_train_param {
    const char *name;        /* canonical */
    struct eye_tensor shape; /* its file's name and shape go back to the file; data = w */
    const char *file_name;
    size_t n;
    bool transposed;         /* stored so that no graph can train it */
    float *w;
    float *m, *v;            /* optimiser; NULL until eye_params_optimise */
    float *average;          /* NULL until eye_params_average */
    float *base;             /* w as it was, while an adapter's product is in it for a moment (lora.h); else NULL */
};

struct eye_params {
    const struct eye_alloc *alloc;
    struct eye_arena arena; /* names, weights */
    struct eye_train_param *param; /* [n]: n_file in the checkpoint's order, then adapters, which are in no checkpoint */
    size_t n, n_file;
    struct eye_strmap map;  /* canonical name -> index */
};

/* All float tensors of an open model, converted to f32. */
EYE_MUST_CHECK enum eye_status eye_params_init(struct eye_params *p, const struct eye_vlm *m, struct eye_err *err);
void eye_params_clear(struct eye_params *p);
struct eye_train_param *eye_params_find(const struct eye_params *p, const char *name); /* NULL = absent */

/* A parameter more, zeros, of this canonical name and shape; *out stays where it is. At most two per tensor of the file. */
EYE_MUST_CHECK enum eye_status eye_params_adapter(struct eye_params *p, const char *name, const struct eye_tensor *shape,
                                                  struct eye_train_param **out, struct eye_err *err);
void eye_params_drop_adapters(struct eye_params *p);

/* Zeroed arrays m (and v) for parameter i; nothing happens where they are there already. */
EYE_MUST_CHECK enum eye_status eye_params_optimise(struct eye_params *p, size_t i, bool second_moment, struct eye_err *err);
/* Moving averages of all weights, equal to them at first. */
EYE_MUST_CHECK enum eye_status eye_params_average(struct eye_params *p, struct eye_err *err);
/* Weights and averages change places: to judge or export the averages. Nothing without averages. */
void eye_params_swap(struct eye_params *p);
/* Optimiser state and averages are given up: a new stage begins. */
void eye_params_forget(struct eye_params *p);

/* A checkpoint folder: the files of from but its weights, and model.safetensors in f32. dir is made if absent. mark (may be
 * NULL) goes into the file's metadata. */
EYE_MUST_CHECK enum eye_status eye_params_export(const struct eye_params *p, const char *from, const char *dir,
                                                 const char *mark, struct eye_err *err);
/* The weights of such a folder, if it is there, whole and of this mark; else *found is false and nothing changes. */
EYE_MUST_CHECK enum eye_status eye_params_import(struct eye_params *p, const char *dir, const char *mark, bool *found,
                                                 struct eye_err *err);

#endif
