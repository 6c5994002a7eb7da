/* Stage: the steps of one stage. A step takes the next pictures (or texts) of the stream, in `accumulate` batches; every target
 * of the step counts the same. Nothing here depends on time or threads but what is written to the log. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/critical.h"
#include "train/folder.h"
#include "train/lora.h"
#include "train/trainer.h"

enum { MAX_BAD_STEPS = 20 };

/* ---- learning rate ---- */

/* Factor of the stage's lr for step k of n, counted from 0. */
static double schedule(const struct eye_recipe_stage *s, int64_t k, int64_t n, double steps_per_epoch) {
    double warmup = s->warmup * (double)n;
    if ((double)k < warmup) return ((double)k + 1) / (warmup + 1);
    if (s->schedule == EYE_SCHEDULE_CONSTANT) return 1;
    if (s->schedule == EYE_SCHEDULE_STEP) return pow(s->step_gamma, floor((double)k / (s->step_every * steps_per_epoch)));
    double done = ((double)k - warmup) / EYE_MAX((double)n - warmup, 1);
    return s->min_lr + (1 - s->min_lr) * 0.5 * (1 + cos(3.14159265358979323846 * done));
}

static double steps_per_epoch(const struct eye_stage *g) {
    return (double)g->stream.n / (double)(g->s->batch * g->s->accumulate);
}

/* ---- images ---- */

enum eye_status eye_stage_images(struct eye_stage *g, const uint32_t *picture, size_t n, int64_t k, float *out,
                                 struct eye_err *err) {
    struct eye_augment plain = g->augment;
    for (size_t i = 0; g->features.f16 && i < n; i++) {
        uint64_t pass = k < 0 ? 0 : (uint64_t)(k + (int64_t)i) / g->stream.n, of[2] = {pass, picture[i]};
        bool mirrored = k >= 0 && g->augment.flip && (eye_hash64(of, sizeof of, g->augment.seed) & 1);
        eye_features_get(&g->features, picture[i], mirrored, out + i * g->features.elems);
    }
    if (g->features.f16) return EYE_OK;
    if (k < 0) {
        plain.flip = false;
        plain.crop_area = plain.brightness = plain.contrast = plain.saturation = 0;
        return eye_pixels_batch(&g->t->pixels, &plain, picture, n, 0, out, g->t->engine.pool, err);
    }
    for (size_t i = 0; i < n;) { /* a batch may end one pass and begin the next */
        uint64_t pass = (uint64_t)(k + (int64_t)i) / g->stream.n;
        size_t left = (size_t)((int64_t)((pass + 1) * g->stream.n) - (k + (int64_t)i)), run = EYE_MIN(left, n - i);
        EYE_TRY(eye_pixels_batch(&g->t->pixels, &g->augment, picture + i, run, pass, out + i * g->net.image_elems,
                                 g->t->engine.pool, err));
        i += run;
    }
    return EYE_OK;
}

/* ---- one step ---- */

static void batch_groups(struct eye_stage *g, int64_t k, uint32_t *group) {
    uint64_t pass;
    for (int64_t i = 0; i < g->s->batch; i++) group[i] = eye_stream_at(&g->stream, k + i, &pass);
}

static int64_t count_targets(struct eye_stage *g, int64_t k, uint32_t *group) {
    int64_t n = 0;
    for (int64_t b = 0; b < g->s->accumulate; b++) {
        batch_groups(g, k + b * g->s->batch, group);
        for (int64_t i = 0; i < g->s->batch; i++) n += eye_corpus_targets(g->corpus, group[i]);
    }
    return n;
}

/* The student writes with its adapters. */
static enum eye_status write_samples(struct eye_stage *g, const uint32_t *group, struct eye_err *err) {
    enum eye_status st = eye_lora_show(&g->t->params, &g->s->lora, err);
    if (st == EYE_OK) st = eye_critical_fill(g->critical, group, &g->reward, err);
    eye_lora_hide(&g->t->params);
    return st;
}

