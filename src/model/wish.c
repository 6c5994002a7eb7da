/* Wish: see wish.h. */
#include "model/wish.h"

#include <string.h>

bool eye_wish_wants(const struct eye_wish *w, const char *name) {
    for (size_t i = 0; i < w->n_optional; i++)
        if (strcmp(w->optional[i], name) == 0) return true;
    return false;
}

static bool add(struct eye_wish *w, const char *name, const struct eye_shape *shape) {
    struct eye_wished *t;
    if (eye_alloc_grow(w->arena.alloc, (void **)&w->tensor, &w->cap, w->n + 1, sizeof *t, NULL) != EYE_OK) return false;
    t = &w->tensor[w->n];
    *t = (struct eye_wished){.name = eye_arena_strdup(&w->arena, name, strlen(name)), .part = w->part, .rank = shape->rank};
    for (int i = 0; i < shape->rank; i++) {
        t->dims[i] = shape->dims[i] == EYE_ANY ? w->any : shape->dims[i];
        if (t->dims[i] < 1) return false;
    }
    if (!t->name || eye_strmap_put(&w->map, t->name, strlen(name), (int32_t)w->n, NULL, NULL) != EYE_OK) return false;
    w->n++;
    return true;
}

bool eye_wish_tensor(struct eye_wish *w, const char *name, const struct eye_shape *shape, struct eye_tensor *t) {
    int32_t i = eye_strmap_get(&w->map, name, strlen(name));
    if (i < 0) {
        if (!add(w, name, shape)) return false;
        i = (int32_t)w->n - 1;
    }
    *t = (struct eye_tensor){.dtype = EYE_F32, .rank = w->tensor[i].rank};
    memcpy(t->dims, w->tensor[i].dims, sizeof t->dims);
    return true;
}

static enum eye_status build_parts(struct eye_vlm *m, struct eye_wish *w, struct eye_err *err) {
    for (int part = eye_vlm_sees(m) ? 0 : EYE_PART_EMBED; part < EYE_N_PART; part++) {
        struct eye_graph g;
        w->part = (enum eye_part)part;
        EYE_TRY(eye_vlm_graph(m, w->part, 0, &g, err));
        if (part == EYE_PART_VISION) m->config.vision.channels = eye_dim(&g, g.output[0], -1);
        eye_graph_clear(&g);
    }
    return EYE_OK;
}

enum eye_status eye_vlm_wish(struct eye_wish *w, const struct eye_checkpoint *ckpt, const struct eye_alloc *alloc,
                             struct eye_err *err) {
    struct eye_vlm m = {.alloc = alloc, .ckpt = ckpt};
    enum eye_status st;
    eye_arena_init(&w->arena, alloc);
    eye_strmap_init(&w->map, alloc);
    w->tensor = NULL;
    w->n = w->cap = 0;
    EYE_TRY(eye_vlm_config_read(&m.config, ckpt, err));
    EYE_TRY(eye_binder_init(&m.bind, ckpt, m.config.names, alloc, err));
    m.bind.wish = w;
    m.tied = m.config.text.tie != EYE_FALSE;
    st = build_parts(&m, w, err);
    eye_vlm_clear(&m);
    if (st != EYE_OK) eye_wish_clear(w);
    return st;
}

void eye_wish_clear(struct eye_wish *w) {
    eye_alloc_free(w->arena.alloc, w->tensor, w->cap * sizeof *w->tensor);
    eye_strmap_clear(&w->map);
    eye_arena_clear(&w->arena);
    w->tensor = NULL;
    w->n = w->cap = 0;
}
