/* jinja, values to text: what str() and json.dumps(ensure_ascii=False) write. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_impl.h"

/* Bytes with their origins, then a string of the arena. */
struct writer {
    struct eye_jrun *r;
    const struct eye_jnode *n;
    struct eye_buf text, origin;
    int indent;
};

static void put(struct writer *w, const char *p, size_t n, uint8_t origin) {
    eye_buf_add(&w->text, p, n);
    for (size_t i = 0; i < n; i++) eye_buf_add(&w->origin, &origin, 1);
}

static void puts_plain(struct writer *w, const char *s) { put(w, s, strlen(s), EYE_ORIGIN_TEMPLATE); }

/* The shortest decimal form that reads back as v, as repr() has it. */
static void real_text(double v, char out[40]) {
    int digits = 1;
    if (!isfinite(v)) {
        strcpy(out, isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    do snprintf(out, 40, "%.*e", digits - 1, v);
    while (digits++ < 17 && strtod(out, NULL) != v);
    int exponent = atoi(strchr(out, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        snprintf(out, 40, "%.*g", digits - 1, v);
        return;
    }
    snprintf(out, 40, "%.*f", EYE_MAX(digits - 2 - exponent, 1), v);
}

enum eye_status eye_jtext(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v, struct eye_jstr *out) {
    char text[40] = "";
    if (v.kind == EYE_J_STRING) {
        *out = v.s;
        return EYE_OK;
    }
    if (v.kind >= EYE_J_LIST)
        return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "%s cannot be written as text, only with the filter tojson",
                             eye_jkind_name(v.kind));
    if (v.kind == EYE_J_NONE) strcpy(text, "None");
    if (v.kind == EYE_J_BOOL) strcpy(text, v.b ? "True" : "False");
    if (v.kind == EYE_J_INT) snprintf(text, sizeof text, "%" PRId64, v.i);
    if (v.kind == EYE_J_FLOAT) real_text(v.f, text);
    struct eye_jstr part = eye_jliteral(text);
    return eye_jconcat(r, n, &part, 1, out);
}

static void json_string(struct writer *w, struct eye_jstr s) {
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    char escape[8];
    puts_plain(w, "\"");
    for (size_t i = 0; i < s.n; i++) {
        const char *known = s.p[i] ? strchr(from, s.p[i]) : NULL;
        uint8_t origin = s.origin ? s.origin[i] : EYE_ORIGIN_TEMPLATE;
        if (known) {
            escape[0] = '\\';
            escape[1] = to[known - from];
            put(w, escape, 2, origin);
        } else if ((uint8_t)s.p[i] < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", (uint8_t)s.p[i]);
            put(w, escape, 6, origin);
        } else {
            put(w, s.p + i, 1, origin);
        }
    }
    puts_plain(w, "\"");
}

static void new_line(struct writer *w, int depth) {
    if (w->indent < 0) return;
    puts_plain(w, "\n");
    for (int i = 0; i < depth * w->indent; i++) puts_plain(w, " ");
}

static enum eye_status json(struct writer *w, struct eye_jvalue v, int depth) {
    struct eye_jstr text;
    EYE_TRY(eye_jrun_tick(w->r, w->n, v.kind == EYE_J_STRING ? v.s.n : 0));
    if (depth > EYE_JINJA_MAX_DEPTH)
        return eye_jrun_fail(w->r, w->n, EYE_E_LIMIT, "tojson: nested deeper than %d", EYE_JINJA_MAX_DEPTH);
    if (w->text.len > EYE_JINJA_MAX_MEMORY / 4) return eye_jrun_fail(w->r, w->n, EYE_E_LIMIT, "tojson: the text is too long");
    if (v.kind == EYE_J_NONE || v.kind == EYE_J_BOOL) {
        puts_plain(w, v.kind == EYE_J_NONE ? "null" : v.b ? "true" : "false");
    } else if (v.kind == EYE_J_INT || v.kind == EYE_J_FLOAT) {
        EYE_TRY(eye_jtext(w->r, w->n, v, &text));
        put(w, text.p, text.n, EYE_ORIGIN_TEMPLATE);
    } else if (v.kind == EYE_J_STRING) {
        json_string(w, v.s);
    } else if (v.kind == EYE_J_LIST || v.kind == EYE_J_DICT) {
        bool list = v.kind == EYE_J_LIST;
        size_t len = list ? v.list->n : v.dict->n;
        puts_plain(w, list ? "[" : "{");
        for (size_t i = 0; i < len; i++) {
            if (i) puts_plain(w, w->indent < 0 ? ", " : ",");
            new_line(w, depth + 1);
            if (!list) {
                json_string(w, v.dict->pair[i].key);
                puts_plain(w, ": ");
            }
            EYE_TRY(json(w, list ? v.list->item[i] : v.dict->pair[i].value, depth + 1));
        }
        if (len) new_line(w, depth);
        puts_plain(w, list ? "]" : "}");
    } else {
        return eye_jrun_fail(w->r, w->n, EYE_E_ARG, "tojson of %s", eye_jkind_name(v.kind));
    }
    return EYE_OK;
}

enum eye_status eye_jjson(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v, int indent,
                          struct eye_jstr *out) {
    struct writer w = {.r = r, .n = n, .indent = indent};
    eye_buf_init(&w.text, r->arena.alloc);
    eye_buf_init(&w.origin, r->arena.alloc);
    enum eye_status st = json(&w, v, 0);
    if (st == EYE_OK && (w.text.failed || w.origin.failed)) st = eye_fail_nomem(r->err, w.text.len);
    struct eye_jstr part = {w.text.p, (const uint8_t *)w.origin.p, w.text.len};
    if (st == EYE_OK) st = eye_jconcat(r, n, &part, 1, out);
    eye_buf_clear(&w.text);
    eye_buf_clear(&w.origin);
    return st;
}
