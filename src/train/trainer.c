/* Trainer: opening a run (recipe, data, tokenizer, student, what was saved of it), its stages one after the other, and what it
 * leaves behind. */
#include "train/trainer.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "train/folder.h"
#include "train/student.h"
#include "train/synth.h"

bool eye_trainer_cancelled(void *trainer) {
    const struct eye_trainer *t = trainer;
    if (t->ranks) return t->stop; /* one that stops alone would leave the others waiting */
    return t->opts->cancel && t->opts->cancel(t->opts->cancel_ctx);
}

void eye_trainer_say(void *ctx, double done) {
    const struct eye_trainer_say *s = ctx;
    if (s->opts->say) s->opts->say(s->opts->ctx, s->what, done);
}

/* ---- saving ---- */

enum eye_status eye_trainer_save(struct eye_trainer *t, struct eye_err *err) {
    uint64_t now = eye_now_ns();
    t->state.seconds += (double)(now - t->began_ns) / 1e9;
    t->began_ns = t->saved_ns = now;
    if (eye_ranks_me(t->ranks) != 0) return EYE_OK;
    return eye_state_save(&t->state, &t->params, t->checkpoints, t->recipe.keep, err);
}

enum eye_status eye_trainer_export(struct eye_trainer *t, const char *name, struct eye_err *err) {
    char dir[EYE_PATH_CAP];
    if (eye_ranks_me(t->ranks) != 0) return EYE_OK;
    EYE_TRY(eye_path_join(dir, t->opts->out, name, err));
    return eye_params_export(&t->params, t->student, dir, NULL, err);
}

/* A folder may be put back, copied or thrown away between two processes; a checkpoint of an earlier evaluation may be gone on
 * from. The mark tells: equal evaluations are equal to the last bit. */
static void best_mark(const struct eye_trainer *t, char text[80]) {
    snprintf(text, 80, "stage %" PRId64 ", %.17g", t->state.stage, t->state.best_mark);
}

enum eye_status eye_trainer_export_best(struct eye_trainer *t, struct eye_err *err) {
    char dir[EYE_PATH_CAP], mark[80];
    best_mark(t, mark);
    EYE_TRY(eye_path_join(dir, t->opts->out, "best", err));
    return eye_params_export(&t->params, t->student, dir, mark, err);
}

enum eye_status eye_trainer_take_best(struct eye_trainer *t, bool *found, struct eye_err *err) {
    char dir[EYE_PATH_CAP], mark[80];
    best_mark(t, mark);
    EYE_TRY(eye_path_join(dir, t->opts->out, "best", err));
    return eye_params_import(&t->params, dir, mark, found, err);
}

/* ---- data ---- */

#define STUDENT_PIXELS "pixels.bin"

static struct eye_preproc preprocessing(const struct eye_prep_config *c) {
    static const enum eye_preproc_mode mode[] = {[EYE_PREP_PAD] = EYE_PREPROC_PAD, [EYE_PREP_CROP] = EYE_PREPROC_CROP,
                                                 [EYE_PREP_STRETCH] = EYE_PREPROC_SQUASH};
    static const enum eye_resample filter[] = {[EYE_PREP_BICUBIC] = EYE_RESAMPLE_BICUBIC,
                                               [EYE_PREP_BILINEAR] = EYE_RESAMPLE_BILINEAR,
                                               [EYE_PREP_LANCZOS] = EYE_RESAMPLE_LANCZOS};
    struct eye_preproc pp = {.width = (int)c->side_px, .height = (int)c->side_px, .mode = mode[c->mode],
                             .resample = filter[c->filter]};
    for (int i = 0; i < 3; i++) {
        pp.mean[i] = (double)c->mean[i];
        pp.std[i] = (double)c->std[i];
    }
    eye_preproc_fill(pp.mean, pp.fill);
    return pp;
}

static bool needs_pictures(const struct eye_recipe *r) {
    for (size_t i = 0; i < r->stages.n; i++)
        if (eye_recipe_stage(r, i)->loss != EYE_LOSS_LM) return true;
    return false;
}

static struct eye_synth_opts synth_opts(const struct eye_trainer *t, int side) {
    const struct eye_recipe_data *d = &t->recipe.data;
    struct eye_synth_opts o = {.level = (int)d->synth_level, .side = side, .seed = (uint64_t)t->recipe.seed};
    o.n[EYE_SPLIT_TRAIN] = (size_t)d->synth_train;
    o.n[EYE_SPLIT_DEV] = (size_t)d->synth_dev;
    return o;
}

