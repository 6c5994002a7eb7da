/* engine/lower_conv: convolutions on [N,H,W,C].
 *
 *   groups 1                       rows of patches ([kh][kw][C], made a panel at a time) into the GEMM driver; never a whole
 *                                  im2col matrix. A 1x1 at stride 1 reads x as it is.
 *   depthwise, multiplier 1 or 2   the dwconv kernel, a task being a band of output rows
 *   other groups                   plain loops: right, not fast; no family of ours has one */
#include "engine/engine_impl.h"

#include <string.h>

#define MAX_KERNEL_ROWS 64

struct conv {
    struct eye_matrix w;         /* dense */
    size_t weights, bias;        /* depthwise [kh][kw][O]; grouped [O][C/g][kh][kw]; blobs */
    eye_map_fn *act;
    int64_t h, w_in, c;          /* input image */
    int64_t oh, ow, o;           /* output image */
    int64_t kh, kw, stride, top, left, groups;
};
struct conv_run {
    struct eye_exec *x;
    const struct conv *d;
    const float *in;
    float *y;
    size_t rows, piece; /* output image rows of all images; per task */
};

/* ---- dense ---- */

/* One patch: dst [kh][kw][C], zeros outside the image. */
static void make_patch(const struct conv *d, const float *image, int64_t y0, int64_t x0, float *dst) {
    int64_t row = d->kw * d->c;
    int64_t v0 = EYE_MAX(0, -x0), v1 = EYE_MAX(v0, EYE_MIN(d->kw, d->w_in - x0)); /* taps inside, along x */
    for (int64_t u = 0; u < d->kh; u++, dst += row) {
        int64_t y = y0 + u;
        if (y < 0 || y >= d->h || v0 >= v1) {
            memset(dst, 0, (size_t)row * sizeof *dst);
            continue;
        }
        if (v0 > 0) memset(dst, 0, (size_t)(v0 * d->c) * sizeof *dst);
        memcpy(dst + v0 * d->c, image + (y * d->w_in + x0 + v0) * d->c, (size_t)((v1 - v0) * d->c) * sizeof *dst);
        if (v1 < d->kw) memset(dst + v1 * d->c, 0, (size_t)((d->kw - v1) * d->c) * sizeof *dst);
    }
}

static void make_patches(const void *ctx, size_t row0, size_t n, float *dst) {
    const struct conv_run *r = ctx;
    const struct conv *d = r->d;
    for (size_t i = 0; i < n; i++, dst += d->w.k) {
        int64_t at = (int64_t)(row0 + i), image = at / (d->oh * d->ow), p = at % (d->oh * d->ow);
        make_patch(d, r->in + image * d->h * d->w_in * d->c, p / d->ow * d->stride - d->top, p % d->ow * d->stride - d->left,
                   dst);
    }
}

static bool is_plain_1x1(const struct conv *d) {
    return d->kh == 1 && d->kw == 1 && d->stride == 1 && d->oh == d->h && d->ow == d->w_in && d->top == 0 && d->left == 0;
}

static enum eye_status run_dense(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct conv *d = s->data;
    struct conv_run r = {.x = x, .d = d, .in = eye_exec_ptr(x, s->node->in[0])};
    struct eye_gemm j = {.w = &d->w, .m = eye_exec_rows(x, s->node->out), .y = eye_exec_ptr(x, s->node->out), .act = d->act};
    if (is_plain_1x1(d)) {
        j.x = r.in;
    } else {
        j.rows = make_patches;
        j.rows_ctx = &r;
    }
    eye_gemm_run(x, &j);
    return EYE_OK;
}

/* ---- depthwise ---- */

static void depthwise_row(const struct conv_run *r, size_t row) {
    const struct conv *d = r->d;
    const float *rows[MAX_KERNEL_ROWS];
    const float *image = r->in + (int64_t)row / d->oh * d->h * d->w_in * d->c;
    int64_t y0 = (int64_t)row % d->oh * d->stride - d->top;
    for (int64_t u = 0; u < d->kh; u++) rows[u] = y0 + u >= 0 && y0 + u < d->h ? image + (y0 + u) * d->w_in * d->c : NULL;
    float *out = r->y + (int64_t)row * d->ow * d->o;
    struct eye_dwconv_args a = {.rows = rows, .w = eye_blob_ptr(r->x->plan, d->weights),
                                .bias = eye_blob_ptr(r->x->plan, d->bias), .out = out, .width_in = (uint32_t)d->w_in,
                                .width_out = (uint32_t)d->ow, .channels_in = (uint32_t)d->c,
                                .mult = (uint32_t)(d->o / d->c), .kh = (uint32_t)d->kh, .kw = (uint32_t)d->kw,
                                .stride = (uint32_t)d->stride, .pad_left = (uint32_t)d->left};
    r->x->plan->e->kernels.dwconv_f32(&a);
    if (d->act) d->act(out, out, (size_t)(d->ow * d->o));
}

static void depthwise_task(void *ctx, int i_task, int i_thread) {
    const struct conv_run *r = ctx;
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->rows);
    for (size_t row = first; row < end; row++) depthwise_row(r, row);
}

/* ---- other groups ---- */

