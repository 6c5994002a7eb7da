/* eyelet device push: programs and model to a phone, before the first question. */
#include <stdio.h>

#include "cli.h"
#include "device.h"
#include "json.h"

struct push_opts {
    struct device_args device;
    bool json, quiet;
};

#define T struct push_opts
static const struct arg push_args[] = {
    DEVICE_DIR_ARG(T),
    JSON_ARG(T),
    QUIET_ARG(T),
    DEVICE_ARGS(T),
    {ARG_END},
};
#undef T

static void print_names(const char *what, const json_t *names) {
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name) printf("%-8s %s\n", what, json_string_value(name));
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct push_opts *o = opts;
    struct device d;
    struct ui ui;
    const char *decoder = device_decoder_file(&cmd_device_push, n_operands ? operand[0] : "fp32");
    int code = decoder ? device_check(&cmd_device_push, &o->device, true) : EXIT_USAGE;
    if (code != EXIT_DONE) return code;
    ui_init(&ui, o->quiet, false);
    ui_catch_interrupt();
    device_open(&d, &ui, &o->device);
    code = device_push(&d, decoder);
    if (code == EXIT_DONE && o->json) {
        code = json_print(&ui, json_pack("{s:O,s:O}", "pushed", d.pushed, "kept", d.kept));
    } else if (!o->json) {
        print_names("pushed", d.pushed);
        print_names("kept", d.kept);
    }
    device_close(&d);
    return code != EXIT_DONE && ui_interrupted(NULL) ? ui_interrupted_code() : code;
}

const struct command cmd_device_push = {
    .name = "device push",
    .usage = "[decoder_precision] -d DIR [OPTIONS]",
    .summary = "programs and model to a phone, over adb",
    .details = "What \"device run\" pushes before its first step. Files that the device has already, by their hash, are kept: "
        "after a\n"
               "broken push, push again.",
    .args = push_args, .opts_bytes = sizeof(struct push_opts), .operand = "decoder_precision", .max_operands = 1, .run = run,
};
