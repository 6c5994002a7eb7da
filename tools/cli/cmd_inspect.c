/* eyelet inspect: what a model or a file holds, and the memory it would need, before anything is allocated. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "eyelet/experimental.h"
#include "json.h"

struct inspect_opts {
    struct model_args model;
    bool json, no_tensors, metadata, check;
};

#define T struct inspect_opts
static const struct arg inspect_args[] = {
    JSON_ARG(T),
    {ARG_FLAG, 0, "no-tensors", NULL, "leave the list of tensors out", offsetof(T, no_tensors)},
    {ARG_FLAG, 0, "metadata", NULL, "the file's key-value metadata as well", offsetof(T, metadata)},
    {ARG_FLAG, 0, "check", NULL, "read all of a compiled file: are its bytes those that were written?", offsetof(T, check)},
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

struct totals { /* by dtype */
    const char *dtype[32];
    uint64_t bytes[32], count[32];
    size_t n;
};

static void count_types(const struct eye_listing *l, struct totals *t) {
    *t = (struct totals){0};
    for (size_t i = 0; i < eye_listing_n_tensors(l); i++) {
        struct eye_listed_tensor e;
        size_t k = 0;
        eye_listing_tensor(l, i, &e);
        while (k < t->n && strcmp(t->dtype[k], e.dtype) != 0) k++;
        if (k == sizeof t->dtype / sizeof t->dtype[0]) continue;
        if (k == t->n) t->dtype[t->n++] = e.dtype;
        t->bytes[k] += e.bytes;
        t->count[k]++;
    }
}

/* ---- JSON ---- */

static json_t *memory_json(const struct eye_memory *m) {
    return json_pack("{s:I,s:I,s:I,s:I,s:I}", "files", (json_int_t)m->files, "weights", (json_int_t)m->weights, "kv_cache",
                     (json_int_t)m->cache, "activations", (json_int_t)m->activations, "total", (json_int_t)m->total);
}

static json_t *model_json(const struct eye_model_info *i, const struct eye_memory *m) {
    json_t *o = json_pack("{s:s,s:s,s:s,s:I,s:I,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "architecture",
                          i->architecture, "tokenizer", i->tokenizer, "chat_template", i->chat_template, "parameters",
                          (json_int_t)i->n_params, "weight_bytes", (json_int_t)i->file_bytes, "vocab", i->n_vocab, "layers",
                          i->n_layers, "heads", i->n_heads, "kv_heads", i->n_kv_heads, "head_dim", i->head_dim, "hidden",
                          i->hidden, "ffn", i->ffn, "context_trained", i->n_ctx_trained, "context", i->n_ctx, "image_side",
                          i->image_side, "image_tokens", i->image_tokens, "vision_channels", i->vision_channels);
    json_object_set_new(o, "memory_bytes", memory_json(m));
    return o;
}

static json_t *tensors_json(const struct eye_listing *l) {
    json_t *list = json_array();
    for (size_t i = 0; i < eye_listing_n_tensors(l); i++) {
        struct eye_listed_tensor e;
        json_t *shape = json_array();
        eye_listing_tensor(l, i, &e);
        for (int32_t d = 0; d < e.rank; d++) json_array_append_new(shape, json_integer(e.dims[d]));
        json_array_append_new(list, json_pack("{s:o,s:s,s:o,s:I}", "name", json_outside(e.name), "dtype", e.dtype, "shape",
                                              shape, "bytes", (json_int_t)e.bytes));
    }
    return list;
}

static int print_json(struct ui *ui, const struct inspect_opts *o, const struct eye_listing *l,
                      const struct eye_model_info *info, const struct eye_memory *mem) {
    struct totals t;
    json_t *root = json_pack("{s:o,s:s}", "file", json_outside(o->model.path), "format", eye_listing_format(l)), *types = json_object();
    if (info) json_object_set_new(root, "model", model_json(info, mem));
    count_types(l, &t);
    for (size_t i = 0; i < t.n; i++)
        json_object_set_new(types, t.dtype[i],
                            json_pack("{s:I,s:I}", "tensors", (json_int_t)t.count[i], "bytes", (json_int_t)t.bytes[i]));
    json_object_set_new(root, "types", types);
    if (o->metadata) {
        json_t *meta = json_object();
        const char *key, *value;
        for (size_t i = 0; eye_listing_metadata(l, i, &key, &value); i++) json_object_set_new(meta, key, json_outside(value));
        json_object_set_new(root, "metadata", meta);
    }
    if (!o->no_tensors) json_object_set_new(root, "tensors", tensors_json(l));
    return json_print(ui, root);
}

/* ---- text ---- */

static void print_bytes(const char *what, uint64_t bytes) {
    char text[32];
    printf("  %-13s %12s\n", what, cli_bytes(bytes, text, sizeof text));
}

