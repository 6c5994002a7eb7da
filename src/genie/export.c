/* genie/export: a checkpoint to a folder with everything that the NPU flow needs beside the vendor's own tools: the decoder for
 * Genie's CPU backend, the table of embeddings, configurations, and the parts that net-run runs where there is no NPU. The
 * manifest is written last: a folder with one is whole. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "eyelet/convert.h"
#include "eyelet/eyelet.h"
#include "format/json.h"
#include "genie/configs.h"
#include "genie/ctx_info.h"
#include "pack/calibration.h"
#include "session/session_impl.h"

#define DEFAULT_CTX 4096
#define DEFAULT_EMBED 512

struct exporter {
    const char *model, *dir;
    const struct eye_genie_opts *opts;
    struct eye_model *m;
    struct eye_genie_report *report;
    int64_t n_ctx, n_embed, side, image_rows;
    struct eye_ctx_info vision, embed;
};

static void say(const struct exporter *x, const char *what, double done) {
    if (x->opts->progress) x->opts->progress(x->opts->progress_ctx, what, done);
}

static bool path_in(const struct exporter *x, const char *name, char *out, size_t cap) {
    return snprintf(out, cap, "%s/%s", x->dir, name) < (int)cap;
}

/* ---- the manifest's list ---- */

/* A file that was just written. */
static enum eye_status note_file(struct exporter *x, const char *name, const char *what, struct eye_err *err) {
    struct eye_genie_report *r = x->report;
    char path[4096];
    if (EYE_NEVER(r->n_files == EYE_GENIE_MAX_FILES)) return EYE_E_LIMIT;
    if (!path_in(x, name, path, sizeof path)) return eye_fail(err, EYE_E_ARG, "%.200s…: the path is too long", x->dir);
    snprintf(r->file[r->n_files].name, sizeof r->file[0].name, "%s", name);
    snprintf(r->file[r->n_files].what, sizeof r->file[0].what, "%s", what);
    int64_t changed;
    EYE_TRY(eye_file_sha256(path, r->file[r->n_files].sha256, err));
    eye_path_stamp(path, &r->file[r->n_files].bytes, &changed);
    r->n_files++;
    return EYE_OK;
}

static enum eye_status put_text(struct exporter *x, const char *name, const char *what, const struct eye_buf *b,
                                struct eye_err *err) {
    if (b->failed) return eye_fail_nomem(err, b->len);
    EYE_TRY(eye_genie_write_file(x->dir, name, b->p, b->len, err));
    return note_file(x, name, what, err);
}

/* Takes o. */
static enum eye_status put_json(struct exporter *x, const char *name, const char *what, json_t *o, struct eye_err *err) {
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    enum eye_status st = o ? eye_json_write(o, 2, &b, err) : eye_fail_nomem(err, 0);
    json_decref(o);
    eye_buf_adds(&b, "\n");
    if (st == EYE_OK) st = put_text(x, name, what, &b, err);
    eye_buf_clear(&b);
    return st;
}

/* ---- decoder, table, tokenizer ---- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* "general.name" and the composer's: the folder's or file's own. */
static void model_name(const struct exporter *x, char *out, size_t cap) {
    size_t n = (size_t)snprintf(out, cap, "%s", base_name(x->model));
    n = EYE_MIN(n, cap - 1);
    while (n && out[n - 1] == '/') out[--n] = '\0';
}

static enum eye_status export_decoder(struct exporter *x, struct eye_err *err) {
    const struct eye_genie_opts *o = x->opts;
    struct eye_buf composer;
    char path[4096], name[128];
    if (!path_in(x, EYE_GENIE_DECODER, path, sizeof path))
        return eye_fail(err, EYE_E_ARG, "%.200s…: the path is too long", x->dir);
    model_name(x, name, sizeof name);
    say(x, "decoder", 0.1);
    EYE_TRY(eye_genie_decoder_write(&x->m->vlm, name, path, x->n_ctx, o->decoder, o->cancel, o->cancel_ctx, err));
    EYE_TRY(note_file(x, EYE_GENIE_DECODER, o->decoder == EYE_GENIE_F16 ? "decoder for QnnGenAiTransformer, float16"
                                                                       : "decoder for QnnGenAiTransformer, float32", err));
    eye_buf_init(&composer, NULL);
    enum eye_status st = eye_genie_composer_config(&x->m->vlm, name, x->n_ctx, &composer, err);
    if (st == EYE_OK) st = put_text(x, EYE_GENIE_COMPOSER, "configuration for qnn-genai-transformer-composer", &composer, err);
    eye_buf_clear(&composer);
    return st;
}

