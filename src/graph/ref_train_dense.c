/* References of the training ops that multiply and sum: products of matrices, gradients of convolution, batch norm, attention
 * and embeddings. Written to be read. */
#include "graph/ref.h"

#include <math.h>
#include <string.h>

static int64_t last(const struct eye_ref_value *v) { return v->dims[v->rank - 1]; }

static void zero(const struct eye_ref_value *v) { memset(v->f, 0, (size_t)v->n * sizeof *v->f); }

enum eye_status eye_ref_matmul(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *a = c->in[0], *b = c->in[1];
    bool ta = c->node->attr.ta;
    int64_t N = last(b), K = N ? b->n / N : 0, M = K ? a->n / K : 0; /* K: what is summed over */
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            double s = 0;
            for (int64_t k = 0; k < K; k++) s += a->f[ta ? k * M + m : m * K + k] * b->f[k * N + n];
            c->out->f[m * N + n] = s;
        }
    return EYE_OK;
}

enum eye_status eye_ref_sum_rows(const struct eye_ref_ctx *c, struct eye_err *err) {
    int64_t C = last(c->in[0]);
    zero(c->out);
    for (int64_t i = 0; i < c->in[0]->n; i++) c->out->f[i % C] += c->in[0]->f[i];
    return EYE_OK;
}

enum eye_status eye_ref_spread(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0], *y = c->out;
    int64_t C = x->rank == 4 ? last(x) : 1, per_image = x->rank == 4 ? y->n / EYE_MAX(y->dims[0], 1) : y->n;
    for (int64_t i = 0; i < y->n; i++) y->f[i] = (double)c->node->attr.scale * x->f[i / per_image * C + i % C];
    return EYE_OK;
}

/* ---- convolution: every pair of an input and an output pixel that a tap joins ---- */

struct taps { /* x [N,H,W,C], w [O,cg,kh,kw], d [N,oh,ow,O] */
    int64_t N, H, W, C, O, cg, kh, kw, oh, ow;
    const struct eye_attr *a;
};

static struct taps make_taps(const struct eye_attr *a, const int64_t *x, const int64_t *w, const int64_t *d) {
    return (struct taps){x[0], x[1], x[2], x[3], w[0], w[1], w[2], w[3], d[1], d[2], a};
}

/* dst (x or w shaped) += d times the other (w or x). */
static void conv_back(const struct taps *t, const double *d, const double *x, const double *w, double *dx, double *dw) {
    for (int64_t n = 0; n < t->N; n++)
        for (int64_t p = 0; p < t->oh * t->ow * t->O; p++) {
            int64_t o = p % t->O, j = p / t->O % t->ow, i = p / t->O / t->ow, c0 = o / (t->O / t->a->groups) * t->cg;
            double g = d[n * t->oh * t->ow * t->O + p];
            for (int64_t k = 0; k < t->cg * t->kh * t->kw; k++) {
                int64_t v = k % t->kw, u = k / t->kw % t->kh, ch = k / t->kw / t->kh;
                int64_t yy = i * t->a->stride + u - t->a->pad_top, xx = j * t->a->stride + v - t->a->pad_left;
                if (yy < 0 || yy >= t->H || xx < 0 || xx >= t->W) continue;
                int64_t at = ((n * t->H + yy) * t->W + xx) * t->C + c0 + ch, tap = o * t->cg * t->kh * t->kw + k;
                if (dx) dx[at] += g * w[tap];
                else dw[tap] += g * x[at];
            }
        }
}

enum eye_status eye_ref_conv2d_dx(const struct eye_ref_ctx *c, struct eye_err *err) {
    struct taps t = make_taps(&c->node->attr, c->out->dims, c->in[1]->dims, c->in[0]->dims);
    zero(c->out);
    conv_back(&t, c->in[0]->f, NULL, c->in[1]->f, c->out->f, NULL);
    return EYE_OK;
}

