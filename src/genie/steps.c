/* genie/steps: what the host does between the programs: a picture and a prompt to the raw files of a run folder, and the rows
 * that came back to one sequence and the configuration for it. The run folder:
 *
 *   pixel_values.raw, input_ids.raw                  as the parts take them
 *   vision_input_list.txt, embed_input_list.txt      one path each
 *   tokens.json                                      prompt, token_ids (of text), image_token_pos, …
 *   vision_out/Result_n/….raw, embed_out/Result_n/….raw      net-run's
 *   combined_embeddings_fp32.raw, genie_config.json
 */
#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eyelet/genie.h"
#include "format/json.h"
#include "genie/configs.h"
#include "genie/dialog_config.h"
#include "genie/schema.h"
#include "genie/steps.h"
#include "session/session_impl.h"

#define MAX_JSON ((size_t)16 << 20)

enum eye_status eye_genie_join(char *out, size_t cap, const char *dir, const char *name, struct eye_err *err) {
    return snprintf(out, cap, "%s/%s", dir, name) < (int)cap ? EYE_OK : eye_fail(err, EYE_E_ARG, "%.200s…: the path is too "
                                                                                 "long", dir);
}

static enum eye_status choose(const struct eye_json_at *at, const char *key, const char *const *names, int n, int def, int *out,
                              struct eye_err *err) {
    const char *s;
    EYE_TRY(eye_json_str(at, key, names[def], &s, NULL, err));
    for (*out = 0; *out < n; (*out)++)
        if (strcmp(names[*out], s) == 0) return EYE_OK;
    return eye_json_fail(at, key, "not a type that \"eyelet export genie\" writes", err);
}

static enum eye_status read_folder(const struct eye_json_at *at, struct eye_genie_folder *f, struct eye_err *err) {
    static const char *const floats[] = {"float32", "float16"}, *const luts[] = {"float32", "float16", "int8"};
    struct eye_json_at model, lut, image;
    const char *name, *input;
    int type;
    EYE_TRY(eye_json_need_int(at, "context", 1, EYE_MAX_POSITIONS, &f->n_ctx, err));
    EYE_TRY(eye_json_object(at, "model", &model, err));
    EYE_TRY(eye_json_need_str(&model, "name", &name, NULL, err));
    snprintf(f->model, sizeof f->model, "%s", name);
    EYE_TRY(choose(at, "decoder", floats, 2, 0, &type, err));
    f->decoder = (enum eye_genie_float)type;
    EYE_TRY(eye_json_object(at, "lut", &lut, err));
    EYE_TRY(choose(&lut, "type", luts, 3, 0, &type, err));
    f->lut = (enum eye_lut_type)type;
    EYE_TRY(eye_json_double(&lut, "scale", 1, &f->lut_scale, err));
    EYE_TRY(eye_json_double(&lut, "offset", 0, &f->lut_offset, err));
    f->sees = eye_json_has(at, "image");
    EYE_TRY(eye_json_object(at, "image", &image, err));
    EYE_TRY(eye_json_str(&image, "input", "", &input, NULL, err));
    f->takes_bytes = strncmp(input, "uint8", 5) == 0;
    return EYE_OK;
}

enum eye_status eye_genie_folder_read(const char *dir, struct eye_genie_folder *out, struct eye_err *err) {
    struct eye_map map;
    struct eye_json j;
    char path[4096];
    *out = (struct eye_genie_folder){.n_ctx = 0};
    EYE_TRY(eye_genie_join(path, sizeof path, dir, EYE_GENIE_MANIFEST, err));
    if (!eye_path_exists(path))
        return eye_fail(err, EYE_E_IO, "%s: not there: make this folder with \"eyelet export genie\"", path);
    EYE_TRY(eye_map_open(&map, path, false, MAX_JSON, err));
    enum eye_status st = eye_json_parse(&j, map.p, map.size, MAX_JSON, path, err);
    if (st == EYE_OK) {
        struct eye_json_at at = eye_json_root(&j);
        st = read_folder(&at, out, err);
        eye_json_clear(&j);
    }
    eye_map_close(&map);
    return st;
}

static enum eye_status read_signature(const struct eye_genie_exported *f, const char *given, const char *own,
                                      struct eye_ctx_info *s, struct eye_err *err) {
    char path[4096];
    EYE_TRY(eye_genie_join(path, sizeof path, f->dir, own, err));
    return eye_ctx_info_read(s, given ? given : path, err);
}

