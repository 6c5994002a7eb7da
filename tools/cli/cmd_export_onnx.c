/* eyelet export onnx: a checkpoint's parts as ONNX graphs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "eyelet/export.h"
#include "json.h"

struct export_opts {
    const char *model, *out, *mmproj, *step;
    struct arg_list graph;
    int32_t precision, opset, target, axes, kv_style, kv_out, mask, ids;
    int32_t image_side, pixels, int8, seq_len, cache_len;
    bool external, tower_only, last_logits, rope_inputs, json, quiet;
};

/* In the order of the enums of eyelet/export.h. */
static const char *const precisions[] = {"fp32", "fp16", NULL}, *const targets[] = {"plain", "qnn", NULL},
                  *const axes[] = {"auto", "static", "dynamic", NULL}, *const styles[] = {"plain", "dot", "genie", NULL},
                  *const kv_outs[] = {"new", "window", NULL}, *const masks[] = {"auto", "keys", "full", "added", NULL},
                  *const ids[] = {"int64", "int32", NULL}, *const pixels[] = {"nchw", "u8", "u8-flat", NULL},
                  *const int8_forms[] = {"numbers", "qdq", "encodings", NULL};

#define T struct export_opts
static const struct arg export_args[] = {
    {ARG_TEXT, 'o', "output", "DIR", "folder for the files", offsetof(T, out)},
    {ARG_LIST, 0, "graph", "NAME",
     "vision, projector, embedder, decoder, decoder-with-projection, prefill, decoder-kv, or all; may be repeated. "
     "Left out: vision, embedder and decoder-kv", offsetof(T, graph)},
    {ARG_CHOICE, 0, "precision", "TYPE", "weights, activations and interfaces", offsetof(T, precision), .choices = precisions},
    {ARG_INT, 0, "opset", "N", "version of ONNX's operators", offsetof(T, opset), 14, 18, .def = 17},
    {ARG_CHOICE, 0, "target", "WHAT", "who reads the graphs: any runtime, or Qualcomm's converter", offsetof(T, target),
     .choices = targets},
    {ARG_CHOICE, 0, "axes", "HOW", "sizes of batch, tokens and picture rows; auto: static for qnn", offsetof(T, axes),
     .choices = axes},
    {ARG_FLAG, 0, "external-data", NULL, "weights in a file of their own, also where one file could hold all",
     offsetof(T, external)},
    {ARG_TEXT, 'm', "model", "MODEL", "checkpoint folder or .gguf file, if it is not the operand; left out: the default model",
     offsetof(T, model)},
    MMPROJ_AT(T, mmproj),
    {ARG_GROUP, .help = "Vision"},
    {ARG_FLAG, 0, "no-projector", NULL, "vision ends before the projector", offsetof(T, tower_only)},
    {ARG_INT, 0, "image-side", "N", "pixels of the square the vision tower sees; 0 = the model's own", offsetof(T, image_side),
     0, 8192},
    {ARG_CHOICE, 0, "pixels", "FORM", "pixel_values: real numbers, or bytes [B,S,S,3] or [S S,3] that the graph normalises",
     offsetof(T, pixels), .choices = pixels},
    {ARG_CHOICE, 0, "int8", "FORM",
     "of an int8 tower: the numbers its weights stand for, QuantizeLinear and DequantizeLinear, or numbers and a JSON file of "
     "ranges", offsetof(T, int8), .choices = int8_forms},
    {ARG_GROUP, .help = "Decoder"},
    {ARG_FLAG, 0, "last-logits", NULL, "logits of the last row only", offsetof(T, last_logits)},
    {ARG_INT, 0, "seq-len", "N", "tokens of static graphs; 0 = 512, or what the model has", offsetof(T, seq_len), 0, 1 << 24},
    {ARG_INT, 0, "cache-len", "N", "decoder-kv: cached positions; 0 = 1023, or what the model has", offsetof(T, cache_len), 0,
     1 << 24},
    {ARG_TEXT, 0, "step", "LIST", "decoder-kv: new tokens per call, \"1,32,128\": a graph each, weights in common",
     offsetof(T, step)},
    {ARG_CHOICE, 0, "kv-style", "STYLE", "shape and names of keys and values", offsetof(T, kv_style), .choices = styles},
    {ARG_CHOICE, 0, "kv-out", "WHAT", "of new tokens only, or the whole cache moved on", offsetof(T, kv_out),
     .choices = kv_outs},
    {ARG_CHOICE, 0, "mask", "FORM", "decoder-kv: attention_mask; auto: keys for plain, else full", offsetof(T, mask),
     .choices = masks},
    {ARG_FLAG, 0, "rope-inputs", NULL, "decoder-kv: cos and sin as inputs, not position_ids", offsetof(T, rope_inputs)},
    {ARG_CHOICE, 0, "ids", "TYPE", "integers of the interfaces", offsetof(T, ids), .choices = ids},
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static void on_progress(void *ctx, double done) { ui_progress(ctx, "exporting", done); }

/* 0 = a usage error was printed. */
static bool parse_graphs(const struct arg_list *list, uint32_t *out) {
    const char *names[32];
    size_t n = 0;
    for (uint32_t g = 1; eye_export_graph_name(g); g <<= 1) names[n++] = eye_export_graph_name(g);
    names[n++] = "all";
    for (int32_t i = 0; i < list->n; i++) {
        size_t k = 0;
        while (k < n && strcmp(list->item[i], names[k]) != 0) k++;
        if (k == n) {
            const char *near = args_nearest(list->item[i], names, n);
            args_usage(&cmd_export_onnx, "--graph \"%s\" is not known%s%s", list->item[i], near ? ", did you mean " : "",
                       near ? near : "");
            return false;
        }
        *out |= k == n - 1 ? (uint32_t)EYE_EXPORT_ALL : 1U << k;
    }
    return true;
}

static bool parse_steps(const char *text, struct eye_export_opts *o) {
    while (text && *text) {
        char *end;
        long v = strtol(text, &end, 10);
        if (end == text || (*end && *end != ',') || v < 1 || v > INT32_MAX || o->n_steps == EYE_EXPORT_MAX_STEPS) {
            args_usage(&cmd_export_onnx, "--step is \"%s\" there, expected at most %d numbers with commas", text,
                       EYE_EXPORT_MAX_STEPS);
            return false;
        }
        o->step[o->n_steps++] = (int32_t)v;
        text = *end ? end + 1 : end;
    }
    return true;
}

static int print(struct ui *ui, const struct export_opts *o, const struct eye_export_report *r) {
    json_t *files = o->json ? json_array() : NULL;
    for (size_t i = 0; i < r->n_files; i++) {
        const struct eye_export_report_file *f = &r->file[i];
        char size[32], data[32], with[128] = "", int8[128] = "";
        if (o->json) {
            json_array_append_new(
                files, json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:s*,s:I,s:I,s:s*}", "file", f->name, "graph", f->graph, "nodes",
                                 (json_int_t)f->n_nodes, "inputs", (json_int_t)f->n_inputs, "outputs",
                                 (json_int_t)f->n_outputs, "bytes", (json_int_t)f->bytes, "data",
                                 *f->data_name ? f->data_name : NULL, "data_bytes", (json_int_t)f->data_bytes, "int8",
                                 (json_int_t)f->n_int8, "encodings", *f->encodings ? f->encodings : NULL));
            continue;
        }
        if (*f->data_name)
            snprintf(with, sizeof with, ", weights in %s (%s)", f->data_name, cli_bytes(f->data_bytes, data, sizeof data));
        if (f->n_int8)
            snprintf(int8, sizeof int8, ", %llu products int8%s%s", (unsigned long long)f->n_int8,
                     *f->encodings ? ", ranges in " : "", f->encodings);
        printf("%s: %s, %llu nodes, %llu inputs, %llu outputs, %s%s%s\n", f->name, f->graph, (unsigned long long)f->n_nodes,
               (unsigned long long)f->n_inputs, (unsigned long long)f->n_outputs, cli_bytes(f->bytes, size, sizeof size), with,
               int8);
    }
    return o->json ? json_print(ui, json_pack("{s:o,s:o}", "folder", json_outside(o->out), "files", files)) : EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct export_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_export_report r;
    char found[CLI_PATH_MAX];
    struct eye_export_opts x = {
        .mmproj = o->mmproj, .f16 = o->precision == 1, .opset = o->opset, .target = (enum eye_target)o->target,
        .axes = (enum eye_axes)o->axes, .external = o->external, .tower_only = o->tower_only, .image_side = o->image_side,
        .pixels = (enum eye_export_pixels)o->pixels, .int8 = (enum eye_export_int8)o->int8, .last_logits = o->last_logits,
        .seq_len = o->seq_len, .cache_len = o->cache_len, .kv_style = (enum eye_export_kv_style)o->kv_style,
        .kv_out = (enum eye_export_kv_out)o->kv_out, .mask = (enum eye_export_mask)o->mask, .rope_inputs = o->rope_inputs,
        .ids32 = o->ids == 1, .progress = on_progress, .progress_ctx = &ui, .cancel = ui_interrupted,
    };
    if (!o->out) return args_usage(&cmd_export_onnx, "-o is missing: the folder to write to");
    if (!parse_graphs(&o->graph, &x.graphs) || !parse_steps(o->step, &x)) return EXIT_USAGE;
    ui_init(&ui, o->quiet, false);
    const char *model = cli_model_path(&ui, n_operands ? operand[0] : o->model, found);
    if (!model) return EXIT_FAILED;
    ui_catch_interrupt(); /* unfinished files are removed */
    enum eye_status st = eye_export_onnx(model, o->out, &x, &r, &err);
    ui_clear(&ui);
    if (st != EYE_OK) return ui_fail(&ui, &err);
    if (r.warning[0]) ui_note(&ui, "warning: %s: %s", model, r.warning);
    return print(&ui, o, &r);
}

