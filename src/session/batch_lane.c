/* session/batch_lane: what one lane does in a round: takes a waiting request, looks at one picture, lays the tokens of all who
 * write and a piece of the prompts of those who read into one run of the decoder, and hands out what came of it. A slot is
 *
 *   FREE -> LOOK (pictures) -> READ (prompt) -> WRITE (token by token) or SEARCH (beams) -> FREE
 *
 * Only what is taken from the queue and the two caches is shared with other lanes. */
#include <string.h>

#include "session/batch_impl.h"

/* ---- memory ---- */

static size_t n_logit_rows(const struct eye_lane *l) { return (size_t)l->n_slots * (size_t)l->batch->opts.n_beams; }

static enum eye_status open_decoder(struct eye_lane *l, const struct eye_lane *first, int64_t n_positions, struct eye_err *err) {
    struct eye_model *m = l->batch->model;
    const struct eye_part_plan *part[EYE_N_DECODE];
    const struct eye_plan *plan;
    if (first) return eye_decoder_share(&l->decoder, &first->decoder, err);
    for (int i = 0; i < EYE_N_DECODE; i++) {
        EYE_TRY(eye_model_plan(m, (enum eye_part)(EYE_PART_EMBED + i), &plan, err));
        part[i] = &m->part[EYE_PART_EMBED + i];
    }
    return eye_decoder_init(&l->decoder, part, eye_model_rows(m), (size_t)m->opts.n_parallel, n_positions, m->alloc, err);
}

enum eye_status eye_lane_open(struct eye_lane *l, struct eye_batch *b, struct eye_slot *slot, int32_t n_slots,
                              const struct eye_lane *first, int64_t n_positions, struct eye_err *err) {
    static const struct eye_generate_opts defaults;
    struct eye_model *m = b->model;
    *l = (struct eye_lane){.batch = b, .slot = slot, .n_slots = n_slots};
    EYE_TRY(open_decoder(l, first, n_positions, err));
    if (m->image_tokens) EYE_TRY(eye_eyes_open(&l->eyes, m, err));
    if (b->n_lanes > 1) {
        eye_decoder_alone(&l->decoder);
        if (m->image_tokens) eye_eyes_alone(&l->eyes);
    }
    for (int32_t i = 0; i < n_slots; i++) {
        eye_reply_init(&slot[i].reply, m, b->opts.n_ctx);
        EYE_TRY(eye_reply_reserve(&slot[i].reply, &defaults, err));
    }
    size_t rows = n_logit_rows(l), bytes = rows * l->decoder.vocab * sizeof *l->logits;
    l->call = eye_alloc_zero(b->alloc, rows * sizeof *l->call);
    l->logits = eye_alloc_raw(b->alloc, bytes);
    return l->call && l->logits ? EYE_OK : eye_fail_nomem(err, bytes);
}

void eye_lane_clear(struct eye_lane *l) {
    struct eye_batch *b = l->batch;
    if (!b) return;
    size_t rows = n_logit_rows(l);
    eye_alloc_free(b->alloc, l->call, rows * sizeof *l->call);
    eye_alloc_free(b->alloc, l->logits, rows * l->decoder.vocab * sizeof *l->logits);
    for (int32_t i = 0; i < l->n_slots; i++) eye_reply_clear(&l->slot[i].reply);
    eye_eyes_clear(&l->eyes);
    eye_decoder_clear(&l->decoder);
    *l = (struct eye_lane){0};
}

/* ---- the end ---- */

/* What the slot holds may be asked again: a conversation goes on with its answer. */
static void keep_answer(struct eye_lane *l, struct eye_slot *s) {
    struct eye_request *r = s->request;
    if (!l->batch->prefix.n || s->state != EYE_SLOT_WRITE) return;
    eye_request_keys(r, l->batch->model, s->result.tokens, (size_t)s->n_past - r->n);
    eye_prefix_keep(&l->batch->prefix, r->piece, r->n_pieces, s->slot);
}

