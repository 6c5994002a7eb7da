/* LoRA (arXiv 2106.09685): a stage that changes a matrix W [N,K] by a product of two narrow ones, W + alpha / rank B A, with
 * A [rank,K] drawn and B [N,rank] zeros at first. Adapters are parameters like others (optimiser, averages, checkpoints), but
 * in no student's file: whoever judges or exports sees W with the product in it, and so does the next stage. */
#ifndef EYE_TRAIN_LORA_H
#define EYE_TRAIN_LORA_H

#include "train/params.h"
#include "train/recipe.h"

/* Adapters for every matrix that l->match names, unless a resumed run has them already. ARG: it names none. */
EYE_MUST_CHECK enum eye_status eye_lora_begin(struct eye_params *p, const struct eye_recipe_lora *l, uint64_t seed,
                                              struct eye_err *err);
/* The matrices get the product; hide takes them back to what they were, bit for bit. Nothing without adapters. */
EYE_MUST_CHECK enum eye_status eye_lora_show(struct eye_params *p, const struct eye_recipe_lora *l, struct eye_err *err);
void eye_lora_hide(struct eye_params *p);
/* The product stays, the adapters go. */
EYE_MUST_CHECK enum eye_status eye_lora_end(struct eye_params *p, const struct eye_recipe_lora *l, struct eye_err *err);

static inline float eye_lora_scale(const struct eye_recipe_lora *l) { return (float)(l->alpha / (double)l->rank); }
/* The adapter of a matrix: end "lora_a" or "lora_b"; NULL = it has none. */
struct eye_train_param *eye_lora_find(const struct eye_params *p, const char *matrix, const char *end);

#endif
