/* caption_align: the caption metrics that align two texts word by word: ROUGE-L and METEOR-lite. */
#ifndef EYE_CAPTION_ALIGN_H
#define EYE_CAPTION_ALIGN_H

#include "base/base.h"
#include "train/ngram.h"

/* Longest common subsequence over the words of each: precision = lcs / words of c, recall = lcs / words of ref. */
EYE_MUST_CHECK enum eye_status eye_caption_lcs(const struct eye_counted *c, const struct eye_counted *ref, struct eye_arena *arena,
                                               double *precision, double *recall, struct eye_err *err);

struct eye_stems { /* Porter's stemmer (libstemmer); not for two threads at once */
    struct sb_stemmer *stemmer;
};
EYE_MUST_CHECK enum eye_status eye_stems_init(struct eye_stems *s, const struct eye_alloc *alloc, struct eye_err *err);
void eye_stems_clear(struct eye_stems *s);
/* METEOR (Banerjee and Lavie 2005: F = 10PR / (R + 9P), penalty 0.5 (chunks / matches)^3) with two of its stages, equal words
 * and equal stems. Words are matched from left to right, next to the match before where that is possible. */
EYE_MUST_CHECK enum eye_status eye_caption_meteor_lite(const struct eye_stems *s, const struct eye_counted *c,
                                                       const struct eye_counted *ref, struct eye_arena *arena, double *score,
                                                       struct eye_err *err);

#endif
