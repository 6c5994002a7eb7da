/* Answers: what a teacher that is a VLM says of the training pictures: captions, and the likeliest tokens after each token of a
 * caption. Both are kept in stores whose keys are hashes of all they follow from: the teacher's files, the pictures, the
 * captions' tokens and the recipe's keys; so whoever changes one of these gets new ones, and whoever resumes the old ones.
 *
 *   teacher-captions.bin  "EYESAYS1"  text: a line per caption, in the order of the corpus; empty = the picture was unreadable
 *   teacher-logits.bin    "EYETOPK1"  [targets of the corpus] i32 ids [K], f32 log-probabilities [K] */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eyelet/image.h"
#include "session/many.h"
#include "session/session_impl.h"
#include "train/folder.h"
#include "train/trainer.h"

enum { AT_ONCE = 16 }; /* pictures that are captioned together */

/* ---- keys ---- */

static uint64_t hash_text(const char *s, uint64_t h) { return s ? eye_hash64(s, strlen(s) + 1, h) : h; }

/* Everything the model is made of. */
static uint64_t hash_checkpoint(const struct eye_checkpoint *c, uint64_t h) {
    const char *p;
    size_t n;
    for (size_t i = 0; i < c->n; i++) {
        const struct eye_entry *e = eye_checkpoint_tensor(c, i);
        h = eye_hash64(e->t.data, e->bytes, hash_text(e->name, h));
    }
    for (size_t i = 0; eye_checkpoint_side_name(i); i++)
        if (eye_checkpoint_text(c, eye_checkpoint_side_name(i), &p, &n)) h = eye_hash64(p, n, h);
    return h;
}

static uint64_t hash_pictures(const struct eye_corpus *c, const struct eye_pixels *px, uint64_t h) {
    return eye_pixels_hash(px, eye_hash64(c->picture, c->n_groups * sizeof *c->picture, h));
}

static enum eye_status not_there(const char *path, struct eye_err *err) {
    return eye_fail(err, EYE_E_IO, "%s: not what was written a moment ago", path);
}

/* ---- captions ---- */

static const char says[] = "EYESAYS1";

struct writing {
    struct eye_teacher *x;
    struct eye_model *model;
    struct eye_many *many;
    struct eye_store_writer w;
    size_t n_beams, n_bad;
    bool told; /* an example */
};

static enum eye_status picture_of(const struct eye_trainer *t, uint32_t i, struct eye_image *img, struct eye_err *err) {
    const struct eye_pixels *px = &t->pixels;
    if (t->recipe.data.path.n) return eye_image_load(t->set->image[i].path, NULL, img, err);
    return eye_image_wrap(img, eye_pixels_at(px, i), px->side, px->side, 0, err); /* drawn: there is no file */
}

static enum eye_status put_line(struct writing *w, const char *text, struct eye_err *err) {
    char line[200];
    const struct eye_train_opts *o = w->x->t->opts;
    if (!w->told && o->note && *text) {
        snprintf(line, sizeof line, "the teacher writes \"%.150s\"", text);
        o->note(o->ctx, line);
        w->told = true;
    }
    for (size_t n; *text; text += n) { /* a line is a caption */
        n = strcspn(text, "\r\n");
        EYE_TRY(eye_store_put(&w->w, text, n, err));
        text += n;
        n = strspn(text, "\r\n");
        if (n) EYE_TRY(eye_store_put(&w->w, " ", 1, err));
    }
    return eye_store_put(&w->w, "\n", 1, err);
}

