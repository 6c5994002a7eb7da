/* Attention scores and weighted value sums of one head, AVX2 + FMA, keys and values f32, f16 or int8 (widened on load).
 * Every sum is one chain of fused multiply-adds in order of d (scores) or j (values), whatever block of rows, panels or
 * columns it is computed in: a row alone equals the same row among others. */
#include <string.h>

#include "kernels/attn.h"
#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

/* n (<= 8) elements from index i on, then zeros. */
EYE_INLINE __m256 load8(const void *p, size_t i, size_t n, enum elem e) {
    if (e == ELEM_F32) return eye_load8((const float *)p + i, n);
    if (e == ELEM_F16) {
        uint16_t last[8] = {0};
        const uint16_t *h = (const uint16_t *)p + i;
        if (n < 8) h = memcpy(last, h, n * sizeof last[0]);
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)h));
    }
    int8_t last[8] = {0};
    const int8_t *b = (const int8_t *)p + i;
    if (n < 8) b = memcpy(last, b, n);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)b)));
}

/* Scores of mr rows against one panel: mr x 2 accumulators. */
EYE_INLINE void qk_tile(int mr, size_t d, const float *q, size_t q_stride, const void *k, size_t k_at, float scale, float *s,
                        size_t s_stride, enum elem e) {
    __m256 acc[6][2];
    EYE_UNROLL
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (size_t c = 0; c < d; c++) {
        __m256 k0 = load8(k, k_at + c * 16, 8, e), k1 = load8(k, k_at + c * 16 + 8, 8, e);
        EYE_UNROLL
        for (int i = 0; i < mr; i++) {
            __m256 qv = _mm256_broadcast_ss(q + (size_t)i * q_stride + c);
            acc[i][0] = _mm256_fmadd_ps(qv, k0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(qv, k1, acc[i][1]);
        }
    }
    const __m256 by = _mm256_set1_ps(scale);
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        _mm256_storeu_ps(s + (size_t)i * s_stride, _mm256_mul_ps(acc[i][0], by));
        _mm256_storeu_ps(s + (size_t)i * s_stride + 8, _mm256_mul_ps(acc[i][1], by));
    }
}

/* Panels outside, rows inside: keys are read from memory once. Rows by six, the last ones by near halves: 16 are 6, 5 and 5. */
EYE_INLINE void qk(size_t m, size_t d, size_t n_keys, const float *q, size_t q_stride, const void *k, float scale, float *s,
                   size_t s_stride, enum elem e) {
    for (size_t j = 0; j < n_keys; j += 16) {
        size_t at = j * d, i = 0;
        while (i < m) {
            const float *from = q + i * q_stride;
            float *to = s + i * s_stride + j;
            size_t left = m - i;
            if (left >= 11 || left == 6) qk_tile(6, d, from, q_stride, k, at, scale, to, s_stride, e), i += 6;
            else if (left >= 9 || left == 5) qk_tile(5, d, from, q_stride, k, at, scale, to, s_stride, e), i += 5;
            else if (left >= 7 || left == 4) qk_tile(4, d, from, q_stride, k, at, scale, to, s_stride, e), i += 4;
            else if (left == 3) qk_tile(3, d, from, q_stride, k, at, scale, to, s_stride, e), i += 3;
            else if (left == 2) qk_tile(2, d, from, q_stride, k, at, scale, to, s_stride, e), i += 2;
            else qk_tile(1, d, from, q_stride, k, at, scale, to, s_stride, e), i += 1;
        }
    }
}

/* mr rows x nv vectors of the outputs, over all keys; n (<= 8) elements of each vector when nv is 1. */
EYE_INLINE void pv_tile(int mr, int nv, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_at,
                        size_t v_stride, size_t n, float *out, size_t out_stride, bool add, enum elem e) {
    __m256 acc[6][4];
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int c = 0; c < nv; c++) acc[i][c] = add ? eye_load8(out + (size_t)i * out_stride + 8 * c, n) : _mm256_setzero_ps();
    }
    for (size_t j = 0; j < n_keys; j++) {
        __m256 vv[4];
        EYE_UNROLL
        for (int c = 0; c < nv; c++) vv[c] = load8(v, v_at + j * v_stride + 8 * (size_t)c, n, e);
        EYE_UNROLL
        for (int i = 0; i < mr; i++) {
            __m256 pp = _mm256_broadcast_ss(p + (size_t)i * p_stride + j);
            EYE_UNROLL
            for (int c = 0; c < nv; c++) acc[i][c] = _mm256_fmadd_ps(pp, vv[c], acc[i][c]);
        }
    }
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int c = 0; c < nv; c++) eye_store8(out + (size_t)i * out_stride + 8 * c, n, acc[i][c]);
    }
}

/* Six rows x two vectors or two rows x four: 12 or 8 accumulators of the 16 registers. nv 4 or 1. */
EYE_INLINE void pv_rows(int nv, size_t m, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_at,
                        size_t v_stride, size_t n, float *out, size_t out_stride, bool add, enum elem e) {
    for (; nv == 4 && m >= 6; m -= 6, p += 6 * p_stride, out += 6 * out_stride) {
        pv_tile(6, 2, n_keys, p, p_stride, v, v_at, v_stride, n, out, out_stride, add, e);
        pv_tile(6, 2, n_keys, p, p_stride, v, v_at + 16, v_stride, n, out + 16, out_stride, add, e);
    }
    for (; m >= 2; m -= 2, p += 2 * p_stride, out += 2 * out_stride)
        pv_tile(2, nv, n_keys, p, p_stride, v, v_at, v_stride, n, out, out_stride, add, e);
    if (m == 1) pv_tile(1, nv, n_keys, p, p_stride, v, v_at, v_stride, n, out, out_stride, add, e);
}

EYE_INLINE void pv(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_stride,
                   float *out, size_t out_stride, bool add, enum elem e) {
    size_t at = 0;
    for (; at + 32 <= d; at += 32) pv_rows(4, m, n_keys, p, p_stride, v, at, v_stride, 8, out + at, out_stride, add, e);
    for (; at + 8 <= d; at += 8) pv_rows(1, m, n_keys, p, p_stride, v, at, v_stride, 8, out + at, out_stride, add, e);
    if (at < d) pv_rows(1, m, n_keys, p, p_stride, v, at, v_stride, d - at, out + at, out_stride, add, e);
}

EYE_ATTN(avx2)
