/* Attention scores and weighted value sums of one head, plain C, one version per element type of the keys and values. */
#include <math.h>

#include "kernels/rows.h"
#include "tensor/tensor.h"

static double elem_f32(const void *p, size_t i) { return ((const float *)p)[i]; }
static double elem_f16(const void *p, size_t i) { return eye_f16_to_f32(((const uint16_t *)p)[i]); }
static double elem_i8(const void *p, size_t i) { return ((const int8_t *)p)[i]; }

static void qk(size_t m, size_t d, size_t n_keys, const float *q, size_t q_stride, const void *k, float scale, float *s,
               size_t s_stride, double (*elem)(const void *, size_t)) {
    const size_t lanes = EYE_ATTN_LANES;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n_keys; j++) {
            double sum = 0.0;
            for (size_t e = 0; e < d; e++)
                sum += q[i * q_stride + e] * elem(k, (j / lanes * d + e) * lanes + j % lanes);
            s[i * s_stride + j] = (float)(scale * sum);
        }
    }
}

static void pv(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_stride, float *out,
               size_t out_stride, bool add, double (*elem)(const void *, size_t)) {
    for (size_t i = 0; i < m; i++) {
        for (size_t e = 0; e < d; e++) {
            float sum = add ? out[i * out_stride + e] : 0.0f; /* rounded at each step: keys in two calls are as in one */
            for (size_t j = 0; j < n_keys; j++) sum = (float)(sum + p[i * p_stride + j] * elem(v, j * v_stride + e));
            out[i * out_stride + e] = sum;
        }
    }
}

void eye_attn_qk_f32_ref(size_t m, size_t d, size_t n_keys, const float *q, size_t q_stride, const void *k, float scale,
                         float *s, size_t s_stride) {
    qk(m, d, n_keys, q, q_stride, k, scale, s, s_stride, elem_f32);
}
void eye_attn_qk_f16_ref(size_t m, size_t d, size_t n_keys, const float *q, size_t q_stride, const void *k, float scale,
                         float *s, size_t s_stride) {
    qk(m, d, n_keys, q, q_stride, k, scale, s, s_stride, elem_f16);
}
void eye_attn_qk_i8_ref(size_t m, size_t d, size_t n_keys, const float *q, size_t q_stride, const void *k, float scale,
                        float *s, size_t s_stride) {
    qk(m, d, n_keys, q, q_stride, k, scale, s, s_stride, elem_i8);
}

void eye_attn_pv_f32_ref(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_stride,
                         float *out, size_t out_stride, bool add) {
    pv(m, d, n_keys, p, p_stride, v, v_stride, out, out_stride, add, elem_f32);
}
void eye_attn_pv_f16_ref(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_stride,
                         float *out, size_t out_stride, bool add) {
    pv(m, d, n_keys, p, p_stride, v, v_stride, out, out_stride, add, elem_f16);
}
void eye_attn_pv_i8_ref(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_stride,
                        float *out, size_t out_stride, bool add) {
    pv(m, d, n_keys, p, p_stride, v, v_stride, out, out_stride, add, elem_i8);
}

static float rounded(float x) { return eye_bf16_to_f32(eye_f32_to_bf16(x)); }

static double score_bf16(const struct eye_attn_bf16_args *a, size_t i, size_t j) { /* to base 2 */
    float by = a->scale * 1.44269504088896341f;
    double sum = 0.0;
    for (size_t e = 0; e < a->d; e++)
        sum += (double)rounded(a->q[i * a->q_stride + e] * by) * eye_bf16_to_f32(a->k[j * a->d + e]);
    return sum;
}

/* Exponentials are not rounded here. */
void eye_attn_bf16_ref(const struct eye_attn_bf16_args *a) {
    for (size_t i = 0; i < a->m; i++) {
        double most = -INFINITY, all = 0.0, out[EYE_ATTN_BF16_D] = {0};
        for (size_t j = 0; j < a->n_keys; j++) most = fmax(most, score_bf16(a, i, j));
        for (size_t j = 0; j < a->n_keys; j++) {
            double p = exp2(score_bf16(a, i, j) - most);
            all += p;
            for (size_t e = 0; e < a->d; e++) out[e] += p * eye_bf16_to_f32(a->v[2 * (j / 2 * a->d + e) + j % 2]);
        }
        for (size_t e = 0; e < a->d; e++) a->out[i * a->out_stride + e] = (float)(out[e] / all);
    }
}
