/* What the DOTPROD kernels of q8_0, q4_0 and q4_K weights share: SDOT by lane. static inline only. */
#ifndef EYE_GEMM_DOTPROD_H
#define EYE_GEMM_DOTPROD_H

#include "kernels/arm/gemm_neon.h"

struct weights {
    int8x16_t four[8]; /* k = 4t .. 4t+3 of 4 columns */
};

/* Products of 32 int8 with 4 columns, as floats; magic: gemm_neon.h. */
EYE_INLINE float32x4_t eye_dot_lanes(const struct weights *w, const int8_t *row, float magic) {
    const float32x4_t from = vdupq_n_f32(magic);
    int8x16_t a = vld1q_s8(row), b = vld1q_s8(row + 16);
    int32x4_t s = vdotq_laneq_s32(vreinterpretq_s32_f32(from), w->four[0], a, 0);
    s = vdotq_laneq_s32(s, w->four[1], a, 1);
    s = vdotq_laneq_s32(s, w->four[2], a, 2);
    s = vdotq_laneq_s32(s, w->four[3], a, 3);
    s = vdotq_laneq_s32(s, w->four[4], b, 0);
    s = vdotq_laneq_s32(s, w->four[5], b, 1);
    s = vdotq_laneq_s32(s, w->four[6], b, 2);
    s = vdotq_laneq_s32(s, w->four[7], b, 3);
    return vsubq_f32(vreinterpretq_f32_s32(s), from);
}

#endif
