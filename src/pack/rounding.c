/* pack: calibrated rounding. Rows do not know of each other: a chunk of them goes through all steps, products of the chunk with
 * H and U by the engine's kernels, the rest a row per task. */
#include "pack/rounding.h"

#include <math.h>
#include <string.h>

#include "base/sys.h"
#include "pack/dense.h"

#define CHUNK_ROWS 256u
#define PANEL 256u   /* columns whose feedback is taken one by one: the largest block */
#define GROUP EYE_GRID_GROUP

struct chunk { /* [rows, k] of each */
    const struct eye_rounder *r;
    enum eye_dtype t;
    size_t k, block, rows, row_bytes, p0, p1;
    const float *w;
    float *target;        /* what columns should be now that earlier ones are rounded; later: of plain rounding, w - v */
    float *err, *err_h;   /* w - v, and that times H (undamped) */
    int8_t *level;
    struct eye_grid *grid; /* [rows, k / block] */
    uint8_t *out;
    double *cost;          /* [rows] of plain rounding, err H err^T */
};

/* ---- the rounder ---- */

static enum eye_status factor(struct eye_rounder *r, struct eye_err *err) {
    const struct eye_moments *m = r->m;
    double mean = 0;
    bool positive = false;
    for (size_t i = 0; i < m->k; i++) mean += (double)m->diag[i] / (double)m->k;
    if (!(mean > 0) || !isfinite(mean)) return EYE_OK; /* nothing ever came in: plain is as good */
    r->u = eye_pages_alloc(m->k * m->k * sizeof *r->u);
    r->d = eye_alloc_raw(r->e->alloc, m->k * sizeof *r->d);
    if (!r->u || !r->d) return eye_fail_nomem(err, m->k * m->k * sizeof *r->u);
    /* GPTQ's 1 %, and up to 10 % more where rows are few beside columns: then H says more than is known. */
    double share = 0.01 + 0.1 * EYE_MIN((double)m->k / (double)EYE_MAX(m->n, 1), 1);
    for (double damp = share * mean; !positive && damp < 100 * mean; damp *= 10) {
        r->damp = (float)damp;
        memcpy(r->u, m->h, m->k * m->k * sizeof *r->u);
        for (size_t i = 0; i < m->k; i++) r->u[i * m->k + i] += r->damp;
        EYE_TRY(eye_dense_udu(r->e, m->k, r->u, r->d, &positive, err));
    }
    return positive ? EYE_OK : eye_fail(err, EYE_E_CORRUPT, "calibration: inputs of a linear are not finite numbers");
}

enum eye_status eye_rounder_init(struct eye_rounder *r, const struct eye_engine *e, const struct eye_moments *m,
                                 struct eye_err *err) {
    *r = (struct eye_rounder){.e = e, .m = m};
    enum eye_status st = m->h ? factor(r, err) : EYE_OK;
    if (st != EYE_OK) eye_rounder_clear(r);
    return st;
}

void eye_rounder_clear(struct eye_rounder *r) {
    if (r->u) eye_pages_free(r->u, r->m->k * r->m->k * sizeof *r->u);
    if (r->d) eye_alloc_free(r->e->alloc, r->d, r->m->k * sizeof *r->d);
    r->u = r->d = NULL;
}

/* ---- 1 and 2: a block at a time, errors handed on ---- */

static struct eye_grid *grid_of(const struct chunk *c, size_t row, size_t j) {
    return &c->grid[row * (c->k / c->block) + j / c->block];
}

static void round_block(const struct chunk *c, size_t row, size_t j0) {
    const struct eye_rounder *r = c->r;
    float *target = c->target + row * c->k, *err = c->err + row * c->k;
    struct eye_grid *g = grid_of(c, row, j0);
    eye_grid_fit(g, c->t, target + j0, (r->u ? r->d : r->m->diag) + j0);
    for (size_t j = j0; j < j0 + c->block; j++) {
        int level = eye_grid_level(g, j - j0, target[j]);
        c->level[row * c->k + j] = (int8_t)level;
        err[j] = c->w[row * c->k + j] - eye_grid_value(g, j - j0, level);
        if (!r->u) continue;
        const float *u = r->u + j * c->k;
        for (size_t i = j + 1; i < c->p1; i++) target[i] += err[j] * u[i];
    }
}

