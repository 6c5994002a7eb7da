/* engine/gemm: y = act(x w^T + bias) + residual over the pool.
 *
 * Two ways of sharing the work, by the number of rows:
 *   many rows   a task is a block of rows: it packs them for itself and runs through all columns; nothing is shared but w. Also
 *               for fewer rows if w is small, or if each thread has many.
 *   fewer rows  the left side is packed once for everybody, then a task is (a tile of rows) x (a range of columns). If there are
 *               enough rows each thread has its own, the same ones in every product, norm and activation: what it makes it
 *               also reads.
 *   one row     streams w from memory, once: a thread has the same part of every matrix of a step, in as many streams as the
 *               kernel takes; a task is a piece of each of them, so that the next one goes on where it ended.
 * Inside a task an rhs block of range_cols columns x k_chunk stays in L2 while the lhs panels pass by; sums continue through
 * y or the tile (exact by the kernels' contract), and activation and residual are applied while the tile is in cache.
 * Every split is over outputs: results depend neither on the tiles nor on the number of threads. */
#include "engine/engine_impl.h"

#define TILE_ROWS 256u  /* rows of a task when the left side is shared */
#define OWN_ROWS 64u    /* of each thread at least, before rows are shared out in place of columns */
#define TASKS_PER_THREAD 6u
#define CACHED_BYTES ((size_t)16 << 20) /* a plan's weights below this may still be in a cache from the run before */
#define SLICE_BYTES ((size_t)1 << 20) /* of weights in such a task at least */

/* Rows [row, row + rows) of the left side in n even panels, so that as many panels are as many rows, or one more. */
struct panels { size_t row, rows, n; };
static size_t panel_row(const struct panels *p, size_t i) { return p->row + eye_part(p->rows, p->n, i); }

struct gemm_run {
    struct eye_exec *x;
    const struct eye_gemm *j;         /* the first one's left side is all */
    size_t n_jobs;
    struct eye_cut cut;               /* where only rows are cut */
    struct panels left;               /* this chunk of the left side */
    size_t n_blocks;                  /* tasks along rows: equal numbers of panels */
    size_t own_blocks;                /* neighbouring blocks that one thread begins with; or all */
    size_t range_cols[EYE_STEP_NODES], n_ranges[EYE_STEP_NODES]; /* along columns, of each job */
    size_t threads, slices;           /* with one row: parts of each job, tasks of each part */
};

/* Weights that stay in every thread's own cache: blocks may be short, so that each thread takes the rows that it made. */
#define OWN_CACHE_BYTES ((size_t)640 << 10)
static bool short_blocks(const struct eye_engine *e, const struct eye_matrix *w, size_t m) {
    return eye_matrix_bytes(w) <= OWN_CACHE_BYTES && m >= (size_t)w->ukr->mr * (size_t)eye_pool_n_threads(e->pool);
}

/* Rows of each thread from which on blocks cost less than meeting twice in EYE_SHARED_ROWS. Weights, of 2 bytes at most, are then
 * read from the last-level cache once a block: more of them would take longer than that. */
#define OWN_BLOCK_ROWS 224u
static bool own_blocks(const struct eye_engine *e, const struct eye_matrix *w, size_t m) {
    return w->panel_bytes <= 2 * w->ukr->nr * w->steps * w->ukr->kr && m >= OWN_BLOCK_ROWS * (size_t)eye_pool_n_threads(e->pool);
}

static bool by_blocks(const struct eye_engine *e, const struct eye_matrix *w, size_t m) {
    return eye_by_blocks(e, w, m) || short_blocks(e, w, m) || own_blocks(e, w, m);
}

/* A thread's scratch: [made rows: mr x k f32][lhs block][tile]. The same arithmetic for planning and running. */
struct layout {
    size_t lhs, tile, bytes;
};
static struct layout thread_layout(const struct eye_engine *e, const struct eye_matrix *w, size_t m, bool made_rows) {
    size_t mr = w->ukr->mr, rows = EYE_MIN(EYE_MAX(TILE_ROWS, w->block_rows), EYE_ALIGN_UP(m, mr));
    struct layout t = {0};
    t.lhs = made_rows ? eye_line(mr * w->k * sizeof(float)) : 0;
    t.tile = t.lhs + (by_blocks(e, w, m) ? w->block_rows / mr * w->lhs_bytes : 0);
    size_t cols = EYE_MIN(w->range_cols, EYE_ALIGN_UP(w->n, w->ukr->nr));
    t.bytes = t.tile + eye_line((w->k > w->k_chunk ? rows : mr) * cols * sizeof(float));
    return t;
}

