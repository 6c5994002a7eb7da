/* checkkern: attention scores and value sums, depthwise convolution: sums in a fixed order, against the _ref row with the
 * tolerance of a sum of T products, (T + 2) eps sum|a b|. Also: a row alone, or fewer keys, give the same bits. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tensor/tensor.h"

enum elem { ELEM_F32, ELEM_F16, ELEM_I8 };

static enum elem elem_of(const struct check *c) {
    size_t len = strlen(c->row->op);
    if (strcmp(c->row->op + len - 3, "f32") == 0) return ELEM_F32;
    if (strcmp(c->row->op + len - 3, "f16") == 0) return ELEM_F16;
    if (strcmp(c->row->op + len - 2, "i8") == 0) return ELEM_I8;
    check_fail(c, "the op's name does not end in an element type");
}
static size_t elem_bytes(enum elem e) { return e == ELEM_F32 ? 4 : e == ELEM_F16 ? 2 : 1; }

/* n elements of keys or values, and the same as f32 in x. */
static struct gbuf make_elems(struct check *c, enum elem e, enum check_pattern p, size_t n, float *x) {
    struct gbuf b = gbuf_new(n * elem_bytes(e), elem_bytes(e));
    check_fill(c, p, x, n, e == ELEM_I8 ? 127.0f : 1000.0f);
    for (size_t i = 0; i < n; i++) {
        if (e == ELEM_F32) ((float *)b.p)[i] = x[i];
        if (e == ELEM_F16) ((uint16_t *)b.p)[i] = eye_f32_to_f16(x[i]), x[i] = eye_f16_to_f32(((uint16_t *)b.p)[i]);
        if (e == ELEM_I8) {
            int v = p == PAT_RANDOM ? (int)check_below(c, 256) - 128 : (int)x[i];
            ((int8_t *)b.p)[i] = (int8_t)v, x[i] = (float)v;
        }
    }
    gbuf_freeze(&b);
    return b;
}

static void qk_case(struct check *c, size_t m, size_t d, size_t n_keys, enum check_pattern pq, enum check_pattern pk) {
    eye_attn_qk_fn *fn = (eye_attn_qk_fn *)c->row->fn, *ref = (eye_attn_qk_fn *)c->ref->fn;
    check_where(c, "m %zu d %zu n_keys %zu, q %s, k %s", m, d, n_keys, check_pattern_name(pq), check_pattern_name(pk));
    const size_t lanes = EYE_ATTN_LANES, n_pad = (n_keys + lanes - 1) / lanes * lanes;
    const float scale = 0.125f;
    size_t q_stride = d + check_below(c, 3), s_stride = n_pad + check_below(c, 3);
    struct gbuf q = gbuf_new(((m - 1) * q_stride + d) * 4, 4), s = gbuf_new(((m - 1) * s_stride + n_pad) * 4, 4);
    check_fill(c, pq, q.p, q.bytes / 4, 1000.0f);
    gbuf_freeze(&q);
    float *x = malloc(n_pad * d * 4 + 1), *want = malloc(m * (n_pad + 1) * 4);
    struct gbuf k = make_elems(c, elem_of(c), pk, n_pad * d, x);
    ref(m, d, n_keys, q.p, q_stride, k.p, scale, want, n_pad);
    fn(m, d, n_keys, q.p, q_stride, k.p, scale, s.p, s_stride);
    gbuf_check(c, &s, "s");
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n_keys; j++) {
            double mag = 0.0;
            for (size_t e = 0; e < d; e++)
                mag += fabs((double)((float *)q.p)[i * q_stride + e] * x[(j / lanes * d + e) * lanes + j % lanes]);
            check_close(c, "s", i * n_keys + j, want[i * n_pad + j], ((float *)s.p)[i * s_stride + j],
                        ((double)d + 2.0) * (double)FLT_EPSILON * mag * scale + (double)FLT_MIN);
        }
        if (i + 1 < m && !gbuf_untouched((float *)s.p + i * s_stride + n_pad, (s_stride - n_pad) * 4))
            check_fail(c, "wrote between rows of s");
    }
    /* one row, fewer keys: a step sees the same scores as the prefill did */
    size_t i = check_below(c, m), fewer = check_between(c, 1, n_keys);
    struct gbuf one = gbuf_new((fewer + lanes - 1) / lanes * lanes * 4, 4);
    fn(1, d, fewer, (float *)q.p + i * q_stride, q_stride, k.p, scale, one.p, n_pad);
    gbuf_check(c, &one, "s (one row)");
    check_same_bits(c, "row alone, fewer keys", (float *)s.p + i * s_stride, one.p, fewer);
    free(want);
    free(x);
    gbuf_free(&q), gbuf_free(&s), gbuf_free(&k), gbuf_free(&one);
}

