/* train/judge_likelihood: how unlikely the references are to the model: shifted, the caption's tokens and its end alone, with
 * the true picture, none, and another's. A model that does not look is as good with any. */
#include <math.h>
#include <string.h>

#include "train/judge_impl.h"
#include "train/ptb.h"

static enum eye_status count_word(void *ctx, const char *word, size_t len, struct eye_err *err) {
    (void)word, (void)len, (void)err;
    ++*(size_t *)ctx;
    return EYE_OK;
}

static enum eye_status score(struct eye_judge *j, const struct eye_many_prompt *p, const struct eye_many_text *text, size_t n,
                             struct eye_arena *arena, double *nll, double *copies, struct eye_err *err) {
    double *each = eye_arena_alloc(arena, n * sizeof *each), *same = eye_arena_alloc(arena, n * sizeof *same);
    if (!each || !same) return eye_fail_nomem(err, n * sizeof *each);
    EYE_TRY(eye_many_score(j->many, p, text, n, each, copies ? same : NULL, err));
    for (size_t i = 0; i < n; i++) {
        *nll += each[i];
        if (copies) *copies += same[i];
    }
    return EYE_OK;
}

static enum eye_status add_picture(struct eye_judge *j, const struct eye_data_image *img, const struct eye_many_prompt *p,
                                   const struct eye_many_prompt *other, struct eye_arena *arena, struct eye_likelihood *sum,
                                   struct eye_err *err) {
    struct eye_many_text *text = eye_arena_alloc(arena, img->n * sizeof *text);
    size_t n = 0, room = EYE_MIN(eye_many_room(j->many, p), EYE_MIN(eye_many_room(j->many, &j->blind), eye_many_room(j->many, other)));
    if (!text) return eye_fail_nomem(err, img->n * sizeof *text);
    for (uint32_t i = 0; i < img->n; i++) {
        const char *caption = j->set->caption[img->first + i].text;
        EYE_TRY(eye_many_tokens(j->many, caption, arena, &text[n], err));
        if (text[n].n > room) { /* the model has no positions for its end: a part of it would be another caption */
            j->out->n_too_long++;
            continue;
        }
        EYE_TRY(eye_ptb_words(caption, strlen(caption), count_word, &sum->n_words, err));
        sum->n_tok += text[n++].n;
    }
    if (n == 0) return EYE_OK;
    EYE_TRY(score(j, p, text, n, arena, &sum->nll[EYE_JUDGE_TRUE], &sum->copies, err));
    EYE_TRY(score(j, &j->blind, text, n, arena, &sum->nll[EYE_JUDGE_ZEROED], NULL, err));
    return score(j, other, text, n, arena, &sum->nll[EYE_JUDGE_SHUFFLED], NULL, err);
}

enum eye_status eye_judge_likelihood(struct eye_judge *j, uint32_t picture, const struct eye_many_prompt *p,
                                     const struct eye_many_prompt *other, struct eye_likelihood *sum, struct eye_err *err) {
    struct eye_arena arena;
    eye_arena_init(&arena, j->alloc);
    enum eye_status st = add_picture(j, &j->set->image[picture], p, other, &arena, sum, err);
    eye_arena_clear(&arena);
    return st;
}

void eye_judge_perplexity(const struct eye_likelihood *sum, struct eye_judgement *out) {
    out->has_perplexity = sum->n_tok > 0 && sum->n_words > 0;
    if (!out->has_perplexity) return;
    for (int i = 0; i < EYE_N_JUDGE_IMAGES; i++) {
        out->perplexity[i].per_token = exp(sum->nll[i] / (double)sum->n_tok);
        out->perplexity[i].per_word = exp(sum->nll[i] / (double)sum->n_words);
    }
    out->unshifted = exp(sum->copies / (double)sum->n_tok);
}
