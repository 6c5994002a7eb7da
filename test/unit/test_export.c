/* Export to ONNX, without ONNX Runtime (test/reference/onnx_export.py has that): what is written is read again. Signatures,
 * that every tensor is made before it is read and read at all, which operators there are, that weights are the checkpoint's,
 * that graphs of several step sizes share one file; and what must be refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "export/walk.h"
#include "eyelet/export.h"
#include "eyelet/onnx.h"
#include "format/checkpoint.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

enum { N_BPE = 300, MAX_NAMES = 4096 };
static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static const char *fastvlm(void) {
    static char path[640];
    snprintf(path, sizeof path, "%s/fastvlm", eye_scratch_dir());
    if (!eye_path_is_dir(path)) ok(eye_make_tiny(path, &err));
    return path;
}

static const char *listed(const char *name) {
    static char path[640], from[640];
    snprintf(path, sizeof path, "%s/%s", eye_scratch_dir(), strrchr(name, '/') + 1);
    snprintf(from, sizeof from, "%s/golden/%s", TEST_DATA, name);
    if (!eye_path_is_dir(path)) ok(eye_make_listed(from, N_BPE, path, &err));
    return path;
}

static char out_dir[640];

static void export(const char *model, const struct eye_export_opts *o, struct eye_export_report *r) {
    snprintf(out_dir, sizeof out_dir, "%s/onnx", eye_scratch_dir());
    ok(eye_export_onnx(model, out_dir, o, r, &err));
}

static void load(struct eye_onnx *m, const char *file) {
    char path[2048];
    snprintf(path, sizeof path, "%s/%s", out_dir, file);
    ok(eye_onnx_load(m, path, NULL, &err));
    ok(eye_onnx_check_data(m, &err));
}

/* ---- what holds for every graph ---- */

static const char *const plain_ops[] = {
    "Add", "Cast", "Concat", "Conv", "Cos", "Div", "Erf", "Gather", "GlobalAveragePool", "HardSigmoid", "HardSwish",
    "LayerNormalization",
    "MatMul", "Mul", "Reciprocal", "ReduceMean", "Relu", "Reshape", "Sigmoid", "Sin", "Slice", "Softmax", "Sqrt", "Sub", "Tanh",
    "Transpose", "Unsqueeze",
};
static const char *const dynamic_ops[] = {"Expand", "LessOrEqual", "Range", "Shape", "Squeeze", "Where"};

static bool among(const char *s, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(s, list[i]) == 0) return true;
    return false;
}

static void assert_sound(const struct eye_onnx *m, bool is_static) {
    const EyeOnnx__GraphProto *g = m->model->graph;
    const char *made[MAX_NAMES];
    uint8_t used[MAX_NAMES] = {0};
    size_t n = 0;
    for (size_t i = 0; i < g->n_input; i++) made[n++] = g->input[i]->name;
    for (size_t i = 0; i < g->n_initializer; i++) made[n++] = g->initializer[i]->name;
    for (size_t i = 0; i < g->n_node; i++) {
        const EyeOnnx__NodeProto *node = g->node[i];
        if (!among(node->op_type, plain_ops, EYE_COUNT(plain_ops)) &&
            (is_static || !among(node->op_type, dynamic_ops, EYE_COUNT(dynamic_ops))))
            fail_msg("%s: %s is no operator of this target", m->where, node->op_type);
        for (size_t k = 0; k < node->n_input; k++) {
            size_t at = 0;
            while (at < n && strcmp(made[at], node->input[k]) != 0) at++;
            if (at == n) fail_msg("%s: %s reads %s, which is not there yet", m->where, node->name, node->input[k]);
            used[at] = 1;
        }
        assert_true(n < MAX_NAMES);
        for (size_t at = 0; at < n; at++)
            if (strcmp(made[at], node->output[0]) == 0) fail_msg("%s: %s is made twice", m->where, made[at]);
        made[n++] = node->output[0];
    }
    for (size_t i = 0; i < g->n_output; i++) {
        size_t at = 0;
        while (at < n && strcmp(made[at], g->output[i]->name) != 0) at++;
        if (at == n) fail_msg("%s: output %s is never made", m->where, g->output[i]->name);
        used[at] = 1;
    }
    for (size_t at = 0; at < n; at++)
        if (!used[at]) fail_msg("%s: %s is never read", m->where, made[at]);
}

