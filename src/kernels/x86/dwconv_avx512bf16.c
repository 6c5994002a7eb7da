/* Depthwise convolution in bf16, AVX512-BF16: vdpbf16ps takes one column of two neighbouring rows, 16 channels, at twice the
 * rate of f32 multiply-adds. Pairs of rows begin at even rows of the image. One is put together once for the eight output rows
 * that read it; their weights begin either where a pair does or one row later.
 *
 * Tiles are 16 channels, up to TILE_ROWS output rows and TILE_COLUMNS columns: pairs and weights stay in the first-level
 * cache. A left side takes two of them for each line of 64 bytes: half lines would come to memory one by one. */
#include "kernels/rows.h"
#include "kernels/x86/math_avx512.h"

enum {
    K = EYE_DW_BF16_K,
    GROUPS = K / 2 + 1,     /* pairs an output row reads */
    COLUMNS = 8,            /* sums in registers */
    TILE_ROWS = 8,
    TILE_COLUMNS = 32,
    MAX_PAIRS = (TILE_ROWS + 1 + K) / 2,
    MAX_IN = TILE_COLUMNS + K - 1
};

struct tile {
    const struct eye_dwconv_bf16_args *a;
    size_t c, x, m, y, h; /* outputs x … x + m - 1 of rows y … y + h - 1, channels from c on */
    __mmask16 lanes;
    int half;             /* of the 32 channels that a left side's line has */
    __m512i w[2][2][GROUPS][K]; /* [half][late] */
    __m512i pairs[MAX_PAIRS][MAX_IN];
    __m256i low[TILE_ROWS][TILE_COLUMNS]; /* the first half, rounded */
};

/* Pairs of bf16: a's in the lower halves. */
EYE_INLINE __m512i mix(__m512 a, __m512 b) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                           6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(b, a));
}

/* Row u of a kernel that begins `late` rows after a pair does. */
static __m512 weight(const struct tile *t, int u, int v) {
    const struct eye_dwconv_bf16_args *a = t->a;
    if (u < 0 || u >= K) return _mm512_setzero_ps();
    return _mm512_maskz_loadu_ps(t->lanes, a->w + (size_t)(u * K + v) * a->channels + t->c);
}
static void mix_weights(struct tile *t) {
    for (int late = 0; late < 2; late++)
        for (int g = 0; g < GROUPS; g++)
            for (int v = 0; v < K; v++) t->w[t->half][late][g][v] = mix(weight(t, 2 * g - late, v), weight(t, 2 * g + 1 - late, v));
}

/* Columns inside the image. Lanes that l0 or l1 leaves out are zero; whole: none is. */
EYE_INLINE void mix_columns(__m512i *out, size_t n, const float *r0, const float *r1, size_t step, __mmask16 l0, __mmask16 l1,
                            const bool whole) {
    for (size_t j = 0; j < n; j++, r0 += step, r1 += step)
        out[j] = whole ? mix(_mm512_loadu_ps(r0), _mm512_loadu_ps(r1))
                       : mix(_mm512_maskz_loadu_ps(l0, r0), _mm512_maskz_loadu_ps(l1, r1));
}

static void mix_row(__m512i *out, const struct tile *t, const float *r0, const float *r1, size_t columns) {
    const struct eye_dwconv_bf16_args *a = t->a;
    const bool any = r0 || r1;
    size_t j = 0, first = t->x - a->pad_left; /* left of the image wraps to a huge number */
    for (; j < columns && (!any || first + j >= a->width_in); j++) out[j] = _mm512_setzero_si512();
    if (j == columns) return;
    const size_t at = (first + j) * a->channels + t->c, inside = a->width_in - (first + j);
    const size_t n = inside < columns - j ? inside : columns - j;
    const float *p0 = (r0 ? r0 : r1) + at, *p1 = (r1 ? r1 : r0) + at;
    if (r0 && r1 && t->lanes == 0xffff) mix_columns(out + j, n, p0, p1, a->channels, 0xffff, 0xffff, true);
    else mix_columns(out + j, n, p0, p1, a->channels, r0 ? t->lanes : 0, r1 ? t->lanes : 0, false);
    for (j += n; j < columns; j++) out[j] = _mm512_setzero_si512();
}

/* Output r meets column j at tap j - r. All are constants: dead taps vanish. */
#define TAP(r, j)                        \
    if ((j) - (r) >= 0 && (j) - (r) < K) \
        sum[r] = _mm512_dpbf16_ps(sum[r], in, w[(j) - (r) >= 0 && (j) - (r) < K ? (j) - (r) : 0]);
#define COLUMN(j)                                                                               \
    {                                                                                           \
        const __m512bh in = (__m512bh)_mm512_load_si512(q + (j));                               \
        TAP(0, j) TAP(1, j) TAP(2, j) TAP(3, j) TAP(4, j) TAP(5, j) TAP(6, j) TAP(7, j)         \
    }

/* Of the panel whose first row is `first`: rows, and where the tile's channels are. */
EYE_INLINE size_t panel_rows(const struct eye_dwconv_bf16_args *a, size_t first) {
    return a->lhs_rows - first < a->mr ? a->lhs_rows - first : a->mr;
}
EYE_INLINE uint8_t *in_panel(const struct tile *t, size_t first, size_t m) {
    return t->a->lhs + 2 * first * t->a->channels + t->c / 32 * m * 64;
}

