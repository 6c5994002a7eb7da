/* SmolVLM: test/golden/smolvlm is a tiny checkpoint as transformers saves it and what PyTorch made of two drawings in one prompt
 * (test/reference/smolvlm.py --fixtures): the prompt's ids, rows of all tiles, logits, greedy tokens, from the folder and from
 * its GGUF. Then prompts that are cut, pictures without tiles, and configurations that must fail.
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
#include <sys/stat.h>

#include "answer_help.h"
#include "eyelet/batch.h"
#include "eyelet/convert.h"
#include "eyelet/eyelet.h"
#include "golden_help.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

#define GOLDEN TEST_DATA "/golden/smolvlm"
#define PROMPT "describe the edge of this picture"
enum { N_ANSWER = 16, ROWS = 4, MOST = ROWS * 17 }; /* of a picture: (32 / 8)^2 / 2^2; of an image: (128 / 32)^2 + 1 pictures */

static struct eye_err err;
static uint8_t *pixels[2];
static struct eye_image images[2];

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

/* float32 against float32, as in test/reference/reference.py; it is 6e-7. */
static void assert_near(const char *what, const float *got, size_t n) {
    assert_near_golden("smolvlm", "", what, got, n, 1e-4);
}

static struct eye_query query(size_t n_images) {
    return (struct eye_query){.text = PROMPT, .images = images, .n_images = n_images};
}

static void check_model(const char *path) {
    struct eye_model_opts exact = {.vision_type = EYE_WEIGHT_F32, .decoder_type = EYE_WEIGHT_F32};
    struct eye_model *m;
    struct eye_session *s;
    size_t n, n_want;
    bool cut;
    ok(eye_model_open(path, &exact, &m, &err));
    assert_int_equal(eye_model_image_tokens(m), MOST);
    ok(eye_session_new(m, NULL, &s, &err));
    struct eye_query q = query(2);
    int32_t ids[512], *want = golden("smolvlm", "", "ids", &n_want);
    ok(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n, &cut, &err));
    assert_int_equal(n, n_want);
    assert_memory_equal(ids, want, n * sizeof *ids);
    free(want);
    /* Rows of both images, one after the other, and nothing written behind them. */
    size_t width = (size_t)eye_model_hidden(m), first = (size_t)eye_model_image_rows(m, &images[0]),
           second = (size_t)eye_model_image_rows(m, &images[1]);
    float *rows = malloc(((first + second) * width + 1) * sizeof *rows);
    float *logits = malloc((size_t)eye_model_n_vocab(m) * sizeof *logits);
    rows[(first + second) * width] = 42;
    ok(eye_session_encode_image(s, &images[0], rows, NULL, &err));
    ok(eye_session_encode_image(s, &images[1], rows + first * width, NULL, &err));
    assert_true(rows[(first + second) * width] == 42);
    assert_near("projected", rows, (first + second) * width);
    ok(eye_session_prefill(s, ids, n, rows, logits, &err));
    assert_near("logits", logits, (size_t)eye_model_n_vocab(m));
    free(rows);
    free(logits);
    struct eye_result r;
    struct eye_generate_opts greedy = {.n_predict = N_ANSWER, .ignore_eos = true};
    eye_session_reset(s);
    ok(eye_session_generate(s, &q, &greedy, &r, &err));
    want = golden("smolvlm", "", "greedy", &n_want);
    assert_int_equal(r.n_tokens, n_want);
    assert_memory_equal(r.tokens, want, n_want * sizeof *want);
    assert_int_equal(r.n_image_tok, first + second);
    free(want);
    eye_session_free(s);
    eye_model_close(m);
}

static void folder_and_gguf_are_pytorch(void **state) {
    char path[1024];
    check_model(GOLDEN);
    snprintf(path, sizeof path, "%s/smolvlm.gguf", eye_scratch_dir());
    ok(eye_convert(GOLDEN, path, NULL, NULL, &err));
    check_model(path);
}