/* Forward and back for the batch at position k of the stream; the loss is this batch's part of the step's mean. */
static enum eye_status run_batch(struct eye_stage *g, int64_t k, int64_t i_batch, int64_t n_targets, uint32_t *group,
                                 float *loss, struct eye_err *err) {
    struct eye_trainer *t = g->t;
    size_t n = (size_t)g->s->batch;
    uint64_t draw[2] = {(uint64_t)t->state.step, (uint64_t)i_batch};
    uint64_t seed = eye_hash64(draw, sizeof draw, (uint64_t)t->recipe.seed);
    struct eye_net_call call = {.batch = &g->batch, .image = g->image, .seed = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                                .loss = loss, .gradients = true, .cancel = eye_trainer_cancelled, .cancel_ctx = t};
    batch_groups(g, k, group);
    if (g->image) {
        for (size_t i = 0; i < n; i++) g->picture[i] = g->corpus->picture[group[i]];
        EYE_TRY(eye_stage_images(g, g->picture, n, k, g->image, err));
    }
    if (g->s->loss == EYE_LOSS_VISION) {
        call.batch = NULL;
        eye_teacher_features(&g->teacher, g->picture, n, g->taught);
        call.teacher = g->taught;
        call.centre = g->teacher.minus_mean;
    } else if (g->critical) {
        EYE_TRY(write_samples(g, group, err));
    } else {
        eye_batch_fill(&g->batch, g->corpus, group, n, g->net.image_rows, g->text_pos);
        eye_batch_weigh(&g->batch, 1.0f / (float)n_targets);
    }
    if (g->s->loss == EYE_LOSS_JOINT) {
        EYE_TRY(eye_teacher_answer(&g->teacher, g->corpus, group, n, &g->batch, err));
        call.top_ids = g->teacher.top_ids;
        call.top_logp = g->teacher.top_logp;
    }
    g->n_rows += g->batch.t;
    g->n_pictures += (int64_t)n;
    return eye_net_run(&g->net, &call, err);
}

/* This batch's part, and those of the other ranks' batches, onto the step's. */
static enum eye_status gather(struct eye_stage *g, int64_t i_batch, float loss, struct eye_err *err) {
    const struct eye_ranks *r = g->t->ranks;
    if (r) EYE_TRY(eye_ranks_add(r, &g->t->engine, g->sum, g->net.n_train, i_batch == 0, err));
    for (size_t i = 0; !r && g->s->accumulate > 1 && i < g->net.n_train; i++) {
        struct eye_net_weight *w = &g->net.train[i];
        if (i_batch == 0) memcpy(w->sum, w->g, w->param->n * sizeof *w->g);
        else eye_optim_add(&g->t->engine, w->sum, w->g, w->param->n);
    }
    EYE_TRY(eye_ranks_each(r, loss, g->losses, err));
    for (int32_t i = 0; i < eye_ranks_n(r); i++) g->loss += (double)g->losses[i];
    return EYE_OK;
}

/* The whole sums for every rank; what one process would have of its last batch is of the last rank. */
static enum eye_status share(struct eye_stage *g, struct eye_err *err) {
    const struct eye_ranks *r = g->t->ranks;
    if (!r) return EYE_OK;
    EYE_TRY(eye_ranks_share(r, &g->t->engine, g->sum, g->net.n_train, err));
    for (size_t i = 0; i < g->net.n_norm; i++) {
        const struct eye_net_norm *n = &g->net.norm[i];
        EYE_TRY(eye_ranks_take(r, r->n - 1, n->seen, 2 * (size_t)n->channels * sizeof *n->seen, g->t->alloc, err));
    }
    return eye_ranks_take(r, r->n - 1, &g->reward, sizeof g->reward, g->t->alloc, err);
}

/* Running statistics as PyTorch keeps them: momentum 0.1, unbiased variance. */
static void update_norms(struct eye_stage *g) {
    for (size_t i = 0; i < g->net.n_norm; i++) {
        const struct eye_net_norm *n = &g->net.norm[i];
        double unbiased = n->rows > 1 ? (double)n->rows / (double)(n->rows - 1) : 1;
        for (int64_t c = 0; c < n->channels; c++) {
            n->mean->w[c] = (float)(0.9 * (double)n->mean->w[c] + 0.1 * (double)n->seen[c]);
            n->var->w[c] = (float)(0.9 * (double)n->var->w[c] + 0.1 * unbiased * (double)n->seen[n->channels + c]);
        }
    }
}