enum eye_status eye_genie_exported_open(struct eye_genie_exported *f, const char *dir, const char *vision, const char *embed,
                                        struct eye_err *err) {
    struct eye_genie_folder made;
    EYE_TRY(eye_genie_folder_read(dir, &made, err));
    f->dir = dir;
    f->n_ctx = made.n_ctx;
    f->sees = made.sees;
    EYE_TRY(read_signature(f, embed, EYE_GENIE_EMBED_INFO, &f->embed, err));
    if (f->embed.out.rank != 3 || f->embed.out.dims[0] != 1)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %s: expected 3 dimensions, of one sequence", f->dir, EYE_GENIE_EMBED_INFO);
    if (!f->sees) return EYE_OK;
    EYE_TRY(read_signature(f, vision, EYE_GENIE_VISION_INFO, &f->vision, err));
    if (f->vision.out.rank != 3 || f->vision.out.dims[0] != 1 || f->vision.out.dims[2] != f->embed.out.dims[2])
        return eye_fail(err, EYE_E_CORRUPT, "%s: %s: expected rows of %" PRId64, f->dir, EYE_GENIE_VISION_INFO,
                        f->embed.out.dims[2]);
    return EYE_OK;
}

/* ---- prepare ---- */

struct prepared {
    struct eye_model *m;
    const struct eye_genie_exported *f;
    const struct eye_genie_prepare *p;
    const char *run;
    struct eye_ids ids;      /* all, with image rows */
    size_t n_text, n_rows, image_pos;
};

/* The place of the image among the ids of text; rows stand together, since there is one picture. */
static enum eye_status assemble(struct prepared *t, struct eye_err *err) {
    struct eye_query q = {.text = t->p->prompt, .images = t->p->image, .n_images = t->p->image != NULL, .raw = t->p->raw,
                          .position = t->p->images_first ? EYE_IMAGES_FIRST : EYE_IMAGES_TEMPLATE};
    bool truncated;
    if (t->p->image && !t->f->sees)
        return eye_fail(err, EYE_E_ARG, "%s: a model of text: it takes no images", t->f->dir);
    EYE_TRY(eye_query_assemble(t->m, &q, -1, &t->ids, &truncated, err));
    for (size_t i = 0; i < t->ids.n; i++) {
        if (t->ids.p[i] != EYE_TOKEN_IMAGE_ROW) continue;
        if (t->n_rows++ == 0) t->image_pos = i;
    }
    t->n_text = t->ids.n - t->n_rows;
    if (t->p->image && (int64_t)t->n_rows != t->f->vision.out.dims[1])
        return eye_fail(err, EYE_E_UNSUPPORTED, "an image of %zu rows; the part gives %" PRId64 " and merges none (images cut "
                        "into tiles take several runs)",
                        t->n_rows, t->f->vision.out.dims[1]);
    if ((int64_t)t->n_text > t->f->embed.in.dims[1])
        return eye_fail(err, EYE_E_LIMIT, "%zu tokens of text do not fit an embedder of %" PRId64 ": shorten the prompt, or "
                        "export with "
                        "a larger --embed-tokens", t->n_text, t->f->embed.in.dims[1]);
    if ((int64_t)t->ids.n >= t->f->n_ctx)
        return eye_fail(err, EYE_E_LIMIT, "%zu tokens (%zu of the image) leave no room for an answer in a context of %" PRId64,
                        t->ids.n,
                        t->n_rows, t->f->n_ctx);
    return EYE_OK;
}

static enum eye_status write_ids(const struct prepared *t, struct eye_err *err) {
    size_t n = t->f->embed.in.n, at = 0;
    int64_t pad = EYE_MAX(t->m->vlm.config.pad, 0);
    uint8_t *raw = eye_alloc_raw(NULL, 4 * n);
    if (!raw) return eye_fail_nomem(err, 4 * n);
    for (size_t i = 0; i < t->ids.n + n && at < n; i++) {
        int64_t id = i < t->ids.n ? t->ids.p[i] : pad;
        if (id == EYE_TOKEN_IMAGE_ROW) continue;
        for (int b = 0; b < 4; b++) raw[4 * at + (size_t)b] = (uint8_t)((uint32_t)id >> (8 * b));
        at++;
    }
    enum eye_status st = eye_genie_write_file(t->run, "input_ids.raw", raw, 4 * n, err);
    eye_alloc_free(NULL, raw, 4 * n);
    return st;
}

