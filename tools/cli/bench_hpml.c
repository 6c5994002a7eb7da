/* bench_hpml: see bench_hpml.h. What is timed is one forward as the study has it: pixels of the tower's size and ten tokens in,
 * logits of these ten tokens out; nothing is decoded, resized or generated. Unlike there, the tower runs and its rows stand before
 * the tokens; that it does is shown: the operations it ran are counted, and the logits must change with the picture.
 *
 *   plain      f32; the graph as its family writes it, node by node: batch norms, activations, residuals on their own
 *   quantized  the same, but tower and projector in static int8, every matrix of the decoder, embedding and head in q8_0; a scale
 *              per row holds its batch norm
 *   compiled   f32 again; folded, fused
 *   both       int8, folded, fused; bytes on the edges between int8 operations
 *
 * Matrices are packed for their kernels before the first forward in all four. */
#include "bench_hpml.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eyelet/convert.h"
#include "eyelet/experimental.h"
#include "json.h"

enum { N_TOK = 10, N_ROWS = 4, N_CALIBRATION = 4, CALIBRATION_SIDE = 256 };

struct row {
    const char *name;
    bool int8, compiled;
    double study_ms; /* what the study's notebook stores for its row of that name */
    double ms, min_ms, max_ms, look_ms; /* the median forward; of it, tower and projector */
    uint64_t weight_bytes;              /* packed, in memory */
    size_t n_steps, n_products;         /* run in a forward; of them, the tower's convolutions and products of matrices */
    double cosine;                      /* of the logits with those of plain */
    double change;                      /* most that a logit moves when the picture is another one */
    float *logits;                      /* [N_TOK, vocab] */
};
struct forward { /* of one row */
    struct eye_model *model;
    struct eye_session *s;
    struct eye_model_info info;
    uint8_t *pixels[2];
    float *image_rows;
    int32_t *ids; /* [image rows + N_TOK] */
    size_t n_ids;
};
struct run {
    struct ui *ui;
    const struct model_args *args;
    int32_t n_runs;
    char path[CLI_PATH_MAX];
    struct eye_model_info info; /* of the first row; its texts are gone */
    char architecture[160];
    char folder[CLI_PATH_MAX], file[CLI_PATH_MAX + 32]; /* "" or where the int8 file was made */
    struct row row[N_ROWS];
};

/* ---- the int8 file ---- */

static void calibration_name(const struct run *r, int i, char out[CLI_PATH_MAX + 32]) {
    snprintf(out, CLI_PATH_MAX + 32, "%s/%d.ppm", r->folder, i);
}

/* Made-up pictures do: ranges decide what int8 gives, not how long it takes. */
static bool write_pictures(const struct run *r) {
    bool ok = true;
    for (int i = 0; ok && i < N_CALIBRATION; i++) {
        char name[CLI_PATH_MAX + 32];
        calibration_name(r, i, name);
        uint8_t *pixels = cli_make_pixels(CALIBRATION_SIDE, i);
        FILE *f = fopen(name, "wb");
        size_t bytes = (size_t)CALIBRATION_SIDE * CALIBRATION_SIDE * 3;
        ok = pixels && f && fprintf(f, "P6 %d %d 255\n", CALIBRATION_SIDE, CALIBRATION_SIDE) > 0 && fwrite(pixels, 1, bytes, f) == bytes;
        if (f && fclose(f) != 0) ok = false;
        free(pixels);
    }
    return ok;
}

static void on_progress(void *ctx, double done) { ui_progress(ctx, "making an int8 copy", done); }

/* Of a model that is not int8: a copy that is, in a folder of its own. */
static int make_int8(struct run *r) {
    const char *tmp = getenv("TMPDIR");
    struct eye_err err = {0};
    snprintf(r->folder, sizeof r->folder, "%s/eyelet-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(r->folder)) {
        int code = ui_failf(r->ui, "%s: no folder can be made there (TMPDIR)", r->folder);
        r->folder[0] = '\0';
        return code;
    }
    snprintf(r->file, sizeof r->file, "%s/int8.gguf", r->folder);
    if (!write_pictures(r)) return ui_failf(r->ui, "%s: cannot be written (disk full?)", r->folder);
    struct eye_convert_opts o = {.vision_type = EYE_WEIGHT_INT8, .calibration = r->folder, .mmproj = r->args->mmproj,
                                 .progress = on_progress, .progress_ctx = r->ui, .cancel = ui_interrupted};
    enum eye_status st = eye_convert(r->path, r->file, &o, NULL, &err);
    ui_clear(r->ui);
    return st == EYE_OK ? EXIT_DONE : ui_fail(r->ui, &err);
}

