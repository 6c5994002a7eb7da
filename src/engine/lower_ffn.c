/* engine/lower_ffn: act(x w1^T + b1) w2^T + b2 + residual, the feed-forward block.
 *
 * Many rows: a task takes a block of rows through both matrices; the hidden rows exist only in pieces of f_chunk columns,
 * which the second product consumes at once as a piece of its k (its sums continue in the block's output tile). So hidden
 * values never leave L2, where a FastViTHD stage would write and read 100 MB. Fewer rows: two shared GEMMs through scratch.
 * Where a convolution in bf16 makes x for nobody else, it makes it packed. All give the same bits. */
#include "engine/engine_impl.h"

#include <string.h>

#define F_CHUNK_BYTES (288u << 10) /* of w1 or w2 that one hidden piece meets */
#define F_CHUNK_COLS 512u
#define F_AT_ONCE_BYTES (1152u << 10) /* the same where hidden values are never f32: passes over results cost more than weights */
#define F_AT_ONCE_COLS 768u           /* that come from the last-level cache */
#define OWN_PANELS 16u                /* of rows for each thread, at least, for blocks where hidden values are never f32 */

struct ffn {
    struct eye_matrix w1, w2;
    eye_map_fn *act;
    bool at_once; /* act is the kernel's own gelu, done with the first product */
    size_t f_chunk;
    size_t hidden_offset; /* of the hidden rows in shared scratch */
};
struct ffn_run {
    struct eye_exec *x;
    const struct ffn *d;
    const float *in, *residual;
    float *y;
    size_t m;
    struct eye_cut cut; /* in blocks */
    bool packed;        /* in is a left side, each thread's rows by themselves */
};

/* A thread's scratch for one block of rows. */
struct layout {
    size_t hidden, hidden_lhs, hidden_lhs_bytes, out, bytes; /* the packed x is at 0 */
};
static struct layout block_layout(const struct ffn *d, size_t rows) {
    const struct eye_gemm_ukr *u = d->w2.ukr;
    size_t panels = eye_ceil_div(rows, u->mr);
    struct layout t;
    t.hidden_lhs_bytes = eye_line(eye_ceil_div(d->f_chunk, u->kr) * u->mr * u->lhs_step);
    t.hidden = panels * d->w1.lhs_bytes;
    t.hidden_lhs = t.hidden + eye_line(u->mr * d->f_chunk * sizeof(float));
    t.out = t.hidden_lhs + panels * t.hidden_lhs_bytes;
    t.bytes = t.out + eye_line(rows * d->w2.n * sizeof(float));
    return t;
}

/* ---- many rows ---- */

/* Hidden columns [f0, f0 + f) of m rows: product, activation, packed for w2. */
static void hidden_piece(const struct ffn_run *r, const uint8_t *lhs, size_t m, size_t f0, size_t f, float *hidden,
                         uint8_t *dst) {
    const struct eye_matrix *w = &r->d->w1;
    const float *bias = eye_blob_ptr(r->x->plan, w->bias);
    const uint8_t *rhs = (const uint8_t *)eye_blob_ptr(r->x->plan, w->blob) + f0 / w->ukr->nr * w->panel_bytes;
    if (r->d->at_once) {
        w->ukr->run_gelu(m, f, w->k, lhs, rhs, w->panel_bytes, bias ? bias + f0 : NULL, dst);
        return;
    }
    w->ukr->run(m, f, w->k, lhs, rhs, w->panel_bytes, hidden, f, bias ? bias + f0 : NULL, false);
    if (r->d->act) r->d->act(hidden, hidden, m * f);
    r->d->w2.ukr->pack_lhs(m, f, hidden, f, dst);
}

/* From row on, of a thread's share. */
static const uint8_t *packed_rows(const struct ffn_run *r, size_t row, size_t thread) {
    const struct eye_matrix *w = &r->d->w1;
    size_t first = eye_cut_share(&r->cut, thread).row;
    return (const uint8_t *)(r->in + first * w->k) + (row - first) / w->ukr->mr * w->lhs_bytes;
}

