/* image/tiles: one picture as several squares of one size: a grid of tiles, then the whole picture in small. It is what
 * Idefics3 and SmolVLM do, so that a tower for small squares reads fine print. Knows no model; the model room fills in the
 * numbers. */
#ifndef EYE_IMAGE_TILES_H
#define EYE_IMAGE_TILES_H

#include "image/resize.h"

struct eye_tiling {
    int longest_px; /* the picture's longer side is scaled to this first, up or down; 1 to EYE_TILES_MAX_LONGEST */
    int tile_px;    /* side of a tile, 1 to EYE_TILES_MAX_SIDE */
    bool split;     /* false: the whole picture only */
    enum eye_resample resample;
};
#define EYE_TILES_MAX_LONGEST 4096 /* transformers' MAX_IMAGE_SIZE: it makes larger ones smaller again */
#define EYE_TILES_MAX_SIDE 8192

struct eye_tiles { /* how one picture is cut */
    int rows, cols;       /* of the grid; both 0: the picture fits one tile, or splitting is off */
    int n;                /* tiles in all: rows * cols of the grid, row by row, then the whole picture */
    int scaled_w, scaled_h; /* after the first scaling */
    int grid_w, grid_h;   /* after the second, which makes sides multiples of tile_px and stretches the picture a little */
};

/* Returns EYE_OK or EYE_E_ARG. Source: transformers 5, Idefics3ImageProcessor and SmolVLMImageProcessor, in its order and with
 * its roundings. */
EYE_MUST_CHECK enum eye_status eye_tiles_plan(const struct eye_tiling *opts, int width, int height, struct eye_tiles *out,
                                              struct eye_err *err);
/* The largest n that any picture can have. */
int eye_tiles_most(const struct eye_tiling *opts);

/* out       [n][tile_px][tile_px][3] uint8, caller's, for the plan of this picture; only_whole: the last of them alone
 * pool      NULL = this thread alone, same result
 * The picture is scaled two or three times, rounded to 8 bits in between, as the reference does: bit for bit what its Pillow
 * variant gives. Returns EYE_OK, EYE_E_ARG, EYE_E_NOMEM. */
EYE_MUST_CHECK enum eye_status eye_tiles_u8(const struct eye_tiling *opts, const struct eye_image *img, bool only_whole,
                                            uint8_t *out, struct eye_pool *pool, const struct eye_alloc *alloc,
                                            struct eye_err *err);

#endif
