/* Unit tests of room onnx: files written, read again, hostile ones refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "onnx/onnx.h"
#include "support/support.h"

#define expect_error(...) assert_true(eye_error_is(__VA_ARGS__))
#define NAMES(...) (const char *const[]){__VA_ARGS__}
#define DIMS(...) (const int64_t[]){__VA_ARGS__}

/* ---- a model with some of everything ---- */

#define N_ROWS 700 /* of 2 KB: more than one chunk */
#define ROW 512

static enum eye_status make_rows(void *ctx, int64_t row, int64_t n_rows, void *dst, struct eye_err *err) {
    int64_t *next = ctx;
    if (row != *next) return eye_fail(err, EYE_E_CANCELLED, "rows out of order");
    *next = row + n_rows == N_ROWS ? 0 : row + n_rows;
    for (int64_t i = 0; i < n_rows * ROW; i++) ((float *)dst)[i] = (float)(row * ROW + i);
    return EYE_OK;
}

static const float small[6] = {1, 2, 3, 4, 5, 6};
static float big[1000];

static void build(struct eye_onnx *m, int64_t *next, const char *graph) {
    assert_int_equal(eye_onnx_new(m, graph, 17, NULL, NULL), EYE_OK);
    EyeOnnx__GraphProto *g = m->model->graph;
    eye_onnx_add_input(m, g, "x", EYE_ONNX_F32, DIMS(1, -1, 6), 3, NAMES("", "tokens", ""));
    eye_onnx_add_output(m, g, "y", EYE_ONNX_F32, DIMS(1, -1, 6), 3, NULL);
    eye_onnx_add_value_info(m, g, "h", EYE_ONNX_F16, NULL, 0, NULL);
    eye_onnx_add_const(m, g, "small", EYE_ONNX_F32, DIMS(6), 1, small);
    eye_onnx_add_const(m, g, "scalar", EYE_ONNX_I64, NULL, 0, &(int64_t){-3});
    eye_onnx_add_const(m, g, "none", EYE_ONNX_I64, DIMS(0), 1, NULL);
    for (size_t i = 0; i < EYE_COUNT(big); i++) big[i] = (float)i / 8;
    eye_onnx_add_weight(m, g, "big", EYE_ONNX_F32, DIMS(10, 100), 2, big);
    eye_onnx_add_rows(m, g, "rows", EYE_ONNX_F32, DIMS(N_ROWS, ROW), 2, make_rows, next);
    EyeOnnx__NodeProto *n = eye_onnx_add_node(m, g, "Mul", "mul", NAMES("x", "small"), 2, NAMES("h"), 1);
    n = eye_onnx_add_node(m, g, "Odd", NULL, NAMES("h", "", "big"), 3, NAMES("y"), 1);
    eye_onnx_attr_int(m, n, "i", -7);
    eye_onnx_attr_float(m, n, "f", 0.5f);
    eye_onnx_attr_str(m, n, "s", "half");
    eye_onnx_attr_ints(m, n, "ints", DIMS(1, -2, 300), 3);
    eye_onnx_attr_floats(m, n, "floats", small, 2);
    eye_onnx_attr_tensor(m, n, "t", eye_onnx_add_const(m, NULL, "", EYE_ONNX_F32, DIMS(2), 1, small));
    assert_false(m->failed);
}

static const EyeOnnx__TensorProto *find(const struct eye_onnx *m, const char *name) {
    const EyeOnnx__GraphProto *g = m->model->graph;
    for (size_t i = 0; i < g->n_initializer; i++)
        if (strcmp(g->initializer[i]->name, name) == 0) return g->initializer[i];
    fail_msg("no initializer %s", name);
    return NULL;
}

static void check_weights(struct eye_onnx *m) {
    const void *p;
    size_t n;
    assert_int_equal(eye_onnx_bytes(m, find(m, "small"), &p, &n, NULL), EYE_OK);
    assert_int_equal(n, sizeof small);
    assert_memory_equal(p, small, n);
    assert_int_equal(eye_onnx_bytes(m, find(m, "none"), &p, &n, NULL), EYE_OK);
    assert_int_equal(n, 0);
    assert_int_equal(eye_onnx_bytes(m, find(m, "big"), &p, &n, NULL), EYE_OK);
    assert_int_equal(n, sizeof big);
    assert_memory_equal(p, big, n);
    assert_int_equal(eye_onnx_bytes(m, find(m, "rows"), &p, &n, NULL), EYE_OK);
    assert_int_equal(n, N_ROWS * ROW * sizeof(float));
    for (size_t i = 0; i < N_ROWS * ROW; i++) {
        float v;
        memcpy(&v, (const char *)p + i * sizeof v, sizeof v);
        if (v != (float)i) fail_msg("row data at %zu", i);
    }
}

