/* Compilation: a converted file's model is planned as for running; what the plans packed goes to a file (format/compiled.h)
 * under the names by which later plans find it. Weights that nothing reads any more but in their packed form are left out: the
 * file is about as large as the one it was made from. A folder, or other types, are converted first: then there is nothing left
 * to fold, and the graphs need no numbers.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "eyelet/convert.h"
#include "format/gguf_write.h"
#include "session/session_impl.h"

struct compile {
    const struct eye_compile_opts *opts;
    struct eye_model *model;
    const struct eye_checkpoint *ckpt;
    struct eye_arena arena;
    bool *packed, *read;        /* [n tensors] */
    struct eye_strmap seen;     /* names of packed tensors: embedding and head may be one matrix */
    struct eye_plan_part *part; /* [n_parts] */
    size_t n_parts, parts_cap;
    size_t n_eyes; /* parts of the vision tower and the projector: the first ones */
    struct eye_buf rest, lists; /* of tokenizer.json; empty: there is none */
    struct eye_gguf_writer w;
    struct eye_compile_report report;
};

/* ---- what goes into the file ---- */

/* The checkpoint's tensor with these bytes, or -1: a pass made them. */
static int64_t tensor_of(const struct compile *c, const void *data) {
    for (size_t i = 0; data && i < eye_checkpoint_n_tensors(c->ckpt); i++)
        if (eye_checkpoint_tensor(c->ckpt, i)->t.data == data) return (int64_t)i;
    return -1;
}

static enum eye_status add_part(struct compile *c, struct eye_plan_part part, struct eye_err *err) {
    int64_t i = tensor_of(c, part.w->data);
    void *mem = c->part;
    bool was_there;
    char *name = eye_arena_printf(&c->arena, EYE_COMPILED_PREFIX "%s.%s", part.form, part.name);
    if (!name) return eye_fail_nomem(err, strlen(part.name));
    if (i < 0) return EYE_OK;
    c->packed[i] = true;
    EYE_TRY(eye_strmap_put(&c->seen, name, strlen(name), 0, &was_there, err));
    if (was_there) return EYE_OK;
    EYE_TRY(eye_alloc_grow(c->opts->alloc, &mem, &c->parts_cap, c->n_parts + 1, sizeof *c->part, err));
    c->part = mem;
    part.name = name;
    c->part[c->n_parts++] = part;
    return EYE_OK;
}

static enum eye_status plan_part(struct compile *c, enum eye_part part, struct eye_err *err) {
    const struct eye_plan *plan;
    EYE_TRY(eye_model_plan(c->model, part, &plan, err));
    const struct eye_graph *g = &c->model->part[part].graph;
    for (size_t i = 0; i < eye_plan_n_parts(plan); i++) EYE_TRY(add_part(c, eye_plan_part(plan, i), err));
    for (size_t v = 0; v < g->n_values; v++) {
        int64_t i = eye_plan_reads(plan, (eye_val)v) ? tensor_of(c, g->value[v].data) : -1;
        if (i >= 0) c->read[i] = true;
    }
    return EYE_OK;
}

static enum eye_status plan_all(struct compile *c, struct eye_err *err) {
    size_t n = eye_checkpoint_n_tensors(c->ckpt);
    enum eye_status st = EYE_OK;
    c->packed = eye_arena_alloc(&c->arena, n);
    c->read = eye_arena_alloc(&c->arena, n);
    if (!c->packed || !c->read) return eye_fail_nomem(err, n);
    pthread_mutex_lock(&c->model->lock);
    for (int part = eye_vlm_sees(&c->model->vlm) ? 0 : EYE_PART_EMBED; part < EYE_N_PART && st == EYE_OK; part++) {
        if (part == EYE_PART_EMBED) c->n_eyes = c->n_parts;
        st = plan_part(c, (enum eye_part)part, err);
    }
    pthread_mutex_unlock(&c->model->lock);
    return st;
}

static bool is_kept(const struct compile *c, size_t i) { return !c->packed[i] || c->read[i]; }

/* ---- keys ---- */

