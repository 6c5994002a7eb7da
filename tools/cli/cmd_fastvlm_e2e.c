/* eyelet fastvlm e2e: a picture and a question through the whole NPU flow, from the checkpoint to the answer, on this machine:
 * export genie, calibrate, genie prepare, net-run twice, genie combine, genie-t2t-run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastvlm.h"

#define T struct flow
static const struct arg e2e_args[] = {
    FLOW_ARGS(T),
    {ARG_END},
};
#undef T

static int choose(const char *what, const char *word, const char *const *names, int32_t *out) {
    for (int32_t i = 0; names[i]; i++)
        if (strcmp(names[i], word) == 0) return *out = i, EXIT_DONE;
    return args_usage(&cmd_fastvlm_e2e, "%s is \"%s\", expected %s or %s (the vendor's packed types are not public)", what,
                      word, names[0], names[1]);
}

static int take_number(const char *what, const char *word, int32_t *out) {
    char *end;
    long v = strtol(word, &end, 10);
    if (end == word || *end || v < 0 || v > 1 << 24)
        return args_usage(&cmd_fastvlm_e2e, "%s is \"%s\", expected a whole number", what, word);
    *out = (int32_t)v;
    return EXIT_DONE;
}

/* max_new, image_size, decoder_precision, vision_precision: in the order in which scripts of the field give them. */
static int take_operands(struct flow *f, char *const *operand, int n) {
    static const char *const vision[] = {"fp16", "int8", NULL};
    int32_t v = 0;
    int code = n > 2 ? take_number("max_new", operand[2], &f->n_predict) : EXIT_DONE;
    if (code == EXIT_DONE && n > 3) code = take_number("image_size", operand[3], &f->model.image_side);
    if (code == EXIT_DONE && n > 4) code = choose("decoder_precision", operand[4], flow_decoder_names, &f->decoder);
    if (code == EXIT_DONE && n > 5) code = choose("vision_precision", operand[5], vision, &v);
    if (code == EXIT_DONE && n > 5) f->vision = v + 1;
    return code;
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct flow *f = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_model *m = NULL;
    struct eye_genie_dialog *d;
    struct eye_genie_answer a;
    struct eye_genie_combined rows = {0};
    char path[CLI_PATH_MAX + 32];
    const char *image = n_operands ? operand[0] : flow_variable("IMAGE_PATH");
    const char *prompt = n_operands > 1 ? operand[1] : flow_variable("PROMPT");
    int code = take_operands(f, operand, n_operands);
    if (code != EXIT_DONE) return code;
    if (!image) return args_usage(&cmd_fastvlm_e2e, "IMAGE is missing");
    ui_init(&ui, f->model.quiet, f->model.verbose);
    code = flow_begin(&ui, f);
    if (code == EXIT_DONE) code = cli_open(&ui, &f->model, &m);
    if (code == EXIT_DONE) code = flow_prepare(&ui, f, m, image, prompt, false);
    eye_model_close(m);
    if (code == EXIT_DONE) code = flow_rows(&ui, f, false, &rows);
    snprintf(path, sizeof path, "%s/genie_config.json", f->run);
    if (code == EXIT_DONE) code = flow_dialog(&ui, f, path, &d);
    if (code != EXIT_DONE) return code;
    struct eye_genie_query q = flow_query(f);
    snprintf(path, sizeof path, "%s/combined_embeddings_fp32.raw", f->run);
    code = eye_genie_query_embedding(d, path, &q, &a, &err) == EYE_OK ? flow_answer(&ui, f, d, &a, &rows) : ui_fail(&ui, &err);
    eye_genie_dialog_close(d);
    return code;
}

static const struct example examples[] = {
    {"From a checkpoint to an answer", "eyelet fastvlm e2e photo.jpg \"What is this?\" -m FastVLM-0.5B"},
    {"As scripts of the field call it",
     "MODEL_DIR=FastVLM-0.5B eyelet fastvlm e2e photo.jpg \"What is this?\" 50 1024 fp32 fp16"},
    {"A vision part that takes and gives bytes",
     "eyelet fastvlm e2e photo.jpg -m FastVLM-0.5B --vision-precision int8 --calibration pictures"},
    {NULL, NULL},
};

const struct command cmd_fastvlm_e2e = {
    .name = "fastvlm e2e",
    .usage = "IMAGE [PROMPT [max_new [image_size [decoder_precision [vision_precision]]]]] [-m MODEL] [OPTIONS]",
    .summary = "the whole NPU flow on this machine: checkpoint, picture, answer",
    .details = "Steps: export genie (once), calibrate (if asked), genie prepare, net-run twice, genie combine, genie-t2t-run;\n"
               "each leaves its files in DIR and RUN (doc/npu.md). On a phone: \"eyelet device run\" with the same DIR. Where\n"
               "an argument is left out, variables of the field's scripts count: MODEL_DIR, IMAGE_PATH, PROMPT,\n"
               "MAX_NEW_TOKENS.",
    .args = e2e_args, .examples = examples, .opts_bytes = sizeof(struct flow), .operand = "IMAGE PROMPT", .max_operands = 6,
    .run = run,
};
