/* Depthwise convolution of u8, NHWC, by products of four bytes: the bytes of four input rows at one column make one factor (a
 * quad), so that a column is put together once for all outputs it touches, those of the row below included, by whole vectors.
 *
 * 64 output channels, up to SEGMENT outputs and, at stride 1, two output rows at a time: first all columns they touch become quads
 * [vector][column][group of 4 rows], what lies outside the image as zero points. Then per vector of channels all weights stay in
 * registers and COLUMNS outputs are summed at a time; the zero point's share is taken off all sums alike, as their start. Last
 * the sums become floats or bytes.
 *
 * Included by dwconv_u8_<isa>.c, which defines before:
 *   LANES                          channels of a vector, at most 16
 *   vec                            LANES int32, or LANES quads of bytes
 *   load(p), save(p, v)            aligned
 *   dot(sum, quads, weights)       sum + the four products in each lane
 *   start(sums, zero)              sums of weights times - zero
 *   block                          64 channels of one column
 *   read(p, n, mult), blank(zero)  n output channels of a column; 64 zero points
 *   mix(out, step, r)              quads from four blocks, vectors `step` bytes apart, channels in the panels' order
 *   finish(s, x, y, sums)          outputs of strip s, row y, from [s->m][64] sums in the panels' order
 */
#include "kernels/inline.h"
#include "kernels/rows.h"

enum { COLUMNS = 8, SEGMENT = 24, QUAD = 4, MAX_KERNEL = 7, MAX_IN = (SEGMENT - 1) * 2 + MAX_KERNEL, QUADS_BYTES = QUAD * LANES };

/* Output r meets column j at tap kx = j - r * stride. All are constants: dead taps vanish. */
#define TAP(r, j, g)                                                                  \
    if ((j) - (r)*stride >= 0 && (j) - (r)*stride < k && (r) < nr)                    \
        sum[r] = dot(sum[r], in, w[g][(j) - (r)*stride >= 0 && (j) - (r)*stride < k ? (j) - (r)*stride : 0]);
#define TAPS(j, g)                                                                    \
    {                                                                                 \
        const vec in = load(q + ((j)*groups + (g)) * QUADS_BYTES);                    \
        TAP(0, j, g) TAP(1, j, g) TAP(2, j, g) TAP(3, j, g) TAP(4, j, g) TAP(5, j, g) TAP(6, j, g) TAP(7, j, g) \
    }
#define COLUMN(j)                                                                     \
    if ((j) < (nr - 1) * stride + k) {                                                \
        TAPS(j, 0)                                                                    \
        if (groups > 1) TAPS(j, 1)                                                    \
    }

/* nr outputs from the column at q on. */
EYE_INLINE void sum_outputs(const uint8_t *q, int32_t *out, vec from, vec w[2][MAX_KERNEL], const int nr, const int k,
                            const int stride) {
    const int groups = k / QUAD + 1;
    vec sum[COLUMNS];
    EYE_UNROLL
    for (int r = 0; r < nr; r++) sum[r] = from;
    COLUMN(0) COLUMN(1) COLUMN(2) COLUMN(3) COLUMN(4) COLUMN(5) COLUMN(6) COLUMN(7) COLUMN(8) COLUMN(9) COLUMN(10)
    COLUMN(11) COLUMN(12) COLUMN(13) COLUMN(14) COLUMN(15) COLUMN(16) COLUMN(17) COLUMN(18) COLUMN(19) COLUMN(20)
    EYE_UNROLL
    for (int r = 0; r < nr; r++) save(out + r * EYE_DW_NC, sum[r]);
}

/* m outputs of one row and vector, nr at a time; the last ones do some of those before again, fewer than nr go one by one.
 * taps: of the vector, [group][column][64 channels][4]. */
EYE_INLINE void sum_row(const uint8_t *q, const uint8_t *taps, vec from, int32_t *out, size_t m, const int nr, const int k,
                        const int stride) {
    const int groups = k / QUAD + 1;
    const size_t step = (size_t)(groups * QUADS_BYTES * stride);
    vec w[2][MAX_KERNEL];
    size_t x = 0;
    EYE_UNROLL
    for (int t = 0; t < k; t++) w[0][t] = load(taps + t * QUAD * EYE_DW_NC);
    EYE_UNROLL
    for (int t = 0; t < k && groups > 1; t++) w[1][t] = load(taps + (k + t) * QUAD * EYE_DW_NC);
    for (; x + (size_t)nr <= m; x += (size_t)nr) sum_outputs(q + x * step, out + x * EYE_DW_NC, from, w, nr, k, stride);
    if (x < m && m > (size_t)nr) {
        x = m - (size_t)nr;
        sum_outputs(q + x * step, out + x * EYE_DW_NC, from, w, nr, k, stride);
        return;
    }
    for (; x < m; x++) sum_outputs(q + x * step, out + x * EYE_DW_NC, from, w, 1, k, stride);
}

struct strip { /* outputs x … x + m - 1 of rows y … y + h - 1, channels c … c + n - 1 */
    const struct eye_dwconv_u8_args *a;
    const uint8_t *panel;
    size_t c, n, x, m, y, h;
};

/* Rows the next strip below will read, at byte `at` of each (NULL: there is none), and output j of this one, which would wait for
 * its line when it is stored: maps that come from memory cost a fifth less. */
EYE_INLINE void fetch(const struct strip *s, const uint8_t *const below[2], size_t at, size_t j) {
    const struct eye_dwconv_u8_args *a = s->a;
    const size_t n_out = (size_t)a->channels_in * a->mult, row = a->width_out * n_out;
    if (below[0]) __builtin_prefetch(below[0] + at, 0, 2);
    if (below[1]) __builtin_prefetch(below[1] + at, 0, 2);
    if (!a->q || j >= s->m) return;
    const uint8_t *out = a->q + s->y * row + (s->x + j) * n_out + s->c;
    __builtin_prefetch(out, 1);
    if (s->h > 1) __builtin_prefetch(out + row, 1);
}

