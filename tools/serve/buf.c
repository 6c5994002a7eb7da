/* buf: see buf.h. */
#include "buf.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void serve_buf_clear(struct serve_buf *b) {
    free(b->p);
    *b = (struct serve_buf){0};
}

/* Room for n more bytes and a NUL. */
static bool reserve(struct serve_buf *b, size_t n) {
    if (b->failed || n >= SIZE_MAX / 2 - b->n) {
        b->failed = true;
        return false;
    }
    if (b->n + n < b->cap) return true;
    size_t cap = b->cap ? b->cap : 256;
    while (cap <= b->n + n) cap *= 2;
    char *p = realloc(b->p, cap);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

void serve_buf_add(struct serve_buf *b, const void *p, size_t n) {
    if (!reserve(b, n)) return;
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void serve_buf_adds(struct serve_buf *b, const char *text) { serve_buf_add(b, text, strlen(text)); }

void serve_buf_printf(struct serve_buf *b, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text)
        b->failed = true; /* lines are short by construction */
    else
        serve_buf_add(b, text, (size_t)n);
}

/* ---- errors ---- */

static const char *type_of(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 503: return "unavailable_error";
    case 504: return "timeout_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

/* Text may quote what a client sent and be cut anywhere: what is no ASCII or control goes. */
static void clean(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e) *text = '?';
}

bool serve_refuse(struct serve_error *e, int status, const char *code, const char *param, const char *fmt, ...) {
    va_list ap;
    *e = (struct serve_error){.status = status, .type = type_of(status), .code = code};
    snprintf(e->param, sizeof e->param, "%s", param ? param : "");
    clean(e->param);
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    clean(e->text);
    return false;
}

char *serve_error_json(const struct serve_error *e) {
    json_t *o = json_pack("{s:{s:s, s:s, s:o, s:o}}", "error", "message", e->text, "type", e->type, "param",
                          e->param[0] ? json_string(e->param) : json_null(), "code", e->code ? json_string(e->code)
                          : json_null());
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

void serve_error_of(struct serve_error *e, enum eye_status st, const struct eye_err *err) {
    switch (st) {
    case EYE_E_LIMIT: serve_refuse(e, 400, "context_length_exceeded", NULL, "%s", err->text); return;
    case EYE_E_NOMEM: serve_refuse(e, 503, "out_of_memory", NULL, "%s", err->text); return;
    case EYE_E_ARG:
    case EYE_E_UNSUPPORTED: serve_refuse(e, 400, NULL, NULL, "%s", err->text); return;
    default: serve_refuse(e, 500, NULL, NULL, "%s", err->text); return;
    }
}

enum eye_status serve_fail(struct eye_err *err, enum eye_status st, const char *fmt, ...) {
    if (!err) return st;
    va_list ap;
    err->code = st;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return st;
}
