/* session: one context. Images through preprocessing, vision tower and projector; ids through embedding, decoder and head.
 *
 *   encode   picture -> pixels [1,S,S,3] -> VISION -> features [n,C] -> PROJECTOR -> rows [n,hidden]
 *   prefill  ids -> EMBED -> image rows spliced -> DECODER (appends to the KV cache, at most EYE_PREFILL_ROWS at a time)
 *            -> hidden -> HEAD (last row only) -> logits
 *
 * A step is a prefill of one row: same code, same numbers. Everything it touches was allocated before. */
#include <inttypes.h>
#include <string.h>

#include "eyelet/experimental.h"
#include "session/session_impl.h"

/* ---- new, free ---- */

struct eye_exec *eye_session_exec(const struct eye_session *s, enum eye_part part) {
    if (part == EYE_PART_VISION) return s->eyes.vision;
    return part == EYE_PART_PROJECTOR ? s->eyes.projector : s->decoder.exec[part - EYE_PART_EMBED];
}

/* These two want the lock held. */
static enum eye_status take_memory(struct eye_session *s, struct eye_err *err) {
    struct eye_model *m = s->model;
    const struct eye_part_plan *part[EYE_N_DECODE];
    const struct eye_plan *plan;
    size_t vocab = (size_t)m->vlm.config.text.vocab;
    for (int i = 0; i < EYE_N_DECODE; i++) {
        EYE_TRY(eye_model_plan(m, (enum eye_part)(EYE_PART_EMBED + i), &plan, err));
        part[i] = &m->part[EYE_PART_EMBED + i];
    }
    EYE_TRY(eye_decoder_init(&s->decoder, part, (size_t)EYE_MIN(EYE_PREFILL_ROWS, s->n_ctx), (size_t)m->opts.n_parallel,
                             eye_model_slots(m, s->n_ctx), s->alloc, err));
    s->logits = eye_alloc_zero(s->alloc, vocab * sizeof *s->logits);
    s->past = eye_alloc_zero(s->alloc, (size_t)s->n_ctx * sizeof *s->past);
    return s->logits && s->past ? EYE_OK : eye_fail_nomem(err, vocab * sizeof *s->logits);
}

static enum eye_status take_image_memory(struct eye_session *s, struct eye_err *err) {
    EYE_TRY(eye_eyes_open(&s->eyes, s->model, err));
    eye_exec_timing(s->eyes.vision, s->time_ops);
    eye_exec_timing(s->eyes.projector, s->time_ops);
    return EYE_OK;
}

enum eye_status eye_session_new(struct eye_model *m, const struct eye_session_opts *opts, struct eye_session **session,
                                struct eye_err *err) {
    struct eye_session_opts o = opts ? *opts : (struct eye_session_opts){0};
    if (!o.cancel) {
        o.cancel = m->opts.cancel;
        o.cancel_ctx = m->opts.cancel_ctx;
    }
    if (o.n_ctx < 0 || o.n_ctx > m->opts.n_ctx)
        return eye_fail(err, EYE_E_ARG, "n_ctx is %d, expected 0 to %d (the model's: raise it when opening)", o.n_ctx,
                        m->opts.n_ctx);
    struct eye_session *s = eye_alloc_zero(m->alloc, sizeof *s);
    if (!s) return eye_fail_nomem(err, sizeof *s);
    s->model = m;
    s->alloc = m->alloc;
    s->opts = o;
    s->n_ctx = o.n_ctx ? o.n_ctx : m->opts.n_ctx;
    s->pending = -1;
    s->prompt.alloc = m->alloc;
    eye_reply_init(&s->reply, m, s->n_ctx);
    eye_buf_init(&s->prefix.text, m->alloc);
    pthread_mutex_lock(&m->lock);
    m->n_sessions++;
    enum eye_status st = take_memory(s, err);
    if (st == EYE_OK && o.with_images) st = take_image_memory(s, err);
    pthread_mutex_unlock(&m->lock);
    if (st != EYE_OK) {
        eye_session_free(s);
        return st;
    }
    *session = s;
    return EYE_OK;
}

