/* Depthwise convolution of one output row, NHWC, for any vector of LANES output channels. A tile is COLUMNS output columns.
 *
 * Per kernel row the kw weight vectors stay in registers and the input columns pass by once: each is multiplied into every
 * output column it touches, so 7x7 stride 1 with 8 columns does 56 multiply-adds on 7 + 14 loads. Each output sums its start,
 * then taps by ky, kx. Columns left and right of the image and rows of NULL are skipped, as in the plain C version.
 *
 * Included once by each dwconv_<type>_<isa>.c, which defines before:
 *   args, elem               what a call says (eye_dwconv_args, eye_dwconv_u8_args), what an input element is
 *   vec                      LANES floats
 *   lanes, first(n)          the first n lanes: their number or their mask; a constant for constant n
 *   LANES, COLUMNS           COLUMNS <= 8; COLUMNS_7: of kernels 7 wide, whose weights take most registers; left out: COLUMNS
 *   PARTIAL_TILES            whether tiles take groups of fewer than LANES channels; else these go column by column
 *   zero(), load(p, l), store(p, l, v), mul_add(a, b, c) = a * b + c, fused
 *   input(a, p, l), input_twice(a, p, l)   input channels as floats; twice: each in two lanes, l counts input channels
 *   begin(a, c, l), end(a, c, l, sum)      a sum's start, and what becomes of it; c the first output channel
 */
#include "kernels/inline.h"
#include "kernels/rows.h"

#ifndef COLUMNS_7
#define COLUMNS_7 COLUMNS
#endif

struct tile {
    const args *a;
    size_t c;      /* first output channel */
    size_t n;      /* output channels, <= LANES */
    lanes out, in; /* the channels there are */
};

/* Input channels of one column, one per output lane. */
EYE_INLINE vec load_in(const elem *p, const struct tile *t, int mult, int full) {
    if (mult == 1) return input(t->a, p, full ? first(LANES) : t->in);
    return input_twice(t->a, p, full ? first(LANES / 2) : t->in);
}

/* Output column r meets input column j at tap kx = j - r * stride. All four are constants: dead taps vanish. */
#define TAP(r, j)                                                              \
    if ((j) - (r)*stride >= 0 && (j) - (r)*stride < kw && (r) < nr)            \
        acc[r] = mul_add(in, w[(j) - (r)*stride >= 0 && (j) - (r)*stride < 7 ? (j) - (r)*stride : 0], acc[r]);
#define COLUMN(j)                                                              \
    if ((j) < (nr - 1) * stride + kw && (inside || (x_in + (j) >= 0 && x_in + (j) < width))) { \
        vec in = load_in(row + (ptrdiff_t)(x_in + (j)) * c_in, t, mult, full); \
        TAP(0, j) TAP(1, j) TAP(2, j) TAP(3, j) TAP(4, j) TAP(5, j) TAP(6, j) TAP(7, j) \
    }

/* nr output columns from x_out on. inside: all input columns exist, and all channels do. */
EYE_INLINE void tile_run(const struct tile *t, size_t x_out, int nr, int kw, int stride, int mult, int inside) {
    const args *a = t->a;
    const ptrdiff_t c_in = a->channels_in, c_out = c_in * mult, width = a->width_in;
    const ptrdiff_t x_in = (ptrdiff_t)(x_out * (size_t)stride) - (ptrdiff_t)a->pad_left;
    const int full = inside || !PARTIAL_TILES;
    const lanes l = full ? first(LANES) : t->out;
    vec acc[8], start = begin(a, t->c, l);
    EYE_UNROLL
    for (int r = 0; r < nr; r++) acc[r] = start;
    for (size_t ky = 0; ky < a->kh; ky++) {
        if (!a->rows[ky]) continue;
        const elem *row = a->rows[ky] + t->c / (size_t)mult;
        const float *wp = a->w + ky * (size_t)(kw * c_out) + t->c;
        vec w[7];
        EYE_UNROLL
        for (int k = 0; k < kw; k++) w[k] = load(wp + k * c_out, l);
        COLUMN(0) COLUMN(1) COLUMN(2) COLUMN(3) COLUMN(4) COLUMN(5) COLUMN(6) COLUMN(7) COLUMN(8) COLUMN(9) COLUMN(10)
        COLUMN(11) COLUMN(12) COLUMN(13) COLUMN(14) COLUMN(15) COLUMN(16) COLUMN(17) COLUMN(18) COLUMN(19) COLUMN(20)
    }
    float *out = a->out + (ptrdiff_t)x_out * c_out + t->c;
    EYE_UNROLL
    for (int r = 0; r < nr; r++) store(out + r * c_out, l, end(a, t->c, l, acc[r]));
}

