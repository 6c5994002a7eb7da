/* work: the thread that answers requests: many at once over one stream of the model's weights (eyelet/batch.h). */
#ifndef EYELET_SERVE_WORK_H
#define EYELET_SERVE_WORK_H

#include "eyelet/batch.h"

struct work;

/* A file that keeps the caches over a restart, and who hears what is wrong with it: no reason to fail. */
struct work_keep {
    const char *path; /* NULL = none; borrowed */
    eye_log_fn *log;  /* NULL = nobody */
    void *log_ctx;
};
/* The model must outlive it. Reads the file if it is there; makes the thread that calls back. */
EYE_MUST_CHECK enum eye_status work_new(struct work **w, struct eye_model *model, const struct eye_batch_opts *o,
                                        const struct work_keep *keep, struct eye_err *err);
/* Ends all requests as CANCELLED, and the thread; writes the file. No more may be submitted, the calls below do nothing. NULL
 * is
 * fine. */
void work_stop(struct work *w);
void work_free(struct work *w); /* after work_stop; NULL is fine */
/* As eye_batch_submit. From any thread. */
EYE_MUST_CHECK enum eye_status work_submit(struct work *w, const struct eye_batch_request *r, uint64_t *id,
                                           struct eye_err *err);
/* Ends it soon as CANCELLED; nothing happens if it is over. Any thread. */
void work_cancel(struct work *w, uint64_t id);
void work_stats(struct work *w, struct eye_batch_stats *out);

#endif
