/* Export to ONNX: which parts make up which graph, with which inputs and outputs; then the files. A part's eye_graph is built
 * and folded once, however many ONNX graphs it goes into. The only file here that knows signatures; it knows no operator. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "export/walk.h"
#include "eyelet/export.h"
#include "model/vlm.h"

#define DEFAULT_SEQ_LEN 512
#define DEFAULT_CACHE_LEN 1023
#define DEFAULT_OPSET 17
#define MAX_MASK_ELEMS ((int64_t)1 << 24) /* rows x keys of a causal mask that stands in the file: 64 MiB */

struct exporter {
    const struct eye_export_opts *o;
    const char *dir;
    struct eye_checkpoint ckpt;
    struct eye_vlm m;
    struct eye_graph graph[EYE_N_PART];
    const bool *rounds[EYE_N_PART]; /* int8: eye_qdq_read's */
    bool built[EYE_N_PART];
    struct eye_weight_scratch scratch;
    int opset;
    enum eye_onnx_type real, ints;
    bool dynamic;
    int64_t batch, side, image_tokens, seq_len, cache_len;
    struct eye_export_report report;
    int n_done, n_all; /* groups of files, for progress */
};

struct sheet { /* one ONNX graph in the making */
    struct eye_onnx m;
    struct eye_draft d;
    struct eye_sequence seq; /* of its decoder */
    struct eye_qdq qdq;
    char path[EYE_PATH_MAX];
};

static const struct graph_kind {
    uint32_t graph;
    const char *name, *file;
} kind[] = {
    {EYE_EXPORT_VISION, "vision", "vision_encoder"},
    {EYE_EXPORT_PROJECTOR, "projector", "projector"},
    {EYE_EXPORT_EMBEDDER, "embedder", "token_embedder"},
    {EYE_EXPORT_DECODER, "decoder", "decoder"},
    {EYE_EXPORT_JOINT, "decoder-with-projection", "decoder_with_projection"},
    {EYE_EXPORT_PREFILL, "prefill", "decoder_prefill"},
    {EYE_EXPORT_KV, "decoder-kv", "decoder_kv"},
};

const char *eye_export_graph_name(uint32_t graph) {
    for (size_t i = 0; i < EYE_COUNT(kind); i++)
        if (kind[i].graph == graph) return kind[i].name;
    return NULL;
}

/* ---- parts ---- */

static enum eye_status need_part(struct exporter *x, enum eye_part part, struct eye_err *err) {
    if (x->built[part]) return EYE_OK;
    EYE_TRY(eye_vlm_graph(&x->m, part, part == EYE_PART_VISION ? x->side : 0, &x->graph[part], err));
    x->built[part] = true;
    EYE_TRY(eye_graph_fold(&x->graph[part], err));
    if (!x->o->int8 || (part != EYE_PART_VISION && part != EYE_PART_PROJECTOR)) return EYE_OK;
    return eye_qdq_read(&x->m, part, part == EYE_PART_VISION ? x->side : 0, &x->graph[part], &x->rounds[part], err);
}

/* Appends a part's nodes: tensor *io goes in, and what comes out is *io then. seq: the decoder's, or any that has its T. */
static enum eye_status add_part(struct exporter *x, struct sheet *s, enum eye_part part, struct eye_sequence *seq,
                                const char **io, struct eye_err *err) {
    EYE_TRY(need_part(x, part, err));
    struct eye_walk w = {.d = &s->d, .g = &x->graph[part], .scratch = &x->scratch, .seq = seq, .batch = x->batch,
                         .qdq = &s->qdq, .rounds = x->rounds[part]};
    return eye_walk(&w, *io, part == EYE_PART_VISION ? EYE_LAY_FIRST : EYE_LAY_PLAIN, io, err);
}

/* A part whose rows have no positions. */
static enum eye_status add_rows(struct exporter *x, struct sheet *s, enum eye_part part, int64_t tokens, const char **io,
                                struct eye_err *err) {
    struct eye_sequence seq = {.d = &s->d, .tokens = tokens};
    return add_part(x, s, part, &seq, io, err);
}

/* ---- interfaces ---- */

