/* image/webp: WebP to RGB8 through libwebp. Alpha is dropped without blending. An animation gives its first frame on its
 * canvas (black where the frame does not reach): libwebp's still decoder refuses animations, but a frame's payload is a
 * bitstream that it takes, so no second library is needed.
 *
 * RIFF container (WebP container specification): "RIFF" u32 size "WEBP", then chunks: 4 letters, u32 size, payload, padded to
 * even. VP8X: 1 byte flags (bit 1 animation), 3 reserved, u24 canvas width - 1, u24 canvas height - 1.
 * ANMF: u24 x/2, u24 y/2, u24 width - 1, u24 height - 1, u24 duration, 1 byte flags, then the frame's own chunks. */
#include <string.h>

#include "image/decode.h"

#if EYE_HAVE_WEBP
#include <webp/decode.h>

enum { RIFF_HEADER = 12, ANMF_HEADER = 16 };

/* Payload of the first chunk named name, or NULL. A chunk that runs past the file's end is not there. */
static const uint8_t *find_chunk(const struct eye_image_job *job, const char *name, size_t *size) {
    struct eye_cursor c = eye_cursor_make(job->p, job->size);
    eye_cursor_bytes(&c, RIFF_HEADER);
    for (;;) {
        const uint8_t *type = eye_cursor_bytes(&c, 4);
        uint32_t n = eye_cursor_u32(&c);
        const uint8_t *data = eye_cursor_bytes(&c, n);
        if (c.failed) return NULL;
        if (memcmp(type, name, 4) == 0) {
            *size = n;
            return data;
        }
        if (n % 2) eye_cursor_bytes(&c, 1);
    }
}

static uint32_t u24(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16; }

static enum eye_status webp_error(VP8StatusCode code, struct eye_err *err) {
    switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY: return eye_fail(err, EYE_E_NOMEM, "WebP: libwebp has no memory");
    case VP8_STATUS_UNSUPPORTED_FEATURE: return eye_fail(err, EYE_E_UNSUPPORTED, "WebP: a feature that libwebp cannot decode");
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return eye_fail(err, EYE_E_CORRUPT, "WebP: the file ends before the picture is complete (truncated?)");
    default: return eye_fail(err, EYE_E_CORRUPT, "WebP: the bit stream is damaged (libwebp status %d)", (int)code);
    }
}

/* Decodes a still bitstream of known size to its place in img. */
static enum eye_status decode_into(const uint8_t *p, size_t size, uint8_t *to, size_t stride, size_t room,
                                   struct eye_err *err) {
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) return eye_fail(err, EYE_E_UNSUPPORTED, "WebP: libwebp of another version");
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = to;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = room;
    VP8StatusCode code = WebPDecode(p, size, &config);
    WebPFreeDecBuffer(&config.output);
    return code == VP8_STATUS_OK ? EYE_OK : webp_error(code, err);
}

static enum eye_status decode_first_frame(const struct eye_image_job *job, uint64_t width, uint64_t height,
                                          struct eye_image *img, struct eye_err *err) {
    size_t n = 0;
    const uint8_t *frame = find_chunk(job, "ANMF", &n);
    if (!frame || n < ANMF_HEADER) return eye_fail(err, EYE_E_CORRUPT, "WebP: an animation without a whole frame (truncated?)");
    uint64_t x = (uint64_t)u24(frame) * 2, y = (uint64_t)u24(frame + 3) * 2;
    uint64_t w = (uint64_t)u24(frame + 6) + 1, h = (uint64_t)u24(frame + 9) + 1;
    WebPBitstreamFeatures f;
    VP8StatusCode code = WebPGetFeatures(frame + ANMF_HEADER, n - ANMF_HEADER, &f);
    if (code != VP8_STATUS_OK) return webp_error(code, err);
    if ((uint64_t)f.width != w || (uint64_t)f.height != h || x + w > width || y + h > height)
        return eye_fail(err, EYE_E_CORRUPT,
                        "WebP: first frame %d x %d, declared %llu x %llu at %llu,%llu, on a canvas %llu x %llu",
                        f.width, f.height, (unsigned long long)w, (unsigned long long)h, (unsigned long long)x,
                        (unsigned long long)y, (unsigned long long)width, (unsigned long long)height);
    uint8_t *pixels;
    EYE_TRY(eye_image_alloc(job, "WebP", width, height, img, &pixels, err));
    memset(pixels, 0, img->owned_bytes);
    size_t at = (size_t)y * img->stride + (size_t)x * 3;
    return decode_into(frame + ANMF_HEADER, n - ANMF_HEADER, pixels + at, img->stride, img->owned_bytes - at, err);
}

enum eye_status eye_webp_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err) {
    WebPBitstreamFeatures f;
    VP8StatusCode code = WebPGetFeatures(job->p, job->size, &f);
    if (code != VP8_STATUS_OK) return webp_error(code, err);
    if (f.has_animation) {
        EYE_TRY(decode_first_frame(job, (uint64_t)f.width, (uint64_t)f.height, img, err));
    } else {
        uint8_t *pixels;
        EYE_TRY(eye_image_alloc(job, "WebP", (uint64_t)f.width, (uint64_t)f.height, img, &pixels, err));
        EYE_TRY(decode_into(job->p, job->size, pixels, img->stride, img->owned_bytes, err));
    }
    size_t n = 0;
    const uint8_t *exif = find_chunk(job, "EXIF", &n);
    if (exif) img->orientation = eye_exif_orientation(exif, n);
    return EYE_OK;
}

#else

enum eye_status eye_webp_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err) {
    return eye_fail(err, EYE_E_UNSUPPORTED,
                    "WebP: eyelet was built without libwebp: convert to PPM or BMP, or rebuild with -Dwebp=enabled");
}

#endif
