/* Beam search and samples against plain restatements: every hypothesis prefilled anew in a session of its own, so that nothing
 * is shared between beams. Several prompts at once equal each alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/session_impl.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

#define MAX_TOK 7
#define N_PROMPTS 3
#define MAX_BEAMS 4

static char folder[512];
static struct eye_model *model;
static struct eye_session *judge; /* prefills hypotheses */
static const int32_t prompt_ids[N_PROMPTS][20] = {
    {5, 17, 90, 33, 4}, {61, 2, 2, 45, 80, 11, 30, 7, 9, 100, 56, 23, 12, 77, 40, 3, 8, 99}, {7}};
static const size_t prompt_n[N_PROMPTS] = {5, 18, 1};

#define CALL(x)                                           \
    do {                                                  \
        struct eye_err *err_ = &err;                      \
        if ((x) != EYE_OK) fail_msg("%s", err_->text);    \
    } while (0)

static int set_up(void **state) {
    (void)state;
    struct eye_err err;
    snprintf(folder, sizeof folder, "%s", eye_scratch_path("search"));
    CALL(eye_make_tiny(folder, &err));
    CALL(eye_model_open(folder, &(struct eye_model_opts){.n_ctx = 512, .n_threads = 2}, &model, &err));
    CALL(eye_session_new(model, NULL, &judge, &err));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    eye_session_free(judge);
    eye_model_close(model);
    return 0;
}

/* ---- the plain way ---- */

struct hypothesis { int32_t token[MAX_TOK]; size_t n; double logprob, score; bool ended; };

static double *log_probs(const int32_t *prompt, size_t n_prompt, const struct hypothesis *h) {
    struct eye_err err;
    size_t vocab = (size_t)eye_model_n_vocab(model);
    float *logits = malloc(vocab * sizeof *logits);
    double *out = malloc(vocab * sizeof *out);
    int32_t ids[64];
    memcpy(ids, prompt, n_prompt * sizeof *ids);
    memcpy(ids + n_prompt, h->token, h->n * sizeof *ids);
    eye_session_reset(judge);
    CALL(eye_session_prefill(judge, ids, n_prompt + h->n, NULL, logits, &err));
    float most = logits[0];
    for (size_t v = 1; v < vocab; v++) most = fmaxf(most, logits[v]);
    double sum = eye_log_sum_exp(logits, vocab, most);
    for (size_t v = 0; v < vocab; v++) out[v] = (double)logits[v] - sum;
    free(logits);
    return out;
}

static int by_logprob(const void *a, const void *b) {
    double x = ((const struct hypothesis *)a)->logprob, y = ((const struct hypothesis *)b)->logprob;
    return (x < y) - (x > y);
}

static int by_score(const void *a, const void *b) {
    double x = ((const struct hypothesis *)a)->score, y = ((const struct hypothesis *)b)->score;
    return (x < y) - (x > y);
}

/* Every continuation of every beam, sorted; the rest is the rule of search.h. */
static size_t plain_search(const struct eye_search_opts *o, const int32_t *prompt, size_t n_prompt, struct hypothesis *best) {
    size_t vocab = (size_t)eye_model_n_vocab(model), n_live = 1, n_done = 0;
    size_t beams = (size_t)o->n_beams;
    struct hypothesis *all = malloc(beams * vocab * sizeof *all), live[MAX_BEAMS] = {{.n = 0}}, done[256];
    for (int32_t step = 1; step <= o->max_tok && n_live; step++) {
        size_t n = 0, next = 0;
        for (size_t b = 0; b < n_live; b++) {
            double *lp = log_probs(prompt, n_prompt, &live[b]);
            for (size_t v = 0; v < vocab; v++, n++) {
                all[n] = live[b];
                all[n].token[all[n].n++] = (int32_t)v;
                all[n].logprob += lp[v];
            }
            free(lp);
        }
        qsort(all, n, sizeof *all, by_logprob);
        for (size_t i = 0; i < EYE_MIN(n, 2 * beams) && next < beams; i++) {
            bool end = o->n_end && all[i].token[all[i].n - 1] == o->end[0];
            if (!end) {
                live[next++] = all[i];
            } else if (i < beams) {
                done[n_done] = all[i];
                done[n_done].score = all[i].logprob / pow((double)all[i].n, (double)o->length_penalty);
                done[n_done].ended = true;
                done[n_done++].n--;
            }
        }
        n_live = next;
        qsort(done, n_done, sizeof *done, by_score);
        n_done = EYE_MIN(n_done, beams);
        if (n_done == beams && done[beams - 1].score >= live[0].logprob / pow((double)step, (double)o->length_penalty)) n_live = 0;
    }
    for (size_t b = 0; b < n_live; b++) {
        done[n_done] = live[b];
        done[n_done++].score = live[b].logprob / pow((double)live[b].n, (double)o->length_penalty);
    }
    qsort(done, n_done, sizeof *done, by_score);
    n_done = EYE_MIN(n_done, beams);
    memcpy(best, done, n_done * sizeof *best);
    free(all);
    return n_done;
}

/* ---- the search itself ---- */

