/* engine/lower_sums: sums over all rows, per channel: gradients of biases, statistics of batch norm and their gradients.
 *
 * Rows are cut into parts by their number alone; a part adds blocks of rows in f32 while they are in cache, and the blocks in
 * double. The parts are added in order, so the result does not depend on who made them. */
#include "engine/engine_impl.h"

#include <math.h>
#include <string.h>

#define BLOCK_ROWS 64u
#define PARTS_MAX 64u
#define FOLD_BELOW 128u /* narrower rows are added several at a time */
#define FOLD 8u

struct sums_run;
typedef void block_fn(const struct sums_run *r, size_t row, size_t n, double *sum, float *tmp);
typedef void finish_fn(const struct sums_run *r, size_t c);

struct sums_run {
    struct eye_exec *x;
    const struct eye_node *node;
    const float *a, *b, *stats; /* rows; rows; [2][C] */
    float *y;
    size_t rows, c, per_part, parts;
    double *sum;                /* [parts][2][C] */
    block_fn *block;
    finish_fn *finish;
};

static size_t rows_per_part(size_t rows) {
    return EYE_ALIGN_UP(eye_ceil_div(rows, PARTS_MAX), BLOCK_ROWS);
}

static void part_task(void *ctx, int i_task, int i_thread) {
    const struct sums_run *r = ctx;
    size_t first = (size_t)i_task * r->per_part, end = EYE_MIN(first + r->per_part, r->rows);
    double *sum = r->sum + (size_t)i_task * 2 * r->c;
    memset(sum, 0, 2 * r->c * sizeof *sum);
    for (size_t row = first; row < end; row += BLOCK_ROWS)
        r->block(r, row, EYE_MIN(BLOCK_ROWS, end - row), sum, (float *)eye_exec_thread(r->x, i_thread));
}

static void finish_task(void *ctx, int i_task, int i_thread) {
    const struct sums_run *r = ctx;
    for (size_t c = (size_t)i_task * 64; c < EYE_MIN((size_t)(i_task + 1) * 64, r->c); c++) r->finish(r, c);
}

static enum eye_status run_sums(struct eye_exec *x, const struct eye_step *s, struct sums_run r) {
    const struct eye_node *n = s->node;
    r.x = x;
    r.node = n;
    r.a = eye_exec_ptr(x, n->in[0]);
    r.b = eye_exec_ptr(x, eye_node_in(n, 1));
    r.stats = eye_exec_ptr(x, eye_node_in(n, 2));
    r.y = eye_exec_ptr(x, n->out);
    r.rows = eye_exec_rows(x, n->in[0]);
    r.c = (size_t)eye_dim(x->plan->g, n->in[0], -1);
    r.per_part = rows_per_part(r.rows);
    r.parts = r.rows ? eye_ceil_div(r.rows, r.per_part) : 0;
    r.sum = (double *)eye_exec_shared(x);
    eye_exec_tasks(x, r.rows * r.c, r.parts, part_task, &r);
    eye_exec_tasks(x, r.parts * r.c, eye_ceil_div(r.c, 64), finish_task, &r);
    return EYE_OK;
}

static enum eye_status lower_sums(struct eye_lower *l, const struct eye_node *n, struct eye_err *err) {
    int64_t c = eye_dim(l->g, n->in[0], -1);
    if (c < 1)
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: %s over channels of symbolic or no number", eye_op_info(n->op)->name);
    for (int i = 0; i < n->n_in; i++) EYE_TRY(eye_lower_operand(l, n, n->in[i], err));
    eye_lower_scratch(l, 2 * FOLD * (size_t)c * sizeof(float), PARTS_MAX * 2 * (size_t)c * sizeof(double));
    return EYE_OK;
}

/* ---- blocks ---- */

/* tmp [c] = the sum of n rows. Narrow rows are added FOLD at a time. */
static void add_rows(const float *x, size_t n, size_t c, float *tmp) {
    size_t width = c < FOLD_BELOW && n % FOLD == 0 ? c * FOLD : c, end = n * c;
    memcpy(tmp, x, width * sizeof *tmp);
    for (size_t at = width; at < end; at += width)
        for (size_t i = 0; i < width; i++) tmp[i] += x[at + i];
    for (size_t at = c; at < width; at += c)
        for (size_t i = 0; i < c; i++) tmp[i] += tmp[at + i];
}

