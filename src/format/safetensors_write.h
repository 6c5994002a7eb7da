/* format/safetensors_write: write a .safetensors file (layout: safetensors.h). The list of tensors stands in memory, their data
 * is borrowed and streamed; the file appears under its name only when it is whole. */
#ifndef EYE_FORMAT_SAFETENSORS_WRITE_H
#define EYE_FORMAT_SAFETENSORS_WRITE_H

#include "format/safetensors.h"

struct eye_named_tensor {
    const char *name;    /* UTF-8, not "__metadata__" */
    struct eye_tensor t; /* a plain dtype */
};

/* tensor [n] in the order of the file; metadata [n_metadata] may be NULL. ARG: a name twice or empty; UNSUPPORTED: block dtypes;
 * IO. */
EYE_MUST_CHECK enum eye_status eye_safetensors_write(const char *path, const struct eye_named_tensor *tensor, size_t n,
                                                     const struct eye_metadata *metadata, size_t n_metadata,
                                                     const struct eye_alloc *alloc, struct eye_err *err);

#endif
