/* engine/exec: one user's memory for a plan, and the run loop. A run binds pointers and numbers, then calls the steps; it
 * allocates nothing. */
#include "engine/engine_impl.h"

#include <string.h>

/* One block: the exec, then its tables in this order. */
struct layout {
    size_t ptr, ns, block, key_at, bytes;
};
static struct layout exec_layout(const struct eye_plan *p) {
    struct layout l = {.ptr = eye_line(sizeof(struct eye_exec))};
    l.ns = l.ptr + eye_line(p->g->n_values * sizeof(void *));
    l.block = l.ns + eye_line(p->n_steps * sizeof(uint64_t));
    l.key_at = l.block + eye_line((size_t)p->opts.max_t * sizeof(struct eye_block));
    l.bytes = l.key_at + (size_t)p->opts.max_t * sizeof(int32_t);
    return l;
}

static void *arena_ptr(const struct eye_exec *x, eye_val v) { return x->activations + x->plan->offset[v]; }

enum eye_status eye_exec_new(struct eye_exec **out, const struct eye_plan *p, struct eye_err *err) {
    if (p->opts.measure_only) return eye_fail(err, EYE_E_ARG, "exec: the plan was made for measuring only");
    struct layout l = exec_layout(p);
    uint8_t *mem = eye_alloc_zero(p->e->alloc, l.bytes);
    if (!mem) return eye_fail_nomem(err, l.bytes);
    struct eye_exec *x = (struct eye_exec *)mem;
    x->plan = p;
    x->ptr = (void **)(mem + l.ptr);
    x->ns = (uint64_t *)(mem + l.ns);
    x->block = (struct eye_block *)(mem + l.block);
    x->key_at = (int32_t *)(mem + l.key_at);
    x->scratch_bytes = p->shared_bytes + (size_t)eye_pool_n_threads(p->e->pool) * p->thread_bytes;
    x->activations = eye_pages_alloc(p->activations_bytes);
    x->scratch = x->activations ? eye_pages_alloc(x->scratch_bytes) : NULL;
    if (!x->scratch) {
        eye_exec_free(x);
        return eye_fail_nomem(err, p->activations_bytes + p->shared_bytes);
    }
    for (size_t v = 0; v < p->g->n_values; v++) {
        if (p->g->value[v].kind == EYE_VAL_NODE)
            x->ptr[v] = arena_ptr(x, p->root[v]);
        else if (p->operand[v] != EYE_NO_BLOB)
            x->ptr[v] = p->weights + p->operand[v];
        else if (p->g->value[v].trainable)
            x->ptr[v] = (void *)(uintptr_t)p->g->value[v].data; /* lowerings only read it */
    }
    *out = x;
    return EYE_OK;
}

void eye_exec_free(struct eye_exec *x) {
    if (!x) return;
    if (x->activations) eye_pages_free(x->activations, x->plan->activations_bytes);
    if (x->scratch) eye_pages_free(x->scratch, x->scratch_bytes);
    eye_alloc_free(x->plan->e->alloc, x, exec_layout(x->plan).bytes);
}

/* ---- binding a run ---- */

static enum eye_status bind_rows(struct eye_exec *x, struct eye_kv *kv, const struct eye_bind *bind, struct eye_err *err) {
    const struct eye_plan *p = x->plan;
    int64_t t = bind->t, past = bind->past;
    if (t < 1 || t > p->opts.max_t)
        return eye_fail(err, EYE_E_ARG, "run: expected 1 to %lld rows (the plan's max_t), got %lld", (long long)p->opts.max_t,
                        (long long)t);
    if (bind->picked < 0 || bind->picked > p->opts.max_picked)
        return eye_fail(err, EYE_E_ARG, "run: expected at most %lld picked rows (the plan's max_picked), got %lld",
                        (long long)p->opts.max_picked, (long long)bind->picked);
    int64_t room = p->opts.max_ctx;
    if (p->n_states) {
        if (!kv || eye_kv_plan(kv) != p)
            return eye_fail(err, EYE_E_ARG, "run: a KV cache of this plan is needed, got %s", kv ? "another's" : "none");
        room = eye_kv_ctx(kv); /* slots; a sequence without segments takes them as positions */
    }
    int64_t most = EYE_MIN(room, p->opts.max_ctx);
    if (!bind->n_segments && (past < 0 || (p->has_positions && past > most - t)))
        return eye_fail(err, EYE_E_ARG, "run: positions %lld to %lld do not fit the context of %lld", (long long)past,
                        (long long)(past + t - 1), (long long)most);
    x->kv = kv;
    x->t = t;
    x->bind = *bind;
    x->bind.ctx = room;
    return eye_exec_bind_segments(x, err);
}

static enum eye_status bind_inputs(struct eye_exec *x, const struct eye_io *in, size_t n_in, struct eye_err *err) {
    const struct eye_graph *g = x->plan->g;
    for (size_t i = 0; i < g->n_inputs; i++) x->ptr[g->input[i]] = NULL;
    for (size_t i = 0; i < n_in; i++) {
        if (in[i].v < 0 || (size_t)in[i].v >= g->n_values || g->value[in[i].v].kind != EYE_VAL_INPUT)
            return eye_fail(err, EYE_E_ARG, "run: value %d is no input of the graph", in[i].v);
        x->ptr[in[i].v] = in[i].data;
    }
    for (size_t i = 0; i < g->n_inputs; i++)
        if (!x->ptr[g->input[i]])
            return eye_fail(err, EYE_E_ARG, "run: input \"%s\" was given no data", g->value[g->input[i]].name);
    return EYE_OK;
}