/* Of what moves: the average of what stays would move by rounding. */
static void update_averages(struct eye_stage *g, double decay) {
    const struct eye_engine *e = &g->t->engine;
    for (size_t i = 0; i < g->net.n_train; i++) {
        struct eye_train_param *q = g->net.train[i].param;
        eye_optim_average(e, q->average, q->w, q->n, decay);
    }
    for (size_t i = 0; i < g->net.n_norm; i++) {
        const struct eye_net_norm *n = &g->net.norm[i];
        eye_optim_average(e, n->mean->average, n->mean->w, n->mean->n, decay);
        eye_optim_average(e, n->var->average, n->var->w, n->var->n, decay);
    }
}

static void update(struct eye_stage *g, struct eye_optim_param *p, double lr) {
    const struct eye_recipe_stage *s = g->s;
    static const enum eye_optim_kind kind[] = {EYE_OPTIM_ADAMW, EYE_OPTIM_ADAM, EYE_OPTIM_SGD};
    struct eye_optim_hyper h = {.kind = kind[s->optimizer], .beta1 = s->beta1, .beta2 = s->beta2, .eps = s->eps,
                                .momentum = s->momentum, .grad_scale = eye_optim_clip(g->grad_norm, s->clip),
                                .step = g->t->state.stage_step + 1};
    for (size_t i = 0; i < g->net.n_train; i++) p[i].lr = lr * g->net.train[i].lr;
    eye_optim_step(&g->t->engine, &h, p, g->net.n_train);
    update_norms(g);
    double made = (double)g->t->state.stage_step + 1;
    double decay = EYE_MIN(s->ema, made / (made + 9)); /* so that the average soon forgets the stage's beginning */
    if (s->ema > 0) update_averages(g, decay);
}

static enum eye_status make_step(struct eye_stage *g, struct eye_optim_param *p, uint32_t *group, struct eye_err *err) {
    struct eye_train_state *state = &g->t->state;
    int64_t per_step = g->s->batch * g->s->accumulate, k = state->stage_step * per_step;
    int64_t n_targets = EYE_MAX(count_targets(g, k, group), 1);
    g->loss = 0;
    for (int64_t b = 0; b < g->s->accumulate; b += eye_ranks_n(g->t->ranks)) {
        float loss = 0;
        int64_t mine = b + eye_ranks_me(g->t->ranks);
        EYE_TRY(run_batch(g, k + mine * g->s->batch, mine, n_targets, group, &loss, err));
        EYE_TRY(gather(g, b, loss, err));
    }
    EYE_TRY(share(g, err));
    g->grad_norm = eye_optim_norm(&g->t->engine, p, g->net.n_train);
    bool bad = !isfinite(g->grad_norm) || !isfinite(g->loss);
    double lr = g->s->lr * schedule(g->s, state->stage_step, g->n_steps, steps_per_epoch(g));
    if (!bad) update(g, p, lr); /* a step that overflowed would ruin weights for good */
    state->bad_steps = bad ? state->bad_steps + 1 : 0;
    state->stage_step++;
    state->step++;
    state->sum_loss += bad ? 0 : g->loss;
    state->n_loss += !bad;
    if (state->bad_steps < MAX_BAD_STEPS) return EYE_OK;
    return eye_fail(err, EYE_E_ARG, "stage \"%s\": %d steps without a finite loss; a smaller lr, or clip, may help", g->s->name,
                    MAX_BAD_STEPS);
}

/* ---- between steps ---- */

