/* GEMM tiles with q8_0 and q4_0 weights for 256-bit registers: AVX2 (multiplication in 16 bits) or AVX-VNNI (vpdpbusd).
 * Integer sums are exact, floats as in gemm_block_avx512.h: acc += sum * (d_w * d_a), blocks in order.
 * static inline only; layouts in gemm_block_x86.h.
 *
 * Without VNNI a block's weights, as they lie in memory, are gone through twice:
 *   q8: the even and the odd bytes, each as 16 bits, times activations that a row has in 16 bits (struct eye_wide_row):
 *       vpmaddwd, two products a sum of 32 bits.
 *   q4: the low and the high nibbles. vpmaddubsw adds two products u8 x s8 in 16 bits, 2 * 15 * 127 = 3810 at most, and all
 *       8 of a block fit: 30480. A sum begins at -8 * (sum of its own activations), which as much fits.
 * What costs is the number of instructions: a multiplication and an addition per row and vector, little else. So tiles are
 * 6 rows x 16 columns with all registers for integer sums, which wait in memory for their scales, a piece of K at a time. */
#ifndef EYE_GEMM_BLOCK_AVX2_H
#define EYE_GEMM_BLOCK_AVX2_H

#include <assert.h>
#include <immintrin.h>
#include <stdbool.h>

#include "kernels/q8b32.h"
#include "kernels/rows.h"
#include "kernels/x86/gemm_block_x86.h"
#include "kernels/x86/math_avx2.h"

enum { EYE_B256_MR = 6, EYE_B256_SUMS = 12, EYE_B256_PIECE = 8 };

/* How weights are multiplied; a row of the left side differs. */
enum eye_b256_how {
    EYE_B256_VNNI8, /* struct eye_block_row */
    EYE_B256_VNNI4,
    EYE_B256_WIDE8,   /* struct eye_wide_row */
    EYE_B256_NIBBLES, /* struct eye_block_row, start: two of 16 bits, -offset * sum of q[k], k % 4 < 2 and the others */
};

struct eye_wide_row {
    int16_t q[2][8][2]; /* [k % 2][k / 4][k / 2 % 2] */
    float d;
    int32_t start; /* -128 * sum of q */
};

/* 32 int8, and the two of 16 bits: sums of those with k % 4 < 2 and of the others. */
struct eye_b256_quants {
    __m256i q;
    __m128i sums; /* in each 32 bits */
    float d;
};

/* One row and block as eye_q8b32_quant does it, the same operations; max of 8 lanes has no order. */
EYE_INLINE struct eye_b256_quants eye_b256_quant(const float *x, size_t n) {
    const __m256 sign = _mm256_set1_ps(-0.0f), top = _mm256_set1_ps(127.0f);
    __m256 v[4], m = _mm256_setzero_ps();
    for (size_t i = 0; i < 4; i++) {
        v[i] = eye_load8(x + 8 * i, n <= 8 * i ? 0 : n - 8 * i);
        m = _mm256_max_ps(_mm256_andnot_ps(sign, v[i]), m); /* second operand where the first is NaN */
    }
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    float amax = _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
    float d = eye_q8b32_scale(amax);
    const __m256 scale = _mm256_set1_ps(eye_q8b32_inverse(d));
    __m256i q[4];
    for (size_t i = 0; i < 4; i++) q[i] = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(v[i], scale), top));
    /* The packs work within 128-bit lanes: words of 4 bytes come out as 0 2 4 6 1 3 5 7. */
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
    __m128i s = _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    s = _mm_add_epi16(s, _mm_shuffle_epi32(s, 0x4e));
    return (struct eye_b256_quants){
        .q = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)),
        .sums = _mm_add_epi16(s, _mm_shuffle_epi32(s, 0xb1)),
        .d = d,
    };
}

EYE_INLINE int32_t eye_b256_sum(struct eye_b256_quants b) {
    return _mm_cvtsi128_si32(_mm_madd_epi16(b.sums, _mm_set1_epi16(1)));
}

enum eye_b256_start { /* -offset * sum of q as */
    EYE_B256_WHOLE,
    EYE_B256_HALVES, /* two sums of 16 bits, for EYE_B256_NIBBLES */
    EYE_B256_SCALED, /* a float, times d */
};
EYE_INLINE void eye_b256_pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst, const int16_t offset,
                                  const enum eye_b256_start as) {
    struct eye_block_row *out = dst;
    for (size_t e = 0; e < k; e += EYE_BLOCK_KR) {
        for (size_t i = 0; i < m; i++, out++) {
            struct eye_b256_quants b = eye_b256_quant(src + i * src_stride + e, k - e);
            _mm256_storeu_si256((__m256i *)out->q, b.q);
            out->d = b.d;
            if (as == EYE_B256_HALVES) out->start = _mm_cvtsi128_si32(_mm_mullo_epi16(b.sums, _mm_set1_epi16((int16_t)-offset)));
            else out->start = -offset * eye_b256_sum(b);
            float scaled = (float)out->start * b.d;
            if (as == EYE_B256_SCALED) memcpy(&out->start, &scaled, sizeof scaled);
        }
    }
}

