/* train/optim: optimiser steps over pieces of parameters. See optim.h. */
#include "train/optim.h"

#include <math.h>

#define PIECE 16384u /* elements of a task: a parameter's last piece is shorter */
#define N_PARTS 256u /* pieces that are summed at once */

/* Pieces of all parameters, numbered through. */
struct pieces {
    const struct eye_optim_param *p;
    size_t n;
};
struct piece {
    const struct eye_optim_param *p;
    size_t at, n;
};

static size_t pieces_of(size_t n) { return (n + PIECE - 1) / PIECE; }

static size_t count(const struct pieces *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) n += pieces_of(s->p[i].n);
    return n;
}

static struct piece find(const struct pieces *s, size_t i) {
    const struct eye_optim_param *p = s->p;
    for (; i >= pieces_of(p->n); p++) i -= pieces_of(p->n);
    return (struct piece){p, i * PIECE, EYE_MIN(PIECE, p->n - i * PIECE)};
}

/* ---- steps ---- */

struct step {
    struct pieces all;
    const struct eye_kernels *k;
    const struct eye_optim_hyper *h;
};

static void adam_task(void *ctx, int i_task, int i_thread) {
    const struct step *s = ctx;
    const struct eye_optim_hyper *h = s->h;
    struct piece c = find(&s->all, (size_t)i_task);
    const struct eye_optim_param *p = c.p;
    bool decoupled = h->kind == EYE_OPTIM_ADAMW;
    struct eye_adam_args a = {.w = p->w + c.at, .m = p->m + c.at, .v = p->v + c.at, .g = p->g + c.at};
    a.grad_scale = (float)h->grad_scale;
    a.keep = (float)(decoupled ? 1 - p->lr * p->weight_decay : 1);
    a.l2 = (float)(decoupled ? 0 : p->weight_decay);
    a.rest1 = (float)(1 - h->beta1);
    a.beta2 = (float)h->beta2;
    a.rest2 = (float)(1 - h->beta2);
    a.step = (float)(p->lr / (1 - pow(h->beta1, (double)h->step)));
    a.root = (float)(1 / sqrt(1 - pow(h->beta2, (double)h->step)));
    a.eps = (float)h->eps;
    s->k->adam_f32(&a, c.n);
}

static void sgd_task(void *ctx, int i_task, int i_thread) {
    const struct step *s = ctx;
    const struct eye_optim_hyper *h = s->h;
    struct piece c = find(&s->all, (size_t)i_task);
    struct eye_sgd_args a = {.w = c.p->w + c.at, .m = h->momentum != 0 ? c.p->m + c.at : NULL, .g = c.p->g + c.at};
    a.grad_scale = (float)h->grad_scale;
    a.l2 = (float)c.p->weight_decay;
    a.momentum = (float)h->momentum;
    a.lr = (float)c.p->lr;
    a.nesterov = h->nesterov;
    s->k->sgd_f32(&a, c.n);
}

void eye_optim_step(const struct eye_engine *e, const struct eye_optim_hyper *h, const struct eye_optim_param *p, size_t n) {
    struct step s = {{p, n}, &e->kernels, h};
    eye_pool_run(e->pool, (int)count(&s.all), h->kind == EYE_OPTIM_SGD ? sgd_task : adam_task, &s);
}

/* ---- norm ---- */

struct norm {
    struct pieces all;
    const struct eye_kernels *k;
    size_t first;
    double part[N_PARTS];
};

static void norm_task(void *ctx, int i_task, int i_thread) {
    struct norm *s = ctx;
    struct piece c = find(&s->all, s->first + (size_t)i_task);
    s->part[i_task] = s->k->dot_f32(c.p->g + c.at, c.p->g + c.at, c.n);
}

double eye_optim_norm(const struct eye_engine *e, const struct eye_optim_param *p, size_t n) {
    struct norm s = {.all = {p, n}, .k = &e->kernels};
    double sum = 0;
    for (size_t n_pieces = count(&s.all); s.first < n_pieces; s.first += N_PARTS) {
        size_t some = EYE_MIN(N_PARTS, n_pieces - s.first);
        eye_pool_run(e->pool, (int)some, norm_task, &s);
        for (size_t i = 0; i < some; i++) sum += s.part[i];
    }
    return sqrt(sum);
}

double eye_optim_clip(double norm, double max) { return max > 0 ? fmin(1, max / (norm + 1e-6)) : 1; }

/* ---- sums and averages ---- */

struct blend { /* to = by_to to + by_x x */
    const struct eye_kernels *k;
    float *to, by_to;
    const float *x;
    float by_x;
    size_t n;
};

static void blend_task(void *ctx, int i_task, int i_thread) {
    const struct blend *b = ctx;
    size_t at = (size_t)i_task * PIECE;
    b->k->affine_f32(b->to + at, b->to + at, b->by_to, b->x + at, b->by_x, 0, EYE_MIN(PIECE, b->n - at));
}

void eye_optim_add(const struct eye_engine *e, float *sum, const float *g, size_t n) {
    struct blend b = {&e->kernels, sum, 1, g, 1, n};
    eye_pool_run(e->pool, (int)pieces_of(n), blend_task, &b);
}

void eye_optim_average(const struct eye_engine *e, float *average, const float *w, size_t n, double decay) {
    struct blend b = {&e->kernels, average, (float)decay, w, (float)(1 - decay), n};
    eye_pool_run(e->pool, (int)pieces_of(n), blend_task, &b);
}
