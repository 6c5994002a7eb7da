/* engine/lower_train_rows: row-wise training ops that are no losses: gradients of norms and softmax, dropout, scale, the sum of
 * all, and gradients that go back into tables. Sums over rows go over chunks of fixed size, then over the chunks in order. */
#include "engine/engine_impl.h"

#include <string.h>

#include "graph/dropout.h"

#define LEAST_PIECE 4096    /* elements: below, a task costs more than it does */
#define CHUNK_ROWS 128u     /* norm weights */
#define CHUNK_ELEMS 16384u  /* sum */

struct run {
    struct eye_exec *x;
    const struct eye_node *n;
    const struct eye_kernels *k;
    const float *in[3];
    float *y;
    size_t rows, c, piece; /* of in[0]; rows (or elements) per task */
};

static struct run make_run(struct eye_exec *x, const struct eye_step *s) {
    const struct eye_node *n = s->node;
    struct run r = {.x = x, .n = n, .k = &x->plan->e->kernels, .y = eye_exec_ptr(x, n->out)};
    for (int i = 0; i < 3; i++) r.in[i] = eye_exec_ptr(x, eye_node_in(n, i));
    r.c = (size_t)eye_dim(x->plan->g, n->in[0], -1);
    r.rows = eye_exec_rows(x, n->in[0]);
    r.piece = eye_exec_piece(x, r.rows, LEAST_PIECE / EYE_MAX(r.c, 1));
    return r;
}

static enum eye_status run_rows(struct eye_exec *x, const struct eye_step *s, eye_task_fn *task) {
    struct run r = make_run(x, s);
    eye_exec_tasks(x, r.rows * r.c, eye_ceil_div(r.rows, r.piece), task, &r);
    return EYE_OK;
}

static enum eye_status lower_row_operands(struct eye_lower *l, const struct eye_node *n, int n_floats, struct eye_err *err) {
    for (int i = 0; i < n_floats; i++) EYE_TRY(eye_lower_operand(l, n, n->in[i], err));
    if (eye_dim(l->g, n->in[0], -1) < 1) return eye_fail(err, EYE_E_UNSUPPORTED, "engine: rows of symbolic or no length");
    return EYE_OK;
}

#define EACH_ROW(r, row) \
    for (size_t row = (size_t)i_task * (r)->piece, end_ = EYE_MIN(row + (r)->piece, (r)->rows); row < end_; row++)

/* ---- norms: into x ---- */

static void layer_norm_dx_task(void *ctx, int i_task, int i_thread) {
    const struct run *r = ctx;
    EACH_ROW(r, row) {
        size_t at = row * r->c;
        r->k->layer_norm_dx_f32(r->y + at, r->in[0] + at, r->in[1] + at, r->in[2], r->c, r->n->attr.eps);
    }
}
static void rms_norm_dx_task(void *ctx, int i_task, int i_thread) {
    const struct run *r = ctx;
    EACH_ROW(r, row) {
        size_t at = row * r->c;
        r->k->rms_norm_dx_f32(r->y + at, r->in[0] + at, r->in[1] + at, r->in[2], r->c, r->n->attr.eps);
    }
}
static enum eye_status run_layer_norm_dx(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_rows(x, s, layer_norm_dx_task);
}
static enum eye_status run_rms_norm_dx(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_rows(x, s, rms_norm_dx_task);
}

static enum eye_status lower_norm_dx(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, eye_step_fn *run,
                                     struct eye_err *err) {
    s->run = run;
    EYE_TRY(lower_row_operands(l, n, 3, err));
    eye_lower_in_place(l, n, n->in[0]);
    return EYE_OK;
}
enum eye_status eye_lower_layer_norm_dx(struct eye_lower *l, const struct eye_node *n, struct eye_step *s,
                                        struct eye_err *err) {
    return lower_norm_dx(l, n, s, run_layer_norm_dx, err);
}
enum eye_status eye_lower_rms_norm_dx(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    return lower_norm_dx(l, n, s, run_rms_norm_dx, err);
}

/* ---- norms: into w; a task is a chunk of rows, summed in shared scratch ---- */

