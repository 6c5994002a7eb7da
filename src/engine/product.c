/* engine/product: products whose both sides change between runs: trainable weights, gradients. The right side is packed for the
 * run, then the GEMM driver of gemm.c multiplies; or, when few outputs are sums of very many terms (gradients of weights), the
 * terms are cut into parts whose sums are added afterwards.
 *
 * How many parts there are, and where they end, follows from the sizes alone: results depend neither on the number of threads
 * nor on max_t. */
#include "engine/engine_impl.h"

#include <string.h>

/* Emulated it would be slower than f32, and less exact. */
static bool takes_bf16(const struct eye_lower *l) {
    return l->plan->opts.train_bf16 && (l->e->kernels.flags & (EYE_CPU_AVX512BF16 | EYE_CPU_BF16)) != 0;
}

const struct eye_gemm_ukr *eye_product_ukr(const struct eye_lower *l) {
    return takes_bf16(l) ? l->e->kernels.gemm_f32_bf16_bf16 : l->e->kernels.gemm_f32_f32_f32;
}

enum eye_wtype eye_lower_wtype(const struct eye_lower *l, const struct eye_node *n) {
    return takes_bf16(l) && n->attr.wtype == EYE_W_EXACT ? EYE_W_BF16 : n->attr.wtype;
}

/* ---- the right side ---- */

#define PACK_K 1024u /* a multiple of all kr */

struct pack_run {
    struct eye_exec *x;
    const struct eye_product *j;
    uint8_t *dst;
    size_t panel_bytes, pieces; /* pieces of k per panel */
};

/* Elements of k per packing task; made rows are made whole. */
static size_t pack_k(const struct eye_product *j) { return j->b.rows ? j->k : PACK_K; }

/* A thread's scratch for a panel from rows: them in the kernel's weight type, and made rows. */
static size_t narrow_bytes(const struct eye_product *j) { return eye_line(j->ukr->nr * pack_k(j) * sizeof(uint16_t)); }
static size_t pack_scratch(const struct eye_product *j) {
    return j->b.by_k ? 0 : narrow_bytes(j) + (j->b.rows ? j->ukr->nr * j->k * sizeof(float) : 0);
}

/* Columns [col, col + n) of the right side, elements [k0, k0 + k), from rows. */
static void pack_from_rows(const struct eye_product *j, const struct eye_kernels *kn, size_t col, size_t n, size_t k0, size_t k,
                           uint8_t *dst, uint8_t *mem) {
    const float *src = (float *)(mem + narrow_bytes(j));
    uint16_t *narrow = (uint16_t *)mem;
    if (j->b.rows)
        j->b.rows(j->b.rows_ctx, col, n, (float *)(mem + narrow_bytes(j)));
    else
        src = j->b.p + col * j->k + k0;
    if (j->ukr != kn->gemm_f32_bf16_bf16) {
        j->ukr->pack_rhs(n, k, src, j->k * sizeof *src, dst);
        return;
    }
    for (size_t i = 0; i < n; i++) kn->f32_to_bf16(narrow + i * k, src + i * j->k, k);
    j->ukr->pack_rhs(n, k, narrow, k * sizeof *narrow, dst);
}

static void pack_task(void *ctx, int i_task, int i_thread) {
    const struct pack_run *r = ctx;
    const struct eye_product *j = r->j;
    const struct eye_gemm_ukr *u = j->ukr;
    size_t panel = (size_t)i_task / r->pieces, k0 = (size_t)i_task % r->pieces * pack_k(j), col = panel * u->nr;
    size_t n = EYE_MIN(u->nr, j->n - col), k = EYE_MIN(pack_k(j), j->k - k0);
    uint8_t *dst = r->dst + panel * r->panel_bytes + k0 / u->kr * u->rhs_step;
    if (j->b.by_k)
        u->pack_rhs_t(n, k, j->b.p + k0 * j->n + col, j->n, dst);
    else
        pack_from_rows(j, &r->x->plan->e->kernels, col, n, k0, k, dst, eye_exec_thread(r->x, i_thread));
}

/* ---- by outputs ---- */

