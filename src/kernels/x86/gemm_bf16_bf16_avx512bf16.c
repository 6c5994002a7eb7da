/* GEMM, bf16 x bf16, AVX512-BF16: two products per lane and instruction (vdpbf16ps adds a pair in a fixed order, flushes
 * denormals, rounds to nearest even). lhs: 32 bf16 per row and step. */
#include "kernels/gelu_tables.h"
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

/* ---- products and GELU at once ----
 * Tiles of half the rows leave registers for the GELU of the tile before, which lies in a small buffer: products take two of
 * the four vector units, GELU mostly the others. */
enum { HALF = EYE_F512_MR / 2, WORDS = 4 /* pairs of k between two rows' GELU */ };

struct pieces { /* of gelu, [degree]: 32 numbers each */
    __m512 lo[3], hi[3];
};

/* Beside products only multiplications cost anything on Zen 4: two here. The piece is |x| in 512ths times 3 by 256. */
EYE_INLINE __m512 gelu_of(__m512 x, const struct pieces *c) {
    const __m512 magic = _mm512_set1_ps(16384.0f); /* adding it leaves 512ths in the low bits */
    const __m512i end = _mm512_castps_si512(_mm512_set1_ps(EYE_GELU_ROUNDED_MAX));
    __m512 t = _mm512_castsi512_ps(_mm512_min_epi32(_mm512_castps_si512(_mm512_abs_ps(x)), end));
    __m512i n = _mm512_castps_si512(_mm512_add_ps(t, magic)), i = _mm512_add_epi32(_mm512_add_epi32(n, n), n);
    i = _mm512_srli_epi32(i, 8); /* magic's bits are above the five that count */
    __m512 k = _mm512_permutex2var_ps(c->lo[2], i, c->hi[2]);
    k = _mm512_fmadd_ps(k, t, _mm512_permutex2var_ps(c->lo[1], i, c->hi[1]));
    k = _mm512_fmadd_ps(k, t, _mm512_permutex2var_ps(c->lo[0], i, c->hi[0]));
    return _mm512_sub_ps(_mm512_max_ps(_mm512_setzero_ps(), x), k); /* this order keeps NaN */
}
EYE_INLINE struct pieces load_pieces(void) {
    struct pieces c;
    EYE_UNROLL
    for (size_t d = 0; d < 3; d++) {
        c.lo[d] = _mm512_loadu_ps(eye_gelu_rounded[d]);
        c.hi[d] = _mm512_loadu_ps(eye_gelu_rounded[d] + 16);
    }
    return c;
}

static void gelu(float *dst, const float *src, size_t n) {
    const struct pieces c = load_pieces();
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 t = n - i < 16 ? eye_tail16(n - i) : 0xffff;
        _mm512_mask_storeu_ps(dst + i, t, gelu_of(_mm512_maskz_loadu_ps(t, src + i), &c));
    }
}

/* 32 results of a row: one step of a left side. */
EYE_INLINE void finish_row(const float *x, const struct pieces *c, uint8_t *dst) {
    __m512 lo = gelu_of(_mm512_load_ps(x), c), hi = gelu_of(_mm512_load_ps(x + 16), c);
    _mm512_store_si512(dst, (__m512i)_mm512_cvtne2ps_pbh(hi, lo));
}

EYE_INLINE void some_words(const uint8_t *a, const uint8_t *b, size_t ahead, __m512 sum[HALF][2]) {
    EYE_UNROLL
    for (size_t t = 0; t < WORDS; t++, b += 128) {
        __m512bh w0 = (__m512bh)_mm512_load_si512(b), w1 = (__m512bh)_mm512_load_si512(b + 64);
        _mm_prefetch((const char *)b + ahead, _MM_HINT_T0);
        _mm_prefetch((const char *)b + ahead + 64, _MM_HINT_T0);
        EYE_UNROLL
        for (size_t r = 0; r < HALF; r++) {
            int32_t two;
            memcpy(&two, a + r * 64 + t * 4, sizeof two);
            __m512bh x = (__m512bh)_mm512_set1_epi32(two);
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], w0, x);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], w1, x);
        }
    }
}

/* Sums of a tile to out, and the GELU of `done` to dst. k whole steps, two at least. */
EYE_INLINE void half_tile(size_t k, const uint8_t *a, const uint8_t *b, size_t ahead, const float *bias, float *out,
                          const float *done, const struct pieces *c, uint8_t *dst) {
    const size_t per_step = KR / 2 / WORDS, n = k / 2 / WORDS;
    __m512 sum[HALF][2];
    __m512 b0 = bias ? _mm512_loadu_ps(bias) : _mm512_setzero_ps(), b1 = bias ? _mm512_loadu_ps(bias + 16) : _mm512_setzero_ps();
    EYE_UNROLL
    for (size_t r = 0; r < HALF; r++) sum[r][0] = b0, sum[r][1] = b1;
    size_t g = 0;
    for (; g < n - HALF; g++, b += WORDS * 128)
        some_words(a + g / per_step * EYE_F512_MR * 64 + g % per_step * WORDS * 4, b, ahead, sum);
    for (; g < n; g++, b += WORDS * 128, done += EYE_F512_NR, dst += 64) { /* last, when `done` is out of the store buffers */
        some_words(a + g / per_step * EYE_F512_MR * 64 + g % per_step * WORDS * 4, b, ahead, sum);
        finish_row(done, c, dst);
    }
    EYE_UNROLL
    for (size_t r = 0; r < HALF; r++) {
        _mm512_store_ps(out + r * EYE_F512_NR, sum[r][0]);
        _mm512_store_ps(out + r * EYE_F512_NR + 16, sum[r][1]);
    }
}

