/* eyelet genie-t2t-run: genie-t2t-run with this engine: its options, its standard output, its profile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "eyelet/eyelet.h"
#include "eyelet/genie.h"

struct t2t_opts {
    const char *config, *prompt, *prompt_file, *embedding, *table, *tokens_file, *save, *restore, *profile;
    int32_t output, log, n_threads;
};

static const char *const output_names[] = {"text", "token", NULL};
static const char *const log_names[] = {"error", "warn", "info", "verbose", NULL};

#define T struct t2t_opts
static const struct arg t2t_args[] = {
    {ARG_TEXT, 'c', "config", "FILE", "Genie's configuration of a dialog", offsetof(T, config)},
    {ARG_TEXT, 'p', "prompt", "TEXT", "the prompt, as it stands", offsetof(T, prompt)},
    {ARG_TEXT, 0, "prompt_file", "FILE", "a file with it", offsetof(T, prompt_file)},
    {ARG_TEXT, 'e', "embedding_file", "FILE", "rows of embeddings in place of a prompt; FILE,TYPE,SCALE,OFFSET if not float32",
     offsetof(T, embedding)},
    {ARG_TEXT, 't', "embedding_table", "FILE", "the table that tokens are looked up in; likewise", offsetof(T, table)},
    {ARG_TEXT, 0, "tokens_file", "FILE", "token ids in place of a prompt", offsetof(T, tokens_file)},
    {ARG_CHOICE, 0, "embedding_query_output_type", "TYPE", "what an answer to embeddings or tokens is printed as",
     offsetof(T, output),
     .choices = output_names},
    {ARG_TEXT, 's', "save", "DIR", "write the dialog's state afterwards", offsetof(T, save)},
    {ARG_TEXT, 'r', "restore", "DIR", "go on from a state", offsetof(T, restore)},
    {ARG_TEXT, 0, "profile", "FILE", "write Genie's profile", offsetof(T, profile)},
    {ARG_CHOICE, 0, "log", "LEVEL", "messages", offsetof(T, log), .choices = log_names},
    {ARG_INT, 0, "threads", "N", "threads that compute; 0 = as the configuration says", offsetof(T, n_threads), 0, 1024},
    {ARG_END},
};
#undef T

static bool on_piece(void *ctx, enum eye_genie_code code, const char *text, int32_t token) {
    (void)ctx;
    if (code == EYE_GENIE_BEGIN) fputs("[BEGIN]: ", stdout);
    if (text) fputs(text, stdout);
    else if (code != EYE_GENIE_END) printf("%d ", token);
    if (code == EYE_GENIE_END) fputs("[END]\n", stdout);
    return fflush(stdout) != 0;
}

static int check(const struct t2t_opts *o) {
    int n = (o->prompt != NULL) + (o->prompt_file != NULL), other = (o->embedding != NULL) + (o->tokens_file != NULL);
    if (!o->config) return args_usage(&cmd_genie_t2t_run, "--config is missing");
    if (n > 1) return args_usage(&cmd_genie_t2t_run, "ERROR:: Please provide only one of --prompt or --prompt_file.");
    if (n + other > 1)
        return args_usage(&cmd_genie_t2t_run,
                          "ERROR:: Please do not provide a text/token prompt and embedding prompt at the same time.");
    if (!n && !other && o->table) return args_usage(&cmd_genie_t2t_run, "ERROR:: Please provide an embedding file using "
                                                    "--embedding_file.");
    if (!n && !other) return args_usage(&cmd_genie_t2t_run, "ERROR:: Please provide prompt using --prompt or --prompt_file.");
    return EXIT_DONE;
}

/* "Embedding file size: N bytes" of PATH or PATH,TYPE,…; what is wrong with it is said by the query. */
static void print_size(const char *arg) {
    char path[4096];
    long bytes = -1;
    snprintf(path, sizeof path, "%.*s", (int)strcspn(arg, ","), arg);
    FILE *f = fopen(path, "rb");
    if (!f) return;
    if (fseek(f, 0, SEEK_END) == 0) bytes = ftell(f);
    fclose(f);
    if (bytes >= 0) printf("Embedding file size: %ld bytes\n\n", bytes);
}

