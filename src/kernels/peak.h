/* kernels, peaks: what the multipliers of a core can do, as loops on registers alone: the roof that stages are measured
 * against. One accumulator waits for its last result, so there are as many as latency times units; the compiler must not see
 * that they are all equal. Included by the files that define such rows. */
#ifndef EYE_KERNELS_PEAK_H
#define EYE_KERNELS_PEAK_H

#include "kernels/inline.h"
#include "kernels/rows.h"

#include <string.h>

static inline uint32_t eye_f32_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

#if EYE_X86
#define EYE_PEAK_KEEP(v) __asm__("" : "+v"(v))
#elif EYE_ARM64
#define EYE_PEAK_KEEP(v) __asm__("" : "+w"(v))
#else
#define EYE_PEAK_KEEP(v) __asm__("" : "+g"(v))
#endif
enum { EYE_PEAK_N = 12 };

/* vec: an accumulator; factors: a local of type vec_in made by make_in from `one`; step(acc, f): the new accumulator;
 * total(acc): the sum of its lanes, a double. */
#define EYE_PEAK(name, vec, zero, vec_in, make_in, step, total)                   \
    double name(size_t rounds, float one) {                                       \
        vec acc[EYE_PEAK_N];                                                      \
        vec_in f = make_in;                                                       \
        double sum = 0;                                                           \
        EYE_UNROLL for (int i = 0; i < EYE_PEAK_N; i++) acc[i] = zero;            \
        for (size_t r = 0; r < rounds; r++) {                                     \
            EYE_UNROLL for (int i = 0; i < EYE_PEAK_N; i++) {                     \
                acc[i] = step(acc[i], f);                                         \
                EYE_PEAK_KEEP(acc[i]);                                            \
                EYE_PEAK_KEEP(f); /* else products move out of the loop */        \
            }                                                                     \
        }                                                                         \
        EYE_UNROLL for (int i = 0; i < EYE_PEAK_N; i++) sum += total(acc[i]);     \
        return sum;                                                               \
    }

#endif
