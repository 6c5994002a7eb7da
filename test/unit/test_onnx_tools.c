/* Unit tests of what looks at ONNX graphs and changes them: without memory, on odd signatures, on names everywhere. What the command
 * line prints is test/cli/onnx.sh, what patched graphs compute test/reference/onnx_tools.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "onnx/view.h"
#include "support/support.h"

#define expect_error(...) assert_true(eye_error_is(__VA_ARGS__))
#define NAMES(...) (const char *const[]){__VA_ARGS__}
#define DIMS(...) (const int64_t[]){__VA_ARGS__}

static const float table[8 * 4];

/* A decoder's layer with everything fused: norm, attention with rotation, norm with skip; a branch that reads an outer name. */
static void build(struct eye_onnx *m) {
    assert_int_equal(eye_onnx_new(m, "g", 17, NULL, NULL), EYE_OK);
    EyeOnnx__GraphProto *g = m->model->graph;
    eye_onnx_add_input(m, g, "x", EYE_ONNX_F32, DIMS(-1, -1, 64), 3, NAMES("b", "s", ""));
    eye_onnx_add_input(m, g, "past_key_values.0.key", EYE_ONNX_F32, DIMS(-1, 2, -1, 8), 4, NAMES("b", "", "p", ""));
    eye_onnx_add_input(m, g, "past_key_values.0.value", EYE_ONNX_F32, DIMS(-1, 2, -1, 8), 4, NAMES("b", "", "p", ""));
    eye_onnx_add_input(m, g, "len", EYE_ONNX_I32, DIMS(-1), 1, NAMES("b"));
    eye_onnx_add_output(m, g, "y", EYE_ONNX_F32, DIMS(-1, -1, 32), 3, NAMES("b", "s", ""));
    eye_onnx_add_output(m, g, "present.0.key", EYE_ONNX_F32, DIMS(-1, 2, -1, 8), 4, NAMES("b", "", "t", ""));
    eye_onnx_add_output(m, g, "present.0.value", EYE_ONNX_F32, DIMS(-1, 2, -1, 8), 4, NAMES("b", "", "t", ""));
    eye_onnx_add_const(m, g, "gamma", EYE_ONNX_F32, DIMS(64), 1, (float[64]){1});
    eye_onnx_add_const(m, g, "gamma2", EYE_ONNX_F32, DIMS(32), 1, (float[32]){1});
    eye_onnx_add_const(m, g, "cos", EYE_ONNX_F32, DIMS(8, 4), 2, table);
    eye_onnx_add_const(m, g, "sin", EYE_ONNX_F32, DIMS(8, 4), 2, table);
    EyeOnnx__NodeProto *n = eye_onnx_add_node(m, g, "SimplifiedLayerNormalization", "norm", NAMES("x", "gamma"), 2,
                                              NAMES("h"), 1);
    eye_onnx_attr_float(m, n, "epsilon", 1e-6f);
    n = eye_onnx_add_node(m, g, "GroupQueryAttention", "attention",
                          NAMES("h", "", "", "past_key_values.0.key", "past_key_values.0.value", "len", "len", "cos", "sin"), 9,
                          NAMES("a", "present.0.key", "present.0.value"), 3);
    n->domain = eye_onnx_text(m, "com.microsoft");
    eye_onnx_attr_int(m, n, "num_heads", 4);
    eye_onnx_attr_int(m, n, "kv_num_heads", 2);
    eye_onnx_attr_int(m, n, "do_rotary", 1);
    n = eye_onnx_add_node(m, g, "SkipSimplifiedLayerNormalization", "skip", NAMES("a", "a", "gamma2"), 3, NAMES("y"), 1);
    n->domain = eye_onnx_text(m, "com.microsoft");
    EyeOnnx__OperatorSetIdProto *set = eye_onnx_alloc(m, 1, sizeof *set);
    eye_onnx__operator_set_id_proto__init(set);
    set->domain = eye_onnx_text(m, "com.microsoft");
    set->has_version = 1;
    set->version = 1;
    eye_onnx_push(m, &m->model->n_opset_import, &m->model->opset_import, set);
    assert_false(m->failed);
}

static void pack(struct eye_buf *b) {
    struct eye_onnx m;
    build(&m);
    eye_buf_init(b, NULL);
    size_t n = eye_onnx__model_proto__get_packed_size(m.model);
    uint8_t *p = test_malloc(n);
    eye_onnx__model_proto__pack(m.model, p);
    eye_buf_add(b, p, n);
    test_free(p);
    eye_onnx_clear(&m);
}

