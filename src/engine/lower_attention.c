/* engine/lower_attention: softmax(scale q k^T) v.
 *
 * With a KV cache the new keys and values are first appended (converted to the cache's type), then every query row attends
 * to the cache. Without one (vision, training) the keys of the call are laid out the same way in shared scratch, in f32; so are
 * values of images, whose rows lie too far apart for caches, and others are read where they are. A task is a block of up to 16
 * rows of one sequence (of images some blocks: a head's keys and values stay in the second-level cache) and some of the query
 * heads of one kv head; where the block is one row (decode) these heads are the rows, so that keys and values stream once.
 * Never split over keys: a row's sums depend only on the keys it sees, in their order, which makes prefill and single steps,
 * and a sequence alone and among others, agree bit for bit. Scores of a row over all its keys are kept: max_ctx floats a row.
 *
 * Attention of images, where the tower is bf16 or int8, multiplies bf16 on CPUs that have it, in one kernel that keeps no
 * scores. There a task is one head of neighbouring tiles of rows: its keys and values stay in the second-level cache, and a
 * thread has the rows that it made.
 *
 * Queries, keys and values may be columns of one wider result (a slice that has no step of its own). Where picked rows are
 * asked for, all of the call's make keys and values, and the blocks are cut from the picked ones. */
#include "engine/attend.h"

#include <string.h>

#define LANES EYE_ATTN_LANES
#define CHUNK_BLOCKS 8 /* at most */

struct attention {
    size_t heads, kv_heads, dim, group; /* group = heads / kv_heads */
    struct { size_t at, stride; } in[3]; /* q, k, v: floats before the first row, and from one to the next */
    float scale;
    bool causal;
    bool half;              /* of images: q, k, v and probabilities in bf16 */
    bool compact;           /* of images, else: values in scratch by heads */
    bool picks, all_q;      /* only picked rows are asked for; q has all rows all the same */
    size_t asked_at;        /* picks: the blocks of these rows in shared scratch */
    int32_t k_slot, v_slot; /* -1: no cache */
    enum eye_kv_type type;
    eye_attn_qk_fn *qk;
    eye_attn_pv_fn *pv;
};
struct attention_run {
    struct eye_exec *x;
    const struct attention *d;
    struct eye_attn_rows rows;
    const float *q, *k, *v;
    float *y;
    const struct eye_block *asked; /* of picked rows; or NULL: the blocks of all */
    size_t n_blocks;        /* of the rows that attend */
    size_t parts;           /* of the query heads of one kv head */
    size_t piece, n_pieces; /* appending: blocks per task, tasks per head */
    size_t n_tiles;         /* of images in bf16 */
    size_t n_chunks;        /* of images: of tiles or blocks */
};

/* ---- storing keys and values ---- */

/* Floats from one row of values to the next. */
static size_t value_stride(const struct attention *d) { return d->k_slot >= 0 || d->compact ? d->dim : d->in[2].stride; }

/* The head's keys, or its values: the cache's; without one this call's scratch, or the values as they came. */
static struct eye_kv_view store(const struct attention_run *r, size_t head, bool keys) {
    const struct attention *d = r->d;
    if (d->k_slot >= 0) return eye_kv_head(r->x->kv, keys ? d->k_slot : d->v_slot, (int64_t)head);
    if (!keys && !d->compact) return (struct eye_kv_view){(void *)(uintptr_t)(r->v + head * d->dim), NULL}; /* only read */
    return (struct eye_kv_view){(float *)eye_exec_shared(r->x) + (keys ? head : d->kv_heads + head) * r->rows.key_slots * d->dim,
                                NULL};
}

/* Element e of position pos lies at pos / 16 * dim * 16 + e * 16 + pos % 16 in a key store, at pos * dim + e in a value
 * store. */
