/* What dwconv_tile.h asks of its type, for f32 inputs: sums start at the bias. Wants vec, lanes, load, load_twice, zero. */
#include "kernels/inline.h"
#include "kernels/rows.h"

typedef struct eye_dwconv_args args;
typedef float elem;

EYE_INLINE vec input(const args *a, const float *p, lanes l) { return load(p, l); }
EYE_INLINE vec input_twice(const args *a, const float *p, lanes l) { return load_twice(p, l); }
EYE_INLINE vec begin(const args *a, size_t c, lanes l) { return a->bias ? load(a->bias + c, l) : zero(); }
EYE_INLINE vec end(const args *a, size_t c, lanes l, vec sum) { return sum; }

#include "kernels/dwconv_tile.h"
