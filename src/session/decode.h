/* decode: token ids and image rows through embedding, decoder and head, for one sequence or many in one run of the weights
 * ("continuous batching"). Knows sequences only as slots of the KV cache; what they mean is its callers' affair: a session has
 * one, a search several per prompt. Stands on engine; knows no tokenizer. */
#ifndef EYE_DECODE_H
#define EYE_DECODE_H

#include "engine/engine.h"

struct eye_part_plan { /* one part of a model, ready to run */
    struct eye_graph graph;
    struct eye_plan *plan; /* NULL = not yet */
};

enum { EYE_DECODE_EMBED, EYE_DECODE_DECODER, EYE_DECODE_HEAD, EYE_N_DECODE };

struct eye_decoder { /* memory of one user; not for two threads at once */
    const struct eye_alloc *alloc;
    const struct eye_part_plan *part[EYE_N_DECODE]; /* borrowed */
    struct eye_exec *exec[EYE_N_DECODE];
    struct eye_kv *kv;
    bool shares_kv;              /* another's: not ours to free */
    size_t rows, head_rows;      /* of one run, at most */
    size_t width, vocab;
    int32_t *ids;                /* [rows] */
    const float **image_row;     /* [rows] what stands there in place of a token's embedding, or NULL */
    float *embeds, *hidden;      /* [rows, width]; hidden: of wanted rows, one after the other */
    float *last;                 /* [head_rows, width] */
    struct eye_segment *segment; /* [rows] */
    int32_t *wanted;             /* [rows] those of a run that the head gets */
};
/* part: the decoder's graph takes picked rows (eye_graph_pick). rows, head_rows: its and the head's largest T. n_slots: of the
 * KV cache. On failure it is cleared. */
EYE_MUST_CHECK enum eye_status eye_decoder_init(struct eye_decoder *d, const struct eye_part_plan *const part[EYE_N_DECODE],
                                                size_t rows, size_t head_rows, int64_t n_slots, const struct eye_alloc *alloc,
                                                struct eye_err *err);
/* One more on the cache of `of`, which outlives it: the two may run at once, each on a thread, if both are alone and their calls see
 * no slot that the other's write. */
EYE_MUST_CHECK enum eye_status eye_decoder_share(struct eye_decoder *d, const struct eye_decoder *of, struct eye_err *err);
void eye_decoder_alone(struct eye_decoder *d); /* eye_exec_alone */
void eye_decoder_clear(struct eye_decoder *d);

/* Next tokens of one sequence. */
struct eye_decode_call {
    const int32_t *ids;        /* [n] within the vocabulary; negative: an image row */
    size_t n;                  /* >= 1 */
    const float *image_rows;   /* [image rows among ids, width], in order; NULL if there are none */
    struct eye_segment at;     /* pos, slot, n_own, prefix, n_prefix; row and n are filled in here */
    size_t n_logits;           /* wanted of its last so many tokens, <= n */
};
/* All calls, in as few runs as fit. logits [rows that want them, vocab], in order; NULL if none does. cancel (may be NULL) is
 * asked between steps. Errors: those of eye_exec_run. */
EYE_MUST_CHECK enum eye_status eye_decode(struct eye_decoder *d, const struct eye_decode_call *call, size_t n_calls, float *logits,
                                          bool (*cancel)(void *), void *cancel_ctx, struct eye_err *err);
/* The first step alone: n <= d->rows ids to d->embeds, image rows copied from *image_rows, which advances. */
EYE_MUST_CHECK enum eye_status eye_decode_embed(struct eye_decoder *d, const int32_t *ids, size_t n, const float **image_rows,
                                                struct eye_err *err);

#endif
