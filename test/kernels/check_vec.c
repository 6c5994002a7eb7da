/* checkkern: element-wise functions, norms, softmax, rope, conversions, quantization: against the _ref row of the same op
 * (which computes in double) with the error bound each op promises, stated in this file. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define EPS ((double)FLT_EPSILON)

/* Lengths: every one up to a few vectors, and real ones. */
static size_t next_n(const struct check *c, size_t n) {
    static const size_t real[] = {203, 384, 896, 1536, 3072, 4864};
    if (n < (c->quick ? 40 : 131)) return n + (c->quick ? 3 : 1);
    for (size_t i = 0; i < EYE_COUNT(real); i++)
        if (n < real[i]) return real[i];
    return SIZE_MAX;
}

static struct gbuf input(struct check *c, enum check_pattern p, size_t n, float max) {
    struct gbuf b = gbuf_new(n * 4, 4);
    check_fill(c, p, b.p, n, max);
    gbuf_freeze(&b);
    return b;
}

static struct gbuf copy_of(const struct gbuf *src) {
    struct gbuf b = gbuf_new(src->bytes, 4);
    memcpy(b.p, src->p, src->bytes);
    return b;
}

/* ---- element-wise ---- */

/* |error| <= eps (|want| (rel + per_x |x|) + abs_x |x| + abs) + 2 (1 + |x|) (1 + |b|) smallest normal; x the (first) input,
 * b the second. A term per_x |x| is the exponent's rounding where the argument of exp is not x itself. Gradients f'(x) b:
 * eps abs_b |b| more, the slope's own error (x f''(x) is at most 1.2 for all of these). */
struct bound {
    const char *op;
    double rel, per_x, abs_x, abs;
    float max; /* largest input tried */
    double abs_b;
};
static const struct bound bounds[] = {
    {"gelu_f32", 0, 0, 1, 1, 100.0f},       /* tables: 1e-7 (1 + |x|) */
    {"gelu_tanh_f32", 0, 0, 2, 0, 100.0f},  /* x^3 rounds; |v sigmoid'(v)| < 0.23 */
    {"quick_gelu_f32", 4, 2, 0, 0, 100.0f},
    {"silu_f32", 4, 0, 0, 0, 200.0f},
    {"sigmoid_f32", 4, 0, 0, 0, 200.0f},
    {"relu_f32", 0, 0, 0, 0, 0x1p100f},
    {"hardsigmoid_f32", 2, 0, 0, 0, 100.0f}, /* x + 3, 1/6 and their product round once each */
    {"hardswish_f32", 2, 0, 0, 0, 100.0f},
    {"add_f32", 0, 0, 0, 0, 0x1p100f},
    {"mul_f32", 0, 0, 0, 0, 0x1p60f},
    {"swiglu_f32", 5, 0, 0, 0, 200.0f},
    {"gelu_grad_f32", 2, 0, 0, 0, 100.0f, 4},
    {"gelu_tanh_grad_f32", 2, 0, 0, 0, 100.0f, 4},
    {"quick_gelu_grad_f32", 2, 0, 0, 0, 100.0f, 4},
    {"silu_grad_f32", 2, 0, 0, 0, 200.0f, 4},
    {"sigmoid_grad_f32", 8, 0, 0, 0, 200.0f},
    {"relu_grad_f32", 0, 0, 0, 0, 0x1p100f},
    {"hardsigmoid_grad_f32", 1, 0, 0, 0, 100.0f},
    {"hardswish_grad_f32", 1, 0, 0, 0, 100.0f, 1},
};

static const struct bound *bound_of(const struct check *c) {
    for (size_t i = 0; i < EYE_COUNT(bounds); i++)
        if (strcmp(bounds[i].op, c->row->op) == 0) return &bounds[i];
    check_fail(c, "check_vec.c states no error bound for this op");
}

/* Ops that only add, multiply or choose are one rounding: exact. */
static double tolerance(const struct bound *b, double want, double x, double y) {
    if (b->rel == 0 && b->abs_x == 0) return 0.0;
    return EPS * (fabs(want) * (b->rel + b->per_x * fabs(x)) + b->abs_x * fabs(x) + b->abs + b->abs_b * fabs(y)) +
           2.0 * (1.0 + fabs(x)) * (1.0 + fabs(y)) * (double)FLT_MIN;
}

