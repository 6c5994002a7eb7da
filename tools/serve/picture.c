/* picture: see picture.h. */
#include "picture.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- base64 ---- */

static int digit(unsigned char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    if (c == '/' || c == '_') return 63;
    return -1;
}

/* Groups of four digits, while there is nothing else; how many bytes of text. */
static size_t whole_groups(const char *text, size_t n, unsigned char *out) {
    uint8_t value[256];
    size_t i = 0;
    for (int c = 0; c < 256; c++) value[c] = (uint8_t)digit((unsigned char)c);
    for (; i + 4 <= n; i += 4, out += 3) {
        const unsigned char *p = (const unsigned char *)text + i;
        uint32_t a = value[p[0]], b = value[p[1]], c = value[p[2]], d = value[p[3]];
        if ((a | b | c | d) > 63) break;
        a = a << 18 | b << 12 | c << 6 | d;
        out[0] = (unsigned char)(a >> 16);
        out[1] = (unsigned char)(a >> 8);
        out[2] = (unsigned char)a;
    }
    return i;
}

static bool is_blank(unsigned char c) { return c == '\n' || c == '\r' || c == ' ' || c == '\t'; }

bool serve_base64(const char *text, size_t n, unsigned char *out, size_t *n_out, size_t *at) {
    uint32_t bits = 0;
    size_t n_whole = whole_groups(text, n, out), n_digits = n_whole, n_pad = 0;
    *n_out = n_whole / 4 * 3;
    for (size_t i = n_whole; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        int d = digit(c);
        *at = i;
        if (is_blank(c)) continue;
        if (c == '=' && n_digits % 4 >= 2 && n_pad < 4 - n_digits % 4) {
            n_pad++;
            continue;
        }
        if (d < 0 || n_pad) return false;
        bits = bits << 6 | (uint32_t)d;
        if (++n_digits % 4 == 0) {
            out[(*n_out)++] = (unsigned char)(bits >> 16);
            out[(*n_out)++] = (unsigned char)(bits >> 8);
            out[(*n_out)++] = (unsigned char)bits;
        }
    }
    *at = n;
    size_t rest = n_digits % 4;
    if (rest == 1 || (n_pad && rest + n_pad != 4)) return false;
    if (rest >= 2) out[(*n_out)++] = (unsigned char)(bits >> (rest == 2 ? 4 : 10));
    if (rest == 3) out[(*n_out)++] = (unsigned char)(bits >> 2);
    return true;
}

/* ---- the list ---- */

bool serve_pictures_add(struct serve_pictures *p, json_t *url, const char *text, size_t n, const char *where, size_t most,
                        struct serve_error *e) {
    if (p->n >= most)
        return serve_refuse(e, 400, "too_many_images", where, "more than %zu images in one request (--max-images)", most);
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 4;
        struct eye_image *image = realloc(p->image, cap * sizeof *image);
        if (image) p->image = image;
        struct serve_picture_from *from = realloc(p->from, cap * sizeof *from);
        if (from) p->from = from;
        if (!image || !from) return serve_refuse(e, 503, "out_of_memory", where, "no memory for an image");
        p->cap = cap;
    }
    struct serve_picture_from *from = &p->from[p->n++];
    *from = (struct serve_picture_from){.url = json_incref(url), .text = text ? text : json_string_value(url),
                                        .n = text ? n : json_string_length(url)};
    strncpy(from->where, where, sizeof from->where - 1);
    return true;
}

void serve_pictures_clear(struct serve_pictures *p) {
    for (size_t i = 0; i < p->n; i++) json_decref(p->from[i].url);
    for (size_t i = 0; i < p->n_decoded; i++)
        if (p->from[i].held) serve_seen_release(p->seen, p->from[i].held);
        else eye_image_free(&p->image[i]);
    if (p->budget) atomic_fetch_sub(&p->budget->used, p->bytes);
    free(p->image);
    free(p->from);
    *p = (struct serve_pictures){0};
}

/* ---- addresses ---- */

static bool begins(const char *text, size_t n, const char *with) {
    return n >= strlen(with) && strncasecmp(text, with, strlen(with)) == 0;
}

/* "data:image/png;base64," with whatever parameters; returns what follows. */
static const char *data_of(const char *url, size_t n, const char *where, struct serve_error *e) {
    const char *type = url + 5, *comma = memchr(url, ',', n < 201 ? n : 201), *base64 = NULL;
    if (!comma) {
        serve_refuse(e, 400, "invalid_image", where, "a data: URI without a comma after its media type");
        return NULL;
    }
    for (const char *p = type; p < comma; p++)
        if (*p == ';' && p + 7 == comma && begins(p, 7, ";base64")) base64 = p;
    if (!base64) {
        serve_refuse(e, 400, "invalid_image", where, "a data: URI that is not ;base64, expected data:image/...;base64,...");
        return NULL;
    }
    if (base64 != type && !begins(type, (size_t)(base64 - type), "image/")) {
        serve_refuse(e, 400, "invalid_image", where, "a data: URI of type %.*s, expected image/...", (int)(base64 - type),
                     type);
        return NULL;
    }
    return comma + 1;
}

