/* engine/lower_linear: y = act(x w^T + b) + residual, the products of its gradients, and the lookup of embedding rows. */
#include "engine/int8.h"

#include <string.h>

#define JOIN_STEPS 8 /* how far back: q, its rope, k, its rope, v */
struct linear { /* and those soon after it that read the same rows: q, k and v, or gate and up */
    struct eye_matrix w[EYE_STEP_NODES];
    eye_map_fn *act[EYE_STEP_NODES];
    size_t n;
};

static struct eye_gemm linear_job(const struct eye_exec *x, const struct eye_step *s, size_t i) {
    const struct linear *d = s->data;
    const struct eye_node *n = i ? s->also[i - 1] : s->node;
    return (struct eye_gemm){.w = &d->w[i], .m = eye_exec_rows(x, n->in[0]), .width = eye_exec_width(x, n->out),
                             .x = eye_exec_ptr(x, n->in[0]), .y = eye_exec_ptr(x, n->out),
                             .residual = eye_exec_ptr(x, eye_node_in(n, 3)), .act = d->act[i]};
}

static enum eye_status run_linear(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct linear *d = s->data;
    struct eye_gemm j[EYE_STEP_NODES];
    for (size_t i = 0; i < d->n; i++) j[i] = linear_job(x, s, i);
    eye_gemm_run_all(x, j, d->n);
    return EYE_OK;
}

static void linear_rows(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, int i_thread) {
    struct eye_gemm j = linear_job(x, s, 0);
    eye_gemm_rows(x, &j, row, n, i_thread);
}

static void linear_into(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, float *dst, int i_thread) {
    struct eye_gemm j = linear_job(x, s, 0);
    j.x += row * j.w->k;
    j.y = dst;
    eye_gemm_rows(x, &j, 0, n, i_thread);
}

/* ---- weights that change, products of activations ---- */

struct live {
    const struct eye_gemm_ukr *ukr;
    eye_map_fn *act;
};

/* Sizes for T = max_t when l is given, else of x's run. */
static size_t elems_of(const struct eye_exec *x, const struct eye_lower *l, eye_val v) {
    return l ? eye_lower_elems(l, v) : eye_exec_elems(x, v);
}

static struct eye_product live_linear(const struct eye_exec *x, const struct eye_lower *l, const struct live *d,
                                      const struct eye_node *n) {
    const struct eye_value *w = eye_value_at(l ? l->g : x->plan->g, n->in[1]);
    struct eye_product j = {.ukr = d->ukr, .n = (size_t)w->dims[0], .k = (size_t)w->dims[1], .act = d->act};
    j.m = elems_of(x, l, n->in[0]) / j.k;
    return j;
}

static enum eye_status run_live_linear(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct eye_node *n = s->node;
    struct eye_product j = live_linear(x, NULL, s->data, n);
    j.a.p = eye_exec_ptr(x, n->in[0]);
    j.b.p = eye_exec_ptr(x, n->in[1]);
    j.bias = eye_exec_ptr(x, eye_node_in(n, 2));
    j.residual = eye_exec_ptr(x, eye_node_in(n, 3));
    j.y = eye_exec_ptr(x, n->out);
    eye_product_run(x, &j);
    return EYE_OK;
}

static enum eye_status lower_live(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct live **out,
                                  struct eye_err *err) {
    struct live *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    d->ukr = eye_product_ukr(l);
    d->act = eye_act_kernel(&l->e->kernels, n->attr.act);
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] != EYE_NONE) EYE_TRY(eye_lower_operand(l, n, n->in[i], err));
    *out = d;
    return EYE_OK;
}

static enum eye_status lower_live_linear(struct eye_lower *l, const struct eye_node *n, struct eye_step *s,
                                         struct eye_err *err) {
    struct live *d = NULL;
    EYE_TRY(lower_live(l, n, s, &d, err));
    if (eye_node_in(n, 3) != EYE_NONE) eye_lower_in_place(l, n, n->in[3]);
    struct eye_product j = live_linear(NULL, l, d, n);
    eye_lower_product_scratch(l, &j);
    s->run = run_live_linear;
    return EYE_OK;
}

