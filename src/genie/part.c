/* genie/part: one part of a model as qnn-net-run would run a context binary: raw files in, raw files out. A part's file is a
 * GGUF that eye_convert wrote (EYE_CONVERT_VISION, EYE_CONVERT_EMBED) with its signature in it.
 *
 *   vision   pixels [1,3,S,S] float32, normalised, or bytes [1,S,S,3] of the picture -> VISION -> PROJECTOR -> rows [1, n,
 * hidden]
 *   embed    ids [1, T] int32 -> rows [1, T, hidden]
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eyelet/genie.h"
#include "genie/ctx_info.h"
#include "genie/source.h"
#include "image/preproc.h"
#include "session/decode.h"

#define MAX_LIST ((size_t)16 << 20)

struct eye_genie_part {
    struct eye_genie_source src;
    struct eye_ctx_info sig;
    char *info;              /* in the arena */
    struct eye_engine engine;
    bool engine_ready;
    enum eye_part part[2];
    int n_parts;
    struct eye_part_plan plan[2];
    struct eye_exec *exec[2];
    struct eye_arena arena;
    float *in, *features, *out; /* what the graphs take, hand on and give */
    int32_t *ids;
    uint8_t *bytes;          /* of a picture */
    float *values;           /* [largest tensor] a file's numbers */
    uint8_t *raw;            /* [largest tensor] of 4 bytes */
};

/* ---- opening ---- */

static enum eye_status find_info(const struct eye_checkpoint *c, const char *path, struct eye_str *out, struct eye_err *err) {
    out->p = NULL;
    if (c->is_gguf) EYE_TRY(eye_gguf_str(&c->gguf, EYE_CTX_INFO_KEY, out, err));
    if (out->p) return EYE_OK;
    return eye_fail(err, EYE_E_ARG, "%s: no part of a model made by \"eyelet export genie\" (a QNN context binary runs on its "
                    "NPU "
                    "only)", path);
}

enum eye_status eye_genie_part_read_info(const char *path, char *text, size_t cap, struct eye_err *err) {
    struct eye_checkpoint c;
    struct eye_str s;
    EYE_TRY(eye_checkpoint_open(&c, path, NULL, NULL, err));
    enum eye_status st = find_info(&c, path, &s, err);
    if (st == EYE_OK && s.len >= cap) st = eye_fail(err, EYE_E_LIMIT, "%s: %zu bytes of information, room for %zu", path, s.len,
                                                    cap);
    if (st == EYE_OK) {
        memcpy(text, s.p, s.len);
        text[s.len] = '\0';
    }
    eye_checkpoint_close(&c);
    return st;
}

static enum eye_status mismatch(const struct eye_genie_part *n, const char *what, struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "%s: its information is not that of its graph: %s", n->src.ckpt.path, what);
}

/* The signature's numbers come from the file: held against the graphs. */
static enum eye_status check_signature(const struct eye_genie_part *n, struct eye_err *err) {
    const struct eye_ctx_tensor *in = &n->sig.in, *out = &n->sig.out;
    const struct eye_vlm *m = &n->src.vlm;
    int64_t hidden = m->config.text.hidden;
    if (n->part[0] == EYE_PART_EMBED) {
        if (in->rank != 2 || in->dims[0] != 1 || in->e.type != EYE_EL_I32) return mismatch(n, in->name, err);
        if (in->dims[1] > EYE_MAX_POSITIONS) return mismatch(n, in->name, err);
        if (out->rank != 3 || out->dims[0] != 1 || out->dims[1] != in->dims[1] || out->dims[2] != hidden)
            return mismatch(n, out->name, err);
        return EYE_OK;
    }
    bool bytes = in->e.type == EYE_EL_U8;
    int64_t side = in->rank == 4 ? in->dims[2] : 0, rows = eye_vlm_image_tokens(m, side);
    if (in->rank != 4 || in->dims[0] != 1 || in->dims[bytes ? 3 : 1] != 3 || in->dims[bytes ? 1 : 3] != side || rows == 0 ||
        (!bytes && in->e.type != EYE_EL_F32 && in->e.type != EYE_EL_F16))
        return mismatch(n, in->name, err);
    if (out->rank != 3 || out->dims[0] != 1 || out->dims[1] != rows || out->dims[2] != hidden)
        return mismatch(n, out->name, err);
    return out->e.type == EYE_EL_I32 ? mismatch(n, out->name, err) : EYE_OK;
}