/* Pictures [n] at groups from.. on. Those that cannot be read get empty lines. */
static enum eye_status write_some(struct writing *w, size_t from, size_t n, struct eye_arena *arena, struct eye_err *err) {
    struct eye_trainer *t = w->x->t;
    struct eye_many_prompt prompt[AT_ONCE];
    size_t at[AT_ONCE], n_seen = 0;
    struct eye_search_answer *answer = eye_arena_alloc(arena, n * w->n_beams * sizeof *answer);
    if (!answer) return eye_fail_nomem(err, n * w->n_beams * sizeof *answer);
    for (size_t i = 0; i < n; i++) {
        struct eye_image img;
        at[i] = SIZE_MAX;
        if (picture_of(t, t->train.picture[from + i], &img, NULL) != EYE_OK) continue;
        struct eye_query q = {.text = w->x->recipe->prompt, .images = &img, .n_images = 1};
        enum eye_status st = eye_many_prepare(w->many, &q, arena, &prompt[n_seen], err);
        eye_image_free(&img);
        EYE_TRY(st);
        at[i] = n_seen++;
    }
    if (n_seen) EYE_TRY(eye_many_answer(w->many, prompt, n_seen, arena, answer, err));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < (size_t)w->x->recipe->captions; k++) {
            const struct eye_search_answer *a = at[i] == SIZE_MAX ? NULL : &answer[at[i] * w->n_beams + k];
            const char *text = a ? eye_many_text(w->many, a->tokens, a->n, arena) : "";
            if (!text) return eye_fail_nomem(err, a->n);
            EYE_TRY(put_line(w, text, err));
        }
    w->n_bad += n - n_seen;
    return EYE_OK;
}

static enum eye_status write_all(struct writing *w, struct eye_err *err) {
    struct eye_trainer *t = w->x->t;
    size_t n = t->train.n_groups, step = (size_t)eye_many_at_once(w->many);
    struct eye_trainer_say say = {t->opts, "captions of the teacher"};
    char line[120];
    for (size_t i = 0; i < n; i += step) {
        struct eye_arena arena;
        if (eye_trainer_cancelled(t)) return eye_fail(err, EYE_E_CANCELLED, "cancelled");
        eye_many_seed(w->many, eye_hash64(&i, sizeof i, (uint64_t)t->recipe.seed));
        eye_arena_init(&arena, t->alloc);
        enum eye_status st = write_some(w, i, EYE_MIN(step, n - i), &arena, err);
        eye_arena_clear(&arena);
        EYE_TRY(st);
        eye_trainer_say(&say, (double)EYE_MIN(i + step, n) / (double)n);
    }
    snprintf(line, sizeof line, "the teacher could not see %zu of %zu pictures", w->n_bad, n);
    if (w->n_bad && t->opts->note) t->opts->note(t->opts->ctx, line);
    return EYE_OK;
}

static enum eye_status make_captions(struct writing *w, const char *path, uint64_t key, struct eye_err *err) {
    const struct eye_recipe_teacher *r = w->x->recipe;
    const struct eye_vlm_config *c = &w->model->vlm.config;
    struct eye_many_opts o = {.at_once = EYE_MIN(w->model->opts.n_parallel / (int32_t)w->n_beams, AT_ONCE)};
    int64_t room = w->model->opts.n_ctx - w->model->image_tokens - 1;
    o.search = (struct eye_search_opts){.n_beams = (int32_t)w->n_beams, .length_penalty = (float)c->length_penalty,
                                        .max_tok = (int32_t)EYE_MAX(EYE_MIN(w->x->t->recipe.data.max_tokens, room), 1),
                                        .sample = r->captions_temperature > 0, .temperature = (float)r->captions_temperature};
    EYE_TRY(eye_many_new(&w->many, w->model, &o, err));
    EYE_TRY(eye_store_begin(&w->w, path, says, key, err));
    enum eye_status st = write_all(w, err);
    if (st == EYE_OK) st = eye_store_commit(&w->w, err);
    eye_store_abort(&w->w);
    return st;
}

