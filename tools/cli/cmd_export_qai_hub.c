/* eyelet export qai-hub: a script for the user's own qai-hub client: upload and compile jobs of ONNX graphs. */
#include <stdio.h>

#include "json.h"
#include "qai_hub.h"

struct qai_hub_opts {
    const char *out, *device, *os, *options, *prefix, *bins;
    struct arg_list dim;
    bool json, quiet;
};

#define T struct qai_hub_opts
static const struct arg qai_hub_args[] = {
    {ARG_TEXT, 'o', "output", "DIR", "folder for " EYE_QAI_SCRIPT "; made if absent", offsetof(T, out)},
    {ARG_TEXT, 0, "device", "NAME", "to compile for, as \"qai-hub list-devices\" has it; default Snapdragon 8 Elite QRD",
     offsetof(T, device)},
    {ARG_TEXT, 0, "os", "VERSION", "its system's; default 15", offsetof(T, os)},
    {ARG_TEXT, 0, "options", "TEXT", "of the compile jobs; left out: what each graph needs", offsetof(T, options)},
    {ARG_TEXT, 0, "job-prefix", "TEXT", "in front of the jobs' names", offsetof(T, prefix)},
    {ARG_TEXT, 0, "bins", "NAME", "folder for the binaries, beside the script; default qaihub_bins", offsetof(T, bins)},
    {ARG_LIST, 0, "size", "NAME=N", "what a symbolic dim is, \"batch_size=1\"; may be repeated", offsetof(T, dim)},
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

int cli_qai_script(struct ui *ui, const char *const *onnx, size_t n, const char *dir, const struct eye_qai_opts *opts,
                   bool json) {
    struct eye_qai_report r;
    struct eye_err err = {0};
    if (eye_qai_script(onnx, n, dir, opts, &r, &err) != EYE_OK) return ui_fail(ui, &err);
    json_t *list = json ? json_array() : NULL;
    for (size_t i = 0; i < r.n; i++) {
        const struct eye_qai_report_graph *g = &r.graph[i];
        if (g->n_refused)
            ui_note(ui, "warning: %s: %zu things that \"eyelet onnx lint --target qnn\" refuses", onnx[i], g->n_refused);
        if (json)
            json_array_append_new(list, json_pack("{s:s,s:s,s:I,s:I,s:I}", "graph", g->name, "options", g->options, "inputs",
                                                  (json_int_t)g->n_inputs, "outputs", (json_int_t)g->n_outputs, "refused",
                                                  (json_int_t)g->n_refused));
        else
            printf("%s: %zu inputs, %zu outputs, %s\n", g->name, g->n_inputs, g->n_outputs, g->options);
    }
    if (json)
        return json_print(ui, json_pack("{s:o,s:s,s:o}", "folder", json_outside(dir), "script", EYE_QAI_SCRIPT, "graphs",
                                        list));
    ui_note(ui, "next, where qai-hub is configured: python3 %s/%s", dir, EYE_QAI_SCRIPT);
    return EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct qai_hub_opts *o = opts;
    struct ui ui;
    struct eye_qai_opts q = {.device = o->device, .os = o->os, .options = o->options, .prefix = o->prefix, .bins = o->bins,
                             .dim = o->dim.item, .n_dims = (size_t)o->dim.n};
    if (!o->out) return args_usage(&cmd_export_qai_hub, "-o is missing: the folder of the script");
    ui_init(&ui, o->quiet, false);
    return cli_qai_script(&ui, (const char *const *)operand, (size_t)n_operands, o->out, &q, o->json);
}

static const struct example examples[] = {
    {"All parts that \"eyelet export onnx\" wrote to npu", "eyelet export qai-hub npu/*.onnx -o npu"},
    {"What would be sent", "python3 npu/" EYE_QAI_SCRIPT " --dry-run"},
    {NULL, NULL},
};

const struct command cmd_export_qai_hub = {
    .name = "export qai-hub",
    .usage = "GRAPH.onnx… -o DIR [OPTIONS]",
    .summary = "a script that compiles graphs on Qualcomm AI Hub",
    .details = "The script is for your own client and account: pip install qai-hub; qai-hub configure --api_token TOKEN.\n"
               "It uploads, compiles, waits and downloads; \"eyelet export qai-jobs\" reads the lists that it leaves.\n"
               "eyelet opens no connection.",
    .args = qai_hub_args, .examples = examples, .opts_bytes = sizeof(struct qai_hub_opts), .operand = "GRAPH.onnx",
    .min_operands = 1, .max_operands = EYE_QAI_MAX_GRAPHS, .run = run,
};
