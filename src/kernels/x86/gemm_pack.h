/* Packing of float GEMM operands for the x86 kernels: shared layouts, plain loops that the compiler vectorizes for each file's
 * instruction set. static inline only.
 *
 * lhs: kr = 16 f32 (or 32 bf16), so that one row's step is 64 bytes in the row's own order: packing is copying, and a broadcast
 * finds its element at row * 64 + k. rhs: [k][nr] or, for bf16, [k / 2][nr][2]. */
#ifndef EYE_GEMM_PACK_H
#define EYE_GEMM_PACK_H

#include <stdint.h>
#include <string.h>

#include "kernels/inline.h"

enum { EYE_PACK_KR = 16 };

EYE_INLINE void eye_pack_lhs_f32(size_t m, size_t k, const float *src, size_t src_stride, void *dst) {
    float *out = dst;
    for (size_t e = 0; e < k; e += EYE_PACK_KR) {
        for (size_t i = 0; i < m; i++, out += EYE_PACK_KR) {
            const float *row = src + i * src_stride + e;
            if (k - e >= EYE_PACK_KR) {
                memcpy(out, row, EYE_PACK_KR * sizeof *out);
            } else {
                memset(out, 0, EYE_PACK_KR * sizeof *out);
                memcpy(out, row, (k - e) * sizeof *out);
            }
        }
    }
}

/* To the nearest bf16 (ties to even), kept as f32. NaN stays NaN: it is made quiet first, so rounding cannot carry it away. */
EYE_INLINE void eye_round_to_bf16(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        u = (u & 0x7fffffff) > 0x7f800000 ? u | 0x400000 : u + 0x7fff + (u >> 16 & 1);
        u &= 0xffff0000;
        memcpy(&x[i], &u, sizeof u);
    }
}

/* Elements of 4 or 2 bytes in groups of `group` along k: [kr / group][nr][group] per step of kr. Any address and stride. */
EYE_INLINE void eye_pack_rhs(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst, const size_t elem,
                             const size_t nr, const size_t kr, const size_t group) {
    uint8_t *out = dst;
    const uint8_t *in = src;
    for (size_t e = 0; e < k; e += kr, in += kr * elem, out += kr * nr * elem) {
        size_t len = k - e < kr ? k - e : kr;
        if (n < nr || len < kr) memset(out, 0, kr * nr * elem);
        for (size_t j = 0; j < n; j++) {
            const uint8_t *row = in + j * src_stride_bytes;
            uint8_t *col = out + j * group * elem;
            size_t q = 0;
            for (; q + group <= len; q += group) memcpy(col + q * nr * elem, row + q * elem, group * elem);
            if (q < len) memcpy(col + q * nr * elem, row + q * elem, (len - q) * elem);
        }
    }
}

/* ---- from sources that lie the other way ---- */

/* src [k][n] f32 to [k][nr]: copying. */
EYE_INLINE void eye_pack_rhs_t_f32(size_t n, size_t k, const float *src, size_t src_stride, void *dst, const size_t nr) {
    float *out = dst;
    const size_t k_end = (k + EYE_PACK_KR - 1) / EYE_PACK_KR * EYE_PACK_KR;
    for (size_t e = 0; e < k; e++, out += nr, src += src_stride) {
        if (n < nr) memset(out, 0, nr * sizeof *out);
        memcpy(out, src, (n < nr ? n : nr) * sizeof *out);
    }
    memset(out, 0, (k_end - k) * nr * sizeof *out);
}

/* The nearest bf16 in the high half; the low half is rubbish. As eye_f32_to_bf16. */
EYE_INLINE uint32_t eye_bf16_high(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (u & 0x7fffffff) > 0x7f800000 ? u | 0x400000 : u + 0x7fff + (u >> 16 & 1);
}

/* src [k][n] f32 to bf16 [k][nr]. */
EYE_INLINE void eye_pack_rhs_t_bf16(size_t n, size_t k, const float *src, size_t src_stride, void *dst, const size_t nr) {
    uint16_t *out = dst;
    const size_t k_end = (k + EYE_PACK_KR - 1) / EYE_PACK_KR * EYE_PACK_KR;
    for (size_t e = 0; e < k; e++, out += nr, src += src_stride) {
        if (n < nr) memset(out, 0, nr * sizeof *out);
        for (size_t j = 0; j < n; j++) out[j] = (uint16_t)(eye_bf16_high(src[j]) >> 16);
    }
    memset(out, 0, (k_end - k) * nr * sizeof *out);
}

/* src [k][n] f32 to bf16 in pairs [k / 2][nr][2], steps of kr. */
EYE_INLINE void eye_pack_rhs_t_pairs(size_t n, size_t k, const float *src, size_t src_stride, void *dst, const size_t nr,
                                     const size_t kr) {
    uint32_t *out = dst;
    const size_t k_end = (k + kr - 1) / kr * kr;
    size_t e = 0;
    for (; e < k; e += 2, out += nr, src += 2 * src_stride) {
        const float *odd = src + src_stride;
        if (n < nr) memset(out, 0, nr * sizeof *out);
        if (e + 1 < k)
            for (size_t j = 0; j < n; j++) out[j] = eye_bf16_high(src[j]) >> 16 | (eye_bf16_high(odd[j]) & 0xffff0000);
        else
            for (size_t j = 0; j < n; j++) out[j] = eye_bf16_high(src[j]) >> 16;
    }
    memset(out, 0, (k_end - e) / 2 * nr * sizeof *out);
}

#endif
