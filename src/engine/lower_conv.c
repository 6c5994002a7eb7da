/* engine/lower_conv: convolutions on [N,H,W,C].
 *
 *   groups 1                       rows of patches ([kh][kw][C], made a panel at a time) into the GEMM driver; never a whole
 *                                  im2col matrix. A 1x1 at stride 1 reads x as it is.
 *   depthwise, multiplier 1 or 2   the dwconv kernel, a task being a band of output rows
 *   other groups                   plain loops: right, not fast; no family of ours has one
 *
 * Weights that change between runs are packed by the product (dense) or turned (depthwise) when the step runs. */
#include "engine/conv.h"
#include "engine/int8.h"

#include <string.h>

#define PARTS 2u     /* of rows for each thread: what another thread has taken costs more in the next step than waiting for it */
#define COLD_BYTES ((size_t)4 << 20) /* of a map: a core's own cache does not hold it */
#define FLOATS_PER_LINE (EYE_CACHE_LINE / sizeof(float))
#define HALF_ROWS 16 /* output rows of a call in bf16 at most: they share pairs of input rows */

struct conv {
    struct eye_conv_shape s;
    struct eye_matrix w;            /* dense, packed when planned */
    const struct eye_gemm_ukr *ukr; /* dense, packed when run: w is not used; else NULL */
    size_t weights;                 /* depthwise [kh][kw][O]: blob; EYE_NO_BLOB: turned when run */
    bool half;                      /* depthwise, in bf16 */
    eye_map_fn *act;
};
struct conv_run {
    struct eye_exec *x;
    const struct conv *d;
    const float *in, *w, *bias;
    float *y;
    struct eye_finish_i8 finish; /* depthwise, where y is bytes */
    size_t rows, parts; /* output image rows of all images; tasks */
    bool cold;          /* maps come from behind a core's own cache */
    const struct eye_window *window; /* depthwise: holds the input's lines; or NULL */
    const struct eye_cut *packed;    /* depthwise in bf16: y is a left side, each thread's rows by themselves; or NULL */
};

/* ---- shapes and patches ---- */

enum eye_status eye_conv_read(const struct eye_value *x, const struct eye_value *w, const struct eye_value *y,
                              const struct eye_attr *a, struct eye_conv_shape *s, struct eye_err *err) {
    *s = (struct eye_conv_shape){x->dims[1], x->dims[2], x->dims[3], y->dims[1], y->dims[2], y->dims[3], w->dims[2], w->dims[3],
                                 a->stride, a->pad_top, a->pad_left, a->groups};
    if (s->h < 0 || s->w < 0) return eye_fail(err, EYE_E_UNSUPPORTED, "engine: conv2d of an image whose size is symbolic");
    return EYE_OK;
}

bool eye_conv_is_plain_1x1(const struct eye_conv_shape *s) {
    return s->kh == 1 && s->kw == 1 && s->stride == 1 && s->oh == s->h && s->ow == s->w && s->top == 0 && s->left == 0;
}

static void make_patch(const struct eye_conv_shape *s, const float *image, int64_t y0, int64_t x0, float *dst) {
    int64_t row = s->kw * s->c;
    int64_t v0 = EYE_MAX(0, -x0), v1 = EYE_MAX(v0, EYE_MIN(s->kw, s->w - x0)); /* taps inside, along x */
    for (int64_t u = 0; u < s->kh; u++, dst += row) {
        int64_t y = y0 + u;
        if (y < 0 || y >= s->h || v0 >= v1) {
            memset(dst, 0, (size_t)row * sizeof *dst);
            continue;
        }
        if (row >= 8 && row <= 16 && v1 - v0 == s->kw) { /* an RGB stem's 9: a call each would take longer than the products */
            const float *src = image + (y * s->w + x0) * s->c;
            memcpy(dst, src, 8 * sizeof *dst);
            memcpy(dst + row - 8, src + row - 8, 8 * sizeof *dst);
            continue;
        }
        if (v0 > 0) memset(dst, 0, (size_t)(v0 * s->c) * sizeof *dst);
        memcpy(dst + v0 * s->c, image + (y * s->w + x0 + v0) * s->c, (size_t)((v1 - v0) * s->c) * sizeof *dst);
        if (v1 < s->kw) memset(dst + v1 * s->c, 0, (size_t)((s->kw - v1) * s->c) * sizeof *dst);
    }
}

