/* tensor: dtype table, shapes, and the plain conversions between f32 and everything else. These are the reference that the
 * kernels room's fast conversions are compared with, bit for bit: written to be read. */
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/ggml_blocks.h"
#include "tensor/grid.h"

#define BLOCK 32

static const struct eye_dtype_info infos[EYE_N_DTYPE] = {
    [EYE_F32] = {"f32", 1, 4, true},   [EYE_F16] = {"f16", 1, 2, true},
    [EYE_BF16] = {"bf16", 1, 2, true}, [EYE_F64] = {"f64", 1, 8, true},
    [EYE_I8] = {"i8", 1, 1, false},    [EYE_U8] = {"u8", 1, 1, false},
    [EYE_I16] = {"i16", 1, 2, false},  [EYE_I32] = {"i32", 1, 4, false},
    [EYE_I64] = {"i64", 1, 8, false},  [EYE_BOOL] = {"bool", 1, 1, false},
    [EYE_Q8_0] = {"q8_0", BLOCK, sizeof(struct eye_block_q8_0), true},
    [EYE_Q4_0] = {"q4_0", BLOCK, sizeof(struct eye_block_q4_0), true},
    [EYE_Q4_1] = {"q4_1", BLOCK, sizeof(struct eye_block_q4_1), true},
    [EYE_Q5_0] = {"q5_0", BLOCK, sizeof(struct eye_block_q5_0), true},
    [EYE_Q5_1] = {"q5_1", BLOCK, sizeof(struct eye_block_q5_1), true},
    [EYE_Q4_K] = {"q4_K", EYE_SUPER_BLOCK, sizeof(struct eye_block_q4_k), true},
    [EYE_Q5_K] = {"q5_K", EYE_SUPER_BLOCK, sizeof(struct eye_block_q5_k), true},
    [EYE_Q6_K] = {"q6_K", EYE_SUPER_BLOCK, sizeof(struct eye_block_q6_k), true},
    [EYE_Q8_1] = {"q8_1", BLOCK, 36, false},               [EYE_Q2_K] = {"q2_K", EYE_SUPER_BLOCK, 84, false},
    [EYE_Q3_K] = {"q3_K", EYE_SUPER_BLOCK, 110, false},    [EYE_Q8_K] = {"q8_K", EYE_SUPER_BLOCK, 292, false},
    [EYE_IQ1_S] = {"iq1_s", EYE_SUPER_BLOCK, 50, false},   [EYE_IQ1_M] = {"iq1_m", EYE_SUPER_BLOCK, 56, false},
    [EYE_IQ2_XXS] = {"iq2_xxs", EYE_SUPER_BLOCK, 66, false}, [EYE_IQ2_XS] = {"iq2_xs", EYE_SUPER_BLOCK, 74, false},
    [EYE_IQ2_S] = {"iq2_s", EYE_SUPER_BLOCK, 82, false},   [EYE_IQ3_XXS] = {"iq3_xxs", EYE_SUPER_BLOCK, 98, false},
    [EYE_IQ3_S] = {"iq3_s", EYE_SUPER_BLOCK, 110, false},  [EYE_IQ4_NL] = {"iq4_nl", BLOCK, 18, false},
    [EYE_IQ4_XS] = {"iq4_xs", EYE_SUPER_BLOCK, 136, false}, [EYE_TQ1_0] = {"tq1_0", EYE_SUPER_BLOCK, 54, false},
    [EYE_TQ2_0] = {"tq2_0", EYE_SUPER_BLOCK, 66, false},   [EYE_MXFP4] = {"mxfp4", BLOCK, 17, false},
    [EYE_NVFP4] = {"nvfp4", 64, 36, false},                [EYE_Q1_0] = {"q1_0", 128, 18, false},
};

const struct eye_dtype_info *eye_dtype_info(enum eye_dtype t) {
    assert((unsigned)t < EYE_N_DTYPE);
    return &infos[t];
}

bool eye_dtype_parse(const char *name, enum eye_dtype *out) {
    for (int t = 0; t < EYE_N_DTYPE; t++)
        if (strcmp(infos[t].name, name) == 0) {
            *out = (enum eye_dtype)t;
            return true;
        }
    return false;
}

bool eye_dtype_row_bytes(enum eye_dtype t, uint64_t n, size_t *out) {
    const struct eye_dtype_info *d = eye_dtype_info(t);
    uint64_t blocks = n / d->block_elems + (n % d->block_elems != 0);
    return blocks <= SIZE_MAX && eye_mul_ok((size_t)blocks, d->block_bytes, out);
}

/* ---- shapes ---- */

