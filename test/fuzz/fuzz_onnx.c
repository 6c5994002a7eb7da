/* Fuzz target: the bytes are an ONNX model. Every tensor's bytes are read; what we read is packed again and held against what
 * protobuf-c reads out of the same bytes. */
#include "fuzz/fuzz.h"
#include "onnx/onnx.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_onnx m;
    struct eye_err err = {0};
    enum eye_status st = eye_onnx_load_bytes(&m, p, n, "fuzz", NULL, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    if (eye_onnx_walk(&m.model->base, read_tensor, &m, &err) != EYE_OK) abort();
    compare(&m, p, n);
    eye_onnx_clear(&m);
    return 0;
}
