/* layers: see layers.h. Two plans of one graph: fused alike, so values have the same numbers in both; one is laid out in bytes,
 * as it runs, the other keeps floats. What an int8 node makes is compared as it comes out: rounded where it leaves as bytes, and
 * with all errors of the layers before it. Of large maps a sample, spread over places and channels. */
#include "pack/layers.h"

#include <math.h>
#include <string.h>

#include "engine/engine.h"
#include "model/names.h"

#define SAMPLE 65536u /* numbers of a value */
enum { EXACT, ROUNDED, N_SIDES };

struct layer {
    eye_val v;
    size_t n, step;      /* of the sample */
    float *exact;        /* [n] */
    double all, bb, dot, err;
    char name[64];
    const char *type;    /* of its input */
};
struct part {
    struct eye_graph graph[N_SIDES];
    struct eye_plan *plan[N_SIDES];
    struct eye_exec *exec[N_SIDES];
    bool built[N_SIDES];
    float *out[N_SIDES]; /* [t, C] */
    size_t n_out;
    int64_t t;
    struct layer *layer;
    size_t n_layers;
};
struct eye_layers {
    struct eye_model *m;
    struct eye_arena arena;
    struct part part[2]; /* tower, projector */
    float *pixels;
    uint8_t *u8;
};
static const enum eye_part order[2] = {EYE_PART_VISION, EYE_PART_PROJECTOR};

struct watch { struct part *p; int side; };

/* ---- one run ---- */

static size_t gcd(size_t a, size_t b) { return b ? gcd(b, a % b) : a; }

static float number(const struct eye_value *x, const void *data, size_t i) {
    if (x->dtype == EYE_U8) return x->quant.scale * (float)(((const uint8_t *)data)[i] - x->quant.zero);
    if (x->dtype == EYE_I16) return x->quant.scale * (float)((const int16_t *)data)[i];
    return ((const float *)data)[i];
}

static void on_value(void *ctx, eye_val v, void *data, size_t n) {
    const struct watch *w = ctx;
    const struct eye_value *x = &w->p->graph[w->side].value[v];
    for (size_t i = 0; i < w->p->n_layers; i++) {
        struct layer *l = &w->p->layer[i];
        if (l->v != v) continue;
        for (size_t k = 0, at = 0; k < l->n && at < n; k++, at += l->step) {
            float y = number(x, data, at);
            if (w->side == EXACT) {
                l->exact[k] = y;
                continue;
            }
            double a = (double)l->exact[k], b = (double)y;
            l->all += a * a;
            l->bb += b * b;
            l->dot += a * b;
            l->err += (a - b) * (a - b);
        }
    }
}

static enum eye_status run(struct part *p, int side, float *x, struct eye_err *err) {
    struct eye_graph *g = &p->graph[side];
    struct eye_io in = {g->input[0], x}, out = {g->output[0], p->out[side]};
    struct eye_bind bind = {.t = p->t};
    struct watch w = {p, side};
    eye_exec_observe(p->exec[side], on_value, &w);
    return eye_exec_run(p->exec[side], NULL, &bind, &in, 1, &out, 1, NULL, NULL, err);
}

enum eye_status eye_layers_add(struct eye_layers *l, const struct eye_image *img, struct eye_err *err) {
    EYE_TRY(eye_model_cut(l->m, img, true, l->u8, err));
    EYE_TRY(eye_model_normalise(l->m, l->u8, EYE_PREPROC_HWC, l->pixels, err));
    for (int side = 0; side < N_SIDES; side++) {
        EYE_TRY(run(&l->part[0], side, l->pixels, err));
        EYE_TRY(run(&l->part[1], side, l->part[0].out[side], err));
    }
    return EYE_OK;
}

/* ---- setting up ---- */

static enum eye_status build(const struct eye_model *m, bool rounded, struct eye_graph *g, struct eye_err *err) {
    EYE_TRY(eye_graph_fold(g, err));
    eye_graph_quantize(g, rounded ? EYE_W_I8 : EYE_W_F32);
    EYE_TRY(eye_vlm_ranges(&m->vlm, g, err)); /* without them the two would be fused differently */
    EYE_TRY(eye_graph_fuse(g, false, err));
    return rounded ? eye_graph_lay_int8(g, err) : EYE_OK;
}

static enum eye_status open_side(struct eye_layers *l, struct part *p, enum eye_part part, int side, struct eye_err *err) {
    struct eye_plan_opts o = {.max_t = p->t};
    struct eye_bind bind = {.t = p->t};
    struct eye_graph *g = &p->graph[side];
    int64_t n = 0;
    EYE_TRY(eye_vlm_graph(&l->m->vlm, part, part == EYE_PART_VISION ? l->m->opts.image_side : 0, g, err));
    p->built[side] = true;
    EYE_TRY(build(l->m, side == ROUNDED, g, err));
    if (!eye_value_elems(&g->value[g->output[0]], &bind, &n)) return eye_fail(err, EYE_E_LIMIT, "layers: too many features");
    p->n_out = (size_t)n;
    p->out[side] = eye_arena_alloc(&l->arena, p->n_out * sizeof(float) + 1);
    if (!p->out[side]) return eye_fail_nomem(err, p->n_out);
    EYE_TRY(eye_plan_new(&p->plan[side], &l->m->engine, g, &o, err));
    return eye_exec_new(&p->exec[side], p->plan[side], err);
}

