/* Training kernels, plain C: gradients of norms and softmax, pieces of losses, dropout, optimiser steps. Computed in double,
 * rounded once per result. */
#include <math.h>

#include "kernels/rows.h"

/* ---- norms ---- */

struct moments { double mean, factor; };

static struct moments row_moments(const float *x, size_t n, double eps, bool centred) {
    struct moments m = {0.0, 0.0};
    for (size_t i = 0; i < n && centred; i++) m.mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++) m.factor += (x[i] - m.mean) * (x[i] - m.mean) / (double)n;
    m.factor = 1.0 / sqrt(m.factor + eps);
    return m;
}

static void norm_dx(float *dx, const float *d, const float *x, const float *w, size_t n, double eps, bool centred) {
    struct moments m = row_moments(x, n, eps, centred);
    double mean_e = 0.0, mean_ex = 0.0;
    for (size_t i = 0; i < n; i++) {
        double e = (double)d[i] * w[i];
        mean_e += centred ? e / (double)n : 0.0;
        mean_ex += e * (x[i] - m.mean) * m.factor / (double)n;
    }
    for (size_t i = 0; i < n; i++)
        dx[i] = (float)(m.factor * ((double)d[i] * w[i] - mean_e - (x[i] - m.mean) * m.factor * mean_ex));
}

static void norm_dw(float *dw, const float *d, const float *x, size_t n, double eps, bool centred) {
    struct moments m = row_moments(x, n, eps, centred);
    for (size_t i = 0; i < n; i++) dw[i] = (float)(dw[i] + d[i] * (x[i] - m.mean) * m.factor);
}

void eye_layer_norm_dx_f32_ref(float *dx, const float *d, const float *x, const float *w, size_t n, float eps) {
    norm_dx(dx, d, x, w, n, eps, true);
}
void eye_rms_norm_dx_f32_ref(float *dx, const float *d, const float *x, const float *w, size_t n, float eps) {
    norm_dx(dx, d, x, w, n, eps, false);
}
void eye_layer_norm_dw_f32_ref(float *dw, const float *d, const float *x, size_t n, float eps) {
    norm_dw(dw, d, x, n, eps, true);
}
void eye_rms_norm_dw_f32_ref(float *dw, const float *d, const float *x, size_t n, float eps) {
    norm_dw(dw, d, x, n, eps, false);
}

/* ---- rows of losses ---- */

void eye_softmax_grad_f32_ref(float *dx, const float *d, const float *y, size_t n, float scale) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)d[i] * y[i];
    for (size_t i = 0; i < n; i++) dx[i] = (float)((double)scale * y[i] * (d[i] - sum));
}

double eye_lse_f32_ref(const float *x, size_t n, float by) {
    double max = x[0], sum = 0.0;
    for (size_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < n; i++) sum += exp(by * (x[i] - max));
    return by * max + log(sum);
}

void eye_affine_f32_ref(float *dst, const float *a, float by_a, const float *b, float by_b, float plus, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = (float)((double)by_a * a[i] + (b ? (double)by_b * b[i] : 0.0) + plus);
}

double eye_dot_f32_ref(const float *a, const float *b, size_t n) {
    double s = 0.0;
    for (size_t i = 0; i < n; i++) s += (double)a[i] * b[i];
    return s;
}
double eye_distance_f32_ref(const float *a, const float *b, size_t n) {
    double s = 0.0;
    for (size_t i = 0; i < n; i++) s += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return s;
}
double eye_sum_f32_ref(const float *a, const float *b, size_t n) {
    double s = 0.0;
    for (size_t i = 0; i < n; i++) s += a[i];
    return s;
}

/* ---- dropout ---- */

void eye_dropout_f32_ref(float *y, const float *x, size_t n, uint32_t first, const struct eye_dropout_args *a) {
    for (size_t i = 0; i < n; i++) {
        uint32_t h = first + (uint32_t)i + a->key[0];
        h = (h ^ h >> 16) * 0x7feb352du ^ a->key[1];
        h = (h ^ h >> 15) * 0x846ca68bu;
        y[i] = (h ^ h >> 16) >= a->threshold ? x[i] * a->scale : 0.0f;
    }
}

/* ---- optimiser steps ---- */

void eye_adam_f32_ref(const struct eye_adam_args *a, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double w = (double)a->w[i] * a->keep, g = (double)a->g[i] * a->grad_scale + w * a->l2;
        double m = a->m[i] + (g - a->m[i]) * a->rest1, v = (double)a->v[i] * a->beta2 + g * g * a->rest2;
        a->m[i] = (float)m;
        a->v[i] = (float)v;
        a->w[i] = (float)(w - a->step * m / (sqrt(v) * a->root + a->eps));
    }
}

void eye_sgd_f32_ref(const struct eye_sgd_args *a, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double w = a->w[i], g = (double)a->g[i] * a->grad_scale + w * a->l2, step = g;
        if (a->m) {
            double m = (double)a->m[i] * a->momentum + g;
            a->m[i] = (float)m;
            step = a->nesterov ? g + m * a->momentum : m;
        }
        a->w[i] = (float)(w - a->lr * step);
    }
}
