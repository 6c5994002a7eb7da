/* quality: two checkpoints of one model on the same pairs, side by side: distributions over the answers' tokens, greedy
 * answers, features of the vision tower. Knows nothing of how b came about. */
#include <math.h>
#include <string.h>

#include "eyelet/experimental.h"
#include "eyelet/image.h"
#include "pack/layers.h"
#include "pack/pairs.h"

#define GREEDY_TOKENS 32

struct side {
    struct eye_model *model;
    struct eye_session *s;
    float *logits;   /* [vocab] */
    double log_sum;  /* log of the sum of exp(logits): log p = logit - log_sum */
    int32_t *answer; /* [n_greedy] */
    size_t n_answer;
    double surprise; /* sum of -log p of the captions' tokens */
};

struct judge {
    const struct eye_quality_opts *o;
    struct eye_quality *q;
    struct eye_pairs pairs;
    struct side side[2];
    struct eye_arena arena;
    size_t vocab, n_greedy, n_caption_tok;
    double kl, agree, first, edits;
    double dot, aa, bb, ee; /* sums over features: a b, a^2, b^2, (a - b)^2 */
    size_t *distance;       /* [2][n_greedy + 1] rows of the edit distance's table */
    struct eye_layers *layers; /* NULL: not asked for, or b is not int8 */
};

/* ---- distributions ---- */

/* Sets log_sum; returns the likeliest. */
static size_t read_distribution(struct side *s, size_t n) {
    size_t top = 0;
    double sum = 0;
    for (size_t i = 1; i < n; i++)
        if (s->logits[i] > s->logits[top]) top = i;
    for (size_t i = 0; i < n; i++) sum += exp((double)s->logits[i] - (double)s->logits[top]);
    s->log_sum = (double)s->logits[top] + log(sum);
    return top;
}

static double log_p(const struct side *s, size_t i) { return (double)s->logits[i] - s->log_sum; }

/* Both sides' logits for the token that is `next` in the pair; -1 = it has none. */
static void compare(struct judge *j, int32_t next, bool is_caption) {
    struct side *a = &j->side[0], *b = &j->side[1];
    size_t top_a = read_distribution(a, j->vocab), top_b = read_distribution(b, j->vocab);
    double kl = 0;
    for (size_t i = 0; i < j->vocab; i++) kl += exp(log_p(a, i)) * (log_p(a, i) - log_p(b, i));
    j->kl += kl;
    j->q->kl_max = fmax(j->q->kl_max, kl);
    j->agree += top_a == top_b;
    j->q->n_positions++;
    if (next < 0 || !is_caption) return;
    a->surprise -= log_p(a, (size_t)next);
    b->surprise -= log_p(b, (size_t)next);
    j->n_caption_tok++;
}

static enum eye_status prefill(struct side *s, const struct eye_pair *p, size_t n, const struct eye_image *img,
                               struct eye_err *err) {
    float *image_rows = NULL;
    size_t bytes = 0;
    enum eye_status st = EYE_OK;
    if (img) {
        bytes = (size_t)eye_model_image_rows(s->model, img) * (size_t)eye_model_hidden(s->model) * sizeof *image_rows;
        image_rows = eye_alloc_raw(NULL, bytes);
        if (!image_rows) return eye_fail_nomem(err, bytes);
        st = eye_session_encode_image(s->s, img, image_rows, NULL, err);
    }
    eye_session_reset(s->s);
    if (st == EYE_OK) st = eye_session_prefill(s->s, p->ids, n, image_rows, s->logits, err);
    eye_alloc_free(NULL, image_rows, bytes);
    return st;
}

/* Token by token along the pair's answer. */
static enum eye_status judge_answer(struct judge *j, const struct eye_pair *p, const struct eye_image *img,
                                    struct eye_err *err) {
    size_t begin = EYE_MAX(p->n_prompt, 1);
    for (int i = 0; i < 2; i++) EYE_TRY(prefill(&j->side[i], p, begin, img, err));
    for (size_t t = begin;; t++) {
        compare(j, t < p->n ? p->ids[t] : -1, p->text[0] != '\0');
        if (t >= p->n) return EYE_OK;
        for (int i = 0; i < 2; i++) EYE_TRY(eye_session_step(j->side[i].s, p->ids[t], j->side[i].logits, err));
    }
}

/* ---- greedy answers ---- */

