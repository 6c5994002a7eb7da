/* Int8 towers as ONNX, without ONNX Runtime (test/reference/onnx_qdq.py has that): a checkpoint is calibrated and converted;
 * what is exported of it must hold the file's bytes, scales and ranges, in the places where the pattern wants them; and what must
 * be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "export/qdq.h"
#include "eyelet/convert.h"
#include "eyelet/onnx.h"
#include "format/checkpoint.h"
#include "format/json.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

enum { WIDTH = 120, HEIGHT = 90, PICTURE_BYTES = WIDTH * HEIGHT * 3, N_PICTURES = 5 };
static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static const char *pictures(void) {
    static char dir[512];
    static uint8_t rgb[PICTURE_BYTES];
    if (dir[0]) return dir;
    snprintf(dir, sizeof dir, "%s/pictures", eye_scratch_dir());
    assert_int_equal(mkdir(dir, 0700), 0);
    for (int i = 0; i < N_PICTURES; i++) {
        struct eye_buf b;
        char name[64];
        for (int k = 0; k < PICTURE_BYTES; k++) {
            int c = k % 3, x = k / 3 % WIDTH, y = k / 3 / WIDTH;
            rgb[k] = (uint8_t)(128 + (x * (7 + i) * (c + 1) + y * (5 * i - 11)) % 97 - 30 * c + (y / (i + 2) % 2) * 40);
        }
        eye_buf_init(&b, NULL);
        eye_buf_printf(&b, "P6 %d %d 255\n", WIDTH, HEIGHT);
        eye_buf_add(&b, rgb, sizeof rgb);
        snprintf(name, sizeof name, "pictures/%d.ppm", i);
        eye_scratch_write(name, b.p, b.len);
        eye_buf_clear(&b);
    }
    return dir;
}

static const char *folder(const char *name) {
    static char path[640], from[640];
    snprintf(path, sizeof path, "%s/%s", eye_scratch_dir(), strcmp(name, "fastvlm") == 0 ? name : strrchr(name, '/') + 1);
    if (eye_path_is_dir(path)) return path;
    if (strcmp(name, "fastvlm") == 0) {
        struct eye_mk_opts o = {.size = eye_mk_size_find("tiny"), .format = EYE_MK_APPLE_TRAIN, .dtype = EYE_F32, .out = path};
        o.seed = o.size->seed;
        ok(eye_make_checkpoint(&o, &err));
        return path;
    }
    snprintf(from, sizeof from, "%s/golden/%s", TEST_DATA, name);
    ok(eye_make_listed(from, 300, path, &err));
    return path;
}

static char file_path[1024], out_dir[1024];

/* Of model `name` an int8 file in file_path. */
static void convert(const char *name, double snr_db, struct eye_convert_report *r) {
    struct eye_convert_opts o = {.vision_type = EYE_WEIGHT_INT8, .calibration = pictures(), .vision_snr_db = snr_db};
    snprintf(file_path, sizeof file_path, "%s/int8.gguf", eye_scratch_dir());
    ok(eye_convert(folder(name), file_path, &o, r, &err));
}

static void export(enum eye_export_int8 form, enum eye_target target, struct eye_onnx *m, struct eye_export_report *r) {
    char path[2048];
    struct eye_export_opts o = {.graphs = EYE_EXPORT_VISION, .int8 = form, .target = target};
    snprintf(out_dir, sizeof out_dir, "%s/onnx", eye_scratch_dir());
    ok(eye_export_onnx(file_path, out_dir, &o, r, &err));
    assert_int_equal(r->n_files, 1);
    snprintf(path, sizeof path, "%s/%s", out_dir, r->file[0].name);
    ok(eye_onnx_load(m, path, NULL, &err));
    ok(eye_onnx_check_data(m, &err));
}

/* ---- looking into a graph ---- */

