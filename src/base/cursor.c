/* base/cursor: bounds-checked little-endian (and, for image headers, big-endian) reads. Bytes are put together one by one,
 * so neither alignment nor the host's byte order matters. */
#include "base/cursor.h"

const uint8_t *eye_cursor_bytes(struct eye_cursor *c, size_t n) {
    if (c->failed) return NULL;
    if (n > eye_cursor_left(c)) {
        c->failed = true;
        c->fail_pos = c->pos;
        return NULL;
    }
    /* An empty file has p == NULL, and n == 0 there must not look like a failure. */
    const uint8_t *p = c->p ? c->p + c->pos : (const uint8_t *)"";
    c->pos += n;
    return p;
}

static uint64_t little(struct eye_cursor *c, size_t n) {
    const uint8_t *p = eye_cursor_bytes(c, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint32_t big(struct eye_cursor *c, size_t n) {
    const uint8_t *p = eye_cursor_bytes(c, n);
    uint32_t v = 0;
    for (size_t i = 0; p && i < n; i++) v = v << 8 | p[i];
    return v;
}

uint8_t eye_cursor_u8(struct eye_cursor *c) { return (uint8_t)little(c, 1); }
uint16_t eye_cursor_u16(struct eye_cursor *c) { return (uint16_t)little(c, 2); }
uint32_t eye_cursor_u32(struct eye_cursor *c) { return (uint32_t)little(c, 4); }
uint64_t eye_cursor_u64(struct eye_cursor *c) { return little(c, 8); }
uint16_t eye_cursor_u16be(struct eye_cursor *c) { return (uint16_t)big(c, 2); }
uint32_t eye_cursor_u32be(struct eye_cursor *c) { return big(c, 4); }
