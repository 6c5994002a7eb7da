/* image/exif: the one EXIF field that changes pixels, orientation, and the turn it asks for. Never an error: a block that
 * makes no sense means "upright", as in every viewer. Knows nothing of the container that held the block.
 *
 * EXIF is a TIFF header in front of a list of tagged values (EXIF 2.32, CIPA DC-008, section 4.5):
 *   offset size  meaning
 *   0      2     "II" little-endian or "MM" big-endian
 *   2      2     42
 *   4      4     offset of IFD0 from the start of this header
 *   IFD: u16 count, then count entries of 12 bytes: u16 tag, u16 type, u32 number of values, 4 bytes value or its offset
 */
#include <string.h>

#include "image/decode.h"

enum { TAG_ORIENTATION = 0x0112, TYPE_BYTE = 1, TYPE_SHORT = 3, TYPE_LONG = 4 };

static uint16_t rd16(struct eye_cursor *c, bool big) { return big ? eye_cursor_u16be(c) : eye_cursor_u16(c); }
static uint32_t rd32(struct eye_cursor *c, bool big) { return big ? eye_cursor_u32be(c) : eye_cursor_u32(c); }

/* Value of a one-element entry stored in place; the type decides how many of the four bytes count. */
static uint32_t entry_value(struct eye_cursor *c, uint16_t type, bool big) {
    if (type == TYPE_BYTE) return eye_cursor_u8(c);
    if (type == TYPE_SHORT) return rd16(c, big);
    return type == TYPE_LONG ? rd32(c, big) : 0;
}

int eye_exif_orientation(const uint8_t *p, size_t size) {
    if (size >= 6 && memcmp(p, "Exif\0\0", 6) == 0) {
        p += 6;
        size -= 6;
    }
    if (size < 8 || (memcmp(p, "II", 2) != 0 && memcmp(p, "MM", 2) != 0)) return 1;
    bool big = p[0] == 'M';
    struct eye_cursor c = eye_cursor_make(p, size);
    eye_cursor_bytes(&c, 2);
    if (rd16(&c, big) != 42) return 1;
    uint32_t ifd0 = rd32(&c, big);
    if (ifd0 > size) return 1;
    c.pos = ifd0;
    uint16_t n = rd16(&c, big);
    for (uint16_t i = 0; i < n && !c.failed; i++) {
        size_t entry = c.pos;
        uint16_t tag = rd16(&c, big), type = rd16(&c, big);
        uint32_t count = rd32(&c, big), value = entry_value(&c, type, big);
        if (tag == TAG_ORIENTATION) return !c.failed && count == 1 && value >= 1 && value <= 8 ? (int)value : 1;
        if (c.size - entry < 12) break;
        c.pos = entry + 12;
    }
    return 1;
}

/* Stored orientation: where row 0 and column 0 of the stored pixels belong in the upright picture.
 *   1 top, left   2 top, right   3 bottom, right   4 bottom, left
 *   5 left, top   6 right, top   7 right, bottom    8 left, bottom */
void eye_image_orient(const uint8_t *src, int w, int h, int orientation, uint8_t *dst) {
    bool swap = orientation >= 5;
    bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8; /* of the source column */
    bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7; /* of the source row */
    int dw = swap ? h : w, dh = swap ? w : h;
    enum { TILE = 32 }; /* keeps both sides of a transposition in L1 */
    for (int ty = 0; ty < dh; ty += TILE) {
        for (int tx = 0; tx < dw; tx += TILE) {
            int y_end = EYE_MIN(ty + TILE, dh), x_end = EYE_MIN(tx + TILE, dw);
            for (int y = ty; y < y_end; y++) {
                uint8_t *d = dst + ((size_t)y * (size_t)dw + (size_t)tx) * 3;
                for (int x = tx; x < x_end; x++, d += 3) {
                    int sx = swap ? y : x, sy = swap ? x : y;
                    if (flip_x) sx = w - 1 - sx;
                    if (flip_y) sy = h - 1 - sy;
                    const uint8_t *s = src + ((size_t)sy * (size_t)w + (size_t)sx) * 3;
                    d[0] = s[0];
                    d[1] = s[1];
                    d[2] = s[2];
                }
            }
        }
    }
}
