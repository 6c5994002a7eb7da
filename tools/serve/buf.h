/* buf: bytes that grow, and errors as the server's rooms hand them on. */
#ifndef EYELET_SERVE_BUF_H
#define EYELET_SERVE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "eyelet/status.h"

struct serve_buf {
    char *p; /* [cap], malloc'd */
    size_t n, cap;
    bool failed; /* no memory: nothing more is added */
};
void serve_buf_clear(struct serve_buf *b);
void serve_buf_add(struct serve_buf *b, const void *p, size_t n);
void serve_buf_adds(struct serve_buf *b, const char *text);
__attribute__((format(printf, 2, 3))) void serve_buf_printf(struct serve_buf *b, const char *fmt, ...);

/* What a client is told: an HTTP status and the fields of OpenAI's error object. */
struct serve_error {
    int status;       /* 400 */
    const char *type; /* "invalid_request_error" */
    const char *code; /* "invalid_image"; NULL = null */
    char param[64];   /* "messages[2].content[1].image_url"; "" = null */
    char text[512];   /* valid UTF-8 */
};
/* Fills e; type follows from the status. Returns false, so that a reader can `return serve_refuse(...)`. */
__attribute__((format(printf, 5, 6))) bool serve_refuse(struct serve_error *e, int status, const char *code, const char *param,
                                                        const char *fmt, ...);
/* The object {"error": {...}} as text, malloc'd; NULL = no memory. */
char *serve_error_json(const struct serve_error *e);
/* eyelet's own failure as a client should see it. */
void serve_error_of(struct serve_error *e, enum eye_status st, const struct eye_err *err);
/* The same for a caller of the server; returns st. */
__attribute__((format(printf, 3, 4))) enum eye_status serve_fail(struct eye_err *err, enum eye_status st, const char *fmt, ...);

#endif
