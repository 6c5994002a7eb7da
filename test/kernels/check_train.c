/* checkkern: training kernels against the _ref row of the same op (double sums), with bounds from the number of terms: a row's
 * sum of n terms in at least four float lanes is off by (n / 4 + 16) eps times the sum of magnitudes. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define EPS ((double)FLT_EPSILON)

/* Every length up to a few vectors, then real ones. */
static size_t next_n(const struct check *c, size_t n) {
    static const size_t real[] = {256, 384, 1024, 1037, 4096};
    if (n < (c->quick ? 36 : 131)) return n + (c->quick ? 3 : 1);
    for (size_t i = 0; i < EYE_COUNT(real); i++)
        if (n < real[i]) return real[i];
    return SIZE_MAX;
}

static struct gbuf random_input(struct check *c, size_t n, float lo, float hi) {
    struct gbuf b = gbuf_new(n * 4, 4);
    for (size_t i = 0; i < n; i++) ((float *)b.p)[i] = check_uniform(c, lo, hi);
    gbuf_freeze(&b);
    return b;
}

/* A buffer that the kernel changes, with its own start. */
static struct gbuf random_state(struct check *c, float *copy, size_t n, float lo, float hi) {
    struct gbuf b = gbuf_new(n * 4, 4);
    for (size_t i = 0; i < n; i++) copy[i] = ((float *)b.p)[i] = check_uniform(c, lo, hi);
    return b;
}

static double sum_error(size_t n) { return ((double)n / 4.0 + 16.0) * EPS; }

static bool is_rms(const struct check *c) { return strncmp(c->row->op, "rms", 3) == 0; }

/* ---- norms ---- */

struct stats { double factor, mean_abs, e, ex; }; /* means of |x|, |e| and |e xhat| */

static struct stats stats(const float *d, const float *x, const float *w, size_t n, double eps, bool rms) {
    struct stats s = {0, 0, 0, 0};
    double mean = 0, var = 0;
    for (size_t i = 0; i < n; i++) mean += rms ? 0 : x[i] / (double)n, s.mean_abs += fabs((double)x[i]) / (double)n;
    for (size_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean) / (double)n;
    s.factor = 1 / sqrt(var + eps);
    for (size_t i = 0; i < n; i++) {
        s.e += fabs((double)d[i] * w[i]) / (double)n;
        s.ex += fabs((double)d[i] * w[i] * (x[i] - mean)) * s.factor / (double)n;
    }
    return s;
}

void check_eye_norm_dx_fn(struct check *c) {
    const float eps = 1e-5f;
    for (size_t n = 1; n != SIZE_MAX; n = next_n(c, n)) {
        check_where(c, "n %zu", n);
        struct gbuf d = random_input(c, n, -1, 1), x = random_input(c, n, -2, 3), w = random_input(c, n, 0.5f, 1.5f);
        struct gbuf dx = gbuf_new(n * 4, 4), over = gbuf_new(n * 4, 4);
        float *want = malloc(n * 4);
        memcpy(over.p, d.p, n * 4);
        ((eye_norm_dx_fn *)c->ref->fn)(want, d.p, x.p, w.p, n, eps);
        ((eye_norm_dx_fn *)c->row->fn)(dx.p, d.p, x.p, w.p, n, eps);
        ((eye_norm_dx_fn *)c->row->fn)(over.p, over.p, x.p, w.p, n, eps);
        gbuf_check(c, &dx, "dx");
        check_same_bits(c, "in place", dx.p, over.p, n);
        struct stats s = stats(d.p, x.p, w.p, n, (double)eps, is_rms(c));
        double off = sum_error(n) * s.mean_abs * s.factor; /* xhat, by the mean's error */
        for (size_t i = 0; i < n; i++) {
            double xhat = fabs((double)((float *)x.p)[i]) * s.factor, e = fabs((double)((float *)d.p)[i]) * 1.5;
            double tol = s.factor * ((sum_error(n) * 3 + 16 * EPS) * (e + s.e + xhat * s.ex) + off * (s.ex + xhat * s.e + e));
            check_close(c, "dx", i, want[i], ((float *)dx.p)[i], 2 * tol + (double)FLT_MIN);
        }
        free(want);
        gbuf_free(&d), gbuf_free(&x), gbuf_free(&w), gbuf_free(&dx), gbuf_free(&over);
    }
}