static int which; /* of the things below */

static enum eye_status do_one(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_onnx m;
    struct eye_onnx_report r;
    struct eye_onnx_check_opts check = {.signature = "decoder-kv", .cache_len = 7};
    struct eye_onnx_rename_opts rename = {.names = EYE_ONNX_NAMES_GENIE};
    struct eye_onnx_patch_opts patch = {.rope_inputs = which == 5, .turned_keys = which == 5,
                                        .mask = which == 5 ? EYE_ONNX_MASK_I32 : EYE_ONNX_MASK_KEEP,
                                        .present = which == 5 ? EYE_ONNX_PRESENT_NEW : EYE_ONNX_PRESENT_ALL};
    EYE_TRY(eye_onnx_load_bytes(&m, p, n, "f.onnx", alloc, err));
    eye_onnx_report_init(&r);
    enum eye_status st = which == 0   ? eye_onnx_check_graph(&m, &r, err)
                         : which == 1 ? eye_onnx_check_signature(&m, &check, &r, err)
                         : which == 2 ? eye_onnx_lint_model(&m, EYE_ONNX_TARGET_QNN, &r, err)
                         : which == 3 ? eye_onnx_rename_model(&m, &rename, NULL, err)
                                      : eye_onnx_patch_model(&m, &patch, NULL, err);
    eye_onnx_report_clear(&r);
    eye_onnx_clear(&m);
    return st;
}

static void test_faults(void **state) {
    (void)state;
    struct eye_buf b;
    pack(&b);
    for (which = 0; which <= 5; which++) {
        assert_true(eye_survives_faults(do_one, b.p, b.len));
        assert_true(eye_survives_mutations(do_one, b.p, b.len, 11 + (uint64_t)which, 500));
    }
    eye_buf_clear(&b);
}

static void test_patch(void **state) {
    (void)state;
    struct eye_onnx m;
    struct eye_onnx_patch_report r;
    struct eye_onnx_report findings;
    build(&m);
    assert_int_equal(eye_onnx_patch_model(&m, NULL, &r, NULL), EYE_OK);
    assert_int_equal(r.n_norms, 2);
    assert_int_equal(r.n_attentions, 1);
    assert_int_equal(m.model->n_opset_import, 1); /* the other set is not needed any more */
    eye_onnx_report_init(&findings);
    assert_int_equal(eye_onnx_check_graph(&m, &findings, NULL), EYE_OK);
    assert_int_equal(findings.n, 0);
    assert_int_equal(eye_onnx_lint_model(&m, EYE_ONNX_TARGET_PLAIN, &findings, NULL), EYE_OK);
    assert_int_equal(findings.n, 0);
    eye_onnx_report_clear(&findings);
    for (size_t i = 0; i < m.model->graph->n_node; i++) /* epsilons are the nodes' */
        if (strcmp(m.model->graph->node[i]->op_type, "Add") == 0 && strstr(m.model->graph->node[i]->name, "h/Add")) {
            const char *name = m.model->graph->node[i]->input[1];
            for (size_t k = 0; k < m.model->graph->n_initializer; k++)
                if (strcmp(m.model->graph->initializer[k]->name, name) == 0)
                    assert_memory_equal(m.model->graph->initializer[k]->raw_data.data, &(float){1e-6f}, 4);
        }
    struct eye_err err = {0};
    expect_error("twice", eye_onnx_patch_model(&m, NULL, &r, &err), EYE_E_ARG, &err, "nothing to patch");
    eye_onnx_clear(&m);
    build(&m);
    m.model->graph->node[0]->attribute[0]->f = 0; /* what the subgraph of another node holds is refused */
    EyeOnnx__NodeProto *n = eye_onnx_add_node(&m, m.model->graph, "If", "if", NAMES("c"), 1, NAMES("z"), 1);
    eye_onnx_attr_int(&m, n, "then_branch", 0);
    n->attribute[0]->g = eye_onnx_alloc(&m, 1, sizeof *n->attribute[0]->g);
    eye_onnx__graph_proto__init(n->attribute[0]->g);
    eye_onnx_add_node(&m, n->attribute[0]->g, "SimplifiedLayerNormalization", "inner", NAMES("y", "gamma"), 2, NAMES("t"), 1);
    expect_error("inner", eye_onnx_patch_model(&m, NULL, &r, &err), EYE_E_UNSUPPORTED, &err, "in a subgraph");
    eye_onnx_clear(&m);
}