static void put_row(const struct attention_run *r, struct eye_kv_view s, bool keys, size_t pos, const float *row, void *tmp) {
    const struct eye_kernels *k = &r->x->plan->e->kernels;
    size_t n = r->d->dim, step = keys ? LANES : 1, at = keys ? pos / LANES * n * LANES + pos % LANES : pos * n;
    if (r->d->type == EYE_KV_F32) {
        float *dst = (float *)s.data + at;
        for (size_t e = 0; e < n; e++) dst[e * step] = row[e];
    } else if (r->d->type == EYE_KV_F16) {
        uint16_t *dst = (uint16_t *)s.data + at, *half = tmp;
        k->f32_to_f16(half, row, n);
        for (size_t e = 0; e < n; e++) dst[e * step] = half[e];
    } else {
        int8_t *dst = (int8_t *)s.data + at, *q = tmp;
        s.scale[pos] = k->quant_i8_f32(q, row, n);
        for (size_t e = 0; e < n; e++) dst[e * step] = q[e];
    }
}

/* Task: some blocks of rows of one kv head, into the cache. */
static void append_task(void *ctx, int i_task, int i_thread) {
    const struct attention_run *r = ctx;
    const struct attention *d = r->d;
    size_t first = (size_t)i_task % r->n_pieces * r->piece, end = EYE_MIN(first + r->piece, r->rows.n_blocks);
    size_t head = (size_t)i_task / r->n_pieces;
    struct eye_kv_view k = store(r, head, true), v = store(r, head, false);
    void *tmp = eye_exec_thread(r->x, i_thread);
    for (size_t i = first; i < end; i++) {
        struct eye_attn_block b = eye_attn_block(&r->rows, i);
        struct eye_span span[2];
        eye_attn_seen(&r->rows, b.segment, span);
        struct eye_span own = eye_attn_own(span);
        for (size_t t = 0; t < b.n; t++) {
            size_t row = b.row + t, at = head * d->dim;
            put_row(r, k, true, own.key + b.first + t, r->k + row * d->in[1].stride + at, tmp);
            put_row(r, v, false, own.value + b.first + t, r->v + row * d->in[2].stride + at, tmp);
        }
    }
}

/* ---- attending ---- */

struct query {
    const float *q;
    float *y;
    size_t m, q_stride, y_stride; /* rows; floats between them */
    size_t more;                  /* keys each row sees more than the one before */
};

/* span: all that the last row sees. */
static void attend(const struct attention_run *r, int i_thread, size_t kv_head, const struct query *w,
                   const struct eye_span span[2]) {
    const struct attention *d = r->d;
    const struct eye_kernels *k = &r->x->plan->e->kernels;
    struct eye_kv_view keys = store(r, kv_head, true), values = store(r, kv_head, false);
    size_t elem = eye_kv_elem_bytes(d->type), n_max = span[0].n + span[1].n, stride = eye_score_stride(n_max);
    size_t v_stride = value_stride(d);
    float *s = eye_score_first(eye_exec_thread(r->x, i_thread));
    struct eye_scores c = {d->qk, elem, w->m, d->dim, w->q, w->q_stride, keys.data, d->scale, s, stride};
    eye_attn_scores(&c, span);
    for (size_t i = 0; i < w->m; i++) {
        size_t n = n_max - (w->m - 1 - i) * w->more, n0 = span[0].n;
        float *row = s + i * stride;
        if (keys.scale) {
            k->mul_f32(row, row, keys.scale + span[0].key, n0);
            k->mul_f32(row + n0, row + n0, keys.scale + span[1].key, n - n0);
        }
        k->softmax_f32(row, n);
        if (values.scale) {
            k->mul_f32(row, row, values.scale + span[0].value, n0);
            k->mul_f32(row + n0, row + n0, values.scale + span[1].value, n - n0);
        }
        memset(row + n, 0, (n_max - n) * sizeof *row);
    }
    for (size_t i = 0; i < 2; s += span[i++].n)
        if (span[i].n)
            d->pv(w->m, d->dim, span[i].n, s, stride, (const uint8_t *)values.data + span[i].value * v_stride * elem, v_stride,
                  w->y, w->y_stride, i == 1 && span[0].n);
}

/* ---- images in bf16: keys and values of all heads (kernels.h), in shared scratch ---- */

