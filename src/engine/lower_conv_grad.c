/* engine/lower_conv_grad: gradients of convolutions, of their input (dx) and of their weights (dw).
 *
 *   groups 1     products. dx: rows of patches of d (the taps that lead from an input pixel to output pixels) times the
 *                weights turned round; dw: the sum over all output pixels of d times the patch, in parts. 1x1 at stride 1:
 *                d, x and w as they lie.
 *   depthwise    kernels that take one image row; dx at stride 1 is a convolution with the taps reversed. dw: rows are summed
 *                in parts that follow from the shape, added in order.
 *   other groups plain loops: right, not fast */
#include "engine/conv.h"

#include <string.h>

struct back {
    struct eye_conv_shape s;
    const struct eye_gemm_ukr *ukr;
};
struct back_run {
    struct eye_exec *x;
    struct eye_conv_shape s;
    const float *d, *other; /* other: w of dx, x of dw */
    float *y, *taps;        /* taps: in shared scratch; dx: weights [kh][kw][C]; dw: the parts' sums */
    size_t rows, piece;     /* image rows, of x or (dw) of d */
};

/* Shape of n, whose result is dx, or dw. */
static enum eye_status read_back(struct eye_lower *l, const struct eye_node *n, bool dw, struct back *b, struct eye_err *err) {
    const struct eye_value *d = eye_value_at(l->g, n->in[0]), *other = eye_value_at(l->g, n->in[1]);
    const struct eye_value *out = eye_value_at(l->g, n->out);
    EYE_TRY(eye_conv_read(dw ? other : out, dw ? out : other, d, &n->attr, &b->s, err));
    b->ukr = eye_product_ukr(l);
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    return eye_lower_operand(l, n, n->in[1], err);
}

static struct back_run make_run(struct eye_exec *x, const struct eye_step *s) {
    const struct eye_node *n = s->node;
    const struct back *b = s->data;
    return (struct back_run){.x = x, .s = b->s, .d = eye_exec_ptr(x, n->in[0]), .other = eye_exec_ptr(x, n->in[1]),
                             .y = eye_exec_ptr(x, n->out), .taps = (float *)eye_exec_shared(x)};
}

static bool is_simple_depthwise(const struct eye_conv_shape *s) { return eye_conv_is_depthwise(s) && s->o == s->c; }

/* Output row or column that tap u of input position i leads to; -1 = none. */
static inline int64_t leads_to(int64_t i, int64_t u, int64_t pad, int64_t stride, int64_t n_out) {
    int64_t at = i + pad - u;
    return at < 0 || at % stride || at / stride >= n_out ? -1 : at / stride;
}

/* Runs fn over image rows in bands, as the convolution does. */
static enum eye_status run_bands(struct back_run *r, size_t work, eye_task_fn *fn) {
    r->piece = EYE_MIN(eye_exec_piece(r->x, r->rows, 1), 16);
    eye_exec_tasks(r->x, work, eye_ceil_div(r->rows, r->piece), fn, r);
    return EYE_OK;
}

/* ---- dx, dense ---- */

/* Input pixels' rows [kh][kw][O] of d. */
static void back_patches(const void *ctx, size_t row0, size_t n, float *dst) {
    const struct back_run *r = ctx;
    const struct eye_conv_shape *s = &r->s;
    for (size_t i = 0; i < n; i++) {
        int64_t at = (int64_t)(row0 + i), y = at / s->w % s->h, x = at % s->w;
        const float *d = r->d + at / (s->h * s->w) * s->oh * s->ow * s->o;
        for (int64_t tap = 0; tap < s->kh * s->kw; tap++, dst += s->o) {
            int64_t p = leads_to(y, tap / s->kw, s->top, s->stride, s->oh);
            int64_t q = leads_to(x, tap % s->kw, s->left, s->stride, s->ow);
            if (p < 0 || q < 0) memset(dst, 0, (size_t)s->o * sizeof *dst);
            else memcpy(dst, d + (p * s->ow + q) * s->o, (size_t)s->o * sizeof *dst);
        }
    }
}

