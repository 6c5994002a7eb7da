/* text/lists: see lists.h. */
#include "text/lists.h"

#include <string.h>

#include "text/unicode.h"

static enum eye_status bad(const struct eye_list_reader *r, const char *what, struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "%s: byte %zu: expected %s", r->where, r->pos, what);
}

/* What a byte is to JSON, roughly. */
enum { OTHER, BLANK, OPEN, CLOSE, QUOTE, COMMA };
static const uint8_t byte_kind[256] = {
    [' '] = BLANK, ['\t'] = BLANK, ['\r'] = BLANK, ['\n'] = BLANK, ['['] = OPEN, ['{'] = OPEN,
    [']'] = CLOSE, ['}'] = CLOSE, ['"'] = QUOTE, [','] = COMMA, [':'] = COMMA};

static void skip_blanks(struct eye_list_reader *r) {
    while (r->pos < r->n && byte_kind[(uint8_t)r->p[r->pos]] == BLANK) r->pos++;
}

/* The next character that is no blank, 0 at the end. */
static char peek(struct eye_list_reader *r) {
    skip_blanks(r);
    return r->pos < r->n ? r->p[r->pos] : '\0';
}

static bool accept(struct eye_list_reader *r, char c) {
    if (peek(r) != c || r->pos >= r->n) return false;
    r->pos++;
    return true;
}

static enum eye_status hex4(struct eye_list_reader *r, uint32_t *out, struct eye_err *err) {
    *out = 0;
    if (r->n - r->pos < 4) return bad(r, "four hex digits", err);
    for (int i = 0; i < 4; i++) {
        char c = r->p[r->pos++];
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
        if (digit < 0) return bad(r, "four hex digits", err);
        *out = *out << 4 | (uint32_t)digit;
    }
    return EYE_OK;
}

/* What follows a backslash. */
static enum eye_status escape(struct eye_list_reader *r, struct eye_buf *text, struct eye_err *err) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint32_t cp, low;
    uint8_t utf8[4];
    if (r->pos >= r->n) return bad(r, "an escape", err);
    char c = r->p[r->pos++];
    if (c != 'u') {
        const char *at = c ? strchr(from, c) : NULL;
        if (!at) return bad(r, "a JSON escape", err);
        eye_buf_add(text, to + (at - from), 1);
        return EYE_OK;
    }
    EYE_TRY(hex4(r, &cp, err));
    if (cp >= 0xD800 && cp <= 0xDFFF) {
        if (cp >= 0xDC00 || r->n - r->pos < 6 || memcmp(r->p + r->pos, "\\u", 2) != 0) return bad(r, "a surrogate pair", err);
        r->pos += 2;
        EYE_TRY(hex4(r, &low, err));
        if (low < 0xDC00 || low > 0xDFFF) return bad(r, "a low surrogate", err);
        cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
    }
    eye_buf_add(text, utf8, eye_utf8_put(cp, utf8));
    return EYE_OK;
}

/* A JSON string: in place if it has no escapes, else in text. */
static enum eye_status string(struct eye_list_reader *r, struct eye_buf *text, struct eye_list_str *out, struct eye_err *err) {
    if (!accept(r, '"')) return bad(r, "a string", err);
    size_t from = r->pos;
    bool escaped = false;
    text->len = 0;
    for (; r->pos < r->n; r->pos++) {
        unsigned char c = (unsigned char)r->p[r->pos];
        if (c == '"') break;
        if (c < 0x20) return bad(r, "no control character in a string", err);
        if (c != '\\') continue;
        escaped = true;
        eye_buf_add(text, r->p + from, r->pos - from);
        r->pos++;
        EYE_TRY(escape(r, text, err));
        from = r->pos--;
    }
    if (r->pos >= r->n) return bad(r, "the string's end", err);
    *out = (struct eye_list_str){r->p + from, r->pos - from};
    r->pos++;
    if (!escaped) return EYE_OK;
    eye_buf_add(text, out->p, out->n);
    if (text->failed) return eye_fail_nomem(err, r->pos - from);
    *out = (struct eye_list_str){text->p, text->len};
    return EYE_OK;
}

