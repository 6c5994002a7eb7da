/* Features: what the frozen part of a vision tower says of every picture of a data set, computed once, in one mapped file, as
 * f16; with flips a second view of each, of the mirrored picture: a store (store.h) "EYEFEATS" of f16 [n][views][elems];
 * pictures that could not be read: zeros. */
#ifndef EYE_TRAIN_FEATURES_H
#define EYE_TRAIN_FEATURES_H

#include "train/net.h"
#include "train/pixels.h"
#include "train/store.h"

struct eye_features { /* read-only */
    struct eye_store store;
    const uint16_t *f16;
    size_t n, elems;
    int views;
};

struct eye_features_opts {
    const char *cache;      /* the value's name */
    int views;
    const struct eye_params *params;
    struct eye_augment plain; /* side, mean, std */
    int64_t n_pictures;     /* of the net's calls */
    void (*progress)(void *ctx, double done_0_to_1);
    void *progress_ctx;
    bool (*cancel)(void *ctx);
    void *cancel_ctx;
};
/* Opens path if it fits, else makes it with net (use TAP). IO, CANCELLED. */
EYE_MUST_CHECK enum eye_status eye_features_ensure(struct eye_features *f, const char *path, const struct eye_pixels *px,
                                                   struct eye_net *net, const struct eye_features_opts *o, struct eye_err *err);
void eye_features_close(struct eye_features *f);
/* One view of a picture to f32 [elems]; view is taken modulo the views there are. */
void eye_features_get(const struct eye_features *f, size_t picture, unsigned view, float *out);

#endif
