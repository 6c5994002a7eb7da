/* onnx/load: opens a model, checks its tensors against their shapes, and opens the data files that hold weights beside it.
 * Every number and path comes from a file that nobody vouches for.
 *
 * A data file is named relative to the model's folder and may not leave it, also not through a symbolic link; download caches
 * keep both files elsewhere and link to them, so the folder in which the model itself really lies will do as well. */
#include <string.h>

#include "onnx/decode.h"
#include "onnx/pending.h"

struct eye_onnx_data_file {
    const char *name; /* as tensors call it */
    struct eye_map map;
};

void eye_onnx_clear(struct eye_onnx *m) {
    for (size_t i = 0; i < m->n_data; i++) eye_map_close(&m->data[i].map);
    eye_alloc_free(m->arena.alloc, m->data, m->data_cap * sizeof *m->data);
    eye_alloc_free(m->arena.alloc, m->pending, m->pending_cap * sizeof *m->pending);
    if (m->file.path) eye_map_close(&m->file);
    eye_arena_clear(&m->arena);
    *m = (struct eye_onnx){.arena = m->arena};
}

/* ---- tensors ---- */

bool eye_onnx_elements(const EyeOnnx__TensorProto *t, size_t *n) {
    size_t all = 1;
    for (size_t i = 0; i < t->n_dims; i++)
        if (t->dims[i] < 0 || (uint64_t)t->dims[i] > SIZE_MAX || !eye_mul_ok(all, (size_t)t->dims[i], &all)) return false;
    *n = all;
    return true;
}

bool eye_onnx_is_external(const EyeOnnx__TensorProto *t) {
    return t->has_data_location && t->data_location == EYE_ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}

static enum eye_status bad_tensor(const struct eye_onnx *m, const EyeOnnx__TensorProto *t, enum eye_status st, const char *what,
                                  struct eye_err *err) {
    return eye_fail(err, st, "%s: tensor \"%.100s\": %s", m->where, eye_onnx_str(t->name), what);
}

static bool tensor_bytes(const EyeOnnx__TensorProto *t, size_t *n) {
    size_t bits = eye_onnx_type_bits(t->data_type), elements;
    if (!eye_onnx_elements(t, &elements) || !eye_mul_ok(elements, EYE_MAX(bits, 1), n)) return false;
    *n = *n / 8 + (*n % 8 != 0);
    return true;
}

/* Does the field of the tensor's type hold as many entries as its shape says? */
static bool typed_count(const EyeOnnx__TensorProto *t, size_t elements) {
    switch (t->data_type) {
    case EYE_ONNX_F32: return t->n_float_data == elements;
    case 14: return elements <= SIZE_MAX / 2 && t->n_float_data == 2 * elements;
    case EYE_ONNX_F64: return t->n_double_data == elements;
    case 15: return elements <= SIZE_MAX / 2 && t->n_double_data == 2 * elements;
    case EYE_ONNX_I64: return t->n_int64_data == elements;
    case EYE_ONNX_U32:
    case EYE_ONNX_U64: return t->n_uint64_data == elements;
    case EYE_ONNX_STRING: return t->n_string_data == elements;
    case 21: case 22: case 23: return t->n_int32_data == elements / 2 + elements % 2; /* two in each: a packed byte */
    default: return t->n_int32_data == elements;
    }
}

struct place { /* of external data */
    const char *location;
    uint64_t offset, length;
    bool has_length;
};

static bool read_decimal(const char *s, uint64_t *out) {
    uint64_t v = 0;
    if (!*s) return false;
    for (; *s; s++)
        if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
            return false;
    *out = v;
    return true;
}

/* Relative, and no step of it leads up; a backslash or a drive's colon is a way out elsewhere. */
static bool stays_inside(const char *path) {
    if (!*path || *path == '/' || strchr(path, '\\') || strchr(path, ':')) return false;
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n == 0 || (n == 2 && memcmp(path, "..", 2) == 0)) return false;
        path += n;
        if (*path == '/' && !*++path) return false;
    }
    return true;
}