/* The comma or bracket before an entry. *more = false: the list ends here, and the text with it. */
static enum eye_status step(struct eye_list_reader *r, char open, char close, bool *more, struct eye_err *err) {
    *more = true;
    if (r->i == 0) {
        if (!accept(r, open)) return bad(r, open == '{' ? "{" : "[", err);
        if (peek(r) != close) return EYE_OK;
    } else if (accept(r, ',')) {
        return EYE_OK;
    }
    if (!accept(r, close)) return bad(r, close == '}' ? ", or }" : ", or ]", err);
    if (peek(r) || r->pos < r->n) return bad(r, "nothing after the list", err);
    *more = false;
    return EYE_OK;
}

enum eye_status eye_list_vocab(struct eye_list_reader *r, bool *more, struct eye_list_str *token, uint32_t *id,
                               struct eye_err *err) {
    uint64_t v = 0;
    EYE_TRY(step(r, '{', '}', more, err));
    if (!*more) return EYE_OK;
    EYE_TRY(string(r, &r->text[0], token, err));
    if (!accept(r, ':')) return bad(r, ":", err);
    char c = peek(r);
    if (c < '0' || c > '9') return bad(r, "an id (an integer from 0)", err);
    size_t first = r->pos;
    for (; r->pos < r->n && r->p[r->pos] >= '0' && r->p[r->pos] <= '9'; r->pos++) {
        v = v * 10 + (uint64_t)(r->p[r->pos] - '0');
        if (v > UINT32_MAX) return bad(r, "an id below 2^32", err);
    }
    if (c == '0' && r->pos - first > 1) return bad(r, "no leading zero", err);
    *id = (uint32_t)v;
    r->i++;
    return EYE_OK;
}

/* "left right": exactly one blank between two parts, either of which may be empty (as the library splits; no such token exists,
 * so the caller fails on it). */
static enum eye_status split_pair(const struct eye_list_reader *r, struct eye_list_str both, struct eye_list_str pair[2],
                                  struct eye_err *err) {
    const char *blank = memchr(both.p, ' ', both.n);
    size_t left = blank ? (size_t)(blank - both.p) : 0;
    if (!blank || memchr(blank + 1, ' ', both.n - left - 1))
        return eye_fail(err, EYE_E_CORRUPT, "%s: merge %zu: expected two parts with one blank between, got \"%.*s\"", r->where,
                        r->i, (int)EYE_MIN(both.n, 60), both.p);
    pair[0] = (struct eye_list_str){both.p, left};
    pair[1] = (struct eye_list_str){blank + 1, both.n - left - 1};
    return EYE_OK;
}

enum eye_status eye_list_merge(struct eye_list_reader *r, bool *more, struct eye_list_str pair[2], struct eye_err *err) {
    for (;;) {
        EYE_TRY(step(r, '[', ']', more, err));
        if (!*more) return EYE_OK;
        r->i++;
        if (peek(r) != '"') break;
        EYE_TRY(string(r, &r->text[0], &pair[0], err));
        if (pair[0].n >= 8 && memcmp(pair[0].p, "#version", 8) == 0) continue; /* the library drops it here too */
        return split_pair(r, pair[0], pair, err);
    }
    if (!accept(r, '[')) return bad(r, "a merge: a string or an array of two", err);
    EYE_TRY(string(r, &r->text[0], &pair[0], err));
    if (!accept(r, ',')) return bad(r, ",", err);
    EYE_TRY(string(r, &r->text[1], &pair[1], err));
    return accept(r, ']') ? EYE_OK : bad(r, "] after two strings", err);
}

enum eye_status eye_list_merge_line(struct eye_list_reader *r, bool *more, struct eye_list_str pair[2], struct eye_err *err) {
    for (;;) {
        *more = r->pos < r->n;
        if (!*more) return EYE_OK;
        const char *p = r->p + r->pos, *end = memchr(p, '\n', r->n - r->pos);
        struct eye_list_str line = {p, end ? (size_t)(end - p) : r->n - r->pos};
        r->pos += line.n + (end != NULL);
        r->i++;
        if (end && line.n && p[line.n - 1] == '\r') line.n--;
        if (line.n >= 8 && memcmp(p, "#version", 8) == 0) continue;
        return split_pair(r, line, pair, err);
    }
}

