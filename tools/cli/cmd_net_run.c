/* eyelet net-run: qnn-net-run for the parts that "eyelet export genie" writes. */
#include <stdio.h>

#include "cli.h"
#include "eyelet/genie.h"

struct net_opts {
    const char *backend, *context, *input_list, *output_dir;
    int32_t n_inferences, n_threads;
    bool native_in, native_out, quiet;
};

#define T struct net_opts
static const struct arg net_args[] = {
    {ARG_TEXT, 0, "retrieve_context", "FILE", "vision_encoder.bin or embed_tokens.bin of \"eyelet export genie\"",
     offsetof(T, context)},
    {ARG_TEXT, 0, "input_list", "FILE", "an inference per line: PATH, or NAME:=PATH", offsetof(T, input_list)},
    {ARG_TEXT, 0, "output_dir", "DIR", "gets Result_0, Result_1, …; default output", offsetof(T, output_dir)},
    {ARG_FLAG, 0, "use_native_input_files", NULL, "files of the tensors' own types; else float32", offsetof(T, native_in)},
    {ARG_FLAG, 0, "use_native_output_files", NULL, "likewise", offsetof(T, native_out)},
    {ARG_INT, 0, "num_inferences", "N", "beginning anew after the last line; 0 = each line once", offsetof(T, n_inferences), 0,
     1 << 24},
    {ARG_TEXT, 0, "backend", "FILE", "taken and not read: it runs on this CPU", offsetof(T, backend)},
    {ARG_INT, 't', "threads", "N", "threads that compute; 0 = all processors", offsetof(T, n_threads), 0, 1024},
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct net_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_genie_part *net;
    uint32_t done;
    (void)operand, (void)n_operands;
    if (!o->context) return args_usage(&cmd_net_run, "--retrieve_context is missing");
    if (!o->input_list) return args_usage(&cmd_net_run, "--input_list is missing");
    ui_init(&ui, o->quiet, false);
    ui_catch_interrupt();
    struct eye_genie_part_run_opts r = {.input_list = o->input_list, .output_dir = o->output_dir ? o->output_dir : "output",
                            .native_inputs = o->native_in, .native_outputs = o->native_out,
                            .n_inferences = (uint32_t)o->n_inferences,
                            .cancel = ui_interrupted};
    if (eye_genie_part_open(o->context, o->n_threads, &net, &err) != EYE_OK) return ui_fail(&ui, &err);
    uint64_t begin = ui_now_us();
    int code = eye_genie_part_run(net, &r, &done, &err) == EYE_OK ? EXIT_DONE : ui_fail(&ui, &err);
    if (code == EXIT_DONE && ui.terminal) ui_note(&ui, "%u inferences, %.1f ms each", done, done
                                                  ? (double)(ui_now_us() - begin) / 1e3 / done : 0);
    eye_genie_part_close(net);
    return code;
}

static const struct example examples[] = {
    {"The vision step",
     "eyelet net-run --retrieve_context g/vision_encoder.bin --input_list run/vision_input_list.txt --output_dir "
         "run/vision_out"},
    {NULL, NULL},
};

const struct command cmd_net_run = {
    .name = "net-run",
    .usage = "--retrieve_context FILE --input_list FILE [--output_dir DIR] [OPTIONS]",
    .summary = "stand-in for qnn-net-run: raw files through one part of a model",
    .details = "Writes DIR/Result_N/NAME.raw (float32), or NAME_native.raw where the tensor has another type and native output "
        "is\n"
               "asked for. Called as qnn-net-run it is the same program.",
    .args = net_args, .examples = examples, .opts_bytes = sizeof(struct net_opts), .run = run,
};