static enum eye_status log_step(struct eye_stage *g, struct eye_err *err) {
    struct eye_train_state *s = &g->t->state;
    double seconds = ((double)(eye_now_ns() - g->line_ns) / 1e9 + 1e-9) / eye_ranks_n(g->t->ranks); /* of all ranks together */
    double lr = g->s->lr * schedule(g->s, s->stage_step - 1, g->n_steps, steps_per_epoch(g));
    struct eye_train_progress p = {.stage = g->s->name, .step = s->stage_step, .n_steps = g->n_steps, .loss = g->loss, .lr = lr,
                                   .grad_norm = g->grad_norm, .rows_per_s = (double)g->n_rows / seconds};
    int64_t since = (s->stage_step - 1) % g->t->recipe.log_every + 1;
    p.images_per_s = g->image ? (double)g->n_pictures / seconds : 0;
    p.seconds_left = seconds * eye_ranks_n(g->t->ranks) / (double)since * (double)(g->n_steps - s->stage_step);
    if (g->t->opts->progress) g->t->opts->progress(g->t->opts->ctx, &p);
    if (s->stage_step % g->t->recipe.log_every != 0 && s->stage_step != g->n_steps) return EYE_OK;
    double mean = s->n_loss ? s->sum_loss / (double)s->n_loss : 0;
    s->sum_loss = 0;
    s->n_loss = 0;
    g->n_rows = g->n_pictures = 0;
    g->line_ns = eye_now_ns();
    json_t *line = json_pack("{s:s, s:I, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:o*}", "event", "step", "step",
                             (json_int_t)s->step, "stage", g->s->name, "stage_step", (json_int_t)s->stage_step, "loss", mean,
                             "lr", lr, "grad_norm", isfinite(g->grad_norm) ? g->grad_norm : -1, "rows_per_s", p.rows_per_s,
                             "images_per_s", p.images_per_s, "reward", g->critical ? json_real(g->reward) : NULL);
    return eye_log_add(&g->t->log, line, err);
}

/* The step after which evaluation number e (from 0) is due. */
static int64_t eval_step(const struct eye_stage *g, int64_t e) {
    double at = ((double)e + 1) * g->t->recipe.eval.every_epochs * steps_per_epoch(g);
    return EYE_MAX((int64_t)llround(at), e + 1);
}

/* Averages are what is judged. */
static enum eye_status judge(struct eye_stage *g, bool *best, struct eye_err *err) {
    struct eye_trainer *t = g->t;
    eye_params_swap(&t->params);
    enum eye_status st = eye_lora_show(&t->params, &g->s->lora, err);
    if (st == EYE_OK) st = eye_dev_judge(g, best, err);
    if (st == EYE_OK && *best) st = eye_trainer_export_best(t, err);
    eye_lora_hide(&t->params);
    eye_params_swap(&t->params);
    EYE_TRY(st);
    return eye_report_write(t->opts->out, t->alloc, err);
}

static enum eye_status between(struct eye_stage *g, bool *stop, struct eye_err *err) {
    struct eye_trainer *t = g->t;
    bool last = t->state.stage_step == g->n_steps;
    *stop = false;
    EYE_TRY(log_step(g, err));
    if (g->has_judge && (last || t->state.stage_step == eval_step(g, t->state.evals))) {
        uint64_t began_ns = eye_now_ns();
        t->state.evals++;
        bool best = false;
        if (eye_ranks_me(t->ranks) == 0) EYE_TRY(judge(g, &best, err));
        double said[] = {best, t->state.best_mark, t->dev_loss, t->shuffled_loss}; /* rank 0's are all ranks' */
        EYE_TRY(eye_ranks_take(t->ranks, 0, said, sizeof said, t->alloc, err));
        t->state.bad_evals = said[0] != 0 ? 0 : t->state.bad_evals + 1;
        t->state.best_mark = said[1];
        t->dev_loss = said[2];
        t->shuffled_loss = said[3];
        *stop = t->recipe.eval.patience && t->state.bad_evals >= t->recipe.eval.patience;
        g->line_ns += eye_now_ns() - began_ns; /* no part of what steps take */
    }
    double minutes = (double)(eye_now_ns() - t->saved_ns) / 60e9;
    return !last && minutes >= t->recipe.save_minutes ? eye_trainer_save(t, err) : EYE_OK;
}

