/* calibrate: layers as sections, their linears in groups, each group's statistics, the rounded matrices. */
#include "pack/calibrate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/sys.h"
#include "pack/dense.h"

struct walk {
    struct eye_calibrated *c;
    const struct eye_vlm *m;
    const struct eye_pairs *p;
    const struct eye_calibrate_opts *opts;
    struct eye_engine e;
    float *rows;         /* [n_ids, hidden] at the boundary before the layer */
    float *out;          /* [longest, widest] of one pair */
    size_t out_cap;      /* floats */
    int64_t layer;
};

struct section { /* one layer, ready to run up to some value */
    struct eye_graph g;
    bool has_graph;
    struct eye_plan *plan;
    struct eye_exec *exec;
    struct eye_kv *kv;
    eye_val in, wanted;
};

/* ---- what was rounded ---- */

void eye_calibrated_init(struct eye_calibrated *c, const struct eye_alloc *alloc) {
    *c = (struct eye_calibrated){.alloc = alloc};
    eye_arena_init(&c->arena, alloc);
    eye_strmap_init(&c->by_name, alloc);
}

void eye_calibrated_clear(struct eye_calibrated *c) {
    for (size_t i = 0; i < c->n; i++) eye_pages_free(c->tensor[i].rows, c->tensor[i].bytes);
    eye_alloc_free(c->alloc, c->tensor, c->cap * sizeof *c->tensor);
    eye_strmap_clear(&c->by_name);
    eye_arena_clear(&c->arena);
}

const struct eye_calibrated_tensor *eye_calibrated_find(const struct eye_calibrated *c, const char *name) {
    int32_t i = eye_strmap_get(&c->by_name, name, strlen(name));
    return i < 0 ? NULL : &c->tensor[i];
}

struct eye_value eye_calibrated_value(const struct eye_calibrated *c, const struct eye_value *w) {
    const struct eye_calibrated_tensor *t = w->kind == EYE_VAL_WEIGHT ? eye_calibrated_find(c, w->name) : NULL;
    struct eye_value v = *w;
    if (!t) return v;
    v.dtype = t->dtype;
    v.data = t->rows;
    v.row_scale = NULL;
    v.pair_rows = 0;
    v.transposed = false;
    return v;
}

bool eye_round_is_near(const struct eye_round_cost *c, double snr_db) {
    return c->weighted_err * pow(10, snr_db / 10) <= c->weighted_all;
}

/* Room for the rows of t [n, k] in a type; what it had goes. */
static enum eye_status make_rows(struct eye_calibrated_tensor *t, enum eye_dtype dtype, struct eye_err *err) {
    size_t row_bytes;
    eye_pages_free(t->rows, t->bytes);
    t->rows = NULL;
    t->dtype = dtype;
    if (!eye_dtype_row_bytes(dtype, (uint64_t)t->k, &row_bytes) || !eye_mul_ok(row_bytes, (size_t)t->n, &t->bytes))
        return eye_fail_nomem(err, SIZE_MAX);
    t->rows = eye_pages_alloc(t->bytes);
    return t->rows ? EYE_OK : eye_fail_nomem(err, t->bytes);
}

static enum eye_status add_tensor(struct eye_calibrated *c, const struct eye_value *w, enum eye_dtype dtype,
                                  struct eye_calibrated_tensor **out, struct eye_err *err) {
    struct eye_calibrated_tensor t = {.n = w->dims[0], .k = w->dims[1]};
    void *list = c->tensor;
    EYE_TRY(eye_alloc_grow(c->alloc, &list, &c->cap, c->n + 1, sizeof *c->tensor, err));
    c->tensor = list;
    t.name = eye_arena_strdup(&c->arena, w->name, strlen(w->name));
    if (!t.name) return eye_fail_nomem(err, strlen(w->name) + 1);
    EYE_TRY(eye_strmap_put(&c->by_name, t.name, strlen(t.name), (int32_t)c->n, NULL, err));
    EYE_TRY(make_rows(&t, dtype, err));
    *out = &c->tensor[c->n++];
    **out = t;
    return EYE_OK;
}

/* ---- sections ---- */

static enum eye_status check_cancel(const struct walk *w, struct eye_err *err) {
    bool stop = w->opts->cancel && w->opts->cancel(w->opts->cancel_ctx);
    return stop ? eye_fail(err, EYE_E_CANCELLED, "calibration: cancelled") : EYE_OK;
}

static eye_val layer_value(const struct eye_graph *g, int64_t layer) {
    char name[32];
    snprintf(name, sizeof name, "t.layer%lld", (long long)layer);
    return layer < 0 ? g->input[0] : eye_graph_find(g, name);
}