EYE_INLINE void spread(const struct strip *s, uint8_t *quads, const int k, const int stride, const int mult) {
    const struct eye_dwconv_u8_args *a = s->a;
    const size_t columns = (s->m - 1) * (size_t)stride + (size_t)k, n_rows = (s->h - 1) * (size_t)stride + (size_t)k;
    const int groups = k / QUAD + 1;
    const size_t first = s->x * (size_t)stride - a->pad_left; /* left of the image wraps to a huge number */
    const block outside = blank((uint8_t)a->zero);
    const size_t top = s->y * (size_t)stride, n_all = (size_t)(a->n_rows - 1) * (size_t)stride + (size_t)k;
    const uint8_t *rows[2 * QUAD] = {NULL}, *below[2] = {NULL, NULL};
    for (size_t u = 0; u < n_rows; u++) rows[u] = a->rows[top + u];
    for (size_t u = 0; u < 2 && top + n_rows + u < n_all; u++) below[u] = a->rows[top + n_rows + u];
    for (size_t j = 0; j < columns; j++) {
        const size_t x = first + j, at = x * a->channels_in + s->c / (size_t)mult;
        uint8_t *out = quads + j * (size_t)(groups * QUADS_BYTES);
        if (x < a->width_in) fetch(s, below, at, j);
        for (int g = 0; g < groups; g++) {
            block r[QUAD];
            EYE_UNROLL
            for (int u = 0; u < QUAD; u++)
                r[u] = x < a->width_in && rows[g * QUAD + u] ? read(rows[g * QUAD + u] + at, s->n, mult) : outside;
            mix(out + g * QUADS_BYTES, columns * (size_t)(groups * QUADS_BYTES), r);
        }
    }
}

EYE_INLINE void strip_run(const struct strip *s, const int nr, const int k, const int stride, const int mult) {
    _Alignas(64) uint8_t quads[MAX_IN * 2 * QUAD * EYE_DW_NC];
    _Alignas(64) int32_t sums[SEGMENT * EYE_DW_NC];
    const size_t taps = (size_t)(k / QUAD + 1) * (size_t)k * QUAD * EYE_DW_NC;
    const size_t vector = ((s->m - 1) * (size_t)stride + (size_t)k) * (size_t)((k / QUAD + 1) * QUADS_BYTES);
    spread(s, quads, k, stride, mult);
    for (size_t i = 0; i < s->h; i++) {
        for (size_t v = 0; v < EYE_DW_NC / LANES; v++) {
            const uint8_t *panel = s->panel + v * QUADS_BYTES;
            const vec from = start(load(panel), (int)s->a->zero);
            sum_row(quads + v * vector, panel + EYE_DW_SUMS_BYTES + i * taps, from, sums + v * LANES, s->m, nr, k, stride);
        }
        finish(s, s->y + i, sums);
    }
}

EYE_INLINE void rows_run(const struct eye_dwconv_u8_args *a, const int nr, const int k, const int stride, const int mult) {
    const size_t n_out = (size_t)a->channels_in * a->mult, most = SEGMENT / (size_t)nr * (size_t)nr, high = stride == 1 ? 2 : 1;
    struct strip s = {.a = a};
    for (; s.y < a->n_rows; s.y += s.h) {
        s.h = a->n_rows - s.y < high ? a->n_rows - s.y : high;
        s.panel = a->panels;
        for (s.c = 0; s.c < n_out; s.c += EYE_DW_NC, s.panel += eye_dw_panel_bytes((size_t)k, (size_t)k)) {
            s.n = n_out - s.c < EYE_DW_NC ? n_out - s.c : EYE_DW_NC;
            for (s.x = 0; s.x < a->width_out; s.x += s.m) {
                s.m = a->width_out - s.x < most ? a->width_out - s.x : most;
                strip_run(&s, nr, k, stride, mult);
            }
        }
    }
}

/* A function of its own per shape: together they are too big for one. 7, 14, 28 outputs, as images of 224 come to have, go seven
 * by seven. */
#define EYE_ROWS(k, stride)                                                         \
    static void rows_##k##_##stride(const struct eye_dwconv_u8_args *a) {           \
        if (a->mult == 2) rows_run(a, 8, k, stride, 2);                             \
        else if (a->width_out % 8 && a->width_out % 7 == 0) rows_run(a, 7, k, stride, 1); \
        else rows_run(a, 8, k, stride, 1);                                          \
    }
EYE_ROWS(3, 1)
EYE_ROWS(3, 2)
EYE_ROWS(5, 1)
EYE_ROWS(5, 2)
EYE_ROWS(7, 1)
EYE_ROWS(7, 2)

/* Other shapes go to `other`, and channels of which half a panel or more would be empty. */
EYE_INLINE void dwconv(const struct eye_dwconv_u8_args *a, eye_dwconv_u8_fn *other) {
    static eye_dwconv_u8_fn *const fn[3][2] = {{rows_3_1, rows_3_2}, {rows_5_1, rows_5_2}, {rows_7_1, rows_7_2}};
    bool here = a->channels_in * a->mult > EYE_DW_NC / 2 && a->kh == a->kw && a->kw % 2 && a->kw >= 3 && a->kw <= 7 &&
                a->stride >= 1 && a->stride <= 2 && a->mult <= 2;
    (here ? fn[a->kw / 2 - 1][a->stride - 1] : other)(a);
}
