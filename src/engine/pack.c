/* engine/pack: weights as the kernels want them, made once per plan. Reads stored rows (any dtype, row scales applied),
 * converts them to the kernel's type and lets the kernel's packer lay out panels; also small f32 copies (biases, norm
 * weights). The same weight asked for twice in the same form is stored once. */
#include "engine/engine_impl.h"

#include <string.h>

struct eye_blob {
    size_t offset, bytes;
    eye_fill_fn *fill;
    const void *ctx;
    size_t ctx_bytes;
};

size_t eye_blob_size(void) { return sizeof(struct eye_blob); }

enum eye_status eye_lower_blob(struct eye_lower *l, size_t bytes, eye_fill_fn *fill, const void *ctx, size_t ctx_bytes,
                               size_t scratch, size_t *blob, struct eye_err *err) {
    for (size_t i = 0; i < l->n_blobs; i++) {
        const struct eye_blob *b = &l->blob[i];
        if (b->fill == fill && b->bytes == bytes && b->ctx_bytes == ctx_bytes && memcmp(b->ctx, ctx, ctx_bytes) == 0) {
            *blob = b->offset;
            return EYE_OK;
        }
    }
    EYE_TRY(eye_alloc_grow(l->e->alloc, (void **)&l->blob, &l->blobs_cap, l->n_blobs + 1, sizeof *l->blob, err));
    void *copy = eye_arena_alloc(&l->plan->arena, ctx_bytes);
    if (!copy) return eye_fail_nomem(err, ctx_bytes);
    memcpy(copy, ctx, ctx_bytes);
    size_t end;
    if (!eye_add_ok(l->weights_bytes, bytes, &end) || !eye_add_ok(end, EYE_CACHE_LINE, &end))
        return eye_fail(err, EYE_E_LIMIT, "plan: packed weights exceed the address space");
    l->blob[l->n_blobs++] = (struct eye_blob){l->weights_bytes, bytes, fill, copy, ctx_bytes};
    *blob = l->weights_bytes;
    l->weights_bytes = eye_line(l->weights_bytes + bytes);
    l->packer_bytes = EYE_MAX(l->packer_bytes, eye_line(scratch));
    return EYE_OK;
}

enum eye_status eye_lower_has_data(const struct eye_value *w, struct eye_err *err) {
    if (w->data) return EYE_OK;
    return eye_fail(err, EYE_E_UNSUPPORTED, "weight \"%s\" is in this compiled file only as its kernels want it; other types "
                    "or parts take the model it was made from", w->name);
}

/* NULL data: a compiled file's, see eye_lower_ready. */
static enum eye_status want_stored(const struct eye_node *n, const struct eye_value *w, struct eye_err *err) {
    if (w->kind == EYE_VAL_WEIGHT && (eye_dtype_info(w->dtype)->is_float || w->dtype == EYE_I8)) return EYE_OK;
    return eye_fail(err, EYE_E_UNSUPPORTED, "engine: %s wants \"%s\" to be a stored weight of a float type, got %s %s",
                    n ? eye_op_info(n->op)->name : "an output", w->name,
                    w->kind == EYE_VAL_WEIGHT ? "a weight of" : "a computed", eye_dtype_info(w->dtype)->name);
}

enum eye_status eye_lower_want_weight(struct eye_lower *l, const struct eye_node *n, eye_val v, struct eye_err *err) {
    const struct eye_value *w = eye_value_at(l->g, v);
    EYE_TRY(want_stored(n, w, err));
    l->plan->reads[v] = true;
    return eye_lower_has_data(w, err);
}

/* What is packed must not change afterwards. */
static enum eye_status want_constant(struct eye_lower *l, const struct eye_node *n, eye_val v, struct eye_err *err) {
    EYE_TRY(want_stored(n, eye_value_at(l->g, v), err));
    if (!eye_lower_is_live(l, v)) return EYE_OK;
    return eye_fail(err, EYE_E_UNSUPPORTED, "engine: %s cannot have a trainable weight (\"%s\")",
                    n ? eye_op_info(n->op)->name : "an output", eye_value_at(l->g, v)->name);
}

static bool weight_elems(const struct eye_value *w, size_t *out) {
    struct eye_bind none = {0};
    int64_t n;
    if (!eye_value_elems(w, &none, &n)) return false;
    *out = (size_t)n;
    return true;
}