/* The file's own keys but those that say again what its side files say, for other programs. */
static bool is_dropped(const char *key) {
    static const char *const drop[] = {"general.alignment", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
                                       "tokenizer.ggml.merges", "tokenizer.ggml.scores"};
    for (size_t i = 0; i < EYE_COUNT(drop); i++)
        if (strcmp(key, drop[i]) == 0) return true;
    return false;
}

static enum eye_status put_forms(struct compile *c, struct eye_err *err) {
    const struct eye_kernels *k = &c->model->engine.kernels;
    struct eye_str name[EYE_COMPILED_MAX_FORMS], kernel[EYE_COMPILED_MAX_FORMS];
    uint64_t layout[EYE_COMPILED_MAX_FORMS];
    size_t n = 0;
    for (size_t i = 0; i < c->n_parts; i++) {
        const char *form = c->part[i].form, *by;
        size_t at = 0;
        while (at < n && strcmp(name[at].p, form) != 0) at++;
        if (at < n) continue;
        if (EYE_NEVER(n == EYE_COMPILED_MAX_FORMS || !eye_packed_layout(k, form, &by, &layout[n])))
            return eye_fail(err, EYE_E_ARG, "compile: no form \"%s\"", form);
        name[n] = (struct eye_str){form, strlen(form)};
        kernel[n++] = (struct eye_str){by, strlen(by)};
    }
    EYE_TRY(eye_gguf_put_strs(&c->w, EYE_COMPILED_KEY "forms", name, n, err));
    EYE_TRY(eye_gguf_put_strs(&c->w, EYE_COMPILED_KEY "kernels", kernel, n, err));
    return eye_gguf_put_u64s(&c->w, EYE_COMPILED_KEY "layouts", layout, n, err);
}

static enum eye_status put_absent(struct compile *c, struct eye_err *err) {
    size_t n_all = eye_checkpoint_n_tensors(c->ckpt), n = 0;
    struct eye_str *name = eye_arena_alloc(&c->arena, n_all * sizeof *name);
    int64_t *type = eye_arena_alloc(&c->arena, n_all * sizeof *type);
    int64_t *dims = eye_arena_alloc(&c->arena, n_all * 4 * sizeof *dims);
    if (!name || !type || !dims) return eye_fail_nomem(err, n_all * 6 * sizeof *dims);
    for (size_t i = 0; i < n_all; i++) {
        const struct eye_entry *e = eye_checkpoint_tensor(c->ckpt, i);
        uint32_t id = 0;
        if (is_kept(c, i)) continue;
        bool ok = eye_gguf_ggml_id(e->t.dtype, &id) && e->t.rank >= 1 && e->t.rank <= 4;
        assert(ok); /* it came from such a file */
        (void)ok;
        name[n] = (struct eye_str){e->name, strlen(e->name)};
        type[n] = id;
        memcpy(dims + 4 * n++, e->t.dims, (size_t)e->t.rank * sizeof *dims);
    }
    EYE_TRY(eye_gguf_put_strs(&c->w, EYE_COMPILED_KEY "weights", name, n, err));
    EYE_TRY(eye_gguf_put_ints(&c->w, EYE_COMPILED_KEY "types", EYE_GGUF_U32, type, n, err));
    return eye_gguf_put_ints(&c->w, EYE_COMPILED_KEY "dims", EYE_GGUF_I64, dims, 4 * n, err);
}

/* The file's keys; its tokenizer.json without the lists that are packed. */
static enum eye_status put_keys(struct compile *c, struct eye_err *err) {
    static const char tokenizer[] = EYE_CHECKPOINT_FILE_KEY "tokenizer.json";
    const struct eye_gguf *g = &c->ckpt->gguf;
    struct eye_str json;
    EYE_TRY(eye_gguf_str(g, tokenizer, &json, err));
    if (json.p) EYE_TRY(eye_tokenizer_pack((struct eye_bytes){json.p, json.len}, &c->rest, &c->lists, c->opts->alloc, err));
    for (size_t i = 0; i < g->n_kv; i++) {
        if (is_dropped(g->kv[i].key)) continue;
        if (strcmp(g->kv[i].key, tokenizer) == 0) EYE_TRY(eye_gguf_put_str(&c->w, tokenizer, c->rest.p, c->rest.len, err));
        else EYE_TRY(eye_gguf_put_kv(&c->w, &g->kv[i], err));
    }
    return EYE_OK;
}

