/* GEMM, bf16 x bf16, AVX512-BF16: two products per lane and instruction (vdpbf16ps adds a pair in a fixed order, flushes
 * denormals, rounds to nearest even). lhs: 32 bf16 per row and step. */
#include "kernels/x86/gemm_float_avx512.h"

enum { KR = 32 };

static void pack_lhs(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    uint8_t *out = dst;
    for (size_t e = 0; e < k; e += KR) {
        size_t len = k - e < KR ? k - e : KR;
        __mmask16 lo = len >= 16 ? 0xffff : (__mmask16)((1u << len) - 1);
        __mmask16 hi = len == 32 ? 0xffff : len <= 16 ? 0 : (__mmask16)((1u << (len - 16)) - 1);
        for (size_t i = 0; i < m; i++, out += 64) {
            const float *x = src + i * src_stride + e;
            __m512bh v = _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(hi, x + 16), _mm512_maskz_loadu_ps(lo, x));
            _mm512_store_si512(out, (__m512i)v);
        }
    }
}
static void pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst) {
    eye_pack_rhs(n, k, src, src_stride_bytes, dst, 2, EYE_F512_NR, KR, 2);
}

/* Two k of 16 rows become 16 words of a pair; a transposition of words then gives each row its 32 k. */
static void pack_lhs_t(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    const __mmask16 rows = (__mmask16)((1u << m) - 1);
    const __m512i interleave = _mm512_add_epi16(_mm512_set1_epi32(16 << 16), _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(0x10001)));
    uint8_t *out = dst;
    for (size_t e = 0; e < k; e += KR, src += KR * src_stride) {
        __m512 r[16];
        EYE_UNROLL
        for (size_t t = 0; t < 16; t++) {
            const float *x = src + 2 * t * src_stride;
            __m512 even = e + 2 * t < k ? _mm512_maskz_loadu_ps(rows, x) : _mm512_setzero_ps();
            __m512 odd = e + 2 * t + 1 < k ? _mm512_maskz_loadu_ps(rows, x + src_stride) : _mm512_setzero_ps();
            __m512i both = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
            r[t] = _mm512_castsi512_ps(_mm512_permutexvar_epi16(interleave, both));
        }
        eye_transpose16(r);
        EYE_UNROLL
        for (size_t i = 0; i < EYE_F512_MR; i++)
            if (i < m) _mm512_store_ps(out + i * 64, r[i]);
        out += m * 64;
    }
}
static void pack_rhs_t(size_t n, size_t k, const float *src, size_t src_stride, void *dst) {
    eye_pack_rhs_t_pairs(n, k, src, src_stride, dst, EYE_F512_NR, KR);
}
EYE_F512_RUN(run, EYE_F512_BF16_PAIRS)

const struct eye_gemm_ukr eye_gemm_f32_bf16_bf16_avx512bf16 = {EYE_F512_MR, EYE_F512_NR, KR, KR * 2, EYE_F512_NR * KR * 2,
                                                               pack_lhs, pack_rhs, run, pack_lhs_t, pack_rhs_t};
