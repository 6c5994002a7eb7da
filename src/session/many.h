/* many: one model, many pictures or prompts at once: what judging and batches stand on. Prompts decode together over one
 * stream of the weights (search); pictures go through the tower one after the other on all threads. */
#ifndef EYE_MANY_H
#define EYE_MANY_H

#include "eyelet/session.h"
#include "session/search.h"

struct eye_many_opts {
    int32_t at_once;        /* prompts, >= 1; the model's n_parallel bounds prompts * beams */
    int32_t max_prompt_tok; /* positions of one prompt, its image rows included; 0 = what one image and a few words take */
    struct eye_search_opts search; /* max_tok 0: what the model's context leaves, at most 64; end, n_end: the model's own */
};

struct eye_many;
EYE_MUST_CHECK enum eye_status eye_many_new(struct eye_many **many, struct eye_model *model, const struct eye_many_opts *opts,
                                            struct eye_err *err);
void eye_many_free(struct eye_many *m);
int32_t eye_many_at_once(const struct eye_many *m);

/* Of the draws from now on: prompts are counted from 0 in every call. */
void eye_many_seed(struct eye_many *m, uint64_t seed);

struct eye_many_prompt {
    const int32_t *ids;      /* [n]; EYE_TOKEN_IMAGE_ROW for image rows */
    size_t n;
    const float *image_rows; /* [image rows, width] */
};
/* A query as a prompt; its images go through the tower. Memory is arena's. A picture's rows: see eye_many_prompt. */
EYE_MUST_CHECK enum eye_status eye_many_prepare(struct eye_many *m, const struct eye_query *q, struct eye_arena *arena,
                                                struct eye_many_prompt *out, struct eye_err *err);
/* answer [n_prompts, n_beams], n_prompts <= at_once; see eye_search. */
EYE_MUST_CHECK enum eye_status eye_many_answer(struct eye_many *m, const struct eye_many_prompt *prompt, size_t n_prompts,
                                               struct eye_arena *arena, struct eye_search_answer *answer, struct eye_err *err);
/* The text of tokens, without blanks around it. NUL-terminated, arena's. NULL = no memory. */
const char *eye_many_text(const struct eye_many *m, const int32_t *tokens, size_t n, struct eye_arena *arena);

/* A text that follows a prompt: tokens, the end token among them where it is meant to be learnt. */
struct eye_many_text {
    const int32_t *ids; /* [n] */
    size_t n;
};
/* Tokens that one text may have behind a prompt: what cache and context leave. */
size_t eye_many_room(const struct eye_many *m, const struct eye_many_prompt *prompt);
/* How unlikely texts are after one prompt: nll[i] = -sum log p(ids[k] | prompt, ids before k), natural logarithm.
 * copies (may be NULL): copies[i] = the same sum with ids[k] held against the logits at k itself, where k has just been read: what
 * an unshifted loss measures. Texts of at least one token. LIMIT: one of more than eye_many_room. */
EYE_MUST_CHECK enum eye_status eye_many_score(struct eye_many *m, const struct eye_many_prompt *prompt,
                                              const struct eye_many_text *text, size_t n, double *nll, double *copies,
                                              struct eye_err *err);
/* A text's tokens and then the model's end token; arena's. */
EYE_MUST_CHECK enum eye_status eye_many_tokens(const struct eye_many *m, const char *text, struct eye_arena *arena,
                                               struct eye_many_text *out, struct eye_err *err);

#endif
