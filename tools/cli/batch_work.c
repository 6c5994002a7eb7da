/* batch_work: see batch_work.h. Slots are a ring over the numbers of the pictures: number i lies in slot i % n, and is loaded
 * once the answer of i - n was taken. */
#include "batch_work.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "args.h"

#define TICK_NS 100000000
#define THUMBNAIL_BYTES 65536

enum state { FREE, LOADING, LOADED, AT_WORK, DONE };
struct slot {
    enum state state;
    char *path, *caption;
    int32_t *tokens;
    struct eye_image img;
    struct eye_err err;     /* code other than OK: the picture's error */
    struct batch_record record;
    uint8_t *thumbnail;
    size_t thumbnail_bytes;
};
struct pipeline {
    const struct batch_work *w;
    struct slot *slot;
    size_t n_slots;
    pthread_mutex_t input;  /* one loader asks the source at a time; never taken with lock held */
    pthread_mutex_t lock;   /* all below, and the slots' states */
    pthread_cond_t changed; /* any of it: pictures take milliseconds, a few threads woken for nothing do not matter */
    uint64_t n_begun, n_taken; /* numbers given out; answers the caller has had */
    uint64_t waiting_bytes; /* pixels of pictures that are loaded and not answered */
    bool ended;             /* the source: n_begun is final */
    struct eye_err failed;  /* of the source: the batch ends here */
    uint64_t n_skipped;
};
struct job {
    struct pipeline *p;
    const struct batch_worker *worker;
};

bool batch_work_stopped(void *ctx) { return atomic_load((atomic_bool *)ctx) || ui_interrupted(NULL); }
static bool stops(const struct pipeline *p) { return batch_work_stopped(p->w->stopped); }

