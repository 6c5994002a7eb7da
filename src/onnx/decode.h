/* onnx/decode: protobuf's wire format into protobuf-c's structs, by the generated descriptors. */
#ifndef EYE_ONNX_DECODE_H
#define EYE_ONNX_DECODE_H

#include "onnx/onnx.h"

/* p [n] into m->model, with memory of m->arena; fields of bytes point into p. Text of errors begins with m->where. */
EYE_MUST_CHECK enum eye_status eye_onnx_decode(struct eye_onnx *m, const uint8_t *p, size_t n, struct eye_err *err);

#endif
