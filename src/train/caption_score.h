/* caption_score: how good captions are, against the references of their pictures: BLEU-1..4, CIDEr-D, ROUGE-L as coco-caption
 * computes them, METEOR-lite, diversity. Stands on base and ptb; knows no model. Used by `eyelet eval` on a held-out split, and
 * by self-critical training, whose reward is one caption's CIDEr-D.
 *
 *   eye_caption_refs_new(&refs, n_pictures, alloc, err);
 *   eye_caption_refs_add(refs, i_picture, "a dog runs", 10, err);        (each reference of each picture)
 *   eye_caption_refs_finish(refs, err);                                  (document frequencies; then it is read-only)
 *   eye_caption_score(refs, captions, &score, err);
 */
#ifndef EYE_CAPTION_SCORE_H
#define EYE_CAPTION_SCORE_H

#include "base/base.h"
#include "eyelet/train.h"
#include "train/ngram.h"

struct eye_caption_refs; /* after finish: any number of threads may score at once */
EYE_MUST_CHECK enum eye_status eye_caption_refs_new(struct eye_caption_refs **refs, size_t n_pictures, const struct eye_alloc *alloc,
                                                    struct eye_err *err);
void eye_caption_refs_free(struct eye_caption_refs *refs);
/* One reference of picture i; text n bytes, copied. A text of no words is ARG: it would count as a perfect match of nothing. */
EYE_MUST_CHECK enum eye_status eye_caption_refs_add(struct eye_caption_refs *refs, size_t i_picture, const char *text, size_t n,
                                                    struct eye_err *err);
/* ARG when a picture has no reference. */
EYE_MUST_CHECK enum eye_status eye_caption_refs_finish(struct eye_caption_refs *refs, struct eye_err *err);
size_t eye_caption_refs_count(const struct eye_caption_refs *refs); /* pictures */

/* CIDEr-D (0..10) of one caption of picture i. Source: Vedantam et al., arXiv 1411.5726; document frequencies are those of
 * these references, an n-gram counts once per picture. */
EYE_MUST_CHECK enum eye_status eye_caption_cider(const struct eye_caption_refs *refs, size_t i_picture, const char *text, size_t n,
                                                 double *cider, struct eye_err *err);

/* caption[i]: of picture i, NUL-terminated; n_pictures of them. */
EYE_MUST_CHECK enum eye_status eye_caption_score(const struct eye_caption_refs *refs, const char *const *caption,
                                                 struct eye_caption_score *out, struct eye_err *err);

#endif
