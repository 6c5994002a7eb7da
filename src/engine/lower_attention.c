/* engine/lower_attention: softmax(scale q k^T) v.
 *
 * With a KV cache the new keys and values are first appended (converted to the cache's type), then every query row attends
 * to the cache. Without one (vision) keys and values of the call are laid out the same way in shared scratch, in f32.
 * A task is (head, block of query rows); with one row per call (decode) the query heads that share a kv head are the rows,
 * so that keys and values stream once. Never split over keys: a row's sums depend only on how many keys it sees, which
 * makes prefill and single steps agree bit for bit. Scores of a row over all its keys are kept: max_ctx floats a row. */
#include "engine/engine_impl.h"

#include <string.h>

#define ROWS 16u               /* query rows of a task */
#define LANES EYE_ATTN_LANES

struct attention {
    size_t heads, kv_heads, dim, group; /* group = heads / kv_heads */
    float scale;
    bool causal;
    int32_t k_slot, v_slot; /* -1: no cache */
    enum eye_kv_type type;
    eye_attn_qk_fn *qk;
    eye_attn_pv_fn *pv;
    size_t v_offset; /* no cache: of the values in shared scratch */
};
struct attention_run {
    struct eye_exec *x;
    const struct attention *d;
    const float *q, *k, *v;
    float *y;
    size_t batch, t;        /* images; rows per image */
    size_t past, keys;      /* keys = past + t */
    size_t n_blocks, splits; /* of rows; of the query heads of one kv head (t == 1) */
    size_t piece, n_pieces; /* appending: positions per task, tasks per head */
};

/* A score row's stride: whole panels may be written; the extra line keeps rows off each other's cache sets. */
static size_t score_stride(size_t keys) { return EYE_ALIGN_UP(keys, LANES) + LANES; }

/* ---- storing keys and values ---- */

