/* genie, inside the room: a dialog between its query and its saved state. */
#ifndef EYE_GENIE_DIALOG_IMPL_H
#define EYE_GENIE_DIALOG_IMPL_H

#include "eyelet/genie.h"
#include "genie/dialog_config.h"
#include "session/session_impl.h"

#define EYE_GENIE_OVERFLOW "Error: T2E conversion overflow."

struct eye_genie_dialog {
    struct eye_genie_config c;
    struct eye_map config_map;
    struct eye_model *model;
    struct eye_session *s;
    struct eye_map table;        /* --embedding_table or lut-path; path NULL = none */
    struct eye_elements table_type;
    size_t width;                /* of a row */
    float *row;                  /* [width] */
    uint64_t open_us;
    /* state */
    int32_t last_tok;            /* of the last answer: chosen, not yet run; -1 = none */
    uint32_t n_prompt, n_generated, n_queries; /* so far */
    bool restored;               /* from a folder: the draw goes on from there */
    struct eye_rng rng;          /* of that folder */
};

/* Rows of a raw file as f32: n = size / width; Genie's message where they do not fit. The caller frees *rows, bytes long. */
EYE_MUST_CHECK enum eye_status eye_genie_rows(const struct eye_genie_dialog *d, const struct eye_map *map,
                                              const struct eye_elements *e, float **rows, size_t *n, size_t *bytes,
                                              struct eye_err *err);

/* One token through the decoder, by the table where there is one; logits [n_vocab] or NULL. */
EYE_MUST_CHECK enum eye_status eye_genie_feed(struct eye_genie_dialog *d, int32_t id, float *logits, struct eye_err *err);
/* n rows of embeddings; the last one's logits to d->s->logits. */
EYE_MUST_CHECK enum eye_status eye_genie_feed_rows(struct eye_genie_dialog *d, const float *rows, size_t n,
                                                   struct eye_err *err);

/* ---- follow.c ---- */
struct eye_genie_followed {
    uint32_t n_tokens, n_ties;
    double gap;            /* nats, the largest that was accepted; where it broke off, the one that was not */
    bool off;
    char why[128];
};
/* How far the dialog, whose context holds the prompt and whose logits are its last, would have said text [n]: at each step the
 * likeliest token, or the likeliest one that goes on with the text if it is less likely by at most max_gap nats. max_tokens: at
 * which an answer ends without an end token; -1 = at none. */
EYE_MUST_CHECK enum eye_status eye_genie_follow(struct eye_genie_dialog *d, const char *text, size_t n, int64_t max_tokens,
                                                double max_gap, struct eye_genie_followed *out, struct eye_err *err);

#endif
