/* GEMM tiles with q8_0 and q4_0 weights, AVX512-VNNI: up to EYE_B512_MR rows x 32 columns. Per block of 32 the integer sum is
 * exact (16 vpdpbusd per row), then acc += sum * (d_w * d_a) in f32, blocks in order. static inline only; layouts in
 * gemm_block_x86.h.
 *
 * Registers: 2 integer and 2 float accumulators per row, 2 of weights, 1 broadcast. Per row and block 16 vpdpbusd,
 * 2 multiplications, 2 fused multiply-adds share the multiplier ports: 80 % of the instruction's peak is the ceiling. */
#ifndef EYE_GEMM_BLOCK_AVX512_H
#define EYE_GEMM_BLOCK_AVX512_H

#include <assert.h>
#include <immintrin.h>

#include "kernels/q8b32.h"
#include "kernels/rows.h"
#include "kernels/x86/gemm_block_x86.h"

enum { EYE_B512_MR = 6 };

/* One row and block as eye_q8b32_quant does it, the same operations in the same order; max of 16 lanes has no order. */
EYE_INLINE void eye_b512_quant(struct eye_block_row *out, const float *x, size_t n, int32_t offset) {
    __mmask16 lo = n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
    __mmask16 hi = n >= 32 ? 0xffff : n <= 16 ? 0 : (__mmask16)((1u << (n - 16)) - 1);
    __m512 a = _mm512_maskz_loadu_ps(lo, x), b = _mm512_maskz_loadu_ps(hi, x + 16);
    __m512 m = _mm512_max_ps(_mm512_abs_ps(a), _mm512_setzero_ps()); /* second operand where the first is NaN */
    m = _mm512_max_ps(_mm512_abs_ps(b), m);
    float amax = _mm512_reduce_max_ps(m);
    bool tiny = amax < EYE_Q8B32_TINY;
    __m512 scale = _mm512_set1_ps(tiny ? 0.0f : 127.0f / amax), top = _mm512_set1_ps(127.0f);
    __m512i qa = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(a, scale), top));
    __m512i qb = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(b, scale), top));
    _mm_storeu_si128((__m128i *)out->q, _mm512_cvtepi32_epi8(qa));
    _mm_storeu_si128((__m128i *)out->q + 1, _mm512_cvtepi32_epi8(qb));
    out->d = tiny ? 0.0f : amax / 127.0f;
    out->start = -offset * _mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
}

EYE_INLINE void eye_b512_pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst, const int32_t offset) {
    struct eye_block_row *out = dst;
    for (size_t e = 0; e < k; e += EYE_BLOCK_KR)
        for (size_t i = 0; i < m; i++, out++) eye_b512_quant(out, src + i * src_stride + e, k - e, offset);
}

/* 4 k of 16 columns, half v: group g of 8. */
EYE_INLINE __m512i eye_b512_weights(const uint8_t *q, const size_t v, const size_t g, const size_t q_bytes) {
    if (q_bytes == 32) return _mm512_load_si512((const __m512i *)q + 2 * g + v);
    __m512i two = _mm512_load_si512((const __m512i *)q + g % 4 * 2 + v);
    return _mm512_and_si512(g < 4 ? two : _mm512_srli_epi16(two, 4), _mm512_set1_epi8(15));
}

/* m rows x one panel, of which n columns are wanted. */
EYE_INLINE void eye_b512_tile(const size_t q_bytes, const size_t m, size_t n, size_t n_blocks, const struct eye_block_row *a,
                              const uint8_t *b, float *c, size_t c_stride, const float *bias, bool accumulate) {
    __m512 acc[EYE_B512_MR][2];
    __mmask16 mask[2] = {n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1),
                         n >= 32 ? 0xffff : n <= 16 ? 0 : (__mmask16)((1u << (n - 16)) - 1)};
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) {
        EYE_UNROLL
        for (size_t v = 0; v < 2; v++) {
            if (accumulate) acc[i][v] = _mm512_maskz_loadu_ps(mask[v], c + i * c_stride + 16 * v);
            else acc[i][v] = bias ? _mm512_maskz_loadu_ps(mask[v], bias + 16 * v) : _mm512_setzero_ps();
        }
    }
    for (; n_blocks; n_blocks--, a += m, b += EYE_BLOCK_D_BYTES + EYE_BLOCK_NR * q_bytes) {
        __m512i sum[EYE_B512_MR][2];
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) sum[i][0] = sum[i][1] = _mm512_set1_epi32(a[i].start);
        EYE_UNROLL
        for (size_t g = 0; g < 8; g++) {
            __m512i w0 = eye_b512_weights(b + EYE_BLOCK_D_BYTES, 0, g, q_bytes);
            __m512i w1 = eye_b512_weights(b + EYE_BLOCK_D_BYTES, 1, g, q_bytes);
            EYE_UNROLL
            for (size_t i = 0; i < m; i++) {
                int32_t four;
                memcpy(&four, a[i].q + 4 * g, 4);
                __m512i x = _mm512_set1_epi32(four);
                sum[i][0] = _mm512_dpbusd_epi32(sum[i][0], w0, x);
                sum[i][1] = _mm512_dpbusd_epi32(sum[i][1], w1, x);
            }
        }
        __m512 d[2];
        d[0] = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)b));
        d[1] = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)b + 1));
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) {
            __m512 d_a = _mm512_set1_ps(a[i].d);
            EYE_UNROLL
            for (size_t v = 0; v < 2; v++)
                acc[i][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i][v]), _mm512_mul_ps(d[v], d_a), acc[i][v]);
        }
    }
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) {
        EYE_UNROLL
        for (size_t v = 0; v < 2; v++) _mm512_mask_storeu_ps(c + i * c_stride + 16 * v, mask[v], acc[i][v]);
    }
}

EYE_INLINE void eye_b512_rows(const size_t q_bytes, const size_t m, size_t n, size_t k, const void *lhs, const uint8_t *rhs,
                              size_t panel_stride, float *c, size_t c_stride, const float *bias, bool accumulate) {
    for (size_t j = 0; j < n; j += EYE_BLOCK_NR, rhs += panel_stride)
        eye_b512_tile(q_bytes, m, n - j, (k + EYE_BLOCK_KR - 1) / EYE_BLOCK_KR, lhs, rhs, c + j, c_stride,
                      bias ? bias + j : NULL, accumulate);
}

#define EYE_B512_CASE(q_bytes, m_) \
    case m_: eye_b512_rows(q_bytes, m_, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate); return;
#define EYE_B512_RUN(name, q_bytes)                                                                                    \
    static void name(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c, \
                     size_t c_stride, const float *bias, bool accumulate) {                                            \
        assert(m <= EYE_B512_MR);                                                                                      \
        switch (m) {                                                                                                   \
            EYE_B512_CASE(q_bytes, 1) EYE_B512_CASE(q_bytes, 2) EYE_B512_CASE(q_bytes, 3) EYE_B512_CASE(q_bytes, 4)    \
            EYE_B512_CASE(q_bytes, 5) EYE_B512_CASE(q_bytes, 6)                                                        \
        }                                                                                                              \
    }

#endif