static const EyeOnnx__NodeProto *maker(const struct eye_onnx *m, const char *tensor) {
    const EyeOnnx__GraphProto *g = m->model->graph;
    for (size_t i = 0; i < g->n_node; i++)
        if (strcmp(g->node[i]->output[0], tensor) == 0) return g->node[i];
    return NULL;
}

static bool is_op(const EyeOnnx__NodeProto *n, const char *op) { return n && strcmp(n->op_type, op) == 0; }

static const void *initializer(struct eye_onnx *m, const char *name, int32_t type, size_t *n_bytes) {
    const EyeOnnx__GraphProto *g = m->model->graph;
    const void *p = NULL;
    for (size_t i = 0; i < g->n_initializer; i++) {
        if (strcmp(g->initializer[i]->name, name) != 0) continue;
        assert_int_equal(g->initializer[i]->data_type, type);
        ok(eye_onnx_bytes(m, g->initializer[i], &p, n_bytes, &err));
    }
    if (!p) fail_msg("no initializer %s", name);
    return p;
}

static bool is_known(const struct eye_onnx *m, const char *tensor) {
    const EyeOnnx__GraphProto *g = m->model->graph;
    for (size_t i = 0; i < g->n_input; i++)
        if (strcmp(g->input[i]->name, tensor) == 0) return true;
    for (size_t i = 0; i < g->n_initializer; i++)
        if (strcmp(g->initializer[i]->name, tensor) == 0) return true;
    return maker(m, tensor) != NULL;
}

static void assert_sound(const struct eye_onnx *m) {
    const EyeOnnx__GraphProto *g = m->model->graph;
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_input; k++)
            if (!is_known(m, g->node[i]->input[k]))
                fail_msg("%s reads %s, which is nowhere", g->node[i]->name, g->node[i]->input[k]);
}

/* ---- the file's own numbers ---- */

struct truth {
    struct eye_checkpoint c;
    const struct eye_gguf_kv *weight, *scale, *zero, *wide;
};

static void open_truth(struct truth *t) {
    ok(eye_checkpoint_open(&t->c, file_path, NULL, NULL, &err));
    t->weight = eye_gguf_find(&t->c.gguf, EYE_INT8_KEY_WEIGHT);
    t->scale = eye_gguf_find(&t->c.gguf, EYE_INT8_KEY_SCALE);
    t->zero = eye_gguf_find(&t->c.gguf, EYE_INT8_KEY_ZERO);
    t->wide = eye_gguf_find(&t->c.gguf, EYE_INT8_KEY_WIDE);
    assert_true(t->weight && t->scale && t->zero && t->wide);
}

/* Index of the weight that a tensor "NAME.i8", "NAME.i8.T", "NAME.T" or "NAME.r4" is of. */
static size_t find(const struct truth *t, const char *tensor) {
    for (size_t i = 0; i < t->weight->n; i++) {
        const struct eye_str *w = &t->weight->string[i];
        if (strncmp(w->p, tensor, w->len) == 0 && (tensor[w->len] == '.' || !tensor[w->len])) return i;
    }
    fail_msg("%s is no int8 weight", tensor);
    return 0;
}

static const struct eye_tensor *tensor(const struct truth *t, size_t i, const char *ending) {
    char name[160];
    snprintf(name, sizeof name, "%.*s%s", (int)t->weight->string[i].len, t->weight->string[i].p, ending);
    const struct eye_tensor *x = eye_checkpoint_find(&t->c, name);
    if (!x) fail_msg("the file has no %s", name);
    return x;
}

/* ---- QDQ ---- */

/* q [n]: the weight's bytes as they are, or turned round. */
static void assert_weight(const struct eye_tensor *w, const int8_t *q, size_t n_bytes, bool turned) {
    size_t n = (size_t)w->dims[0], k = n_bytes / n;
    const int8_t *data = w->data;
    if (!turned) assert_memory_equal(q, data, n_bytes);
    for (size_t j = 0; turned && j < n; j++)
        for (size_t i = 0; i < k; i++) assert_int_equal(q[i * n + j], data[j * k + i]);
}

