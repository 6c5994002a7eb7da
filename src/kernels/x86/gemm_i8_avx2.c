/* GEMM, u8 activations x s8 weights, AVX2: rows are widened by a mask and a shift. */
#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

typedef uint8_t elem;
EYE_INLINE void split_16(const uint8_t *e, uint8_t *even, uint8_t *odd) {
    __m128i v = _mm_loadu_si128((const __m128i *)e);
    _mm_storeu_si128((__m128i *)even, _mm_and_si128(v, _mm_set1_epi16(255)));
    _mm_storeu_si128((__m128i *)odd, _mm_srli_epi16(v, 8));
}
EYE_INLINE void split_4(const uint8_t *e, size_t n, uint8_t *even, uint8_t *odd) {
    uint32_t v = eye_i8_four(e, n), v0 = v & 0xff00ff, v1 = v >> 8 & 0xff00ff;
    memcpy(even, &v0, sizeof v0);
    memcpy(odd, &v1, sizeof v1);
}

#include "kernels/x86/gemm_i8_avx2.h"

void eye_gemm_i8_avx2(const struct eye_gemm_i8_args *a) { gemm(a); }
