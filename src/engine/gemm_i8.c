/* engine/gemm_i8: y = act(x w^T + bias) + residual for u8 or i16 x and int8 w, over the pool.
 *
 * Rows of x are read where they lie: the kernel wants them as they are, nothing is packed. A task is a block of rows times a
 * range of columns, or all columns where the weights are small: the thread that made the rows multiplies them. Inside, a few
 * rows at a time become f32 results in the first-level cache, and leave it as what the next node reads: bytes, where that
 * multiplies integers too. Splits are over outputs, sums are of integers: results depend neither on the tiles nor on the number
 * of threads nor on the CPU. */
#include <string.h>

#include "engine/int8.h"

#define TILE_ROWS 24u /* a multiple of EYE_I8_UNIT_ROWS */
#define TILE_COLS 256u
#define RANGE_BYTES (256u << 10) /* of panels that pass by each tile */
#define SPLIT_TILE_ROWS EYE_I8_SPLIT_ROWS /* of split panels */
#define SPLIT_TILE_COLS 192u
#define SPLIT_LEAST_ROWS 8u /* fewer take the panels that are not split */
#define SPLIT_RANGE_BYTES (512u << 10) /* a tile's rows are turned again for each range */
#define TASK_ROWS 192u
#define TASKS_PER_THREAD 4u

/* ---- running ---- */

void eye_to_bytes(const struct eye_kernels *k, const struct eye_quant *q, void *y, size_t at, const float *x, size_t n) {
    if (q->wide) k->quant_i16((int16_t *)y + at, x, n, 1.0f / q->scale, (float)q->wide);
    else k->quant_u8((uint8_t *)y + at, x, n, 1.0f / q->scale, (float)q->zero);
}

void eye_add_bytes(const struct eye_kernels *k, const struct eye_quant *q, float *y, const void *x, size_t at, const float *a,
                   size_t n) {
    if (q->wide) k->add_i16(y, (const int16_t *)x + at, a, n, q->scale);
    else k->add_u8(y, (const uint8_t *)x + at, a, n, q->scale, (float)q->zero);
}

/* Bytes ask less of GELU. */
static bool ends_in_gelu_u8(const struct eye_kernels *k, const struct eye_finish_i8 *f) {
    return f->act == k->gelu_f32 && !f->residual && f->quant.scale > 0 && !f->quant.wide;
}

void eye_finish_i8(const struct eye_exec *x, const struct eye_finish_i8 *f, float *c, size_t row, size_t n, size_t col,
                   size_t cols) {
    const struct eye_kernels *k = &x->plan->e->kernels;
    size_t at = row * n + col;
    if (ends_in_gelu_u8(k, f)) {
        k->gelu_u8((uint8_t *)f->y + at, c, cols, 1.0f / f->quant.scale, (float)f->quant.zero);
        return;
    }
    float *y = f->quant.scale > 0 ? c : (float *)f->y + at;
    if (f->act) f->act(f->residual ? c : y, c, cols);
    if (f->residual && f->residual_quant.scale > 0)
        eye_add_bytes(k, &f->residual_quant, y, f->residual, at, c, cols);
    else if (f->residual)
        k->add_f32(y, c, (const float *)f->residual + at, cols);
    else if (!f->act && y != c)
        memcpy(y, c, cols * sizeof *y);
    if (f->quant.scale > 0) eye_to_bytes(k, &f->quant, f->y, at, c, cols);
}

/* Bytes from 0 on hold what is below as 0: relu's work. */
static bool is_relu_u8(const struct eye_kernels *k, const struct eye_finish_i8 *f) {
    return f->act == k->relu_f32 && !f->residual && f->quant.scale > 0 && !f->quant.wide && f->quant.zero == 0;
}

struct eye_finish_i8 eye_finish_of(const struct eye_exec *x, const struct eye_node *n, eye_map_fn *act, eye_val residual) {
    const struct eye_graph *g = x->plan->g;
    struct eye_finish_i8 f = {.act = act, .residual = eye_exec_ptr(x, residual), .y = eye_exec_ptr(x, n->out)};
    if (eye_is_bytes(&g->value[n->out])) f.quant = g->value[n->out].quant;
    if (residual != EYE_NONE && eye_is_bytes(&g->value[residual])) f.residual_quant = g->value[residual].quant;
    if (is_relu_u8(&x->plan->e->kernels, &f)) f.act = NULL;
    return f;
}

struct run {
    struct eye_exec *x;
    const struct eye_gemm_i8 *j;
    size_t block_rows, n_blocks;
    size_t range_cols, n_ranges;
    struct eye_cut cut; /* of rows, where tasks have all columns; else: blocks of block_rows */
};

