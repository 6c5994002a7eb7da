/* format/safetensors: read a .safetensors file. Views point into the mapped file; closing it ends them.
 * Layout (github.com/huggingface/safetensors):
 *   offset  size  meaning
 *   0       8     N, little-endian length of the header
 *   8       N     JSON object: {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, "__metadata__": {..}}
 *   8 + N   rest  data; offsets count from here; tensors cover it without holes or overlaps */
#ifndef EYE_FORMAT_SAFETENSORS_H
#define EYE_FORMAT_SAFETENSORS_H

#include "base/sys.h"
#include "format/table.h"

struct eye_metadata {
    const char *key, *value; /* NUL-terminated, owned by the file */
};

struct eye_safetensors {
    struct eye_map map;
    struct eye_table table;
    struct eye_metadata *metadata; /* [n_metadata] */
    size_t n_metadata;
};

/* CORRUPT for whatever contradicts the format; UNSUPPORTED for dtypes and ranks we lack; NOMEM; IO. s is set on success. */
EYE_MUST_CHECK enum eye_status eye_safetensors_open(struct eye_safetensors *s, const char *path, bool use_mmap,
                                                    const struct eye_alloc *alloc, struct eye_err *err);
/* The same over bytes in memory; p [n] and where are borrowed until close. */
EYE_MUST_CHECK enum eye_status eye_safetensors_open_bytes(struct eye_safetensors *s, const void *p, size_t n, const char *where,
                                                          const struct eye_alloc *alloc, struct eye_err *err);
void eye_safetensors_close(struct eye_safetensors *s); /* zero-initialised is fine */
const char *eye_safetensors_type(enum eye_dtype dtype); /* "F32", …; NULL: the format has no such type */

#endif
