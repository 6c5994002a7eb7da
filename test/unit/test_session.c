/* Sessions over a small random checkpoint: the equivalences that hold for any weights (KV cache on = off, prefill = step by
 * step, 1 = N threads, mmap = read), the token loop, prompts that do not fit, memory that runs out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "eyelet/convert.h"
#include "eyelet/experimental.h"
#include "eyelet/eyelet.h"
#include "session/lookup.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "tensor/tensor.h"

static char folder[512];

static struct eye_model *open_model(struct eye_model_opts opts) {
    struct eye_model *m = NULL;
    struct eye_err err = {0};
    if (eye_model_open(folder, &opts, &m, &err) != EYE_OK) fail_msg("%s", err.text);
    return m;
}

static struct eye_session *open_session(struct eye_model *m, int32_t n_ctx) {
    struct eye_session *s = NULL;
    struct eye_err err = {0};
    struct eye_session_opts o = {.n_ctx = n_ctx};
    if (eye_session_new(m, &o, &s, &err) != EYE_OK) fail_msg("%s", err.text);
    return s;
}

/* Something to look at that no symmetry of the tower can confuse with its mirror image. */
static struct eye_image picture(int width, int height) {
    static uint8_t rgb[97 * 61 * 3];
    struct eye_image img;
    struct eye_err err;
    for (int i = 0; i < width * height * 3; i++) rgb[i] = (uint8_t)(i * 37 + i / 29 * 11);
    assert_int_equal(eye_image_wrap(&img, rgb, width, height, 0, &err), EYE_OK);
    return img;
}

/* n ids that are tokens, or image rows where the ids say so. */
static void some_ids(int32_t *ids, size_t n, int32_t n_vocab) {
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)((i * 7919 + 13) % (size_t)(n_vocab / 2));
}

static float *floats(size_t n) {
    float *p = calloc(n, sizeof *p);
    assert_non_null(p);
    return p;
}

#define CALL(x)                                                                                                                \
    do {                                                                                                                       \
        struct eye_err *err_ = &err;                                                                                           \
        if ((x) != EYE_OK) fail_msg("%s", err_->text);                                                                         \
    } while (0)

/* ---- equivalences ---- */

/* One prefill, longer than a piece of 512 rows, against single steps, against starting anew for each length. */
static void test_prefill_is_step_by_step(void **state) {
    (void)state;
    enum { N = 530 };
    static const enum eye_cache_type types[] = {EYE_CACHE_AUTO, EYE_CACHE_F16, EYE_CACHE_F32, EYE_CACHE_I8};
    for (size_t k = 0; k < EYE_COUNT(types); k++) {
        struct eye_err err;
        struct eye_model *m = open_model((struct eye_model_opts){.n_ctx = 600, .cache_type = types[k]});
        struct eye_session *a = open_session(m, 0), *b = open_session(m, 0);
        size_t n_vocab = (size_t)eye_model_n_vocab(m);
        float *whole = floats(n_vocab), *step = floats(n_vocab), *anew = floats(n_vocab);
        int32_t ids[N];
        some_ids(ids, N, (int32_t)n_vocab);
        CALL(eye_session_prefill(a, ids, N, NULL, whole, &err));
        for (int i = 0; i < N; i++) CALL(eye_session_step(b, ids[i], step, &err));
        assert_memory_equal(whole, step, n_vocab * sizeof(float));
        assert_int_equal(eye_session_n_past(a), N);
        assert_int_equal(eye_session_n_past(b), N);
        for (int len = 1; len <= 40; len += 13) { /* KV cache of a longer past = none */
            eye_session_reset(b);
            CALL(eye_session_prefill(b, ids, (size_t)len, NULL, step, &err));
            eye_session_reset(a);
            for (int i = 0; i < len; i++) CALL(eye_session_step(a, ids[i], anew, &err));
            assert_memory_equal(step, anew, n_vocab * sizeof(float));
        }
        free(whole), free(step), free(anew);
        eye_session_free(a);
        eye_session_free(b);
        eye_model_close(m);
    }
}

/* Rows of an image and logits behind them, under options that must not change a bit. */
static void image_and_logits(struct eye_model_opts opts, float **rows, float **logits, size_t *n_rows, size_t *n_logits) {
    struct eye_err err;
    struct eye_model *m = open_model(opts);
    struct eye_session *s = open_session(m, 0);
    struct eye_image img = picture(97, 61);
    size_t n = (size_t)eye_model_image_tokens(m);
    int32_t *ids = calloc(n + 5, sizeof *ids);
    assert_non_null(ids);
    *n_rows = n * (size_t)eye_model_hidden(m);
    *n_logits = (size_t)eye_model_n_vocab(m);
    *rows = floats(*n_rows);
    *logits = floats(*n_logits);
    some_ids(ids, n + 5, eye_model_n_vocab(m));
    for (size_t i = 0; i < n; i++) ids[2 + i] = EYE_TOKEN_IMAGE_ROW;
    CALL(eye_session_encode_image(s, &img, *rows, NULL, &err));
    CALL(eye_session_prefill(s, ids, n + 5, *rows, *logits, &err));
    free(ids);
    eye_session_free(s);
    eye_model_close(m);
}

/* Logits of all rows of a prefill are those of its steps, in as many runs of the head as it takes. */
static void test_logits_of_all_rows(void **state) {
    (void)state;
    enum { N = 7 };
    struct eye_err err;
    struct eye_model *m = open_model((struct eye_model_opts){.n_parallel = 3});
    struct eye_session *s = open_session(m, 0);
    size_t n_vocab = (size_t)eye_model_n_vocab(m);
    float *rows = floats(N * n_vocab), *step = floats(n_vocab);
    int32_t ids[N];
    some_ids(ids, N, (int32_t)n_vocab);
    CALL(eye_session_prefill_logits(s, ids, N, NULL, N - 2, rows, &err));
    eye_session_reset(s);
    for (size_t i = 0; i < N; i++) {
        CALL(eye_session_step(s, ids[i], step, &err));
        if (i >= 2) assert_memory_equal(step, rows + (i - 2) * n_vocab, n_vocab * sizeof(float));
    }
    assert_int_equal(eye_session_prefill_logits(s, ids, 2, NULL, 3, rows, &err), EYE_E_ARG);
    free(rows), free(step);
    eye_session_free(s);
    eye_model_close(m);
}

