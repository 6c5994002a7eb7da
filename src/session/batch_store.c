/* session/batch_store: the caches of a batch as a file and back. The container is state.h's; its data, little-endian, nothing
 * aligned:
 *
 *   offset size
 *        0 8192  the secret of picture keys: they mean nothing without it
 *     8192    4  pieces of prompts
 *     8196    4  pictures
 *     8200    8  bytes of a piece's keys and values
 *     8208       pieces, last used first: key 32, depth 4, keys and values (engine.h: eye_kv_read_slots, chunk after chunk)
 *                pictures, last used first: key 32, floats 4, rows f32
 *
 * The state's n is the sum of both counts. Everything is checked before anything is taken over. */
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "session/batch_impl.h"

#define SECRET_BYTES 8192u
#define FRONT_BYTES (SECRET_BYTES + 16u)
#define ENTRY_BYTES 36u /* key and a number */

_Static_assert(sizeof(struct eye_key_secret) == SECRET_BYTES, "the secret's place in the file");

/* ---- reading ---- */

enum eye_status eye_store_parse(struct eye_store *s, const uint8_t *p, size_t n, uint32_t n_entries, const char *path,
                                struct eye_err *err) {
    struct eye_cursor c = eye_cursor_make(p, n);
    *s = (struct eye_store){.secret = eye_cursor_bytes(&c, SECRET_BYTES)};
    s->n_pages = eye_cursor_u32(&c);
    s->n_pictures = eye_cursor_u32(&c);
    s->page_bytes = eye_cursor_u64(&c);
    if (c.failed) return eye_fail(err, EYE_E_CORRUPT, "%s: %zu bytes of caches, expected at least %u", path, n, FRONT_BYTES);
    if ((uint64_t)s->n_pages + s->n_pictures != n_entries)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %u pieces and %u pictures are not %u entries", path, s->n_pages, s->n_pictures,
                        n_entries);
    size_t pages;
    if (s->page_bytes > n || !eye_mul_ok(s->n_pages, ENTRY_BYTES + (size_t)s->page_bytes, &pages) || pages > n - FRONT_BYTES)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %u pieces of %llu bytes are more than the file has", path, s->n_pages,
                        (unsigned long long)s->page_bytes);
    s->pages = eye_cursor_bytes(&c, pages);
    s->pictures = p + FRONT_BYTES + pages;
    s->pictures_bytes = n - FRONT_BYTES - pages;
    for (uint32_t i = 0; i < s->n_pictures && !c.failed; i++) {
        eye_cursor_bytes(&c, EYE_SHA256_BYTES);
        eye_cursor_bytes(&c, (size_t)eye_cursor_u32(&c) * sizeof(float));
    }
    if (c.failed || eye_cursor_left(&c) != 0)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %u pictures do not fill the rest of the file", path, s->n_pictures);
    return EYE_OK;
}

static size_t kv_bytes(const struct eye_kv *kv) {
    size_t sum = 0;
    for (size_t i = 0; i < eye_kv_n_chunks(kv); i++) sum += eye_kv_chunk_bytes(kv, i, EYE_PAGE);
    return sum;
}

static void take_pages(struct eye_prefix_cache *c, const struct eye_store *s) {
    size_t n = EYE_MIN(c->n, s->n_pages);
    for (size_t i = 0; i < n; i++) {
        struct eye_cursor at = eye_cursor_make(s->pages + i * (ENTRY_BYTES + (size_t)s->page_bytes), ENTRY_BYTES);
        struct eye_page *page = &c->page[i];
        memcpy(page->key.b, eye_cursor_bytes(&at, EYE_SHA256_BYTES), EYE_SHA256_BYTES);
        page->depth = (int32_t)(eye_cursor_u32(&at) & INT32_MAX);
        page->used = n - i;
        const uint8_t *from = s->pages + i * (ENTRY_BYTES + (size_t)s->page_bytes) + ENTRY_BYTES;
        for (size_t k = 0; k < eye_kv_n_chunks(c->kv); k++) {
            eye_kv_write_slots(c->kv, k, c->first_slot + (int64_t)i * EYE_PAGE, EYE_PAGE, from);
            from += eye_kv_chunk_bytes(c->kv, k, EYE_PAGE);
        }
    }
    c->n_used = n;
    c->now = n;
}

