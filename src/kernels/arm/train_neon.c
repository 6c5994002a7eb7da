/* Training kernels, NEON: the vectors of train_tile.h are 4 floats. */
#include "kernels/arm/math_neon.h"

#include <math.h>
#include <stdint.h>

typedef float32x4_t vec;
typedef uint32x4_t bits;
enum { LANES = 4 };
#define NAME(op) eye_##op##_neon

EYE_INLINE vec set(float x) { return vdupq_n_f32(x); }
EYE_INLINE vec load(const float *p, size_t n) { return eye_load4(p, n); }
EYE_INLINE vec load_low(const float *p, size_t n) {
    return n >= LANES ? vld1q_f32(p) : vbslq_f32(eye_mask4(n), eye_load4(p, n), vdupq_n_f32(-INFINITY));
}
EYE_INLINE void store(float *p, size_t n, vec v) { eye_store4(p, n, v); }
EYE_INLINE vec keep(vec v, size_t n) {
    return n >= LANES ? v : vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), eye_mask4(n)));
}
EYE_INLINE vec add(vec a, vec b) { return vaddq_f32(a, b); }
EYE_INLINE vec sub(vec a, vec b) { return vsubq_f32(a, b); }
EYE_INLINE vec mul(vec a, vec b) { return vmulq_f32(a, b); }
EYE_INLINE vec quotient(vec a, vec b) { return vdivq_f32(a, b); }
EYE_INLINE vec root(vec a) { return vsqrtq_f32(a); }
EYE_INLINE vec larger(vec a, vec b) { return vmaxq_f32(a, b); }
EYE_INLINE vec mul_add(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
EYE_INLINE vec exponential(vec a) { return eye_exp_neon(a); }
EYE_INLINE float lanes_sum(vec a) { return vaddvq_f32(a); }
EYE_INLINE float lanes_max(vec a) { return vmaxvq_f32(a); }

EYE_INLINE bits bits_set(uint32_t x) { return vdupq_n_u32(x); }
EYE_INLINE bits bits_count(void) {
    static const uint32_t count[LANES] = {0, 1, 2, 3};
    return vld1q_u32(count);
}
EYE_INLINE bits bits_add(bits a, bits b) { return vaddq_u32(a, b); }
EYE_INLINE bits bits_mul(bits a, bits b) { return vmulq_u32(a, b); }
EYE_INLINE bits bits_xor(bits a, bits b) { return veorq_u32(a, b); }
#define bits_right(v, n) vshrq_n_u32(v, n)
EYE_INLINE vec where_at_least(bits a, bits b, vec v) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vcgeq_u32(a, b)));
}

#include "kernels/train_tile.h"
