/* eyelet device run: a picture and a question on a phone: the steps of the NPU flow over adb, with the vendor's programs or
 * with this program itself in their place. Every step's files stay in the run folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <jansson.h>

#include "cli.h"
#include "device.h"
#include "eyelet/genie.h"
#include "eyelet/image.h"
#include "json.h"

struct device_opts {
    struct model_args model;
    struct device_args device;
    const char *out, *vision_info, *embed_info;
    const char *decoder_file; /* set by an operand */
    int32_t n_predict, position;
    bool skip_push, verify, json;
};

#define T struct device_opts
static const struct arg device_args[] = {
    MODEL_PATH_ARG(T),
    DEVICE_DIR_ARG(T),
    {ARG_INT, 'n', "predict", "N", "tokens at most; 0 = as far as the context allows", offsetof(T, n_predict), 0, 1 << 24,
     .def = 256},
    IMAGE_POSITION_ARG(T, position),
    {ARG_TEXT, 'o', "output", "RUN", "the run folder; left out: DIR/run_outputs/DATE_TIME", offsetof(T, out)},
    {ARG_FLAG, 0, "verify", NULL, "afterwards compare each stage with this computer, as \"device verify\" does",
     offsetof(T, verify)},
    JSON_ARG(T),
    DEVICE_ARGS(T),
    {ARG_TEXT, 0, "vision-info", "FILE", "qnn: what qnn-context-binary-utility says of the vision tower",
     offsetof(T, vision_info)},
    {ARG_TEXT, 0, "embed-info", "FILE", "qnn: likewise, of the embedder", offsetof(T, embed_info)},
    {ARG_FLAG, 0, "skip-push", NULL, "programs and model are there already; so does SKIP_PUSH=1", offsetof(T, skip_push)},
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

enum { STEP_PREPARE, STEP_PUSH, STEP_VISION, STEP_EMBED, STEP_COMBINE, STEP_DECODE, STEPS };
static const char *const step_names[STEPS] = {"prepare", "push", "vision", "embed", "combine", "decode"};

struct job {
    const struct device_opts *o;
    struct ui *ui;
    struct device d;
    const char *image, *prompt;
    char run[2048]; /* the run folder here */
    uint64_t us[STEPS];
    json_t *profile;
    char *answer;
};

/* ---- the steps ---- */

static const char *const libraries = "LD_LIBRARY_PATH=.:/vendor/dsp/cdsp:/vendor/lib64 "
                                     "ADSP_LIBRARY_PATH='.;/vendor/dsp/cdsp;/vendor/lib/rfsa/adsp;/system/lib/rfsa/adsp;/dsp' ";

static int transfer(struct job *j, const char *way, const char *name) {
    char here[4096], there[4096];
    bool push = strcmp(way, "push") == 0;
    snprintf(here, sizeof here, "%s/%s", j->run, name);
    snprintf(there, sizeof there, "%s/run/%s", j->d.remote, name);
    return device_transfer(&j->d, way, push ? here : there, push ? there : here);
}

/* vision or embed: its files there, the program, its rows back. */
static int step(struct job *j, const char *name, const char *raw) {
    char command[4096], there[1100], log[4096], list[64];
    bool cpu = j->o->device.backend == DEVICE_CPU, vision = strcmp(name, "vision") == 0;
    const char *part = !cpu ? (vision ? "vision_context.bin" : "embed_context.bin")
                            : (vision ? "vision_encoder.bin" : "embed_tokens.bin");
    snprintf(list, sizeof list, "%s_input_list.txt", name);
    int code = transfer(j, "push", list);
    if (code == EXIT_DONE) code = transfer(j, "push", raw);
    snprintf(command, sizeof command,
             "%s%s --backend libQnnHtp.so --retrieve_context %s --input_list run/%s_input_list.txt --use_native_input_files "
             "--use_native_output_files --output_dir run/%s_out --num_inferences 1",
             cpu ? "" : libraries, cpu ? "./eyelet net-run" : "./qnn-net-run", part, name, name);
    snprintf(log, sizeof log, "%s/%s_stdout.txt", j->run, name);
    if (code == EXIT_DONE) code = device_shell(&j->d, vision ? "vision step" : "embedder step", command, NULL, NULL, log);
    snprintf(there, sizeof there, "%s/run/%s_out", j->d.remote, name);
    return code == EXIT_DONE ? device_transfer(&j->d, "pull", there, j->run) : code;
}

/* ---- the answer ---- */

struct listener {
    struct eye_genie_transcript t;
    bool show;
    char *text; /* malloc'd; NULL before the first piece, or no memory */
    size_t n;
    bool failed;
};

static void on_piece(void *ctx, const char *p, size_t n) {
    struct listener *l = ctx;
    char *q = l->failed ? NULL : realloc(l->text, l->n + n + 1);
    if (!q) {
        l->failed = true;
        return;
    }
    memcpy(q + l->n, p, n);
    q[l->n += n] = '\0';
    l->text = q;
    if (!l->show) return;
    fwrite(p, 1, n, stdout);
    fflush(stdout);
}

static void on_output(void *ctx, const char *p, size_t n) {
    struct listener *l = ctx;
    eye_genie_transcript_feed(&l->t, p, n);
}

/* Genie's times are microseconds. Without a query's event the file is none of Genie's. */
static int read_profile(struct job *j) {
    static const struct { const char *key, *name; double per; const char *unit; } shown[] = {
        {"num-prompt-tokens", "prompt", 1, "tokens"}, {"time-to-first-token", "first token", 1000, "ms"},
        {"num-generated-tokens", "answer", 1, "tokens"}, {"token-generation-rate", "rate", 1, "tok/s"}};
    char path[4096];
    json_error_t e;
    json_t *event;
    size_t i, n = 0;
    int code = transfer(j, "pull", "profile.json");
    if (code != EXIT_DONE) return code;
    snprintf(path, sizeof path, "%s/profile.json", j->run);
    j->profile = json_load_file(path, 0, &e);
    json_array_foreach(json_object_get(json_array_get(json_object_get(j->profile, "components"), 0), "events"), i, event) {
        const char *type = json_string_value(json_object_get(event, "type"));
        if (!type || strcmp(type, "GenieDialog_query") != 0) continue;
        for (size_t k = 0; k < sizeof shown / sizeof shown[0]; k++, n++)
            ui_note(j->ui, "%-12s %.1f %s", shown[k].name,
                    json_number_value(json_object_get(json_object_get(event, shown[k].key), "value")) / shown[k].per,
                    shown[k].unit);
    }
    if (n) return EXIT_DONE;
    return ui_failf(j->ui, "%s: no profile of Genie's: %s; the answer is whole, another version of Genie may write another",
                    path, j->profile ? "it has no GenieDialog_query" : "no JSON");
}

static int decode(struct job *j) {
    char command[4096], log[4096], type[EYE_GENIE_TABLE_ARG];
    bool cpu = j->o->device.backend == DEVICE_CPU;
    struct eye_err err = {0};
    struct listener l = {.show = !j->o->json};
    l.t.text = on_piece;
    l.t.text_ctx = &l;
    int code = eye_genie_table_arg(j->o->device.dir, type, &err) == EYE_OK ? EXIT_DONE : ui_fail(j->ui, &err);
    if (code == EXIT_DONE) code = transfer(j, "push", "combined_embeddings_fp32.raw");
    if (code == EXIT_DONE) code = transfer(j, "push", "genie_config.json");
    snprintf(command, sizeof command,
             "%s%s --config run/genie_config.json --embedding_file run/combined_embeddings_fp32.raw "
             "--embedding_table LUT.bin%s --embedding_query_output_type text --profile run/profile.json",
             cpu ? "" : libraries, cpu ? "./eyelet genie-t2t-run" : "./genie-t2t-run", type);
    snprintf(log, sizeof log, "%s/genie_stdout.txt", j->run);
    if (code == EXIT_DONE) code = device_shell(&j->d, "decoder step", command, on_output, &l, log);
    eye_genie_transcript_end(&l.t);
    if (l.show && l.t.said != EYE_GENIE_NOT_BEGUN) {
        putchar('\n');
        fflush(stdout);
    }
    j->answer = l.text;
    if (code != EXIT_DONE) return code;
    if (l.failed) return ui_failf(j->ui, "decoder step: out of memory for the answer");
    if (l.t.said != EYE_GENIE_DONE)
        return ui_failf(j->ui, "decoder step: %s; see %s", l.t.said ? "the answer has no [END]: it broke off"
                                                                    : "no [BEGIN] of an answer in what it printed", log);
    return read_profile(j);
}

/* ---- the run ---- */

static int prepare(struct job *j) {
    const struct device_opts *o = j->o;
    struct arg_list one = {.item = {j->image}, .n = 1};
    struct eye_err err = {0};
    struct eye_model *model;
    struct eye_image img;
    char there_dir[1100];
    uint64_t us;
    int code = cli_open(j->ui, &o->model, &model);
    if (code != EXIT_DONE) return code;
    snprintf(there_dir, sizeof there_dir, "%s/run", j->d.remote);
    code = cli_load_images(j->ui, &one, false, &img, &us);
    if (code == EXIT_DONE) {
        struct eye_genie_prepare p = {.prompt = j->prompt, .image = &img, .images_first = o->position == 1,
                                      .device_dir = there_dir};
        if (eye_genie_prepare_run(model, o->device.dir, j->run, &p, &err) != EYE_OK) code = ui_fail(j->ui, &err);
        cli_free_images(&img, 1);
    }
    ui_clear(j->ui);
    eye_model_close(model);
    return code;
}

static int run_step(struct job *j, int which) {
    const struct device_opts *o = j->o;
    struct eye_genie_combine c = {.n_predict = o->n_predict, .device_dir = j->d.remote, .vision_ctx_info = o->vision_info,
                                  .embed_ctx_info = o->embed_info};
    struct eye_err err = {0};
    switch (which) {
    case STEP_PREPARE: return prepare(j);
    case STEP_PUSH: {
        int code = device_shell(&j->d, "adb shell", "rm -rf run && mkdir run", NULL, NULL, NULL);
        return code == EXIT_DONE && !o->skip_push ? device_push(&j->d, o->decoder_file) : code;
    }
    case STEP_VISION: return step(j, "vision", "pixel_values.raw");
    case STEP_EMBED: return step(j, "embed", "input_ids.raw");
    case STEP_COMBINE:
        return eye_genie_combine_run(o->device.dir, j->run, &c, NULL, &err) == EYE_OK ? EXIT_DONE : ui_fail(j->ui, &err);
    default: return decode(j);
    }
}

/* What this run was; written last: a folder with one is whole. */
static int write_manifest(struct job *j) {
    static const char *const kept[] = {"pixel_values.raw", "input_ids.raw", "combined_embeddings_fp32.raw", "genie_config.json",
                                       "genie_stdout.txt", "profile.json"};
    const struct device_opts *o = j->o;
    struct eye_err err = {0};
    char path[4096], part[4160], hex[65];
    json_t *files = json_array(), *ms = json_object();
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        struct stat s;
        snprintf(path, sizeof path, "%s/%s", j->run, kept[i]);
        if (stat(path, &s) != 0 || eye_file_sha256(path, hex, &err) != EYE_OK) continue;
        json_array_append_new(files, json_pack("{s:s,s:I,s:s}", "file", kept[i], "bytes", (json_int_t)s.st_size, "sha256",
                                               hex));
    }
    for (int i = 0; i < STEPS; i++) json_object_set_new(ms, step_names[i], json_real((double)j->us[i] / 1000));
    json_t *m = json_pack("{s:s,s:s,s:s,s:s?,s:s,s:o,s:o,s:s?,s:s?,s:o,s:o}", "format", "eyelet device run 1", "made_by",
                          eye_version(), "backend", device_backend_names[o->device.backend], "serial", o->device.serial,
                          "remote_dir", j->d.remote, "image", json_outside(j->image), "prompt", json_outside(j->prompt),
                          "vision_info", o->vision_info, "embed_info", o->embed_info, "milliseconds", ms, "files", files);
    snprintf(path, sizeof path, "%s/manifest.json", j->run);
    snprintf(part, sizeof part, "%s.part", path);
    bool good = m && json_dump_file(m, part, JSON_INDENT(2)) == 0 && rename(part, path) == 0;
    json_decref(m);
    return good ? EXIT_DONE : ui_failf(j->ui, "%s: cannot be written", path);
}

