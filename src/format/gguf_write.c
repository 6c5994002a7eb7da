/* format/gguf_write: see gguf_write.h, and gguf.h for the layout. */
#include "format/gguf_write.h"

#include <string.h>

#define ALIGNMENT 32
#define CHUNK_BYTES ((size_t)1 << 20) /* rows asked for at once */

struct eye_gguf_part {
    const char *name; /* in the arena */
    struct eye_tensor t;
    size_t bytes;
    eye_gguf_rows_fn *rows;
    void *ctx;
};

void eye_gguf_writer_init(struct eye_gguf_writer *w, const struct eye_alloc *alloc) {
    *w = (struct eye_gguf_writer){.alignment = ALIGNMENT};
    eye_arena_init(&w->arena, alloc);
    eye_strmap_init(&w->keys, alloc);
    eye_strmap_init(&w->names, alloc);
    eye_buf_init(&w->kv, alloc);
    eye_buf_init(&w->infos, alloc);
}

void eye_gguf_writer_clear(struct eye_gguf_writer *w) {
    eye_alloc_free(w->arena.alloc, w->part, w->cap * sizeof *w->part);
    eye_buf_clear(&w->infos);
    eye_buf_clear(&w->kv);
    eye_strmap_clear(&w->names);
    eye_strmap_clear(&w->keys);
    eye_arena_clear(&w->arena);
    eye_gguf_writer_init(w, w->arena.alloc);
}

/* ---- encoding ---- */

static void put_le(struct eye_buf *b, uint64_t v, size_t bytes) {
    uint8_t le[8];
    for (size_t i = 0; i < bytes; i++) le[i] = (uint8_t)(v >> (8 * i));
    eye_buf_add(b, le, bytes);
}

static void put_string(struct eye_buf *b, const void *p, size_t len) {
    put_le(b, len, 8);
    eye_buf_add(b, p, len);
}

static enum eye_status sticky(const struct eye_buf *b, struct eye_err *err) {
    return b->failed ? eye_fail_nomem(err, b->len) : EYE_OK;
}

/* Remembers a key or name; ARG when it was there before. */
static enum eye_status claim(struct eye_gguf_writer *w, struct eye_strmap *m, const char *name, const char **own,
                             struct eye_err *err) {
    size_t len = strlen(name);
    bool was_there;
    if (len == 0 || len > 65535) return eye_fail(err, EYE_E_ARG, "GGUF keys and names have 1 to 65535 bytes, got %zu", len);
    if (!(*own = eye_arena_strdup(&w->arena, name, len))) return eye_fail_nomem(err, len + 1);
    EYE_TRY(eye_strmap_put(m, *own, len, 0, &was_there, err));
    return was_there ? eye_fail(err, EYE_E_ARG, "\"%.100s\" is written twice", name) : EYE_OK;
}

/* Key and type; n < SIZE_MAX: an array of n. */
static enum eye_status begin_kv(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type, size_t n,
                                struct eye_err *err) {
    const char *own;
    EYE_TRY(claim(w, &w->keys, key, &own, err));
    put_string(&w->kv, key, strlen(key));
    if (n != SIZE_MAX) put_le(&w->kv, EYE_GGUF_ARRAY, 4);
    put_le(&w->kv, (uint64_t)type, 4);
    if (n != SIZE_MAX) put_le(&w->kv, n, 8);
    w->n_kv++;
    return sticky(&w->kv, err);
}

/* ---- keys ---- */

static const struct {
    uint8_t bytes; /* 0 = no integer type */
    int64_t lo, hi;
} ints[EYE_GGUF_N_TYPE] = {
    [EYE_GGUF_U8] = {1, 0, UINT8_MAX},         [EYE_GGUF_I8] = {1, INT8_MIN, INT8_MAX},
    [EYE_GGUF_U16] = {2, 0, UINT16_MAX},       [EYE_GGUF_I16] = {2, INT16_MIN, INT16_MAX},
    [EYE_GGUF_U32] = {4, 0, UINT32_MAX},       [EYE_GGUF_I32] = {4, INT32_MIN, INT32_MAX},
    [EYE_GGUF_U64] = {8, 0, INT64_MAX},        [EYE_GGUF_I64] = {8, INT64_MIN, INT64_MAX},
};

static enum eye_status write_ints(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type, const int64_t *v,
                                  size_t n,
                                  bool array, struct eye_err *err) {
    if ((unsigned)type >= EYE_GGUF_N_TYPE || ints[type].bytes == 0)
        return eye_fail(err, EYE_E_ARG, "key \"%.100s\": %s is no integer type", key, eye_gguf_type_name(type));
    for (size_t i = 0; i < n; i++)
        if (v[i] < ints[type].lo || v[i] > ints[type].hi)
            return eye_fail(err, EYE_E_ARG, "key \"%.100s\": %lld does not fit %s", key, (long long)v[i],
                            eye_gguf_type_name(type));
    EYE_TRY(begin_kv(w, key, type, array ? n : SIZE_MAX, err));
    for (size_t i = 0; i < n; i++) put_le(&w->kv, (uint64_t)v[i], ints[type].bytes);
    return sticky(&w->kv, err);
}

