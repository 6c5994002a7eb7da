/* Weights as initializers; see weights.h. */
#include "export/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/names.h"

#define BAND_BYTES ((size_t)64 << 20)
#define SMALL_ELEMS 4096 /* up to here a weight is copied into the model */

struct reader { /* of one initializer; in the model's arena */
    struct eye_weight_scratch *s;
    struct eye_value w;       /* copy; its data are the graph's */
    enum eye_onnx_type type;
    int64_t n_rows, row_elems; /* of the graph's weight */
};

void eye_weight_scratch_clear(struct eye_weight_scratch *s) {
    eye_alloc_free(s->alloc, s->row, s->row_cap);
    eye_alloc_free(s->alloc, s->band, s->band_cap);
    *s = (struct eye_weight_scratch){.alloc = s->alloc, .band_most = s->band_most};
}

static size_t elem_bytes(enum eye_onnx_type t) { return t == EYE_ONNX_F16 ? 2 : 4; }

/* One block of at least `bytes`, its contents lost. */
static enum eye_status make_room(const struct eye_alloc *a, void **p, size_t *cap, size_t bytes, struct eye_err *err) {
    if (*cap >= bytes) return EYE_OK;
    eye_alloc_free(a, *p, *cap);
    *cap = 0;
    *p = eye_alloc_raw(a, bytes);
    if (!*p) return eye_fail_nomem(err, bytes);
    *cap = bytes;
    return EYE_OK;
}

static enum eye_status row_room(struct reader *r, struct eye_err *err) {
    size_t bytes;
    void *p = r->s->row;
    if (!eye_mul_ok((size_t)r->row_elems, sizeof(float), &bytes)) return eye_fail(err, EYE_E_LIMIT, "%s: too large", r->w.name);
    enum eye_status st = make_room(r->s->alloc, &p, &r->s->row_cap, bytes, err);
    r->s->row = p;
    return st;
}

/* Row r of the graph's weight in scratch, as the file will hold it: numbers that half precision lacks are an error. */
static enum eye_status read_row(struct reader *r, int64_t row, struct eye_err *err) {
    float *f = r->s->row;
    eye_weight_row(&r->w, row, f);
    for (int64_t i = 0; r->type == EYE_ONNX_F16 && i < r->row_elems; i++)
        if (!(fabsf(f[i]) <= 65504))
            return eye_fail(err, EYE_E_UNSUPPORTED, "%s: row %lld holds %g, which fp16 has no number for; use fp32", r->w.name,
                            (long long)row, (double)f[i]);
    return EYE_OK;
}

static void put_row(const struct reader *r, const float *f, void *dst, size_t n) {
    eye_row_from_f32(r->type == EYE_ONNX_F16 ? EYE_F16 : EYE_F32, f, dst, n);
}

static enum eye_status give_rows(void *ctx, int64_t row, int64_t n_rows, void *dst, struct eye_err *err) {
    struct reader *r = ctx;
    size_t bytes = (size_t)r->row_elems * elem_bytes(r->type);
    EYE_TRY(row_room(r, err));
    for (int64_t i = 0; i < n_rows; i++) {
        EYE_TRY(read_row(r, row + i, err));
        put_row(r, r->s->row, (char *)dst + (size_t)i * bytes, (size_t)r->row_elems);
    }
    return EYE_OK;
}

/* Columns [first, first + n) of the graph's weight as rows of the band; one pass over the weight. */
static enum eye_status fill_band(struct reader *r, int64_t first, struct eye_err *err) {
    struct eye_weight_scratch *s = r->s;
    size_t e = elem_bytes(r->type), line = (size_t)r->n_rows * e;
    size_t most = s->band_most ? s->band_most : BAND_BYTES;
    int64_t n = EYE_MIN(EYE_MAX((int64_t)(most / line), 1), r->row_elems - first);
    void *p = s->band;
    s->owner = NULL;
    enum eye_status st = make_room(s->alloc, &p, &s->band_cap, (size_t)n * line, err);
    s->band = p;
    EYE_TRY(st);
    EYE_TRY(row_room(r, err));
    for (int64_t j = 0; j < r->n_rows; j++) {
        EYE_TRY(read_row(r, j, err));
        const float *f = s->row + first;
        for (int64_t i = 0; i < n; i++) {
            char *to = s->band + (size_t)i * line + (size_t)j * e;
            if (e == 4) {
                memcpy(to, &f[i], 4);
            } else {
                uint16_t h = eye_f32_to_f16(f[i]);
                memcpy(to, &h, 2);
            }
        }
    }
    s->owner = r;
    s->first = first;
    s->n = n;
    return EYE_OK;
}

