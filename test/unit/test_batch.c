/* Many requests at once against each one alone in a session: same tokens, texts, log probabilities, whatever comes when, beside
 * what, in how many lanes, from which cache; what ends badly leaves the others as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/base.h"
#include "eyelet/eyelet.h"
#include "session/batch_impl.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "tensor/tensor.h"

#define N_CTX 160
#define SIDE_A 31
#define SIDE_B 47

static char folder[512];
static uint8_t pixels[3][SIDE_B * SIDE_A * 3];
static struct eye_image image[3];

#define CALL(x)                                        \
    do {                                               \
        struct eye_err *err_ = &err;                   \
        if ((x) != EYE_OK) fail_msg("%s", err_->text); \
    } while (0)

static int set_up(void **state) {
    (void)state;
    struct eye_err err;
    snprintf(folder, sizeof folder, "%s", eye_scratch_path("batch"));
    CALL(eye_make_tiny(folder, &err));
    for (int k = 0; k < 3; k++) {
        for (size_t i = 0; i < sizeof pixels[k]; i++) pixels[k][i] = (uint8_t)(i * (size_t)(37 + k) + i / 29 * 11);
        CALL(eye_image_wrap(&image[k], pixels[k], SIDE_A, SIDE_B, 0, &err));
    }
    return 0;
}

static struct eye_model *open_model(int n_threads, int n_parallel) {
    struct eye_err err;
    struct eye_model *m;
    struct eye_model_opts o = {.n_ctx = N_CTX, .n_threads = n_threads, .n_parallel = n_parallel};
    CALL(eye_model_open(folder, &o, &m, &err));
    return m;
}

/* ---- what is asked, and what a session says to it ---- */

static const char *const stops[] = {"zz", "e"};
static const struct asked {
    struct eye_query query;
    struct eye_generate_opts opts;
} asked[] = {
    {{.text = "what is this", .images = &image[0], .n_images = 1}, {.n_predict = 12, .ignore_eos = true}},
    {{.text = "a"}, {.n_predict = 30, .temperature = 0.9F, .seed = 7, .ignore_eos = true}},
    {{.text = "what is this", .images = &image[1], .n_images = 1}, {.n_predict = 9, .ignore_eos = true, .n_logprobs = 3}},
    {{.text = "tell me a long story of everything there is to see here, and then another one, please, as long as you can"},
     {.n_predict = 20, .repeat_penalty = 1.3F, .penalty_last_n = -1, .ignore_eos = true}},
    {{.text = "two", .images = &image[1], .n_images = 2}, {.n_predict = 5, .ignore_eos = true}},
    {{.text = "b", .raw = true}, {.temperature = 1.2F, .top_k = 20, .top_p = 0.9F, .seed = 3, .ignore_eos = true}}, /* to the end */
    {{.text = "again", .images = &image[0], .n_images = 1}, {.n_predict = 8, .n_beams = 3, .length_penalty = 1}},
    {{.text = "stop at", .images = &image[2], .n_images = 1},
     {.n_predict = 40, .temperature = 1, .seed = 5, .ignore_eos = true, .stop = stops, .n_stop = 2}},
    {{.text = "what is this", .images = &image[0], .n_images = 1}, {.n_predict = 12, .ignore_eos = true}},
    {{.text = "what is that", .images = &image[0], .n_images = 1},
     {.n_predict = 1, .ignore_eos = true, .frequency_penalty = 0.5F, .presence_penalty = 0.5F, .n_logprobs = 1}},
    {{.text = "likeliest"}, {.n_beams = 4, .n_predict = 6, .ignore_eos = true}},
    {{.text = "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d "
              "i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m "
              "n o p q r s t u v w x y z a b c d e f g h i j k l m n o p q r s t u v w x y z",
      .truncate = true, .reserve = 4}, {.n_predict = 4, .ignore_eos = true}},
};
enum { N_ASKED = EYE_COUNT(asked) };

struct said { /* an answer, kept */
    enum eye_status status;
    char text[4096], streamed[4096];
    int32_t tokens[N_CTX], told[N_CTX];
    struct eye_logprob logprobs[N_CTX * 4];
    size_t n_told, n_heard, n_cached, n_logprobs, streamed_bytes;
    struct eye_result result;
    int n_done;
    size_t end_after; /* on_text says so after so many pieces; 0 = never */
    struct eye_batch *batch;
    uint64_t id, cancel_after; /* pieces */
};

