/* picture: images of a request, from data: URIs, and addresses where that is allowed, to pixels. Which addresses are taken,
 * how large, how many. */
#ifndef EYELET_SERVE_PICTURE_H
#define EYELET_SERVE_PICTURE_H

#include <jansson.h>
#include <stdatomic.h>

#include "buf.h"
#include "eyelet/eyelet.h"
#include "fetch.h"
#include "seen.h"

/* Bytes of pixels that all requests together may hold. */
struct serve_budget {
    _Atomic uint64_t used;
    uint64_t most;
};

struct serve_picture_from {
    json_t *url;              /* held */
    const char *text;         /* [n] the address; not NUL-terminated */
    size_t n;
    char where[64];           /* the field, for errors */
    struct serve_seen_entry *held; /* who has its pixels; NULL = the image itself */
};

struct serve_pictures {
    struct eye_image *image;  /* [n] decoded so far: the first n_decoded */
    struct serve_picture_from *from; /* [n] */
    size_t n, n_decoded, cap;
    uint64_t bytes;           /* of their pixels, taken from budget */
    uint64_t decode_us;
    struct serve_budget *budget;
    struct serve_seen *seen;
};

struct serve_picture_opts {
    uint64_t max_pixels;      /* of each */
    struct serve_budget *budget;
    const struct serve_fetch *fetch; /* what may come from other machines; NULL = nothing */
    struct serve_seen *seen;  /* pictures decoded before; NULL = none. Outlives the pictures */
};

/* Notes an image's address; it is looked at when it is decoded. text: [n] the address where it is not url's own string; it must
 * live until then. */
bool serve_pictures_add(struct serve_pictures *p, json_t *url, const char *text, size_t n, const char *where, size_t most,
                        struct serve_error *e);
/* All to pixels. */
bool serve_pictures_decode(struct serve_pictures *p, const struct serve_picture_opts *o, struct serve_error *e);
void serve_pictures_clear(struct serve_pictures *p);

/* Base64 (RFC 4648, both alphabets, white space skipped, padding complete or absent) into out [n / 4 * 3 + 3]. False: *at is
 * the first byte that is wrong, n where the text ends too early. */
bool serve_base64(const char *text, size_t n, unsigned char *out, size_t *n_out, size_t *at);

#endif
