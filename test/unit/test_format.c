/* Unit tests of format's safetensors reader and npy reader and writer. Must-fail files are built in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/npy.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "support/support.h"

/* Reads every byte of every view: ASan then sees any that is out of place. */
static uint32_t touch(const struct eye_table *t) {
    uint32_t sum = 0;
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->entry[i].bytes; k++) sum += ((const uint8_t *)t->entry[i].t.data)[k];
    return sum;
}

#define expect_error(...) assert_true(eye_error_is(__VA_ARGS__))

/* ---- safetensors ---- */

#define ST_JSON                                                                                                   \
    "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"    \
    "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"                                            \
    "\"none\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[28,28]},"                                      \
    "\"one\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[28,36]}}"

static uint8_t st_data[36];

static enum eye_status open_st(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_safetensors s;
    EYE_TRY(eye_safetensors_open_bytes(&s, p, n, "f.safetensors", alloc, err));
    touch(&s.table);
    eye_safetensors_close(&s);
    return EYE_OK;
}

/* pad: blanks after the JSON, to move the data to any address. */
static void build_st(struct eye_buf *b, size_t pad) {
    char json[600];
    for (size_t i = 0; i < sizeof st_data; i++) st_data[i] = (uint8_t)(i + 1);
    snprintf(json, sizeof json, "%s%*s", ST_JSON, (int)pad, "");
    eye_buf_init(b, NULL);
    eye_build_safetensors(b, json, st_data, sizeof st_data);
}

static void safetensors_are_read(void **state) {
    /* Every alignment of the data: misaligned views are copies with the same bytes. */
    for (size_t pad = 0; pad < 16; pad++) {
        struct eye_buf b;
        struct eye_safetensors s;
        struct eye_err err = {0};
        build_st(&b, pad);
        const char *path = eye_scratch_write("x.safetensors", b.p, b.len);
        assert_int_equal(eye_safetensors_open(&s, path, pad % 2, NULL, &err), EYE_OK);
        assert_int_equal(s.table.n, 4);
        assert_int_equal(s.n_metadata, 1);
        assert_string_equal(s.metadata[0].key, "format");
        assert_string_equal(s.metadata[0].value, "pt");
        const struct eye_entry *e = eye_table_find(&s.table, "b");
        assert_non_null(e);
        assert_true(e->t.dtype == EYE_F32 && e->t.rank == 2 && e->t.dims[0] == 2 && e->t.dims[1] == 3 && e->bytes == 24);
        assert_memory_equal(e->t.data, st_data + 4, 24);
        assert_int_equal((uintptr_t)e->t.data % 4, 0);
        e = eye_table_find(&s.table, "one");
        assert_true(e->t.rank == 0 && e->bytes == 8 && (uintptr_t)e->t.data % 8 == 0);
        assert_memory_equal(e->t.data, st_data + 28, 8);
        assert_int_equal(eye_table_find(&s.table, "none")->bytes, 0);
        assert_null(eye_table_find(&s.table, "__metadata__"));
        assert_null(eye_table_find(&s.table, "c"));
        eye_safetensors_close(&s);
        eye_safetensors_close(&s);
        eye_buf_clear(&b);
    }
}

