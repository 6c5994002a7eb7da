/* generate: the token loop. Prompt to logits, then a token (reply.c), a step, until something ends it. All memory the loop
 * needs is taken before its first token. */
#include <string.h>

#include "session/lookup.h"
#include "session/session_impl.h"

const char *eye_finish_name(enum eye_finish finish) {
    switch (finish) {
    case EYE_FINISH_STOP: return "stop";
    case EYE_FINISH_LENGTH: return "length";
    case EYE_FINISH_CONTEXT: return "context";
    case EYE_FINISH_CALLER: return "caller";
    }
    return "?";
}

/* ---- the prompt ---- */

/* Into s->image_rows, one after the other. */
enum eye_status eye_session_encode_images(struct eye_session *s, const struct eye_query *q, struct eye_timings *t,
                                          struct eye_err *err) {
    size_t width = (size_t)s->model->vlm.config.text.hidden, n_rows = eye_query_image_rows(s->model, q), need, done = 0;
    void *p = s->image_rows;
    if (!eye_mul_ok(n_rows, width, &need)) return eye_fail_nomem(err, SIZE_MAX);
    EYE_TRY(eye_alloc_grow(s->alloc, &p, &s->image_rows_cap, need, sizeof *s->image_rows, err));
    s->image_rows = p;
    for (size_t i = 0; i < q->n_images; i++) {
        EYE_TRY(eye_session_encode_image(s, &q->images[i], s->image_rows + done * width, t, err));
        done += (size_t)eye_model_image_rows(s->model, &q->images[i]);
    }
    return EYE_OK;
}

static enum eye_status run_prompt(struct eye_session *s, const struct eye_query *q, struct eye_result *r, struct eye_err *err) {
    size_t n_kept = 0;
    if (s->prefix.active) {
        EYE_TRY(eye_session_resume(s, q, &s->prompt, &n_kept, &r->truncated, err));
        s->n_past = (int32_t)n_kept;
    } else {
        struct eye_query next = *q;
        next.next_turn = q->next_turn && eye_session_n_past(s) > 0;
        EYE_TRY(eye_query_assemble(s->model, &next, s->n_ctx - eye_session_n_past(s), &s->prompt, &r->truncated, err));
        EYE_TRY(eye_session_encode_images(s, q, &r->timings, err)); /* after assembling: what does not fit should not cost a vision run */
    }
    r->n_prompt_tok = s->prompt.n;
    r->n_cached_tok = n_kept;
    for (size_t i = 0; i < s->prompt.n; i++) r->n_image_tok += s->prompt.p[i] == EYE_TOKEN_IMAGE_ROW;
    uint64_t begin = eye_now_ns();
    EYE_TRY(eye_session_prefill(s, s->prompt.p + n_kept, s->prompt.n - n_kept, s->image_rows, s->logits, err));
    r->timings.prefill_us = (eye_now_ns() - begin) / 1000;
    eye_reply_read(&s->reply, s->prompt.p, s->prompt.n);
    return EYE_OK;
}

/* ---- the answer ---- */

/* What is taken stands at a position of its own before it is run. */
static bool take_token(struct eye_session *s, int32_t id) {
    size_t n = s->reply.r->n_tokens;
    bool over = eye_reply_take(&s->reply, id, s->n_past);
    if (s->reply.r->n_tokens > n) s->pending = id;
    return over;
}

struct ahead { /* a token and guesses at those behind it, run at once */
    struct eye_lookup lookup;
    int32_t ids[1 + EYE_MAX_LOOKUP];
    size_t n_guessed, n_right; /* the first n_right have been chosen since */
    const float *logits;       /* behind the last of them */
};

/* The room for guesses: what context and caller still want behind the token and its successor. */
static size_t guesses_wanted(const struct eye_session *s) {
    int32_t room = s->n_ctx - s->n_past - 1, n_predict = s->reply.opts->n_predict;
    if (n_predict) room = EYE_MIN(room, n_predict - (int32_t)s->reply.r->n_tokens - 1);
    return (size_t)EYE_MAX(room, 0);
}