static enum eye_status write_pixels(const struct prepared *t, struct eye_err *err) {
    const struct eye_ctx_tensor *in = &t->f->vision.in;
    size_t side = (size_t)t->m->opts.image_side, n = side * side * 3;
    bool bytes = in->e.type == EYE_EL_U8;
    if (in->n != n) return eye_fail(err, EYE_E_ARG, "pictures of %zu pixels a side; the part takes %zu numbers", side, in->n);
    uint8_t *u8 = eye_alloc_raw(NULL, n);
    float *f32 = bytes ? NULL : eye_alloc_raw(NULL, n * sizeof *f32);
    enum eye_status st = u8 && (bytes || f32) ? EYE_OK : eye_fail_nomem(err, n * 5);
    if (st == EYE_OK) st = eye_model_cut(t->m, t->p->image, true, u8, err);
    if (st == EYE_OK && !bytes) st = eye_model_normalise(t->m, u8, EYE_PREPROC_CHW, f32, err);
    if (st == EYE_OK)
        st = bytes ? eye_genie_write_file(t->run, "pixel_values.raw", u8, n, err)
                   : eye_genie_write_file(t->run, "pixel_values.raw", f32, n * sizeof *f32, err);
    eye_alloc_free(NULL, f32, n * sizeof *f32);
    eye_alloc_free(NULL, u8, n);
    return st;
}

static enum eye_status write_list(const struct prepared *t, const char *list, const char *file, struct eye_err *err) {
    char line[4352];
    const char *dir = t->p->device_dir;
    char *real = dir ? NULL : realpath(t->run, NULL);
    int n = snprintf(line, sizeof line, "%s/%s\n", dir ? dir : real ? real : t->run, file);
    free(real);
    if (n >= (int)sizeof line || strpbrk(line, " \t")) /* blanks part the files of a line */
        return eye_fail(err, EYE_E_ARG, "%.200s: input lists take no blanks in paths; choose another run folder", t->run);
    return eye_genie_write_file(t->run, list, line, (size_t)n, err);
}

static enum eye_status write_tokens(const struct prepared *t, struct eye_err *err) {
    struct eye_buf b;
    json_t *ids = json_array();
    for (size_t i = 0; i < t->ids.n; i++)
        if (t->ids.p[i] != EYE_TOKEN_IMAGE_ROW) json_array_append_new(ids, json_integer(t->ids.p[i]));
    json_t *o = json_pack("{s:s*,s:o,s:i,s:I,s:I,s:i,s:b,s:I,s:I}", "prompt", t->p->prompt, "token_ids", ids, "image_token_pos",
                          t->n_rows ? (int)t->image_pos : -1, "pad_id", (json_int_t)EYE_MAX(t->m->vlm.config.pad, 0),
                          "cache_len",
                          (json_int_t)t->f->embed.in.dims[1], "image_size", (int)t->m->opts.image_side, "used_chat_template",
                          !t->p->raw,
                          "image_rows", (json_int_t)t->n_rows, "combined_len", (json_int_t)t->ids.n);
    eye_buf_init(&b, NULL);
    enum eye_status st = o ? eye_json_write(o, 1, &b, err) : eye_fail(err, EYE_E_ARG, "the prompt is no UTF-8");
    json_decref(o);
    if (st == EYE_OK) st = eye_genie_write_file(t->run, "tokens.json", b.p, b.len, err);
    eye_buf_clear(&b);
    return st;
}

static enum eye_status prepare(struct prepared *t, struct eye_err *err) {
    EYE_TRY(assemble(t, err));
    EYE_TRY(eye_genie_make_dir(t->run, err));
    EYE_TRY(write_ids(t, err));
    EYE_TRY(write_list(t, "embed_input_list.txt", "input_ids.raw", err));
    if (t->p->image) EYE_TRY(write_pixels(t, err));
    if (t->p->image) EYE_TRY(write_list(t, "vision_input_list.txt", "pixel_values.raw", err));
    return write_tokens(t, err);
}

enum eye_status eye_genie_prepare_run(struct eye_model *model, const char *dir, const char *run,
                                      const struct eye_genie_prepare *p,
                                      struct eye_err *err) {
    struct eye_genie_exported f = {.sees = false};
    struct prepared t = {.m = model, .f = &f, .p = p, .run = run, .ids = {.alloc = NULL}};
    EYE_TRY(eye_genie_exported_open(&f, dir, NULL, NULL, err));
    enum eye_status st = prepare(&t, err);
    eye_ids_clear(&t.ids);
    return st;
}

/* ---- combine ---- */

