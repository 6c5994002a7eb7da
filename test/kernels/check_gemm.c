/* checkkern: GEMM micro-kernels. Against a sum in double, with the tolerance derived per output element; and the rounding
 * contract of kernels.h bit for bit: a K range continued, a row alone, a column alone, the same again. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels/q4k.h"
#include "tensor/tensor.h"

enum lhs_kind { LHS_F32, LHS_BF16, LHS_Q8B32 };

struct gemm_spec {
    const char *op;
    enum lhs_kind lhs;
    enum eye_dtype weights;
    float a_max, w_max, w_denormal;
};
/* Maxima keep K products inside f32. */
static const struct gemm_spec specs[] = {
    {"gemm_f32_f32_f32", LHS_F32, EYE_F32, 0x1p40f, 0x1p40f, 0x1p-126f},
    {"gemm_f32_f32_f16", LHS_F32, EYE_F16, 0x1p40f, 65504.0f, 0x1p-14f},
    {"gemm_f32_f32_bf16", LHS_F32, EYE_BF16, 0x1p40f, 0x1p40f, 0x1p-126f},
    {"gemm_f32_bf16_bf16", LHS_BF16, EYE_BF16, 0x1p40f, 0x1p40f, 0x1p-126f},
    {"gemm_f32_q8b32_q8b32", LHS_Q8B32, EYE_Q8_0, 0x1p40f, 0x1p20f, 0x1p-14f},
    {"gemm_f32_q8b32_q4b32", LHS_Q8B32, EYE_Q4_0, 0x1p40f, 0x1p18f, 0x1p-14f},
    {"gemm_f32_q8b32_q4k", LHS_Q8B32, EYE_Q4_K, 0x1p40f, 0x1p18f, 0x1p-14f},
};

struct gemm_case {
    const struct gemm_spec *spec;
    size_t m, n, k;
    enum check_pattern pa, pw;
    bool bias, raw; /* raw: block weights from random bytes, -128 included */
    size_t a_stride, w_stride, c_stride;
    struct gbuf a, w, b, lhs, rhs, c;
    size_t panel_bytes;
};

static size_t steps(const struct eye_gemm_ukr *u, size_t k) { return (k + u->kr - 1) / u->kr; }

/* ---- one case: data, packing ---- */

/* A q4_K row of random bytes under scales in range: choosing its grids would take longer than all the multiplying. */
static void make_raw_q4k(struct check *c, const struct gemm_case *g, uint8_t *row, size_t row_bytes) {
    for (size_t at = 0; at < row_bytes; at++) row[at] = (uint8_t)eye_rng_u64(&c->rng);
    for (size_t at = 0; at < row_bytes; at += EYE_Q4K_BYTES)
        for (size_t i = 0; i < 2; i++) {
            uint16_t d = eye_f32_to_f16(check_uniform(c, 0, g->spec->w_max / (63 * 15)));
            memcpy(row + at + 2 * i, &d, sizeof d);
        }
}

static void make_weights(struct check *c, struct gemm_case *g) {
    size_t row_bytes = 0, pad = check_below(c, 3) * 2 + check_below(c, 2);
    const struct eye_dtype_info *info = eye_dtype_info(g->spec->weights);
    if (!eye_dtype_row_bytes(g->spec->weights, g->k, &row_bytes)) check_fail(c, "row bytes");
    /* Odd strides only for blocks and bytes: a file aligns plain elements by luck, and memory sanitizers by rule. */
    g->w_stride = row_bytes + pad;
    g->w = gbuf_new(g->n ? (g->n - 1) * g->w_stride + row_bytes : 0, 1);
    float *x = malloc((g->k + 1) * sizeof *x);
    for (size_t j = 0; j < g->n; j++) {
        uint8_t *row = (uint8_t *)g->w.p + j * g->w_stride;
        if (g->raw && g->spec->weights == EYE_Q4_K) {
            make_raw_q4k(c, g, row, row_bytes);
            continue;
        }
        check_fill(c, g->pw, x, g->k, g->spec->w_max);
        for (size_t e = 0; g->pw == PAT_DENORMAL && e < g->k; e++) /* of the weights' type, not of f32 */
            x[e] = check_uniform(c, -g->spec->w_denormal, g->spec->w_denormal);
        uint8_t *even = malloc(row_bytes + 1);
        eye_row_from_f32(g->spec->weights, x, even, g->k);
        memcpy(row, even, row_bytes);
        free(even);
        for (size_t at = 0; g->raw && at < row_bytes; at += info->block_bytes)
            for (size_t i = 2; i < info->block_bytes; i++) row[at + i] = (uint8_t)eye_rng_u64(&c->rng);
    }
    free(x);
    gbuf_freeze(&g->w);
}

