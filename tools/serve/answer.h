/* answer: what a generation gave, as OpenAI's JSON objects. One writer, used from the thread that generates; knows no
 * sockets. */
#ifndef EYELET_SERVE_ANSWER_H
#define EYELET_SERVE_ANSWER_H

#include "request.h"

struct serve_answer {
    const struct serve_request *request;
    const struct eye_model *model;
    const char *name;     /* of the model */
    char id[40];          /* "chatcmpl-…" */
    int64_t created;      /* seconds since 1970 */
    uint64_t queue_us;    /* from the request's arrival to its first work */
    json_t *logprobs;     /* list of what was asked for and not been sent yet: chat's objects, or [token, logprob, top] */
    size_t n_text;        /* bytes of text that completions' text_offset counts */
    bool begun;           /* the first chunk is out */
    size_t n_tokens;      /* so far */
};
void serve_answer_init(struct serve_answer *a, const struct serve_request *r, const struct eye_model *model, const char *name);
void serve_answer_clear(struct serve_answer *a);
/* A token's log probabilities, [1 + n_logprobs]; NULL = none. */
void serve_answer_token(struct serve_answer *a, int32_t token, const struct eye_logprob *lp);

/* These append to out; failed in it says that memory was short. */
/* An event of a stream with a piece of text. */
void serve_answer_piece(struct serve_answer *a, const char *text, size_t n, struct serve_buf *out);
/* The events that end a stream. */
void serve_answer_end(struct serve_answer *a, const struct eye_result *r, struct serve_buf *out);
/* The answer at once. */
void serve_answer_whole(struct serve_answer *a, const struct eye_result *r, struct serve_buf *out);

/* Text that ids stand for, malloc'd; NULL = no memory. */
char *serve_detokenize(const struct eye_model *m, const int32_t *ids, size_t n, size_t *n_text);

#endif
