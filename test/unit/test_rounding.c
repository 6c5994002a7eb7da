/* Calibrated rounding: the linear algebra under it, and what it promises: never worse than plain on its own inputs, legal
 * blocks, the same bytes for any number of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/sys.h"
#include "pack/dense.h"
#include "pack/rounding.h"

static struct eye_engine engine[2]; /* 1 and 3 threads */
static struct eye_rng rng;

static void ok(enum eye_status st, const struct eye_err *err) {
    if (st != EYE_OK) fail_msg("%s", err->text);
}
static float normal(void) { return (float)(eye_rng_unit(&rng) + eye_rng_unit(&rng) + eye_rng_unit(&rng) - 1.5) * 2; }
static float *numbers(size_t n) {
    float *x = malloc((n + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = normal();
    return x;
}

/* ---- dense ---- */

static void products_are_sums(void **state) {
    static const size_t shape[][3] = {{1, 1, 1}, {70, 33, 100}, {25, 130, 7}, {3, 5, 300}};
    struct eye_err err = {0};
    for (size_t s = 0; s < EYE_COUNT(shape); s++) {
        size_t m = shape[s][0], n = shape[s][1], k = shape[s][2];
        float *a = numbers(m * (k + 3)), *b = numbers(n * (k + 1)), *c = numbers(m * (n + 2));
        float *d = malloc(m * (n + 2) * sizeof *d);
        memcpy(d, c, m * (n + 2) * sizeof *d);
        ok(eye_dense_mul_add(&engine[0], m, n, k, a, k + 3, b, k + 1, c, n + 2, &err), &err);
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n + 2; j++) {
                double sum = (double)d[i * (n + 2) + j], size = fabs(sum);
                for (size_t x = 0; j < n && x < k; x++) {
                    sum += (double)a[i * (k + 3) + x] * (double)b[j * (k + 1) + x];
                    size += fabs((double)a[i * (k + 3) + x] * (double)b[j * (k + 1) + x]);
                }
                assert_true(fabs((double)c[i * (n + 2) + j] - sum) <= (double)(k + 1) * 0x1p-23 * size);
            }
        ok(eye_dense_mul_add(&engine[1], m, n, k, a, k + 3, b, k + 1, d, n + 2, &err), &err);
        assert_memory_equal(c, d, m * (n + 2) * sizeof *c);
        free(a), free(b), free(c), free(d);
    }
}

static void factors_give_the_matrix_back(void **state) {
    static const size_t size[] = {1, 5, 64, 65, 200};
    struct eye_err err = {0};
    for (size_t s = 0; s < EYE_COUNT(size); s++) {
        size_t k = size[s], t = 2 * k + 300; /* over 256: in two pieces */
        float *x = numbers(t * k), *h = calloc(k * k, sizeof *h), *u = malloc(k * k * sizeof *u), *d = malloc(k * sizeof *d);
        bool positive;
        ok(eye_dense_gram(&engine[0], t, k, x, x, h, &err), &err);
        memcpy(u, h, k * k * sizeof *u);
        ok(eye_dense_udu(&engine[0], k, u, d, &positive, &err), &err);
        assert_true(positive);
        double most = 0;
        for (size_t i = 0; i < k; i++) {
            most = fmax(most, (double)h[i * k + i]);
            assert_true(d[i] > 0);
        }
        for (size_t i = 0; i < k; i++)
            for (size_t j = i; j < k; j++) {
                double sum = 0;
                for (size_t c = j; c < k; c++)
                    sum += (double)d[c] * (c == i ? 1 : (double)u[i * k + c]) * (c == j ? 1 : (double)u[j * k + c]);
                assert_true(fabs(sum - (double)h[i * k + j]) <= (double)k * 0x1p-20 * most);
            }
        for (size_t i = 0; i < k; i++) h[i * k + i] -= 2 * (float)most;
        ok(eye_dense_udu(&engine[0], k, h, d, &positive, &err), &err);
        assert_false(positive);
        free(x), free(h), free(u), free(d);
    }
}

/* ---- rounding ---- */

struct inputs {
    struct eye_moments m;
    float *x;
};

/* Rows whose columns go together, as those of a network do, some of them ten times larger. rank 0: nothing ever comes in. */
static struct inputs make_inputs(size_t k, size_t t, size_t rank, bool square) {
    struct inputs in = {.m = {k, t, square ? calloc(k * k, sizeof(float)) : NULL, calloc(k, sizeof(float))}};
    struct eye_err err = {0};
    float *basis = numbers(EYE_MAX(rank, 1) * k);
    in.x = calloc(t * k, sizeof *in.x);
    for (size_t i = 0; i < t && rank; i++)
        for (size_t r = 0; r <= rank; r++) {
            float c = normal();
            for (size_t j = 0; j < k; j++)
                in.x[i * k + j] += (r < rank ? c * basis[r * k + j] : 0.1f * normal()) * (j % 37 == 5 ? 10 : 1);
        }
    for (size_t i = 0; i < t * k; i++) in.m.diag[i % k] += in.x[i] * in.x[i];
    if (square) ok(eye_dense_gram(&engine[0], t, k, in.x, in.x, in.m.h, &err), &err);
    free(basis);
    return in;
}

static void free_inputs(struct inputs *in) { free(in->m.h), free(in->m.diag), free(in->x); }

/* sum |(w - v) x|^2 over the inputs themselves. */
static double output_error(const struct inputs *in, enum eye_dtype t, size_t n, const float *w, const uint8_t *rows,
                           size_t row_bytes) {
    size_t k = in->m.k;
    float *v = malloc(k * sizeof *v);
    double sum = 0;
    for (size_t r = 0; r < n; r++) {
        eye_row_to_f32(t, rows + r * row_bytes, v, k);
        for (size_t i = 0; i < in->m.n; i++) {
            double y = 0;
            for (size_t j = 0; j < k; j++) y += ((double)w[r * k + j] - (double)v[j]) * (double)in->x[i * k + j];
            sum += y * y;
        }
    }
    free(v);
    return sum;
}

/* Rounds n rows; returns what calibration leaves of plain rounding's error. */
static double check_rounding(enum eye_dtype t, size_t n, const float *w, const struct inputs *in) {
    struct eye_err err = {0};
    struct eye_rounder r;
    struct eye_round_cost cost = {0}, plain = {0}, again = {0};
    size_t row_bytes, k = in->m.k;
    assert_true(eye_dtype_row_bytes(t, k, &row_bytes));
    uint8_t *a = calloc(n, row_bytes), *b = calloc(n, row_bytes), *p = calloc(n, row_bytes);
    float *v = malloc(k * sizeof *v);
    ok(eye_rounder_init(&r, &engine[0], &in->m, &err), &err);
    ok(eye_rounder_plain(&r, t, n, w, p, &plain, &err), &err);
    ok(eye_rounder_run(&r, t, n, w, a, &cost, &err), &err);
    eye_rounder_clear(&r);
    ok(eye_rounder_init(&r, &engine[1], &in->m, &err), &err);
    ok(eye_rounder_run(&r, t, n, w, b, &again, &err), &err);
    eye_rounder_clear(&r);
    assert_memory_equal(a, b, n * row_bytes);
    assert_true(cost.weighted_err <= plain.weighted_err * (1 + 1e-4) + 1e-30);
    for (size_t i = 0; i < n; i++) {
        eye_row_to_f32(t, a + i * row_bytes, v, k);
        for (size_t j = 0; j < k; j++) assert_true(isfinite(v[j]));
        eye_row_from_f32(t, w + i * k, b, k);
        assert_memory_equal(b, p + i * row_bytes, row_bytes);
    }
    double mine = output_error(in, t, n, w, a, row_bytes), theirs = output_error(in, t, n, w, p, row_bytes);
    if (in->m.h) { /* the matrices say what the inputs do: sums of t k products in f32 */
        assert_true(mine <= theirs * (1 + 1e-3) + 1e-20);
        assert_true(fabs(mine - cost.weighted_err) <= 1e-3 * theirs + 1e-20);
    }
    free(a), free(b), free(p), free(v);
    return plain.weighted_err > 0 ? cost.weighted_err / plain.weighted_err : 1;
}

static const enum eye_dtype types[] = {EYE_Q8_0, EYE_Q4_0, EYE_Q4_K};

static void calibrated_is_never_worse(void **state) {
    for (size_t i = 0; i < EYE_COUNT(types); i++) {
        struct inputs in = make_inputs(512, 700, 24, true);
        float *w = numbers(300 * 512);
        double left = check_rounding(types[i], 40, w, &in);
        assert_true(left < 0.5); /* inputs that go together leave room to make up for errors; plain rounding has none of it */
        free_inputs(&in);
        in = make_inputs(512, 700, 24, false); /* by the diagonal: the scale search alone */
        assert_true(check_rounding(types[i], 300, w, &in) < 1);
        free_inputs(&in);
        free(w);
    }
}

static void odd_cases_give_legal_blocks(void **state) {
    for (size_t i = 0; i < EYE_COUNT(types); i++) {
        struct inputs in = make_inputs(256, 3, 2, true); /* fewer rows than columns: H is singular */
        float *w = numbers(9 * 256);
        for (int j = 0; j < 256; j++) w[j] = 0, w[256 + j] *= 1e30f, w[512 + j] *= 1e-30f;
        for (int j = 0; j < 256; j++) w[768 + j] = j == 7 ? 1e4f : w[768 + j];
        check_rounding(types[i], 1, w, &in);
        check_rounding(types[i], 7, w + 512, &in);
        free_inputs(&in);
        in = make_inputs(256, 10, 0, true); /* no input ever */
        check_rounding(types[i], 3, w + 1024, &in);
        free_inputs(&in);
        free(w);
    }
}

static void wild_inputs_are_an_error(void **state) {
    struct inputs in = make_inputs(64, 10, 3, true);
    struct eye_rounder r;
    struct eye_err err = {0};
    for (int i = 0; i < 64 * 64; i++) in.m.h[i] = NAN;
    assert_int_equal(eye_rounder_init(&r, &engine[0], &in.m, &err), EYE_E_CORRUPT);
    free_inputs(&in);
}

static int begin(void **state) {
    struct eye_err err = {0};
    eye_rng_seed(&rng, 1);
    ok(eye_engine_init(&engine[0], 1, eye_cpu_flags(), NULL, &err), &err);
    ok(eye_engine_init(&engine[1], 3, eye_cpu_flags(), NULL, &err), &err);
    return 0;
}
static int end(void **state) {
    eye_engine_clear(&engine[0]);
    eye_engine_clear(&engine[1]);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_sums),           cmocka_unit_test(factors_give_the_matrix_back),
        cmocka_unit_test(calibrated_is_never_worse),   cmocka_unit_test(odd_cases_give_legal_blocks),
        cmocka_unit_test(wild_inputs_are_an_error),
    };
    return cmocka_run_group_tests_name("rounding", tests, begin, end);
}
