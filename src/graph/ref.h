/* graph, inside the room: the reference of each op. Values are dense and double, with concrete dims: the oracle rounds
 * nothing to f32 but what it gives back, so differences of it are gradients. */
#ifndef EYE_GRAPH_REF_H
#define EYE_GRAPH_REF_H

#include "graph/graph_impl.h"

struct eye_ref_value {
    int rank;
    int64_t dims[EYE_MAX_RANK]; /* concrete */
    int64_t n;                  /* elements */
    double *f;                  /* data; i32 inputs are in i instead */
    const int32_t *i;
};
struct eye_ref_ctx {
    const struct eye_node *node;
    const struct eye_ref_value *in[EYE_MAX_IN]; /* NULL = absent */
    struct eye_ref_value *out;
    const struct eye_bind *bind;
    bool by_segment; /* the first input's rows are the call's T rows: the bind says whose they are */
};
typedef enum eye_status eye_ref_fn(const struct eye_ref_ctx *c, struct eye_err *err);
#define OP(name, min_in, max_in, flags) eye_ref_fn eye_ref_##name;
#include "graph/ops.def"

double eye_act_ref(enum eye_act_kind act, double x);

#endif
