/* Unit tests of format's gguf reader and writer. Must-fail files are built in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf_write.h"
#include "support/support.h"

/* Reads every byte of every view: ASan then sees any that is out of place. */
static uint32_t touch(const struct eye_table *t) {
    uint32_t sum = 0;
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->entry[i].bytes; k++) sum += ((const uint8_t *)t->entry[i].t.data)[k];
    return sum;
}

#define expect_error(...) assert_true(eye_error_is(__VA_ARGS__))

static enum eye_status open_gguf(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_gguf g;
    volatile double sink = 0; /* every value is read */
    EYE_TRY(eye_gguf_open_bytes(&g, p, n, "f.gguf", alloc, err));
    touch(&g.table);
    for (size_t i = 0; i < g.n_kv; i++)
        for (size_t k = 0; k < g.kv[i].n; k++) {
            const struct eye_str *s = g.kv[i].string ? &g.kv[i].string[k] : NULL;
            for (size_t c = 0; s && c < s->len; c++) sink += s->p[c];
            if (!s) sink += eye_gguf_item_double(&g.kv[i], k) + (double)eye_gguf_item_int(&g.kv[i], k);
        }
    (void)sink;
    eye_gguf_close(&g);
    return EYE_OK;
}

static enum eye_status make_rows(void *ctx, int64_t row, int64_t n_rows, void *dst, struct eye_err *err) {
    int64_t *next = ctx;
    if (row != *next) return eye_fail(err, EYE_E_CANCELLED, "rows out of order");
    *next += n_rows;
    for (int64_t r = 0; r < n_rows; r++) {
        float x[40];
        for (int i = 0; i < 40; i++) x[i] = (float)((row + r) % 100) + (float)i / 64;
        eye_row_from_f32(EYE_Q8_0, x, (uint8_t *)dst + (size_t)r * 68, 40);
    }
    return EYE_OK;
}

static const float gguf_f32[6] = {1, 2, 3, 4, 5, 6};
#define N_ROWS 20000 /* 1.3 MB: more than one chunk */