static enum eye_status ensure_captions(struct writing *w, struct eye_store *s, struct eye_err *err) {
    struct eye_teacher *x = w->x;
    const struct eye_recipe_teacher *r = x->recipe;
    struct eye_trainer *t = x->t;
    char path[EYE_PATH_CAP];
    if (!eye_vlm_sees(&w->model->vlm)) return eye_fail(err, EYE_E_ARG, "%s: a teacher that sees no images", r->path);
    const int64_t numbers[] = {r->captions, t->recipe.data.max_tokens, t->recipe.seed, (int64_t)w->n_beams};
    uint64_t key = hash_text(r->prompt, eye_hash64(numbers, sizeof numbers, 1));
    key = eye_hash64(&r->captions_temperature, sizeof r->captions_temperature, key);
    key = hash_pictures(&t->train, &t->pixels, hash_checkpoint(&w->model->ckpt, key));
    EYE_TRY(eye_path_join(path, t->opts->out, "teacher-captions.bin", err));
    if (eye_store_open(s, path, says, key)) return EYE_OK;
    EYE_TRY(make_captions(w, path, key, err));
    return eye_store_open(s, path, says, key) ? EYE_OK : not_there(path, err);
}

enum eye_status eye_teacher_write(struct eye_teacher *x, struct eye_err *err) {
    const struct eye_recipe_teacher *r = x->recipe;
    struct eye_trainer *t = x->t;
    struct writing w = {.x = x, .n_beams = (size_t)r->captions};
    struct eye_store s = {0};
    if (r->captions == 0)
        return r->captions_only ? eye_fail(err, EYE_E_ARG, "teacher.captions_only: teacher.captions is 0") : EYE_OK;
    const struct eye_model_opts o = {.n_threads = eye_pool_n_threads(t->engine.pool), .n_parallel = AT_ONCE * EYE_MAX_BEAMS,
                                     .cancel = t->opts->cancel, .cancel_ctx = t->opts->cancel_ctx, .alloc = t->alloc};
    EYE_TRY(eye_model_open(r->path, &o, &w.model, err));
    if (r->captions_temperature == 0) /* a wider search than is kept */
        w.n_beams = EYE_MIN(EYE_MAX(w.n_beams, (size_t)w.model->vlm.config.n_beams), EYE_MAX_BEAMS);
    enum eye_status st = ensure_captions(&w, &s, err);
    eye_many_free(w.many);
    eye_model_close(w.model);
    eye_corpus_init(&x->corpus, t->train.bos, t->train.eos, t->train.max_tok, t->alloc);
    if (st == EYE_OK)
        st = eye_corpus_add_texts(&x->corpus, &t->train, !r->captions_only, (const char *)s.p, s.n, (size_t)r->captions,
                                  t->tokenizer, err);
    eye_store_close(&s);
    return st;
}

/* ---- likeliest tokens ---- */

static const char topk[] = "EYETOPK1";

struct rows { /* of logits, and where their likeliest go; a task takes ROWS of them */
    const float *logits;
    int64_t vocab, k, n;
    double temperature;
    int32_t *ids;
    float *logp;
};
enum { ROWS = 32 };

/* The k likeliest of a row, the largest first, with their log-probabilities at temperature t. */
static void likeliest(const float *logits, int64_t vocab, double t, int64_t k, int32_t *ids, float *logp) {
    int64_t n = 0;
    float max = logits[0];
    for (int64_t v = 0; v < vocab; v++) {
        max = EYE_MAX(max, logits[v]);
        if (n == k && logits[v] <= logp[k - 1]) continue;
        int64_t at = n < k ? n++ : k - 1;
        for (; at > 0 && logp[at - 1] < logits[v]; at--) {
            logp[at] = logp[at - 1];
            ids[at] = ids[at - 1];
        }
        logp[at] = logits[v];
        ids[at] = (int32_t)v;
    }
    double sum = 0;
    for (int64_t v = 0; v < vocab; v++) sum += exp(((double)logits[v] - (double)max) / t);
    for (int64_t i = 0; i < k; i++) logp[i] = (float)(((double)logp[i] - (double)max) / t - log(sum));
}

static void rows_task(void *ctx, int i_task, int i_thread) {
    const struct rows *r = ctx;
    (void)i_thread;
    for (int64_t i = (int64_t)i_task * ROWS; i < EYE_MIN((int64_t)(i_task + 1) * ROWS, r->n); i++)
        likeliest(r->logits + i * r->vocab, r->vocab, r->temperature, r->k, r->ids + i * r->k, r->logp + i * r->k);
}

