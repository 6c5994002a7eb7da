/* fastvlm: see fastvlm.h. */
#include "fastvlm.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "eyelet/calibrate.h"
#include "eyelet/image.h"
#include "json.h"

const char *const flow_decoder_names[] = {"fp32", "fp16", NULL}, *const flow_lut_names[] = {"f32", "f16", "int8", NULL},
                  *const flow_vision_names[] = {"stored", "fp16", "int8", NULL};

const char *flow_variable(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool path_of(const char *dir, const char *name, char *out) {
    return snprintf(out, CLI_PATH_MAX, "%s/%s", dir, name) < CLI_PATH_MAX;
}

static int too_long(struct ui *ui, const char *dir) { return ui_failf(ui, "%.200s…: the path is too long", dir); }

/* With -v: what a step took. */
static void note_step(struct ui *ui, const char *step, uint64_t begin_us) {
    if (ui->verbose) ui_note(ui, "%-10s %.0f ms", step, (double)(ui_now_us() - begin_us) / 1e3);
}

/* ---- the export ---- */

/* Was anything of the model changed after the manifest was written? */
static bool newer(const char *model, time_t manifest) {
    struct stat st;
    char path[CLI_PATH_MAX];
    bool is_newer = stat(model, &st) == 0 && !S_ISDIR(st.st_mode) && st.st_mtime > manifest;
    DIR *d = is_newer ? NULL : opendir(model);
    for (struct dirent *e; d && !is_newer && (e = readdir(d)) != NULL;)
        is_newer = path_of(model, e->d_name, path) && stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_mtime > manifest;
    if (d) closedir(d);
    return is_newer;
}

static bool same_name(const char *model, const char *exported) {
    size_t n = strlen(model);
    while (n > 1 && model[n - 1] == '/') n--;
    size_t at = n;
    while (at && model[at - 1] != '/') at--;
    return strlen(exported) == n - at && memcmp(exported, model + at, n - at) == 0;
}

static bool up_to_date(const struct flow *f) {
    struct eye_genie_folder is;
    struct eye_err err;
    struct stat st;
    char path[CLI_PATH_MAX];
    if (f->fresh || !path_of(f->dir, "manifest.json", path) || stat(path, &st) != 0) return false;
    if (eye_genie_folder_read(f->dir, &is, &err) != EYE_OK) return false;
    return same_name(f->model.path, is.model) && !newer(f->model.path, st.st_mtime) &&
           (!f->model.n_ctx || f->model.n_ctx == is.n_ctx) && (int)is.decoder == f->decoder && (int)is.lut == f->lut &&
           (!is.sees || is.takes_bytes == (f->vision == 2));
}

/* Pictures of noise for int8, where no pictures are given. */
static int write_noise(struct ui *ui, const char *dir) {
    enum { SIDE = 256, PICTURES = 8 };
    char path[CLI_PATH_MAX + 32];
    uint64_t state = 1;
    mkdir(dir, 0777); /* there already, or the first file says what is wrong */
    for (int i = 0; i < PICTURES; i++) {
        snprintf(path, sizeof path, "%s/noise_%d.ppm", dir, i);
        FILE *out = fopen(path, "wb");
        if (!out) return ui_failf(ui, "%s: cannot be written", path);
        fprintf(out, "P6 %d %d 255\n", SIDE, SIDE);
        for (int k = 0; k < SIDE * SIDE * 3; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            putc((int)(state >> 56), out);
        }
        bool failed = ferror(out) != 0;
        if (fclose(out) != 0 || failed) return ui_failf(ui, "%s: cannot be written", path);
    }
    return EXIT_DONE;
}

/* DIR/calibration: samples and their list, for quantizers that find ranges themselves. */
static int write_samples(struct ui *ui, const struct flow *f) {
    struct eye_samples_report r;
    struct eye_err err = {0};
    char dir[CLI_PATH_MAX];
    struct eye_samples_opts o = {.pictures = f->random ? NULL : f->calibration, .random = f->random,
                                 .max_samples = f->random ? 8 : (uint32_t)f->max_pictures, .cancel = ui_interrupted};
    if (!path_of(f->dir, "calibration", dir)) return too_long(ui, f->dir);
    enum eye_status st = eye_samples_write(f->model.path, dir, &o, &r, &err);
    for (uint64_t i = 0; i < r.n_unreadable; i++) ui_note(ui, "left out: %s", r.unreadable[i]);
    eye_samples_report_clear(&r);
    return st == EYE_OK ? EXIT_DONE : ui_fail(ui, &err);
}

static int export(struct ui *ui, const struct flow *f) {
    static const enum eye_weight_type vision[] = {EYE_WEIGHT_STORED, EYE_WEIGHT_F16, EYE_WEIGHT_INT8};
    char noise[CLI_PATH_MAX];
    struct eye_err err = {0};
    struct eye_genie_opts g = {.n_ctx = f->model.n_ctx, .decoder = (enum eye_genie_float)f->decoder,
                               .lut = (enum eye_lut_type)f->lut, .vision = vision[f->vision], .calibration = f->calibration,
                               .max_pictures = (uint32_t)f->max_pictures,
                               .tokenizer_json = f->model.tokenizer, .progress = ui_progress, .progress_ctx = ui,
                               .cancel = ui_interrupted};
    uint64_t begin = ui_now_us();
    int code = EXIT_DONE;
    if (f->random) ui_note(ui, "warning: calibrating on noise: its ranges are wrong for pictures");
    if (f->random && f->vision == 2) {
        mkdir(f->dir, 0777);
        if (!path_of(f->dir, "noise", noise)) return too_long(ui, f->dir);
        code = write_noise(ui, noise);
        g.calibration = noise;
    }
    if (code == EXIT_DONE && eye_genie_export(f->model.path, f->dir, &g, NULL, &err) != EYE_OK) code = ui_fail(ui, &err);
    ui_clear(ui);
    if (code == EXIT_DONE && (f->random || f->calibration)) code = write_samples(ui, f);
    if (code == EXIT_DONE) note_step(ui, "export", begin);
    return code;
}

/* ---- the steps ---- */

static int name_folders(struct ui *ui, struct flow *f) {
    char stamp[32];
    time_t now = time(NULL);
    if (!f->model.path) f->model.path = flow_variable("MODEL_DIR");
    if (!(f->model.path = cli_model_path(ui, f->model.path, f->model_buf))) return EXIT_FAILED;
    if (!f->dir) f->dir = "fastvlm-genie";
    strftime(stamp, sizeof stamp, "%Y%m%d_%H%M%S", localtime(&now));
    if (f->run) return EXIT_DONE;
    if (snprintf(f->run_buf, sizeof f->run_buf, "%s/run_outputs/%s", f->dir, stamp) >= CLI_PATH_MAX)
        return too_long(ui, f->dir);
    f->run = f->run_buf;
    return EXIT_DONE;
}

int flow_begin(struct ui *ui, struct flow *f) {
    const char *n = flow_variable("MAX_NEW_TOKENS");
    if (n && f->n_predict == 256) { /* the option's default: not given */
        char *end;
        long v = strtol(n, &end, 10);
        if (end == n || *end || v < 0 || v > 1 << 24)
            return ui_failf(ui, "MAX_NEW_TOKENS is \"%s\", expected a whole number", n);
        f->n_predict = (int32_t)v;
    }
    if (f->calibration && f->random) return ui_failf(ui, "--calibration or --random, not both");
    if (f->vision == 2 && !f->calibration && !f->random)
        return ui_failf(ui, "--vision-precision int8: ranges come from pictures: give a folder of them (--calibration DIR), or "
                        "--random "
                        "to try the flow out");
    int code = name_folders(ui, f);
    if (code != EXIT_DONE) return code;
    ui_catch_interrupt();
    if (!up_to_date(f)) return export(ui, f);
    if (ui->verbose) ui_note(ui, "%-10s %s, as it is", "export", f->dir);
    return EXIT_DONE;
}

int flow_prepare(struct ui *ui, struct flow *f, struct eye_model *model, const char *image, const char *prompt, bool raw) {
    struct arg_list one = {.item = {image}, .n = 1};
    struct eye_image img;
    struct eye_err err = {0};
    uint64_t us, begin = ui_now_us();
    int code = cli_load_images(ui, &one, f->no_exif, &img, &us);
    if (code != EXIT_DONE) return code;
    struct eye_genie_prepare p = {.prompt = prompt, .image = &img, .raw = raw, .images_first = f->position == 1};
    if (eye_genie_prepare_run(model, f->dir, f->run, &p, &err) != EYE_OK) code = ui_fail(ui, &err);
    cli_free_images(&img, 1);
    note_step(ui, "prepare", begin);
    return code;
}

/* One part: what `net-run` does with its list. */
static int run_part(struct ui *ui, const struct flow *f, const char *step, const char *file) {
    char part[CLI_PATH_MAX], list[CLI_PATH_MAX + 32], out[CLI_PATH_MAX + 16];
    struct eye_genie_part *net;
    struct eye_err err = {0};
    uint32_t n;
    uint64_t begin = ui_now_us();
    if (!path_of(f->dir, file, part)) return too_long(ui, f->dir);
    snprintf(list, sizeof list, "%s/%s_input_list.txt", f->run, step);
    snprintf(out, sizeof out, "%s/%s_out", f->run, step);
    struct eye_genie_part_run_opts o = {.input_list = list, .output_dir = out, .native_inputs = true, .native_outputs = true,
                                        .cancel = ui_interrupted};
    if (eye_genie_part_open(part, f->model.n_threads, &net, &err) != EYE_OK) return ui_fail(ui, &err);
    int code = eye_genie_part_run(net, &o, &n, &err) == EYE_OK ? EXIT_DONE : ui_fail(ui, &err);
    eye_genie_part_close(net);
    note_step(ui, step, begin);
    return code;
}

int flow_rows(struct ui *ui, const struct flow *f, bool prefill_only, struct eye_genie_combined *out) {
    struct eye_genie_combine c = {.n_predict = f->n_predict, .prefill_only = prefill_only};
    struct eye_err err = {0};
    int code = run_part(ui, f, "vision", "vision_encoder.bin");
    if (code == EXIT_DONE) code = run_part(ui, f, "embed", "embed_tokens.bin");
    if (code == EXIT_DONE && eye_genie_combine_run(f->dir, f->run, &c, out, &err) != EYE_OK) code = ui_fail(ui, &err);
    return code;
}

int flow_dialog(struct ui *ui, const struct flow *f, const char *path, struct eye_genie_dialog **dialog) {
    char table[CLI_PATH_MAX + EYE_GENIE_TABLE_ARG], type[EYE_GENIE_TABLE_ARG];
    struct eye_err err = {0};
    struct eye_genie_dialog_opts o = {.n_threads = f->model.n_threads, .log = ui_log, .log_ctx = ui, .progress = ui_progress,
                                      .progress_ctx = ui, .cancel = ui_interrupted};
    if (eye_genie_table_arg(f->dir, type, &err) != EYE_OK || eye_genie_dialog_open(path, &o, dialog, &err) != EYE_OK)
        return ui_fail(ui, &err);
    snprintf(table, sizeof table, "%s/LUT.bin%s", f->dir, type);
    ui_clear(ui);
    if (eye_genie_dialog_table(*dialog, table, &err) == EYE_OK) return EXIT_DONE;
    eye_genie_dialog_close(*dialog);
    return ui_fail(ui, &err);
}

static bool on_piece(void *ctx, enum eye_genie_code code, const char *text, int32_t token) {
    (void)ctx, (void)token;
    return code != EYE_GENIE_END && text && cli_print_piece(NULL, text, strlen(text));
}

struct eye_genie_query flow_query(const struct flow *f) {
    return (struct eye_genie_query){.piece = f->json ? NULL : on_piece, .n_predict = f->n_predict};
}

int flow_answer(struct ui *ui, const struct flow *f, const struct eye_genie_dialog *d, const struct eye_genie_answer *a,
                const struct eye_genie_combined *rows) {
    char profile[CLI_PATH_MAX];
    struct eye_err err = {0};
    const struct eye_result *r = &a->result;
    if (!path_of(f->run, "profile.json", profile)) return too_long(ui, f->run);
    if (!f->json) putchar('\n');
    fflush(stdout);
    if (eye_profile_save(profile, eye_genie_dialog_open_us(d), r, &err) != EYE_OK) return ui_fail(ui, &err);
    cli_note_timings(ui, r);
    if (ui->verbose) ui_note(ui, "%-10s %s", "files", f->run);
    if (!f->json) return EXIT_DONE;
    json_t *tokens = json_array();
    for (size_t i = 0; i < r->n_tokens; i++) json_array_append_new(tokens, json_integer(r->tokens[i]));
    return json_print(ui, json_pack("{s:o,s:o,s:I,s:I,s:f,s:o,s:o}", "text", json_outside(r->text), "tokens", tokens,
                                    "image_tokens", (json_int_t)rows->n_image_rows, "prompt_tokens",
                                    (json_int_t)rows->n_image_rows + rows->n_text_rows, "first_token_ms",
                                    (double)r->timings.first_token_us / 1e3, "run", json_outside(f->run), "genie",
                                    json_outside(f->dir)));
}
