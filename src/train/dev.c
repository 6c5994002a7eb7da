/* Dev: judging on the way. The loss on the dev part, shifted, of caption and end token only; once more with each picture
 * replaced by another one of the dev part, which tells whether the student looks at all; and CIDEr-D of its greedy captions.
 * Full judging is another command's affair (judge.h); this one runs the weights that are being trained. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/critical.h"
#include "train/folder.h"
#include "train/scribe.h"

struct dev { /* the dev part of a stage */
    struct eye_stage *g;
    const struct eye_corpus *corpus;
    size_t first, n;        /* groups */
    size_t batch;
    uint32_t *group, *picture;
    float *image, *rows;
    struct eye_arena arena;
};

static bool sees(const struct dev *d) { return d->g->judge.image != EYE_NONE; }

static bool captions(const struct dev *d) { return sees(d) && d->g->s->loss != EYE_LOSS_VISION; }

static enum eye_status open_dev(struct dev *d, struct eye_err *err) {
    struct eye_trainer *t = d->g->t;
    bool lm = d->g->s->loss == EYE_LOSS_LM;
    int64_t limit = t->recipe.eval.images;
    d->corpus = lm ? &t->texts : &t->dev;
    d->n = lm ? eye_trainer_dev_texts(t) : t->dev.n_groups;
    d->first = lm ? t->texts.n_groups - d->n : 0;
    if (limit) d->n = EYE_MIN(d->n, (size_t)limit);
    d->batch = (size_t)d->g->s->batch;
    size_t elems = d->batch * d->g->judge.image_elems + 1;
    d->group = eye_arena_alloc(&d->arena, d->batch * sizeof *d->group);
    d->picture = eye_arena_alloc(&d->arena, d->batch * sizeof *d->picture);
    d->image = eye_arena_alloc(&d->arena, elems * sizeof *d->image);
    d->rows = eye_arena_alloc(&d->arena, (size_t)d->g->max_rows * sizeof *d->rows);
    return d->group && d->picture && d->image && d->rows ? EYE_OK : eye_fail_nomem(err, elems * sizeof *d->image);
}

/* Images of n groups from `from` on, each `shift` further round the dev part. */
static enum eye_status load_images(struct dev *d, size_t from, size_t n, size_t shift, struct eye_err *err) {
    if (!sees(d)) return EYE_OK;
    for (size_t i = 0; i < d->batch; i++) /* a short batch is filled up: the net takes a fixed number */
        d->picture[i] = d->corpus->picture[d->first + (from + EYE_MIN(i, n - 1) + shift) % d->n];
    return eye_stage_images(d->g, d->picture, d->batch, -1, d->image, err);
}

/* Mean negative log-likelihood of a target. */
static enum eye_status mean_loss(struct dev *d, size_t shift, double *mean, struct eye_err *err) {
    double sum = 0;
    int64_t n_targets = 0;
    struct eye_batch *b = &d->g->batch;
    struct eye_net_call call = {.batch = b, .image = d->image, .row_loss = d->rows, .cancel = eye_trainer_cancelled,
                                .cancel_ctx = d->g->t};
    for (size_t i = 0; i < d->n; i += d->batch) {
        size_t n = EYE_MIN(d->batch, d->n - i);
        for (size_t k = 0; k < n; k++) d->group[k] = (uint32_t)(d->first + i + k);
        eye_batch_fill(b, d->corpus, d->group, n, d->g->judge.image_rows, d->g->text_pos);
        EYE_TRY(load_images(d, i, n, shift, err));
        EYE_TRY(eye_net_run(&d->g->judge, &call, err));
        for (int64_t r = 0; r < b->n_targets; r++) sum += (double)d->rows[r];
        n_targets += b->n_targets;
    }
    *mean = sum / (double)EYE_MAX(n_targets, 1);
    return EYE_OK;
}

/* Mean distance of a row of features from the teacher's. With a shift: the teacher looked at another picture. */
static enum eye_status mean_distance(struct dev *d, size_t shift, double *mean, struct eye_err *err) {
    const struct eye_teacher *x = &d->g->teacher;
    size_t rows = (size_t)d->g->judge.image_rows;
    double sum = 0;
    struct eye_net_call call = {.image = d->image, .teacher = d->g->taught, .centre = x->minus_mean, .row_loss = d->rows,
                                .cancel = eye_trainer_cancelled, .cancel_ctx = d->g->t};
    for (size_t i = 0; i < d->n; i += d->batch) {
        size_t n = EYE_MIN(d->batch, d->n - i);
        EYE_TRY(load_images(d, i, n, 0, err));
        for (size_t k = 0; k < n; k++)
            eye_teacher_features(x, &d->corpus->picture[(i + k + shift) % d->n], 1, d->g->taught + k * x->elems);
        EYE_TRY(eye_net_run(&d->g->judge, &call, err));
        for (size_t r = 0; r < n * rows; r++) sum += (double)d->rows[r];
    }
    *mean = sum / (double)EYE_MAX(d->n * rows, 1);
    return EYE_OK;
}

static enum eye_status mean_of(struct dev *d, size_t shift, double *mean, struct eye_err *err) {
    return (d->g->s->loss == EYE_LOSS_VISION ? mean_distance : mean_loss)(d, shift, mean, err);
}

/* ---- captions ---- */

