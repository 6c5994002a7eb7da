/* int8: pictures go through the folded, unfused graphs in f32 while an observer counts what enters each linear and convolution;
 * twice, because channels are equalized in between. Then ranges, then weights. Where a precision is asked for, a few pictures
 * go through once more per value, rounded there alone: what costs most gets 16 bits, or floats. */
#include "pack/int8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "eyelet/experimental.h"
#include "pack/calibration.h"
#include "pack/dense.h"
#include "pack/rounding.h"

#define EQUALIZE_PICTURES 16u /* the largest of a channel needs no more */
#define EVERY_NTH_HELD_OUT 4u
#define COST_PICTURES 4u     /* what rounding a value costs is judged by so many */
#define FLOAT_MAP (1 << 20)  /* numbers of a map that depthwise convolutions read as floats: 4 MiB, which caches hold */
#define MOST_COVARIANCE 2048 /* channels: 16 MiB a value */
#define COST_MARGIN_DB 1.0   /* left for the weights */

struct part { /* one graph under observation */
    struct eye_graph *g;
    struct eye_plan *plan;
    struct eye_exec *exec;
    struct eye_seen **seen;   /* [n_values] NULL = not of interest; values that share memory share it */
    eye_val *of;              /* [n_values] the value whose channels seen counts */
    eye_val rounded;          /* instead of counting: numbers of this value are rounded as they pass; EYE_NONE: of none */
    bool counts;
    const struct eye_engine *e;
    enum eye_status status;   /* of what the observer did */
    size_t n_values;
    struct eye_arena arena;
    int64_t t;                /* rows of one run */
    float *out;
};
struct calibrate {
    const struct eye_vlm *m;
    const struct eye_int8_opts *opts;
    struct eye_engine e;
    struct eye_calibration set;
    struct eye_model *model;  /* makes pixels as it does when it runs */
    struct part vision, projector;
    float *pixels;
    size_t n_pixels;
    size_t done, total;       /* pictures run, both times */
};

/* ---- what is observed ---- */

/* A gate's squeeze is one row: nothing to win, and its few numbers set the size of a whole map. A depthwise convolution multiplies
 * floats in any case; bytes only spare memory's bandwidth, which a small map does not need, and cost precision. */
static bool wanted(const struct eye_graph *g, const struct eye_node *n) {
    if (!eye_graph_int8_fits(g, n)) return false;
    const struct eye_value *x = &g->value[n->in[0]];
    if (eye_graph_is_depthwise(g, n) && x->dims[1] * x->dims[2] * x->dims[3] <= FLOAT_MAP) return false;
    return !(x->rank == 4 && x->dims[1] == 1 && x->dims[2] == 1);
}

static eye_val through_views(const struct eye_graph *g, eye_val v) {
    while (g->value[v].node >= 0 && eye_op_info(g->node[g->value[v].node].op)->flags & EYE_OPF_VIEW)
        v = g->node[g->value[v].node].in[0];
    return v;
}

static enum eye_status watch(struct part *p, eye_val v, struct eye_err *err) {
    eye_val at = through_views(p->g, v);
    p->of[v] = v;
    if (p->seen[v]) return EYE_OK;
    struct eye_seen *s = p->seen[at];
    if (!s) {
        size_t c = (size_t)eye_dim(p->g, v, -1);
        s = eye_arena_alloc(&p->arena, sizeof *s);
        if (!s) return eye_fail_nomem(err, sizeof *s);
        s->n_channels = (int64_t)c;
        s->channel_max = eye_arena_alloc(&p->arena, c * sizeof *s->channel_max + 1);
        s->channel_sum = eye_arena_alloc(&p->arena, c * sizeof *s->channel_sum + 1);
        if (!s->channel_max || !s->channel_sum) return eye_fail_nomem(err, c * sizeof *s->channel_sum);
        if (at != v) p->of[at] = v;
    }
    p->seen[at] = p->seen[v] = s;
    return EYE_OK;
}

static void on_value(void *ctx, eye_val v, void *data, size_t n) {
    struct part *p = ctx;
    struct eye_seen *s = p->counts && (size_t)v < p->n_values ? p->seen[v] : NULL;
    if (s) eye_seen_add(s, data, n);
    if (s && s->gram && p->status == EYE_OK)
        p->status = eye_dense_gram(p->e, n / (size_t)s->n_channels, (size_t)s->n_channels, data, data, s->gram, NULL);
    if (p->counts || p->rounded == EYE_NONE || v != through_views(p->g, p->rounded)) return;
    const struct eye_quant *q = &p->g->value[p->rounded].quant;
    for (float *x = data, *end = x + n; x < end; x++) *x = (float)eye_quant_round(q, (double)*x);
}

