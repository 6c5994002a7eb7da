/* engine/chain: steps whose rows depend on the same rows alone, done by each task one after another: a gate's product, its
 * rounding to bytes, the 1x1 convolution behind it and the next block's first one meet once instead of four times, and what one
 * makes the next finds in the cache. A depthwise convolution may be the first of them, a mean over the image the last.
 *
 * A product whose result only a depthwise convolution reads, an expansion, feeds it: a task makes a few lines of it into a window
 * of its own, convolves what they suffice for, makes the next ones. The expanded map is never whole, and no line of it goes from
 * core to core; tasks make the lines at their borders themselves, once more.
 *
 * A convolution in bf16 and the feed-forward step behind it are two runs, in the first of which a left side comes about in place of
 * f32 numbers.
 *
 * A task is ahead of others in such a chain: what any of its steps reads must lie still until the last one is done. So memory is
 * placed as if all of a chain's nodes were one (eye_place_opts' until). Cuts are over rows: results are the same for any
 * number of threads. */
#include "engine/engine_impl.h"

#define CHAIN_WEIGHTS ((size_t)640 << 10) /* of all steps: they stay in a thread's own cache while its tasks pass by */
#define CHAIN_ROWS 192u
#define WINDOW_ROWS 56u                  /* rows of a product into a window, at least */
#define WINDOW_BYTES ((size_t)640 << 10) /* of a window, beside weights in a thread's own cache */

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

static eye_val root_of(const struct eye_lower *l, eye_val v) {
    while (l->alias[v] != EYE_NONE) v = l->alias[v];
    return v;
}

/* s takes over what the chain's first step reads, neighbours' rows too. */
static bool writes_over(const struct eye_lower *l, const struct eye_step *s, const struct eye_step *first) {
    return (first->heads || first->feeds) && root_of(l, s->node->out) == root_of(l, first->node->in[0]);
}

/* Lines of a window that a step makes at once: some tiles of its kernel, so that these are not for the most part borders. */
static size_t lines_at_once(const struct eye_reach *r) {
    return EYE_MIN(eye_ceil_div(WINDOW_ROWS, (size_t)r->w), (size_t)r->h);
}

/* All that an output line needs, and what is made at once with the first and last of them. */
static size_t window_lines(const struct eye_reach *r) {
    size_t lines = lines_at_once(r);
    return EYE_ALIGN_UP(EYE_MIN((size_t)r->k + lines - 1, (size_t)r->h), lines);
}
static size_t window_bytes(const struct eye_reach *r) { return window_lines(r) * (size_t)(r->w * r->c) * sizeof(float); }

/* s makes what only the next step reads, a convolution: both at once, the lines at parts' ends twice. */
static bool feeds(const struct eye_lower *l, const struct eye_step *s, size_t n_left) {
    if (n_left < 2 || !s->into || !s[1].windowed || s[1].node->in[0] != s->node->out) return false;
    const struct eye_reach *r = &s[1].reach;
    return l->uses[s->node->out] == 1 && s->leads_to == s[1].leads_to && s->m == (size_t)(r->h * r->w) &&
           window_bytes(r) <= WINDOW_BYTES &&
           s->weights + s[1].weights <= CHAIN_WEIGHTS && s[1].m / s[1].whole >= 2 * (size_t)eye_pool_n_threads(l->e->pool);
}

static size_t length(const struct eye_lower *l, struct eye_step *first, size_t n_left) {
    const struct eye_plan *p = l->plan;
    size_t n = 1, weights = first->weights, threads = (size_t)eye_pool_n_threads(p->e->pool);
    if (n_left > 1 && first[1].behind) return 2;
    if (!first->rows || !first->m) return 1;
    first->feeds = feeds(l, first, n_left);
    if (first->feeds) weights += first[n++].weights;
    const struct eye_step *head = &first[n - 1];
    for (size_t whole = head->whole; n < n_left; n++) {
        const struct eye_step *s = &first[n];
        size_t longest = EYE_MAX(EYE_MAX(s->unit, s->whole), EYE_MAX(head->unit, head->whole));
        if (!s->rows || s->heads || first[n - 1].end || s->m != head->m || s->leads_to != first->leads_to ||
            eye_ceil_div(s->m, longest) < 2 * threads || weights + s->weights > CHAIN_WEIGHTS ||
            (s->whole && whole && s->whole != whole) || !reads_own_rows(p->g, s->node, first->node, s->m) ||
            feeds(l, s, n_left - n))
            break;
        if (writes_over(l, s, first)) {
            if (!first->feeds) break;
            l->alias[s->node->out] = EYE_NONE; /* a map more */
        }
        weights += s->weights;
        whole = EYE_MAX(whole, s->whole);
    }
    return n;
}

