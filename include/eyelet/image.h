/* Images: a picture file or raw frame as RGB8 pixels.
 *
 *   struct eye_image img;
 *   struct eye_err err = {0};
 *   if (eye_image_load("photo.jpg", NULL, &img, &err) != EYE_OK)
 *       fprintf(stderr, "%s\n", err.text);
 *   printf("%d x %d\n", img.width, img.height);
 *   eye_image_free(&img);
 *
 * A camera frame needs no file: eye_image_wrap() borrows any RGB8 memory with a row stride.
 *
 * Read: JPEG (baseline, progressive, arithmetic where the library has it; grey, YCbCr, RGB, CMYK, YCCK), PNG (every colour
 * type and depth, interlaced), WebP (lossy, lossless; an animation's first frame), BMP (1, 4, 8, 16, 24, 32 bits, bit fields,
 * RLE), PBM/PGM/PPM (P1 to P6). Everything else that is known by its first bytes is refused by name with a hint.
 *
 * Colour: alpha is dropped without blending, 16-bit samples keep their high byte, CMYK is converted without a profile, ICC
 * profiles and gamma are ignored: what Pillow's convert("RGB") gives, since that is what vision towers were trained on. (One
 * exception: 16-bit grey keeps its high byte here, where Pillow saturates at 255.) A file that ends early is an error that
 * says how far it came, never a half-grey picture; damage inside a JPEG that its decoder can conceal is counted in n_warnings.
 */
#ifndef EYELET_IMAGE_H
#define EYELET_IMAGE_H

#include <stdbool.h>

#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EYE_IMAGE_MAX_BYTES ((uint64_t)64 << 20)     /* default bound of a file: 64 MiB */
#define EYE_IMAGE_MAX_PIXELS ((uint64_t)100000000)   /* default bound of a picture: 100 megapixels, 300 MB of RGB */
#define EYE_IMAGE_MAX_SIDE 65535                     /* fixed bound of width and of height, the largest a JPEG can be */

enum eye_image_format {
    EYE_IMAGE_RAW = 0, /* wrapped memory */
    EYE_IMAGE_JPEG,
    EYE_IMAGE_PNG,
    EYE_IMAGE_WEBP,
    EYE_IMAGE_BMP,
    EYE_IMAGE_PNM /* PBM, PGM, PPM */
};

/* One picture. Read the fields freely; rgb stays valid until eye_image_free, or as long as the wrapped memory. */
struct eye_image {
    int width, height;            /* pixels, 1 to EYE_IMAGE_MAX_SIDE, after orientation */
    size_t stride;                /* bytes from one row to the next, >= 3 * width */
    const uint8_t *rgb;           /* [height][stride], R,G,B interleaved, top row first */
    enum eye_image_format format; /* what it was decoded from */
    int orientation;              /* EXIF orientation found in the file, 1 to 8 (1 = upright or none); applied by default */
    int n_warnings;               /* damage that the decoder concealed (JPEG) */
    void *owned;                  /* private: memory to free, NULL when borrowed */
    size_t owned_bytes;           /* private */
    const struct eye_alloc *alloc; /* private */
};

/* All-zero means default. */
struct eye_image_opts {
    bool no_exif_orientation;      /* keep the pixels as they are stored (what Apple's predict.py does) */
    uint64_t max_pixels;           /* 0 = EYE_IMAGE_MAX_PIXELS; checked before anything of that size is allocated */
    uint64_t max_bytes;            /* 0 = EYE_IMAGE_MAX_BYTES; of the file */
    const struct eye_alloc *alloc; /* NULL = malloc; borrowed, must outlive the picture. File bytes and the image libraries'
                                      own scratch do not go through it */
};

/* Decode a picture file.
 * path     file name, or "-" for standard input (read to its end).
 * opts     may be NULL.
 * img      filled on success, all zero on failure; free with eye_image_free.
 * Returns EYE_OK; EYE_E_IO (cannot read); EYE_E_CORRUPT (damaged or cut off); EYE_E_UNSUPPORTED (another format, or this build
 * lacks the library); EYE_E_LIMIT (too many bytes or pixels); EYE_E_NOMEM; EYE_E_ARG. The text begins with the path.
 * Threads: any, one image each. */
EYE_API EYE_MUST_CHECK enum eye_status eye_image_load(const char *path, const struct eye_image_opts *opts,
                                                      struct eye_image *img, struct eye_err *err);

/* The same from memory. bytes [n_bytes] are borrowed for the call. */
EYE_API EYE_MUST_CHECK enum eye_status eye_image_decode(const void *bytes, size_t n_bytes, const struct eye_image_opts *opts,
                                                        struct eye_image *img, struct eye_err *err);

/* Borrow an RGB8 frame.
 * rgb      [height][stride] bytes, R,G,B interleaved; must stay valid and unchanged while img is in use.
 * stride   bytes per row, >= 3 * width; 0 = exactly 3 * width.
 * Returns EYE_OK or EYE_E_ARG (NULL, a side outside 1 to EYE_IMAGE_MAX_SIDE, a stride too small). */
EYE_API EYE_MUST_CHECK enum eye_status eye_image_wrap(struct eye_image *img, const uint8_t *rgb, int width, int height,
                                                      size_t stride, struct eye_err *err);

/* Frees what img owns and zeroes it; fine on a zeroed or wrapped image, on NULL and twice. */
EYE_API void eye_image_free(struct eye_image *img);

#define EYE_IMAGE_MAX_THUMBNAIL 1024
/* A small copy as the bytes of a file: WebP, in a build without libwebp PNG (or PPM, without libspng too).
 * side   pixels of its longer side at most, 1 to EYE_IMAGE_MAX_THUMBNAIL; a smaller picture keeps its size.
 * out    [cap] bytes, caller's; a WebP of 160 pixels takes 2 to 10 KB. *n  bytes written.
 * Returns EYE_OK; EYE_E_ARG; EYE_E_LIMIT (cap is too small: names both numbers); EYE_E_NOMEM. Threads: any. */
EYE_API EYE_MUST_CHECK enum eye_status eye_image_thumbnail(const struct eye_image *img, int side, uint8_t *out, size_t cap,
                                                           size_t *n, struct eye_err *err);

/* "JPEG", "PNG", ...; never NULL. */
EYE_API const char *eye_image_format_name(enum eye_image_format format);

#ifdef __cplusplus
}
#endif
#endif
