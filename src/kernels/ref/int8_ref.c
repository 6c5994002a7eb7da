/* Static int8, plain C: the packed layout, and the oracle of every int8 kernel. */
#include <math.h>
#include <string.h>

#include "kernels/gelu_tables.h"
#include "kernels/rows.h"

void eye_i8_pack_panel(size_t n, size_t k, const int8_t *src, size_t stride, void *dst) {
    int32_t *sum = dst;
    int8_t *q = (int8_t *)dst + EYE_I8_SUMS_BYTES;
    memset(dst, 0, eye_i8_panel_bytes(k));
    for (size_t j = 0; j < n; j++) {
        for (size_t e = 0; e < k; e++) {
            int8_t w = src[j * stride + e];
            sum[j] += w;
            q[(e / EYE_I8_KR * EYE_I8_NR + j) * EYE_I8_KR + e % EYE_I8_KR] = w;
        }
    }
}

void eye_gemm_i8_ref(const struct eye_gemm_i8_args *a) {
    for (size_t i = 0; i < a->m; i++) {
        for (size_t j = 0; j < a->n; j++) {
            const int8_t *panel = (const int8_t *)a->w + j / EYE_I8_NR * eye_i8_panel_bytes(a->k) + EYE_I8_SUMS_BYTES;
            int32_t sum = 0;
            for (size_t e = 0; e < a->k; e++)
                sum += ((const uint8_t *)a->a)[i * a->a_stride + e] *
                       panel[(e / EYE_I8_KR * EYE_I8_NR + j % EYE_I8_NR) * EYE_I8_KR + e % EYE_I8_KR];
            a->c[i * a->c_stride + j] = fmaf((float)sum, a->scale[j], a->bias[j]);
        }
    }
}

void eye_gemm_i16_ref(const struct eye_gemm_i8_args *a) {
    for (size_t i = 0; i < a->m; i++) {
        for (size_t j = 0; j < a->n; j++) {
            const int8_t *panel = (const int8_t *)a->w + j / EYE_I8_NR * eye_i8_panel_bytes(a->k) + EYE_I8_SUMS_BYTES;
            int32_t sum = 0;
            for (size_t e = 0; e < a->k; e++)
                sum += ((const int16_t *)a->a)[i * a->a_stride + e] *
                       panel[(e / EYE_I8_KR * EYE_I8_NR + j % EYE_I8_NR) * EYE_I8_KR + e % EYE_I8_KR];
            a->c[i * a->c_stride + j] = fmaf((float)sum, a->scale[j], a->bias[j]);
        }
    }
}

void eye_dw_pack(size_t channels, size_t kh, size_t kw, const int8_t *w, void *dst) {
    const size_t panel = eye_dw_panel_bytes(kh, kw), rows = (kh / 4 + 1) * 4;
    memset(dst, 0, eye_dw_panels_bytes(channels, kh, kw));
    for (size_t c = 0; c < channels; c++) {
        uint8_t *p = (uint8_t *)dst + c / EYE_DW_NC * panel;
        size_t at = c / 4 % 4 * 16 + c / 16 % 4 * 4 + c % 4;
        int32_t *sum = (int32_t *)(void *)p + at;
        int8_t *q = (int8_t *)p + EYE_DW_SUMS_BYTES + at * 4;
        for (size_t i = 0; i < kh * kw; i++, w++) {
            size_t y = i / kw, below = y + 1, x = i % kw;
            *sum += *w;
            q[(y / 4 * kw + x) * EYE_DW_NC * 4 + y % 4] = *w;
            q[rows * kw * EYE_DW_NC + (below / 4 * kw + x) * EYE_DW_NC * 4 + below % 4] = *w;
        }
    }
}

static void dwconv_row(const struct eye_dwconv_u8_args *a, const uint8_t *const *rows, float *out) {
    size_t c_in = a->channels_in, c_out = c_in * a->mult;
    for (size_t x = 0; x < a->width_out; x++) {
        for (size_t o = 0; o < c_out; o++) {
            float sum = 0.0f;
            for (size_t ky = 0; ky < a->kh; ky++) {
                if (!rows[ky]) continue;
                for (size_t kx = 0; kx < a->kw; kx++) {
                    size_t col = x * a->stride + kx; /* counted from the left padding */
                    if (col < a->pad_left || col - a->pad_left >= a->width_in) continue;
                    float in = (float)rows[ky][(col - a->pad_left) * c_in + o / a->mult] - a->zero;
                    sum += in * a->w[(ky * a->kw + kx) * c_out + o];
                }
            }
            out[x * c_out + o] = fmaf(sum, a->scale[o], a->bias[o]);
        }
    }
}

void eye_dwconv_u8_ref(const struct eye_dwconv_u8_args *a) {
    const size_t n = (size_t)a->width_out * a->channels_in * a->mult;
    for (size_t y = 0; y < a->n_rows; y++) {
        float *out = a->q ? a->out : a->out + y * n;
        dwconv_row(a, a->rows + y * a->stride, out);
        if (a->q) eye_quant_u8_ref(a->q + y * n, out, n, a->q_inv_scale, a->q_zero);
    }
}

void eye_quant_u8_ref(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    for (size_t i = 0; i < n; i++) {
        float t = fmaf(x[i], inv_scale, zero);
        t = t > 0.0f ? t : 0.0f;
        q[i] = (uint8_t)nearbyintf(t < 255.0f ? t : 255.0f);
    }
}

void eye_add_u8_ref(float *y, const uint8_t *q, const float *a, size_t n, float scale, float zero) {
    for (size_t i = 0; i < n; i++) y[i] = fmaf((float)q[i] - zero, scale, a ? a[i] : 0.0f);
}

static float coarse_gelu(float x) {
    float t = fabsf(x) < EYE_GELU_COARSE_MAX ? fabsf(x) : EYE_GELU_COARSE_MAX, piece = nearbyintf(t * 4.0f);
    int i = (int)piece;
    float u = fmaf(t, 4.0f, -piece), k = fmaf(fmaf(eye_gelu_coarse[2][i], u, eye_gelu_coarse[1][i]), u, eye_gelu_coarse[0][i]);
    return (x > 0.0f ? x : 0.0f) - k;
}

void eye_gelu_u8_ref(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    for (size_t i = 0; i < n; i++) {
        float y = coarse_gelu(x[i]);
        eye_quant_u8_ref(q + i, &y, 1, inv_scale, zero);
    }
}

void eye_gemm_i8_gelu_ref(const struct eye_gemm_i8_gelu_args *a) {
    const struct eye_gemm_i8_args *g = &a->gemm;
    eye_gemm_i8_ref(g);
    for (size_t i = 0; i < g->m; i++)
        eye_gelu_u8_ref(a->q + i * a->q_stride, g->c + i * g->c_stride, g->n, a->q_inv_scale, a->q_zero);
}

void eye_quant_i16_ref(int16_t *q, const float *x, size_t n, float inv_scale, float top) {
    for (size_t i = 0; i < n; i++) {
        float t = x[i] * inv_scale;
        t = t > -top ? t : -top;
        q[i] = (int16_t)nearbyintf(t < top ? t : top);
    }
}

void eye_add_i16_ref(float *y, const int16_t *q, const float *a, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) y[i] = fmaf((float)q[i], scale, a ? a[i] : 0.0f);
}