void check_eye_attn_qk_fn(struct check *c) {
    size_t most = c->quick ? 20 : 70;
    for (size_t n = 1; n <= most; n++) qk_case(c, check_between(c, 1, 9), check_between(c, 1, 80), n, PAT_RANDOM, PAT_RANDOM);
    for (size_t m = 1; m <= 17; m++) qk_case(c, m, 64, check_between(c, 1, 130), PAT_RANDOM, PAT_RANDOM);
    for (size_t d = 1; d <= 40; d++) qk_case(c, 3, d, 33, PAT_WIDE, PAT_RANDOM);
    for (int a = 0; a < N_PATTERNS; a++)
        for (int b = 0; b < N_PATTERNS; b++) qk_case(c, 5, 32, 40, (enum check_pattern)a, (enum check_pattern)b);
    qk_case(c, 16, 128, 1000, PAT_RANDOM, PAT_RANDOM);
}

static void pv_case(struct check *c, size_t m, size_t d, size_t n_keys, enum check_pattern pp, enum check_pattern pv) {
    eye_attn_pv_fn *fn = (eye_attn_pv_fn *)c->row->fn, *ref = (eye_attn_pv_fn *)c->ref->fn;
    check_where(c, "m %zu d %zu n_keys %zu, p %s, v %s", m, d, n_keys, check_pattern_name(pp), check_pattern_name(pv));
    size_t p_stride = n_keys + check_below(c, 3), v_stride = d + check_below(c, 3), o_stride = d + check_below(c, 3);
    size_t n_v = (n_keys - 1) * v_stride + d;
    struct gbuf p = gbuf_new(((m - 1) * p_stride + n_keys) * 4, 4), out = gbuf_new(((m - 1) * o_stride + d) * 4, 4);
    check_fill(c, pp, p.p, p.bytes / 4, 1.0f);
    gbuf_freeze(&p);
    float *x = malloc(n_v * 4), *want = malloc(m * d * 4);
    struct gbuf v = make_elems(c, elem_of(c), pv, n_v, x);
    ref(m, d, n_keys, p.p, p_stride, v.p, v_stride, want, d, false);
    fn(m, d, n_keys, p.p, p_stride, v.p, v_stride, out.p, o_stride, false);
    gbuf_check(c, &out, "out");
    for (size_t i = 0; i < m; i++) {
        for (size_t e = 0; e < d; e++) {
            double mag = 0.0;
            for (size_t j = 0; j < n_keys; j++) mag += fabs((double)((float *)p.p)[i * p_stride + j] * x[j * v_stride + e]);
            check_close(c, "out", i * d + e, want[i * d + e], ((float *)out.p)[i * o_stride + e],
                        ((double)n_keys + 2.0) * (double)FLT_EPSILON * mag + (double)FLT_MIN);
        }
        if (i + 1 < m && !gbuf_untouched((float *)out.p + i * o_stride + d, (o_stride - d) * 4))
            check_fail(c, "wrote between rows of out");
    }
    size_t i = check_below(c, m), cut = check_between(c, 1, n_keys); /* one row, its keys in two calls */
    size_t elem = elem_bytes(elem_of(c));
    struct gbuf one = gbuf_new(d * 4, 4);
    const float *row = (float *)p.p + i * p_stride;
    fn(1, d, cut, row, p_stride, v.p, v_stride, one.p, d, false);
    if (cut < n_keys)
        fn(1, d, n_keys - cut, row + cut, p_stride, (char *)v.p + cut * v_stride * elem, v_stride, one.p, d, true);
    gbuf_check(c, &one, "out (one row)");
    check_same_bits(c, "row alone", (float *)out.p + i * o_stride, one.p, d);
    free(want);
    free(x);
    gbuf_free(&p), gbuf_free(&out), gbuf_free(&v), gbuf_free(&one);
}

