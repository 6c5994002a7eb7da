/* Row operations, plain C: layer norm, RMS norm, softmax, rotary embedding. Sums in double, one rounding per output. */
#include <math.h>

#include "kernels/rows.h"

void eye_layer_norm_f32_ref(float *y, const float *x, const float *w, const float *b, size_t n, float eps) {
    double sum = 0.0, sq = 0.0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) sq += (x[i] - mean) * (x[i] - mean);
    double scale = 1.0 / sqrt(sq / (double)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = (float)((x[i] - mean) * scale * (w ? w[i] : 1.0f) + (b ? b[i] : 0.0f));
}

void eye_rms_norm_f32_ref(float *y, const float *x, const float *w, size_t n, float eps) {
    double sq = 0.0;
    for (size_t i = 0; i < n; i++) sq += (double)x[i] * x[i];
    double scale = 1.0 / sqrt(sq / (double)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = (float)(x[i] * scale * (w ? w[i] : 1.0f));
}

void eye_softmax_f32_ref(float *x, size_t n) {
    float max = x[0];
    for (size_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    for (size_t i = 0; i < n; i++) x[i] = (float)(exp((double)x[i] - max) / sum);
}

void eye_rope_f32_ref(float *x, const float *cos, const float *sin, size_t d) {
    size_t h = d / 2;
    for (size_t i = 0; i < h; i++) {
        double a = x[i], b = x[i + h];
        x[i] = (float)(a * cos[i] - b * sin[i]);
        x[i + h] = (float)(b * cos[i] + a * sin[i]);
    }
}