static enum eye_status read_place(const struct eye_onnx *m, const EyeOnnx__TensorProto *t, struct place *p,
                                  struct eye_err *err) {
    *p = (struct place){0};
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = eye_onnx_str(t->external_data[i]->key), *value = eye_onnx_str(t->external_data[i]->value);
        if (strcmp(key, "location") == 0)
            p->location = value;
        else if (strcmp(key, "offset") == 0 && !read_decimal(value, &p->offset))
            return bad_tensor(m, t, EYE_E_CORRUPT, "external data: \"offset\" is no decimal number", err);
        else if (strcmp(key, "length") == 0 && !(p->has_length = read_decimal(value, &p->length)))
            return bad_tensor(m, t, EYE_E_CORRUPT, "external data: \"length\" is no decimal number", err);
    }
    if (!p->location) return bad_tensor(m, t, EYE_E_CORRUPT, "external data without a \"location\"", err);
    if (!stays_inside(p->location))
        return eye_fail(err, EYE_E_CORRUPT,
                        "%s: tensor \"%.100s\": its data file \"%.200s\" is not a path within the model's folder",
                        m->where, eye_onnx_str(t->name), p->location);
    return EYE_OK;
}

static enum eye_status check_tensor(struct eye_onnx *m, const EyeOnnx__TensorProto *t, struct eye_err *err) {
    size_t elements, bytes;
    if (!eye_onnx_elements(t, &elements) || !tensor_bytes(t, &bytes))
        return bad_tensor(m, t, EYE_E_CORRUPT, "its dims are negative or too large", err);
    bool known = eye_onnx_type_bits(t->data_type) || t->data_type == EYE_ONNX_STRING;
    if (eye_onnx_is_external(t)) {
        struct place p;
        EYE_TRY(read_place(m, t, &p, err));
        if (known && p.has_length && p.length != bytes)
            return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\": %zu bytes by its shape, %llu in its data file",
                            m->where,
                            eye_onnx_str(t->name), bytes, (unsigned long long)p.length);
        return EYE_OK;
    }
    if (!known) return EYE_OK; /* a type of a later ONNX: to be listed, not to be read */
    if (t->has_raw_data && t->data_type != EYE_ONNX_STRING) {
        if (t->raw_data.len != bytes)
            return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\": %zu bytes by its shape, %zu in the file", m->where,
                            eye_onnx_str(t->name), bytes, t->raw_data.len);
        return EYE_OK;
    }
    return typed_count(t, elements) ? EYE_OK
                                    : bad_tensor(m, t, EYE_E_CORRUPT,
                                                 "its data has another number of elements than its shape", err);
}

static enum eye_status check_message(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    if (msg->descriptor != &eye_onnx__tensor_proto__descriptor) return EYE_OK;
    return check_tensor(ctx, (EyeOnnx__TensorProto *)(void *)msg, err);
}

/* ---- opening ---- */

static enum eye_status read_model(struct eye_onnx *m, const void *p, size_t n, struct eye_err *err) {
    EYE_TRY(eye_onnx_decode(m, p, n, err));
    if (!m->model->graph)
        return eye_fail(err, EYE_E_CORRUPT, "%s: no graph in it; is this an ONNX model?", m->where);
    if (!m->model->n_opset_import)
        return eye_fail(err, EYE_E_CORRUPT, "%s: says of no operator set which version it uses (truncated?)", m->where);
    return eye_onnx_walk(&m->model->base, check_message, m, err);
}

enum eye_status eye_onnx_load_bytes(struct eye_onnx *m, const void *p, size_t n, const char *where,
                                    const struct eye_alloc *alloc,
                                    struct eye_err *err) {
    *m = (struct eye_onnx){0};
    eye_arena_init(&m->arena, alloc);
    m->where = where;
    enum eye_status st = read_model(m, p, n, err);
    if (st != EYE_OK) eye_onnx_clear(m);
    return st;
}