struct axis { int64_t n; const char *symbol; }; /* n 0: dynamic, of that name */

static struct axis batch_axis(const struct exporter *x) { return (struct axis){x->batch, "batch_size"}; }
static struct axis tokens_axis(const struct exporter *x, const char *symbol) {
    return (struct axis){x->dynamic ? 0 : x->seq_len, symbol};
}
static struct axis image_axis(const struct exporter *x) {
    return (struct axis){x->dynamic ? 0 : x->image_tokens, "num_vision_tokens"};
}
static struct axis fixed(int64_t n) { return (struct axis){n, ""}; }

static void dims_of(const struct axis *a, size_t rank, int64_t *dims, const char **symbols) {
    for (size_t i = 0; i < rank; i++) {
        dims[i] = a[i].n ? a[i].n : -1;
        symbols[i] = a[i].symbol;
    }
}

static const char *add_input(struct sheet *s, const char *name, enum eye_onnx_type type, size_t rank, const struct axis *a) {
    int64_t dims[4];
    const char *symbols[4];
    dims_of(a, rank, dims, symbols);
    eye_onnx_add_input(&s->m, s->m.model->graph, name, type, dims, rank, symbols);
    return name;
}

static void add_output(struct sheet *s, const char *name, size_t rank, const struct axis *a) {
    int64_t dims[4];
    const char *symbols[4];
    dims_of(a, rank, dims, symbols);
    eye_onnx_add_output(&s->m, s->m.model->graph, name, s->d.real, dims, rank, symbols);
}

#define AXES(...) (sizeof((struct axis[]){__VA_ARGS__}) / sizeof(struct axis)), ((struct axis[]){__VA_ARGS__})

/* ---- graphs ---- */

/* pixel_values as bytes of a picture, to (v / 255 - mean) / std of each channel [B,3,S,S]. */
static const char *from_bytes(struct exporter *x, struct sheet *s) {
    static const int64_t channels = 3, to_first[] = {0, 3, 1, 2};
    const struct eye_prep_config *p = &x->m.config.prep;
    const int64_t shape[4] = {1, x->side, x->side, 3};
    struct axis side = fixed(x->side), rgb = fixed(3);
    bool flat = x->o->pixels == EYE_EXPORT_PIXELS_U8_FLAT, shifted = false;
    float scale[3], shift[3];
    const char *t = flat ? add_input(s, "pixel_values", EYE_ONNX_U8, AXES(fixed(x->side * x->side), rgb))
                         : add_input(s, "pixel_values", EYE_ONNX_U8, AXES(batch_axis(x), side, side, rgb));
    for (int c = 0; c < 3; c++) {
        scale[c] = (float)(1 / (255 * (double)p->std[c]));
        shift[c] = (float)(-(double)p->mean[c] / (double)p->std[c]);
        shifted |= p->mean[c] != 0;
    }
    s->d.scope = "pixels";
    t = eye_draft_cast(&s->d, t, s->d.real);
    t = eye_draft_2(&s->d, "Mul", t, eye_draft_table(&s->d, "pixels.scale", s->d.real, 1, &channels, scale));
    if (shifted) t = eye_draft_2(&s->d, "Add", t, eye_draft_table(&s->d, "pixels.shift", s->d.real, 1, &channels, shift));
    if (flat) t = eye_draft_reshape(&s->d, t, 4, shape);
    return eye_draft_transpose(&s->d, t, 4, to_first);
}

static enum eye_status vision(struct exporter *x, struct sheet *s, struct eye_err *err) {
    struct axis b = batch_axis(x), side = fixed(x->side), rows = fixed(x->image_tokens);
    const char *name = x->o->tower_only ? "vision_features" : "image_features";
    int64_t width = x->o->tower_only ? x->m.config.vision.channels : x->m.config.text.hidden;
    const char *t = x->o->pixels ? from_bytes(x, s) : add_input(s, "pixel_values", s->d.real, AXES(b, fixed(3), side, side));
    add_output(s, name, AXES(b, rows, fixed(width)));
    EYE_TRY(add_rows(x, s, EYE_PART_VISION, x->image_tokens, &t, err));
    if (!x->o->tower_only) EYE_TRY(add_rows(x, s, EYE_PART_PROJECTOR, x->image_tokens, &t, err));
    eye_draft_rename(&s->d, t, name);
    return EYE_OK;
}

