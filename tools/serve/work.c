/* work: see work.h. */
#include "work.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "buf.h"

struct work {
    pthread_t thread;
    struct work_keep keep;
    pthread_mutex_t lock;    /* over batch: calls of other threads, and its end. Never held while callbacks are called */
    struct eye_batch *batch; /* NULL = stopped */
};

static void *run(void *batch) {
    eye_batch_run(batch, false);
    return NULL;
}

static void load(const struct work *w) {
    struct eye_err err = {0};
    if (!w->keep.path || access(w->keep.path, F_OK) != 0 || eye_batch_load(w->batch, w->keep.path, &err) == EYE_OK) return;
    if (w->keep.log) w->keep.log(w->keep.log_ctx, EYE_LOG_WARNING, "serve.cache-unreadable", err.text);
}

static void save(const struct work *w, struct eye_batch *batch) {
    struct eye_err err = {0};
    enum eye_status st = w->keep.path ? eye_batch_save(batch, w->keep.path, &err) : EYE_OK;
    if (st == EYE_OK || st == EYE_E_ARG) return; /* nothing in them: what was written before stays */
    if (w->keep.log) w->keep.log(w->keep.log_ctx, EYE_LOG_WARNING, "serve.cache-unwritable", err.text);
}

enum eye_status work_new(struct work **out, struct eye_model *model, const struct eye_batch_opts *o,
                         const struct work_keep *keep, struct eye_err *err) {
    struct work *w = calloc(1, sizeof *w);
    if (!w) return serve_fail(err, EYE_E_NOMEM, "out of memory");
    w->keep = *keep;
    enum eye_status st = eye_batch_new(model, o, &w->batch, err);
    if (st == EYE_OK) load(w);
    if (st == EYE_OK && pthread_create(&w->thread, NULL, run, w->batch) != 0) {
        eye_batch_free(w->batch);
        st = serve_fail(err, EYE_E_NOMEM, "no thread to generate on");
    }
    if (st != EYE_OK) {
        free(w);
        return st;
    }
    pthread_mutex_init(&w->lock, NULL);
    *out = w;
    return EYE_OK;
}

void work_stop(struct work *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    struct eye_batch *batch = w->batch;
    w->batch = NULL;
    pthread_mutex_unlock(&w->lock);
    if (!batch) return;
    eye_batch_stop(batch);
    pthread_join(w->thread, NULL);
    save(w, batch);
    eye_batch_free(batch); /* tells what is left that it is cancelled */
}

void work_free(struct work *w) {
    if (!w) return;
    pthread_mutex_destroy(&w->lock);
    free(w);
}

enum eye_status work_submit(struct work *w, const struct eye_batch_request *r, uint64_t *id, struct eye_err *err) {
    return eye_batch_submit(w->batch, r, id, err); /* those who submit have ended when work_stop is called */
}

void work_cancel(struct work *w, uint64_t id) {
    pthread_mutex_lock(&w->lock);
    if (w->batch) eye_batch_cancel(w->batch, id);
    pthread_mutex_unlock(&w->lock);
}

void work_stats(struct work *w, struct eye_batch_stats *out) {
    *out = (struct eye_batch_stats){0};
    pthread_mutex_lock(&w->lock);
    if (w->batch) eye_batch_get_stats(w->batch, out);
    pthread_mutex_unlock(&w->lock);
}
