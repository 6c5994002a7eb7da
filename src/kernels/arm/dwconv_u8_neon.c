/* Depthwise convolution of u8, NEON: the vectors of dwconv_tile.h are 8 channels in two registers, tiles 8 columns. */
#include <string.h>

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
EYE_INLINE uint8x8_t bytes(const uint8_t *p, size_t n) {
    uint64_t q = 0;
    memcpy(&q, p, n);
    return vcreate_u8(q);
}
EYE_INLINE vec numbers(uint8x8_t q, float zero) {
    uint16x8_t h = vmovl_u8(q);
    float32x4_t z = vdupq_n_f32(zero);
    return (vec){vsubq_f32(vcvtq_f32_u32(vmovl_u16(vget_low_u16(h))), z), vsubq_f32(vcvtq_f32_u32(vmovl_high_u16(h)), z)};
}
EYE_INLINE vec load_u8(const uint8_t *p, lanes n, float zero) { return numbers(n >= 8 ? vld1_u8(p) : bytes(p, n), zero); }
EYE_INLINE vec load_u8_twice(const uint8_t *p, lanes n, float zero) {
    uint8x8_t q = n >= 4 ? bytes(p, 4) : bytes(p, n);
    return numbers(vzip1_u8(q, q), zero);
}
EYE_INLINE void store(float *p, lanes n, vec v) {
    eye_store4(p, n, v.lo);
    if (n > 4) eye_store4(p + 4, n - 4, v.hi);
}
EYE_INLINE vec mul_add(vec a, vec b, vec c) { return (vec){vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)}; }

#include "kernels/dwconv_u8.h"

void eye_dwconv_u8_neon(const struct eye_dwconv_u8_args *a) { dwconv_rows(a, eye_quant_u8_neon); }