/* What of the lists is not learnt from. */
static void tell_skipped(const struct eye_trainer *t) {
    static const enum eye_data_issue skipped[] = {EYE_ISSUE_BAD_ITEM, EYE_ISSUE_CAPTION_WITHOUT_IMAGE, EYE_ISSUE_CAPTION_EMPTY};
    const struct eye_train_opts *o = t->opts;
    char line[320];
    for (size_t i = 0; i < EYE_COUNT(skipped) && o->note; i++) {
        const struct eye_data_row *r = &eye_dataset_get_report(t->set)->row[skipped[i]];
        snprintf(line, sizeof line, "left out: %zu %s (%.150s)", r->n, eye_data_issue_text(skipped[i]), r->example[0]);
        if (r->n) o->note(o->ctx, line);
    }
}

static enum eye_status open_set(struct eye_trainer *t, struct eye_err *err) {
    const struct eye_recipe_data *d = &t->recipe.data;
    if (!needs_pictures(&t->recipe)) return EYE_OK;
    struct eye_synth_opts synth = synth_opts(t, 0);
    if (d->path.n == 0) return eye_synth_dataset(&synth, t->alloc, &t->set, err);
    struct eye_dataset_opts o = {.images = d->images, .alloc = t->alloc};
    o.split_list[EYE_SPLIT_TRAIN] = d->train_list;
    o.split_list[EYE_SPLIT_DEV] = d->dev_list;
    EYE_TRY(eye_dataset_open(d->path.item, d->path.n, &o, &t->set, err));
    tell_skipped(t);
    return EYE_OK;
}

/* Of pictures that are not learnt from nothing is cached. Drawn ones are as many as the recipe draws. */
static enum eye_status limit_set(struct eye_trainer *t, struct eye_err *err) {
    const struct eye_recipe_data *d = &t->recipe.data;
    if (!t->set || d->path.n == 0 || d->max_images == 0) return EYE_OK;
    return eye_dataset_keep_training(t->set, (size_t)d->max_images, t->recipe.kind == EYE_RECIPE_DISTIL_VISION, err);
}

enum eye_status eye_trainer_pixels(struct eye_trainer *t, const struct eye_prep_config *prep, const char *name,
                                   struct eye_pixels *px, struct eye_err *err) {
    char path[EYE_PATH_CAP], line[160];
    bool made;
    struct eye_data_report report = {0};
    struct eye_trainer_say say = {t->opts, "pictures"};
    struct eye_synth_opts synth = synth_opts(t, (int)prep->side_px);
    if (t->recipe.data.path.n == 0) return eye_synth_pixels(&synth, t->engine.pool, px, err);
    struct eye_pixels_opts o = {.pp = preprocessing(prep), .pool = t->engine.pool, .progress = eye_trainer_say,
                                .progress_ctx = &say, .cancel = t->opts->cancel, .cancel_ctx = t->opts->cancel_ctx};
    EYE_TRY(eye_path_join(path, t->opts->out, STUDENT_PIXELS, err));
    if (strcmp(name, STUDENT_PIXELS) != 0 && eye_path_exists(path) && eye_pixels_open(path, t->set, &o.pp, px, NULL) == EYE_OK)
        return EYE_OK; /* a teacher that wants the student's */
    EYE_TRY(eye_path_join(path, t->opts->out, name, err));
    EYE_TRY(eye_pixels_ensure(path, t->set, &o, px, &made, &report, err));
    size_t bad = report.row[EYE_ISSUE_IMAGE_MISSING].n + report.row[EYE_ISSUE_IMAGE_UNREADABLE].n;
    snprintf(line, sizeof line, "%zu pictures could not be read and are left out", bad);
    if (bad && t->opts->note) t->opts->note(t->opts->ctx, line);
    return EYE_OK;
}

