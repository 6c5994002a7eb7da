/* Vector mathematics for AVX-512 files: exp, sigmoid, sums over lanes in one fixed order, a transposition. static inline only. */
#ifndef EYE_MATH_AVX512_H
#define EYE_MATH_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "kernels/inline.h"

/* The first n (<= 16) lanes. */
EYE_INLINE __mmask16 eye_tail16(size_t n) { return (__mmask16)((1u << n) - 1); }

/* e^x for x <= 88.7, error < 1 ulp (2 in the denormals); -inf gives 0, NaN stays. x = n ln 2 + r, |r| <= ln 2 / 2;
 * the polynomial of e^r is Cephes' expf; scalef by 2^n underflows gradually. */
EYE_INLINE __m512 eye_exp_avx512(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-105.0f), x); /* else -inf - -inf below; in this order NaN passes */
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x); /* ln 2 in two parts: the first product is exact */
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r);
    return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

/* x's sigmoid times a: only e^-|x| is taken, which cannot overflow. */
EYE_INLINE __m512 eye_sigmoid_mul_avx512(__m512 x, __m512 a) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 e = eye_exp_avx512(_mm512_or_ps(x, _mm512_set1_ps(-0.0f)));
    __m512 num = _mm512_mask_mov_ps(one, _mm512_movepi32_mask(_mm512_castps_si512(x)), e);
    return _mm512_mul_ps(_mm512_div_ps(num, _mm512_add_ps(one, e)), a);
}

EYE_INLINE float eye_sum_avx512(__m512 v) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

/* r[i][j] becomes r[j][i]: three rounds of exchanges, of 1, 2 and (twice) 4 lanes. */
EYE_INLINE void eye_transpose16(__m512 r[16]) {
    __m512 t[16];
    EYE_UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    EYE_UNROLL
    for (int i = 0; i < 16; i += 4) { /* r[i + j]: column 4 q + j of rows i .. i + 3, in quarter q */
        __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
        __m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    EYE_UNROLL
    for (int j = 0; j < 4; j++) {
        __m512 lo = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88), lo2 = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
        __m512 hi = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd), hi2 = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
        t[j] = _mm512_shuffle_f32x4(lo, lo2, 0x88);      /* quarter 0 */
        t[8 + j] = _mm512_shuffle_f32x4(lo, lo2, 0xdd);  /* 2 */
        t[4 + j] = _mm512_shuffle_f32x4(hi, hi2, 0x88);  /* 1 */
        t[12 + j] = _mm512_shuffle_f32x4(hi, hi2, 0xdd); /* 3 */
    }
    memcpy(r, t, sizeof t);
}

#endif
