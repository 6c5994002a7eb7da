/* GELU for bytes, AVX-512: the same numbers as the plain C version's, whose u is 4 times ours and whose pieces are scaled for
 * that: powers of two change no rounding. So t is cut and placed by additions alone, which have units of their own here.
 * static inline only. */
#ifndef EYE_GELU_U8_AVX512_H
#define EYE_GELU_U8_AVX512_H

#include "kernels/gelu_tables.h"
#include "kernels/x86/math_avx512.h"

struct eye_coarse_gelu {
    __m512 k0, k1, k2; /* of 16 pieces */
};

EYE_INLINE struct eye_coarse_gelu eye_coarse_gelu_load(void) {
    return (struct eye_coarse_gelu){_mm512_loadu_ps(eye_gelu_coarse[0]),
                                    _mm512_mul_ps(_mm512_loadu_ps(eye_gelu_coarse[1]), _mm512_set1_ps(4.0f)),
                                    _mm512_mul_ps(_mm512_loadu_ps(eye_gelu_coarse[2]), _mm512_set1_ps(16.0f))};
}

EYE_INLINE __m512 eye_coarse_gelu_of(__m512 x, const struct eye_coarse_gelu *c) {
    const __m512 magic = _mm512_set1_ps(3145728.0f); /* 1.5 x 2^21: adding it rounds to quarters, counted in the low bits */
    const __m512i end = _mm512_castps_si512(_mm512_set1_ps(EYE_GELU_COARSE_MAX));
    __m512 t = _mm512_castsi512_ps(_mm512_min_epi32(_mm512_castps_si512(_mm512_abs_ps(x)), end)); /* NaN gives the end */
    __m512 biased = _mm512_add_ps(t, magic), u = _mm512_sub_ps(t, _mm512_sub_ps(biased, magic));
    __m512i i = _mm512_castps_si512(biased);
    __m512 k = _mm512_fmadd_ps(_mm512_permutexvar_ps(i, c->k2), u, _mm512_permutexvar_ps(i, c->k1));
    k = _mm512_fmadd_ps(k, u, _mm512_permutexvar_ps(i, c->k0));
    return _mm512_sub_ps(_mm512_max_ps(x, _mm512_setzero_ps()), k);
}

/* Numbers to bytes: packing saturates; what is too large for int32 would become the least one, hence min. NaN becomes that one,
 * too, and so 0. */
EYE_INLINE __m512i eye_to_int_avx512(__m512 v) { return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(255.0f), v)); }

#endif