static int run_all(struct job *j) {
    const struct device_opts *o = j->o;
    struct verify_args v = {.vision_info = o->vision_info, .embed_info = o->embed_info, .n_threads = o->model.n_threads};
    json_t *verified = NULL;
    int code = EXIT_DONE;
    device_open(&j->d, j->ui, &o->device);
    for (int i = 0; i < STEPS && code == EXIT_DONE; i++) {
        uint64_t begin = ui_now_us();
        code = run_step(j, i);
        j->us[i] = ui_now_us() - begin;
    }
    if (code == EXIT_DONE) code = write_manifest(j);
    if (code == EXIT_DONE) ui_note(j->ui, "%-12s %s", "files", j->run);
    bool answered = code == EXIT_DONE;
    if (answered && o->verify) code = device_verify(j->ui, o->device.dir, j->run, &v, o->json ? &verified : NULL);
    if (answered && o->json) {
        json_t *out = json_pack("{s:o,s:o,s:O}", "text", json_outside(j->answer ? j->answer : ""), "run", json_outside(j->run),
                                "profile", j->profile);
        if (out && verified) json_object_set(out, "verify", verified);
        int c = json_print(j->ui, out);
        if (c != EXIT_DONE) code = c;
    }
    json_decref(verified);
    json_decref(j->profile);
    free(j->answer);
    device_close(&j->d);
    return code != EXIT_DONE && ui_interrupted(NULL) ? ui_interrupted_code() : code;
}

