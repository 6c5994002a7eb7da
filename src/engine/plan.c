/* engine/plan: from a graph to steps. Each node's lowering (one per row of ops.def) says how it runs and what it needs; then
 * memory is placed, and the weights are packed unless only sizes were asked for. */
#include "engine/engine_impl.h"

#include <string.h>

static eye_lower_fn *const lowering[EYE_N_OP] = {
#define OP(name, min_in, max_in, flags) eye_lower_##name,
#include "graph/ops.def"
};

/* ---- what lowerings call ---- */

void *eye_lower_data(struct eye_lower *l, struct eye_step *s, size_t bytes) {
    void *p = eye_arena_alloc(&l->plan->arena, bytes);
    s->data = p;
    return p;
}

void eye_lower_scratch(struct eye_lower *l, size_t thread_bytes, size_t shared_bytes) {
    l->plan->thread_bytes = EYE_MAX(l->plan->thread_bytes, eye_line(thread_bytes));
    l->plan->shared_bytes = EYE_MAX(l->plan->shared_bytes, eye_line(shared_bytes));
}

size_t eye_lower_elems(const struct eye_lower *l, eye_val v) {
    struct eye_bind bind = {.t = l->plan->opts.max_t, .picked = l->plan->opts.max_picked};
    int64_t n = 0;
    bool ok = eye_value_elems(eye_value_at(l->g, v), &bind, &n);
    assert(ok && "sizes are checked before lowering");
    (void)ok;
    return (size_t)n;
}

/* n alone reads v, once; or all others did before, and under no other name. */
static bool reads_last(const struct eye_lower *l, const struct eye_node *n, eye_val v) {
    if (eye_value_at(l->g, v)->kind != EYE_VAL_NODE || l->last[v] != (int32_t)(n - l->g->node)) return false;
    if (l->uses[v] == 1) return true;
    int n_reads = 0;
    for (int i = 0; i < n->n_in; i++) n_reads += n->in[i] == v;
    for (size_t u = 0; u < l->g->n_values; u++) n_reads += l->alias[u] == v;
    return n_reads == 1;
}

void eye_lower_in_place(struct eye_lower *l, const struct eye_node *n, eye_val over) {
    if (!reads_last(l, n, over)) return;
    for (eye_val v = l->alias[over]; v != EYE_NONE; v = l->alias[v]) /* views: nobody may read the memory under another name */
        if (eye_value_at(l->g, v)->kind != EYE_VAL_NODE || l->uses[v] != 1) return;
    if (eye_value_at(l->g, over)->dtype != eye_value_at(l->g, n->out)->dtype) return;
    if (eye_lower_elems(l, over) == eye_lower_elems(l, n->out)) l->alias[n->out] = over;
}

enum eye_status eye_lower_operand(struct eye_lower *l, const struct eye_node *n, eye_val v, struct eye_err *err) {
    while (l->alias[v] != EYE_NONE) v = l->alias[v];
    const struct eye_value *x = eye_value_at(l->g, v);
    if (x->kind == EYE_VAL_STATE || (x->kind != EYE_VAL_WEIGHT && x->dtype != EYE_F32))
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: \"%s\" (%s) cannot be read as f32 numbers", x->name,
                        eye_dtype_info(x->dtype)->name);
    if (x->kind != EYE_VAL_WEIGHT || x->trainable || l->plan->operand[v] != EYE_NO_BLOB) return EYE_OK;
    return eye_lower_vector(l, n, v, &l->plan->operand[v], err);
}

enum eye_status eye_lower_ids(struct eye_lower *l, const struct eye_node *n, eye_val v, struct eye_err *err) {
    const struct eye_value *x = eye_value_at(l->g, v);
    if (x->kind == EYE_VAL_INPUT && x->dtype == EYE_I32) return EYE_OK;
    return eye_fail(err, EYE_E_UNSUPPORTED, "engine: %s wants \"%s\" to be an i32 input", eye_op_info(n->op)->name, x->name);
}

/* ---- planning ---- */

/* Which outputs each node leads to, and how many nodes that matter read each value. Nodes are in topological order. */
static void find_readers(struct eye_lower *l, uint64_t *value_leads, uint64_t *node_leads) {
    const struct eye_graph *g = l->g;
    for (size_t i = 0; i < g->n_outputs; i++) {
        value_leads[g->output[i]] |= UINT64_C(1) << (i % 63);
        l->uses[g->output[i]]++;
        l->last[g->output[i]] = INT32_MAX;
    }
    for (size_t k = g->n_nodes; k-- > 0;) {
        const struct eye_node *n = &g->node[k];
        if (n->op >= EYE_N_OP) continue;
        node_leads[k] = value_leads[n->out] | (eye_writes_state(n) ? EYE_STEP_ALWAYS : 0);
        for (int i = 0; i < n->n_in && node_leads[k]; i++) {
            if (n->in[i] == EYE_NONE) continue;
            value_leads[n->in[i]] |= node_leads[k];
            l->uses[n->in[i]]++;
            l->last[n->in[i]] = EYE_MAX(l->last[n->in[i]], (int32_t)k);
        }
    }
}

