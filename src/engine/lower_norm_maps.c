/* engine/lower_norm_maps: batch norm, applied and taken back: per channel y = p a + q (b - from) + shift, or without b
 * p (a - from) + shift, with numbers worked out when the step runs: statistics and trainable weights are known only then. */
#include "engine/engine_impl.h"

#include <math.h>

struct channels { /* in shared scratch, each [C] */
    float *p, *q, *from, *shift;
};
struct norm_run {
    const float *a, *b;
    float *y;
    struct channels k;
    size_t rows, c, piece;
};

static void rows_task(void *ctx, int i_task, int i_thread) {
    const struct norm_run *r = ctx;
    const struct channels *k = &r->k;
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->rows), c = r->c;
    for (size_t row = first; row < end; row++) {
        const float *a = r->a + row * c, *b = r->b + row * c;
        float *y = r->y + row * c;
        if (r->b)
            for (size_t i = 0; i < c; i++) y[i] = k->p[i] * a[i] + (k->q[i] * (b[i] - k->from[i]) + k->shift[i]);
        else
            for (size_t i = 0; i < c; i++) y[i] = k->p[i] * (a[i] - k->from[i]) + k->shift[i];
    }
}

static struct norm_run make_run(struct eye_exec *x, const struct eye_step *s) {
    const struct eye_node *n = s->node;
    struct norm_run r = {.a = eye_exec_ptr(x, n->in[0]), .y = eye_exec_ptr(x, n->out), .rows = eye_exec_rows(x, n->in[0])};
    r.c = (size_t)eye_dim(x->plan->g, n->in[0], -1);
    float *mem = (float *)eye_exec_shared(x);
    r.k = (struct channels){mem, mem + r.c, mem + 2 * r.c, mem + 3 * r.c};
    return r;
}

static enum eye_status run_rows(struct eye_exec *x, struct norm_run *r) {
    r->piece = eye_exec_piece(x, r->rows, 4096 / r->c);
    eye_exec_tasks(x, r->rows * r->c, eye_ceil_div(r->rows, r->piece), rows_task, r);
    return EYE_OK;
}

static enum eye_status lower(struct eye_lower *l, const struct eye_node *n, struct eye_err *err) {
    int64_t c = eye_dim(l->g, n->in[0], -1);
    if (c < 1)
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: %s over channels of symbolic or no number", eye_op_info(n->op)->name);
    for (int i = 0; i < n->n_in; i++) EYE_TRY(eye_lower_operand(l, n, n->in[i], err));
    eye_lower_scratch(l, 0, 4 * (size_t)c * sizeof(float));
    eye_lower_in_place(l, n, n->in[0]);
    return EYE_OK;
}

/* ---- forward: gamma (x - mean) / sqrt(var + eps) + beta ---- */

static enum eye_status apply(struct eye_exec *x, const struct eye_step *s, const float *gamma, const float *beta,
                             const float *mean, const float *var) {
    struct norm_run r = make_run(x, s);
    for (size_t i = 0; i < r.c; i++) {
        r.k.p[i] = (float)((double)gamma[i] / sqrt((double)var[i] + (double)s->node->attr.eps));
        r.k.from[i] = mean[i];
        r.k.shift[i] = beta[i];
    }
    return run_rows(x, &r);
}

static enum eye_status run_bn_apply(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const eye_val *in = s->node->in;
    const float *stats = eye_exec_ptr(x, in[1]);
    return apply(x, s, eye_exec_ptr(x, in[2]), eye_exec_ptr(x, in[3]), stats, stats + eye_dim(x->plan->g, in[1], 1));
}

static enum eye_status run_batch_norm(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const eye_val *in = s->node->in;
    return apply(x, s, eye_exec_ptr(x, in[1]), eye_exec_ptr(x, in[2]), eye_exec_ptr(x, in[3]), eye_exec_ptr(x, in[4]));
}

enum eye_status eye_lower_bn_apply(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_bn_apply;
    return lower(l, n, err);
}

enum eye_status eye_lower_live_batch_norm(struct eye_lower *l, const struct eye_node *n, struct eye_step *s,
                                          struct eye_err *err) {
    s->run = run_batch_norm;
    return lower(l, n, err);
}

/* ---- backward: g (d - sums0 / R - xhat sums1 / R), g = gamma f, xhat = (x - mean) f, f = 1 / sqrt(var + eps) ---- */

static enum eye_status run_bn_dx(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const eye_val *in = s->node->in;
    struct norm_run r = make_run(x, s);
    const float *mean = eye_exec_ptr(x, in[1]), *var = mean + r.c, *gamma = eye_exec_ptr(x, in[2]);
    const float *sums = eye_exec_ptr(x, eye_node_in(s->node, 4));
    r.b = sums ? eye_exec_ptr(x, in[3]) : NULL;
    for (size_t i = 0; i < r.c; i++) {
        double f = 1 / sqrt((double)var[i] + (double)s->node->attr.eps), g = (double)gamma[i] * f, per_row = g / (double)r.rows;
        r.k.p[i] = (float)g;
        r.k.q[i] = sums ? (float)(-per_row * f * (double)sums[r.c + i]) : 0;
        r.k.from[i] = sums ? mean[i] : 0;
        r.k.shift[i] = sums ? (float)(-per_row * (double)sums[i]) : 0;
    }
    return run_rows(x, &r);
}

enum eye_status eye_lower_bn_dx(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_bn_dx;
    return lower(l, n, err);
}