static const char *entry(const EyeOnnx__TensorProto *t, const char *key) {
    for (size_t i = 0; i < t->n_external_data; i++)
        if (strcmp(t->external_data[i]->key, key) == 0) return t->external_data[i]->value;
    return "";
}

static void test_round_trip(void **state) {
    (void)state;
    struct eye_onnx m;
    int64_t next = 0;
    char path[256];
    snprintf(path, sizeof path, "%s", eye_scratch_path("inline.onnx"));
    build(&m, &next, "g");
    assert_int_equal(eye_onnx_write(&(struct eye_onnx_file){&m, path}, 1, NULL, NULL), EYE_OK);
    eye_onnx_clear(&m);
    assert_false(eye_path_exists(eye_scratch_path("inline.onnx.data")));
    assert_int_equal(eye_onnx_load(&m, path, NULL, NULL), EYE_OK);
    const EyeOnnx__GraphProto *g = m.model->graph;
    assert_int_equal(m.model->ir_version, 8);
    assert_int_equal(m.model->opset_import[0]->version, 17);
    assert_string_equal(g->name, "g");
    assert_string_equal(g->input[0]->name, "x");
    const EyeOnnx__TensorShapeProto *shape = g->input[0]->type->tensor_type->shape;
    assert_int_equal(shape->n_dim, 3);
    assert_int_equal(shape->dim[2]->dim_value, 6);
    assert_string_equal(shape->dim[1]->dim_param, "tokens");
    assert_int_equal(g->output[0]->type->tensor_type->shape->dim[1]->value_case, 0);
    const EyeOnnx__NodeProto *n = g->node[1];
    assert_string_equal(n->op_type, "Odd");
    assert_string_equal(n->input[1], "");
    assert_int_equal(eye_onnx_attr(n, "i")->i, -7);
    assert_true(eye_onnx_attr(n, "f")->f == 0.5f);
    assert_int_equal(eye_onnx_attr(n, "s")->s.len, 4);
    assert_int_equal(eye_onnx_attr(n, "ints")->ints[2], 300);
    assert_true(eye_onnx_attr(n, "floats")->floats[1] == 2);
    assert_null(eye_onnx_attr(n, "nothing"));
    check_weights(&m);
    eye_onnx_clear(&m);
    eye_onnx_clear(&m);
}

