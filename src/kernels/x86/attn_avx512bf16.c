/* Attention of one head in bf16, AVX512-BF16: vdpbf16ps multiplies two pairs per lane, at twice the rate of f32.
 *
 * A lane is a query row, so that a vector of scores (16 rows, one key) turns into probabilities where it is, and two such
 * vectors, rounded and interleaved, are what the products with the values want: scores never go to memory, nothing is
 * transposed but q and the result. Keys and values are read by broadcasts of pairs.
 *
 * Softmax without its maximum: any `low` with low <= maximum + 1 and scores - low < 127 will do for 2^(score - low), floats
 * lose nothing. low is the first tile's maximum, rounded up to an integer; where a later score passes it by more than RISE,
 * low rises and what has been summed is multiplied by a power of two, which is exact. Sums of scores begin with -low.
 *
 * 2^r, 0 <= r < 1: degree 3, relative error 7.5e-5 (2^-13.7; minimax, least squares reweighted), a 52nd of the rounding to
 * bf16. What is summed for the division is rounded too: where one key has it all, its value comes out as it is. */
#include <math.h>

#include "kernels/rows.h"
#include "kernels/x86/math_avx512.h"

enum {
    TILE = 8,            /* keys whose scores are in registers */
    BLOCK = 128,         /* keys whose probabilities wait for their values */
    DIMS = 8,            /* of the result in registers */
    LANES = EYE_ATTN_BF16_ROWS,
    RISE = 64
};

struct state {
    uint32_t q[EYE_ATTN_BF16_D / 2][LANES]; /* pairs of elements */
    float o[EYE_ATTN_BF16_D][LANES];
    uint32_t p[BLOCK / 2][LANES];           /* pairs of keys */
    size_t n_pairs;                         /* in p */
    const uint16_t *v;                      /* the values of p */
};

EYE_INLINE __m512bh pair(const uint16_t *p) {
    int32_t two;
    memcpy(&two, p, sizeof two);
    return (__m512bh)_mm512_set1_epi32(two);
}

/* 16 rows' pairs into columns [at, at + 16) of q. */
static void turn_queries(struct state *s, const struct eye_attn_bf16_args *a, size_t at) {
    const __m512 by = _mm512_set1_ps(a->scale * 1.44269504088896341f);
    for (size_t e = 0; e < a->d; e += 32) {
        size_t n = a->d - e < 32 ? a->d - e : 32;
        __mmask16 lo = n < 16 ? eye_tail16(n) : 0xffff, hi = n < 16 ? 0 : eye_tail16(n - 16);
        __m512 r[16];
        EYE_UNROLL
        for (size_t i = 0; i < 16; i++) {
            const float *x = a->q + (at + i < a->m ? at + i : 0) * a->q_stride + e; /* lanes too many do the first row again */
            __m512 x0 = _mm512_maskz_loadu_ps(lo, x), x1 = _mm512_maskz_loadu_ps(hi, x + (hi ? 16 : 0));
            r[i] = (__m512)_mm512_cvtne2ps_pbh(_mm512_mul_ps(x1, by), _mm512_mul_ps(x0, by));
        }
        eye_transpose16(r);
        for (size_t c = 0; c < n / 2; c++) _mm512_storeu_ps((float *)(void *)&s->q[e / 2 + c][at], r[c]);
    }
}

