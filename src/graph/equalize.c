/* The equalize pass: what goes into an int8 node has one range for all its channels, so channels of small numbers lose their
 * bits to those of large ones. Where the maker of x can give any channel a factor, and its readers take it back, channels are
 * brought to like size; the network computes the same (Nagel et al. 2019, cross-layer equalization; Xiao et al. 2022,
 * SmoothQuant).
 *
 *   linear or convolution, then nothing or ReLU   x[c] / s[c]   a depthwise convolution reads it: its rows of c times s[c]
 *   layer norm                                    x[c] / s[c]   linears read it: their columns c times s[c]
 *
 * A depthwise kernel's rows have scales of their own, so all channels can reach the range's ends: s = max|x[c]| / max|x|. In a
 * matrix a factor moves the trouble into the weights; half of it is left there: s = sqrt(max|x[c]| / max|w[c]|). (A convolution
 * that a dense one reads gained nothing by that: measured on MobileNetV3.) Works on the folded, unfused graph. */
#include "graph/graph_impl.h"

#include <math.h>
#include <string.h>

#define MOST_READERS 8
#define MOST_FACTOR 1e4

struct site {
    eye_val x;
    int64_t c;
    struct eye_node *maker;
    struct eye_node *reader[MOST_READERS];
    int n_readers;
    bool depthwise;
};

static bool is_output(const struct eye_graph *g, eye_val v) {
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->output[i] == v) return true;
    return false;
}

static bool is_weight(const struct eye_graph *g, const struct eye_node *n, int i) {
    return i < n->n_in && n->in[i] != EYE_NONE && g->value[n->in[i]].kind == EYE_VAL_WEIGHT;
}

/* Who makes x up to a factor per channel; through a ReLU that nobody else reads. */
static struct eye_node *maker_of(struct eye_graph *g, eye_val x) {
    struct eye_node *n = eye_producer(g, x);
    if (n && n->op == EYE_OP_act && n->attr.act == EYE_ACT_RELU) {
        eye_val before = n->in[0];
        if (g->value[before].n_uses != 1) return NULL;
        n = eye_producer(g, before);
    }
    if (!n) return NULL;
    if (n->op == EYE_OP_layer_norm && n->n_in > 2) return is_weight(g, n, 1) && is_weight(g, n, 2) ? n : NULL;
    bool bias = n->n_in < 3 || n->in[2] == EYE_NONE || is_weight(g, n, 2);
    return eye_graph_int8_fits(g, n) && bias && n->n_in < 4 && n->attr.act == EYE_ACT_NONE ? n : NULL;
}

static bool find_site(struct eye_graph *g, eye_val x, struct site *s) {
    *s = (struct site){.x = x, .c = eye_dim(g, x, -1), .maker = maker_of(g, x)};
    if (!s->maker || is_output(g, x)) return false;
    for (size_t k = 0; k < g->n_nodes; k++)
        for (int i = 0; i < g->node[k].n_in; i++) {
            struct eye_node *n = &g->node[k];
            if (n->op >= EYE_N_OP || n->in[i] != x) continue;
            if (i != 0 || !eye_graph_int8_fits(g, n) || s->n_readers == MOST_READERS) return false;
            s->depthwise |= n->op == EYE_OP_conv2d && n->attr.groups > 1;
            s->reader[s->n_readers++] = n;
        }
    bool norm = s->maker->op == EYE_OP_layer_norm;
    return s->depthwise ? s->n_readers == 1 && !norm : s->n_readers > 0 && norm;
}

/* w as f32 of the graph's own, to be changed. */
static float *own_copy(struct eye_graph *g, struct eye_node *n, int i) {
    struct eye_value w = g->value[n->in[i]];
    int64_t row = 1;
    for (int k = 1; k < w.rank; k++) row *= w.dims[k];
    float *d = eye_arena_alloc(&g->arena, (size_t)(w.dims[0] * row) * sizeof *d + 1);
    if (!d) return NULL;
    for (int64_t r = 0; r < w.dims[0]; r++) eye_weight_row(&w, r, d + r * row);
    struct eye_tensor t = {.data = d, .dtype = EYE_F32, .rank = w.rank};
    memcpy(t.dims, w.dims, sizeof t.dims);
    eye_val v = eye_weight(g, w.name, &t);
    if (v == EYE_NONE) return NULL;
    eye_node_set_in(g, n, i, v);
    return d;
}