static void test_external(void **state) {
    (void)state;
    struct eye_onnx a, b;
    int64_t next_a = 0, next_b = 0;
    char path[2][256], data[256], moved[256];
    snprintf(path[0], sizeof path[0], "%s", eye_scratch_path("ar1.onnx"));
    snprintf(path[1], sizeof path[1], "%s", eye_scratch_path("ar32.onnx"));
    snprintf(data, sizeof data, "%s", eye_scratch_path("shared.data"));
    build(&a, &next_a, "a");
    build(&b, &next_b, "b");
    float other[400] = {1};
    eye_onnx_add_const(&a, a.model->graph, "mask", EYE_ONNX_F32, DIMS(400), 1, other);
    other[1] = 2; /* the same name and size, another value: two tensors */
    eye_onnx_add_const(&b, b.model->graph, "mask", EYE_ONNX_F32, DIMS(400), 1, other);
    const struct eye_onnx_file file[] = {{&a, path[0]}, {&b, path[1]}};
    assert_int_equal(eye_onnx_write(file, 2, &(struct eye_onnx_write_opts){.data_name = "shared.data"}, NULL), EYE_OK);
    eye_onnx_clear(&a);
    eye_onnx_clear(&b);
    uint64_t size;
    int64_t when;
    assert_true(eye_path_stamp(data, &size, &when));
    assert_true(size < 4096 * 4 + sizeof big + N_ROWS * ROW * 4 + 2 * sizeof other); /* weights once */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(eye_onnx_load(&a, path[i], NULL, NULL), EYE_OK);
        assert_true(eye_onnx_is_external(find(&a, "big")));
        assert_false(eye_onnx_is_external(find(&a, "small"))); /* below external_from */
        assert_string_equal(entry(find(&a, "big"), "location"), "shared.data");
        assert_int_equal(atol(entry(find(&a, "rows"), "offset")) % 4096, 0);
        assert_int_equal(eye_onnx_check_data(&a, NULL), EYE_OK);
        check_weights(&a);
        const void *p;
        size_t n;
        assert_int_equal(eye_onnx_bytes(&a, find(&a, "mask"), &p, &n, NULL), EYE_OK);
        assert_true(((const float *)p)[1] == (i ? 2 : 0));
        eye_onnx_clear(&a);
    }
    /* Written beside its data file, a model goes on using it; elsewhere it takes the weights along. */
    assert_int_equal(eye_onnx_load(&a, path[0], NULL, NULL), EYE_OK);
    snprintf(moved, sizeof moved, "%s", eye_scratch_path("copy.onnx"));
    assert_int_equal(eye_onnx_write(&(struct eye_onnx_file){&a, moved}, 1, NULL, NULL), EYE_OK);
    eye_onnx_clear(&a);
    assert_int_equal(eye_onnx_load(&a, moved, NULL, NULL), EYE_OK);
    assert_string_equal(entry(find(&a, "big"), "location"), "shared.data");
    snprintf(moved, sizeof moved, "%s", eye_scratch_path("inlined.onnx"));
    assert_int_equal(eye_onnx_write(&(struct eye_onnx_file){&a, moved}, 1,
                                    &(struct eye_onnx_write_opts){.place = EYE_ONNX_INLINE}, NULL), EYE_OK);
    eye_onnx_clear(&a);
    assert_int_equal(eye_onnx_load(&a, moved, NULL, NULL), EYE_OK);
    assert_false(eye_onnx_is_external(find(&a, "big")));
    check_weights(&a);
    eye_onnx_clear(&a);
}

static bool stop(void *ctx) { return --*(int *)ctx < 0; }

static void test_write_errors(void **state) {
    (void)state;
    struct eye_onnx a, b;
    struct eye_err err = {0};
    int64_t next = 0;
    char path[256];
    snprintf(path, sizeof path, "%s", eye_scratch_path("bad.onnx"));
    struct eye_onnx_file file[2] = {{&a, path}, {&b, "/elsewhere/b.onnx"}};
    build(&a, &next, "a");
    build(&b, &next, "b");
    expect_error("folders", eye_onnx_write(file, 2, NULL, &err), EYE_E_ARG, &err, "one folder");
    eye_onnx_clear(&b);
    struct eye_onnx_write_opts opts = {.data_name = "x/y"};
    expect_error("data name", eye_onnx_write(file, 1, &opts, &err), EYE_E_ARG, &err, "without a folder");
    eye_onnx_clear(&a);
    for (int n = 0; n < 3; n++) { /* cancelled in the data file and in the model */
        int left = n;
        build(&a, &next, "a");
        next = 0;
        opts = (struct eye_onnx_write_opts){.place = n == 1 ? EYE_ONNX_INLINE : EYE_ONNX_EXTERNAL, .cancel = stop,
                                            .ctx = &left};
        expect_error("cancel", eye_onnx_write(file, 1, &opts, &err), EYE_E_CANCELLED, &err, "cancelled");
        eye_onnx_clear(&a);
        assert_false(eye_path_exists(path));
    }
    build(&a, &next, "a");
    eye_onnx_add_rows(&a, a.model->graph, "huge", EYE_ONNX_F32, DIMS(1 << 20, 1 << 10), 2, make_rows, &next);
    opts = (struct eye_onnx_write_opts){.place = EYE_ONNX_INLINE};
    expect_error("2 GiB", eye_onnx_write(file, 1, &opts, &err), EYE_E_LIMIT, &err, "more than 2 GiB");
    eye_onnx_clear(&a);
    build(&a, &next, "a");
    build(&b, &next, "b");
    file[1].path = path;
    eye_onnx_add_rows(&a, a.model->graph, "w", EYE_ONNX_F32, DIMS(1 << 10, 1 << 10), 2, make_rows, &next);
    eye_onnx_add_rows(&b, b.model->graph, "w", EYE_ONNX_F16, DIMS(1 << 10, 1 << 10), 2, make_rows, &next);
    expect_error("not one weight", eye_onnx_write(file, 2, NULL, &err), EYE_E_ARG, &err, "not one weight");
    eye_onnx_clear(&a);
    eye_onnx_clear(&b);
    expect_error("opset", eye_onnx_new(&a, "g", 6, NULL, &err), EYE_E_ARG, &err, "7 to 24");
    assert_int_equal(eye_onnx_new(&a, "g", 17, NULL, NULL), EYE_OK);
    eye_onnx_add_const(&a, a.model->graph, "x", EYE_ONNX_F32, DIMS(-1), 1, NULL); /* impossible: remembered */
    assert_null(eye_onnx_add_node(&a, a.model->graph, "Add", NULL, NULL, 0, NULL, 0));
    expect_error("failed", eye_onnx_write(file, 1, NULL, &err), EYE_E_NOMEM, &err, "out of memory");
    eye_onnx_clear(&a);
    assert_false(eye_path_exists(path));
}

