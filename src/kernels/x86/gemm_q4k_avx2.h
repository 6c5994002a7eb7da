/* GEMM tiles with q4_K weights for 256-bit registers: AVX2 or AVX-VNNI, as gemm_block_avx2.h does q4_0. static inline only;
 * layouts in gemm_q4k_x86.h. */
#ifndef EYE_GEMM_Q4K_AVX2_H
#define EYE_GEMM_Q4K_AVX2_H

#include "kernels/x86/gemm_block_avx2.h"
#include "kernels/x86/gemm_q4k_x86.h"

EYE_INLINE __m256 eye_q4k_floats(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
EYE_INLINE __m256 eye_q4k_halves(const uint8_t *p) { return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)p)); }

/* A step (n_groups: 8) or nothing (0): m rows x nv vectors from column 8 v0 of the panel on, of which n columns are wanted. */
EYE_INLINE void eye_q4k_tile(const enum eye_b256_how how, const size_t m, const size_t nv, size_t v0, size_t n,
                             size_t n_groups, const struct eye_block_row *a, const uint8_t *b, float *c, size_t c_stride,
                             const float *start, size_t start_stride) {
    __m256i sums[EYE_Q4K_GROUPS][EYE_B256_SUMS];
    eye_b256_products(how, m, nv, false, sums, (const uint8_t *)a, b + EYE_Q4K_AT_QUANTS + 32 * v0, EYE_Q4K_GROUP_QUANTS,
                      n_groups);
    for (size_t v = 0; v < nv && 8 * v < n; v++) {
        const uint8_t *scales = b + EYE_Q4K_AT_SCALES + 8 * (v0 + v);
        const struct eye_block_row *row = a;
        __m256 acc[EYE_B256_MR];
        eye_b256_load(m, acc, start ? start + 8 * v : NULL, start_stride, n - 8 * v);
        for (size_t g = 0; g < n_groups; g++, row += m, scales += 64) {
            __m256 scale = _mm256_mul_ps(eye_q4k_halves(b + 16 * (v0 + v)), eye_q4k_floats(scales));
            __m256 min = _mm256_mul_ps(eye_q4k_halves(b + 64 + 16 * (v0 + v)), eye_q4k_floats(scales + 32));
            EYE_UNROLL
            for (size_t i = 0; i < m; i++) {
                __m256i s = sums[g][v * m + i];
                if (how == EYE_B256_NIBBLES) s = _mm256_madd_epi16(s, _mm256_set1_epi16(1));
                __m256 d_a = _mm256_broadcast_ss(&row[i].d), minus = _mm256_castsi256_ps(_mm256_set1_epi32(row[i].start));
                acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s), _mm256_mul_ps(d_a, scale), acc[i]);
                acc[i] = _mm256_fmadd_ps(minus, min, acc[i]);
            }
        }
        eye_b256_store(m, acc, c + 8 * v, c_stride, n - 8 * v);
    }
}

/* Up to three rows take a panel per pass, more of them 16 columns. */
EYE_INLINE void eye_q4k_rows(const enum eye_b256_how how, const size_t m, const size_t nv, size_t n, size_t k,
                             const struct eye_block_row *lhs, const uint8_t *rhs, size_t panel_stride, float *c,
                             size_t c_stride, const float *bias, bool accumulate) {
    for (size_t j = 0; j < n; j += EYE_BLOCK_NR, rhs += panel_stride) {
        for (size_t e = 0; e == 0 || e < k; e += EYE_Q4K_KR) {
            for (size_t v = 0; v < 4 && j + 8 * v < n; v += nv) {
                size_t at = j + 8 * v;
                bool go_on = accumulate || e > 0;
                eye_q4k_tile(how, m, nv, v, n - at, k ? EYE_Q4K_GROUPS : 0, lhs + e / 32 * m,
                             rhs + e / EYE_Q4K_KR * EYE_Q4K_STEP, c + at, c_stride,
                             go_on ? c + at : bias ? bias + at : NULL, go_on ? c_stride : 0);
            }
        }
    }
}

#define EYE_Q4K_CASE(how, m_, nv) \
    case m_: eye_q4k_rows(how, m_, nv, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate); return;
#define EYE_Q4K_KERNEL(symbol, how)                                                                                         \
    static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {                              \
        eye_b256_pack_lhs(m, k, src, src_stride, dst, 1, EYE_B256_SCALED);                                                         \
        eye_q4k_pad_lhs(m, k, dst);                                                                                         \
    }                                                                                                                       \
    static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {                         \
        eye_q4k_pack_rhs(n, k, src, src_stride_bytes, dst);                                                                 \
    }                                                                                                                       \
    static void run(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,      \
                    size_t c_stride, const float *bias, bool accumulate) {                                                  \
        assert(m <= EYE_B256_MR);                                                                                           \
        switch (m) {                                                                                                        \
            EYE_Q4K_CASE(how, 1, 4) EYE_Q4K_CASE(how, 2, 4) EYE_Q4K_CASE(how, 3, 4)                                         \
            EYE_Q4K_CASE(how, 4, 2) EYE_Q4K_CASE(how, 5, 2) EYE_Q4K_CASE(how, 6, 2)                                         \
        }                                                                                                                   \
    }                                                                                                                       \
    const struct eye_gemm_ukr symbol = {EYE_B256_MR, EYE_BLOCK_NR, EYE_Q4K_KR, EYE_Q4K_GROUPS * sizeof(struct eye_block_row), \
                                        EYE_Q4K_STEP, pack_lhs, pack_rhs, run};

#endif
