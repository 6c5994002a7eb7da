/* format/gguf: the reader; see gguf.h for the layout. Counts are checked against the bytes that are left before anything is
 * allocated for them, so memory used stays within a small multiple of the file's size. */
#include "format/gguf.h"

#include <math.h>
#include <string.h>

#include "base/cursor.h"

#define DEFAULT_ALIGNMENT 32
#define MAX_KEY 65535         /* the specification's limit for keys; names get the same */
#define MIN_KV_BYTES 14       /* one-letter key, type, one byte */
#define MIN_TENSOR_BYTES 33   /* one-letter name, n_dims, one dim, type, offset */

static const struct {
    const char *name;
    uint8_t bytes; /* 0 = variable */
} types[EYE_GGUF_N_TYPE] = {
    {"u8", 1}, {"i8", 1}, {"u16", 2}, {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8},
};

/* ggml.h, enum ggml_type. */
static const struct {
    uint32_t id;
    enum eye_dtype dtype;
} ggml_types[] = {
    {0, EYE_F32},      {1, EYE_F16},      {2, EYE_Q4_0},     {3, EYE_Q4_1},   {6, EYE_Q5_0},   {7, EYE_Q5_1},
    {8, EYE_Q8_0},     {9, EYE_Q8_1},     {10, EYE_Q2_K},    {11, EYE_Q3_K},  {12, EYE_Q4_K},  {13, EYE_Q5_K},
    {14, EYE_Q6_K},    {15, EYE_Q8_K},    {16, EYE_IQ2_XXS}, {17, EYE_IQ2_XS}, {18, EYE_IQ3_XXS}, {19, EYE_IQ1_S},
    {20, EYE_IQ4_NL},  {21, EYE_IQ3_S},   {22, EYE_IQ2_S},   {23, EYE_IQ4_XS}, {24, EYE_I8},    {25, EYE_I16},
    {26, EYE_I32},     {27, EYE_I64},     {28, EYE_F64},     {29, EYE_IQ1_M}, {30, EYE_BF16},  {34, EYE_TQ1_0},
    {35, EYE_TQ2_0},   {39, EYE_MXFP4},   {40, EYE_NVFP4},   {41, EYE_Q1_0},
};

/* Of the same container as Genie's composer writes it. The last five are packed in ways that are not public. */
static const struct {
    uint32_t id;
    const char *name; /* NULL: dtype is it */
    enum eye_dtype dtype;
} genie_types[] = {
    {0, NULL, EYE_F32}, {1, NULL, EYE_F16}, {201, NULL, EYE_BF16}, {20, "Z4", EYE_F32}, {21, "Z4_FP16", EYE_F32},
    {22, "Z4_BF16", EYE_F32}, {30, "Q4", EYE_F32}, {4038, "Z8", EYE_F32},
};

const char *eye_gguf_type_name(enum eye_gguf_type type) { return (unsigned)type < EYE_GGUF_N_TYPE ? types[type].name : "?"; }

size_t eye_gguf_type_bytes(enum eye_gguf_type type) { return (unsigned)type < EYE_GGUF_N_TYPE ? types[type].bytes : 0; }

bool eye_gguf_ggml_id(enum eye_dtype dtype, uint32_t *id) {
    for (size_t i = 0; i < EYE_COUNT(ggml_types); i++)
        if (ggml_types[i].dtype == dtype) {
            *id = ggml_types[i].id;
            return true;
        }
    return false;
}

bool eye_gguf_ggml_dtype(uint32_t id, enum eye_dtype *dtype) {
    for (size_t i = 0; i < EYE_COUNT(ggml_types); i++)
        if (ggml_types[i].id == id) {
            *dtype = ggml_types[i].dtype;
            return true;
        }
    return false;
}

/* ---- header ---- */

static enum eye_status truncated(const struct eye_gguf *g, const struct eye_cursor *c, const char *what, struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "%s: %s goes past the end of the file: at byte %zu of %zu (truncated download?)",
                    g->table.where,
                    what, c->failed ? c->fail_pos : c->pos, c->size);
}

