/* eyelet batch: captions for many pictures, one line each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch_output.h"
#include "batch_report.h"
#include "batch_source.h"
#include "batch_work.h"
#include "cli.h"
#include "eyelet/experimental.h"
#include "json.h"
#include "machine.h"

#define ONE_LANE_JOBS 12
#define USUAL_BEAMS 4 /* of models that search */
#define MOST_ROWS 512 /* of the head at once */
#define LOG_US 10000000 /* between lines about progress where no bar can be drawn, with -v */

struct batch_opts {
    struct model_args model;
    struct sampling_args sampling;
    struct form_args form;
    struct arg_list images;
    const char *prompt, *out, *report;
    int32_t n_predict, image_position, n_jobs, format;
    bool raw, truncate, no_exif, recursive, null, resume, overwrite, strict, json;
};
_Static_assert(sizeof(struct batch_opts) <= ARG_MAX_OPTS, "options fit what main.c allocates");

static const char *const format_names[] = {"auto", "jsonl", "csv", NULL}; /* order of enum batch_format */

#define T struct batch_opts
static const struct arg batch_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_LIST, 'i', "images", "DIR|LIST|-",
     "the same as an operand: folder, picture, list of paths, \"-\" = list on standard input",
     offsetof(T, images)},
    {ARG_TEXT, 'o', "output", "FILE", "lines to write, .jsonl or .csv; left out: standard output", offsetof(T, out)},
    {ARG_CHOICE, 0, "format", "F", "of the lines; auto: by the file's ending, else JSONL", offsetof(T, format),
     .choices = format_names},
    {ARG_FLAG, 0, "resume", NULL, "go on behind what FILE holds: its pictures are skipped, a half-written last line is cut off",
     offsetof(T, resume)},
    {ARG_FLAG, 0, "overwrite", NULL, "begin FILE anew whatever it holds", offsetof(T, overwrite)},
    {ARG_TEXT, 0, "report", "FILE", "write a page of HTML: thumbnails, captions, times", offsetof(T, report)},
    {ARG_FLAG, 'r', "recursive", NULL, "folders in folders", offsetof(T, recursive)},
    {ARG_FLAG, '0', "null", NULL, "paths in lists end with a zero byte (find -print0)", offsetof(T, null)},
    {ARG_INT, 'j', "jobs", "N", "pictures at once; 0 = what is fastest: several a thread, fewer where memory ends",
     offsetof(T, n_jobs), 0, BATCH_MAX_JOBS},
    {ARG_FLAG, 0, "strict", NULL, "the first picture that fails ends the batch", offsetof(T, strict)},
    {ARG_TEXT, 'p', "prompt", "TEXT", "what to ask of each picture; left out: a description", offsetof(T, prompt)},
    {ARG_INT, 'n', "predict", "N", "tokens at most; 0 = as far as the context allows", offsetof(T, n_predict), 0, 1 << 24,
     .def = 256},
    {ARG_FLAG, 0, "raw", NULL, "no chat template: the prompt as it stands, <image> marks the image's place", offsetof(T, raw)},
    IMAGE_POSITION_ARG(T, image_position),
    {ARG_FLAG, 0, "truncate", NULL, "cut the end of a prompt that does not fit the context", offsetof(T, truncate)},
    NO_EXIF_ARG(T),
    {ARG_FLAG, 0, "json", NULL, "with -o: the summary as one JSON object on standard output", offsetof(T, json)},
    SAMPLING_ARGS(T),
    FORM_ARGS(T, 0),
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

/* ---- the engine ---- */

struct batch {
    const struct batch_opts *o;
    struct ui ui, engine_ui; /* warnings come from the engine's threads; the terminal is the caller's */
    struct eye_model *model;
    struct eye_grammar *grammar; /* NULL = none */
    char *schema;         /* that captions are of; NULL = none */
    struct eye_batch_opts how;
    int n_jobs, n_threads, n_loaders;
    struct batch_output *output;
    struct batch_report *report;
    uint64_t n_done, n_failed, n_skipped, n_tokens; /* done: failed ones too */
    uint64_t n_total;                     /* 0 = not known before the end */
    uint64_t begin_us, logged_us;
};