/* Of a reader's weights: f(element, input channel). A dense kernel is [O][C][taps], a depthwise one [O][taps]. */
struct shape {
    int64_t rows, channels, taps, mult; /* mult 0: dense; else rows per input channel */
};
static struct shape shape_of(const struct eye_graph *g, const struct eye_node *n) {
    const struct eye_value *w = &g->value[n->in[1]];
    struct shape s = {.rows = w->dims[0], .channels = w->dims[1], .taps = w->rank == 4 ? w->dims[2] * w->dims[3] : 1};
    if (n->op == EYE_OP_conv2d && n->attr.groups > 1) s.mult = w->dims[0] / n->attr.groups;
    return s;
}

static int64_t channel_of(const struct shape *s, int64_t row, int64_t c) { return s->mult ? row / s->mult : c; }

/* Largest weight of each input channel over all readers. */
static bool weight_max(struct eye_graph *g, const struct site *s, float *most) {
    for (int r = 0; r < s->n_readers; r++) {
        struct shape k = shape_of(g, s->reader[r]);
        const float *w = own_copy(g, s->reader[r], 1);
        if (!w) return false;
        for (int64_t o = 0; o < k.rows; o++)
            for (int64_t c = 0; c < k.channels; c++)
                for (int64_t t = 0; t < k.taps; t++, w++) {
                    float *m = &most[channel_of(&k, o, c)];
                    *m = fmaxf(*m, fabsf(*w));
                }
    }
    return true;
}

static void choose_factors(const struct site *s, const float *x_max, const float *w_max, double *factor) {
    double top = 0;
    for (int64_t c = 0; c < s->c; c++) top = EYE_MAX(top, (double)x_max[c]);
    for (int64_t c = 0; c < s->c; c++) {
        double x = (double)x_max[c], w = (double)w_max[c], f = 1;
        if (x > 0 && w > 0) f = s->depthwise ? x / top : sqrt(x / w);
        factor[c] = EYE_MIN(EYE_MAX(f, 1 / MOST_FACTOR), MOST_FACTOR);
    }
}

static void scale_rows(float *w, int64_t rows, int64_t row, const double *factor) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < row; i++, w++) *w = (float)((double)*w / factor[r]);
}

static bool apply(struct eye_graph *g, const struct site *s, const double *factor) {
    const struct eye_value *w = &g->value[s->maker->in[1]];
    int64_t row = 1;
    for (int i = 1; i < w->rank; i++) row *= w->dims[i];
    for (int i = 1; i <= 2; i++) {
        if (i >= s->maker->n_in || s->maker->in[i] == EYE_NONE) continue;
        float *d = own_copy(g, s->maker, i);
        if (!d) return false;
        scale_rows(d, s->c, i == 1 ? row : 1, factor);
    }
    for (int r = 0; r < s->n_readers; r++) {
        struct shape k = shape_of(g, s->reader[r]);
        float *d = own_copy(g, s->reader[r], 1);
        if (!d) return false;
        for (int64_t o = 0; o < k.rows; o++)
            for (int64_t c = 0; c < k.channels; c++)
                for (int64_t t = 0; t < k.taps; t++, d++) *d = (float)((double)*d * factor[channel_of(&k, o, c)]);
    }
    return true;
}

enum eye_status eye_graph_equalize(struct eye_graph *g, const float *const *x_max, size_t n_values, struct eye_err *err) {
    struct eye_arena tmp;
    bool ok = true;
    eye_arena_init(&tmp, g->alloc);
    for (size_t v = 0; v < n_values && ok; v++) {
        struct site s;
        if (!x_max[v] || !find_site(g, (eye_val)v, &s)) continue;
        float *w_max = eye_arena_alloc(&tmp, (size_t)s.c * sizeof *w_max + 1);
        double *factor = eye_arena_alloc(&tmp, (size_t)s.c * sizeof *factor + 1);
        ok = w_max && factor && weight_max(g, &s, w_max);
        if (!ok) break;
        choose_factors(&s, x_max[v], w_max, factor);
        ok = apply(g, &s, factor);
        eye_arena_clear(&tmp);
    }
    eye_arena_clear(&tmp);
    return ok ? EYE_OK : eye_fail(err, EYE_E_NOMEM, "equalize: out of memory");
}
