/* References of the ops that multiply and sum: convolution, linear, feed-forward, embedding, attention. Written to be read. */
#include "graph/ref.h"

#include <math.h>

static int64_t last(const struct eye_ref_value *v) { return v->dims[v->rank - 1]; }

enum eye_status eye_ref_conv2d(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0], *w = c->in[1], *b = c->in[2];
    const struct eye_attr *a = &c->node->attr;
    int64_t H = x->dims[1], W = x->dims[2], C = x->dims[3], cg = w->dims[1], kh = w->dims[2], kw = w->dims[3];
    int64_t oh = c->out->dims[1], ow = c->out->dims[2], O = c->out->dims[3], og = O / a->groups;
    double *y = c->out->f;
    for (int64_t n = 0; n < x->dims[0]; n++)
        for (int64_t i = 0; i < oh; i++)
            for (int64_t j = 0; j < ow; j++)
                for (int64_t o = 0; o < O; o++) {
                    double s = b ? b->f[o] : 0;
                    for (int64_t ch = 0; ch < cg; ch++)
                        for (int64_t u = 0; u < kh; u++)
                            for (int64_t v = 0; v < kw; v++) {
                                int64_t yy = i * a->stride + u - a->pad_top, xx = j * a->stride + v - a->pad_left;
                                if (yy < 0 || yy >= H || xx < 0 || xx >= W) continue;
                                s += w->f[((o * cg + ch) * kh + u) * kw + v] *
                                     x->f[((n * H + yy) * W + xx) * C + o / og * cg + ch];
                            }
                    *y++ = eye_act_ref(a->act, s);
                }
    return EYE_OK;
}

/* One output element of x w^T + b. */
static double dot(const double *x, const double *w, int64_t k, double start) {
    for (int64_t i = 0; i < k; i++) start += x[i] * w[i];
    return start;
}

enum eye_status eye_ref_linear(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0], *w = c->in[1], *b = c->in[2], *r = c->in[3];
    int64_t K = last(x), N = w->dims[0], M = K ? x->n / K : 0;
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            double y = eye_act_ref(c->node->attr.act, dot(x->f + m * K, w->f + n * K, K, b ? b->f[n] : 0));
            c->out->f[m * N + n] = y + (r ? r->f[m * N + n] : 0);
        }
    return EYE_OK;
}

enum eye_status eye_ref_ffn(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *x = c->in[0], *w1 = c->in[1], *b1 = c->in[2], *w2 = c->in[3], *b2 = c->in[4], *r = c->in[5];
    int64_t K = last(x), F = w1->dims[0], N = w2->dims[0], M = K ? x->n / K : 0;
    double *h = eye_alloc_raw(NULL, (size_t)F * sizeof *h);
    if (!h) return eye_fail_nomem(err, (size_t)F * sizeof *h);
    for (int64_t m = 0; m < M; m++) {
        for (int64_t f = 0; f < F; f++)
            h[f] = eye_act_ref(c->node->attr.act, dot(x->f + m * K, w1->f + f * K, K, b1 ? b1->f[f] : 0));
        for (int64_t n = 0; n < N; n++)
            c->out->f[m * N + n] = dot(h, w2->f + n * F, F, b2 ? b2->f[n] : 0) + (r ? r->f[m * N + n] : 0);
    }
    eye_alloc_free(NULL, h, (size_t)F * sizeof *h);
    return EYE_OK;
}

enum eye_status eye_ref_embed(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *ids = c->in[0], *table = c->in[1];
    int64_t C = table->dims[1];
    for (int64_t t = 0; t < ids->n; t++) {
        if (ids->i[t] < -1 || ids->i[t] >= table->dims[0])
            return eye_fail(err, EYE_E_ARG, "embed: id %d is outside the table of %lld rows", ids->i[t], (long long)table->dims[0]);
        for (int64_t i = 0; i < C; i++) c->out->f[t * C + i] = ids->i[t] < 0 ? 0 : table->f[ids->i[t] * C + i];
    }
    return EYE_OK;
}

struct keys { /* n rows of keys and values */
    const double *k, *v;
    int64_t n;
};

/* One query row: softmax(scale q k^T) v over the keys of two ranges, one after the other; rows lie stride numbers apart.
 * p: scratch of as many. */