void eye_session_free(struct eye_session *s) {
    if (!s) return;
    struct eye_model *m = s->model;
    const struct eye_vlm_config *c = &m->vlm.config;
    eye_eyes_clear(&s->eyes);
    eye_decoder_clear(&s->decoder);
    eye_reply_clear(&s->reply);
    eye_alloc_free(s->alloc, s->logits, (size_t)c->text.vocab * sizeof *s->logits);
    eye_alloc_free(s->alloc, s->ahead, s->ahead_cap * sizeof *s->ahead);
    eye_ids_clear(&s->prompt);
    eye_buf_clear(&s->prefix.text);
    eye_alloc_free(s->alloc, s->prefix.image, s->prefix.image_cap * sizeof *s->prefix.image);
    eye_alloc_free(s->alloc, s->past, (size_t)s->n_ctx * sizeof *s->past);
    eye_alloc_free(s->alloc, s->image_rows, s->image_rows_cap * sizeof *s->image_rows);
    eye_alloc_free(s->alloc, s, sizeof *s);
    pthread_mutex_lock(&m->lock);
    m->n_sessions--;
    pthread_mutex_unlock(&m->lock);
}

void eye_session_reset(struct eye_session *s) {
    s->n_past = 0;
    s->pending = -1;
    s->prefix.active = false;
}

int32_t eye_session_n_ctx(const struct eye_session *s) { return s->n_ctx; }
int32_t eye_session_n_past(const struct eye_session *s) { return s->n_past + (s->pending >= 0); }

/* ---- images ---- */

/* The engine asks between its steps whether to go on: the place to say how far it is. */
struct watch {
    struct eye_session *s;
    const char *what; /* NULL = too short to speak of */
    size_t n_asked, n_steps;
};

static bool between_steps(void *ctx) {
    struct watch *w = ctx;
    const struct eye_model_opts *o = &w->s->model->opts;
    w->n_asked++;
    if (w->what && o->progress)
        o->progress(o->progress_ctx, w->what, (double)EYE_MIN(w->n_asked, w->n_steps) / (double)(w->n_steps + 1));
    return w->s->opts.cancel && w->s->opts.cancel(w->s->opts.cancel_ctx);
}

#define LONG_ROWS 32 /* fewer are done before a bar could be read */

/* Picture i of those in s->eyes. */
static enum eye_status see(struct eye_session *s, size_t i, float *out, struct eye_timings *t, struct eye_err *err) {
    struct eye_model *m = s->model;
    struct watch w = {.s = s, .n_steps = m->part[EYE_PART_VISION].graph.n_nodes, .what = "looking at the image"};
    pthread_mutex_lock(&m->lock);
    enum eye_status st = eye_eyes_see(&s->eyes, i, out, t, between_steps, &w, err);
    if (m->opts.progress) m->opts.progress(m->opts.progress_ctx, w.what, 1);
    pthread_mutex_unlock(&m->lock);
    return st;
}

enum eye_status eye_session_look(struct eye_session *s, const struct eye_image *img, float *out, struct eye_timings *timings,
                                 struct eye_err *err) {
    struct eye_model *m = s->model;
    struct eye_timings t = {0};
    size_t n = 0, rows = (size_t)m->picture_rows * (size_t)m->vlm.config.text.hidden;
    pthread_mutex_lock(&m->lock);
    enum eye_status st = take_image_memory(s, err);
    if (st == EYE_OK) st = eye_eyes_take(&s->eyes, img, &n, &t, err);
    pthread_mutex_unlock(&m->lock);
    if (st != EYE_OK) return st;
    for (size_t i = 0; i < n; i++) EYE_TRY(see(s, i, out + i * rows, &t, err));
    if (timings) {
        timings->preprocess_us += t.preprocess_us;
        timings->vision_us += t.vision_us;
        timings->projector_us += t.projector_us;
    }
    return EYE_OK;
}

/* ---- prefill and step ---- */