void check_eye_attn_pv_fn(struct check *c) {
    for (size_t n = 1; n <= (c->quick ? 10u : 40u); n++)
        pv_case(c, check_between(c, 1, 9), check_between(c, 1, 80), n, PAT_RANDOM, PAT_RANDOM);
    for (size_t m = 1; m <= 17; m++) pv_case(c, m, 64, check_between(c, 1, 130), PAT_RANDOM, PAT_RANDOM);
    for (size_t d = 1; d <= 140; d += c->quick ? 9 : 1) pv_case(c, 3, d, 33, PAT_WIDE, PAT_RANDOM);
    for (int a = 0; a < N_PATTERNS; a++)
        for (int b = 0; b < N_PATTERNS; b++) pv_case(c, 5, 32, 40, (enum check_pattern)a, (enum check_pattern)b);
    pv_case(c, 16, 128, 1000, PAT_RANDOM, PAT_RANDOM);
}

/* ---- bf16 ---- */

struct bf16_case {
    struct eye_attn_bf16_args a;
    struct gbuf q, k, v, out;
};

static float number(uint16_t x) { return eye_bf16_to_f32(x); }

/* n numbers of bf16, denormals as zeros: vdpbf16ps takes them for such. */
static void fill_bf16(struct check *c, enum check_pattern p, uint16_t *dst, size_t n, float max) {
    float *x = malloc(n * 4);
    check_fill(c, p, x, n, max);
    for (size_t i = 0; i < n; i++) dst[i] = eye_f32_to_bf16(fabsf(x[i]) < FLT_MIN ? 0 : x[i]);
    free(x);
}

/* rising: keys grow with their index up to that factor. */
static struct bf16_case make_bf16(struct check *c, size_t m, size_t d, size_t n_keys, enum check_pattern p, float max,
                                  float rising) {
    size_t n_pad = (n_keys + EYE_ATTN_LANES - 1) / EYE_ATTN_LANES * EYE_ATTN_LANES, n_pairs = (n_keys + 1) / 2;
    struct bf16_case b = {.a = {.m = m, .d = d, .n_keys = n_keys, .scale = 0.125f, .q_stride = d + check_below(c, 3),
                                .out_stride = d + check_below(c, 3)}};
    b.q = gbuf_new(((m - 1) * b.a.q_stride + d) * 4, 4), b.out = gbuf_new(((m - 1) * b.a.out_stride + d) * 4, 4);
    b.k = gbuf_new(n_pad * d * 2, 2), b.v = gbuf_new(n_pairs * d * 4, 4);
    check_fill(c, p, b.q.p, b.q.bytes / 4, max);
    uint16_t *k = b.k.p, *v = b.v.p;
    fill_bf16(c, p, k, n_keys * d, max), fill_bf16(c, p, v, n_pairs * d * 2, max);
    for (size_t i = 0; rising > 1 && i < n_keys * d; i++)
        k[i] = eye_f32_to_bf16(number(k[i]) * (1 + (rising - 1) * (float)(i / d) / (float)n_keys));
    for (size_t i = n_keys * d; i < n_pad * d; i++) k[i] = 0x7fc0; /* NaN: read at most */
    for (size_t e = 0; n_keys % 2 && e < d; e++) v[2 * (n_keys / 2 * d + e) + 1] = 0;
    gbuf_freeze(&b.q), gbuf_freeze(&b.k), gbuf_freeze(&b.v);
    b.a.q = b.q.p, b.a.k = k, b.a.v = v, b.a.out = b.out.p;
    return b;
}
static void free_bf16(struct bf16_case *b) { gbuf_free(&b->q), gbuf_free(&b->k), gbuf_free(&b->v), gbuf_free(&b->out); }