/* ---- the stage ---- */

static enum eye_status open_features(struct eye_stage *g, struct eye_err *err) {
    char name[96];
    struct eye_trainer *t = g->t;
    const struct eye_looker who = {&t->vlm, &t->params, &t->pixels};
    snprintf(name, sizeof name, "features-%.64s.bin", g->s->cache);
    return eye_trainer_features(t, &who, g->s, name, &g->features, err);
}

static void set_augment(struct eye_stage *g) {
    const struct eye_prep_config *c = &g->t->vlm.config.prep;
    const struct eye_recipe_augment *a = &g->s->augment;
    g->augment = (struct eye_augment){.side = (int)c->side_px, .flip = a->flip, .seed = (uint64_t)g->t->recipe.seed};
    memcpy(g->augment.mean, c->mean, sizeof g->augment.mean);
    memcpy(g->augment.std, c->std, sizeof g->augment.std);
    g->augment.crop_area = a->crop < 1 ? (float)(a->crop * a->crop) : 0;
    g->augment.brightness = g->augment.contrast = g->augment.saturation = (float)a->colour;
}

static bool has_teacher(const struct eye_stage *g) {
    return g->s->loss == EYE_LOSS_VISION || g->s->loss == EYE_LOSS_JOINT;
}

static enum eye_status open_teacher(struct eye_stage *g, struct eye_err *err) {
    const struct eye_train_opts *o = g->t->opts;
    char line[160];
    double cosine, mse;
    EYE_TRY(eye_teacher_open(&g->teacher, g->t, g->s, err));
    if (g->teacher.corpus.n_groups) g->corpus = &g->teacher.corpus; /* as many groups, in the same order */
    if (g->s->loss != EYE_LOSS_VISION) return EYE_OK;
    size_t n = (size_t)g->s->batch * g->teacher.elems;
    if (!(g->taught = eye_arena_alloc(&g->arena, n * sizeof *g->taught))) return eye_fail_nomem(err, n * sizeof *g->taught);
    eye_teacher_constant(&g->teacher, g->t->dev.n_groups ? &g->t->dev : &g->t->train, &cosine, &mse);
    snprintf(line, sizeof line, "%s: always the teacher's mean would score 1 - cosine %.4f, mean squared error %.4g",
             g->s->name, cosine, mse);
    if (o->note) o->note(o->ctx, line);
    return EYE_OK;
}

/* The most rows and targets that a batch can have, of training and of judging. */
static enum eye_status measure(struct eye_stage *g, struct eye_err *err) {
    const struct eye_trainer *t = g->t;
    bool lm = g->s->loss == EYE_LOSS_LM;
    const struct eye_corpus *all[] = {g->corpus, lm ? g->corpus : &t->dev};
    int64_t image_rows = lm ? 0 : eye_vlm_image_tokens(&t->vlm, t->vlm.config.prep.side_px);
    for (size_t i = 0; i < EYE_COUNT(all); i++) {
        if (all[i]->n_groups == 0) continue;
        int64_t rows = eye_corpus_max_rows(all[i], (size_t)g->s->batch, image_rows);
        int64_t targets = eye_corpus_max_rows(all[i], (size_t)g->s->batch, 0);
        if (rows < 0 || targets < 0) return eye_fail_nomem(err, all[i]->n_groups * sizeof(int64_t));
        g->max_rows = EYE_MAX(g->max_rows, rows);
        g->max_targets = EYE_MAX(g->max_targets, EYE_MAX(targets, 1));
    }
    if (g->s->loss != EYE_LOSS_CRITICAL) return EYE_OK;
    g->max_targets = EYE_MAX(g->max_targets, eye_critical_max_targets(g));
    g->max_rows = EYE_MAX(g->max_rows, g->s->batch * image_rows + eye_critical_max_targets(g));
    return EYE_OK;
}