enum eye_status eye_genie_tokens_read(const char *run, const struct eye_genie_exported *f, struct eye_genie_tokens *t,
                                      struct eye_err *err) {
    struct eye_map map;
    struct eye_json j;
    struct eye_json_at at, ids;
    char path[4096];
    EYE_TRY(eye_genie_join(path, sizeof path, run, "tokens.json", err));
    EYE_TRY(eye_map_open(&map, path, false, MAX_JSON, err));
    enum eye_status st = eye_json_parse(&j, map.p, map.size, MAX_JSON, path, err);
    if (st != EYE_OK) goto close;
    at = eye_json_root(&j);
    EYE_TRY_GOTO(eye_json_array(&at, "token_ids", &ids, err));
    t->n_text = (int64_t)eye_json_len(&ids);
    EYE_TRY_GOTO(eye_json_int_in(&at, "image_token_pos", -1, t->n_text, 0, &t->image_pos, err));
    EYE_TRY_GOTO(eye_json_int_in(&at, "image_rows", 0, EYE_MAX_POSITIONS, f->sees ? f->vision.out.dims[1] : 0, &t->image_rows,
                                 err));
    if (t->n_text > f->embed.out.dims[1]) st = eye_json_fail(&at, "token_ids", "more tokens than the embedder gives rows", err);
    else if (t->image_rows && (!f->sees || t->image_rows != f->vision.out.dims[1]))
        st = eye_json_fail(&at, "image_rows", "not as many as the vision part gives", err);
fail:
    eye_json_clear(&j);
close:
    eye_map_close(&map);
    return st;
}

static bool ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* Of a folder: the entry with the largest number after prefix (Result_10 follows Result_9), or any that ends so. */
static bool find_entry(const char *dir, const char *prefix, const char *end, char *out, size_t cap) {
    DIR *d = opendir(dir);
    long best = -1;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        size_t n = strlen(prefix);
        if (e->d_name[0] == '.' || strncmp(e->d_name, prefix, n) != 0 || !ends_with(e->d_name, end)) continue;
        long number = *prefix ? strtol(e->d_name + n, NULL, 10) : 0;
        if (number <= best || snprintf(out, cap, "%s/%s", dir, e->d_name) >= (int)cap) continue;
        best = number;
    }
    if (d) closedir(d);
    return best >= 0;
}

/* The file of a step's result. Names: this program's, those that QNN's tools give, else whatever is there. */
static enum eye_status find_result(const char *run, const char *step, const struct eye_ctx_tensor *t, char *path, size_t cap,
                                   struct eye_err *err) {
    char dir[4096], result[4352], name[128];
    EYE_TRY(eye_genie_join(dir, sizeof dir, run, step, err));
    if (!find_entry(dir, "Result_", "", result, sizeof result))
        return eye_fail(err, EYE_E_IO, "%s: no Result_*: this step did not run (net-run --output_dir)", dir);
    bool plain = t->e.type == EYE_EL_F32;
    const char *const names[] = {t->name, "output_0"}, *const ends[] = {plain ? ".raw" : "_native.raw", plain ? "_native.raw"
                                                                        : ".raw"};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "%s%s", names[i], ends[k]);
            EYE_TRY(eye_genie_join(path, cap, result, name, err));
            if (names[i][0] && eye_path_exists(path)) return EYE_OK;
        }
    return find_entry(result, "", ".raw", path, cap) ? EYE_OK : eye_fail(err, EYE_E_IO, "%s: no .raw file in it", result);
}

enum eye_status eye_genie_step_rows(const char *run, const char *step, const struct eye_ctx_tensor *t, float *out,
                                    struct eye_err *err) {
    char path[4608];
    struct eye_map map;
    struct eye_elements e = t->e;
    EYE_TRY(find_result(run, step, t, path, sizeof path, err));
    EYE_TRY(eye_map_open(&map, path, true, 0, err));
    enum eye_status st = EYE_OK;
    if (map.size == 4 * t->n) e.type = EYE_EL_F32;
    else if (map.size == 2 * t->n && t->e.type == EYE_EL_F32) e.type = EYE_EL_F16;
    else if (map.size != eye_element_bytes(e.type) * t->n)
        st = eye_fail(err, EYE_E_CORRUPT, "%s: %zu bytes, expected %zu (%s) or %zu (float32)", path, map.size,
                      eye_element_bytes(e.type) * t->n, eye_element_name(e.type, EYE_EL_NUMPY), 4 * t->n);
    if (st == EYE_OK) eye_elements_to_f32(&e, map.p, out, t->n);
    eye_map_close(&map);
    return st;
}

