/* The fuse pass: what the executor does better in one go. Patterns, each on results with one reader:
 *
 *   act(linear | conv2d)                -> attr.act of the producer
 *   add(r, linear)                      -> residual input of the linear
 *   linear(linear with act)             -> ffn, hidden rows never leave the cache   (takes act and residual along)
 *   mul(act silu (a), b)                -> swiglu
 *
 * Exporters and gradients never see the results: they read the graph before this pass.
 */
#include "graph/graph_impl.h"

#include <string.h>

struct fuse {
    struct eye_graph *g;
    bool keep_taps;
};

/* v has one reader and nobody asks for it by name. */
static bool inner(const struct fuse *f, eye_val v) {
    const struct eye_value *x = &f->g->value[v];
    return x->n_uses == 1 && !(f->keep_taps && x->name[0]);
}

static struct eye_node *inner_producer(const struct fuse *f, eye_val v, enum eye_op op) {
    struct eye_node *p = eye_producer(f->g, v);
    return p && p->op == op && inner(f, v) ? p : NULL;
}

/* n takes over p's operation and inputs; its own result stays. */
static void absorb(struct eye_graph *g, struct eye_node *n, struct eye_node *p) {
    eye_val in[EYE_MAX_IN];
    int n_in = p->n_in;
    memcpy(in, p->in, sizeof in);
    for (int i = 0; i < n_in; i++) eye_node_set_in(g, n, i, in[i]);
    for (int i = n_in; i < n->n_in; i++) {
        if (n->in[i] != EYE_NONE) g->value[n->in[i]].n_uses--;
        n->in[i] = EYE_NONE;
    }
    n->n_in = n_in;
    n->op = p->op;
    n->attr = p->attr;
    if (g->value[p->out].n_uses == 0) eye_node_kill(g, p);
}

static void fuse_act(struct fuse *f, struct eye_node *n) {
    struct eye_node *p = inner_producer(f, n->in[0], EYE_OP_linear);
    if (!p) p = inner_producer(f, n->in[0], EYE_OP_conv2d);
    if (!p || p->attr.act != EYE_ACT_NONE || (p->op == EYE_OP_linear && p->n_in > 3)) return;
    enum eye_act_kind act = n->attr.act;
    absorb(f->g, n, p);
    n->attr.act = act;
}

static void fuse_residual(struct fuse *f, struct eye_node *n) {
    for (int side = 1; side >= 0; side--) {
        struct eye_node *p = inner_producer(f, n->in[side], EYE_OP_linear);
        eye_val r = n->in[1 - side];
        const struct eye_value *a = &f->g->value[n->in[side]], *b = &f->g->value[r];
        if (!p || p->n_in > 3 || p->attr.act != EYE_ACT_NONE || a->rank != b->rank || memcmp(a->dims, b->dims, sizeof a->dims)) continue;
        f->g->value[r].n_uses++; /* hold it over the rewrite */
        absorb(f->g, n, p);
        if (n->n_in < 3) eye_node_set_in(f->g, n, 2, EYE_NONE);
        eye_node_set_in(f->g, n, 3, r);
        f->g->value[r].n_uses--;
        return;
    }
}

/* The executor packs both matrices of an ffn beforehand: its weights must stay as they are. */
static bool is_constant(const struct fuse *f, const struct eye_node *n) {
    for (int i = 1; i < n->n_in && i < 3; i++) {
        const struct eye_value *w = n->in[i] == EYE_NONE ? NULL : &f->g->value[n->in[i]];
        if (w && (w->kind != EYE_VAL_WEIGHT || w->trainable)) return false;
    }
    return true;
}

static void fuse_ffn(struct fuse *f, struct eye_node *n) {
    struct eye_node *p = inner_producer(f, n->in[0], EYE_OP_linear);
    if (!p || p->n_in > 3 || n->attr.act != EYE_ACT_NONE) return;
    if (eye_node_is_int8(f->g, p) || eye_node_is_int8(f->g, n)) return; /* its hidden rows have a range of their own */
    if (p->attr.wtype != n->attr.wtype) return; /* one attribute for both; a converted file holds each in its own type */
    if (!is_constant(f, p) || !is_constant(f, n)) return;
    eye_val in[6] = {p->in[0], p->in[1], p->n_in > 2 ? p->in[2] : EYE_NONE, n->in[1], n->n_in > 2 ? n->in[2] : EYE_NONE,
                     n->n_in > 3 ? n->in[3] : EYE_NONE};
    enum eye_act_kind act = p->attr.act;
    for (int i = 0; i < 6; i++)
        if (in[i] != EYE_NONE) f->g->value[in[i]].n_uses++;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] != EYE_NONE) f->g->value[n->in[i]].n_uses--;
    memcpy(n->in, in, sizeof in);
    n->n_in = in[5] != EYE_NONE ? 6 : in[4] != EYE_NONE ? 5 : 4;
    n->op = EYE_OP_ffn;
    n->attr.act = act;
    eye_node_kill(f->g, p);
}

static void fuse_swiglu(struct fuse *f, struct eye_node *n) {
    for (int side = 0; side < 2; side++) {
        struct eye_node *p = inner_producer(f, n->in[side], EYE_OP_act);
        const struct eye_value *a = &f->g->value[n->in[0]], *b = &f->g->value[n->in[1]];
        if (!p || p->attr.act != EYE_ACT_SILU || a->rank != b->rank || memcmp(a->dims, b->dims, sizeof a->dims)) continue;
        eye_val gate = p->in[0], up = n->in[1 - side];
        f->g->value[up].n_uses++;
        eye_node_set_in(f->g, n, 0, gate);
        eye_node_set_in(f->g, n, 1, up);
        f->g->value[up].n_uses--;
        n->op = EYE_OP_swiglu;
        n->attr = (struct eye_attr){0};
        eye_node_kill(f->g, p);
        return;
    }
}

enum eye_status eye_graph_fuse(struct eye_graph *g, bool keep_taps, struct eye_err *err) {
    struct fuse f = {g, keep_taps};
    /* swiglu first: its silu must not disappear into the gate's linear */
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->node[i].op == EYE_OP_mul) fuse_swiglu(&f, &g->node[i]);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->node[i].op == EYE_OP_act) fuse_act(&f, &g->node[i]);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->node[i].op == EYE_OP_add) fuse_residual(&f, &g->node[i]);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->node[i].op == EYE_OP_linear) fuse_ffn(&f, &g->node[i]);
    return eye_graph_compact(g, err);
}
