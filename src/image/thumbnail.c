/* image/thumbnail: a small copy of a picture as the bytes of a file, for pages that show many. WebP where libwebp is there: a
 * few kilobytes; else what encode writes. */
#include <string.h>

#include "image/encode.h"
#include "image/resize.h"

#if EYE_HAVE_WEBP
#include <webp/encode.h>

#define QUALITY 70

static enum eye_status encode(const uint8_t *rgb, int width, int height, struct eye_buf *out, struct eye_err *err) {
    uint8_t *file = NULL;
    size_t n = WebPEncodeRGB(rgb, width, height, 3 * width, QUALITY, &file);
    if (n) eye_buf_add(out, file, n);
    WebPFree(file);
    return n && !out->failed ? EYE_OK : eye_fail_nomem(err,
                                                       n ? n : (size_t)width * (size_t)height); /* nothing else can fail here */
}

#else

static enum eye_status encode(const uint8_t *rgb, int width, int height, struct eye_buf *out, struct eye_err *err) {
    return eye_image_encode(rgb, width, height, out, err);
}

#endif

/* One side of the copy: of len, where the longer side becomes side. */
static int scaled(int len, int longer, int side) {
    return longer <= side ? len : EYE_MAX((int)(((int64_t)len * side + longer / 2) / longer), 1);
}

enum eye_status eye_image_thumbnail(const struct eye_image *img, int side, uint8_t *out, size_t cap, size_t *n,
                                    struct eye_err *err) {
    static const uint8_t black[3];
    struct eye_buf file;
    if (side < 1 || side > EYE_IMAGE_MAX_THUMBNAIL || !img || !img->rgb)
        return eye_fail(err, EYE_E_ARG, "a thumbnail of %d pixels, expected 1 to %d, of a picture", side,
                        EYE_IMAGE_MAX_THUMBNAIL);
    int longer = EYE_MAX(img->width, img->height);
    int width = scaled(img->width, longer, side), height = scaled(img->height, longer, side);
    size_t bytes = (size_t)width * (size_t)height * 3;
    uint8_t *rgb = eye_alloc_raw(img->alloc, bytes);
    if (!rgb) return eye_fail_nomem(err, bytes);
    eye_buf_init(&file, img->alloc);
    enum eye_status st = eye_resize(img, eye_axis_plain(img->width, width), eye_axis_plain(img->height, height), black,
                                    EYE_RESAMPLE_BILINEAR, rgb, (size_t)width * 3, NULL, img->alloc, err);
    if (st == EYE_OK) st = encode(rgb, width, height, &file, err);
    if (st == EYE_OK && file.len > cap)
        st = eye_fail(err, EYE_E_LIMIT, "a thumbnail of %d x %d takes %zu bytes, there is room for %zu", width, height,
                      file.len, cap);
    if (st == EYE_OK) {
        memcpy(out, file.p, file.len);
        *n = file.len;
    }
    eye_buf_clear(&file);
    eye_alloc_free(img->alloc, rgb, bytes);
    return st;
}