static void *table(struct eye_lower *l, size_t n, size_t elem) {
    size_t bytes;
    return eye_mul_ok(n, elem, &bytes) ? eye_arena_alloc(&l->plan->arena, bytes) : NULL;
}

static enum eye_status make_tables(struct eye_lower *l, struct eye_err *err) {
    struct eye_plan *p = l->plan;
    size_t n = l->g->n_values;
    p->root = table(l, n, sizeof *p->root);
    p->offset = table(l, n, sizeof *p->offset);
    p->operand = table(l, n, sizeof *p->operand);
    p->state_slot = table(l, n, sizeof *p->state_slot);
    p->state = table(l, n, sizeof *p->state);
    p->step = table(l, l->g->n_nodes, sizeof *p->step);
    p->reads = table(l, n, sizeof *p->reads);
    l->alias = table(l, n, sizeof *l->alias);
    l->uses = table(l, n, sizeof *l->uses);
    l->last = table(l, n, sizeof *l->last);
    l->early = table(l, n, sizeof *l->early);
    if (!p->root || !p->offset || !p->operand || !p->state_slot || !p->state || !p->step || !p->reads || !l->alias ||
        !l->uses || !l->last || !l->early)
        return eye_fail_nomem(err, n * sizeof *p->state);
    for (size_t v = 0; v < n; v++) {
        p->operand[v] = EYE_NO_BLOB;
        l->alias[v] = EYE_NONE;
        l->last[v] = l->early[v] = -1;
        p->state_slot[v] = l->g->value[v].kind == EYE_VAL_STATE && l->g->value[v].n_uses ? (int32_t)p->n_states++ : -1;
    }
    return EYE_OK;
}

/* Sizes that lowerings compute with must exist. */
static enum eye_status check_sizes(struct eye_lower *l, struct eye_err *err) {
    const struct eye_plan_opts *o = &l->plan->opts;
    struct eye_bind bind = {.t = o->max_t, .ctx = o->max_ctx, .picked = o->max_picked};
    for (size_t v = 0; v < l->g->n_values; v++) {
        int64_t n;
        if (!eye_value_elems(&l->g->value[v], &bind, &n) || n > INT64_MAX / 64)
            return eye_fail(err, EYE_E_LIMIT, "engine: value \"%s\" is too large for T = %lld", l->g->value[v].name,
                            (long long)bind.t);
    }
    return EYE_OK;
}

static enum eye_status lower_nodes(struct eye_lower *l, struct eye_err *err) {
    const struct eye_graph *g = l->g;
    struct eye_plan *p = l->plan;
    uint64_t *value_leads = table(l, g->n_values, sizeof *value_leads), *node_leads = table(l, g->n_nodes, sizeof *node_leads);
    if (!value_leads || !node_leads) return eye_fail_nomem(err, g->n_values * sizeof *value_leads);
    find_readers(l, value_leads, node_leads);
    for (size_t k = 0; k < g->n_nodes; k++) {
        const struct eye_node *n = &g->node[k];
        if (!node_leads[k]) continue;
        struct eye_step s = {.node = n, .leads_to = node_leads[k]};
        enum eye_status st = lowering[n->op](l, n, &s, err);
        if (st != EYE_OK)
            return eye_fail_in(err, st, "node %zu (%s \"%s\")", k, eye_op_info(n->op)->name, g->value[n->out].name);
        if (eye_op_info(n->op)->flags & EYE_OPF_VIEW) l->alias[n->out] = n->in[0];
        if (s.run) p->step[p->n_steps++] = s;
    }
    for (size_t i = 0; i < g->n_outputs; i++) EYE_TRY(eye_lower_operand(l, NULL, g->output[i], err)); /* a leaf may be one */
    return EYE_OK;
}

static size_t bytes_per_number(enum eye_dtype t) { return t == EYE_U8 ? 1 : t == EYE_I16 ? 2 : sizeof(float); }

#define APART_BYTES ((size_t)32 << 20) /* larger networks' values go through memory anyway */

