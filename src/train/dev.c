/* Dev: judging on the way. The loss on the dev part, shifted, of caption and end token only; once more with each picture
 * replaced by another one of the dev part, which tells whether the student looks at all; and captions of a few pictures,
 * greedily. Full judging is another command's affair (judge.h); this one runs the net that is being trained. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/folder.h"
#include "train/trainer.h"

struct dev { /* the dev part of a stage */
    struct eye_stage *g;
    const struct eye_corpus *corpus;
    size_t first, n;        /* groups */
    size_t batch;
    uint32_t *group, *picture;
    float *image, *rows, *logits;
    struct eye_arena arena;
};

static bool sees(const struct dev *d) { return d->g->judge.image != EYE_NONE; }

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
        for (int64_t r = 0; r < b->t; r++) sum += (double)d->rows[r];
        n_targets += b->n_targets;
    }
    *mean = sum / (double)EYE_MAX(n_targets, 1);
    return EYE_OK;
}

/* ---- samples ---- */

struct sample { int32_t *ids; int64_t n; bool ended; };

static int32_t likeliest(const float *logits, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* All samples one token further; every row is computed again, which for a handful of captions is soon done. */
static enum eye_status next_tokens(struct dev *d, struct sample *sample, size_t n, bool *all_ended, struct eye_err *err) {
    struct eye_batch *b = &d->g->batch;
    struct eye_net_call call = {.batch = b, .image = d->image, .logits = d->logits};
    int64_t vocab = d->g->t->vlm.config.text.vocab, rows = d->g->judge.image_rows;
    eye_batch_begin(b);
    for (size_t i = 0; i < n; i++) {
        if (rows) eye_batch_add_image(b, (int64_t)i * rows, rows);
        eye_batch_add_sequence(b, sample[i].ids, sample[i].n, d->g->text_pos);
    }
    EYE_TRY(eye_net_run(&d->g->judge, &call, err));
    *all_ended = true;
    for (size_t i = 0; i < n; i++) {
        int64_t last = b->segment[rows ? 2 * i + 1 : i].row + sample[i].n - 1;
        int32_t id = likeliest(d->logits + last * vocab, vocab);
        if (sample[i].ended || id == d->corpus->eos) sample[i].ended = true;
        else sample[i].ids[sample[i].n++] = id;
        *all_ended = *all_ended && sample[i].ended;
    }
    return EYE_OK;
}

static json_t *sample_json(struct dev *d, const struct sample *s, size_t i) {
    struct eye_trainer *t = d->g->t;
    struct eye_buf text;
    eye_buf_init(&text, t->alloc);
    eye_tokenizer_decode(t->tokenizer, s->ids + 1, (size_t)s->n - 1, true, &text);
    const char *p = text.p && !text.failed ? text.p : "";
    while (*p == ' ') p++;
    const struct eye_data_image *image = sees(d) ? &t->set->image[d->corpus->picture[i]] : NULL;
    char thumbnail[64] = "";
    if (image && eye_report_thumbnail(t->opts->out, d->corpus->picture[i], eye_pixels_at(&t->pixels, d->corpus->picture[i]),
                                      t->pixels.side, thumbnail, NULL) != EYE_OK)
        thumbnail[0] = '\0'; /* a report without a picture is one all the same */
    json_t *o = json_pack("{s:s, s:b, s:s*, s:s*, s:s}", "caption", p, "ended", s->ended, "picture", image ? image->name : NULL,
                          "reference", image ? t->set->caption[image->first].text : NULL, "thumbnail", thumbnail);
    eye_buf_clear(&text);
    return o;
}

static enum eye_status take_samples(struct dev *d, json_t *list, struct eye_err *err) {
    size_t n = EYE_MIN(EYE_MIN((size_t)d->g->t->recipe.eval.samples, d->batch), d->n);
    int64_t rows = d->g->judge.image_rows, max_tok = (int64_t)d->corpus->max_tok;
    int64_t positions = d->g->t->vlm.config.text.max_positions - EYE_MAX(rows, d->g->text_pos) - 1;
    max_tok = EYE_MIN(max_tok, positions);
    n = EYE_MIN(n, (size_t)(d->g->max_rows / (rows + max_tok + 1)));
    if (n == 0) return EYE_OK;
    struct sample *sample = eye_arena_alloc(&d->arena, n * sizeof *sample);
    d->logits = eye_arena_alloc(&d->arena, (size_t)(d->g->max_rows * d->g->t->vlm.config.text.vocab) * sizeof *d->logits);
    if (!sample || !d->logits) return eye_fail_nomem(err, n * sizeof *sample);
    for (size_t i = 0; i < n; i++) {
        sample[i].ids = eye_arena_alloc(&d->arena, (size_t)(max_tok + 2) * sizeof(int32_t));
        if (!sample[i].ids) return eye_fail_nomem(err, (size_t)max_tok * sizeof(int32_t));
        sample[i].ids[0] = d->corpus->bos;
        sample[i].n = 1;
    }
    EYE_TRY(load_images(d, 0, n, 0, err));
    bool all_ended = false;
    for (int64_t k = 0; k < max_tok && !all_ended; k++) EYE_TRY(next_tokens(d, sample, n, &all_ended, err));
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(list, sample_json(d, &sample[i], i)) != 0) return eye_fail_nomem(err, 1);
    return EYE_OK;
}

/* ---- the whole ---- */

static void note(struct dev *d, double loss, double shuffled) {
    const struct eye_train_opts *o = d->g->t->opts;
    char line[200];
    int n = snprintf(line, sizeof line, "%s, step %lld: dev loss %.4f, perplexity %.2f", d->g->s->name,
                     (long long)d->g->t->state.stage_step, loss, exp(loss));
    if (sees(d)) snprintf(line + n, sizeof line - (size_t)n, " (%.2f with the pictures of others)", exp(shuffled));
    if (o->note) o->note(o->ctx, line);
}

static enum eye_status judge(struct dev *d, bool *best, struct eye_err *err) {
    struct eye_train_state *s = &d->g->t->state;
    double loss, shuffled = 0;
    EYE_TRY(open_dev(d, err));
    EYE_TRY(mean_loss(d, 0, &loss, err));
    if (sees(d) && d->n > 1) EYE_TRY(mean_loss(d, EYE_MAX(d->n / 2, 1), &shuffled, err));
    *best = isfinite(loss) && (s->best_loss == 0 || loss < s->best_loss);
    if (*best) s->best_loss = loss;
    d->g->t->dev_loss = loss;
    d->g->t->shuffled_loss = shuffled;
    note(d, loss, shuffled);
    json_t *samples = json_array();
    enum eye_status st = take_samples(d, samples, err);
    if (st != EYE_OK) {
        json_decref(samples);
        return st;
    }
    return eye_log_add(&d->g->t->log, json_pack("{s:s, s:I, s:s, s:f, s:f, s:o}", "event", "eval", "step", (json_int_t)s->step,
                                                "stage", d->g->s->name, "dev_loss", isfinite(loss) ? loss : -1, "shuffled_loss",
                                                isfinite(shuffled) ? shuffled : -1, "samples", samples), err);
}

enum eye_status eye_dev_judge(struct eye_stage *g, bool *best, struct eye_err *err) {
    struct dev d = {.g = g};
    eye_arena_init(&d.arena, g->t->alloc);
    enum eye_status st = judge(&d, best, err);
    eye_arena_clear(&d.arena);
    return st;
}
