/* eyelet data synth: pictures of coloured shapes with captions, drawn on the spot. */
#include <stdio.h>

#include "data.h"

struct synth_opts {
    const char *out;
    int32_t level, n_train, n_dev, n_test, side;
    uint64_t seed;
    bool json, quiet;
};

#define T struct synth_opts
static const struct arg synth_args[] = {
    {ARG_TEXT, 'o', "output", "DIR", "the folder to write; made if absent", offsetof(T, out)},
    {ARG_INT, 0, "level", "N", "objects in a picture", offsetof(T, level), 1, 3, .def = 1},
    {ARG_INT, 0, "train", "N", "pictures for training", offsetof(T, n_train), 0, 10000000, .def = 4000},
    {ARG_INT, 0, "dev", "N", "pictures for development", offsetof(T, n_dev), 0, 10000000, .def = 500},
    {ARG_INT, 0, "test", "N", "pictures for testing", offsetof(T, n_test), 0, 10000000, .def = 500},
    {ARG_INT, 0, "side", "N", "pixels of a side", offsetof(T, side), 16, 1024, .def = 64},
    {ARG_U64, 's', "seed", "SEED", "the same seed gives the same pictures", offsetof(T, seed)},
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct synth_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    (void)operand, (void)n_operands;
    if (!o->out) return args_usage(&cmd_data_synth, "-o is missing: the folder to write");
    struct eye_synth_opts s = {.level = o->level, .side = o->side, .seed = o->seed,
                               .n = {0, (size_t)o->n_train, (size_t)o->n_dev, (size_t)o->n_test}};
    size_t n = s.n[EYE_SPLIT_TRAIN] + s.n[EYE_SPLIT_DEV] + s.n[EYE_SPLIT_TEST];
    if (!n) return args_usage(&cmd_data_synth, "no pictures: --train, --dev and --test are all 0");
    ui_init(&ui, o->quiet, false);
    ui_catch_interrupt();
    enum eye_status st = eye_synth_write(o->out, &s, data_progress, ui_interrupted, &ui, &err);
    ui_clear(&ui);
    if (st != EYE_OK) return ui_fail(&ui, &err);
    if (o->json)
        return json_print(&ui, json_pack("{s:o,s:I,s:I}", "folder", json_outside(o->out), "pictures", (json_int_t)n, "captions",
                                         (json_int_t)(5 * n)));
    printf("%s: %zu pictures, %zu captions\n", o->out, n, 5 * n);
    return EXIT_DONE;
}

static const struct example examples[] = {
    {"A small set, and a look at it", "eyelet data synth -o shapes --train 1000 && eyelet data check shapes"},
    {"Two objects and how they stand", "eyelet data synth -o pairs --level 2 --seed 7"},
    {NULL, NULL},
};

const struct command cmd_data_synth = {
    .name = "data synth",
    .usage = "-o DIR [--level N] [--train N] [--dev N] [--test N] [--seed SEED]",
    .summary = "draw pictures of coloured shapes with captions that say what is there",
    .details = "Written are images/, dataset_synth.json (Karpathy's form) and annotations/captions_SPLIT.json (COCO's). No\n"
               "combination of colour, shape, size and place is in two splits. Training needs no files: a recipe without data\n"
               "draws the same pictures in memory.",
    .args = synth_args, .examples = examples, .opts_bytes = sizeof(struct synth_opts), .run = run,
};
