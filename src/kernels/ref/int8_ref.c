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

enum {
    SPLIT_MOST = 128, /* times 255 an int16 */
    STEPS = EYE_I8_SPLIT_K / EYE_I8_KR,
    STEP_BYTES = EYE_I8_SPLIT_NR * EYE_I8_KR, /* of a half */
    NEXT_STEP = EYE_I8_NR * EYE_I8_KR
};

struct rest {
    int16_t k, w;
};
struct step {
    int load, i;
};
struct half {
    uint64_t sum[STEPS][STEP_BYTES / 8]; /* bytes: of pairs of weights, positive and negative ones; 127 stands for more */
    int8_t w[STEPS][STEP_BYTES];
    size_t n_rests[EYE_I8_SPLIT_NR];
    struct rest rest[EYE_I8_SPLIT_NR][EYE_I8_SPLIT_K];
    struct eye_i8_rest fours[EYE_I8_SPLIT_NR][EYE_I8_SPLIT_K / 2];
};

static int pair_sum(int a, int b) {
    int sum = (a > 0 ? a : 0) + (b > 0 ? b : 0);
    return sum < 127 ? sum : 127;
}

/* How many groups two steps would fill, or make too large: bytes of 128 and more. */
static size_t overfull(const uint64_t *a, const uint64_t *b) {
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t n = 0;
    for (size_t i = 0; i < STEP_BYTES / 8; i++) n += (a[i] + b[i]) >> 7 & ones;
    return (size_t)(n * ones >> 56);
}

static int by_load(const void *a, const void *b) { return ((const struct step *)b)->load - ((const struct step *)a)->load; }

/* Twos of n steps: the heaviest that is left takes what suits it best. */
static void choose_twos(struct half *h, size_t n, uint16_t *order) {
    struct step left[STEPS];
    for (size_t s = 0; s < n; s++) {
        left[s] = (struct step){0, (int)s};
        for (size_t i = 0; i < STEP_BYTES / 8; i++) {
            h->sum[s][i] = 0;
            for (size_t t = 0; t < 8; t++) {
                const int8_t *pair = &h->w[s][i * 8 + t / 2 * 2];
                int sum = t % 2 ? pair_sum(-pair[0], -pair[1]) : pair_sum(pair[0], pair[1]);
                h->sum[s][i] = h->sum[s][i] << 8 | (uint64_t)sum;
                left[s].load += sum;
            }
        }
    }
    qsort(left, n, sizeof *left, by_load);
    for (; n > 0; n -= 2) {
        size_t best = 1;
        for (size_t i = 1, least = SIZE_MAX; i < n && least > 0; i++) {
            size_t over = overfull(h->sum[left[0].i], h->sum[left[i].i]);
            if (over < least) best = i, least = over;
        }
        *order++ = (uint16_t)(left[0].i * EYE_I8_KR), *order++ = (uint16_t)(left[best].i * EYE_I8_KR);
        memmove(left + best, left + best + 1, (n - best - 1) * sizeof *left);
        memmove(left, left + 1, (n - 2) * sizeof *left);
    }
}

/* Takes what is too much off a group's largest weights of one sign; returns how many rests that makes. */
static size_t take_off(int sign, const int k[4], int8_t *const at[4], struct rest *rest) {
    int sum = -SPLIT_MOST;
    size_t n = 0;
    for (size_t i = 0; i < 4; i++) sum += sign * *at[i] > 0 ? sign * *at[i] : 0;
    while (sum > 0) {
        size_t top = 0;
        for (size_t i = 1; i < 4; i++)
            if (sign * *at[i] > sign * *at[top]) top = i;
        int off = sign * *at[top] < sum ? sign * *at[top] : sum;
        *at[top] = (int8_t)(*at[top] - sign * off);
        sum -= off;
        rest[n++] = (struct rest){(int16_t)k[top], (int16_t)(sign * off)};
    }
    return n;
}

