/* The pick pass: the rows of a call that nobody asks for end where a sequence's rows meet for the last time.
 *
 * Of a prompt's rows only some are wanted after the decoder, normally one. All of them make keys and values, in every layer;
 * what the last layer does after that it need do for the wanted ones only. So from the output backwards every node that works
 * row by row is made to work on picked rows, [PICKED,..] in place of [T,..], up to the attention that feeds it and to what that
 * attention's queries are made of. Where picked rows are read from all rows stands a table look-up, embed(picked, x).
 *
 *   x ----------------------------------- look-up -+
 *   norm(x) -- k, v ------------- attention ------ o + -- norm, mlp, .. -- output
 *         \--- look-up -- q, rope --/
 *
 * Each picked row is what it was among all rows. A node with a reader that wants all rows is left alone. Queries that are a
 * slice of wider rows (GPT-2's) stay as they are: attention reads the picked ones of them where they lie. */
#include "graph/graph_impl.h"

#include <string.h>

struct pick {
    struct eye_graph *g;
    eye_val ids;       /* the new input */
    int32_t *readers;  /* [n_values] readers that want picked rows alone */
    eye_val *picked;   /* [n_values] its picked rows; or EYE_NONE */
};

static bool has_rows(const struct eye_graph *g, eye_val v) {
    const struct eye_value *x = v == EYE_NONE ? NULL : eye_value_at(g, v);
    return x && x->kind != EYE_VAL_WEIGHT && (x->rank == 2 || x->rank == 3) && x->dims[0] == EYE_DIM_T;
}

/* Are n's results rows that depend on the same rows of its inputs, or on keys and values, alone? */
static bool by_row(const struct eye_graph *g, const struct eye_node *n) {
    if (!has_rows(g, n->out) || !has_rows(g, n->in[0])) return false;
    switch (n->op) {
    case EYE_OP_linear:
    case EYE_OP_layer_norm:
    case EYE_OP_rms_norm:
    case EYE_OP_act:
    case EYE_OP_add:
    case EYE_OP_sub:
    case EYE_OP_mul:
    case EYE_OP_softmax:
    case EYE_OP_scale:
    case EYE_OP_reshape: return true;
    case EYE_OP_rope: return n->n_in == 1;
    case EYE_OP_attention: return n->n_in <= 5 && eye_value_at(g, n->in[0])->rank == 3;
    default: return false;
    }
}

/* Do the queries come from a product of their own, which then has fewer rows? */
static bool own_product(struct eye_graph *g, eye_val q) {
    const struct eye_node *n = eye_producer(g, q);
    while (n && g->value[n->out].n_uses == 1 && by_row(g, n) && n->op != EYE_OP_linear) n = eye_producer(g, n->in[0]);
    return n && n->op == EYE_OP_linear && g->value[n->out].n_uses == 1;
}

/* Does n read picked rows of input i? */
static bool reads_picked(struct eye_graph *g, const struct eye_node *n, int i) {
    if (n->op == EYE_OP_attention) return i == 0 && own_product(g, n->in[0]);
    return has_rows(g, n->in[i]);
}

/* Nodes all of whose readers want picked rows, from the last one on. */
static void find(struct pick *p, bool *late) {
    struct eye_graph *g = p->g;
    p->readers[g->output[0]]++;
    for (size_t k = g->n_nodes; k-- > 0;) {
        const struct eye_node *n = &g->node[k];
        late[k] = p->readers[n->out] == g->value[n->out].n_uses && by_row(g, n);
        for (int i = 0; i < n->n_in && late[k]; i++)
            if (n->in[i] != EYE_NONE && reads_picked(g, n, i)) p->readers[n->in[i]]++;
    }
}

static eye_val picked_rows(struct pick *p, eye_val v) {
    if (p->picked[v] != EYE_NONE) return p->picked[v];
    const struct eye_value *x = &p->g->value[v];
    eye_val rows = v;
    const int64_t dims[] = {EYE_DIM_PICKED, x->dims[1], x->rank > 2 ? x->dims[2] : 0};
    if (x->rank > 2) rows = eye_reshape(p->g, v, 2, (int64_t[]){EYE_DIM_T, x->dims[1] * x->dims[2]});
    rows = eye_embed(p->g, p->ids, rows);
    if (dims[2]) rows = eye_reshape(p->g, rows, 3, dims);
    p->picked[v] = rows;
    return rows;
}

/* The node once more, of picked rows. */
static void again(struct pick *p, size_t k) {
    struct eye_graph *g = p->g;
    struct eye_node n = g->node[k];
    for (int i = 0; i < n.n_in; i++)
        if (n.in[i] != EYE_NONE && reads_picked(g, &n, i)) n.in[i] = picked_rows(p, n.in[i]);
    if (n.op == EYE_OP_reshape) n.attr.dims[0] = EYE_DIM_PICKED;
    if (n.op == EYE_OP_rope) n.in[n.n_in++] = p->ids;
    if (n.op == EYE_OP_attention) {
        while (n.n_in < 5) n.in[n.n_in++] = EYE_NONE;
        n.in[n.n_in++] = p->ids;
    }
    eye_val v = eye_node_add(g, n.op, n.in, n.n_in, &n.attr);
    if (v == EYE_NONE) return;
    g->value[v].name = g->value[n.out].name;
    g->value[v].quant = g->value[n.out].quant;
    p->picked[n.out] = v;
}

static enum eye_status pick(struct pick *p, bool *late, struct eye_err *err) {
    struct eye_graph *g = p->g;
    eye_val out = g->output[0];
    size_t n_nodes = g->n_nodes;
    if (!has_rows(g, out) || g->value[out].rank != 2)
        return eye_fail(err, EYE_E_ARG, "graph: rows to pick: expected an output [T,C], got rank %d", g->value[out].rank);
    find(p, late);
    p->ids = eye_input(g, "picked", EYE_I32, 1, (int64_t[]){EYE_DIM_PICKED});
    for (size_t k = 0; k < n_nodes && g->status == EYE_OK; k++)
        if (late[k]) again(p, k);
    eye_val rows = g->status == EYE_OK ? picked_rows(p, out) : EYE_NONE;
    if (g->status != EYE_OK) return eye_fail(err, g->status, "%s", g->err.text);
    g->value[out].n_uses--;
    g->value[rows].n_uses++;
    g->output[0] = rows;
    return eye_graph_compact(g, err);
}

enum eye_status eye_graph_pick(struct eye_graph *g, struct eye_err *err) {
    size_t n = g->n_values;
    struct pick p = {.g = g, .readers = eye_alloc_zero(g->alloc, n * sizeof *p.readers),
                     .picked = eye_alloc_zero(g->alloc, n * sizeof *p.picked)};
    size_t n_late = g->n_nodes + 1;
    bool *late = eye_alloc_zero(g->alloc, n_late * sizeof *late);
    enum eye_status st = p.readers && p.picked && late ? EYE_OK : eye_fail_nomem(err, n * sizeof *p.picked);
    for (size_t v = 0; st == EYE_OK && v < n; v++) p.picked[v] = EYE_NONE;
    if (st == EYE_OK) st = pick(&p, late, err);
    eye_alloc_free(g->alloc, late, n_late * sizeof *late);
    eye_alloc_free(g->alloc, p.picked, n * sizeof *p.picked);
    eye_alloc_free(g->alloc, p.readers, n * sizeof *p.readers);
    return st;
}
