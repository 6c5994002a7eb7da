/* eyelet bench: how long each stage takes on this machine. One warm-up, then runs; median, least and most of each. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_caption.h"
#include "bench_concurrent.h"
#include "bench_hpml.h"
#include "cli.h"
#include "eyelet/experimental.h"
#include "json.h"

struct bench_opts {
    struct model_args model;
    const char *image, *caption;
    int32_t n_runs, n_prefill, n_decode, n_captions, n_concurrent, n_beams;
    bool hpml, json, csv, ops, roofline;
};

#define T struct bench_opts
static const struct arg bench_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_TEXT, 'i', "image", "FILE", "picture; left out: a made-up one", offsetof(T, image)},
    {ARG_INT, 'r', "runs", "N", "measured runs", offsetof(T, n_runs), 1, 1000, .def = 5},
    {ARG_INT, 0, "prefill", "N", "tokens of the prefill; 0 = one image and 32 tokens of text", offsetof(T, n_prefill), 0,
     1 << 20},
    {ARG_INT, 0, "decode", "N", "tokens decoded after it", offsetof(T, n_decode), 1, 1 << 20, .def = 64},
    {ARG_TEXT, 0, "caption", "DIR", "instead: finished captions a second, of the pictures in this folder, from file to end token",
     offsetof(T, caption)},
    {ARG_INT, 0, "concurrent", "N", "instead: requests a second, one at a time and N at once, of made-up pictures or --caption's",
     offsetof(T, n_concurrent), 1, 256},
    {ARG_INT, 0, "captions", "N", "captions, or requests, that these measure", offsetof(T, n_captions), 1, 1 << 20, .def = 200},
    {ARG_INT, 0, "beams", "N", "of --concurrent's requests; 0 = the model's own number", offsetof(T, n_beams), 0, 16, .def = 1},
    {ARG_FLAG, 0, "hpml", NULL,
     "instead: the HPML study's benchmark, one forward over ten tokens, with the picture seen: plain, quantized, compiled, both",
     offsetof(T, hpml)},
    {ARG_FLAG, 0, "roofline", NULL, "measure memory and multipliers as well: each stage's share of their limit",
     offsetof(T, roofline)},
    {ARG_FLAG, 0, "ops", NULL, "time per op as well: of the last prefill and the last decoded token", offsetof(T, ops)},
    JSON_ARG(T),
    {ARG_FLAG, 0, "csv", NULL, "comma-separated values", offsetof(T, csv)},
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

enum stage { IMAGE_DECODE, RESIZE, VISION, PROJECTOR, PREFILL, DECODE, N_STAGES };
static const char *const stage_names[N_STAGES] = {"image_decode", "resize", "vision", "projector", "prefill", "decode"};

struct bench { /* everything of one measurement */
    const struct bench_opts *o;
    struct ui *ui;
    struct eye_model *model;
    struct eye_session *s;
    struct eye_model_info info;
    struct eye_image img;    /* made up, or loaded anew in each run */
    uint8_t *pixels;         /* of the made-up image */
    float *rows;             /* [image_tokens, hidden] */
    float *logits;           /* [n_vocab] */
    int32_t *ids;            /* [n_prefill] */
    size_t n_prefill, n_image_tok;
    uint64_t *us[N_STAGES];  /* [n_runs] */
    struct ops { /* of the last run */
        struct eye_op_time *op;
        size_t n;
    } prefill_ops, decode_ops; /* the picture's are among the first */
    struct eye_speed speed;       /* --roofline */
    double limit_ms[N_STAGES];    /* 0 = not known */
};

/* ---- measuring ---- */

static bool make_image(struct bench *b, int side) {
    struct eye_err err;
    b->pixels = cli_make_pixels(side, 0);
    return b->pixels && eye_image_wrap(&b->img, b->pixels, side, side, 0, &err) == EYE_OK;
}

static enum eye_status run_image(struct bench *b, uint64_t us[N_STAGES], struct eye_err *err) {
    struct eye_timings t = {0};
    uint64_t begin = ui_now_us();
    if (b->o->image) {
        eye_image_free(&b->img);
        enum eye_status st = eye_image_load(b->o->image, NULL, &b->img, err);
        if (st != EYE_OK) return st;
        us[IMAGE_DECODE] = ui_now_us() - begin;
    }
    enum eye_status st = eye_session_encode_image(b->s, &b->img, b->rows, &t, err);
    us[RESIZE] = t.preprocess_us;
    us[VISION] = t.vision_us;
    us[PROJECTOR] = t.projector_us;
    return st;
}

