/* Depthwise convolution of one output row, and of its gradients, plain C. Order of the sum: bias, then taps by ky, kx. */
#include "kernels/rows.h"
#include "tensor/tensor.h"

void eye_dwconv_f32_ref(const struct eye_dwconv_args *a) {
    size_t c_in = a->channels_in, c_out = c_in * a->mult;
    for (size_t x = 0; x < a->width_out; x++) {
        for (size_t o = 0; o < c_out; o++) {
            double sum = a->bias ? a->bias[o] : 0.0;
            for (size_t ky = 0; ky < a->kh; ky++) {
                if (!a->rows[ky]) continue;
                for (size_t kx = 0; kx < a->kw; kx++) {
                    size_t col = x * a->stride + kx; /* counted from the left padding */
                    if (col < a->pad_left || col - a->pad_left >= a->width_in) continue;
                    double in = a->rows[ky][(col - a->pad_left) * c_in + o / a->mult];
                    sum += in * a->w[(ky * a->kw + kx) * c_out + o];
                }
            }
            a->out[x * c_out + o] = (float)sum;
        }
    }
}

static double rounded(float x) { return eye_bf16_to_f32(eye_f32_to_bf16(x)); }

/* Channel c of pixel i, where a left side has it. */
static uint16_t *in_lhs(const struct eye_dwconv_bf16_args *a, size_t i, size_t c) {
    size_t at = a->lhs_row + i, first = at / a->mr * a->mr, left = a->lhs_rows - first, m = left < a->mr ? left : a->mr;
    return (uint16_t *)(void *)a->lhs + first * a->channels + (c / 32 * m + at - first) * 32 + c % 32;
}

void eye_dwconv_bf16_ref(const struct eye_dwconv_bf16_args *a) {
    const size_t k = EYE_DW_BF16_K, n = a->channels;
    for (size_t i = 0; i < a->n_rows * a->width_out * n; i++) {
        const size_t c = i % n, x = i / n % a->width_out;
        const float *const *rows = a->rows + i / n / a->width_out;
        double sum = a->bias ? a->bias[c] : 0.0;
        for (size_t t = 0; t < k * k; t++) {
            const size_t col = x + t % k - a->pad_left; /* left of the image wraps to a huge number */
            if (rows[t / k] && col < a->width_in) sum += rounded(rows[t / k][col * n + c]) * rounded(a->w[t * n + c]);
        }
        if (a->out) a->out[i] = (float)sum;
        else *in_lhs(a, i / n, c) = eye_f32_to_bf16((float)sum);
    }
}

/* Order of the sum: taps by ky, kx. */
void eye_dwconv_dx_f32_ref(const struct eye_dwconv_back_args *a) {
    for (size_t x = 0; x < a->width_in; x++) {
        for (size_t c = 0; c < a->channels; c++) {
            double sum = 0.0;
            for (size_t ky = 0; ky < a->kh; ky++) {
                if (!a->rows[ky]) continue;
                for (size_t kx = 0; kx < a->kw; kx++) {
                    if (x + a->pad_left < kx) continue;
                    size_t at = x + a->pad_left - kx; /* stride times the output column */
                    if (at % a->stride || at / a->stride >= a->width_out) continue;
                    sum += (double)a->rows[ky][at / a->stride * a->channels + c] * a->with[(ky * a->kw + kx) * a->channels + c];
                }
            }
            a->out[x * a->channels + c] = (float)sum;
        }
    }
}

void eye_dwconv_dw_f32_ref(const struct eye_dwconv_back_args *a) {
    for (size_t ky = 0; ky < a->kh; ky++) {
        if (!a->rows[ky]) continue;
        for (size_t kx = 0; kx < a->kw; kx++) {
            for (size_t c = 0; c < a->channels; c++) {
                float *out = &a->out[(ky * a->kw + kx) * a->channels + c];
                double sum = *out;
                for (size_t x = 0; x < a->width_out; x++) {
                    size_t col = x * a->stride + kx;
                    if (col < a->pad_left || col - a->pad_left >= a->width_in) continue;
                    sum += (double)a->with[x * a->channels + c] * a->rows[ky][(col - a->pad_left) * a->channels + c];
                }
                *out = (float)sum;
            }
        }
    }
}
