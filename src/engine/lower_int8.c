/* engine/lower_int8: nodes between edges of bytes: linear, convolutions, and the steps into and out of bytes. The int8 pass
 * (graph/int8.c) has said which values are u8 or i16; results of these nodes are that or f32 as it wants them. Convolutions read
 * u8 only. */
#include <math.h>
#include <string.h>

#include "engine/int8.h"

#define MAX_KERNEL_ROWS 64
#define CALL_ROWS 16 /* output rows of a call at most, where more than one may be */
#define CALL_STRIDE 2
#define LEAST_PIECE 4096
#define SHORT_ROW 16

/* ---- linear ---- */

struct linear {
    struct eye_matrix_i8 w;
    eye_map_fn *act;
};

static struct eye_gemm_i8 linear_job(const struct eye_exec *x, const struct eye_step *s) {
    const struct linear *d = s->data;
    const struct eye_node *n = s->node;
    return (struct eye_gemm_i8){.w = &d->w, .m = eye_exec_rows(x, n->in[0]), .width = eye_exec_width(x, n->out),
                                .x = eye_exec_ptr(x, n->in[0]), .wide = eye_value_at(x->plan->g, n->in[0])->dtype == EYE_I16,
                                .finish = eye_finish_of(x, n, d->act, eye_node_in(n, 3))};
}

static enum eye_status run_linear(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct eye_gemm_i8 j = linear_job(x, s);
    eye_gemm_i8_run(x, &j);
    return EYE_OK;
}

static void linear_rows(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, int i_thread) {
    struct eye_gemm_i8 j = linear_job(x, s);
    eye_gemm_i8_rows(x, &j, row, n, i_thread);
}

static void linear_into(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, float *dst, int i_thread) {
    struct eye_gemm_i8 j = linear_job(x, s);
    j.x = (const uint8_t *)j.x + row * j.w->k * (j.wide ? sizeof(int16_t) : 1);
    j.finish.y = dst;
    eye_gemm_i8_rows(x, &j, 0, n, i_thread);
}

enum eye_status eye_lower_linear_i8(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    eye_val residual = eye_node_in(n, 3);
    struct linear *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    EYE_TRY(eye_lower_matrix_i8(l, n, &d->w, err));
    if (residual != EYE_NONE && !eye_is_bytes(eye_value_at(l->g, residual))) EYE_TRY(eye_lower_operand(l, n, residual, err));
    if (residual != EYE_NONE) eye_lower_in_place(l, n, residual); /* a tile reads its residual before it writes */
    d->act = eye_act_kernel(&l->e->kernels, n->attr.act);
    eye_lower_gemm_i8_scratch(l, &d->w, false);
    s->run = run_linear;
    s->m = eye_lower_fixed_rows(l, n);
    s->rows = linear_rows;
    if (residual == EYE_NONE && !eye_is_bytes(eye_value_at(l->g, n->out))) s->into = linear_into;
    s->unit = EYE_I8_UNIT_ROWS;
    s->weights = eye_matrix_i8_bytes(&d->w);
    return EYE_OK;
}

/* ---- convolutions ---- */

struct conv {
    struct eye_matrix_i8 w;      /* dense */
    size_t taps, panels;         /* depthwise, twice: [kh][kw][O], eye_dw_pack's; blobs */
    size_t scale, bias;          /* [O] */
    eye_map_fn *act;
    int64_t h, w_in, c;          /* input image */
    int64_t oh, ow, o;           /* output image */
    int64_t kh, kw, stride, top, left;
    uint8_t zero;
};
struct conv_run {
    struct eye_exec *x;
    const struct eye_node *n;
    const struct conv *d;
    const uint8_t *in;
    struct eye_finish_i8 finish;
    size_t rows, parts; /* output image rows of all images; tasks */
    size_t first;       /* dense: row 0 is the patch of this output pixel */
    bool straight;      /* depthwise, to bytes and nothing between */
};

/* Patches [kh][kw][C]; what is outside the image is the zero point. A short row is copied as 16 bytes, which what follows writes
 * over (an RGB stem's are 9: a call each would take longer than the products). */
static void make_patch(const struct conv *d, const uint8_t *image, int64_t y0, int64_t x0, uint8_t *dst) {
    const uint8_t *image_end = image + d->h * d->w_in * d->c;
    int64_t first = EYE_MAX(0, -x0), end = EYE_MAX(first, EYE_MIN(d->kw, d->w_in - x0)), n = d->kw * d->c; /* taps inside, along x */
    for (int64_t u = 0; u < d->kh; u++, dst += n) {
        bool inside = y0 + u >= 0 && y0 + u < d->h && end > first;
        const uint8_t *row = image + ((y0 + u) * d->w_in + x0) * d->c; /* of use when inside */
        if (inside && end - first == d->kw && n <= SHORT_ROW && image_end - row >= SHORT_ROW) {
            memcpy(dst, row, SHORT_ROW);
            continue;
        }
        if (!inside || end - first < d->kw) memset(dst, d->zero, (size_t)n);
        if (inside) memcpy(dst + first * d->c, row + first * d->c, (size_t)((end - first) * d->c));
    }
}

