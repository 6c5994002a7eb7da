/* probe: intermediate results for people and tests. A stage runs just the parts it needs; a layer is one named value of a
 * part's graph, built anew with that value as an output (so nothing is fused over it). */
#include <inttypes.h>
#include <string.h>

#include "eyelet/experimental.h"
#include "format/npy.h"
#include "session/session_impl.h"

/* ---- arrays ---- */

void eye_array_free(struct eye_array *a) {
    eye_alloc_free(a->alloc, a->data, a->bytes);
    *a = (struct eye_array){0};
}

enum eye_status eye_array_save(const struct eye_array *a, const char *path, struct eye_err *err) {
    struct eye_tensor t = {.data = a->data, .dtype = EYE_F32, .rank = a->rank};
    for (int32_t i = 0; i < a->rank; i++) t.dims[i] = a->dims[i];
    return eye_npy_write(path, &t, err);
}

_Static_assert(EYE_ARRAY_MAX_RANK == EYE_MAX_RANK, "every value fits an array");

static enum eye_status array_new(const struct eye_model *m, struct eye_array *a, int32_t rank, const int64_t *dims,
                                 struct eye_err *err) {
    struct eye_tensor t = {.dtype = EYE_F32, .rank = rank};
    size_t bytes;
    for (int32_t i = 0; i < rank; i++) t.dims[i] = dims[i];
    if (!eye_tensor_bytes(&t, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    *a = (struct eye_array){.rank = rank, .bytes = bytes, .alloc = m->alloc};
    memcpy(a->dims, t.dims, sizeof a->dims);
    a->data = eye_alloc_zero(m->alloc, bytes);
    return a->data ? EYE_OK : eye_fail_nomem(err, bytes);
}

/* ---- one part, run alone ---- */

struct part_run {
    struct eye_graph graph; /* of its own when tapped */
    struct eye_plan *plan;  /* likewise */
    struct eye_exec *exec;
    const struct eye_graph *g;
    const struct eye_plan *used;
    eye_val value;          /* what is wanted of it */
    const int32_t *all;     /* [t] 0, 1, ..: where a graph wants to know which rows, all of them */
    eye_cancel_fn *cancel;  /* the model's */
    void *cancel_ctx;
};

static enum eye_status part_open(struct eye_model *m, enum eye_part part, const char *tap, struct part_run *r,
                                 struct eye_err *err) {
    memset(r, 0, sizeof *r);
    r->cancel = m->opts.cancel;
    r->cancel_ctx = m->opts.cancel_ctx;
    EYE_TRY(eye_model_engine(m, err));
    if (!tap) {
        EYE_TRY(eye_model_plan(m, part, &r->used, err));
        r->g = &m->part[part].graph;
        r->value = r->g->output[0];
    } else {
        struct eye_plan_opts o = eye_model_plan_opts(m, part, false);
        EYE_TRY(eye_model_graph(m, part, true, tap, &r->graph, &r->value, err));
        enum eye_status st = eye_plan_new(&r->plan, &m->engine, &r->graph, &o, err);
        if (st != EYE_OK) {
            r->plan = NULL;
            eye_graph_clear(&r->graph);
            return st;
        }
        r->g = &r->graph;
        r->used = r->plan;
    }
    return eye_exec_new(&r->exec, r->used, err);
}

static void part_close(struct part_run *r) {
    eye_exec_free(r->exec);
    if (!r->plan) return;
    eye_plan_free(r->plan);
    eye_graph_clear(&r->graph);
}

/* T rows (or the whole picture) in; the wanted value out. */
static enum eye_status part_run(struct part_run *r, struct eye_kv *kv, int64_t t, int64_t past, void *in, float *out,
                                struct eye_err *err) {
    struct eye_io i[2] = {{r->g->input[0], in}}, o = {r->value, out};
    struct eye_bind bind = {.t = t, .past = past};
    if (r->g->n_inputs > 1) {
        i[1] = (struct eye_io){r->g->input[1], (void *)(uintptr_t)r->all}; /* only read */
        bind.picked = t;
    }
    return eye_exec_run(r->exec, kv, &bind, i, r->g->n_inputs, &o, 1, r->cancel, r->cancel_ctx, err);
}

static enum eye_status run_alone(struct eye_model *m, enum eye_part part, const char *tap, int64_t t, void *in,
                                 struct eye_array *out, struct eye_err *err) {
    struct part_run r;
    int64_t dims[EYE_MAX_RANK] = {0};
    pthread_mutex_lock(&m->lock);
    enum eye_status st = part_open(m, part, tap, &r, err);
    if (st == EYE_OK) {
        const struct eye_value *v = eye_value_at(r.g, r.value);
        for (int i = 0; i < v->rank; i++) dims[i] = v->dims[i] == EYE_DIM_T ? t : v->dims[i];
        st = array_new(m, out, v->rank, dims, err);
    }
    if (st == EYE_OK) st = part_run(&r, NULL, t, 0, in, out->data, err);
    part_close(&r);
    pthread_mutex_unlock(&m->lock);
    return st;
}

/* ---- images ---- */

static enum eye_status pixels(struct eye_model *m, const struct eye_probe *p, enum eye_preproc_layout layout,
                              struct eye_array *out, struct eye_err *err) {
    int64_t side = m->opts.image_side;
    if (!eye_vlm_sees(&m->vlm)) return eye_fail(err, EYE_E_ARG, "probe: a model of text has no such stage");
    if (!p->query || p->query->n_images == 0) return eye_fail(err, EYE_E_ARG, "probe: this stage needs an image");
    int64_t chw[] = {3, side, side}, nhwc[] = {1, side, side, 3};
    size_t bytes = (size_t)side * (size_t)side * 3;
    uint8_t *u8 = eye_alloc_raw(m->alloc, bytes);
    if (!u8) return eye_fail_nomem(err, bytes);
    bool is_chw = layout == EYE_PREPROC_CHW;
    enum eye_status st = array_new(m, out, is_chw ? 3 : 4, is_chw ? chw : nhwc, err);
    if (st == EYE_OK) st = eye_model_cut(m, &p->query->images[0], true, u8, err);
    if (st == EYE_OK) st = eye_model_normalise(m, u8, layout, out->data, err);
    eye_alloc_free(m->alloc, u8, bytes);
    return st;
}

/* tap: a layer of `part` (VISION or PROJECTOR), or NULL for its result. */
static enum eye_status probe_vision(struct eye_model *m, const struct eye_probe *p, enum eye_part part, const char *tap,
                                    struct eye_array *out, struct eye_err *err) {
    struct eye_array in = {0}, features = {0};
    enum eye_status st = pixels(m, p, EYE_PREPROC_HWC, &in, err);
    if (part == EYE_PART_VISION) {
        if (st == EYE_OK) st = run_alone(m, EYE_PART_VISION, tap, 1, in.data, out, err);
    } else {
        if (st == EYE_OK) st = run_alone(m, EYE_PART_VISION, NULL, 1, in.data, &features, err);
        if (st == EYE_OK) st = run_alone(m, part, tap, m->picture_tokens, features.data, out, err);
    }
    eye_array_free(&in);
    eye_array_free(&features);
    return st;
}

/* ---- text ---- */

struct text_probe { /* a prompt, ready for the decoder */
    struct eye_session *s;
    struct eye_ids ids;
    const int32_t *id;
    size_t n;
    float *rows;        /* of the images */
    size_t rows_bytes;
};

static void text_close(struct text_probe *t, const struct eye_model *m) {
    eye_alloc_free(m->alloc, t->rows, t->rows_bytes);
    eye_ids_clear(&t->ids);
    eye_session_free(t->s);
}

static enum eye_status text_open(struct eye_model *m, const struct eye_probe *p, struct text_probe *t, struct eye_err *err) {
    bool truncated;
    size_t n_rows, want = p->query ? eye_query_image_rows(m, p->query) : 0, width = (size_t)m->vlm.config.text.hidden, done = 0;
    size_t n_images = p->query ? p->query->n_images : 0;
    *t = (struct text_probe){.ids.alloc = m->alloc, .id = p->ids, .n = p->n_ids};
    if (!p->ids && (!p->query || !p->query->text))
        return eye_fail(err, EYE_E_ARG, "probe: this stage needs a prompt or tokens");
    EYE_TRY(eye_session_new(m, NULL, &t->s, err));
    if (!p->ids) {
        EYE_TRY(eye_query_assemble(m, p->query, t->s->n_ctx, &t->ids, &truncated, err));
        t->id = t->ids.p;
        t->n = t->ids.n;
    }
    if (t->n == 0 || t->n > (size_t)t->s->n_ctx)
        return eye_fail(err, EYE_E_LIMIT, "probe: %zu tokens, expected 1 to %d (the context)", t->n, t->s->n_ctx);
    EYE_TRY(eye_session_check_ids(t->s, t->id, t->n, &n_rows, err));
    if (n_rows != want)
        return eye_fail(err, EYE_E_ARG, "probe: %zu image rows among the tokens, but the %zu images have %zu", n_rows,
                        n_images, want);
    if (!n_images) return EYE_OK;
    if (!eye_mul_ok(want * width, sizeof *t->rows, &t->rows_bytes)) return eye_fail_nomem(err, SIZE_MAX);
    t->rows = eye_alloc_raw(m->alloc, t->rows_bytes);
    if (!t->rows) return eye_fail_nomem(err, t->rows_bytes);
    for (size_t i = 0; i < n_images; i++) {
        EYE_TRY(eye_session_encode_image(t->s, &p->query->images[i], t->rows + done * width, NULL, err));
        done += (size_t)eye_model_image_rows(m, &p->query->images[i]);
    }
    return EYE_OK;
}

/* What is kept of a value with one row per token: all rows, or the last. */
struct row_sink {
    struct eye_array *out;
    size_t row;      /* floats */
    size_t n_rows;   /* that come in all */
    size_t done;
    bool last;
};

static void sink_rows(struct row_sink *s, const float *rows, size_t n) {
    for (size_t i = 0; i < n; i++, s->done++) {
        if (s->last && s->done + 1 != s->n_rows) continue;
        memcpy(s->out->data + (s->last ? 0 : s->done * s->row), rows + i * s->row, s->row * sizeof(float));
    }
}

/* Shape of a value with T in front, and the sink for it. */
static enum eye_status sink_open(const struct eye_model *m, const struct eye_probe *p, const struct text_probe *t,
                                 const struct eye_value *v, struct eye_array *out, struct row_sink *s, struct eye_err *err) {
    int64_t dims[EYE_MAX_RANK], row = 1;
    if (v->rank < 1 || v->dims[0] != EYE_DIM_T)
        return eye_fail(err, EYE_E_UNSUPPORTED, "probe: \"%s\" has no row per token", v->name);
    dims[0] = p->last ? 1 : (int64_t)t->n;
    for (int i = 1; i < v->rank; i++) {
        dims[i] = v->dims[i];
        row *= v->dims[i];
    }
    EYE_TRY(array_new(m, out, v->rank, dims, err));
    *s = (struct row_sink){.out = out, .row = (size_t)row, .n_rows = t->n, .last = p->last};
    return EYE_OK;
}

/* The prompt through embedding and decoder in pieces, the wanted value into the sink. head: instead, its result row by row. */
static enum eye_status run_rows(struct text_probe *t, struct part_run *decoder, struct part_run *head, struct eye_kv *kv,
                                float *piece, struct row_sink *sink, struct eye_err *err) {
    struct eye_session *s = t->s;
    size_t width = (size_t)s->model->vlm.config.text.hidden;
    const float *image_rows = t->rows;
    for (size_t done = 0; done < t->n;) {
        size_t n = EYE_MIN(s->decoder.rows, t->n - done);
        EYE_TRY(eye_decode_embed(&s->decoder, t->id + done, n, &image_rows, err));
        if (!decoder) {
            sink_rows(sink, s->decoder.embeds, n);
        } else if (!head) {
            EYE_TRY(part_run(decoder, kv, (int64_t)n, (int64_t)done, s->decoder.embeds, piece, err));
            sink_rows(sink, piece, n);
        } else {
            EYE_TRY(part_run(decoder, kv, (int64_t)n, (int64_t)done, s->decoder.embeds, s->decoder.hidden, err));
            for (size_t i = 0; i < n; i++) {
                bool wanted = !sink->last || done + i + 1 == t->n;
                if (wanted) EYE_TRY(part_run(head, NULL, 1, 0, s->decoder.hidden + i * width, piece, err));
                sink_rows(sink, piece, 1);
            }
        }
        done += n;
    }
    return EYE_OK;
}

/* part EMBED: embeddings; DECODER: the tapped value; HEAD: logits. Wants the lock. */
static enum eye_status run_text(struct eye_model *m, const struct eye_probe *p, struct text_probe *t, enum eye_part part,
                                const char *tap, struct eye_array *out, struct eye_err *err) {
    struct part_run r = {0}, head = {0};
    struct row_sink sink = {0};
    struct eye_kv *kv = NULL;
    float *piece = NULL;
    size_t piece_bytes = 0;
    const struct eye_value *v;
    enum eye_status st = EYE_OK;
    if (part != EYE_PART_EMBED) {
        EYE_TRY_GOTO(part_open(m, EYE_PART_DECODER, part == EYE_PART_DECODER ? tap : NULL, &r, err));
        EYE_TRY_GOTO(eye_kv_new(&kv, r.used, t->s->n_ctx, err));
        for (size_t i = 0; i < t->s->decoder.rows; i++) t->s->decoder.wanted[i] = (int32_t)i;
        r.all = t->s->decoder.wanted;
    }
    if (part == EYE_PART_HEAD) EYE_TRY_GOTO(part_open(m, EYE_PART_HEAD, NULL, &head, err));
    v = part == EYE_PART_EMBED  ? eye_value_at(&m->part[EYE_PART_EMBED].graph, m->part[EYE_PART_EMBED].graph.output[0])
        : part == EYE_PART_HEAD ? eye_value_at(head.g, head.value)
                                : eye_value_at(r.g, r.value);
    EYE_TRY_GOTO(sink_open(m, p, t, v, out, &sink, err));
    piece_bytes = (part == EYE_PART_HEAD ? 1 : t->s->decoder.rows) * sink.row * sizeof *piece;
    piece = eye_alloc_zero(m->alloc, piece_bytes);
    if (!piece) {
        st = eye_fail_nomem(err, piece_bytes);
        goto fail;
    }
    st = run_rows(t, part == EYE_PART_EMBED ? NULL : &r, part == EYE_PART_HEAD ? &head : NULL, kv, piece, &sink, err);
fail:
    eye_alloc_free(m->alloc, piece, piece_bytes);
    eye_kv_free(kv);
    part_close(&head);
    part_close(&r);
    return st;
}

static enum eye_status probe_text(struct eye_model *m, const struct eye_probe *p, enum eye_part part, const char *tap,
                                  struct eye_array *out, struct eye_err *err) {
    struct text_probe t;
    enum eye_status st = text_open(m, p, &t, err);
    if (st == EYE_OK) {
        pthread_mutex_lock(&m->lock);
        st = run_text(m, p, &t, part, tap, out, err);
        pthread_mutex_unlock(&m->lock);
    }
    text_close(&t, m);
    return st;
}

/* ---- layers ---- */

static const enum eye_part layer_parts[] = {EYE_PART_VISION, EYE_PART_PROJECTOR, EYE_PART_DECODER};

static size_t first_layer_part(const struct eye_model *m) { return eye_vlm_sees(&m->vlm) ? 0 : 2; }

static bool is_layer(const struct eye_graph *g, size_t i) {
    const struct eye_value *v = &g->value[i];
    return v->kind == EYE_VAL_NODE && v->name[0] && v->node >= 0 && (size_t)v->node < g->n_nodes &&
           g->node[v->node].out == (eye_val)i;
}

static enum eye_status find_layer(const struct eye_model *m, const char *name, enum eye_part *part, struct eye_err *err) {
    for (size_t k = first_layer_part(m); k < EYE_COUNT(layer_parts); k++) {
        struct eye_graph g;
        EYE_TRY(eye_model_graph(m, layer_parts[k], true, NULL, &g, NULL, err));
        eye_val v = eye_graph_find(&g, name);
        bool found = v != EYE_NONE && is_layer(&g, (size_t)v);
        eye_graph_clear(&g);
        if (!found) continue;
        *part = layer_parts[k];
        return EYE_OK;
    }
    return eye_fail(err, EYE_E_ARG, "probe: no layer \"%.100s\"; eye_model_layers (--stage list) names them", name);
}

static enum eye_status probe_layer(struct eye_model *m, const struct eye_probe *p, struct eye_array *out, struct eye_err *err) {
    enum eye_part part = EYE_PART_VISION;
    if (!p->layer) return eye_fail(err, EYE_E_ARG, "probe: which layer?");
    EYE_TRY(find_layer(m, p->layer, &part, err));
    if (part == EYE_PART_DECODER) return probe_text(m, p, part, p->layer, out, err);
    return probe_vision(m, p, part, p->layer, out, err);
}

static enum eye_status list_part(struct eye_model *m, enum eye_part part, size_t *cap, struct eye_err *err) {
    struct eye_graph g;
    enum eye_status st = EYE_OK;
    EYE_TRY(eye_model_graph(m, part, true, NULL, &g, NULL, err));
    for (size_t k = 0; st == EYE_OK && k < g.n_nodes; k++) { /* in the order they run */
        size_t i = (size_t)g.node[k].out;
        void *p = m->layer;
        if (!is_layer(&g, i)) continue;
        st = eye_alloc_grow(m->alloc, &p, cap, m->n_layers + 1, sizeof *m->layer, err);
        m->layer = p;
        if (st != EYE_OK) break;
        const char *name = g.value[i].name;
        char *copy = eye_arena_strdup(&m->names, name, strlen(name));
        if (copy)
            m->layer[m->n_layers++] = copy;
        else
            st = eye_fail_nomem(err, strlen(name));
    }
    eye_graph_clear(&g);
    return st;
}

enum eye_status eye_model_layers(struct eye_model *m, const char *const **names, size_t *n, struct eye_err *err) {
    enum eye_status st = EYE_OK;
    pthread_mutex_lock(&m->lock);
    for (size_t k = first_layer_part(m); !m->layers_listed && st == EYE_OK && k < EYE_COUNT(layer_parts); k++)
        st = list_part(m, layer_parts[k], &m->layers_cap, err);
    m->layers_listed = st == EYE_OK;
    pthread_mutex_unlock(&m->lock);
    if (st != EYE_OK) {
        m->n_layers = 0;
        return st;
    }
    *names = (const char *const *)m->layer;
    *n = m->n_layers;
    return EYE_OK;
}

/* ---- the stages ---- */

static enum eye_status run_stage(struct eye_model *m, const struct eye_probe *p, struct eye_array *out, struct eye_err *err) {
    switch (p->stage) {
    case EYE_PROBE_PIXELS: return pixels(m, p, EYE_PREPROC_CHW, out, err);
    case EYE_PROBE_VISION: return probe_vision(m, p, EYE_PART_VISION, NULL, out, err);
    case EYE_PROBE_PROJECTED: return probe_vision(m, p, EYE_PART_PROJECTOR, NULL, out, err);
    case EYE_PROBE_EMBEDDINGS: return probe_text(m, p, EYE_PART_EMBED, NULL, out, err);
    case EYE_PROBE_LOGITS: return probe_text(m, p, EYE_PART_HEAD, NULL, out, err);
    case EYE_PROBE_LAYER: return probe_layer(m, p, out, err);
    }
    return eye_fail(err, EYE_E_ARG, "probe: stage %d is none", (int)p->stage);
}

enum eye_status eye_probe_run(struct eye_model *m, const struct eye_probe *p, struct eye_array *out, struct eye_err *err) {
    struct eye_array a = {0};
    enum eye_status st = run_stage(m, p, &a, err);
    if (st == EYE_OK)
        *out = a;
    else
        eye_array_free(&a);
    return st;
}

/* ---- times ---- */

void eye_session_time_ops(struct eye_session *s, bool on) {
    s->time_ops = on;
    for (int i = 0; i < EYE_N_PART; i++) {
        struct eye_exec *x = eye_session_exec(s, (enum eye_part)i);
        if (x) eye_exec_timing(x, on);
    }
}

size_t eye_session_op_times(const struct eye_session *s, struct eye_op_time *out, size_t cap) {
    static const char *const part_name[EYE_N_PART] = {"vision", "projector", "embed", "decoder", "head"};
    size_t n = 0;
    for (int part = 0; part < EYE_N_PART; part++) {
        const struct eye_exec *x = eye_session_exec(s, (enum eye_part)part);
        if (!x) continue;
        size_t n_steps = eye_exec_times(x, NULL, 0);
        struct eye_step_time *t = eye_alloc_zero(s->alloc, n_steps * sizeof *t);
        if (!t) return n;
        eye_exec_times(x, t, n_steps);
        for (size_t i = 0; i < n_steps; i++, n++)
            if (n < cap) out[n] = (struct eye_op_time){part_name[part], t[i].op, t[i].name, t[i].ns};
        eye_alloc_free(s->alloc, t, n_steps * sizeof *t);
    }
    return n;
}