/* Bytes of weights and of such a batch; UINT64_MAX: more than can be addressed. */
static enum eye_status measure(struct batch *b, const struct eye_batch_opts *how, uint64_t *bytes, struct eye_err *err) {
    struct eye_memory model;
    struct eye_batch_memory batch;
    enum eye_status st = eye_model_memory(b->model, 0, &model, err);
    if (st == EYE_OK) st = eye_batch_get_memory(b->model, how, &batch, err);
    *bytes = st == EYE_OK ? model.total - model.cache - model.activations + batch.total : UINT64_MAX;
    return st == EYE_E_LIMIT ? EYE_OK : st;
}

/* A lane a thread, as long as that fits in half of the memory that is free; where it does not all threads in one, of fewer
 * slots. */
static int choose_jobs(struct batch *b) {
    struct system sys;
    struct eye_err err = {0};
    uint64_t bytes;
    b->how = (struct eye_batch_opts){.n_slots = b->o->n_jobs, .n_lanes = EYE_LANES_MOST, .n_beams = b->o->sampling.n_beams,
                                     .image_cache_bytes = -1, .prefix_cache_bytes = -1};
    system_get(&sys);
    uint64_t free_bytes = sys.mem_free ? sys.mem_free / 2 : UINT64_MAX;
    if (measure(b, &b->how, &bytes, &err) != EYE_OK) return ui_fail(&b->ui, &err);
    if (b->o->n_jobs || bytes <= free_bytes) return EXIT_DONE;
    b->how.n_lanes = 1;
    for (b->how.n_slots = ONE_LANE_JOBS; b->how.n_slots > 1; b->how.n_slots--) {
        if (measure(b, &b->how, &bytes, &err) != EYE_OK) return ui_fail(&b->ui, &err);
        if (bytes <= free_bytes) break;
    }
    return EXIT_DONE;
}

static int open_model(struct batch *b) {
    struct eye_machine machine;
    struct model_args args = b->o->model;
    eye_machine_get(&machine);
    b->n_threads = args.n_threads ? args.n_threads : machine.n_cpus;
    b->n_loaders = b->o->n_jobs > b->n_threads ? b->o->n_jobs : b->n_threads;
    if (b->n_loaders > BATCH_MAX_JOBS) b->n_loaders = BATCH_MAX_JOBS;
    int32_t jobs = b->o->n_jobs > ONE_LANE_JOBS ? b->o->n_jobs : ONE_LANE_JOBS;
    int32_t rows = jobs * (b->o->sampling.n_beams ? b->o->sampling.n_beams : USUAL_BEAMS);
    args.n_parallel = rows < MOST_ROWS ? rows : MOST_ROWS;
    ui_init(&b->engine_ui, args.quiet, args.verbose);
    int code = cli_open(&b->engine_ui, &args, &b->model);
    if (code == EXIT_DONE) code = cli_make_grammar(&b->ui, b->model, b->schema, &b->grammar);
    return code == EXIT_DONE ? choose_jobs(b) : code;
}

/* Packs weights. */
static int make_batch(struct batch *b, struct eye_batch **batch) {
    struct eye_batch_stats stats;
    struct eye_err err = {0};
    if (eye_batch_new(b->model, &b->how, batch, &err) != EYE_OK) return ui_fail(&b->engine_ui, &err);
    eye_batch_get_stats(*batch, &stats);
    b->n_jobs = stats.n_slots;
    ui_clear(&b->engine_ui);
    b->engine_ui.bar_drawn = b->engine_ui.terminal; /* a warning clears the bar that the caller's thread draws */
    return EXIT_DONE;
}

/* ---- answers, progress ---- */

static int on_answer(void *ctx, const struct batch_record *r, const void *thumbnail, size_t thumbnail_bytes) {
    struct batch *b = ctx;
    int code = batch_output_put(b->output, r);
    if (code != EXIT_DONE) return code;
    b->n_done++;
    b->n_failed += r->error != NULL;
    b->n_tokens += r->error ? 0 : r->n_tokens;
    if (b->report) batch_report_add(b->report, r, thumbnail, thumbnail_bytes);
    if (r->error && b->ui.verbose) ui_note(&b->ui, "%s", r->error);
    return r->error && b->o->strict ? ui_failf(&b->ui, "%s", r->error) : EXIT_DONE;
}

static double seconds(const struct batch *b) { return (double)(ui_now_us() - b->begin_us) / 1e6; }
static double rate(const struct batch *b) { return seconds(b) > 0 ? (double)b->n_done / seconds(b) : 0; }

/* "1:02:03", "2:03" */
static void clock_text(double s, char *out, size_t cap) {
    uint64_t t = (uint64_t)(s + 0.5);
    if (t >= 3600) snprintf(out, cap, "%llu:%02u:%02u", (unsigned long long)(t / 3600), (unsigned)(t / 60 % 60),
                            (unsigned)(t % 60));
    else snprintf(out, cap, "%u:%02u", (unsigned)(t / 60), (unsigned)(t % 60));
}

