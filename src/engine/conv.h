/* engine, inside the room: what the lowerings of convolutions and of their gradients share (lower_conv.c). */
#ifndef EYE_CONV_H
#define EYE_CONV_H

#include "engine/engine_impl.h"

#define EYE_CONV_KERNEL_ROWS 64 /* largest depthwise kernel that has a fast way */

struct eye_conv_shape {
    int64_t h, w, c;    /* input image */
    int64_t oh, ow, o;  /* output image */
    int64_t kh, kw, stride, top, left, groups;
};
/* x [N,H,W,C], w [O,C/g,kh,kw], y [N,oh,ow,O] of a convolution with these attributes. UNSUPPORTED when sizes are symbolic. */
EYE_MUST_CHECK enum eye_status eye_conv_read(const struct eye_value *x, const struct eye_value *w, const struct eye_value *y,
                                             const struct eye_attr *a, struct eye_conv_shape *s, struct eye_err *err);
/* Its patches are the image's pixels as they lie. */
bool eye_conv_is_plain_1x1(const struct eye_conv_shape *s);
static inline bool eye_conv_is_depthwise(const struct eye_conv_shape *s) {
    return s->groups == s->c && s->kh <= EYE_CONV_KERNEL_ROWS;
}

struct eye_conv_patches { /* context of eye_conv_patch_rows: rows are the patches of output pixels of all images */
    const struct eye_conv_shape *s;
    const float *images;
    size_t first; /* row 0 is the patch of this output pixel */
};
/* Patches [row0, row0 + n), each [kh][kw][C], zeros outside the image. */
void eye_conv_patch_rows(const void *patches, size_t row0, size_t n, float *dst);

/* Input rows that the taps of output row `row` (of all images) meet; NULL = outside. */
void eye_conv_rows(const struct eye_conv_shape *s, const float *images, size_t row, const float **rows);

/* Weights of a depthwise convolution, [O][taps] to [taps][O]. */
void eye_conv_turn_taps(const struct eye_conv_shape *s, const float *w, float *dst);

#endif
