/* eyes: an image to decoder rows: its pictures, vision tower, projector. Memory of one user; knows nothing of prompts. */
#ifndef EYE_EYES_H
#define EYE_EYES_H

#include "engine/engine.h"
#include "eyelet/session.h"

struct eye_eyes { /* not for two threads at once */
    struct eye_model *model;
    struct eye_exec *vision, *projector;
    struct eye_pool *pool;     /* of preprocessing; NULL = this thread alone */
    uint8_t *pixels_u8;        /* [most pictures of an image, side, side, 3] */
    float *pixels, *features;  /* of one: [1, side, side, 3], [picture_tokens, C] */
    float *projected;          /* likewise [picture_tokens, hidden], where rows are merged; else NULL */
    void *merging;             /* scratch of that */
};
/* All three want the model's lock held, or the model's pool to themselves. */

/* Packs the tower's weights if that is not done. Nothing happens if e is ready. A failure leaves e to eye_eyes_clear. */
EYE_MUST_CHECK enum eye_status eye_eyes_open(struct eye_eyes *e, struct eye_model *m, struct eye_err *err);
void eye_eyes_clear(struct eye_eyes *e);
void eye_eyes_alone(struct eye_eyes *e); /* eye_exec_alone */
/* The image as n pictures, ready to be seen. */
EYE_MUST_CHECK enum eye_status eye_eyes_take(struct eye_eyes *e, const struct eye_image *img, size_t *n, struct eye_timings *t,
                                             struct eye_err *err);
size_t eye_eyes_merge_bytes(const struct eye_model *m); /* of projected and merging */
/* Picture i to its rows: out [picture_rows, hidden]. cancel as in eye_exec_run. t is added to. */
EYE_MUST_CHECK enum eye_status eye_eyes_see(struct eye_eyes *e, size_t i, float *out, struct eye_timings *t,
                                            bool (*cancel)(void *), void *cancel_ctx, struct eye_err *err);

#endif
