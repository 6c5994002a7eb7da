/* work: see work.h. */
#include "work.h"

#include <pthread.h>
#include <stdlib.h>

#include "buf.h"

struct work {
    pthread_t thread;
    pthread_mutex_t lock;    /* over batch: calls of other threads, and its end. Never held while callbacks are called */
    struct eye_batch *batch; /* NULL = stopped */
};

static void *run(void *batch) {
    eye_batch_run(batch, false);
    return NULL;
}

enum eye_status work_new(struct work **out, struct eye_model *model, const struct eye_batch_opts *o, struct eye_err *err) {
    struct work *w = calloc(1, sizeof *w);
    if (!w) return serve_fail(err, EYE_E_NOMEM, "out of memory");
    enum eye_status st = eye_batch_new(model, o, &w->batch, err);
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