#define T(name, dtype, shape, offsets) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void bad_safetensors_are_refused(void **state) {
    static const struct {
        const char *name, *json;
        enum eye_status st;
        const char *says;
    } rows[] = {
        {"array", "[]", EYE_E_CORRUPT, "begin with '{'"},
        {"blank first", " {}", EYE_E_CORRUPT, "begin with '{'"},
        {"not json", "{nope}", EYE_E_CORRUPT, "line 1"},
        {"no dtype", "{\"a\":{\"shape\":[],\"data_offsets\":[0,0]}}", EYE_E_CORRUPT, "a.dtype"},
        {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,36]}}", EYE_E_CORRUPT, "a.shape"},
        {"no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[36]}}", EYE_E_CORRUPT, "a.data_offsets"},
        {"entry is no object", "{\"a\":7}", EYE_E_CORRUPT, "a: expected an object"},
        {"f8", "{" T("a", "F8_E4M3", "[36]", "[0,36]") "}", EYE_E_UNSUPPORTED, "\"a\" has dtype F8_E4M3"},
        {"rank 6", "{" T("a", "U8", "[1,1,1,1,1,36]", "[0,36]") "}", EYE_E_UNSUPPORTED, "6 dimensions"},
        {"negative dim", "{" T("a", "U8", "[-36]", "[0,36]") "}", EYE_E_CORRUPT, "a.shape[0]"},
        {"float dim", "{" T("a", "U8", "[3.5]", "[0,36]") "}", EYE_E_CORRUPT, "a.shape[0]"},
        {"huge dim", "{" T("a", "U8", "[18446744073709551615]", "[0,36]") "}", EYE_E_CORRUPT, "a.shape[0]"},
        {"product overflows", "{" T("a", "U8", "[4294967296,4294967296]", "[0,36]") "}", EYE_E_CORRUPT, "overflows"},
        {"product wraps to 36", "{" T("a", "U8", "[4611686018427387913,4]", "[0,36]") "}", EYE_E_CORRUPT, "overflows"},
        {"bytes overflow", "{" T("a", "F64", "[2305843009213693956]", "[0,32]") "}", EYE_E_CORRUPT, "overflows"},
        {"end overflows", "{" T("a", "U8", "[9223372036854775807]", "[9223372036854775807,9223372036854775807]") "}",
         EYE_E_CORRUPT,
         "its shape needs"},
        {"size differs", "{" T("a", "F32", "[9]", "[0,35]") "}", EYE_E_CORRUPT, "needs 36 bytes"},
        {"offsets backwards", "{" T("a", "U8", "[36]", "[36,0]") "}", EYE_E_CORRUPT, "begin <= end"},
        {"offset negative", "{" T("a", "U8", "[36]", "[-36,0]") "}", EYE_E_CORRUPT, "begin <= end"},
        {"one offset", "{" T("a", "U8", "[36]", "[36]") "}", EYE_E_CORRUPT, "begin <= end"},
        {"three offsets", "{" T("a", "U8", "[36]", "[0,36,36]") "}", EYE_E_LIMIT, "at most 2"},
        {"past the end", "{" T("a", "U8", "[37]", "[0,37]") "}", EYE_E_CORRUPT, "truncated"},
        {"overlap", "{" T("a", "U8", "[20]", "[0,20]") "," T("b", "U8", "[17]", "[19,36]") "}", EYE_E_CORRUPT, "inside \"a\""},
        {"same bytes", "{" T("a", "U8", "[36]", "[0,36]") "," T("b", "U8", "[36]", "[0,36]") "}", EYE_E_CORRUPT, "inside"},
        {"hole", "{" T("a", "U8", "[17]", "[0,17]") "," T("b", "U8", "[18]", "[18,36]") "}", EYE_E_CORRUPT, "holes"},
        {"hole in front", "{" T("a", "U8", "[35]", "[1,36]") "}", EYE_E_CORRUPT, "holes"},
        {"bytes left over", "{" T("a", "U8", "[35]", "[0,35]") "}", EYE_E_CORRUPT, "end at 35"},
        {"duplicate", "{" T("a", "U8", "[18]", "[0,18]") "," T("a", "U8", "[18]", "[18,36]") "}", EYE_E_CORRUPT, "duplicate"},
        {"empty name", "{" T("", "U8", "[36]", "[0,36]") "}", EYE_E_CORRUPT, "empty name"},
        {"metadata no object", "{\"__metadata__\":3," T("a", "U8", "[36]", "[0,36]") "}", EYE_E_CORRUPT, "__metadata__"},
        {"metadata no string", "{\"__metadata__\":{\"k\":[1]}," T("a", "U8", "[36]", "[0,36]") "}", EYE_E_CORRUPT,
         "__metadata__.k"},
        {"no tensors", "{}", EYE_E_CORRUPT, "end at 0"},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        struct eye_err err = {0};
        struct eye_buf b;
        eye_buf_init(&b, NULL);
        eye_build_safetensors(&b, rows[i].json, st_data, sizeof st_data);
        expect_error(rows[i].name, open_st(b.p, b.len, NULL, &err), rows[i].st, &err, rows[i].says);
        eye_buf_clear(&b);
    }
}

