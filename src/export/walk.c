/* Walk: layouts, shapes and the table; see walk.h. */
#include "export/walk.h"

#include <string.h>

static eye_emit_fn *const emitter[EYE_N_OP] = {
#define EYE_OPS_EXPORTED
#define OP(name, min_in, max_in, flags) [EYE_OP_##name] = eye_emit_##name,
#include "graph/ops.def"
};

/* ---- shapes ---- */

size_t eye_walk_shape(const struct eye_walk *w, eye_val v, eye_val like, int64_t *dims) {
    const struct eye_value *x = &w->g->value[v], *l = like == EYE_NONE ? NULL : &w->g->value[like];
    size_t rank = 0;
    bool own_batch = x->rank == 4;
    if (!own_batch) dims[rank++] = w->batch;
    for (int i = 0; i < x->rank; i++) {
        int at = (int)rank - (l && l->rank != 4); /* of like */
        int64_t n = x->dims[i];
        if (own_batch && i == 0) n = w->batch * n;
        else if (n == EYE_DIM_T) n = w->seq->tokens ? w->seq->tokens : l && at < l->rank && l->dims[at] == n ? 0 : -1;
        dims[rank++] = n;
    }
    return rank;
}

/* Both layouts hold the same numbers in the same order: one of the axes that change places is 1. */
static bool same_order(const struct eye_walk *w, const struct eye_value *x) {
    if (x->rank == 4) return x->dims[3] == 1 || (x->dims[1] == 1 && x->dims[2] == 1);
    return x->dims[1] == 1 ? w->seq->tokens != 0 : w->seq->tokens == 1 && x->dims[0] == EYE_DIM_T;
}

static const char *turn(struct eye_walk *w, eye_val v, const char *x, enum eye_layout to) {
    static const int64_t perm[2][EYE_N_LAY][4] = {{{0, 2, 1, 3}, {0, 2, 1, 3}}, {{0, 2, 3, 1}, {0, 3, 1, 2}}};
    const struct eye_value *value = &w->g->value[v];
    const int64_t *p = perm[value->rank == 4][to];
    int64_t plain[EYE_MAX_RANK], dims[4];
    if (!same_order(w, value)) return eye_draft_transpose(w->d, x, 4, p);
    eye_walk_shape(w, v, EYE_NONE, plain);
    for (int i = 0; i < 4; i++) dims[i] = to == EYE_LAY_FIRST ? plain[p[i]] : plain[i];
    return eye_draft_reshape(w->d, x, 4, dims);
}

static enum eye_layout of_rank(int rank, enum eye_layout layout) { return rank < 3 ? EYE_LAY_PLAIN : layout; }

const char *eye_walk_in(struct eye_walk *w, eye_val v, enum eye_layout layout) {
    layout = of_rank(w->g->value[v].rank, layout);
    const char **have = w->name[v], *other = have[!layout];
    if (!have[layout] && other) have[layout] = turn(w, v, other, layout);
    return have[layout];
}

enum eye_layout eye_walk_layout(const struct eye_walk *w, eye_val v) {
    return w->name[v][EYE_LAY_FIRST] ? EYE_LAY_FIRST : EYE_LAY_PLAIN;
}

void eye_walk_out(struct eye_walk *w, eye_val v, enum eye_layout layout, const char *name) {
    layout = of_rank(w->g->value[v].rank, layout);
    w->name[v][layout] = eye_walk_made(w, v, layout, name);
}

const char *eye_walk_rename(struct eye_walk *w, const char *x, const char *name) {
    const char *kept = eye_onnx_text(w->d->m, name);
    if (!x || !kept) return NULL;
    eye_draft_rename(w->d, x, kept);
    for (size_t v = 0; v < w->g->n_values; v++)
        for (int layout = 0; layout < EYE_N_LAY; layout++)
            if (w->name[v][layout] && strcmp(w->name[v][layout], x) == 0) w->name[v][layout] = kept;
    return kept;
}

enum eye_status eye_walk_vector(struct eye_walk *w, eye_val v, int rank, enum eye_layout layout, const char **out,
                                struct eye_err *err) {
    const struct eye_value *x = &w->g->value[v];
    const int64_t dims[3] = {x->dims[0], 1, 1};
    bool channels_first = rank == 4 && layout == EYE_LAY_FIRST;
    return eye_draft_weight(w->d, w->scratch, x, EYE_FORM_ROWS, channels_first ? 3 : 1, dims, out, err);
}

/* ---- the walk ---- */

/* Nodes are named after their weight, their tap, or what they do. */
static void set_scope(struct eye_walk *w, const struct eye_node *n) {
    const struct eye_value *second = n->n_in > 1 && n->in[1] != EYE_NONE ? &w->g->value[n->in[1]] : NULL;
    const char *name = w->g->value[n->out].name;
    if (second && second->kind == EYE_VAL_WEIGHT) {
        size_t len = strlen(second->name);
        if (len > 7 && strcmp(second->name + len - 7, ".weight") == 0) len -= 7;
        name = eye_arena_strdup(&w->d->m->arena, second->name, len);
    } else if (!*name) {
        name = eye_op_info(n->op)->name;
    }
    w->d->scope = name ? name : "";
}

static enum eye_status emit(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    const struct eye_op_info *info = eye_op_info(n->op);
    if (!emitter[n->op] || n->attr.inverse)
        return eye_fail(err, EYE_E_UNSUPPORTED, "ONNX: %s has no form there (a graph after fusing, or of training)",
                        info->name);
    set_scope(w, n);
    EYE_TRY(emitter[n->op](w, n, err));
    return w->d->m->failed ? eye_fail(err, EYE_E_NOMEM, "ONNX: out of memory at a %s", info->name) : EYE_OK;
}

enum eye_status eye_walk(struct eye_walk *w, const char *in, enum eye_layout layout, const char **out, struct eye_err *err) {
    const struct eye_graph *g = w->g;
    w->name = eye_arena_alloc(&w->d->m->arena, (g->n_values + 1) * sizeof *w->name);
    if (w->rounds) w->bytes = eye_arena_alloc(&w->d->m->arena, (g->n_values + 1) * sizeof *w->bytes);
    if (!w->name || (w->rounds && !w->bytes)) return eye_fail_nomem(err, g->n_values * sizeof *w->name);
    assert(g->n_inputs == 1 && g->n_outputs == 1);
    eye_walk_out(w, g->input[0], layout, in);
    for (size_t i = 0; i < g->n_nodes; i++) EYE_TRY(emit(w, &g->node[i], err));
    *out = eye_walk_in(w, g->output[0], EYE_LAY_PLAIN);
    return w->d->m->failed ? eye_fail(err, EYE_E_NOMEM, "ONNX: out of memory") : EYE_OK;
}