static struct eye_str read_string(struct eye_cursor *c) {
    uint64_t len = eye_cursor_u64(c);
    if (len > eye_cursor_left(c)) {
        eye_cursor_bytes(c, SIZE_MAX); /* sets the sticky error */
        return (struct eye_str){NULL, 0};
    }
    return (struct eye_str){(const char *)eye_cursor_bytes(c, (size_t)len), (size_t)len};
}

static enum eye_status read_value(struct eye_gguf *g, struct eye_cursor *c, struct eye_gguf_kv *kv, uint32_t type,
                                  struct eye_err *err) {
    const char *where = g->table.where;
    uint64_t n = 1;
    if (type == EYE_GGUF_ARRAY) {
        kv->is_array = true;
        type = eye_cursor_u32(c);
        n = eye_cursor_u64(c);
        if (c->failed) return truncated(g, c, "an array", err);
        if (type == EYE_GGUF_ARRAY) return eye_fail(err, EYE_E_UNSUPPORTED, "%s: key \"%.100s\": arrays of arrays", where,
                                                    kv->key);
    }
    if (type >= EYE_GGUF_N_TYPE)
        return eye_fail(err, EYE_E_CORRUPT, "%s: key \"%.100s\": type %u; the format has 0 to %d", where, kv->key, type,
                        EYE_GGUF_N_TYPE - 1);
    kv->type = (enum eye_gguf_type)type;
    size_t item = type == EYE_GGUF_STRING ? sizeof(uint64_t) : types[type].bytes;
    if (n > eye_cursor_left(c) / item)
        return eye_fail(err, EYE_E_CORRUPT, "%s: key \"%.100s\": %llu items of %s do not fit the %zu bytes left", where,
                        kv->key,
                        (unsigned long long)n, types[type].name, eye_cursor_left(c));
    kv->n = (size_t)n;
    if (type != EYE_GGUF_STRING) {
        kv->data = eye_cursor_bytes(c, kv->n * item);
        for (size_t i = 0; type == EYE_GGUF_BOOL && i < kv->n; i++)
            if (kv->data[i] > 1)
                return eye_fail(err, EYE_E_CORRUPT, "%s: key \"%.100s\": expected a bool, got %d", where, kv->key, kv->data[i]);
        return EYE_OK;
    }
    size_t bytes;
    if (!eye_mul_ok(kv->n, sizeof(struct eye_str), &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    struct eye_str *s = eye_arena_alloc(&g->table.arena, bytes);
    if (!s) return eye_fail_nomem(err, bytes);
    for (size_t i = 0; i < kv->n; i++) s[i] = read_string(c);
    kv->string = s;
    return c->failed ? truncated(g, c, "a string", err) : EYE_OK;
}

static enum eye_status read_kv(struct eye_gguf *g, struct eye_cursor *c, struct eye_err *err) {
    const char *where = g->table.where;
    struct eye_gguf_kv kv = {0};
    struct eye_str key = read_string(c);
    uint32_t type = eye_cursor_u32(c);
    if (c->failed) return truncated(g, c, "a key", err);
    if (key.len == 0 || key.len > MAX_KEY || memchr(key.p, 0, key.len))
        return eye_fail(err, EYE_E_CORRUPT, "%s: key %zu: expected 1 to %d bytes without NUL, got %zu", where, g->n_kv, MAX_KEY,
                        key.len);
    char *own = eye_arena_strdup(&g->table.arena, key.p, key.len);
    if (!own) return eye_fail_nomem(err, key.len + 1);
    kv.key = own;
    EYE_TRY(read_value(g, c, &kv, type, err));
    bool was_there;
    EYE_TRY(eye_strmap_put(&g->kv_index, own, key.len, (int32_t)g->n_kv, &was_there, err));
    if (was_there) return eye_fail(err, EYE_E_CORRUPT, "%s: key \"%.100s\" occurs twice", where, own);
    g->kv[g->n_kv++] = kv;
    return EYE_OK;
}

static enum eye_status find_genie_type(const struct eye_gguf *g, struct eye_str name, uint32_t id, enum eye_dtype *out,
                                       struct eye_err *err) {
    int shown = (int)EYE_MIN(name.len, 100);
    for (size_t i = 0; i < EYE_COUNT(genie_types); i++) {
        if (genie_types[i].id != id) continue;
        if (genie_types[i].name)
            return eye_fail(err, EYE_E_UNSUPPORTED,
                            "%s: tensor \"%.*s\" has Genie's type %s (%u), whose bits are not public; F32 and F16 are read "
                            "(compose the file without --quantize, or make it with \"eyelet export genie\")",
                            g->table.where, shown, name.p, genie_types[i].name, id);
        *out = genie_types[i].dtype;
        return EYE_OK;
    }
    return eye_fail(err, EYE_E_UNSUPPORTED, "%s: tensor \"%.*s\" has the unknown Genie type %u", g->table.where, shown, name.p,
                    id);
}

static enum eye_status read_tensor_info(struct eye_gguf *g, struct eye_cursor *c, struct eye_err *err) {
    const char *where = g->table.where;
    struct eye_str name = read_string(c);
    uint32_t n_dims = eye_cursor_u32(c);
    if (c->failed) return truncated(g, c, "a tensor's entry", err);
    int shown = (int)EYE_MIN(name.len, 100);
    if (name.len > MAX_KEY) return eye_fail(err, EYE_E_CORRUPT, "%s: a tensor's name has %zu bytes", where, name.len);
    if (n_dims < 1 || n_dims > 4)
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.*s\" has %u dimensions, expected 1 to 4", where, shown, name.p,
                        n_dims);
    int64_t dims[4];
    for (uint32_t i = 0; i < n_dims; i++) {
        uint64_t d = eye_cursor_u64(c);
        if (!c->failed && (d == 0 || d > INT64_MAX))
            return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.*s\": dimension %u is %llu", where, shown, name.p, i,
                            (unsigned long long)d);
        dims[n_dims - 1 - i] = (int64_t)d;
    }
    uint32_t id = eye_cursor_u32(c);
    uint64_t offset = eye_cursor_u64(c);
    if (c->failed) return truncated(g, c, "a tensor's entry", err);
    enum eye_dtype dtype = EYE_F32;
    if (g->genie) EYE_TRY(find_genie_type(g, name, id, &dtype, err));
    else if (!eye_gguf_ggml_dtype(id, &dtype))
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: tensor \"%.*s\" has the unknown ggml type %u", where, shown, name.p, id);
    if (offset % g->alignment != 0)
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.*s\": offset %llu is no multiple of the alignment %zu", where,
                        shown, name.p,
                        (unsigned long long)offset, g->alignment);
    return eye_table_add(&g->table, name.p, name.len, dtype, (int)n_dims, dims, offset, err);
}

