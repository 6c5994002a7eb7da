/* eyelet calibrate: pictures as the vision tower gets them, for tool chains that find ranges themselves. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "eyelet/calibrate.h"
#include "json.h"

struct calibrate_opts {
    const char *out, *images, *input, *list_dir, *model, *mmproj;
    int32_t layout, samples, image_side; /* layout: enum eye_sample_layout */
    uint64_t seed;
    bool random, json, quiet;
};

static const char *const layouts[] = {"nchw-f32", "nchw-f16", "nchw-u8", "hwc-f32", "hwc-f16", "hwc-u8", NULL};

#define T struct calibrate_opts
static const struct arg calibrate_args[] = {
    {ARG_TEXT, 'o', "output", "DIR", "folder for the samples and their list", offsetof(T, out)},
    {ARG_TEXT, 0, "images", "DIR", "folder of pictures", offsetof(T, images)},
    {ARG_INT, 0, "samples", "N", "pictures used, spread evenly", offsetof(T, samples), 1, 65536, .def = 64},
    {ARG_CHOICE, 0, "layout", "LAYOUT", "of a sample; u8: bytes that are not normalised", offsetof(T, layout),
     .choices = layouts},
    {ARG_TEXT, 0, "input", "NAME", "lines of the list name the graph's input: \"NAME:=path\"", offsetof(T, input)},
    {ARG_TEXT, 0, "list-dir", "DIR", "folder that paths in the list begin with, on a device say; left out: that of -o",
     offsetof(T, list_dir)},
    {ARG_INT, 0, "image-side", "N", "pixels of the square the vision tower sees; 0 = the model's own", offsetof(T, image_side),
     0, 8192},
    {ARG_FLAG, 0, "random", NULL, "noise in place of pictures, to try a tool chain out: its ranges are wrong for pictures",
     offsetof(T, random)},
    {ARG_U64, 's', "seed", "SEED", "of the noise", offsetof(T, seed)},
    {ARG_TEXT, 'm', "model", "MODEL", "checkpoint folder or .gguf file, if it is not the operand", offsetof(T, model)},
    MMPROJ_AT(T, mmproj),
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static void on_progress(void *ctx, double done) { ui_progress(ctx, "writing samples", done); }

static int print(struct ui *ui, const struct calibrate_opts *o, const struct eye_samples_report *r) {
    char size[32];
    if (!o->json) {
        printf("%s: %" PRIu64 " samples of %s each, %s, side %d\n", o->out, r->n_samples,
               cli_bytes(r->sample_bytes, size, sizeof size), layouts[o->layout], (int)r->side);
        return EXIT_DONE;
    }
    json_t *bad = json_array();
    for (uint64_t i = 0; i < r->n_unreadable; i++) json_array_append_new(bad, json_outside(r->unreadable[i]));
    return json_print(ui, json_pack("{s:o,s:I,s:I,s:i,s:s,s:b,s:I,s:o}", "folder", json_outside(o->out), "samples",
                                    (json_int_t)r->n_samples, "sample_bytes", (json_int_t)r->sample_bytes, "side", (int)r->side,
                                    "layout", layouts[o->layout], "random", o->random, "removed", (json_int_t)r->n_removed,
                                    "unreadable", bad));
}

static void warn(struct ui *ui, const struct calibrate_opts *o, const struct eye_samples_report *r) {
    for (uint64_t i = 0; i < r->n_unreadable; i++) ui_note(ui, "left out: %s", r->unreadable[i]);
    if (r->n_unreadable) ui_note(ui, "warning: %" PRIu64 " pictures cannot be read", r->n_unreadable);
    if (r->n_removed) ui_note(ui, "%" PRIu64 " samples of an earlier set were removed", r->n_removed);
    if (o->random) ui_note(ui, "warning: these samples are noise: ranges found on them are wrong for pictures");
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct calibrate_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_samples_report r;
    const char *model = n_operands ? operand[0] : o->model;
    struct eye_samples_opts s = {
        .pictures = o->images, .random = o->random, .seed = o->seed, .max_samples = (uint32_t)o->samples,
        .layout = (enum eye_sample_layout)o->layout, .input = o->input, .list_dir = o->list_dir, .image_side = o->image_side,
        .mmproj = o->mmproj, .progress = on_progress, .progress_ctx = &ui, .cancel = ui_interrupted,
    };
    if (!model) return args_usage(&cmd_calibrate, "MODEL is missing: a checkpoint folder or .gguf file");
    if (!o->out) return args_usage(&cmd_calibrate, "-o is missing: the folder to write to");
    if (!o->images && !o->random)
        return args_usage(&cmd_calibrate, "--images is missing: a folder of pictures (or --random, for noise)");
    if (o->images && o->random) return args_usage(&cmd_calibrate, "--images or --random, not both");
    ui_init(&ui, o->quiet, false);
    ui_catch_interrupt();
    enum eye_status st = eye_samples_write(model, o->out, &s, &r, &err);
    ui_clear(&ui);
    warn(&ui, o, &r);
    int code = st == EYE_OK ? print(&ui, o, &r) : ui_fail(&ui, &err);
    eye_samples_report_clear(&r);
    return code;
}

static const struct example examples[] = {
    {"For Qualcomm's converter: float samples of pictures and their list",
     "eyelet calibrate FastVLM-0.5B --images photos -o calibration"},
    {"Bytes for a graph that normalises itself, paths as on the phone",
     "eyelet calibrate FastVLM-0.5B --images photos -o set --layout hwc-u8 --input pixel_values --list-dir /data/local/tmp/set"},
    {NULL, NULL},
};

const struct command cmd_calibrate = {
    .name = "calibrate",
    .usage = "MODEL --images DIR -o DIR [--layout LAYOUT] [--samples N]",
    .summary = "write pictures as raw samples with a list, for other quantizers",
    .details = "DIR gets sample_000.raw and so on, input_list.txt, and samples.json, which says of which pictures. Samples of\n"
               "an earlier set are replaced. eyelet's own int8 takes pictures as they are:\n"
               "\"eyelet convert --vision int8 --calibration DIR\".",
    .args = calibrate_args,
    .examples = examples,
    .opts_bytes = sizeof(struct calibrate_opts),
    .operand = "MODEL",
    .max_operands = 1,
    .run = run,
};