enum eye_status eye_session_check_ids(const struct eye_session *s, const int32_t *ids, size_t n, size_t *n_image_rows,
                                      struct eye_err *err) {
    int32_t n_vocab = eye_model_n_vocab(s->model);
    *n_image_rows = 0;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == EYE_TOKEN_IMAGE_ROW)
            ++*n_image_rows;
        else if (ids[i] < 0 || ids[i] >= n_vocab)
            return eye_fail(err, EYE_E_ARG, "token %zu is %d, expected 0 to %d", i, ids[i], n_vocab - 1);
    }
    return EYE_OK;
}

/* Wants the lock held. */
static enum eye_status run_tokens(struct eye_session *s, const int32_t *ids, size_t n, const float *image_rows, size_t n_logits,
                                  float *logits, struct eye_err *err) {
    const struct eye_model_opts *o = &s->model->opts;
    size_t n_runs = (n - 1) / s->decoder.rows + 1;
    struct watch w = {.s = s, .n_steps = n_runs * s->model->part[EYE_PART_DECODER].graph.n_nodes,
                      .what = n >= LONG_ROWS ? "reading the prompt" : NULL};
    struct eye_decode_call call = {.ids = ids, .n = n, .image_rows = image_rows, .n_logits = n_logits,
                                   .at = {.pos = s->n_past, .slot = s->n_past, .n_own = s->n_past}};
    enum eye_status st = eye_decode(&s->decoder, &call, 1, logits, between_steps, &w, err);
    if (w.what && o->progress) o->progress(o->progress_ctx, w.what, 1);
    return st;
}

static enum eye_status append(struct eye_session *s, const int32_t *ids, size_t n, const float *image_rows, size_t n_logits,
                              float *logits, struct eye_err *err) {
    size_t n_image_rows, left = (size_t)(s->n_ctx - s->n_past);
    if (n == 0) return eye_fail(err, EYE_E_ARG, "no tokens");
    if (n > left)
        return eye_fail(err, EYE_E_LIMIT, "%zu tokens do not fit: %zu of the context's %d positions are left", n, left,
                        s->n_ctx);
    EYE_TRY(eye_session_check_ids(s, ids, n, &n_image_rows, err));
    if (n_image_rows && !image_rows)
        return eye_fail(err, EYE_E_ARG, "%zu image rows among the tokens, but no features", n_image_rows);
    pthread_mutex_lock(&s->model->lock);
    enum eye_status st = run_tokens(s, ids, n, image_rows, n_logits, logits, err);
    pthread_mutex_unlock(&s->model->lock);
    if (st != EYE_OK) return st; /* what was written stands beyond the end: as if it were not */
    memcpy(s->past + s->n_past, ids, n * sizeof *ids);
    s->n_past += (int32_t)n;
    s->prefix.active = false;
    return EYE_OK;
}

enum eye_status eye_session_append(struct eye_session *s, const int32_t *ids, size_t n, const float *image_rows, float *logits,
                                   struct eye_err *err) {
    return append(s, ids, n, image_rows, logits != NULL, logits, err);
}

enum eye_status eye_session_append_all(struct eye_session *s, const int32_t *ids, size_t n, float *logits, struct eye_err *err) {
    return append(s, ids, n, NULL, n, logits, err);
}

enum eye_status eye_session_prefill_logits(struct eye_session *s, const int32_t *ids, size_t n, const float *image_rows,
                                           size_t n_logits, float *logits, struct eye_err *err) {
    if (n_logits > n) return eye_fail(err, EYE_E_ARG, "logits of %zu rows are wanted, %zu are run", n_logits, n);
    if (s->pending >= 0) {
        int32_t id = s->pending;
        EYE_TRY(append(s, &id, 1, NULL, 0, NULL, err));
        s->pending = -1;
    }
    return append(s, ids, n, image_rows, n_logits, logits, err);
}

enum eye_status eye_session_prefill(struct eye_session *s, const int32_t *ids, size_t n, const float *image_rows, float *logits,
                                    struct eye_err *err) {
    return eye_session_prefill_logits(s, ids, n, image_rows, logits ? EYE_MIN(n, 1) : 0, logits, err);
}

enum eye_status eye_session_step(struct eye_session *s, int32_t id, float *logits, struct eye_err *err) {
    return eye_session_prefill(s, &id, 1, NULL, logits, err);
}
