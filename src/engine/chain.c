/* engine/chain: steps whose rows depend on the same rows alone, done by each task one after another: a gate's product, its
 * rounding to bytes, the 1x1 convolution behind it and the next block's first one meet once instead of four times, and what one
 * makes the next finds in the cache. A depthwise convolution may be the first of them, a mean over the image the last.
 *
 * A task is ahead of others in such a chain: what any of its steps reads must lie still until the last one is done. So memory is
 * placed as if all of a chain's nodes were one (eye_place_opts' until). Cuts are over rows: results are the same for any
 * number of threads. */
#include "engine/engine_impl.h"

#define CHAIN_WEIGHTS ((size_t)640 << 10) /* of all steps: they stay in a thread's own cache while its tasks pass by */
#define CHAIN_ROWS 192u

/* All of v but its last axis; 0 if that is known in a run only. */
static size_t fixed_rows(const struct eye_value *v) {
    size_t rows = 1;
    for (int i = 0; i + 1 < v->rank; i++) rows *= v->dims[i] > 0 ? (size_t)v->dims[i] : 0;
    return rows;
}

size_t eye_lower_fixed_rows(const struct eye_lower *l, const struct eye_node *n) {
    const struct eye_value *in = eye_value_at(l->g, n->in[0]), *out = eye_value_at(l->g, n->out);
    if (in->rank < 2 || out->rank < 2 || in->dims[in->rank - 1] < 1 || out->dims[out->rank - 1] < 1) return 0;
    return fixed_rows(in) == fixed_rows(out) ? fixed_rows(in) : 0;
}

/* ---- planning ---- */

static const struct eye_node *maker(const struct eye_graph *g, eye_val v) {
    int32_t k = eye_value_at(g, v)->node;
    while (k >= 0 && eye_op_info(g->node[k].op)->flags & EYE_OPF_VIEW) k = eye_value_at(g, g->node[k].in[0])->node;
    return k < 0 ? NULL : &g->node[k];
}

/* Every input of n is rows like its own, or was made before node `first`. */
static bool reads_own_rows(const struct eye_graph *g, const struct eye_node *n, const struct eye_node *first, size_t m) {
    for (int i = 0; i < n->n_in; i++) {
        if (n->in[i] == EYE_NONE) continue;
        const struct eye_node *p = maker(g, n->in[i]);
        if (p && p >= first && fixed_rows(eye_value_at(g, n->in[i])) != m) return false;
    }
    return true;
}

/* s takes over what the chain's first step reads, with neighbours' rows. */
static bool writes_over(const struct eye_plan *p, const struct eye_step *s, const struct eye_step *first) {
    return first->heads && p->root[s->node->out] == p->root[first->node->in[0]];
}

static size_t length(const struct eye_plan *p, const struct eye_step *first, size_t n_left) {
    size_t n = 1, weights = first->weights, whole = first->whole, threads = (size_t)eye_pool_n_threads(p->e->pool);
    if (!first->rows || !first->m) return 1;
    for (; n < n_left; n++) {
        const struct eye_step *s = &first[n];
        size_t longest = EYE_MAX(EYE_MAX(s->unit, s->whole), EYE_MAX(first->unit, first->whole));
        if (!s->rows || s->heads || first[n - 1].end || s->m != first->m || s->leads_to != first->leads_to ||
            eye_ceil_div(s->m, longest) < 2 * threads || weights + s->weights > CHAIN_WEIGHTS ||
            (s->whole && whole && s->whole != whole) || writes_over(p, s, first) ||
            !reads_own_rows(p->g, s->node, first->node, s->m))
            break;
        weights += s->weights;
        whole = EYE_MAX(whole, s->whole);
    }
    return n;
}

void eye_chain_steps(struct eye_plan *p, int32_t *until) {
    for (size_t k = 0; k < p->g->n_nodes; k++) until[k] = (int32_t)k;
    for (size_t i = 0; i < p->n_steps; i += p->step[i].chain) {
        struct eye_step *s = &p->step[i];
        s->chain = length(p, s, p->n_steps - i);
        int32_t last = (int32_t)(s[s->chain - 1].node - p->g->node);
        for (int32_t k = (int32_t)(s->node - p->g->node); k < last; k++) until[k] = last;
    }
}

/* ---- running ---- */

struct run {
    struct eye_exec *x;
    const struct eye_step *first;
    struct eye_cut cut;
};

static void task(void *ctx, int i_task, int i_thread) {
    const struct run *r = ctx;
    const struct eye_step *s = r->first, *end = s + s->chain;
    size_t row = eye_cut_row(&r->cut, (size_t)i_task), n = eye_cut_row(&r->cut, (size_t)i_task + 1) - row;
    if (n == 0) return;
    bool timing = r->x->timing && i_thread == 0; /* the first thread's times: close to the whole's, as all do the same */
    for (; s < end; s++) {
        uint64_t start = timing ? eye_now_ns() : 0;
        s->rows(r->x, s, row, n, i_thread);
        if (timing) r->x->ns[s - r->x->plan->step] += eye_now_ns() - start;
    }
}

void eye_chain_run(struct eye_exec *x, const struct eye_step *first) {
    struct run r = {.x = x, .first = first};
    size_t whole = 0, unit = 0;
    for (size_t i = 0; i < first->chain; i++) {
        unit = EYE_MAX(unit, first[i].unit);
        whole = EYE_MAX(whole, first[i].whole);
    }
    size_t most = CHAIN_ROWS;
    if (whole) most = EYE_ALIGN_UP(EYE_MAX(most / whole, 1), 2) * whole; /* depthwise kernels share work between two rows */
    r.cut = eye_exec_cut(x, first->m, whole ? whole : eye_exec_width(x, first->node->out), whole ? whole : unit, most);
    eye_exec_tasks(x, SIZE_MAX, eye_cut_parts(&r.cut), task, &r);
    const struct eye_step *last = first + first->chain - 1;
    if (last->end) last->end(x, last);
}
