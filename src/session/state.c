/* state: see state.h for the layout. */
#include "session/state.h"

#include <string.h>

#include "base/cursor.h"

#define MAGIC "EYELETST"
#define VERSION 1u
#define HEADER_BYTES 112u
#define SUM_BYTES 8u

/* ---- reading ---- */

static uint64_t checksum(const uint8_t *p, size_t n) {
    uint64_t sum = 0;
    for (size_t at = 0; at < n; at += 4096) sum = eye_hash64(p + at, EYE_MIN(4096, n - at), sum);
    return sum;
}

static enum eye_status check_fields(const struct eye_state *s, const char *path, struct eye_err *err) {
    if (s->kind < EYE_STATE_IMAGE || s->kind > EYE_STATE_BATCH)
        return eye_fail(err, EYE_E_CORRUPT, "%s: kind is %u, expected 1 to 3", path, (unsigned)s->kind);
    if (s->n < 1 || s->n > EYE_STATE_MAX_POSITIONS)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %u positions, expected 1 to %d", path, s->n, EYE_STATE_MAX_POSITIONS);
    if (s->text_bytes > EYE_STATE_MAX_TEXT)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %u bytes of text, expected at most %d", path, s->text_bytes,
                        EYE_STATE_MAX_TEXT);
    if (s->pending < -1 || s->flags > 7 || s->n_images > s->n)
        return eye_fail(err, EYE_E_CORRUPT, "%s: pending token %d, flags %u or %u images are out of range", path, s->pending,
                        s->flags, s->n_images);
    if (s->kind != EYE_STATE_SESSION && (s->text_bytes || s->flags || s->n_images || s->pending != -1))
        return eye_fail(err, EYE_E_CORRUPT, "%s: image rows or caches with fields of a session", path);
    if (s->flags & EYE_STATE_PREFIX ? s->pending != -1 : s->text_bytes || s->flags || s->n_images)
        return eye_fail(err, EYE_E_CORRUPT, "%s: the fields of an unfinished question contradict each other", path);
    return EYE_OK;
}

enum eye_status eye_state_parse(struct eye_state *s, const uint8_t *p, size_t n, const char *path, struct eye_err *err) {
    struct eye_cursor c = eye_cursor_make(p, n);
    const uint8_t *magic = eye_cursor_bytes(&c, 8);
    if (!magic || memcmp(magic, MAGIC, 8) != 0)
        return eye_fail(err, EYE_E_CORRUPT, "%s: not a cache file of eyelet (it does not begin with " MAGIC ")", path);
    uint32_t version = eye_cursor_u32(&c);
    if (!c.failed && version != VERSION)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: version %u, expected %u: make it anew", path, version, VERSION);
    if (n < HEADER_BYTES + SUM_BYTES)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %zu bytes, expected at least %u (cut off?)", path, n,
                        HEADER_BYTES + SUM_BYTES);
    *s = (struct eye_state){.kind = (enum eye_state_kind)eye_cursor_u32(&c)};
    memcpy(s->model, eye_cursor_bytes(&c, sizeof s->model), sizeof s->model);
    memcpy(s->image, eye_cursor_bytes(&c, sizeof s->image), sizeof s->image);
    s->n = eye_cursor_u32(&c);
    s->pending = (int32_t)eye_cursor_u32(&c);
    s->flags = eye_cursor_u32(&c);
    s->n_images = eye_cursor_u32(&c);
    s->text_bytes = eye_cursor_u32(&c);
    uint32_t zero = eye_cursor_u32(&c);
    s->data_bytes = eye_cursor_u64(&c);
    EYE_TRY(check_fields(s, path, err));
    if (zero) return eye_fail(err, EYE_E_CORRUPT, "%s: the unused field is %u, expected 0", path, zero);
    uint64_t front = HEADER_BYTES + SUM_BYTES + s->text_bytes + (uint64_t)s->n_images * 8 +
                     (s->kind == EYE_STATE_SESSION ? (uint64_t)s->n * 4 : 0);
    if (n < front || s->data_bytes != n - front)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %zu bytes, but the header speaks of %llu and %llu (cut off?)", path, n,
                        (unsigned long long)front, (unsigned long long)s->data_bytes);
    struct eye_cursor tail = eye_cursor_make(p + n - SUM_BYTES, SUM_BYTES);
    if (checksum(p, n - SUM_BYTES) != eye_cursor_u64(&tail))
        return eye_fail(err, EYE_E_CORRUPT, "%s: the checksum does not match: the file is damaged", path);
    s->ids = s->kind == EYE_STATE_SESSION ? eye_cursor_bytes(&c, (size_t)s->n * 4) : NULL;
    s->sizes = s->kind == EYE_STATE_SESSION ? eye_cursor_bytes(&c, (size_t)s->n_images * 8) : NULL;
    s->text = (const char *)eye_cursor_bytes(&c, s->text_bytes);
    s->data = eye_cursor_bytes(&c, (size_t)s->data_bytes);
    if (s->text_bytes && memchr(s->text, 0, s->text_bytes))
        return eye_fail(err, EYE_E_CORRUPT, "%s: a NUL byte in the text", path);
    return EYE_OK;
}

