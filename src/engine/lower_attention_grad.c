/* engine/lower_attention_grad: gradients of attention without a cache, probabilities computed again from q and k.
 *
 * With p = softmax(scale q k^T), y = p v and d the gradient of y, per row and head:
 *   dv += p d     dp = d v^T     ds = scale p (dp - sum(p dp))     dq = ds k     dk += ds q
 *
 * A prefix gets gradients from all segments that see it: these form a family, and a task is a family and a kv head, which no
 * other task writes. It goes through its segments, blocks of rows and query heads in order, so that sums do not depend on the
 * number of threads, nor on what other families are in the call. Keys and values are laid out in panels once per call. */
#include "engine/attend.h"

#include <string.h>

struct attention_grad {
    size_t heads, kv_heads, dim, group;
    float scale;
    bool causal;
    size_t panels; /* bytes of each of the two layouts in shared scratch: of keys, of values; families behind them */
};
struct grad_run {
    struct eye_exec *x;
    const struct attention_grad *d;
    struct eye_attn_rows rows;
    const float *dy, *q, *k, *v;
    float *out;         /* [rows][(heads + 2 kv_heads) dim]: dq, dk, dv */
    size_t width;       /* of a row of out */
    int32_t *first, *next; /* segments: by family, its first; by segment, the next of its family or -1 */
    size_t n_families;
};

struct tile { /* scratch of a thread: a block's scores, and them turned over, [keys][EYE_BLOCK_ROWS] */
    float *p, *ds, *turned;
    size_t stride;
};

static struct tile tile_of(const struct grad_run *r, int i_thread, size_t keys) {
    struct tile t = {.stride = eye_score_stride(keys)};
    float *scratch = (float *)eye_exec_thread(r->x, i_thread);
    t.p = eye_score_first(scratch);
    t.ds = eye_score_first(scratch + EYE_BLOCK_ROWS * t.stride);
    t.turned = scratch + 2 * EYE_BLOCK_ROWS * t.stride;
    return t;
}
static size_t tile_floats(size_t keys) { return EYE_BLOCK_ROWS * (2 * eye_score_stride(keys) + keys); }

/* ---- families ---- */

static void find_families(struct grad_run *r) {
    int32_t *last = r->next + r->rows.n_segments, *family = last + r->rows.n_segments;
    r->n_families = 0;
    for (size_t i = 0; i < r->rows.n_segments; i++) {
        struct eye_segment s = {0};
        if (r->rows.by_segment) s = eye_bind_segment(&r->x->bind, i);
        r->next[i] = -1;
        if (s.n_prefix) {
            family[i] = family[eye_bind_segment_of(&r->x->bind, s.prefix)];
            r->next[last[family[i]]] = (int32_t)i;
        } else {
            family[i] = (int32_t)r->n_families;
            r->first[r->n_families++] = (int32_t)i;
        }
        last[family[i]] = (int32_t)i;
    }
}

/* ---- one block of rows and one query head ---- */

struct block {
    struct eye_attn_block b;
    struct eye_span span[2]; /* all that its last row sees */
    size_t n;                /* keys of both */
    size_t head, kv_head;
    const float *q, *dy;     /* rows heads * dim apart */
};

/* p and ds of the block, zeros behind what a row sees. */
static void scores(const struct grad_run *r, const struct block *w, const struct tile *t) {
    const struct attention_grad *d = r->d;
    const struct eye_kernels *k = &r->x->plan->e->kernels;
    const uint8_t *keys = eye_exec_shared(r->x), *values = keys + d->panels;
    size_t head_bytes = r->rows.key_slots * d->dim * sizeof(float), stride = d->heads * d->dim;
    struct eye_scores c = {.qk = k->attn_qk_f32, .elem_bytes = sizeof(float), .m = w->b.n, .d = d->dim, .q = w->q,
                           .q_stride = stride, .panels = keys + w->kv_head * head_bytes, .scale = d->scale, .s = t->p,
                           .stride = t->stride};
    eye_attn_scores(&c, w->span);
    c.q = w->dy;
    c.panels = values + w->kv_head * head_bytes;
    c.scale = 1;
    c.s = t->ds;
    eye_attn_scores(&c, w->span);
    for (size_t i = 0; i < w->b.n; i++) {
        size_t n = d->causal ? w->n - (w->b.n - 1 - i) : w->n;
        float *p = t->p + i * t->stride, *ds = t->ds + i * t->stride;
        k->softmax_f32(p, n);
        k->softmax_grad_f32(ds, ds, p, n, d->scale);
        memset(p + n, 0, (w->n - n) * sizeof *p);
        memset(ds + n, 0, (w->n - n) * sizeof *ds);
    }
}

/* out[key] += sum over the block's rows of s[row][key] rows[row], for keys of both spans; out: a column of r->out. */
static void add_to_keys(const struct grad_run *r, const struct block *w, const struct tile *t, const float *s,
                        const float *rows, float *out) {
    const struct attention_grad *d = r->d;
    const struct eye_kernels *k = &r->x->plan->e->kernels;
    for (size_t j = 0; j < w->n; j++)
        for (size_t i = 0; i < w->b.n; i++) t->turned[j * EYE_BLOCK_ROWS + i] = s[i * t->stride + j];
    const float *turned = t->turned;
    for (size_t i = 0; i < 2; turned += w->span[i++].n * EYE_BLOCK_ROWS)
        if (w->span[i].n)
            k->attn_pv_f32(w->span[i].n, d->dim, w->b.n, turned, EYE_BLOCK_ROWS, rows, d->heads * d->dim,
                           out + w->span[i].value * r->width, r->width, true);
}

