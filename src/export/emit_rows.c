/* Emitters of what moves rows and of what makes sequences: tables, RoPE, attention, shapes. */
#include <stdlib.h>
#include <string.h>

#include "export/walk.h"

/* ---- tables ---- */

static enum eye_status table(struct eye_walk *w, eye_val v, const char **out, struct eye_err *err) {
    return eye_draft_weight(w->d, w->scratch, &w->g->value[v], EYE_FORM_ROWS, 0, NULL, out, err);
}

enum eye_status eye_emit_embed(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    const char *t;
    EYE_TRY(table(w, n->in[1], &t, err));
    eye_walk_out(w, n->out, EYE_LAY_PLAIN, eye_draft_2(w->d, "Gather", t, eye_walk_in(w, n->in[0], EYE_LAY_PLAIN)));
    return EYE_OK;
}

enum eye_status eye_emit_positions(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    const char *t;
    int64_t n_rows = w->g->value[n->in[0]].dims[0];
    if (w->seq->tokens + w->seq->past > n_rows)
        return eye_fail(err, EYE_E_ARG, "%lld positions: the model has %lld", (long long)(w->seq->tokens + w->seq->past),
                        (long long)n_rows);
    EYE_TRY(table(w, n->in[0], &t, err));
    eye_walk_out(w, n->out, EYE_LAY_PLAIN, eye_sequence_rows(w->seq, t, n_rows));
    return EYE_OK;
}

/* ---- RoPE and attention ---- */

enum eye_status eye_emit_rope(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    struct eye_draft *d = w->d;
    int64_t head_dim = w->g->value[n->in[0]].dims[2];
    const char *cosine, *sine, *x[2], *scope = d->scope;
    EYE_TRY(eye_sequence_rope(w->seq, n->attr.theta, head_dim, &cosine, &sine, err));
    d->scope = scope;
    eye_draft_halves(d, eye_walk_in(w, n->in[0], EYE_LAY_FIRST), 3, head_dim / 2, x);
    const char *a = eye_draft_2(d, "Sub", eye_draft_2(d, "Mul", x[0], cosine), eye_draft_2(d, "Mul", x[1], sine));
    const char *b = eye_draft_2(d, "Add", eye_draft_2(d, "Mul", x[1], cosine), eye_draft_2(d, "Mul", x[0], sine));
    eye_walk_out(w, n->out, EYE_LAY_FIRST, eye_draft_concat(d, 3, a, b));
    return EYE_OK;
}

struct heads { /* of one attention node */
    int64_t h, hkv, head_dim, group; /* group query heads read one kv head */
    int64_t t, all;                  /* rows, and keys they may see; 0 = dynamic */
    int64_t layer;                   /* of a cache; -1: none */
};

static struct heads heads_of(const struct eye_walk *w, const struct eye_node *n) {
    const struct eye_value *q = &w->g->value[n->in[0]], *k = &w->g->value[n->in[1]];
    struct heads a = {.h = q->dims[1], .hkv = k->dims[1], .head_dim = q->dims[2], .layer = -1};
    a.group = a.h / a.hkv;
    a.t = q->dims[0] == EYE_DIM_T ? w->seq->tokens : q->dims[0];
    a.all = a.t;
    if (n->n_in > 3 && n->in[3] != EYE_NONE) { /* "k_cache.7" */
        a.layer = strtoll(strchr(w->g->value[n->in[3]].name, '.') + 1, NULL, 10);
        if (a.t) a.all += w->seq->past;
    }
    return a;
}

/* x is an output as well; its name then. */
static const char *keep(struct eye_walk *w, const struct heads *a, const char *kind, const char *x, const int64_t dims[4]) {
    static const char *const symbol[4] = {"batch_size", "", "sequence_length", "sequence_length"};
    struct eye_onnx *m = w->d->m;
    char name[EYE_KV_NAME_CAP];
    int64_t shape[4];
    for (int i = 0; i < 4; i++) shape[i] = dims[i] > 0 ? dims[i] : -1;
    x = eye_walk_rename(w, x, eye_kv_present_name(w->seq->style, a->layer, kind, name));
    eye_onnx_add_output(m, m->model->graph, name, w->d->real, shape, 4, symbol);
    return x;
}

