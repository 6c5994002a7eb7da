/* Training kernels, AVX-512: the vectors of train_tile.h are 16 floats, fewer by mask. */
#include "kernels/x86/math_avx512.h"

#include <math.h>
#include <stdint.h>

typedef __m512 vec;
typedef __m512i bits;
enum { LANES = 16 };
#define NAME(op) eye_##op##_avx512

EYE_INLINE __mmask16 some(size_t n) { return n < LANES ? eye_tail16(n) : (__mmask16)0xffff; }
EYE_INLINE vec set(float x) { return _mm512_set1_ps(x); }
EYE_INLINE vec load(const float *p, size_t n) { return _mm512_maskz_loadu_ps(some(n), p); }
EYE_INLINE vec load_low(const float *p, size_t n) { return _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), some(n), p); }
EYE_INLINE void store(float *p, size_t n, vec v) { _mm512_mask_storeu_ps(p, some(n), v); }
EYE_INLINE vec keep(vec v, size_t n) { return _mm512_maskz_mov_ps(some(n), v); }
EYE_INLINE vec add(vec a, vec b) { return _mm512_add_ps(a, b); }
EYE_INLINE vec sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
EYE_INLINE vec mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
EYE_INLINE vec quotient(vec a, vec b) { return _mm512_div_ps(a, b); }
EYE_INLINE vec root(vec a) { return _mm512_sqrt_ps(a); }
EYE_INLINE vec larger(vec a, vec b) { return _mm512_max_ps(a, b); }
EYE_INLINE vec mul_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
EYE_INLINE vec exponential(vec a) { return eye_exp_avx512(a); }
EYE_INLINE float lanes_sum(vec a) { return eye_sum_avx512(a); }
EYE_INLINE float lanes_max(vec a) { return _mm512_reduce_max_ps(a); }

EYE_INLINE bits bits_set(uint32_t x) { return _mm512_set1_epi32((int)x); }
EYE_INLINE bits bits_count(void) { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
EYE_INLINE bits bits_add(bits a, bits b) { return _mm512_add_epi32(a, b); }
EYE_INLINE bits bits_mul(bits a, bits b) { return _mm512_mullo_epi32(a, b); }
EYE_INLINE bits bits_xor(bits a, bits b) { return _mm512_xor_si512(a, b); }
#define bits_right(v, n) _mm512_srli_epi32(v, n)
EYE_INLINE vec where_at_least(bits a, bits b, vec v) { return _mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(a, b), v); }

#include "kernels/train_tile.h"