static void bad_header_lengths_are_refused(void **state) {
    static const uint64_t len[] = {UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, 1 << 30, 64, 57, 0};
    struct eye_err err;
    for (size_t i = 0; i < EYE_COUNT(len); i++) {
        struct eye_buf b;
        eye_buf_init(&b, NULL);
        eye_build_le(&b, len[i], 8);
        eye_buf_adds(&b, "{}                                                      "); /* 56 bytes */
        expect_error("header length", open_st(b.p, b.len, NULL, &err), EYE_E_CORRUPT, &err, i < 6 ? "header of" : "begin with");
        eye_buf_clear(&b);
    }
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    expect_error("lfs", open_st(lfs, sizeof lfs - 1, NULL, &err), EYE_E_CORRUPT, &err, "git lfs pull");
    expect_error("html", open_st("<!DOCTYPE html>", 15, NULL, &err), EYE_E_CORRUPT, &err, "web page");
    expect_error("empty", open_st("", 0, NULL, &err), EYE_E_CORRUPT, &err, "empty");
}

static void hostile_safetensors_do_no_harm(void **state) {
    struct eye_buf b;
    build_st(&b, 3);
    assert_true(eye_refuses_truncations(open_st, b.p, b.len));
    assert_true(eye_survives_mutations(open_st, b.p, b.len, 11, 10000));
    assert_true(eye_survives_faults(open_st, b.p, b.len));
    eye_buf_clear(&b);
}

/* ---- npy ---- */

static const float six[6] = {1, 2, 3, 4, 5, 6};

static enum eye_status open_npy(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_npy a;
    size_t bytes;
    volatile uint32_t sum = 0; /* every byte is read */
    EYE_TRY(eye_npy_open_bytes(&a, p, n, "f.npy", err));
    assert_true(eye_tensor_bytes(&a.t, &bytes));
    for (size_t i = 0; i < bytes; i++) sum += ((const uint8_t *)a.t.data)[i];
    (void)sum;
    eye_npy_close(&a);
    return EYE_OK;
}

static void npy_round_trip(void **state) {
    static const int64_t data[60] = {1, -2, 3};
    static const enum eye_dtype types[] = {EYE_F32, EYE_F16, EYE_F64, EYE_I8, EYE_U8, EYE_I16, EYE_I32, EYE_I64, EYE_BOOL};
    struct eye_err err = {0};
    for (size_t i = 0; i < EYE_COUNT(types); i++)
        for (int rank = 0; rank <= 5; rank++) {
            struct eye_tensor t = {data, types[i], rank, {2, 3, 1, 2, 2}};
            struct eye_npy a;
            size_t bytes;
            const char *path = eye_scratch_path("x.npy");
            assert_int_equal(eye_npy_write(path, &t, &err), EYE_OK);
            assert_int_equal(eye_npy_open(&a, path, &err), EYE_OK);
            assert_int_equal((uintptr_t)a.t.data % 64, 0); /* the header is a multiple of 64 */
            assert_true(a.t.dtype == t.dtype && a.t.rank == rank);
            assert_memory_equal(a.t.dims, t.dims, (size_t)rank * sizeof t.dims[0]);
            assert_true(eye_tensor_bytes(&t, &bytes));
            assert_memory_equal(a.t.data, data, bytes);
            eye_npy_close(&a);
        }
    struct eye_tensor bf = {data, EYE_BF16, 1, {2}};
    assert_int_equal(eye_npy_write(eye_scratch_path("y.npy"), &bf, &err), EYE_E_UNSUPPORTED);
}

