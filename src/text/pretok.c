/* text/pretok: hand-written matchers. Each take_* gives the length of the first match at p, n > 0 bytes to the piece's end.
 * The patterns match at every position, so cutting a piece is taking matches until it is used up; what looks like
 * backtracking in the pattern is written out here. */
#include "text/pretok.h"

#include <string.h>

#include "text/unicode.h"

#define META "\xE2\x96\x81"

enum { L = EYE_UC_L, N = EYE_UC_N, S = EYE_UC_S };

static uint8_t flags_at(const uint8_t *p, size_t *len) { return eye_uc_flags(eye_utf8_get(p, len)); }

/* Length of the run at i of characters whose flags, cut to mask, equal want. */
static size_t run(const uint8_t *p, size_t n, size_t i, uint8_t mask, uint8_t want) {
    size_t from = i, len;
    while (i < n && (flags_at(p + i, &len) & mask) == want) i += len;
    return i - from;
}

/* 's 't 're 've 'm 'll 'd at p (which begins with '); 0 = none. Case-insensitive also takes U+017F for s. */
static size_t contraction(const uint8_t *p, size_t n, bool any_case) {
    uint8_t a = n > 1 ? p[1] : 0, b = n > 2 ? p[2] : 0;
    if (any_case) {
        if (a == 0xC5 && b == 0xBF) return 3;
        if (a >= 'A' && a <= 'Z') a |= 0x20;
        if (b >= 'A' && b <= 'Z') b |= 0x20;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return 0;
}

/* \s+(?!\S)|\s+ on a run of n_space > 0 bytes: all of it at the end of the piece, else all but its last character, which
 * goes with the next word; a run of one is taken whole. */
static size_t take_spaces(const uint8_t *p, size_t n, size_t n_space) {
    size_t last = n_space;
    if (n_space == n) return n_space;
    do last--;
    while ((p[last] & 0xC0) == 0x80);
    return last ? last : n_space;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t take_gpt2(const uint8_t *p, size_t n) {
    size_t blank = p[0] == ' ', len, got;
    if (p[0] == '\'' && (got = contraction(p, n, false))) return got;
    if (blank < n) {
        uint8_t f = flags_at(p + blank, &len) & (L | N | S);
        if (!(f & S)) return blank + run(p, n, blank, L | N | S, f);
    }
    return take_spaces(p, n, run(p, n, 0, S, S));
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,max}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t take_modern(const uint8_t *p, size_t n, int max_digits) {
    size_t len, len2, got;
    if (p[0] == '\'' && (got = contraction(p, n, true))) return got;
    uint8_t f = flags_at(p, &len);
    if (f & L) return run(p, n, 0, L, L);
    if (f & N) {
        size_t i = len;
        for (int k = 1; k < max_digits && i < n && (flags_at(p + i, &len2) & N); k++) i += len2;
        return i;
    }
    if (p[0] != '\r' && p[0] != '\n' && len < n && (flags_at(p + len, &len2) & L)) return len + run(p, n, len, L, L);
    size_t blank = p[0] == ' ', i = blank + run(p, n, blank, L | N | S, 0);
    if (i > blank) {
        while (i < n && (p[i] == '\r' || p[i] == '\n')) i++;
        return i;
    }
    size_t n_space = run(p, n, 0, S, S);
    for (i = n_space; i > 0; i--) /* \s* is greedy: it gives back only as far as the run's last line end */
        if (p[i - 1] == '\r' || p[i - 1] == '\n') return i;
    return take_spaces(p, n, n_space);
}

static size_t take_digits(const uint8_t *p, size_t n, bool each) {
    size_t len;
    uint8_t f = flags_at(p, &len) & EYE_UC_D;
    return f && each ? len : run(p, n, 0, EYE_UC_D, f);
}

static size_t take_meta(const uint8_t *p, size_t n) {
    const uint8_t *next = n > 3 ? memmem(p + 1, n - 1, META, 3) : NULL;
    return next ? (size_t)(next - p) : n;
}

static size_t take(struct eye_pretok_stage s, const uint8_t *p, size_t n) {
    switch (s.kind) {
    case EYE_PRETOK_GPT2: return take_gpt2(p, n);
    case EYE_PRETOK_MODERN: return take_modern(p, n, s.arg);
    case EYE_PRETOK_DIGITS: return take_digits(p, n, s.arg);
    case EYE_PRETOK_META_SPLIT: return take_meta(p, n);
    case EYE_PRETOK_METASPACE:
    case EYE_PRETOK_PREFIX_SPACE: return n;
    }
    return n;
}

bool eye_pretok_pattern(const char *regex, struct eye_pretok_stage *stage) {
    static const struct { const char *regex; struct eye_pretok_stage stage; } known[] = {
        {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
         "\\s+(?!\\S)|\\s+", {EYE_PRETOK_MODERN, 1}},
        {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
         "\\s+(?!\\S)|\\s+", {EYE_PRETOK_MODERN, 3}},
        {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", {EYE_PRETOK_GPT2, 0}},
    };
    for (size_t i = 0; i < EYE_COUNT(known); i++)
        if (strcmp(regex, known[i].regex) == 0) {
            *stage = known[i].stage;
            return true;
        }
    return false;
}

void eye_pretok_init(struct eye_pretok_iter *it, const struct eye_pretok *pt, const struct eye_alloc *alloc) {
    *it = (struct eye_pretok_iter){.pt = pt};
    eye_buf_init(&it->changed, alloc);
}

void eye_pretok_clear(struct eye_pretok_iter *it) { eye_buf_clear(&it->changed); }

void eye_pretok_start(struct eye_pretok_iter *it, const uint8_t *p, size_t n, bool first) {
    for (int i = 0; i < it->pt->n; i++) it->level[i].p = it->level[i].end = NULL;
    it->p = p;
    it->end = p + n;
    it->first = first;
}

/* Blanks of the piece as the stage wants them. One such stage at most (config.c sees to it): one buffer is enough. */
static void change_blanks(struct eye_pretok_iter *it, struct eye_pretok_stage stage, const uint8_t **p, size_t *n) {
    const uint8_t *from = *p, *end = from + *n, *blank;
    bool meta = stage.kind == EYE_PRETOK_METASPACE;
    if (!meta && *from == ' ') return;
    it->changed.len = 0;
    if (!meta) {
        eye_buf_add(&it->changed, " ", 1);
    } else if (stage.arg == 2 || (stage.arg & 1 && it->first)) {
        bool there = stage.arg != 3 && (*from == ' ' || (*n >= 3 && memcmp(from, META, 3) == 0));
        if (!there) eye_buf_add(&it->changed, META, 3);
    }
    for (; meta && from < end && (blank = memchr(from, ' ', (size_t)(end - from))); from = blank + 1) {
        eye_buf_add(&it->changed, from, (size_t)(blank - from));
        eye_buf_add(&it->changed, META, 3);
    }
    eye_buf_add(&it->changed, from, (size_t)(end - from));
    if (it->changed.failed) return;
    *p = (const uint8_t *)it->changed.p;
    *n = it->changed.len;
}

bool eye_pretok_next(struct eye_pretok_iter *it, const uint8_t **p, size_t *n) {
    int last = it->pt->n - 1, i = last;
    while (i >= 0 && it->level[i].p == it->level[i].end) i--; /* the deepest stage with something left */
    if (i < 0) {
        if (it->p == it->end) return false;
        *p = it->p;
        *n = (size_t)(it->end - it->p);
        it->p = it->end;
    }
    for (;; i++) {
        if (i >= 0) {
            *p = it->level[i].p;
            *n = take(it->pt->stage[i], *p, (size_t)(it->level[i].end - *p));
            it->level[i].p += *n;
        }
        if (i == last) return !it->changed.failed;
        enum eye_pretok_kind next = it->pt->stage[i + 1].kind;
        if (next == EYE_PRETOK_PREFIX_SPACE || next == EYE_PRETOK_METASPACE) change_blanks(it, it->pt->stage[i + 1], p, n);
        it->level[i + 1].p = *p;
        it->level[i + 1].end = *p + *n;
    }
}
