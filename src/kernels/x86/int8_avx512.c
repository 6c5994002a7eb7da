/* Static int8 element-wise, AVX-512. Bit for bit the plain C versions. */
#include "kernels/rows.h"
#include "kernels/x86/math_avx512.h"

void eye_quant_u8_avx512(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const __m512 s = _mm512_set1_ps(inv_scale), z = _mm512_set1_ps(zero), top = _mm512_set1_ps(255.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        __m512 v = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(t, x + i), s, z);
        v = _mm512_min_ps(_mm512_max_ps(v, _mm512_setzero_ps()), top); /* second operand where the first is NaN */
        _mm_mask_storeu_epi8(q + i, t, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
    }
}

void eye_add_u8_avx512(float *y, const uint8_t *q, const float *a, size_t n, float scale, float zero) {
    const __m512 s = _mm512_set1_ps(scale), z = _mm512_set1_ps(zero);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        __m512 v = _mm512_sub_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(t, q + i))), z);
        __m512 start = a ? _mm512_maskz_loadu_ps(t, a + i) : _mm512_setzero_ps();
        _mm512_mask_storeu_ps(y + i, t, _mm512_fmadd_ps(v, s, start));
    }
}

void eye_quant_i16_avx512(int16_t *q, const float *x, size_t n, float inv_scale, float top) {
    const __m512 s = _mm512_set1_ps(inv_scale), hi = _mm512_set1_ps(top), lo = _mm512_set1_ps(-top);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(t, x + i), s);
        v = _mm512_min_ps(_mm512_max_ps(v, lo), hi); /* second operand where the first is NaN */
        _mm256_mask_storeu_epi16(q + i, t, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v)));
    }
}

void eye_add_i16_avx512(float *y, const int16_t *q, const float *a, size_t n, float scale) {
    const __m512 s = _mm512_set1_ps(scale);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(t, q + i)));
        __m512 start = a ? _mm512_maskz_loadu_ps(t, a + i) : _mm512_setzero_ps();
        _mm512_mask_storeu_ps(y + i, t, _mm512_fmadd_ps(v, s, start));
    }
}