static void keep(struct said *s, const struct eye_result *r, enum eye_status st) {
    s->status = st;
    s->result = *r;
    assert_true(r->text_bytes < sizeof s->text && r->n_tokens <= N_CTX);
    assert_int_equal(strlen(r->text), r->text_bytes);
    strcpy(s->text, r->text);
    if (r->n_tokens) memcpy(s->tokens, r->tokens, r->n_tokens * sizeof *s->tokens);
    s->n_logprobs = r->logprobs ? r->n_tokens * (1 + r->n_logprobs) : 0;
    if (s->n_logprobs) memcpy(s->logprobs, r->logprobs, s->n_logprobs * sizeof *s->logprobs);
    s->n_done++;
}

static bool on_text(void *ctx, const char *text, size_t bytes) {
    struct said *s = ctx;
    memcpy(s->streamed + s->streamed_bytes, text, bytes + 1);
    s->streamed_bytes += bytes;
    s->n_heard++;
    if (s->cancel_after && s->n_heard == s->cancel_after) eye_batch_cancel(s->batch, s->id);
    return s->end_after && s->n_heard >= s->end_after;
}

static void on_token(void *ctx, int32_t token, const struct eye_logprob *logprob) {
    struct said *s = ctx;
    if (logprob) assert_int_equal(logprob->token, token);
    s->told[s->n_told++] = token;
}

static void on_done(void *ctx, const struct eye_result *r, enum eye_status st, const struct eye_err *err) {
    assert_int_equal(st == EYE_OK, err->text[0] == '\0');
    keep(ctx, r, st);
}

static struct said alone[N_ASKED];

static void ask_alone(void) {
    struct eye_err err;
    struct eye_model *m = open_model(2, 1);
    struct eye_session *s;
    struct eye_result r;
    memset(alone, 0, sizeof alone);
    CALL(eye_session_new(m, NULL, &s, &err));
    for (size_t i = 0; i < N_ASKED; i++) {
        struct eye_generate_opts o = asked[i].opts;
        o.on_text = on_text;
        o.on_text_ctx = &alone[i];
        eye_session_reset(s);
        CALL(eye_session_generate(s, &asked[i].query, &o, &r, &err));
        keep(&alone[i], &r, EYE_OK);
    }
    assert_int_equal(alone[5].result.finish, EYE_FINISH_CONTEXT); /* the table has what it says it has */
    assert_int_equal(alone[7].result.finish, EYE_FINISH_STOP);
    assert_true(alone[11].result.truncated);
    eye_session_free(s);
    eye_model_close(m);
}

static void assert_same(const struct said *got, const struct said *want) {
    if (got->status != EYE_OK) fail_msg("status %d", (int)got->status);
    assert_int_equal(got->n_done, 1);
    assert_int_equal(got->result.n_tokens, want->result.n_tokens);
    assert_memory_equal(got->tokens, want->tokens, want->result.n_tokens * sizeof *want->tokens);
    assert_int_equal(got->n_told, want->result.n_tokens);
    assert_memory_equal(got->told, want->tokens, want->result.n_tokens * sizeof *want->tokens);
    assert_string_equal(got->text, want->text);
    assert_string_equal(got->streamed, want->streamed);
    assert_int_equal(got->result.finish, want->result.finish);
    assert_int_equal(got->result.n_prompt_tok, want->result.n_prompt_tok);
    assert_int_equal(got->result.n_image_tok, want->result.n_image_tok);
    assert_int_equal(got->result.truncated, want->result.truncated);
    assert_int_equal(got->n_logprobs, want->n_logprobs);
    if (got->n_logprobs) assert_memory_equal(got->logprobs, want->logprobs, got->n_logprobs * sizeof *got->logprobs);
}

static struct eye_batch *new_batch(struct eye_model *m, struct eye_batch_opts o) {
    struct eye_err err;
    struct eye_batch *b;
    CALL(eye_batch_new(m, &o, &b, &err));
    return b;
}

