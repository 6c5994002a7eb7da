/* format/torch_zip: the archive; see torch_zip.h for the layout. */
#include "format/torch_zip.h"

#include <string.h>

#include "base/cursor.h"
#include "format/pickle.h"

#define LOCAL 0x04034b50u
#define CENTRAL 0x02014b50u
#define END 0x06054b50u
#define END64 0x06064b50u
#define LOCATOR64 0x07064b50u
#define END_BYTES 22
#define LOCATOR64_BYTES 20
#define MIN_CENTRAL_BYTES 47 /* with a name of one letter */

struct entry {
    struct eye_str name;
    const uint8_t *p;
    size_t n;
};
struct zip {
    const char *where;
    const uint8_t *p;
    size_t n;
    struct eye_arena arena;
    struct entry *entry;
    size_t n_entries;
    struct eye_strmap index;
};

static enum eye_status corrupt(const struct zip *z, const char *what, struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "%s: zip: %s (truncated download?)", z->where, what);
}

/* A cursor on [at, at + n) of the file, after its four bytes of signature. */
static bool record(const struct zip *z, uint64_t at, size_t n, uint32_t signature, struct eye_cursor *c) {
    if (at > z->n || n > z->n - at) return false;
    *c = eye_cursor_make(z->p + at, z->n - (size_t)at);
    return eye_cursor_u32(c) == signature;
}

/* The end record: 22 bytes and a comment of stated length that reaches the file's end. */
static bool find_end(const struct zip *z, size_t *at) {
    struct eye_cursor c;
    for (size_t back = END_BYTES; back <= z->n && back <= END_BYTES + 65535u; back++) {
        *at = z->n - back;
        if (!record(z, *at, END_BYTES, END, &c)) continue;
        c.pos = 20;
        if (eye_cursor_u16(&c) == back - END_BYTES) return true;
    }
    return false;
}

struct directory { uint64_t n, bytes, at; };

static enum eye_status find_directory(const struct zip *z, struct directory *d, struct eye_err *err) {
    struct eye_cursor c;
    size_t end;
    if (!find_end(z, &end)) return corrupt(z, "no end record", err);
    c = eye_cursor_make(z->p + end + 10, END_BYTES - 10);
    d->n = eye_cursor_u16(&c);
    d->bytes = eye_cursor_u32(&c);
    d->at = eye_cursor_u32(&c);
    if (d->n != 0xffff && d->bytes != 0xffffffffu && d->at != 0xffffffffu) return EYE_OK;
    if (end < LOCATOR64_BYTES || !record(z, end - LOCATOR64_BYTES, LOCATOR64_BYTES, LOCATOR64, &c))
        /* a small file with full fields */
        return d->n == 0xffff ? EYE_OK : corrupt(z, "no zip64 locator", err);
    c.pos = 8;
    if (!record(z, eye_cursor_u64(&c), 56, END64, &c)) return corrupt(z, "no zip64 end record", err);
    c.pos = 32;
    d->n = eye_cursor_u64(&c);
    d->bytes = eye_cursor_u64(&c);
    d->at = eye_cursor_u64(&c);
    return EYE_OK;
}

/* In the zip64 extra field: those of size, stored size and offset, in this order, whose 32 bits were all ones. */
static bool read_extra(struct eye_cursor extra, uint64_t *size, uint64_t *stored, uint64_t *at) {
    while (eye_cursor_left(&extra) >= 4) {
        uint16_t id = eye_cursor_u16(&extra), n = eye_cursor_u16(&extra);
        const uint8_t *p = eye_cursor_bytes(&extra, n);
        if (!p && n) return false;
        if (id != 1) continue;
        struct eye_cursor c = eye_cursor_make(p, n);
        if (*size == 0xffffffffu) *size = eye_cursor_u64(&c);
        if (*stored == 0xffffffffu) *stored = eye_cursor_u64(&c);
        if (*at == 0xffffffffu) *at = eye_cursor_u64(&c);
        return !c.failed;
    }
    return *size != 0xffffffffu && *stored != 0xffffffffu && *at != 0xffffffffu;
}

static enum eye_status find_data(const struct zip *z, struct entry *e, uint64_t at, uint64_t size, struct eye_err *err) {
    struct eye_cursor c;
    if (!record(z, at, 30, LOCAL, &c)) return corrupt(z, "an entry's header is not where the directory says", err);
    c.pos = 26;
    size_t n_name = eye_cursor_u16(&c), n_extra = eye_cursor_u16(&c);
    const uint8_t *name = eye_cursor_bytes(&c, n_name);
    if (!name || n_name != e->name.len || memcmp(name, e->name.p, n_name) != 0)
        return corrupt(z, "an entry's header has another name than the directory", err);
    if ((n_extra && !eye_cursor_bytes(&c, n_extra)) || size > eye_cursor_left(&c))
        return corrupt(z, "an entry goes past the end of the file", err);
    e->p = c.p + c.pos;
    e->n = (size_t)size;
    return EYE_OK;
}

