/* checkkern --bench: function kernels, one real shape each. GB/s counts the floats (or elements) read and written. */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

#define MIN_NS 100000000ull

typedef void step_fn(const struct check_row *row, void *ctx);

/* Shortest time of one call in ns; calls are repeated inside a sample so that the clock does not matter. */
static double time_of(const struct check_row *row, step_fn *step, void *ctx) {
    uint64_t best = UINT64_MAX, start = eye_now_ns();
    size_t reps = 1;
    for (;;) {
        uint64_t t0 = eye_now_ns();
        for (size_t i = 0; i < reps; i++) step(row, ctx);
        uint64_t dt = eye_now_ns() - t0;
        if (dt < 20000) {
            reps *= 2;
            best = UINT64_MAX; /* was of fewer calls */
            continue;
        }
        best = EYE_MIN(best, dt);
        if (eye_now_ns() - start > MIN_NS) return (double)best / (double)reps;
    }
}

static void report(struct check *c, step_fn *step, void *ctx, const char *shape, double amount, const char *unit) {
    double here = time_of(c->row, step, ctx), ref = c->row == c->ref ? here : time_of(c->ref, step, ctx);
    printf("%-30s %-28s %8.1f %s, %.1f x ref\n", c->row->sym, shape, amount / here, unit, ref / here);
}

enum { LEN = 4096 };
struct vec {
    float x[LEN], a[LEN], b[LEN];
    uint16_t h[LEN];
    int8_t q[LEN];
};
static struct vec *make_vec(struct check *c) {
    struct vec *v = eye_alloc_zero(NULL, sizeof *v);
    if (!v) check_fail(c, "no memory");
    check_fill(c, PAT_RANDOM, v->a, LEN, 1.0f);
    check_fill(c, PAT_RANDOM, v->b, LEN, 1.0f);
    for (int i = 0; i < LEN; i++) v->h[i] = (uint16_t)(0x3000 + i);
    return v;
}
static void bench_vec(struct check *c, step_fn *step, const char *shape, double bytes) {
    struct vec *v = make_vec(c);
    report(c, step, v, shape, bytes, "GB/s");
    eye_alloc_free(NULL, v, sizeof *v);
}

static void step_map(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_map_fn *)r->fn)(v->x, v->a, LEN);
}
static void step_zip(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_zip_fn *)r->fn)(v->x, v->a, v->b, LEN);
}
static void step_layer_norm(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_layer_norm_fn *)r->fn)(v->x, v->a, v->b, v->b, 896, 1e-6f);
}
static void step_rms_norm(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_rms_norm_fn *)r->fn)(v->x, v->a, v->b, 896, 1e-6f);
}
static void step_softmax(const struct check_row *r, void *p) { ((eye_softmax_fn *)r->fn)(((struct vec *)p)->b, 1024); }
static void step_rope(const struct check_row *r, void *p) {
    struct vec *v = p;
    for (int i = 0; i < LEN; i += 64) ((eye_rope_fn *)r->fn)(v->x + i, v->a, v->b, 64);
}
static void step_narrow(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_f32_to_u16_fn *)r->fn)(v->h, v->a, LEN);
}
static void step_widen(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_u16_to_f32_fn *)r->fn)(v->x, v->h, LEN);
}
static void step_quant(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_quant_i8_fn *)r->fn)(v->q, v->a, LEN);
}

void bench_eye_map_fn(struct check *c) { bench_vec(c, step_map, "n 4096", 8.0 * LEN); }
void bench_eye_zip_fn(struct check *c) { bench_vec(c, step_zip, "n 4096", 12.0 * LEN); }
void bench_eye_layer_norm_fn(struct check *c) { bench_vec(c, step_layer_norm, "n 896", 8.0 * 896); }
void bench_eye_rms_norm_fn(struct check *c) { bench_vec(c, step_rms_norm, "n 896", 8.0 * 896); }
void bench_eye_softmax_fn(struct check *c) { bench_vec(c, step_softmax, "n 1024", 8.0 * 1024); }
void bench_eye_rope_fn(struct check *c) { bench_vec(c, step_rope, "64 heads of 64", 8.0 * LEN); }
void bench_eye_f32_to_u16_fn(struct check *c) { bench_vec(c, step_narrow, "n 4096", 6.0 * LEN); }
void bench_eye_u16_to_f32_fn(struct check *c) { bench_vec(c, step_widen, "n 4096", 6.0 * LEN); }
void bench_eye_quant_i8_fn(struct check *c) { bench_vec(c, step_quant, "n 4096", 5.0 * LEN); }

