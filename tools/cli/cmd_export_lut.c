/* eyelet export lut: the table of token embeddings as a raw file. */
#include <stdio.h>

#include "cli.h"
#include "eyelet/genie.h"
#include "json.h"

struct lut_opts {
    struct model_args model; /* path */
    const char *out;
    int32_t type;
    bool json, quiet;
};

static const char *const type_names[] = {"f32", "f16", "int8", NULL};
static const char *const argument_names[] = {"float32", "float16", "int8"}; /* Genie's --embedding_table */

#define T struct lut_opts
static const struct arg lut_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_TEXT, 'o', "output", "FILE", "the file to write: rows without a header", offsetof(T, out)},
    {ARG_CHOICE, 0, "type", "TYPE", "of its numbers", offsetof(T, type), .choices = type_names},
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct lut_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_lut_info i;
    char found[CLI_PATH_MAX];
    if (!o->out) return args_usage(&cmd_export_lut, "-o is missing: the file to write");
    ui_init(&ui, o->quiet, false);
    const char *model = cli_model_path(&ui, n_operands ? operand[0] : o->model.path, found);
    if (!model) return EXIT_FAILED;
    ui_catch_interrupt();
    if (eye_lut_export(model, o->out, (enum eye_lut_type)o->type, &i, &err) != EYE_OK) return ui_fail(&ui, &err);
    if (o->json)
        return json_print(&ui, json_pack("{s:o,s:s,s:I,s:I,s:I,s:f,s:f,s:f}", "file", json_outside(o->out), "type",
                                         argument_names[o->type], "rows", (json_int_t)i.rows, "columns", (json_int_t)i.columns,
                                         "bytes",
                                         (json_int_t)i.bytes, "scale", i.scale, "offset", i.offset, "relative_rms", i.rel_rms));
    printf("%s: %s [%llu, %llu]", o->out, argument_names[o->type], (unsigned long long)i.rows, (unsigned long long)i.columns);
    if (o->type == EYE_LUT_INT8) printf(", scale %.9g, offset %g", i.scale, i.offset);
    if (i.rel_rms > 0) printf(", relative error %.2g", i.rel_rms);
    putchar('\n');
    return EXIT_DONE;
}

static const struct example examples[] = {
    {"A quarter of the bytes", "eyelet export lut FastVLM-0.5B -o LUT_int8.bin --type int8"},
    {NULL, NULL},
};

const struct command cmd_export_lut = {
    .name = "export lut",
    .usage = "[MODEL] -o FILE [--type TYPE]",
    .summary = "the table of token embeddings as a raw file",
    .details = "int8: value = q scale; the scale is printed, and is what Genie's FILE,int8,SCALE,OFFSET wants.",
    .args = lut_args, .examples = examples, .opts_bytes = sizeof(struct lut_opts), .operand = "MODEL", .max_operands = 1,
    .run = run,
};
