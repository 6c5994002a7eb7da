/* job: one HTTP request on its way: handed from the HTTP thread to a hand, from there to work, and its answer back. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server.h"

uint64_t serve_now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

struct job *job_new(struct serve *s) {
    struct job *j = calloc(1, sizeof *j);
    if (!j) return NULL;
    j->s = s;
    j->begin_us = j->quiet_us = serve_now_us();
    atomic_store(&j->refs, 1);
    pthread_mutex_init(&j->lock, NULL);
    return j;
}

void job_ref(struct job *j) { atomic_fetch_add(&j->refs, 1); }

static void drop_body(struct job *j) {
    if (j->body.cap) atomic_fetch_sub(&j->s->bodies.used, j->body.cap);
    serve_buf_clear(&j->body);
}

void job_unref(struct job *j) {
    if (atomic_fetch_sub(&j->refs, 1) != 1) return;
    drop_body(j);
    serve_answer_clear(&j->answer);
    serve_request_clear(&j->request);
    serve_buf_clear(&j->out);
    pthread_mutex_destroy(&j->lock);
    free(j);
}

/* ---- answers, from any thread ---- */

/* Whoever worked on it is done with it. Wants the lock, gives it back. */
static void finish(struct job *j) {
    j->ready = j->finished = true;
    j->quiet_us = serve_now_us();
    if (j->counted) atomic_fetch_sub(&j->s->n_jobs, 1); /* before its client can hear of it and ask again */
    j->counted = false;
    listen_wake(j);
    pthread_mutex_unlock(&j->lock);
}

void job_reply(struct job *j, int status, const char *type, char *text, size_t n) {
    static const char none[] = "{\"error\":{\"message\":\"out of memory\",\"type\":\"unavailable_error\",\"param\":null,"
                               "\"code\":\"out_of_memory\"}}";
    pthread_mutex_lock(&j->lock);
    j->status = text ? status : 503;
    j->type = text ? type : "application/json";
    j->out.n = 0;
    serve_buf_add(&j->out, text ? text : none, text ? n : sizeof none - 1);
    finish(j);
    free(text);
}

void job_refuse(struct job *j, const struct serve_error *e) {
    char *text = serve_error_json(e);
    pthread_mutex_lock(&j->lock);
    if (!j->streaming) {
        pthread_mutex_unlock(&j->lock);
        job_reply(j, e->status, "application/json", text, text ? strlen(text) : 0);
        return;
    }
    if (text) { /* the status is out already: the error is an event */
        serve_buf_adds(&j->out, "data: ");
        serve_buf_adds(&j->out, text);
        serve_buf_adds(&j->out, "\n\n");
    }
    finish(j);
    free(text);
}

void job_stream(struct job *j, const char *text, size_t n) {
    bool slow;
    pthread_mutex_lock(&j->lock);
    j->ready = j->streaming = true;
    j->status = 200;
    j->type = "text/event-stream";
    if (j->n_sent == j->out.n) j->n_sent = j->out.n = 0;
    serve_buf_add(&j->out, text, n);
    j->quiet_us = serve_now_us();
    slow = j->out.failed || j->out.n - j->n_sent > SERVE_STREAM_BYTES;
    listen_wake(j);
    pthread_mutex_unlock(&j->lock);
    if (slow) job_cancel(j, JOB_GONE);
}

void job_cancel(struct job *j, enum job_end why) {
    pthread_mutex_lock(&j->lock);
    if (j->end == JOB_GOES_ON) j->end = why;
    bool submitted = j->submitted && !j->done;
    uint64_t id = j->work_id;
    pthread_mutex_unlock(&j->lock);
    if (submitted) work_cancel(j->s->work, id);
}

/* ---- generating ---- */

static enum job_end end_of(struct job *j) {
    pthread_mutex_lock(&j->lock);
    enum job_end end = j->end;
    pthread_mutex_unlock(&j->lock);
    return end;
}

