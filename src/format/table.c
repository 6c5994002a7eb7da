/* format/table: see table.h. */
#include "format/table.h"

#include <stdlib.h>
#include <string.h>

void eye_table_init(struct eye_table *t, const char *where, const struct eye_alloc *alloc) {
    *t = (struct eye_table){.where = where};
    eye_arena_init(&t->arena, alloc);
    eye_strmap_init(&t->index, alloc);
}

void eye_table_clear(struct eye_table *t) {
    eye_alloc_free(t->arena.alloc, t->entry, t->cap * sizeof *t->entry);
    eye_strmap_clear(&t->index);
    eye_arena_clear(&t->arena);
    eye_table_init(t, t->where, t->arena.alloc);
}

enum eye_status eye_table_reserve(struct eye_table *t, size_t n, struct eye_err *err) {
    void *p = t->entry;
    enum eye_status st = eye_alloc_grow(t->arena.alloc, &p, &t->cap, n, sizeof *t->entry, err);
    t->entry = p;
    return st == EYE_OK ? eye_strmap_reserve(&t->index, n, err) : st;
}

enum eye_status eye_table_add(struct eye_table *t, const char *name, size_t len, enum eye_dtype dtype, int rank,
                              const int64_t *dims, uint64_t begin, struct eye_err *err) {
    if (len == 0 || memchr(name, 0, len))
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensor %zu has %s name", t->where, t->n, len ? "a NUL in its" : "an empty");
    int shown = (int)EYE_MIN(len, 100);
    if (rank > EYE_MAX_RANK)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: tensor \"%.*s\" has %d dimensions; at most %d are supported", t->where,
                        shown,
                        name, rank, EYE_MAX_RANK);
    if (t->n >= INT32_MAX) return eye_fail(err, EYE_E_LIMIT, "%s: more than %d tensors", t->where, INT32_MAX);
    EYE_TRY(eye_table_reserve(t, t->n + 1, err));
    struct eye_entry e = {.t = {.dtype = dtype, .rank = rank}, .begin = (size_t)begin};
    for (int i = 0; i < rank; i++) e.t.dims[i] = dims[i];
    char shape[160];
    size_t end;
    if (!eye_tensor_bytes(&e.t, &e.bytes) || begin > SIZE_MAX || !eye_add_ok(e.begin, e.bytes, &end))
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.*s\": shape %s of %s at byte %llu overflows", t->where, shown, name,
                        eye_shape_text(dims, rank, shape,
                                       sizeof shape), eye_dtype_info(dtype)->name, (unsigned long long)begin);
    bool was_there;
    char *own = eye_arena_strdup(&t->arena, name, len);
    if (!own) return eye_fail_nomem(err, len + 1);
    EYE_TRY(eye_strmap_put(&t->index, own, len, (int32_t)t->n, &was_there, err));
    if (was_there) return eye_fail(err, EYE_E_CORRUPT, "%s: two tensors are named \"%.*s\"", t->where, shown, name);
    if (!eye_add_ok(t->data_bytes, e.bytes, &t->data_bytes))
        return eye_fail(err, EYE_E_CORRUPT, "%s: the tensors' sizes add up to more than an address space", t->where);
    e.name = own;
    t->entry[t->n++] = e;
    return EYE_OK;
}

/* By first byte; of those at the same place the empty ones first, so that they are no overlap. */
static int by_place(const void *a, const void *b) {
    const struct eye_entry *x = *(const struct eye_entry *const *)a, *y = *(const struct eye_entry *const *)b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static enum eye_status check_places(const struct eye_table *t, struct eye_entry **order, size_t size, bool packed,
                                    struct eye_err *err) {
    size_t end = 0;
    for (size_t i = 0; i < t->n; i++) order[i] = &t->entry[i];
    qsort(order, t->n, sizeof *order, by_place);
    for (size_t i = 0; i < t->n; i++) {
        const struct eye_entry *e = order[i];
        if (e->begin > size || e->bytes > size - e->begin)
            return eye_fail(err, EYE_E_CORRUPT,
                            "%s: tensor \"%.100s\": offset %zu + %zu bytes > %zu bytes of data (truncated download?)",
                            t->where, e->name, e->begin, e->bytes, size);
        if (e->begin < end && e->bytes > 0)
            return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\" begins at %zu, inside \"%.100s\" that ends at %zu",
                            t->where,
                            e->name, e->begin, order[i - 1]->name, end);
        if (packed && e->begin != end)
            return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\" begins at %zu, expected %zu: no holes are allowed",
                            t->where,
                            e->name, e->begin, end);
        end = EYE_MAX(end, e->begin + e->bytes);
    }
    if (packed && end != size)
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensors end at %zu, the data at %zu", t->where, end, size);
    return EYE_OK;
}

/* What the CPU (and C) wants of an address: the element's size; blocks begin with an f16. */
static size_t dtype_align(enum eye_dtype dtype) {
    const struct eye_dtype_info *d = eye_dtype_info(dtype);
    return d->block_elems > 1 ? sizeof(uint16_t) : d->block_bytes;
}

enum eye_status eye_table_bind_one(struct eye_table *t, struct eye_entry *e, const uint8_t *p, struct eye_err *err) {
    if (e->bytes == 0) p = (const uint8_t *)e->name; /* empty: any pointer but NULL */
    if (e->bytes && (uintptr_t)p % dtype_align(e->t.dtype) != 0) {
        void *copy = eye_arena_alloc(&t->arena, e->bytes);
        if (!copy) return eye_fail_nomem(err, e->bytes);
        memcpy(copy, p, e->bytes);
        p = copy;
    }
    e->t.data = p;
    return EYE_OK;
}

enum eye_status eye_table_bind(struct eye_table *t, const uint8_t *data, size_t size, bool packed, struct eye_err *err) {
    size_t bytes;
    if (!eye_mul_ok(t->n, sizeof(struct eye_entry *), &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    struct eye_entry **order = eye_alloc_raw(t->arena.alloc, bytes);
    if (!order) return eye_fail_nomem(err, bytes);
    enum eye_status st = check_places(t, order, size, packed, err);
    eye_alloc_free(t->arena.alloc, order, bytes);
    if (st != EYE_OK) return st;
    for (size_t i = 0; i < t->n; i++) EYE_TRY(eye_table_bind_one(t, &t->entry[i], t->entry[i].bytes ? data + t->entry[i].begin : NULL, err));
    return EYE_OK;
}

const struct eye_entry *eye_table_find(const struct eye_table *t, const char *name) {
    int32_t i = eye_strmap_get(&t->index, name, strlen(name));
    return i < 0 ? NULL : &t->entry[i];
}

enum eye_status eye_weights_sniff(const char *where, const uint8_t *p, size_t n, struct eye_err *err) {
    static const char lfs[] = "version https://git-lfs";
    if (n == 0) return eye_fail(err, EYE_E_CORRUPT, "%s: the file is empty (interrupted download?)", where);
    if (n >= sizeof lfs - 1 && memcmp(p, lfs, sizeof lfs - 1) == 0)
        return eye_fail(err, EYE_E_CORRUPT, "%s: a git-lfs pointer, not the weights: run `git lfs pull` in its folder", where);
    if (n >= 5 && (memcmp(p, "<!DOC", 5) == 0 || memcmp(p, "<html", 5) == 0))
        return eye_fail(err, EYE_E_CORRUPT, "%s: a web page, not the weights: the download went wrong", where);
    return EYE_OK;
}
