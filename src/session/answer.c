/* answer: see answer.h. A stop string may begin in one token and end in another, so the tail that is a proper beginning of one
 * is held back until it is decided. */
#include "session/answer.h"

#include <string.h>

enum eye_status eye_answer_check(const struct eye_generate_opts *opts, struct eye_err *err) {
    for (size_t i = 0; i < opts->n_stop; i++) {
        if (!opts->stop[i] || !opts->stop[i][0]) return eye_fail(err, EYE_E_ARG, "stop string %zu is empty", i + 1);
        /* A continuation byte in front could match in the middle of a character and split it. */
        if (((unsigned char)opts->stop[i][0] & 0xC0) == 0x80)
            return eye_fail(err, EYE_E_ARG, "stop string %zu begins in the middle of a UTF-8 character", i + 1);
    }
    return EYE_OK;
}

enum eye_status eye_answer_start(struct eye_answer *a, char *text, size_t cap, const struct eye_generate_opts *opts,
                                 struct eye_err *err) {
    *a = (struct eye_answer){.text = text, .cap = cap, .stop = opts->stop, .n_stop = opts->n_stop, .on_text = opts->on_text,
                             .ctx = opts->on_text_ctx};
    text[0] = '\0';
    return eye_answer_check(opts, err);
}

static void give(struct eye_answer *a, size_t end) {
    if (end == a->given) return;
    char *from = a->text + a->given, held = a->text[end];
    size_t len = end - a->given;
    a->given = end;
    if (!a->on_text) return;
    a->text[end] = '\0';
    if (a->on_text(a->ctx, from, len)) a->wanted_end = true;
    a->text[end] = held;
}

/* Where the earliest stop string begins at or after given; len = none. */
static size_t find_stop(const struct eye_answer *a) {
    size_t best = a->len;
    for (size_t i = 0; i < a->n_stop; i++) {
        const char *at = memmem(a->text + a->given, a->len - a->given, a->stop[i], strlen(a->stop[i]));
        if (at && (size_t)(at - a->text) < best) best = (size_t)(at - a->text);
    }
    return best;
}

/* Where the longest tail begins that is a beginning of some stop string; len = none. */
static size_t find_beginning(const struct eye_answer *a) {
    size_t best = a->len;
    for (size_t i = 0; i < a->n_stop; i++) {
        size_t stop_len = strlen(a->stop[i]), longest = EYE_MIN(stop_len - 1, a->len - a->given);
        for (size_t tail = longest; tail > a->len - best; tail--)
            if (memcmp(a->text + a->len - tail, a->stop[i], tail) == 0) best = a->len - tail;
    }
    return best;
}

bool eye_answer_add(struct eye_answer *a, const char *piece, size_t len) {
    if (a->stopped || a->wanted_end) return true;
    if (EYE_NEVER(len >= a->cap - a->len)) return false;
    memcpy(a->text + a->len, piece, len);
    a->len += len;
    a->text[a->len] = '\0';
    size_t stop = find_stop(a);
    if (stop < a->len) {
        a->len = stop;
        a->text[stop] = '\0';
        a->stopped = true;
        give(a, stop);
        return true;
    }
    give(a, find_beginning(a));
    return a->wanted_end;
}

void eye_answer_finish(struct eye_answer *a) {
    if (!a->stopped && !a->wanted_end) give(a, a->len);
}