void eye_lower_gemm_scratch(struct eye_lower *l, const struct eye_matrix *w, size_t m_max, bool made_rows) {
    eye_lower_scratch(l, thread_layout(l->e, w, m_max, made_rows).bytes, eye_gemm_shared_bytes(w, m_max));
}

/* Blocks are no shorter than two full panels, and each may have one more than these. */
size_t eye_gemm_shared_bytes(const struct eye_matrix *w, size_t m) {
    size_t full = eye_ceil_div(EYE_MIN(m, EYE_SHARED_ROWS), w->ukr->mr);
    return (full + full / 2) * w->lhs_bytes;
}

/* Rows [row, row + m) of x as a panel. made: scratch for mr rows. */
static void pack_panel(const struct eye_gemm *j, size_t row, size_t m, uint8_t *dst, float *made) {
    const struct eye_matrix *w = j->w;
    const float *src = made;
    if (j->x_by_k) {
        w->ukr->pack_lhs_t(m, w->k, j->x + row, j->m, dst);
        return;
    }
    if (j->x)
        src = j->x + row * w->k;
    else
        j->rows(j->rows_ctx, row, m, made);
    w->ukr->pack_lhs(m, w->k, src, w->k, dst);
}

/* A panel's results leave the tile: act, residual, y. */
static void finish_panel(const struct eye_exec *x, const struct eye_gemm *j, float *c, size_t row, size_t m, size_t col,
                         size_t cols) {
    const struct eye_kernels *k = &x->plan->e->kernels;
    if (cols == j->w->n) { /* whole rows lie side by side on both sides */
        cols *= m;
        m = 1;
    }
    for (size_t i = 0; i < m; i++, c += cols) {
        float *y = j->y + (row + i) * j->w->n + col;
        const float *r = j->residual ? j->residual + (row + i) * j->w->n + col : NULL;
        if (j->act && r) {
            /* not through y: it may be the residual's memory */
            j->act(c, c, cols);
            k->add_f32(y, c, r, cols);
        } else if (j->act) {
            j->act(y, c, cols);
        } else {
            k->add_f32(y, c, r, cols);
        }
    }
}

/* Panels [first, end) of p (packed, all of them, at lhs) times columns [col, col + cols). */
static void do_tile(const struct eye_exec *x, const struct eye_gemm *j, const uint8_t *lhs, const struct panels *p,
                    size_t first, size_t end, size_t col, size_t cols, float *tile) {
    const struct eye_matrix *w = j->w;
    const struct eye_gemm_ukr *u = w->ukr;
    const uint8_t *rhs = j->rhs ? j->rhs : eye_blob_ptr(x->plan, w->blob);
    const float *bias = j->bias ? j->bias : eye_blob_ptr(x->plan, w->bias);
    rhs += col / u->nr * w->panel_bytes;
    bool staged = j->act || j->residual;
    /* One or two panels have nothing to gain from an rhs block that stays in L2. */
    size_t chunk = end - first <= 2 ? EYE_MAX(w->k, w->k_chunk) : w->k_chunk, row0 = panel_row(p, first);
    bool single = w->k <= chunk;
    for (size_t k0 = 0; k0 < w->k; k0 += chunk) {
        size_t k = EYE_MIN(chunk, w->k - k0), step0 = k0 / u->kr;
        for (size_t i = first; i < end; i++) {
            size_t row = panel_row(p, i), m = panel_row(p, i + 1) - row;
            float *c = staged ? tile + (single ? 0 : (row - row0) * cols) : j->y + row * w->n + col;
            u->run(m, cols, k, lhs + i * w->lhs_bytes + step0 * m * u->lhs_step, rhs + step0 * u->rhs_step, w->panel_bytes, c,
                   staged ? cols : w->n, bias ? bias + col : NULL, k0 > 0);
            if (staged && k0 + k == w->k) finish_panel(x, j, c, row, m, col, cols);
        }
    }
}

/* ---- many rows ---- */

