/* GEMM tiles with q8_0 and q4_0 weights, AVX512-VNNI: up to EYE_B512_MR rows x 32 columns. Per block of 32 the integer sum is
 * exact (16 vpdpbusd per row), then acc += sum * (d_w * d_a) in f32, blocks in order. d_a is a power of two: vscalefps, which has
 * a unit of its own on Zen 4, multiplies by it, the same bits. static inline only; layouts in gemm_block_x86.h.
 *
 * Registers: 2 integer and 2 float accumulators per row, 2 of weights, 1 broadcast. Per row and block 16 vpdpbusd and
 * 2 fused multiply-adds share the multipliers: 89 % of the instruction's peak is the ceiling. */
#ifndef EYE_GEMM_BLOCK_AVX512_H
#define EYE_GEMM_BLOCK_AVX512_H

#include <assert.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "kernels/q8b32.h"
#include "kernels/rows.h"
#include "kernels/x86/gemm_block_x86.h"

enum { EYE_B512_MR = 6, EYE_B512_AHEAD = 832 };

/* One row and block as eye_q8b32_quant does it, the same operations in the same order; max of 16 lanes has no order. */
EYE_INLINE void eye_b512_quant(struct eye_block_row *out, const float *x, size_t n, int32_t offset, const bool scaled) {
    __mmask16 lo = n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
    __mmask16 hi = n >= 32 ? 0xffff : n <= 16 ? 0 : (__mmask16)((1u << (n - 16)) - 1);
    __m512 a = _mm512_maskz_loadu_ps(lo, x), b = _mm512_maskz_loadu_ps(hi, x + 16);
    __m512 m = _mm512_max_ps(_mm512_abs_ps(a), _mm512_setzero_ps()); /* second operand where the first is NaN */
    m = _mm512_max_ps(_mm512_abs_ps(b), m);
    float amax = _mm512_reduce_max_ps(m);
    float d = eye_q8b32_scale(amax);
    __m512 scale = _mm512_set1_ps(eye_q8b32_inverse(d)), top = _mm512_set1_ps(127.0f);
    __m512i qa = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(a, scale), top));
    __m512i qb = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(b, scale), top));
    _mm_storeu_si128((__m128i *)out->q, _mm512_cvtepi32_epi8(qa));
    _mm_storeu_si128((__m128i *)out->q + 1, _mm512_cvtepi32_epi8(qb));
    out->d = _mm_cvtss_f32(_mm_getexp_ps(_mm_set_ss(d)));
    out->start = -offset * _mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
    if (!scaled) return;
    float start = (float)out->start * d;
    memcpy(&out->start, &start, sizeof start);
}

/* Largest of each of four vectors. */
EYE_INLINE __m128 eye_b512_max4(const __m512 v[4]) {
    __m512 ab = _mm512_max_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    __m512 cd = _mm512_max_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    __m512 m = _mm512_max_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    __m256 h = _mm256_max_ps(_mm512_castps512_ps256(m), _mm512_extractf32x8_ps(m, 1));
    return _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
}

/* Sums of the first and second 32 bytes of ab and of cd. */
EYE_INLINE __m128i eye_b512_sum4(__m512i ab, __m512i cd) {
    const __m512i ones = _mm512_set1_epi8(1);
    ab = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, ab);
    cd = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, cd);
    __m512i s = _mm512_add_epi32(_mm512_unpacklo_epi32(ab, cd), _mm512_unpackhi_epi32(ab, cd)); /* ab cd ab cd */
    s = _mm512_add_epi32(s, _mm512_shuffle_epi32(s, 0x4e));
    s = _mm512_add_epi32(s, _mm512_shuffle_i64x2(s, s, 0xb1)); /* a c .. | a c .. | b d .. | b d .. */
    return _mm_unpacklo_epi32(_mm512_castsi512_si128(s), _mm512_extracti32x4_epi32(s, 2));
}

