/* engine/lower_map: element-wise ops: activations, sums and products with broadcasts, SwiGLU, batch norm. In place where the
 * first operand has no other reader. */
#include "engine/engine_impl.h"

#include <math.h>

#define LEAST_PIECE 4096 /* elements: below, a task costs more than it does */

enum spread { SAME, PER_CHANNEL, PER_IMAGE }; /* how b lies under a: equal shapes, [C], [N,1,1,C] */

struct map {
    eye_map_fn *map;
    eye_zip_fn *zip;
    enum spread spread;
    size_t c, rows_per_image;
    size_t scale, shift; /* batch norm: blobs [C] */
    float factor;        /* spread */
};
struct map_run {
    struct eye_exec *x;
    const struct map *d;
    const float *a, *b;
    float *y;
    size_t n, piece; /* elements or rows */
};

static void sub_f32(float *y, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = a[i] - b[i];
}

/* ---- running ---- */

static void elements_task(void *ctx, int i_task, int i_thread) {
    const struct map_run *r = ctx;
    size_t at = (size_t)i_task * r->piece, n = EYE_MIN(r->piece, r->n - at);
    if (r->d->map)
        r->d->map(r->y + at, r->a + at, n);
    else
        r->d->zip(r->y + at, r->a + at, r->b + at, n);
}

static void rows_task(void *ctx, int i_task, int i_thread) {
    const struct map_run *r = ctx;
    const struct map *d = r->d;
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->n);
    for (size_t row = first; row < end; row++) {
        const float *b = d->spread == PER_IMAGE ? r->b + row / d->rows_per_image * d->c : r->b;
        d->zip(r->y + row * d->c, r->a + row * d->c, b, d->c);
    }
}

static void batch_norm_task(void *ctx, int i_task, int i_thread) {
    const struct map_run *r = ctx;
    const struct map *d = r->d;
    const float *scale = eye_blob_ptr(r->x->plan, d->scale), *shift = eye_blob_ptr(r->x->plan, d->shift);
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->n);
    for (size_t row = first; row < end; row++) {
        const float *a = r->a + row * d->c;
        float *y = r->y + row * d->c;
        for (size_t i = 0; i < d->c; i++) y[i] = a[i] * scale[i] + shift[i];
    }
}

static struct map_run make_run(struct eye_exec *x, const struct eye_step *s) {
    const struct eye_node *n = s->node;
    return (struct map_run){.x = x, .d = s->data, .a = eye_exec_ptr(x, n->in[0]), .b = eye_exec_ptr(x, eye_node_in(n, 1)),
                            .y = eye_exec_ptr(x, n->out)};
}

static enum eye_status run_elements(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct map_run r = make_run(x, s);
    r.n = eye_exec_elems(x, s->node->out);
    r.piece = EYE_ALIGN_UP(eye_exec_piece(x, r.n, LEAST_PIECE), 64);
    eye_exec_tasks(x, r.n, eye_ceil_div(r.n, r.piece), elements_task, &r);
    return EYE_OK;
}

static enum eye_status run_rows(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct map *d = s->data;
    struct map_run r = make_run(x, s);
    r.n = eye_exec_elems(x, s->node->out) / d->c;
    r.piece = eye_exec_piece(x, r.n, LEAST_PIECE / d->c);
    eye_exec_tasks(x, r.n * d->c, eye_ceil_div(r.n, r.piece), d->zip ? rows_task : batch_norm_task, &r);
    return EYE_OK;
}

static void zip_rows(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, int i_thread) {
    struct map_run r = make_run(x, s);
    const struct map *d = s->data;
    if (d->spread == SAME) {
        d->zip(r.y + row * d->c, r.a + row * d->c, r.b + row * d->c, n * d->c);
        return;
    }
    for (size_t end = row + n; row < end; row++)
        d->zip(r.y + row * d->c, r.a + row * d->c, d->spread == PER_IMAGE ? r.b + row / d->rows_per_image * d->c : r.b, d->c);
}

/* ---- planning ---- */

static enum eye_status lower_zip(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, eye_zip_fn *zip,
                                 struct eye_err *err) {
    const struct eye_value *a = eye_value_at(l->g, n->in[0]), *b = eye_value_at(l->g, n->in[1]);
    struct map *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++) same = a->dims[i] == b->dims[i];
    d->zip = zip;
    d->c = a->rank ? (size_t)a->dims[a->rank - 1] : 1;
    d->spread = same ? SAME : b->rank == 1 ? PER_CHANNEL : PER_IMAGE;
    if (d->spread == PER_IMAGE) d->rows_per_image = (size_t)(a->dims[1] * a->dims[2]);
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    EYE_TRY(eye_lower_operand(l, n, n->in[1], err));
    eye_lower_in_place(l, n, n->in[0]);
    s->run = same ? run_elements : run_rows;
    s->rows = zip_rows;
    s->m = eye_lower_fixed_rows(l, n);
    s->unit = 1;
    return EYE_OK;
}

enum eye_status eye_lower_add(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    return lower_zip(l, n, s, l->e->kernels.add_f32, err);
}
enum eye_status eye_lower_sub(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    return lower_zip(l, n, s, sub_f32, err);
}
enum eye_status eye_lower_mul(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    return lower_zip(l, n, s, l->e->kernels.mul_f32, err);
}
enum eye_status eye_lower_swiglu(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    return lower_zip(l, n, s, l->e->kernels.swiglu_f32, err);
}

