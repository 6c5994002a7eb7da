/* Training kernels for any vector of LANES floats: row gradients, pieces of losses, dropout, optimiser steps. Included once by
 * each train_<isa>.c, which defines before:
 *   vec, LANES                       LANES floats
 *   set(x), load(p, n), store(p, n, v)  n >= LANES is all; load fills the rest with zeros
 *   load_low(p, n)                   fills the rest with -infinity
 *   keep(v, n)                       zeros beyond the first n lanes
 *   add, sub, mul, quotient, root, larger, mul_add(a, b, c) = a b + c fused, exponential, lanes_sum, lanes_max
 *   bits: LANES uint32; bits_set, bits_count (0, 1, ..), bits_add, bits_mul, bits_xor, bits_right(v, n);
 *   where_at_least(a, b, v)          v where a >= b, else 0
 *   NAME(op)                         the symbol of this version */
#include <math.h>

#include "kernels/inline.h"
#include "kernels/rows.h"

#define EACH(i, n) for (size_t i = 0; i < (n); i += LANES)

/* ---- norms ---- */

struct moments { float mean, factor; };

EYE_INLINE struct moments row_moments(const float *x, size_t n, float eps, int centred) {
    struct moments m = {0.0f, 0.0f};
    vec s = set(0.0f);
    if (centred) {
        EACH(i, n) s = add(s, load(x + i, n - i));
        m.mean = lanes_sum(s) / (float)n;
        s = set(0.0f);
    }
    EACH(i, n) {
        vec v = keep(sub(load(x + i, n - i), set(m.mean)), n - i);
        s = mul_add(v, v, s);
    }
    m.factor = 1.0f / sqrtf(lanes_sum(s) / (float)n + eps);
    return m;
}

EYE_INLINE void norm_dx(float *dx, const float *d, const float *x, const float *w, size_t n, float eps, int centred) {
    struct moments m = row_moments(x, n, eps, centred);
    vec sum_e = set(0.0f), sum_ev = set(0.0f);
    EACH(i, n) {
        vec e = mul(load(d + i, n - i), load(w + i, n - i)), v = sub(load(x + i, n - i), set(m.mean));
        sum_e = add(sum_e, e);
        sum_ev = mul_add(e, v, sum_ev);
    }
    float mean_e = centred ? lanes_sum(sum_e) / (float)n : 0.0f, slope = m.factor * m.factor * lanes_sum(sum_ev) / (float)n;
    EACH(i, n) {
        vec e = mul(load(d + i, n - i), load(w + i, n - i)), v = sub(load(x + i, n - i), set(m.mean));
        store(dx + i, n - i, mul(set(m.factor), mul_add(v, set(-slope), sub(e, set(mean_e)))));
    }
}

EYE_INLINE void norm_dw(float *dw, const float *d, const float *x, size_t n, float eps, int centred) {
    struct moments m = row_moments(x, n, eps, centred);
    EACH(i, n) {
        vec xhat = mul(sub(load(x + i, n - i), set(m.mean)), set(m.factor));
        store(dw + i, n - i, mul_add(load(d + i, n - i), xhat, load(dw + i, n - i)));
    }
}

void NAME(layer_norm_dx_f32)(float *dx, const float *d, const float *x, const float *w, size_t n, float eps) {
    norm_dx(dx, d, x, w, n, eps, 1);
}
void NAME(rms_norm_dx_f32)(float *dx, const float *d, const float *x, const float *w, size_t n, float eps) {
    norm_dx(dx, d, x, w, n, eps, 0);
}
void NAME(layer_norm_dw_f32)(float *dw, const float *d, const float *x, size_t n, float eps) { norm_dw(dw, d, x, n, eps, 1); }
void NAME(rms_norm_dw_f32)(float *dw, const float *d, const float *x, size_t n, float eps) { norm_dw(dw, d, x, n, eps, 0); }

/* ---- rows of losses ---- */

void NAME(softmax_grad_f32)(float *dx, const float *d, const float *y, size_t n, float scale) {
    vec s = set(0.0f);
    EACH(i, n) s = mul_add(load(d + i, n - i), load(y + i, n - i), s);
    const vec sum = set(lanes_sum(s));
    EACH(i, n) store(dx + i, n - i, mul(mul(load(y + i, n - i), set(scale)), sub(load(d + i, n - i), sum)));
}

double NAME(lse_f32)(const float *x, size_t n, float by) {
    vec top = set(-INFINITY), s = set(0.0f);
    EACH(i, n) top = larger(top, load_low(x + i, n - i));
    const float shift = by * lanes_max(top); /* as rounded: what is taken away is what is added again */
    EACH(i, n) s = add(s, keep(exponential(mul_add(load(x + i, n - i), set(by), set(-shift))), n - i));
    return (double)shift + log((double)lanes_sum(s));
}

