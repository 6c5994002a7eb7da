/* session/batch_queue: requests from the moment they are submitted until a lane takes them, and their end. The prompt and the
 * keys of what the caches may hold are made on the submitting thread: a server has many, the scheduler one. */
#include <string.h>

#include "session/batch_impl.h"

void eye_request_free(struct eye_request *r) {
    struct eye_arena own = r->arena; /* r lies in it */
    eye_arena_clear(&own);
}

void eye_request_done(struct eye_batch *b, struct eye_request *r, struct eye_slot *slot, enum eye_status st,
                      const struct eye_err *err) {
    static const struct eye_result nothing = {.text = ""};
    static const struct eye_err fine;
    const struct eye_result *result = slot ? &slot->result : &nothing;
    pthread_mutex_lock(&b->lock);
    b->stats.n_done += st == EYE_OK;
    b->stats.n_cancelled += st == EYE_E_CANCELLED;
    b->stats.n_failed += st != EYE_OK && st != EYE_E_CANCELLED;
    if (slot) {
        b->stats.n_prompt_tok += result->n_prompt_tok;
        b->stats.n_cached_tok += result->n_cached_tok;
        b->stats.n_tokens += result->n_tokens;
        slot->request = NULL; /* nobody cancels it any more */
    }
    pthread_mutex_unlock(&b->lock);
    if (r->on_done) {
        pthread_mutex_lock(&b->voice);
        r->on_done(r->ctx, result, st, st == EYE_OK ? &fine : err);
        pthread_mutex_unlock(&b->voice);
    }
    eye_request_free(r);
}

/* ---- making one ---- */

void eye_request_keys(struct eye_request *r, const struct eye_model *m, const int32_t *more, size_t n_more) {
    struct eye_key_at at[EYE_PAGE];
    size_t n = r->n + n_more, first = r->n_pieces * EYE_PAGE, i_image = 0;
    uint32_t row = 0;
    for (size_t i = 0; i < n / EYE_PAGE * EYE_PAGE; i++) {
        int32_t id = i < r->n ? r->ids[i] : more[i - r->n];
        at[i % EYE_PAGE] = (struct eye_key_at){.id = id};
        if (id == EYE_TOKEN_IMAGE_ROW) {
            while (row == (uint32_t)eye_model_image_rows(m, &r->image[i_image])) i_image++, row = 0;
            at[i % EYE_PAGE].row = row++;
            at[i % EYE_PAGE].image = &r->image_key[i_image];
        }
        if (i < first || (i + 1) % EYE_PAGE) continue;
        eye_prefix_key(r->n_pieces ? &r->piece[r->n_pieces - 1] : NULL, at, &r->piece[r->n_pieces]);
        r->n_pieces++;
    }
}

static enum eye_status copy_opts(struct eye_request *r, const struct eye_generate_opts *o, struct eye_err *err) {
    r->opts = *o;
    const char **stop = eye_arena_alloc(&r->arena, o->n_stop * sizeof *stop + 1);
    if (!stop) return eye_fail_nomem(err, o->n_stop * sizeof *stop);
    for (size_t i = 0; i < o->n_stop; i++) {
        stop[i] = eye_arena_strdup(&r->arena, o->stop[i], strlen(o->stop[i]));
        if (!stop[i]) return eye_fail_nomem(err, strlen(o->stop[i]));
    }
    r->opts.stop = stop;
    return EYE_OK;
}

static enum eye_status copy_prompt(struct eye_batch *b, struct eye_request *r, const struct eye_query *query, struct eye_err *err) {
    struct eye_ids ids = {.alloc = b->alloc};
    struct eye_query q = *query;
    q.next_turn = false;
    enum eye_status st = eye_query_assemble(b->model, &q, b->opts.n_ctx, &ids, &r->truncated, err);
    if (st == EYE_OK) {
        r->n = ids.n;
        r->n_images = q.n_images;
        r->ids = eye_arena_alloc(&r->arena, ids.n * sizeof *r->ids);
        r->image = eye_arena_alloc(&r->arena, q.n_images * sizeof *r->image + 1);
        r->image_key = eye_arena_alloc(&r->arena, q.n_images * sizeof *r->image_key + 1);
        r->piece = eye_arena_alloc(&r->arena, ((size_t)b->opts.n_ctx / EYE_PAGE + 1) * sizeof *r->piece);
        if (!r->ids || !r->image || !r->image_key || !r->piece) st = eye_fail_nomem(err, ids.n * sizeof *r->ids);
    }
    if (st == EYE_OK) {
        memcpy(r->ids, ids.p, ids.n * sizeof *r->ids);
        for (size_t i = 0; i < ids.n; i++) r->n_image_tok += ids.p[i] == EYE_TOKEN_IMAGE_ROW;
        for (size_t i = 0; i < q.n_images; i++) {
            r->image[i] = q.images[i];
            if (b->rows.most_bytes || b->prefix.n) eye_key_image(&b->secret, &q.images[i], &r->image_key[i]);
        }
        if (b->prefix.n) eye_request_keys(r, b->model, NULL, 0);
    }
    eye_ids_clear(&ids);
    return st;
}

