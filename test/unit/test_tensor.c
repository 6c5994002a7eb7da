/* Unit tests of tensor: dtypes, shapes, conversions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "tensor/grid.h"
#include "tensor/tensor.h"

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static void dtypes_have_names_and_sizes(void **state) {
    for (int t = 0; t < EYE_N_DTYPE; t++) {
        enum eye_dtype back;
        const struct eye_dtype_info *d = eye_dtype_info((enum eye_dtype)t);
        assert_true(eye_dtype_parse(d->name, &back));
        assert_int_equal(back, t);
        assert_true(d->block_elems > 0 && d->block_bytes > 0);
    }
    enum eye_dtype none;
    assert_false(eye_dtype_parse("q4_k_m", &none));
    size_t n;
    assert_true(eye_dtype_row_bytes(EYE_F16, 5, &n) && n == 10);
    assert_true(eye_dtype_row_bytes(EYE_Q8_0, 64, &n) && n == 68);
    assert_true(eye_dtype_row_bytes(EYE_Q8_0, 65, &n) && n == 102);
    assert_true(eye_dtype_row_bytes(EYE_Q4_0, 1, &n) && n == 18);
    assert_true(eye_dtype_row_bytes(EYE_Q4_0, 0, &n) && n == 0);
    assert_true(eye_dtype_row_bytes(EYE_Q6_K, 257, &n) && n == 420);
    assert_false(eye_dtype_row_bytes(EYE_F64, UINT64_MAX / 4, &n));
    assert_true(eye_dtype_row_bytes(EYE_U8, UINT64_MAX, &n) && n == UINT64_MAX);
}

static void shapes_are_checked(void **state) {
    static const struct {
        enum eye_dtype dtype;
        int rank;
        int64_t dims[5];
        bool ok;
        size_t bytes;
    } rows[] = {
        {EYE_F32, 0, {0}, true, 4},
        {EYE_F32, 2, {3, 5}, true, 60},
        {EYE_Q4_0, 2, {3, 33}, true, 3 * 36},
        {EYE_F32, 5, {1, 2, 3, 4, 5}, true, 480},
        {EYE_F32, 3, {INT64_MAX, INT64_MAX, 0}, true, 0},
        {EYE_F32, 3, {0, INT64_MAX, INT64_MAX}, true, 0},
        {EYE_F32, 2, {-1, 5}, false, 0},
        {EYE_F32, 2, {0, -5}, false, 0},
        {EYE_F32, 2, {-3, -5}, false, 0},
        {EYE_U8, 2, {INT64_MAX, 3}, false, 0},
        {EYE_F32, 2, {(int64_t)1 << 32, (int64_t)1 << 32}, false, 0},
        {EYE_F64, 2, {(int64_t)1 << 31, (int64_t)1 << 31}, false, 0},
        {EYE_F32, 6, {1, 1, 1, 1, 1}, false, 0},
        {EYE_F32, -1, {1}, false, 0},
        {EYE_N_DTYPE, 1, {1}, false, 0},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        struct eye_tensor t = {.dtype = rows[i].dtype, .rank = rows[i].rank};
        memcpy(t.dims, rows[i].dims, sizeof t.dims);
        size_t bytes = 0;
        assert_int_equal(eye_tensor_bytes(&t, &bytes), rows[i].ok);
        if (rows[i].ok) assert_int_equal(bytes, rows[i].bytes);
    }
    struct eye_tensor t = {.rank = 3, .dims = {2, 3, 4}};
    assert_int_equal(eye_tensor_elems(&t), 24);
    char text[40];
    assert_string_equal(eye_shape_text(t.dims, 3, text, sizeof text), "[2, 3, 4]");
    assert_string_equal(eye_shape_text(t.dims, 0, text, sizeof text), "[]");
    assert_string_equal(eye_shape_text(t.dims, 3, text, 5), "[2, ");
    assert_string_equal(eye_shape_text(t.dims, 3, text, 1), "");
}

/* ---- scalars ---- */

