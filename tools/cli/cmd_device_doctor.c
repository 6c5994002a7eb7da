/* eyelet device doctor: what a phone and this computer have of what the NPU flow needs, and what is missing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adb.h"
#include "cli.h"
#include "json.h"

struct doctor_opts {
    const char *adb, *serial, *sdk, *dsp;
    bool json;
};

#define T struct doctor_opts
static const struct arg doctor_args[] = {
    {ARG_TEXT, 's', "serial", "SERIAL", "which device; left out: the only one", offsetof(T, serial)},
    {ARG_TEXT, 0, "sdk", "DIR", "the QAIRT SDK; left out: QNN_SDK_ROOT, QAIRT_SDK_ROOT", offsetof(T, sdk)},
    {ARG_TEXT, 0, "dsp", "ARCH", "of the device's NPU; default v79, a Snapdragon 8 Elite's", offsetof(T, dsp)},
    {ARG_TEXT, 0, "adb", "FILE", "Android's debug bridge; left out: adb in PATH", offsetof(T, adb)},
    JSON_ARG(T),
    {ARG_END},
};
#undef T

struct visit {
    const struct doctor_opts *o;
    struct ui ui;
    json_t *found, *missing; /* an object of name: value; a list of {what, hint} */
};

static void note(struct visit *v, const char *what, const char *value) {
    json_object_set_new(v->found, what, json_outside(value));
    if (!v->o->json) printf("%-12s %s\n", what, value);
}

static void lacks(struct visit *v, const char *what, const char *hint) {
    json_array_append_new(v->missing, json_pack("{s:o,s:o}", "what", json_outside(what), "hint", json_outside(hint)));
    if (!v->o->json) printf("%-12s %s; %s\n", "missing", what, hint);
}

/* ---- the device ---- */

/* Five lines in this order. The shell is a phone's: no more than these. */
static void ask_device(struct visit *v, const struct adb *adb) {
    static const char *const names[] = {"device", "soc", "abi", "free", "memory"};
    char *out;
    if (adb_shell(adb, "getprop ro.product.model; getprop ro.soc.model; getprop ro.product.cpu.abi; "
                       "df -k /data/local/tmp | tail -n 1; grep MemTotal /proc/meminfo", &out) != 0) {
        if (out) adb_fail(adb, "adb shell", out);
        lacks(v, "the device's shell", "see the line above");
        free(out);
        return;
    }
    const char *p = out;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && *p; i++) {
        char line[256], value[64];
        unsigned long long n = 0;
        size_t len = strcspn(p, "\r\n");
        snprintf(line, sizeof line, "%.*s", (int)(len < sizeof line ? len : sizeof line - 1), p);
        p += len;
        p += strspn(p, "\r\n");
        if (i < 3) note(v, names[i], line);
        else if (sscanf(line, i == 3 ? "%*s %*s %*s %llu" : "MemTotal: %llu", &n) == 1)
            note(v, names[i], cli_bytes(n << 10, value, sizeof value));
        if (i == 2 && strcmp(line, "arm64-v8a") != 0) lacks(v, "a 64-bit Arm system", "programs for the NPU are built for "
                                                            "arm64-v8a");
    }
    free(out);
}

static void look_at_device(struct visit *v) {
    struct adb_device list[ADB_MAX_DEVICES];
    const struct adb adb = {&v->ui, v->o->adb ? v->o->adb : "adb", v->o->serial};
    int n = adb_devices(&adb, list), ready = 0, wanted = -1;
    if (n < 0) {
        lacks(v, "adb", "Android's platform tools have it");
        return;
    }
    for (int i = 0; i < n; i++) {
        if (v->o->serial ? strcmp(list[i].serial, v->o->serial) != 0 : false) continue;
        ready++;
        wanted = i;
    }
    if (ready == 0) lacks(v, v->o->serial ? v->o->serial : "a device", "connect it and allow USB debugging on it");
    else if (ready > 1) lacks(v, "a choice of device", "several are connected: name one with -s SERIAL");
    else if (strcmp(list[wanted].state, "device") != 0)
        lacks(v, list[wanted].serial,
              strcmp(list[wanted].state, "unauthorized") == 0 ? "accept this computer's key on its screen" : "it is not ready: "
                  "reconnect it");
    else {
        note(v, "serial", list[wanted].serial);
        ask_device(v, &adb);
    }
}