static uint16_t *half_store(const struct attention_run *r, size_t head, bool keys) {
    return (uint16_t *)(void *)eye_exec_shared(r->x) + ((keys ? 0 : r->d->kv_heads) + head) * r->rows.key_slots * r->d->dim;
}

struct tile { size_t image, first, n; }; /* n rows of an image from row `first` on */

static struct tile tile_at(const struct attention_run *r, size_t i) {
    size_t per_image = eye_ceil_div(r->rows.t, EYE_ATTN_BF16_ROWS), first = i % per_image * EYE_ATTN_BF16_ROWS;
    return (struct tile){i / per_image, first, EYE_MIN(EYE_ATTN_BF16_ROWS, r->rows.t - first)};
}

/* Slot of an image's first key. */
static size_t image_slot(const struct attention_run *r, size_t image) {
    return image * EYE_ALIGN_UP(r->rows.t, EYE_ATTN_LANES);
}

static void spread_pair(const struct attention_run *r, size_t slot, const uint16_t *k[2], const uint16_t *v[2]) {
    size_t dim = r->d->dim;
    for (size_t head = 0; head < r->d->kv_heads; head++) {
        uint16_t *keys = half_store(r, head, true) + slot * dim, *values = half_store(r, head, false) + slot * dim;
        memcpy(keys, k[0] + head * dim, dim * sizeof *keys);
        memcpy(keys + dim, k[1] + head * dim, dim * sizeof *keys);
        const uint16_t *even = v[0] + head * dim, *odd = v[1] + head * dim;
        for (size_t e = 0; e < dim; e++) values[2 * e] = even[e], values[2 * e + 1] = odd[e];
    }
}

/* Task: a chunk of tiles. */
static void lay_out_half_task(void *ctx, int i_task, int i_thread) {
    const struct attention_run *r = ctx;
    const struct attention *d = r->d;
    size_t row_elems = d->kv_heads * d->dim, chunk = (size_t)i_task;
    uint16_t *half = (uint16_t *)(void *)eye_exec_thread(r->x, i_thread);
    uint16_t *k[2] = {half, half + row_elems}, *v[2] = {half + 2 * row_elems, half + 3 * row_elems};
    for (size_t i = eye_part(r->n_tiles, r->n_chunks, chunk); i < eye_part(r->n_tiles, r->n_chunks, chunk + 1); i++) {
        struct tile at = tile_at(r, i);
        for (size_t t = 0; t < at.n; t += 2) {
            for (size_t odd = 0; odd < 2; odd++) {
                size_t row = at.image * r->rows.t + at.first + t + odd;
                if (t + odd == at.n) { /* the last of an image may be alone */
                    memset(k[1], 0, row_elems * sizeof *half);
                    memset(v[1], 0, row_elems * sizeof *half);
                } else {
                    r->x->plan->e->kernels.f32_to_bf16(k[odd], r->k + row * d->in[1].stride, row_elems);
                    r->x->plan->e->kernels.f32_to_bf16(v[odd], r->v + row * d->in[2].stride, row_elems);
                }
            }
            spread_pair(r, image_slot(r, at.image) + at.first + t, (const uint16_t **)k, (const uint16_t **)v);
        }
    }
}

/* Task: a head of a chunk of tiles. */
static void attend_half_task(void *ctx, int i_task, int i_thread) {
    const struct attention_run *r = ctx;
    const struct attention *d = r->d;
    size_t head = (size_t)i_task % d->heads, chunk = (size_t)i_task / d->heads, y_stride = d->heads * d->dim;
    for (size_t i = eye_part(r->n_tiles, r->n_chunks, chunk); i < eye_part(r->n_tiles, r->n_chunks, chunk + 1); i++) {
        struct tile at = tile_at(r, i);
        size_t row = at.image * r->rows.t + at.first, slots = image_slot(r, at.image) * d->dim;
        struct eye_attn_bf16_args a = {.m = at.n, .d = d->dim, .n_keys = r->rows.t, .scale = d->scale,
                                       .q = r->q + row * d->in[0].stride + head * d->dim, .q_stride = d->in[0].stride,
                                       .k = half_store(r, head / d->group, true) + slots,
                                       .v = half_store(r, head / d->group, false) + slots,
                                       .out = r->y + row * y_stride + head * d->dim, .out_stride = y_stride};
        r->x->plan->e->kernels.attn_bf16(&a);
    }
}