static enum eye_status ask(struct eye_batch *b, const struct asked *a, struct said *s, struct eye_err *err) {
    struct eye_generate_opts o = a->opts;
    struct eye_query q = a->query;
    char *text = strdup(q.text);
    o.on_text = on_text;
    o.on_text_ctx = s;
    q.text = text;
    s->batch = b;
    struct eye_batch_request r = {.query = &q, .opts = &o, .on_token = on_token, .on_done = on_done, .ctx = s};
    enum eye_status st = eye_batch_submit(b, &r, &s->id, err);
    memset(text, 'x', strlen(text)); /* it was copied */
    free(text);
    return st;
}

/* ---- the same as alone ---- */

static void same_as_alone(int n_threads, struct eye_batch_opts o, bool all_at_once) {
    struct eye_err err;
    static struct said got[N_ASKED];
    struct eye_model *m = open_model(n_threads, o.n_slots);
    struct eye_batch *b = new_batch(m, o);
    for (int again = 0; again < 2; again++) { /* the second time from caches */
        memset(got, 0, sizeof got);
        for (size_t i = 0; i < N_ASKED; i++) {
            CALL(ask(b, &asked[i], &got[i], &err));
            for (size_t k = 0; k < i % 4 && !all_at_once; k++) eye_batch_step(b);
        }
        if (again) eye_batch_run(b, true);
        else while (eye_batch_step(b)) {}
        for (size_t i = 0; i < N_ASKED; i++) assert_same(&got[i], &alone[i]);
    }
    struct eye_batch_stats s;
    eye_batch_get_stats(b, &s);
    assert_int_equal(s.n_submitted, 2 * N_ASKED);
    assert_int_equal(s.n_done, 2 * N_ASKED);
    assert_int_equal(s.n_queued + s.n_active + s.n_decoding, 0);
    assert_int_equal(s.kv_used, 0);
    assert_true(s.image_cache_bytes <= s.image_cache_cap && s.prefix_cache_bytes <= s.prefix_cache_cap);
    eye_batch_free(b);
    eye_model_close(m);
}

static void test_each_as_if_alone(void **state) {
    (void)state;
    ask_alone();
    same_as_alone(1, (struct eye_batch_opts){.n_slots = 3, .n_beams = 4}, true);
    same_as_alone(2, (struct eye_batch_opts){.n_slots = 5, .n_beams = 4, .n_lanes = 2}, true);
    same_as_alone(2, (struct eye_batch_opts){.n_slots = 12, .n_beams = 4, .n_lanes = 1, .prefill_tok = 7}, false);
    same_as_alone(2, (struct eye_batch_opts){.n_slots = 4, .n_beams = 4, .n_lanes = 2, .image_cache_bytes = -1,
                                             .prefix_cache_bytes = -1, .prefill_tok = 1}, false);
    same_as_alone(2, (struct eye_batch_opts){.n_slots = 1, .n_beams = 4, .image_cache_bytes = 3000,
                                             .prefix_cache_bytes = 40000}, true);
    same_as_alone(3, (struct eye_batch_opts){.n_slots = 7, .n_beams = 4, .n_lanes = EYE_LANES_MOST}, true);
}

/* Small weights, so in the caches: four requests a lane, a lane a thread. */
static void test_most_answers(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_batch_stats s;
    struct eye_batch_memory most, one;
    struct eye_model *m = open_model(3, 4);
    struct eye_batch *b = new_batch(m, (struct eye_batch_opts){.n_lanes = EYE_LANES_MOST});
    eye_batch_get_stats(b, &s);
    assert_int_equal(s.n_slots, 12);
    eye_batch_free(b);
    CALL(eye_batch_get_memory(m, &(struct eye_batch_opts){.n_slots = 12, .n_lanes = EYE_LANES_MOST}, &most, &err));
    CALL(eye_batch_get_memory(m, &(struct eye_batch_opts){.n_slots = 12, .n_lanes = 1}, &one, &err));
    assert_int_equal(most.activations, 3 * one.activations);
    assert_int_equal(most.slots, one.slots);
    assert_int_equal(eye_batch_new(m, &(struct eye_batch_opts){.n_lanes = -2}, &b, &err), EYE_E_ARG);
    eye_model_close(m);
}

