/* eyelet compile: a model as this machine's kernels want it, in one file that is mapped and run. */
#include <stdio.h>

#include "cli.h"
#include "eyelet/convert.h"
#include "json.h"

struct compile_opts {
    const char *out, *mmproj, *cpu;
    int32_t decoder, vision, n_threads;
    bool json, quiet;
};

#define T struct compile_opts
static const struct arg compile_args[] = {
    {ARG_TEXT, 'o', "output", "FILE.eyelet", "the file to write", offsetof(T, out)},
    {ARG_CHOICE, 0, "decoder", "TYPE", "matrices of the decoder", offsetof(T, decoder), .choices = cli_weight_names},
    {ARG_CHOICE, 0, "vision", "TYPE", "matrices of vision tower and projector", offsetof(T, vision),
     .choices = cli_weight_names},
    {ARG_TEXT, 0, "cpu", "LIST", "for CPUs with these features, \"avx2\"; \"base\" = none; all of this one if left out",
     offsetof(T, cpu)},
    {ARG_INT, 't', "threads", "N", "threads that pack; 0 = all processors", offsetof(T, n_threads), 0, 1024},
    MMPROJ_AT(T, mmproj),
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static void on_progress(void *ctx, const char *what, double done) { ui_progress(ctx, what, done); }

static int print_json(struct ui *ui, const char *out, const struct eye_compile_report *r) {
    return json_print(ui, json_pack("{s:o,s:s,s:I,s:I,s:I,s:I}", "file", json_outside(out), "cpu", r->cpu, "packed",
                                    (json_int_t)r->n_packed, "packed_bytes", (json_int_t)r->packed_bytes, "kept",
                                    (json_int_t)r->n_kept, "kept_bytes", (json_int_t)r->kept_bytes));
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct compile_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_compile_report r;
    char packed[32], kept[32], found[CLI_PATH_MAX];
    if (!o->out) return args_usage(&cmd_compile, "-o is missing: the file to write");
    ui_init(&ui, o->quiet, false);
    struct eye_compile_opts copts = {
        .mmproj = o->mmproj, .decoder_type = (enum eye_weight_type)o->decoder, .vision_type = (enum eye_weight_type)o->vision,
        .cpu_features = o->cpu, .n_threads = o->n_threads, .progress = on_progress, .progress_ctx = &ui,
        .cancel = ui_interrupted,
    };
    const char *model = cli_model_path(&ui, n_operands ? operand[0] : NULL, found);
    if (!model) return EXIT_FAILED;
    ui_catch_interrupt(); /* unfinished files are removed */
    if (eye_compile(model, o->out, &copts, &r, &err) != EYE_OK) return ui_fail(&ui, &err);
    ui_clear(&ui);
    if (o->json) return print_json(&ui, o->out, &r);
    printf("%s: %llu matrices packed for %s (%s), %llu tensors as they were (%s)\n", o->out, (unsigned long long)r.n_packed,
           r.cpu, cli_bytes(r.packed_bytes, packed, sizeof packed), (unsigned long long)r.n_kept,
           cli_bytes(r.kept_bytes, kept, sizeof kept));
    return EXIT_DONE;
}

static const struct example examples[] = {
    {"Start at once, from now on",
     "eyelet compile fastvlm.gguf -o fastvlm.eyelet && eyelet run -m fastvlm.eyelet -i photo.jpg"},
    {"A folder, quantized on the way", "eyelet compile FastVLM-0.5B -o fastvlm.eyelet --decoder q4_0 --vision bf16"},
    {"For any x86 of the last ten years", "eyelet compile fastvlm.gguf -o fastvlm.eyelet --cpu avx2"},
    {NULL, NULL},
};

const struct command cmd_compile = {
    .name = "compile",
    .usage = "[MODEL] -o FILE.eyelet [--decoder TYPE] [--vision TYPE] [--cpu LIST]",
    .summary = "pack a model for this CPU: mapped, shared, no start-up work",
    .details = "The file runs wherever a model does (-m FILE), on CPUs whose kernels lay weights out in the same way, and\n"
               "gives what MODEL gives there. \"eyelet inspect --check FILE\" compares its bytes with their sums.",
    .args = compile_args,
    .examples = examples,
    .opts_bytes = sizeof(struct compile_opts),
    .operand = "MODEL",
    .max_operands = 1,
    .run = run,
};
