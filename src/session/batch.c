/* session/batch: continuous batching: making a batch, its memory, the scheduler that runs its lanes. See eyelet/batch.h and
 * batch_impl.h. */
#include <string.h>

#include "session/batch_impl.h"

#define DEFAULT_SLOTS 8
#define LANE_SLOTS 4 /* of a lane that nobody waits for, */
#define LARGE_LANE_SLOTS 12 /* where its weights come from memory: whole tiles of 2, 3, 4 and 6 rows */
#define DEFAULT_QUEUED 1024
#define DEFAULT_PREFILL 128
#define DEFAULT_CACHE ((int64_t)64 << 20)
#define MAX_SLOTS 256
#define IN_CACHE_BYTES ((uint64_t)32 << 20) /* weights that stay in the processors' caches */
#define ROUND_NS 200000000 /* after so long the model is offered to its other users */

/* ---- sizes ---- */

static enum eye_status resolve(const struct eye_model *m, struct eye_batch_opts *o, struct eye_err *err) {
    if (o->n_slots < 0 || o->n_slots > MAX_SLOTS)
        return eye_fail(err, EYE_E_ARG, "batch: n_slots is %d, expected 0 to %d", o->n_slots, MAX_SLOTS);
    if (o->n_ctx < 0 || o->n_ctx > m->opts.n_ctx)
        return eye_fail(err, EYE_E_ARG, "batch: n_ctx is %d, expected 0 to %d (the model's: raise it when opening)", o->n_ctx,
                        m->opts.n_ctx);
    if (o->n_beams < 0 || o->n_beams > EYE_MAX_BEAMS)
        return eye_fail(err, EYE_E_ARG, "batch: n_beams is %d, expected 0 to %d", o->n_beams, EYE_MAX_BEAMS);
    if (o->max_queued < 0 || o->prefill_tok < 0)
        return eye_fail(err, EYE_E_ARG, "batch: max_queued is %d, prefill_tok %d, expected 0 or more", o->max_queued,
                        o->prefill_tok);
    if (o->n_lanes < EYE_LANES_MOST)
        return eye_fail(err, EYE_E_ARG, "batch: n_lanes is %d, expected %d or more", o->n_lanes, EYE_LANES_MOST);
    if (o->image_cache_bytes < -1 || o->prefix_cache_bytes < -1)
        return eye_fail(err, EYE_E_ARG, "batch: image_cache_bytes is %lld, prefix_cache_bytes %lld, expected -1 or more",
                        (long long)o->image_cache_bytes, (long long)o->prefix_cache_bytes);
    if (!o->n_ctx) o->n_ctx = m->opts.n_ctx;
    if (!o->n_beams) o->n_beams = (int32_t)EYE_MAX(EYE_MIN(m->vlm.config.n_beams, EYE_MAX_BEAMS), 1);
    if (!o->max_queued) o->max_queued = DEFAULT_QUEUED;
    if (!o->prefill_tok) o->prefill_tok = DEFAULT_PREFILL;
    if (!o->image_cache_bytes) o->image_cache_bytes = DEFAULT_CACHE;
    if (!o->prefix_cache_bytes) o->prefix_cache_bytes = DEFAULT_CACHE;
    o->image_cache_bytes = EYE_MAX(o->image_cache_bytes, 0);
    o->prefix_cache_bytes = EYE_MAX(o->prefix_cache_bytes, 0);
    return EYE_OK;
}

struct sizes { /* of a batch with resolved options */
    struct eye_batch_memory memory;
    int64_t slot_positions, n_positions; /* of the KV cache: of a slot, of all and the prefix cache */
    size_t n_pages;
    uint64_t weights;                    /* that run for a picture and a token */
};

static bool add_product(uint64_t *sum, uint64_t a, uint64_t b) {
    size_t product, total;
    if (!eye_mul_ok((size_t)a, (size_t)b, &product) || !eye_add_ok((size_t)*sum, product, &total)) return false;
    *sum = total;
    return true;
}

/* Of one lane. */
static uint64_t buffer_bytes(const struct eye_model *m) {
    uint64_t side = (uint64_t)m->opts.image_side, hidden = (uint64_t)m->vlm.config.text.hidden, pictures = 0;
    if (m->image_tokens) pictures = side * side * 3 * (eye_model_max_pictures(m) + sizeof(float));
    return pictures + (uint64_t)m->picture_tokens * (uint64_t)m->vlm.config.vision.channels * sizeof(float) +
           eye_eyes_merge_bytes(m) +
           (2 * eye_model_rows(m) + (uint64_t)m->opts.n_parallel) * hidden * sizeof(float);
}

