/* picture: images of a request, from data: URIs, and addresses where that is allowed, to pixels. Which addresses are taken,
 * how large, how many. */
#ifndef EYELET_SERVE_PICTURE_H
#define EYELET_SERVE_PICTURE_H

#include <jansson.h>
#include <stdatomic.h>

#include "buf.h"
#include "eyelet/eyelet.h"
#include "fetch.h"

/* Bytes of pixels that all requests together may hold. */
struct serve_budget {
    _Atomic uint64_t used;
    uint64_t most;
};

struct serve_pictures {
    struct eye_image *image;  /* [n] decoded so far: the first n_decoded */
    json_t **url;             /* [n] held until it is decoded */
    char (*where)[64];        /* [n] the field, for errors */
    size_t n, n_decoded, cap;
    uint64_t bytes;           /* of their pixels, taken from budget */
    uint64_t decode_us;
    struct serve_budget *budget;
};

/* Notes an image's address; it is looked at when it is decoded. */
bool serve_pictures_add(struct serve_pictures *p, json_t *url, const char *where, size_t most, struct serve_error *e);
/* All to pixels. max_pixels: of each. fetch: what may come from other machines; NULL = nothing. */
bool serve_pictures_decode(struct serve_pictures *p, uint64_t max_pixels, struct serve_budget *budget,
                           const struct serve_fetch *fetch, struct serve_error *e);
void serve_pictures_clear(struct serve_pictures *p);

/* Base64 (RFC 4648, both alphabets, white space skipped, padding complete or absent) into out [n / 4 * 3 + 3]. False: *at is
 * the
 * first byte that is wrong, n where the text ends too early. */
bool serve_base64(const char *text, size_t n, unsigned char *out, size_t *n_out, size_t *at);

#endif
