/* work: requests to answers: the narrow place between HTTP and the library. */
#ifndef EYELET_SERVE_WORK_H
#define EYELET_SERVE_WORK_H

#include "eyelet/eyelet.h"

struct work;

/* A token was chosen; logprob [1 + n_logprobs] or NULL. Comes before the on_text that brings its text. */
typedef void work_token_fn(void *ctx, int32_t token, const struct eye_logprob *logprob);
/* Over: once for each request that was taken. result is never NULL and valid for the call. */
typedef void work_done_fn(void *ctx, const struct eye_result *result, enum eye_status status, const struct eye_err *err);

struct work_request {
    const struct eye_query *query;        /* borrowed until on_done, with all it points to */
    const struct eye_generate_opts *opts; /* the same; its on_text is called with its own context */
    work_token_fn *on_token;
    work_done_fn *on_done;
    void *ctx;                            /* of on_token and on_done */
};

/* The model must outlive it. max_queued: requests that wait; more are refused. Makes the thread that calls back. */
EYE_MUST_CHECK enum eye_status work_new(struct work **w, struct eye_model *model, int32_t max_queued, struct eye_err *err);
/* Ends all requests as CANCELLED, and the thread; no more may be submitted. NULL is fine. */
void work_stop(struct work *w);
void work_free(struct work *w); /* after work_stop; NULL is fine */
#define WORK_FULL UINT64_MAX
/* From any thread. *id: for work_cancel; WORK_FULL with LIMIT: too many wait. */
EYE_MUST_CHECK enum eye_status work_submit(struct work *w, const struct work_request *r, uint64_t *id, struct eye_err *err);
/* Ends it soon as CANCELLED. Any thread; nothing happens if it is over. */
void work_cancel(struct work *w, uint64_t id);
int32_t work_n_slots(const struct work *w);

#endif
