/* The graph's own bookkeeping: values, nodes, uses, the builder functions. Shapes are shape.c's, rewriting the passes'. */
#include "graph/graph_impl.h"

#include <stdio.h>
#include <string.h>

static const struct eye_op_info op_info[EYE_N_OP] = {
#define OP(name, min_in, max_in, flags) {#name, min_in, max_in, flags},
#include "graph/ops.def"
};

const struct eye_op_info *eye_op_info(enum eye_op op) {
    assert(op < EYE_N_OP);
    return &op_info[op];
}

const char *eye_act_name(enum eye_act_kind a) {
    static const char *const name[EYE_N_ACT] = {"none", "gelu", "gelu_tanh", "quick_gelu", "silu", "sigmoid", "relu",
                                               "hardsigmoid", "hardswish"};
    return (unsigned)a < EYE_N_ACT ? name[a] : "?";
}

void eye_graph_init(struct eye_graph *g, const struct eye_alloc *alloc) {
    memset(g, 0, sizeof *g);
    g->alloc = alloc;
    eye_arena_init(&g->arena, alloc);
}

void eye_graph_clear(struct eye_graph *g) {
    eye_alloc_free(g->alloc, g->value, g->values_cap * sizeof *g->value);
    eye_alloc_free(g->alloc, g->node, g->nodes_cap * sizeof *g->node);
    eye_alloc_free(g->alloc, g->input, g->inputs_cap * sizeof *g->input);
    eye_alloc_free(g->alloc, g->output, g->outputs_cap * sizeof *g->output);
    eye_arena_clear(&g->arena);
    memset(g, 0, sizeof *g);
}

eye_val eye_graph_fail(struct eye_graph *g, enum eye_status code, const char *fmt, ...) {
    if (g->status != EYE_OK) return EYE_NONE;
    va_list ap;
    va_start(ap, fmt);
    g->status = g->err.code = code;
    vsnprintf(g->err.text, sizeof g->err.text, fmt, ap);
    va_end(ap);
    return EYE_NONE;
}

static eye_val no_memory(struct eye_graph *g) { return eye_graph_fail(g, EYE_E_NOMEM, "graph: out of memory"); }

/* ---- values ---- */

static bool push_val(struct eye_graph *g, eye_val **list, size_t *n, size_t *cap, eye_val v) {
    if (eye_alloc_grow(g->alloc, (void **)list, cap, *n + 1, sizeof **list, NULL) != EYE_OK) return false;
    (*list)[(*n)++] = v;
    return true;
}

static eye_val value_add(struct eye_graph *g, const struct eye_value *v) {
    if (eye_alloc_grow(g->alloc, (void **)&g->value, &g->values_cap, g->n_values + 1, sizeof *g->value, NULL) != EYE_OK)
        return no_memory(g);
    g->value[g->n_values] = *v;
    if (!g->value[g->n_values].name) g->value[g->n_values].name = "";
    return (eye_val)g->n_values++;
}

/* A named leaf: the name is copied. */
static eye_val leaf_add(struct eye_graph *g, const char *name, struct eye_value *v) {
    if (g->status != EYE_OK) return EYE_NONE;
    v->node = -1;
    v->name = eye_arena_strdup(&g->arena, name, strlen(name));
    if (!v->name) return no_memory(g);
    return value_add(g, v);
}

eye_val eye_input(struct eye_graph *g, const char *name, enum eye_dtype dtype, int rank, const int64_t *dims) {
    struct eye_value v = {.kind = EYE_VAL_INPUT, .dtype = dtype, .rank = rank};
    assert(rank >= 0 && rank <= EYE_MAX_RANK);
    memcpy(v.dims, dims, (size_t)rank * sizeof *dims);
    eye_val i = leaf_add(g, name, &v);
    if (i != EYE_NONE && !push_val(g, &g->input, &g->n_inputs, &g->inputs_cap, i)) return no_memory(g);
    return i;
}

