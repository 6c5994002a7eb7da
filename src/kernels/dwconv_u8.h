/* What dwconv_tile.h asks of its type, for u8 inputs: sums of integers as floats, scaled at their end. Wants vec, lanes, load,
 * zero, mul_add, and load_u8(p, l, zero), load_u8_twice: numbers less the zero point. */
#include "kernels/inline.h"
#include "kernels/rows.h"

typedef struct eye_dwconv_u8_args args;
typedef uint8_t elem;

EYE_INLINE vec input(const args *a, const uint8_t *p, lanes l) { return load_u8(p, l, a->zero); }
EYE_INLINE vec input_twice(const args *a, const uint8_t *p, lanes l) { return load_u8_twice(p, l, a->zero); }
EYE_INLINE vec begin(const args *a, size_t c, lanes l) { return zero(); }
EYE_INLINE vec end(const args *a, size_t c, lanes l, vec sum) { return mul_add(sum, load(a->scale + c, l), load(a->bias + c, l)); }

#include "kernels/dwconv_tile.h"

EYE_INLINE void dwconv_rows(const args *a, eye_quant_u8_fn *quant) {
    const size_t n = (size_t)a->width_out * a->channels_in * a->mult;
    for (size_t y = 0; y < a->n_rows; y++) {
        args row = *a;
        row.rows += y * a->stride;
        if (!a->q) row.out += y * n;
        dwconv(&row);
        if (a->q) quant(a->q + y * n, row.out, n, a->q_inv_scale, a->q_zero);
    }
}
