/* eyelet ctx-info: qnn-context-binary-utility for the parts that "eyelet export genie" writes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "eyelet/genie.h"

struct info_opts {
    const char *context, *json_file;
};

#define T struct info_opts
static const struct arg info_args[] = {
    {ARG_TEXT, 0, "context_binary", "FILE", "vision_encoder.bin or embed_tokens.bin of \"eyelet export genie\"",
     offsetof(T, context)},
    {ARG_TEXT, 0, "json_file", "FILE", "where the JSON goes; left out: standard output", offsetof(T, json_file)},
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct info_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    static char text[1 << 16];
    (void)operand, (void)n_operands;
    if (!o->context) return args_usage(&cmd_ctx_info, "--context_binary is missing");
    ui_init(&ui, false, false);
    if (eye_genie_part_read_info(o->context, text, sizeof text, &err) != EYE_OK) return ui_fail(&ui, &err);
    FILE *f = o->json_file ? fopen(o->json_file, "w") : stdout;
    if (!f) return ui_failf(&ui, "%s: %s", o->json_file, strerror(errno));
    fputs(text, f);
    bool bad = ferror(f) != 0;
    if (o->json_file && (fclose(f) != 0 || bad)) return ui_failf(&ui, "%s: %s", o->json_file, strerror(errno));
    return EXIT_DONE;
}

const struct command cmd_ctx_info = {
    .name = "ctx-info",
    .usage = "--context_binary FILE [--json_file FILE]",
    .summary = "stand-in for qnn-context-binary-utility: inputs and outputs as JSON",
    .details = "Scale and offset of quantized tensors: value = (q + offset) scale.",
    .args = info_args, .opts_bytes = sizeof(struct info_opts), .run = run,
};
