/* format/gguf: read a GGUF file (versions 2 and 3, little-endian). Values and views point into the mapped file.
 * Layout (GGUF specification, ggml/docs/gguf.md):
 *   "GGUF", u32 version, u64 tensor count, u64 kv count
 *   per kv:      string key, u32 type, value         (string = u64 length + bytes; array = u32 type, u64 count, items)
 *   per tensor:  string name, u32 n_dims, u64 dims[n_dims] (innermost first: the other way round than ours), u32 ggml type,
 *                u64 offset (from the start of the data, a multiple of the alignment)
 *   padding up to general.alignment (32 by default), then the data
 * Unlike ggml we take rows that are no multiple of a block's elements (the last block is zero-filled). */
#ifndef EYE_FORMAT_GGUF_H
#define EYE_FORMAT_GGUF_H

#include "base/sys.h"
#include "format/table.h"

#define EYE_GGUF_GENIE_KEY "model.size.vocabulary" /* only Genie's composer, and eyelet in its place, writes it */

/* The file's numbers. */
enum eye_gguf_type {
    EYE_GGUF_U8, EYE_GGUF_I8, EYE_GGUF_U16, EYE_GGUF_I16, EYE_GGUF_U32, EYE_GGUF_I32, EYE_GGUF_F32, EYE_GGUF_BOOL,
    EYE_GGUF_STRING, EYE_GGUF_ARRAY, EYE_GGUF_U64, EYE_GGUF_I64, EYE_GGUF_F64,
    EYE_GGUF_N_TYPE
};

struct eye_gguf_kv {
    const char *key;              /* NUL-terminated */
    enum eye_gguf_type type;      /* of the value, or of an array's items */
    bool is_array;
    size_t n;                     /* items; 1 for a plain value */
    const uint8_t *data;          /* numbers, little-endian, unaligned; NULL for strings */
    const struct eye_str *string; /* [n], NULL for numbers; bytes in the file, may hold NULs */
};

struct eye_gguf {
    struct eye_map map;
    struct eye_table table;
    uint32_t version;
    bool genie;             /* a decoder in Genie's form: its tensor types have numbers of their own; see gguf_genie.h */
    size_t alignment;
    struct eye_gguf_kv *kv; /* [n_kv] in file order */
    size_t n_kv;
    struct eye_strmap kv_index;
};

/* CORRUPT, UNSUPPORTED (version, big-endian, nested arrays, unknown ggml types), IO, NOMEM. g is set on success. */
EYE_MUST_CHECK enum eye_status eye_gguf_open(struct eye_gguf *g, const char *path, bool use_mmap, const struct eye_alloc *alloc,
                                             struct eye_err *err);
/* The same over bytes in memory; p [n] and where are borrowed until close. */
EYE_MUST_CHECK enum eye_status eye_gguf_open_bytes(struct eye_gguf *g, const void *p, size_t n, const char *where,
                                                   const struct eye_alloc *alloc, struct eye_err *err);
void eye_gguf_close(struct eye_gguf *g); /* zero-initialised is fine */

const char *eye_gguf_type_name(enum eye_gguf_type type); /* "u8", "string", … */
size_t eye_gguf_type_bytes(enum eye_gguf_type type);     /* of one number; 0 for strings and arrays */
bool eye_gguf_ggml_id(enum eye_dtype dtype, uint32_t *id); /* the file's number of a tensor type; false: GGUF has none */
bool eye_gguf_ggml_dtype(uint32_t id, enum eye_dtype *dtype); /* the way back; false: a number we do not know */

const struct eye_gguf_kv *eye_gguf_find(const struct eye_gguf *g, const char *key); /* NULL = absent */
/* Typed reads; absent = the default; another type, or an integer that does not fit = CORRUPT naming the key. */
EYE_MUST_CHECK enum eye_status eye_gguf_int(const struct eye_gguf *g, const char *key, int64_t def, int64_t *out,
                                            struct eye_err *err); /* any integer type */
EYE_MUST_CHECK enum eye_status eye_gguf_double(const struct eye_gguf *g, const char *key, double def, double *out,
                                               struct eye_err *err); /* any number type */
EYE_MUST_CHECK enum eye_status eye_gguf_bool(const struct eye_gguf *g, const char *key, bool def, bool *out,
                                             struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_gguf_str(const struct eye_gguf *g, const char *key, struct eye_str *out,
                                            struct eye_err *err); /* absent: out->p = NULL */
/* Item i < kv->n of a number array (or i = 0 of a plain number). */
int64_t eye_gguf_item_int(const struct eye_gguf_kv *kv, size_t i);   /* u64 above INT64_MAX wraps; floats are truncated */
double eye_gguf_item_double(const struct eye_gguf_kv *kv, size_t i);

#endif