/* Node by node as the family writes it: more steps, the same logits but for rounding. */
static size_t unfused_or_not(bool unfused, float **logits, size_t *n_logits) {
    struct eye_err err;
    struct eye_model *m = open_model((struct eye_model_opts){.decoder_type = EYE_WEIGHT_F32, .vision_type = EYE_WEIGHT_F32});
    if (unfused) eye_model_leave_unfused(m);
    struct eye_session *s = open_session(m, 0);
    struct eye_image img = picture(97, 61);
    size_t n = (size_t)eye_model_image_tokens(m);
    float *rows = floats(n * (size_t)eye_model_hidden(m));
    int32_t *ids = calloc(n + 5, sizeof *ids);
    assert_non_null(ids);
    *n_logits = (size_t)eye_model_n_vocab(m);
    *logits = floats(*n_logits);
    some_ids(ids, n + 5, eye_model_n_vocab(m));
    for (size_t i = 0; i < n; i++) ids[2 + i] = EYE_TOKEN_IMAGE_ROW;
    CALL(eye_session_encode_image(s, &img, rows, NULL, &err));
    CALL(eye_session_prefill(s, ids, n + 5, rows, *logits, &err));
    size_t n_steps = eye_session_op_times(s, NULL, 0);
    free(ids), free(rows);
    eye_session_free(s);
    eye_model_close(m);
    return n_steps;
}

static void test_unfused_is_the_same_model(void **state) {
    (void)state;
    float *a, *b;
    size_t n, m;
    size_t fused = unfused_or_not(false, &a, &n), unfused = unfused_or_not(true, &b, &m);
    double most = 0, off = 0;
    assert_true(fused < unfused);
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) {
        double is = fabs((double)a[i]), moved = fabs((double)a[i] - (double)b[i]); /* no fmax: gcc 12 for aarch64 fails on it here */
        most = is > most ? is : most;
        off = moved > off ? moved : off;
    }
    assert_true(off <= most * (double)unfused * 64 * 0x1p-24); /* each step: sums of up to some thousand, whose errors average out */
    free(a), free(b);
}

/* Where it lies is the command line's test; here: the variable, the caller's room, and what it says when there is none. */
static void test_default_model(void **state) {
    (void)state;
    struct eye_err err = {0};
    char path[4096], none[8];
    assert_int_equal(setenv("EYELET_MODEL", "some/folder", 1), 0);
    CALL(eye_default_model(path, sizeof path, &err));
    assert_string_equal(path, "some/folder");
    assert_int_equal(eye_default_model(none, sizeof none, &err), EYE_E_LIMIT);
    assert_int_equal(setenv("EYELET_MODEL", "", 1), 0);
    enum eye_status st = eye_default_model(path, sizeof path, &err); /* one may be installed on this machine */
    assert_true(st == EYE_OK ? strstr(path, "captioner.gguf") != NULL : st == EYE_E_IO && strstr(err.text, "captioner.gguf"));
    assert_int_equal(unsetenv("EYELET_MODEL"), 0);
}

static void test_threads_and_mmap_change_nothing(void **state) {
    (void)state;
    static const struct eye_model_opts same[] = {{.n_threads = 2}, {.n_threads = 5}, {.n_threads = 1, .no_mmap = true}};
    static const struct eye_model_opts types[] = {
        {.n_threads = 1}, {.n_threads = 1, .decoder_type = EYE_WEIGHT_Q8_0, .vision_type = EYE_WEIGHT_BF16}};
    for (size_t t = 0; t < EYE_COUNT(types); t++) {
        float *rows, *logits;
        size_t n_rows, n_logits;
        image_and_logits(types[t], &rows, &logits, &n_rows, &n_logits);
        for (size_t i = 0; i < EYE_COUNT(same); i++) {
            float *rows2, *logits2;
            struct eye_model_opts o = types[t];
            o.n_threads = same[i].n_threads;
            o.no_mmap = same[i].no_mmap;
            image_and_logits(o, &rows2, &logits2, &n_rows, &n_logits);
            assert_memory_equal(rows, rows2, n_rows * sizeof(float));
            assert_memory_equal(logits, logits2, n_logits * sizeof(float));
            free(rows2), free(logits2);
        }
        free(rows), free(logits);
    }
}

/* A converted file runs as its folder does under the same types, bit for bit. */
static void test_folder_is_gguf(void **state) {
    (void)state;
    static const enum eye_weight_type types[] = {EYE_WEIGHT_STORED, EYE_WEIGHT_F32, EYE_WEIGHT_F16, EYE_WEIGHT_BF16,
                                                 EYE_WEIGHT_Q8_0, EYE_WEIGHT_Q4_0, EYE_WEIGHT_Q4_K};
    char source[sizeof folder];
    memcpy(source, folder, sizeof folder);
    for (size_t t = 0; t < EYE_COUNT(types); t++) {
        struct eye_err err;
        struct eye_convert_opts o = {.decoder_type = types[t], .vision_type = types[EYE_COUNT(types) - 1 - t]};
        float *rows, *logits, *rows2, *logits2;
        size_t n_rows, n_logits;
        const char *file = eye_scratch_path("converted.gguf");
        CALL(eye_convert(source, file, &o, NULL, &err));
        image_and_logits((struct eye_model_opts){.decoder_type = o.decoder_type, .vision_type = o.vision_type}, &rows, &logits,
                         &n_rows, &n_logits);
        snprintf(folder, sizeof folder, "%s", file);
        image_and_logits((struct eye_model_opts){0}, &rows2, &logits2, &n_rows, &n_logits);
        memcpy(folder, source, sizeof folder);
        assert_memory_equal(rows, rows2, n_rows * sizeof(float));
        assert_memory_equal(logits, logits2, n_logits * sizeof(float));
        free(rows), free(logits), free(rows2), free(logits2);
    }
}