/* Of the targets of these groups, in order. */
static enum eye_status ask(struct eye_teacher *x, const struct eye_corpus *c, const uint32_t *group, size_t n,
                           struct eye_err *err) {
    struct rows r = {.logits = x->logits, .vocab = x->vlm.config.text.vocab, .k = x->recipe->top_k,
                     .temperature = x->recipe->temperature, .ids = x->top_ids, .logp = x->top_logp};
    struct eye_net_call call = {.batch = &x->batch, .image = x->image, .logits = x->logits, .cancel = eye_trainer_cancelled,
                                .cancel_ctx = x->t};
    for (size_t i = 0; i < n; i++) eye_teacher_features(x, &c->picture[group[i]], 1, x->image + i * x->elems);
    eye_batch_fill(&x->batch, c, group, n, x->net.image_rows, 0);
    EYE_TRY(eye_net_run(&x->net, &call, err));
    r.n = x->batch.n_targets;
    eye_pool_run(x->t->engine.pool, (int)((r.n + ROWS - 1) / ROWS), rows_task, &r);
    return EYE_OK;
}

static enum eye_status open_decoder(struct eye_teacher *x, const struct eye_corpus *c, int64_t max_targets,
                                    struct eye_err *err) {
    struct eye_net_opts o = {.use = EYE_NET_JUDGE, .stage = &x->stage, .teacher = x->recipe, .n_pictures = x->stage.batch};
    int64_t vocab = x->vlm.config.text.vocab;
    o.max_rows = eye_corpus_max_rows(c, (size_t)o.n_pictures, eye_vlm_image_tokens(&x->vlm, x->vlm.config.prep.side_px));
    o.max_targets = max_targets;
    EYE_TRY(eye_net_init(&x->net, &o, &x->t->engine, &x->vlm, &x->params, err));
    x->has_net = true;
    EYE_TRY(eye_batch_init(&x->batch, o.max_rows, x->t->alloc, err));
    x->image = eye_arena_alloc(&x->arena, (size_t)o.n_pictures * x->elems * sizeof *x->image);
    x->logits = eye_arena_alloc(&x->arena, (size_t)(max_targets * vocab) * sizeof *x->logits);
    return x->image && x->logits ? EYE_OK : eye_fail_nomem(err, (size_t)(max_targets * vocab) * sizeof *x->logits);
}

static enum eye_status store_all(struct eye_teacher *x, const struct eye_corpus *c, struct eye_store_writer *w,
                                 struct eye_err *err) {
    struct eye_trainer_say say = {x->t->opts, "what the teacher holds likely"};
    size_t k = (size_t)x->recipe->top_k, batch = (size_t)x->stage.batch;
    uint32_t *group = eye_arena_alloc(&x->arena, batch * sizeof *group);
    if (!group) return eye_fail_nomem(err, batch * sizeof *group);
    for (size_t i = 0; i < c->n_groups; i += batch) {
        size_t n = EYE_MIN(batch, c->n_groups - i);
        if (eye_trainer_cancelled(x->t)) return eye_fail(err, EYE_E_CANCELLED, "cancelled");
        for (size_t j = 0; j < n; j++) group[j] = (uint32_t)(i + j);
        EYE_TRY(ask(x, c, group, n, err));
        for (size_t r = 0; r < (size_t)x->batch.n_targets; r++) {
            EYE_TRY(eye_store_put(w, x->top_ids + r * k, k * sizeof *x->top_ids, err));
            EYE_TRY(eye_store_put(w, x->top_logp + r * k, k * sizeof *x->top_logp, err));
        }
        eye_trainer_say(&say, (double)(i + n) / (double)c->n_groups);
    }
    return EYE_OK;
}