static enum eye_status projector(struct exporter *x, struct sheet *s, struct eye_err *err) {
    struct axis b = batch_axis(x), n = image_axis(x);
    const char *t = add_input(s, "vision_features", s->d.real, AXES(b, n, fixed(x->m.config.vision.channels)));
    add_output(s, "image_features", AXES(b, n, fixed(x->m.config.text.hidden)));
    EYE_TRY(add_rows(x, s, EYE_PART_PROJECTOR, n.n, &t, err));
    eye_draft_rename(&s->d, t, "image_features");
    return EYE_OK;
}

static enum eye_status embedder(struct exporter *x, struct sheet *s, struct eye_err *err) {
    struct axis b = batch_axis(x), n = tokens_axis(x, "sequence_length");
    const char *t = add_input(s, "input_ids", x->ints, AXES(b, n));
    add_output(s, "inputs_embeds", AXES(b, n, fixed(x->m.config.text.hidden)));
    EYE_TRY(add_rows(x, s, EYE_PART_EMBED, n.n, &t, err));
    eye_draft_rename(&s->d, t, "inputs_embeds");
    return EYE_OK;
}

static void add_logits(const struct exporter *x, struct sheet *s, struct axis batch, struct axis rows) {
    add_output(s, "logits", AXES(batch, x->o->last_logits ? fixed(1) : rows, fixed(x->m.config.text.vocab)));
}

/* The decoder of s->seq and the head; rows is what goes in. */
static enum eye_status decode(struct exporter *x, struct sheet *s, const char *rows, struct eye_err *err) {
    s->seq.d = &s->d;
    s->seq.rows = rows;
    EYE_TRY(add_part(x, s, EYE_PART_DECODER, &s->seq, &rows, err));
    s->d.scope = "last_row";
    int64_t n = s->seq.tokens;
    if (x->o->last_logits && n != 1) rows = eye_draft_slice(&s->d, rows, 1, n - 1, n ? n : INT64_MAX);
    EYE_TRY(add_rows(x, s, EYE_PART_HEAD, x->o->last_logits ? 1 : s->seq.tokens, &rows, err));
    eye_draft_rename(&s->d, rows, "logits");
    return EYE_OK;
}

static enum eye_status decoder(struct exporter *x, struct sheet *s, struct eye_err *err) {
    struct axis b = batch_axis(x), n = tokens_axis(x, "sequence_length");
    const struct eye_text_config *t = &x->m.config.text;
    const char *rows = add_input(s, "inputs_embeds", s->d.real, AXES(b, n, fixed(t->hidden)));
    add_logits(x, s, b, n);
    s->seq.tokens = n.n;
    return decode(x, s, rows, err);
}

static enum eye_status joint(struct exporter *x, struct sheet *s, struct eye_err *err) {
    struct axis b = batch_axis(x), n = image_axis(x), text = tokens_axis(x, "num_text_tokens");
    struct axis all = {x->dynamic ? 0 : n.n + text.n, "num_tokens"};
    const struct eye_vlm_config *c = &x->m.config;
    const char *image = add_input(s, "vision_features", s->d.real, AXES(b, n, fixed(c->vision.channels)));
    const char *ids = add_input(s, "input_ids", x->ints, AXES(b, text));
    add_logits(x, s, b, all);
    EYE_TRY(add_rows(x, s, EYE_PART_PROJECTOR, n.n, &image, err));
    EYE_TRY(add_rows(x, s, EYE_PART_EMBED, text.n, &ids, err));
    s->d.scope = "splice";
    s->seq.tokens = all.n;
    return decode(x, s, eye_draft_concat(&s->d, 1, image, ids), err);
}