static void part_close(struct part *p) {
    eye_exec_free(p->exec);
    if (p->plan) eye_plan_free(p->plan);
    eye_arena_clear(&p->arena);
    p->exec = NULL;
    p->plan = NULL;
}

/* Covariances of what linears read. */
static enum eye_status add_grams(struct part *p, struct eye_err *err) {
    for (size_t k = 0; k < p->g->n_nodes; k++) {
        const struct eye_node *n = &p->g->node[k];
        struct eye_seen *s = n->op == EYE_OP_linear && wanted(p->g, n) ? p->seen[n->in[0]] : NULL;
        if (!s || s->gram || s->n_channels > MOST_COVARIANCE) continue;
        s->gram = eye_arena_alloc(&p->arena, (size_t)(s->n_channels * s->n_channels) * sizeof *s->gram);
        if (!s->gram) return eye_fail_nomem(err, (size_t)(s->n_channels * s->n_channels) * sizeof *s->gram);
    }
    return EYE_OK;
}

static enum eye_status part_open(struct part *p, const struct eye_engine *e, int64_t t, bool grams, struct eye_err *err) {
    struct eye_plan_opts o = {.max_t = t};
    p->t = t;
    p->e = e;
    p->counts = true;
    p->n_values = p->g->n_values;
    p->seen = eye_arena_alloc(&p->arena, p->n_values * sizeof *p->seen);
    p->of = eye_arena_alloc(&p->arena, p->n_values * sizeof *p->of);
    if (!p->seen || !p->of) return eye_fail_nomem(err, p->n_values * sizeof *p->seen);
    for (size_t k = 0; k < p->g->n_nodes; k++)
        if (wanted(p->g, &p->g->node[k])) EYE_TRY(watch(p, p->g->node[k].in[0], err));
    if (grams) EYE_TRY(add_grams(p, err));
    struct eye_bind bind = {.t = t};
    int64_t n = 0;
    if (!eye_value_elems(&p->g->value[p->g->output[0]], &bind, &n))
        return eye_fail(err, EYE_E_LIMIT, "int8: too many features");
    p->out = eye_arena_alloc(&p->arena, (size_t)n * sizeof *p->out + 1);
    if (!p->out) return eye_fail_nomem(err, (size_t)n * sizeof *p->out);
    EYE_TRY(eye_plan_new(&p->plan, e, p->g, &o, err));
    EYE_TRY(eye_exec_new(&p->exec, p->plan, err));
    eye_exec_observe(p->exec, on_value, p);
    return EYE_OK;
}

static enum eye_status part_run(struct part *p, float *x, size_t n, struct eye_err *err) {
    struct eye_io in = {p->g->input[0], x}, out = {p->g->output[0], p->out};
    struct eye_bind bind = {.t = p->t};
    on_value(p, in.v, x, n);
    EYE_TRY(eye_exec_run(p->exec, NULL, &bind, &in, 1, &out, 1, NULL, NULL, err));
    return p->status == EYE_OK ? EYE_OK : eye_fail(err, p->status, "int8: out of memory");
}

/* ---- pictures ---- */

static bool held_out(const struct calibrate *c, size_t i) {
    return c->set.n > 1 && i % EVERY_NTH_HELD_OUT == EVERY_NTH_HELD_OUT - 1;
}

/* Picture i as the tower gets it: [side, side, 3]. */
static enum eye_status load_pixels(struct calibrate *c, size_t i, struct eye_err *err) {
    struct eye_image img;
    struct eye_array a = {0};
    EYE_TRY(eye_calibration_image(&c->set, i, &img, err));
    struct eye_query q = {.images = &img, .n_images = 1};
    struct eye_probe probe = {.stage = EYE_PROBE_PIXELS, .query = &q};
    enum eye_status st = eye_probe_run(c->model, &probe, &a, err);
    if (st == EYE_OK) {
        size_t n = (size_t)(a.dims[1] * a.dims[2]);
        if (EYE_NEVER(3 * n != c->n_pixels)) n = 0;
        for (size_t k = 0; k < n; k++)
            for (size_t ch = 0; ch < 3; ch++) c->pixels[3 * k + ch] = a.data[ch * n + k];
    }
    eye_array_free(&a);
    eye_image_free(&img);
    return st;
}

