/* Static int8, plain C: the packed layout, and the oracle of every int8 kernel. */
#include <math.h>
#include <stdlib.h>
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

/* ---- split panels ---- */

enum { SPLIT_MOST = 128 }; /* times 255 an int16 */

struct rest {
    int k, w;
};

/* Takes what is too much off a group's largest weights of one sign; returns how many rests that makes. */
static size_t take_off(int sign, size_t k, int8_t *const at[4], struct rest *rest) {
    int sum = -SPLIT_MOST;
    size_t n = 0;
    for (size_t i = 0; i < 4; i++)
        if (at[i] && sign * *at[i] > 0) sum += sign * *at[i];
    while (sum > 0) {
        size_t top = 0;
        for (size_t i = 1; i < 4; i++)
            if (at[i] && sign * *at[i] > sign * *at[top]) top = i;
        int off = sign * *at[top] < sum ? sign * *at[top] : sum;
        *at[top] = (int8_t)(*at[top] - sign * off);
        sum -= off;
        rest[n++] = (struct rest){(int)(k + top % 2 + top / 2 * 4), sign * off};
    }
    return n;
}

static int pair_fits(int a, int b) { return a + b <= SPLIT_MOST && a + b >= -SPLIT_MOST; }

static int by_weight(const void *a, const void *b) { return ((const struct rest *)a)->w - ((const struct rest *)b)->w; }

/* Pairs of rests that fit, largest with smallest, or with nothing; two pairs are four. */
static size_t pair_up(struct rest *rest, size_t n, size_t column, struct eye_i8_rest *dst) {
    size_t pairs = 0;
    qsort(rest, n, sizeof *rest, by_weight);
    for (size_t i = 0, end = n; i < end; pairs++) {
        struct rest two[2] = {{0, 0}, {0, 0}};
        struct eye_i8_rest *to = dst + pairs / 2;
        bool fits = i + 1 < end && pair_fits(rest[i].w, rest[end - 1].w);
        if (fits || rest[end - 1].w > -rest[i].w) two[0] = rest[--end];
        if (fits || two[0].w == 0) two[1] = rest[i++];
        if (pairs % 2 == 0) *to = (struct eye_i8_rest){.column = (uint16_t)column};
        for (size_t t = 0; t < 2; t++) {
            to->at[pairs % 2 * 2 + t] = (uint16_t)(two[t].k * EYE_I8_SPLIT_ROWS);
            to->w[pairs % 2 * 2 + t] = (int8_t)two[t].w;
        }
    }
    return (pairs + 1) / 2;
}

/* One column of a piece of k from k0 on: its weights are split in place. */
static size_t split_column(size_t k0, size_t k, int8_t *w, struct rest rest[EYE_I8_SPLIT_K]) {
    size_t n = 0;
    for (size_t e = 0; e < k; e += 8) {
        for (size_t half = 0; half < 4; half += 2) {
            int8_t *at[4];
            for (size_t i = 0; i < 4; i++) {
                size_t in = e + half + i % 2 + i / 2 * 4;
                at[i] = in < k ? w + ((k0 + in) / EYE_I8_KR * EYE_I8_NR) * EYE_I8_KR + in % EYE_I8_KR : NULL;
            }
            n += take_off(1, e + half, at, rest + n);
            n += take_off(-1, e + half, at, rest + n);
        }
    }
    return n;
}

/* A half's columns, of a piece of k from k0 on; at most `room` fours, or one more. */
static size_t split_half(size_t k0, size_t k, int8_t *w, struct eye_i8_rest *dst, size_t room) {
    struct eye_i8_rest fours[EYE_I8_SPLIT_NR][EYE_I8_SPLIT_K / 2];
    struct rest rest[EYE_I8_SPLIT_K];
    size_t n[EYE_I8_SPLIT_NR], n_all = 0, most = 0;
    for (size_t j = 0; j < EYE_I8_SPLIT_NR; j++) {
        n[j] = pair_up(rest, split_column(k0, k, w + j * EYE_I8_KR, rest), j, fours[j]);
        most = n[j] > most ? n[j] : most;
    }
    for (size_t i = 0; i < most; i++) {
        for (size_t j = 0; j < EYE_I8_SPLIT_NR; j++) {
            if (i >= n[j]) continue;
            if (n_all == room) return room + 1;
            dst[n_all++] = fours[j][i];
        }
    }
    return n_all;
}

void eye_i8_split_panel(size_t k, const void *panel, void *dst) {
    struct eye_i8_rest *all = (struct eye_i8_rest *)(uintptr_t)eye_i8_split_rests(dst, k);
    uint16_t *at = (uint16_t *)(uintptr_t)eye_i8_split_at(dst, k);
    int8_t *w = (int8_t *)dst + EYE_I8_SUMS_BYTES;
    size_t done = 0, room = eye_i8_split_room(k), bytes = eye_i8_panel_bytes(k) - EYE_I8_SUMS_BYTES;
    memset(dst, 0, eye_i8_split_bytes(k));
    memcpy(w, (const uint8_t *)panel + EYE_I8_SUMS_BYTES, bytes);
    for (size_t k0 = 0; k0 < k; k0 += EYE_I8_SPLIT_K) {
        size_t n_k = k - k0 < EYE_I8_SPLIT_K ? k - k0 : EYE_I8_SPLIT_K;
        for (size_t j = 0; j < EYE_I8_NR; j += EYE_I8_SPLIT_NR) {
            *at++ = (uint16_t)done;
            done += split_half(k0, n_k, w + j * EYE_I8_KR, all + done, room - done);
            if (done <= room) continue;
            memcpy(w, (const uint8_t *)panel + EYE_I8_SUMS_BYTES, bytes);
            *(int32_t *)dst = 1;
            return;
        }
    }
    *at = (uint16_t)done;
}

/* Bytes and rests, as they are. */
void eye_gemm_i8_split_ref(const struct eye_gemm_i8_args *a) {
    for (size_t j = 0; j < a->n; j++) {
        const uint8_t *panel = (const uint8_t *)a->w + j / EYE_I8_NR * eye_i8_split_bytes(a->k);
        const int8_t *w = (const int8_t *)panel + EYE_I8_SUMS_BYTES + j % EYE_I8_NR * EYE_I8_KR;
        const uint16_t *at = eye_i8_split_at(panel, a->k) + j % EYE_I8_NR / EYE_I8_SPLIT_NR;
        const struct eye_i8_rest *rest = eye_i8_split_rests(panel, a->k);
        for (size_t i = 0; i < a->m; i++) {
            const uint8_t *x = (const uint8_t *)a->a + i * a->a_stride;
            int32_t sum = 0;
            for (size_t e = 0; e < a->k; e++) sum += x[e] * w[e / EYE_I8_KR * EYE_I8_NR * EYE_I8_KR + e % EYE_I8_KR];
            for (size_t k0 = 0, h = 0; k0 < a->k && !eye_i8_split_whole(panel); k0 += EYE_I8_SPLIT_K, h += 2) {
                for (size_t r = at[h]; r < at[h + 1]; r++) {
                    if (rest[r].column != j % EYE_I8_SPLIT_NR) continue;
                    for (size_t t = 0; t < 4; t++) sum += x[k0 + rest[r].at[t] / EYE_I8_SPLIT_ROWS] * rest[r].w[t];
                }
            }
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