static void write_gguf(const char *path, int64_t n_rows) {
    struct eye_gguf_writer w;
    struct eye_err err = {0};
    static const int64_t ints[] = {-1, 0, 300};
    static const double floats[] = {0.5, -2};
    static const struct eye_str strs[] = {{"a", 1}, {"", 0}, {"n\0l", 3}};
    struct eye_tensor plain = {gguf_f32, EYE_F32, 2, {2, 3}}, rows = {NULL, EYE_Q8_0, 2, {n_rows, 40}};
    struct eye_tensor scalar = {gguf_f32, EYE_F32, 0, {0}};
    int64_t next = 0;
    eye_gguf_writer_init(&w, NULL);
    assert_int_equal(eye_gguf_put_text(&w, "general.architecture", "qwen2", &err), EYE_OK);
    for (int t = 0; t < EYE_GGUF_N_TYPE; t++) {
        char key[32];
        if (t == EYE_GGUF_BOOL || t == EYE_GGUF_STRING || t == EYE_GGUF_ARRAY) continue;
        bool f = t == EYE_GGUF_F32 || t == EYE_GGUF_F64;
        snprintf(key, sizeof key, "k.%s", eye_gguf_type_name((enum eye_gguf_type)t));
        assert_int_equal(f ? eye_gguf_put_float(&w, key, (enum eye_gguf_type)t, 0.25, &err)
                           : eye_gguf_put_int(&w, key, (enum eye_gguf_type)t, 100 + t, &err), EYE_OK);
    }
    assert_int_equal(eye_gguf_put_bool(&w, "k.bool", true, &err), EYE_OK);
    assert_int_equal(eye_gguf_put_str(&w, "eyelet.file.x", "by\0tes", 6, &err), EYE_OK);
    assert_int_equal(eye_gguf_put_ints(&w, "a.i16", EYE_GGUF_I16, ints, 3, &err), EYE_OK);
    assert_int_equal(eye_gguf_put_floats(&w, "a.f64", EYE_GGUF_F64, floats, 2, &err), EYE_OK);
    assert_int_equal(eye_gguf_put_strs(&w, "a.str", strs, 3, &err), EYE_OK);
    assert_int_equal(eye_gguf_put_strs(&w, "a.none", NULL, 0, &err), EYE_OK);
    assert_int_equal(eye_gguf_add_tensor(&w, "plain", &plain, NULL, NULL, &err), EYE_OK);
    assert_int_equal(eye_gguf_add_tensor(&w, "rows", &rows, make_rows, &next, &err), EYE_OK);
    assert_int_equal(eye_gguf_add_tensor(&w, "scalar", &scalar, NULL, NULL, &err), EYE_OK);
    assert_int_equal(eye_gguf_put_bool(&w, "k.bool", true, &err), EYE_E_ARG); /* twice */
    assert_int_equal(eye_gguf_add_tensor(&w, "plain", &plain, NULL, NULL, &err), EYE_E_ARG);
    assert_int_equal(eye_gguf_put_bool(&w, "", true, &err), EYE_E_ARG);
    assert_int_equal(eye_gguf_put_int(&w, "big", EYE_GGUF_U8, 256, &err), EYE_E_ARG);
    assert_int_equal(eye_gguf_put_int(&w, "big", EYE_GGUF_U32, -1, &err), EYE_E_ARG);
    assert_int_equal(eye_gguf_put_int(&w, "big", EYE_GGUF_F32, 1, &err), EYE_E_ARG);
    assert_int_equal(eye_gguf_put_float(&w, "big", EYE_GGUF_I32, 1, &err), EYE_E_ARG);
    assert_int_equal(eye_gguf_add_tensor(&w, "u8", &(struct eye_tensor){gguf_f32, EYE_U8, 1, {4}}, NULL, NULL, &err),
                     EYE_E_UNSUPPORTED);
    assert_int_equal(eye_gguf_add_tensor(&w, "r5", &(struct eye_tensor){gguf_f32, EYE_F32, 5, {1, 1, 1, 1, 1}}, NULL, NULL,
                                         &err),
                     EYE_E_UNSUPPORTED);
    enum eye_status st = eye_gguf_write(&w, path, &err);
    if (st != EYE_OK) fail_msg("%s", err.text);
    assert_int_equal(next, n_rows);
    eye_gguf_writer_clear(&w);
}

static void check_gguf_values(const struct eye_gguf *g) {
    struct eye_err err;
    struct eye_str s;
    int64_t i;
    double d;
    bool b;
    static const char *const ints[] = {"k.u8", "k.i8", "k.u16", "k.i16", "k.u32", "k.i32", "k.u64", "k.i64"};
    for (size_t k = 0; k < EYE_COUNT(ints); k++) {
        assert_int_equal(eye_gguf_int(g, ints[k], 0, &i, &err), EYE_OK);
        assert_true(i >= 100 && i < 113);
        assert_int_equal(eye_gguf_double(g, ints[k], 0, &d, &err), EYE_OK);
        assert_true(d == (double)i);
    }
    assert_int_equal(eye_gguf_double(g, "k.f32", 0, &d, &err), EYE_OK);
    assert_true(d == 0.25);
    assert_int_equal(eye_gguf_double(g, "k.f64", 0, &d, &err), EYE_OK);
    assert_true(d == 0.25);
    assert_int_equal(eye_gguf_bool(g, "k.bool", false, &b, &err), EYE_OK);
    assert_true(b);
    assert_int_equal(eye_gguf_str(g, "eyelet.file.x", &s, &err), EYE_OK);
    assert_int_equal(s.len, 6);
    assert_memory_equal(s.p, "by\0tes", 6);
    const struct eye_gguf_kv *a = eye_gguf_find(g, "a.i16");
    assert_true(a && a->is_array && a->n == 3);
    assert_true(eye_gguf_item_int(a, 0) == -1 && eye_gguf_item_int(a, 2) == 300);
    a = eye_gguf_find(g, "a.f64");
    assert_true(a->n == 2 && eye_gguf_item_double(a, 1) == -2 && eye_gguf_item_int(a, 1) == -2);
    a = eye_gguf_find(g, "a.str");
    assert_true(a->n == 3 && a->string[1].len == 0 && a->string[2].len == 3);
    assert_int_equal(eye_gguf_find(g, "a.none")->n, 0);
    assert_int_equal(eye_gguf_int(g, "none", 9, &i, &err), EYE_OK);
    assert_int_equal(i, 9);
    expect_error("bool as int", eye_gguf_int(g, "k.bool", 0, &i, &err), EYE_E_CORRUPT, &err, "expected an integer, got bool");
    expect_error("array as int", eye_gguf_int(g, "a.i16", 0, &i, &err), EYE_E_CORRUPT, &err, "got an array of i16");
    expect_error("text as number", eye_gguf_double(g, "eyelet.file.x", 0, &d, &err), EYE_E_CORRUPT, &err, "expected a number");
    expect_error("int as bool", eye_gguf_bool(g, "k.u8", 0, &b, &err), EYE_E_CORRUPT, &err, "expected a bool");
    expect_error("int as text", eye_gguf_str(g, "k.u8", &s, &err), EYE_E_CORRUPT, &err, "expected a string");
}