/* Nothing to do: it makes picked rows, and none is. */
static bool of_no_rows(const struct eye_exec *x, const struct eye_step *s) {
    return x->bind.picked == 0 && eye_dim(x->plan->g, s->node->out, 0) == EYE_DIM_PICKED && !eye_writes_state(s->node);
}

static bool is_output(const struct eye_graph *g, eye_val v, size_t *index) {
    for (*index = 0; *index < g->n_outputs; ++*index)
        if (g->output[*index] == v) return true;
    return false;
}

/* A wanted output's memory is the caller's; of several that share memory the first one's. wanted: bits as in leads_to. */
static enum eye_status bind_outputs(struct eye_exec *x, const struct eye_io *out, size_t n_out, uint64_t *wanted,
                                    struct eye_err *err) {
    const struct eye_plan *p = x->plan;
    const struct eye_graph *g = p->g;
    *wanted = EYE_STEP_ALWAYS;
    for (size_t i = 0; i < g->n_outputs; i++) {
        eye_val r = p->root[g->output[i]];
        if (g->value[r].kind == EYE_VAL_NODE) x->ptr[r] = arena_ptr(x, r);
    }
    for (size_t i = 0; i < n_out; i++) {
        size_t index;
        if (!is_output(g, out[i].v, &index) || !out[i].data)
            return eye_fail(err, EYE_E_ARG, "run: value %d is no output of the graph, or has no memory", out[i].v);
        *wanted |= UINT64_C(1) << (index % 63);
        eye_val r = p->root[out[i].v];
        if (g->value[r].kind == EYE_VAL_NODE && x->ptr[r] == arena_ptr(x, r)) x->ptr[r] = out[i].data;
    }
    return EYE_OK;
}

/* Outputs that could not be made in place: inputs and weights passed through, second names of one memory. */
static void copy_outputs(struct eye_exec *x, const struct eye_io *out, size_t n_out) {
    for (size_t i = 0; i < n_out; i++) {
        const void *p = eye_exec_ptr(x, out[i].v);
        if (p != out[i].data) memcpy(out[i].data, p, eye_exec_elems(x, out[i].v) * sizeof(float));
    }
}

static void observe_step(const struct eye_exec *x, const struct eye_step *s) {
    x->observe(x->observe_ctx, s->node->out, eye_exec_ptr(x, s->node->out), eye_exec_elems(x, s->node->out));
    for (size_t i = 0; i < EYE_COUNT(s->also) && s->also[i]; i++) {
        eye_val v = s->also[i]->out;
        x->observe(x->observe_ctx, v, eye_exec_ptr(x, v), eye_exec_elems(x, v));
    }
}

enum eye_status eye_exec_run(struct eye_exec *x, struct eye_kv *kv, const struct eye_bind *bind, const struct eye_io *in,
                             size_t n_in, const struct eye_io *out, size_t n_out, bool (*cancel)(void *), void *cancel_ctx,
                             struct eye_err *err) {
    const struct eye_plan *p = x->plan;
    uint64_t wanted;
    EYE_TRY(bind_rows(x, kv, bind, err));
    EYE_TRY(bind_inputs(x, in, n_in, err));
    EYE_TRY(bind_outputs(x, out, n_out, &wanted, err));
    if (x->timing) memset(x->ns, 0, p->n_steps * sizeof *x->ns);
    for (size_t i = 0, n = 1; i < p->n_steps; i += n) {
        const struct eye_step *s = &p->step[i];
        n = x->observe ? 1 : s->chain; /* who observes wants to see each result whole */
        if (!(s->leads_to & wanted) || of_no_rows(x, s)) continue;
        if (cancel && cancel(cancel_ctx))
            return eye_fail(err, EYE_E_CANCELLED, "run: cancelled before step %zu of %zu", i + 1, p->n_steps);
        if (n > 1) {
            eye_chain_run(x, s);
            continue;
        }
        uint64_t start = x->timing ? eye_now_ns() : 0;
        EYE_TRY(s->run(x, s, err));
        if (x->timing) x->ns[i] = eye_now_ns() - start;
        if (x->observe) observe_step(x, s);
    }
    copy_outputs(x, out, n_out);
    return EYE_OK;
}

void eye_exec_alone(struct eye_exec *x) { x->alone = true; }

/* ---- timing, observing ---- */

void eye_exec_observe(struct eye_exec *x, eye_observe_fn *fn, void *ctx) {
    x->observe = fn;
    x->observe_ctx = ctx;
}

void eye_exec_timing(struct eye_exec *x, bool on) { x->timing = on; }

size_t eye_exec_times(const struct eye_exec *x, struct eye_step_time *out, size_t cap) {
    const struct eye_plan *p = x->plan;
    for (size_t i = 0; i < EYE_MIN(p->n_steps, cap); i++) {
        const struct eye_node *n = p->step[i].node;
        out[i] = (struct eye_step_time){eye_op_info(n->op)->name, p->g->value[n->out].name, x->ns[i]};
    }
    return p->n_steps;
}
