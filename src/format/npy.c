/* format/npy: see npy.h. The header is Python source; we read the subset that NumPy itself writes, keys in any order. */
#include "format/npy.h"

#include <stdio.h>
#include <string.h>

#include "base/cursor.h"

static const struct {
    const char *descr; /* after the byte-order character */
    enum eye_dtype dtype;
} types[] = {
    {"f4", EYE_F32}, {"f2", EYE_F16}, {"f8", EYE_F64}, {"i1", EYE_I8},   {"u1", EYE_U8},
    {"i2", EYE_I16}, {"i4", EYE_I32}, {"i8", EYE_I64}, {"b1", EYE_BOOL},
};

/* ---- reading ---- */

struct text { /* what is left of the header */
    const char *p, *end;
    const char *where;
    struct eye_err *err;
};

static enum eye_status bad(const struct text *s, const char *expected) {
    return eye_fail(s->err, EYE_E_CORRUPT, "%s: .npy header: expected %s", s->where, expected);
}

static void skip_blanks(struct text *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n')) s->p++;
}

static bool take(struct text *s, char c) {
    skip_blanks(s);
    if (s->p == s->end || *s->p != c) return false;
    s->p++;
    return true;
}

static bool take_word(struct text *s, const char *word) {
    size_t n = strlen(word);
    skip_blanks(s);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0) return false;
    s->p += n;
    return true;
}

/* A quoted string without escapes into out. */
static bool take_string(struct text *s, char *out, size_t cap) {
    char quote = take(s, '\'') ? '\'' : take(s, '"') ? '"' : '\0';
    size_t n = 0;
    if (!quote) return false;
    for (; s->p < s->end && *s->p != quote; s->p++) {
        if (n + 1 >= cap || *s->p == '\\') return false;
        out[n++] = *s->p;
    }
    out[n] = '\0';
    return take(s, quote);
}

static enum eye_status read_descr(struct text *s, struct eye_tensor *t) {
    char d[16];
    if (!take_string(s, d, sizeof d)) return bad(s, "a type such as '<f4'");
    for (size_t i = 0; i < EYE_COUNT(types); i++)
        if (strcmp(types[i].descr, d + 1) == 0 && (d[0] == '<' || d[0] == '|' || d[0] == '=')) {
            t->dtype = types[i].dtype;
            return EYE_OK;
        }
    return eye_fail(s->err, EYE_E_UNSUPPORTED, "%s: .npy type '%s'; supported: little-endian f2 f4 f8 i1 u1 i2 i4 i8 b1",
                    s->where, d);
}

static enum eye_status read_shape(struct text *s, struct eye_tensor *t) {
    if (!take(s, '(')) return bad(s, "a shape such as (2, 3)");
    while (!take(s, ')')) {
        if (t->rank == EYE_MAX_RANK)
            return eye_fail(s->err, EYE_E_UNSUPPORTED, "%s: more than %d dimensions", s->where, EYE_MAX_RANK);
        if (s->p == s->end || *s->p < '0' || *s->p > '9') return bad(s, "a shape such as (2, 3)");
        int64_t v = 0;
        for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++)
            if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *s->p - '0', &v))
                return bad(s, "smaller dimensions");
        t->dims[t->rank++] = v;
        if (!take(s, ',')) {
            if (!take(s, ')')) return bad(s, "',' or ')' in the shape");
            break;
        }
    }
    return EYE_OK;
}

static enum eye_status read_dict(struct text *s, struct eye_tensor *t) {
    char key[32];
    unsigned seen = 0;
    if (!take(s, '{')) return bad(s, "'{'");
    while (!take(s, '}')) {
        if (!take_string(s, key, sizeof key) || !take(s, ':')) return bad(s, "'key': value");
        unsigned bit = strcmp(key, "descr") == 0 ? 1 : strcmp(key, "fortran_order") == 0 ? 2 : strcmp(key,
                                                                                                      "shape") == 0 ? 4 : 0;
        if (bit == 0 || (seen & bit)) return bad(s, "the keys descr, fortran_order, shape, each once");
        seen |= bit;
        if (bit == 1) EYE_TRY(read_descr(s, t));
        if (bit == 4) EYE_TRY(read_shape(s, t));
        if (bit == 2 && !take_word(s, "False")) {
            if (take_word(s, "True")) return eye_fail(s->err, EYE_E_UNSUPPORTED, "%s: Fortran order", s->where);
            return bad(s, "True or False");
        }
        if (!take(s, ',')) {
            if (!take(s, '}')) return bad(s, "',' or '}'");
            break;
        }
    }
    return seen == 7 ? EYE_OK : bad(s, "the keys descr, fortran_order, shape");
}