static void check_product(struct eye_onnx *m, const struct truth *t, const EyeOnnx__NodeProto *product) {
    const EyeOnnx__NodeProto *dq = maker(m, product->input[1]), *x = maker(m, product->input[0]);
    size_t i = find(t, dq->input[0]), n_bytes, n;
    const struct eye_tensor *w = tensor(t, i, ""), *s = tensor(t, i, "_scale");
    const int8_t *q = initializer(m, dq->input[0], EYE_ONNX_I8, &n_bytes);
    bool matmul = is_op(product, "MatMul");
    assert_weight(w, q, n_bytes, matmul);
    assert_memory_equal(initializer(m, dq->input[1], EYE_ONNX_F32, &n), s->data, (size_t)w->dims[0] * 4);
    assert_int_equal(eye_onnx_attr(dq, "axis")->i, matmul);
    assert_true(is_op(x, "DequantizeLinear"));
    assert_int_equal(eye_gguf_item_int(t->wide, i), 0);
    const EyeOnnx__NodeProto *ql = maker(m, x->input[0]);
    assert_true(is_op(ql, "QuantizeLinear"));
    for (int k = 1; k < 3; k++) assert_string_equal(ql->input[k], x->input[k]);
    float scale = *(const float *)initializer(m, x->input[1], EYE_ONNX_F32, &n);
    assert_true(scale == (float)eye_gguf_item_double(t->scale, i));
    assert_int_equal(*(const uint8_t *)initializer(m, x->input[2], EYE_ONNX_U8, &n), eye_gguf_item_int(t->zero, i));
    if (matmul || product->n_input < 3) return;
    const EyeOnnx__NodeProto *b = maker(m, product->input[2]);
    assert_true(is_op(b, "DequantizeLinear")); /* of sums: activation times weight */
    (void)initializer(m, b->input[0], EYE_ONNX_I32, &n);
    const float *bs = initializer(m, b->input[1], EYE_ONNX_F32, &n);
    assert_int_equal(n, (size_t)w->dims[0] * 4);
    for (size_t k = 0; k < n / 4; k++) assert_true(bs[k] == scale * ((const float *)s->data)[k]);
}

static void check_qdq(const char *name, double snr_db, enum eye_target target) {
    struct eye_convert_report c;
    struct eye_export_report r;
    struct eye_onnx m;
    struct truth t;
    uint64_t n = 0;
    convert(name, snr_db, &c);
    export(EYE_EXPORT_INT8_QDQ, target, &m, &r);
    open_truth(&t);
    assert_sound(&m);
    const EyeOnnx__GraphProto *g = m.model->graph;
    for (size_t i = 0; i < g->n_node; i++) {
        if (!is_op(g->node[i], "Conv") && !is_op(g->node[i], "MatMul")) continue;
        if (!is_op(maker(&m, g->node[i]->input[1]), "DequantizeLinear")) continue;
        n++;
        check_product(&m, &t, g->node[i]);
    }
    assert_true(n > 2);
    assert_int_equal(n, c.n_int8 - c.n_wide);
    assert_int_equal(n, r.file[0].n_int8);
    assert_int_equal(c.n_wide > 0, snr_db > 0);
    assert_string_equal(r.file[0].encodings, "");
    eye_onnx_clear(&m);
    eye_checkpoint_close(&t.c);
}

static void test_qdq(void **state) {
    static const char *const models[] = {"fastvlm", "compose/small-map", "compose/large-pooled", "llava/clip", "llava/siglip"};
    (void)state;
    for (size_t i = 0; i < EYE_COUNT(models); i++) check_qdq(models[i], 0, i % 2 ? EYE_TARGET_PLAIN : EYE_TARGET_QNN);
    struct eye_onnx_report r;
    char path[2048];
    check_qdq("fastvlm", 0, EYE_TARGET_QNN);
    snprintf(path, sizeof path, "%s/vision_encoder.onnx", out_dir);
    ok(eye_onnx_lint(path, EYE_ONNX_TARGET_QNN, &r, &err));
    assert_int_equal(r.n, 0);
    eye_onnx_report_clear(&r);
}

