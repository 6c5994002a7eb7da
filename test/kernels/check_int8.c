/* checkkern: static int8 kernels. Their contract is exact (integer sums, one fused step to f32), so every version must give the
 * bits of the plain C one; and the plain C one is compared with sums in 64-bit integers here. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* Bytes of one kind: any, or all at an end of the range, where sums in 16 bits would overflow; or as weights are, small. */
enum bytes { ANY, LOW, HIGH, ENDS, N_BYTES, USUAL = N_BYTES };
static const char *const bytes_name[] = {"any", "low", "high", "ends", "usual"};

static void fill_bytes(struct check *c, enum bytes kind, uint8_t *p, size_t n, uint8_t low, uint8_t high) {
    for (size_t i = 0; i < n; i++) {
        uint8_t any = (uint8_t)eye_rng_u64(&c->rng);
        p[i] = kind == LOW ? low : kind == HIGH ? high : kind == ENDS ? (any & 1 ? high : low) : any;
        if (kind == USUAL) p[i] = (uint8_t)((int)check_below(c, 86) + (int)check_below(c, 86) + (int)check_below(c, 86) - 128);
    }
}

/* ---- GEMM ---- */

struct gemm_case {
    size_t m, n, k, a_stride, c_stride;
    struct gbuf a, w, packed, scale, bias;
    bool wide;  /* a is i16, as large as sums allow */
    bool split; /* panels */
};

enum side { BYTES, WIDE, SPLIT };

static int widest(size_t k) { return (int)EYE_MIN(INT32_MAX / 127 / k, (size_t)INT16_MAX); }

static void fill_a(struct check *c, struct gemm_case *g, enum bytes kind) {
    size_t n = (g->m - 1) * g->a_stride + g->k;
    int top = widest(g->k);
    g->a = gbuf_new(n * (g->wide ? 2 : 1), g->wide ? 2 : 1);
    if (!g->wide) fill_bytes(c, kind, g->a.p, n, 0, 255);
    for (size_t i = 0; g->wide && i < n; i++) {
        int any = (int)check_below(c, 2 * (size_t)top + 1) - top;
        ((int16_t *)g->a.p)[i] = (int16_t)(kind == LOW ? -top : kind == HIGH ? top : kind == ENDS ? (any & 1 ? top : -top) : any);
    }
}

static void split_panels(struct check *c, struct gemm_case *g) {
    size_t panel = eye_i8_panel_bytes(g->k), split = eye_i8_split_bytes(g->k), n = (g->n + EYE_I8_NR - 1) / EYE_I8_NR;
    struct gbuf to = gbuf_new(n * split, 64);
    for (size_t i = 0; i < n; i++) eye_i8_split_panel(g->k, (uint8_t *)g->packed.p + i * panel, (uint8_t *)to.p + i * split);
    gbuf_check(c, &to, "the split panels");
    gbuf_free(&g->packed);
    g->packed = to;
}

static void make_gemm(struct check *c, struct gemm_case *g, enum bytes ka, enum bytes kw) {
    g->a_stride = g->k + check_below(c, 5);
    g->c_stride = g->n + check_below(c, 5);
    fill_a(c, g, ka);
    g->w = gbuf_new(g->n * g->k, 1);
    fill_bytes(c, kw, g->w.p, g->w.bytes, g->wide ? 0x81 : 0x80, 0x7f);
    for (size_t i = 0; g->wide && i < g->w.bytes; i++) /* -128 is not used, and would overflow */
        if (((int8_t *)g->w.p)[i] == -128) ((int8_t *)g->w.p)[i] = -127;
    g->scale = gbuf_new(g->n * 4, 4);
    g->bias = gbuf_new(g->n * 4, 4);
    check_fill(c, PAT_RANDOM, g->scale.p, g->n, 1.0f);
    check_fill(c, PAT_WIDE, g->bias.p, g->n, 1e6f);
    size_t panel = eye_i8_panel_bytes(g->k);
    g->packed = gbuf_new((g->n + EYE_I8_NR - 1) / EYE_I8_NR * panel, 64);
    for (size_t j = 0; j < g->n; j += EYE_I8_NR)
        eye_i8_pack_panel(EYE_MIN(g->n - j, EYE_I8_NR), g->k, (int8_t *)g->w.p + j * g->k, g->k,
                          (uint8_t *)g->packed.p + j / EYE_I8_NR * panel);
    gbuf_check(c, &g->packed, "the panels");
    if (g->split) split_panels(c, g);
    gbuf_freeze(&g->a), gbuf_freeze(&g->packed), gbuf_freeze(&g->scale), gbuf_freeze(&g->bias);
}