static enum eye_status open_nets(struct eye_stage *g, struct eye_err *err) {
    struct eye_trainer *t = g->t;
    struct eye_net_opts o = {.use = EYE_NET_TRAIN, .stage = g->s, .teacher = &t->recipe.teacher, .n_pictures = g->s->batch};
    if (has_teacher(g)) EYE_TRY(open_teacher(g, err));
    EYE_TRY(measure(g, err));
    if (g->s->loss == EYE_LOSS_JOINT) EYE_TRY(eye_teacher_listen(&g->teacher, g->corpus, g->max_targets, err));
    o.max_rows = g->max_rows;
    o.max_targets = g->max_targets;
    o.teacher_dim = g->teacher.channels;
    o.teacher_elems = g->teacher.elems;
    EYE_TRY(eye_net_init(&g->net, &o, &t->engine, &t->vlm, &t->params, err));
    o.use = EYE_NET_JUDGE;
    if (g->s->loss == EYE_LOSS_LM ? eye_trainer_dev_texts(t) == 0 : t->dev.n_groups == 0) return EYE_OK;
    EYE_TRY(eye_net_init(&g->judge, &o, &t->engine, &t->vlm, &t->params, err));
    g->has_judge = true;
    return EYE_OK;
}

static enum eye_status open_stage(struct eye_stage *g, struct eye_optim_param **p, uint32_t **group, struct eye_err *err) {
    struct eye_trainer *t = g->t;
    bool lm = g->s->loss == EYE_LOSS_LM;
    g->corpus = lm ? &t->texts : &t->train;
    g->stream.n = lm ? t->texts.n_groups - eye_trainer_dev_texts(t) : t->train.n_groups;
    if (g->stream.n == 0) return eye_fail(err, EYE_E_ARG, "stage \"%s\": nothing to train on", g->s->name);
    if (lm && eye_vlm_sees(&t->vlm)) g->text_pos = eye_vlm_image_tokens(&t->vlm, t->vlm.config.prep.side_px);
    g->stream.seed = (uint64_t)t->recipe.seed + (uint64_t)t->state.stage;
    g->stream.pass = -1;
    g->stream.order = eye_arena_alloc(&g->arena, g->stream.n * sizeof *g->stream.order);
    *group = eye_arena_alloc(&g->arena, (size_t)g->s->batch * sizeof **group);
    g->picture = eye_arena_alloc(&g->arena, (size_t)g->s->batch * sizeof *g->picture);
    if (!g->stream.order || !*group || !g->picture) return eye_fail_nomem(err, g->stream.n * sizeof *g->stream.order);
    g->n_steps = g->s->steps ? g->s->steps : EYE_MAX((int64_t)llround(g->s->epochs * steps_per_epoch(g)), 1);
    set_augment(g);
    EYE_TRY(eye_lora_begin(&t->params, &g->s->lora, (uint64_t)t->recipe.seed, err));
    if (g->s->cache && !lm) EYE_TRY(open_features(g, err));
    EYE_TRY(open_nets(g, err));
    EYE_TRY(eye_batch_init(&g->batch, g->max_rows, t->alloc, err));
    size_t image_bytes = (size_t)g->s->batch * g->net.image_elems * sizeof *g->image;
    if (g->net.image != EYE_NONE && !(g->image = eye_arena_alloc(&g->arena, image_bytes)))
        return eye_fail_nomem(err, image_bytes);
    *p = eye_arena_alloc(&g->arena, (g->net.n_train + 1) * sizeof **p);
    g->sum = eye_arena_alloc(&g->arena, (g->net.n_train + 1) * sizeof *g->sum);
    g->losses = eye_arena_alloc(&g->arena, (size_t)eye_ranks_n(t->ranks) * sizeof *g->losses);
    if (!*p || !g->sum || !g->losses) return eye_fail_nomem(err, g->net.n_train * sizeof **p);
    if (g->s->loss == EYE_LOSS_CRITICAL) EYE_TRY(eye_critical_new(&g->critical, g, err));
    for (size_t i = 0; i < g->net.n_train; i++) {
        struct eye_net_weight *w = &g->net.train[i];
        size_t at = (size_t)(w->param - t->params.param);
        EYE_TRY(eye_params_optimise(&t->params, at, g->s->optimizer != EYE_STAGE_SGD, err));
        (*p)[i] = (struct eye_optim_param){.w = w->param->w, .g = w->sum ? w->sum : w->g, .m = w->param->m, .v = w->param->v,
                                           .n = w->param->n, .weight_decay = w->decay};
        g->sum[i] = (struct eye_rank_sum){w->g, w->sum, w->param->n};
    }
    return g->s->ema > 0 ? eye_params_average(&t->params, err) : EYE_OK;
}