/* "f32[1,3,?]"; a name for a dynamic axis. */
static char *shape_text(const EyeOnnx__ValueInfoProto *v, char *out, size_t cap) {
    const EyeOnnx__TypeProto__Tensor *t = v->type->tensor_type;
    size_t at = (size_t)snprintf(out, cap, "%s[", eye_onnx_type_name(t->elem_type));
    for (size_t i = 0; i < t->shape->n_dim; i++) {
        const EyeOnnx__TensorShapeProto__Dimension *d = t->shape->dim[i];
        if (d->value_case == EYE_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            at += (size_t)snprintf(out + at, cap - at, "%s%s", i ? "," : "", d->dim_param);
        else at += (size_t)snprintf(out + at, cap - at, "%s%lld", i ? "," : "", (long long)d->dim_value);
    }
    snprintf(out + at, cap - at, "]");
    return out;
}

/* wanted: "name type[shape]", NULL-terminated; the first ones of the list, or all. */
static void assert_interface(EyeOnnx__ValueInfoProto **v, size_t n, const char *const *wanted) {
    size_t i = 0;
    for (; wanted[i]; i++) {
        char text[256], shape[160];
        assert_true(i < n);
        snprintf(text, sizeof text, "%s %s", v[i]->name, shape_text(v[i], shape, sizeof shape));
        assert_string_equal(text, wanted[i]);
    }
    assert_int_equal(i, n);
}

static void assert_no_findings(enum eye_status st, const char *file, struct eye_onnx_report *r) {
    ok(st);
    if (r->n) fail_msg("%s: %s %s: %s", file, eye_onnx_finding_name(r->finding[0].kind), r->finding[0].name,
                       r->finding[0].text);
    eye_onnx_report_clear(r);
}

/* By the checks that `eyelet onnx` has for files of any exporter. */
static void assert_accepted(const struct eye_export_report_file *f, const struct eye_export_opts *o) {
    char path[2048];
    struct eye_onnx_report r;
    struct eye_onnx_check_opts c = {.signature = f->graph, .kv_style = (enum eye_onnx_kv_style)o->kv_style};
    snprintf(path, sizeof path, "%s/%s", out_dir, f->name);
    assert_no_findings(eye_onnx_check(path, &c, &r, &err), path, &r);
    bool qnn = o->target == EYE_TARGET_QNN;
    assert_no_findings(eye_onnx_lint(path, qnn ? EYE_ONNX_TARGET_QNN : EYE_ONNX_TARGET_PLAIN, &r, &err), path, &r);
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
static void check(const char *file, bool is_static, const char *const *in, const char *const *out) {
    struct eye_onnx m;
    load(&m, file);
    assert_sound(&m, is_static);
    assert_interface(m.model->graph->input, m.model->graph->n_input, in);
    assert_interface(m.model->graph->output, m.model->graph->n_output, out);
    eye_onnx_clear(&m);
}

static size_t count_ops(const char *file, const char *op) {
    struct eye_onnx m;
    size_t n = 0;
    load(&m, file);
    for (size_t i = 0; i < m.model->graph->n_node; i++) n += strcmp(m.model->graph->node[i]->op_type, op) == 0;
    eye_onnx_clear(&m);
    return n;
}

/* ---- tests ---- */

static void test_dynamic(void **state) {
    (void)state;
    struct eye_export_report r;
    export(fastvlm(), &(struct eye_export_opts){.graphs = EYE_EXPORT_ALL, .cache_len = 31}, &r);
    assert_int_equal(r.n_files, 7);
    for (size_t i = 0; i < r.n_files; i++) assert_true(r.file[i].bytes > 0 && !*r.file[i].data_name);
    check("vision_encoder.onnx", false, NAMES("pixel_values f32[batch_size,3,256,256]"),
          NAMES("image_features f32[batch_size,16,64]"));
    check("projector.onnx", false, NAMES("vision_features f32[batch_size,num_vision_tokens,256]"),
          NAMES("image_features f32[batch_size,num_vision_tokens,64]"));
    check("token_embedder.onnx", false, NAMES("input_ids i64[batch_size,sequence_length]"),
          NAMES("inputs_embeds f32[batch_size,sequence_length,64]"));
    check("decoder.onnx", false, NAMES("inputs_embeds f32[batch_size,sequence_length,64]"),
          NAMES("logits f32[batch_size,sequence_length,640]"));
    check("decoder_with_projection.onnx", false,
          NAMES("vision_features f32[batch_size,num_vision_tokens,256]", "input_ids i64[batch_size,num_text_tokens]"),
          NAMES("logits f32[batch_size,num_tokens,640]"));
    check("decoder_prefill.onnx", false,
          NAMES("inputs_embeds f32[batch_size,sequence_length,64]", "attention_mask i64[batch_size,sequence_length]",
                "position_ids i64[batch_size,sequence_length]"),
          NAMES("logits f32[batch_size,sequence_length,640]", "present.0.key f32[batch_size,2,sequence_length,16]",
                "present.0.value f32[batch_size,2,sequence_length,16]", "present.1.key f32[batch_size,2,sequence_length,16]",
                "present.1.value f32[batch_size,2,sequence_length,16]"));
    check("decoder_kv.onnx", true,
          NAMES("inputs_embeds f32[1,1,64]", "attention_mask i64[1,32]", "position_ids i64[1,1]",
                "past_key_values.0.key f32[1,2,31,16]",
                "past_key_values.0.value f32[1,2,31,16]", "past_key_values.1.key f32[1,2,31,16]",
                "past_key_values.1.value f32[1,2,31,16]"),
          NAMES("logits f32[1,1,640]", "present.0.key f32[1,2,1,16]", "present.0.value f32[1,2,1,16]",
                "present.1.key f32[1,2,1,16]",
                "present.1.value f32[1,2,1,16]"));
}

/* The tower stays [N,C,H,W]: it is turned round for attention's rows (there and back in each of its blocks) and at its end. */
static void test_layouts(void **state) {
    (void)state;
    struct eye_export_report r;
    export(fastvlm(), &(struct eye_export_opts){.graphs = EYE_EXPORT_VISION, .opset = 14}, &r);
    size_t softmax = count_ops("vision_encoder.onnx", "Softmax"), turns = count_ops("vision_encoder.onnx", "Transpose");
    /* of one attention: into rows, q, k, v to heads, back to rows, back to the map */
    assert_int_equal(turns, 6 * softmax + 1);
    assert_int_equal(count_ops("vision_encoder.onnx", "LayerNormalization"), 0);
    export(fastvlm(), &(struct eye_export_opts){.graphs = EYE_EXPORT_VISION}, &r);
    assert_int_equal(count_ops("vision_encoder.onnx", "LayerNormalization"), softmax);
    export(listed("compose/small-map"), &(struct eye_export_opts){.graphs = EYE_EXPORT_VISION}, &r);
    assert_int_equal(count_ops("vision_encoder.onnx", "Transpose"), 1);
    export(listed("compose/large-pooled"), &(struct eye_export_opts){.graphs = EYE_EXPORT_VISION}, &r);
    assert_int_equal(count_ops("vision_encoder.onnx", "Transpose"), 0);
}

static void test_npu(void **state) {
    (void)state;
    struct eye_export_report r;
    struct eye_export_opts o = {.graphs = EYE_EXPORT_ALL, .target = EYE_TARGET_QNN, .f16 = true, .ids32 = true, .seq_len = 24,
                                .cache_len = 63, .kv_style = EYE_EXPORT_KV_GENIE, .step = {1, 16}, .n_steps = 2};
    export(fastvlm(), &o, &r);
    assert_int_equal(r.n_files, 8);
    for (size_t i = 0; i < r.n_files; i++) assert_accepted(&r.file[i], &o);
    check("vision_encoder.onnx", true, NAMES("pixel_values f16[1,3,256,256]"), NAMES("image_features f16[1,16,64]"));
    check("decoder_with_projection.onnx", true, NAMES("vision_features f16[1,16,256]", "input_ids i32[1,24]"),
          NAMES("logits f16[1,40,640]"));
    check("decoder_kv_ar16.onnx", true,
          NAMES("inputs_embeds f16[1,16,64]", "attention_mask i32[1,1,16,64]", "position_ids i32[1,16]",
                "past_key_0_in f16[1,2,16,48]",
                "past_value_0_in f16[1,2,48,16]", "past_key_1_in f16[1,2,16,48]", "past_value_1_in f16[1,2,48,16]"),
          NAMES("logits f16[1,16,640]", "past_key_0_out f16[1,2,16,16]", "past_value_0_out f16[1,2,16,16]",
                "past_key_1_out f16[1,2,16,16]", "past_value_1_out f16[1,2,16,16]"));
    assert_string_equal(r.file[6].name, "decoder_kv_ar1.onnx");
    assert_string_equal(r.file[6].data_name, "decoder_kv.data");
    assert_string_equal(r.file[7].data_name, "decoder_kv.data");
    o = (struct eye_export_opts){.graphs = EYE_EXPORT_KV, .target = EYE_TARGET_QNN, .rope_inputs = true,
                                 .mask = EYE_EXPORT_MASK_ADDED,
                                 .kv_style = EYE_EXPORT_KV_DOT, .cache_len = 40};
    export(fastvlm(), &o, &r);
    check("decoder_kv.onnx", true,
          NAMES("inputs_embeds f32[1,1,64]", "attention_mask f32[1,1,1,41]", "position_ids_cos f32[1,1,1,8]",
                "position_ids_sin f32[1,1,1,8]", "past_key_values.0.key f32[1,2,16,40]",
                "past_key_values.0.value f32[1,2,40,16]",
                "past_key_values.1.key f32[1,2,16,40]", "past_key_values.1.value f32[1,2,40,16]"),
          NAMES("logits f32[1,1,640]", "present.0.key f32[1,2,16,1]", "present.0.value f32[1,2,1,16]",
                "present.1.key f32[1,2,16,1]",
                "present.1.value f32[1,2,1,16]"));
}

static const char *metadata(const struct eye_onnx *m, const char *key) {
    for (size_t i = 0; i < m->model->n_metadata_props; i++)
        if (strcmp(m->model->metadata_props[i]->key, key) == 0) return m->model->metadata_props[i]->value;
    return "";
}

static void test_forms(void **state) {
    (void)state;
    struct eye_export_report r;
    struct eye_onnx m;
    export(fastvlm(), &(struct eye_export_opts){.graphs = EYE_EXPORT_VISION, .pixels = EYE_EXPORT_PIXELS_U8,
                                                .tower_only = true}, &r);
    check("vision_encoder.onnx", false, NAMES("pixel_values u8[batch_size,256,256,3]"),
          NAMES("vision_features f32[batch_size,16,256]"));
    export(fastvlm(), &(struct eye_export_opts){.graphs = EYE_EXPORT_VISION, .pixels = EYE_EXPORT_PIXELS_U8_FLAT}, &r);
    check("vision_encoder.onnx", true, NAMES("pixel_values u8[65536,3]"), NAMES("image_features f32[1,16,64]"));
    export(fastvlm(), &(struct eye_export_opts){.graphs = EYE_EXPORT_DECODER | EYE_EXPORT_KV, .last_logits = true,
                                                .cache_len = 31,
                                                .step = {4}, .n_steps = 1, .kv_out = EYE_EXPORT_KV_OUT_WINDOW}, &r);
    check("decoder.onnx", false, NAMES("inputs_embeds f32[batch_size,sequence_length,64]"),
          NAMES("logits f32[batch_size,1,640]"));
    load(&m, "decoder_kv.onnx");
    assert_sound(&m, true);
    assert_interface(m.model->graph->output, m.model->graph->n_output,
                     NAMES("logits f32[1,1,640]", "present.0.key f32[1,2,28,16]", "present.0.value f32[1,2,28,16]",
                           "present.1.key f32[1,2,28,16]", "present.1.value f32[1,2,28,16]"));
    assert_string_equal(metadata(&m, "eyelet.context"), "32");
    assert_string_equal(metadata(&m, "eyelet.head_dim"), "16");
    assert_string_equal(metadata(&m, "eyelet.layers"), "2");
    assert_string_equal(metadata(&m, "eyelet.rope_theta"), "1000000");
    eye_onnx_clear(&m);
}

static const void *initializer(struct eye_onnx *m, const char *name, size_t n_bytes) {
    const EyeOnnx__GraphProto *g = m->model->graph;
    const void *p = NULL;
    size_t n = 0;
    for (size_t i = 0; i < g->n_initializer; i++)
        if (strcmp(g->initializer[i]->name, name) == 0) ok(eye_onnx_bytes(m, g->initializer[i], &p, &n, &err));
    if (!p) fail_msg("no initializer %s", name);
    assert_int_equal(n, n_bytes);
    return p;
}

/* Numbers of the checkpoint, turned round for MatMul, from the file they share; a tied embedding is there once. */
static void test_weights(void **state) {
    (void)state;
    struct eye_checkpoint c;
    struct eye_export_report r;
    struct eye_onnx m;
    ok(eye_checkpoint_open(&c, fastvlm(), NULL, NULL, &err));
    const struct eye_tensor *down = eye_checkpoint_find(&c, "model.language_model.layers.1.mlp.down_proj.weight"),
                            *embd = eye_checkpoint_find(&c, "model.language_model.embed_tokens.weight");
    assert_non_null(down);
    assert_non_null(embd);
    size_t n = (size_t)down->dims[0], k = (size_t)down->dims[1];
    const float *w = down->data;
    for (int external = 0; external < 2; external++) {
        export(fastvlm(), &(struct eye_export_opts){.graphs = EYE_EXPORT_JOINT, .external = external}, &r);
        assert_int_equal(*r.file[0].data_name != 0, external);
        load(&m, "decoder_with_projection.onnx");
        const float *t = initializer(&m, "blk.1.ffn_down.weight.T", n * k * 4);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < k; j++) assert_memory_equal(&t[j * n + i], &w[i * k + j], 4);
        size_t bytes = (size_t)(embd->dims[0] * embd->dims[1]) * 4;
        assert_memory_equal(initializer(&m, "token_embd.weight", bytes), embd->data, bytes);
        for (size_t i = 0; i < m.model->graph->n_initializer; i++)
            assert_null(strstr(m.model->graph->initializer[i]->name, "token_embd.weight."));
        eye_onnx_clear(&m);
    }
    eye_checkpoint_close(&c);
}

/* A matrix that is turned round in bands of three rows, and one whose band is shorter than a row. */
static void test_bands(void **state) {
    (void)state;
    enum { N = 70, K = 100 };
    static float w[N * K];
    const struct eye_tensor t = {.data = w, .dtype = EYE_F32, .rank = 2, .dims = {N, K}};
    for (int i = 0; i < N * K; i++) w[i] = (float)eye_mk_uniform("bands", 1, (uint64_t)i);
    for (size_t most = 8; most < 4096; most += 850) {
        struct eye_graph g;
        struct eye_onnx m;
        struct eye_draft d;
        struct eye_weight_scratch scratch = {.band_most = most};
        const char *name, *path = eye_scratch_path("bands.onnx");
        eye_graph_init(&g, NULL);
        eye_val v = eye_weight(&g, "bands.weight", &t);
        ok(eye_onnx_new(&m, "bands", 17, NULL, &err));
        eye_draft_init(&d, &m, 17, EYE_ONNX_F32, NULL);
        ok(eye_draft_weight(&d, &scratch, eye_value_at(&g, v), EYE_FORM_TRANSPOSED, 0, NULL, &name, &err));
        assert_string_equal(name, "bands.weight.T");
        ok(eye_onnx_write(&(struct eye_onnx_file){&m, path}, 1, NULL, &err));
        assert_in_range(scratch.band_cap, 1, EYE_MAX(most, N * 4));
        eye_weight_scratch_clear(&scratch);
        eye_draft_clear(&d);
        eye_onnx_clear(&m);
        eye_graph_clear(&g);
        ok(eye_onnx_load(&m, path, NULL, &err));
        const float *got = initializer(&m, "bands.weight.T", sizeof w);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < K; j++) assert_memory_equal(&got[j * N + i], &w[i * K + j], 4);
        eye_onnx_clear(&m);
    }
}

