/* format/checkpoint: see checkpoint.h. */
#include "format/checkpoint.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "format/gguf_mmproj.h"
#include "format/json.h"
#include "format/torch_zip.h"

#define MAX_SIDE_BYTES ((size_t)256 << 20)
#define INDEX_NAME "model.safetensors.index.json"
#define TORCH_NAME "pytorch_model.bin"
#define TORCH_INDEX_NAME "pytorch_model.bin.index.json"

static const char *const side_names[] = {
    "config.json",           "generation_config.json",  "preprocessor_config.json", "processor_config.json",
    "tokenizer.json",        "tokenizer_config.json",   "special_tokens_map.json",  "added_tokens.json",
    "vocab.json",            "merges.txt",              "chat_template.jinja",      "chat_template.json",
    "tokenizer.model",
};

const char *eye_checkpoint_side_name(size_t i) { return i < EYE_COUNT(side_names) ? side_names[i] : NULL; }

static char *join(struct eye_checkpoint *c, const char *name, struct eye_err *err) {
    char *p = eye_arena_printf(&c->arena, "%s/%s", c->path, name);
    if (!p) eye_fail_nomem(err, strlen(c->path) + strlen(name) + 2);
    return p;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static bool is_torch(const char *s) { return ends_with(s, ".bin") || ends_with(s, ".pth") || ends_with(s, ".pt"); }

/* ---- one index over all shards ---- */

static enum eye_status count_tensors(struct eye_checkpoint *c, size_t n, struct eye_err *err) {
    size_t bytes;
    if (!eye_mul_ok(n, sizeof *c->entry, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    if (!(c->entry = eye_arena_alloc(&c->arena, bytes))) return eye_fail_nomem(err, bytes);
    return eye_strmap_reserve(&c->index, n, err);
}

static enum eye_status index_table(struct eye_checkpoint *c, const struct eye_table *t, struct eye_err *err) {
    for (size_t i = 0; i < t->n; i++) {
        const struct eye_entry *e = &t->entry[i];
        if (c->is_compiled && eye_compiled_is_packed(e->name)) continue;
        bool was_there;
        if (c->n >= INT32_MAX) return eye_fail(err, EYE_E_LIMIT, "%s: more than %d tensors", c->path, INT32_MAX);
        EYE_TRY(eye_strmap_put(&c->index, e->name, strlen(e->name), (int32_t)c->n, &was_there, err));
        if (was_there) return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\" is in another shard too", t->where, e->name);
        c->entry[c->n++] = e;
        c->data_bytes += e->bytes;
    }
    return EYE_OK;
}

static enum eye_status open_shards(struct eye_checkpoint *c, const char *const *name, size_t n, bool use_mmap,
                                   struct eye_err *err) {
    size_t n_tensors = 0;
    const struct eye_alloc *alloc = c->arena.alloc;
    if (!(c->shard = eye_arena_alloc(&c->arena, n * sizeof *c->shard))) return eye_fail_nomem(err, n * sizeof *c->shard);
    for (size_t i = 0; i < n; i++) {
        char *path = join(c, name[i], err);
        if (!path) return EYE_E_NOMEM;
        if (!eye_path_exists(path))
            return eye_fail(err, EYE_E_IO, "%s: shard %zu of %zu is missing (incomplete download?)", path, i + 1, n);
        if (ends_with(name[i], ".safetensors")) EYE_TRY(eye_safetensors_open(&c->shard[i], path, use_mmap, alloc, err));
        else EYE_TRY(eye_torch_open(&c->shard[i], path, use_mmap, alloc, err));
        c->n_shards++;
        n_tensors += c->shard[i].table.n;
    }
    EYE_TRY(count_tensors(c, n_tensors, err));
    for (size_t i = 0; i < n; i++) EYE_TRY(index_table(c, &c->shard[i].table, err));
    return EYE_OK;
}

/* ---- model.safetensors.index.json, pytorch_model.bin.index.json ---- */

static bool is_plain_name(const char *s) {
    return s[0] != '\0' && s[0] != '.' && !strchr(s, '/') && !strchr(s, '\\') && strlen(s) <= 255;
}

/* Distinct shard names in the order of their first tensor. The names belong to the JSON tree, which the caller keeps. */
static enum eye_status list_shards(struct eye_checkpoint *c, const struct eye_json_at *map, const char ***out, size_t *n_out,
                                   struct eye_err *err) {
    struct eye_strmap seen;
    const char *key, **list = NULL;
    json_t *value;
    size_t n = 0;
    enum eye_status st = EYE_OK;
    eye_strmap_init(&seen, c->arena.alloc);
    if (!(list = eye_arena_alloc(&c->arena, EYE_CHECKPOINT_MAX_SHARDS * sizeof *list))) {
        st = eye_fail_nomem(err, EYE_CHECKPOINT_MAX_SHARDS * sizeof *list);
        goto fail;
    }
    json_object_foreach(map->v, key, value) {
        const char *file;
        bool was_there;
        EYE_TRY_GOTO(eye_json_need_str(map, key, &file, NULL, err));
        if (!is_plain_name(file)) {
            st = eye_json_fail(map, key, "a shard must be a plain file name in the same folder", err);
            goto fail;
        }
        EYE_TRY_GOTO(eye_strmap_put(&seen, file, strlen(file), (int32_t)n, &was_there, err));
        if (was_there) continue;
        if (n == EYE_CHECKPOINT_MAX_SHARDS) {
            st = eye_fail(err, EYE_E_LIMIT, "%s: more than %d shards", map->where, EYE_CHECKPOINT_MAX_SHARDS);
            goto fail;
        }
        list[n++] = file;
    }
    *out = list;
    *n_out = n;
fail:
    eye_strmap_clear(&seen);
    return st;
}

/* Both ways: every tensor of the index is where it says, every tensor of a shard is in the index. */
static enum eye_status check_index(const struct eye_checkpoint *c, const struct eye_json_at *map, const char *const *shard,
                                   struct eye_err *err) {
    for (size_t i = 0; i < c->n_shards; i++) {
        const struct eye_table *t = &c->shard[i].table;
        for (size_t k = 0; k < t->n; k++) {
            const char *file = json_string_value(json_object_get(map->v, t->entry[k].name));
            if (!file || strcmp(file, shard[i]) != 0)
                return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\" is in %s; the index says %s", map->where,
                                t->entry[k].name,
                                shard[i], file ? file : "nothing of it");
        }
    }
    const char *key;
    json_t *value;
    json_object_foreach(map->v, key, value) {
        if (eye_strmap_get(&c->index, key, strlen(key)) < 0)
            return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\" is not in %s", map->where, key,
                            json_string_value(value));
    }
    return EYE_OK;
}