enum eye_status eye_onnx_load(struct eye_onnx *m, const char *path, const struct eye_alloc *alloc, struct eye_err *err) {
    enum eye_status st;
    *m = (struct eye_onnx){0};
    eye_arena_init(&m->arena, alloc);
    EYE_TRY(eye_map_open(&m->file, path, true, EYE_ONNX_MAX_FILE, err));
    m->where = eye_arena_strdup(&m->arena, path, strlen(path));
    m->folder = eye_onnx_folder(&m->arena, path);
    if (!m->where || !m->folder) {
        st = eye_fail_nomem(err, strlen(path));
        goto fail;
    }
    EYE_TRY_GOTO(read_model(m, m->file.p, m->file.size, err));
    return EYE_OK;
fail:
    eye_onnx_clear(m);
    return st;
}

/* ---- data files ---- */

const char *eye_onnx_folder(struct eye_arena *arena, const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == path ? eye_arena_strdup(arena, "/", 1)
           : slash       ? eye_arena_strdup(arena, path, (size_t)(slash - path))
                         : eye_arena_strdup(arena, ".", 1);
}

static bool lies_in(const char *real_path, const char *folder) {
    char real[EYE_PATH_MAX];
    if (!eye_path_real(folder, real, sizeof real)) return false;
    size_t n = strlen(real);
    if (strcmp(real, "/") == 0) return true;
    return strncmp(real_path, real, n) == 0 && real_path[n] == '/';
}

static enum eye_status open_data(struct eye_onnx *m, const EyeOnnx__TensorProto *t, const char *name,
                                 const struct eye_map **map,
                                 struct eye_err *err) {
    char real[EYE_PATH_MAX], real_model[EYE_PATH_MAX];
    for (size_t i = m->n_data; i-- > 0;) /* neighbours share a file: the last one opened is the likely one */
        if (strcmp(m->data[i].name, name) == 0) {
            *map = &m->data[i].map;
            return EYE_OK;
        }
    if (!m->folder)
        return bad_tensor(m, t, EYE_E_IO, "its data is in a file beside the model, which was not read from a file", err);
    if (m->n_data >= EYE_ONNX_MAX_DATA_FILES)
        return eye_fail(err, EYE_E_LIMIT, "%s: more than %d data files", m->where, EYE_ONNX_MAX_DATA_FILES);
    char *path = eye_arena_printf(&m->arena, "%s/%s", m->folder, name);
    if (!path) return eye_fail_nomem(err, strlen(name));
    if (!eye_path_real(path, real, sizeof real))
        return eye_fail(err, EYE_E_IO, "%s: not there; \"%.100s\" of %s has its weights in it", path, eye_onnx_str(t->name),
                        m->where);
    bool inside = lies_in(real, m->folder);
    if (!inside && eye_path_real(m->file.path, real_model, sizeof real_model)) {
        *strrchr(real_model, '/') = '\0';
        inside = lies_in(real, real_model[0] ? real_model : "/");
    }
    if (!inside)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: leads out of the model's folder (to %.200s): not opened", path, real);
    EYE_TRY(eye_alloc_grow(m->arena.alloc, (void **)&m->data, &m->data_cap, m->n_data + 1, sizeof *m->data, err));
    EYE_TRY(eye_map_open(&m->data[m->n_data].map, path, true, 0, err));
    m->data[m->n_data].name = name;
    *map = &m->data[m->n_data++].map;
    return EYE_OK;
}

