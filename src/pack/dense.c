/* pack: dense f32 linear algebra for calibration: C += A B^T, X^T Y, and a blocked UDU^T factorization that spends its time in
 * the former. */
#include "pack/dense.h"

#include <math.h>
#include <string.h>

#include "base/sys.h"

#define ROWS_PER_TASK 24u /* a multiple of every kernel's mr, or nearly */
#define GRAM_ROWS 256u
#define PANEL 64u         /* columns factored at a time */

/* ---- product ---- */

struct mul {
    const struct eye_gemm_ukr *ukr;
    size_t m, n, k, a_stride, b_stride, c_stride, panel_bytes, lhs_bytes;
    const float *a, *b;
    float *c;
    uint8_t *rhs, *lhs; /* packed b; per thread one block of a */
};

static void pack_task(void *ctx, int i_task, int i_thread) {
    const struct mul *j = ctx;
    size_t col = (size_t)i_task * j->ukr->nr, n = EYE_MIN(j->ukr->nr, j->n - col);
    j->ukr->pack_rhs(n, j->k, j->b + col * j->b_stride, j->b_stride * sizeof(float), j->rhs + (size_t)i_task * j->panel_bytes);
}

static void mul_task(void *ctx, int i_task, int i_thread) {
    const struct mul *j = ctx;
    size_t mr = j->ukr->mr, row0 = (size_t)i_task * ROWS_PER_TASK, end = EYE_MIN(row0 + ROWS_PER_TASK, j->m);
    uint8_t *lhs = j->lhs + (size_t)i_thread * j->lhs_bytes;
    for (size_t row = row0; row < end; row += mr) {
        size_t m = EYE_MIN(mr, end - row);
        j->ukr->pack_lhs(m, j->k, j->a + row * j->a_stride, j->a_stride, lhs);
        j->ukr->run(m, j->n, j->k, lhs, j->rhs, j->panel_bytes, j->c + row * j->c_stride, j->c_stride, NULL, true);
    }
}

enum eye_status eye_dense_mul_add(const struct eye_engine *e, size_t m, size_t n, size_t k, const float *a, size_t a_stride,
                                  const float *b, size_t b_stride, float *c, size_t c_stride, struct eye_err *err) {
    if (m == 0 || n == 0 || k == 0) return EYE_OK;
    struct mul j = {.ukr = e->kernels.gemm_f32_f32_f32, .m = m, .n = n, .k = k, .a_stride = a_stride, .b_stride = b_stride,
                    .c_stride = c_stride, .a = a, .b = b, .c = c};
    size_t steps = (k + j.ukr->kr - 1) / j.ukr->kr, panels = (n + j.ukr->nr - 1) / j.ukr->nr, bytes, all;
    size_t n_threads = (size_t)eye_pool_n_threads(e->pool);
    j.panel_bytes = steps * j.ukr->rhs_step;
    j.lhs_bytes = EYE_ALIGN_UP(steps * j.ukr->mr * j.ukr->lhs_step, EYE_CACHE_LINE);
    if (!eye_mul_ok(panels, j.panel_bytes, &bytes) || !eye_add_ok(bytes, n_threads * j.lhs_bytes, &all))
        return eye_fail_nomem(err, SIZE_MAX);
    j.rhs = eye_alloc_raw(e->alloc, all);
    if (!j.rhs) return eye_fail_nomem(err, all);
    j.lhs = j.rhs + bytes;
    eye_pool_run(e->pool, (int)panels, pack_task, &j);
    eye_pool_run(e->pool, (int)((m + ROWS_PER_TASK - 1) / ROWS_PER_TASK), mul_task, &j);
    eye_alloc_free(e->alloc, j.rhs, all);
    return EYE_OK;
}

static void transpose(const float *x, size_t rows, size_t cols, float *out) {
    for (size_t c0 = 0; c0 < cols; c0 += 16)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = c0; c < EYE_MIN(c0 + 16, cols); c++) out[c * rows + r] = x[r * cols + c];
}

