/* Teacher: what a student is to imitate. For the tower: the features of every picture, from any model's vision graph or from a
 * file. For the whole: a VLM that sees the image, and which tokens it holds likeliest after each token of a caption; its
 * tokenizer must be the student's. Its tower runs once per picture (features.h), its decoder whenever it is asked. */
#ifndef EYE_TRAIN_TEACHER_H
#define EYE_TRAIN_TEACHER_H

#include "train/features.h"

struct eye_trainer;

struct eye_teacher {
    const struct eye_recipe_teacher *recipe;
    struct eye_arena arena;
    struct eye_checkpoint ckpt;
    struct eye_vlm vlm;
    struct eye_params params;
    struct eye_pixels pixels;      /* as it wants them */
    struct eye_features features;  /* of its tower, pictures as they are */
    int64_t channels;              /* of a row of features */
    float *file;                   /* features from a file [n, elems]; NULL: the above */
    size_t n, elems;
    float *minus_mean;             /* [channels] of the training pictures: what centring adds */
    struct eye_recipe_stage stage; /* what its nets are made by */
    struct eye_net net;
    bool has_net;
    struct eye_batch batch;
    float *image, *logits;
    int32_t *top_ids;              /* [rows of the student's call, K] */
    float *top_logp;
    bool open;
};

/* max_rows: of the student's calls; n_pictures of a call. */
EYE_MUST_CHECK enum eye_status eye_teacher_open(struct eye_teacher *x, struct eye_trainer *t, const struct eye_recipe_stage *s,
                                                int64_t max_rows, struct eye_err *err);
void eye_teacher_close(struct eye_teacher *x, const struct eye_alloc *alloc);
/* Features of n pictures of the data set -> out [n, elems]. */
void eye_teacher_features(const struct eye_teacher *x, const uint32_t *picture, size_t n, float *out);
/* What it holds likely for the targets of the student's batch, which was filled from these groups of the corpus, into top_ids
 * and top_logp (rows without a target: none). */
EYE_MUST_CHECK enum eye_status eye_teacher_answer(struct eye_teacher *x, const struct eye_corpus *c, const uint32_t *group,
                                                  size_t n, const struct eye_batch *student, struct eye_err *err);
/* What a student that always says the teacher's mean would score on these pictures: 1 - cosine, and mean squared error. */
void eye_teacher_constant(const struct eye_teacher *x, const struct eye_corpus *c, double *cosine, double *mse);

#endif