/* a b, or with attr.ta a^T b; all axes but the last are rows. */
static struct eye_product matmul_product(const struct eye_exec *x, const struct eye_lower *l, const struct live *d,
                                         const struct eye_node *n) {
    const struct eye_graph *g = l ? l->g : x->plan->g;
    size_t a = (size_t)eye_dim(g, n->in[0], -1), rows = elems_of(x, l, n->in[0]) / a;
    struct eye_product j = {.ukr = d->ukr, .m = rows, .n = (size_t)eye_dim(g, n->in[1], -1), .k = a, .b.by_k = true};
    if (n->attr.ta) {
        j.m = a;
        j.k = rows;
        j.a.by_k = true;
    }
    return j;
}

static enum eye_status run_matmul(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct eye_node *n = s->node;
    struct eye_product j = matmul_product(x, NULL, s->data, n);
    j.a.p = eye_exec_ptr(x, n->in[0]);
    j.b.p = eye_exec_ptr(x, n->in[1]);
    j.y = eye_exec_ptr(x, n->out);
    eye_product_run(x, &j);
    return EYE_OK;
}

enum eye_status eye_lower_matmul(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct live *d = NULL;
    EYE_TRY(lower_live(l, n, s, &d, err));
    if (eye_dim(l->g, n->in[0], -1) < 1 || eye_dim(l->g, n->in[1], -1) < 1)
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: matmul with a last axis of symbolic or no length");
    struct eye_product j = matmul_product(NULL, l, d, n);
    eye_lower_product_scratch(l, &j);
    s->run = run_matmul;
    return EYE_OK;
}

/* Lets a step shortly before do n as well, where both read the same rows in the same form for the same outputs. */
static bool join(struct eye_lower *l, const struct eye_node *n, const struct eye_step *s, const struct eye_matrix *w,
                 eye_map_fn *act) {
    struct eye_plan *p = l->plan;
    for (size_t i = p->n_steps; i > 0 && i + JOIN_STEPS > p->n_steps; i--) {
        struct eye_step *before = &p->step[i - 1];
        if (before->run != run_linear || before->leads_to != s->leads_to || before->node->in[0] != n->in[0]) continue;
        struct linear *d = (struct linear *)(uintptr_t)before->data; /* made here, not yet in use */
        if (eye_node_in(before->node, 3) != EYE_NONE || d->n == EYE_STEP_NODES) continue;
        if (d->w[0].ukr != w->ukr || d->w[0].k != w->k) continue;
        before->also[d->n - 1] = n;
        d->w[d->n] = *w;
        d->act[d->n++] = act;
        before->rows = NULL; /* chains have one product a step */
        before->into = NULL;
        l->early[n->out] = (int32_t)(before->node - l->g->node);
        return true;
    }
    return false;
}

enum eye_status eye_lower_linear(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    if (eye_lower_reads_bytes(l, n)) return eye_lower_linear_i8(l, n, s, err);
    eye_val residual = eye_node_in(n, 3);
    if (eye_lower_changes(l, n->in[1]) || eye_lower_changes(l, eye_node_in(n, 2)))
        return lower_live_linear(l, n, s, err);
    struct eye_matrix w;
    EYE_TRY(eye_lower_matrix(l, n, n->in[1], eye_node_in(n, 2), eye_lower_wtype(l, n), false, &w, err));
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    eye_lower_gemm_scratch(l, &w, eye_lower_elems(l, n->in[0]) / w.k, false);
    eye_map_fn *act = eye_act_kernel(&l->e->kernels, n->attr.act);
    if (residual == EYE_NONE && join(l, n, s, &w, act)) return EYE_OK;
    struct linear *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    d->w[0] = w;
    d->act[0] = act;
    d->n = 1;
    s->run = run_linear;
    if (residual != EYE_NONE) {
        EYE_TRY(eye_lower_operand(l, n, residual, err));
        eye_lower_in_place(l, n, residual); /* a tile reads its residual before it writes */
    }
    s->m = eye_lower_fixed_rows(l, n);
    if (!eye_gemm_has_rows(l->e, &w, s->m)) return EYE_OK;
    s->rows = linear_rows;
    if (residual == EYE_NONE) s->into = linear_into;
    s->unit = w.ukr->mr;
    s->weights = eye_matrix_bytes(&w);
    return EYE_OK;
}