static enum eye_status prefill(struct exporter *x, struct sheet *s, struct eye_err *err) {
    struct axis b = batch_axis(x), n = tokens_axis(x, "sequence_length");
    const struct eye_text_config *t = &x->m.config.text;
    const char *rows = add_input(s, "inputs_embeds", s->d.real, AXES(b, n, fixed(t->hidden)));
    s->seq.tokens = n.n;
    s->seq.keeps = true;
    s->seq.style = (enum eye_kv_style)x->o->kv_style;
    s->seq.mask = EYE_MASK_KEYS;
    s->seq.mask_in = add_input(s, "attention_mask", x->ints, AXES(b, n));
    s->seq.position_ids = add_input(s, "position_ids", x->ints, AXES(b, n));
    s->seq.tables = x->o->target == EYE_TARGET_QNN;
    s->seq.max_positions = EYE_MAX(n.n, x->cache_len + 1);
    add_logits(x, s, b, n);
    return decode(x, s, rows, err);
}

/* n new tokens of a fixed context. */
static enum eye_status step(struct exporter *x, struct sheet *s, int64_t n, struct eye_err *err) {
    const struct eye_text_config *t = &x->m.config.text;
    const struct eye_export_opts *o = x->o;
    int64_t context = x->cache_len + 1;
    enum eye_export_mask mask = o->mask;
    if (mask == EYE_EXPORT_MASK_AUTO) mask = o->kv_style == EYE_EXPORT_KV_PLAIN ? EYE_EXPORT_MASK_KEYS : EYE_EXPORT_MASK_FULL;
    struct axis one = fixed(1), rows = fixed(n), all = fixed(context), half = fixed(t->head_dim / 2);
    const char *in = add_input(s, "inputs_embeds", s->d.real, AXES(one, rows, fixed(t->hidden)));
    s->seq = (struct eye_sequence){
        .tokens = n, .past = context - n, .max_positions = context, .tables = o->target == EYE_TARGET_QNN, .keeps = true,
        .style = (enum eye_kv_style)o->kv_style, .present = (enum eye_present_form)o->kv_out,
        .mask = mask == EYE_EXPORT_MASK_KEYS ? EYE_MASK_KEYS : mask == EYE_EXPORT_MASK_FULL ? EYE_MASK_FULL : EYE_MASK_ADDED};
    if (mask == EYE_EXPORT_MASK_KEYS) s->seq.mask_in = add_input(s, "attention_mask", x->ints, AXES(one, all));
    else s->seq.mask_in = add_input(s, "attention_mask", mask == EYE_EXPORT_MASK_ADDED ? s->d.real : x->ints,
                                    AXES(one, one, rows, all));
    if (o->rope_inputs) {
        s->seq.cos_in = add_input(s, "position_ids_cos", s->d.real, AXES(one, one, rows, half));
        s->seq.sin_in = add_input(s, "position_ids_sin", s->d.real, AXES(one, one, rows, half));
    } else {
        s->seq.position_ids = add_input(s, "position_ids", x->ints, AXES(one, rows));
    }
    add_logits(x, s, one, rows);
    return decode(x, s, in, err);
}

static enum eye_status draw(struct exporter *x, struct sheet *s, uint32_t graph, int64_t n_new, struct eye_err *err) {
    switch (graph) {
    case EYE_EXPORT_VISION: return vision(x, s, err);
    case EYE_EXPORT_PROJECTOR: return projector(x, s, err);
    case EYE_EXPORT_EMBEDDER: return embedder(x, s, err);
    case EYE_EXPORT_DECODER: return decoder(x, s, err);
    case EYE_EXPORT_JOINT: return joint(x, s, err);
    case EYE_EXPORT_PREFILL: return prefill(x, s, err);
    default: return step(x, s, n_new, err);
    }
}

/* ---- files ---- */

static void on_progress(void *ctx, double done) {
    const struct exporter *x = ctx;
    if (x->o->progress) x->o->progress(x->o->progress_ctx, (x->n_done + done) / EYE_MAX(x->n_all, 1));
}

static bool on_cancel(void *ctx) {
    const struct exporter *x = ctx;
    return x->o->cancel && x->o->cancel(x->o->cancel_ctx);
}

