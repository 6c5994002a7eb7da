/* eyelet fastvlm compile: `export qai-hub` with the arguments of the field's script. */
#include <stdio.h>

#include "qai_hub.h"

struct compile_opts {
    struct arg_list onnx;
    const char *out, *prefix, *options, *device, *os;
    bool quiet;
};

#define T struct compile_opts
static const struct arg compile_args[] = {
    {ARG_LIST, 0, "onnx", "FILE", "graph to compile; may be repeated", offsetof(T, onnx)},
    {ARG_TEXT, 'o', "output-dir", "DIR", "folder for the script, and qaihub_bins in it; default \".\"", offsetof(T, out)},
    {ARG_TEXT, 0, "job-prefix", "TEXT", "in front of the jobs' names; default fastvlm_", offsetof(T, prefix)},
    {ARG_TEXT, 0, "options", "TEXT", "of the compile jobs; left out: what each graph needs", offsetof(T, options)},
    {ARG_TEXT, 0, "device", "NAME", "to compile for; default Snapdragon 8 Elite QRD", offsetof(T, device)},
    {ARG_TEXT, 0, "os", "VERSION", "its system's; default 15", offsetof(T, os)},
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct compile_opts *o = opts;
    struct ui ui;
    struct eye_qai_opts q = {.device = o->device, .os = o->os, .options = o->options,
                             .prefix = o->prefix ? o->prefix : "fastvlm_"};
    (void)operand, (void)n_operands;
    if (!o->onnx.n) return args_usage(&cmd_fastvlm_compile, "--onnx is missing: the graph");
    ui_init(&ui, o->quiet, false);
    return cli_qai_script(&ui, o->onnx.item, (size_t)o->onnx.n, o->out ? o->out : ".", &q, false);
}

static const struct example examples[] = {
    {"The decoder", "eyelet fastvlm compile --onnx npu/decoder_kv.onnx --output-dir npu; python3 npu/" EYE_QAI_SCRIPT},
    {NULL, NULL},
};

const struct command cmd_fastvlm_compile = {
    .name = "fastvlm compile",
    .usage = "--onnx FILE [--output-dir DIR] [--job-prefix TEXT] [--options TEXT]",
    .summary = "a script that compiles graphs on Qualcomm AI Hub",
    .details = "\"eyelet export qai-hub\" by another name: your own client sends it, eyelet opens no connection.",
    .args = compile_args, .examples = examples, .opts_bytes = sizeof(struct compile_opts), .run = run,
};