/* Those of a compiled file have none: there a name is one weight's. */
static bool same_data(const struct eye_value *a, const struct eye_value *b) {
    return a->data == b->data && (a->data || strcmp(a->name, b->name) == 0);
}

/* The first value with the same stored rows: tied weights are one. */
static const struct eye_value *canonical(const struct eye_graph *g, const struct eye_value *w) {
    size_t n = 0, m = 0;
    bool ok = weight_elems(w, &n);
    for (size_t i = 0; i < g->n_values && ok; i++) {
        const struct eye_value *o = &g->value[i];
        if (o->kind == EYE_VAL_WEIGHT && same_data(o, w) && o->dtype == w->dtype && o->row_scale == w->row_scale &&
            o->pair_rows == w->pair_rows && o->transposed == w->transposed && o->rank > 0 && w->rank > 0 &&
            o->dims[0] == w->dims[0] && weight_elems(o, &m) && m == n)
            return o;
    }
    return w;
}

/* ---- vectors ---- */

struct vector_ctx {
    const struct eye_value *w;
};

static void fill_vector(const struct eye_packer *p, void *dst, const void *ctx) {
    const struct eye_value *w = ((const struct vector_ctx *)ctx)->w;
    size_t n = 0;
    float *out = dst;
    if (w->rank == 0) {
        eye_row_to_f32(w->dtype, w->data, out, 1);
        return;
    }
    if (!weight_elems(w, &n) || n == 0) return;
    size_t row = n / (size_t)w->dims[0];
    for (int64_t i = 0; i < w->dims[0]; i++) eye_weight_row(w, i, out + (size_t)i * row);
}

enum eye_status eye_lower_vector(struct eye_lower *l, const struct eye_node *n, eye_val v, size_t *blob, struct eye_err *err) {
    *blob = EYE_NO_BLOB;
    if (v == EYE_NONE) return EYE_OK;
    EYE_TRY(eye_lower_want_weight(l, n, v, err));
    EYE_TRY(want_constant(l, n, v, err));
    struct vector_ctx ctx = {canonical(l->g, eye_value_at(l->g, v))};
    size_t elems, bytes;
    if (!weight_elems(ctx.w, &elems) || !eye_mul_ok(elems, sizeof(float), &bytes))
        return eye_fail(err, EYE_E_LIMIT, "engine: weight \"%s\" is too large", ctx.w->name);
    return eye_lower_blob(l, bytes, fill_vector, &ctx, sizeof ctx, 0, blob, err);
}

/* ---- matrices ---- */

struct matrix_ctx {
    const struct eye_value *w;
    const struct eye_gemm_ukr *ukr;
    size_t n, k;
    size_t conv_channels; /* 0 = rows as stored; else k is [C, taps] and becomes [taps, C] */
    enum eye_dtype dtype; /* what ukr packs */
    bool direct;          /* stored rows are what ukr packs */
    bool gather;          /* the same, but in another order */
};
struct matrix_job {
    const struct eye_packer *p;
    const struct matrix_ctx *c;
    uint8_t *dst;
    size_t panel_bytes, n_panels, panels_per_task;
};

static void reorder_taps(float *dst, const float *src, size_t channels, size_t taps) {
    for (size_t c = 0; c < channels; c++)
        for (size_t t = 0; t < taps; t++) dst[t * channels + c] = src[c * taps + t];
}

static void pack_panel(const struct matrix_job *j, size_t panel, uint8_t *scratch) {
    const struct matrix_ctx *c = j->c;
    size_t nr = c->ukr->nr, row0 = panel * nr, rows = EYE_MIN(nr, c->n - row0), row_bytes = 0;
    uint8_t *dst = j->dst + panel * j->panel_bytes;
    bool ok = eye_dtype_row_bytes(c->dtype, c->k, &row_bytes);
    assert(ok);
    (void)ok;
    if (c->direct) {
        c->ukr->pack_rhs(rows, c->k, (const uint8_t *)c->w->data + row0 * row_bytes, row_bytes, dst);
        return;
    }
    float *row = (float *)scratch, *taps = row + c->k;
    uint8_t *converted = scratch + eye_line(2 * c->k * sizeof(float));
    for (size_t r = 0; r < rows; r++) {
        if (c->gather) {
            size_t stored = (size_t)eye_weight_stored_row(c->w, (int64_t)(row0 + r));
            memcpy(converted + r * row_bytes, (const uint8_t *)c->w->data + stored * row_bytes, row_bytes);
            continue;
        }
        eye_weight_row(c->w, (int64_t)(row0 + r), row);
        if (c->conv_channels) reorder_taps(taps, row, c->conv_channels, c->k / c->conv_channels);
        eye_row_from_f32(c->dtype, c->conv_channels ? taps : row, converted + r * row_bytes, c->k);
    }
    c->ukr->pack_rhs(rows, c->k, converted, row_bytes, dst);
}

