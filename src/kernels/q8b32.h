/* On-the-fly int8 quantization of activations (q8b32), one definition for every CPU: integer sums are then exact across
 * instruction sets. The vector packers do the same IEEE operations (multiply, round to nearest even), so give the same bytes.
 *
 * d = amax / 127 stays f32: it is never stored in a file, and as f16 it would overflow from amax 8.3e6 on, vanish below
 * 7.6e-6 and add 2^-11 of error to every product for nothing. q = rint(x * (127 / amax)). */
#ifndef EYE_KERNEL_Q8B32_H
#define EYE_KERNEL_Q8B32_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* Blocks whose largest value is below this count as zero: 127 / amax must not overflow, nor amax / 127 become denormal. */
#define EYE_Q8B32_TINY 0x1p-119f

/* Quantizes min(n, 32) values, the rest of q[32] is zero; returns d. A NaN is taken as 127, an infinity makes d infinite. */
static inline float eye_q8b32_quant(int8_t *q, const float *x, size_t n) {
    float amax = 0.0f;
    if (n > 32) n = 32;
    for (size_t i = 0; i < n; i++) amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    float d = amax < EYE_Q8B32_TINY ? 0.0f : amax / 127.0f;
    float scale = amax < EYE_Q8B32_TINY ? 0.0f : 127.0f / amax;
    for (size_t i = 0; i < 32; i++) {
        /* The clamp only acts on NaN: x * scale rounds to 127 at most. */
        q[i] = i < n ? (int8_t)nearbyintf(fmaxf(-127.0f, fminf(127.0f, x[i] * scale))) : 0;
    }
    return d;
}

#endif
