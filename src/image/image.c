/* image: the room's door. Bytes are read, recognised, decoded by the format's reader and turned upright. Holds the bounds
 * that every reader obeys; knows no format's inside. */
#include <string.h>

#include "base/sys.h"
#include "image/decode.h"

const char *eye_image_format_name(enum eye_image_format format) {
    switch (format) {
    case EYE_IMAGE_JPEG: return "JPEG";
    case EYE_IMAGE_PNG: return "PNG";
    case EYE_IMAGE_WEBP: return "WebP";
    case EYE_IMAGE_BMP: return "BMP";
    case EYE_IMAGE_PNM: return "PNM";
    case EYE_IMAGE_RAW: break;
    }
    return "raw";
}

void eye_image_free(struct eye_image *img) {
    if (!img) return;
    if (img->owned) eye_alloc_free(img->alloc, img->owned, img->owned_bytes);
    *img = (struct eye_image){0};
}

enum eye_status eye_image_alloc(const struct eye_image_job *job, const char *what, uint64_t width, uint64_t height,
                                struct eye_image *img, uint8_t **pixels, struct eye_err *err) {
    if (width == 0 || height == 0)
        return eye_fail(err, EYE_E_CORRUPT, "%s: size %llu x %llu, expected at least 1 x 1", what, (unsigned long long)width,
                        (unsigned long long)height);
    if (width > EYE_IMAGE_MAX_SIDE || height > EYE_IMAGE_MAX_SIDE)
        return eye_fail(err, EYE_E_LIMIT, "%s: size %llu x %llu, a side may be at most %d pixels", what,
                        (unsigned long long)width, (unsigned long long)height, EYE_IMAGE_MAX_SIDE);
    if (width * height > job->max_pixels)
        return eye_fail(err, EYE_E_LIMIT, "%s: size %llu x %llu is more than %llu pixels (raise max_pixels, or scale it down)",
                        what, (unsigned long long)width, (unsigned long long)height, (unsigned long long)job->max_pixels);
    size_t bytes;
    if (!eye_mul_ok((size_t)(width * 3), (size_t)height, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    uint8_t *p = eye_alloc_raw(job->alloc, bytes);
    if (!p) return eye_fail_nomem(err, bytes);
    img->width = (int)width;
    img->height = (int)height;
    img->stride = (size_t)width * 3;
    img->rgb = *pixels = img->owned = p;
    img->owned_bytes = bytes;
    img->alloc = job->alloc;
    return EYE_OK;
}

static enum eye_status refuse(const uint8_t *p, size_t size, struct eye_image_kind k, struct eye_err *err) {
    if (size == 0) return eye_fail(err, EYE_E_CORRUPT, "empty file, expected an image");
    if (k.name) return eye_fail(err, EYE_E_UNSUPPORTED, "%s is not supported: %s", k.name, k.hint);
    return eye_fail(err, EYE_E_UNSUPPORTED,
                    "not a known image (begins %02x %02x %02x %02x, %zu bytes): expected JPEG, PNG, WebP, BMP or PPM", p[0],
                    size > 1 ? p[1] : 0u, size > 2 ? p[2] : 0u, size > 3 ? p[3] : 0u, size);
}

static enum eye_status upright(struct eye_image *img, struct eye_err *err) {
    uint8_t *p = eye_alloc_raw(img->alloc, img->owned_bytes);
    if (!p) return eye_fail_nomem(err, img->owned_bytes);
    eye_image_orient(img->rgb, img->width, img->height, img->orientation, p);
    eye_alloc_free(img->alloc, img->owned, img->owned_bytes);
    img->rgb = img->owned = p;
    if (img->orientation >= 5) {
        int w = img->width;
        img->width = img->height;
        img->height = w;
        img->stride = (size_t)img->width * 3;
    }
    return EYE_OK;
}

enum eye_status eye_image_decode(const void *bytes, size_t n_bytes, const struct eye_image_opts *opts, struct eye_image *img,
                                 struct eye_err *err) {
    static const struct eye_image_opts none;
    if (!opts) opts = &none;
    *img = (struct eye_image){0};
    if (!bytes && n_bytes > 0) return eye_fail(err, EYE_E_ARG, "eye_image_decode: no bytes given");
    uint64_t max_bytes = opts->max_bytes ? opts->max_bytes : EYE_IMAGE_MAX_BYTES;
    if (n_bytes > max_bytes)
        return eye_fail(err, EYE_E_LIMIT, "%zu bytes, at most %llu are taken for an image (raise max_bytes)", n_bytes,
                        (unsigned long long)max_bytes);
    struct eye_image_kind k = eye_image_sniff(bytes, n_bytes);
    const struct eye_image_job job = {bytes, n_bytes, opts->alloc, opts->max_pixels ? opts->max_pixels : EYE_IMAGE_MAX_PIXELS};
    enum eye_status st = EYE_E_UNSUPPORTED;
    img->orientation = 1;
    switch (k.format) {
    case EYE_IMAGE_JPEG: st = eye_jpeg_decode(&job, img, err); break;
    case EYE_IMAGE_PNG: st = eye_png_decode(&job, img, err); break;
    case EYE_IMAGE_WEBP: st = eye_webp_decode(&job, img, err); break;
    case EYE_IMAGE_BMP: st = eye_bmp_decode(&job, img, err); break;
    case EYE_IMAGE_PNM: st = eye_pnm_decode(&job, img, err); break;
    case EYE_IMAGE_RAW: st = refuse(bytes, n_bytes, k, err); break;
    }
    img->format = k.format;
    if (st == EYE_OK && img->orientation != 1 && !opts->no_exif_orientation) st = upright(img, err);
    if (st != EYE_OK) eye_image_free(img);
    return st;
}

enum eye_status eye_image_load(const char *path, const struct eye_image_opts *opts, struct eye_image *img,
                               struct eye_err *err) {
    *img = (struct eye_image){0};
    if (!path) return eye_fail(err, EYE_E_ARG, "eye_image_load: no path given");
    uint64_t max_bytes = opts && opts->max_bytes ? opts->max_bytes : EYE_IMAGE_MAX_BYTES;
    size_t bound = max_bytes > SIZE_MAX ? SIZE_MAX : (size_t)max_bytes;
    struct eye_map m;
    /* Read, not mapped: a file cut short by someone else while libjpeg reads it must not kill the process. */
    if (strcmp(path, "-") == 0)
        EYE_TRY(eye_map_open_stdin(&m, bound, err));
    else
        EYE_TRY(eye_map_open(&m, path, false, bound, err));
    enum eye_status st = eye_image_decode(m.p, m.size, opts, img, err);
    if (st != EYE_OK) eye_fail_in(err, st, "%s", strcmp(path, "-") == 0 ? "standard input" : path);
    eye_map_close(&m);
    return st;
}

enum eye_status eye_image_wrap(struct eye_image *img, const uint8_t *rgb, int width, int height, size_t stride,
                               struct eye_err *err) {
    *img = (struct eye_image){0};
    if (!rgb) return eye_fail(err, EYE_E_ARG, "eye_image_wrap: no pixels given");
    if (width < 1 || height < 1 || width > EYE_IMAGE_MAX_SIDE || height > EYE_IMAGE_MAX_SIDE)
        return eye_fail(err, EYE_E_ARG, "eye_image_wrap: size %d x %d, each side must be 1 to %d", width, height,
                        EYE_IMAGE_MAX_SIDE);
    size_t row = (size_t)width * 3;
    if (stride == 0) stride = row;
    if (stride < row)
        return eye_fail(err, EYE_E_ARG, "eye_image_wrap: stride %zu bytes, %d RGB pixels need %zu", stride, width, row);
    *img = (struct eye_image){.width = width, .height = height, .stride = stride, .rgb = rgb, .orientation = 1};
    return EYE_OK;
}