static json_t *sample_json(struct dev *d, const char *caption, bool ended, size_t i) {
    struct eye_trainer *t = d->g->t;
    uint32_t picture = d->corpus->picture[i];
    const struct eye_data_image *image = &t->set->image[picture];
    char thumbnail[64] = "";
    const uint8_t *rgb = eye_pixels_at(&t->pixels, picture);
    if (eye_report_thumbnail(t->opts->out, picture, rgb, t->pixels.side, thumbnail, NULL) != EYE_OK)
        thumbnail[0] = '\0'; /* a report without a picture is one all the same */
    return json_pack("{s:s, s:b, s:s, s:s, s:s}", "caption", caption, "ended", ended, "picture", image->name, "reference",
                     t->set->caption[image->first].text, "thumbnail", thumbnail);
}

/* Greedy captions of all pictures; the first ones go to the report. */
static enum eye_status write_captions(struct dev *d, struct eye_scribe *w, const char **caption, json_t *samples,
                                      struct eye_err *err) {
    size_t n_samples = (size_t)d->g->t->recipe.eval.samples;
    struct eye_search_answer *answer = eye_arena_alloc(&d->arena, d->batch * sizeof *answer);
    if (!answer) return eye_fail_nomem(err, d->batch * sizeof *answer);
    for (size_t i = 0; i < d->n; i += d->batch) {
        size_t n = EYE_MIN(d->batch, d->n - i);
        EYE_TRY(load_images(d, i, n, 0, err));
        EYE_TRY(eye_scribe_write(w, d->image, &d->arena, answer, err));
        for (size_t k = 0; k < n; k++) {
            if (!(caption[i + k] = eye_scribe_text(w, &answer[k], &d->arena))) return eye_fail_nomem(err, answer[k].n);
            if (i + k >= n_samples) continue;
            if (json_array_append_new(samples, sample_json(d, caption[i + k], answer[k].ended, i + k)) != 0)
                return eye_fail_nomem(err, 1);
        }
    }
    return EYE_OK;
}

static enum eye_status score_captions(struct dev *d, json_t *samples, double *cider, struct eye_err *err) {
    const char **caption = eye_arena_alloc(&d->arena, d->n * sizeof *caption);
    struct eye_caption_refs *refs;
    struct eye_caption_score score = {0};
    struct eye_scribe w;
    if (!caption) return eye_fail_nomem(err, d->n * sizeof *caption);
    EYE_TRY(eye_scribe_open(&w, d->g, &(struct eye_search_opts){.n_beams = 1}, err));
    enum eye_status st = write_captions(d, &w, caption, samples, err);
    eye_scribe_close(&w);
    if (st != EYE_OK) return st;
    EYE_TRY(eye_critical_references(d->g->t, d->corpus, d->n, &refs, err));
    st = eye_caption_score(refs, caption, &score, err);
    eye_caption_refs_free(refs);
    *cider = score.cider;
    return st;
}

/* ---- the whole ---- */

static void note(struct dev *d, double loss, double shuffled, double cider) {
    const struct eye_train_opts *o = d->g->t->opts;
    char line[200];
    int n = snprintf(line, sizeof line, "%s, step %lld: dev loss %.4f", d->g->s->name,
                     (long long)d->g->t->state.stage_step, loss);
    if (d->g->s->loss == EYE_LOSS_VISION)
        snprintf(line + n, sizeof line - (size_t)n, " (%.4f from the teacher's features of other pictures)", shuffled);
    else
        n += snprintf(line + n, sizeof line - (size_t)n, ", perplexity %.2f", exp(loss));
    if (captions(d))
        snprintf(line + n, sizeof line - (size_t)n, " (%.2f with the pictures of others), CIDEr-D %.3f", exp(shuffled),
                 cider);
    if (o->note) o->note(o->ctx, line);
}

/* Captioners are as good as what they write, others as their loss. */
static enum eye_status judge(struct dev *d, json_t *samples, bool *best, struct eye_err *err) {
    struct eye_train_state *s = &d->g->t->state;
    double loss, shuffled = 0, cider = 0;
    EYE_TRY(open_dev(d, err));
    EYE_TRY(mean_of(d, 0, &loss, err));
    if (sees(d) && d->n > 1) EYE_TRY(mean_of(d, EYE_MAX(d->n / 2, 1), &shuffled, err));
    if (captions(d)) EYE_TRY(score_captions(d, samples, &cider, err));
    double mark = captions(d) ? -cider : loss;
    bool first = s->bad_evals == s->evals - 1; /* none was any good so far */
    *best = isfinite(loss) && (first || mark < s->best_mark);
    if (*best) s->best_mark = mark;
    d->g->t->dev_loss = loss;
    d->g->t->shuffled_loss = shuffled;
    note(d, loss, shuffled, cider);
    return eye_log_add(&d->g->t->log,
                       json_pack("{s:s, s:I, s:s, s:f, s:f, s:f, s:O}", "event", "eval", "step", (json_int_t)s->step, "stage",
                                 d->g->s->name, "dev_loss", isfinite(loss) ? loss : -1, "shuffled_loss",
                                 isfinite(shuffled) ? shuffled : -1, "cider", cider, "samples", samples), err);
}

enum eye_status eye_dev_judge(struct eye_stage *g, bool *best, struct eye_err *err) {
    struct dev d = {.g = g};
    json_t *samples = json_array();
    eye_arena_init(&d.arena, g->t->alloc);
    enum eye_status st = judge(&d, samples, best, err);
    json_decref(samples);
    eye_arena_clear(&d.arena);
    return st;
}