static enum eye_status open_part(struct eye_genie_part *n, int i, struct eye_err *err) {
    const struct eye_vlm *m = &n->src.vlm;
    bool embed = n->part[i] == EYE_PART_EMBED, vision = n->part[i] == EYE_PART_VISION;
    struct eye_plan_opts o = {.max_t = embed ? n->sig.in.dims[1] : vision ? 1 : n->sig.out.dims[1]};
    enum eye_wtype type = eye_vlm_part_type(n->part[i], m->vision_type, m->decoder_type);
    struct eye_run_graph how = {.side_px = vision ? n->sig.in.dims[2] : 0, .type = type};
    EYE_TRY(eye_vlm_run_graph(m, n->part[i], &how, &n->plan[i].graph, NULL, err));
    enum eye_status st = eye_plan_new(&n->plan[i].plan, &n->engine, &n->plan[i].graph, &o, err);
    if (st != EYE_OK) {
        n->plan[i].plan = NULL;
        eye_graph_clear(&n->plan[i].graph);
        return st;
    }
    n->n_parts = i + 1;
    return eye_exec_new(&n->exec[i], n->plan[i].plan, err);
}

static void *take(struct eye_genie_part *n, size_t count, size_t bytes, enum eye_status *st, struct eye_err *err) {
    void *p = NULL;
    size_t total;
    if (*st != EYE_OK) return NULL;
    if (!eye_mul_ok(count, bytes, &total) || !(p = eye_arena_alloc(&n->arena, total))) *st = eye_fail_nomem(err, count * bytes);
    return p;
}

static enum eye_status take_memory(struct eye_genie_part *n, struct eye_err *err) {
    size_t most = EYE_MAX(n->sig.in.n, n->sig.out.n), channels = (size_t)n->src.vlm.config.vision.channels;
    enum eye_status st = EYE_OK;
    n->values = take(n, most, sizeof(float), &st, err);
    n->raw = take(n, most, 4, &st, err);
    n->out = take(n, n->sig.out.n, sizeof(float), &st, err);
    if (n->part[0] == EYE_PART_EMBED) {
        n->ids = take(n, n->sig.in.n, sizeof *n->ids, &st, err);
        return st;
    }
    n->in = take(n, n->sig.in.n, sizeof(float), &st, err);
    n->bytes = take(n, n->sig.in.n, 1, &st, err);
    n->features = take(n, (size_t)n->sig.out.dims[1] * channels, sizeof(float), &st, err);
    return st;
}

static enum eye_status open_net(struct eye_genie_part *n, const char *path, int32_t n_threads, struct eye_err *err) {
    struct eye_str s;
    EYE_TRY(find_info(&n->src.ckpt, path, &s, err));
    EYE_TRY(eye_ctx_info_parse(&n->sig, s.p, s.len, path, err));
    if (!(n->info = eye_arena_strdup(&n->arena, s.p, s.len))) return eye_fail_nomem(err, s.len);
    bool vision = n->src.vlm.parts & 1u << EYE_PART_VISION, embed = n->src.vlm.parts & 1u << EYE_PART_EMBED;
    if (vision == embed) return eye_fail(err, EYE_E_ARG, "%s: a whole model; expected one part of it", path);
    n->part[0] = vision ? EYE_PART_VISION : EYE_PART_EMBED;
    n->part[1] = EYE_PART_PROJECTOR;
    EYE_TRY(check_signature(n, err));
    EYE_TRY(take_memory(n, err));
    EYE_TRY(eye_engine_init(&n->engine, n_threads, eye_cpu_flags(), NULL, err));
    n->engine_ready = true;
    for (int i = 0; i < (vision ? 2 : 1); i++) EYE_TRY(open_part(n, i, err));
    return EYE_OK;
}

