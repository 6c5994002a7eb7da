/* request: what a client asks, from the bytes of its JSON. Knows no sockets and no model. Bytes are hostile: depth, number of
 * values, sizes and ranges are checked before anything is built on them; a field that is not known, or not done here, is
 * refused by name, never dropped. */
#ifndef EYELET_SERVE_REQUEST_H
#define EYELET_SERVE_REQUEST_H

#include <jansson.h>

#include "buf.h"
#include "picture.h"
#include "serve.h"

#define SERVE_JSON_DEPTH 32
#define SERVE_JSON_VALUES 100000 /* members and elements: each takes some 100 bytes once it is read */
#define SERVE_MAX_LOGPROBS 20

enum serve_kind { SERVE_CHAT = 1, SERVE_COMPLETION = 2, SERVE_NATIVE = 4 }; /* /v1/chat/completions, /v1/completions,
llama-server's own /completion */

struct serve_request {
    enum serve_kind kind;
    json_t *root;                       /* texts below lie in it */
    struct eye_message *message;        /* [n_messages] of a chat */
    size_t n_messages;
    const char *prompt;                 /* of a completion */
    char *marked;                       /* it, with eyelet's marks for images in place of llama-server's; NULL = as it stands */
    struct serve_pictures pictures;
    struct eye_generate_opts gen;       /* sampling, stop, n_predict, n_logprobs; nothing of callbacks */
    const char *stop[SERVE_MAX_STOP];
    bool stream, include_usage, return_tokens;
    bool logprobs;                      /* wanted, with n_top alternatives (gen.n_logprobs is at least 1 then) */
    int32_t n_top;
    enum { SERVE_TEXT, SERVE_JSON_OBJECT, SERVE_JSON_SCHEMA } format;
    json_t *schema;                     /* of the last; lies in root */
    struct eye_grammar *grammar;        /* gen.grammar, made by who has the model; freed with the request */
};

/* The bytes as JSON, an object, or a refusal. */
json_t *serve_json_parse(const char *body, size_t n, struct serve_error *e);
/* Reads a request; images are only noted (serve_pictures_decode), and may be read from body then. What it says nothing about
 * comes from o. False: *e says why, r is empty. Else serve_request_clear(). */
bool serve_request_parse(struct serve_request *r, enum serve_kind kind, const char *body, size_t n, const struct serve_opts *o,
                         struct serve_error *e);
void serve_request_clear(struct serve_request *r);
/* As the library wants it; r keeps all memory. */
struct eye_query serve_request_query(const struct serve_request *r);

#endif