void eye_conv_patch_rows(const void *ctx, size_t row0, size_t n, float *dst) {
    const struct eye_conv_patches *p = ctx;
    const struct eye_conv_shape *s = p->s;
    row0 += p->first;
    int64_t map = s->oh * s->ow, image = (int64_t)row0 / map, y = (int64_t)row0 % map / s->ow, x = (int64_t)row0 % s->ow;
    for (; n-- > 0; dst += s->kh * s->kw * s->c) { /* no divisions in here: a stem has many rows of little work */
        make_patch(s, p->images + image * s->h * s->w * s->c, y * s->stride - s->top, x * s->stride - s->left, dst);
        if (++x < s->ow) continue;
        x = 0;
        if (++y < s->oh) continue;
        y = 0;
        image++;
    }
}

/* ---- dense ---- */

static struct eye_gemm dense_job(const struct eye_exec *x, const struct eye_step *s, struct eye_conv_patches *patches) {
    const struct conv *d = s->data;
    eye_val y = s->node->out;
    struct eye_gemm j = {.w = &d->w, .m = eye_exec_rows(x, y), .width = eye_exec_width(x, y), .y = eye_exec_ptr(x, y),
                         .act = d->act};
    *patches = (struct eye_conv_patches){.s = &d->s, .images = eye_exec_ptr(x, s->node->in[0])};
    if (eye_conv_is_plain_1x1(&d->s)) {
        j.x = patches->images;
    } else {
        j.rows = eye_conv_patch_rows;
        j.rows_ctx = patches;
    }
    return j;
}

static enum eye_status run_dense(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct eye_conv_patches patches;
    struct eye_gemm j = dense_job(x, s, &patches);
    eye_gemm_run(x, &j);
    return EYE_OK;
}

static void dense_rows(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, int i_thread) {
    struct eye_conv_patches patches;
    struct eye_gemm j = dense_job(x, s, &patches);
    eye_gemm_rows(x, &j, row, n, i_thread);
}

static void dense_into(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, float *dst, int i_thread) {
    struct eye_conv_patches patches;
    struct eye_gemm j = dense_job(x, s, &patches);
    if (j.x) j.x += row * j.w->k;
    patches.first = row;
    j.y = dst;
    eye_gemm_rows(x, &j, 0, n, i_thread);
}

/* Rows of w [O][C][taps] as [O][taps][C]: the patches' order. */
static void tap_rows(const void *ctx, size_t row0, size_t n, float *dst) {
    const struct conv_run *r = ctx;
    size_t c = (size_t)r->d->s.c, taps = (size_t)(r->d->s.kh * r->d->s.kw);
    const float *w = r->w + row0 * c * taps;
    for (size_t i = 0; i < n; i++, dst += c * taps, w += c * taps)
        for (size_t k = 0; k < c * taps; k++) dst[k % taps * c + k / taps] = w[k];
}

/* Sizes only; run_live_dense adds the pointers. m: output pixels. */
static struct eye_product live_product(const struct conv *d, size_t m) {
    const struct eye_conv_shape *s = &d->s;
    struct eye_product j = {.ukr = d->ukr, .m = m, .n = (size_t)s->o, .k = (size_t)(s->kh * s->kw * s->c), .act = d->act};
    if (!eye_conv_is_plain_1x1(s)) j.a.rows = eye_conv_patch_rows;
    if (s->kh * s->kw > 1) j.b.rows = tap_rows;
    return j;
}

