/* eyelet data check: what is wrong with a data set, before a training run finds out the hard way. */
#include <stdio.h>

#include "data.h"

struct check_opts {
    struct data_args data;
    bool no_images;
    int32_t n_threads;
};

#define T struct check_opts
static const struct arg check_args[] = {
    {ARG_FLAG, 0, "no-images", NULL, "captions only: no picture is opened", offsetof(T, no_images)},
    {ARG_INT, 't', "threads", "N", "threads that decode; 0 = all processors", offsetof(T, n_threads), 0, 1024},
    DATA_ARGS(T),
    {ARG_END},
};
#undef T

static int print(struct ui *ui, const struct check_opts *o, const struct eye_dataset *set, const struct eye_data_report *r) {
    size_t errors = data_count(r, EYE_DATA_ERROR), warnings = data_count(r, EYE_DATA_WARNING);
    if (o->data.json) {
        json_t *root = data_counts_json(set);
        json_object_set_new(root, "errors", json_integer((json_int_t)errors));
        json_object_set_new(root, "warnings", json_integer((json_int_t)warnings));
        json_object_set_new(root, "issues", data_issues_json(r));
        if (json_print(ui, root) != EXIT_DONE) return EXIT_FAILED;
    } else {
        data_print_counts(set);
        if (errors + warnings) putchar('\n');
        data_print_issues(r);
        printf("\n%zu errors, %zu warnings%s\n", errors, warnings, o->no_images ? "; pictures were not opened" : "");
    }
    return errors ? EXIT_FAILED : EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct check_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_dataset *set;
    struct eye_data_report report;
    ui_init(&ui, o->data.quiet, false);
    int code = data_open(&ui, &o->data, operand, n_operands, &set);
    if (code != EXIT_DONE) return code;
    struct eye_data_check_opts copts = {.no_images = o->no_images, .n_threads = o->n_threads, .progress = data_progress,
                                        .progress_ctx = &ui, .cancel = ui_interrupted};
    ui_catch_interrupt();
    enum eye_status st = eye_dataset_check(set, &copts, &report, &err);
    ui_clear(&ui);
    code = st == EYE_OK ? print(&ui, o, set, &report) : ui_fail(&ui, &err);
    eye_dataset_close(set);
    return code;
}

static const struct example examples[] = {
    {"Is it fit for training", "eyelet data check flickr8k"},
    {"For a script", "eyelet data check captions.tsv --images photos --json"},
    {NULL, NULL},
};

const struct command cmd_data_check = {
    .name = "data check",
    .usage = "LIST|DIR… [--no-images] [--json]",
    .summary = "unreadable pictures, duplicates across splits, leaking captions",
    .details = "Exit status 1 if there are errors, 0 if there are none or warnings only. What each finding means: doc/DATA.md.",
    .args = check_args, .examples = examples, .opts_bytes = sizeof(struct check_opts), .operand = DATA_OPERAND,
    .min_operands = 1, .max_operands = DATA_MAX_OPERANDS, .run = run,
};