static enum eye_status export_table(struct exporter *x, struct eye_err *err) {
    static const char *const what[] = {"token embeddings, float32", "token embeddings, float16", "token embeddings, int8"};
    const struct eye_genie_opts *o = x->opts;
    char path[4096];
    if (!path_in(x, EYE_GENIE_TABLE, path, sizeof path))
        return eye_fail(err, EYE_E_ARG, "%.200s…: the path is too long", x->dir);
    say(x, "embedding table", 0.4);
    EYE_TRY(eye_lut_write(&x->m->vlm, path, o->lut, &x->report->lut, o->cancel, o->cancel_ctx, err));
    return note_file(x, EYE_GENIE_TABLE, what[o->lut], err);
}

static enum eye_status export_tokenizer(struct exporter *x, struct eye_err *err) {
    const char *p;
    size_t n;
    if (!eye_checkpoint_text(&x->m->ckpt, "tokenizer.json", &p, &n))
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: no tokenizer.json, which is what Genie reads; make one of its tokenizer "
                        "(with "
                        "the library \"tokenizers\") and name it with --tokenizer", x->model);
    EYE_TRY(eye_genie_write_file(x->dir, EYE_GENIE_TOKENIZER, p, n, err));
    return note_file(x, EYE_GENIE_TOKENIZER, "tokenizer, as the checkpoint has it", err);
}

/* ---- parts for net-run ---- */

static void set_tensor(struct eye_ctx_tensor *t, const char *name, enum eye_element type, int rank, const int64_t *dims) {
    snprintf(t->name, sizeof t->name, "%s", name);
    t->rank = rank;
    t->n = 1;
    for (int i = 0; i < rank; i++) {
        t->dims[i] = dims[i];
        t->n *= (size_t)dims[i];
    }
    t->e = (struct eye_elements){type, 1, 0};
}

/* Least and largest value of the features over the pictures: by the model as it is stored. */
static enum eye_status feature_range(const struct exporter *x, double *lo, double *hi, struct eye_err *err) {
    struct eye_calibration c;
    struct eye_model *model = NULL;
    struct eye_session *s = NULL;
    struct eye_model_opts mo = {.image_side = (int32_t)x->side, .cancel = x->opts->cancel, .cancel_ctx = x->opts->cancel_ctx};
    size_t bytes = (size_t)x->image_rows * (size_t)x->m->vlm.config.text.hidden * sizeof(float);
    EYE_TRY(eye_calibration_open(&c, x->opts->calibration, x->opts->max_pictures, NULL, err));
    float *rows = eye_alloc_raw(NULL, bytes);
    enum eye_status st = rows ? eye_model_open(x->model, &mo, &model, err) : eye_fail_nomem(err, bytes);
    if (st == EYE_OK) st = eye_session_new(model, &(struct eye_session_opts){.n_ctx = 1}, &s, err);
    *lo = *hi = 0;
    for (size_t i = 0; st == EYE_OK && i < c.n; i++) {
        struct eye_image img;
        st = eye_calibration_image(&c, i, &img, err);
        if (st != EYE_OK) break;
        st = eye_session_encode_image(s, &img, rows, NULL, err);
        eye_image_free(&img);
        for (size_t k = 0; st == EYE_OK && k < bytes / sizeof(float); k++) {
            *lo = EYE_MIN(*lo, (double)rows[k]);
            *hi = EYE_MAX(*hi, (double)rows[k]);
        }
        say(x, "range of the features", (double)i / (double)c.n);
    }
    eye_session_free(s);
    eye_model_close(model);
    eye_alloc_free(NULL, rows, bytes);
    eye_calibration_close(&c);
    return st;
}

/* Bytes in and bytes out: the picture's own, and features by their range. */
static enum eye_status int8_signature(struct exporter *x, struct eye_err *err) {
    struct eye_ctx_info *s = &x->vision;
    double lo, hi;
    if (!x->opts->calibration)
        return eye_fail(err, EYE_E_ARG, "vision int8: ranges come from pictures: give a folder of them (--calibration DIR)");
    EYE_TRY(feature_range(x, &lo, &hi, err));
    set_tensor(&s->in, "pixel_values", EYE_EL_U8, 4, (int64_t[]){1, x->side, x->side, 3});
    s->in.e.scale = 1.0 / 255;
    s->out.e.type = EYE_EL_U8;
    s->out.e.scale = hi > lo ? (hi - lo) / 255 : 1;
    s->out.e.offset = -(double)(int64_t)(-lo / s->out.e.scale + 0.5);
    x->report->feature_scale = s->out.e.scale;
    x->report->feature_offset = s->out.e.offset;
    return EYE_OK;
}

static void on_convert(void *ctx, double done) { say(ctx, "vision encoder", done); }

