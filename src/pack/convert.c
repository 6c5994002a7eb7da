/* Conversion: checkpoint -> GGUF. The same passes as running (graph, fold, quantize), then the weights of the graphs' nodes go
 * to the file in the type the quantize pass chose, under canonical names. So what a file holds and what its folder computes
 * cannot differ: there is no second list of tensors anywhere.
 *
 * Layout: one plain GGUF with everything: token_embd.*, blk.*, output* as llama.cpp names and shapes them, mm.* and v.* beside
 * them. llama.cpp itself counts tensors and refuses a file with any it did not ask for ("wrong number of tensors"), and GGUF
 * has no way to mark some as foreign; hence EYE_CONVERT_DECODER for a file of the decoder alone.
 *
 * Types. Matrices (operands of linear, of dense convolutions, the embedding) follow the part's type, or stay as stored. All
 * else (biases, norms, depthwise kernels) is f32: small, exact, and what llama.cpp wants of vectors.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "pack/calibrate.h"
#include "pack/int8.h"
#include "pack/pack.h"

struct item { /* one tensor of the file */
    struct convert *c;
    int64_t i_cost;         /* its entry in the report, or -1 */
    struct eye_round_cost cost; /* so far */
    struct eye_value w;     /* copy; data and row_scale belong to the graphs */
    enum eye_dtype dtype;   /* in the file */
    bool as_stored;         /* rows are copied, not converted */
    int64_t pair_rows;      /* D: they go to the file as eye_value.pair_rows says; 0: in order */
};

struct convert {
    const struct eye_convert_opts *opts;
    struct eye_vlm m;
    struct eye_graph graph[EYE_N_PART];
    bool built[EYE_N_PART];
    struct eye_arena arena;          /* items, small tensors */
    struct eye_strmap seen;          /* names written: a tied matrix has two readers */
    float *row, *written;            /* scratch, the longest row; what a reader will see of it */
    size_t row_elems;
    struct eye_gguf_writer writer;
    struct eye_convert_report report;
    struct eye_calibrated calibrated; /* the decoder's matrices, if it is calibrated */
    double progress_from;            /* what calibration took of it */
    uint64_t bytes_done;
};

/* ---- tensors ---- */

