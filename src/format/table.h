/* format/table: named tensors of one file: what safetensors and gguf readers have in common. Checks names, shapes and byte
 * ranges once, here, before anybody gets a view. */
#ifndef EYE_FORMAT_TABLE_H
#define EYE_FORMAT_TABLE_H

#include "tensor/tensor.h"

struct eye_str { /* bytes, borrowed, not NUL-terminated */
    const char *p;
    size_t len;
};

struct eye_entry {
    const char *name; /* NUL-terminated, owned by the table */
    struct eye_tensor t;
    size_t begin, bytes; /* in the file's data section */
};

struct eye_table {
    const char *where; /* borrowed: file name for error texts */
    struct eye_arena arena; /* names, copies of misaligned data; open to the readers for their own small things */
    struct eye_entry *entry;
    size_t n, cap;
    struct eye_strmap index;
    size_t data_bytes; /* sum over the entries */
};

void eye_table_init(struct eye_table *t, const char *where, const struct eye_alloc *alloc);
void eye_table_clear(struct eye_table *t);
EYE_MUST_CHECK enum eye_status eye_table_reserve(struct eye_table *t, size_t n, struct eye_err *err);

/* Adds one: name [len] without NUL bytes, not empty, new; dims outermost first. begin = first byte in the data section. */
EYE_MUST_CHECK enum eye_status eye_table_add(struct eye_table *t, const char *name, size_t len, enum eye_dtype dtype, int rank,
                                             const int64_t *dims, uint64_t begin, struct eye_err *err);
/* Checks that all entries lie in data [size] without overlap (and, if packed, without holes and up to the last byte), then
 * makes the views. One whose address does not suit its dtype is copied into the arena: real files never have any. */
EYE_MUST_CHECK enum eye_status eye_table_bind(struct eye_table *t, const uint8_t *data, size_t size, bool packed,
                                              struct eye_err *err);
/* Part of the above for a reader that has checked entry e's place itself: makes its view. */
EYE_MUST_CHECK enum eye_status eye_table_bind_one(struct eye_table *t, struct eye_entry *e, const uint8_t *p, struct eye_err *err);
const struct eye_entry *eye_table_find(const struct eye_table *t, const char *name); /* NULL = absent */

/* CORRUPT with a hint for what people get in place of a weights file: nothing, a git-lfs pointer, a web page; OK otherwise. */
EYE_MUST_CHECK enum eye_status eye_weights_sniff(const char *where, const uint8_t *p, size_t n, struct eye_err *err);

#endif
