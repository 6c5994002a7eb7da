/* References of the element-wise and row-wise training ops but for losses: dropout, scale, sums, gradients of activations,
 * norms, softmax, slices. Written to be read. */
#include "graph/dropout.h"
#include "graph/ref.h"

#include <math.h>
#include <string.h>

static int64_t last(const struct eye_ref_value *v) { return v->dims[v->rank - 1]; }

enum eye_status eye_ref_dropout(const struct eye_ref_ctx *c, struct eye_err *err) {
    struct eye_dropout d = eye_dropout_make(c->in[1]->i, c->node->attr.salt, c->node->attr.p);
    for (int64_t i = 0; i < c->out->n; i++)
        c->out->f[i] = eye_dropout_keep(&d, (uint32_t)i) ? c->in[0]->f[i] * (double)d.scale : 0;
    return EYE_OK;
}

enum eye_status eye_ref_sum(const struct eye_ref_ctx *c, struct eye_err *err) {
    double s = 0;
    for (int64_t i = 0; i < c->in[0]->n; i++) s += c->in[0]->f[i];
    c->out->f[0] = (double)c->node->attr.scale * s;
    return EYE_OK;
}

enum eye_status eye_ref_scale(const struct eye_ref_ctx *c, struct eye_err *err) {
    for (int64_t i = 0; i < c->out->n; i++) c->out->f[i] = (double)c->node->attr.scale * c->in[0]->f[i];
    return EYE_OK;
}

/* Slopes of eye_act_ref; at kinks PyTorch's: 0 for ReLU and hardsigmoid, hardswish by its middle piece. */
static double slope(enum eye_act_kind act, double x) {
    const double k = sqrt(2 / 3.14159265358979323846);
    double s, t;
    switch (act) {
    case EYE_ACT_GELU: return 0.5 * (1 + erf(x / sqrt(2.0))) + x * exp(-x * x / 2) * k / 2;
    case EYE_ACT_GELU_TANH:
        t = tanh(k * (x + 0.044715 * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x);
    case EYE_ACT_QUICK_GELU: s = 1 / (1 + exp(-1.702 * x)); return s + 1.702 * x * s * (1 - s);
    case EYE_ACT_SILU: s = 1 / (1 + exp(-x)); return s + x * s * (1 - s);
    case EYE_ACT_SIGMOID: s = 1 / (1 + exp(-x)); return s * (1 - s);
    case EYE_ACT_RELU: return x > 0;
    case EYE_ACT_HARDSIGMOID: return x > -3 && x < 3 ? 1.0 / 6 : 0;
    case EYE_ACT_HARDSWISH: return x < -3 ? 0 : x <= 3 ? (2 * x + 3) / 6 : 1;
    default: return 1;
    }
}

enum eye_status eye_ref_act_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    for (int64_t i = 0; i < c->out->n; i++) c->out->f[i] = c->in[0]->f[i] * slope(c->node->attr.act, c->in[1]->f[i]);
    return EYE_OK;
}

enum eye_status eye_ref_softmax_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    const double *d = c->in[0]->f, *y = c->in[1]->f;
    int64_t C = last(c->out);
    for (int64_t r = 0; r < c->out->n; r += C) {
        double s = 0;
        for (int64_t i = r; i < r + C; i++) s += d[i] * y[i];
        for (int64_t i = r; i < r + C; i++) c->out->f[i] = y[i] * (d[i] - s);
    }
    return EYE_OK;
}

/* ---- norms: xhat = (x - mean) factor; mean is 0 for rms_norm ---- */

struct moments { double mean, factor; };

static struct moments moments(const struct eye_ref_ctx *c, const double *x, int64_t C, bool centred) {
    struct moments m = {0, 0};
    for (int64_t i = 0; i < C && centred; i++) m.mean += x[i] / (double)C;
    for (int64_t i = 0; i < C; i++) m.factor += (x[i] - m.mean) * (x[i] - m.mean) / (double)C;
    m.factor = 1 / sqrt(m.factor + (double)c->node->attr.eps);
    return m;
}

/* With e = d w: dx = factor (e - mean(e) - xhat mean(e xhat)); the first mean only where x was centred. */
static void norm_dx(const struct eye_ref_ctx *c, bool centred) {
    const struct eye_ref_value *x = c->in[1];
    const double *w = c->in[2]->f;
    int64_t C = last(x);
    for (int64_t r = 0; r < x->n; r += C) {
        const double *d = c->in[0]->f + r, *row = x->f + r;
        struct moments m = moments(c, row, C, centred);
        double e = 0, ex = 0;
        for (int64_t i = 0; i < C; i++) {
            e += centred ? d[i] * w[i] / (double)C : 0;
            ex += d[i] * w[i] * (row[i] - m.mean) * m.factor / (double)C;
        }
        for (int64_t i = 0; i < C; i++) c->out->f[r + i] = m.factor * (d[i] * w[i] - e - (row[i] - m.mean) * m.factor * ex);
    }
}

static void norm_dw(const struct eye_ref_ctx *c, bool centred) {
    const struct eye_ref_value *d = c->in[0], *x = c->in[1];
    int64_t C = last(x);
    memset(c->out->f, 0, (size_t)C * sizeof *c->out->f);
    for (int64_t r = 0; r < x->n; r += C) {
        struct moments m = moments(c, x->f + r, C, centred);
        for (int64_t i = 0; i < C; i++) c->out->f[i] += d->f[r + i] * (x->f[r + i] - m.mean) * m.factor;
    }
}

enum eye_status eye_ref_layer_norm_dx(const struct eye_ref_ctx *c, struct eye_err *err) {
    norm_dx(c, true);
    return EYE_OK;
}
enum eye_status eye_ref_layer_norm_dw(const struct eye_ref_ctx *c, struct eye_err *err) {
    norm_dw(c, true);
    return EYE_OK;
}
enum eye_status eye_ref_rms_norm_dx(const struct eye_ref_ctx *c, struct eye_err *err) {
    norm_dx(c, false);
    return EYE_OK;
}
enum eye_status eye_ref_rms_norm_dw(const struct eye_ref_ctx *c, struct eye_err *err) {
    norm_dw(c, false);
    return EYE_OK;
}

enum eye_status eye_ref_slice_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *d = c->in[0];
    const struct eye_attr *a = &c->node->attr;
    int64_t inner = 1;
    for (int i = a->axis + 1; i < d->rank; i++) inner *= d->dims[i];
    int64_t nd = d->dims[a->axis] * inner, no = a->length * inner;
    memset(c->out->f, 0, (size_t)c->out->n * sizeof *c->out->f);
    for (int64_t o = 0; o < d->n / nd; o++)
        memcpy(c->out->f + o * no + a->begin * inner, d->f + o * nd, (size_t)nd * sizeof *d->f);
    return EYE_OK;
}
