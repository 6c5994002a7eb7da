/* pack, inside the room: what a decoder is calibrated and judged on. A pair is a picture, the prompt a user's question becomes,
 * and an answer: its caption, or what the model itself says where there is none. For a model of text a pair is a line of text.
 * Sits on the session room, which knows how pictures become rows and questions ids.
 *
 * Pictures: pack/calibration.h. Text lines, for models without eyes: DIR/captions.tsv or captions.txt, of a line
 * "image<TAB>text" or "image,text" (image: a picture's file name) the text, else the whole line. Every fourth pair is held out:
 * what is reported was not looked at while rounding.
 */
#ifndef EYE_PACK_PAIRS_H
#define EYE_PACK_PAIRS_H

#include "eyelet/convert.h"
#include "eyelet/session.h"
#include "pack/calibration.h"

struct eye_pair {
    const char *path;  /* of the picture; NULL = text alone */
    const char *text;  /* the line or caption; "" = the model answered */
    int32_t *ids;      /* [n] EYE_TOKEN_IMAGE_ROW for image rows */
    size_t n, n_prompt; /* ids before the answer */
    bool held_out;
};
struct eye_pairs {
    struct eye_arena arena;
    struct eye_pair *pair;
    size_t n, n_held_out, n_ids, longest; /* n_ids: of all pairs */
    size_t n_images, n_captions, n_unreadable;
    char first_unreadable[256];
    bool nothing_held_out; /* a single pair: it is judged on what it was calibrated with */
};

/* m: opened; its session's memory is taken for the while. max 0 = EYE_CALIBRATION_DEFAULT. Pairs are cut to the model's context
 * and EYE_PAIR_MAX_ROWS, and there are at most EYE_PAIRS_MAX_ROWS rows of all: memory is bounded whatever the folder. ARG: no
 * picture or no line of text. */
#define EYE_PAIR_MAX_ROWS 2048
#define EYE_PAIRS_MAX_ROWS 16384
EYE_MUST_CHECK enum eye_status eye_pairs_open(struct eye_pairs *p, struct eye_model *m, const char *dir, size_t max,
                                              const struct eye_alloc *alloc, struct eye_err *err);
void eye_pairs_close(struct eye_pairs *p);
/* Rows of pair i as the decoder gets them, [n, hidden], caller's memory. */
EYE_MUST_CHECK enum eye_status eye_pair_rows(const struct eye_pair *pair, struct eye_model *m, float *rows,
                                             struct eye_err *err);
/* The question of a picture's pair: what its prompt was made of. img is borrowed. */
struct eye_query eye_pair_question(struct eye_model *m, const struct eye_image *img);
/* Is it to be judged (or calibrated) on? */
static inline bool eye_pair_judges(const struct eye_pairs *p, size_t i) { return p->pair[i].held_out || p->nothing_held_out; }

#endif