static void f16_survives_the_way_there_and_back(void **state) {
    for (uint32_t h = 0; h < 65536; h++) {
        float f = eye_f16_to_f32((uint16_t)h);
        uint32_t exp = h >> 10 & 31, man = h & 0x3ff;
        double want = exp ? ldexp(1024 + man, (int)exp - 25) : ldexp(man, -24);
        if (exp < 31)
            assert_true((double)f == (h & 0x8000 ? -want : want));
        else
            assert_true(man ? isnan(f) : isinf(f));
        assert_int_equal(bits_of(f) >> 31, h >> 15);
        assert_int_equal(eye_f32_to_f16(f), exp == 31 && man ? h | 0x200 : h);
    }
}

/* The nearest f16, ties to even, found the slow way: walk the finite values of one sign with bisection. */
static uint16_t nearest_f16(float f) {
    double x = fabs((double)f);
    uint16_t lo = 0, hi = 0x7c00; /* 0x7c00 stands for 65536, what the next value would be */
    while (hi - lo > 1) {
        uint16_t mid = (uint16_t)((lo + hi) / 2);
        if ((double)eye_f16_to_f32(mid) <= x)
            lo = mid;
        else
            hi = mid;
    }
    double a = x - (double)eye_f16_to_f32(lo), b = (hi == 0x7c00 ? 65536.0 : (double)eye_f16_to_f32(hi)) - x;
    uint16_t r = a < b || (a == b && !(lo & 1)) ? lo : hi;
    return (uint16_t)(r | (signbit(f) ? 0x8000 : 0));
}

