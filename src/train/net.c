/* Net: see net.h. Model files build the parts; what makes a training graph of them stands here. */
#include "train/net.h"

#include <stdio.h>
#include <string.h>

#include "train/folder.h"
#include "train/lora.h"

struct build { /* one net under construction */
    struct eye_net *n;
    const struct eye_net_opts *o;
    const struct eye_vlm *m;
    struct eye_params *p;
    struct eye_graph *g;
    int64_t text_hidden;
};

/* Pictures in, rows out: no loss. */
static bool looks_only(const struct eye_net_opts *o) { return o->use == EYE_NET_TAP || o->use == EYE_NET_ROWS; }
static bool is_language(const struct eye_net_opts *o) { return !looks_only(o) && o->stage->loss != EYE_LOSS_VISION; }
static bool sees(const struct build *b) { return eye_vlm_sees(b->m) && b->o->stage->loss != EYE_LOSS_LM; }

/* ---- the parts ---- */

static void forget_outputs(struct eye_graph *g) {
    for (size_t i = 0; i < g->n_outputs; i++) g->value[g->output[i]].n_uses--;
    g->n_outputs = 0;
}

/* The tower's features; what lies before a cached value is gone, and that value is the input. */
static enum eye_status add_tower(struct build *b, eye_val *features, struct eye_err *err) {
    struct eye_graph *g = b->g;
    int64_t side = b->m->config.prep.side_px;
    const char *cache = b->o->stage->cache;
    eye_val pixels = eye_input(g, "pixels", EYE_F32, 4, (int64_t[]){b->o->n_pictures, side, side, 3});
    *features = eye_vlm_add(b->m, EYE_PART_VISION, g, pixels);
    b->n->image = pixels;
    if (g->status != EYE_OK) return eye_fail(err, g->status, "%s", g->err.text);
    if (!cache) return EYE_OK;
    eye_val v = eye_graph_find(g, cache);
    if (v == EYE_NONE || g->value[v].kind != EYE_VAL_NODE)
        return eye_fail(err, EYE_E_ARG, "cache: the vision tower has no value \"%.64s\"", cache);
    if (b->o->use == EYE_NET_TAP) {
        b->n->tap = v;
        return EYE_OK;
    }
    EYE_TRY(eye_graph_cut(g, v, *features, err));
    forget_outputs(g);
    b->n->image = v;
    return EYE_OK;
}

static size_t elems_per_picture(const struct build *b, eye_val v) {
    int64_t n = 0;
    if (v == EYE_NONE || !eye_value_elems(eye_value_at(b->g, v), &(struct eye_bind){.t = 1, .ctx = 1}, &n)) return 0;
    return (size_t)(n / b->o->n_pictures);
}

static eye_val add_decoder(struct build *b, eye_val features) {
    struct eye_net *n = b->n;
    struct eye_graph *g = b->g;
    const int64_t t[] = {EYE_DIM_T};
    n->ids = eye_input(g, "ids", EYE_I32, 1, t);
    eye_val x = eye_vlm_add(b->m, EYE_PART_EMBED, g, n->ids);
    if (features != EYE_NONE) {
        eye_val rows = eye_vlm_add(b->m, EYE_PART_PROJECTOR, g, features);
        n->image_row = eye_input(g, "image_row", EYE_I32, 1, t);
        x = eye_add(g, x, eye_embed(g, n->image_row, rows));
    }
    if (b->o->use == EYE_NET_TRAIN && b->o->stage->dropout > 0) {
        n->seed = eye_input(g, "seed", EYE_I32, 1, (int64_t[]){2});
        x = eye_dropout(g, x, n->seed, (float)b->o->stage->dropout, 1);
    }
    x = eye_vlm_add(b->m, EYE_PART_DECODER, g, x);
    n->picked = eye_input(g, "picked", EYE_I32, 1, (int64_t[]){EYE_DIM_PICKED});
    return eye_embed(g, n->picked, x);
}

/* On each residual branch; a place's number is its salt, so that no two masks agree. */
static void add_dropout(struct build *b) {
    static const char *const branch[] = {"attn", "mlp"};
    if (b->n->seed == EYE_NONE) return;
    for (int64_t i = 0; i < b->m->config.text.n_layers; i++)
        for (int k = 0; k < 2; k++) {
            eye_val v = eye_graph_find(b->g, eye_namef("t.layer%lld.%s", (long long)i, branch[k]).s);
            if (v != EYE_NONE)
                (void)eye_graph_add_dropout(b->g, v, b->n->seed, (float)b->o->stage->dropout, (uint32_t)(2 + 2 * i + k));
        }
}