static void make_case(struct check *c, struct gemm_case *g) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    g->a_stride = g->k + check_below(c, 5);
    g->c_stride = g->n + check_below(c, 5);
    g->a = gbuf_new(g->m ? ((g->m - 1) * g->a_stride + g->k) * 4 : 0, 4);
    for (size_t i = 0; i < g->m; i++)
        check_fill(c, g->pa, (float *)g->a.p + i * g->a_stride, g->k, g->spec->a_max);
    gbuf_freeze(&g->a);
    make_weights(c, g);
    g->b = gbuf_new(g->n * 4, 4);
    check_fill(c, PAT_RANDOM, g->b.p, g->n, 1.0f);
    gbuf_freeze(&g->b);

    g->panel_bytes = steps(u, g->k) * u->rhs_step;
    g->lhs = gbuf_new(steps(u, g->k) * g->m * u->lhs_step, 64);
    g->rhs = gbuf_new((g->n + u->nr - 1) / u->nr * g->panel_bytes, 64);
    g->c = gbuf_new(g->m ? ((g->m - 1) * g->c_stride + g->n) * 4 : 0, 4);
    u->pack_lhs(g->m, g->k, g->a.p, g->a_stride, g->lhs.p);
    gbuf_check(c, &g->lhs, "the packed lhs");
    for (size_t j = 0; j < g->n; j += u->nr)
        u->pack_rhs(EYE_MIN(g->n - j, u->nr), g->k, (uint8_t *)g->w.p + j * g->w_stride, g->w_stride,
                    (uint8_t *)g->rhs.p + j / u->nr * g->panel_bytes);
    gbuf_check(c, &g->rhs, "the packed rhs");
    gbuf_freeze(&g->lhs);
    gbuf_freeze(&g->rhs);
}

static void free_case(struct gemm_case *g) {
    gbuf_free(&g->a);
    gbuf_free(&g->w);
    gbuf_free(&g->b);
    gbuf_free(&g->lhs);
    gbuf_free(&g->rhs);
    gbuf_free(&g->c);
}

/* ---- against double ---- */

/* The lhs as the kernel may see it. For q8b32: the quants as floats, and the scale per block in d. */
static void lhs_row(const struct gemm_spec *s, const float *a, size_t k, double *x, double *d) {
    for (size_t e = 0; e < k; e++) x[e] = s->lhs == LHS_BF16 ? eye_bf16_to_f32(eye_f32_to_bf16(a[e])) : a[e];
    if (s->lhs != LHS_Q8B32) return;
    for (size_t e = 0; e < k; e += 32) {
        size_t len = EYE_MIN(k - e, 32);
        float amax = 0.0f;
        for (size_t i = 0; i < len; i++) amax = fmaxf(amax, fabsf(a[e + i]));
        bool zero = amax < 0x1p-119f;
        int up;
        double part = frexp((double)(amax * (1.0f / 127.0f)), &up); /* in [1/2, 1): a power of two has 1/2 */
        d[e / 32] = zero ? 0.0 : ldexp(1, part > 0.5 ? up : up - 1);
        for (size_t i = 0; i < len; i++) {
            x[e + i] = zero ? 0.0 : rint((double)a[e + i] / d[e / 32]);
            /* Not only self-consistent: the quantized value is the value, to half a step. */
            if (!zero && fabs(x[e + i] * d[e / 32] - a[e + i]) > 0.5001 * d[e / 32]) abort();
        }
    }
}

struct expected {
    double value, tol;
};

/* Error of a sum of K products continued from start, in any order and with or without FMA:
 * |err| <= (K eps_acc + eps_out) sum|a_i b_i| + smallest normal; the bf16 instructions also flush denormals, in and out. */