/* Every family in every form: sound graphs, the same bytes twice. */
static void test_families(void **state) {
    (void)state;
    static const char *const family[] = {"compose/gpt2", "compose/small-map", "compose/small-classifier",
                                         "compose/large-pooled",
                                         "compose/minimal-tap", "llava/clip", "llava/clip-list", "llava/siglip",
                                         "llava/llama-bias",
                                         "llava/mistral", "llava/qwen2"};
    struct eye_export_report r;
    for (size_t i = 0; i < EYE_COUNT(family); i++)
        for (int npu = 0; npu < 2; npu++) {
            struct eye_export_opts o = {.graphs = EYE_EXPORT_ALL, .target = npu ? EYE_TARGET_QNN : EYE_TARGET_PLAIN,
                                        .cache_len = 20,
                                        .opset = npu ? 15 : 18, .f16 = npu};
            export(listed(family[i]), &o, &r);
            assert_true(r.n_files == 4 || r.n_files == 7);
            for (size_t k = 0; k < r.n_files; k++) {
                struct eye_onnx m;
                load(&m, r.file[k].name);
                assert_sound(&m, npu || strcmp(r.file[k].graph, "decoder-kv") == 0);
                assert_int_equal(m.model->graph->n_node, r.file[k].n_nodes);
                eye_onnx_clear(&m);
                assert_accepted(&r.file[k], &o);
            }
        }
}

