/* The mask of the op dropout: a counter-based hash of seed, salt and element index, so that forward and backward agree without
 * storing it, and any split of the work gives the same. 32-bit arithmetic, for vector units. */
#ifndef EYE_GRAPH_DROPOUT_H
#define EYE_GRAPH_DROPOUT_H

#include <stdbool.h>
#include <stdint.h>

struct eye_dropout {
    uint32_t key[2];
    uint32_t threshold; /* elements whose hash is below are zeros */
    float scale;        /* of the others: 1 / (1 - p) */
};

static inline uint64_t eye_dropout_mix(uint64_t z) { /* splitmix64's finaliser */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline struct eye_dropout eye_dropout_make(const int32_t seed[2], uint32_t salt, float p) {
    uint64_t z = eye_dropout_mix(((uint64_t)(uint32_t)seed[1] << 32 | (uint32_t)seed[0]) + UINT64_C(0x9e3779b97f4a7c15));
    z = eye_dropout_mix(z + UINT64_C(0x9e3779b97f4a7c15) * ((uint64_t)salt + 1));
    struct eye_dropout d = {{(uint32_t)z, (uint32_t)(z >> 32)}, (uint32_t)((double)p * 4294967296.0), 1 / (1 - p)};
    return d;
}

/* A keyed form of lowbias32 (github.com/skeeto/hash-prospector); the second key goes in between, or masks of two seeds would be
 * one mask with its elements moved. Element numbers repeat after 2^32. */
static inline bool eye_dropout_keep(const struct eye_dropout *d, uint32_t i) {
    uint32_t x = i + d->key[0];
    x = (x ^ x >> 16) * UINT32_C(0x7feb352d) ^ d->key[1];
    x = (x ^ x >> 15) * UINT32_C(0x846ca68b);
    return (x ^ x >> 16) >= d->threshold;
}

#endif