/* ---- attention of one head: d 64, 1024 keys ---- */
enum { D = 64, KEYS = 1024, M_MAX = 16 };
struct attn {
    size_t m;
    float q[M_MAX * D], s[M_MAX * KEYS], kv[KEYS * D]; /* kv also read as f16 and int8: zeros there */
};
static void step_qk(const struct check_row *r, void *p) {
    struct attn *a = p;
    ((eye_attn_qk_fn *)r->fn)(a->m, D, KEYS, a->q, D, a->kv, 0.125f, a->s, KEYS);
}
static void step_pv(const struct check_row *r, void *p) {
    struct attn *a = p;
    ((eye_attn_pv_fn *)r->fn)(a->m, D, KEYS, a->s, KEYS, a->kv, D, a->q, D, false);
}
static void bench_attn(struct check *c, step_fn *step) {
    struct attn *a = eye_alloc_zero(NULL, sizeof *a); /* zeros: no denormals whatever type kv is read as */
    if (!a) check_fail(c, "no memory");
    for (a->m = 1; a->m <= M_MAX; a->m *= M_MAX)
        report(c, step, a, a->m == 1 ? "m 1 d 64 keys 1024" : "m 16 d 64 keys 1024", 2.0 * D * KEYS * (double)a->m, "GOP/s");
    eye_alloc_free(NULL, a, sizeof *a);
}
static void step_attn_bf16(const struct check_row *r, void *p) { ((eye_attn_bf16_fn *)r->fn)(p); }
void bench_eye_attn_bf16_fn(struct check *c) {
    struct attn *mem = eye_alloc_zero(NULL, sizeof *mem);
    if (!mem) check_fail(c, "no memory");
    for (size_t d = 32; d <= D; d *= 2) {
        struct eye_attn_bf16_args a = {.m = EYE_ATTN_BF16_ROWS, .d = d, .n_keys = KEYS, .q = mem->s, .q_stride = d,
                                       .scale = 0.125f, .k = (const uint16_t *)(void *)mem->kv,
                                       .v = (const uint16_t *)(void *)mem->kv,
                                       .out = mem->s + EYE_ATTN_BF16_ROWS * d, .out_stride = d};
        const char *shape = d == 32 ? "m 32 d 32 keys 1024" : "m 32 d 64 keys 1024";
        report(c, step_attn_bf16, &a, shape, 4.0 * KEYS * (double)(a.m * d), "GOP/s");
    }
    eye_alloc_free(NULL, mem, sizeof *mem);
}
void bench_eye_attn_qk_fn(struct check *c) { bench_attn(c, step_qk); }
void bench_eye_attn_pv_fn(struct check *c) { bench_attn(c, step_pv); }