static enum eye_status write_floats(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type, const double *v,
                                    size_t n,
                                    bool array, struct eye_err *err) {
    if (type != EYE_GGUF_F32 && type != EYE_GGUF_F64)
        return eye_fail(err, EYE_E_ARG, "key \"%.100s\": %s is no float type", key, eye_gguf_type_name(type));
    EYE_TRY(begin_kv(w, key, type, array ? n : SIZE_MAX, err));
    for (size_t i = 0; i < n; i++) {
        float f = (float)v[i];
        uint32_t low;
        uint64_t bits;
        memcpy(&low, &f, sizeof low);
        memcpy(&bits, &v[i], sizeof bits);
        if (type == EYE_GGUF_F32)
            put_le(&w->kv, low, 4);
        else
            put_le(&w->kv, bits, 8);
    }
    return sticky(&w->kv, err);
}

enum eye_status eye_gguf_put_int(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type, int64_t v,
                                 struct eye_err *err) {
    return write_ints(w, key, type, &v, 1, false, err);
}

enum eye_status eye_gguf_put_ints(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type, const int64_t *v,
                                  size_t n,
                                  struct eye_err *err) {
    return write_ints(w, key, type, v, n, true, err);
}

enum eye_status eye_gguf_put_u64s(struct eye_gguf_writer *w, const char *key, const uint64_t *v, size_t n,
                                  struct eye_err *err) {
    EYE_TRY(begin_kv(w, key, EYE_GGUF_U64, n, err));
    for (size_t i = 0; i < n; i++) put_le(&w->kv, v[i], 8);
    return sticky(&w->kv, err);
}

enum eye_status eye_gguf_put_float(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type, double v,
                                   struct eye_err *err) {
    return write_floats(w, key, type, &v, 1, false, err);
}

enum eye_status eye_gguf_put_floats(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type, const double *v,
                                    size_t n,
                                    struct eye_err *err) {
    return write_floats(w, key, type, v, n, true, err);
}

enum eye_status eye_gguf_put_bool(struct eye_gguf_writer *w, const char *key, bool v, struct eye_err *err) {
    EYE_TRY(begin_kv(w, key, EYE_GGUF_BOOL, SIZE_MAX, err));
    put_le(&w->kv, v, 1);
    return sticky(&w->kv, err);
}

enum eye_status eye_gguf_put_str(struct eye_gguf_writer *w, const char *key, const void *p, size_t len, struct eye_err *err) {
    EYE_TRY(begin_kv(w, key, EYE_GGUF_STRING, SIZE_MAX, err));
    put_string(&w->kv, p, len);
    return sticky(&w->kv, err);
}

enum eye_status eye_gguf_put_text(struct eye_gguf_writer *w, const char *key, const char *text, struct eye_err *err) {
    return eye_gguf_put_str(w, key, text, strlen(text), err);
}

enum eye_status eye_gguf_put_strs(struct eye_gguf_writer *w, const char *key, const struct eye_str *v, size_t n,
                                  struct eye_err *err) {
    EYE_TRY(begin_kv(w, key, EYE_GGUF_STRING, n, err));
    for (size_t i = 0; i < n; i++) put_string(&w->kv, v[i].p, v[i].len);
    return sticky(&w->kv, err);
}

enum eye_status eye_gguf_put_kv(struct eye_gguf_writer *w, const struct eye_gguf_kv *kv, struct eye_err *err) {
    if (kv->is_array && kv->type == EYE_GGUF_STRING) return eye_gguf_put_strs(w, kv->key, kv->string, kv->n, err);
    if (kv->type == EYE_GGUF_STRING) return eye_gguf_put_str(w, kv->key, kv->string[0].p, kv->string[0].len, err);
    EYE_TRY(begin_kv(w, kv->key, kv->type, kv->is_array ? kv->n : SIZE_MAX, err));
    eye_buf_add(&w->kv, kv->data, kv->n * eye_gguf_type_bytes(kv->type));
    return sticky(&w->kv, err);
}

enum eye_status eye_gguf_set_alignment(struct eye_gguf_writer *w, size_t alignment, struct eye_err *err) {
    assert(w->n_parts == 0);
    w->alignment = alignment;
    return eye_gguf_put_int(w, "general.alignment", EYE_GGUF_U32, (int64_t)alignment, err);
}

/* ---- tensors ---- */