static void remove_int8(const struct run *r) {
    char name[CLI_PATH_MAX + 32];
    if (!r->folder[0]) return;
    for (int i = 0; i < N_CALIBRATION; i++) {
        calibration_name(r, i, name);
        remove(name);
    }
    remove(r->file);
    rmdir(r->folder);
}

/* ---- one row ---- */

static int open_row(struct run *r, const struct row *row, struct forward *f) {
    struct model_args a = *r->args;
    struct eye_err err = {0};
    a.path = row->int8 && r->file[0] ? r->file : r->path;
    if (row->int8 && r->file[0]) a.mmproj = NULL; /* the copy has it inside */
    a.decoder = row->int8 ? EYE_WEIGHT_Q8_0 : EYE_WEIGHT_F32;
    a.vision = row->int8 ? EYE_WEIGHT_INT8 : EYE_WEIGHT_F32;
    a.n_parallel = N_TOK; /* rows of the head at once */
    a.cache_dir = NULL;   /* a picture seen before would not be looked at */
    int code = cli_open(r->ui, &a, &f->model);
    if (code != EXIT_DONE) return code;
    if (!row->compiled) eye_model_leave_unfused(f->model);
    eye_model_get_info(f->model, &f->info);
    struct eye_session_opts o = {.with_images = true};
    if (eye_session_new(f->model, &o, &f->s, &err) != EYE_OK) return ui_fail(r->ui, &err);
    ui_clear(r->ui);
    return EXIT_DONE;
}

static bool take_memory(struct row *row, struct forward *f) {
    size_t n_rows = (size_t)f->info.image_tokens, vocab = (size_t)f->info.n_vocab;
    for (int i = 0; i < 2; i++)
        if (!(f->pixels[i] = cli_make_pixels(f->info.image_side, 3 * i))) return false;
    f->image_rows = calloc(n_rows * (size_t)f->info.hidden, sizeof *f->image_rows);
    f->ids = malloc((n_rows + N_TOK) * sizeof *f->ids);
    row->logits = calloc(N_TOK * vocab, sizeof *row->logits);
    return f->image_rows && f->ids && row->logits;
}

static enum eye_status look(struct forward *f, int picture, struct eye_timings *t, struct eye_err *err) {
    struct eye_image img;
    enum eye_status st = eye_image_wrap(&img, f->pixels[picture], f->info.image_side, f->info.image_side, 0, err);
    if (st != EYE_OK) return st;
    f->n_ids = (size_t)eye_model_image_rows(f->model, &img);
    for (size_t i = 0; i < f->n_ids; i++) f->ids[i] = EYE_TOKEN_IMAGE_ROW;
    for (size_t i = 0; i < N_TOK; i++) f->ids[f->n_ids++] = (int32_t)(i * 7919 % ((size_t)f->info.n_vocab / 2 + 1));
    return eye_session_encode_image(f->s, &img, f->image_rows, t, err);
}

/* *us: from pixels to logits; *look_us of it for tower and projector. */
static enum eye_status forward(struct forward *f, int picture, float *logits, uint64_t *us, uint64_t *look_us, struct eye_err *err) {
    struct eye_timings t = {0};
    enum eye_status st = look(f, picture, &t, err);
    uint64_t begin = ui_now_us();
    eye_session_reset(f->s);
    if (st == EYE_OK) st = eye_session_prefill_logits(f->s, f->ids, f->n_ids, f->image_rows, N_TOK, logits, err);
    *look_us = t.vision_us + t.projector_us;
    *us = *look_us + ui_now_us() - begin;
    return st;
}

/* What ran in the last forward. A fused feed-forward block is two products. */
static bool count_steps(struct row *row, const struct forward *f) {
    size_t n = eye_session_op_times(f->s, NULL, 0);
    struct eye_op_time *op = calloc(n + 1, sizeof *op);
    if (!op) return false;
    n = eye_session_op_times(f->s, op, n);
    for (size_t i = 0; i < n; i++) {
        bool tower = strcmp(op[i].graph, "vision") == 0;
        if (op[i].ns == 0) continue; /* skipped */
        row->n_steps++;
        if (tower && (strcmp(op[i].op, "conv2d") == 0 || strcmp(op[i].op, "linear") == 0)) row->n_products++;
        if (tower && strcmp(op[i].op, "ffn") == 0) row->n_products += 2;
    }
    free(op);
    return true;
}

