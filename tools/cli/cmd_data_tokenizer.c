/* eyelet data tokenizer: a byte-level BPE vocabulary from captions. */
#include <stdio.h>

#include "data.h"

struct tokenizer_opts {
    struct data_args data;
    const char *out;
    struct arg_list special;
    int32_t n_vocab, min_count;
    bool lowercase;
};
_Static_assert(sizeof(struct tokenizer_opts) <= ARG_MAX_OPTS, "options fit what main.c allocates");

#define T struct tokenizer_opts
static const struct arg tokenizer_args[] = {
    {ARG_TEXT, 'o', "output", "FILE", "the tokenizer.json to write", offsetof(T, out)},
    {ARG_INT, 0, "vocab", "N", "tokens in all", offsetof(T, n_vocab), 257, 1 << 20, .def = 4096},
    {ARG_INT, 0, "min-count", "N", "pairs seen less often are not merged", offsetof(T, min_count), 1, INT32_MAX, .def = 2},
    {ARG_FLAG, 0, "lowercase", NULL, "texts are put in lower case", offsetof(T, lowercase)},
    {ARG_LIST, 0, "special", "TOKEN", "a token that text never becomes; may be repeated; left out: <|endoftext|>",
     offsetof(T, special)},
    DATA_ARGS(T),
    {ARG_END},
};
#undef T

static int print(struct ui *ui, const struct tokenizer_opts *o, const struct eye_tokenizer_report *r) {
    double bytes_per_tok = r->n_tok ? (double)r->n_bytes / (double)r->n_tok : 0;
    if (o->data.json)
        return json_print(ui, json_pack("{s:o,s:i,s:i,s:I,s:I,s:f}", "file", json_outside(o->out), "vocab", r->n_vocab,
                                        "merges", r->n_merges, "texts", (json_int_t)r->n_texts, "words", (json_int_t)r->n_words,
                                        "bytes_per_token", bytes_per_tok));
    printf("%s: %d tokens from %llu texts of %llu different words; %.2f bytes a token\n", o->out, r->n_vocab,
           (unsigned long long)r->n_texts, (unsigned long long)r->n_words, bytes_per_tok);
    if (r->n_vocab < o->n_vocab)
        ui_note(ui, "note: the texts give no more than %d tokens (asked for %d)", r->n_vocab, o->n_vocab);
    return EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct tokenizer_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_dataset *set;
    struct eye_tokenizer_report report;
    struct eye_tokenizer_train_opts t = {.n_vocab = o->n_vocab, .min_count = o->min_count, .lowercase = o->lowercase,
                                         .special = o->special.n ? o->special.item : NULL, .n_special = (size_t)o->special.n};
    if (!o->out) return args_usage(&cmd_data_tokenizer, "-o is missing: the tokenizer.json to write");
    ui_init(&ui, o->data.quiet, false);
    int code = data_open(&ui, &o->data, operand, n_operands, &set);
    if (code != EXIT_DONE) return code;
    data_note_issues(&ui, eye_dataset_get_report(set));
    enum eye_status st = eye_tokenizer_train(set, &t, o->out, &report, &err);
    eye_dataset_close(set);
    return st == EYE_OK ? print(&ui, o, &report) : ui_fail(&ui, &err);
}

static const struct example examples[] = {
    {"From captions, one a line", "eyelet data tokenizer --vocab 4096 -o tokenizer.json captions.txt"},
    {"From the training split of a data set", "eyelet data tokenizer --vocab 2048 --lowercase -o tokenizer.json flickr8k"},
    {NULL, NULL},
};

const struct command cmd_data_tokenizer = {
    .name = "data tokenizer",
    .usage = "--vocab N -o tokenizer.json LIST|DIR…",
    .summary = "train a byte-level BPE tokenizer from captions",
    .details = "Of a set with splits only the training split is read. The tokenizers library loads the file and gives\n"
               "equal ids.",
    .args = tokenizer_args, .examples = examples, .opts_bytes = sizeof(struct tokenizer_opts), .operand = DATA_OPERAND,
    .min_operands = 1, .max_operands = DATA_MAX_OPERANDS, .run = run,
};