static float expected(const struct gemm_case *g, size_t i, size_t j) {
    int64_t sum = 0;
    for (size_t e = 0; e < g->k; e++) {
        size_t at = i * g->a_stride + e;
        sum += (g->wide ? ((int16_t *)g->a.p)[at] : ((uint8_t *)g->a.p)[at]) * ((int8_t *)g->w.p)[j * g->k + e];
    }
    return fmaf((float)sum, ((float *)g->scale.p)[j], ((float *)g->bias.p)[j]);
}

static void gemm_case(struct check *c, enum side side, size_t m, size_t n, size_t k, enum bytes ka, enum bytes kw) {
    struct gemm_case g = {.m = m, .n = n, .k = k, .wide = side == WIDE, .split = side == SPLIT};
    check_where(c, "m %zu n %zu k %zu, a %s, w %s", m, n, k, bytes_name[ka], bytes_name[kw]);
    make_gemm(c, &g, ka, kw);
    struct gbuf out = gbuf_new(((m - 1) * g.c_stride + n) * 4, 4);
    struct eye_gemm_i8_args a = {.m = m, .n = n, .k = k, .a = g.a.p, .a_stride = g.a_stride, .w = g.packed.p, .scale = g.scale.p,
                                 .bias = g.bias.p, .c = out.p, .c_stride = g.c_stride};
    ((eye_gemm_i8_fn *)c->row->fn)(&a);
    gbuf_check(c, &out, "c");
    for (size_t i = 0; i < m; i++) {
        const float *row = (float *)out.p + i * g.c_stride;
        for (size_t j = 0; j < n; j++) {
            float want = expected(&g, i, j);
            check_same_bits(c, "c", &want, &row[j], 1);
        }
        if (i + 1 < m && !gbuf_untouched(row + n, (g.c_stride - n) * 4)) check_fail(c, "wrote between rows of c");
    }
    gbuf_free(&g.a), gbuf_free(&g.w), gbuf_free(&g.packed), gbuf_free(&g.scale), gbuf_free(&g.bias), gbuf_free(&out);
}