/* Up to most pictures through both graphs. */
static enum eye_status observe(struct calibrate *c, size_t most, bool grams, struct eye_err *err) {
    struct eye_graph *v = c->vision.g;
    EYE_TRY(part_open(&c->vision, &c->e, 1, grams, err));
    EYE_TRY(part_open(&c->projector, &c->e, eye_dim(v, v->output[0], 0), grams, err));
    size_t n_features = (size_t)(eye_dim(v, v->output[0], 0) * eye_dim(v, v->output[0], 1));
    for (size_t i = 0, n = 0; i < c->set.n && n < most; i++) {
        if (held_out(c, i)) continue;
        if (c->opts->cancel && c->opts->cancel(c->opts->cancel_ctx))
            return eye_fail(err, EYE_E_CANCELLED, "calibration: cancelled");
        EYE_TRY(load_pixels(c, i, err));
        EYE_TRY(part_run(&c->vision, c->pixels, c->n_pixels, err));
        EYE_TRY(part_run(&c->projector, c->vision.out, n_features, err));
        n++;
        if (c->opts->progress) c->opts->progress(c->opts->progress_ctx, (double)++c->done / (double)c->total);
    }
    return EYE_OK;
}

/* ---- what follows from it ---- */

static enum eye_status equalize(struct part *p, struct eye_err *err) {
    const float **most = eye_arena_alloc(&p->arena, p->n_values * sizeof *most);
    if (!most) return eye_fail_nomem(err, p->n_values * sizeof *most);
    for (size_t v = 0; v < p->n_values; v++)
        if (p->seen[v] && p->of[v] == (eye_val)v) most[v] = p->seen[v]->channel_max;
    return eye_graph_equalize(p->g, most, p->n_values, err);
}

static void set_ranges(struct part *p, enum eye_range_method method) {
    for (size_t v = 0; v < p->n_values; v++)
        if (p->seen[v] && p->of[v] == (eye_val)v && p->seen[v]->n_rows)
            p->g->value[v].quant = eye_seen_range(p->seen[v], method);
}

/* The mean's share is taken off: biases see to that. */
static enum eye_status factor(const struct part *p, const struct eye_seen *s, const double *mean, struct eye_moments *m,
                              struct eye_rounder *r, struct eye_err *err) {
    size_t k = (size_t)s->n_channels;
    *m = (struct eye_moments){.k = k, .n = (size_t)s->n_rows, .h = s->gram};
    m->diag = eye_alloc_raw(p->g->alloc, k * sizeof *m->diag);
    if (!m->diag) return eye_fail_nomem(err, k * sizeof *m->diag);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) m->h[i * k + j] -= (float)((double)s->n_rows * mean[i] * mean[j]);
    for (size_t i = 0; i < k; i++) m->diag[i] = m->h[i * k + i] = EYE_MAX(m->h[i * k + i], 0);
    return eye_rounder_init(r, p->e, m, err);
}

static enum eye_status collect(struct part *p, struct eye_int8_input *in, struct eye_moments *m, struct eye_rounder *r,
                               struct eye_err *err) {
    for (size_t v = 0; v < p->n_values; v++) {
        struct eye_seen *s = p->seen[v];
        if (!(p->g->value[v].quant.scale > 0) || !s || !s->n_rows) continue;
        double *mean = eye_arena_alloc(&p->arena, (size_t)s->n_channels * sizeof *mean);
        if (!mean) return eye_fail_nomem(err, (size_t)s->n_channels * sizeof *mean);
        for (int64_t i = 0; i < s->n_channels; i++) mean[i] = s->channel_sum[i] / (double)s->n_rows;
        in[v].mean = mean;
        size_t first = 0; /* a value and a view of it are seen as one */
        while (p->seen[first] != s) first++;
        in[v].u = in[first].u;
        in[v].d = in[first].d;
        if (!s->gram || in[v].u) continue;
        EYE_TRY(factor(p, s, mean, &m[v], &r[v], err));
        in[v].u = r[v].u;
        in[v].d = r[v].d;
    }
    return EYE_OK;
}