/* How many outputs of a row, from x0 on (the first one's left column in the image), have all their columns inside it and all of
 * SHORT_ROW bytes from each kernel row on inside the images. */
static int64_t inner_patches(const struct conv *d, int64_t y0, int64_t x0, int64_t n) {
    if (y0 < 0 || y0 + d->kh > d->h || x0 < 0 || d->kw * d->c > SHORT_ROW) return 0;
    int64_t last = EYE_MIN(d->w_in - d->kw, d->w_in - 1 - (SHORT_ROW - 1) / d->c); /* column */
    return x0 > last ? 0 : EYE_MIN(n, (last - x0) / d->stride + 1);
}

/* No divisions, no tests and no calls per patch: a stem has many of little work. */
static void make_inner_patches(const struct conv *d, const uint8_t *src, int64_t n, uint8_t *dst) {
    const int64_t k = d->kw * d->c, step = d->stride * d->c, row = d->w_in * d->c, kh = d->kh;
    for (; n-- > 0; src += step)
        for (int64_t u = 0; u < kh; u++, dst += k) memcpy(dst, src + u * row, SHORT_ROW);
}

static void make_patches(const void *ctx, size_t row0, size_t n_rows, uint8_t *dst) {
    const struct conv_run *r = ctx;
    const struct conv *d = r->d;
    row0 += r->first;
    int64_t map = d->oh * d->ow, i = (int64_t)row0 / map, y = (int64_t)row0 % map / d->ow, x = (int64_t)row0 % d->ow;
    for (int64_t n = (int64_t)n_rows, bytes = d->kh * d->kw * d->c; n > 0;) {
        const uint8_t *image = r->in + i * d->h * d->w_in * d->c;
        int64_t y0 = y * d->stride - d->top, x0 = x * d->stride - d->left;
        int64_t inner = inner_patches(d, y0, x0, EYE_MIN(n, d->ow - x)), done = EYE_MAX(inner, 1);
        if (inner) make_inner_patches(d, image + (y0 * d->w_in + x0) * d->c, inner, dst);
        else make_patch(d, image, y0, x0, dst);
        n -= done, x += done, dst += done * bytes;
        if (x < d->ow) continue;
        x = 0;
        if (++y < d->oh) continue;
        y = 0;
        i++;
    }
}

static struct eye_gemm_i8 dense_job(struct eye_exec *x, const struct eye_step *s, struct conv_run *r) {
    const struct conv *d = s->data;
    const struct eye_node *n = s->node;
    *r = (struct conv_run){.x = x, .d = d, .in = eye_exec_ptr(x, n->in[0])};
    return (struct eye_gemm_i8){.w = &d->w, .m = eye_exec_rows(x, n->out), .width = eye_exec_width(x, n->out),
                                .rows = make_patches, .rows_ctx = r, .finish = eye_finish_of(x, n, d->act, EYE_NONE)};
}

static enum eye_status run_dense(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct conv_run r;
    struct eye_gemm_i8 j = dense_job(x, s, &r);
    eye_gemm_i8_run(x, &j);
    return EYE_OK;
}

static void dense_rows(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, int i_thread) {
    struct conv_run r;
    struct eye_gemm_i8 j = dense_job(x, s, &r);
    eye_gemm_i8_rows(x, &j, row, n, i_thread);
}

static void dense_into(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, float *dst, int i_thread) {
    struct conv_run r;
    struct eye_gemm_i8 j = dense_job(x, s, &r);
    r.first = row;
    j.finish.y = dst;
    eye_gemm_i8_rows(x, &j, 0, n, i_thread);
}

