/* image/encode: see encode.h. PNG through libspng; binary PPM needs no library. */
#include "image/encode.h"

#include "eyelet/image.h"

static enum eye_status check(int width, int height, struct eye_err *err) {
    if (width < 1 || height < 1 || width > EYE_IMAGE_MAX_SIDE || height > EYE_IMAGE_MAX_SIDE)
        return eye_fail(err, EYE_E_ARG, "a picture of %d x %d pixels, each side must be 1 to %d", width, height,
                        EYE_IMAGE_MAX_SIDE);
    return EYE_OK;
}

#if EYE_HAVE_PNG
#include <spng.h>
#include <stdlib.h>

const char *eye_image_encoding(void) { return "png"; }

enum eye_status eye_image_encode(const uint8_t *rgb, int width, int height, struct eye_buf *out, struct eye_err *err) {
    EYE_TRY(check(width, height, err));
    size_t n = (size_t)width * (size_t)height * 3, n_file = 0;
    struct spng_ihdr ihdr = {.width = (uint32_t)width, .height = (uint32_t)height, .bit_depth = 8,
                             .color_type = SPNG_COLOR_TYPE_TRUECOLOR};
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    int rc = ctx ? spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1) : SPNG_EMEM;
    if (!rc) rc = spng_set_ihdr(ctx, &ihdr);
    if (!rc) rc = spng_encode_image(ctx, rgb, n, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    void *file = rc ? NULL : spng_get_png_buffer(ctx, &n_file, &rc);
    if (file) eye_buf_add(out, file, n_file);
    free(file); /* the library's own malloc */
    spng_ctx_free(ctx);
    return rc || out->failed ? eye_fail_nomem(err, n) : EYE_OK; /* with a header that is right nothing else can fail */
}

#else

const char *eye_image_encoding(void) { return "ppm"; }

enum eye_status eye_image_encode(const uint8_t *rgb, int width, int height, struct eye_buf *out, struct eye_err *err) {
    EYE_TRY(check(width, height, err));
    size_t n = (size_t)width * (size_t)height * 3;
    eye_buf_printf(out, "P6\n%d %d\n255\n", width, height);
    eye_buf_add(out, rgb, n);
    return out->failed ? eye_fail_nomem(err, n) : EYE_OK;
}

#endif
