/* Teacher: see teacher.h. */
#include "train/teacher.h"

#include <math.h>
#include <string.h>

#include "format/npy.h"
#include "train/folder.h"
#include "train/trainer.h"

/* ---- features from a file ---- */

static enum eye_status take_file(struct eye_teacher *x, const struct eye_tensor *t, size_t n_pictures, const char *path,
                                 struct eye_err *err) {
    char shape[96];
    if (!eye_dtype_info(t->dtype)->is_float || t->rank < 2 || t->rank > 3 || t->dims[0] != (int64_t)n_pictures)
        return eye_fail(err, EYE_E_CORRUPT, "%s: got %s %s, expected floats [%zu pictures, channels]", path,
                        eye_dtype_info(t->dtype)->name, eye_shape_text(t->dims, t->rank, shape, sizeof shape), n_pictures);
    size_t all = (size_t)eye_tensor_elems(t);
    x->n = n_pictures;
    x->elems = all / EYE_MAX(n_pictures, 1);
    x->channels = t->dims[t->rank - 1];
    if (!(x->file = eye_arena_alloc(&x->arena, all * sizeof *x->file))) return eye_fail_nomem(err, all * sizeof *x->file);
    eye_row_to_f32(t->dtype, t->data, x->file, all);
    return EYE_OK;
}

static enum eye_status open_file(struct eye_teacher *x, const struct eye_trainer *t, struct eye_err *err) {
    const char *path = x->recipe->path;
    struct eye_npy npy;
    struct eye_safetensors f;
    enum eye_status st;
    if (eye_text_ends(path, ".npy")) {
        EYE_TRY(eye_npy_open(&npy, path, err));
        st = take_file(x, &npy.t, t->set->n_images, path, err);
        eye_npy_close(&npy);
        return st;
    }
    EYE_TRY(eye_safetensors_open(&f, path, true, t->alloc, err));
    st = f.table.n == 1 ? take_file(x, &f.table.entry[0].t, t->set->n_images, path, err)
                        : eye_fail(err, EYE_E_CORRUPT, "%s: %zu tensors, expected one", path, f.table.n);
    eye_safetensors_close(&f);
    return st;
}

/* ---- a model ---- */

static enum eye_status open_model(struct eye_teacher *x, struct eye_trainer *t, struct eye_err *err) {
    EYE_TRY(eye_checkpoint_open(&x->ckpt, x->recipe->path, NULL, t->alloc, err));
    EYE_TRY(eye_vlm_open(&x->vlm, &x->ckpt, t->alloc, err));
    if (!eye_vlm_sees(&x->vlm)) return eye_fail(err, EYE_E_ARG, "%s: a teacher that sees no images", x->recipe->path);
    EYE_TRY(eye_params_init(&x->params, &x->vlm, err));
    EYE_TRY(eye_trainer_pixels(t, &x->vlm.config.prep, "teacher-pixels.bin", &x->pixels, err));
    x->stage = (struct eye_recipe_stage){.name = "teacher", .cache = "v.features", .batch = x->stage.batch};
    const struct eye_looker who = {&x->vlm, &x->params, &x->pixels};
    EYE_TRY(eye_trainer_features(t, &who, &x->stage, "teacher-features.bin", &x->features, err));
    x->n = x->features.n;
    x->elems = x->features.elems;
    x->channels = x->vlm.config.vision.channels;
    return EYE_OK;
}

static enum eye_status open_decoder(struct eye_teacher *x, struct eye_trainer *t, int64_t student_rows, struct eye_err *err) {
    struct eye_net_opts o = {.use = EYE_NET_JUDGE, .stage = &x->stage, .teacher = x->recipe, .n_pictures = x->stage.batch};
    int64_t vocab = x->vlm.config.text.vocab, k = x->recipe->top_k;
    if (vocab != t->vlm.config.text.vocab || x->vlm.config.eos[0] != t->vlm.config.eos[0])
        return eye_fail(err, EYE_E_ARG, "%s: %lld tokens, the student has %lld: teacher and student must share a tokenizer",
                        x->recipe->path, (long long)vocab, (long long)t->vlm.config.text.vocab);
    if (k >= vocab) return eye_fail(err, EYE_E_ARG, "teacher.top_k: %lld of %lld tokens", (long long)k, (long long)vocab);
    int64_t image_rows = eye_vlm_image_tokens(&x->vlm, x->vlm.config.prep.side_px);
    o.max_rows = eye_corpus_max_rows(&t->train, (size_t)o.n_pictures, image_rows);
    EYE_TRY(eye_net_init(&x->net, &o, &t->engine, &x->vlm, &x->params, err));
    x->has_net = true;
    EYE_TRY(eye_batch_init(&x->batch, o.max_rows, t->alloc, err));
    x->image = eye_arena_alloc(&x->arena, (size_t)o.n_pictures * x->elems * sizeof *x->image);
    x->logits = eye_arena_alloc(&x->arena, (size_t)(o.max_rows * vocab) * sizeof *x->logits);
    x->top_ids = eye_arena_alloc(&x->arena, (size_t)(student_rows * k) * sizeof *x->top_ids);
    x->top_logp = eye_arena_alloc(&x->arena, (size_t)(student_rows * k) * sizeof *x->top_logp);
    bool room = x->image && x->logits && x->top_ids && x->top_logp;
    return room ? EYE_OK : eye_fail_nomem(err, (size_t)(o.max_rows * vocab) * sizeof *x->logits);
}

