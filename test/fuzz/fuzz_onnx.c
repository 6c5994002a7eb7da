/* Fuzz target: the bytes are an ONNX model. Every tensor's bytes are read; what we read is written again, for protobuf-c
 * to read. Then everything that looks at graphs looks at it, and its names are changed. */
#include "fuzz/fuzz.h"
#include "onnx/view.h"

static enum eye_status read_tensor(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    const EyeOnnx__TensorProto *t = (EyeOnnx__TensorProto *)(void *)msg;
    const void *p;
    size_t n;
    if (msg->descriptor != &eye_onnx__tensor_proto__descriptor || !eye_onnx_type_bits(t->data_type)) return EYE_OK;
    if (eye_onnx_bytes(ctx, t, &p, &n, err) != EYE_OK) return eye_fuzz_error(err->code, err), EYE_OK;
    eye_fuzz_read(p, n);
    return EYE_OK;
}

/* What we read, written again: protobuf-c must read that as the same. Of the bytes themselves it reads a message that is there twice
 * within a oneof otherwise than the format says (corpus: twice). */
static void compare(const struct eye_onnx *m) {
    size_t n = eye_onnx__model_proto__get_packed_size(m->model);
    uint8_t *ours = malloc(n + 1), *theirs = malloc(n + 1);
    if (!ours || !theirs) abort();
    eye_onnx__model_proto__pack(m->model, ours);
    EyeOnnx__ModelProto *model = eye_onnx__model_proto__unpack(NULL, n, ours);
    if (!model || eye_onnx__model_proto__get_packed_size(model) != n) abort();
    eye_onnx__model_proto__pack(model, theirs);
    if (memcmp(ours, theirs, n)) abort();
    eye_onnx__model_proto__free_unpacked(model, NULL);
    free(ours);
    free(theirs);
}

static void look(struct eye_onnx *m) {
    struct eye_onnx_report r;
    struct eye_err err = {0};
    eye_onnx_report_init(&r);
    if (eye_onnx_check_graph(m, &r, &err) != EYE_OK) eye_fuzz_error(err.code, &err);
    for (int style = EYE_ONNX_KV_PLAIN; style <= EYE_ONNX_KV_GENIE; style++) {
        struct eye_onnx_check_opts opts = {.signature = "decoder-kv", .kv_style = (enum eye_onnx_kv_style)style};
        if (eye_onnx_check_signature(m, &opts, &r, &err) != EYE_OK) eye_fuzz_error(err.code, &err);
    }
    if (eye_onnx_lint_model(m, EYE_ONNX_TARGET_QNN, &r, &err) != EYE_OK) eye_fuzz_error(err.code, &err);
    eye_onnx_report_sort(&r);
    for (size_t i = 0; i < r.n; i++) eye_fuzz_read(r.finding[i].text, strlen(r.finding[i].text));
    eye_onnx_report_clear(&r);
}

static void change(struct eye_onnx *m) {
    static const char *const pair[] = {"x=y", "y=x"};
    struct eye_onnx_rename_opts opts = {.names = EYE_ONNX_NAMES_GENIE};
    struct eye_err err = {0};
    if (eye_onnx_rename_model(m, &opts, NULL, &err) != EYE_OK) eye_fuzz_error(err.code, &err);
    opts = (struct eye_onnx_rename_opts){.pair = pair, .n_pairs = 2};
    if (eye_onnx_rename_model(m, &opts, NULL, &err) != EYE_OK) eye_fuzz_error(err.code, &err);
    struct eye_onnx_patch_opts patch = {.rope_inputs = m->model->graph->n_node % 2,
                                        .mask_nonzero = m->model->graph->n_input % 2};
    if (eye_onnx_patch_model(m, &patch, NULL, &err) != EYE_OK) {
        eye_fuzz_error(err.code, &err);
        return;
    }
    size_t n = eye_onnx__model_proto__get_packed_size(m->model); /* what came of it is a tree that can be written */
    uint8_t *p = malloc(n + 1);
    if (!p) abort();
    eye_onnx__model_proto__pack(m->model, p);
    free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_onnx m;
    struct eye_err err = {0};
    enum eye_status st = eye_onnx_load_bytes(&m, p, n, "fuzz", NULL, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    if (eye_onnx_walk(&m.model->base, read_tensor, &m, &err) != EYE_OK) abort();
    compare(&m);
    look(&m);
    change(&m);
    eye_onnx_clear(&m);
    return 0;
}