static void gguf_round_trip(void **state) {
    struct eye_gguf g;
    struct eye_err err = {0};
    const char *path = eye_scratch_path("x.gguf");
    write_gguf(path, N_ROWS);
    for (int use_mmap = 0; use_mmap < 2; use_mmap++) {
        assert_int_equal(eye_gguf_open(&g, path, use_mmap, NULL, &err), EYE_OK);
        assert_true(g.version == 3 && g.alignment == 32 && g.table.n == 3);
        check_gguf_values(&g);
        const struct eye_entry *e = eye_table_find(&g.table, "plain");
        assert_true(e->t.rank == 2 && e->t.dims[0] == 2 && e->t.dims[1] == 3);
        assert_memory_equal(e->t.data, gguf_f32, sizeof gguf_f32);
        e = eye_table_find(&g.table, "rows");
        assert_true(e->t.dtype == EYE_Q8_0 && e->t.dims[0] == N_ROWS && e->t.dims[1] == 40 && e->bytes == N_ROWS * 68);
        uint8_t want[68];
        for (int64_t r = 0; r < N_ROWS; r += 777) {
            int64_t next = r;
            assert_int_equal(make_rows(&next, r, 1, want, &err), EYE_OK);
            assert_memory_equal((const uint8_t *)e->t.data + r * 68, want, 68);
        }
        e = eye_table_find(&g.table, "scalar");
        assert_true(e->t.rank == 1 && e->t.dims[0] == 1 && *(const float *)e->t.data == 1);
        eye_gguf_close(&g);
        eye_gguf_close(&g);
    }
}

static enum eye_status failing_rows(void *ctx, int64_t row, int64_t n_rows, void *dst, struct eye_err *err) {
    return eye_fail(err, EYE_E_CANCELLED, "stopped at row %lld", (long long)row);
}

static void a_failed_write_leaves_nothing(void **state) {
    struct eye_gguf_writer w;
    struct eye_err err = {0};
    struct eye_tensor t = {NULL, EYE_F32, 2, {4, 4}};
    const char *path = eye_scratch_path("never.gguf");
    eye_gguf_writer_init(&w, NULL);
    assert_int_equal(eye_gguf_add_tensor(&w, "t", &t, failing_rows, NULL, &err), EYE_OK);
    assert_int_equal(eye_gguf_write(&w, path, &err), EYE_E_CANCELLED);
    assert_string_equal(err.text, "tensor \"t\": stopped at row 0");
    assert_false(eye_path_exists(path));
    eye_gguf_writer_clear(&w);
    for (long k = 0;; k++) {
        struct eye_faulty f;
        eye_faulty_init(&f, k);
        eye_gguf_writer_init(&w, &f.alloc);
        t.data = gguf_f32;
        t.dims[0] = 1;
        enum eye_status st = eye_gguf_put_text(&w, "key", "value", &err);
        if (st == EYE_OK) st = eye_gguf_add_tensor(&w, "t", &t, NULL, NULL, &err);
        if (st == EYE_OK) st = eye_gguf_write(&w, path, &err);
        eye_gguf_writer_clear(&w);
        assert_int_equal(f.n_live, 0);
        if (st == EYE_OK) break;
        assert_int_equal(st, EYE_E_NOMEM);
        assert_false(eye_path_exists(path));
        assert_true(k < 100);
    }
    assert_true(eye_path_exists(path));
}