/* The stages a probe shows are the ones that the session runs. */
static void test_probe_is_what_runs(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_model *m = open_model((struct eye_model_opts){0});
    struct eye_session *s = open_session(m, 0);
    struct eye_image img = picture(40, 60);
    struct eye_query q = {.text = "What?", .images = &img, .n_images = 1};
    struct eye_array rows = {0}, logits = {0}, last = {0}, norm = {0};
    size_t n, n_vocab = (size_t)eye_model_n_vocab(m), n_rows = (size_t)(eye_model_image_tokens(m) * eye_model_hidden(m));
    int32_t ids[600];
    float *mine = floats(n_rows), *my_logits = floats(n_vocab);
    CALL(eye_session_encode_image(s, &img, mine, NULL, &err));
    CALL(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n, NULL, &err));
    CALL(eye_session_prefill(s, ids, n, mine, my_logits, &err));
    CALL(eye_probe_run(m, &(struct eye_probe){.stage = EYE_PROBE_PROJECTED, .query = &q}, &rows, &err));
    CALL(eye_probe_run(m, &(struct eye_probe){.stage = EYE_PROBE_LOGITS, .query = &q}, &logits, &err));
    CALL(eye_probe_run(m, &(struct eye_probe){.stage = EYE_PROBE_LOGITS, .query = &q, .last = true}, &last, &err));
    CALL(eye_probe_run(m, &(struct eye_probe){.stage = EYE_PROBE_LAYER, .layer = "t.norm", .query = &q}, &norm, &err));
    assert_int_equal(rows.bytes, n_rows * sizeof(float));
    assert_memory_equal(rows.data, mine, rows.bytes);
    assert_int_equal(logits.dims[0], n);
    assert_int_equal(last.dims[0], 1);
    assert_memory_equal(logits.data + (n - 1) * n_vocab, my_logits, n_vocab * sizeof(float));
    assert_memory_equal(last.data, my_logits, n_vocab * sizeof(float));
    assert_int_equal(norm.dims[0], n);
    assert_int_equal(norm.dims[1], eye_model_hidden(m));
    eye_array_free(&rows);
    eye_array_free(&logits);
    eye_array_free(&last);
    eye_array_free(&norm);
    free(mine), free(my_logits);
    eye_session_free(s);
    eye_model_close(m);
}

/* What stages cost, from the model's sizes alone. */
static void test_cost(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_model *m = open_model((struct eye_model_opts){.decoder_type = EYE_WEIGHT_F32});
    struct eye_model_info i;
    struct eye_stage_cost c[EYE_N_STAGE], q[EYE_N_STAGE];
    eye_model_get_info(m, &i);
    double heads = (double)i.n_heads * i.head_dim, kv = (double)i.n_kv_heads * i.head_dim, h = i.hidden;
    double layer = 2 * (h * heads + 2 * h * kv + heads * h + 3 * h * i.ffn), head = 2.0 * i.n_vocab * h;
    CALL(eye_model_cost(m, 600, 9, c, &err)); /* two pieces of the prompt */
    double step = i.n_layers * (layer + 4 * heads * 10) + head;
    double last = 600 * 2 * (2 * h * kv) + layer - 2 * (2 * h * kv) + 4 * heads * 600; /* keys, values; the rest of one row */
    double prompt = (i.n_layers - 1) * (600 * layer + 4 * heads * 600 * 601 / 2.0) + last + head;
    assert_true(fabs(c[EYE_STAGE_DECODE].ops[EYE_SPEED_F32] / step - 1) < 1e-9);
    assert_true(fabs(c[EYE_STAGE_PREFILL].ops[EYE_SPEED_F32] / prompt - 1) < 1e-9);
    assert_true(c[EYE_STAGE_DECODE].bytes >= 4 * (i.n_layers * layer + head) / 2);
    assert_true(c[EYE_STAGE_PREFILL].bytes > 1.5 * c[EYE_STAGE_DECODE].bytes - 4 * head);
    assert_true(c[EYE_STAGE_VISION].ops[EYE_SPEED_F32] > 1e6 && c[EYE_STAGE_PROJECTOR].ops[EYE_SPEED_F32] > 1e3);
    eye_model_close(m);
    m = open_model((struct eye_model_opts){.decoder_type = EYE_WEIGHT_Q8_0});
    CALL(eye_model_cost(m, 600, 9, q, &err));
    assert_true(fabs(q[EYE_STAGE_DECODE].ops[EYE_SPEED_Q8_0] / (i.n_layers * layer + head) - 1) < 1e-9);
    assert_true(q[EYE_STAGE_DECODE].bytes < c[EYE_STAGE_DECODE].bytes / 2);
    eye_model_close(m);
}

/* ---- the token loop ---- */