static void norm_dw_task(void *ctx, int i_task, int i_thread) {
    const struct run *r = ctx;
    eye_norm_dw_fn *add = r->n->op == EYE_OP_layer_norm_dw ? r->k->layer_norm_dw_f32 : r->k->rms_norm_dw_f32;
    float *sum = (float *)eye_exec_shared(r->x) + (size_t)i_task * r->c;
    memset(sum, 0, r->c * sizeof *sum);
    EACH_ROW(r, row) add(sum, r->in[0] + row * r->c, r->in[1] + row * r->c, r->c, r->n->attr.eps);
}

static enum eye_status run_norm_dw(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct run r = make_run(x, s);
    const float *sum = (const float *)eye_exec_shared(x);
    r.piece = CHUNK_ROWS;
    size_t n_chunks = eye_ceil_div(r.rows, r.piece);
    eye_exec_tasks(x, r.rows * r.c, n_chunks, norm_dw_task, &r);
    memset(r.y, 0, r.c * sizeof *r.y);
    for (size_t i = 0; i < n_chunks; i++) r.k->add_f32(r.y, r.y, sum + i * r.c, r.c);
    return EYE_OK;
}

static enum eye_status lower_norm_dw(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_norm_dw;
    EYE_TRY(lower_row_operands(l, n, 2, err));
    size_t c = (size_t)eye_dim(l->g, n->in[0], -1);
    eye_lower_scratch(l, 0, eye_ceil_div(eye_lower_elems(l, n->in[0]) / c, CHUNK_ROWS) * c * sizeof(float));
    return EYE_OK;
}
enum eye_status eye_lower_layer_norm_dw(struct eye_lower *l, const struct eye_node *n, struct eye_step *s,
                                        struct eye_err *err) {
    return lower_norm_dw(l, n, s, err);
}
enum eye_status eye_lower_rms_norm_dw(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    return lower_norm_dw(l, n, s, err);
}

/* ---- softmax ---- */

static void softmax_grad_task(void *ctx, int i_task, int i_thread) {
    const struct run *r = ctx;
    EACH_ROW(r, row) {
        size_t at = row * r->c;
        r->k->softmax_grad_f32(r->y + at, r->in[0] + at, r->in[1] + at, r->c, 1);
    }
}
static enum eye_status run_softmax_grad(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_rows(x, s, softmax_grad_task);
}
enum eye_status eye_lower_softmax_grad(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_softmax_grad;
    EYE_TRY(lower_row_operands(l, n, 2, err));
    eye_lower_in_place(l, n, n->in[0]);
    return EYE_OK;
}

/* ---- element by element: rows are elements ---- */

static struct run make_elements(struct eye_exec *x, const struct eye_step *s) {
    struct run r = make_run(x, s);
    r.rows = eye_exec_elems(x, s->node->in[0]);
    r.c = 1;
    r.piece = EYE_ALIGN_UP(eye_exec_piece(x, r.rows, LEAST_PIECE), 64);
    return r;
}

static void scale_task(void *ctx, int i_task, int i_thread) {
    const struct run *r = ctx;
    size_t at = (size_t)i_task * r->piece;
    r->k->affine_f32(r->y + at, r->in[0] + at, r->n->attr.scale, NULL, 0, 0, EYE_MIN(r->piece, r->rows - at));
}
static enum eye_status run_scale(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct run r = make_elements(x, s);
    eye_exec_tasks(x, r.rows, eye_ceil_div(r.rows, r.piece), scale_task, &r);
    return EYE_OK;
}
enum eye_status eye_lower_scale(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_scale;
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    eye_lower_in_place(l, n, n->in[0]);
    return EYE_OK;
}

struct dropout_run {
    struct run r;
    struct eye_dropout_args args;
};
static void dropout_task(void *ctx, int i_task, int i_thread) {
    const struct dropout_run *d = ctx;
    size_t at = (size_t)i_task * d->r.piece, n = EYE_MIN(d->r.piece, d->r.rows - at);
    d->r.k->dropout_f32(d->r.y + at, d->r.in[0] + at, n, (uint32_t)at, &d->args);
}
static enum eye_status run_dropout(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct eye_attr *a = &s->node->attr;
    struct eye_dropout m = eye_dropout_make(eye_exec_ptr(x, s->node->in[1]), a->salt, a->p);
    struct dropout_run d = {make_elements(x, s), {{m.key[0], m.key[1]}, m.threshold, m.scale}};
    eye_exec_tasks(x, d.r.rows, eye_ceil_div(d.r.rows, d.r.piece), dropout_task, &d);
    return EYE_OK;
}
enum eye_status eye_lower_dropout(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_dropout;
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    EYE_TRY(eye_lower_ids(l, n, n->in[1], err));
    eye_lower_in_place(l, n, n->in[0]);
    return EYE_OK;
}