static enum eye_status run_live_dense(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct conv *d = s->data;
    const eye_val *in = s->node->in;
    struct eye_conv_patches patches = {&d->s, eye_exec_ptr(x, in[0])};
    struct conv_run r = {.d = d, .w = eye_exec_ptr(x, in[1])};
    struct eye_product j = live_product(d, eye_exec_rows(x, s->node->out));
    if (!j.a.rows) j.a.p = patches.images;
    j.a.rows_ctx = &patches;
    j.b.p = r.w;
    j.b.rows_ctx = &r;
    j.bias = eye_exec_ptr(x, eye_node_in(s->node, 2));
    j.y = eye_exec_ptr(x, s->node->out);
    eye_product_run(x, &j);
    return EYE_OK;
}

/* ---- depthwise ---- */

void eye_conv_rows(const struct eye_conv_shape *s, const float *images, size_t row, const float **rows) {
    const float *image = images + (int64_t)row / s->oh * s->h * s->w * s->c;
    int64_t y0 = (int64_t)row % s->oh * s->stride - s->top;
    for (int64_t u = 0; u < s->kh; u++) rows[u] = y0 + u >= 0 && y0 + u < s->h ? image + (y0 + u) * s->w * s->c : NULL;
}

void eye_conv_turn_taps(const struct eye_conv_shape *s, const float *w, float *dst) {
    size_t taps = (size_t)(s->kh * s->kw), n = (size_t)s->o;
    for (size_t o = 0; o < n; o++)
        for (size_t t = 0; t < taps; t++) dst[t * n + o] = w[o * taps + t];
}

static void window_rows(const struct eye_conv_shape *s, const struct eye_window *w, size_t row, const float **rows) {
    int64_t y0 = (int64_t)row * s->stride - s->top;
    for (int64_t u = 0; u < s->kh; u++)
        rows[u] = y0 + u >= 0 && y0 + u < s->h ? w->p + ((size_t)(y0 + u) - w->first) % w->n_lines * w->line : NULL;
}

static void depthwise_row(const struct conv_run *r, size_t row, float *scratch) {
    const struct eye_conv_shape *d = &r->d->s;
    const float *rows[EYE_CONV_KERNEL_ROWS];
    size_t n = (size_t)(d->ow * d->o);
    if (r->window) window_rows(d, r->window, row, rows);
    else eye_conv_rows(d, r->in, row, rows);
    float *out = r->finish.y ? scratch : r->y + row * n;
    struct eye_dwconv_args a = {.rows = rows, .w = r->w, .bias = r->bias, .out = out, .width_in = (uint32_t)d->w,
                                .width_out = (uint32_t)d->ow, .channels_in = (uint32_t)d->c,
                                .mult = (uint32_t)(d->o / d->c), .kh = (uint32_t)d->kh, .kw = (uint32_t)d->kw,
                                .stride = (uint32_t)d->stride, .pad_left = (uint32_t)d->left};
    r->x->plan->e->kernels.dwconv_f32(&a);
    if (r->finish.y) eye_finish_i8(r->x, &r->finish, out, row, n, 0, n);
    else if (r->d->act) r->d->act(out, out, n);
}

/* n output rows of one image; share: theirs, where y is a left side. */
static void depthwise_call_bf16(const struct conv_run *r, size_t row, size_t n, const struct eye_share *share) {
    const struct eye_conv_shape *d = &r->d->s;
    const float *rows[HALF_ROWS + EYE_DW_BF16_K - 1];
    const float *image = r->in + (int64_t)row / d->oh * d->h * d->w * d->c;
    int64_t y = (int64_t)row % d->oh, n_in = (int64_t)n + d->kh - 1;
    for (int64_t u = 0; u < n_in; u++) {
        int64_t at = y - d->top + u;
        rows[u] = at >= 0 && at < d->h ? image + at * d->w * d->c : NULL;
    }
    size_t size = (size_t)(d->ow * d->o);
    float *out = r->packed ? NULL : r->y + row * size;
    struct eye_dwconv_bf16_args a = {.rows = rows, .w = r->w, .bias = r->bias, .out = out, .n_rows = (uint32_t)n,
                                     .odd = (uint32_t)(y % 2), .width_in = (uint32_t)d->w, .width_out = (uint32_t)d->ow,
                                     .channels = (uint32_t)d->c, .pad_left = (uint32_t)d->left};
    if (share) {
        a.mr = (uint32_t)r->packed->unit;
        a.lhs = (uint8_t *)(r->y + share->row * a.channels);
        a.lhs_row = row * a.width_out - share->row;
        a.lhs_rows = share->end - share->row;
    }
    r->x->plan->e->kernels.dwconv_bf16(&a);
    if (r->d->act) r->d->act(out, out, n * size);
}

