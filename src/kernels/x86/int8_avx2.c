/* Static int8 element-wise, AVX2. Bit for bit the plain C versions; tails go through a small buffer. */
#include <string.h>

#include "kernels/gelu_tables.h"
#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

/* n <= 8 of v, as bytes. */
EYE_INLINE void store_u8(uint8_t *q, size_t n, __m256 v) {
    v = _mm256_min_ps(_mm256_max_ps(v, _mm256_setzero_ps()), _mm256_set1_ps(255.0f)); /* second operand where the first is NaN */
    __m256i r = _mm256_cvtps_epi32(v);
    __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
    int64_t b = _mm_cvtsi128_si64(_mm_packus_epi16(h, h));
    if (n >= 8) _mm_storeu_si64(q, _mm_cvtsi64_si128(b));
    else memcpy(q, &b, n);
}

void eye_quant_u8_avx2(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const __m256 s = _mm256_set1_ps(inv_scale), z = _mm256_set1_ps(zero);
    for (size_t i = 0; i < n; i += 8) store_u8(q + i, n - i, _mm256_fmadd_ps(eye_load8(x + i, n - i), s, z));
}

/* Of 16 numbers those at the low bits of i. */
EYE_INLINE __m256 look_up(const float table[16], __m256i i) {
    __m256 lo = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), i), hi = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), i);
    return _mm256_blendv_ps(lo, hi, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}

EYE_INLINE __m256 coarse_gelu(__m256 x) {
    const __m256 magic = _mm256_set1_ps(12582912.0f), four = _mm256_set1_ps(4.0f); /* as in int8_avx512.c */
    __m256 t = _mm256_min_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x), _mm256_set1_ps(EYE_GELU_COARSE_MAX));
    __m256 biased = _mm256_fmadd_ps(t, four, magic), u = _mm256_fmsub_ps(t, four, _mm256_sub_ps(biased, magic));
    __m256i i = _mm256_castps_si256(biased);
    __m256 k = _mm256_fmadd_ps(look_up(eye_gelu_coarse[2], i), u, look_up(eye_gelu_coarse[1], i));
    k = _mm256_fmadd_ps(k, u, look_up(eye_gelu_coarse[0], i));
    return _mm256_sub_ps(_mm256_max_ps(x, _mm256_setzero_ps()), k);
}

void eye_gelu_u8_avx2(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const __m256 s = _mm256_set1_ps(inv_scale), z = _mm256_set1_ps(zero);
    for (size_t i = 0; i < n; i += 8) store_u8(q + i, n - i, _mm256_fmadd_ps(coarse_gelu(eye_load8(x + i, n - i)), s, z));
}

void eye_add_u8_avx2(float *y, const uint8_t *q, const float *a, size_t n, float scale, float zero) {
    const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t eight = 0;
        memcpy(&eight, q + i, n - i < 8 ? n - i : 8);
        __m256 v = _mm256_sub_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)eight))), z);
        __m256 start = a ? eye_load8(a + i, n - i) : _mm256_setzero_ps();
        eye_store8(y + i, n - i, _mm256_fmadd_ps(v, s, start));
    }
}

void eye_quant_i16_avx2(int16_t *q, const float *x, size_t n, float inv_scale, float top) {
    const __m256 s = _mm256_set1_ps(inv_scale), hi = _mm256_set1_ps(top), lo = _mm256_set1_ps(-top);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(eye_load8(x + i, n - i), s);
        v = _mm256_min_ps(_mm256_max_ps(v, lo), hi); /* second operand where the first is NaN */
        __m256i r = _mm256_cvtps_epi32(v);
        __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
        if (n - i >= 8) _mm_storeu_si128((__m128i *)(q + i), h);
        else memcpy(q + i, &h, (n - i) * sizeof *q);
    }
}

void eye_add_i16_avx2(float *y, const int16_t *q, const float *a, size_t n, float scale) {
    const __m256 s = _mm256_set1_ps(scale);
    for (size_t i = 0; i < n; i += 8) {
        __m128i eight = _mm_setzero_si128();
        if (n - i >= 8) eight = _mm_loadu_si128((const __m128i *)(q + i));
        else memcpy(&eight, q + i, (n - i) * sizeof *q);
        __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(eight));
        __m256 start = a ? eye_load8(a + i, n - i) : _mm256_setzero_ps();
        eye_store8(y + i, n - i, _mm256_fmadd_ps(v, s, start));
    }
}
