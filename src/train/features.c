/* Features: see features.h. */
#include "train/features.h"

#include <string.h>

enum { HEADER_BYTES = 4096, VERSION = 1 };
static const char magic[8] = "EYEFEATS";

struct header {
    char magic[8];
    uint32_t version, views;
    uint64_t n, elems, key;
};

/* Of all that decides the numbers. */
static uint64_t key_of(const struct eye_features_opts *o, const struct eye_pixels *px) {
    uint64_t h = eye_hash64(o->cache, strlen(o->cache), VERSION);
    for (size_t i = 0; i < o->params->n; i++) {
        const struct eye_train_param *p = &o->params->param[i];
        if (strncmp(p->name, "v.", 2) == 0) h = eye_hash64(p->w, p->n * sizeof *p->w, h);
    }
    h = eye_hash64(o->plain.mean, sizeof o->plain.mean, h);
    h = eye_hash64(o->plain.std, sizeof o->plain.std, h);
    if (px->map.p) return eye_hash64(px->map.p, EYE_MIN(px->map.size, HEADER_BYTES), h); /* begins with a hash */
    return eye_hash64(px->rgb, px->n * (size_t)px->side * (size_t)px->side * 3, h);
}

static bool fits(struct eye_features *f, const struct header *want) {
    struct header got;
    size_t bytes;
    if (f->map.size < HEADER_BYTES) return false;
    memcpy(&got, f->map.p, sizeof got);
    if (memcmp(&got, want, sizeof got) != 0 || !eye_mul_ok(got.n * got.views, got.elems * sizeof(uint16_t), &bytes) ||
        f->map.size != HEADER_BYTES + bytes)
        return false;
    f->f16 = (const uint16_t *)(const void *)(f->map.p + HEADER_BYTES);
    f->n = got.n;
    f->elems = got.elems;
    f->views = (int)got.views;
    return true;
}

/* ---- making ---- */

static void mirror(float *p, size_t n, size_t side) {
    for (size_t row = 0; row < n * side; row++, p += side * 3)
        for (size_t a = 0, b = side - 1; a < b; a++, b--)
            for (int c = 0; c < 3; c++) {
                float t = p[a * 3 + (size_t)c];
                p[a * 3 + (size_t)c] = p[b * 3 + (size_t)c];
                p[b * 3 + (size_t)c] = t;
            }
}

struct maker {
    struct eye_net *net;
    const struct eye_features_opts *o;
    const struct eye_pixels *px;
    struct eye_writer w;
    float *pixels, *tap;   /* [n_pictures] */
    uint16_t *half;        /* [n_pictures][views][elems] */
    uint32_t *index;
};

static enum eye_status make_batch(struct maker *m, size_t from, size_t n, struct eye_err *err) {
    const struct eye_features_opts *o = m->o;
    size_t batch = (size_t)o->n_pictures, elems = m->net->tap_elems;
    for (size_t i = 0; i < batch; i++) m->index[i] = (uint32_t)EYE_MIN(from + i, m->px->n - 1); /* the last batch is filled up */
    EYE_TRY(eye_pixels_batch(m->px, &o->plain, m->index, batch, 0, m->pixels, m->net->engine->pool, err));
    for (int view = 0; view < o->views; view++) {
        struct eye_net_call call = {.image = m->pixels, .tap = m->tap, .cancel = o->cancel, .cancel_ctx = o->cancel_ctx};
        if (view == 1) mirror(m->pixels, batch, (size_t)m->px->side);
        EYE_TRY(eye_net_run(m->net, &call, err));
        for (size_t i = 0; i < n; i++)
            eye_row_from_f32(EYE_F16, m->tap + i * elems, m->half + (i * (size_t)o->views + (size_t)view) * elems, elems);
    }
    return eye_writer_put(&m->w, m->half, n * (size_t)o->views * elems * sizeof *m->half, err);
}

static enum eye_status make(struct maker *m, const char *path, const struct header *h, struct eye_err *err) {
    size_t batch = (size_t)m->o->n_pictures;
    EYE_TRY(eye_writer_open(&m->w, path, err));
    EYE_TRY(eye_writer_put(&m->w, h, sizeof *h, err));
    EYE_TRY(eye_writer_pad(&m->w, HEADER_BYTES, err));
    for (size_t i = 0; i < m->px->n; i += batch) {
        if (m->o->cancel && m->o->cancel(m->o->cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "features: cancelled");
        EYE_TRY(make_batch(m, i, EYE_MIN(batch, m->px->n - i), err));
        if (m->o->progress) m->o->progress(m->o->progress_ctx, (double)EYE_MIN(i + batch, m->px->n) / (double)m->px->n);
    }
    return eye_writer_commit(&m->w, err);
}

static enum eye_status make_file(const char *path, const struct eye_pixels *px, struct eye_net *net,
                                 const struct eye_features_opts *o, const struct header *h, struct eye_err *err) {
    struct maker m = {.net = net, .o = o, .px = px};
    struct eye_arena arena;
    size_t n = (size_t)o->n_pictures;
    eye_arena_init(&arena, net->engine->alloc);
    m.pixels = eye_arena_alloc(&arena, n * (size_t)px->side * (size_t)px->side * 3 * sizeof *m.pixels);
    m.tap = eye_arena_alloc(&arena, n * net->tap_elems * sizeof *m.tap);
    m.half = eye_arena_alloc(&arena, n * net->tap_elems * (size_t)o->views * sizeof *m.half);
    m.index = eye_arena_alloc(&arena, n * sizeof *m.index);
    bool room = m.pixels && m.tap && m.half && m.index;
    enum eye_status st = room ? make(&m, path, h, err) : eye_fail_nomem(err, n * net->tap_elems * sizeof *m.tap);
    eye_writer_abort(&m.w);
    eye_arena_clear(&arena);
    return st;
}

enum eye_status eye_features_ensure(struct eye_features *f, const char *path, const struct eye_pixels *px, struct eye_net *net,
                                    const struct eye_features_opts *o, struct eye_err *err) {
    struct header h = {.version = VERSION, .views = (uint32_t)o->views, .n = px->n, .elems = net->tap_elems};
    h.key = key_of(o, px);
    memcpy(h.magic, magic, sizeof magic);
    *f = (struct eye_features){0};
    for (int attempt = 0; attempt < 2; attempt++) {
        if (eye_path_exists(path)) {
            EYE_TRY(eye_map_open(&f->map, path, true, 0, err));
            if (fits(f, &h)) return EYE_OK;
            eye_features_close(f);
        }
        if (attempt == 0) EYE_TRY(make_file(path, px, net, o, &h, err));
    }
    return eye_fail(err, EYE_E_CORRUPT, "%s: not what was written a moment ago", path);
}

void eye_features_close(struct eye_features *f) {
    eye_map_close(&f->map);
    *f = (struct eye_features){0};
}

void eye_features_get(const struct eye_features *f, size_t picture, unsigned view, float *out) {
    size_t at = picture * (size_t)f->views + view % (unsigned)f->views;
    eye_row_to_f32(EYE_F16, f->f16 + at * f->elems, out, f->elems);
}
