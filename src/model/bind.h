/* Binding: a graph's weights come from a checkpoint by canonical name, with the shape the graph needs.
 *
 * A binder knows every tensor of a checkpoint under its canonical name. Family files ask for weights through struct eye_build;
 * what is missing is collected, not fatal at once, so that one error names all of it. A tensor that no part of the model asked
 * for is an error as well: a graph that leaves weights of its file unused is not the network in that file, and would
 * answer plausibly and wrongly. (Names known to be of no use are ignored by names.c.)
 */
#ifndef EYE_MODEL_BIND_H
#define EYE_MODEL_BIND_H

#include "format/checkpoint.h"
#include "graph/graph.h"
#include "model/names.h"

struct eye_bind_account { /* of one check */
    struct eye_buf missing;            /* first names */
    size_t n_missing;
};
struct eye_binder { /* immutable after init but for a check's bookkeeping */
    const struct eye_checkpoint *ckpt; /* borrowed */
    const struct eye_alloc *alloc;
    enum eye_name_format format;
    struct eye_arena arena;            /* canonical names */
    struct eye_strmap map;             /* canonical name -> tensor index */
    const char **canonical;            /* [n] "" = ignored or unknown */
    uint8_t *state;                    /* [n] enum in bind.c */
    size_t n;
    struct eye_bind_account *account;  /* NULL: no check is going on */
    struct eye_wish *wish;             /* NULL; or it grants what the checkpoint lacks (wish.h) */
};

/* CORRUPT if two tensors have one canonical name. */
EYE_MUST_CHECK enum eye_status eye_binder_init(struct eye_binder *b, const struct eye_checkpoint *ckpt,
                                               enum eye_name_format format, const struct eye_alloc *alloc, struct eye_err *err);
void eye_binder_clear(struct eye_binder *b);

/* The tensor of that canonical name, or NULL. Does not count as use. */
const struct eye_tensor *eye_binder_find(const struct eye_binder *b, const char *canonical);
/* 1 + the largest n of names that begin "PREFIX<n>.", or 0: depth of a list of layers. */
int64_t eye_binder_count(const struct eye_binder *b, const char *prefix);
/* A tensor that this model knowingly does without. */
void eye_binder_ignore(struct eye_binder *b, const char *canonical);

/* Between these two, build every part of the model once. end: CORRUPT with the first names of what was missing; else
 * first_error, the status of the first part that failed (err holds its text); else CORRUPT with the first names of what was
 * left over. Names are the checkpoint's own. */
void eye_binder_check_begin(struct eye_binder *b, struct eye_bind_account *account);
EYE_MUST_CHECK enum eye_status eye_binder_check_end(struct eye_binder *b, enum eye_status first_error, struct eye_err *err);

/* ---- for family files ---- */
#define EYE_ANY (-1) /* a dim the tensor itself decides */
struct eye_shape { int rank; int64_t dims[EYE_MAX_RANK]; };
#define EYE_SHAPE(...) \
    ((struct eye_shape){(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}})

struct eye_build { /* one graph under construction */
    struct eye_graph *g;
    const struct eye_binder *b;
    bool folded;       /* a converted file's tower: convolutions have biases, no BatchNorms and layer scales are left, 1×1
                          convolutions are matrices. Told by the file's metadata, never guessed from what is there. */
};
/* A name put together, by value: conv(m, x, eye_namef("%s.fc1", block).s, …). */
struct eye_name { char s[EYE_NAME_MAX]; };
struct eye_name eye_namef(const char *fmt, ...) EYE_PRINTF(1, 2);
/* Is there a tensor of this name? */
bool eye_build_has(const struct eye_build *m, const char *fmt, ...) EYE_PRINTF(2, 3);
/* The weight of this name as a leaf of the graph. Missing, or of another shape: the graph fails, the binder takes note. */
eye_val eye_build_weight(struct eye_build *m, struct eye_shape shape, const char *fmt, ...) EYE_PRINTF(3, 4);
/* EYE_NONE when absent, and the graph goes on. */
eye_val eye_build_optional(struct eye_build *m, struct eye_shape shape, const char *fmt, ...) EYE_PRINTF(3, 4);
/* [n], stored as [n] or [n,1,1] (layer scales); a leaf of rank 1. */
eye_val eye_build_vector(struct eye_build *m, int64_t n, const char *fmt, ...) EYE_PRINTF(3, 4);
/* A vector [n] as a leaf [1, n]. */
eye_val eye_build_row(struct eye_build *m, int64_t n, const char *fmt, ...) EYE_PRINTF(3, 4);
/* A matrix of this shape whose tensor is its transpose. */
eye_val eye_build_transposed(struct eye_build *m, struct eye_shape shape, const char *fmt, ...) EYE_PRINTF(3, 4);
/* Tensors whose names begin so are knowingly left out: parts after the one a model takes its features from. */
void eye_build_leave(struct eye_build *m, const char *prefix);
/* A weight that another part of the model has bound already (a tied output matrix). */
eye_val eye_build_again(struct eye_build *m, struct eye_shape shape, const char *fmt, ...) EYE_PRINTF(3, 4);

#endif
