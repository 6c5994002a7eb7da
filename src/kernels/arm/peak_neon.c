/* Peaks of NEON: fused multiply-adds of 4 floats; bytes as the engine's NEON kernels take them, through 16 bits; with DotProd 4
 * products of bytes a lane, with I8MM 8, with BF16 4 of bf16. Compiled once for each of these. */
#include <arm_neon.h>

#include "kernels/peak.h"

#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
static inline float32x4_t step_bf16(float32x4_t acc, bfloat16x8_t f) { return vbfmmlaq_f32(acc, f, f); }
static inline double sum_f32(float32x4_t v) { return (double)vaddvq_f32(v); }
#define BOTH(one) vreinterpretq_bf16_u16(vdupq_n_u16((uint16_t)(eye_f32_bits(one) >> 16)))
EYE_PEAK(eye_peak_bf16_bf16, float32x4_t, vdupq_n_f32(0), bfloat16x8_t, BOTH(one), step_bf16, sum_f32)
#elif defined(__ARM_FEATURE_MATMUL_INT8)
static inline int32x4_t step_i8(int32x4_t acc, int8x16_t f) { return vmmlaq_s32(acc, f, f); }
static inline double sum_i32(int32x4_t v) { return (double)vaddlvq_s32(v); }
EYE_PEAK(eye_peak_i8_i8mm, int32x4_t, vdupq_n_s32(0), int8x16_t, vdupq_n_s8((int8_t)one), step_i8, sum_i32)
#elif defined(__ARM_FEATURE_DOTPROD)
static inline int32x4_t step_i8(int32x4_t acc, int8x16_t f) { return vdotq_s32(acc, f, f); }
static inline double sum_i32(int32x4_t v) { return (double)vaddlvq_s32(v); }
EYE_PEAK(eye_peak_i8_dotprod, int32x4_t, vdupq_n_s32(0), int8x16_t, vdupq_n_s8((int8_t)one), step_i8, sum_i32)
#else
static inline float32x4_t step_f32(float32x4_t acc, float32x4_t f) { return vfmaq_f32(acc, f, f); }
static inline double sum_f32(float32x4_t v) {
    float x[4];
    vst1q_f32(x, v);
    return (double)x[0] + (double)x[1] + (double)x[2] + (double)x[3];
}
static inline int32x4_t step_i8(int32x4_t acc, int8x16_t f) {
    return vpadalq_s16(acc, vmull_s8(vget_low_s8(f), vget_low_s8(f)));
}
static inline double sum_i32(int32x4_t v) { return (double)vaddlvq_s32(v); }
EYE_PEAK(eye_peak_f32_neon, float32x4_t, vdupq_n_f32(0), float32x4_t, vdupq_n_f32(one), step_f32, sum_f32)
EYE_PEAK(eye_peak_bf16_neon, float32x4_t, vdupq_n_f32(0), float32x4_t, vdupq_n_f32(one), step_f32, sum_f32)
EYE_PEAK(eye_peak_i8_neon, int32x4_t, vdupq_n_s32(0), int8x16_t, vdupq_n_s8((int8_t)one), step_i8, sum_i32)
#endif
