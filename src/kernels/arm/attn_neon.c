/* Attention scores and weighted value sums of one head, NEON, keys and values f32, f16 or int8 (widened on load).
 * Every sum is one chain of fused multiply-adds in order of d (scores) or j (values), whatever block of rows, panels or
 * columns it is computed in: a row alone equals the same row among others. */
#include <string.h>

#include "kernels/arm/math_neon.h"
#include "kernels/attn.h"
#include "kernels/rows.h"

/* n (<= 4) elements from index i on, then zeros. */
EYE_INLINE float32x4_t load4(const void *p, size_t i, size_t n, enum elem e) {
    if (e == ELEM_F32) return eye_load4((const float *)p + i, n);
    if (e == ELEM_F16) {
        uint16_t last[4] = {0};
        const uint16_t *h = (const uint16_t *)p + i;
        if (n < 4) h = memcpy(last, h, n * sizeof last[0]);
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
    }
    int32_t four = 0;
    memcpy(&four, (const int8_t *)p + i, n);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four))))));
}

/* Scores of mr rows against one panel: mr x 4 accumulators. */
EYE_INLINE void qk_tile(int mr, size_t d, const float *q, size_t q_stride, const void *k, size_t k_at, float scale, float *s,
                        size_t s_stride, enum elem e) {
    float32x4_t acc[4][4];
    EYE_UNROLL
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = vdupq_n_f32(0.0f);
    for (size_t c = 0; c < d; c++) {
        float32x4_t kv[4];
        EYE_UNROLL
        for (size_t p = 0; p < 4; p++) kv[p] = load4(k, k_at + c * 16 + p * 4, 4, e);
        EYE_UNROLL
        for (int i = 0; i < mr; i++) {
            float qv = q[(size_t)i * q_stride + c];
            EYE_UNROLL
            for (int p = 0; p < 4; p++) acc[i][p] = vfmaq_n_f32(acc[i][p], kv[p], qv);
        }
    }
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int p = 0; p < 4; p++) vst1q_f32(s + (size_t)i * s_stride + 4 * p, vmulq_n_f32(acc[i][p], scale));
    }
}

/* Panels outside, rows inside: keys are read from memory once. */
EYE_INLINE void qk(size_t m, size_t d, size_t n_keys, const float *q, size_t q_stride, const void *k, float scale, float *s,
                   size_t s_stride, enum elem e) {
    for (size_t j = 0; j < n_keys; j += 16) {
        size_t i = 0, at = j * d;
        for (; i + 4 <= m; i += 4) qk_tile(4, d, q + i * q_stride, q_stride, k, at, scale, s + i * s_stride + j, s_stride, e);
        for (; i + 2 <= m; i += 2) qk_tile(2, d, q + i * q_stride, q_stride, k, at, scale, s + i * s_stride + j, s_stride, e);
        for (; i < m; i++) qk_tile(1, d, q + i * q_stride, q_stride, k, at, scale, s + i * s_stride + j, s_stride, e);
    }
}

/* mr rows x nv vectors of the outputs, over all keys; n (<= 4) elements of each vector when nv is 1. */
EYE_INLINE void pv_tile(int mr, int nv, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_at,
                        size_t v_stride, size_t n, float *out, size_t out_stride, bool add, enum elem e) {
    float32x4_t acc[4][4];
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int c = 0; c < nv; c++) acc[i][c] = add ? eye_load4(out + (size_t)i * out_stride + 4 * c, n) : vdupq_n_f32(0.0f);
    }
    for (size_t j = 0; j < n_keys; j++) {
        float32x4_t vv[4];
        EYE_UNROLL
        for (int c = 0; c < nv; c++) vv[c] = load4(v, v_at + j * v_stride + 4 * (size_t)c, n, e);
        EYE_UNROLL
        for (int i = 0; i < mr; i++) {
            float pp = p[(size_t)i * p_stride + j];
            EYE_UNROLL
            for (int c = 0; c < nv; c++) acc[i][c] = vfmaq_n_f32(acc[i][c], vv[c], pp);
        }
    }
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int c = 0; c < nv; c++) eye_store4(out + (size_t)i * out_stride + 4 * c, n, acc[i][c]);
    }
}

EYE_INLINE void pv_rows(int nv, size_t m, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_at,
                        size_t v_stride, size_t n, float *out, size_t out_stride, bool add, enum elem e) {
    for (; m >= 4; m -= 4, p += 4 * p_stride, out += 4 * out_stride)
        pv_tile(4, nv, n_keys, p, p_stride, v, v_at, v_stride, n, out, out_stride, add, e);
    for (; m >= 2; m -= 2, p += 2 * p_stride, out += 2 * out_stride)
        pv_tile(2, nv, n_keys, p, p_stride, v, v_at, v_stride, n, out, out_stride, add, e);
    if (m == 1) pv_tile(1, nv, n_keys, p, p_stride, v, v_at, v_stride, n, out, out_stride, add, e);
}

EYE_INLINE void pv(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_stride,
                   float *out, size_t out_stride, bool add, enum elem e) {
    size_t at = 0;
    for (; at + 16 <= d; at += 16) pv_rows(4, m, n_keys, p, p_stride, v, at, v_stride, 4, out + at, out_stride, add, e);
    for (; at + 4 <= d; at += 4) pv_rows(1, m, n_keys, p, p_stride, v, at, v_stride, 4, out + at, out_stride, add, e);
    if (at < d) pv_rows(1, m, n_keys, p, p_stride, v, at, v_stride, d - at, out + at, out_stride, add, e);
}

EYE_ATTN(neon)