/* New keys or values x [B,Hkv,T,D] (keys as `turned` [B,Hkv,D,T]) behind those of the cache; outputs as the signature wants. */
static const char *cached(struct eye_walk *w, const struct heads *a, const char *kind, const char *x, bool turned) {
    struct eye_sequence *s = w->seq;
    char name[EYE_KV_NAME_CAP];
    int axis = turned ? 3 : 2;
    int64_t past[4] = {w->batch, a->hkv, s->past, s->past}, fresh[4] = {w->batch, a->hkv, a->t, a->t};
    past[turned ? 2 : 3] = fresh[turned ? 2 : 3] = a->head_dim;
    if (a->layer < 0) return x;
    bool window = s->past && s->present == EYE_PRESENT_WINDOW;
    if (s->keeps && !window) x = keep(w, a, kind, x, fresh);
    if (!s->past) return x;
    const char *before = eye_kv_past_name(s->style, a->layer, kind, name);
    before = eye_arena_strdup(&w->d->m->arena, before, strlen(before));
    if (before) eye_onnx_add_input(w->d->m, w->d->m->model->graph, before, w->d->real, past, 4, NULL);
    x = eye_draft_concat(w->d, axis, before, x);
    if (s->keeps && window) keep(w, a, kind, eye_draft_slice(w->d, x, axis, a->t, a->t + s->past), past);
    return x;
}

/* [B,H,T,n] <-> [B,Hkv,G T,n]: query heads of one kv head are neighbours, so no key is ever copied. */
static const char *grouped(struct eye_walk *w, const struct heads *a, const char *x, bool join, int64_t last) {
    int64_t dims[4] = {w->batch, join ? a->hkv : a->h, a->t == 0 ? -1 : join ? a->group * a->t : a->t, last};
    return a->group == 1 ? x : eye_draft_reshape(w->d, x, 4, dims);
}

static const int64_t turn[] = {0, 1, 3, 2};

/* [B,Hkv,T,D], or turned [B,Hkv,D,T]. */
static const char *keys(struct eye_walk *w, eye_val k, bool turned) {
    static const int64_t at_once[] = {0, 2, 3, 1};
    if (!turned) return eye_walk_in(w, k, EYE_LAY_FIRST);
    bool plain = eye_walk_layout(w, k) == EYE_LAY_PLAIN;
    return eye_draft_transpose(w->d, eye_walk_in(w, k, plain ? EYE_LAY_PLAIN : EYE_LAY_FIRST), 4, plain ? at_once : turn);
}

enum eye_status eye_emit_attention(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    static const int64_t back[] = {0, 2, 1, 3};
    struct eye_draft *d = w->d;
    const char *scope = d->scope, *mask = NULL;
    if (w->g->value[n->in[0]].rank != 3)
        return eye_fail(err, EYE_E_UNSUPPORTED, "ONNX: attention over several pictures at once");
    struct heads a = heads_of(w, n);
    if (n->attr.causal) mask = eye_sequence_mask(w->seq);
    d->scope = scope;
    const char *q = eye_draft_2(d, "Mul", eye_walk_in(w, n->in[0], EYE_LAY_FIRST), eye_draft_real(d, (double)n->attr.scale));
    bool dot = w->seq->style != EYE_KV_PLAIN || a.layer < 0;
    const char *k = cached(w, &a, "key", keys(w, n->in[1], dot), dot);
    if (!dot) k = eye_draft_transpose(d, k, 4, turn);
    const char *v = cached(w, &a, "value", eye_walk_in(w, n->in[2], EYE_LAY_FIRST), false);
    const char *p = eye_draft_2(d, "MatMul", grouped(w, &a, q, true, a.head_dim), k);
    bool rows_differ = mask && a.t != 1; /* one row's mask is every head's */
    if (rows_differ) p = grouped(w, &a, p, false, a.all);
    p = eye_draft_softmax(d, mask ? eye_draft_2(d, "Add", p, mask) : p);
    if (rows_differ) p = grouped(w, &a, p, true, a.all);
    const char *y = eye_draft_2(d, "MatMul", p, v);
    const int64_t rows[3] = {w->batch, a.t, a.h * a.head_dim};
    if (a.t != 1) y = eye_draft_transpose(d, grouped(w, &a, y, false, a.head_dim), 4, back);
    eye_walk_out(w, n->out, EYE_LAY_PLAIN, eye_draft_reshape(d, y, 3, rows));
    return EYE_OK;
}

