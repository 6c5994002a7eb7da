/* test/support: see support.h. */
#include "support/support.h"

#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(const char *what) {
    fprintf(stderr, "test support: %s\n", what);
    abort();
}

/* True when this request must fail. */
static bool count_down(_Atomic long *n_ok) {
    long n = atomic_load(n_ok);
    while (n > 0 && !atomic_compare_exchange_weak(n_ok, &n, n - 1)) continue;
    return n == 0;
}

/* ---- the allocator ---- */

#define HEAD 64 /* keeps the payload's alignment */

static void *faulty_alloc(void *ctx, size_t bytes, size_t align) {
    struct eye_faulty *f = ctx;
    if (align > HEAD || bytes > SIZE_MAX - 2 * HEAD) return NULL;
    if (count_down(&f->n_ok)) {
        atomic_store(&f->failed, true);
        return NULL;
    }
    char *p = aligned_alloc(HEAD, (bytes + HEAD + HEAD - 1) / HEAD * HEAD);
    if (!p) return NULL;
    memcpy(p, &bytes, sizeof bytes);
    memset(p + HEAD, 0xa5, bytes); /* what was not filled must not look like zeros */
    atomic_fetch_add(&f->n_live, 1);
    return p + HEAD;
}

static void faulty_free(void *ctx, void *p, size_t bytes) {
    struct eye_faulty *f = ctx;
    size_t had;
    memcpy(&had, (char *)p - HEAD, sizeof had);
    if (had != bytes) die("a block was freed with another size than it was allocated with");
    atomic_fetch_sub(&f->n_live, 1);
    free((char *)p - HEAD);
}

void eye_faulty_init(struct eye_faulty *f, long n_ok) {
    f->alloc = (struct eye_alloc){faulty_alloc, faulty_free, f};
    atomic_init(&f->n_ok, n_ok);
    atomic_init(&f->n_live, 0);
    atomic_init(&f->failed, false);
}

/* ---- the process allocator ---- */

static _Atomic long process_ok = -1;
static _Atomic bool process_failed;

void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes) {
    if (count_down(&process_ok)) {
        atomic_store(&process_failed, true);
        return NULL;
    }
    return __real_aligned_alloc(align, bytes);
}

void eye_faulty_process(long n_ok) {
    atomic_store(&process_failed, false);
    atomic_store(&process_ok, n_ok);
}

bool eye_faulty_process_failed(void) { return atomic_load(&process_failed); }

/* ---- files ---- */

static char scratch[256];

const char *eye_scratch_dir(void) {
    const char *base = getenv("TMPDIR");
    if (scratch[0]) return scratch;
    snprintf(scratch, sizeof scratch, "%.200s/eyelet-test-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(scratch)) die("cannot make a scratch folder");
    return scratch;
}

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *ftw) { return remove(path); }

void eye_scratch_remove(void) {
    if (scratch[0]) nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    scratch[0] = '\0';
}

const char *eye_scratch_path(const char *name) {
    static char ring[8][512];
    static unsigned turn;
    char *p = ring[turn++ % EYE_COUNT(ring)];
    snprintf(p, sizeof ring[0], "%s/%.200s", eye_scratch_dir(), name);
    return p;
}

const char *eye_scratch_write(const char *name, const void *p, size_t n) {
    const char *path = eye_scratch_path(name);
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(p, 1, n, f) != n) || fclose(f) != 0) die("cannot write a scratch file");
    return path;
}
