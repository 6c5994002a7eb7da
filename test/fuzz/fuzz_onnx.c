/* Fuzz target: the bytes are an ONNX model. Every tensor's bytes are read; what we read is packed again and held against what
 * protobuf-c reads out of the same bytes. Then everything that looks at graphs looks at it, and its names are changed. */
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

static void compare(const struct eye_onnx *m, const uint8_t *p, size_t n) {
    EyeOnnx__ModelProto *theirs = eye_onnx__model_proto__unpack(NULL, n, p);
    if (!theirs) return; /* it is stricter about some duplicates */
    size_t a = eye_onnx__model_proto__get_packed_size(m->model), b = eye_onnx__model_proto__get_packed_size(theirs);
    if (a != b) abort();
    uint8_t *pa = malloc(a + 1), *pb = malloc(b + 1);
    if (!pa || !pb) abort();
    eye_onnx__model_proto__pack(m->model, pa);
    eye_onnx__model_proto__pack(theirs, pb);
    if (memcmp(pa, pb, a)) abort();
    free(pa);
    free(pb);
    eye_onnx__model_proto__free_unpacked(theirs, NULL);
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
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_onnx m;
    struct eye_err err = {0};
    enum eye_status st = eye_onnx_load_bytes(&m, p, n, "fuzz", NULL, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    if (eye_onnx_walk(&m.model->base, read_tensor, &m, &err) != EYE_OK) abort();
    compare(&m, p, n);
    look(&m);
    change(&m);
    eye_onnx_clear(&m);
    return 0;
}
