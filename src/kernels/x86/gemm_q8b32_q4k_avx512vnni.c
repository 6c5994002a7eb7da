/* GEMM, int8 activations x q4_K weights, AVX512-VNNI. Nibbles are unsigned as vpdpbusd wants them: integer sums start at zero.
 * Layouts in gemm_q4k_x86.h. */
#include "kernels/x86/gemm_block_avx512.h"
#include "kernels/x86/gemm_q4k_x86.h"

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_b512_pack_lhs(m, k, src, src_stride, dst, 1, true);
    eye_q4k_pad_lhs(m, k, dst);
}
static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_q4k_pack_rhs(n, k, src, src_stride_bytes, dst);
}

EYE_INLINE __m512 bytes_to_floats(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)p)));
}

/* acc += one group: m rows x 32 columns. */
EYE_INLINE void add_group(const size_t m, __m512 acc[][2], const struct eye_block_row *a, const uint8_t *scales,
                          const uint8_t *quants, const __m512 d[2], const __m512 dmin[2]) {
    __m512i sum[EYE_B512_MR][2];
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) sum[i][0] = sum[i][1] = _mm512_setzero_si512();
    EYE_UNROLL
    for (size_t t = 0; t < 8; t++) {
        __m512i w0 = eye_b512_weights(quants, 0, t, 16), w1 = eye_b512_weights(quants, 1, t, 16);
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) {
            int32_t four;
            memcpy(&four, a[i].q + 4 * t, 4);
            __m512i x = _mm512_set1_epi32(four);
            sum[i][0] = _mm512_dpbusd_epi32(sum[i][0], w0, x);
            sum[i][1] = _mm512_dpbusd_epi32(sum[i][1], w1, x);
        }
    }
    EYE_UNROLL
    for (size_t v = 0; v < 2; v++) {
        __m512 scale = _mm512_mul_ps(d[v], bytes_to_floats(scales + 16 * v));
        __m512 min = _mm512_mul_ps(dmin[v], bytes_to_floats(scales + 32 + 16 * v));
        EYE_UNROLL
        for (size_t i = 0; i < m; i++) {
            __m512 e = _mm512_set1_ps(a[i].d), minus = _mm512_castsi512_ps(_mm512_set1_epi32(a[i].start));
            acc[i][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i][v]), _mm512_scalef_ps(scale, e), acc[i][v]);
            acc[i][v] = _mm512_fmadd_ps(minus, min, acc[i][v]);
        }
    }
}

/* m rows x one panel, of which n columns are wanted. */
EYE_INLINE void tile(const size_t m, size_t n, size_t k, const struct eye_block_row *a, const uint8_t *b, float *c,
                     size_t c_stride, const float *bias, bool accumulate) {
    __m512 acc[EYE_B512_MR][2];
    __mmask16 mask[2] = {n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1),
                         n >= 32 ? 0xffff : n <= 16 ? 0 : (__mmask16)((1u << (n - 16)) - 1)};
    const float *start = accumulate ? c : bias;
    size_t start_stride = accumulate ? c_stride : 0;
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) {
        EYE_UNROLL
        for (size_t v = 0; v < 2; v++)
            acc[i][v] = start ? _mm512_maskz_loadu_ps(mask[v], start + i * start_stride + 16 * v) : _mm512_setzero_ps();
    }
    for (size_t e = 0; e < k; e += EYE_Q4K_KR, b += EYE_Q4K_STEP) {
        __m512 d[2], dmin[2];
        EYE_UNROLL
        for (size_t v = 0; v < 2; v++) {
            d[v] = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)b + v));
            dmin[v] = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)b + 2 + v));
        }
        for (size_t g = 0; g < EYE_Q4K_GROUPS; g++, a += m)
            add_group(m, acc, a, b + EYE_Q4K_AT_SCALES + 64 * g, b + EYE_Q4K_AT_QUANTS + EYE_Q4K_GROUP_QUANTS * g, d, dmin);
    }
    EYE_UNROLL
    for (size_t i = 0; i < m; i++) {
        EYE_UNROLL
        for (size_t v = 0; v < 2; v++) _mm512_mask_storeu_ps(c + i * c_stride + 16 * v, mask[v], acc[i][v]);
    }
}

#define CASE(m_)                                                                                           \
    case m_:                                                                                               \
        for (size_t j = 0; j < n; j += EYE_BLOCK_NR, panel += rhs_panel_stride)                            \
            tile(m_, n - j, k, lhs, panel, c + j, c_stride, bias ? bias + j : NULL, accumulate);           \
        return;

static void run(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                size_t c_stride, const float *bias, bool accumulate) {
    const uint8_t *panel = rhs;
    assert(m <= EYE_B512_MR);
    switch (m) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
    }
}

const struct eye_gemm_ukr eye_gemm_f32_q8b32_q4k_avx512vnni = {
    EYE_B512_MR, EYE_BLOCK_NR, EYE_Q4K_KR, EYE_Q4K_GROUPS * sizeof(struct eye_block_row), EYE_Q4K_STEP,
    pack_lhs, pack_rhs, run};