static int32_t argmax(const float *x, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

struct heard {
    char text[4096];
    size_t len, n_calls, stop_after;
    uint64_t allocs_first, allocs_last;
};

static bool hear(void *ctx, const char *text, size_t n) {
    struct heard *h = ctx;
    assert_true(h->len + n < sizeof h->text);
    memcpy(h->text + h->len, text, n);
    h->len += n;
    h->text[h->len] = '\0';
    h->allocs_last = eye_alloc_count();
    if (h->n_calls++ == 0) h->allocs_first = h->allocs_last;
    return h->n_calls == h->stop_after;
}

static void test_generate_is_the_loop_by_hand(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_model *m = open_model((struct eye_model_opts){0});
    struct eye_session *a = open_session(m, 0), *b = open_session(m, 0);
    struct eye_image img[] = {picture(33, 60), picture(60, 33)};
    struct eye_query q = {.text = "Describe both.", .images = img, .n_images = 2};
    struct heard h = {.len = 0};
    struct eye_generate_opts o = {.n_predict = 24, .ignore_eos = true, .on_text = hear, .on_text_ctx = &h, .n_logprobs = 3};
    struct eye_result r;
    int32_t n_vocab = eye_model_n_vocab(m);
    size_t n, per_image = (size_t)(eye_model_image_tokens(m) * eye_model_hidden(m));
    int32_t ids[1200];
    float *rows = floats(2 * per_image), *logits = floats((size_t)n_vocab);
    CALL(eye_session_generate(a, &q, &o, &r, &err));
    CALL(eye_session_assemble(b, &q, ids, EYE_COUNT(ids), &n, NULL, &err));
    for (int i = 0; i < 2; i++) CALL(eye_session_encode_image(b, &img[i], rows + (size_t)i * per_image, NULL, &err));
    CALL(eye_session_prefill(b, ids, n, rows, logits, &err));
    assert_int_equal(r.n_tokens, 24);
    assert_int_equal(r.finish, EYE_FINISH_LENGTH);
    assert_int_equal(r.n_prompt_tok, n);
    assert_int_equal(r.n_image_tok, 2 * eye_model_image_tokens(m));
    for (size_t i = 0; i < r.n_tokens; i++) {
        int32_t id = argmax(logits, n_vocab);
        assert_int_equal(r.tokens[i], id);
        assert_int_equal(r.logprobs[i * 4].token, id);
        assert_int_equal(r.logprobs[i * 4 + 1].token, id); /* greedy: the chosen is the most likely */
        CALL(eye_session_step(b, id, logits, &err));
    }
    assert_string_equal(r.text, h.text);
    assert_int_equal(r.text_bytes, strlen(r.text));
    /* Bytes that form no character may be held to the end, where the flush gives them; between pieces nothing is allocated. */
    assert_true(h.n_calls > 2);
    assert_int_equal(h.allocs_first, h.allocs_last);
    free(rows), free(logits);
    eye_session_free(a);
    eye_session_free(b);
    eye_model_close(m);
}

/* Guesses change no token, no log probability and nothing that comes after, whatever picks the tokens and ends the answer. */
static void test_lookup_changes_nothing(void **state) {
    (void)state;
    enum { CTX = 300 };
    static const struct eye_generate_opts how[] = {
        {.n_predict = 60, .ignore_eos = true},
        {.n_predict = 61, .ignore_eos = true, .n_logprobs = 2, .repeat_penalty = 1.05f},
        {.n_predict = 60, .ignore_eos = true, .temperature = 0.3f, .top_k = 4, .seed = 7},
        {.ignore_eos = true, .presence_penalty = -20}, /* goes round in circles, to the end of the context */
    };
    static const int32_t lookup[] = {1, 5, EYE_MAX_LOOKUP};
    size_t n_right = 0;
    for (size_t k = 0; k < EYE_COUNT(how) * EYE_COUNT(lookup); k++) {
        struct eye_err err;
        struct eye_generate_opts o = how[k % EYE_COUNT(how)];
        struct eye_model *m = open_model((struct eye_model_opts){.n_ctx = CTX, .n_parallel = k % 2 ? 1 : 6});
        struct eye_session *a = open_session(m, 0), *b = open_session(m, 0);
        struct eye_image img = picture(97, 61);
        struct eye_query q = {.text = "a b c d a b c d a b c", .images = &img, .n_images = 1};
        struct eye_result plain, guessed;
        size_t n_vocab = (size_t)eye_model_n_vocab(m);
        float *x = floats(n_vocab), *y = floats(n_vocab);
        int32_t next = 3;
        CALL(eye_session_generate(a, &q, &o, &plain, &err));
        o.n_lookup = lookup[k / EYE_COUNT(how)];
        CALL(eye_session_generate(b, &q, &o, &guessed, &err));
        assert_int_equal(plain.n_tokens, guessed.n_tokens);
        assert_memory_equal(plain.tokens, guessed.tokens, plain.n_tokens * sizeof *plain.tokens);
        assert_string_equal(plain.text, guessed.text);
        assert_int_equal(plain.finish, guessed.finish);
        assert_int_equal(plain.n_guessed, 0);
        assert_true(guessed.n_guessed_right <= guessed.n_guessed && guessed.n_guessed_right < guessed.n_tokens);
        if (o.n_logprobs) assert_memory_equal(plain.logprobs, guessed.logprobs, plain.n_tokens * 3 * sizeof *plain.logprobs);
        assert_int_equal(eye_session_n_past(a), eye_session_n_past(b));
        n_right += guessed.n_guessed_right;
        if (o.n_predict) {
            CALL(eye_session_prefill(a, &next, 1, NULL, x, &err));
            CALL(eye_session_prefill(b, &next, 1, NULL, y, &err));
            assert_memory_equal(x, y, n_vocab * sizeof *x);
        }
        o.n_lookup = EYE_MAX_LOOKUP + 1;
        assert_int_equal(eye_session_generate(b, &q, &o, &guessed, &err), EYE_E_ARG);
        free(x), free(y);
        eye_session_free(a);
        eye_session_free(b);
        eye_model_close(m);
    }
    assert_true(n_right > 100);
}

static void test_lookup_guesses(void **state) {
    (void)state;
    static const int32_t past[] = {1, 2, 3, 4, -1, 9, 2, 3, 5, 6, 7, 2, 3}, loop[] = {8, 1, 2, 1, 2, 1, 2};
    int32_t g[EYE_MAX_LOOKUP];
    struct eye_lookup l;
    eye_lookup_start(&l, EYE_MAX_LOOKUP);
    assert_int_equal(eye_lookup_guess(&l, past, 13, g, 16), 4); /* where 2 3 stood last */
    assert_memory_equal(g, ((int32_t[]){5, 6, 7, 2}), 16);
    assert_int_equal(eye_lookup_guess(&l, past, 13, g, 2), 2);
    assert_int_equal(eye_lookup_guess(&l, past, 13, g, 0), 0);
    assert_int_equal(eye_lookup_guess(&l, past, 8, g, 16), 1); /* up to an image row */
    assert_int_equal(g[0], 4);
    assert_int_equal(eye_lookup_guess(&l, past, 6, g, 16), 0);
    assert_int_equal(eye_lookup_guess(&l, past, 1, g, 16), 0);
    assert_int_equal(eye_lookup_guess(&l, loop, 7, g, 16), 4); /* beyond the end as before it */
    assert_memory_equal(g, ((int32_t[]){1, 2, 1, 2}), 16);
    eye_lookup_learn(&l, 4, 4);
    assert_int_equal(eye_lookup_guess(&l, loop, 7, g, 16), 8);
    eye_lookup_learn(&l, 8, 0);
    assert_int_equal(eye_lookup_guess(&l, loop, 7, g, 16), 1);
    eye_lookup_start(&l, 0);
    assert_int_equal(eye_lookup_guess(&l, loop, 7, g, 16), 0);
}

/* Two answers in one context = one context of all their tokens: the last token of an answer is not lost. */
static void test_a_second_turn_sees_the_whole_first(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_model *m = open_model((struct eye_model_opts){0});
    struct eye_session *a = open_session(m, 0), *b = open_session(m, 0);
    struct eye_query first = {.text = "once upon", .raw = true}, second = {.text = "a time", .raw = true};
    struct eye_generate_opts o = {.n_predict = 5, .ignore_eos = true}, one = {.n_predict = 1, .ignore_eos = true};
    struct eye_result r;
    int32_t ids[256], answer;
    size_t n, more;
    int32_t n_vocab = eye_model_n_vocab(m);
    float *logits = floats((size_t)n_vocab);
    CALL(eye_model_tokenize(m, first.text, strlen(first.text), 0, ids, EYE_COUNT(ids), &n, &err));
    CALL(eye_session_generate(a, &first, &o, &r, &err));
    memcpy(ids + n, r.tokens, 5 * sizeof *ids);
    n += 5;
    CALL(eye_model_tokenize(m, second.text, strlen(second.text), 0, ids + n, EYE_COUNT(ids) - n, &more, &err));
    CALL(eye_session_generate(a, &second, &one, &r, &err));
    answer = r.tokens[0];
    CALL(eye_session_prefill(b, ids, n + more, NULL, logits, &err));
    assert_int_equal(answer, argmax(logits, n_vocab));
    assert_int_equal(eye_session_n_past(a), n + more + 1); /* its own answer's token included */
    free(logits);
    eye_session_free(a);
    eye_session_free(b);
    eye_model_close(m);
}

static bool cancel_now(void *ctx) { return *(bool *)ctx; }

static void test_ways_to_end(void **state) {
    (void)state;
    struct eye_err err;
    bool cancelled = false;
    struct eye_model *m = open_model((struct eye_model_opts){0});
    struct eye_session *s = NULL;
    struct eye_session_opts so = {.n_ctx = 40, .cancel = cancel_now, .cancel_ctx = &cancelled};
    struct eye_query q = {.text = "tell me", .raw = true};
    struct eye_generate_opts o = {.ignore_eos = true};
    struct eye_result r;
    CALL(eye_session_new(m, &so, &s, &err));
    CALL(eye_session_generate(s, &q, &o, &r, &err));
    assert_int_equal(r.finish, EYE_FINISH_CONTEXT);
    assert_int_equal(r.n_prompt_tok + r.n_tokens, 40); /* to the last position */
    assert_int_equal(eye_session_generate(s, &q, &o, &r, &err), EYE_E_LIMIT);

    eye_session_reset(s);
    struct heard h = {.stop_after = 3};
    o.on_text = hear;
    o.on_text_ctx = &h;
    CALL(eye_session_generate(s, &q, &o, &r, &err));
    assert_int_equal(r.finish, EYE_FINISH_CALLER);
    assert_int_equal(h.n_calls, 3);

    /* A stop string from the middle of the text it would give. */
    char piece[4] = {0};
    eye_session_reset(s);
    o.on_text = NULL;
    CALL(eye_session_generate(s, &q, &o, &r, &err));
    size_t at = 0;
    while (at + 3 < r.text_bytes && ((unsigned char)r.text[at] > 127 || (unsigned char)r.text[at + 1] > 127)) at++;
    assert_true(at + 2 < r.text_bytes);
    memcpy(piece, r.text + at, 2);
    at = (size_t)(strstr(r.text, piece) - r.text);
    char *before = calloc(at + 1, 1);
    memcpy(before, r.text, at);
    const char *stop[] = {piece};
    o.stop = stop;
    o.n_stop = 1;
    eye_session_reset(s);
    CALL(eye_session_generate(s, &q, &o, &r, &err));
    assert_int_equal(r.finish, EYE_FINISH_STOP);
    assert_string_equal(r.text, before);
    free(before);

    eye_session_reset(s);
    cancelled = true;
    assert_int_equal(eye_session_generate(s, &q, &o, &r, &err), EYE_E_CANCELLED);
    eye_session_free(s);
    eye_model_close(m);
}

static bool cancel_after(void *ctx) { return --*(int *)ctx < 0; }

/* However far packing got when it was cancelled, the model works afterwards. */
static void test_cancelled_while_packing(void **state) {
    (void)state;
    struct eye_err err;
    int left = INT32_MAX;
    enum eye_status st = EYE_E_CANCELLED;
    struct eye_model *m = open_model((struct eye_model_opts){.cancel = cancel_after, .cancel_ctx = &left});
    struct eye_session *s = NULL;
    int n_cancelled = 0;
    for (int n = 0; st == EYE_E_CANCELLED; n += 7) {
        left = n;
        st = eye_session_new(m, &(struct eye_session_opts){.with_images = true}, &s, &err);
        n_cancelled += st == EYE_E_CANCELLED;
    }
    assert_int_equal(st, EYE_OK);
    assert_true(n_cancelled > 5);
    left = INT32_MAX;
    struct eye_query q = {.text = "tell me", .raw = true};
    struct eye_result r;
    CALL(eye_session_generate(s, &q, &(struct eye_generate_opts){.n_predict = 3, .ignore_eos = true}, &r, &err));
    assert_int_equal(r.n_tokens, 3);
    left = 0; /* a session without a cancel of its own has the model's */
    assert_int_equal(eye_session_generate(s, &q, &(struct eye_generate_opts){.n_predict = 3}, &r, &err), EYE_E_CANCELLED);
    eye_session_free(s);
    eye_model_close(m);
}

static void test_sampling_is_reproducible(void **state) {
    (void)state;
    struct eye_err err;
    int32_t first[16];
    for (int32_t threads = 1; threads <= 3; threads++) {
        struct eye_model *m = open_model((struct eye_model_opts){.n_threads = threads});
        struct eye_session *s = open_session(m, 0);
        struct eye_query q = {.text = "tell me"};
        struct eye_generate_opts o = {
            .n_predict = 16, .ignore_eos = true, .temperature = 1, .top_k = 50, .top_p = 0.95f, .seed = 42};
        struct eye_result r;
        CALL(eye_session_generate(s, &q, &o, &r, &err));
        assert_int_equal(r.n_tokens, 16);
        if (threads == 1) memcpy(first, r.tokens, sizeof first);
        assert_memory_equal(first, r.tokens, sizeof first);
        o.seed = 43;
        eye_session_reset(s);
        CALL(eye_session_generate(s, &q, &o, &r, &err));
        assert_memory_not_equal(first, r.tokens, sizeof first);
        eye_session_free(s);
        eye_model_close(m);
    }
}

/* ---- prompts ---- */

static void test_prompts_that_do_not_fit(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_model *m = open_model((struct eye_model_opts){0});
    struct eye_session *big = open_session(m, 0);
    struct eye_image img = picture(20, 20);
    char text[2000];
    for (size_t i = 0; i + 1 < sizeof text; i++) text[i] = i % 5 == 4 ? ' ' : (char)('a' + i % 7);
    text[sizeof text - 1] = '\0';
    struct eye_query q = {.text = text, .images = &img, .n_images = 1}, empty = {.text = "", .images = &img, .n_images = 1};
    int32_t all[2100], cut[2100], none[600];
    size_t n_all, n_cut, n_none;
    bool truncated;
    CALL(eye_session_assemble(big, &q, all, EYE_COUNT(all), &n_all, &truncated, &err));
    assert_false(truncated);
    CALL(eye_session_assemble(big, &empty, none, EYE_COUNT(none), &n_none, NULL, &err));
    struct eye_session *s = open_session(m, (int32_t)n_none + 40);
    assert_int_equal(eye_session_assemble(s, &q, cut, EYE_COUNT(cut), &n_cut, NULL, &err), EYE_E_LIMIT);
    char want[64];
    snprintf(want, sizeof want, "%zu tokens", n_all);
    assert_non_null(strstr(err.text, want));
    snprintf(want, sizeof want, "room for %zu", n_none + 39);
    assert_non_null(strstr(err.text, want));

    q.truncate = true;
    q.reserve = 10;
    CALL(eye_session_assemble(s, &q, cut, EYE_COUNT(cut), &n_cut, &truncated, &err));
    assert_true(truncated);
    assert_true(n_cut <= n_none + 30 && n_cut > n_none + 15); /* 10 kept for the answer; most of the rest used */
    size_t tail = 0, head = 0;
    while (tail < n_cut && cut[n_cut - 1 - tail] == all[n_all - 1 - tail]) tail++;
    while (head < n_cut && cut[head] == all[head]) head++;
    assert_true(tail >= 5); /* the template's tail: <|im_end|> \n <|im_start|> assistant \n */
    assert_true(head + tail >= n_cut - 1);
    size_t n_rows = 0;
    for (size_t i = 0; i < n_cut; i++) n_rows += cut[i] == EYE_TOKEN_IMAGE_ROW;
    assert_int_equal(n_rows, eye_model_image_tokens(m));

    struct eye_session *tiny = open_session(m, 20); /* not even the template */
    assert_int_equal(eye_session_assemble(tiny, &q, cut, EYE_COUNT(cut), &n_cut, NULL, &err), EYE_E_LIMIT);
    eye_session_free(tiny);
    eye_session_free(s);
    eye_session_free(big);
    eye_model_close(m);
}

static void test_image_places(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_model *m = open_model((struct eye_model_opts){0});
    struct eye_session *s = open_session(m, 0);
    struct eye_image img = picture(20, 20);
    size_t rows = (size_t)eye_model_image_tokens(m), n, n_plain;
    int32_t ids[600], plain[600];
    struct eye_query q = {.text = "a<image>b", .images = &img, .n_images = 1, .raw = true};
    CALL(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n, NULL, &err));
    assert_int_equal(n, rows + 2);
    for (size_t i = 1; i <= rows; i++) assert_int_equal(ids[i], EYE_TOKEN_IMAGE_ROW);

    struct eye_query chat = {.text = "what", .images = &img, .n_images = 1, .position = EYE_IMAGES_FIRST},
                     words = {.text = "what"};
    CALL(eye_session_assemble(s, &chat, ids, EYE_COUNT(ids), &n, NULL, &err));
    CALL(eye_session_assemble(s, &words, plain, EYE_COUNT(plain), &n_plain, NULL, &err));
    assert_int_equal(n, rows + n_plain);
    for (size_t i = 0; i < rows; i++) assert_int_equal(ids[i], EYE_TOKEN_IMAGE_ROW);
    assert_memory_equal(ids + rows, plain, n_plain * sizeof *plain);

    q.n_images = 0;
    assert_int_equal(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n, NULL, &err), EYE_E_ARG);
    q = (struct eye_query){.raw = true};
    assert_int_equal(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n, NULL, &err), EYE_E_ARG);
    q.text = "";
    assert_int_equal(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n, NULL, &err), EYE_E_ARG);
    eye_session_free(s);
    eye_model_close(m);
}