static void sum_block(const struct sums_run *r, size_t row, size_t n, double *sum, float *tmp) {
    add_rows(r->a + row * r->c, n, r->c, tmp);
    for (size_t i = 0; i < r->c; i++) sum[i] += (double)tmp[i];
}

/* sum: mean of the part so far, and the squares' sum about it; a block's own are merged in (Chan, Golub, LeVeque 1979). */
static void stats_block(const struct sums_run *r, size_t row, size_t n, double *sum, float *tmp) {
    const float *x = r->a + row * r->c;
    size_t c = r->c;
    float *mean = tmp, *squares = tmp + c;
    double before = (double)(row % r->per_part), share = (double)n / (before + (double)n);
    add_rows(x, n, c, tmp);
    memset(squares, 0, c * sizeof *squares);
    for (size_t i = 0; i < c; i++) mean[i] /= (float)n;
    for (size_t at = 0; at < n * c; at += c)
        for (size_t i = 0; i < c; i++) {
            float d = x[at + i] - mean[i];
            squares[i] += d * d;
        }
    for (size_t i = 0; i < c; i++) {
        double d = (double)mean[i] - sum[i];
        sum[i] += d * share;
        sum[c + i] += (double)squares[i] + d * d * before * share;
    }
}

/* Sums of d and of d (x - mean). */
static void products_block(const struct sums_run *r, size_t row, size_t n, double *sum, float *tmp) {
    const float *d = r->a + row * r->c, *x = r->b + row * r->c;
    size_t c = r->c;
    add_rows(d, n, c, tmp);
    for (size_t i = 0; i < c; i++) sum[i] += (double)tmp[i];
    memset(tmp, 0, c * sizeof *tmp);
    for (size_t at = 0; at < n * c; at += c)
        for (size_t i = 0; i < c; i++) tmp[i] += d[at + i] * (x[at + i] - r->stats[i]);
    for (size_t i = 0; i < c; i++) sum[c + i] += (double)tmp[i];
}

/* ---- sum_rows ---- */

static double total(const struct sums_run *r, size_t at) {
    double sum = 0;
    for (size_t p = 0; p < r->parts; p++) sum += r->sum[p * 2 * r->c + at];
    return sum;
}

static void finish_sum(const struct sums_run *r, size_t c) { r->y[c] = (float)total(r, c); }

static enum eye_status run_sum_rows(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_sums(x, s, (struct sums_run){.block = sum_block, .finish = finish_sum});
}

enum eye_status eye_lower_sum_rows(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_sum_rows;
    return lower_sums(l, n, err);
}

/* ---- batch norm ---- */

static void finish_stats(const struct sums_run *r, size_t c) {
    double mean = 0, squares = 0, before = 0;
    for (size_t p = 0; p < r->parts; p++) {
        double n = (double)EYE_MIN(r->per_part, r->rows - p * r->per_part), d = r->sum[p * 2 * r->c + c] - mean;
        mean += d * n / (before + n);
        squares += r->sum[p * 2 * r->c + r->c + c] + d * d * before * n / (before + n);
        before += n;
    }
    r->y[c] = (float)mean;
    r->y[r->c + c] = (float)(squares / before);
}

static void finish_products(const struct sums_run *r, size_t c) {
    double factor = 1 / sqrt((double)r->stats[r->c + c] + (double)r->node->attr.eps);
    r->y[c] = (float)total(r, c);
    r->y[r->c + c] = (float)(total(r, r->c + c) * factor);
}

static enum eye_status run_bn_stats(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_sums(x, s, (struct sums_run){.block = stats_block, .finish = finish_stats});
}
static enum eye_status run_bn_sums(struct eye_exec *x, const struct eye_step *s, struct eye_err *err) {
    return run_sums(x, s, (struct sums_run){.block = products_block, .finish = finish_products});
}

enum eye_status eye_lower_bn_stats(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_bn_stats;
    return lower_sums(l, n, err);
}
enum eye_status eye_lower_bn_sums(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) {
    s->run = run_bn_sums;
    return lower_sums(l, n, err);
}