static void test_refused(void **state) {
    (void)state;
    static const struct { const char *model; struct eye_export_opts o; const char *says; } row[] = {
        {"f", {.opset = 13}, "opset 13: expected 14 to 18"},
        {"f", {.opset = 19}, "opset 19: expected 14 to 18"},
        {"f", {.graphs = 1U << 20}, "unknown bits"},
        {"f", {.target = EYE_TARGET_QNN, .axes = EYE_AXES_DYNAMIC}, "static shapes only"},
        {"f", {.image_side = 100}, "image side 100"},
        {"f", {.cache_len = 1 << 20}, "the model has"},
        {"f", {.seq_len = 1 << 20}, "the model has"},
        {"f", {.cache_len = 31, .step = {32}, .n_steps = 1}, "32 new tokens per call: expected 1 to 31"},
        {"f", {.n_steps = EYE_EXPORT_MAX_STEPS + 1}, "step sizes"},
        {"compose/gpt2", {.graphs = EYE_EXPORT_VISION}, "a model of text"},
        {"compose/gpt2", {.graphs = EYE_EXPORT_KV, .rope_inputs = true}, "learned positions"},
    };
    for (size_t i = 0; i < EYE_COUNT(row); i++) {
        const char *model = row[i].model[1] ? listed(row[i].model) : fastvlm();
        assert_true(eye_error_is(row[i].says, eye_export_onnx(model, eye_scratch_path("refused"), &row[i].o, NULL, &err),
                                 EYE_E_ARG, &err,
                                 row[i].says));
    }
    struct eye_export_opts long_rows = {.graphs = EYE_EXPORT_KV, .cache_len = 8191, .step = {1, 4096}, .n_steps = 2};
    assert_true(eye_error_is("mask", eye_export_onnx(fastvlm(), eye_scratch_path("refused"), &long_rows, NULL, &err),
                             EYE_E_LIMIT, &err,
                             "a mask of 4096 x 8192"));
    assert_true(eye_error_is("folder", eye_export_onnx(fastvlm(), "/nowhere/at/all", NULL, NULL, &err), EYE_E_IO, &err,
                             "/nowhere/at/all"));
    assert_false(eye_path_exists(eye_scratch_path("refused/vision_encoder.onnx")));
}