static void finish(struct eye_lane *l, struct eye_slot *s, enum eye_status st, const struct eye_err *err) {
    struct eye_batch *b = l->batch;
    if (s->reply.r) {
        pthread_mutex_lock(&b->voice);
        eye_reply_finish(&s->reply);
        pthread_mutex_unlock(&b->voice);
    }
    keep_answer(l, s);
    if (l->looking == s) l->looking = NULL;
    eye_alloc_free(b->alloc, s->image_rows, s->image_rows_bytes);
    s->image_rows = NULL;
    s->hunts = NULL;
    eye_request_done(b, s->request, s, st, err);
    s->reply.r = NULL;
    s->state = EYE_SLOT_FREE;
    pthread_mutex_lock(&b->lock);
    b->n_active--;
    pthread_mutex_unlock(&b->lock);
}

void eye_lane_end(struct eye_lane *l, enum eye_status st, const struct eye_err *err) {
    for (int32_t i = 0; i < l->n_slots; i++)
        if (l->slot[i].state != EYE_SLOT_FREE) finish(l, &l->slot[i], st, err);
}

/* ---- the beginning ---- */

static size_t rows_of(const struct eye_lane *l, const struct eye_request *r, size_t i_image) {
    return (size_t)eye_model_image_rows(l->batch->model, &r->image[i_image]);
}

/* Rows of images before this one. */
static size_t rows_before(const struct eye_lane *l, const struct eye_request *r, size_t i_image) {
    size_t n = 0;
    for (size_t i = 0; i < i_image; i++) n += rows_of(l, r, i);
    return n;
}

static enum eye_status begin(struct eye_lane *l, struct eye_slot *s, struct eye_err *err) {
    struct eye_batch *b = l->batch;
    struct eye_request *r = s->request;
    s->state = EYE_SLOT_READ;
    EYE_TRY(eye_reply_start(&s->reply, &r->opts, &s->result, r->begin_ns, err));
    s->reply.on_token = r->on_token;
    s->reply.on_token_ctx = r->ctx;
    /* The last position runs again: its logits are wanted. */
    s->n_cached = b->prefix.n ? EYE_PAGE * eye_prefix_find(&b->prefix, r->piece, (r->n - 1) / EYE_PAGE, s->slot) : 0;
    s->n_past = (int32_t)s->n_cached;
    s->n_rows_done = 0;
    for (size_t i = 0; i < s->n_cached; i++) s->n_rows_done += r->ids[i] == EYE_TOKEN_IMAGE_ROW;
    s->i_image = s->n_asked = 0;
    while (s->i_image < r->n_images && rows_before(l, r, s->i_image + 1) <= s->n_rows_done) s->i_image++;
    s->result.n_prompt_tok = r->n;
    s->result.n_image_tok = r->n_image_tok;
    s->result.n_cached_tok = s->n_cached;
    s->result.truncated = r->truncated;
    s->result.timings.queue_us = (eye_now_ns() - r->begin_ns) / 1000;
    if (s->i_image == r->n_images) return EYE_OK;
    if (!eye_mul_ok(r->n_image_tok * sizeof(float), l->decoder.width, &s->image_rows_bytes)) return eye_fail_nomem(err, SIZE_MAX);
    s->image_rows = eye_alloc_raw(b->alloc, s->image_rows_bytes);
    if (!s->image_rows) return eye_fail_nomem(err, s->image_rows_bytes);
    s->state = EYE_SLOT_LOOK;
    return EYE_OK;
}

/* The next request into a free slot; NULL = none waits, or no slot is free. */
static struct eye_slot *take(struct eye_lane *l) {
    struct eye_batch *b = l->batch;
    struct eye_slot *s = NULL;
    for (int32_t i = 0; i < l->n_slots && !s; i++)
        if (l->slot[i].state == EYE_SLOT_FREE) s = &l->slot[i];
    if (!s) return NULL;
    pthread_mutex_lock(&b->lock);
    s->request = eye_batch_pop(b);
    if (s->request) b->n_active++;
    pthread_mutex_unlock(&b->lock);
    return s->request ? s : NULL;
}

/* Several lanes take one each, so that none takes what another could begin at once. */
static bool take_in(struct eye_lane *l) {
    bool any = false;
    for (struct eye_slot *s; (s = take(l));) {
        struct eye_err err = {0};
        enum eye_status st = begin(l, s, &err);
        any = true;
        if (st != EYE_OK) finish(l, s, st, &err);
        if (l->batch->n_lanes > 1) break;
    }
    return any;
}