/* Largest error of a score to base 2: sum of d products and a start of no larger size in f32, scale included in q. */
static double score_error(const struct eye_attn_bf16_args *a, size_t i) {
    double most = 0.0;
    float by = a->scale * 1.44269504088896341f;
    for (size_t j = 0; j < a->n_keys; j++) {
        double mag = 0.0;
        for (size_t e = 0; e < a->d; e++) {
            float q = number(eye_f32_to_bf16(a->q[i * a->q_stride + e] * by));
            mag += fabs((double)q * number(a->k[j * a->d + e]));
        }
        most = fmax(most, mag);
    }
    return (double)(a->d + 3) * (double)FLT_EPSILON * (2 * most + 1) + (double)(2 * a->d + 2) * (double)FLT_MIN;
}

/* Exponentials p are off by factors 1 + f_j: ln 2 times the score's error, the polynomial's, 2^-8 of their rounding. So a
 * mean is off by sum p_j f_j (v_j - mean) / sum p_j (1 + f_j), and by n + 2 additions' rounding in both sums. The reference
 * gives means of |v_j - mean| as well, row by row. p below 2^-126 may be 0. */
static void close_bf16(struct check *c, const struct bf16_case *b, const float *want) {
    const struct eye_attn_bf16_args *a = &b->a;
    size_t n_v = (a->n_keys + 1) / 2 * a->d * 2;
    uint16_t *v = malloc(n_v * 2);
    float *spread = malloc(a->d * 4), most = 0.0f;
    for (size_t i = 0; i < n_v; i++) most = fmaxf(most, fabsf(number(a->v[i])));
    for (size_t i = 0; i < a->m; i++) {
        struct eye_attn_bf16_args with = *a;
        for (size_t j = 0; j < n_v; j++) v[j] = eye_f32_to_bf16(fabsf(number(a->v[j]) - want[i * a->d + j / 2 % a->d]));
        with.m = 1, with.q += i * a->q_stride, with.v = v, with.out = spread;
        ((eye_attn_bf16_fn *)c->ref->fn)(&with);
        double f = exp2(score_error(a, i)) - 1 + 1e-4 + 0x1p-8, sums = 2 * ((double)a->n_keys + 2) * (double)FLT_EPSILON;
        if (f > 0.25) check_fail(c, "scores too large for a bound");
        for (size_t e = 0; e < a->d; e++) {
            double w = want[i * a->d + e], off = (double)spread[e] * (1 + 0x1p-8);
            check_close(c, "out", i * a->d + e, w, a->out[i * a->out_stride + e],
                        f / (1 - f) * off + sums * (1 + f) * (off + fabs(w)) +
                            (double)a->n_keys * 4 * (double)FLT_MIN * (1 + (double)most));
        }
        if (i + 1 < a->m && !gbuf_untouched(a->out + i * a->out_stride + a->d, (a->out_stride - a->d) * 4))
            check_fail(c, "wrote between rows of out");
    }
    free(v);
    free(spread);
}