static void on_token(void *ctx, int32_t token, const struct eye_logprob *lp) {
    struct job *j = ctx;
    if (!j->first_us) j->first_us = serve_now_us();
    serve_answer_token(&j->answer, token, lp);
}

static bool on_text(void *ctx, const char *text, size_t n) {
    struct job *j = ctx;
    if (j->request.stream) {
        struct serve_buf b = {0};
        serve_answer_piece(&j->answer, text, n, &b);
        if (b.failed)
            job_cancel(j, JOB_GONE);
        else
            job_stream(j, b.p, b.n);
        serve_buf_clear(&b);
    }
    return end_of(j) != JOB_GOES_ON;
}

static void say_cancelled(struct job *j, enum job_end end) {
    struct serve_error e;
    if (end == JOB_LATE)
        serve_refuse(&e, 504, "timeout", NULL, "the answer took more than %d s (--timeout)", j->s->o.request_s);
    else if (end == JOB_STOPPED)
        serve_refuse(&e, 503, "stopping", NULL, "the server stops");
    else
        serve_refuse(&e, 499, "cancelled", NULL, "the client left"); /* nobody hears it, but it is counted */
    job_refuse(j, &e);
}

static void say_result(struct job *j, const struct eye_result *r) {
    struct serve_buf b = {0};
    if (j->request.stream) {
        serve_answer_end(&j->answer, r, &b);
        if (!b.failed) job_stream(j, b.p, b.n);
        pthread_mutex_lock(&j->lock);
        finish(j);
        serve_buf_clear(&b);
        return;
    }
    serve_answer_whole(&j->answer, r, &b);
    if (b.failed) serve_buf_clear(&b);
    job_reply(j, 200, "application/json", b.p, b.n);
}

static void on_done(void *ctx, const struct eye_result *r, enum eye_status st, const struct eye_err *err) {
    struct job *j = ctx;
    pthread_mutex_lock(&j->lock);
    enum job_end end = j->end;
    j->done = true;
    pthread_mutex_unlock(&j->lock);
    struct serve_error e;
    uint64_t now = serve_now_us();
    if (r->timings.start_us > j->begin_us) j->answer.queue_us = r->timings.start_us - j->begin_us;
    metrics_result(&j->s->metrics, r, j->request.pictures.n, end != JOB_GOES_ON || st == EYE_E_CANCELLED,
                   j->first_us ? (double)(j->first_us - j->begin_us) / 1e6 : 0, (double)(now - j->begin_us) / 1e6);
    if (end != JOB_GOES_ON || st == EYE_E_CANCELLED) {
        say_cancelled(j, end);
    } else if (st != EYE_OK) {
        serve_error_of(&e, st, err);
        job_refuse(j, &e);
    } else {
        say_result(j, r);
    }
    serve_request_clear(&j->request); /* pictures are large: not until the last byte is sent */
    job_unref(j);
}

static bool submit(struct job *j, struct serve_error *e) {
    struct eye_query q = serve_request_query(&j->request);
    struct eye_batch_request r = {.query = &q, .opts = &j->request.gen, .on_token = on_token, .on_done = on_done, .ctx = j};
    struct eye_err err = {0};
    uint64_t id;
    j->request.gen.on_text = on_text;
    j->request.gen.on_text_ctx = j;
    job_ref(j); /* on_done's */
    enum eye_status st = work_submit(j->s->work, &r, &id, &err);
    if (st != EYE_OK) {
        job_unref(j);
        if (id == EYE_BATCH_FULL) return serve_refuse(e, 429, "busy", NULL, "%s: try again later", err.text);
        serve_error_of(e, st, &err);
        return false;
    }
    pthread_mutex_lock(&j->lock);
    j->submitted = true;
    j->work_id = id;
    bool cancelled = j->end != JOB_GOES_ON && !j->done;
    pthread_mutex_unlock(&j->lock);
    if (cancelled) work_cancel(j->s->work, id);
    return true;
}

