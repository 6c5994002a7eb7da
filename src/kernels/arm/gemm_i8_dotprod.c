/* GEMM, u8 activations x s8 weights, Arm DOTPROD: 4 rows x 16 columns, SDOT by lane: a vector is 16 k of a row. SDOT wants both
 * signed: activations less 128, made good by the columns' sums. */
#include "kernels/arm/gemm_i8_neon.h"

enum { MR = 4, STEP = EYE_I8_KR * EYE_I8_NR, KV = 16 /* k of a vector */ };

/* The four k of lane t. A lane is a constant to the compiler. */
#define ADD_LANE(t)                                                                                                   \
    EYE_UNROLL                                                                                                        \
    for (size_t v = 0; v < 4; v++) {                                                                                  \
        const int8x16_t four = vld1q_s8(w + (t) * STEP + 16 * v);                                                     \
        EYE_UNROLL                                                                                                    \
        for (size_t r = 0; r < m; r++) sum[r][v] = vdotq_laneq_s32(sum[r][v], four, x[r], t);                         \
    }

EYE_INLINE void tile(const struct eye_gemm_i8_args *a, const size_t m, size_t i, size_t j) {
    const int8_t *panel = eye_i8_panel(a, j), *w = panel + EYE_I8_SUMS_BYTES + j % EYE_I8_NR * EYE_I8_KR;
    const int32_t *column = (const int32_t *)(const void *)panel + j % EYE_I8_NR;
    const uint8_t *row = (const uint8_t *)a->a + i * a->a_stride;
    int32x4_t sum[MR][4];
    size_t e = 0;
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) {
        EYE_UNROLL
        for (size_t v = 0; v < 4; v++) sum[r][v] = vshlq_n_s32(vld1q_s32(column + 4 * v), 7);
    }
    for (; e + KV <= a->k; e += KV, w += KV / EYE_I8_KR * STEP) {
        int8x16_t x[MR];
        EYE_UNROLL
        for (size_t r = 0; r < m; r++)
            x[r] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(row + r * a->a_stride + e), vdupq_n_u8(0x80)));
        ADD_LANE(0)
        ADD_LANE(1)
        ADD_LANE(2)
        ADD_LANE(3)
    }
    for (; e < a->k; e += EYE_I8_KR, w += STEP) {
        int8x16_t x[MR];
        EYE_UNROLL
        for (size_t r = 0; r < m; r++)
            x[r] = vreinterpretq_s8_u32(vdupq_n_u32(eye_i8_four(row + r * a->a_stride + e, a->k - e) ^ 0x80808080u));
        ADD_LANE(0)
    }
    EYE_UNROLL
    for (size_t r = 0; r < m; r++) {
        EYE_UNROLL
        for (size_t v = 0; v < 4; v++) eye_i8_store(a, i + r, j + 4 * v, sum[r][v]);
    }
}

void eye_gemm_i8_dotprod(const struct eye_gemm_i8_args *a) {
    for (size_t j = 0; j < a->n; j += 16) {
        size_t i = 0;
        for (; i + MR <= a->m; i += MR) tile(a, MR, i, j);
        for (; i < a->m; i++) tile(a, 1, i, j);
    }
}
