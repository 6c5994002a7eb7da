/* Walk: a folded, unfused eye_graph as nodes of an ONNX draft. One table, op -> emitter, from ops.def.
 *
 * Batch. A graph describes one picture or one sequence; ONNX tensors have a batch axis in front. Values of rank 4 are pictures
 * and have it already, as N; all others get it: rows [T,C] become [B,T,C].
 * Layout. Graphs are channels last. ONNX convolutions want [N,C,H,W], attention [B,H,T,D]: the `first` layout. Each value may
 * be there in either; the other form is made once, when somebody asks, so nothing is turned round twice and whole towers stay
 * in one layout.
 * Symbols. T is a number or dynamic; so is the batch.
 * Int8. With qdq and rounds set, what an int8 node multiplies goes through qdq.c.
 */
#ifndef EYE_EXPORT_WALK_H
#define EYE_EXPORT_WALK_H

#include "export/qdq.h"
#include "export/sequence.h"
#include "export/weights.h"

enum eye_layout {
    EYE_LAY_PLAIN, /* as the graph has it, batch in front */
    EYE_LAY_FIRST, /* rank 4: [N,C,H,W]; rank 3: [B,H,T,D]; else plain */
    EYE_N_LAY
};

struct eye_walk {
    struct eye_draft *d;
    const struct eye_graph *g;
    struct eye_weight_scratch *scratch;
    struct eye_sequence *seq;
    int64_t batch;                    /* 0 = dynamic */
    struct eye_qdq *qdq;              /* of the ONNX graph */
    const bool *rounds;               /* [n_values] eye_qdq_read's; NULL: nothing here is int8 */
    const char *(*name)[EYE_N_LAY];   /* [n_values] tensors that are there; in the draft's arena */
    const char *(*bytes)[EYE_N_LAY];  /* the same, rounded to bytes; where rounds is set */
};

/* Emits all nodes of g. The graph's only input is tensor `in`, of that layout; *out = its only output, plain. g and its weights
 * must live until the model is written. UNSUPPORTED: an op without ONNX form (fused, or of training graphs). */
EYE_MUST_CHECK enum eye_status eye_walk(struct eye_walk *w, const char *in, enum eye_layout layout, const char **out,
                                        struct eye_err *err);

/* ---- for emitters ---- */
/* An activation in that layout. NULL = out of memory (sticks to the model). */
const char *eye_walk_in(struct eye_walk *w, eye_val v, enum eye_layout layout);
/* The layout v is there in; both: first. */
enum eye_layout eye_walk_layout(const struct eye_walk *w, eye_val v);
void eye_walk_out(struct eye_walk *w, eye_val v, enum eye_layout layout, const char *name);
/* Tensor x becomes an output of that name, which is returned. */
const char *eye_walk_rename(struct eye_walk *w, const char *x, const char *name);
/* A weight vector [C] that combines with activations of that rank and layout. */
EYE_MUST_CHECK enum eye_status eye_walk_vector(struct eye_walk *w, eye_val v, int rank, enum eye_layout layout,
                                               const char **out, struct eye_err *err);
/* v's shape in ONNX: batch and T as numbers where they are known, else 0 where x (a tensor of value like's shape) has the same
 * symbol at that axis, else -1. Returns the rank. */
size_t eye_walk_shape(const struct eye_walk *w, eye_val v, eye_val like, int64_t *dims);
/* Where that axis of v is in ONNX. */
static inline int64_t eye_walk_axis(const struct eye_walk *w, eye_val v, int axis) {
    return w->g->value[v].rank == 4 ? axis : axis + 1;
}

/* qdq.c. What becomes of a result that is rounded for all who read it. */
const char *eye_walk_made(struct eye_walk *w, eye_val v, enum eye_layout layout, const char *x);
/* What n, a convolution or matrix, multiplies: its main input; its weight, as eye_draft_weight has it; a convolution's bias. */
bool eye_walk_is_int8(const struct eye_walk *w, const struct eye_node *n);
const char *eye_walk_factor(struct eye_walk *w, const struct eye_node *n, enum eye_layout layout);
EYE_MUST_CHECK enum eye_status eye_walk_weight(struct eye_walk *w, const struct eye_node *n, enum eye_weight_form form,
                                               size_t rank, const int64_t *dims, const char **out, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_walk_bias(struct eye_walk *w, const struct eye_node *n, const char **out,
                                             struct eye_err *err);

typedef enum eye_status eye_emit_fn(struct eye_walk *w, const struct eye_node *n, struct eye_err *err);
#define EYE_OPS_EXPORTED
#define OP(name, min_in, max_in, flags) eye_emit_fn eye_emit_##name;
#include "graph/ops.def"

#endif
