/* eyelet device verify: each stage of a run on a phone against this computer: rows by cosine and largest error, the answer
 * token by token. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "cli.h"
#include "device.h"
#include "eyelet/genie.h"
#include "json.h"

struct verify_opts {
    struct verify_args verify;
    const char *dir;
    bool json, quiet;
};

#define T struct verify_opts
static const struct arg verify_args[] = {
    {ARG_TEXT, 'd', "genie", "DIR", "the folder of \"eyelet export genie\"", offsetof(T, dir)},
    {ARG_TEXT, 0, "vision-info", "FILE",
     "what qnn-context-binary-utility says of the vision tower; left out: as the run had it", offsetof(T, verify.vision_info)},
    {ARG_TEXT, 0, "embed-info", "FILE", "likewise, of the embedder", offsetof(T, verify.embed_info)},
    {ARG_INT, 't', "threads", "N", "threads that compute; 0 = all processors", offsetof(T, verify.n_threads), 0, 1024},
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_GROUP, .help = "Limits"},
    {ARG_REAL, 0, "vision-cosine", "X", "of image rows, at least", offsetof(T, verify.vision_cosine), 0.001, 1, .def = 0.99},
    {ARG_REAL, 0, "vision-error", "X", "of image rows, largest error over largest magnitude, at most",
     offsetof(T, verify.vision_error), 0, 1000, .def = 0.1},
    {ARG_REAL, 0, "embed-cosine", "X", "of text rows, at least", offsetof(T, verify.embed_cosine), 0.001, 1, .def = 0.9999},
    {ARG_REAL, 0, "embed-error", "X", "of text rows, likewise", offsetof(T, verify.embed_error), 0, 1000, .def = 0.01},
    {ARG_REAL, 0, "answer-gap", "NATS", "by which a token may be less likely here than the likeliest",
     offsetof(T, verify.answer_gap), 0, 1000, .def = 0.5},
    {ARG_END},
};
#undef T

static const char *const verdicts[] = {"-", "ok", "OFF"};

static void print_stage(enum eye_genie_stage s, const struct eye_genie_compared *c) {
    printf("%-9s %-3s ", eye_genie_stage_name(s), verdicts[c->verdict]);
    if (c->verdict == EYE_GENIE_ABSENT) printf("not compared: %s\n", c->why);
    else if (s != EYE_GENIE_STAGE_ANSWER && c->n)
        printf("cosine %.6f (at least %g), largest error %.3g (at most %g)\n", c->cosine, c->cosine_limit, c->error,
               c->error_limit);
    else if (c->verdict == EYE_GENIE_OFF) printf("%s\n", c->why);
    else
        printf("%llu tokens, %u not the likeliest here, by %.3g nats (at most %g)\n", (unsigned long long)c->n, c->n_ties,
               c->gap, c->error_limit);
}

static json_t *describe(enum eye_genie_stage s, const struct eye_genie_compared *c) {
    static const char *const words[] = {"absent", "good", "off"};
    json_t *o = json_pack("{s:s,s:s}", "stage", eye_genie_stage_name(s), "verdict", words[c->verdict]);
    if (c->why[0]) json_object_set_new(o, "why", json_outside(c->why));
    if (c->verdict == EYE_GENIE_ABSENT) return o;
    if (s == EYE_GENIE_STAGE_ANSWER)
        json_object_update_new(o, json_pack("{s:I,s:i,s:f,s:f}", "tokens", (json_int_t)c->n, "not_likeliest", (int)c->n_ties,
                                            "gap", c->gap, "max_gap", c->error_limit));
    else
        json_object_update_new(o, json_pack("{s:f,s:f,s:f,s:f,s:I,s:f}", "cosine", c->cosine, "min_cosine", c->cosine_limit,
                                            "error", c->error < 1e30 ? c->error : 1e30, "max_error", c->error_limit,
                                            "worst_row", (json_int_t)c->worst_row, "worst_row_cosine", c->worst_row_cosine));
    return o;
}

/* What the run itself noted of its binaries; the manifest may be missing, then DIR's. */
static json_t *read_manifest(const char *run) {
    char path[4096];
    json_error_t e;
    snprintf(path, sizeof path, "%s/manifest.json", run);
    return json_load_file(path, 0, &e);
}

