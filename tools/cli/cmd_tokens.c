/* eyelet tokens: text to token ids and back. Nothing but the tokenizer is used: no weight is read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json.h"

struct tokens_opts {
    struct model_args model;
    const char *decode, *file;
    bool use_template, bos, plain, json;
};

#define T struct tokens_opts
static const struct arg tokens_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_FLAG, 0, "template", NULL, "put the text into the chat template first, as a user's turn", offsetof(T, use_template)},
    CHAT_TEMPLATE_ARG(T),
    {ARG_TEXT, 0, "decode", "IDS", "ids separated by blanks, to text", offsetof(T, decode)},
    {ARG_TEXT, 0, "file", "FILE", "read the text from a file, \"-\" for standard input", offsetof(T, file)},
    {ARG_FLAG, 0, "bos", NULL, "add what the tokenizer puts around a whole text", offsetof(T, bos)},
    {ARG_FLAG, 0, "plain", NULL, "special tokens in the text are ordinary text", offsetof(T, plain)},
    JSON_ARG(T),
    {ARG_FLAG, 'q', "quiet", NULL, "errors only", offsetof(T, model.quiet)},
    {ARG_END},
};
#undef T

static int print_text(struct ui *ui, const struct tokens_opts *o, const struct eye_model *model, const int32_t *ids, size_t n) {
    struct eye_err err = {0};
    size_t len = 0, need;
    if (eye_model_detokenize(model, ids, n, NULL, 0, &need, &err) != EYE_OK) return ui_fail(ui, &err);
    char *text = malloc(need + 1);
    if (!text) return ui_failf(ui, "out of memory");
    int code = EXIT_DONE;
    if (eye_model_detokenize(model, ids, n, text, need, &len, &err) != EYE_OK)
        code = ui_fail(ui, &err);
    else if (o->json) {
        code = json_print(ui, json_pack("{s:o}", "text", json_stringn(text, len)));
    } else {
        fwrite(text, 1, len, stdout);
        putchar('\n');
    }
    free(text);
    return code;
}

static int print_ids(struct ui *ui, const struct tokens_opts *o, const int32_t *ids, size_t n) {
    if (o->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
        return json_print(ui, json_pack("{s:o}", "tokens", list));
    }
    for (size_t i = 0; i < n; i++) printf("%s%d", i ? " " : "", ids[i]);
    putchar('\n');
    return EXIT_DONE;
}

static int encode(struct ui *ui, const struct tokens_opts *o, const struct eye_model *model, const char *text, size_t len) {
    struct eye_err err = {0};
    char *chat = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    uint32_t flags = (o->plain ? 0 : EYE_TOKENIZE_SPECIAL) | (o->bos || o->use_template ? EYE_TOKENIZE_BOS : 0);
    int code = EXIT_DONE;
    if (o->use_template) {
        if (strlen(text) != len) return ui_failf(ui, "the text holds a NUL byte; a chat template takes none");
        if (eye_model_chat_text(model, text, 0, NULL, 0, &len, &err) != EYE_OK) return ui_fail(ui, &err);
        chat = malloc(len + 1);
        if (!chat) return ui_failf(ui, "out of memory");
        if (eye_model_chat_text(model, text, 0, chat, len, &len, &err) != EYE_OK) code = ui_fail(ui, &err);
        text = chat;
        flags |= EYE_TOKENIZE_SPECIAL;
    }
    if (code == EXIT_DONE && eye_model_tokenize(model, text, len, flags, NULL, 0, &n, &err) != EYE_OK) code = ui_fail(ui, &err);
    if (code == EXIT_DONE && !(ids = malloc((n + 1) * sizeof *ids))) code = ui_failf(ui, "out of memory");
    if (code == EXIT_DONE && eye_model_tokenize(model, text, len, flags, ids, n, &n, &err) != EYE_OK) code = ui_fail(ui, &err);
    if (code == EXIT_DONE) code = print_ids(ui, o, ids, n);
    free(ids);
    free(chat);
    return code;
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct tokens_opts *o = opts;
    struct ui ui;
    struct eye_model *model = NULL;
    int32_t *ids = NULL;
    char *text = NULL;
    size_t n = 0;
    int sources = n_operands + (o->decode != NULL) + (o->file != NULL);
    if (sources != 1)
        return args_usage(&cmd_tokens, "%s: give TEXT, --file or --decode", sources ? "too much to do" : "nothing to do");
    if (o->decode && !cli_parse_ids(o->decode, 0, &ids, &n))
        return args_usage(&cmd_tokens, "--decode is \"%s\", expected token ids", o->decode);
    ui_init(&ui, o->model.quiet, o->model.verbose);
    int code = cli_open(&ui, &o->model, &model);
    if (code == EXIT_DONE && o->file) code = cli_read_file(&ui, o->file, &text, &n);
    if (code == EXIT_DONE) {
        if (o->decode)
            code = print_text(&ui, o, model, ids, n);
        else if (o->file)
            code = encode(&ui, o, model, text, n);
        else
            code = encode(&ui, o, model, operand[0], strlen(operand[0]));
    }
    eye_model_close(model);
    free(text);
    free(ids);
    return code;
}

static const struct example examples[] = {
    {"Token ids of a text", "eyelet tokens -m FastVLM-0.5B \"Hello, world\""},
    {"The way back", "eyelet tokens -m FastVLM-0.5B --decode \"9707 11 1879\""},
    {NULL, NULL},
};

const struct command cmd_tokens = {
    .name = "tokens",
    .usage = "[-m MODEL] [--template] TEXT | --decode \"1 2 3\" | --file FILE",
    .summary = "text to token ids and back",
    .args = tokens_args, .examples = examples, .opts_bytes = sizeof(struct tokens_opts), .operand = "TEXT",
    .max_operands = 1, .run = run,
};
