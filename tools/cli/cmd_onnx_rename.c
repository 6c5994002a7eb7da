/* eyelet onnx rename: other names for tensors, everywhere they occur. */
#include <stdio.h>
#include <string.h>

#include "onnx.h"

struct rename_opts {
    int32_t to, layers;
    bool json, quiet;
};

static const char *const names[] = {"auto", "genie", "plain", NULL};

#define T struct rename_opts
static const struct arg rename_args[] = {
    {ARG_CHOICE, 0, "to", "STYLE", "names of the cache: genie past_key_0_in, plain past_key_values.0.key; auto: genie unless "
     "there are pairs", offsetof(T, to), .choices = names},
    {ARG_INT, 0, "layers", "N", "there must be so many; 0 = as many as there are", offsetof(T, layers), 0, 4096},
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct rename_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    size_t n;
    ui_init(&ui, o->quiet, false);
    for (int i = 2; i < n_operands; i++)
        if (!strchr(operand[i], '=')) return args_usage(&cmd_onnx_rename, "\"%s\": expected FROM=TO", operand[i]);
    bool style = o->to != 0 || n_operands == 2;
    struct eye_onnx_rename_opts ropts = {
        .names = !style ? EYE_ONNX_NAMES_ASIS : o->to == 2 ? EYE_ONNX_NAMES_PLAIN : EYE_ONNX_NAMES_GENIE,
        .pair = (const char *const *)operand + 2, .n_pairs = (size_t)n_operands - 2, .n_layers = o->layers};
    if (eye_onnx_rename(operand[0], operand[1], &ropts, &n, &err) != EYE_OK) return ui_fail(&ui, &err);
    if (o->json)
        return json_print(&ui, json_pack("{s:o,s:I}", "file", json_outside(operand[1]), "renamed", (json_int_t)n));
    ui_note(&ui, "%zu tensors renamed", n);
    printf("Wrote renamed ONNX: %s\n", operand[1]);
    return EXIT_DONE;
}

static const struct example examples[] = {
    {"A decoder's cache under Genie's names", "eyelet onnx rename decoder.onnx renamed.onnx --to genie --layers 24"},
    {"One tensor, in place", "eyelet onnx rename vision.onnx vision.onnx image_features=output_0"},
    {NULL, NULL},
};

const struct command cmd_onnx_rename = {
    .name = "onnx rename",
    .usage = "IN OUT [FROM=TO…] [--to genie|plain] [--layers N]",
    .summary = "rename tensors of an ONNX file, everywhere they occur",
    .details = "Fails if nothing matched, or if two tensors would get one name. OUT may be IN. In another folder the data\n"
               "files are copied to OUT.data.",
    .args = rename_args, .examples = examples, .opts_bytes = sizeof(struct rename_opts), .operand = "IN OUT",
    .min_operands = 2, .max_operands = 258, .run = run,
};