static enum eye_status measure(struct run *r, struct row *row, struct forward *f, uint64_t (*us)[2], struct eye_err *err) {
    uint64_t warm[2];
    enum eye_status st = forward(f, 0, row->logits, &warm[0], &warm[1], err);
    for (int32_t i = 0; st == EYE_OK && i < r->n_runs; i++) st = forward(f, 0, row->logits, &us[i][0], &us[i][1], err);
    return st;
}

/* The other picture, with steps timed: that is how they are counted. */
static int inspect(struct run *r, struct row *row, struct forward *f) {
    size_t n = N_TOK * (size_t)f->info.n_vocab;
    float *other = calloc(n, sizeof *other);
    struct eye_err err = {0};
    struct eye_memory mem;
    uint64_t us[2];
    if (!other) return ui_failf(r->ui, "out of memory");
    eye_session_time_ops(f->s, true);
    enum eye_status st = forward(f, 1, other, &us[0], &us[1], &err);
    if (st == EYE_OK) st = eye_model_memory(f->model, 0, &mem, &err);
    int code = st == EYE_OK ? EXIT_DONE : ui_fail(r->ui, &err);
    if (st == EYE_OK) {
        row->weight_bytes = mem.weights;
        for (size_t i = 0; i < n; i++) {
            double moved = fabs((double)other[i] - (double)row->logits[i]); /* no fmax: gcc 12 for aarch64 fails on it here */
            row->change = moved > row->change ? moved : row->change;
        }
        if (!count_steps(row, f)) code = ui_failf(r->ui, "out of memory");
    }
    free(other);
    return code;
}

static double cosine(const float *a, const float *b, size_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

static int by_time(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int run_row(struct run *r, struct row *row, struct forward *f) {
    struct eye_err err = {0};
    uint64_t(*us)[2] = calloc((size_t)r->n_runs, sizeof *us);
    int code = us && take_memory(row, f) ? EXIT_DONE : ui_failf(r->ui, "out of memory");
    if (code == EXIT_DONE && measure(r, row, f, us, &err) != EYE_OK) code = ui_fail(r->ui, &err);
    if (code == EXIT_DONE) {
        qsort(us, (size_t)r->n_runs, sizeof *us, by_time);
        row->ms = (double)us[r->n_runs / 2][0] / 1e3;
        row->look_ms = (double)us[r->n_runs / 2][1] / 1e3;
        row->min_ms = (double)us[0][0] / 1e3;
        row->max_ms = (double)us[r->n_runs - 1][0] / 1e3;
        code = inspect(r, row, f);
    }
    free(us);
    return code;
}

static void close_row(struct forward *f) {
    free(f->pixels[0]);
    free(f->pixels[1]);
    free(f->image_rows);
    free(f->ids);
    eye_session_free(f->s);
    eye_model_close(f->model);
}

static int one_row(struct run *r, int i) {
    struct forward f = {.model = NULL};
    struct row *row = &r->row[i];
    ui_progress(r->ui, row->name, (double)i / N_ROWS);
    int code = open_row(r, row, &f);
    if (code == EXIT_DONE) code = run_row(r, row, &f);
    if (code == EXIT_DONE) {
        row->cosine = cosine(r->row[0].logits, row->logits, N_TOK * (size_t)f.info.n_vocab);
        if (i == 0) r->info = f.info;
    }
    close_row(&f);
    return code;
}

/* ---- results ---- */

#define STUDY(line) \
    "what its notebook stores: one forward, the mean of 10 without warm-up; its CPU and threads are not recorded. The tower's result" line \
    "went nowhere: traced, 52 convolutions were recorded and none ran. \"quantized\" were 4 linear layers, and the file grew from 339 to" line \
    "372 MB; \"compiled\" is TorchScript's trace. The weights: an untrained tower, a stock DistilGPT2."

static void print_table(const struct run *r) {
    char bytes[32];
    printf("%s, %d px, %d image rows and %d tokens, %d threads; milliseconds of one forward, median of %d\n", r->architecture,
           r->info.image_side, r->info.image_tokens, N_TOK, r->info.n_threads, r->n_runs);
    printf("%-10s %8s %8s %8s %8s %7s %11s %6s %9s %8s %9s %8s\n", "", "forward", "vision", "decoder", "x plain", "steps", "weights",
           "convs", "cosine", "picture", "study", "x plain");
    for (int i = 0; i < N_ROWS; i++) {
        const struct row *w = &r->row[i];
        printf("%-10s %8.2f %8.2f %8.2f %8.2f %7zu %11s %6zu %9.6f %8.3g %9.1f %8.2f\n", w->name, w->ms, w->look_ms, w->ms - w->look_ms,
               r->row[0].ms / w->ms, w->n_steps, cli_bytes(w->weight_bytes, bytes, sizeof bytes), w->n_products, w->cosine, w->change,
               w->study_ms, r->row[0].study_ms / w->study_ms);
    }
    printf("convs: the tower's convolutions and products that ran; cosine: of the logits with those of plain; picture: most that a\n"
           "  logit moves with another picture\n");
    printf("study: " STUDY("\n  ") "\n");
}

static int print_json(const struct run *r) {
    json_t *rows = json_array();
    for (int i = 0; i < N_ROWS; i++) {
        const struct row *w = &r->row[i];
        json_array_append_new(rows, json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:f, s:f, s:f}", "name", w->name, "ms",
                                              w->ms, "min_ms", w->min_ms, "max_ms", w->max_ms, "vision_ms", w->look_ms, "decoder_ms",
                                              w->ms - w->look_ms, "times_plain", r->row[0].ms / w->ms, "weight_bytes",
                                              (json_int_t)w->weight_bytes, "steps", (json_int_t)w->n_steps, "vision_products",
                                              (json_int_t)w->n_products, "cosine_with_plain", w->cosine, "change_with_picture",
                                              w->change, "study_ms", w->study_ms));
    }
    return json_print(r->ui, json_pack("{s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:s, s:o}", "architecture", r->architecture, "parameters",
                                       (json_int_t)r->info.n_params, "image_side", (int)r->info.image_side, "image_rows",
                                       (int)r->info.image_tokens, "tokens", N_TOK, "threads", (int)r->info.n_threads, "runs",
                                       (int)r->n_runs, "study", STUDY(" "), "rows", rows));
}