static float grouped_value(const struct conv *d, const float *image, const float *w, int64_t i, int64_t j, int64_t o,
                           float start) {
    int64_t cg = d->c / d->groups, c0 = o / (d->o / d->groups) * cg;
    for (int64_t ch = 0; ch < cg; ch++)
        for (int64_t u = 0; u < d->kh; u++)
            for (int64_t v = 0; v < d->kw; v++) {
                int64_t y = i * d->stride + u - d->top, x = j * d->stride + v - d->left;
                if (y < 0 || y >= d->h || x < 0 || x >= d->w_in) continue;
                start += w[((o * cg + ch) * d->kh + u) * d->kw + v] * image[(y * d->w_in + x) * d->c + c0 + ch];
            }
    return start;
}

static void grouped_task(void *ctx, int i_task, int i_thread) {
    const struct conv_run *r = ctx;
    const struct conv *d = r->d;
    const float *w = eye_blob_ptr(r->x->plan, d->weights), *bias = eye_blob_ptr(r->x->plan, d->bias);
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, r->rows);
    for (size_t row = first; row < end; row++) {
        const float *image = r->in + (int64_t)row / d->oh * d->h * d->w_in * d->c;
        float *out = r->y + (int64_t)row * d->ow * d->o;
        for (int64_t j = 0; j < d->ow; j++)
            for (int64_t o = 0; o < d->o; o++)
                out[j * d->o + o] = grouped_value(d, image, w, (int64_t)row % d->oh, j, o, bias ? bias[o] : 0.0f);
        if (d->act) d->act(out, out, (size_t)(d->ow * d->o));
    }
}

static enum eye_status run_bands(struct eye_exec *x, const struct eye_step *s, eye_task_fn *fn) {
    const struct conv *d = s->data;
    struct conv_run r = {.x = x, .d = d, .in = eye_exec_ptr(x, s->node->in[0]), .y = eye_exec_ptr(x, s->node->out)};
    r.rows = eye_exec_rows(x, s->node->out) / (size_t)d->ow;
    r.piece = EYE_MIN(eye_exec_piece(x, r.rows, 1), 16); /* neighbouring rows share kh - 1 input rows in the cache */
    eye_exec_tasks(x, r.rows * (size_t)(d->ow * d->o * d->kh), eye_ceil_div(r.rows, r.piece), fn, &r);
    return EYE_OK;
}

static enum eye_status run_depthwise(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_bands(x, s, depthwise_task);
}
static enum eye_status run_grouped(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_bands(x, s, grouped_task);
}

/* ---- planning ---- */

struct taps_ctx {
    const struct eye_value *w; /* [O,1,kh,kw] */
};

/* [O][taps] -> [taps][O] */
static void fill_depthwise(const struct eye_packer *p, void *dst, const void *ctx) {
    const struct eye_value *w = ((const struct taps_ctx *)ctx)->w;
    size_t taps = (size_t)(w->dims[2] * w->dims[3]), n = (size_t)w->dims[0];
    float *row = (float *)p->scratch, *out = dst;
    for (size_t o = 0; o < n; o++) {
        eye_weight_row(w, (int64_t)o, row);
        for (size_t t = 0; t < taps; t++) out[t * n + o] = row[t];
    }
}

static enum eye_status lower_depthwise(struct eye_lower *l, const struct eye_node *n, struct conv *d, struct eye_err *err) {
    struct taps_ctx ctx = {eye_value_at(l->g, n->in[1])};
    size_t taps = (size_t)(d->kh * d->kw) * sizeof(float);
    EYE_TRY(eye_lower_want_weight(l, n, n->in[1], err));
    EYE_TRY(eye_lower_vector(l, n, eye_node_in(n, 2), &d->bias, err));
    return eye_lower_blob(l, taps * (size_t)d->o, fill_depthwise, &ctx, sizeof ctx, taps, &d->weights, err);
}

static void read_shape(struct eye_lower *l, const struct eye_node *n, struct conv *d) {
    const struct eye_value *x = eye_value_at(l->g, n->in[0]), *w = eye_value_at(l->g, n->in[1]);
    const struct eye_value *y = eye_value_at(l->g, n->out);
    const struct eye_attr *a = &n->attr;
    d->h = x->dims[1], d->w_in = x->dims[2], d->c = x->dims[3];
    d->oh = y->dims[1], d->ow = y->dims[2], d->o = y->dims[3];
    d->kh = w->dims[2], d->kw = w->dims[3];
    d->stride = a->stride, d->top = a->pad_top, d->left = a->pad_left, d->groups = a->groups;
    d->act = eye_act_kernel(&l->e->kernels, a->act);
}

enum eye_status eye_lower_conv2d(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct conv *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    read_shape(l, n, d);
    if (d->h < 0 || d->w_in < 0) return eye_fail(err, EYE_E_UNSUPPORTED, "engine: conv2d of an image whose size is symbolic");
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    if (d->groups == 1) {
        EYE_TRY(eye_lower_matrix(l, n, n->in[1], eye_node_in(n, 2), n->attr.wtype, true, &d->w, err));
        eye_lower_gemm_scratch(l, &d->w, eye_lower_elems(l, n->out) / (size_t)d->o, !is_plain_1x1(d));
        s->run = run_dense;
        return EYE_OK;
    }
    if (d->groups == d->c && (d->o == d->c || d->o == 2 * d->c) && d->kh <= MAX_KERNEL_ROWS) {
        s->run = run_depthwise;
        return lower_depthwise(l, n, d, err);
    }
    s->run = run_grouped;
    EYE_TRY(eye_lower_vector(l, n, n->in[1], &d->weights, err));
    return eye_lower_vector(l, n, eye_node_in(n, 2), &d->bias, err);
}