static enum eye_status read_entry(struct zip *z, struct eye_cursor *c, struct eye_err *err) {
    struct entry *e = &z->entry[z->n_entries];
    uint32_t signature = eye_cursor_u32(c);
    eye_cursor_u32(c); /* versions */
    uint16_t flags = eye_cursor_u16(c), method = eye_cursor_u16(c);
    eye_cursor_u64(c); /* time, date, checksum */
    uint64_t stored = eye_cursor_u32(c), size = eye_cursor_u32(c);
    size_t n_name = eye_cursor_u16(c), n_extra = eye_cursor_u16(c), n_comment = eye_cursor_u16(c);
    eye_cursor_u64(c); /* disk, attributes */
    uint64_t at = eye_cursor_u32(c);
    e->name = (struct eye_str){(const char *)eye_cursor_bytes(c, n_name), n_name};
    const uint8_t *extra = eye_cursor_bytes(c, n_extra);
    eye_cursor_bytes(c, n_comment);
    if (c->failed || signature != CENTRAL || n_name == 0) return corrupt(z, "the directory is damaged", err);
    int shown = (int)EYE_MIN(n_name, 100);
    if (!read_extra(eye_cursor_make(extra, n_extra), &size, &stored, &at)) return corrupt(z, "a damaged zip64 field", err);
    if (method != 0 || (flags & 1) || stored != size)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: zip: \"%.*s\" is compressed or encrypted; torch.save stores plainly",
                        z->where,
                        shown, e->name.p);
    EYE_TRY(find_data(z, e, at, size, err));
    bool was_there;
    EYE_TRY(eye_strmap_put(&z->index, e->name.p, n_name, (int32_t)z->n_entries, &was_there, err));
    if (was_there) return eye_fail(err, EYE_E_CORRUPT, "%s: zip: two entries \"%.*s\"", z->where, shown, e->name.p);
    z->n_entries++;
    return EYE_OK;
}

static enum eye_status read_directory(struct zip *z, struct eye_err *err) {
    struct directory d = {0};
    EYE_TRY(find_directory(z, &d, err));
    if (d.at > z->n || d.bytes > z->n - d.at || d.n > d.bytes / MIN_CENTRAL_BYTES || d.n > INT32_MAX)
        return corrupt(z, "the directory does not fit the file", err);
    size_t bytes = (size_t)d.n * sizeof *z->entry + 1;
    if (!(z->entry = eye_arena_alloc(&z->arena, bytes))) return eye_fail_nomem(err, bytes);
    EYE_TRY(eye_strmap_reserve(&z->index, (size_t)d.n, err));
    struct eye_cursor c = eye_cursor_make(z->p + d.at, (size_t)d.bytes);
    for (uint64_t i = 0; i < d.n; i++) EYE_TRY(read_entry(z, &c, err));
    return EYE_OK;
}

/* ---- what torch keeps in it ---- */

static const struct entry *find(const struct zip *z, const char *folder, size_t n_folder, const char *sub, struct eye_str key) {
    char name[512];
    size_t n_sub = strlen(sub);
    if (n_folder + n_sub + key.len > sizeof name) return NULL;
    memcpy(name, folder, n_folder);
    memcpy(name + n_folder, sub, n_sub);
    if (key.len) memcpy(name + n_folder + n_sub, key.p, key.len);
    int32_t i = eye_strmap_get(&z->index, name, n_folder + n_sub + key.len);
    return i < 0 ? NULL : &z->entry[i];
}

static enum eye_status check_contiguous(const struct zip *z, const struct eye_pickle_tensor *t, struct eye_err *err) {
    int64_t want = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->dims[i] != 1 && t->strides[i] != want)
            return eye_fail(err, EYE_E_UNSUPPORTED, "%s: tensor \"%.*s\" is a strided view: save it after .contiguous()",
                            z->where,
                            (int)EYE_MIN(t->name.len, 100), t->name.p);
        if (t->dims[i] == 0 || __builtin_mul_overflow(want, t->dims[i], &want))
            return EYE_OK; /* empty; or the table refuses it */
    }
    return EYE_OK;
}