/* n_slots and n_lanes, where they are left to the batch: doc/BATCHING.md, "Lanes". */
static void share_out(struct eye_batch_opts *o, uint64_t weights, int32_t n_threads) {
    bool in_caches = weights <= IN_CACHE_BYTES, most = o->n_lanes == EYE_LANES_MOST;
    int32_t lane = in_caches ? LANE_SLOTS : LARGE_LANE_SLOTS;
    if (!o->n_slots) o->n_slots = most ? EYE_MIN(n_threads * lane, MAX_SLOTS) : DEFAULT_SLOTS;
    if (o->n_lanes <= 0) o->n_lanes = in_caches || (most && o->n_slots >= n_threads * LANE_SLOTS) ? n_threads : 1;
    o->n_lanes = EYE_MIN(EYE_MIN(o->n_lanes, n_threads), o->n_slots);
}

/* Wants the lock held. Sets o->n_slots and o->n_lanes as well. */
static enum eye_status measure(struct eye_model *m, struct eye_batch_opts *o, struct sizes *out, struct eye_err *err) {
    struct sizes z = {.slot_positions = EYE_ALIGN_UP(eye_model_slots(m, o->n_ctx), EYE_ATTN_LANES)};
    uint64_t per_position = 0, lane = buffer_bytes(m), vocab = (uint64_t)m->vlm.config.text.vocab;
    EYE_TRY(eye_model_engine(m, err));
    for (int part = m->image_tokens ? 0 : EYE_PART_EMBED; part < EYE_N_PART; part++) {
        struct eye_plan_sizes size = {0};
        EYE_TRY(eye_model_measure(m, (enum eye_part)part, &size, err));
        per_position += size.state_per_position;
        lane += size.activations + size.scratch;
        if (part != EYE_PART_EMBED) z.weights += size.weights + size.ready;
    }
    share_out(o, z.weights, eye_pool_n_threads(m->engine.pool));
    z.n_pages = (size_t)((uint64_t)o->prefix_cache_bytes / (per_position * EYE_PAGE));
    z.memory.slot = (uint64_t)o->n_beams * vocab * sizeof(float) + vocab * (sizeof(struct eye_candidate) + 2 * sizeof(float)) +
                    (uint64_t)o->n_ctx * 2 * sizeof(int32_t);
    bool fits = add_product(&z.memory.slot, (uint64_t)z.slot_positions, per_position) &&
                add_product(&z.memory.slot, (uint64_t)o->n_ctx + 1, m->max_piece_bytes) &&
                add_product(&z.memory.slots, (uint64_t)o->n_slots, z.memory.slot) &&
                add_product(&z.memory.activations, (uint64_t)o->n_lanes, lane);
    z.n_positions = z.slot_positions * o->n_slots + (int64_t)EYE_MIN(z.n_pages, INT32_MAX) * EYE_PAGE;
    z.memory.image_cache = (uint64_t)o->image_cache_bytes;
    z.memory.prefix_cache = (uint64_t)z.n_pages * EYE_PAGE * per_position;
    z.memory.total = z.memory.slots + z.memory.activations + z.memory.image_cache + z.memory.prefix_cache;
    if (!fits || z.n_positions > INT32_MAX / 2)
        return eye_fail(err, EYE_E_LIMIT, "batch: %d slots of %d positions and %zu pieces of prompts are more than can be "
                        "addressed", o->n_slots, o->n_ctx, z.n_pages);
    *out = z;
    return EYE_OK;
}

enum eye_status eye_batch_get_memory(struct eye_model *m, const struct eye_batch_opts *opts, struct eye_batch_memory *out,
                                     struct eye_err *err) {
    struct eye_batch_opts o = opts ? *opts : (struct eye_batch_opts){0};
    struct sizes z;
    EYE_TRY(resolve(m, &o, err));
    pthread_mutex_lock(&m->lock);
    enum eye_status st = measure(m, &o, &z, err);
    pthread_mutex_unlock(&m->lock);
    if (st == EYE_OK) *out = z.memory;
    return st;
}

/* ---- new, free ---- */

