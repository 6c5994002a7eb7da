/* kernels: pure functions on pointers, strides and sizes; the only room with instruction-set specific code.
 *
 * A kernel never allocates, never fails, starts no thread, knows no graph. Every row of kernels.def is declared, dispatched,
 * tested (test/kernels/checkkern) and benchmarked from that table. The _ref versions are plain C, written to be read: the
 * oracle of all others, and the fall-back on any CPU.
 *
 * Rounding contract (what makes prefill = step and 1 = N threads hold bit for bit): every output element is accumulated in
 * one fixed order over k, whatever m, n or the tile it lies in. A kernel may use lanes over n and rows over m, never over k,
 * except inside one integer block of 32 (exact) or one bf16 pair (fixed).
 */
#ifndef EYE_KERNELS_H
#define EYE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/int8.h"
#include "kernels/train.h"

/* ---- GEMM micro-kernels: C[M,N] = A[M,K] . B[N,K]^T, B the weights. A packed layout belongs to its kernel. ----
 *
 * lhs panel: m <= mr rows packed together, ceil(k/kr) steps of m * lhs_step bytes. Rows beyond k inside a step are zero.
 * rhs panel: nr columns (weight rows), ceil(k/kr) steps of rhs_step bytes; columns beyond N are zero. A packed matrix is
 * ceil(N/nr) panels in a row, each ceil(k/kr) * rhs_step bytes, 64-byte aligned (rhs_step is a multiple of 64).
 * So a K range [k0, k1), k0 a multiple of kr, of either starts at (k0/kr) steps into its panel.
 */
#define EYE_STREAMS 3
struct eye_gemm_stream { /* neighbouring panels and their results */
    const void *rhs;
    float *c;          /* [panels * nr] */
    const float *bias; /* the same, or NULL */
};
struct eye_gemm_add { /* y = results + x */
    float *y;          /* may be x */
    const float *x;
    const float *next; /* as many numbers that are read soon, to be fetched; or NULL */
};
struct eye_gemm_ukr {
    uint16_t mr, nr, kr;
    uint16_t lhs_step; /* bytes per row and step */
    uint16_t rhs_step; /* bytes per panel and step */
    /* src [m][k] f32, row stride in floats; m <= mr. dst 64-byte aligned, ceil(k/kr) * m * lhs_step bytes. */
    void (*pack_lhs)(size_t m, size_t k, const float *src, size_t src_stride, void *dst);
    /* src: n <= nr weight rows of k elements in the kernel's weight dtype, row stride in bytes. dst one panel. */
    void (*pack_rhs)(size_t n, size_t k, const void *src, size_t src_stride_bytes, void *dst);
    /* One lhs panel (m <= mr rows) times n columns (any n: ceil(n/nr) panels, rhs_panel_stride bytes apart) over k elements.
     * c [m][n] f32, row stride in floats, nothing outside is touched. accumulate: start from c; else from bias[n]
     * (NULL = 0). */
    void (*run)(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                size_t c_stride, const float *bias, bool accumulate);
    /* The same panels from f32 that lies the other way, src [k][m] or [k][n] (rounded to the weight dtype), row stride in
     * floats: for products whose both sides change between runs. NULL: not of this kernel (f16 and block weights). */
    void (*pack_lhs_t)(size_t m, size_t k, const float *src, size_t src_stride, void *dst);
    void (*pack_rhs_t)(size_t n, size_t k, const float *src, size_t src_stride, void *dst);
    /* GELU for what pack_lhs rounds next: |error| <= 2^-12 |gelu(x)| + 8e-7, below -5.2 the result is 0. dst may equal src.
     * And pack_lhs of gelu of run's results, the same bits as the three in turn. Both or neither. */
    void (*gelu)(float *dst, const float *src, size_t n);
    void (*run_gelu)(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride,
                     const float *bias, void *dst);
    /* run, then add->y = c + add->x: the same bits. Rows of all are c_stride apart; c is scratch. NULL: not of this kernel. */
    void (*run_add)(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                    size_t c_stride, const float *bias, bool accumulate, const struct eye_gemm_add *add);
    /* One row (packed as m = 1) times so many whole panels of each of n <= EYE_STREAMS streams, the same bits as run's. They are
     * read side by side: a core gets more from memory out of several streams. NULL: run does as well. */
    void (*run_streams)(size_t n, size_t panels, size_t k, const void *lhs, size_t rhs_panel_stride,
                        const struct eye_gemm_stream *s);
};

