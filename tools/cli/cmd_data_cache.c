/* eyelet data cache: the pictures of a data set decoded once, for training. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"

struct cache_opts {
    struct data_args data;
    const char *out, *pad;
    int32_t side, fit, resample, n_threads;
};

static const char *const fits[] = {"crop", "pad", "stretch", NULL};
static const enum eye_fit fit_values[] = {EYE_FIT_CROP, EYE_FIT_PAD, EYE_FIT_STRETCH};
static const char *const resamples[] = {"bicubic", "bilinear", "lanczos", NULL};

#define T struct cache_opts
static const struct arg cache_args[] = {
    {ARG_TEXT, 'o', "output", "FILE", "the cache to write", offsetof(T, out)},
    {ARG_INT, 0, "side", "N", "pixels of the squares", offsetof(T, side), 1, 2048, .def = 224},
    {ARG_CHOICE, 0, "preprocess", "HOW", "how a picture becomes square", offsetof(T, fit), .choices = fits},
    {ARG_CHOICE, 0, "resample", "HOW", "how it is scaled", offsetof(T, resample), .choices = resamples},
    {ARG_TEXT, 0, "pad-colour", "RRGGBB", "around a padded picture; left out: 000000", offsetof(T, pad)},
    {ARG_INT, 't', "threads", "N", "threads that decode; 0 = all processors", offsetof(T, n_threads), 0, 1024},
    DATA_ARGS(T),
    {ARG_END},
};
#undef T

static bool parse_colour(const char *text, uint8_t rgb[3]) {
    char *end;
    if (!text) return true;
    unsigned long v = strtoul(text, &end, 16);
    for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)(v >> (16 - 8 * c));
    return strlen(text) == 6 && strspn(text, "0123456789abcdefABCDEF") == 6;
}

static int print(struct ui *ui, const struct cache_opts *o, const struct eye_pixel_cache_result *r,
                 const struct eye_data_report *report) {
    char size[32];
    if (o->data.json)
        return json_print(ui, json_pack("{s:o,s:b,s:I,s:I,s:I,s:o}", "file", json_outside(o->out), "made", r->made, "pictures",
                                        (json_int_t)r->n_images, "unreadable", (json_int_t)r->n_unreadable, "bytes",
                                        (json_int_t)r->bytes, "issues", data_issues_json(report)));
    printf("%s: %zu pictures, %s%s\n", o->out, r->n_images, cli_bytes(r->bytes, size, sizeof size),
           r->made ? "" : "; up to date, every picture verified");
    if (r->n_unreadable) ui_note(ui, "warning: %zu pictures could not be read and will be left out", r->n_unreadable);
    for (int i = EYE_ISSUE_IMAGE_MISSING; i <= EYE_ISSUE_IMAGE_UNREADABLE; i++)
        for (size_t k = 0; k < report->row[i].n && k < EYE_DATA_N_EXAMPLES; k++) ui_note(ui, "  %s", report->row[i].example[k]);
    return EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct cache_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_dataset *set;
    struct eye_pixel_cache_result result;
    struct eye_data_report report = {0};
    struct eye_pixel_cache_opts copts = {.side = o->side, .fit = fit_values[o->fit], .resample = o->resample,
                                         .n_threads = o->n_threads, .progress = data_progress, .cancel = ui_interrupted};
    if (!o->out) return args_usage(&cmd_data_cache, "-o is missing: the cache to write");
    if (!parse_colour(o->pad, copts.pad))
        return args_usage(&cmd_data_cache, "--pad-colour is \"%s\", expected six hexadecimal digits", o->pad);
    ui_init(&ui, o->data.quiet, false);
    copts.progress_ctx = &ui;
    int code = data_open(&ui, &o->data, operand, n_operands, &set);
    if (code != EXIT_DONE) return code;
    ui_catch_interrupt(); /* an unfinished file is removed */
    enum eye_status st = eye_pixel_cache(o->out, set, &copts, &result, &report, &err);
    ui_clear(&ui);
    code = st == EYE_OK ? print(&ui, o, &result, &report) : ui_fail(&ui, &err);
    eye_dataset_close(set);
    return code;
}

static const struct example examples[] = {
    {"For a student that sees 224 pixels", "eyelet data cache flickr8k -o flickr8k.pixels --side 224"},
    {NULL, NULL},
};

const struct command cmd_data_cache = {
    .name = "data cache",
    .usage = "LIST|DIR… -o FILE [--side N] [--preprocess HOW]",
    .summary = "decode all pictures once, into one file that training maps",
    .details = "A cache that still fits (the list, the files' sizes and times, the options) is verified and kept.",
    .args = cache_args, .examples = examples, .opts_bytes = sizeof(struct cache_opts), .operand = DATA_OPERAND,
    .min_operands = 1, .max_operands = DATA_MAX_OPERANDS, .run = run,
};
