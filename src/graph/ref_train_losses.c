/* References of the losses of rows and of their gradients. Written to be read. */
#include "graph/ref.h"

#include <math.h>

static int64_t last(const struct eye_ref_value *v) { return v->dims[v->rank - 1]; }

/* log(sum(exp(z / temp))) */
static double log_sum_exp(const double *z, int64_t n, double temp) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = fmax(max, z[i]);
    for (int64_t i = 0; i < n; i++) sum += exp((z[i] - max) / temp);
    return max / temp + log(sum);
}

/* ---- cross entropy ---- */

static enum eye_status bad_target(const struct eye_ref_value *z, int32_t target, struct eye_err *err) {
    if (target < last(z)) return EYE_OK;
    return eye_fail(err, EYE_E_ARG, "cross_entropy: target %d is no class of %lld", target, (long long)last(z));
}

enum eye_status eye_ref_cross_entropy(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *z = c->in[0], *target = c->in[1], *weight = c->in[2];
    int64_t V = last(z);
    double s = (double)c->node->attr.smoothing;
    for (int64_t t = 0; t < c->out->n; t++) {
        const double *row = z->f + t * V;
        double mean = 0;
        EYE_TRY(bad_target(z, target->i[t], err));
        for (int64_t i = 0; i < V; i++) mean += row[i] / (double)V;
        c->out->f[t] = target->i[t] < 0 ? 0 : weight->f[t] * (log_sum_exp(row, V, 1) - (1 - s) * row[target->i[t]] - s * mean);
    }
    return EYE_OK;
}

enum eye_status eye_ref_cross_entropy_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *d = c->in[0], *z = c->in[1], *target = c->in[2], *weight = c->in[3];
    int64_t V = last(z);
    double s = (double)c->node->attr.smoothing;
    for (int64_t t = 0; t < d->n; t++) {
        double lse = log_sum_exp(z->f + t * V, V, 1), factor = target->i[t] < 0 ? 0 : d->f[t] * weight->f[t];
        EYE_TRY(bad_target(z, target->i[t], err));
        for (int64_t i = 0; i < V; i++)
            c->out->f[t * V + i] = factor * (exp(z->f[t * V + i] - lse) - (i == target->i[t] ? 1 - s : 0) - s / (double)V);
    }
    return EYE_OK;
}

/* ---- KL between the softmaxes of two rows ---- */

enum eye_status eye_ref_kl_rows(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *a = c->in[0], *b = c->in[1], *weight = c->in[2];
    int64_t C = last(a);
    double temp = (double)c->node->attr.temp;
    for (int64_t t = 0; t < c->out->n; t++) {
        double la = log_sum_exp(a->f + t * C, C, temp), lb = log_sum_exp(b->f + t * C, C, temp), s = 0;
        for (int64_t i = t * C; i < (t + 1) * C; i++) {
            double logp = b->f[i] / temp - lb;
            s += exp(logp) * (logp - (a->f[i] / temp - la));
        }
        c->out->f[t] = weight->f[t] * temp * temp * s;
    }
    return EYE_OK;
}

enum eye_status eye_ref_kl_rows_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *d = c->in[0], *a = c->in[1], *b = c->in[2], *weight = c->in[3];
    int64_t C = last(a);
    double temp = (double)c->node->attr.temp;
    for (int64_t t = 0; t < d->n; t++) {
        double la = log_sum_exp(a->f + t * C, C, temp), lb = log_sum_exp(b->f + t * C, C, temp);
        for (int64_t i = t * C; i < (t + 1) * C; i++)
            c->out->f[i] = d->f[t] * weight->f[t] * temp * (exp(a->f[i] / temp - la) - exp(b->f[i] / temp - lb));
    }
    return EYE_OK;
}

/* ---- KL from a teacher's K likeliest classes and one for the rest ---- */

struct topk { /* of one row; what the student gives to the rest is 1 - sum(q) */
    double p, q; /* sums over the K: the teacher's, the student's */
    double lse;
    int64_t n;
};

static enum eye_status sum_topk(const struct eye_ref_value *a, const int32_t *ids, const double *logp, int64_t K, int64_t t,
                                double temp, struct topk *out, struct eye_err *err) {
    int64_t V = last(a);
    *out = (struct topk){.lse = log_sum_exp(a->f + t * V, V, temp)};
    for (int64_t k = 0; k < K; k++) {
        if (ids[k] < 0) continue;
        if (ids[k] >= V) return eye_fail(err, EYE_E_ARG, "kl_topk: id %d is no class of %lld", ids[k], (long long)V);
        out->p += exp(logp[k]);
        out->q += exp(a->f[t * V + ids[k]] / temp - out->lse);
        out->n++;
    }
    return EYE_OK;
}

