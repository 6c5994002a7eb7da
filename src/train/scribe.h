/* Scribe: a student in training as it will be used: pictures in, captions out, with the weights of the moment, through the
 * ordinary decoder over a KV cache. Its plans pack the weights, so it is opened anew whenever they have changed; that takes some
 * milliseconds. Used to judge on the way (dev.c) and to write what self-critical stages learn from (critical.c). */
#ifndef EYE_TRAIN_SCRIBE_H
#define EYE_TRAIN_SCRIBE_H

#include "session/search.h"
#include "train/trainer.h"

struct eye_scribe {
    struct eye_stage *g;
    struct eye_search_opts search;
    size_t n;                  /* pictures of a call: the stage's batch */
    int64_t image_rows;        /* of a picture */
    struct eye_net tower;      /* what the stage's cache leaves of it, and the projector */
    struct eye_part_plan part[EYE_N_DECODE];
    struct eye_decoder decoder;
    struct eye_arena arena;
    int32_t *prompt;           /* [image_rows + 1]: image rows, begin token */
    float *rows;               /* [n, image_rows, width] */
    float *logits;             /* [n, vocab] */
};

/* Tokens of a caption, at most: those of the corpus, or what the student's positions leave. */
int64_t eye_scribe_max_tok(const struct eye_stage *g);
/* search: max_tok 0 = eye_scribe_max_tok; end tokens are the corpus' own. It is closed on failure. */
EYE_MUST_CHECK enum eye_status eye_scribe_open(struct eye_scribe *w, struct eye_stage *g, const struct eye_search_opts *search,
                                               struct eye_err *err);
void eye_scribe_close(struct eye_scribe *w);
/* image: [n pictures] as the stage's net takes them. answer [n, n_beams] as eye_search gives them, tokens in arena. */
EYE_MUST_CHECK enum eye_status eye_scribe_write(struct eye_scribe *w, const float *image, struct eye_arena *arena,
                                                struct eye_search_answer *answer, struct eye_err *err);
/* A caption's words, without blanks around them; arena's; NULL = no memory. */
const char *eye_scribe_text(const struct eye_scribe *w, const struct eye_search_answer *a, struct eye_arena *arena);

#endif