static enum eye_status open_index(struct eye_checkpoint *c, const char *path, bool use_mmap, struct eye_err *err) {
    struct eye_map file;
    struct eye_json j = {0};
    struct eye_json_at root, map;
    const char **shard = NULL;
    size_t n = 0;
    enum eye_status st;
    EYE_TRY(eye_map_open(&file, path, use_mmap, MAX_SIDE_BYTES, err));
    EYE_TRY_GOTO(eye_json_parse(&j, file.p, file.size, EYE_JSON_MAX_BYTES, path, err));
    root = eye_json_root(&j);
    EYE_TRY_GOTO(eye_json_object(&root, "weight_map", &map, err));
    if (json_object_size(map.v) == 0) {
        st = eye_json_fail(&root, "weight_map", "expected an object that names at least one tensor", err);
        goto fail;
    }
    EYE_TRY_GOTO(list_shards(c, &map, &shard, &n, err));
    EYE_TRY_GOTO(open_shards(c, shard, n, use_mmap, err));
    EYE_TRY_GOTO(check_index(c, &map, shard, err));
fail:
    eye_json_clear(&j);
    eye_map_close(&file);
    return st;
}

/* ---- folder ---- */

struct listing {
    size_t n_safetensors, n_bin, n_gguf, n_onnx, n_tokenizer;
    bool is_adapter, is_hub_cache;
    char only[256]; /* a *.safetensors */
    char only_bin[256]; /* a *.bin, *.pth or *.pt */
};

static enum eye_status list_folder(const struct eye_checkpoint *c, struct listing *l, struct eye_err *err) {
    *l = (struct listing){0};
    DIR *dir = opendir(c->path);
    if (!dir) return eye_fail(err, EYE_E_IO, "%s: cannot list the folder", c->path);
    for (const struct dirent *d; (d = readdir(dir));) {
        if (ends_with(d->d_name, ".safetensors") && l->n_safetensors++ == 0)
            snprintf(l->only, sizeof l->only, "%s", d->d_name);
        if (is_torch(d->d_name) && l->n_bin++ == 0) snprintf(l->only_bin, sizeof l->only_bin, "%s", d->d_name);
        l->n_gguf += ends_with(d->d_name, ".gguf");
        l->n_onnx += ends_with(d->d_name, ".onnx");
        l->n_tokenizer += strncmp(d->d_name, "tokenizer", 9) == 0 || strcmp(d->d_name, "vocab.json") == 0;
        l->is_adapter = l->is_adapter || strcmp(d->d_name, "adapter_config.json") == 0;
        l->is_hub_cache = l->is_hub_cache || strcmp(d->d_name, "snapshots") == 0;
    }
    closedir(dir);
    return EYE_OK;
}