/* The side branches of a stage with adapters. */
static void add_lora(struct build *b) {
    const struct eye_recipe_lora *l = &b->o->stage->lora;
    size_t n_values = b->g->n_values;
    eye_val pair[2];
    for (size_t i = 0; l->rank > 0 && i < n_values; i++)
        if (b->g->value[i].kind == EYE_VAL_WEIGHT && eye_lora_find(b->p, b->g->value[i].name, "lora_a"))
            (void)eye_graph_add_lora(b->g, (eye_val)i, l->rank, eye_lora_scale(l), pair);
}

/* ---- losses ---- */

static eye_val language_loss(struct build *b) {
    struct eye_net *n = b->n;
    struct eye_graph *g = b->g;
    const struct eye_recipe_stage *s = b->o->stage;
    bool judge = b->o->use == EYE_NET_JUDGE;
    const int64_t t[] = {EYE_DIM_PICKED};
    n->target = eye_input(g, "target", EYE_I32, 1, t);
    n->weight = eye_input(g, "weight", EYE_F32, 1, t);
    n->row_loss = eye_cross_entropy(g, n->logits, n->target, n->weight, judge ? 0 : (float)s->label_smoothing);
    if (judge || s->loss != EYE_LOSS_JOINT || b->o->teacher->hard == 1) return eye_sum(g, n->row_loss, 1);
    const int64_t top[] = {EYE_DIM_PICKED, b->o->teacher->top_k};
    n->top_ids = eye_input(g, "teacher.ids", EYE_I32, 2, top);
    n->top_logp = eye_input(g, "teacher.logp", EYE_F32, 2, top);
    eye_val kl = eye_kl_topk(g, n->logits, n->top_ids, n->top_logp, n->weight, (float)b->o->teacher->temperature);
    float hard = (float)b->o->teacher->hard;
    return eye_add(g, eye_sum(g, kl, 1 - hard), eye_sum(g, n->row_loss, hard));
}

/* Weights of rows that all count the same. */
static eye_val ones(struct build *b, int64_t rows) {
    float *p = eye_arena_alloc(&b->n->arena, (size_t)rows * sizeof *p);
    if (!p) return eye_graph_fail(b->g, EYE_E_NOMEM, "out of memory");
    for (int64_t i = 0; i < rows; i++) p[i] = 1;
    return eye_weight(b->g, "", &(struct eye_tensor){.data = p, .dtype = EYE_F32, .rank = 1, .dims = {rows}});
}

static eye_val feature_loss(struct build *b, eye_val features) {
    struct eye_net *n = b->n;
    struct eye_graph *g = b->g;
    int64_t rows = eye_dim(g, features, 0), c = eye_dim(g, features, -1);
    if (c != b->o->teacher_dim)
        return eye_graph_fail(g, EYE_E_ARG, "the student's features have %lld channels, the teacher's %lld", (long long)c,
                              (long long)b->o->teacher_dim);
    if (rows / b->o->n_pictures * c != (int64_t)b->o->teacher_elems)
        return eye_graph_fail(g, EYE_E_ARG, "the student's features have %lld rows of a picture, the teacher's %zu",
                              (long long)(rows / b->o->n_pictures), b->o->teacher_elems / (size_t)c);
    n->teacher = eye_input(g, "teacher", EYE_F32, 2, (int64_t[]){rows, c});
    switch (b->o->teacher->feature_loss) {
    case EYE_FEATURE_MSE: n->row_loss = eye_mse_rows(g, features, n->teacher); break;
    case EYE_FEATURE_COSINE: n->row_loss = eye_cosine_rows(g, features, n->teacher); break;
    case EYE_FEATURE_CENTRED_COSINE:
        n->centre = eye_input(g, "centre", EYE_F32, 1, (int64_t[]){c}); /* minus the teacher's mean: added to both */
        n->row_loss = eye_cosine_rows(g, eye_add(g, features, n->centre), eye_add(g, n->teacher, n->centre));
        break;
    default: n->row_loss = eye_kl_rows(g, features, n->teacher, ones(b, rows), (float)b->o->teacher->temperature);
    }
    return eye_sum(g, n->row_loss, (float)(1.0 / (double)rows));
}

/* ---- weights ---- */

static bool is_buffer(const char *name) { return eye_text_ends(name, ".running_mean") || eye_text_ends(name, ".running_var"); }