static enum eye_status external_bytes(struct eye_onnx *m, const EyeOnnx__TensorProto *t, size_t bytes, const void **p,
                                      size_t *n,
                                      struct eye_err *err) {
    static const uint8_t nothing;
    struct place place;
    const struct eye_map *map;
    EYE_TRY(read_place(m, t, &place, err));
    EYE_TRY(open_data(m, t, place.location, &map, err));
    uint64_t size = map->size, length = place.has_length ? place.length : bytes;
    if (length != bytes)
        return bad_tensor(m, t, EYE_E_CORRUPT, "its data file holds another number of bytes than its shape says", err);
    if (place.offset > size || length > size - place.offset)
        return eye_fail(err, EYE_E_CORRUPT,
                        "%s: tensor \"%.100s\": bytes %llu to %llu+%llu of \"%.100s\", which has %zu (truncated?)",
                        m->where, eye_onnx_str(t->name), (unsigned long long)place.offset, (unsigned long long)place.offset,
                        (unsigned long long)length, place.location, map->size);
    *p = length ? map->p + place.offset : &nothing;
    *n = (size_t)length;
    return EYE_OK;
}

/* Elements that stand in a field of their type: 16-bit and smaller ones each in an int32, u32 each in a uint64. */
static enum eye_status typed_bytes(struct eye_onnx *m, const EyeOnnx__TensorProto *t, size_t bytes, const void **p, size_t *n,
                                   struct eye_err *err) {
    *n = bytes;
    *p = t->data_type == EYE_ONNX_F32 || t->data_type == 14   ? (const void *)t->float_data
         : t->data_type == EYE_ONNX_F64 || t->data_type == 15 ? (const void *)t->double_data
         : t->data_type == EYE_ONNX_I64                       ? (const void *)t->int64_data
         : t->data_type == EYE_ONNX_U64                       ? (const void *)t->uint64_data
                                                              : (const void *)t->int32_data;
    if (!bytes) *p = "";
    bool narrow = t->data_type == EYE_ONNX_U32 || eye_onnx_type_bits(t->data_type) <= 16;
    if (!narrow || !bytes) return EYE_OK;
    bool wide = t->data_type == EYE_ONNX_U32;
    /* the count was checked against the shape */
    size_t count = wide ? t->n_uint64_data : t->n_int32_data, size = bytes / count;
    uint8_t *out = eye_arena_alloc(&m->arena, bytes);
    if (!out) return eye_fail_nomem(err, bytes);
    for (size_t i = 0; i < count; i++) {
        uint64_t v = wide ? t->uint64_data[i] : (uint32_t)t->int32_data[i];
        memcpy(out + i * size, &v, size);
    }
    *p = out;
    return EYE_OK;
}

enum eye_status eye_onnx_bytes(struct eye_onnx *m, const EyeOnnx__TensorProto *t, const void **p, size_t *n,
                               struct eye_err *err) {
    size_t bytes;
    if (!eye_onnx_type_bits(t->data_type)) return bad_tensor(m, t, EYE_E_UNSUPPORTED, "its type has no bytes we know of", err);
    EYE_TRY(check_tensor(m, t, err)); /* again: the tree may have been changed since */
    if (!tensor_bytes(t, &bytes)) return bad_tensor(m, t, EYE_E_CORRUPT, "its dims are too large", err);
    if (eye_onnx_is_external(t)) return external_bytes(m, t, bytes, p, n, err);
    if (!t->has_raw_data) return typed_bytes(m, t, bytes, p, n, err);
    *p = t->raw_data.len ? (const void *)t->raw_data.data : "";
    *n = t->raw_data.len;
    return EYE_OK;
}

static enum eye_status check_external(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    const EyeOnnx__TensorProto *t = (EyeOnnx__TensorProto *)(void *)msg;
    const void *p;
    size_t n;
    if (msg->descriptor != &eye_onnx__tensor_proto__descriptor || !eye_onnx_is_external(t)) return EYE_OK;
    return eye_onnx_bytes(ctx, t, &p, &n, err);
}

enum eye_status eye_onnx_check_data(struct eye_onnx *m, struct eye_err *err) {
    return eye_onnx_walk(&m->model->base, check_external, m, err);
}
