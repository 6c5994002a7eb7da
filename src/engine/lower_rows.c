/* engine/lower_rows: ops on whole rows: layer norm, RMS norm, softmax, rotary embedding, and the mean over an image. */
#include "engine/engine_impl.h"

#include <math.h>
#include <string.h>

struct rows {
    size_t c;
    float eps;
    size_t cos, sin; /* rope: blobs [max_ctx][C/2] */
    size_t heads;
};
struct rows_run {
    struct eye_exec *x;
    const struct rows *d;
    const float *a, *w, *b; /* w, b: norms' */
    const int32_t *picked;  /* rope: the call's rows that these are; or NULL */
    float *y;
    size_t n, piece;
};

typedef void row_fn(const struct rows_run *r, size_t row);

static struct rows_run make_run(struct eye_exec *x, const struct eye_step *s) {
    const struct rows *d = s->data;
    const struct eye_node *n = s->node;
    struct rows_run r = {.x = x, .d = d, .a = eye_exec_ptr(x, n->in[0]), .w = eye_exec_ptr(x, eye_node_in(n, 1)),
                         .b = eye_exec_ptr(x, eye_node_in(n, 2)), .y = eye_exec_ptr(x, n->out)};
    r.n = eye_exec_rows(x, n->in[0]);
    r.piece = eye_exec_piece(x, r.n, 4096 / EYE_MAX(d->c, 1));
    return r;
}

static void each_row(void *ctx, int i_task, row_fn *fn) {
    const struct rows_run *r = ctx;
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->n);
    for (size_t row = first; row < end; row++) fn(r, row);
}

static enum eye_status run_with(struct eye_exec *x, const struct eye_step *s, eye_task_fn *fn) {
    struct rows_run r = make_run(x, s);
    eye_exec_tasks(x, r.n * r.d->c, eye_ceil_div(r.n, r.piece), fn, &r);
    return EYE_OK;
}

static enum eye_status lower_rows(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct rows **out,
                                  struct eye_err *err) {
    struct rows *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    d->c = (size_t)eye_dim(l->g, n->in[0], -1);
    d->eps = n->attr.eps;
    eye_lower_in_place(l, n, n->in[0]);
    *out = d;
    return eye_lower_operand(l, n, n->in[0], err);
}

/* ---- norms ---- */

static void layer_norm_row(const struct rows_run *r, size_t row) {
    size_t at = row * r->d->c;
    r->x->plan->e->kernels.layer_norm_f32(r->y + at, r->a + at, r->w, r->b, r->d->c, r->d->eps);
}
static void rms_norm_row(const struct rows_run *r, size_t row) {
    size_t at = row * r->d->c;
    r->x->plan->e->kernels.rms_norm_f32(r->y + at, r->a + at, r->w, r->d->c, r->d->eps);
}
static void layer_norm_task(void *ctx, int i_task, int i_thread) { each_row(ctx, i_task, layer_norm_row); }
static void rms_norm_task(void *ctx, int i_task, int i_thread) { each_row(ctx, i_task, rms_norm_row); }
static enum eye_status run_layer_norm(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_with(x, s, layer_norm_task);
}
static enum eye_status run_rms_norm(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_with(x, s, rms_norm_task);
}

enum eye_status eye_lower_layer_norm(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct rows *d = NULL;
    EYE_TRY(lower_rows(l, n, s, &d, err));
    EYE_TRY(eye_lower_operand(l, n, n->in[1], err));
    s->run = run_layer_norm;
    return eye_node_in(n, 2) == EYE_NONE ? EYE_OK : eye_lower_operand(l, n, n->in[2], err);
}

enum eye_status eye_lower_rms_norm(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct rows *d = NULL;
    EYE_TRY(lower_rows(l, n, s, &d, err));
    s->run = run_rms_norm;
    return eye_lower_operand(l, n, n->in[1], err);
}

/* ---- softmax ---- */

static void softmax_row(const struct rows_run *r, size_t row) {
    size_t at = row * r->d->c;
    if (r->y != r->a) memcpy(r->y + at, r->a + at, r->d->c * sizeof *r->y);
    r->x->plan->e->kernels.softmax_f32(r->y + at, r->d->c);
}
static void softmax_task(void *ctx, int i_task, int i_thread) { each_row(ctx, i_task, softmax_row); }
static enum eye_status run_softmax(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_with(x, s, softmax_task);
}

