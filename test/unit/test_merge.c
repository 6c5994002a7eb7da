/* Rows of a picture to fewer: counts, both ways against plain restatements, threads; then through model, session, caches and batch,
 * which must all speak of the merged rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer_help.h"
#include "eyelet/batch.h"
#include "eyelet/experimental.h"
#include "eyelet/eyelet.h"
#include "session/merge.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "tensor/tensor.h"

static char folder[512];
static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static float *floats(size_t n) {
    float *p = calloc(n, sizeof *p);
    assert_non_null(p);
    return p;
}

static float *noise(size_t n, uint64_t seed) {
    float *p = floats(n);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        p[i] = (float)((double)(seed >> 40) / (1 << 23) - 1);
    }
    return p;
}

static float *merged(struct eye_merge m, struct eye_pool *pool, const float *rows) {
    float *copy = floats(m.n * m.width), *out = floats(m.n_out * m.width + 1);
    void *scratch = eye_alloc_raw(NULL, eye_merge_scratch_bytes(m.n));
    assert_non_null(scratch);
    memcpy(copy, rows, m.n * m.width * sizeof *copy);
    out[m.n_out * m.width] = 42;
    eye_merge_run(&m, pool, copy, scratch, out);
    assert_true(out[m.n_out * m.width] == 42);
    eye_alloc_free(NULL, scratch, eye_merge_scratch_bytes(m.n));
    free(copy);
    return out;
}

/* Both are sums of at most `terms` numbers below 1, one of them in double. */
static void assert_near(const float *got, const double *want, size_t n, double terms) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= terms * 0x1p-23)) fail_msg("%zu: %.9g, expected %.9g", i, (double)got[i], want[i]);
}

/* ---- by themselves ---- */

static void test_counts(void **state) {
    static const struct { enum eye_image_merge how; int64_t n, most, want; } t[] = {
        {EYE_MERGE_POOL, 49, 49, 49}, {EYE_MERGE_POOL, 49, 1000, 49}, {EYE_MERGE_POOL, 49, 48, 36}, {EYE_MERGE_POOL, 49, 36, 36},
        {EYE_MERGE_POOL, 49, 35, 25}, {EYE_MERGE_POOL, 49, 3, 1},     {EYE_MERGE_POOL, 50, 25, 0},  {EYE_MERGE_POOL, 50, 50, 50},
        {EYE_MERGE_POOL, 1, 1, 1},    {EYE_MERGE_POOL, 576, 144, 144}, {EYE_MERGE_POOL, 577, 576, 0},
        {EYE_MERGE_SIMILAR, 50, 25, 25}, {EYE_MERGE_SIMILAR, 577, 1, 1}, {EYE_MERGE_SIMILAR, 7, 9, 7},
    };
    for (size_t i = 0; i < EYE_COUNT(t); i++) assert_int_equal(eye_merge_rows(t[i].how, t[i].n, t[i].most), t[i].want);
}

/* Every output pixel covers what of the input its square touches. */
static void test_pool_is_the_mean_of_what_a_cell_touches(void **state) {
    enum { WIDTH = 5 };
    for (size_t side = 1; side <= 9; side++)
        for (size_t less = 1; less < side; less++) {
            float *rows = noise(side * side * WIDTH, side * 16 + less);
            float *got = merged((struct eye_merge){EYE_MERGE_POOL, side * side, less * less, WIDTH}, NULL, rows);
            for (size_t cell = 0; cell < less * less; cell++) {
                double sum[WIDTH] = {0}, n = 0;
                for (size_t i = 0; i < side * side; i++) { /* pixels [i, i+1) and the cell's [c side / less, (c+1) side / less) */
                    size_t y = i / side, x = i % side, cy = cell / less, cx = cell % less;
                    if ((y + 1) * less <= cy * side || y * less >= (cy + 1) * side) continue;
                    if ((x + 1) * less <= cx * side || x * less >= (cx + 1) * side) continue;
                    for (size_t c = 0; c < WIDTH; c++) sum[c] += (double)rows[i * WIDTH + c];
                    n++;
                }
                for (size_t c = 0; c < WIDTH; c++) sum[c] /= n;
                assert_near(got + cell * WIDTH, sum, WIDTH, n + 1);
            }
            free(rows), free(got);
        }
}

struct group { /* restated with the rows that a row stands for */
    size_t member[64], n;
};

