/* Row operations, NEON: layer norm, RMS norm, softmax, rotary embedding. A row is summed in 4 x 4 lanes by position, then over
 * the lanes in one order: the result depends on the row alone. */
#include <math.h>

#include "kernels/arm/math_neon.h"
#include "kernels/rows.h"

EYE_INLINE float32x4_t keep(float32x4_t v, size_t n) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), eye_mask4(n)));
}

/* Sum of (x - mean)^power over the row, power 1 or 2. */
EYE_INLINE float row_sum(const float *x, size_t n, float mean, int power) {
    const float32x4_t m = vdupq_n_f32(mean);
    float32x4_t s[4];
    for (int k = 0; k < 4; k++) s[k] = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int k = 0; k < 4; k++) {
            float32x4_t v = vsubq_f32(vld1q_f32(x + i + 4 * k), m);
            s[k] = power == 1 ? vaddq_f32(s[k], v) : vfmaq_f32(s[k], v, v);
        }
    }
    for (; i < n; i += 4) {
        float32x4_t v = keep(vsubq_f32(eye_load4(x + i, n - i), m), n - i);
        s[0] = power == 1 ? vaddq_f32(s[0], v) : vfmaq_f32(s[0], v, v);
    }
    return vaddvq_f32(vaddq_f32(vaddq_f32(s[0], s[1]), vaddq_f32(s[2], s[3])));
}

void eye_layer_norm_f32_neon(float *y, const float *x, const float *w, const float *b, size_t n, float eps) {
    float mean = row_sum(x, n, 0.0f, 1) / (float)n;
    float scale = 1.0f / sqrtf(row_sum(x, n, mean, 2) / (float)n + eps);
    const float32x4_t m = vdupq_n_f32(mean), one = vdupq_n_f32(1.0f), zero = vdupq_n_f32(0.0f);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(vsubq_f32(eye_load4(x + i, n - i), m), scale);
        v = vfmaq_f32(b ? eye_load4(b + i, n - i) : zero, v, w ? eye_load4(w + i, n - i) : one);
        eye_store4(y + i, n - i, v);
    }
}

void eye_rms_norm_f32_neon(float *y, const float *x, const float *w, size_t n, float eps) {
    float scale = 1.0f / sqrtf(row_sum(x, n, 0.0f, 2) / (float)n + eps);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(eye_load4(x + i, n - i), scale);
        eye_store4(y + i, n - i, w ? vmulq_f32(v, eye_load4(w + i, n - i)) : v);
    }
}

void eye_softmax_f32_neon(float *x, size_t n) {
    const float32x4_t low = vdupq_n_f32(-INFINITY);
    float32x4_t top = low, sum = vdupq_n_f32(0.0f);
    for (size_t i = 0; i < n; i += 4) top = vmaxq_f32(top, vbslq_f32(eye_mask4(n - i), eye_load4(x + i, n - i), low));
    const float32x4_t max = vdupq_n_f32(vmaxvq_f32(top));
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t e = eye_exp_neon(vsubq_f32(eye_load4(x + i, n - i), max));
        sum = vaddq_f32(sum, keep(e, n - i));
        eye_store4(x + i, n - i, e);
    }
    float inv = 1.0f / vaddvq_f32(sum);
    for (size_t i = 0; i < n; i += 4) eye_store4(x + i, n - i, vmulq_n_f32(eye_load4(x + i, n - i), inv));
}

void eye_rope_f32_neon(float *x, const float *cos, const float *sin, size_t d) {
    size_t h = d / 2;
    for (size_t i = 0; i < h; i += 4) {
        float32x4_t a = eye_load4(x + i, h - i), b = eye_load4(x + h + i, h - i);
        float32x4_t c = eye_load4(cos + i, h - i), s = eye_load4(sin + i, h - i);
        eye_store4(x + i, h - i, vfmsq_f32(vmulq_f32(a, c), b, s));
        eye_store4(x + h + i, h - i, vfmaq_f32(vmulq_f32(b, c), a, s));
    }
}