/* Rows [row, row + n) of one image. */
static void depthwise_call(const struct conv_run *r, size_t row, size_t n, float *out) {
    const struct conv *d = r->d;
    const struct eye_plan *p = r->x->plan;
    const uint8_t *rows[MAX_KERNEL_ROWS + CALL_ROWS * CALL_STRIDE], *image = r->in + (int64_t)row / d->oh * d->h * d->w_in * d->c;
    const struct eye_quant *q = &r->finish.quant;
    size_t size = (size_t)(d->ow * d->o);
    int64_t y0 = (int64_t)row % d->oh * d->stride - d->top, n_in = ((int64_t)n - 1) * d->stride + d->kh;
    for (int64_t u = 0; u < n_in; u++) rows[u] = y0 + u >= 0 && y0 + u < d->h ? image + (y0 + u) * d->w_in * d->c : NULL;
    struct eye_dwconv_u8_args a = {
        .rows = rows, .w = eye_blob_ptr(p, d->taps), .panels = eye_blob_ptr(p, d->panels), .scale = eye_blob_ptr(p, d->scale),
        .bias = eye_blob_ptr(p, d->bias), .out = out, .zero = (float)d->zero, .n_rows = (uint32_t)n, .width_in = (uint32_t)d->w_in,
        .width_out = (uint32_t)d->ow, .channels_in = (uint32_t)d->c, .mult = (uint32_t)(d->o / d->c), .kh = (uint32_t)d->kh,
        .kw = (uint32_t)d->kw, .stride = (uint32_t)d->stride, .pad_left = (uint32_t)d->left};
    if (r->straight) a.q = (uint8_t *)r->finish.y + row * size, a.q_inv_scale = 1.0f / q->scale, a.q_zero = (float)q->zero;
    p->e->kernels.dwconv_u8(&a);
    if (!r->straight) eye_finish_i8(r->x, &r->finish, out, row, size, 0, size);
}

/* Several rows at a time where the kernel leaves bytes: some share work between two, and fetch the next ones' input. */
static void depthwise_band(const struct conv_run *r, size_t row, size_t end, int i_thread) {
    size_t oh = (size_t)r->d->oh, n;
    for (; row < end; row += n) {
        n = r->straight && r->d->stride <= CALL_STRIDE ? EYE_MIN(EYE_MIN(end, row - row % oh + oh) - row, CALL_ROWS) : 1;
        depthwise_call(r, row, n, (float *)eye_exec_thread(r->x, i_thread));
    }
}

static void depthwise_task(void *ctx, int i_task, int i_thread) {
    const struct conv_run *r = ctx;
    size_t row = eye_part(r->rows, r->parts, (size_t)i_task);
    depthwise_band(r, row, eye_part(r->rows, r->parts, (size_t)i_task + 1), i_thread);
}

static struct conv_run make_bands(struct eye_exec *x, const struct eye_step *s) {
    const struct conv *d = s->data;
    const struct eye_node *n = s->node;
    struct conv_run r = {.x = x, .d = d, .in = eye_exec_ptr(x, n->in[0]), .finish = eye_finish_of(x, n, d->act, EYE_NONE)};
    r.straight = !r.finish.act && r.finish.quant.scale > 0 && !r.finish.quant.wide;
    return r;
}

static void depthwise_rows(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, int i_thread) {
    struct conv_run r = make_bands(x, s);
    depthwise_band(&r, row / (size_t)r.d->ow, (row + n) / (size_t)r.d->ow, i_thread);
}

static enum eye_status run_depthwise(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct conv *d = s->data;
    const struct eye_node *n = s->node;
    struct conv_run r = make_bands(x, s);
    r.rows = eye_exec_rows(x, n->out) / (size_t)d->ow;
    r.parts = eye_exec_parts(x, r.rows, 16); /* neighbouring rows share kh - 1 input rows in the cache */
    eye_exec_tasks(x, r.rows * (size_t)(d->ow * d->o * d->kh), r.parts, depthwise_task, &r);
    return EYE_OK;
}

struct taps_ctx {
    const struct eye_value *w; /* [O,1,kh,kw] int8 */
};

/* [O][taps] -> [taps][O], as numbers */
static void fill_taps(const struct eye_packer *p, void *dst, const void *ctx) {
    const struct eye_value *w = ((const struct taps_ctx *)ctx)->w;
    size_t taps = (size_t)(w->dims[2] * w->dims[3]), n = (size_t)w->dims[0];
    float *out = dst;
    for (size_t o = 0; o < n; o++)
        for (size_t t = 0; t < taps; t++) out[t * n + o] = (float)((const int8_t *)w->data)[o * taps + t];
}

static void fill_quads(const struct eye_packer *p, void *dst, const void *ctx) {
    const struct eye_value *w = ((const struct taps_ctx *)ctx)->w;
    eye_dw_pack((size_t)w->dims[0], (size_t)w->dims[2], (size_t)w->dims[3], w->data, dst);
}

