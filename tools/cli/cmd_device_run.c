/* eyelet device run: a picture and a question on a phone: the steps of the NPU flow over adb, with the vendor's programs or
 * with this program itself in their place. Every step's files stay in the run folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "adb.h"
#include "cli.h"
#include "eyelet/genie.h"
#include "eyelet/image.h"

enum { BACKEND_QNN, BACKEND_CPU };

struct device_opts {
    struct model_args model;
    const char *dir, *adb, *serial, *remote, *tools, *eyelet, *out;
    const char *vision_context, *embed_context, *vision_info, *embed_info;
    const char *decoder_file; /* set by an operand */
    int32_t backend, n_predict, position;
    bool skip_push;
};

static const char *const backend_names[] = {"qnn", "cpu", NULL}, *const position_names[] = {"template", "first", NULL};

#define T struct device_opts
static const struct arg device_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_TEXT, 'd', "genie", "DIR", "the folder of \"eyelet export genie\"", offsetof(T, dir)},
    {ARG_CHOICE, 0, "backend", "WHAT", "qnn: the vendor's programs; cpu: eyelet itself, on the phone's CPU", offsetof(T,
                                                                                                                      backend),
     .choices = backend_names},
    {ARG_INT, 'n', "predict", "N", "tokens at most; 0 = as far as the context allows", offsetof(T, n_predict), 0, 1 << 24,
     .def = 256},
    {ARG_CHOICE, 0, "image-position", "WHERE", "where image rows go", offsetof(T, position), .choices = position_names},
    {ARG_TEXT, 'o', "output", "RUN", "the run folder; left out: DIR/run_outputs/DATE_TIME", offsetof(T, out)},
    {ARG_GROUP, .help = "Device"},
    {ARG_TEXT, 's', "serial", "SERIAL", "which device; left out: the only one", offsetof(T, serial)},
    {ARG_TEXT, 0, "remote-dir", "PATH", "on the device; default /data/local/tmp/eyelet", offsetof(T, remote)},
    {ARG_TEXT, 0, "tools", "LIST", "qnn: programs and libraries to push, a file with a path per line", offsetof(T, tools)},
    {ARG_TEXT, 0, "vision-context", "FILE", "qnn: context binary of the vision tower", offsetof(T, vision_context)},
    {ARG_TEXT, 0, "embed-context", "FILE", "qnn: of the token embedder", offsetof(T, embed_context)},
    {ARG_TEXT, 0, "vision-info", "FILE", "qnn: what qnn-context-binary-utility says of it", offsetof(T, vision_info)},
    {ARG_TEXT, 0, "embed-info", "FILE", "qnn: likewise", offsetof(T, embed_info)},
    {ARG_TEXT, 0, "eyelet", "FILE", "cpu: this program built for the device (cross/aarch64, static)", offsetof(T, eyelet)},
    {ARG_FLAG, 0, "skip-push", NULL, "programs and model are there already; so does SKIP_PUSH=1", offsetof(T, skip_push)},
    {ARG_TEXT, 0, "adb", "FILE", "Android's debug bridge; left out: adb in PATH", offsetof(T, adb)},
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

#define MAX_SUMS ((size_t)1 << 20)

struct job {
    const struct device_opts *o;
    struct ui *ui;
    struct adb adb;
    const char *remote; /* on the device */
    char run[2048];     /* here */
    char *sums;         /* "hash  name" of the files there, a line each; NULL = not asked */
};

/* ---- the device ---- */

