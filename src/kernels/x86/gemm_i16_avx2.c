/* GEMM, i16 activations x s8 weights, AVX2: rows have their width, and are split by shuffles. */
#include "kernels/x86/math_avx2.h"

typedef int16_t elem;

/* 16 numbers; of four the even and then the odd ones. */
EYE_INLINE __m256 fours(const int16_t *e) {
    const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    return _mm256_castsi256_ps(_mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)e), order));
}
EYE_INLINE void pack_chunk(const int16_t *e, uint8_t *even, uint8_t *odd) {
    __m256 lo = fours(e), hi = fours(e + 16); /* shuffled within 128 bits: fours 0 1 4 5 2 3 6 7 */
    __m256i v0 = _mm256_castps_si256(_mm256_shuffle_ps(lo, hi, 0x88)), v1 = _mm256_castps_si256(_mm256_shuffle_ps(lo, hi, 0xdd));
    _mm256_store_si256((__m256i *)even, _mm256_permute4x64_epi64(v0, 0xd8));
    _mm256_store_si256((__m256i *)odd, _mm256_permute4x64_epi64(v1, 0xd8));
}

#include "kernels/x86/gemm_i8_avx2.h"

void eye_gemm_i16_avx2(const struct eye_gemm_i8_args *a) { gemm(a); }
