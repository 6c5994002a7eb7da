/* GEMM, u8 activations x s8 weights, AVX2, by vpmaddubsw on split panels (int8.h): four products are added in 16 bits before
 * they are widened, which the panels' bytes cannot make too large; 5 instructions for 64 products, not 8 (gemm_i8_avx2.h).
 * What the bytes lack, some of twenty weights, comes first. Each column has its rests at k of its own, so there a vector is all
 * rows of one k; their sums are turned into what the products begin with. */
#include "kernels/rows.h"
#include "kernels/x86/i8_sums_avx2.h"

enum { MR = 4, NR = EYE_I8_SPLIT_NR, ROWS = EYE_I8_SPLIT_ROWS, ROW_BYTES = EYE_I8_SPLIT_K + 64 };

struct piece { /* of k */
    _Alignas(64) uint8_t row[ROWS][ROW_BYTES];
    uint8_t turned[EYE_I8_SPLIT_K * ROWS]; /* [k][rows] */
    __m256i rest[NR][4];                   /* sums of a column's rests: v has rows 4 v to 4 v + 3, and these + 16 */
    int32_t start[ROWS][NR];               /* the same, turned */
    size_t i, m, k0, k, k8;                /* k8: steps of 8 of k */
    bool first, last;
};

/* 16 of k. */
EYE_INLINE void turn(struct piece *p, size_t e) {
    __m256i x[16], y[16];
    EYE_UNROLL
    for (size_t r = 0; r < 16; r++) {
        __m128i lo = _mm_load_si128((const __m128i *)(p->row[r] + e));
        __m128i hi = _mm_load_si128((const __m128i *)(p->row[16 + r] + e));
        x[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(lo), hi, 1);
    }
    EYE_UNROLL
    for (size_t round = 0; round < 4; round++) {
        EYE_UNROLL
        for (size_t r = 0; r < 8; r++) {
            y[2 * r] = _mm256_unpacklo_epi8(x[r], x[r + 8]);
            y[2 * r + 1] = _mm256_unpackhi_epi8(x[r], x[r + 8]);
        }
        EYE_UNROLL
        for (size_t r = 0; r < 16; r++) x[r] = y[r];
    }
    EYE_UNROLL
    for (size_t r = 0; r < 16; r++) _mm256_store_si256((__m256i *)(p->turned + (e + r) * ROWS), x[r]);
}

EYE_INLINE void pack_rows(const struct eye_gemm_i8_args *a, struct piece *p) {
    const size_t whole = p->k8 * 8;
    for (size_t r = 0; r < p->m; r++) {
        memcpy(p->row[r], (const uint8_t *)a->a + (p->i + r) * a->a_stride + p->k0, p->k);
        memset(p->row[r] + p->k, 0, whole - p->k);
    }
    for (size_t e = 0; e < whole; e += 16) turn(p, e);
}

EYE_INLINE void add_rests(struct piece *p, const struct eye_i8_rest *e, const struct eye_i8_rest *end) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (; e < end; e++) {
        int32_t four;
        __m256i at[4], two[4], all[4], *sum = p->rest[e->column];
        memcpy(&four, e->w, sizeof four);
        const __m256i w = _mm256_set1_epi32(four);
        EYE_UNROLL
        for (size_t i = 0; i < 4; i++) at[i] = _mm256_load_si256((const __m256i *)(p->turned + e->at[i]));
        EYE_UNROLL
        for (size_t i = 0; i < 4; i += 2) {
            two[i] = _mm256_unpacklo_epi8(at[i], at[i + 1]);
            two[i + 1] = _mm256_unpackhi_epi8(at[i], at[i + 1]);
        }
        EYE_UNROLL
        for (size_t i = 0; i < 2; i++) {
            all[2 * i] = _mm256_unpacklo_epi16(two[i], two[2 + i]);
            all[2 * i + 1] = _mm256_unpackhi_epi16(two[i], two[2 + i]);
        }
        EYE_UNROLL
        for (size_t v = 0; v < 4; v++)
            sum[v] = _mm256_add_epi32(sum[v], _mm256_madd_epi16(_mm256_maddubs_epi16(all[v], w), ones));
    }
}

/* 8 columns from j on of vectors v. */
EYE_INLINE void turn_sums(struct piece *p, size_t v, size_t j) {
    __m256 x[8], y[8];
    EYE_UNROLL
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_castsi256_ps(p->rest[j + i][v]);
    EYE_UNROLL
    for (size_t i = 0; i < 8; i += 2) y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]), y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    EYE_UNROLL
    for (size_t i = 0; i < 8; i += 4) {
        x[i] = _mm256_shuffle_ps(y[i], y[i + 2], 0x44), x[i + 1] = _mm256_shuffle_ps(y[i], y[i + 2], 0xee);
        x[i + 2] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0x44), x[i + 3] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0xee);
    }
    EYE_UNROLL
    for (size_t i = 0; i < 4; i++) {
        _mm256_store_ps((float *)&p->start[4 * v + i][j], _mm256_permute2f128_ps(x[i], x[i + 4], 0x20));
        _mm256_store_ps((float *)&p->start[16 + 4 * v + i][j], _mm256_permute2f128_ps(x[i], x[i + 4], 0x31));
    }
}

EYE_INLINE void start_sums(const struct eye_gemm_i8_args *a, struct piece *p, const uint8_t *panel, size_t j) {
    const struct eye_i8_rest *rest = eye_i8_split_rests(panel, a->k);
    const uint16_t *at = eye_i8_split_at(panel, a->k) + p->k0 / EYE_I8_SPLIT_K * 2 + j % EYE_I8_NR / NR;
    for (size_t i = 0; i < NR; i++)
        for (size_t v = 0; v < 4; v++) p->rest[i][v] = _mm256_setzero_si256();
    add_rests(p, rest + at[0], rest + at[1]);
    for (size_t v = 0; v < 4; v++) turn_sums(p, v, 0), turn_sums(p, v, 8);
}

