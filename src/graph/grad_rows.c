/* Gradient rules of the element-wise, row-wise and data-moving ops, and of the losses. d: gradient of the node's result. */
#include "graph/grad.h"

#include <string.h>

/* A gradient op over d and some of n's values, with n's attributes. */
static eye_val node3(struct eye_grad *s, enum eye_op op, const struct eye_node *n, eye_val d, eye_val a, eye_val b) {
    return eye_node_add(s->g, op, (eye_val[]){d, a, b}, b == EYE_NONE ? 2 : 3, &n->attr);
}

/* ---- norms, activations ---- */

void eye_grad_layer_norm(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    if (eye_grad_wants(s, n, 0)) eye_grad_give(s, n, 0, node3(s, EYE_OP_layer_norm_dx, n, d, n->in[0], n->in[1]));
    if (eye_grad_wants(s, n, 1)) eye_grad_give(s, n, 1, node3(s, EYE_OP_layer_norm_dw, n, d, n->in[0], EYE_NONE));
    if (eye_grad_wants(s, n, 2)) eye_grad_give(s, n, 2, eye_node_add(s->g, EYE_OP_sum_rows, &d, 1, NULL));
}

void eye_grad_rms_norm(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    if (eye_grad_wants(s, n, 0)) eye_grad_give(s, n, 0, node3(s, EYE_OP_rms_norm_dx, n, d, n->in[0], n->in[1]));
    if (eye_grad_wants(s, n, 1)) eye_grad_give(s, n, 1, node3(s, EYE_OP_rms_norm_dw, n, d, n->in[0], EYE_NONE));
}

/* relu' is the same of relu's result: its argument need not be kept, and the fuse pass can take the relu into what makes it. */
void eye_grad_act(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    eye_val x = n->attr.act == EYE_ACT_RELU ? n->out : n->in[0];
    eye_grad_give(s, n, 0, node3(s, EYE_OP_act_grad, n, d, x, EYE_NONE));
}

void eye_grad_softmax(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    eye_grad_give(s, n, 0, node3(s, EYE_OP_softmax_grad, n, d, n->out, EYE_NONE));
}

void eye_grad_dropout(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    eye_grad_give(s, n, 0, eye_dropout(s->g, d, n->in[1], n->attr.p, n->attr.salt));
}

void eye_grad_rope(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    struct eye_attr back = n->attr;
    back.inverse = !back.inverse;
    eye_grad_give(s, n, 0, eye_node_add(s->g, EYE_OP_rope, (eye_val[]){d, n->in[1]}, n->n_in, &back));
}

void eye_grad_scale(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    eye_grad_give(s, n, 0, eye_scale(s->g, d, n->attr.scale));
}

/* ---- sums and products; the second operand may have been repeated ---- */

/* The gradient of input 1 out of that of its repetitions: [C] over rows, [N,1,1,C] over the image. */
static eye_val gather(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    struct eye_value a = s->g->value[n->in[0]], b = s->g->value[n->in[1]];
    if (a.rank == b.rank && memcmp(a.dims, b.dims, (size_t)a.rank * sizeof a.dims[0]) == 0) return d;
    if (b.rank == 1) return eye_node_add(s->g, EYE_OP_sum_rows, &d, 1, NULL);
    return eye_scale(s->g, eye_mean_hw(s->g, d), (float)(a.dims[1] * a.dims[2]));
}

void eye_grad_add(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    eye_grad_give(s, n, 0, d);
    if (eye_grad_wants(s, n, 1)) eye_grad_give(s, n, 1, gather(s, n, d));
}

void eye_grad_sub(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    eye_grad_give(s, n, 0, d);
    if (eye_grad_wants(s, n, 1)) eye_grad_give(s, n, 1, eye_scale(s->g, gather(s, n, d), -1));
}

void eye_grad_mul(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    if (eye_grad_wants(s, n, 0)) eye_grad_give(s, n, 0, eye_mul(s->g, d, n->in[1]));
    if (eye_grad_wants(s, n, 1)) eye_grad_give(s, n, 1, gather(s, n, eye_mul(s->g, d, n->in[0])));
}

