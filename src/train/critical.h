/* Critical: self-critical sequence training (Rennie et al., arXiv 1612.00563, with the mean of a picture's other samples for the
 * baseline, as in Luo, arXiv 2003.09971). The student writes captions of the training pictures by drawing from its own
 * distribution; each token of a caption is then made likelier or less likely by how much better the caption is, by CIDEr-D
 * against the picture's references, than the picture's other ones. Turns a batch of pictures into a batch of weighed sequences;
 * loss and gradients are those of any other stage. */
#ifndef EYE_TRAIN_CRITICAL_H
#define EYE_TRAIN_CRITICAL_H

#include "train/caption_score.h"
#include "train/trainer.h"

/* The references of the first n groups of a corpus: what captions are marked by. */
EYE_MUST_CHECK enum eye_status eye_critical_references(const struct eye_trainer *t, const struct eye_corpus *corpus, size_t n,
                                                       struct eye_caption_refs **out, struct eye_err *err);

struct eye_critical;
/* For g, whose corpus, stage and params are ready. */
EYE_MUST_CHECK enum eye_status eye_critical_new(struct eye_critical **c, struct eye_stage *g, struct eye_err *err);
void eye_critical_free(struct eye_critical *c);
/* Targets of a batch, at most. */
int64_t eye_critical_max_targets(const struct eye_stage *g);
/* g->batch becomes the samples of groups [n = the stage's batch], drawn for the training step state.step from g->image; *reward
 * is their mean. */
EYE_MUST_CHECK enum eye_status eye_critical_fill(struct eye_critical *c, const uint32_t *group, double *reward, struct eye_err *err);

#endif
