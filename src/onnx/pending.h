/* onnx/pending: what the files of this room share: where bytes come from when a model is written, folders of paths. */
#ifndef EYE_ONNX_PENDING_H
#define EYE_ONNX_PENDING_H

#include "onnx/onnx.h"

struct eye_onnx_pending { /* an initializer without bytes in the tree */
    EyeOnnx__TensorProto *t;
    const void *data; /* borrowed [bytes]; NULL: */
    eye_onnx_rows_fn *rows;
    void *ctx;
    size_t bytes;
};

/* The folder of a path, "." for a bare name; NULL = no memory. */
const char *eye_onnx_folder(struct eye_arena *arena, const char *path);

#endif
