/* GEMM, u8 activations x s8 weights, AVX2: rows are widened by a mask and a shift. */
#include "kernels/x86/math_avx2.h"

typedef uint8_t elem;
EYE_INLINE void pack_chunk(const uint8_t *e, uint8_t *even, uint8_t *odd) {
    __m256i v = _mm256_loadu_si256((const __m256i *)e);
    _mm256_store_si256((__m256i *)even, _mm256_and_si256(v, _mm256_set1_epi16(255)));
    _mm256_store_si256((__m256i *)odd, _mm256_srli_epi16(v, 8));
}

#include "kernels/x86/gemm_i8_avx2.h"

void eye_gemm_i8_avx2(const struct eye_gemm_i8_args *a) { gemm(a); }