static void gemm_cases(struct check *c, enum side side) {
    for (size_t m = 1; m <= 27; m++) gemm_case(c, side, m, check_between(c, 1, 70), check_between(c, 1, 40), ANY, ANY);
    for (size_t n = 1; n <= 70; n += c->quick ? 7 : 1)
        gemm_case(c, side, check_between(c, 1, 14), n, check_between(c, 1, 40), ANY, ANY);
    for (size_t k = 1; k <= 70; k += c->quick ? 7 : 1)
        gemm_case(c, side, check_between(c, 1, 14), check_between(c, 1, 40), k, ANY, ANY);
    for (int ka = 0; ka < N_BYTES; ka++)
        for (int kw = 0; kw < N_BYTES; kw++) gemm_case(c, side, 13, 33, 259, (enum bytes)ka, (enum bytes)kw);
    gemm_case(c, side, 2, 33, EYE_I8_MAX_K, HIGH, LOW);
    gemm_case(c, side, 2, 33, EYE_I8_MAX_K, HIGH, HIGH);
}
/* The bytes of the plain C version. Sums of some thousands, so that most results lie where GELU bends. */
static void gemm_gelu_case(struct check *c, size_t m, size_t n, size_t k) {
    struct gemm_case g = {.m = m, .n = n, .k = k};
    size_t q_stride = n + check_below(c, 5), bytes = (m - 1) * q_stride + n;
    check_where(c, "m %zu n %zu k %zu", m, n, k);
    make_gemm(c, &g, ANY, ANY);
    struct gbuf tile = gbuf_new(((m - 1) * g.c_stride + n) * 4, 4), q = gbuf_new(bytes, 1), fine = gbuf_new(2 * n * 4, 4);
    check_fill(c, PAT_RANDOM, fine.p, 2 * n, 1e-4f);
    uint8_t *want = malloc(bytes);
    struct eye_gemm_i8_gelu_args a = {.gemm = {.m = m, .n = n, .k = k, .a = g.a.p, .a_stride = g.a_stride, .w = g.packed.p,
                                               .scale = fine.p, .bias = (float *)fine.p + n, .c = tile.p,
                                               .c_stride = g.c_stride},
                                      .q = want, .q_stride = q_stride, .q_inv_scale = check_uniform(c, 0.1f, 100.0f),
                                      .q_zero = (float)check_below(c, 256)};
    ((eye_gemm_i8_gelu_fn *)c->ref->fn)(&a);
    a.q = q.p;
    ((eye_gemm_i8_gelu_fn *)c->row->fn)(&a);
    gbuf_check(c, &tile, "c"), gbuf_check(c, &q, "q");
    for (size_t i = 0; i < m; i++) {
        const uint8_t *row = (uint8_t *)q.p + i * q_stride, *same = want + i * q_stride;
        for (size_t j = 0; j < n; j++)
            if (row[j] != same[j]) check_fail(c, "q[%zu][%zu] is %u, expected %u", i, j, row[j], same[j]);
        if (i + 1 < m && !gbuf_untouched(row + n, q_stride - n)) check_fail(c, "wrote between rows of q");
    }
    free(want);
    gbuf_free(&g.a), gbuf_free(&g.w), gbuf_free(&g.packed), gbuf_free(&g.scale), gbuf_free(&g.bias);
    gbuf_free(&tile), gbuf_free(&q), gbuf_free(&fine);
}
void check_eye_gemm_i8_gelu_fn(struct check *c) {
    for (size_t m = 1; m <= 27; m++) gemm_gelu_case(c, m, 32 * check_between(c, 1, 3), 16 * check_between(c, 3, 14));
    for (size_t k = 60; k <= 200; k += c->quick ? 7 : 1) gemm_gelu_case(c, 17, check_between(c, 1, 70), k);
}
void check_eye_gemm_i8_fn(struct check *c) { gemm_cases(c, BYTES); }
/* Panels of the weights that there are, whose rests have room, and of others, which stay whole; several pieces of k. */
void check_eye_gemm_i8_split_fn(struct check *c) {
    gemm_cases(c, SPLIT);
    for (size_t m = 1; m <= 50; m += c->quick ? 7 : 1)
        gemm_case(c, SPLIT, m, check_between(c, 1, 70), check_between(c, 1, 900), ANY, USUAL);
    for (size_t k = 1; k <= 70; k += c->quick ? 7 : 1) gemm_case(c, SPLIT, 25, check_between(c, 1, 40), k, ANY, USUAL);
    for (int ka = 0; ka < N_BYTES; ka++) gemm_case(c, SPLIT, 26, 65, EYE_I8_SPLIT_K + 13, (enum bytes)ka, USUAL);
    gemm_case(c, SPLIT, 2, 33, EYE_I8_MAX_K, HIGH, USUAL);
}
void check_eye_gemm_i16_fn(struct check *c) { gemm_cases(c, WIDE); }

/* ---- depthwise convolution ---- */

enum { MAX_IN_ROWS = 12 };

