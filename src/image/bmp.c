/* image/bmp: Windows and OS/2 bitmaps to RGB8. Own reader: the format is a header, an optional palette and rows.
 *
 *   offset size  meaning                                   offset size  meaning (after the size field at 14)
 *   0      2     "BM"                                      18     4     width (i32; OS/2 core header: u16)
 *   2      8     file size, reserved: often wrong, unused  22     4     height (i32, negative = top row first; core: u16)
 *   10     4     offset of the rows                        26     2     planes
 *   14     4     header size: 12 core, 40, 52, 56,         28     2     bits per pixel: 1 4 8 16 24 32
 *                64, 108, 124                              30     4     compression: 0 none, 1 RLE8, 2 RLE4, 3 and 6 masks
 *                                                          46     4     palette entries, 0 = 1 << bits
 *   54     12/16 red, green, blue (, alpha) masks: inside the header from size 52 on, behind it for size 40
 *   then the palette (B,G,R,x; core header B,G,R), then rows of 4-byte multiples, bottom row first
 * Alpha is dropped. Source: Microsoft's BITMAPV5HEADER page; deviations of real files as Pillow takes them. */
#include <string.h>

#include "image/decode.h"

enum { RAW = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3, ALPHA_BITFIELDS = 6, CORE_HEADER = 12, FILE_HEADER = 14 };

struct mask {
    uint32_t bits;
    int shift;
    uint32_t max; /* 0 = this colour is absent */
};

struct bmp {
    uint32_t header_size, data_offset, compression, n_colors;
    uint64_t width, height;
    bool top_down;
    int bits;
    struct mask mask[3];    /* red, green, blue; 16, 24 and 32 bits */
    uint8_t palette[256][3]; /* RGB; black where the file has none */
};

static enum eye_status set_masks(struct bmp *b, const uint32_t m[3], struct eye_err *err) {
    for (int i = 0; i < 3; i++) {
        struct mask *k = &b->mask[i];
        *k = (struct mask){m[i], 0, 0};
        if (!m[i]) continue;
        while (!(m[i] >> k->shift & 1)) k->shift++;
        k->max = m[i] >> k->shift;
        if (k->max & (k->max + 1))
            return eye_fail(err, EYE_E_CORRUPT, "BMP: colour mask %08x has a hole", (unsigned)m[i]);
    }
    return EYE_OK;
}

static enum eye_status read_masks(struct bmp *b, struct eye_cursor *c, struct eye_err *err) {
    static const uint32_t rgb555[3] = {0x7C00, 0x3E0, 0x1F}, rgb888[3] = {0xFF0000, 0xFF00, 0xFF};
    const uint32_t *usual = b->bits == 16 ? rgb555 : rgb888;
    if (b->compression != BITFIELDS && b->compression != ALPHA_BITFIELDS) return set_masks(b, usual, err);
    if (b->bits != 16 && b->bits != 24 && b->bits != 32)
        return eye_fail(err, EYE_E_CORRUPT, "BMP: colour masks with %d bits per pixel, expected 16, 24 or 32", b->bits);
    uint32_t m[3];
    eye_cursor_bytes(c, 4); /* important colours; the masks are at 54, whether they belong to the header or follow it */
    for (int i = 0; i < 3; i++) m[i] = eye_cursor_u32(c);
    if (b->header_size == 40 && b->compression == ALPHA_BITFIELDS) eye_cursor_u32(c);
    if (c->failed) return EYE_OK; /* the caller looks */
    return set_masks(b, m[0] | m[1] | m[2] ? m : usual, err);
}

