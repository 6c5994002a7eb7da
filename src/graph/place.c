/* Plan memory: every value lives from its node to its last reader; greedy best fit over the free gaps, big values first.
 * Deterministic. O(n^2) in the number of placed values, which is a few hundred. */
#include "graph/graph_impl.h"

#include <stdlib.h>
#include <string.h>

#define APART_NODES 32 /* until then other values have passed through the caches */

struct span { /* one placed block: a value and all that alias it */
    eye_val v;
    size_t bytes, offset;
    int32_t first, last; /* node numbers, inclusive */
    bool loose;          /* hardly ever written */
};

static int by_size(const void *pa, const void *pb) {
    const struct span *a = pa, *b = pb;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
    return (a->v > b->v) - (a->v < b->v);
}

static eye_val root_of(const eye_val *alias, eye_val v) {
    while (alias && alias[v] != EYE_NONE) v = alias[v];
    return v;
}

/* Whether fewer than `near` nodes lie between their lives. 0: they are alive at the same time. */
static bool meet(const struct span *a, const struct span *b, int64_t near) {
    return a->first <= b->last + near && b->first <= a->last + near;
}

/* The smallest gap that holds want's bytes among n blocks, by offset: among those alive at the same time, and those of other sizes
 * that are near; else the end. */
static size_t best_gap(const struct span *const *placed, size_t n, const struct span *want, int64_t near) {
    size_t end = 0, best = SIZE_MAX, best_size = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        const struct span *p = placed[i];
        bool alike = p->bytes == want->bytes || p->loose || want->loose;
        if (!meet(p, want, alike ? 0 : near)) continue;
        if (p->offset > end && p->offset - end >= want->bytes && p->offset - end < best_size) {
            best_size = p->offset - end;
            best = end;
        }
        end = EYE_MAX(end, p->offset + p->bytes);
    }
    return best == SIZE_MAX ? end : best;
}

/* First and last node of every block; outputs live to the end. */
static void lifetimes(const struct eye_graph *g, const struct eye_place_opts *o, int32_t *first, int32_t *last) {
    for (size_t v = 0; v < g->n_values; v++) {
        first[v] = INT32_MAX;
        last[v] = -1;
    }
    for (size_t k = 0; k < g->n_nodes; k++) {
        const struct eye_node *n = &g->node[k];
        eye_val r = root_of(o->alias, n->out);
        first[r] = EYE_MIN(first[r], (int32_t)k);
        int32_t end = o->until ? o->until[k] : (int32_t)k;
        last[r] = EYE_MAX(last[r], end);
        for (int i = 0; i < n->n_in; i++) {
            if (n->in[i] == EYE_NONE) continue;
            r = root_of(o->alias, n->in[i]);
            last[r] = EYE_MAX(last[r], end);
        }
    }
    for (size_t i = 0; i < g->n_inputs; i++) first[root_of(o->alias, g->input[i])] = 0;
    for (size_t i = 0; i < g->n_outputs; i++) last[root_of(o->alias, g->output[i])] = (int32_t)g->n_nodes;
    for (size_t v = 0; o->early && v < g->n_values; v++) {
        eye_val r = root_of(o->alias, (eye_val)v);
        if (o->early[v] >= 0) first[r] = EYE_MIN(first[r], o->early[v]);
    }
}

/* span[]: by size; gets offsets. near: as meet has it. placed: scratch for n pointers. False: they exceed the address space. */
static bool place(struct span *span, size_t n, int64_t near, const struct span **placed, size_t *total) {
    *total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t end, at = i;
        span[i].offset = best_gap(placed, i, &span[i], near);
        if (!eye_add_ok(span[i].offset, span[i].bytes, &end)) return false;
        *total = EYE_MAX(*total, end);
        for (; at > 0 && placed[at - 1]->offset > span[i].offset; at--) placed[at] = placed[at - 1];
        placed[at] = &span[i];
    }
    return true;
}

enum eye_status eye_graph_place(const struct eye_graph *g, const struct eye_place_opts *o, size_t *offset, size_t *total_bytes,
                                struct eye_err *err) {
    size_t n = g->n_values, n_span = 0;
    size_t work = n * (sizeof(struct span) + sizeof(struct span *) + 2 * sizeof(int32_t)), least;
    char *mem = eye_alloc_zero(g->alloc, work);
    if (!mem) return eye_fail_nomem(err, work);
    struct span *span = (struct span *)mem;
    const struct span **by_offset = (const struct span **)(mem + n * sizeof *span);
    int32_t *first = (int32_t *)(mem + n * (sizeof *span + sizeof *by_offset)), *last = first + n;

    lifetimes(g, o, first, last);
    for (size_t v = 0; v < n; v++) {
        offset[v] = 0;
        if (o->bytes[v] == 0 || (o->alias && o->alias[v] != EYE_NONE) || last[v] < 0) continue;
        span[n_span++] = (struct span){(eye_val)v, EYE_ALIGN_UP(o->bytes[v], EYE_CACHE_LINE), 0, first[v], last[v],
                                       o->loose && o->loose[v]};
    }
    qsort(span, n_span, sizeof *span, by_size);
    bool placed = o->apart_bytes && place(span, n_span, INT32_MAX, by_offset, total_bytes) && *total_bytes <= o->apart_bytes;
    if (!placed && o->apart_bytes)
        placed = place(span, n_span, 0, by_offset, &least) && place(span, n_span, APART_NODES, by_offset, total_bytes) &&
                 *total_bytes - least <= least / 4;
    if (!placed) placed = place(span, n_span, 0, by_offset, total_bytes);
    for (size_t i = 0; placed && i < n_span; i++) offset[span[i].v] = span[i].offset;
    for (size_t v = 0; v < n; v++)
        if (o->alias && o->alias[v] != EYE_NONE) offset[v] = offset[root_of(o->alias, (eye_val)v)];
    eye_alloc_free(g->alloc, mem, work);
    return placed ? EYE_OK : eye_fail(err, EYE_E_LIMIT, "graph: activations exceed the address space");
}