/* ---- caches ---- */

static void test_caches_are_used_and_bounded(void **state) {
    (void)state;
    struct eye_err err;
    static struct said got[4];
    struct eye_model *m = open_model(1, 1);
    size_t rows = (size_t)eye_model_image_tokens(m), row_bytes = rows * (size_t)eye_model_hidden(m) * sizeof(float);
    struct eye_batch *b = new_batch(m, (struct eye_batch_opts){.n_slots = 1, .image_cache_bytes = (int64_t)(2 * row_bytes)});
    struct eye_batch_stats s;
    memset(got, 0, sizeof got);
    ask_alone();
    CALL(ask(b, &asked[0], &got[0], &err));
    CALL(ask(b, &asked[8], &got[1], &err)); /* the same */
    CALL(ask(b, &asked[9], &got[2], &err)); /* another question about the same picture */
    CALL(ask(b, &asked[2], &got[3], &err)); /* the same about another picture of that size */
    eye_batch_run(b, true);
    assert_int_equal(got[0].result.n_cached_tok, 0);
    assert_int_equal(got[1].result.n_cached_tok, (got[1].result.n_prompt_tok - 1) / 16 * 16);
    assert_true(got[2].result.n_cached_tok >= rows / 16 * 16 && got[2].result.n_cached_tok < got[2].result.n_prompt_tok);
    assert_true(got[3].result.n_cached_tok < got[3].result.n_prompt_tok - rows);
    assert_same(&got[1], &alone[8]);
    assert_same(&got[2], &alone[9]);
    assert_same(&got[3], &alone[2]);
    eye_batch_get_stats(b, &s);
    assert_int_equal(s.n_image_misses, 2);
    assert_int_equal(s.n_cached_tok, got[1].result.n_cached_tok + got[2].result.n_cached_tok + got[3].result.n_cached_tok);
    assert_int_equal(s.image_cache_bytes, 2 * row_bytes);
    struct asked third = asked[7];
    memset(&got[0], 0, sizeof got[0]);
    CALL(ask(b, &third, &got[0], &err));
    eye_batch_run(b, true);
    eye_batch_get_stats(b, &s);
    assert_int_equal(s.n_image_misses, 3);
    assert_int_equal(s.image_cache_bytes, 2 * row_bytes); /* the oldest went */
    eye_batch_free(b);
    eye_model_close(m);
}

/* What of asked[0], then asked[9] is found in the file, and is the rest as it should be? */
static void ask_after_loading(struct eye_model *m, const char *path, struct eye_batch_opts o, size_t cached, size_t hits) {
    struct eye_err err;
    static struct said got[2];
    struct eye_batch *b = new_batch(m, o);
    struct eye_batch_stats s;
    CALL(eye_batch_load(b, path, &err));
    memset(got, 0, sizeof got);
    CALL(ask(b, &asked[0], &got[0], &err));
    CALL(ask(b, &asked[9], &got[1], &err));
    assert_int_equal(eye_batch_load(b, path, &err), EYE_E_ARG);
    eye_batch_run(b, true);
    assert_same(&got[0], &alone[0]);
    assert_same(&got[1], &alone[9]);
    assert_int_equal(got[0].result.n_cached_tok, cached);
    eye_batch_get_stats(b, &s);
    assert_int_equal(s.n_image_hits, hits);
    assert_true(s.image_cache_bytes <= s.image_cache_cap && s.prefix_cache_bytes <= s.prefix_cache_cap);
    eye_batch_free(b);
}