static void run_search(const struct eye_search_opts *o, size_t first, size_t n, struct eye_arena *arena,
                       struct eye_search_answer *answer) {
    struct eye_err err;
    struct eye_session *s;
    size_t vocab = (size_t)eye_model_n_vocab(model);
    float *logits = malloc(N_PROMPTS * vocab * sizeof *logits);
    struct eye_decode_call call[N_PROMPTS];
    struct eye_search_prompt prompt[N_PROMPTS];
    CALL(eye_session_new(model, NULL, &s, &err));
    for (size_t i = 0; i < n; i++) {
        call[i] = (struct eye_decode_call){.ids = prompt_ids[first + i], .n = prompt_n[first + i], .n_logits = 1,
                                           .at = {.slot = (int64_t)(32 * i)}};
        prompt[i] = (struct eye_search_prompt){(int64_t)(32 * i), (int64_t)prompt_n[first + i], logits + i * vocab};
    }
    CALL(eye_decode(&s->decoder, call, n, logits, NULL, NULL, &err));
    CALL(eye_search(&s->decoder, o, prompt, n, 32 * N_PROMPTS, arena, answer, NULL, NULL, &err));
    eye_session_free(s);
    free(logits);
}

static void beams_are_those_of_the_plain_search(void **state) {
    (void)state;
    /* An end token that is likely somewhere: the second of the greedy answer to the first prompt. */
    struct hypothesis greedy[MAX_BEAMS];
    struct eye_search_opts o = {.n_beams = 1, .length_penalty = 0.7F, .max_tok = MAX_TOK};
    plain_search(&o, prompt_ids[0], prompt_n[0], greedy);
    int32_t end = greedy[0].token[1];
    o.end = &end;
    o.n_end = 1;
    for (o.n_beams = 1; o.n_beams <= MAX_BEAMS; o.n_beams++) {
        struct eye_search_answer answer[N_PROMPTS * MAX_BEAMS];
        struct eye_arena arena;
        eye_arena_init(&arena, NULL);
        run_search(&o, 0, N_PROMPTS, &arena, answer);
        for (size_t p = 0; p < N_PROMPTS; p++) {
            struct hypothesis best[MAX_BEAMS];
            size_t n = plain_search(&o, prompt_ids[p], prompt_n[p], best);
            for (size_t b = 0; b < n; b++) {
                const struct eye_search_answer *a = &answer[p * (size_t)o.n_beams + b];
                assert_int_equal(a->n, best[b].n);
                assert_memory_equal(a->tokens, best[b].token, a->n * sizeof *a->tokens);
                assert_int_equal(a->ended, best[b].ended);
                assert_true(a->logprob == best[b].logprob); /* bit for bit: no beam or prompt touches another */
            }
        }
        eye_arena_clear(&arena);
    }
}

static void prompts_together_are_prompts_alone(void **state) {
    (void)state;
    struct eye_search_opts o = {.n_beams = 3, .length_penalty = 1, .max_tok = MAX_TOK};
    struct eye_search_answer all[N_PROMPTS * 3], one[3];
    struct eye_arena arena;
    eye_arena_init(&arena, NULL);
    run_search(&o, 0, N_PROMPTS, &arena, all);
    for (size_t p = 0; p < N_PROMPTS; p++) {
        run_search(&o, p, 1, &arena, one);
        for (size_t b = 0; b < 3; b++) {
            assert_true(one[b].n == all[p * 3 + b].n && one[b].logprob == all[p * 3 + b].logprob);
            assert_memory_equal(one[b].tokens, all[p * 3 + b].tokens, one[b].n * sizeof(int32_t));
        }
    }
    eye_arena_clear(&arena);
}

static void samples_say_how_likely_they_were(void **state) {
    (void)state;
    struct eye_search_opts o = {.n_beams = 4, .sample = true, .temperature = 1, .seed = 9, .max_tok = MAX_TOK};
    struct eye_search_answer a[N_PROMPTS * 4], again[N_PROMPTS * 4], other[N_PROMPTS * 4];
    struct eye_arena arena;
    size_t differ = 0;
    eye_arena_init(&arena, NULL);
    run_search(&o, 0, N_PROMPTS, &arena, a);
    run_search(&o, 0, N_PROMPTS, &arena, again);
    o.seed = 10;
    run_search(&o, 0, N_PROMPTS, &arena, other);
    for (size_t i = 0; i < N_PROMPTS * 4; i++) {
        struct hypothesis h = {.n = 0};
        double sum = 0;
        for (size_t t = 0; t < a[i].n; t++) {
            double *lp = log_probs(prompt_ids[i / 4], prompt_n[i / 4], &h);
            sum += lp[a[i].tokens[t]];
            h.token[h.n++] = a[i].tokens[t];
            free(lp);
        }
        assert_true(a[i].n == MAX_TOK && fabs(sum - a[i].logprob) < 1e-9 * MAX_TOK);
        assert_memory_equal(a[i].tokens, again[i].tokens, a[i].n * sizeof(int32_t));
        differ += memcmp(a[i].tokens, other[i].tokens, a[i].n * sizeof(int32_t)) != 0;
    }
    assert_true(differ >= N_PROMPTS * 4 - 1);
    eye_arena_clear(&arena);
}