/* What has 16 bits is floats. */
static void test_wide(void **state) {
    (void)state;
    check_qdq("fastvlm", 45, EYE_TARGET_PLAIN);
}

/* ---- encodings ---- */

static double number(const struct eye_json_at *e, const char *key) {
    double v;
    assert_true(eye_json_has(e, key));
    ok(eye_json_double(e, key, 0, &v, &err));
    return v;
}

static struct eye_json_at encoding(const struct eye_json_at *list, size_t i, int64_t bits) {
    struct eye_json_at e = eye_json_item(list, i);
    double scale = number(&e, "scale"), offset = number(&e, "offset");
    assert_true(scale > 0 && number(&e, "bitwidth") == (double)bits);
    assert_true(fabs(number(&e, "min") - scale * offset) <= 1e-6 * fabs(scale * offset));
    assert_true(fabs(number(&e, "max") - scale * (offset + ldexp(1, (int)bits) - 1)) <= 1e-6 * scale * ldexp(1, (int)bits));
    return e;
}

/* Weights in the graph are their grid's numbers: scale q. */
static void check_param(struct eye_onnx *m, const struct truth *t, const char *name, const struct eye_json_at *list) {
    size_t i = find(t, name), n_bytes;
    const struct eye_tensor *w = tensor(t, i, ""), *s = tensor(t, i, "_scale");
    size_t n = (size_t)w->dims[0], len = strlen(name);
    bool turned = len > 2 && strcmp(name + len - 2, ".T") == 0;
    const float *f = initializer(m, name, EYE_ONNX_F32, &n_bytes);
    size_t k = n_bytes / 4 / n;
    assert_int_equal(eye_json_len(list), n);
    for (size_t j = 0; j < n; j++) {
        struct eye_json_at e = encoding(list, j, 8);
        float scale = ((const float *)s->data)[j];
        assert_true((float)number(&e, "scale") == scale && number(&e, "offset") == -128);
        for (size_t x = 0; x < k; x++)
            assert_true(f[turned ? x * n + j : j * k + x] == (float)((double)scale * ((const int8_t *)w->data)[j * k + x]));
    }
}

/* Ranges of activations are some of the file's. */
static bool check_activation(const struct eye_onnx *m, const struct truth *t, const char *name,
                             const struct eye_json_at *list) {
    struct eye_json_at first = eye_json_item(list, 0);
    bool wide = number(&first, "bitwidth") == 16, found = false;
    assert_int_equal(eye_json_len(list), 1);
    struct eye_json_at e = encoding(list, 0, wide ? 16 : 8);
    double scale = number(&e, "scale"), offset = number(&e, "offset");
    for (size_t i = 0; i < t->scale->n; i++)
        found |= (float)scale == (float)eye_gguf_item_double(t->scale, i) && wide == (eye_gguf_item_int(t->wide, i) != 0) &&
                 offset == (wide ? -32768.0 : -(double)eye_gguf_item_int(t->zero, i));
    if (!found) fail_msg("%s: its range is not the file's", name);
    if (!is_known(m, name)) fail_msg("%s is not in the graph", name);
    return wide;
}

