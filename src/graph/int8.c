/* Static int8: from ranges and weights to a graph whose edges carry bytes.
 *
 * A range belongs to a value (eye_value.quant). Weights are int8 with a scale per row. Once fused, nodes whose input has a
 * range and whose weights are int8 multiply integers; this pass says which edges then are u8 in memory:
 *
 *   x has a range, an int8 node or a depthwise   x itself is u8: the node rounds its result; who wants floats reads
 *   convolution makes it                         dequantize(x)
 *   x has a range, anything else makes it        int8 readers get quantize(x), the others read x as it is
 *
 * (i16 instead of u8 where the range is wide), so chains of int8 nodes pass bytes, and norms, attention, gates stay in floats without their families knowing of it. */
#include "graph/graph_impl.h"

#include <math.h>

/* Sums stay in 32 bits, and a depthwise one in the 24 of a float. */
#define MAX_DENSE_K 65536
#define MAX_TAPS 512

bool eye_graph_int8_fits(const struct eye_graph *g, const struct eye_node *n) {
    if ((n->op != EYE_OP_linear && n->op != EYE_OP_conv2d) || n->in[1] == EYE_NONE) return false;
    const struct eye_value *w = &g->value[n->in[1]];
    int64_t k = 1;
    if (w->kind != EYE_VAL_WEIGHT || w->trainable || w->transposed || w->pair_rows) return false;
    for (int i = 1; i < w->rank; i++)
        if (__builtin_mul_overflow(k, w->dims[i], &k)) return false;
    if (n->op == EYE_OP_linear || n->attr.groups == 1) return k <= MAX_DENSE_K;
    int64_t in = w->dims[1] * n->attr.groups;
    return n->attr.groups == in && (w->dims[0] == in || w->dims[0] == 2 * in) && k <= MAX_TAPS && w->dims[2] <= 64;
}

bool eye_graph_is_depthwise(const struct eye_graph *g, const struct eye_node *n) {
    return n->op == EYE_OP_conv2d && n->attr.groups > 1 && eye_graph_int8_fits(g, n);
}

int32_t eye_quant_widest(int64_t k) { return (int32_t)EYE_MIN(INT32_MAX / 127 / EYE_MAX(k, 1), INT16_MAX); }

bool eye_node_is_int8(const struct eye_graph *g, const struct eye_node *n) {
    if (!eye_graph_int8_fits(g, n)) return false;
    const struct eye_value *w = &g->value[n->in[1]];
    const struct eye_quant *q = &g->value[n->in[0]].quant;
    bool fits = !q->wide || (n->op == EYE_OP_linear && q->wide <= eye_quant_widest(w->dims[1]));
    return w->dtype == EYE_I8 && w->row_scale && q->scale > 0 && fits;
}

double eye_quant_round(const struct eye_quant *q, double x) {
    double t = nearbyint(x / (double)q->scale + q->zero);
    if (q->wide) return (double)q->scale * EYE_MIN(EYE_MAX(t, -q->wide), q->wide);
    t = t > 0 ? t : 0;
    return (double)q->scale * ((t < 255 ? t : 255) - q->zero);
}

/* Does reader n take v as bytes? Its main input, or what it adds. */
static bool reads_bytes(const struct eye_graph *g, const struct eye_node *n, int i) {
    return eye_node_is_int8(g, n) && (i == 0 || (n->op == EYE_OP_linear && i == 3));
}

static bool is_output(const struct eye_graph *g, eye_val v) {
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->output[i] == v) return true;
    return false;
}

static eye_val add_copy(struct eye_graph *g, enum eye_op op, eye_val v) {
    return eye_node_add(g, op, &v, 1, &(struct eye_attr){0});
}

/* Its results leave the cache as bytes. */
static bool makes_bytes(const struct eye_graph *g, const struct eye_node *n) {
    return n && (eye_node_is_int8(g, n) || eye_graph_is_depthwise(g, n));
}

/* Such a node makes v: bytes, and floats for those who want floats. */
static void become_bytes(struct eye_graph *g, eye_val v) {
    eye_val floats = EYE_NONE;
    size_t n_nodes = g->n_nodes;
    for (size_t k = 0; k < n_nodes; k++)
        for (int i = 0; i < g->node[k].n_in; i++) {
            if (g->node[k].op >= EYE_N_OP || g->node[k].in[i] != v || reads_bytes(g, &g->node[k], i)) continue;
            if (floats == EYE_NONE) floats = add_copy(g, EYE_OP_dequantize, v);
            if (floats != EYE_NONE) eye_node_set_in(g, &g->node[k], i, floats);
        }
    g->value[v].dtype = eye_quant_dtype(&g->value[v].quant);
}

/* Anything else makes v: bytes beside it. */
static void add_bytes(struct eye_graph *g, eye_val v) {
    size_t n_nodes = g->n_nodes;
    eye_val bytes = add_copy(g, EYE_OP_quantize, v);
    if (bytes == EYE_NONE) return;
    g->value[bytes].quant = g->value[v].quant;
    g->value[bytes].dtype = eye_quant_dtype(&g->value[v].quant);
    for (size_t k = 0; k < n_nodes; k++)
        if (g->node[k].op < EYE_N_OP && g->node[k].in[0] == v && eye_node_is_int8(g, &g->node[k]))
            eye_node_set_in(g, &g->node[k], 0, bytes);
}

static bool has_int8_reader(const struct eye_graph *g, eye_val v) {
    for (size_t k = 0; k < g->n_nodes; k++) {
        const struct eye_node *n = &g->node[k];
        if (n->op < EYE_N_OP && n->n_in && n->in[0] == v && eye_node_is_int8(g, n)) return true;
    }
    return false;
}

enum eye_status eye_graph_lay_int8(struct eye_graph *g, struct eye_err *err) {
    size_t n_values = g->n_values;
    for (size_t i = 0; i < n_values && g->status == EYE_OK; i++) {
        eye_val v = (eye_val)i;
        const struct eye_value *x = &g->value[i];
        if (!(x->quant.scale > 0) || x->dtype != EYE_F32 || x->kind == EYE_VAL_WEIGHT || !has_int8_reader(g, v)) continue;
        if (makes_bytes(g, eye_producer(g, v)) && !is_output(g, v)) become_bytes(g, v);
        else add_bytes(g, v);
    }
    if (g->status != EYE_OK) {
        if (err) *err = g->err;
        return g->status;
    }
    return eye_graph_compact(g, err);
}
