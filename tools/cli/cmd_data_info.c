/* eyelet data info: what is in a data set. */
#include <stdio.h>

#include "data.h"

struct info_opts { struct data_args data; };

#define T struct info_opts
static const struct arg info_args[] = {DATA_ARGS(T), {ARG_END}};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct info_opts *o = opts;
    struct ui ui;
    struct eye_dataset *set;
    ui_init(&ui, o->data.quiet, false);
    int code = data_open(&ui, &o->data, operand, n_operands, &set);
    if (code != EXIT_DONE) return code;
    if (o->data.json)
        code = json_print(&ui, data_counts_json(set));
    else
        data_print_counts(set);
    data_note_issues(&ui, eye_dataset_get_report(set));
    eye_dataset_close(set);
    return code;
}

static const struct example examples[] = {
    {"What a folder of Flickr8k holds", "eyelet data info flickr8k"},
    {"Two lists as one set", "eyelet data info annotations/captions_train2017.json annotations/captions_val2017.json"},
    {NULL, NULL},
};

const struct command cmd_data_info = {
    .name = "data info",
    .usage = "LIST|DIR… [--json]",
    .summary = "how many pictures and captions a data set has",
    .details = "A data set is one or more lists, or folders with a list in them: COCO captions JSON, Karpathy's dataset JSON,\n"
               "Flickr8k's token file or captions.txt with its split lists, LLaVA conversations JSON, lines of\n"
               "IMAGE<tab>CAPTION, captions alone one a line, or a folder of pictures. See doc/DATA.md.",
    .args = info_args, .examples = examples, .opts_bytes = sizeof(struct info_opts), .operand = DATA_OPERAND, .min_operands = 1,
    .max_operands = DATA_MAX_OPERANDS, .run = run,
};