static size_t edit_distance(struct judge *j) {
    const struct side *a = &j->side[0], *b = &j->side[1];
    size_t *row = j->distance, *above = row + j->n_greedy + 1;
    for (size_t k = 0; k <= b->n_answer; k++) row[k] = k;
    for (size_t i = 1; i <= a->n_answer; i++) {
        memcpy(above, row, (b->n_answer + 1) * sizeof *row);
        row[0] = i;
        for (size_t k = 1; k <= b->n_answer; k++)
            row[k] = EYE_MIN(EYE_MIN(above[k], row[k - 1]) + 1, above[k - 1] + (a->answer[i - 1] != b->answer[k - 1]));
    }
    return row[b->n_answer];
}

static enum eye_status judge_greedy(struct judge *j, const struct eye_image *img, struct eye_err *err) {
    struct side *a = &j->side[0], *b = &j->side[1];
    for (int i = 0; i < 2; i++) {
        struct side *s = &j->side[i];
        struct eye_query q = eye_pair_question(s->model, img);
        struct eye_generate_opts opts = {.n_predict = (int32_t)j->n_greedy, .n_beams = 1};
        struct eye_result r;
        eye_session_reset(s->s);
        EYE_TRY(eye_session_generate(s->s, &q, &opts, &r, err));
        s->n_answer = EYE_MIN(r.n_tokens, j->n_greedy);
        if (s->n_answer) memcpy(s->answer, r.tokens, s->n_answer * sizeof *s->answer);
    }
    size_t same = 0, longer = EYE_MAX(a->n_answer, b->n_answer);
    while (same < EYE_MIN(a->n_answer, b->n_answer) && a->answer[same] == b->answer[same]) same++;
    j->q->n_answers++;
    if (same == longer) {
        j->q->n_equal++;
        return EYE_OK;
    }
    j->first += (double)same;
    j->edits += (double)edit_distance(j) / (double)longer;
    return EYE_OK;
}

/* ---- features ---- */

static enum eye_status judge_features(struct judge *j, const struct eye_image *img, struct eye_err *err) {
    struct eye_query q = {.images = img, .n_images = 1};
    struct eye_probe p = {.stage = EYE_PROBE_VISION, .query = &q};
    struct eye_array a = {0}, b = {0};
    enum eye_status st = eye_probe_run(j->side[0].model, &p, &a, err);
    if (st == EYE_OK) st = eye_probe_run(j->side[1].model, &p, &b, err);
    if (st == EYE_OK && a.bytes != b.bytes) st = eye_fail(err, EYE_E_ARG, "the two models' features differ in number");
    for (size_t i = 0; st == EYE_OK && i < a.bytes / sizeof *a.data; i++) {
        double x = (double)a.data[i], y = (double)b.data[i];
        j->dot += x * y;
        j->aa += x * x;
        j->bb += y * y;
        j->ee += (x - y) * (x - y);
    }
    if (st == EYE_OK) j->q->n_features += a.bytes / sizeof *a.data;
    eye_array_free(&a);
    eye_array_free(&b);
    return st;
}

/* ---- all pairs ---- */

static enum eye_status judge_pair(struct judge *j, const struct eye_pair *p, struct eye_err *err) {
    struct eye_image img;
    if (!p->path) return judge_answer(j, p, NULL, err);
    EYE_TRY(eye_image_load(p->path, NULL, &img, err));
    enum eye_status st = judge_answer(j, p, &img, err);
    if (st == EYE_OK) st = judge_greedy(j, &img, err);
    if (st == EYE_OK) st = judge_features(j, &img, err);
    if (st == EYE_OK && j->layers) st = eye_layers_add(j->layers, &img, err);
    eye_image_free(&img);
    j->q->n_images++;
    return st;
}

static void conclude(struct judge *j) {
    struct eye_quality *q = j->q;
    double n = (double)EYE_MAX(q->n_positions, 1), differ = (double)(q->n_answers - q->n_equal);
    q->kl_mean = j->kl / n;
    q->top1 = j->agree / n;
    if (j->n_caption_tok) {
        q->perplexity_a = exp(j->side[0].surprise / (double)j->n_caption_tok);
        q->perplexity_b = exp(j->side[1].surprise / (double)j->n_caption_tok);
    }
    if (differ > 0) q->first_difference = j->first / differ;
    if (q->n_answers) q->edit_distance = j->edits / (double)q->n_answers;
    if (!q->n_features) return;
    q->features_cosine = j->aa > 0 && j->bb > 0 ? j->dot / sqrt(j->aa * j->bb) : 0;
    q->features_snr_db = 10 * log10(j->aa / j->ee);
}

