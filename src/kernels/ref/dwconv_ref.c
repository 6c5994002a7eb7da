/* Depthwise convolution of one output row, plain C. Order of the sum: bias, then taps by ky, kx. */
#include "kernels/rows.h"

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