void NAME(affine_f32)(float *dst, const float *a, float by_a, const float *b, float by_b, float plus, size_t n) {
    if (b) {
        EACH(i, n) {
            vec rest = mul_add(load(b + i, n - i), set(by_b), set(plus));
            store(dst + i, n - i, mul_add(load(a + i, n - i), set(by_a), rest));
        }
    } else {
        EACH(i, n) store(dst + i, n - i, mul_add(load(a + i, n - i), set(by_a), set(plus)));
    }
}

enum reduction { DOT, DISTANCE, SUM };

EYE_INLINE vec reduce_step(const float *a, const float *b, size_t n, vec s, enum reduction what) {
    if (what == SUM) return add(s, load(a, n));
    if (what == DOT) return mul_add(load(a, n), load(b, n), s);
    vec v = sub(load(a, n), load(b, n));
    return mul_add(v, v, s);
}

EYE_INLINE double reduce(const float *a, const float *b, size_t n, enum reduction what) {
    double total = 0.0;
    for (size_t at = 0; at < n; at += 1024) {
        size_t end = n - at < 1024 ? n : at + 1024, i = at;
        vec s[4] = {set(0.0f), set(0.0f), set(0.0f), set(0.0f)};
        for (; i + 4 * LANES <= end; i += 4 * LANES) {
            EYE_UNROLL
            for (int k = 0; k < 4; k++) s[k] = reduce_step(a + i + k * LANES, b + i + k * LANES, LANES, s[k], what);
        }
        for (; i < end; i += LANES) s[0] = reduce_step(a + i, b + i, end - i, s[0], what);
        total += (double)lanes_sum(add(add(s[0], s[1]), add(s[2], s[3])));
    }
    return total;
}

double NAME(dot_f32)(const float *a, const float *b, size_t n) { return reduce(a, b, n, DOT); }
double NAME(distance_f32)(const float *a, const float *b, size_t n) { return reduce(a, b, n, DISTANCE); }
double NAME(sum_f32)(const float *a, const float *b, size_t n) { return reduce(a, a, n, SUM); }

/* ---- dropout: eye_dropout_keep of graph/dropout.h, LANES elements at once ---- */

void NAME(dropout_f32)(float *y, const float *x, size_t n, uint32_t first, const struct eye_dropout_args *a) {
    const bits key = bits_set(a->key[1]), threshold = bits_set(a->threshold);
    EACH(i, n) {
        bits h = bits_add(bits_count(), bits_set(first + (uint32_t)i + a->key[0]));
        h = bits_xor(bits_mul(bits_xor(h, bits_right(h, 16)), bits_set(0x7feb352du)), key);
        h = bits_mul(bits_xor(h, bits_right(h, 15)), bits_set(0x846ca68bu));
        h = bits_xor(h, bits_right(h, 16));
        store(y + i, n - i, where_at_least(h, threshold, mul(load(x + i, n - i), set(a->scale))));
    }
}

/* ---- optimiser steps ---- */

void NAME(adam_f32)(const struct eye_adam_args *a, size_t n) {
    EACH(i, n) {
        size_t l = n - i;
        vec w = mul(load(a->w + i, l), set(a->keep)), m = load(a->m + i, l);
        vec g = mul_add(w, set(a->l2), mul(load(a->g + i, l), set(a->grad_scale)));
        m = mul_add(sub(g, m), set(a->rest1), m);
        vec v = mul_add(mul(g, set(a->rest2)), g, mul(load(a->v + i, l), set(a->beta2)));
        vec ratio = quotient(m, mul_add(root(v), set(a->root), set(a->eps)));
        store(a->m + i, l, m);
        store(a->v + i, l, v);
        store(a->w + i, l, mul_add(ratio, set(-a->step), w));
    }
}

void NAME(sgd_f32)(const struct eye_sgd_args *a, size_t n) {
    EACH(i, n) {
        size_t l = n - i;
        vec w = load(a->w + i, l), g = mul_add(w, set(a->l2), mul(load(a->g + i, l), set(a->grad_scale)));
        if (a->m) {
            vec m = mul_add(load(a->m + i, l), set(a->momentum), g);
            store(a->m + i, l, m);
            g = a->nesterov ? mul_add(m, set(a->momentum), g) : m;
        }
        store(a->w + i, l, mul_add(g, set(-a->lr), w));
    }
}