void check_eye_norm_dw_fn(struct check *c) {
    const float eps = 1e-5f;
    for (size_t n = 1; n != SIZE_MAX; n = next_n(c, n)) {
        check_where(c, "n %zu", n);
        float *want = malloc(n * 4);
        struct gbuf d = random_input(c, n, -1, 1), x = random_input(c, n, -2, 3), dw = random_state(c, want, n, -1, 1);
        ((eye_norm_dw_fn *)c->ref->fn)(want, d.p, x.p, n, eps);
        ((eye_norm_dw_fn *)c->row->fn)(dw.p, d.p, x.p, n, eps);
        gbuf_check(c, &dw, "dw");
        struct stats s = stats(d.p, x.p, d.p, n, (double)eps, is_rms(c));
        for (size_t i = 0; i < n; i++) {
            double xhat = (fabs((double)((float *)x.p)[i]) + s.mean_abs) * s.factor;
            double tol = 2 * (sum_error(n) * 2 + 8 * EPS) * xhat * (1 + xhat) + 2 * EPS;
            check_close(c, "dw", i, want[i], ((float *)dw.p)[i], tol);
        }
        free(want);
        gbuf_free(&d), gbuf_free(&x), gbuf_free(&dw);
    }
}

/* ---- rows of losses ---- */

void check_eye_softmax_grad_fn(struct check *c) {
    for (size_t n = 1; n != SIZE_MAX; n = next_n(c, n)) {
        check_where(c, "n %zu", n);
        struct gbuf d = random_input(c, n, -1, 1), y = random_input(c, n, 0, 2.0f / (float)n), dx = gbuf_new(n * 4, 4);
        struct gbuf over = gbuf_new(n * 4, 4);
        float *want = malloc(n * 4);
        memcpy(over.p, d.p, n * 4);
        ((eye_softmax_grad_fn *)c->ref->fn)(want, d.p, y.p, n, 0.125f);
        ((eye_softmax_grad_fn *)c->row->fn)(dx.p, d.p, y.p, n, 0.125f);
        ((eye_softmax_grad_fn *)c->row->fn)(over.p, over.p, y.p, n, 0.125f);
        gbuf_check(c, &dx, "dx");
        check_same_bits(c, "in place", dx.p, over.p, n);
        for (size_t i = 0; i < n; i++) /* |d| and the sum are at most 1 and 2 */
            check_close(c, "dx", i, want[i], ((float *)dx.p)[i],
                        0.125 * (double)((float *)y.p)[i] * (2 * sum_error(n) + 8 * EPS) + (double)FLT_MIN);
        free(want);
        gbuf_free(&d), gbuf_free(&y), gbuf_free(&dx), gbuf_free(&over);
    }
}

void check_eye_lse_fn(struct check *c) {
    for (size_t n = 1; n != SIZE_MAX; n = next_n(c, n)) {
        float by = n % 3 ? 1.0f : 0.37f, range = n % 2 ? 5.0f : 90.0f;
        check_where(c, "n %zu, up to %g", n, (double)range);
        struct gbuf x = random_input(c, n, -range, range);
        double want = ((eye_lse_fn *)c->ref->fn)(x.p, n, by), got = ((eye_lse_fn *)c->row->fn)(x.p, n, by);
        /* the argument of exp is rounded at up to 2 range, the sum as sums are */
        check_close(c, "lse", 0, want, got, 2 * EPS * (double)range + sum_error(n) + 4 * EPS);
        gbuf_free(&x);
    }
}

void check_eye_affine_fn(struct check *c) {
    eye_affine_fn *fn = (eye_affine_fn *)c->row->fn, *ref = (eye_affine_fn *)c->ref->fn;
    for (size_t n = 0; n != SIZE_MAX; n = next_n(c, n)) {
        struct gbuf a = random_input(c, n, -1, 1), b = random_input(c, n, -1, 1);
        struct gbuf out = gbuf_new(n * 4, 4), over = gbuf_new(n * 4, 4);
        const float *bp = n % 2 ? b.p : NULL;
        float *want = malloc(n * 4 + 1);
        check_where(c, "n %zu%s", n, bp ? ", b" : "");
        memcpy(over.p, a.p, n * 4);
        ref(want, a.p, 0.7f, bp, -1.3f, 0.25f, n);
        fn(out.p, a.p, 0.7f, bp, -1.3f, 0.25f, n);
        fn(over.p, over.p, 0.7f, bp, -1.3f, 0.25f, n);
        gbuf_check(c, &out, "dst");
        check_same_bits(c, "in place", out.p, over.p, n);
        for (size_t i = 0; i < n; i++) check_close(c, "dst", i, want[i], ((float *)out.p)[i], 2 * EPS * 2.25);
        free(want);
        gbuf_free(&a), gbuf_free(&b), gbuf_free(&out), gbuf_free(&over);
    }
}