enum eye_status eye_lower_softmax(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct rows *d = NULL;
    EYE_TRY(lower_rows(l, n, s, &d, err));
    if (eye_dim(l->g, n->in[0], -1) < 1)
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: softmax over an axis of symbolic or no length");
    s->run = run_softmax;
    return EYE_OK;
}

/* ---- rope: row = (position, head) ---- */

static void rope_row(const struct rows_run *r, size_t row) {
    const struct rows *d = r->d;
    const struct eye_plan *p = r->x->plan;
    int64_t call_row = r->picked ? r->picked[row / d->heads] : (int64_t)(row / d->heads);
    size_t at = row * d->c, angle = (size_t)eye_bind_pos(&r->x->bind, call_row) * (d->c / 2);
    if (r->y != r->a) memcpy(r->y + at, r->a + at, d->c * sizeof *r->y);
    p->e->kernels.rope_f32(r->y + at, (const float *)eye_blob_ptr(p, d->cos) + angle,
                           (const float *)eye_blob_ptr(p, d->sin) + angle, d->c);
}
static void rope_task(void *ctx, int i_task, int i_thread) { each_row(ctx, i_task, rope_row); }
static enum eye_status run_rope(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct rows_run r = make_run(x, s);
    r.picked = eye_exec_ptr(x, eye_node_in(s->node, 1));
    for (int64_t i = 0; r.picked && i < x->bind.picked; i++)
        if (r.picked[i] < 0 || r.picked[i] >= x->t)
            return eye_fail(err, EYE_E_ARG, "rope: picked row %d is outside the call's %lld", r.picked[i], (long long)x->t);
    eye_exec_tasks(x, r.n * r.d->c, eye_ceil_div(r.n, r.piece), rope_task, &r);
    return EYE_OK;
}

struct rope_ctx {
    double theta;
    int64_t d, positions;
    int64_t sine; /* 0 cosine, 1 sine, -1 sine of turning back */
};

struct rope_fill {
    const struct rope_ctx *c;
    float *out;
};

static void rope_fill_task(void *ctx, int i_task, int i_thread) {
    const struct rope_fill *f = ctx;
    int64_t half = f->c->d / 2;
    for (int64_t pos = (int64_t)i_task * 64; pos < EYE_MIN((int64_t)(i_task + 1) * 64, f->c->positions); pos++)
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)pos * pow(f->c->theta, -2.0 * (double)i / (double)f->c->d);
            f->out[pos * half + i] = (float)(f->c->sine ? (double)f->c->sine * sin(angle) : cos(angle));
        }
}

static void fill_rope(const struct eye_packer *p, void *dst, const void *ctx) {
    struct rope_fill f = {ctx, dst};
    eye_pool_run(p->pool, (int)((f.c->positions + 63) / 64), rope_fill_task, &f);
}

enum eye_status eye_lower_rope(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct rows *d = NULL;
    size_t bytes;
    EYE_TRY(lower_rows(l, n, s, &d, err));
    if (eye_node_in(n, 1) != EYE_NONE) EYE_TRY(eye_lower_ids(l, n, n->in[1], err));
    struct rope_ctx c = {n->attr.theta, (int64_t)d->c, l->plan->opts.max_ctx, 0};
    d->heads = (size_t)eye_dim(l->g, n->in[0], 1);
    if (!eye_mul_ok((size_t)c.positions, d->c / 2 * sizeof(float), &bytes))
        return eye_fail(err, EYE_E_LIMIT, "engine: rope table for %lld positions is too large", (long long)c.positions);
    EYE_TRY(eye_lower_blob(l, bytes, fill_rope, &c, sizeof c, 0, &d->cos, err));
    c.sine = n->attr.inverse ? -1 : 1;
    EYE_TRY(eye_lower_blob(l, bytes, fill_rope, &c, sizeof c, 0, &d->sin, err));
    l->plan->has_positions = true;
    s->run = run_rope;
    return EYE_OK;
}

/* ---- learned positions: rows of the stored table, as embed reads its own ---- */

static enum eye_status run_positions(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct eye_value *table = eye_value_at(x->plan->g, s->node->in[0]);
    float *y = eye_exec_ptr(x, s->node->out);
    for (int64_t t = 0; t < x->t; t++) eye_weight_row(table, eye_bind_pos(&x->bind, t), y + t * table->dims[1]);
    return EYE_OK;
}

enum eye_status eye_lower_positions(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    int64_t rows = eye_dim(l->g, n->in[0], 0);
    EYE_TRY(eye_lower_want_weight(l, n, n->in[0], err));
    if (l->plan->opts.max_ctx > rows)
        return eye_fail(err, EYE_E_ARG, "engine: a context of %lld positions, but the table has %lld",
                        (long long)l->plan->opts.max_ctx, (long long)rows);
    l->plan->has_positions = true;
    s->run = run_positions;
    return EYE_OK;
}