/* No file of the usual names: the only safetensors file there, else PyTorch's only one, or an error that says what was found.
 * */
static enum eye_status open_only(struct eye_checkpoint *c, bool use_mmap, struct eye_err *err) {
    struct listing l;
    EYE_TRY(list_folder(c, &l, err));
    if (l.n_safetensors == 1) return open_shards(c, (const char *const[]){l.only}, 1, use_mmap, err);
    if (l.n_safetensors > 1)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %zu *.safetensors files but no %s that says which tensor is where", c->path,
                        l.n_safetensors, INDEX_NAME);
    if (l.n_bin == 1) return open_shards(c, (const char *const[]){l.only_bin}, 1, use_mmap, err);
    if (l.n_bin > 1)
        return eye_fail(err, EYE_E_CORRUPT,
                        "%s: %zu PyTorch files (.bin, .pth, .pt) but no %s, and no %s that says which tensor is "
                        "where", c->path, l.n_bin, TORCH_NAME, TORCH_INDEX_NAME);
    if (l.n_gguf) return eye_fail(err, EYE_E_ARG, "%s: no safetensors in this folder; name its .gguf file itself", c->path);
    return eye_fail(err, EYE_E_IO, "%s: no weights: expected model.safetensors, or %s and its shards", c->path, INDEX_NAME);
}

/* A folder without config.json: what people give in place of a checkpoint. */
static enum eye_status no_config(const struct eye_checkpoint *c, struct eye_err *err) {
    struct listing l;
    EYE_TRY(list_folder(c, &l, err));
    const char *found = "expected a checkpoint as Hugging Face keeps them: config.json, *.safetensors, tokenizer.json";
    if (l.n_tokenizer) found = "only a tokenizer; the checkpoint's other files belong beside it";
    if (l.n_safetensors || l.n_bin) found = "weights alone; the checkpoint's config.json and tokenizer.json belong beside them";
    if (l.n_onnx) found = "ONNX files; eyelet runs the checkpoint they were made from";
    if (l.is_adapter) found = "a LoRA adapter; merge it into its base model first (merge_and_unload, save_pretrained)";
    if (l.is_hub_cache) found = "a hub's cache; name the folder below snapshots/";
    if (l.n_gguf) found = "name its .gguf file itself";
    return eye_fail(err, EYE_E_IO, "%s: no config.json in this folder: %s", c->path, found);
}

static enum eye_status open_side_files(struct eye_checkpoint *c, bool use_mmap, struct eye_err *err) {
    size_t bytes = EYE_COUNT(side_names) * sizeof *c->side;
    if (!(c->side = eye_arena_alloc(&c->arena, bytes))) return eye_fail_nomem(err, bytes);
    for (size_t i = 0; i < EYE_COUNT(side_names); i++) {
        char *path = join(c, side_names[i], err);
        if (!path) return EYE_E_NOMEM;
        if (eye_path_exists(path)) EYE_TRY(eye_map_open(&c->side[i], path, use_mmap, MAX_SIDE_BYTES, err));
    }
    if (!c->side[0].path) return no_config(c, err);
    return eye_weights_sniff(c->side[0].path, c->side[0].p, c->side[0].size, err);
}

static enum eye_status open_folder(struct eye_checkpoint *c, bool use_mmap, struct eye_err *err) {
    EYE_TRY(open_side_files(c, use_mmap, err));
    static const char *const usual[][2] = {{"model.safetensors", INDEX_NAME}, {TORCH_NAME, TORCH_INDEX_NAME}};
    for (size_t i = 0; i < EYE_COUNT(usual); i++) {
        char *single = join(c, usual[i][0], err), *index = join(c, usual[i][1], err);
        if (!single || !index) return EYE_E_NOMEM;
        if (eye_path_exists(single)) return open_shards(c, &usual[i][0], 1, use_mmap, err);
        if (eye_path_exists(index)) return open_index(c, index, use_mmap, err);
    }
    return open_only(c, use_mmap, err);
}

/* ---- file ---- */