/* Last used first in the file, so the first that does not fit ends it; kept from the last of them on, so that ages come right. */
static enum eye_status take_pictures(struct eye_rows_cache *c, const struct eye_store *s, struct eye_err *err) {
    struct eye_cursor at = eye_cursor_make(s->pictures, s->pictures_bytes);
    const uint8_t **entry = eye_alloc_zero(c->alloc, s->n_pictures * sizeof *entry);
    size_t n = 0, bytes = 0;
    if (!entry) return eye_fail_nomem(err, s->n_pictures * sizeof *entry);
    for (; n < s->n_pictures; n++) {
        entry[n] = eye_cursor_bytes(&at, ENTRY_BYTES);
        struct eye_cursor floats = eye_cursor_make(entry[n] + EYE_SHA256_BYTES, 4);
        size_t size = (size_t)eye_cursor_u32(&floats) * sizeof(float);
        eye_cursor_bytes(&at, size);
        if (size > c->most_bytes - bytes) break;
        bytes += size;
    }
    while (n-- > 0) {
        struct eye_cursor floats = eye_cursor_make(entry[n] + EYE_SHA256_BYTES, 4);
        size_t n_floats = eye_cursor_u32(&floats);
        float *rows = eye_alloc_raw(c->alloc, n_floats * sizeof *rows); /* aligned */
        struct eye_key key;
        if (!rows) break; /* fewer are kept */
        memcpy(key.b, entry[n], sizeof key.b);
        memcpy(rows, entry[n] + ENTRY_BYTES, n_floats * sizeof *rows);
        eye_rows_keep(c, &key, rows, n_floats);
        eye_alloc_free(c->alloc, rows, n_floats * sizeof *rows);
    }
    eye_alloc_free(c->alloc, entry, s->n_pictures * sizeof *entry);
    return EYE_OK;
}

enum eye_status eye_batch_load(struct eye_batch *b, const char *path, struct eye_err *err) {
    struct eye_map map;
    struct eye_state st;
    struct eye_store s;
    const struct eye_kv *kv = b->lane[0].decoder.kv;
    pthread_mutex_lock(&b->lock);
    uint64_t n = b->stats.n_submitted;
    pthread_mutex_unlock(&b->lock);
    if (n) return eye_fail(err, EYE_E_ARG, "%s: caches are loaded before the first request; there were %llu", path,
                           (unsigned long long)n);
    EYE_TRY(eye_model_open_state(b->model, path, EYE_STATE_BATCH, &map, &st, err));
    enum eye_status status = eye_store_parse(&s, st.data, (size_t)st.data_bytes, st.n, path, err);
    if (status == EYE_OK && s.n_pages && s.page_bytes != kv_bytes(kv))
        status = eye_fail(err, EYE_E_CORRUPT, "%s: a piece has %llu bytes of keys and values, expected %zu", path,
                          (unsigned long long)s.page_bytes, kv_bytes(kv));
    if (status == EYE_OK) status = take_pictures(&b->rows, &s, err);
    if (status == EYE_OK) {
        memcpy(&b->secret, s.secret, sizeof b->secret);
        if (b->prefix.n) take_pages(&b->prefix, &s);
    }
    eye_map_close(&map);
    return status;
}

/* ---- writing ---- */

static enum eye_status put_number(struct eye_state_out *out, uint64_t v, size_t n, struct eye_err *err) {
    uint8_t b[8];
    for (size_t i = 0; i < n; i++) b[i] = (uint8_t)(v >> (8 * i));
    return eye_state_put(out, b, n, err);
}

static int by_page_age(const void *a, const void *b) {
    const struct eye_page *x = *(const struct eye_page *const *)a, *y = *(const struct eye_page *const *)b;
    if (x->used != y->used) return x->used < y->used ? 1 : -1;
    return (x->depth > y->depth) - (x->depth < y->depth); /* what leads on goes first */
}

static int by_picture_age(const void *a, const void *b) {
    const struct eye_rows_entry *x = *(const struct eye_rows_entry *const *)a, *y = *(const struct eye_rows_entry *const *)b;
    return (x->used < y->used) - (x->used > y->used);
}