static enum eye_status give_columns(void *ctx, int64_t row, int64_t n_rows, void *dst, struct eye_err *err) {
    struct reader *r = ctx;
    struct eye_weight_scratch *s = r->s;
    size_t line = (size_t)r->n_rows * elem_bytes(r->type);
    while (n_rows > 0) {
        if (s->owner != r || row < s->first || row >= s->first + s->n) EYE_TRY(fill_band(r, row, err));
        int64_t n = EYE_MIN(n_rows, s->first + s->n - row);
        memcpy(dst, s->band + (size_t)(row - s->first) * line, (size_t)n * line);
        dst = (char *)dst + (size_t)n * line;
        row += n;
        n_rows -= n;
    }
    return EYE_OK;
}

/* "v.stem.0.conv.weight" of whatever branches went into it; another shape is another tensor. */
static enum eye_status tensor_name(struct eye_draft *d, const struct eye_value *w, enum eye_weight_form form, size_t rank,
                                   const char **out, struct eye_err *err) {
    char folded[EYE_NAME_MAX];
    if (!eye_name_folded(w->name, folded, sizeof folded))
        return eye_fail(err, EYE_E_LIMIT, "%s: the name is too long", w->name);
    *out = form == EYE_FORM_TRANSPOSED ? eye_arena_printf(&d->m->arena, "%s.T", folded)
           : (int)rank == w->rank      ? eye_arena_strdup(&d->m->arena, folded, strlen(folded))
                                       : eye_arena_printf(&d->m->arena, "%s.r%zu", folded, rank);
    return *out ? EYE_OK : eye_fail_nomem(err, strlen(folded));
}

static enum eye_status add_small(struct eye_draft *d, struct reader *r, const char *name, enum eye_weight_form form,
                                 size_t rank, const int64_t *dims, struct eye_err *err) {
    char bytes[SMALL_ELEMS * 4];
    EYE_TRY((form == EYE_FORM_ROWS ? give_rows : give_columns)(
        r, 0, form == EYE_FORM_ROWS ? r->n_rows : r->row_elems, bytes, err));
    eye_onnx_add_const(d->m, d->m->model->graph, name, r->type, dims, rank, bytes);
    return EYE_OK;
}

enum eye_status eye_draft_weight(struct eye_draft *d, struct eye_weight_scratch *s, const struct eye_value *w,
                                 enum eye_weight_form form, size_t rank, const int64_t *dims, const char **out,
                                 struct eye_err *err) {
    int64_t own[EYE_MAX_RANK] = {0};
    struct reader *r = eye_arena_alloc(&d->m->arena, sizeof *r);
    if (!r) return eye_fail_nomem(err, sizeof *r);
    *r = (struct reader){.s = s, .w = *w, .type = d->real, .n_rows = w->dims[0], .row_elems = 1};
    for (int i = 1; i < w->rank; i++) r->row_elems *= w->dims[i];
    if (rank == 0) {
        rank = (size_t)w->rank;
        memcpy(own, w->dims, sizeof own);
        if (form == EYE_FORM_TRANSPOSED) {
            own[0] = w->dims[1];
            own[1] = w->dims[0];
        }
        dims = own;
    }
    EYE_TRY(tensor_name(d, w, form, rank, out, err));
    if (!eye_draft_first(d, *out)) return EYE_OK;
    if (r->n_rows * r->row_elems <= SMALL_ELEMS) return add_small(d, r, *out, form, rank, dims, err);
    eye_onnx_add_rows(d->m, d->m->model->graph, *out, r->type, dims, rank, form == EYE_FORM_ROWS ? give_rows : give_columns, r);
    return EYE_OK;
}
