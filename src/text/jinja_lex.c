/* jinja, lexer: source to tokens. Text outside tags is one token; white space around tags goes as transformers' environment has
 * it: the line end after a block or a comment (trim_blocks), blanks before one that begins its line (lstrip_blocks), all white
 * space where a tag says "-"; "+" keeps it. Knows no grammar. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_impl.h"
#include "text/unicode.h"

/* str.isspace(), which \s of Python's re equals. */
static bool is_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t eye_jinja_space(const char *p, size_t n) {
    size_t len;
    return n > 0 && is_space(eye_utf8_get((const uint8_t *)p, &len)) ? len : 0;
}

size_t eye_jinja_space_before(const char *p, size_t n) {
    size_t back = n > 0 ? 1 : 0;
    while (back > 0 && back < n && ((uint8_t)p[n - back] & 0xC0) == 0x80) back++;
    return back > 0 && eye_jinja_space(p + n - back, back) == back ? back : 0;
}

enum eye_status eye_jinja_fail(const struct eye_jinja *t, size_t at, struct eye_err *err, enum eye_status code, const char *fmt,
                               ...) {
    char text[400];
    size_t line = 1, column = 1;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < at && i < t->n; i++) {
        if (t->src[i] == '\n') line++, column = 0;
        if (((uint8_t)t->src[i] & 0xC0) != 0x80) column++;
    }
    return eye_fail(err, code, "%.100s:%zu:%zu: %s", t->where, line, column, text);
}

/* ---- text between tags ---- */

static bool begins_tag(const char *p, size_t n) {
    return n >= 2 && p[0] == '{' && (p[1] == '{' || p[1] == '%' || p[1] == '#');
}

static size_t skip_space(const struct eye_jinja *t, size_t at) {
    size_t len;
    while ((len = eye_jinja_space(t->src + at, t->n - at))) at += len;
    return at;
}

/* Where the text before the tag at `to` ends. */
static size_t text_end(const struct eye_jinja *t, size_t from, size_t to) {
    size_t end = to, line = to, len;
    char sign = to + 2 < t->n ? t->src[to + 2] : 0;
    if (to == t->n || sign == '+') return to;
    if (sign == '-') {
        while ((len = eye_jinja_space_before(t->src + from, end - from))) end -= len;
        return end;
    }
    if (t->src[to + 1] == '{') return to; /* lstrip_blocks leaves what is printed alone */
    while (line > from && t->src[line - 1] != '\n') line--;
    if (line == from && from > 0 && t->src[from - 1] != '\n') return to;
    for (end = line; end < to; end += len)
        if (!(len = eye_jinja_space(t->src + end, to - end))) return to;
    return line;
}

/* After a tag's closing mark: which white space goes with it. */
static size_t after_tag(const struct eye_jinja *t, size_t at, char sign, bool trim) {
    if (sign == '-') return skip_space(t, at);
    return trim && sign != '+' && at < t->n && t->src[at] == '\n' ? at + 1 : at;
}

static enum eye_status skip_comment(struct eye_jlexer *lx, struct eye_err *err) {
    const struct eye_jinja *t = lx->t;
    size_t from = lx->at + 2;
    if (from < t->n && (t->src[from] == '-' || t->src[from] == '+')) from++;
    const char *end = memmem(t->src + from, t->n - from, "#}", 2);
    if (!end) return eye_jinja_fail(t, lx->at, err, EYE_E_CORRUPT, "the comment is not closed, expected #}");
    char sign = end > t->src + from ? end[-1] : 0;
    lx->at = after_tag(t, (size_t)(end - t->src) + 2, sign, true);
    return EYE_OK;
}