/* ---- mean over H and W: each row of the image is summed by who made it, then the rows' sums in order ---- */

#define MEAN_CHANNELS 256u

struct mean_run {
    const float *a;
    float *sum; /* [rows of all images][C] */
    size_t c, w, rows, parts;
};

static void sum_row(const struct mean_run *r, size_t row) {
    for (size_t c0 = 0; c0 < r->c; c0 += MEAN_CHANNELS) {
        size_t n = EYE_MIN(MEAN_CHANNELS, r->c - c0);
        const float *a = r->a + row * r->w * r->c + c0;
        double sum[MEAN_CHANNELS] = {0};
        size_t p = 0, c = r->c;
        for (; p + 4 <= r->w; p += 4, a += 4 * c) /* conversions are what takes time */
            for (size_t i = 0; i < n; i++) sum[i] += (double)((a[i] + a[c + i]) + (a[2 * c + i] + a[3 * c + i]));
        for (; p < r->w; p++, a += c)
            for (size_t i = 0; i < n; i++) sum[i] += (double)a[i];
        for (size_t i = 0; i < n; i++) r->sum[row * r->c + c0 + i] = (float)sum[i];
    }
}

static void mean_task(void *ctx, int i_task, int i_thread) {
    const struct mean_run *r = ctx;
    size_t end = eye_part(r->rows, r->parts, (size_t)i_task + 1);
    for (size_t row = eye_part(r->rows, r->parts, (size_t)i_task); row < end; row++) sum_row(r, row);
}

static struct mean_run make_mean(struct eye_exec *x, const struct eye_step *s) {
    const struct eye_value *in = eye_value_at(x->plan->g, s->node->in[0]);
    struct mean_run r = {.a = eye_exec_ptr(x, s->node->in[0]), .sum = (float *)eye_exec_shared(x), .c = (size_t)in->dims[3],
                         .w = (size_t)in->dims[2]};
    r.rows = eye_exec_elems(x, s->node->in[0]) / (r.c * r.w);
    return r;
}

static void mean_rows(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, int i_thread) {
    struct mean_run r = make_mean(x, s);
    for (size_t i = row / r.w; i < (row + n) / r.w; i++) sum_row(&r, i);
}

static void mean_end(struct eye_exec *x, const struct eye_step *s) {
    struct mean_run r = make_mean(x, s);
    size_t h = (size_t)eye_dim(x->plan->g, s->node->in[0], 1);
    float *y = eye_exec_ptr(x, s->node->out);
    for (size_t at = 0; at < r.rows * r.c; at += h * r.c, y += r.c)
        for (size_t c0 = 0; c0 < r.c; c0 += MEAN_CHANNELS) {
            size_t n = EYE_MIN(MEAN_CHANNELS, r.c - c0);
            double sum[MEAN_CHANNELS] = {0};
            for (size_t k = 0; k < h; k++)
                for (size_t i = 0; i < n; i++) sum[i] += (double)r.sum[at + k * r.c + c0 + i];
            for (size_t i = 0; i < n; i++) y[c0 + i] = (float)(sum[i] / (double)(h * r.w));
        }
}

static enum eye_status run_mean_hw(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct mean_run r = make_mean(x, s);
    r.parts = eye_exec_parts(x, r.rows, SIZE_MAX);
    eye_exec_tasks(x, r.rows * r.w * r.c, r.parts, mean_task, &r);
    mean_end(x, s);
    return EYE_OK;
}

enum eye_status eye_lower_mean_hw(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    if (eye_dim(l->g, n->in[0], 1) < 0 || eye_dim(l->g, n->in[0], 2) < 0)
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: mean_hw of an image whose size is symbolic");
    size_t w = (size_t)eye_dim(l->g, n->in[0], 2), pixels = eye_lower_elems(l, n->in[0]) / (size_t)eye_dim(l->g, n->in[0], 3);
    s->run = run_mean_hw;
    s->rows = mean_rows;
    s->end = mean_end;
    s->m = eye_dim(l->g, n->in[0], 0) > 0 ? pixels : 0;
    s->unit = s->whole = w;
    eye_lower_scratch(l, 0, pixels / w * (size_t)eye_dim(l->g, n->in[0], 3) * sizeof(float));
    return eye_lower_operand(l, n, n->in[0], err);
}