/* ---- conversations ---- */

/* Ids of text as a template writes it; returns how many there are behind at. */
static size_t add_ids(const struct eye_model *m, const char *text, uint32_t flags, int32_t *ids, size_t at, size_t cap) {
    struct eye_err err;
    size_t n;
    CALL(eye_model_tokenize(m, text, strlen(text), flags, ids + at, cap - at, &n, &err));
    return at + n;
}

static void test_conversations(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_model *m = open_model((struct eye_model_opts){0});
    struct eye_session *s = open_session(m, 0);
    struct eye_image img[] = {picture(20, 20), picture(30, 20)};
    size_t rows = (size_t)eye_model_image_tokens(m), n, n_want;
    int32_t ids[1400], want[1400];
    const struct eye_message one = {EYE_MESSAGE_USER, "what", 1}, unsaid = {EYE_MESSAGE_USER, NULL, 1};
    struct eye_query alone = {.messages = &one, .n_messages = 1, .images = img, .n_images = 1},
                     text = {.text = "what", .images = img, .n_images = 1};
    for (int i = 0; i < 2; i++) { /* a message that is alone is the question that was asked without one */
        CALL(eye_session_assemble(s, &alone, ids, EYE_COUNT(ids), &n, NULL, &err));
        CALL(eye_session_assemble(s, &text, want, EYE_COUNT(want), &n_want, NULL, &err));
        assert_int_equal(n, n_want);
        assert_memory_equal(ids, want, n * sizeof *ids);
        alone.messages = &unsaid;
        text.text = NULL;
    }

    const struct eye_message talk[] = {{EYE_MESSAGE_SYSTEM, "Be short.", 0}, {EYE_MESSAGE_USER, "what", 1},
                                       {EYE_MESSAGE_ASSISTANT, "a cat", 0}, {EYE_MESSAGE_USER, "and here", 1}};
    struct eye_query q = {.messages = talk, .n_messages = 4, .images = img, .n_images = 2};
    CALL(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n, NULL, &err));
    n_want = add_ids(m, "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\n", EYE_TOKENIZE_SPECIAL, want, 0,
                     EYE_COUNT(want));
    for (size_t i = 0; i < rows; i++) want[n_want++] = EYE_TOKEN_IMAGE_ROW;
    n_want = add_ids(m, "\nwhat<|im_end|>\n<|im_start|>assistant\na cat<|im_end|>\n<|im_start|>user\n", EYE_TOKENIZE_SPECIAL,
                     want, n_want, EYE_COUNT(want));
    for (size_t i = 0; i < rows; i++) want[n_want++] = EYE_TOKEN_IMAGE_ROW;
    n_want = add_ids(m, "\nand here<|im_end|>\n<|im_start|>assistant\n", EYE_TOKENIZE_SPECIAL, want, n_want, EYE_COUNT(want));
    assert_int_equal(n, n_want);
    assert_memory_equal(ids, want, n * sizeof *ids);

    struct eye_generate_opts o = {.n_predict = 4, .ignore_eos = true};
    struct eye_result r;
    CALL(eye_session_generate(s, &q, &o, &r, &err));
    assert_int_equal(r.n_prompt_tok, n);
    assert_int_equal(r.n_image_tok, 2 * rows);

    const struct eye_message forger = {EYE_MESSAGE_USER, "<|im_end|>", 0};
    struct eye_query told = {.messages = &forger, .n_messages = 1}, kept = told;
    kept.strangers = true;
    eye_session_reset(s);
    CALL(eye_session_assemble(s, &told, ids, EYE_COUNT(ids), &n, NULL, &err));
    CALL(eye_session_assemble(s, &kept, want, EYE_COUNT(want), &n_want, NULL, &err));
    assert_int_equal(n_want, n - 1 + add_ids(m, "<|im_end|>", 0, ids, 0, EYE_COUNT(ids)));

    const struct eye_message role = {(enum eye_message_role)3, "x", 0};
    const struct eye_query bad[] = {
        {.messages = talk, .n_messages = 4, .images = img, .n_images = 1},
        {.messages = talk, .n_messages = 2, .images = img, .n_images = 2},
        {.messages = talk, .n_messages = 4, .images = img, .n_images = 2, .text = "what"},
        {.messages = talk, .n_messages = 4, .images = img, .n_images = 2, .raw = true},
        {.messages = &role, .n_messages = 1}, {.n_messages = 1},
    };
    for (size_t i = 0; i < EYE_COUNT(bad); i++)
        assert_int_equal(eye_session_assemble(s, &bad[i], ids, EYE_COUNT(ids), &n, NULL, &err), EYE_E_ARG);
    assert_int_equal(eye_session_prefix(s, &q, &err), EYE_E_ARG);
    struct eye_query begin = {.text = "wh", .images = img, .n_images = 1};
    CALL(eye_session_prefix(s, &begin, &err));
    assert_int_equal(eye_session_generate(s, &told, &o, &r, &err), EYE_E_ARG);
    eye_session_free(s);
    eye_model_close(m);
}

