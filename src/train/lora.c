/* LoRA: see lora.h. */
#include "train/lora.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct eye_train_param *eye_lora_find(const struct eye_params *p, const char *matrix, const char *end) {
    char name[EYE_NAME_MAX + 16];
    if (p->n == p->n_file) return NULL;
    snprintf(name, sizeof name, "%s.%s", matrix, end);
    return eye_params_find(p, name);
}

static enum eye_status add(struct eye_params *p, const struct eye_train_param *q, const char *end, int64_t rows,
                           int64_t columns, struct eye_train_param **out, struct eye_err *err) {
    char name[EYE_NAME_MAX + 16];
    struct eye_tensor shape = {.dtype = EYE_F32, .rank = 2, .dims = {rows, columns}};
    snprintf(name, sizeof name, "%s.%s", q->name, end);
    return eye_params_adapter(p, name, &shape, out, err);
}

/* PyTorch's draw for a linear layer: uniform below 1 / sqrt(columns). It depends on the seed and the name alone. */
static void draw(struct eye_train_param *a, uint64_t seed) {
    struct eye_rng rng;
    double bound = 1 / sqrt((double)a->shape.dims[1]);
    eye_rng_seed(&rng, eye_hash64(a->name, strlen(a->name), seed));
    for (size_t i = 0; i < a->n; i++) a->w[i] = (float)(bound * (2 * eye_rng_unit(&rng) - 1));
}

enum eye_status eye_lora_begin(struct eye_params *p, const struct eye_recipe_lora *l, uint64_t seed, struct eye_err *err) {
    struct eye_train_param *a, *b;
    if (l->rank == 0 || p->n > p->n_file) return EYE_OK;
    for (size_t i = 0; i < p->n_file; i++) {
        const struct eye_train_param *q = &p->param[i];
        if (q->shape.rank != 2 || !eye_pattern_matches(l->match, q->name)) continue;
        if (q->transposed)
            return eye_fail(err, EYE_E_UNSUPPORTED, "lora: \"%s\" is stored transposed: convert the model first", q->name);
        EYE_TRY(add(p, q, "lora_a", l->rank, q->shape.dims[1], &a, err));
        EYE_TRY(add(p, q, "lora_b", q->shape.dims[0], l->rank, &b, err));
        draw(a, seed);
    }
    return p->n > p->n_file ? EYE_OK : eye_fail(err, EYE_E_ARG, "lora: no matrix is called \"%.64s\"", l->match);
}

enum { COLUMNS = 64 };

/* Sums in double, rounded once; some columns at a time, so that rows of A are read along. */
static void merge(struct eye_train_param *q, const struct eye_train_param *a, const struct eye_train_param *b, double scale) {
    int64_t rows = q->shape.dims[0], columns = q->shape.dims[1], rank = a->shape.dims[0];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t at = 0; at < columns; at += COLUMNS) {
            int64_t n = EYE_MIN(COLUMNS, columns - at);
            double sum[COLUMNS] = {0};
            for (int64_t k = 0; k < rank; k++)
                for (int64_t c = 0; c < n; c++) sum[c] += (double)b->w[r * rank + k] * (double)a->w[k * columns + at + c];
            for (int64_t c = 0; c < n; c++) {
                float *w = &q->w[r * columns + at + c];
                *w = (float)((double)*w + scale * sum[c]);
            }
        }
}

enum eye_status eye_lora_show(struct eye_params *p, const struct eye_recipe_lora *l, struct eye_err *err) {
    for (size_t i = 0; i < p->n_file; i++) {
        struct eye_train_param *q = &p->param[i];
        const struct eye_train_param *a = eye_lora_find(p, q->name, "lora_a"), *b = eye_lora_find(p, q->name, "lora_b");
        if (!a || !b) continue;
        if (!q->base && !(q->base = eye_alloc_raw(p->alloc, q->n * sizeof *q->base)))
            return eye_fail_nomem(err, q->n * sizeof *q->base);
        memcpy(q->base, q->w, q->n * sizeof *q->w);
        merge(q, a, b, (double)eye_lora_scale(l));
    }
    return EYE_OK;
}

static void drop_bases(struct eye_params *p, bool restore) {
    for (size_t i = 0; i < p->n_file; i++) {
        struct eye_train_param *q = &p->param[i];
        if (!q->base) continue;
        if (restore) memcpy(q->w, q->base, q->n * sizeof *q->w);
        eye_alloc_free(p->alloc, q->base, q->n * sizeof *q->base);
        q->base = NULL;
    }
}

void eye_lora_hide(struct eye_params *p) { drop_bases(p, true); }

enum eye_status eye_lora_end(struct eye_params *p, const struct eye_recipe_lora *l, struct eye_err *err) {
    if (p->n == p->n_file) return EYE_OK;
    enum eye_status st = eye_lora_show(p, l, err);
    drop_bases(p, st != EYE_OK);
    if (st == EYE_OK) eye_params_drop_adapters(p);
    return st;
}
