/* format/json: jansson behind size, depth and number guards. Knows no particular file. */
#include "format/json.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- before jansson: one pass over the bytes ---- */

struct token {
    enum { TOKEN_OTHER, TOKEN_STRING, TOKEN_INTEGER, TOKEN_REAL } kind;
    size_t end;
};

/* The token that starts at i, roughly: enough to stay in step with the real lexer on valid text. On invalid text it may
 * differ, and then jansson refuses the text anyway. */
static struct token token_at(const char *p, size_t n, size_t i) {
    struct token t = {TOKEN_OTHER, i + 1};
    if (p[i] == '"') {
        t.kind = TOKEN_STRING;
        while (t.end < n && p[t.end] != '"') t.end += p[t.end] == '\\' ? 2 : 1;
        t.end = t.end < n ? t.end + 1 : n;
    } else if (p[i] == '-' || (p[i] >= '0' && p[i] <= '9')) {
        t.kind = TOKEN_INTEGER;
        for (; t.end < n && (memchr("+-.eE", p[t.end], 5) || (p[t.end] >= '0' && p[t.end] <= '9')); t.end++)
            if (p[t.end] < '0' || p[t.end] > '9') t.kind = TOKEN_REAL;
    }
    return t;
}

/* jansson recurses once per level, to 2048; we stop far below what any thread's stack takes. True also finds integers that
 * may not fit int64 (*big). */
static bool scan_text(const char *p, size_t n, bool *big) {
    int depth = 0;
    *big = false;
    for (size_t i = 0; i < n;) {
        struct token t = token_at(p, n, i);
        if (t.kind == TOKEN_INTEGER && t.end - i >= 19) *big = true;
        if (p[i] == '[' || p[i] == '{') depth++;
        if (p[i] == ']' || p[i] == '}') depth--;
        if (depth > EYE_JSON_MAX_DEPTH) return false;
        i = t.end;
    }
    return true;
}

/* Rewrites every integer beyond int64, which jansson refuses, as a real of the same length: its first 17 digits, an exponent,
 * blanks. Positions in error texts stay right. p is NUL-terminated. */
static void soften_big_ints(char *p, size_t n) {
    for (size_t i = 0; i < n;) {
        struct token t = token_at(p, n, i);
        size_t sign = p[i] == '-', digits = t.end - i - sign;
        errno = 0;
        /* A leading zero is a syntax error and must stay one. */
        if (t.kind == TOKEN_INTEGER && digits >= 19 && p[i + sign] != '0' && (strtoll(p + i, NULL, 10), errno == ERANGE)) {
            char exp[24];
            int m = snprintf(exp, sizeof exp, "e%zu", digits - 17);
            memset(p + i + sign + 17, ' ', digits - 17);
            memcpy(p + i + sign + 17, exp, (size_t)m);
        }
        i = t.end;
    }
}

/* ---- parse ---- */

static enum eye_status parse_failed(const json_error_t *e, const char *where, size_t n, struct eye_err *err) {
    /* Some of jansson's out-of-memory paths leave no text. */
    if (json_error_code(e) == json_error_out_of_memory || e->text[0] == '\0')
        return eye_fail(err, EYE_E_NOMEM, "%s: out of memory while reading %zu bytes of JSON", where, n);
    return eye_fail(err, EYE_E_CORRUPT, "%s: line %d column %d: %s", where, e->line, e->column, e->text);
}

enum eye_status eye_json_parse(struct eye_json *j, const void *text, size_t n, size_t max_bytes, const char *where,
                               struct eye_err *err) {
    const char *p = text;
    char *copy = NULL;
    bool big;
    json_error_t e = {0};
    if (n > max_bytes) return eye_fail(err, EYE_E_LIMIT, "%s: %zu bytes of JSON; at most %zu are taken", where, n, max_bytes);
    if (n == 0) return eye_fail(err, EYE_E_CORRUPT, "%s: expected JSON, got nothing (0 bytes)", where);
    if (!scan_text(p, n, &big))
        return eye_fail(err, EYE_E_CORRUPT, "%s: JSON nested deeper than %d levels", where, EYE_JSON_MAX_DEPTH);
    if (big) {
        copy = eye_alloc_raw(NULL, n + 1);
        if (!copy) return eye_fail_nomem(err, n + 1);
        memcpy(copy, p, n);
        copy[n] = '\0';
        soften_big_ints(copy, n);
        p = copy;
    }
    json_t *root = json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);
    eye_alloc_free(NULL, copy, n + 1);
    if (!root) return parse_failed(&e, where, n, err);
    *j = (struct eye_json){root, where};
    return EYE_OK;
}

void eye_json_clear(struct eye_json *j) {
    json_decref(j->root);
    j->root = NULL;
}

