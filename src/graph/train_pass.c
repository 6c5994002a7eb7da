/* Passes that turn a model's graph into one to train: they edit what the family files built, which know nothing of training.
 * Each may break the order of the nodes; the gradient pass, which follows, restores it. */
#include "graph/graph_impl.h"

#include <stdio.h>
#include <string.h>

void eye_graph_drop_states(struct eye_graph *g) {
    for (size_t k = 0; k < g->n_nodes; k++) {
        struct eye_node *n = &g->node[k];
        if (n->op != EYE_OP_attention) continue;
        for (int i = 3; i < n->n_in; i++) eye_node_set_in(g, n, i, EYE_NONE);
        n->n_in = 3;
    }
}

/* All readers of v among the first n_nodes read with instead. */
static void redirect(struct eye_graph *g, size_t n_nodes, eye_val v, eye_val with) {
    for (size_t k = 0; k < n_nodes; k++)
        for (int i = 0; i < g->node[k].n_in; i++)
            if (g->node[k].in[i] == v) eye_node_set_in(g, &g->node[k], i, with);
}

eye_val eye_graph_add_dropout(struct eye_graph *g, eye_val v, eye_val seed, float p, uint32_t salt) {
    size_t n_nodes = g->n_nodes;
    eye_val y = eye_dropout(g, v, seed, p, salt);
    if (y != EYE_NONE && y != v) redirect(g, n_nodes, v, y);
    return y;
}

size_t eye_graph_train_norms(struct eye_graph *g, bool (*wants)(void *ctx, const char *gamma), void *ctx,
                             struct eye_train_norm *out, size_t cap) {
    size_t n = 0, n_nodes = g->n_nodes;
    for (size_t k = 0; k < n_nodes && g->status == EYE_OK; k++) {
        struct eye_node b = g->node[k];
        if (b.op != EYE_OP_batch_norm || (wants && !wants(ctx, g->value[b.in[1]].name))) continue;
        if (n++ >= cap) continue;
        eye_val stats = eye_bn_stats(g, b.in[0]);
        if (stats == EYE_NONE) break;
        out[n - 1] = (struct eye_train_norm){.mean = b.in[3], .var = b.in[4], .stats = stats, .x = b.in[0]};
        eye_output(g, stats);
        struct eye_node *at = &g->node[k]; /* the result keeps its value and tap */
        at->op = EYE_OP_bn_apply;
        eye_node_set_in(g, at, 1, stats);
        eye_node_set_in(g, at, 2, b.in[1]);
        eye_node_set_in(g, at, 3, b.in[2]);
        eye_node_set_in(g, at, 4, EYE_NONE);
        at->n_in = 4;
    }
    return n;
}

/* A weight [n,k] named after w, without data. */
static eye_val lora_weight(struct eye_graph *g, eye_val w, const char *end, int64_t n, int64_t k) {
    char name[160];
    struct eye_tensor t = {.dtype = EYE_F32, .rank = 2, .dims = {n, k}};
    snprintf(name, sizeof name, "%s.%s", g->value[w].name, end);
    return eye_weight(g, name, &t);
}

size_t eye_graph_add_lora(struct eye_graph *g, eye_val w, int64_t rank, float scale, eye_val pair[2]) {
    size_t n = 0, n_nodes = g->n_nodes;
    pair[0] = pair[1] = EYE_NONE;
    for (size_t k = 0; k < n_nodes; k++) {
        if (g->node[k].op != EYE_OP_linear || g->node[k].in[1] != w) continue;
        if (n++ == 0) {
            pair[0] = lora_weight(g, w, "lora_a", rank, eye_dim(g, w, 1));
            pair[1] = lora_weight(g, w, "lora_b", eye_dim(g, w, 0), rank);
        }
        eye_val x = g->node[k].in[0], y = g->node[k].out;
        eye_val side = eye_scale(g, eye_linear(g, eye_linear(g, x, pair[0], EYE_NONE), pair[1], EYE_NONE), scale);
        /* The sum takes the linear's place: its readers, its name. */
        eye_val sum = eye_add(g, y, side);
        if (sum == EYE_NONE) break;
        redirect(g, n_nodes, y, sum);
        g->value[sum].name = g->value[y].name;
        g->value[y].name = "";
    }
    return n;
}
