/* engine/cost: what a run of a plan has to do at least, for rooflines: multiply-adds by the kind of unit that does them, and
 * bytes of weights. Counted where matrices and convolutions are lowered; norms, activations and copies are not. */
#include "engine/engine_impl.h"

enum eye_status eye_lower_cost(struct eye_lower *l, const struct eye_node *n, enum eye_cost_kind kind, double per_row,
                               size_t bytes, struct eye_err *err) {
    struct eye_plan *p = l->plan;
    void *mem = p->cost;
    EYE_TRY(eye_alloc_grow(l->e->alloc, &mem, &p->cost_cap, p->n_costs + 1, sizeof *p->cost, err));
    p->cost = mem;
    p->cost[p->n_costs++] = (struct eye_cost_item){.node = n, .kind = kind, .per_row = per_row, .bytes = bytes};
    p->read_bytes += bytes;
    return EYE_OK;
}

/* Keys that a row of attention sees, on average. */
static double keys_of(const struct eye_plan *p, const struct eye_node *n, int64_t t, int64_t past, int64_t picked) {
    const struct eye_value *k = eye_value_at(p->g, n->in[1]);
    if (eye_node_in(n, 5) != EYE_NONE) return (double)(past + t) - ((double)picked - 1) / 2;
    if (n->attr.causal || eye_node_in(n, 3) != EYE_NONE) return (double)past + ((double)t + 1) / 2;
    int64_t rows = k->dims[k->rank - 3];
    return (double)(rows < 0 ? t : rows);
}

struct eye_plan_cost eye_plan_cost(const struct eye_plan *p, int64_t t, int64_t past, int64_t picked) {
    struct eye_plan_cost sum = {{0}, 0};
    struct eye_bind bind = {.t = t, .ctx = past + t, .past = past, .picked = picked};
    for (size_t i = 0; i < p->n_costs; i++) {
        const struct eye_cost_item *c = &p->cost[i];
        const struct eye_value *y = eye_value_at(p->g, c->node->out);
        int64_t elems = 0;
        if (!eye_value_elems(y, &bind, &elems)) continue;
        double rows = (double)elems / (double)y->dims[y->rank - 1];
        bool attention = c->kind == EYE_COST_ATTENTION;
        double keys = attention ? keys_of(p, c->node, t, past, picked) : 1;
        sum.ops[attention ? EYE_COST_F32 : c->kind] += 2 * rows * c->per_row * keys;
        if (elems) sum.bytes += (double)c->bytes;
    }
    return sum;
}