struct eye_json_at eye_json_root(const struct eye_json *j) { return (struct eye_json_at){.v = j->root, .where = j->where}; }

/* ---- errors ---- */

/* "a.b[3].c" of a place, then ".key". Long paths lose their beginning, which says least. */
static void path_text(const struct eye_json_at *at, const char *key, char *out, size_t cap) {
    size_t pos = cap - 1;
    out[pos] = '\0';
    for (const char *name = key; at; name = at->key, at = at->parent) {
        char part[128];
        bool is_root = !at->parent;
        int m = name ? snprintf(part, sizeof part, "%s%s", is_root ? "" : ".", name) : 0;
        size_t len = EYE_MIN((size_t)EYE_MAX(m, 0), sizeof part - 1);
        if (len > pos) break;
        pos -= len;
        memcpy(out + pos, part, len);
        if (!at->key && at->parent) { /* an item of an array: its index stands before what lies under it */
            m = snprintf(part, sizeof part, "[%zu]", at->index);
            if ((size_t)m > pos) break;
            pos -= (size_t)m;
            memcpy(out + pos, part, (size_t)m);
        }
    }
    memmove(out, out + pos, cap - pos);
}

enum eye_status eye_json_fail(const struct eye_json_at *at, const char *key, const char *what, struct eye_err *err) {
    char path[256];
    path_text(at, key, path, sizeof path);
    return eye_fail(err, EYE_E_CORRUPT, "%s: %s: %s", at->where, path[0] ? path : "(top level)", what);
}

static const char *type_name(const json_t *v) {
    if (!v) return "nothing";
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    }
    return "?";
}

static enum eye_status wrong_type(const struct eye_json_at *at, const char *key, const char *expected, const json_t *got,
                                  struct eye_err *err) {
    char what[96];
    snprintf(what, sizeof what, "expected %s, got %s", expected, type_name(got));
    return eye_json_fail(at, key, what, err);
}

/* ---- reads ---- */

/* *v = the member, or `at` itself for key NULL; NULL when absent or null. */
static enum eye_status member(const struct eye_json_at *at, const char *key, json_t **v, struct eye_err *err) {
    json_t *m = at->v;
    *v = NULL;
    if (m && key) {
        if (!json_is_object(m)) return wrong_type(at, NULL, "an object", m, err);
        m = json_object_get(m, key);
    }
    if (m && !json_is_null(m)) *v = m;
    return EYE_OK;
}

static enum eye_status container(const struct eye_json_at *at, const char *key, bool object, struct eye_json_at *child,
                                 struct eye_err *err) {
    json_t *v;
    EYE_TRY(member(at, key, &v, err));
    if (v && !(object ? json_is_object(v) : json_is_array(v)))
        return wrong_type(at, key, object ? "an object" : "an array", v, err);
    if (key)
        *child = (struct eye_json_at){.v = v, .where = at->where, .parent = at, .key = key};
    else
        *child = *at;
    return EYE_OK;
}

enum eye_status eye_json_object(const struct eye_json_at *at, const char *key, struct eye_json_at *child, struct eye_err *err) {
    return container(at, key, true, child, err);
}

enum eye_status eye_json_array(const struct eye_json_at *at, const char *key, struct eye_json_at *child, struct eye_err *err) {
    return container(at, key, false, child, err);
}

bool eye_json_has(const struct eye_json_at *at, const char *key) {
    const json_t *v = json_object_get(at->v, key); /* NULL for anything but an object */
    return v && !json_is_null(v);
}

size_t eye_json_len(const struct eye_json_at *array) { return json_array_size(array->v); }

struct eye_json_at eye_json_item(const struct eye_json_at *array, size_t i) {
    return (struct eye_json_at){.v = json_array_get(array->v, i), .where = array->where, .parent = array, .index = i};
}

/* found = false: absent, *out untouched. */
static enum eye_status read_int(const struct eye_json_at *at, const char *key, int64_t *out, bool *found, struct eye_err *err) {
    json_t *v;
    EYE_TRY(member(at, key, &v, err));
    *found = v != NULL;
    if (!v) return EYE_OK;
    double r = json_real_value(v); /* 0 for other types */
    if (json_is_real(v) && fabs(r) < 0x1p53 && r == floor(r))
        *out = (int64_t)r;
    else if (json_is_integer(v))
        *out = json_integer_value(v);
    else
        return wrong_type(at, key, "an integer", v, err);
    return EYE_OK;
}

static enum eye_status check_range(const struct eye_json_at *at, const char *key, int64_t lo, int64_t hi, int64_t v,
                                   struct eye_err *err) {
    char what[128];
    if (v >= lo && v <= hi) return EYE_OK;
    snprintf(what, sizeof what, "expected %lld to %lld, got %lld", (long long)lo, (long long)hi, (long long)v);
    return eye_json_fail(at, key, what, err);
}

