/* sampler: logits to one token. Penalties, temperature, top-k, top-p, min-p, in that order (transformers' order), then a draw.
 * Knows no model and no text; memory is taken once, a pick allocates nothing. */
#ifndef EYE_SAMPLER_H
#define EYE_SAMPLER_H

#include "base/sys.h"
#include "eyelet/session.h"

struct eye_candidate {
    float logit;
    int32_t id;
};

struct eye_sampler {
    const struct eye_alloc *alloc;
    int32_t n_vocab;
    struct eye_candidate *candidate; /* [n_vocab] */
    float *penalized;                /* [n_vocab] logits after penalties */
    int32_t *count;                  /* [n_vocab] occurrences in the window */
    int32_t *window;                 /* [window_cap] ring of the last tokens */
    int32_t window_cap, window_len, window_n, window_at; /* len: in use by these options; n: filled; at: next slot */
    struct eye_generate_opts opts;   /* normalised: see eye_sampler_start */
    struct eye_rng rng;
};

/* max_window: the longest penalty window, usually the context. */
EYE_MUST_CHECK enum eye_status eye_sampler_init(struct eye_sampler *s, int32_t n_vocab, int32_t max_window,
                                                const struct eye_alloc *alloc, struct eye_err *err);
void eye_sampler_clear(struct eye_sampler *s);
/* ARG names the option that is out of range. */
EYE_MUST_CHECK enum eye_status eye_sampler_check(const struct eye_generate_opts *opts, struct eye_err *err);
/* Begins an answer: checks and takes the options, seeds, forgets the window. */
EYE_MUST_CHECK enum eye_status eye_sampler_start(struct eye_sampler *s, const struct eye_generate_opts *opts,
                                                 struct eye_err *err);
/* Adds a token of prompt or answer to the window. Ids outside the vocabulary (image rows) are skipped. */
void eye_sampler_accept(struct eye_sampler *s, int32_t id);
/* Picks from logits [n_vocab]. NaN counts as minus infinity. Does not accept the pick. */
int32_t eye_sampler_pick(struct eye_sampler *s, const float *logits);

/* The lowest index of the largest value. */
int32_t eye_argmax(const float *x, int32_t n);
/* log sum exp of x [n], whose largest is `most`: what makes logits log probabilities. To 1e-6; the same bits on every machine. */
double eye_log_sum_exp(const float *x, size_t n, float most);
/* The k best of logits [n] into best, best first, lower ids first among equals. k <= n. O(n log k), no other memory. */
void eye_select_best(const float *logits, int32_t n, struct eye_candidate *best, int32_t k);
/* out[0] = chosen, out[1..k] = the k most likely (k is cut to n), natural logarithms of softmax(logits [n]). scratch [k]. */
void eye_logprobs(const float *logits, int32_t n, int32_t chosen, int32_t k, struct eye_candidate *scratch,
                  struct eye_logprob *out);

#endif