enum eye_status eye_ref_conv2d_dw(const struct eye_ref_ctx *c, struct eye_err *err) {
    struct taps t = make_taps(&c->node->attr, c->in[1]->dims, c->out->dims, c->in[0]->dims);
    zero(c->out);
    conv_back(&t, c->in[0]->f, c->in[1]->f, NULL, NULL, c->out->f);
    return EYE_OK;
}

/* ---- batch norm ---- */

enum eye_status eye_ref_bn_stats(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0];
    int64_t C = last(x), R = x->n / C;
    double *mean = c->out->f, *var = mean + C;
    zero(c->out);
    for (int64_t i = 0; i < x->n; i++) mean[i % C] += x->f[i] / (double)R;
    for (int64_t i = 0; i < x->n; i++) var[i % C] += (x->f[i] - mean[i % C]) * (x->f[i] - mean[i % C]) / (double)R;
    return EYE_OK;
}

/* 1 / sqrt(var + eps) of channel k. */
static double bn_factor(const struct eye_ref_ctx *c, const struct eye_ref_value *stats, int64_t k) {
    return 1 / sqrt(stats->f[last(stats) + k] + (double)c->node->attr.eps);
}

enum eye_status eye_ref_bn_apply(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0], *stats = c->in[1];
    for (int64_t i = 0; i < x->n; i++) {
        int64_t k = i % last(x);
        c->out->f[i] = (x->f[i] - stats->f[k]) * bn_factor(c, stats, k) * c->in[2]->f[k] + c->in[3]->f[k];
    }
    return EYE_OK;
}

enum eye_status eye_ref_bn_sums(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *d = c->in[0], *x = c->in[1], *stats = c->in[2];
    int64_t C = last(x);
    zero(c->out);
    for (int64_t i = 0; i < x->n; i++) {
        int64_t k = i % C;
        c->out->f[k] += d->f[i];
        c->out->f[C + k] += d->f[i] * (x->f[i] - stats->f[k]) * bn_factor(c, stats, k);
    }
    return EYE_OK;
}

enum eye_status eye_ref_bn_dx(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *d = c->in[0], *stats = c->in[1], *gamma = c->in[2], *x = c->in[3], *sums = c->in[4];
    int64_t C = last(d), R = d->n / C;
    for (int64_t i = 0; i < d->n; i++) {
        int64_t k = i % C;
        double factor = bn_factor(c, stats, k), s = d->f[i];
        if (x) s -= (sums->f[k] + (x->f[i] - stats->f[k]) * factor * sums->f[C + k]) / (double)R;
        c->out->f[i] = gamma->f[k] * factor * s;
    }
    return EYE_OK;
}

/* ---- tables ---- */

enum eye_status eye_ref_embed_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *d = c->in[0], *ids = c->in[1];
    int64_t C = last(d);
    zero(c->out);
    for (int64_t t = 0; t < ids->n; t++) {
        if (ids->i[t] < -1 || ids->i[t] >= c->out->dims[0])
            return eye_fail(err, EYE_E_ARG, "embed_grad: id %d is outside the table of %lld rows", ids->i[t],
                            (long long)c->out->dims[0]);
        for (int64_t i = 0; i < C && ids->i[t] >= 0; i++) c->out->f[ids->i[t] * C + i] += d->f[t * C + i];
    }
    return EYE_OK;
}

enum eye_status eye_ref_positions_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *d = c->in[0];
    int64_t C = last(d);
    zero(c->out);
    for (int64_t t = 0; t < d->dims[0]; t++) {
        int64_t pos = eye_bind_pos(c->bind, t);
        if (pos >= c->out->dims[0])
            return eye_fail(err, EYE_E_ARG, "positions_grad: %lld is outside the table of %lld rows", (long long)pos,
                            (long long)c->out->dims[0]);
        for (int64_t i = 0; i < C; i++) c->out->f[pos * C + i] += d->f[t * C + i];
    }
    return EYE_OK;
}

