/* eyelet convert: a checkpoint to one .gguf file, quantized as asked for. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "eyelet/convert.h"
#include "json.h"
#include "report.h"

struct convert_opts {
    const char *out, *mmproj, *calibration, *report, *judge;
    int32_t decoder, vision; /* enum eye_weight_type */
    int32_t method;          /* enum eye_range_method */
    float snr_db, decoder_snr_db;
    int32_t max_pairs;
    bool decoder_only, json, quiet;
};

static const char *const method_names[] = {"mse", "minmax", "percentile", NULL};

#define T struct convert_opts
static const struct arg convert_args[] = {
    {ARG_TEXT, 'o', "output", "FILE.gguf", "the file to write", offsetof(T, out)},
    {ARG_CHOICE, 0, "decoder", "TYPE", "matrices of the decoder", offsetof(T, decoder), .choices = cli_weight_names},
    {ARG_CHOICE, 0, "vision", "TYPE", "matrices of vision tower and projector", offsetof(T, vision),
     .choices = cli_weight_names},
    {ARG_TEXT, 0, "calibration", "DIR", "pictures and captions: the decoder is rounded for them, --vision int8 gets its ranges",
     offsetof(T, calibration)},
    {ARG_CHOICE, 0, "calibration-method", "HOW", "ranges of int8 activations", offsetof(T, method), .choices = method_names},
    {ARG_REAL, 0, "vision-snr", "DB", "--vision int8: what costs most gets 16 bits until features have this",
     offsetof(T, snr_db), 0, 80},
    {ARG_REAL, 0, "decoder-snr", "DB", "4-bit decoder with --calibration: matrices that would lose more become q8_0",
     offsetof(T, decoder_snr_db), 0, EYE_MAX_DECODER_SNR_DB},
    {ARG_INT, 0, "max-pairs", "N", "pictures used of a folder, spread evenly", offsetof(T, max_pairs), 1, 65536, .def = 64},
    {ARG_TEXT, 0, "report", "FILE", "what rounding cost, by matrix and on pictures; - = stdout; JSON with --json",
     offsetof(T, report)},
    {ARG_TEXT, 0, "judge", "DIR", "pictures for --report; left out: those of --calibration that it did not see",
     offsetof(T, judge)},
    MMPROJ_AT(T, mmproj),
    {ARG_FLAG, 0, "decoder-only", NULL, "no vision tower: a file that llama.cpp loads as it is", offsetof(T, decoder_only)},
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static void on_progress(void *ctx, double done) { ui_progress(ctx, "converting", done); }

static void on_judging(void *ctx, double done) { ui_progress(ctx, "comparing with the checkpoint", done); }

static int print_json(struct ui *ui, const char *out, const struct eye_convert_report *r, json_t *report) {
    json_t *o = json_pack("{s:o,s:I,s:I,s:I,s:I}", "file", json_outside(out), "tensors", (json_int_t)r->n_tensors, "bytes_in",
                          (json_int_t)r->bytes_in, "bytes_out", (json_int_t)r->bytes_out, "fallbacks",
                          (json_int_t)r->n_fallback);
    if (o && report) json_object_set_new(o, "report", report);
    return json_print(ui, o);
}

/* ---- --report ---- */

/* The file against its checkpoint, if there are pictures and the file is a whole model. */
static enum eye_status judge(struct ui *ui, const struct convert_opts *o, const char *checkpoint, struct report *r,
                             struct eye_quality *q, struct eye_err *err) {
    struct eye_quality_opts opts = {.pairs = o->judge ? o->judge : o->calibration, .max_pairs = (uint32_t)o->max_pairs,
                                    .per_layer = true, .progress = on_judging, .progress_ctx = ui, .cancel = ui_interrupted};
    if (!opts.pairs) r->why_not = "no pictures; give a folder of them with --judge";
    else if (o->decoder_only) r->why_not = "a decoder alone looks at no pictures";
    if (r->why_not) return EYE_OK;
    enum eye_status st = eye_quality_measure(checkpoint, o->out, &opts, q, err);
    ui_clear(ui);
    if (st == EYE_OK) r->quality = q;
    return st;
}

static int write_report(struct ui *ui, const struct convert_opts *o, const struct report *r) {
    FILE *f = fopen(o->report, "w");
    if (!f) return ui_failf(ui, "%s: %s", o->report, strerror(errno));
    json_t *j = o->json ? report_json(r) : NULL;
    if (o->json) json_dumpf(j, f, JSON_INDENT(1));
    else report_text(f, r);
    json_decref(j);
    bool bad = ferror(f) != 0;
    return fclose(f) != 0 || bad ? ui_failf(ui, "%s: %s", o->report, strerror(errno)) : EXIT_DONE;
}

static int print(struct ui *ui, const struct convert_opts *o, const struct report *r) {
    const struct eye_convert_report *c = r->convert;
    char in[32], out[32];
    bool here = o->report && strcmp(o->report, "-") == 0;
    if (o->report && !here && write_report(ui, o, r) != EXIT_DONE) return EXIT_FAILED;
    if (o->json) return print_json(ui, o->out, c, here ? report_json(r) : NULL);
    if (here) report_text(stdout, r);
    else
        printf("%s: %llu tensors, %s from %s\n", o->out, (unsigned long long)c->n_tensors,
               cli_bytes(c->bytes_out, out, sizeof out), cli_bytes(c->bytes_in, in, sizeof in));
    return EXIT_DONE;
}

static int finish(struct ui *ui, const struct convert_opts *o, const char *checkpoint, const struct eye_convert_report *c) {
    struct report r = {.convert = c};
    struct eye_quality q = {0};
    struct eye_err err = {0};
    if (o->report && judge(ui, o, checkpoint, &r, &q, &err) != EYE_OK) return ui_fail(ui, &err);
    int code = print(ui, o, &r);
    eye_quality_clear(&q);
    return code;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct convert_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_convert_report r;
    (void)n_operands;
    if (!o->out) return args_usage(&cmd_convert, "-o is missing: the .gguf file to write");
    if (o->judge && !o->report) return args_usage(&cmd_convert, "--judge shows in --report only");
    ui_init(&ui, o->quiet, false);
    struct eye_convert_opts copts = {
        .part = o->decoder_only ? EYE_CONVERT_DECODER : EYE_CONVERT_ALL, .mmproj = o->mmproj,
        .decoder_type = (enum eye_weight_type)o->decoder,
        .vision_type = (enum eye_weight_type)o->vision, .calibration = o->calibration, .max_pairs = (uint32_t)o->max_pairs,
        .range_method = (enum eye_range_method)o->method, .vision_snr_db = (double)o->snr_db,
        .decoder_snr_db = (double)o->decoder_snr_db,
        .per_tensor = o->report != NULL, .progress = on_progress, .progress_ctx = &ui, .cancel = ui_interrupted,
    };
    ui_catch_interrupt(); /* an unfinished file is removed */
    if (eye_convert(operand[0], o->out, &copts, &r, &err) != EYE_OK) return ui_fail(&ui, &err);
    ui_clear(&ui);
    if (r.warning[0]) ui_note(&ui, "warning: %s: %s", operand[0], r.warning);
    if (r.n_fallback)
        ui_note(&ui, "warning: %llu matrices (%s, …) have rows that the block does not divide: kept in another type",
                (unsigned long long)r.n_fallback, r.first_fallback);
    if (r.n_unreadable)
        ui_note(&ui, "warning: %llu pictures could not be read and were left out%s%s", (unsigned long long)r.n_unreadable,
                r.first_unreadable[0] ? "; the first: " : "", r.first_unreadable);
    if (r.n_int8 && (r.n_wide || r.n_int8 < r.n_could_int8))
        ui_note(&ui, "%llu of %llu layers of the vision tower and projector multiply int8, %llu of these inputs of 16 bits",
                (unsigned long long)r.n_int8, (unsigned long long)r.n_could_int8, (unsigned long long)r.n_wide);
    if (r.n_could_raise)
        ui_note(&ui, "%llu of %llu matrices of the decoder's layers are q8_0: in 4 bits their outputs would have less than "
                "%g dB", (unsigned long long)r.n_raised, (unsigned long long)r.n_could_raise, (double)o->decoder_snr_db);
    int code = finish(&ui, o, operand[0], &r);
    eye_convert_report_clear(&r);
    return code;
}

static const struct example examples[] = {
    {"A folder into one small file", "eyelet convert FastVLM-0.5B -o fastvlm.gguf --decoder q4_0 --vision bf16"},
    {"The decoder alone, for llama.cpp", "eyelet convert FastVLM-0.5B -o decoder.gguf --decoder q8_0 --decoder-only"},
    {"4 bits, rounded for pictures like yours, and what it cost",
     "eyelet convert FastVLM-0.5B -o fastvlm.gguf --decoder q4_0 --calibration pictures --report -"},
    {"4 bits where outputs keep 36 dB, 8 where they would not",
     "eyelet convert FastVLM-0.5B -o fastvlm.gguf --decoder q4_0 --calibration pictures --decoder-snr 36"},
    {"A vision tower that multiplies bytes",
     "eyelet convert FastVLM-0.5B -o fastvlm.gguf --vision int8 --calibration pictures"},
    {NULL, NULL},
};

const struct command cmd_convert = {
    .name = "convert",
    .usage = "CHECKPOINT -o FILE.gguf [--decoder TYPE] [--vision TYPE] [--calibration DIR] [--report FILE]",
    .summary = "pack a checkpoint into one .gguf file, quantized",
    .details = "A q4_0 or q4_k decoder keeps embedding and head as q8_0. Without --calibration the file runs like the\n"
               "checkpoint does with the same types.",
    .args = convert_args,
    .examples = examples,
    .opts_bytes = sizeof(struct convert_opts),
    .operand = "CHECKPOINT",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
