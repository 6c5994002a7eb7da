/* test/support: a model's parts through the oracle (eye_graph_eval_ref): what the engine's results are compared with, before
 * and without an engine. Any error aborts the program with its text.
 */
#ifndef EYE_EVAL_MODEL_H
#define EYE_EVAL_MODEL_H

#include "model/vlm.h"

struct eye_opened { /* checkpoint + model */
    struct eye_checkpoint ckpt;
    struct eye_vlm m;
};
void eye_open_model(struct eye_opened *o, const char *path);
void eye_close_model(struct eye_opened *o);

/* Deterministic pixels in [0, 1): element i is (eye_mk_uniform("pixels", seed, i) + 1) / 2 rounded to f32; NHWC. Caller frees.
 */
float *eye_test_pixels(int64_t side_px, uint64_t seed);

/* n values of a part's output: x -> free()able memory; t rows (0 for VISION). fold: the fold pass runs first. */
float *eye_eval_part(const struct eye_vlm *m, enum eye_part part, bool fold, const void *x, int64_t t, int64_t *n);
/* pixels -> features -> projected rows, then the decoder over [ids before][rows][ids after] -> last row of logits. */
struct eye_evaluated {
    float *features, *projected, *logits; /* [n_features], [n_projected], [vocab]; free() */
    int64_t n_features, n_projected, n_logits;
};
void eye_eval_model(const struct eye_vlm *m, bool fold, const float *pixels, const int32_t *before, int64_t n_before,
                    const int32_t *after, int64_t n_after, struct eye_evaluated *out);
void eye_evaluated_free(struct eye_evaluated *e);

#endif