void eye_chain_steps(struct eye_lower *l, int32_t *until) {
    struct eye_plan *p = l->plan;
    size_t window = 0;
    for (size_t k = 0; k < p->g->n_nodes; k++) until[k] = (int32_t)k;
    for (size_t i = 0; i < p->n_steps; i += p->step[i].chain) {
        struct eye_step *s = &p->step[i];
        s->chain = length(l, s, p->n_steps - i);
        if (s->feeds) window = EYE_MAX(window, eye_line(window_bytes(&s[1].reach)));
        int32_t last = (int32_t)(s[s->chain - 1].node - p->g->node);
        for (int32_t k = (int32_t)(s->node - p->g->node); k < last; k++) until[k] = last;
    }
    p->window = p->thread_bytes;
    p->thread_bytes += window;
}

/* ---- running ---- */

struct run {
    struct eye_exec *x;
    const struct eye_step *first;
    struct eye_cut cut;
};

/* The first thread's times: close to the whole's, as all do the same. */
static uint64_t start_of(const struct run *r, int i_thread) { return r->x->timing && i_thread == 0 ? eye_now_ns() : 0; }
static void add_time(const struct run *r, const struct eye_step *s, uint64_t start) {
    if (start) r->x->ns[s - r->x->plan->step] += eye_now_ns() - start;
}

static void steps(const struct run *r, const struct eye_step *s, size_t row, size_t n, int i_thread) {
    for (const struct eye_step *end = r->first + r->first->chain; s < end; s++) {
        uint64_t start = start_of(r, i_thread);
        s->rows(r->x, s, row, n, i_thread);
        add_time(r, s, start);
    }
}

static void fed_steps(const struct run *r, size_t row, size_t n, int i_thread) {
    const struct eye_step *maker = r->first, *reader = maker + 1;
    const struct eye_reach *at = &reader->reach;
    size_t width = reader->whole, lines = lines_at_once(at), block = EYE_MAX(CHAIN_ROWS / width, 1);
    int64_t out = (int64_t)(row / width), out_end = (int64_t)((row + n) / width);
    int64_t made = EYE_MAX(out * at->stride - at->top, 0), last = EYE_MIN((out_end - 1) * at->stride - at->top + at->k, at->h);
    float *lines_at = (float *)(eye_exec_thread(r->x, i_thread) + r->x->plan->window);
    struct eye_window w = {lines_at, (size_t)(at->w * at->c), (size_t)made, window_lines(at)};
    for (int64_t end; out < out_end; out = end) {
        end = EYE_MIN(out + (int64_t)block, out_end);
        for (int64_t y = out; y < end; y++) {
            uint64_t start = start_of(r, i_thread);
            for (int64_t need = EYE_MIN(y * at->stride - at->top + at->k, at->h); made < need; made += (int64_t)lines)
                maker->into(r->x, maker, (size_t)(made * at->w), EYE_MIN(lines, (size_t)(last - made)) * (size_t)at->w,
                            w.p + ((size_t)made - w.first) % w.n_lines * w.line, i_thread);
            add_time(r, maker, start);
            start = start_of(r, i_thread);
            reader->windowed(r->x, reader, (size_t)y * width, width, &w, i_thread);
            add_time(r, reader, start);
        }
        steps(r, reader + 1, (size_t)out * width, (size_t)(end - out) * width, i_thread);
    }
}

static void task(void *ctx, int i_task, int i_thread) {
    const struct run *r = ctx;
    size_t row = eye_cut_row(&r->cut, (size_t)i_task), n = eye_cut_row(&r->cut, (size_t)i_task + 1) - row;
    if (n == 0) return;
    if (r->first->feeds) fed_steps(r, row, n, i_thread);
    else steps(r, r->first, row, n, i_thread);
}

/* Parts of a thread whose lines at the ends are few against those between. */
static size_t fed_parts(const struct eye_reach *r, const struct eye_cut *c) {
    int64_t lines = (int64_t)(eye_cut_row(c, c->each) / c->unit) * r->stride, twice = EYE_MAX(r->k - r->stride, 1);
    return (size_t)EYE_MIN(EYE_MAX(lines / (8 * twice), 1), 4);
}

void eye_chain_run(struct eye_exec *x, const struct eye_step *first) {
    if (first[1].behind) {
        first[1].behind(x, first + 1, first);
        return;
    }
    struct run r = {.x = x, .first = first};
    const struct eye_step *head = first->feeds ? first + 1 : first, *last = first + first->chain - 1;
    size_t whole = 0, unit = 0, most = CHAIN_ROWS;
    for (const struct eye_step *s = head; s <= last; s++) {
        unit = EYE_MAX(unit, s->unit);
        whole = EYE_MAX(whole, s->whole);
    }
    if (whole) most = EYE_ALIGN_UP(EYE_MAX(most / whole, 1), 2) * whole; /* depthwise kernels share work between two rows */
    r.cut = eye_exec_cut(x, head->m, whole ? whole : eye_exec_width(x, head->node->out), whole ? whole : unit, most);
    if (first->feeds) r.cut.each = fed_parts(&head->reach, &r.cut);
    eye_exec_tasks(x, SIZE_MAX, eye_cut_parts(&r.cut), task, &r);
    if (last->end) last->end(x, last);
}
