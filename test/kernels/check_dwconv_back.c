/* checkkern: gradients of one row of a depthwise convolution, against the _ref row, which sums in double. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { MAX_KH = 7 };

struct back_case {
    struct eye_dwconv_back_args a;
    bool dw;
    size_t n_row, n_with, n_out; /* floats */
    const float *row[MAX_KH], *abs_row[MAX_KH];
    struct gbuf rows[MAX_KH], with, start; /* start: what out holds before */
    float *abs_rows, *abs_with, *abs_start;
};

static void absolute(float *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = fabsf(src[i]);
}

static void make_data(struct check *c, struct back_case *k, enum check_pattern p) {
    const struct eye_dwconv_back_args *a = &k->a;
    size_t taps = (size_t)a->kh * a->kw * a->channels;
    k->n_row = (size_t)(k->dw ? a->width_in : a->width_out) * a->channels;
    k->n_with = k->dw ? (size_t)a->width_out * a->channels : taps;
    k->n_out = k->dw ? taps : (size_t)a->width_in * a->channels;
    k->with = gbuf_new(k->n_with * 4, 4), k->start = gbuf_new(k->n_out * 4, 4);
    k->abs_rows = malloc(a->kh * k->n_row * 4), k->abs_with = malloc(k->n_with * 4), k->abs_start = malloc(k->n_out * 4);
    check_fill(c, p, k->with.p, k->n_with, 100.0f);
    check_fill(c, PAT_RANDOM, k->start.p, k->n_out, 1.0f);
    for (size_t y = 0; y < a->kh; y++) {
        k->rows[y] = gbuf_new(k->n_row * 4, 4);
        check_fill(c, p, k->rows[y].p, k->n_row, 100.0f);
        gbuf_freeze(&k->rows[y]);
        absolute(k->abs_rows + y * k->n_row, k->rows[y].p, k->n_row);
        bool none = check_below(c, 4) == 0;
        k->row[y] = none ? NULL : k->rows[y].p;
        k->abs_row[y] = none ? NULL : k->abs_rows + y * k->n_row;
    }
    absolute(k->abs_with, k->with.p, k->n_with);
    absolute(k->abs_start, k->start.p, k->n_out);
    gbuf_freeze(&k->with), gbuf_freeze(&k->start);
}

static void free_data(struct back_case *k) {
    for (size_t y = 0; y < k->a.kh; y++) gbuf_free(&k->rows[y]);
    gbuf_free(&k->with), gbuf_free(&k->start);
    free(k->abs_rows), free(k->abs_with), free(k->abs_start);
}

static void call(eye_dwconv_back_fn *fn, const struct back_case *k, const float *const *rows, const float *with,
                 const float *start, float *out) {
    struct eye_dwconv_back_args a = k->a;
    memcpy(out, start, k->n_out * 4);
    a.rows = rows, a.with = with, a.out = out;
    fn(&a);
}

static void back_case(struct check *c, struct eye_dwconv_back_args a, enum check_pattern p) {
    eye_dwconv_back_fn *fn = (eye_dwconv_back_fn *)c->row->fn, *ref = (eye_dwconv_back_fn *)c->ref->fn;
    struct back_case k = {.a = a, .dw = strstr(c->row->op, "_dw_") != NULL};
    check_where(c, "width %u->%u, channels %u, kernel %ux%u stride %u pad %u, %s", a.width_in, a.width_out, a.channels, a.kh,
                a.kw, a.stride, a.pad_left, check_pattern_name(p));
    make_data(c, &k, p);
    struct gbuf out = gbuf_new(k.n_out * 4, 4), again = gbuf_new(k.n_out * 4, 4);
    float *want = malloc(k.n_out * 4), *mag = malloc(k.n_out * 4);
    call(ref, &k, k.row, k.with.p, k.start.p, want);
    call(fn, &k, k.row, k.with.p, k.start.p, again.p);
    call(fn, &k, k.row, k.with.p, k.start.p, out.p);
    gbuf_check(c, &out, "out");
    check_same_bits(c, "the same again", out.p, again.p, k.n_out);
    /* The sum of magnitudes by the reference itself; each of its terms may round the sum once. */
    call(ref, &k, k.abs_row, k.abs_with, k.abs_start, mag);
    double terms = k.dw ? (double)a.width_out : (double)a.kh * a.kw;
    for (size_t i = 0; i < k.n_out; i++)
        check_close(c, "out", i, want[i], ((float *)out.p)[i],
                    (terms + 3.0) * (double)FLT_EPSILON * mag[i] + (double)FLT_MIN);
    free(want), free(mag);
    gbuf_free(&out), gbuf_free(&again);
    free_data(&k);
}

void check_eye_dwconv_back_fn(struct check *c) {
    static const uint32_t kernels[] = {3, 5, 7, 1, 2}, channels[] = {16, 96, 17};
    for (uint32_t i = 0; i < (c->quick ? 80 : 240); i++) {
        struct eye_dwconv_back_args a = {.kh = kernels[i % 5], .kw = kernels[i % 5], .stride = 1 + i / 5 % 3,
                                         .width_in = 1 + i / 6, .channels = (uint32_t)check_between(c, 1, 70)};
        if (i % 9 == 0) a.channels = channels[i % 3];
        a.pad_left = (uint32_t)check_between(c, 0, a.kw - 1);
        uint32_t padded = a.width_in + a.pad_left + (uint32_t)check_between(c, 0, a.kw - 1);
        if (padded < a.kw) continue;
        a.width_out = (padded - a.kw) / a.stride + 1;
        back_case(c, a, i % 4 ? PAT_RANDOM : (enum check_pattern)(i / 4 % N_PATTERNS));
    }
}
