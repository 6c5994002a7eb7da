/* eyelet version: which program this is. */
#include <jansson.h>
#include <stdio.h>

#include "cli.h"
#include "eyelet/experimental.h"

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
    (void)operand, (void)n_operands;
    if (!o->json) {
        printf("eyelet %s\n", eye_version());
        return EXIT_DONE;
    }
    eye_machine_get(&m);
    json_t *v = json_pack("{s:s,s:s}", "version", eye_version(), "compiler", m.compiler);
    json_dumpf(v, stdout, 0);
    putchar('\n');
    json_decref(v);
    return EXIT_DONE;
}

const struct command cmd_version = {
    .name = "version",
    .usage = "[--json]",
    .summary = "the version of this program",
    .args = version_args, .opts_bytes = sizeof(struct version_opts), .run = run,
};
