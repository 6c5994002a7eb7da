/* Unit tests of format/torch_zip and format/pickle: files that torch.save wrote (test/reference/make_torch_fixtures.py), files it
 * wrote that must be refused, pickles made by hand, and hostile bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/sys.h"
#include "format/pickle.h"
#include "format/torch_zip.h"
#include "support/support.h"

static const char *fixture(const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/golden/torch/%s", TEST_DATA, name);
    return path;
}

static struct eye_safetensors open_ok(const char *name, bool use_mmap) {
    struct eye_safetensors s;
    struct eye_err err = {0};
    if (eye_torch_open(&s, fixture(name), use_mmap, NULL, &err) != EYE_OK) fail_msg("%s", err.text);
    return s;
}

static const struct eye_tensor *tensor(const struct eye_safetensors *s, const char *name) {
    const struct eye_entry *e = eye_table_find(&s->table, name);
    if (!e) fail_msg("no \"%s\"", name);
    return &e->t;
}

static void all_kinds_of_tensors_are_read(void **state) {
    static const struct { const char *name; enum eye_dtype dtype; } types[] = {
        {"float64", EYE_F64}, {"float16", EYE_F16}, {"bfloat16", EYE_BF16}, {"int64", EYE_I64}, {"int32", EYE_I32},
        {"int16", EYE_I16}, {"int8", EYE_I8}, {"uint8", EYE_U8}, {"bool", EYE_BOOL}};
    for (int map = 0; map < 2; map++) {
        struct eye_safetensors s = open_ok("plain.pth", map);
        assert_int_equal(s.table.n, 7 + EYE_COUNT(types)); /* numbers, texts and lists beside them are ignored */
        const struct eye_tensor *w = tensor(&s, "w"), *rows = tensor(&s, "rows");
        assert_true(w->dtype == EYE_F32 && w->rank == 2 && w->dims[0] == 3 && w->dims[1] == 4);
        for (int i = 0; i < 12; i++) assert_true(((const float *)w->data)[i] == (float)i);
        assert_true(rows->rank == 2 && rows->dims[0] == 2 && (const float *)rows->data == (const float *)w->data + 4);
        assert_ptr_equal(tensor(&s, "tied")->data, w->data);
        assert_true(*(const float *)tensor(&s, "parameter")->data == 1);
        assert_true(tensor(&s, "scalar")->rank == 0 && *(const float *)tensor(&s, "scalar")->data == 2.5f);
        assert_true(tensor(&s, "empty")->dims[0] == 0 && tensor(&s, "empty")->data);
        assert_true(tensor(&s, "one_column")->dims[1] == 1);
        for (size_t i = 0; i < EYE_COUNT(types); i++) assert_int_equal(tensor(&s, types[i].name)->dtype, types[i].dtype);
        for (int i = 0; i < 5; i++) assert_int_equal(((const int16_t *)tensor(&s, "int16")->data)[i], 1);
        eye_safetensors_close(&s);
    }
    struct eye_safetensors s = open_ok("module.pth", true);
    assert_int_equal(s.table.n, 5);
    assert_true(((const float *)tensor(&s, "tied.weight")->data)[5] == 5 && tensor(&s, "steps")->dtype == EYE_I64);
    eye_safetensors_close(&s);
    s = open_ok("lightning.ckpt", true);
    assert_true(s.table.n == 1 && tensor(&s, "a")->dims[0] == 2);
    eye_safetensors_close(&s);
}

static void what_is_no_plain_state_dict_is_refused(void **state) {
    static const struct { const char *file; enum eye_status st; const char *says; } rows[] = {
        {"runs_code.bad", EYE_E_UNSUPPORTED, "names posix.system"},
        {"other_class.bad", EYE_E_UNSUPPORTED, "names pathlib.PurePosixPath"},
        {"complex.bad", EYE_E_UNSUPPORTED, "names torch.ComplexFloatStorage"},
        {"strided.bad", EYE_E_UNSUPPORTED, "\"w\" is a strided view"},
        {"columns.bad", EYE_E_UNSUPPORTED, "\"w\" is a strided view"},
        {"six_dims.bad", EYE_E_UNSUPPORTED, "6 dimensions"},
        {"old_format.bad", EYE_E_UNSUPPORTED, "before 1.6"},
        {"list.bad", EYE_E_CORRUPT, "expected a dict, got a list"},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        struct eye_safetensors s;
        struct eye_err err = {0};
        assert_true(eye_error_is(rows[i].file, eye_torch_open(&s, fixture(rows[i].file), true, NULL, &err), rows[i].st, &err,
                                 rows[i].says));
    }
    assert_false(eye_path_exists("eyelet-was-here"));
}

/* ---- pickles by hand ---- */

#define PICKLE(text) text, sizeof text - 1
#define STORAGE "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" "0X\3\0\0\0cpuK\6tQ"
#define TENSOR(size, stride) "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE "K\0" size stride "tR"

