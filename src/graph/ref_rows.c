/* References of the element-wise, row-wise and data-moving ops. Written to be read. */
#include "graph/ref.h"

#include <math.h>
#include <string.h>

double eye_act_ref(enum eye_act_kind act, double x) {
    switch (act) {
    case EYE_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    case EYE_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case EYE_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case EYE_ACT_SILU: return x / (1 + exp(-x));
    case EYE_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case EYE_ACT_RELU: return x > 0 ? x : 0;
    case EYE_ACT_HARDSIGMOID: return fmin(fmax(x + 3, 0), 6) / 6;
    case EYE_ACT_HARDSWISH: return x * fmin(fmax(x + 3, 0), 6) / 6;
    default: return x;
    }
}

static int64_t last(const struct eye_ref_value *v) { return v->dims[v->rank - 1]; }

enum eye_status eye_ref_act(const struct eye_ref_ctx *c, struct eye_err *err) {
    for (int64_t i = 0; i < c->out->n; i++) c->out->f[i] = eye_act_ref(c->node->attr.act, c->in[0]->f[i]);
    return EYE_OK;
}

enum eye_status eye_ref_batch_norm(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0];
    int64_t C = last(x);
    for (int64_t i = 0; i < x->n; i++) {
        int64_t k = i % C;
        double t = c->in[1]->f[k] / sqrt(c->in[4]->f[k] + (double)c->node->attr.eps);
        c->out->f[i] = (x->f[i] - c->in[3]->f[k]) * t + c->in[2]->f[k];
    }
    return EYE_OK;
}

enum eye_status eye_ref_layer_norm(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0], *w = c->in[1], *b = c->in[2];
    int64_t C = last(x);
    for (int64_t r = 0; r < x->n; r += C) {
        double mean = 0, var = 0;
        for (int64_t i = 0; i < C; i++) mean += x->f[r + i] / (double)C;
        for (int64_t i = 0; i < C; i++) var += (x->f[r + i] - mean) * (x->f[r + i] - mean) / (double)C;
        for (int64_t i = 0; i < C; i++)
            c->out->f[r + i] = (x->f[r + i] - mean) / sqrt(var + (double)c->node->attr.eps) * w->f[i] +
                                       (b ? b->f[i] : 0);
    }
    return EYE_OK;
}

enum eye_status eye_ref_rms_norm(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0], *w = c->in[1];
    int64_t C = last(x);
    for (int64_t r = 0; r < x->n; r += C) {
        double ms = 0;
        for (int64_t i = 0; i < C; i++) ms += x->f[r + i] * x->f[r + i] / (double)C;
        for (int64_t i = 0; i < C; i++)
            c->out->f[r + i] = x->f[r + i] / sqrt(ms + (double)c->node->attr.eps) * w->f[i];
    }
    return EYE_OK;
}

/* Index into b for element i of a: same shape, per channel, or per image and channel. */
static int64_t pair_index(const struct eye_ref_value *a, const struct eye_ref_value *b, int64_t i) {
    if (b->n == a->n) return i;
    int64_t C = last(a);
    if (b->rank == 1) return i % C;
    return i / (a->dims[1] * a->dims[2] * C) * C + i % C;
}

enum eye_status eye_ref_add(const struct eye_ref_ctx *c, struct eye_err *err) {
    for (int64_t i = 0; i < c->out->n; i++) c->out->f[i] = c->in[0]->f[i] + c->in[1]->f[pair_index(c->in[0], c->in[1], i)];
    return EYE_OK;
}

enum eye_status eye_ref_sub(const struct eye_ref_ctx *c, struct eye_err *err) {
    for (int64_t i = 0; i < c->out->n; i++) c->out->f[i] = c->in[0]->f[i] - c->in[1]->f[pair_index(c->in[0], c->in[1], i)];
    return EYE_OK;
}

enum eye_status eye_ref_mul(const struct eye_ref_ctx *c, struct eye_err *err) {
    for (int64_t i = 0; i < c->out->n; i++) c->out->f[i] = c->in[0]->f[i] * c->in[1]->f[pair_index(c->in[0], c->in[1], i)];
    return EYE_OK;
}

enum eye_status eye_ref_swiglu(const struct eye_ref_ctx *c, struct eye_err *err) {
    for (int64_t i = 0; i < c->out->n; i++)
        c->out->f[i] = eye_act_ref(EYE_ACT_SILU, c->in[0]->f[i]) * c->in[1]->f[i];
    return EYE_OK;
}

enum eye_status eye_ref_mean_hw(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0];
    int64_t hw = x->dims[1] * x->dims[2], C = x->dims[3];
    for (int64_t n = 0; n < x->dims[0]; n++)
        for (int64_t k = 0; k < C; k++) {
            double s = 0;
            for (int64_t p = 0; p < hw; p++) s += x->f[(n * hw + p) * C + k];
            c->out->f[n * C + k] = s / (double)hw;
        }
    return EYE_OK;
}

