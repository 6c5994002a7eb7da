/* Store: see store.h. */
#include "train/store.h"

#include <string.h>

enum { HEAD_BYTES = 4096, ID_BYTES = 16, TAIL_BYTES = 16 };

static void make_id(uint8_t id[ID_BYTES], const char *magic, uint64_t key) {
    memcpy(id, magic, 8);
    memcpy(id + 8, &key, sizeof key);
}

/* ---- reading ---- */

static bool is_sound(const struct eye_map *m, const char *magic, uint64_t key) {
    uint8_t id[ID_BYTES];
    uint64_t n, hash;
    make_id(id, magic, key);
    if (m->size < HEAD_BYTES + TAIL_BYTES || memcmp(m->p, id, sizeof id) != 0) return false;
    memcpy(&n, m->p + m->size - TAIL_BYTES, sizeof n);
    memcpy(&hash, m->p + m->size - sizeof hash, sizeof hash);
    if (n != m->size - HEAD_BYTES - TAIL_BYTES) return false;
    uint64_t h = eye_hash64(id, sizeof id, 0);
    for (uint64_t at = 0; at < n; at += EYE_STORE_BLOCK)
        h = eye_hash64(m->p + HEAD_BYTES + at, (size_t)EYE_MIN(n - at, EYE_STORE_BLOCK), h);
    return h == hash;
}

bool eye_store_open(struct eye_store *s, const char *path, const char *magic, uint64_t key) {
    *s = (struct eye_store){0};
    if (!eye_path_exists(path) || eye_map_open(&s->map, path, true, 0, NULL) != EYE_OK) return false;
    if (!is_sound(&s->map, magic, key)) {
        eye_store_close(s);
        return false;
    }
    s->p = s->map.p + HEAD_BYTES;
    s->n = s->map.size - HEAD_BYTES - TAIL_BYTES;
    return true;
}

void eye_store_close(struct eye_store *s) {
    if (s->map.path) eye_map_close(&s->map);
    *s = (struct eye_store){0};
}

/* ---- writing ---- */

enum eye_status eye_store_begin(struct eye_store_writer *w, const char *path, const char *magic, uint64_t key,
                                struct eye_err *err) {
    uint8_t id[ID_BYTES];
    *w = (struct eye_store_writer){.block = eye_alloc_raw(NULL, EYE_STORE_BLOCK)};
    if (!w->block) return eye_fail_nomem(err, EYE_STORE_BLOCK);
    make_id(id, magic, key);
    w->hash = eye_hash64(id, sizeof id, 0);
    enum eye_status st = eye_writer_open(&w->w, path, err);
    if (st == EYE_OK) st = eye_writer_put(&w->w, id, sizeof id, err);
    if (st == EYE_OK) st = eye_writer_pad(&w->w, HEAD_BYTES, err);
    if (st != EYE_OK) eye_store_abort(w);
    return st;
}

static enum eye_status flush(struct eye_store_writer *w, struct eye_err *err) {
    w->hash = eye_hash64(w->block, w->fill, w->hash);
    size_t n = w->fill;
    w->fill = 0;
    return eye_writer_put(&w->w, w->block, n, err);
}

enum eye_status eye_store_put(struct eye_store_writer *w, const void *p, size_t n, struct eye_err *err) {
    const uint8_t *from = p;
    w->n += n;
    while (n) {
        size_t now = EYE_MIN(n, EYE_STORE_BLOCK - w->fill);
        memcpy(w->block + w->fill, from, now);
        w->fill += now;
        from += now;
        n -= now;
        if (w->fill == EYE_STORE_BLOCK) EYE_TRY(flush(w, err));
    }
    return EYE_OK;
}

enum eye_status eye_store_commit(struct eye_store_writer *w, struct eye_err *err) {
    enum eye_status st = w->fill ? flush(w, err) : EYE_OK;
    const uint64_t tail[2] = {w->n, w->hash};
    if (st == EYE_OK) st = eye_writer_put(&w->w, tail, sizeof tail, err);
    if (st == EYE_OK) st = eye_writer_commit(&w->w, err);
    eye_store_abort(w);
    return st;
}

void eye_store_abort(struct eye_store_writer *w) {
    eye_writer_abort(&w->w);
    if (w->block) eye_alloc_free(NULL, w->block, EYE_STORE_BLOCK);
    *w = (struct eye_store_writer){0};
}