/* ---- embed ---- */

struct embed_run {
    struct eye_exec *x;
    const struct eye_value *table;
    const float *computed;   /* the table's rows where they are no stored weight; else NULL */
    enum eye_dtype round_to; /* rows go through this type; f32 = as they are */
    const int32_t *ids;
    float *y;
    size_t n, c, piece;
};

/* The type a converted file would keep the table in. */
static enum eye_dtype embed_dtype(const struct eye_node *n) {
    return eye_wtype_dtype(n->attr.wtype);
}

static void embed_task(void *ctx, int i_task, int i_thread) {
    const struct embed_run *r = ctx;
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->n);
    for (size_t t = first; t < end; t++) {
        float *row = r->y + t * r->c;
        if (r->ids[t] < 0) {
            memset(row, 0, r->c * sizeof *row);
            continue;
        }
        if (r->computed) {
            memcpy(row, r->computed + (size_t)r->ids[t] * r->c, r->c * sizeof *row);
            continue;
        }
        eye_weight_row(r->table, r->ids[t], row);
        if (r->round_to == EYE_F32 || r->round_to == r->table->dtype) continue;
        eye_row_from_f32(r->round_to, row, eye_exec_thread(r->x, i_thread), r->c);
        eye_row_to_f32(r->round_to, eye_exec_thread(r->x, i_thread), row, r->c);
    }
}

static enum eye_status run_embed(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct eye_node *n = s->node;
    struct embed_run r = {.x = x, .table = eye_value_at(x->plan->g, n->in[1]), .round_to = embed_dtype(n),
                          .ids = eye_exec_ptr(x, n->in[0]), .y = eye_exec_ptr(x, n->out)};
    if (r.table->kind != EYE_VAL_WEIGHT) r.computed = eye_exec_ptr(x, n->in[1]);
    r.n = eye_exec_elems(x, n->in[0]);
    r.c = (size_t)r.table->dims[1];
    int64_t rows = eye_bind_dim(&x->bind, r.table->dims[0]);
    r.piece = eye_exec_piece(x, r.n, 4);
    for (size_t t = 0; t < r.n; t++)
        if (r.ids[t] < -1 || r.ids[t] >= rows) /* -1: a row of zeros */
            return eye_fail(err, EYE_E_ARG, "embed: id %d is outside the table of %lld rows", r.ids[t],
                            (long long)rows);
    eye_exec_tasks(x, r.n * r.c, eye_ceil_div(r.n, r.piece), embed_task, &r);
    return EYE_OK;
}

/* Rows are read from the stored table, trainable or not: a packed copy would only be larger. */
enum eye_status eye_lower_embed(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    if (eye_value_at(l->g, n->in[1])->kind == EYE_VAL_WEIGHT)
        EYE_TRY(eye_lower_want_weight(l, n, n->in[1], err));
    else
        EYE_TRY(eye_lower_operand(l, n, n->in[1], err));
    if (eye_value_at(l->g, n->in[0])->kind != EYE_VAL_INPUT)
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: embed wants its ids to be an input");
    size_t row_bytes;
    if (!eye_dtype_row_bytes(embed_dtype(n), (uint64_t)eye_value_at(l->g, n->in[1])->dims[1], &row_bytes))
        return eye_fail(err, EYE_E_LIMIT, "engine: embed: a row of the table is too large");
    eye_lower_scratch(l, row_bytes, 0);
    s->run = run_embed;
    return EYE_OK;
}
