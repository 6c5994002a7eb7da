/* Static int8 element-wise, AVX-512. Bit for bit the plain C versions. */
#include "kernels/rows.h"
#include "kernels/x86/gelu_u8_avx512.h"

EYE_INLINE void store_64(uint8_t *q, __m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0); /* packs work on 128 bits each */
    __m512i ab = _mm512_packs_epi32(eye_to_int_avx512(a), eye_to_int_avx512(b));
    __m512i cd = _mm512_packs_epi32(eye_to_int_avx512(c), eye_to_int_avx512(d));
    _mm512_storeu_si512(q, _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, cd)));
}
EYE_INLINE void store_16(uint8_t *q, __mmask16 t, __m512 v) {
    _mm_mask_storeu_epi8(q, t, _mm512_cvtepi32_epi8(_mm512_max_epi32(eye_to_int_avx512(v), _mm512_setzero_si512())));
}

void eye_quant_u8_avx512(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const __m512 s = _mm512_set1_ps(inv_scale), z = _mm512_set1_ps(zero);
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        store_64(q + i, _mm512_fmadd_ps(_mm512_loadu_ps(x + i), s, z), _mm512_fmadd_ps(_mm512_loadu_ps(x + i + 16), s, z),
                 _mm512_fmadd_ps(_mm512_loadu_ps(x + i + 32), s, z), _mm512_fmadd_ps(_mm512_loadu_ps(x + i + 48), s, z));
    for (; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        store_16(q + i, t, _mm512_fmadd_ps(_mm512_maskz_loadu_ps(t, x + i), s, z));
    }
}

void eye_gelu_u8_avx512(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const __m512 s = _mm512_set1_ps(inv_scale), z = _mm512_set1_ps(zero);
    const struct eye_coarse_gelu c = eye_coarse_gelu_load();
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512 v[4];
        EYE_UNROLL
        for (int j = 0; j < 4; j++) v[j] = _mm512_fmadd_ps(eye_coarse_gelu_of(_mm512_loadu_ps(x + i + 16 * j), &c), s, z);
        store_64(q + i, v[0], v[1], v[2], v[3]);
    }
    for (; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        store_16(q + i, t, _mm512_fmadd_ps(eye_coarse_gelu_of(_mm512_maskz_loadu_ps(t, x + i), &c), s, z));
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