static enum eye_status path_of(const struct exporter *x, const char *name, char *out, struct eye_err *err) {
    if ((size_t)snprintf(out, EYE_PATH_MAX, "%s/%s", x->dir, name) < EYE_PATH_MAX) return EYE_OK;
    return eye_fail(err, EYE_E_LIMIT, "%s/%s: the path is too long", x->dir, name);
}

static void count(struct exporter *x, const struct graph_kind *k, const struct sheet *s, const char *data_name) {
    struct eye_export_report_file *f = &x->report.file[x->report.n_files++];
    const EyeOnnx__GraphProto *g = s->m.model->graph;
    *f = (struct eye_export_report_file){.graph = k->name, .n_nodes = g->n_node, .n_inputs = g->n_input,
                                         .n_outputs = g->n_output};
    snprintf(f->name, sizeof f->name, "%s", strrchr(s->path, '/') + 1);
    for (size_t i = 0; i < g->n_initializer; i++)
        if (eye_onnx_is_external(g->initializer[i])) snprintf(f->data_name, sizeof f->data_name, "%s", data_name);
}

/* Beside vision_encoder.onnx: vision_encoder.encodings.json. */
static enum eye_status write_encodings(struct exporter *x, const struct sheet *s, struct eye_export_report_file *f,
                                       struct eye_err *err) {
    char path[EYE_PATH_MAX];
    for (size_t i = 0; i < s->qdq.n; i++) f->n_int8 += s->qdq.encoding[i].row_scale != NULL;
    if (s->qdq.form != EYE_EXPORT_INT8_ENCODINGS || s->qdq.n == 0) return EYE_OK;
    snprintf(f->encodings, sizeof f->encodings, "%.*s.encodings.json", (int)strlen(f->name) - 5, f->name);
    EYE_TRY(path_of(x, f->encodings, path, err));
    return eye_qdq_write(&s->qdq, path, err);
}

static void measure(const struct exporter *x, struct eye_export_report_file *f) {
    char path[EYE_PATH_MAX];
    struct eye_err why;
    int64_t when;
    if (path_of(x, f->name, path, &why) == EYE_OK) (void)eye_path_stamp(path, &f->bytes, &when);
    if (*f->data_name && path_of(x, f->data_name, path, &why) == EYE_OK) (void)eye_path_stamp(path, &f->data_bytes, &when);
}

static enum eye_status write_sheets(struct exporter *x, const struct graph_kind *k, struct sheet *sheet, size_t n,
                                    struct eye_err *err) {
    struct eye_onnx_file file[EYE_EXPORT_MAX_STEPS];
    char data_name[64];
    size_t first = x->report.n_files;
    for (size_t i = 0; i < n; i++) file[i] = (struct eye_onnx_file){&sheet[i].m, sheet[i].path};
    snprintf(data_name, sizeof data_name, "%s.data", k->file);
    struct eye_onnx_write_opts w = {.place = x->o->external ? EYE_ONNX_EXTERNAL : EYE_ONNX_AUTO, .data_name = data_name,
                                    .cancel = on_cancel, .progress = on_progress, .ctx = x};
    EYE_TRY(eye_onnx_write(file, n, &w, err));
    for (size_t i = 0; i < n; i++) count(x, k, &sheet[i], data_name);
    for (size_t i = 0; i < n; i++) EYE_TRY(write_encodings(x, &sheet[i], &x->report.file[first + i], err));
    for (size_t i = first; i < x->report.n_files; i++) measure(x, &x->report.file[i]);
    x->n_done++;
    return EYE_OK;
}

static enum eye_status open_sheet(struct exporter *x, const struct graph_kind *k, struct sheet *s, int64_t n_new, bool several,
                                  struct eye_err *err) {
    char name[64], steps[32] = "";
    if (several) snprintf(steps, sizeof steps, "_ar%lld", (long long)n_new);
    snprintf(name, sizeof name, "%s%s.onnx", k->file, steps);
    EYE_TRY(path_of(x, name, s->path, err));
    s->qdq = (struct eye_qdq){.form = x->o->int8, .alloc = x->o->alloc};
    name[strlen(name) - 5] = 0;
    EYE_TRY(eye_onnx_new(&s->m, name, x->opset, x->o->alloc, err));
    eye_draft_init(&s->d, &s->m, x->opset, x->real, x->o->alloc);
    return EYE_OK;
}

