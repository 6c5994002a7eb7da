/* Depthwise convolution of u8, AVX-512: the vectors of dwconv_tile.h are 16 channels, fewer by mask, tiles 8 columns. */
#include <stdint.h>

#include "kernels/x86/math_avx512.h"

typedef __m512 vec;
typedef __mmask16 lanes;
enum { LANES = 16, COLUMNS = 8, PARTIAL_TILES = 1 };

EYE_INLINE lanes first(size_t n) { return eye_tail16(n); }
EYE_INLINE vec zero(void) { return _mm512_setzero_ps(); }
EYE_INLINE vec load(const float *p, lanes l) { return _mm512_maskz_loadu_ps(l, p); }
EYE_INLINE vec numbers(__m128i q, float zero) {
    return _mm512_sub_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(q)), _mm512_set1_ps(zero));
}
EYE_INLINE vec load_u8(const uint8_t *p, lanes l, float zero) {
    return numbers(l == 0xffff ? _mm_loadu_si128((const __m128i *)p) : _mm_maskz_loadu_epi8(l, p), zero);
}
EYE_INLINE vec load_u8_twice(const uint8_t *p, lanes l, float zero) {
    __m128i q = l == 0xff ? _mm_loadl_epi64((const __m128i *)p) : _mm_maskz_loadu_epi8(l, p);
    return numbers(_mm_unpacklo_epi8(q, q), zero);
}
EYE_INLINE void store(float *p, lanes l, vec v) { _mm512_mask_storeu_ps(p, l, v); }
EYE_INLINE vec mul_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

#include "kernels/dwconv_u8.h"

void eye_dwconv_u8_avx512(const struct eye_dwconv_u8_args *a) { dwconv_rows(a, eye_quant_u8_avx512); }