static void attend(const double *q, const struct keys in[2], int64_t stride, int64_t D, double scale, double *p, double *y) {
    double max = -INFINITY, sum = 0;
    int64_t n0 = in[0].n, n = n0 + in[1].n;
    for (int64_t j = 0; j < n; j++) {
        p[j] = scale * dot(q, j < n0 ? in[0].k + j * stride : in[1].k + (j - n0) * stride, D, 0);
        max = fmax(max, p[j]);
    }
    for (int64_t j = 0; j < n; j++) sum += p[j] = exp(p[j] - max);
    for (int64_t d = 0; d < D; d++) {
        double s = 0;
        for (int64_t j = 0; j < n; j++) s += p[j] / sum * (j < n0 ? in[0].v[j * stride + d] : in[1].v[(j - n0) * stride + d]);
        y[d] = s;
    }
}

/* The segment's new keys and values go to its slots. */
static void append(const struct eye_ref_ctx *c, const struct eye_segment *s, int64_t row) {
    for (int64_t i = 0; i < s->n * row; i++) {
        c->in[3]->f[s->slot * row + i] = c->in[1]->f[s->row * row + i];
        c->in[4]->f[s->slot * row + i] = c->in[2]->f[s->row * row + i];
    }
}

/* All heads of row i of one segment; k, v: of the call, or the caches. own: where its own rows begin in them. */
static void attend_row(const struct eye_ref_ctx *c, const struct eye_segment *s, int64_t i, const double *q, const double *k,
                       const double *v, double *p, double *y) {
    int64_t H = c->in[0]->dims[c->in[0]->rank - 2], D = last(c->in[0]), Hkv = c->in[1]->dims[c->in[1]->rank - 2], row = Hkv * D;
    int64_t n_own = c->in[3] ? s->n_own : 0, own = c->in[3] ? s->slot - n_own : s->row;
    for (int64_t h = 0; h < H; h++) {
        int64_t off = h / (H / Hkv) * D, seen = n_own + (c->node->attr.causal ? i + 1 : s->n);
        struct keys in[2] = {{k + s->prefix * row + off, v + s->prefix * row + off, s->n_prefix},
                             {k + own * row + off, v + own * row + off, seen}};
        attend(q + h * D, in, row, D, (double)c->node->attr.scale, p, y + h * D);
    }
}

/* Rows that ids names: all of the call's, or q and y of these alone. */
static enum eye_status attend_picked(const struct eye_ref_ctx *c, const double *k, const double *v, double *p,
                                     struct eye_err *err) {
    int64_t width = last(c->out), n = c->in[5]->n;
    for (int64_t t = 0; t < n; t++) {
        int32_t row = c->in[5]->i[t];
        if (row < 0 || row >= c->bind->t)
            return eye_fail(err, EYE_E_ARG, "attention: picked row %d of %lld", row, (long long)c->bind->t);
        struct eye_segment s = eye_bind_segment(c->bind, eye_bind_segment_of(c->bind, row));
        attend_row(c, &s, row - s.row, c->in[0]->f + (c->by_segment ? row : t) * width, k, v, p, c->out->f + t * width);
    }
    return EYE_OK;
}

enum eye_status eye_ref_attention(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *q = c->in[0], *k = c->in[1], *kc = c->in[3], *vc = c->in[4];
    int r = q->rank;
    int64_t N = r == 4 ? q->dims[0] : 1, T = q->dims[r - 3], row = k->dims[r - 2] * k->dims[r - 1];
    struct eye_bind image = {.t = T};
    const struct eye_bind *b = c->by_segment || c->in[5] ? c->bind : &image;
    size_t keys = (size_t)((kc ? 2 * kc->dims[0] : 0) + 2 * k->dims[r - 3]), n_segments = eye_bind_n_segments(b);
    double *p = eye_alloc_raw(NULL, keys * sizeof *p);
    if (!p) return eye_fail_nomem(err, keys * sizeof *p);
    for (size_t i = 0; kc && i < n_segments; i++) {
        struct eye_segment s = eye_bind_segment(b, i);
        append(c, &s, row);
    }
    enum eye_status st = EYE_OK;
    for (int64_t n = 0; n < N; n++) {
        const double *keys_of = kc ? kc->f : k->f + n * T * row, *values_of = kc ? vc->f : c->in[2]->f + n * T * row;
        if (c->in[5]) st = attend_picked(c, keys_of, values_of, p, err);
        for (size_t i = 0; i < n_segments && !c->in[5]; i++) {
            struct eye_segment s = eye_bind_segment(b, i);
            for (int64_t t = 0; t < s.n; t++) {
                int64_t at = n * (q->n / N) + (s.row + t) * last(c->out);
                attend_row(c, &s, t, q->f + at, keys_of, values_of, p, c->out->f + at);
            }
        }
    }
    eye_alloc_free(NULL, p, keys * sizeof *p);
    return st;
}