static enum eye_status write_sequence(const char *run, const struct eye_genie_exported *f, const struct eye_genie_tokens *t,
                                      struct eye_err *err) {
    size_t width = (size_t)f->embed.out.dims[2], rows = (size_t)t->image_rows, pos = (size_t)EYE_MAX(t->image_pos, 0);
    size_t bytes = (f->embed.out.n + (f->sees ? f->vision.out.n : 0)) * sizeof(float), row = width * sizeof(float);
    struct eye_writer w = {0};
    char path[4096];
    float *text = eye_alloc_raw(NULL, bytes);
    if (!text) return eye_fail_nomem(err, bytes);
    float *image = text + f->embed.out.n;
    enum eye_status st = eye_genie_step_rows(run, "embed_out", &f->embed.out, text, err);
    if (st == EYE_OK && rows) st = eye_genie_step_rows(run, "vision_out", &f->vision.out, image, err);
    if (st == EYE_OK) st = eye_genie_join(path, sizeof path, run, "combined_embeddings_fp32.raw", err);
    if (st == EYE_OK) st = eye_writer_open(&w, path, err);
    if (st == EYE_OK) st = eye_writer_put(&w, text, pos * row, err);
    if (st == EYE_OK && rows) st = eye_writer_put(&w, image, rows * row, err);
    if (st == EYE_OK) st = eye_writer_put(&w, text + pos * width, ((size_t)t->n_text - pos) * row, err);
    if (st == EYE_OK) st = eye_writer_commit(&w, err);
    eye_writer_abort(&w);
    eye_alloc_free(NULL, text, bytes);
    return st;
}

/* o[key] = dir/o[key] unless it is absolute. */
static void prefix_path(json_t *o, const char *key, const char *dir) {
    const char *name = json_string_value(json_object_get(o, key));
    char path[4352];
    if (!name || name[0] == '/' || snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) return;
    json_object_set_new(o, key, json_string(path));
}

static enum eye_status write_config(const char *run, const struct eye_genie_exported *f, const char *device_dir,
                                    int64_t n_predict, struct eye_err *err) {
    struct eye_map map;
    struct eye_json j;
    struct eye_buf b;
    char path[4096], *real = device_dir ? NULL : realpath(f->dir, NULL);
    const char *dir = device_dir ? device_dir : real ? real : f->dir;
    eye_buf_init(&b, NULL);
    enum eye_status st = eye_genie_join(path, sizeof path, f->dir, EYE_GENIE_CONFIG, err);
    if (st == EYE_OK) st = eye_map_open(&map, path, false, EYE_GENIE_MAX_CONFIG, err);
    if (st == EYE_OK) {
        st = eye_json_parse(&j, map.p, map.size, EYE_GENIE_MAX_CONFIG, path, err);
        eye_map_close(&map);
    }
    if (st == EYE_OK) {
        st = eye_genie_check_dialog(j.root, err);
        if (st == EYE_OK) {
            json_t *dialog = json_object_get(j.root, "dialog"), *model = json_object_get(json_object_get(dialog, "engine"),
                                                                                         "model");
            json_object_set_new(dialog, "max-num-tokens", json_integer(n_predict));
            prefix_path(json_object_get(dialog, "tokenizer"), "path", dir);
            prefix_path(json_object_get(model, "library"), "model-bin", dir);
            st = eye_json_write(j.root, 2, &b, err);
        } else {
            eye_fail_in(err, st, "%s", path);
        }
        eye_json_clear(&j);
    }
    if (st == EYE_OK) st = eye_genie_write_file(run, EYE_GENIE_CONFIG, b.p, b.len, err);
    eye_buf_clear(&b);
    free(real);
    return st;
}

enum eye_status eye_genie_combine_run(const char *dir, const char *run, const struct eye_genie_combine *c,
                                      struct eye_genie_combined *out, struct eye_err *err) {
    struct eye_genie_exported f = {.sees = false};
    struct eye_genie_tokens t = {0};
    EYE_TRY(eye_genie_exported_open(&f, dir, c->vision_ctx_info, c->embed_ctx_info, err));
    EYE_TRY(eye_genie_tokens_read(run, &f, &t, err));
    int64_t n = t.n_text + t.image_rows, left = f.n_ctx - n, want = c->n_predict ? c->n_predict : left;
    if (left < 1)
        return eye_fail(err, EYE_E_LIMIT, "%" PRId64 " tokens (%" PRId64 " of the image) leave no room for an answer in a "
                        "context of %"
                        PRId64, n, t.image_rows, f.n_ctx);
    EYE_TRY(write_sequence(run, &f, &t, err));
    EYE_TRY(write_config(run, &f, c->device_dir, c->prefill_only ? 0 : EYE_MIN(want, left), err));
    if (out) *out = (struct eye_genie_combined){(uint32_t)t.image_rows, (uint32_t)t.n_text, (uint32_t)EYE_MIN(want, left)};
    return EYE_OK;
}
