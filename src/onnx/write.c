/* onnx/write: models to files. Weights are streamed: into a data file that several models may share, or into the message itself
 * while protobuf-c packs it. What was mapped stays mapped, what a callback makes exists a chunk at a time.
 *
 * Order: all initializers are listed, places in the data file are given to those that go there, the data file is written and
 * renamed into place, then the models. So no model ever names bytes that are not there. */
#include <stdio.h>
#include <string.h>

#include "onnx/pending.h"

#define CHUNK ((size_t)1 << 20)

struct item { /* one initializer of one model */
    struct eye_onnx *m;
    EyeOnnx__TensorProto *t;
    struct eye_onnx_pending from; /* bytes of 0 that are not pending: whatever the tree holds */
    uint64_t offset;              /* in the data file */
    bool outside, first;          /* goes to the data file; and is the one whose bytes are written */
};

struct job {
    const struct eye_onnx_write_opts *opts;
    struct item *item;
    size_t n, cap;
    const struct eye_alloc *alloc;
    struct eye_strmap names; /* -> item, of those outside */
    void *chunk;             /* for rows */
    size_t chunk_cap;
    uint64_t done, total;    /* bytes of weights */
    const char *folder;      /* of the output */
};

static enum eye_status tick(struct job *j, size_t bytes, struct eye_err *err) {
    const struct eye_onnx_write_opts *o = j->opts;
    j->done += bytes;
    if (o->progress && j->total) o->progress(o->ctx, (double)j->done / (double)j->total);
    return o->cancel && o->cancel(o->ctx) ? eye_fail(err, EYE_E_CANCELLED, "cancelled") : EYE_OK;
}

/* ---- which tensors, and where to ---- */

static const struct eye_onnx_pending *pending_of(const struct eye_onnx *m, const EyeOnnx__TensorProto *t, size_t *hint) {
    for (size_t k = 0; k < m->n_pending; k++) { /* both lists are in one order, so the first look finds it */
        const struct eye_onnx_pending *p = &m->pending[(*hint + k) % m->n_pending];
        if (p->t != t) continue;
        *hint = (*hint + k + 1) % m->n_pending;
        return p;
    }
    return NULL;
}

struct listing {
    struct job *j;
    struct eye_onnx *m;
    bool inner, outer; /* those whose bytes are in the tree or pending; in a data file already */
    size_t hint;
};

static enum eye_status add_item(struct listing *l, EyeOnnx__TensorProto *t, struct eye_err *err) {
    struct job *j = l->j;
    struct eye_onnx *m = l->m;
    const struct eye_onnx_pending *p = pending_of(m, t, &l->hint);
    struct item item = {.m = m, .t = t};
    bool outer = !p && eye_onnx_is_external(t);
    if (t->data_type == EYE_ONNX_STRING || !(outer ? l->outer : l->inner)) return EYE_OK;
    if (p)
        item.from = *p;
    else if (!eye_onnx_type_bits(t->data_type) && !eye_onnx_is_external(t))
        return EYE_OK; /* of a type we do not know: stays as it is */
    else
        EYE_TRY(eye_onnx_bytes(m, t, &item.from.data, &item.from.bytes, err));
    EYE_TRY(eye_alloc_grow(j->alloc, (void **)&j->item, &j->cap, j->n + 1, sizeof item, err));
    j->item[j->n++] = item;
    return EYE_OK;
}

/* Initializers of all graphs; and whatever else is in a data file that will not be there (an attribute's tensor). */
static enum eye_status list_message(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    struct listing *l = ctx;
    if (msg->descriptor == &eye_onnx__graph_proto__descriptor) {
        const EyeOnnx__GraphProto *g = (EyeOnnx__GraphProto *)(void *)msg;
        for (size_t i = 0; i < g->n_initializer; i++) EYE_TRY(add_item(l, g->initializer[i], err));
    } else if (msg->descriptor == &eye_onnx__attribute_proto__descriptor) {
        EyeOnnx__TensorProto *t = ((EyeOnnx__AttributeProto *)(void *)msg)->t;
        if (t && eye_onnx_is_external(t)) return add_item(l, t, err);
    }
    return EYE_OK;
}

static bool same_folder(const char *a, const char *b) {
    char ra[EYE_PATH_MAX], rb[EYE_PATH_MAX];
    return eye_path_real(a, ra, sizeof ra) && eye_path_real(b, rb, sizeof rb) && strcmp(ra, rb) == 0;
}