struct half { /* 16 columns of a panel */
    const int8_t *w;
    const uint16_t *order;
};

/* Rows r0 to r0 + m (constant) of the piece, nv times 8 columns (constant) from j on; c is row 0's. */
EYE_INLINE void tile(const struct eye_gemm_i8_args *a, const struct piece *p, const size_t m, const size_t nv, size_t r0,
                     const struct half *h, float *c, size_t j) {
    const size_t n = a->n - j, next = EYE_I8_KR * EYE_I8_NR;
    const __m256i ones = _mm256_set1_epi16(1);
    const uint8_t *x = p->row[r0];
    const uint16_t *order = h->order, *end = order + 2 * p->k8;
    const int8_t *w = h->w;
    __m256i sum[MR][2];
    c += r0 * a->c_stride + j;
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) {
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++) sum[r][v] = _mm256_load_si256((const __m256i *)&p->start[r0 + r][8 * v]);
    }
    if (!p->first) {
        EYE_UNROLL
        for (size_t r = 0; r < m; r++) {
            EYE_UNROLL
            for (size_t v = 0; v < nv; v++)
                sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_castps_si256(eye_load8(c + r * a->c_stride + 8 * v, n - 8 * v)));
        }
    }
    for (; order < end; order += 2, w += 2 * next) {
        const uint8_t *at0 = x + order[0], *at1 = x + order[1];
        __m256i w0[2], w1[2];
        EYE_UNROLL
        for (size_t v = 0; v < nv; v++) {
            w0[v] = _mm256_load_si256((const __m256i *)w + v);
            w1[v] = _mm256_load_si256((const __m256i *)(w + next) + v);
        }
        EYE_UNROLL
        for (size_t r = 0; r < m; r++) {
            int32_t four0, four1;
            memcpy(&four0, at0 + r * ROW_BYTES, sizeof four0);
            memcpy(&four1, at1 + r * ROW_BYTES, sizeof four1);
            __m256i x0 = _mm256_set1_epi32(four0), x1 = _mm256_set1_epi32(four1);
            EYE_UNROLL
            for (size_t v = 0; v < nv; v++) {
                __m256i four = _mm256_add_epi16(_mm256_maddubs_epi16(x0, w0[v]), _mm256_maddubs_epi16(x1, w1[v]));
                sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(four, ones));
            }
        }
    }
    eye_i8_put_sums(a, p->last, m, nv, sum, c, j);
}

EYE_INLINE void tiles(const struct eye_gemm_i8_args *a, const struct piece *p, const size_t nv, const struct half *h, float *c,
                      size_t j) {
    size_t r = 0;
    for (; r + MR <= p->m; r += MR) tile(a, p, MR, nv, r, h, c, j);
    if (r + 2 <= p->m) tile(a, p, 2, nv, r, h, c, j), r += 2;
    if (r < p->m) tile(a, p, 1, nv, r, h, c, j);
}

/* A panel with too many rests: rows i to i + m, in 16 bits. */
EYE_INLINE void whole_panel(const struct eye_gemm_i8_args *a, const struct piece *p, const uint8_t *panel, size_t j) {
    struct eye_gemm_i8_args one = *a;
    one.m = p->m, one.n = a->n - j < EYE_I8_NR ? a->n - j : EYE_I8_NR;
    one.a = (const uint8_t *)a->a + p->i * a->a_stride;
    one.w = panel, one.scale += j, one.bias += j, one.c += p->i * a->c_stride + j;
    eye_gemm_i8_avx2(&one);
}

EYE_INLINE void panel_piece(const struct eye_gemm_i8_args *a, struct piece *p, const uint8_t *panel, size_t j0) {
    const int8_t *w = (const int8_t *)panel + EYE_I8_SUMS_BYTES + p->k0 * EYE_I8_NR;
    float *c = a->c + p->i * a->c_stride;
    for (size_t j = j0; j < a->n && j < j0 + EYE_I8_NR; j += NR) {
        const uint16_t *order = eye_i8_split_order(panel, a->k, j % EYE_I8_NR / NR);
        struct half h = {w + j % EYE_I8_NR * EYE_I8_KR, order + p->k0 / EYE_I8_KR};
        start_sums(a, p, panel, j);
        if (a->n - j > 8) tiles(a, p, 2, &h, c, j);
        else tiles(a, p, 1, &h, c, j);
    }
}

void eye_gemm_i8_split_avx2(const struct eye_gemm_i8_args *a) {
    struct piece p;
    for (p.i = 0; p.i < a->m; p.i += ROWS) {
        p.m = a->m - p.i < ROWS ? a->m - p.i : ROWS;
        memset(p.row[0] + p.m * ROW_BYTES, 0, (ROWS - p.m) * ROW_BYTES); /* rows that are not there are turned as well */
        p.k0 = 0;
        do { /* once at least: without k there are biases */
            p.k = a->k - p.k0 < EYE_I8_SPLIT_K ? a->k - p.k0 : EYE_I8_SPLIT_K;
            p.k8 = (p.k + 7) / 8, p.first = p.k0 == 0, p.last = p.k0 + p.k == a->k;
            pack_rows(a, &p);
            const uint8_t *panel = a->w;
            for (size_t j = 0; j < a->n; j += EYE_I8_NR, panel += eye_i8_split_bytes(a->k)) {
                if (!eye_i8_split_whole(panel)) panel_piece(a, &p, panel, j);
                else if (p.first) whole_panel(a, &p, panel, j);
            }
            p.k0 += p.k;
        } while (p.k0 < a->k);
    }
}
