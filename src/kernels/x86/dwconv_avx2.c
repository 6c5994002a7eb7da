/* Depthwise convolution, AVX2 + FMA: the vectors of dwconv_tile.h are 8 channels, tiles 8 columns. */
#include "kernels/x86/math_avx2.h"

typedef __m256 vec;
typedef size_t lanes;
enum { LANES = 8, COLUMNS = 8, PARTIAL_TILES = 0 };

EYE_INLINE lanes first(size_t n) { return n; }
EYE_INLINE vec zero(void) { return _mm256_setzero_ps(); }
EYE_INLINE vec load(const float *p, lanes n) { return eye_load8(p, n); }
EYE_INLINE vec load_twice(const float *p, lanes n) {
    __m128i four = _mm_cmpgt_epi32(_mm_set1_epi32((int)n), _mm_setr_epi32(0, 1, 2, 3));
    __m256 v = _mm256_castps128_ps256(n >= 4 ? _mm_loadu_ps(p) : _mm_maskload_ps(p, four));
    return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
}
EYE_INLINE void store(float *p, lanes n, vec v) { eye_store8(p, n, v); }
EYE_INLINE vec mul_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

#include "kernels/dwconv_back.h"
#include "kernels/dwconv_f32.h"

void eye_dwconv_f32_avx2(const struct eye_dwconv_args *a) { dwconv(a); }
void eye_dwconv_dx_f32_avx2(const struct eye_dwconv_back_args *a) { dwconv_dx(a); }
void eye_dwconv_dw_f32_avx2(const struct eye_dwconv_back_args *a) { dwconv_dw(a); }
