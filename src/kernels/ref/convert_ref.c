/* Conversions and int8 quantization of rows, plain C. Bit-exact on every CPU: f16 and bf16 round to nearest even, keep
 * denormals and make NaN quiet; int8 divides (no reciprocal) so that ties fall the same way everywhere. */
#include <math.h>

#include "kernels/rows.h"
#include "tensor/tensor.h"

void eye_f32_to_f16_ref(uint16_t *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = eye_f32_to_f16(src[i]);
}

void eye_f32_to_bf16_ref(uint16_t *dst, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = eye_f32_to_bf16(src[i]);
}

void eye_f16_to_f32_ref(float *dst, const uint16_t *src, size_t n) {
    for (size_t i = 0; i < n; i++) dst[i] = eye_f16_to_f32(src[i]);
}

float eye_quant_i8_f32_ref(int8_t *q, const float *x, size_t n) {
    float amax = 0.0f;
    for (size_t i = 0; i < n; i++) amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    float scale = amax / 127.0f;
    for (size_t i = 0; i < n; i++) {
        /* a denormal scale is coarse: x / scale may exceed 127 */
        q[i] = scale > 0.0f ? (int8_t)rintf(fmaxf(-127.0f, fminf(127.0f, x[i] / scale))) : 0;
    }
    return scale;
}