static void test_rename_everywhere(void **state) {
    (void)state;
    struct eye_onnx m;
    size_t n;
    build(&m);
    EyeOnnx__GraphProto *g = m.model->graph;
    eye_onnx_add_value_info(&m, g, "h", EYE_ONNX_F32, NULL, 0, NULL);
    EyeOnnx__NodeProto *branch = eye_onnx_add_node(&m, g, "If", "if", NAMES("h"), 1, NAMES("z"), 1);
    eye_onnx_attr_int(&m, branch, "then_branch", 0);
    EyeOnnx__GraphProto *inner = branch->attribute[0]->g = eye_onnx_alloc(&m, 1, sizeof *inner);
    eye_onnx__graph_proto__init(inner);
    eye_onnx_add_node(&m, inner, "Add", NULL, NAMES("h", "gamma"), 2, NAMES("t"), 1);
    eye_onnx_add_output(&m, inner, "t", EYE_ONNX_F32, NULL, 0, NULL);
    const char *const pair[] = {"h=hidden", "gamma=scale", "t=inner", "x=a=b"};
    assert_int_equal(eye_onnx_rename_model(&m, &(struct eye_onnx_rename_opts){.pair = pair, .n_pairs = 4}, &n, NULL), EYE_OK);
    assert_int_equal(n, 4);
    assert_string_equal(g->node[0]->input[0], "a=b"); /* the first = parts them */
    assert_string_equal(g->node[0]->input[1], "scale");
    assert_string_equal(g->node[0]->output[0], "hidden");
    assert_string_equal(g->initializer[0]->name, "scale");
    assert_string_equal(g->value_info[0]->name, "hidden");
    assert_string_equal(g->node[0]->name, "norm"); /* nodes keep theirs */
    assert_string_equal(inner->node[0]->input[0], "hidden");
    assert_string_equal(inner->output[0]->name, "inner");
    eye_onnx_clear(&m);
}

static void test_signature_files(void **state) {
    (void)state;
    static const char text[] = "{\"name\": \"s\", \"inputs\": [{\"name\": \"x\", \"type\": [\"f32\", \"float16\"], \"shapes\": [[\"b\", null, 64], "
                               "[3]]}, {\"either\": [[{\"name\": \"len\", \"type\": \"int\", \"shape\": [\"b\"]}], []]}, {\"name\": "
                               "\"past_key_values.{i}.key\", \"type\": \"float\", \"shape\": [\"b\", \"k\", \"p+2\", \"d/2\"]}], \"outputs\": []}";
    struct eye_onnx m;
    struct eye_onnx_report r;
    struct eye_rng rng;
    struct eye_err err = {0};
    char path[256], bytes[sizeof text];
    build(&m);
    snprintf(path, sizeof path, "%s", eye_scratch_write("s.json", text, sizeof text - 1));
    struct eye_onnx_check_opts opts = {.signature = path};
    eye_onnx_report_init(&r);
    assert_int_equal(eye_onnx_check_signature(&m, &opts, &r, &err), EYE_OK);
    assert_int_equal(r.n, 1 + 3); /* the values' input and the outputs are not in it */
    assert_string_equal(r.finding[0].name, "past_key_values.0.value");
    assert_string_equal(r.dims, "layers=1 b=? k=2 d=16");
    eye_onnx_report_clear(&r);
    eye_rng_seed(&rng, 3);
    for (int i = 0; i < 500; i++) { /* any status, no crash, a text with each error */
        memcpy(bytes, text, sizeof text);
        for (int k = 0; k < 3; k++) bytes[eye_rng_u64(&rng) % (sizeof text - 1)] = (char)(32 + eye_rng_u64(&rng) % 95);
        eye_scratch_write("s.json", bytes, sizeof text - 1);
        err = (struct eye_err){0};
        enum eye_status st = eye_onnx_check_signature(&m, &opts, &r, &err);
        assert_true(st == EYE_OK || (st == err.code && err.text[0]));
        eye_onnx_report_clear(&r);
    }
    eye_onnx_clear(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults), cmocka_unit_test(test_patch), cmocka_unit_test(test_rename_everywhere),
        cmocka_unit_test(test_signature_files),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    eye_scratch_remove();
    return failed;
}