static double bound(float given) { return given > 0 ? (double)given : 1e-300; } /* 0 is a limit too: none */

int device_verify(struct ui *ui, const char *dir, const char *run, const struct verify_args *a, json_t **report) {
    struct eye_genie_verified r;
    struct eye_err err = {0};
    json_t *manifest = read_manifest(run), *stages = json_array();
    const char *vision = json_string_value(json_object_get(manifest, "vision_info")),
               *embed = json_string_value(json_object_get(manifest, "embed_info"));
    struct eye_genie_verify v = {.vision_ctx_info = a->vision_info ? a->vision_info : vision,
                                 .embed_ctx_info = a->embed_info ? a->embed_info : embed, .n_threads = a->n_threads,
                                 .progress = ui_progress, .progress_ctx = ui, .cancel = ui_interrupted};
    if (a->vision_cosine > 0)
        v.limits = (struct eye_genie_limits){(double)a->vision_cosine, bound(a->vision_error), (double)a->embed_cosine,
                                             bound(a->embed_error), bound(a->answer_gap)};
    enum eye_status st = eye_genie_verify_run(dir, run, &v, &r, &err);
    ui_clear(ui);
    json_decref(manifest);
    if (st != EYE_OK) {
        json_decref(stages);
        return ui_fail(ui, &err);
    }
    for (int s = 0; s < EYE_GENIE_STAGES; s++) {
        if (!report) print_stage((enum eye_genie_stage)s, &r.stage[s]);
        json_array_append_new(stages, describe((enum eye_genie_stage)s, &r.stage[s]));
    }
    bool well = r.first_off == EYE_GENIE_STAGES;
    if (report)
        *report = json_pack("{s:o,s:b,s:s?,s:o}", "run", json_outside(run), "good", well, "first_off",
                            well ? NULL : eye_genie_stage_name(r.first_off), "stages", stages);
    else json_decref(stages);
    fflush(stdout);
    if (well) return EXIT_DONE;
    return ui_failf(ui, "%s: %s is off: %s", run, eye_genie_stage_name(r.first_off), r.stage[r.first_off].why);
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct verify_opts *o = opts;
    struct ui ui;
    json_t *all = json_array();
    int code = EXIT_DONE;
    if (!o->dir) {
        json_decref(all);
        return args_usage(&cmd_device_verify, "-d is missing: the folder of \"eyelet export genie\"");
    }
    ui_init(&ui, o->quiet, false);
    ui_catch_interrupt();
    for (int i = 0; i < n_operands && !ui_interrupted(NULL); i++) {
        json_t *one = NULL;
        if (n_operands > 1 && !o->json) printf("%s\n", operand[i]);
        int c = device_verify(&ui, o->dir, operand[i], &o->verify, o->json ? &one : NULL);
        if (c != EXIT_DONE) code = c;
        if (one) json_array_append_new(all, one);
    }
    if (o->json && !ui_interrupted(NULL)) {
        int c = json_print(&ui, json_pack("{s:O}", "runs", all));
        if (c != EXIT_DONE) code = c;
    }
    json_decref(all);
    return code;
}

static const struct example examples[] = {
    {"What a phone's NPU made of a question", "eyelet device verify -d fastvlm-genie fastvlm-genie/run_outputs/20260101_120000"},
    {"Image rows within one percent", "eyelet device verify -d fastvlm-genie --vision-error 0.01 run1"},
    {NULL, NULL},
};

const struct command cmd_device_verify = {
    .name = "device verify",
    .usage = "RUN… -d DIR [OPTIONS]",
    .summary = "each stage of a run on a phone against this computer",
    .details = "RUN: a run folder of \"eyelet device run\", or of scripts with the same files. vision and embed are computed "
               "here on what\n"
               "the device was given, the answer from the rows that its decoder was given, so a fault shows in its own stage. "
                   "Exit\n"
               "status 1: a stage is off; the first is named. \"eyelet device run --verify\" does both.",
    .args = verify_args, .examples = examples, .opts_bytes = sizeof(struct verify_opts), .operand = "RUN", .min_operands = 1,
    .max_operands = 64, .run = run,
};
