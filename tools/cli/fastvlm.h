/* fastvlm: what the commands `fastvlm …` share: the steps of the NPU flow (doc/npu.md), one library call each, and the
 * variables under which the field's scripts take their arguments. */
#ifndef EYELET_CLI_FASTVLM_H
#define EYELET_CLI_FASTVLM_H

#include "cli.h"
#include "eyelet/genie.h"

struct flow { /* the options of a command */
    struct model_args model;
    const char *dir, *run, *calibration;
    int32_t n_predict, decoder, lut, vision, max_pictures, position;
    bool random, fresh, no_exif, json;
    char run_buf[CLI_PATH_MAX], model_buf[CLI_PATH_MAX]; /* set by flow_begin */
};
_Static_assert(sizeof(struct flow) <= ARG_MAX_OPTS, "options fit what main.c allocates");
extern const char *const flow_decoder_names[], *const flow_lut_names[], *const flow_vision_names[];

#define FLOW_ARGS(T) \
    MODEL_PATH_ARG(T), \
    {ARG_TEXT, 'd', "genie", "DIR", \
     "the exported folder, made where it is not there or older than the model; default fastvlm-genie", offsetof(T, dir)}, \
    {ARG_TEXT, 'o', "output", "RUN", "the run folder; left out: DIR/run_outputs/DATE_TIME", offsetof(T, run)}, \
    {ARG_INT, 'n', "predict", "N", "tokens at most; 0 = as far as the context allows", offsetof(T, n_predict), 0, 1 << 24, \
     .def = 256}, \
    IMAGE_POSITION_ARG(T, position), \
    NO_EXIF_ARG(T), \
    {ARG_FLAG, 0, "json", NULL, "one JSON object instead of text", offsetof(T, json)}, \
    {ARG_GROUP, .help = "Export"}, \
    {ARG_CHOICE, 0, "decoder-precision", "TYPE", "matrices of decoder.bin", offsetof(T, decoder), \
     .choices = flow_decoder_names}, \
    {ARG_CHOICE, 0, "lut", "TYPE", "the table of token embeddings", offsetof(T, lut), .choices = flow_lut_names}, \
    {ARG_CHOICE, 0, "vision-precision", "TYPE", "of the vision part; int8 needs --calibration, or --random", \
     offsetof(T, vision), .choices = flow_vision_names}, \
    {ARG_TEXT, 0, "calibration", "DIR", \
     "pictures that int8 gets its ranges from; also written as samples for other quantizers", offsetof(T, calibration)}, \
    {ARG_INT, 0, "max-pictures", "N", "of it, spread evenly", offsetof(T, max_pictures), 1, 65536, .def = 64}, \
    {ARG_FLAG, 0, "random", NULL, "noise in place of pictures, to try the flow out: its ranges are wrong for pictures", \
     offsetof(T, random)}, \
    {ARG_FLAG, 0, "fresh", NULL, "export anew", offsetof(T, fresh)}, \
    {ARG_GROUP, .help = "Model"}, \
    {ARG_INT, 't', "threads", "N", "threads that compute; 0 = all processors", offsetof(T, model.n_threads), 0, 1024}, \
    {ARG_INT, 'c', "ctx-size", "N", "positions: image, prompt and answer; 0 = the model's own, at most 4096", \
     offsetof(T, model.n_ctx), 0, 1 << 24}, \
    CHAT_TEMPLATE_ARG(T), \
    TOKENIZER_ARG(T), \
    {ARG_GROUP, .help = "Messages"}, \
    {ARG_FLAG, 'q', "quiet", NULL, "errors only", offsetof(T, model.quiet)}, \
    {ARG_FLAG, 'v', "verbose", NULL, "say what each step takes", offsetof(T, model.verbose)}

/* Where an argument is not given: a variable of the field's scripts (MODEL_DIR, IMAGE_PATH, …), or NULL. */
const char *flow_variable(const char *name);
/* The folders' names, MODEL_DIR, MAX_NEW_TOKENS, and the export if what is there is not of this model and options. */
int flow_begin(struct ui *ui, struct flow *f);
/* prepare: the picture and a prompt (NULL: the model's own question) to RUN's raw files. */
int flow_prepare(struct ui *ui, struct flow *f, struct eye_model *model, const char *image, const char *prompt, bool raw);
/* net-run of both parts, then combine; prefill_only as in eye_genie_combine. */
int flow_rows(struct ui *ui, const struct flow *f, bool prefill_only, struct eye_genie_combined *out);
/* A dialog by the configuration at path, with DIR's table. */
int flow_dialog(struct ui *ui, const struct flow *f, const char *path, struct eye_genie_dialog **dialog);
/* Prints pieces as they come, unless --json; what flow_answer then prints as an object. */
struct eye_genie_query flow_query(const struct flow *f);
int flow_answer(struct ui *ui, const struct flow *f, const struct eye_genie_dialog *d, const struct eye_genie_answer *a,
                const struct eye_genie_combined *rows);

#endif
