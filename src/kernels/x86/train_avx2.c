/* Training kernels, AVX2: the vectors of train_tile.h are 8 floats. */
#include "kernels/x86/math_avx2.h"

#include <math.h>
#include <stdint.h>

typedef __m256 vec;
typedef __m256i bits;
enum { LANES = 8 };
#define NAME(op) eye_##op##_avx2

EYE_INLINE vec set(float x) { return _mm256_set1_ps(x); }
EYE_INLINE vec load(const float *p, size_t n) { return eye_load8(p, n); }
EYE_INLINE vec load_low(const float *p, size_t n) {
    return n >= LANES ? _mm256_loadu_ps(p)
                      : _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), eye_load8(p, n), _mm256_castsi256_ps(eye_tail8(n)));
}
EYE_INLINE void store(float *p, size_t n, vec v) { eye_store8(p, n, v); }
EYE_INLINE vec keep(vec v, size_t n) { return n >= LANES ? v : _mm256_and_ps(v, _mm256_castsi256_ps(eye_tail8(n))); }
EYE_INLINE vec add(vec a, vec b) { return _mm256_add_ps(a, b); }
EYE_INLINE vec sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
EYE_INLINE vec mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
EYE_INLINE vec quotient(vec a, vec b) { return _mm256_div_ps(a, b); }
EYE_INLINE vec root(vec a) { return _mm256_sqrt_ps(a); }
EYE_INLINE vec larger(vec a, vec b) { return _mm256_max_ps(a, b); }
EYE_INLINE vec mul_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
EYE_INLINE vec exponential(vec a) { return eye_exp_avx2(a); }
EYE_INLINE float lanes_sum(vec a) { return eye_sum_avx2(a); }
EYE_INLINE float lanes_max(vec a) { return eye_max_avx2(a); }

EYE_INLINE bits bits_set(uint32_t x) { return _mm256_set1_epi32((int)x); }
EYE_INLINE bits bits_count(void) { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
EYE_INLINE bits bits_add(bits a, bits b) { return _mm256_add_epi32(a, b); }
EYE_INLINE bits bits_mul(bits a, bits b) { return _mm256_mullo_epi32(a, b); }
EYE_INLINE bits bits_xor(bits a, bits b) { return _mm256_xor_si256(a, b); }
#define bits_right(v, n) _mm256_srli_epi32(v, n)
EYE_INLINE vec where_at_least(bits a, bits b, vec v) { /* unsigned: a is the larger one */
    return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a)));
}

#include "kernels/train_tile.h"
