/* Peaks of AVX-512: fused multiply-adds of 16 floats; with VNNI 4 products of bytes a lane, with BF16 2 of bf16. Compiled once
 * for each of these. */
#include <immintrin.h>

#include "kernels/peak.h"

#if defined(__AVX512BF16__)
static inline __m512 step_bf16(__m512 acc, __m512bh f) { return _mm512_dpbf16_ps(acc, f, f); }
static inline double sum_f32(__m512 v) { return (double)_mm512_reduce_add_ps(v); }
#define BOTH(one) ((__m512bh)_mm512_set1_epi32((int)(eye_f32_bits(one) >> 16 | (eye_f32_bits(one) & 0xffff0000u))))
EYE_PEAK(eye_peak_bf16_avx512bf16, __m512, _mm512_setzero_ps(), __m512bh, BOTH(one), step_bf16, sum_f32)
#elif defined(__AVX512VNNI__)
static inline __m512i step_i8(__m512i acc, __m512i f) { return _mm512_dpbusd_epi32(acc, f, f); }
static inline double sum_i32(__m512i v) {
    int32_t x[16];
    double s = 0;
    _mm512_storeu_si512(x, v);
    for (int i = 0; i < 16; i++) s += x[i];
    return s;
}
EYE_PEAK(eye_peak_i8_avx512vnni, __m512i, _mm512_setzero_si512(), __m512i, _mm512_set1_epi8((char)one), step_i8, sum_i32)
#else
static inline __m512 step_f32(__m512 acc, __m512 f) { return _mm512_fmadd_ps(f, f, acc); }
static inline double sum_f32(__m512 v) {
    float x[16];
    double s = 0;
    _mm512_storeu_ps(x, v);
    for (int i = 0; i < 16; i++) s += (double)x[i];
    return s;
}
EYE_PEAK(eye_peak_f32_avx512, __m512, _mm512_setzero_ps(), __m512, _mm512_set1_ps(one), step_f32, sum_f32)
EYE_PEAK(eye_peak_bf16_avx512, __m512, _mm512_setzero_ps(), __m512, _mm512_set1_ps(one), step_f32, sum_f32)
#endif