static void run_by_outputs(struct eye_exec *x, const struct eye_product *j) {
    struct eye_matrix w;
    eye_matrix_init(&w, j->ukr, j->n, j->k);
    size_t panels = eye_ceil_div(j->n, j->ukr->nr), rhs_at = eye_gemm_shared_bytes(&w, j->m);
    struct pack_run r = {x, j, eye_exec_shared(x) + rhs_at, w.panel_bytes, eye_ceil_div(j->k, pack_k(j))};
    assert(rhs_at + eye_matrix_bytes(&w) <= x->plan->shared_bytes && pack_scratch(j) <= x->plan->thread_bytes);
    eye_exec_tasks(x, j->n * j->k, panels * r.pieces, pack_task, &r);
    struct eye_gemm g = {.w = &w, .rhs = r.dst, .bias = j->bias, .m = j->m, .x = j->a.p, .x_by_k = j->a.by_k, .rows = j->a.rows,
                         .rows_ctx = j->a.rows_ctx, .y = j->y, .residual = j->residual, .act = j->act};
    eye_gemm_run(x, &g);
}

/* ---- by parts of k: both sides by_k ---- */

#define PART_K 1024u            /* least terms of a part */
#define PARTS_MAX 16u
#define PARTS_FLOATS (1u << 19) /* all parts' sums */
#define CHUNK_BYTES (256u << 10) /* of the right side, packed: it stays in L2 while the left panels pass by */

/* 1: by outputs. Products that only this way can do (made right sides) are cut more finely. */
static size_t n_parts(const struct eye_product *j) {
    if (!j->a.by_k) return 1;
    bool needed = j->b.rows || j->taps > 1;
    size_t by_k = j->k / (needed ? PART_K / 4 : PART_K), by_memory = PARTS_FLOATS / (j->m * j->n);
    if (needed) return EYE_MAX(EYE_MIN(EYE_MIN(by_k, PARTS_MAX), EYE_MAX(by_memory, 4)), 1);
    size_t n = EYE_MIN(EYE_MIN(by_k, by_memory), PARTS_MAX);
    return n < 4 ? 1 : n;
}

static bool goes_by_parts(const struct eye_product *j) { return j->a.by_k && (j->b.rows || j->taps > 1 || n_parts(j) > 1); }

struct parts_run {
    struct eye_exec *x;
    struct eye_product j; /* sides as they are multiplied */
    bool turned;          /* they were exchanged: y is the transpose */
    struct eye_matrix w;  /* of one chunk */
    size_t chunk, terms;  /* of k: per pass, per part */
    size_t parts, piece;  /* piece: rows of y per adding task */
    float *sum;           /* [parts][m][n] */
};

/* A thread's scratch: packed right side, one left panel, made rows. */
struct layout {
    size_t lhs, made, bytes;
};
static struct layout part_layout(const struct parts_run *r) {
    struct layout t = {.lhs = eye_matrix_bytes(&r->w)};
    t.made = t.lhs + r->w.lhs_bytes;
    t.bytes = t.made + (r->j.b.rows ? eye_line(r->chunk * r->j.n * sizeof(float)) : 0);
    return t;
}

/* Panels are padded along n only: the side that fits them better is the right one. */
static bool better_turned(const struct eye_product *j) {
    size_t nr = j->ukr->nr;
    return !j->b.rows && j->taps <= 1 && j->n * EYE_ALIGN_UP(j->m, nr) < j->m * EYE_ALIGN_UP(j->n, nr);
}

static struct parts_run make_parts(struct eye_exec *x, const struct eye_product *j) {
    struct parts_run r = {.x = x, .j = *j, .turned = better_turned(j), .parts = n_parts(j)};
    const struct eye_gemm_ukr *u = j->ukr;
    if (r.turned) {
        r.j.m = j->n, r.j.a = j->b;
        r.j.n = j->m, r.j.b = j->a;
    }
    size_t k_bytes = eye_ceil_div(r.j.n, u->nr) * u->rhs_step / u->kr;
    r.chunk = EYE_MIN(EYE_MAX(CHUNK_BYTES / EYE_MAX(k_bytes, 1) / 64, 1) * 64, PACK_K); /* 64: a multiple of all kr */
    r.terms = EYE_ALIGN_UP(eye_ceil_div(r.j.k, r.parts), 64);
    eye_matrix_init(&r.w, u, r.j.n, r.chunk);
    return r;
}

