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

/* acc += one group: m rows x nv vectors of 8 columns from column 8 v0 on. step: d, dmin. */
EYE_INLINE void eye_q4k_add_group(const enum eye_b256_isa isa, const size_t m, const size_t nv, size_t v0,
                                  __m256 acc[][4], const struct eye_block_row *a, const uint8_t *step, size_t g) {
    const uint8_t *scales = step + EYE_Q4K_AT_SCALES + 64 * g, *quants = step + EYE_Q4K_AT_QUANTS + EYE_Q4K_GROUP_QUANTS * g;
    __m256i sum[EYE_B256_MR][4];
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) {
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++) sum[i][v] = _mm256_setzero_si256();
    }
    EYE_UNROLL
    for (size_t t = 0; t < 8; t++) {
        __m256i w[4];
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++) w[v] = eye_b256_weights(quants, v0 + v, t, 16);
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) {
            int32_t four;
            memcpy(&four, a[i].q + 4 * t, 4);
            __m256i x = _mm256_set1_epi32(four);
            EYE_UNROLL
            for (size_t v = 0; v < nv; v++) sum[i][v] = eye_b256_dot(isa, 16, sum[i][v], w[v], w[v], x);
        }
    }
    EYE_UNROLL
    for (size_t v = 0; v < nv; v++) {
        size_t col = 8 * (v0 + v);
        __m256 scale = _mm256_mul_ps(eye_q4k_halves(step + 2 * col), eye_q4k_floats(scales + col));
        __m256 min = _mm256_mul_ps(eye_q4k_halves(step + 64 + 2 * col), eye_q4k_floats(scales + 32 + col));
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) {
            __m256i s = sum[i][v];
            if (isa == EYE_B256_AVX2) s = _mm256_madd_epi16(s, _mm256_set1_epi16(1));
            __m256 d_a = _mm256_broadcast_ss(&a[i].d), minus = _mm256_set1_ps((float)a[i].start);
            acc[i][v] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s), _mm256_mul_ps(d_a, scale), acc[i][v]);
            acc[i][v] = _mm256_fmadd_ps(minus, _mm256_mul_ps(d_a, min), acc[i][v]);
        }
    }
}

/* m rows x nv vectors from column 8 v0 of the panel on, of which n columns are wanted. */
EYE_INLINE void eye_q4k_tile(const enum eye_b256_isa isa, const size_t m, const size_t nv, size_t v0, size_t n, size_t k,
                             const struct eye_block_row *a, const uint8_t *b, float *c, size_t c_stride, const float *bias,
                             bool accumulate) {
    __m256 acc[EYE_B256_MR][4];
    const float *start = accumulate ? c : bias;
    size_t start_stride = accumulate ? c_stride : 0;
    EYE_UNROLL
    for (size_t v = 0; v < nv; v++) {
        size_t cols = n <= 8 * v ? 0 : n - 8 * v;
        EYE_UNROLL
        for (size_t i = 0; i < m; i++)
            acc[i][v] = start ? eye_load8(start + i * start_stride + 8 * v, cols) : _mm256_setzero_ps();
    }
    for (size_t e = 0; e < k; e += EYE_Q4K_KR, b += EYE_Q4K_STEP)
        for (size_t g = 0; g < EYE_Q4K_GROUPS; g++, a += m) eye_q4k_add_group(isa, m, nv, v0, acc, a, b, g);
    EYE_UNROLL
    for (size_t v = 0; v < nv; v++) {
        size_t cols = n <= 8 * v ? 0 : n - 8 * v;
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) eye_store8(c + i * c_stride + 8 * v, cols, acc[i][v]);
    }
}

/* One row takes a panel per pass, several rows 8 or 16 columns, as registers allow. */
EYE_INLINE void eye_q4k_rows(const enum eye_b256_isa isa, const size_t m, const size_t nv, size_t n, size_t k, const void *lhs,
                             const uint8_t *rhs, size_t panel_stride, float *c, size_t c_stride, const float *bias,
                             bool accumulate) {
    for (size_t j = 0; j < n; j += EYE_BLOCK_NR, rhs += panel_stride)
        for (size_t v = 0; v < 4 && j + 8 * v < n; v += nv)
            eye_q4k_tile(isa, m, nv, v, n - j - 8 * v, k, lhs, rhs, c + j + 8 * v, c_stride, bias ? bias + j + 8 * v : NULL,
                         accumulate);
}

#define EYE_Q4K_CASE(isa, m_, nv) \
    case m_: eye_q4k_rows(isa, m_, nv, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate); return;
#define EYE_Q4K_KERNEL(symbol, isa)                                                                                         \
    static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {                              \
        eye_b256_pack_lhs(m, k, src, src_stride, dst, 1);                                                                   \
        eye_q4k_pad_lhs(m, k, dst);                                                                                         \
    }                                                                                                                       \
    static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {                         \
        eye_q4k_pack_rhs(n, k, src, src_stride_bytes, dst);                                                                 \
    }                                                                                                                       \
    static void run(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,      \
                    size_t c_stride, const float *bias, bool accumulate) {                                                  \
        assert(m <= EYE_B256_MR);                                                                                           \
        switch (m) {                                                                                                        \
            EYE_Q4K_CASE(isa, 1, 4) EYE_Q4K_CASE(isa, 2, 2) EYE_Q4K_CASE(isa, 3, 1) EYE_Q4K_CASE(isa, 4, 1)                 \
        }                                                                                                                   \
    }                                                                                                                       \
    const struct eye_gemm_ukr symbol = {EYE_B256_MR, EYE_BLOCK_NR, EYE_Q4K_KR, EYE_Q4K_GROUPS * sizeof(struct eye_block_row), \
                                        EYE_Q4K_STEP, pack_lhs, pack_rhs, run};

#endif