/* max_new, image_size, decoder_precision, vision_precision, as scripts in the field give them. */
static int take_operands(struct device_opts *o, char *const *operand, int n) {
    char *end;
    for (int i = 2; i < n && i < 4; i++) {
        long v = strtol(operand[i], &end, 10);
        if (end == operand[i] || *end || v < 0 || v > 1 << 24)
            return args_usage(&cmd_device_run, "%s is \"%s\", expected a whole number", i == 2 ? "max_new" : "image_size",
                              operand[i]);
        *(i == 2 ? &o->n_predict : &o->model.image_side) = (int32_t)v;
    }
    o->decoder_file = device_decoder_file(&cmd_device_run, n > 4 ? operand[4] : "fp32");
    if (!o->decoder_file) return EXIT_USAGE;
    if (n > 5 && strcmp(operand[5], "int8") != 0 && strcmp(operand[5], "fp16") != 0)
        return args_usage(&cmd_device_run, "vision_precision is \"%s\", expected int8 or fp16", operand[5]);
    return EXIT_DONE;
}

/* The exported part takes bytes iff int8 is asked for. */
static int check_vision(struct ui *ui, const struct device_opts *o, const char *precision) {
    char path[4096];
    json_error_t e;
    const char *dir = o->device.dir;
    snprintf(path, sizeof path, "%s/manifest.json", dir);
    json_t *root = json_load_file(path, 0, &e);
    const char *input = json_string_value(json_object_get(json_object_get(root, "image"), "input"));
    bool bytes = input && strncmp(input, "uint8", 5) == 0, fits = bytes == (strcmp(precision, "int8") == 0);
    json_decref(root);
    if (fits) return EXIT_DONE;
    return ui_failf(ui, "%s: its vision part takes %s; export it with --vision %s", dir, bytes ? "bytes" : "floats",
                    bytes ? "f16" : "int8");
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct device_opts *o = opts;
    struct ui ui;
    struct job j = {.o = o, .ui = &ui, .image = operand[0], .prompt = operand[1]};
    const char *skip = getenv("SKIP_PUSH");
    o->skip_push |= skip && strcmp(skip, "1") == 0;
    int code = take_operands(o, operand, n_operands);
    if (code == EXIT_DONE) code = device_check(&cmd_device_run, &o->device, !o->skip_push);
    if (code != EXIT_DONE) return code;
    ui_init(&ui, o->model.quiet, o->model.verbose);
    if (n_operands > 5) code = check_vision(&ui, o, operand[5]);
    if (code != EXIT_DONE) return code;
    time_t now = time(NULL);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y%m%d_%H%M%S", localtime(&now));
    int n = o->out ? snprintf(j.run, sizeof j.run, "%s", o->out)
                   : snprintf(j.run, sizeof j.run, "%s/run_outputs/%s", o->device.dir, stamp);
    if (n >= (int)sizeof j.run) return ui_failf(&ui, "the run folder's path is too long");
    return run_all(&j);
}

static const struct example examples[] = {
    {"On the phone's CPU, by this program built for it",
     "eyelet device run photo.jpg \"What is this?\" -m FastVLM-0.5B -d g --backend cpu --eyelet build-aarch64/eyelet"},
    {NULL, NULL},
};

const struct command cmd_device_run = {
    .name = "device run",
    .usage = "IMAGE PROMPT [max_new [image_size [decoder_precision [vision_precision]]]] -m MODEL -d DIR [OPTIONS]",
    .summary = "a picture and a question on a phone, over adb",
    .details = "The steps of doc/npu.md: prepare here, vision and embedder there, combine here, decode there; the answer "
               "appears as the\n"
               "device prints it. Files that the device has already, by their hash, are not pushed again. decoder_precision: "
                   "fp32 and\n"
               "fp16 are DIR's decoder.bin; int8 (z8) and int4 (q4) are the vendor's composer's, as decoder_z8.bin and "
                   "decoder_q4.bin\n"
               "in DIR.",
    .args = device_args, .examples = examples, .opts_bytes = sizeof(struct device_opts), .operand = "IMAGE PROMPT",
    .min_operands = 2,
    .max_operands = 6, .run = run,
};
