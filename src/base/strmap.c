/* base/strmap: string -> index, open addressing with linear probing, load <= 3/4, no deletion. Keys are borrowed. */
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "base/base.h"
#include "base/sys.h"

/* One random seed per process: a file cannot be made to collide with itself (hash flooding). Iteration order is never
 * visible, so results do not depend on it. Whoever is first stores it; 0 means not drawn yet. */
static uint64_t process_seed(void) {
    static _Atomic uint64_t seed;
    uint64_t s = atomic_load_explicit(&seed, memory_order_relaxed), fresh, none = 0;
    if (s) return s;
    if (getrandom(&fresh, sizeof fresh, GRND_NONBLOCK) != (ssize_t)sizeof fresh) fresh = eye_now_ns() ^ (uintptr_t)&fresh;
    fresh |= 1;
    return atomic_compare_exchange_strong(&seed, &none, fresh) ? fresh : none;
}

void eye_strmap_init(struct eye_strmap *m, const struct eye_alloc *alloc) { *m = (struct eye_strmap){.alloc = alloc}; }

void eye_strmap_clear(struct eye_strmap *m) {
    eye_alloc_free(m->alloc, m->slot, m->cap * sizeof *m->slot);
    eye_strmap_init(m, m->alloc);
}

/* The slot that holds the key, or the free slot where it belongs. cap > 0 and a free slot always exists. */
static struct eye_strmap_slot *find(const struct eye_strmap *m, const char *key, size_t len, uint64_t hash) {
    for (size_t i = (size_t)hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct eye_strmap_slot *s = &m->slot[i];
        if (!s->key) return s;
        if (s->hash == hash && s->len == len && memcmp(s->key, key, len) == 0) return s;
    }
}

enum eye_status eye_strmap_reserve(struct eye_strmap *m, size_t n, struct eye_err *err) {
    size_t cap = EYE_MAX(m->cap, 16), bytes;
    while (cap / 4 * 3 < n)
        if (!eye_mul_ok(cap, 2, &cap)) return eye_fail_nomem(err, SIZE_MAX);
    if (cap == m->cap) return EYE_OK;
    if (!eye_mul_ok(cap, sizeof *m->slot, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    struct eye_strmap bigger = {.alloc = m->alloc, .slot = eye_alloc_zero(m->alloc, bytes), .n = m->n, .cap = cap};
    if (!bigger.slot) return eye_fail_nomem(err, bytes);
    for (size_t i = 0; i < m->cap; i++) {
        const struct eye_strmap_slot *s = &m->slot[i];
        if (s->key) *find(&bigger, s->key, s->len, s->hash) = *s;
    }
    eye_strmap_clear(m);
    *m = bigger;
    return EYE_OK;
}

enum eye_status eye_strmap_put(struct eye_strmap *m, const char *key, size_t len, int32_t value, bool *was_there,
                               struct eye_err *err) {
    assert(value >= 0);
    if (len > UINT32_MAX) return eye_fail(err, EYE_E_LIMIT, "a key of %zu bytes: at most %u", len, UINT32_MAX);
    EYE_TRY(eye_strmap_reserve(m, m->n + 1, err));
    if (!key) key = ""; /* len is 0: NULL marks a free slot */
    uint64_t hash = eye_hash64(key, len, process_seed());
    struct eye_strmap_slot *s = find(m, key, len, hash);
    if (was_there) *was_there = s->key != NULL;
    if (s->key) return EYE_OK;
    *s = (struct eye_strmap_slot){key, (uint32_t)len, value, hash};
    m->n++;
    return EYE_OK;
}

int32_t eye_strmap_get(const struct eye_strmap *m, const char *key, size_t len) {
    if (m->cap == 0 || len > UINT32_MAX) return -1;
    if (!key) key = "";
    const struct eye_strmap_slot *s = find(m, key, len, eye_hash64(key, len, process_seed()));
    return s->key ? s->value : -1;
}