static enum eye_status make_int8(struct part *p, struct eye_err *err) {
    struct eye_int8_input *in = eye_arena_alloc(&p->arena, p->n_values * sizeof *in);
    struct eye_moments *m = eye_arena_alloc(&p->arena, p->n_values * sizeof *m);
    struct eye_rounder *r = eye_arena_alloc(&p->arena, p->n_values * sizeof *r);
    if (!in || !m || !r) return eye_fail_nomem(err, p->n_values * sizeof *r);
    enum eye_status st = collect(p, in, m, r, err);
    if (st == EYE_OK) st = eye_graph_int8_weights(p->g, in, p->n_values, err);
    for (size_t v = 0; v < p->n_values; v++) {
        if (r[v].m) eye_rounder_clear(&r[v]);
        eye_alloc_free(p->g->alloc, m[v].diag, m[v].k * sizeof *m[v].diag);
    }
    return st;
}

/* ---- what costs most gets more bits ---- */

struct cost {
    eye_val v;
    double err;            /* squared, of the features, when v alone is rounded to bytes */
    double better;         /* the same with more bits */
    double work;           /* products that get slower then */
    struct eye_quant more; /* scale 0: floats */
    bool taken;
    char pad[3];
};

/* Who may have 16 bits: what linears alone multiply. */
static struct eye_quant wide_range(const struct part *p, eye_val v) {
    for (size_t i = 0; i < p->g->n_nodes; i++)
        if (p->g->node[i].in[0] == v && wanted(p->g, &p->g->node[i]) && p->g->node[i].op != EYE_OP_linear) return (struct eye_quant){0};
    return eye_seen_wide_range(p->seen[v], eye_dim(p->g, v, -1));
}

/* Products of all nodes that multiply v. */
static double work_of(const struct part *p, eye_val v) {
    double work = 0;
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const struct eye_node *n = &p->g->node[i];
        struct eye_bind bind = {.t = p->t};
        int64_t out = 0, row = 1;
        if (n->in[0] != v || !wanted(p->g, n) || !eye_value_elems(&p->g->value[n->out], &bind, &out)) continue;
        const struct eye_value *w = &p->g->value[n->in[1]];
        for (int d = 1; d < w->rank; d++) row *= w->dims[d];
        work += (double)out * (double)row;
    }
    return work;
}

static struct cost cost_of(const struct part *p, eye_val v) {
    struct cost c = {.v = v, .work = work_of(p, v), .more = wide_range(p, v)};
    double finer = (double)c.more.scale / (double)p->g->value[v].quant.scale;
    c.better = EYE_MIN(finer * finer, 1); /* of err, which is not known yet */
    return c;
}

/* By what is won per product. */
static int best_first(const void *a, const void *b) {
    const struct cost *x = a, *y = b;
    double p = (x->err - x->better) * y->work, q = (y->err - y->better) * x->work;
    return (p < q) - (p > q);
}

/* Adds to each cost what picture i says of it, and the features' power to all. */
static enum eye_status add_costs(struct calibrate *c, size_t i, struct cost *cost, size_t n, float *exact, double *all,
                                 struct eye_err *err) {
    struct part *p = &c->vision;
    size_t n_out = (size_t)(eye_dim(p->g, p->g->output[0], 0) * eye_dim(p->g, p->g->output[0], 1));
    EYE_TRY(load_pixels(c, i, err));
    p->rounded = EYE_NONE;
    EYE_TRY(part_run(p, c->pixels, c->n_pixels, err));
    memcpy(exact, p->out, n_out * sizeof *exact);
    for (size_t k = 0; k < n_out; k++) *all += (double)exact[k] * (double)exact[k];
    for (size_t j = 0; j < n; j++) {
        if (c->opts->cancel && c->opts->cancel(c->opts->cancel_ctx))
            return eye_fail(err, EYE_E_CANCELLED, "calibration: cancelled");
        p->rounded = cost[j].v;
        EYE_TRY(part_run(p, c->pixels, c->n_pixels, err));
        for (size_t k = 0; k < n_out; k++) {
            double d = (double)p->out[k] - (double)exact[k];
            cost[j].err += d * d;
        }
    }
    return EYE_OK;
}

/* Errors of different values add up: what wins most gets more bits until the rest is what was asked for; then whatever was not
 * needed after all, since a larger win came later, goes back. */
static void spend(struct cost *cost, size_t n, double may) {
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        sum += cost[j].err;
        cost[j].better *= cost[j].err;
    }
    qsort(cost, n, sizeof *cost, best_first);
    for (size_t j = 0; j < n && sum > may; j++) {
        sum -= cost[j].err - cost[j].better;
        cost[j].taken = true;
    }
    for (size_t j = n; j-- > 0;) {
        double gain = cost[j].err - cost[j].better;
        if (!cost[j].taken || sum + gain > may) continue;
        sum += gain;
        cost[j].taken = false;
    }
}