static void pack_task(void *ctx, int i_task, int i_thread) {
    const struct matrix_job *j = ctx;
    size_t first = (size_t)i_task * j->panels_per_task, end = EYE_MIN(first + j->panels_per_task, j->n_panels);
    for (size_t p = first; p < end; p++) pack_panel(j, p, j->p->scratch + (size_t)i_thread * j->p->thread_bytes);
}

static void fill_matrix(const struct eye_packer *p, void *dst, const void *ctx) {
    const struct matrix_ctx *c = ctx;
    struct matrix_job j = {p, c, dst, 0, 0, 0};
    j.panel_bytes = eye_ceil_div(c->k, c->ukr->kr) * c->ukr->rhs_step;
    j.n_panels = eye_ceil_div(c->n, c->ukr->nr);
    j.panels_per_task = EYE_MAX(1, (size_t)65536 / EYE_MAX(j.panel_bytes, 1));
    eye_pool_run(p->pool, (int)eye_ceil_div(j.n_panels, j.panels_per_task), pack_task, &j);
}

/* What the kernel of w packs. EXACT keeps the stored numbers; a row scale, reordered block rows or blocks that no kernel reads
 * leave only f32 exact. */
static enum eye_dtype packed_dtype(const struct eye_value *w, enum eye_wtype wtype, bool conv) {
    if (wtype != EYE_W_EXACT) return eye_wtype_dtype(wtype);
    bool block = eye_dtype_info(w->dtype)->block_elems > 1;
    bool read_only = w->dtype == EYE_F64 || w->dtype == EYE_I8 || (block && w->dtype != EYE_Q8_0 && w->dtype != EYE_Q4_0 &&
                                               w->dtype != EYE_Q4_K);
    return w->row_scale || (conv && block) || read_only ? EYE_F32 : w->dtype;
}

/* Sizes of blocks, in bytes; found with bench_engine on a core with 1 MiB of L2, flat within a factor of two. */
#define CHUNK_BYTES 2048u          /* of one weight row per pass over k: an rhs panel chunk is nr times this */
#define RANGE_BYTES (256u << 10)   /* rhs block */
#define RANGE_COLS 512u            /* at most: bounds the output tile */
#define BLOCK_ROWS 128u

void eye_matrix_init(struct eye_matrix *m, const struct eye_gemm_ukr *u, size_t n, size_t k) {
    *m = (struct eye_matrix){.ukr = u, .n = n, .k = k, .blob = EYE_NO_BLOB, .bias = EYE_NO_BLOB};
    m->steps = eye_ceil_div(k, u->kr);
    m->panel_bytes = m->steps * u->rhs_step;
    m->lhs_bytes = eye_line(m->steps * u->mr * u->lhs_step);
    size_t col_step = EYE_MAX(u->rhs_step / u->nr, 1); /* bytes of one column and step, without its share of scales */
    size_t chunk_steps = EYE_MAX(CHUNK_BYTES / col_step, 1);
    m->k_chunk = chunk_steps * u->kr;
    size_t col_bytes = EYE_MIN(chunk_steps, m->steps) * col_step;
    size_t cols = EYE_MIN(RANGE_BYTES / EYE_MAX(col_bytes, 1), RANGE_COLS);
    m->range_cols = EYE_MAX(cols / u->nr, 1) * u->nr;
    m->block_rows = EYE_MAX(BLOCK_ROWS / u->mr, 1) * u->mr;
}

