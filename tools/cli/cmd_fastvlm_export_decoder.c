/* eyelet fastvlm export-decoder: `export onnx --graph decoder-kv` with the signature that Genie's NPU engine wants, then
 * `onnx check`. */
#include <stdio.h>
#include <stdlib.h>

#include "eyelet/export.h"
#include "fastvlm.h"
#include "onnx.h"

struct decoder_opts {
    const char *model, *out;
    int32_t cache_len, opset, dtype, style;
    bool positions, quiet;
};

static const char *const dtype_names[] = {"fp16", "fp32", NULL}, *const style_names[] = {"genie", "dot", "plain", NULL};

#define T struct decoder_opts
static const struct arg decoder_args[] = {
    {ARG_TEXT, 'm', "model-dir", "MODEL", "checkpoint folder or .gguf file; left out: MODEL_DIR, else the default model",
     offsetof(T, model)},
    {ARG_TEXT, 'o', "output-dir", "DIR", "folder for the files; default fastvlm-npu", offsetof(T, out)},
    {ARG_INT, 0, "cache-len", "N", "cached positions; the context is one more", offsetof(T, cache_len), 1, 1 << 24,
     .def = 1023},
    {ARG_INT, 0, "opset", "N", "version of ONNX's operators", offsetof(T, opset), 14, 18, .def = 17},
    {ARG_CHOICE, 0, "dtype", "TYPE", "weights, activations and interfaces", offsetof(T, dtype), .choices = dtype_names},
    {ARG_CHOICE, 0, "kv-style", "STYLE", "shape and names of keys and values", offsetof(T, style), .choices = style_names},
    {ARG_FLAG, 0, "position-ids", NULL, "positions as numbers, also in genie's style, which wants cosines and sines",
     offsetof(T, positions)},
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static void on_progress(void *ctx, double done) { ui_progress(ctx, "exporting", done); }

/* Did the graph become what it should? The check is of a stranger: by the file alone. */
static int check(struct ui *ui, const char *path, enum eye_onnx_kv_style style, int64_t cache_len) {
    struct eye_onnx_check_opts o = {.signature = "decoder-kv", .kv_style = style, .cache_len = cache_len};
    struct eye_onnx_report r;
    struct eye_err err = {0};
    char counts[256];
    if (eye_onnx_check(path, &o, &r, &err) != EYE_OK) return ui_fail(ui, &err);
    int code = EXIT_DONE;
    if (r.n) {
        onnx_print_findings(&r);
        code = ui_failf(ui, "%s: not as signature decoder-kv: %s", path, onnx_count_findings(&r, counts, sizeof counts));
    } else {
        printf("%s\nSignature validation OK\nInputs validated: %zu\nOutputs validated: %zu\n", path, r.n_inputs, r.n_outputs);
    }
    eye_onnx_report_clear(&r);
    return code;
}

static int run(void *opts, char *const *operand, int n_operands) {
    static const struct { enum eye_export_kv_style out; enum eye_onnx_kv_style check; } styles[] = {
        {EYE_EXPORT_KV_GENIE, EYE_ONNX_KV_GENIE}, {EYE_EXPORT_KV_DOT, EYE_ONNX_KV_DOT},
        {EYE_EXPORT_KV_PLAIN, EYE_ONNX_KV_PLAIN}};
    const struct decoder_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_export_report r;
    char found[CLI_PATH_MAX], path[CLI_PATH_MAX + 128];
    const char *out = o->out ? o->out : "fastvlm-npu";
    (void)operand, (void)n_operands;
    ui_init(&ui, o->quiet, false);
    const char *model = cli_model_path(&ui, o->model ? o->model : flow_variable("MODEL_DIR"), found);
    if (!model) return EXIT_FAILED;
    struct eye_export_opts x = {.graphs = EYE_EXPORT_KV, .f16 = o->dtype == 0, .opset = o->opset, .target = EYE_TARGET_QNN,
                                .cache_len = o->cache_len, .kv_style = styles[o->style].out,
                                .rope_inputs = o->style == 0 && !o->positions, .progress = on_progress, .progress_ctx = &ui,
                                .cancel = ui_interrupted};
    ui_catch_interrupt();
    enum eye_status st = eye_export_onnx(model, out, &x, &r, &err);
    ui_clear(&ui);
    if (st != EYE_OK) return ui_fail(&ui, &err);
    snprintf(path, sizeof path, "%s/%s", out, r.file[0].name);
    return check(&ui, path, styles[o->style].check, o->cache_len);
}

static const struct example examples[] = {
    {"For Genie on the NPU", "eyelet fastvlm export-decoder --model-dir FastVLM-0.5B --output-dir npu"},
    {"Then", "eyelet fastvlm compile --onnx npu/decoder_kv.onnx --output-dir npu"},
    {NULL, NULL},
};

const struct command cmd_fastvlm_export_decoder = {
    .name = "fastvlm export-decoder",
    .usage = "[--model-dir MODEL] [--output-dir DIR] [--cache-len N] [OPTIONS]",
    .summary = "the decoder for Genie's NPU engine as ONNX, its signature checked",
    .details = "\"eyelet export onnx --graph decoder-kv --target qnn --precision fp16 --kv-style genie --rope-inputs\", then\n"
               "\"eyelet onnx check\"; nothing to rename or to patch behind it. More forms: \"eyelet help export onnx\".",
    .args = decoder_args, .examples = examples, .opts_bytes = sizeof(struct decoder_opts), .run = run,
};