/* The projector is a few small products behind the features: all of it. */
static void widen_projector(struct part *p) {
    for (size_t v = 0; v < p->n_values; v++) {
        struct eye_quant q = p->g->value[v].quant.scale > 0 ? wide_range(p, (eye_val)v) : (struct eye_quant){0};
        if (q.wide) p->g->value[v].quant = q;
    }
}

static enum eye_status more_bits(struct calibrate *c, struct eye_err *err) {
    struct part *p = &c->vision;
    size_t n = 0, n_out = (size_t)(eye_dim(p->g, p->g->output[0], 0) * eye_dim(p->g, p->g->output[0], 1));
    struct cost *cost = eye_arena_alloc(&p->arena, p->n_values * sizeof *cost);
    float *exact = eye_arena_alloc(&p->arena, n_out * sizeof *exact);
    double all = 0;
    if (!cost || !exact) return eye_fail_nomem(err, n_out * sizeof *exact);
    for (size_t v = 0; v < p->n_values; v++) /* not the pixels: they are bytes by nature */
        if (p->g->value[v].quant.scale > 0 && p->g->value[v].kind == EYE_VAL_NODE) cost[n++] = cost_of(p, (eye_val)v);
    p->counts = false;
    for (size_t i = 0, seen = 0; i < c->set.n && seen < COST_PICTURES; i++) {
        if (held_out(c, i)) continue;
        EYE_TRY(add_costs(c, i, cost, n, exact, &all, err));
        seen++;
    }
    spend(cost, n, all * pow(10, -(c->opts->snr_db + COST_MARGIN_DB) / 10));
    for (size_t j = 0; j < n; j++)
        if (cost[j].taken) p->g->value[cost[j].v].quant = cost[j].more;
    widen_projector(&c->projector);
    return EYE_OK;
}

static uint64_t count_int8(const struct eye_graph *g) {
    uint64_t n = 0;
    for (size_t k = 0; k < g->n_nodes; k++) n += eye_node_is_int8(g, &g->node[k]);
    return n;
}

static uint64_t count_wide(const struct eye_graph *g) {
    uint64_t n = 0;
    for (size_t k = 0; k < g->n_nodes; k++) n += eye_node_is_int8(g, &g->node[k]) && g->value[g->node[k].in[0]].quant.wide;
    return n;
}

static uint64_t count_wanted(const struct eye_graph *g) {
    uint64_t n = 0;
    for (size_t k = 0; k < g->n_nodes; k++) n += wanted(g, &g->node[k]);
    return n;
}

static enum eye_status calibrate(struct calibrate *c, struct eye_err *err) {
    size_t n = 0;
    for (size_t i = 0; i < c->set.n; i++) n += !held_out(c, i);
    c->total = n + EYE_MIN(n, EQUALIZE_PICTURES);
    EYE_TRY(observe(c, EQUALIZE_PICTURES, false, err));
    EYE_TRY(equalize(&c->vision, err));
    EYE_TRY(equalize(&c->projector, err));
    part_close(&c->vision);
    part_close(&c->projector);
    EYE_TRY(observe(c, SIZE_MAX, true, err));
    set_ranges(&c->vision, c->opts->method);
    set_ranges(&c->projector, c->opts->method);
    if (c->opts->snr_db > 0) EYE_TRY(more_bits(c, err));
    EYE_TRY(make_int8(&c->vision, err));
    return make_int8(&c->projector, err);
}

