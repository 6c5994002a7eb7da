/* What tests share that ask a model twice and expect the same: a greedy answer with its log probabilities, from a session or a
 * batch. */
#ifndef EYE_TEST_ANSWER_HELP_H
#define EYE_TEST_ANSWER_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "eyelet/eyelet.h"
#include "support/support.h"

/* A call that must succeed and fills in the struct eye_err that is called err where it stands. */
#define CALL(x)                                        \
    do {                                               \
        struct eye_err *err_ = &err;                   \
        if ((x) != EYE_OK) fail_msg("%s", err_->text); \
    } while (0)

/* Tokens and their log probabilities, which are a function of every logit. */
enum { N_SAID = 12 };
struct answer {
    size_t n_prompt, n_image, n_cached;
    uint64_t vision_us;
    int32_t token[N_SAID];
    float logprob[N_SAID];
};
static const struct eye_generate_opts answer_opts = {.n_predict = N_SAID, .ignore_eos = true, .n_logprobs = 1};

static inline struct answer answer_of(const struct eye_result *r) {
    struct answer a = {.n_prompt = r->n_prompt_tok, .n_image = r->n_image_tok, .n_cached = r->n_cached_tok,
                       .vision_us = r->timings.vision_us};
    assert_int_equal(r->n_tokens, N_SAID);
    for (size_t i = 0; i < N_SAID; i++) a.token[i] = r->tokens[i], a.logprob[i] = r->logprobs[2 * i].logprob;
    return a;
}

static inline struct answer ask(struct eye_session *s, struct eye_query q) {
    struct eye_err err = {0};
    struct eye_result r;
    CALL(eye_session_generate(s, &q, &answer_opts, &r, &err));
    return answer_of(&r);
}

/* A batch's on_done; ctx: struct answer. */
static inline void keep_answer(void *ctx, const struct eye_result *r, enum eye_status st, const struct eye_err *why) {
    if (st != EYE_OK) fail_msg("%s", why->text);
    *(struct answer *)ctx = answer_of(r);
}

static inline void assert_same(const struct answer *a, const struct answer *b) {
    assert_int_equal(a->n_prompt, b->n_prompt);
    assert_int_equal(a->n_image, b->n_image);
    assert_memory_equal(a->token, b->token, sizeof a->token);
    assert_memory_equal(a->logprob, b->logprob, sizeof a->logprob);
}

#endif