static bool plain(const char *path) { /* goes into a shell command as it is */
    return path[strspn(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+")] == '\0';
}

/* A command there, which must succeed; *out (may be NULL) is what it printed, the caller's. */
static int there(struct job *j, const char *what, const char *command, char **out) {
    static const struct { const char *sign, *text; } faults[] = {
        {"CANNOT LINK EXECUTABLE", "a library is missing on the device; add it to --tools and run without --skip-push"},
        {"DMA", "the NPU could not take the context binary (DMA error); compile it for this device, or use --backend cpu"},
        {"not executable", "the program is not of this device's kind"},
        {"inaccessible or not found", "a program is missing on the device; run without --skip-push"},
    };
    char *text, full[6144];
    if (snprintf(full, sizeof full, "cd %s && %s; echo exit=$?", j->remote, command) >= (int)sizeof full)
        return ui_failf(j->ui, "%s: paths are too long", what);
    int code = adb_shell(&j->adb, full, &text);
    if (code < 0) return EXIT_FAILED;
    const char *end = NULL;
    for (const char *p = text; (p = strstr(p, "exit=")) != NULL; p++) end = p;
    if (code == 0 && end && atoi(end + 5) == 0) {
        if (out) *out = text;
        else free(text);
        return EXIT_DONE;
    }
    code = EXIT_FAILED;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (strstr(text, faults[i].sign)) {
            ui_failf(j->ui, "%s: %s", what, faults[i].text);
            free(text);
            return code;
        }
    if (end && end > text) text[end - text] = '\0'; /* the last line then is the program's own */
    code = adb_fail(&j->adb, what, text);
    free(text);
    return code;
}

static int transfer(struct job *j, const char *way, const char *from, const char *to) {
    const char *args[] = {way, from, to, NULL};
    char *out;
    int code = adb_call(&j->adb, args, &out);
    if (code > 0) adb_fail(&j->adb, way, out);
    free(out);
    return code == 0 ? EXIT_DONE : EXIT_FAILED;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A program or part of the model, unless the device has these bytes under that name. */
static int push(struct job *j, const char *path, const char *name) {
    char hex[65], line[256], to[1024];
    struct eye_err err = {0};
    if (j->o->skip_push) return EXIT_DONE;
    if (eye_file_sha256(path, hex, &err) != EYE_OK) return ui_fail(j->ui, &err);
    snprintf(line, sizeof line, "%s  %s\n", hex, name);
    if (j->sums && strstr(j->sums, line)) return EXIT_DONE;
    if (!plain(name) || snprintf(to, sizeof to, "%s/%s", j->remote, name) >= (int)sizeof to)
        return ui_failf(j->ui, "%s: a name that the device's shell would take apart", path);
    if (j->ui->terminal) ui_note(j->ui, "pushing %s", name);
    return transfer(j, "push", path, to);
}

static int push_in(struct job *j, const char *dir, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return push(j, path, name);
}

static int push_list(struct job *j, const char *list) {
    char line[4096];
    int code = EXIT_DONE;
    FILE *f = fopen(list, "r");
    if (!f) return ui_failf(j->ui, "%s: cannot be read", list);
    while (code == EXIT_DONE && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] && line[0] != '#') code = push(j, line, base_name(line));
    }
    fclose(f);
    return code;
}

static int push_all(struct job *j) {
    const struct device_opts *o = j->o;
    const char *const model[] = {"LUT.bin", "tokenizer.json"};
    char decoder[4096];
    int code = there(j, "asking what is there", "sha256sum * 2>/dev/null; true", &j->sums);
    bool cpu = o->backend == BACKEND_CPU;
    snprintf(decoder, sizeof decoder, "%s/%s", o->dir, o->decoder_file);
    if (code == EXIT_DONE) code = push(j, decoder, "decoder.bin"); /* whichever it is: the configuration knows one name */
    for (size_t i = 0; code == EXIT_DONE && i < 2; i++) code = push_in(j, o->dir, model[i]);
    if (cpu && code == EXIT_DONE) code = push(j, o->eyelet, "eyelet");
    if (!cpu && code == EXIT_DONE) code = push_list(j, o->tools);
    if (code == EXIT_DONE) code = cpu ? push_in(j, o->dir, "vision_encoder.bin") : push(j, o->vision_context,
                                                                                        "vision_context.bin");
    if (code == EXIT_DONE) code = cpu ? push_in(j, o->dir, "embed_tokens.bin") : push(j, o->embed_context, "embed_context.bin");
    if (code == EXIT_DONE && !o->skip_push)
        code = there(j, "chmod", cpu ? "chmod +x eyelet" : "chmod +x qnn-net-run genie-t2t-run", NULL);
    return code;
}

/* ---- the steps ---- */

static const char *const libraries = "LD_LIBRARY_PATH=.:/vendor/dsp/cdsp:/vendor/lib64 "
                                     "ADSP_LIBRARY_PATH='.;/vendor/dsp/cdsp;/vendor/lib/rfsa/adsp;/system/lib/rfsa/adsp;/dsp' ";

/* vision or embed: its files there, the program, its rows back. */
static int step(struct job *j, const char *name, const char *raw) {
    char command[4096], from[4096], to[4096];
    bool cpu = j->o->backend == BACKEND_CPU, vision = strcmp(name, "vision") == 0;
    const char *part = !cpu ? (vision ? "vision_context.bin" : "embed_context.bin")
                            : (vision ? "vision_encoder.bin" : "embed_tokens.bin");
    snprintf(from, sizeof from, "%s/%s_input_list.txt", j->run, name);
    snprintf(to, sizeof to, "%s/run/%s_input_list.txt", j->remote, name);
    int code = transfer(j, "push", from, to);
    snprintf(from, sizeof from, "%s/%s", j->run, raw);
    snprintf(to, sizeof to, "%s/run/%s", j->remote, raw);
    if (code == EXIT_DONE) code = transfer(j, "push", from, to);
    snprintf(command, sizeof command,
             "%s%s --backend libQnnHtp.so --retrieve_context %s --input_list run/%s_input_list.txt --use_native_input_files "
             "--use_native_output_files --output_dir run/%s_out --num_inferences 1",
             cpu ? "" : libraries, cpu ? "./eyelet net-run" : "./qnn-net-run", part, name, name);
    if (code == EXIT_DONE) code = there(j, vision ? "vision step" : "embedder step", command, NULL);
    snprintf(from, sizeof from, "%s/run/%s_out", j->remote, name);
    return code == EXIT_DONE ? transfer(j, "pull", from, j->run) : code;
}

/* ",int8,SCALE,OFFSET" of a table that is not float32, by the folder's manifest; "" else. */
static int table_type(struct job *j, char *out, size_t cap) {
    char path[4096];
    json_error_t e;
    snprintf(path, sizeof path, "%s/manifest.json", j->o->dir);
    json_t *root = json_load_file(path, 0, &e), *lut = json_object_get(root, "lut");
    const char *type = json_string_value(json_object_get(lut, "type"));
    out[0] = '\0';
    if (!type || strlen(type) > 16) {
        json_decref(root);
        return ui_failf(j->ui, "%s: no manifest of \"eyelet export genie\"", path);
    }
    if (strcmp(type, "float32") != 0)
        snprintf(out, cap, ",%s,%.9g,%g", type, json_number_value(json_object_get(lut, "scale")),
                 json_number_value(json_object_get(lut, "offset")));
    json_decref(root);
    return EXIT_DONE;
}

/* The answer, as Genie prints it: between its tags. */
static void print_answer(const char *text) {
    const char *begin = strstr(text, "[BEGIN]: "), *end = begin ? strstr(begin, "[END]") : NULL;
    if (!begin && (begin = strstr(text, "[COMPLETE]: ")) != NULL) end = strstr(begin, "[END]");
    if (!begin) return;
    begin = strchr(begin, ' ') + 1;
    printf("%.*s\n", (int)(end ? end - begin : (long)strcspn(begin, "\n")), begin);
    fflush(stdout);
}

/* Genie's times are microseconds. */
static void note_profile(struct job *j, const char *path) {
    static const struct { const char *key, *name; double per; const char *unit; } shown[] = {
        {"num-prompt-tokens", "prompt", 1, "tokens"}, {"time-to-first-token", "first token", 1000, "ms"},
        {"num-generated-tokens", "answer", 1, "tokens"}, {"token-generation-rate", "rate", 1, "tok/s"}};
    json_error_t e;
    json_t *root = json_load_file(path, 0, &e), *event;
    const json_t *events = json_object_get(json_array_get(json_object_get(root, "components"), 0), "events");
    size_t i, n = 0;
    json_array_foreach(events, i, event) {
        const char *type = json_string_value(json_object_get(event, "type"));
        if (!type || strcmp(type, "GenieDialog_query") != 0) continue;
        for (size_t k = 0; k < sizeof shown / sizeof shown[0]; k++, n++)
            ui_note(j->ui, "%-12s %.1f %s", shown[k].name,
                    json_number_value(json_object_get(json_object_get(event, shown[k].key), "value")) / shown[k].per,
                    shown[k].unit);
    }
    if (!n) ui_note(j->ui, "warning: %s is no profile of Genie's", path);
    json_decref(root);
}

static int decode(struct job *j) {
    char command[4096], from[4096], to[4096], type[96], *text;
    static const char *const files[] = {"combined_embeddings_fp32.raw", "genie_config.json"};
    bool cpu = j->o->backend == BACKEND_CPU;
    int code = table_type(j, type, sizeof type);
    for (size_t i = 0; code == EXIT_DONE && i < 2; i++) {
        snprintf(from, sizeof from, "%s/%s", j->run, files[i]);
        snprintf(to, sizeof to, "%s/run/%s", j->remote, files[i]);
        code = transfer(j, "push", from, to);
    }
    snprintf(command, sizeof command,
             "%s%s --config run/genie_config.json --embedding_file run/combined_embeddings_fp32.raw --embedding_table "
                 "LUT.bin%s "
             "--embedding_query_output_type text --profile run/profile.json",
             cpu ? "" : libraries, cpu ? "./eyelet genie-t2t-run" : "./genie-t2t-run", type);
    if (code == EXIT_DONE) code = there(j, "decoder step", command, &text);
    if (code != EXIT_DONE) return code;
    print_answer(text);
    free(text);
    snprintf(from, sizeof from, "%s/run/profile.json", j->remote);
    snprintf(to, sizeof to, "%s/profile.json", j->run);
    code = transfer(j, "pull", from, to);
    if (code == EXIT_DONE) note_profile(j, to);
    return code;
}

/* ---- the run ---- */

static int prepare(struct job *j, const char *image, const char *prompt) {
    const struct device_opts *o = j->o;
    struct arg_list one = {.item = {image}, .n = 1};
    struct eye_err err = {0};
    struct eye_model *model;
    struct eye_image img;
    char there_dir[1100];
    uint64_t us;
    int code = cli_open(j->ui, &o->model, &model);
    if (code != EXIT_DONE) return code;
    snprintf(there_dir, sizeof there_dir, "%s/run", j->remote);
    code = cli_load_images(j->ui, &one, false, &img, &us);
    if (code == EXIT_DONE) {
        struct eye_genie_prepare p = {.prompt = prompt, .image = &img, .images_first = o->position == 1,
                                      .device_dir = there_dir};
        if (eye_genie_prepare_run(model, o->dir, j->run, &p, &err) != EYE_OK) code = ui_fail(j->ui, &err);
        cli_free_images(&img, 1);
    }
    ui_clear(j->ui);
    eye_model_close(model);
    return code;
}

static int run_all(struct job *j, const char *image, const char *prompt) {
    const struct device_opts *o = j->o;
    struct eye_genie_combine c = {.n_predict = o->n_predict, .device_dir = j->remote, .vision_ctx_info = o->vision_info,
                                  .embed_ctx_info = o->embed_info};
    struct eye_err err = {0};
    char command[2048], *out = NULL;
    snprintf(command, sizeof command, "mkdir -p %s/run && rm -rf %s/run/*", j->remote, j->remote);
    int code = prepare(j, image, prompt);
    if (code == EXIT_DONE) {
        code = adb_shell(&j->adb, command, &out);
        if (code > 0) adb_fail(&j->adb, "adb shell", out);
        free(out);
        code = code == 0 ? EXIT_DONE : EXIT_FAILED;
    }
    if (code == EXIT_DONE) code = push_all(j);
    if (code == EXIT_DONE) code = step(j, "vision", "pixel_values.raw");
    if (code == EXIT_DONE) code = step(j, "embed", "input_ids.raw");
    if (code == EXIT_DONE && eye_genie_combine_run(o->dir, j->run, &c, NULL, &err) != EYE_OK) code = ui_fail(j->ui, &err);
    if (code == EXIT_DONE) code = decode(j);
    free(j->sums);
    if (code == EXIT_DONE) ui_note(j->ui, "%-12s %s", "files", j->run);
    return code;
}

static int check(const struct device_opts *o) {
    if (!o->dir) return args_usage(&cmd_device_run, "-d is missing: the folder of \"eyelet export genie\"");
    if (o->backend == BACKEND_CPU && !o->eyelet && !o->skip_push)
        return args_usage(&cmd_device_run, "--backend cpu needs --eyelet: this program built for the device");
    if (o->backend == BACKEND_QNN && !o->skip_push && (!o->tools || !o->vision_context || !o->embed_context))
        return args_usage(&cmd_device_run, "--backend qnn needs --tools, --vision-context and --embed-context");
    if (o->remote && (o->remote[0] != '/' || !plain(o->remote) || strlen(o->remote) > 500))
        return args_usage(&cmd_device_run, "--remote-dir is \"%s\", expected an absolute path of plain letters", o->remote);
    return EXIT_DONE;
}

/* max_new, image_size, decoder_precision, vision_precision, as scripts in the field give them. */
static int take_operands(struct device_opts *o, char *const *operand, int n) {
    static const struct { const char *names, *file; } decoders[] = {
        {" fp32 f16 fp16 ", "decoder.bin"}, {" int8 z8 ", "decoder_z8.bin"}, {" int4 q4 ", "decoder_q4.bin"}};
    char *end, word[32];
    o->decoder_file = "decoder.bin";
    for (int i = 2; i < n && i < 4; i++) {
        long v = strtol(operand[i], &end, 10);
        if (end == operand[i] || *end || v < 0 || v > 1 << 24)
            return args_usage(&cmd_device_run, "%s is \"%s\", expected a whole number", i == 2 ? "max_new" : "image_size",
                              operand[i]);
        *(i == 2 ? &o->n_predict : &o->model.image_side) = (int32_t)v;
    }
    if (n > 4) {
        snprintf(word, sizeof word, " %.24s ", operand[4]);
        o->decoder_file = NULL;
        for (size_t i = 0; i < 3; i++)
            if (strstr(decoders[i].names, word)) o->decoder_file = decoders[i].file;
        if (!o->decoder_file)
            return args_usage(&cmd_device_run, "decoder_precision is \"%s\", expected fp32, fp16, int8 (z8) or int4 (q4)",
                              operand[4]);
    }
    if (n > 5 && strcmp(operand[5], "int8") != 0 && strcmp(operand[5], "fp16") != 0)
        return args_usage(&cmd_device_run, "vision_precision is \"%s\", expected int8 or fp16", operand[5]);
    return EXIT_DONE;
}

/* The exported part takes bytes iff int8 is asked for. */
static int check_vision(struct ui *ui, const struct device_opts *o, const char *precision) {
    char path[4096];
    json_error_t e;
    snprintf(path, sizeof path, "%s/manifest.json", o->dir);
    json_t *root = json_load_file(path, 0, &e);
    const char *input = json_string_value(json_object_get(json_object_get(root, "image"), "input"));
    bool bytes = input && strncmp(input, "uint8", 5) == 0, fits = bytes == (strcmp(precision, "int8") == 0);
    json_decref(root);
    if (fits) return EXIT_DONE;
    return ui_failf(ui, "%s: its vision part takes %s; export it with --vision %s", o->dir, bytes ? "bytes" : "floats",
                    bytes ? "f16" : "int8");
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct device_opts *o = opts;
    struct ui ui;
    struct job j = {.o = o, .ui = &ui, .adb = {&ui, o->adb ? o->adb : "adb", o->serial}};
    const char *skip = getenv("SKIP_PUSH");
    o->skip_push |= skip && strcmp(skip, "1") == 0;
    int code = take_operands(o, operand, n_operands);
    if (code == EXIT_DONE) code = check(o);
    if (code != EXIT_DONE) return code;
    ui_init(&ui, o->model.quiet, o->model.verbose);
    if (n_operands > 5) code = check_vision(&ui, o, operand[5]);
    if (code != EXIT_DONE) return code;
    j.remote = o->remote ? o->remote : "/data/local/tmp/eyelet";
    time_t now = time(NULL);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y%m%d_%H%M%S", localtime(&now));
    int n = o->out ? snprintf(j.run, sizeof j.run, "%s", o->out)
                   : snprintf(j.run, sizeof j.run, "%s/run_outputs/%s", o->dir, stamp);
    if (n >= (int)sizeof j.run) return ui_failf(&ui, "the run folder's path is too long");
    return run_all(&j, operand[0], operand[1]);
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
    .details = "The steps of doc/npu.md: prepare here, vision and embedder there, combine here, decode there. Files that the "
        "device has\n"
               "already, by their hash, are not pushed again. decoder_precision: fp32 and fp16 are DIR's decoder.bin; int8 "
                   "(z8) and int4 (q4)\n"
               "are the vendor's composer's, as decoder_z8.bin and decoder_q4.bin in DIR.",
    .args = device_args, .examples = examples, .opts_bytes = sizeof(struct device_opts), .operand = "IMAGE PROMPT",
    .min_operands = 2,
    .max_operands = 6, .run = run,
};