static void a_session_searches_and_goes_on(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_session *s;
    struct eye_result r;
    struct hypothesis best[MAX_BEAMS];
    struct eye_query q = {.text = "hello there", .raw = true};
    struct eye_generate_opts g = {.n_beams = 3, .n_predict = MAX_TOK, .length_penalty = 1, .ignore_eos = true};
    struct eye_search_opts o = {.n_beams = 3, .max_tok = MAX_TOK, .length_penalty = 1};
    CALL(eye_session_new(model, NULL, &s, &err));
    CALL(eye_session_generate(s, &q, &g, &r, &err));
    plain_search(&o, s->prompt.p, s->prompt.n, best);
    assert_int_equal(r.n_tokens, MAX_TOK);
    assert_memory_equal(r.tokens, best[0].token, MAX_TOK * sizeof(int32_t));
    assert_int_equal(r.finish, EYE_FINISH_LENGTH);
    /* The context is the prompt and the answer, as if it had been decoded greedily. */
    float a[4096], b[4096];
    int32_t ids[64];
    size_t n = s->prompt.n;
    assert_true(eye_model_n_vocab(model) <= 4096);
    memcpy(ids, s->prompt.p, n * sizeof *ids);
    memcpy(ids + n, r.tokens, r.n_tokens * sizeof *ids);
    ids[n + r.n_tokens] = 3;
    assert_int_equal(eye_session_n_past(s), n + r.n_tokens);
    CALL(eye_session_step(s, 3, a, &err));
    eye_session_reset(judge);
    CALL(eye_session_prefill(judge, ids, n + r.n_tokens + 1, NULL, b, &err));
    assert_memory_equal(a, b, (size_t)eye_model_n_vocab(model) * sizeof *a);
    g.temperature = 1;
    assert_int_equal(eye_session_generate(s, &q, &g, &r, &err), EYE_E_ARG);
    eye_session_free(s);
}

/* A model whose files ask for beams, and a prompt that takes most of a small context: what is left belongs to each of them. */
static void a_small_context_has_room_for_the_models_own_beams(void **state) {
    (void)state;
    struct eye_err err;
    char path[600];
    struct eye_result r[2];
    struct eye_session *s[2];
    struct eye_model *m;
    const struct eye_query q = {.text = "one two three four five six seven eight nine ten eleven", .raw = true};
    const struct eye_generate_opts g = {.n_predict = MAX_TOK, .ignore_eos = true};
    snprintf(path, sizeof path, "%s/generation_config.json", folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"num_beams\": 3}", f);
    fclose(f);
    CALL(eye_model_open(folder, &(struct eye_model_opts){.n_ctx = 512, .n_threads = 2}, &m, &err));
    remove(path);
    CALL(eye_session_new(m, NULL, &s[0], &err));
    CALL(eye_session_generate(s[0], &q, &g, &r[0], &err));
    int32_t n_ctx = (int32_t)r[0].n_prompt_tok + MAX_TOK + 1;
    CALL(eye_session_new(m, &(struct eye_session_opts){.n_ctx = n_ctx}, &s[1], &err));
    CALL(eye_session_generate(s[1], &q, &g, &r[1], &err));
    assert_int_equal(r[0].n_tokens, MAX_TOK);
    assert_int_equal(r[1].n_tokens, MAX_TOK);
    assert_memory_equal(r[0].tokens, r[1].tokens, MAX_TOK * sizeof(int32_t));
    for (int i = 0; i < 2; i++) eye_session_free(s[i]);
    eye_model_close(m);
}

static void what_cannot_be_searched_is_refused(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_search_answer answer[1];
    struct eye_search_prompt prompt = {0};
    const struct eye_search_opts bad[] = {{.n_beams = 0, .max_tok = 1}, {.n_beams = EYE_MAX_BEAMS + 1, .max_tok = 1},
                                          {.n_beams = 1}, {.n_beams = 1, .max_tok = 1, .sample = true}};
    for (size_t i = 0; i < EYE_COUNT(bad); i++)
        assert_int_equal(eye_search(&judge->decoder, &bad[i], &prompt, 1, 0, NULL, answer, NULL, NULL, &err), EYE_E_ARG);
    struct eye_search_opts many = {.n_beams = 1, .max_tok = 1};
    assert_int_equal(eye_search(&judge->decoder, &many, &prompt, judge->decoder.rows + 1, 0, NULL, answer, NULL, NULL, &err),
                     EYE_E_ARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beams_are_those_of_the_plain_search), cmocka_unit_test(prompts_together_are_prompts_alone),
        cmocka_unit_test(samples_say_how_likely_they_were), cmocka_unit_test(a_session_searches_and_goes_on),
        cmocka_unit_test(a_small_context_has_room_for_the_models_own_beams),
        cmocka_unit_test(what_cannot_be_searched_is_refused)};
    return cmocka_run_group_tests_name("search", tests, set_up, tear_down);
}