/* ---- function kernels ---- */
/* Element-wise over n: dst may equal src. */
typedef void eye_map_fn(float *dst, const float *src, size_t n);
typedef void eye_zip_fn(float *dst, const float *a, const float *b, size_t n); /* dst may equal a or b */
/* One row of n: y = (x - mean) / sqrt(var + eps) * w + b (biased variance; w, b may be NULL);
 * rms: y = x / sqrt(mean(x^2) + eps) * w */
typedef void eye_layer_norm_fn(float *y, const float *x, const float *w, const float *b, size_t n, float eps);
typedef void eye_rms_norm_fn(float *y, const float *x, const float *w, size_t n, float eps);
/* In place softmax of one row of n >= 1; subtracts the maximum; sums the exponentials in a fixed order that
 * depends only on n. */
typedef void eye_softmax_fn(float *x, size_t n);
/* Rotary embedding of one head vector x[d] in place, half-split pairs (x[i], x[i + d/2]); cos, sin [d/2]. */
typedef void eye_rope_fn(float *x, const float *cos, const float *sin, size_t d);

/* Depthwise convolution of one output row, NHWC, channel multiplier 1 or 2 (output channel o reads input channel o / mult). */
struct eye_dwconv_args {
    const float *const *rows; /* kh pointers to input rows [width_in][channels_in]; NULL = a row of zeros (padding) */
    const float *w;           /* [kh][kw][channels_out] */
    const float *bias;        /* [channels_out] or NULL */
    float *out;               /* [width_out][channels_out] */
    uint32_t width_in, width_out;
    uint32_t channels_in, mult; /* channels_out = channels_in * mult */
    uint32_t kh, kw, stride, pad_left;
};
typedef void eye_dwconv_fn(const struct eye_dwconv_args *a);

/* Depthwise 7x7 convolution of stride 1, NHWC, of n_rows output rows, in bf16: inputs and weights are rounded to it, products and
 * sums are f32, subnormals may be zero. Sums go by pairs of rows that begin at even ones: whose bits should not depend on how
 * rows are shared among calls says whether the first one is odd. */
#define EYE_DW_BF16_K 7
struct eye_dwconv_bf16_args {
    const float *const *rows; /* n_rows + 6 pointers to input rows [width_in][channels]; NULL = a row of zeros (padding) */
    const float *w;           /* [7][7][channels] */
    const float *bias;        /* [channels] or NULL */
    float *out;               /* [n_rows][width_out][channels]; or NULL: lhs, of a multiple of 32 channels */
    uint32_t n_rows, odd, width_in, width_out, channels, pad_left; /* odd: 0 or 1 */
    uint8_t *lhs;             /* lhs_rows pixels, as pack_lhs makes panels of mr of them, 32 bf16 a step, 64-byte aligned */
    size_t lhs_row, lhs_rows; /* the first pixel's place in it */
    uint32_t mr;
};
typedef void eye_dwconv_bf16_fn(const struct eye_dwconv_bf16_args *a);

/* One row of a depthwise convolution's gradients, NHWC, channel multiplier 1. d: gradient of the output.
 *   dx  an input row from the kh output rows that its taps ky lead to
 *   dw  sums += what one output row and its kh input rows add */