static enum eye_status make(struct eye_batch *b, const struct eye_batch_request *from, struct eye_request **out,
                            struct eye_err *err) {
    static const struct eye_generate_opts defaults;
    const struct eye_generate_opts *o = from->opts ? from->opts : &defaults;
    uint64_t begin = eye_now_ns();
    EYE_TRY(eye_reply_check(b->model, o, err));
    int32_t beams = eye_reply_beams(b->model, o);
    if (beams > b->opts.n_beams)
        return eye_fail(err, EYE_E_ARG, "n_beams is %d, expected at most %d (the batch's: raise it when making it)", beams,
                        b->opts.n_beams);
    struct eye_arena arena;
    eye_arena_init(&arena, b->alloc);
    struct eye_request *r = eye_arena_alloc(&arena, sizeof *r);
    if (!r) return eye_fail_nomem(err, sizeof *r);
    *r = (struct eye_request){.arena = arena, .begin_ns = begin, .n_beams = beams, .on_token = from->on_token,
                              .on_done = from->on_done, .ctx = from->ctx};
    enum eye_status st = copy_opts(r, o, err);
    if (st == EYE_OK) st = copy_prompt(b, r, from->query, err);
    if (st != EYE_OK) {
        eye_request_free(r);
        return st;
    }
    *out = r;
    return EYE_OK;
}

/* ---- the queue ---- */

enum eye_status eye_batch_submit(struct eye_batch *b, const struct eye_batch_request *request, uint64_t *id, struct eye_err *err) {
    struct eye_request *r = NULL;
    if (id) *id = 0;
    EYE_TRY(make(b, request, &r, err));
    pthread_mutex_lock(&b->lock);
    bool full = b->n_queued >= b->opts.max_queued;
    if (!full) {
        r->id = ++b->next_id;
        if (id) *id = r->id;
        *b->last = r;
        b->last = &r->next;
        b->n_queued++;
        b->stats.n_submitted++;
        pthread_cond_broadcast(&b->change);
    }
    pthread_mutex_unlock(&b->lock);
    if (!full) return EYE_OK;
    eye_request_free(r);
    if (id) *id = EYE_BATCH_FULL;
    return eye_fail(err, EYE_E_LIMIT, "%d requests wait already, the most that may (max_queued)", b->opts.max_queued);
}

void eye_batch_cancel(struct eye_batch *b, uint64_t id) {
    pthread_mutex_lock(&b->lock);
    for (int32_t i = 0; i < b->opts.n_slots; i++)
        if (b->slots[i].request && b->slots[i].request->id == id) atomic_store(&b->slots[i].request->cancelled, true);
    for (struct eye_request **at = &b->first; *at; at = &(*at)->next) {
        if ((*at)->id != id) continue;
        struct eye_request *r = *at;
        *at = r->next;
        if (b->last == &r->next) b->last = at;
        r->next = b->dead;
        b->dead = r;
        b->n_queued--;
        pthread_cond_broadcast(&b->change);
        break;
    }
    pthread_mutex_unlock(&b->lock);
}

struct eye_request *eye_batch_pop(struct eye_batch *b) {
    struct eye_request *r = b->first;
    if (!r) return NULL;
    b->first = r->next;
    if (!b->first) b->last = &b->first;
    b->n_queued--;
    return r;
}

void eye_batch_bury(struct eye_batch *b) {
    struct eye_err err = {0};
    for (;;) {
        pthread_mutex_lock(&b->lock);
        struct eye_request *r = b->dead;
        if (r) b->dead = r->next;
        pthread_mutex_unlock(&b->lock);
        if (!r) return;
        enum eye_status st = eye_fail(&err, EYE_E_CANCELLED, "cancelled");
        eye_request_done(b, r, NULL, st, &err);
    }
}