#define CHUNK_TILES 8 /* at most */

static void run_half(struct attention_run *r) {
    const struct attention *d = r->d;
    size_t row = d->heads * d->dim, images = r->rows.n_segments;
    r->n_tiles = images * eye_ceil_div(r->rows.t, EYE_ATTN_BF16_ROWS);
    r->n_chunks = eye_exec_parts(r->x, r->n_tiles, CHUNK_TILES);
    eye_exec_tasks(r->x, images * r->rows.t * d->kv_heads * d->dim, r->n_chunks, lay_out_half_task, r);
    eye_exec_tasks(r->x, images * r->rows.t * row * r->rows.t / 4, r->n_chunks * d->heads, attend_half_task, r);
}

/* Task: the values of a chunk of blocks. */
static void compact_task(void *ctx, int i_task, int i_thread) {
    const struct attention_run *r = ctx;
    const struct attention *d = r->d;
    size_t chunk = (size_t)i_task;
    for (size_t i = eye_part(r->rows.n_blocks, r->n_chunks, chunk); i < eye_part(r->rows.n_blocks, r->n_chunks, chunk + 1); i++) {
        struct eye_attn_block b = eye_attn_block(&r->rows, i);
        for (size_t head = 0; head < d->kv_heads; head++) {
            float *to = (float *)store(r, head, false).data + b.row * d->dim;
            for (size_t t = 0; t < b.n; t++)
                memcpy(to + t * d->dim, r->v + (b.row + t) * d->in[2].stride + head * d->dim, d->dim * sizeof *to);
        }
    }
}

/* Block i, part of the query heads of one kv head. */
static void attend_block(const struct attention_run *r, size_t i, size_t kv_head, size_t part, int i_thread) {
    const struct attention *d = r->d;
    size_t first = part * d->group / r->parts, end = (part + 1) * d->group / r->parts;
    struct eye_attn_block b = r->asked ? eye_attn_block_of(&r->rows, &r->asked[i]) : eye_attn_block(&r->rows, i);
    size_t y_row = r->asked ? (size_t)r->asked[i].picked : b.row, q_row = d->all_q ? b.row : y_row;
    struct eye_span span[2];
    eye_attn_seen(&r->rows, b.segment, span);
    span[1].n += d->causal ? b.first + b.n : b.n_segment;
    for (size_t head = kv_head * d->group + first; head < kv_head * d->group + end; head++) {
        struct query w = {.q = r->q + q_row * d->in[0].stride + head * d->dim, .q_stride = d->in[0].stride,
                          .y = r->y + (y_row * d->heads + head) * d->dim, .y_stride = d->heads * d->dim,
                          .m = b.n, .more = d->causal};
        if (b.n == 1) w.m = end - first, w.q_stride = w.y_stride = d->dim, w.more = 0; /* heads as rows */
        attend(r, i_thread, kv_head, &w, span);
        if (b.n == 1) return;
    }
}

/* Task: a block of rows, or a chunk of an image's, some of the query heads of one kv head. Threads have neighbouring tasks: the
 * few rows of a call come from linears that were cut by columns, so neighbours are of one head there; images were cut by rows. */
static void attend_task(void *ctx, int i_task, int i_thread) {
    const struct attention_run *r = ctx;
    size_t part = (size_t)i_task % r->parts, i = (size_t)i_task / r->parts, n = r->n_blocks, kv_heads = r->d->kv_heads;
    if (r->rows.by_segment) {
        attend_block(r, i % n, i / n, part, i_thread);
        return;
    }
    for (size_t b = eye_part(n, r->n_chunks, i / kv_heads); b < eye_part(n, r->n_chunks, i / kv_heads + 1); b++)
        attend_block(r, b, i % kv_heads, part, i_thread);
}

