/* Draft: one ONNX graph while it is written, so that emitters read as formulas:
 *
 *     y = eye_draft_2(d, "Mul", x, eye_draft_1(d, "Sigmoid", x));
 *
 * Tensors are names, in the model's arena. Running out of memory sticks to the model (eye_onnx.failed): NULL goes in and comes
 * out, and whoever finishes the draft reports it. What differs between opsets 14 and 18 is hidden here. Knows ONNX's operators;
 * knows no eye_graph.
 */
#ifndef EYE_EXPORT_DRAFT_H
#define EYE_EXPORT_DRAFT_H

#include "onnx/onnx.h"

struct eye_draft {
    struct eye_onnx *m;
    int opset;
    enum eye_onnx_type real;   /* of activations and weights: F32 or F16 */
    const char *scope;         /* what nodes are named after, "blk.0.attn_q" */
    unsigned serial;
    struct eye_strmap made;    /* names of constants and weights that are there */
};
void eye_draft_init(struct eye_draft *d, struct eye_onnx *m, int opset, enum eye_onnx_type real, const struct eye_alloc *alloc);
void eye_draft_clear(struct eye_draft *d); /* not the model */
/* Marks name as there; false: it was. */
bool eye_draft_first(struct eye_draft *d, const char *name);

/* The node's only output. node may be NULL; else *node is for attributes. */
const char *eye_draft_node(struct eye_draft *d, const char *op, const char *const *in, size_t n_in, EyeOnnx__NodeProto **node);
const char *eye_draft_1(struct eye_draft *d, const char *op, const char *a);
const char *eye_draft_2(struct eye_draft *d, const char *op, const char *a, const char *b);

/* Tensor x is called `name` from now on, an output of the graph. */
void eye_draft_rename(struct eye_draft *d, const char *x, const char *name);

/* ---- constants, each once ---- */
const char *eye_draft_ints(struct eye_draft *d, size_t n, const int64_t *v); /* i64 [n] */
const char *eye_draft_scalar(struct eye_draft *d, enum eye_onnx_type type, double v); /* F32, F16 or I64, rank 0 */
const char *eye_draft_real(struct eye_draft *d, double v); /* of d->real */
/* A table of numbers under a name of its own; type F32 or F16. */
const char *eye_draft_table(struct eye_draft *d, const char *name, enum eye_onnx_type type, size_t rank, const int64_t *dims,
                            const float *v);

/* ---- nodes with attributes ---- */
const char *eye_draft_cast(struct eye_draft *d, const char *x, enum eye_onnx_type to);
const char *eye_draft_reshape(struct eye_draft *d, const char *x, size_t rank, const int64_t *dims); /* 0 = as in x, one -1 */
const char *eye_draft_transpose(struct eye_draft *d, const char *x, size_t rank, const int64_t *perm);
const char *eye_draft_unsqueeze(struct eye_draft *d, const char *x, size_t n, const int64_t *axes);
const char *eye_draft_reduce(struct eye_draft *d, const char *op, const char *x); /* over the last axis, which stays as 1 */
const char *eye_draft_softmax(struct eye_draft *d, const char *x);                /* over the last axis */
const char *eye_draft_slice(struct eye_draft *d, const char *x, int64_t axis, int64_t begin, int64_t end);
const char *eye_draft_concat(struct eye_draft *d, int64_t axis, const char *a, const char *b);
void eye_draft_halves(struct eye_draft *d, const char *x, int64_t axis, int64_t half, const char *out[2]);

#endif