/* Four whole blocks of a row, to every m-th of out, all their lengths and sums at once: the same bytes. */
EYE_INLINE void eye_b512_quant4(struct eye_block_row *out, size_t m, const float *x, int32_t offset, const bool scaled) {
    const __m512 top = _mm512_set1_ps(127.0f);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15); /* packs: 128 bits */
    __m512 v[8], most[4];
    EYE_UNROLL
    for (size_t b = 0; b < 4; b++) {
        v[2 * b] = _mm512_loadu_ps(x + 32 * b);
        v[2 * b + 1] = _mm512_loadu_ps(x + 32 * b + 16);
        most[b] = _mm512_max_ps(_mm512_abs_ps(v[2 * b]), _mm512_setzero_ps());
        most[b] = _mm512_max_ps(_mm512_abs_ps(v[2 * b + 1]), most[b]);
    }
    __m128 amax = eye_b512_max4(most);
    __mmask8 some = _mm_cmp_ps_mask(amax, _mm_set1_ps(EYE_Q8B32_TINY), _CMP_NLT_UQ);
    const __m128i up = _mm_set1_epi32(EYE_Q8B32_UP);
    __m128i bits = _mm_castps_si128(_mm_maskz_mul_ps(some, amax, _mm_set1_ps(EYE_Q8B32_PART)));
    bits = _mm_andnot_si128(up, _mm_add_epi32(bits, up));
    __m128 d = _mm_castsi128_ps(bits), e = _mm_getexp_ps(d);
    some &= _mm_cmp_ps_mask(d, _mm_set1_ps(INFINITY), _CMP_LT_OQ);
    __m512 scale = _mm512_castsi512_ps(_mm512_castsi128_si512(_mm_maskz_sub_epi32(some, _mm_set1_epi32(0x7f000000), bits))); /* 1 / d */
    __m512i q[8], bytes[2];
    EYE_UNROLL
    for (size_t b = 0; b < 8; b++) {
        __m512 s = _mm512_permutexvar_ps(_mm512_set1_epi32((int)b / 2), scale);
        q[b] = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(v[b], s), top));
    }
    EYE_UNROLL
    for (size_t b = 0; b < 2; b++) {
        __m512i lo = _mm512_packs_epi32(q[4 * b], q[4 * b + 1]), hi = _mm512_packs_epi32(q[4 * b + 2], q[4 * b + 3]);
        bytes[b] = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(lo, hi));
    }
    __m128i sum = eye_b512_sum4(bytes[0], bytes[1]), start = _mm_mullo_epi32(sum, _mm_set1_epi32(-offset));
    if (scaled) start = _mm_castps_si128(_mm_mul_ps(_mm_cvtepi32_ps(start), d));
    __m128i ab = _mm_unpacklo_epi32(_mm_castps_si128(e), start), cd = _mm_unpackhi_epi32(_mm_castps_si128(e), start);
    EYE_UNROLL
    for (size_t b = 0; b < 4; b++, out += m) {
        __m512i two = bytes[b / 2];
        _mm256_storeu_si256((__m256i *)out->q, b % 2 ? _mm512_extracti64x4_epi64(two, 1) : _mm512_castsi512_si256(two));
        uint64_t both = (uint64_t)_mm_extract_epi64(b < 2 ? ab : cd, 0);
        if (b % 2) both = (uint64_t)_mm_extract_epi64(b < 2 ? ab : cd, 1);
        memcpy(&out->d, &both, sizeof both);
    }
}

/* scaled: a row's start is a float, times its scale. */
EYE_INLINE void eye_b512_pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst, const int32_t offset,
                                  const bool scaled) {
    for (size_t i = 0; i < m; i++, src += src_stride) {
        struct eye_block_row *out = (struct eye_block_row *)dst + i;
        size_t e = 0;
        for (; e + 4 * EYE_BLOCK_KR <= k; e += 4 * EYE_BLOCK_KR, out += 4 * m) eye_b512_quant4(out, m, src + e, offset, scaled);
        for (; e < k; e += EYE_BLOCK_KR, out += m) eye_b512_quant(out, src + e, k - e, offset, scaled);
    }
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
            __m512 e = _mm512_set1_ps(a[i].d);
            EYE_UNROLL
            for (size_t v = 0; v < 2; v++)
                acc[i][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i][v]), _mm512_scalef_ps(d[v], e), acc[i][v]);
        }
    }
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) {
        EYE_UNROLL
        for (size_t v = 0; v < 2; v++) _mm512_mask_storeu_ps(c + i * c_stride + 16 * v, mask[v], acc[i][v]);
    }
}