static void close_stage(struct eye_stage *g) {
    eye_critical_free(g->critical);
    eye_teacher_close(&g->teacher);
    eye_features_close(&g->features);
    eye_net_clear(&g->net);
    if (g->has_judge) eye_net_clear(&g->judge);
    eye_batch_clear(&g->batch, g->t->alloc);
    eye_arena_clear(&g->arena);
}

/* What the next stage begins with, and student/ is: the last weights or their averages, adapters merged; with patience those of
 * the best evaluation, which best/ holds. */
static enum eye_status leave(struct eye_stage *g, struct eye_err *err) {
    struct eye_trainer *t = g->t;
    bool found = false;
    if (t->recipe.eval.patience && t->state.bad_evals > 0 && t->state.bad_evals < t->state.evals) {
        EYE_TRY(eye_trainer_take_best(t, &found, err));
        if (t->opts->note && !found)
            t->opts->note(t->opts->ctx, "best/ is not what this stage left there: the last weights go on");
    }
    if (!found) eye_params_swap(&t->params);
    if (!found) return eye_lora_end(&t->params, &g->s->lora, err);
    eye_params_drop_adapters(&t->params);
    return EYE_OK;
}

/* Rank 0 first: it writes the caches that the others then find. */
static enum eye_status open_in_turn(struct eye_stage *g, struct eye_optim_param **p, uint32_t **group, struct eye_err *err) {
    const struct eye_ranks *r = g->t->ranks;
    if (g->s->accumulate % eye_ranks_n(r) != 0)
        return eye_fail(err, EYE_E_ARG, "stage \"%s\": accumulate is %" PRId64 ", expected a multiple of the %d processes, which share a "
                        "step's batches", g->s->name, g->s->accumulate, eye_ranks_n(r));
    if (eye_ranks_me(r) != 0) EYE_TRY(eye_ranks_wait(r, err));
    EYE_TRY(open_stage(g, p, group, err));
    return eye_ranks_me(r) == 0 ? eye_ranks_wait(r, err) : EYE_OK;
}

/* Has anybody been told to stop? Then all do, behind the same step. */
static enum eye_status ask_all(struct eye_stage *g, struct eye_err *err) {
    struct eye_trainer *t = g->t;
    if (!t->ranks) return EYE_OK;
    bool mine = t->opts->cancel && t->opts->cancel(t->opts->cancel_ctx);
    EYE_TRY(eye_ranks_each(t->ranks, mine, g->losses, err));
    for (int32_t i = 0; i < t->ranks->n; i++) t->stop |= g->losses[i] != 0;
    return EYE_OK;
}

enum eye_status eye_stage_run(struct eye_trainer *t, const struct eye_recipe_stage *s, struct eye_err *err) {
    struct eye_stage g = {.t = t, .s = s};
    struct eye_optim_param *p = NULL;
    uint32_t *group = NULL;
    bool stop = false;
    eye_arena_init(&g.arena, t->alloc);
    enum eye_status st = open_in_turn(&g, &p, &group, err);
    g.line_ns = eye_now_ns();
    while (st == EYE_OK && !stop && t->state.stage_step < g.n_steps) {
        st = ask_all(&g, err);
        if (st == EYE_OK && eye_trainer_cancelled(t)) st = eye_fail(err, EYE_E_CANCELLED, "cancelled");
        if (st == EYE_OK) st = make_step(&g, p, group, err);
        if (st == EYE_OK) st = between(&g, &stop, err);
    }
    if (st == EYE_OK) st = leave(&g, err);
    close_stage(&g);
    return st;
}
