/* session/reply: see reply.h. All memory is taken before the first token. */
#include "session/reply.h"

#include <math.h>

#include "session/lookup.h"
#include "session/session_impl.h"

void eye_reply_init(struct eye_reply *p, const struct eye_model *m, int32_t n_ctx) {
    *p = (struct eye_reply){.model = m, .alloc = m->alloc, .n_ctx = n_ctx};
    eye_buf_init(&p->piece, m->alloc);
    eye_buf_init(&p->token, m->alloc);
}

void eye_reply_clear(struct eye_reply *p) {
    if (!p->model) return;
    eye_sampler_clear(&p->sampler);
    eye_buf_clear(&p->piece);
    eye_buf_clear(&p->token);
    eye_matcher_free(p->matcher);
    eye_alloc_free(p->alloc, p->allowed, (size_t)eye_model_n_vocab(p->model) * sizeof *p->allowed);
    eye_alloc_free(p->alloc, p->tokens, (size_t)p->n_ctx * sizeof *p->tokens);
    eye_pages_free(p->text, p->text_bytes);
    eye_alloc_free(p->alloc, p->logprobs, p->logprobs_cap * sizeof *p->logprobs);
    eye_alloc_free(p->alloc, p->top, p->top_cap * sizeof *p->top);
    *p = (struct eye_reply){0};
}

enum eye_status eye_reply_check(const struct eye_model *m, const struct eye_generate_opts *o, struct eye_err *err) {
    if (o->n_predict < 0) return eye_fail(err, EYE_E_ARG, "n_predict is %d, expected 0 or more", o->n_predict);
    if (o->n_beams < 0 || o->n_beams > EYE_MAX_BEAMS)
        return eye_fail(err, EYE_E_ARG, "n_beams is %d, expected 0 to %d", o->n_beams, EYE_MAX_BEAMS);
    if (o->n_beams > 1 && (o->temperature > 0 || o->n_logprobs))
        return eye_fail(err, EYE_E_ARG, "%d beams: a search draws nothing and has no alternatives (temperature, n_logprobs)",
                        o->n_beams);
    if (o->grammar && o->n_beams > 1)
        return eye_fail(err, EYE_E_ARG, "%d beams: none are searched under a grammar", o->n_beams);
    if (o->grammar && o->grammar->model != m) return eye_fail(err, EYE_E_ARG, "the grammar is another model's");
    if (o->n_logprobs < 0 || o->n_logprobs > eye_model_n_vocab(m))
        return eye_fail(err, EYE_E_ARG, "n_logprobs is %d, expected 0 to %d", o->n_logprobs, eye_model_n_vocab(m));
    if (o->n_lookup < 0 || o->n_lookup > EYE_MAX_LOOKUP)
        return eye_fail(err, EYE_E_ARG, "n_lookup is %d, expected 0 to %d", o->n_lookup, EYE_MAX_LOOKUP);
    EYE_TRY(eye_sampler_check(o, err));
    return eye_answer_check(o, err);
}

static enum eye_status grow_buf(const struct eye_alloc *alloc, struct eye_buf *b, size_t need, struct eye_err *err) {
    void *p = b->p;
    if (b->cap >= need) return EYE_OK;
    EYE_TRY(eye_alloc_grow(alloc, &p, &b->cap, need, 1, err));
    b->p = p;
    return EYE_OK;
}

static enum eye_status reserve_grammar(struct eye_reply *p, struct eye_err *err) {
    size_t bytes = (size_t)eye_model_n_vocab(p->model) * sizeof *p->allowed;
    if (!p->matcher) EYE_TRY(eye_matcher_new(&p->matcher, eye_model_n_vocab(p->model), p->alloc, err));
    if (!p->allowed && !(p->allowed = eye_alloc_raw(p->alloc, bytes))) return eye_fail_nomem(err, bytes);
    return grow_buf(p->alloc, &p->token, p->model->max_piece_bytes, err);
}

