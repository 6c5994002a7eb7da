/* Weights of int8 nodes: each row q scale, q in -127 … 127, the scale that loses least; in matrices whose inputs' covariance is
 * known each weight also makes up for the errors of those before it (GPTQ as LDLQ, arXiv 2307.13304: pack/rounding.h), where that is
 * better; and what rounding does to a node's mean is taken off its bias (Nagel et al. 2019, bias correction):
 * b += sum (w - q scale) mean(x). */
#include "graph/graph_impl.h"

#include <math.h>
#include <string.h>

/* Scales tried: max|w| / n. Below 127 nothing is lost on weights that lie on a coarser grid, as those of a network that was
 * trained for int8 do: they go back onto it. Above, the largest are cut off. */
#define FEWEST 24
#define MOST 150

#define ROUND_MAGIC 6755399441055744.0 /* 1.5 x 2^52: adding and taking it off rounds to an integer, ties to even */
#define PIECE 64

/* Squared error of a row, or something no less than `enough` once it is that. 125 million weights times 127 scales: the loop
 * is kept to what compilers vectorize. */
static double row_error(const float *w, int64_t n, double scale, double enough) {
    double sum = 0, inverse = 1 / scale;
    for (int64_t at = 0; at < n && sum < enough; at += PIECE)
        for (int64_t i = at, end = EYE_MIN(at + PIECE, n); i < end; i++) {
            double q = ((double)w[i] * inverse + ROUND_MAGIC) - ROUND_MAGIC;
            q = q > 127 ? 127 : q;
            q = q < -127 ? -127 : q;
            double e = (double)w[i] - scale * q;
            sum += e * e;
        }
    return sum;
}

static void try_scale(const float *w, int64_t n, double scale, double *best, double *best_scale) {
    double e = row_error(w, n, scale, *best * 0.999); /* of equals the one tried first */
    if (e >= *best * 0.999) return;
    *best = e;
    *best_scale = scale;
}

static float row_scale(const float *w, int64_t n) {
    double most = 0, best = INFINITY, scale = 1;
    for (int64_t i = 0; i < n; i++) most = EYE_MAX(most, fabs((double)w[i]));
    if (!(most > 1e-30)) return 1;
    for (int k = 127; k >= FEWEST; k--) try_scale(w, n, most / k, &best, &scale);
    for (int k = 128; k <= MOST; k++) try_scale(w, n, most / k, &best, &scale);
    return (float)scale;
}

struct job {
    struct eye_graph *g;
    struct eye_node *n;
    int64_t rows, row, taps;
    float *target, *err, *part; /* [row] each, where in.u is */
    bool depthwise;
    struct eye_int8_input in;
    double lost, all; /* squared, of all rows */
};

/* Input channel of element i of row o. */
static int64_t channel(const struct job *j, int64_t o, int64_t i) {
    return j->depthwise ? o / (j->rows / j->n->attr.groups) : i / j->taps;
}

static int8_t level(double w, float scale) {
    double t = nearbyint(w / (double)scale);
    return (int8_t)(t > 127 ? 127 : t < -127 ? -127 : t);
}

/* err H err^T of the errors of a row. */
static double spread(const struct job *j, const float *err) {
    double sum = 0;
    float *part = j->part;
    memset(part, 0, (size_t)j->row * sizeof *part);
    for (int64_t i = 0; i < j->row; i++) {
        const float *u = j->in.u + i * j->row;
        part[i] += err[i];
        for (int64_t k = i + 1; k < j->row; k++) part[k] += err[i] * u[k];
    }
    for (int64_t k = 0; k < j->row; k++) sum += (double)j->in.d[k] * (double)part[k] * (double)part[k];
    return sum;
}

/* The row w plainly, or with each error handed on to the columns behind it. */
static void round_row(const struct job *j, const float *w, float scale, int8_t *q) {
    float *target = j->target, *err = j->err;
    for (int64_t i = 0; i < j->row; i++) q[i] = level((double)w[i], scale);
    if (!j->in.u) return;
    for (int64_t i = 0; i < j->row; i++) err[i] = w[i] - scale * (float)q[i];
    double plain = spread(j, err);
    memcpy(target, w, (size_t)j->row * sizeof *target);
    for (int64_t i = 0; i < j->row; i++) {
        const float *u = j->in.u + i * j->row;
        err[i] = w[i] - scale * (float)level((double)target[i], scale);
        for (int64_t k = i + 1; k < j->row; k++) target[k] += err[i] * u[k];
    }
    if (!(spread(j, err) < plain)) return;
    for (int64_t i = 0; i < j->row; i++) q[i] = level((double)target[i], scale);
}