static void ffn_task(void *ctx, int i_task, int i_thread) {
    const struct ffn_run *r = ctx;
    const struct ffn *d = r->d;
    const struct eye_matrix *w1 = &d->w1, *w2 = &d->w2;
    size_t mr = w2->ukr->mr, row = eye_cut_row(&r->cut, (size_t)i_task);
    size_t rows = eye_cut_row(&r->cut, (size_t)i_task + 1) - row;
    struct layout t = block_layout(d, d->w1.block_rows);
    uint8_t *mem = eye_exec_thread(r->x, i_thread);
    float *out = (float *)(mem + t.out);
    const float *bias = eye_blob_ptr(r->x->plan, w2->bias);
    const uint8_t *rhs = eye_blob_ptr(r->x->plan, w2->blob);
    const uint8_t *lhs = r->packed ? packed_rows(r, row, (size_t)i_task / r->cut.each) : mem;
    for (size_t i = 0; !r->packed && i < rows; i += mr)
        w1->ukr->pack_lhs(EYE_MIN(mr, rows - i), w1->k, r->in + (row + i) * w1->k, w1->k, mem + i / mr * w1->lhs_bytes);
    for (size_t f0 = 0; f0 < w1->n; f0 += d->f_chunk) {
        size_t f = EYE_MIN(d->f_chunk, w1->n - f0);
        for (size_t i = 0; i < rows; i += mr)
            hidden_piece(r, lhs + i / mr * w1->lhs_bytes, EYE_MIN(mr, rows - i), f0, f, (float *)(mem + t.hidden),
                         mem + t.hidden_lhs + i / mr * t.hidden_lhs_bytes);
        bool adds = r->residual && w2->ukr->run_add && f0 + f == w1->n;
        for (size_t i = 0; i < rows; i += mr) {
            size_t m = EYE_MIN(mr, rows - i), at = (row + i) * w2->n, next = (row + rows + i) * w1->k;
            const void *hidden = mem + t.hidden_lhs + i / mr * t.hidden_lhs_bytes;
            const void *part = rhs + f0 / w2->ukr->kr * w2->ukr->rhs_step;
            float *c = out + i * w2->n;
            if (!adds) {
                w2->ukr->run(m, w2->n, f, hidden, part, w2->panel_bytes, c, w2->n, bias, f0 > 0);
                continue;
            }
            struct eye_gemm_add add = {.y = r->y + at, .x = r->residual + at}; /* and what the next block packs */
            if (!r->packed && w1->k == w2->n && row + rows + i + m <= r->m) add.next = r->in + next;
            w2->ukr->run_add(m, w2->n, f, hidden, part, w2->panel_bytes, c, w2->n, bias, f0 > 0, &add);
        }
    }
    float *y = r->y + row * w2->n;
    if (r->residual && w2->ukr->run_add) return;
    if (r->residual)
        r->x->plan->e->kernels.add_f32(y, out, r->residual + row * w2->n, rows * w2->n);
    else
        memcpy(y, out, rows * w2->n * sizeof *y);
}

/* ---- fewer rows ---- */

static void two_products(struct eye_exec *x, const struct ffn_run *r) {
    const struct ffn *d = r->d;
    float *hidden = (float *)(eye_exec_shared(x) + d->hidden_offset);
    for (size_t row = 0; row < r->m; row += EYE_SHARED_ROWS) {
        size_t rows = EYE_MIN(EYE_SHARED_ROWS, r->m - row), at = row * d->w2.n;
        struct eye_gemm first = {.w = &d->w1, .m = rows, .x = r->in + row * d->w1.k, .y = hidden, .act = d->act};
        struct eye_gemm second = {.w = &d->w2, .m = rows, .x = hidden, .y = r->y + at,
                                  .residual = r->residual ? r->residual + at : NULL};
        eye_gemm_run(x, &first);
        eye_gemm_run(x, &second);
    }
}

static bool by_blocks(const struct eye_engine *e, const struct ffn *d, size_t m) {
    if (!d->f_chunk) return false;
    return eye_by_blocks(e, &d->w1, m) || (d->at_once && m >= OWN_PANELS * d->w1.ukr->mr * (size_t)eye_pool_n_threads(e->pool));
}

static struct ffn_run start_run(struct eye_exec *x, const struct eye_step *s) {
    const struct ffn *d = s->data;
    const struct eye_node *n = s->node;
    struct ffn_run r = {.x = x, .d = d, .in = eye_exec_ptr(x, n->in[0]), .residual = eye_exec_ptr(x, eye_node_in(n, 5)),
                        .y = eye_exec_ptr(x, n->out), .m = eye_exec_rows(x, n->in[0])};
    r.cut = eye_exec_cut(x, r.m, eye_exec_width(x, n->out), d->w1.ukr->mr, d->w1.block_rows);
    return r;
}

