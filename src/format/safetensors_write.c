/* format/safetensors_write: see safetensors_write.h. */
#include "format/safetensors_write.h"

#include <jansson.h>
#include <string.h>

#include "base/sys.h"
#include "format/json.h"

/* One member of the header; *offset moves past the tensor. */
static enum eye_status add_entry(json_t *header, const struct eye_named_tensor *e, uint64_t *offset, struct eye_err *err) {
    size_t bytes;
    const char *type = eye_safetensors_type(e->t.dtype);
    if (!e->name[0] || strcmp(e->name, "__metadata__") == 0 || json_object_get(header, e->name))
        return eye_fail(err, EYE_E_ARG, "tensor name \"%.100s\": empty, reserved or there twice", e->name);
    if (!type)
        return eye_fail(err, EYE_E_UNSUPPORTED, "tensor \"%.100s\": safetensors has no type %s", e->name,
                        eye_dtype_info(e->t.dtype)->name);
    if (!eye_tensor_bytes(&e->t, &bytes) || bytes > (uint64_t)INT64_MAX - *offset)
        return eye_fail(err, EYE_E_LIMIT, "tensor \"%.100s\": too large", e->name);
    json_t *shape = json_array();
    for (int i = 0; shape && i < e->t.rank; i++) json_array_append_new(shape, json_integer(e->t.dims[i]));
    json_t *v = json_pack("{s:s, s:o, s:[I, I]}", "dtype", type, "shape", shape, "data_offsets", (json_int_t)*offset,
                          (json_int_t)(*offset + bytes));
    *offset += bytes;
    return json_object_set_new(header, e->name, v) == 0 ? EYE_OK : eye_fail_nomem(err, strlen(e->name));
}

static enum eye_status add_metadata(json_t *header, const struct eye_metadata *metadata, size_t n, struct eye_err *err) {
    json_t *m = json_object();
    for (size_t i = 0; i < n; i++) {
        if (json_object_set_new(m, metadata[i].key, json_string(metadata[i].value)) == 0) continue;
        json_decref(m);
        return eye_fail(err, EYE_E_ARG, "metadata \"%.100s\" is no UTF-8 text", metadata[i].key);
    }
    return json_object_set_new(header, "__metadata__", m) == 0 ? EYE_OK : eye_fail_nomem(err, n);
}

static enum eye_status write_all(struct eye_writer *w, const struct eye_buf *header, const struct eye_named_tensor *tensor, size_t n,
                                 struct eye_err *err) {
    /* Data begins at a multiple of 64, so that a mapped file's tensors are aligned: the header is padded with blanks. */
    size_t len = header->len, padded = EYE_ALIGN_UP(len + 8, 64) - 8;
    uint8_t size[8];
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)padded >> (8 * i));
    EYE_TRY(eye_writer_put(w, size, sizeof size, err));
    EYE_TRY(eye_writer_put(w, header->p, len, err));
    for (; len < padded; len++) EYE_TRY(eye_writer_put(w, " ", 1, err));
    for (size_t i = 0; i < n; i++) {
        size_t bytes = 0;
        (void)eye_tensor_bytes(&tensor[i].t, &bytes); /* checked when the header was made */
        EYE_TRY(eye_writer_put(w, tensor[i].t.data, bytes, err));
    }
    return eye_writer_commit(w, err);
}

enum eye_status eye_safetensors_write(const char *path, const struct eye_named_tensor *tensor, size_t n,
                                      const struct eye_metadata *metadata, size_t n_metadata, const struct eye_alloc *alloc,
                                      struct eye_err *err) {
    struct eye_writer w = {0};
    struct eye_buf text;
    uint64_t offset = 0;
    enum eye_status st = EYE_OK;
    json_t *header = json_object();
    if (!header) return eye_fail_nomem(err, n);
    eye_buf_init(&text, alloc);
    if (n_metadata) EYE_TRY_GOTO(add_metadata(header, metadata, n_metadata, err));
    for (size_t i = 0; i < n; i++) EYE_TRY_GOTO(add_entry(header, &tensor[i], &offset, err));
    EYE_TRY_GOTO(eye_json_write(header, 0, &text, err));
    EYE_TRY_GOTO(eye_writer_open(&w, path, err));
    EYE_TRY_GOTO(write_all(&w, &text, tensor, n, err));
fail:
    eye_writer_abort(&w);
    eye_buf_clear(&text);
    json_decref(header);
    return st;
}