/* Product of dims[0..n); false when it does not fit in int64 or a dim is negative. A zero makes any product fit. */
static bool product(const int64_t *dims, int n, int64_t *out) {
    int64_t r = 1;
    bool fits = true, zero = false;
    for (int i = 0; i < n; i++) {
        if (dims[i] < 0) return false;
        if (dims[i] == 0) zero = true;
        if (fits && __builtin_mul_overflow(r, dims[i], &r)) fits = false;
    }
    *out = zero ? 0 : r;
    return zero || fits;
}

int64_t eye_tensor_elems(const struct eye_tensor *t) {
    int64_t n;
    bool ok = product(t->dims, t->rank, &n);
    assert(ok && "a shape is checked (eye_tensor_bytes) where it is read");
    return ok ? n : 0;
}

bool eye_tensor_bytes(const struct eye_tensor *t, size_t *out) {
    if (t->rank < 0 || t->rank > EYE_MAX_RANK || (unsigned)t->dtype >= EYE_N_DTYPE) return false;
    int64_t rows, elems, row = t->rank ? t->dims[t->rank - 1] : 1;
    size_t row_bytes;
    if (!product(t->dims, t->rank, &elems)) return false;
    if (elems == 0) {
        *out = 0;
        return true;
    }
    if (!product(t->dims, t->rank - 1, &rows)) return false;
    if ((uint64_t)rows > SIZE_MAX || !eye_dtype_row_bytes(t->dtype, (uint64_t)row, &row_bytes)) return false;
    return eye_mul_ok((size_t)rows, row_bytes, out);
}

char *eye_shape_text(const int64_t *dims, int rank, char *out, size_t cap) {
    size_t at = 0;
    if (cap == 0) return out;
    out[0] = '\0';
    for (int i = 0; i < rank && at < cap; i++)
        at += (size_t)snprintf(out + at, cap - at, "%s%lld", i ? ", " : "[", (long long)dims[i]);
    if (at < cap) snprintf(out + at, cap - at, rank ? "]" : "[]");
    return out;
}

/* ---- scalars ---- */

static inline uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static inline float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float eye_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff;
    if (exp == 31) return float_of(sign | 0x7f800000 | man << 13 | (man ? 0x400000 : 0)); /* NaN made quiet, as F16C does */
    if (exp == 0) return float_of(sign | bits_of((float)man * 0x1p-24f));                 /* zero and subnormals, exact */
    return float_of(sign | (exp + 112) << 23 | man << 13);
}

