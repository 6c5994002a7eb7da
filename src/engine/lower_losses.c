/* engine/lower_losses: losses per row and their gradients: cross entropy, KL from whole or top-k teachers, squared error,
 * cosine. Log-sums, their differences and products of rows run in double; the exponentials are the softmax kernel's. */
#include "engine/engine_impl.h"

#include <math.h>
#include <string.h>

struct run {
    struct eye_exec *x;
    const struct eye_node *n;
    const struct eye_kernels *k;
    const void *in[5]; /* of a gradient: from its second input on; d is apart */
    const float *d;    /* gradient of each row's loss; NULL: forward */
    float *y;
    size_t rows, c, n_top, piece; /* c: columns of in[0]; n_top: of kl_topk's ids */
};

typedef void row_fn(const struct run *r, size_t row, float *scratch);

static void each_row(const struct run *r, int i_task, int i_thread, row_fn *fn) {
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->rows);
    for (size_t row = first; row < end; row++) fn(r, row, (float *)eye_exec_thread(r->x, i_thread));
}

static struct run make_run(struct eye_exec *x, const struct eye_step *s, bool backward) {
    const struct eye_node *n = s->node;
    struct run r = {.x = x, .n = n, .k = &x->plan->e->kernels, .y = eye_exec_ptr(x, n->out)};
    if (backward) r.d = eye_exec_ptr(x, n->in[0]);
    for (int i = backward; i < n->n_in; i++) r.in[i - backward] = eye_exec_ptr(x, n->in[i]);
    r.c = (size_t)eye_dim(x->plan->g, n->in[backward], -1);
    r.rows = eye_exec_rows(x, n->in[backward]);
    r.piece = eye_exec_piece(x, r.rows, eye_ceil_div(2048, r.c));
    return r;
}

static void run_rows(struct run *r, eye_task_fn *task) {
    eye_exec_tasks(r->x, r->rows * r->c, eye_ceil_div(r->rows, r->piece), task, r);
}

/* floats: a bit per input that is read as f32; the others are ids. rows: scratch per thread, in rows of the (first) input. */
static enum eye_status lower_loss(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, eye_step_fn *run,
                                  unsigned floats, int first, size_t rows, struct eye_err *err) {
    s->run = run;
    for (int i = 0; i < n->n_in; i++)
        EYE_TRY(floats >> i & 1 ? eye_lower_operand(l, n, n->in[i], err) : eye_lower_ids(l, n, n->in[i], err));
    int64_t c = eye_dim(l->g, n->in[first], -1);
    if (c < 1) return eye_fail(err, EYE_E_UNSUPPORTED, "engine: rows of symbolic or no length");
    eye_lower_scratch(l, rows * eye_line((size_t)c * sizeof(float)), 0);
    return EYE_OK;
}

