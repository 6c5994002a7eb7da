/* Int8 in exported graphs; see qdq.h. The walk's emitters ask here for what a convolution or matrix multiplies. */
#include "export/qdq.h"

#include <math.h>
#include <string.h>

#include "export/walk.h"
#include "model/names.h"

#define FLUSH_BYTES ((size_t)1 << 16)

void eye_qdq_clear(struct eye_qdq *q) {
    eye_alloc_free(q->alloc, q->encoding, q->cap * sizeof *q->encoding);
    *q = (struct eye_qdq){.form = q->form, .alloc = q->alloc};
}

/* ---- where is rounded ---- */

static bool is_bytes(const struct eye_value *x) { return x->dtype == EYE_U8 || x->dtype == EYE_I16; }

/* The part once more, as the engine runs it. Passes keep the numbers of values, so what it says of v holds for g. */
static enum eye_status lay(const struct eye_vlm *m, struct eye_graph *laid, struct eye_err *err) {
    EYE_TRY(eye_graph_fold(laid, err));
    eye_graph_quantize(laid, EYE_W_I8);
    EYE_TRY(eye_vlm_ranges(m, laid, err));
    EYE_TRY(eye_graph_fuse(laid, false, err));
    return eye_graph_lay_int8(laid, err);
}

enum eye_status eye_qdq_read(const struct eye_vlm *m, enum eye_part part, int64_t side_px, struct eye_graph *g,
                             const bool **rounded, struct eye_err *err) {
    struct eye_graph laid;
    EYE_TRY(eye_vlm_ranges(m, g, err));
    bool *r = eye_arena_alloc(&g->arena, g->n_values * sizeof *r + 1);
    if (!r) return eye_fail_nomem(err, g->n_values);
    EYE_TRY(eye_vlm_graph(m, part, side_px, &laid, err));
    enum eye_status st = lay(m, &laid, err);
    for (size_t v = 0; st == EYE_OK && v < EYE_MIN(g->n_values, laid.n_values); v++) r[v] = is_bytes(&laid.value[v]);
    eye_graph_clear(&laid);
    *rounded = r;
    return st;
}

/* ---- tensors ---- */

static enum eye_status note(struct eye_qdq *q, const struct eye_encoding *e, struct eye_err *err) {
    void *list = q->encoding;
    for (size_t i = 0; i < q->n; i++) /* a few hundred */
        if (strcmp(q->encoding[i].tensor, e->tensor) == 0) return EYE_OK;
    EYE_TRY(eye_alloc_grow(q->alloc, &list, &q->cap, q->n + 1, sizeof *q->encoding, err));
    q->encoding = list;
    q->encoding[q->n++] = *e;
    return EYE_OK;
}

static const char *small_const(struct eye_draft *d, const char *name, enum eye_onnx_type type, size_t rank, const int64_t *dims,
                               const void *bytes) {
    if (!name) d->m->failed = true;
    if (name && eye_draft_first(d, name)) eye_onnx_add_const(d->m, d->m->model->graph, name, type, dims, rank, bytes);
    return name;
}

/* x as bytes, and back. */
static const char *pair(struct eye_draft *d, const struct eye_quant *q, const char *x) {
    uint8_t zero = (uint8_t)q->zero;
    const char *in[3] = {x, eye_draft_scalar(d, EYE_ONNX_F32, (double)q->scale),
                         small_const(d, eye_arena_printf(&d->m->arena, "byte_%u", zero), EYE_ONNX_U8, 0, NULL, &zero)};
    in[0] = eye_draft_node(d, "QuantizeLinear", in, 3, NULL);
    return eye_draft_node(d, "DequantizeLinear", in, 3, NULL);
}

/* x stands for value v, rounded. */
static const char *round_it(struct eye_walk *w, eye_val v, const char *x) {
    const struct eye_quant *q = &w->g->value[v].quant;
    struct eye_err err;
    if (!x || (q->wide && w->qdq->form == EYE_EXPORT_INT8_QDQ)) return x;
    if (note(w->qdq, &(struct eye_encoding){.tensor = x, .quant = *q}, &err) != EYE_OK) w->d->m->failed = true;
    return w->qdq->form == EYE_EXPORT_INT8_QDQ ? pair(w->d, q, x) : x;
}

const char *eye_walk_made(struct eye_walk *w, eye_val v, enum eye_layout layout, const char *x) {
    if (!w->rounds || !w->rounds[v]) return x;
    w->bytes[v][layout] = round_it(w, v, x);
    return w->bytes[v][layout];
}

bool eye_walk_is_int8(const struct eye_walk *w, const struct eye_node *n) {
    if (!w->rounds || !eye_node_is_int8(w->g, n)) return false;
    return w->qdq->form == EYE_EXPORT_INT8_ENCODINGS || !w->g->value[n->in[0]].quant.wide;
}