enum eye_status eye_trainer_features(struct eye_trainer *t, const struct eye_looker *who, const struct eye_recipe_stage *s,
                                     const char *name, struct eye_features *f, struct eye_err *err) {
    char path[EYE_PATH_CAP];
    struct eye_net net;
    const struct eye_prep_config *prep = &who->vlm->config.prep;
    struct eye_trainer_say say = {t->opts, "features"};
    struct eye_net_opts o = {.use = EYE_NET_TAP, .stage = s, .n_pictures = 16};
    struct eye_features_opts fo = {.cache = s->cache, .views = s->augment.flip ? 2 : 1, .params = who->params,
                                   .plain.side = (int)prep->side_px, .n_pictures = o.n_pictures, .progress = eye_trainer_say,
                                   .progress_ctx = &say, .cancel = t->opts->cancel, .cancel_ctx = t->opts->cancel_ctx};
    memcpy(fo.plain.mean, prep->mean, sizeof fo.plain.mean);
    memcpy(fo.plain.std, prep->std, sizeof fo.plain.std);
    EYE_TRY(eye_path_join(path, t->opts->out, name, err));
    EYE_TRY(eye_net_init(&net, &o, &t->engine, who->vlm, who->params, err));
    enum eye_status st = eye_features_ensure(f, path, who->pixels, &net, &fo, err);
    eye_net_clear(&net);
    return st;
}

static enum eye_status open_corpora(struct eye_trainer *t, struct eye_err *err) {
    const struct eye_recipe_data *d = &t->recipe.data;
    const struct eye_vlm_config *c = &t->vlm.config;
    if (c->n_eos == 0) return eye_fail(err, EYE_E_ARG, "the student's configuration has no eos_token_id: it could never stop");
    int32_t eos = (int32_t)c->eos[0], bos = c->bos >= 0 ? (int32_t)c->bos : eos; /* GPT-2 begins with its end token */
    struct eye_corpus *all[] = {&t->train, &t->dev, &t->texts};
    for (size_t i = 0; i < EYE_COUNT(all); i++) eye_corpus_init(all[i], bos, eos, (size_t)d->max_tokens, t->alloc);
    for (size_t i = 0; i < d->texts.n; i++) EYE_TRY(eye_corpus_add_lines(&t->texts, d->texts.item[i], t->tokenizer, err));
    if (!t->set) return EYE_OK;
    t->train.pictures_only = t->dev.pictures_only = t->recipe.kind == EYE_RECIPE_DISTIL_VISION;
    EYE_TRY(eye_corpus_add_split(&t->train, t->set, EYE_SPLIT_TRAIN, t->pixels.have, (size_t)d->captions, (size_t)d->max_images,
                                 t->tokenizer, err));
    if (t->train.n_groups == 0) /* a list without splits */
        EYE_TRY(eye_corpus_add_split(&t->train, t->set, EYE_SPLIT_NONE, t->pixels.have, (size_t)d->captions,
                                     (size_t)d->max_images, t->tokenizer, err));
    return eye_corpus_add_split(&t->dev, t->set, EYE_SPLIT_DEV, t->pixels.have, (size_t)d->captions, 0, t->tokenizer, err);
}

/* ---- student ---- */

static enum eye_status open_tokenizer(struct eye_trainer *t, struct eye_err *err) {
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
                                        "tokenizer.model"};
    struct eye_tokenizer_src src = {0};
    struct eye_bytes *const to[] = {&src.tokenizer_json, &src.tokenizer_config, &src.vocab_json, &src.merges_txt,
                                    &src.tokenizer_model};
    for (size_t i = 0; i < EYE_COUNT(names); i++) {
        const char *p;
        size_t n;
        if (!eye_checkpoint_text(&t->ckpt, names[i], &p, &n)) continue;
        *to[i] = (struct eye_bytes){p, n};
        t->state.tokenizer_hash = eye_hash64(p, n, t->state.tokenizer_hash + 1);
    }
    enum eye_status st = eye_tokenizer_open(&t->tokenizer, &src, t->alloc, err);
    return st == EYE_OK ? st : eye_fail_in(err, st, "%s", t->student);
}

/* OUT/student: a copy of the one to go on from, or a fresh one. */
static enum eye_status make_student(struct eye_trainer *t, struct eye_train_result *result, struct eye_err *err) {
    const struct eye_recipe_student *s = &t->recipe.student;
    char line[160];
    bool copied;
    struct eye_student_report report;
    EYE_TRY(eye_folder_make(t->student, err));
    if (s->path) {
        for (size_t i = 0; eye_checkpoint_side_name(i); i++)
            EYE_TRY(eye_folder_copy(s->path, t->student, eye_checkpoint_side_name(i), &copied, err));
        return EYE_OK; /* its weights stay where they are until the first export */
    }
    if (s->tokenizer) EYE_TRY(eye_student_copy_tokenizer(s->tokenizer, t->student, err));
    else EYE_TRY(eye_trainer_vocabulary(t, err));
    EYE_TRY(eye_student_make(&t->recipe, t->student, t->opts->measure_only, t->alloc, &report, err));
    result->n_params = report.n_params;
    result->n_imported = report.n_imported;
    snprintf(line, sizeof line, "a fresh student of %" PRIu64 " parameters, %" PRIu64 " of them imported", report.n_params,
             report.n_imported);
    if (t->opts->note) t->opts->note(t->opts->ctx, line);
    return EYE_OK;
}