/* Words go, tiles and what stands around them stay. */
static void long_questions_are_cut(void **state) {
    struct eye_model *m;
    struct eye_session *s;
    size_t n, n_cut, n_rows = 0;
    bool cut;
    int32_t whole[512], ids[512];
    ok(eye_model_open(GOLDEN, NULL, &m, &err));
    struct eye_session_opts small = {.n_ctx = 128};
    ok(eye_session_new(m, &small, &s, &err));
    struct eye_query q = query(1);
    ok(eye_session_assemble(s, &q, whole, EYE_COUNT(whole), &n, &cut, &err));
    assert_false(cut);
    char words[4096];
    memset(words, 'a', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    q.text = words;
    assert_int_equal(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n_cut, &cut, &err), EYE_E_LIMIT);
    q.truncate = true;
    ok(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n_cut, &cut, &err));
    assert_true(cut && n_cut <= 127);
    for (size_t i = 0; i < n_cut; i++) n_rows += ids[i] == EYE_TOKEN_IMAGE_ROW;
    assert_int_equal(n_rows, eye_model_image_rows(m, &images[0]));
    size_t same = 0;
    while (same < n && same < n_cut && whole[same] == ids[same]) same++;
    for (size_t i = same; i < n_cut; i++) assert_true(ids[i] != EYE_TOKEN_IMAGE_ROW);
    eye_session_free(s);
    eye_model_close(m);
}

static void a_fit_takes_the_place_of_tiles(void **state) {
    struct eye_model_opts pad = {.fit = EYE_FIT_PAD};
    struct eye_model *m;
    struct eye_session *s;
    struct eye_result r;
    struct eye_generate_opts one = {.n_predict = 1, .ignore_eos = true};
    ok(eye_model_open(GOLDEN, &pad, &m, &err));
    assert_int_equal(eye_model_image_tokens(m), ROWS);
    ok(eye_session_new(m, NULL, &s, &err));
    struct eye_query q = query(2);
    ok(eye_session_generate(s, &q, &one, &r, &err));
    assert_int_equal(r.n_image_tok, 2 * ROWS);
    eye_session_free(s);
    eye_model_close(m);
}

/* Each tile's rows are merged for themselves: as many tiles, fewer rows of each. */
static void tiles_are_merged_one_by_one(void **state) {
    static const struct eye_model_opts opts[] = {{0}, {.image_tokens = 1, .image_merge = EYE_MERGE_POOL}, {.image_tokens = 3}};
    float *rows[EYE_COUNT(opts)];
    size_t n[EYE_COUNT(opts)], each[EYE_COUNT(opts)] = {ROWS, 1, 3}, width = 0;
    for (size_t i = 0; i < EYE_COUNT(opts); i++) {
        struct eye_model *m;
        struct eye_session *s;
        size_t n_ids, n_rows = 0;
        bool cut;
        int32_t ids[512];
        ok(eye_model_open(GOLDEN, &opts[i], &m, &err));
        ok(eye_session_new(m, NULL, &s, &err));
        assert_int_equal(eye_model_image_tokens(m), MOST / ROWS * each[i]);
        width = (size_t)eye_model_hidden(m);
        n[i] = (size_t)eye_model_image_rows(m, &images[0]);
        assert_int_equal(n[i] / each[i], n[0] / ROWS);
        rows[i] = malloc(n[i] * width * sizeof **rows);
        assert_non_null(rows[i]);
        ok(eye_session_encode_image(s, &images[0], rows[i], NULL, &err));
        struct eye_query q = query(1);
        ok(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n_ids, &cut, &err));
        for (size_t k = 0; k < n_ids; k++) n_rows += ids[k] == EYE_TOKEN_IMAGE_ROW;
        assert_int_equal(n_rows, n[i]);
        eye_session_free(s);
        eye_model_close(m);
    }
    for (size_t tile = 0; tile < n[1]; tile++)
        for (size_t c = 0; c < width; c++) {
            double sum = 0;
            for (size_t k = 0; k < ROWS; k++) sum += (double)rows[0][(tile * ROWS + k) * width + c];
            assert_true(fabs((double)rows[1][tile * width + c] - sum / ROWS) < 1e-5);
        }
    for (size_t i = 0; i < EYE_COUNT(opts); i++) free(rows[i]);
}

