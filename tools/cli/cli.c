/* cli: see cli.h. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub_cache.h"

/* In the order of the enums of eyelet/model.h. */
const char *const cli_weight_names[] = {"stored", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "int8", NULL};
const char *const cli_cache_names[] = {"auto", "f16", "f32", "i8", NULL};
const char *const cli_fit_names[] = {"model", "pad", "crop", "stretch", NULL};
const char *const cli_merge_names[] = {"similar", "pool", NULL};
const char *const cli_position_names[] = {"template", "first", NULL};

_Static_assert(CLI_PATH_MAX >= HUB_PATH_MAX, "a path of the cache fits");

/* A file or folder that is there is meant before a name of the hub that looks the same. */
static const char *given_path(struct ui *ui, const char *given, char *buf) {
    struct hub_name name;
    struct eye_err err = {0};
    char cache[HUB_PATH_MAX], snapshot[HUB_PATH_MAX], mmproj[HUB_PATH_MAX];
    if (access(given, F_OK) == 0 || !hub_name_parse(given, &name)) return given;
    if (hub_cache_dir(NULL, cache, &err) != EYE_OK) return given;
    if (hub_cache_find(cache, &name, snapshot, NULL, &err) != EYE_OK) {
        ui_failf(ui, "%s: no such file or folder, and no model that was pulled: %s", given, err.text);
        return NULL;
    }
    hub_cache_model(snapshot, buf, mmproj);
    return buf;
}

const char *cli_model_path(struct ui *ui, const char *given, char *buf) {
    struct eye_err err = {0};
    if (given) return given_path(ui, given, buf);
    if (eye_default_model(buf, CLI_PATH_MAX, &err) == EYE_OK) return buf;
    ui_failf(ui, "no model given (-m, or EYELET_MODEL), and %s. One to start with is apple/FastVLM-0.5B on huggingface.co",
             err.text);
    return NULL;
}

int cli_open(struct ui *ui, const struct model_args *a, struct eye_model **model) {
    char found[CLI_PATH_MAX];
    struct eye_err err = {0};
    struct eye_model_opts opts = {
        .n_threads = a->n_threads,
        .cpu_features = a->cpu,
        .n_ctx = a->n_ctx,
        .n_parallel = a->n_parallel,
        .image_side = a->image_side,
        .image_tokens = a->image_tokens,
        .image_merge = (enum eye_image_merge)a->image_merge,
        .no_mmap = a->no_mmap,
        .decoder_type = (enum eye_weight_type)a->decoder,
        .vision_type = (enum eye_weight_type)a->vision,
        .cache_type = (enum eye_cache_type)a->cache,
        .fit = (enum eye_fit)a->fit,
        .chat_template = a->chat_template, .mmproj = a->mmproj, .tokenizer = a->tokenizer,
        .cache_dir = a->cache_dir,
        .cache_bytes = (uint64_t)a->cache_mib << 20,
        .log = ui_log,
        .log_ctx = ui,
        .progress = ui_progress,
        .progress_ctx = ui,
        .cancel = ui_interrupted,
    };
    ui_catch_interrupt();
    const char *path = cli_model_path(ui, a->path, found);
    if (!path) return EXIT_FAILED;
    if (!a->path && ui->verbose) ui_note(ui, "the default model: %s", path);
    return eye_model_open(path, &opts, model, &err) == EYE_OK ? EXIT_DONE : ui_fail(ui, &err);
}

uint8_t *cli_make_pixels(int side, int kind) {
    uint8_t *pixels = malloc((size_t)side * (size_t)side * 3);
    for (int y = 0; pixels && y < side; y++)
        for (int x = 0; x < side; x++) {
            uint8_t *p = pixels + ((size_t)y * (size_t)side + (size_t)x) * 3;
            p[kind % 3] = (uint8_t)(x * 255 / side);
            p[(kind + 1) % 3] = (uint8_t)(kind / 3 % 2 ? 255 - y * 255 / side : y * 255 / side);
            p[(kind + 2) % 3] = (uint8_t)((x * 7) ^ (y * (13 + kind)));
        }
    return pixels;
}

int cli_load_images(struct ui *ui, const struct arg_list *files, bool no_exif, struct eye_image *img, uint64_t *decode_us) {
    struct eye_image_opts opts = {.no_exif_orientation = no_exif};
    struct eye_err err = {0};
    uint64_t begin = ui_now_us();
    for (int32_t i = 0; i < files->n; i++) {
        bool is_stdin = strcmp(files->item[i], "-") == 0;
        if (is_stdin) ui_release_interrupt();
        enum eye_status st = eye_image_load(files->item[i], &opts, &img[i], &err);
        if (is_stdin) ui_catch_interrupt();
        if (st != EYE_OK) {
            cli_free_images(img, i);
            return ui_fail(ui, &err);
        }
        if (img[i].n_warnings > 0)
            ui_note(ui, "%s: damaged in %d places; the picture may look odd", files->item[i], img[i].n_warnings);
    }
    *decode_us = files->n ? ui_now_us() - begin : 0;
    return EXIT_DONE;
}

void cli_free_images(struct eye_image *img, int32_t n) {
    for (int32_t i = 0; i < n; i++) eye_image_free(&img[i]);
}

/* ---- answers ---- */

