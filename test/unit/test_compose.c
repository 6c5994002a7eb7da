/* Compositions, MobileNetV3 and GPT-2: test/golden/compose holds configurations, lists of tensors (their values are a formula)
 * and what torchvision and transformers made of them in float64 (test/reference/compose.py --fixtures). Every part by the
 * oracle, unfolded and folded, from the folder and from its GGUF; the tower by the engine; whole sessions token by token. Then
 * configurations that must fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "eyelet/convert.h"
#include "eyelet/experimental.h"
#include "eyelet/eyelet.h"
#include "golden_help.h"
#include "support/eval_model.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

static const char *const cases[] = {"small-map", "small-classifier", "large-pooled", "minimal-tap"};
static const int32_t ids[] = {5, 77, 201, 33, 118};
static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static const char *folder(const char *name) { return listed_folder("compose", name); }

/* Some 70 results on the way are rounded to f32 (6e-8 of their size each); layers amplify by a few. */
static void assert_golden(const char *name, const char *what, const float *got, int64_t n) {
    assert_near_golden("compose", name, what, got, (size_t)n, 2e-5);
}

static void check_parts(const char *name, const struct eye_vlm *m, bool fold) {
    struct eye_evaluated e;
    float *px = eye_test_pixels(m->config.prep.side_px, 1);
    eye_eval_model(m, fold, px, NULL, 0, ids, EYE_COUNT(ids), &e);
    assert_int_equal(e.n_features / m->config.vision.channels, eye_vlm_image_tokens(m, m->config.prep.side_px));
    assert_golden(name, "features", e.features, e.n_features);
    assert_golden(name, "projected", e.projected, e.n_projected);
    assert_golden(name, "logits", e.logits, e.n_logits);
    eye_evaluated_free(&e);
    free(px);
}

/* The tower as sessions run it: folded, fused, planned. */
static void check_engine(const char *name, const struct eye_vlm *m) {
    struct eye_engine engine;
    struct eye_graph g;
    struct eye_plan *plan;
    struct eye_exec *x;
    struct eye_plan_opts o = {.max_t = 1};
    float *px = eye_test_pixels(m->config.prep.side_px, 1);
    ok(eye_engine_init(&engine, 2, UINT32_MAX, NULL, &err));
    ok(eye_vlm_graph(m, EYE_PART_VISION, 0, &g, &err));
    ok(eye_graph_fold(&g, &err));
    ok(eye_graph_fuse(&g, false, &err));
    ok(eye_plan_new(&plan, &engine, &g, &o, &err));
    ok(eye_exec_new(&x, plan, &err));
    int64_t n = eye_dim(&g, g.output[0], 0) * eye_dim(&g, g.output[0], 1);
    float *y = malloc((size_t)n * sizeof *y);
    struct eye_io in = {g.input[0], px}, out = {g.output[0], y};
    ok(eye_exec_run(x, NULL, &(struct eye_bind){.t = 1}, &in, 1, &out, 1, NULL, NULL, &err));
    assert_golden(name, "features", y, n);
    free(y);
    free(px);
    eye_exec_free(x);
    eye_plan_free(plan);
    eye_graph_clear(&g);
    eye_engine_clear(&engine);
}

static void parts_match_pytorch(void **state) {
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_opened m;
        char gguf[1100];
        const char *dir = folder(cases[i]);
        eye_open_model(&m, dir);
        check_parts(cases[i], &m.m, false);
        check_parts(cases[i], &m.m, true);
        check_engine(cases[i], &m.m);
        eye_close_model(&m);
        snprintf(gguf, sizeof gguf, "%s.gguf", dir);
        ok(eye_convert(dir, gguf, NULL, NULL, &err));
        eye_open_model(&m, gguf);
        check_parts(cases[i], &m.m, true);
        eye_close_model(&m);
    }
}

/* ---- sessions ---- */

