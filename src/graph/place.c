/* Plan memory: every value lives from its node to its last reader; greedy best fit over the free gaps, big values first.
 * Deterministic. O(n^2) in the number of placed values, which is a few hundred. */
#include "graph/graph_impl.h"

#include <stdlib.h>
#include <string.h>

struct span { /* one placed block: a value and all that alias it */
    eye_val v;
    size_t bytes, offset;
    int32_t first, last; /* node numbers, inclusive */
};

static int by_size(const void *pa, const void *pb) {
    const struct span *a = pa, *b = pb;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
    return (a->v > b->v) - (a->v < b->v);
}

static int by_offset(const void *pa, const void *pb) {
    const struct span *a = *(const struct span *const *)pa, *b = *(const struct span *const *)pb;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return (a->v > b->v) - (a->v < b->v);
}

static eye_val root_of(const eye_val *alias, eye_val v) {
    while (alias && alias[v] != EYE_NONE) v = alias[v];
    return v;
}

/* The smallest gap that holds bytes among the blocks alive at the same time, and if apart those of other sizes; else the end.
 * busy is scratch for n pointers. */
static size_t best_gap(const struct span *placed, size_t n, const struct span *want, bool apart, const struct span **busy) {
    size_t m = 0, end = 0, best = SIZE_MAX, best_size = SIZE_MAX;
    for (size_t i = 0; i < n; i++)
        if ((placed[i].first <= want->last && want->first <= placed[i].last) || (apart && placed[i].bytes != want->bytes))
            busy[m++] = &placed[i];
    qsort(busy, m, sizeof *busy, by_offset);
    for (size_t i = 0; i < m; i++) {
        if (busy[i]->offset > end && busy[i]->offset - end >= want->bytes && busy[i]->offset - end < best_size) {
            best_size = busy[i]->offset - end;
            best = end;
        }
        end = EYE_MAX(end, busy[i]->offset + busy[i]->bytes);
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

/* span[]: by size; gets offsets. False: they exceed the address space. */
static bool place(struct span *span, size_t n, bool apart, const struct span **busy, size_t *total) {
    *total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t end;
        span[i].offset = best_gap(span, i, &span[i], apart, busy);
        if (!eye_add_ok(span[i].offset, span[i].bytes, &end)) return false;
        *total = EYE_MAX(*total, end);
    }
    return true;
}

enum eye_status eye_graph_place(const struct eye_graph *g, const struct eye_place_opts *o, size_t *offset, size_t *total_bytes,
                                struct eye_err *err) {
    size_t n = g->n_values, n_span = 0;
    size_t work = n * (sizeof(struct span) + sizeof(struct span *) + 2 * sizeof(int32_t));
    char *mem = eye_alloc_zero(g->alloc, work);
    if (!mem) return eye_fail_nomem(err, work);
    struct span *span = (struct span *)mem;
    const struct span **busy = (const struct span **)(mem + n * sizeof *span);
    int32_t *first = (int32_t *)(mem + n * (sizeof *span + sizeof *busy)), *last = first + n;

    lifetimes(g, o, first, last);
    for (size_t v = 0; v < n; v++) {
        offset[v] = 0;
        if (o->bytes[v] == 0 || (o->alias && o->alias[v] != EYE_NONE) || last[v] < 0) continue;
        span[n_span++] = (struct span){(eye_val)v, EYE_ALIGN_UP(o->bytes[v], EYE_CACHE_LINE), 0, first[v], last[v]};
    }
    qsort(span, n_span, sizeof *span, by_size);
    bool placed = o->apart_bytes && place(span, n_span, true, busy, total_bytes) && *total_bytes <= o->apart_bytes;
    if (!placed) placed = place(span, n_span, false, busy, total_bytes);
    for (size_t i = 0; placed && i < n_span; i++) offset[span[i].v] = span[i].offset;
    for (size_t v = 0; v < n; v++)
        if (o->alias && o->alias[v] != EYE_NONE) offset[v] = offset[root_of(o->alias, (eye_val)v)];
    eye_alloc_free(g->alloc, mem, work);
    return placed ? EYE_OK : eye_fail(err, EYE_E_LIMIT, "graph: activations exceed the address space");
}