bool eye_gemm_has_rows(const struct eye_engine *e, const struct eye_matrix *w, size_t m) { return by_blocks(e, w, m); }

void eye_gemm_rows(const struct eye_exec *x, const struct eye_gemm *j, size_t row, size_t n, int i_thread) {
    const struct eye_matrix *w = j->w;
    struct layout t = thread_layout(x->plan->e, w, j->m, !j->x);
    uint8_t *scratch = eye_exec_thread(x, i_thread);
    for (size_t end = row + n; row < end; row += w->block_rows) {
        struct panels p = {.row = row, .rows = EYE_MIN(w->block_rows, end - row)};
        p.n = eye_ceil_div(p.rows, w->ukr->mr);
        for (size_t i = 0; i < p.n; i++)
            pack_panel(j, panel_row(&p, i), panel_row(&p, i + 1) - panel_row(&p, i), scratch + t.lhs + i * w->lhs_bytes,
                       (float *)scratch);
        for (size_t col = 0; col < w->n; col += w->range_cols)
            do_tile(x, j, scratch + t.lhs, &p, 0, p.n, col, EYE_MIN(w->range_cols, w->n - col), (float *)(scratch + t.tile));
    }
}

static void block_task(void *ctx, int i_task, int i_thread) {
    const struct gemm_run *r = ctx;
    size_t row = eye_cut_row(&r->cut, (size_t)i_task), end = eye_cut_row(&r->cut, (size_t)i_task + 1);
    eye_gemm_rows(r->x, r->j, row, end - row, i_thread);
}

/* ---- fewer rows ---- */

static void pack_task(void *ctx, int i_task, int i_thread) {
    const struct gemm_run *r = ctx;
    size_t i = (size_t)i_task, row = panel_row(&r->left, i);
    pack_panel(r->j, row, panel_row(&r->left, i + 1) - row, eye_exec_shared(r->x) + i * r->j->w->lhs_bytes,
               (float *)eye_exec_thread(r->x, i_thread));
}

/* A thread's row tiles run fastest: their weights are read from memory once. */
static void tile_task(void *ctx, int i_task, int i_thread) {
    const struct gemm_run *r = ctx;
    const struct eye_gemm *j = r->j;
    size_t n_ranges = 0, i_job = 0;
    for (size_t k = 0; k < r->n_jobs; k++) n_ranges += r->n_ranges[k];
    size_t own = (size_t)i_task / (n_ranges * r->own_blocks), rest = (size_t)i_task % (n_ranges * r->own_blocks);
    size_t turn = own * r->own_blocks * n_ranges / r->n_blocks; /* two threads that want the same weights at once both wait */
    size_t block = own * r->own_blocks + rest % r->own_blocks, range = (rest / r->own_blocks + turn) % n_ranges;
    size_t per_block = r->left.n / r->n_blocks;
    while (range >= r->n_ranges[i_job]) range -= r->n_ranges[i_job++];
    j += i_job;
    const struct eye_matrix *w = j->w;
    struct layout t = thread_layout(r->x->plan->e, w, j->m, !j->x);
    size_t col = range * r->range_cols[i_job];
    do_tile(r->x, j, eye_exec_shared(r->x), &r->left, block * per_block, (block + 1) * per_block, col,
            EYE_MIN(r->range_cols[i_job], w->n - col), (float *)(eye_exec_thread(r->x, i_thread) + t.tile));
}