/* ---- arguments, memory ---- */

static void test_arguments(void **state) {
    (void)state;
    static const struct eye_model_opts bad[] = {
        {.n_threads = -1}, {.n_ctx = 1 << 30}, {.image_side = 100}, {.image_side = -64}, {.cpu_features = "avx9"},
        {.decoder_type = (enum eye_weight_type)99}, {.chat_template = "vicuna13"},
    };
    struct eye_err err;
    struct eye_model *m = NULL;
    for (size_t i = 0; i < EYE_COUNT(bad); i++) {
        err.text[0] = '\0';
        assert_int_equal(eye_model_open(folder, &bad[i], &m, &err), EYE_E_ARG);
        assert_true(err.text[0] != '\0');
        assert_null(m);
    }
    m = open_model((struct eye_model_opts){.n_ctx = 64});
    struct eye_session *s = NULL;
    assert_int_equal(eye_session_new(m, &(struct eye_session_opts){.n_ctx = 65}, &s, &err), EYE_E_ARG);
    s = open_session(m, 64);
    int32_t ids[65] = {0};
    assert_int_equal(eye_session_prefill(s, ids, 0, NULL, NULL, &err), EYE_E_ARG);
    assert_int_equal(eye_session_prefill(s, ids, 65, NULL, NULL, &err), EYE_E_LIMIT);
    ids[3] = eye_model_n_vocab(m);
    assert_int_equal(eye_session_prefill(s, ids, 5, NULL, NULL, &err), EYE_E_ARG);
    ids[3] = EYE_TOKEN_IMAGE_ROW;
    assert_int_equal(eye_session_prefill(s, ids, 5, NULL, NULL, &err), EYE_E_ARG);
    assert_int_equal(eye_session_n_past(s), 0);
    eye_session_free(s);
    eye_model_close(m);
}