/* Endings no model has. */
static const struct { const char *end, *is; } strangers[] = {
    {".onnx", "an ONNX file"}, {".json", "one file of a checkpoint: name its folder"}, {".tflite", "a TensorFlow Lite file"},
    {".jpg", "a picture"},     {".jpeg", "a picture"},                                 {".png", "a picture"},
    {".webp", "a picture"},    {".zip", "an archive: unpack it"},                      {".gz", "an archive: unpack it"},
};

struct open_opts {
    const char *mmproj;
    bool use_mmap, takes_compiled;
};

/* Tower and projector of another file join the tensors and the configuration. */
static enum eye_status add_mmproj(struct eye_checkpoint *c, const char *path, bool use_mmap, struct eye_err *err) {
    if (c->no_files.code != EYE_OK || !c->made[EYE_GGUF_CONFIG].p)
        return eye_fail(err, c->no_files.code ? c->no_files.code : EYE_E_ARG, "%s: no place for --mmproj: %.300s", c->path,
                        c->no_files.code ? c->no_files.text : "it is a whole model");
    EYE_TRY(eye_gguf_open(&c->mmproj, path, use_mmap, c->arena.alloc, err));
    c->has_mmproj = true;
    struct eye_table *t = &c->mmproj.table;
    if (!eye_gguf_is_mmproj(&c->mmproj))
        return eye_fail(err, EYE_E_ARG, "%s: no vision tower of llama.cpp's: general.architecture is not \"clip\"", path);
    EYE_TRY(eye_gguf_mmproj_config(&c->mmproj, &c->gguf, c->made[EYE_GGUF_CONFIG], &c->arena, &c->made[EYE_GGUF_CONFIG], err));
    struct eye_entry *copy = eye_arena_alloc(&c->arena, (t->n + 1) * sizeof *copy);
    if (!copy) return eye_fail_nomem(err, t->n * sizeof *copy);
    for (size_t i = 0; i < t->n; i++) {
        copy[i] = t->entry[i];
        copy[i].name = eye_gguf_mmproj_name(&c->mmproj, i, &c->arena);
        if (!copy[i].name) return eye_fail_nomem(err, strlen(t->entry[i].name));
    }
    return index_table(c, &(struct eye_table){.where = t->where, .entry = copy, .n = t->n}, err);
}

/* Genie's decoders and eyelet's parts end in .bin as PyTorch's files do. */
static bool is_gguf_bin(const char *path) {
    struct eye_map map;
    if (!ends_with(path, ".bin") || eye_map_open(&map, path, true, 0, NULL) != EYE_OK) return false;
    bool yes = map.size >= 4 && memcmp(map.p, "GGUF", 4) == 0;
    eye_map_close(&map);
    return yes;
}

static enum eye_status open_compiled(struct eye_checkpoint *c, const struct open_opts *o, struct eye_err *err) {
    if (!o->takes_compiled)
        return eye_fail(err, EYE_E_ARG, "%s: a compiled file, which is for running only; give the model it was made from",
                        c->path);
    if (o->mmproj) return eye_fail(err, EYE_E_ARG, "%s: a compiled file is a whole model: it takes no --mmproj", c->path);
    EYE_TRY(eye_compiled_read(&c->compiled, &c->gguf, &c->arena, err));
    struct eye_table absent = {.where = c->path, .entry = c->compiled.absent, .n = c->compiled.n_absent};
    EYE_TRY(count_tensors(c, c->gguf.table.n + absent.n, err));
    EYE_TRY(index_table(c, &c->gguf.table, err));
    return index_table(c, &absent, err);
}

static enum eye_status open_file(struct eye_checkpoint *c, const struct open_opts *o, struct eye_err *err) {
    if (ends_with(c->path, ".safetensors") || (is_torch(c->path) && !is_gguf_bin(c->path)))
        return eye_fail(err, EYE_E_ARG, "%s: weights alone: name the folder that also holds config.json and the tokenizer",
                        c->path);
    for (size_t i = 0; i < EYE_COUNT(strangers); i++)
        if (ends_with(c->path, strangers[i].end))
            return eye_fail(err, EYE_E_ARG, "%s: %s; expected a checkpoint folder or a .gguf file", c->path, strangers[i].is);
    EYE_TRY(eye_gguf_open(&c->gguf, c->path, true, c->arena.alloc, err));
    c->is_gguf = true;
    c->n_shards = 1;
    c->is_compiled = eye_gguf_is_compiled(&c->gguf);
    if (c->is_compiled) return open_compiled(c, o, err); /* always mapped: who wants copies makes better ones */
    if (!o->use_mmap) {
        eye_gguf_close(&c->gguf);
        EYE_TRY(eye_gguf_open(&c->gguf, c->path, false, c->arena.alloc, err));
    }
    if (!eye_gguf_find(&c->gguf, EYE_CHECKPOINT_FILE_KEY "config.json")) /* its tensors can be listed all the same */
        c->no_files.code = eye_gguf_folder(&c->gguf, &c->arena, c->made, &c->no_files);
    size_t n_more = 0;
    if (o->mmproj) { /* opened twice, and cheap: to count */
        struct eye_gguf g;
        EYE_TRY(eye_gguf_open(&g, o->mmproj, o->use_mmap, c->arena.alloc, err));
        n_more = g.table.n;
        eye_gguf_close(&g);
    }
    EYE_TRY(count_tensors(c, c->gguf.table.n + n_more, err));
    EYE_TRY(index_table(c, &c->gguf.table, err));
    return o->mmproj ? add_mmproj(c, o->mmproj, o->use_mmap, err) : EYE_OK;
}

