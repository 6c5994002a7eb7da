/* base/alloc: the process allocator, big page blocks, arenas and the growing byte buffer. Every other room's memory comes
 * through here: nobody else calls malloc. Knows nothing of what is stored. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"

#if defined(__SANITIZE_ADDRESS__)
#define EYE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EYE_ASAN 1
#endif
#endif
#ifdef EYE_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#define RED_ZONE 16 /* unreadable bytes after each arena allocation, so that ASan sees an overrun inside a chunk */
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#define RED_ZONE 0
#endif

#define HUGE_PAGE ((size_t)2 << 20)

/* A statistic, no state: nothing reads it but tests and eye_alloc_count(). */
static _Atomic uint64_t n_allocs;

uint64_t eye_alloc_count(void) { return atomic_load_explicit(&n_allocs, memory_order_relaxed); }

void *eye_alloc_raw(const struct eye_alloc *a, size_t bytes) {
    atomic_fetch_add_explicit(&n_allocs, 1, memory_order_relaxed);
    if (a) return a->alloc(a->ctx, EYE_MAX(bytes, 1), EYE_CACHE_LINE);
    size_t padded;
    if (!eye_add_ok(EYE_MAX(bytes, 1), EYE_CACHE_LINE - 1, &padded)) return NULL;
    return aligned_alloc(EYE_CACHE_LINE, padded / EYE_CACHE_LINE * EYE_CACHE_LINE);
}

void *eye_alloc_zero(const struct eye_alloc *a, size_t bytes) {
    void *p = eye_alloc_raw(a, bytes);
    if (p) memset(p, 0, EYE_MAX(bytes, 1));
    return p;
}

void eye_alloc_free(const struct eye_alloc *a, void *p, size_t bytes) {
    if (!p) return;
    if (a)
        a->free(a->ctx, p, EYE_MAX(bytes, 1));
    else
        free(p);
}

enum eye_status eye_alloc_grow(const struct eye_alloc *a, void **p, size_t *cap, size_t need, size_t elem,
                               struct eye_err *err) {
    if (need <= *cap) return EYE_OK;
    size_t old_bytes = *cap * elem, new_cap = EYE_MAX(need, 8), geometric, bytes;
    if (eye_add_ok(*cap, *cap / 2, &geometric)) new_cap = EYE_MAX(new_cap, geometric);
    if (!eye_mul_ok(new_cap, elem, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    char *q = eye_alloc_raw(a, bytes);
    if (!q) return eye_fail_nomem(err, bytes);
    if (old_bytes) memcpy(q, *p, old_bytes);
    memset(q + old_bytes, 0, bytes - old_bytes);
    eye_alloc_free(a, *p, old_bytes);
    *p = q;
    *cap = new_cap;
    return EYE_OK;
}

/* ---- big blocks ---- */

static bool page_round(size_t bytes, size_t *out) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), sum;
    if (!eye_add_ok(EYE_MAX(bytes, 1), page - 1, &sum)) return false;
    *out = sum / page * page;
    return true;
}

/* Transparent huge pages only back whole aligned 2 MiB ranges: map 2 MiB more, keep the aligned part. */
void *eye_pages_alloc(size_t bytes) {
    size_t len, span;
    atomic_fetch_add_explicit(&n_allocs, 1, memory_order_relaxed);
    if (!page_round(bytes, &len)) return NULL;
    size_t slack = len >= HUGE_PAGE ? HUGE_PAGE : 0;
    if (!eye_add_ok(len, slack, &span)) return NULL;
    char *p = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    if (!slack) return p;
    size_t head = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (head) munmap(p, head);
    if (slack - head) munmap(p + head + len, slack - head);
#ifdef MADV_HUGEPAGE
    madvise(p + head, len, MADV_HUGEPAGE); /* refused = plain pages, which work too */
#endif
    return p + head;
}

void eye_pages_free(void *p, size_t bytes) {
    size_t len;
    if (p && page_round(bytes, &len)) munmap(p, len);
}

/* ---- arena ---- */

struct eye_arena_chunk {
    struct eye_arena_chunk *next; /* older */
    size_t bytes;                 /* of the whole chunk, this header included */
};
#define CHUNK_HEAD EYE_CACHE_LINE
_Static_assert(sizeof(struct eye_arena_chunk) <= CHUNK_HEAD, "payload starts on the first cache line after the header");