/* Enough tasks for all threads, but not smaller than needed. Returns how many. */
static size_t choose_grid(struct gemm_run *r) {
    size_t mr = r->j->w->ukr->mr, nr = r->j->w->ukr->nr, panels = 0, n_tasks = 0;
    for (size_t i = 0; i < r->n_jobs; i++) panels += eye_ceil_div(r->j[i].w->n, nr);
    size_t threads = (size_t)eye_pool_n_threads(r->x->plan->e->pool), want = threads * TASKS_PER_THREAD;
    size_t rows = r->left.rows, block = EYE_MAX(TILE_ROWS / mr, 2) * mr;
    if (rows >= threads * OWN_ROWS) {
        size_t own = eye_ceil_div(rows, threads); /* equal numbers of equal blocks */
        block = EYE_MIN(block, EYE_MAX(eye_ceil_div(own, eye_ceil_div(own, block)), 2 * mr));
    }
    while (eye_ceil_div(rows, block) * panels < want && block > 2 * mr) block = EYE_MAX(eye_ceil_div(block, 2), 2 * mr);
    r->n_blocks = eye_ceil_div(rows, block);
    r->left.n = EYE_ALIGN_UP(eye_ceil_div(rows, mr), r->n_blocks);
    r->own_blocks = r->n_blocks % threads == 0 ? r->n_blocks / threads : r->n_blocks;
    size_t per_task = EYE_MAX(panels * r->n_blocks / want, 1);
    for (size_t i = 0; i < r->n_jobs; i++) {
        const struct eye_matrix *w = r->j[i].w;
        size_t own = eye_ceil_div(w->n, nr), ranges = eye_ceil_div(own, EYE_MIN(w->range_cols / nr, per_task));
        r->range_cols[i] = eye_ceil_div(own, ranges) * nr;
        r->n_ranges[i] = eye_ceil_div(w->n, r->range_cols[i]);
        n_tasks += r->n_ranges[i] * r->n_blocks;
    }
    return n_tasks;
}

/* ---- one row ---- */

struct strand { /* a thread's piece of all jobs' whole panels, one after the other */
    size_t left;           /* panels, in all jobs */
    const struct eye_gemm *j;
    size_t panel, in_job;  /* where it is; how many are left there */
};

static size_t own_panels(const struct gemm_run *r, const struct eye_gemm *j, size_t own, size_t *first) {
    size_t panels = j->w->n / j->w->ukr->nr;
    *first = eye_part(panels, r->threads, own);
    return eye_part(panels, r->threads, own + 1) - *first;
}

/* Of part `own` of all jobs, [at, at + len). */
static struct strand strand_at(const struct gemm_run *r, size_t own, size_t at, size_t len) {
    struct strand t = {.left = len, .j = r->j};
    for (;; t.j++) {
        t.in_job = own_panels(r, t.j, own, &t.panel);
        if (len == 0 || at < t.in_job) break;
        at -= t.in_job;
    }
    t.panel += at;
    t.in_job -= EYE_MIN(at, t.in_job);
    return t;
}

static void strand_next(const struct gemm_run *r, size_t own, size_t n, struct strand *t) {
    t->panel += n;
    t->in_job -= n;
    t->left -= n;
    while (t->left && !t->in_job) t->in_job = own_panels(r, ++t->j, own, &t->panel);
}

/* So many panels of each strand; tile: room for them. */
static void do_strands(const struct gemm_run *r, const struct strand *const *t, size_t n, size_t panels, float *tile) {
    const struct eye_gemm_ukr *u = r->j->w->ukr;
    struct eye_gemm_stream s[EYE_STREAMS];
    size_t cols = panels * u->nr;
    for (size_t i = 0; i < n; i++) {
        const struct eye_gemm *j = t[i]->j;
        const uint8_t *rhs = j->rhs ? j->rhs : eye_blob_ptr(r->x->plan, j->w->blob);
        const float *bias = j->bias ? j->bias : eye_blob_ptr(r->x->plan, j->w->bias);
        size_t col = t[i]->panel * u->nr;
        s[i] = (struct eye_gemm_stream){rhs + t[i]->panel * j->w->panel_bytes,
                                        j->act || j->residual ? tile + i * cols : j->y + col, bias ? bias + col : NULL};
    }
    u->run_streams(n, panels, r->j->w->k, eye_exec_shared(r->x), r->j->w->panel_bytes, s);
    for (size_t i = 0; i < n; i++)
        if (s[i].c == tile + i * cols) finish_panel(r->x, t[i]->j, s[i].c, 0, 1, t[i]->panel * u->nr, cols);
}

