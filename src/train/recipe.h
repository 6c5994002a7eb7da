/* Recipe: a training run as data. One JSON file says which student, which data, which stages; nothing of a run stands anywhere
 * else, so that a run can be repeated from its recipe and seed alone. Keys, ranges and defaults are the tables of recipe.c;
 * doc/TRAINING.md has them printed. A key that begins with '#' is a remark. */
#ifndef EYE_TRAIN_RECIPE_H
#define EYE_TRAIN_RECIPE_H

#include "train/fields.h"

enum eye_recipe_kind { EYE_RECIPE_CAPTION, EYE_RECIPE_LM, EYE_RECIPE_DISTIL_VISION, EYE_RECIPE_DISTIL_JOINT };
enum eye_stage_loss { EYE_LOSS_CAPTION, EYE_LOSS_LM, EYE_LOSS_CRITICAL, EYE_LOSS_VISION, EYE_LOSS_JOINT };
enum eye_stage_schedule { EYE_SCHEDULE_COSINE, EYE_SCHEDULE_STEP, EYE_SCHEDULE_CONSTANT };
enum eye_stage_optimizer { EYE_STAGE_ADAMW, EYE_STAGE_ADAM, EYE_STAGE_SGD };
enum eye_feature_loss { EYE_FEATURE_MSE, EYE_FEATURE_COSINE, EYE_FEATURE_CENTRED_COSINE, EYE_FEATURE_SOFTMAX_KL };
enum eye_import_match { EYE_IMPORT_NAMES, EYE_IMPORT_ORDER };

struct eye_recipe_import { /* pretrained weights for a part of a fresh student */
    const char *file;      /* .safetensors, .pth, .pt, .bin, or a checkpoint folder */
    int match;             /* enum eye_import_match */
    const char *part;      /* only tensors of the student whose names match: "v.*" */
    const char *prefix;    /* NAMES: put before the file's names: "v." */
};
struct eye_recipe_student {
    const char *path;          /* a checkpoint folder to go on from; or: */
    struct eye_text config;    /* config.json of a fresh one */
    struct eye_text generation; /* generation_config.json of a fresh one: beams, length penalty */
    struct eye_texts optional; /* optional tensors it has: "output.bias" */
    int64_t free_dim;          /* what the configuration leaves to the tensors */
    struct eye_items import;    /* struct eye_recipe_import */
    const char *tokenizer;     /* folder whose tokenizer files are copied; NULL: trained from the data's captions and texts */
    int64_t vocab;             /* of a trained one */
    bool lowercase;
};
struct eye_recipe_data {
    struct eye_texts path;              /* lists or folders, as eye_dataset_open takes them; none = synth, without files */
    const char *images;                 /* folder of the pictures */
    const char *train_list, *dev_list;  /* files that name the pictures of a split */
    int64_t synth_level;                /* objects in a scene */
    int64_t synth_train, synth_dev;     /* pictures */
    int64_t max_images;                 /* of the training split; 0 = all */
    int64_t captions;                   /* per picture at most; 0 = all */
    int64_t max_tokens;                 /* a caption's tokens are cut there */
    struct eye_texts texts;             /* files of lines: language model, tokenizer */
};
struct eye_recipe_teacher {
    const char *path;          /* a checkpoint that runs, or for vision a feature file (.npy, .safetensors) [pictures, C] */
    int feature_loss;          /* enum eye_feature_loss */
    double temperature;
    double hard;               /* joint: share of cross-entropy with the captions, 0..1 */
    int64_t top_k;             /* joint: logits kept per token */
    bool store;                /* joint: they are computed once and kept in a file */
    int64_t captions;          /* joint: that it writes of each training picture, to learn from */
    double captions_temperature; /* drawn at it; 0 = the best of a beam search */
    bool captions_only;        /* they take the place of the data's */
    const char *prompt;        /* what it is asked for captions; NULL = its own prompt */
};
struct eye_recipe_group { const char *match; double lr, weight_decay; }; /* lr: factor; weight_decay < 0: the stage's */
struct eye_recipe_augment { bool flip; double crop, colour; }; /* crop: least part of a side that is kept; colour: jitter */
struct eye_recipe_lora { int64_t rank; double alpha; const char *match; }; /* rank 0 = none */
struct eye_recipe_stage {
    const char *name;
    int loss, schedule, optimizer;
    double epochs;
    int64_t steps;             /* 0: epochs decide */
    int64_t batch;             /* pictures of a step; LM: sequences */
    int64_t accumulate;        /* steps whose gradients are summed */
    int64_t samples;           /* CRITICAL: captions drawn of a picture */
    double temperature;        /* CRITICAL: that they are drawn with */
    double lr, min_lr, warmup; /* min_lr, warmup: fractions */
    double step_every, step_gamma; /* schedule "step": epochs, factor */
    double beta1, beta2, eps, momentum, weight_decay, clip;
    double dropout, label_smoothing, ema;
    bool bf16, train_norms;
    struct eye_texts freeze;   /* patterns of weights that stay */
    struct eye_items groups;    /* struct eye_recipe_group, the first match counts */
    const char *cache;         /* the value that is computed once per picture and kept; NULL: pictures go through the tower */
    struct eye_recipe_augment augment;
    struct eye_recipe_lora lora;
};
struct eye_recipe_eval {
    double every_epochs;
    int64_t images;    /* of the dev split; 0 = all */
    int64_t samples;   /* captions shown in the report */
    int64_t patience;  /* evaluations without a better mark until a stage ends, which then leaves its best weights; 0 = never */
};
struct eye_recipe {
    const char *name;
    int kind;          /* enum eye_recipe_kind */
    int64_t seed;
    int64_t keep;      /* checkpoints */
    int64_t log_every; /* steps */
    double save_minutes;
    struct eye_recipe_student student;
    struct eye_recipe_data data;
    struct eye_recipe_teacher teacher;
    struct eye_items stages; /* struct eye_recipe_stage */
    struct eye_recipe_eval eval;
    struct eye_text text;   /* the recipe as it is used, overrides in it: what a run's folder keeps */
    struct eye_arena arena;
};

/* path: the file; set [n]: "key.path=value" overrides. CORRUPT with file and key; IO. */
EYE_MUST_CHECK enum eye_status eye_recipe_open(struct eye_recipe *r, const char *path, const char *const *set, size_t n_set,
                                               const struct eye_alloc *alloc, struct eye_err *err);
/* The same for bytes in memory; where names them in errors. */
EYE_MUST_CHECK enum eye_status eye_recipe_parse(struct eye_recipe *r, const void *p, size_t n, const char *where,
                                                const char *const *set, size_t n_set, const struct eye_alloc *alloc,
                                                struct eye_err *err);
/* DATA/ at the head of the recipe's paths becomes data/, which may be NULL unless there is such a path (ARG). */
EYE_MUST_CHECK enum eye_status eye_recipe_resolve(struct eye_recipe *r, const char *data, struct eye_err *err);
void eye_recipe_clear(struct eye_recipe *r);
static inline const struct eye_recipe_stage *eye_recipe_stage(const struct eye_recipe *r, size_t i) {
    return (const struct eye_recipe_stage *)r->stages.item + i;
}
/* All keys as a Markdown list. */
void eye_recipe_document(struct eye_buf *out);
/* '*' any run of characters, '?' one; the whole name. */
bool eye_pattern_matches(const char *pattern, const char *name);
bool eye_pattern_any(const struct eye_texts *patterns, const char *name);

#endif