/* w [O][C][taps] by input channel: [taps][O]. */
static void back_taps(const void *ctx, size_t row0, size_t n, float *dst) {
    const struct back_run *r = ctx;
    size_t taps = (size_t)(r->s.kh * r->s.kw), o = (size_t)r->s.o, c = (size_t)r->s.c;
    for (size_t i = row0; i < row0 + n; i++)
        for (size_t t = 0; t < taps; t++)
            for (size_t k = 0; k < o; k++) *dst++ = r->other[(k * c + i) * taps + t];
}

/* Sizes only. m: input pixels. */
static struct eye_product dx_product(const struct back *b, size_t m) {
    const struct eye_conv_shape *s = &b->s;
    struct eye_product j = {.ukr = b->ukr, .m = m, .n = (size_t)s->c, .k = (size_t)(s->kh * s->kw * s->o)};
    if (eye_conv_is_plain_1x1(s)) {
        j.b.by_k = true;
    } else {
        j.a.rows = back_patches;
        j.b.rows = back_taps;
    }
    return j;
}

static enum eye_status run_dense_dx(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct back_run r = make_run(x, s);
    struct eye_product j = dx_product(s->data, eye_exec_rows(x, s->node->out));
    if (!j.a.rows) j.a.p = r.d;
    j.b.p = r.other;
    j.a.rows_ctx = j.b.rows_ctx = &r;
    j.y = r.y;
    eye_product_run(x, &j);
    return EYE_OK;
}

/* ---- dx, depthwise ---- */

static void depthwise_dx_row(const struct back_run *r, size_t row) {
    const struct eye_conv_shape *s = &r->s;
    const struct eye_kernels *k = &r->x->plan->e->kernels;
    const float *rows[EYE_CONV_KERNEL_ROWS], *d = r->d + (int64_t)row / s->h * s->oh * s->ow * s->o;
    bool reversed = s->stride == 1 && s->left < s->kw;
    for (int64_t u = 0; u < s->kh; u++) {
        int64_t p = leads_to((int64_t)row % s->h, u, s->top, s->stride, s->oh);
        rows[reversed ? s->kh - 1 - u : u] = p < 0 ? NULL : d + p * s->ow * s->o;
    }
    float *out = r->y + (int64_t)row * s->w * s->c;
    if (reversed) {
        struct eye_dwconv_args a = {.rows = rows, .w = r->taps, .out = out, .width_in = (uint32_t)s->ow,
                                    .width_out = (uint32_t)s->w, .channels_in = (uint32_t)s->c, .mult = 1,
                                    .kh = (uint32_t)s->kh, .kw = (uint32_t)s->kw, .stride = 1,
                                    .pad_left = (uint32_t)(s->kw - 1 - s->left)};
        k->dwconv_f32(&a);
        return;
    }
    struct eye_dwconv_back_args a = {.rows = rows, .with = r->taps, .out = out, .width_in = (uint32_t)s->w,
                                     .width_out = (uint32_t)s->ow, .channels = (uint32_t)s->c, .kh = (uint32_t)s->kh,
                                     .kw = (uint32_t)s->kw, .stride = (uint32_t)s->stride, .pad_left = (uint32_t)s->left};
    k->dwconv_dx_f32(&a);
}

static void depthwise_dx_task(void *ctx, int i_task, int i_thread) {
    const struct back_run *r = ctx;
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->rows);
    for (size_t row = first; row < end; row++) depthwise_dx_row(r, row);
}

static enum eye_status run_depthwise_dx(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct back_run r = make_run(x, s);
    size_t taps = (size_t)(r.s.kh * r.s.kw), c = (size_t)r.s.c;
    eye_conv_turn_taps(&r.s, r.other, r.taps);
    for (size_t t = 0; r.s.stride == 1 && r.s.left < r.s.kw && t < taps / 2; t++)
        for (size_t i = 0; i < c; i++) {
            float *a = &r.taps[t * c + i], *b = &r.taps[(taps - 1 - t) * c + i], kept = *a;
            *a = *b;
            *b = kept;
        }
    r.rows = eye_exec_rows(x, s->node->out) / (size_t)r.s.w;
    return run_bands(&r, r.rows * (size_t)(r.s.w * r.s.c * r.s.kh), depthwise_dx_task);
}