static struct expected expect_float(const struct gemm_spec *s, const double *a, const float *w, size_t k, double start) {
    double sum = start, mag = fabs(start), flushed = 0.0;
    for (size_t e = 0; e < k; e++) {
        sum += a[e] * w[e];
        mag += fabs(a[e] * w[e]);
        flushed += FLT_MIN * (1.0 + fabs(a[e]) + fabs((double)w[e]));
    }
    double tol = ((double)k * FLT_EPSILON + FLT_EPSILON) * mag + FLT_MIN;
    return (struct expected){sum, s->lhs == LHS_BF16 ? tol + flushed : tol};
}

/* Integer part exact; per block three roundings (scale product, its use, the sum). w: quant * scale, exact in f32. min: NULL,
 * or what was subtracted in w (q4_K): w itself is then rounded, and each block adds two numbers that may be larger than their
 * sum. */
static struct expected expect_blocks(const double *q, const double *d, const float *w, const float *min, size_t k,
                                     double start) {
    double sum = start, mag = fabs(start);
    for (size_t e = 0; e < k; e += 32) {
        double part = 0.0;
        for (size_t i = e; i < k && i < e + 32; i++) part += q[i] * w[i];
        for (size_t i = e; min && i < k && i < e + 32; i++)
            mag += fabs(q[i]) * (fabs((double)w[i]) + 2.0 * (double)min[i]) * d[e / 32];
        sum += part * d[e / 32];
        mag += fabs(part * d[e / 32]);
    }
    double n_blocks = (double)((k + 31) / 32) * (min ? 3.0 : 1.0);
    return (struct expected){sum, (n_blocks + 2.0) * FLT_EPSILON * mag + (n_blocks + 1.0) * FLT_MIN};
}

/* dmin min of each element of a row of q4_K. */
static void read_minima(const uint8_t *row, size_t k, float *min) {
    for (size_t e = 0; e < k; e++) {
        const uint8_t *block = row + e / EYE_Q4K_KR * EYE_Q4K_BYTES;
        uint16_t dmin;
        uint8_t scale, bits;
        memcpy(&dmin, block + 2, sizeof dmin);
        eye_q4k_scale(block, e % EYE_Q4K_KR / 32, &scale, &bits);
        min[e] = eye_f16_to_f32(dmin) * (float)bits;
    }
}

static void check_values(const struct check *c, const struct gemm_case *g) {
    double *x = malloc((g->k + 1) * sizeof *x), *d = malloc((g->k / 32 + 1) * sizeof *d);
    float *w = malloc((g->n * g->k + 1) * sizeof *w), *min = NULL;
    if (g->spec->weights == EYE_Q4_K) min = malloc((g->n * g->k + 1) * sizeof *min);
    uint8_t *even = malloc(g->w_stride + 64); /* a row at an aligned address, for eye_row_to_f32 */
    for (size_t j = 0; j < g->n; j++) {
        size_t row_bytes = g->n == 1 ? g->w.bytes : g->w_stride;
        memcpy(even, (uint8_t *)g->w.p + j * g->w_stride, EYE_MIN(row_bytes, g->w.bytes - j * g->w_stride));
        eye_row_to_f32(g->spec->weights, even, w + j * g->k, g->k);
        if (min) read_minima(even, g->k, min + j * g->k);
    }
    for (size_t i = 0; i < g->m; i++) {
        lhs_row(g->spec, (const float *)g->a.p + i * g->a_stride, g->k, x, d);
        for (size_t j = 0; j < g->n; j++) {
            double start = g->bias ? ((const float *)g->b.p)[j] : 0.0;
            const float *wj = w + j * g->k;
            struct expected want = g->spec->lhs == LHS_Q8B32
                                       ? expect_blocks(x, d, wj, min ? min + j * g->k : NULL, g->k, start)
                                       : expect_float(g->spec, x, wj, g->k, start);
            check_close(c, "c", i * g->n + j, want.value, ((const float *)g->c.p)[i * g->c_stride + j], want.tol);
        }
        if (i + 1 < g->m && !gbuf_untouched((float *)g->c.p + i * g->c_stride + g->n, (g->c_stride - g->n) * 4))
            check_fail(c, "wrote between rows %zu and %zu of c", i, i + 1);
    }
    free(even);
    free(min);
    free(w);
    free(d);
    free(x);
}

/* ---- bit for bit ---- */

static void same_rows(const struct check *c, const char *what, const struct gemm_case *g, const float *got, size_t got_stride) {
    for (size_t i = 0; i < g->m; i++)
        check_same_bits(c, what, (const float *)g->c.p + i * g->c_stride, got + i * got_stride, g->n);
}