enum eye_status eye_gguf_add_tensor(struct eye_gguf_writer *w, const char *name, const struct eye_tensor *t,
                                    eye_gguf_rows_fn *rows,
                                    void *ctx, struct eye_err *err) {
    struct eye_gguf_part part = {.t = *t, .rows = rows, .ctx = ctx};
    uint32_t id;
    char shape[160];
    if (!eye_gguf_ggml_id(t->dtype, &id))
        return eye_fail(err, EYE_E_UNSUPPORTED, "tensor \"%.100s\": GGUF has no type %s", name, eye_dtype_info(t->dtype)->name);
    if (t->rank > 4 || !eye_tensor_bytes(t, &part.bytes) || part.bytes == 0)
        return eye_fail(err, EYE_E_UNSUPPORTED, "tensor \"%.100s\": shape %s: GGUF takes 1 to 4 dimensions above 0", name,
                        eye_shape_text(t->dims, EYE_MIN(t->rank, EYE_MAX_RANK), shape, sizeof shape));
    if (part.t.rank == 0) {
        part.t.rank = 1;
        part.t.dims[0] = 1;
    }
    EYE_TRY(claim(w, &w->names, name, &part.name, err));
    void *p = w->part;
    enum eye_status st = eye_alloc_grow(w->arena.alloc, &p, &w->cap, w->n_parts + 1, sizeof *w->part, err);
    w->part = p;
    if (st != EYE_OK) return st;
    put_string(&w->infos, name, strlen(name));
    put_le(&w->infos, (uint64_t)part.t.rank, 4);
    for (int i = part.t.rank; i > 0; i--) put_le(&w->infos, (uint64_t)part.t.dims[i - 1], 8);
    put_le(&w->infos, id, 4);
    put_le(&w->infos, w->data_bytes, 8);
    w->part[w->n_parts++] = part;
    w->data_bytes = EYE_ALIGN_UP(w->data_bytes + part.bytes, w->alignment);
    return sticky(&w->infos, err);
}

static enum eye_status write_rows(struct eye_writer *out, const struct eye_gguf_part *part, const struct eye_alloc *alloc,
                                  struct eye_err *err) {
    size_t row_bytes = 0, bytes;
    int64_t row_elems = part->t.dims[part->t.rank - 1];
    eye_dtype_row_bytes(part->t.dtype, (uint64_t)row_elems, &row_bytes); /* cannot overflow: the whole tensor did not */
    int64_t n_rows = (int64_t)(part->bytes / row_bytes), step = (int64_t)EYE_MAX(CHUNK_BYTES / row_bytes, 1);
    bytes = (size_t)EYE_MIN(step, n_rows) * row_bytes;
    void *chunk = eye_alloc_zero(alloc, bytes);
    if (!chunk) return eye_fail_nomem(err, bytes);
    enum eye_status st = EYE_OK;
    for (int64_t row = 0; st == EYE_OK && row < n_rows; row += step) {
        int64_t n = EYE_MIN(step, n_rows - row);
        st = part->rows(part->ctx, row, n, chunk, err);
        if (st == EYE_OK) st = eye_writer_put(out, chunk, (size_t)n * row_bytes, err);
    }
    eye_alloc_free(alloc, chunk, bytes);
    return st;
}

enum eye_status eye_gguf_write(struct eye_gguf_writer *w, const char *path, struct eye_err *err) {
    EYE_TRY(sticky(&w->kv, err));
    EYE_TRY(sticky(&w->infos, err));
    struct eye_writer out = {0};
    struct eye_buf head;
    enum eye_status st;
    eye_buf_init(&head, w->arena.alloc);
    eye_buf_add(&head, "GGUF", 4);
    put_le(&head, w->version ? w->version : 3, 4);
    put_le(&head, w->n_parts, 8);
    put_le(&head, w->n_kv, 8);
    EYE_TRY_GOTO(sticky(&head, err));
    EYE_TRY_GOTO(eye_writer_open(&out, path, err));
    EYE_TRY_GOTO(eye_writer_put(&out, head.p, head.len, err));
    EYE_TRY_GOTO(eye_writer_put(&out, w->kv.p, w->kv.len, err));
    EYE_TRY_GOTO(eye_writer_put(&out, w->infos.p, w->infos.len, err));
    for (size_t i = 0; i < w->n_parts; i++) {
        const struct eye_gguf_part *part = &w->part[i];
        EYE_TRY_GOTO(eye_writer_pad(&out, w->alignment, err));
        st = part->rows ? write_rows(&out, part, w->arena.alloc, err) : eye_writer_put(&out, part->t.data, part->bytes, err);
        if (st != EYE_OK) {
            eye_fail_in(err, st, "tensor \"%.100s\"", part->name);
            goto fail;
        }
    }
    EYE_TRY_GOTO(eye_writer_pad(&out, w->alignment, err));
    EYE_TRY_GOTO(eye_writer_commit(&out, err));
    eye_buf_clear(&head);
    return EYE_OK;
fail:
    eye_writer_abort(&out);
    eye_buf_clear(&head);
    return st;
}
