/* test/support: a model and one batch as a training graph, put together with the passes and the gradient: images' rows, then
 * two captions each that see them; the loss is the mean cross-entropy of the captions' next tokens. Errors abort the program.
 */
#ifndef EYE_TRAIN_MODEL_H
#define EYE_TRAIN_MODEL_H

#include "support/eval_model.h"

enum { EYE_TM_CAPTIONS = 2, EYE_TM_TOKENS = 5, EYE_TM_IMAGES = 2, EYE_TM_CONTEXT = 128 };

struct eye_tm_param {
    eye_val v, grad;
    float *data;     /* row-major, a copy of the checkpoint's */
    int64_t n;
};
struct eye_train_model {
    struct eye_graph g;      /* loss and all gradients */
    struct eye_graph forward; /* loss only, on the same weights */
    eye_val loss, forward_loss, embeddings; /* embeddings: rows that the decoder reads, [T, hidden] */
    eye_val d_embeddings;
    struct eye_tm_param *param;
    size_t n_params;
    struct eye_train_norm norm[128];
    size_t n_norms;
    struct eye_ref_io in[6]; /* of both graphs */
    size_t n_in;
    struct eye_segment *segment;
    struct eye_bind bind;
    float *weight;           /* [T] of the loss */
};
struct eye_tm_opts {
    int64_t n_images;        /* 0: text only */
    bool train_norms;        /* else frozen */
    float dropout;
    int64_t lora_rank;       /* 0 = none; then nothing but the pairs is trained */
};
void eye_train_model(struct eye_train_model *t, const struct eye_vlm *m, const struct eye_tm_opts *o);
void eye_train_model_clear(struct eye_train_model *t);

#endif
