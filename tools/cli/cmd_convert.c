/* eyelet convert: a checkpoint to one .gguf file, quantized as asked for. */
#include <stdio.h>

#include "cli.h"
#include "eyelet/convert.h"
#include "json.h"

struct convert_opts {
    const char *out, *calibration;
    int32_t decoder, vision; /* enum eye_weight_type */
    bool decoder_only, json, quiet;
};

#define T struct convert_opts
static const struct arg convert_args[] = {
    {ARG_TEXT, 'o', "output", "FILE.gguf", "the file to write", offsetof(T, out)},
    {ARG_CHOICE, 0, "decoder", "TYPE", "matrices of the decoder", offsetof(T, decoder), .choices = cli_weight_names},
    {ARG_CHOICE, 0, "vision", "TYPE", "matrices of vision tower and projector", offsetof(T, vision),
     .choices = cli_weight_names},
    {ARG_TEXT, 0, "calibration", "DIR", "round the decoder for these pictures and captions", offsetof(T, calibration)},
    {ARG_FLAG, 0, "decoder-only", NULL, "no vision tower: a file that llama.cpp loads as it is", offsetof(T, decoder_only)},
    {ARG_FLAG, 0, "json", NULL, "one JSON object", offsetof(T, json)},
    {ARG_FLAG, 'q', "quiet", NULL, "errors only", offsetof(T, quiet)},
    {ARG_END},
};
#undef T

static void on_progress(void *ctx, double done) { ui_progress(ctx, "converting", done); }

static int print_json(struct ui *ui, const char *out, const struct eye_convert_report *r) {
    return json_print(ui, json_pack("{s:o,s:I,s:I,s:I,s:I}", "file", json_outside(out), "tensors", (json_int_t)r->n_tensors,
                                    "bytes_in", (json_int_t)r->bytes_in, "bytes_out", (json_int_t)r->bytes_out, "fallbacks",
                                    (json_int_t)r->n_fallback));
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct convert_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_convert_report r;
    char in[32], out[32];
    (void)n_operands;
    if (!o->out) return args_usage(&cmd_convert, "-o is missing: the .gguf file to write");
    ui_init(&ui, o->quiet, false);
    struct eye_convert_opts copts = {
        .part = o->decoder_only ? EYE_CONVERT_DECODER : EYE_CONVERT_ALL, .decoder_type = (enum eye_weight_type)o->decoder,
        .vision_type = (enum eye_weight_type)o->vision, .calibration = o->calibration, .per_tensor = true, .progress = on_progress, .progress_ctx = &ui,
        .cancel = ui_interrupted,
    };
    ui_catch_interrupt(); /* an unfinished file is removed */
    if (eye_convert(operand[0], o->out, &copts, &r, &err) != EYE_OK) return ui_fail(&ui, &err);
    ui_clear(&ui);
    if (r.warning[0]) ui_note(&ui, "warning: %s: %s", operand[0], r.warning);
    if (r.n_fallback)
        ui_note(&ui, "warning: %llu matrices (%s, …) have rows that are no multiple of 32: kept as f16",
                (unsigned long long)r.n_fallback, r.first_fallback);
    if (o->json) return print_json(&ui, o->out, &r);
    printf("%s: %llu tensors, %s from %s\n", o->out, (unsigned long long)r.n_tensors, cli_bytes(r.bytes_out, out, sizeof out),
           cli_bytes(r.bytes_in, in, sizeof in));
    return EXIT_DONE;
}

static const struct example examples[] = {
    {"A folder into one small file", "eyelet convert FastVLM-0.5B -o fastvlm.gguf --decoder q4_0 --vision bf16"},
    {"The decoder alone, for llama.cpp", "eyelet convert FastVLM-0.5B -o decoder.gguf --decoder q8_0 --decoder-only"},
    {NULL, NULL},
};

const struct command cmd_convert = {
    .name = "convert",
    .usage = "CHECKPOINT -o FILE.gguf [--decoder TYPE] [--vision TYPE]",
    .summary = "pack a checkpoint into one .gguf file, quantized",
    .details = "A q4_0 decoder keeps embedding and head as q8_0. The file runs like the checkpoint does with the same types.",
    .args = convert_args,
    .examples = examples,
    .opts_bytes = sizeof(struct convert_opts),
    .operand = "CHECKPOINT",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
