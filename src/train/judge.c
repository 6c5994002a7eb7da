/* train/judge: a captioner on a split it has not seen. Pictures are looked at a few at a time, captioned together, and the
 * captions held against all references at the end. See eyelet/train.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eyelet/image.h"
#include "session/session_impl.h"
#include "train/judge_impl.h"
#include "train/synth.h"

enum { AT_ONCE = 32 };

bool eye_judge_usable(const struct eye_dataset *set, uint32_t picture, enum eye_split split) {
    const struct eye_data_image *img = &set->image[picture];
    return img->n > 0 && (split == EYE_SPLIT_NONE || img->split == split);
}

bool eye_judge_report(const struct eye_judge *j, const char *what, size_t done, size_t n) {
    const struct eye_judge_opts *o = j->opts;
    if (o->progress) o->progress(o->progress_ctx, what, (double)done / (double)EYE_MAX(n, 1));
    return o->cancel && o->cancel(o->cancel_ctx);
}

/* ---- looking ---- */

static struct eye_query query(const struct eye_judge *j, const struct eye_image *img) {
    return (struct eye_query){.text = j->opts->prompt, .images = img, .n_images = 1};
}

enum eye_status eye_judge_look(struct eye_judge *j, uint32_t picture, struct eye_arena *arena, struct eye_many_prompt *out,
                               bool *ok, struct eye_err *err) {
    struct eye_image img;
    struct eye_err why;
    *ok = eye_image_load(j->set->image[picture].path, NULL, &img, &why) == EYE_OK;
    if (!*ok) {
        if (j->out->n_skipped++ == 0) snprintf(j->out->first_skipped, sizeof j->out->first_skipped, "%.255s", why.text);
        return EYE_OK;
    }
    struct eye_query q = query(j, &img);
    uint64_t begin = eye_now_ns();
    enum eye_status st = eye_many_prepare(j->many, &q, arena, out, err);
    j->out->seconds += (double)(eye_now_ns() - begin) / 1e9;
    eye_image_free(&img);
    return st;
}

/* Zero after normalisation: a picture of the tower's mean colour. */
static enum eye_status look_at_nothing(struct eye_judge *j, struct eye_err *err) {
    uint8_t rgb[8 * 8 * 3];
    struct eye_image img;
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)lround(EYE_MIN(EYE_MAX((double)j->model->vlm.config.prep.mean[i % 3] * 255, 0), 255));
    EYE_TRY(eye_image_wrap(&img, rgb, 8, 8, 0, err));
    struct eye_query q = query(j, &img);
    return eye_many_prepare(j->many, &q, &j->arena, &j->blind, err);
}

void eye_judge_feature(const struct eye_judge *j, const struct eye_many_prompt *p, float *feature) {
    size_t n = 0;
    memset(feature, 0, j->width * sizeof *feature);
    for (size_t i = 0; i < p->n; i++) {
        if (p->ids[i] != EYE_TOKEN_IMAGE_ROW) continue;
        for (size_t c = 0; c < j->width; c++) feature[c] += p->image_rows[n * j->width + c];
        n++;
    }
    for (size_t c = 0; c < j->width && n; c++) feature[c] /= (float)n;
}

/* ---- captioning ---- */

struct chunk { /* pictures that are captioned together */
    struct eye_arena arena;
    struct eye_many_prompt prompt[AT_ONCE];
    uint32_t picture[AT_ONCE];
    size_t n;
};

static enum eye_status caption_chunk(struct eye_judge *j, struct chunk *c, struct eye_likelihood *sum, struct eye_err *err) {
    struct eye_search_answer answer[AT_ONCE * EYE_MAX_BEAMS];
    size_t beams = (size_t)j->opts->n_beams;
    uint64_t begin = eye_now_ns();
    EYE_TRY(eye_many_answer(j->many, c->prompt, c->n, &c->arena, answer, err));
    j->out->seconds += (double)(eye_now_ns() - begin) / 1e9;
    for (size_t i = 0; i < c->n; i++, j->n++) {
        const struct eye_search_answer *a = &answer[i * beams];
        j->picture[j->n] = c->picture[i];
        j->caption[j->n] = eye_many_text(j->many, a->tokens, a->n, &j->arena);
        if (!j->caption[j->n]) return eye_fail_nomem(err, a->n);
        if (j->feature) eye_judge_feature(j, &c->prompt[i], j->feature + j->n * j->width);
    }
    for (size_t i = 0; i < c->n && j->opts->perplexity; i++) /* a last chunk of one has no other picture: its own is left out */
        if (c->n > 1) EYE_TRY(eye_judge_likelihood(j, c->picture[i], &c->prompt[i], &c->prompt[(i + 1) % c->n], sum, err));
    return EYE_OK;
}