enum eye_status eye_ref_kl_topk(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *a = c->in[0], *ids = c->in[1], *logp = c->in[2], *weight = c->in[3];
    int64_t V = last(a), K = last(ids);
    double temp = (double)c->node->attr.temp;
    for (int64_t t = 0; t < c->out->n; t++) {
        struct topk m;
        EYE_TRY(sum_topk(a, ids->i + t * K, logp->f + t * K, K, t, temp, &m, err));
        double p = fmax(1 - m.p, EYE_LEAST_REST), q = fmax(1 - m.q, EYE_LEAST_REST), s = m.n < V ? p * (log(p) - log(q)) : 0;
        for (int64_t k = t * K; k < (t + 1) * K; k++)
            if (ids->i[k] >= 0) s += exp(logp->f[k]) * (logp->f[k] - (a->f[t * V + ids->i[k]] / temp - m.lse));
        c->out->f[t] = weight->f[t] * temp * temp * s;
    }
    return EYE_OK;
}

/* The K's term, -sum p_k log q_k, has the slope q_i sum(p) - p_i; the rest's, -P log Q with Q = 1 - sum(q), has
 * q_i P (1 - sum(q)) / Q for i of the K, and -q_i P sum(q) / Q for others. */
enum eye_status eye_ref_kl_topk_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    const struct eye_ref_value *d = c->in[0], *a = c->in[1], *ids = c->in[2], *logp = c->in[3], *weight = c->in[4];
    int64_t V = last(a), K = last(ids);
    double temp = (double)c->node->attr.temp;
    for (int64_t t = 0; t < d->n; t++) {
        struct topk m;
        EYE_TRY(sum_topk(a, ids->i + t * K, logp->f + t * K, K, t, temp, &m, err));
        double p = fmax(1 - m.p, EYE_LEAST_REST), q = 1 - m.q, factor = d->f[t] * weight->f[t] * temp;
        double rest = m.n < V && q > EYE_LEAST_REST ? p / q : 0; /* where Q is cut off, it has no slope */
        double *out = c->out->f + t * V;
        for (int64_t i = 0; i < V; i++) out[i] = factor * exp(a->f[t * V + i] / temp - m.lse) * (m.p - rest * m.q);
        for (int64_t k = t * K; k < (t + 1) * K; k++) {
            if (ids->i[k] < 0) continue;
            double qk = exp(a->f[t * V + ids->i[k]] / temp - m.lse);
            out[ids->i[k]] = factor * (qk * (m.p + rest * (1 - m.q)) - exp(logp->f[k]));
        }
    }
    return EYE_OK;
}

/* ---- features ---- */

enum eye_status eye_ref_mse_rows(const struct eye_ref_ctx *c, struct eye_err *err) {
    const double *a = c->in[0]->f, *b = c->in[1]->f;
    int64_t C = last(c->in[0]);
    for (int64_t r = 0; r < c->out->n; r++) {
        double s = 0;
        for (int64_t i = r * C; i < (r + 1) * C; i++) s += (a[i] - b[i]) * (a[i] - b[i]);
        c->out->f[r] = s / (double)C;
    }
    return EYE_OK;
}

enum eye_status eye_ref_mse_rows_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    const double *d = c->in[0]->f, *a = c->in[1]->f, *b = c->in[2]->f;
    int64_t C = last(c->out);
    for (int64_t i = 0; i < c->out->n; i++) c->out->f[i] = d[i / C] * 2 * (a[i] - b[i]) / (double)C;
    return EYE_OK;
}

struct cosine { double ab, aa, bb; };

static struct cosine cosine(const double *a, const double *b, int64_t n) {
    struct cosine s = {0, 0, 0};
    for (int64_t i = 0; i < n; i++) {
        s.ab += a[i] * b[i];
        s.aa += a[i] * a[i];
        s.bb += b[i] * b[i];
    }
    return s;
}

enum eye_status eye_ref_cosine_rows(const struct eye_ref_ctx *c, struct eye_err *err) {
    int64_t C = last(c->in[0]);
    for (int64_t r = 0; r < c->out->n; r++) {
        struct cosine s = cosine(c->in[0]->f + r * C, c->in[1]->f + r * C, C);
        c->out->f[r] = s.aa > 0 && s.bb > 0 ? 1 - s.ab / sqrt(s.aa * s.bb) : 1;
    }
    return EYE_OK;
}

/* d cos / da = (b - a ab / aa) / (|a| |b|) */
enum eye_status eye_ref_cosine_rows_grad(const struct eye_ref_ctx *c, struct eye_err *err) {
    const double *d = c->in[0]->f, *a = c->in[1]->f, *b = c->in[2]->f;
    int64_t C = last(c->out);
    for (int64_t r = 0; r < c->in[0]->n; r++) {
        struct cosine s = cosine(a + r * C, b + r * C, C);
        for (int64_t i = r * C; i < (r + 1) * C; i++)
            c->out->f[i] = s.aa > 0 && s.bb > 0 ? -d[r] * (b[i] - a[i] * s.ab / s.aa) / sqrt(s.aa * s.bb) : 0;
    }
    return EYE_OK;
}
