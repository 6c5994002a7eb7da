/* train/json_items: see json_items.h. Entries are found by counting brackets outside of strings. */
#include "train/json_items.h"

#include <stdio.h>
#include <string.h>

#include "text/unicode.h"

static void skip_blanks(struct eye_json_items *it) {
    while (it->pos < it->n && memchr(" \n\r\t", it->p[it->pos], 4)) it->pos++;
}

static char peek(const struct eye_json_items *it) { return it->pos < it->n ? it->p[it->pos] : '\0'; }

static enum eye_status fail(const struct eye_json_items *it, const char *expected, struct eye_err *err) {
    if (it->pos >= it->n)
        return eye_fail(err, EYE_E_CORRUPT, "%s: byte %zu: expected %s, got the end (cut off?)", it->where, it->pos, expected);
    char got[8];
    snprintf(got, sizeof got, (uint8_t)peek(it) > ' ' && (uint8_t)peek(it) < 0x7f ? "%c" : "\\x%02x", (uint8_t)peek(it));
    return eye_fail(err, EYE_E_CORRUPT, "%s: byte %zu: expected %s, got \"%s\"", it->where, it->pos, expected, got);
}

/* Past the string that begins here. */
static enum eye_status skip_string(struct eye_json_items *it, struct eye_err *err) {
    for (it->pos++; it->pos < it->n; it->pos++) {
        if (it->p[it->pos] == '\\')
            it->pos++;
        else if (it->p[it->pos] == '"')
            return it->pos++, EYE_OK;
    }
    it->pos = it->n;
    return fail(it, "the end of a string", err);
}

/* Past the value that begins here, whatever it is. */
static enum eye_status skip_value(struct eye_json_items *it, struct eye_err *err) {
    size_t depth = 0;
    do {
        char c = peek(it);
        if (c == '"') {
            EYE_TRY(skip_string(it, err));
        } else if (c == '{' || c == '[') {
            depth++;
            it->pos++;
        } else if (c == '}' || c == ']') {
            if (!depth) return fail(it, "a value", err);
            depth--;
            it->pos++;
        } else if (it->pos >= it->n) {
            return fail(it, "the end of a value", err);
        } else if (depth) {
            it->pos++; /* blanks, commas, colons, numbers, words: the parser of the entry judges them */
        } else {
            size_t from = it->pos;
            while (it->pos < it->n && !strchr(",]} \n\r\t", it->p[it->pos])) it->pos++;
            if (it->pos == from) return fail(it, "a value", err);
        }
    } while (depth);
    return EYE_OK;
}

enum eye_status eye_json_items_find(struct eye_json_items *it, const void *p, size_t n, const char *key, const char *where,
                                    bool *found, struct eye_err *err) {
    *it = (struct eye_json_items){.p = p, .n = n, .where = where, .key = key ? key : ""};
    *found = false;
    skip_blanks(it);
    if (!key) {
        if (peek(it) != '[') return EYE_OK;
        it->pos++;
        *found = true;
        return EYE_OK;
    }
    if (peek(it) != '{') return EYE_OK;
    size_t len = strlen(key);
    do {
        it->pos++; /* the brace, or a comma */
        skip_blanks(it);
        if (peek(it) == '}') return EYE_OK;
        if (peek(it) != '"') return fail(it, "a key", err);
        size_t from = it->pos + 1;
        EYE_TRY(skip_string(it, err));
        bool here = it->pos - 1 - from == len && memcmp(it->p + from, key, len) == 0;
        skip_blanks(it);
        if (peek(it) != ':') return fail(it, "\":\"", err);
        it->pos++;
        skip_blanks(it);
        if (here && peek(it) == '[') {
            it->pos++;
            *found = true;
            return EYE_OK;
        }
        EYE_TRY(skip_value(it, err));
        skip_blanks(it);
    } while (peek(it) == ',');
    return peek(it) == '}' ? EYE_OK : fail(it, "\",\" or \"}\"", err);
}

enum eye_status eye_json_items_next(struct eye_json_items *it, struct eye_json *json, bool *more, struct eye_err *err) {
    skip_blanks(it);
    *more = false;
    if (peek(it) == ']') return EYE_OK;
    if (it->i) {
        if (peek(it) != ',') return fail(it, "\",\" or \"]\"", err);
        it->pos++;
        skip_blanks(it);
    }
    size_t from = it->pos;
    EYE_TRY(skip_value(it, err));
    snprintf(it->item, sizeof it->item, "%.400s: %s[%zu]", it->where, it->key, it->i++);
    size_t n = it->pos - from;
    struct eye_buf fixed;
    eye_buf_init(&fixed, NULL);
    bool bad = n <= EYE_JSON_ITEM_MAX_BYTES && eye_utf8_valid((const uint8_t *)it->p + from, n) < n;
    if (bad) eye_utf8_lossy((const uint8_t *)it->p + from, n, &fixed); /* one bad byte does not cost the list */
    enum eye_status st = fixed.failed ? eye_fail_nomem(err, n)
                                      : eye_json_parse(json, bad ? fixed.p : it->p + from, bad ? fixed.len : n,
                                                       EYE_JSON_ITEM_MAX_BYTES, it->item, err);
    eye_buf_clear(&fixed);
    *more = st == EYE_OK;
    return st;
}