/* What a caller must know besides names and shapes. */
static void note(struct sheet *s, const char *key, const char *fmt, double v) {
    char text[64];
    EyeOnnx__StringStringEntryProto *e = eye_onnx_alloc(&s->m, 1, sizeof *e);
    if (!e) return;
    eye_onnx__string_string_entry_proto__init(e);
    snprintf(text, sizeof text, fmt, v);
    e->key = eye_onnx_text(&s->m, key);
    e->value = eye_onnx_text(&s->m, text);
    eye_onnx_push(&s->m, &s->m.model->n_metadata_props, &s->m.model->metadata_props, e);
}

static void note_decoder(const struct exporter *x, struct sheet *s) {
    const struct eye_text_config *t = &x->m.config.text;
    if (!s->seq.d) return;
    note(s, "eyelet.layers", "%.0f", (double)t->n_layers);
    note(s, "eyelet.head_dim", "%.0f", (double)t->head_dim);
    if (t->rope_theta > 0) note(s, "eyelet.rope_theta", "%.17g", t->rope_theta);
    if (s->seq.past) note(s, "eyelet.context", "%.0f", (double)(s->seq.past + s->seq.tokens));
}

/* One kind: one graph, or one per number of new tokens with a common weights file. */
static enum eye_status export_kind(struct exporter *x, const struct graph_kind *k, struct eye_err *err) {
    int64_t one = 1;
    bool kv = k->graph == EYE_EXPORT_KV, flat = k->graph == EYE_EXPORT_VISION && x->o->pixels == EYE_EXPORT_PIXELS_U8_FLAT;
    size_t n = kv ? (size_t)EYE_MAX(x->o->n_steps, 1) : 1, n_open = 0;
    int64_t batch = x->batch;
    enum eye_status st = EYE_OK;
    struct sheet *sheet = eye_alloc_zero(x->o->alloc, n * sizeof *sheet);
    if (!sheet) return eye_fail_nomem(err, n * sizeof *sheet);
    if (kv || flat) x->batch = 1; /* the interface has no axis for more */
    for (size_t i = 0; i < n && st == EYE_OK; i++) {
        int64_t n_new = kv && x->o->n_steps ? x->o->step[i] : one;
        st = open_sheet(x, k, &sheet[i], n_new, n > 1, err);
        if (st != EYE_OK) break;
        n_open++;
        st = draw(x, &sheet[i], k->graph, n_new, err);
        note_decoder(x, &sheet[i]);
        if (st == EYE_OK && sheet[i].m.failed) st = eye_fail(err, EYE_E_NOMEM, "%s: out of memory", k->name);
    }
    if (st == EYE_OK) st = write_sheets(x, k, sheet, n, err);
    if (st != EYE_OK) (void)eye_fail_in(err, st, "%s graph", k->name);
    for (size_t i = 0; i < n_open; i++) {
        eye_qdq_clear(&sheet[i].qdq);
        eye_draft_clear(&sheet[i].d);
        eye_onnx_clear(&sheet[i].m);
    }
    eye_alloc_free(x->o->alloc, sheet, n * sizeof *sheet);
    x->batch = batch;
    return st;
}

/* ---- options ---- */

