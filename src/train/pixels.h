/* train/pixels: the pictures of a data set, decoded and made square once, in one mapped file; and batches of them, augmented, as
 * a vision tower takes them. Stands on image and dataset; knows no model (the caller brings its preprocessing).
 *
 * Cache file, little-endian:
 *   offset              size       meaning
 *   0                   8          "EYEPIXEL"
 *   8                   4          version, 1
 *   12                  4          side
 *   16                  8          n, pictures
 *   24                  32         key: SHA-256 of preprocessing, names, sizes and times of the picture files
 *   56                  4040       zeros
 *   4096                n*side^2*3 pixels [n][side][side][3], R,G,B
 *   then                n          1 = there, 0 = could not be read (its pixels are 0)
 *   then                n*8        XXH64 of each picture's pixels
 *   then                8          XXH64 of the first 56 bytes, the n flags and the n hashes, in this order
 * It appears whole or not at all. */
#ifndef EYE_PIXELS_H
#define EYE_PIXELS_H

#include "image/preproc.h"
#include "train/dataset.h"

struct eye_pixels { /* read-only: any number of threads */
    int side;
    size_t n;            /* as many as the set has pictures, in its order */
    const uint8_t *rgb;  /* [n][side][side][3] */
    const uint8_t *have; /* [n] 0 = this one could not be read */
    struct eye_map map;  /* of the file; empty where the pixels were made in memory: */
    void *owned;
    size_t owned_bytes;
};
void eye_pixels_close(struct eye_pixels *px);
static inline const uint8_t *eye_pixels_at(const struct eye_pixels *px, size_t i) {
    return px->rgb + i * (size_t)px->side * (size_t)px->side * 3;
}

struct eye_pixels_opts { /* pp: width == height == side */
    struct eye_preproc pp;
    struct eye_pool *pool; /* NULL = this thread alone */
    void (*progress)(void *ctx, double done_0_to_1);
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
};

/* Decodes every picture of set into path. Unreadable ones are counted in report (IMAGE_MISSING, IMAGE_UNREADABLE).
 * Returns EYE_OK; ARG (path is a file that is no cache: it is not replaced; a set without pictures); IO (disk full; no picture
 * at all could be read); CANCELLED; NOMEM. An older cache stays as it was unless this one is whole. Memory: 64 pictures. */
EYE_MUST_CHECK enum eye_status eye_pixels_make(const char *path, const struct eye_dataset *set,
                                               const struct eye_pixels_opts *opts, struct eye_data_report *report,
                                               struct eye_err *err);
/* Maps a cache. set and pp: what it must have been made from; NULL = any.
 * CORRUPT (not a cache, cut off, damaged tables); ARG (made from other pictures, other files or other preprocessing); IO. */
EYE_MUST_CHECK enum eye_status eye_pixels_open(const char *path, const struct eye_dataset *set, const struct eye_preproc *pp,
                                               struct eye_pixels *px, struct eye_err *err);
/* Opens the cache if it fits, else makes it. *made tells which. */
EYE_MUST_CHECK enum eye_status eye_pixels_ensure(const char *path, const struct eye_dataset *set,
                                                 const struct eye_pixels_opts *opts, struct eye_pixels *px, bool *made,
                                                 struct eye_data_report *report, struct eye_err *err);
/* Hash of everything the pixels follow from; of themselves where they were made in memory. */
uint64_t eye_pixels_hash(const struct eye_pixels *px, uint64_t seed);
/* Reads all pixels and compares their hashes: CORRUPT names the first picture that differs. */
EYE_MUST_CHECK enum eye_status eye_pixels_verify(const struct eye_pixels *px, const char *path, struct eye_err *err);

/* ---- batches ---- */

struct eye_augment { /* all zero but side, mean and std = none */
    int side;                               /* of the result; with no crop it must be the cache's */
    float mean[3], std[3];
    uint64_t seed;
    bool flip;                              /* half of the pictures are mirrored */
    float crop_area;                        /* crops keep at least this share of the area; 0 = no crops */
    float brightness, contrast, saturation; /* factors are drawn from [1 - x, 1 + x] */
};

/* out [n][side][side][3] f32 for pictures index[n] of px. What is drawn depends on (a->seed, epoch, index[i]) alone: not on
 * the batch, the order or the threads. Without augmentation the values are exactly eye_preproc_f32's.
 * Crops are sampled bilinearly, as torchvision's RandomResizedCrop with antialias off, of ratios 3:4 to 4:3.
 * Returns EYE_OK; ARG; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_pixels_batch(const struct eye_pixels *px, const struct eye_augment *a,
                                                const uint32_t *index, size_t n, uint64_t epoch, float *out,
                                                struct eye_pool *pool, struct eye_err *err);

#endif