/* ---- hostile bytes ---- */

static void varint(struct eye_buf *b, uint64_t v) {
    for (; v >= 0x80; v >>= 7) eye_buf_add(b, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
    eye_buf_add(b, &(uint8_t){(uint8_t)v}, 1);
}
static void key(struct eye_buf *b, unsigned field, unsigned wire) { varint(b, field << 3 | wire); }
static void span(struct eye_buf *b, unsigned field, const void *p, size_t n) {
    key(b, field, 2);
    varint(b, n);
    eye_buf_add(b, p, n);
}
static void text(struct eye_buf *b, unsigned field, const char *s) { span(b, field, s, strlen(s)); }
static void move(struct eye_buf *b, unsigned field, struct eye_buf *inner) {
    span(b, field, inner->p ? inner->p : "", inner->len);
    eye_buf_clear(inner);
}

/* ModelProto { opset_import { version 17 } graph { initializer { tensor } } } */
static void wrap(struct eye_buf *b, struct eye_buf *tensor) {
    struct eye_buf graph, set;
    eye_buf_init(&graph, NULL);
    eye_buf_init(&set, NULL);
    move(&graph, 5, tensor);
    move(b, 7, &graph);
    key(&set, 2, 0);
    varint(&set, 17);
    move(b, 8, &set);
}

static enum eye_status open_bytes(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_onnx m;
    EYE_TRY(eye_onnx_load_bytes(&m, p, n, "f.onnx", alloc, err));
    enum eye_status st = EYE_OK;
    volatile uint32_t sink = 0;
    for (size_t i = 0; st == EYE_OK && i < m.model->graph->n_initializer; i++) {
        const void *data;
        size_t bytes;
        const EyeOnnx__TensorProto *t = m.model->graph->initializer[i];
        if (!eye_onnx_type_bits(t->data_type)) continue;
        st = eye_onnx_bytes(&m, t, &data, &bytes, err);
        for (size_t k = 0; st == EYE_OK && k < bytes; k++) sink = sink + ((const uint8_t *)data)[k];
    }
    eye_onnx_clear(&m);
    return st;
}

static void external(struct eye_buf *t, const char *k, const char *v) {
    struct eye_buf e;
    eye_buf_init(&e, NULL);
    text(&e, 1, k);
    text(&e, 2, v);
    move(t, 13, &e);
}

/* A tensor f32 [4] with its bytes at `location` from `offset` on. */
static void external_tensor(struct eye_buf *t, const char *location, const char *offset, const char *length) {
    eye_buf_init(t, NULL);
    key(t, 1, 0), varint(t, 4);
    key(t, 2, 0), varint(t, EYE_ONNX_F32);
    text(t, 8, "w");
    if (location) external(t, "location", location);
    if (offset) external(t, "offset", offset);
    if (length) external(t, "length", length);
    key(t, 14, 0), varint(t, 1);
}

static void refuse(const char *name, struct eye_buf *b, enum eye_status want, const char *says) {
    struct eye_err err = {0};
    expect_error(name, open_bytes(b->p ? b->p : "", b->len, NULL, &err), want, &err, says);
    eye_buf_clear(b);
}

static void test_wire_errors(void **state) {
    (void)state;
    struct eye_buf b, t;
    static const struct {
        const char *name, *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        {"empty", "", 0, "no graph"},
        {"text", "hello, world", 12, "wire type"},
        {"field 0", "\x02\x00", 2, "no field has this number"},
        {"endless key", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "does not end"},
        {"endless number", "\x08\xff\xff", 3, "a number does not end"},
        {"group", "\x0b\x0c", 2, "a wire type that ONNX does not use"},
        {"length past the end", "\x3a\x05\x0a", 3, "past the message's end"},
        {"huge length", "\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "past the message's end"},
        {"number as span", "\x0a\x01\x08", 3, "ModelProto.ir_version: the field has another wire type"},
        {"span as number", "\x38\x01", 2, "ModelProto.graph: the field has another wire type"},
        {"short fixed64", "\x79\x01", 2, "ends within a number"},
        {"zero in text", "\x12\x03" "a\0b", 5, "ModelProto.producer_name: text with a zero byte"},
        {"no opset", "\x3a\x00", 2, "operator set"},
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_err err = {0};
        expect_error(cases[i].name, open_bytes(cases[i].bytes, cases[i].n, NULL, &err), EYE_E_CORRUPT, &err, cases[i].says);
    }
    eye_buf_init(&b, NULL);
    eye_buf_init(&t, NULL);
    for (int i = 0; i < 100; i++) { /* graph { node { attribute { g { … } } } } */
        struct eye_buf outer;
        eye_buf_init(&outer, NULL);
        move(&outer, i % 3 == 0 ? 1 : i % 3 == 2 ? 5 : 6, &t);
        t = outer;
    }
    move(&b, 7, &t);
    refuse("deep", &b, EYE_E_LIMIT, "nested deeper than 64");
    for (int i = 0; i < 1 << 20; i++) eye_buf_add(&t, "\x0a", 2); /* a million nodes of 2 bytes */
    move(&b, 7, &t);
    refuse("memory", &b, EYE_E_LIMIT, "more than 16 times");
}

static void test_tensor_errors(void **state) {
    (void)state;
    struct eye_buf b, t;
    static const struct {
        const char *name, *location, *offset, *length, *says;
    } cases[] = {
        {"up", "../w", NULL, NULL, "not a path within"},       {"root", "/etc/passwd", NULL, NULL, "not a path within"},
        {"sly", "a/../../w", NULL, NULL, "not a path within"}, {"drive", "c:w", NULL, NULL, "not a path within"},
        {"backslash", "..\\w", NULL, NULL, "not a path within"}, {"empty", "", NULL, NULL, "not a path within"},
        {"double", "a//w", NULL, NULL, "not a path within"},   {"nowhere", NULL, NULL, NULL, "without a \"location\""},
        {"offset", "w", "-1", NULL, "\"offset\" is no decimal"}, {"offset", "w", "0x10", NULL, "\"offset\" is no decimal"},
        {"offset", "w", "99999999999999999999", NULL, "\"offset\" is no decimal"},
        {"length", "w", "0", "", "\"length\" is no decimal"},  {"length", "w", "0", "15", "16 bytes by its shape, 15"},
    };
    eye_buf_init(&b, NULL);
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        external_tensor(&t, cases[i].location, cases[i].offset, cases[i].length);
        wrap(&b, &t);
        refuse(cases[i].name, &b, EYE_E_CORRUPT, cases[i].says);
    }
    external_tensor(&t, "w", NULL, NULL);
    wrap(&b, &t);
    refuse("bytes have no folder", &b, EYE_E_IO, "not read from a file");
    key(&t, 1, 0), varint(&t, (uint64_t)-1);
    wrap(&b, &t);
    refuse("negative", &b, EYE_E_CORRUPT, "negative or too large");
    for (int i = 0; i < 3; i++) key(&t, 1, 0), varint(&t, (uint64_t)1 << 40);
    wrap(&b, &t);
    refuse("too large", &b, EYE_E_CORRUPT, "negative or too large");
    key(&t, 1, 0), varint(&t, 3), key(&t, 2, 0), varint(&t, EYE_ONNX_F16), text(&t, 9, "12345");
    wrap(&b, &t);
    refuse("raw bytes", &b, EYE_E_CORRUPT, "6 bytes by its shape, 5 in the file");
    key(&t, 1, 0), varint(&t, 3), key(&t, 2, 0), varint(&t, EYE_ONNX_F32), text(&t, 4, "12345678");
    wrap(&b, &t);
    refuse("typed data", &b, EYE_E_CORRUPT, "another number of elements");
    key(&t, 1, 0), varint(&t, 3), key(&t, 2, 0), varint(&t, EYE_ONNX_F32), text(&t, 4, "12345");
    wrap(&b, &t);
    refuse("half a float", &b, EYE_E_CORRUPT, "no whole number of elements");
}

static void test_data_files(void **state) {
    (void)state;
    struct eye_onnx m;
    struct eye_err err = {0};
    struct eye_buf b, t;
    char path[256], data[256], link[256];
    static const struct {
        const char *location, *offset;
        enum eye_status st;
        const char *says;
    } cases[] = {
        {"w.bin", "0", EYE_OK, ""},
        {"./w.bin", "16", EYE_OK, ""},
        {"w.bin", "17", EYE_E_CORRUPT, "bytes 17 to 17+16 of \"w.bin\", which has 32"},
        {"w.bin", "18446744073709551615", EYE_E_CORRUPT, "(truncated?)"},
        {"absent.bin", "0", EYE_E_IO, "absent.bin: not there; \"w\""},
        {"link.bin", "0", EYE_E_UNSUPPORTED, "leads out of the model's folder"},
        {"inner.bin", "0", EYE_OK, ""},
    };
    snprintf(data, sizeof data, "%s", eye_scratch_write("w.bin", "0123456789abcdef0123456789abcdef", 32));
    snprintf(link, sizeof link, "%s", eye_scratch_path("link.bin"));
    assert_int_equal(symlink("/etc/passwd", link), 0);
    assert_int_equal(symlink("w.bin", eye_scratch_path("inner.bin")), 0);
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        eye_buf_init(&b, NULL);
        external_tensor(&t, cases[i].location, cases[i].offset, "16");
        wrap(&b, &t);
        snprintf(path, sizeof path, "%s", eye_scratch_write("ext.onnx", b.p, b.len));
        eye_buf_clear(&b);
        assert_int_equal(eye_onnx_load(&m, path, NULL, &err), EYE_OK);
        expect_error(cases[i].location, eye_onnx_check_data(&m, &err), cases[i].st, &err, cases[i].says);
        eye_onnx_clear(&m);
    }
    unlink(link);
}