static void check_map(struct check *c, const struct bound *b, size_t n, enum check_pattern p, bool in_place) {
    eye_map_fn *fn = (eye_map_fn *)c->row->fn, *ref = (eye_map_fn *)c->ref->fn;
    check_where(c, "n %zu, %s%s", n, check_pattern_name(p), in_place ? ", in place" : "");
    struct gbuf x = gbuf_new(n * 4, 4), out, again = gbuf_new(n * 4, 4);
    check_fill(c, p, x.p, n, b->max);
    if (p == PAT_RANDOM)
        for (size_t i = 0; i < n; i++) ((float *)x.p)[i] *= 12.0f; /* where activations bend */
    gbuf_freeze(&x);
    out = in_place ? copy_of(&x) : gbuf_new(n * 4, 4);
    float *want = malloc(n * 4 + 1);
    ref(want, x.p, n);
    fn(out.p, in_place ? out.p : x.p, n);
    fn(again.p, x.p, n);
    gbuf_check(c, &out, "dst");
    check_same_bits(c, "the same again", out.p, again.p, n);
    for (size_t i = 0; i < n; i++)
        check_close(c, "dst", i, want[i], ((float *)out.p)[i], tolerance(b, want[i], ((float *)x.p)[i], 0.0));
    free(want);
    gbuf_free(&x), gbuf_free(&out), gbuf_free(&again);
}

void check_eye_map_fn(struct check *c) {
    const struct bound *b = bound_of(c);
    for (size_t n = 0; n != SIZE_MAX; n = next_n(c, n)) check_map(c, b, n, PAT_RANDOM, n & 1);
    for (int p = 0; p < N_PATTERNS; p++) check_map(c, b, 203, (enum check_pattern)p, p & 1);
    for (int i = 0; i < (c->quick ? 4 : 200); i++) check_map(c, b, 4096, i & 1 ? PAT_WIDE : PAT_RANDOM, false);
}

static void check_zip(struct check *c, const struct bound *b, size_t n, enum check_pattern pa, enum check_pattern pb,
                      int alias) {
    eye_zip_fn *fn = (eye_zip_fn *)c->row->fn, *ref = (eye_zip_fn *)c->ref->fn;
    check_where(c, "n %zu, a %s, b %s, alias %d", n, check_pattern_name(pa), check_pattern_name(pb), alias);
    struct gbuf x = input(c, pa, n, b->max), y = input(c, pb, n, b->max);
    struct gbuf out = alias == 1 ? copy_of(&x) : alias == 2 ? copy_of(&y) : gbuf_new(n * 4, 4), again = gbuf_new(n * 4, 4);
    float *want = malloc(n * 4 + 1);
    ref(want, x.p, y.p, n);
    fn(out.p, alias == 1 ? out.p : x.p, alias == 2 ? out.p : y.p, n);
    fn(again.p, x.p, y.p, n);
    gbuf_check(c, &out, "dst");
    check_same_bits(c, "the same again", out.p, again.p, n);
    for (size_t i = 0; i < n; i++)
        check_close(c, "dst", i, want[i], ((float *)out.p)[i], tolerance(b, want[i], ((float *)x.p)[i], ((float *)y.p)[i]));
    free(want);
    gbuf_free(&x), gbuf_free(&y), gbuf_free(&out), gbuf_free(&again);
}

void check_eye_zip_fn(struct check *c) {
    const struct bound *b = bound_of(c);
    for (size_t n = 0; n != SIZE_MAX; n = next_n(c, n)) check_zip(c, b, n, PAT_RANDOM, PAT_WIDE, (int)(n % 3));
    for (int pa = 0; pa < N_PATTERNS; pa++)
        for (int pb = 0; pb < N_PATTERNS; pb++) check_zip(c, b, 67, (enum check_pattern)pa, (enum check_pattern)pb, pb % 3);
}

/* ---- norms ----
 * Sums in f32 over at least four lanes: relative error of a sum of n like-signed terms <= (n/4 + 16) eps =: s.
 * mean is off by s mean|x|; the scale by a relative s + (mean error)-terms, doubled for safety of the second order. */
