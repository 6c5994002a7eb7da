/* image/resize: RGB8 scaling, bit for bit what Pillow's Image.resize gives. Works on a picture that lies on a larger, uniform
 * canvas and computes only the part of the result that is wanted, so neither padding nor cropping is ever materialised. */
#ifndef EYE_IMAGE_RESIZE_H
#define EYE_IMAGE_RESIZE_H

#include "base/base.h"
#include "eyelet/image.h"

struct eye_pool;

enum eye_resample {
    EYE_RESAMPLE_BICUBIC = 0, /* Keys cubic, a = -0.5, widened when shrinking (antialias) */
    EYE_RESAMPLE_BILINEAR,    /* triangle, widened when shrinking */
    EYE_RESAMPLE_LANCZOS      /* windowed sinc of 3 lobes, widened when shrinking */
};

/* One axis: a picture of len pixels lies at off on a canvas of in pixels; the canvas is scaled to out, of which n pixels from
 * first on are wanted. Needs 0 <= off, off + len <= in <= EYE_IMAGE_MAX_SIDE, 0 <= first, first + n <= out <=
 * EYE_RESIZE_MAX_OUT, n <= EYE_IMAGE_MAX_SIDE. */
struct eye_axis {
    int in, off, len;
    int out, first, n;
};
#define EYE_RESIZE_MAX_OUT (1 << 30)

static inline struct eye_axis eye_axis_plain(int in, int out) { return (struct eye_axis){in, 0, in, out, 0, out}; }

/* img       x.len x y.len pixels
 * fill      RGB of the canvas around it; a canvas larger than the picture must be square, and so must out
 * dst       [y.n][dst_stride], RGB8, caller's
 * pool      NULL = this thread alone; the result is the same
 * Returns EYE_OK, EYE_E_ARG (an axis out of its bounds), EYE_E_NOMEM.
 * Source: Pillow 13, libImaging/Resample.c (8 bits per channel): horizontal pass, then vertical, uint8 between (vertical
 * first where both sides change, rows are removed, and more than twice as many of them as columns: so since Pillow 13, never
 * before); weights in double, normalised, rounded to 22 fractional bits; sums from one half, shifted, clipped. A pass that
 * changes no size has the single weight 1, which is the skipped pass of Pillow. */
EYE_MUST_CHECK enum eye_status eye_resize(const struct eye_image *img, struct eye_axis x, struct eye_axis y,
                                          const uint8_t fill[3], enum eye_resample resample, uint8_t *dst, size_t dst_stride,
                                          struct eye_pool *pool, const struct eye_alloc *alloc, struct eye_err *err);

/* ---- the inner loop, one per instruction set; private to resize.c ---- */

/* dst[l] = clip8((2^21 + fill_weight * fill[l] + sum over j < n_taps of coef[j] * src[j * src_step + l]) >> 22), l < n_lanes.
 * A lane is any byte that shares the weights: one colour of one pixel of an output row, or of one row of a strip. */
typedef void eye_taps_fn(uint8_t *dst, const uint8_t *fill, int32_t fill_weight, const uint8_t *src, size_t src_step,
                         size_t n_lanes, const int32_t *coef, int n_taps);
eye_taps_fn eye_resize_taps_base;
#if EYE_IMAGE_AVX2
eye_taps_fn eye_resize_taps_avx2;
#endif

#endif
