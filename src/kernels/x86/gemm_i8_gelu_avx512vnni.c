/* GEMM and GELU, u8 activations x s8 weights to u8, AVX512-VNNI: tiles of gemm_i8's kind, 8 rows x 32 columns, and between
 * their steps the GELU of the tile before, which lies in a small buffer. Products take two of the four vector units, GELU
 * mostly the others; one after the other each would leave half of them idle. */
#include "kernels/rows.h"
#include "kernels/x86/gelu_u8_avx512.h"

enum { MR = 8, STEP_K = 16 };

struct finish {
    struct eye_coarse_gelu gelu;
    __m512 scale, zero;
};

/* 32 results of a row. */
EYE_INLINE void finish_row(const struct finish *f, const float *x, uint8_t *q) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13); /* packs: 128 bits each */
    __m512 a = _mm512_fmadd_ps(eye_coarse_gelu_of(_mm512_load_ps(x), &f->gelu), f->scale, f->zero);
    __m512 b = _mm512_fmadd_ps(eye_coarse_gelu_of(_mm512_load_ps(x + 16), &f->gelu), f->scale, f->zero);
    __m512i words = _mm512_packs_epi32(eye_to_int_avx512(a), eye_to_int_avx512(b));
    __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(words, words));
    _mm256_storeu_si256((__m256i *)q, _mm512_castsi512_si256(bytes));
}

/* Twice 4 of k. */
EYE_INLINE void two_steps(size_t stride, const uint8_t *row, const int8_t *w, __m512i sum[MR][2]) {
    EYE_UNROLL
    for (size_t t = 0; t < 2; t++, row += EYE_I8_KR, w += EYE_I8_KR * EYE_I8_NR) {
        __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + 64);
        EYE_UNROLL
        for (size_t r = 0; r < MR; r++) {
            __m512i x = _mm512_set1_epi32((int32_t)eye_i8_four(row + r * stride, EYE_I8_KR));
            sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], x, w0);
            sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], x, w1);
        }
    }
}

/* Sums of a tile; meanwhile `done`, the results of the tile before, go to q, rows_per_step of them in each first step. */
EYE_INLINE void products(const struct eye_gemm_i8_gelu_args *a, const size_t rows_per_step, const uint8_t *row, const int8_t *w,
                         const struct finish *f, const float *done, uint8_t *q, __m512i sum[MR][2]) {
    const size_t stride = a->gemm.a_stride;
    const char *next = (const char *)row + MR * stride; /* fetched as in gemm_i8 */
    EYE_UNROLL
    for (size_t r = 0; r < MR; r++) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    size_t at = 0;
    for (size_t r = 0; r < MR; at += STEP_K, row += STEP_K, w += STEP_K * EYE_I8_NR) {
        _mm_prefetch(next + at + at / 16 % 4 * stride, _MM_HINT_T0);
        _mm_prefetch(next + at + (at / 16 % 4 + 4) * stride, _MM_HINT_T0);
        two_steps(stride, row, w, sum);
        EYE_UNROLL
        for (size_t t = 0; t < rows_per_step; t++, r++, q += a->q_stride, done += EYE_I8_NR) finish_row(f, done, q);
        two_steps(stride, row + 8, w + 8 * EYE_I8_NR, sum);
    }
    for (; at < a->gemm.k; at += STEP_K, row += STEP_K, w += STEP_K * EYE_I8_NR) {
        _mm_prefetch(next + at + at / 16 % 4 * stride, _MM_HINT_T0);
        _mm_prefetch(next + at + (at / 16 % 4 + 4) * stride, _MM_HINT_T0);
        two_steps(stride, row, w, sum);
        two_steps(stride, row + 8, w + 8 * EYE_I8_NR, sum);
    }
}

EYE_INLINE void keep(const struct eye_gemm_i8_args *g, size_t j, __m512i sum[MR][2], float *dst) {
    EYE_UNROLL
    for (size_t v = 0; v < 2; v++) {
        __m512 scale = _mm512_loadu_ps(g->scale + j + 16 * v), bias = _mm512_loadu_ps(g->bias + j + 16 * v);
        EYE_UNROLL
        for (size_t r = 0; r < MR; r++)
            _mm512_store_ps(dst + r * EYE_I8_NR + 16 * v, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][v]), scale, bias));
    }
}

/* The first m rows, a multiple of MR; n whole panels, k whole steps. */
EYE_INLINE void whole_tiles(const struct eye_gemm_i8_gelu_args *a, size_t m, const size_t rows_per_step) {
    const struct eye_gemm_i8_args *g = &a->gemm;
    const struct finish f = {eye_coarse_gelu_load(), _mm512_set1_ps(a->q_inv_scale), _mm512_set1_ps(a->q_zero)};
    _Alignas(64) float tile[2][MR * EYE_I8_NR];
    const int8_t *w = (const int8_t *)g->w + EYE_I8_SUMS_BYTES;
    size_t now = 0;
    uint8_t *q = a->q; /* of the tile before; the first has none: zeros go where its own results will */
    memset(tile, 0, sizeof tile);
    for (size_t j = 0; j < g->n; j += EYE_I8_NR, w += eye_i8_panel_bytes(g->k)) {
        for (size_t i = 0; i < m; i += MR, now ^= 1) {
            __m512i sum[MR][2];
            products(a, rows_per_step, (const uint8_t *)g->a + i * g->a_stride, w, &f, tile[now ^ 1], q, sum);
            keep(g, j, sum, tile[now]);
            q = a->q + i * a->q_stride + j;
        }
    }
    for (size_t r = 0; r < MR; r++) finish_row(&f, tile[now ^ 1] + r * EYE_I8_NR, q + r * a->q_stride);
}

void eye_gemm_i8_gelu_avx512vnni(const struct eye_gemm_i8_gelu_args *a) {
    struct eye_gemm_i8_args rest = a->gemm;
    size_t m = rest.n % EYE_I8_NR || rest.k % STEP_K || rest.k < 64 ? 0 : rest.m / MR * MR;
    if (m && rest.k >= 128) whole_tiles(a, m, 1);
    else if (m) whole_tiles(a, m, 2);
    rest.m -= m;
    if (!rest.m) return;
    rest.a = (const uint8_t *)rest.a + m * rest.a_stride;
    eye_gemm_i8_avx512vnni(&rest);
    for (size_t i = 0; i < rest.m; i++)
        eye_gelu_u8_avx512(a->q + (m + i) * a->q_stride, rest.c + i * rest.c_stride, rest.n, a->q_inv_scale, a->q_zero);
}