/* ---- depthwise convolution: rows of FastViTHD ---- */
static void step_dwconv(const struct check_row *r, void *p) { ((eye_dwconv_fn *)r->fn)(p); }
static void bench_dwconv(struct check *c, uint32_t width, uint32_t channels, uint32_t kernel, uint32_t stride, uint32_t mult) {
    size_t n_in = (size_t)width * channels, c_out = (size_t)channels * mult, n_out = width / stride * c_out;
    size_t n_w = (size_t)kernel * kernel * c_out;
    float *mem = eye_alloc_zero(NULL, (kernel * n_in + n_out + n_w) * 4);
    if (!mem) check_fail(c, "no memory");
    const float *rows[8];
    for (uint32_t y = 0; y < kernel; y++) rows[y] = mem + y * n_in;
    check_fill(c, PAT_RANDOM, mem, kernel * n_in + n_w, 1.0f);
    struct eye_dwconv_args a = {.rows = rows, .w = mem + kernel * n_in, .out = mem + kernel * n_in + n_w, .width_in = width,
                                .width_out = width / stride, .channels_in = channels, .mult = mult, .kh = kernel, .kw = kernel,
                                .stride = stride, .pad_left = kernel / 2};
    char shape[64];
    snprintf(shape, sizeof shape, "%u x %u, %ux%u s%u x%u", width, channels, kernel, kernel, stride, mult);
    report(c, step_dwconv, &a, shape, 2.0 * (double)n_out * kernel * kernel, "GOP/s");
    eye_alloc_free(NULL, mem, (kernel * n_in + n_out + n_w) * 4);
}
static void step_dwconv_bf16(const struct check_row *r, void *p) { ((eye_dwconv_bf16_fn *)r->fn)(p); }
static void bench_dwconv_bf16(struct check *c, uint32_t width, uint32_t channels) { /* 16 rows */
    enum { K = EYE_DW_BF16_K, ROWS = 16, IN = ROWS + K - 1 };
    size_t n_row = (size_t)width * channels, n_w = (size_t)(K * K) * channels, all = (IN + ROWS) * n_row + n_w;
    float *mem = eye_alloc_zero(NULL, all * sizeof *mem);
    if (!mem) check_fail(c, "no memory");
    const float *rows[IN];
    for (size_t y = 0; y < IN; y++) rows[y] = mem + y * n_row;
    check_fill(c, PAT_RANDOM, mem, IN * n_row + n_w, 1.0f);
    struct eye_dwconv_bf16_args a = {.rows = rows, .w = mem + IN * n_row, .out = mem + IN * n_row + n_w, .n_rows = ROWS,
                                     .width_in = width, .width_out = width, .channels = channels, .pad_left = K / 2};
    char shape[64];
    snprintf(shape, sizeof shape, "%u x %u", width, channels);
    report(c, step_dwconv_bf16, &a, shape, 2.0 * K * K * (double)(ROWS * n_row), "GOP/s");
    snprintf(shape, sizeof shape, "%u x %u, to bf16", width, channels);
    a.lhs = (uint8_t *)a.out, a.out = NULL, a.mr = 14, a.lhs_rows = ROWS * width;
    report(c, step_dwconv_bf16, &a, shape, 2.0 * K * K * (double)(ROWS * n_row), "GOP/s");
    eye_alloc_free(NULL, mem, all * sizeof *mem);
}
void bench_eye_dwconv_bf16_fn(struct check *c) {
    bench_dwconv_bf16(c, 256, 96);
    bench_dwconv_bf16(c, 128, 192);
    bench_dwconv_bf16(c, 64, 384);
}
static void step_dwconv_back(const struct check_row *r, void *p) { ((eye_dwconv_back_fn *)r->fn)(p); }
static void bench_dwconv_back(struct check *c, uint32_t width, uint32_t channels, uint32_t kernel, uint32_t stride) {
    size_t n_row = (size_t)width * channels, n_taps = (size_t)kernel * kernel * channels;
    float *mem = eye_alloc_zero(NULL, ((kernel + 2) * n_row + n_taps) * 4); /* rows, with, out: either side fits */
    if (!mem) check_fail(c, "no memory");
    const float *rows[8];
    for (uint32_t y = 0; y < kernel; y++) rows[y] = mem + y * n_row;
    struct eye_dwconv_back_args a = {.rows = rows, .with = mem + kernel * n_row, .out = mem + (kernel + 1) * n_row,
                                     .width_in = width, .width_out = width / stride, .channels = channels, .kh = kernel,
                                     .kw = kernel, .stride = stride, .pad_left = kernel / 2};
    char shape[64];
    snprintf(shape, sizeof shape, "%u x %u, %ux%u s%u", width, channels, kernel, kernel, stride);
    report(c, step_dwconv_back, &a, shape, 2.0 * (double)(width / stride * channels) * kernel * kernel, "GOP/s");
    eye_alloc_free(NULL, mem, ((kernel + 2) * n_row + n_taps) * 4);
}
void bench_eye_dwconv_back_fn(struct check *c) {
    bench_dwconv_back(c, 112, 64, 3, 2);
    bench_dwconv_back(c, 14, 480, 3, 1);
    bench_dwconv_back(c, 28, 120, 5, 1);
}
void bench_eye_dwconv_fn(struct check *c) {
    bench_dwconv(c, 256, 96, 3, 1, 1);
    bench_dwconv(c, 256, 96, 7, 1, 1);
    bench_dwconv(c, 64, 384, 7, 1, 1);
    bench_dwconv(c, 256, 96, 7, 2, 2);
    bench_dwconv(c, 16, 1536, 3, 1, 2);
}