/* The lines that the next row is the first to read, and this one's own: the kernel goes from pixel to pixel, a line in each, which
 * no prefetcher follows. Reading all lines in order wakes it. */
static void fetch_lines(const struct conv_run *r, size_t row) {
    const struct eye_conv_shape *d = &r->d->s;
    size_t line = (size_t)(d->w * d->c), n = (size_t)(d->ow * d->o);
    int64_t first = (int64_t)row % d->oh * d->stride - d->top + d->kh, end = EYE_MIN(first + d->stride, d->h);
    const volatile float *image = r->in + row / (size_t)d->oh * (size_t)d->h * line;
    for (size_t i = (size_t)first * line; i < (size_t)EYE_MAX(end, 0) * line; i += FLOATS_PER_LINE) (void)image[i];
    for (size_t i = row * n; i < (row + 1) * n; i += FLOATS_PER_LINE) __builtin_prefetch(r->y + i, 1, 3);
}

static void depthwise_band(const struct conv_run *r, size_t row, size_t end, int i_thread) {
    size_t oh = (size_t)r->d->s.oh;
    if (!r->d->half) {
        for (; row < end; row++) {
            if (r->cold) fetch_lines(r, row);
            depthwise_row(r, row, (float *)eye_exec_thread(r->x, i_thread));
        }
        return;
    }
    struct eye_share share = {0};
    for (size_t n, thread = 0, ow = (size_t)r->d->s.ow; row < end; row += n) {
        n = EYE_MIN(EYE_MIN(end, row - row % oh + oh) - row, HALF_ROWS);
        while (r->packed && share.end <= row * ow) share = eye_cut_share(r->packed, thread++);
        if (r->packed) n = EYE_MIN(n, share.end / ow - row);
        depthwise_call_bf16(r, row, n, r->packed ? &share : NULL);
    }
}

static void depthwise_task(void *ctx, int i_task, int i_thread) {
    const struct conv_run *r = ctx;
    size_t row = eye_part(r->rows, r->parts, (size_t)i_task);
    depthwise_band(r, row, eye_part(r->rows, r->parts, (size_t)i_task + 1), i_thread);
}

/* ---- other groups ---- */

static float grouped_value(const struct eye_conv_shape *d, const float *image, const float *w, int64_t i, int64_t j, int64_t o,
                           float start) {
    int64_t cg = d->c / d->groups, c0 = o / (d->o / d->groups) * cg;
    for (int64_t ch = 0; ch < cg; ch++)
        for (int64_t u = 0; u < d->kh; u++)
            for (int64_t v = 0; v < d->kw; v++) {
                int64_t y = i * d->stride + u - d->top, x = j * d->stride + v - d->left;
                if (y < 0 || y >= d->h || x < 0 || x >= d->w) continue;
                start += w[((o * cg + ch) * d->kh + u) * d->kw + v] * image[(y * d->w + x) * d->c + c0 + ch];
            }
    return start;
}

static void grouped_task(void *ctx, int i_task, int i_thread) {
    const struct conv_run *r = ctx;
    const struct eye_conv_shape *d = &r->d->s;
    size_t end = eye_part(r->rows, r->parts, (size_t)i_task + 1);
    for (size_t row = eye_part(r->rows, r->parts, (size_t)i_task); row < end; row++) {
        const float *image = r->in + (int64_t)row / d->oh * d->h * d->w * d->c;
        float *out = r->y + (int64_t)row * d->ow * d->o;
        for (int64_t j = 0; j < d->ow; j++)
            for (int64_t o = 0; o < d->o; o++)
                out[j * d->o + o] = grouped_value(d, image, r->w, (int64_t)row % d->oh, j, o, r->bias ? r->bias[o] : 0.0f);
        if (r->d->act) r->d->act(out, out, (size_t)(d->ow * d->o));
    }
}