/* ---- the computer ---- */

static void look_for(struct visit *v, const char *dir, const char *sub, const char *const *files) {
    for (; *files; files++) {
        char path[4096];
        if (snprintf(path, sizeof path, "%s/%s/%s", dir, sub, *files) >= (int)sizeof path || access(path, R_OK) != 0)
            lacks(v, *files, "it belongs into the SDK; is this one whole?");
    }
}

static void look_at_sdk(struct visit *v) {
    static const char *const programs[] = {"qnn-net-run", "genie-t2t-run", NULL};
    static const char *const libraries[] = {"libQnnHtp.so", "libQnnHtpPrepare.so", "libQnnSystem.so", "libQnnCpu.so",
                                            "libGenie.so",
                                            "libQnnGenAiTransformer.so", "libQnnGenAiTransformerModel.so",
                                            "libQnnGenAiTransformerCpuOpPkg.so", NULL};
    const char *dsp = v->o->dsp ? v->o->dsp : "v79";
    const char *sdk = v->o->sdk ? v->o->sdk : getenv("QNN_SDK_ROOT");
    char stub[64], skel[64], folder[64];
    if (!sdk || !*sdk) sdk = getenv("QAIRT_SDK_ROOT");
    if (!sdk || !*sdk) {
        lacks(v, "the QAIRT SDK", "set QNN_SDK_ROOT; without it the flow runs by eyelet's stand-ins only");
        return;
    }
    note(v, "sdk", sdk);
    if (strlen(dsp) > 8 || dsp[0] != 'v') {
        lacks(v, "the NPU's kind", "--dsp takes v73, v75, v79, …");
        return;
    }
    snprintf(stub, sizeof stub, "libQnnHtpV%sStub.so", dsp + 1);
    snprintf(skel, sizeof skel, "libQnnHtpV%sSkel.so", dsp + 1);
    snprintf(folder, sizeof folder, "lib/hexagon-%s/unsigned", dsp);
    look_for(v, sdk, "bin/aarch64-android", programs);
    look_for(v, sdk, "lib/aarch64-android", libraries);
    look_for(v, sdk, "lib/aarch64-android", (const char *const[]){stub, NULL});
    look_for(v, sdk, folder, (const char *const[]){skel, NULL});
    const char *ndk = getenv("ANDROID_NDK_ROOT");
    if (!ndk || !*ndk) lacks(v, "Android's NDK", "set ANDROID_NDK_ROOT: Genie's programs need its libc++_shared.so");
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct visit v = {.o = opts, .found = json_object(), .missing = json_array()};
    (void)operand, (void)n_operands;
    ui_init(&v.ui, false, false);
    look_at_device(&v);
    look_at_sdk(&v);
    bool well = json_array_size(v.missing) == 0;
    if (!v.o->json && well) puts("nothing is missing");
    int code = EXIT_DONE;
    if (v.o->json)
        code = json_print(&v.ui, json_pack("{s:O,s:O}", "found", v.found, "missing", v.missing));
    json_decref(v.found);
    json_decref(v.missing);
    return code == EXIT_DONE && !well ? EXIT_FAILED : code;
}

const struct command cmd_device_doctor = {
    .name = "device doctor",
    .usage = "[-s SERIAL] [--sdk DIR] [--dsp ARCH] [--json]",
    .summary = "what a phone and this computer lack for the NPU flow",
    .details = "Looks at the device over adb and at the files of the QAIRT SDK that a phone needs. Exit status 1: something is "
        "missing.",
    .args = doctor_args, .opts_bytes = sizeof(struct doctor_opts), .run = run,
};
