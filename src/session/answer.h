/* answer: the text of an answer while it grows. Holds back what may be the beginning of a stop string, hands out the rest.
 * Knows no tokens and no model. Memory is the caller's, fixed. */
#ifndef EYE_ANSWER_H
#define EYE_ANSWER_H

#include "base/base.h"
#include "eyelet/session.h"

struct eye_answer {
    char *text;      /* [cap], caller's; NUL-terminated */
    size_t cap, len;
    size_t given;    /* bytes handed out */
    const char *const *stop;
    size_t n_stop;
    bool stopped;    /* a stop string was found; text ends before it */
    bool wanted_end; /* on_text returned true */
    eye_text_fn *on_text;
    void *ctx;
};

/* ARG: a stop string that is empty or does not begin with a character. */
EYE_MUST_CHECK enum eye_status eye_answer_check(const struct eye_generate_opts *opts, struct eye_err *err);
/* Checks, too. */
EYE_MUST_CHECK enum eye_status eye_answer_start(struct eye_answer *a, char *text, size_t cap,
                                                const struct eye_generate_opts *opts, struct eye_err *err);
/* Appends a piece (complete UTF-8 characters). True = the answer is over: stopped or wanted_end. A piece that does not fit is
 * an error of the caller's sizing and is dropped. */
bool eye_answer_add(struct eye_answer *a, const char *piece, size_t len);
/* Hands out what was held back: nothing more comes. */
void eye_answer_finish(struct eye_answer *a);

#endif