static void test_caches_over_a_restart(void **state) {
    (void)state;
    struct eye_err err;
    static struct said got[2];
    const char *path = eye_scratch_path("batch.caches");
    struct eye_model *m = open_model(1, 1);
    struct eye_batch *b = new_batch(m, (struct eye_batch_opts){.n_slots = 1});
    memset(got, 0, sizeof got);
    assert_int_equal(eye_batch_save(b, path, &err), EYE_E_ARG); /* nothing yet */
    CALL(ask(b, &asked[2], &got[0], &err));
    CALL(ask(b, &asked[0], &got[1], &err));
    eye_batch_run(b, true);
    CALL(eye_batch_save(b, path, &err));
    eye_batch_free(b);
    size_t cached = (alone[0].result.n_prompt_tok - 1) / 16 * 16;
    ask_after_loading(m, path, (struct eye_batch_opts){.n_slots = 1}, cached, 1); /* its last rows are in no whole piece */
    ask_after_loading(m, path, (struct eye_batch_opts){.n_slots = 1, .image_cache_bytes = -1}, cached, 0);
    ask_after_loading(m, path, (struct eye_batch_opts){.n_slots = 1, .prefix_cache_bytes = -1}, 0, 2);
    ask_after_loading(m, path, (struct eye_batch_opts){.n_slots = 1, .image_cache_bytes = 1, .prefix_cache_bytes = 1}, 0, 0);

    /* Cut off anywhere, a byte changed anywhere: refused, and the batch works on. */
    FILE *f = fopen(path, "rb");
    static uint8_t bytes[1 << 20];
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_true(n > 9000 && n < sizeof bytes);
    const char *bad = eye_scratch_path("batch.bad");
    b = new_batch(m, (struct eye_batch_opts){.n_slots = 1});
    for (size_t i = 0; i < n; i += i < 200 ? 7 : 997) {
        for (int change = 0; change < 2; change++) {
            f = fopen(bad, "wb");
            bytes[i] ^= (uint8_t)(change ? 0x41 : 0);
            assert_int_equal(fwrite(bytes, 1, change ? n : i, f), change ? n : i);
            bytes[i] ^= (uint8_t)(change ? 0x41 : 0);
            fclose(f);
            assert_int_not_equal(eye_batch_load(b, bad, &err), EYE_OK);
        }
    }
    assert_int_equal(eye_batch_load(b, "/nowhere/caches", &err), EYE_E_IO);
    assert_int_equal(eye_batch_save(b, path, &err), EYE_E_ARG); /* still empty */
    eye_batch_free(b);
    eye_model_close(m);

    struct eye_model_opts other = {.n_ctx = N_CTX, .n_threads = 1, .cache_type = EYE_CACHE_I8};
    CALL(eye_model_open(folder, &other, &m, &err));
    b = new_batch(m, (struct eye_batch_opts){.n_slots = 1});
    assert_int_equal(eye_batch_load(b, path, &err), EYE_E_ARG);
    eye_batch_free(b);
    eye_model_close(m);
}

/* Pieces and pictures that the header's sums allow and the data does not have. */
static void test_hostile_caches(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_store s;
    static uint8_t p[8208 + 3 * 36 + 8 + 4];
    p[8192] = 2; /* pieces */
    p[8196] = 1; /* pictures */
    p[8200] = 4; /* bytes of a piece */
    p[8208 + 2 * 40 + 32] = 1; /* floats */
    assert_int_equal(eye_store_parse(&s, p, 8208 + 80 + 40, 3, "p", &err), EYE_OK);
    assert_true(s.n_pages == 2 && s.n_pictures == 1 && s.pictures == p + 8208 + 80);
    assert_int_equal(eye_store_parse(&s, p, 8208 + 80 + 40, 2, "p", &err), EYE_E_CORRUPT);
    assert_int_equal(eye_store_parse(&s, p, 8208 + 80 + 41, 3, "p", &err), EYE_E_CORRUPT);
    for (size_t n = 0; n < 8208 + 80 + 40; n += n < 8200 ? 820 : 1)
        assert_int_equal(eye_store_parse(&s, p, n, 3, "p", &err), EYE_E_CORRUPT);
    memset(p + 8200, 0xFF, 8);
    assert_int_equal(eye_store_parse(&s, p, 8208 + 80 + 40, 3, "p", &err), EYE_E_CORRUPT);
    memset(p + 8192, 0xFF, 8);
    assert_int_equal(eye_store_parse(&s, p, 8208 + 80 + 40, UINT32_MAX, "p", &err), EYE_E_CORRUPT);
}

