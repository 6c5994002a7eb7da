/* Gradient rules of the ops that multiply and sum: convolution, linear, batch norm, attention, embedding. d: gradient of the
 * node's result. */
#include "graph/grad.h"

#include <string.h>

/* Gradients are taken of unfused graphs: there an activation is a node of its own. */
static bool is_plain(struct eye_grad *s, const struct eye_node *n) {
    if (n->attr.act == EYE_ACT_NONE) return true;
    eye_graph_fail(s->g, EYE_E_UNSUPPORTED, "gradient: %s with an activation fused into it", eye_op_info(n->op)->name);
    return false;
}

/* The node's own attributes, and the shape of what d was made from. */
static struct eye_attr attr_like(const struct eye_grad *s, const struct eye_node *n, eye_val like) {
    struct eye_attr a = n->attr;
    a.rank = s->g->value[like].rank;
    memcpy(a.dims, s->g->value[like].dims, sizeof a.dims);
    return a;
}

void eye_grad_conv2d(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    if (!is_plain(s, n)) return;
    for (int i = 0; i < 2; i++) {
        struct eye_attr a = attr_like(s, n, n->in[i]);
        enum eye_op op = i == 0 ? EYE_OP_conv2d_dx : EYE_OP_conv2d_dw;
        if (eye_grad_wants(s, n, i)) eye_grad_give(s, n, i, eye_node_add(s->g, op, (eye_val[]){d, n->in[1 - i]}, 2, &a));
    }
    if (eye_grad_wants(s, n, 2)) eye_grad_give(s, n, 2, eye_node_add(s->g, EYE_OP_sum_rows, &d, 1, NULL));
}

void eye_grad_linear(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    const struct eye_attr ta = {.ta = true};
    if (!is_plain(s, n)) return;
    if (eye_grad_wants(s, n, 0)) eye_grad_give(s, n, 0, eye_node_add(s->g, EYE_OP_matmul, (eye_val[]){d, n->in[1]}, 2, NULL));
    if (eye_grad_wants(s, n, 1)) eye_grad_give(s, n, 1, eye_node_add(s->g, EYE_OP_matmul, (eye_val[]){d, n->in[0]}, 2, &ta));
    if (eye_grad_wants(s, n, 2)) eye_grad_give(s, n, 2, eye_node_add(s->g, EYE_OP_sum_rows, &d, 1, NULL));
    eye_grad_give(s, n, 3, d);
}

/* Row i of [2,C] as [C]. */
static eye_val row(struct eye_graph *g, eye_val x, int64_t i) {
    return eye_reshape(g, eye_slice(g, x, 0, i, 1), 1, (int64_t[]){eye_dim(g, x, 1)});
}

/* gamma and beta stand at inputs i and i + 1; sums are bn_sums. */
static void give_affine(struct eye_grad *s, const struct eye_node *n, int i, eye_val sums) {
    if (eye_grad_wants(s, n, i)) eye_grad_give(s, n, i, row(s->g, sums, 1));
    if (eye_grad_wants(s, n, i + 1)) eye_grad_give(s, n, i + 1, row(s->g, sums, 0));
}

static eye_val bn_sums(struct eye_grad *s, const struct eye_node *n, eye_val d, eye_val stats) {
    return eye_node_add(s->g, EYE_OP_bn_sums, (eye_val[]){d, n->in[0], stats}, 3, &n->attr);
}

/* Frozen statistics are constants. */
void eye_grad_batch_norm(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    int64_t one_row[2] = {1, eye_dim(s->g, n->in[1], 0)};
    eye_val mean = eye_reshape(s->g, n->in[3], 2, one_row), var = eye_reshape(s->g, n->in[4], 2, one_row);
    eye_val stats = eye_concat(s->g, mean, var, 0);
    eye_grad_refuse(s, n, 3);
    eye_grad_refuse(s, n, 4);
    if (eye_grad_wants(s, n, 0))
        eye_grad_give(s, n, 0, eye_node_add(s->g, EYE_OP_bn_dx, (eye_val[]){d, stats, n->in[1]}, 3, &n->attr));
    if (eye_grad_wants(s, n, 1) || eye_grad_wants(s, n, 2)) give_affine(s, n, 1, bn_sums(s, n, d, stats));
}

/* The statistics are those of x, and depend on it: the rule goes through bn_stats. Or they are constants. */
void eye_grad_bn_apply(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    const struct eye_node *stats = eye_producer(s->g, n->in[1]);
    bool own = stats && stats->op == EYE_OP_bn_stats && stats->in[0] == n->in[0];
    eye_val in[5] = {d, n->in[1], n->in[2], EYE_NONE, EYE_NONE}, sums = EYE_NONE;
    if (!own) eye_grad_refuse(s, n, 1);
    if ((own && eye_grad_wants(s, n, 0)) || eye_grad_wants(s, n, 2) || eye_grad_wants(s, n, 3))
        sums = bn_sums(s, n, d, n->in[1]);
    if (own) {
        in[3] = n->in[0];
        in[4] = sums;
    }
    if (eye_grad_wants(s, n, 0)) eye_grad_give(s, n, 0, eye_node_add(s->g, EYE_OP_bn_dx, in, own ? 5 : 3, &n->attr));
    give_affine(s, n, 2, sums);
}

void eye_grad_embed(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    struct eye_attr a = attr_like(s, n, n->in[1]);
    eye_grad_give(s, n, 1, eye_node_add(s->g, EYE_OP_embed_grad, (eye_val[]){d, n->in[0]}, 2, &a));
}

void eye_grad_positions(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    struct eye_attr a = attr_like(s, n, n->in[0]);
    eye_grad_give(s, n, 0, eye_node_add(s->g, EYE_OP_positions_grad, &d, 1, &a));
}

void eye_grad_attention(struct eye_grad *s, const struct eye_node *n, eye_val d) {
    struct eye_graph *g = s->g;
    if (n->n_in > 3) {
        eye_graph_fail(g, EYE_E_UNSUPPORTED,
                       "gradient: attention over a cache (eye_graph_drop_states comes first) or of picked rows");
        return;
    }
    eye_val all = eye_node_add(g, EYE_OP_attention_grad, (eye_val[]){d, n->in[0], n->in[1], n->in[2]}, 4, &n->attr);
    int64_t begin = 0;
    for (int i = 0; i < 3; i++) {
        struct eye_value x = g->value[n->in[i]];
        int64_t width = x.dims[x.rank - 2] * x.dims[x.rank - 1];
        if (eye_grad_wants(s, n, i))
            eye_grad_give(s, n, i, eye_reshape(g, eye_slice(g, all, x.rank - 2, begin, width), x.rank, x.dims));
        begin += width;
    }
}
