/* eyelet train: a student from a recipe: captions, or texts alone. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "training.h"

static const struct arg train_args[] = {TRAINING_ARGS};

static void print_keys(void *ctx, const char *text, size_t n) {
    (void)ctx;
    fwrite(text, 1, n, stdout);
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct training_args *a = opts;
    struct ui ui;
    ui_init(&ui, a->quiet, false);
    if (strcmp(operand[0], "keys") == 0) {
        eye_train_keys(print_keys, NULL);
        return ui_finish(&ui, EXIT_DONE);
    }
    bool lm = strcmp(operand[0], "lm") == 0, init = strcmp(operand[0], "init") == 0;
    if (!lm && !init && strcmp(operand[0], "caption") != 0)
        return args_usage(&cmd_train, "\"%s\", expected caption, lm, init or keys", operand[0]);
    if (n_operands < 2) return args_usage(&cmd_train, "the recipe is missing: a JSON file");
    if (init) return training_init(&cmd_train, a, operand[1]);
    return training_run(&cmd_train, a, operand[1], lm ? EYE_TRAIN_LM : EYE_TRAIN_CAPTION);
}

static const struct example examples[] = {
    {"Coloured shapes, drawn: needs no files", "eyelet train caption recipes/synth.json -o run"},
    {"Go on where it was stopped", "eyelet train caption recipes/synth.json -o run --resume"},
    {"Captions of photographs, shorter",
     "eyelet train caption recipes/flickr8k.json -o run --data ../shared/data --set stages.1.epochs=4"},
    {"All keys of a recipe", "eyelet train keys"},
    {NULL, NULL},
};

const struct command cmd_train = {
    .name = "train",
    .usage = "caption|lm|init RECIPE -o DIR [--data DIR] [--set KEY=VALUE]… [--resume]",
    .summary = "train a captioner or a language model from a recipe",
    .details = "The folder gets log.jsonl, report.html, checkpoints/, best/ and student/; the last two are models like any\n"
               "other. Ctrl-C saves and ends. init makes the student as it begins. Under mpirun the processes share the\n"
               "steps' batches (built with -Dmpi=enabled). See doc/TRAINING.md and doc/CLUSTER.md.",
    .args = train_args,
    .examples = examples,
    .opts_bytes = sizeof(struct training_args),
    .operand = "caption|lm|init|keys",
    .min_operands = 1,
    .max_operands = 2,
    .run = run,
};