static enum eye_status open_student(struct eye_trainer *t, struct eye_err *err) {
    const char *path = t->recipe.student.path ? t->recipe.student.path : t->student;
    EYE_TRY(eye_checkpoint_open(&t->ckpt, path, &(struct eye_checkpoint_opts){.no_mmap = true}, t->alloc, err));
    EYE_TRY(eye_vlm_open(&t->vlm, &t->ckpt, t->alloc, err));
    EYE_TRY(eye_params_init(&t->params, &t->vlm, err));
    return open_tokenizer(t, err);
}

/* ---- the run ---- */

/* What a run that was killed was writing: caches of gigabytes, checkpoints. */
static enum eye_status sweep(const char *out, struct eye_err *err) {
    static const char *const folders[] = {"", "student/", "best/", "checkpoints/", "samples/"};
    char path[EYE_PATH_CAP];
    for (size_t i = 0; i < EYE_COUNT(folders); i++) {
        EYE_TRY(eye_path_join(path, out, folders[i], err));
        eye_sweep_unfinished(path);
    }
    return EYE_OK;
}

/* The folder, and a fresh run's student in it. */
static enum eye_status begin_run(struct eye_trainer *t, struct eye_train_result *result, bool *resumed, struct eye_err *err) {
    const struct eye_train_opts *o = t->opts;
    EYE_TRY(eye_folder_make(o->out, err));
    *resumed = eye_path_exists(t->checkpoints);
    if (*resumed && !o->resume)
        return eye_fail(err, EYE_E_ARG, "%s: there is a run in it: resume it, or name another folder", o->out);
    EYE_TRY(sweep(o->out, err));
    EYE_TRY(open_set(t, err));
    return *resumed ? EYE_OK : make_student(t, result, err);
}

static enum eye_status open_files(struct eye_trainer *t, bool *resumed, struct eye_err *err) {
    const struct eye_train_opts *o = t->opts;
    char line[160];
    int n_bad = 0;
    EYE_TRY(open_student(t, err));
    EYE_TRY(limit_set(t, err));
    if (t->set) EYE_TRY(eye_trainer_pixels(t, &t->vlm.config.prep, STUDENT_PIXELS, &t->pixels, err));
    EYE_TRY(open_corpora(t, err));
    t->state.recipe_hash = eye_hash64(t->recipe.text.p, t->recipe.text.len, 1);
    if (*resumed) EYE_TRY(eye_state_load(&t->state, &t->params, t->checkpoints, resumed, &n_bad, err));
    snprintf(line, sizeof line, "%d damaged checkpoints were passed over", n_bad);
    if (n_bad && o->note) o->note(o->ctx, line);
    if (eye_ranks_me(t->ranks) != 0) return EYE_OK;
    EYE_TRY(eye_folder_write(o->out, "recipe.json", t->recipe.text.p, t->recipe.text.len, err));
    EYE_TRY(eye_log_open(&t->log, o->out, *resumed ? t->state.step : 0, t->alloc, err));
    return eye_folder_make(t->checkpoints, err);
}

static enum eye_status open_run(struct eye_trainer *t, struct eye_train_result *result, bool *resumed, struct eye_err *err) {
    bool first = eye_ranks_me(t->ranks) == 0;
    *resumed = false;
    EYE_TRY(eye_path_join(t->student, t->opts->out, "student", err));
    EYE_TRY(eye_path_join(t->checkpoints, t->opts->out, "checkpoints", err));
    if (first) EYE_TRY(begin_run(t, result, resumed, err));
    if (t->opts->measure_only || t->opts->init_only) return EYE_OK;
    if (first) EYE_TRY(open_files(t, resumed, err));
    EYE_TRY(eye_ranks_take(t->ranks, 0, resumed, sizeof *resumed, t->alloc, err)); /* the others come here and wait */
    if (!first) EYE_TRY(open_set(t, err));
    if (!first) EYE_TRY(open_files(t, resumed, err));
    uint64_t same[] = {t->state.recipe_hash, t->state.tokenizer_hash, (uint64_t)t->state.step, eye_cpu_flags()};
    return eye_ranks_check(t->ranks, same, sizeof same, err);
}

