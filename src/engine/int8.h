/* engine/int8: products of u8 or i16 activations and int8 weights, inside the room. "Bytes" means both; a range says which. */
#ifndef EYE_ENGINE_INT8_H
#define EYE_ENGINE_INT8_H

#include "engine/engine_impl.h"

struct eye_matrix_i8 { /* weights [n, k] in panels (kernels/int8.h), and what makes floats of their sums */
    size_t n, k;
    size_t blob;        /* panels */
    size_t split;       /* the same split, of u8 activations where the CPU has a kernel for that; or EYE_NO_BLOB */
    size_t scale, bias; /* [n] f32: activation scale times row scale; bias with the zero point's share */
    size_t range_cols;  /* columns of a task at most: panels in L2, the tile of results in L1 */
    size_t tile_rows;   /* of which */
};
/* Weights and bias of n (a linear, or a dense convolution) for its input. */
EYE_MUST_CHECK enum eye_status eye_lower_matrix_i8(struct eye_lower *l, const struct eye_node *n, struct eye_matrix_i8 *out,
                                                   struct eye_err *err);

/* Row scales and biases of n's outputs. zero_point: the weights' sums times the zero point are taken off the bias. */
EYE_MUST_CHECK enum eye_status eye_lower_scales_i8(struct eye_lower *l, const struct eye_node *n, bool zero_point,
                                                   size_t *scale, size_t *bias, struct eye_err *err);

/* What becomes of rows of f32 results: act, then the residual, then f32 or bytes. */
struct eye_finish_i8 {
    eye_map_fn *act;          /* or NULL */
    const void *residual;     /* [m, n] f32, or bytes by residual_quant; NULL */
    struct eye_quant residual_quant; /* scale 0: f32 */
    void *y;                  /* [m, n] f32, or bytes by quant; may be residual's memory */
    struct eye_quant quant;   /* scale 0: f32 */
};
/* cols results c of row `row` of n, from column col on; c is used up. */
void eye_finish_i8(const struct eye_exec *x, const struct eye_finish_i8 *f, float *c, size_t row, size_t n, size_t col,
                   size_t cols);
/* Of node n, at run time. */
struct eye_finish_i8 eye_finish_of(const struct eye_exec *x, const struct eye_node *n, eye_map_fn *act, eye_val residual);

#define EYE_ROWS_SLACK 64 /* bytes behind dst that may be written as well */
typedef void eye_rows_u8_fn(const void *ctx, size_t row0, size_t n, uint8_t *dst); /* rows [row0, row0 + n) of the left side */
struct eye_gemm_i8 {
    const struct eye_matrix_i8 *w;
    size_t m, width;        /* rows; eye_exec_width of the result */
    const void *x;          /* [m, k] u8, or i16 if wide; NULL: rows makes them */
    bool wide;
    char pad[7];
    eye_rows_u8_fn *rows;
    const void *rows_ctx;
    struct eye_finish_i8 finish;
};
void eye_gemm_i8_run(struct eye_exec *x, const struct eye_gemm_i8 *j);
/* By one thread, rows [row, row + n) alone. */
void eye_gemm_i8_rows(struct eye_exec *x, const struct eye_gemm_i8 *j, size_t row, size_t n, int i_thread);
#define EYE_I8_UNIT_ROWS 8u /* cuts of rows are multiples of it: what the kernels do at once */
size_t eye_matrix_i8_bytes(const struct eye_matrix_i8 *w); /* of its panels */
void eye_lower_gemm_i8_scratch(struct eye_lower *l, const struct eye_matrix_i8 *w, bool made_rows);

/* Lowerings of nodes whose input is bytes. */
eye_lower_fn eye_lower_linear_i8, eye_lower_conv2d_i8;
static inline bool eye_is_bytes(const struct eye_value *x) { return x->dtype == EYE_U8 || x->dtype == EYE_I16; }
static inline bool eye_lower_reads_bytes(const struct eye_lower *l, const struct eye_node *n) {
    return eye_is_bytes(eye_value_at(l->g, n->in[0]));
}
/* n numbers x to bytes at element `at` of y; and back, plus a (NULL: 0). */
void eye_to_bytes(const struct eye_kernels *k, const struct eye_quant *q, void *y, size_t at, const float *x, size_t n);
void eye_add_bytes(const struct eye_kernels *k, const struct eye_quant *q, float *y, const void *x, size_t at, const float *a,
                   size_t n);

#endif