enum eye_status eye_lower_conv2d_i8(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    const struct eye_value *x = eye_value_at(l->g, n->in[0]), *w = eye_value_at(l->g, n->in[1]);
    const struct eye_value *y = eye_value_at(l->g, n->out);
    const struct eye_attr *a = &n->attr;
    struct conv *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    *d = (struct conv){.h = x->dims[1], .w_in = x->dims[2], .c = x->dims[3],
                       .oh = y->dims[1], .ow = y->dims[2], .o = y->dims[3],
                       .kh = w->dims[2], .kw = w->dims[3], .stride = a->stride, .top = a->pad_top, .left = a->pad_left,
                       .zero = (uint8_t)x->quant.zero, .act = eye_act_kernel(&l->e->kernels, a->act)};
    if (d->h < 0 || d->w_in < 0) return eye_fail(err, EYE_E_UNSUPPORTED, "engine: conv2d of an image whose size is symbolic");
    if (a->groups == 1) {
        s->run = run_dense;
        EYE_TRY(eye_lower_matrix_i8(l, n, &d->w, err));
        eye_lower_gemm_i8_scratch(l, &d->w, true);
        s->rows = dense_rows;
        if (!eye_is_bytes(y)) s->into = dense_into;
        s->heads = true;
        s->m = y->dims[0] > 0 ? eye_lower_elems(l, n->out) / (size_t)d->o : 0;
        s->unit = EYE_I8_UNIT_ROWS;
        s->weights = eye_matrix_i8_bytes(&d->w);
        return EYE_OK;
    }
    struct taps_ctx ctx = {w};
    EYE_TRY(eye_lower_want_weight(l, n, n->in[1], err));
    s->run = run_depthwise;
    s->rows = depthwise_rows;
    s->heads = true;
    s->m = eye_dim(l->g, n->out, 0) > 0 ? eye_lower_elems(l, n->out) / (size_t)d->o : 0;
    s->unit = s->whole = (size_t)d->ow;
    size_t taps = (size_t)(d->kh * d->kw * d->o);
    EYE_TRY(eye_lower_cost(l, n, EYE_COST_F32, (double)taps, taps * sizeof(float), err));
    eye_lower_scratch(l, (size_t)(d->ow * d->o) * sizeof(float), 0);
    EYE_TRY(eye_lower_scales_i8(l, n, false, &d->scale, &d->bias, err));
    size_t bytes = eye_dw_panels_bytes((size_t)d->o, (size_t)d->kh, (size_t)d->kw);
    EYE_TRY(eye_lower_blob(l, bytes, fill_quads, &ctx, sizeof ctx, 0, &d->panels, err));
    return eye_lower_blob(l, taps * sizeof(float), fill_taps, &ctx, sizeof ctx, 0, &d->taps, err);
}

/* ---- into and out of bytes ---- */

struct cast_run {
    const struct eye_kernels *k;
    const void *in;
    void *out;
    struct eye_quant quant;
    size_t n, piece;
    bool to_bytes;
};

static void cast(const struct cast_run *r, size_t at, size_t n) {
    if (r->to_bytes) eye_to_bytes(r->k, &r->quant, r->out, at, (const float *)r->in + at, n);
    else eye_add_bytes(r->k, &r->quant, (float *)r->out + at, r->in, at, NULL, n);
}

static void cast_task(void *ctx, int i_task, int i_thread) {
    const struct cast_run *r = ctx;
    size_t at = (size_t)i_task * r->piece;
    cast(r, at, EYE_MIN(r->piece, r->n - at));
}

static struct cast_run make_cast(struct eye_exec *x, const struct eye_step *s) {
    const struct eye_node *n = s->node;
    bool to_bytes = n->op == EYE_OP_quantize;
    return (struct cast_run){.k = &x->plan->e->kernels, .in = eye_exec_ptr(x, n->in[0]), .out = eye_exec_ptr(x, n->out),
                             .quant = eye_value_at(x->plan->g, to_bytes ? n->out : n->in[0])->quant, .to_bytes = to_bytes,
                             .n = eye_exec_elems(x, n->out)};
}

static void cast_rows(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, int i_thread) {
    struct cast_run r = make_cast(x, s);
    size_t c = r.n / s->m;
    cast(&r, row * c, n * c);
}

static enum eye_status run_cast(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct cast_run r = make_cast(x, s);
    r.piece = EYE_ALIGN_UP(eye_exec_piece(x, r.n, LEAST_PIECE), 64);
    eye_exec_tasks(x, r.n, eye_ceil_div(r.n, r.piece), cast_task, &r);
    return EYE_OK;
}

enum eye_status eye_lower_quantize(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    s->run = run_cast;
    s->rows = cast_rows;
    s->m = eye_lower_fixed_rows(l, n);
    s->unit = 1;
    return EYE_OK;
}

enum eye_status eye_lower_dequantize(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    if (!eye_lower_reads_bytes(l, n)) return eye_fail(err, EYE_E_UNSUPPORTED, "engine: dequantize wants bytes");
    s->run = run_cast;
    s->rows = cast_rows;
    s->m = eye_lower_fixed_rows(l, n);
    s->unit = 1;
    return EYE_OK;
}