static void row_task(void *ctx, int i_task, int i_thread) {
    const struct gemm_run *r = ctx;
    const struct eye_matrix *w = r->j->w;
    size_t own = (size_t)i_task / r->slices, slice = (size_t)i_task % r->slices, all = 0, first;
    struct layout l = thread_layout(r->x->plan->e, w, 1, !r->j->x);
    float *tile = (float *)(eye_exec_thread(r->x, i_thread) + l.tile);
    size_t room = (l.bytes - l.tile) / sizeof *tile / w->ukr->nr / EYE_STREAMS;
    struct strand t[EYE_STREAMS];
    for (size_t i = 0; i < r->n_jobs; i++) all += own_panels(r, &r->j[i], own, &first);
    for (size_t i = 0; i < EYE_STREAMS; i++) {
        size_t begin = eye_part(all, EYE_STREAMS, i), len = eye_part(all, EYE_STREAMS, i + 1) - begin;
        size_t at = eye_part(len, r->slices, slice);
        t[i] = strand_at(r, own, begin + at, eye_part(len, r->slices, slice + 1) - at);
    }
    for (;;) {
        const struct strand *some[EYE_STREAMS];
        size_t n = 0, panels = room;
        for (size_t i = 0; i < EYE_STREAMS; i++) {
            if (!t[i].left) continue;
            some[n++] = &t[i];
            panels = EYE_MIN(panels, EYE_MIN(t[i].left, t[i].in_job));
        }
        if (!n) break;
        do_strands(r, some, n, panels, tile);
        for (size_t i = 0; i < EYE_STREAMS; i++)
            if (t[i].left) strand_next(r, own, panels, &t[i]);
    }
    if (i_task + 1 < (int)(r->threads * r->slices)) return;
    for (size_t i = 0; i < r->n_jobs; i++) { /* columns beyond whole panels */
        size_t rest = r->j[i].w->n % w->ukr->nr;
        if (rest) do_tile(r->x, &r->j[i], eye_exec_shared(r->x), &r->left, 0, 1, r->j[i].w->n - rest, rest, tile);
    }
}

static void row_run(struct eye_exec *x, const struct eye_gemm *j, size_t n_jobs) {
    struct gemm_run r = {.x = x, .j = j, .n_jobs = n_jobs, .left = {0, 1, 1}};
    r.threads = (size_t)eye_pool_n_threads(x->plan->e->pool);
    size_t n = 0;
    for (size_t i = 0; i < n_jobs; i++) n += j[i].w->n;
    pack_task(&r, 0, 0);
    size_t own_bytes = n / j->w->ukr->nr / r.threads * j->w->panel_bytes;
    r.slices = EYE_MAX(EYE_MIN(own_bytes / SLICE_BYTES, TASKS_PER_THREAD), 1);
    eye_exec_tasks(x, n * j->w->k / 4, r.threads * r.slices, row_task, &r);
}

static void shared_run(struct eye_exec *x, const struct eye_gemm *j, size_t n_jobs) {
    struct gemm_run r = {.x = x, .j = j, .n_jobs = n_jobs};
    size_t n = 0;
    for (size_t i = 0; i < n_jobs; i++) n += j[i].w->n;
    for (size_t row = 0; row < j->m; row += EYE_SHARED_ROWS) {
        r.left = (struct panels){.row = row, .rows = EYE_MIN(EYE_SHARED_ROWS, j->m - row)};
        size_t n_tasks = choose_grid(&r);
        assert(r.left.n * j->w->lhs_bytes <= eye_gemm_shared_bytes(j->w, j->m));
        eye_exec_tasks(x, r.left.rows * j->w->k, r.left.n, pack_task, &r);
        eye_exec_tasks(x, r.left.rows * n * j->w->k / 4, n_tasks, tile_task, &r);
    }
}

static void blocks_run(struct eye_exec *x, const struct eye_gemm *j) {
    struct gemm_run r = {.x = x, .j = j, .n_jobs = 1, .cut = eye_exec_cut(x, j->m, j->width, j->w->ukr->mr, j->w->block_rows)};
    eye_exec_tasks(x, SIZE_MAX, eye_cut_parts(&r.cut), block_task, &r);
}

void eye_gemm_run_all(struct eye_exec *x, const struct eye_gemm *j, size_t n_jobs) {
    for (size_t i = 0; i < n_jobs; i++)
        assert(thread_layout(x->plan->e, j[i].w, j[i].m, !j[i].x).bytes <= x->plan->thread_bytes);
    if (by_blocks(x->plan->e, j->w, j->m))
        for (size_t i = 0; i < n_jobs; i++) blocks_run(x, &j[i]);
    else if (j->m == 1 && j->w->ukr->run_streams && x->plan->read_bytes >= CACHED_BYTES)
        row_run(x, j, n_jobs);
    else
        shared_run(x, j, n_jobs);
}

void eye_gemm_run(struct eye_exec *x, const struct eye_gemm *j) { eye_gemm_run_all(x, j, 1); }