static void norm_case(struct check *c, size_t n, enum check_pattern p, bool layer, bool with_w, bool with_b) {
    check_where(c, "n %zu, %s%s%s", n, check_pattern_name(p), with_w ? ", w" : "", with_b ? ", b" : "");
    const float eps = 1e-6f;
    struct gbuf x = input(c, p, n, 1000.0f), w = input(c, PAT_RANDOM, n, 1.0f), b = input(c, PAT_RANDOM, n, 1.0f);
    struct gbuf y = gbuf_new(n * 4, 4), again = gbuf_new(n * 4, 4);
    const float *wp = with_w ? w.p : NULL, *bp = with_b ? b.p : NULL, *xp = x.p;
    float *want = malloc(n * 4);
    if (layer) {
        ((eye_layer_norm_fn *)c->ref->fn)(want, xp, wp, bp, n, eps);
        ((eye_layer_norm_fn *)c->row->fn)(y.p, xp, wp, bp, n, eps);
        ((eye_layer_norm_fn *)c->row->fn)(again.p, xp, wp, bp, n, eps);
    } else {
        ((eye_rms_norm_fn *)c->ref->fn)(want, xp, wp, n, eps);
        ((eye_rms_norm_fn *)c->row->fn)(y.p, xp, wp, n, eps);
        ((eye_rms_norm_fn *)c->row->fn)(again.p, xp, wp, n, eps);
    }
    gbuf_check(c, &y, "y");
    check_same_bits(c, "the same again", y.p, again.p, n);
    double mean = 0.0, mean_abs = 0.0, var = 0.0, s = ((double)n / 4.0 + 16.0) * EPS;
    for (size_t i = 0; i < n; i++) mean += xp[i] / (double)n, mean_abs += fabsf(xp[i]) / (double)n;
    if (!layer) mean = mean_abs = 0.0;
    for (size_t i = 0; i < n; i++) var += (xp[i] - mean) * (xp[i] - mean) / (double)n;
    double scale = 1.0 / sqrt(var + eps), off = s * mean_abs;
    for (size_t i = 0; i < n; i++) {
        double wi = wp ? fabsf(wp[i]) : 1.0, bi = bp ? fabsf(bp[i]) : 0.0, dev = fabs(xp[i] - mean);
        /* scale: relative (s + 4 eps), and the shifted mean adds off^2 to the variance (its first order cancels) plus the
         * rounding of each deviation */
        double rel = s + 8.0 * EPS + (off * off + 2.0 * EPS * mean_abs * sqrt(var)) * scale * scale;
        double tol = 2.0 * wi * scale * (dev * rel + off + EPS * fabs(xp[i])) + EPS * (bi + fabs(want[i])) + (double)FLT_MIN;
        check_close(c, "y", i, want[i], ((float *)y.p)[i], tol);
    }
    free(want);
    gbuf_free(&x), gbuf_free(&w), gbuf_free(&b), gbuf_free(&y), gbuf_free(&again);
}

static void check_norm(struct check *c, bool layer) {
    for (size_t n = 1; n != SIZE_MAX; n = next_n(c, n)) norm_case(c, n, PAT_RANDOM, layer, n & 1, layer && (n & 2));
    for (int p = 0; p < N_PATTERNS; p++) norm_case(c, 896, (enum check_pattern)p, layer, true, layer);
}
void check_eye_layer_norm_fn(struct check *c) { check_norm(c, true); }
void check_eye_rms_norm_fn(struct check *c) { check_norm(c, false); }