static enum eye_status check_files(struct job *j, const struct eye_onnx_file *file, size_t n, struct eye_err *err) {
    for (size_t i = 0; i < n; i++) {
        struct eye_onnx *m = file[i].m;
        if (m->failed) return eye_fail(err, EYE_E_NOMEM, "%s: out of memory while the model was built", m->where);
        const char *folder = eye_onnx_folder(&m->arena, file[i].path);
        if (!folder) return eye_fail_nomem(err, strlen(file[i].path));
        if (!j->folder) j->folder = folder;
        if (strcmp(folder, j->folder) != 0)
            return eye_fail(err, EYE_E_ARG, "%s and %s: models that share a data file stand in one folder", file[0].path,
                            file[i].path);
    }
    return EYE_OK;
}

static void forget_data(EyeOnnx__TensorProto *t) {
    t->has_raw_data = 0;
    t->n_float_data = t->n_int32_data = t->n_int64_data = t->n_double_data = t->n_uint64_data = 0;
    t->n_external_data = 0;
    t->has_data_location = 0;
}

/* Lists initializers and empties the tree of them. */
static enum eye_status list_all(struct job *j, const struct eye_onnx_file *file, size_t n, bool inner, bool outer,
                                struct eye_err *err) {
    size_t first = j->n;
    for (size_t i = 0; i < n; i++) {
        struct listing l = {.j = j, .m = file[i].m, .inner = inner, .outer = outer};
        EYE_TRY(eye_onnx_walk(&file[i].m->model->base, list_message, &l, err));
    }
    for (size_t i = first; i < j->n; i++) forget_data(j->item[i].t);
    return EYE_OK;
}

/* May every model keep its weights inside? Their trees have been emptied of them: what is left, and the weights. */
static bool fit_inside(const struct job *j, const struct eye_onnx_file *file, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint64_t size = protobuf_c_message_get_packed_size(&file[i].m->model->base);
        for (size_t k = 0; k < j->n; k++)
            if (j->item[k].m == file[i].m) size += j->item[k].from.bytes + 64; /* of lengths, at most */
        if (size > EYE_ONNX_MAX_FILE) return false;
    }
    return true;
}

/* Bytes that are there are compared; those that are made while they are written are one weight if their name is. */
static enum eye_status share(const struct item *twin, struct item *it, bool *same, struct eye_err *err) {
    bool alike = twin->from.bytes == it->from.bytes && twin->t->data_type == it->t->data_type;
    if (twin->m == it->m) return EYE_OK; /* of two graphs within one model */
    if (it->from.rows && !alike)
        return eye_fail(err, EYE_E_ARG, "%s, %s: \"%.100s\" has another type or size: not one weight", twin->m->where,
                        it->m->where, it->t->name);
    *same = alike && (it->from.rows || (!twin->from.rows && memcmp(twin->from.data, it->from.data, it->from.bytes) == 0));
    it->offset = twin->offset;
    return EYE_OK;
}

static enum eye_status place_outside(struct job *j, struct item *it, uint64_t *end, struct eye_err *err) {
    size_t align = j->opts->align ? j->opts->align : 4096;
    const char *name = eye_onnx_str(it->t->name);
    bool there = false, same = false;
    it->outside = true;
    if (*name) EYE_TRY(eye_strmap_put(&j->names, name, strlen(name), (int32_t)(it - j->item), &there, err));
    if (there) EYE_TRY(share(&j->item[eye_strmap_get(&j->names, name, strlen(name))], it, &same, err));
    if (same) return EYE_OK;
    it->first = true;
    it->offset = EYE_ALIGN_UP(*end, align);
    *end = it->offset + it->from.bytes;
    return EYE_OK;
}

