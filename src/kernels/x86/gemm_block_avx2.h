/* GEMM tiles with q8_0 and q4_0 weights for 256-bit registers: AVX2 (multiplication in 16 bits, arranged never to saturate) or
 * AVX-VNNI (vpdpbusd). Integer sums are exact, floats as in gemm_block_avx512.h: acc += sum * (d_w * d_a), blocks in order.
 * static inline only; layouts in gemm_block_x86.h.
 *
 * vpmaddubsw adds two products u8 x s8 in 16 bits and saturates at 32767:
 *   q4: the nibbles are 0..15, 2 * 15 * 127 = 3810, and all 8 groups of a block still fit: 30480. One widening per block.
 *   q8: |w| <= 128 times the activation with w's sign: 2 * 128 * 127 = 32512 fits, once. (Signs go to the activation, which is
 *       never -128; w may be.) So the sum is of true products: no offset to take back. */
#ifndef EYE_GEMM_BLOCK_AVX2_H
#define EYE_GEMM_BLOCK_AVX2_H

#include <assert.h>
#include <immintrin.h>
#include <stdbool.h>

#include "kernels/q8b32.h"
#include "kernels/rows.h"
#include "kernels/x86/gemm_block_x86.h"
#include "kernels/x86/math_avx2.h"

enum { EYE_B256_MR = 4, EYE_B256_MR_VNNI = 6, EYE_B256_L1_BYTES = 16 << 10 };

enum eye_b256_isa { EYE_B256_AVX2, EYE_B256_VNNI };

/* One row and block as eye_q8b32_quant does it, the same operations; max of 8 lanes has no order. */
EYE_INLINE void eye_b256_quant(struct eye_block_row *out, const float *x, size_t n, int32_t offset) {
    const __m256 sign = _mm256_set1_ps(-0.0f), top = _mm256_set1_ps(127.0f);
    __m256 v[4], m = _mm256_setzero_ps();
    for (size_t i = 0; i < 4; i++) {
        v[i] = eye_load8(x + 8 * i, n <= 8 * i ? 0 : n - 8 * i);
        m = _mm256_max_ps(_mm256_andnot_ps(sign, v[i]), m); /* second operand where the first is NaN */
    }
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    float amax = _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
    bool tiny = amax < EYE_Q8B32_TINY;
    const __m256 scale = _mm256_set1_ps(tiny ? 0.0f : 127.0f / amax);
    __m256i q[4], total = _mm256_setzero_si256();
    for (size_t i = 0; i < 4; i++) {
        q[i] = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(v[i], scale), top));
        total = _mm256_add_epi32(total, q[i]);
    }
    /* The packs work within 128-bit lanes: words of 4 bytes come out as 0 2 4 6 1 3 5 7. */
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)out->q, bytes);
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    out->d = tiny ? 0.0f : amax / 127.0f;
    out->start = -offset * (_mm_cvtsi128_si32(s) + _mm_extract_epi32(s, 1));
}

EYE_INLINE void eye_b256_pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst, const int32_t offset) {
    struct eye_block_row *out = dst;
    for (size_t e = 0; e < k; e += EYE_BLOCK_KR)
        for (size_t i = 0; i < m; i++, out++) eye_b256_quant(out, src + i * src_stride + e, k - e, offset);
}

/* 4 k of 8 columns, those from 8 v on: group g of 8. */
EYE_INLINE __m256i eye_b256_weights(const uint8_t *q, size_t v, const size_t g, const size_t q_bytes) {
    if (q_bytes == 32) return _mm256_load_si256((const __m256i *)q + g * 4 + v);
    __m256i two = _mm256_load_si256((const __m256i *)q + g % 4 * 4 + v);
    return _mm256_and_si256(g < 4 ? two : _mm256_srli_epi16(two, 4), _mm256_set1_epi8(15));
}

/* sum += the products of one group. For q4 without VNNI sum is in 16 bits until the block ends. */
EYE_INLINE __m256i eye_b256_dot(const enum eye_b256_isa isa, const size_t q_bytes, __m256i sum, __m256i w, __m256i abs_w,
                                __m256i x) {
#ifdef __AVXVNNI__
    if (isa == EYE_B256_VNNI) return _mm256_dpbusd_avx_epi32(sum, w, x);
#endif
    if (q_bytes == 16) return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(abs_w, _mm256_sign_epi8(x, w)), _mm256_set1_epi16(1)));
}