/* ---- gguf: built by hand ---- */

static void put_str(struct eye_buf *b, const char *s) {
    eye_build_le(b, strlen(s), 8);
    eye_buf_adds(b, s);
}

static void put_head(struct eye_buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_kv) {
    eye_buf_init(b, NULL);
    eye_buf_adds(b, "GGUF");
    eye_build_le(b, version, 4);
    eye_build_le(b, n_tensors, 8);
    eye_build_le(b, n_kv, 8);
}

static void put_tensor(struct eye_buf *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                       uint64_t offset) {
    put_str(b, name);
    eye_build_le(b, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) eye_build_le(b, dims[i], 8);
    eye_build_le(b, type, 4);
    eye_build_le(b, offset, 8);
}

static void expect_gguf(struct eye_buf *b, const char *name, enum eye_status want, const char *says) {
    struct eye_err err = {0};
    eye_build_le(b, 0, 8);
    while (b->len % 32) eye_build_le(b, 0, 1);
    for (int i = 0; i < 16; i++) eye_build_le(b, 0x0101010101010101u, 8); /* 128 bytes of data */
    enum eye_status st = open_gguf(b->p, b->len, NULL, &err);
    if (want == EYE_OK)
        assert_int_equal(st, EYE_OK);
    else
        expect_error(name, st, want, &err, says);
    eye_buf_clear(b);
}

static void bad_gguf_headers_are_refused(void **state) {
    static const struct {
        uint32_t version;
        uint64_t n_tensors, n_kv;
        enum eye_status st;
        const char *says;
    } rows[] = {
        {1, 0, 0, EYE_E_UNSUPPORTED, "version 1"},
        {4, 0, 0, EYE_E_UNSUPPORTED, "version 4"},
        {0, 0, 0, EYE_E_UNSUPPORTED, "version 0"},
        {0x03000000, 0, 0, EYE_E_UNSUPPORTED, "big-endian"},
        {3, 0, UINT64_MAX, EYE_E_CORRUPT, "keys announced"},
        {3, 0, UINT64_MAX / sizeof(struct eye_gguf_kv) + 2, EYE_E_CORRUPT, "keys announced"},
        {3, UINT64_MAX, 0, EYE_E_CORRUPT, "tensors announced"},
        {3, UINT64_MAX / sizeof(struct eye_entry) + 2, 0, EYE_E_CORRUPT, "tensors announced"},
        {3, 100, 0, EYE_E_CORRUPT, "tensors announced"},
        {3, 0, 0, EYE_OK, ""},
        {2, 0, 0, EYE_OK, ""},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        struct eye_buf b;
        put_head(&b, rows[i].version, rows[i].n_tensors, rows[i].n_kv);
        expect_gguf(&b, "header", rows[i].st, rows[i].says);
    }
    struct eye_err err;
    expect_error("magic", open_gguf("GGML0000", 8, NULL, &err), EYE_E_CORRUPT, &err, "expected a GGUF");
    expect_error("only the magic", open_gguf("GGUF", 4, NULL, &err), EYE_E_CORRUPT, &err, "past the end");
}

/* One key of the given type word, array item type (UINT32_MAX = no array), count, and 8 bytes of value. */
static void build_kv(struct eye_buf *b, const char *key, uint32_t type, uint32_t item, uint64_t n, uint64_t value) {
    put_head(b, 3, 0, 1);
    put_str(b, key);
    eye_build_le(b, type, 4);
    if (item != UINT32_MAX) {
        eye_build_le(b, item, 4);
        eye_build_le(b, n, 8);
    }
    eye_build_le(b, value, 8);
}

