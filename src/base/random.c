/* base/random: reproducible random numbers and a 64-bit hash. Not for secrets.
 * Sources: xoshiro256** and splitmix64 by Blackman and Vigna (prng.di.unimi.it); XXH64 from the xxHash specification. */
#include <string.h>

#include "base/sys.h"

static inline uint64_t rotl(uint64_t x, int r) { return x << r | x >> (64 - r); }

void eye_rng_seed(struct eye_rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r->s[i] = z ^ (z >> 31);
    }
}

uint64_t eye_rng_u64(struct eye_rng *r) {
    uint64_t *s = r->s, out = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

double eye_rng_unit(struct eye_rng *r) { return (double)(eye_rng_u64(r) >> 11) * 0x1p-53; }

/* XXH64. The five primes are the specification's. */
#define P1 0x9e3779b185ebca87u
#define P2 0xc2b2ae3d27d4eb4fu
#define P3 0x165667b19e3779f9u
#define P4 0x85ebca77c2b2ae63u
#define P5 0x27d4eb2f165667c5u

static uint64_t load(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}
static inline uint64_t round1(uint64_t acc, uint64_t lane) { return rotl(acc + lane * P2, 31) * P1; }
static inline uint64_t merge(uint64_t h, uint64_t acc) { return (h ^ round1(0, acc)) * P1 + P4; }

uint64_t eye_hash64(const void *data, size_t n, uint64_t seed) {
    const uint8_t *p = data;
    size_t left = n;
    uint64_t h = seed + P5;
    if (n >= 32) {
        uint64_t a = seed + P1 + P2, b = seed + P2, c = seed, d = seed - P1;
        for (; left >= 32; p += 32, left -= 32) {
            a = round1(a, load(p, 8));
            b = round1(b, load(p + 8, 8));
            c = round1(c, load(p + 16, 8));
            d = round1(d, load(p + 24, 8));
        }
        h = rotl(a, 1) + rotl(b, 7) + rotl(c, 12) + rotl(d, 18);
        h = merge(merge(merge(merge(h, a), b), c), d);
    }
    h += (uint64_t)n;
    for (; left >= 8; p += 8, left -= 8) h = rotl(h ^ round1(0, load(p, 8)), 27) * P1 + P4;
    if (left >= 4) {
        h = rotl(h ^ load(p, 4) * P1, 23) * P2 + P3;
        p += 4;
        left -= 4;
    }
    for (; left; p++, left--) h = rotl(h ^ *p * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}
