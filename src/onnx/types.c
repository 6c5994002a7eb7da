/* onnx/types: element types, and walks over the tree. */
#include <string.h>

#include "onnx/onnx.h"

static const struct {
    int32_t type;
    const char *name, *onnx_name;
    size_t bits;
} types[] = {
    {EYE_ONNX_F32, "f32", "float32", 32}, {EYE_ONNX_U8, "u8", "uint8", 8},     {EYE_ONNX_I8, "i8", "int8", 8},
    {EYE_ONNX_U16, "u16", "uint16", 16},  {EYE_ONNX_I16, "i16", "int16", 16},  {EYE_ONNX_I32, "i32", "int32", 32},
    {EYE_ONNX_I64, "i64", "int64", 64},   {EYE_ONNX_STRING, "text", "string", 0}, {EYE_ONNX_BOOL, "bool", "bool", 8},
    {EYE_ONNX_F16, "f16", "float16", 16}, {EYE_ONNX_F64, "f64", "double", 64}, {EYE_ONNX_U32, "u32", "uint32", 32},
    {EYE_ONNX_U64, "u64", "uint64", 64},  {14, "c64", "complex64", 64},        {15, "c128", "complex128", 128},
    {EYE_ONNX_BF16, "bf16", "bfloat16", 16}, {17, "f8e4m3fn", "float8e4m3fn", 8}, {18, "f8e4m3fnuz", "float8e4m3fnuz", 8},
    {19, "f8e5m2", "float8e5m2", 8},      {20, "f8e5m2fnuz", "float8e5m2fnuz", 8}, {21, "u4", "uint4", 4},
    {22, "i4", "int4", 4},                {23, "f4e2m1", "float4e2m1", 4},
};

const char *eye_onnx_type_name(int32_t type) {
    for (size_t i = 0; i < EYE_COUNT(types); i++)
        if (types[i].type == type) return types[i].name;
    return "type?";
}

int32_t eye_onnx_type_find(const char *name) {
    if (strcmp(name, "float") == 0) return EYE_ONNX_F32;
    for (size_t i = 0; i < EYE_COUNT(types); i++)
        if (strcmp(types[i].name, name) == 0 || strcmp(types[i].onnx_name, name) == 0) return types[i].type;
    return 0;
}

size_t eye_onnx_type_bits(int32_t type) {
    for (size_t i = 0; i < EYE_COUNT(types); i++)
        if (types[i].type == type) return types[i].bits;
    return 0;
}

EyeOnnx__AttributeProto *eye_onnx_attr(const EyeOnnx__NodeProto *n, const char *name) {
    for (size_t i = 0; i < n->n_attribute; i++)
        if (strcmp(eye_onnx_str(n->attribute[i]->name), name) == 0) return n->attribute[i];
    return NULL;
}

/* Recursion as deep as messages nest, which reading bounds (EYE_ONNX_MAX_DEPTH). */
enum eye_status eye_onnx_walk(ProtobufCMessage *msg, eye_onnx_walk_fn *fn, void *ctx, struct eye_err *err) {
    EYE_TRY(fn(ctx, msg, err));
    const ProtobufCMessageDescriptor *d = msg->descriptor;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        char *base = (char *)msg;
        if (f->type != PROTOBUF_C_TYPE_MESSAGE) continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n = *(size_t *)(void *)(base + f->quantifier_offset);
            ProtobufCMessage **item = *(ProtobufCMessage ***)(void *)(base + f->offset);
            for (size_t k = 0; k < n; k++) EYE_TRY(eye_onnx_walk(item[k], fn, ctx, err));
            continue;
        }
        bool other = (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && *(uint32_t *)(void *)(base + f->quantifier_offset) != f->id;
        ProtobufCMessage *sub = other ? NULL : *(ProtobufCMessage **)(void *)(base + f->offset);
        if (sub) EYE_TRY(eye_onnx_walk(sub, fn, ctx, err));
    }
    return EYE_OK;
}