eye_val eye_weight(struct eye_graph *g, const char *name, const struct eye_tensor *t) {
    if (!t) return EYE_NONE;
    struct eye_value v = {.kind = EYE_VAL_WEIGHT, .dtype = t->dtype, .rank = t->rank, .data = t->data};
    memcpy(v.dims, t->dims, sizeof v.dims);
    return leaf_add(g, name, &v);
}

eye_val eye_weight_transposed(struct eye_graph *g, const char *name, const struct eye_tensor *t) {
    if (t->rank != 2 || eye_dtype_info(t->dtype)->block_elems != 1)
        return eye_graph_fail(g, EYE_E_UNSUPPORTED, "graph: \"%s\" cannot be read transposed", name);
    struct eye_value v = {.kind = EYE_VAL_WEIGHT, .dtype = t->dtype, .rank = 2, .dims = {t->dims[1], t->dims[0]},
                          .data = t->data, .transposed = true};
    return leaf_add(g, name, &v);
}

eye_val eye_state(struct eye_graph *g, const char *name, int64_t n_kv_heads, int64_t head_dim) {
    struct eye_value v = {.kind = EYE_VAL_STATE, .dtype = EYE_F32, .rank = 3, .dims = {EYE_DIM_CTX, n_kv_heads, head_dim}};
    return leaf_add(g, name, &v);
}

void eye_output(struct eye_graph *g, eye_val v) {
    if (g->status != EYE_OK || v == EYE_NONE) return;
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->output[i] == v) return;
    if (!push_val(g, &g->output, &g->n_outputs, &g->outputs_cap, v)) {
        no_memory(g);
        return;
    }
    g->value[v].n_uses++;
}

eye_val eye_tap(struct eye_graph *g, eye_val v, const char *fmt, ...) {
    if (g->status != EYE_OK || v == EYE_NONE) return EYE_NONE;
    char name[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    g->value[v].name = eye_arena_strdup(&g->arena, name, strlen(name));
    return g->value[v].name ? v : no_memory(g);
}

eye_val eye_graph_find(const struct eye_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_values; i++)
        if (g->value[i].name[0] && strcmp(g->value[i].name, name) == 0) return (eye_val)i;
    return EYE_NONE;
}

const struct eye_value *eye_value_at(const struct eye_graph *g, eye_val v) {
    assert(v >= 0 && (size_t)v < g->n_values);
    return &g->value[v];
}

int64_t eye_dim(const struct eye_graph *g, eye_val v, int axis) {
    if (v == EYE_NONE) return 0; /* a failed build goes on quietly */
    const struct eye_value *x = eye_value_at(g, v);
    if (axis < 0) axis += x->rank;
    assert(axis >= 0 && axis < x->rank);
    return x->dims[axis];
}

bool eye_value_elems(const struct eye_value *v, const struct eye_bind *bind, int64_t *out) {
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) {
        int64_t d = eye_bind_dim(bind, v->dims[i]);
        if (d < 0 || __builtin_mul_overflow(n, d, &n)) return false;
    }
    *out = n;
    return true;
}

int64_t eye_weight_stored_row(const struct eye_value *w, int64_t row) {
    if (w->pair_rows == 0) return row;
    int64_t d = w->pair_rows, j = row % d;
    return row - j + (j < d / 2 ? 2 * j : 2 * (j - d / 2) + 1);
}