static void end_cancelled(struct eye_lane *l) {
    for (int32_t i = 0; i < l->n_slots; i++) {
        struct eye_slot *s = &l->slot[i];
        struct eye_err err = {0};
        if (s->state == EYE_SLOT_FREE || !atomic_load(&s->request->cancelled)) continue;
        enum eye_status st = eye_fail(&err, EYE_E_CANCELLED, "cancelled");
        finish(l, s, st, &err);
    }
}

/* ---- pictures ---- */

static bool is_cancelled(void *ctx) { return atomic_load(&((struct eye_request *)ctx)->cancelled); }

/* Are the rows of its next image in the batch's cache, or in the model's folder? */
static bool rows_are_there(struct eye_lane *l, struct eye_slot *s) {
    struct eye_batch *b = l->batch;
    const struct eye_request *r = s->request;
    size_t n = rows_of(l, r, s->i_image) * l->decoder.width;
    float *rows = s->image_rows + rows_before(l, r, s->i_image) * l->decoder.width;
    if (eye_rows_find(&b->rows, &r->image_key[s->i_image], rows, n)) return true;
    if (!b->model->opts.cache_dir || s->n_asked > s->i_image) return false;
    s->n_asked = s->i_image + 1;
    pthread_mutex_lock(&b->folder);
    bool there = eye_folder_find(b->model, &r->image[s->i_image], &s->folder_key, rows);
    pthread_mutex_unlock(&b->folder);
    if (there) eye_rows_keep(&b->rows, &r->image_key[s->i_image], rows, n);
    return there;
}

/* Whose rows are there is done with looking; of the others the one that came first. */
static struct eye_slot *who_looks(struct eye_lane *l, uint64_t *n_hits) {
    struct eye_slot *first = NULL;
    for (int32_t i = 0; i < l->n_slots; i++) {
        struct eye_slot *s = &l->slot[i];
        const struct eye_request *r = s->request;
        if (s->state != EYE_SLOT_LOOK) continue;
        while (s != l->looking && s->i_image < r->n_images && rows_are_there(l, s)) {
            ++*n_hits;
            s->i_image++;
        }
        if (s->i_image == r->n_images) s->state = EYE_SLOT_READ;
        else if (!first || r->id < first->request->id) first = s;
    }
    return l->looking ? l->looking : first;
}

/* One picture of its next image. */
static enum eye_status look(struct eye_lane *l, struct eye_slot *s, struct eye_err *err) {
    struct eye_batch *b = l->batch;
    struct eye_request *r = s->request;
    struct eye_timings *t = &s->result.timings;
    size_t width = l->decoder.width, n_rows = rows_of(l, r, s->i_image);
    float *rows = s->image_rows + rows_before(l, r, s->i_image) * width;
    if (!l->looking) {
        EYE_TRY(eye_eyes_take(&l->eyes, &r->image[s->i_image], &l->n_pictures, t, err));
        l->looking = s;
        l->i_picture = 0;
    }
    EYE_TRY(eye_eyes_see(&l->eyes, l->i_picture, rows + l->i_picture * (size_t)b->model->picture_rows * width, t, is_cancelled,
                         r, err));
    if (++l->i_picture < l->n_pictures) return EYE_OK;
    eye_rows_keep(&b->rows, &r->image_key[s->i_image], rows, n_rows * width);
    if (b->model->opts.cache_dir) {
        pthread_mutex_lock(&b->folder);
        eye_folder_keep(b->model, &r->image[s->i_image], &s->folder_key, rows);
        pthread_mutex_unlock(&b->folder);
    }
    l->looking = NULL;
    if (++s->i_image == r->n_images) s->state = EYE_SLOT_READ;
    return EYE_OK;
}

static bool look_at_one(struct eye_lane *l) {
    struct eye_batch *b = l->batch;
    struct eye_err err = {0};
    uint64_t n_hits = 0, begin_ns = eye_now_ns();
    struct eye_slot *s = who_looks(l, &n_hits);
    size_t i_image = s ? s->i_image : 0;
    enum eye_status st = s ? look(l, s, &err) : EYE_OK;
    if (!s && !n_hits) return false;
    pthread_mutex_lock(&b->lock);
    b->stats.n_image_hits += n_hits;
    b->stats.n_image_misses += s && st == EYE_OK && s->i_image > i_image;
    b->stats.vision_us += (eye_now_ns() - begin_ns) / 1000;
    pthread_mutex_unlock(&b->lock);
    if (st != EYE_OK) finish(l, s, st, &err);
    return true;
}

