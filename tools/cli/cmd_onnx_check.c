/* eyelet onnx check: a graph's inputs and outputs against a signature, before a compiler or a phone finds out. */
#include <stdio.h>

#include "onnx.h"

struct check_opts {
    const char *signature;
    struct arg_list dim;
    int32_t style, cache_len, layers;
    bool json;
};

static const char *const style_names[] = {"plain", "dot", "genie", NULL};

#define T struct check_opts
static const struct arg check_args[] = {
    {ARG_TEXT, 0, "signature", "NAME", "vision, vision-tower, projector, embedder, decoder, decoder-with-projection, prefill, "
     "decoder-kv, or a .json file", offsetof(T, signature)},
    {ARG_CHOICE, 0, "kv-style", "STYLE", "names and keys of the cache in prefill and decoder-kv", offsetof(T, style),
     .choices = style_names},
    {ARG_INT, 0, "cache-len", "N", "positions that the cache's inputs hold; 0 = as the graph has it", offsetof(T, cache_len), 0,
     INT32_MAX},
    {ARG_INT, 0, "layers", "N", "layers of the cache; 0 = as the graph has it", offsetof(T, layers), 0, 4096},
    {ARG_LIST, 0, "size", "NAME=N", "another size of the signature, \"hidden=896\"; may be repeated", offsetof(T, dim)},
    JSON_ARG(T),
    {ARG_END},
};
#undef T

static int print(struct ui *ui, const struct check_opts *o, const char *path, const struct eye_onnx_report *r) {
    char counts[256];
    if (o->json) {
        json_t *root = json_pack("{s:o,s:b,s:s?,s:I,s:I,s:o}", "file", json_outside(path), "ok", r->n == 0, "signature",
                                 r->signature, "inputs", (json_int_t)r->n_inputs, "outputs", (json_int_t)r->n_outputs,
                                 "findings", onnx_findings_json(r));
        if (root && r->dims) json_object_set_new(root, "sizes", json_outside(r->dims));
        if (json_print(ui, root) != EXIT_DONE) return EXIT_FAILED;
        return r->n ? EXIT_FAILED : EXIT_DONE;
    }
    const char *what = r->signature ? "Signature" : "Graph";
    if (r->n == 0) {
        printf("%s validation OK\nInputs validated: %zu\nOutputs validated: %zu\n", what, r->n_inputs, r->n_outputs);
        if (r->dims && *r->dims) printf("Sizes: %s\n", r->dims);
        return EXIT_DONE;
    }
    printf("%s validation FAILED\n", what);
    onnx_print_findings(r);
    onnx_count_findings(r, counts, sizeof counts);
    if (!r->signature) return ui_failf(ui, "%s: %s", path, counts);
    return ui_failf(ui, "%s: not as signature %s: %s", path, r->signature, counts);
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct check_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_onnx_report r;
    (void)n_operands;
    if (!o->signature && (o->cache_len || o->layers || o->dim.n))
        return args_usage(&cmd_onnx_check, "--cache-len, --layers and --size need a --signature");
    ui_init(&ui, false, false);
    struct eye_onnx_check_opts copts = {.signature = o->signature, .kv_style = (enum eye_onnx_kv_style)o->style,
                                        .cache_len = o->cache_len, .n_layers = o->layers, .dim = o->dim.item,
                                        .n_dims = (size_t)o->dim.n};
    if (eye_onnx_check(operand[0], &copts, &r, &err) != EYE_OK) return ui_fail(&ui, &err);
    int code = print(&ui, o, operand[0], &r);
    eye_onnx_report_clear(&r);
    return code;
}

static const struct example examples[] = {
    {"A decoder for Genie", "eyelet onnx check decoder.onnx --signature decoder-kv --kv-style genie --cache-len 1023"},
    {"Against what another file has",
     "eyelet onnx print good.onnx --signature > good.json; eyelet onnx check new.onnx --signature good.json"},
    {NULL, NULL},
};

const struct command cmd_onnx_check = {
    .name = "onnx check",
    .usage = "FILE [--signature NAME] [--kv-style STYLE] [--cache-len N] [--json]",
    .summary = "inputs and outputs against a signature: missing, unexpected, mismatched",
    .details = "Without --signature: does the graph make sense by itself, and are its weights there. Exit status 1 if\n"
               "anything is wrong. Signatures and their files: doc/ONNX.md.",
    .args = check_args, .examples = examples, .opts_bytes = sizeof(struct check_opts), .operand = "FILE",
    .min_operands = 1, .max_operands = 1, .run = run,
};