enum eye_status eye_dense_gram(const struct eye_engine *e, size_t t, size_t k, const float *x, const float *y, float *c,
                               struct eye_err *err) {
    size_t bytes;
    if (!eye_mul_ok(2 * GRAM_ROWS * sizeof(float), k, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    float *xt = eye_alloc_raw(e->alloc, bytes), *yt = xt + GRAM_ROWS * k;
    if (!xt) return eye_fail_nomem(err, bytes);
    enum eye_status st = EYE_OK;
    for (size_t row = 0; st == EYE_OK && row < t; row += GRAM_ROWS) {
        size_t n = EYE_MIN(GRAM_ROWS, t - row);
        transpose(x + row * k, n, k, xt);
        if (y != x) transpose(y + row * k, n, k, yt);
        st = eye_dense_mul_add(e, k, k, n, xt, n, y != x ? yt : xt, n, c, k, err);
    }
    eye_alloc_free(e->alloc, xt, bytes);
    return st;
}

/* ---- UDU^T, from the last column to the first ---- */

struct udu {
    float *h, *d;
    size_t k, p0, p1;
    float *scaled; /* [p0, PANEL] minus the panel's u times d */
};

/* Row i's part of the panel, its columns j from the last down; rows of the panel itself have no columns left of i. */
static void factor_row(const struct udu *u, size_t i) {
    float *row = u->h + i * u->k;
    for (size_t j = u->p1; j-- > EYE_MAX(u->p0, i + 1);) {
        const float *other = u->h + j * u->k;
        float sum = row[j];
        for (size_t c = j + 1; c < u->p1; c++) sum -= row[c] * u->d[c] * other[c];
        row[j] = sum / u->d[j];
    }
}

static void factor_task(void *ctx, int i_task, int i_thread) {
    const struct udu *u = ctx;
    for (size_t i = (size_t)i_task * 64; i < EYE_MIN((size_t)(i_task + 1) * 64, u->p0); i++) {
        factor_row(u, i);
        for (size_t c = u->p0; c < u->p1; c++) u->scaled[i * PANEL + c - u->p0] = -u->h[i * u->k + c] * u->d[c];
    }
}

/* The panel's own square, from its last row up. */
static bool factor_square(const struct udu *u, float least) {
    for (size_t j = u->p1; j-- > u->p0;) {
        const float *row = u->h + j * u->k;
        double d = (double)row[j];
        for (size_t c = j + 1; c < u->p1; c++) d -= (double)row[c] * (double)row[c] * (double)u->d[c];
        if (!(d > (double)least)) return false;
        u->d[j] = (float)d;
        /* column j of the rows above needs d[j] first */
        for (size_t i = u->p0; i < j; i++) {
            float *above = u->h + i * u->k, sum = above[j];
            for (size_t c = j + 1; c < u->p1; c++) sum -= above[c] * u->d[c] * row[c];
            above[j] = sum / u->d[j];
        }
    }
    return true;
}

enum eye_status eye_dense_udu(const struct eye_engine *e, size_t k, float *h, float *d, bool *positive, struct eye_err *err) {
    size_t bytes = k * PANEL * sizeof(float);
    struct udu u = {.h = h, .d = d, .k = k, .scaled = eye_alloc_raw(e->alloc, bytes)};
    if (!u.scaled) return eye_fail_nomem(err, bytes);
    enum eye_status st = EYE_OK;
    float largest = 0;
    for (size_t i = 0; i < k; i++) largest = EYE_MAX(largest, h[i * k + i]);
    *positive = true;
    for (u.p1 = k; u.p1 > 0 && *positive && st == EYE_OK; u.p1 = u.p0) {
        u.p0 = u.p1 > PANEL ? u.p1 - PANEL : 0;
        *positive = factor_square(&u, largest * 1e-9f);
        if (!*positive) break;
        eye_pool_run(e->pool, (int)((u.p0 + 63) / 64), factor_task, &u);
        st = eye_dense_mul_add(e, u.p0, u.p0, u.p1 - u.p0, u.scaled, PANEL, h + u.p0, k, h, k, err);
    }
    eye_alloc_free(e->alloc, u.scaled, bytes);
    return st;
}