/* false: no memory */
static bool note_ops(const struct bench *b, struct ops *o) {
    free(o->op);
    o->n = eye_session_op_times(b->s, NULL, 0);
    o->op = calloc(o->n + 1, sizeof *o->op);
    return o->op && eye_session_op_times(b->s, o->op, o->n) == o->n;
}

static enum eye_status run_text(struct bench *b, uint64_t us[N_STAGES], bool last, struct eye_err *err) {
    eye_session_reset(b->s);
    uint64_t begin = ui_now_us();
    enum eye_status st = eye_session_prefill(b->s, b->ids, b->n_prefill, b->rows, b->logits, err);
    us[PREFILL] = ui_now_us() - begin;
    if (last && b->o->ops && !note_ops(b, &b->prefill_ops)) return ui_err(err, EYE_E_NOMEM, "out of memory");
    begin = ui_now_us();
    for (int32_t i = 0; st == EYE_OK && i < b->o->n_decode; i++)
        st = eye_session_step(b->s, b->ids[b->n_prefill - 1], b->logits, err);
    us[DECODE] = ui_now_us() - begin;
    if (last && b->o->ops && st == EYE_OK && !note_ops(b, &b->decode_ops)) return ui_err(err, EYE_E_NOMEM, "out of memory");
    return st;
}

static enum eye_status measure(struct bench *b, struct eye_err *err) {
    for (int32_t run = -1; run < b->o->n_runs; run++) { /* run -1 warms up: packs weights, touches memory */
        uint64_t us[N_STAGES] = {0};
        ui_progress(b->ui, run < 0 ? "warming up" : "measuring", (double)(run + 1) / (b->o->n_runs + 1));
        if (b->info.image_side || b->o->image) { /* an image for a model without eyes: the library says so */
            enum eye_status st = run_image(b, us, err);
            if (st != EYE_OK) return st;
        }
        enum eye_status st = run_text(b, us, run + 1 == b->o->n_runs, err);
        if (st != EYE_OK) return st;
        for (int k = 0; run >= 0 && k < N_STAGES; k++) b->us[k][run] = us[k];
    }
    ui_progress(b->ui, "measuring", 1);
    return EYE_OK;
}

/* ---- results ---- */

struct summary { double median_ms, min_ms, max_ms; };

