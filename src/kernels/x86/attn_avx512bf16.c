/* Attention scores and weighted value sums of one head in bf16, AVX512-BF16: vdpbf16ps multiplies two pairs per lane, at twice the
 * rate of f32. Rows of q and p are rounded into a small buffer first; each sum is one chain in order of its pairs. */
#include <string.h>

#include "kernels/rows.h"
#include "kernels/x86/math_avx512.h"

enum { MAX_M = 16, PIECE = 512 /* keys whose p are rounded at a time: 16 KiB of all rows */ };

/* n numbers of each of m rows, and a zero behind an odd n. */
EYE_INLINE void round_rows(size_t m, size_t n, const float *x, size_t stride, uint16_t *dst, size_t dst_stride) {
    for (size_t i = 0; i < m; i++, x += stride, dst += dst_stride) {
        for (size_t e = 0; e < n; e += 16) {
            __mmask16 t = n - e < 16 ? eye_tail16(n - e) : 0xffff, even = n - e < 16 ? eye_tail16((n - e + 1) / 2 * 2) : 0xffff;
            _mm256_mask_storeu_epi16(dst + e, even, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(t, x + e)));
        }
    }
}

EYE_INLINE __m512bh pair(const uint16_t *p) {
    int32_t two;
    memcpy(&two, p, sizeof two);
    return (__m512bh)_mm512_set1_epi32(two);
}

/* mr rows against np panels. */
EYE_INLINE void qk_tile(int mr, int np, size_t d, const uint16_t *q, size_t q_stride, const uint16_t *k, float scale, float *s,
                        size_t s_stride) {
    __m512 acc[4][4];
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int p = 0; p < np; p++) acc[i][p] = _mm512_setzero_ps();
    }
    for (size_t c = 0; c < d / 2; c++) {
        __m512bh kv[4];
        EYE_UNROLL
        for (int p = 0; p < np; p++) kv[p] = (__m512bh)_mm512_loadu_si512(k + ((size_t)p * (d / 2) + c) * 32);
        EYE_UNROLL
        for (int i = 0; i < mr; i++) {
            __m512bh qv = pair(q + (size_t)i * q_stride + 2 * c);
            EYE_UNROLL
            for (int p = 0; p < np; p++) acc[i][p] = _mm512_dpbf16_ps(acc[i][p], qv, kv[p]);
        }
    }
    const __m512 by = _mm512_set1_ps(scale);
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int p = 0; p < np; p++) _mm512_storeu_ps(s + (size_t)i * s_stride + 16 * p, _mm512_mul_ps(acc[i][p], by));
    }
}

EYE_INLINE void qk_rows(int np, size_t m, size_t d, const uint16_t *q, const uint16_t *k, float scale, float *s, size_t s_stride) {
    for (; m >= 4; m -= 4, q += 4 * EYE_ATTN_BF16_D, s += 4 * s_stride)
        qk_tile(4, np, d, q, EYE_ATTN_BF16_D, k, scale, s, s_stride);
    for (; m > 0; m--, q += EYE_ATTN_BF16_D, s += s_stride) qk_tile(1, np, d, q, EYE_ATTN_BF16_D, k, scale, s, s_stride);
}

void eye_attn_qk_bf16_avx512bf16(size_t m, size_t d, size_t n_keys, const float *q, size_t q_stride, const uint16_t *k, float scale,
                                 float *s, size_t s_stride) {
    uint16_t rows[MAX_M * EYE_ATTN_BF16_D];
    size_t n_panels = (n_keys + 15) / 16, p = 0;
    round_rows(m, d, q, q_stride, rows, EYE_ATTN_BF16_D);
    for (; p + 4 <= n_panels; p += 4) qk_rows(4, m, d, rows, k + p * d * 16, scale, s + 16 * p, s_stride);
    for (; p < n_panels; p++) qk_rows(1, m, d, rows, k + p * d * 16, scale, s + 16 * p, s_stride);
}

/* mr rows x nv vectors of the outputs, over the pairs of a piece. */
EYE_INLINE void pv_tile(int mr, int nv, size_t n_pairs, const uint16_t *p, const uint16_t *v, size_t v_stride, __mmask16 tail,
                        float *out, size_t out_stride, bool add) {
    __m512 acc[8][2];
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int c = 0; c < nv; c++)
            acc[i][c] = add ? _mm512_maskz_loadu_ps(tail, out + (size_t)i * out_stride + 16 * c) : _mm512_setzero_ps();
    }
    for (size_t j = 0; j < n_pairs; j++) {
        __m512bh vv[2];
        EYE_UNROLL
        for (int c = 0; c < nv; c++) vv[c] = (__m512bh)_mm512_maskz_loadu_epi32(tail, v + 2 * (j * v_stride + 16 * (size_t)c));
        EYE_UNROLL
        for (int i = 0; i < mr; i++) {
            __m512bh pp = pair(p + (size_t)i * PIECE + 2 * j);
            EYE_UNROLL
            for (int c = 0; c < nv; c++) acc[i][c] = _mm512_dpbf16_ps(acc[i][c], pp, vv[c]);
        }
    }
    EYE_UNROLL
    for (int i = 0; i < mr; i++) {
        EYE_UNROLL
        for (int c = 0; c < nv; c++) _mm512_mask_storeu_ps(out + (size_t)i * out_stride + 16 * c, tail, acc[i][c]);
    }
}

EYE_INLINE void pv_rows(int nv, size_t m, size_t n_pairs, const uint16_t *p, const uint16_t *v, size_t v_stride, __mmask16 tail,
                        float *out, size_t out_stride, bool add) {
    for (; m >= 8; m -= 8, p += 8 * PIECE, out += 8 * out_stride)
        pv_tile(8, nv, n_pairs, p, v, v_stride, tail, out, out_stride, add);
    for (; m > 0; m--, p += PIECE, out += out_stride) pv_tile(1, nv, n_pairs, p, v, v_stride, tail, out, out_stride, add);
}

void eye_attn_pv_bf16_avx512bf16(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const uint16_t *v,
                                 size_t v_stride, float *out, size_t out_stride) {
    uint16_t rows[MAX_M * PIECE];
    for (size_t j = 0; j < n_keys; j += PIECE) {
        size_t n = n_keys - j < PIECE ? n_keys - j : PIECE, n_pairs = (n + 1) / 2, at = 0;
        const uint16_t *piece = v + j * v_stride;
        round_rows(m, n, p + j, p_stride, rows, PIECE);
        for (; at + 32 <= d; at += 32) pv_rows(2, m, n_pairs, rows, piece + 2 * at, v_stride, 0xffff, out + at, out_stride, j > 0);
        for (; at < d; at += 16) {
            __mmask16 tail = d - at < 16 ? eye_tail16(d - at) : 0xffff;
            pv_rows(1, m, n_pairs, rows, piece + 2 * at, v_stride, tail, out + at, out_stride, j > 0);
        }
    }
}