/* A thread's scratch: [tile of results][made rows]. */
static size_t tile_bytes(const struct eye_matrix_i8 *w) { return w->tile_rows * w->range_cols * sizeof(float); }

static void tile(const struct run *r, size_t row, size_t rows, size_t col, size_t cols, uint8_t *scratch) {
    const struct eye_gemm_i8 *j = r->j;
    const struct eye_matrix_i8 *w = j->w;
    const struct eye_plan *p = r->x->plan;
    size_t size = j->wide ? sizeof(int16_t) : 1;
    const uint8_t *a = j->x ? (const uint8_t *)j->x + row * w->k * size : scratch + tile_bytes(w);
    if (!j->x) j->rows(j->rows_ctx, row, rows, scratch + tile_bytes(w));
    float *c = (float *)scratch;
    bool split = w->split != EYE_NO_BLOB && rows >= SPLIT_LEAST_ROWS;
    size_t panel = split ? eye_i8_split_bytes(w->k) : eye_i8_panel_bytes(w->k);
    struct eye_gemm_i8_args args = {
        .m = rows, .n = cols, .k = w->k, .a = a, .a_stride = w->k,
        .w = (const uint8_t *)eye_blob_ptr(p, split ? w->split : w->blob) + col / EYE_I8_NR * panel,
        .scale = (const float *)eye_blob_ptr(p, w->scale) + col, .bias = (const float *)eye_blob_ptr(p, w->bias) + col,
        .c = c, .c_stride = cols,
    };
    const struct eye_finish_i8 *f = &j->finish;
    if (!j->wide && p->e->kernels.gemm_i8_gelu && ends_in_gelu_u8(&p->e->kernels, f)) {
        struct eye_gemm_i8_gelu_args to_bytes = {args, (uint8_t *)f->y + row * w->n + col, w->n, 1.0f / f->quant.scale,
                                                 (float)f->quant.zero};
        p->e->kernels.gemm_i8_gelu(&to_bytes);
        return;
    }
    if (split) p->e->kernels.gemm_i8_split(&args);
    else (j->wide ? p->e->kernels.gemm_i16 : p->e->kernels.gemm_i8)(&args);
    if (cols == w->n) { /* whole rows lie side by side on both sides */
        eye_finish_i8(r->x, f, c, row, w->n, 0, rows * cols);
        return;
    }
    for (size_t i = 0; i < rows; i++) eye_finish_i8(r->x, f, c + i * cols, row + i, w->n, col, cols);
}

/* Ranges of columns run fastest: a block of rows is read, and written, by one core. */
static void task(void *ctx, int i_task, int i_thread) {
    const struct run *r = ctx;
    size_t row = (size_t)i_task / r->n_ranges * r->block_rows, end = EYE_MIN(row + r->block_rows, r->j->m);
    size_t col = (size_t)i_task % r->n_ranges * r->range_cols, cols = EYE_MIN(r->range_cols, r->j->w->n - col);
    for (size_t n = r->j->w->tile_rows; row < end; row += n)
        tile(r, row, EYE_MIN(n, end - row), col, cols, eye_exec_thread(r->x, i_thread));
}

void eye_gemm_i8_rows(struct eye_exec *x, const struct eye_gemm_i8 *j, size_t row, size_t n, int i_thread) {
    struct run r = {.x = x, .j = j};
    size_t rows = j->w->tile_rows, cols = j->w->range_cols;
    for (size_t col = 0; col < j->w->n; col += cols)
        for (size_t i = 0; i < n; i += rows)
            tile(&r, row + i, EYE_MIN(rows, n - i), col, EYE_MIN(cols, j->w->n - col), eye_exec_thread(x, i_thread));
}

static void rows_task(void *ctx, int i_task, int i_thread) {
    const struct run *r = ctx;
    size_t row = eye_cut_row(&r->cut, (size_t)i_task), end = eye_cut_row(&r->cut, (size_t)i_task + 1);
    eye_gemm_i8_rows(r->x, r->j, row, end - row, i_thread);
}

size_t eye_matrix_i8_bytes(const struct eye_matrix_i8 *w) { return eye_ceil_div(w->n, EYE_I8_NR) * eye_i8_panel_bytes(w->k); }