/* Results of the plain C version and of the one looked at: floats, or bytes. */
static void dwconv_compare(struct check *c, struct eye_dwconv_u8_args a, bool to_bytes) {
    size_t row = (size_t)a.width_out * a.channels_in * a.mult, n = a.n_rows * row;
    struct gbuf out = gbuf_new((to_bytes ? row : n) * 4, 4), q = gbuf_new(to_bytes ? n : 1, 1);
    float *want = malloc(n * 4);
    uint8_t *want_q = malloc(n);
    if (to_bytes) a.q = want_q, a.q_inv_scale = check_uniform(c, 0.01f, 10.0f), a.q_zero = (float)check_below(c, 256);
    a.out = want, ((eye_dwconv_u8_fn *)c->ref->fn)(&a);
    if (to_bytes) a.q = q.p;
    a.out = out.p, ((eye_dwconv_u8_fn *)c->row->fn)(&a);
    gbuf_check(c, &out, "out"), gbuf_check(c, &q, "q");
    for (size_t i = 0; i < n && to_bytes; i++)
        if (want_q[i] != ((uint8_t *)q.p)[i]) check_fail(c, "byte %zu is %u, expected %u", i, ((uint8_t *)q.p)[i], want_q[i]);
    if (!to_bytes) check_same_bits(c, "out", want, out.p, n);
    free(want), free(want_q);
    gbuf_free(&out), gbuf_free(&q);
}

static void dwconv_case(struct check *c, struct eye_dwconv_u8_args a, enum bytes kind) {
    size_t c_out = (size_t)a.channels_in * a.mult, taps = (size_t)a.kh * a.kw, n_in = (a.n_rows - 1) * a.stride + a.kh;
    struct gbuf in[MAX_IN_ROWS], w = gbuf_new(taps * c_out * 4, 4), scale = gbuf_new(c_out * 4, 4), bias = gbuf_new(c_out * 4, 4);
    struct gbuf q = gbuf_new(taps * c_out, 1), panels = gbuf_new(eye_dw_panels_bytes(c_out, a.kh, a.kw), 64);
    const uint8_t *rows[MAX_IN_ROWS];
    check_where(c, "rows %u, width %u->%u, channels %u x%u, kernel %ux%u stride %u, zero %g, bytes %s", a.n_rows, a.width_in,
                a.width_out, a.channels_in, a.mult, a.kh, a.kw, a.stride, (double)a.zero, bytes_name[kind]);
    fill_bytes(c, kind, q.p, q.bytes, 0x80, 0x7f);
    for (size_t i = 0; i < taps * c_out; i++) ((float *)w.p)[i % taps * c_out + i / taps] = ((int8_t *)q.p)[i];
    eye_dw_pack(c_out, a.kh, a.kw, q.p, panels.p);
    gbuf_check(c, &panels, "the panels");
    check_fill(c, PAT_RANDOM, scale.p, c_out, 1.0f);
    check_fill(c, PAT_RANDOM, bias.p, c_out, 1.0f);
    for (size_t y = 0; y < n_in; y++) {
        in[y] = gbuf_new((size_t)a.width_in * a.channels_in, 1);
        fill_bytes(c, kind, in[y].p, in[y].bytes, 0, 255);
        gbuf_freeze(&in[y]);
        rows[y] = check_below(c, 4) == 0 ? NULL : in[y].p;
    }
    gbuf_freeze(&w), gbuf_freeze(&panels), gbuf_freeze(&scale), gbuf_freeze(&bias);
    a.rows = rows, a.w = w.p, a.panels = panels.p, a.scale = scale.p, a.bias = bias.p;
    dwconv_compare(c, a, false);
    dwconv_compare(c, a, true);
    for (size_t y = 0; y < n_in; y++) gbuf_free(&in[y]);
    gbuf_free(&w), gbuf_free(&q), gbuf_free(&panels), gbuf_free(&scale), gbuf_free(&bias);
}

void check_eye_dwconv_u8_fn(struct check *c) {
    static const uint32_t kernels[] = {3, 7, 5, 1, 3}, channels[] = {96, 384, 17, 64, 130};
    for (uint32_t i = 0; i < 6 * (c->quick ? 12u : 40u); i++) {
        struct eye_dwconv_u8_args a = {.kh = kernels[i % 5], .kw = kernels[i % 5], .stride = 1 + i % 2, .mult = 1 + i / 2 % 2,
                                       .n_rows = 1 + i / 5 % 3, .width_in = 1 + i / 6,
                                       .channels_in = (uint32_t)check_between(c, 1, 70)};
        if (i % 9 == 0) a.channels_in = channels[i / 9 % 5];
        if (i % 7 == 0) a.width_in = (uint32_t)check_between(c, 40, 70); /* more than is done at once */
        a.pad_left = a.kw / 2;
        a.width_out = (a.width_in + 2 * a.pad_left - a.kw) / a.stride + 1;
        a.zero = (float)check_below(c, 256);
        dwconv_case(c, a, i % 4 ? ANY : (enum bytes)(i / 4 % N_BYTES));
    }
}

