/* Activations and element-wise pairs, plain C: the oracle of every faster version. Computed in double, rounded once. */
#include <math.h>

#include "kernels/rows.h"

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

void eye_gelu_f32_ref(float *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double x = src[i];
        dst[i] = (float)(0.5 * x * erfc(-x * 0.70710678118654752440)); /* erfc: no cancellation for x << 0 */
    }
}

/* Hendrycks & Gimpel, arXiv 1606.08415: x/2 (1 + tanh(u)), written as x sigmoid(2u). */
void eye_gelu_tanh_f32_ref(float *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double x = src[i], u = 0.79788456080286535588 * (x + 0.044715 * x * x * x);
        dst[i] = (float)(x * sigmoid(2.0 * u));
    }
}

void eye_quick_gelu_f32_ref(float *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = (float)(src[i] * sigmoid(1.702 * src[i]));
}

void eye_silu_f32_ref(float *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = (float)(src[i] * sigmoid(src[i]));
}

void eye_sigmoid_f32_ref(float *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = (float)sigmoid(src[i]);
}

void eye_relu_f32_ref(float *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = src[i] > 0.0f ? src[i] : 0.0f;
}

static double hardsigmoid(double x) { return fmin(fmax(x + 3.0, 0.0), 6.0) / 6.0; }

void eye_hardsigmoid_f32_ref(float *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = (float)hardsigmoid(src[i]);
}

void eye_hardswish_f32_ref(float *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = (float)(src[i] * hardsigmoid(src[i]));
}

void eye_add_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = a[i] + b[i];
}

void eye_mul_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = a[i] * b[i];
}

void eye_swiglu_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = (float)(a[i] * sigmoid(a[i]) * b[i]);
}

/* ---- gradients: dst = f'(a) b ---- */

/* d/dx of x sigmoid(v(x)), v's slope given. */
static double sigmoid_product_slope(double x, double v, double v_slope) {
    return sigmoid(v) + x * sigmoid(v) * sigmoid(-v) * v_slope;
}

void eye_gelu_grad_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double x = a[i], below = 0.5 * erfc(-x * 0.70710678118654752440), density = 0.39894228040143267794 * exp(-0.5 * x * x);
        dst[i] = (float)((below + x * density) * b[i]);
    }
}

void eye_gelu_tanh_grad_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double x = a[i], v = 1.59576912160573071 * (x + 0.044715 * x * x * x);
        dst[i] = (float)(sigmoid_product_slope(x, v, 1.59576912160573071 * (1.0 + 0.134145 * x * x)) * b[i]);
    }
}

void eye_quick_gelu_grad_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = (float)(sigmoid_product_slope(a[i], 1.702 * a[i], 1.702) * b[i]);
}

void eye_silu_grad_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = (float)(sigmoid_product_slope(a[i], a[i], 1.0) * b[i]);
}

void eye_sigmoid_grad_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = (float)(sigmoid(a[i]) * sigmoid(-(double)a[i]) * b[i]);
}

void eye_relu_grad_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = a[i] > 0.0f ? b[i] : 0.0f;
}

void eye_hardsigmoid_grad_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = fabsf(a[i]) < 3.0f ? (float)(b[i] / 6.0) : 0.0f;
}

void eye_hardswish_grad_f32_ref(float *dst, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double x = a[i];
        dst[i] = (float)(x < -3.0 ? 0.0 : x <= 3.0 ? (x / 3.0 + 0.5) * b[i] : (double)b[i]);
    }
}