static enum eye_status check_count(const struct eye_gguf *g, const struct eye_cursor *c, uint64_t n, size_t min_bytes,
                                   const char *what, struct eye_err *err) {
    size_t fit = EYE_MIN(eye_cursor_left(c) / min_bytes, (size_t)INT32_MAX);
    if (n <= fit) return EYE_OK;
    return eye_fail(err, EYE_E_CORRUPT, "%s: %llu %s announced; the %zu bytes left hold at most %zu", g->table.where,
                    (unsigned long long)n, what, eye_cursor_left(c), fit);
}

static enum eye_status read_version(struct eye_gguf *g, struct eye_cursor *c, struct eye_err *err) {
    const char *where = g->table.where;
    const uint8_t *magic = eye_cursor_bytes(c, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return eye_fail(err, EYE_E_CORRUPT, "%s: expected a GGUF file, got another: its first bytes are not \"GGUF\"", where);
    g->version = eye_cursor_u32(c);
    if (c->failed) return truncated(g, c, "the version", err);
    if (g->version != 0 && (g->version & 0xffff) == 0) return eye_fail(err, EYE_E_UNSUPPORTED, "%s: a big-endian GGUF file",
                                                                       where);
    if (g->version != 2 && g->version != 3)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: GGUF version %u; versions 2 and 3 are supported", where, g->version);
    return EYE_OK;
}

static enum eye_status read_alignment(struct eye_gguf *g, struct eye_err *err) {
    int64_t a;
    EYE_TRY(eye_gguf_int(g, "general.alignment", DEFAULT_ALIGNMENT, &a, err));
    if (a < 1 || a > 1 << 20 || (a & (a - 1)) != 0)
        return eye_fail(err, EYE_E_CORRUPT, "%s: general.alignment is %lld, expected a power of two up to 2^20", g->table.where,
                        (long long)a);
    g->alignment = (size_t)a;
    return EYE_OK;
}

static enum eye_status read_all(struct eye_gguf *g, const void *p, size_t n, struct eye_err *err) {
    EYE_TRY(eye_weights_sniff(g->table.where, p, n, err));
    struct eye_cursor c = eye_cursor_make(p, n);
    EYE_TRY(read_version(g, &c, err));
    uint64_t n_tensors = eye_cursor_u64(&c), n_kv = eye_cursor_u64(&c);
    if (c.failed) return truncated(g, &c, "the header", err);
    EYE_TRY(check_count(g, &c, n_kv, MIN_KV_BYTES, "keys", err));
    EYE_TRY(check_count(g, &c, n_tensors, MIN_TENSOR_BYTES, "tensors", err));
    size_t bytes = (size_t)n_kv * sizeof *g->kv; /* n_kv <= INT32_MAX */
    if (!(g->kv = eye_arena_alloc(&g->table.arena, bytes))) return eye_fail_nomem(err, bytes);
    EYE_TRY(eye_strmap_reserve(&g->kv_index, (size_t)n_kv, err));
    for (uint64_t i = 0; i < n_kv; i++) EYE_TRY(read_kv(g, &c, err));
    EYE_TRY(read_alignment(g, err));
    g->genie = eye_gguf_find(g, EYE_GGUF_GENIE_KEY) != NULL;
    EYE_TRY(check_count(g, &c, n_tensors, MIN_TENSOR_BYTES, "tensors", err));
    EYE_TRY(eye_table_reserve(&g->table, (size_t)n_tensors, err));
    for (uint64_t i = 0; i < n_tensors; i++) EYE_TRY(read_tensor_info(g, &c, err));
    if (g->genie && eye_cursor_left(&c) >= 4 && memcmp((const uint8_t *)p + c.pos, "GGUF", 4) == 0)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: several models in one file (LoRA adapters); one is read", g->table.where);
    size_t pad = (g->alignment - c.pos % g->alignment) % g->alignment;
    pad = EYE_MIN(pad, eye_cursor_left(&c)); /* a file without tensors may end before */
    eye_cursor_bytes(&c, pad);
    size_t left = eye_cursor_left(&c);
    return eye_table_bind(&g->table, eye_cursor_bytes(&c, left), left, false, err);
}

/* ---- open, close ---- */

enum eye_status eye_gguf_open_bytes(struct eye_gguf *out, const void *p, size_t n, const char *where,
                                    const struct eye_alloc *alloc,
                                    struct eye_err *err) {
    struct eye_gguf g = {0};
    eye_table_init(&g.table, where, alloc);
    eye_strmap_init(&g.kv_index, alloc);
    enum eye_status st = read_all(&g, p, n, err);
    if (st != EYE_OK)
        eye_gguf_close(&g);
    else
        *out = g;
    return st;
}

enum eye_status eye_gguf_open(struct eye_gguf *out, const char *path, bool use_mmap, const struct eye_alloc *alloc,
                              struct eye_err *err) {
    struct eye_map map;
    EYE_TRY(eye_map_open(&map, path, use_mmap, 0, err));
    enum eye_status st = eye_gguf_open_bytes(out, map.p, map.size, map.path, alloc, err);
    if (st != EYE_OK)
        eye_map_close(&map);
    else
        out->map = map;
    return st;
}

void eye_gguf_close(struct eye_gguf *g) {
    eye_strmap_clear(&g->kv_index);
    eye_table_clear(&g->table);
    eye_map_close(&g->map);
    *g = (struct eye_gguf){0};
}

/* ---- values ---- */

const struct eye_gguf_kv *eye_gguf_find(const struct eye_gguf *g, const char *key) {
    int32_t i = eye_strmap_get(&g->kv_index, key, strlen(key));
    return i < 0 ? NULL : &g->kv[i];
}

static uint64_t item_bits(const struct eye_gguf_kv *kv, size_t i) {
    size_t bytes = types[kv->type].bytes;
    uint64_t v = 0;
    for (size_t b = 0; b < bytes; b++) v |= (uint64_t)kv->data[i * bytes + b] << (8 * b);
    return v;
}

double eye_gguf_item_double(const struct eye_gguf_kv *kv, size_t i) {
    assert(kv->data && i < kv->n);
    uint64_t bits = item_bits(kv, i);
    uint32_t low = (uint32_t)bits;
    float f;
    double d;
    memcpy(&f, &low, sizeof f);
    memcpy(&d, &bits, sizeof d);
    if (kv->type == EYE_GGUF_F32) return (double)f;
    if (kv->type == EYE_GGUF_F64) return d;
    return kv->type == EYE_GGUF_U64 ? (double)bits : (double)eye_gguf_item_int(kv, i);
}

int64_t eye_gguf_item_int(const struct eye_gguf_kv *kv, size_t i) {
    assert(kv->data && i < kv->n);
    uint64_t bits = item_bits(kv, i);
    switch (kv->type) {
    case EYE_GGUF_I8: return (int8_t)bits;
    case EYE_GGUF_I16: return (int16_t)bits;
    case EYE_GGUF_I32: return (int32_t)bits;
    case EYE_GGUF_F32:
    case EYE_GGUF_F64: {
        double d = eye_gguf_item_double(kv, i);
        return fabs(d) < 0x1p63 ? (int64_t)d : 0; /* NaN and what does not fit: 0 */
    }
    default: return (int64_t)bits;
    }
}

static enum eye_status wrong_type(const struct eye_gguf *g, const struct eye_gguf_kv *kv, const char *expected,
                                  struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "%s: key \"%s\": expected %s, got %s%s", g->table.where, kv->key, expected,
                    kv->is_array ? "an array of " : "", types[kv->type].name);
}