/* Text, the beginning of a tag, or the end. */
static enum eye_status next_outside(struct eye_jlexer *lx, struct eye_jtoken *out, struct eye_err *err) {
    const struct eye_jinja *t = lx->t;
    for (;;) {
        size_t from = lx->at, to = from;
        if (begins_tag(t->src + from, t->n - from)) {
            char kind = t->src[from + 1], sign = from + 2 < t->n ? t->src[from + 2] : 0;
            if (kind == '#') {
                EYE_TRY(skip_comment(lx, err));
                continue;
            }
            lx->at += sign == '-' || sign == '+' ? 3 : 2;
            lx->end = kind == '{' ? '}' : '%';
            lx->nesting = 0;
            *out = (struct eye_jtoken){.kind = kind == '{' ? EYE_JT_PRINT : EYE_JT_BLOCK, .at = from, .n = 2};
            return EYE_OK;
        }
        while (to < t->n && !begins_tag(t->src + to, t->n - to)) to++;
        lx->at = to;
        size_t end = text_end(t, from, to);
        if (end > from) {
            *out = (struct eye_jtoken){.kind = EYE_JT_TEXT, .at = from, .n = to - from, .p = t->src + from, .len = end - from};
            return EYE_OK;
        }
        if (to == t->n) {
            *out = (struct eye_jtoken){.kind = EYE_JT_END, .at = t->n};
            return EYE_OK;
        }
    }
}

/* ---- inside tags ---- */

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* \xhh, \uhhhh, \Uhhhhhhhh and octal: the number's digits at p; *n_read of them. */
static uint32_t escape_number(const char *p, size_t n, int base, size_t most, size_t *n_read) {
    uint32_t v = 0;
    *n_read = 0;
    while (*n_read < most && *n_read < n && digit_of(p[*n_read]) < base)
        v = v * (uint32_t)base + (uint32_t)digit_of(p[(*n_read)++]);
    return v;
}

/* One escape after its backslash, as Python's unicode-escape reads it; *len = its bytes. False: not one of them. */
static bool unescape(const char *p, size_t n, char *out, size_t *n_out, size_t *len) {
    static const char plain[] = "n\nt\tr\ra\ab\bf\fv\v\\\\''\"\"";
    size_t digits = p[0] == 'x' ? 2 : p[0] == 'u' ? 4 : p[0] == 'U' ? 8 : 0, n_read;
    *len = 1;
    *n_out = 0;
    if (p[0] == '\n') return true; /* a line that goes on */
    for (size_t i = 0; i + 1 < sizeof plain - 1; i += 2)
        if (p[0] == plain[i]) {
            out[(*n_out)++] = plain[i + 1];
            return true;
        }
    uint32_t cp = digits ? escape_number(p + 1, n - 1, 16, digits, &n_read) : escape_number(p, n, 8, 3, &n_read);
    if (p[0] == 'N' || (digits && n_read != digits)) return false;
    if (!digits && n_read == 0) { /* unknown: the backslash stays */
        out[(*n_out)++] = '\\';
        *len = 0;
        return true;
    }
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) return false;
    *n_out = eye_utf8_put(cp, (uint8_t *)out);
    *len = n_read + (digits ? 1 : 0);
    return true;
}

static enum eye_status string_token(struct eye_jlexer *lx, struct eye_jtoken *out, struct eye_err *err) {
    struct eye_jinja *t = lx->t;
    size_t from = lx->at, to = from + 1, n = 0;
    while (to < t->n && t->src[to] != t->src[from]) to += t->src[to] == '\\' ? 2 : 1;
    if (to >= t->n) return eye_jinja_fail(t, from, err, EYE_E_CORRUPT, "the string is not closed, expected %c", t->src[from]);
    char *text = eye_arena_alloc(&t->arena, 2 * (to - from)); /* no escape grows: at most "\" + 2 for an unknown one */
    if (!text) return eye_fail_nomem(err, to - from);
    for (size_t i = from + 1; i < to;) {
        size_t n_out = 1, len = 1;
        if (t->src[i] != '\\')
            text[n] = t->src[i++];
        else if (unescape(t->src + i + 1, to - i - 1, text + n, &n_out, &len))
            i += 1 + len;
        else
            return eye_jinja_fail(t, i, err, EYE_E_CORRUPT,
                                  "no such escape in a string, expected \\n, \\t, \\\\, \\', \\xhh, \\uhhhh");
        n += n_out;
    }
    *out = (struct eye_jtoken){.kind = EYE_JT_STRING, .at = from, .n = to + 1 - from, .p = text, .len = n};
    lx->at = to + 1;
    return EYE_OK;
}

static bool is_digit(const struct eye_jinja *t, size_t at) { return at < t->n && t->src[at] >= '0' && t->src[at] <= '9'; }

