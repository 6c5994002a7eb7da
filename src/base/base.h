/* base: what every room stands on. Errors, checked sizes, allocation, arenas, strings. Knows nothing of models. */
#ifndef EYE_BASE_H
#define EYE_BASE_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eyelet/status.h"

#define EYE_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define EYE_MIN(a, b) ((a) < (b) ? (a) : (b))
#define EYE_MAX(a, b) ((a) > (b) ? (a) : (b))
#define EYE_ALIGN_UP(x, a) (((x) + (a)-1) / (a) * (a))
#define EYE_CACHE_LINE 64
static inline size_t eye_ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

/* Forward an error. */
#define EYE_TRY(call)                          \
    do {                                       \
        enum eye_status eye_try_ = (call);     \
        if (eye_try_ != EYE_OK) return eye_try_; \
    } while (0)

/* The same where a `fail:` label frees in reverse order; needs a local `enum eye_status st`. */
#define EYE_TRY_GOTO(call)           \
    do {                             \
        st = (call);                 \
        if (st != EYE_OK) goto fail; \
    } while (0)

/* True when a broken internal promise x would corrupt memory: asserts in debug builds, is a branch in release. */
#define EYE_NEVER(x) (assert(!(x)), (x))

/* Writes code + text and returns code. `return eye_fail(err, EYE_E_CORRUPT, "...");` */
EYE_PRINTF(3, 4) enum eye_status eye_fail(struct eye_err *err, enum eye_status code, const char *fmt, ...);
/* Prepends "prefix: " to the text already in err (to say which file or tensor) and returns status. */
EYE_PRINTF(3, 4) enum eye_status eye_fail_in(struct eye_err *err, enum eye_status status, const char *fmt, ...);
/* NOMEM with the number of bytes wanted. */
enum eye_status eye_fail_nomem(struct eye_err *err, size_t bytes);

/* ---- sizes: every product of outside numbers goes through these; false = overflow, *out untouched ---- */
static inline bool eye_mul_ok(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}
static inline bool eye_add_ok(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* ---- allocation ---- */
/* a NULL -> the process allocator. Zero-filled; NULL on failure; bytes 0 gives a unique pointer. 64-byte aligned. */
void *eye_alloc_zero(const struct eye_alloc *a, size_t bytes);
void *eye_alloc_raw(const struct eye_alloc *a, size_t bytes); /* not filled */
void eye_alloc_free(const struct eye_alloc *a, void *p, size_t bytes);
/* Grow an array geometrically: *p holds *cap elements of elem bytes and must hold need. NOMEM leaves it as it was. */
EYE_MUST_CHECK enum eye_status eye_alloc_grow(const struct eye_alloc *a, void **p, size_t *cap, size_t need, size_t elem,
                                              struct eye_err *err);
/* Big anonymous block (packed weights, KV cache): mmap with transparent huge pages asked for; falls back to plain pages. */
void *eye_pages_alloc(size_t bytes);
void eye_pages_free(void *p, size_t bytes);
/* Allocations made so far through eye_alloc_* and eye_pages_*: tests compare before and after (no allocation in decode). */
uint64_t eye_alloc_count(void);

/* ---- arena: many small things, one lifetime. Chunked; pointers stay valid until clear. Not thread-safe. ---- */
struct eye_arena {
    const struct eye_alloc *alloc; /* borrowed; NULL = process */
    struct eye_arena_chunk *chunk; /* newest first */
    size_t used, cap;              /* of the newest chunk */
    size_t total_bytes;            /* sum of chunk sizes */
};
void eye_arena_init(struct eye_arena *a, const struct eye_alloc *alloc);
void eye_arena_clear(struct eye_arena *a); /* frees all chunks; usable again */
void *eye_arena_alloc(struct eye_arena *a, size_t bytes); /* zeroed; aligned to 64 from 64 bytes on, else 16; or NULL */
char *eye_arena_strdup(struct eye_arena *a, const char *s, size_t len);
EYE_PRINTF(2, 3) char *eye_arena_printf(struct eye_arena *a, const char *fmt, ...); /* NULL = no memory */

/* ---- string -> index map, open addressing, keys borrowed. XXH64 seeded per process (hash flooding). ---- */
struct eye_strmap_slot {
    const char *key;
    uint32_t len;
    int32_t value; /* >= 0 */
    uint64_t hash;
};
struct eye_strmap {
    const struct eye_alloc *alloc;
    struct eye_strmap_slot *slot;
    size_t n, cap; /* cap a power of two */
};
void eye_strmap_init(struct eye_strmap *m, const struct eye_alloc *alloc);
void eye_strmap_clear(struct eye_strmap *m);
EYE_MUST_CHECK enum eye_status eye_strmap_reserve(struct eye_strmap *m, size_t n, struct eye_err *err);
/* Inserts; *was_there (may be NULL) tells if the key existed, then the old value stays. */
EYE_MUST_CHECK enum eye_status eye_strmap_put(struct eye_strmap *m, const char *key, size_t len, int32_t value, bool *was_there,
                                              struct eye_err *err);
int32_t eye_strmap_get(const struct eye_strmap *m, const char *key, size_t len); /* -1 = absent */

/* ---- growing byte buffer (text assembly); always NUL-terminated once something was added ---- */
struct eye_buf {
    const struct eye_alloc *alloc;
    char *p;
    size_t len, cap;
    bool failed; /* sticky: an allocation failed; contents are then useless */
};
void eye_buf_init(struct eye_buf *b, const struct eye_alloc *alloc);
void eye_buf_clear(struct eye_buf *b);
void eye_buf_add(struct eye_buf *b, const void *p, size_t len);
void eye_buf_adds(struct eye_buf *b, const char *s);
EYE_PRINTF(2, 3) void eye_buf_printf(struct eye_buf *b, const char *fmt, ...);

#endif
