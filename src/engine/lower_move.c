/* engine/lower_move: ops that only move data: reshape (no step at all), transpose, concat, slice. */
#include "engine/attend.h"

#include <string.h>

enum eye_status eye_lower_reshape(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    return eye_lower_operand(l, n, n->in[0], err); /* the plan lets views share memory */
}

/* ---- strips: `outer` pieces of `n` contiguous elements, strides apart; from NULL: zeros ---- */

struct strips {
    const float *from;
    float *to;
    size_t outer, n, from_stride, to_stride, piece;
};

static void strips_task(void *ctx, int i_task, int i_thread) {
    const struct strips *r = ctx;
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->outer);
    for (size_t i = first; i < end; i++) {
        if (r->from) memcpy(r->to + i * r->to_stride, r->from + i * r->from_stride, r->n * sizeof *r->to);
        else memset(r->to + i * r->to_stride, 0, r->n * sizeof *r->to);
    }
}

static void copy_strips(struct eye_exec *x, struct strips r) {
    if (r.n == 0) return;
    r.piece = eye_exec_piece(x, r.outer, eye_ceil_div(4096, r.n));
    eye_exec_tasks(x, r.outer * r.n, eye_ceil_div(r.outer, r.piece), strips_task, &r);
}

/* Elements per step of the axis before `axis`: the axis and all after it, symbols bound. */
static size_t strip_elems(const struct eye_exec *x, eye_val v, int axis) {
    const struct eye_value *a = eye_value_at(x->plan->g, v);
    size_t n = 1;
    for (int i = axis; i < a->rank; i++) n *= (size_t)eye_bind_dim(&x->bind, a->dims[i]);
    return n;
}

static enum eye_status run_concat(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct eye_node *n = s->node;
    size_t na = strip_elems(x, n->in[0], n->attr.axis), nb = strip_elems(x, n->in[1], n->attr.axis);
    size_t total = eye_exec_elems(x, n->out), outer = na + nb ? total / (na + nb) : 0;
    float *y = eye_exec_ptr(x, n->out);
    copy_strips(x, (struct strips){eye_exec_ptr(x, n->in[0]), y, outer, na, na, na + nb, 0});
    copy_strips(x, (struct strips){eye_exec_ptr(x, n->in[1]), y + na, outer, nb, nb, na + nb, 0});
    return EYE_OK;
}

enum eye_status eye_lower_concat(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_concat;
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    return eye_lower_operand(l, n, n->in[1], err);
}

static enum eye_status run_slice(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct eye_node *n = s->node;
    size_t from = strip_elems(x, n->in[0], n->attr.axis), to = strip_elems(x, n->out, n->attr.axis);
    size_t step = strip_elems(x, n->in[0], n->attr.axis + 1), total = eye_exec_elems(x, n->out);
    const float *a = eye_exec_ptr(x, n->in[0]);
    float *y = eye_exec_ptr(x, n->out);
    if (to) copy_strips(x, (struct strips){a + (size_t)n->attr.begin * step, y, total / to, to, from, to, 0});
    return EYE_OK;
}

enum eye_status eye_lower_slice(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    if (eye_attn_reads_in_place(l, n)) l->alias[n->out] = n->in[0];
    else s->run = run_slice;
    return eye_lower_operand(l, n, n->in[0], err);
}

/* The slice's place among zeros. */
static enum eye_status run_slice_grad(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct eye_node *n = s->node;
    size_t all = strip_elems(x, n->out, n->attr.axis), d = strip_elems(x, n->in[0], n->attr.axis);
    size_t before = (size_t)n->attr.begin * strip_elems(x, n->out, n->attr.axis + 1);
    size_t outer = all ? eye_exec_elems(x, n->out) / all : 0;
    float *y = eye_exec_ptr(x, n->out);
    copy_strips(x, (struct strips){NULL, y, outer, before, 0, all, 0});
    copy_strips(x, (struct strips){eye_exec_ptr(x, n->in[0]), y + before, outer, d, d, all, 0});
    copy_strips(x, (struct strips){NULL, y + before + d, outer, all - before - d, 0, all, 0});
    return EYE_OK;
}

enum eye_status eye_lower_slice_grad(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_slice_grad;
    return eye_lower_operand(l, n, n->in[0], err);
}

/* ---- transpose ---- */

struct transpose_run {
    const float *from;
    float *to;
    int rank;
    size_t dims[EYE_MAX_RANK];   /* of the result */
    size_t stride[EYE_MAX_RANK]; /* in the source, along each axis of the result */
    size_t rows, piece;          /* rows of the result's last axis */
};

static void transpose_task(void *ctx, int i_task, int i_thread) {
    const struct transpose_run *r = ctx;
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->rows);
    size_t n = r->dims[r->rank - 1], stride = r->stride[r->rank - 1];
    for (size_t row = first; row < end; row++) {
        const float *from = r->from;
        size_t rest = row;
        for (int i = r->rank - 2; i >= 0; i--) {
            from += rest % r->dims[i] * r->stride[i];
            rest /= r->dims[i];
        }
        float *to = r->to + row * n;
        if (stride == 1)
            memcpy(to, from, n * sizeof *to);
        else
            for (size_t j = 0; j < n; j++) to[j] = from[j * stride];
    }
}

static enum eye_status run_transpose(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct eye_node *n = s->node;
    const struct eye_value *in = eye_value_at(x->plan->g, n->in[0]);
    struct transpose_run r = {.from = eye_exec_ptr(x, n->in[0]), .to = eye_exec_ptr(x, n->out), .rank = in->rank};
    size_t dims[EYE_MAX_RANK], stride[EYE_MAX_RANK], total = 1;
    for (int i = in->rank - 1; i >= 0; i--) {
        dims[i] = (size_t)eye_bind_dim(&x->bind, in->dims[i]);
        stride[i] = total;
        total *= dims[i];
    }
    for (int i = 0; i < in->rank; i++) {
        r.dims[i] = dims[n->attr.perm[i]];
        r.stride[i] = stride[n->attr.perm[i]];
    }
    if (total == 0) return EYE_OK;
    r.rows = total / r.dims[r.rank - 1];
    r.piece = eye_exec_piece(x, r.rows, eye_ceil_div(4096, r.dims[r.rank - 1]));
    eye_exec_tasks(x, total, eye_ceil_div(r.rows, r.piece), transpose_task, &r);
    return EYE_OK;
}

enum eye_status eye_lower_transpose(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    if (eye_value_at(l->g, n->in[0])->rank < 1) return eye_fail(err, EYE_E_UNSUPPORTED, "engine: transpose of a scalar");
    s->run = run_transpose;
    return eye_lower_operand(l, n, n->in[0], err);
}