/* What was turned round since it was rounded is rounded again: the same bytes, and the pattern stands at the convolution. */
const char *eye_walk_factor(struct eye_walk *w, const struct eye_node *n, enum eye_layout layout) {
    eye_val v = n->in[0];
    const char *x = eye_walk_in(w, v, layout);
    if (!eye_walk_is_int8(w, n)) return x;
    if (w->g->value[v].rank < 3) layout = EYE_LAY_PLAIN;
    if (!w->bytes[v][layout]) w->bytes[v][layout] = round_it(w, v, x);
    return w->bytes[v][layout];
}

/* ---- weights ---- */

struct turned { /* int8 weight [N,K] that the file has as [K,N] */
    const int8_t *data;
    int64_t n, k;
};

static enum eye_status give_turned(void *ctx, int64_t row, int64_t n_rows, void *dst, struct eye_err *err) {
    const struct turned *t = ctx;
    int8_t *out = dst;
    (void)err;
    for (int64_t j = 0; j < t->n; j++)
        for (int64_t i = 0; i < n_rows; i++) out[i * t->n + j] = t->data[j * t->k + row + i];
    return EYE_OK;
}

static enum eye_status add_bytes(struct eye_draft *d, const struct eye_value *m, enum eye_weight_form form, size_t rank,
                                 const int64_t *dims, const char *name, struct eye_err *err) {
    EyeOnnx__GraphProto *g = d->m->model->graph;
    if (!eye_draft_first(d, name)) return EYE_OK;
    if (form == EYE_FORM_ROWS) {
        eye_onnx_add_weight(d->m, g, name, EYE_ONNX_I8, rank ? dims : m->dims, rank ? rank : (size_t)m->rank, m->data);
        return EYE_OK;
    }
    const int64_t swapped[2] = {m->dims[1], m->dims[0]};
    struct turned *t = eye_arena_alloc(&d->m->arena, sizeof *t);
    if (!t) return eye_fail_nomem(err, sizeof *t);
    *t = (struct turned){m->data, m->dims[0], m->dims[1]};
    eye_onnx_add_rows(d->m, g, name, EYE_ONNX_I8, swapped, 2, give_turned, t);
    return EYE_OK;
}

/* DequantizeLinear along an axis, all zero points 0. */
static const char *dequantize(struct eye_draft *d, const char *x, const char *name, enum eye_onnx_type type, int64_t axis,
                              const float *scale, int64_t n) {
    EyeOnnx__NodeProto *node;
    const char *scales = eye_arena_printf(&d->m->arena, "%s.scale", name);
    const char *zeros = eye_arena_printf(&d->m->arena, "%s.zero", name);
    void *none = eye_onnx_alloc(d->m, (size_t)n, type == EYE_ONNX_I32 ? 4 : 1);
    if (!scales || !zeros || !none) d->m->failed = true;
    if (d->m->failed) return NULL;
    const char *in[3] = {x, eye_draft_table(d, scales, EYE_ONNX_F32, 1, &n, scale), small_const(d, zeros, type, 1, &n, none)};
    const char *y = eye_draft_node(d, "DequantizeLinear", in, 3, &node);
    eye_onnx_attr_int(d->m, node, "axis", axis);
    return y;
}

static enum eye_status base_name(const struct eye_value *x, char out[EYE_NAME_MAX], struct eye_err *err) {
    if (eye_name_folded(x->name, out, EYE_NAME_MAX)) return EYE_OK;
    return eye_fail(err, EYE_E_LIMIT, "%s: the name is too long", x->name);
}

enum eye_status eye_walk_weight(struct eye_walk *w, const struct eye_node *n, enum eye_weight_form form, size_t rank,
                                const int64_t *dims, const char **out, struct eye_err *err) {
    const struct eye_value *m = &w->g->value[n->in[1]];
    char folded[EYE_NAME_MAX];
    if (!eye_walk_is_int8(w, n)) return eye_draft_weight(w->d, w->scratch, m, form, rank, dims, out, err);
    struct eye_encoding e = {.row_scale = m->row_scale, .n_rows = m->dims[0]};
    if (w->qdq->form == EYE_EXPORT_INT8_QDQ) {
        EYE_TRY(base_name(m, folded, err));
        const char *name = eye_arena_printf(&w->d->m->arena, "%s.i8%s", folded, form == EYE_FORM_TRANSPOSED ? ".T" : "");
        if (!name) return eye_fail_nomem(err, strlen(folded));
        EYE_TRY(add_bytes(w->d, m, form, rank, dims, name, err));
        *out = dequantize(w->d, name, name, EYE_ONNX_I8, form == EYE_FORM_TRANSPOSED, m->row_scale, m->dims[0]);
        e.tensor = name;
    } else {
        EYE_TRY(eye_draft_weight(w->d, w->scratch, m, form, rank, dims, out, err));
        e.tensor = *out;
    }
    return note(w->qdq, &e, err);
}

/* Biases as sums have them: of the scale activation times weight. False: one does not fit 32 bits. */
static bool fill_bias(const struct eye_value *b, float in_scale, const float *row_scale, int32_t *q, float *scale) {
    for (int64_t i = 0; i < b->dims[0]; i++) {
        float x;
        eye_weight_row(b, i, &x);
        scale[i] = in_scale * row_scale[i];
        double t = nearbyint((double)x / (double)scale[i]);
        if (!(fabs(t) <= INT32_MAX)) return false;
        q[i] = (int32_t)t;
    }
    return true;
}

