/* Net: a student as one graph of a stage, ready to run: vision, projector, embedding, decoder and head, the loss, and for
 * training the gradients; over the weights of struct eye_params, which it reads where they lie. One net trains, another one
 * (no dropout, no gradients) judges; a third gives what a frozen tower says of pictures.
 *
 *   pixels or a cached value -> tower -> projector -> rows, looked up by image_row  \
 *   ids -> embedding, plus those rows ------------------------------------------------> decoder -> picked rows -> head -> loss
 *
 * An id or image_row of -1 is a row of zeros, so each row of the call has one of the two. Only rows with a target reach the
 * head: scores over the vocabulary for a picture's rows, which nobody asks for, would take a good part of a step. */
#ifndef EYE_TRAIN_NET_H
#define EYE_TRAIN_NET_H

#include "train/corpus.h"
#include "train/optim.h"
#include "train/params.h"
#include "train/recipe.h"

enum eye_net_use {
    EYE_NET_TRAIN, EYE_NET_JUDGE,
    EYE_NET_TAP, /* pictures to the value that the stage caches */
    EYE_NET_ROWS /* pictures, or the cached value, to the rows that the decoder sees */
};

struct eye_net_opts {
    enum eye_net_use use;
    const struct eye_recipe_stage *stage;
    const struct eye_recipe_teacher *teacher;
    int64_t n_pictures;     /* of a call */
    int64_t max_rows;       /* of a call */
    int64_t max_targets;    /* of a call */
    int64_t teacher_dim;    /* VISION: channels of the teacher's rows */
    size_t teacher_elems;   /* and all numbers of a picture */
};

struct eye_net_weight { /* one that is trained */
    struct eye_train_param *param;
    eye_val v, grad;        /* grad EYE_NONE: the loss does not depend on it */
    float *g;               /* [param->n] of the last run */
    float *sum;             /* of the batches of a step; NULL where a step has one batch */
    double lr, decay;       /* factor of the stage's lr; decay itself */
};
struct eye_net_norm { struct eye_train_param *mean, *var; eye_val stats; float *seen; int64_t channels, rows; };

struct eye_net {
    const struct eye_engine *engine;
    struct eye_graph g;
    struct eye_plan *plan;
    struct eye_exec *exec;
    struct eye_arena arena;
    eye_val image;          /* pixels, or the cached value; EYE_NONE: texts only */
    size_t image_elems;     /* of one picture */
    int64_t image_rows;     /* rows of a picture before the captions; VISION: of its features */
    eye_val ids, image_row, picked, target, weight, seed; /* inputs; EYE_NONE where there is none */
    eye_val teacher, centre, top_ids, top_logp;        /* of teachers */
    eye_val loss;           /* [1], the weighted sum; JUDGE and VISION: rows, see row_loss */
    eye_val row_loss;       /* [targets] or [pictures x rows]: each one's own */
    eye_val logits;         /* [targets, vocab]; JUDGE only */
    eye_val tap;            /* TAP, ROWS: the value */
    size_t tap_elems;       /* of one picture */
    struct eye_net_weight *train; /* [n_train] */
    size_t n_train;
    struct eye_net_norm *norm;    /* [n_norm] */
    size_t n_norm;
};

/* m: its graphs' structure; p: its numbers, which must outlive the net. UNSUPPORTED: an op without gradient on the way, weights
 * stored transposed that should be trained; ARG: a cache that is no value of the tower, nothing left to train. */
EYE_MUST_CHECK enum eye_status eye_net_init(struct eye_net *n, const struct eye_net_opts *o, const struct eye_engine *engine,
                                            const struct eye_vlm *m, struct eye_params *p, struct eye_err *err);
void eye_net_clear(struct eye_net *n);
/* One part alone with the params' weights of the moment, which the plan may pack: matrices in type; of the decoder picked rows
 * (eye_graph_pick). The caller clears g. */
EYE_MUST_CHECK enum eye_status eye_net_part(struct eye_graph *g, const struct eye_vlm *m, enum eye_part part,
                                            struct eye_params *p, enum eye_wtype type, struct eye_err *err);

struct eye_net_call { /* what a run gets; members whose input the net lacks are not read */
    const struct eye_batch *batch;   /* NULL: pictures alone */
    const float *image;              /* [n_pictures, image_elems] */
    uint32_t seed[2];                /* of dropout */
    const float *teacher, *centre;   /* VISION: [n_pictures x rows, C], [C] */
    const int32_t *top_ids;          /* JOINT: [targets, K] */
    const float *top_logp;
    float *loss, *row_loss, *logits, *tap; /* results that are wanted; NULL = not */
    bool gradients;
    bool (*cancel)(void *);
    void *cancel_ctx;
};
EYE_MUST_CHECK enum eye_status eye_net_run(struct eye_net *n, const struct eye_net_call *c, struct eye_err *err);

#endif
