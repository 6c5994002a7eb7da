/* eyelet version: which program this is. */
#include <stdio.h>

#include "cli.h"
#include "eyelet/experimental.h"
#include "json.h"

struct version_opts {
    bool json;
};

static const struct arg version_args[] = {
    {ARG_FLAG, 0, "json", NULL, "one JSON object", offsetof(struct version_opts, json)},
    {ARG_END},
};

static int run(void *opts, char *const *operand, int n_operands) {
    const struct version_opts *o = opts;
    struct eye_machine m;
    struct ui ui;
    (void)operand, (void)n_operands;
    if (!o->json) {
        printf("eyelet %s\n", eye_version());
        return EXIT_DONE;
    }
    ui_init(&ui, false, false);
    eye_machine_get(&m);
    return json_print(&ui, json_pack("{s:s,s:s}", "version", eye_version(), "compiler", m.compiler));
}

const struct command cmd_version = {
    .name = "version",
    .usage = "[--json]",
    .summary = "the version of this program",
    .args = version_args, .opts_bytes = sizeof(struct version_opts), .run = run,
};
