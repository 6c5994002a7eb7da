/* engine/lower_attention: softmax(scale q k^T) v.
 *
 * With a KV cache the new keys and values are first appended (converted to the cache's type), then every query row attends
 * to the cache. Without one (vision, training) the keys of the call are laid out the same way in shared scratch, in f32, and
 * values are read where they are. A task is a block of up to 16 rows of one sequence and some of the query heads of one kv
 * head; where the block is one row (decode) these heads are the rows, so that keys and values stream once. Never split over
 * keys: a row's sums depend only on the keys it sees, in their order, which makes prefill and single steps, and a sequence
 * alone and among others, agree bit for bit. Attention of images, where the tower is bf16 or int8, multiplies bf16 on CPUs that have
 * it. Scores of a row over all its keys are kept: max_ctx floats a row. */
#include "engine/attend.h"

#include <string.h>

#define LANES EYE_ATTN_LANES

struct attention {
    size_t heads, kv_heads, dim, group; /* group = heads / kv_heads */
    float scale;
    bool causal;
    bool half;              /* of images: q, k, v and probabilities in bf16 */
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
    size_t parts;           /* of the query heads of one kv head */
    size_t piece, n_pieces; /* appending: blocks per task, tasks per head */
};

/* ---- storing keys and values ---- */

/* The head's keys, or its values: the cache's; without one this call's scratch, and the values as they came. */
static struct eye_kv_view store(const struct attention_run *r, size_t head, bool keys) {
    const struct attention *d = r->d;
    if (d->k_slot >= 0) return eye_kv_head(r->x->kv, keys ? d->k_slot : d->v_slot, (int64_t)head);
    if (!keys) return (struct eye_kv_view){(void *)(uintptr_t)(r->v + head * d->dim), NULL}; /* only read */
    return (struct eye_kv_view){(float *)eye_exec_shared(r->x) + head * r->rows.key_slots * d->dim, NULL};
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
            size_t at = ((b.row + t) * d->kv_heads + head) * d->dim;
            put_row(r, k, true, own.key + b.first + t, r->k + at, tmp);
            put_row(r, v, false, own.value + b.first + t, r->v + at, tmp);
        }
    }
}

/* ---- attending ---- */

struct query {
    const float *q;
    float *y;
    size_t m, stride; /* rows; floats between them, in q and y alike */
    size_t more;      /* keys each row sees more than the one before */
};

/* span: all that the last row sees. */
static void attend(const struct attention_run *r, int i_thread, size_t kv_head, const struct query *w,
                   const struct eye_span span[2]) {
    const struct attention *d = r->d;
    const struct eye_kernels *k = &r->x->plan->e->kernels;
    struct eye_kv_view keys = store(r, kv_head, true), values = store(r, kv_head, false);
    size_t elem = eye_kv_elem_bytes(d->type), n_max = span[0].n + span[1].n, stride = eye_score_stride(n_max);
    size_t v_stride = d->k_slot >= 0 ? d->dim : d->kv_heads * d->dim;
    float *s = eye_score_first(eye_exec_thread(r->x, i_thread));
    struct eye_scores c = {d->qk, elem, w->m, d->dim, w->q, w->stride, keys.data, d->scale, s, stride};
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
                  w->y, w->stride, i == 1 && span[0].n);
}

/* ---- images in bf16: keys and values of all heads in pairs (kernels.h), in shared scratch ---- */

static uint16_t *half_store(const struct attention_run *r, size_t head, bool keys) {
    return (uint16_t *)(void *)eye_exec_shared(r->x) + ((keys ? 0 : r->d->kv_heads) + head) * r->rows.key_slots * r->d->dim;
}

/* Task: some blocks of rows of one kv head. */
static void lay_out_half_task(void *ctx, int i_task, int i_thread) {
    const struct attention_run *r = ctx;
    const struct attention *d = r->d;
    uint16_t half[EYE_ATTN_BF16_D];
    size_t first = (size_t)i_task % r->n_pieces * r->piece, end = EYE_MIN(first + r->piece, r->rows.n_blocks);
    size_t head = (size_t)i_task / r->n_pieces, dim = d->dim;
    uint16_t *keys = half_store(r, head, true), *values = half_store(r, head, false);
    for (size_t i = first; i < end; i++) {
        struct eye_attn_block b = eye_attn_block(&r->rows, i);
        struct eye_span span[2];
        eye_attn_seen(&r->rows, b.segment, span);
        for (size_t t = 0; t < b.n; t++) {
            size_t slot = span[1].key + b.first + t, at = ((b.row + t) * d->kv_heads + head) * dim;
            uint16_t *k = keys + slot / LANES * dim * LANES + slot % LANES * 2, *v = values + slot / 2 * dim * 2 + slot % 2;
            r->x->plan->e->kernels.f32_to_bf16(half, r->k + at, dim);
            for (size_t e = 0; e < dim; e++) k[e / 2 * LANES * 2 + e % 2] = half[e];
            r->x->plan->e->kernels.f32_to_bf16(half, r->v + at, dim);
            for (size_t e = 0; e < dim; e++) v[2 * e] = half[e];
            if (b.first + t + 1 == b.n_segment && slot % 2 == 0)
                for (size_t e = 0; e < dim; e++) v[2 * e + 1] = 0;
        }
    }
}

static void attend_half(const struct attention_run *r, int i_thread, size_t kv_head, const struct query *w, size_t slot, size_t n) {
    const struct attention *d = r->d;
    const struct eye_kernels *k = &r->x->plan->e->kernels;
    size_t stride = eye_score_stride(n);
    float *s = eye_score_first(eye_exec_thread(r->x, i_thread));
    k->attn_qk_bf16(w->m, d->dim, n, w->q, w->stride, half_store(r, kv_head, true) + slot * d->dim, d->scale, s, stride);
    for (size_t i = 0; i < w->m; i++) k->softmax_f32(s + i * stride, n);
    k->attn_pv_bf16(w->m, d->dim, n, s, stride, half_store(r, kv_head, false) + slot * d->dim, d->dim, w->y, w->stride);
}

