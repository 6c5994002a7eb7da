/* session/merge: see merge.h.
 *
 *   POOL     the map of side s becomes one of side g: row (y, x) of it is the mean of the rows from floor(y s / g) to
 *            ceil((y + 1) s / g) - 1, and so across: adaptive average pooling (DeCo, arXiv 2405.20985).
 *   SIMILAR  bipartite soft matching (ToMe, arXiv 2210.09461), in passes, each of which takes away at most half: every other row
 *            asks which of the rest is most like it (cosine); the pairs most alike become one row, the mean weighted by how many
 *            rows each stands for. ToMe compares attention keys, which nobody has outside a layer: here it is the rows themselves.
 *
 * What is merged stands where the row stood that was found, so the order of the map stays. Sums are taken in one order whatever the
 * threads; of equals the first counts; what is no number is least like everything. */
#include "session/merge.h"

#include <math.h>
#include <string.h>

/* ---- sizes ---- */

static int64_t side_of(int64_t n) {
    int64_t side = (int64_t)sqrt((double)n);
    while (side > 0 && side * side > n) side--;
    while ((side + 1) * (side + 1) <= n) side++;
    return side;
}

int64_t eye_merge_rows(enum eye_image_merge how, int64_t n, int64_t most) {
    if (most >= n) return n;
    if (how == EYE_MERGE_SIMILAR) return most;
    int64_t side = side_of(n), less = side_of(most);
    return side * side == n ? less * less : 0;
}

struct alike { /* of rows 2i, which asks, and 2i + 1, which is found */
    double cosine; /* of row 2i and the one it found */
    uint32_t best; /* that one; 0 = none yet */
    bool goes, takes; /* row 2i goes into it; row 2i + 1 takes others in */
};

/* Lengths, what the pairs found, what each row stands for: less than a row of floats each, which are in memory already. */
size_t eye_merge_scratch_bytes(size_t n) {
    return n * (sizeof(double) + sizeof(uint32_t)) + (n + 1) / 2 * sizeof(struct alike);
}

/* ---- POOL ---- */

static void pool_cell(const float *rows, size_t width, size_t side, const size_t y[2], const size_t x[2], float *out) {
    float n = (float)((y[1] - y[0]) * (x[1] - x[0]));
    memset(out, 0, width * sizeof *out);
    for (size_t i = y[0]; i < y[1]; i++)
        for (size_t k = x[0]; k < x[1]; k++)
            for (size_t c = 0; c < width; c++) out[c] += rows[(i * side + k) * width + c];
    for (size_t c = 0; c < width; c++) out[c] /= n;
}

static void pool_map(const struct eye_merge *m, const float *rows, float *out) {
    size_t side = (size_t)side_of((int64_t)m->n), less = (size_t)side_of((int64_t)m->n_out);
    for (size_t i = 0; i < m->n_out; i++) {
        size_t y = i / less, x = i % less;
        size_t ys[] = {y * side / less, ((y + 1) * side + less - 1) / less};
        size_t xs[] = {x * side / less, ((x + 1) * side + less - 1) / less};
        pool_cell(rows, m->width, side, ys, xs, out + i * m->width);
    }
}

/* ---- SIMILAR ---- */

struct pass {
    float *rows;        /* [n, width] */
    size_t n, width;
    double *length;     /* [n] */
    struct alike *a;    /* [(n + 1) / 2] */
    uint32_t *stands;   /* [n] rows of the picture that it stands for */
};

static double dot(const float *a, const float *b, size_t n) {
    enum { LANES = 8 };
    double lane[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++) lane[k] += (double)a[i + k] * (double)b[i + k];
    for (; i < n; i++) sum += (double)a[i] * (double)b[i];
    for (size_t k = 0; k < LANES; k++) sum += lane[k];
    return sum;
}

static void ask(void *ctx, int i_task, int i_thread) {
    const struct pass *p = ctx;
    const float *row = p->rows + 2 * (size_t)i_task * p->width;
    struct alike found = {.cosine = -INFINITY};
    (void)i_thread;
    for (size_t b = 1; b < p->n; b += 2) {
        double lengths = p->length[2 * (size_t)i_task] * p->length[b];
        double cosine = lengths > 0 ? dot(row, p->rows + b * p->width, p->width) / lengths : 0;
        if (found.best == 0 || cosine > found.cosine)
            found = (struct alike){.cosine = isnan(cosine) ? -INFINITY : cosine, .best = (uint32_t)b};
    }
    p->a[i_task] = found;
}

static void take_best(struct pass *p, size_t n_less) {
    size_t n_ask = (p->n + 1) / 2;
    for (size_t k = 0; k < n_less; k++) {
        struct alike *best = NULL;
        for (size_t i = 0; i < n_ask; i++)
            if (!p->a[i].goes && (!best || p->a[i].cosine > best->cosine)) best = &p->a[i];
        best->goes = true;
        p->a[best->best / 2].takes = true;
    }
}

static void scale(float *row, size_t n, float by) {
    for (size_t c = 0; c < n; c++) row[c] *= by;
}

/* Each row takes in those that go to it, in their order; the rest moves up. */
static void merge_taken(struct pass *p) {
    size_t w = p->width, n = 0;
    for (size_t b = 1; b < p->n; b += 2) /* from mean to sum */
        if (p->a[b / 2].takes) scale(p->rows + b * w, w, (float)p->stands[b]);
    for (size_t i = 0; i < p->n; i += 2) {
        const struct alike *a = &p->a[i / 2];
        if (!a->goes) continue;
        float *to = p->rows + (size_t)a->best * w, times = (float)p->stands[i];
        for (size_t c = 0; c < w; c++) to[c] += times * p->rows[i * w + c];
        p->stands[a->best] += p->stands[i];
    }
    for (size_t i = 0; i < p->n; i++) {
        float *row = p->rows + i * w;
        if (i % 2 == 0 && p->a[i / 2].goes) continue;
        if (i % 2 && p->a[i / 2].takes) scale(row, w, 1 / (float)p->stands[i]);
        if (n < i) memcpy(p->rows + n * w, row, w * sizeof *row);
        p->stands[n++] = p->stands[i];
    }
    p->n = n;
}

static void merge_similar(const struct eye_merge *m, struct eye_pool *pool, float *rows, void *scratch, float *out) {
    struct pass p = {.rows = rows, .n = m->n, .width = m->width, .length = scratch};
    p.a = (struct alike *)(p.length + m->n);
    p.stands = (uint32_t *)(p.a + (m->n + 1) / 2);
    for (size_t i = 0; i < m->n; i++) p.stands[i] = 1;
    while (p.n > m->n_out) {
        size_t n_less = EYE_MIN(p.n - m->n_out, p.n / 2);
        for (size_t i = 0; i < p.n; i++) p.length[i] = sqrt(dot(rows + i * m->width, rows + i * m->width, m->width));
        if (pool) eye_pool_run(pool, (int)((p.n + 1) / 2), ask, &p);
        for (size_t i = 0; !pool && i < (p.n + 1) / 2; i++) ask(&p, (int)i, 0);
        take_best(&p, n_less);
        merge_taken(&p);
    }
    memcpy(out, rows, m->n_out * m->width * sizeof *rows);
}

void eye_merge_run(const struct eye_merge *m, struct eye_pool *pool, float *rows, void *scratch, float *out) {
    if (m->how == EYE_MERGE_POOL) pool_map(m, rows, out);
    else merge_similar(m, pool, rows, scratch, out);
}