static void mean_of(const struct group *g, const float *rows, size_t width, double *mean) {
    for (size_t c = 0; c < width; c++) {
        mean[c] = 0;
        for (size_t i = 0; i < g->n; i++) mean[c] += (double)rows[g->member[i] * width + c];
        mean[c] /= (double)g->n;
    }
}

static double cosine(const double *a, const double *b, size_t width) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t c = 0; c < width; c++) ab += a[c] * b[c], aa += a[c] * a[c], bb += b[c] * b[c];
    return ab / sqrt(aa * bb);
}

static size_t plain_pass(struct group *g, size_t n, size_t n_out, const float *rows, size_t width) {
    double (*mean)[8] = calloc(n, sizeof *mean), alike[64];
    size_t to[64], left = n;
    assert_non_null(mean);
    for (size_t i = 0; i < n; i++) mean_of(&g[i], rows, width, mean[i]);
    for (size_t a = 0; a < n; a += 2) {
        alike[a] = -2;
        for (size_t b = 1; b < n; b += 2)
            if (cosine(mean[a], mean[b], width) > alike[a]) to[a] = b, alike[a] = cosine(mean[a], mean[b], width);
    }
    for (size_t k = 0; k < n / 2 && left > n_out; k++, left--) {
        size_t best = 0;
        for (size_t a = 2; a < n; a += 2)
            if (alike[a] > alike[best]) best = a;
        for (size_t i = 0; i < g[best].n; i++) g[to[best]].member[g[to[best]].n++] = g[best].member[i];
        g[best].n = 0;
        alike[best] = -3;
    }
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        if (g[i].n) g[at++] = g[i];
    free(mean);
    return at;
}

static void test_similar_is_bipartite_matching(void **state) {
    enum { WIDTH = 8, N = 49 };
    static const size_t wanted[] = {48, 36, 25, 24, 16, 9, 2, 1};
    for (size_t k = 0; k < EYE_COUNT(wanted); k++) {
        struct group g[N];
        double mean[WIDTH];
        float *rows = noise(N * WIDTH, 7 + k);
        size_t n = N;
        for (size_t i = 0; i < N; i++) g[i] = (struct group){{i}, 1};
        while (n > wanted[k]) n = plain_pass(g, n, wanted[k], rows, WIDTH);
        assert_int_equal(n, wanted[k]);
        float *got = merged((struct eye_merge){EYE_MERGE_SIMILAR, N, n, WIDTH}, NULL, rows);
        for (size_t i = 0; i < n; i++) {
            mean_of(&g[i], rows, WIDTH, mean);
            assert_near(got + i * WIDTH, mean, WIDTH, 4 * (double)g[i].n + 4);
        }
        free(rows), free(got);
    }
}

static void test_similar_at_the_edges(void **state) {
    enum { WIDTH = 3 };
    float twice[] = {1, 2, 3, 1, 2, 3, -3, 0, 1, -3, 0, 1}, zero[4 * WIDTH] = {0}, odd[5 * WIDTH];
    float *got = merged((struct eye_merge){EYE_MERGE_SIMILAR, 4, 2, WIDTH}, NULL, twice);
    assert_memory_equal(got, twice, sizeof(float) * WIDTH);
    assert_memory_equal(got + WIDTH, twice + 2 * WIDTH, sizeof(float) * WIDTH);
    free(got);
    got = merged((struct eye_merge){EYE_MERGE_SIMILAR, 4, 1, WIDTH}, NULL, zero);
    for (int i = 0; i < WIDTH; i++) assert_true(got[i] == 0);
    free(got);
    for (size_t i = 0; i < EYE_COUNT(odd); i++) odd[i] = i / WIDTH == 2 ? 0 : (float)i;
    odd[0] = NAN; /* least like all others: it stays alone as long as it can */
    got = merged((struct eye_merge){EYE_MERGE_SIMILAR, 5, 3, WIDTH}, NULL, odd);
    assert_true(isnan(got[0]) && !isnan(got[WIDTH]) && !isnan(got[2 * WIDTH]));
    free(got);
}

static void test_threads_change_nothing(void **state) {
    enum { WIDTH = 67, N = 81 };
    struct eye_pool *pool;
    float *rows = noise(N * WIDTH, 3);
    ok(eye_pool_new(&pool, 3, NULL, &err));
    for (int how = 0; how < 2; how++) {
        struct eye_merge m = {(enum eye_image_merge)how, N, 16, WIDTH};
        float *a = merged(m, NULL, rows), *b = merged(m, pool, rows);
        assert_memory_equal(a, b, m.n_out * WIDTH * sizeof *a);
        free(a), free(b);
    }
    eye_pool_free(pool);
    free(rows);
}