/* What the model is; an int8 copy of it where it is none. */
static int prepare(struct run *r) {
    struct eye_model *model = NULL;
    const char *path = cli_model_path(r->ui, r->args->path, r->path);
    if (!path) return EXIT_FAILED;
    if (path != r->path && (size_t)snprintf(r->path, sizeof r->path, "%s", path) >= sizeof r->path)
        return ui_failf(r->ui, "%s: the name is too long", path);
    struct model_args a = *r->args;
    a.path = r->path;
    int code = cli_open(r->ui, &a, &model);
    if (code != EXIT_DONE) return code;
    eye_model_get_info(model, &r->info);
    snprintf(r->architecture, sizeof r->architecture, "%s", r->info.architecture);
    bool one_form = strcmp(r->info.file_format, "compiled") == 0;
    eye_model_close(model);
    if (one_form) return ui_failf(r->ui, "%s: a compiled file has its weights in one form; name what it was compiled from", r->path);
    if (!r->info.image_side) return ui_failf(r->ui, "%s: a model of text: there is no tower to run", r->path);
    return r->info.vision_type == EYE_WEIGHT_INT8 ? EXIT_DONE : make_int8(r);
}

int bench_hpml(struct ui *ui, const struct model_args *model, int32_t n_runs, bool json) {
    struct run r = {.ui = ui, .args = model, .n_runs = n_runs,
                    .row = {{.name = "plain", .study_ms = 571.2},
                            {.name = "quantized", .int8 = true, .study_ms = 143.6},
                            {.name = "compiled", .compiled = true, .study_ms = 119.3},
                            {.name = "both", .int8 = true, .compiled = true, .study_ms = 73.5}}};
    int code = prepare(&r);
    for (int i = 0; code == EXIT_DONE && i < N_ROWS; i++) code = one_row(&r, i);
    remove_int8(&r);
    ui_clear(ui);
    if (code == EXIT_DONE) {
        if (json) code = print_json(&r);
        else print_table(&r);
    }
    for (int i = 0; i < N_ROWS; i++) free(r.row[i].logits);
    return code;
}
