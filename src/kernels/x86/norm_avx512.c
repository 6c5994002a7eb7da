/* Row operations, AVX-512: layer norm, RMS norm, softmax, rotary embedding. A row is summed in 4 x 16 lanes by position, then
 * over the lanes in one order: the result depends on the row alone. */
#include <math.h>

#include "kernels/rows.h"
#include "kernels/x86/math_avx512.h"

/* Sum of (x - mean)^power over the row, power 1 or 2. */
EYE_INLINE float row_sum(const float *x, size_t n, float mean, int power) {
    const __m512 m = _mm512_set1_ps(mean);
    __m512 s[4];
    for (int k = 0; k < 4; k++) s[k] = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        for (int k = 0; k < 4; k++) {
            __m512 v = _mm512_sub_ps(_mm512_loadu_ps(x + i + 16 * k), m);
            s[k] = power == 1 ? _mm512_add_ps(s[k], v) : _mm512_fmadd_ps(v, v, s[k]);
        }
    }
    for (; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        __m512 v = _mm512_maskz_sub_ps(t, _mm512_maskz_loadu_ps(t, x + i), m);
        s[0] = power == 1 ? _mm512_add_ps(s[0], v) : _mm512_fmadd_ps(v, v, s[0]);
    }
    return eye_sum_avx512(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

void eye_layer_norm_f32_avx512(float *y, const float *x, const float *w, const float *b, size_t n, float eps) {
    float mean = row_sum(x, n, 0.0f, 1) / (float)n;
    float scale = 1.0f / sqrtf(row_sum(x, n, mean, 2) / (float)n + eps);
    const __m512 m = _mm512_set1_ps(mean), s = _mm512_set1_ps(scale), one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        __m512 v = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(t, x + i), m), s);
        v = _mm512_fmadd_ps(v, w ? _mm512_maskz_loadu_ps(t, w + i) : one, b ? _mm512_maskz_loadu_ps(t, b + i) : zero);
        _mm512_mask_storeu_ps(y + i, t, v);
    }
}

void eye_rms_norm_f32_avx512(float *y, const float *x, const float *w, size_t n, float eps) {
    const __m512 s = _mm512_set1_ps(1.0f / sqrtf(row_sum(x, n, 0.0f, 2) / (float)n + eps)), one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(t, x + i), s);
        _mm512_mask_storeu_ps(y + i, t, _mm512_mul_ps(v, w ? _mm512_maskz_loadu_ps(t, w + i) : one));
    }
}

void eye_softmax_f32_avx512(float *x, size_t n) {
    const __m512 low = _mm512_set1_ps(-INFINITY);
    __m512 max = low, sum = _mm512_setzero_ps();
    __mmask16 tail = eye_tail16(n % 16);
    size_t full = n - n % 16;
    for (size_t i = 0; i < full; i += 16) max = _mm512_max_ps(max, _mm512_loadu_ps(x + i));
    max = _mm512_max_ps(max, _mm512_mask_loadu_ps(low, tail, x + full));
    max = _mm512_set1_ps(_mm512_reduce_max_ps(max));
    for (size_t i = 0; i < full; i += 16) {
        __m512 e = eye_exp_avx512(_mm512_sub_ps(_mm512_loadu_ps(x + i), max));
        sum = _mm512_add_ps(sum, e);
        _mm512_storeu_ps(x + i, e);
    }
    if (tail) {
        __m512 e = eye_exp_avx512(_mm512_sub_ps(_mm512_maskz_loadu_ps(tail, x + full), max));
        sum = _mm512_mask_add_ps(sum, tail, sum, e);
        _mm512_mask_storeu_ps(x + full, tail, e);
    }
    const __m512 inv = _mm512_set1_ps(1.0f / eye_sum_avx512(sum));
    for (size_t i = 0; i < full; i += 16) _mm512_storeu_ps(x + i, _mm512_mul_ps(_mm512_loadu_ps(x + i), inv));
    _mm512_mask_storeu_ps(x + full, tail, _mm512_mul_ps(_mm512_maskz_loadu_ps(tail, x + full), inv));
}

void eye_rope_f32_avx512(float *x, const float *cos, const float *sin, size_t d) {
    size_t h = d / 2;
    for (size_t i = 0; i < h; i += 16) {
        __mmask16 t = h - i < 16 ? eye_tail16(h - i) : 0xffff;
        __m512 a = _mm512_maskz_loadu_ps(t, x + i), b = _mm512_maskz_loadu_ps(t, x + h + i);
        __m512 c = _mm512_maskz_loadu_ps(t, cos + i), s = _mm512_maskz_loadu_ps(t, sin + i);
        _mm512_mask_storeu_ps(x + i, t, _mm512_fnmadd_ps(b, s, _mm512_mul_ps(a, c)));
        _mm512_mask_storeu_ps(x + h + i, t, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    }
}