static enum eye_status open_side(struct judge *j, int i, const char *path, struct eye_err *err) {
    struct eye_model_opts opts = {.cancel = j->o->cancel, .cancel_ctx = j->o->cancel_ctx, .alloc = j->o->alloc};
    struct side *s = &j->side[i];
    EYE_TRY(eye_model_open(path, &opts, &s->model, err));
    j->vocab = (size_t)eye_model_n_vocab(s->model);
    s->logits = eye_arena_alloc(&j->arena, j->vocab * sizeof *s->logits);
    s->answer = eye_arena_alloc(&j->arena, j->n_greedy * sizeof *s->answer);
    return s->logits && s->answer ? EYE_OK : eye_fail_nomem(err, j->vocab * sizeof *s->logits);
}

static enum eye_status measure(struct judge *j, const char *a, const char *b, struct eye_err *err) {
    struct eye_session_opts opts = {.n_ctx = 0};
    struct eye_model_info info;
    size_t n_done = 0, n_judged;
    j->distance = eye_arena_alloc(&j->arena, 2 * (j->n_greedy + 1) * sizeof *j->distance);
    if (!j->distance) return eye_fail_nomem(err, j->n_greedy);
    EYE_TRY(open_side(j, 0, a, err));
    EYE_TRY(open_side(j, 1, b, err));
    if (eye_model_n_vocab(j->side[0].model) != eye_model_n_vocab(j->side[1].model) ||
        eye_model_hidden(j->side[0].model) != eye_model_hidden(j->side[1].model))
        return eye_fail(err, EYE_E_ARG, "%s and %s are not the same model", a, b);
    EYE_TRY(eye_pairs_open(&j->pairs, j->side[0].model, j->o->pairs, j->o->max_pairs, j->o->alloc, err));
    eye_model_get_info(j->side[0].model, &info);
    opts.n_ctx = (int32_t)EYE_MIN((size_t)info.n_ctx, j->pairs.longest + j->n_greedy + 1);
    for (int i = 0; i < 2; i++) EYE_TRY(eye_session_new(j->side[i].model, &opts, &j->side[i].s, err));
    const struct eye_vlm *vlm = &j->side[1].model->vlm;
    if (j->o->per_layer && eye_vlm_sees(vlm) && vlm->vision_type == EYE_W_I8)
        EYE_TRY(eye_layers_new(&j->layers, j->side[1].model, err));
    n_judged = j->pairs.nothing_held_out ? j->pairs.n : j->pairs.n_held_out;
    for (size_t i = 0; i < j->pairs.n; i++) {
        if (!eye_pair_judges(&j->pairs, i)) continue;
        EYE_TRY(judge_pair(j, &j->pairs.pair[i], err));
        if (j->o->progress) j->o->progress(j->o->progress_ctx, (double)++n_done / (double)n_judged);
    }
    j->q->n_pairs = n_judged;
    j->q->held_out = !j->pairs.nothing_held_out;
    j->q->n_unreadable = j->pairs.n_unreadable;
    conclude(j);
    return j->layers ? eye_layers_conclude(j->layers, j->q, err) : EYE_OK;
}

void eye_quality_clear(struct eye_quality *q) {
    eye_alloc_free(q->alloc, q->layer, q->layers_cap * sizeof *q->layer);
    q->layer = NULL;
    q->n_layers = q->layers_cap = 0;
}

enum eye_status eye_quality_measure(const char *a, const char *b, const struct eye_quality_opts *opts, struct eye_quality *out,
                                    struct eye_err *err) {
    struct eye_quality q = {.alloc = opts->alloc};
    struct judge j = {.o = opts, .q = &q, .n_greedy = opts->n_greedy > 0 ? (size_t)opts->n_greedy : GREEDY_TOKENS};
    if (!opts->pairs) return eye_fail(err, EYE_E_ARG, "quality: no folder of pairs");
    if (opts->n_greedy < 0 || opts->n_greedy > 4096)
        return eye_fail(err, EYE_E_ARG, "quality: n_greedy is %d, expected 0 to 4096", opts->n_greedy);
    eye_arena_init(&j.arena, opts->alloc);
    enum eye_status st = measure(&j, a, b, err);
    if (st == EYE_OK) *out = q;
    else eye_quality_clear(&q);
    eye_layers_free(j.layers);
    for (int i = 0; i < 2; i++) {
        eye_session_free(j.side[i].s);
        eye_model_close(j.side[i].model);
    }
    if (j.pairs.pair) eye_pairs_close(&j.pairs);
    eye_arena_clear(&j.arena);
    return st;
}