/* ---- shapes ---- */

enum eye_status eye_emit_reshape(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    int64_t dims[EYE_MAX_RANK + 1];
    (void)err;
    size_t rank = eye_walk_shape(w, n->out, n->in[0], dims);
    eye_walk_out(w, n->out, EYE_LAY_PLAIN, eye_draft_reshape(w->d, eye_walk_in(w, n->in[0], EYE_LAY_PLAIN), rank, dims));
    return EYE_OK;
}

enum eye_status eye_emit_transpose(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    const struct eye_value *x = &w->g->value[n->in[0]];
    int64_t perm[EYE_MAX_RANK + 1] = {0};
    size_t rank = x->rank == 4 ? 0 : 1;
    if (x->rank == 4 && n->attr.perm[0] != 0) return eye_fail(err, EYE_E_UNSUPPORTED, "ONNX: a transpose that moves the batch");
    for (int i = 0; i < x->rank; i++) perm[rank++] = eye_walk_axis(w, n->in[0], n->attr.perm[i]);
    eye_walk_out(w, n->out, EYE_LAY_PLAIN, eye_draft_transpose(w->d, eye_walk_in(w, n->in[0], EYE_LAY_PLAIN), rank, perm));
    return EYE_OK;
}

/* A weight [n,C] beside activations: one copy per picture of a dynamic batch. */
static enum eye_status beside(struct eye_walk *w, eye_val v, eye_val other, const char **out, struct eye_err *err) {
    const struct eye_value *x = &w->g->value[v];
    struct eye_draft *d = w->d;
    if (x->kind != EYE_VAL_WEIGHT) {
        *out = eye_walk_in(w, v, EYE_LAY_PLAIN);
        return EYE_OK;
    }
    if (x->rank != 2 || w->batch > 1) return eye_fail(err, EYE_E_UNSUPPORTED, "ONNX: %s beside activations", x->name);
    EYE_TRY(table(w, v, out, err));
    const int64_t dims[3] = {1, x->dims[0], x->dims[1]};
    if (w->batch == 1) {
        *out = eye_draft_reshape(d, *out, 3, dims);
        return EYE_OK;
    }
    const char *batch = eye_draft_slice(d, eye_draft_1(d, "Shape", eye_walk_in(w, other, EYE_LAY_PLAIN)), 0, 0, 1);
    *out = eye_draft_2(d, "Expand", *out, eye_draft_concat(d, 0, batch, eye_draft_ints(d, 2, x->dims)));
    return EYE_OK;
}

enum eye_status eye_emit_concat(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    const char *a, *b;
    EYE_TRY(beside(w, n->in[0], n->in[1], &a, err));
    EYE_TRY(beside(w, n->in[1], n->in[0], &b, err));
    eye_walk_out(w, n->out, EYE_LAY_PLAIN, eye_draft_concat(w->d, eye_walk_axis(w, n->out, n->attr.axis), a, b));
    return EYE_OK;
}

enum eye_status eye_emit_slice(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    const struct eye_attr *s = &n->attr;
    (void)err;
    eye_walk_out(w, n->out, EYE_LAY_PLAIN,
                 eye_draft_slice(w->d, eye_walk_in(w, n->in[0], EYE_LAY_PLAIN), eye_walk_axis(w, n->in[0], s->axis), s->begin,
                                 s->begin + s->length));
    return EYE_OK;
}