static void bad_npys_are_refused(void **state) {
    static const struct {
        const char *dict;
        enum eye_status st;
    } rows[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n", EYE_OK},
        {"{\"shape\":(4,),\"fortran_order\":False,\"descr\":\"<f4\"}", EYE_OK},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", EYE_OK},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", EYE_E_UNSUPPORTED},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2), }", EYE_E_UNSUPPORTED},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (2, 1), }", EYE_E_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1), }", EYE_E_UNSUPPORTED},
        {"{'descr': '', 'fortran_order': False, 'shape': (1,), }", EYE_E_UNSUPPORTED},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", EYE_E_CORRUPT},
        {"{'descr': '<f4', 'fortran_order': False, }", EYE_E_CORRUPT},
        {"{'descr': '<f4', 'descr': '<f4', 'shape': (2, 2), }", EYE_E_CORRUPT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'x': 1}", EYE_E_CORRUPT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (5,)}", EYE_E_CORRUPT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", EYE_E_CORRUPT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", EYE_E_CORRUPT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905, 4)}", EYE_E_CORRUPT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 2)}", EYE_E_CORRUPT},
        {"{'descr': '<f4', 'fortran_order': Falsch, 'shape': (2, 2)}", EYE_E_CORRUPT},
        {"{'descr': '<f4", EYE_E_CORRUPT},
        {"", EYE_E_CORRUPT},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++)
        for (int shift = 0; shift < 4; shift++) { /* the data at any address */
            struct eye_err err = {0};
            struct eye_buf b;
            eye_buf_init(&b, NULL);
            eye_buf_add(&b, "\x93NUMPY\x01\x00", 8);
            eye_build_le(&b, strlen(rows[i].dict) + (size_t)shift, 2);
            eye_buf_printf(&b, "%s%*s", rows[i].dict, shift, "");
            eye_build_le(&b, 0x3f8000003f800000u, 8);
            eye_build_le(&b, 0, 8);
            expect_error(rows[i].dict, open_npy(b.p, b.len, NULL, &err), rows[i].st, &err, "");
            eye_buf_clear(&b);
        }
    struct eye_map m;
    struct eye_err err = {0};
    const char *path = eye_scratch_path("z.npy");
    assert_int_equal(eye_npy_write(path, &(struct eye_tensor){six, EYE_F32, 2, {2, 3}}, &err), EYE_OK);
    assert_int_equal(eye_map_open(&m, path, false, 0, &err), EYE_OK);
    assert_true(eye_refuses_truncations(open_npy, m.p, m.size));
    assert_true(eye_survives_mutations(open_npy, m.p, m.size, 13, 10000));
    assert_true(eye_survives_faults(open_npy, m.p, m.size));
    eye_map_close(&m);
}

static void safetensors_are_written(void **state) {
    static const float f[6] = {1, -2, 3, 0.5f, 0, 7};
    static const uint16_t h[3] = {0x3C00, 0xC000, 0};
    const struct eye_named_tensor t[] = {
        {"b \"quoted\"", {f, EYE_F32, 2, {2, 3}}}, {"a", {h, EYE_F16, 1, {3}}}, {"one", {f, EYE_F32, 0, {0}}}};
    const struct eye_metadata meta[] = {{"step", "12"}};
    struct eye_safetensors s;
    struct eye_err err = {0};
    const char *path = eye_scratch_path("w.safetensors");
    assert_int_equal(eye_safetensors_write(path, t, 3, meta, 1, NULL, &err), EYE_OK);
    assert_int_equal(eye_safetensors_open(&s, path, true, NULL, &err), EYE_OK);
    assert_int_equal(s.table.n, 3);
    for (size_t i = 0; i < 3; i++) {
        size_t bytes;
        const struct eye_entry *e = eye_table_find(&s.table, t[i].name);
        assert_non_null(e);
        assert_true(eye_tensor_bytes(&t[i].t, &bytes) && e->bytes == bytes && e->t.rank == t[i].t.rank);
        assert_memory_equal(e->t.data, t[i].t.data, bytes);
    }
    assert_int_equal(s.n_metadata, 1);
    assert_string_equal(s.metadata[0].value, "12");
    eye_safetensors_close(&s);
    const struct eye_named_tensor twice[] = {{"a", t[1].t}, {"a", t[1].t}}, block = {"q", {f, EYE_Q8_0, 1, {32}}};
    expect_error("twice", eye_safetensors_write(path, twice, 2, NULL, 0, NULL, &err), EYE_E_ARG, &err, "there twice");
    expect_error("block", eye_safetensors_write(path, &block, 1, NULL, 0, NULL, &err), EYE_E_UNSUPPORTED, &err, "q8_0");
    expect_error("disk", eye_safetensors_write("/dev/full", t, 3, NULL, 0, NULL, &err), EYE_E_IO, &err, "/dev/full");
}

static int teardown(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_are_read),
        cmocka_unit_test(bad_safetensors_are_refused),
        cmocka_unit_test(bad_header_lengths_are_refused),
        cmocka_unit_test(hostile_safetensors_do_no_harm),
        cmocka_unit_test(safetensors_are_written),
        cmocka_unit_test(npy_round_trip),
        cmocka_unit_test(bad_npys_are_refused),
    };
    return cmocka_run_group_tests_name("format", tests, NULL, teardown);
}