/* ---- the decoder ---- */

struct run { /* what is laid out for one eye_decode */
    size_t n_calls, n_rows, n_logits;
    int32_t n_decoding;
};

static void lay_writer(struct eye_lane *l, struct eye_slot *s, struct run *run) {
    struct eye_decode_call *c = &l->call[run->n_calls];
    size_t n = 1;
    if (s->state == EYE_SLOT_SEARCH) n = eye_hunts_lay_out(s->hunts, c);
    else
        *c = (struct eye_decode_call){.ids = &s->next, .n = 1, .n_logits = 1,
                                      .at = {.pos = s->n_past, .slot = s->slot + s->n_past, .n_own = s->n_past}};
    s->n_run = n;
    s->logits = l->logits + run->n_logits * l->decoder.vocab;
    run->n_calls += n;
    run->n_rows += n;
    run->n_logits += n;
    run->n_decoding++;
}

static void lay_reader(struct eye_lane *l, struct eye_slot *s, size_t most, struct run *run) {
    struct eye_request *r = s->request;
    size_t left = r->n - (size_t)s->n_past, n = EYE_MIN(left, most);
    const float *rows = s->image_rows ? s->image_rows + s->n_rows_done * l->decoder.width : NULL;
    l->call[run->n_calls++] = (struct eye_decode_call){
        .ids = r->ids + s->n_past, .n = n, .image_rows = rows, .n_logits = n == left,
        .at = {.pos = s->n_past, .slot = s->slot + s->n_past, .n_own = s->n_past}};
    s->n_run = n;
    s->logits = n == left ? l->logits + run->n_logits * l->decoder.vocab : NULL;
    run->n_logits += n == left;
    run->n_rows += n;
}

/* Those who write, then prompts in the order in which they came, as far as they may go. */
static struct run lay_out(struct eye_lane *l) {
    struct run run = {0};
    for (int32_t i = 0; i < l->n_slots; i++) {
        struct eye_slot *s = &l->slot[i];
        s->n_run = 0;
        if (s->state == EYE_SLOT_WRITE || s->state == EYE_SLOT_SEARCH) lay_writer(l, s, &run);
    }
    size_t room = run.n_rows ? (size_t)l->batch->opts.prefill_tok : l->decoder.rows;
    while (room > 0) {
        struct eye_slot *first = NULL;
        for (int32_t i = 0; i < l->n_slots; i++) {
            struct eye_slot *s = &l->slot[i];
            if (s->state == EYE_SLOT_READ && !s->n_run && (!first || s->request->id < first->request->id)) first = s;
        }
        if (!first) break;
        lay_reader(l, first, room, &run);
        room -= first->n_run;
    }
    return run;
}

/* From logits to the next token or beams: most of what a token costs beside the decoder where the vocabulary is large, and nothing
 * that two slots share. */
static void choose_task(void *ctx, int i_task, int i_thread) {
    struct eye_slot *s = &((struct eye_lane *)ctx)->slot[i_task];
    const struct eye_request *r = s->request;
    (void)i_thread;
    if (s->state == EYE_SLOT_FREE || !s->n_run || !s->logits) return;
    if (s->state == EYE_SLOT_READ) eye_reply_read(&s->reply, r->ids, r->n);
    if (s->state == EYE_SLOT_SEARCH) eye_hunts_choose(s->hunts, s->logits);
    else if (r->n_beams == 1) s->next = eye_reply_pick(&s->reply, s->logits);
}

static void choose(struct eye_lane *l) {
    if (l->batch->n_lanes == 1) {
        eye_pool_run(l->batch->model->engine.pool, l->n_slots, choose_task, l);
        return;
    }
    for (int32_t i = 0; i < l->n_slots; i++) choose_task(l, i, 0);
}

/* True: the answer is over. */
static bool write_token(struct eye_lane *l, struct eye_slot *s) {
    pthread_mutex_t *voice = &l->batch->voice;
    eye_reply_clock(&s->reply);
    s->state = EYE_SLOT_WRITE;
    pthread_mutex_lock(voice);
    bool over = eye_reply_take(&s->reply, s->next, s->n_past);
    pthread_mutex_unlock(voice);
    return over;
}

