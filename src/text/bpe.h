/* text/bpe: the merge table and the merging of one word. Works on token ids alone: knows neither strings nor bytes, so
 * byte-level and SentencePiece-style vocabularies use it alike. Source: Sennrich et al., arXiv 1508.07909; the order of merges
 * is that of the tokenizers library: lowest rank first, leftmost among equals. */
#ifndef EYE_BPE_H
#define EYE_BPE_H

#include "base/base.h"

/* A growing list of token ids. Zero-filled with alloc set is an empty list. */
struct eye_ids {
    const struct eye_alloc *alloc;
    int32_t *p;
    size_t n, cap;
};
EYE_MUST_CHECK enum eye_status eye_ids_add(struct eye_ids *ids, int32_t id, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_ids_reserve(struct eye_ids *ids, size_t more, struct eye_err *err);
void eye_ids_clear(struct eye_ids *ids);

#define EYE_BPE_NO_RANK UINT32_MAX

struct eye_bpe_slot {
    int32_t left, right; /* left -1 = free */
    uint32_t rank;
    int32_t made;        /* the token that left and right become */
};
struct eye_bpe {
    const struct eye_alloc *alloc;
    struct eye_bpe_slot *slot; /* open addressing, linear probing, load <= 3/4 */
    size_t n, cap;             /* cap a power of two */
    uint64_t key;              /* odd, random: a merges list cannot be made to collide */
    int shift;
};
void eye_bpe_init(struct eye_bpe *b, const struct eye_alloc *alloc);
void eye_bpe_clear(struct eye_bpe *b);
EYE_MUST_CHECK enum eye_status eye_bpe_reserve(struct eye_bpe *b, size_t n, struct eye_err *err);
/* A pair given twice keeps the later rank, as in the tokenizers library. rank < EYE_BPE_NO_RANK. */
EYE_MUST_CHECK enum eye_status eye_bpe_put(struct eye_bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t made,
                                           struct eye_err *err);

/* Working memory of merges, reused from word to word. Zero-filled with alloc set is ready; one per thread. */
struct eye_bpe_scratch {
    const struct eye_alloc *alloc;
    struct eye_bpe_node *node; /* of long words */
    size_t node_cap;
    uint64_t *heap;
    size_t heap_cap;
};
void eye_bpe_scratch_clear(struct eye_bpe_scratch *s);

/* Merges sym [n] in place; *n = what is left. Short words by rescanning, long ones by a heap: O(n log n), 36 bytes of
 * scratch per symbol. LIMIT at 2^30 symbols; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_bpe_merge(const struct eye_bpe *b, int32_t *sym, size_t *n, struct eye_bpe_scratch *s,
                                             struct eye_err *err);

#endif
