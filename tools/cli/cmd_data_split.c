/* eyelet data split: new splits for a data set, without leaks. */
#include <stdio.h>

#include "data.h"

struct split_opts {
    struct data_args data;
    const char *out;
    float dev, test;
    uint64_t seed;
    int32_t n_threads;
};

#define T struct split_opts
static const struct arg split_args[] = {
    {ARG_TEXT, 'o', "output", "DIR", "where train.txt, dev.txt and test.txt go; made if absent", offsetof(T, out)},
    {ARG_REAL, 0, "dev-share", "SHARE", "of the pictures, for development", offsetof(T, dev), 0, 1, .def = 0.1},
    {ARG_REAL, 0, "test-share", "SHARE", "of the pictures, for testing", offsetof(T, test), 0, 1, .def = 0.1},
    {ARG_U64, 's', "seed", "SEED", "the same seed gives the same splits", offsetof(T, seed)},
    {ARG_INT, 't', "threads", "N", "threads that decode; 0 = all processors", offsetof(T, n_threads), 0, 1024},
    DATA_ARGS(T),
    {ARG_END},
};
#undef T

static int print(struct ui *ui, const struct split_opts *o, const struct eye_data_split_result *r) {
    if (o->data.json)
        return json_print(ui, json_pack("{s:o,s:I,s:I,s:I,s:I,s:I}", "folder", json_outside(o->out), "train",
                                        (json_int_t)r->n[EYE_SPLIT_TRAIN], "dev", (json_int_t)r->n[EYE_SPLIT_DEV], "test",
                                        (json_int_t)r->n[EYE_SPLIT_TEST], "kept_together", (json_int_t)r->n_together,
                                        "unreadable", (json_int_t)r->n[EYE_SPLIT_NONE]));
    printf("%s: %zu pictures for training, %zu for development, %zu for testing; %zu kept with one that looks the same\n",
           o->out, r->n[EYE_SPLIT_TRAIN], r->n[EYE_SPLIT_DEV], r->n[EYE_SPLIT_TEST], r->n_together);
    if (r->n[EYE_SPLIT_NONE]) ui_note(ui, "warning: %zu pictures cannot be read and are in no list", r->n[EYE_SPLIT_NONE]);
    return EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct split_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_dataset *set;
    struct eye_data_split_result result;
    struct eye_data_split_opts s = {.dev = (double)o->dev, .test = (double)o->test, .seed = o->seed,
                                    .look = {.n_threads = o->n_threads, .progress = data_progress, .cancel = ui_interrupted}};
    if (!o->out) return args_usage(&cmd_data_split, "-o is missing: the folder for the lists");
    ui_init(&ui, o->data.quiet, false);
    s.look.progress_ctx = &ui;
    int code = data_open(&ui, &o->data, operand, n_operands, &set);
    if (code != EXIT_DONE) return code;
    ui_catch_interrupt();
    enum eye_status st = eye_dataset_split(set, &s, o->out, &result, NULL, &err);
    ui_clear(&ui);
    code = st == EYE_OK ? print(&ui, o, &result) : ui_fail(&ui, &err);
    eye_dataset_close(set);
    return code;
}

static const struct example examples[] = {
    {"Eight tenths for training", "eyelet data split captions.tsv -o lists"},
    {"And their use", "eyelet data check captions.tsv --train lists/train.txt --dev lists/dev.txt --test lists/test.txt"},
    {NULL, NULL},
};

const struct command cmd_data_split = {
    .name = "data split",
    .usage = "LIST|DIR… -o DIR [--dev-share SHARE] [--test-share SHARE] [--seed SEED]",
    .summary = "new splits in which pictures that look the same stay together",
    .details = "The lists name a picture a line, as --train, --dev and --test of the data commands and a recipe take them.",
    .args = split_args, .examples = examples, .opts_bytes = sizeof(struct split_opts), .operand = DATA_OPERAND,
    .min_operands = 1, .max_operands = DATA_MAX_OPERANDS, .run = run,
};