void eye_weight_row(const struct eye_value *w, int64_t row, float *dst) {
    assert(w->kind == EYE_VAL_WEIGHT && w->rank >= 1 && row >= 0 && row < w->dims[0]);
    size_t n = 1, row_bytes = 0;
    for (int i = 1; i < w->rank; i++) n *= (size_t)w->dims[i];
    bool ok = eye_dtype_row_bytes(w->dtype, w->transposed ? (size_t)w->dims[0] : n, &row_bytes);
    assert(ok);
    (void)ok;
    if (w->transposed) { /* a column of what is stored */
        const char *column = (const char *)w->data + (size_t)row * (row_bytes / (size_t)w->dims[0]);
        for (size_t i = 0; i < n; i++) eye_row_to_f32(w->dtype, column + i * row_bytes, dst + i, 1);
    } else {
        eye_row_to_f32(w->dtype, (const char *)w->data + (size_t)eye_weight_stored_row(w, row) * row_bytes, dst, n);
    }
    if (w->row_scale)
        for (size_t i = 0; i < n; i++) dst[i] = (float)((double)dst[i] * (double)w->row_scale[row]);
}

/* ---- nodes ---- */

eye_val eye_node_add(struct eye_graph *g, enum eye_op op, const eye_val *in, int n_in, const struct eye_attr *attr) {
    if (g->status != EYE_OK) return EYE_NONE;
    const struct eye_op_info *info = eye_op_info(op);
    struct eye_node n = {.op = op, .n_in = n_in};
    if (n_in < info->min_in || n_in > info->max_in)
        return eye_graph_fail(g, EYE_E_ARG, "graph: %s takes %d to %d inputs, got %d", info->name, info->min_in, info->max_in, n_in);
    for (int i = 0; i < n_in; i++) {
        if (in[i] == EYE_NONE && i < info->min_in) return eye_graph_fail(g, EYE_E_ARG, "graph: %s: input %d is missing", info->name, i);
        n.in[i] = in[i];
    }
    for (int i = n_in; i < EYE_MAX_IN; i++) n.in[i] = EYE_NONE;
    if (attr) n.attr = *attr;
    struct eye_value out = {.kind = EYE_VAL_NODE, .dtype = EYE_F32, .node = (int32_t)g->n_nodes};
    struct eye_err why = {EYE_OK, ""};
    enum eye_status st = eye_shape_rule(op)(g, &n, &out, &why);
    if (st != EYE_OK) return eye_graph_fail(g, st, "graph: %s: %s", info->name, why.text);
    if (eye_alloc_grow(g->alloc, (void **)&g->node, &g->nodes_cap, g->n_nodes + 1, sizeof *g->node, NULL) != EYE_OK) return no_memory(g);
    n.out = value_add(g, &out);
    if (n.out == EYE_NONE) return EYE_NONE;
    for (int i = 0; i < n_in; i++)
        if (n.in[i] != EYE_NONE) g->value[n.in[i]].n_uses++;
    g->node[g->n_nodes++] = n;
    return n.out;
}

struct eye_node *eye_producer(struct eye_graph *g, eye_val v) {
    if (v == EYE_NONE || g->value[v].node < 0) return NULL;
    return &g->node[g->value[v].node];
}

void eye_node_set_in(struct eye_graph *g, struct eye_node *n, int i, eye_val v) {
    if (i < n->n_in && n->in[i] != EYE_NONE) g->value[n->in[i]].n_uses--;
    if (i >= n->n_in) n->n_in = i + 1;
    n->in[i] = v;
    if (v != EYE_NONE) g->value[v].n_uses++;
}

void eye_node_kill(struct eye_graph *g, struct eye_node *n) {
    assert(n->op != EYE_OP_DEAD);
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] != EYE_NONE) g->value[n->in[i]].n_uses--;
    n->op = EYE_OP_DEAD;
    n->n_in = 0;
    g->value[n->out].node = -1;
}

/* ---- finish and compact: the node list in topological order, nothing that no output needs ---- */