/* ---- softmax: relative (8 + n/4 + 16 + |x - max|) eps: exp, sum over at least four lanes, x - max rounds ---- */
static void softmax_case(struct check *c, size_t n, enum check_pattern p, float max, bool masked) {
    check_where(c, "n %zu, %s up to %g%s", n, check_pattern_name(p), (double)max, masked ? ", some -inf" : "");
    struct gbuf x = gbuf_new(n * 4, 4);
    check_fill(c, p, x.p, n, max);
    for (size_t i = 0; i < n; i++) {
        if (p == PAT_RANDOM) ((float *)x.p)[i] *= max;
        if (masked && i % 3 == 1) ((float *)x.p)[i] = -INFINITY;
    }
    float *want = malloc(n * 4), *src = malloc(n * 4), top = -INFINITY;
    memcpy(src, x.p, n * 4);
    memcpy(want, x.p, n * 4);
    for (size_t i = 0; i < n; i++) top = fmaxf(top, src[i]);
    struct gbuf again = copy_of(&x);
    ((eye_softmax_fn *)c->ref->fn)(want, n);
    ((eye_softmax_fn *)c->row->fn)(x.p, n);
    ((eye_softmax_fn *)c->row->fn)(again.p, n);
    gbuf_check(c, &x, "x");
    check_same_bits(c, "the same again", x.p, again.p, n);
    for (size_t i = 0; i < n; i++) {
        double below = isinf(src[i]) ? 0.0 : (double)top - src[i];
        check_close(c, "x", i, want[i], ((float *)x.p)[i],
                    EPS * want[i] * (24.0 + (double)n / 4.0 + below) + 2.0 * (double)FLT_MIN);
    }
    free(src);
    free(want);
    gbuf_free(&x), gbuf_free(&again);
}

void check_eye_softmax_fn(struct check *c) {
    for (size_t n = 1; n != SIZE_MAX; n = next_n(c, n)) softmax_case(c, n, PAT_RANDOM, n & 1 ? 8.0f : 80.0f, n & 2);
    for (int p = 0; p < N_PATTERNS; p++) softmax_case(c, 261, (enum check_pattern)p, 60000.0f, false);
}

/* ---- rope: two products and a sum: 2 eps (|a cos| + |b sin|) ---- */
static void rope_case(struct check *c, size_t d, enum check_pattern p) {
    check_where(c, "d %zu, %s", d, check_pattern_name(p));
    struct gbuf x = gbuf_new(d * 4, 4), co = gbuf_new(d / 2 * 4, 4), si = gbuf_new(d / 2 * 4, 4);
    check_fill(c, p, x.p, d, 1e6f);
    for (size_t i = 0; i < d / 2; i++) {
        float angle = check_uniform(c, -3.2f, 3.2f);
        ((float *)co.p)[i] = cosf(angle), ((float *)si.p)[i] = sinf(angle);
    }
    gbuf_freeze(&co), gbuf_freeze(&si);
    float *want = malloc(d * 4 + 1), *src = malloc(d * 4 + 1);
    memcpy(want, x.p, d * 4);
    memcpy(src, x.p, d * 4);
    struct gbuf again = copy_of(&x);
    ((eye_rope_fn *)c->ref->fn)(want, co.p, si.p, d);
    ((eye_rope_fn *)c->row->fn)(x.p, co.p, si.p, d);
    ((eye_rope_fn *)c->row->fn)(again.p, co.p, si.p, d);
    gbuf_check(c, &x, "x");
    check_same_bits(c, "the same again", x.p, again.p, d);
    for (size_t i = 0; i < d; i++) {
        size_t h = d / 2, j = i % h;
        double mag = fabsf(src[i]) * fabsf(((float *)co.p)[j]) + fabsf(src[(i + h) % d]) * fabsf(((float *)si.p)[j]);
        check_close(c, "x", i, want[i], ((float *)x.p)[i], 2.0 * EPS * mag + (double)FLT_MIN);
    }
    free(src);
    free(want);
    gbuf_free(&x), gbuf_free(&co), gbuf_free(&si), gbuf_free(&again);
}

void check_eye_rope_fn(struct check *c) {
    for (size_t d = 2; d <= 160; d += 2) rope_case(c, d, PAT_RANDOM);
    for (int p = 0; p < N_PATTERNS; p++) rope_case(c, 64, (enum check_pattern)p);
}

/* ---- conversions and quantization: exact ---- */

/* Any bits but NaN, whose payload is nobody's promise. */
static void fill_bits(struct check *c, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)eye_rng_u64(&c->rng);
        if (i % 2) u = (u & 0x80001fff) | (uint32_t)check_between(c, 90, 145) << 23 | (uint32_t)check_below(c, 1024) << 13;
        if (i % 4 == 1) u = (u & ~0x1fffu) | 0x1000u; /* ties of f16 */
        if (i % 8 == 3) u = (u & ~0xffffu) | 0x8000u; /* ties of bf16 */
        memcpy(&x[i], &u, 4);
        if (isnan(x[i])) x[i] = INFINITY;
    }
}