enum eye_status eye_reply_reserve(struct eye_reply *p, const struct eye_generate_opts *opts, struct eye_err *err) {
    size_t n_ctx = (size_t)p->n_ctx, bytes;
    if (!p->tokens) {
        p->tokens = eye_alloc_zero(p->alloc, n_ctx * sizeof *p->tokens);
        if (!p->tokens) return eye_fail_nomem(err, n_ctx * sizeof *p->tokens);
    }
    if (!p->text) { /* pages are only taken as text fills them */
        if (!eye_mul_ok(n_ctx + 1, p->model->max_piece_bytes, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
        p->text = eye_pages_alloc(bytes);
        if (!p->text) return eye_fail_nomem(err, bytes);
        p->text_bytes = bytes;
    }
    if (!p->sampler.candidate) EYE_TRY(eye_sampler_init(&p->sampler, eye_model_n_vocab(p->model), p->n_ctx, p->alloc, err));
    EYE_TRY(grow_buf(p->alloc, &p->piece, p->model->max_piece_bytes, err));
    if (opts->grammar) EYE_TRY(reserve_grammar(p, err));
    if (opts->n_logprobs > 0) {
        size_t top = (size_t)opts->n_logprobs;
        void *list = p->logprobs, *scratch = p->top;
        EYE_TRY(eye_alloc_grow(p->alloc, &list, &p->logprobs_cap, n_ctx * (1 + top), sizeof *p->logprobs, err));
        p->logprobs = list;
        EYE_TRY(eye_alloc_grow(p->alloc, &scratch, &p->top_cap, top, sizeof *p->top, err));
        p->top = scratch;
    }
    return EYE_OK;
}

enum eye_status eye_reply_start(struct eye_reply *p, const struct eye_generate_opts *opts, struct eye_result *r,
                                uint64_t begin_ns, struct eye_err *err) {
    *r = (struct eye_result){.text = ""};
    EYE_TRY(eye_reply_check(p->model, opts, err));
    EYE_TRY(eye_reply_reserve(p, opts, err));
    EYE_TRY(eye_sampler_start(&p->sampler, opts, err));
    EYE_TRY(eye_answer_start(&p->answer, p->text, p->text_bytes, opts, err));
    eye_detok_init(&p->detok, p->model->tokenizer, true);
    p->opts = opts;
    p->room = opts->n_predict ? EYE_MIN(opts->n_predict, p->n_ctx) : p->n_ctx;
    if (opts->grammar) eye_matcher_start(p->matcher, &opts->grammar->code, &p->model->vocabulary);
    p->r = r;
    p->begin_ns = begin_ns;
    p->on_token = NULL;
    p->first_ns = 0;
    r->text = p->text;
    r->tokens = p->tokens;
    r->timings.start_us = begin_ns / 1000;
    if (opts->n_logprobs) {
        r->logprobs = p->logprobs;
        r->n_logprobs = (size_t)opts->n_logprobs;
    }
    return EYE_OK;
}

void eye_reply_read(struct eye_reply *p, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) eye_sampler_accept(&p->sampler, ids[i]);
}

void eye_reply_clock(struct eye_reply *p) {
    uint64_t now = eye_now_ns();
    if (!p->first_ns) {
        p->first_ns = now;
        p->r->timings.first_token_us = (now - p->begin_ns) / 1000;
    }
    p->r->timings.decode_us = (now - p->first_ns) / 1000;
}

/* What the grammar does not allow, at minus infinity. The answer's end is allowed where it is whole; an answer that is stuck
 * (no token is left that fits) has only its end. */
static const float *allow(struct eye_reply *p, const float *logits) {
    const struct eye_model *m = p->model;
    const uint32_t *mask = eye_matcher_mask(p->matcher, (uint32_t)EYE_MAX(p->room - 1, 0));
    bool any = false;
    for (int32_t i = 0; i < p->sampler.n_vocab; i++) {
        bool in = mask[i / 32] >> (i % 32) & 1;
        p->allowed[i] = in && !isnan(logits[i]) ? logits[i] : -INFINITY;
        any = any || (in && p->allowed[i] > -INFINITY);
    }
    for (size_t i = 0; i < m->n_end; i++)
        if (m->end[i] >= 0 && m->end[i] < p->sampler.n_vocab)
            p->allowed[m->end[i]] = eye_matcher_may_end(p->matcher) || !any ? logits[m->end[i]] : -INFINITY;
    return p->allowed;
}

int32_t eye_reply_pick(struct eye_reply *p, const float *logits) {
    int32_t id = eye_sampler_pick(&p->sampler, p->opts->grammar ? allow(p, logits) : logits);
    if (p->opts->n_logprobs)
        eye_logprobs(logits, p->sampler.n_vocab, id, p->opts->n_logprobs, p->top,
                     p->logprobs + p->r->n_tokens * (1 + p->r->n_logprobs));
    return id;
}

static bool is_end(const struct eye_model *m, int32_t id) {
    for (size_t i = 0; i < m->n_end; i++)
        if (m->end[i] == id) return true;
    return false;
}

/* The token's bytes through the grammar. True: the answer is whole and nothing may follow, or it cannot go on. */
static bool take_grammar(struct eye_reply *p, int32_t id, int32_t n_past) {
    p->room = EYE_MIN(p->room - 1, p->n_ctx - n_past - 1);
    p->token.len = 0;
    if (!eye_tokenizer_bytes(p->model->tokenizer, id, &p->token)) return false;
    eye_matcher_take(p->matcher, (const uint8_t *)p->token.p, p->token.len);
    return eye_matcher_must_end(p->matcher);
}

bool eye_reply_take(struct eye_reply *p, int32_t id, int32_t n_past) {
    struct eye_result *r = p->r;
    if (is_end(p->model, id) && (!p->opts->ignore_eos || p->opts->grammar)) {
        r->finish = EYE_FINISH_STOP;
        return true;
    }
    const struct eye_logprob *logprob = r->logprobs ? r->logprobs + r->n_tokens * (1 + r->n_logprobs) : NULL;
    p->tokens[r->n_tokens++] = id;
    if (p->on_token) p->on_token(p->on_token_ctx, id, logprob);
    eye_sampler_accept(&p->sampler, id);
    p->piece.len = 0;
    eye_detok_push(&p->detok, id, &p->piece);
    if (p->piece.len && eye_answer_add(&p->answer, p->piece.p, p->piece.len)) {
        r->finish = p->answer.stopped ? EYE_FINISH_STOP : EYE_FINISH_CALLER;
        return true;
    }
    if (p->opts->grammar && take_grammar(p, id, n_past)) {
        r->finish = eye_matcher_may_end(p->matcher) ? EYE_FINISH_STOP : EYE_FINISH_LENGTH;
        return true;
    }
    if (p->opts->n_predict && r->n_tokens == (size_t)p->opts->n_predict) {
        r->finish = EYE_FINISH_LENGTH;
        return true;
    }
    if (n_past + 1 >= p->n_ctx) { /* this token takes the last position */
        r->finish = EYE_FINISH_CONTEXT;
        return true;
    }
    return false;
}

void eye_reply_finish(struct eye_reply *p) {
    p->piece.len = 0;
    eye_detok_flush(&p->detok, &p->piece);
    if (p->piece.len) eye_answer_add(&p->answer, p->piece.p, p->piece.len);
    eye_answer_finish(&p->answer);
    p->r->text_bytes = p->answer.len;
}

/* ---- beams ---- */

int32_t eye_reply_beams(const struct eye_model *m, const struct eye_generate_opts *o) {
    if (o->n_beams) return o->n_beams;
    return o->temperature > 0 || o->n_logprobs || o->grammar ? 1 : (int32_t)EYE_MIN(m->vlm.config.n_beams, EYE_MAX_BEAMS);
}

enum eye_status eye_reply_search(const struct eye_reply *p, int32_t beams, int32_t n_past, int64_t n_slots,
                                 struct eye_search_opts *o, int64_t *first, struct eye_err *err) {
    const struct eye_model *m = p->model;
    *first = EYE_ALIGN_UP((int64_t)n_past, EYE_ATTN_LANES);
    int64_t room = (n_slots - *first) / beams / EYE_ATTN_LANES * EYE_ATTN_LANES;
    int64_t most = EYE_MIN(room, p->n_ctx - n_past);
    if (most < 1)
        return eye_fail(err, EYE_E_LIMIT, "%d beams do not fit behind a prompt of %d in a context of %d: raise it (n_ctx, -c)",
                        beams, n_past, p->n_ctx);
    *o = (struct eye_search_opts){.n_beams = beams, .length_penalty = p->opts->length_penalty, .end = m->end, .n_end = m->n_end};
    if (o->length_penalty == 0) o->length_penalty = (float)m->vlm.config.length_penalty;
    o->max_tok = (int32_t)(p->opts->n_predict ? EYE_MIN(most, p->opts->n_predict) : most);
    if (p->opts->ignore_eos) o->n_end = 0;
    return EYE_OK;
}

void eye_reply_take_beam(struct eye_reply *p, const struct eye_search_answer *best, int32_t n_past) {
    p->r->finish = best->ended ? EYE_FINISH_STOP : EYE_FINISH_CONTEXT;
    for (size_t i = 0; i < best->n; i++)
        if (eye_reply_take(p, best->tokens[i], n_past)) break;
}
