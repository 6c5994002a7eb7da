/* search: the best continuations of many prompts at once: beam search (one beam: greedy), or samples. Stands on decode; knows
 * neither text nor images. The prompts' keys and values lie in the decoder's cache; each beam has slots of its own there. */
#ifndef EYE_SEARCH_H
#define EYE_SEARCH_H

#include "session/decode.h"

#define EYE_MAX_BEAMS 16

struct eye_search_opts {
    int32_t n_beams;       /* per prompt, 1 to EYE_MAX_BEAMS; with sample: independent samples */
    bool sample;           /* draw from softmax(logits / temperature); else the likeliest, ties to the lower id */
    float temperature;     /* > 0; read with sample only */
    uint64_t seed;         /* of the draws: prompt, sample and position are counted in, so that nothing else changes them */
    float length_penalty;  /* a: answers are ranked by log probability / tokens^a, the end token counted; 0 = by probability */
    int32_t max_tok;       /* of an answer, >= 1, without the end token */
    const int32_t *end;    /* [n_end] tokens that end an answer */
    size_t n_end;
};

struct eye_search_prompt {
    int64_t slot, n;       /* its cache slots [slot, slot + n), rows in order from position 0 */
    const float *logits;   /* [vocab] of its last row */
};

struct eye_search_answer {
    const int32_t *tokens; /* [n], the end token left out */
    size_t n;
    double logprob;        /* sum, of the end token too where there is one; of the model's own distribution */
    bool ended;            /* by an end token, not by max_tok */
};

/* Slots that beams of n_prompts take from first_slot on; first_slot a multiple of EYE_ATTN_LANES. */
int64_t eye_search_slots(const struct eye_search_opts *o, size_t n_prompts);
/* answer: [n_prompts, n_beams], best first (samples: in order); tokens are in arena. All prompts step together: n_prompts *
 * n_beams <= d->rows (ARG). cancel as in eye_decode. Source of beam search's stopping rule: it ends when no live beam can
 * overtake the worst kept answer at its present length. */
EYE_MUST_CHECK enum eye_status eye_search(struct eye_decoder *d, const struct eye_search_opts *o,
                                          const struct eye_search_prompt *prompt, size_t n_prompts, int64_t first_slot,
                                          struct eye_arena *arena, struct eye_search_answer *answer, bool (*cancel)(void *),
                                          void *cancel_ctx, struct eye_err *err);

/* ---- the same step by step: among the calls of others ---- */
struct eye_hunts;
/* The first tokens are chosen from the prompts' logits, which are not needed any more then. All memory is arena's. prompt and o are
 * copied; what o points to is not. */
EYE_MUST_CHECK enum eye_status eye_hunts_begin(struct eye_hunts **hunts, struct eye_decoder *d, const struct eye_search_opts *o,
                                               const struct eye_search_prompt *prompt, size_t n_prompts, int64_t first_slot,
                                               struct eye_arena *arena, struct eye_err *err);
/* The next rows, one for each live beam, into call [n_prompts * n_beams]. 0 = the search is over. */
size_t eye_hunts_lay_out(const struct eye_hunts *h, struct eye_decode_call *call);
/* From their logits [rows, vocab] to the beams of the next step. */
void eye_hunts_choose(struct eye_hunts *h, const float *logits);
bool eye_hunts_over(const struct eye_hunts *h);
/* When it is over. Its tokens are the arena's. */
struct eye_search_answer eye_hunts_answer(const struct eye_hunts *h, size_t i_prompt, int32_t i_beam);

#endif
