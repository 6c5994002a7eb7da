/* image/preproc: RGB8 pictures as vision towers want them: one square, normalised, exactly as in training. Knows no model; the
 * model room fills in the numbers. */
#ifndef EYE_IMAGE_PREPROC_H
#define EYE_IMAGE_PREPROC_H

#include "image/resize.h"

enum eye_preproc_mode {
    EYE_PREPROC_PAD = 0, /* centre on a square of the longer side, scale it (LLaVA, Apple's predict.py) */
    EYE_PREPROC_CROP,    /* scale the shorter side, cut out the centre (transformers' CLIPImageProcessor) */
    EYE_PREPROC_SQUASH   /* scale both sides freely */
};

struct eye_preproc {
    int width, height;  /* of the result; PAD and CROP need width == height; 1 to EYE_PREPROC_MAX_SIDE */
    enum eye_preproc_mode mode;
    enum eye_resample resample;
    uint8_t fill[3];    /* PAD's canvas, R,G,B; see eye_preproc_fill */
    double mean[3], std[3]; /* of values in 0..1; used as float32 */
};
#define EYE_PREPROC_MAX_SIDE 16384

/* result = original * scale + offset, in pixel edges (pixel i covers [i, i + 1)), original after orientation. Its inverse maps
 * boxes and points that a model reports back to the picture. */
struct eye_preproc_map {
    double scale_x, scale_y;
    double offset_x, offset_y;
};

/* The canvas colour of training: int(mean * 255) per channel. Black for FastVLM, (122, 116, 104) for CLIP. */
void eye_preproc_fill(const double mean[3], uint8_t fill[3]);

/* Scale and place.
 * out      [height][width][3] uint8, caller's memory
 * map      may be NULL
 * pool     NULL = this thread alone; same result
 * PAD and CROP are exact without making the canvas or the whole scaled picture: a 1 x 60000 picture costs the same memory as
 * its result, give or take some rows.
 * Returns EYE_OK, EYE_E_ARG, EYE_E_NOMEM. Source: spec of Pillow's resize and of LLaVA's expand2square; PAD puts the picture at
 * (long - short) / 2, CROP scales to int(side * long / short) and cuts at (scaled - side) / 2, both rounded down. */
EYE_MUST_CHECK enum eye_status eye_preproc_u8(const struct eye_preproc *pp, const struct eye_image *img, uint8_t *out,
                                              struct eye_preproc_map *map, struct eye_pool *pool, const struct eye_alloc *alloc,
                                              struct eye_err *err);

enum eye_preproc_layout {
    EYE_PREPROC_HWC = 0, /* [height][width][3]: the engine's */
    EYE_PREPROC_CHW      /* [3][height][width]: PyTorch's */
};

/* Normalise: (float(double(v) * (1/255)) - mean) / std in float32.
 * in       [height][width][3] uint8
 * out      width * height * 3 floats in the layout asked for
 * Returns EYE_OK or EYE_E_ARG (a std that is 0 or not finite). */
EYE_MUST_CHECK enum eye_status eye_preproc_f32(const struct eye_preproc *pp, const uint8_t *in, enum eye_preproc_layout layout,
                                               float *out, struct eye_pool *pool, struct eye_err *err);

#endif