/* Every kind of data a tensor can have. */
static void test_typed_data(void **state) {
    (void)state;
    struct eye_onnx m;
    struct eye_buf b, t;
    static const struct {
        int type;
        unsigned field;
        const char *packed;
        size_t n;
        const char *bytes;
        size_t n_bytes;
    } cases[] = {
        {EYE_ONNX_F32, 4, "\0\0\x80\x3f\0\0\0\x40", 8, "\0\0\x80\x3f\0\0\0\x40", 8},
        {EYE_ONNX_F64, 10, "\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\x40", 16, "\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\x40", 16},
        {EYE_ONNX_I32, 5, "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "\1\0\0\0\xff\xff\xff\xff", 8},
        {EYE_ONNX_I64, 7, "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11,
         "\1\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 16},
        {EYE_ONNX_F16, 5, "\x80\x78\x01", 3, "\0\x3c\1\0", 4},
        {EYE_ONNX_U8, 5, "\xff\x01\x02", 3, "\xff\2", 2},
        {EYE_ONNX_BOOL, 5, "\0\1", 2, "\0\1", 2},
        {EYE_ONNX_U32, 11, "\xff\xff\xff\xff\x0f\x01", 6, "\xff\xff\xff\xff\1\0\0\0", 8},
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        const void *p;
        size_t n;
        eye_buf_init(&b, NULL);
        eye_buf_init(&t, NULL);
        key(&t, 1, 0), varint(&t, 2), key(&t, 2, 0), varint(&t, (uint64_t)cases[i].type);
        span(&t, cases[i].field, cases[i].packed, cases[i].n);
        wrap(&b, &t);
        assert_int_equal(eye_onnx_load_bytes(&m, b.p, b.len, "f.onnx", NULL, NULL), EYE_OK);
        assert_int_equal(eye_onnx_bytes(&m, m.model->graph->initializer[0], &p, &n, NULL), EYE_OK);
        assert_int_equal(n, cases[i].n_bytes);
        assert_memory_equal(p, cases[i].bytes, n);
        eye_onnx_clear(&m);
        eye_buf_clear(&b);
    }
}

/* What we read equals what protobuf-c reads, unknown fields and all. */
static void test_against_protobuf_c(void **state) {
    (void)state;
    struct eye_onnx m;
    struct eye_map map;
    int64_t next = 0;
    char path[256];
    snprintf(path, sizeof path, "%s", eye_scratch_path("same.onnx"));
    build(&m, &next, "g");
    assert_int_equal(eye_onnx_write(&(struct eye_onnx_file){&m, path}, 1, NULL, NULL), EYE_OK);
    eye_onnx_clear(&m);
    assert_int_equal(eye_map_open(&map, path, true, 0, NULL), EYE_OK);
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    eye_buf_add(&b, map.p, map.size);
    eye_map_close(&map);
    text(&b, 1000, "not of this schema");
    key(&b, 1001, 0), varint(&b, 77);
    key(&b, 1002, 5), eye_buf_add(&b, "abcd", 4);
    EyeOnnx__ModelProto *theirs = eye_onnx__model_proto__unpack(NULL, b.len, (const uint8_t *)b.p);
    assert_non_null(theirs);
    assert_int_equal(eye_onnx_load_bytes(&m, b.p, b.len, "f.onnx", NULL, NULL), EYE_OK);
    size_t n = eye_onnx__model_proto__get_packed_size(theirs);
    assert_int_equal(eye_onnx__model_proto__get_packed_size(m.model), n);
    uint8_t *p = test_malloc(n), *q = test_malloc(n);
    eye_onnx__model_proto__pack(theirs, p);
    eye_onnx__model_proto__pack(m.model, q);
    assert_memory_equal(p, q, n);
    assert_memory_equal(p, b.p, n);
    test_free(p);
    test_free(q);
    eye_onnx__model_proto__free_unpacked(theirs, NULL);
    eye_onnx_clear(&m);
    eye_buf_clear(&b);
}

static void small_file(struct eye_buf *b) {
    struct eye_onnx m;
    eye_buf_init(b, NULL);
    assert_int_equal(eye_onnx_new(&m, "g", 17, NULL, NULL), EYE_OK);
    EyeOnnx__GraphProto *g = m.model->graph;
    eye_onnx_add_input(&m, g, "x", EYE_ONNX_F32, DIMS(1, -1), 2, NAMES("", "n"));
    eye_onnx_add_const(&m, g, "w", EYE_ONNX_F32, DIMS(6), 1, small);
    EyeOnnx__NodeProto *n = eye_onnx_add_node(&m, g, "Mul", "mul", NAMES("x", "w"), 2, NAMES("y"), 1);
    eye_onnx_attr_ints(&m, n, "axes", DIMS(1, -2, 300), 3);
    eye_onnx_attr_str(&m, n, "mode", "half");
    size_t size = eye_onnx__model_proto__get_packed_size(m.model);
    uint8_t *p = test_malloc(size);
    eye_onnx__model_proto__pack(m.model, p);
    eye_buf_add(b, p, size);
    test_free(p);
    eye_onnx_clear(&m);
}

static void test_hostile(void **state) {
    (void)state;
    struct eye_buf b;
    small_file(&b);
    assert_true(eye_refuses_truncations(open_bytes, b.p, b.len));
    assert_true(eye_survives_mutations(open_bytes, b.p, b.len, 7, 20000));
    assert_true(eye_survives_faults(open_bytes, b.p, b.len));
    eye_buf_clear(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_external), cmocka_unit_test(test_write_errors),
        cmocka_unit_test(test_wire_errors), cmocka_unit_test(test_tensor_errors), cmocka_unit_test(test_data_files),
        cmocka_unit_test(test_typed_data), cmocka_unit_test(test_against_protobuf_c), cmocka_unit_test(test_hostile),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    eye_scratch_remove();
    return failed;
}
