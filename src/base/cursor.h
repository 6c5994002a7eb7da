/* Byte cursor: the only way readers touch outside bytes. Bounds-checked, sticky error with the byte offset. Little-endian. */
#ifndef EYE_CURSOR_H
#define EYE_CURSOR_H

#include "base/base.h"

struct eye_cursor {
    const uint8_t *p;   /* whole range, borrowed */
    size_t size, pos;
    bool failed;        /* sticky: a read went past the end; later reads give 0 / NULL */
    size_t fail_pos;    /* where the first failed read began */
};
static inline struct eye_cursor eye_cursor_make(const void *p, size_t size) {
    struct eye_cursor c = {(const uint8_t *)p, size, 0, false, 0};
    return c;
}
/* n bytes in place, or NULL (and failed) when fewer are left. */
const uint8_t *eye_cursor_bytes(struct eye_cursor *c, size_t n);
uint8_t eye_cursor_u8(struct eye_cursor *c);
uint16_t eye_cursor_u16(struct eye_cursor *c);
uint32_t eye_cursor_u32(struct eye_cursor *c);
uint64_t eye_cursor_u64(struct eye_cursor *c);
uint16_t eye_cursor_u16be(struct eye_cursor *c);
uint32_t eye_cursor_u32be(struct eye_cursor *c);
static inline size_t eye_cursor_left(const struct eye_cursor *c) { return c->size - c->pos; }

#endif