/* ---- static int8: stages of FastViTHD ---- */
static void step_gemm_i8(const struct check_row *r, void *p) { ((eye_gemm_i8_fn *)r->fn)(p); }
static void step_gemm_i8_gelu(const struct check_row *r, void *p) {
    const struct eye_gemm_i8_args *g = p;
    const size_t a_end = g->m * g->n + g->n; /* floats from c on, then a of up to 16 bits */
    struct eye_gemm_i8_gelu_args a = {*g, (uint8_t *)(g->c + a_end) + 2 * g->m * g->k, g->n, 1.0f, 0.0f};
    ((eye_gemm_i8_gelu_fn *)r->fn)(&a);
}
static void bench_gemm_i8(struct check *c, step_fn *step, size_t m, size_t n, size_t k) {
    size_t w_bytes = n / EYE_I8_NR * eye_i8_panel_bytes(k), c_bytes = m * n * sizeof(float);
    uint8_t *mem = eye_alloc_zero(NULL, w_bytes + c_bytes + n * sizeof(float) + 2 * m * k + m * n); /* u8 or i16 */
    if (!mem) check_fail(c, "no memory");
    float *scale = (float *)(mem + w_bytes + c_bytes);
    struct eye_gemm_i8_args a = {.m = m, .n = n, .k = k, .a = scale + n, .a_stride = k, .w = mem, .scale = scale,
                                 .bias = scale, .c = (float *)(mem + w_bytes), .c_stride = n};
    char shape[64];
    snprintf(shape, sizeof shape, "m %zu n %zu k %zu", m, n, k);
    report(c, step, &a, shape, 2.0 * (double)(m * n * k), "GOP/s");
    eye_alloc_free(NULL, mem, w_bytes + c_bytes + n * sizeof(float) + 2 * m * k + m * n);
}
void bench_eye_gemm_i8_fn(struct check *c) {
    bench_gemm_i8(c, step_gemm_i8, 24, 256, 96);
    bench_gemm_i8(c, step_gemm_i8, 24, 256, 768);
    bench_gemm_i8(c, step_gemm_i8, 24, 128, 3072);
}
void bench_eye_gemm_i8_gelu_fn(struct check *c) {
    bench_gemm_i8(c, step_gemm_i8_gelu, 24, 256, 96);
    bench_gemm_i8(c, step_gemm_i8_gelu, 24, 256, 192);
    bench_gemm_i8(c, step_gemm_i8_gelu, 24, 256, 768);
}
/* Weights as they are: nearly normal, the largest of a column at the end of the range. */
static void bench_split(struct check *c, size_t m, size_t n, size_t k) {
    size_t split = eye_i8_split_bytes(k), w_bytes = n / EYE_I8_NR * split, c_bytes = m * n * sizeof(float);
    size_t plain = EYE_I8_NR * k, bytes = w_bytes + c_bytes + n * sizeof(float) + m * k + eye_i8_panel_bytes(k) + plain;
    uint8_t *mem = eye_alloc_zero(NULL, bytes);
    if (!mem) check_fail(c, "no memory");
    float *scale = (float *)(mem + w_bytes + c_bytes);
    uint8_t *x = (uint8_t *)(scale + n), *panel = x + m * k;
    int8_t *w = (int8_t *)panel + eye_i8_panel_bytes(k);
    for (size_t i = 0; i < m * k; i++) x[i] = (uint8_t)check_below(c, 256);
    for (size_t j = 0; j < n; j += EYE_I8_NR) {
        for (size_t i = 0; i < plain; i++) {
            int sum = 0;
            for (size_t t = 0; t < 6; t++) sum += (int)check_below(c, 57) - 28;
            w[i] = (int8_t)EYE_MAX(-127, EYE_MIN(127, sum));
        }
        eye_i8_pack_panel(EYE_I8_NR, k, w, k, panel);
        eye_i8_split_panel(k, panel, mem + j / EYE_I8_NR * split);
    }
    struct eye_gemm_i8_args a = {.m = m, .n = n, .k = k, .a = x, .a_stride = k, .w = mem, .scale = scale,
                                 .bias = scale, .c = (float *)(mem + w_bytes), .c_stride = n};
    char shape[64];
    snprintf(shape, sizeof shape, "m %zu n %zu k %zu", m, n, k);
    report(c, step_gemm_i8, &a, shape, 2.0 * (double)(m * n * k), "GOP/s");
    eye_alloc_free(NULL, mem, bytes);
}
void bench_eye_gemm_i8_split_fn(struct check *c) {
    bench_split(c, 32, 192, 96);
    bench_split(c, 32, 192, 192);
    bench_split(c, 32, 192, 384);
    bench_split(c, 32, 192, 768);
    bench_split(c, 32, 128, 3072);
}
void bench_eye_gemm_i16_fn(struct check *c) { bench_eye_gemm_i8_fn(c); }

