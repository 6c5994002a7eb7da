/* engine/attend: what attention and its gradient share: whose rows a call holds, which keys a row sees, and scores over keys
 * that lie in two places. Inside the room. */
#ifndef EYE_ENGINE_ATTEND_H
#define EYE_ENGINE_ATTEND_H

#include "engine/engine_impl.h"

struct eye_span { size_t key, value, n; }; /* n keys from slot `key` of the panels on, their values from row `value` on */

struct eye_attn_rows { /* the rows of one attention in this run: segments of the call, or images of t rows */
    const struct eye_exec *x;
    bool by_segment, cached;
    size_t t, n_segments, n_blocks;
    size_t key_slots; /* not cached: slots that all keys of one head take */
};
/* k: the attention's keys [(N,) T, Hkv, D], or queries like them. */
struct eye_attn_rows eye_attn_rows(const struct eye_exec *x, eye_val k, bool cached);
/* Slots for the largest run; T rows (rank 3, symbolic) or images. */
size_t eye_attn_max_slots(const struct eye_lower *l, eye_val k);
/* Block i: rows [row, row + n) of all rows of the input, from row `first` of the segment's n_segment on. */
struct eye_attn_block { size_t segment, n_segment, first, row, n; };
struct eye_attn_block eye_attn_block(const struct eye_attn_rows *r, size_t i);
struct eye_attn_block eye_attn_block_of(const struct eye_attn_rows *r, const struct eye_block *b);
/* What the segment's first row sees but for itself: its prefix and its own past; own rows follow in span[1]. */
void eye_attn_seen(const struct eye_attn_rows *r, size_t segment, struct eye_span span[2]);
/* Slot and value row of the segment's first own row. */
static inline struct eye_span eye_attn_own(const struct eye_span span[2]) {
    return (struct eye_span){span[1].key + span[1].n, span[1].value + span[1].n, 0};
}

/* Keys (or values) src [rows][heads][dim], rows stride floats apart, as panels [heads][key_slots / 16][dim][16] in dst. */
void eye_attn_lay_out(struct eye_exec *x, const struct eye_attn_rows *r, const float *src, size_t stride, size_t heads,
                      size_t dim, float *dst);

/* Attention reads rows where they lie: a slice of rows that only attention reads needs no step. slice: such a node. */
bool eye_attn_reads_in_place(const struct eye_lower *l, const struct eye_node *slice);

/* Floats from one row of scores over n keys to the next: room before them for a panel's head and behind for its tail, which
 * also keeps rows off each other's cache sets. */
static inline size_t eye_score_stride(size_t n) { return EYE_ALIGN_UP(n, EYE_ATTN_LANES) + 2 * EYE_ATTN_LANES; }
/* The first row's place in scratch. */
static inline float *eye_score_first(void *scratch) { return (float *)scratch + EYE_ATTN_LANES; }

struct eye_scores { /* s[i][j] = scale q[i] . key j: m <= EYE_BLOCK_ROWS rows, the keys of span 0, then of span 1 */
    eye_attn_qk_fn *qk;
    size_t elem_bytes, m, d;
    const float *q;
    size_t q_stride;
    const void *panels;
    float scale, *s; /* s: eye_score_first, rows stride apart */
    size_t stride;
};
void eye_attn_scores(const struct eye_scores *c, const struct eye_span span[2]);

#endif
