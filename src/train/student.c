/* Student: see student.h. */
#include "train/student.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "format/safetensors_write.h"
#include "model/wish.h"
#include "text/tokenizer.h"
#include "train/folder.h"

#define PI 3.14159265358979323846

/* ---- tokenizer ---- */

static const char *const tokenizer_files[] = {"tokenizer.json",          "tokenizer_config.json", "vocab.json", "merges.txt",
                                              "special_tokens_map.json", "added_tokens.json",     "tokenizer.model"};

enum eye_status eye_student_copy_tokenizer(const char *from, const char *dir, struct eye_err *err) {
    bool copied;
    int n = 0;
    for (size_t i = 0; i < EYE_COUNT(tokenizer_files); i++) {
        EYE_TRY(eye_folder_copy(from, dir, tokenizer_files[i], &copied, err));
        n += copied;
    }
    return n ? EYE_OK : eye_fail(err, EYE_E_IO, "%s: no tokenizer in this folder", from);
}

/* Sizes and ids from tokenizer.json and tokenizer_config.json where the configuration leaves them open. */
static enum eye_status fill_from_tokenizer(json_t *text, const char *dir, const struct eye_alloc *alloc, struct eye_err *err) {
    char path[2][EYE_PATH_CAP];
    struct eye_map m[2] = {{0}};
    struct eye_tokenizer *tk = NULL;
    enum eye_status st = EYE_OK;
    for (int i = 0; i < 2; i++) {
        EYE_TRY_GOTO(eye_path_join(path[i], dir, tokenizer_files[i], err));
        if (!eye_path_exists(path[i])) goto fail; /* the configuration says all */
        EYE_TRY_GOTO(eye_map_open(&m[i], path[i], true, EYE_TOKENIZER_MAX_BYTES, err));
    }
    struct eye_tokenizer_src src = {.tokenizer_json = {m[0].p, m[0].size}, .tokenizer_config = {m[1].p, m[1].size}};
    EYE_TRY_GOTO(eye_tokenizer_open(&tk, &src, alloc, err));
    const struct { const char *key; int32_t value; } known[] = {{"vocab_size", eye_tokenizer_n_vocab(tk)},
                                                                {"bos_token_id", eye_tokenizer_bos(tk)},
                                                                {"eos_token_id", eye_tokenizer_eos(tk)},
                                                                {"pad_token_id", eye_tokenizer_pad(tk)}};
    for (size_t i = 0; i < EYE_COUNT(known); i++)
        if (known[i].value >= 0 && !json_object_get(text, known[i].key) &&
            json_object_set_new(text, known[i].key, json_integer(known[i].value)) != 0)
            st = eye_fail_nomem(err, 1);
fail:
    eye_tokenizer_close(tk);
    for (int i = 0; i < 2; i++) eye_map_close(&m[i]);
    return st;
}

static enum eye_status write_config(const struct eye_recipe *r, const char *dir, const struct eye_alloc *alloc,
                                    struct eye_err *err) {
    struct eye_json j;
    struct eye_buf text;
    EYE_TRY(eye_json_parse(&j, r->student.config.p, r->student.config.len, EYE_JSON_MAX_BYTES, "student.config", err));
    eye_buf_init(&text, alloc);
    json_t *part = json_object_get(j.root, "text");
    enum eye_status st = json_is_object(part) ? fill_from_tokenizer(part, dir, alloc, err) : EYE_OK;
    if (st == EYE_OK) st = eye_json_write(j.root, 2, &text, err);
    if (st == EYE_OK) st = eye_folder_write(dir, "config.json", text.p, text.len, err);
    eye_buf_clear(&text);
    eye_json_clear(&j);
    return st;
}

/* ---- values ---- */

static bool is_buffer(const char *name) { return eye_text_ends(name, ".running_mean") || eye_text_ends(name, ".running_var"); }

/* Standard deviation of a tensor's numbers; 0: they are all `level`. */
static double spread(const struct eye_wished *t, int64_t n_layers, double *level) {
    *level = 0;
    if (t->rank == 4) return sqrt(2.0 / ((double)t->dims[1] * (double)t->dims[2] * (double)t->dims[3]));
    if (t->rank >= 2) {
        bool closes_branch = eye_text_ends(t->name, ".attn_output.weight") || eye_text_ends(t->name, ".ffn_down.weight");
        return closes_branch && strncmp(t->name, "blk.", 4) == 0 ? 0.02 / sqrt(2.0 * (double)n_layers) : 0.02;
    }
    if (eye_text_ends(t->name, ".weight") || eye_text_ends(t->name, ".running_var")) *level = 1;
    return 0;
}

static void draw(float *p, int64_t n, double std, double level, struct eye_rng rng) {
    for (int64_t i = 0; std == 0 && i < n; i++) p[i] = (float)level;
    for (int64_t i = 0; std > 0 && i < n; i += 2) { /* Box and Muller's pair */
        double radius = std * sqrt(-2 * log(1 - eye_rng_unit(&rng))), angle = 2 * PI * eye_rng_unit(&rng);
        p[i] = (float)(radius * cos(angle));
        if (i + 1 < n) p[i + 1] = (float)(radius * sin(angle));
    }
}