static void stop(struct pipeline *p) {
    atomic_store(p->w->stopped, true);
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void set_state(struct pipeline *p, struct slot *s, enum state state) {
    pthread_mutex_lock(&p->lock);
    s->state = state;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* ---- loaders ---- */

static void *source_ended(struct pipeline *p, const struct eye_err *err) {
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    if (err) p->failed = *err;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* The next path that the output does not hold, in a slot of its own; NULL = there is none, or the batch stops. With p->input
 * held. */
static struct slot *begin_next(struct pipeline *p) {
    const struct batch_work *w = p->w;
    struct eye_err err = {0};
    struct slot *s = NULL;
    char *path = NULL;
    bool held = true;
    pthread_mutex_lock(&p->lock);
    while (!p->ended && !stops(p) &&
           (p->n_begun - p->n_taken == p->n_slots || p->waiting_bytes > BATCH_AHEAD_BYTES))
        pthread_cond_wait(&p->changed, &p->lock);
    bool go = !p->ended && !stops(p);
    pthread_mutex_unlock(&p->lock);
    while (go && held && !stops(p)) {
        enum batch_next next = batch_source_next(w->source, batch_work_stopped, w->stopped, &path, &err);
        if (next == BATCH_END) return source_ended(p, NULL);
        if (next == BATCH_FAILED) return source_ended(p, &err);
        struct eye_err why = {0};
        if (batch_output_holds(w->output, path, &held, &why) != EYE_OK) {
            free(path);
            return source_ended(p, &why);
        }
        pthread_mutex_lock(&p->lock);
        if (held) {
            p->n_skipped++;
            free(path);
        } else {
            s = &p->slot[p->n_begun++ % p->n_slots];
            *s = (struct slot){.state = LOADING, .path = path};
            if (next == BATCH_BAD_PATH) s->err = err;
        }
        pthread_mutex_unlock(&p->lock);
    }
    return s;
}

static void load(struct pipeline *p, struct slot *s) {
    uint64_t begin = ui_now_us();
    if (s->err.code == EYE_OK && eye_image_load(s->path, &p->w->image, &s->img, &s->err) == EYE_OK) {
        s->err.code = EYE_OK;
        s->record.timings.image_decode_us = ui_now_us() - begin;
    }
    pthread_mutex_lock(&p->lock);
    p->waiting_bytes += s->img.owned_bytes;
    pthread_mutex_unlock(&p->lock);
    set_state(p, s, LOADED);
}

static void *load_pictures(void *arg) {
    struct pipeline *p = ((struct job *)arg)->p;
    for (;;) {
        pthread_mutex_lock(&p->input);
        struct slot *s = begin_next(p);
        pthread_mutex_unlock(&p->input);
        if (!s) return NULL;
        load(p, s);
    }
}

/* ---- workers ---- */

static struct slot *take_loaded(struct pipeline *p) {
    struct slot *found = NULL;
    pthread_mutex_lock(&p->lock);
    while (!found && !stops(p)) {
        for (uint64_t i = p->n_taken; i < p->n_begun && !found; i++)
            if (p->slot[i % p->n_slots].state == LOADED) found = &p->slot[i % p->n_slots];
        if (!found && p->ended) {
            bool coming = false;
            for (uint64_t i = p->n_taken; i < p->n_begun; i++) coming = coming || p->slot[i % p->n_slots].state == LOADING;
            if (!coming) break;
        }
        if (!found) pthread_cond_wait(&p->changed, &p->lock);
    }
    if (found) found->state = AT_WORK;
    pthread_mutex_unlock(&p->lock);
    return found;
}

static void no_memory(struct slot *s) { ui_err(&s->err, EYE_E_NOMEM, "%.300s: out of memory", s->path); }

/* The answer's memory is the session's: copied. */
static void keep(struct slot *s, const struct eye_result *r) {
    struct batch_record *rec = &s->record;
    uint64_t decode_us = rec->timings.image_decode_us;
    s->caption = malloc(r->text_bytes + 1);
    s->tokens = malloc((r->n_tokens + 1) * sizeof *s->tokens);
    if (!s->caption || !s->tokens) {
        no_memory(s);
        return;
    }
    memcpy(s->caption, r->text, r->text_bytes);
    if (r->n_tokens) memcpy(s->tokens, r->tokens, r->n_tokens * sizeof *s->tokens);
    rec->caption = s->caption;
    rec->caption_bytes = r->text_bytes;
    rec->tokens = s->tokens;
    rec->n_tokens = r->n_tokens;
    rec->finish = r->finish;
    rec->timings = r->timings;
    rec->timings.image_decode_us = decode_us;
    rec->timings.first_token_us += r->timings.first_token_us ? decode_us : 0;
}

static void make_thumbnail(struct slot *s, int side) {
    s->thumbnail = malloc(THUMBNAIL_BYTES);
    if (s->thumbnail &&
        eye_image_thumbnail(&s->img, side, s->thumbnail, THUMBNAIL_BYTES, &s->thumbnail_bytes, NULL) == EYE_OK) return;
    free(s->thumbnail);
    s->thumbnail = NULL;
}

static void answer(const struct job *j, struct slot *s) {
    const struct batch_work *w = j->p->w;
    struct eye_query query = w->query;
    struct eye_generate_opts opts = w->opts;
    struct eye_result r;
    uint64_t begin = ui_now_us();
    if (s->err.code == EYE_OK) {
        query.images = &s->img;
        query.n_images = 1;
        opts.grammar = j->worker->grammar;
        eye_session_reset(j->worker->session);
        if (eye_session_generate(j->worker->session, &query, &opts, &r, &s->err) == EYE_OK) {
            s->err.code = EYE_OK;
            keep(s, &r);
            s->record.total_us = s->record.timings.image_decode_us + ui_now_us() - begin;
        }
    }
    if (w->thumbnail_side && s->img.rgb) make_thumbnail(s, w->thumbnail_side);
    s->record.image = s->path;
    s->record.error = s->err.code == EYE_OK ? NULL : s->err.text;
}

static void *answer_pictures(void *arg) {
    const struct job *j = arg;
    struct pipeline *p = j->p;
    for (struct slot *s; (s = take_loaded(p));) {
        answer(j, s);
        uint64_t bytes = s->img.owned_bytes;
        eye_image_free(&s->img);
        pthread_mutex_lock(&p->lock);
        p->waiting_bytes -= bytes;
        pthread_mutex_unlock(&p->lock);
        if (s->err.code == EYE_E_CANCELLED) return NULL; /* the batch stops: no line for it */
        set_state(p, s, DONE);
    }
    return NULL;
}

/* ---- the caller's side ---- */

static void clear_slot(struct slot *s) {
    eye_image_free(&s->img);
    free(s->path);
    free(s->caption);
    free(s->tokens);
    free(s->thumbnail);
    *s = (struct slot){.state = FREE};
}

/* The next answer in order; NULL = a tick passed without, or nothing more comes (*end). */
static struct slot *next_answer(struct pipeline *p, bool *end) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&p->lock);
    struct slot *s = &p->slot[p->n_taken % p->n_slots];
    int late = 0;
    while (!late && s->state != DONE && !(p->ended && p->n_taken == p->n_begun))
        late = pthread_cond_timedwait(&p->changed, &p->lock, &until);
    bool ready = s->state == DONE;
    *end = !ready && p->ended && p->n_taken == p->n_begun;
    pthread_mutex_unlock(&p->lock);
    return ready ? s : NULL;
}

static int take_answers(struct pipeline *p) {
    const struct batch_work *w = p->w;
    uint64_t ticked = 0;
    bool end = false;
    while (!end) {
        struct slot *s = next_answer(p, &end);
        if (ui_interrupted(NULL)) return ui_interrupted_code();
        if (s) {
            int code = w->on_answer(w->ctx, &s->record, s->thumbnail, s->thumbnail_bytes);
            if (code != EXIT_DONE) return code;
            clear_slot(s);
            pthread_mutex_lock(&p->lock);
            p->n_taken++;
            pthread_cond_broadcast(&p->changed);
            pthread_mutex_unlock(&p->lock);
        }
        uint64_t now = ui_now_us();
        if (now - ticked < TICK_NS / 1000) continue;
        ticked = now;
        pthread_mutex_lock(&p->lock);
        uint64_t n_skipped = p->n_skipped;
        pthread_mutex_unlock(&p->lock);
        w->on_tick(w->ctx, n_skipped);
    }
    return p->failed.code == EYE_OK ? EXIT_DONE : ui_fail(w->ui, &p->failed);
}

int batch_work_run(const struct batch_work *w, uint64_t *n_skipped) {
    struct pipeline p = {.w = w, .n_slots = (size_t)w->n_workers * BATCH_AHEAD + 1};
    struct job job[BATCH_MAX_JOBS];
    pthread_t thread[2 * BATCH_MAX_JOBS];
    pthread_condattr_t attr;
    int n_threads = 0, code;
    p.slot = calloc(p.n_slots, sizeof *p.slot);
    if (!p.slot) return ui_failf(w->ui, "out of memory");
    pthread_mutex_init(&p.input, NULL);
    pthread_mutex_init(&p.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p.changed, &attr);
    for (int i = 0; i < w->n_workers; i++) {
        job[i] = (struct job){&p, &w->worker[i]};
        if (pthread_create(&thread[n_threads], NULL, load_pictures, &job[i]) == 0) n_threads++;
        if (pthread_create(&thread[n_threads], NULL, answer_pictures, &job[i]) == 0) n_threads++;
    }
    code = n_threads == 2 * w->n_workers ? take_answers(&p) : ui_failf(w->ui, "cannot start %d threads", 2 * w->n_workers);
    stop(&p);
    for (int i = 0; i < n_threads; i++) pthread_join(thread[i], NULL);
    for (size_t i = 0; i < p.n_slots; i++) clear_slot(&p.slot[i]);
    *n_skipped = p.n_skipped;
    pthread_cond_destroy(&p.changed);
    pthread_condattr_destroy(&attr);
    pthread_mutex_destroy(&p.lock);
    pthread_mutex_destroy(&p.input);
    free(p.slot);
    return code;
}
