/* The oracle over a whole model. */
#include "support/eval_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/make_checkpoint.h"

static void must(enum eye_status st, const struct eye_err *err) {
    if (st == EYE_OK) return;
    fprintf(stderr, "eval_model: %s: %s\n", eye_status_name(st), err->text);
    abort();
}

void eye_open_model(struct eye_opened *o, const char *path) {
    struct eye_err err;
    must(eye_checkpoint_open(&o->ckpt, path, NULL, NULL, &err), &err);
    must(eye_vlm_open(&o->m, &o->ckpt, NULL, &err), &err);
}

void eye_close_model(struct eye_opened *o) {
    eye_vlm_clear(&o->m);
    eye_checkpoint_close(&o->ckpt);
}

float *eye_test_pixels(int64_t side_px, uint64_t seed) {
    size_t n = (size_t)(side_px * side_px * 3);
    float *p = malloc(n * sizeof *p);
    for (size_t i = 0; p && i < n; i++) p[i] = (float)((eye_mk_uniform("pixels", seed, i) + 1) / 2);
    return p;
}

float *eye_eval_part(const struct eye_vlm *m, enum eye_part part, bool fold, const void *x, int64_t t, int64_t *n) {
    struct eye_graph g;
    struct eye_err err;
    struct eye_bind bind = {.t = t, .ctx = t};
    must(eye_vlm_graph(m, part, 0, &g, &err), &err);
    if (fold) must(eye_graph_fold(&g, &err), &err);
    size_t n_in = 0, n_states = 0;
    for (size_t v = 0; v < g.n_values; v++) n_states += g.value[v].kind == EYE_VAL_STATE;
    struct eye_ref_io *in = calloc(n_states + 1, sizeof *in), out = {g.output[0], NULL};
    in[n_in++] = (struct eye_ref_io){g.input[0], (void *)x};
    for (size_t v = 0; v < g.n_values; v++) {
        int64_t elems = 0;
        if (g.value[v].kind != EYE_VAL_STATE || !eye_value_elems(&g.value[v], &bind, &elems)) continue;
        in[n_in++] = (struct eye_ref_io){(eye_val)v, calloc((size_t)elems, sizeof(float))};
    }
    if (!eye_value_elems(eye_value_at(&g, out.v), &bind, n)) abort();
    out.data = malloc((size_t)*n * sizeof(float));
    must(eye_graph_eval_ref(&g, &bind, in, n_in, &out, 1, &err), &err);
    for (size_t i = 1; i < n_in; i++) free(in[i].data);
    free(in);
    eye_graph_clear(&g);
    return out.data;
}

static void embed(const struct eye_vlm *m, const int32_t *ids, int64_t n_ids, float *dst) {
    int64_t n;
    if (n_ids == 0) return;
    float *rows = eye_eval_part(m, EYE_PART_EMBED, false, ids, n_ids, &n);
    memcpy(dst, rows, (size_t)n * sizeof *rows);
    free(rows);
}

void eye_eval_model(const struct eye_vlm *m, bool fold, const float *pixels, const int32_t *before, int64_t n_before,
                    const int32_t *after, int64_t n_after, struct eye_evaluated *out) {
    int64_t c = m->config.text.hidden, n_image, t, n;
    out->features = eye_eval_part(m, EYE_PART_VISION, fold, pixels, 0, &out->n_features);
    n_image = out->n_features / m->config.vision.channels;
    out->projected = eye_eval_part(m, EYE_PART_PROJECTOR, fold, out->features, n_image, &out->n_projected);
    t = n_before + n_image + n_after;
    float *x = malloc((size_t)(t * c) * sizeof *x);
    embed(m, before, n_before, x);
    memcpy(x + n_before * c, out->projected, (size_t)out->n_projected * sizeof *x);
    embed(m, after, n_after, x + (n_before + n_image) * c);
    float *hidden = eye_eval_part(m, EYE_PART_DECODER, fold, x, t, &n);
    out->logits = eye_eval_part(m, EYE_PART_HEAD, fold, hidden + (t - 1) * c, 1, &out->n_logits);
    free(hidden);
    free(x);
}

void eye_evaluated_free(struct eye_evaluated *e) {
    free(e->features);
    free(e->projected);
    free(e->logits);
}
