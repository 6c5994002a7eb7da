/* train/ptb: the words of a caption. See ptb.h. One left-to-right pass; at each place the longest of a few shapes is taken:
 *
 *   number      8  3.5  37,000  8:25  1/2
 *   word        dog  i.v.  street.a  (a point, ! or ? goes on when a letter follows)
 *   compound    t-shirt  mirror/cabinet  o'clock
 *   suffix      's 're 've 'll 'd 'm n't, split off the word before
 *   sign        anything else, one character; runs of - and of points stay together
 */
#include "train/ptb.h"

#include <string.h>

struct scan {
    const char *p, *end;
    eye_ptb_fn *fn;
    void *ctx;
    struct eye_err *err;
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80; }
static bool is_word(char c) { return is_letter(c) || is_digit(c); }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

/* What coco-caption leaves out. Brackets became -lrb- and the like, in lower case, which its upper case list does not meet. */
static bool is_punctuation(const char *w, size_t n) {
    static const char *const list[] = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"};
    for (size_t i = 0; i < EYE_COUNT(list); i++)
        if (strlen(list[i]) == n && memcmp(list[i], w, n) == 0) return true;
    return false;
}

static enum eye_status give(const struct scan *s, const char *w, size_t n) {
    char small[64];
    struct eye_buf big;
    if (n == 0 || is_punctuation(w, n)) return EYE_OK;
    if (n <= sizeof small) {
        for (size_t i = 0; i < n; i++) small[i] = lower(w[i]);
        return s->fn(s->ctx, small, n, s->err);
    }
    eye_buf_init(&big, NULL);
    for (size_t i = 0; i < n; i++) eye_buf_add(&big, &(char){lower(w[i])}, 1);
    enum eye_status st = big.failed ? eye_fail_nomem(s->err, n) : s->fn(s->ctx, big.p, n, s->err);
    eye_buf_clear(&big);
    return st;
}

static bool same(const char *w, size_t n, const char *text) {
    if (strlen(text) != n) return false;
    for (size_t i = 0; i < n; i++)
        if (lower(w[i]) != text[i]) return false;
    return true;
}

/* Length of the suffix that the tokenizer splits off a word that ends at w + n; 0 = none. */
static size_t clitic(const char *w, size_t n) {
    static const char *const list[] = {"n't", "'s", "'m", "'d", "'ll", "'re", "'ve"};
    for (size_t i = 0; i < EYE_COUNT(list); i++) {
        size_t k = strlen(list[i]);
        if (n > k && same(w + n - k, k, list[i])) return k;
    }
    return 0;
}

/* Words that are two, and where the second begins. */
static size_t joined(const char *w, size_t n) {
    static const struct { const char *word; size_t at; } list[] = {
        {"cannot", 3}, {"gonna", 3}, {"gotta", 3}, {"wanna", 3}, {"lemme", 3}, {"gimme", 3}};
    for (size_t i = 0; i < EYE_COUNT(list); i++)
        if (same(w, n, list[i].word)) return list[i].at;
    return 0;
}

static enum eye_status give_word(const struct scan *s, const char *w, size_t n) {
    size_t k = clitic(w, n), at = k ? n - k : joined(w, n);
    if (!at) return give(s, w, n);
    EYE_TRY(give(s, w, at));
    return give(s, w + at, n - at);
}

/* ---- how far a shape goes ---- */

static const char *digits(const char *p, const char *end) {
    while (p < end && is_digit(*p)) p++;
    return p;
}

static const char *number(const char *p, const char *end) {
    p = digits(p, end);
    while (p + 1 < end && strchr(".,:/", *p) && is_digit(p[1])) p = digits(p + 1, end);
    return p;
}

/* Is it the point of an abbreviation: an initial within the sentence, letters with points, or a short form that is never a word? */
static bool takes_point(const char *w, const char *point, const char *end) {
    static const char *const list[] = {"mr", "mrs", "ms", "dr", "st", "jr", "sr", "vs", "etc", "ave", "blvd", "rd", "inc", "co", "corp", "dept", "ft"};
    size_t n = (size_t)(point - w);
    for (size_t i = 0; i < EYE_COUNT(list); i++)
        if (same(w, n, list[i])) return true;
    if (n % 2 == 0) return false;
    for (size_t i = 0; i < n; i++)
        if (i % 2 ? w[i] != '.' : !is_letter(w[i])) return false;
    return n >= 3 || (w[0] >= 'A' && w[0] <= 'Z' && w[0] != 'I' && point + 1 < end);
}

static const char *word(const char *w, const char *end) {
    const char *p = w;
    for (;;) {
        while (p < end && is_word(*p)) p++;
        if (p + 1 >= end || !is_word(p[1])) break;
        if (strchr("'-/_", *p)) p++;
        else if (strchr(".!?", *p) && is_letter(p[1])) p++;
        else break;
    }
    return p < end && *p == '.' && takes_point(w, p, end) ? p + 1 : p;
}

static const char *run(const char *p, const char *end) {
    const char *q = p;
    while (q < end && *q == *p) q++;
    return q;
}

/* A suffix that stands by itself, as in "I 'll": where it ends, or p. */
static const char *lone_suffix(const char *p, const char *end) {
    static const char *const list[] = {"'s", "'m", "'d", "'ll", "'re", "'ve", "'em", "'n", "'til"};
    const char *q = p + 1;
    while (q < end && is_word(*q)) q++;
    for (size_t i = 0; i < EYE_COUNT(list); i++)
        if (same(p, (size_t)(q - p), list[i])) return q;
    return p;
}

/* ---- signs ---- */

static enum eye_status give_sign(struct scan *s) {
    static const struct { char c; const char *word; } bracket[] = {
        {'(', "-lrb-"}, {')', "-rrb-"}, {'[', "-lsb-"}, {']', "-rsb-"}, {'{', "-lcb-"}, {'}', "-rcb-"}};
    static const struct { const char *entity, *sign; } entity[] = {
        {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", ""}, {"&apos;", ""}};
    const char *p = s->p;
    for (size_t i = 0; i < EYE_COUNT(bracket); i++)
        if (*p == bracket[i].c) {
            s->p++;
            return give(s, bracket[i].word, 5);
        }
    for (size_t i = 0; i < EYE_COUNT(entity); i++) {
        size_t n = strlen(entity[i].entity);
        if ((size_t)(s->end - p) >= n && same(p, n, entity[i].entity)) {
            s->p += n;
            return give(s, entity[i].sign, strlen(entity[i].sign));
        }
    }
    s->p = *p == '-' || *p == '.' ? run(p, s->end) : p + 1;
    if (*p == '"' || *p == '-' || *p == '.') return EYE_OK; /* quotes become `` and '' */
    return give(s, p, 1);
}

enum eye_status eye_ptb_words(const char *text, size_t n, eye_ptb_fn *fn, void *ctx, struct eye_err *err) {
    struct scan s = {.p = text, .end = text + n, .fn = fn, .ctx = ctx, .err = err};
    while (s.p < s.end) {
        const char *w = s.p;
        if (strchr(" \t\r\n\f\v", *w)) { /* the end of a string counts: a NUL is a blank */
            s.p++;
            continue;
        }
        const char *as_number = is_digit(*w) ? number(w, s.end) : w;
        const char *stop = is_word(*w) ? word(w, s.end) : *w == '\'' ? lone_suffix(w, s.end) : w;
        if (as_number > stop) stop = as_number;
        if (stop == w) {
            EYE_TRY(give_sign(&s));
            continue;
        }
        s.p = stop;
        EYE_TRY(give_word(&s, w, (size_t)(stop - w)));
    }
    return EYE_OK;
}