/* Guesses are written behind the context's end: as if they were not, until they are chosen. */
static enum eye_status run_ahead(struct eye_session *s, int32_t id, struct ahead *a, struct eye_err *err) {
    float *logits = a->lookup.most ? s->ahead : s->logits;
    eye_lookup_learn(&a->lookup, a->n_guessed, a->n_right);
    s->past[s->n_past] = a->ids[0] = id;
    a->n_guessed = eye_lookup_guess(&a->lookup, s->past, (size_t)s->n_past + 1, a->ids + 1, guesses_wanted(s));
    a->n_right = 0;
    a->logits = logits;
    s->reply.r->n_guessed += a->n_guessed;
    EYE_TRY(eye_session_append_all(s, a->ids, 1 + a->n_guessed, logits, err));
    s->n_past -= (int32_t)a->n_guessed;
    return EYE_OK;
}

/* The token stands where a guess was run: its logits are there. */
static void take_guess(struct eye_session *s, struct ahead *a) {
    a->n_right++;
    a->logits += s->decoder.vocab;
    s->n_past++;
    s->reply.r->n_guessed_right++;
}

static enum eye_status run_answer(struct eye_session *s, struct eye_err *err) {
    struct ahead a = {.logits = s->logits};
    eye_lookup_start(&a.lookup, (size_t)s->reply.opts->n_lookup);
    for (;;) {
        int32_t id = eye_reply_pick(&s->reply, a.logits);
        eye_reply_clock(&s->reply);
        if (take_token(s, id)) return EYE_OK;
        if (s->opts.cancel && s->opts.cancel(s->opts.cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "cancelled");
        if (a.n_right < a.n_guessed && a.ids[1 + a.n_right] == id)
            take_guess(s, &a);
        else
            EYE_TRY(run_ahead(s, id, &a, err));
        s->pending = -1;
    }
}

static enum eye_status take_ahead_memory(struct eye_session *s, const struct eye_generate_opts *o, struct eye_err *err) {
    void *p = s->ahead;
    if (o->n_lookup <= 0) return EYE_OK;
    EYE_TRY(eye_alloc_grow(s->alloc, &p, &s->ahead_cap, (1 + (size_t)o->n_lookup) * s->decoder.vocab, sizeof *s->ahead, err));
    s->ahead = p;
    return EYE_OK;
}

/* Slots for each beam lie behind the prompt; the answer's tokens but the last then go through the decoder once more, as the
 * context's own. */
static enum eye_status run_beams(struct eye_session *s, int32_t beams, struct eye_err *err) {
    struct eye_search_opts o;
    int64_t first;
    EYE_TRY(eye_reply_search(&s->reply, beams, s->n_past, eye_kv_ctx(s->decoder.kv), &o, &first, err));
    struct eye_search_prompt prompt = {0, s->n_past, s->logits};
    struct eye_search_answer answer[EYE_MAX_BEAMS];
    struct eye_arena arena;
    eye_arena_init(&arena, s->alloc);
    pthread_mutex_lock(&s->model->lock);
    enum eye_status st = eye_search(&s->decoder, &o, &prompt, 1, first, &arena, answer, s->opts.cancel, s->opts.cancel_ctx, err);
    pthread_mutex_unlock(&s->model->lock);
    eye_reply_clock(&s->reply);
    if (st == EYE_OK) {
        struct eye_result *r = s->reply.r;
        eye_reply_take_beam(&s->reply, &answer[0], s->n_past);
        if (r->n_tokens) s->pending = r->tokens[r->n_tokens - 1];
        if (r->n_tokens > 1) st = eye_session_append(s, r->tokens, r->n_tokens - 1, NULL, NULL, err);
    }
    eye_arena_clear(&arena);
    return st;
}

enum eye_status eye_session_generate(struct eye_session *s, const struct eye_query *query, const struct eye_generate_opts *opts,
                                     struct eye_result *result, struct eye_err *err) {
    static const struct eye_generate_opts defaults;
    if (!opts) opts = &defaults;
    EYE_TRY(eye_reply_start(&s->reply, opts, result, eye_now_ns(), err));
    enum eye_status st = take_ahead_memory(s, opts, err);
    if (st == EYE_OK) st = run_prompt(s, query, result, err);
    int32_t beams = eye_reply_beams(s->model, opts);
    if (st == EYE_OK) st = beams > 1 ? run_beams(s, beams, err) : run_answer(s, err);
    eye_reply_finish(&s->reply);
    return st;
}