/* Row of the store where a group's targets begin. */
static size_t first_row(const struct eye_corpus *c, size_t group) { return c->begin[c->first[group]] - c->first[group]; }

static enum eye_status ensure_store(struct eye_teacher *x, const struct eye_corpus *c, int64_t max_targets,
                                    struct eye_err *err) {
    char path[EYE_PATH_CAP];
    struct eye_store_writer w;
    const double numbers[] = {(double)x->recipe->top_k, x->recipe->temperature};
    uint64_t key = hash_checkpoint(&x->ckpt, eye_hash64(numbers, sizeof numbers, 1));
    key = hash_pictures(c, &x->pixels, key);
    key = eye_hash64(c->first, (c->n_groups + 1) * sizeof *c->first, key);
    key = eye_hash64(c->ids.p, c->ids.n * sizeof *c->ids.p, key);
    EYE_TRY(eye_path_join(path, x->t->opts->out, "teacher-logits.bin", err));
    if (eye_store_open(&x->store, path, topk, key)) return EYE_OK;
    EYE_TRY(open_decoder(x, c, max_targets, err));
    EYE_TRY(eye_store_begin(&w, path, topk, key, err));
    enum eye_status st = store_all(x, c, &w, err);
    if (st == EYE_OK) st = eye_store_commit(&w, err);
    eye_store_abort(&w);
    EYE_TRY(st);
    return eye_store_open(&x->store, path, topk, key) ? EYE_OK : not_there(path, err);
}

enum eye_status eye_teacher_listen(struct eye_teacher *x, const struct eye_corpus *c, int64_t max_targets,
                                   struct eye_err *err) {
    const struct eye_vlm_config *mine = &x->vlm.config, *students = &x->t->vlm.config;
    int64_t vocab = mine->text.vocab, k = x->recipe->top_k;
    if (x->recipe->hard == 1) return EYE_OK;
    if (vocab != students->text.vocab || mine->eos[0] != students->eos[0])
        return eye_fail(err, EYE_E_ARG,
                        "%s: %lld tokens, the student has %lld: teacher and student must share a tokenizer, or the student "
                        "learn from its captions alone (teacher.captions, teacher.hard=1)",
                        x->recipe->path, (long long)vocab, (long long)students->text.vocab);
    if (k >= vocab) return eye_fail(err, EYE_E_ARG, "teacher.top_k: %lld of %lld tokens", (long long)k, (long long)vocab);
    x->top_ids = eye_arena_alloc(&x->arena, (size_t)(max_targets * k) * sizeof *x->top_ids);
    x->top_logp = eye_arena_alloc(&x->arena, (size_t)(max_targets * k) * sizeof *x->top_logp);
    if (!x->top_ids || !x->top_logp) return eye_fail_nomem(err, (size_t)(max_targets * k) * sizeof *x->top_ids);
    return x->recipe->store ? ensure_store(x, c, max_targets, err) : open_decoder(x, c, max_targets, err);
}

enum eye_status eye_teacher_answer(struct eye_teacher *x, const struct eye_corpus *c, const uint32_t *group, size_t n,
                                   const struct eye_batch *student, struct eye_err *err) {
    size_t k = (size_t)x->recipe->top_k, bytes = k * sizeof *x->top_ids, to = 0;
    if (x->recipe->hard == 1) return EYE_OK;
    if (!x->store.p) {
        EYE_TRY(ask(x, c, group, n, err));
        assert(x->batch.n_targets == student->n_targets); /* the same ones in the same order, between other rows */
        return EYE_OK;
    }
    for (size_t i = 0; i < n; i++) {
        const uint8_t *row = x->store.p + first_row(c, group[i]) * 2 * bytes;
        for (int64_t left = eye_corpus_targets(c, group[i]); left > 0; left--, to++, row += 2 * bytes) {
            memcpy(x->top_ids + to * k, row, bytes);
            memcpy(x->top_logp + to * k, row + bytes, bytes);
        }
    }
    assert((int64_t)to == student->n_targets);
    return EYE_OK;
}
