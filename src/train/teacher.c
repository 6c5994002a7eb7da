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
                                 struct eye_err *err) {
    const char *path = t->recipe.teacher.path;
    *x = (struct eye_teacher){.recipe = &t->recipe.teacher, .t = t, .stage.batch = s->batch, .open = true};
    eye_arena_init(&x->arena, t->alloc);
    bool file = eye_text_ends(path, ".npy") || eye_text_ends(path, ".safetensors");
    if (file && s->loss != EYE_LOSS_VISION) return eye_fail(err, EYE_E_ARG, "%s: a joint teacher must be a model", path);
    if (s->loss == EYE_LOSS_JOINT) EYE_TRY(eye_teacher_write(x, err));
    if (file) EYE_TRY(open_file(x, t, err));
    else if (s->loss == EYE_LOSS_VISION || x->recipe->hard < 1) EYE_TRY(open_model(x, t, err));
    return s->loss == EYE_LOSS_VISION ? find_mean(x, &t->train, err) : EYE_OK;
}

void eye_teacher_close(struct eye_teacher *x) {
    if (!x->open) return;
    if (x->has_net) eye_net_clear(&x->net);
    eye_batch_clear(&x->batch, x->t->alloc);
    eye_corpus_clear(&x->corpus);
    eye_store_close(&x->store);
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