static const struct example examples[] = {
    {"What a phone's NPU needs: vision, embedder, a decoder with 1023 cached positions",
     "eyelet export onnx FastVLM-0.5B -o npu --precision fp16 --target qnn --kv-style genie"},
    {"Prompts in blocks of 128 tokens, answers one by one, weights once",
     "eyelet export onnx FastVLM-0.5B -o npu --graph decoder-kv --step 1,32,128"},
    {"An int8 vision tower for runtimes that know QDQ", "eyelet export onnx small.gguf -o npu --graph vision --int8 qdq"},
    {"Projector, embedder and decoder in one graph", "eyelet export onnx FastVLM-0.5B -o onnx --graph decoder-with-projection"},
    {NULL, NULL},
};

const struct command cmd_export_onnx = {
    .name = "export onnx",
    .usage = "[MODEL] -o DIR [--graph NAME]… [--precision fp16] [--target qnn] [--kv-style STYLE]",
    .summary = "write a checkpoint's parts as ONNX graphs",
    .details = "Names and shapes of inputs and outputs: doc/ONNX.md. Weights above 2 GiB, and weights that several graphs\n"
               "share, go to a .data file beside them.",
    .args = export_args,
    .examples = examples,
    .opts_bytes = sizeof(struct export_opts),
    .operand = "MODEL",
    .min_operands = 0,
    .max_operands = 1,
    .run = run,
};