/* Takes off what is too much in a two of steps; pairs of 127 and more, or of 128 together, are looked at. */
static void split_two(struct half *h, const uint16_t *order, int8_t *w) {
    const uint64_t ones = UINT64_MAX / 255;
    for (size_t i = 0; i < STEP_BYTES / 8; i++) {
        uint64_t a = h->sum[order[0] / EYE_I8_KR][i], b = h->sum[order[1] / EYE_I8_KR][i];
        uint64_t full = (a + b) | (a + ones) | (b + ones);
        for (size_t t = 0; t < 8; t++, full <<= 8) {
            if (!(full >> 63)) continue;
            int pair = (int)(t / 2 % 2 * 2);
            size_t j = i * 2 + t / 4;
            int8_t *low = w + j * EYE_I8_KR + pair;
            int8_t *const at[4] = {low, low + 1, low + NEXT_STEP, low + NEXT_STEP + 1};
            const int k[4] = {order[0] + pair, order[0] + pair + 1, order[1] + pair, order[1] + pair + 1};
            h->n_rests[j] += take_off(t % 2 ? -1 : 1, k, at, h->rest[j] + h->n_rests[j]);
        }
    }
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

/* n steps of a half's columns, in place; at most `room` fours, or one more. */
static size_t split_half(struct half *h, size_t n, int8_t *w, uint16_t *order, struct eye_i8_rest *dst, size_t room) {
    size_t fours[EYE_I8_SPLIT_NR], n_all = 0, most = 0;
    for (size_t s = 0; s < n; s++) memcpy(h->w[s], w + s * NEXT_STEP, STEP_BYTES);
    choose_twos(h, n, order);
    memset(h->n_rests, 0, sizeof h->n_rests);
    for (size_t s = 0; s < n; s++) memcpy(w + s * NEXT_STEP, h->w[order[s] / EYE_I8_KR], STEP_BYTES);
    for (size_t s = 0; s < n; s += 2) split_two(h, order + s, w + s * NEXT_STEP);
    for (size_t j = 0; j < EYE_I8_SPLIT_NR; j++) {
        fours[j] = pair_up(h->rest[j], h->n_rests[j], j, h->fours[j]);
        most = fours[j] > most ? fours[j] : most;
    }
    for (size_t i = 0; i < most; i++) {
        for (size_t j = 0; j < EYE_I8_SPLIT_NR; j++) {
            if (i >= fours[j]) continue;
            if (n_all == room) return room + 1;
            dst[n_all++] = h->fours[j][i];
        }
    }
    return n_all;
}

void eye_i8_split_panel(size_t k, const void *panel, void *dst) {
    struct half h;
    struct eye_i8_rest *all = (struct eye_i8_rest *)(uintptr_t)eye_i8_split_rests(dst, k);
    uint16_t *at = (uint16_t *)(uintptr_t)eye_i8_split_at(dst, k);
    const uint8_t *src = (const uint8_t *)panel + EYE_I8_SUMS_BYTES;
    int8_t *w = (int8_t *)dst + EYE_I8_SUMS_BYTES;
    size_t done = 0, room = eye_i8_split_room(k), steps = eye_i8_split_steps(k);
    size_t bytes = eye_i8_panel_bytes(k) - EYE_I8_SUMS_BYTES;
    memset(dst, 0, eye_i8_split_bytes(k));
    memcpy(w, src, bytes);
    for (size_t s = 0; s < steps; s += STEPS) {
        size_t n = steps - s < STEPS ? steps - s : STEPS;
        for (size_t i = 0; i < 2; i++) {
            uint16_t *order = (uint16_t *)(uintptr_t)eye_i8_split_order(dst, k, i) + s;
            *at++ = (uint16_t)done;
            done += split_half(&h, n, w + s * NEXT_STEP + i * STEP_BYTES, order, all + done, room - done);
            if (done <= room) continue;
            memset(dst, 0, eye_i8_split_bytes(k));
            memcpy(w, src, bytes);
            *(int32_t *)dst = 1;
            return;
        }
    }
    *at = (uint16_t)done;
}

/* Bytes and rests, as they are. */
static int32_t split_sum(const uint8_t *panel, const uint8_t *x, size_t k, size_t j) {
    const int8_t *w = (const int8_t *)panel + EYE_I8_SUMS_BYTES + j * EYE_I8_KR;
    const struct eye_i8_rest *rest = eye_i8_split_rests(panel, k);
    const size_t half = j / EYE_I8_SPLIT_NR;
    const uint16_t *at = eye_i8_split_at(panel, k) + half, *order = eye_i8_split_order(panel, k, half);
    const bool whole = eye_i8_split_whole(panel);
    int32_t sum = 0;
    for (size_t s = 0; s < eye_i8_split_steps(k); s++, w += NEXT_STEP) {
        size_t k0 = whole ? s * EYE_I8_KR : s / STEPS * EYE_I8_SPLIT_K + order[s];
        for (size_t i = 0; i < EYE_I8_KR && k0 + i < k; i++) sum += x[k0 + i] * w[i];
    }
    for (size_t k0 = 0; k0 < k && !whole; k0 += EYE_I8_SPLIT_K, at += 2) {
        for (size_t r = at[0]; r < at[1]; r++) {
            if (rest[r].column != j % EYE_I8_SPLIT_NR) continue;
            for (size_t t = 0; t < 4; t++) sum += x[k0 + rest[r].at[t] / EYE_I8_SPLIT_ROWS] * rest[r].w[t];
        }
    }
    return sum;
}

void eye_gemm_i8_split_ref(const struct eye_gemm_i8_args *a) {
    for (size_t j = 0; j < a->n; j++) {
        const uint8_t *panel = (const uint8_t *)a->w + j / EYE_I8_NR * eye_i8_split_bytes(a->k);
        for (size_t i = 0; i < a->m; i++) {
            int32_t sum = split_sum(panel, (const uint8_t *)a->a + i * a->a_stride, a->k, j % EYE_I8_NR);
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