static void block_grad(const struct grad_run *r, const struct block *w, const struct tile *t) {
    const struct attention_grad *d = r->d;
    const struct eye_kernels *k = &r->x->plan->e->kernels;
    size_t dim = d->dim, kv_stride = d->kv_heads * dim;
    float *dq = r->out + w->b.row * r->width + w->head * dim, *dk = r->out + (d->heads + w->kv_head) * dim;
    const float *ds = t->ds, *keys = r->k + w->kv_head * dim;
    scores(r, w, t);
    for (size_t i = 0; i < 2; ds += w->span[i++].n)
        if (w->span[i].n)
            k->attn_pv_f32(w->b.n, dim, w->span[i].n, ds, t->stride, keys + w->span[i].value * kv_stride, kv_stride, dq,
                           r->width, i == 1 && w->span[0].n);
    add_to_keys(r, w, t, t->ds, w->q, dk);
    add_to_keys(r, w, t, t->p, w->dy, dk + kv_stride);
}

/* ---- tasks ---- */

static void segment_grad(const struct grad_run *r, size_t segment, size_t kv_head, int i_thread) {
    const struct attention_grad *d = r->d;
    struct block w = {.b = {.segment = segment, .n_segment = r->rows.t}, .kv_head = kv_head};
    struct eye_span seen[2];
    if (r->rows.by_segment) w.b.n_segment = (size_t)eye_bind_segment(&r->x->bind, segment).n;
    eye_attn_seen(&r->rows, segment, seen);
    size_t begin = seen[1].value, n = w.b.n_segment;
    for (size_t row = begin; row < begin + n; row++) {
        float *dk = r->out + row * r->width + (d->heads + kv_head) * d->dim;
        memset(dk, 0, d->dim * sizeof *dk);
        memset(dk + d->kv_heads * d->dim, 0, d->dim * sizeof *dk);
    }
    for (w.b.first = 0; w.b.first < n; w.b.first += EYE_BLOCK_ROWS) {
        w.b.row = begin + w.b.first;
        w.b.n = EYE_MIN(n - w.b.first, EYE_BLOCK_ROWS);
        w.span[0] = seen[0];
        w.span[1] = seen[1];
        w.span[1].n = d->causal ? w.b.first + w.b.n : n;
        w.n = w.span[0].n + w.span[1].n;
        struct tile t = tile_of(r, i_thread, w.n);
        for (w.head = kv_head * d->group; w.head < (kv_head + 1) * d->group; w.head++) {
            size_t at = (w.b.row * d->heads + w.head) * d->dim;
            w.q = r->q + at;
            w.dy = r->dy + at;
            block_grad(r, &w, &t);
        }
    }
}

/* Task: a family and a kv head. */
static void family_task(void *ctx, int i_task, int i_thread) {
    const struct grad_run *r = ctx;
    size_t kv_head = (size_t)i_task % r->d->kv_heads;
    for (int32_t s = r->first[(size_t)i_task / r->d->kv_heads]; s >= 0; s = r->next[s])
        segment_grad(r, (size_t)s, kv_head, i_thread);
}

static enum eye_status run_attention_grad(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    const struct attention_grad *d = s->data;
    const struct eye_node *n = s->node;
    struct grad_run r = {.x = x, .d = d, .dy = eye_exec_ptr(x, n->in[0]), .q = eye_exec_ptr(x, n->in[1]),
                         .k = eye_exec_ptr(x, n->in[2]), .v = eye_exec_ptr(x, n->in[3]), .out = eye_exec_ptr(x, n->out)};
    float *panels = (float *)eye_exec_shared(x);
    r.rows = eye_attn_rows(x, n->in[1], false);
    r.width = (d->heads + 2 * d->kv_heads) * d->dim;
    r.first = (int32_t *)(eye_exec_shared(x) + 2 * d->panels);
    r.next = r.first + r.rows.n_segments;
    find_families(&r);
    eye_attn_lay_out(x, &r.rows, r.k, d->kv_heads * d->dim, d->kv_heads, d->dim, panels);
    eye_attn_lay_out(x, &r.rows, r.v, d->kv_heads * d->dim, d->kv_heads, d->dim, panels + d->panels / sizeof *panels);
    eye_exec_tasks(x, eye_exec_elems(x, n->in[1]) * 64, r.n_families * d->kv_heads, family_task, &r);
    return EYE_OK;
}

enum eye_status eye_lower_attention_grad(struct eye_lower *l, const struct eye_node *n, struct eye_step *s,
                                         struct eye_err *err) {
    struct attention_grad *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    for (int i = 0; i < 4; i++) EYE_TRY(eye_lower_operand(l, n, n->in[i], err));
    d->heads = (size_t)eye_dim(l->g, n->in[1], -2);
    d->dim = (size_t)eye_dim(l->g, n->in[1], -1);
    d->kv_heads = (size_t)eye_dim(l->g, n->in[2], -2);
    d->group = d->heads / d->kv_heads;
    d->scale = n->attr.scale;
    d->causal = n->attr.causal;
    int64_t t = eye_dim(l->g, n->in[1], -3);
    size_t rows = eye_lower_elems(l, n->in[1]) / EYE_MAX(d->heads * d->dim, 1); /* segments are no more than rows */
    d->panels = eye_line(eye_attn_max_slots(l, n->in[1]) * d->kv_heads * d->dim * sizeof(float));
    eye_lower_scratch(l, tile_floats((size_t)(t == EYE_DIM_T ? l->plan->opts.max_t : t)) * sizeof(float),
                      2 * d->panels + 4 * rows * sizeof(int32_t));
    s->run = run_attention_grad;
    return EYE_OK;
}