/* ---- tensors ---- */

static enum eye_status add_tensor(struct compile *c, const char *name, const struct eye_tensor *t, uint64_t *sum,
                                  struct eye_err *err) {
    size_t bytes = 0;
    bool ok = eye_tensor_bytes(t, &bytes);
    assert(ok);
    (void)ok;
    if (c->opts->cancel && c->opts->cancel(c->opts->cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "compile: cancelled");
    *sum = eye_hash64(t->data, bytes, 0);
    return eye_gguf_add_tensor(&c->w, name, t, NULL, NULL, err);
}

static enum eye_status add_tensors(struct compile *c, struct eye_err *err) {
    size_t n_all = eye_checkpoint_n_tensors(c->ckpt), n = 0;
    uint64_t *sum = eye_arena_alloc(&c->arena, (n_all + c->n_parts + 1) * sizeof *sum);
    if (!sum) return eye_fail_nomem(err, (n_all + c->n_parts + 1) * sizeof *sum);
    for (size_t i = 0; i < n_all; i++) {
        const struct eye_entry *e = eye_checkpoint_tensor(c->ckpt, i);
        if (!is_kept(c, i)) continue;
        EYE_TRY(add_tensor(c, e->name, &e->t, &sum[n++], err));
        c->report.n_kept++;
        c->report.kept_bytes += e->bytes;
    }
    if (c->lists.len) {
        struct eye_tensor t = {.data = c->lists.p, .dtype = EYE_I8, .rank = 1, .dims = {(int64_t)c->lists.len}};
        EYE_TRY(add_tensor(c, EYE_COMPILED_PREFIX EYE_COMPILED_TOKENIZER "." EYE_COMPILED_LISTS, &t, &sum[n++], err));
    }
    if (c->n_eyes < c->n_parts)
        EYE_TRY(eye_gguf_put_int(&c->w, EYE_COMPILED_KEY "decoder", EYE_GGUF_U32, (int64_t)(n + c->n_eyes), err));
    for (size_t i = 0; i < c->n_parts; i++) {
        struct eye_tensor t = {.data = c->part[i].data, .dtype = EYE_I8, .rank = 1, .dims = {(int64_t)c->part[i].bytes}};
        EYE_TRY(add_tensor(c, c->part[i].name, &t, &sum[n++], err));
        c->report.packed_bytes += c->part[i].bytes;
    }
    c->report.n_packed = c->n_parts;
    return eye_gguf_put_u64s(&c->w, EYE_COMPILED_KEY "sums", sum, n, err);
}

static enum eye_status write_file(struct compile *c, const char *out, struct eye_err *err) {
    EYE_TRY(plan_all(c, err));
    EYE_TRY(put_keys(c, err));
    eye_cpu_names(c->model->cpu_flags, c->report.cpu, sizeof c->report.cpu);
    EYE_TRY(eye_gguf_put_int(&c->w, EYE_COMPILED_KEY "version", EYE_GGUF_U32, EYE_COMPILED_VERSION, err));
    EYE_TRY(eye_gguf_put_text(&c->w, EYE_COMPILED_KEY "cpu", c->report.cpu, err));
    EYE_TRY(put_forms(c, err));
    EYE_TRY(put_absent(c, err));
    EYE_TRY(eye_gguf_set_alignment(&c->w, EYE_COMPILED_ALIGNMENT, err));
    EYE_TRY(add_tensors(c, err));
    EYE_TRY(eye_gguf_write(&c->w, out, err));
    eye_file_forget(out); /* written in small pages; read again, it comes in huge ones */
    return EYE_OK;
}

/* ---- the model to compile ---- */

static enum eye_status compile_file(struct compile *c, const char *path, const char *out, struct eye_err *err) {
    struct eye_model_opts o = {.n_threads = c->opts->n_threads, .cpu_features = c->opts->cpu_features,
                               .progress = c->opts->progress, .progress_ctx = c->opts->progress_ctx, .cancel = c->opts->cancel,
                               .cancel_ctx = c->opts->cancel_ctx, .alloc = c->opts->alloc};
    EYE_TRY(eye_model_open(path, &o, &c->model, err));
    c->ckpt = &c->model->ckpt;
    eye_arena_init(&c->arena, c->opts->alloc);
    eye_strmap_init(&c->seen, c->opts->alloc);
    eye_buf_init(&c->rest, c->opts->alloc);
    eye_buf_init(&c->lists, c->opts->alloc);
    eye_gguf_writer_init(&c->w, c->opts->alloc);
    enum eye_status st = write_file(c, out, err);
    eye_gguf_writer_clear(&c->w);
    eye_buf_clear(&c->lists);
    eye_buf_clear(&c->rest);
    eye_strmap_clear(&c->seen);
    eye_alloc_free(c->opts->alloc, c->part, c->parts_cap * sizeof *c->part);
    eye_arena_clear(&c->arena);
    eye_model_close(c->model);
    return st;
}

struct convert_progress {
    const struct eye_compile_opts *opts;
};

static void on_converting(void *ctx, double done) {
    const struct eye_compile_opts *o = ((const struct convert_progress *)ctx)->opts;
    o->progress(o->progress_ctx, "converting", done);
}

static enum eye_status convert_first(struct compile *c, const char *path, const char *tmp, struct eye_err *err) {
    struct convert_progress p = {c->opts};
    struct eye_convert_opts o = {.mmproj = c->opts->mmproj, .decoder_type = c->opts->decoder_type,
                                 .vision_type = c->opts->vision_type, .progress = c->opts->progress ? on_converting : NULL,
                                 .progress_ctx = &p, .cancel = c->opts->cancel, .cancel_ctx = c->opts->cancel_ctx,
                                 .alloc = c->opts->alloc};
    return eye_convert(path, tmp, &o, NULL, err);
}

/* Is it a file of eye_convert's, with nothing to change? */
static enum eye_status look_at(const struct compile *c, const char *path, const char *out, bool *ready, struct eye_err *err) {
    struct eye_checkpoint ckpt;
    struct stat a, b;
    struct eye_checkpoint_opts o = {.mmproj = c->opts->mmproj};
    EYE_TRY(eye_checkpoint_open(&ckpt, path, &o, c->opts->alloc, err));
    bool as_is = c->opts->decoder_type == EYE_WEIGHT_STORED && c->opts->vision_type == EYE_WEIGHT_STORED;
    *ready = ckpt.is_gguf && !ckpt.has_mmproj && as_is && eye_gguf_find(&ckpt.gguf, "eyelet.decoder.type");
    eye_checkpoint_close(&ckpt);
    if (stat(out, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return eye_fail(err, EYE_E_ARG, "%s: is the input; choose another name", out);
    return EYE_OK;
}

enum eye_status eye_compile(const char *path, const char *out, const struct eye_compile_opts *opts,
                            struct eye_compile_report *report, struct eye_err *err) {
    static const struct eye_compile_opts defaults;
    struct compile c = {.opts = opts ? opts : &defaults};
    struct eye_buf tmp;
    bool ready;
    EYE_TRY(look_at(&c, path, out, &ready, err));
    eye_buf_init(&tmp, c.opts->alloc);
    eye_buf_printf(&tmp, "%s.tmp-%ld.gguf", out, (long)getpid());
    enum eye_status st = tmp.failed ? eye_fail_nomem(err, strlen(out)) : EYE_OK;
    if (st == EYE_OK && !ready) st = convert_first(&c, path, tmp.p, err);
    if (st == EYE_OK) st = compile_file(&c, ready ? path : tmp.p, out, err);
    if (!tmp.failed && !ready) (void)unlink(tmp.p); /* not there if converting failed */
    eye_buf_clear(&tmp);
    if (st == EYE_OK && report) *report = c.report;
    return st;
}