/* The layer's graph with the matrices rounded so far. Building is repeatable: values have the same numbers each time. */
static enum eye_status section_build(const struct walk *w, struct section *s, struct eye_err *err) {
    memset(s, 0, sizeof *s);
    EYE_TRY(eye_vlm_graph(w->m, EYE_PART_DECODER, 0, &s->g, err));
    s->has_graph = true;
    EYE_TRY(eye_graph_fold(&s->g, err));
    eye_val out = layer_value(&s->g, w->layer);
    s->in = layer_value(&s->g, w->layer - 1);
    s->wanted = out;
    if (s->in == EYE_NONE || out == EYE_NONE)
        return eye_fail(err, EYE_E_UNSUPPORTED, "calibration: the decoder \"%s\" names no layers", w->m->config.text.family);
    EYE_TRY(eye_graph_cut(&s->g, s->in, out, err));
    for (size_t i = 0; i < s->g.n_values; i++) s->g.value[i] = eye_calibrated_value(w->c, &s->g.value[i]);
    return EYE_OK;
}

static enum eye_status section_ready(const struct walk *w, struct section *s, eye_val wanted, struct eye_err *err) {
    struct eye_plan_opts opts = {.max_t = (int64_t)w->p->longest, .kv_type = EYE_KV_F32};
    s->wanted = wanted;
    eye_output(&s->g, wanted);
    EYE_TRY(eye_plan_new(&s->plan, &w->e, &s->g, &opts, err));
    EYE_TRY(eye_exec_new(&s->exec, s->plan, err));
    return eye_kv_new(&s->kv, s->plan, opts.max_t, err);
}

static void section_clear(struct section *s) {
    eye_kv_free(s->kv);
    eye_exec_free(s->exec);
    eye_plan_free(s->plan);
    if (s->has_graph) eye_graph_clear(&s->g);
}

static enum eye_status section_run(const struct walk *w, struct section *s, float *in, size_t n, float *out,
                                   struct eye_err *err) {
    struct eye_io i = {s->in, in}, o = {s->wanted, out};
    return eye_exec_run(s->exec, s->kv, &(struct eye_bind){.t = (int64_t)n}, &i, 1, &o, 1, w->opts->cancel, w->opts->cancel_ctx,
                        err);
}

/* ---- statistics ---- */

static enum eye_status moments_init(struct eye_moments *m, const struct walk *w, size_t k, struct eye_err *err) {
    *m = (struct eye_moments){.k = k, .diag = eye_alloc_zero(w->c->alloc, k * sizeof *m->diag)};
    if (!m->diag) return eye_fail_nomem(err, k * sizeof *m->diag);
    if (k > EYE_CALIBRATE_MAX_K) return EYE_OK;
    m->h = eye_pages_alloc(k * k * sizeof *m->h);
    return m->h ? EYE_OK : eye_fail_nomem(err, k * k * sizeof *m->h);
}

static void moments_clear(struct eye_moments *m, const struct walk *w) {
    if (m->h) eye_pages_free(m->h, m->k * m->k * sizeof *m->h);
    eye_alloc_free(w->c->alloc, m->diag, m->k * sizeof *m->diag);
}

static enum eye_status moments_add(struct eye_moments *m, const struct walk *w, const float *x, size_t n, struct eye_err *err) {
    m->n += n;
    for (size_t i = 0; i < n * m->k; i++) m->diag[i % m->k] += x[i] * x[i];
    return m->h ? eye_dense_gram(&w->e, n, m->k, x, x, m->h, err) : EYE_OK;
}

/* The inputs that value x takes over the calibration pairs. */
static enum eye_status observe(struct walk *w, eye_val x, struct eye_moments *m, struct eye_err *err) {
    struct section s;
    size_t hidden = (size_t)w->m->config.text.hidden, row = 0;
    enum eye_status st = section_build(w, &s, err);
    if (st == EYE_OK) st = section_ready(w, &s, x, err);
    for (size_t i = 0; st == EYE_OK && i < w->p->n; row += w->p->pair[i++].n) {
        if (w->p->pair[i].held_out) continue;
        st = section_run(w, &s, w->rows + row * hidden, w->p->pair[i].n, w->out, err);
        if (st == EYE_OK) st = moments_add(m, w, w->out, w->p->pair[i].n, err);
    }
    section_clear(&s);
    return st;
}

/* All rows through the layer as it is now. */
static enum eye_status advance(struct walk *w, struct eye_err *err) {
    struct section s;
    size_t hidden = (size_t)w->m->config.text.hidden, row = 0;
    enum eye_status st = section_build(w, &s, err);
    if (st == EYE_OK) st = section_ready(w, &s, s.wanted, err);
    for (size_t i = 0; st == EYE_OK && i < w->p->n; row += w->p->pair[i++].n) {
        if (w->p->pair[i].held_out) continue;
        st = section_run(w, &s, w->rows + row * hidden, w->p->pair[i].n, w->out, err);
        if (st == EYE_OK) memcpy(w->rows + row * hidden, w->out, w->p->pair[i].n * hidden * sizeof *w->rows);
    }
    section_clear(&s);
    return st;
}

/* ---- groups ---- */

/* The type a linear's matrix is rounded to; false = it is not. */
static bool rounded_to(const struct walk *w, const struct eye_graph *g, const struct eye_node *n, enum eye_dtype *dtype) {
    const struct eye_value *v = n->op == EYE_OP_linear ? &g->value[n->in[1]] : NULL;
    if (!v || v->kind != EYE_VAL_WEIGHT || v->rank != 2) return false;
    *dtype = eye_wtype_dtype(eye_wtype_for(w->opts->type, v->dims[1]));
    return eye_grid_has(*dtype) && !eye_calibrated_find(w->c, v->name);
}