static void panel_task(void *ctx, int i_task, int i_thread) {
    const struct chunk *c = ctx;
    for (size_t j = c->p0; j < c->p1; j += c->block) round_block(c, (size_t)i_task, j);
}

static enum eye_status round_columns(struct chunk *c, struct eye_err *err) {
    size_t bytes = PANEL * c->k * sizeof(float);
    float *ut = c->r->u ? eye_alloc_raw(c->r->e->alloc, bytes) : NULL; /* the panel's columns of U, as rows */
    if (c->r->u && !ut) return eye_fail_nomem(err, bytes);
    enum eye_status st = EYE_OK;
    memcpy(c->target, c->w, c->rows * c->k * sizeof *c->w);
    for (c->p0 = 0; c->p0 < c->k && st == EYE_OK; c->p0 = c->p1) {
        c->p1 = EYE_MIN(c->p0 + PANEL, c->k);
        if (ut) {
            for (size_t i = 0; i < c->p0; i++)
                for (size_t j = c->p0; j < c->p1; j++) ut[(j - c->p0) * c->p0 + i] = c->r->u[i * c->k + j];
            st = eye_dense_mul_add(c->r->e, c->rows, c->p1 - c->p0, c->p0, c->err, c->k, ut, c->p0, c->target + c->p0, c->k,
                                   err);
        }
        if (st == EYE_OK) eye_pool_run(c->r->e->pool, (int)c->rows, panel_task, c);
    }
    eye_alloc_free(c->r->e->alloc, ut, bytes);
    return st;
}

/* ---- 3: one scale or level at a time ---- */

struct row { /* of a chunk */
    const struct chunk *c;
    const float *h;
    float damp, *err, *err_h;
    int8_t *level;
    struct eye_grid *grid;
};

/* Element j's value grows by delta. */
static void move(const struct row *r, size_t j, float delta) {
    const float *h = r->h + j * r->c->k;
    r->err[j] -= delta;
    for (size_t i = 0; i < r->c->k; i++) r->err_h[i] -= delta * h[i];
}

static float slope(const struct row *r, size_t j) { return r->err_h[j] + r->damp * r->err[j]; }

static void better_levels(const struct row *r) {
    size_t block = r->c->block;
    for (size_t j = 0; j < r->c->k; j++) {
        const struct eye_grid *g = &r->grid[j / block];
        float curve = r->h[j * r->c->k + j] + r->damp, now = eye_grid_value(g, j % block, r->level[j]), s = slope(r, j);
        int level = eye_grid_level(g, j % block, now + s / curve);
        float delta = eye_grid_value(g, j % block, level) - now;
        if (level == r->level[j] || !(2 * delta * s - delta * delta * curve > 0)) continue;
        r->level[j] = (int8_t)level;
        move(r, j, delta);
    }
}

/* Along dir, the 32 elements from j0 on: slope and curvature of the cost, halved. */
static void along(const struct row *r, size_t j0, const float *dir, double *s, double *curve) {
    *s = *curve = 0;
    for (size_t a = 0; a < GROUP; a++) {
        const float *h = r->h + (j0 + a) * r->c->k + j0;
        double sum = (double)r->damp * (double)dir[a];
        for (size_t b = 0; b < GROUP; b++) sum += (double)h[b] * (double)dir[b];
        *s += (double)dir[a] * (double)slope(r, j0 + a);
        *curve += (double)dir[a] * sum;
    }
}

static bool move_along(const struct row *r, size_t j0, const float *dir, double step, double s, double curve) {
    if (!(2 * step * s - step * step * curve > 0)) return false;
    for (size_t a = 0; a < GROUP; a++)
        if (dir[a] != 0) move(r, j0 + a, (float)step * dir[a]);
    return true;
}