/* The bytes of a data: URI, malloc'd. */
static bool take_data(const struct serve_picture_from *from, unsigned char **bytes, size_t *n, struct serve_error *e) {
    const char *where = from->where, *text = data_of(from->text, from->n, where, e);
    size_t len = text ? (size_t)(from->text + from->n - text) : 0, at;
    if (!text) return false;
    if (!(*bytes = malloc(len / 4 * 3 + 3)))
        return serve_refuse(e, 503, "out_of_memory", where, "no memory for %zu bytes of an image", len / 4 * 3);
    bool ok = serve_base64(text, len, *bytes, n, &at);
    if (!ok)
        serve_refuse(e, 400, "invalid_image", where, "its base64 is wrong at character %zu of %zu", at, len);
    else if (*n == 0)
        ok = serve_refuse(e, 400, "invalid_image", where, "there is nothing after the comma of the data: URI");
    if (!ok) free(*bytes);
    return ok;
}

static bool take_bytes(const struct serve_picture_from *from, const struct serve_fetch *fetch, unsigned char **bytes, size_t *n,
                       struct serve_error *e) {
    const char *url = json_string_value(from->url), *where = from->where;
    if (begins(from->text, from->n, "data:")) return take_data(from, bytes, n, e);
    if (!begins(url, from->n, "http:") && !begins(url, from->n, "https:"))
        return serve_refuse(e, 400, "invalid_image", where, "an address that begins \"%.16s\", expected "
                            "data:image/...;base64,...", url);
    if (fetch && fetch->n_allow) return serve_fetch(fetch, url, bytes, n, where, e);
    return serve_refuse(e, 400, "remote_image", where, "this server fetches no images (--allow-url); send it as "
                        "data:image/...;base64,...");
}

/* ---- pixels ---- */

/* What is left of the budget bounds the picture before its memory is taken. */
static bool decode(struct serve_pictures *p, size_t i, const unsigned char *bytes, size_t n, uint64_t max_pixels,
                   struct serve_error *e) {
    struct serve_picture_from *from = &p->from[i];
    struct eye_err err = {0};
    uint64_t used = atomic_load(&p->budget->used), left = used < p->budget->most ? (p->budget->most - used) / 3 : 0;
    struct eye_image_opts o = {.max_pixels = left < max_pixels ? left : max_pixels};
    if (left == 0) return serve_refuse(e, 503, "busy", from->where, "the images of other requests take all memory: try again");
    from->held = p->seen ? serve_seen_find(p->seen, bytes, n, &p->image[i]) : NULL;
    enum eye_status st = from->held ? EYE_OK : eye_image_decode(bytes, n, &o, &p->image[i], &err);
    if (st == EYE_OK && p->seen && !from->held) from->held = serve_seen_keep(p->seen, bytes, n, &p->image[i]);
    if (st == EYE_OK) {
        uint64_t size = (uint64_t)p->image[i].stride * (uint64_t)p->image[i].height;
        p->n_decoded = i + 1;
        p->bytes += size;
        atomic_fetch_add(&p->budget->used, size);
        return true;
    }
    if (st == EYE_E_LIMIT && left < max_pixels)
        return serve_refuse(e, 503, "busy", from->where, "the images of other requests take too much memory: try again");
    if (st == EYE_E_NOMEM) return serve_refuse(e, 503, "out_of_memory", from->where, "%s", err.text);
    return serve_refuse(e, st == EYE_E_LIMIT ? 413 : 400, st == EYE_E_LIMIT ? "image_too_large" : "invalid_image", from->where,
                        "%s", err.text);
}

static bool one(struct serve_pictures *p, size_t i, const struct serve_picture_opts *o, struct serve_error *e) {
    unsigned char *bytes;
    size_t n;
    if (!take_bytes(&p->from[i], o->fetch, &bytes, &n, e)) return false;
    json_string_setn(p->from[i].url, "", 0); /* the text is not needed any more */
    bool ok = decode(p, i, bytes, n, o->max_pixels, e);
    free(bytes);
    return ok;
}

bool serve_pictures_decode(struct serve_pictures *p, const struct serve_picture_opts *o, struct serve_error *e) {
    uint64_t begin = now_us();
    p->budget = o->budget;
    p->seen = o->seen;
    for (size_t i = 0; i < p->n; i++)
        if (!one(p, i, o, e)) return false;
    p->decode_us = p->n ? now_us() - begin : 0;
    return true;
}