/* A loss and its gradient: names, which inputs are f32 (of the forward op; the gradient has d before them), scratch rows. */
#define LOSS(name, floats, scratch, check)                                                                             \
    static void name##_task(void *ctx, int i_task, int i_thread) { each_row(ctx, i_task, i_thread, name); }            \
    static void name##_grad_task(void *ctx, int i_task, int i_thread) { each_row(ctx, i_task, i_thread, name##_grad); } \
    static enum eye_status run_##name(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {             \
        struct run r = make_run(x, s, false);                                                                          \
        EYE_TRY(check(&r, err));                                                                                       \
        run_rows(&r, name##_task);                                                                                     \
        return EYE_OK;                                                                                                 \
    }                                                                                                                  \
    static enum eye_status run_##name##_grad(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {      \
        struct run r = make_run(x, s, true);                                                                           \
        EYE_TRY(check(&r, err));                                                                                       \
        run_rows(&r, name##_grad_task);                                                                                \
        return EYE_OK;                                                                                                 \
    }                                                                                                                  \
    enum eye_status eye_lower_##name(struct eye_lower *l, const struct eye_node *n, struct eye_step *s,                \
                                     struct eye_err *err) {                                                            \
        return lower_loss(l, n, s, run_##name, floats, 0, scratch, err);                                               \
    }                                                                                                                  \
    enum eye_status eye_lower_##name##_grad(struct eye_lower *l, const struct eye_node *n, struct eye_step *s,         \
                                            struct eye_err *err) {                                                     \
        return lower_loss(l, n, s, run_##name##_grad, (floats) << 1 | 1, 1, scratch, err);                             \
    }

static enum eye_status fine(struct run *r, struct eye_err *err) { return EYE_OK; }

static const float *row_of(const struct run *r, int i, size_t row) { return (const float *)r->in[i] + row * r->c; }

/* softmax(by z) of a row. */
static void softmax(const struct run *r, float *y, const float *z, float by) {
    r->k->affine_f32(y, z, by, NULL, 0, 0, r->c);
    r->k->softmax_f32(y, r->c);
}

/* ---- cross entropy: z, target, weight ---- */

static enum eye_status targets_exist(struct run *r, struct eye_err *err) {
    const int32_t *target = r->in[1];
    for (size_t t = 0; t < r->rows; t++)
        if (target[t] >= (int64_t)r->c)
            return eye_fail(err, EYE_E_ARG, "cross_entropy: target %d is no class of %zu", target[t], r->c);
    return EYE_OK;
}

static void cross_entropy(const struct run *r, size_t row, float *scratch) {
    const float *z = row_of(r, 0, row);
    int32_t target = ((const int32_t *)r->in[1])[row];
    double weight = (double)((const float *)r->in[2])[row], s = (double)r->n->attr.smoothing, loss = 0;
    if (target >= 0) {
        loss = r->k->lse_f32(z, r->c, 1) - (1 - s) * (double)z[target];
        if (s != 0) loss -= s * r->k->sum_f32(z, NULL, r->c) / (double)r->c;
        loss *= weight;
    }
    r->y[row] = (float)loss;
}

static void cross_entropy_grad(const struct run *r, size_t row, float *scratch) {
    float *y = r->y + row * r->c, s = r->n->attr.smoothing;
    int32_t target = ((const int32_t *)r->in[1])[row];
    float factor = target < 0 ? 0 : r->d[row] * ((const float *)r->in[2])[row];
    if (factor == 0) {
        memset(y, 0, r->c * sizeof *y);
        return;
    }
    memcpy(y, row_of(r, 0, row), r->c * sizeof *y);
    r->k->softmax_f32(y, r->c);
    r->k->affine_f32(y, y, factor, NULL, 0, -factor * s / (float)r->c, r->c);
    y[target] -= factor * (1 - s);
}

LOSS(cross_entropy, 5u, 0, targets_exist)

/* ---- KL of whole rows: a (student), b (teacher), weight; p = softmax(b / t), q = softmax(a / t) ---- */

/* Differences of log-probabilities are small where the sum of logs would cancel: they are taken first. */
static void kl_rows(const struct run *r, size_t row, float *scratch) {
    const float *a = row_of(r, 0, row), *b = row_of(r, 1, row);
    float by = 1 / r->n->attr.temp, *p = scratch, *gap = scratch + eye_line(r->c * sizeof *p) / sizeof *p;
    double t = (double)r->n->attr.temp, la = r->k->lse_f32(a, r->c, by), lb = r->k->lse_f32(b, r->c, by);
    softmax(r, p, b, by);
    r->k->affine_f32(gap, b, by, a, -by, (float)(la - lb), r->c);
    r->y[row] = (float)((double)((const float *)r->in[2])[row] * t * t * r->k->dot_f32(p, gap, r->c));
}

static void kl_rows_grad(const struct run *r, size_t row, float *scratch) {
    float t = r->n->attr.temp, factor = r->d[row] * ((const float *)r->in[2])[row] * t, *y = r->y + row * r->c;
    if (factor == 0) {
        memset(y, 0, r->c * sizeof *y);
        return;
    }
    softmax(r, y, row_of(r, 0, row), 1 / t);
    softmax(r, scratch, row_of(r, 1, row), 1 / t);
    r->k->affine_f32(y, y, factor, scratch, -factor, 0, r->c);
}

LOSS(kl_rows, 7u, 2, fine)

/* ---- KL of a teacher's K likeliest classes and one for the rest: a (student), ids, logp, weight ---- */

static enum eye_status topk_exist(struct run *r, struct eye_err *err) {
    const int32_t *ids = r->in[1];
    r->n_top = (size_t)eye_dim(r->x->plan->g, r->n->in[r->d ? 2 : 1], -1);
    for (size_t i = 0; i < r->rows * r->n_top; i++)
        if (ids[i] >= (int64_t)r->c) return eye_fail(err, EYE_E_ARG, "kl_topk: id %d is no class of %zu", ids[i], r->c);
    return EYE_OK;
}

struct topk { /* of one row */
    const int32_t *ids;
    const float *logp;
    double by, lse, p, q; /* p, q: sums over the K of the teacher's and the student's probabilities */
    size_t n;             /* classes given */
};

static double student(const struct topk *m, const float *a, size_t i) {
    return exp((double)a[m->ids[i]] * m->by - m->lse);
}

static struct topk topk_of(const struct run *r, size_t row, const float *a) {
    struct topk m = {.ids = (const int32_t *)r->in[1] + row * r->n_top, .logp = (const float *)r->in[2] + row * r->n_top};
    m.by = 1 / (double)r->n->attr.temp;
    m.lse = r->k->lse_f32(a, r->c, (float)m.by);
    for (size_t i = 0; i < r->n_top; i++) {
        if (m.ids[i] < 0) continue;
        m.p += exp((double)m.logp[i]);
        m.q += student(&m, a, i);
        m.n++;
    }
    return m;
}

static void kl_topk(const struct run *r, size_t row, float *scratch) {
    const float *a = row_of(r, 0, row);
    struct topk m = topk_of(r, row, a);
    double t = (double)r->n->attr.temp, p = fmax(1 - m.p, EYE_LEAST_REST), q = fmax(1 - m.q, EYE_LEAST_REST);
    double s = m.n < r->c ? p * (log(p) - log(q)) : 0;
    for (size_t i = 0; i < r->n_top; i++)
        if (m.ids[i] >= 0) s += exp((double)m.logp[i]) * ((double)m.logp[i] - ((double)a[m.ids[i]] * m.by - m.lse));
    r->y[row] = (float)((double)((const float *)r->in[3])[row] * t * t * s);
}

/* The formula is explained at eye_ref_kl_topk_grad. */
static void kl_topk_grad(const struct run *r, size_t row, float *scratch) {
    const float *a = row_of(r, 0, row);
    float *y = r->y + row * r->c;
    double factor = (double)r->d[row] * (double)((const float *)r->in[3])[row] * (double)r->n->attr.temp;
    if (factor == 0) {
        memset(y, 0, r->c * sizeof *y);
        return;
    }
    struct topk m = topk_of(r, row, a);
    double p = fmax(1 - m.p, EYE_LEAST_REST), q = 1 - m.q, rest = m.n < r->c && q > EYE_LEAST_REST ? p / q : 0;
    softmax(r, y, a, (float)m.by);
    r->k->affine_f32(y, y, (float)(factor * (m.p - rest * m.q)), NULL, 0, 0, r->c);
    for (size_t i = 0; i < r->n_top; i++)
        if (m.ids[i] >= 0)
            y[m.ids[i]] = (float)(factor * (student(&m, a, i) * (m.p + rest * (1 - m.q)) - exp((double)m.logp[i])));
}

LOSS(kl_topk, 13u, 0, topk_exist)

/* ---- features: a, b ---- */

static void mse_rows(const struct run *r, size_t row, float *scratch) {
    r->y[row] = (float)(r->k->distance_f32(row_of(r, 0, row), row_of(r, 1, row), r->c) / (double)r->c);
}
static void mse_rows_grad(const struct run *r, size_t row, float *scratch) {
    float by = r->d[row] * 2 / (float)r->c;
    r->k->affine_f32(r->y + row * r->c, row_of(r, 0, row), by, row_of(r, 1, row), -by, 0, r->c);
}
LOSS(mse_rows, 3u, 0, fine)

struct cosine { double ab, aa, bb; };
static struct cosine cosine(const struct run *r, size_t row) {
    const float *a = row_of(r, 0, row), *b = row_of(r, 1, row);
    return (struct cosine){r->k->dot_f32(a, b, r->c), r->k->dot_f32(a, a, r->c), r->k->dot_f32(b, b, r->c)};
}

static void cosine_rows(const struct run *r, size_t row, float *scratch) {
    struct cosine s = cosine(r, row);
    r->y[row] = s.aa > 0 && s.bb > 0 ? (float)(1 - s.ab / sqrt(s.aa * s.bb)) : 1;
}
static void cosine_rows_grad(const struct run *r, size_t row, float *scratch) {
    struct cosine s = cosine(r, row);
    float *y = r->y + row * r->c;
    if (!(s.aa > 0 && s.bb > 0)) {
        memset(y, 0, r->c * sizeof *y);
        return;
    }
    double by = (double)r->d[row] / sqrt(s.aa * s.bb);
    r->k->affine_f32(y, row_of(r, 0, row), (float)(by * s.ab / s.aa), row_of(r, 1, row), (float)-by, 0, r->c);
}
LOSS(cosine_rows, 3u, 0, fine)