enum eye_status eye_lower_matrix(struct eye_lower *l, const struct eye_node *n, eye_val wv, eye_val b, enum eye_wtype wtype,
                                 bool conv, struct eye_matrix *out, struct eye_err *err) {
    struct matrix_ctx c;
    memset(&c, 0, sizeof c); /* compared as bytes */
    EYE_TRY(want_constant(l, n, wv, err));
    c.w = canonical(l->g, eye_value_at(l->g, wv));
    const struct eye_value *w = eye_value_at(l->g, wv); /* the canonical one's dims may be grouped differently */
    size_t elems, bytes, row_bytes, converted;
    const char *form;
    if (w->rank < 2 || w->dims[0] < 1 || !weight_elems(w, &elems) || elems == 0)
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: weight \"%s\" is no matrix", w->name);
    c.n = (size_t)w->dims[0];
    c.k = elems / c.n;
    c.conv_channels = conv && w->rank == 4 && w->dims[2] * w->dims[3] > 1 ? (size_t)w->dims[1] : 0;
    wtype = eye_wtype_for(wtype, (int64_t)c.k);
    c.dtype = packed_dtype(c.w, wtype, c.conv_channels != 0);
    c.ukr = eye_form_choose(&l->e->kernels, c.dtype, wtype == EYE_W_BF16, c.conv_channels != 0, &form);
    c.direct = c.dtype == c.w->dtype && !c.w->row_scale && !c.w->transposed && !c.conv_channels;
    c.gather = c.direct && c.w->pair_rows;
    c.direct = c.direct && !c.gather;
    const struct eye_gemm_ukr *u = c.ukr;
    eye_matrix_init(out, u, c.n, c.k);
    if (!eye_mul_ok(eye_ceil_div(c.n, u->nr), out->panel_bytes, &bytes) || !eye_dtype_row_bytes(c.dtype, c.k, &row_bytes) ||
        !eye_mul_ok(row_bytes, u->nr, &converted))
        return eye_fail(err, EYE_E_LIMIT, "engine: weight \"%s\" is too large", w->name);
    bool i8 = c.dtype == EYE_Q8_0 || c.dtype == EYE_Q4_0 || c.dtype == EYE_Q4_K;
    enum eye_cost_kind kind = i8 ? EYE_COST_I8 : wtype == EYE_W_BF16 && c.dtype == EYE_BF16 ? EYE_COST_BF16 : EYE_COST_F32;
    EYE_TRY(eye_lower_cost(l, n, kind, (double)c.n * (double)c.k, bytes, err));
    EYE_TRY(eye_lower_vector(l, n, b, &out->bias, err));
    return eye_lower_ready(l, form, c.w, bytes, fill_matrix, &c, sizeof c,
                           c.direct ? 0 : eye_line(2 * c.k * sizeof(float)) + converted, &out->blob, err);
}

/* ---- filling ---- */

enum eye_status eye_pack_all(struct eye_lower *l, struct eye_err *err) {
    struct eye_plan *plan = l->plan;
    struct eye_packer p = {plan, l->e->pool, NULL, l->packer_bytes};
    size_t n_threads = (size_t)eye_pool_n_threads(p.pool), scratch_bytes, done = 0;
    if (!eye_mul_ok(n_threads, p.thread_bytes, &scratch_bytes)) return eye_fail_nomem(err, SIZE_MAX);
    plan->weights = eye_pages_alloc(l->weights_bytes);
    if (!plan->weights) return eye_fail_nomem(err, l->weights_bytes);
    p.scratch = eye_alloc_raw(l->e->alloc, scratch_bytes);
    if (!p.scratch) return eye_fail_nomem(err, scratch_bytes);
    enum eye_status st = EYE_OK;
    for (size_t i = 0; i < l->n_blobs; i++) {
        const struct eye_blob *b = &l->blob[i];
        if (plan->opts.cancel && plan->opts.cancel(plan->opts.cancel_ctx)) {
            st = eye_fail(err, EYE_E_CANCELLED, "cancelled while packing weights");
            break;
        }
        b->fill(&p, plan->weights + b->offset, b->ctx);
        done += b->bytes;
        if (plan->opts.progress)
            plan->opts.progress(plan->opts.progress_ctx, (double)done / (double)EYE_MAX(l->weights_bytes, 1));
    }
    eye_alloc_free(l->e->alloc, p.scratch, scratch_bytes);
    return st;
}