static bool stays(const struct build *b, const char *name) {
    if (strstr(name, ".lora_")) return false;
    return is_buffer(name) || b->o->stage->lora.rank > 0 || eye_pattern_any(&b->o->stage->freeze, name);
}

/* Every weight of the graph becomes the params' own, which stages before may have changed. Those that this stage changes are
 * read anew in each run, others may be packed. */
static enum eye_status bind_weights(struct build *b, struct eye_err *err) {
    for (size_t i = 0; i < b->g->n_values; i++) {
        struct eye_value *v = &b->g->value[i];
        if (v->kind != EYE_VAL_WEIGHT || v->name[0] == '\0') continue;
        struct eye_train_param *q = eye_params_find(b->p, v->name);
        if (!q) return eye_fail(err, EYE_E_UNSUPPORTED, "weight \"%s\" is no tensor of the student's file", v->name);
        bool moves = !stays(b, v->name) || (is_buffer(v->name) && b->o->stage->train_norms);
        if (b->o->use == EYE_NET_JUDGE) moves = moves || eye_lora_find(b->p, v->name, "lora_a"); /* with the product in it */
        v->data = q->w;
        v->dtype = EYE_F32;
        if (!moves || looks_only(b->o) || v->n_uses == 0) continue;
        if (q->transposed)
            return eye_fail(err, EYE_E_UNSUPPORTED, "weight \"%s\" is stored transposed: freeze it, or convert the model first",
                            v->name);
        eye_graph_unfreeze(b->g, (eye_val)i, q->w);
    }
    return EYE_OK;
}

static enum eye_status list_weights(struct build *b, struct eye_err *err) {
    struct eye_net *n = b->n;
    const struct eye_recipe_stage *s = b->o->stage;
    n->train = eye_arena_alloc(&n->arena, (b->g->n_values + 1) * sizeof *n->train);
    if (!n->train) return eye_fail_nomem(err, b->g->n_values * sizeof *n->train);
    for (size_t i = 0; i < b->g->n_values; i++) {
        const struct eye_value *v = &b->g->value[i];
        if (v->kind != EYE_VAL_WEIGHT || !v->trainable || is_buffer(v->name) || v->n_uses == 0) continue;
        struct eye_net_weight *w = &n->train[n->n_train++];
        *w = (struct eye_net_weight){.param = eye_params_find(b->p, v->name), .v = (eye_val)i, .lr = 1};
        w->decay = s->weight_decay;
        for (size_t k = 0; k < s->groups.n; k++) {
            const struct eye_recipe_group *group = (const struct eye_recipe_group *)s->groups.item + k;
            if (!eye_pattern_matches(group->match, v->name)) continue;
            w->lr = group->lr;
            if (group->weight_decay >= 0) w->decay = group->weight_decay;
            break;
        }
        if (v->rank < 2 || strstr(v->name, "position_embd")) w->decay = 0;
    }
    return n->n_train ? EYE_OK : eye_fail(err, EYE_E_ARG, "stage \"%s\": every weight is frozen", s->name);
}

static bool norm_moves(void *ctx, const char *gamma) { return !stays(ctx, gamma); }

static enum eye_status add_norms(struct build *b, struct eye_err *err) {
    struct eye_net *n = b->n;
    struct eye_train_norm *found = NULL;
    if (!b->o->stage->train_norms) return EYE_OK;
    size_t cap = b->g->n_nodes;
    if (!(found = eye_arena_alloc(&n->arena, cap * sizeof *found))) return eye_fail_nomem(err, cap * sizeof *found);
    n->n_norm = eye_graph_train_norms(b->g, norm_moves, b, found, cap);
    if (!(n->norm = eye_arena_alloc(&n->arena, (n->n_norm + 1) * sizeof *n->norm))) return eye_fail_nomem(err, n->n_norm);
    for (size_t i = 0; i < n->n_norm; i++) {
        int64_t elems, c = eye_dim(b->g, found[i].x, -1);
        struct eye_net_norm *norm = &n->norm[i];
        if (!eye_value_elems(eye_value_at(b->g, found[i].x), &(struct eye_bind){.t = 1}, &elems)) elems = c;
        *norm = (struct eye_net_norm){.mean = eye_params_find(b->p, eye_value_at(b->g, found[i].mean)->name),
                                      .var = eye_params_find(b->p, eye_value_at(b->g, found[i].var)->name),
                                      .stats = found[i].stats, .channels = c, .rows = elems / c};
        norm->seen = eye_arena_alloc(&n->arena, 2 * (size_t)c * sizeof *norm->seen);
        if (!norm->seen) return eye_fail_nomem(err, 2 * (size_t)c * sizeof *norm->seen);
    }
    return EYE_OK;
}

