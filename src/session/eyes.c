/* session/eyes: see eyes.h.
 *
 *   image -> pictures u8 [n,S,S,3] -> pixels [1,S,S,3] -> VISION -> features [n_tok,C] -> PROJECTOR -> rows [n_tok,hidden]
 *         -> merged, where that is asked for: [picture_rows,hidden]
 */
#include "session/eyes.h"

#include "session/merge.h"
#include "session/session_impl.h"

static enum eye_status exec_for(const struct eye_eyes *e, enum eye_part part, struct eye_exec **x, struct eye_err *err) {
    const struct eye_plan *plan;
    if (*x) return EYE_OK;
    EYE_TRY(eye_model_plan(e->model, part, &plan, err));
    return eye_exec_new(x, plan, err);
}

static size_t picture_bytes(const struct eye_model *m) { return (size_t)m->opts.image_side * (size_t)m->opts.image_side * 3; }

static size_t feature_bytes(const struct eye_model *m) {
    return (size_t)m->picture_tokens * (size_t)m->vlm.config.vision.channels * sizeof(float);
}

/* ---- merging ---- */

static bool merges(const struct eye_model *m) { return m->picture_rows < m->picture_tokens; }

static struct eye_merge merge_of(const struct eye_model *m) {
    return (struct eye_merge){m->opts.image_merge, (size_t)m->picture_tokens, (size_t)m->picture_rows,
                              (size_t)m->vlm.config.text.hidden};
}

static size_t projected_bytes(const struct eye_model *m) {
    return merges(m) ? (size_t)m->picture_tokens * (size_t)m->vlm.config.text.hidden * sizeof(float) : 0;
}

static size_t merging_bytes(const struct eye_model *m) {
    return merges(m) ? eye_merge_scratch_bytes((size_t)m->picture_tokens) : 0;
}

size_t eye_eyes_merge_bytes(const struct eye_model *m) { return projected_bytes(m) + merging_bytes(m); }

static enum eye_status take_merge_memory(struct eye_eyes *e, struct eye_err *err) {
    const struct eye_model *m = e->model;
    if (!merges(m)) return EYE_OK;
    if (!e->projected) e->projected = eye_alloc_raw(m->alloc, projected_bytes(m));
    if (!e->merging) e->merging = eye_alloc_raw(m->alloc, merging_bytes(m));
    return e->projected && e->merging ? EYE_OK : eye_fail_nomem(err, eye_eyes_merge_bytes(m));
}

/* ---- memory ---- */

enum eye_status eye_eyes_open(struct eye_eyes *e, struct eye_model *m, struct eye_err *err) {
    size_t picture = picture_bytes(m), most = eye_model_max_pictures(m);
    e->model = m;
    EYE_TRY(exec_for(e, EYE_PART_VISION, &e->vision, err));
    EYE_TRY(exec_for(e, EYE_PART_PROJECTOR, &e->projector, err));
    e->pool = m->engine.pool;
    if (!e->pixels_u8) e->pixels_u8 = eye_alloc_raw(m->alloc, most * picture);
    if (!e->pixels) e->pixels = eye_alloc_raw(m->alloc, picture * sizeof *e->pixels);
    if (!e->features) e->features = eye_alloc_raw(m->alloc, feature_bytes(m));
    if (!e->pixels_u8 || !e->pixels || !e->features) return eye_fail_nomem(err, picture * (most + 4) + feature_bytes(m));
    return take_merge_memory(e, err);
}

void eye_eyes_clear(struct eye_eyes *e) {
    struct eye_model *m = e->model;
    if (!m) return;
    eye_exec_free(e->vision);
    eye_exec_free(e->projector);
    eye_alloc_free(m->alloc, e->pixels_u8, eye_model_max_pictures(m) * picture_bytes(m));
    eye_alloc_free(m->alloc, e->pixels, picture_bytes(m) * sizeof *e->pixels);
    eye_alloc_free(m->alloc, e->features, feature_bytes(m));
    eye_alloc_free(m->alloc, e->projected, projected_bytes(m));
    eye_alloc_free(m->alloc, e->merging, merging_bytes(m));
    *e = (struct eye_eyes){0};
}

void eye_eyes_alone(struct eye_eyes *e) {
    e->pool = NULL;
    eye_exec_alone(e->vision);
    eye_exec_alone(e->projector);
}

enum eye_status eye_eyes_take(struct eye_eyes *e, const struct eye_image *img, size_t *n, struct eye_timings *t,
                              struct eye_err *err) {
    struct eye_tiles tiles;
    uint64_t begin = eye_now_ns();
    EYE_TRY(eye_model_tiles(e->model, img, &tiles, err));
    EYE_TRY(eye_model_cut_by(e->model, e->pool, img, false, e->pixels_u8, err));
    *n = (size_t)tiles.n;
    t->preprocess_us += (eye_now_ns() - begin) / 1000;
    return EYE_OK;
}

static enum eye_status run_part(const struct eye_eyes *e, enum eye_part part, int64_t t, void *in, float *out,
                                bool (*cancel)(void *), void *cancel_ctx, struct eye_err *err) {
    const struct eye_graph *g = &e->model->part[part].graph;
    struct eye_io i = {g->input[0], in}, r = {g->output[0], out};
    return eye_exec_run(part == EYE_PART_VISION ? e->vision : e->projector, NULL, &(struct eye_bind){.t = t}, &i, 1, &r, 1,
                        cancel, cancel_ctx, err);
}

enum eye_status eye_eyes_see(struct eye_eyes *e, size_t i, float *out, struct eye_timings *t, bool (*cancel)(void *),
                             void *cancel_ctx, struct eye_err *err) {
    const struct eye_model *m = e->model;
    uint64_t begin = eye_now_ns();
    EYE_TRY(eye_model_normalise_by(m, e->pool, e->pixels_u8 + i * picture_bytes(m), EYE_PREPROC_HWC, e->pixels, err));
    uint64_t ready = eye_now_ns();
    EYE_TRY(run_part(e, EYE_PART_VISION, 1, e->pixels, e->features, cancel, cancel_ctx, err));
    uint64_t seen = eye_now_ns();
    float *rows = merges(m) ? e->projected : out;
    EYE_TRY(run_part(e, EYE_PART_PROJECTOR, m->picture_tokens, e->features, rows, cancel, cancel_ctx, err));
    if (merges(m)) {
        struct eye_merge merge = merge_of(m);
        eye_places_add(m, rows, m->picture_tokens, 1);
        eye_merge_run(&merge, e->pool, rows, e->merging, out);
        eye_places_add(m, out, m->picture_rows, -1);
    }
    t->preprocess_us += (ready - begin) / 1000;
    t->vision_us += (seen - ready) / 1000;
    t->projector_us += (eye_now_ns() - seen) / 1000;
    return EYE_OK;
}