/* q4_K: scale and minimum are 6-bit multiples; the whole number of units nearest to where the cost is least. */
static void better_bits(const struct row *r, size_t j0, struct eye_grid *g, size_t i, bool min) {
    float dir[GROUP], unit = eye_f16_to_f32(min ? g->dmin : g->d);
    uint8_t *bits = min ? &g->min_bits[i] : &g->scale_bits[i];
    double s, curve;
    for (size_t a = 0; a < GROUP; a++) dir[a] = min ? -1 : (float)r->level[j0 + a];
    along(r, j0, dir, &s, &curve);
    if (!(curve > 0) || !(unit > 0)) return;
    double want = (double)*bits + s / curve / (double)unit;
    int now = *bits, to = !(want > 0) ? 0 : want >= 63 ? 63 : (int)(want + 0.5);
    if (!move_along(r, j0, dir, (to - now) * (double)unit, s, curve)) return;
    *bits = (uint8_t)to;
    g->scale[i] = eye_f16_to_f32(g->d) * (float)g->scale_bits[i];
    g->min[i] = eye_f16_to_f32(g->dmin) * (float)g->min_bits[i];
}

static void better_scale(const struct row *r, size_t j0, struct eye_grid *g) {
    float dir[GROUP];
    double s, curve;
    struct eye_grid to = *g;
    for (size_t a = 0; a < GROUP; a++) dir[a] = (float)r->level[j0 + a];
    along(r, j0, dir, &s, &curve);
    if (!(curve > 0)) return;
    eye_grid_set_scale(&to, g->scale[0] + (float)(s / curve));
    if (move_along(r, j0, dir, (double)to.scale[0] - (double)g->scale[0], s, curve)) *g = to;
}

static void better_scales(const struct row *r) {
    for (size_t j = 0; j < r->c->k; j += GROUP) {
        struct eye_grid *g = &r->grid[j / r->c->block];
        size_t i = j % r->c->block / GROUP;
        if (r->c->t != EYE_Q4_K) {
            better_scale(r, j, g);
        } else {
            better_bits(r, j, g, i, false);
            better_bits(r, j, g, i, true);
        }
    }
}

static double cost_of(const float *err, const float *err_h, size_t k) {
    double sum = 0;
    for (size_t j = 0; j < k; j++) sum += (double)err[j] * (double)err_h[j];
    return sum;
}

/* ---- 4: the bytes ---- */

static void store_row(const struct chunk *c, size_t row) {
    size_t block_bytes = eye_dtype_info(c->t)->block_bytes;
    for (size_t j = 0; j < c->k; j += c->block)
        eye_grid_store(grid_of(c, row, j), c->level + row * c->k + j, c->out + row * c->row_bytes + j / c->block * block_bytes);
}

/* err <- w - v from the bytes, so that what is counted is what a reader gets. */
static void read_error(const struct chunk *c, size_t row, float *err) {
    eye_row_to_f32(c->t, c->out + row * c->row_bytes, err, c->k);
    for (size_t j = 0; j < c->k; j++) err[j] = c->w[row * c->k + j] - err[j];
}

static void plain_task(void *ctx, int i_task, int i_thread) {
    const struct chunk *c = ctx;
    size_t row = (size_t)i_task;
    eye_row_from_f32(c->t, c->w + row * c->k, c->out + row * c->row_bytes, c->k);
    read_error(c, row, c->err + row * c->k);
}

static void sweep_task(void *ctx, int i_task, int i_thread) {
    const struct chunk *c = ctx;
    size_t row = (size_t)i_task;
    struct row r = {.c = c, .h = c->r->m->h, .damp = c->r->damp, .err = c->err + row * c->k, .err_h = c->err_h + row * c->k,
                    .level = c->level + row * c->k, .grid = grid_of(c, row, 0)};
    better_scales(&r); /* a second round was measured to change nothing that matters */
    better_levels(&r);
}

/* Calibrated bytes where they cost no more than the plain ones, which are in out. */
static void choose_task(void *ctx, int i_task, int i_thread) {
    const struct chunk *c = ctx;
    size_t row = (size_t)i_task;
    if (cost_of(c->err + row * c->k, c->err_h + row * c->k, c->k) <= c->cost[row]) store_row(c, row);
    read_error(c, row, c->err + row * c->k);
}

