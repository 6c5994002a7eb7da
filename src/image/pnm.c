/* image/pnm: PBM, PGM and PPM, plain (P1 P2 P3) and raw (P4 P5 P6), to RGB8. Own reader, always built: the format that needs
 * no library.
 *
 * Header: magic, then width, height and (not for P1, P4) the largest value as decimal numbers between white space; '#' starts
 * a comment up to the line's end; one white space byte ends the header. Raw values above 255 take two bytes, big-endian; raw
 * bits are packed from the top, rows padded to a byte, 1 is black. Source: netpbm's format pages.
 * Values are scaled by round-half-even(v / max * 255) in double: what Pillow computes for every maximum but 16-bit grey. */
#include <math.h>
#include <string.h>

#include "image/decode.h"

struct pnm {
    struct eye_cursor c;
    uint32_t width, height, max;
    int channels; /* 1 or 3 */
    bool plain, bits;
    uint8_t *lut; /* [max + 1] */
};

static bool is_space(uint8_t ch) { return ch == ' ' || (ch >= 9 && ch <= 13); }

/* The next byte with comments read as one white space, as netpbm does. 0 and failed at the end. */
static uint8_t next(struct eye_cursor *c) {
    uint8_t ch = eye_cursor_u8(c);
    if (ch == '#')
        while (!c->failed && ch != '\n' && ch != '\r') ch = eye_cursor_u8(c);
    return ch;
}

/* One decimal number and the white space byte after it. At the end of the file a number may stand without one. */
static bool number(struct eye_cursor *c, uint32_t *out) {
    uint8_t ch = next(c);
    while (!c->failed && is_space(ch)) ch = next(c);
    if (c->failed || ch < '0' || ch > '9') return false;
    uint32_t v = 0;
    for (;;) {
        v = v * 10 + (ch - '0');
        if (v > 99999999) return false;
        if (eye_cursor_left(c) == 0) break;
        ch = next(c);
        if (c->failed || is_space(ch)) break;
        if (ch < '0' || ch > '9') return false;
    }
    *out = v;
    return true;
}

static enum eye_status read_header(struct pnm *p, struct eye_err *err) {
    struct eye_cursor *c = &p->c;
    eye_cursor_u8(c);
    int kind = eye_cursor_u8(c) - '0';
    p->plain = kind <= 3;
    p->bits = kind == 1 || kind == 4;
    p->channels = kind == 3 || kind == 6 ? 3 : 1;
    p->max = 1;
    if (!number(c, &p->width) || !number(c, &p->height) || (!p->bits && !number(c, &p->max)))
        return eye_fail(err, EYE_E_CORRUPT, "PNM: header ends or has no number at byte %zu, expected width, height%s", c->pos,
                        p->bits ? "" : " and largest value");
    if (p->max < 1 || p->max > 65535)
        return eye_fail(err, EYE_E_CORRUPT, "PNM: largest value %u, expected 1 to 65535", (unsigned)p->max);
    return EYE_OK;
}

static enum eye_status cut(const struct pnm *p, uint32_t row, struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "PNM: data ends at row %u of %u (%u %%): truncated file?", (unsigned)row,
                    (unsigned)p->height, (unsigned)((uint64_t)row * 100 / p->height));
}

static void spread(uint8_t *d, int channels, uint32_t i, uint8_t v) {
    if (channels == 3)
        d[i] = v;
    else
        d[i * 3] = d[i * 3 + 1] = d[i * 3 + 2] = v;
}

static enum eye_status raw_row(struct pnm *p, uint8_t *d, uint32_t row, struct eye_err *err) {
    uint32_t n = p->width * (uint32_t)p->channels;
    size_t wide = p->max > 255 ? 2 : 1;
    const uint8_t *s = eye_cursor_bytes(&p->c, p->bits ? (n + 7) / 8 : n * wide);
    if (!s) return cut(p, row, err);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v;
        if (p->bits)
            v = !(s[i / 8] >> (7 - i % 8) & 1);
        else
            v = wide == 2 ? (uint32_t)s[i * 2] << 8 | s[i * 2 + 1] : s[i];
        spread(d, p->channels, i, p->lut[EYE_MIN(v, p->max)]);
    }
    return EYE_OK;
}

static enum eye_status plain_row(struct pnm *p, uint8_t *d, uint32_t row, struct eye_err *err) {
    uint32_t n = p->width * (uint32_t)p->channels;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = 2;
        bool good;
        if (p->bits) { /* digits may touch */
            uint8_t ch = next(&p->c);
            while (!p->c.failed && is_space(ch)) ch = next(&p->c);
            good = !p->c.failed && (ch == '0' || ch == '1');
            v = ch == '0';
        } else {
            good = number(&p->c, &v) && v <= p->max;
        }
        if (!good && (p->c.failed || eye_cursor_left(&p->c) == 0)) return cut(p, row, err);
        if (!good)
            return eye_fail(err, EYE_E_CORRUPT, "PNM: row %u of %u, byte %zu: expected a number up to %u", (unsigned)row,
                            (unsigned)p->height, p->c.pos, (unsigned)p->max);
        spread(d, p->channels, i, p->lut[v]);
    }
    return EYE_OK;
}

static enum eye_status read_rows(struct pnm *p, const struct eye_image_job *job, struct eye_image *img, struct eye_err *err) {
    /* The fewest bytes that could hold the picture: before its memory is taken. */
    uint64_t samples = (uint64_t)p->width * (uint64_t)p->channels * p->height;
    uint64_t least = p->plain ? (p->bits ? samples : samples * 2 - (samples > 0))
                     : p->bits ? (uint64_t)((p->width + 7) / 8) * p->height
                               : samples * (p->max > 255 ? 2 : 1);
    if (p->width > 0 && p->height > 0 && p->width <= EYE_IMAGE_MAX_SIDE && p->height <= EYE_IMAGE_MAX_SIDE &&
        least > eye_cursor_left(&p->c))
        return eye_fail(err, EYE_E_CORRUPT,
                        "PNM: %u x %u pixels need at least %llu bytes, %zu are there (%llu %%): truncated file?",
                        (unsigned)p->width, (unsigned)p->height, (unsigned long long)least, eye_cursor_left(&p->c),
                        (unsigned long long)(eye_cursor_left(&p->c) * 100 / least));
    uint8_t *pixels;
    EYE_TRY(eye_image_alloc(job, "PNM", p->width, p->height, img, &pixels, err));
    for (uint32_t v = 0; v <= p->max; v++) p->lut[v] = (uint8_t)nearbyint((double)v / (double)p->max * 255.0);
    for (uint32_t y = 0; y < p->height; y++) {
        uint8_t *d = pixels + (size_t)y * img->stride;
        EYE_TRY(p->plain ? plain_row(p, d, y, err) : raw_row(p, d, y, err));
    }
    return EYE_OK;
}

enum eye_status eye_pnm_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err) {
    struct pnm p = {.c = eye_cursor_make(job->p, job->size)};
    EYE_TRY(read_header(&p, err));
    size_t bytes = (size_t)p.max + 1;
    p.lut = eye_alloc_raw(job->alloc, bytes);
    if (!p.lut) return eye_fail_nomem(err, bytes);
    enum eye_status st = read_rows(&p, job, img, err);
    eye_alloc_free(job->alloc, p.lut, bytes);
    return st;
}
