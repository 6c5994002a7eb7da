/* text/bpe: pair hash and merging. See bpe.h. */
#include "text/bpe.h"

#include <string.h>

#include "base/sys.h"

/* ---- ids ---- */

enum eye_status eye_ids_reserve(struct eye_ids *ids, size_t more, struct eye_err *err) {
    void *p = ids->p;
    size_t need;
    if (!eye_add_ok(ids->n, more, &need)) return eye_fail_nomem(err, SIZE_MAX);
    EYE_TRY(eye_alloc_grow(ids->alloc, &p, &ids->cap, need, sizeof *ids->p, err));
    ids->p = p;
    return EYE_OK;
}

enum eye_status eye_ids_add(struct eye_ids *ids, int32_t id, struct eye_err *err) {
    if (ids->n == ids->cap) EYE_TRY(eye_ids_reserve(ids, 1, err));
    ids->p[ids->n++] = id;
    return EYE_OK;
}

void eye_ids_clear(struct eye_ids *ids) {
    eye_alloc_free(ids->alloc, ids->p, ids->cap * sizeof *ids->p);
    *ids = (struct eye_ids){.alloc = ids->alloc};
}

/* ---- merge table ---- */

void eye_bpe_init(struct eye_bpe *b, const struct eye_alloc *alloc) { *b = (struct eye_bpe){.alloc = alloc}; }

void eye_bpe_clear(struct eye_bpe *b) {
    eye_alloc_free(b->alloc, b->slot, b->cap * sizeof *b->slot);
    eye_bpe_init(b, b->alloc);
}

/* Multiply-shift: universal for a random odd key. */
static struct eye_bpe_slot *find(const struct eye_bpe *b, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t i = (size_t)((pair * b->key ^ (pair >> 32) * b->key) >> b->shift);; i = (i + 1) & (b->cap - 1)) {
        struct eye_bpe_slot *s = &b->slot[i];
        if (s->left < 0 || (s->left == left && s->right == right)) return s;
    }
}

enum eye_status eye_bpe_reserve(struct eye_bpe *b, size_t n, struct eye_err *err) {
    struct eye_bpe bigger = {.alloc = b->alloc, .n = b->n, .cap = EYE_MAX(b->cap, 16), .shift = 60};
    size_t bytes;
    while (bigger.cap / 4 * 3 < n)
        if (!eye_mul_ok(bigger.cap, 2, &bigger.cap)) return eye_fail_nomem(err, SIZE_MAX);
    if (bigger.cap == b->cap) return EYE_OK;
    while ((uint64_t)1 << (64 - bigger.shift) < bigger.cap) bigger.shift--;
    if (!eye_mul_ok(bigger.cap, sizeof *b->slot, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    bigger.slot = eye_alloc_raw(b->alloc, bytes);
    if (!bigger.slot) return eye_fail_nomem(err, bytes);
    memset(bigger.slot, 0xFF, bytes);
    struct eye_rng rng;
    eye_rng_seed(&rng, eye_now_ns() ^ (uintptr_t)bigger.slot);
    bigger.key = eye_rng_u64(&rng) | 1;
    for (size_t i = 0; i < b->cap; i++)
        if (b->slot[i].left >= 0) *find(&bigger, b->slot[i].left, b->slot[i].right) = b->slot[i];
    eye_bpe_clear(b);
    *b = bigger;
    return EYE_OK;
}

enum eye_status eye_bpe_put(struct eye_bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t made, struct eye_err *err) {
    assert(left >= 0 && right >= 0 && made >= 0 && rank != EYE_BPE_NO_RANK);
    EYE_TRY(eye_bpe_reserve(b, b->n + 1, err));
    struct eye_bpe_slot *s = find(b, left, right);
    if (s->left < 0) b->n++;
    *s = (struct eye_bpe_slot){left, right, rank, made};
    return EYE_OK;
}

static uint32_t rank_of(const struct eye_bpe *b, int32_t left, int32_t right, int32_t *made) {
    const struct eye_bpe_slot *s = find(b, left, right);
    if (s->left < 0) return EYE_BPE_NO_RANK;
    *made = s->made;
    return s->rank;
}

/* ---- short words ---- */

enum { SHORT_WORD = 32 };

static size_t merge_short(const struct eye_bpe *b, int32_t *sym, size_t n) {
    uint32_t rank[SHORT_WORD];
    int32_t made[SHORT_WORD] = {0};
    for (size_t i = 0; i + 1 < n; i++) rank[i] = rank_of(b, sym[i], sym[i + 1], &made[i]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == EYE_BPE_NO_RANK) break;
        sym[best] = made[best];
        n--;
        for (size_t i = best + 1; i < n; i++) sym[i] = sym[i + 1], rank[i] = rank[i + 1], made[i] = made[i + 1];
        if (best > 0) rank[best - 1] = rank_of(b, sym[best - 1], sym[best], &made[best - 1]);
        if (best + 1 < n) rank[best] = rank_of(b, sym[best], sym[best + 1], &made[best]);
    }
    return n;
}

/* ---- long words: a linked list of symbols and a heap of rank << 32 | position ---- */

struct eye_bpe_node {
    int32_t sym;         /* -1 = merged into the one before */
    uint32_t prev, next; /* positions; NO_NODE at the ends */
    uint32_t rank;       /* of the pair that begins here: a heap entry with another rank is out of date */
    int32_t made;
};
#define NO_NODE UINT32_MAX

static void sift_down(uint64_t *h, size_t n, size_t i) {
    uint64_t x = h[i];
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && h[c + 1] < h[c]) c++;
        if (h[c] >= x) break;
        h[i] = h[c];
    }
    h[i] = x;
}

