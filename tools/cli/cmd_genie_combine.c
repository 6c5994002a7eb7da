/* eyelet genie combine: the rows of the steps to one sequence, and the configuration of a dialog for it. */
#include <stdio.h>

#include "cli.h"
#include "eyelet/genie.h"

struct combine_opts {
    const char *dir, *device_dir, *vision_info, *embed_info;
    int32_t n_predict;
    bool quiet;
};

#define T struct combine_opts
static const struct arg combine_args[] = {
    {ARG_TEXT, 'd', "genie", "DIR", "the folder of \"eyelet export genie\"", offsetof(T, dir)},
    {ARG_INT, 'n', "predict", "N", "tokens at most; 0 = as far as the context allows", offsetof(T, n_predict), 0, 1 << 24,
     .def = 256},
    {ARG_TEXT, 0, "device-dir", "PATH", "where DIR's files will lie when the dialog is run", offsetof(T, device_dir)},
    {ARG_TEXT, 0, "vision-info", "FILE", "JSON about the vision context binary in place of DIR's", offsetof(T, vision_info)},
    {ARG_TEXT, 0, "embed-info", "FILE", "JSON about the embedder's in place of DIR's", offsetof(T, embed_info)},
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct combine_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_genie_combined out;
    (void)n_operands;
    if (!o->dir) return args_usage(&cmd_genie_combine, "-d is missing: the folder of \"eyelet export genie\"");
    ui_init(&ui, o->quiet, false);
    struct eye_genie_combine c = {.n_predict = o->n_predict, .device_dir = o->device_dir,
                                  .vision_ctx_info = o->vision_info, .embed_ctx_info = o->embed_info};
    if (eye_genie_combine_run(o->dir, operand[0], &c, &out, &err) != EYE_OK) return ui_fail(&ui, &err);
    printf("%s/combined_embeddings_fp32.raw: %u rows, %u of the image; room for %u tokens\n", operand[0],
           out.n_image_rows + out.n_text_rows, out.n_image_rows, out.n_predict);
    return EXIT_DONE;
}

static const struct example examples[] = {
    {"After both net-runs", "eyelet genie combine -d fastvlm-genie run1 -n 128"},
    {NULL, NULL},
};

const struct command cmd_genie_combine = {
    .name = "genie combine",
    .usage = "-d DIR RUN [-n N]",
    .summary = "rows of vision_out and embed_out to one sequence for Genie",
    .details = "Reads RUN/tokens.json, RUN/vision_out and RUN/embed_out (the last Result_n); quantized rows become float32. "
        "Writes\n"
               "RUN/combined_embeddings_fp32.raw and RUN/genie_config.json.",
    .args = combine_args, .examples = examples, .opts_bytes = sizeof(struct combine_opts), .operand = "RUN", .min_operands = 1,
    .max_operands = 1, .run = run,
};