static void on_tick(void *ctx, uint64_t n_skipped) {
    struct batch *b = ctx;
    char text[160], left[32] = "";
    uint64_t n = b->n_done + n_skipped;
    bool log = b->ui.verbose && !b->ui.terminal && ui_now_us() - b->logged_us > LOG_US;
    if (!b->ui.terminal && !log) return;
    size_t at = (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    if (b->n_total) at += (size_t)snprintf(text + at, sizeof text - at, " of %llu", (unsigned long long)b->n_total);
    at += (size_t)snprintf(text + at, sizeof text - at, " pictures, %.1f/s", rate(b));
    if (b->n_total && b->n_done && n <= b->n_total) {
        clock_text((double)(b->n_total - n) / rate(b), left, sizeof left);
        at += (size_t)snprintf(text + at, sizeof text - at, ", %s left", left);
    }
    if (b->n_failed) snprintf(text + at, sizeof text - at, ", %llu failed", (unsigned long long)b->n_failed);
    if (log) {
        ui_note(&b->ui, "%s", text);
        b->logged_us = ui_now_us();
    } else {
        ui_progress(&b->ui, text, b->n_total ? (double)n / (double)(b->n_total + 1) : -1);
    }
}

static int sum_up(struct batch *b, int code) {
    double s = seconds(b);
    ui_clear(&b->ui);
    if (b->o->json)
        json_print(&b->ui, json_pack("{s:o,s:I,s:I,s:I,s:I,s:f,s:f,s:i,s:i}", "output", json_outside(b->o->out), "captions",
                                     (json_int_t)(b->n_done - b->n_failed), "failed", (json_int_t)b->n_failed, "held",
                                     (json_int_t)b->n_skipped, "tokens", (json_int_t)b->n_tokens, "seconds", s, "pictures_per_s",
                                     rate(b), "jobs", b->n_jobs, "threads", b->n_threads));
    ui_note(&b->ui, "%llu captions in %.1f s (%.1f pictures/s, %d job%s, %d thread%s)%s",
            (unsigned long long)(b->n_done - b->n_failed), s,
            rate(b), b->n_jobs, b->n_jobs > 1 ? "s" : "", b->n_threads, b->n_threads > 1 ? "s" : "",
            code == EXIT_DONE ? "" : ", not all");
    if (b->n_failed) ui_note(&b->ui, "%llu pictures failed: their lines have \"error\"", (unsigned long long)b->n_failed);
    if (b->n_skipped) ui_note(&b->ui, "%llu were in %s already", (unsigned long long)b->n_skipped, b->o->out);
    return code;
}

/* ---- the run ---- */

static int check(const struct batch_opts *o, int n_operands) {
    bool to_stdout = !o->out || strcmp(o->out, "-") == 0;
    if (!n_operands && !o->images.n) return args_usage(&cmd_batch,
                                                       "nothing to do: name a folder, pictures, a list of them, or \"-\"");
    if (n_operands && o->images.n && getenv("EYELET_IMAGES") == NULL)
        return args_usage(&cmd_batch, "pictures are given by --images or as operands, not by both");
    if (o->resume && to_stdout) return args_usage(&cmd_batch, "--resume needs -o: the file to go on with");
    if (o->resume && o->overwrite) return args_usage(&cmd_batch, "--resume goes on, --overwrite begins anew: which of them?");
    if (o->json && to_stdout) return args_usage(&cmd_batch, "--json needs -o: standard output has the lines");
    if (o->raw && !o->prompt) return args_usage(&cmd_batch, "--raw needs a prompt (-p)");
    return EXIT_DONE;
}

static int work(struct batch *b, struct batch_source *source) {
    const struct batch_opts *o = b->o;
    struct batch_work w = {
        .ui = &b->ui, .source = source, .output = b->output, .n_loaders = b->n_loaders,
        .opts = cli_generate_opts(&o->sampling), .image = {.no_exif_orientation = o->no_exif},
        .query = {.text = o->prompt, .raw = o->raw, .truncate = o->truncate, .reserve = o->n_predict,
                  .position = (enum eye_image_position)o->image_position},
        .thumbnail_side = b->report ? BATCH_REPORT_SIDE : 0, .on_answer = on_answer, .on_tick = on_tick, .ctx = b,
    };
    int code = make_batch(b, &w.batch);
    if (code != EXIT_DONE) return code;
    w.n_jobs = b->n_jobs;
    w.opts.n_predict = o->n_predict;
    w.opts.grammar = b->grammar;
    b->begin_us = b->logged_us = ui_now_us();
    return sum_up(b, batch_work_run(&w, &b->n_skipped));
}

/* Cheap things that can be wrong come first, packing weights last. */
static int prepare(struct batch *b, const struct batch_source_opts *sopts, struct batch_source **source) {
    const struct batch_opts *o = b->o;
    struct eye_err err = {0};
    if (batch_source_open(sopts, source, &err) != EYE_OK) return ui_fail(&b->ui, &err);
    int code = cli_read_schema(&b->ui, &cmd_batch, &o->form, &b->schema);
    if (code == EXIT_DONE) code = open_model(b);
    if (code != EXIT_DONE) return code;
    struct batch_output_opts oopts = {.path = o->out, .format = (enum batch_format)o->format, .resume = o->resume,
                                      .overwrite = o->overwrite};
    code = batch_output_open(&b->ui, &oopts, &b->output);
    if (code != EXIT_DONE) return code;
    if (batch_output_n_cut(b->output))
        ui_note(&b->ui, "%s: its last line was half written (%llu bytes): cut off", o->out,
                (unsigned long long)batch_output_n_cut(b->output));
    if (o->report) code = batch_report_open(&b->ui, o->report, &b->report);
    if (code == EXIT_DONE && b->ui.terminal && !batch_source_count(sopts, ui_interrupted, NULL, &b->n_total))
        b->n_total = 0;
    return code;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct batch_opts *o = opts;
    const struct batch_source_opts sopts = {
        .input = n_operands ? (const char *const *)operand : o->images.item, .n = n_operands ? n_operands : o->images.n,
        .recursive = o->recursive, .null = o->null};
    struct batch_source *source = NULL;
    int code = check(o, n_operands);
    if (code != EXIT_DONE) return code;
    struct batch *b = calloc(1, sizeof *b);
    if (!b) {
        fprintf(stderr, "eyelet: out of memory\n");
        return EXIT_FAILED;
    }
    b->o = o;
    ui_init(&b->ui, o->model.quiet, o->model.verbose);
    code = prepare(b, &sopts, &source);
    if (code == EXIT_DONE) code = work(b, source);
    if (b->report) {
        const struct batch_report_head head = {.model = o->model.path, .prompt = o->prompt, .seconds = seconds(b),
                                               .n_jobs = b->n_jobs, .n_threads = b->n_threads, .n_held = b->n_skipped};
        code = batch_report_close(b->report, &head, code);
    }
    code = batch_output_close(b->output, code);
    ui_clear(&b->ui);
    eye_grammar_free(b->grammar);
    eye_model_close(b->model);
    batch_source_close(source);
    free(b->schema);
    free(b);
    return code;
}

static const struct example examples[] = {
    {"A folder, by the default model, with a page to look at", "eyelet batch photos -o captions.jsonl --report captions.html"},
    {"Go on where a killed run stopped", "eyelet batch photos -o captions.jsonl --resume"},
    {"A list, as a table, with a prompt", "eyelet batch -m FastVLM-0.5B -p \"Is anybody there?\" list.txt -o answers.csv"},
    {"A line in, a line out: for GNU parallel, Spark's pipe, a shell",
     "find . -name \"*.jpg\" | eyelet batch - | jq -r .caption"},
    {NULL, NULL},
};

const struct command cmd_batch = {
    .name = "batch",
    .usage = "[-m MODEL] DIR|PICTURE|LIST|-… [-o FILE.jsonl|FILE.csv] [--resume] [OPTIONS]",
    .summary = "captions for many pictures, one line of JSON or CSV each",
    .details = "A line has image, caption, tokens, finish_reason and timings, or image and error: a picture that cannot be "
               "read or\n"
               "answered is a line too, and the exit status stays 0 (--strict: 1, at the first). Lines come in the order of "
               "the\n"
               "input; each is what \"eyelet run\" answers. Files in folders are pictures by their endings, in order of "
               "their names.\n"
               "Lists hold a path a line, as it stands. doc/BATCH.md has more.",
    .args = batch_args, .examples = examples, .opts_bytes = sizeof(struct batch_opts), .operand = "DIR|PICTURE|LIST|-",
    .min_operands = 0, .max_operands = 1 << 30, .run = run,
};
