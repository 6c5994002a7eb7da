/* test/support: ways to torment a reader of outside bytes; see support.h. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "support/support.h"

void eye_build_le(struct eye_buf *b, uint64_t v, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++) eye_buf_add(b, &(uint8_t){(uint8_t)(v >> (8 * i))}, 1);
}

void eye_build_safetensors(struct eye_buf *b, const char *json, const void *data, size_t n) {
    eye_build_le(b, strlen(json), 8);
    eye_buf_adds(b, json);
    eye_buf_add(b, data, n);
}

bool eye_error_is(const char *name, enum eye_status st, enum eye_status want, const struct eye_err *err, const char *says) {
    if (st == want && (st == EYE_OK || strstr(err->text, says))) return true;
    fprintf(stderr, "%s: %s \"%s\", expected %s \"...%s...\"\n", name, eye_status_name(st), err->text, eye_status_name(want),
            says);
    return false;
}

/* An exact copy on the heap; size 0 gets a real pointer too. */
static uint8_t *exact(const void *p, size_t n) {
    uint8_t *q = malloc(n ? n : 1);
    if (!q) abort();
    if (n) memcpy(q, p, n);
    return q;
}

bool eye_refuses_truncations(eye_open_fn *open, const void *p, size_t n) {
    for (size_t len = 0; len < n; len++) {
        struct eye_err err = {0};
        uint8_t *q = exact(p, len);
        enum eye_status st = open(q, len, NULL, &err);
        free(q);
        if (st == EYE_OK || st != err.code || !err.text[0]) {
            fprintf(stderr, "first %zu of %zu bytes: %s \"%s\"\n", len, n, eye_status_name(st), err.text);
            return false;
        }
    }
    return true;
}

static void mutate(struct eye_rng *rng, uint8_t *q, size_t n) {
    static const uint64_t extremes[] = {0, 1, UINT64_MAX, INT64_MAX, (uint64_t)1 << 63, UINT32_MAX, (uint64_t)1 << 32,
                                        0x20202020};
    for (uint64_t k = 1 + eye_rng_u64(rng) % 4; k > 0; k--) {
        size_t at = (size_t)(eye_rng_u64(rng) % n);
        uint64_t r = eye_rng_u64(rng);
        if (r % 3 == 0) q[at] ^= (uint8_t)(1u << (r >> 8) % 8);
        if (r % 3 == 1) q[at] = (uint8_t)(r >> 16);
        if (r % 3 == 2) memcpy(q + at, &extremes[(r >> 8) % EYE_COUNT(extremes)], EYE_MIN(n - at, r & 64 ? 4 : 8));
    }
}

bool eye_survives_mutations(eye_open_fn *open, const void *p, size_t n, uint64_t seed, int n_rounds) {
    struct eye_rng rng;
    eye_rng_seed(&rng, seed);
    for (int i = 0; i < n_rounds; i++) {
        struct eye_err err = {0};
        uint8_t *q = exact(p, n);
        mutate(&rng, q, n);
        enum eye_status st = open(q, n, NULL, &err);
        free(q);
        if (st != EYE_OK && (st != err.code || !err.text[0])) {
            fprintf(stderr, "seed %llu round %d: %s without a text\n", (unsigned long long)seed, i, eye_status_name(st));
            return false;
        }
    }
    return true;
}

bool eye_survives_faults(eye_open_fn *open, const void *p, size_t n) {
    for (int process = 0; process < 2; process++) {
        bool failed = true;
        for (long k = 0; failed; k++) {
            struct eye_faulty f;
            struct eye_err err = {0};
            eye_faulty_init(&f, process ? -1 : k);
            if (process) eye_faulty_process(k);
            enum eye_status st = open(p, n, &f.alloc, &err);
            failed = process ? eye_faulty_process_failed() : atomic_load(&f.failed);
            eye_faulty_process(-1);
            if (st != (failed ? EYE_E_NOMEM : EYE_OK) || atomic_load(&f.n_live) != 0) {
                fprintf(stderr, "after %ld allocations: %s \"%s\", %ld blocks alive\n", k, eye_status_name(st), err.text,
                        atomic_load(&f.n_live));
                return false;
            }
        }
    }
    return true;
}