static void bf16_case(struct check *c, size_t m, size_t d, size_t n_keys, enum check_pattern p, float max, float rising) {
    eye_attn_bf16_fn *fn = (eye_attn_bf16_fn *)c->row->fn;
    check_where(c, "m %zu d %zu n_keys %zu, %s of %g, keys rising by %g", m, d, n_keys, check_pattern_name(p), (double)max,
                (double)rising);
    struct bf16_case b = make_bf16(c, m, d, n_keys, p, max, rising);
    float *want = malloc(m * d * 4);
    struct eye_attn_bf16_args ref = b.a;
    ref.out = want, ref.out_stride = d;
    ((eye_attn_bf16_fn *)c->ref->fn)(&ref);
    fn(&b.a);
    gbuf_check(c, &b.out, "out");
    close_bf16(c, &b, want);
    size_t i = check_below(c, m); /* a row alone */
    struct gbuf one = gbuf_new(d * 4, 4);
    struct eye_attn_bf16_args alone = b.a;
    alone.m = 1, alone.q += i * b.a.q_stride, alone.out = one.p;
    fn(&alone);
    gbuf_check(c, &one, "out (one row)");
    check_same_bits(c, "row alone", b.a.out + i * b.a.out_stride, one.p, d);
    free(want);
    gbuf_free(&one);
    free_bf16(&b);
}

/* Scores so large that f32 does not know which is the largest: some mean of the values all the same. */
static void bf16_huge(struct check *c, enum check_pattern p) {
    check_where(c, "%s of 1000: a mean", check_pattern_name(p));
    struct bf16_case b = make_bf16(c, 20, 32, 77, p, 1000.0f, 1);
    ((eye_attn_bf16_fn *)c->row->fn)(&b.a);
    for (size_t e = 0; e < b.a.d; e++) {
        float least = INFINITY, most = -INFINITY;
        for (size_t j = 0; j < b.a.n_keys; j++) {
            float v = number(b.a.v[2 * (j / 2 * b.a.d + e) + j % 2]);
            least = fminf(least, v), most = fmaxf(most, v);
        }
        double mid = ((double)least + (double)most) / 2, room = ((double)most - (double)least) / 2;
        room += 0x1p-7 * fmax(fabs((double)least), fabs((double)most)) + (double)FLT_MIN;
        for (size_t i = 0; i < b.a.m; i++) check_close(c, "out", i * b.a.d + e, mid, b.a.out[i * b.a.out_stride + e], room);
    }
    free_bf16(&b);
}

void check_eye_attn_bf16_fn(struct check *c) {
    for (size_t n = 1; n <= (c->quick ? 20u : 70u); n++)
        bf16_case(c, check_between(c, 1, EYE_ATTN_BF16_ROWS), 2 * check_between(c, 1, 40), n, PAT_RANDOM, 1, 1);
    for (size_t m = 1; m <= EYE_ATTN_BF16_ROWS; m++) bf16_case(c, m, 64, check_between(c, 1, 300), PAT_RANDOM, 1, 1);
    for (size_t d = 2; d <= EYE_ATTN_BF16_D; d += c->quick ? 18 : 2) bf16_case(c, 3, d, 33, PAT_RANDOM, 1, 1);
    for (int p = 0; p < N_PATTERNS; p++) {
        bf16_case(c, 5, 32, 40, (enum check_pattern)p, 4, 1);
        bf16_huge(c, (enum check_pattern)p);
    }
    for (float by = 10; by < 2000; by *= 5) bf16_case(c, 20, 32, 300, PAT_RANDOM, 1, by); /* low rises */
    bf16_case(c, EYE_ATTN_BF16_ROWS, EYE_ATTN_BF16_D, 1000, PAT_RANDOM, 1, 1);
}

/* ---- depthwise convolution ---- */

enum { MAX_KH = 7 };