static enum eye_status caption_all(struct eye_judge *j, const uint32_t *picture, size_t n, struct eye_err *err) {
    struct eye_likelihood sum = {0};
    struct chunk c;
    size_t at_once = (size_t)eye_many_at_once(j->many), i = 0;
    while (i < n) {
        enum eye_status st = EYE_OK;
        eye_arena_init(&c.arena, j->alloc);
        for (c.n = 0; c.n < at_once && i < n && st == EYE_OK; i++) {
            bool ok = false;
            if (eye_judge_report(j, "captioning", i, n)) st = eye_fail(err, EYE_E_CANCELLED, "cancelled");
            else st = eye_judge_look(j, picture[i], &c.arena, &c.prompt[c.n], &ok, err);
            if (ok) c.picture[c.n++] = picture[i];
        }
        if (st == EYE_OK && c.n) st = caption_chunk(j, &c, &sum, err);
        eye_arena_clear(&c.arena);
        if (st != EYE_OK) return st;
    }
    eye_judge_report(j, "captioning", n, n);
    eye_judge_perplexity(&sum, j->out);
    if (j->n > 0) return EYE_OK;
    return eye_fail(err, EYE_E_ARG, "none of %zu pictures can be read: %.160s", n, j->out->first_skipped);
}

/* ---- scoring ---- */

/* References of pictures [n]. Those of no words count for nothing; a picture must keep one. */
static enum eye_status make_refs(const struct eye_dataset *set, const uint32_t *picture, size_t n, const struct eye_alloc *alloc,
                                 struct eye_caption_refs **out, struct eye_err *err) {
    struct eye_caption_refs *refs;
    EYE_TRY(eye_caption_refs_new(&refs, n, alloc, err));
    enum eye_status st = EYE_OK;
    for (size_t i = 0; i < n && st == EYE_OK; i++) {
        const struct eye_data_image *img = &set->image[picture[i]];
        for (uint32_t k = 0; k < img->n && st == EYE_OK; k++) {
            const char *text = set->caption[img->first + k].text;
            st = eye_caption_refs_add(refs, i, text, strlen(text), err);
            if (st == EYE_E_ARG) st = EYE_OK;
        }
    }
    if (st == EYE_OK) st = eye_caption_refs_finish(refs, err);
    if (st == EYE_OK) *out = refs;
    else eye_caption_refs_free(refs);
    return st;
}

/* The split asked for; else the test split, else everything where nothing has a split. */
static enum eye_split resolve_split(const struct eye_dataset *set, enum eye_split split) {
    if (split != EYE_SPLIT_NONE) return split;
    for (size_t i = 0; i < set->n_images; i++)
        if (set->image[i].split != EYE_SPLIT_NONE) return EYE_SPLIT_TEST;
    return EYE_SPLIT_NONE;
}

/* The usable pictures of a split into list [n_images]. */
static enum eye_status list_pictures(const struct eye_dataset *set, enum eye_split split, size_t limit, uint32_t *list, size_t *n,
                                     struct eye_err *err) {
    split = resolve_split(set, split);
    for (uint32_t i = 0; i < set->n_images && (limit == 0 || *n < limit); i++)
        if (eye_judge_usable(set, i, split)) list[(*n)++] = i;
    if (*n) return EYE_OK;
    return eye_fail(err, EYE_E_ARG, "no picture with captions in the %s split", eye_split_name(split));
}

static enum eye_status report_captions(struct eye_judge *j, struct eye_err *err) {
    for (size_t i = 0; i < j->n && j->opts->on_caption; i++) {
        double cider;
        EYE_TRY(eye_caption_cider(j->refs, i, j->caption[i], strlen(j->caption[i]), &cider, err));
        j->opts->on_caption(j->opts->on_caption_ctx, j->set->image[j->picture[i]].name, j->caption[i], cider);
    }
    return EYE_OK;
}

static enum eye_status take_memory(struct eye_judge *j, size_t n, struct eye_err *err) {
    j->picture = eye_arena_alloc(&j->arena, n * sizeof *j->picture);
    j->caption = eye_arena_alloc(&j->arena, n * sizeof *j->caption);
    if (j->opts->baselines) j->feature = eye_arena_alloc(&j->arena, n * j->width * sizeof *j->feature);
    if (j->picture && j->caption && (j->feature || !j->opts->baselines)) return EYE_OK;
    return eye_fail_nomem(err, n * j->width * sizeof *j->feature);
}