static int compare_us(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static struct summary summarize(uint64_t *us, int32_t n) {
    qsort(us, (size_t)n, sizeof *us, compare_us);
    double median = n % 2 ? (double)us[n / 2] : ((double)us[n / 2 - 1] + (double)us[n / 2]) / 2;
    struct summary s = {median / 1e3, (double)us[0] / 1e3, (double)us[n - 1] / 1e3};
    return s;
}

static size_t stage_tokens(const struct bench *b, int k) {
    return k == PREFILL ? b->n_prefill : k == DECODE ? (size_t)b->o->n_decode : 0;
}

/* The least each stage can take here. */
static enum eye_status find_limits(struct bench *b, struct eye_err *err) {
    static const int stage_of[EYE_N_STAGE] = {VISION, PROJECTOR, PREFILL, DECODE};
    struct eye_stage_cost cost[EYE_N_STAGE];
    ui_progress(b->ui, "measuring the machine", 0);
    enum eye_status st = eye_speed_measure(b->info.n_threads, (uint64_t)256 << 20, ui_interrupted, NULL, &b->speed, err);
    int32_t n = (int32_t)b->n_prefill;
    if (st == EYE_OK) st = eye_model_cost(b->model, n, n + b->o->n_decode / 2, cost, err);
    if (st != EYE_OK) return st;
    for (int k = 0; k < EYE_N_STAGE; k++) {
        double times = k == EYE_STAGE_DECODE ? b->o->n_decode : 1;
        b->limit_ms[stage_of[k]] = times * eye_stage_limit_s(&cost[k], &b->speed) * 1e3;
    }
    ui_progress(b->ui, "measuring the machine", 1);
    return EYE_OK;
}

static double share(const struct bench *b, int k, double ms) { return ms > 0 ? 100 * b->limit_ms[k] / ms : 0; }

static void print_roofline(const struct bench *b) {
    const double *peak = b->speed.peak_flop_per_s;
    printf("limits: read %.1f GB/s, f32 %.5g, bf16 %.5g, int8 %.5g Gop/s\n", b->speed.read_bytes_per_s / 1e9,
           peak[EYE_SPEED_F32] / 1e9, peak[EYE_SPEED_BF16] / 1e9, peak[EYE_SPEED_Q8_0] / 1e9);
}

static double rate(size_t tokens, double ms) { return tokens && ms > 0 ? (double)tokens * 1e3 / ms : 0; }

static bool stage_ran(const struct bench *b, int k) {
    return k == IMAGE_DECODE ? b->o->image != NULL : k >= PREFILL || b->info.image_side > 0;
}

static void print_table(struct bench *b) {
    char rss[32];
    printf("%s, decoder %s, vision %s, kv %s, %d threads, %zu prompt tokens (%zu of the image)\n", b->info.architecture,
           cli_weight_names[b->info.decoder_type], cli_weight_names[b->info.vision_type], cli_cache_names[b->info.cache_type],
           b->info.n_threads, b->n_prefill, b->n_image_tok);
    printf("%-14s %10s %10s %10s %12s%s\n", "stage", "median ms", "min", "max", "tok/s",
           b->o->roofline ? "   limit ms   % of limit" : "");
    for (int k = 0; k < N_STAGES; k++) {
        char tokens[32] = "";
        if (!stage_ran(b, k)) continue;
        struct summary s = summarize(b->us[k], b->o->n_runs);
        size_t n = stage_tokens(b, k);
        if (n) snprintf(tokens, sizeof tokens, "%.1f", rate(n, s.median_ms));
        printf("%-14s %10.2f %10.2f %10.2f %12s", stage_names[k], s.median_ms, s.min_ms, s.max_ms, tokens);
        if (b->limit_ms[k] > 0) printf(" %10.2f %12.1f", b->limit_ms[k], share(b, k, s.median_ms));
        putchar('\n');
    }
    if (b->o->roofline) print_roofline(b);
    printf("%-14s %10s\n", "peak_memory", cli_bytes(eye_peak_rss_bytes(), rss, sizeof rss));
}

static void print_csv(struct bench *b) {
    printf("stage,median_ms,min_ms,max_ms,tokens,tok_per_s\n");
    for (int k = 0; k < N_STAGES; k++) {
        if (!stage_ran(b, k)) continue;
        struct summary s = summarize(b->us[k], b->o->n_runs);
        size_t n = stage_tokens(b, k);
        printf("%s,%.3f,%.3f,%.3f,%zu,%.2f\n", stage_names[k], s.median_ms, s.min_ms, s.max_ms, n, rate(n, s.median_ms));
    }
    printf("peak_rss_bytes,%llu,,,,\n", (unsigned long long)eye_peak_rss_bytes());
}

static json_t *limits_json(const struct bench *b) {
    const double *peak = b->speed.peak_flop_per_s;
    return json_pack("{s:f,s:f,s:f,s:f}", "read_gb_per_s", b->speed.read_bytes_per_s / 1e9, "f32_gop_per_s",
                     peak[EYE_SPEED_F32] / 1e9, "bf16_gop_per_s", peak[EYE_SPEED_BF16] / 1e9, "int8_gop_per_s",
                     peak[EYE_SPEED_Q8_0] / 1e9);
}

static bool of_image(const struct eye_op_time *op) { return !strcmp(op->graph, "vision") || !strcmp(op->graph, "projector"); }

/* The picture's ops and the prefill's, then the token's. */
static void each_op(const struct bench *b, void (*fn)(void *ctx, const char *stage, const struct eye_op_time *op), void *ctx) {
    for (size_t i = 0; i < b->prefill_ops.n; i++) {
        const struct eye_op_time *op = &b->prefill_ops.op[i];
        fn(ctx, of_image(op) ? "image" : "prefill", op);
    }
    for (size_t i = 0; i < b->decode_ops.n; i++)
        if (!of_image(&b->decode_ops.op[i])) fn(ctx, "decode", &b->decode_ops.op[i]);
}

static void op_json(void *ctx, const char *stage, const struct eye_op_time *op) {
    json_array_append_new(ctx, json_pack("{s:s,s:s,s:s,s:o,s:I}", "stage", stage, "graph", op->graph, "op", op->op, "name",
                                         json_outside(op->name), "ns", (json_int_t)op->ns));
}

static int print_json(struct bench *b) {
    json_t *root = json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i}", "architecture", b->info.architecture, "decoder",
                             cli_weight_names[b->info.decoder_type], "vision", cli_weight_names[b->info.vision_type], "kv",
                             cli_cache_names[b->info.cache_type], "threads", b->info.n_threads, "runs", b->o->n_runs,
                             "image_tokens", (int)b->n_image_tok);
    json_t *stages = json_object();
    for (int k = 0; k < N_STAGES; k++) {
        if (!stage_ran(b, k)) continue;
        struct summary s = summarize(b->us[k], b->o->n_runs);
        json_t *o = json_pack("{s:f,s:f,s:f}", "median_ms", s.median_ms, "min_ms", s.min_ms, "max_ms", s.max_ms);
        size_t n = stage_tokens(b, k);
        if (n) json_object_set_new(o, "tokens", json_integer((json_int_t)n));
        if (n) json_object_set_new(o, "tok_per_s", json_real(rate(n, s.median_ms)));
        if (b->limit_ms[k] > 0) json_object_set_new(o, "limit_ms", json_real(b->limit_ms[k]));
        if (b->limit_ms[k] > 0) json_object_set_new(o, "percent_of_limit", json_real(share(b, k, s.median_ms)));
        json_object_set_new(stages, stage_names[k], o);
    }
    json_object_set_new(root, "stages", stages);
    if (b->o->roofline) json_object_set_new(root, "limits", limits_json(b));
    json_object_set_new(root, "peak_rss_bytes", json_integer((json_int_t)eye_peak_rss_bytes()));
    if (b->o->ops) {
        json_t *ops = json_array();
        each_op(b, op_json, ops);
        json_object_set_new(root, "ops", ops);
    }
    return json_print(b->ui, root);
}