/* K in up to three pieces, each continuing from c. */
static void check_chunks(struct check *c, const struct gemm_case *g) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    struct gbuf out = gbuf_new(g->m * g->n * 4, 4);
    size_t s0 = 0, n_steps = steps(u, g->k);
    for (int piece = 0; piece == 0 || s0 < n_steps; piece++) {
        size_t s1 = piece == 2 ? n_steps : check_between(c, s0, n_steps);
        size_t k0 = s0 * u->kr, k1 = EYE_MIN(s1 * u->kr, g->k);
        u->run(g->m, g->n, k1 - k0, (uint8_t *)g->lhs.p + s0 * g->m * u->lhs_step, (uint8_t *)g->rhs.p + s0 * u->rhs_step,
               g->panel_bytes, out.p, g->n, g->bias ? g->b.p : NULL, piece > 0);
        s0 = s1;
    }
    gbuf_check(c, &out, "c (accumulating)");
    same_rows(c, "K in pieces", g, out.p, g->n);
    gbuf_free(&out);
}

/* One row packed and multiplied alone. */
static void check_row_alone(struct check *c, const struct gemm_case *g) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    size_t i = check_below(c, g->m);
    struct gbuf lhs = gbuf_new(steps(u, g->k) * u->lhs_step, 64), out = gbuf_new(g->n * 4, 4);
    u->pack_lhs(1, g->k, (float *)g->a.p + i * g->a_stride, g->a_stride, lhs.p);
    u->run(1, g->n, g->k, lhs.p, g->rhs.p, g->panel_bytes, out.p, g->n, g->bias ? g->b.p : NULL, false);
    gbuf_check(c, &out, "c (one row)");
    check_same_bits(c, "row alone", (const float *)g->c.p + i * g->c_stride, out.p, g->n);
    gbuf_free(&lhs);
    gbuf_free(&out);
}

/* One row by streams of neighbouring panels. */
static void check_streams(struct check *c, const struct gemm_case *g) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    size_t i = check_below(c, g->m), n = 1 + check_below(c, EYE_STREAMS), panels = g->n / u->nr / n, cols = panels * u->nr;
    struct gbuf lhs = gbuf_new(steps(u, g->k) * u->lhs_step, 64), out = gbuf_new(n * cols * 4, 4);
    struct eye_gemm_stream s[EYE_STREAMS];
    u->pack_lhs(1, g->k, (float *)g->a.p + i * g->a_stride, g->a_stride, lhs.p);
    for (size_t k = 0; k < n; k++)
        s[k] = (struct eye_gemm_stream){(uint8_t *)g->rhs.p + k * panels * g->panel_bytes, (float *)out.p + k * cols,
                                        g->bias ? (float *)g->b.p + k * cols : NULL};
    u->run_streams(n, panels, g->k, lhs.p, g->panel_bytes, s);
    gbuf_check(c, &out, "c (streams)");
    check_same_bits(c, "streams", (const float *)g->c.p + i * g->c_stride, out.p, n * cols);
    gbuf_free(&lhs);
    gbuf_free(&out);
}

/* One column packed and multiplied alone. */
static void check_column_alone(struct check *c, const struct gemm_case *g) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    size_t j = check_below(c, g->n);
    struct gbuf rhs = gbuf_new(g->panel_bytes, 64), out = gbuf_new(g->m * 4, 4);
    u->pack_rhs(1, g->k, (uint8_t *)g->w.p + j * g->w_stride, g->w_stride, rhs.p);
    u->run(g->m, 1, g->k, g->lhs.p, rhs.p, g->panel_bytes, out.p, 1, g->bias ? (float *)g->b.p + j : NULL, false);
    gbuf_check(c, &out, "c (one column)");
    for (size_t i = 0; i < g->m; i++)
        check_same_bits(c, "column alone", (const float *)g->c.p + i * g->c_stride + j, (float *)out.p + i, 1);
    gbuf_free(&rhs);
    gbuf_free(&out);
}

/* Blocks of 32 with a number in them that is none: an infinity spoils every result, a NaN, taken as 127, none; numbers too
 * small for a scale count as zeros. */
