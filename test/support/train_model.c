/* A model and one batch as a training graph: see train_model.h. */
#include "support/train_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/make_checkpoint.h"

static void must(enum eye_status st, const struct eye_err *err) {
    if (st == EYE_OK) return;
    fprintf(stderr, "train_model: %s: %s\n", eye_status_name(st), err->text);
    abort();
}

static void *zeros(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    if (!p) abort();
    return p;
}

/* ---- the batch: per image its rows, then the captions, which see them; without images the captions ---- */

static int64_t rows_per_image(const struct eye_vlm *m, const struct eye_tm_opts *o) {
    return o->n_images ? eye_vlm_image_tokens(m, m->config.prep.side_px) : 0;
}

static void make_batch(struct eye_train_model *t, const struct eye_vlm *m, const struct eye_tm_opts *o) {
    int64_t n_tok = rows_per_image(m, o), groups = o->n_images ? o->n_images : 1, row = 0;
    int64_t rows = groups * (n_tok + EYE_TM_CAPTIONS * EYE_TM_TOKENS);
    int32_t *ids = zeros((size_t)rows, 4), *image_row = zeros((size_t)rows, 4), *target = zeros((size_t)rows, 4);
    int32_t *seed = zeros(2, 4);
    t->weight = zeros((size_t)rows, 4);
    t->segment = zeros((size_t)(groups * (EYE_TM_CAPTIONS + 1)), sizeof *t->segment);
    t->bind = (struct eye_bind){.t = rows, .segment = t->segment};
    for (int64_t g = 0; g < groups; g++) {
        int64_t first = row;
        if (n_tok) t->segment[t->bind.n_segments++] = (struct eye_segment){.row = row, .n = n_tok};
        for (int64_t i = 0; i < n_tok; i++, row++) {
            ids[row] = target[row] = -1;
            image_row[row] = (int32_t)(g * n_tok + i);
        }
        for (int c = 0; c < EYE_TM_CAPTIONS; c++) {
            t->segment[t->bind.n_segments++] =
                (struct eye_segment){.row = row, .n = EYE_TM_TOKENS, .pos = n_tok, .prefix = first, .n_prefix = n_tok};
            for (int i = 0; i < EYE_TM_TOKENS; i++, row++) {
                ids[row] = (int32_t)(1 + (7 * row + 3 * i * i) % (m->config.text.vocab - 1));
                image_row[row] = -1;
                if (i) target[row - 1] = ids[row];
                t->weight[row] = 1 / (float)(groups * EYE_TM_CAPTIONS * EYE_TM_TOKENS);
            }
            target[row - 1] = 0;
        }
    }
    seed[0] = 3;
    t->in[0].data = ids;
    t->in[1].data = target;
    t->in[2].data = t->weight;
    t->in[3].data = seed;
    if (n_tok) {
        int64_t side = m->config.prep.side_px, n = side * side * 3;
        float *pixels = zeros((size_t)(o->n_images * n), sizeof *pixels);
        for (int64_t i = 0; i < o->n_images * n; i++) pixels[i] = (float)eye_mk_uniform("pixels", 1, (uint64_t)i);
        t->in[4].data = image_row;
        t->in[5].data = pixels;
    } else {
        free(image_row);
    }
}

/* ---- the graph ---- */

static eye_val rows_input(struct eye_train_model *t, struct eye_graph *g, size_t i, const char *name, enum eye_dtype dtype) {
    return t->in[i].v = eye_input(g, name, dtype, 1, (int64_t[]){EYE_DIM_T});
}

/* All inputs are numbered alike in both graphs: they are built alike. */
static eye_val build(struct eye_train_model *t, struct eye_graph *g, const struct eye_vlm *m, const struct eye_tm_opts *o) {
    int64_t side = m->config.prep.side_px;
    char tap[64];
    eye_graph_init(g, NULL);
    eye_val ids = rows_input(t, g, 0, "ids", EYE_I32), target = rows_input(t, g, 1, "target", EYE_I32);
    eye_val weight = rows_input(t, g, 2, "weight", EYE_F32), seed = eye_input(g, "seed", EYE_I32, 1, (int64_t[]){2});
    t->in[3].v = seed;
    t->n_in = 4;
    eye_val x = eye_vlm_add(m, EYE_PART_EMBED, g, ids);
    if (o->n_images) {
        eye_val image_row = rows_input(t, g, 4, "image_row", EYE_I32);
        eye_val pixels = t->in[5].v = eye_input(g, "pixels", EYE_F32, 4, (int64_t[]){o->n_images, side, side, 3});
        eye_val rows = eye_vlm_add(m, EYE_PART_PROJECTOR, g, eye_vlm_add(m, EYE_PART_VISION, g, pixels));
        x = eye_add(g, x, eye_embed(g, image_row, rows));
        t->n_in = 6;
    }
    t->embeddings = x;
    eye_val logits = eye_vlm_add(m, EYE_PART_HEAD, g, eye_vlm_add(m, EYE_PART_DECODER, g, x));
    eye_val loss = eye_sum(g, eye_cross_entropy(g, logits, target, weight, 0.1f), 1);
    eye_graph_drop_states(g);
    if (o->train_norms) t->n_norms = eye_graph_train_norms(g, NULL, NULL, t->norm, EYE_COUNT(t->norm));
    if (o->dropout > 0) eye_graph_add_dropout(g, x, seed, o->dropout, 0);
    for (int64_t i = 0; i < m->config.text.n_layers && o->dropout > 0; i++)
        for (int k = 0; k < 2; k++) {
            snprintf(tap, sizeof tap, "t.layer%lld.%s", (long long)i, k ? "mlp" : "attn");
            eye_graph_add_dropout(g, eye_graph_find(g, tap), seed, o->dropout, (uint32_t)(1 + 2 * i + k));
        }
    eye_output(g, loss);
    return loss;
}

