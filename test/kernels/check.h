/* checkkern: tests and benchmarks every row of src/kernels/kernels.def. See checkkern.c for the whole; this header is what
 * the per-type tests (check_*.c, bench_*.c) share: guarded buffers, patterns, failing. */
#ifndef CHECKKERN_CHECK_H
#define CHECKKERN_CHECK_H

#include "base/sys.h"
#include "kernels/kernels.h"

typedef void check_any_fn(void); /* any kernel function; cast back to its own type before the call */

struct check; /* one row under test, in its own process */

struct check_row {
    const char *op, *sym;
    uint32_t needs;
    void (*test)(struct check *c);  /* returns if all is well, else ends in check_fail or a signal */
    void (*bench)(struct check *c); /* prints lines */
    const struct eye_gemm_ukr *ukr; /* UKR rows */
    check_any_fn *fn;               /* FN rows */
};

struct check {
    const struct check_row *row, *ref; /* ref: the first row of the same op */
    struct eye_rng rng;
    bool quick;
    char where[256]; /* the case being run, for messages */
};

/* Prints symbol, case and text, and ends the process (a row is tested in its own). */
_Noreturn EYE_PRINTF(2, 3) void check_fail(const struct check *c, const char *fmt, ...);
EYE_PRINTF(2, 3) void check_where(struct check *c, const char *fmt, ...);

/* ---- random ---- */
size_t check_below(struct check *c, size_t n);               /* 0 .. n-1; n > 0 */
size_t check_between(struct check *c, size_t lo, size_t hi); /* inclusive */
float check_uniform(struct check *c, float lo, float hi);

enum check_pattern { PAT_RANDOM, PAT_MAX, PAT_MIN, PAT_ALTERNATING, PAT_ONE_HOT, PAT_ZERO, PAT_NEG_ZERO, PAT_DENORMAL, PAT_WIDE,
                     N_PATTERNS };
const char *check_pattern_name(enum check_pattern p);
/* max: the largest magnitude of MAX, MIN, ALTERNATING. RANDOM is in [-1, 1], WIDE spreads exponents from tiny to max. */
void check_fill(struct check *c, enum check_pattern p, float *x, size_t n, float max);

/* ---- buffers: end (up to alignment) at a page that cannot be touched, canaries on both sides ---- */
struct gbuf {
    void *p;
    size_t bytes;
    uint8_t *map;
    size_t map_bytes;
};
/* Filled with a pattern that is no plausible result. align: power of two; 1 ends exactly at the guard page. */
struct gbuf gbuf_new(size_t bytes, size_t align);
void gbuf_free(struct gbuf *b);
void gbuf_freeze(struct gbuf *b); /* reads only from here on */
void gbuf_check(const struct check *c, const struct gbuf *b, const char *name); /* canaries intact */
bool gbuf_untouched(const void *p, size_t bytes);                             /* still the fill pattern */

/* Bits equal, element by element; fails naming the first difference. */
void check_same_bits(const struct check *c, const char *what, const float *want, const float *got, size_t n);
/* |want - got| <= tol; NaN never passes. i only for the message. */
void check_close(const struct check *c, const char *what, size_t i, double want, double got, double tol);

/* ---- tests and benchmarks, one pair per kind of row ---- */
void check_ukr(struct check *c);
void check_eye_map_fn(struct check *c);
void check_eye_zip_fn(struct check *c);
void check_eye_layer_norm_fn(struct check *c);
void check_eye_rms_norm_fn(struct check *c);
void check_eye_softmax_fn(struct check *c);
void check_eye_rope_fn(struct check *c);
void check_eye_dwconv_fn(struct check *c);
void check_eye_dwconv_bf16_fn(struct check *c);
void check_eye_dwconv_back_fn(struct check *c);
void check_eye_attn_qk_fn(struct check *c);
void check_eye_attn_pv_fn(struct check *c);
void check_eye_attn_bf16_fn(struct check *c);
void check_eye_f32_to_u16_fn(struct check *c);
void check_eye_u16_to_f32_fn(struct check *c);
void check_eye_quant_i8_fn(struct check *c);
void check_eye_gemm_i8_fn(struct check *c);
void check_eye_gemm_i8_gelu_fn(struct check *c);
void check_eye_gemm_i8_split_fn(struct check *c);
void check_eye_gemm_i16_fn(struct check *c);
void check_eye_quant_i16_fn(struct check *c);
void check_eye_add_i16_fn(struct check *c);
void check_eye_dwconv_u8_fn(struct check *c);
void check_eye_quant_u8_fn(struct check *c);
void check_eye_gelu_u8_fn(struct check *c);
void check_eye_add_u8_fn(struct check *c);
void check_eye_peak_fn(struct check *c);
void check_eye_norm_dx_fn(struct check *c);
void check_eye_norm_dw_fn(struct check *c);
void check_eye_softmax_grad_fn(struct check *c);
void check_eye_lse_fn(struct check *c);
void check_eye_affine_fn(struct check *c);
void check_eye_reduce_fn(struct check *c);
void check_eye_dropout_fn(struct check *c);
void check_eye_adam_fn(struct check *c);
void check_eye_sgd_fn(struct check *c);

void bench_ukr(struct check *c);
void bench_eye_map_fn(struct check *c);
void bench_eye_zip_fn(struct check *c);
void bench_eye_layer_norm_fn(struct check *c);
void bench_eye_rms_norm_fn(struct check *c);
void bench_eye_softmax_fn(struct check *c);
void bench_eye_rope_fn(struct check *c);
void bench_eye_dwconv_fn(struct check *c);
void bench_eye_dwconv_bf16_fn(struct check *c);
void bench_eye_dwconv_back_fn(struct check *c);
void bench_eye_attn_qk_fn(struct check *c);
void bench_eye_attn_pv_fn(struct check *c);
void bench_eye_attn_bf16_fn(struct check *c);
void bench_eye_f32_to_u16_fn(struct check *c);
void bench_eye_u16_to_f32_fn(struct check *c);
void bench_eye_quant_i8_fn(struct check *c);
void bench_eye_gemm_i8_fn(struct check *c);
void bench_eye_gemm_i8_gelu_fn(struct check *c);
void bench_eye_gemm_i8_split_fn(struct check *c);
void bench_eye_gemm_i16_fn(struct check *c);
void bench_eye_quant_i16_fn(struct check *c);
void bench_eye_add_i16_fn(struct check *c);
void bench_eye_dwconv_u8_fn(struct check *c);
void bench_eye_quant_u8_fn(struct check *c);
void bench_eye_gelu_u8_fn(struct check *c);
void bench_eye_add_u8_fn(struct check *c);
void bench_eye_peak_fn(struct check *c);
void bench_eye_norm_dx_fn(struct check *c);
void bench_eye_norm_dw_fn(struct check *c);
void bench_eye_softmax_grad_fn(struct check *c);
void bench_eye_lse_fn(struct check *c);
void bench_eye_affine_fn(struct check *c);
void bench_eye_reduce_fn(struct check *c);
void bench_eye_dropout_fn(struct check *c);
void bench_eye_adam_fn(struct check *c);
void bench_eye_sgd_fn(struct check *c);

/* Deliberately wrong kernels: --selftest expects every one of them to fail. */
extern const struct check_row check_broken_rows[];
extern const size_t n_check_broken_rows;

#endif
