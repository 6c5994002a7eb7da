/* Import: pretrained weights of others over a fresh student's. Names may be the student's own behind a prefix (torchvision's
 * behind "v."), or those of any format that model/names knows (transformers' GPT-2, CLIP, …); files whose names say nothing
 * (numbered layers) are taken in order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "format/checkpoint.h"
#include "format/torch_zip.h"
#include "model/names.h"
#include "train/folder.h"
#include "train/student.h"

struct source { /* tensors of a file or a folder */
    struct eye_safetensors file;
    struct eye_checkpoint folder;
    const struct eye_entry **entry; /* [n] */
    size_t n;
    struct eye_arena arena;
};

static enum eye_status open_source(struct source *s, const char *path, const struct eye_alloc *alloc, struct eye_err *err) {
    bool folder = eye_path_is_dir(path);
    if (folder) EYE_TRY(eye_checkpoint_open(&s->folder, path, NULL, alloc, err));
    else if (eye_text_ends(path, ".safetensors")) EYE_TRY(eye_safetensors_open(&s->file, path, true, alloc, err));
    else EYE_TRY(eye_torch_open(&s->file, path, true, alloc, err));
    s->n = folder ? eye_checkpoint_n_tensors(&s->folder) : s->file.table.n;
    s->entry = eye_arena_alloc(&s->arena, (s->n + 1) * sizeof *s->entry);
    if (!s->entry) return eye_fail_nomem(err, s->n * sizeof *s->entry);
    for (size_t i = 0; i < s->n; i++) s->entry[i] = folder ? eye_checkpoint_tensor(&s->folder, i) : &s->file.table.entry[i];
    return EYE_OK;
}

static void close_source(struct source *s) {
    eye_checkpoint_close(&s->folder);
    eye_safetensors_close(&s->file);
    eye_arena_clear(&s->arena);
}

/* ---- values ---- */

/* Dims agree, but for ones at the end: a 1×1 kernel is a matrix. */
static bool same_shape(const struct eye_tensor *t, const struct eye_student_tensor *to) {
    for (int i = 0; i < EYE_MAX(t->rank, to->rank); i++)
        if ((i < t->rank ? t->dims[i] : 1) != (i < to->rank ? to->dims[i] : 1)) return false;
    return true;
}

static int64_t elems(const struct eye_student_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dims[i];
    return n;
}

static void transpose(float *p, const float *from, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < cols; k++) p[i * cols + k] = from[k * rows + i];
}

/* Another number of positions: rows between the old ones, linear, as torch's interpolate(align_corners=False) does. */
static void stretch(const struct eye_student_tensor *to, const float *from, int64_t n_from) {
    int64_t n = to->dims[0], c = to->dims[1];
    for (int64_t i = 0; i < n; i++) {
        double at = ((double)i + 0.5) * (double)n_from / (double)n - 0.5;
        at = EYE_MIN(EYE_MAX(at, 0), (double)(n_from - 1));
        int64_t low = (int64_t)at, high = EYE_MIN(low + 1, n_from - 1);
        double part = at - (double)low;
        for (int64_t k = 0; k < c; k++)
            to->data[i * c + k] = (float)((1 - part) * from[low * c + k] + part * from[high * c + k]);
    }
}

static enum eye_status fill(const struct eye_student_tensor *to, const struct eye_entry *e, bool transposed, const char *file,
                            const struct eye_alloc *alloc, struct eye_err *err) {
    char got[96], want[96];
    size_t n = (size_t)eye_tensor_elems(&e->t);
    bool positions = eye_text_ends(to->name, "position_embd.weight") && e->t.rank == 2 && to->rank == 2 &&
                     e->t.dims[1] == to->dims[1];
    bool fits = transposed ? e->t.rank == 2 && to->rank == 2 && e->t.dims[0] == to->dims[1] && e->t.dims[1] == to->dims[0]
                           : same_shape(&e->t, to);
    if ((!fits && !positions) || !eye_dtype_info(e->t.dtype)->is_float || eye_dtype_info(e->t.dtype)->block_elems > 1)
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\" %s %s cannot be %s %s", file, e->name,
                        eye_dtype_info(e->t.dtype)->name, eye_shape_text(e->t.dims, e->t.rank, got, sizeof got), to->name,
                        eye_shape_text(to->dims, to->rank, want, sizeof want));
    float *f = eye_alloc_raw(alloc, n * sizeof *f);
    if (!f) return eye_fail_nomem(err, n * sizeof *f);
    eye_row_to_f32(e->t.dtype, e->t.data, f, n);
    if (transposed) transpose(to->data, f, to->dims[0], to->dims[1]);
    else if (!fits) stretch(to, f, e->t.dims[0]);
    else memcpy(to->data, f, n * sizeof *f);
    eye_alloc_free(alloc, f, n * sizeof *f);
    return EYE_OK;
}

