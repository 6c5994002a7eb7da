/* Peaks of AVX2: fused multiply-adds of 8 floats; bytes as the engine's AVX2 kernels take them, widened, 2 products a lane. */
#include <immintrin.h>

#include "kernels/peak.h"

static inline double sum_f32(__m256 v) {
    float x[8];
    double s = 0;
    _mm256_storeu_ps(x, v);
    for (int i = 0; i < 8; i++) s += (double)x[i];
    return s;
}
static inline double sum_i32(__m256i v) {
    int32_t x[8];
    double s = 0;
    _mm256_storeu_si256((__m256i *)x, v);
    for (int i = 0; i < 8; i++) s += x[i];
    return s;
}
static inline __m256 step_f32(__m256 acc, __m256 f) { return _mm256_fmadd_ps(f, f, acc); }
static inline __m256i step_i16(__m256i acc, __m256i f) { return _mm256_add_epi32(acc, _mm256_madd_epi16(f, f)); }

EYE_PEAK(eye_peak_f32_avx2, __m256, _mm256_setzero_ps(), __m256, _mm256_set1_ps(one), step_f32, sum_f32)
EYE_PEAK(eye_peak_bf16_avx2, __m256, _mm256_setzero_ps(), __m256, _mm256_set1_ps(one), step_f32, sum_f32)
EYE_PEAK(eye_peak_i8_avx2, __m256i, _mm256_setzero_si256(), __m256i, _mm256_set1_epi16((short)one), step_i16, sum_i32)