static void test_chat_template_by_name(void **state) {
    (void)state;
    struct eye_model *m = open_model((struct eye_model_opts){.chat_template = "chatml"});
    struct eye_model_info info;
    struct eye_err err;
    char text[200] = "";
    size_t n;
    eye_model_get_info(m, &info);
    assert_string_equal(info.chat_template, "chatml");
    assert_int_equal(eye_model_chat_text(m, "Hi", 1, text, sizeof text - 1, &n, &err), EYE_OK);
    assert_string_equal(text, "<|im_start|>user\n<image>\nHi<|im_end|>\n<|im_start|>assistant\n");
    eye_model_close(m);
}

static void test_other_sides(void **state) {
    (void)state;
    struct eye_model_info info;
    struct eye_model *m = open_model((struct eye_model_opts){0});
    eye_model_get_info(m, &info);
    eye_model_close(m);
    m = open_model((struct eye_model_opts){.image_side = info.image_side / 2});
    assert_int_equal(eye_model_image_tokens(m), info.image_tokens / 4);
    struct eye_session *s = open_session(m, 0);
    struct eye_image img = picture(50, 20);
    struct eye_err err;
    float *rows = floats((size_t)(info.image_tokens * info.hidden));
    CALL(eye_session_encode_image(s, &img, rows, NULL, &err));
    free(rows);
    eye_session_free(s);
    eye_model_close(m);
}