/* ---- attention ---- */

struct heads { /* one image's, or the call's, rows: q [T,H,D], k, v [T,Hkv,D], d [T,H D], out [T,(H + 2 Hkv) D] */
    const double *q, *k, *v, *d;
    double *out, *p, *dp;
    int64_t H, Hkv, D;
    double scale;
};

static double dot(const double *a, const double *b, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

/* Row t, head h, which sees n0 rows from first on and then n - n0 rows from own on. With p = softmax(scale q k^T), y = p v:
 * dv += p dy, dp = dy v^T, ds = p (dp - sum(p dp)), dq = scale ds k, dk += scale ds q. */
static void attend_back(const struct heads *a, int64_t t, int64_t h, int64_t first, int64_t n0, int64_t own, int64_t n) {
    int64_t D = a->D, hk = h / (a->H / a->Hkv), width = (a->H + 2 * a->Hkv) * D;
    const double *q = a->q + (t * a->H + h) * D, *d = a->d + (t * a->H + h) * D;
    double max = -INFINITY, sum = 0, mean = 0;
    for (int64_t j = 0; j < n; j++) {
        int64_t row = j < n0 ? first + j : own + j - n0;
        a->p[j] = a->scale * dot(q, a->k + (row * a->Hkv + hk) * D, D);
        a->dp[j] = dot(d, a->v + (row * a->Hkv + hk) * D, D);
        max = fmax(max, a->p[j]);
    }
    for (int64_t j = 0; j < n; j++) sum += a->p[j] = exp(a->p[j] - max);
    for (int64_t j = 0; j < n; j++) mean += (a->p[j] /= sum) * a->dp[j];
    for (int64_t j = 0; j < n; j++) {
        int64_t row = j < n0 ? first + j : own + j - n0;
        double ds = a->p[j] * (a->dp[j] - mean) * a->scale;
        double *dq = a->out + t * width + h * D, *dk = a->out + row * width + (a->H + hk) * D, *dv = dk + a->Hkv * D;
        for (int64_t i = 0; i < D; i++) {
            dq[i] += ds * a->k[(row * a->Hkv + hk) * D + i];
            dk[i] += ds * q[i];
            dv[i] += a->p[j] * d[i];
        }
    }
}

enum eye_status eye_ref_attention_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *d = c->in[0], *q = c->in[1], *k = c->in[2], *v = c->in[3];
    int r = q->rank;
    int64_t N = r == 4 ? q->dims[0] : 1, T = q->dims[r - 3];
    struct eye_bind image = {.t = T};
    const struct eye_bind *b = c->by_segment ? c->bind : &image;
    struct heads a = {.H = q->dims[r - 2], .Hkv = k->dims[r - 2], .D = q->dims[r - 1], .scale = (double)c->node->attr.scale};
    size_t bytes = (size_t)(2 * T) * 2 * sizeof *a.p;
    a.p = eye_alloc_raw(NULL, bytes);
    if (!a.p) return eye_fail_nomem(err, bytes);
    a.dp = a.p + 2 * T;
    zero(c->out);
    for (int64_t n = 0; n < N; n++) {
        a.q = q->f + n * (q->n / N);
        a.k = k->f + n * (k->n / N);
        a.v = v->f + n * (v->n / N);
        a.d = d->f + n * (d->n / N);
        a.out = c->out->f + n * (c->out->n / N);
        for (size_t i = 0; i < eye_bind_n_segments(b); i++) {
            struct eye_segment s = eye_bind_segment(b, i);
            for (int64_t t = 0; t < s.n * a.H; t++)
                attend_back(&a, s.row + t / a.H, t % a.H, s.prefix, s.n_prefix, s.row,
                            s.n_prefix + (c->node->attr.causal ? t / a.H + 1 : s.n));
        }
    }
    eye_alloc_free(NULL, a.p, bytes);
    return EYE_OK;
}
