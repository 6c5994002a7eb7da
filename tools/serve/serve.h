/* serve: an HTTP server over one model: OpenAI's API, a few of llama-server's routes, metrics, and the page. What the verb
 * `eyelet serve` and the tests see of it; doc/SERVE.md is its contract with clients.
 *
 *   struct serve_opts o = {.host = "127.0.0.1", .name = "captioner"};
 *   if (serve_start(&s, &o, &err) != EYE_OK) goto fail;      listens; all but /health and the page is 503
 *   ... eye_model_open(), which may take long ...
 *   if (serve_use(s, model, &err) != EYE_OK) goto fail;      ready
 *   ... wait ...
 *   serve_stop(s);                                           cancels what runs, frees; the model is the caller's
 */
#ifndef EYELET_SERVE_H
#define EYELET_SERVE_H

#include <stdbool.h>

#include "eyelet/eyelet.h"

#define SERVE_MAX_STOP 16  /* stop strings of a request */
#define SERVE_MAX_KEYS 256
#define SERVE_MAX_NAME 256 /* bytes of a model's name */

/* Defaults of the options below, and what has no option: doc/SERVE.md lists them. */
#define SERVE_BODY_BYTES ((uint64_t)32 << 20)
#define SERVE_PIXELS ((uint64_t)32 << 20)
#define SERVE_IMAGES 16
#define SERVE_PARALLEL 8
#define SERVE_CACHE_BYTES ((uint64_t)128 << 20)
#define SERVE_QUEUE 256
#define SERVE_CONNECTIONS 512
#define SERVE_READ_S 30
#define SERVE_REQUEST_S 600
#define SERVE_PING_S 10

struct serve_opts { /* all-zero = defaults; texts are borrowed until serve_stop */
    const char *host;        /* address to listen at; NULL = "127.0.0.1" */
    int32_t port;            /* 0 = one that is free */
    const char *name;        /* the model's id; NULL = "model" */
    const char *const *keys; /* [n_keys] one of them is needed; none = open to all who reach the port */
    size_t n_keys;
    const char *tls_cert;    /* PEM, for https; NULL = http. tls.h makes one */
    const char *tls_key;
    const char *cors;        /* pages of this origin ("https://example.org", "*") may ask; NULL = only the server's own page */
    const char *const *allow_urls; /* [n_allow_urls] hosts that pictures may be fetched from: see fetch.h; none =
        only data: URIs */
    size_t n_allow_urls;
    struct eye_generate_opts sampling; /* what a request says nothing about */
    uint64_t max_body_bytes; /* of a request */
    uint64_t max_pixels;     /* of an image */
    int32_t max_images;      /* of a request */
    int32_t max_tokens;      /* of an answer; 0 = as the context allows */
    int32_t n_parallel;      /* answers made at once; open the model with about so many (times the beams of an answer) */
    uint64_t cache_bytes;    /* for images and beginnings of prompts seen before; a quarter of it for images: half of that for
                                what the model saw in them, half for files and their pixels */
    bool no_cache;
    const char *cache_file;  /* what is in the caches over a restart: read by serve_use, written by serve_stop; NULL = none */
    eye_log_fn *log;         /* about that file, from these two calls; NULL = silence */
    void *log_ctx;
    int32_t max_queue;       /* requests that wait or run; more are 429 */
    int32_t max_connections;
    int32_t read_s;          /* seconds a request may take to arrive, and an answer to be read */
    int32_t request_s;       /* seconds from its arrival to its last token */
    int32_t ping_s;          /* seconds of silence after which a stream gets a comment */
};

struct serve;

/* Listens. Returns EYE_OK; ARG (host, port, options); IO (the port is taken); NOMEM. */
EYE_MUST_CHECK enum eye_status serve_start(struct serve **s, const struct serve_opts *o, struct eye_err *err);
/* The address people type: "http://127.0.0.1:8080". */
const char *serve_url(const struct serve *s);
int serve_port(const struct serve *s);
/* From now on requests are answered. The model must outlive the server. Returns what eye_batch_new returns. */
EYE_MUST_CHECK enum eye_status serve_use(struct serve *s, struct eye_model *model, struct eye_err *err);
/* No new connections; waits at most grace_ms for what runs, cancels the rest, ends all threads, frees. NULL is fine. */
void serve_stop(struct serve *s, int32_t grace_ms);

#endif