/* Eight pixels of row i of the tile, from column x of it on, into a left side. */
EYE_INLINE void store_lhs(struct tile *t, size_t i, size_t x, const __m512 sum[COLUMNS]) {
    const struct eye_dwconv_bf16_args *a = t->a;
    if (!t->half) {
        EYE_UNROLL
        for (size_t r = 0; r < COLUMNS; r++) t->low[i][x + r] = (__m256i)_mm512_cvtneps_pbh(sum[r]);
        return;
    }
    const size_t at = a->lhs_row + (t->y + i) * a->width_out + t->x + x;
    size_t row = at % a->mr, first = at - row, m = panel_rows(a, first);
    uint8_t *dst = in_panel(t, first, m) + row * 64;
    EYE_UNROLL
    for (size_t r = 0; r < COLUMNS; r++) {
        if (x + r >= t->m) return;
        __m256i high = (__m256i)_mm512_cvtneps_pbh(sum[r]);
        _mm512_store_si512(dst, _mm512_inserti64x4(_mm512_castsi256_si512(t->low[i][x + r]), high, 1));
        dst += 64;
        if (++row < m) continue;
        row = 0;
        first += m;
        m = panel_rows(a, first);
        dst = in_panel(t, first, m);
    }
}

EYE_INLINE void sum_outputs(struct tile *t, const __m512i (*pairs)[MAX_IN], const __m512i (*weights)[K], __m512 start, size_t i,
                            size_t x, float *out) {
    __m512 sum[COLUMNS];
    EYE_UNROLL
    for (int r = 0; r < COLUMNS; r++) sum[r] = start;
    for (int g = 0; g < GROUPS; g++) {
        const __m512i *q = pairs[g] + x;
        __m512bh w[K];
        EYE_UNROLL
        for (int v = 0; v < K; v++) w[v] = (__m512bh)_mm512_load_si512(&weights[g][v]);
        COLUMN(0) COLUMN(1) COLUMN(2) COLUMN(3) COLUMN(4) COLUMN(5) COLUMN(6) COLUMN(7) COLUMN(8) COLUMN(9) COLUMN(10)
        COLUMN(11) COLUMN(12) COLUMN(13)
    }
    if (!out) {
        store_lhs(t, i, x, sum);
        return;
    }
    EYE_UNROLL
    for (int r = 0; r < COLUMNS; r++)
        if (x + (size_t)r < t->m) _mm512_mask_storeu_ps(out + (x + (size_t)r) * t->a->channels, t->lanes, sum[r]);
}

static void tile_run(struct tile *t) {
    const struct eye_dwconv_bf16_args *a = t->a;
    const size_t odd = (a->odd + t->y) % 2, n_in = t->h + K - 1, n_all = a->n_rows + K - 1;
    const size_t whole = (t->m + COLUMNS - 1) / COLUMNS * COLUMNS;
    for (size_t g = 0; 2 * g < n_in + odd; g++) {
        const size_t u = t->y + 2 * g - odd; /* the row above the first wraps */
        mix_row(t->pairs[g], t, u < n_all ? a->rows[u] : NULL, u + 1 < n_all ? a->rows[u + 1] : NULL, whole + K - 1);
    }
    const __m512 start = a->bias ? _mm512_maskz_loadu_ps(t->lanes, a->bias + t->c) : _mm512_setzero_ps();
    for (size_t i = 0; i < t->h; i++) {
        float *out = !a->out ? NULL : a->out + ((t->y + i) * a->width_out + t->x) * a->channels + t->c;
        const size_t late = (i + odd) % 2;
        for (size_t x = 0; x < t->m; x += COLUMNS)
            sum_outputs(t, (const __m512i(*)[MAX_IN])t->pairs + (i + odd) / 2, (const __m512i(*)[K])t->w[t->half][late], start, i, x,
                        out);
    }
}

void eye_dwconv_bf16_avx512bf16(const struct eye_dwconv_bf16_args *a) {
    struct tile t; /* large: nothing is cleared */
    const size_t halves = a->out ? 1 : 2;
    t.a = a;
    for (size_t c = 0; c < a->channels; c += 16 * halves) {
        for (t.half = 0; t.half < (int)halves; t.half++) {
            t.c = c + 16 * (size_t)t.half;
            t.lanes = a->channels - t.c < 16 ? eye_tail16(a->channels - t.c) : 0xffff;
            mix_weights(&t);
        }
        for (t.y = 0; t.y < a->n_rows; t.y += t.h) {
            t.h = a->n_rows - t.y < TILE_ROWS ? a->n_rows - t.y : TILE_ROWS;
            for (t.x = 0; t.x < a->width_out; t.x += t.m) {
                t.m = a->width_out - t.x < TILE_COLUMNS ? a->width_out - t.x : TILE_COLUMNS;
                for (t.half = 0; t.half < (int)halves; t.half++) {
                    t.c = c + 16 * (size_t)t.half;
                    tile_run(&t);
                }
            }
        }
    }
}