static void check_odd_blocks(struct check *c, const struct gemm_case *g) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    static const struct { const char *what; float x; } odd[] = {{"inf", INFINITY}, {"-inf", -INFINITY}, {"nan", NAN}, {"tiny", 0x1p-120f}};
    size_t at = check_below(c, g->k), first = at / 32 * 32;
    struct gbuf lhs = gbuf_new(steps(u, g->k) * u->lhs_step, 64), out = gbuf_new(g->n * 4, 4), zero = gbuf_new(g->n * 4, 4);
    float *row = malloc(g->k * sizeof *row);
    memcpy(row, g->a.p, g->k * sizeof *row);
    for (size_t i = 0; i < EYE_COUNT(odd); i++) {
        if (odd[i].x == 0x1p-120f) memset(row + first, 0, EYE_MIN(g->k - first, 32) * sizeof *row);
        row[at] = 0.0f;
        u->pack_lhs(1, g->k, row, g->k, lhs.p);
        u->run(1, g->n, g->k, lhs.p, g->rhs.p, g->panel_bytes, zero.p, g->n, NULL, false);
        row[at] = odd[i].x;
        u->pack_lhs(1, g->k, row, g->k, lhs.p);
        u->run(1, g->n, g->k, lhs.p, g->rhs.p, g->panel_bytes, out.p, g->n, NULL, false);
        for (size_t j = 0; j < g->n; j++)
            if (isfinite(((float *)out.p)[j]) != !isinf(odd[i].x)) check_fail(c, "with %s: %g", odd[i].what, ((float *)out.p)[j]);
        if (odd[i].x == 0x1p-120f) check_same_bits(c, "tiny as zero", zero.p, out.p, g->n);
    }
    free(row);
    gbuf_free(&lhs), gbuf_free(&out), gbuf_free(&zero);
}

static void check_again(struct check *c, const struct gemm_case *g) {
    struct gbuf out = gbuf_new(g->m * g->n * 4, 4);
    c->row->ukr->run(g->m, g->n, g->k, g->lhs.p, g->rhs.p, g->panel_bytes, out.p, g->n, g->bias ? g->b.p : NULL, false);
    same_rows(c, "the same again", g, out.p, g->n);
    gbuf_free(&out);
}

/* src [rows][cols] the other way round, rows of the result `stride` apart. */
static struct gbuf turned(const float *src, size_t src_stride, size_t rows, size_t cols, size_t stride) {
    struct gbuf t = gbuf_new(cols ? ((cols - 1) * stride + rows) * 4 : 0, 4);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) ((float *)t.p)[j * stride + i] = src[i * src_stride + j];
    gbuf_freeze(&t);
    return t;
}

static void same_panel(struct check *c, const char *what, const struct gbuf *want, size_t want_at, const struct gbuf *got) {
    gbuf_check(c, got, what);
    if (memcmp((uint8_t *)want->p + want_at, got->p, got->bytes) != 0) check_fail(c, "%s: other bytes than from rows", what);
}

/* Both sides packed from sources that lie the other way give the same bytes. */
static void check_turned(struct check *c, const struct gemm_case *g) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    size_t a_stride = g->m + check_below(c, 5), j0 = check_below(c, (g->n + u->nr - 1) / u->nr) * u->nr;
    size_t n = EYE_MIN(g->n - j0, u->nr), w_stride = n + check_below(c, 5);
    struct gbuf a = turned(g->a.p, g->a_stride, g->m, g->k, a_stride), lhs = gbuf_new(g->lhs.bytes, 64);
    u->pack_lhs_t(g->m, g->k, a.p, a_stride, lhs.p);
    same_panel(c, "the lhs packed from columns", &g->lhs, 0, &lhs);
    float *w = malloc((n * g->k + 1) * sizeof *w);
    for (size_t j = 0; j < n; j++) { /* weights as stored, in f32: rounding them again changes nothing */
        uint8_t *even = malloc(g->k * 4 + 1);
        memcpy(even, (uint8_t *)g->w.p + (j0 + j) * g->w_stride, g->k * eye_dtype_info(g->spec->weights)->block_bytes);
        eye_row_to_f32(g->spec->weights, even, w + j * g->k, g->k);
        free(even);
    }
    struct gbuf b = turned(w, g->k, n, g->k, w_stride), rhs = gbuf_new(g->panel_bytes, 64);
    u->pack_rhs_t(n, g->k, b.p, w_stride, rhs.p);
    same_panel(c, "the rhs packed from columns", &g->rhs, j0 / u->nr * g->panel_bytes, &rhs);
    free(w);
    gbuf_free(&a), gbuf_free(&lhs), gbuf_free(&b), gbuf_free(&rhs);
}