void check_eye_reduce_fn(struct check *c) {
    for (size_t n = 0; n != SIZE_MAX; n = next_n(c, n)) {
        check_where(c, "n %zu", n);
        struct gbuf a = random_input(c, n, -1, 1), b = random_input(c, n, -1, 1);
        double want = ((eye_reduce_fn *)c->ref->fn)(a.p, b.p, n), got = ((eye_reduce_fn *)c->row->fn)(a.p, b.p, n);
        check_close(c, "sum", 0, want, got, sum_error(n < 1024 ? n : 1024) * 4 * (double)n + (double)FLT_MIN);
        gbuf_free(&a), gbuf_free(&b);
    }
}

/* ---- dropout: exact ---- */

void check_eye_dropout_fn(struct check *c) {
    for (size_t n = 0; n != SIZE_MAX; n = next_n(c, n)) {
        struct eye_dropout_args a = {{(uint32_t)eye_rng_u64(&c->rng), (uint32_t)eye_rng_u64(&c->rng)}, 0x40000000u, 4.0f / 3};
        uint32_t first = n % 2 ? 0xfffffff0u : 77; /* numbers may pass 2^32 */
        check_where(c, "n %zu from %u", n, first);
        struct gbuf x = random_input(c, n, -1, 1), y = gbuf_new(n * 4, 4);
        float *want = malloc(n * 4 + 1);
        ((eye_dropout_fn *)c->ref->fn)(want, x.p, n, first, &a);
        ((eye_dropout_fn *)c->row->fn)(y.p, x.p, n, first, &a);
        gbuf_check(c, &y, "y");
        for (size_t i = 0; i < n; i++) /* zeros have no sign that counts */
            if (want[i] != ((float *)y.p)[i])
                check_fail(c, "element %zu: %g, expected %g", i, (double)((float *)y.p)[i], (double)want[i]);
        free(want);
        gbuf_free(&x), gbuf_free(&y);
    }
}

/* ---- optimiser steps: a few roundings per element ---- */

static void compare_state(const struct check *c, const char *what, const float *want, const struct gbuf *got, size_t n,
                          double scale) {
    gbuf_check(c, got, what);
    for (size_t i = 0; i < n; i++) check_close(c, what, i, want[i], ((float *)got->p)[i], 8 * EPS * scale + (double)FLT_MIN);
}

void check_eye_adam_fn(struct check *c) {
    for (size_t n = 0; n != SIZE_MAX; n = next_n(c, n)) {
        check_where(c, "n %zu", n);
        float *mem = malloc(n * 12 + 1);
        struct gbuf g = random_input(c, n, -1, 1), w = random_state(c, mem, n, -1, 1), m = random_state(c, mem + n, n, -1, 1);
        struct gbuf v = random_state(c, mem + 2 * n, n, 0.01f, 1);
        struct eye_adam_args a = {.w = mem, .m = mem + n, .v = mem + 2 * n, .g = g.p, .grad_scale = 0.5f, .keep = 0.999f,
                                  .l2 = n % 2 ? 0.01f : 0, .rest1 = 0.1f, .beta2 = 0.999f, .rest2 = 0.001f, .step = 0.01f,
                                  .root = 1.2f, .eps = 1e-8f};
        ((eye_adam_fn *)c->ref->fn)(&a, n);
        a.w = w.p, a.m = m.p, a.v = v.p;
        ((eye_adam_fn *)c->row->fn)(&a, n);
        compare_state(c, "m", mem + n, &m, n, 1);
        compare_state(c, "v", mem + 2 * n, &v, n, 1);
        compare_state(c, "w", mem, &w, n, 1.2); /* the step: 0.01 times at most 10 */
        free(mem);
        gbuf_free(&g), gbuf_free(&w), gbuf_free(&m), gbuf_free(&v);
    }
}

void check_eye_sgd_fn(struct check *c) {
    for (size_t n = 0; n != SIZE_MAX; n = next_n(c, n)) {
        check_where(c, "n %zu", n);
        float *mem = malloc(n * 8 + 1);
        struct gbuf g = random_input(c, n, -1, 1), w = random_state(c, mem, n, -1, 1), m = random_state(c, mem + n, n, -1, 1);
        struct eye_sgd_args a = {.w = mem, .m = n % 3 ? mem + n : NULL, .g = g.p, .grad_scale = 0.5f, .l2 = 0.01f,
                                 .momentum = 0.9f, .lr = 0.1f, .nesterov = n % 2};
        ((eye_sgd_fn *)c->ref->fn)(&a, n);
        a.w = w.p, a.m = a.m ? m.p : NULL;
        ((eye_sgd_fn *)c->row->fn)(&a, n);
        compare_state(c, "w", mem, &w, n, 1.5);
        compare_state(c, "m", mem + n, &m, n, 2);
        free(mem);
        gbuf_free(&g), gbuf_free(&w), gbuf_free(&m);
    }
}