enum eye_status eye_genie_part_open(const char *path, int32_t n_threads, struct eye_genie_part **net, struct eye_err *err) {
    struct eye_genie_part *n = eye_alloc_zero(NULL, sizeof *n);
    if (!n) return eye_fail_nomem(err, sizeof *n);
    eye_arena_init(&n->arena, NULL);
    enum eye_status st = eye_genie_source_open(&n->src, path, true, err);
    if (st == EYE_OK) {
        st = open_net(n, path, n_threads, err);
        if (st == EYE_OK) {
            *net = n;
            return EYE_OK;
        }
    }
    eye_genie_part_close(n);
    return st;
}

void eye_genie_part_close(struct eye_genie_part *n) {
    if (!n) return;
    for (int i = 0; i < n->n_parts; i++) {
        eye_exec_free(n->exec[i]);
        eye_plan_free(n->plan[i].plan);
        eye_graph_clear(&n->plan[i].graph);
    }
    if (n->engine_ready) eye_engine_clear(&n->engine);
    eye_genie_source_close(&n->src);
    eye_arena_clear(&n->arena);
    eye_alloc_free(NULL, n, sizeof *n);
}

const char *eye_genie_part_info(const struct eye_genie_part *n) { return n->info; }

/* ---- one inference ---- */

static enum eye_status run_part(struct eye_genie_part *n, int i, int64_t t, void *in, float *out, eye_cancel_fn *cancel,
                                struct eye_err *err) {
    const struct eye_graph *g = &n->plan[i].graph;
    struct eye_io from = {g->input[0], in}, to = {g->output[0], out};
    return eye_exec_run(n->exec[i], NULL, &(struct eye_bind){.t = t}, &from, 1, &to, 1, cancel, NULL, err);
}

/* n->raw, in the tensor's own type, to what the graph takes. */
static enum eye_status take_pixels(struct eye_genie_part *n, struct eye_err *err) {
    const struct eye_ctx_tensor *in = &n->sig.in;
    const struct eye_prep_config *c = &n->src.vlm.config.prep;
    size_t side = (size_t)in->dims[2], plane = side * side;
    if (in->e.type == EYE_EL_U8) {
        struct eye_preproc pp = {.width = (int)side, .height = (int)side};
        for (int i = 0; i < 3; i++) {
            pp.mean[i] = (double)c->mean[i];
            pp.std[i] = (double)c->std[i];
        }
        return eye_preproc_f32(&pp, n->raw, EYE_PREPROC_HWC, n->in, n->engine.pool, err);
    }
    eye_elements_to_f32(&in->e, n->raw, n->values, in->n);
    for (size_t i = 0; i < plane; i++)
        for (size_t k = 0; k < 3; k++) n->in[i * 3 + k] = n->values[k * plane + i];
    return EYE_OK;
}