/* ---- dx, other groups ---- */

static void grouped_dx_task(void *ctx, int i_task, int i_thread) {
    const struct back_run *r = ctx;
    const struct eye_conv_shape *s = &r->s;
    int64_t cg = s->c / s->groups, og = s->o / s->groups, taps = s->kh * s->kw;
    int64_t first = (int64_t)((size_t)i_task * r->piece), end = EYE_MIN(first + (int64_t)r->piece, (int64_t)r->rows);
    for (int64_t at = first * s->w * s->c; at < end * s->w * s->c; at++) {
        int64_t c = at % s->c, x = at / s->c % s->w, row = at / s->c / s->w;
        const float *d = r->d + row / s->h * s->oh * s->ow * s->o;
        double sum = 0;
        for (int64_t tap = 0; tap < taps; tap++) {
            int64_t p = leads_to(row % s->h, tap / s->kw, s->top, s->stride, s->oh);
            int64_t q = leads_to(x, tap % s->kw, s->left, s->stride, s->ow);
            for (int64_t o = c / cg * og; p >= 0 && q >= 0 && o < (c / cg + 1) * og; o++)
                sum += (double)d[(p * s->ow + q) * s->o + o] * (double)r->other[(o * cg + c % cg) * taps + tap];
        }
        r->y[at] = (float)sum;
    }
}

static enum eye_status run_grouped_dx(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct back_run r = make_run(x, s);
    r.rows = eye_exec_rows(x, s->node->out) / (size_t)r.s.w;
    return run_bands(&r, SIZE_MAX, grouped_dx_task);
}

enum eye_status eye_lower_conv2d_dx(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct back *b = eye_lower_data(l, s, sizeof *b);
    if (!b) return eye_fail_nomem(err, sizeof *b);
    EYE_TRY(read_back(l, n, false, b, err));
    if (b->s.groups == 1) {
        struct eye_product j = dx_product(b, eye_lower_elems(l, n->out) / (size_t)b->s.c);
        eye_lower_product_scratch(l, &j);
        s->run = run_dense_dx;
    } else if (is_simple_depthwise(&b->s)) {
        eye_lower_scratch(l, 0, (size_t)(b->s.kh * b->s.kw * b->s.c) * sizeof(float));
        s->run = run_depthwise_dx;
    } else {
        s->run = run_grouped_dx;
    }
    return EYE_OK;
}

/* ---- dw, dense ---- */

/* Sizes only. k: output pixels. */
static struct eye_product dw_product(const struct back *b, size_t k) {
    const struct eye_conv_shape *s = &b->s;
    struct eye_product j = {.ukr = b->ukr, .m = (size_t)s->o, .n = (size_t)(s->kh * s->kw * s->c), .k = k,
                            .a.by_k = true, .b.by_k = true, .taps = (size_t)(s->kh * s->kw)};
    if (!eye_conv_is_plain_1x1(s)) j.b.rows = eye_conv_patch_rows;
    return j;
}

static enum eye_status run_dense_dw(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct back_run r = make_run(x, s);
    struct eye_conv_patches patches = {&r.s, r.other};
    struct eye_product j = dw_product(s->data, eye_exec_rows(x, s->node->in[0]));
    j.a.p = r.d;
    if (!j.b.rows) j.b.p = r.other;
    j.b.rows_ctx = &patches;
    j.y = r.y;
    eye_product_run(x, &j);
    return EYE_OK;
}

/* ---- dw, depthwise ---- */

#define PART_ROWS 16u
#define PARTS_MAX 16u

static size_t rows_per_part(size_t rows) { return EYE_MAX(eye_ceil_div(rows, PARTS_MAX), PART_ROWS); }