/* ---- the public part ---- */

enum eye_status eye_checkpoint_open(struct eye_checkpoint *out, const char *path, const struct eye_checkpoint_opts *opts,
                                    const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_checkpoint c = {0};
    struct open_opts o = {.mmproj = opts ? opts->mmproj : NULL, .use_mmap = !(opts && opts->no_mmap),
                          .takes_compiled = opts && opts->takes_compiled};
    enum eye_status st = EYE_E_NOMEM;
    eye_arena_init(&c.arena, alloc);
    eye_strmap_init(&c.index, alloc);
    if (!eye_path_exists(path)) return eye_fail(err, EYE_E_IO, "%s: no such file or folder", path);
    if (!(c.path = eye_arena_strdup(&c.arena, path, strlen(path))))
        eye_fail_nomem(err, strlen(path) + 1);
    else
        st = !eye_path_is_dir(path)  ? open_file(&c, &o, err)
             : o.mmproj ? eye_fail(err, EYE_E_ARG, "%s: a folder is a whole model; --mmproj goes with a .gguf of text", path)
                      : open_folder(&c, o.use_mmap, err);
    if (st == EYE_OK && opts && opts->tokenizer)
        st = eye_map_open(&c.tokenizer, opts->tokenizer, o.use_mmap, MAX_SIDE_BYTES, err);
    if (st != EYE_OK)
        eye_checkpoint_close(&c);
    else
        *out = c;
    return st;
}

void eye_checkpoint_close(struct eye_checkpoint *c) {
    for (size_t i = 0; c->side && i < EYE_COUNT(side_names); i++) eye_map_close(&c->side[i]);
    for (size_t i = c->is_gguf ? 0 : c->n_shards; i > 0; i--) eye_safetensors_close(&c->shard[i - 1]);
    eye_gguf_close(&c->gguf);
    eye_gguf_close(&c->mmproj);
    eye_map_close(&c->tokenizer);
    eye_strmap_clear(&c->index);
    eye_arena_clear(&c->arena);
    *c = (struct eye_checkpoint){0};
}

const struct eye_tensor *eye_checkpoint_find(const struct eye_checkpoint *c, const char *name) {
    int32_t i = eye_strmap_get(&c->index, name, strlen(name));
    return i < 0 ? NULL : &c->entry[i]->t;
}

bool eye_checkpoint_text(const struct eye_checkpoint *c, const char *name, const char **p, size_t *len) {
    if (c->tokenizer.path && strcmp(name, "tokenizer.json") == 0) {
        *p = c->tokenizer.p ? (const char *)c->tokenizer.p : "";
        *len = c->tokenizer.size;
        return true;
    }
    if (c->is_gguf) {
        for (size_t i = 0; i < EYE_GGUF_N_FILES; i++)
            if (c->made[i].p && c->no_files.code == EYE_OK && strcmp(name, eye_gguf_folder_names[i]) == 0) {
                *p = c->made[i].p;
                *len = c->made[i].len;
                return true;
            }
        char key[128];
        struct eye_str s;
        int n = snprintf(key, sizeof key, EYE_CHECKPOINT_FILE_KEY "%s", name);
        if (n < 0 || (size_t)n >= sizeof key || eye_gguf_str(&c->gguf, key, &s, NULL) != EYE_OK || !s.p) return false;
        *p = s.p;
        *len = s.len;
        return true;
    }
    for (size_t i = 0; i < EYE_COUNT(side_names); i++)
        if (strcmp(side_names[i], name) == 0 && c->side[i].path) {
            *p = c->side[i].p ? (const char *)c->side[i].p : "";
            *len = c->side[i].size;
            return true;
        }
    return false;
}
