/* genie/follow: would this decoder have given an answer that another one gave? The other's text is put through token by token;
 * where it leaves the likeliest token, the likeliest of those that go on with the text is taken, if it is nearly as likely: two
 * runtimes that round differently part at near ties, and only there. */
#include <stdio.h>
#include <string.h>

#include "genie/dialog_impl.h"
#include "genie/source.h"

#define CUT_OFF "\xef\xbf\xbd" /* what an incomplete character becomes when no more of it comes */

#define MOST_SILENT 16 /* likeliest tokens without bytes, in a row: the text does not show whether they were there */

struct follow {
    struct eye_genie_dialog *d;
    const char *text;
    size_t left;
    struct eye_detok detok;
    struct eye_buf piece;
    int n_silent;
};

/* Does token id go on with the text? *n: bytes of it that it takes. What the detokenizer still holds must fit too. */
static bool fits(struct follow *f, int32_t id, struct eye_detok *after, size_t *n) {
    *after = f->detok;
    f->piece.len = 0;
    eye_detok_push(after, id, &f->piece);
    *n = f->piece.len;
    if (f->piece.failed || *n > f->left || (*n && memcmp(f->text, f->piece.p, *n) != 0)) return false;
    size_t rest = EYE_MIN(after->n_held, f->left - *n), mark = sizeof CUT_OFF - 1;
    bool cut = f->left - *n >= mark && memcmp(f->text + *n, CUT_OFF, mark) == 0;
    return f->left > 0 && (after->n_held == 0 || cut || (rest && memcmp(f->text + *n, after->held, rest) == 0));
}

static bool moves(const struct follow *f, const struct eye_detok *after, size_t n) {
    return n || after->n_held > f->detok.n_held;
}

/* The likeliest token that goes on with the text; -1 = none. */
static int32_t best_fit(struct follow *f, const float *logits, int32_t n_vocab) {
    int32_t best = -1;
    struct eye_detok after;
    size_t n;
    for (int32_t id = 0; id < n_vocab; id++)
        if ((best < 0 || logits[id] > logits[best]) && fits(f, id, &after, &n) && moves(f, &after, n)) best = id;
    return best;
}

static int32_t likeliest(const float *logits, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static int32_t best_end(const struct eye_genie_config *c, const float *logits, int32_t n_vocab) {
    int32_t best = -1;
    for (size_t i = 0; i < c->n_eos; i++)
        if (c->eos[i] < n_vocab && (best < 0 || logits[c->eos[i]] > logits[best])) best = (int32_t)c->eos[i];
    return best;
}

/* Up to 24 bytes of text for people: printable ones. */
static void show(const char *p, size_t n, char out[28]) {
    size_t k = 0;
    for (; k < EYE_MIN(n, 24); k++) out[k] = (unsigned char)p[k] < 0x20 || p[k] == '"' ? ' ' : p[k];
    while (k < n && k && ((unsigned char)p[k] & 0xc0) == 0x80) k--; /* not within a character */
    out[k] = '\0';
}

static void part_ways(struct follow *f, int32_t here, bool at_end, struct eye_genie_followed *out) {
    char there[28], own[28];
    struct eye_detok after = f->detok;
    f->piece.len = 0;
    eye_detok_push(&after, here, &f->piece);
    show(f->text, f->left, there);
    if (f->piece.len) show(f->piece.p, f->piece.len, own);
    else snprintf(own, sizeof own, "part of a character");
    out->off = true;
    if (at_end)
        snprintf(out->why, sizeof out->why, "after %u tokens the device ends, here \"%s\" follows", out->n_tokens, own);
    else
        snprintf(out->why, sizeof out->why, "after %u tokens the device says \"%s\", here \"%s\" is likeliest", out->n_tokens,
                 there, own);
}

static bool is_over(const struct follow *f) {
    return f->left == 0 ||
           (f->detok.n_held && f->left == sizeof CUT_OFF - 1 && memcmp(f->text, CUT_OFF, sizeof CUT_OFF - 1) == 0);
}

static enum eye_status follow(struct follow *f, int64_t max_tokens, double max_gap, struct eye_genie_followed *out,
                              struct eye_err *err) {
    struct eye_session *s = f->d->s;
    int32_t n_vocab = eye_model_n_vocab(f->d->model);
    for (;;) {
        bool at_end = is_over(f), full = s->n_past + 1 > s->n_ctx;
        if (at_end && (full || f->d->c.n_stop || (max_tokens >= 0 && (int64_t)out->n_tokens >= max_tokens))) return EYE_OK;
        struct eye_detok after;
        size_t n = 0;
        int32_t here = likeliest(s->logits, n_vocab), id = here;
        if (at_end) id = best_end(&f->d->c, s->logits, n_vocab);
        else if (!fits(f, here, &after, &n) || (!moves(f, &after, n) && f->n_silent == MOST_SILENT))
            id = best_fit(f, s->logits, n_vocab);
        double gap = id >= 0 ? (double)s->logits[here] - (double)s->logits[id] : 0;
        if (id >= 0 && gap > out->gap) out->gap = gap;
        if (id < 0 || !(gap <= max_gap) || (full && !at_end)) {
            part_ways(f, here, at_end, out);
            return EYE_OK;
        }
        out->n_ties += id != here;
        if (at_end) return EYE_OK;
        if (id != here && !fits(f, id, &after, &n)) return EYE_OK; /* it did just now */
        f->n_silent = moves(f, &after, n) ? 0 : f->n_silent + 1;
        f->detok = after;
        f->text += n;
        f->left -= n;
        out->n_tokens++;
        if (s->opts.cancel && s->opts.cancel(s->opts.cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "cancelled");
        if (s->n_past + 1 <= s->n_ctx) EYE_TRY(eye_genie_feed(f->d, id, s->logits, err));
    }
}

enum eye_status eye_genie_follow(struct eye_genie_dialog *d, const char *text, size_t n, int64_t max_tokens, double max_gap,
                                 struct eye_genie_followed *out, struct eye_err *err) {
    struct follow f = {.d = d, .text = text, .left = n};
    memset(out, 0, sizeof *out);
    eye_detok_init(&f.detok, d->model->tokenizer, false);
    eye_buf_init(&f.piece, NULL);
    enum eye_status st = follow(&f, max_tokens, max_gap, out, err);
    if (st == EYE_OK && f.piece.failed) st = eye_fail_nomem(err, f.piece.len);
    eye_buf_clear(&f.piece);
    return st;
}