static int32_t argmax(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

/* [image rows][ids], then greedy: a prefill and single steps. */
static void check_session(const char *name) {
    struct eye_model *m;
    struct eye_session *s;
    struct eye_image img;
    size_t n_want, n_ids;
    int32_t *want = golden("compose", name, "greedy", &n_want), all[256], asked[256];
    ok(eye_model_open(folder(name), NULL, &m, &err));
    ok(eye_session_new(m, NULL, &s, &err));
    ok(eye_image_load(TEST_DATA "/../doc/demo.jpg", NULL, &img, &err));
    size_t rows = (size_t)eye_model_image_tokens(m), vocab = (size_t)eye_model_n_vocab(m);
    float *x = malloc(rows * (size_t)eye_model_hidden(m) * sizeof *x), *logits = malloc(vocab * sizeof *logits);
    for (size_t i = 0; i < rows; i++) all[i] = EYE_TOKEN_IMAGE_ROW;
    memcpy(all + rows, ids, sizeof ids);
    ok(eye_session_encode_image(s, &img, x, NULL, &err));
    ok(eye_session_prefill(s, all, rows + EYE_COUNT(ids), x, logits, &err));
    for (size_t i = 0; i < n_want; i++) {
        assert_int_equal(argmax(logits, vocab), want[i]);
        ok(eye_session_step(s, want[i], logits, &err));
    }
    /* a query puts its image rows first without being told */
    struct eye_query q = {.text = "A picture", .images = &img, .n_images = 1};
    ok(eye_session_assemble(s, &q, asked, EYE_COUNT(asked), &n_ids, NULL, &err));
    for (size_t i = 0; i < n_ids; i++) assert_int_equal(asked[i] == EYE_TOKEN_IMAGE_ROW, i < rows);
    assert_true(n_ids > rows);
    free(logits);
    free(x);
    free(want);
    eye_image_free(&img);
    eye_session_free(s);
    eye_model_close(m);
}

static void sessions_match_pytorch(void **state) {
    for (size_t i = 0; i < EYE_COUNT(cases); i++) check_session(cases[i]);
}

/* What enters the first layer: rows and words, each with its position. */
static float *placed(const struct eye_model_opts *o, size_t *n_rows, size_t *n, size_t *width) {
    struct eye_model *m;
    struct eye_image img;
    struct eye_array a;
    ok(eye_model_open(folder("minimal-tap"), o, &m, &err));
    ok(eye_image_load(TEST_DATA "/../doc/demo.jpg", NULL, &img, &err));
    struct eye_query q = {.text = "A picture", .images = &img, .n_images = 1};
    ok(eye_probe_run(m, &(struct eye_probe){.stage = EYE_PROBE_LAYER, .layer = "t.positions", .query = &q}, &a, &err));
    *n_rows = (size_t)eye_model_image_tokens(m);
    *n = (size_t)a.dims[0];
    *width = (size_t)a.dims[1];
    float *copy = malloc(a.bytes);
    assert_non_null(copy);
    memcpy(copy, a.data, a.bytes);
    eye_array_free(&a);
    eye_image_free(&img);
    eye_model_close(m);
    return copy;
}

/* Where rows are merged, words keep the positions they had behind all of them; a merged row has its rows' mean position. */
static void learned_positions_of_merged_rows(void **state) {
    size_t n_all, n_rows, n_merged, width;
    float *all = placed(NULL, &n_rows, &n_all, &width);
    assert_true(n_rows > 4);
    for (int how = 0; how < 2; how++) {
        size_t now;
        struct eye_model_opts o = {.image_tokens = 1, .image_merge = (enum eye_image_merge)how};
        float *got = placed(&o, &now, &n_merged, &width);
        assert_int_equal(now, 1);
        assert_int_equal(n_merged, n_all - n_rows + 1);
        assert_memory_equal(got + width, all + n_rows * width, (n_all - n_rows) * width * sizeof *got);
        for (size_t c = 0; c < width; c++) {
            double sum = 0;
            for (size_t i = 0; i < n_rows; i++) sum += (double)all[i * width + c];
            assert_true(fabs((double)got[c] - sum / (double)n_rows) < 1e-5 * (1 + fabs(sum)));
        }
        free(got);
    }
    free(all);
    struct eye_model *m; /* as many words as before */
    struct eye_model_info info;
    struct eye_model_opts o = {.image_tokens = 1, .n_ctx = 128};
    assert_int_equal(eye_model_open(folder("minimal-tap"), &o, &m, &err), EYE_E_ARG);
    o.n_ctx = 0;
    ok(eye_model_open(folder("minimal-tap"), &o, &m, &err));
    eye_model_get_info(m, &info);
    assert_int_equal(info.n_ctx, 128 - (int32_t)n_rows + 1);
    eye_model_close(m);
}

/* A folder as transformers writes it: its own names, matrices stored [in, out], no eyes. */
static void gpt2_alone(void **state) {
    struct eye_model *m;
    struct eye_session *s;
    struct eye_image img;
    size_t n_want;
    int32_t *want = golden("compose", "gpt2", "greedy", &n_want);
    char gguf[1100];
    snprintf(gguf, sizeof gguf, "%s.gguf", folder("gpt2"));
    ok(eye_convert(folder("gpt2"), gguf, NULL, NULL, &err));
    for (int i = 0; i < 2; i++) {
        ok(eye_model_open(i ? gguf : folder("gpt2"), NULL, &m, &err));
        ok(eye_session_new(m, NULL, &s, &err));
        size_t vocab = (size_t)eye_model_n_vocab(m);
        float *logits = malloc(vocab * sizeof *logits);
        ok(eye_session_prefill(s, ids, EYE_COUNT(ids), NULL, logits, &err));
        assert_golden("gpt2", "logits", logits, (int64_t)vocab);
        for (size_t k = 0; k < n_want; k++) {
            assert_int_equal(argmax(logits, vocab), want[k]);
            ok(eye_session_step(s, want[k], logits, &err));
        }
        assert_int_equal(eye_model_image_tokens(m), 0);
        ok(eye_image_load(TEST_DATA "/../doc/demo.jpg", NULL, &img, &err));
        assert_int_not_equal(eye_session_encode_image(s, &img, logits, NULL, &err), EYE_OK);
        eye_image_free(&img);
        free(logits);
        eye_session_free(s);
        eye_model_close(m);
    }
    free(want);
}

/* Learned positions end: a context beyond them is refused when it is asked for. */
static void positions_end(void **state) {
    struct eye_model_opts o = {.n_ctx = 129};
    struct eye_model *m;
    assert_int_equal(eye_model_open(folder("small-map"), &o, &m, &err), EYE_E_ARG);
    assert_non_null(strstr(err.text, "at most 128"));
}

/* ---- what must fail ---- */

/* The folder's config.json with one replacement, in a folder of its own. */
static const char *edited(const char *name, const char *find, const char *replace) {
    static char path[1024];
    static int n;
    char config[1100], from[1024];
    struct eye_map map;
    struct eye_buf b;
    snprintf(from, sizeof from, "%s/golden/compose/%s", TEST_DATA, name);
    snprintf(config, sizeof config, "%s/config.json", from);
    snprintf(path, sizeof path, "%s/edited-%d", eye_scratch_dir(), n++);
    ok(eye_make_listed(from, N_BPE, path, &err));
    ok(eye_map_open(&map, config, true, 0, &err));
    const char *p = (const char *)map.p, *at = memmem(p, map.size, find, strlen(find));
    if (!at) fail_msg("%s has no %s", config, find);
    eye_buf_init(&b, NULL);
    eye_buf_add(&b, p, (size_t)(at - p));
    eye_buf_adds(&b, replace);
    eye_buf_adds(&b, at + strlen(find));
    eye_map_close(&map);
    ok(eye_mk_write_file(path, "config.json", b.p, b.len, &err));
    eye_buf_clear(&b);
    return path;
}

static void wrong_compositions_fail(void **state) {
    static const struct { const char *name, *find, *replace; enum eye_status st; const char *says; } t[] = {
        {"small-map", "\"mobilenetv3\"", "\"mobilenetv4\"", EYE_E_UNSUPPORTED, "vision.type: got \"mobilenetv4\""},
        {"small-map", "\"vision\"", "\"sight\"", EYE_E_CORRUPT, "vision: missing"},
        {"small-map", "\"small\"", "\"tiny\"", EYE_E_UNSUPPORTED, "small_minimalistic"},
        {"small-map", "\"variant\": \"small\", ", "", EYE_E_CORRUPT, "vision.variant"},
        {"small-map", "\"width\": 0.25", "\"width\": 1e9", EYE_E_CORRUPT, "vision.width"},
        {"small-map", "\"width\": 0.25", "\"width\": 0.5", EYE_E_CORRUPT, "v.features.2.block.0.0.weight"},
        {"small-map", "\"image_size\": 65", "\"image_size\": 0", EYE_E_CORRUPT, "vision.image_size"},
        {"small-map", "\"width\": 0.25", "\"width\": 0.25, \"padding\": \"valid\"", EYE_E_UNSUPPORTED, "tf_same"},
        {"small-map", "\"width\": 0.25", "\"width\": 0.25, \"batch_norm\": false", EYE_E_CORRUPT, "v.features.0.0.bias"},
        {"minimal-tap", "\"tap\": 12", "\"tap\": 17", EYE_E_CORRUPT, "vision.tap"},
        {"minimal-tap", "\"tap\": 12", "\"tap\": 13", EYE_E_CORRUPT, "v.features.13.block"},
        {"minimal-tap", "\"tap\": 12", "\"tap\": 3, \"output\": \"pooled\"", EYE_E_UNSUPPORTED, "tap"},
        {"small-map", "\"linear\"", "\"mlp9x_relu\"", EYE_E_UNSUPPORTED, "projector.type"},
        {"small-map", "\"linear\"", "\"identity\"", EYE_E_CORRUPT, "without a projector"},
        {"small-map", "\"linear\"", "\"linear\", \"shuffle\": 2", EYE_E_UNSUPPORTED, "pixel shuffle: 9 features"},
        {"small-map", "\"linear\"", "\"linear\", \"shuffle\": 17", EYE_E_CORRUPT, "projector.shuffle"},
        {"small-map", "\"gpt2\"", "\"gpt9\"", EYE_E_UNSUPPORTED, "text.type"},
        {"small-map", "\"n_head\": 4", "\"n_head\": 5", EYE_E_CORRUPT, "n_embd"},
        {"small-map", "\"n_head\": 4", "\"n_head\": 4, \"activation_function\": \"relu\"", EYE_E_UNSUPPORTED, "gelu_new"},
        {"small-map", "\"n_positions\": 128", "\"n_positions\": 129", EYE_E_CORRUPT, "position_embd.weight"},
        {"small-classifier", "\"embedding_rows\": 333", "\"embedding_rows\": 100", EYE_E_CORRUPT, "embedding_rows"},
        {"small-classifier", "\"embedding_rows\": 333", "\"embedding_rows\": 334", EYE_E_CORRUPT, "token_embd.weight"},
        {"small-classifier", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", EYE_E_CORRUPT,
         "token_embd.weight"},
        {"small-map", "\"n_layer\": 2", "\"n_layer\": 3", EYE_E_CORRUPT, "12 tensors missing"},
        {"small-map", "\"first\"", "\"last\"", EYE_E_UNSUPPORTED, "image_position"},
        {"small-map", "\"stretch\"", "\"squeeze\"", EYE_E_UNSUPPORTED, "preprocessing.fit"},
        {"small-map", "\"bilinear\"", "\"nearest\"", EYE_E_UNSUPPORTED, "preprocessing.resample"},
        {"small-map", "\"image_position\"", "\"chat_template\": \"klingon\", \"image_position\"", EYE_E_UNSUPPORTED, "klingon"},
    };
    for (size_t i = 0; i < EYE_COUNT(t); i++) {
        struct eye_model *m = NULL;
        enum eye_status st = eye_model_open(edited(t[i].name, t[i].find, t[i].replace), NULL, &m, &err);
        if (st == EYE_OK) eye_model_close(m);
        assert_true(eye_error_is(t[i].replace, st, t[i].st, &err, t[i].says));
    }
}

/* A tower cut at an earlier tap does not need its later tensors, and says nothing about them. */
static void taps_leave_the_rest(void **state) {
    struct eye_opened m;
    struct eye_graph g;
    eye_open_model(&m, edited("minimal-tap", "\"tap\": 12}, \"projector\": {\"type\": \"linear\", \"bias\": false}",
                              "\"tap\": 11}, \"projector\": {\"type\": \"linear\", \"bias\": false}"));
    ok(eye_vlm_graph(&m.m, EYE_PART_VISION, 0, &g, &err));
    assert_int_equal(eye_graph_find(&g, "v.features.12"), EYE_NONE);
    assert_int_equal(eye_dim(&g, g.output[0], 0), 25);
    eye_graph_clear(&g);
    eye_close_model(&m);
}

static int teardown(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_match_pytorch),     cmocka_unit_test(sessions_match_pytorch), cmocka_unit_test(gpt2_alone),
        cmocka_unit_test(wrong_compositions_fail), cmocka_unit_test(taps_leave_the_rest),    cmocka_unit_test(positions_end),
        cmocka_unit_test(learned_positions_of_merged_rows),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