static enum eye_status export_part(struct exporter *x, const struct eye_ctx_info *sig, enum eye_convert_part part,
                                   const char *file,
                                   const char *what, const char *info_file, struct eye_err *err) {
    struct eye_buf info;
    char path[4096];
    eye_buf_init(&info, NULL);
    enum eye_status st = eye_ctx_info_write(sig, &info, err);
    struct eye_convert_text text = {EYE_CTX_INFO_KEY, info.p};
    struct eye_convert_opts o = {.part = part, .vision_type = x->opts->vision, .calibration = x->opts->calibration,
                                 .max_pairs = x->opts->max_pictures, .text = &text, .n_text = 1, .progress = on_convert,
                                 .progress_ctx = x, .cancel = x->opts->cancel, .cancel_ctx = x->opts->cancel_ctx};
    if (part == EYE_CONVERT_EMBED) o.calibration = NULL;
    if (st == EYE_OK && !path_in(x, file, path, sizeof path)) st = eye_fail(err, EYE_E_ARG, "%.200s…: the path is too long",
                                                                            x->dir);
    if (st == EYE_OK) st = eye_convert(x->model, path, &o, NULL, err);
    if (st == EYE_OK) st = note_file(x, file, what, err);
    if (st == EYE_OK) st = put_text(x, info_file, "inputs and outputs of the file before", &info, err);
    eye_buf_clear(&info);
    return st;
}

static enum eye_status export_parts(struct exporter *x, struct eye_err *err) {
    int64_t hidden = x->m->vlm.config.text.hidden;
    snprintf(x->embed.graph, sizeof x->embed.graph, "embed_tokens");
    set_tensor(&x->embed.in, "input_ids", EYE_EL_I32, 2, (int64_t[]){1, x->n_embed});
    set_tensor(&x->embed.out, "output_0", EYE_EL_F32, 3, (int64_t[]){1, x->n_embed, hidden});
    EYE_TRY(export_part(x, &x->embed, EYE_CONVERT_EMBED, EYE_GENIE_EMBED, "token embedder for eyelet net-run",
                        EYE_GENIE_EMBED_INFO,
                        err));
    if (!x->report->sees) return EYE_OK;
    snprintf(x->vision.graph, sizeof x->vision.graph, "vision_encoder");
    set_tensor(&x->vision.in, "pixel_values", EYE_EL_F32, 4, (int64_t[]){1, 3, x->side, x->side});
    set_tensor(&x->vision.out, "image_features", EYE_EL_F32, 3, (int64_t[]){1, x->image_rows, hidden});
    if (x->opts->vision == EYE_WEIGHT_INT8) EYE_TRY(int8_signature(x, err));
    return export_part(x, &x->vision, EYE_CONVERT_VISION, EYE_GENIE_VISION, "vision tower and projector for eyelet net-run",
                       EYE_GENIE_VISION_INFO, err);
}

/* ---- */

static enum eye_status write_manifest(struct exporter *x, struct eye_err *err) {
    const struct eye_genie_report *r = x->report;
    const struct eye_text_config *t = &x->m->vlm.config.text;
    static const char *const lut_type[] = {"float32", "float16", "int8"}, *const float_type[] = {"float32", "float16"};
    char name[128];
    json_t *files = json_array();
    model_name(x, name, sizeof name);
    for (uint32_t i = 0; i < r->n_files; i++)
        json_array_append_new(files, json_pack("{s:s,s:s,s:I,s:s}", "file", r->file[i].name, "what", r->file[i].what, "bytes",
                                               (json_int_t)r->file[i].bytes, "sha256", r->file[i].sha256));
    json_t *o = json_pack(
        "{s:s,s:s,s:{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I},s:I,s:I,s:s,s:{s:s,s:I,s:I,s:f,s:f,s:f},s:o}", "format",
        "eyelet genie 1",
        "made_by", eye_version(), "model", "name", name, "family", x->m->vlm.config.model_type, "hidden", (json_int_t)t->hidden,
        "layers", (json_int_t)t->n_layers, "heads", (json_int_t)t->n_heads, "kv_heads", (json_int_t)t->n_kv_heads, "head_dim",
        (json_int_t)t->head_dim, "ffn", (json_int_t)t->ffn, "vocab", (json_int_t)t->vocab, "context", (json_int_t)x->n_ctx,
        "embed_tokens", (json_int_t)x->n_embed, "decoder", float_type[x->opts->decoder], "lut", "type",
        lut_type[x->opts->lut], "rows", (json_int_t)r->lut.rows, "columns",
        (json_int_t)r->lut.columns, "scale", r->lut.scale, "offset", r->lut.offset, "relative_rms", r->lut.rel_rms, "files",
        files);
    if (o && r->sees)
        json_object_set_new(o, "image", json_pack("{s:I,s:I,s:s,s:f,s:f}", "side", (json_int_t)x->side, "rows",
                                                  (json_int_t)x->image_rows, "input",
                                                  x->vision.in.e.type == EYE_EL_U8 ? "uint8 [1,S,S,3]" : "float32 [1,3,S,S]",
                                                  "scale",
                                                  r->feature_scale, "offset", r->feature_offset));
    return put_json(x, EYE_GENIE_MANIFEST, "this list", o, err);
}