static void bad_pickles_are_refused(void **state) {
    static const struct { const char *p; size_t n; enum eye_status st; const char *says; } rows[] = {
        {PICKLE("\x80\2}X\1\0\0\0a" TENSOR("K\2K\3\x86", "K\3K\1\x86") "s."), EYE_OK, ""},
        {PICKLE(""), EYE_E_CORRUPT, "ends before its end"},
        {PICKLE("\x80\2}"), EYE_E_CORRUPT, "ends before its end"},
        {PICKLE("\x80\4}."), EYE_E_UNSUPPORTED, "protocol 4"},
        {PICKLE("}}."), EYE_E_CORRUPT, "one value"},
        {PICKLE("."), EYE_E_CORRUPT, "one value"},
        {PICKLE("K"), EYE_E_CORRUPT, "within an operand"},
        {PICKLE("X\377\377\377\377a"), EYE_E_CORRUPT, "within an operand"},
        {PICKLE("i"), EYE_E_UNSUPPORTED, "opcode 0x69 at byte 0"},
        {PICKLE("cos\nsystem\n."), EYE_E_UNSUPPORTED, "names os.system"},
        {PICKLE("ctorch\nFloat"), EYE_E_CORRUPT, "no end"},
        {PICKLE("R"), EYE_E_CORRUPT, "stack is empty"},
        {PICKLE("K\1)R"), EYE_E_CORRUPT, "expected a function or class, got an integer"},
        {PICKLE("ctorch\nFloatStorage\n)R."), EYE_E_CORRUPT, "storage type is called"},
        {PICKLE("\x85"), EYE_E_CORRUPT, "too short"},
        {PICKLE("t"), EYE_E_CORRUPT, "mark is missing"},
        {PICKLE("K\1u"), EYE_E_CORRUPT, "mark is missing"},
        {PICKLE("(K\1K\1u"), EYE_E_CORRUPT, "without their container"},
        {PICKLE("}(K\1u"), EYE_E_CORRUPT, "without its value"},
        {PICKLE("](K\1K\1u"), EYE_E_CORRUPT, "without their container"},
        {PICKLE("s"), EYE_E_CORRUPT, "without their container"},
        {PICKLE("h\0"), EYE_E_CORRUPT, "unknown memo"},
        {PICKLE("}r\1\0\0\0"), EYE_E_CORRUPT, "out of order"},
        {PICKLE("q\0"), EYE_E_CORRUPT, "nothing to remember"},
        {PICKLE("K\1}b"), EYE_E_CORRUPT, "no dict"},
        {PICKLE("K\1K\2\x86Q"), EYE_E_CORRUPT, "no storage"},
        {PICKLE("}K\1" TENSOR("K\6\x85", "K\1\x85") "s."), EYE_E_CORRUPT, "name is no string"},
        {PICKLE(TENSOR("J\377\377\377\377\x85", "K\1\x85") "."), EYE_E_CORRUPT, "no number >= 0"},
        {PICKLE(TENSOR("K\6", "K\1\x85") "."), EYE_E_CORRUPT, "no tuple"},
        {PICKLE(TENSOR("K\6\x85", "K\3K\1\x86") "."), EYE_E_CORRUPT, "strides than sizes"},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        char name[24];
        struct eye_arena arena;
        struct eye_err err = {0};
        const struct eye_pickle_tensor *t;
        size_t n;
        snprintf(name, sizeof name, "pickle %zu", i);
        eye_arena_init(&arena, NULL);
        enum eye_status st = eye_pickle_read(&t, &n, (const uint8_t *)rows[i].p, rows[i].n, "p", &arena, &err);
        if (rows[i].st == EYE_OK) assert_true(st == EYE_OK && n == 1 && t->rank == 2 && t->dims[1] == 3 && t->storage_elems == 6);
        else assert_true(eye_error_is(name, st, rows[i].st, &err, rows[i].says));
        eye_arena_clear(&arena);
    }
}

static void a_dict_in_itself_ends(void **state) {
    static const char p[] = "}q\0X\12\0\0\0state_dicth\0s.";
    struct eye_arena arena;
    struct eye_err err = {0};
    const struct eye_pickle_tensor *t;
    size_t n;
    eye_arena_init(&arena, NULL);
    assert_int_equal(eye_pickle_read(&t, &n, (const uint8_t *)p, sizeof p - 1, "p", &arena, &err), EYE_OK);
    assert_int_equal(n, 0);
    eye_arena_clear(&arena);
}

/* ---- hostile bytes ---- */

static enum eye_status open_bytes(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_safetensors s;
    EYE_TRY(eye_torch_open_bytes(&s, p, n, "test", alloc, err));
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < s.table.n; i++)
        for (size_t k = 0; k < s.table.entry[i].bytes; k++) sum = (uint8_t)(sum + ((const uint8_t *)s.table.entry[i].t.data)[k]);
    eye_safetensors_close(&s);
    return EYE_OK;
}

static void hostile_bytes_are_survived(void **state) {
    static const char *const files[] = {"plain.pth", "module.pth"};
    for (size_t i = 0; i < EYE_COUNT(files); i++) {
        struct eye_map m;
        struct eye_err err = {0};
        assert_int_equal(eye_map_open(&m, fixture(files[i]), false, 0, &err), EYE_OK);
        assert_true(eye_refuses_truncations(open_bytes, m.p, m.size));
        assert_true(eye_survives_mutations(open_bytes, m.p, m.size, 5 + i, 4000));
        assert_true(eye_survives_faults(open_bytes, m.p, m.size));
        eye_map_close(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds_of_tensors_are_read),
        cmocka_unit_test(what_is_no_plain_state_dict_is_refused),
        cmocka_unit_test(bad_pickles_are_refused),
        cmocka_unit_test(a_dict_in_itself_ends),
        cmocka_unit_test(hostile_bytes_are_survived),
    };
    return cmocka_run_group_tests_name("torch", tests, NULL, NULL);
}
