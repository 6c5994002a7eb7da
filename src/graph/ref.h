/* graph, inside the room: the reference of each op. Values are dense f32 with concrete dims; sums run in double. */
#ifndef EYE_GRAPH_REF_H
#define EYE_GRAPH_REF_H

#include "graph/graph_impl.h"

struct eye_ref_value {
    int rank;
    int64_t dims[EYE_MAX_RANK]; /* concrete */
    int64_t n;                  /* elements */
    float *f;                   /* data; i32 inputs are in i instead */
    const int32_t *i;
};
struct eye_ref_ctx {
    const struct eye_node *node;
    const struct eye_ref_value *in[EYE_MAX_IN]; /* NULL = absent */
    struct eye_ref_value *out;
    int64_t past;
};
typedef enum eye_status eye_ref_fn(const struct eye_ref_ctx *c, struct eye_err *err);
#define OP(name, min_in, max_in, flags) eye_ref_fn eye_ref_##name;
#include "graph/ops.def"

double eye_act_ref(enum eye_act_kind act, double x);

#endif