void check_eye_f32_to_u16_fn(struct check *c) {
    for (size_t n = 0; n != SIZE_MAX; n = next_n(c, n)) {
        check_where(c, "n %zu", n);
        struct gbuf x = gbuf_new(n * 4, 4), out = gbuf_new(n * 2, 2);
        uint16_t *want = malloc(n * 2 + 1);
        fill_bits(c, x.p, n);
        if (n == 384) check_fill(c, PAT_DENORMAL, x.p, n, 0.0f);
        gbuf_freeze(&x);
        ((eye_f32_to_u16_fn *)c->ref->fn)(want, x.p, n);
        ((eye_f32_to_u16_fn *)c->row->fn)(out.p, x.p, n);
        gbuf_check(c, &out, "dst");
        for (size_t i = 0; i < n; i++)
            if (want[i] != ((uint16_t *)out.p)[i])
                check_fail(c, "element %zu: %a gives %#x, expected %#x", i, (double)((float *)x.p)[i], ((uint16_t *)out.p)[i],
                           want[i]);
        free(want);
        gbuf_free(&x), gbuf_free(&out);
    }
}

void check_eye_u16_to_f32_fn(struct check *c) {
    for (size_t n = 0; n != SIZE_MAX; n = next_n(c, n)) {
        check_where(c, "n %zu", n);
        struct gbuf x = gbuf_new(n * 2, 2), out = gbuf_new(n * 4, 4);
        float *want = malloc(n * 4 + 1);
        for (size_t i = 0; i < n; i++) {
            uint16_t h = (uint16_t)eye_rng_u64(&c->rng);
            ((uint16_t *)x.p)[i] = (h & 0x7c00) == 0x7c00 ? h & 0xfc00 : h; /* infinities, no NaN */
        }
        gbuf_freeze(&x);
        ((eye_u16_to_f32_fn *)c->ref->fn)(want, x.p, n);
        ((eye_u16_to_f32_fn *)c->row->fn)(out.p, x.p, n);
        gbuf_check(c, &out, "dst");
        check_same_bits(c, "dst", want, out.p, n);
        free(want);
        gbuf_free(&x), gbuf_free(&out);
    }
}

static void quant_case(struct check *c, size_t n, enum check_pattern p) {
    check_where(c, "n %zu, %s", n, check_pattern_name(p));
    struct gbuf x = input(c, p, n, 1e10f), q = gbuf_new(n, 1);
    int8_t *want = malloc(n + 1);
    float want_scale = ((eye_quant_i8_fn *)c->ref->fn)(want, x.p, n);
    float scale = ((eye_quant_i8_fn *)c->row->fn)(q.p, x.p, n);
    gbuf_check(c, &q, "q");
    check_same_bits(c, "scale", &want_scale, &scale, 1);
    for (size_t i = 0; i < n; i++)
        if (want[i] != ((int8_t *)q.p)[i])
            check_fail(c, "element %zu: %a gives %d, expected %d (scale %a)", i, (double)((float *)x.p)[i], ((int8_t *)q.p)[i],
                       want[i], (double)scale);
    free(want);
    gbuf_free(&x), gbuf_free(&q);
}

void check_eye_quant_i8_fn(struct check *c) {
    for (size_t n = 0; n != SIZE_MAX; n = next_n(c, n)) quant_case(c, n, n & 1 ? PAT_WIDE : PAT_RANDOM);
    for (int p = 0; p < N_PATTERNS; p++) quant_case(c, 203, (enum check_pattern)p);
}

/* Its result is the number of multiply-adds, so a compiler that did them away would show; 2 x 2 says that it multiplies. */
void check_eye_peak_fn(struct check *c) {
    eye_peak_fn *fn = (eye_peak_fn *)c->row->fn;
    double each = fn(1, 1.0f);
    check_where(c, "%g a round", each);
    if (!(each >= 1) || each != floor(each)) check_fail(c, "no number of multiply-adds");
    static const size_t rounds[] = {0, 2, 7, 1000};
    for (size_t i = 0; i < EYE_COUNT(rounds); i++) {
        check_close(c, "ones", rounds[i], (double)rounds[i] * each, fn(rounds[i], 1.0f), 0);
        check_close(c, "twos", rounds[i], (double)rounds[i] * each * 4, fn(rounds[i], 2.0f), 0);
    }
}
