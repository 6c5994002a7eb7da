/* image/sniff: a file's kind from its first bytes, never from its name. Strangers get a name and a way out. */
#include <string.h>

#include "image/decode.h"

struct magic {
    uint8_t offset, len;
    const char *bytes;
    const char *name, *hint;
};

static const char to_png[] = "convert it to PNG or JPEG";

/* Longer and more certain ones first: "BM" would swallow text. */
static const struct magic strangers[] = {
    {0, 6, "GIF87a", "GIF", to_png},
    {0, 6, "GIF89a", "GIF", to_png},
    {0, 4, "II*\0", "TIFF (or a camera's raw file)", to_png},
    {0, 4, "MM\0*", "TIFF (or a camera's raw file)", to_png},
    {0, 4, "II+\0", "BigTIFF", to_png},
    {0, 4, "MM\0+", "BigTIFF", to_png},
    {4, 8, "ftypheic", "HEIC", to_png},
    {4, 8, "ftypheix", "HEIC", to_png},
    {4, 8, "ftyphevc", "HEIC", to_png},
    {4, 8, "ftyphevx", "HEIC", to_png},
    {4, 8, "ftypmif1", "HEIF", to_png},
    {4, 8, "ftypmsf1", "HEIF", to_png},
    {4, 8, "ftypavif", "AVIF", to_png},
    {4, 8, "ftypavis", "AVIF", to_png},
    {4, 4, "ftyp", "video (MP4 family)", "extract a frame as PNG or JPEG"},
    {0, 12, "\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", to_png},
    {0, 2, "\xff\x0a", "JPEG XL", to_png},
    {0, 12, "\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000", to_png},
    {0, 4, "\xff\x4f\xff\x51", "JPEG 2000", to_png},
    {0, 5, "%PDF-", "PDF", "render the page to PNG"},
    {0, 4, "%!PS", "PostScript", "render the page to PNG"},
    {0, 4, "8BPS", "Photoshop document", to_png},
    {0, 4, "qoif", "QOI", to_png},
    {0, 4, "\x76\x2f\x31\x01", "OpenEXR", to_png},
    {0, 4, "\0\0\1\0", "Windows icon", to_png},
    {0, 2, "\x1f\x8b", "gzip archive", "unpack it first"},
    {0, 4, "PK\3\4", "zip archive", "unpack it first"},
    {0, 4, "GGUF", "GGUF model file", "give it as the model, not as the image"},
    {0, 2, "P7", "PAM", "convert it to PPM, PNG or JPEG"},
    {0, 3, "PF\n", "PFM", "convert it to PPM, PNG or JPEG"},
    {0, 3, "Pf\n", "PFM", "convert it to PPM, PNG or JPEG"},
};

static bool starts(const uint8_t *p, size_t size, size_t at, const char *s, size_t n) {
    return size >= at + n && memcmp(p + at, s, n) == 0;
}

static bool is_space(uint8_t c) { return c == ' ' || (c >= 9 && c <= 13); }

/* First letters after white space and a byte order mark, any case: markup has no fixed first byte. */
static bool starts_text(const uint8_t *p, size_t size, const char *s) {
    size_t i = starts(p, size, 0, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (i < size && is_space(p[i])) i++;
    for (; *s; s++, i++) {
        if (i >= size) return false;
        uint8_t c = p[i] >= 'A' && p[i] <= 'Z' ? (uint8_t)(p[i] + 32) : p[i];
        if (c != (uint8_t)*s) return false;
    }
    return true;
}

struct eye_image_kind eye_image_sniff(const uint8_t *p, size_t size) {
    struct eye_image_kind k = {EYE_IMAGE_RAW, NULL, NULL};
    if (starts(p, size, 0, "\xff\xd8\xff", 3)) {
        k.format = EYE_IMAGE_JPEG;
    } else if (starts(p, size, 0, "\x89PNG\r\n\x1a\n", 8)) {
        k.format = EYE_IMAGE_PNG;
    } else if (starts(p, size, 0, "RIFF", 4) && starts(p, size, 8, "WEBP", 4)) {
        k.format = EYE_IMAGE_WEBP;
    } else if (size >= 3 && p[0] == 'P' && p[1] >= '1' && p[1] <= '6' && (p[2] == '#' || is_space(p[2]))) {
        k.format = EYE_IMAGE_PNM;
    } else {
        for (size_t i = 0; i < EYE_COUNT(strangers); i++) {
            const struct magic *m = &strangers[i];
            if (!starts(p, size, m->offset, m->bytes, m->len)) continue;
            k.name = m->name;
            k.hint = m->hint;
            return k;
        }
        if (starts(p, size, 0, "BM", 2)) {
            k.format = EYE_IMAGE_BMP;
        } else if (starts_text(p, size, "<svg") || starts_text(p, size, "<?xml")) {
            k.name = "SVG or XML";
            k.hint = "render it to PNG";
        } else if (starts_text(p, size, "<!doctype") || starts_text(p, size, "<html") || starts_text(p, size, "<head")) {
            k.name = "an HTML page";
            k.hint = "a download that failed? fetch the picture itself";
        }
    }
    return k;
}