static enum eye_status read_header(struct bmp *b, struct eye_cursor *c, struct eye_err *err) {
    c->pos = 10;
    b->data_offset = eye_cursor_u32(c);
    b->header_size = eye_cursor_u32(c);
    uint32_t s = b->header_size;
    if (!c->failed && s != CORE_HEADER && s != 40 && s != 52 && s != 56 && s != 64 && s != 108 && s != 124)
        return eye_fail(err, EYE_E_UNSUPPORTED, "BMP: header of %u bytes, expected 12, 40, 52, 56, 64, 108 or 124",
                        (unsigned)s);
    if (s == CORE_HEADER) {
        b->width = eye_cursor_u16(c);
        b->height = eye_cursor_u16(c);
        eye_cursor_u16(c); /* planes */
        b->bits = eye_cursor_u16(c);
    } else {
        int64_t w = (int32_t)eye_cursor_u32(c), h = (int32_t)eye_cursor_u32(c);
        if (w < 0) return eye_fail(err, EYE_E_CORRUPT, "BMP: width %lld", (long long)w);
        b->width = (uint64_t)w;
        b->top_down = h < 0;
        b->height = (uint64_t)(h < 0 ? -h : h);
        eye_cursor_u16(c);
        b->bits = eye_cursor_u16(c);
        b->compression = eye_cursor_u32(c);
        eye_cursor_bytes(c, 12); /* size of the rows, resolution */
        b->n_colors = eye_cursor_u32(c);
    }
    if (c->failed) return EYE_OK;
    if (b->bits != 1 && b->bits != 4 && b->bits != 8 && b->bits != 16 && b->bits != 24 && b->bits != 32)
        return eye_fail(err, EYE_E_UNSUPPORTED, "BMP: %d bits per pixel, expected 1, 4, 8, 16, 24 or 32", b->bits);
    if (b->compression > BITFIELDS && b->compression != ALPHA_BITFIELDS)
        return eye_fail(err, EYE_E_UNSUPPORTED, "BMP: compression %u (4 is JPEG, 5 is PNG inside): convert it to PNG",
                        (unsigned)b->compression);
    if ((b->compression == RLE8 && b->bits != 8) || (b->compression == RLE4 && b->bits != 4))
        return eye_fail(err, EYE_E_CORRUPT, "BMP: RLE%d with %d bits per pixel", b->compression == RLE8 ? 8 : 4, b->bits);
    return read_masks(b, c, err);
}

static void read_palette(struct bmp *b, struct eye_cursor *c) {
    if (b->bits > 8) return;
    uint32_t most = 1u << b->bits, n = b->n_colors ? b->n_colors : most;
    size_t entry = b->header_size == CORE_HEADER ? 3 : 4;
    c->pos = EYE_MIN((size_t)FILE_HEADER + b->header_size, c->size);
    size_t start = c->pos;
    for (uint32_t i = 0; i < n && i < most; i++) {
        const uint8_t *p = eye_cursor_left(c) >= entry ? eye_cursor_bytes(c, entry) : NULL;
        if (!p) break;
        b->palette[i][0] = p[2];
        b->palette[i][1] = p[1];
        b->palette[i][2] = p[0];
    }
    /* Some writers forget the palette in the offset, or leave it 0. */
    uint64_t after = start + (uint64_t)n * entry;
    if (b->data_offset == 0 || b->data_offset == start) b->data_offset = (uint32_t)EYE_MIN(after, UINT32_MAX);
}

static uint8_t sample(uint32_t pixel, const struct mask *m) {
    if (m->max == 0) return 0;
    uint32_t v = (pixel & m->bits) >> m->shift;
    return m->max == 255 ? (uint8_t)v : (uint8_t)((uint64_t)v * 255 / m->max);
}

static void unpack_row(const struct bmp *b, const uint8_t *s, uint8_t *d) {
    size_t width = (size_t)b->width;
    if (b->bits <= 8) {
        int per_byte = 8 / b->bits, top = 8 - b->bits, mask = (1 << b->bits) - 1;
        for (size_t x = 0; x < width; x++, d += 3) {
            int in = (int)(x % (size_t)per_byte);
            memcpy(d, b->palette[s[x / (size_t)per_byte] >> (top - in * b->bits) & mask], 3);
        }
    } else {
        int n = b->bits / 8;
        for (size_t x = 0; x < width; x++, d += 3, s += n) {
            uint32_t v = (uint32_t)s[0] | (uint32_t)s[1] << 8;
            if (n >= 3) v |= (uint32_t)s[2] << 16;
            if (n == 4) v |= (uint32_t)s[3] << 24;
            for (int i = 0; i < 3; i++) d[i] = sample(v, &b->mask[i]);
        }
    }
}

static enum eye_status read_raw(const struct bmp *b, struct eye_cursor *c, struct eye_image *img, uint8_t *pixels,
                                struct eye_err *err) {
    size_t used = ((size_t)b->width * (size_t)b->bits + 7) / 8, stride = EYE_ALIGN_UP(used, (size_t)4);
    for (int y = 0; y < img->height; y++) {
        const uint8_t *s = eye_cursor_bytes(c, used);
        if (!s)
            return eye_fail(err, EYE_E_CORRUPT, "BMP: data ends at row %d of %d (%d %%): truncated file?", y, img->height,
                            (int)((int64_t)y * 100 / img->height));
        int row = b->top_down ? y : img->height - 1 - y;
        unpack_row(b, s, pixels + (size_t)row * img->stride);
        eye_cursor_bytes(c, EYE_MIN(stride - used, eye_cursor_left(c))); /* the last row's padding is often missing */
    }
    return EYE_OK;
}

