/* train/judge_baselines: what captions score that cost no looking: one caption for all, the model's own without a picture, and
 * that of the training picture which looks most alike. A captioner must beat them to have learnt anything. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/judge_impl.h"

enum { TRIED = 200, JURY = 400 }; /* candidates for the constant caption; pictures that choose among them */

static enum eye_status score_constant(struct eye_judge *j, const char *caption, struct eye_caption_score *out, struct eye_err *err) {
    const char **all = eye_arena_alloc(&j->arena, j->n * sizeof *all);
    if (!all) return eye_fail_nomem(err, j->n * sizeof *all);
    for (size_t i = 0; i < j->n; i++) all[i] = caption;
    return eye_caption_score(j->refs, all, out, err);
}

/* ---- the constant ---- */

static enum eye_status add_references(const struct eye_judge *j, struct eye_caption_refs *refs, size_t i, uint32_t picture,
                                      struct eye_err *err) {
    const struct eye_data_image *img = &j->set->image[picture];
    for (uint32_t k = 0; k < img->n; k++) {
        const char *text = j->set->caption[img->first + k].text;
        EYE_TRY(eye_caption_refs_add(refs, i, text, strlen(text), err));
    }
    return EYE_OK;
}

/* Of the first captions of some training pictures, the one that is best for others of them. */
static enum eye_status choose_constant(struct eye_judge *j, const uint32_t *train, size_t n, const char **best,
                                       struct eye_err *err) {
    struct eye_caption_refs *refs;
    size_t jury = EYE_MIN(n, JURY);
    double most = -1;
    EYE_TRY(eye_caption_refs_new(&refs, jury, j->alloc, err));
    enum eye_status st = EYE_OK;
    for (size_t i = 0; i < jury && st == EYE_OK; i++) st = add_references(j, refs, i, train[i * n / jury], err);
    if (st == EYE_OK) st = eye_caption_refs_finish(refs, err);
    for (size_t t = 0; t < EYE_MIN(n, TRIED) && st == EYE_OK; t++) {
        const char *text = j->set->caption[j->set->image[train[t]].first].text;
        double sum = 0, one = 0;
        for (size_t i = 0; i < jury && st == EYE_OK; i++) {
            if (train[i * n / jury] == train[t]) continue; /* its own references would praise it */
            st = eye_caption_cider(refs, i, text, strlen(text), &one, err);
            sum += one;
        }
        if (sum <= most) continue;
        most = sum;
        *best = text;
    }
    eye_caption_refs_free(refs);
    return st;
}

/* ---- the neighbour ---- */

static void normalise(float *x, const double *mean, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) x[i] = (float)((double)x[i] - mean[i]);
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    for (size_t i = 0; i < n && sum > 0; i++) x[i] = (float)((double)x[i] / sqrt(sum));
}

/* Cosine of features about the training pictures' mean. features [n, width] of train[], -> their captions for j's pictures. */
static void find_neighbours(const struct eye_judge *j, const uint32_t *train, float *features, size_t n, double *mean,
                            const char **caption) {
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < j->width; c++) mean[c] += (double)features[i * j->width + c] / (double)n;
    for (size_t i = 0; i < n; i++) normalise(features + i * j->width, mean, j->width);
    for (size_t i = 0; i < j->n; i++) {
        float *x = j->feature + i * j->width;
        double most = -2;
        normalise(x, mean, j->width);
        for (size_t k = 0; k < n; k++) {
            double dot = 0;
            for (size_t c = 0; c < j->width; c++) dot += (double)x[c] * (double)features[k * j->width + c];
            if (dot <= most) continue;
            most = dot;
            caption[i] = j->set->caption[j->set->image[train[k]].first].text;
        }
    }
}

static enum eye_status score_neighbours(struct eye_judge *j, uint32_t *train, size_t n, struct eye_err *err) {
    float *features = eye_arena_alloc(&j->arena, n * j->width * sizeof *features);
    double *mean = eye_arena_alloc(&j->arena, j->width * sizeof *mean);
    const char **caption = eye_arena_alloc(&j->arena, j->n * sizeof *caption);
    size_t seen = 0;
    if (!features || !mean || !caption) return eye_fail_nomem(err, n * j->width * sizeof *features);
    for (size_t i = 0; i < n; i++) {
        struct eye_arena arena;
        struct eye_many_prompt p;
        bool ok = false;
        if (eye_judge_report(j, "looking at training pictures", i, n)) return eye_fail(err, EYE_E_CANCELLED, "cancelled");
        eye_arena_init(&arena, j->alloc);
        enum eye_status st = eye_judge_look(j, train[i], &arena, &p, &ok, err);
        if (st == EYE_OK && ok) {
            eye_judge_feature(j, &p, features + seen * j->width);
            train[seen++] = train[i];
        }
        eye_arena_clear(&arena);
        if (st != EYE_OK) return st;
    }
    if (seen == 0) return eye_fail(err, EYE_E_ARG, "baselines: no picture of the train split can be read");
    find_neighbours(j, train, features, seen, mean, caption);
    return eye_caption_score(j->refs, caption, &j->out->neighbour, err);
}

/* ---- without a picture ---- */

static enum eye_status score_blind(struct eye_judge *j, struct eye_err *err) {
    struct eye_search_answer answer[EYE_MAX_BEAMS];
    EYE_TRY(eye_many_answer(j->many, &j->blind, 1, &j->arena, answer, err));
    const char *text = eye_many_text(j->many, answer[0].tokens, answer[0].n, &j->arena);
    if (!text) return eye_fail_nomem(err, answer[0].n);
    snprintf(j->out->blind_caption, sizeof j->out->blind_caption, "%s", text);
    return score_constant(j, text, &j->out->blind, err);
}

enum eye_status eye_judge_baselines(struct eye_judge *j, struct eye_err *err) {
    uint32_t *train = eye_arena_alloc(&j->arena, j->set->n_images * sizeof *train);
    const char *constant = "";
    size_t n = 0;
    if (!train) return eye_fail_nomem(err, j->set->n_images * sizeof *train);
    for (uint32_t i = 0; i < j->set->n_images; i++)
        if (eye_judge_usable(j->set, i, EYE_SPLIT_TRAIN)) train[n++] = i;
    if (n == 0) return eye_fail(err, EYE_E_ARG, "baselines: the data set has no train split to take captions from");
    EYE_TRY(score_blind(j, err));
    EYE_TRY(choose_constant(j, train, n, &constant, err));
    snprintf(j->out->constant_caption, sizeof j->out->constant_caption, "%s", constant);
    EYE_TRY(score_constant(j, constant, &j->out->constant, err));
    EYE_TRY(score_neighbours(j, train, n, err));
    j->out->has_baselines = true;
    return EYE_OK;
}