enum eye_status eye_ref_softmax(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0];
    int64_t C = last(x);
    for (int64_t r = 0; r < x->n; r += C) {
        double sum = 0;
        double max = -INFINITY;
        for (int64_t i = 0; i < C; i++) max = fmax(max, x->f[r + i]);
        for (int64_t i = 0; i < C; i++) sum += exp(x->f[r + i] - max);
        for (int64_t i = 0; i < C; i++) c->out->f[r + i] = exp(x->f[r + i] - max) / sum;
    }
    return EYE_OK;
}

enum eye_status eye_ref_positions(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *table = c->in[0];
    int64_t C = table->dims[1], T = c->out->dims[0];
    for (int64_t t = 0; t < T; t++) {
        int64_t pos = eye_bind_pos(c->bind, t);
        if (pos >= table->dims[0])
            return eye_fail(err, EYE_E_ARG, "positions: %lld is outside the table of %lld rows", (long long)pos,
                            (long long)table->dims[0]);
        memcpy(c->out->f + t * C, table->f + pos * C, (size_t)C * sizeof *c->out->f);
    }
    return EYE_OK;
}

enum eye_status eye_ref_rope(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0];
    int64_t H = x->dims[1], D = x->dims[2];
    double turn = c->node->attr.inverse ? -1 : 1;
    for (int64_t t = 0; t < x->dims[0]; t++) {
        int64_t call_row = c->in[1] ? c->in[1]->i[t] : t;
        if (c->in[1] && (call_row < 0 || call_row >= c->bind->t))
            return eye_fail(err, EYE_E_ARG, "rope: picked row %lld of %lld", (long long)call_row, (long long)c->bind->t);
        double pos = turn * (double)(c->by_segment || c->in[1] ? eye_bind_pos(c->bind, call_row) : c->bind->past + t);
        for (int64_t h = 0; h < H; h++)
            for (int64_t i = 0; i < D / 2; i++) {
                int64_t a = (t * H + h) * D + i, b = a + D / 2;
                double ang = pos * pow(c->node->attr.theta, -2.0 * (double)i / (double)D);
                double xa = x->f[a], xb = x->f[b];
                c->out->f[a] = xa * cos(ang) - xb * sin(ang);
                c->out->f[b] = xb * cos(ang) + xa * sin(ang);
            }
    }
    return EYE_OK;
}

enum eye_status eye_ref_reshape(const struct eye_ref_ctx *c, struct eye_err *err) {
    memcpy(c->out->f, c->in[0]->f, (size_t)c->out->n * sizeof(double));
    return EYE_OK;
}

/* Rounding to bytes is the executor's: it knows the result's quant. */
enum eye_status eye_ref_quantize(const struct eye_ref_ctx *c, struct eye_err *err) { return eye_ref_reshape(c, err); }
enum eye_status eye_ref_dequantize(const struct eye_ref_ctx *c, struct eye_err *err) { return eye_ref_reshape(c, err); }

enum eye_status eye_ref_transpose(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0];
    int r = x->rank;
    int64_t stride[EYE_MAX_RANK], at[EYE_MAX_RANK] = {0};
    for (int i = r - 1; i >= 0; i--) stride[i] = i == r - 1 ? 1 : stride[i + 1] * x->dims[i + 1];
    for (int64_t o = 0; o < c->out->n; o++) {
        int64_t from = 0;
        for (int i = 0; i < r; i++) from += at[i] * stride[c->node->attr.perm[i]];
        c->out->f[o] = x->f[from];
        for (int i = r - 1; i >= 0 && ++at[i] == c->out->dims[i]; i--) at[i] = 0;
    }
    return EYE_OK;
}

/* Elements per step of an axis: the product of the axes after it. */
static int64_t inner(const struct eye_ref_value *v, int axis) {
    int64_t n = 1;
    for (int i = axis + 1; i < v->rank; i++) n *= v->dims[i];
    return n;
}

enum eye_status eye_ref_concat(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *a = c->in[0], *b = c->in[1];
    int axis = c->node->attr.axis;
    int64_t na = a->dims[axis] * inner(a, axis), nb = b->dims[axis] * inner(b, axis), outer = na ? a->n / na : b->n / nb;
    for (int64_t o = 0; o < outer; o++) {
        memcpy(c->out->f + o * (na + nb), a->f + o * na, (size_t)na * sizeof(double));
        memcpy(c->out->f + o * (na + nb) + na, b->f + o * nb, (size_t)nb * sizeof(double));
    }
    return EYE_OK;
}

enum eye_status eye_ref_slice(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0];
    const struct eye_attr *a = &c->node->attr;
    int64_t in = inner(x, a->axis), nx = x->dims[a->axis] * in, no = a->length * in;
    for (int64_t o = 0; o < c->out->n / no; o++)
        memcpy(c->out->f + o * no, x->f + o * nx + a->begin * in, (size_t)no * sizeof(double));
    return EYE_OK;
}