/* ---- element-wise ---- */

static void quant_case(struct check *c, eye_quant_u8_fn *ref, eye_quant_u8_fn *fn, size_t n, enum check_pattern p, float max) {
    float inv_scale = check_uniform(c, 0.01f, 300.0f), zero = (float)check_below(c, 256);
    check_where(c, "n %zu, %s, 1/scale %g, zero %g", n, check_pattern_name(p), (double)inv_scale, (double)zero);
    struct gbuf x = gbuf_new(n * 4, 4), q = gbuf_new(n, 1);
    check_fill(c, p, x.p, n, max);
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0.5f, -0.5f, 1.5f, 1e30f};
    if (p == PAT_RANDOM && n) ((float *)x.p)[check_below(c, n)] = odd[check_below(c, EYE_COUNT(odd))];
    gbuf_freeze(&x);
    uint8_t *want = malloc(n + 1);
    ref(want, x.p, n, inv_scale, zero);
    fn(q.p, x.p, n, inv_scale, zero);
    gbuf_check(c, &q, "q");
    for (size_t i = 0; i < n; i++)
        if (want[i] != ((uint8_t *)q.p)[i])
            check_fail(c, "element %zu: %a gives %u, expected %u", i, (double)((float *)x.p)[i], ((uint8_t *)q.p)[i], want[i]);
    free(want);
    gbuf_free(&x), gbuf_free(&q);
}

static void quant_cases(struct check *c) {
    eye_quant_u8_fn *ref = (eye_quant_u8_fn *)c->ref->fn, *fn = (eye_quant_u8_fn *)c->row->fn;
    for (size_t n = 0; n <= (c->quick ? 40u : 131u); n++) quant_case(c, ref, fn, n, PAT_RANDOM, n % 2 ? 1.0f : 8.0f);
    for (int p = 0; p < N_PATTERNS; p++) quant_case(c, ref, fn, 203, (enum check_pattern)p, 1e10f);
}
void check_eye_quant_u8_fn(struct check *c) { quant_cases(c); }

/* The bytes of the plain C version, which is what it is said to be. */
void check_eye_gelu_u8_fn(struct check *c) {
    quant_cases(c);
    for (float x = -6; x <= 6; x += 1e-3f) {
        uint8_t q;
        double want = (double)x * 0.5 * erfc(-(double)x / sqrt(2)), slack = 0.5 / 40 + 5e-5 * (1 + fabs((double)x)) + 1e-6;
        ((eye_gelu_u8_fn *)c->row->fn)(&q, &x, 1, 40.0f, 10.0f);
        check_where(c, "x %g", (double)x);
        double got = (q - 10) / 40.0;
        if (want < 6 && fabs(got - want) > slack) check_fail(c, "gelu %g, expected %g", got, want);
    }
}

static void add_case(struct check *c, size_t n, bool with_a, bool in_place) {
    float scale = check_uniform(c, 1e-3f, 3.0f), zero = (float)check_below(c, 256);
    check_where(c, "n %zu%s%s, scale %g, zero %g", n, with_a ? ", a" : "", in_place ? " in place" : "", (double)scale, (double)zero);
    struct gbuf q = gbuf_new(n, 1), a = gbuf_new(n * 4, 4), y = gbuf_new(n * 4, 4);
    fill_bytes(c, ANY, q.p, n, 0, 0);
    check_fill(c, PAT_RANDOM, a.p, n, 1.0f);
    gbuf_freeze(&q), gbuf_freeze(&a);
    float *want = malloc(n * 4 + 1);
    ((eye_add_u8_fn *)c->ref->fn)(want, q.p, with_a ? a.p : NULL, n, scale, zero);
    if (in_place) memcpy(y.p, a.p, n * 4);
    ((eye_add_u8_fn *)c->row->fn)(y.p, q.p, in_place ? y.p : with_a ? a.p : NULL, n, scale, zero);
    gbuf_check(c, &y, "y");
    check_same_bits(c, "y", want, y.p, n);
    free(want);
    gbuf_free(&q), gbuf_free(&a), gbuf_free(&y);
}