EYE_INLINE void eye_b256_pack_lhs_wide(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    struct eye_wide_row *out = dst;
    for (size_t e = 0; e < k; e += EYE_BLOCK_KR) {
        for (size_t i = 0; i < m; i++, out++) {
            struct eye_b256_quants b = eye_b256_quant(src + i * src_stride + e, k - e);
            _mm256_storeu_si256((__m256i *)out->q[0], _mm256_srai_epi16(_mm256_slli_epi16(b.q, 8), 8));
            _mm256_storeu_si256((__m256i *)out->q[1], _mm256_srai_epi16(b.q, 8));
            out->d = b.d;
            out->start = -128 * eye_b256_sum(b);
        }
    }
}

EYE_INLINE size_t eye_b256_row_bytes(const enum eye_b256_how how) {
    return how == EYE_B256_WIDE8 ? sizeof(struct eye_wide_row) : sizeof(struct eye_block_row);
}
EYE_INLINE size_t eye_b256_quant_bytes(const enum eye_b256_how how) { /* of a column's block */
    return how == EYE_B256_VNNI8 || how == EYE_B256_WIDE8 ? 32 : 16;
}
EYE_INLINE int32_t eye_b256_word(const uint8_t *p) {
    int32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}
/* Scale and start end both kinds of rows. */
EYE_INLINE __m256 eye_b256_row_d(const uint8_t *row, const enum eye_b256_how how) {
    return _mm256_castsi256_ps(_mm256_set1_epi32(eye_b256_word(row + eye_b256_row_bytes(how) - 8)));
}
EYE_INLINE __m256i eye_b256_row_start(const uint8_t *row, const enum eye_b256_how how) {
    return _mm256_set1_epi32(eye_b256_word(row + eye_b256_row_bytes(how) - 4));
}

/* What pass (0, 1) multiplies of the weights at q. */
EYE_INLINE __m256i eye_b256_weights(const uint8_t *q, const size_t pass, const enum eye_b256_how how) {
    __m256i w = _mm256_load_si256((const __m256i *)q);
    if (how == EYE_B256_VNNI8) return w;
    if (how == EYE_B256_WIDE8) return pass ? _mm256_srli_epi16(w, 8) : _mm256_and_si256(w, _mm256_set1_epi16(255));
    return _mm256_and_si256(pass ? _mm256_srli_epi16(w, 4) : w, _mm256_set1_epi8(15));
}

EYE_INLINE __m256i eye_b256_dot(const enum eye_b256_how how, __m256i sum, __m256i w, __m256i x) {
#ifdef __AVXVNNI__
    if (how == EYE_B256_VNNI8 || how == EYE_B256_VNNI4) return _mm256_dpbusd_avx_epi32(sum, w, x);
#endif
    if (how == EYE_B256_WIDE8) return _mm256_add_epi32(sum, _mm256_madd_epi16(w, x));
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
}

/* Sums of products of n_blocks blocks: m rows x nv vectors of 8 columns. q: the first vector's quants; step: to the next
 * block's. The loop must stay a loop with one addition to a sum: unrolled, gcc adds products to each other first and has no
 * registers left. One row has enough of them, and reads its weights once. */
EYE_INLINE void eye_b256_products(const enum eye_b256_how how, const size_t m, const size_t nv, const bool from_start,
                                  __m256i sums[][EYE_B256_SUMS], const uint8_t *a, const uint8_t *q, size_t step,
                                  size_t n_blocks) {
    const size_t row_bytes = eye_b256_row_bytes(how);
    const size_t n_steps = eye_b256_quant_bytes(how) / 4, n_passes = how == EYE_B256_VNNI8 ? 1 : 2;
    const size_t together = m == 1 ? n_passes : 1;
    for (size_t b = 0; b < n_blocks; b++, a += m * row_bytes, q += step) {
        __m256i sum[EYE_B256_MR][4];
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) {
            EYE_UNROLL
            for (size_t v = 0; v < nv; v++)
                sum[i][v] = from_start ? eye_b256_row_start(a + i * row_bytes, how) : _mm256_setzero_si256();
        }
        EYE_UNROLL
        for (size_t first = 0; first < n_passes; first += together) {
            const uint8_t *x = a;
            EYE_KEEP_LOOP
            for (size_t t = 0; t < n_steps; t++, x += 4) {
                EYE_UNROLL
                for (size_t pass = first; pass < first + together; pass++) {
                    __m256i w[4];
                    EYE_UNROLL
                    for (size_t v = 0; v < nv; v++) w[v] = eye_b256_weights(q + (t * 4 + v) * 32, pass, how);
                    EYE_UNROLL
                    for (size_t i = 0; i < m; i++) {
                        __m256i xi = _mm256_set1_epi32(eye_b256_word(x + pass * n_steps * 4 + i * row_bytes));
                        EYE_UNROLL
                        for (size_t v = 0; v < nv; v++) sum[i][v] = eye_b256_dot(how, sum[i][v], w[v], xi);
                    }
                }
            }
        }
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++) {
            EYE_UNROLL
            for (size_t i = 0; i < m; i++) sums[b][v * m + i] = sum[i][v];
        }
    }
}

