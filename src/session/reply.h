/* reply: one answer while it grows: logits to a token, the token to text, text to the caller, until something ends it. What a
 * session has one of and a batch one for each request; knows no decoder and no cache. */
#ifndef EYE_REPLY_H
#define EYE_REPLY_H

#include "eyelet/batch.h"
#include "session/answer.h"
#include "session/sampler.h"
#include "session/search.h"
#include "text/grammar.h"
#include "text/tokenizer.h"

struct eye_reply {
    const struct eye_model *model;
    const struct eye_alloc *alloc;
    int32_t n_ctx;
    struct eye_sampler sampler;     /* ready with the first answer */
    struct eye_buf piece;
    struct eye_answer answer;
    struct eye_detok detok;
    int32_t *tokens;                /* [n_ctx] */
    char *text;                     /* [text_bytes] */
    size_t text_bytes;
    struct eye_logprob *logprobs;   /* [logprobs_cap] */
    size_t logprobs_cap;
    struct eye_candidate *top;      /* [top_cap] scratch for logprobs */
    size_t top_cap;
    struct eye_matcher *matcher;    /* with the first answer that has a grammar */
    float *allowed;                 /* [n_vocab] logits, those that the grammar does not allow at minus infinity */
    struct eye_buf token;           /* the bytes of one */
    int32_t room;                   /* tokens that may still come */
    /* of the present answer */
    const struct eye_generate_opts *opts;
    struct eye_result *r;
    uint64_t begin_ns, first_ns;
    eye_token_fn *on_token;         /* NULL = none; set after eye_reply_start */
    void *on_token_ctx;
};
/* n_ctx: tokens an answer may have. Takes no memory yet. */
void eye_reply_init(struct eye_reply *p, const struct eye_model *m, int32_t n_ctx);
void eye_reply_clear(struct eye_reply *p);

/* Options out of range: ARG names the one. Sampling's are looked at too. */
EYE_MUST_CHECK enum eye_status eye_reply_check(const struct eye_model *m, const struct eye_generate_opts *o, struct eye_err *err);
/* Memory of an answer: tokens, text, piece, sampler, log probabilities. */
EYE_MUST_CHECK enum eye_status eye_reply_reserve(struct eye_reply *p, const struct eye_generate_opts *opts, struct eye_err *err);
/* Takes all memory that an answer needs, then begins one: r is emptied and filled as it grows; opts and r are borrowed until
 * eye_reply_finish. */
EYE_MUST_CHECK enum eye_status eye_reply_start(struct eye_reply *p, const struct eye_generate_opts *opts, struct eye_result *r,
                                               uint64_t begin_ns, struct eye_err *err);
/* The prompt, which penalties look back at. */
void eye_reply_read(struct eye_reply *p, const int32_t *ids, size_t n);
/* The next token; its log probabilities are kept. */
int32_t eye_reply_pick(struct eye_reply *p, const float *logits);
/* Takes it in. n_past: positions run before it. True: it ended the answer; r->finish says how. */
bool eye_reply_take(struct eye_reply *p, int32_t id, int32_t n_past);
void eye_reply_clock(struct eye_reply *p); /* a token is there: first_token_us, decode_us */
/* What a character cut off leaves, and what a stop string might have followed. */
void eye_reply_finish(struct eye_reply *p);

/* Beams of a request: the caller's; else the model's own, where nothing is asked for that only one answer at a time can do. */
int32_t eye_reply_beams(const struct eye_model *m, const struct eye_generate_opts *o);
/* How to search behind a prompt of n_past positions in n_slots slots of a cache, of which the beams get those from *first on (both
 * counted from the prompt's first). LIMIT: they do not fit. */
EYE_MUST_CHECK enum eye_status eye_reply_search(const struct eye_reply *p, int32_t beams, int32_t n_past, int64_t n_slots,
                                                struct eye_search_opts *o, int64_t *first, struct eye_err *err);
/* Its best answer, taken in. */
void eye_reply_take_beam(struct eye_reply *p, const struct eye_search_answer *best, int32_t n_past);

#endif
