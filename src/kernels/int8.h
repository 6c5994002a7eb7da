/* kernels, static int8: u8 activations with one scale and zero point per tensor, s8 weights with one scale per output channel.
 *
 *   activation = scale (q - zero), q in 0 … 255        weight = scale[n] q, q in -127 … 127
 *
 * Activations may have 16 bits instead: scale q, q in -wide … wide, wide 127 k < 2^31.
 *
 * Sums are integers and exact, the step to f32 is one fused multiply-add: every version gives the same bits, and there is one
 * packed layout of weights for all. Types of rows in int8.def; part of kernels.h. */
#ifndef EYE_KERNELS_INT8_H
#define EYE_KERNELS_INT8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Packed weights: panels of 32 columns, columns beyond n zero. A panel: int32 sum of each column, then per 4 of k
 * [32 columns][4 k], k beyond the end zero. 64-byte aligned. */
enum { EYE_I8_NR = 32, EYE_I8_KR = 4, EYE_I8_SUMS_BYTES = 4 * EYE_I8_NR };
/* 4 bytes of a row of which n are left, then zeros: with the panel's zeros they count nothing. No call of memcpy with a variable
 * length: all sums would be kept in memory around it. */
static inline uint32_t eye_i8_four(const uint8_t *p, size_t n) {
    if (n < EYE_I8_KR) return p[0] | (n > 1 ? (uint32_t)p[1] << 8 : 0) | (n > 2 ? (uint32_t)p[2] << 16 : 0);
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return four;
}
/* 255 127 k stays an int32. */
#define EYE_I8_MAX_K 65536u
static inline size_t eye_i8_panel_bytes(size_t k) {
    return EYE_I8_SUMS_BYTES + (k + EYE_I8_KR - 1) / EYE_I8_KR * EYE_I8_KR * EYE_I8_NR;
}
/* src: n <= 32 rows of k, stride in elements; dst one panel. */
void eye_i8_pack_panel(size_t n, size_t k, const int8_t *src, size_t stride, void *dst);

/* The same weights split, for processors that add two products of u8 and s8 in 16 bits, with saturation. Steps of 4 of k go in
 * twos; of their eight numbers 0, 1, 4, 5 and 2, 3, 6, 7 are a group each. A group's positive weights come to 128 at most, its
 * negative ones to -128: times 255 that is an int16. What is taken off to get there is kept as rests, each with its k; which
 * steps are a two is chosen so that there are few.
 *
 * A panel: int32 1 if it is left whole (more rests than there is room for), then as above with k up to a multiple of 8 and, in
 * pieces of EYE_I8_SPLIT_K, each half's (16 columns) steps in its order; uint16 order[halves][steps], the k that each begins
 * with, in its piece; uint16 at[pieces][halves] and the end, where each half's rests begin; rests, four of a column at a time,
 * the columns by turns. */
enum { EYE_I8_SPLIT_K = 384, EYE_I8_SPLIT_NR = 16, EYE_I8_SPLIT_ROWS = 32 };
struct eye_i8_rest {
    uint16_t at[4]; /* k in the piece times EYE_I8_SPLIT_ROWS */
    int8_t w[4];    /* the first two, and the last two, times 255 are an int16 as well */
    uint16_t column; /* in the half */
};
static inline size_t eye_i8_split_halves(size_t k) {
    return (k + EYE_I8_SPLIT_K - 1) / EYE_I8_SPLIT_K * (EYE_I8_NR / EYE_I8_SPLIT_NR);
}
static inline size_t eye_i8_split_room(size_t k) { /* fours of rests; below 65536 */
    return k / 2 + EYE_I8_SPLIT_NR * eye_i8_split_halves(k);
}
static inline size_t eye_i8_split_weights(size_t k) { return EYE_I8_SUMS_BYTES + (k + 7) / 8 * 8 * EYE_I8_NR; } /* and flag */
static inline size_t eye_i8_split_steps(size_t k) { return (k + 7) / 8 * 2; }
static inline size_t eye_i8_split_bytes(size_t k) {
    size_t lists = (2 * eye_i8_split_steps(k) + eye_i8_split_halves(k) + 1) * sizeof(uint16_t);
    return (eye_i8_split_weights(k) + lists + eye_i8_split_room(k) * sizeof(struct eye_i8_rest) + 63) / 64 * 64;
}
static inline const uint16_t *eye_i8_split_order(const void *panel, size_t k, size_t half) {
    return (const uint16_t *)(const void *)((const uint8_t *)panel + eye_i8_split_weights(k)) + half * eye_i8_split_steps(k);
}
static inline const uint16_t *eye_i8_split_at(const void *panel, size_t k) { return eye_i8_split_order(panel, k, 2); }
static inline const struct eye_i8_rest *eye_i8_split_rests(const void *panel, size_t k) {
    return (const struct eye_i8_rest *)(const void *)(eye_i8_split_at(panel, k) + eye_i8_split_halves(k) + 1);
}
static inline int eye_i8_split_whole(const void *panel) { return *(const int32_t *)panel != 0; }
/* panel: eye_i8_pack_panel's; dst eye_i8_split_bytes(k). */
void eye_i8_split_panel(size_t k, const void *panel, void *dst);