/* ---- through a model ---- */

enum { SIDE = 97 };
static uint8_t rgb[SIDE * SIDE * 3];

static struct eye_image picture(void) {
    struct eye_image img;
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * 37 + i / 29 * 11);
    ok(eye_image_wrap(&img, rgb, SIDE, SIDE, 0, &err));
    return img;
}

static struct eye_model *open_model(struct eye_model_opts o) {
    struct eye_model *m;
    ok(eye_model_open(folder, &o, &m, &err));
    return m;
}

static float *rows_of(struct eye_model_opts o, size_t *n) {
    struct eye_model *m = open_model(o);
    struct eye_session *s;
    struct eye_image img = picture();
    *n = (size_t)eye_model_image_rows(m, &img);
    assert_int_equal(*n, eye_model_image_tokens(m));
    float *rows = floats(*n * (size_t)eye_model_hidden(m) + 1);
    rows[*n * (size_t)eye_model_hidden(m)] = 42;
    ok(eye_session_new(m, NULL, &s, &err));
    ok(eye_session_encode_image(s, &img, rows, NULL, &err));
    assert_true(rows[*n * (size_t)eye_model_hidden(m)] == 42);
    eye_session_free(s);
    eye_model_close(m);
    return rows;
}

static void test_rows_of_a_model(void **state) {
    size_t n_all, n, width;
    struct eye_model *m = open_model((struct eye_model_opts){0});
    width = (size_t)eye_model_hidden(m);
    eye_model_close(m);
    float *all = rows_of((struct eye_model_opts){0}, &n_all);
    assert_true(n_all >= 4);
    for (int how = 0; how < 2; how++)
        for (int32_t most = 1; most <= (int32_t)n_all + 1; most++) {
            struct eye_model_opts o = {.n_threads = 1 + how, .image_tokens = most, .image_merge = (enum eye_image_merge)how};
            float *got = rows_of(o, &n);
            assert_int_equal(n, eye_merge_rows(o.image_merge, (int64_t)n_all, most));
            float *want = n < n_all ? merged((struct eye_merge){o.image_merge, n_all, n, width}, NULL, all) : NULL;
            assert_memory_equal(got, want ? want : all, n * width * sizeof *got);
            free(got), free(want);
        }
    free(all);
}

static struct answer ask_model(struct eye_model *m, const char *prefix_file, bool load) {
    struct eye_image img = picture();
    struct eye_query q = {.text = "What is it?", .images = &img, .n_images = 1}, rest = {.text = "What is it?"};
    struct eye_query first = {.images = &img, .n_images = 1};
    struct eye_session *s;
    ok(eye_session_new(m, NULL, &s, &err));
    if (prefix_file && !load) {
        ok(eye_session_prefix(s, &first, &err));
        ok(eye_session_save(s, prefix_file, &err));
    }
    if (prefix_file && load) ok(eye_session_load(s, prefix_file, &err));
    struct answer a = ask(s, prefix_file ? rest : q);
    eye_session_free(s);
    return a;
}

