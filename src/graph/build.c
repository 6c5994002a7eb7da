/* The builder's op functions: each packs its arguments into a node. Shapes and arity are checked in eye_node_add. */
#include "graph/graph_impl.h"

#include <string.h>

/* Trailing optional inputs that are absent are not counted. */
static eye_val add_node(struct eye_graph *g, enum eye_op op, const eye_val *in, int n_in, const struct eye_attr *attr) {
    while (n_in > eye_op_info(op)->min_in && in[n_in - 1] == EYE_NONE) n_in--;
    return eye_node_add(g, op, in, n_in, attr);
}

eye_val eye_conv2d(struct eye_graph *g, eye_val x, eye_val w, eye_val b, struct eye_conv c) {
    struct eye_attr a = {.stride = c.stride, .pad_top = c.pad_top, .pad_left = c.pad_left, .pad_bottom = c.pad_bottom,
                         .pad_right = c.pad_right, .groups = c.groups};
    return add_node(g, EYE_OP_conv2d, (eye_val[]){x, w, b}, 3, &a);
}

eye_val eye_linear(struct eye_graph *g, eye_val x, eye_val w, eye_val b) {
    return add_node(g, EYE_OP_linear, (eye_val[]){x, w, b}, 3, NULL);
}

eye_val eye_batch_norm(struct eye_graph *g, eye_val x, eye_val gamma, eye_val beta, eye_val mean, eye_val var, float eps) {
    struct eye_attr a = {.eps = eps};
    return add_node(g, EYE_OP_batch_norm, (eye_val[]){x, gamma, beta, mean, var}, 5, &a);
}

eye_val eye_layer_norm(struct eye_graph *g, eye_val x, eye_val w, eye_val b, float eps) {
    struct eye_attr a = {.eps = eps};
    return add_node(g, EYE_OP_layer_norm, (eye_val[]){x, w, b}, 3, &a);
}

eye_val eye_rms_norm(struct eye_graph *g, eye_val x, eye_val w, float eps) {
    struct eye_attr a = {.eps = eps};
    return add_node(g, EYE_OP_rms_norm, (eye_val[]){x, w}, 2, &a);
}

eye_val eye_act(struct eye_graph *g, eye_val x, enum eye_act_kind act) {
    struct eye_attr a = {.act = act};
    return act == EYE_ACT_NONE ? x : add_node(g, EYE_OP_act, &x, 1, &a);
}

eye_val eye_add(struct eye_graph *g, eye_val a, eye_val b) { return add_node(g, EYE_OP_add, (eye_val[]){a, b}, 2, NULL); }
eye_val eye_sub(struct eye_graph *g, eye_val a, eye_val b) { return add_node(g, EYE_OP_sub, (eye_val[]){a, b}, 2, NULL); }
eye_val eye_mul(struct eye_graph *g, eye_val a, eye_val b) { return add_node(g, EYE_OP_mul, (eye_val[]){a, b}, 2, NULL); }
eye_val eye_mean_hw(struct eye_graph *g, eye_val x) { return add_node(g, EYE_OP_mean_hw, &x, 1, NULL); }
eye_val eye_softmax(struct eye_graph *g, eye_val x) { return add_node(g, EYE_OP_softmax, &x, 1, NULL); }
eye_val eye_embed(struct eye_graph *g, eye_val ids, eye_val table) { return add_node(g, EYE_OP_embed, (eye_val[]){ids, table}, 2, NULL); }

eye_val eye_positions(struct eye_graph *g, eye_val table) { return add_node(g, EYE_OP_positions, &table, 1, NULL); }

eye_val eye_rope(struct eye_graph *g, eye_val x, double theta) {
    struct eye_attr a = {.theta = theta};
    return add_node(g, EYE_OP_rope, &x, 1, &a);
}

eye_val eye_attention(struct eye_graph *g, eye_val q, eye_val k, eye_val v, eye_val k_cache, eye_val v_cache, float scale, bool causal) {
    struct eye_attr a = {.scale = scale, .causal = causal};
    return add_node(g, EYE_OP_attention, (eye_val[]){q, k, v, k_cache, v_cache}, 5, &a);
}