static enum eye_status check_opts(const struct eye_export_opts *o, struct eye_err *err) {
    if (o->graphs & ~(uint32_t)EYE_EXPORT_ALL) return eye_fail(err, EYE_E_ARG, "graphs: unknown bits in 0x%x", o->graphs);
    if ((unsigned)o->target > EYE_TARGET_QNN || (unsigned)o->axes > EYE_AXES_DYNAMIC ||
        (unsigned)o->mask > EYE_EXPORT_MASK_ADDED || (unsigned)o->kv_style > EYE_EXPORT_KV_GENIE ||
        (unsigned)o->kv_out > EYE_EXPORT_KV_OUT_WINDOW || (unsigned)o->pixels > EYE_EXPORT_PIXELS_U8_FLAT ||
        (unsigned)o->int8 > EYE_EXPORT_INT8_ENCODINGS)
        return eye_fail(err, EYE_E_ARG, "target, axes, mask, pixels, int8, kv_style or kv_out is not one of its enum's values");
    if (o->opset && (o->opset < 14 || o->opset > 18)) return eye_fail(err, EYE_E_ARG, "opset %d: expected 14 to 18", o->opset);
    if (o->image_side < 0 || o->seq_len < 0 || o->cache_len < 0 || o->n_steps < 0 || o->n_steps > EYE_EXPORT_MAX_STEPS)
        return eye_fail(err, EYE_E_ARG, "a size is negative, or there are more than %d step sizes", EYE_EXPORT_MAX_STEPS);
    if (o->target == EYE_TARGET_QNN && o->axes == EYE_AXES_DYNAMIC)
        return eye_fail(err, EYE_E_ARG, "QNN compiles static shapes only: dynamic axes do not go with it");
    if (o->int8 == EYE_EXPORT_INT8_QDQ && o->f16)
        return eye_fail(err, EYE_E_ARG, "int8 as QDQ: DequantizeLinear gives f32 before opset 19; leave the precision fp32");
    return EYE_OK;
}

/* Static decoders hold their mask. */
static enum eye_status check_masks(const struct exporter *x, struct eye_err *err) {
    const struct eye_export_opts *o = x->o;
    const uint32_t decoders = EYE_EXPORT_DECODER | EYE_EXPORT_JOINT | EYE_EXPORT_PREFILL;
    int64_t rows = x->seq_len + (o->graphs & EYE_EXPORT_JOINT ? x->image_tokens : 0), keys = rows;
    bool too_large = (o->graphs & decoders) && !x->dynamic && rows > MAX_MASK_ELEMS / rows;
    for (int i = 0; i < o->n_steps && !too_large && (o->graphs & EYE_EXPORT_KV); i++) {
        rows = o->step[i];
        keys = x->cache_len + 1;
        too_large = rows > MAX_MASK_ELEMS / keys;
    }
    if (!too_large) return EYE_OK;
    return eye_fail(err, EYE_E_LIMIT, "a mask of %lld x %lld: static graphs hold at most %lld numbers of one; fewer tokens, or "
                    "dynamic axes", (long long)rows, (long long)keys, (long long)MAX_MASK_ELEMS);
}

static enum eye_status set_lengths(struct exporter *x, struct eye_err *err) {
    const struct eye_text_config *t = &x->m.config.text;
    const struct eye_export_opts *o = x->o;
    int64_t most = t->max_positions ? t->max_positions : INT32_MAX;
    x->seq_len = o->seq_len ? o->seq_len : EYE_MIN(DEFAULT_SEQ_LEN, most);
    if (o->seq_len == 0 && (o->graphs & EYE_EXPORT_JOINT)) x->seq_len = EYE_MIN(x->seq_len, most - x->image_tokens);
    x->cache_len = o->cache_len ? o->cache_len : EYE_MIN(DEFAULT_CACHE_LEN, most - 1);
    if (x->seq_len < 1 || x->seq_len > most || x->cache_len < 1 || x->cache_len >= most)
        return eye_fail(err, EYE_E_ARG, "seq_len %lld or cache_len %lld + 1: the model has %lld positions",
                        (long long)x->seq_len, (long long)x->cache_len, (long long)most);
    for (int i = 0; i < o->n_steps; i++)
        if (o->step[i] < 1 || o->step[i] > x->cache_len)
            return eye_fail(err, EYE_E_ARG, "%d new tokens per call: expected 1 to %lld of a context of %lld", o->step[i],
                            (long long)x->cache_len, (long long)x->cache_len + 1);
    if (o->rope_inputs && !(t->rope_theta > 0) && (o->graphs & EYE_EXPORT_KV))
        return eye_fail(err, EYE_E_ARG, "cos and sin as inputs: %s has learned positions, not RoPE", t->family);
    return check_masks(x, err);
}

