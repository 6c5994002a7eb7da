/* Depthwise convolution, AVX-512: the vectors of dwconv_tile.h are 16 channels, fewer by mask, tiles 8 columns. */
#include "kernels/x86/math_avx512.h"

typedef __m512 vec;
typedef __mmask16 lanes;
enum { LANES = 16, COLUMNS = 8, PARTIAL_TILES = 1 };

EYE_INLINE lanes first(size_t n) { return eye_tail16(n); }
EYE_INLINE vec zero(void) { return _mm512_setzero_ps(); }
EYE_INLINE vec load(const float *p, lanes l) { return _mm512_maskz_loadu_ps(l, p); }
EYE_INLINE vec load_twice(const float *p, lanes l) {
    __m512 v = _mm512_castps256_ps512(l == 0xff ? _mm256_loadu_ps(p) : _mm256_maskz_loadu_ps((__mmask8)l, p));
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), v);
}
EYE_INLINE void store(float *p, lanes l, vec v) { _mm512_mask_storeu_ps(p, l, v); }
EYE_INLINE vec mul_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

#include "kernels/dwconv_back.h"
#include "kernels/dwconv_f32.h"

void eye_dwconv_f32_avx512(const struct eye_dwconv_args *a) { dwconv(a); }
void eye_dwconv_dx_f32_avx512(const struct eye_dwconv_back_args *a) { dwconv_dx(a); }
void eye_dwconv_dw_f32_avx512(const struct eye_dwconv_back_args *a) { dwconv_dw(a); }