eye_val eye_reshape(struct eye_graph *g, eye_val x, int rank, const int64_t *dims) {
    struct eye_attr a = {.rank = rank};
    assert(rank >= 0 && rank <= EYE_MAX_RANK);
    memcpy(a.dims, dims, (size_t)rank * sizeof *dims);
    return add_node(g, EYE_OP_reshape, &x, 1, &a);
}

eye_val eye_transpose(struct eye_graph *g, eye_val x, const int32_t *perm) {
    struct eye_attr a = {0};
    if (x != EYE_NONE) memcpy(a.perm, perm, (size_t)eye_value_at(g, x)->rank * sizeof *perm);
    return add_node(g, EYE_OP_transpose, &x, 1, &a);
}

eye_val eye_concat(struct eye_graph *g, eye_val a, eye_val b, int axis) {
    struct eye_attr at = {.axis = axis};
    return add_node(g, EYE_OP_concat, (eye_val[]){a, b}, 2, &at);
}

eye_val eye_slice(struct eye_graph *g, eye_val x, int axis, int64_t begin, int64_t length) {
    struct eye_attr a = {.axis = axis, .begin = (int32_t)begin, .length = (int32_t)length};
    if (begin != a.begin || length != a.length) return eye_graph_fail(g, EYE_E_LIMIT, "graph: slice bounds exceed 2^31");
    return add_node(g, EYE_OP_slice, &x, 1, &a);
}

/* ---- training ---- */

eye_val eye_dropout(struct eye_graph *g, eye_val x, eye_val seed, float p, uint32_t salt) {
    struct eye_attr a = {.p = p, .salt = salt};
    return p == 0 ? x : add_node(g, EYE_OP_dropout, (eye_val[]){x, seed}, 2, &a);
}

eye_val eye_bn_stats(struct eye_graph *g, eye_val x) { return add_node(g, EYE_OP_bn_stats, &x, 1, NULL); }

eye_val eye_bn_apply(struct eye_graph *g, eye_val x, eye_val stats, eye_val gamma, eye_val beta, float eps) {
    struct eye_attr a = {.eps = eps};
    return add_node(g, EYE_OP_bn_apply, (eye_val[]){x, stats, gamma, beta}, 4, &a);
}

eye_val eye_cross_entropy(struct eye_graph *g, eye_val logits, eye_val target, eye_val weight, float smoothing) {
    struct eye_attr a = {.smoothing = smoothing};
    return add_node(g, EYE_OP_cross_entropy, (eye_val[]){logits, target, weight}, 3, &a);
}

eye_val eye_kl_rows(struct eye_graph *g, eye_val student, eye_val teacher, eye_val weight, float temp) {
    struct eye_attr a = {.temp = temp};
    return add_node(g, EYE_OP_kl_rows, (eye_val[]){student, teacher, weight}, 3, &a);
}

eye_val eye_kl_topk(struct eye_graph *g, eye_val student, eye_val ids, eye_val logp, eye_val weight, float temp) {
    struct eye_attr a = {.temp = temp};
    return add_node(g, EYE_OP_kl_topk, (eye_val[]){student, ids, logp, weight}, 4, &a);
}

eye_val eye_mse_rows(struct eye_graph *g, eye_val a, eye_val b) {
    return add_node(g, EYE_OP_mse_rows, (eye_val[]){a, b}, 2, NULL);
}

eye_val eye_cosine_rows(struct eye_graph *g, eye_val a, eye_val b) {
    return add_node(g, EYE_OP_cosine_rows, (eye_val[]){a, b}, 2, NULL);
}

eye_val eye_sum(struct eye_graph *g, eye_val x, float scale) {
    struct eye_attr a = {.scale = scale};
    return add_node(g, EYE_OP_sum, &x, 1, &a);
}

eye_val eye_scale(struct eye_graph *g, eye_val x, float scale) {
    struct eye_attr a = {.scale = scale};
    return scale == 1 ? x : add_node(g, EYE_OP_scale, &x, 1, &a);
}

void eye_graph_unfreeze(struct eye_graph *g, eye_val v, float *data) {
    struct eye_value *w = &g->value[v];
    assert(w->kind == EYE_VAL_WEIGHT);
    w->dtype = EYE_F32;
    w->data = data;
    w->pair_rows = 0;
    w->row_scale = NULL;
    w->transposed = false;
    w->trainable = true;
}