/* m rows x nv vectors of 8 columns, from column 8 v0 of the panel on, of which n are wanted. */
EYE_INLINE void eye_b256_tile(const enum eye_b256_isa isa, const size_t q_bytes, const size_t m, const size_t nv, size_t v0,
                              size_t n, size_t n_blocks, const struct eye_block_row *a, const uint8_t *b, float *c,
                              size_t c_stride, const float *bias, bool accumulate) {
    const bool in_16_bits = isa == EYE_B256_AVX2 && q_bytes == 16, by_sign = isa == EYE_B256_AVX2 && q_bytes == 32;
    __m256 acc[EYE_B256_MR_VNNI][4];
    const float *start = accumulate ? c : bias;
    size_t start_stride = accumulate ? c_stride : 0;
    EYE_UNROLL
    for (size_t v = 0; v < nv; v++) {
        size_t cols = n <= 8 * v ? 0 : n - 8 * v;
        EYE_UNROLL
        for (size_t i = 0; i < m; i++)
            acc[i][v] = start ? eye_load8(start + i * start_stride + 8 * v, cols) : _mm256_setzero_ps();
    }
    for (; n_blocks; n_blocks--, a += m, b += EYE_BLOCK_D_BYTES + EYE_BLOCK_NR * q_bytes) {
        __m256i sum[EYE_B256_MR_VNNI][4];
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) {
            EYE_UNROLL
            for (size_t v = 0; v < nv; v++)
                sum[i][v] = isa == EYE_B256_VNNI ? _mm256_set1_epi32(a[i].start) : _mm256_setzero_si256();
        }
        EYE_UNROLL
        for (size_t g = 0; g < 8; g++) {
            __m256i w[4], abs_w[4];
            EYE_UNROLL
            for (size_t v = 0; v < nv; v++) {
                w[v] = eye_b256_weights(b + EYE_BLOCK_D_BYTES, v0 + v, g, q_bytes);
                if (by_sign) w[v] = _mm256_xor_si256(w[v], _mm256_set1_epi8((char)0x80)); /* back to int8 */
                abs_w[v] = by_sign ? _mm256_abs_epi8(w[v]) : w[v];
            }
            EYE_UNROLL
            for (size_t i = 0; i < m; i++) {
                int32_t four;
                memcpy(&four, a[i].q + 4 * g, 4);
                __m256i x = _mm256_set1_epi32(four);
                EYE_UNROLL
                for (size_t v = 0; v < nv; v++) sum[i][v] = eye_b256_dot(isa, q_bytes, sum[i][v], w[v], abs_w[v], x);
            }
        }
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++) {
            __m256 d = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)b + v0 + v));
            EYE_UNROLL
            for (size_t i = 0; i < m; i++) {
                __m256i s = sum[i][v];
                if (in_16_bits) s = _mm256_add_epi32(_mm256_madd_epi16(s, _mm256_set1_epi16(1)), _mm256_set1_epi32(a[i].start));
                __m256 scale = _mm256_mul_ps(d, _mm256_broadcast_ss(&a[i].d));
                acc[i][v] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s), scale, acc[i][v]);
            }
        }
    }
    EYE_UNROLL
    for (size_t v = 0; v < nv; v++) {
        size_t cols = n <= 8 * v ? 0 : n - 8 * v;
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) eye_store8(c + i * c_stride + 8 * v, cols, acc[i][v]);
    }
}

/* One row reads a whole panel per pass, since it streams from memory. Several rows take 8 or 16 columns at a time, so a panel
 * is read two or four times: in pieces of K that stay in the first-level cache, c holding the sums in between. */
EYE_INLINE void eye_b256_rows(const enum eye_b256_isa isa, const size_t q_bytes, const size_t m, const size_t nv, size_t n,
                              size_t k, const struct eye_block_row *lhs, const uint8_t *rhs, size_t panel_stride, float *c,
                              size_t c_stride, const float *bias, bool accumulate) {
    const size_t step = EYE_BLOCK_D_BYTES + EYE_BLOCK_NR * q_bytes, n_blocks = (k + EYE_BLOCK_KR - 1) / EYE_BLOCK_KR;
    const size_t piece = nv == 4 || n_blocks == 0 ? n_blocks + 1 : EYE_B256_L1_BYTES / step;
    for (size_t j = 0; j < n; j += EYE_BLOCK_NR, rhs += panel_stride) {
        for (size_t b = 0; b == 0 || b < n_blocks; b += piece) {
            size_t len = n_blocks - b < piece ? n_blocks - b : piece;
            for (size_t v = 0; v < 4 && j + 8 * v < n; v += nv) {
                size_t at = j + 8 * v;
                eye_b256_tile(isa, q_bytes, m, nv, v, n - at, len, lhs + b * m, rhs + b * step, c + at, c_stride,
                              bias ? bias + at : NULL, accumulate || b > 0);
            }
        }
    }
}

#define EYE_B256_CASE(isa, q_bytes, m_, nv) \
    case m_: eye_b256_rows(isa, q_bytes, m_, nv, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate); return;
#define EYE_B256_CASES_4(isa, q_bytes)                                          \
    EYE_B256_CASE(isa, q_bytes, 1, 4) EYE_B256_CASE(isa, q_bytes, 2, 2)         \
    EYE_B256_CASE(isa, q_bytes, 3, 1) EYE_B256_CASE(isa, q_bytes, 4, 1)
#define EYE_B256_CASES_6(isa, q_bytes) \
    EYE_B256_CASES_4(isa, q_bytes) EYE_B256_CASE(isa, q_bytes, 5, 1) EYE_B256_CASE(isa, q_bytes, 6, 1)
#define EYE_B256_RUN(name, cases, mr)                                                                                  \
    static void name(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c, \
                     size_t c_stride, const float *bias, bool accumulate) {                                            \
        assert(m <= (mr));                                                                                             \
        switch (m) { cases }                                                                                           \
    }

#endif
