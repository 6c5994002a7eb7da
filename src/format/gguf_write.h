/* format/gguf_write: write a GGUF file, v3 or v2 (the same bytes but for the number). Keys and tensor names first, then data, streamed: a model need not be in memory.
 *
 *   struct eye_gguf_writer w;
 *   eye_gguf_writer_init(&w, alloc);
 *   EYE_TRY_GOTO(eye_gguf_put_text(&w, "general.architecture", "qwen2", err));
 *   EYE_TRY_GOTO(eye_gguf_add_tensor(&w, "token_embd.weight", &tensor, NULL, NULL, err));
 *   EYE_TRY_GOTO(eye_gguf_write(&w, "model.gguf", err));    appears under its name only when it is whole
 *   fail: eye_gguf_writer_clear(&w); */
#ifndef EYE_FORMAT_GGUF_WRITE_H
#define EYE_FORMAT_GGUF_WRITE_H

#include "format/gguf.h"

/* Fills dst with rows [row, row + n_rows) of the tensor in its dtype. A row is the last dimension, padded to whole blocks. */
typedef enum eye_status eye_gguf_rows_fn(void *ctx, int64_t row, int64_t n_rows, void *dst, struct eye_err *err);

struct eye_gguf_writer {
    struct eye_arena arena; /* names */
    struct eye_strmap keys, names;
    struct eye_buf kv, infos; /* encoded */
    struct eye_gguf_part *part;
    size_t n_kv, n_parts, cap;
    uint32_t version;         /* 0 = 3 */
    uint64_t data_bytes;
    size_t alignment; /* of tensors: 32; see eye_gguf_set_alignment */
};

void eye_gguf_writer_init(struct eye_gguf_writer *w, const struct eye_alloc *alloc);
void eye_gguf_writer_clear(struct eye_gguf_writer *w);

/* Values are copied. ARG: an empty key or one used twice, an integer that does not fit its type. */
EYE_MUST_CHECK enum eye_status eye_gguf_put_int(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type, int64_t v,
                                                struct eye_err *err); /* u8 … i64 */
EYE_MUST_CHECK enum eye_status eye_gguf_put_float(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type, double v,
                                                  struct eye_err *err); /* f32, f64 */
EYE_MUST_CHECK enum eye_status eye_gguf_put_bool(struct eye_gguf_writer *w, const char *key, bool v, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_gguf_put_str(struct eye_gguf_writer *w, const char *key, const void *p, size_t len,
                                                struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_gguf_put_text(struct eye_gguf_writer *w, const char *key, const char *text,
                                                 struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_gguf_put_ints(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type,
                                                 const int64_t *v, size_t n, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_gguf_put_u64s(struct eye_gguf_writer *w, const char *key, const uint64_t *v, size_t n,
                                                 struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_gguf_put_floats(struct eye_gguf_writer *w, const char *key, enum eye_gguf_type type,
                                                   const double *v, size_t n, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_gguf_put_strs(struct eye_gguf_writer *w, const char *key, const struct eye_str *v, size_t n,
                                                 struct eye_err *err);

/* A key of another file as it is there. */
EYE_MUST_CHECK enum eye_status eye_gguf_put_kv(struct eye_gguf_writer *w, const struct eye_gguf_kv *kv, struct eye_err *err);
/* Before the first tensor: they begin at multiples of this, a power of two, which the file says as general.alignment. */
EYE_MUST_CHECK enum eye_status eye_gguf_set_alignment(struct eye_gguf_writer *w, size_t alignment, struct eye_err *err);

/* t: dtype and shape; its data (borrowed until eye_gguf_write) is written as it stands unless rows is given, which is then
 * asked for them in order during eye_gguf_write. A scalar is written as one dimension of 1. UNSUPPORTED: dtypes that GGUF
 * lacks (u8, bool), rank 5, zero dims. */
EYE_MUST_CHECK enum eye_status eye_gguf_add_tensor(struct eye_gguf_writer *w, const char *name, const struct eye_tensor *t,
                                                   eye_gguf_rows_fn *rows, void *ctx, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_gguf_write(struct eye_gguf_writer *w, const char *path, struct eye_err *err);

#endif
