/* On-the-fly int8 quantization of activations (q8b32), one definition for every CPU: integer sums are then exact across
 * instruction sets. The vector packers do the same IEEE operations (multiply, round to nearest even), so give the same bytes.
 *
 * Scales are powers of two, as in MXINT8 of the OCP Microscaling Formats (v1.0): d is the least with amax <= 127 d (but for that
 * product's rounding), q = rint(x / d).
 * Products with d are exact, and where a multiplication would share its unit with the integer products (AVX-512) an exponent
 * is added instead; doc/SPEED.md has what both cost: a tenth of the products' time, half a bit of 8. */
#ifndef EYE_KERNEL_Q8B32_H
#define EYE_KERNEL_Q8B32_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Blocks whose largest value is below this count as zero: 1 / d must not overflow, nor d become denormal. */
#define EYE_Q8B32_TINY 0x1p-119f
#define EYE_Q8B32_PART (1.0f / 127.0f)
#define EYE_Q8B32_UP 0x7fffffu /* added to the bits of amax * PART, then the fraction cut off: the power of two from there on */

/* d of a block; 0 where that counts as zero, infinite where amax is. */
static inline float eye_q8b32_scale(float amax) {
    if (amax < EYE_Q8B32_TINY) return 0.0f;
    float d = amax * EYE_Q8B32_PART;
    uint32_t bits;
    memcpy(&bits, &d, sizeof bits);
    bits = (bits + EYE_Q8B32_UP) & ~EYE_Q8B32_UP;
    memcpy(&d, &bits, sizeof bits);
    return d;
}

/* 1 / d, exact; 0 where d is 0 or infinite. */
static inline float eye_q8b32_inverse(float d) { return d > 0.0f ? 1.0f / d : 0.0f; }

/* Quantizes min(n, 32) values, the rest of q[32] is zero; returns d. A NaN is taken as 127, an infinity makes d infinite. */
static inline float eye_q8b32_quant(int8_t *q, const float *x, size_t n) {
    float amax = 0.0f;
    if (n > 32) n = 32;
    for (size_t i = 0; i < n; i++) amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    float d = eye_q8b32_scale(amax), scale = eye_q8b32_inverse(d);
    for (size_t i = 0; i < 32; i++) {
        /* The clamp only acts on NaN: x * scale rounds to 127 at most. */
        q[i] = i < n ? (int8_t)nearbyintf(fmaxf(-127.0f, fminf(127.0f, x[i] * scale))) : 0;
    }
    return d;
}

#endif