/* s->o += probabilities waiting x their values, for nq vectors of rows. */
EYE_INLINE void add_dims(struct state *s, const int nq, const int nd, size_t d, size_t e) {
    __m512 acc[DIMS][2];
    EYE_UNROLL
    for (int i = 0; i < nd; i++) {
        EYE_UNROLL
        for (int k = 0; k < nq; k++) acc[i][k] = _mm512_loadu_ps(&s->o[e + (size_t)i][16 * k]);
    }
    const uint16_t *v = s->v + 2 * e;
    for (size_t j = 0; j < s->n_pairs; j++, v += 2 * d) {
        __m512bh p[2];
        EYE_UNROLL
        for (int k = 0; k < nq; k++) p[k] = (__m512bh)_mm512_loadu_si512(&s->p[j][16 * k]);
        EYE_UNROLL
        for (int i = 0; i < nd; i++) {
            __m512bh vv = pair(v + 2 * i);
            EYE_UNROLL
            for (int k = 0; k < nq; k++) acc[i][k] = _mm512_dpbf16_ps(acc[i][k], vv, p[k]);
        }
    }
    EYE_UNROLL
    for (int i = 0; i < nd; i++) {
        EYE_UNROLL
        for (int k = 0; k < nq; k++) _mm512_storeu_ps(&s->o[e + (size_t)i][16 * k], acc[i][k]);
    }
}

EYE_INLINE void add_values(struct state *s, const int nq, size_t d) {
    size_t e = 0;
    for (; e + DIMS <= d; e += DIMS) add_dims(s, nq, DIMS, d, e);
    for (; e < d; e += 2) add_dims(s, nq, 2, d, e);
    s->v += s->n_pairs * d * 2;
    s->n_pairs = 0;
}

EYE_INLINE __m512 power(__m512 x) {
    __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); /* x - floor(x); scalef takes the floor itself */
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0x1.3f96a4p-4f), r, _mm512_set1_ps(0x1.cefc4cp-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.64444cp-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fff632p-1f));
    return _mm512_scalef_ps(p, x);
}

