/* eyelet fastvlm cache: a picture and the words before a question through the NPU flow once, into a saved state of the dialog;
 * the question goes on from there. The steps are those of e2e, with a prompt that ends before the question, and genie-t2t-run
 * twice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastvlm.h"

#define T struct flow
static const struct arg cache_args[] = {
    FLOW_ARGS(T),
    {ARG_END},
};
#undef T

#define QUESTION "\x01" /* stands for the question while the template is cut in two: no text of a prompt */
#define MAX_PROMPT 65536

struct prompt {
    char whole[MAX_PROMPT];  /* the template's text with QUESTION in it; cut there */
    char prefix[MAX_PROMPT]; /* up to the question, with the system turn that was asked for */
    const char *suffix;      /* behind it */
};

/* The words of ChatML's system turn replaced: before them, and behind. */
static bool find_system(char *text, char **from, char **to) {
    static const char begin[] = "<|im_start|>system\n";
    *from = strstr(text, begin);
    if (!*from) return false;
    *from += sizeof begin - 1;
    *to = strstr(*from, "<|im_end|>");
    return *to != NULL;
}

static int split(struct ui *ui, const struct eye_model *m, const char *system, struct prompt *p) {
    struct eye_err err = {0};
    size_t len;
    if (eye_model_chat_text(m, QUESTION, 1, p->whole, sizeof p->whole, &len, &err) != EYE_OK) return ui_fail(ui, &err);
    char *mark = len < sizeof p->whole ? strstr(p->whole, QUESTION) : NULL, *from, *to;
    if (!mark) return ui_failf(ui, "the model's chat template keeps no place for a question");
    *mark = '\0';
    p->suffix = mark + 1;
    int n;
    if (!system)
        n = snprintf(p->prefix, sizeof p->prefix, "%s", p->whole);
    else if (find_system(p->whole, &from, &to))
        n = snprintf(p->prefix, sizeof p->prefix, "%.*s%s%s", (int)(from - p->whole), p->whole, system, to);
    else
        return ui_failf(ui, "the model's chat template has no system turn");
    return n < (int)sizeof p->prefix ? EXIT_DONE : ui_failf(ui, "the system prompt is too long");
}

/* The picture and what stands before the question, into RUN/state. */
static int fill(struct ui *ui, struct flow *f, const char *image, const char *system, struct prompt *p,
                struct eye_genie_combined *rows) {
    struct eye_model *m = NULL;
    struct eye_genie_dialog *d;
    struct eye_genie_answer a;
    struct eye_genie_query q = {.piece = NULL};
    struct eye_err err = {0};
    char path[CLI_PATH_MAX + 32];
    int code = cli_open(ui, &f->model, &m);
    if (code == EXIT_DONE) code = split(ui, m, system, p);
    if (code == EXIT_DONE) code = flow_prepare(ui, f, m, image, p->prefix, true);
    eye_model_close(m);
    if (code == EXIT_DONE) code = flow_rows(ui, f, true, rows);
    snprintf(path, sizeof path, "%s/genie_config.json", f->run);
    if (code == EXIT_DONE) code = flow_dialog(ui, f, path, &d);
    if (code != EXIT_DONE) return code;
    snprintf(path, sizeof path, "%s/combined_embeddings_fp32.raw", f->run);
    enum eye_status st = eye_genie_query_embedding(d, path, &q, &a, &err);
    snprintf(path, sizeof path, "%s/state", f->run);
    if (st == EYE_OK) st = eye_genie_dialog_save(d, path, &err);
    if (st != EYE_OK) code = ui_fail(ui, &err);
    else ui_note(ui, "%s: %u positions, %.0f ms to prefill", path, rows->n_image_rows + rows->n_text_rows,
                 (double)a.result.timings.prefill_us / 1e3);
    eye_genie_dialog_close(d);
    return code;
}

static int ask(struct ui *ui, const struct flow *f, const char *question, const struct prompt *p,
               const struct eye_genie_combined *rows) {
    struct eye_genie_dialog *d;
    struct eye_genie_answer a;
    struct eye_err err = {0};
    char path[CLI_PATH_MAX + 32], text[2 * MAX_PROMPT];
    int n = snprintf(text, sizeof text, "%s%s", question, p->suffix);
    if (n >= (int)sizeof text) return ui_failf(ui, "the question is too long");
    snprintf(path, sizeof path, "%s/genie_config.json", f->dir);
    int code = flow_dialog(ui, f, path, &d);
    if (code != EXIT_DONE) return code;
    struct eye_genie_query q = flow_query(f);
    snprintf(path, sizeof path, "%s/state", f->run);
    enum eye_status st = eye_genie_dialog_restore(d, path, &err);
    if (st == EYE_OK) st = eye_genie_query_text(d, text, &q, &a, &err);
    code = st == EYE_OK ? flow_answer(ui, f, d, &a, rows) : ui_fail(ui, &err);
    if (st == EYE_OK) ui_note(ui, "first token after %.0f ms", (double)a.result.timings.first_token_us / 1e3);
    eye_genie_dialog_close(d);
    return code;
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct flow *f = opts;
    struct ui ui;
    struct eye_genie_combined rows = {0};
    const char *image = n_operands ? operand[0] : flow_variable("IMAGE_PATH");
    const char *question = n_operands > 1 ? operand[1] : flow_variable("PROMPT");
    if (!image) return args_usage(&cmd_fastvlm_cache, "IMAGE is missing");
    if (!question) return args_usage(&cmd_fastvlm_cache, "PROMPT is missing: the question");
    if (strstr(question, "<image>"))
        return args_usage(&cmd_fastvlm_cache, "the question holds <image>: the picture stands before it already");
    if (f->position == 1)
        return args_usage(&cmd_fastvlm_cache, "--image-position first: what is kept begins with the template");
    ui_init(&ui, f->model.quiet, f->model.verbose);
    struct prompt *p = calloc(1, sizeof *p);
    int code = p ? flow_begin(&ui, f) : ui_failf(&ui, "out of memory");
    if (code == EXIT_DONE) code = fill(&ui, f, image, n_operands > 2 ? operand[2] : NULL, p, &rows);
    if (code == EXIT_DONE) code = ask(&ui, f, question, p, &rows);
    free(p);
    return code;
}

static const struct example examples[] = {
    {"A picture first, then a question", "eyelet fastvlm cache photo.jpg \"What is this?\" -m FastVLM-0.5B -o run1"},
    {"With another system turn", "eyelet fastvlm cache photo.jpg \"What is this?\" \"Answer in one word.\" -m FastVLM-0.5B"},
    {NULL, NULL},
};

const struct command cmd_fastvlm_cache = {
    .name = "fastvlm cache",
    .usage = "IMAGE PROMPT [SYSTEM] [-m MODEL] [OPTIONS]",
    .summary = "the NPU flow with the picture prefilled and saved, then asked",
    .details = "RUN/state is Genie's folder of a dialog, from which\n"
               "\"eyelet genie-t2t-run --config DIR/genie_config.json --restore RUN/state\" asks on.\n"
               "eyelet's own way, without Genie's files: \"eyelet cache\" and \"eyelet run --cache\".",
    .args = cache_args, .examples = examples, .opts_bytes = sizeof(struct flow), .operand = "IMAGE PROMPT SYSTEM",
    .max_operands = 3,
    .run = run,
};