static void test_encodings(void **state) {
    (void)state;
    struct eye_convert_report c;
    struct eye_export_report r;
    struct eye_onnx m;
    struct truth t;
    struct eye_map map;
    struct eye_json j;
    char path[2048];
    convert("fastvlm", 45, &c);
    export(EYE_EXPORT_INT8_ENCODINGS, EYE_TARGET_QNN, &m, &r);
    open_truth(&t);
    assert_string_equal(r.file[0].encodings, "vision_encoder.encodings.json");
    snprintf(path, sizeof path, "%s/%s", out_dir, r.file[0].encodings);
    ok(eye_map_open(&map, path, true, 0, &err));
    ok(eye_json_parse(&j, map.p, map.size, EYE_JSON_MAX_BYTES, path, &err));
    struct eye_json_at root = eye_json_root(&j), params, activations;
    ok(eye_json_object(&root, "param_encodings", &params, &err));
    ok(eye_json_object(&root, "activation_encodings", &activations, &err));
    size_t n_params = 0, n_wide = 0, n_bytes = 0;
    const EyeOnnx__GraphProto *g = m.model->graph;
    assert_sound(&m);
    for (size_t i = 0; i < g->n_node; i++) assert_false(is_op(g->node[i], "QuantizeLinear"));
    for (size_t i = 0; i < g->n_initializer + g->n_node + g->n_input; i++) {
        const char *name = i < g->n_initializer             ? g->initializer[i]->name
                           : i < g->n_initializer + g->n_node ? g->node[i - g->n_initializer]->output[0]
                                                              : g->input[i - g->n_initializer - g->n_node]->name;
        struct eye_json_at list;
        bool weight = i < g->n_initializer;
        ok(eye_json_array(weight ? &params : &activations, name, &list, &err));
        if (!list.v) continue;
        if (weight) check_param(&m, &t, name, &list);
        else if (check_activation(&m, &t, name, &list)) n_wide++;
        else n_bytes++;
        n_params += weight;
    }
    assert_int_equal(n_params, c.n_int8); /* all of them were found in the graph */
    assert_int_equal(n_params, r.file[0].n_int8);
    assert_true(n_wide > 0 && n_bytes > 0);
    eye_json_clear(&j);
    eye_map_close(&map);
    eye_onnx_clear(&m);
    eye_checkpoint_close(&t.c);
}

/* ---- refused ---- */

static void refuse(const char *path, struct eye_export_opts o, const char *says) {
    enum eye_status st = eye_export_onnx(path, out_dir, &o, NULL, &err);
    assert_true(eye_error_is(says, st, EYE_E_ARG, &err, says));
}

static void test_refused(void **state) {
    (void)state;
    struct eye_convert_report c;
    convert("fastvlm", 0, &c);
    snprintf(out_dir, sizeof out_dir, "%s/onnx", eye_scratch_dir());
    refuse(file_path, (struct eye_export_opts){.graphs = EYE_EXPORT_VISION, .int8 = EYE_EXPORT_INT8_QDQ, .f16 = true},
           "opset 19");
    refuse(file_path, (struct eye_export_opts){.graphs = EYE_EXPORT_KV, .int8 = EYE_EXPORT_INT8_QDQ}, "no graph asked for");
    refuse(file_path, (struct eye_export_opts){.graphs = EYE_EXPORT_VISION, .int8 = (enum eye_export_int8)3}, "enum's values");
    refuse(folder("fastvlm"), (struct eye_export_opts){.int8 = EYE_EXPORT_INT8_ENCODINGS}, "is not int8");
}

/* Without the option: floats, as of any quantized file. */
static void test_numbers(void **state) {
    (void)state;
    struct eye_convert_report c;
    struct eye_export_report r;
    struct eye_onnx m;
    convert("compose/small-map", 0, &c);
    export(EYE_EXPORT_INT8_NUMBERS, EYE_TARGET_PLAIN, &m, &r);
    for (size_t i = 0; i < m.model->graph->n_initializer; i++)
        assert_int_not_equal(m.model->graph->initializer[i]->data_type, EYE_ONNX_I8);
    assert_int_equal(r.file[0].n_int8, 0);
    eye_onnx_clear(&m);
}

static int stop(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qdq),     cmocka_unit_test(test_wide),    cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests_name("qdq", tests, NULL, stop);
}