static int64_t count_layers(const struct eye_wish *w) {
    int64_t n = 1;
    for (size_t i = 0; i < w->n; i++)
        if (strncmp(w->tensor[i].name, "blk.", 4) == 0) n = EYE_MAX(n, strtoll(w->tensor[i].name + 4, NULL, 10) + 1);
    return n;
}

struct fresh { /* all tensors, drawn */
    struct eye_arena arena;
    struct eye_student_tensor *tensor;
    struct eye_named_tensor *named;
};

static enum eye_status draw_all(struct fresh *f, const struct eye_wish *w, uint64_t seed, struct eye_err *err) {
    int64_t n_layers = count_layers(w);
    f->tensor = eye_arena_alloc(&f->arena, (w->n + 1) * sizeof *f->tensor);
    f->named = eye_arena_alloc(&f->arena, (w->n + 1) * sizeof *f->named);
    if (!f->tensor || !f->named) return eye_fail_nomem(err, w->n * sizeof *f->named);
    for (size_t i = 0; i < w->n; i++) {
        const struct eye_wished *t = &w->tensor[i];
        struct eye_tensor *view = &f->named[i].t;
        size_t bytes;
        double level, std = spread(t, n_layers, &level);
        *view = (struct eye_tensor){.dtype = EYE_F32, .rank = t->rank};
        memcpy(view->dims, t->dims, sizeof view->dims);
        if (!eye_tensor_bytes(view, &bytes)) return eye_fail(err, EYE_E_LIMIT, "%s: too large", t->name);
        float *p = eye_arena_alloc(&f->arena, bytes);
        if (!p) return eye_fail_nomem(err, bytes);
        struct eye_rng rng;
        eye_rng_seed(&rng, eye_hash64(t->name, strlen(t->name), seed));
        draw(p, (int64_t)(bytes / 4), std, level, rng);
        view->data = p;
        f->named[i].name = t->name;
        f->tensor[i] = (struct eye_student_tensor){t->name, t->rank, t->dims, p};
    }
    return EYE_OK;
}

/* ---- the folder ---- */

static enum eye_status write_weights(const struct eye_recipe *r, const struct eye_wish *w, const char *path,
                                     const struct eye_alloc *alloc, struct eye_student_report *report, struct eye_err *err) {
    struct fresh f = {0};
    const struct eye_recipe_import *import = r->student.import.item;
    enum eye_status st;
    eye_arena_init(&f.arena, alloc);
    EYE_TRY_GOTO(draw_all(&f, w, (uint64_t)r->seed, err));
    for (size_t i = 0; i < r->student.import.n; i++)
        EYE_TRY_GOTO(eye_student_import(&import[i], f.tensor, w->n, alloc, &report->n_imported, err));
    EYE_TRY_GOTO(eye_safetensors_write(path, f.named, w->n, NULL, 0, alloc, err));
fail:
    eye_arena_clear(&f.arena);
    return st;
}

static struct eye_student_report count(const struct eye_wish *w) {
    struct eye_student_report r = {.n_tensors = w->n};
    for (size_t i = 0; i < w->n; i++) {
        uint64_t n = 1;
        for (int k = 0; k < w->tensor[i].rank; k++) n *= (uint64_t)w->tensor[i].dims[k];
        *(is_buffer(w->tensor[i].name) ? &r.n_buffers : &r.n_params) += n;
    }
    return r;
}

enum eye_status eye_student_make(const struct eye_recipe *r, const char *dir, bool measure_only, const struct eye_alloc *alloc,
                                 struct eye_student_report *report, struct eye_err *err) {
    char weights[EYE_PATH_CAP];
    struct eye_student_report mine = {0};
    struct eye_checkpoint ckpt = {0};
    struct eye_wish wish = {.any = r->student.free_dim, .optional = r->student.optional.item,
                            .n_optional = r->student.optional.n};
    enum eye_status st;
    EYE_TRY(eye_path_join(weights, dir, "model.safetensors", err));
    EYE_TRY(write_config(r, dir, alloc, err));
    const struct eye_text *generation = &r->student.generation;
    if (generation->p) EYE_TRY(eye_folder_write(dir, "generation_config.json", generation->p, generation->len, err));
    EYE_TRY(eye_safetensors_write(weights, NULL, 0, NULL, 0, alloc, err)); /* a checkpoint that lacks everything */
    EYE_TRY(eye_checkpoint_open(&ckpt, dir, NULL, alloc, err));
    st = eye_vlm_wish(&wish, &ckpt, alloc, err);
    if (st == EYE_OK) mine = count(&wish);
    if (st == EYE_OK && !measure_only) st = write_weights(r, &wish, weights, alloc, &mine, err);
    eye_wish_clear(&wish); /* where it failed, empty */
    eye_checkpoint_close(&ckpt);
    if (st == EYE_OK && report) *report = mine;
    return st;
}