static enum eye_status infer(struct eye_genie_part *n, eye_cancel_fn *cancel, struct eye_err *err) {
    const struct eye_ctx_tensor *in = &n->sig.in;
    if (n->part[0] == EYE_PART_EMBED) {
        for (size_t i = 0; i < in->n; i++) {
            const uint8_t *p = n->raw + 4 * i;
            n->ids[i] = (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        }
        return run_part(n, 0, in->dims[1], n->ids, n->out, cancel, err);
    }
    EYE_TRY(take_pixels(n, err));
    EYE_TRY(run_part(n, 0, 1, n->in, n->features, cancel, err));
    return run_part(n, 1, n->sig.out.dims[1], n->features, n->out, cancel, err);
}

/* ---- files ---- */

/* A tensor's file into n->raw. Not native: float32, which becomes the tensor's type as the tools do it. */
static enum eye_status read_input(struct eye_genie_part *n, const char *path, bool native, struct eye_err *err) {
    const struct eye_ctx_tensor *in = &n->sig.in;
    struct eye_map map;
    size_t want = in->n * (native ? eye_element_bytes(in->e.type) : sizeof(float));
    EYE_TRY(eye_map_open(&map, path, false, 0, err));
    enum eye_status st = EYE_OK;
    if (map.size != want)
        st = eye_fail(err, EYE_E_CORRUPT, "%s: %zu bytes, expected %zu for %s (%zu %s)", path, map.size, want, in->name, in->n,
                      native ? eye_element_name(in->e.type, EYE_EL_NUMPY) : "float32");
    else if (native) memcpy(n->raw, map.p, map.size);
    else {
        memcpy(n->values, map.p, map.size);
        eye_elements_from_f32(&in->e, n->values, n->raw, in->n);
    }
    eye_map_close(&map);
    return st;
}

enum eye_status eye_genie_part_infer(struct eye_genie_part *n, const char *path, float *out, size_t n_out, eye_cancel_fn *cancel,
                                     struct eye_err *err) {
    EYE_TRY(read_input(n, path, true, err));
    enum eye_status st = infer(n, cancel, err);
    if (st != EYE_OK) return eye_fail_in(err, st, "%s", path);
    if (n_out != n->sig.out.n)
        return eye_fail(err, EYE_E_CORRUPT, "%s: gives %zu numbers, expected %zu", n->src.ckpt.path, n->sig.out.n, n_out);
    memcpy(out, n->out, n_out * sizeof *out);
    return EYE_OK;
}

static enum eye_status write_output(struct eye_genie_part *n, const struct eye_genie_part_run_opts *o, uint32_t i,
                                    struct eye_err *err) {
    const struct eye_ctx_tensor *out = &n->sig.out;
    bool own = o->native_outputs && out->e.type != EYE_EL_F32;
    char dir[4096], name[96], other[4352];
    size_t bytes = out->n * (own ? eye_element_bytes(out->e.type) : sizeof(float));
    if (snprintf(dir, sizeof dir, "%s/Result_%u", o->output_dir, i) >= (int)sizeof dir)
        return eye_fail(err, EYE_E_ARG, "%.200s…: the path is too long", o->output_dir);
    EYE_TRY(eye_genie_make_dir(dir, err));
    if (out->e.type != EYE_EL_F32) { /* what the tensor's type leaves of it, native file or not */
        eye_elements_from_f32(&out->e, n->out, n->raw, out->n);
        if (!own) eye_elements_to_f32(&out->e, n->raw, n->out, out->n);
    }
    snprintf(other, sizeof other, "%s/%s%s.raw", dir, out->name, own ? "" : "_native");
    remove(other); /* of an earlier run in the other form: whoever reads the folder would not know which is this one's */
    snprintf(name, sizeof name, "%s%s.raw", out->name, own ? "_native" : "");
    return eye_genie_write_file(dir, name, own ? (const void *)n->raw : (const void *)n->out, bytes, err);
}

static enum eye_status write_metadata(const struct eye_genie_part *n, const struct eye_genie_part_run_opts *o, uint32_t done,
                                      struct eye_err *err) {
    const struct eye_ctx_tensor *t[] = {&n->sig.in, &n->sig.out};
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    eye_buf_printf(&b, "graph: %s\ninferences: %u\nnative_inputs: %s\nnative_outputs: %s\n", n->sig.graph, done,
                   o->native_inputs ? "true" : "false", o->native_outputs ? "true" : "false");
    for (int i = 0; i < 2; i++) {
        eye_buf_printf(&b, "%s:\n  - name: %s\n    type: %s\n    dimensions: [", i ? "outputs" : "inputs", t[i]->name,
                       eye_element_name(t[i]->e.type, EYE_EL_NUMPY));
        for (int k = 0; k < t[i]->rank; k++) eye_buf_printf(&b, "%s%" PRId64, k ? ", " : "", t[i]->dims[k]);
        eye_buf_adds(&b, "]\n");
    }
    enum eye_status st = b.failed ? eye_fail_nomem(err, b.len)
                                  : eye_genie_write_file(o->output_dir, "execution_metadata.yaml", b.p, b.len, err);
    eye_buf_clear(&b);
    return st;
}

/* The one input of a line "PATH" or "NAME:=PATH", blanks around it. False: more than one, or another's name. */
static bool parse_line(const struct eye_genie_part *n, const char *p, size_t len, char *path, size_t cap) {
    while (len && (*p == ' ' || *p == '\t')) p++, len--;
    while (len && (p[len - 1] == ' ' || p[len - 1] == '\t' || p[len - 1] == '\r')) len--;
    const char *mark = memmem(p, len, ":=", 2);
    if (mark) {
        size_t name = (size_t)(mark - p);
        if (name != strlen(n->sig.in.name) || memcmp(p, n->sig.in.name, name) != 0) return false;
        p += name + 2;
        len -= name + 2;
    }
    if (len == 0 || len >= cap || memchr(p, ' ', len) || memchr(p, 0, len)) return false;
    memcpy(path, p, len);
    path[len] = '\0';
    return true;
}

/* The i-th line that names files into path; *found = false past the last. Lines that begin with # or % are headers. */
static enum eye_status nth_line(const struct eye_genie_part *n, const struct eye_map *list, uint32_t i, char *path, size_t cap,
                                bool *found, struct eye_err *err) {
    const char *p = (const char *)list->p, *end = p + list->size;
    uint32_t line = 0;
    *found = false;
    for (const char *next; p < end; p = next) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        next = eol ? eol + 1 : end;
        size_t len = (size_t)((eol ? eol : end) - p);
        line++;
        if (len == 0 || (len == 1 && *p == '\r') || *p == '#' || *p == '%' || i-- > 0) continue;
        if (!parse_line(n, p, len, path, cap))
            return eye_fail(err, EYE_E_CORRUPT, "%s: line %u: expected PATH or %s:=PATH, one input and no blanks in it",
                            list->path,
                            line, n->sig.in.name);
        *found = true;
        return EYE_OK;
    }
    return EYE_OK;
}