/* ---- configurations that must fail ---- */

/* ---- caches ---- */

static void merged_tiles_in_a_batch(void **state) {
    static const struct eye_model_opts opts[] = {{.image_tokens = 1, .image_merge = EYE_MERGE_POOL}, {.image_tokens = 3}};
    struct eye_query q = query(2);
    for (size_t i = 0; i < EYE_COUNT(opts); i++) {
        struct eye_model *m;
        struct eye_session *s;
        struct eye_batch *b;
        struct answer batched;
        struct eye_batch_request r = {.query = &q, .opts = &answer_opts, .on_done = keep_answer, .ctx = &batched};
        ok(eye_model_open(GOLDEN, &opts[i], &m, &err));
        ok(eye_session_new(m, NULL, &s, &err));
        struct answer alone = ask(s, q);
        ok(eye_batch_new(m, &(struct eye_batch_opts){.n_slots = 1}, &b, &err));
        ok(eye_batch_submit(b, &r, NULL, &err));
        eye_batch_run(b, true);
        assert_same(&alone, &batched);
        eye_batch_free(b);
        eye_session_free(s);
        eye_model_close(m);
    }
}

/* Tiles of two images and their words, from a prefix file and from the folder of images: as without, bit for bit. */
static void caches_hold_tiles(void **state) {
    static const char *const cut[][2] = {{NULL, PROMPT}, {"describe the ed", "ge of this picture"}, {PROMPT, NULL}};
    const char *dir = eye_scratch_path("smolvlm.rows");
    struct eye_model_opts cached = {.cache_dir = dir};
    struct eye_model *m[2];
    struct eye_session *s[3];
    ok(eye_model_open(GOLDEN, NULL, &m[0], &err));
    ok(eye_model_open(GOLDEN, &cached, &m[1], &err));
    for (int i = 0; i < 3; i++) ok(eye_session_new(m[i == 2], NULL, &s[i], &err));
    char *file = strdup(eye_scratch_path("smolvlm.prefix"));
    struct answer miss = ask(s[0], query(2));
    assert_true(miss.n_image > 2 * ROWS); /* more than one picture an image */
    assert_int_equal(miss.n_cached, 0);
    for (size_t i = 0; i < EYE_COUNT(cut); i++) {
        struct eye_query first = query(2), rest = {.text = cut[i][1]};
        first.text = cut[i][0];
        ok(eye_session_prefix(s[0], &first, &err));
        ok(eye_session_save(s[0], file, &err));
        ok(eye_session_load(s[1], file, &err));
        struct answer hit = ask(s[1], rest);
        assert_same(&miss, &hit);
        assert_int_equal(hit.vision_us, 0);
        assert_true(hit.n_cached >= miss.n_image);
    }
    for (int again = 0; again < 2; again++) {
        eye_session_reset(s[2]);
        struct answer a = ask(s[2], query(2));
        assert_same(&miss, &a);
        assert_int_equal(a.vision_us == 0, again);
    }
    for (int i = 0; i < 3; i++) eye_session_free(s[i]);
    for (int i = 0; i < 2; i++) eye_model_close(m[i]);
    free(file);
}