/* ---- who is who ---- */

static const struct eye_student_tensor *find(const struct eye_student_tensor *tensor, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(tensor[i].name, name) == 0) return &tensor[i];
    return NULL;
}

static enum eye_status by_name(const struct eye_recipe_import *im, const struct source *s, struct eye_student_tensor *tensor,
                               size_t n, const struct eye_alloc *alloc, uint64_t *n_filled, struct eye_err *err) {
    for (size_t i = 0; i < s->n; i++) {
        char name[2 * EYE_NAME_MAX], canonical[EYE_NAME_MAX], gpt2[EYE_NAME_MAX];
        const char *own = s->entry[i]->name;
        bool transposed = false;
        if (snprintf(name, sizeof name, "%s%s", im->prefix, own) >= (int)sizeof name) continue;
        const struct eye_student_tensor *to = find(tensor, n, name);
        if (!to && eye_name_to_canonical(own, canonical, sizeof canonical) == EYE_NAME_KNOWN) {
            to = find(tensor, n, canonical);
            transposed = to && to->rank == 2 && strncmp(canonical, "blk.", 4) == 0 &&
                         eye_name_from_canonical(canonical, EYE_NAMES_GPT2, gpt2, sizeof gpt2) && eye_text_ends(own, gpt2);
        }
        if (!to || !eye_pattern_matches(im->part, to->name)) continue;
        EYE_TRY(fill(to, s->entry[i], transposed, im->file, alloc, err));
        *n_filled += (uint64_t)elems(to);
    }
    return EYE_OK;
}

static int by_entry_name(const void *a, const void *b) {
    return strcmp((*(const struct eye_entry *const *)a)->name, (*(const struct eye_entry *const *)b)->name);
}

/* The next tensor of the file from *i on whose name ends so. */
static const struct eye_entry *next_entry(const struct source *s, size_t *i, const char *end) {
    while (*i < s->n && !eye_text_ends(s->entry[*i]->name, end)) ++*i;
    return *i < s->n ? s->entry[(*i)++] : NULL;
}

static enum eye_status in_order(const struct eye_recipe_import *im, const struct source *s, struct eye_student_tensor *tensor,
                                size_t n, const struct eye_alloc *alloc, uint64_t *n_filled, struct eye_err *err) {
    static const char *const ends[] = {".weight", ".bias"};
    qsort(s->entry, s->n, sizeof *s->entry, by_entry_name);
    for (size_t k = 0; k < EYE_COUNT(ends); k++)
        for (size_t i = 0, at = 0; i < n; i++) {
            if (!eye_pattern_matches(im->part, tensor[i].name) || !eye_text_ends(tensor[i].name, ends[k])) continue;
            const struct eye_entry *e = next_entry(s, &at, ends[k]);
            if (!e) return eye_fail(err, EYE_E_CORRUPT, "%s: no tensor is left for %s", im->file, tensor[i].name);
            EYE_TRY(fill(&tensor[i], e, false, im->file, alloc, err));
            *n_filled += (uint64_t)elems(&tensor[i]);
        }
    return EYE_OK;
}

enum eye_status eye_student_import(const struct eye_recipe_import *im, struct eye_student_tensor *tensor, size_t n,
                                   const struct eye_alloc *alloc, uint64_t *n_filled, struct eye_err *err) {
    struct source s = {0};
    uint64_t before = *n_filled;
    eye_arena_init(&s.arena, alloc);
    enum eye_status st = open_source(&s, im->file, alloc, err);
    if (st == EYE_OK)
        st = (im->match == EYE_IMPORT_ORDER ? in_order : by_name)(im, &s, tensor, n, alloc, n_filled, err);
    if (st == EYE_OK && *n_filled == before)
        st = eye_fail(err, EYE_E_CORRUPT, "%s: none of its %zu tensors is the student's \"%s\" (wrong prefix?)", im->file,
                      s.n, im->part);
    close_source(&s);
    return st;
}