static void print_model(const struct eye_model_info *i, const struct eye_memory *m) {
    char text[32];
    printf("architecture    %s\n", i->architecture);
    printf("parameters      %.1f M, %s as stored\n", (double)i->n_params / 1e6, cli_bytes(i->file_bytes, text, sizeof text));
    printf("decoder         %d layers, hidden %d, ffn %d, %d heads of %d, %d of keys and values, vocabulary %d\n", i->n_layers,
           i->hidden, i->ffn, i->n_heads, i->head_dim, i->n_kv_heads, i->n_vocab);
    printf("context         %d (made for %d)\n", i->n_ctx, i->n_ctx_trained);
    if (i->image_side)
        printf("image           %d px, %d tokens, %d channels, %s\n", i->image_side, i->image_tokens, i->vision_channels,
               cli_fit_names[i->fit]);
    printf("tokenizer       %s; template %s\n", i->tokenizer, i->chat_template);
    printf("memory for one session, %d threads\n", i->n_threads);
    print_bytes("files", m->files);
    print_bytes("weights", m->weights);
    print_bytes("kv cache", m->cache);
    print_bytes("activations", m->activations);
    print_bytes("total", m->total);
}

static void print_tensors(const struct eye_listing *l) {
    int width = 4;
    for (size_t i = 0; i < eye_listing_n_tensors(l); i++) {
        struct eye_listed_tensor e;
        eye_listing_tensor(l, i, &e);
        if ((int)strlen(e.name) > width) width = (int)strlen(e.name);
    }
    printf("\n%-*s  %-6s %14s  %s\n", width, "name", "dtype", "bytes", "shape");
    for (size_t i = 0; i < eye_listing_n_tensors(l); i++) {
        struct eye_listed_tensor e;
        eye_listing_tensor(l, i, &e);
        printf("%-*s  %-6s %14llu  [", width, e.name, e.dtype, (unsigned long long)e.bytes);
        for (int32_t d = 0; d < e.rank; d++) printf("%s%lld", d ? ", " : "", (long long)e.dims[d]);
        printf("]\n");
    }
}

static void print_text(const struct inspect_opts *o, const struct eye_listing *l, const struct eye_model_info *info,
                       const struct eye_memory *mem) {
    struct totals t;
    char text[32];
    printf("file            %s\n", o->model.path);
    printf("format          %s, %zu tensors\n", eye_listing_format(l), eye_listing_n_tensors(l));
    if (info) print_model(info, mem);
    count_types(l, &t);
    printf("types          ");
    for (size_t i = 0; i < t.n; i++)
        printf("%s %s x %llu (%s)", i ? "," : "", t.dtype[i], (unsigned long long)t.count[i],
               cli_bytes(t.bytes[i], text, sizeof text));
    putchar('\n');
    if (o->metadata) {
        const char *key, *value;
        putchar('\n');
        for (size_t i = 0; eye_listing_metadata(l, i, &key, &value); i++) printf("%s = %s\n", key, value);
    }
    if (!o->no_tensors) print_tensors(l);
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

/* A lone .safetensors file is not a model: its tensors are listed and that is all. Anything else must open; a .gguf that does not
 * (types or an architecture we cannot run) is listed all the same, after the error and with its exit code. */
static int run(void *opts, char *const *operand, int n_operands) {
    struct inspect_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_listing *l = NULL;
    struct eye_model *model = NULL;
    struct eye_model_info info;
    struct eye_memory mem;
    char found[CLI_PATH_MAX];
    ui_init(&ui, o->model.quiet, o->model.verbose);
    const char *path = o->model.path = cli_model_path(&ui, n_operands ? operand[0] : NULL, found);
    if (!path) return EXIT_FAILED;
    if (eye_listing_open(path, &l, &err) != EYE_OK) return ui_fail(&ui, &err);
    if (o->check && eye_listing_check(l, &err) != EYE_OK) {
        eye_listing_close(l);
        return ui_fail(&ui, &err);
    }
    int code = ends_with(path, ".safetensors") ? EXIT_DONE : cli_open(&ui, &o->model, &model);
    if (code == EXIT_DONE && model) {
        eye_model_get_info(model, &info);
        if (eye_model_memory(model, 0, &mem, &err) != EYE_OK) code = ui_fail(&ui, &err);
    }
    if (code == EXIT_DONE || (!model && ends_with(path, ".gguf"))) {
        if (!o->json)
            print_text(o, l, model ? &info : NULL, &mem);
        else if (print_json(&ui, o, l, model ? &info : NULL, &mem) != EXIT_DONE)
            code = EXIT_FAILED;
    }
    eye_model_close(model);
    eye_listing_close(l);
    return code;
}

static const struct example examples[] = {
    {"What is in a model and the memory it needs", "eyelet inspect FastVLM-0.5B --no-tensors"},
    {"The same if it were quantized while loading", "eyelet inspect FastVLM-0.5B --no-tensors --decoder q4_0 --vision bf16"},
    {NULL, NULL},
};

const struct command cmd_inspect = {
    .name = "inspect",
    .usage = "[MODEL|FILE] [--json]",
    .summary = "what is in a model or file, and the memory it needs",
    .args = inspect_args,
    .examples = examples,
    .opts_bytes = sizeof(struct inspect_opts),
    .operand = "MODEL|FILE",
    .max_operands = 1,
    .run = run,
};