static enum eye_status run_ffn(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    struct ffn_run r = start_run(x, s);
    if (by_blocks(x->plan->e, r.d, r.m)) eye_exec_tasks(x, SIZE_MAX, eye_cut_parts(&r.cut), ffn_task, &r);
    else two_products(x, &r);
    return EYE_OK;
}

static void run_behind(struct eye_exec *x, const struct eye_step *s, const struct eye_step *before) {
    struct ffn_run r = start_run(x, s);
    r.packed = true;
    uint64_t start = x->timing ? eye_now_ns() : 0;
    before->packed(x, before, &r.cut);
    uint64_t middle = x->timing ? eye_now_ns() : 0;
    eye_exec_tasks(x, SIZE_MAX, eye_cut_parts(&r.cut), ffn_task, &r);
    if (!x->timing) return;
    x->ns[before - x->plan->step] = middle - start;
    x->ns[s - x->plan->step] = eye_now_ns() - middle;
}

/* A hidden piece is whole panels of w1 and whole steps of w2. 0: the two matrices' kernels do not fit together. */
static size_t choose_f_chunk(const struct ffn *d) {
    const struct eye_gemm_ukr *u1 = d->w1.ukr, *u2 = d->w2.ukr;
    if (u1->mr != u2->mr || u1->nr % u2->kr != 0) return 0;
    size_t row_bytes = EYE_MAX(d->w1.panel_bytes / u1->nr, 1);
    size_t bytes = d->at_once ? F_AT_ONCE_BYTES : F_CHUNK_BYTES, most = d->at_once ? F_AT_ONCE_COLS : F_CHUNK_COLS;
    size_t cols = EYE_MIN(EYE_MIN(bytes / row_bytes, most), EYE_ALIGN_UP(d->w1.n, u1->nr));
    return EYE_MAX(cols / u1->nr, 1) * u1->nr;
}

/* The step before can make the left side, each thread's rows being whole lines, and nobody else reads it. */
static bool stands_behind(const struct eye_lower *l, const struct eye_node *n, const struct eye_step *s, const struct ffn *d,
                          size_t m) {
    const struct eye_step *before = l->plan->n_steps ? &l->plan->step[l->plan->n_steps - 1] : NULL;
    return before && before->packed && before->node->out == n->in[0] && l->uses[n->in[0]] == 1 &&
           before->leads_to == s->leads_to && before->m == m && before->whole == eye_plan_width(l->plan, n->out) &&
           d->at_once && d->w1.ukr->kr == 32 &&
           d->w1.ukr->lhs_step == 64 && by_blocks(l->e, d, m);
}

enum eye_status eye_lower_ffn(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    eye_val residual = eye_node_in(n, 5);
    struct ffn *d = eye_lower_data(l, s, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    EYE_TRY(eye_lower_matrix(l, n, n->in[1], eye_node_in(n, 2), n->attr.wtype, false, &d->w1, err));
    EYE_TRY(eye_lower_matrix(l, n, n->in[3], eye_node_in(n, 4), n->attr.wtype, false, &d->w2, err));
    EYE_TRY(eye_lower_operand(l, n, n->in[0], err));
    if (residual != EYE_NONE) {
        EYE_TRY(eye_lower_operand(l, n, residual, err));
        eye_lower_in_place(l, n, residual);
    }
    d->act = eye_act_kernel(&l->e->kernels, n->attr.act);
    d->at_once = n->attr.act == EYE_ACT_GELU && d->w1.ukr == d->w2.ukr && d->w1.ukr->run_gelu;
    if (d->at_once) d->act = d->w1.ukr->gelu;
    d->f_chunk = choose_f_chunk(d);
    size_t m = eye_lower_elems(l, n->in[0]) / d->w1.k, rows = EYE_MIN(m, EYE_SHARED_ROWS);
    d->hidden_offset = eye_line(EYE_MAX(eye_gemm_shared_bytes(&d->w1, rows), eye_gemm_shared_bytes(&d->w2, rows)));
    eye_lower_gemm_scratch(l, &d->w1, rows, false);
    eye_lower_gemm_scratch(l, &d->w2, rows, false);
    eye_lower_scratch(l, by_blocks(l->e, d, m) ? block_layout(d, d->w1.block_rows).bytes : 0,
                      d->hidden_offset + eye_line(rows * d->w1.n * sizeof(float)));
    s->run = run_ffn;
    if (stands_behind(l, n, s, d, m)) s->behind = run_behind;
    return EYE_OK;
}
