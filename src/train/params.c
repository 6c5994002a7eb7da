/* Params: see params.h. */
#include "train/params.h"

#include <string.h>

#include "base/sys.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "train/folder.h"

static void free_floats(struct eye_params *p, float **f, size_t n) {
    if (*f) eye_alloc_free(p->alloc, *f, n * sizeof **f);
    *f = NULL;
}

static enum eye_status add(struct eye_params *p, const struct eye_binder *b, size_t i, struct eye_err *err) {
    const struct eye_entry *e = eye_checkpoint_tensor(b->ckpt, i);
    struct eye_train_param *q = &p->param[p->n];
    char transposed[EYE_NAME_MAX];
    const struct eye_dtype_info *type = eye_dtype_info(e->t.dtype);
    const char *name = b->canonical[i][0] ? b->canonical[i] : e->name;
    if (!type->is_float) return EYE_OK; /* counters: of no use to anybody */
    if (type->block_elems > 1)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: tensor \"%.100s\" is quantized (%s); training needs f32, f16 or bf16",
                        b->ckpt->path, e->name, type->name);
    *q = (struct eye_train_param){.shape = e->t, .n = (size_t)eye_tensor_elems(&e->t)};
    q->name = eye_arena_strdup(&p->arena, name, strlen(name));
    q->file_name = eye_arena_strdup(&p->arena, e->name, strlen(e->name));
    q->w = eye_arena_alloc(&p->arena, EYE_MAX(q->n, 1) * sizeof *q->w);
    if (!q->name || !q->file_name || !q->w) return eye_fail_nomem(err, q->n * sizeof *q->w);
    q->transposed = b->format == EYE_NAMES_GPT2 && e->t.rank == 2 && strncmp(q->name, "blk.", 4) == 0 &&
                    eye_name_from_canonical(q->name, EYE_NAMES_GPT2, transposed, sizeof transposed);
    eye_row_to_f32(e->t.dtype, e->t.data, q->w, q->n);
    q->shape.dtype = EYE_F32;
    q->shape.data = q->w;
    return eye_strmap_put(&p->map, q->name, strlen(q->name), (int32_t)p->n++, NULL, err);
}

enum eye_status eye_params_init(struct eye_params *p, const struct eye_vlm *m, struct eye_err *err) {
    enum eye_status st = EYE_OK;
    memset(p, 0, sizeof *p);
    p->alloc = m->alloc;
    eye_arena_init(&p->arena, m->alloc);
    eye_strmap_init(&p->map, m->alloc);
    if (!(p->param = eye_arena_alloc(&p->arena, (3 * m->bind.n + 1) * sizeof *p->param)))
        st = eye_fail_nomem(err, 3 * m->bind.n * sizeof *p->param);
    for (size_t i = 0; st == EYE_OK && i < m->bind.n; i++) st = add(p, &m->bind, i, err);
    p->n_file = p->n;
    if (st != EYE_OK) eye_params_clear(p);
    return st;
}

static void forget_from(struct eye_params *p, size_t first) {
    for (size_t i = first; i < p->n; i++) {
        free_floats(p, &p->param[i].m, p->param[i].n);
        free_floats(p, &p->param[i].v, p->param[i].n);
        free_floats(p, &p->param[i].average, p->param[i].n);
        free_floats(p, &p->param[i].base, p->param[i].n);
    }
}

void eye_params_forget(struct eye_params *p) { forget_from(p, 0); }

void eye_params_clear(struct eye_params *p) {
    eye_params_forget(p);
    eye_strmap_clear(&p->map);
    eye_arena_clear(&p->arena);
    memset(p, 0, sizeof *p);
}

struct eye_train_param *eye_params_find(const struct eye_params *p, const char *name) {
    int32_t i = eye_strmap_get(&p->map, name, strlen(name));
    for (size_t k = p->n_file; i < 0 && k < p->n; k++) /* adapters come and go: not in the map */
        if (strcmp(p->param[k].name, name) == 0) return &p->param[k];
    return i < 0 ? NULL : &p->param[i];
}

enum eye_status eye_params_adapter(struct eye_params *p, const char *name, const struct eye_tensor *shape,
                                   struct eye_train_param **out, struct eye_err *err) {
    if (p->n == 3 * p->n_file) return eye_fail(err, EYE_E_LIMIT, "more than %zu adapters", 2 * p->n_file);
    struct eye_train_param *q = &p->param[p->n];
    *q = (struct eye_train_param){.shape = *shape, .n = (size_t)eye_tensor_elems(shape)};
    q->name = q->file_name = eye_arena_strdup(&p->arena, name, strlen(name));
    q->shape.data = q->w = eye_arena_alloc(&p->arena, EYE_MAX(q->n, 1) * sizeof *q->w);
    if (!q->name || !q->w) return eye_fail_nomem(err, q->n * sizeof *q->w);
    *out = q;
    p->n++;
    return EYE_OK;
}