/* Depth-first from a value, iterative: hostile configurations must not choose our stack depth. mark: 0 new, 1 open, 2 done. */
static enum eye_status visit(struct eye_graph *g, eye_val root, uint8_t *mark, int32_t *order, size_t *n_order, int32_t *stack,
                             struct eye_err *err) {
    int32_t first = g->value[root].node;
    if (first < 0 || mark[first] == 2) return EYE_OK;
    size_t depth = 0;
    stack[depth++] = first;
    while (depth) {
        int32_t k = stack[depth - 1];
        const struct eye_node *n = &g->node[k];
        bool pushed = false;
        mark[k] = 1;
        for (int i = 0; i < n->n_in && !pushed; i++) {
            int32_t p = n->in[i] == EYE_NONE ? -1 : g->value[n->in[i]].node;
            if (p < 0 || mark[p] == 2) continue;
            if (mark[p] == 1) return eye_fail(err, EYE_E_ARG, "graph: a cycle runs through a %s", eye_op_info(n->op)->name);
            stack[depth++] = p;
            pushed = true;
        }
        if (pushed) continue;
        mark[k] = 2;
        order[(*n_order)++] = k;
        depth--;
    }
    return EYE_OK;
}

/* Keeps states' appends alive by construction: an attention's result is always needed by an output. */
enum eye_status eye_graph_compact(struct eye_graph *g, struct eye_err *err) {
    if (g->n_nodes == 0) return EYE_OK;
    size_t n = g->n_nodes, n_order = 0;
    enum eye_status st = EYE_OK;
    uint8_t *mark = eye_alloc_zero(g->alloc, n);
    int32_t *order = eye_alloc_zero(g->alloc, n * sizeof *order), *stack = eye_alloc_zero(g->alloc, n * sizeof *stack);
    struct eye_node *sorted = eye_alloc_zero(g->alloc, g->nodes_cap * sizeof *sorted);
    if (!mark || !order || !stack || !sorted) {
        st = eye_fail_nomem(err, g->nodes_cap * sizeof *sorted);
        goto done;
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        st = visit(g, g->output[i], mark, order, &n_order, stack, err);
        if (st != EYE_OK) goto done;
    }
    for (size_t k = 0; k < n; k++)
        if (mark[k] != 2 && g->node[k].op != EYE_OP_DEAD) eye_node_kill(g, &g->node[k]);
    for (size_t i = 0; i < n_order; i++) {
        sorted[i] = g->node[order[i]];
        g->value[sorted[i].out].node = (int32_t)i;
    }
    memcpy(g->node, sorted, n_order * sizeof *sorted);
    g->n_nodes = n_order;
done:
    eye_alloc_free(g->alloc, sorted, g->nodes_cap * sizeof *sorted);
    eye_alloc_free(g->alloc, stack, n * sizeof *stack);
    eye_alloc_free(g->alloc, order, n * sizeof *order);
    eye_alloc_free(g->alloc, mark, n);
    return st;
}

enum eye_status eye_graph_finish(struct eye_graph *g, struct eye_err *err) {
    if (g->status != EYE_OK) return eye_fail(err, g->status, "%s", g->err.text);
    if (g->n_outputs == 0) return eye_fail(err, EYE_E_ARG, "graph: no output was named");
    return eye_graph_compact(g, err);
}

enum eye_status eye_graph_cut(struct eye_graph *g, eye_val in, eye_val out, struct eye_err *err) {
    struct eye_node *maker = eye_producer(g, in);
    for (size_t i = 0; i < g->n_outputs; i++) g->value[g->output[i]].n_uses--;
    g->n_outputs = g->n_inputs = 0;
    eye_output(g, out);
    if (maker) eye_node_kill(g, maker);
    g->value[in].kind = EYE_VAL_INPUT;
    if (!push_val(g, &g->input, &g->n_inputs, &g->inputs_cap, in)) return eye_fail_nomem(err, sizeof in);
    EYE_TRY(eye_graph_compact(g, err));
    for (size_t i = 0; i < g->n_values; i++)
        if (g->value[i].kind == EYE_VAL_INPUT && (eye_val)i != in && g->value[i].n_uses > 0)
            return eye_fail(err, EYE_E_ARG, "graph: a section from \"%s\" to \"%s\" needs the input \"%s\" as well",
                            g->value[in].name, g->value[out].name, g->value[i].name);
    return EYE_OK;
}
