/* engine/attend: rows of a call as attention and its gradient see them, and scores over keys in two places. See attend.h. */
#include "engine/attend.h"

#include <string.h>

static bool by_segment(const struct eye_graph *g, eye_val k) { return eye_dim(g, k, 0) == EYE_DIM_T; }

struct eye_attn_rows eye_attn_rows(const struct eye_exec *x, eye_val k, bool cached) {
    const struct eye_graph *g = x->plan->g;
    struct eye_attn_rows r = {.x = x, .by_segment = by_segment(g, k), .cached = cached};
    if (r.by_segment) {
        r.t = (size_t)x->t;
        r.n_segments = eye_bind_n_segments(&x->bind);
        r.n_blocks = x->n_blocks;
        r.key_slots = x->n_key_slots;
        return r;
    }
    size_t row = (size_t)(eye_dim(g, k, -1) * eye_dim(g, k, -2));
    r.t = (size_t)eye_dim(g, k, -3);
    if (r.t == 0) return r;
    r.n_segments = eye_exec_elems(x, k) / (r.t * row);
    r.n_blocks = r.n_segments * eye_ceil_div(r.t, EYE_BLOCK_ROWS);
    r.key_slots = r.n_segments * EYE_ALIGN_UP(r.t, EYE_ATTN_LANES);
    return r;
}

size_t eye_attn_max_slots(const struct eye_lower *l, eye_val k) {
    if (by_segment(l->g, k)) return eye_key_slots(l->plan->opts.max_t);
    size_t t = (size_t)eye_dim(l->g, k, -3), row = (size_t)(eye_dim(l->g, k, -1) * eye_dim(l->g, k, -2));
    return eye_lower_elems(l, k) / EYE_MAX(t * row, 1) * EYE_ALIGN_UP(t, EYE_ATTN_LANES);
}

struct eye_attn_block eye_attn_block_of(const struct eye_attn_rows *r, const struct eye_block *b) {
    struct eye_segment s = eye_bind_segment(&r->x->bind, (size_t)b->segment);
    return (struct eye_attn_block){.segment = (size_t)b->segment, .n_segment = (size_t)s.n, .first = (size_t)b->first,
                                   .row = (size_t)(s.row + b->first), .n = (size_t)b->n};
}

struct eye_attn_block eye_attn_block(const struct eye_attn_rows *r, size_t i) {
    if (r->by_segment) return eye_attn_block_of(r, &r->x->block[i]);
    size_t per_image = eye_ceil_div(r->t, EYE_BLOCK_ROWS), image = i / per_image;
    size_t first = (per_image - 1 - i % per_image) * EYE_BLOCK_ROWS;
    return (struct eye_attn_block){.segment = image, .n_segment = r->t, .first = first, .row = image * r->t + first,
                                   .n = EYE_MIN(EYE_BLOCK_ROWS, r->t - first)};
}

void eye_attn_seen(const struct eye_attn_rows *r, size_t segment, struct eye_span span[2]) {
    const struct eye_exec *x = r->x;
    span[0] = (struct eye_span){0};
    if (!r->by_segment) {
        span[1] = (struct eye_span){segment * EYE_ALIGN_UP(r->t, EYE_ATTN_LANES), segment * r->t, 0};
        return;
    }
    struct eye_segment s = eye_bind_segment(&x->bind, segment);
    if (r->cached) {
        size_t own = (size_t)(s.slot - s.n_own);
        span[0] = (struct eye_span){(size_t)s.prefix, (size_t)s.prefix, (size_t)s.n_prefix};
        span[1] = (struct eye_span){own, own, (size_t)s.n_own};
        return;
    }
    if (s.n_prefix) {
        size_t p = eye_bind_segment_of(&x->bind, s.prefix);
        size_t key = (size_t)(x->key_at[p] + (s.prefix - x->bind.segment[p].row));
        span[0] = (struct eye_span){key, (size_t)s.prefix, (size_t)s.n_prefix};
    }
    span[1] = (struct eye_span){(size_t)x->key_at[segment], (size_t)s.row, 0};
}

/* ---- rows where they lie ---- */