/* The model's folder of image rows serves batches too. */
static void test_the_models_folder(void **state) {
    (void)state;
    struct eye_err err;
    static struct said got[2];
    char dir[512];
    snprintf(dir, sizeof dir, "%s", eye_scratch_path("batch.rows"));
    for (int again = 0; again < 2; again++) {
        struct eye_model *m;
        struct eye_batch_stats s;
        struct eye_model_opts o = {.n_ctx = N_CTX, .n_threads = 2, .cache_dir = dir};
        CALL(eye_model_open(folder, &o, &m, &err));
        struct eye_batch *b = new_batch(m, (struct eye_batch_opts){.n_slots = 2, .image_cache_bytes = -1,
                                                                   .prefix_cache_bytes = -1});
        memset(got, 0, sizeof got);
        CALL(ask(b, &asked[0], &got[0], &err));
        CALL(ask(b, &asked[4], &got[1], &err));
        eye_batch_run(b, true);
        assert_same(&got[0], &alone[0]);
        assert_same(&got[1], &alone[4]);
        eye_batch_get_stats(b, &s);
        assert_int_equal(s.n_image_misses, again ? 0 : 3);
        eye_batch_free(b);
        eye_model_close(m);
    }
}

/* ---- ends ---- */

static void test_cancelled_requests(void **state) {
    (void)state;
    struct eye_err err;
    static struct said got[N_ASKED];
    struct eye_model *m = open_model(2, 4);
    for (int32_t lanes = 1; lanes <= 2; lanes++) {
        struct eye_batch *b = new_batch(m, (struct eye_batch_opts){.n_slots = 4, .n_beams = 4, .n_lanes = lanes});
        struct eye_batch_stats s;
        memset(got, 0, sizeof got);
        got[3].cancel_after = 4;  /* while it writes */
        got[5].end_after = 3;     /* its reader has enough */
        for (size_t i = 0; i < N_ASKED; i++) CALL(ask(b, &asked[i], &got[i], &err));
        eye_batch_cancel(b, got[6].id); /* while it waits */
        eye_batch_cancel(b, got[6].id);
        eye_batch_cancel(b, 12345);
        eye_batch_step(b);
        eye_batch_cancel(b, got[0].id); /* while it reads */
        eye_batch_run(b, true);
        for (size_t i = 0; i < N_ASKED; i++) {
            if (i == 0 || i == 3 || i == 6) {
                assert_int_equal(got[i].status, EYE_E_CANCELLED);
                assert_int_equal(got[i].n_done, 1);
                assert_string_equal(got[i].text, got[i].streamed);
            } else if (i == 5) {
                assert_int_equal(got[i].result.finish, EYE_FINISH_CALLER);
                assert_memory_equal(got[i].tokens, alone[i].tokens, got[i].result.n_tokens * sizeof got[i].tokens[0]);
            } else {
                assert_same(&got[i], &alone[i]);
            }
        }
        assert_true(got[3].n_heard == 4 && got[3].result.n_tokens >= 4);
        eye_batch_get_stats(b, &s);
        assert_int_equal(s.n_cancelled, 3);
        assert_int_equal(s.n_done, N_ASKED - 3);
        memset(got, 0, sizeof got);
        for (size_t i = 0; i < N_ASKED; i++) CALL(ask(b, &asked[i], &got[i], &err));
        for (int i = 0; i < 5; i++) eye_batch_step(b);
        eye_batch_free(b); /* ends all */
        for (size_t i = 0; i < N_ASKED; i++) assert_true(got[i].n_done == 1);
    }
    eye_model_close(m);
}