static struct conv_run make_bands(struct eye_exec *x, const struct eye_step *s, const float *w) {
    const struct conv *d = s->data;
    const struct eye_node *n = s->node;
    struct conv_run r = {.x = x, .d = d, .in = eye_exec_ptr(x, n->in[0]), .w = w, .bias = eye_exec_ptr(x, eye_node_in(n, 2)),
                         .y = eye_exec_ptr(x, n->out)};
    if (eye_value_at(x->plan->g, n->out)->dtype != EYE_F32) r.finish = eye_finish_of(x, n, d->act, EYE_NONE);
    return r;
}

static void depthwise_rows(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, int i_thread) {
    const struct conv *d = s->data;
    struct conv_run r = make_bands(x, s, eye_blob_ptr(x->plan, d->weights));
    depthwise_band(&r, row / (size_t)d->s.ow, (row + n) / (size_t)d->s.ow, i_thread);
}

static void depthwise_windowed(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, const struct eye_window *w,
                               int i_thread) {
    const struct conv *d = s->data;
    struct conv_run r = make_bands(x, s, eye_blob_ptr(x->plan, d->weights));
    r.window = w;
    depthwise_band(&r, row / (size_t)d->s.ow, (row + n) / (size_t)d->s.ow, i_thread);
}

static void do_bands(struct conv_run *r, const struct eye_step *s, eye_task_fn *fn) {
    const struct eye_conv_shape *d = &r->d->s;
    r->rows = eye_exec_rows(r->x, s->node->out) / (size_t)d->ow;
    r->cold = !r->finish.y && (size_t)(d->h * d->w * d->c) * sizeof(float) >= COLD_BYTES;
    r->parts = EYE_MIN(PARTS * (size_t)eye_pool_n_threads(r->x->plan->e->pool), r->rows);
    eye_exec_tasks(r->x, r->rows * (size_t)(d->ow * d->o * d->kh), r->parts, fn, r);
}

static enum eye_status run_bands(struct eye_exec *x, const struct eye_step *s, const float *w, eye_task_fn *fn) {
    struct conv_run r = make_bands(x, s, w);
    do_bands(&r, s, fn);
    return EYE_OK;
}

static void depthwise_packed(struct eye_exec *x, const struct eye_step *s, const struct eye_cut *cut) {
    const struct conv *d = s->data;
    struct conv_run r = make_bands(x, s, eye_blob_ptr(x->plan, d->weights));
    r.packed = cut;
    do_bands(&r, s, depthwise_task);
}