/* Terms [k0, k0 + k) of all outputs, added to sum [m][n]. */
static void add_chunk(const struct parts_run *r, size_t k0, size_t k, uint8_t *mem, float *sum, bool accumulate) {
    const struct eye_product *j = &r->j;
    const struct eye_gemm_ukr *u = j->ukr;
    struct layout t = part_layout(r);
    size_t rows = eye_ceil_div(j->m, eye_ceil_div(j->m, u->mr)); /* even panels: a last one of a row or two would be slow */
    const float *b = j->b.p + k0 * j->n;
    if (j->b.rows) {
        float *made = (float *)(mem + t.made);
        j->b.rows(j->b.rows_ctx, k0, k, made);
        b = made;
    }
    for (size_t col = 0; col < j->n; col += u->nr)
        u->pack_rhs_t(EYE_MIN(u->nr, j->n - col), k, b + col, j->n, mem + col / u->nr * r->w.panel_bytes);
    for (size_t i = 0; i < j->m; i += rows) {
        size_t m = EYE_MIN(rows, j->m - i);
        u->pack_lhs_t(m, k, j->a.p + k0 * j->m + i, j->m, mem + t.lhs);
        u->run(m, j->n, k, mem + t.lhs, mem, r->w.panel_bytes, sum + i * j->n, j->n, NULL, accumulate);
    }
}

static void part_task(void *ctx, int i_task, int i_thread) {
    const struct parts_run *r = ctx;
    size_t first = (size_t)i_task * r->terms, end = EYE_MIN(first + r->terms, r->j.k);
    float *sum = r->sum + (size_t)i_task * r->j.m * r->j.n;
    if (first >= end) memset(sum, 0, r->j.m * r->j.n * sizeof *sum);
    for (size_t k0 = first; k0 < end; k0 += r->chunk)
        add_chunk(r, k0, EYE_MIN(r->chunk, end - k0), eye_exec_thread(r->x, i_thread), sum, k0 > first);
}

/* Adds the parts in their order, into y; rows of [taps][channels] become [channels][taps]. */
static void add_task(void *ctx, int i_task, int i_thread) {
    const struct parts_run *r = ctx;
    const struct eye_product *j = &r->j;
    const struct eye_kernels *kn = &r->x->plan->e->kernels;
    size_t first = (size_t)i_task * r->piece, end = EYE_MIN(first + r->piece, j->m), step = j->m * j->n;
    for (size_t row = first; row < end; row++) {
        float *sum = r->sum + row * j->n;
        for (size_t p = 1; p < r->parts; p++) kn->add_f32(sum, sum, sum + p * step, j->n);
        size_t taps = EYE_MAX(j->taps, 1), channels = j->n / taps;
        size_t at = r->turned ? row : row * j->n, next = r->turned ? j->m : 1; /* in y: where, and how far apart */
        for (size_t c = 0; c < channels; c++)
            for (size_t t = 0; t < taps; t++) j->y[at + (c * taps + t) * next] = sum[t * channels + c];
    }
}

static void run_by_parts(struct eye_exec *x, const struct eye_product *j) {
    struct parts_run r = make_parts(x, j);
    r.sum = (float *)eye_exec_shared(x);
    assert(r.parts * j->m * j->n * sizeof(float) <= x->plan->shared_bytes && part_layout(&r).bytes <= x->plan->thread_bytes);
    eye_exec_tasks(x, j->m * j->n * j->k / 4, r.parts, part_task, &r);
    r.piece = eye_exec_piece(x, r.j.m, eye_ceil_div(4096, r.j.n));
    eye_exec_tasks(x, j->m * j->n * r.parts, eye_ceil_div(r.j.m, r.piece), add_task, &r);
}

/* ---- either ---- */

void eye_product_run(struct eye_exec *x, const struct eye_product *j) {
    if (j->m == 0 || j->n == 0) return;
    if (goes_by_parts(j))
        run_by_parts(x, j);
    else
        run_by_outputs(x, j);
}

void eye_lower_product_scratch(struct eye_lower *l, const struct eye_product *p) {
    struct eye_product j = *p;
    if (goes_by_parts(&j)) {
        struct parts_run r = make_parts(NULL, &j);
        eye_lower_scratch(l, part_layout(&r).bytes, r.parts * j.m * j.n * sizeof(float));
        if (j.b.rows || j.taps > 1) return;
        j.k = EYE_MIN(j.k, 4 * PART_K); /* a run of fewer rows goes by outputs */
    }
    struct eye_matrix w, shallow;
    eye_matrix_init(&w, j.ukr, j.n, j.k);
    eye_matrix_init(&shallow, j.ukr, j.n, 1);
    w.range_cols = EYE_MAX(w.range_cols, shallow.range_cols); /* the widest blocks of columns: a run's k may be any up to j.k */
    eye_lower_gemm_scratch(l, &w, j.m, j.a.rows != NULL);
    eye_lower_scratch(l, pack_scratch(&j), eye_gemm_shared_bytes(&w, j.m) + eye_matrix_bytes(&w));
}