static void depthwise_dw_task(void *ctx, int i_task, int i_thread) {
    const struct back_run *r = ctx;
    const struct eye_conv_shape *s = &r->s;
    const float *rows[EYE_CONV_KERNEL_ROWS];
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->rows);
    size_t n = (size_t)(s->kh * s->kw * s->c);
    struct eye_dwconv_back_args a = {.rows = rows, .out = r->taps + (size_t)i_task * n, .width_in = (uint32_t)s->w,
                                     .width_out = (uint32_t)s->ow, .channels = (uint32_t)s->c, .kh = (uint32_t)s->kh,
                                     .kw = (uint32_t)s->kw, .stride = (uint32_t)s->stride, .pad_left = (uint32_t)s->left};
    memset(a.out, 0, n * sizeof *a.out);
    for (size_t row = first; row < end; row++) {
        eye_conv_rows(s, r->other, row, rows);
        a.with = r->d + (int64_t)row * s->ow * s->o;
        r->x->plan->e->kernels.dwconv_dw_f32(&a);
    }
}

static enum eye_status run_depthwise_dw(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct back_run r = make_run(x, s);
    size_t taps = (size_t)(r.s.kh * r.s.kw), c = (size_t)r.s.c;
    r.rows = eye_exec_rows(x, s->node->in[0]) / (size_t)r.s.ow;
    r.piece = rows_per_part(r.rows);
    size_t parts = eye_ceil_div(r.rows, r.piece);
    eye_exec_tasks(x, r.rows * (size_t)r.s.ow * c * taps, parts, depthwise_dw_task, &r);
    for (size_t i = 0; i < taps * c; i++) {
        double sum = 0;
        for (size_t p = 0; p < parts; p++) sum += (double)r.taps[p * taps * c + i];
        r.y[i % c * taps + i / c] = (float)sum;
    }
    return EYE_OK;
}

/* ---- dw, other groups: a task is an output channel ---- */

static void grouped_dw_task(void *ctx, int i_task, int i_thread) {
    const struct back_run *r = ctx;
    const struct eye_conv_shape *s = &r->s;
    int64_t o = i_task, cg = s->c / s->groups, c0 = o / (s->o / s->groups) * cg, taps = s->kh * s->kw;
    for (int64_t k = 0; k < cg * taps; k++) {
        int64_t u = k % taps / s->kw, v = k % s->kw;
        double sum = 0;
        for (int64_t p = 0; p < (int64_t)r->rows * s->ow; p++) {
            int64_t y = p / s->ow % s->oh * s->stride + u - s->top, x = p % s->ow * s->stride + v - s->left;
            if (y < 0 || y >= s->h || x < 0 || x >= s->w) continue;
            int64_t at = (p / (s->oh * s->ow) * s->h + y) * s->w + x;
            sum += (double)r->d[p * s->o + o] * (double)r->other[at * s->c + c0 + k / taps];
        }
        r->y[o * cg * taps + k] = (float)sum;
    }
}

static enum eye_status run_grouped_dw(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct back_run r = make_run(x, s);
    r.rows = eye_exec_rows(x, s->node->in[0]) / (size_t)r.s.ow;
    eye_exec_tasks(x, SIZE_MAX, (size_t)r.s.o, grouped_dw_task, &r);
    return EYE_OK;
}

enum eye_status eye_lower_conv2d_dw(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct back *b = eye_lower_data(l, s, sizeof *b);
    if (!b) return eye_fail_nomem(err, sizeof *b);
    EYE_TRY(read_back(l, n, true, b, err));
    size_t pixels = eye_lower_elems(l, n->in[0]) / (size_t)b->s.o;
    if (b->s.groups == 1) {
        struct eye_product j = dw_product(b, pixels);
        eye_lower_product_scratch(l, &j);
        s->run = run_dense_dw;
    } else if (is_simple_depthwise(&b->s)) {
        size_t rows = pixels / (size_t)b->s.ow, parts = eye_ceil_div(rows, rows_per_part(rows));
        eye_lower_scratch(l, 0, parts * (size_t)(b->s.kh * b->s.kw * b->s.c) * sizeof(float));
        s->run = run_depthwise_dw;
    } else {
        s->run = run_grouped_dw;
    }
    return EYE_OK;
}
