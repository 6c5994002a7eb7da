/* Corpus: captions and texts as token sequences, and batches of them as rows of one call. A sequence is begin, tokens, end: row
 * i has token i for input and token i + 1 for target, so the begin token is no target and the end token no input.
 *
 * The rows of a picture: a segment of its image rows, then one segment per caption that has the image rows for prefix and
 * begins at the position behind them. All captions of a picture share one prefix; nothing is padded. */
#ifndef EYE_TRAIN_CORPUS_H
#define EYE_TRAIN_CORPUS_H

#include "graph/graph.h"
#include "text/tokenizer.h"
#include "train/dataset.h"

struct eye_corpus {
    const struct eye_alloc *alloc;
    struct eye_ids ids;         /* all sequences, one after the other */
    size_t *begin;              /* [n + 1] where sequence i begins in ids */
    size_t n, begin_cap;
    uint32_t *picture;          /* [n_groups] index of the picture in the data set; texts: unused */
    uint32_t *first;            /* [n_groups + 1] its sequences */
    size_t n_groups, picture_cap, first_cap;
    int32_t bos, eos;
    bool pictures_only;         /* groups have no sequences: for towers */
    size_t max_tok;             /* of a sequence, begin and end not counted */
};

void eye_corpus_init(struct eye_corpus *c, int32_t bos, int32_t eos, size_t max_tok, const struct eye_alloc *alloc);
void eye_corpus_clear(struct eye_corpus *c);
/* The captions (max_captions each, 0 = all) of those pictures of a split that have = 1 (NULL: all); max_pictures 0 = all. */
EYE_MUST_CHECK enum eye_status eye_corpus_add_split(struct eye_corpus *c, const struct eye_dataset *set, enum eye_split split,
                                                    const uint8_t *have, size_t max_captions, size_t max_pictures,
                                                    const struct eye_tokenizer *tk, struct eye_err *err);
/* Every line of a file, a group of its own; blank lines are left out. */
EYE_MUST_CHECK enum eye_status eye_corpus_add_lines(struct eye_corpus *c, const char *path, const struct eye_tokenizer *tk,
                                                    struct eye_err *err);
/* The groups of another corpus: their sequences (keep), and the next per_group lines of text [bytes] each; a blank line is none.
 * CORRUPT: not that many lines. */
EYE_MUST_CHECK enum eye_status eye_corpus_add_texts(struct eye_corpus *c, const struct eye_corpus *from, bool keep,
                                                    const char *text, size_t bytes, size_t per_group,
                                                    const struct eye_tokenizer *tk, struct eye_err *err);
static inline size_t eye_corpus_len(const struct eye_corpus *c, size_t i) { return c->begin[i + 1] - c->begin[i]; }
/* Rows that n groups can take at most, with n_image_rows before each group's sequences. */
int64_t eye_corpus_max_rows(const struct eye_corpus *c, size_t n, int64_t n_image_rows);

/* Position k of the endless stream of groups: pass after pass, each in an order of its own that seed and pass alone decide. */
struct eye_stream {
    uint32_t *order; /* [n] of the pass */
    size_t n;
    uint64_t seed;
    int64_t pass;    /* whose order it is; -1 = none yet */
    bool in_order;   /* never shuffled: judging */
};
uint32_t eye_stream_at(struct eye_stream *s, int64_t k, uint64_t *pass);

struct eye_batch { /* rows of one call; arrays of capacity max_rows */
    int64_t t, n_targets;
    int32_t *ids, *image_row;          /* [t]; -1 = none */
    int32_t *picked, *target;          /* [n_targets] rows that have one, in order, and which; see eye_batch_picked */
    float *weight;                     /* [n_targets] */
    struct eye_segment *segment;
    size_t n_segments;
    int64_t max_rows;
    int64_t prefix, n_prefix;          /* rows of the last image */
    int32_t *block;                    /* owns the arrays */
    size_t block_bytes;
};
EYE_MUST_CHECK enum eye_status eye_batch_init(struct eye_batch *b, int64_t max_rows, const struct eye_alloc *alloc,
                                              struct eye_err *err);
void eye_batch_clear(struct eye_batch *b, const struct eye_alloc *alloc);
/* Target rows of a group. */
int64_t eye_corpus_targets(const struct eye_corpus *c, size_t group);
/* An empty batch; the image rows of the next picture (n of them from row `from` of the features), which open its prefix; a
 * sequence of n + 1 ids behind the last image rows, or at position text_pos where there are none. */
void eye_batch_begin(struct eye_batch *b);
void eye_batch_add_image(struct eye_batch *b, int64_t from, int64_t n);
void eye_batch_add_sequence(struct eye_batch *b, const int32_t *ids, int64_t n, int64_t text_pos);
/* group [n]: the b-th one's image rows are rows b n_image_rows… of the projected features; 0 = texts, which begin at position
 * text_pos. Targets weigh 1; see eye_batch_weigh. */
void eye_batch_fill(struct eye_batch *b, const struct eye_corpus *c, const uint32_t *group, size_t n, int64_t n_image_rows,
                    int64_t text_pos);
/* Rows that a run goes on with after the decoder: at least one, so without targets it is row 0, with target -1 and weight 0. */
static inline int64_t eye_batch_picked(const struct eye_batch *b) { return b->n_targets ? b->n_targets : 1; }
/* Targets weigh w from now on. */
void eye_batch_weigh(struct eye_batch *b, float w);

#endif
