/* engine/engine: what all plans of a model share (threads, chosen kernels), and small helpers of steps at run time. */
#include "engine/engine_impl.h"

#include <string.h>

enum eye_status eye_engine_init(struct eye_engine *e, int n_threads, uint32_t cpu_flags, const struct eye_alloc *alloc,
                                struct eye_err *err) {
    memset(e, 0, sizeof *e);
    e->alloc = alloc;
    eye_kernels_init(&e->kernels, cpu_flags);
    return eye_pool_new(&e->pool, n_threads > 0 ? n_threads : eye_cpu_count(), alloc, err);
}

void eye_engine_clear(struct eye_engine *e) {
    eye_pool_free(e->pool);
    memset(e, 0, sizeof *e);
}

eye_map_fn *eye_act_kernel(const struct eye_kernels *k, enum eye_act_kind act) {
    switch (act) {
    case EYE_ACT_GELU: return k->gelu_f32;
    case EYE_ACT_GELU_TANH: return k->gelu_tanh_f32;
    case EYE_ACT_QUICK_GELU: return k->quick_gelu_f32;
    case EYE_ACT_SILU: return k->silu_f32;
    case EYE_ACT_SIGMOID: return k->sigmoid_f32;
    case EYE_ACT_RELU: return k->relu_f32;
    case EYE_ACT_HARDSIGMOID: return k->hardsigmoid_f32;
    case EYE_ACT_HARDSWISH: return k->hardswish_f32;
    default: return NULL;
    }
}

eye_zip_fn *eye_act_grad_kernel(const struct eye_kernels *k, enum eye_act_kind act) {
    switch (act) {
    case EYE_ACT_GELU: return k->gelu_grad_f32;
    case EYE_ACT_GELU_TANH: return k->gelu_tanh_grad_f32;
    case EYE_ACT_QUICK_GELU: return k->quick_gelu_grad_f32;
    case EYE_ACT_SILU: return k->silu_grad_f32;
    case EYE_ACT_SIGMOID: return k->sigmoid_grad_f32;
    case EYE_ACT_RELU: return k->relu_grad_f32;
    case EYE_ACT_HARDSIGMOID: return k->hardsigmoid_grad_f32;
    case EYE_ACT_HARDSWISH: return k->hardswish_grad_f32;
    default: return NULL;
    }
}

size_t eye_exec_elems(const struct eye_exec *x, eye_val v) {
    struct eye_bind bind = {.t = x->t, .picked = x->bind.picked};
    int64_t n = 0;
    bool ok = eye_value_elems(eye_value_at(x->plan->g, v), &bind, &n);
    assert(ok && "planned for a larger t");
    (void)ok;
    return (size_t)n;
}

size_t eye_exec_rows(const struct eye_exec *x, eye_val v) {
    int64_t last = eye_dim(x->plan->g, v, -1);
    return last > 0 ? eye_exec_elems(x, v) / (size_t)last : 0;
}

void eye_exec_tasks(struct eye_exec *x, size_t work, size_t n_tasks, eye_task_fn *fn, void *ctx) {
    if (n_tasks > 1 && work >= EYE_INLINE_WORK && !x->alone)
        eye_pool_run(x->plan->e->pool, (int)n_tasks, fn, ctx);
    else
        for (size_t i = 0; i < n_tasks; i++) fn(ctx, (int)i, 0);
}

size_t eye_exec_piece(const struct eye_exec *x, size_t n, size_t least) {
    size_t threads = (size_t)eye_pool_n_threads(x->plan->e->pool);
    return EYE_MAX(EYE_MAX(eye_ceil_div(n, threads * 4), least), 1);
}

size_t eye_exec_parts(const struct eye_exec *x, size_t n, size_t most) {
    size_t parts = EYE_MIN(4 * (size_t)eye_pool_n_threads(x->plan->e->pool), n);
    return EYE_MAX(EYE_MAX(parts, eye_ceil_div(n, most)), 1);
}

struct eye_cut eye_exec_cut(const struct eye_exec *x, size_t m, size_t width, size_t unit, size_t most) {
    struct eye_cut c = {.m = m, .width = width ? width : unit, .unit = unit};
    c.threads = (size_t)eye_pool_n_threads(x->plan->e->pool);
    size_t share = eye_part(eye_ceil_div(m, c.width), c.threads, 1) * c.width; /* the longest */
    size_t units = eye_ceil_div(share, unit), most_units = EYE_MAX(most / unit, 1);
    c.each = EYE_MAX(EYE_MAX(EYE_MIN(units, 4), eye_ceil_div(units, most_units)), 1);
    return c;
}

size_t eye_cut_row(const struct eye_cut *c, size_t i) {
    size_t images = eye_ceil_div(c->m, c->width), thread = i / c->each;
    size_t begin = EYE_MIN(eye_part(images, c->threads, thread) * c->width, c->m);
    size_t end = EYE_MIN(eye_part(images, c->threads, thread + 1) * c->width, c->m);
    return EYE_MIN(begin + eye_part(eye_ceil_div(end - begin, c->unit), c->each, i % c->each) * c->unit, end);
}

struct eye_share eye_cut_share(const struct eye_cut *c, size_t thread) {
    return (struct eye_share){eye_cut_row(c, thread * c->each), eye_cut_row(c, (thread + 1) * c->each)};
}

size_t eye_plan_width(const struct eye_plan *p, eye_val v) {
    const struct eye_value *y = eye_value_at(p->g, v);
    if (y->rank != 4 || y->dims[1] < 1 || y->dims[2] < 1) return 0;
    return y->dims[1] >= 2 * (int64_t)eye_pool_n_threads(p->e->pool) ? (size_t)y->dims[2] : 0;
}
