/* Depthwise convolution of u8, AVX2 + FMA: the vectors of dwconv_tile.h are 8 channels, tiles 8 columns. */
#include <string.h>

#include "kernels/x86/math_avx2.h"

typedef __m256 vec;
typedef size_t lanes;
enum { LANES = 8, COLUMNS = 8, PARTIAL_TILES = 0 };

EYE_INLINE lanes first(size_t n) { return n; }
EYE_INLINE vec zero(void) { return _mm256_setzero_ps(); }
EYE_INLINE vec load(const float *p, lanes n) { return eye_load8(p, n); }
EYE_INLINE __m128i bytes(const uint8_t *p, size_t n) {
    uint64_t q = 0;
    memcpy(&q, p, n);
    return _mm_cvtsi64_si128((int64_t)q);
}
EYE_INLINE vec numbers(__m128i q, float zero) {
    return _mm256_sub_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(q)), _mm256_set1_ps(zero));
}
EYE_INLINE vec load_u8(const uint8_t *p, lanes n, float zero) { return numbers(n >= 8 ? bytes(p, 8) : bytes(p, n), zero); }
EYE_INLINE vec load_u8_twice(const uint8_t *p, lanes n, float zero) {
    __m128i q = n >= 4 ? bytes(p, 4) : bytes(p, n);
    return numbers(_mm_unpacklo_epi8(q, q), zero);
}
EYE_INLINE void store(float *p, lanes n, vec v) { eye_store8(p, n, v); }
EYE_INLINE vec mul_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

#include "kernels/dwconv_u8.h"

void eye_dwconv_u8_avx2(const struct eye_dwconv_u8_args *a) { dwconv_rows(a, eye_quant_u8_avx2); }
