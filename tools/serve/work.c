/* work: see work.h. One session, one request after the other. */
#include "work.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "buf.h"

struct item {
    struct item *next;
    struct work_request r;
    uint64_t id;
};

struct work {
    struct eye_session *session;
    pthread_t thread;
    pthread_mutex_t lock; /* over all below */
    pthread_cond_t some;
    struct item *first, **last;
    int32_t n_queued, max_queued;
    uint64_t next_id;
    bool stop;
    _Atomic uint64_t now;          /* the id that runs; 0 = none */
    _Atomic bool cancelled;        /* of it */
    /* of the generation that runs, its thread's */
    struct eye_generate_opts opts; /* the request's, with on_text ours */
    struct eye_result result;      /* filled as it goes */
    const struct item *item;
    size_t n_told;                 /* tokens given to on_token */
};

static bool is_cancelled(void *ctx) { return atomic_load(&((struct work *)ctx)->cancelled); }

static void tell_tokens(struct work *w) {
    const struct eye_result *r = &w->result;
    for (; w->n_told < r->n_tokens; w->n_told++)
        if (w->item->r.on_token)
            w->item->r.on_token(w->item->r.ctx, r->tokens[w->n_told],
                                r->logprobs ? r->logprobs + w->n_told * (1 + r->n_logprobs) : NULL);
}

static bool on_text(void *ctx, const char *text, size_t bytes) {
    struct work *w = ctx;
    const struct eye_generate_opts *o = w->item->r.opts;
    tell_tokens(w);
    return o->on_text && o->on_text(o->on_text_ctx, text, bytes);
}

static void run(struct work *w, const struct item *it) {
    struct eye_err err = {0};
    enum eye_status st;
    w->item = it;
    w->n_told = 0;
    w->opts = *it->r.opts;
    w->opts.on_text = on_text;
    w->opts.on_text_ctx = w;
    w->result = (struct eye_result){.text = ""};
    if (is_cancelled(w)) {
        st = serve_fail(&err, EYE_E_CANCELLED, "cancelled");
    } else {
        eye_session_reset(w->session);
        st = eye_session_generate(w->session, it->r.query, &w->opts, &w->result, &err);
        tell_tokens(w);
    }
    if (it->r.on_done) it->r.on_done(it->r.ctx, &w->result, st, &err);
}

static void *loop(void *ctx) {
    struct work *w = ctx;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->first && !w->stop) pthread_cond_wait(&w->some, &w->lock);
        struct item *it = w->first;
        if (!it) break;
        if (!(w->first = it->next)) w->last = &w->first;
        w->n_queued--;
        atomic_store(&w->cancelled, w->stop);
        atomic_store(&w->now, it->id);
        pthread_mutex_unlock(&w->lock);
        run(w, it);
        pthread_mutex_lock(&w->lock);
        atomic_store(&w->now, 0);
        free(it);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

enum eye_status work_new(struct work **out, struct eye_model *model, int32_t max_queued, struct eye_err *err) {
    struct work *w = calloc(1, sizeof *w);
    if (!w) return serve_fail(err, EYE_E_NOMEM, "out of memory");
    struct eye_model_info info;
    eye_model_get_info(model, &info);
    struct eye_session_opts o = {.with_images = info.image_tokens > 0, .cancel = is_cancelled, .cancel_ctx = w};
    w->max_queued = max_queued;
    w->last = &w->first;
    enum eye_status st = eye_session_new(model, &o, &w->session, err);
    if (st != EYE_OK) {
        free(w);
        return st;
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->some, NULL);
    if (pthread_create(&w->thread, NULL, loop, w) != 0) {
        eye_session_free(w->session);
        free(w);
        return serve_fail(err, EYE_E_NOMEM, "no thread to generate on");
    }
    *out = w;
    return EYE_OK;
}

void work_stop(struct work *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    atomic_store(&w->cancelled, true);
    pthread_cond_signal(&w->some);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
}

void work_free(struct work *w) {
    if (!w) return;
    eye_session_free(w->session);
    pthread_cond_destroy(&w->some);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

enum eye_status work_submit(struct work *w, const struct work_request *r, uint64_t *id, struct eye_err *err) {
    struct item *it = calloc(1, sizeof *it);
    *id = 0;
    if (!it) return serve_fail(err, EYE_E_NOMEM, "out of memory");
    pthread_mutex_lock(&w->lock);
    bool full = w->n_queued >= w->max_queued;
    if (!full) {
        *it = (struct item){.r = *r, .id = ++w->next_id};
        *id = it->id;
        *w->last = it;
        w->last = &it->next;
        w->n_queued++;
        pthread_cond_signal(&w->some);
    }
    pthread_mutex_unlock(&w->lock);
    if (!full) return EYE_OK;
    free(it);
    *id = WORK_FULL;
    return serve_fail(err, EYE_E_LIMIT, "%d requests wait already", w->max_queued);
}

void work_cancel(struct work *w, uint64_t id) {
    struct item *it = NULL;
    pthread_mutex_lock(&w->lock);
    if (atomic_load(&w->now) == id) atomic_store(&w->cancelled, true);
    for (struct item **p = &w->first; *p && !it; p = *p ? &(*p)->next : p)
        if ((*p)->id == id) {
            it = *p;
            *p = it->next;
            if (w->last == &it->next) w->last = p;
            w->n_queued--;
            break;
        }
    pthread_mutex_unlock(&w->lock);
    if (!it) return;
    struct eye_result none = {.text = ""};
    struct eye_err err = {.code = EYE_E_CANCELLED, .text = "cancelled"};
    if (it->r.on_done) it->r.on_done(it->r.ctx, &none, EYE_E_CANCELLED, &err);
    free(it);
}

int32_t work_n_slots(const struct work *w) {
    (void)w;
    return 1;
}