/* A line of weights: 4 k of 16 columns, of q4_0 also those 16 further on. x: the row's groups of 4 k. */
EYE_INLINE __m512i eye_b512_line(const size_t q_bytes, __m512i sum, const uint8_t *q, const __m512i x[8], const size_t g) {
    __m512i w = _mm512_load_si512((const __m512i *)q);
    if (q_bytes == 32) return _mm512_dpbusd_epi32(sum, w, x[g]);
    const __m512i low = _mm512_set1_epi8(15);
    sum = _mm512_dpbusd_epi32(sum, _mm512_and_si512(w, low), x[g]);
    return _mm512_dpbusd_epi32(sum, _mm512_and_si512(_mm512_srli_epi16(w, 4), low), x[4 + g]);
}

/* One row x a panel of each of n streams. Their blocks take turns, lines are touched in the order of their addresses, each a
 * little after it was asked for: further ahead (from 1.5 KiB on) and the prefetcher gets in its own way. */
EYE_INLINE void eye_b512_panels(const size_t q_bytes, size_t n, size_t k, const struct eye_block_row *a, size_t panel,
                                size_t panel_stride, const struct eye_gemm_stream *s) {
    const size_t step = EYE_BLOCK_D_BYTES + EYE_BLOCK_NR * q_bytes;
    __m512 acc[EYE_STREAMS][2];
    const uint8_t *b[EYE_STREAMS];
    for (size_t i = 0; i < n; i++) {
        b[i] = (const uint8_t *)s[i].rhs + panel * panel_stride;
        for (size_t v = 0; v < 2; v++)
            acc[i][v] = s[i].bias ? _mm512_loadu_ps(s[i].bias + panel * EYE_BLOCK_NR + 16 * v) : _mm512_setzero_ps();
    }
    for (size_t e = 0; e < k; e += EYE_BLOCK_KR, a++) {
        __m512i x[8];
        EYE_UNROLL
        for (size_t g = 0; g < 8; g++) {
            int32_t four;
            memcpy(&four, a->q + 4 * g, 4);
            x[g] = _mm512_set1_epi32(four);
        }
        EYE_NO_UNROLL
        for (size_t i = 0; i < n; i++) {
            const uint8_t *p = b[i];
            __m512i sum[2];
            __m512 d[2], e_a = _mm512_set1_ps(a->d);
            b[i] += step;
            sum[0] = sum[1] = _mm512_set1_epi32(a->start);
            _mm_prefetch((const char *)p + EYE_B512_AHEAD, _MM_HINT_T1);
            d[0] = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)p));
            d[1] = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)p + 1));
            EYE_UNROLL
            for (size_t l = 0; l < q_bytes / 2; l++) {
                const uint8_t *line = p + EYE_BLOCK_D_BYTES + 64 * l;
                atomic_signal_fence(memory_order_seq_cst); /* or the compiler mixes them */
                _mm_prefetch((const char *)line + EYE_B512_AHEAD, _MM_HINT_T1);
                sum[l % 2] = eye_b512_line(q_bytes, sum[l % 2], line, x, l / 2);
            }
            EYE_UNROLL
            for (size_t v = 0; v < 2; v++)
                acc[i][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[v]), _mm512_scalef_ps(d[v], e_a), acc[i][v]);
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t v = 0; v < 2; v++) _mm512_storeu_ps(s[i].c + panel * EYE_BLOCK_NR + 16 * v, acc[i][v]);
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