enum eye_status eye_walk_bias(struct eye_walk *w, const struct eye_node *n, const char **out, struct eye_err *err) {
    const struct eye_value *b = &w->g->value[n->in[2]], *m = &w->g->value[n->in[1]];
    const struct eye_quant *in = &w->g->value[n->in[0]].quant;
    struct eye_arena *arena = &w->d->m->arena;
    char folded[EYE_NAME_MAX];
    if (!eye_walk_is_int8(w, n) || w->qdq->form != EYE_EXPORT_INT8_QDQ || b->rank != 1)
        return eye_draft_weight(w->d, w->scratch, b, EYE_FORM_ROWS, 0, NULL, out, err);
    EYE_TRY(base_name(b, folded, err));
    size_t bytes = (size_t)b->dims[0] * sizeof(float);
    int32_t *q = eye_arena_alloc(arena, bytes + 1);
    float *scale = eye_arena_alloc(arena, bytes + 1);
    const char *name = eye_arena_printf(arena, "%s.i32", folded);
    if (!q || !scale || !name) return eye_fail_nomem(err, bytes);
    if (!fill_bias(b, in->scale, m->row_scale, q, scale))
        return eye_draft_weight(w->d, w->scratch, b, EYE_FORM_ROWS, 0, NULL, out, err);
    *out = dequantize(w->d, small_const(w->d, name, EYE_ONNX_I32, 1, b->dims, q), name, EYE_ONNX_I32, 0, scale, b->dims[0]);
    return EYE_OK;
}

/* ---- the JSON file ---- */

struct json_out {
    struct eye_writer w;
    struct eye_buf b;
};

static void put_text(struct eye_buf *b, const char *s) {
    eye_buf_adds(b, "\"");
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || *s == '"' || *s == '\\') eye_buf_printf(b, "\\u%04x", (unsigned)(unsigned char)*s);
        else eye_buf_add(b, s, 1);
    }
    eye_buf_adds(b, "\"");
}

static void put_range(struct eye_buf *b, int bits, bool symmetric, double scale, int64_t offset) {
    int64_t most = ((int64_t)1 << bits) - 1;
    eye_buf_printf(b, "{\"bitwidth\": %d, \"dtype\": \"int\", \"is_symmetric\": \"%s\", \"max\": %.9g, \"min\": %.9g, "
                      "\"offset\": %lld, \"scale\": %.9g}", bits, symmetric ? "True" : "False", scale * (double)(most + offset),
                   scale * (double)offset, (long long)offset, scale);
}

static enum eye_status flush(struct json_out *o, bool end, struct eye_err *err) {
    if (o->b.failed) return eye_fail_nomem(err, o->b.len);
    if (!end && o->b.len < FLUSH_BYTES) return EYE_OK;
    enum eye_status st = eye_writer_put(&o->w, o->b.p, o->b.len, err);
    o->b.len = 0;
    return st;
}

static enum eye_status put_encodings(struct json_out *o, const struct eye_qdq *q, bool weights, struct eye_err *err) {
    bool first = true;
    eye_buf_printf(&o->b, ",\n\"%s_encodings\": {", weights ? "param" : "activation");
    for (size_t i = 0; i < q->n; i++) {
        const struct eye_encoding *e = &q->encoding[i];
        if ((e->row_scale != NULL) != weights) continue;
        eye_buf_adds(&o->b, first ? "\n" : ",\n");
        first = false;
        put_text(&o->b, e->tensor);
        eye_buf_adds(&o->b, ": [");
        if (!weights && e->quant.wide) put_range(&o->b, 16, true, (double)e->quant.scale, -32768);
        else if (!weights) put_range(&o->b, 8, false, (double)e->quant.scale, -e->quant.zero);
        for (int64_t r = 0; r < e->n_rows; r++) {
            if (r) eye_buf_adds(&o->b, ", ");
            put_range(&o->b, 8, true, (double)e->row_scale[r], -128);
            EYE_TRY(flush(o, false, err));
        }
        eye_buf_adds(&o->b, "]");
    }
    eye_buf_adds(&o->b, "}");
    return flush(o, false, err);
}

enum eye_status eye_qdq_write(const struct eye_qdq *q, const char *path, struct eye_err *err) {
    struct json_out o;
    EYE_TRY(eye_writer_open(&o.w, path, err));
    eye_buf_init(&o.b, q->alloc);
    eye_buf_adds(&o.b, "{\"version\": \"0.5.0\"");
    enum eye_status st = put_encodings(&o, q, false, err);
    if (st == EYE_OK) st = put_encodings(&o, q, true, err);
    eye_buf_adds(&o.b, "\n}\n");
    if (st == EYE_OK) st = flush(&o, true, err);
    if (st == EYE_OK) st = eye_writer_commit(&o.w, err);
    else eye_writer_abort(&o.w);
    eye_buf_clear(&o.b);
    return st;
}