/* Gives each item its place; *outside: whether a data file is wanted. */
static enum eye_status place_all(struct job *j, const struct eye_onnx_file *file, size_t n, bool *outside,
                                 struct eye_err *err) {
    enum eye_onnx_place place = j->opts->place;
    size_t from = j->opts->external_from ? j->opts->external_from : 1024;
    uint64_t end = 0;
    const struct eye_onnx *m = file[0].m;
    bool keep = place == EYE_ONNX_AUTO && n == 1 && m->folder && same_folder(m->folder, j->folder);
    *outside = false;
    EYE_TRY(list_all(j, file, n, true, !keep, err));
    if (place == EYE_ONNX_AUTO) place = n == 1 && fit_inside(j, file, n) ? EYE_ONNX_INLINE : EYE_ONNX_EXTERNAL;
    /* the new data file may take the old one's place */
    if (keep && place == EYE_ONNX_EXTERNAL) EYE_TRY(list_all(j, file, n, false, true, err));
    for (size_t i = 0; i < j->n; i++) {
        struct item *it = &j->item[i];
        if (place == EYE_ONNX_EXTERNAL && it->from.bytes >= from) EYE_TRY(place_outside(j, it, &end, err));
        if (!it->outside || it->first) j->total += it->from.bytes;
        *outside = *outside || it->outside;
    }
    if (!fit_inside(&(struct job){.opts = j->opts}, file, n) || (place == EYE_ONNX_INLINE && !fit_inside(j, file, n)))
        return eye_fail(err, EYE_E_LIMIT, "%s: more than 2 GiB, which a protobuf message cannot be; keep the weights in a data "
                                          "file (external data)", file[0].path);
    return EYE_OK;
}

/* ---- bytes ---- */

typedef enum eye_status put_fn(void *to, const void *p, size_t n, struct eye_err *err);

static enum eye_status put_rows(struct job *j, const struct item *it, put_fn *put, void *to, struct eye_err *err) {
    const struct eye_onnx_pending *f = &it->from;
    int64_t n_rows = it->t->n_dims ? it->t->dims[0] : 1;
    if (f->bytes == 0) return EYE_OK;
    size_t row = f->bytes / (size_t)n_rows;
    int64_t step = (int64_t)EYE_MAX(CHUNK / row, 1);
    size_t need = row * (size_t)EYE_MIN(step, n_rows);
    if (need > j->chunk_cap) {
        eye_alloc_free(j->alloc, j->chunk, j->chunk_cap);
        j->chunk_cap = 0;
        if (!(j->chunk = eye_alloc_raw(j->alloc, need))) return eye_fail_nomem(err, need);
        j->chunk_cap = need;
    }
    for (int64_t r = 0; r < n_rows; r += step) {
        int64_t rows = EYE_MIN(step, n_rows - r);
        EYE_TRY(f->rows(f->ctx, r, rows, j->chunk, err));
        EYE_TRY(put(to, j->chunk, row * (size_t)rows, err));
        EYE_TRY(tick(j, row * (size_t)rows, err));
    }
    return EYE_OK;
}

static enum eye_status put_item(struct job *j, const struct item *it, put_fn *put, void *to, struct eye_err *err) {
    if (it->from.rows) return put_rows(j, it, put, to, err);
    for (size_t at = 0; at < it->from.bytes; at += CHUNK) {
        size_t n = EYE_MIN(CHUNK, it->from.bytes - at);
        EYE_TRY(put(to, (const uint8_t *)it->from.data + at, n, err));
        EYE_TRY(tick(j, n, err));
    }
    return EYE_OK;
}

static enum eye_status put_to_writer(void *to, const void *p, size_t n, struct eye_err *err) {
    return eye_writer_put(to, p, n, err);
}

static enum eye_status write_data(struct job *j, const char *path, struct eye_err *err) {
    struct eye_writer w;
    EYE_TRY(eye_writer_open(&w, path, err));
    enum eye_status st = EYE_OK;
    for (size_t i = 0; i < j->n && st == EYE_OK; i++) {
        if (!j->item[i].first) continue;
        st = eye_writer_pad(&w, j->opts->align ? j->opts->align : 4096, err);
        if (st == EYE_OK) st = put_item(j, &j->item[i], put_to_writer, &w, err);
    }
    if (st == EYE_OK) st = eye_writer_commit(&w, err);
    eye_writer_abort(&w);
    return st;
}

/* ---- models ---- */

static void add_entry(struct eye_onnx *m, EyeOnnx__TensorProto *t, const char *key, const char *value) {
    EyeOnnx__StringStringEntryProto *e = eye_onnx_alloc(m, 1, sizeof *e);
    if (!e) return;
    eye_onnx__string_string_entry_proto__init(e);
    e->key = eye_onnx_text(m, key);
    e->value = eye_onnx_text(m, value);
    eye_onnx_push(m, &t->n_external_data, &t->external_data, e);
}