/* scale d, repeated to the shape of n's input. */
static void give_spread(struct eye_grad *s, const struct eye_node *n, eye_val d, float scale) {
    const struct eye_value *x = &s->g->value[n->in[0]];
    struct eye_attr a = {.rank = x->rank, .scale = scale};
    memcpy(a.dims, x->dims, sizeof a.dims);
    eye_grad_give(s, n, 0, eye_node_add(s->g, EYE_OP_spread, &d, 1, &a));
}

void eye_grad_sum(struct eye_grad *s, const struct eye_node *n, eye_val d) { give_spread(s, n, d, n->attr.scale); }

void eye_grad_mean_hw(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    const struct eye_value *x = &s->g->value[n->in[0]];
    give_spread(s, n, d, 1 / (float)(x->dims[1] * x->dims[2]));
}

/* ---- moving data ---- */

void eye_grad_reshape(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    struct eye_value x = s->g->value[n->in[0]];
    eye_grad_give(s, n, 0, eye_reshape(s->g, d, x.rank, x.dims));
}

void eye_grad_transpose(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    int32_t back[EYE_MAX_RANK] = {0};
    for (int i = 0; i < s->g->value[n->out].rank; i++) back[n->attr.perm[i]] = i;
    eye_grad_give(s, n, 0, eye_transpose(s->g, d, back));
}

void eye_grad_concat(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    int64_t at = 0;
    for (int i = 0; i < 2; i++) {
        int64_t length = eye_dim(s->g, n->in[i], n->attr.axis);
        if (eye_grad_wants(s, n, i)) eye_grad_give(s, n, i, eye_slice(s->g, d, n->attr.axis, at, length));
        at += length;
    }
}

void eye_grad_slice(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    struct eye_attr a = n->attr;
    int64_t length = eye_dim(s->g, n->in[0], a.axis);
    a.length = (int32_t)length;
    if (length != a.length) eye_graph_fail(s->g, EYE_E_LIMIT, "gradient: a slice of an axis of %lld", (long long)length);
    else eye_grad_give(s, n, 0, eye_node_add(s->g, EYE_OP_slice_grad, &d, 1, &a));
}

/* ---- losses: of the student's rows only, weights and teachers are given ---- */

static void row_loss(struct eye_grad *s, const struct eye_node *n, enum eye_op op, eye_val d) {
    eye_val in[EYE_MAX_IN] = {d};
    memcpy(in + 1, n->in, (size_t)n->n_in * sizeof *in);
    for (int i = 1; i < n->n_in; i++) eye_grad_refuse(s, n, i);
    eye_grad_give(s, n, 0, eye_node_add(s->g, op, in, n->n_in + 1, &n->attr));
}
void eye_grad_cross_entropy(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    row_loss(s, n, EYE_OP_cross_entropy_grad, d);
}
void eye_grad_kl_rows(struct eye_grad *s, const struct eye_node *n, eye_val d) { row_loss(s, n, EYE_OP_kl_rows_grad, d); }
void eye_grad_kl_topk(struct eye_grad *s, const struct eye_node *n, eye_val d) { row_loss(s, n, EYE_OP_kl_topk_grad, d); }

/* Symmetric in a and b. */
static void feature_loss(struct eye_grad *s, const struct eye_node *n, enum eye_op op, eye_val d) {
    for (int i = 0; i < 2; i++)
        if (eye_grad_wants(s, n, i)) eye_grad_give(s, n, i, node3(s, op, n, d, n->in[i], n->in[1 - i]));
}
void eye_grad_mse_rows(struct eye_grad *s, const struct eye_node *n, eye_val d) { feature_loss(s, n, EYE_OP_mse_rows_grad, d); }
void eye_grad_cosine_rows(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    feature_loss(s, n, EYE_OP_cosine_rows_grad, d);
}