static void bad_gguf_keys_are_refused(void **state) {
    static const struct {
        const char *name;
        uint32_t type, item;
        uint64_t n, value;
        enum eye_status st;
        const char *says;
    } rows[] = {
        {"type 13", 13, UINT32_MAX, 0, 0, EYE_E_CORRUPT, "type 13"},
        {"bool 2", EYE_GGUF_BOOL, UINT32_MAX, 0, 2, EYE_E_CORRUPT, "expected a bool"},
        {"nested", EYE_GGUF_ARRAY, EYE_GGUF_ARRAY, 1, 0, EYE_E_UNSUPPORTED, "arrays of arrays"},
        {"item type", EYE_GGUF_ARRAY, 99, 1, 0, EYE_E_CORRUPT, "type 99"},
        {"count", EYE_GGUF_ARRAY, EYE_GGUF_U64, UINT64_MAX, 0, EYE_E_CORRUPT, "do not fit"},
        {"count * 8 wraps", EYE_GGUF_ARRAY, EYE_GGUF_U64, ((uint64_t)1 << 61) + 1, 0, EYE_E_CORRUPT, "do not fit"},
        {"count * 16 wraps", EYE_GGUF_ARRAY, EYE_GGUF_STRING, ((uint64_t)1 << 60) + 1, 0, EYE_E_CORRUPT, "do not fit"},
        {"string length", EYE_GGUF_STRING, UINT32_MAX, 0, UINT64_MAX, EYE_E_CORRUPT, "past the end"},
        {"string length - 8", EYE_GGUF_STRING, UINT32_MAX, 0, UINT64_MAX - 7, EYE_E_CORRUPT, "past the end"},
        {"strings", EYE_GGUF_ARRAY, EYE_GGUF_STRING, 2, 4000, EYE_E_CORRUPT, "past the end"},
        {"fine", EYE_GGUF_ARRAY, EYE_GGUF_U8, 8, 0, EYE_OK, ""},
    };
    struct eye_buf b;
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        build_kv(&b, "key", rows[i].type, rows[i].item, rows[i].n, rows[i].value);
        expect_gguf(&b, rows[i].name, rows[i].st, rows[i].says);
    }
    build_kv(&b, "", EYE_GGUF_U64, UINT32_MAX, 0, 0);
    expect_gguf(&b, "empty key", EYE_E_CORRUPT, "expected 1 to");
    static const uint64_t align[] = {0, 3, 24, (uint64_t)1 << 40};
    for (size_t i = 0; i < EYE_COUNT(align); i++) {
        build_kv(&b, "general.alignment", EYE_GGUF_U64, UINT32_MAX, 0, align[i]);
        expect_gguf(&b, "alignment", EYE_E_CORRUPT, "general.alignment");
    }
    build_kv(&b, "general.alignment", EYE_GGUF_STRING, UINT32_MAX, 0, 0);
    expect_gguf(&b, "alignment is a string", EYE_E_CORRUPT, "expected an integer");
    put_head(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_str(&b, "twice");
        eye_build_le(&b, EYE_GGUF_U32, 4);
        eye_build_le(&b, 1, 4);
    }
    expect_gguf(&b, "duplicate key", EYE_E_CORRUPT, "occurs twice");
}

