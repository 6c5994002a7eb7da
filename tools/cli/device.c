/* device: see device.h. */
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "eyelet/genie.h"
#include "json.h"

const char *const device_backend_names[] = {"qnn", "cpu", NULL};

static bool plain(const char *path) { /* goes into a shell command as it is */
    return path[strspn(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+")] == '\0';
}

int device_check(const struct command *cmd, const struct device_args *o, bool pushes) {
    if (!o->dir) return args_usage(cmd, "-d is missing: the folder of \"eyelet export genie\"");
    if (o->backend == DEVICE_CPU && !o->eyelet && pushes)
        return args_usage(cmd, "--backend cpu needs --eyelet: this program built for the device");
    if (o->backend == DEVICE_QNN && pushes && (!o->tools || !o->vision_context || !o->embed_context))
        return args_usage(cmd, "--backend qnn needs --tools, --vision-context and --embed-context");
    if (o->remote && (o->remote[0] != '/' || !plain(o->remote) || strlen(o->remote) > 500))
        return args_usage(cmd, "--remote-dir is \"%s\", expected an absolute path of plain letters", o->remote);
    return EXIT_DONE;
}

const char *device_decoder_file(const struct command *cmd, const char *precision) {
    static const struct { const char *names, *file; } decoders[] = {
        {" fp32 f16 fp16 ", "decoder.bin"}, {" int8 z8 ", "decoder_z8.bin"}, {" int4 q4 ", "decoder_q4.bin"}};
    char word[32];
    snprintf(word, sizeof word, " %.24s ", precision);
    for (size_t i = 0; i < 3; i++)
        if (strstr(decoders[i].names, word)) return decoders[i].file;
    args_usage(cmd, "decoder_precision is \"%s\", expected fp32, fp16, int8 (z8) or int4 (q4)", precision);
    return NULL;
}

void device_open(struct device *d, struct ui *ui, const struct device_args *o) {
    *d = (struct device){.o = o, .ui = ui, .adb = {ui, o->adb ? o->adb : "adb", o->serial},
                         .remote = o->remote ? o->remote : "/data/local/tmp/eyelet", .pushed = json_array(),
                         .kept = json_array()};
}

void device_close(struct device *d) {
    free(d->sums);
    json_decref(d->pushed);
    json_decref(d->kept);
    d->sums = NULL;
}

/* ---- its shell ---- */

/* "libX.so" of a loader's message into out; false: it names none. */
static bool library_in(const char *text, char *out, size_t cap) {
    for (const char *p = text; (p = strstr(p, "lib")) != NULL; p++) {
        size_t n = strcspn(p, "\" ':\r\n"), dot = 0;
        while (dot + 3 <= n && strncmp(p + dot, ".so", 3) != 0) dot++;
        if (dot + 3 > n || n >= cap || (p > text && !strchr("\" '/\n", p[-1]))) continue;
        snprintf(out, cap, "%.*s", (int)n, p);
        return true;
    }
    return false;
}

/* What a program on the device failed of; the last line of its output where nobody knows. */
static void name_fault(struct device *d, const char *what, const char *text) {
    static const char *const loading[] = {"CANNOT LINK EXECUTABLE", "dlopen failed", "error while loading shared libraries"};
    static const struct { const char *sign, *text; } faults[] = {
        {"No space left on device", "no space left on the device; free some there"},
        {"DMA", "the NPU could not take the context binary (DMA error); compile it for this device, or use --backend cpu"},
        {"not executable", "the program is not of this device's kind"},
        {"inaccessible or not found", "a program is missing on the device; run without --skip-push"},
    };
    char name[128];
    for (size_t i = 0; i < sizeof loading / sizeof loading[0]; i++) {
        const char *at = strstr(text, loading[i]);
        if (!at) continue;
        bool named = library_in(at, name, sizeof name);
        ui_failf(d->ui, "%s: a library is missing on the device%s%s%s; add it to --tools and run without --skip-push", what,
                 named ? " (" : "", named ? name : "", named ? ")" : "");
        return;
    }
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (strstr(text, faults[i].sign)) {
            ui_failf(d->ui, "%s: %s", what, faults[i].text);
            return;
        }
    size_t n = strlen(text);
    while (n && (text[n - 1] == '\n' || text[n - 1] == '\r')) n--;
    const char *line = text + n;
    while (line > text && line[-1] != '\n') line--;
    if (n) ui_failf(d->ui, "%s: %.*s", what, (int)(text + n - line), line);
    else ui_failf(d->ui, "%s: failed, and the program does not say why", what);
}

static int keep(struct device *d, const char *log, const char *text, size_t n) {
    FILE *f = fopen(log, "wb");
    bool good = f && fwrite(text, 1, n, f) == n;
    if ((f && fclose(f) != 0) || !good) return ui_failf(d->ui, "%s: cannot be written: %s", log, strerror(errno));
    return EXIT_DONE;
}

/* The shell's last line, "exit=0", is none of the program's output: held back, and the rest goes on. */
struct tail {
    adb_sink *sink;
    void *ctx;
    char held[16];
    size_t n;
};

static bool may_be_exit(const char *p, size_t n) {
    static const char mark[] = "exit=";
    size_t i = 0, len = sizeof mark - 1;
    while (i < n && i < len && p[i] == mark[i]) i++;
    if (i == n) return true;
    if (i < len) return false;
    while (i < n && p[i] >= '0' && p[i] <= '9') i++;
    if (i < n && p[i] == '\r') i++;
    return i == n || (i + 1 == n && p[i] == '\n');
}

static void pass_on(void *ctx, const char *p, size_t n) {
    struct tail *t = ctx;
    for (size_t i = 0; i < n; i++) {
        t->held[t->n++] = p[i];
        while (t->n && (t->n == sizeof t->held || !may_be_exit(t->held, t->n))) {
            t->sink(t->ctx, t->held, 1);
            memmove(t->held, t->held + 1, --t->n);
        }
    }
}

int device_shell(struct device *d, const char *what, const char *command, adb_sink *sink, void *ctx, const char *log) {
    char *text, full[6144];
    const char *args[] = {"shell", full, NULL}, *end = NULL;
    int n = snprintf(full, sizeof full, "mkdir -p %s && cd %s && %s; echo exit=$?", d->remote, d->remote, command);
    if (n >= (int)sizeof full)
        return ui_failf(d->ui, "%s: paths are too long", what);
    struct tail tail = {.sink = sink, .ctx = ctx};
    int code = adb_stream(&d->adb, args, sink ? pass_on : NULL, &tail, &text), kept = EXIT_DONE;
    if (code < 0) return EXIT_FAILED;
    for (const char *p = text; (p = strstr(p, "exit=")) != NULL; p++) end = p;
    if (log) kept = keep(d, log, text, end ? (size_t)(end - text) : strlen(text));
    bool well = code == 0 && end && atoi(end + 5) == 0;
    if (!well && end) {
        text[end - text] = '\0'; /* the last line then is the program's own */
        name_fault(d, what, text);
    } else if (!well && (adb_knows(text) || (code != 0 && !sink))) {
        adb_fail(&d->adb, what, text);
    } else if (!well) {
        ui_failf(d->ui, "%s: the connection to the device broke off before it ended; reconnect it, then again", what);
    }
    free(text);
    return well ? kept : EXIT_FAILED;
}

int device_transfer(struct device *d, const char *way, const char *from, const char *to) {
    const char *args[] = {way, from, to, NULL};
    char *out;
    int code = adb_call(&d->adb, args, &out);
    if (code > 0) adb_fail(&d->adb, way, out);
    free(out);
    return code == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* ---- what goes there ---- */

static void take_sums(void *ctx, const char *p, size_t n) {
    struct device *d = ctx;
    size_t had = d->sums ? strlen(d->sums) : 0;
    char *q = realloc(d->sums, had + n + 1);
    if (!q) return; /* then everything is pushed */
    memcpy(q + had, p, n);
    q[had + n] = '\0';
    d->sums = q;
}

/* A program or part of the model, unless the device has these bytes under that name. */
static int push(struct device *d, const char *path, const char *name) {
    char hex[65], line[256], to[1024];
    struct eye_err err = {0};
    if (ui_interrupted(NULL)) return EXIT_FAILED;
    if (eye_file_sha256(path, hex, &err) != EYE_OK) return ui_fail(d->ui, &err);
    snprintf(line, sizeof line, "%s  %s\n", hex, name);
    if (d->sums && strstr(d->sums, line)) {
        json_array_append_new(d->kept, json_outside(name));
        return EXIT_DONE;
    }
    if (!plain(name) || snprintf(to, sizeof to, "%s/%s", d->remote, name) >= (int)sizeof to)
        return ui_failf(d->ui, "%s: a name that the device's shell would take apart", path);
    if (d->ui->terminal) ui_note(d->ui, "pushing %s", name);
    int code = device_transfer(d, "push", path, to);
    if (code == EXIT_DONE) json_array_append_new(d->pushed, json_outside(name));
    return code;
}

static int push_in(struct device *d, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", d->o->dir, name);
    return push(d, path, name);
}

static int push_list(struct device *d, const char *list) {
    char line[4096];
    int code = EXIT_DONE;
    FILE *f = fopen(list, "r");
    if (!f) return ui_failf(d->ui, "%s: cannot be read", list);
    while (code == EXIT_DONE && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        const char *slash = strrchr(line, '/');
        if (line[0] && line[0] != '#') code = push(d, line, slash ? slash + 1 : line);
    }
    fclose(f);
    return code;
}

int device_push(struct device *d, const char *decoder_file) {
    const struct device_args *o = d->o;
    bool cpu = o->backend == DEVICE_CPU;
    char decoder[4096];
    int code = device_shell(d, "asking what is there", "sha256sum * 2>/dev/null; true", take_sums, d, NULL);
    snprintf(decoder, sizeof decoder, "%s/%s", o->dir, decoder_file);
    if (code == EXIT_DONE) code = push(d, decoder, "decoder.bin"); /* whichever it is: the configuration knows one name */
    if (code == EXIT_DONE) code = push_in(d, "LUT.bin");
    if (code == EXIT_DONE) code = push_in(d, "tokenizer.json");
    if (code == EXIT_DONE) code = cpu ? push(d, o->eyelet, "eyelet") : push_list(d, o->tools);
    if (code == EXIT_DONE) code = cpu ? push_in(d, "vision_encoder.bin") : push(d, o->vision_context, "vision_context.bin");
    if (code == EXIT_DONE) code = cpu ? push_in(d, "embed_tokens.bin") : push(d, o->embed_context, "embed_context.bin");
    if (code == EXIT_DONE)
        code = device_shell(d, "chmod", cpu ? "chmod +x eyelet" : "chmod +x qnn-net-run genie-t2t-run", NULL, NULL, NULL);
    return code;
}
