/* Features: see features.h. */
#include "train/features.h"

#include <string.h>

static const char magic[] = "EYEFEATS";
enum { VERSION = 2 };

/* Of all that decides the numbers. */
static uint64_t key_of(const struct eye_features_opts *o, const struct eye_pixels *px, size_t elems) {
    const uint64_t sizes[] = {(uint64_t)o->views, px->n, elems};
    uint64_t h = eye_hash64(o->cache, strlen(o->cache), eye_hash64(sizes, sizeof sizes, VERSION));
    for (size_t i = 0; i < o->params->n; i++) {
        const struct eye_train_param *p = &o->params->param[i];
        if (strncmp(p->name, "v.", 2) == 0) h = eye_hash64(p->w, p->n * sizeof *p->w, h);
    }
    h = eye_hash64(o->plain.mean, sizeof o->plain.mean, h);
    h = eye_hash64(o->plain.std, sizeof o->plain.std, h);
    return eye_pixels_hash(px, h);
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
    struct eye_store_writer w;
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
    return eye_store_put(&m->w, m->half, n * (size_t)o->views * elems * sizeof *m->half, err);
}

static enum eye_status make(struct maker *m, const char *path, uint64_t key, struct eye_err *err) {
    size_t batch = (size_t)m->o->n_pictures;
    EYE_TRY(eye_store_begin(&m->w, path, magic, key, err));
    for (size_t i = 0; i < m->px->n; i += batch) {
        if (m->o->cancel && m->o->cancel(m->o->cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "features: cancelled");
        EYE_TRY(make_batch(m, i, EYE_MIN(batch, m->px->n - i), err));
        if (m->o->progress) m->o->progress(m->o->progress_ctx, (double)EYE_MIN(i + batch, m->px->n) / (double)m->px->n);
    }
    return eye_store_commit(&m->w, err);
}

static enum eye_status make_file(const char *path, const struct eye_pixels *px, struct eye_net *net,
                                 const struct eye_features_opts *o, uint64_t key, struct eye_err *err) {
    struct maker m = {.net = net, .o = o, .px = px};
    struct eye_arena arena;
    size_t n = (size_t)o->n_pictures;
    eye_arena_init(&arena, net->engine->alloc);
    m.pixels = eye_arena_alloc(&arena, n * (size_t)px->side * (size_t)px->side * 3 * sizeof *m.pixels);
    m.tap = eye_arena_alloc(&arena, n * net->tap_elems * sizeof *m.tap);
    m.half = eye_arena_alloc(&arena, n * net->tap_elems * (size_t)o->views * sizeof *m.half);
    m.index = eye_arena_alloc(&arena, n * sizeof *m.index);
    bool room = m.pixels && m.tap && m.half && m.index;
    enum eye_status st = room ? make(&m, path, key, err) : eye_fail_nomem(err, n * net->tap_elems * sizeof *m.tap);
    eye_store_abort(&m.w);
    eye_arena_clear(&arena);
    return st;
}

enum eye_status eye_features_ensure(struct eye_features *f, const char *path, const struct eye_pixels *px, struct eye_net *net,
                                    const struct eye_features_opts *o, struct eye_err *err) {
    uint64_t key = key_of(o, px, net->tap_elems);
    *f = (struct eye_features){.n = px->n, .elems = net->tap_elems, .views = o->views};
    if (!eye_store_open(&f->store, path, magic, key)) {
        EYE_TRY(make_file(path, px, net, o, key, err));
        if (!eye_store_open(&f->store, path, magic, key))
            return eye_fail(err, EYE_E_IO, "%s: not what was written a moment ago", path);
    }
    f->f16 = (const uint16_t *)(const void *)f->store.p;
    return EYE_OK;
}

void eye_features_close(struct eye_features *f) {
    eye_store_close(&f->store);
    *f = (struct eye_features){0};
}

void eye_features_get(const struct eye_features *f, size_t picture, unsigned view, float *out) {
    size_t at = picture * (size_t)f->views + view % (unsigned)f->views;
    eye_row_to_f32(EYE_F16, f->f16 + at * f->elems, out, f->elems);
}