/* Wants the model's lock held. */
static enum eye_status take_memory(struct eye_batch *b, struct eye_err *err) {
    struct sizes z;
    EYE_TRY(measure(b->model, &b->opts, &z, err));
    b->slots = eye_alloc_zero(b->alloc, (size_t)b->opts.n_slots * sizeof *b->slots);
    b->lane = eye_alloc_zero(b->alloc, (size_t)b->opts.n_lanes * sizeof *b->lane);
    if (!b->slots || !b->lane) return eye_fail_nomem(err, (size_t)b->opts.n_slots * sizeof *b->slots);
    b->n_lanes = (size_t)b->opts.n_lanes;
    b->slot_positions = z.slot_positions;
    b->page_bytes = z.n_pages ? z.memory.prefix_cache / z.n_pages : 0;
    for (int32_t i = 0; i < b->opts.n_slots; i++) b->slots[i].slot = i * z.slot_positions;
    for (int32_t i = 0, from = 0; i < b->opts.n_lanes; i++) {
        int32_t end = (i + 1) * b->opts.n_slots / b->opts.n_lanes;
        EYE_TRY(eye_lane_open(&b->lane[i], b, b->slots + from, end - from, i ? &b->lane[0] : NULL, z.n_positions, err));
        from = end;
    }
    if (z.n_pages == 0) return EYE_OK;
    return eye_prefix_init(&b->prefix, b->lane[0].decoder.kv, z.slot_positions * b->opts.n_slots, z.n_pages, b->alloc, err);
}

enum eye_status eye_batch_new(struct eye_model *m, const struct eye_batch_opts *opts, struct eye_batch **batch,
                              struct eye_err *err) {
    struct eye_batch_opts o = opts ? *opts : (struct eye_batch_opts){0};
    EYE_TRY(resolve(m, &o, err));
    struct eye_batch *b = eye_alloc_zero(m->alloc, sizeof *b);
    if (!b) return eye_fail_nomem(err, sizeof *b);
    b->model = m;
    b->alloc = m->alloc;
    b->opts = o;
    b->last = &b->first;
    pthread_mutex_init(&b->lock, NULL);
    pthread_mutex_init(&b->voice, NULL);
    pthread_mutex_init(&b->folder, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->change, &attr);
    pthread_condattr_destroy(&attr);
    eye_rows_init(&b->rows, (size_t)o.image_cache_bytes, m->alloc);
    pthread_mutex_lock(&m->lock);
    m->n_sessions++;
    enum eye_status st = eye_key_draw(&b->secret, err);
    if (st == EYE_OK) st = take_memory(b, err);
    pthread_mutex_unlock(&m->lock);
    if (st != EYE_OK) {
        eye_batch_free(b);
        return st;
    }
    *batch = b;
    return EYE_OK;
}

static void end_all(struct eye_batch *b) {
    struct eye_err err = {0};
    enum eye_status st = eye_fail(&err, EYE_E_CANCELLED, "cancelled: the batch is freed");
    for (size_t i = 0; i < b->n_lanes; i++)
        if (b->lane[i].batch) eye_lane_end(&b->lane[i], st, &err);
    eye_batch_bury(b);
    for (;;) {
        pthread_mutex_lock(&b->lock);
        struct eye_request *r = eye_batch_pop(b);
        pthread_mutex_unlock(&b->lock);
        if (!r) return;
        eye_request_done(b, r, NULL, st, &err);
    }
}

void eye_batch_free(struct eye_batch *b) {
    if (!b) return;
    struct eye_model *m = b->model;
    end_all(b);
    if (b->prefix.n) eye_prefix_clear(&b->prefix);
    eye_rows_clear(&b->rows);
    for (size_t i = b->n_lanes; i-- > 0;) eye_lane_clear(&b->lane[i]); /* the first has the cache of all */
    eye_alloc_free(b->alloc, b->lane, (size_t)b->opts.n_lanes * sizeof *b->lane);
    eye_alloc_free(b->alloc, b->slots, (size_t)b->opts.n_slots * sizeof *b->slots);
    pthread_cond_destroy(&b->change);
    pthread_mutex_destroy(&b->folder);
    pthread_mutex_destroy(&b->voice);
    pthread_mutex_destroy(&b->lock);
    eye_alloc_free(b->alloc, b, sizeof *b);
    pthread_mutex_lock(&m->lock);
    m->n_sessions--;
    pthread_mutex_unlock(&m->lock);
}

/* ---- running ---- */

static bool has_work(const struct eye_batch *b) { return b->first || b->dead || b->n_active > 0; } /* wants b->lock held */