static enum eye_status place_memory(struct eye_lower *l, struct eye_err *err) {
    struct eye_plan *p = l->plan;
    size_t n = l->g->n_values, *bytes = table(l, n, sizeof *bytes);
    bool *loose = table(l, n, sizeof *loose);
    if (!bytes || !loose) return eye_fail_nomem(err, n * sizeof *bytes);
    int32_t *until = table(l, l->g->n_nodes, sizeof *until);
    if (!until) return eye_fail_nomem(err, l->g->n_nodes * sizeof *until);
    eye_chain_steps(l, until);
    for (size_t v = 0; v < n; v++) {
        p->root[v] = (eye_val)v;
        while (l->alias[p->root[v]] != EYE_NONE) p->root[v] = l->alias[p->root[v]];
        if (l->g->value[v].kind == EYE_VAL_NODE && l->alias[v] == EYE_NONE && l->uses[v])
            bytes[v] = eye_lower_elems(l, (eye_val)v) * bytes_per_number(l->g->value[v].dtype);
    }
    for (size_t i = 0; i < p->n_steps; i++) loose[p->step[i].node->out] = p->step[i].feeds; /* whole for observers only */
    struct eye_place_opts o = {.bytes = bytes, .alias = l->alias, .early = l->early, .until = until, .loose = loose};
    if (eye_pool_n_threads(l->e->pool) > 1) o.apart_bytes = APART_BYTES;
    return eye_graph_place(l->g, &o, p->offset, &p->activations_bytes, err);
}

static enum eye_status resolve_opts(struct eye_plan *p, const struct eye_plan_opts *o, struct eye_err *err) {
    p->opts = *o;
    if (o->max_t < 0 || o->max_ctx < 0 || o->max_t > INT32_MAX || o->max_ctx > INT32_MAX || (unsigned)o->kv_type > EYE_KV_I8 ||
        o->max_picked < 0 || o->max_picked > EYE_MAX(o->max_t, 1))
        return eye_fail(err, EYE_E_ARG, "plan: max_t %lld, max_picked %lld, max_ctx %lld or the KV type is out of range",
                        (long long)o->max_t, (long long)o->max_picked, (long long)o->max_ctx);
    p->opts.max_t = EYE_MAX(o->max_t, 1);
    p->opts.max_ctx = o->max_ctx ? o->max_ctx : p->opts.max_t;
    p->opts.max_picked = o->max_picked ? o->max_picked : p->opts.max_t;
    return EYE_OK;
}

enum eye_status eye_plan_new(struct eye_plan **out, const struct eye_engine *e, const struct eye_graph *g,
                             const struct eye_plan_opts *opts, struct eye_err *err) {
    enum eye_status st;
    struct eye_plan *p = eye_alloc_zero(e->alloc, sizeof *p);
    if (!p) return eye_fail_nomem(err, sizeof *p);
    struct eye_lower l = {.plan = p, .e = e, .g = g};
    p->e = e;
    p->g = g;
    eye_arena_init(&p->arena, e->alloc);
    EYE_TRY_GOTO(resolve_opts(p, opts, err));
    EYE_TRY_GOTO(make_tables(&l, err));
    EYE_TRY_GOTO(check_sizes(&l, err));
    EYE_TRY_GOTO(lower_nodes(&l, err));
    EYE_TRY_GOTO(place_memory(&l, err));
    p->weights_bytes = l.weights_bytes;
    if (!p->opts.measure_only) EYE_TRY_GOTO(eye_pack_all(&l, err));
    eye_alloc_free(e->alloc, l.blob, l.blobs_cap * eye_blob_size());
    *out = p;
    return EYE_OK;
fail:
    eye_alloc_free(e->alloc, l.blob, l.blobs_cap * eye_blob_size());
    eye_plan_free(p);
    return st;
}

void eye_plan_free(struct eye_plan *p) {
    if (!p) return;
    const struct eye_alloc *alloc = p->e->alloc;
    if (p->weights) eye_pages_free(p->weights, p->weights_bytes);
    eye_alloc_free(alloc, p->cost, p->cost_cap * sizeof *p->cost);
    eye_alloc_free(alloc, p->ready, p->ready_cap * sizeof *p->ready);
    eye_arena_clear(&p->arena);
    eye_alloc_free(alloc, p, sizeof *p);
}

void eye_plan_measure(const struct eye_plan *p, struct eye_plan_sizes *out) {
    *out = (struct eye_plan_sizes){.weights = p->weights_bytes, .activations = p->activations_bytes,
                                   .scratch = p->shared_bytes + (size_t)eye_pool_n_threads(p->e->pool) * p->thread_bytes};
    for (size_t i = 0; i < p->n_ready; i++)
        if (p->ready[i].data) out->ready += p->ready[i].bytes;
    for (size_t i = 0; i < p->n_states; i++) {
        const struct eye_state_spec *s = &p->state[i];
        size_t row = (size_t)s->dim * eye_kv_elem_bytes(p->opts.kv_type) + (p->opts.kv_type == EYE_KV_I8 ? sizeof(float) : 0);
        out->state_per_position += (size_t)s->heads * row;
    }
}
