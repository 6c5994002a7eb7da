/* base/advice: what the system is told about how a mapped file will be read. All of it is advice: what the system does not know
 * or refuses changes no result. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sys.h"

/* The pages that lie in [at, at + bytes) of a mapping, cut at its end, from the one that holds its first byte on. */
static bool pages_of(const struct eye_map *m, size_t at, size_t bytes, uint8_t **p, size_t *n) {
    long page = sysconf(_SC_PAGESIZE);
    if (!m->mapped || page < 1 || at >= m->size) return false;
    size_t before = at % (size_t)page;
    *p = (uint8_t *)(uintptr_t)m->p + at - before;
    *n = EYE_MIN(bytes, m->size - at) + before;
    return true;
}

void eye_map_huge(const struct eye_map *m, size_t at) {
#ifdef MADV_HUGEPAGE
    uint8_t *p;
    size_t n;
    if (pages_of(m, at, SIZE_MAX, &p, &n)) (void)madvise(p, n, MADV_HUGEPAGE); /* refused: plain pages */
#endif
}

void eye_map_sparse(const struct eye_map *m, size_t at, size_t bytes) {
    uint8_t *p;
    size_t n;
    if (pages_of(m, at, bytes, &p, &n)) (void)madvise(p, n, MADV_RANDOM);
}

/* ---- ahead ---- */

#define PIECE ((size_t)4 << 20) /* closing waits for the reading of one at most */

struct eye_map_ahead {
    pthread_t thread;
    atomic_bool stop;
    uint8_t *p;
    size_t n;
};

static bool read_piece(uint8_t *p, size_t n) {
#ifdef MADV_POPULATE_READ
    if (madvise(p, n, MADV_POPULATE_READ) == 0) return true;
    if (errno != EINVAL) return false; /* the file has become shorter, or cannot be read: whoever touches it will find out */
#endif
    return madvise(p, n, MADV_WILLNEED) == 0; /* Linux before 5.14 */
}

static void *ahead_main(void *ctx) {
    struct eye_map_ahead *a = ctx;
    for (size_t at = 0; at < a->n && !atomic_load(&a->stop); at += PIECE)
        if (!read_piece(a->p + at, EYE_MIN(PIECE, a->n - at))) break;
    return NULL;
}

void eye_map_ahead(struct eye_map *m, size_t at) {
    uint8_t *p;
    size_t n;
    if (m->ahead || !pages_of(m, at, SIZE_MAX, &p, &n)) return;
    struct eye_map_ahead *a = eye_alloc_zero(NULL, sizeof *a);
    if (!a) return;
    a->p = p;
    a->n = n;
    atomic_init(&a->stop, false);
    if (pthread_create(&a->thread, NULL, ahead_main, a) != 0)
        eye_alloc_free(NULL, a, sizeof *a);
    else
        m->ahead = a;
}

void eye_map_ahead_end(struct eye_map *m) {
    struct eye_map_ahead *a = m->ahead;
    if (!a) return;
    atomic_store(&a->stop, true);
    pthread_join(a->thread, NULL);
    eye_alloc_free(NULL, a, sizeof *a);
    m->ahead = NULL;
}