/* A lane without work sleeps while others work, who may leave it some; false: nobody does, or the round is over. */
static bool wait_for_work(struct eye_batch *b) {
    struct timespec end = {(time_t)(b->round_end_ns / 1000000000), (long)(b->round_end_ns % 1000000000)};
    pthread_mutex_lock(&b->lock);
    if (--b->n_busy == 0) pthread_cond_broadcast(&b->change);
    while (!b->stop && !b->first && b->n_busy > 0 && eye_now_ns() < b->round_end_ns)
        pthread_cond_timedwait(&b->change, &b->lock, &end);
    bool go_on = !b->stop && b->first && eye_now_ns() < b->round_end_ns;
    if (go_on) b->n_busy++;
    pthread_mutex_unlock(&b->lock);
    return go_on;
}

static bool is_over(struct eye_batch *b) {
    pthread_mutex_lock(&b->lock);
    bool over = b->stop || eye_now_ns() >= b->round_end_ns;
    pthread_mutex_unlock(&b->lock);
    return over;
}

static void leave(struct eye_batch *b) {
    pthread_mutex_lock(&b->lock);
    if (--b->n_busy == 0) pthread_cond_broadcast(&b->change);
    pthread_mutex_unlock(&b->lock);
}

static void lane_task(void *ctx, int i_task, int i_thread) {
    struct eye_batch *b = ctx;
    (void)i_thread;
    pthread_mutex_lock(&b->lock);
    b->n_busy++;
    pthread_mutex_unlock(&b->lock);
    for (;;) {
        if (!eye_lane_round(&b->lane[i_task]) && !wait_for_work(b)) return;
        if (!is_over(b)) continue;
        leave(b);
        return;
    }
}

/* Rounds for so long. */
static void work(struct eye_batch *b, uint64_t ns) {
    pthread_mutex_lock(&b->model->lock);
    pthread_mutex_lock(&b->lock);
    b->round_end_ns = eye_now_ns() + ns;
    pthread_mutex_unlock(&b->lock);
    if (b->n_lanes > 1) eye_pool_run(b->model->engine.pool, (int)b->n_lanes, lane_task, b);
    else eye_lane_round(&b->lane[0]);
    pthread_mutex_unlock(&b->model->lock);
}

bool eye_batch_step(struct eye_batch *b) {
    work(b, 0);
    pthread_mutex_lock(&b->lock);
    bool more = has_work(b);
    pthread_mutex_unlock(&b->lock);
    return more;
}

void eye_batch_run(struct eye_batch *b, bool until_idle) {
    for (;;) {
        pthread_mutex_lock(&b->lock);
        while (!b->stop && !has_work(b) && !until_idle) pthread_cond_wait(&b->change, &b->lock);
        bool end = b->stop || !has_work(b);
        b->stop = false;
        pthread_mutex_unlock(&b->lock);
        if (end) return;
        work(b, ROUND_NS);
    }
}

void eye_batch_stop(struct eye_batch *b) {
    pthread_mutex_lock(&b->lock);
    b->stop = true;
    pthread_cond_broadcast(&b->change);
    pthread_mutex_unlock(&b->lock);
}

void eye_batch_get_stats(struct eye_batch *b, struct eye_batch_stats *out) {
    pthread_mutex_lock(&b->rows.lock);
    uint64_t image_bytes = b->rows.bytes;
    pthread_mutex_unlock(&b->rows.lock);
    size_t n_pages = 0;
    if (b->prefix.n) {
        pthread_mutex_lock(&b->prefix.lock);
        n_pages = b->prefix.n_used;
        pthread_mutex_unlock(&b->prefix.lock);
    }
    pthread_mutex_lock(&b->lock);
    struct eye_batch_stats s = b->stats;
    s.n_slots = b->opts.n_slots;
    s.n_queued = b->n_queued;
    s.n_active = b->n_active;
    s.kv_positions = (uint64_t)b->opts.n_slots * (uint64_t)b->opts.n_ctx;
    for (size_t i = 0; i < b->n_lanes; i++) {
        s.n_decoding += b->lane[i].n_decoding;
        s.kv_used += b->lane[i].kv_used;
    }
    pthread_mutex_unlock(&b->lock);
    s.image_cache_bytes = image_bytes;
    s.image_cache_cap = b->rows.most_bytes;
    s.prefix_cache_bytes = n_pages * b->page_bytes;
    s.prefix_cache_cap = b->prefix.n * b->page_bytes;
    *out = s;
}