/* The bytes of a product, gelu and packing in turn. */
static void check_run_gelu(struct check *c, const struct gemm_case *g) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    const float *bias = g->bias ? g->b.p : NULL;
    size_t bytes = steps(u, g->n) * g->m * u->lhs_step;
    struct gbuf tile = gbuf_new(g->m * g->n * 4, 4), want = gbuf_new(bytes, 64), got = gbuf_new(bytes, 64);
    u->run(g->m, g->n, g->k, g->lhs.p, g->rhs.p, g->panel_bytes, tile.p, g->n, bias, false);
    u->gelu(tile.p, tile.p, g->m * g->n);
    u->pack_lhs(g->m, g->n, tile.p, g->n, want.p);
    u->run_gelu(g->m, g->n, g->k, g->lhs.p, g->rhs.p, g->panel_bytes, bias, got.p);
    same_panel(c, "the lhs made with GELU", &want, 0, &got);
    gbuf_free(&tile), gbuf_free(&want), gbuf_free(&got);
}

/* The bits of a product and an addition in turn, over what was added too. */
static void check_run_add(struct check *c, const struct gemm_case *g) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    size_t numbers = ((g->m - 1) * g->c_stride + g->n);
    struct gbuf tile = gbuf_new(numbers * 4, 4), x = gbuf_new(numbers * 4, 4), y = gbuf_new(numbers * 4, 4);
    bool more = check_below(c, 2), over = check_below(c, 2);
    check_fill(c, PAT_RANDOM, x.p, numbers, 1.0f);
    for (int first = more; first >= 0; first--) { /* more: the product again on top of itself */
        struct eye_gemm_add add = {.y = over ? x.p : y.p, .x = x.p, .next = check_below(c, 2) ? g->a.p : NULL};
        float *want = malloc(numbers * 4), *sum = malloc(numbers * 4);
        memcpy(sum, tile.p, numbers * 4);
        u->run(g->m, g->n, g->k, g->lhs.p, g->rhs.p, g->panel_bytes, sum, g->c_stride, g->bias ? g->b.p : NULL, more && !first);
        memcpy(want, x.p, numbers * 4);
        for (size_t i = 0; i < numbers; i++) want[i] += sum[i];
        u->run_add(g->m, g->n, g->k, g->lhs.p, g->rhs.p, g->panel_bytes, tile.p, g->c_stride, g->bias ? g->b.p : NULL,
                   more && !first, &add);
        gbuf_check(c, &tile, "the sums"), gbuf_check(c, &y, "the sums and what is added"), gbuf_check(c, &x, "what is added");
        for (size_t i = 0; i < g->m; i++)
            check_same_bits(c, "a product and an addition", want + i * g->c_stride, add.y + i * g->c_stride, g->n);
        memcpy(tile.p, sum, numbers * 4); /* what c holds then is nobody's business */
        free(want), free(sum);
    }
    gbuf_free(&tile), gbuf_free(&x), gbuf_free(&y);
}

static void check_gelu(struct check *c) {
    enum { N = 1003 };
    const float special[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-30f, -1e-30f, -1e30f, 5.27f, -5.28f};
    struct gbuf x = gbuf_new(N * 4, 4), y = gbuf_new(N * 4, 4);
    float *v = x.p;
    for (size_t i = 0; i < N; i++) v[i] = check_uniform(c, -8.0f, 8.0f) * (i % 3 ? 1.0f : 0.01f);
    memcpy(v, special, sizeof special);
    gbuf_freeze(&x);
    c->row->ukr->gelu(y.p, x.p, N);
    gbuf_check(c, &y, "gelu");
    for (size_t i = 0; i < N; i++) {
        double want = v[i] * 0.5 * erfc(-(double)v[i] / sqrt(2.0)), got = ((float *)y.p)[i];
        if (isfinite(v[i])) check_close(c, "gelu", i, want, got, fabs(want) * 0x1p-12 + 8e-7);
        else if (isnan(v[i]) ? !isnan(got) : got != EYE_MAX(v[i], 0.0f)) check_fail(c, "gelu of %g is %g", v[i], got);
    }
    gbuf_free(&x), gbuf_free(&y);
}