static bool at_once(void *ctx) {
    (void)ctx;
    return true;
}

static void test_cancel(void **state) {
    (void)state;
    const char *dir = eye_scratch_path("cancelled");
    enum eye_status st = eye_export_onnx(fastvlm(), dir, &(struct eye_export_opts){.cancel = at_once}, NULL, &err);
    assert_true(eye_error_is("cancel", st, EYE_E_CANCELLED, &err, ""));
    assert_false(eye_path_exists(eye_scratch_path("cancelled/vision_encoder.onnx")));
}

/* y = x w^T + r of w with a number that half precision lacks; then an op that has no form. */
static void test_walk(void **state) {
    (void)state;
    static const float w[2] = {1, 70000};
    const struct eye_tensor t = {.data = w, .dtype = EYE_F32, .rank = 2, .dims = {1, 2}};
    for (int bad = 0; bad < 2; bad++) {
        struct eye_graph g;
        struct eye_onnx m;
        struct eye_draft d;
        struct eye_weight_scratch scratch = {0};
        const char *out;
        eye_graph_init(&g, NULL);
        eye_val x = eye_input(&g, "x", EYE_F32, 2, (int64_t[]){EYE_DIM_T, 2});
        x = bad ? eye_scale(&g, x, 2) : eye_linear(&g, x, eye_weight(&g, "big.weight", &t), EYE_NONE);
        eye_output(&g, x);
        ok(eye_graph_finish(&g, &err));
        ok(eye_onnx_new(&m, "walk", 17, NULL, &err));
        eye_draft_init(&d, &m, 17, EYE_ONNX_F16, NULL);
        struct eye_sequence seq = {.d = &d};
        struct eye_walk walk = {.d = &d, .g = &g, .scratch = &scratch, .seq = &seq};
        assert_true(eye_error_is("walk", eye_walk(&walk, "x", EYE_LAY_PLAIN, &out, &err), EYE_E_UNSUPPORTED, &err,
                                 bad ? "scale has no form" : "big.weight: row 0 holds 70000"));
        eye_weight_scratch_clear(&scratch);
        eye_draft_clear(&d);
        eye_onnx_clear(&m);
        eye_graph_clear(&g);
    }
}

/* Too little memory at any place: NOMEM, nothing lost. */
static void test_no_memory(void **state) {
    (void)state;
    const char *model = listed("compose/gpt2");
    bool done = false;
    for (long n = 0; !done; n += n < 200 ? 1 : n / 20) {
        struct eye_faulty f;
        eye_faulty_init(&f, n);
        struct eye_export_opts o = {.graphs = EYE_EXPORT_KV | EYE_EXPORT_DECODER, .cache_len = 8, .alloc = &f.alloc};
        enum eye_status st = eye_export_onnx(model, eye_scratch_path("memory"), &o, NULL, &err);
        done = !f.failed;
        if (st != (done ? EYE_OK : EYE_E_NOMEM)) fail_msg("after %ld allocations: %s: %s", n, eye_status_name(st), err.text);
        assert_int_equal(f.n_live, 0);
    }
}

static int remove_scratch(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dynamic), cmocka_unit_test(test_layouts), cmocka_unit_test(test_npu),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_weights), cmocka_unit_test(test_families), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cancel), cmocka_unit_test(test_bands), cmocka_unit_test(test_walk),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("export", tests, NULL, remove_scratch);
}
