/* Static int8 element-wise, AVX2. Bit for bit the plain C versions; tails go through a small buffer. */
#include <string.h>

#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

void eye_quant_u8_avx2(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const __m256 s = _mm256_set1_ps(inv_scale), z = _mm256_set1_ps(zero), top = _mm256_set1_ps(255.0f);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_fmadd_ps(eye_load8(x + i, n - i), s, z);
        v = _mm256_min_ps(_mm256_max_ps(v, _mm256_setzero_ps()), top); /* second operand where the first is NaN */
        __m256i r = _mm256_cvtps_epi32(v);
        __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
        int64_t b = _mm_cvtsi128_si64(_mm_packus_epi16(h, h));
        memcpy(q + i, &b, n - i < 8 ? n - i : 8);
    }
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
        memcpy(q + i, &h, (n - i < 8 ? n - i : 8) * sizeof *q);
    }
}

void eye_add_i16_avx2(float *y, const int16_t *q, const float *a, size_t n, float scale) {
    const __m256 s = _mm256_set1_ps(scale);
    for (size_t i = 0; i < n; i += 8) {
        __m128i eight = _mm_setzero_si128();
        memcpy(&eight, q + i, (n - i < 8 ? n - i : 8) * sizeof *q);
        __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(eight));
        __m256 start = a ? eye_load8(a + i, n - i) : _mm256_setzero_ps();
        eye_store8(y + i, n - i, _mm256_fmadd_ps(v, s, start));
    }
}
