/* GEMM tiles with float weights, AVX2 + FMA: up to 6 rows x 16 columns, one fused multiply-add per product and k in order.
 * The same plan as gemm_float_avx512.h with 16 registers: 12 accumulators, 2 vectors of weights, 1 broadcast; few rows take
 * more panels at once. static inline only; layouts in gemm_pack.h. */
#ifndef EYE_GEMM_FLOAT_AVX2_H
#define EYE_GEMM_FLOAT_AVX2_H

#include <assert.h>
#include <immintrin.h>

#include "kernels/rows.h"
#include "kernels/x86/gemm_pack.h"
#include "kernels/x86/math_avx2.h"

enum { EYE_F256_MR = 6, EYE_F256_NR = 16 };

enum eye_f256_weights { EYE_F256_F32, EYE_F256_F16, EYE_F256_BF16 };

/* r[i][j] becomes r[j][i]. */
EYE_INLINE void eye_transpose8(__m256 r[8]) {
    __m256 t[8], u[8];
    EYE_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    EYE_UNROLL
    for (int i = 0; i < 8; i += 4) { /* u[i + j]: column j, in the upper half column 4 + j, of rows i .. i + 3 */
        u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    EYE_UNROLL
    for (int j = 0; j < 4; j++) {
        r[j] = _mm256_permute2f128_ps(u[j], u[4 + j], 0x20);
        r[4 + j] = _mm256_permute2f128_ps(u[j], u[4 + j], 0x31);
    }
}

/* Packs lhs rows from src [k][m]. */
EYE_INLINE void eye_pack_lhs_t_f256(size_t m, size_t k, const float *src, size_t src_stride, float *out) {
    for (size_t e = 0; e < k; e += EYE_PACK_KR, out += m * EYE_PACK_KR) {
        for (size_t half = 0; half < EYE_PACK_KR; half += 8, src += 8 * src_stride) {
            __m256 r[8];
            EYE_UNROLL
            for (size_t t = 0; t < 8; t++)
                r[t] = e + half + t < k ? eye_load8(src + t * src_stride, m) : _mm256_setzero_ps();
            eye_transpose8(r);
            EYE_UNROLL
            for (size_t i = 0; i < EYE_F256_MR; i++)
                if (i < m) _mm256_store_ps(out + i * EYE_PACK_KR + half, r[i]);
        }
    }
}

/* One k times m rows and 2 np vectors of 8 columns. bf16 lies like f16, not in pairs as for AVX-512: splitting pairs takes a
 * mask, the sixteenth register, and the spills halved the speed. */
EYE_INLINE void eye_f256_unit(const enum eye_f256_weights t, const size_t m, const size_t np, const float *a, const uint8_t *b,
                              size_t panel_stride, __m256 acc[][8]) {
    __m256 w[8];
    const size_t nv = 2 * np;
    EYE_UNROLL
    for (size_t v = 0; v < nv; v++) {
        const uint8_t *p = b + v / 2 * panel_stride;
        if (t == EYE_F256_F32) {
            w[v] = _mm256_load_ps((const float *)p + v % 2 * 8);
        } else {
            __m128i half = _mm_load_si128((const __m128i *)p + v % 2);
            w[v] = t == EYE_F256_F16 ? _mm256_cvtph_ps(half)
                                     : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
        }
    }
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) {
        __m256 x = _mm256_broadcast_ss(a + i * EYE_PACK_KR);
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++) acc[i][v] = _mm256_fmadd_ps(x, w[v], acc[i][v]);
    }
}

/* m rows x np panels, of which n columns are wanted. */
EYE_INLINE void eye_f256_tile(const enum eye_f256_weights t, const size_t m, const size_t np, size_t n, size_t k,
                              const float *a, const uint8_t *b, size_t panel_stride, float *c, size_t c_stride,
                              const float *bias, bool accumulate) {
    const size_t unit_bytes = t == EYE_F256_F32 ? 64 : 32;
    __m256 acc[EYE_F256_MR][8];
    const float *start = accumulate ? c : bias;
    size_t start_stride = accumulate ? c_stride : 0;
    EYE_UNROLL
    for (size_t v = 0; v < 2 * np; v++) {
        size_t cols = n <= 8 * v ? 0 : n - 8 * v;
        EYE_UNROLL
        for (size_t i = 0; i < m; i++)
            acc[i][v] = start ? eye_load8(start + i * start_stride + 8 * v, cols) : _mm256_setzero_ps();
    }
    for (; k >= EYE_PACK_KR; k -= EYE_PACK_KR, a += m * EYE_PACK_KR) {
        EYE_UNROLL_4
        for (size_t u = 0; u < EYE_PACK_KR; u++, b += unit_bytes) eye_f256_unit(t, m, np, a + u, b, panel_stride, acc);
    }
    for (size_t u = 0; u < k; u++, b += unit_bytes) eye_f256_unit(t, m, np, a + u, b, panel_stride, acc);
    EYE_UNROLL
    for (size_t v = 0; v < 2 * np; v++) {
        size_t cols = n <= 8 * v ? 0 : n - 8 * v;
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) eye_store8(c + i * c_stride + 8 * v, cols, acc[i][v]);
    }
}

/* All columns, np panels at a time while they last, then one by one. */
EYE_INLINE void eye_f256_rows(const enum eye_f256_weights t, const size_t m, const size_t np, size_t n, size_t k,
                              const void *lhs, const void *rhs, size_t panel_stride, float *c, size_t c_stride,
                              const float *bias, bool accumulate) {
    const uint8_t *b = rhs;
    size_t j = 0;
    for (; np > 1 && j + (np - 1) * EYE_F256_NR < n; j += np * EYE_F256_NR, b += np * panel_stride)
        eye_f256_tile(t, m, np, n - j, k, lhs, b, panel_stride, c + j, c_stride, bias ? bias + j : NULL, accumulate);
    for (; j < n; j += EYE_F256_NR, b += panel_stride)
        eye_f256_tile(t, m, 1, n - j, k, lhs, b, panel_stride, c + j, c_stride, bias ? bias + j : NULL, accumulate);
}

/* The run function of a kernel: one instance per number of rows, since registers are not indexable. */
#define EYE_F256_CASE(t, m_, np) \
    case m_: eye_f256_rows(t, m_, np, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate); return;
#define EYE_F256_RUN(name, t)                                                                                          \
    static void name(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c, \
                     size_t c_stride, const float *bias, bool accumulate) {                                            \
        assert(m <= EYE_F256_MR);                                                                                      \
        switch (m) {                                                                                                   \
            EYE_F256_CASE(t, 1, 4) EYE_F256_CASE(t, 2, 2) EYE_F256_CASE(t, 3, 1) EYE_F256_CASE(t, 4, 1)                \
            EYE_F256_CASE(t, 5, 1) EYE_F256_CASE(t, 6, 1)                                                              \
        }                                                                                                              \
    }

#endif