enum eye_status eye_npy_open_bytes(struct eye_npy *out, const void *p, size_t n, const char *where, struct eye_err *err) {
    struct eye_npy a = {0};
    struct eye_cursor c = eye_cursor_make(p, n);
    const uint8_t *magic = eye_cursor_bytes(&c, 6);
    if (!magic || memcmp(magic, "\x93NUMPY", 6) != 0) return eye_fail(err, EYE_E_CORRUPT, "%s: expected an .npy file", where);
    int major = eye_cursor_u8(&c), minor = eye_cursor_u8(&c);
    if (!c.failed && (major < 1 || major > 3 || minor != 0))
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: .npy version %d.%d", where, major, minor);
    size_t len = major == 1 ? eye_cursor_u16(&c) : eye_cursor_u32(&c), bytes;
    const char *text = (const char *)eye_cursor_bytes(&c, len);
    if (!text) return eye_fail(err, EYE_E_CORRUPT, "%s: .npy header of %zu bytes in a file of %zu", where, len, n);
    struct text s = {text, text + len, where, err};
    EYE_TRY(read_dict(&s, &a.t));
    size_t left = eye_cursor_left(&c);
    if (!eye_tensor_bytes(&a.t, &bytes) || bytes > left) {
        char shape[160];
        return eye_fail(err, EYE_E_CORRUPT, "%s: shape %s of %s does not fit the %zu bytes of data", where,
                        eye_shape_text(a.t.dims, a.t.rank, shape, sizeof shape), eye_dtype_info(a.t.dtype)->name, left);
    }
    a.t.data = eye_cursor_bytes(&c, bytes);
    if ((uintptr_t)a.t.data % eye_dtype_info(a.t.dtype)->block_bytes != 0) {
        if (!(a.copy = eye_alloc_raw(NULL, bytes))) return eye_fail_nomem(err, bytes);
        if (bytes) memcpy(a.copy, a.t.data, bytes);
        a.copy_bytes = bytes;
        a.t.data = a.copy;
    }
    *out = a;
    return EYE_OK;
}

enum eye_status eye_npy_open(struct eye_npy *out, const char *path, struct eye_err *err) {
    struct eye_map map;
    EYE_TRY(eye_map_open(&map, path, true, 0, err));
    enum eye_status st = eye_npy_open_bytes(out, map.p, map.size, map.path, err);
    if (st != EYE_OK)
        eye_map_close(&map);
    else
        out->map = map;
    return st;
}

void eye_npy_close(struct eye_npy *a) {
    eye_alloc_free(NULL, a->copy, a->copy_bytes);
    eye_map_close(&a->map);
    *a = (struct eye_npy){0};
}

/* ---- writing ---- */

enum eye_status eye_npy_write(const char *path, const struct eye_tensor *t, struct eye_err *err) {
    const char *descr = NULL;
    size_t bytes;
    for (size_t i = 0; i < EYE_COUNT(types); i++)
        if (types[i].dtype == t->dtype) descr = types[i].descr;
    if (!descr) return eye_fail(err, EYE_E_UNSUPPORTED, "%s: .npy has no type %s", path, eye_dtype_info(t->dtype)->name);
    if (!eye_tensor_bytes(t, &bytes)) return eye_fail(err, EYE_E_ARG, "%s: the tensor's size overflows", path);
    char dims[160] = "", head[256];
    size_t at = 0;
    for (int i = 0; i < t->rank; i++) /* at most 5 dims of 19 digits */
        at += (size_t)snprintf(dims + at, sizeof dims - at, "%s%lld%s", i ? " " : "", (long long)t->dims[i],
                               i + 1 < t->rank || t->rank == 1 ? "," : "");
    int n = snprintf(head, sizeof head, "{'descr': '%c%s', 'fortran_order': False, 'shape': (%s), }",
                     eye_dtype_info(t->dtype)->block_bytes == 1 ? '|' : '<', descr, dims);
    size_t total = EYE_ALIGN_UP(10 + (size_t)n + 1, 64), len = total - 10;
    memset(head + n, ' ', len - (size_t)n);
    head[len - 1] = '\n';
    const uint8_t start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)len, (uint8_t)(len >> 8)};
    struct eye_writer w = {0};
    enum eye_status st;
    EYE_TRY_GOTO(eye_writer_open(&w, path, err));
    EYE_TRY_GOTO(eye_writer_put(&w, start, sizeof start, err));
    EYE_TRY_GOTO(eye_writer_put(&w, head, len, err));
    EYE_TRY_GOTO(eye_writer_put(&w, t->data, bytes, err));
    EYE_TRY_GOTO(eye_writer_commit(&w, err));
    return EYE_OK;
fail:
    eye_writer_abort(&w);
    return st;
}