/* y = x H, or x times its diagonal; x, y [rows, k]. */
static enum eye_status times_h(const struct chunk *c, const float *x, float *y, struct eye_err *err) {
    const struct eye_moments *m = c->r->m;
    memset(y, 0, c->rows * c->k * sizeof *y);
    if (m->h) return eye_dense_mul_add(c->r->e, c->rows, c->k, c->k, x, c->k, m->h, c->k, y, c->k, err);
    for (size_t i = 0; i < c->rows * c->k; i++) y[i] = x[i] * m->diag[i % c->k];
    return EYE_OK;
}

static enum eye_status count(struct chunk *c, struct eye_round_cost *cost, struct eye_err *err) {
    EYE_TRY(times_h(c, c->err, c->err_h, err));
    cost->weighted_err += cost_of(c->err, c->err_h, c->rows * c->k);
    cost->err += cost_of(c->err, c->err, c->rows * c->k);
    EYE_TRY(times_h(c, c->w, c->err_h, err));
    cost->weighted_all += cost_of(c->w, c->err_h, c->rows * c->k);
    cost->all += cost_of(c->w, c->w, c->rows * c->k);
    return EYE_OK;
}

static enum eye_status run_chunk(struct chunk *c, bool plain, struct eye_round_cost *cost, struct eye_err *err) {
    struct eye_pool *pool = c->r->e->pool;
    eye_pool_run(pool, (int)c->rows, plain_task, c);
    if (plain) return count(c, cost, err);
    EYE_TRY(times_h(c, c->err, c->err_h, err));
    for (size_t i = 0; i < c->rows; i++) c->cost[i] = cost_of(c->err + i * c->k, c->err_h + i * c->k, c->k);
    EYE_TRY(round_columns(c, err));
    EYE_TRY(times_h(c, c->err, c->err_h, err));
    if (c->r->u) eye_pool_run(pool, (int)c->rows, sweep_task, c);
    eye_pool_run(pool, (int)c->rows, choose_task, c);
    return count(c, cost, err);
}

/* ---- */

static enum eye_status run(const struct eye_rounder *r, enum eye_dtype t, bool plain, size_t n, const float *w, void *out,
                           struct eye_round_cost *cost, struct eye_err *err) {
    struct eye_arena arena;
    struct chunk c = {.r = r, .t = t, .k = r->m->k, .block = eye_dtype_info(t)->block_elems};
    size_t rows = EYE_MIN(n, CHUNK_ROWS), elems = rows * c.k;
    assert(c.k % c.block == 0 && (plain || eye_grid_has(t)));
    if (!eye_dtype_row_bytes(t, c.k, &c.row_bytes)) return eye_fail_nomem(err, SIZE_MAX);
    eye_arena_init(&arena, r->e->alloc);
    c.target = eye_arena_alloc(&arena, elems * sizeof *c.target);
    c.err = eye_arena_alloc(&arena, elems * sizeof *c.err);
    c.err_h = eye_arena_alloc(&arena, elems * sizeof *c.err_h);
    c.level = eye_arena_alloc(&arena, elems);
    c.grid = eye_arena_alloc(&arena, elems / c.block * sizeof *c.grid);
    c.cost = eye_arena_alloc(&arena, rows * sizeof *c.cost);
    enum eye_status st = EYE_OK;
    if (!c.target || !c.err || !c.err_h || !c.level || !c.grid || !c.cost) st = eye_fail_nomem(err, elems * sizeof *c.target);
    for (size_t row = 0; row < n && st == EYE_OK; row += rows) {
        c.rows = EYE_MIN(rows, n - row);
        c.w = w + row * c.k;
        c.out = (uint8_t *)out + row * c.row_bytes;
        st = run_chunk(&c, plain, cost, err);
    }
    eye_arena_clear(&arena);
    return st;
}

enum eye_status eye_rounder_run(const struct eye_rounder *r, enum eye_dtype t, size_t n, const float *w, void *out,
                                struct eye_round_cost *cost, struct eye_err *err) {
    return run(r, t, false, n, w, out, cost, err);
}

enum eye_status eye_rounder_plain(const struct eye_rounder *r, enum eye_dtype t, size_t n, const float *w, void *out,
                                  struct eye_round_cost *cost, struct eye_err *err) {
    return run(r, t, true, n, w, out, cost, err);
}