/* ---- its mean ---- */

static enum eye_status find_mean(struct eye_teacher *x, const struct eye_corpus *c, struct eye_err *err) {
    size_t channels = (size_t)x->channels;
    double *sum = eye_arena_alloc(&x->arena, channels * sizeof *sum);
    float *row = eye_arena_alloc(&x->arena, x->elems * sizeof *row);
    x->minus_mean = eye_arena_alloc(&x->arena, channels * sizeof *x->minus_mean);
    if (!sum || !row || !x->minus_mean) return eye_fail_nomem(err, channels * sizeof *sum);
    for (size_t g = 0; g < c->n_groups; g++) {
        eye_teacher_features(x, &c->picture[g], 1, row);
        for (size_t i = 0; i < x->elems; i++) sum[i % channels] += (double)row[i];
    }
    double n = (double)(c->n_groups * (x->elems / channels));
    for (size_t i = 0; i < channels; i++) x->minus_mean[i] = (float)(-sum[i] / EYE_MAX(n, 1));
    return EYE_OK;
}

void eye_teacher_constant(const struct eye_teacher *x, const struct eye_corpus *c, double *cosine, double *mse) {
    size_t channels = (size_t)x->channels, n = 0;
    float *row = eye_alloc_raw(NULL, x->elems * sizeof *row);
    *cosine = *mse = 0;
    for (size_t g = 0; row && g < c->n_groups; g++) {
        eye_teacher_features(x, &c->picture[g], 1, row);
        for (size_t at = 0; at < x->elems; at += channels, n++) {
            double dot = 0, a = 0, b = 0, square = 0;
            for (size_t i = 0; i < channels; i++) {
                double v = (double)row[at + i], m = -(double)x->minus_mean[i];
                dot += v * m;
                a += v * v;
                b += m * m;
                square += (v - m) * (v - m);
            }
            *cosine += a > 0 && b > 0 ? 1 - dot / sqrt(a * b) : 1;
            *mse += square / (double)channels;
        }
    }
    *cosine /= (double)EYE_MAX(n, 1);
    *mse /= (double)EYE_MAX(n, 1);
    eye_alloc_free(NULL, row, x->elems * sizeof *row);
}

/* ---- the whole ---- */

enum eye_status eye_teacher_open(struct eye_teacher *x, struct eye_trainer *t, const struct eye_recipe_stage *s,
                                 int64_t max_rows, struct eye_err *err) {
    const char *path = t->recipe.teacher.path;
    *x = (struct eye_teacher){.recipe = &t->recipe.teacher, .stage.batch = s->batch, .open = true};
    eye_arena_init(&x->arena, t->alloc);
    bool file = eye_text_ends(path, ".npy") || eye_text_ends(path, ".safetensors");
    if (file && s->loss != EYE_LOSS_VISION) return eye_fail(err, EYE_E_ARG, "%s: a joint teacher must be a model", path);
    EYE_TRY(file ? open_file(x, t, err) : open_model(x, t, err));
    return s->loss == EYE_LOSS_VISION ? find_mean(x, &t->train, err) : open_decoder(x, t, max_rows, err);
}

void eye_teacher_close(struct eye_teacher *x, const struct eye_alloc *alloc) {
    if (!x->open) return;
    if (x->has_net) eye_net_clear(&x->net);
    eye_batch_clear(&x->batch, alloc);
    eye_features_close(&x->features);
    eye_pixels_close(&x->pixels);
    eye_params_clear(&x->params);
    eye_vlm_clear(&x->vlm);
    eye_checkpoint_close(&x->ckpt);
    eye_arena_clear(&x->arena);
    *x = (struct eye_teacher){0};
}

void eye_teacher_features(const struct eye_teacher *x, const uint32_t *picture, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        if (x->file) memcpy(out + i * x->elems, x->file + picture[i] * x->elems, x->elems * sizeof *out);
        else eye_features_get(&x->features, picture[i], 0, out + i * x->elems);
}

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

enum eye_status eye_teacher_answer(struct eye_teacher *x, const struct eye_corpus *c, const uint32_t *group, size_t n,
                                   const struct eye_batch *student, struct eye_err *err) {
    int64_t vocab = x->vlm.config.text.vocab, k = x->recipe->top_k, row = 0;
    struct eye_net_call call = {.batch = &x->batch, .image = x->image, .logits = x->logits};
    for (size_t i = 0; i < n; i++) eye_teacher_features(x, &c->picture[group[i]], 1, x->image + i * x->elems);
    eye_batch_fill(&x->batch, c, group, n, x->net.image_rows, 0);
    EYE_TRY(eye_net_run(&x->net, &call, err));
    for (int64_t i = 0; i < student->t; i++) { /* both have the same targets in the same order, between other rows */
        for (int64_t j = 0; j < k; j++) x->top_ids[i * k + j] = -1;
        if (student->target[i] < 0) continue;
        while (x->batch.target[row] < 0) row++;
        assert(x->batch.target[row] == student->target[i]);
        likeliest(x->logits + row++ * vocab, vocab, x->recipe->temperature, k, x->top_ids + i * k, x->top_logp + i * k);
    }
    return EYE_OK;
}