static enum eye_status resolve(struct exporter *x, struct eye_err *err) {
    const struct eye_vlm_config *c = &x->m->vlm.config;
    const struct eye_genie_opts *o = x->opts;
    x->report->sees = eye_vlm_sees(&x->m->vlm);
    x->report->feature_scale = 1;
    x->side = x->report->sees ? c->prep.side_px : 0;
    x->image_rows = x->report->sees ? eye_vlm_image_tokens(&x->m->vlm, x->side) : 0;
    x->n_ctx = o->n_ctx ? o->n_ctx : EYE_MIN(c->text.max_positions, EYE_MAX(DEFAULT_CTX, x->image_rows + 1024));
    if (x->n_ctx < 1 || x->n_ctx > c->text.max_positions)
        return eye_fail(err, EYE_E_ARG, "%s: a context of %" PRId64 " positions; the model was made for 1 to %" PRId64,
                        x->model,
                        x->n_ctx, c->text.max_positions);
    x->n_embed = o->n_embed ? o->n_embed : EYE_MIN(DEFAULT_EMBED, x->n_ctx);
    if (x->n_embed < 1 || x->n_embed > x->n_ctx)
        return eye_fail(err, EYE_E_ARG, "an embedder of %" PRId64 " tokens, expected 1 to %" PRId64 " (the context)",
                        x->n_embed,
                        x->n_ctx);
    return EYE_OK;
}

/* What its tokenizer puts before a text; -1 = nothing. */
static enum eye_status find_bos(const struct exporter *x, int32_t *bos, struct eye_err *err) {
    size_t plain, with;
    int32_t id = -1;
    EYE_TRY(eye_model_tokenize(x->m, "a", 1, 0, NULL, 0, &plain, err));
    EYE_TRY(eye_model_tokenize(x->m, "a", 1, EYE_TOKENIZE_BOS, &id, 1, &with, err));
    *bos = with > plain ? id : -1;
    return EYE_OK;
}

static enum eye_status export_configs(struct exporter *x, struct eye_err *err) {
    const struct eye_vlm *m = &x->m->vlm;
    struct eye_genie_ids ids = {.end = x->m->end, .n_end = x->m->n_end};
    EYE_TRY(find_bos(x, &ids.bos, err));
    EYE_TRY(put_json(x, EYE_GENIE_CONFIG, "Genie dialog, decoder on the CPU", eye_genie_dialog_json(m, x->opts, &ids, x->n_ctx,
                                                                                                    false),
                     err));
    EYE_TRY(put_json(x, EYE_GENIE_CONFIG_HTP, "Genie dialog, decoder on the NPU",
                     eye_genie_dialog_json(m, x->opts, &ids, x->n_ctx, true), err));
    return put_json(x, EYE_GENIE_HTP_EXT, "backend extensions of QnnHtp", eye_genie_htp_json(), err);
}

static enum eye_status export(struct exporter *x, struct eye_err *err) {
    char old[4096];
    EYE_TRY(resolve(x, err));
    EYE_TRY(eye_genie_make_dir(x->dir, err));
    /* what was there is no whole export from now on */
    if (path_in(x, EYE_GENIE_MANIFEST, old, sizeof old)) remove(old);
    EYE_TRY(export_tokenizer(x, err));
    EYE_TRY(export_decoder(x, err));
    EYE_TRY(export_table(x, err));
    EYE_TRY(export_parts(x, err));
    EYE_TRY(export_configs(x, err));
    return write_manifest(x, err);
}

enum eye_status eye_genie_export(const char *model, const char *dir, const struct eye_genie_opts *opts,
                                 struct eye_genie_report *report, struct eye_err *err) {
    static const struct eye_genie_opts none;
    struct eye_genie_report own;
    struct exporter x = {.model = model, .dir = dir, .opts = opts ? opts : &none, .report = report ? report : &own};
    const struct eye_genie_opts *o = x.opts;
    if ((unsigned)o->decoder > EYE_GENIE_F16 || (unsigned)o->lut > EYE_LUT_INT8)
        return eye_fail(err, EYE_E_ARG, "genie: decoder or lut is not one of its enum's values");
    memset(x.report, 0, sizeof *x.report);
    struct eye_model_opts mo = {.tokenizer = o->tokenizer_json};
    EYE_TRY(eye_model_open(model, &mo, &x.m, err));
    enum eye_status st = x.m->ckpt.is_compiled
                             ? eye_fail(err, EYE_E_ARG, "%s: a compiled file, which is for running only; give the model it was "
                                        "made from", model)
                             : export(&x, err);
    eye_model_close(x.m);
    return st;
}