static enum eye_status put_pages(struct eye_state_out *out, const struct eye_prefix_cache *c, struct eye_arena *arena,
                                 struct eye_err *err) {
    const struct eye_page **list = eye_arena_alloc(arena, c->n_used * sizeof *list + 1);
    size_t most = 0;
    if (c->n_used == 0) return EYE_OK; /* perhaps there is no such cache */
    for (size_t k = 0; k < eye_kv_n_chunks(c->kv); k++) most = EYE_MAX(most, eye_kv_chunk_bytes(c->kv, k, EYE_PAGE));
    uint8_t *chunk = eye_arena_alloc(arena, most);
    if (!list || !chunk) return eye_fail_nomem(err, c->n_used * sizeof *list);
    for (size_t i = 0; i < c->n_used; i++) list[i] = &c->page[i];
    qsort(list, c->n_used, sizeof *list, by_page_age);
    for (size_t i = 0; i < c->n_used; i++) {
        EYE_TRY(eye_state_put(out, list[i]->key.b, EYE_SHA256_BYTES, err));
        EYE_TRY(put_number(out, (uint32_t)list[i]->depth, 4, err));
        for (size_t k = 0; k < eye_kv_n_chunks(c->kv); k++) {
            eye_kv_read_slots(c->kv, k, c->first_slot + (list[i] - c->page) * EYE_PAGE, EYE_PAGE, chunk);
            EYE_TRY(eye_state_put(out, chunk, eye_kv_chunk_bytes(c->kv, k, EYE_PAGE), err));
        }
    }
    return EYE_OK;
}

static enum eye_status put_pictures(struct eye_state_out *out, const struct eye_rows_cache *c, struct eye_arena *arena,
                                    struct eye_err *err) {
    const struct eye_rows_entry **list = eye_arena_alloc(arena, c->n * sizeof *list + 1);
    if (!list) return eye_fail_nomem(err, c->n * sizeof *list);
    for (size_t i = 0; i < c->n; i++) list[i] = &c->entry[i];
    qsort(list, c->n, sizeof *list, by_picture_age);
    for (size_t i = 0; i < c->n; i++) {
        EYE_TRY(eye_state_put(out, list[i]->key.b, EYE_SHA256_BYTES, err));
        EYE_TRY(put_number(out, list[i]->n, 4, err));
        EYE_TRY(eye_state_put(out, list[i]->rows, list[i]->n * sizeof(float), err));
    }
    return EYE_OK;
}

/* Wants both caches' locks held. */
static enum eye_status put_all(struct eye_batch *b, const char *path, const uint8_t model[EYE_SHA256_BYTES],
                               struct eye_arena *arena, struct eye_err *err) {
    struct eye_state st = {.kind = EYE_STATE_BATCH, .pending = -1, .n = (uint32_t)(b->prefix.n_used + b->rows.n)};
    struct eye_state_out out;
    size_t page = kv_bytes(b->lane[0].decoder.kv);
    if (st.n == 0) return eye_fail(err, EYE_E_ARG, "%s: the caches are empty: there is nothing to save", path);
    memcpy(st.model, model, sizeof st.model);
    st.data_bytes = FRONT_BYTES + b->prefix.n_used * (ENTRY_BYTES + page) + b->rows.n * ENTRY_BYTES + b->rows.bytes;
    EYE_TRY(eye_state_open(&out, path, &st, err));
    enum eye_status status = eye_state_put(&out, &b->secret, sizeof b->secret, err);
    if (status == EYE_OK) status = put_number(&out, b->prefix.n_used, 4, err);
    if (status == EYE_OK) status = put_number(&out, b->rows.n, 4, err);
    if (status == EYE_OK) status = put_number(&out, page, 8, err);
    if (status == EYE_OK) status = put_pages(&out, &b->prefix, arena, err);
    if (status == EYE_OK) status = put_pictures(&out, &b->rows, arena, err);
    if (status == EYE_OK) status = eye_state_commit(&out, err);
    if (status != EYE_OK) eye_state_abort(&out);
    return status;
}

enum eye_status eye_batch_save(struct eye_batch *b, const char *path, struct eye_err *err) {
    uint8_t model[EYE_SHA256_BYTES];
    struct eye_arena arena;
    eye_model_key(b->model, model);
    eye_arena_init(&arena, b->alloc);
    pthread_mutex_lock(&b->rows.lock);
    if (b->prefix.n) pthread_mutex_lock(&b->prefix.lock);
    enum eye_status st = put_all(b, path, model, &arena, err);
    if (b->prefix.n) pthread_mutex_unlock(&b->prefix.lock);
    pthread_mutex_unlock(&b->rows.lock);
    eye_arena_clear(&arena);
    return st;
}