void eye_arena_init(struct eye_arena *a, const struct eye_alloc *alloc) { *a = (struct eye_arena){.alloc = alloc}; }

void eye_arena_clear(struct eye_arena *a) {
    for (struct eye_arena_chunk *c = a->chunk, *next; c; c = next) {
        next = c->next;
        size_t bytes = c->bytes;
        UNPOISON(c, bytes);
        eye_alloc_free(a->alloc, c, bytes);
    }
    eye_arena_init(a, a->alloc);
}

static struct eye_arena_chunk *chunk_new(struct eye_arena *a, size_t payload) {
    size_t bytes;
    if (!eye_add_ok(payload, CHUNK_HEAD, &bytes)) return NULL;
    struct eye_arena_chunk *c = eye_alloc_zero(a->alloc, bytes);
    if (!c) return NULL;
    c->bytes = bytes;
    a->total_bytes += bytes;
    POISON((char *)c + CHUNK_HEAD, payload);
    return c;
}

void *eye_arena_alloc(struct eye_arena *a, size_t bytes) {
    size_t align = bytes >= EYE_CACHE_LINE ? EYE_CACHE_LINE : 16, padded;
    if (!eye_add_ok(EYE_MAX(bytes, 1), RED_ZONE + 15, &padded)) return NULL;
    padded = padded / 16 * 16;
    size_t at = EYE_ALIGN_UP(a->used, align);
    if (!a->chunk || at > a->cap || padded > a->cap - at) {
        /* Chunks double from 4 KiB to 1 MiB. A big request gets a chunk of its own behind the newest, which stays in use. */
        size_t usual = EYE_MIN(EYE_MAX(a->total_bytes, 4096), (size_t)1 << 20);
        bool own = padded > usual / 2;
        struct eye_arena_chunk *c = chunk_new(a, own ? padded : usual);
        if (!c) return NULL;
        if (own && a->chunk) {
            c->next = a->chunk->next;
            a->chunk->next = c;
            UNPOISON((char *)c + CHUNK_HEAD, EYE_MAX(bytes, 1));
            return (char *)c + CHUNK_HEAD;
        }
        c->next = a->chunk;
        a->chunk = c;
        a->cap = c->bytes;
        at = CHUNK_HEAD;
    }
    a->used = at + padded;
    char *p = (char *)a->chunk + at;
    UNPOISON(p, EYE_MAX(bytes, 1));
    return p;
}

char *eye_arena_strdup(struct eye_arena *a, const char *s, size_t len) {
    size_t bytes;
    if (!eye_add_ok(len, 1, &bytes)) return NULL;
    char *p = eye_arena_alloc(a, bytes);
    if (p && len) memcpy(p, s, len);
    return p;
}

char *eye_arena_printf(struct eye_arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) return NULL;
    char *p = eye_arena_alloc(a, (size_t)n + 1);
    if (!p) return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

/* ---- byte buffer ---- */

void eye_buf_init(struct eye_buf *b, const struct eye_alloc *alloc) { *b = (struct eye_buf){.alloc = alloc}; }

void eye_buf_clear(struct eye_buf *b) {
    eye_alloc_free(b->alloc, b->p, b->cap);
    eye_buf_init(b, b->alloc);
}

/* Room for len more bytes and the NUL. */
static bool buf_room(struct eye_buf *b, size_t len) {
    size_t need;
    void *p = b->p;
    if (b->failed) return false;
    if (!eye_add_ok(b->len, len, &need) || !eye_add_ok(need, 1, &need) ||
        eye_alloc_grow(b->alloc, &p, &b->cap, need, 1, NULL) != EYE_OK)
        b->failed = true;
    b->p = p;
    return !b->failed;
}

void eye_buf_add(struct eye_buf *b, const void *p, size_t len) {
    if (!buf_room(b, len)) return;
    if (len) memcpy(b->p + b->len, p, len);
    b->len += len;
    b->p[b->len] = '\0';
}

void eye_buf_adds(struct eye_buf *b, const char *s) { eye_buf_add(b, s, strlen(s)); }

void eye_buf_printf(struct eye_buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if (!buf_room(b, (size_t)n)) return;
    va_start(ap, fmt);
    vsnprintf(b->p + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}
