/* image/decode: what the format readers share. Private to this room; each reader turns hostile bytes into RGB8 or an error. */
#ifndef EYE_IMAGE_DECODE_H
#define EYE_IMAGE_DECODE_H

#include "base/cursor.h"
#include "eyelet/image.h"

/* One decode in progress. */
struct eye_image_job {
    const uint8_t *p; /* the whole file, borrowed */
    size_t size;
    const struct eye_alloc *alloc;
    uint64_t max_pixels;
};

/* Readers: fill img (allocated through eye_image_alloc) with the picture as stored, and img->orientation. On failure img may
 * hold an allocation: the caller frees it. */
EYE_MUST_CHECK enum eye_status eye_jpeg_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_png_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_webp_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_bmp_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_pnm_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err);

/* Checks a size out of a file against side, pixel and memory bounds, then allocates img->rgb, packed rows. Not filled.
 * what = "JPEG" ... for the text. *pixels gets the writable memory. */
EYE_MUST_CHECK enum eye_status eye_image_alloc(const struct eye_image_job *job, const char *what, uint64_t width,
                                               uint64_t height, struct eye_image *img, uint8_t **pixels, struct eye_err *err);

/* Orientation 1 to 8 out of an EXIF block (with or without "Exif\0\0" in front); 1 when it is absent or malformed. */
int eye_exif_orientation(const uint8_t *p, size_t size);

/* Turns a w x h packed picture upright: dst is packed, h x w for orientations 5 to 8, else w x h. */
void eye_image_orient(const uint8_t *src, int w, int h, int orientation, uint8_t *dst);

/* What the first bytes say. format is set when eyelet has a reader, else name and hint describe the stranger. */
struct eye_image_kind {
    enum eye_image_format format; /* EYE_IMAGE_RAW = not one of ours */
    const char *name, *hint;      /* NULL = not recognised at all */
};
struct eye_image_kind eye_image_sniff(const uint8_t *p, size_t size);

/* "libspng 0.7.3"; "" = built without. */
#define EYE_LIBRARY_MAX 32
void eye_image_libraries(char jpeg[EYE_LIBRARY_MAX], char png[EYE_LIBRARY_MAX], char webp[EYE_LIBRARY_MAX]);

#endif
