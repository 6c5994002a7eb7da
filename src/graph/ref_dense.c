/* References of the ops that multiply and sum: convolution, linear, feed-forward, embedding, attention. Written to be read. */
#include "graph/ref.h"

#include <math.h>

static int64_t last(const struct eye_ref_value *v) { return v->dims[v->rank - 1]; }

enum eye_status eye_ref_conv2d(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0], *w = c->in[1], *b = c->in[2];
    const struct eye_attr *a = &c->node->attr;
    int64_t H = x->dims[1], W = x->dims[2], C = x->dims[3], cg = w->dims[1], kh = w->dims[2], kw = w->dims[3];
    int64_t oh = c->out->dims[1], ow = c->out->dims[2], O = c->out->dims[3], og = O / a->groups;
    float *y = c->out->f;
    for (int64_t n = 0; n < x->dims[0]; n++)
        for (int64_t i = 0; i < oh; i++)
            for (int64_t j = 0; j < ow; j++)
                for (int64_t o = 0; o < O; o++) {
                    double s = b ? (double)b->f[o] : 0;
                    for (int64_t ch = 0; ch < cg; ch++)
                        for (int64_t u = 0; u < kh; u++)
                            for (int64_t v = 0; v < kw; v++) {
                                int64_t yy = i * a->stride + u - a->pad_top, xx = j * a->stride + v - a->pad_left;
                                if (yy < 0 || yy >= H || xx < 0 || xx >= W) continue;
                                s += (double)w->f[((o * cg + ch) * kh + u) * kw + v] *
                                     (double)x->f[((n * H + yy) * W + xx) * C + o / og * cg + ch];
                            }
                    *y++ = (float)eye_act_ref(a->act, s);
                }
    return EYE_OK;
}

/* One output element of x w^T + b. */
static double dot(const float *x, const float *w, int64_t k, double start) {
    for (int64_t i = 0; i < k; i++) start += (double)x[i] * (double)w[i];
    return start;
}

enum eye_status eye_ref_linear(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0], *w = c->in[1], *b = c->in[2], *r = c->in[3];
    int64_t K = last(x), N = w->dims[0], M = K ? x->n / K : 0;
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            double y = eye_act_ref(c->node->attr.act, dot(x->f + m * K, w->f + n * K, K, b ? (double)b->f[n] : 0));
            c->out->f[m * N + n] = (float)(y + (r ? (double)r->f[m * N + n] : 0));
        }
    return EYE_OK;
}

enum eye_status eye_ref_ffn(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0], *w1 = c->in[1], *b1 = c->in[2], *w2 = c->in[3], *b2 = c->in[4], *r = c->in[5];
    int64_t K = last(x), F = w1->dims[0], N = w2->dims[0], M = K ? x->n / K : 0;
    float *h = eye_alloc_raw(NULL, (size_t)F * sizeof *h);
    if (!h) return eye_fail_nomem(err, (size_t)F * sizeof *h);
    for (int64_t m = 0; m < M; m++) {
        for (int64_t f = 0; f < F; f++)
            h[f] = (float)eye_act_ref(c->node->attr.act, dot(x->f + m * K, w1->f + f * K, K, b1 ? (double)b1->f[f] : 0));
        for (int64_t n = 0; n < N; n++)
            c->out->f[m * N + n] = (float)(dot(h, w2->f + n * F, F, b2 ? (double)b2->f[n] : 0) + (r ? (double)r->f[m * N + n] : 0));
    }
    eye_alloc_free(NULL, h, (size_t)F * sizeof *h);
    return EYE_OK;
}

enum eye_status eye_ref_embed(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *ids = c->in[0], *table = c->in[1];
    int64_t C = table->dims[1];
    for (int64_t t = 0; t < ids->n; t++) {
        if (ids->i[t] < 0 || ids->i[t] >= table->dims[0])
            return eye_fail(err, EYE_E_ARG, "embed: id %d is outside the table of %lld rows", ids->i[t], (long long)table->dims[0]);
        for (int64_t i = 0; i < C; i++) c->out->f[t * C + i] = table->f[ids->i[t] * C + i];
    }
    return EYE_OK;
}

/* One query row: softmax(scale q k^T) v over n keys that lie stride floats apart. p: scratch of n. */
static void attend(const float *q, const float *k, const float *v, int64_t stride, int64_t n, int64_t D, double scale, double *p, float *y) {
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        p[j] = scale * dot(q, k + j * stride, D, 0);
        max = fmax(max, p[j]);
    }
    for (int64_t j = 0; j < n; j++) sum += p[j] = exp(p[j] - max);
    for (int64_t d = 0; d < D; d++) {
        double s = 0;
        for (int64_t j = 0; j < n; j++) s += p[j] / sum * (double)v[j * stride + d];
        y[d] = (float)s;
    }
}

enum eye_status eye_ref_attention(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *q = c->in[0], *k = c->in[1], *v = c->in[2], *kc = c->in[3], *vc = c->in[4];
    int r = q->rank;
    int64_t N = r == 4 ? q->dims[0] : 1, T = q->dims[r - 3], H = q->dims[r - 2], D = q->dims[r - 1], Hkv = k->dims[r - 2];
    int64_t past = kc ? c->past : 0, row = Hkv * D, keys = past + T;
    if (kc && keys > kc->dims[0]) return eye_fail(err, EYE_E_ARG, "attention: position %lld is past the cache's %lld", (long long)keys, (long long)kc->dims[0]);
    double *p = eye_alloc_raw(NULL, (size_t)keys * sizeof *p);
    if (!p) return eye_fail_nomem(err, (size_t)keys * sizeof *p);
    for (int64_t i = 0; kc && i < T * row; i++) {
        kc->f[past * row + i] = k->f[i];
        vc->f[past * row + i] = v->f[i];
    }
    for (int64_t n = 0; n < N; n++) {
        const float *kf = kc ? kc->f : k->f + n * T * row, *vf = vc ? vc->f : v->f + n * T * row;
        for (int64_t t = 0; t < T; t++)
            for (int64_t h = 0; h < H; h++) {
                int64_t off = h / (H / Hkv) * D;
                attend(q->f + ((n * T + t) * H + h) * D, kf + off, vf + off, row, c->node->attr.causal ? past + t + 1 : keys, D,
                       (double)c->node->attr.scale, p, c->out->f + ((n * T + t) * H + h) * D);
            }
    }
    eye_alloc_free(NULL, p, (size_t)keys * sizeof *p);
    return EYE_OK;
}