static void test_errors_stay_with_their_request(void **state) {
    (void)state;
    struct eye_err err;
    static struct said got[4];
    struct eye_model *m = open_model(1, 2);
    size_t n_prompt = alone[0].result.n_prompt_tok;
    const struct eye_batch_opts no[] = {{.n_slots = -1}, {.n_ctx = N_CTX + 1}, {.n_beams = 99}, {.image_cache_bytes = -2}};
    struct eye_batch *b = NULL;
    for (size_t i = 0; i < EYE_COUNT(no); i++) assert_int_equal(eye_batch_new(m, &no[i], &b, &err), EYE_E_ARG);
    /* Room for the prompt and a token, and not for beams behind it. */
    b = new_batch(m, (struct eye_batch_opts){.n_slots = 2, .n_ctx = (int32_t)n_prompt + 2, .n_beams = 4, .max_queued = 3});
    memset(got, 0, sizeof got);
    struct asked bad = asked[0], good = asked[1], beams = asked[0];
    bad.opts.temperature = -1;
    assert_int_equal(ask(b, &bad, &got[0], &err), EYE_E_ARG);
    bad = asked[1];
    bad.opts.n_beams = 5;
    assert_int_equal(ask(b, &bad, &got[0], &err), EYE_E_ARG);
    bad = asked[1];
    bad.opts.stop = (const char *const[]){""};
    bad.opts.n_stop = 1;
    assert_int_equal(ask(b, &bad, &got[0], &err), EYE_E_ARG);
    assert_int_equal(ask(b, &asked[3], &got[0], &err), EYE_E_LIMIT);
    assert_int_equal(got[0].id, 0);
    good.opts.n_predict = 3;
    beams.opts.n_beams = 4;
    CALL(ask(b, &good, &got[0], &err));
    CALL(ask(b, &beams, &got[1], &err));
    CALL(ask(b, &good, &got[2], &err));
    assert_int_equal(ask(b, &good, &got[3], &err), EYE_E_LIMIT);
    assert_true(got[3].id == EYE_BATCH_FULL);
    eye_batch_run(b, true);
    assert_int_equal(got[1].status, EYE_E_LIMIT);
    assert_int_equal(got[1].n_done, 1);
    assert_int_equal(got[3].n_done, 0);
    for (size_t i = 0; i < 3; i += 2) {
        assert_int_equal(got[i].status, EYE_OK);
        assert_memory_equal(got[i].tokens, alone[1].tokens, 3 * sizeof(int32_t));
    }
    struct eye_batch_stats s;
    eye_batch_get_stats(b, &s);
    assert_int_equal(s.n_failed, 1);
    eye_batch_free(b);
    eye_model_close(m);
}

/* ---- memory ---- */

struct purse { long left; }; /* allocations that still succeed */
static void *purse_alloc(void *ctx, size_t bytes, size_t align) {
    struct purse *p = ctx;
    if (p->left == 0) return NULL;
    if (p->left > 0) p->left--;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}
static void purse_free(void *ctx, void *p, size_t bytes) {
    (void)ctx;
    (void)bytes;
    free(p);
}

static void test_memory_that_runs_out(void **state) {
    (void)state;
    struct eye_err err;
    struct purse purse = {-1};
    struct eye_alloc alloc = {purse_alloc, purse_free, &purse};
    struct eye_model *m;
    static struct said got;
    CALL(eye_model_open(folder, &(struct eye_model_opts){.n_ctx = N_CTX, .n_threads = 1, .alloc = &alloc}, &m, &err));
    long n = 0;
    for (bool done = false; !done; n++) {
        struct eye_batch *b = NULL;
        memset(&got, 0, sizeof got);
        purse.left = n;
        enum eye_status st = eye_batch_new(m, &(struct eye_batch_opts){.n_slots = 2, .prefix_cache_bytes = 40000}, &b, &err);
        if (st == EYE_OK) st = ask(b, &asked[2], &got, &err);
        if (st == EYE_OK) {
            eye_batch_run(b, true);
            assert_int_equal(got.n_done, 1);
            done = got.status == EYE_OK;
            st = got.status;
        }
        if (!done) assert_int_equal(st, EYE_E_NOMEM);
        purse.left = -1;
        eye_batch_free(b);
    }
    assert_same(&got, &alone[2]);
    assert_true(n > 20);
    eye_model_close(m);
}

struct counted { unsigned long n, first, last; };
static bool count_allocations(void *ctx, const char *text, size_t bytes) {
    struct counted *c = ctx;
    (void)text;
    (void)bytes;
    if (c->n++ == 0) c->first = eye_alloc_count();
    c->last = eye_alloc_count();
    return c->n == 30;
}