static void dwconv_case(struct check *c, struct eye_dwconv_args a, enum check_pattern px, enum check_pattern pw) {
    eye_dwconv_fn *fn = (eye_dwconv_fn *)c->row->fn, *ref = (eye_dwconv_fn *)c->ref->fn;
    size_t c_out = (size_t)a.channels_in * a.mult, taps = (size_t)a.kh * a.kw, n_out = a.width_out * c_out;
    struct gbuf in[MAX_KH], w = gbuf_new(taps * c_out * 4, 4), b = gbuf_new(c_out * 4, 4), out = gbuf_new(n_out * 4, 4);
    struct gbuf again = gbuf_new(n_out * 4, 4);
    const float *rows[MAX_KH], *abs_rows[MAX_KH];
    check_where(c, "width %u->%u, channels %u x%u, kernel %ux%u stride %u pad %u%s, x %s, w %s", a.width_in, a.width_out,
                a.channels_in, a.mult, a.kh, a.kw, a.stride, a.pad_left, a.bias ? ", bias" : "", check_pattern_name(px),
                check_pattern_name(pw));
    check_fill(c, pw, w.p, taps * c_out, 100.0f);
    check_fill(c, PAT_RANDOM, b.p, c_out, 1.0f);
    float *abs_w = malloc(taps * c_out * 4), *abs_b = malloc(c_out * 4);
    for (size_t i = 0; i < taps * c_out; i++) abs_w[i] = fabsf(((float *)w.p)[i]);
    for (size_t i = 0; i < c_out; i++) abs_b[i] = fabsf(((float *)b.p)[i]);
    for (size_t y = 0; y < a.kh; y++) {
        size_t n = (size_t)a.width_in * a.channels_in;
        in[y] = gbuf_new(n * 4, 4);
        check_fill(c, px, in[y].p, n, 100.0f);
        gbuf_freeze(&in[y]);
        float *mag = malloc(n * 4);
        for (size_t i = 0; i < n; i++) mag[i] = fabsf(((float *)in[y].p)[i]);
        bool padding = check_below(c, 4) == 0;
        rows[y] = padding ? NULL : in[y].p;
        abs_rows[y] = mag;
    }
    gbuf_freeze(&w), gbuf_freeze(&b);
    float *want = malloc(n_out * 4), *mag = malloc(n_out * 4);
    const float *bias = a.bias ? b.p : NULL;
    a.rows = rows, a.w = w.p, a.bias = bias;
    a.out = want, ref(&a);
    a.out = again.p, fn(&a);
    a.out = out.p, fn(&a);
    gbuf_check(c, &out, "out");
    check_same_bits(c, "the same again", out.p, again.p, n_out);
    /* sum of magnitudes by the reference itself, fed absolute values (padding rows only add to the bound) */
    a.rows = abs_rows, a.w = abs_w, a.bias = bias ? abs_b : NULL, a.out = mag, ref(&a);
    for (size_t i = 0; i < n_out; i++)
        check_close(c, "out", i, want[i], ((float *)out.p)[i],
                    ((double)taps + 3.0) * (double)FLT_EPSILON * mag[i] + (double)FLT_MIN);
    for (size_t y = 0; y < a.kh; y++) gbuf_free(&in[y]), free((void *)abs_rows[y]);
    free(abs_w), free(abs_b), free(want), free(mag);
    gbuf_free(&w), gbuf_free(&b), gbuf_free(&out), gbuf_free(&again);
}

void check_eye_dwconv_fn(struct check *c) {
    static const uint32_t kernels[] = {3, 7, 5, 1, 3}, channels[] = {96, 384, 17};
    static const float any_bias = 0.0f; /* only "there is one" */
    uint32_t n_widths = c->quick ? 12 : 40;
    for (uint32_t i = 0; i < 6 * n_widths; i++) {
        struct eye_dwconv_args a = {.kh = kernels[i % 5], .kw = kernels[i % 5], .stride = 1 + i % 2, .mult = 1 + i / 2 % 2,
                                    .width_in = 1 + i / 6, .channels_in = (uint32_t)check_between(c, 1, 70)};
        if (i % 9 == 0) a.channels_in = channels[i % 3];
        a.pad_left = a.kw / 2;
        a.width_out = (a.width_in + 2 * a.pad_left - a.kw) / a.stride + 1;
        a.bias = i % 3 ? &any_bias : NULL;
        enum check_pattern px = (enum check_pattern)(i % N_PATTERNS), pw = (enum check_pattern)(i / N_PATTERNS % N_PATTERNS);
        dwconv_case(c, a, i % 4 ? PAT_RANDOM : px, i % 4 ? PAT_RANDOM : pw);
    }
}

