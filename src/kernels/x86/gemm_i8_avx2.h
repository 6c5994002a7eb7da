/* What gemm_i8 and gemm_i16 share on AVX2: 6 rows x 16 columns by vpmaddwd, which sums two products of 16 bits in 32: exact,
 * where vpmaddubsw would saturate (two products of 255 127 do not fit 16 bits), and as many instructions as the ways around
 * that take. Multipliers and adders are then both at their limit, so nothing is widened between products: rows once per call, a
 * panel's weights once per 24 rows. Both are split by even and odd k, for weights two shifts in place of a shuffle, and a
 * column's sum has one place. Pieces of k fit the first-level cache; between them sums wait in c.
 *
 * Include once per file, after elem, the type of a row's numbers, and split_16(e, even, odd): of 16 numbers those of even k and
 * those of odd k as 16 bits; split_4(e, n, even, odd) the same of 4 at most. static inline only. */
#include "kernels/rows.h"
#include "kernels/x86/i8_sums_avx2.h"

enum {
    MR = 6,
    NR = 16,
    ROWS = 24, /* at a time: weights are widened once for them */
    K_PIECE = 384,
    ROW_BYTES = 2 * K_PIECE
};

struct piece { /* of k */
    _Alignas(64) uint8_t rows[ROWS][ROW_BYTES]; /* [even, odd][k4] of (k, k + 2) */
    __m256i wide[K_PIECE / 2][2];               /* [even, odd][k4], 8 columns each */
    size_t k4;                                  /* steps of 4 of k */
    bool first, last;                           /* of its sums */
};

/* 16 columns of a panel. */
EYE_INLINE void widen(struct piece *p, const int8_t *w) {
    for (size_t s = 0; s < p->k4; s++, w += EYE_I8_KR * EYE_I8_NR) {
        EYE_UNROLL
        for (size_t v = 0; v < 2; v++) {
            __m256i eight = _mm256_load_si256((const __m256i *)w + v);
            p->wide[s][v] = _mm256_srai_epi16(_mm256_slli_epi16(eight, 8), 8);
            p->wide[p->k4 + s][v] = _mm256_srai_epi16(eight, 8);
        }
    }
}

/* Rows [i, i + m), of each [k0, k0 + k). */
EYE_INLINE void pack_rows(const struct eye_gemm_i8_args *a, size_t i, size_t m, size_t k0, size_t k, struct piece *p) {
    for (size_t r = 0; r < m; r++) {
        const elem *src = (const elem *)a->a + (i + r) * a->a_stride + k0;
        uint8_t *even = p->rows[r], *odd = even + 4 * p->k4;
        size_t e = 0;
        for (; e + 16 <= k; e += 16) split_16(src + e, even + e, odd + e);
        for (; e < k; e += EYE_I8_KR) split_4(src + e, k - e, even + e, odd + e);
    }
}

/* Sums of m rows (constant), nv times 8 columns (constant). Even and odd are a loop of two turns: with both in one body gcc 12
 * adds their products to each other first, and with one loop over all it keeps sums in memory for what follows. */
EYE_INLINE void sum_up(const struct piece *p, const size_t m, const size_t nv, size_t r0, __m256i sum[MR][2]) {
    const uint8_t *x = p->rows[r0];
    const __m256i *w = p->wide[0], *end = w;
    for (size_t odd = 0; odd < 2; odd++) {
        for (end += 2 * p->k4; w < end; w += 2, x += 4) {
            __m256i w0 = w[0], w1 = w[1];
            EYE_UNROLL
            for (size_t r = 0; r < m; r++) {
                int32_t two;
                memcpy(&two, x + r * ROW_BYTES, sizeof two);
                __m256i v = _mm256_set1_epi32(two);
                sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(v, w0));
                if (nv > 1) sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(v, w1));
            }
        }
    }
}

/* Rows r0 to r0 + m (constant) of the piece, nv times 8 columns (constant) from j on; c is the first row's. */
EYE_INLINE void tile(const struct eye_gemm_i8_args *a, const struct piece *p, const size_t m, const size_t nv, size_t r0, float *c,
                     size_t j) {
    const size_t n = a->n - j;
    __m256i sum[MR][2];
    c += r0 * a->c_stride + j;
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    if (!p->first) {
        EYE_UNROLL
        for (size_t r = 0; r < m; r++) {
            sum[r][0] = _mm256_castps_si256(eye_load8(c + r * a->c_stride, n));
            if (nv > 1) sum[r][1] = _mm256_castps_si256(eye_load8(c + r * a->c_stride + 8, n - 8));
        }
    }
    sum_up(p, m, nv, r0, sum);
    eye_i8_put_sums(a, p->last, m, nv, sum, c, j);
}

EYE_INLINE void tiles(const struct eye_gemm_i8_args *a, const struct piece *p, const size_t nv, size_t m, float *c, size_t j) {
    size_t r = 0;
    for (; r + MR <= m; r += MR) tile(a, p, MR, nv, r, c, j);
    if (r + 4 <= m) tile(a, p, 4, nv, r, c, j), r += 4;
    if (r + 2 <= m) tile(a, p, 2, nv, r, c, j), r += 2;
    if (r < m) tile(a, p, 1, nv, r, c, j);
}

EYE_INLINE void gemm(const struct eye_gemm_i8_args *a) {
    struct piece p;
    size_t k0 = 0;
    do { /* once at least: without k there are biases */
        size_t k = a->k - k0 < K_PIECE ? a->k - k0 : K_PIECE;
        p.k4 = (k + EYE_I8_KR - 1) / EYE_I8_KR, p.first = k0 == 0, p.last = k0 + k == a->k;
        for (size_t i = 0; i < a->m; i += ROWS) {
            size_t m = a->m - i < ROWS ? a->m - i : ROWS;
            float *c = a->c + i * a->c_stride;
            pack_rows(a, i, m, k0, k, &p);
            for (size_t j = 0; j < a->n; j += NR) {
                widen(&p, (const int8_t *)a->w + j / EYE_I8_NR * eye_i8_panel_bytes(a->k) + EYE_I8_SUMS_BYTES + k0 * EYE_I8_NR +
                          j % EYE_I8_NR * EYE_I8_KR);
                if (a->n - j > 8) tiles(a, &p, 2, m, c, j);
                else tiles(a, &p, 1, m, c, j);
            }
        }
        k0 += k;
    } while (k0 < a->k);
}
