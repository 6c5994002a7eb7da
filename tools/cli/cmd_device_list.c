/* eyelet device list: the Android devices that adb knows. */
#include <stdio.h>
#include <string.h>

#include "adb.h"
#include "cli.h"
#include "json.h"

struct list_opts {
    const char *adb;
    bool json;
};

#define T struct list_opts
static const struct arg list_args[] = {
    {ARG_TEXT, 0, "adb", "FILE", "Android's debug bridge; left out: adb in PATH", offsetof(T, adb)},
    JSON_ARG(T),
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct list_opts *o = opts;
    struct ui ui;
    struct adb_device list[ADB_MAX_DEVICES];
    (void)operand, (void)n_operands;
    ui_init(&ui, false, false);
    const struct adb adb = {&ui, o->adb ? o->adb : "adb", NULL};
    int n = adb_devices(&adb, list);
    if (n < 0) return EXIT_FAILED;
    json_t *devices = json_array();
    for (int i = 0; i < n; i++) {
        const char *state = strcmp(list[i].state, "device") == 0 ? "ready" : list[i].state;
        if (!o->json) printf("%-24s %-14s %s\n", list[i].serial, state, list[i].model);
        json_array_append_new(devices, json_pack("{s:o,s:o,s:o}", "serial", json_outside(list[i].serial), "state",
                                                 json_outside(state),
                                                 "model", json_outside(list[i].model)));
    }
    if (o->json) return json_print(&ui, json_pack("{s:o}", "devices", devices));
    json_decref(devices);
    return n ? EXIT_DONE : ui_failf(&ui, "no device; connect one and allow USB debugging on it");
}

const struct command cmd_device_list = {
    .name = "device list",
    .usage = "[--adb FILE] [--json]",
    .summary = "the Android devices that adb knows",
    .args = list_args, .opts_bytes = sizeof(struct list_opts), .run = run,
};
