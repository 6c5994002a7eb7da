/* format/safetensors: see safetensors.h for the layout. Every number in the header is checked before it is used. */
#include "format/safetensors.h"

#include <jansson.h>
#include <string.h>

#include "base/cursor.h"
#include "format/json.h"

#define MAX_HEADER 100000000u /* the reference implementation's limit */

static const struct {
    const char *name;
    enum eye_dtype dtype;
} dtypes[] = {
    {"F64", EYE_F64}, {"F32", EYE_F32}, {"F16", EYE_F16}, {"BF16", EYE_BF16}, {"I64", EYE_I64},
    {"I32", EYE_I32}, {"I16", EYE_I16}, {"I8", EYE_I8},   {"U8", EYE_U8},     {"BOOL", EYE_BOOL},
};

static bool find_dtype(const char *name, enum eye_dtype *out) {
    for (size_t i = 0; i < EYE_COUNT(dtypes); i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = dtypes[i].dtype;
            return true;
        }
    return false;
}

const char *eye_safetensors_type(enum eye_dtype dtype) {
    for (size_t i = 0; i < EYE_COUNT(dtypes); i++)
        if (dtypes[i].dtype == dtype) return dtypes[i].name;
    return NULL;
}

static enum eye_status read_tensor(struct eye_table *t, const struct eye_json_at *at, struct eye_err *err) {
    const char *type;
    enum eye_dtype dtype;
    struct eye_json_at shape;
    int64_t dims[EYE_MAX_RANK], offsets[2];
    size_t n;
    EYE_TRY(eye_json_need_str(at, "dtype", &type, NULL, err));
    if (!find_dtype(type, &dtype))
        return eye_fail(err, EYE_E_UNSUPPORTED,
                        "%s: tensor \"%.100s\" has dtype %.20s; supported: F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL",
                        t->where, at->key, type);
    EYE_TRY(eye_json_array(at, "shape", &shape, err));
    if (!shape.v) return eye_json_fail(at, "shape", "expected an array, got nothing", err);
    size_t rank = eye_json_len(&shape);
    if (rank > EYE_MAX_RANK)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: tensor \"%.100s\" has %zu dimensions; at most %d are supported", t->where,
                        at->key,
                        rank, EYE_MAX_RANK);
    for (size_t i = 0; i < rank; i++) {
        struct eye_json_at dim = eye_json_item(&shape, i);
        EYE_TRY(eye_json_need_int(&dim, NULL, 0, INT64_MAX, &dims[i], err));
    }
    EYE_TRY(eye_json_ints(at, "data_offsets", offsets, 2, &n, err));
    if (n != 2 || offsets[0] < 0 || offsets[1] < offsets[0])
        return eye_json_fail(at, "data_offsets", "expected [begin, end] with 0 <= begin <= end", err);
    EYE_TRY(eye_table_add(t, at->key, strlen(at->key), dtype, (int)rank, dims, (uint64_t)offsets[0], err));
    const struct eye_entry *e = &t->entry[t->n - 1];
    if ((uint64_t)(offsets[1] - offsets[0]) != e->bytes)
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\": its shape needs %zu bytes, its offsets hold %lld", t->where,
                        at->key,
                        e->bytes, (long long)(offsets[1] - offsets[0]));
    return EYE_OK;
}

static enum eye_status read_metadata(struct eye_safetensors *s, const struct eye_json_at *root, struct eye_err *err) {
    struct eye_json_at map;
    const char *key;
    json_t *value;
    EYE_TRY(eye_json_object(root, "__metadata__", &map, err));
    size_t n = json_object_size(map.v), bytes;
    if (n == 0) return EYE_OK;
    if (!eye_mul_ok(n, sizeof *s->metadata, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    if (!(s->metadata = eye_arena_alloc(&s->table.arena, bytes))) return eye_fail_nomem(err, bytes);
    json_object_foreach(map.v, key, value) {
        const char *text;
        size_t len;
        EYE_TRY(eye_json_need_str(&map, key, &text, &len, err));
        struct eye_metadata *m = &s->metadata[s->n_metadata];
        m->key = eye_arena_strdup(&s->table.arena, key, strlen(key));
        m->value = eye_arena_strdup(&s->table.arena, text, len);
        if (!m->key || !m->value) return eye_fail_nomem(err, len);
        s->n_metadata++;
    }
    return EYE_OK;
}

static enum eye_status read_header(struct eye_safetensors *s, const struct eye_json *j, struct eye_err *err) {
    struct eye_json_at root = eye_json_root(j);
    const char *key;
    json_t *value;
    if (!json_is_object(root.v)) return eye_json_fail(&root, NULL, "the header must be a JSON object", err);
    EYE_TRY(read_metadata(s, &root, err));
    EYE_TRY(eye_table_reserve(&s->table, json_object_size(root.v), err));
    json_object_foreach(root.v, key, value) {
        struct eye_json_at entry = {.v = value, .where = root.where, .parent = &root, .key = key};
        if (strcmp(key, "__metadata__") != 0) EYE_TRY(read_tensor(&s->table, &entry, err));
    }
    return EYE_OK;
}

static enum eye_status read_all(struct eye_safetensors *s, const void *p, size_t n, struct eye_err *err) {
    const char *where = s->table.where;
    EYE_TRY(eye_weights_sniff(where, p, n, err));
    struct eye_cursor c = eye_cursor_make(p, n);
    uint64_t len = eye_cursor_u64(&c);
    if (c.failed || len > eye_cursor_left(&c))
        return eye_fail(err, EYE_E_CORRUPT,
                        "%s: header of %llu bytes, file of %zu (truncated download, or no safetensors file?)", where,
                        (unsigned long long)len, n);
    if (len > MAX_HEADER)
        return eye_fail(err, EYE_E_CORRUPT, "%s: header of %llu bytes; the format allows %u", where, (unsigned long long)len,
                        MAX_HEADER);
    const uint8_t *text = eye_cursor_bytes(&c, (size_t)len);
    if (len == 0 || text[0] != '{') return eye_fail(err, EYE_E_CORRUPT, "%s: the header must begin with '{'", where);
    struct eye_json j;
    EYE_TRY(eye_json_parse(&j, text, (size_t)len, MAX_HEADER, where, err));
    enum eye_status st = read_header(s, &j, err);
    eye_json_clear(&j);
    if (st != EYE_OK) return st;
    size_t left = eye_cursor_left(&c);
    return eye_table_bind(&s->table, eye_cursor_bytes(&c, left), left, true, err);
}

enum eye_status eye_safetensors_open_bytes(struct eye_safetensors *out, const void *p, size_t n, const char *where,
                                           const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_safetensors s = {0};
    eye_table_init(&s.table, where, alloc);
    enum eye_status st = read_all(&s, p, n, err);
    if (st != EYE_OK)
        eye_safetensors_close(&s);
    else
        *out = s;
    return st;
}

enum eye_status eye_safetensors_open(struct eye_safetensors *out, const char *path, bool use_mmap,
                                     const struct eye_alloc *alloc,
                                     struct eye_err *err) {
    struct eye_map map;
    EYE_TRY(eye_map_open(&map, path, use_mmap, 0, err));
    enum eye_status st = eye_safetensors_open_bytes(out, map.p, map.size, map.path, alloc, err);
    if (st != EYE_OK)
        eye_map_close(&map);
    else
        out->map = map;
    return st;
}

void eye_safetensors_close(struct eye_safetensors *s) {
    eye_table_clear(&s->table);
    eye_map_close(&s->map);
    *s = (struct eye_safetensors){0};
}