static enum eye_status run_list(struct eye_genie_part *n, const struct eye_genie_part_run_opts *o, const struct eye_map *list,
                                uint32_t *done,
                                struct eye_err *err) {
    char path[4096];
    bool found;
    uint32_t n_lines = 0;
    for (*done = 0; !o->n_inferences || *done < o->n_inferences; ++*done) {
        EYE_TRY(nth_line(n, list, n_lines ? *done % n_lines : *done, path, sizeof path, &found, err));
        if (!found && *done == 0) return eye_fail(err, EYE_E_CORRUPT, "%s: names no file", list->path);
        if (!found && !o->n_inferences) return EYE_OK;
        if (!found) {
            n_lines = *done;
            EYE_TRY(nth_line(n, list, 0, path, sizeof path, &found, err));
        }
        EYE_TRY(read_input(n, path, o->native_inputs, err));
        enum eye_status st = infer(n, o->cancel, err);
        if (st != EYE_OK) return eye_fail_in(err, st, "%s", path);
        EYE_TRY(write_output(n, o, *done, err));
    }
    return EYE_OK;
}

enum eye_status eye_genie_part_run(struct eye_genie_part *n, const struct eye_genie_part_run_opts *o, uint32_t *done,
                                   struct eye_err *err) {
    struct eye_map list;
    EYE_TRY(eye_map_open(&list, o->input_list, false, MAX_LIST, err));
    enum eye_status st = eye_genie_make_dir(o->output_dir, err);
    if (st == EYE_OK) st = run_list(n, o, &list, done, err);
    if (st == EYE_OK) st = write_metadata(n, o, *done, err);
    eye_map_close(&list);
    return st;
}