uint16_t eye_f32_to_f16(float f) {
    uint32_t x = bits_of(f);
    uint16_t sign = (uint16_t)(x >> 16 & 0x8000);
    x &= 0x7fffffff;
    if (x > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (x >> 13 & 0x3ff));
    if (x >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* from 65520, halfway to the next, everything is infinite */
    if (x < 0x38800000) {                                  /* below 2^-14: a multiple of 2^-24 */
        if (x <= 0x33000000) return sign;                  /* up to 2^-25, the tie, rounds to (even) zero */
        uint32_t man = (x & 0x7fffff) | 0x800000, shift = 126 - (x >> 23), half = 1u << (shift - 1);
        uint32_t q = man >> shift, rem = man & ((1u << shift) - 1);
        return (uint16_t)(sign | (q + (rem > half || (rem == half && (q & 1)))));
    }
    x -= 112u << 23;
    x += 0xfff + (x >> 13 & 1); /* a carry out of the mantissa raises the exponent, as it should */
    return (uint16_t)(sign | x >> 13);
}

float eye_bf16_to_f32(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t eye_f32_to_bf16(float f) {
    uint32_t x = bits_of(f);
    if ((x & 0x7fffffff) > 0x7f800000) return (uint16_t)(x >> 16 | 0x40); /* rounding could carry a NaN into infinity */
    return (uint16_t)((x + 0x7fff + (x >> 16 & 1)) >> 16);
}

/* ---- blocks ---- */

/* The range check also catches NaN and infinity, whose conversion to int would be undefined. */
static inline int to_int(float x, int lo, int hi) { return !(x > (float)lo) ? lo : x >= (float)hi ? hi : (int)x; }

/* roundf (half away from zero) for a result that is then truncated, as the largest float below 1/2 is added: x + that reaches
 * the next integer exactly when x's fraction is at least 1/2. A model's load makes half a billion of these: no library calls. */
static inline float round_away(float x) { return x + copysignf(0x1.fffffep-2f, x); }

static void block_to_q8_0(const float *x, struct eye_block_q8_0 *b) {
    float amax = 0;
    for (int i = 0; i < BLOCK; i++) amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    float d = amax / 127, id = d != 0 ? 1 / d : 0;
    b->d = eye_f32_to_f16(d);
    /* The quotients use d before it was rounded to f16: so does ggml, and files must agree byte for byte. */
    for (int i = 0; i < BLOCK; i++) b->q[i] = (int8_t)to_int(round_away(x[i] * id), -127, 127);
}

static void block_to_q4_0(const float *x, struct eye_block_q4_0 *b) {
    float amax = 0, max = 0;
    for (int i = 0; i < BLOCK; i++)
        if (amax < fabsf(x[i])) {
            amax = fabsf(x[i]);
            max = x[i];
        }
    float d = max / -8, id = d != 0 ? 1 / d : 0;
    b->d = eye_f32_to_f16(d);
    for (int j = 0; j < BLOCK / 2; j++) {
        int lo = to_int(x[j] * id + 8.5f, 0, 15), hi = to_int(x[j + BLOCK / 2] * id + 8.5f, 0, 15);
        b->q[j] = (uint8_t)(lo | hi << 4);
    }
}

static void q8_0_to_f32(const struct eye_block_q8_0 *b, float *dst, size_t n) {
    for (size_t i = 0; i < n; i++)
        dst[i] = eye_f16_to_f32(b[i / BLOCK].d) * (float)b[i / BLOCK].q[i % BLOCK];
}

static void q4_0_to_f32(const struct eye_block_q4_0 *b, float *dst, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct eye_block_q4_0 *k = &b[i / BLOCK];
        size_t j = i % BLOCK;
        int q = j < BLOCK / 2 ? k->q[j] & 15 : k->q[j - BLOCK / 2] >> 4;
        dst[i] = eye_f16_to_f32(k->d) * (float)(q - 8);
    }
}

/* ---- rows ---- */

void eye_row_to_f32(enum eye_dtype t, const void *src, float *dst, size_t n) {
    const uint16_t *h = src;
    const double *d = src;
    switch (t) {
    case EYE_F32:
        if (n) memcpy(dst, src, n * sizeof *dst);
        return;
    case EYE_F16:
        for (size_t i = 0; i < n; i++) dst[i] = eye_f16_to_f32(h[i]);
        return;
    case EYE_BF16:
        for (size_t i = 0; i < n; i++) dst[i] = eye_bf16_to_f32(h[i]);
        return;
    case EYE_F64:
        for (size_t i = 0; i < n; i++) dst[i] = (float)d[i];
        return;
    case EYE_I8:
        for (size_t i = 0; i < n; i++) dst[i] = (float)((const int8_t *)src)[i];
        return;
    case EYE_Q8_0: q8_0_to_f32(src, dst, n); return;
    case EYE_Q4_0: q4_0_to_f32(src, dst, n); return;
    default:
        if (EYE_NEVER(!infos[t].is_float))
            memset(dst, 0, n * sizeof *dst);
        else
            eye_ggml_row_to_f32(t, src, dst, n);
    }
}

static void block_to_q4_k(const float *x, struct eye_block_q4_k *b) {
    struct eye_grid g;
    int8_t level[EYE_SUPER_BLOCK];
    eye_grid_fit(&g, EYE_Q4_K, x, NULL);
    for (size_t e = 0; e < EYE_SUPER_BLOCK; e++) level[e] = (int8_t)eye_grid_level(&g, e, x[e]);
    eye_grid_store(&g, level, b);
}

/* Quantizes whole blocks in place, the last one through a zero-filled copy. */
static void blocks_from_f32(enum eye_dtype t, const float *src, void *dst, size_t n) {
    float tail[EYE_SUPER_BLOCK];
    size_t block = infos[t].block_elems;
    for (size_t i = 0; i < n; i += block) {
        const float *x = src + i;
        if (n - i < block) {
            memset(tail, 0, sizeof tail);
            memcpy(tail, x, (n - i) * sizeof *x);
            x = tail;
        }
        void *out = (uint8_t *)dst + i / block * infos[t].block_bytes;
        if (t == EYE_Q8_0) block_to_q8_0(x, out);
        else if (t == EYE_Q4_0) block_to_q4_0(x, out);
        else block_to_q4_k(x, out);
    }
}

void eye_row_from_f32(enum eye_dtype t, const float *src, void *dst, size_t n) {
    uint16_t *h = dst;
    double *d = dst;
    switch (t) {
    case EYE_F32:
        if (n) memcpy(dst, src, n * sizeof *src);
        return;
    case EYE_F16:
        for (size_t i = 0; i < n; i++) h[i] = eye_f32_to_f16(src[i]);
        return;
    case EYE_BF16:
        for (size_t i = 0; i < n; i++) h[i] = eye_f32_to_bf16(src[i]);
        return;
    case EYE_F64:
        for (size_t i = 0; i < n; i++) d[i] = (double)src[i];
        return;
    case EYE_Q8_0:
    case EYE_Q4_0:
    case EYE_Q4_K: blocks_from_f32(t, src, dst, n); return;
    default: assert(!"a float or block dtype");
    }
}