/* Answers stand on that many rows; prefix files and the folder of rows hold merged ones, and never take others for theirs. */
static void test_answers_and_caches(void **state) {
    char file[600], dir[600];
    struct eye_model_opts o[] = {{0}, {.image_tokens = 4, .image_merge = EYE_MERGE_SIMILAR}, {.image_tokens = 4, .image_merge = EYE_MERGE_POOL}};
    struct answer a[EYE_COUNT(o)];
    snprintf(file, sizeof file, "%s", eye_scratch_path("merge.prefix"));
    snprintf(dir, sizeof dir, "%s", eye_scratch_path("merge.rows"));
    for (size_t i = 0; i < EYE_COUNT(o); i++) {
        struct eye_model *m = open_model(o[i]);
        a[i] = ask_model(m, NULL, false);
        assert_int_equal(a[i].n_image, eye_model_image_tokens(m));
        assert_int_equal(a[i].n_prompt + a[0].n_image, a[0].n_prompt + a[i].n_image);
        struct answer made = ask_model(m, file, false), loaded = ask_model(m, file, true);
        assert_same(&a[i], &made);
        assert_same(&a[i], &loaded);
        assert_int_equal(loaded.vision_us, 0);
        eye_model_close(m);
        o[i].cache_dir = dir;
        for (int again = 0; again < 2; again++) {
            m = open_model(o[i]);
            struct answer b = ask_model(m, NULL, false);
            assert_same(&a[i], &b);
            assert_int_equal(b.vision_us == 0, again);
            eye_model_close(m);
        }
    }
    assert_true(memcmp(a[0].logprob, a[1].logprob, sizeof a[0].logprob) != 0);
    assert_true(memcmp(a[2].logprob, a[1].logprob, sizeof a[0].logprob) != 0);
    for (size_t i = 0; i < 2; i++) { /* the file is the last one's */
        struct eye_model *other = open_model(o[i]);
        struct eye_session *s;
        ok(eye_session_new(other, NULL, &s, &err));
        assert_int_equal(eye_session_load(s, file, &err), EYE_E_ARG);
        assert_non_null(strstr(err.text, "image side and tokens"));
        eye_session_free(s);
        eye_model_close(other);
    }
}

static void test_batch_is_a_session(void **state) {
    struct eye_image img = picture();
    struct eye_query q = {.text = "What is it?", .images = &img, .n_images = 1};
    for (int how = 0; how < 2; how++) {
        struct eye_model *m = open_model((struct eye_model_opts){.n_threads = 2, .image_tokens = 3, .n_ctx = 256,
                                                                 .image_merge = (enum eye_image_merge)how});
        struct answer want = ask_model(m, NULL, false), got[2];
        struct eye_batch *b;
        ok(eye_batch_new(m, &(struct eye_batch_opts){.n_slots = 2}, &b, &err));
        for (int i = 0; i < 2; i++) { /* the second time from the cache */
            struct eye_batch_request r = {.query = &q, .opts = &answer_opts, .on_done = keep_answer, .ctx = &got[i]};
            ok(eye_batch_submit(b, &r, NULL, &err));
            eye_batch_run(b, true);
            assert_same(&want, &got[i]);
        }
        eye_batch_free(b);
        eye_model_close(m);
    }
}

static void test_wrong_options(void **state) {
    static const struct eye_model_opts wrong[] = {{.image_tokens = -1}, {.image_merge = (enum eye_image_merge)2}};
    static const char *const says[] = {"image_tokens is -1", "image_merge is not one"};
    for (size_t i = 0; i < EYE_COUNT(wrong); i++) {
        struct eye_model *m;
        assert_int_equal(eye_model_open(folder, &wrong[i], &m, &err), EYE_E_ARG);
        assert_non_null(strstr(err.text, says[i]));
    }
}

static void test_memory_runs_out(void **state) {
    struct eye_image img = picture();
    for (long n_ok = 0;; n_ok += 1 + n_ok / 8) {
        struct eye_faulty f;
        struct eye_model *m;
        struct eye_session *s;
        eye_faulty_init(&f, n_ok);
        struct eye_model_opts o = {.n_threads = 1, .n_ctx = 64, .image_tokens = 1, .alloc = &f.alloc};
        enum eye_status st = eye_model_open(folder, &o, &m, &err);
        if (st == EYE_OK) {
            st = eye_session_new(m, NULL, &s, &err);
            if (st == EYE_OK) {
                float *row = floats((size_t)eye_model_hidden(m));
                st = eye_session_encode_image(s, &img, row, NULL, &err);
                free(row);
                eye_session_free(s);
            }
            eye_model_close(m);
        }
        assert_int_equal(f.n_live, 0);
        if (st == EYE_OK) break;
        assert_int_equal(st, EYE_E_NOMEM);
    }
}

static int make(void **state) {
    snprintf(folder, sizeof folder, "%s", eye_scratch_path("model"));
    return eye_make_tiny(folder, &err) == EYE_OK ? 0 : 1;
}

static int unmake(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_pool_is_the_mean_of_what_a_cell_touches),
        cmocka_unit_test(test_similar_is_bipartite_matching),
        cmocka_unit_test(test_similar_at_the_edges),
        cmocka_unit_test(test_threads_change_nothing),
        cmocka_unit_test(test_rows_of_a_model),
        cmocka_unit_test(test_answers_and_caches),
        cmocka_unit_test(test_batch_is_a_session),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