static enum eye_status run_depthwise(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct conv *d = s->data;
    if (d->weights != EYE_NO_BLOB) return run_bands(x, s, eye_blob_ptr(x->plan, d->weights), depthwise_task);
    float *turned = (float *)eye_exec_shared(x);
    eye_conv_turn_taps(&d->s, eye_exec_ptr(x, s->node->in[1]), turned);
    return run_bands(x, s, turned, depthwise_task);
}
static enum eye_status run_grouped(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_bands(x, s, eye_exec_ptr(x, s->node->in[1]), grouped_task);
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

/* 3x3 waits for its maps, not for products. */
static bool takes_half(const struct eye_lower *l, const struct eye_node *n, const struct eye_conv_shape *s) {
    return n->attr.wtype == EYE_W_BF16 && l->e->kernels.dwconv_bf16 && s->kh == EYE_DW_BF16_K &&
           s->kw == EYE_DW_BF16_K && s->stride == 1 && s->o == s->c && eye_value_at(l->g, n->out)->dtype == EYE_F32 &&
           !eye_lower_changes(l, n->in[1]);
}

static enum eye_status lower_depthwise(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct conv *d,
                                       struct eye_err *err) {
    struct taps_ctx ctx = {eye_value_at(l->g, n->in[1])};
    size_t taps = (size_t)(d->s.kh * d->s.kw) * sizeof(float);
    d->weights = EYE_NO_BLOB;
    d->half = takes_half(l, n, &d->s);
    EYE_TRY(eye_lower_cost(l, n, d->half ? EYE_COST_BF16 : EYE_COST_F32, (double)(d->s.kh * d->s.kw * d->s.o), taps * (size_t)d->s.o, err));
    if (eye_lower_changes(l, n->in[1])) {
        eye_lower_scratch(l, 0, taps * (size_t)d->s.o);
        return eye_lower_operand(l, n, n->in[1], err);
    }
    s->rows = depthwise_rows;
    s->heads = true;
    s->m = eye_dim(l->g, n->out, 0) > 0 ? eye_lower_elems(l, n->out) / (size_t)d->s.o : 0;
    s->unit = s->whole = (size_t)d->s.ow;
    s->reach = (struct eye_reach){d->s.h, d->s.w, d->s.c, d->s.kh, d->s.stride, d->s.top};
    if (!d->half && eye_dim(l->g, n->out, 0) == 1) s->windowed = depthwise_windowed;
    if (d->half && !d->act && d->s.o % 32 == 0) s->packed = depthwise_packed;
    EYE_TRY(eye_lower_want_weight(l, n, n->in[1], err));
    return eye_lower_blob(l, taps * (size_t)d->s.o, fill_depthwise, &ctx, sizeof ctx, taps, &d->weights, err);
}

static enum eye_status lower_dense(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct conv *d,
                                   struct eye_err *err) {
    eye_val bias = eye_node_in(n, 2);
    size_t m = eye_lower_elems(l, n->out) / (size_t)d->s.o;
    if (!eye_lower_changes(l, n->in[1]) && !eye_lower_changes(l, bias)) {
        s->run = run_dense;
        EYE_TRY(eye_lower_matrix(l, n, n->in[1], bias, eye_lower_wtype(l, n), true, &d->w, err));
        eye_lower_gemm_scratch(l, &d->w, m, !eye_conv_is_plain_1x1(&d->s));
        if (eye_dim(l->g, n->out, 0) < 1 || !eye_gemm_has_rows(l->e, &d->w, m)) return EYE_OK;
        s->rows = dense_rows;
        s->into = dense_into;
        s->heads = true;
        s->m = m;
        s->unit = d->w.ukr->mr;
        s->weights = eye_matrix_bytes(&d->w);
        return EYE_OK;
    }
    s->run = run_live_dense;
    d->ukr = eye_product_ukr(l);
    struct eye_product j = live_product(d, m);
    eye_lower_product_scratch(l, &j);
    if (bias != EYE_NONE) EYE_TRY(eye_lower_operand(l, n, bias, err));
    return eye_lower_operand(l, n, n->in[1], err);
}

enum eye_status eye_lower_conv2d(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    if (eye_lower_reads_bytes(l, n)) return eye_lower_conv2d_i8(l, n, s, err);
    struct conv *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    const struct eye_value *x = eye_value_at(l->g, n->in[0]), *w = eye_value_at(l->g, n->in[1]);
    EYE_TRY(eye_conv_read(x, w, eye_value_at(l->g, n->out), &n->attr, &d->s, err));
    d->act = eye_act_kernel(&l->e->kernels, n->attr.act);
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    if (d->s.groups == 1) return lower_dense(l, n, s, d, err);
    if (eye_node_in(n, 2) != EYE_NONE) EYE_TRY(eye_lower_operand(l, n, n->in[2], err));
    if (eye_conv_is_depthwise(&d->s) && (d->s.o == d->s.c || d->s.o == 2 * d->s.c)) {
        s->run = run_depthwise;
        if (eye_value_at(l->g, n->out)->dtype != EYE_F32) eye_lower_scratch(l, (size_t)(d->s.ow * d->s.o) * sizeof(float), 0);
        return lower_depthwise(l, n, s, d, err);
    }
    s->run = run_grouped;
    return eye_lower_operand(l, n, n->in[1], err);
}
