/* image/resize_taps: the body of eye_taps_fn, compiled once per instruction set. Plain C that compilers turn into SIMD: lanes
 * are independent int32 sums in a block that stays in L1, four taps per sweep over it. */
#ifndef EYE_IMAGE_RESIZE_TAPS_H
#define EYE_IMAGE_RESIZE_TAPS_H

#include "image/resize.h"

enum { EYE_TAP_BLOCK = 96, EYE_TAP_BITS = 22 };

static inline void eye_taps_block(int32_t *restrict acc, const uint8_t *restrict src, size_t step, size_t m,
                                  const int32_t *restrict coef, int n) {
    int j = 0;
    for (; j + 4 <= n; j += 4, src += 4 * step) {
        const uint8_t *restrict a = src, *restrict b = src + step, *restrict c = src + 2 * step, *restrict d = src + 3 * step;
        int32_t ka = coef[j], kb = coef[j + 1], kc = coef[j + 2], kd = coef[j + 3];
        for (size_t l = 0; l < m; l++) acc[l] += ka * a[l] + kb * b[l] + kc * c[l] + kd * d[l];
    }
    for (; j < n; j++, src += step) {
        int32_t k = coef[j];
        for (size_t l = 0; l < m; l++) acc[l] += k * src[l];
    }
}

static inline void eye_taps_run(uint8_t *restrict dst, const uint8_t *restrict fill, int32_t fill_weight,
                                const uint8_t *restrict src, size_t step, size_t n_lanes, const int32_t *restrict coef,
                                int n_taps) {
    int32_t acc[EYE_TAP_BLOCK];
    for (size_t at = 0; at < n_lanes; at += EYE_TAP_BLOCK) {
        size_t m = EYE_MIN((size_t)EYE_TAP_BLOCK, n_lanes - at);
        for (size_t l = 0; l < EYE_TAP_BLOCK; l++) acc[l] = 1 << (EYE_TAP_BITS - 1);
        if (fill_weight != 0)
            for (size_t l = 0; l < m; l++) acc[l] += fill_weight * fill[at + l];
        if (m == EYE_TAP_BLOCK) /* a constant count: no tail code in the loop that matters */
            eye_taps_block(acc, src + at, step, EYE_TAP_BLOCK, coef, n_taps);
        else
            eye_taps_block(acc, src + at, step, m, coef, n_taps);
        for (size_t l = 0; l < m; l++) {
            int32_t v = acc[l] >> EYE_TAP_BITS;
            dst[at + l] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
}

#endif