static enum eye_status judge(struct eye_judge *j, struct eye_err *err) {
    uint32_t *list = eye_arena_alloc(&j->arena, (j->set->n_images + 1) * sizeof *list);
    size_t n = 0;
    if (!list) return eye_fail_nomem(err, j->set->n_images * sizeof *list);
    EYE_TRY(list_pictures(j->set, j->opts->split, j->opts->limit, list, &n, err));
    EYE_TRY(take_memory(j, n, err));
    EYE_TRY(look_at_nothing(j, err));
    EYE_TRY(caption_all(j, list, n, err));
    j->out->n_pictures = j->n;
    EYE_TRY(make_refs(j->set, j->picture, j->n, j->alloc, &j->refs, err));
    EYE_TRY(eye_caption_score(j->refs, j->caption, &j->out->score, err));
    EYE_TRY(report_captions(j, err));
    eye_synth_judge_set(j->set, j->picture, j->caption, j->n, &j->out->scenes);
    return j->opts->baselines ? eye_judge_baselines(j, err) : EYE_OK;
}

enum eye_status eye_judge(struct eye_model *model, const struct eye_dataset *set, const struct eye_judge_opts *opts,
                          struct eye_judgement *out, struct eye_err *err) {
    struct eye_judge_opts o = *opts;
    *out = (struct eye_judgement){0};
    if (!eye_vlm_sees(&model->vlm)) return eye_fail(err, EYE_E_ARG, "%s: a model of text: it captions nothing", model->ckpt.path);
    if (o.n_beams == 0) o.n_beams = (int32_t)EYE_MIN(model->vlm.config.n_beams, EYE_MAX_BEAMS);
    if (o.length_penalty == 0) o.length_penalty = (float)model->vlm.config.length_penalty;
    struct eye_judge j = {.model = model, .set = set, .opts = &o, .alloc = model->alloc, .out = out,
                          .width = (size_t)model->vlm.config.text.hidden};
    struct eye_many_opts many = {.at_once = EYE_MIN(EYE_MAX(model->opts.n_parallel / o.n_beams, 1), AT_ONCE),
                                 .search = {.n_beams = o.n_beams, .length_penalty = o.length_penalty, .max_tok = o.max_tok}};
    eye_arena_init(&j.arena, j.alloc);
    enum eye_status st = eye_many_new(&j.many, model, &many, err);
    if (st == EYE_OK) st = judge(&j, err);
    eye_caption_refs_free(j.refs);
    eye_many_free(j.many);
    eye_arena_clear(&j.arena);
    return st;
}

/* ---- captions from elsewhere ---- */

static enum eye_status score_given(const struct eye_dataset *set, const uint32_t *list, size_t n, const char *const *name,
                                   const char *const *caption, size_t n_captions, struct eye_arena *arena,
                                   struct eye_judgement *out, struct eye_err *err) {
    const char **mine = eye_arena_alloc(arena, set->n_images * sizeof *mine), **judged = eye_arena_alloc(arena, n * sizeof *judged);
    struct eye_caption_refs *refs;
    if (!mine || !judged) return eye_fail_nomem(err, set->n_images * sizeof *mine);
    for (size_t i = 0; i < n_captions; i++) {
        int32_t picture = eye_strmap_get(&set->by_name, name[i], strlen(name[i]));
        if (picture < 0) {
            if (out->n_skipped++ == 0) snprintf(out->first_skipped, sizeof out->first_skipped, "%.200s: not in the set", name[i]);
            continue;
        }
        mine[picture] = caption[i];
    }
    for (size_t i = 0; i < n; i++) judged[i] = mine[list[i]] ? mine[list[i]] : "";
    eye_synth_judge_set(set, list, judged, n, &out->scenes);
    EYE_TRY(make_refs(set, list, n, set->alloc, &refs, err));
    enum eye_status st = eye_caption_score(refs, judged, &out->score, err);
    eye_caption_refs_free(refs);
    return st;
}

enum eye_status eye_judge_captions(const struct eye_dataset *set, enum eye_split split, const char *const *name,
                                   const char *const *caption, size_t n, struct eye_judgement *out, struct eye_err *err) {
    struct eye_arena arena;
    *out = (struct eye_judgement){0};
    eye_arena_init(&arena, set->alloc);
    uint32_t *list = eye_arena_alloc(&arena, (set->n_images + 1) * sizeof *list);
    enum eye_status st = list ? list_pictures(set, split, 0, list, &out->n_pictures, err)
                              : eye_fail_nomem(err, set->n_images * sizeof *list);
    if (st == EYE_OK) st = score_given(set, list, out->n_pictures, name, caption, n, &arena, out, err);
    eye_arena_clear(&arena);
    return st;
}
