/* train/augment: batches of cached pictures, mirrored, cropped, recoloured and normalised; see pixels.h. One picture is one
 * task; it is computed row by row in f32, in a fixed order, so results are the same on any number of threads. No function of
 * libm but sqrt is used: the same seed gives the same bits on every machine. */
#include <math.h>
#include <string.h>

#include "train/pixels.h"

/* What happens to one picture. */
struct recipe {
    bool flip, crop, colour;
    float x, y, w, h;           /* the crop, in pixels of the cache */
    float brightness, contrast, saturation;
};

struct batch {
    const struct eye_pixels *px;
    const struct eye_augment *a;
    const uint32_t *index;
    uint64_t epoch;
    float *out;
    float *scratch;   /* [threads][scratch_n] */
    size_t scratch_n; /* floats: a blended row of the cache, then per column of the result its weight and (int32) position */
    float lut[3][256];
};

static float draw(struct eye_rng *r, float from, float to) { return from + (to - from) * (float)eye_rng_unit(r); }

/* Everything is drawn in the same order whether it is used or not: one option changes nothing about the others. */
static struct recipe draw_recipe(const struct eye_augment *a, uint64_t epoch, uint32_t index, int side) {
    struct eye_rng r = eye_rng_for(a->seed, epoch, index);
    struct recipe k = {.flip = eye_rng_unit(&r) < 0.5 && a->flip};
    float area = draw(&r, a->crop_area, 1), t = draw(&r, -1, 1), whole = (float)side;
    float ratio = t >= 0 ? 1 + t / 3 : 1 / (1 - t / 3); /* 3:4 to 4:3, both ways alike */
    k.crop = a->crop_area > 0;
    k.w = k.crop ? EYE_MIN(whole * sqrtf(area * ratio), whole) : whole;
    k.h = k.crop ? EYE_MIN(whole * sqrtf(area / ratio), whole) : whole;
    k.x = draw(&r, 0, whole - k.w);
    k.y = draw(&r, 0, whole - k.h);
    k.brightness = draw(&r, 1 - a->brightness, 1 + a->brightness);
    k.contrast = draw(&r, 1 - a->contrast, 1 + a->contrast);
    k.saturation = draw(&r, 1 - a->saturation, 1 + a->saturation);
    k.colour = a->brightness > 0 || a->contrast > 0 || a->saturation > 0;
    return k;
}

/* Neither cropped nor recoloured: what inference sees, or its mirror image. */
static void copy_exact(const struct batch *b, const uint8_t *in, bool flip, float *out) {
    size_t side = (size_t)b->a->side;
    for (size_t y = 0; y < side; y++, in += 3 * side, out += 3 * side)
        for (size_t x = 0; x < side; x++) {
            const uint8_t *p = in + 3 * (flip ? side - 1 - x : x);
            for (int c = 0; c < 3; c++) out[3 * x + (size_t)c] = b->lut[c][p[c]];
        }
}

/* Where an output pixel of n lies among side input pixels, of which [from, from + len) are stretched over it. */
static float source_position(float from, float len, int i, int n, int side) {
    float at = from + ((float)i + 0.5f) * len / (float)n - 0.5f;
    return at < 0 ? 0 : EYE_MIN(at, (float)(side - 1));
}

/* The crop (or the whole picture) as values of 0..1. */
static void sample(const struct batch *b, const struct recipe *k, const uint8_t *in, float *row, float *out) {
    int side = b->px->side, n = b->a->side;
    size_t n_row = 3 * (size_t)side, step = side > 1 ? 3 : 0;
    float *weight = row + n_row;
    int32_t *left = (int32_t *)(void *)(weight + n); /* positions are never negative, so that casts round down */
    for (int x = 0; x < n; x++) {
        float pos = source_position(k->x, k->w, k->flip ? n - 1 - x : x, n, side);
        int32_t at = (int32_t)EYE_MIN(pos, (float)EYE_MAX(side - 2, 0));
        left[x] = 3 * at;
        weight[x] = pos - (float)at;
    }
    for (int y = 0; y < n; y++, out += 3 * (size_t)n) {
        float pos = source_position(k->y, k->h, y, n, side);
        int32_t top = (int32_t)EYE_MIN(pos, (float)EYE_MAX(side - 2, 0));
        float low = (pos - (float)top) / 255, high = 1.0f / 255 - low;
        const uint8_t *p = in + (size_t)top * n_row, *q = side > 1 ? p + n_row : p;
        for (size_t i = 0; i < n_row; i++) row[i] = (float)p[i] * high + (float)q[i] * low;
        for (int x = 0; x < n; x++) {
            const float *l = row + left[x], *r = l + step, f = weight[x];
            for (int c = 0; c < 3; c++) out[3 * x + c] = l[c] + (r[c] - l[c]) * f;
        }
    }
}

