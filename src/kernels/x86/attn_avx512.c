/* Attention scores and weighted value sums of one head, AVX-512, keys and values f32, f16 or int8 (widened on load).
 * Every sum is one chain of fused multiply-adds in order of d (scores) or j (values), whatever block of rows, panels or
 * columns it is computed in: a row alone equals the same row among others. */
#include "kernels/attn.h"
#include "kernels/rows.h"
#include "kernels/x86/math_avx512.h"

/* 16 elements from index i on, those of mask t. */
EYE_INLINE __m512 load16(const void *p, size_t i, __mmask16 t, enum elem e) {
    if (e == ELEM_F32) return _mm512_maskz_loadu_ps(t, (const float *)p + i);
    if (e == ELEM_F16) return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(t, (const uint16_t *)p + i));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(t, (const int8_t *)p + i)));
}

/* Scores of mr rows against np panels: mr x np accumulators; per d np loads of keys, mr broadcasts. */
EYE_INLINE void qk_tile(int mr, int np, size_t d, const float *q, size_t q_stride, const void *k, size_t k_at, float scale,
                        float *s, size_t s_stride, enum elem e) {
    __m512 acc[4][4];
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int p = 0; p < np; p++) acc[i][p] = _mm512_setzero_ps();
    }
    for (size_t c = 0; c < d; c++) {
        __m512 kv[4];
        EYE_UNROLL
        for (int p = 0; p < np; p++) kv[p] = load16(k, k_at + ((size_t)p * d + c) * 16, 0xffff, e);
        EYE_UNROLL
        for (int i = 0; i < mr; i++) {
            __m512 qv = _mm512_set1_ps(q[(size_t)i * q_stride + c]);
            EYE_UNROLL
            for (int p = 0; p < np; p++) acc[i][p] = _mm512_fmadd_ps(qv, kv[p], acc[i][p]);
        }
    }
    const __m512 by = _mm512_set1_ps(scale);
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int p = 0; p < np; p++) _mm512_storeu_ps(s + (size_t)i * s_stride + 16 * p, _mm512_mul_ps(acc[i][p], by));
    }
}

/* All m rows against np panels, four at a time: with np = 4, 16 accumulators. */
EYE_INLINE void qk_rows(int np, size_t m, size_t d, const float *q, size_t q_stride, const void *k, size_t k_at, float scale,
                        float *s, size_t s_stride, enum elem e) {
    for (; m >= 4; m -= 4, q += 4 * q_stride, s += 4 * s_stride) qk_tile(4, np, d, q, q_stride, k, k_at, scale, s, s_stride, e);
    if (m == 3) qk_tile(3, np, d, q, q_stride, k, k_at, scale, s, s_stride, e);
    if (m == 2) qk_tile(2, np, d, q, q_stride, k, k_at, scale, s, s_stride, e);
    if (m == 1) qk_tile(1, np, d, q, q_stride, k, k_at, scale, s, s_stride, e);
}

/* Panels outside, rows inside: keys are read from memory once, widened again per four rows. */
EYE_INLINE void qk(size_t m, size_t d, size_t n_keys, const float *q, size_t q_stride, const void *k, float scale, float *s,
                   size_t s_stride, enum elem e) {
    size_t n_panels = (n_keys + 15) / 16, p = 0;
    for (; p + 4 <= n_panels; p += 4) qk_rows(4, m, d, q, q_stride, k, p * d * 16, scale, s + 16 * p, s_stride, e);
    for (; p < n_panels; p++) qk_rows(1, m, d, q, q_stride, k, p * d * 16, scale, s + 16 * p, s_stride, e);
}

/* mr rows x nv vectors of the outputs, over all keys. */
EYE_INLINE void pv_tile(int mr, int nv, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_at,
                        size_t v_stride, __mmask16 tail, float *out, size_t out_stride, bool add, enum elem e) {
    __m512 acc[8][4];
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int c = 0; c < nv; c++)
            acc[i][c] = add ? _mm512_maskz_loadu_ps(tail, out + (size_t)i * out_stride + 16 * c) : _mm512_setzero_ps();
    }
    for (size_t j = 0; j < n_keys; j++) {
        __m512 vv[4];
        EYE_UNROLL
        for (int c = 0; c < nv; c++) vv[c] = load16(v, v_at + j * v_stride + 16 * (size_t)c, tail, e);
        EYE_UNROLL
        for (int i = 0; i < mr; i++) {
            __m512 pp = _mm512_set1_ps(p[(size_t)i * p_stride + j]);
            EYE_UNROLL
            for (int c = 0; c < nv; c++) acc[i][c] = _mm512_fmadd_ps(pp, vv[c], acc[i][c]);
        }
    }
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int c = 0; c < nv; c++) _mm512_mask_storeu_ps(out + (size_t)i * out_stride + 16 * c, tail, acc[i][c]);
    }
}

EYE_INLINE void pv_rows(int nv, size_t m, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_at,
                        size_t v_stride, __mmask16 tail, float *out, size_t out_stride, bool add, enum elem e) {
    if (nv <= 2) {
        for (; m >= 8; m -= 8, p += 8 * p_stride, out += 8 * out_stride)
            pv_tile(8, nv, n_keys, p, p_stride, v, v_at, v_stride, tail, out, out_stride, add, e);
    }
    for (; m >= 4; m -= 4, p += 4 * p_stride, out += 4 * out_stride)
        pv_tile(4, nv, n_keys, p, p_stride, v, v_at, v_stride, tail, out, out_stride, add, e);
    if (m == 3) pv_tile(3, nv, n_keys, p, p_stride, v, v_at, v_stride, tail, out, out_stride, add, e);
    if (m == 2) pv_tile(2, nv, n_keys, p, p_stride, v, v_at, v_stride, tail, out, out_stride, add, e);
    if (m == 1) pv_tile(1, nv, n_keys, p, p_stride, v, v_at, v_stride, tail, out, out_stride, add, e);
}

EYE_INLINE void pv(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_stride,
                   float *out, size_t out_stride, bool add, enum elem e) {
    size_t at = 0;
    for (; at + 64 <= d; at += 64) pv_rows(4, m, n_keys, p, p_stride, v, at, v_stride, 0xffff, out + at, out_stride, add, e);
    for (; at + 32 <= d; at += 32) pv_rows(2, m, n_keys, p, p_stride, v, at, v_stride, 0xffff, out + at, out_stride, add, e);
    for (; at < d; at += 16) {
        __mmask16 tail = d - at < 16 ? eye_tail16(d - at) : 0xffff;
        pv_rows(1, m, n_keys, p, p_stride, v, at, v_stride, tail, out + at, out_stride, add, e);
    }
}

EYE_ATTN(avx512)