struct eye_generate_opts cli_generate_opts(const struct sampling_args *a) {
    return (struct eye_generate_opts){
        .temperature = a->temperature, .top_k = a->top_k, .top_p = a->top_p, .min_p = a->min_p,
        .repeat_penalty = a->repeat_penalty, .frequency_penalty = a->frequency_penalty, .presence_penalty = a->presence_penalty,
        .penalty_last_n = a->penalty_last_n, .seed = a->seed, .stop = a->stop.item, .n_stop = (size_t)a->stop.n,
        .n_beams = a->n_beams, .length_penalty = a->length_penalty, .ignore_eos = a->ignore_eos,
    };
}

int cli_read_schema(struct ui *ui, const struct command *cmd, const struct form_args *a, char **schema) {
    const char *text = a->object ? "{\"type\":\"object\"}" : a->schema;
    size_t n;
    *schema = NULL;
    if (!text) return EXIT_DONE;
    if (a->object && a->schema)
        return args_usage(cmd, "--json-object asks for any object, --json-schema for some: which of them?");
    if (text[strspn(text, " \t\r\n")] != '{') return cli_read_file(ui, text, schema, &n);
    *schema = strdup(text);
    return *schema ? EXIT_DONE : ui_failf(ui, "out of memory");
}

int cli_make_grammar(struct ui *ui, struct eye_model *model, const char *schema, struct eye_grammar **g) {
    struct eye_err err = {0};
    *g = NULL;
    return !schema || eye_grammar_json_schema(model, schema, g, &err) == EYE_OK ? EXIT_DONE : ui_fail(ui, &err);
}

bool cli_print_piece(void *ctx, const char *text, size_t bytes) {
    (void)ctx;
    fwrite(text, 1, bytes, stdout);
    return fflush(stdout) != 0;
}

static double per_second(size_t n, uint64_t us) { return us ? (double)n * 1e6 / (double)us : 0; }

double cli_prefill_rate(const struct eye_result *r) {
    return per_second(r->n_prompt_tok - r->n_cached_tok, r->timings.prefill_us);
}

double cli_decode_rate(const struct eye_result *r) {
    return r->n_tokens > 1 ? per_second(r->n_tokens - 1, r->timings.decode_us) : 0;
}

void cli_note_timings(struct ui *ui, const struct eye_result *r) {
    if (!ui->terminal && !ui->verbose) return;
    const struct eye_timings *t = &r->timings;
    if (r->n_image_tok)
        ui_note(ui, "image %.0f ms (decode %.0f, resize %.0f, vision %.0f, projector %.0f)",
                (double)(t->image_decode_us + t->preprocess_us + t->vision_us + t->projector_us) / 1e3,
                (double)t->image_decode_us / 1e3, (double)t->preprocess_us / 1e3, (double)t->vision_us / 1e3,
                (double)t->projector_us / 1e3);
    ui_note(ui, "prompt %zu tokens %.0f ms (%.1f tok/s), first token %.0f ms, answer %zu tokens %.1f tok/s (%s)",
            r->n_prompt_tok, (double)t->prefill_us / 1e3, cli_prefill_rate(r),
            (double)t->first_token_us / 1e3, r->n_tokens, cli_decode_rate(r), eye_finish_name(r->finish));
    if (r->n_guessed) ui_note(ui, "guessed %zu tokens, %zu right", r->n_guessed, r->n_guessed_right);
}

/* ---- text ---- */

bool cli_parse_ids(const char *text, int32_t min, int32_t **ids, size_t *n) {
    size_t cap = strlen(text) / 2 + 1;
    *ids = malloc(cap * sizeof **ids);
    *n = 0;
    if (!*ids) return false;
    for (;;) {
        text += strspn(text, " ,\t\r\n");
        if (!*text) return true;
        char *end;
        errno = 0;
        long v = strtol(text, &end, 10);
        if (end == text || errno || v < min || v > INT32_MAX || (*end && !strchr(" ,\t\r\n", *end))) break;
        (*ids)[(*n)++] = (int32_t)v;
        text = end;
    }
    free(*ids);
    *ids = NULL;
    return false;
}

char *cli_bytes(uint64_t bytes, char *out, size_t cap) {
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    int i = 0;
    while (v >= 1024 && i < 4) {
        v /= 1024;
        i++;
    }
    snprintf(out, cap, i ? "%.2f %s" : "%.0f %s", v, unit[i]);
    return out;
}

int cli_read_file(struct ui *ui, const char *path, char **text, size_t *len) {
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    size_t cap = 0, n = 0;
    char *p = NULL;
    if (!f) return ui_failf(ui, "%s: cannot open: %s", path, strerror(errno));
    bool failed = false;
    if (is_stdin) ui_release_interrupt();
    for (;;) {
        if (n + 1 >= cap) {
            cap = cap ? cap * 2 : 65536;
            char *q = realloc(p, cap);
            if (!q) {
                failed = true;
                errno = ENOMEM;
                break;
            }
            p = q;
        }
        size_t got = fread(p + n, 1, cap - n - 1, f);
        n += got;
        if (got == 0) break;
    }
    failed = failed || ferror(f);
    int code = failed ? ui_failf(ui, "%s: cannot read: %s", path, strerror(errno)) : EXIT_DONE;
    if (is_stdin)
        ui_catch_interrupt();
    else
        fclose(f);
    if (failed) {
        free(p);
        return code;
    }
    p[n] = '\0';
    *text = p;
    *len = n;
    return EXIT_DONE;
}
