/* eyelet cache: looks at images and reads the beginning of a question once, into a file that `run --cache` goes on from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "json.h"

struct cache_opts {
    struct model_args model;
    struct arg_list image;
    const char *prompt, *out;
    int32_t image_position;
    bool raw, no_exif, json;
};
_Static_assert(sizeof(struct cache_opts) <= ARG_MAX_OPTS, "options fit what main.c allocates");

#define T struct cache_opts
static const struct arg cache_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_LIST, 'i', "image", "FILE", "picture, \"-\" for standard input; may be repeated", offsetof(T, image)},
    {ARG_TEXT, 'p', "prompt", "PREFIX", "first words of every question, with the blank before the rest; may be left out",
     offsetof(T, prompt)},
    {ARG_TEXT, 'o', "output", "FILE", "file to write; an old one stays until the new one is complete", offsetof(T, out)},
    {ARG_FLAG, 0, "raw", NULL, "no chat template: the text as it stands, <image> marks the image's place", offsetof(T, raw)},
    IMAGE_POSITION_ARG(T, image_position),
    NO_EXIF_ARG(T),
    {ARG_FLAG, 0, "json", NULL, "one JSON object instead of text", offsetof(T, json)},
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

static int report(struct ui *ui, const struct cache_opts *o, const struct eye_session *s, uint64_t us) {
    struct stat st;
    char size[32];
    long long bytes = stat(o->out, &st) == 0 ? (long long)st.st_size : 0;
    if (!o->json) {
        printf("%s: %d positions, %s\n", o->out, eye_session_n_past(s), cli_bytes((uint64_t)bytes, size, sizeof size));
        return EXIT_DONE;
    }
    return json_print(ui, json_pack("{s:o, s:i, s:i, s:I, s:f}", "file", json_outside(o->out), "positions",
                                    (int)eye_session_n_past(s), "images", (int)o->image.n, "bytes", (json_int_t)bytes,
                                    "prefill_ms", (double)us / 1e3));
}

static int fill(struct ui *ui, const struct cache_opts *o, struct eye_model *model, const struct eye_image *img) {
    struct eye_session_opts sopts = {.with_images = o->image.n > 0};
    struct eye_query query = {.text = o->prompt, .images = img, .n_images = (size_t)o->image.n, .raw = o->raw,
                              .position = (enum eye_image_position)o->image_position};
    struct eye_session *s = NULL;
    struct eye_err err = {0};
    uint64_t begin = ui_now_us();
    enum eye_status st = eye_session_new(model, &sopts, &s, &err);
    if (st == EYE_OK) st = eye_session_prefix(s, &query, &err);
    if (st == EYE_OK) st = eye_session_save(s, o->out, &err);
    ui_clear(ui);
    int code = st == EYE_OK ? report(ui, o, s, ui_now_us() - begin) : ui_fail(ui, &err);
    eye_session_free(s);
    return code;
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct cache_opts *o = opts;
    struct eye_image img[CLI_MAX_IMAGES];
    struct eye_model *model = NULL;
    struct ui ui;
    uint64_t decode_us;
    (void)operand, (void)n_operands;
    if (!o->out) return args_usage(&cmd_cache, "-o is missing: the file to write");
    if (!o->prompt && !o->image.n) return args_usage(&cmd_cache, "nothing to do: give an image (-i), a prefix (-p) or both");
    if (o->image.n > CLI_MAX_IMAGES)
        return args_usage(&cmd_cache, "%d images, at most %d are taken", o->image.n, CLI_MAX_IMAGES);
    ui_init(&ui, o->model.quiet, o->model.verbose);
    int code = cli_open(&ui, &o->model, &model);
    if (code != EXIT_DONE) return code;
    code = cli_load_images(&ui, &o->image, o->no_exif, img, &decode_us);
    if (code == EXIT_DONE) {
        code = fill(&ui, o, model, img);
        cli_free_images(img, o->image.n);
    }
    eye_model_close(model);
    return code;
}

static const struct example examples[] = {
    {"A picture that many questions will be asked about",
     "eyelet cache -m FastVLM-0.5B -i door.jpg -o door.cache; eyelet run -m FastVLM-0.5B --cache door.cache -p \"Open?\""},
    {"Fixed first words as well", "eyelet cache -m FastVLM-0.5B -i door.jpg -p \"Answer in one word. \" -o door.cache"},
    {NULL, NULL},
};

const struct command cmd_cache = {
    .name = "cache",
    .usage = "[-m MODEL] [-i IMAGE]… [-p PREFIX] -o FILE [OPTIONS]",
    .summary = "prefill images and first words once; \"run --cache\" asks",
    .details = "\"eyelet run --cache FILE -p QUESTION\" then answers bit for bit as \"run -i IMAGE -p PREFIXQUESTION\" does.\n"
               "The file works with the same model, build, kind of CPU and options only.",
    .args = cache_args, .examples = examples, .opts_bytes = sizeof(struct cache_opts), .run = run,
};