static void run_gelu(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride,
                     const float *bias, void *dst) {
    const uint8_t *b = rhs;
    uint8_t *out = dst, *q = dst; /* of the tile before; the first has none: zeros go where its own results will */
    const struct pieces c = load_pieces();
    if (m < EYE_F512_MR || n % EYE_F512_NR || k % KR || k < 2 * KR) {
        _Alignas(64) float tile[EYE_F512_MR * EYE_F512_NR] = {0};
        for (size_t j = 0; j < n; j += EYE_F512_NR, b += rhs_panel_stride) {
            size_t cols = n - j < EYE_F512_NR ? n - j : EYE_F512_NR;
            if (cols < EYE_F512_NR) memset(tile, 0, sizeof tile);
            run(m, cols, k, lhs, b, rhs_panel_stride, tile, EYE_F512_NR, bias ? bias + j : NULL, false);
            for (size_t i = 0; i < m; i++, out += 64) finish_row(tile + i * EYE_F512_NR, &c, out);
        }
        return;
    }
    _Alignas(64) float tile[2][HALF * EYE_F512_NR];
    memset(tile[1], 0, sizeof tile[1]);
    for (size_t j = 0; j < n; j += EYE_F512_NR, b += rhs_panel_stride, out += EYE_F512_MR * 64) {
        size_t ahead = j + EYE_F512_NR < n ? rhs_panel_stride : 0;
        const float *bj = bias ? bias + j : NULL;
        half_tile(k, lhs, b, 0, bj, tile[0], tile[1], &c, q);
        half_tile(k, (const uint8_t *)lhs + HALF * 64, b, ahead, bj, tile[1], tile[0], &c, out);
        q = out + HALF * 64;
    }
    for (size_t r = 0; r < HALF; r++) finish_row(tile[1] + r * EYE_F512_NR, &c, q + r * 64);
}

/* ---- the last products and a residual ----
 * What is added comes from memory: it is asked for among a tile's products, a row with each step, since all at once would keep
 * weights waiting. So is what is read next. */
EYE_INLINE void fetch_row(const float *x) {
    _mm_prefetch((const char *)x, _MM_HINT_T0);
    _mm_prefetch((const char *)(x + 16), _MM_HINT_T0);
}

/* A whole tile of whole steps, from column `at` of add's rows on; acc: its sums so far, or the bias. */
EYE_INLINE void add_tile(size_t k, const uint8_t *a, const uint8_t *b, __m512 acc[][8], const struct eye_gemm_add *add, size_t at,
                         size_t stride) {
    const size_t step = EYE_F512_NR * KR * 2, n = k / KR, busy = n < EYE_F512_MR ? n : EYE_F512_MR;
    const float *x = add->x + at, *next = add->next ? add->next + at : x;
    float *y = add->y + at;
    for (size_t r = busy; r < EYE_F512_MR; r++) fetch_row(x + r * stride), fetch_row(next + r * stride);
    for (size_t i = 0; i < busy; i++, a += EYE_F512_MR * 64, b += step) {
        fetch_row(x + i * stride);
        fetch_row(next + i * stride);
        eye_f512_step(EYE_F512_BF16_PAIRS, EYE_F512_MR, 2, (const float *)(const void *)a, b, 0, acc);
    }
    for (size_t i = busy; i < n; i++, a += EYE_F512_MR * 64, b += step)
        eye_f512_step(EYE_F512_BF16_PAIRS, EYE_F512_MR, 2, (const float *)(const void *)a, b, 0, acc);
    EYE_UNROLL
    for (size_t r = 0; r < EYE_F512_MR; r++) {
        EYE_UNROLL
        for (size_t v = 0; v < 2; v++)
            _mm512_storeu_ps(y + r * stride + 16 * v, _mm512_add_ps(acc[r][v], _mm512_loadu_ps(x + r * stride + 16 * v)));
    }
}

static void run_add(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                    size_t stride, const float *bias, bool accumulate, const struct eye_gemm_add *add) {
    const uint8_t *b = rhs;
    size_t j = 0;
    for (; m == EYE_F512_MR && k % KR == 0 && j + EYE_F512_NR <= n; j += EYE_F512_NR, b += rhs_panel_stride) {
        __m512 acc[EYE_F512_MR][8];
        eye_f512_start(EYE_F512_MR, 2, true, NULL, acc, accumulate ? c + j : bias ? bias + j : NULL, accumulate ? stride : 0);
        add_tile(k, lhs, b, acc, add, j, stride);
    }
    if (j == n) return;
    run(m, n - j, k, lhs, b, rhs_panel_stride, c + j, stride, bias ? bias + j : NULL, accumulate);
    for (size_t i = 0; i < m; i++)
        for (size_t e = j; e < n; e++) add->y[i * stride + e] = c[i * stride + e] + add->x[i * stride + e];
}

const struct eye_gemm_ukr eye_gemm_f32_bf16_bf16_avx512bf16 = {EYE_F512_MR, EYE_F512_NR, KR, KR * 2, EYE_F512_NR * KR * 2,
                                                               pack_lhs, pack_rhs, run, pack_lhs_t, pack_rhs_t, gelu, run_gelu,
                                                               .run_add = run_add};