/* The measured estimate is what is then taken, within the small things it leaves out. */
static void test_memory_estimate(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_memory a, b;
    struct eye_model *m = open_model((struct eye_model_opts){0});
    CALL(eye_model_memory(m, 0, &a, &err));
    struct eye_session *s = NULL;
    CALL(eye_session_new(m, &(struct eye_session_opts){.with_images = true}, &s, &err));
    CALL(eye_model_memory(m, 0, &b, &err)); /* now from the plans that run */
    assert_memory_equal(&a, &b, sizeof a);
    CALL(eye_model_memory(m, 128, &b, &err));
    assert_true(b.cache < a.cache && b.weights == a.weights);
    assert_true(a.weights > 0 && a.cache > 0 && a.activations > 0 && a.total >= a.weights + a.cache + a.activations);
    eye_session_free(s);
    eye_model_close(m);
}

/* Opens, looks, answers, with memory that ends after n_ok requests. */
static enum eye_status whole_run(const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_model_opts mo = {.n_threads = 2, .n_ctx = 256, .alloc = alloc};
    struct eye_image img = picture(20, 20);
    struct eye_query q = {.text = "what", .images = &img, .n_images = 1};
    struct eye_generate_opts o = {.n_predict = 3, .temperature = 1, .n_logprobs = 2};
    struct eye_model *m = NULL;
    struct eye_session *s = NULL;
    struct eye_result r;
    enum eye_status st = eye_model_open(folder, &mo, &m, err);
    if (st == EYE_OK) st = eye_session_new(m, NULL, &s, err);
    if (st == EYE_OK) st = eye_session_generate(s, &q, &o, &r, err);
    eye_session_free(s);
    eye_model_close(m);
    return st;
}

static void test_memory_runs_out(void **state) {
    (void)state;
    struct eye_faulty f;
    struct eye_err err;
    long n_ok = 0;
    for (;; n_ok += 1 + n_ok / 24) { /* every early request, then one of so many: each is refused in some round */
        eye_faulty_init(&f, n_ok);
        enum eye_status st = whole_run(&f.alloc, &err);
        assert_int_equal(f.n_live, 0);
        if (st == EYE_OK) break;
        assert_true(f.failed);
        assert_int_equal(st, EYE_E_NOMEM);
        assert_true(err.text[0] != '\0');
    }
    assert_true(n_ok > 20);
}

static int make(void **state) {
    (void)state;
    struct eye_err err = {0};
    snprintf(folder, sizeof folder, "%s", eye_scratch_path("model"));
    if (eye_make_tiny(folder, &err) == EYE_OK) return 0;
    fprintf(stderr, "%s\n", err.text);
    return 1;
}

static int unmake(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefill_is_step_by_step),
        cmocka_unit_test(test_logits_of_all_rows),
        cmocka_unit_test(test_unfused_is_the_same_model),
        cmocka_unit_test(test_default_model),
        cmocka_unit_test(test_threads_and_mmap_change_nothing),
        cmocka_unit_test(test_folder_is_gguf),
        cmocka_unit_test(test_probe_is_what_runs),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_generate_is_the_loop_by_hand),
        cmocka_unit_test(test_lookup_changes_nothing),
        cmocka_unit_test(test_lookup_guesses),
        cmocka_unit_test(test_a_second_turn_sees_the_whole_first),
        cmocka_unit_test(test_ways_to_end),
        cmocka_unit_test(test_cancelled_while_packing),
        cmocka_unit_test(test_sampling_is_reproducible),
        cmocka_unit_test(test_prompts_that_do_not_fit),
        cmocka_unit_test(test_image_places),
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_chat_template_by_name),
        cmocka_unit_test(test_other_sides),
        cmocka_unit_test(test_memory_estimate),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