static void check_case(struct check *c, const struct gemm_spec *spec, size_t m, size_t n, size_t k, enum check_pattern pa,
                       enum check_pattern pw) {
    struct gemm_case g = {.spec = spec, .m = m, .n = n, .k = k, .pa = pa, .pw = pw, .bias = check_below(c, 2)};
    g.raw = spec->lhs == LHS_Q8B32 && pw == PAT_RANDOM;
    check_where(c, "m %zu n %zu k %zu, a %s, w %s%s", m, n, k, check_pattern_name(pa), check_pattern_name(pw),
                g.bias ? ", bias" : "");
    make_case(c, &g);
    c->row->ukr->run(m, n, k, g.lhs.p, g.rhs.p, g.panel_bytes, g.c.p, g.c_stride, g.bias ? g.b.p : NULL, false);
    gbuf_check(c, &g.c, "c");
    check_values(c, &g);
    if (m && n) {
        check_chunks(c, &g);
        check_row_alone(c, &g);
        check_column_alone(c, &g);
        check_again(c, &g);
        if (c->row->ukr->pack_lhs_t) check_turned(c, &g);
        if (c->row->ukr->run_gelu) check_run_gelu(c, &g);
        if (c->row->ukr->run_add) check_run_add(c, &g);
        if (c->row->ukr->run_streams) check_streams(c, &g);
        if (spec->lhs == LHS_Q8B32 && k && pa == PAT_RANDOM && pw == PAT_RANDOM) check_odd_blocks(c, &g);
    }
    free_case(&g);
}

void check_ukr(struct check *c) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    const struct gemm_spec *s = NULL;
    for (size_t i = 0; i < EYE_COUNT(specs); i++)
        if (strcmp(specs[i].op, c->row->op) == 0) s = &specs[i];
    if (!s) check_fail(c, "check_gemm.c has no spec of this op");
    bool live = s->lhs == LHS_BF16 || s->weights == EYE_F32; /* the training GEMMs: both sides change between runs */
    if (live && (!u->pack_lhs_t || !u->pack_rhs_t)) check_fail(c, "no packing from columns");
    if (!u->mr || !u->nr || !u->kr || u->rhs_step % 64) check_fail(c, "tile or rhs_step unusable");
    if (!u->gelu != !u->run_gelu) check_fail(c, "GELU by halves");
    if (u->gelu) check_gelu(c);

    size_t mr = u->mr, nr = u->nr, kr = u->kr, k_step = kr > 32 ? 7 : 1, n_step = c->quick ? 7 : 1;
    if (c->quick && kr > 4) k_step *= 5;
    for (size_t k = 0; k <= 3 * kr + 1; k += k_step)
        check_case(c, s, check_between(c, 1, mr), check_between(c, 1, 2 * nr), k, PAT_RANDOM, PAT_RANDOM);
    for (size_t n = 0; n <= 5 * nr + 1; n += n_step) /* five: kernels may take four panels at once when m = 1 */
        check_case(c, s, n % 2 ? 1 : check_between(c, 1, mr), n, check_between(c, 1, 3 * kr), PAT_RANDOM, PAT_RANDOM);
    for (size_t m = 1; m <= mr; m++)
        check_case(c, s, m, check_between(c, 1, 3 * nr + 1), check_between(c, 1, 100), PAT_RANDOM, PAT_RANDOM);
    for (int pa = 0; pa < N_PATTERNS; pa++)
        for (int pw = 0; pw < N_PATTERNS; pw++)
            check_case(c, s, check_between(c, 1, mr), check_between(c, 1, 2 * nr), check_between(c, 1, 130),
                       (enum check_pattern)pa, (enum check_pattern)pw);
    static const size_t real_k[] = {27, 64, 96, 203, 384, 896, 1536, 4864};
    for (size_t i = 0; i < (c->quick ? 5 : EYE_COUNT(real_k)); i++) {
        check_case(c, s, mr, check_between(c, nr + 1, 3 * nr), real_k[i], PAT_RANDOM, PAT_RANDOM);
        check_case(c, s, 1, 4 * nr + check_between(c, 1, nr), real_k[i], PAT_WIDE, PAT_WIDE);
        check_case(c, s, mr, nr, real_k[i], PAT_MAX, PAT_MIN);
        check_case(c, s, mr, 3 * nr, real_k[i], PAT_RANDOM, PAT_RANDOM);
    }
}