/* ---- the whole ---- */

static enum eye_status add_gradients(struct build *b, struct eye_err *err) {
    struct eye_net *n = b->n;
    EYE_TRY(list_weights(b, err));
    eye_val *wrt = eye_arena_alloc(&n->arena, 2 * n->n_train * sizeof *wrt), *grad = wrt + n->n_train;
    if (!wrt) return eye_fail_nomem(err, n->n_train);
    for (size_t i = 0; i < n->n_train; i++) wrt[i] = n->train[i].v;
    EYE_TRY(eye_graph_gradient(b->g, n->loss, wrt, n->n_train, grad, err));
    size_t kept = 0;
    for (size_t i = 0; i < n->n_train; i++) {
        struct eye_net_weight w = n->train[i];
        if ((w.grad = grad[i]) == EYE_NONE) continue;
        if (!(w.g = eye_arena_alloc(&n->arena, w.param->n * sizeof *w.g)) ||
            (b->o->stage->accumulate > 1 && !(w.sum = eye_arena_alloc(&n->arena, w.param->n * sizeof *w.sum))))
            return eye_fail_nomem(err, w.param->n * sizeof *w.g);
        n->train[kept++] = w;
    }
    n->n_train = kept;
    EYE_TRY(eye_graph_fold(b->g, err)); /* what stays frozen */
    return eye_graph_fuse(b->g, false, err);
}

static enum eye_status build(struct build *b, struct eye_err *err) {
    struct eye_net *n = b->n;
    eye_val features = EYE_NONE;
    if (sees(b) || looks_only(b->o)) EYE_TRY(add_tower(b, &features, err));
    if (looks_only(b->o)) {
        if (b->o->use == EYE_NET_ROWS) n->tap = eye_vlm_add(b->m, EYE_PART_PROJECTOR, b->g, features);
        eye_output(b->g, n->tap);
        EYE_TRY(bind_weights(b, err));
        EYE_TRY(eye_graph_finish(b->g, err));
        EYE_TRY(eye_graph_fold(b->g, err));
        return eye_graph_fuse(b->g, true, err);
    }
    if (features != EYE_NONE) n->image_rows = eye_dim(b->g, features, 0) / b->o->n_pictures;
    if (is_language(b->o)) {
        n->logits = eye_vlm_add(b->m, EYE_PART_HEAD, b->g, add_decoder(b, features));
        add_dropout(b);
        eye_graph_drop_states(b->g);
        n->loss = language_loss(b);
    } else {
        n->loss = feature_loss(b, features);
    }
    if (b->o->use == EYE_NET_TRAIN) add_lora(b);
    if (b->o->use == EYE_NET_TRAIN) EYE_TRY(add_norms(b, err));
    if (b->g->status != EYE_OK) return eye_fail(err, b->g->status, "%s", b->g->err.text);
    eye_output(b->g, n->loss);
    if (b->o->use == EYE_NET_JUDGE) {
        eye_output(b->g, n->row_loss);
        eye_output(b->g, n->logits);
    }
    EYE_TRY(bind_weights(b, err));
    if (b->o->use == EYE_NET_TRAIN) return add_gradients(b, err);
    return eye_graph_finish(b->g, err);
}

enum eye_status eye_net_init(struct eye_net *n, const struct eye_net_opts *o, const struct eye_engine *engine,
                             const struct eye_vlm *m, struct eye_params *p, struct eye_err *err) {
    struct build b = {.n = n, .o = o, .m = m, .p = p, .g = &n->g};
    enum eye_status st;
    *n = (struct eye_net){.engine = engine, .image = EYE_NONE, .ids = EYE_NONE, .image_row = EYE_NONE, .picked = EYE_NONE,
                          .target = EYE_NONE, .weight = EYE_NONE, .seed = EYE_NONE, .teacher = EYE_NONE, .centre = EYE_NONE,
                          .top_ids = EYE_NONE, .top_logp = EYE_NONE, .loss = EYE_NONE, .row_loss = EYE_NONE,
                          .logits = EYE_NONE, .tap = EYE_NONE};
    eye_arena_init(&n->arena, engine->alloc);
    eye_graph_init(&n->g, engine->alloc);
    EYE_TRY_GOTO(build(&b, err));
    n->image_elems = elems_per_picture(&b, n->image);
    n->tap_elems = elems_per_picture(&b, n->tap);
    struct eye_plan_opts plan = {.max_t = EYE_MAX(o->max_rows, 1), .max_picked = o->max_targets,
                                 .max_ctx = m->config.text.max_positions};
    plan.train_bf16 = o->use == EYE_NET_TRAIN && o->stage->bf16;
    EYE_TRY_GOTO(eye_plan_new(&n->plan, engine, &n->g, &plan, err));
    EYE_TRY_GOTO(eye_exec_new(&n->exec, n->plan, err));
    return EYE_OK;
fail:
    eye_net_clear(n);
    return st;
}