static enum eye_status query_tokens(struct ui *ui, struct eye_genie_dialog *d, const char *text,
                                    const struct eye_genie_query *q,
                                    struct eye_genie_answer *a, struct eye_err *err) {
    int32_t *ids;
    size_t n;
    if (!cli_parse_ids(text, 0, &ids, &n)) return ui_err(err, EYE_E_CORRUPT, "--tokens_file: expected token ids");
    (void)ui;
    fputs("[PROMPT TOKENS]: ", stdout);
    for (size_t i = 0; i < n; i++) printf("%d ", ids[i]);
    fputs("\n\n", stdout);
    enum eye_status st = eye_genie_query_tokens(d, ids, n, q, a, err);
    free(ids);
    return st;
}

/* Text goes in as it stands, or is read from a file; then one query. */
static int ask(struct ui *ui, const struct t2t_opts *o, struct eye_genie_dialog *d) {
    struct eye_genie_answer a;
    struct eye_err err = {0};
    bool is_text = o->prompt || o->prompt_file;
    struct eye_genie_query q = {.piece = on_piece, .tokens_out = !is_text && o->output == 1};
    char *file = NULL;
    size_t len;
    const char *name = o->prompt_file ? o->prompt_file : o->tokens_file;
    if (name && cli_read_file(ui, name, &file, &len) != EXIT_DONE) return EXIT_FAILED;
    enum eye_status st;
    if (is_text) {
        const char *text = file ? file : o->prompt;
        printf("[PROMPT]: %s\n\n", text);
        st = eye_genie_query_text(d, text, &q, &a, &err);
    } else if (o->tokens_file) {
        st = query_tokens(ui, d, file, &q, &a, &err);
    } else {
        print_size(o->embedding);
        st = eye_genie_query_embedding(d, o->embedding, &q, &a, &err);
    }
    free(file);
    if (st != EYE_OK) return ui_fail(ui, &err);
    if (!is_text) putchar('\n');
    fflush(stdout);
    if (o->save && eye_genie_dialog_save(d, o->save, &err) != EYE_OK) return ui_fail(ui, &err);
    if (a.context_exceeded) return ui_failf(ui, "Context Size was exceeded.");
    if (o->profile && eye_profile_save(o->profile, eye_genie_dialog_open_us(d), &a.result, &err) != EYE_OK)
        return ui_fail(ui, &err);
    return EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct t2t_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_genie_dialog *d;
    (void)operand, (void)n_operands;
    int code = check(o);
    if (code != EXIT_DONE) return code;
    ui_init(&ui, false, o->log >= 2);
    ui_catch_interrupt();
    struct eye_genie_dialog_opts dopts = {.n_threads = o->n_threads, .log = ui_log, .log_ctx = &ui, .progress = ui_progress,
                                          .progress_ctx = &ui, .cancel = ui_interrupted};
    if (eye_genie_dialog_open(o->config, &dopts, &d, &err) != EYE_OK) {
        if (err.code == EYE_E_CANCELLED) return ui_fail(&ui, &err);
        return ui_failf(&ui, "Failed to create the dialog. %s", err.text);
    }
    printf("Using libGenie.so version %s-eyelet\n\n", eye_version());
    if ((o->table && eye_genie_dialog_table(d, o->table, &err) != EYE_OK) ||
        (o->restore && eye_genie_dialog_restore(d, o->restore, &err) != EYE_OK))
        code = ui_fail(&ui, &err);
    else
        code = ask(&ui, o, d);
    ui_clear(&ui);
    eye_genie_dialog_close(d);
    return code;
}

static const struct example examples[] = {
    {"The last step of the flow",
     "eyelet genie-t2t-run -c run1/genie_config.json -e run1/combined_embeddings_fp32.raw -t g/LUT.bin"},
    {"A prompt in words", "eyelet genie-t2t-run -c fastvlm-genie/genie_config.json -p \"Hello\""},
    {NULL, NULL},
};

const struct command cmd_genie_t2t_run = {
    .name = "genie-t2t-run",
    .usage = "--config FILE (--prompt TEXT | --embedding_file FILE [--embedding_table FILE]) [OPTIONS]",
    .summary = "stand-in for genie-t2t-run: an answer by Genie's files",
    .details = "The configuration is checked as Genie checks it, with its messages. Standard output is Genie's: [BEGIN]: "
        "answer[END].\n"
               "Called as genie-t2t-run it is the same program.",
    .args = t2t_args, .examples = examples, .opts_bytes = sizeof(struct t2t_opts), .run = run,
};
