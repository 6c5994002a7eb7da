/* The gradient pass: appends to a graph the nodes that compute a loss's gradients, from the loss backwards; each forward node's
 * rule (grad_dense.c, grad_rows.c, by row of ops.def) does its own part. A value that several nodes read gets the sum. Reads
 * the graph before fuse. Knows no optimiser. */
#include "graph/grad.h"

#include <stdlib.h>
#include <string.h>

/* ---- sums of gradients; those of neighbouring slices (a fused q, k, v) are laid side by side instead ---- */

static bool same_shape(const struct eye_graph *g, eye_val a, eye_val b) {
    const struct eye_value *x = &g->value[a], *y = &g->value[b];
    return x->rank == y->rank && memcmp(x->dims, y->dims, (size_t)x->rank * sizeof x->dims[0]) == 0;
}

/* The node that makes v, reshapes to and fro apart. */
static const struct eye_node *maker(struct eye_graph *g, eye_val v) {
    eye_val at = v, found = v;
    for (const struct eye_node *p = eye_producer(g, at); p && p->op == EYE_OP_reshape; p = eye_producer(g, at)) {
        at = p->in[0];
        if (same_shape(g, at, v)) found = at;
    }
    return eye_producer(g, found);
}

/* a, then b along the axis: what they were cut from where that is so. */
static eye_val side_by_side(struct eye_graph *g, eye_val a, eye_val b, int axis) {
    const struct eye_node *p = maker(g, a), *q = maker(g, b);
    bool cut = p && q && p->op == EYE_OP_slice && q->op == EYE_OP_slice && p->in[0] == q->in[0] && p->attr.axis == axis &&
               q->attr.axis == axis && p->attr.begin + p->attr.length == q->attr.begin;
    if (!cut) return eye_concat(g, a, b, axis);
    int64_t length = (int64_t)p->attr.length + q->attr.length;
    return length == eye_dim(g, p->in[0], axis) ? p->in[0] : eye_slice(g, p->in[0], axis, p->attr.begin, length);
}

static eye_val add(struct eye_graph *g, eye_val a, eye_val b) {
    const struct eye_node *p = eye_producer(g, a), *q = eye_producer(g, b);
    if (!p || !q || p->op != EYE_OP_slice_grad || q->op != EYE_OP_slice_grad || p->attr.axis != q->attr.axis)
        return eye_add(g, a, b);
    if (p->attr.begin > q->attr.begin) {
        const struct eye_node *swap = p;
        p = q;
        q = swap;
    }
    struct eye_attr at = p->attr;
    if (at.begin + eye_dim(g, p->in[0], at.axis) != q->attr.begin) return eye_add(g, a, b);
    eye_val both = side_by_side(g, p->in[0], q->in[0], at.axis);
    if (both == EYE_NONE || eye_dim(g, both, at.axis) == at.length) return both;
    return eye_node_add(g, EYE_OP_slice_grad, &both, 1, &at);
}

void eye_grad_give(struct eye_grad *s, const struct eye_node *n, int i, eye_val part) {
    if (part == EYE_NONE || !eye_grad_wants(s, n, i)) return;
    eye_val *sum = &s->sum[n->in[i]];
    *sum = *sum == EYE_NONE ? part : add(s->g, *sum, part);
}

void eye_grad_refuse(struct eye_grad *s, const struct eye_node *n, int i) {
    if (eye_grad_wants(s, n, i))
        eye_graph_fail(s->g, EYE_E_UNSUPPORTED, "gradient: none with respect to input %d of %s (\"%s\")", i,
                       eye_op_info(n->op)->name, s->g->value[n->in[i]].name);
}

static void backward(struct eye_grad *s, const struct eye_node *n) {
    static eye_grad_fn *const rule[EYE_N_OP] = {
#define OP(name, min_in, max_in, flags) eye_grad_##name,
#define OP_NO_GRAD(name, min_in, max_in, flags) NULL,
#include "graph/ops.def"
    };
    if (s->sum[n->out] == EYE_NONE || !s->wanted[n->out]) return;
    bool leads = false;
    for (int i = 0; i < n->n_in; i++) leads = leads || eye_grad_wants(s, n, i);
    if (!leads) return;
    if (rule[n->op]) rule[n->op](s, n, s->sum[n->out]);
    else eye_graph_fail(s->g, EYE_E_UNSUPPORTED, "gradient: %s has none", eye_op_info(n->op)->name);
}

/* 1, the gradient of the loss itself. */
static eye_val one(struct eye_graph *g) {
    static const float data = 1;
    struct eye_tensor t = {.data = &data, .dtype = EYE_F32, .rank = 1, .dims = {1}};
    return eye_weight(g, "", &t);
}

static int by_value(const void *pa, const void *pb) {
    eye_val a = *(const eye_val *)pa, b = *(const eye_val *)pb;
    return (a > b) - (a < b);
}

/* In the order in which they were appended, which is the order that compact keeps: each weight's gradient is made where its
 * operands are at hand, not after the whole way back. list: scratch of n. */
static void make_outputs(struct eye_graph *g, const eye_val *grad, size_t n, eye_val *list) {
    if (n == 0) return;
    memcpy(list, grad, n * sizeof *list);
    qsort(list, n, sizeof *list, by_value);
    for (size_t i = 0; i < n; i++) eye_output(g, list[i]);
}

static enum eye_status append(struct eye_grad *s, eye_val loss, const eye_val *wrt, size_t n, eye_val *grad, bool *wanted,
                              eye_val *list, struct eye_err *err) {
    struct eye_graph *g = s->g;
    size_t n_nodes = g->n_nodes;
    for (size_t v = 0; v < g->n_values; v++) s->sum[v] = EYE_NONE;
    for (size_t i = 0; i < n; i++) wanted[wrt[i]] = true;
    for (size_t k = 0; k < n_nodes; k++)
        for (int i = 0; i < g->node[k].n_in; i++)
            if (g->node[k].in[i] != EYE_NONE && wanted[g->node[k].in[i]]) wanted[g->node[k].out] = true;
    if (wanted[loss]) s->sum[loss] = one(g);
    for (size_t k = n_nodes; k-- > 0;) {
        struct eye_node node = g->node[k];
        backward(s, &node);
    }
    for (size_t i = 0; i < n; i++) grad[i] = s->sum[wrt[i]];
    make_outputs(g, grad, n, list);
    return eye_graph_finish(g, err);
}

enum eye_status eye_graph_gradient(struct eye_graph *g, eye_val loss, const eye_val *wrt, size_t n, eye_val *grad,
                                   struct eye_err *err) {
    if (g->status == EYE_OK && loss != EYE_NONE && (g->value[loss].rank != 1 || g->value[loss].dims[0] != 1))
        return eye_fail(err, EYE_E_ARG, "gradient: a loss is one number, [1]; \"%s\" is not", g->value[loss].name);
    eye_output(g, loss);
    EYE_TRY(eye_graph_finish(g, err));
    size_t n_values = g->n_values, bytes;
    if (!eye_mul_ok(n_values + n, sizeof(eye_val) + sizeof(bool), &bytes))
        return eye_fail(err, EYE_E_LIMIT, "gradient: too many values");
    eye_val *sum = eye_alloc_zero(g->alloc, bytes);
    if (!sum) return eye_fail_nomem(err, bytes);
    bool *wanted = (bool *)(sum + n_values + n);
    struct eye_grad s = {g, sum, wanted};
    enum eye_status st = append(&s, loss, wrt, n, grad, wanted, sum + n_values, err);
    eye_alloc_free(g->alloc, sum, bytes);
    return st;
}