/* f [n, k]: the checkpoint's. */
static enum eye_status round_rows(struct eye_calibrated_tensor *t, const struct eye_rounder *r, const float *f,
                                  struct eye_err *err) {
    t->cost = t->plain = (struct eye_round_cost){0};
    EYE_TRY(eye_rounder_plain(r, t->dtype, (size_t)t->n, f, t->rows, &t->plain, err));
    return eye_rounder_run(r, t->dtype, (size_t)t->n, f, t->rows, &t->cost, err);
}

/* The same matrix once more, in 8 bits. */
static enum eye_status to_8_bits(struct eye_calibrated *c, struct eye_calibrated_tensor *t, const struct eye_rounder *r,
                                 const float *f, struct eye_err *err) {
    EYE_TRY(make_rows(t, EYE_Q8_0, err));
    t->raised = true;
    c->n_raised++;
    return round_rows(t, r, f, err);
}

static enum eye_status round_matrix(struct walk *w, const struct eye_value *v, enum eye_dtype dtype,
                                    const struct eye_rounder *r, struct eye_err *err) {
    struct eye_calibrated_tensor *t = NULL;
    size_t n = (size_t)v->dims[0], k = (size_t)v->dims[1];
    EYE_TRY(check_cancel(w, err));
    EYE_TRY(add_tensor(w->c, v, dtype, &t, err));
    float *f = eye_pages_alloc(n * k * sizeof *f);
    if (!f) return eye_fail_nomem(err, n * k * sizeof *f);
    for (size_t i = 0; i < n; i++) eye_weight_row(v, (int64_t)i, f + i * k);
    enum eye_status st = round_rows(t, r, f, err);
    t->narrow = t->cost;
    if (st == EYE_OK && dtype != EYE_Q8_0 && w->opts->snr_db > 0 && !eye_round_is_near(&t->cost, w->opts->snr_db))
        st = to_8_bits(w->c, t, r, f, err);
    eye_pages_free(f, n * k * sizeof *f);
    return st;
}

/* Every linear that reads x. g: the layer before this group was rounded. */
static enum eye_status round_group(struct walk *w, const struct eye_graph *g, eye_val x, struct eye_err *err) {
    struct eye_moments m;
    struct eye_rounder r = {0};
    enum eye_dtype dtype;
    enum eye_status st = moments_init(&m, w, (size_t)eye_dim(g, x, -1), err);
    if (st == EYE_OK) st = observe(w, x, &m, err);
    if (st == EYE_OK) st = eye_rounder_init(&r, &w->e, &m, err);
    for (size_t i = 0; st == EYE_OK && i < g->n_nodes; i++)
        if (g->node[i].in[0] == x && rounded_to(w, g, &g->node[i], &dtype))
            st = round_matrix(w, &g->value[g->node[i].in[1]], dtype, &r, err);
    if (r.e) eye_rounder_clear(&r);
    moments_clear(&m, w);
    return st;
}

static enum eye_status round_layer(struct walk *w, struct eye_err *err) {
    struct section s;
    enum eye_dtype dtype;
    enum eye_status st = section_build(w, &s, err);
    for (size_t i = 0; st == EYE_OK && i < s.g.n_nodes; i++) {
        if (!rounded_to(w, &s.g, &s.g.node[i], &dtype)) continue;
        st = round_group(w, &s.g, s.g.node[i].in[0], err);
        if (w->opts->progress)
            w->opts->progress(w->opts->progress_ctx, ((double)w->layer + (double)(i + 1) / (double)(s.g.n_nodes + 1)) /
                                                         (double)w->m->config.text.n_layers);
    }
    section_clear(&s);
    return st == EYE_OK ? advance(w, err) : st;
}

/* Floats of the widest value that is observed, times the longest pair. */
static size_t widest(const struct walk *w) {
    const struct eye_text_config *t = &w->m->config.text;
    return w->p->longest * (size_t)EYE_MAX(EYE_MAX(t->hidden, t->ffn), t->n_heads * t->head_dim);
}

enum eye_status eye_calibrate_decoder(struct eye_calibrated *c, const struct eye_vlm *m, const struct eye_pairs *p, float *rows,
                                      const struct eye_calibrate_opts *opts, struct eye_err *err) {
    struct walk w = {.c = c, .m = m, .p = p, .opts = opts, .rows = rows};
    w.out_cap = widest(&w);
    w.out = eye_pages_alloc(w.out_cap * sizeof *w.out);
    if (!w.out) return eye_fail_nomem(err, w.out_cap * sizeof *w.out);
    enum eye_status st = eye_engine_init(&w.e, 0, eye_cpu_flags(), c->alloc, err);
    if (st == EYE_OK) {
        for (w.layer = 0; st == EYE_OK && w.layer < m->config.text.n_layers; w.layer++) st = round_layer(&w, err);
        eye_engine_clear(&w.e);
    }
    eye_pages_free(w.out, w.out_cap * sizeof *w.out);
    return st;
}