static char *file_text(const char *name, size_t *n) {
    char path[1024];
    snprintf(path, sizeof path, GOLDEN "/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *p = calloc(1, 200000);
    *n = fread(p, 1, 200000 - 1, f);
    fclose(f);
    return p;
}

static void wrong_configurations_are_named(void **state) {
    static const char *const file[] = {"config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"};
    static const struct {
        size_t i_file;
        const char *from, *to;
        enum eye_status want;
        const char *says;
    } rows[] = {
        {0, "\"image_size\": 32", "\"image_size\": 152", EYE_E_UNSUPPORTED, "19 patches across"},
        {0, "\"image_size\": 32", "\"image_size\": 4", EYE_E_CORRUPT, "patch_size"},
        {0, "\"scale_factor\": 2", "\"scale_factor\": 3", EYE_E_UNSUPPORTED, "pixel shuffle"},
        {0, "\"scale_factor\": 2", "\"scale_factor\": 0", EYE_E_CORRUPT, "scale_factor"},
        {0, "\"vision_config\"", "\"vision\"", EYE_E_CORRUPT, "vision_config"},
        {0, "\"text_config\"", "\"text\"", EYE_E_CORRUPT, "text_config"},
        {1, "\"longest_edge\": 32", "\"longest_edge\": 40", EYE_E_ARG, "40"},
        {1, "\"longest_edge\": 128", "\"longest_edge\": 5000", EYE_E_CORRUPT, "longest_edge"},
        {1, "\"longest_edge\": 128", "\"longest_edge\": 0", EYE_E_CORRUPT, "longest_edge"},
        {1, "\"resample\": 1", "\"resample\": 0", EYE_E_UNSUPPORTED, "resample"},
    };
    char out[1024];
    snprintf(out, sizeof out, "%s/wrong", eye_scratch_dir());
    assert_int_equal(mkdir(out, 0777), 0);
    for (size_t r = 0; r < EYE_COUNT(rows); r++) {
        struct eye_model *m;
        for (size_t i = 0; i < EYE_COUNT(file); i++) {
            size_t n;
            char *p = file_text(file[i], &n), *at = i == rows[r].i_file ? strstr(p, rows[r].from) : NULL;
            if (i == rows[r].i_file) {
                size_t from = strlen(rows[r].from), to = strlen(rows[r].to);
                assert_non_null(at);
                memmove(at + to, at + from, n - (size_t)(at - p) - from + 1);
                memcpy(at, rows[r].to, to);
                n = n - from + to;
            }
            ok(eye_mk_write_file(out, file[i], p, n, &err));
            free(p);
        }
        enum eye_status st = eye_model_open(out, NULL, &m, &err);
        if (st != rows[r].want || !strstr(err.text, rows[r].says))
            fail_msg("%s: %s (%s)", rows[r].to, eye_status_name(st), st == EYE_OK ? "" : err.text);
    }
}

/* ---- */

/* The formula of make_image_fixtures.py's drawings. */
static uint8_t *draw(uint64_t w, uint64_t h) {
    uint8_t *p = malloc(w * h * 3), *d = p;
    for (uint64_t y = 0; y < h; y++)
        for (uint64_t x = 0; x < w; x++) {
            uint64_t smooth[3] = {x * 255 / (w - 1), y * 255 / (h - 1), ((x / 8 + y / 8) & 1) * 255};
            for (uint64_t c = 0; c < 3; c++) {
                uint64_t n = (x * 73856093 ^ y * 19349663 ^ (c + 1) * 83492791) & 0xFFFFFFFF;
                n = (n * 2654435761 & 0xFFFFFFFF) >> 24;
                *d++ = (uint8_t)((smooth[c] * 3 + n) / 4);
            }
        }
    return p;
}

static int setup(void **state) {
    static const int size[2][2] = {{90, 50}, {40, 41}};
    for (int i = 0; i < 2; i++) {
        pixels[i] = draw((uint64_t)size[i][0], (uint64_t)size[i][1]);
        if (eye_image_wrap(&images[i], pixels[i], size[i][0], size[i][1], 0, NULL) != EYE_OK) return -1;
    }
    return 0;
}

static int teardown(void **state) {
    for (int i = 0; i < 2; i++) {
        eye_image_free(&images[i]);
        free(pixels[i]);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder_and_gguf_are_pytorch),
        cmocka_unit_test(long_questions_are_cut),
        cmocka_unit_test(a_fit_takes_the_place_of_tiles),
        cmocka_unit_test(tiles_are_merged_one_by_one),
        cmocka_unit_test(merged_tiles_in_a_batch),
        cmocka_unit_test(caches_hold_tiles),
        cmocka_unit_test(wrong_configurations_are_named),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