/* Whose rows attend. */
static enum eye_status cut_asked(struct attention_run *r, const struct eye_node *n, struct eye_err *err) {
    r->n_blocks = r->rows.n_blocks;
    if (!r->d->picks) return EYE_OK;
    struct eye_block *asked = (struct eye_block *)(void *)(eye_exec_shared(r->x) + r->d->asked_at);
    r->asked = asked;
    return eye_exec_pick(r->x, n->in[5], asked, &r->n_blocks, err);
}

/* All rows' keys and values to where they are read. */
static void keep_keys(struct attention_run *r, size_t threads) {
    const struct attention *d = r->d;
    size_t n_rows = r->rows.by_segment ? r->rows.t : r->rows.n_segments * r->rows.t;
    if (d->k_slot < 0) {
        eye_attn_lay_out(r->x, &r->rows, r->k, d->in[1].stride, d->kv_heads, d->dim, (float *)eye_exec_shared(r->x));
        return;
    }
    r->piece = EYE_MAX(r->rows.n_blocks * d->kv_heads / (4 * threads), 1);
    r->n_pieces = eye_ceil_div(r->rows.n_blocks, r->piece);
    eye_exec_tasks(r->x, n_rows * d->kv_heads * d->dim, d->kv_heads * r->n_pieces, append_task, r);
}

static enum eye_status run_attention(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct attention *d = s->data;
    const struct eye_node *n = s->node;
    struct attention_run r = {.x = x, .d = d, .q = (const float *)eye_exec_ptr(x, n->in[0]) + d->in[0].at,
                              .k = (const float *)eye_exec_ptr(x, n->in[1]) + d->in[1].at,
                              .v = (const float *)eye_exec_ptr(x, n->in[2]) + d->in[2].at, .y = eye_exec_ptr(x, n->out)};
    r.rows = eye_attn_rows(x, n->in[1], d->k_slot >= 0);
    if (r.rows.n_blocks == 0) return EYE_OK;
    if (d->half) {
        run_half(&r);
        return EYE_OK;
    }
    EYE_TRY(cut_asked(&r, n, err));
    size_t threads = (size_t)eye_pool_n_threads(x->plan->e->pool), n_blocks = r.n_blocks;
    size_t n_rows = eye_exec_rows(x, n->out), keys = r.rows.by_segment ? x->most_keys : r.rows.t;
    keep_keys(&r, threads);
    if (n_blocks == 0) return EYE_OK;
    r.n_chunks = r.rows.by_segment ? n_blocks : eye_exec_parts(x, n_blocks, CHUNK_BLOCKS);
    if (d->compact) eye_exec_tasks(x, n_rows * d->kv_heads * d->dim, r.n_chunks, compact_task, &r);
    size_t wanted = eye_ceil_div(n_rows == n_blocks ? threads : 4 * threads, n_blocks * d->kv_heads);
    r.parts = EYE_MIN(d->group, EYE_MAX(wanted, eye_ceil_div(d->group, EYE_BLOCK_ROWS)));
    eye_exec_tasks(x, n_rows * d->heads * d->dim * keys / 4, r.n_chunks * d->kv_heads * r.parts, attend_task, &r);
    return EYE_OK;
}

/* ---- planning ---- */

static void choose_kernels(struct attention *d, const struct eye_kernels *k) {
    d->qk = d->type == EYE_KV_F32 ? k->attn_qk_f32 : d->type == EYE_KV_F16 ? k->attn_qk_f16 : k->attn_qk_i8;
    d->pv = d->type == EYE_KV_F32 ? k->attn_pv_f32 : d->type == EYE_KV_F16 ? k->attn_pv_f16 : k->attn_pv_i8;
}

/* A state keeps one role: its layout is the role's. */
static enum eye_status use_state(struct eye_lower *l, eye_val v, bool is_key, int32_t *slot, struct eye_err *err) {
    *slot = l->plan->state_slot[v];
    struct eye_state_spec *s = &l->plan->state[*slot];
    if (s->heads && s->is_key != is_key)
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: state \"%s\" holds keys and values", eye_value_at(l->g, v)->name);
    *s = (struct eye_state_spec){v, is_key, eye_dim(l->g, v, 1), eye_dim(l->g, v, 2)};
    return EYE_OK;
}

