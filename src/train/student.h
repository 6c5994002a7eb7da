/* Student: a fresh model as a plain checkpoint folder. Its list of tensors is what its configuration asks for (model/wish.h);
 * values are drawn from the recipe's seed, then pretrained ones are put over them. The folder opens like any checkpoint.
 *
 *   kernels of convolutions    normal, He: sqrt(2 / fan_in)
 *   matrices, embeddings       normal, 0.02; attn_output and ffn_down: 0.02 / sqrt(2 L), as GPT-2
 *   scales of norms, variances 1; biases, means 0
 *
 * Each tensor's numbers depend on the seed and its name alone. */
#ifndef EYE_TRAIN_STUDENT_H
#define EYE_TRAIN_STUDENT_H

#include "train/recipe.h"

struct eye_student_report {
    uint64_t n_params;    /* trainable numbers */
    uint64_t n_buffers;   /* means and variances of batch norms */
    uint64_t n_imported;  /* of n_params and n_buffers */
    size_t n_tensors;
};

/* dir: exists; its tokenizer files, when there are any, give vocab_size, bos_token_id, eos_token_id and pad_token_id where the
 * configuration lacks them. Writes config.json and model.safetensors; measure_only: a file without tensors, they are counted
 * only. CORRUPT, UNSUPPORTED: the configuration; an import whose shapes do not agree, or that fills nothing; IO. report may be
 * NULL. */
EYE_MUST_CHECK enum eye_status eye_student_make(const struct eye_recipe *r, const char *dir, bool measure_only,
                                                const struct eye_alloc *alloc, struct eye_student_report *report,
                                                struct eye_err *err);
/* The tokenizer's files of one folder into another. */
EYE_MUST_CHECK enum eye_status eye_student_copy_tokenizer(const char *from, const char *dir, struct eye_err *err);

/* ---- import.c ---- */
struct eye_student_tensor { /* one of the fresh model's, already drawn */
    const char *name;
    int rank;
    const int64_t *dims;
    float *data;
};
/* Puts one import over tensor [n]; *n_filled += numbers written. */
EYE_MUST_CHECK enum eye_status eye_student_import(const struct eye_recipe_import *import, struct eye_student_tensor *tensor,
                                                  size_t n, const struct eye_alloc *alloc, uint64_t *n_filled,
                                                  struct eye_err *err);

#endif