static double largest(enum check_pattern p) { return p == PAT_RANDOM || p == PAT_ONE_HOT ? 1.0 : 101.0; }

enum { ROWS_BF16 = 19 }; /* more than two tiles */

/* 49 subnormals, each times the largest of the other factor, and as many products. */
static double lost(enum check_pattern px, enum check_pattern pw) {
    return 49.0 * (double)FLT_MIN * (1.0 + largest(px) + largest(pw));
}

/* The same results as part of a left side: rounded, subnormals perhaps to zero, in their places and nowhere else. */
static void dwconv_bf16_packed(struct check *c, eye_dwconv_bf16_fn *fn, struct eye_dwconv_bf16_args a, const float *out) {
    size_t n = (size_t)a.n_rows * a.width_out, channels = a.channels;
    a.mr = (uint32_t)check_between(c, 1, 16);
    a.lhs_row = check_below(c, 40);
    a.lhs_rows = a.lhs_row + n + check_below(c, 20);
    struct gbuf lhs = gbuf_new(a.lhs_rows * channels * 2, 64);
    a.out = NULL, a.lhs = lhs.p, fn(&a);
    gbuf_check(c, &lhs, "left side");
    for (size_t i = 0; i < a.lhs_rows * channels; i++) {
        size_t first = i / channels / a.mr * a.mr, m = a.lhs_rows - first < a.mr ? a.lhs_rows - first : a.mr;
        size_t in = i - first * channels, row = first + in / 32 % m, e = in / 32 / m * 32 + in % 32;
        const uint16_t *got = (const uint16_t *)lhs.p + i;
        if (row < a.lhs_row || row >= a.lhs_row + n) {
            if (!gbuf_untouched(got, 2)) check_fail(c, "left side: row %zu, element %zu was written", row, e);
            continue;
        }
        float want = out[(row - a.lhs_row) * channels + e];
        if (*got == eye_f32_to_bf16(want) || (fabsf(want) < FLT_MIN && eye_bf16_to_f32(*got) == 0)) continue;
        check_fail(c, "left side: row %zu, element %zu: %g, want %g", row, e, (double)eye_bf16_to_f32(*got), (double)want);
    }
    gbuf_free(&lhs);
}

/* Sums of the products of rounded numbers; inputs, weights and products that are subnormal may count as zeros. Rows in calls of
 * their own have the same bits. */
