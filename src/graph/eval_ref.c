/* The oracle executor: every value in memory of its own, one node after the other through the references. Slow on purpose. */
#include "graph/ref.h"

#include <string.h>

struct eval {
    const struct eye_graph *g;
    const struct eye_bind *bind;
    struct eye_ref_value *value; /* by value index; f == NULL until it exists */
    struct eye_arena arena;
};

static enum eye_status give_memory(struct eval *e, eye_val v, struct eye_err *err) {
    const struct eye_value *x = &e->g->value[v];
    struct eye_ref_value *r = &e->value[v];
    size_t bytes;
    r->rank = x->rank;
    for (int i = 0; i < x->rank; i++) r->dims[i] = eye_bind_dim(e->bind, x->dims[i]);
    if (!eye_value_elems(x, e->bind, &r->n) || !eye_mul_ok((size_t)r->n, sizeof *r->f, &bytes))
        return eye_fail(err, EYE_E_LIMIT, "graph: value \"%s\" is too large", x->name);
    r->f = eye_arena_alloc(&e->arena, bytes + 1);
    return r->f ? EYE_OK : eye_fail_nomem(err, bytes);
}

static void widen(struct eye_ref_value *r, const float *src) {
    for (int64_t i = 0; i < r->n; i++) r->f[i] = (double)src[i];
}

static void narrow(float *dst, const struct eye_ref_value *r) {
    for (int64_t i = 0; i < r->n; i++) dst[i] = (float)r->f[i];
}

/* What the caller gives is widened once, as the weights are. */
static enum eye_status bind_leaves(struct eval *e, const struct eye_ref_io *in, size_t n_in, struct eye_err *err) {
    for (size_t i = 0; i < n_in; i++) {
        struct eye_ref_value *r = &e->value[in[i].v];
        EYE_TRY(give_memory(e, in[i].v, err));
        if (e->g->value[in[i].v].dtype == EYE_I32) r->i = in[i].data;
        else widen(r, in[i].data);
    }
    for (size_t v = 0; v < e->g->n_values; v++) {
        const struct eye_value *x = &e->g->value[v];
        struct eye_ref_value *r = &e->value[v];
        if (x->kind != EYE_VAL_WEIGHT || x->n_uses == 0) continue;
        EYE_TRY(give_memory(e, (eye_val)v, err));
        int64_t rows = x->rank ? x->dims[0] : 1, n = r->n / EYE_MAX(rows, 1);
        float *row = eye_arena_alloc(&e->arena, (size_t)n * sizeof *row + 1);
        if (!row) return eye_fail_nomem(err, (size_t)n * sizeof *row);
        for (int64_t k = 0; x->rank && k < rows; k++) {
            eye_weight_row(x, k, row);
            for (int64_t i = 0; i < n; i++) r->f[k * n + i] = (double)row[i];
        }
    }
    return EYE_OK;
}

static enum eye_status run_node(struct eval *e, const struct eye_node *n, struct eye_err *err) {
    static eye_ref_fn *const fn[EYE_N_OP] = {
#define OP(name, min_in, max_in, flags) eye_ref_##name,
#include "graph/ops.def"
    };
    struct eye_ref_ctx c = {.node = n, .out = &e->value[n->out], .bind = e->bind};
    c.by_segment = n->n_in > 0 && eye_dim(e->g, n->in[0], 0) == EYE_DIM_T;
    for (int i = 0; i < n->n_in; i++) {
        if (n->in[i] == EYE_NONE) continue;
        c.in[i] = &e->value[n->in[i]];
        if (!c.in[i]->f) return eye_fail(err, EYE_E_ARG, "graph: \"%s\" was given no data", e->g->value[n->in[i]].name);
    }
    EYE_TRY(give_memory(e, n->out, err));
    EYE_TRY(fn[n->op](&c, err));
    const struct eye_value *out = &e->g->value[n->out];
    bool rounded = out->dtype == EYE_U8 || out->dtype == EYE_I16;
    for (int64_t i = 0; rounded && i < c.out->n; i++) c.out->f[i] = eye_quant_round(&out->quant, c.out->f[i]);
    return EYE_OK;
}

static bool has_states(const struct eye_graph *g) {
    for (size_t v = 0; v < g->n_values; v++)
        if (g->value[v].kind == EYE_VAL_STATE && g->value[v].n_uses) return true;
    return false;
}

static enum eye_status give_results(const struct eval *e, const struct eye_ref_io *in, size_t n_in,
                                    const struct eye_ref_io *out, size_t n_out, bool wide, struct eye_err *err) {
    for (size_t i = 0; i < n_in; i++)
        if (e->g->value[in[i].v].kind == EYE_VAL_STATE) narrow(in[i].data, &e->value[in[i].v]);
    for (size_t i = 0; i < n_out; i++) {
        const struct eye_ref_value *r = &e->value[out[i].v];
        if (!r->f) return eye_fail(err, EYE_E_ARG, "graph: \"%s\" is not computed by this graph", e->g->value[out[i].v].name);
        if (wide) memcpy(out[i].data, r->f, (size_t)r->n * sizeof *r->f);
        else narrow(out[i].data, r);
    }
    return EYE_OK;
}

static enum eye_status evaluate(const struct eye_graph *g, const struct eye_bind *bind, const struct eye_ref_io *in,
                                size_t n_in, const struct eye_ref_io *out, size_t n_out, bool wide, struct eye_err *err) {
    struct eval e = {.g = g, .bind = bind};
    size_t bytes = (g->n_values + 1) * sizeof *e.value;
    e.value = eye_alloc_zero(g->alloc, bytes);
    if (!e.value) return eye_fail_nomem(err, bytes);
    eye_arena_init(&e.arena, g->alloc);
    enum eye_status st = eye_bind_check(bind, has_states(g), err);
    if (st == EYE_OK) st = bind_leaves(&e, in, n_in, err);
    for (size_t i = 0; i < g->n_nodes && st == EYE_OK; i++) st = run_node(&e, &g->node[i], err);
    if (st == EYE_OK) st = give_results(&e, in, n_in, out, n_out, wide, err);
    eye_arena_clear(&e.arena);
    eye_alloc_free(g->alloc, e.value, bytes);
    return st;
}

enum eye_status eye_graph_eval_ref(const struct eye_graph *g, const struct eye_bind *bind, const struct eye_ref_io *in,
                                   size_t n_in, const struct eye_ref_io *out, size_t n_out, struct eye_err *err) {
    return evaluate(g, bind, in, n_in, out, n_out, false, err);
}

enum eye_status eye_graph_eval_f64(const struct eye_graph *g, const struct eye_bind *bind, const struct eye_ref_io *in,
                                   size_t n_in, const struct eye_ref_io *out, size_t n_out, struct eye_err *err) {
    return evaluate(g, bind, in, n_in, out, n_out, true, err);
}