/* Tells a tensor where its bytes are. Inside: raw_data points to the item itself, which append() below knows again, so that a
 * message can be packed whose bytes are nowhere in memory. */
static void settle(struct item *it, const char *data_name) {
    char number[24];
    EyeOnnx__TensorProto *t = it->t;
    if (!it->outside) {
        t->has_raw_data = 1;
        t->raw_data = (ProtobufCBinaryData){it->from.bytes, (uint8_t *)it};
        return;
    }
    t->has_data_location = 1;
    t->data_location = EYE_ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    t->external_data = NULL; /* grows anew */
    add_entry(it->m, t, "location", data_name);
    snprintf(number, sizeof number, "%llu", (unsigned long long)it->offset);
    add_entry(it->m, t, "offset", number);
    snprintf(number, sizeof number, "%llu", (unsigned long long)it->from.bytes);
    add_entry(it->m, t, "length", number);
}

struct packer {
    ProtobufCBuffer base;
    struct job *j;
    struct eye_writer *w;
    enum eye_status st; /* sticky: protobuf-c's callback cannot fail */
    struct eye_err *err;
};

static void append(ProtobufCBuffer *buffer, size_t n, const uint8_t *p) {
    struct packer *k = (struct packer *)(void *)buffer;
    const struct item *first = k->j->item;
    if (k->st != EYE_OK || n == 0) return;
    bool is_item = first && (uintptr_t)p >= (uintptr_t)first && (uintptr_t)p < (uintptr_t)(first + k->j->n);
    k->st = is_item ? put_item(k->j, (const struct item *)(const void *)p, put_to_writer, k->w, k->err)
                    : eye_writer_put(k->w, p, n, k->err);
}

static enum eye_status write_model(struct job *j, const struct eye_onnx_file *f, struct eye_err *err) {
    struct eye_writer w;
    EYE_TRY(eye_writer_open(&w, f->path, err));
    struct packer k = {.base = {append}, .j = j, .w = &w, .st = EYE_OK, .err = err};
    protobuf_c_message_pack_to_buffer(&f->m->model->base, &k.base);
    if (k.st == EYE_OK) k.st = eye_writer_commit(&w, err);
    eye_writer_abort(&w);
    return k.st;
}

static enum eye_status write_all(struct job *j, const struct eye_onnx_file *file, size_t n, struct eye_err *err) {
    struct eye_arena *arena = &file[0].m->arena;
    const char *slash = strrchr(file[0].path, '/'), *name = j->opts->data_name;
    bool outside;
    if (!name) name = eye_arena_printf(arena, "%s.data", slash ? slash + 1 : file[0].path);
    if (!name) return eye_fail_nomem(err, strlen(file[0].path));
    if (!*name || strchr(name, '/')) return eye_fail(err, EYE_E_ARG,
                                                     "data file \"%s\": expected a file name without a folder", name);
    EYE_TRY(check_files(j, file, n, err));
    EYE_TRY(place_all(j, file, n, &outside, err));
    const char *path = eye_arena_printf(arena, "%s/%s", j->folder, name);
    if (!path) return eye_fail_nomem(err, strlen(name));
    if (outside) EYE_TRY(write_data(j, path, err));
    for (size_t i = 0; i < j->n; i++) settle(&j->item[i], name);
    for (size_t i = 0; i < n; i++) {
        if (file[i].m->failed) return eye_fail_nomem(err, j->n);
        EYE_TRY(write_model(j, &file[i], err));
    }
    return EYE_OK;
}

enum eye_status eye_onnx_write(const struct eye_onnx_file *file, size_t n, const struct eye_onnx_write_opts *opts,
                               struct eye_err *err) {
    static const struct eye_onnx_write_opts defaults;
    if (n == 0) return EYE_OK;
    struct job j = {.opts = opts ? opts : &defaults, .alloc = file[0].m->arena.alloc};
    eye_strmap_init(&j.names, j.alloc);
    enum eye_status st = write_all(&j, file, n, err);
    eye_strmap_clear(&j.names);
    eye_alloc_free(j.alloc, j.chunk, j.chunk_cap);
    eye_alloc_free(j.alloc, j.item, j.cap * sizeof *j.item);
    return st;
}