static void step_dwconv_u8(const struct check_row *r, void *p) { ((eye_dwconv_u8_fn *)r->fn)(p); }
static void bench_dwconv_u8(struct check *c, uint32_t width, uint32_t channels, uint32_t kernel) { /* two rows, to bytes */
    size_t n_row = (size_t)width * channels, n_w = (size_t)kernel * kernel * channels, floats = n_w + channels + n_row;
    size_t panels = eye_dw_panels_bytes(channels, kernel, kernel), bytes = panels + floats * sizeof(float) + n_row * (kernel + 3);
    uint8_t *all = eye_alloc_zero(NULL, bytes);
    if (!all) check_fail(c, "no memory");
    float *mem = (float *)(void *)(all + panels);
    const uint8_t *rows[8];
    for (uint32_t y = 0; y <= kernel; y++) rows[y] = (const uint8_t *)(mem + floats) + (2 + y) * n_row;
    struct eye_dwconv_u8_args a = {.rows = rows, .w = mem, .panels = all, .scale = mem + n_w, .bias = mem + n_w,
                                   .out = mem + n_w + channels, .q = (uint8_t *)(mem + floats), .q_inv_scale = 1, .n_rows = 2,
                                   .width_in = width, .width_out = width, .channels_in = channels, .mult = 1, .kh = kernel,
                                   .kw = kernel, .stride = 1, .pad_left = kernel / 2};
    char shape[64];
    snprintf(shape, sizeof shape, "%u x %u, %ux%u", width, channels, kernel, kernel);
    report(c, step_dwconv_u8, &a, shape, 4.0 * (double)n_row * kernel * kernel, "GOP/s");
    eye_alloc_free(NULL, all, bytes);
}
void bench_eye_dwconv_u8_fn(struct check *c) {
    bench_dwconv_u8(c, 256, 96, 3);
    bench_dwconv_u8(c, 256, 96, 7);
    bench_dwconv_u8(c, 64, 384, 7);
}

static void step_quant_u8(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_quant_u8_fn *)r->fn)((uint8_t *)v->q, v->a, LEN, 100.0f, 128.0f);
}
static void step_add_u8(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_add_u8_fn *)r->fn)(v->x, (const uint8_t *)v->q, v->a, LEN, 0.01f, 128.0f);
}
static void step_quant_i16(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_quant_i16_fn *)r->fn)((int16_t *)v->h, v->a, LEN, 100.0f, 8191.0f);
}
static void step_add_i16(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_add_i16_fn *)r->fn)(v->x, (const int16_t *)v->h, v->a, LEN, 0.01f);
}
void bench_eye_quant_i16_fn(struct check *c) { bench_vec(c, step_quant_i16, "n 4096", 6.0 * LEN); }
void bench_eye_add_i16_fn(struct check *c) { bench_vec(c, step_add_i16, "n 4096", 10.0 * LEN); }
void bench_eye_gelu_u8_fn(struct check *c) { bench_vec(c, step_quant_u8, "n 4096", 5.0 * LEN); } /* of one type */
void bench_eye_quant_u8_fn(struct check *c) { bench_vec(c, step_quant_u8, "n 4096", 5.0 * LEN); }
void bench_eye_add_u8_fn(struct check *c) { bench_vec(c, step_add_u8, "n 4096", 9.0 * LEN); }