void check_eye_add_u8_fn(struct check *c) {
    for (size_t n = 0; n <= (c->quick ? 40u : 131u); n++) add_case(c, n, n & 1, n % 4 == 3);
    add_case(c, 4096, true, true);
}

/* ---- the same for 16 bits ---- */

static void quant_i16_case(struct check *c, size_t n, enum check_pattern p, float max) {
    float inv_scale = check_uniform(c, 0.01f, 30000.0f), top = (float)check_between(c, 1, INT16_MAX);
    check_where(c, "n %zu, %s, 1/scale %g, top %g", n, check_pattern_name(p), (double)inv_scale, (double)top);
    struct gbuf x = gbuf_new(n * 4, 4), q = gbuf_new(n * 2, 2);
    check_fill(c, p, x.p, n, max);
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0.5f, -0.5f, 1.5f, 1e30f};
    if (p == PAT_RANDOM && n) ((float *)x.p)[check_below(c, n)] = odd[check_below(c, EYE_COUNT(odd))];
    gbuf_freeze(&x);
    int16_t *want = malloc(n * 2 + 1);
    ((eye_quant_i16_fn *)c->ref->fn)(want, x.p, n, inv_scale, top);
    ((eye_quant_i16_fn *)c->row->fn)(q.p, x.p, n, inv_scale, top);
    gbuf_check(c, &q, "q");
    for (size_t i = 0; i < n; i++)
        if (want[i] != ((int16_t *)q.p)[i])
            check_fail(c, "element %zu: %a gives %d, expected %d", i, (double)((float *)x.p)[i], ((int16_t *)q.p)[i], want[i]);
    free(want);
    gbuf_free(&x), gbuf_free(&q);
}

void check_eye_quant_i16_fn(struct check *c) {
    for (size_t n = 0; n <= (c->quick ? 40u : 131u); n++) quant_i16_case(c, n, PAT_RANDOM, 1.0f);
    for (int p = 0; p < N_PATTERNS; p++) quant_i16_case(c, 203, (enum check_pattern)p, 1e10f);
}

static void add_i16_case(struct check *c, size_t n, bool with_a, bool in_place) {
    float scale = check_uniform(c, 1e-5f, 3.0f);
    check_where(c, "n %zu%s%s, scale %g", n, with_a ? ", a" : "", in_place ? " in place" : "", (double)scale);
    struct gbuf q = gbuf_new(n * 2, 2), a = gbuf_new(n * 4, 4), y = gbuf_new(n * 4, 4);
    fill_bytes(c, ANY, q.p, n * 2, 0, 0);
    check_fill(c, PAT_RANDOM, a.p, n, 1.0f);
    gbuf_freeze(&q), gbuf_freeze(&a);
    float *want = malloc(n * 4 + 1);
    ((eye_add_i16_fn *)c->ref->fn)(want, q.p, with_a ? a.p : NULL, n, scale);
    if (in_place) memcpy(y.p, a.p, n * 4);
    ((eye_add_i16_fn *)c->row->fn)(y.p, q.p, in_place ? y.p : with_a ? a.p : NULL, n, scale);
    gbuf_check(c, &y, "y");
    check_same_bits(c, "y", want, y.p, n);
    free(want);
    gbuf_free(&q), gbuf_free(&a), gbuf_free(&y);
}

void check_eye_add_i16_fn(struct check *c) {
    for (size_t n = 0; n <= (c->quick ? 40u : 131u); n++) add_i16_case(c, n, n & 1, n % 4 == 3);
    add_i16_case(c, 4096, true, true);
}