/* ---- weights ---- */

static bool is_statistic(const char *name) { return strstr(name, ".running_") != NULL; }

/* The checkpoint's numbers, or, of a LoRA pair, some of our own. */
static float *copy_weight(const struct eye_value *w, int64_t n) {
    float *data = zeros((size_t)n, sizeof *data);
    int64_t row = n / w->dims[0];
    for (int64_t r = 0; r < w->dims[0] && w->data; r++) eye_weight_row(w, r, data + r * row);
    for (int64_t i = 0; i < n && !w->data; i++) data[i] = (float)(0.1 * eye_mk_uniform(w->name, 2, (uint64_t)i));
    return data;
}

static void add_params(struct eye_train_model *t, struct eye_graph *g, bool lora, bool first) {
    size_t n_values = g->n_values, n = 0;
    if (first) t->param = zeros(n_values, sizeof *t->param);
    for (size_t v = 0; v < n_values; v++) {
        struct eye_value *w = &g->value[v];
        if (w->kind != EYE_VAL_WEIGHT || w->n_uses == 0 || is_statistic(w->name)) continue;
        if (lora != (strstr(w->name, ".lora_") != NULL)) continue;
        struct eye_tm_param *p = &t->param[n++];
        if (first) {
            if (!eye_value_elems(w, &t->bind, &p->n)) abort();
            p->v = (eye_val)v;
            p->data = copy_weight(w, p->n);
        }
        if (p->v != (eye_val)v) abort();
        eye_graph_unfreeze(g, p->v, p->data);
    }
    t->n_params = n;
}

static void add_lora(struct eye_graph *g, int64_t rank) {
    size_t n_values = g->n_values;
    eye_val pair[2];
    for (size_t v = 0; v < n_values; v++)
        if (g->value[v].kind == EYE_VAL_WEIGHT && g->value[v].rank == 2 && strstr(g->value[v].name, "attn_"))
            eye_graph_add_lora(g, (eye_val)v, rank, 0.5f, pair);
}

void eye_train_model(struct eye_train_model *t, const struct eye_vlm *m, const struct eye_tm_opts *o) {
    struct eye_err err;
    memset(t, 0, sizeof *t);
    make_batch(t, m, o);
    struct eye_graph *both[2] = {&t->forward, &t->g};
    for (int i = 0; i < 2; i++) {
        t->loss = build(t, both[i], m, o);
        if (o->lora_rank) add_lora(both[i], o->lora_rank);
        must(both[i]->status, &both[i]->err);
        add_params(t, both[i], o->lora_rank > 0, i == 0);
    }
    t->forward_loss = t->loss;
    must(eye_graph_finish(&t->forward, &err), &err);
    size_t n = t->n_params;
    eye_val *wrt = zeros(2 * (n + 1), sizeof *wrt), *grad = wrt + n + 1;
    for (size_t i = 0; i < n; i++) wrt[i] = t->param[i].v;
    wrt[n] = t->embeddings;
    must(eye_graph_gradient(&t->g, t->loss, wrt, n + 1, grad, &err), &err);
    for (size_t i = 0; i < n; i++) t->param[i].grad = grad[i];
    t->d_embeddings = grad[n];
    free(wrt);
}

void eye_train_model_clear(struct eye_train_model *t) {
    for (size_t i = 0; i < t->n_params; i++) free(t->param[i].data);
    for (size_t i = 0; i < t->n_in; i++) free(t->in[i].data);
    free(t->param);
    free(t->segment);
    eye_graph_clear(&t->g);
    eye_graph_clear(&t->forward);
}
