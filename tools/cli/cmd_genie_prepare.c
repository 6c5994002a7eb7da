/* eyelet genie prepare: a picture and a prompt to the raw files that the steps of the NPU flow take. */
#include <stdio.h>

#include "cli.h"
#include "eyelet/genie.h"
#include "eyelet/image.h"

struct prepare_opts {
    struct model_args model;
    const char *dir, *out, *prompt, *device_dir;
    struct arg_list image;
    int32_t position;
    bool raw, no_exif;
};

#define T struct prepare_opts
static const struct arg prepare_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_TEXT, 'd', "genie", "DIR", "the folder of \"eyelet export genie\"", offsetof(T, dir)},
    {ARG_LIST, 'i', "image", "FILE", "picture, \"-\" for standard input; at most one", offsetof(T, image)},
    {ARG_TEXT, 'p', "prompt", "TEXT", "what to ask; left out: a description of the image", offsetof(T, prompt)},
    {ARG_TEXT, 'o', "output", "RUN", "the run folder; made if absent", offsetof(T, out)},
    {ARG_TEXT, 0, "device-dir", "PATH", "where the run folder will lie when its lists are read", offsetof(T, device_dir)},
    {ARG_FLAG, 0, "raw", NULL, "no chat template: the prompt as it stands, <image> marks the image's place", offsetof(T, raw)},
    IMAGE_POSITION_ARG(T, position),
    NO_EXIF_ARG(T),
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    struct prepare_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_model *model;
    struct eye_image img;
    uint64_t decode_us;
    (void)operand, (void)n_operands;
    if (!o->dir) return args_usage(&cmd_genie_prepare, "-d is missing: the folder of \"eyelet export genie\"");
    if (!o->out) return args_usage(&cmd_genie_prepare, "-o is missing: the run folder");
    if (o->image.n > 1) return args_usage(&cmd_genie_prepare, "%d images; the flow takes one", o->image.n);
    if (!o->image.n && !o->prompt) return args_usage(&cmd_genie_prepare, "nothing to do: give an image (-i), a prompt (-p) or "
                                                     "both");
    ui_init(&ui, o->model.quiet, o->model.verbose);
    int code = cli_open(&ui, &o->model, &model);
    if (code != EXIT_DONE) return code;
    code = cli_load_images(&ui, &o->image, o->no_exif, &img, &decode_us);
    if (code == EXIT_DONE) {
        struct eye_genie_prepare p = {.prompt = o->prompt, .image = o->image.n ? &img : NULL, .raw = o->raw,
                                      .images_first = o->position == 1, .device_dir = o->device_dir};
        if (eye_genie_prepare_run(model, o->dir, o->out, &p, &err) != EYE_OK) code = ui_fail(&ui, &err);
        else printf("%s\n", o->out);
        cli_free_images(&img, o->image.n);
    }
    eye_model_close(model);
    return code;
}

static const struct example examples[] = {
    {"A run folder", "eyelet genie prepare -m FastVLM-0.5B -d fastvlm-genie -i photo.jpg -p \"What is this?\" -o run1"},
    {NULL, NULL},
};

const struct command cmd_genie_prepare = {
    .name = "genie prepare",
    .usage = "-m MODEL -d DIR [-i IMAGE] [-p PROMPT] -o RUN [OPTIONS]",
    .summary = "a picture and a prompt to raw files for the NPU flow",
    .details = "Writes pixel_values.raw, input_ids.raw, vision_input_list.txt, embed_input_list.txt and tokens.json.",
    .args = prepare_args, .examples = examples, .opts_bytes = sizeof(struct prepare_opts), .run = run,
};