static void op_line(void *ctx, const char *stage, const struct eye_op_time *op) {
    (void)ctx;
    printf("%-8s %-10s %-12s %10.1f  %s\n", stage, op->graph, op->op, (double)op->ns / 1e3, op->name);
}

static void print_ops(const struct bench *b) {
    printf("\n%-8s %-10s %-12s %10s  %s\n", "stage", "graph", "op", "us", "value");
    each_op(b, op_line, NULL);
}

/* ---- the command ---- */

static bool prepare(struct bench *b) {
    eye_model_get_info(b->model, &b->info);
    b->n_image_tok = b->info.image_side ? (size_t)b->info.image_tokens : 0;
    b->n_prefill = b->o->n_prefill ? (size_t)b->o->n_prefill : b->n_image_tok + 32;
    if (b->n_image_tok > b->n_prefill) b->n_image_tok = b->n_prefill;
    /* Zeros: a picture of fewer tiles than most leaves the rest of them. */
    b->rows = calloc((size_t)b->info.image_tokens * (size_t)b->info.hidden + 1, sizeof *b->rows);
    b->logits = malloc((size_t)b->info.n_vocab * sizeof *b->logits);
    b->ids = malloc(b->n_prefill * sizeof *b->ids);
    if (!b->rows || !b->logits || !b->ids) return false;
    for (size_t i = 0; i < b->n_prefill; i++)
        b->ids[i] = i < b->n_image_tok ? EYE_TOKEN_IMAGE_ROW : (int32_t)((i * 7919) % (size_t)(b->info.n_vocab / 2));
    if (b->n_image_tok == b->n_prefill) b->ids[b->n_prefill - 1] = 0, b->n_image_tok--;
    for (int k = 0; k < N_STAGES; k++)
        if (!(b->us[k] = calloc((size_t)b->o->n_runs, sizeof *b->us[k]))) return false;
    return b->o->image || !b->info.image_side || make_image(b, b->info.image_side);
}

static void release(struct bench *b) {
    for (int k = 0; k < N_STAGES; k++) free(b->us[k]);
    free(b->prefill_ops.op);
    free(b->decode_ops.op);
    free(b->ids);
    free(b->logits);
    free(b->rows);
    eye_image_free(&b->img);
    free(b->pixels);
    eye_session_free(b->s);
    eye_model_close(b->model);
}

