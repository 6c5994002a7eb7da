/* Depthwise convolution, NEON: the vectors of dwconv_tile.h are 8 channels in two registers, tiles 8 columns. */
#include "kernels/arm/math_neon.h"

typedef struct {
    float32x4_t lo, hi;
} vec;
typedef size_t lanes;
enum { LANES = 8, COLUMNS = 8, PARTIAL_TILES = 0 };
#define COLUMNS_7 7

EYE_INLINE lanes first(size_t n) { return n; }
EYE_INLINE vec zero(void) { return (vec){vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)}; }
EYE_INLINE vec load(const float *p, lanes n) {
    return (vec){eye_load4(p, n), n > 4 ? eye_load4(p + 4, n - 4) : vdupq_n_f32(0.0f)};
}
EYE_INLINE vec load_twice(const float *p, lanes n) {
    float32x4_t v = eye_load4(p, n);
    return (vec){vzip1q_f32(v, v), vzip2q_f32(v, v)};
}
EYE_INLINE void store(float *p, lanes n, vec v) {
    eye_store4(p, n, v.lo);
    if (n > 4) eye_store4(p + 4, n - 4, v.hi);
}
EYE_INLINE vec mul_add(vec a, vec b, vec c) { return (vec){vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)}; }

#include "kernels/dwconv_back.h"
#include "kernels/dwconv_f32.h"

void eye_dwconv_f32_neon(const struct eye_dwconv_args *a) { dwconv(a); }
void eye_dwconv_dx_f32_neon(const struct eye_dwconv_back_args *a) { dwconv_dx(a); }
void eye_dwconv_dw_f32_neon(const struct eye_dwconv_back_args *a) { dwconv_dw(a); }