static void test_a_token_costs_no_allocation(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_model *m = open_model(2, 4);
    for (int32_t lanes = 1; lanes <= 2; lanes++) {
        struct eye_batch *b = new_batch(m, (struct eye_batch_opts){.n_slots = 4, .n_lanes = lanes});
        struct counted c[2] = {{0}};
        struct eye_batch_memory mem;
        for (size_t i = 0; i < 2; i++) {
            struct eye_generate_opts o = {.temperature = 1, .seed = i, .ignore_eos = true, .on_text = count_allocations,
                                          .on_text_ctx = &c[i], .n_logprobs = 2};
            struct eye_query q = {.text = "on and on", .images = &image[0], .n_images = 1};
            CALL(eye_batch_submit(b, &(struct eye_batch_request){.query = &q, .opts = &o}, NULL, &err));
            while (c[0].n < 1) eye_batch_step(b); /* the second finds the first writing: nobody begins meanwhile */
        }
        while (c[1].n < 1) eye_batch_step(b);
        unsigned long before = eye_alloc_count(), heard = c[0].n + c[1].n;
        for (int i = 0; i < 15; i++) eye_batch_step(b);
        assert_true(c[0].n + c[1].n > heard + 10 && c[1].n < 30);
        assert_int_equal(eye_alloc_count(), before);
        eye_batch_free(b);
        CALL(eye_batch_get_memory(m, &(struct eye_batch_opts){.n_slots = 4, .n_lanes = lanes}, &mem, &err));
        assert_true(mem.slots == 4 * mem.slot && mem.total > mem.slots + mem.activations + mem.prefix_cache);
    }
    eye_model_close(m);
}

/* ---- threads ---- */

enum { N_CLIENTS = 3, N_EACH = 8 };
struct client {
    pthread_t thread;
    struct eye_batch *batch;
    size_t i;
    struct said said[N_EACH];
    enum eye_status refused;
};

static void *client_main(void *arg) {
    struct client *c = arg;
    struct eye_err err;
    for (size_t k = 0; k < N_EACH; k++) {
        const struct asked *a = &asked[(c->i * 5 + k) % N_ASKED];
        if (ask(c->batch, a, &c->said[k], &err) != EYE_OK) c->refused = err.code;
        if (k % 3 == 2) eye_batch_cancel(c->batch, c->said[k].id);
        struct eye_batch_stats s;
        eye_batch_get_stats(c->batch, &s);
    }
    return NULL;
}

static void *run_main(void *arg) {
    eye_batch_run(arg, false);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    struct eye_model *m = open_model(2, 4);
    static struct client client[N_CLIENTS];
    for (int32_t lanes = 1; lanes <= 2; lanes++) {
        struct eye_batch *b = new_batch(m, (struct eye_batch_opts){.n_slots = 4, .n_beams = 4, .n_lanes = lanes});
        pthread_t runner;
        memset(client, 0, sizeof client);
        assert_int_equal(pthread_create(&runner, NULL, run_main, b), 0);
        for (size_t i = 0; i < N_CLIENTS; i++) {
            client[i].batch = b;
            client[i].i = i;
            assert_int_equal(pthread_create(&client[i].thread, NULL, client_main, &client[i]), 0);
        }
        for (size_t i = 0; i < N_CLIENTS; i++) pthread_join(client[i].thread, NULL);
        eye_batch_stop(b); /* in the middle of it all */
        pthread_join(runner, NULL);
        eye_batch_run(b, true);
        for (size_t i = 0; i < N_CLIENTS; i++) {
            assert_int_equal(client[i].refused, EYE_OK);
            for (size_t k = 0; k < N_EACH; k++) {
                const struct said *s = &client[i].said[k];
                assert_int_equal(s->n_done, 1);
                if (k % 3 != 2 || s->status == EYE_OK) assert_same(s, &alone[(i * 5 + k) % N_ASKED]);
                else assert_int_equal(s->status, EYE_E_CANCELLED);
            }
        }
        eye_batch_stop(b); /* nobody runs: the next run returns at once */
        eye_batch_run(b, false);
        eye_batch_free(b);
    }
    eye_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_as_if_alone),
        cmocka_unit_test(test_most_answers),
        cmocka_unit_test(test_caches_are_used_and_bounded),
        cmocka_unit_test(test_caches_over_a_restart),
        cmocka_unit_test(test_hostile_caches),
        cmocka_unit_test(test_the_models_folder),
        cmocka_unit_test(test_cancelled_requests),
        cmocka_unit_test(test_errors_stay_with_their_request),
        cmocka_unit_test(test_memory_that_runs_out),
        cmocka_unit_test(test_a_token_costs_no_allocation),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
