/* tensor: dtypes, block formats, shapes, views, conversions. Sits on base; knows no file format and no kernel.
 *
 * A tensor view is row-major and contiguous, outermost dimension first (PyTorch order); the last dimension is the row.
 * Block formats group 32 or 256 consecutive elements of a row; a row whose length is no multiple of the block is
 * stored with its last block zero-filled (row_bytes rounds up). Layouts: GGUF specification / ggml.
 */
#ifndef EYE_TENSOR_H
#define EYE_TENSOR_H

#include "base/base.h"

#define EYE_MAX_RANK 5

enum eye_dtype {
    EYE_F32, EYE_F16, EYE_BF16, EYE_F64, EYE_I8, EYE_U8, EYE_I16, EYE_I32, EYE_I64, EYE_BOOL,
    EYE_Q8_0, /* 32 x int8, f16 scale: w = d * q */
    EYE_Q4_0, /* 32 x 4 bit, f16 scale: w = d * (q - 8); byte j holds element j (low nibble) and j + 16 (high) */
    EYE_Q4_1, EYE_Q5_0, EYE_Q5_1, /* these and q5_K, q6_K: read only, see ggml_blocks.h */
    EYE_Q4_K, /* 256 x 4 bit, a scale and a minimum per 32 */
    EYE_Q5_K, EYE_Q6_K,
    /* Known by size, so that files with them can be listed; not read. */
    EYE_Q8_1, EYE_Q2_K, EYE_Q3_K, EYE_Q8_K, EYE_IQ1_S, EYE_IQ1_M, EYE_IQ2_XXS, EYE_IQ2_XS, EYE_IQ2_S, EYE_IQ3_XXS, EYE_IQ3_S,
    EYE_IQ4_NL, EYE_IQ4_XS, EYE_TQ1_0, EYE_TQ2_0, EYE_MXFP4, EYE_NVFP4, EYE_Q1_0,
    EYE_N_DTYPE
};

struct eye_block_q8_0 { uint16_t d; int8_t q[32]; };
struct eye_block_q4_0 { uint16_t d; uint8_t q[16]; };
_Static_assert(sizeof(struct eye_block_q8_0) == 34 && sizeof(struct eye_block_q4_0) == 18, "GGUF block layouts are packed");

struct eye_dtype_info {
    const char *name;      /* "f32", "q8_0", … */
    uint16_t block_elems;  /* 1 for plain types */
    uint16_t block_bytes;
    bool is_float;         /* can be read as f32 */
};
const struct eye_dtype_info *eye_dtype_info(enum eye_dtype t);
bool eye_dtype_parse(const char *name, enum eye_dtype *out);
/* Bytes of a row of n elements; false on overflow. */
bool eye_dtype_row_bytes(enum eye_dtype t, uint64_t n, size_t *out);

struct eye_tensor {
    const void *data;            /* borrowed: a mapped file or an arena */
    enum eye_dtype dtype;
    int rank;                    /* 0 = scalar (one element) */
    int64_t dims[EYE_MAX_RANK];  /* outermost first */
};
int64_t eye_tensor_elems(const struct eye_tensor *t); /* of a shape that eye_tensor_bytes has accepted */
bool eye_tensor_bytes(const struct eye_tensor *t, size_t *out); /* false = overflow or negative dim */
/* "[256, 3072]"; out is NUL-terminated. Returns out. */
char *eye_shape_text(const int64_t *dims, int rank, char *out, size_t cap);

/* Scalar conversions, round to nearest even. */
float eye_f16_to_f32(uint16_t h);
uint16_t eye_f32_to_f16(float f);
float eye_bf16_to_f32(uint16_t h);
uint16_t eye_f32_to_bf16(float f);

/* One row of n elements to f32, from any dtype with is_float; from f32, to the plain floats, q8_0, q4_0 and q4_K. The plain
 * C versions; the kernels room has fast ones.
 * Quantization to q8_0 and q4_0 is ggml's rounding: q8_0 d = amax/127, round-to-nearest-away; q4_0 d = (value of largest magnitude)/-8,
 * q = min(15, (int)(x/d + 8.5)). To q4_K it is grid.h's: scales and minima by least squares. */
void eye_row_to_f32(enum eye_dtype t, const void *src, float *dst, size_t n);
void eye_row_from_f32(enum eye_dtype t, const float *src, void *dst, size_t n);

#endif