/* Brightness, contrast around the mean grey, saturation around each pixel's grey (ITU-R 601), in this order; then the values
 * are cut to 0..1 and normalised. As one linear map: out = s c b v + (1 - s) c b grey + (1 - c) b mean_grey. */
static void recolour(const struct batch *b, const struct recipe *k, float *v) {
    size_t n = (size_t)b->a->side * (size_t)b->a->side;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)(0.299f * v[3 * i] + 0.587f * v[3 * i + 1] + 0.114f * v[3 * i + 2]);
    float scale = k->contrast * k->brightness, own = k->saturation * scale, shared = (1 - k->saturation) * scale;
    float shift = (1 - k->contrast) * k->brightness * (float)(sum / (double)n);
    float gain[3], offset[3];
    for (int c = 0; c < 3; c++) {
        gain[c] = 1 / b->a->std[c];
        offset[c] = -b->a->mean[c] * gain[c];
    }
    for (size_t i = 0; i < n; i++) {
        float *p = v + 3 * i, grey = 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];
        for (int c = 0; c < 3; c++) {
            float value = own * p[c] + (shared * grey + shift);
            value = value < 0 ? 0 : value > 1 ? 1 : value;
            p[c] = value * gain[c] + offset[c];
        }
    }
}

static void batch_task(void *ctx, int i_task, int i_thread) {
    const struct batch *b = ctx;
    uint32_t index = b->index[i_task];
    const uint8_t *in = eye_pixels_at(b->px, index);
    float *out = b->out + (size_t)i_task * (size_t)b->a->side * (size_t)b->a->side * 3;
    struct recipe k = draw_recipe(b->a, b->epoch, index, b->px->side);
    if (!k.crop && !k.colour) {
        copy_exact(b, in, k.flip, out);
    } else {
        sample(b, &k, in, b->scratch + (size_t)i_thread * b->scratch_n, out);
        recolour(b, &k, out);
    }
}

static enum eye_status check(const struct eye_pixels *px, const struct eye_augment *a, const uint32_t *index, size_t n,
                             struct eye_err *err) {
    if (a->side < 1 || a->side > EYE_PREPROC_MAX_SIDE || (!(a->crop_area > 0) && a->side != px->side))
        return eye_fail(err, EYE_E_ARG, "a batch of side %d from pictures of side %d: needs crops, or equal sides", a->side,
                        px->side);
    if (!(a->crop_area >= 0 && a->crop_area <= 1 && a->brightness >= 0 && a->brightness <= 1 && a->contrast >= 0 &&
          a->contrast <= 1 && a->saturation >= 0 && a->saturation <= 1))
        return eye_fail(err, EYE_E_ARG, "augmentation: crop area, brightness, contrast and saturation must be 0 to 1");
    for (int c = 0; c < 3; c++)
        if (!isfinite(a->mean[c]) || !isfinite(a->std[c]) || a->std[c] == 0)
            return eye_fail(err, EYE_E_ARG, "augmentation: mean %g and std %g: expected finite numbers, std not 0",
                            (double)a->mean[c], (double)a->std[c]);
    for (size_t i = 0; i < n; i++)
        if (index[i] >= px->n) return eye_fail(err, EYE_E_ARG, "picture %u of %zu", (unsigned)index[i], px->n);
    return EYE_OK;
}

enum eye_status eye_pixels_batch(const struct eye_pixels *px, const struct eye_augment *a, const uint32_t *index, size_t n,
                                 uint64_t epoch, float *out, struct eye_pool *pool, struct eye_err *err) {
    struct batch b = {.px = px, .a = a, .index = index, .epoch = epoch, .out = out};
    EYE_TRY(check(px, a, index, n, err));
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) b.lut[c][v] = ((float)((double)v * (1.0 / 255)) - a->mean[c]) / a->std[c];
    size_t n_threads = pool ? (size_t)eye_pool_n_threads(pool) : 1;
    b.scratch_n = EYE_ALIGN_UP(3 * (size_t)px->side + 2 * (size_t)a->side, 16);
    size_t bytes = n_threads * b.scratch_n * sizeof(float);
    b.scratch = eye_alloc_raw(NULL, bytes);
    if (!b.scratch) return eye_fail_nomem(err, bytes);
    if (pool)
        eye_pool_run(pool, (int)n, batch_task, &b);
    else
        for (size_t i = 0; i < n; i++) batch_task(&b, (int)i, 0);
    eye_alloc_free(NULL, b.scratch, bytes);
    return EYE_OK;
}
