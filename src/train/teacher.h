/* Teacher: what a student is to imitate. For the tower (loss vision): the features of every picture, from any model's vision
 * graph or from a file. For the whole (loss joint): a VLM that sees the image, and which tokens it holds likeliest after each
 * token of a caption (its tokenizer must be the student's); and captions that it writes itself, where only the words count.
 * Its tower runs once per picture (features.h). What it says can be kept (store.h): then its decoder runs once, too. */
#ifndef EYE_TRAIN_TEACHER_H
#define EYE_TRAIN_TEACHER_H

#include "train/features.h"

struct eye_trainer;

struct eye_teacher {
    const struct eye_recipe_teacher *recipe;
    struct eye_trainer *t;
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
    struct eye_corpus corpus;      /* the training pictures with its own captions; n_groups 0: it wrote none */
    struct eye_net net;            /* of its decoder */
    bool has_net;
    struct eye_batch batch;
    float *image, *logits;
    struct eye_store store;        /* its likeliest tokens [targets of the corpus]: ids [K], logp [K]; else p NULL: it is asked */
    int32_t *top_ids;              /* [targets of a student's call, K] */
    float *top_logp;
    bool open;
};

/* For loss joint with captions of its own, corpus is what the student learns from, else the trainer's. */
EYE_MUST_CHECK enum eye_status eye_teacher_open(struct eye_teacher *x, struct eye_trainer *t, const struct eye_recipe_stage *s,
                                                struct eye_err *err);
void eye_teacher_close(struct eye_teacher *x);
/* Features of n pictures of the data set -> out [n, elems]. */
void eye_teacher_features(const struct eye_teacher *x, const uint32_t *picture, size_t n, float *out);
/* What a student that always says the teacher's mean would score on these pictures: 1 - cosine, and mean squared error. */
void eye_teacher_constant(const struct eye_teacher *x, const struct eye_corpus *c, double *cosine, double *mse);

/* ---- answers.c ---- */
/* Loss joint: x->corpus gets the captions that the recipe asks for, from OUT/teacher-captions.bin or written now. */
EYE_MUST_CHECK enum eye_status eye_teacher_write(struct eye_teacher *x, struct eye_err *err);
/* Makes ready for eye_teacher_answer about c, whose calls have max_targets at most. */
EYE_MUST_CHECK enum eye_status eye_teacher_listen(struct eye_teacher *x, const struct eye_corpus *c, int64_t max_targets,
                                                  struct eye_err *err);
/* What it holds likely for the targets of the student's batch, which was filled from these groups of the corpus, into top_ids
 * and top_logp; nothing with hard = 1. */
EYE_MUST_CHECK enum eye_status eye_teacher_answer(struct eye_teacher *x, const struct eye_corpus *c, const uint32_t *group,
                                                  size_t n, const struct eye_batch *student, struct eye_err *err);

#endif
