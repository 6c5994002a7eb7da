/* Gradients of a depthwise convolution, one row, for the vec of dwconv_tile.h. These rows mostly come from memory: at batch 32
 * an early layer's images are hundreds of megabytes, so the loops are plain and only keep the sums in registers.
 *
 * Included once by each dwconv_<isa>.c, after vec, lanes, LANES, first, zero, load, store and mul_add. */
#include "kernels/inline.h"
#include "kernels/rows.h"

/* Channels [c, c + LANES) or the lanes there are: each input column gathers the output columns its taps lead to. */
EYE_INLINE void dx_group(const struct eye_dwconv_back_args *a, size_t c, lanes l) {
    const size_t n = a->channels;
    for (size_t x = 0; x < a->width_in; x++) {
        const size_t kx0 = (x + a->pad_left) % a->stride, last = (x + a->pad_left) / a->stride;
        vec acc = zero();
        for (size_t ky = 0; ky < a->kh; ky++) {
            if (!a->rows[ky]) continue;
            const float *w = a->with + ky * a->kw * n + c;
            for (size_t kx = kx0, j = last; kx < a->kw; kx += a->stride, j--) /* left of the image j wraps to a huge number */
                if (j < a->width_out) acc = mul_add(load(a->rows[ky] + j * n + c, l), load(w + kx * n, l), acc);
        }
        store(a->out + x * n + c, l, acc);
    }
}

EYE_INLINE void dwconv_dx(const struct eye_dwconv_back_args *a) {
    size_t c = 0;
    for (; c + LANES <= a->channels; c += LANES) dx_group(a, c, first(LANES));
    if (c < a->channels) dx_group(a, c, first(a->channels - c));
}

/* One output column: its gradient times each input column its taps meet. */
EYE_INLINE void dw_column(const struct eye_dwconv_back_args *a, const float *row, size_t x, size_t c, lanes l, int kw,
                          vec acc[], int inside) {
    const size_t at = x * a->stride - a->pad_left; /* of tap 0; left of the image it wraps to a huge number */
    vec d = load(a->with + x * a->channels + c, l);
    EYE_UNROLL
    for (int k = 0; k < kw; k++)
        if (inside || at + (size_t)k < a->width_in)
            acc[k] = mul_add(d, load(row + (at + (size_t)k) * a->channels + c, l), acc[k]);
}

/* One kernel row, kw <= 8 constant: its sums stay in registers along the row. */
EYE_INLINE void dw_taps(const struct eye_dwconv_back_args *a, const float *row, float *out, size_t c, lanes l, int kw) {
    vec acc[8];
    size_t x = 0, inside = (a->pad_left + a->stride - 1) / a->stride, end = 0;
    if (a->width_in + a->pad_left >= (size_t)kw) end = (a->width_in + a->pad_left - (size_t)kw) / a->stride + 1;
    if (end > a->width_out) end = a->width_out;
    if (inside > a->width_out) inside = a->width_out;
    EYE_UNROLL
    for (int k = 0; k < kw; k++) acc[k] = load(out + (size_t)k * a->channels, l);
    for (; x < inside; x++) dw_column(a, row, x, c, l, kw, acc, 0);
    for (; x < end; x++) dw_column(a, row, x, c, l, kw, acc, 1);
    for (; x < a->width_out; x++) dw_column(a, row, x, c, l, kw, acc, 0);
    EYE_UNROLL
    for (int k = 0; k < kw; k++) store(out + (size_t)k * a->channels, l, acc[k]);
}

/* Any kernel: tap by tap. */
EYE_INLINE void dw_any(const struct eye_dwconv_back_args *a, const float *row, float *out, size_t c, lanes l) {
    for (size_t kx = 0; kx < a->kw; kx++) {
        vec acc = load(out + kx * a->channels, l);
        for (size_t x = 0; x < a->width_out; x++) {
            const size_t at = x * a->stride + kx - a->pad_left;
            if (at >= a->width_in) continue;
            acc = mul_add(load(a->with + x * a->channels + c, l), load(row + at * a->channels + c, l), acc);
        }
        store(out + kx * a->channels, l, acc);
    }
}

EYE_INLINE void dw_group(const struct eye_dwconv_back_args *a, size_t c, lanes l) {
    for (size_t ky = 0; ky < a->kh; ky++) {
        const float *row = a->rows[ky];
        float *out = a->out + ky * a->kw * a->channels + c;
        if (!row) continue;
        if (a->kw == 3) dw_taps(a, row, out, c, l, 3);
        else if (a->kw == 5) dw_taps(a, row, out, c, l, 5);
        else if (a->kw == 7) dw_taps(a, row, out, c, l, 7);
        else dw_any(a, row, out, c, l);
    }
}

EYE_INLINE void dwconv_dw(const struct eye_dwconv_back_args *a) {
    size_t c = 0;
    for (; c + LANES <= a->channels; c += LANES) dw_group(a, c, first(LANES));
    if (c < a->channels) dw_group(a, c, first(a->channels - c));
}
