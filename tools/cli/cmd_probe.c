/* eyelet probe: any intermediate result as a .npy file of float32. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "eyelet/experimental.h"
#include "json.h"

#define MAX_IMAGES 16

struct probe_opts {
    struct model_args model;
    struct arg_list image;
    const char *prompt, *tokens, *stage, *out;
    int32_t image_position;
    bool raw, last, no_exif, json;
};
_Static_assert(sizeof(struct probe_opts) <= ARG_MAX_OPTS, "options fit what main.c allocates");

#define T struct probe_opts
static const struct arg probe_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_LIST, 'i', "image", "FILE", "picture, \"-\" for standard input; may be repeated", offsetof(T, image)},
    {ARG_TEXT, 'p', "prompt", "TEXT", "what to ask", offsetof(T, prompt)},
    {ARG_TEXT, 0, "tokens", "IDS", "token ids in place of a prompt, \"1 2 3\"; -1 = an image row", offsetof(T, tokens)},
    {ARG_TEXT, 0, "stage", "STAGE", "pixels, vision, projected, embeddings, logits, layer:NAME, or list: the names of layers",
     offsetof(T, stage)},
    {ARG_TEXT, 'o', "output", "FILE", "the .npy file to write", offsetof(T, out)},
    {ARG_FLAG, 0, "last", NULL, "the last row only", offsetof(T, last)},
    {ARG_FLAG, 0, "raw", NULL, "no chat template: the prompt as it stands", offsetof(T, raw)},
    IMAGE_POSITION_ARG(T, image_position),
    NO_EXIF_ARG(T),
    {ARG_FLAG, 0, "json", NULL, "one JSON object about what was written, or the list", offsetof(T, json)},
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

static const char *const stage_names[] = {"pixels", "vision", "projected", "embeddings", "logits"}; /* order of the enum */
#define N_STAGES (sizeof stage_names / sizeof stage_names[0])

static int list_layers(struct ui *ui, const struct probe_opts *o, struct eye_model *model) {
    const char *const *names;
    size_t n;
    struct eye_err err = {0};
    if (eye_model_layers(model, &names, &n, &err) != EYE_OK) return ui_fail(ui, &err);
    for (size_t i = 0; !o->json && i < n; i++) puts(names[i]);
    if (!o->json) return EXIT_DONE;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_outside(names[i]));
    return json_print(ui, json_pack("{s:o}", "layers", list));
}

static bool parse_stage(const char *text, struct eye_probe *probe) {
    if (strncmp(text, "layer:", 6) == 0) {
        probe->stage = EYE_PROBE_LAYER;
        probe->layer = text + 6;
        return true;
    }
    for (size_t i = 0; i < N_STAGES; i++) {
        if (strcmp(text, stage_names[i]) != 0) continue;
        probe->stage = (enum eye_probe_stage)i;
        return true;
    }
    return false;
}

static int check(const struct probe_opts *o, struct eye_probe *probe, bool *list) {
    if (!o->stage) return args_usage(&cmd_probe, "--stage is missing");
    *list = strcmp(o->stage, "list") == 0;
    if (*list) return EXIT_DONE;
    if (!parse_stage(o->stage, probe)) {
        const char *names[N_STAGES + 2];
        memcpy(names, stage_names, sizeof stage_names);
        names[N_STAGES] = "layer:NAME";
        names[N_STAGES + 1] = "list";
        const char *near = args_nearest(o->stage, names, N_STAGES + 2);
        return args_usage(&cmd_probe,
                          "--stage is \"%s\", expected pixels, vision, projected, embeddings, logits, layer:NAME or list%s%s",
                          o->stage, near ? "; nearest is " : "", near ? near : "");
    }
    if (!o->out) return args_usage(&cmd_probe, "-o is missing: the .npy file to write");
    if (o->image.n > MAX_IMAGES) return args_usage(&cmd_probe, "%d images, at most %d are taken", o->image.n, MAX_IMAGES);
    if (o->tokens && o->prompt) return args_usage(&cmd_probe, "--tokens and --prompt exclude each other");
    return EXIT_DONE;
}

static int probe_and_save(struct ui *ui, const struct probe_opts *o, struct eye_model *model, const struct eye_probe *probe) {
    struct eye_err err = {0};
    struct eye_array a = {0};
    if (eye_probe_run(model, probe, &a, &err) != EYE_OK || eye_array_save(&a, o->out, &err) != EYE_OK) {
        eye_array_free(&a);
        return ui_fail(ui, &err);
    }
    int code = EXIT_DONE;
    json_t *shape = json_array();
    for (int32_t i = 0; i < a.rank; i++) json_array_append_new(shape, json_integer(a.dims[i]));
    if (o->json) {
        code = json_print(ui, json_pack("{s:o,s:s,s:O}", "file", json_outside(o->out), "dtype", "float32", "shape", shape));
    } else {
        printf("%s: float32 ", o->out);
        json_dumpf(shape, stdout, 0);
        putchar('\n');
    }
    json_decref(shape);
    eye_array_free(&a);
    return code;
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct probe_opts *o = opts;
    struct ui ui;
    struct eye_model *model = NULL;
    struct eye_image img[MAX_IMAGES];
    struct eye_probe probe = {.last = o->last};
    int32_t *ids = NULL;
    bool list;
    uint64_t decode_us;
    (void)operand, (void)n_operands;
    int code = check(o, &probe, &list);
    if (code != EXIT_DONE) return code;
    if (o->tokens && !cli_parse_ids(o->tokens, EYE_TOKEN_IMAGE_ROW, &ids, &probe.n_ids))
        return args_usage(&cmd_probe, "--tokens is \"%s\", expected token ids", o->tokens);
    ui_init(&ui, o->model.quiet, o->model.verbose);
    code = cli_open(&ui, &o->model, &model);
    if (code == EXIT_DONE && list) {
        code = list_layers(&ui, o, model);
    } else if (code == EXIT_DONE) {
        code = cli_load_images(&ui, &o->image, o->no_exif, img, &decode_us);
        if (code == EXIT_DONE) {
            struct eye_query query = {.text = o->prompt, .images = img, .n_images = (size_t)o->image.n, .raw = o->raw,
                                        .position = (enum eye_image_position)o->image_position};
            probe.query = &query;
            probe.ids = ids;
            code = probe_and_save(&ui, o, model, &probe);
            cli_free_images(img, o->image.n);
        }
    }
    ui_clear(&ui);
    eye_model_close(model);
    free(ids);
    return code;
}

static const struct example examples[] = {
    {"The features of a picture", "eyelet probe -m FastVLM-0.5B -i photo.jpg --stage vision -o vision.npy"},
    {"Names of all layers", "eyelet probe -m FastVLM-0.5B --stage list"},
    {"The next-token logits after a prompt", "eyelet probe -m FastVLM-0.5B -p \"Hello\" --stage logits --last -o logits.npy"},
    {NULL, NULL},
};

const struct command cmd_probe = {
    .name = "probe",
    .usage = "[-m MODEL] [-i IMAGE] [-p PROMPT | --tokens IDS] --stage STAGE -o FILE.npy",
    .summary = "any intermediate result as a .npy file",
    .details =
        "Shapes, all float32: pixels [3, H, W]; vision and projected [image tokens, C]; embeddings [T, C] after splicing;\n"
        "logits [T, V] of the prefill; layers as the engine has them (images NHWC).",
    .args = probe_args,
    .examples = examples,
    .opts_bytes = sizeof(struct probe_opts),
    .run = run,
};