void eye_params_drop_adapters(struct eye_params *p) {
    forget_from(p, p->n_file);
    p->n = p->n_file;
}

static enum eye_status zeros(struct eye_params *p, float **f, size_t n, struct eye_err *err) {
    if (!*f) *f = eye_alloc_zero(p->alloc, n * sizeof **f);
    return *f ? EYE_OK : eye_fail_nomem(err, n * sizeof **f);
}

enum eye_status eye_params_optimise(struct eye_params *p, size_t i, bool second_moment, struct eye_err *err) {
    EYE_TRY(zeros(p, &p->param[i].m, p->param[i].n, err));
    return second_moment ? zeros(p, &p->param[i].v, p->param[i].n, err) : EYE_OK;
}

enum eye_status eye_params_average(struct eye_params *p, struct eye_err *err) {
    for (size_t i = 0; i < p->n; i++) {
        struct eye_train_param *q = &p->param[i];
        if (q->average) continue;
        EYE_TRY(zeros(p, &q->average, q->n, err));
        memcpy(q->average, q->w, q->n * sizeof *q->w);
    }
    return EYE_OK;
}

void eye_params_swap(struct eye_params *p) {
    for (size_t i = 0; i < p->n; i++) {
        struct eye_train_param *q = &p->param[i];
        for (size_t k = 0; q->average && k < q->n; k++) { /* values, not pointers: graphs point to w */
            float w = q->w[k];
            q->w[k] = q->average[k];
            q->average[k] = w;
        }
    }
}

/* ---- export ---- */

#define MARK "eyelet.mark"

enum eye_status eye_params_export(const struct eye_params *p, const char *from, const char *dir, const char *mark,
                                  struct eye_err *err) {
    const struct eye_metadata meta = {MARK, mark};
    char path[EYE_PATH_CAP];
    bool copied;
    EYE_TRY(eye_path_join(path, dir, "model.safetensors", err));
    EYE_TRY(eye_folder_make(dir, err));
    for (size_t i = 0; strcmp(from, dir) != 0 && eye_checkpoint_side_name(i); i++)
        EYE_TRY(eye_folder_copy(from, dir, eye_checkpoint_side_name(i), &copied, err));
    struct eye_named_tensor *t = eye_alloc_zero(p->alloc, (p->n_file + 1) * sizeof *t);
    if (!t) return eye_fail_nomem(err, p->n_file * sizeof *t);
    for (size_t i = 0; i < p->n_file; i++) t[i] = (struct eye_named_tensor){p->param[i].file_name, p->param[i].shape};
    enum eye_status st = eye_safetensors_write(path, t, p->n_file, &meta, mark != NULL, p->alloc, err);
    eye_alloc_free(p->alloc, t, (p->n_file + 1) * sizeof *t);
    return st;
}

static bool is_ours(const struct eye_params *p, const struct eye_safetensors *f, const char *mark) {
    bool marked = false, same = true;
    for (size_t i = 0; i < f->n_metadata; i++)
        marked = marked || (strcmp(f->metadata[i].key, MARK) == 0 && strcmp(f->metadata[i].value, mark) == 0);
    for (size_t i = 0; i < p->n_file; i++) {
        const struct eye_entry *e = eye_table_find(&f->table, p->param[i].file_name);
        same = same && e && e->t.dtype == EYE_F32 && (size_t)eye_tensor_elems(&e->t) == p->param[i].n;
    }
    return marked && same;
}

enum eye_status eye_params_import(struct eye_params *p, const char *dir, const char *mark, bool *found, struct eye_err *err) {
    char path[EYE_PATH_CAP];
    struct eye_safetensors f;
    *found = false;
    EYE_TRY(eye_path_join(path, dir, "model.safetensors", err));
    if (!eye_path_exists(path)) return EYE_OK;
    enum eye_status st = eye_safetensors_open(&f, path, true, p->alloc, err);
    if (st != EYE_OK) return st == EYE_E_CORRUPT ? EYE_OK : st;
    *found = is_ours(p, &f, mark);
    for (size_t i = 0; *found && i < p->n_file; i++)
        memcpy(p->param[i].w, eye_table_find(&f.table, p->param[i].file_name)->t.data, p->param[i].n * sizeof(float));
    eye_safetensors_close(&f);
    return EYE_OK;
}