EYE_INLINE void columns_run(const struct tile *t, size_t x, int nr, int kw, int stride, int mult) {
    const args *a = t->a;
    const bool whole = !PARTIAL_TILES || t->n == LANES;
    size_t left = x * (size_t)stride, last = left + (size_t)((nr - 1) * stride + kw - 1); /* from the padding's edge */
    if (whole && left >= a->pad_left && last - a->pad_left < a->width_in) tile_run(t, x, nr, kw, stride, mult, 1);
    else tile_run(t, x, nr, kw, stride, mult, 0);
}

/* One group of output channels along the row. 7, 14, 28 columns, as images of 224 come to have, go seven by seven; other rows end
 * with a tile that does some columns of the one before again. */
EYE_INLINE void group_run(const struct tile *t, int kw, int stride, int mult) {
    const size_t n = t->a->width_out;
    const int columns = kw == 7 ? COLUMNS_7 : COLUMNS;
    size_t x = 0;
    if (columns == 8 && n % 8 && n % 7 == 0) {
        for (; x < n; x += 7) columns_run(t, x, 7, kw, stride, mult);
        return;
    }
    for (; x + (size_t)columns <= n; x += (size_t)columns) columns_run(t, x, columns, kw, stride, mult);
    if (n >= (size_t)columns && n - x > 1) {
        columns_run(t, n - (size_t)columns, columns, kw, stride, mult);
        return;
    }
    for (; x < n; x++) tile_run(t, x, 1, kw, stride, mult, 0);
}

/* Any kernel, stride and number of channels: one output column at a time. */
static void group_any(const struct tile *t) {
    const args *a = t->a;
    size_t c_in = a->channels_in, c_out = c_in * a->mult;
    for (size_t x = 0; x < a->width_out; x++) {
        vec acc = begin(a, t->c, t->out);
        for (size_t ky = 0; ky < a->kh; ky++) {
            if (!a->rows[ky]) continue;
            for (size_t kx = 0; kx < a->kw; kx++) {
                size_t col = x * a->stride + kx - a->pad_left; /* left of the image wraps to a huge number */
                if (col >= a->width_in) continue;
                vec in = load_in(a->rows[ky] + col * c_in + t->c / a->mult, t, (int)a->mult, 0);
                acc = mul_add(in, load(a->w + (ky * a->kw + kx) * c_out + t->c, t->out), acc);
            }
        }
        store(a->out + x * c_out + t->c, t->out, end(a, t->c, t->out, acc));
    }
}

/* A function of its own per shape: together they are too big for one. */
#define EYE_GROUP(kw, stride, mult) \
    static void group_##kw##_##stride##_##mult(const struct tile *t) { group_run(t, kw, stride, mult); }
EYE_GROUP(3, 1, 1)
EYE_GROUP(3, 1, 2)
EYE_GROUP(3, 2, 1)
EYE_GROUP(3, 2, 2)
EYE_GROUP(5, 1, 1)
EYE_GROUP(5, 2, 1)
EYE_GROUP(7, 1, 1)
EYE_GROUP(7, 1, 2)
EYE_GROUP(7, 2, 1)
EYE_GROUP(7, 2, 2)

EYE_INLINE void dwconv(const args *a) {
    static const struct {
        uint32_t kw, stride, mult;
        void (*run)(const struct tile *t);
    } shapes[] = {{3, 1, 1, group_3_1_1}, {3, 1, 2, group_3_1_2}, {3, 2, 1, group_3_2_1}, {3, 2, 2, group_3_2_2},
                  {5, 1, 1, group_5_1_1}, {5, 2, 1, group_5_2_1}, {7, 1, 1, group_7_1_1}, {7, 1, 2, group_7_1_2},
                  {7, 2, 1, group_7_2_1}, {7, 2, 2, group_7_2_2}};
    void (*run)(const struct tile *t) = group_any;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (shapes[i].kw == a->kw && shapes[i].stride == a->stride && shapes[i].mult == a->mult) run = shapes[i].run;
    const size_t c_out = (size_t)a->channels_in * a->mult;
    for (size_t c = 0; c < c_out; c += LANES) {
        const size_t n = c_out - c < LANES ? c_out - c : LANES;
        struct tile t = {a, c, n, first(n), first(n / a->mult)};
        (n < LANES && !PARTIAL_TILES ? group_any : run)(&t);
    }
}