/* What is asked for as numbers; opts.graphs 0 = what a phone needs. */
static enum eye_status settle(struct exporter *x, struct eye_export_opts *o, struct eye_err *err) {
    const uint32_t eyes = EYE_EXPORT_VISION | EYE_EXPORT_PROJECTOR | EYE_EXPORT_JOINT;
    if (o->graphs == 0) o->graphs = (eye_vlm_sees(&x->m) ? EYE_EXPORT_VISION : 0) | EYE_EXPORT_EMBEDDER | EYE_EXPORT_KV;
    if (o->graphs == EYE_EXPORT_ALL && !eye_vlm_sees(&x->m)) o->graphs &= ~eyes;
    if ((o->graphs & eyes) && !eye_vlm_sees(&x->m))
        return eye_fail(err, EYE_E_ARG, "%s: a model of text: it has no vision graphs", x->ckpt.path);
    if (o->int8 && !(o->graphs & eyes))
        return eye_fail(err, EYE_E_ARG, "int8 is for vision tower and projector, and no graph asked for has them");
    if (o->int8 && x->m.vision_type != EYE_W_I8)
        return eye_fail(err, EYE_E_ARG, "%s: its vision tower is not int8: make a file whose is with "
                        "eyelet convert CHECKPOINT -o FILE.gguf --vision int8 --calibration DIR", x->ckpt.path);
    x->opset = o->opset ? o->opset : DEFAULT_OPSET;
    x->real = o->f16 ? EYE_ONNX_F16 : EYE_ONNX_F32;
    x->ints = o->ids32 ? EYE_ONNX_I32 : EYE_ONNX_I64;
    x->dynamic = o->axes == EYE_AXES_DYNAMIC || (o->axes == EYE_AXES_AUTO && o->target == EYE_TARGET_PLAIN);
    x->batch = x->dynamic ? 0 : 1;
    x->side = o->image_side ? o->image_side : x->m.config.prep.side_px;
    x->image_tokens = eye_vlm_sees(&x->m) ? eye_vlm_image_tokens(&x->m, x->side) : 0;
    if ((o->graphs & eyes) && x->image_tokens == 0)
        return eye_fail(err, EYE_E_ARG, "image side %lld does not fit this vision tower", (long long)x->side);
    for (size_t i = 0; i < EYE_COUNT(kind); i++) x->n_all += (o->graphs & kind[i].graph) != 0;
    return set_lengths(x, err);
}

static enum eye_status make_folder(const char *dir, struct eye_err *err) {
    if (mkdir(dir, 0777) == 0 || eye_path_is_dir(dir)) return EYE_OK;
    return eye_fail(err, EYE_E_IO, "%s: cannot be made as a folder", dir);
}

enum eye_status eye_export_onnx(const char *path, const char *dir, const struct eye_export_opts *opts,
                                struct eye_export_report *report, struct eye_err *err) {
    struct eye_export_opts o = opts ? *opts : (struct eye_export_opts){0};
    struct exporter x = {.o = &o, .dir = dir, .scratch = {.alloc = o.alloc}};
    EYE_TRY(check_opts(&o, err));
    EYE_TRY(eye_checkpoint_open(&x.ckpt, path, &(struct eye_checkpoint_opts){.mmproj = o.mmproj}, o.alloc, err));
    enum eye_status st = eye_vlm_open(&x.m, &x.ckpt, o.alloc, err);
    if (st != EYE_OK) {
        eye_checkpoint_close(&x.ckpt);
        return st;
    }
    st = settle(&x, &o, err);
    if (st == EYE_OK) st = make_folder(dir, err);
    for (size_t i = 0; i < EYE_COUNT(kind) && st == EYE_OK; i++)
        if (o.graphs & kind[i].graph) st = export_kind(&x, &kind[i], err);
    memcpy(x.report.warning, x.m.warning, sizeof x.report.warning);
    if (st == EYE_OK && report) *report = x.report;
    for (int i = 0; i < EYE_N_PART; i++)
        if (x.built[i]) eye_graph_clear(&x.graph[i]);
    eye_weight_scratch_clear(&x.scratch);
    eye_vlm_clear(&x.m);
    eye_checkpoint_close(&x.ckpt);
    return st;
}
