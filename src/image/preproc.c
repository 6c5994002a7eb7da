/* image/preproc: see preproc.h. Geometry and normalisation; the pixels are resize's work. */
#include "image/preproc.h"

#include <math.h>

#include "base/sys.h"

enum { BAND_ROWS = 32 };

void eye_preproc_fill(const double mean[3], uint8_t fill[3]) {
    for (int i = 0; i < 3; i++) {
        double v = mean[i] * 255.0;
        fill[i] = (uint8_t)(v >= 255.0 ? 255.0 : v >= 0.0 ? v : 0.0); /* NaN gives 0 */
    }
}

static struct eye_axis pad_axis(int canvas, int len, int side) {
    return (struct eye_axis){canvas, (canvas - len) / 2, len, side, 0, side};
}

/* Exact in integers: Python's int(side * long / short) is a correctly rounded quotient of numbers far below 2^53, which cannot
 * reach the next integer from below. */
static struct eye_axis crop_axis(int len, int shorter, int side) {
    int scaled = (int)((int64_t)side * len / shorter);
    return (struct eye_axis){len, 0, len, scaled, (scaled - side) / 2, side};
}

static void map_axis(const struct eye_axis *a, double *scale, double *offset) {
    *scale = (double)a->out / a->in;
    *offset = a->off * *scale - a->first;
}

static enum eye_status check(const struct eye_preproc *pp, struct eye_err *err) {
    if (pp->width < 1 || pp->height < 1 || pp->width > EYE_PREPROC_MAX_SIDE || pp->height > EYE_PREPROC_MAX_SIDE)
        return eye_fail(err, EYE_E_ARG, "preprocessing to %d x %d pixels, each side must be 1 to %d", pp->width, pp->height,
                        EYE_PREPROC_MAX_SIDE);
    if (pp->mode != EYE_PREPROC_SQUASH && pp->width != pp->height)
        return eye_fail(err, EYE_E_ARG, "preprocessing to %d x %d pixels: pad and crop make squares only", pp->width,
                        pp->height);
    return EYE_OK;
}

enum eye_status eye_preproc_u8(const struct eye_preproc *pp, const struct eye_image *img, uint8_t *out,
                               struct eye_preproc_map *map, struct eye_pool *pool, const struct eye_alloc *alloc,
                               struct eye_err *err) {
    EYE_TRY(check(pp, err));
    int w = img->width, h = img->height;
    if (w < 1 || h < 1 || w > EYE_IMAGE_MAX_SIDE || h > EYE_IMAGE_MAX_SIDE)
        return eye_fail(err, EYE_E_ARG, "preprocessing a picture of %d x %d pixels, each side must be 1 to %d", w, h,
                        EYE_IMAGE_MAX_SIDE);
    struct eye_axis x = eye_axis_plain(w, pp->width), y = eye_axis_plain(h, pp->height);
    if (pp->mode == EYE_PREPROC_PAD) {
        x = pad_axis(EYE_MAX(w, h), w, pp->width);
        y = pad_axis(EYE_MAX(w, h), h, pp->height);
    } else if (pp->mode == EYE_PREPROC_CROP) {
        x = crop_axis(w, EYE_MIN(w, h), pp->width);
        y = crop_axis(h, EYE_MIN(w, h), pp->height);
    }
    if (map) {
        map_axis(&x, &map->scale_x, &map->offset_x);
        map_axis(&y, &map->scale_y, &map->offset_y);
    }
    return eye_resize(img, x, y, pp->fill, pp->resample, out, (size_t)pp->width * 3, pool, alloc, err);
}

struct normalise {
    const uint8_t *in;
    float *out;
    size_t width, height;
    enum eye_preproc_layout layout;
    float lut[3][256];
};

static void normalise_task(void *ctx, int i_task, int i_thread) {
    const struct normalise *k = ctx;
    (void)i_thread;
    size_t from = (size_t)i_task * BAND_ROWS * k->width, plane = k->width * k->height;
    size_t to = EYE_MIN(from + BAND_ROWS * k->width, plane);
    size_t step = k->layout == EYE_PREPROC_HWC ? 3 : 1, channel = k->layout == EYE_PREPROC_HWC ? 1 : plane;
    for (size_t i = from; i < to; i++)
        for (size_t c = 0; c < 3; c++) k->out[i * step + c * channel] = k->lut[c][k->in[i * 3 + c]];
}

enum eye_status eye_preproc_f32(const struct eye_preproc *pp, const uint8_t *in, enum eye_preproc_layout layout, float *out,
                                struct eye_pool *pool, struct eye_err *err) {
    EYE_TRY(check(pp, err));
    struct normalise k = {.in = in, .out = out, .width = (size_t)pp->width, .height = (size_t)pp->height, .layout = layout};
    for (int c = 0; c < 3; c++) {
        float mean = (float)pp->mean[c], std = (float)pp->std[c];
        if (!isfinite(mean) || !isfinite(std) || std == 0.0f)
            return eye_fail(err, EYE_E_ARG,
                            "preprocessing: channel %d has mean %g and std %g, expected finite numbers, std not 0", c,
                            pp->mean[c], pp->std[c]);
        for (int v = 0; v < 256; v++) k.lut[c][v] = ((float)((double)v * (1.0 / 255)) - mean) / std;
    }
    int n_tasks = (int)((k.height + BAND_ROWS - 1) / BAND_ROWS);
    if (pool)
        eye_pool_run(pool, n_tasks, normalise_task, &k);
    else
        for (int i = 0; i < n_tasks; i++) normalise_task(&k, i, 0);
    return EYE_OK;
}
