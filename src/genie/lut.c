/* genie/lut: the table of token embeddings as a headerless file, row after row. */
#include <math.h>
#include <string.h>

#include "genie/elements.h"
#include "genie/source.h"

struct table {
    struct eye_value w;
    size_t n_rows, width;
    float *row, *back;   /* [width] */
    uint8_t *raw;        /* [width] elements */
    size_t raw_bytes;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
};

static enum eye_status stopped(const struct table *t, struct eye_err *err) {
    return t->cancel && t->cancel(t->cancel_ctx) ? eye_fail(err, EYE_E_CANCELLED, "cancelled") : EYE_OK;
}

/* Nothing is cut off and 0 stays 0. */
static enum eye_status find_scale(struct table *t, double *scale, struct eye_err *err) {
    double most = 0;
    for (size_t i = 0; i < t->n_rows; i++) {
        if (i % 4096 == 0) EYE_TRY(stopped(t, err));
        eye_weight_row(&t->w, (int64_t)i, t->row);
        for (size_t j = 0; j < t->width; j++) most = isfinite(t->row[j]) ? EYE_MAX(most, fabs((double)t->row[j])) : most;
    }
    *scale = most > 0 ? most / 127 : 1;
    return EYE_OK;
}

static enum eye_status write_rows(struct table *t, struct eye_writer *w, const struct eye_elements *e, double *rel_rms,
                                  struct eye_err *err) {
    double wrong = 0, all = 0;
    for (size_t i = 0; i < t->n_rows; i++) {
        if (i % 4096 == 0) EYE_TRY(stopped(t, err));
        eye_weight_row(&t->w, (int64_t)i, t->row);
        eye_elements_from_f32(e, t->row, t->raw, t->width);
        eye_elements_to_f32(e, t->raw, t->back, t->width);
        for (size_t j = 0; j < t->width; j++) {
            double v = (double)t->row[j], d = v - (double)t->back[j];
            wrong += d * d;
            all += v * v;
        }
        EYE_TRY(eye_writer_put(w, t->raw, t->raw_bytes, err));
    }
    *rel_rms = all > 0 ? sqrt(wrong / all) : 0;
    return EYE_OK;
}

enum eye_status eye_lut_write(const struct eye_vlm *m, const char *out, enum eye_lut_type type, struct eye_lut_info *info,
                              eye_cancel_fn *cancel, void *cancel_ctx, struct eye_err *err) {
    static const enum eye_element types[] = {[EYE_LUT_F32] = EYE_EL_F32, [EYE_LUT_F16] = EYE_EL_F16,
                                             [EYE_LUT_INT8] = EYE_EL_I8};
    struct eye_elements e = {types[type], 1, 0};
    struct eye_writer w = {0};
    struct eye_arena arena;
    struct table t = {.w = eye_genie_weight(m, "token_embd.weight"), .cancel = cancel, .cancel_ctx = cancel_ctx};
    if (!t.w.data || t.w.rank != 2) return eye_fail(err, EYE_E_UNSUPPORTED, "%s: no matrix of token embeddings", m->ckpt->path);
    t.n_rows = (size_t)t.w.dims[0];
    t.width = (size_t)t.w.dims[1];
    t.raw_bytes = t.width * eye_element_bytes(e.type);
    eye_arena_init(&arena, NULL);
    t.row = eye_arena_alloc(&arena, t.width * sizeof *t.row);
    t.back = eye_arena_alloc(&arena, t.width * sizeof *t.back);
    t.raw = eye_arena_alloc(&arena, t.raw_bytes);
    struct eye_lut_info i = {.rows = t.n_rows, .columns = t.width, .bytes = (uint64_t)t.n_rows * t.raw_bytes};
    enum eye_status st = t.row && t.back && t.raw ? EYE_OK : eye_fail_nomem(err, t.width * 3 * sizeof *t.row);
    if (st == EYE_OK && type == EYE_LUT_INT8) st = find_scale(&t, &e.scale, err);
    if (st == EYE_OK) st = eye_writer_open(&w, out, err);
    if (st == EYE_OK) st = write_rows(&t, &w, &e, &i.rel_rms, err);
    if (st == EYE_OK) st = eye_writer_commit(&w, err);
    eye_writer_abort(&w);
    eye_arena_clear(&arena);
    i.scale = e.scale;
    i.offset = e.offset;
    if (st == EYE_OK && info) *info = i;
    return st;
}

enum eye_status eye_lut_export(const char *model, const char *out, enum eye_lut_type type, struct eye_lut_info *info,
                               struct eye_err *err) {
    struct eye_genie_source s;
    if ((unsigned)type > EYE_LUT_INT8) return eye_fail(err, EYE_E_ARG, "lut: type is not one of its enum's values");
    EYE_TRY(eye_genie_source_open(&s, model, false, err));
    enum eye_status st = eye_lut_write(&s.vlm, out, type, info, NULL, NULL, err);
    eye_genie_source_close(&s);
    return st;
}
