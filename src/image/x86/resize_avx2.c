/* image/x86/resize_avx2: resize's inner loop for AVX2, by the compiler. The only file of this room with ISA flags. */
#include "image/resize_taps.h"

void eye_resize_taps_avx2(uint8_t *dst, const uint8_t *fill, int32_t fill_weight, const uint8_t *src, size_t src_step,
                          size_t n_lanes, const int32_t *coef, int n_taps) {
    eye_taps_run(dst, fill, fill_weight, src, src_step, n_lanes, coef, n_taps);
}
