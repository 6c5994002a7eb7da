/* Peak of AVX-VNNI: 4 products of bytes a lane. */
#include <immintrin.h>

#include "kernels/peak.h"

static inline double sum_i32(__m256i v) {
    int32_t x[8];
    double s = 0;
    _mm256_storeu_si256((__m256i *)x, v);
    for (int i = 0; i < 8; i++) s += x[i];
    return s;
}
static inline __m256i step_i8(__m256i acc, __m256i f) { return _mm256_dpbusd_avx_epi32(acc, f, f); }

EYE_PEAK(eye_peak_i8_avxvnni, __m256i, _mm256_setzero_si256(), __m256i, _mm256_set1_epi8((char)one), step_i8, sum_i32)