static enum eye_status number_token(struct eye_jlexer *lx, struct eye_jtoken *out, struct eye_err *err) {
    const struct eye_jinja *t = lx->t;
    size_t from = lx->at, to = from;
    char text[40];
    bool real = false;
    while (is_digit(t, to)) to++;
    if (to < t->n && t->src[to] == '.' && is_digit(t, to + 1)) {
        real = true;
        for (to++; is_digit(t, to);) to++;
    }
    if (to < t->n && (t->src[to] == 'e' || t->src[to] == 'E')) {
        size_t sign = to + 1 < t->n && (t->src[to + 1] == '-' || t->src[to + 1] == '+');
        if (is_digit(t, to + 1 + sign))
            for (real = true, to += 1 + sign; is_digit(t, to);) to++;
    }
    *out = (struct eye_jtoken){.kind = real ? EYE_JT_FLOAT : EYE_JT_INT, .at = from, .n = to - from};
    if (to - from >= sizeof text || (!real && to - from > 18))
        return eye_jinja_fail(t, from, err, EYE_E_LIMIT, "the number has too many digits");
    memcpy(text, t->src + from, to - from);
    text[to - from] = '\0';
    if (real)
        out->f = strtod(text, NULL);
    else
        out->i = strtoll(text, NULL, 10);
    lx->at = to;
    return EYE_OK;
}

static bool name_char(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

/* The tag's closing mark, with its sign: true and *out, if it stands here. */
static bool tag_end(struct eye_jlexer *lx, struct eye_jtoken *out) {
    const struct eye_jinja *t = lx->t;
    const char *p = t->src + lx->at;
    size_t n = t->n - lx->at;
    char sign = n > 2 && (p[0] == '-' || (p[0] == '+' && lx->end == '%')) ? p[0] : 0;
    size_t skip = sign ? 1 : 0;
    if (lx->nesting > 0 || n < skip + 2 || p[skip] != lx->end || p[skip + 1] != '}') return false;
    *out = (struct eye_jtoken){.kind = lx->end == '%' ? EYE_JT_BLOCK_END : EYE_JT_PRINT_END, .at = lx->at, .n = skip + 2};
    lx->at = after_tag(t, lx->at + skip + 2, sign, lx->end == '%');
    lx->end = 0;
    return true;
}

static enum eye_status op_token(struct eye_jlexer *lx, struct eye_jtoken *out, struct eye_err *err) {
    static const char two[] = "//**==!=>=<=", one[] = "+-/*%~[](){}><=.:|,";
    const struct eye_jinja *t = lx->t;
    const char *p = t->src + lx->at;
    size_t n = t->n - lx->at;
    *out = (struct eye_jtoken){.kind = EYE_JT_OP, .at = lx->at, .n = 1, .op = p[0]};
    for (size_t i = 0; n > 1 && i < sizeof two - 1; i += 2)
        if (p[0] == two[i] && p[1] == two[i + 1]) {
            out->op = EYE_J2(p[0], p[1]);
            out->n = 2;
        }
    if (out->n == 1 && (p[0] == '\0' || !strchr(one, p[0])))
        return eye_jinja_fail(t, lx->at, err, EYE_E_CORRUPT, "got byte 0x%02x, expected an expression or the tag's end",
                              (uint8_t)p[0]);
    if (out->n == 1 && strchr("([{", p[0])) lx->nesting++;
    if (out->n == 1 && strchr(")]}", p[0])) lx->nesting--;
    lx->at += out->n;
    return EYE_OK;
}

enum eye_status eye_jinja_next(struct eye_jlexer *lx, struct eye_jtoken *out, struct eye_err *err) {
    const struct eye_jinja *t = lx->t;
    if (!lx->end) return next_outside(lx, out, err);
    lx->at = skip_space(t, lx->at);
    if (lx->at >= t->n)
        return eye_jinja_fail(t, t->n, err, EYE_E_CORRUPT, "the template ends inside a tag, expected %c}", lx->end);
    if (tag_end(lx, out)) return EYE_OK;
    char c = t->src[lx->at];
    if (c == '\'' || c == '"') return string_token(lx, out, err);
    if (c >= '0' && c <= '9') return number_token(lx, out, err);
    if (!name_char(c, true)) return op_token(lx, out, err);
    size_t to = lx->at;
    while (to < t->n && name_char(t->src[to], false)) to++;
    *out = (struct eye_jtoken){.kind = EYE_JT_NAME, .at = lx->at, .n = to - lx->at, .p = t->src + lx->at, .len = to - lx->at};
    lx->at = to;
    return EYE_OK;
}