/* ---- training ---- */
static void step_norm_dx(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_norm_dx_fn *)r->fn)(v->x, v->a, v->b, v->b, 256, 1e-6f);
}
static void step_norm_dw(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_norm_dw_fn *)r->fn)(v->x, v->a, v->b, 256, 1e-6f);
}
static void step_softmax_grad(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_softmax_grad_fn *)r->fn)(v->x, v->a, v->b, LEN, 1.0f);
}
static void step_lse(const struct check_row *r, void *p) { ((eye_lse_fn *)r->fn)(((struct vec *)p)->a, LEN, 1.0f); }
static void step_affine(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_affine_fn *)r->fn)(v->x, v->a, 0.5f, v->b, 2.0f, 1.0f, LEN);
}
static void step_reduce(const struct check_row *r, void *p) {
    struct vec *v = p;
    ((eye_reduce_fn *)r->fn)(v->a, v->b, LEN);
}
static void step_dropout(const struct check_row *r, void *p) {
    const struct eye_dropout_args a = {{1, 2}, 1u << 30, 1.5f};
    struct vec *v = p;
    ((eye_dropout_fn *)r->fn)(v->x, v->a, LEN, 0, &a);
}
static void step_adam(const struct check_row *r, void *p) {
    struct vec *v = p;
    const struct eye_adam_args a = {.w = v->x, .m = v->a, .v = v->b, .g = v->a, .grad_scale = 1, .keep = 1, .rest1 = 0.1f,
                                    .beta2 = 1, .step = 1e-3f, .root = 1, .eps = 1e-8f};
    ((eye_adam_fn *)r->fn)(&a, LEN);
}
static void step_sgd(const struct check_row *r, void *p) {
    struct vec *v = p;
    const struct eye_sgd_args a = {.w = v->x, .m = v->b, .g = v->a, .grad_scale = 1e-6f, .momentum = 1, .lr = 1e-6f};
    ((eye_sgd_fn *)r->fn)(&a, LEN);
}
void bench_eye_norm_dx_fn(struct check *c) { bench_vec(c, step_norm_dx, "n 256", 16.0 * 256); }
void bench_eye_norm_dw_fn(struct check *c) { bench_vec(c, step_norm_dw, "n 256", 16.0 * 256); }
void bench_eye_softmax_grad_fn(struct check *c) { bench_vec(c, step_softmax_grad, "n 4096", 12.0 * LEN); }
void bench_eye_lse_fn(struct check *c) { bench_vec(c, step_lse, "n 4096", 4.0 * LEN); }
void bench_eye_affine_fn(struct check *c) { bench_vec(c, step_affine, "n 4096", 12.0 * LEN); }
void bench_eye_reduce_fn(struct check *c) { bench_vec(c, step_reduce, "n 4096", 8.0 * LEN); }
void bench_eye_dropout_fn(struct check *c) { bench_vec(c, step_dropout, "n 4096", 8.0 * LEN); }
void bench_eye_adam_fn(struct check *c) { bench_vec(c, step_adam, "n 4096", 28.0 * LEN); }
void bench_eye_sgd_fn(struct check *c) { bench_vec(c, step_sgd, "n 4096", 20.0 * LEN); }

void bench_eye_peak_fn(struct check *c) {
    eye_peak_fn *fn = (eye_peak_fn *)c->row->fn;
    double best = 0;
    for (int round = 0; round < 20; round++) {
        uint64_t from = eye_now_ns();
        double n = fn(100000, 1.0f);
        best = EYE_MAX(best, 2 * n / (double)EYE_MAX(eye_now_ns() - from, 1));
    }
    printf("%-30s %-28s %8.1f GOP/s\n", c->row->sym, "registers", best);
}