void eye_net_clear(struct eye_net *n) {
    eye_exec_free(n->exec);
    eye_plan_free(n->plan);
    eye_graph_clear(&n->g);
    eye_arena_clear(&n->arena);
    *n = (struct eye_net){0};
}

enum eye_status eye_net_part(struct eye_graph *g, const struct eye_vlm *m, enum eye_part part, struct eye_params *p,
                             enum eye_wtype type, struct eye_err *err) {
    enum eye_status st;
    EYE_TRY(eye_vlm_graph(m, part, 0, g, err));
    for (size_t i = 0; i < g->n_values; i++) {
        struct eye_value *v = &g->value[i];
        if (v->kind != EYE_VAL_WEIGHT || v->name[0] == '\0') continue;
        const struct eye_train_param *q = eye_params_find(p, v->name);
        if (!q) {
            st = eye_fail(err, EYE_E_UNSUPPORTED, "weight \"%s\" is no tensor of the student's file", v->name);
            goto fail;
        }
        v->data = q->w;
        v->dtype = EYE_F32;
    }
    EYE_TRY_GOTO(eye_graph_fold(g, err));
    eye_graph_quantize(g, type);
    if (part == EYE_PART_DECODER) EYE_TRY_GOTO(eye_graph_pick(g, err));
    EYE_TRY_GOTO(eye_graph_fuse(g, false, err));
    return EYE_OK;
fail:
    eye_graph_clear(g);
    return st;
}

/* ---- running ---- */

struct wires { struct eye_io *io; size_t n; };

static void wire(struct wires *w, eye_val v, const void *data) {
    if (v != EYE_NONE && data) w->io[w->n++] = (struct eye_io){v, (void *)(uintptr_t)data}; /* inputs are not written to */
}

enum { MAX_PLAIN_WIRES = 12 };

enum eye_status eye_net_run(struct eye_net *n, const struct eye_net_call *c, struct eye_err *err) {
    struct eye_io in_io[MAX_PLAIN_WIRES];
    size_t cap = MAX_PLAIN_WIRES + n->n_train + n->n_norm;
    struct wires in = {in_io, 0}, out = {eye_alloc_raw(n->engine->alloc, cap * sizeof(struct eye_io)), 0};
    struct eye_bind bind = {.t = 1};
    if (!out.io) return eye_fail_nomem(err, cap * sizeof(struct eye_io));
    if (c->batch) {
        bind = (struct eye_bind){.t = c->batch->t, .picked = eye_batch_picked(c->batch), .segment = c->batch->segment,
                                 .n_segments = c->batch->n_segments};
        wire(&in, n->ids, c->batch->ids);
        wire(&in, n->image_row, c->batch->image_row);
        wire(&in, n->picked, c->batch->picked);
        wire(&in, n->target, c->batch->target);
        wire(&in, n->weight, c->batch->weight);
    }
    wire(&in, n->image, c->image);
    wire(&in, n->seed, c->seed);
    wire(&in, n->teacher, c->teacher);
    wire(&in, n->centre, c->centre);
    wire(&in, n->top_ids, c->top_ids);
    wire(&in, n->top_logp, c->top_logp);
    wire(&out, n->loss, c->loss);
    wire(&out, n->row_loss, c->row_loss);
    wire(&out, n->logits, c->logits);
    wire(&out, n->tap, c->tap);
    for (size_t i = 0; c->gradients && i < n->n_train; i++) wire(&out, n->train[i].grad, n->train[i].g);
    for (size_t i = 0; c->gradients && i < n->n_norm; i++) wire(&out, n->norm[i].stats, n->norm[i].seen);
    enum eye_status st = eye_exec_run(n->exec, NULL, &bind, in.io, in.n, out.io, out.n, c->cancel, c->cancel_ctx, err);
    eye_alloc_free(n->engine->alloc, out.io, cap * sizeof(struct eye_io));
    return st;
}