static enum eye_status add_layer(struct eye_layers *l, struct part *p, const struct eye_node *n, struct eye_err *err) {
    const struct eye_graph *g = &p->graph[EXACT];
    struct eye_bind bind = {.t = p->t};
    struct layer *y = &p->layer[p->n_layers];
    char name[EYE_NAME_MAX];
    int64_t elems = 0, c = eye_dim(g, n->out, -1);
    if (!eye_value_elems(&g->value[n->out], &bind, &elems) || !eye_name_folded(g->value[n->in[1]].name, name, sizeof name))
        return eye_fail(err, EYE_E_LIMIT, "layers: too large");
    size_t len = strlen(name);
    if (len > 7 && strcmp(name + len - 7, ".weight") == 0) name[len - 7] = 0;
    *y = (struct layer){.v = n->out, .step = EYE_MAX((size_t)elems / SAMPLE, 1),
                        .type = g->value[n->in[0]].quant.wide ? "i16" : "u8"};
    while (gcd(y->step, (size_t)c) != 1) y->step++; /* else some channels would never be looked at */
    y->n = ((size_t)elems + y->step - 1) / y->step;
    y->exact = eye_arena_alloc(&l->arena, y->n * sizeof(float) + 1);
    if (!y->exact) return eye_fail_nomem(err, y->n);
    memcpy(y->name, name, EYE_MIN(strlen(name), sizeof y->name - 1));
    p->n_layers++;
    return EYE_OK;
}

static enum eye_status open_part(struct eye_layers *l, int i, int64_t t, struct eye_err *err) {
    struct part *p = &l->part[i];
    p->t = t;
    for (int side = 0; side < N_SIDES; side++) EYE_TRY(open_side(l, p, order[i], side, err));
    const struct eye_graph *g = &p->graph[EXACT];
    p->layer = eye_arena_alloc(&l->arena, g->n_nodes * sizeof *p->layer + 1);
    if (!p->layer) return eye_fail_nomem(err, g->n_nodes);
    for (size_t k = 0; k < g->n_nodes; k++)
        if (eye_node_is_int8(g, &g->node[k])) EYE_TRY(add_layer(l, p, &g->node[k], err));
    return EYE_OK;
}

static enum eye_status open_all(struct eye_layers *l, struct eye_err *err) {
    size_t side = (size_t)l->m->opts.image_side, n = side * side * 3;
    EYE_TRY(eye_model_engine(l->m, err));
    l->pixels = eye_arena_alloc(&l->arena, n * sizeof *l->pixels);
    l->u8 = eye_arena_alloc(&l->arena, n);
    if (!l->pixels || !l->u8) return eye_fail_nomem(err, n);
    EYE_TRY(open_part(l, 0, 1, err));
    const struct eye_graph *g = &l->part[0].graph[EXACT];
    return open_part(l, 1, eye_dim(g, g->output[0], 0), err);
}

enum eye_status eye_layers_new(struct eye_layers **out, struct eye_model *m, struct eye_err *err) {
    struct eye_layers *l = eye_alloc_zero(m->alloc, sizeof *l);
    if (!l) return eye_fail_nomem(err, sizeof *l);
    l->m = m;
    eye_arena_init(&l->arena, m->alloc);
    enum eye_status st = open_all(l, err);
    if (st == EYE_OK) *out = l;
    else eye_layers_free(l);
    return st;
}

void eye_layers_free(struct eye_layers *l) {
    if (!l) return;
    for (int i = 0; i < 2; i++)
        for (int side = 0; side < N_SIDES; side++) {
            struct part *p = &l->part[i];
            eye_exec_free(p->exec[side]);
            if (p->plan[side]) eye_plan_free(p->plan[side]);
            if (p->built[side]) eye_graph_clear(&p->graph[side]);
        }
    eye_arena_clear(&l->arena);
    eye_alloc_free(l->m->alloc, l, sizeof *l);
}

/* ---- the result ---- */

enum eye_status eye_layers_conclude(const struct eye_layers *l, struct eye_quality *q, struct eye_err *err) {
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < l->part[i].n_layers; k++) {
            const struct layer *y = &l->part[i].layer[k];
            void *list = q->layer;
            size_t cap = q->layers_cap;
            EYE_TRY(eye_alloc_grow(q->alloc, &list, &cap, q->n_layers + 1, sizeof *q->layer, err));
            q->layer = list;
            q->layers_cap = cap;
            struct eye_quality_layer *o = &q->layer[q->n_layers++];
            *o = (struct eye_quality_layer){.input = y->type, .snr_db = 10 * log10(y->all / y->err),
                                            .cosine = y->all > 0 && y->bb > 0 ? y->dot / sqrt(y->all * y->bb) : 0};
            memcpy(o->name, y->name, sizeof o->name);
        }
    return EYE_OK;
}