static void bad_gguf_tensors_are_refused(void **state) {
    static const struct {
        const char *name;
        uint32_t n_dims;
        uint64_t dims[5];
        uint32_t type;
        uint64_t offset;
        enum eye_status st;
        const char *says;
    } rows[] = {
        {"fine", 1, {32}, 0, 0, EYE_OK, ""},
        {"fine at 32", 1, {24}, 0, 32, EYE_OK, ""},
        {"short q8_0 row", 2, {33, 1}, 8, 0, EYE_OK, ""},
        {"no dims", 0, {0}, 0, 0, EYE_E_CORRUPT, "0 dimensions"},
        {"5 dims", 5, {1, 1, 1, 1, 1}, 0, 0, EYE_E_CORRUPT, "5 dimensions"},
        {"zero dim", 2, {4, 0}, 0, 0, EYE_E_CORRUPT, "dimension 1 is 0"},
        {"negative dim", 1, {UINT64_MAX}, 0, 0, EYE_E_CORRUPT, "dimension 0"},
        {"product overflows", 2, {(uint64_t)1 << 32, (uint64_t)1 << 32}, 0, 0, EYE_E_CORRUPT, "overflows"},
        {"bytes overflow", 1, {((uint64_t)1 << 62) + 1}, 0, 0, EYE_E_CORRUPT, "overflows"},
        {"four overflow", 4, {65536, 65536, 65536, 65537}, 0, 0, EYE_E_CORRUPT, "overflows"},
        {"q4_K of 144 bytes", 1, {256}, 12, 0, EYE_OK, ""},
        {"two q4_K", 1, {257}, 12, 0, EYE_E_CORRUPT, "truncated"},
        {"listed only", 1, {256}, 10, 0, EYE_OK, ""},
        {"unknown type", 1, {256}, 1000, 0, EYE_E_UNSUPPORTED, "unknown ggml type 1000"},
        {"offset unaligned", 1, {8}, 0, 8, EYE_E_CORRUPT, "alignment"},
        {"offset + size wraps", 1, {32}, 0, UINT64_MAX - 31, EYE_E_CORRUPT, "overflows"},
        {"past the end", 1, {41}, 0, 0, EYE_E_CORRUPT, "truncated"},
        {"offset past the end", 1, {1}, 0, 4096, EYE_E_CORRUPT, "truncated"},
        {"empty name", 1, {4}, 0, 0, EYE_E_CORRUPT, "empty name"},
    };
    struct eye_buf b;
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        put_head(&b, 3, 1, 0);
        bool unnamed = strcmp(rows[i].name, "empty name") == 0;
        put_tensor(&b, unnamed ? "" : "t", rows[i].n_dims, rows[i].dims, rows[i].type, rows[i].offset);
        expect_gguf(&b, rows[i].name, rows[i].st, rows[i].says);
    }
    static const uint64_t one[] = {16};
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", 1, one, 0, 0);
    put_tensor(&b, "a", 1, one, 0, 64);
    expect_gguf(&b, "duplicate", EYE_E_CORRUPT, "two tensors are named \"a\"");
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", 1, one, 0, 0);
    put_tensor(&b, "b", 1, one, 0, 32);
    expect_gguf(&b, "overlap", EYE_E_CORRUPT, "inside \"a\"");
    put_head(&b, 3, 1, 0); /* a name that holds a NUL */
    eye_build_le(&b, 3, 8);
    eye_buf_add(&b, "a\0b", 3);
    eye_build_le(&b, 1, 4);
    eye_build_le(&b, 4, 8);
    eye_build_le(&b, 0, 4);
    eye_build_le(&b, 0, 8);
    expect_gguf(&b, "NUL in a name", EYE_E_CORRUPT, "NUL");
}

static void hostile_ggufs_do_no_harm(void **state) {
    struct eye_map m;
    const char *path = eye_scratch_path("small.gguf");
    write_gguf(path, 2);
    assert_int_equal(eye_map_open(&m, path, false, 0, NULL), EYE_OK);
    /* All but the padding that ends the file. */
    assert_true(eye_refuses_truncations(open_gguf, m.p, m.size - 28));
    assert_true(eye_survives_mutations(open_gguf, m.p, m.size, 12, 20000));
    assert_true(eye_survives_faults(open_gguf, m.p, m.size));
    eye_map_close(&m);
}

static int teardown(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_round_trip),
        cmocka_unit_test(a_failed_write_leaves_nothing),
        cmocka_unit_test(bad_gguf_headers_are_refused),
        cmocka_unit_test(bad_gguf_keys_are_refused),
        cmocka_unit_test(bad_gguf_tensors_are_refused),
        cmocka_unit_test(hostile_ggufs_do_no_harm),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, teardown);
}