static bool take_beam(struct eye_lane *l, struct eye_slot *s) {
    if (!eye_hunts_over(s->hunts)) return false;
    struct eye_search_answer best = eye_hunts_answer(s->hunts, 0, 0);
    eye_reply_clock(&s->reply);
    pthread_mutex_lock(&l->batch->voice);
    eye_reply_take_beam(&s->reply, &best, s->n_past);
    pthread_mutex_unlock(&l->batch->voice);
    return true;
}

static enum eye_status begin_answer(struct eye_lane *l, struct eye_slot *s, bool *over, struct eye_err *err) {
    struct eye_request *r = s->request;
    struct eye_search_opts o;
    int64_t first;
    if (l->batch->prefix.n) eye_prefix_keep(&l->batch->prefix, r->piece, r->n_pieces, s->slot);
    if (r->n_beams == 1) {
        *over = write_token(l, s);
        return EYE_OK;
    }
    EYE_TRY(eye_reply_search(&s->reply, r->n_beams, s->n_past, eye_model_slots(l->batch->model, l->batch->opts.n_ctx), &o, &first,
                             err));
    struct eye_search_prompt prompt = {s->slot, s->n_past, s->logits};
    EYE_TRY(eye_hunts_begin(&s->hunts, &l->decoder, &o, &prompt, 1, s->slot + first, &r->arena, err));
    s->state = EYE_SLOT_SEARCH;
    *over = take_beam(l, s);
    return EYE_OK;
}

/* What a run gave a slot. */
static void go_on(struct eye_lane *l, struct eye_slot *s, uint64_t ns) {
    struct eye_err err = {0};
    enum eye_status st = EYE_OK;
    bool over = false;
    if (s->state == EYE_SLOT_SEARCH) {
        over = take_beam(l, s);
    } else if (s->state == EYE_SLOT_WRITE) {
        s->n_past++;
        over = write_token(l, s);
    } else {
        struct eye_request *r = s->request;
        for (size_t i = 0; i < s->n_run; i++) s->n_rows_done += r->ids[(size_t)s->n_past + i] == EYE_TOKEN_IMAGE_ROW;
        s->n_past += (int32_t)s->n_run;
        s->result.timings.prefill_us += ns / 1000;
        if (s->logits) st = begin_answer(l, s, &over, &err);
    }
    if (st != EYE_OK || over) finish(l, s, st, &err);
}

static bool decode(struct eye_lane *l) {
    struct eye_batch *b = l->batch;
    struct run run = lay_out(l);
    struct eye_err err = {0};
    if (run.n_calls == 0) return false;
    uint64_t begin_ns = eye_now_ns();
    enum eye_status st = eye_decode(&l->decoder, l->call, run.n_calls, l->logits, NULL, NULL, &err);
    uint64_t ns = eye_now_ns() - begin_ns;
    if (st == EYE_OK) choose(l);
    for (int32_t i = 0; i < l->n_slots; i++) {
        struct eye_slot *s = &l->slot[i];
        if (s->state == EYE_SLOT_FREE || !s->n_run) continue;
        if (st != EYE_OK) finish(l, s, st, &err);
        else go_on(l, s, ns);
    }
    pthread_mutex_lock(&b->lock);
    b->stats.n_rounds++;
    b->stats.n_rows += run.n_rows;
    b->stats.decoder_us += ns / 1000;
    pthread_mutex_unlock(&b->lock);
    return true;
}

static void count(struct eye_lane *l) {
    int32_t n_decoding = 0;
    uint64_t used = 0;
    for (int32_t i = 0; i < l->n_slots; i++) {
        const struct eye_slot *s = &l->slot[i];
        if (s->state == EYE_SLOT_FREE) continue;
        used += (uint64_t)s->n_past;
        n_decoding += s->state == EYE_SLOT_WRITE || s->state == EYE_SLOT_SEARCH;
    }
    pthread_mutex_lock(&l->batch->lock);
    l->n_decoding = n_decoding;
    l->kv_used = used;
    pthread_mutex_unlock(&l->batch->lock);
}

bool eye_lane_round(struct eye_lane *l) {
    eye_batch_bury(l->batch);
    bool any = take_in(l);
    end_cancelled(l);
    any |= look_at_one(l);
    any |= decode(l);
    if (any) count(l);
    return any;
}
