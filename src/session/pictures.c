/* pictures: an image as what the vision tower sees: one square picture, or several where the family cuts images into tiles.
 * Each goes through the tower on its own; their rows follow each other in this order. */
#include <string.h>

#include "session/session_impl.h"

enum eye_status eye_model_tiles(const struct eye_model *m, const struct eye_image *img, struct eye_tiles *t,
                                struct eye_err *err) {
    if (m->tiled) return eye_tiles_plan(&m->tiling, img->width, img->height, t, err);
    *t = (struct eye_tiles){.n = 1};
    return EYE_OK;
}

size_t eye_model_max_pictures(const struct eye_model *m) { return m->tiled ? (size_t)eye_tiles_most(&m->tiling) : 1; }

int32_t eye_model_image_rows(const struct eye_model *m, const struct eye_image *img) {
    struct eye_tiles t;
    return eye_model_tiles(m, img, &t, NULL) == EYE_OK ? (int32_t)(t.n * m->picture_rows) : 0;
}

static struct eye_preproc preproc(const struct eye_model *m) {
    const struct eye_prep_config *c = &m->vlm.config.prep;
    struct eye_preproc pp = {.width = m->opts.image_side, .height = m->opts.image_side, .resample = m->tiling.resample};
    pp.mode = m->opts.fit == EYE_FIT_PAD ? EYE_PREPROC_PAD
              : m->opts.fit == EYE_FIT_CROP ? EYE_PREPROC_CROP : EYE_PREPROC_SQUASH;
    for (int i = 0; i < 3; i++) {
        pp.mean[i] = (double)c->mean[i];
        pp.std[i] = (double)c->std[i];
    }
    eye_preproc_fill(pp.mean, pp.fill);
    return pp;
}

enum eye_status eye_model_cut_by(const struct eye_model *m, struct eye_pool *pool, const struct eye_image *img, bool only_whole,
                                 uint8_t *u8, struct eye_err *err) {
    struct eye_preproc pp = preproc(m);
    if (m->tiled) return eye_tiles_u8(&m->tiling, img, only_whole, u8, pool, m->alloc, err);
    return eye_preproc_u8(&pp, img, u8, NULL, pool, m->alloc, err);
}

enum eye_status eye_model_cut(struct eye_model *m, const struct eye_image *img, bool only_whole, uint8_t *u8,
                              struct eye_err *err) {
    pthread_mutex_lock(&m->lock);
    enum eye_status st = eye_model_engine(m, err);
    if (st == EYE_OK) st = eye_model_cut_by(m, m->engine.pool, img, only_whole, u8, err);
    pthread_mutex_unlock(&m->lock);
    return st;
}

enum eye_status eye_model_normalise_by(const struct eye_model *m, struct eye_pool *pool, const uint8_t *u8,
                                       enum eye_preproc_layout layout, float *pixels, struct eye_err *err) {
    struct eye_preproc pp = preproc(m);
    return eye_preproc_f32(&pp, u8, layout, pixels, pool, err);
}

enum eye_status eye_model_normalise(struct eye_model *m, const uint8_t *u8, enum eye_preproc_layout layout, float *pixels,
                                    struct eye_err *err) {
    pthread_mutex_lock(&m->lock);
    enum eye_status st = eye_model_engine(m, err);
    if (st == EYE_OK) st = eye_model_normalise_by(m, m->engine.pool, u8, layout, pixels, err);
    pthread_mutex_unlock(&m->lock);
    return st;
}