static enum eye_status run_stages(struct eye_trainer *t, struct eye_err *err) {
    t->began_ns = t->saved_ns = eye_now_ns();
    while (t->state.stage < (int64_t)t->recipe.stages.n) {
        const struct eye_recipe_stage *s = eye_recipe_stage(&t->recipe, (size_t)t->state.stage);
        enum eye_status st = eye_stage_run(t, s, err);
        if (st == EYE_E_CANCELLED) EYE_TRY(eye_trainer_save(t, err));
        EYE_TRY(st);
        t->state.stage++;
        t->state.stage_step = t->state.evals = t->state.bad_evals = t->state.bad_steps = 0;
        t->state.best_mark = t->state.sum_loss = 0;
        t->state.n_loss = 0;
        eye_params_forget(&t->params);
        EYE_TRY(eye_trainer_save(t, err));
    }
    EYE_TRY(eye_trainer_export(t, "student", err));
    EYE_TRY(eye_ranks_wait(t->ranks, err));
    return eye_ranks_me(t->ranks) != 0 ? EYE_OK : eye_report_write(t->opts->out, t->alloc, err);
}

static void close_run(struct eye_trainer *t) {
    eye_log_close(&t->log);
    eye_corpus_clear(&t->train);
    eye_corpus_clear(&t->dev);
    eye_corpus_clear(&t->texts);
    eye_pixels_close(&t->pixels);
    eye_dataset_close(t->set);
    eye_tokenizer_close(t->tokenizer);
    eye_params_clear(&t->params);
    eye_vlm_clear(&t->vlm);
    eye_checkpoint_close(&t->ckpt);
    eye_engine_clear(&t->engine);
    eye_recipe_clear(&t->recipe);
}

void eye_train_keys(void (*out)(void *ctx, const char *text, size_t n), void *ctx) {
    struct eye_buf text;
    eye_buf_init(&text, NULL);
    eye_recipe_document(&text);
    if (!text.failed) out(ctx, text.p, text.len);
    eye_buf_clear(&text);
}

enum eye_status eye_train(const struct eye_train_opts *opts, struct eye_train_result *result, struct eye_err *err) {
    static const char *const names[] = {"train caption", "train lm", "distil vision", "distil joint"};
    struct eye_train_result mine = {0};
    enum eye_status st;
    bool resumed;
    struct eye_trainer *t = eye_alloc_zero(opts->alloc, sizeof *t);
    if (!t) return eye_fail_nomem(err, sizeof *t);
    t->opts = opts;
    t->alloc = opts->alloc;
    if (opts->ranks && opts->ranks->n > 1) t->ranks = opts->ranks;
    if (eye_ranks_me(t->ranks) != 0 && (opts->measure_only || opts->init_only)) { /* rank 0 does that alone */
        st = EYE_OK;
        goto fail;
    }
    EYE_TRY_GOTO(eye_recipe_open(&t->recipe, opts->recipe, opts->set, opts->n_set, opts->alloc, err));
    if (t->recipe.kind != (int)opts->use && !opts->init_only) {
        st = eye_fail(err, EYE_E_ARG, "%s: a recipe for \"%s\"", opts->recipe, names[t->recipe.kind]);
        goto fail;
    }
    EYE_TRY_GOTO(eye_recipe_resolve(&t->recipe, opts->data, err));
    EYE_TRY_GOTO(eye_engine_init(&t->engine, opts->n_threads, eye_cpu_flags(), opts->alloc, err));
    EYE_TRY_GOTO(open_run(t, &mine, &resumed, err));
    if (!opts->measure_only && !opts->init_only) EYE_TRY_GOTO(run_stages(t, err));
    mine.steps = t->state.step;
    mine.seconds = t->state.seconds;
    mine.dev_loss = t->dev_loss;
    mine.shuffled_loss = t->shuffled_loss;
    if (result) *result = mine;
fail:
    close_run(t);
    eye_alloc_free(opts->alloc, t, sizeof *t);
    return st;
}