enum eye_status eye_json_int(const struct eye_json_at *at, const char *key, int64_t def, int64_t *out, struct eye_err *err) {
    return eye_json_int_in(at, key, INT64_MIN, INT64_MAX, def, out, err);
}

enum eye_status eye_json_int_in(const struct eye_json_at *at, const char *key, int64_t lo, int64_t hi, int64_t def,
                                int64_t *out,
                                struct eye_err *err) {
    int64_t v = def;
    bool found;
    EYE_TRY(read_int(at, key, &v, &found, err));
    if (found) EYE_TRY(check_range(at, key, lo, hi, v, err));
    *out = v;
    return EYE_OK;
}

enum eye_status eye_json_need_int(const struct eye_json_at *at, const char *key, int64_t lo, int64_t hi, int64_t *out,
                                  struct eye_err *err) {
    int64_t v = 0;
    bool found;
    EYE_TRY(read_int(at, key, &v, &found, err));
    if (!found) return wrong_type(at, key, "an integer", NULL, err);
    EYE_TRY(check_range(at, key, lo, hi, v, err));
    *out = v;
    return EYE_OK;
}

enum eye_status eye_json_double(const struct eye_json_at *at, const char *key, double def, double *out, struct eye_err *err) {
    json_t *v;
    EYE_TRY(member(at, key, &v, err));
    if (v && !json_is_number(v)) return wrong_type(at, key, "a number", v, err);
    *out = v ? json_number_value(v) : def;
    return EYE_OK;
}

enum eye_status eye_json_bool(const struct eye_json_at *at, const char *key, bool def, bool *out, struct eye_err *err) {
    json_t *v;
    EYE_TRY(member(at, key, &v, err));
    if (v && !json_is_boolean(v)) return wrong_type(at, key, "true or false", v, err);
    *out = v ? json_is_true(v) : def;
    return EYE_OK;
}

enum eye_status eye_json_str(const struct eye_json_at *at, const char *key, const char *def, const char **out, size_t *len,
                             struct eye_err *err) {
    json_t *v;
    EYE_TRY(member(at, key, &v, err));
    if (v && !json_is_string(v)) return wrong_type(at, key, "a string", v, err);
    const char *s = v ? json_string_value(v) : def;
    size_t n = v ? json_string_length(v) : def ? strlen(def) : 0;
    if (v && !len && strlen(s) != n) return eye_json_fail(at, key, "expected a string without \\u0000", err);
    if (len) *len = n;
    *out = s;
    return EYE_OK;
}

enum eye_status eye_json_need_str(const struct eye_json_at *at, const char *key, const char **out, size_t *len,
                                  struct eye_err *err) {
    json_t *v;
    EYE_TRY(member(at, key, &v, err));
    if (!v) return wrong_type(at, key, "a string", NULL, err);
    return eye_json_str(at, key, NULL, out, len, err);
}

enum eye_status eye_json_ints(const struct eye_json_at *at, const char *key, int64_t *out, size_t cap, size_t *n,
                              struct eye_err *err) {
    struct eye_json_at list;
    EYE_TRY(eye_json_array(at, key, &list, err));
    size_t len = eye_json_len(&list);
    if (len > cap) {
        char path[256];
        path_text(at, key, path, sizeof path);
        return eye_fail(err, EYE_E_LIMIT, "%s: %s: at most %zu integers are taken, got %zu", at->where, path, cap, len);
    }
    for (size_t i = 0; i < len; i++) {
        struct eye_json_at item = eye_json_item(&list, i);
        EYE_TRY(eye_json_need_int(&item, NULL, INT64_MIN, INT64_MAX, &out[i], err));
    }
    *n = len;
    return EYE_OK;
}

/* ---- writing ---- */

enum eye_status eye_json_text(const struct json_t *v, struct eye_arena *arena, struct eye_str *out, struct eye_err *err) {
    char *text = v ? json_dumps(v, JSON_COMPACT) : NULL;
    out->len = text ? strlen(text) : 0;
    out->p = text ? eye_arena_strdup(arena, text, out->len) : NULL;
    free(text);
    return out->p ? EYE_OK : eye_fail_nomem(err, out->len);
}

static int add_text(const char *p, size_t n, void *buf) {
    eye_buf_add(buf, p, n);
    return ((struct eye_buf *)buf)->failed ? -1 : 0;
}

enum eye_status eye_json_write(const struct json_t *v, int indent, struct eye_buf *out, struct eye_err *err) {
    size_t flags = indent ? JSON_INDENT((size_t)indent) : JSON_COMPACT;
    return json_dump_callback(v, add_text, out, flags) == 0 ? EYE_OK : eye_fail_nomem(err, out->cap);
}