/* Where the next run goes; y counts file rows. Runs beyond a row's or the picture's end are clipped, as every viewer does. */
struct pen {
    const struct bmp *b;
    struct eye_image *img;
    uint8_t *pixels;
    uint64_t x, y;
};

static void put(struct pen *p, int index) {
    if (p->x < p->b->width && p->y < p->b->height) {
        uint64_t row = p->b->top_down ? p->y : p->b->height - 1 - p->y;
        memcpy(p->pixels + (size_t)row * p->img->stride + (size_t)p->x * 3, p->b->palette[index], 3);
    }
    p->x++;
}

/* Two-byte codes. (n, v): n pixels of v (RLE4: alternating nibbles). (0,0) end of row, (0,1) end of picture, (0,2) move by two
 * bytes, (0,n) n literal pixels, padded to an even number of bytes. */
static enum eye_status read_rle(const struct bmp *b, struct eye_cursor *c, struct eye_image *img, uint8_t *pixels,
                                struct eye_err *err) {
    struct pen p = {b, img, pixels, 0, 0};
    bool nibbles = b->compression == RLE4;
    for (int y = 0; y < img->height; y++) /* what no run reaches has index 0 */
        for (int x = 0; x < img->width; x++) memcpy(pixels + (size_t)y * img->stride + (size_t)x * 3, b->palette[0], 3);
    while (p.y < b->height) {
        uint8_t n = eye_cursor_u8(c), v = eye_cursor_u8(c);
        if (c->failed) break;
        if (n > 0) {
            for (int i = 0; i < n; i++) put(&p, !nibbles ? v : i % 2 ? v & 15 : v >> 4);
        } else if (v == 0) {
            p.x = 0;
            p.y++;
        } else if (v == 1) {
            return EYE_OK;
        } else if (v == 2) {
            p.x += eye_cursor_u8(c);
            p.y += eye_cursor_u8(c);
        } else {
            size_t bytes = nibbles ? (v + 1u) / 2 : v;
            const uint8_t *s = eye_cursor_bytes(c, bytes);
            if (!s) break;
            for (int i = 0; i < v; i++) put(&p, !nibbles ? s[i] : i % 2 ? s[i / 2] & 15 : s[i / 2] >> 4);
            if (bytes % 2) eye_cursor_bytes(c, EYE_MIN((size_t)1, eye_cursor_left(c)));
        }
        if (p.y + 1 == b->height && p.x >= b->width) return EYE_OK; /* full: the end code is often missing */
    }
    if (!c->failed) return EYE_OK;
    return eye_fail(err, EYE_E_CORRUPT, "BMP: RLE data ends at row %llu of %d (%llu %%): truncated file?",
                    (unsigned long long)p.y, img->height, (unsigned long long)(p.y * 100 / b->height));
}

enum eye_status eye_bmp_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err) {
    struct bmp b = {0};
    struct eye_cursor c = eye_cursor_make(job->p, job->size);
    if (job->size >= FILE_HEADER) EYE_TRY(read_header(&b, &c, err));
    if (c.failed || job->size < FILE_HEADER)
        return eye_fail(err, EYE_E_CORRUPT, "BMP: %zu bytes end inside the header (truncated?)", job->size);
    if (b.bits > 8 && b.data_offset == 0) b.data_offset = (uint32_t)EYE_MAX(c.pos, (size_t)FILE_HEADER + b.header_size);
    read_palette(&b, &c);
    if (b.data_offset > job->size)
        return eye_fail(err, EYE_E_CORRUPT, "BMP: rows begin at byte %u of %zu (truncated?)", (unsigned)b.data_offset,
                        job->size);
    c.pos = b.data_offset;
    bool rle = b.compression == RLE8 || b.compression == RLE4;
    uint64_t row = (b.width * (uint64_t)b.bits + 7) / 8;
    if (!rle && b.width <= EYE_IMAGE_MAX_SIDE && b.height <= EYE_IMAGE_MAX_SIDE && row * b.height > eye_cursor_left(&c))
        return eye_fail(err, EYE_E_CORRUPT, "BMP: %llu x %llu pixels need %llu bytes, %zu are there (%llu %%): truncated file?",
                        (unsigned long long)b.width, (unsigned long long)b.height, (unsigned long long)(row * b.height),
                        eye_cursor_left(&c), (unsigned long long)(eye_cursor_left(&c) * 100 / (row * b.height)));
    uint8_t *pixels;
    EYE_TRY(eye_image_alloc(job, "BMP", b.width, b.height, img, &pixels, err));
    return rle ? read_rle(&b, &c, img, pixels, err) : read_raw(&b, &c, img, pixels, err);
}