int32_t eye_state_id(const struct eye_state *s, size_t i) {
    struct eye_cursor c = eye_cursor_make(s->ids + i * 4, 4);
    return (int32_t)eye_cursor_u32(&c);
}

void eye_state_size(const struct eye_state *s, size_t i, uint32_t *width, uint32_t *height) {
    struct eye_cursor c = eye_cursor_make(s->sizes + i * 8, 8);
    *width = eye_cursor_u32(&c);
    *height = eye_cursor_u32(&c);
}

/* ---- writing ---- */

static void le(uint8_t *p, uint64_t v, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(v >> (8 * i));
}

enum eye_status eye_state_put(struct eye_state_out *o, const void *bytes, size_t n, struct eye_err *err) {
    const uint8_t *p = bytes;
    while (n) {
        size_t take = EYE_MIN(sizeof o->piece - o->held, n);
        memcpy(o->piece + o->held, p, take);
        o->held += take;
        p += take;
        n -= take;
        if (o->held < sizeof o->piece) continue;
        o->sum = eye_hash64(o->piece, o->held, o->sum);
        EYE_TRY(eye_writer_put(&o->w, o->piece, o->held, err));
        o->held = 0;
    }
    return EYE_OK;
}

enum eye_status eye_state_open(struct eye_state_out *o, const char *path, const struct eye_state *s, struct eye_err *err) {
    uint8_t h[HEADER_BYTES] = {0};
    memcpy(h, MAGIC, 8);
    le(h + 8, VERSION, 4);
    le(h + 12, (uint64_t)s->kind, 4);
    memcpy(h + 16, s->model, sizeof s->model);
    memcpy(h + 48, s->image, sizeof s->image);
    le(h + 80, s->n, 4);
    le(h + 84, (uint32_t)s->pending, 4);
    le(h + 88, s->flags, 4);
    le(h + 92, s->n_images, 4);
    le(h + 96, s->text_bytes, 4);
    le(h + 104, s->data_bytes, 8);
    o->held = 0;
    o->sum = 0;
    EYE_TRY(eye_writer_open(&o->w, path, err));
    enum eye_status st = eye_state_put(o, h, sizeof h, err);
    if (st != EYE_OK) eye_state_abort(o);
    return st;
}

enum eye_status eye_state_commit(struct eye_state_out *o, struct eye_err *err) {
    uint8_t sum[SUM_BYTES];
    if (o->held) o->sum = eye_hash64(o->piece, o->held, o->sum);
    EYE_TRY(eye_writer_put(&o->w, o->piece, o->held, err));
    le(sum, o->sum, sizeof sum);
    EYE_TRY(eye_writer_put(&o->w, sum, sizeof sum, err));
    return eye_writer_commit(&o->w, err);
}

void eye_state_abort(struct eye_state_out *o) { eye_writer_abort(&o->w); }