/* Task: a block of rows, some of the query heads of one kv head. */
static void attend_task(void *ctx, int i_task, int i_thread) {
    const struct attention_run *r = ctx;
    const struct attention *d = r->d;
    size_t part = (size_t)i_task % r->parts, kv_head = (size_t)i_task / r->parts % d->kv_heads;
    size_t first = part * d->group / r->parts, end = (part + 1) * d->group / r->parts;
    struct eye_attn_block b = eye_attn_block(&r->rows, (size_t)i_task / r->parts / d->kv_heads);
    struct eye_span span[2];
    eye_attn_seen(&r->rows, b.segment, span);
    span[1].n += d->causal ? b.first + b.n : b.n_segment;
    for (size_t head = kv_head * d->group + first; head < kv_head * d->group + end; head++) {
        size_t at = (b.row * d->heads + head) * d->dim;
        struct query w = {.q = r->q + at, .y = r->y + at, .m = b.n, .stride = d->heads * d->dim, .more = d->causal};
        if (b.n == 1) w.m = end - first, w.stride = d->dim, w.more = 0; /* heads as rows */
        if (d->half) attend_half(r, i_thread, kv_head, &w, span[1].key, span[1].n);
        else attend(r, i_thread, kv_head, &w, span);
        if (b.n == 1) return;
    }
}

static enum eye_status run_attention(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct attention *d = s->data;
    const struct eye_node *n = s->node;
    struct attention_run r = {.x = x, .d = d, .q = eye_exec_ptr(x, n->in[0]), .k = eye_exec_ptr(x, n->in[1]),
                              .v = eye_exec_ptr(x, n->in[2]), .y = eye_exec_ptr(x, n->out)};
    r.rows = eye_attn_rows(x, n->in[0], d->k_slot >= 0);
    if (r.rows.n_blocks == 0) return EYE_OK;
    size_t threads = (size_t)eye_pool_n_threads(x->plan->e->pool), n_blocks = r.rows.n_blocks;
    size_t n_rows = eye_exec_elems(x, n->in[0]) / (d->heads * d->dim), keys = r.rows.by_segment ? x->most_keys : r.rows.t;
    if (d->k_slot >= 0 || d->half) {
        r.piece = EYE_MAX(n_blocks * d->kv_heads / (4 * threads), 1);
        r.n_pieces = eye_ceil_div(n_blocks, r.piece);
        eye_exec_tasks(x, n_rows * d->kv_heads * d->dim, d->kv_heads * r.n_pieces, d->half ? lay_out_half_task : append_task, &r);
    } else {
        eye_attn_lay_out(x, &r.rows, r.k, d->kv_heads, d->dim, (float *)eye_exec_shared(x));
    }
    size_t wanted = eye_ceil_div(n_rows == n_blocks ? threads : 4 * threads, n_blocks * d->kv_heads);
    r.parts = EYE_MIN(d->group, EYE_MAX(wanted, eye_ceil_div(d->group, EYE_BLOCK_ROWS)));
    eye_exec_tasks(x, n_rows * d->heads * d->dim * keys / 4, n_blocks * d->kv_heads * r.parts, attend_task, &r);
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

enum eye_status eye_lower_attention(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    struct attention *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    for (int i = 0; i < 3; i++) EYE_TRY(eye_lower_operand(l, n, n->in[i], err));
    d->heads = (size_t)eye_dim(l->g, n->in[0], -2);
    d->dim = (size_t)eye_dim(l->g, n->in[0], -1);
    d->kv_heads = (size_t)eye_dim(l->g, n->in[1], -2);
    d->group = d->heads / d->kv_heads;
    d->scale = n->attr.scale;
    d->causal = n->attr.causal;
    EYE_TRY(eye_lower_cost(l, n, EYE_COST_ATTENTION, 2.0 * (double)d->heads * (double)d->dim, 0, err));
    d->k_slot = d->v_slot = -1;
    d->type = EYE_KV_F32;
    int64_t t = eye_dim(l->g, n->in[0], -3);
    size_t keys = (size_t)(t == EYE_DIM_T ? l->plan->opts.max_t : t), shared = 0;
    if (eye_node_in(n, 3) != EYE_NONE) {
        EYE_TRY(use_state(l, n->in[3], true, &d->k_slot, err));
        EYE_TRY(use_state(l, n->in[4], false, &d->v_slot, err));
        d->type = l->plan->opts.kv_type;
        l->plan->has_positions = true;
        keys = (size_t)l->plan->opts.max_ctx;
    } else {
        shared = eye_attn_max_slots(l, n->in[0]) * d->kv_heads * d->dim * sizeof(float);
    }
    d->half = n->attr.wtype == EYE_W_BF16 && l->e->kernels.flags & EYE_CPU_AVX512BF16 && d->k_slot < 0 && !d->causal &&
              t != EYE_DIM_T && d->dim % 2 == 0 && d->dim <= EYE_ATTN_BF16_D;
    choose_kernels(d, &l->e->kernels);
    size_t score_bytes;
    if (!eye_mul_ok(EYE_BLOCK_ROWS * sizeof(float), eye_score_stride(keys), &score_bytes))
        return eye_fail(err, EYE_E_LIMIT, "engine: attention scores for %zu keys are too large", keys);
    eye_lower_scratch(l, EYE_MAX(score_bytes, eye_line(d->dim * sizeof(float))), shared);
    s->run = run_attention;
    return EYE_OK;
}
