/* genie/transcript: the answer in what genie-t2t-run prints, byte by byte as it comes. A tag may be cut anywhere between two
 * reads, so bytes that may belong to one wait in held, which holds the longest tag and its line's end. */
#include <string.h>

#include "base/base.h"
#include "eyelet/genie.h"

static const char *const begins[] = {"[BEGIN]: ", "[COMPLETE]: ", "[RESUME]: ", "[ABORT]: "};
#define END "[END]"

/* Is held the beginning of a tag that opens an answer? *whole: all of it. */
static bool opens(const struct eye_genie_transcript *t, bool *whole) {
    *whole = false;
    for (size_t i = 0; i < EYE_COUNT(begins); i++) {
        if (strncmp(begins[i], t->held, t->n_held) != 0) continue;
        *whole = begins[i][t->n_held] == '\0';
        return true;
    }
    return false;
}

static void before(struct eye_genie_transcript *t, char c) {
    bool whole;
    if (c == '\n') {
        t->mid_line = false;
        t->n_held = 0;
        return;
    }
    if (t->mid_line) return;
    t->held[t->n_held++] = c;
    if (!opens(t, &whole)) t->mid_line = true;
    if (t->mid_line || whole) t->n_held = 0;
    if (whole) t->said = EYE_GENIE_SPEAKS;
}

static void give(struct eye_genie_transcript *t, uint32_t n) {
    if (n && t->text) t->text(t->text_ctx, t->held, n);
    t->n_held -= n;
    memmove(t->held, t->held + n, t->n_held);
}

/* Held is "[END]", "[END]\r", "\r" or what may become one; c comes behind it. */
static void within(struct eye_genie_transcript *t, char c) {
    const uint32_t end = sizeof END - 1;
    if (c == '\n') {
        uint32_t n = t->n_held - (t->n_held && t->held[t->n_held - 1] == '\r');
        if (n == end && memcmp(t->held, END, end) == 0) {
            t->said = EYE_GENIE_DONE;
            t->n_held = 0;
            return;
        }
        t->n_held = n; /* the \r of a line's end */
    }
    t->held[t->n_held++] = c;
    while (t->n_held) {
        bool cr = t->held[t->n_held - 1] == '\r';
        uint32_t n = t->n_held - cr;
        if (n <= end && memcmp(t->held, END, n) == 0 && (n == end || n == 0 || !cr)) return;
        give(t, 1);
    }
}

void eye_genie_transcript_feed(struct eye_genie_transcript *t, const char *p, size_t n) {
    for (size_t i = 0; i < n && t->said != EYE_GENIE_DONE; i++) {
        if (t->said == EYE_GENIE_NOT_BEGUN) before(t, p[i]);
        else within(t, p[i]);
    }
}

void eye_genie_transcript_end(struct eye_genie_transcript *t) {
    if (t->said != EYE_GENIE_SPEAKS) return;
    uint32_t n = t->n_held - (t->n_held && t->held[t->n_held - 1] == '\r');
    if (n == sizeof END - 1) t->said = EYE_GENIE_DONE; /* held is nothing else of that length */
    else give(t, t->n_held);
}