/* Two keys' probabilities of 16 rows, rounded to bf16, in pairs. */
EYE_INLINE __m512bh round_pair(__m512 even, __m512 odd) {
    const __m512i interleave = _mm512_add_epi16(_mm512_set1_epi32(16 << 16), _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(0x10001)));
    return (__m512bh)_mm512_permutexvar_epi16(interleave, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

/* Scores of TILE keys, less low. */
EYE_INLINE void score(const struct state *s, const int nq, size_t d, const uint16_t *k, const __m512 low[2],
                      __m512 acc[TILE][2]) {
    EYE_UNROLL
    for (int i = 0; i < TILE; i++) {
        EYE_UNROLL
        for (int v = 0; v < nq; v++) acc[i][v] = _mm512_sub_ps(_mm512_setzero_ps(), low[v]);
    }
    for (size_t c = 0; c < d / 2; c++) {
        __m512bh q[2];
        EYE_UNROLL
        for (int v = 0; v < nq; v++) q[v] = (__m512bh)_mm512_loadu_si512(&s->q[c][16 * v]);
        EYE_UNROLL
        for (int i = 0; i < TILE; i++) {
            __m512bh kk = pair(k + (size_t)i * d + 2 * c);
            EYE_UNROLL
            for (int v = 0; v < nq; v++) acc[i][v] = _mm512_dpbf16_ps(acc[i][v], kk, q[v]);
        }
    }
}

/* All sums so far become 2^-up of them. */
static void lower_sums(struct state *s, size_t d, size_t at, __m512 up, __m512 *sum) {
    __m512 by = _mm512_scalef_ps(_mm512_set1_ps(1.0f), _mm512_sub_ps(_mm512_setzero_ps(), up));
    for (size_t e = 0; e < d; e++) _mm512_storeu_ps(&s->o[e][at], _mm512_mul_ps(_mm512_loadu_ps(&s->o[e][at]), by));
    *sum = _mm512_mul_ps(*sum, by);
}

/* low rises in rows whose scores are too far above it; with the first tile it begins. */
EYE_INLINE void rise(struct state *s, const int nq, size_t d, bool first, __m512 acc[TILE][2], __m512 low[2], __m512 sum[2]) {
    __m512 most[2];
    __mmask16 rows[2] = {0, 0};
    EYE_UNROLL
    for (int v = 0; v < nq; v++) {
        most[v] = acc[0][v];
        EYE_UNROLL
        for (int i = 1; i < TILE; i++) most[v] = _mm512_max_ps(most[v], acc[i][v]);
        rows[v] = first ? 0xffff : _mm512_cmp_ps_mask(most[v], _mm512_set1_ps(RISE), _CMP_NLE_UQ);
    }
    if (!(rows[0] | rows[1])) return;
    add_values(s, nq, d); /* what waits has the old low */
    EYE_UNROLL
    for (int v = 0; v < nq; v++) {
        __m512 up = _mm512_maskz_roundscale_ps(rows[v], most[v], _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
        if (!first) lower_sums(s, d, (size_t)v * 16, up, &sum[v]);
        low[v] = _mm512_add_ps(low[v], up);
        EYE_UNROLL
        for (int i = 0; i < TILE; i++) acc[i][v] = _mm512_sub_ps(acc[i][v], up);
    }
}

/* sum: of the exponentials. */
EYE_INLINE void attend(struct state *s, const int nq, const struct eye_attn_bf16_args *a, __m512 sum[2]) {
    const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3f80);
    __m512 low[2], acc[TILE][2];
    EYE_UNROLL
    for (int v = 0; v < nq; v++) low[v] = sum[v] = _mm512_setzero_ps();
    for (size_t j = 0; j < a->n_keys; j += TILE) {
        size_t n = a->n_keys - j < TILE ? a->n_keys - j : TILE;
        score(s, nq, a->d, a->k + j * a->d, low, acc);
        if (n < TILE) { /* the others are none */
            EYE_UNROLL
            for (size_t i = 1; i < TILE; i++) {
                EYE_UNROLL
                for (int v = 0; v < nq; v++)
                    if (i >= n) acc[i][v] = _mm512_set1_ps(-INFINITY);
            }
        }
        rise(s, nq, a->d, j == 0, acc, low, sum);
        EYE_UNROLL
        for (int v = 0; v < nq; v++) {
            EYE_UNROLL
            for (int i = 0; i < TILE; i += 2) {
                __m512bh p = round_pair(power(acc[i][v]), power(acc[i + 1][v]));
                sum[v] = _mm512_dpbf16_ps(sum[v], ones, p);
                _mm512_storeu_si512(&s->p[s->n_pairs + (size_t)i / 2][16 * v], (__m512i)p);
            }
        }
        s->n_pairs += (n + 1) / 2;
        if (s->n_pairs == BLOCK / 2) add_values(s, nq, a->d);
    }
    add_values(s, nq, a->d);
}

/* Columns [at, at + 16) of the sums, divided, as rows of the result. */
static void turn_result(const struct state *s, const struct eye_attn_bf16_args *a, size_t at, __m512 sum) {
    const __m512 by = _mm512_div_ps(_mm512_set1_ps(1.0f), sum);
    for (size_t e = 0; e < a->d; e += 16) {
        __mmask16 t = a->d - e < 16 ? eye_tail16(a->d - e) : 0xffff;
        __m512 r[16];
        for (size_t i = 0; i < 16; i++)
            r[i] = e + i < a->d ? _mm512_mul_ps(_mm512_loadu_ps(&s->o[e + i][at]), by) : _mm512_setzero_ps();
        eye_transpose16(r);
        EYE_UNROLL
        for (size_t i = 0; i < 16; i++)
            if (at + i < a->m) _mm512_mask_storeu_ps(a->out + (at + i) * a->out_stride + e, t, r[i]);
    }
}

void eye_attn_bf16_avx512bf16(const struct eye_attn_bf16_args *a) {
    struct state s;
    __m512 sum[2];
    s.n_pairs = 0;
    s.v = a->v;
    memset(s.o, 0, a->d * sizeof s.o[0]);
    turn_queries(&s, a, 0);
    if (a->m > 16) {
        turn_queries(&s, a, 16);
        attend(&s, 2, a, sum);
        turn_result(&s, a, 16, sum[1]);
    } else {
        attend(&s, 1, a, sum);
    }
    turn_result(&s, a, 0, sum[0]);
}
