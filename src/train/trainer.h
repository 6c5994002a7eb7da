/* Trainer: one run of a recipe. What its parts share: trainer.c opens and closes, stage.c makes steps, dev.c judges on the way,
 * report.c draws. Everything that decides the numbers is the recipe, the files it names and struct eye_train_state. */
#ifndef EYE_TRAIN_TRAINER_H
#define EYE_TRAIN_TRAINER_H

#include "eyelet/train.h"
#include "train/features.h"
#include "train/log.h"
#include "train/ranks.h"
#include "train/state.h"
#include "train/teacher.h"

struct eye_trainer {
    const struct eye_train_opts *opts;
    const struct eye_alloc *alloc;
    const struct eye_ranks *ranks; /* NULL = alone. Rank 0 writes files, the others read what it has written */
    bool stop;                   /* with ranks: all have agreed to stop */
    struct eye_recipe recipe;
    struct eye_engine engine;
    struct eye_checkpoint ckpt;  /* OUT/student as it began */
    struct eye_vlm vlm;
    struct eye_params params;
    struct eye_tokenizer *tokenizer;
    struct eye_dataset *set;     /* NULL: texts only */
    struct eye_pixels pixels;
    struct eye_corpus train, dev, texts; /* the last eye_trainer_dev_texts() of texts are its dev part */
    struct eye_train_state state;
    struct eye_train_log log;
    char student[4096], checkpoints[4096];
    uint64_t began_ns, saved_ns;
    double dev_loss, shuffled_loss; /* of the last evaluation */
};

static inline size_t eye_trainer_dev_texts(const struct eye_trainer *t) { return EYE_MIN(t->texts.n_groups / 50, 1000); }

struct eye_critical;

struct eye_stage { /* the stage that runs */
    struct eye_trainer *t;
    const struct eye_recipe_stage *s;
    struct eye_net net, judge;
    bool has_judge;
    struct eye_critical *critical; /* loss self_critical: who writes the batches' captions; else NULL */
    double reward;                 /* theirs, of the last step */
    struct eye_batch batch;
    struct eye_features features;  /* f16 NULL: none */
    struct eye_teacher teacher;    /* losses vision and joint */
    float *taught;                 /* [batch, teacher.elems] vision: its features */
    const struct eye_corpus *corpus; /* what is trained on */
    struct eye_stream stream;
    struct eye_augment augment;
    uint32_t *picture;             /* [batch] of the data set */
    float *image;                  /* [batch, image_elems] */
    struct eye_arena arena;
    int64_t n_steps, text_pos, max_rows, max_targets; /* of a batch */
    double loss, grad_norm;        /* of the last step */
    int64_t n_rows, n_pictures;    /* of this rank, since the last line of the log */
    struct eye_rank_sum *sum;      /* [net.n_train] with ranks */
    float *losses;                 /* [ranks] */
    uint64_t line_ns;
};

/* stage.c: the whole stage from state.stage_step on. CANCELLED: the state is that of a finished step. */
EYE_MUST_CHECK enum eye_status eye_stage_run(struct eye_trainer *t, const struct eye_recipe_stage *s, struct eye_err *err);
/* Images of n pictures of the data set for a net, augmented for position k of the stream (k < 0: as they are). */
EYE_MUST_CHECK enum eye_status eye_stage_images(struct eye_stage *g, const uint32_t *picture, size_t n, int64_t k, float *out,
                                                struct eye_err *err);
/* trainer.c */
/* The data set's pictures as a model wants them, in OUT/name, or in the student's file if they are the same. */
EYE_MUST_CHECK enum eye_status eye_trainer_pixels(struct eye_trainer *t, const struct eye_prep_config *prep, const char *name,
                                                  struct eye_pixels *px, struct eye_err *err);
/* What a model's tower says of them at the value that s caches, in OUT/name. */
struct eye_looker { const struct eye_vlm *vlm; struct eye_params *params; const struct eye_pixels *pixels; };
EYE_MUST_CHECK enum eye_status eye_trainer_features(struct eye_trainer *t, const struct eye_looker *who,
                                                    const struct eye_recipe_stage *s, const char *name, struct eye_features *f,
                                                    struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_trainer_save(struct eye_trainer *t, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_trainer_export(struct eye_trainer *t, const char *name, struct eye_err *err);
/* OUT/best, with the mark that state.best_mark is; and the way back: *found false = it is not there, or bears another mark. */
EYE_MUST_CHECK enum eye_status eye_trainer_export_best(struct eye_trainer *t, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_trainer_take_best(struct eye_trainer *t, bool *found, struct eye_err *err);
bool eye_trainer_cancelled(void *trainer);
struct eye_trainer_say { const struct eye_train_opts *opts; const char *what; }; /* of a long preparation */
void eye_trainer_say(void *say, double done_0_to_1);

/* vocabulary.c: OUT/student/tokenizer.json from the captions and texts of the training part. */
EYE_MUST_CHECK enum eye_status eye_trainer_vocabulary(struct eye_trainer *t, struct eye_err *err);

/* dev.c: dev loss with true and with shuffled images, sample captions, into the log; remembers the best. */
EYE_MUST_CHECK enum eye_status eye_dev_judge(struct eye_stage *g, bool *best, struct eye_err *err);
/* report.c: OUT/report.html from OUT/log.jsonl and the recipe. */
EYE_MUST_CHECK enum eye_status eye_report_write(const char *dir, const struct eye_alloc *alloc, struct eye_err *err);
/* A small copy of rgb [side, side, 3] for the report, as dir/samples/NUMBER.bmp; name [64] gets its place below dir. */
EYE_MUST_CHECK enum eye_status eye_report_thumbnail(const char *dir, uint32_t number, const uint8_t *rgb, int side, char *name,
                                                    struct eye_err *err);

#endif
