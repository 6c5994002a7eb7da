/* eyelet export genie: a checkpoint to the files that Genie and QNN take, and those that stand in for them. */
#include <stdio.h>

#include "cli.h"
#include "eyelet/genie.h"
#include "json.h"

struct genie_opts {
    struct model_args model; /* path, tokenizer */
    const char *out, *calibration;
    int32_t n_ctx, n_embed, n_threads, decoder, lut, vision, max_pictures, top_k;
    float temperature, top_p;
    uint64_t seed;
    bool json, quiet;
};

static const char *const float_names[] = {"f32", "f16", NULL}, *const lut_names[] = {"f32", "f16", "int8", NULL};

#define T struct genie_opts
static const struct arg genie_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_TEXT, 'o', "output", "DIR", "the folder to write; made if absent", offsetof(T, out)},
    {ARG_INT, 'c', "ctx-size", "N", "positions: image, prompt and answer; 0 = the model's own, at most 4096",
     offsetof(T, n_ctx),
                                                                                                                       0,
     1 << 24},
    {ARG_CHOICE, 0, "decoder", "TYPE", "matrices of decoder.bin", offsetof(T, decoder), .choices = float_names},
    {ARG_CHOICE, 0, "lut", "TYPE", "the table of token embeddings", offsetof(T, lut), .choices = lut_names},
    {ARG_CHOICE, 0, "vision", "TYPE", "the vision part; int8 takes and gives bytes", offsetof(T, vision),
     .choices = cli_weight_names},
    {ARG_TEXT, 0, "calibration", "DIR", "pictures that --vision int8 gets its ranges from", offsetof(T, calibration)},
    {ARG_INT, 0, "max-pictures", "N", "of it, spread evenly", offsetof(T, max_pictures), 1, 65536, .def = 64},
    {ARG_INT, 0, "embed-tokens", "N", "tokens the embedder takes at once; 0 = 512, at most the context", offsetof(T, n_embed),
     0,
     1 << 24},
    TOKENIZER_ARG(T),
    {ARG_GROUP, .help = "Values of the dialog's configuration"},
    {ARG_INT, 't', "threads", "N", "threads of the decoder", offsetof(T, n_threads), 1, 1024, .def = 6},
    {ARG_REAL, 0, "temp", "T", "temperature; 0 = greedy (default)", offsetof(T, temperature), 0, 1000},
    {ARG_INT, 0, "top-k", "K", "keep the K most likely tokens; 0 = all", offsetof(T, top_k), 0, INT32_MAX},
    {ARG_REAL, 0, "top-p", "P", "keep the most likely tokens up to probability P; 1 = all", offsetof(T, top_p), 0, 1, .def = 1},
    {ARG_U64, 's', "seed", "SEED", "of the draw", offsetof(T, seed)},
    {ARG_GROUP, .help = "Output"},
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static int print(struct ui *ui, const struct genie_opts *o, const struct eye_genie_report *r) {
    char bytes[32];
    if (o->json) {
        json_t *files = json_array();
        for (uint32_t i = 0; i < r->n_files; i++)
            json_array_append_new(files, json_pack("{s:s,s:I,s:s}", "file", r->file[i].name, "bytes",
                                                   (json_int_t)r->file[i].bytes, "sha256",
                                                   r->file[i].sha256));
        return json_print(ui, json_pack("{s:o,s:o,s:f}", "folder", json_outside(o->out), "files", files, "lut_relative_rms",
                                        r->lut.rel_rms));
    }
    for (uint32_t i = 0; i < r->n_files; i++)
        printf("%-28s %10s  %s\n", r->file[i].name, cli_bytes(r->file[i].bytes, bytes, sizeof bytes), r->file[i].what);
    if (r->lut.rel_rms > 0) ui_note(ui, "LUT.bin: relative error %.2g", r->lut.rel_rms);
    return EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct genie_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_genie_report r;
    char found[CLI_PATH_MAX];
    if (!o->out) return args_usage(&cmd_export_genie, "-o is missing: the folder to write");
    ui_init(&ui, o->quiet, false);
    const char *model = cli_model_path(&ui, n_operands ? operand[0] : o->model.path, found);
    if (!model) return EXIT_FAILED;
    struct eye_genie_opts g = {
        .n_ctx = o->n_ctx, .n_embed = o->n_embed, .n_threads = o->n_threads, .decoder = (enum eye_genie_float)o->decoder,
        .lut = (enum eye_lut_type)o->lut, .vision = (enum eye_weight_type)o->vision, .calibration = o->calibration,
        .max_pictures = (uint32_t)o->max_pictures, .temperature = o->temperature, .top_p = o->top_p, .top_k = o->top_k,
        .seed = o->seed,
        .tokenizer_json = o->model.tokenizer, .progress = ui_progress, .progress_ctx = &ui, .cancel = ui_interrupted,
    };
    ui_catch_interrupt();
    if (eye_genie_export(model, o->out, &g, &r, &err) != EYE_OK) return ui_fail(&ui, &err);
    ui_clear(&ui);
    return print(&ui, o, &r);
}

static const struct example examples[] = {
    {"Everything but what the vendor's tools make", "eyelet export genie FastVLM-0.5B -o fastvlm-genie --ctx-size 1024"},
    {"A vision part that takes and gives bytes, as the int8 context binary does",
     "eyelet export genie FastVLM-0.5B -o fastvlm-genie --vision int8 --calibration pictures"},
    {NULL, NULL},
};

const struct command cmd_export_genie = {
    .name = "export genie",
    .usage = "[MODEL] -o DIR [OPTIONS]",
    .summary = "a checkpoint to a folder for Genie: decoder, tables, configurations",
    .details = "Files: decoder.bin, LUT.bin, tokenizer.json, genie_config.json and genie_config_htp.json, "
        "composer_config.json,\n"
               "htp_backend_ext_config.json, parts for \"eyelet net-run\", manifest.json. doc/npu.md tells what each is for.",
    .args = genie_args, .examples = examples, .opts_bytes = sizeof(struct genie_opts), .operand = "MODEL", .max_operands = 1,
    .run = run,
};