static bool is_integer(enum eye_gguf_type t) { return t <= EYE_GGUF_I32 || t == EYE_GGUF_U64 || t == EYE_GGUF_I64; }
static bool is_float(enum eye_gguf_type t) { return t == EYE_GGUF_F32 || t == EYE_GGUF_F64; }

enum eye_status eye_gguf_int(const struct eye_gguf *g, const char *key, int64_t def, int64_t *out, struct eye_err *err) {
    const struct eye_gguf_kv *kv = eye_gguf_find(g, key);
    if (kv && (kv->is_array || !is_integer(kv->type))) return wrong_type(g, kv, "an integer", err);
    int64_t v = kv ? eye_gguf_item_int(kv, 0) : def;
    if (kv && kv->type == EYE_GGUF_U64 && v < 0) return wrong_type(g, kv, "an integer below 2^63", err);
    *out = v;
    return EYE_OK;
}

enum eye_status eye_gguf_double(const struct eye_gguf *g, const char *key, double def, double *out, struct eye_err *err) {
    const struct eye_gguf_kv *kv = eye_gguf_find(g, key);
    if (kv && (kv->is_array || (!is_integer(kv->type) && !is_float(kv->type)))) return wrong_type(g, kv, "a number", err);
    *out = kv ? eye_gguf_item_double(kv, 0) : def;
    return EYE_OK;
}

enum eye_status eye_gguf_bool(const struct eye_gguf *g, const char *key, bool def, bool *out, struct eye_err *err) {
    const struct eye_gguf_kv *kv = eye_gguf_find(g, key);
    if (kv && (kv->is_array || kv->type != EYE_GGUF_BOOL)) return wrong_type(g, kv, "a bool", err);
    *out = kv ? kv->data[0] != 0 : def;
    return EYE_OK;
}

enum eye_status eye_gguf_str(const struct eye_gguf *g, const char *key, struct eye_str *out, struct eye_err *err) {
    const struct eye_gguf_kv *kv = eye_gguf_find(g, key);
    if (kv && (kv->is_array || kv->type != EYE_GGUF_STRING)) return wrong_type(g, kv, "a string", err);
    *out = kv ? kv->string[0] : (struct eye_str){NULL, 0};
    return EYE_OK;
}