enum eye_status eye_lower_act(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct map *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    d->map = eye_act_kernel(&l->e->kernels, n->attr.act);
    if (!d->map) return eye_fail(err, EYE_E_UNSUPPORTED, "engine: act: no kernel for \"%s\"", eye_act_name(n->attr.act));
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    eye_lower_in_place(l, n, n->in[0]);
    s->run = run_elements;
    return EYE_OK;
}

/* ---- gradients ---- */

static enum eye_status run_act_grad(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct map_run r = make_run(x, s);
    const float *d = r.a;
    r.a = r.b; /* kernels take the activation's argument first */
    r.b = d;
    r.n = eye_exec_elems(x, s->node->out);
    r.piece = EYE_ALIGN_UP(eye_exec_piece(x, r.n, LEAST_PIECE), 64);
    eye_exec_tasks(x, r.n, eye_ceil_div(r.n, r.piece), elements_task, &r);
    return EYE_OK;
}

enum eye_status eye_lower_act_grad(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    EYE_TRY(lower_zip(l, n, s, eye_act_grad_kernel(&l->e->kernels, n->attr.act), err));
    if (n->attr.act == EYE_ACT_NONE) return eye_fail(err, EYE_E_UNSUPPORTED, "engine: act_grad of no activation");
    s->run = run_act_grad;
    s->rows = NULL; /* its operands change places */
    return EYE_OK;
}

static void spread_task(void *ctx, int i_task, int i_thread) {
    const struct map_run *r = ctx;
    const struct map *d = r->d;
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->n);
    for (size_t row = first; row < end; row++) {
        const float *a = d->spread == PER_IMAGE ? r->a + row / d->rows_per_image * d->c : r->a;
        float *y = r->y + row * d->c;
        for (size_t i = 0; i < d->c; i++) y[i] = d->factor * a[d->spread == PER_IMAGE ? i : 0];
    }
}

static enum eye_status run_spread(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct map *d = s->data;
    struct map_run r = make_run(x, s);
    r.n = eye_exec_elems(x, s->node->out) / d->c;
    r.piece = eye_exec_piece(x, r.n, LEAST_PIECE / d->c);
    eye_exec_tasks(x, r.n * d->c, eye_ceil_div(r.n, r.piece), spread_task, &r);
    return EYE_OK;
}

enum eye_status eye_lower_spread(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    const struct eye_value *x = eye_value_at(l->g, n->in[0]), *y = eye_value_at(l->g, n->out);
    struct map *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    d->c = y->rank && y->dims[y->rank - 1] > 0 ? (size_t)y->dims[y->rank - 1] : 1;
    d->factor = n->attr.scale;
    d->spread = x->rank == 4 ? PER_IMAGE : SAME;
    if (x->rank == 4) d->rows_per_image = (size_t)(y->dims[1] * y->dims[2]);
    s->run = run_spread;
    return eye_lower_operand(l, n, n->in[0], err);
}

struct batch_norm_ctx {
    const struct eye_value *gamma, *beta, *mean, *var;
    double eps;
    bool shift; /* else scale */
    char pad[7];
};

/* y = x scale + shift, scale = gamma / sqrt(var + eps), shift = beta - mean scale; in double, rounded once. */
static void fill_batch_norm(const struct eye_packer *p, void *dst, const void *ctx) {
    const struct batch_norm_ctx *c = ctx;
    float *out = dst, gamma, beta, mean, var;
    for (int64_t i = 0; i < c->gamma->dims[0]; i++) {
        eye_weight_row(c->gamma, i, &gamma);
        eye_weight_row(c->beta, i, &beta);
        eye_weight_row(c->mean, i, &mean);
        eye_weight_row(c->var, i, &var);
        double scale = (double)gamma / sqrt((double)var + c->eps);
        out[i] = (float)(c->shift ? (double)beta - (double)mean * scale : scale);
    }
}

enum eye_status eye_lower_batch_norm(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct map *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    for (int i = 1; i < 5; i++)
        if (eye_lower_is_live(l, n->in[i])) return eye_lower_live_batch_norm(l, n, s, err);
    for (int i = 1; i < 5; i++) EYE_TRY(eye_lower_want_weight(l, n, n->in[i], err));
    struct batch_norm_ctx c = {eye_value_at(l->g, n->in[1]), eye_value_at(l->g, n->in[2]), eye_value_at(l->g, n->in[3]),
                               eye_value_at(l->g, n->in[4]), (double)n->attr.eps, false, {0}};
    size_t bytes = (size_t)c.gamma->dims[0] * sizeof(float);
    EYE_TRY(eye_lower_blob(l, bytes, fill_batch_norm, &c, sizeof c, 0, &d->scale, err));
    c.shift = true;
    EYE_TRY(eye_lower_blob(l, bytes, fill_batch_norm, &c, sizeof c, 0, &d->shift, err));
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    d->c = (size_t)c.gamma->dims[0];
    eye_lower_in_place(l, n, n->in[0]);
    s->run = run_rows;
    return EYE_OK;
}