static int bench(struct bench *b) {
    struct eye_err err = {0};
    size_t n_ctx;
    if (!prepare(b)) return ui_failf(b->ui, "out of memory");
    n_ctx = (size_t)b->info.n_ctx;
    if (b->n_prefill > n_ctx || (size_t)b->o->n_decode > n_ctx - b->n_prefill)
        return ui_failf(b->ui, "--prefill %zu and --decode %d do not fit the context of %zu; raise it (-c), or measure less",
                        b->n_prefill, b->o->n_decode, n_ctx);
    if (eye_session_new(b->model, NULL, &b->s, &err) != EYE_OK) return ui_fail(b->ui, &err);
    if (b->o->ops) eye_session_time_ops(b->s, true);
    if (measure(b, &err) != EYE_OK || (b->o->roofline && find_limits(b, &err) != EYE_OK)) return ui_fail(b->ui, &err);
    if (b->o->json) return print_json(b);
    (b->o->csv ? print_csv : print_table)(b);
    if (b->o->ops && !b->o->csv) print_ops(b);
    return EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct bench_opts *o = opts;
    struct ui ui;
    struct bench b = {.o = o, .ui = &ui};
    (void)operand, (void)n_operands;
    ui_init(&ui, o->model.quiet, o->model.verbose);
    if (o->json && o->csv) return args_usage(&cmd_bench, "--json and --csv exclude each other");
    if (o->roofline && (o->csv || o->caption || o->hpml))
        return args_usage(&cmd_bench, "--roofline goes with the table of stages or --json: no --csv, --caption or --hpml");
    if (o->caption && (o->csv || o->ops || o->image))
        return args_usage(&cmd_bench, "--caption measures whole captions: no --image, --csv or --ops beside it");
    if (o->hpml && (o->csv || o->ops || o->image || o->caption || o->model.decoder || o->model.vision))
        return args_usage(&cmd_bench, "--hpml has its own picture and types: no --image, --caption, --csv, --ops, --decoder or --vision");
    if (o->n_concurrent && (o->hpml || o->csv || o->ops || o->image || o->roofline))
        return args_usage(&cmd_bench, "--concurrent measures whole requests: no --hpml, --image, --csv, --ops or --roofline "
                                      "beside it");
    if (o->n_concurrent)
        return bench_concurrent(&ui, &o->model, o->caption, o->n_concurrent, o->n_beams, o->n_captions, o->json);
    if (o->hpml) return bench_hpml(&ui, &o->model, o->n_runs, o->json);
    if (o->caption) return bench_captions(&ui, &o->model, o->caption, o->n_captions, o->json);
    struct model_args args = o->model;
    args.cache_dir = NULL; /* a picture seen before would not be looked at */
    int code = cli_open(&ui, &args, &b.model);
    if (code == EXIT_DONE) code = bench(&b);
    ui_clear(&ui);
    release(&b);
    return code;
}

static const struct example examples[] = {
    {"Time per stage", "eyelet bench -m fastvlm.gguf -i photo.jpg"},
    {"Captions a second, on one core and on all", "eyelet bench -m captioner --caption photos"},
    {"The HPML study's four rows, for a student of its shape",
     "eyelet train init recipes/hpml.json -o hpml --data DATA; eyelet bench --hpml -m hpml/student"},
    {"Many requests at once", "eyelet bench --concurrent 8 --caption photos"},
    {"How close to what the machine can do", "eyelet bench -m fastvlm.gguf --roofline"},
    {"Where the time goes", "eyelet bench -m fastvlm.gguf --ops --json"},
    {NULL, NULL},
};

const struct command cmd_bench = {
    .name = "bench",
    .usage = "[-m MODEL] [-i IMAGE | --caption DIR | --concurrent N | --hpml] [-r RUNS] [--json | --csv] [OPTIONS]",
    .summary = "how long each stage takes: image decode, resize, vision, projector, prefill, decode; peak memory",
    .details = "--caption: a caption is done when its end token is: the file is read, decoded, resized, seen, every token written.\n"
               "Each worker has one thread. --concurrent: a client asks again as soon as it is answered; pictures are in memory,\n"
               "all different, and caches off, but for the rows of the same picture. --hpml: what plain, quantized, compiled\n"
               "and both mean is in doc/TRAINING.md.",
    .args = bench_args, .examples = examples, .opts_bytes = sizeof(struct bench_opts), .run = run,
};
