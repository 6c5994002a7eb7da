/* image/tiles: see tiles.h. The arithmetic of the sizes is the reference's, in double and cut towards zero at the same
 * places. */
#include "image/tiles.h"

#include <string.h>

static int multiple(int v, int of) { return (v + of - 1) / of * of; }

/* The longer side to longest, the other in proportion and even; never 0. */
static void scale_longest(int longest, int *w, int *h) {
    double aspect = (double)*w / (double)*h;
    if (*w >= *h) {
        *w = longest;
        *h = (int)(*w / aspect);
        *h += *h % 2;
    } else {
        *h = longest;
        *w = (int)(*h * aspect);
        *w += *w % 2;
    }
    *w = EYE_MAX(*w, 1);
    *h = EYE_MAX(*h, 1);
}

static void scale_grid(int tile, int *w, int *h) {
    double aspect = (double)*w / (double)*h;
    if (*w >= *h) {
        *w = multiple(*w, tile);
        *h = multiple((int)(*w / aspect), tile);
    } else {
        *h = multiple(*h, tile);
        *w = multiple((int)(*h * aspect), tile);
    }
}

/* A side that the proportion makes 0 pixels long has no tiles: the reference fails on such a sliver, here it gets one. */
static void keep_a_row(int tile, int *w, int *h) {
    *w = EYE_MAX(*w, tile);
    *h = EYE_MAX(*h, tile);
}

enum eye_status eye_tiles_plan(const struct eye_tiling *o, int width, int height, struct eye_tiles *out, struct eye_err *err) {
    if (o->longest_px < 1 || o->longest_px > EYE_TILES_MAX_LONGEST || o->tile_px < 1 || o->tile_px > EYE_TILES_MAX_SIDE)
        return eye_fail(err, EYE_E_ARG, "tiles of %d pixels from a picture scaled to %d: expected 1 to %d and 1 to %d",
                        o->tile_px, o->longest_px, EYE_TILES_MAX_SIDE, EYE_TILES_MAX_LONGEST);
    if (width < 1 || height < 1 || width > EYE_IMAGE_MAX_SIDE || height > EYE_IMAGE_MAX_SIDE)
        return eye_fail(err, EYE_E_ARG, "tiles of a picture of %d x %d pixels, each side must be 1 to %d", width, height,
                        EYE_IMAGE_MAX_SIDE);
    struct eye_tiles t = {.scaled_w = width, .scaled_h = height, .n = 1};
    scale_longest(o->longest_px, &t.scaled_w, &t.scaled_h);
    t.grid_w = t.scaled_w;
    t.grid_h = t.scaled_h;
    if (o->split) {
        scale_grid(o->tile_px, &t.grid_w, &t.grid_h);
        keep_a_row(o->tile_px, &t.grid_w, &t.grid_h);
        if (t.grid_w > o->tile_px || t.grid_h > o->tile_px) {
            t.rows = t.grid_h / o->tile_px;
            t.cols = t.grid_w / o->tile_px;
            t.n = t.rows * t.cols + 1;
        }
    }
    *out = t;
    return EYE_OK;
}

int eye_tiles_most(const struct eye_tiling *o) {
    int side = multiple(o->longest_px + o->longest_px % 2, o->tile_px) / o->tile_px;
    return o->split && side > 1 ? side * side + 1 : 1;
}

struct cutter {
    const struct eye_tiling *o;
    struct eye_pool *pool;
    const struct eye_alloc *alloc;
};

static enum eye_status scale(const struct cutter *c, const struct eye_image *img, int w, int h, uint8_t *dst,
                             struct eye_err *err) {
    static const uint8_t no_canvas[3];
    return eye_resize(img, eye_axis_plain(img->width, w), eye_axis_plain(img->height, h), no_canvas, c->o->resample, dst,
                      (size_t)w * 3, c->pool, c->alloc, err);
}

static enum eye_status cut(const struct cutter *c, const struct eye_tiles *t, const struct eye_image *img, bool only_whole,
                           uint8_t *scaled, uint8_t *grid, uint8_t *out, struct eye_err *err) {
    struct eye_image small, large;
    size_t side = (size_t)c->o->tile_px, row = side * 3, tile_bytes = side * row;
    EYE_TRY(scale(c, img, t->scaled_w, t->scaled_h, scaled, err));
    EYE_TRY(eye_image_wrap(&small, scaled, t->scaled_w, t->scaled_h, (size_t)t->scaled_w * 3, err));
    if (!c->o->split) return scale(c, &small, c->o->tile_px, c->o->tile_px, out, err);
    EYE_TRY(scale(c, &small, t->grid_w, t->grid_h, grid, err));
    EYE_TRY(eye_image_wrap(&large, grid, t->grid_w, t->grid_h, (size_t)t->grid_w * 3, err));
    for (int i = 0; i < t->n - 1 && !only_whole; i++, out += tile_bytes) {
        const uint8_t *from = grid + (size_t)(i / t->cols) * side * large.stride + (size_t)(i % t->cols) * row;
        for (size_t y = 0; y < side; y++) memcpy(out + y * row, from + y * large.stride, row);
    }
    return scale(c, &large, c->o->tile_px, c->o->tile_px, out, err);
}

enum eye_status eye_tiles_u8(const struct eye_tiling *o, const struct eye_image *img, bool only_whole, uint8_t *out,
                             struct eye_pool *pool, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_tiles t;
    struct cutter c = {o, pool, alloc};
    EYE_TRY(eye_tiles_plan(o, img->width, img->height, &t, err));
    /* No product overflows: sides are at most two of EYE_TILES_MAX_SIDE. */
    size_t scaled_bytes = (size_t)t.scaled_w * (size_t)t.scaled_h * 3, grid_bytes = (size_t)t.grid_w * (size_t)t.grid_h * 3;
    uint8_t *scaled = eye_alloc_raw(alloc, scaled_bytes), *grid = eye_alloc_raw(alloc, grid_bytes);
    enum eye_status st = scaled && grid ? cut(&c, &t, img, only_whole, scaled, grid, out, err)
                                        : eye_fail_nomem(err, scaled_bytes + grid_bytes);
    eye_alloc_free(alloc, scaled, scaled_bytes);
    eye_alloc_free(alloc, grid, grid_bytes);
    return st;
}