enum eye_status eye_int8_calibrate(const struct eye_vlm *m, struct eye_graph *vision, struct eye_graph *projector,
                                   const struct eye_int8_opts *opts, struct eye_int8_counts *counts, struct eye_err *err) {
    enum eye_status st;
    struct calibrate c = {.m = m, .opts = opts, .vision = {.g = vision}, .projector = {.g = projector}};
    struct eye_model_opts mopts = {.alloc = m->alloc, .vision_type = EYE_WEIGHT_F32};
    memset(counts, 0, sizeof *counts);
    EYE_TRY(eye_calibration_open(&c.set, opts->pictures, opts->max_pictures, m->alloc, err));
    eye_arena_init(&c.vision.arena, m->alloc);
    eye_arena_init(&c.projector.arena, m->alloc);
    counts->n_unreadable = c.set.n_unreadable;
    snprintf(counts->first_unreadable, sizeof counts->first_unreadable, "%s", c.set.first_unreadable);
    for (size_t i = 0; i < c.set.n; i++) counts->n_pictures += !held_out(&c, i);
    int64_t side = eye_dim(vision, vision->input[0], 1);
    c.n_pixels = (size_t)(side * side * 3);
    c.pixels = eye_pages_alloc(c.n_pixels * sizeof *c.pixels);
    st = c.pixels ? eye_engine_init(&c.e, 0, eye_cpu_flags(), m->alloc, err) : eye_fail_nomem(err, c.n_pixels);
    if (st == EYE_OK) {
        st = eye_model_open(m->ckpt->path, &mopts, &c.model, err);
        if (st == EYE_OK) st = calibrate(&c, err);
        part_close(&c.vision);
        part_close(&c.projector);
        eye_model_close(c.model);
        eye_engine_clear(&c.e);
    }
    if (c.pixels) eye_pages_free(c.pixels, c.n_pixels * sizeof *c.pixels);
    eye_calibration_close(&c.set);
    counts->n_int8 = count_int8(vision) + count_int8(projector);
    counts->n_wide = count_wide(vision) + count_wide(projector);
    counts->n_could = count_wanted(vision) + count_wanted(projector);
    return st;
}

/* ---- metadata ---- */

struct ranges {
    struct eye_arena arena;
    struct eye_str *name;
    double *scale;
    int64_t *zero, *wide;
    size_t n;
};

static enum eye_status list(struct ranges *r, const struct eye_graph *g, struct eye_err *err) {
    for (size_t k = 0; k < g->n_nodes; k++) {
        const struct eye_node *n = &g->node[k];
        char name[EYE_NAME_MAX];
        if (!eye_node_is_int8(g, n)) continue;
        if (!eye_name_folded(g->value[n->in[1]].name, name, sizeof name))
            return eye_fail(err, EYE_E_LIMIT, "int8: a name is too long");
        r->name[r->n] = (struct eye_str){eye_arena_strdup(&r->arena, name, strlen(name)), strlen(name)};
        if (!r->name[r->n].p) return eye_fail_nomem(err, strlen(name));
        r->scale[r->n] = (double)g->value[n->in[0]].quant.scale;
        r->wide[r->n] = g->value[n->in[0]].quant.wide;
        r->zero[r->n++] = g->value[n->in[0]].quant.zero;
    }
    return EYE_OK;
}

static enum eye_status put_ranges(struct ranges *r, struct eye_gguf_writer *w, const struct eye_graph *vision,
                                  const struct eye_graph *projector, struct eye_err *err) {
    size_t most = vision->n_nodes + projector->n_nodes;
    r->name = eye_arena_alloc(&r->arena, most * sizeof *r->name);
    r->scale = eye_arena_alloc(&r->arena, most * sizeof *r->scale);
    r->zero = eye_arena_alloc(&r->arena, most * sizeof *r->zero);
    r->wide = eye_arena_alloc(&r->arena, most * sizeof *r->wide);
    if (!r->name || !r->scale || !r->zero || !r->wide) return eye_fail_nomem(err, most * sizeof *r->name);
    EYE_TRY(list(r, vision, err));
    EYE_TRY(list(r, projector, err));
    EYE_TRY(eye_gguf_put_strs(w, EYE_INT8_KEY_WEIGHT, r->name, r->n, err));
    EYE_TRY(eye_gguf_put_floats(w, EYE_INT8_KEY_SCALE, EYE_GGUF_F32, r->scale, r->n, err));
    EYE_TRY(eye_gguf_put_ints(w, EYE_INT8_KEY_ZERO, EYE_GGUF_U8, r->zero, r->n, err));
    return eye_gguf_put_ints(w, EYE_INT8_KEY_WIDE, EYE_GGUF_U16, r->wide, r->n, err);
}

enum eye_status eye_int8_put_ranges(struct eye_gguf_writer *w, const struct eye_graph *vision,
                                    const struct eye_graph *projector, struct eye_err *err) {
    struct ranges r = {.n = 0};
    eye_arena_init(&r.arena, NULL);
    enum eye_status st = put_ranges(&r, w, vision, projector, err);
    eye_arena_clear(&r.arena);
    return st;
}