/* The head's store: the cache's, or this call's scratch. */
static struct eye_kv_view store(const struct attention_run *r, size_t image, size_t head, bool keys) {
    const struct attention *d = r->d;
    if (d->k_slot >= 0) return eye_kv_head(r->x->kv, keys ? d->k_slot : d->v_slot, (int64_t)head);
    float *base = (float *)(eye_exec_shared(r->x) + (keys ? 0 : d->v_offset));
    size_t positions = keys ? EYE_ALIGN_UP(r->t, LANES) : r->t;
    return (struct eye_kv_view){base + (image * d->kv_heads + head) * positions * d->dim, NULL};
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

/* Task: a piece of the positions of one image and kv head. */
static void append_task(void *ctx, int i_task, int i_thread) {
    const struct attention_run *r = ctx;
    const struct attention *d = r->d;
    size_t first = (size_t)i_task % r->n_pieces * r->piece, end = EYE_MIN(first + r->piece, r->t);
    size_t head = (size_t)i_task / r->n_pieces % d->kv_heads, image = (size_t)i_task / r->n_pieces / d->kv_heads;
    struct eye_kv_view k = store(r, image, head, true), v = store(r, image, head, false);
    void *tmp = eye_exec_thread(r->x, i_thread);
    for (size_t t = first; t < end; t++) {
        size_t at = ((image * r->t + t) * d->kv_heads + head) * d->dim;
        put_row(r, k, true, r->past + t, r->k + at, tmp);
        put_row(r, v, false, r->past + t, r->v + at, tmp);
    }
}

/* ---- attending ---- */

struct query {
    const float *q;
    float *y;
    size_t m, stride;  /* rows; floats between them, in q and y alike */
    size_t seen, more; /* keys the first row sees; how many more each next one sees */
};

static void attend(const struct attention_run *r, int i_thread, size_t image, size_t kv_head, const struct query *w) {
    const struct attention *d = r->d;
    const struct eye_kernels *k = &r->x->plan->e->kernels;
    struct eye_kv_view keys = store(r, image, kv_head, true), values = store(r, image, kv_head, false);
    float *s = (float *)eye_exec_thread(r->x, i_thread);
    size_t n_max = w->seen + (w->m - 1) * w->more, stride = score_stride(n_max);
    d->qk(w->m, d->dim, n_max, w->q, w->stride, keys.data, d->scale, s, stride);
    for (size_t i = 0; i < w->m; i++) {
        size_t n = w->seen + i * w->more;
        float *row = s + i * stride;
        if (keys.scale) k->mul_f32(row, row, keys.scale, n);
        k->softmax_f32(row, n);
        if (values.scale) k->mul_f32(row, row, values.scale, n);
        memset(row + n, 0, (n_max - n) * sizeof *row);
    }
    d->pv(w->m, d->dim, n_max, s, stride, values.data, d->dim, w->y, w->stride);
}

/* Task: rows of one query head. Late blocks see most keys under a causal mask: they go first. */
static void rows_task(void *ctx, int i_task, int i_thread) {
    const struct attention_run *r = ctx;
    const struct attention *d = r->d;
    size_t head = (size_t)i_task / r->n_blocks % d->heads, image = (size_t)i_task / r->n_blocks / d->heads;
    size_t first = (r->n_blocks - 1 - (size_t)i_task % r->n_blocks) * ROWS;
    size_t at = ((image * r->t + first) * d->heads + head) * d->dim;
    struct query w = {.q = r->q + at, .y = r->y + at, .m = EYE_MIN(ROWS, r->t - first), .stride = d->heads * d->dim};
    w.seen = d->causal ? r->past + first + 1 : r->keys;
    w.more = d->causal ? 1 : 0;
    attend(r, i_thread, image, head / d->group, &w);
}

/* Task: some of the query heads of one kv head, one row each. */
static void heads_task(void *ctx, int i_task, int i_thread) {
    const struct attention_run *r = ctx;
    const struct attention *d = r->d;
    size_t part = (size_t)i_task % r->splits, kv_head = (size_t)i_task / r->splits % d->kv_heads;
    size_t image = (size_t)i_task / r->splits / d->kv_heads;
    size_t first = part * d->group / r->splits, end = (part + 1) * d->group / r->splits;
    size_t at = (image * d->heads + kv_head * d->group + first) * d->dim;
    struct query w = {.q = r->q + at, .y = r->y + at, .m = end - first, .stride = d->dim, .seen = r->keys};
    attend(r, i_thread, image, kv_head, &w);
}

static enum eye_status run_attention(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct attention *d = s->data;
    const struct eye_node *n = s->node;
    struct attention_run r = {.x = x, .d = d, .q = eye_exec_ptr(x, n->in[0]), .k = eye_exec_ptr(x, n->in[1]),
                              .v = eye_exec_ptr(x, n->in[2]), .y = eye_exec_ptr(x, n->out)};
    const struct eye_value *q = eye_value_at(x->plan->g, n->in[0]);
    int64_t t = q->dims[q->rank - 3];
    r.t = (size_t)(t == EYE_DIM_T ? x->t : t);
    if (r.t == 0) return EYE_OK;
    if (x->bind.n_segments && t == EYE_DIM_T) return eye_fail(err, EYE_E_UNSUPPORTED, "attention: segments");
    r.batch = eye_exec_elems(x, n->in[0]) / (r.t * d->heads * d->dim);
    r.past = d->k_slot >= 0 ? (size_t)x->bind.past : 0;
    r.keys = r.past + r.t;
    size_t threads = (size_t)eye_pool_n_threads(x->plan->e->pool), work = r.batch * r.t * d->kv_heads * d->dim;
    r.piece = EYE_ALIGN_UP(EYE_MAX(r.t / EYE_MAX(4 * threads / d->kv_heads, 1), 1), LANES);
    r.n_pieces = eye_ceil_div(r.t, r.piece);
    eye_exec_tasks(x, work, r.batch * d->kv_heads * r.n_pieces, append_task, &r);
    work = r.batch * r.t * d->heads * d->dim * r.keys / 4;
    if (r.t == 1) {
        r.splits = EYE_MIN(d->group, EYE_MAX(eye_ceil_div(threads, d->kv_heads), eye_ceil_div(d->group, ROWS)));
        eye_exec_tasks(x, work, r.batch * d->kv_heads * r.splits, heads_task, &r);
    } else {
        r.n_blocks = eye_ceil_div(r.t, ROWS);
        eye_exec_tasks(x, work, r.batch * d->heads * r.n_blocks, rows_task, &r);
    }
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
    d->k_slot = d->v_slot = -1;
    d->type = EYE_KV_F32;
    int64_t t = eye_dim(l->g, n->in[0], -3);
    size_t t_max = (size_t)(t == EYE_DIM_T ? l->plan->opts.max_t : t), keys = t_max;
    size_t kv_elems = eye_lower_elems(l, n->in[1]), shared = 0;
    if (eye_node_in(n, 3) != EYE_NONE) {
        EYE_TRY(use_state(l, n->in[3], true, &d->k_slot, err));
        EYE_TRY(use_state(l, n->in[4], false, &d->v_slot, err));
        d->type = l->plan->opts.kv_type;
        l->plan->has_positions = true;
        keys = (size_t)l->plan->opts.max_ctx;
    } else {
        size_t heads = kv_elems / EYE_MAX(t_max * d->dim, 1); /* of all images */
        d->v_offset = eye_line(heads * EYE_ALIGN_UP(t_max, LANES) * d->dim * sizeof(float));
        shared = d->v_offset + kv_elems * sizeof(float);
    }
    choose_kernels(d, &l->e->kernels);
    size_t score_bytes, rows = EYE_MIN(ROWS, EYE_MAX(t_max, d->group));
    if (!eye_mul_ok(rows * sizeof(float), score_stride(keys), &score_bytes))
        return eye_fail(err, EYE_E_LIMIT, "engine: attention scores for %zu keys are too large", keys);
    eye_lower_scratch(l, EYE_MAX(score_bytes, eye_line(d->dim * sizeof(float))), shared);
    s->run = run_attention;
    return EYE_OK;
}
