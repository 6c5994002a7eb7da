/* test/fuzz: targets whose bytes are a GGUF file that something else is read from. */
#ifndef EYE_FUZZ_GGUF_H
#define EYE_FUZZ_GGUF_H

#include "format/gguf.h"
#include "fuzz/fuzz.h"

static inline int eye_fuzz_gguf(const uint8_t *p, size_t n,
                                enum eye_status (*read)(const struct eye_gguf *g, struct eye_arena *arena, struct eye_err *err)) {
    struct eye_gguf g;
    struct eye_arena arena;
    struct eye_err err = {0};
    enum eye_status st = eye_gguf_open_bytes(&g, p, n, "fuzz", NULL, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    eye_arena_init(&arena, NULL);
    st = read(&g, &arena, &err);
    eye_arena_clear(&arena);
    eye_gguf_close(&g);
    return st == EYE_OK ? 0 : eye_fuzz_error(st, &err);
}

#endif
