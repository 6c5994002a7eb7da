/* checkkern --selftest: kernels broken on purpose, one fault each. A harness that passes one of them tests nothing. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "kernels/rows.h"

/* ---- functions ---- */

static void relu_reads_past(float *dst, const float *src, size_t n) {
    volatile float past = src[n];
    (void)past;
    eye_relu_f32_ref(dst, src, n);
}
static void relu_writes_past(float *dst, const float *src, size_t n) {
    eye_relu_f32_ref(dst, src, n);
    if (n % 4 == 1) dst[-1] = 0.0f;
}
static void gelu_inexact(float *dst, const float *src, size_t n) {
    eye_gelu_f32_ref(dst, src, n);
    for (size_t i = 0; i < n; i++) dst[i] += 1e-6f;
}
static void add_ignores_last(float *dst, const float *a, const float *b, size_t n) {
    if (n) eye_add_f32_ref(dst, a, b, n - 1);
}
static void silu_not_in_place(float *dst, const float *src, size_t n) {
    for (size_t i = n; i > 1; i--) dst[i - 1] = 0.0f;
    eye_silu_f32_ref(dst, src, n);
}

/* Two products of bytes summed in 16 bits, as vpmaddubsw does: wrong only at the ends of the range. */
static void gemm_i8_saturates(const struct eye_gemm_i8_args *a) {
    eye_gemm_i8_ref(a);
    const int8_t *q = (const int8_t *)a->w + EYE_I8_SUMS_BYTES;
    const uint8_t *x = a->a;
    if (a->k >= 2 && x[0] * q[0] + x[1] * q[1] > INT16_MAX) a->c[0] = fmaf(-1.0f, a->scale[0], a->c[0]);
}

/* The pipeline's last tile of 8 rows missing. */
static void gemm_i8_gelu_forgets_tile(const struct eye_gemm_i8_gelu_args *a) {
    eye_gemm_i8_gelu_ref(a);
    for (size_t i = a->gemm.m / 8 * 8; i < a->gemm.m; i++) a->q[i * a->q_stride] = (uint8_t)a->q_zero;
}

/* The last of the rests missing. */
static void gemm_i8_split_forgets_rest(const struct eye_gemm_i8_args *a) {
    eye_gemm_i8_split_ref(a);
    const uint16_t *at = eye_i8_split_at(a->w, a->k);
    if (eye_i8_split_whole(a->w) || at[1] == at[0]) return;
    const struct eye_i8_rest *last = eye_i8_split_rests(a->w, a->k) + at[1] - 1;
    int sum = 0;
    for (size_t t = 0; t < 4; t++) sum += ((const uint8_t *)a->a)[last->at[t] / EYE_I8_SPLIT_ROWS] * last->w[t];
    if (last->column < a->n) a->c[last->column] -= (float)sum * a->scale[last->column];
}

/* ---- training ---- */

static void pv_starts_anew(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_stride,
                           float *out, size_t out_stride, bool add) {
    eye_attn_pv_f32_ref(m, d, n_keys, p, p_stride, v, v_stride, out, out_stride, false);
}
static void norm_dx_forgets_mean(float *dx, const float *d, const float *x, const float *w, size_t n, float eps) {
    eye_rms_norm_dx_f32_ref(dx, d, x, w, n, eps);
}
static void norm_dw_overwrites(float *dw, const float *d, const float *x, size_t n, float eps) {
    memset(dw, 0, n * sizeof *dw);
    eye_layer_norm_dw_f32_ref(dw, d, x, n, eps);
}
static void dropout_counts_from_zero(float *y, const float *x, size_t n, uint32_t first, const struct eye_dropout_args *a) {
    eye_dropout_f32_ref(y, x, n, 0, a);
}
static void adam_decays_last(const struct eye_adam_args *a, size_t n) {
    struct eye_adam_args b = *a;
    b.keep = 1;
    eye_adam_f32_ref(&b, n);
    for (size_t i = 0; i < n; i++) a->w[i] *= a->keep;
}

/* ---- GEMM: the reference with one fault in run or pack ---- */

#define RUN_ARGS size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c, \
                 size_t c_stride, const float *bias, bool accumulate
#define RUN_PASS m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate

static void run_writes_gap(RUN_ARGS) {
    eye_gemm_f32_f32_f32_ref.run(RUN_PASS);
    if (m > 1 && c_stride > n) c[n] = 0.0f;
}
static void run_drops_last_k(RUN_ARGS) {
    eye_gemm_f32_f32_f32_ref.run(m, n, k ? k - 1 : 0, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate);
}
static void run_ignores_accumulate(RUN_ARGS) {
    eye_gemm_f32_f32_f32_ref.run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, false);
}
/* Right within tolerance, but a row alone is summed in two halves. */
static void run_other_order(RUN_ARGS) {
    size_t h = m == 1 ? k / 2 : 0;
    const struct eye_gemm_ukr *u = &eye_gemm_f32_f32_f32_ref;
    u->run(m, n, k - h, (const uint8_t *)lhs + h * m * 4, (const uint8_t *)rhs + h * u->rhs_step, rhs_panel_stride, c, c_stride,
           bias, accumulate);
    if (h) u->run(m, n, h, lhs, rhs, rhs_panel_stride, c, c_stride, NULL, true);
}
static void pack_forgets_scale(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_gemm_f32_q8b32_q8b32_ref.pack_rhs(n, k, src, src_stride_bytes, dst);
    if (n > 1 && k) memcpy((uint8_t *)dst + 2, dst, 2); /* column 1 takes column 0's */
}

static const struct eye_gemm_ukr *const f32_ref = &eye_gemm_f32_f32_f32_ref;
static struct eye_gemm_ukr faulty[5];

/* The reference's fields are constants of another file: copied when the row runs. */
static void check_faulty(struct check *c) {
    static void (*const runs[])(RUN_ARGS) = {run_writes_gap, run_drops_last_k, run_ignores_accumulate, run_other_order};
    size_t i = (size_t)(c->row->ukr - faulty);
    faulty[i] = i < 4 ? *f32_ref : eye_gemm_f32_q8b32_q8b32_ref;
    if (i < 4) faulty[i].run = runs[i];
    else faulty[i].pack_rhs = pack_forgets_scale;
    check_ukr(c);
}

#define BAD_FN(op, type, fn) {#op, #fn, 0, check_##type, bench_##type, NULL, (check_any_fn *)fn}
#define BAD_UKR(op, i, name) {#op, name, 0, check_faulty, bench_ukr, &faulty[i], NULL}
const struct check_row check_broken_rows[] = {
    BAD_FN(relu_f32, eye_map_fn, relu_reads_past),
    BAD_FN(relu_f32, eye_map_fn, relu_writes_past),
    BAD_FN(gelu_f32, eye_map_fn, gelu_inexact),
    BAD_FN(add_f32, eye_zip_fn, add_ignores_last),
    BAD_FN(silu_f32, eye_map_fn, silu_not_in_place),
    BAD_FN(gemm_i8, eye_gemm_i8_fn, gemm_i8_saturates),
    BAD_FN(gemm_i8_gelu, eye_gemm_i8_gelu_fn, gemm_i8_gelu_forgets_tile),
    BAD_FN(gemm_i8_split, eye_gemm_i8_split_fn, gemm_i8_split_forgets_rest),
    BAD_FN(attn_pv_f32, eye_attn_pv_fn, pv_starts_anew),
    BAD_FN(layer_norm_dx_f32, eye_norm_dx_fn, norm_dx_forgets_mean),
    BAD_FN(layer_norm_dw_f32, eye_norm_dw_fn, norm_dw_overwrites),
    BAD_FN(dropout_f32, eye_dropout_fn, dropout_counts_from_zero),
    BAD_FN(adam_f32, eye_adam_fn, adam_decays_last),
    BAD_UKR(gemm_f32_f32_f32, 0, "run_writes_gap"),
    BAD_UKR(gemm_f32_f32_f32, 1, "run_drops_last_k"),
    BAD_UKR(gemm_f32_f32_f32, 2, "run_ignores_accumulate"),
    BAD_UKR(gemm_f32_f32_f32, 3, "run_other_order"),
    BAD_UKR(gemm_f32_q8b32_q8b32, 4, "pack_forgets_scale"),
};
const size_t n_check_broken_rows = EYE_COUNT(check_broken_rows);