/* A schema that is not understood is the client's mistake, or asks for what is not done: both are said by place and name. */
static bool make_grammar(struct job *j, struct serve_error *e) {
    struct serve_request *r = &j->request;
    struct eye_model *model = atomic_load(&j->s->model);
    struct eye_err err = {0};
    enum eye_status st = EYE_OK;
    if (r->format == SERVE_TEXT) return true;
    if (r->gen.n_beams > 1)
        return serve_refuse(e, 400, NULL, "response_format", "response_format and n_beams %d: none are searched there",
                            r->gen.n_beams);
    if (r->format == SERVE_JSON_OBJECT) {
        st = eye_grammar_json(model, &r->grammar, &err);
    } else {
        char *text = json_dumps(r->schema, JSON_ENCODE_ANY | JSON_COMPACT);
        if (!text) return serve_refuse(e, 503, "out_of_memory", "response_format", "no memory for a schema");
        st = eye_grammar_json_schema(model, text, &r->grammar, &err);
        free(text);
    }
    r->gen.grammar = r->grammar;
    if (st == EYE_OK) return true;
    if (st == EYE_E_NOMEM) return serve_refuse(e, 503, "out_of_memory", "response_format", "no memory for a grammar");
    return serve_refuse(e, 400, "invalid_schema", "response_format", "response_format: %s", err.text);
}

void job_generate(struct job *j, enum serve_kind kind) {
    struct serve *s = j->s;
    struct serve_error e;
    bool ok = serve_request_parse(&j->request, kind, j->body.p, j->body.n, &s->o, &e);
    if (ok && j->request.pictures.n && s->info.image_tokens == 0)
        ok = serve_refuse(&e, 400, "no_vision", "messages", "the model %.100s has no eyes: no images", s->o.name);
    const struct serve_fetch fetch = {.allow = s->o.allow_urls, .n_allow = s->o.n_allow_urls, .timeout_s = SERVE_FETCH_S,
                                      .max_bytes = (size_t)s->o.max_body_bytes};
    const struct serve_picture_opts how = {.max_pixels = s->o.max_pixels, .budget = &s->pixels, .fetch = &fetch,
                                           .seen = s->seen};
    ok = ok && serve_pictures_decode(&j->request.pictures, &how, &e);
    drop_body(j);
    ok = ok && make_grammar(j, &e);
    if (ok) serve_answer_init(&j->answer, &j->request, atomic_load(&s->model), s->o.name);
    if (!ok || !submit(j, &e)) job_refuse(j, &e);
}

/* ---- hands ---- */

void job_hand_over(struct job *j) {
    struct serve *s = j->s;
    job_ref(j);
    pthread_mutex_lock(&s->lock);
    j->next = NULL;
    *s->queue_end = j;
    s->queue_end = &j->next;
    pthread_cond_broadcast(&s->some);
    pthread_mutex_unlock(&s->lock);
}

static void work_on(struct job *j) {
    enum job_end end = end_of(j);
    if (end != JOB_GOES_ON)
        say_cancelled(j, end);
    else
        j->route->later(j);
    job_unref(j);
}

static void *hand_run(void *ctx) {
    struct serve *s = ctx;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->queue && !atomic_load(&s->stopping)) pthread_cond_wait(&s->some, &s->lock);
        struct job *j = s->queue;
        if (!j) break;
        if (!(s->queue = j->next)) s->queue_end = &s->queue;
        pthread_mutex_unlock(&s->lock);
        work_on(j);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

bool serve_start_hands(struct serve *s) {
    int wanted = s->o.n_allow_urls ? SERVE_HANDS : SERVE_HANDS / 4; /* who fetches waits for other machines */
    for (; s->n_hands < wanted; s->n_hands++)
        if (pthread_create(&s->hand[s->n_hands], NULL, hand_run, s) != 0) return false;
    return true;
}
