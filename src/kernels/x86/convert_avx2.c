/* Conversions and int8 quantization, AVX2 + F16C. Bit for bit the plain C versions; tails go through a small buffer. */
#include <string.h>

#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

EYE_INLINE __m128i to_f16(__m256 f) { return _mm256_cvtps_ph(f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

EYE_INLINE __m128i to_bf16(__m256 f) {
    __m256i x = _mm256_castps_si256(f), top = _mm256_srli_epi32(x, 16);
    __m256i bias = _mm256_add_epi32(_mm256_set1_epi32(0x7fff), _mm256_and_si256(top, _mm256_set1_epi32(1)));
    __m256i r = _mm256_srli_epi32(_mm256_add_epi32(x, bias), 16);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q));
    r = _mm256_blendv_epi8(r, _mm256_or_si256(top, _mm256_set1_epi32(0x40)), nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}

#define EYE_NARROW(name, f)                                                                     \
    void name(uint16_t *dst, const float *src, size_t n) {                                      \
        size_t i = 0;                                                                           \
        for (; i + 8 <= n; i += 8) _mm_storeu_si128((__m128i *)(dst + i), f(_mm256_loadu_ps(src + i))); \
        if (i == n) return;                                                                     \
        uint16_t last[8];                                                                       \
        _mm_storeu_si128((__m128i *)last, f(eye_load8(src + i, n - i)));    \
        memcpy(dst + i, last, (n - i) * sizeof last[0]);                                        \
    }
EYE_NARROW(eye_f32_to_f16_avx2, to_f16)
EYE_NARROW(eye_f32_to_bf16_avx2, to_bf16)

void eye_f16_to_f32_avx2(float *dst, const uint16_t *src, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
    if (i == n) return;
    uint16_t last[8] = {0};
    memcpy(last, src + i, (n - i) * sizeof last[0]);
    eye_store8(dst + i, n - i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)last)));
}

float eye_quant_i8_f32_avx2(int8_t *q, const float *x, size_t n) {
    const __m256 limit = _mm256_set1_ps(127.0f), low = _mm256_set1_ps(-127.0f);
    __m256 max = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8)
        max = _mm256_max_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), eye_load8(x + i, n - i)), max);
    float scale = eye_max_avx2(max) / 127.0f;
    if (!(scale > 0.0f)) {
        memset(q, 0, n);
        return scale;
    }
    const __m256 s = _mm256_set1_ps(scale);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_div_ps(eye_load8(x + i, n - i), s);
        __m256i r = _mm256_cvtps_epi32(_mm256_max_ps(low, _mm256_min_ps(v, limit)));
        __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
        int64_t b = _mm_cvtsi128_si64(_mm_packs_epi16(h, h));
        memcpy(q + i, &b, n - i < 8 ? n - i : 8);
    }
    return scale;
}