void eye_list_init(struct eye_list_reader *r, const char *p, size_t n, const char *where, const struct eye_alloc *alloc) {
    *r = (struct eye_list_reader){.p = p, .n = n, .where = where};
    eye_buf_init(&r->text[0], alloc);
    eye_buf_init(&r->text[1], alloc);
}

void eye_list_clear(struct eye_list_reader *r) {
    eye_buf_clear(&r->text[0]);
    eye_buf_clear(&r->text[1]);
}

/* ---- finding the lists ---- */

/* Past the string at pos (its opening quote), without reading it. */
static bool pass_string(struct eye_list_reader *r) {
    for (r->pos++; r->pos < r->n; r->pos++) {
        if (r->p[r->pos] == '\\') {
            r->pos++;
        } else if (r->p[r->pos] == '"') {
            r->pos++;
            return true;
        }
    }
    return false;
}

/* Past one value of any kind: brackets are counted, not matched; whoever reads the value checks it. */
static bool pass_value(struct eye_list_reader *r) {
    size_t depth = 0;
    skip_blanks(r);
    while (r->pos < r->n) {
        uint8_t kind = byte_kind[(uint8_t)r->p[r->pos]];
        if (kind == QUOTE) {
            if (!pass_string(r)) return false;
            if (depth == 0) return true;
            continue;
        }
        if (depth == 0 && kind != OPEN && kind != OTHER) return false;
        if (kind == CLOSE && --depth == 0) return ++r->pos, true;
        if (kind == OPEN) depth++;
        r->pos++;
        if (depth == 0) { /* a number or a word */
            while (r->pos < r->n && byte_kind[(uint8_t)r->p[r->pos]] == OTHER) r->pos++;
            return true;
        }
    }
    return false;
}

/* One member's value wanted from an object. */
struct wanted { const char *key; struct eye_list_span *value; };

/* From the brace of an object at r->pos to its end: notes the values of the keys wanted [n]; does not enter others. A key given
 * twice is CORRUPT: which one counts would be a guess. The rest of the syntax is format/json's to judge. */
static enum eye_status scan_object(struct eye_list_reader *r, const struct wanted *want, size_t n, const struct wanted *inner,
                                   size_t n_inner, struct eye_err *err) {
    if (!accept(r, '{')) return bad(r, "{", err);
    while (peek(r) == '"') {
        size_t at = r->pos + 1, i = 0;
        if (!pass_string(r)) return bad(r, "the string's end", err);
        size_t len = r->pos - 1 - at;
        while (i < n && (strlen(want[i].key) != len || memcmp(r->p + at, want[i].key, len) != 0)) i++;
        if (!accept(r, ':')) return bad(r, ":", err);
        skip_blanks(r);
        at = r->pos;
        if (i < n && want[i].value->len) return bad(r, "no key twice in an object", err);
        if (i < n && inner && peek(r) == '{')
            EYE_TRY(scan_object(r, inner, n_inner, NULL, 0, err)); /* one level: inner has no inner */
        else if (!pass_value(r))
            return bad(r, "a value", err);
        if (i < n) *want[i].value = (struct eye_list_span){at, r->pos - at};
        if (!accept(r, ',')) break;
    }
    return accept(r, '}') ? EYE_OK : bad(r, "}", err);
}

enum eye_status eye_lists_find(const char *p, size_t n, struct eye_list_span *vocab, struct eye_list_span *merges,
                               struct eye_err *err) {
    struct eye_list_reader r = {.p = p, .n = n, .where = "tokenizer.json"};
    struct eye_list_span model = {0, 0};
    const struct wanted top[] = {{"model", &model}}, lists[] = {{"vocab", vocab}, {"merges", merges}};
    *vocab = *merges = (struct eye_list_span){0, 0};
    return scan_object(&r, top, EYE_COUNT(top), lists, EYE_COUNT(lists), err);
}