/* ---- the sum of all ---- */

static void sum_task(void *ctx, int i_task, int i_thread) {
    const struct run *r = ctx;
    size_t at = (size_t)i_task * CHUNK_ELEMS;
    ((double *)eye_exec_shared(r->x))[i_task] = r->k->sum_f32(r->in[0] + at, NULL, EYE_MIN(CHUNK_ELEMS, r->rows - at));
}
static enum eye_status run_sum(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct run r = make_elements(x, s);
    size_t n_chunks = eye_ceil_div(r.rows, CHUNK_ELEMS);
    double total = 0;
    eye_exec_tasks(x, r.rows, n_chunks, sum_task, &r);
    for (size_t i = 0; i < n_chunks; i++) total += ((const double *)eye_exec_shared(x))[i];
    *r.y = (float)((double)s->node->attr.scale * total);
    return EYE_OK;
}
enum eye_status eye_lower_sum(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_sum;
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    eye_lower_scratch(l, 0, eye_ceil_div(eye_lower_elems(l, n->in[0]), CHUNK_ELEMS) * sizeof(double));
    return EYE_OK;
}

/* ---- into tables: a task owns some of the table's rows and looks for their indices in order ---- */

struct table_run {
    struct run r;
    const int32_t *index; /* [r.rows]: the table's row each one came from; negative = none */
    size_t n;             /* rows of the table */
};

static void table_task(void *ctx, int i_task, int i_thread) {
    const struct table_run *w = ctx;
    size_t c = w->r.c, first = (size_t)i_task * w->r.piece, end = EYE_MIN(first + w->r.piece, w->n);
    memset(w->r.y + first * c, 0, (end - first) * c * sizeof *w->r.y);
    for (size_t t = 0; t < w->r.rows; t++) {
        if (w->index[t] < 0 || (size_t)w->index[t] < first || (size_t)w->index[t] >= end) continue;
        float *to = w->r.y + (size_t)w->index[t] * c;
        w->r.k->add_f32(to, to, w->r.in[0] + t * c, c);
    }
}

static enum eye_status add_to_table(struct eye_exec *x, const struct eye_step *s, const int32_t *index, struct eye_err *err) {
    struct table_run w = {make_run(x, s), index, eye_exec_rows(x, s->node->out)};
    for (size_t t = 0; t < w.r.rows; t++)
        if (index[t] >= (int64_t)w.n)
            return eye_fail(err, EYE_E_ARG, "%s: row %d is outside the table of %zu", eye_op_info(s->node->op)->name, index[t],
                            w.n);
    w.r.piece = eye_exec_piece(x, w.n, LEAST_PIECE / w.r.c);
    eye_exec_tasks(x, (w.n + w.r.rows) * w.r.c, eye_ceil_div(w.n, w.r.piece), table_task, &w);
    return EYE_OK;
}

static enum eye_status run_embed_grad(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return add_to_table(x, s, eye_exec_ptr(x, s->node->in[1]), err);
}
enum eye_status eye_lower_embed_grad(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_embed_grad;
    EYE_TRY(lower_row_operands(l, n, 1, err));
    return eye_lower_ids(l, n, n->in[1], err);
}

static enum eye_status run_positions_grad(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    int32_t *index = (int32_t *)eye_exec_shared(x);
    for (size_t i = 0; i < eye_bind_n_segments(&x->bind); i++) {
        struct eye_segment e = eye_bind_segment(&x->bind, i);
        for (int64_t t = 0; t < e.n; t++) index[e.row + t] = (int32_t)(e.pos + t);
    }
    return add_to_table(x, s, index, err);
}
enum eye_status eye_lower_positions_grad(struct eye_lower *l, const struct eye_node *n, struct eye_step *s,
                                         struct eye_err *err) {
    s->run = run_positions_grad;
    if (eye_dim(l->g, n->in[0], 0) != EYE_DIM_T)
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: positions_grad of rows that are not the call's");
    eye_lower_scratch(l, 0, (size_t)l->plan->opts.max_t * sizeof(int32_t));
    return lower_row_operands(l, n, 1, err);
}