/* Enough tasks for all threads, first by shorter blocks, then by narrower ranges. */
static void choose_grid(struct run *r) {
    const struct eye_matrix_i8 *w = r->j->w;
    size_t want = (size_t)eye_pool_n_threads(r->x->plan->e->pool) * TASKS_PER_THREAD;
    r->range_cols = w->range_cols;
    r->block_rows = TASK_ROWS;
    while (eye_ceil_div(r->j->m, r->block_rows) * eye_ceil_div(w->n, r->range_cols) < want) {
        if (r->block_rows > w->tile_rows && r->block_rows > r->j->m / 2) r->block_rows -= w->tile_rows;
        else if (r->block_rows > w->tile_rows) r->block_rows = EYE_ALIGN_UP(r->block_rows / 2, w->tile_rows);
        else if (r->range_cols > EYE_I8_NR) r->range_cols = EYE_ALIGN_UP(r->range_cols / 2, EYE_I8_NR);
        else break;
    }
    r->n_ranges = eye_ceil_div(w->n, r->range_cols);
    r->n_blocks = eye_ceil_div(r->j->m, r->block_rows);
    r->block_rows = EYE_ALIGN_UP(eye_ceil_div(r->j->m, r->n_blocks), EYE_I8_UNIT_ROWS); /* even blocks */
    r->n_blocks = eye_ceil_div(r->j->m, r->block_rows);
}

void eye_gemm_i8_run(struct eye_exec *x, const struct eye_gemm_i8 *j) {
    struct run r = {.x = x, .j = j};
    if (j->m == 0) return;
    size_t threads = (size_t)eye_pool_n_threads(x->plan->e->pool), units = eye_ceil_div(j->m, EYE_I8_UNIT_ROWS);
    if (eye_matrix_i8_bytes(j->w) <= RANGE_BYTES && units >= 2 * threads) {
        r.cut = eye_exec_cut(x, j->m, j->width, EYE_I8_UNIT_ROWS, TASK_ROWS);
        eye_exec_tasks(x, j->m * j->w->n * j->w->k / 16, eye_cut_parts(&r.cut), rows_task, &r);
        return;
    }
    choose_grid(&r);
    eye_exec_tasks(x, j->m * j->w->n * j->w->k / 16, r.n_blocks * r.n_ranges, task, &r);
}

/* ---- planning ---- */

struct panels_ctx {
    const struct eye_value *w;
    size_t n, k, channels, taps; /* rows are [channels][taps] in the file and [taps][channels] in the panels */
};

static void fill_panels(const struct eye_packer *p, void *dst, const void *ctx) {
    const struct panels_ctx *c = ctx;
    int8_t *rows = (int8_t *)p->scratch;
    uint8_t *panel = dst;
    for (size_t j = 0; j < c->n; j += EYE_I8_NR, panel += eye_i8_panel_bytes(c->k)) {
        size_t n = EYE_MIN(EYE_I8_NR, c->n - j);
        const int8_t *src = (const int8_t *)c->w->data + j * c->k;
        for (size_t i = 0; i < n; i++, src += c->k)
            for (size_t ch = 0; ch < c->channels; ch++)
                for (size_t t = 0; t < c->taps; t++) rows[i * c->k + t * c->channels + ch] = src[ch * c->taps + t];
        eye_i8_pack_panel(n, c->k, rows, c->k, panel);
    }
}

/* ---- split panels ---- */

struct split_ctx {
    size_t panels, n_panels, k; /* panels: the blob */
};
struct split_job {
    const struct split_ctx *c;
    const uint8_t *src;
    uint8_t *dst;
};

static void split_task(void *ctx, int i_task, int i_thread) {
    const struct split_job *j = ctx;
    size_t k = j->c->k, i = (size_t)i_task;
    eye_i8_split_panel(k, j->src + i * eye_i8_panel_bytes(k), j->dst + i * eye_i8_split_bytes(k));
}

/* Of panels that are there: blobs are filled in the order they were asked for. */
static void fill_split(const struct eye_packer *p, void *dst, const void *ctx) {
    const struct split_ctx *c = ctx;
    struct split_job j = {c, eye_blob_ptr(p->plan, c->panels), dst};
    eye_pool_run(p->pool, (int)c->n_panels, split_task, &j);
}

/* Rows are turned for rests, and these sums: few columns, short rows and few of them do not pay that. */
#define SPLIT_COLS 32u
#define SPLIT_K 96u

static bool splits(const struct eye_lower *l, const struct eye_node *n, const struct eye_matrix_i8 *m) {
    return l->e->kernels.gemm_i8_split && !eye_value_at(l->g, n->in[0])->quant.wide && m->n >= SPLIT_COLS && m->k >= SPLIT_K &&
           m->k <= EYE_I8_MAX_K;
}