static void dwconv_bf16_case(struct check *c, struct eye_dwconv_bf16_args a, enum check_pattern px, enum check_pattern pw) {
    enum { K = EYE_DW_BF16_K, TAPS = K * K };
    eye_dwconv_bf16_fn *fn = (eye_dwconv_bf16_fn *)c->row->fn, *ref = (eye_dwconv_bf16_fn *)c->ref->fn;
    const float *rows[ROWS_BF16 + K - 1], *abs_rows[ROWS_BF16 + K - 1];
    size_t n_in = (size_t)a.width_in * a.channels, n_row = (size_t)a.width_out * a.channels, n_out = a.n_rows * n_row;
    struct gbuf in[ROWS_BF16 + K - 1], w = gbuf_new(TAPS * a.channels * 4, 4), b = gbuf_new(a.channels * 4, 4);
    struct gbuf out = gbuf_new(n_out * 4, 4), alone = gbuf_new(n_row * 4, 4);
    float *abs_w = malloc(TAPS * a.channels * 4), *abs_b = malloc(a.channels * 4);
    float *want = malloc(n_out * 4), *mag = malloc(n_out * 4);
    check_where(c, "rows %u odd %u, width %u->%u, channels %u, pad %u%s, x %s, w %s", a.n_rows, a.odd, a.width_in, a.width_out,
                a.channels, a.pad_left, a.bias ? ", bias" : "", check_pattern_name(px), check_pattern_name(pw));
    check_fill(c, pw, w.p, TAPS * a.channels, 100.0f);
    check_fill(c, PAT_RANDOM, b.p, a.channels, 1.0f);
    for (size_t i = 0; i < TAPS * a.channels; i++) abs_w[i] = fabsf(((float *)w.p)[i]);
    for (size_t i = 0; i < a.channels; i++) abs_b[i] = fabsf(((float *)b.p)[i]);
    for (size_t y = 0; y < a.n_rows + K - 1; y++) {
        in[y] = gbuf_new(n_in * 4, 4);
        check_fill(c, px, in[y].p, n_in, 100.0f);
        gbuf_freeze(&in[y]);
        float *m = malloc(n_in * 4);
        for (size_t i = 0; i < n_in; i++) m[i] = fabsf(((float *)in[y].p)[i]);
        rows[y] = check_below(c, 4) ? in[y].p : NULL, abs_rows[y] = m;
    }
    gbuf_freeze(&w), gbuf_freeze(&b);
    const float *bias = a.bias ? b.p : NULL;
    a.rows = rows, a.w = w.p, a.bias = bias;
    a.out = want, ref(&a);
    a.out = out.p, fn(&a);
    gbuf_check(c, &out, "out");
    if (a.channels % 32 == 0) dwconv_bf16_packed(c, fn, a, out.p);
    for (uint32_t y = 0; y < a.n_rows; y++) {
        struct eye_dwconv_bf16_args one = a;
        one.rows = rows + y, one.n_rows = 1, one.odd = (a.odd + y) % 2, one.out = alone.p;
        fn(&one);
        gbuf_check(c, &alone, "a row alone");
        check_same_bits(c, "a row alone", (float *)out.p + y * n_row, alone.p, n_row);
    }
    a.rows = abs_rows, a.w = abs_w, a.bias = bias ? abs_b : NULL, a.out = mag, ref(&a); /* padding only adds to the bound */
    for (size_t i = 0; i < n_out; i++)
        check_close(c, "out", i, want[i], ((float *)out.p)[i], (TAPS + 5.0) * (double)FLT_EPSILON * mag[i] + lost(px, pw));
    for (size_t y = 0; y < a.n_rows + K - 1; y++) gbuf_free(&in[y]), free((void *)abs_rows[y]);
    free(abs_w), free(abs_b), free(want), free(mag);
    gbuf_free(&w), gbuf_free(&b), gbuf_free(&out), gbuf_free(&alone);
}

void check_eye_dwconv_bf16_fn(struct check *c) {
    static const float any_bias = 0.0f; /* only "there is one" */
    uint32_t n_widths = c->quick ? 16 : 70;
    for (uint32_t i = 0; i < 2 * n_widths; i++) {
        struct eye_dwconv_bf16_args a = {.n_rows = (uint32_t)check_between(c, 1, ROWS_BF16), .odd = i / 2 % 2,
                                         .width_in = 1 + i / 2, .pad_left = i % 5 ? 3 : 0,
                                         .channels = i % 7 ? (uint32_t)check_between(c, 1, 40) : 96};
        if (a.width_in + 2 * a.pad_left < EYE_DW_BF16_K) a.pad_left = 3;
        a.width_out = a.width_in + 2 * a.pad_left - EYE_DW_BF16_K + 1;
        a.bias = i % 3 ? &any_bias : NULL;
        enum check_pattern px = (enum check_pattern)(i % N_PATTERNS), pw = (enum check_pattern)(i / N_PATTERNS % N_PATTERNS);
        dwconv_bf16_case(c, a, i % 4 ? PAT_RANDOM : px, i % 4 ? PAT_RANDOM : pw);
    }
}