static void f16_rounds_to_nearest_even(void **state) {
    struct eye_rng rng;
    eye_rng_seed(&rng, 2);
    for (int i = 0; i < 300000; i++) {
        uint32_t exp = 100 + (uint32_t)(eye_rng_u64(&rng) % 46), man = (uint32_t)eye_rng_u64(&rng) & 0x7fffff;
        if (i % 2) man &= 0x7ff000; /* many exact ties */
        float f = float_of((uint32_t)(i & 4) << 29 | exp << 23 | man);
        assert_int_equal(eye_f32_to_f16(f), nearest_f16(f));
    }
    assert_int_equal(eye_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(eye_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(eye_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(eye_f32_to_f16(3e38f), 0x7c00);
    assert_int_equal(eye_f32_to_f16(0x1p-25f), 0);
    assert_int_equal(eye_f32_to_f16(float_of(0x33000001)), 1);
    assert_int_equal(eye_f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(eye_f32_to_f16(1e-40f), 0);
    assert_true(isnan(eye_f16_to_f32(eye_f32_to_f16(NAN))));
}

static void bf16_rounds_to_nearest_even(void **state) {
    assert_true(eye_bf16_to_f32(0x3f80) == 1.0f);
    assert_int_equal(eye_f32_to_bf16(float_of(0x3f808000)), 0x3f80); /* tie, even stays */
    assert_int_equal(eye_f32_to_bf16(float_of(0x3f818000)), 0x3f82); /* tie, odd moves */
    assert_int_equal(eye_f32_to_bf16(float_of(0x3f808001)), 0x3f81);
    assert_int_equal(eye_f32_to_bf16(float_of(0x7f7fffff)), 0x7f80); /* the greatest float rounds to infinity */
    assert_int_equal(eye_f32_to_bf16(float_of(0x00008001)), 0x0001); /* subnormals are kept */
    assert_int_equal(eye_f32_to_bf16(float_of(0xff800001)), 0xffc0); /* NaN stays NaN */
    for (uint32_t h = 0; h < 65536; h++) {
        bool nan = (h & 0x7fff) > 0x7f80;
        assert_int_equal(eye_f32_to_bf16(eye_bf16_to_f32((uint16_t)h)), nan ? h | 0x40 : h);
    }
}

/* ---- blocks ---- */

/* Reproducible in any language: integers times powers of two, exact in f32. Some blocks are zero, tiny or tied. */
static void fill(float *x, size_t n) {
    struct eye_rng rng;
    eye_rng_seed(&rng, 3);
    for (size_t i = 0; i < n; i++) {
        int64_t v = (int64_t)(eye_rng_u64(&rng) >> 44) - (1 << 19);
        int scale = (int)(i / 32 % 7) * 5 - 45;
        x[i] = ldexpf((float)v, scale);
        if (i / 32 % 11 == 3) x[i] = 0;
        if (i / 32 % 11 == 5) x[i] = i % 2 ? -1.0f : 1.0f;
    }
}

#define HASH_Q8_0 0xcb784961b880adcfu
#define HASH_Q4_0 0x23a5156b154c4c4au

/* The hashes are of bytes that the gguf Python package made from the same numbers (test/reference/quant_golden.py). */
static void blocks_are_those_of_ggml(void **state) {
    enum { N = 32 * 500 };
    static float x[N];
    static uint8_t out[N * 2];
    size_t bytes;
    fill(x, N);
    const char *dump = getenv("EYE_TEST_DUMP");
    if (dump) {
        FILE *f = fopen(dump, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(x, sizeof *x, N, f), N);
        fclose(f);
    }
    eye_row_from_f32(EYE_Q8_0, x, out, N);
    assert_true(eye_dtype_row_bytes(EYE_Q8_0, N, &bytes));
    assert_true(eye_hash64(out, bytes, 0) == HASH_Q8_0);
    eye_row_from_f32(EYE_Q4_0, x, out, N);
    assert_true(eye_dtype_row_bytes(EYE_Q4_0, N, &bytes));
    assert_true(eye_hash64(out, bytes, 0) == HASH_Q4_0);
}

/* |x - d16*q| <= |x - d*q| + |q|*|d - d16|: half a step (a whole one where q4_0 clips at 15, whose steps reach 8.5) plus the
 * scale's f16 rounding, 2^-11 relative or 2^-25 absolute, times |q|; plus float rounding of x*id and d*q, 2^-22 of |x|. */
static void blocks_stay_within_half_a_step(void **state) {
    enum { N = 32 * 200 };
    static float x[N], y[N];
    static uint8_t out[N * 2];
    struct eye_rng rng;
    eye_rng_seed(&rng, 4);
    for (int i = 0; i < N; i++) x[i] = (float)(eye_rng_unit(&rng) * 2 - 1) * ldexpf(1, i / 32 % 12 - 8);
    for (int pass = 0; pass < 2; pass++) {
        enum eye_dtype t = pass ? EYE_Q4_0 : EYE_Q8_0;
        eye_row_from_f32(t, x, out, N);
        eye_row_to_f32(t, out, y, N);
        for (int b = 0; b < N / 32; b++) {
            float top = 0; /* a float: gcc 12 for aarch64 fails on a vectorized fmax of converted values */
            for (int i = 0; i < 32; i++) top = fmaxf(top, fabsf(x[b * 32 + i]));
            double amax = (double)top, d = amax / (pass ? 8 : 127), steps = pass ? 8 : 127;
            for (int i = 0; i < 32; i++) {
                double e = fabs((double)x[b * 32 + i] - (double)y[b * 32 + i]);
                assert_true(e <= d * (pass ? 1.0 : 0.5) + steps * (d * 0x1p-11 + 0x1p-25) + amax * 0x1p-22);
            }
        }
    }
}

/* q4_K: a scale and a minimum per 32 elements. The best grid is never worse than the one from lowest to highest in 15 steps,
 * whose values are half a step off at most, but for the two 6-bit roundings: of the scale (15 levels) and of the minimum, each
 * half a unit of 1/63 of the block's largest. */
static void q4_k_blocks_follow_their_groups(void **state) {
    enum { N = 256 * 20 };
    static float x[N], y[N];
    static uint8_t out[N];
    struct eye_rng rng;
    eye_rng_seed(&rng, 9);
    for (int i = 0; i < N; i++) x[i] = (float)(eye_rng_unit(&rng) * 2 - 1) * (1 + (float)(i / 32 % 8)) + (float)(i / 256 % 3);
    eye_row_from_f32(EYE_Q4_K, x, out, N);
    eye_row_to_f32(EYE_Q4_K, out, y, N);
    for (int b = 0; b < N; b += 256) {
        double step = 0, min = 0, lo[8], hi[8];
        for (int g = 0; g < 8; g++) {
            lo[g] = hi[g] = 0;
            for (int i = 0; i < 32; i++) {
                double at = (double)x[b + 32 * g + i]; /* no fmin and fmax: gcc 12 for aarch64 fails on them here as well */
                lo[g] = at < lo[g] ? at : lo[g];
                hi[g] = at > hi[g] ? at : hi[g];
            }
            step = fmax(step, (hi[g] - lo[g]) / 15);
            min = fmax(min, -lo[g]);
        }
        for (int g = 0; g < 8; g++) {
            double sum = 0, most = 0.5 * (hi[g] - lo[g]) / 15 + 15 * step / 126 + min / 126;
            for (int i = 0; i < 32; i++) sum += pow((double)x[b + 32 * g + i] - (double)y[b + 32 * g + i], 2);
            assert_true(sqrt(sum / 32) <= most);
        }
    }
}

/* What a grid says of an element is what a reader finds in the block, for any weights and values. */
static void grids_and_blocks_agree(void **state) {
    static const enum eye_dtype types[] = {EYE_Q8_0, EYE_Q4_0, EYE_Q4_K};
    float x[256], weight[256], y[256];
    uint8_t block[160];
    int8_t level[256];
    struct eye_rng rng;
    struct eye_grid g, plain;
    eye_rng_seed(&rng, 10);
    for (int trial = 0; trial < 300; trial++) {
        enum eye_dtype t = types[trial % 3];
        size_t n = eye_dtype_info(t)->block_elems;
        for (size_t e = 0; e < 256; e++) {
            x[e] = (float)ldexp(eye_rng_unit(&rng) * 2 - 1, trial % 40 - 20);
            weight[e] = trial % 5 ? (float)eye_rng_unit(&rng) : 0;
        }
        if (trial % 7 == 0) x[trial % 32] = trial % 2 ? NAN : INFINITY;
        eye_grid_plain(&plain, t, x);
        eye_grid_fit(&g, t, x, weight);
        assert_true(eye_grid_error(&g, x, weight) <= eye_grid_error(&plain, x, weight));
        for (size_t e = 0; e < n; e++) {
            level[e] = (int8_t)eye_grid_level(&g, e, x[e]);
            assert_in_range(level[e] - g.lo, 0, g.hi - g.lo);
        }
        eye_grid_store(&g, level, block);
        eye_row_to_f32(t, block, y, n);
        for (size_t e = 0; e < n; e++) assert_true(y[e] == eye_grid_value(&g, e, level[e]));
    }
}

/* Random bytes as blocks: the hashes are of what the gguf package reads from them (test/reference/quant_golden.py). */
static void blocks_of_ggml_read_alike(void **state) {
    enum { N_BLOCKS = 64 };
    static const struct {
        enum eye_dtype dtype;
        int n_f16, f16_at[2]; /* kept below 2, so that all values are finite */
        uint64_t hash;
    } rows[] = {
        {EYE_Q4_1, 2, {0, 2}, 0x9ea81fef017f0770u}, {EYE_Q5_0, 1, {0}, 0xa657511764a1afb8u},
        {EYE_Q5_1, 2, {0, 2}, 0x246e68c2dd1b34b4u}, {EYE_Q4_K, 2, {0, 2}, 0xff95166c5fef93c2u},
        {EYE_Q5_K, 2, {0, 2}, 0x40f9a7c794e67f85u}, {EYE_Q6_K, 1, {208}, 0xad26d5fe47f3ce5du},
    };
    static uint8_t raw[N_BLOCKS * 256];
    static float y[N_BLOCKS * 256 + 1];
    for (size_t k = 0; k < EYE_COUNT(rows); k++) {
        const struct eye_dtype_info *d = eye_dtype_info(rows[k].dtype);
        uint64_t lcg = 1;
        for (size_t i = 0; i < (size_t)N_BLOCKS * d->block_bytes; i++) {
            lcg = lcg * 6364136223846793005u + 1442695040888963407u;
            raw[i] = (uint8_t)(lcg >> 56);
        }
        for (int b = 0; b < N_BLOCKS; b++)
            for (int i = 0; i < rows[k].n_f16; i++) raw[b * d->block_bytes + rows[k].f16_at[i] + 1] &= 0xBF;
        size_t n = (size_t)N_BLOCKS * d->block_elems;
        y[n - 5] = 7;
        eye_row_to_f32(rows[k].dtype, raw, y, n - 5); /* stops within a block */
        assert_true(y[n - 5] == 7);
        eye_row_to_f32(rows[k].dtype, raw, y, n);
        assert_true(eye_hash64(y, n * sizeof *y, 0) == rows[k].hash);
    }
}

static void a_short_last_block_is_zero_filled(void **state) {
    float x[40], full[256] = {0}, y[40];
    uint8_t a[272], b[272];
    fill(x, 40);
    memcpy(full, x, sizeof x);
    for (int pass = 0; pass < 3; pass++) {
        enum eye_dtype t = pass == 2 ? EYE_Q4_K : pass ? EYE_Q4_0 : EYE_Q8_0;
        size_t bytes;
        assert_true(eye_dtype_row_bytes(t, 40, &bytes));
        memset(a, 1, sizeof a);
        memset(b, 2, sizeof b);
        eye_row_from_f32(t, x, a, 40);
        eye_row_from_f32(t, full, b, 256);
        assert_memory_equal(a, b, bytes);
        float guard[41];
        guard[40] = 7;
        eye_row_to_f32(t, a, guard, 40);
        assert_true(guard[40] == 7);
        eye_row_to_f32(t, b, y, 40);
        assert_memory_equal(guard, y, sizeof y);
    }
}

static void odd_values_do_not_break_blocks(void **state) {
    float x[32], y[32], wide[256];
    uint8_t bk[144];
    struct eye_block_q8_0 b8;
    struct eye_block_q4_0 b4;
    static const float odd[] = {NAN, INFINITY, -INFINITY, 1e-45f, -3e38f, 0};
    for (size_t k = 0; k < EYE_COUNT(odd); k++) {
        for (int i = 0; i < 32; i++) x[i] = (float)(i - 16);
        x[5] = odd[k];
        eye_row_from_f32(EYE_Q8_0, x, &b8, 32); /* UBSan: no conversion of what does not fit */
        eye_row_from_f32(EYE_Q4_0, x, &b4, 32);
        for (int i = 0; i < 32; i++) x[i] = odd[k];
        eye_row_from_f32(EYE_Q8_0, x, &b8, 32);
        eye_row_from_f32(EYE_Q4_0, x, &b4, 32);
        for (int i = 0; i < 256; i++) wide[i] = k % 2 && i % 3 ? (float)i : odd[k];
        eye_row_from_f32(EYE_Q4_K, wide, bk, 256);
        eye_row_to_f32(EYE_Q4_K, bk, wide, 256);
        for (int i = 0; i < 256; i++) assert_true(isfinite(wide[i]));
    }
    memset(x, 0, sizeof x);
    eye_row_from_f32(EYE_Q4_0, x, &b4, 32);
    eye_row_to_f32(EYE_Q4_0, &b4, y, 32);
    for (int i = 0; i < 32; i++) assert_true(y[i] == 0);
}

static void plain_rows_convert(void **state) {
    float x[5] = {1, -2.5f, 0, 65504, 1e-3f}, y[5];
    double d[5];
    uint16_t h[5];
    eye_row_from_f32(EYE_F64, x, d, 5);
    assert_true(d[1] == -2.5);
    eye_row_to_f32(EYE_F64, d, y, 5);
    assert_memory_equal(x, y, sizeof x);
    eye_row_from_f32(EYE_F32, x, y, 5);
    assert_memory_equal(x, y, sizeof x);
    eye_row_from_f32(EYE_F16, x, h, 5);
    eye_row_to_f32(EYE_F16, h, y, 5);
    for (int i = 0; i < 4; i++) assert_true(y[i] == x[i]);
    eye_row_from_f32(EYE_BF16, x, h, 5);
    eye_row_to_f32(EYE_BF16, h, y, 5);
    assert_true(y[1] == -2.5f && y[3] == 65536);
    eye_row_to_f32(EYE_F32, NULL, NULL, 0);
    eye_row_from_f32(EYE_Q8_0, NULL, NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_have_names_and_sizes),
        cmocka_unit_test(shapes_are_checked),
        cmocka_unit_test(f16_survives_the_way_there_and_back),
        cmocka_unit_test(f16_rounds_to_nearest_even),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(blocks_are_those_of_ggml),
        cmocka_unit_test(blocks_of_ggml_read_alike),
        cmocka_unit_test(blocks_stay_within_half_a_step),
        cmocka_unit_test(q4_k_blocks_follow_their_groups),
        cmocka_unit_test(grids_and_blocks_agree),
        cmocka_unit_test(a_short_last_block_is_zero_filled),
        cmocka_unit_test(odd_values_do_not_break_blocks),
        cmocka_unit_test(plain_rows_convert),
    };
    return cmocka_run_group_tests_name("tensor", tests, NULL, NULL);
}
