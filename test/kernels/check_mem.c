/* checkkern: guarded buffers, input patterns, comparison and failure messages. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { CANARY = 0xc5 }; /* as a float -6.3e3, as int8 -59; a whole buffer of it is no result */
#define NEAR_BYTES ((size_t)256) /* canary checked before and after a buffer */

void check_fail(const struct check *c, const char *fmt, ...) {
    va_list ap;
    printf("FAIL %s: %s: ", c->row->sym, c->where);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

void check_where(struct check *c, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->where, sizeof c->where, fmt, ap);
    va_end(ap);
}

size_t check_below(struct check *c, size_t n) { return (size_t)(eye_rng_u64(&c->rng) % n); }
size_t check_between(struct check *c, size_t lo, size_t hi) { return lo + check_below(c, hi - lo + 1); }
float check_uniform(struct check *c, float lo, float hi) { return (float)(lo + (hi - lo) * eye_rng_unit(&c->rng)); }

const char *check_pattern_name(enum check_pattern p) {
    static const char *const names[] = {"random", "max", "min", "alternating", "one-hot", "zero", "-0", "denormal", "wide"};
    return names[p];
}

void check_fill(struct check *c, enum check_pattern p, float *x, size_t n, float max) {
    size_t hot = n ? check_below(c, n) : 0;
    for (size_t i = 0; i < n; i++) {
        switch (p) {
        case PAT_MAX: x[i] = max; break;
        case PAT_MIN: x[i] = -max; break;
        case PAT_ALTERNATING: x[i] = i & 1 ? -max : max; break;
        case PAT_ONE_HOT: x[i] = i == hot ? 1.0f : 0.0f; break;
        case PAT_ZERO: x[i] = 0.0f; break;
        case PAT_NEG_ZERO: x[i] = -0.0f; break;
        case PAT_DENORMAL: x[i] = check_uniform(c, -0x1p-126f, 0x1p-126f); break;
        case PAT_WIDE: x[i] = ldexpf(check_uniform(c, -max, max), -(int)check_below(c, 60)); break;
        default: x[i] = check_uniform(c, -1.0f, 1.0f);
        }
    }
}

/* ---- buffers ---- */

struct gbuf gbuf_new(size_t bytes, size_t align) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + NEAR_BYTES + align + page - 1) / page * page;
    struct gbuf b = {.bytes = bytes, .map_bytes = room + 2 * page};
    b.map = mmap(NULL, b.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b.map == MAP_FAILED || mprotect(b.map + page, room, PROT_READ | PROT_WRITE) != 0) {
        perror("checkkern: mmap");
        _exit(2);
    }
    memset(b.map + page, CANARY, room);
    b.p = (void *)((uintptr_t)(b.map + page + room - bytes) / align * align);
    return b;
}

void gbuf_free(struct gbuf *b) {
    if (b->map) munmap(b->map, b->map_bytes);
    *b = (struct gbuf){0};
}

void gbuf_freeze(struct gbuf *b) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    mprotect(b->map + page, b->map_bytes - 2 * page, PROT_READ);
}

bool gbuf_untouched(const void *p, size_t bytes) {
    const uint8_t *q = p;
    for (size_t i = 0; i < bytes; i++)
        if (q[i] != CANARY) return false;
    return true;
}

void gbuf_check(const struct check *c, const struct gbuf *b, const char *name) {
    const uint8_t *p = b->p, *end = b->map + b->map_bytes - (size_t)sysconf(_SC_PAGESIZE);
    if (!gbuf_untouched(p - NEAR_BYTES, NEAR_BYTES)) check_fail(c, "wrote before %s", name);
    if (!gbuf_untouched(p + b->bytes, (size_t)(end - p) - b->bytes)) check_fail(c, "wrote behind %s", name);
}

/* ---- comparison ---- */

void check_same_bits(const struct check *c, const char *what, const float *want, const float *got, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(&want[i], &got[i], sizeof *want) != 0)
            check_fail(c, "%s: element %zu: %.9g (%a), expected the bits of %.9g (%a)", what, i, (double)got[i], (double)got[i],
                       (double)want[i], (double)want[i]);
}

void check_close(const struct check *c, const char *what, size_t i, double want, double got, double tol) {
    if (!(fabs(want - got) <= tol))
        check_fail(c, "%s: element %zu: %.9g, expected %.9g +- %.3g (off by %.3g)", what, i, got, want, tol, fabs(want - got));
}