static const struct eye_node *only_reader(const struct eye_lower *l, eye_val v) {
    if (l->uses[v] != 1) return NULL;
    for (size_t k = (size_t)eye_value_at(l->g, v)->node + 1; k < l->g->n_nodes; k++)
        for (int i = 0; i < l->g->node[k].n_in; i++)
            if (l->g->node[k].in[i] == v) return &l->g->node[k];
    return NULL; /* an output of the graph */
}

bool eye_attn_reads_in_place(const struct eye_lower *l, const struct eye_node *slice) {
    const struct eye_value *from = eye_value_at(l->g, slice->in[0]);
    if (from->kind != EYE_VAL_NODE || from->dtype != EYE_F32 || slice->attr.axis != from->rank - 1) return false;
    eye_val v = slice->out;
    const struct eye_node *n = only_reader(l, v);
    for (; n && n->op == EYE_OP_reshape; n = only_reader(l, v)) v = n->out;
    if (!n || n->op != EYE_OP_attention || (v != n->in[0] && v != n->in[1] && v != n->in[2])) return false;
    return eye_dim(l->g, v, -1) * eye_dim(l->g, v, -2) == slice->attr.length;
}

/* ---- laying out ---- */

struct lay_out {
    const struct eye_attn_rows *r;
    const float *src;
    float *dst;
    size_t stride, heads, dim, piece, n_pieces;
};

/* Task: some blocks of rows of one head. */
static void lay_out_task(void *ctx, int i_task, int i_thread) {
    const struct lay_out *o = ctx;
    size_t head = (size_t)i_task / o->n_pieces, first = (size_t)i_task % o->n_pieces * o->piece;
    float *panels = o->dst + head * o->r->key_slots * o->dim;
    for (size_t i = first; i < EYE_MIN(first + o->piece, o->r->n_blocks); i++) {
        struct eye_attn_block b = eye_attn_block(o->r, i);
        struct eye_span span[2];
        eye_attn_seen(o->r, b.segment, span);
        for (size_t t = 0; t < b.n; t++) {
            size_t slot = span[1].key + b.first + t;
            const float *row = o->src + (b.row + t) * o->stride + head * o->dim;
            float *to = panels + slot / EYE_ATTN_LANES * o->dim * EYE_ATTN_LANES + slot % EYE_ATTN_LANES;
            for (size_t e = 0; e < o->dim; e++) to[e * EYE_ATTN_LANES] = row[e];
        }
    }
}

void eye_attn_lay_out(struct eye_exec *x, const struct eye_attn_rows *r, const float *src, size_t stride, size_t heads,
                      size_t dim, float *dst) {
    struct lay_out o = {.r = r, .src = src, .dst = dst, .stride = stride, .heads = heads, .dim = dim};
    o.piece = EYE_MAX(r->n_blocks * heads / (4 * (size_t)eye_pool_n_threads(x->plan->e->pool)), 1);
    o.n_pieces = eye_ceil_div(r->n_blocks, o.piece);
    eye_exec_tasks(x, r->n_blocks * EYE_BLOCK_ROWS * heads * dim, heads * o.n_pieces, lay_out_task, &o);
}

/* ---- scores ---- */

/* Whole panels are scored, so a span that begins inside one writes over the last scores before it: they are put back. */
void eye_attn_scores(const struct eye_scores *c, const struct eye_span span[2]) {
    float kept[EYE_BLOCK_ROWS][EYE_ATTN_LANES];
    float *s = c->s;
    for (int k = 0; k < 2; k++) {
        size_t lead = span[k].key % EYE_ATTN_LANES, from = span[k].key - lead;
        if (span[k].n == 0) continue;
        for (size_t i = 0; i < c->m; i++) memcpy(kept[i], s + i * c->stride - lead, lead * sizeof *s);
        const uint8_t *panels = (const uint8_t *)c->panels + from * c->d * c->elem_bytes;
        c->qk(c->m, c->d, lead + span[k].n, c->q, c->q_stride, panels, c->scale, s - lead, c->stride);
        for (size_t i = 0; i < c->m; i++) memcpy(s + i * c->stride - lead, kept[i], lead * sizeof *s);
        s += span[k].n;
    }
}