static enum eye_status check_cancel(const struct convert *c, struct eye_err *err) {
    if (c->opts->cancel && c->opts->cancel(c->opts->cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "convert: cancelled");
    return EYE_OK;
}

static void on_progress(const struct convert *c, double done) {
    if (c->opts->progress) c->opts->progress(c->opts->progress_ctx, EYE_MIN(done, 1));
}

/* c->row became `row`. */
static void count_error(struct item *t, const void *row, size_t k) {
    struct convert *c = t->c;
    eye_row_to_f32(t->dtype, row, c->written, k);
    for (size_t i = 0; i < k; i++) {
        double w = (double)c->row[i], e = w - (double)c->written[i];
        t->cost.err += e * e;
        t->cost.all += w * w;
    }
    if (t->cost.all > 0) c->report.tensor[t->i_cost].rel_rms = sqrt(t->cost.err / t->cost.all);
}

/* The row that stands at place i of the file: what eye_weight_stored_row turns round. */
static int64_t row_at(int64_t pair_rows, int64_t i) {
    if (pair_rows == 0) return i;
    int64_t j = i % pair_rows;
    return i - j + j / 2 + (j % 2 ? pair_rows / 2 : 0);
}

/* llama.cpp's Llama turns neighbours, so rows of q and k are stored by twos; heads of D rows. */
static int64_t pair_rows(const struct convert *c, const char *name) {
    const struct eye_text_config *t = &c->m.config.text;
    bool turned = strncmp(name, "blk.", 4) == 0 && (strstr(name, ".attn_q.") || strstr(name, ".attn_k."));
    return turned && strcmp(t->family, "llama") == 0 ? t->head_dim : 0;
}

/* Rows of a matrix for the writer. */
static enum eye_status give_rows(void *ctx, int64_t row, int64_t n_rows, void *dst, struct eye_err *err) {
    struct item *t = ctx;
    struct convert *c = t->c;
    size_t k = (size_t)t->w.dims[1], row_bytes;
    EYE_TRY(check_cancel(c, err));
    if (!eye_dtype_row_bytes(t->dtype, k, &row_bytes)) return eye_fail(err, EYE_E_LIMIT, "%s: a row is too large", t->w.name);
    if (t->as_stored) {
        for (int64_t i = 0; i < n_rows; i++) {
            size_t stored = (size_t)eye_weight_stored_row(&t->w, row_at(t->pair_rows, row + i));
            memcpy((char *)dst + (size_t)i * row_bytes, (const char *)t->w.data + stored * row_bytes, row_bytes);
        }
    } else {
        for (int64_t i = 0; i < n_rows; i++) {
            void *to = (char *)dst + (size_t)i * row_bytes;
            eye_weight_row(&t->w, row_at(t->pair_rows, row + i), c->row);
            eye_row_from_f32(t->dtype, c->row, to, k);
            if (t->i_cost >= 0) count_error(t, to, k);
        }
    }
    c->bytes_done += (uint64_t)n_rows * row_bytes;
    if (c->report.bytes_out)
        on_progress(c, c->progress_from + (1 - c->progress_from) * (double)c->bytes_done / (double)c->report.bytes_out);
    return EYE_OK;
}

static double ratio(double err, double all) { return all > 0 ? sqrt(err / all) : 0; }

/* An entry of the report for a matrix. */
static enum eye_status add_entry(struct convert *c, const char *name, const struct eye_value *w, enum eye_dtype dtype,
                                 int64_t *i_cost, struct eye_err *err) {
    struct eye_convert_report *r = &c->report;
    const struct eye_calibrated_tensor *t = eye_calibrated_find(&c->calibrated, w->name);
    size_t cap = r->tensor_cap, row_bytes;
    void *list = r->tensor;
    *i_cost = -1;
    if (!c->opts->per_tensor) return EYE_OK;
    EYE_TRY(eye_alloc_grow(r->alloc, &list, &cap, r->n_matrices + 1, sizeof *r->tensor, err));
    r->tensor = list;
    r->tensor_cap = cap;
    struct eye_convert_tensor *e = &r->tensor[r->n_matrices];
    *e = (struct eye_convert_tensor){.type = eye_dtype_info(dtype)->name, .weighted = -1, .weighted_plain = -1,
                                     .weighted_4bit = -1};
    snprintf(e->name, sizeof e->name, "%s", name);
    if (eye_dtype_row_bytes(dtype, (uint64_t)w->dims[1], &row_bytes)) e->bytes = row_bytes * (uint64_t)w->dims[0];
    if (t) {
        e->rel_rms = ratio(t->cost.err, t->cost.all);
        e->weighted = ratio(t->cost.weighted_err, t->cost.weighted_all);
        e->weighted_plain = ratio(t->plain.weighted_err, t->plain.weighted_all);
        if (c->opts->decoder_snr_db > 0) e->weighted_4bit = ratio(t->narrow.weighted_err, t->narrow.weighted_all);
    }
    *i_cost = (int64_t)r->n_matrices++;
    return EYE_OK;
}

static enum eye_status add_matrix(struct convert *c, const char *name, const struct eye_value *stored, enum eye_dtype dtype,
                                  struct eye_err *err) {
    const struct eye_value value = eye_calibrated_value(&c->calibrated, stored), *w = &value;
    struct item *t = eye_arena_alloc(&c->arena, sizeof *t);
    if (!t) return eye_fail_nomem(err, sizeof *t);
    *t = (struct item){.c = c, .w = *w, .dtype = dtype, .as_stored = dtype == w->dtype && !w->row_scale && !w->transposed,
                       .pair_rows = pair_rows(c, name)};
    EYE_TRY(add_entry(c, name, stored, dtype, &t->i_cost, err));
    struct eye_tensor shape = {.dtype = dtype, .rank = 2, .dims = {w->dims[0], w->dims[1]}};
    c->row_elems = EYE_MAX(c->row_elems, (size_t)w->dims[1]);
    return eye_gguf_add_tensor(&c->writer, name, &shape, give_rows, t, err);
}

/* A vector or a convolution's kernel, whole, in f32. */
static enum eye_status add_small(struct convert *c, const char *name, const struct eye_value *w, struct eye_err *err) {
    struct eye_tensor t = {.dtype = EYE_F32, .rank = w->rank};
    size_t bytes, row = 1;
    memcpy(t.dims, w->dims, sizeof t.dims);
    if (!eye_tensor_bytes(&t, &bytes)) return eye_fail(err, EYE_E_LIMIT, "%s: too large", name);
    float *f = eye_arena_alloc(&c->arena, bytes + 1);
    if (!f) return eye_fail_nomem(err, bytes);
    for (int i = 1; i < w->rank; i++) row *= (size_t)w->dims[i];
    for (int64_t r = 0; r < w->dims[0]; r++) eye_weight_row(w, row_at(pair_rows(c, name), r), f + (size_t)r * row);
    t.data = f;
    return eye_gguf_add_tensor(&c->writer, name, &t, NULL, NULL, err);
}

/* The entry of a matrix or kernel in int8. */
static enum eye_status add_int8_entry(struct convert *c, const char *name, const struct eye_value *w, struct eye_err *err) {
    struct eye_convert_report *r = &c->report;
    size_t cap = r->tensor_cap;
    void *list = r->tensor;
    if (!c->opts->per_tensor) return EYE_OK;
    EYE_TRY(eye_alloc_grow(r->alloc, &list, &cap, r->n_matrices + 1, sizeof *r->tensor, err));
    r->tensor = list;
    r->tensor_cap = cap;
    struct eye_convert_tensor *e = &r->tensor[r->n_matrices++];
    *e = (struct eye_convert_tensor){.type = "int8", .rel_rms = (double)w->rel_rms, .weighted = -1, .weighted_plain = -1,
                                     .weighted_4bit = -1};
    e->bytes = (uint64_t)w->dims[0] * sizeof(float);
    uint64_t n = 1;
    for (int i = 0; i < w->rank; i++) n *= (uint64_t)w->dims[i];
    e->bytes += n;
    snprintf(e->name, sizeof e->name, "%s", name);
    return EYE_OK;
}

/* Int8 rows as they are, their scales beside them. */
static enum eye_status add_int8(struct convert *c, const char *name, const struct eye_value *w, struct eye_err *err) {
    struct eye_tensor t = {.data = w->data, .dtype = EYE_I8, .rank = w->rank},
                      s = {.data = w->row_scale, .dtype = EYE_F32, .rank = 1, .dims = {w->dims[0]}};
    char *scales = eye_arena_printf(&c->arena, "%s_scale", name);
    if (!scales) return eye_fail_nomem(err, strlen(name));
    if (strlen(scales) >= 64) return eye_fail(err, EYE_E_LIMIT, "tensor name \"%s\" is too long for GGUF", scales);
    memcpy(t.dims, w->dims, sizeof t.dims);
    c->report.n_tensors++;
    EYE_TRY(add_int8_entry(c, name, w, err));
    EYE_TRY(eye_gguf_add_tensor(&c->writer, name, &t, NULL, NULL, err));
    return eye_gguf_add_tensor(&c->writer, scales, &s, NULL, NULL, err);
}

/* The file's type of a matrix: what calibration chose, what the engine would make of it; as stored when nothing was asked. */
static enum eye_dtype matrix_dtype(struct convert *c, const char *name, const struct eye_value *w, enum eye_wtype asked) {
    const struct eye_calibrated_tensor *of_pairs = eye_calibrated_find(&c->calibrated, w->name);
    if (of_pairs && of_pairs->raised) return of_pairs->dtype;
    if (asked == EYE_W_I8) return w->row_scale || w->dtype == EYE_F32 ? EYE_F16 : w->dtype; /* what is not int8 by now */
    enum eye_wtype t = eye_wtype_for(asked, w->dims[1]);
    if (t == EYE_W_EXACT) return w->row_scale ? EYE_F32 : w->dtype;
    if (t != asked && c->report.n_fallback++ == 0)
        snprintf(c->report.first_fallback, sizeof c->report.first_fallback, "%s", name);
    return eye_wtype_dtype(t);
}

static enum eye_status add_weight(struct convert *c, const struct eye_graph *g, const struct eye_node *n, int i,
                                  enum eye_wtype asked, struct eye_err *err) {
    char name[EYE_NAME_MAX];
    bool was_there = false;
    const struct eye_value *w = eye_value_at(g, n->in[i]);
    if (w->kind != EYE_VAL_WEIGHT) return EYE_OK;
    if (!eye_name_folded(w->name, name, sizeof name) || strlen(name) >= 64) /* ggml's limit on names */
        return eye_fail(err, EYE_E_LIMIT, "tensor name \"%s\" is too long for GGUF", w->name);
    const char *key = eye_arena_strdup(&c->arena, name, strlen(name));
    if (!key) return eye_fail_nomem(err, strlen(name));
    EYE_TRY(eye_strmap_put(&c->seen, key, strlen(key), 0, &was_there, err));
    if (was_there) return EYE_OK;
    c->report.n_tensors++;
    if (w->dtype == EYE_I8 && asked == EYE_W_I8) return add_int8(c, key, w, err);
    bool matrix = i == 1 && w->rank == 2 && (n->op == EYE_OP_linear || n->op == EYE_OP_embed);
    return matrix ? add_matrix(c, key, w, matrix_dtype(c, key, w, asked), err) : add_small(c, key, w, err);
}

/* ---- parts ---- */

static enum eye_status build_part(struct convert *c, enum eye_part part, struct eye_err *err) {
    EYE_TRY(eye_vlm_graph(&c->m, part, 0, &c->graph[part], err));
    c->built[part] = true;
    return eye_graph_fold(&c->graph[part], err);
}

static enum eye_status add_part(struct convert *c, enum eye_part part, enum eye_wtype type, struct eye_err *err) {
    struct eye_graph *g = &c->graph[part];
    EYE_TRY(check_cancel(c, err));
    if (!c->built[part]) EYE_TRY(build_part(c, part, err)); /* int8 parts are there already */
    for (size_t k = 0; k < g->n_nodes; k++)
        for (int i = 0; i < g->node[k].n_in; i++)
            if (g->node[k].in[i] != EYE_NONE) EYE_TRY(add_weight(c, g, &g->node[k], i, type, err));
    return EYE_OK;
}

static enum eye_wtype type_or(enum eye_weight_type asked, enum eye_wtype of_file) {
    return asked == EYE_WEIGHT_STORED ? of_file : (enum eye_wtype)asked;
}

static void on_calibration(void *ctx, double done) { on_progress(ctx, 0.95 * done); }

/* Pictures to rows by the model as it is stored; that model is gone before the rounding begins. */
static enum eye_status read_pairs(struct convert *c, struct eye_pairs *p, float **rows, struct eye_err *err) {
    struct eye_model_opts opts = {.mmproj = c->opts->mmproj, .cancel = c->opts->cancel, .cancel_ctx = c->opts->cancel_ctx,
                                  .alloc = c->opts->alloc};
    struct eye_model *model;
    size_t hidden = (size_t)c->m.config.text.hidden, done = 0;
    EYE_TRY(eye_model_open(c->m.ckpt->path, &opts, &model, err));
    enum eye_status st = eye_pairs_open(p, model, c->opts->calibration, c->opts->max_pairs, c->opts->alloc, err);
    if (st == EYE_OK) {
        *rows = eye_pages_alloc(p->n_ids * hidden * sizeof **rows);
        if (!*rows) st = eye_fail_nomem(err, p->n_ids * hidden * sizeof **rows);
        for (size_t i = 0; st == EYE_OK && i < p->n; done += p->pair[i++].n)
            st = eye_pair_rows(&p->pair[i], model, *rows + done * hidden, err);
    }
    eye_model_close(model);
    return st;
}

static enum eye_status calibrate(struct convert *c, enum eye_wtype decoder, struct eye_err *err) {
    struct eye_calibrate_opts opts = {.type = decoder, .snr_db = c->opts->decoder_snr_db, .progress = on_calibration,
                                      .progress_ctx = c, .cancel = c->opts->cancel, .cancel_ctx = c->opts->cancel_ctx};
    struct eye_pairs p = {.n = 0};
    float *rows = NULL;
    if (!eye_grid_has(eye_wtype_dtype(decoder)))
        return eye_fail(err, EYE_E_ARG, "calibration: the decoder's type is %s; expected q8_0, q4_0 or q4_k, which are rounded",
                        eye_wtype_name(decoder));
    enum eye_status st = read_pairs(c, &p, &rows, err);
    if (st == EYE_OK) st = eye_calibrate_decoder(&c->calibrated, &c->m, &p, rows, &opts, err);
    if (st == EYE_OK) {
        c->report.n_unreadable = p.n_unreadable;
        c->report.n_pairs = p.nothing_held_out ? p.n : p.n - p.n_held_out;
        for (size_t i = 0; i < p.n; i++) c->report.n_rows += p.pair[i].held_out ? 0 : p.pair[i].n;
        c->report.n_raised = c->calibrated.n_raised;
        c->report.n_could_raise = opts.snr_db > 0 ? c->calibrated.n : 0;
        c->progress_from = 0.95;
    }
    if (rows) eye_pages_free(rows, p.n_ids * (size_t)c->m.config.text.hidden * sizeof *rows);
    if (p.pair) eye_pairs_close(&p);
    return st;
}

/* Tower and projector in int8: by pictures, or as the file has them already. */
static enum eye_status int8_parts(struct convert *c, struct eye_err *err) {
    struct eye_graph *vision = &c->graph[EYE_PART_VISION], *projector = &c->graph[EYE_PART_PROJECTOR];
    struct eye_int8_opts opts = {.pictures = c->opts->calibration, .max_pictures = c->opts->max_pairs,
                                 .method = c->opts->range_method, .snr_db = c->opts->vision_snr_db,
                                 .progress = on_calibration, .progress_ctx = c,
                                 .cancel = c->opts->cancel, .cancel_ctx = c->opts->cancel_ctx};
    struct eye_int8_counts counts;
    EYE_TRY(build_part(c, EYE_PART_VISION, err));
    EYE_TRY(build_part(c, EYE_PART_PROJECTOR, err));
    if (c->m.vision_type == EYE_W_I8) {
        EYE_TRY(eye_vlm_ranges(&c->m, vision, err));
        EYE_TRY(eye_vlm_ranges(&c->m, projector, err));
    } else if (!c->opts->calibration) {
        return eye_fail(err, EYE_E_ARG, "vision int8: ranges come from pictures: give a folder of them (--calibration DIR)");
    } else {
        EYE_TRY(eye_int8_calibrate(&c->m, vision, projector, &opts, &counts, err));
        c->report.n_pictures = counts.n_pictures;
        c->report.n_unreadable = counts.n_unreadable;
        memcpy(c->report.first_unreadable, counts.first_unreadable, sizeof c->report.first_unreadable);
        c->report.n_int8 = counts.n_int8;
        c->report.n_wide = counts.n_wide;
        c->report.n_could_int8 = counts.n_could;
        c->progress_from = 0.95;
    }
    return eye_int8_put_ranges(&c->writer, vision, projector, err);
}

/* decoder: of its matrices or, where they are of several types, of most. */
static enum eye_status put_keys(struct convert *c, enum eye_wtype vision, enum eye_wtype decoder, bool mixed,
                                struct eye_err *err) {
    enum eye_convert_part part = c->opts->part;
    bool all = part == EYE_CONVERT_ALL, some = part == EYE_CONVERT_VISION || part == EYE_CONVERT_EMBED;
    if (some) {
        EYE_TRY(eye_gguf_put_text(&c->writer, "general.architecture", "eyelet-part", err));
        EYE_TRY(eye_gguf_put_text(&c->writer, EYE_PARTS_KEY, part == EYE_CONVERT_VISION ? EYE_PARTS_VISION : EYE_PARTS_EMBED, err));
    } else {
        EYE_TRY(eye_pack_llama_keys(&c->writer, &c->m, decoder, all, err));
    }
    if (all || some) EYE_TRY(eye_pack_own_keys(&c->writer, &c->m, vision, decoder, mixed, all, err));
    for (size_t i = 0; i < c->opts->n_text; i++)
        EYE_TRY(eye_gguf_put_text(&c->writer, c->opts->text[i].key, c->opts->text[i].value, err));
    return EYE_OK;
}

static enum eye_status check_decoder_snr(const struct convert *c, enum eye_wtype decoder, struct eye_err *err) {
    double db = c->opts->decoder_snr_db;
    if (db == 0) return EYE_OK;
    if (!(db > 0 && db <= EYE_MAX_DECODER_SNR_DB))
        return eye_fail(err, EYE_E_ARG, "decoder_snr_db (--decoder-snr) is %g; expected 0 to %d", db,
                        EYE_MAX_DECODER_SNR_DB);
    if (!c->opts->calibration)
        return eye_fail(err, EYE_E_ARG, "decoder_snr_db (--decoder-snr): what matrices lose is measured on pairs of picture "
                        "and text: give a folder of them (--calibration DIR)");
    if (decoder == EYE_W_Q4_0 || decoder == EYE_W_Q4_K) return EYE_OK;
    return eye_fail(err, EYE_E_ARG, "decoder_snr_db (--decoder-snr): the decoder's type is %s; expected q4_0 or q4_k, which "
                    "some of its matrices leave for q8_0", eye_wtype_name(decoder));
}

static enum eye_status convert(struct convert *c, const char *out, struct eye_err *err) {
    enum eye_wtype vision = type_or(c->opts->vision_type, c->m.vision_type),
                   decoder = type_or(c->opts->decoder_type, c->m.decoder_type);
    enum eye_convert_part part = c->opts->part;
    bool all = part == EYE_CONVERT_ALL, decodes = all || part == EYE_CONVERT_DECODER, sees = eye_vlm_sees(&c->m);
    bool int8 = (all || part == EYE_CONVERT_VISION) && vision == EYE_W_I8 && sees;
    if (part == EYE_CONVERT_VISION && !sees)
        return eye_fail(err, EYE_E_ARG, "%s: a model of text: it has no vision tower", c->m.ckpt->path);
    if (decoder == EYE_W_I8)
        return eye_fail(err, EYE_E_ARG, "decoder int8: int8 is for vision towers; q8_0 is the decoder's type of 8 bits");
    if (decodes) EYE_TRY(check_decoder_snr(c, decoder, err));
    if (int8) EYE_TRY(int8_parts(c, err));
    if (decodes && c->opts->calibration && (!int8 || eye_grid_has(eye_wtype_dtype(decoder)))) EYE_TRY(calibrate(c, decoder, err));
    if (c->report.n_raised && c->report.n_raised == c->calibrated.n) decoder = EYE_W_Q8_0;
    bool as_stored = decoder == EYE_W_EXACT, mixed = as_stored ? c->m.decoder_base != EYE_W_EXACT
                                                               : c->report.n_raised && decoder != EYE_W_Q8_0;
    EYE_TRY(put_keys(c, vision, as_stored ? c->m.decoder_base : decoder, mixed, err));
    /* decoder first: embedding, layers, head; then what llama.cpp does not know */
    static const enum eye_part order[EYE_N_PART] = {EYE_PART_EMBED, EYE_PART_DECODER, EYE_PART_HEAD, EYE_PART_PROJECTOR,
                                                    EYE_PART_VISION};
    int first = part == EYE_CONVERT_VISION ? 3 : 0;
    int end = part == EYE_CONVERT_EMBED ? 1 : sees && part != EYE_CONVERT_DECODER ? EYE_N_PART : 3;
    for (int i = first; i < end; i++)
        EYE_TRY(add_part(c, order[i], eye_vlm_part_type(order[i], vision, decoder), err));
    c->row = eye_arena_alloc(&c->arena, (c->row_elems + 1) * sizeof *c->row);
    c->written = eye_arena_alloc(&c->arena, (c->row_elems + 1) * sizeof *c->row);
    if (!c->row || !c->written) return eye_fail_nomem(err, c->row_elems * sizeof *c->row);
    c->report.bytes_in = c->m.ckpt->data_bytes;
    c->report.bytes_out = c->writer.data_bytes;
    memcpy(c->report.warning, c->m.warning, sizeof c->report.warning);
    return eye_gguf_write(&c->writer, out, err);
}

/* Replacing a file we are reading would be a way to lose it: the new one may be of fewer bits. */
static bool is_input(const struct eye_checkpoint *ckpt, const char *out) {
    struct stat a, b;
    if (stat(out, &a) != 0) return false;
    if (ckpt->has_mmproj && stat(ckpt->mmproj.map.path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino) return true;
    if (ckpt->is_gguf) return stat(ckpt->path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    for (size_t i = 0; i < ckpt->n_shards; i++)
        if (stat(ckpt->shard[i].map.path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino) return true;
    for (size_t i = 0; eye_checkpoint_side_name(i); i++)
        if (ckpt->side[i].path && stat(ckpt->side[i].path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
            return true;
    return false;
}

static enum eye_status check_opts(const struct eye_convert_opts *o, struct eye_err *err) {
    if ((unsigned)o->part > EYE_CONVERT_EMBED || (unsigned)o->decoder_type >= EYE_N_WTYPE ||
        (unsigned)o->vision_type >= EYE_N_WTYPE)
        return eye_fail(err, EYE_E_ARG, "convert: part, decoder_type or vision_type is not one of its enum's values");
    return EYE_OK;
}

void eye_convert_report_clear(struct eye_convert_report *r) {
    eye_alloc_free(r->alloc, r->tensor, r->tensor_cap * sizeof *r->tensor);
    r->tensor = NULL;
    r->n_matrices = r->tensor_cap = 0;
}

enum eye_status eye_convert(const char *path, const char *out, const struct eye_convert_opts *opts,
                            struct eye_convert_report *report, struct eye_err *err) {
    static const struct eye_convert_opts none;
    struct eye_checkpoint ckpt;
    struct convert c = {.opts = opts ? opts : &none};
    const struct eye_alloc *alloc = c.opts->alloc;
    EYE_TRY(check_opts(c.opts, err));
    EYE_TRY(eye_checkpoint_open(&ckpt, path, &(struct eye_checkpoint_opts){.mmproj = c.opts->mmproj}, alloc, err));
    c.report.alloc = alloc;
    eye_arena_init(&c.arena, alloc);
    eye_calibrated_init(&c.calibrated, alloc);
    eye_strmap_init(&c.seen, alloc);
    eye_gguf_writer_init(&c.writer, alloc);
    enum eye_status st;
    if (is_input(&ckpt, out)) st = eye_fail(err, EYE_E_ARG, "%s: is part of the input %s; choose another name", out, path);
    else st = eye_vlm_open(&c.m, &ckpt, alloc, err);
    if (st == EYE_OK) {
        st = convert(&c, out, err);
        eye_vlm_clear(&c.m);
    }
    if (st == EYE_OK && report) *report = c.report;
    else eye_convert_report_clear(&c.report);
    for (int i = 0; i < EYE_N_PART; i++)
        if (c.built[i]) eye_graph_clear(&c.graph[i]);
    eye_gguf_writer_clear(&c.writer);
    eye_calibrated_clear(&c.calibrated);
    eye_strmap_clear(&c.seen);
    eye_arena_clear(&c.arena);
    eye_checkpoint_close(&ckpt);
    return st;
}
