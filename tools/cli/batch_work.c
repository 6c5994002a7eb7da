/* batch_work: see batch_work.h. Slots are a ring over the numbers of the pictures: number i lies in slot i % n, and is loaded
 * once the answer of i - n was taken. */
#include "batch_work.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "args.h"

#define TICK_NS 100000000
#define THUMBNAIL_BYTES 65536

enum state { FREE, LOADING, AT_WORK, DONE }; /* AT_WORK: the batch has it */
struct slot {
    struct pipeline *p;
    enum state state;
    uint64_t id;            /* of its request */
    char *path, *caption;
    int32_t *tokens;
    struct eye_image img;
    uint64_t begin_us;      /* when the batch got it */
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
    atomic_bool stopped;    /* the batch ends early */
};

static bool stops(void *pipeline) { return atomic_load(&((struct pipeline *)pipeline)->stopped) || ui_interrupted(NULL); }

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
        enum batch_next next = batch_source_next(w->source, stops, p, &path, &err);
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
            *s = (struct slot){.p = p, .state = LOADING, .path = path};
            if (next == BATCH_BAD_PATH) s->err = err;
        }
        pthread_mutex_unlock(&p->lock);
    }
    return s;
}

static void make_thumbnail(struct slot *s, int side) {
    s->thumbnail = malloc(THUMBNAIL_BYTES);
    if (s->thumbnail &&
        eye_image_thumbnail(&s->img, side, s->thumbnail, THUMBNAIL_BYTES, &s->thumbnail_bytes, NULL) == EYE_OK) return;
    free(s->thumbnail);
    s->thumbnail = NULL;
}

/* Picture, or its error, to pixels. */
static void load(struct pipeline *p, struct slot *s) {
    uint64_t begin = ui_now_us();
    if (s->err.code == EYE_OK && eye_image_load(s->path, &p->w->image, &s->img, &s->err) == EYE_OK) {
        s->err.code = EYE_OK;
        s->record.timings.image_decode_us = ui_now_us() - begin;
        if (p->w->thumbnail_side) make_thumbnail(s, p->w->thumbnail_side);
    }
    pthread_mutex_lock(&p->lock);
    p->waiting_bytes += s->img.owned_bytes;
    pthread_mutex_unlock(&p->lock);
}

/* ---- answers ---- */

static void no_memory(struct slot *s) { ui_err(&s->err, EYE_E_NOMEM, "%.300s: out of memory", s->path); }

/* The answer's memory is the batch's: copied. Times do not count how long the picture waited for others. */
static void keep(struct slot *s, const struct eye_result *r) {
    struct batch_record *rec = &s->record;
    uint64_t decode_us = rec->timings.image_decode_us, queue_us = r->timings.queue_us;
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
    rec->timings.first_token_us += r->timings.first_token_us ? decode_us - queue_us : 0;
    rec->total_us = decode_us + ui_now_us() - s->begin_us - queue_us;
}

/* The slot's error or caption is there: the caller may have it. */
static void finish(struct slot *s) {
    struct pipeline *p = s->p;
    uint64_t bytes = s->img.owned_bytes;
    eye_image_free(&s->img);
    s->record.image = s->path;
    s->record.error = s->err.code == EYE_OK ? NULL : s->err.text;
    pthread_mutex_lock(&p->lock);
    p->waiting_bytes -= bytes;
    s->state = DONE;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void on_done(void *ctx, const struct eye_result *r, enum eye_status st, const struct eye_err *err) {
    struct slot *s = ctx;
    if (st == EYE_E_CANCELLED) return; /* the batch stops: no line for it */
    s->err = *err;
    if (st == EYE_OK) keep(s, r);
    finish(s);
}

/* Pictures to the batch; what is wrong with one is its answer. */
static void submit(struct pipeline *p, struct slot *s) {
    struct eye_query query = p->w->query;
    struct eye_batch_request r = {.query = &query, .opts = &p->w->opts, .on_done = on_done, .ctx = s};
    query.images = &s->img;
    query.n_images = 1;
    s->begin_us = ui_now_us();
    pthread_mutex_lock(&p->lock); /* until its number is known: whoever stops the batch cancels by numbers */
    enum eye_status st = stops(p) ? EYE_OK : eye_batch_submit(p->w->batch, &r, &s->id, &s->err);
    s->state = AT_WORK;
    pthread_mutex_unlock(&p->lock);
    if (st != EYE_OK) finish(s);
}

static void *load_pictures(void *arg) {
    struct pipeline *p = arg;
    for (;;) {
        pthread_mutex_lock(&p->input);
        struct slot *s = begin_next(p);
        pthread_mutex_unlock(&p->input);
        if (!s) return NULL;
        load(p, s);
        if (s->err.code == EYE_OK) submit(p, s);
        else finish(s);
    }
}

static void *run_batch(void *arg) {
    eye_batch_run(((struct pipeline *)arg)->w->batch, false);
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

/* Ends what is under way, where it has not ended by itself. */
static void stop(struct pipeline *p) {
    atomic_store(&p->stopped, true);
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->n_slots; i++)
        if (p->slot[i].state == AT_WORK) eye_batch_cancel(p->w->batch, p->slot[i].id);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    eye_batch_stop(p->w->batch);
}

int batch_work_run(const struct batch_work *w, uint64_t *n_skipped) {
    struct pipeline p = {.w = w, .n_slots = (size_t)w->n_jobs * BATCH_AHEAD + 1};
    pthread_t thread[BATCH_MAX_JOBS + 1];
    pthread_condattr_t attr;
    int n_threads = 0, code;
    p.slot = calloc(p.n_slots, sizeof *p.slot);
    if (!p.slot) return ui_failf(w->ui, "out of memory");
    pthread_mutex_init(&p.input, NULL);
    pthread_mutex_init(&p.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p.changed, &attr);
    for (int i = 0; i <= w->n_loaders; i++)
        if (pthread_create(&thread[n_threads], NULL, i ? load_pictures : run_batch, &p) == 0) n_threads++;
    code = n_threads == w->n_loaders + 1 ? take_answers(&p) : ui_failf(w->ui, "cannot start %d threads", w->n_loaders + 1);
    stop(&p);
    for (int i = 0; i < n_threads; i++) pthread_join(thread[i], NULL);
    eye_batch_free(w->batch); /* what it has not ended has pixels in slots */
    for (size_t i = 0; i < p.n_slots; i++) clear_slot(&p.slot[i]);
    *n_skipped = p.n_skipped;
    pthread_cond_destroy(&p.changed);
    pthread_condattr_destroy(&attr);
    pthread_mutex_destroy(&p.lock);
    pthread_mutex_destroy(&p.input);
    free(p.slot);
    return code;
}