static bool quantize_rows(struct job *j, const struct eye_value *w, int8_t *q, float *scale, float *bias) {
    float *row = eye_arena_alloc(&j->g->arena, (size_t)j->row * sizeof *row + 1);
    if (!row) return false;
    if (j->in.u) {
        j->target = eye_arena_alloc(&j->g->arena, 3 * (size_t)j->row * sizeof *row);
        if (!j->target) return false;
        j->err = j->target + j->row;
        j->part = j->err + j->row;
    }
    for (int64_t o = 0; o < j->rows; o++) {
        double drift = 0;
        eye_weight_row(w, o, row);
        scale[o] = row_scale(row, j->row);
        round_row(j, row, scale[o], q + o * j->row);
        for (int64_t i = 0; i < j->row; i++) {
            double e = (double)row[i] - q[o * j->row + i] * (double)scale[o];
            j->lost += e * e;
            j->all += (double)row[i] * (double)row[i];
            if (j->in.mean) drift += e * j->in.mean[channel(j, o, i)];
        }
        if (bias) bias[o] = (float)((double)bias[o] + drift);
    }
    return true;
}

static bool become_int8(struct job *j) {
    struct eye_graph *g = j->g;
    struct eye_value w = g->value[j->n->in[1]];
    int8_t *q = eye_arena_alloc(&g->arena, (size_t)(j->rows * j->row) + 1);
    float *scale = eye_arena_alloc(&g->arena, (size_t)j->rows * sizeof *scale), *bias = NULL;
    bool has_bias = j->n->n_in > 2 && j->n->in[2] != EYE_NONE && g->value[j->n->in[2]].kind == EYE_VAL_WEIGHT;
    if (has_bias) {
        bias = eye_arena_alloc(&g->arena, (size_t)j->rows * sizeof *bias);
        for (int64_t o = 0; bias && o < j->rows; o++) eye_weight_row(&g->value[j->n->in[2]], o, &bias[o]);
    }
    if (!q || !scale || (has_bias && !bias) || !quantize_rows(j, &w, q, scale, bias)) return false;
    struct eye_tensor t = {.data = q, .dtype = EYE_I8, .rank = w.rank};
    memcpy(t.dims, w.dims, sizeof t.dims);
    eye_val v = eye_weight(g, w.name, &t);
    if (v == EYE_NONE) return false;
    g->value[v].row_scale = scale;
    g->value[v].rel_rms = j->all > 0 ? (float)sqrt(j->lost / j->all) : 0;
    eye_node_set_in(g, j->n, 1, v);
    if (!has_bias) return true;
    struct eye_tensor b = {.data = bias, .dtype = EYE_F32, .rank = 1, .dims = {j->rows}};
    v = eye_weight(g, g->value[j->n->in[2]].name, &b);
    if (v == EYE_NONE) return false;
    eye_node_set_in(g, j->n, 2, v);
    return true;
}

enum eye_status eye_graph_int8_weights(struct eye_graph *g, const struct eye_int8_input *in, size_t n_values,
                                       struct eye_err *err) {
    for (size_t k = 0; k < g->n_nodes; k++) {
        struct eye_node *n = &g->node[k];
        if (!eye_graph_int8_fits(g, n) || !(g->value[n->in[0]].quant.scale > 0)) continue;
        const struct eye_value *w = &g->value[n->in[1]];
        struct job j = {.g = g, .n = n, .rows = w->dims[0], .row = 1, .taps = w->rank == 4 ? w->dims[2] * w->dims[3] : 1};
        for (int i = 1; i < w->rank; i++) j.row *= w->dims[i];
        j.depthwise = n->op == EYE_OP_conv2d && n->attr.groups > 1;
        if ((size_t)n->in[0] < n_values) j.in = in[n->in[0]];
        if (n->op != EYE_OP_linear) j.in.u = NULL;
        if (!become_int8(&j)) return eye_fail(err, EYE_E_NOMEM, "int8 weights: out of memory");
    }
    return EYE_OK;
}
