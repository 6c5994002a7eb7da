/* image/png: PNG to RGB8 through libspng. All colour types and depths, interlaced or not; 16-bit samples keep their high byte,
 * transparency (alpha channel or tRNS) is dropped, gamma and profiles are ignored. Checksums of what makes the picture must
 * hold; a damaged chunk of metadata is skipped.
 *
 * The eXIf chunk is found by our own walk over the chunks (u32be length, 4 letters, data, u32be CRC), because writers put it
 * before or after the pixels and libspng would have to inflate all of them to reach the end. */
#include <string.h>

#include "image/decode.h"

#if EYE_HAVE_PNG
#include <spng.h>

/* Deflate cannot do better than 1032 : 1: a larger claim is a lie, found before the memory is taken. */
enum { MAX_INFLATION = 1032, PNG_SIGNATURE = 8 };
/* One metadata chunk; all of them together. Only palette, tRNS and the like are kept, none of which is large. */
#define MAX_CHUNK_BYTES ((size_t)32 << 20)
#define MAX_CACHE_BYTES ((size_t)32 << 20)

static int find_orientation(const uint8_t *p, size_t size) {
    struct eye_cursor c = eye_cursor_make(p, size);
    eye_cursor_bytes(&c, PNG_SIGNATURE);
    for (;;) {
        uint32_t length = eye_cursor_u32be(&c);
        const uint8_t *type = eye_cursor_bytes(&c, 4), *data = eye_cursor_bytes(&c, length);
        eye_cursor_bytes(&c, 4); /* CRC */
        if (c.failed || memcmp(type, "IEND", 4) == 0) return 1;
        if (memcmp(type, "eXIf", 4) == 0) return eye_exif_orientation(data, length);
    }
}

static enum eye_status png_error(int code, const char *during, struct eye_err *err) {
    const char *text = spng_strerror(code);
    switch (code) {
    case SPNG_EMEM: return eye_fail(err, EYE_E_NOMEM, "PNG: %s: %s", during, text);
    case SPNG_EUSER_WIDTH:
    case SPNG_EUSER_HEIGHT:
    case SPNG_EWIDTH:
    case SPNG_EHEIGHT:
    case SPNG_ECHUNK_LIMITS: return eye_fail(err, EYE_E_LIMIT, "PNG: %s: %s", during, text);
    case SPNG_IO_EOF:
    case SPNG_EIDAT_TOO_SHORT:
        return eye_fail(err, EYE_E_CORRUPT, "PNG: %s: the file ends before the picture is complete (truncated?)", during);
    default: return eye_fail(err, EYE_E_CORRUPT, "PNG: %s: %s", during, text);
    }
}

static enum eye_status decode(spng_ctx *ctx, const struct eye_image_job *job, struct eye_image *img, struct eye_err *err) {
    int e = spng_set_crc_action(ctx, SPNG_CRC_ERROR, SPNG_CRC_DISCARD);
    if (!e) e = spng_set_chunk_limits(ctx, MAX_CHUNK_BYTES, MAX_CACHE_BYTES);
    if (!e) e = spng_set_png_buffer(ctx, job->p, job->size);
    struct spng_ihdr h;
    if (!e) e = spng_get_ihdr(ctx, &h);
    if (e) return png_error(e, "header", err);
    static const uint8_t channels[7] = {1, 0, 3, 1, 2, 0, 4}; /* by colour type, which libspng has checked */
    uint64_t row = ((uint64_t)h.width * channels[h.color_type % 7] * h.bit_depth + 7) / 8;
    if (row * h.height / MAX_INFLATION > job->size && (uint64_t)h.width * h.height <= job->max_pixels)
        return eye_fail(err, EYE_E_CORRUPT, "PNG: %u x %u pixels cannot come out of %zu bytes (truncated?)", h.width, h.height,
                        job->size);
    uint8_t *pixels;
    EYE_TRY(eye_image_alloc(job, "PNG", h.width, h.height, img, &pixels, err));
    size_t need = 0;
    e = spng_decoded_image_size(ctx, SPNG_FMT_RGB8, &need);
    if (!e && need != img->owned_bytes)
        return eye_fail(err, EYE_E_CORRUPT, "PNG: %u x %u pixels need %zu bytes, libspng wants %zu", h.width, h.height,
                        img->owned_bytes, need);
    if (!e) e = spng_decode_image(ctx, pixels, need, SPNG_FMT_RGB8, 0);
    if (e) return png_error(e, "pixels", err);
    img->orientation = find_orientation(job->p, job->size);
    return EYE_OK;
}

enum eye_status eye_png_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err) {
    spng_ctx *ctx = spng_ctx_new(0);
    if (!ctx) return eye_fail(err, EYE_E_NOMEM, "PNG: libspng has no memory");
    enum eye_status st = decode(ctx, job, img, err);
    spng_ctx_free(ctx);
    return st;
}

#else

enum eye_status eye_png_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err) {
    return eye_fail(err, EYE_E_UNSUPPORTED,
                    "PNG: eyelet was built without libspng: convert to PPM or BMP, or rebuild with -Dpng=enabled");
}

#endif