static enum eye_status lower_split(struct eye_lower *l, struct eye_matrix_i8 *m, struct eye_err *err) {
    struct split_ctx c = {m->blob, eye_ceil_div(m->n, EYE_I8_NR), m->k};
    size_t bytes;
    if (!eye_mul_ok(c.n_panels, eye_i8_split_bytes(m->k), &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    return eye_lower_blob(l, bytes, fill_split, &c, sizeof c, 0, &m->split, err);
}

struct scales_ctx {
    const struct eye_value *w, *b; /* b NULL: 0 */
    struct eye_quant quant;        /* of the input */
    bool bias, zero_point;
    char pad[6];
};

static void fill_scales(const struct eye_packer *p, void *dst, const void *ctx) {
    const struct scales_ctx *c = ctx;
    float *out = dst;
    size_t k = 1;
    for (int i = 1; i < c->w->rank; i++) k *= (size_t)c->w->dims[i];
    for (int64_t j = 0; j < c->w->dims[0]; j++) {
        double scale = (double)c->quant.scale * (double)c->w->row_scale[j];
        float b = 0;
        int64_t sum = 0;
        out[j] = (float)scale;
        if (!c->bias) continue;
        if (c->b) eye_weight_row(c->b, j, &b);
        for (size_t e = 0; e < k && c->zero_point; e++) sum += ((const int8_t *)c->w->data)[(size_t)j * k + e];
        out[j] = (float)((double)b - (double)(float)scale * (double)(sum * c->quant.zero));
    }
}

enum eye_status eye_lower_scales_i8(struct eye_lower *l, const struct eye_node *n, bool zero_point, size_t *scale, size_t *bias,
                                    struct eye_err *err) {
    struct scales_ctx c;
    memset(&c, 0, sizeof c); /* compared as bytes */
    c.w = eye_value_at(l->g, n->in[1]);
    if (eye_node_in(n, 2) != EYE_NONE) {
        EYE_TRY(eye_lower_want_weight(l, n, n->in[2], err));
        c.b = eye_value_at(l->g, n->in[2]);
    }
    c.quant = eye_value_at(l->g, n->in[0])->quant;
    c.zero_point = zero_point;
    size_t bytes = (size_t)c.w->dims[0] * sizeof(float);
    EYE_TRY(eye_lower_blob(l, bytes, fill_scales, &c, sizeof c, 0, scale, err));
    c.bias = true;
    if (!zero_point) return eye_lower_blob(l, bytes, fill_scales, &c, sizeof c, 0, bias, err);
    return eye_lower_ready(l, EYE_FORM_I8_BIAS, c.w, bytes, fill_scales, &c, sizeof c, 0, bias, err);
}

enum eye_status eye_lower_matrix_i8(struct eye_lower *l, const struct eye_node *n, struct eye_matrix_i8 *out,
                                    struct eye_err *err) {
    struct panels_ctx c;
    memset(&c, 0, sizeof c); /* compared as bytes */
    c.w = eye_value_at(l->g, n->in[1]);
    c.n = (size_t)c.w->dims[0];
    c.channels = (size_t)c.w->dims[1];
    c.taps = c.w->rank == 4 ? (size_t)(c.w->dims[2] * c.w->dims[3]) : 1;
    c.k = c.channels * c.taps;
    *out = (struct eye_matrix_i8){.n = c.n, .k = c.k, .split = EYE_NO_BLOB};
    bool split = splits(l, n, out);
    size_t range = split ? SPLIT_RANGE_BYTES : RANGE_BYTES, top = split ? SPLIT_TILE_COLS : TILE_COLS;
    size_t panels = eye_ceil_div(c.n, EYE_I8_NR), cols = range / EYE_MAX(c.k, 1) / EYE_I8_NR * EYE_I8_NR, bytes;
    out->range_cols = EYE_MIN(EYE_MIN(EYE_MAX(cols, EYE_I8_NR), top), panels * EYE_I8_NR);
    out->tile_rows = split ? SPLIT_TILE_ROWS : TILE_ROWS;
    if (!eye_mul_ok(panels, eye_i8_panel_bytes(c.k), &bytes))
        return eye_fail(err, EYE_E_LIMIT, "engine: weight \"%s\" is too large", c.w->name);
    EYE_TRY(eye_lower_scales_i8(l, n, true, &out->scale, &out->bias, err));
    EYE_TRY(eye_lower_cost(l, n, EYE_COST_I8, (double)c.n * (double)c.k, bytes, err));
    EYE_TRY(eye_lower_ready(l, EYE_FORM_I8, c.w, bytes, fill_panels, &c, sizeof c, EYE_I8_NR * c.k, &out->blob, err));
    return split ? lower_split(l, out, err) : EYE_OK;
}

void eye_lower_gemm_i8_scratch(struct eye_lower *l, const struct eye_matrix_i8 *w, bool made_rows) {
    eye_lower_scratch(l, tile_bytes(w) + (made_rows ? w->tile_rows * w->k + EYE_ROWS_SLACK : 0), 0);
}