static enum eye_status add_tensor(const struct zip *z, struct eye_table *table, const struct eye_pickle_tensor *t,
                                  const struct entry *storage, struct eye_err *err) {
    size_t elem = eye_dtype_info(t->dtype)->block_bytes, bytes, skip, end;
    int shown = (int)EYE_MIN(t->name.len, 100);
    if (!storage)
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.*s\": its storage \"%.*s\" is not in the archive", z->where, shown,
                        t->name.p, (int)EYE_MIN(t->storage.len, 40), t->storage.p);
    if ((uint64_t)t->storage_elems > SIZE_MAX || !eye_mul_ok((size_t)t->storage_elems, elem, &bytes) || bytes != storage->n)
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.*s\": a storage of %lld %s in %zu bytes", z->where, shown,
                        t->name.p,
                        (long long)t->storage_elems, eye_dtype_info(t->dtype)->name, storage->n);
    EYE_TRY(check_contiguous(z, t, err));
    EYE_TRY(eye_table_add(table, t->name.p, t->name.len, t->dtype, t->rank, t->dims, (uint64_t)(storage->p - z->p), err));
    struct eye_entry *e = &table->entry[table->n - 1];
    if (e->bytes && ((uint64_t)t->offset > SIZE_MAX || !eye_mul_ok((size_t)t->offset, elem, &skip) ||
                     !eye_add_ok(skip, e->bytes, &end) || end > storage->n))
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.*s\" goes past its storage", z->where, shown, t->name.p);
    if (e->bytes) e->begin += skip;
    return eye_table_bind_one(table, e, z->p + e->begin, err);
}

static enum eye_status read_archive(struct zip *z, struct eye_table *table, struct eye_err *err) {
    static const char tail[] = "/data.pkl", little[] = "little";
    const struct entry *pickle = NULL, *order;
    const struct eye_pickle_tensor *t;
    size_t n, n_folder = 0;
    EYE_TRY(read_directory(z, err));
    for (size_t i = 0; i < z->n_entries; i++) {
        const struct entry *e = &z->entry[i];
        size_t m = sizeof tail - 1;
        if (e->name.len <= m || memcmp(e->name.p + e->name.len - m, tail, m) != 0) continue;
        if (pickle) return eye_fail(err, EYE_E_CORRUPT, "%s: zip: two data.pkl", z->where);
        pickle = e;
        n_folder = e->name.len - m;
    }
    if (!pickle)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: a zip archive without data.pkl: nothing that torch.save wrote", z->where);
    order = find(z, pickle->name.p, n_folder, "/byteorder", (struct eye_str){NULL, 0});
    if (order && (order->n != sizeof little - 1 || memcmp(order->p, little, order->n) != 0))
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: big-endian numbers", z->where);
    EYE_TRY(eye_pickle_read(&t, &n, pickle->p, pickle->n, z->where, &z->arena, err));
    EYE_TRY(eye_table_reserve(table, n, err));
    for (size_t i = 0; i < n; i++)
        EYE_TRY(add_tensor(z, table, &t[i], find(z, pickle->name.p, n_folder, "/data/", t[i].storage), err));
    return EYE_OK;
}

enum eye_status eye_torch_open_bytes(struct eye_safetensors *out, const void *p, size_t n, const char *where,
                                     const struct eye_alloc *alloc, struct eye_err *err) {
    struct zip z = {.where = where, .p = p, .n = n};
    struct eye_safetensors s = {0};
    EYE_TRY(eye_weights_sniff(where, p, n, err));
    if (n < 4 || memcmp(p, "PK\3\4", 4) != 0)
        return eye_fail(err, EYE_E_UNSUPPORTED,
                        "%s: no zip archive: the format of PyTorch before 1.6, or no checkpoint; load it and "
                        "torch.save it again, or save it as safetensors", where);
    eye_table_init(&s.table, where, alloc);
    eye_arena_init(&z.arena, alloc);
    eye_strmap_init(&z.index, alloc);
    enum eye_status st = read_archive(&z, &s.table, err);
    eye_strmap_clear(&z.index);
    eye_arena_clear(&z.arena);
    if (st != EYE_OK)
        eye_safetensors_close(&s);
    else
        *out = s;
    return st;
}

enum eye_status eye_torch_open(struct eye_safetensors *out, const char *path, bool use_mmap, const struct eye_alloc *alloc,
                               struct eye_err *err) {
    struct eye_map map;
    EYE_TRY(eye_map_open(&map, path, use_mmap, 0, err));
    enum eye_status st = eye_torch_open_bytes(out, map.p, map.size, map.path, alloc, err);
    if (st != EYE_OK)
        eye_map_close(&map);
    else
        out->map = map;
    return st;
}
