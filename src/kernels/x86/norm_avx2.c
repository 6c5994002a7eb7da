/* Row operations, AVX2 + FMA: layer norm, RMS norm, softmax, rotary embedding. A row is summed in 4 x 8 lanes by position,
 * then over the lanes in one order: the result depends on the row alone. */
#include <math.h>

#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

/* Sum of (x - mean)^power over the row, power 1 or 2. */
EYE_INLINE float row_sum(const float *x, size_t n, float mean, int power) {
    const __m256 m = _mm256_set1_ps(mean);
    __m256 s[4];
    for (int k = 0; k < 4; k++) s[k] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        for (int k = 0; k < 4; k++) {
            __m256 v = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8 * k), m);
            s[k] = power == 1 ? _mm256_add_ps(s[k], v) : _mm256_fmadd_ps(v, v, s[k]);
        }
    }
    for (; i < n; i += 8) {
        __m256i t = eye_tail8(n - i);
        __m256 v = _mm256_and_ps(_mm256_sub_ps(eye_load8(x + i, n - i), m), _mm256_castsi256_ps(t));
        s[0] = power == 1 ? _mm256_add_ps(s[0], v) : _mm256_fmadd_ps(v, v, s[0]);
    }
    return eye_sum_avx2(_mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3])));
}

void eye_layer_norm_f32_avx2(float *y, const float *x, const float *w, const float *b, size_t n, float eps) {
    float mean = row_sum(x, n, 0.0f, 1) / (float)n;
    float scale = 1.0f / sqrtf(row_sum(x, n, mean, 2) / (float)n + eps);
    const __m256 m = _mm256_set1_ps(mean), s = _mm256_set1_ps(scale), one = _mm256_set1_ps(1.0f), zero = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_sub_ps(eye_load8(x + i, n - i), m), s);
        v = _mm256_fmadd_ps(v, w ? eye_load8(w + i, n - i) : one, b ? eye_load8(b + i, n - i) : zero);
        eye_store8(y + i, n - i, v);
    }
}

void eye_rms_norm_f32_avx2(float *y, const float *x, const float *w, size_t n, float eps) {
    const __m256 s = _mm256_set1_ps(1.0f / sqrtf(row_sum(x, n, 0.0f, 2) / (float)n + eps)), one = _mm256_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(eye_load8(x + i, n - i), s);
        eye_store8(y + i, n - i, _mm256_mul_ps(v, w ? eye_load8(w + i, n - i) : one));
    }
}

void eye_softmax_f32_avx2(float *x, size_t n) {
    const __m256 low = _mm256_set1_ps(-INFINITY);
    __m256 max = low, sum = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        __m256i t = eye_tail8(n - i);
        max = _mm256_max_ps(max, _mm256_blendv_ps(low, eye_load8(x + i, n - i), _mm256_castsi256_ps(t)));
    }
    max = _mm256_set1_ps(eye_max_avx2(max));
    for (size_t i = 0; i < n; i += 8) {
        __m256i t = eye_tail8(n - i);
        __m256 e = eye_exp_avx2(_mm256_sub_ps(eye_load8(x + i, n - i), max));
        sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(t)));
        eye_store8(x + i, n - i, e);
    }
    const __m256 inv = _mm256_set1_ps(1.0f / eye_sum_avx2(sum));
    for (size_t i = 0; i < n; i += 8) eye_store8(x + i, n - i, _mm256_mul_ps(eye_load8(x + i, n - i), inv));
}

void eye_rope_f32_avx2(float *x, const float *cos, const float *sin, size_t d) {
    size_t h = d / 2;
    for (size_t i = 0; i < h; i += 8) {
        __m256 a = eye_load8(x + i, h - i), b = eye_load8(x + h + i, h - i);
        __m256 c = eye_load8(cos + i, h - i), s = eye_load8(sin + i, h - i);
        eye_store8(x + i, h - i, _mm256_fnmadd_ps(b, s, _mm256_mul_ps(a, c)));
        eye_store8(x + h + i, h - i, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
}
