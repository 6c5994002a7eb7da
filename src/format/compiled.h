/* format/compiled: a model that was packed ahead of time for one layout of weights (`eyelet compile`). It is a GGUF file, so
 * that reader, writer and limits are the ones of every other file; what it adds (doc/COMPILE.md):
 *
 *   tensor packed.FORM.WEIGHT    i8 [bytes]: panels as the kernels of that form read them, at a multiple of 4096 in the file
 *   eyelet.compiled.version      u32
 *   eyelet.compiled.cpu          string: CPU features it was made with
 *   eyelet.compiled.forms        [string], and for each: .kernels [string] who packed it, .layouts [u64] what stands for the
 *                                bytes that come out (eye_packed_layout of the engine)
 *   eyelet.compiled.weights      [string], and for each: .types [u32] ggml's number, .dims [i64 x 4] outermost first, then 0:
 *                                weights that are nowhere else in the file
 *   eyelet.compiled.decoder      u32: the tensor from which on, to the end of the file, lies what every answer reads all of, in
 *                                this order (panels of the decoder and its head; those of the eyes lie before); may be absent
 *   eyelet.compiled.sums         [u64]: xxh64 of each tensor's bytes, in the order of the file
 *
 * Knows no kernels: whether the layouts are those of this machine is for others to say. */
#ifndef EYE_FORMAT_COMPILED_H
#define EYE_FORMAT_COMPILED_H

#include "format/gguf.h"

#define EYE_COMPILED_VERSION 1
#define EYE_COMPILED_ALIGNMENT 4096
#define EYE_COMPILED_KEY "eyelet.compiled."
#define EYE_COMPILED_PREFIX "packed."
#define EYE_COMPILED_MAX_FORMS 64
#define EYE_COMPILED_TOKENIZER "tokenizer" /* packed.tokenizer.lists: what was taken out of tokenizer.json (text/packed.c) */
#define EYE_COMPILED_LISTS "lists"

struct eye_compiled_form {
    char name[64];        /* NUL-terminated */
    struct eye_str kernel; /* in the file */
    uint64_t layout;
};

struct eye_compiled {
    struct eye_str cpu;
    struct eye_compiled_form *form; /* [n_forms] */
    size_t n_forms;
    struct eye_entry *absent;       /* [n_absent] weights without data: t.data NULL; bytes: what they would have */
    size_t n_absent;
    const void *panels, *decoder;   /* where in the file panels begin, and the decoder's; NULL: it has none, does not say */
};

bool eye_gguf_is_compiled(const struct eye_gguf *g);
/* Memory is the arena's. CORRUPT: lists of unequal length, tensors of names or types that cannot be; UNSUPPORTED: a version. */
EYE_MUST_CHECK enum eye_status eye_compiled_read(struct eye_compiled *c, const struct eye_gguf *g, struct eye_arena *arena,
                                                 struct eye_err *err);
bool eye_compiled_is_packed(const char *name); /* such a tensor's */
/* The panels of weight `name` in a form, *bytes of them; NULL = the file has none. */
const void *eye_compiled_find(const struct eye_gguf *g, const char *form, const char *name, size_t *bytes);
/* Reads everything: CORRUPT names the first tensor whose bytes are not what was written. */
EYE_MUST_CHECK enum eye_status eye_compiled_check(const struct eye_gguf *g, struct eye_err *err);

#endif
