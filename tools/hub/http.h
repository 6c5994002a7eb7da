/* http: GET over libcurl. Redirects are followed here, one by one, so that a token never leaves the server it is meant for;
 * bodies, times and hops are bounded. Knows no hub. */
#ifndef EYELET_HUB_HTTP_H
#define EYELET_HUB_HTTP_H

#include "eyelet/eyelet.h"

struct http_answer {
    long status;              /* of the last hop */
    char etag[160];           /* X-Linked-ETag of any hop, else the first hop's ETag; without quotes and W/; "" = none */
    char message[256];        /* X-Error-Message, printable characters; "" = none */
    bool has_range;           /* Content-Range: bytes first-…/total */
    uint64_t range_first, range_total;
    uint32_t retry_after_s;   /* 0 = none given */
};
/* The answer's head, before its body; only for 200 and 206. */
typedef enum eye_status http_head_fn(void *ctx, const struct http_answer *a, struct eye_err *err);
typedef enum eye_status http_body_fn(void *ctx, const void *p, size_t n, struct eye_err *err);

struct http_request {
    const char *url;          /* http or https */
    const char *token;        /* Authorization: Bearer, for this url's scheme, host and port alone; NULL = none */
    uint64_t from;            /* > 0: Range: bytes=from- */
    uint64_t max_bytes;       /* of the body: LIMIT above it */
    http_head_fn *on_head;    /* may be NULL */
    http_body_fn *on_body;
    void *ctx;
    eye_cancel_fn *cancel;    /* asked about once a second; may be NULL */
    void *cancel_ctx;
};

struct http; /* keeps connections open; one call at a time */
/* NULL = no memory. The first in a process must be made while there is one thread. */
struct http *http_new(void);
void http_free(struct http *h); /* NULL is fine */
/* Returns EYE_OK with any status in *answer (bodies other than those of 200 and 206 are thrown away); IO (no connection, cut
 * off, silent for a minute: may be better next time); CORRUPT (redirects: too many, to another protocol, from https to http);
 * LIMIT; CANCELLED; ARG (no URL of http or https); what on_head and on_body return. */
EYE_MUST_CHECK enum eye_status http_get(struct http *h, const struct http_request *r, struct http_answer *answer,
                                        struct eye_err *err);

/* err's code and text; returns code. */
EYE_PRINTF(3, 4) enum eye_status http_fail(struct eye_err *err, enum eye_status code, const char *fmt, ...);

#endif
