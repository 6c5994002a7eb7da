/* What the Arm int8 GEMM kernels share: the step from 4 columns' sums to f32. static inline only. */
#ifndef EYE_GEMM_I8_NEON_H
#define EYE_GEMM_I8_NEON_H

#include "kernels/arm/math_neon.h"
#include "kernels/rows.h"

/* Sums of columns j … j + 3 of row i. */
EYE_INLINE void eye_i8_store(const struct eye_gemm_i8_args *a, size_t i, size_t j, int32x4_t sum) {
    if (j >= a->n) return;
    size_t n = a->n - j;
    float32x4_t v = vfmaq_f32(eye_load4(a->bias + j, n), vcvtq_f32_s32(sum), eye_load4(a->scale + j, n));
    eye_store4(a->c + i * a->c_stride + j, n, v);
}

EYE_INLINE const int8_t *eye_i8_panel(const struct eye_gemm_i8_args *a, size_t j) {
    return (const int8_t *)a->w + j / EYE_I8_NR * eye_i8_panel_bytes(a->k);
}

#endif