/* Where rows of operand i lie. */
static void find_rows(const struct eye_lower *l, const struct eye_node *n, int i, struct attention *d) {
    eye_val v = n->in[i];
    d->in[i].stride = (i ? d->kv_heads : d->heads) * d->dim;
    for (; eye_value_at(l->g, v)->kind == EYE_VAL_NODE; v = l->g->node[eye_value_at(l->g, v)->node].in[0]) {
        const struct eye_node *from = &l->g->node[eye_value_at(l->g, v)->node];
        if (from->op == EYE_OP_slice && l->alias[v] != EYE_NONE) {
            d->in[i].at = (size_t)from->attr.begin;
            d->in[i].stride = (size_t)eye_dim(l->g, from->in[0], -1);
        }
        if (from->op != EYE_OP_reshape) return;
    }
}

enum eye_status eye_lower_attention(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct attention *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    for (int i = 0; i < 3; i++) EYE_TRY(eye_lower_operand(l, n, n->in[i], err));
    d->heads = (size_t)eye_dim(l->g, n->in[0], -2);
    d->dim = (size_t)eye_dim(l->g, n->in[0], -1);
    d->kv_heads = (size_t)eye_dim(l->g, n->in[1], -2);
    d->group = d->heads / d->kv_heads;
    for (int i = 0; i < 3; i++) find_rows(l, n, i, d);
    d->scale = n->attr.scale;
    d->causal = n->attr.causal;
    EYE_TRY(eye_lower_cost(l, n, EYE_COST_ATTENTION, 2.0 * (double)d->heads * (double)d->dim, 0, err));
    d->k_slot = d->v_slot = -1;
    d->type = EYE_KV_F32;
    int64_t t = eye_dim(l->g, n->in[1], -3);
    size_t keys = (size_t)(t == EYE_DIM_T ? l->plan->opts.max_t : t), shared = 0;
    if (eye_node_in(n, 3) != EYE_NONE) {
        EYE_TRY(use_state(l, n->in[3], true, &d->k_slot, err));
        EYE_TRY(use_state(l, n->in[4], false, &d->v_slot, err));
        d->type = l->plan->opts.kv_type;
        l->plan->has_positions = true;
        keys = (size_t)l->plan->opts.max_ctx;
    } else {
        shared = eye_attn_max_slots(l, n->in[1]) * d->kv_heads * d->dim * sizeof(float);
    }
    d->picks = eye_node_in(n, 5) != EYE_NONE;
    d->all_q = eye_dim(l->g, n->in[0], 0) == EYE_DIM_T;
    if (d->picks) {
        EYE_TRY(eye_lower_ids(l, n, n->in[5], err));
        d->asked_at = eye_line(shared);
        shared = d->asked_at + (size_t)l->plan->opts.max_picked * sizeof(struct eye_block);
    }
    d->half = n->attr.wtype == EYE_W_BF16 && l->e->kernels.attn_bf16 && d->k_slot < 0 && !d->causal &&
              t != EYE_DIM_T && d->dim % 2 == 0 && d->dim <= EYE_ATTN_BF16_D;
    d->compact = d->k_slot < 0 && t != EYE_DIM_T && !d->half;
    if (d->compact) shared *= 2;
    choose_kernels(d, &l->e->kernels);
    size_t score_bytes;
    if (!eye_mul_ok(EYE_BLOCK_ROWS * sizeof(float), eye_score_stride(keys), &score_bytes))
        return eye_fail(err, EYE_E_LIMIT, "engine: attention scores for %zu keys are too large", keys);
    size_t row_bytes = d->half ? 4 * d->kv_heads * d->dim * sizeof(uint16_t) : eye_line(d->dim * sizeof(float));
    eye_lower_scratch(l, d->half ? row_bytes : EYE_MAX(score_bytes, row_bytes), shared);
    s->run = run_attention;
    return EYE_OK;
}
