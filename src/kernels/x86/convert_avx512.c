/* Conversions and int8 quantization, AVX-512. Bit for bit the plain C versions. */
#include "kernels/rows.h"
#include "kernels/x86/math_avx512.h"

#define EYE_RNE (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

void eye_f32_to_f16_avx512(uint16_t *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        _mm256_mask_storeu_epi16(dst + i, t, _mm512_cvtps_ph(_mm512_maskz_loadu_ps(t, src + i), EYE_RNE));
    }
}

/* By integers, not vcvtneps2bf16: that one flushes denormals. */
void eye_f32_to_bf16_avx512(uint16_t *dst, const float *src, size_t n) {
    const __m512i half = _mm512_set1_epi32(0x7fff), one = _mm512_set1_epi32(1), quiet = _mm512_set1_epi32(0x40);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        __m512 f = _mm512_maskz_loadu_ps(t, src + i);
        __m512i x = _mm512_castps_si512(f), top = _mm512_srli_epi32(x, 16);
        __m512i r = _mm512_srli_epi32(_mm512_add_epi32(x, _mm512_add_epi32(half, _mm512_and_si512(top, one))), 16);
        r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(f, f, _CMP_UNORD_Q), top, quiet);
        _mm256_mask_storeu_epi16(dst + i, t, _mm512_cvtepi32_epi16(r));
    }
}

void eye_f16_to_f32_avx512(float *dst, const uint16_t *src, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        _mm512_mask_storeu_ps(dst + i, t, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(t, src + i)));
    }
}

float eye_quant_i8_f32_avx512(int8_t *q, const float *x, size_t n) {
    __m512 max = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        max = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(t, x + i)), max);
    }
    float scale = _mm512_reduce_max_ps(max) / 127.0f;
    const __m512 s = _mm512_set1_ps(scale), limit = _mm512_set1_ps(127.0f), low = _mm512_set1_ps(-127.0f);
    __mmask16 some = scale > 0.0f ? 0xffff : 0;
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        __m512 v = _mm512_div_ps(_mm512_maskz_loadu_ps(t, x + i), s);
        v = _mm512_max_ps(low, _mm512_min_ps(v, limit));
        _mm_mask_storeu_epi8(q + i, t, _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(some, v)));
    }
    return scale;
}