/* 8 columns of m rows, of which n are wanted. start: a row each, or with stride 0 one for all; NULL: 0. */
EYE_INLINE void eye_b256_load(const size_t m, __m256 acc[EYE_B256_MR], const float *start, size_t stride, size_t n) {
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) acc[i] = start ? eye_load8(start + i * stride, n) : _mm256_setzero_ps();
}
EYE_INLINE void eye_b256_store(const size_t m, const __m256 acc[EYE_B256_MR], float *c, size_t stride, size_t n) {
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) eye_store8(c + i * stride, n, acc[i]);
}

/* At most EYE_B256_PIECE blocks, m rows x nv vectors of 8 columns from column 8 v0 of the panel on, of which n are wanted. */
EYE_INLINE void eye_b256_tile(const enum eye_b256_how how, const size_t m, const size_t nv, size_t v0, size_t n,
                              size_t n_blocks, const uint8_t *a, const uint8_t *b, float *c, size_t c_stride,
                              const float *start, size_t start_stride) {
    const size_t row_bytes = eye_b256_row_bytes(how), step = EYE_BLOCK_D_BYTES + EYE_BLOCK_NR * eye_b256_quant_bytes(how);
    __m256i sums[EYE_B256_PIECE][EYE_B256_SUMS];
    eye_b256_products(how, m, nv, true, sums, a, b + EYE_BLOCK_D_BYTES + 32 * v0, step, n_blocks);
    for (size_t v = 0; v < nv && 8 * v < n; v++) {
        const uint8_t *row = a, *d_w = b + 16 * (v0 + v);
        __m256 acc[EYE_B256_MR];
        eye_b256_load(m, acc, start ? start + 8 * v : NULL, start_stride, n - 8 * v);
        for (size_t i_block = 0; i_block < n_blocks; i_block++, row += m * row_bytes, d_w += step) {
            __m256 d = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)d_w));
            EYE_UNROLL
            for (size_t i = 0; i < m; i++) {
                __m256i s = sums[i_block][v * m + i];
                if (how == EYE_B256_NIBBLES) s = _mm256_madd_epi16(s, _mm256_set1_epi16(1));
                __m256 scale = _mm256_mul_ps(d, eye_b256_row_d(row + i * row_bytes, how));
                acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s), scale, acc[i]);
            }
        }
        eye_b256_store(m, acc, c + 8 * v, c_stride, n - 8 * v);
    }
}

/* Up to three rows read a whole panel per pass, since it streams from memory. More rows take 16 columns at a time, so that a
 * panel is read twice: by pieces of K, which stay in the first-level cache, c holding the sums in between. */
EYE_INLINE void eye_b256_rows(const enum eye_b256_how how, const size_t m, const size_t nv, size_t n, size_t k,
                              const uint8_t *lhs, const uint8_t *rhs, size_t panel_stride, float *c, size_t c_stride,
                              const float *bias, bool accumulate) {
    const size_t step = EYE_BLOCK_D_BYTES + EYE_BLOCK_NR * eye_b256_quant_bytes(how), row_bytes = eye_b256_row_bytes(how);
    const size_t n_blocks = (k + EYE_BLOCK_KR - 1) / EYE_BLOCK_KR;
    for (size_t j = 0; j < n; j += EYE_BLOCK_NR, rhs += panel_stride) {
        for (size_t b = 0; b == 0 || b < n_blocks; b += EYE_B256_PIECE) {
            size_t len = n_blocks - b < EYE_B256_PIECE ? n_blocks - b : EYE_B256_PIECE;
            for (size_t v = 0; v < 4 && j + 8 * v < n; v += nv) {
                size_t at = j + 8 * v;
                bool go_on = accumulate || b > 0;
                eye_b256_tile(how, m, nv, v, n - at, len, lhs + b * m * row_bytes, rhs + b * step, c + at, c_stride,
                              go_on ? c + at : bias ? bias + at : NULL, go_on ? c_stride : 0);
            }
        }
    }
}

#define EYE_B256_CASE(how, m_, nv) \
    case m_: eye_b256_rows(how, m_, nv, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate); return;
#define EYE_B256_RUN(name, how)                                                                                        \
    static void name(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c, \
                     size_t c_stride, const float *bias, bool accumulate) {                                            \
        assert(m <= EYE_B256_MR);                                                                                      \
        switch (m) {                                                                                                   \
            EYE_B256_CASE(how, 1, 4) EYE_B256_CASE(how, 2, 4) EYE_B256_CASE(how, 3, 4)                                 \
            EYE_B256_CASE(how, 4, 2) EYE_B256_CASE(how, 5, 2) EYE_B256_CASE(how, 6, 2)                                 \
        }                                                                                                              \
    }

#endif
