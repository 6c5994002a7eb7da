/* GEMM, i16 activations x s8 weights, AVX2: rows have their width, and are split by shuffles. */
#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

typedef int16_t elem;

/* 8 numbers; of each four the even and then the odd ones. */
EYE_INLINE __m128 fours(const int16_t *e) {
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    return _mm_castsi128_ps(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)e), order));
}
EYE_INLINE void split_16(const int16_t *e, uint8_t *even, uint8_t *odd) {
    __m128 lo = fours(e), hi = fours(e + 8);
    _mm_storeu_si128((__m128i *)even, _mm_castps_si128(_mm_shuffle_ps(lo, hi, 0x88)));
    _mm_storeu_si128((__m128i *)odd, _mm_castps_si128(_mm_shuffle_ps(lo, hi, 0xdd)));
}
EYE_INLINE void split_4(const int16_t *e, size_t n, uint8_t *even, uint8_t *odd) {
    const uint64_t four = eye_i16_four(e, n), low = 0xffff, high = low << 16;
    uint32_t v0 = (uint32_t)((four & low) | (four >> 16 & high)), v1 = (uint32_t)((four >> 16 & low) | (four >> 32 & high));
    memcpy(even, &v0, sizeof v0);
    memcpy(odd, &v1, sizeof v1);
}

#include "kernels/x86/gemm_i8_avx2.h"

void eye_gemm_i16_avx2(const struct eye_gemm_i8_args *a) { gemm(a); }