static uint64_t heap_pop(uint64_t *h, size_t *n) {
    uint64_t top = h[0];
    h[0] = h[--*n];
    if (*n) sift_down(h, *n, 0);
    return top;
}

/* Looks the pair at i up anew and queues it. The heap has room: each merge takes one entry out and puts at most two in, and
 * there are fewer merges than symbols. */
static void queue_pair(const struct eye_bpe *b, struct eye_bpe_node *node, uint32_t i, uint64_t *h, size_t *n) {
    uint32_t next = node[i].next;
    node[i].rank = next == NO_NODE ? EYE_BPE_NO_RANK : rank_of(b, node[i].sym, node[next].sym, &node[i].made);
    if (node[i].rank == EYE_BPE_NO_RANK) return;
    uint64_t x = (uint64_t)node[i].rank << 32 | i;
    size_t at = (*n)++;
    for (; at > 0 && h[(at - 1) / 2] > x; at = (at - 1) / 2) h[at] = h[(at - 1) / 2];
    h[at] = x;
}

static enum eye_status merge_long(const struct eye_bpe *b, int32_t *sym, size_t *n_sym, struct eye_bpe_scratch *s,
                                  struct eye_err *err) {
    size_t n = *n_sym, n_heap = 0, out = 0;
    if (n >= (size_t)1 << 30) return eye_fail(err, EYE_E_LIMIT, "a word of %zu symbols: at most 2^30 - 1", n);
    void *node_mem = s->node, *heap_mem = s->heap;
    EYE_TRY(eye_alloc_grow(s->alloc, &node_mem, &s->node_cap, n, sizeof *s->node, err));
    s->node = node_mem;
    EYE_TRY(eye_alloc_grow(s->alloc, &heap_mem, &s->heap_cap, 2 * n, sizeof *s->heap, err));
    s->heap = heap_mem;
    struct eye_bpe_node *node = s->node;
    uint64_t *heap = s->heap;
    for (uint32_t i = 0; i < n; i++)
        node[i] = (struct eye_bpe_node){sym[i], i - 1, i + 1 == n ? NO_NODE : i + 1, EYE_BPE_NO_RANK, 0};
    for (uint32_t i = 0; i + 1 < n; i++) {
        node[i].rank = rank_of(b, sym[i], sym[i + 1], &node[i].made);
        if (node[i].rank != EYE_BPE_NO_RANK) heap[n_heap++] = (uint64_t)node[i].rank << 32 | i;
    }
    for (size_t i = n_heap / 2; i-- > 0;) sift_down(heap, n_heap, i);
    while (n_heap) {
        uint64_t top = heap_pop(heap, &n_heap);
        uint32_t i = (uint32_t)top;
        if (node[i].sym < 0 || node[i].rank != top >> 32) continue;
        uint32_t gone = node[i].next, after = node[gone].next;
        node[i].sym = node[i].made;
        node[i].next = after;
        node[gone].sym = -1;
        if (after != NO_NODE) node[after].prev = i;
        queue_pair(b, node, i, heap, &n_heap);
        if (node[i].prev != NO_NODE) queue_pair(b, node, node[i].prev, heap, &n_heap);
    }
    for (uint32_t i = 0; i != NO_NODE; i = node[i].next) sym[out++] = node[i].sym;
    *n_sym = out;
    return EYE_OK;
}

enum eye_status eye_bpe_merge(const struct eye_bpe *b, int32_t *sym, size_t *n, struct eye_bpe_scratch *s,
                              struct eye_err *err) {
    if (*n < 2 || b->n == 0) return EYE_OK;
    if (*n > SHORT_WORD) return merge_long(b, sym, n, s, err);
    *n = merge_short(b, sym, *n);
    return EYE_OK;
}

void eye_bpe_scratch_clear(struct eye_bpe_scratch *s) {
    eye_alloc_free(s->alloc, s->node, s->node_cap * sizeof *s->node);
    eye_alloc_free(s->alloc, s->heap, s->heap_cap * sizeof *s->heap);
    *s = (struct eye_bpe_scratch){.alloc = s->alloc};
}