struct eye_gemm_i8_args { /* c[i][j] = (sum_k a[i][k] w[j][k]) scale[j] + bias[j], fused */
    size_t m, n, k;           /* k <= EYE_I8_MAX_K */
    const void *a;            /* [m][k] of u8, any address; gemm_i16: of int16_t */
    size_t a_stride;          /* elements */
    const void *w;            /* panels 0 … ceil(n / 32) - 1, eye_i8_panel_bytes(k) apart */
    const float *scale, *bias; /* [n]: of activation times weight; bias has the zero point's share in it */
    float *c;                 /* [m][n], row stride in floats */
    size_t c_stride;
};
typedef void eye_gemm_i8_fn(const struct eye_gemm_i8_args *a);
typedef void eye_gemm_i16_fn(const struct eye_gemm_i8_args *a);
/* gemm_i8 of split panels, eye_i8_split_bytes(k) apart. */
typedef void eye_gemm_i8_split_fn(const struct eye_gemm_i8_args *a);

/* 4 of a row of 16 bits, likewise. */
static inline uint64_t eye_i16_four(const int16_t *p, size_t n) {
    uint64_t four;
    if (n >= EYE_I8_KR) {
        memcpy(&four, p, sizeof four);
        return four;
    }
    return (uint64_t)(uint16_t)p[0] | (n > 1 ? (uint64_t)(uint16_t)p[1] << 16 : 0) | (n > 2 ? (uint64_t)(uint16_t)p[2] << 32 : 0);
}

/* Weights of a depthwise convolution for products of four bytes: panels of 64 output channels, channels beyond the end zero. A
 * panel: int32 sum of each channel's taps, then [kh / 4 + 1][kw][64 channels][4 kernel rows], rows beyond kh zero, and that again
 * one row further down, for the output row below. Channel 16 i + 4 v + j (i, v, j < 4) is at 16 v + 4 i + j. 64-byte aligned. */
enum { EYE_DW_NC = 64, EYE_DW_SUMS_BYTES = 4 * EYE_DW_NC };
static inline size_t eye_dw_panel_bytes(size_t kh, size_t kw) {
    return EYE_DW_SUMS_BYTES + 2 * (kh / 4 + 1) * kw * 4 * EYE_DW_NC;
}
static inline size_t eye_dw_panels_bytes(size_t channels, size_t kh, size_t kw) {
    return (channels + EYE_DW_NC - 1) / EYE_DW_NC * eye_dw_panel_bytes(kh, kw);
}
/* w [channels][kh][kw]; dst all panels. */
void eye_dw_pack(size_t channels, size_t kh, size_t kw, const int8_t *w, void *dst);

/* Depthwise convolution of n_rows output rows, as struct eye_dwconv_args has it:
 * out[x][o] = (sum over taps (in - zero) w) scale[o] + bias[o], fused. Columns and rows outside count as zero point.
 * kh kw 255 127 must stay below 2^24: sums may be kept as f32, which is exact up to there. */
struct eye_dwconv_u8_args {
    const uint8_t *const *rows; /* (n_rows - 1) stride + kh pointers to [width_in][channels_in]; NULL = outside */
    const float *w;             /* [kh][kw][channels_out]: the s8 weights as numbers */
    const void *panels;         /* the same as eye_dw_pack leaves them: a kernel reads what suits it */
    const float *scale, *bias;  /* [channels_out] */
    float *out;                 /* [n_rows][width_out][channels_out]; with q: room for one row, no result */
    uint8_t *q;                 /* NULL, or [n_rows][width_out][channels_out]: what quant_u8 makes of the results */
    float q_inv_scale, q_zero;
    float zero;
    uint32_t n_rows;
    uint32_t width_in, width_out;
    uint32_t channels_in, mult;
    uint32_t kh, kw, stride, pad_left;
};
typedef void eye_dwconv_u8_fn(const struct eye_dwconv_u8_args *a);

/* q = clamp(rint(x inv_scale + zero), 0, 255), the product and sum fused, ties to even; NaN gives 0. */
typedef void eye_quant_u8_fn(uint8_t *q, const float *x, size_t n, float inv_scale, float zero);
/* gelu_u8 of gemm_i8's results, the same bits. */
struct eye_gemm_i8_gelu_args {
    struct eye_gemm_i8_args gemm; /* c: [m][n] that may be written */
    uint8_t *q;                   /* [m][n] */
    size_t q_stride;
    float q_inv_scale, q_zero;
};
typedef void eye_gemm_i8_gelu_fn(const struct eye_gemm_i8_gelu_args *a);
/* quant_u8 of gelu(x), the exact-erf one, within 5e-5 (1 + |x|): max(x, 0) - k(|x|), k by 16 pieces of degree 2 (gelu_tables.py), fused
 * steps in one order, so the same bits everywhere; NaN is taken for 0. */
typedef void eye_gelu_u8_fn(uint8_t *q, const float *x, size_t n, float inv_scale, float zero);
/* q = rint(clamp(x inv_scale, -top, top)), ties to even; NaN gives -top. */
typedef void eye_quant_i16_fn(int16_t *q, const float *x, size_t n, float inv_scale, float top);
/* y = q scale + a, fused; a NULL = 0; y may be a. */
typedef void eye_add_i16_fn(float *y, const int16_t *q, const float *a, size_t n, float scale);
/* y = (q - zero) scale + a, fused; a NULL = 0; y may be a. */
typedef void eye_add_u8_fn(float *y, const uint8_t *q, const float *a, size_t n, float scale, float zero);

#endif