struct eye_dwconv_back_args {
    const float *const *rows; /* kh pointers, NULL = none: dx rows of d [width_out][C]; dw rows of the input [width_in][C] */
    const float *with;        /* dx: weights [kh][kw][C]; dw: the row of d [width_out][C] */
    float *out;               /* dx: [width_in][C]; dw: sums [kh][kw][C] */
    uint32_t width_in, width_out, channels, kh, kw, stride, pad_left; /* of the convolution */
};
typedef void eye_dwconv_back_fn(const struct eye_dwconv_back_args *a);

/* Attention scores of m query rows against n_keys keys of one head.
 * q [m][d] f32, row stride in floats. Keys in panels of EYE_ATTN_LANES: k[(j / 16)][d][16], element type per kernel (f32,
 * f16 as uint16_t, int8_t). s [m][..] f32, row stride in floats; s[i][j] = scale * sum_d q[i][d] * k[j][d] in order of d;
 * columns up to the end of the last panel may be written (the caller's stride leaves room). */
#define EYE_ATTN_LANES 16
typedef void eye_attn_qk_fn(size_t m, size_t d, size_t n_keys, const float *q, size_t q_stride, const void *k, float scale,
                            float *s, size_t s_stride);
/* Weighted sum of values: out[i][e] = sum_j p[i][j] * v[j][e] in order of j. v [n_keys][v_stride elements], the first d
 * used. add: the sum goes on from out[i][e]; keys in two calls are as in one, bit for bit. */
typedef void eye_attn_pv_fn(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_stride,
                            float *out, size_t out_stride, bool add);

/* Attention of m query rows of one head over all n_keys keys, in bf16, on CPUs that multiply pairs of it:
 * out = softmax(scale q k^T) v. q scale log2 e (in that order of f32 products: q times the product of the other two) is rounded
 * to bf16, and so are the exponentials, before they are summed and weigh the values; sums are f32. A row's bits depend on it
 * and the keys alone. d even. */
#define EYE_ATTN_BF16_D 128   /* d at most */
#define EYE_ATTN_BF16_ROWS 32 /* m at most */
struct eye_attn_bf16_args {
    size_t m, d, n_keys;
    const float *q;     /* [m][d], row stride in floats */
    size_t q_stride;
    float scale;
    const uint16_t *k;  /* [n_keys][d]; what follows up to a multiple of EYE_ATTN_LANES keys may be read */
    const uint16_t *v;  /* in pairs of keys [n_keys / 2][d][2], the last one's second zero where n_keys is odd */
    float *out;         /* [m][d], row stride in floats */
    size_t out_stride;
};
typedef void eye_attn_bf16_fn(const struct eye_attn_bf16_args *a);

/* Conversions of n elements; round to nearest even. */
typedef void eye_f32_to_u16_fn(uint16_t *dst, const float *src, size_t n); /* to f16 or bf16 */
typedef void eye_u16_to_f32_fn(float *dst, const uint16_t *src, size_t n);
/* Symmetric int8 of one row: returns scale = amax / 127 (0 when all zero), q = round-to-nearest-even(x / scale). */
typedef float eye_quant_i8_fn(int8_t *q, const float *x, size_t n);

/* Multiply-adds of `one` times itself on registers alone, as many at a time as the units take; returns their sum: with one = 1
 * their number, as long as no lane's passes 2^24. */
typedef double eye_peak_fn(size_t rounds, float one);

/* The table, filled once per engine: for each op the last row of kernels.def whose needs are met; NULL: FN_ORACLE there. */
struct eye_kernels {
#define UKR(op, needs, sym)
#define FN(op, needs, type, sym)
#define UKR_OP(op) const struct eye_gemm_ukr *op;
#define FN_OP(op, type) type *op;
#include "kernels/kernels.def"
    uint32_t flags; /* EYE_CPU_*: what was allowed */
};
void eye_kernels_init(struct eye_kernels *k, uint32_t cpu_flags);
/* Name of the i-th op and of the version that init chooses for it ("none" for NULL); false = there are not so many. */
bool eye_kernels_choice(size_t i, uint32_t cpu_flags, const char **op, const char **kernel);

#endif
