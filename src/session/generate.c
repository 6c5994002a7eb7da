/* generate: the token loop. Prompt to logits, then sample, detokenize, hand out, step, until something ends it. All memory the
 * loop needs is taken before its first token. */
#include <string.h>

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

struct loop { /* one generation */
    struct eye_session *s;
    const struct eye_generate_opts *opts;
    struct eye_result *r;
    struct eye_detok detok;
    uint64_t begin_ns, first_ns;
};

static bool is_end(const struct eye_model *m, int32_t id) {
    for (size_t i = 0; i < m->n_end; i++)
        if (m->end[i] == id) return true;
    return false;
}

/* ---- memory ---- */

enum eye_status eye_session_reserve(struct eye_session *s, const struct eye_generate_opts *opts, struct eye_err *err) {
    size_t n_ctx = (size_t)s->n_ctx, bytes;
    if (!s->tokens) {
        s->tokens = eye_alloc_zero(s->alloc, n_ctx * sizeof *s->tokens);
        if (!s->tokens) return eye_fail_nomem(err, n_ctx * sizeof *s->tokens);
    }
    if (!s->text) { /* pages are only taken as text fills them */
        if (!eye_mul_ok(n_ctx + 1, s->model->max_piece_bytes, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
        s->text = eye_pages_alloc(bytes);
        if (!s->text) return eye_fail_nomem(err, bytes);
        s->text_bytes = bytes;
    }
    if (!s->sampler.candidate) EYE_TRY(eye_sampler_init(&s->sampler, eye_model_n_vocab(s->model), s->n_ctx, s->alloc, err));
    if (s->piece.cap < s->model->max_piece_bytes) {
        void *p = s->piece.p;
        EYE_TRY(eye_alloc_grow(s->alloc, &p, &s->piece.cap, s->model->max_piece_bytes, 1, err));
        s->piece.p = p;
    }
    if (opts->n_logprobs > 0) {
        size_t top = (size_t)opts->n_logprobs;
        void *p = s->logprobs, *q = s->top;
        EYE_TRY(eye_alloc_grow(s->alloc, &p, &s->logprobs_cap, n_ctx * (1 + top), sizeof *s->logprobs, err));
        s->logprobs = p;
        EYE_TRY(eye_alloc_grow(s->alloc, &q, &s->top_cap, top, sizeof *s->top, err));
        s->top = q;
    }
    return EYE_OK;
}

static enum eye_status check_opts(const struct eye_session *s, const struct eye_generate_opts *o, struct eye_err *err) {
    if (o->n_predict < 0) return eye_fail(err, EYE_E_ARG, "n_predict is %d, expected 0 or more", o->n_predict);
    if (o->n_beams < 0 || o->n_beams > EYE_MAX_BEAMS)
        return eye_fail(err, EYE_E_ARG, "n_beams is %d, expected 0 to %d", o->n_beams, EYE_MAX_BEAMS);
    if (o->n_beams > 1 && (o->temperature > 0 || o->n_logprobs))
        return eye_fail(err, EYE_E_ARG, "%d beams: a search draws nothing and has no alternatives (temperature, n_logprobs)",
                        o->n_beams);
    if (o->n_logprobs < 0 || o->n_logprobs > eye_model_n_vocab(s->model))
        return eye_fail(err, EYE_E_ARG, "n_logprobs is %d, expected 0 to %d", o->n_logprobs, eye_model_n_vocab(s->model));
    return EYE_OK;
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

static enum eye_status run_prompt(struct loop *l, const struct eye_query *q, struct eye_err *err) {
    struct eye_session *s = l->s;
    struct eye_timings *t = &l->r->timings;
    size_t n_kept = 0;
    if (s->prefix.active) {
        EYE_TRY(eye_session_resume(s, q, &s->prompt, &n_kept, &l->r->truncated, err));
        s->n_past = (int32_t)n_kept;
    } else {
        struct eye_query next = *q;
        next.next_turn = q->next_turn && eye_session_n_past(s) > 0;
        EYE_TRY(eye_query_assemble(s->model, &next, s->n_ctx - eye_session_n_past(s), &s->prompt, &l->r->truncated, err));
        EYE_TRY(eye_session_encode_images(s, q, t, err)); /* after assembling: what does not fit should not cost a vision run */
    }
    l->r->n_prompt_tok = s->prompt.n;
    l->r->n_cached_tok = n_kept;
    for (size_t i = 0; i < s->prompt.n; i++) l->r->n_image_tok += s->prompt.p[i] == EYE_TOKEN_IMAGE_ROW;
    uint64_t begin = eye_now_ns();
    EYE_TRY(eye_session_prefill(s, s->prompt.p + n_kept, s->prompt.n - n_kept, s->image_rows, s->logits, err));
    t->prefill_us = (eye_now_ns() - begin) / 1000;
    for (size_t i = 0; i < s->prompt.n; i++) eye_sampler_accept(&s->sampler, s->prompt.p[i]);
    return EYE_OK;
}

/* ---- the answer ---- */

/* What id ends the answer with; false = it goes on. */
static bool take_token(struct loop *l, int32_t id) {
    struct eye_session *s = l->s;
    if (is_end(s->model, id) && !l->opts->ignore_eos) {
        l->r->finish = EYE_FINISH_STOP;
        return true;
    }
    s->tokens[l->r->n_tokens++] = id;
    s->pending = id;
    eye_sampler_accept(&s->sampler, id);
    s->piece.len = 0;
    eye_detok_push(&l->detok, id, &s->piece);
    if (s->piece.len && eye_answer_add(&s->answer, s->piece.p, s->piece.len)) {
        l->r->finish = s->answer.stopped ? EYE_FINISH_STOP : EYE_FINISH_CALLER;
        return true;
    }
    if (l->opts->n_predict && l->r->n_tokens == (size_t)l->opts->n_predict) {
        l->r->finish = EYE_FINISH_LENGTH;
        return true;
    }
    if (s->n_past + 1 >= s->n_ctx) { /* this token takes the last position */
        l->r->finish = EYE_FINISH_CONTEXT;
        return true;
    }
    return false;
}

static int32_t pick(struct loop *l) {
    struct eye_session *s = l->s;
    int32_t id = eye_sampler_pick(&s->sampler, s->logits);
    size_t per_token = 1 + l->r->n_logprobs;
    if (l->opts->n_logprobs)
        eye_logprobs(s->logits, s->sampler.n_vocab, id, l->opts->n_logprobs, s->top, s->logprobs + l->r->n_tokens * per_token);
    return id;
}

static enum eye_status run_answer(struct loop *l, struct eye_err *err) {
    struct eye_session *s = l->s;
    for (;;) {
        int32_t id = pick(l);
        uint64_t now = eye_now_ns();
        if (!l->first_ns) {
            l->first_ns = now;
            l->r->timings.first_token_us = (now - l->begin_ns) / 1000;
        }
        l->r->timings.decode_us = (now - l->first_ns) / 1000;
        if (take_token(l, id)) return EYE_OK;
        if (s->opts.cancel && s->opts.cancel(s->opts.cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "cancelled");
        EYE_TRY(eye_session_append(s, &id, 1, NULL, s->logits, err));
        s->pending = -1;
    }
}

/* The caller's beams; else the model's own, where nothing is asked for that only one answer at a time can do. */
static int32_t n_beams(const struct eye_session *s, const struct eye_generate_opts *o) {
    if (o->n_beams) return o->n_beams;
    return o->temperature > 0 || o->n_logprobs ? 1 : (int32_t)EYE_MIN(s->model->vlm.config.n_beams, EYE_MAX_BEAMS);
}

/* Slots for each beam lie behind the prompt; the answer's tokens but the last then go through the decoder once more, as the
 * context's own. */
static enum eye_status run_beams(struct loop *l, int32_t beams, struct eye_err *err) {
    struct eye_session *s = l->s;
    const struct eye_model *m = s->model;
    int64_t first = EYE_ALIGN_UP((int64_t)s->n_past, EYE_ATTN_LANES);
    int64_t room = (eye_kv_ctx(s->decoder.kv) - first) / beams / EYE_ATTN_LANES * EYE_ATTN_LANES;
    int64_t most = EYE_MIN(room, s->n_ctx - s->n_past);
    if (most < 1)
        return eye_fail(err, EYE_E_LIMIT, "%d beams do not fit behind a prompt of %d in a context of %d: raise it (n_ctx, -c)",
                        beams, s->n_past, s->n_ctx);
    struct eye_search_opts o = {.n_beams = beams, .length_penalty = l->opts->length_penalty, .end = m->end, .n_end = m->n_end};
    if (o.length_penalty == 0) o.length_penalty = (float)m->vlm.config.length_penalty;
    o.max_tok = (int32_t)(l->opts->n_predict ? EYE_MIN(most, l->opts->n_predict) : most);
    if (l->opts->ignore_eos) o.n_end = 0;
    struct eye_search_prompt prompt = {0, s->n_past, s->logits};
    struct eye_search_answer answer[EYE_MAX_BEAMS];
    struct eye_arena arena;
    eye_arena_init(&arena, s->alloc);
    pthread_mutex_lock(&s->model->lock);
    enum eye_status st = eye_search(&s->decoder, &o, &prompt, 1, first, &arena, answer, s->opts.cancel, s->opts.cancel_ctx, err);
    pthread_mutex_unlock(&s->model->lock);
    uint64_t now = eye_now_ns();
    l->r->timings.first_token_us = (now - l->begin_ns) / 1000;
    if (st == EYE_OK) {
        l->r->finish = answer[0].ended ? EYE_FINISH_STOP : EYE_FINISH_CONTEXT;
        for (size_t i = 0; i < answer[0].n; i++)
            if (take_token(l, answer[0].tokens[i])) break;
        if (l->r->n_tokens > 1) st = eye_session_append(s, s->tokens, l->r->n_tokens - 1, NULL, NULL, err);
    }
    eye_arena_clear(&arena);
    return st;
}

/* What a character cut off leaves, and what a stop string might have followed. */
static void finish_text(struct loop *l) {
    struct eye_session *s = l->s;
    s->piece.len = 0;
    eye_detok_flush(&l->detok, &s->piece);
    if (s->piece.len) eye_answer_add(&s->answer, s->piece.p, s->piece.len);
    eye_answer_finish(&s->answer);
    l->r->text_bytes = s->answer.len;
}

enum eye_status eye_session_generate(struct eye_session *s, const struct eye_query *query, const struct eye_generate_opts *opts,
                                     struct eye_result *result, struct eye_err *err) {
    static const struct eye_generate_opts defaults;
    struct loop l = {.s = s, .opts = opts ? opts : &defaults, .r = result, .begin_ns = eye_now_ns()};
    *result = (struct eye_result){.text = ""};
    EYE_TRY(check_opts(s, l.opts, err));
    EYE_TRY(eye_session_reserve(s, l.opts, err));
    EYE_TRY(eye_sampler_start(&s->sampler, l.opts, err));
    EYE_TRY(eye_answer_start(&s->answer, s->text, s->text_bytes, l.opts, err));
    eye_detok_init(&l.detok, s->model->tokenizer, true);
    result->text = s->text;
    result->tokens = s->tokens;
    result->timings.start_us = l.begin_ns / 1000;
    if (l.opts->n_logprobs) {
        result->logprobs = s->logprobs;
        result->n_logprobs = (size_t)l.opts->n_logprobs;
    }
    enum eye_status st = run_prompt(&l, query, err);
    int32_t beams = n_beams(s, l.opts);
    if (st == EYE_OK) st = beams > 1 ? run_beams(&l, beams, err) : run_answer(&l, err);
    finish_text(&l);
    return st;
}
