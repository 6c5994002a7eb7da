/* Log: what happened in a run, one JSON object a line, in OUT/log.jsonl; each has "event" and "step". Steps: loss, lr, norm of
 * the gradients, rows/s, pictures/s. Evaluations: dev loss, perplexity with true and with shuffled images, sample captions.
 * A run that resumes cuts off what came after its checkpoint, so no step is there twice. */
#ifndef EYE_TRAIN_LOG_H
#define EYE_TRAIN_LOG_H

#include "base/base.h"

struct json_t;

struct eye_train_log {
    char *path;
    size_t path_bytes;
    const struct eye_alloc *alloc;
};
/* from_step: lines of later steps are removed; 0 = a new log. */
EYE_MUST_CHECK enum eye_status eye_log_open(struct eye_train_log *l, const char *dir, int64_t from_step,
                                            const struct eye_alloc *alloc, struct eye_err *err);
/* Appends event (released in any case; NULL = no memory) and flushes. Nothing happens to a log that is not open. */
EYE_MUST_CHECK enum eye_status eye_log_add(struct eye_train_log *l, struct json_t *event, struct eye_err *err);
void eye_log_close(struct eye_train_log *l);

#endif
