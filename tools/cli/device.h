/* device: what the commands that reach a phone share: its options, its shell, what is pushed and what goes wrong by name. */
#ifndef EYELET_CLI_DEVICE_H
#define EYELET_CLI_DEVICE_H

#include <jansson.h>

#include "adb.h"
#include "args.h"

enum { DEVICE_QNN, DEVICE_CPU };
struct device_args { /* a member `device` of each command's options */
    const char *dir, *adb, *serial, *remote, *tools, *eyelet, *vision_context, *embed_context;
    int32_t backend;
};
extern const char *const device_backend_names[];

#define DEVICE_DIR_ARG(T) {ARG_TEXT, 'd', "genie", "DIR", "the folder of \"eyelet export genie\"", offsetof(T, device.dir)}
#define DEVICE_ARGS(T) \
    {ARG_GROUP, .help = "Device"}, \
    {ARG_CHOICE, 0, "backend", "WHAT", "qnn: the vendor's programs; cpu: eyelet itself, on the phone's CPU", \
     offsetof(T, device.backend), .choices = device_backend_names}, \
    {ARG_TEXT, 's', "serial", "SERIAL", "which device; left out: the only one", offsetof(T, device.serial)}, \
    {ARG_TEXT, 0, "remote-dir", "PATH", "on the device; default /data/local/tmp/eyelet", offsetof(T, device.remote)}, \
    {ARG_TEXT, 0, "tools", "LIST", "qnn: programs and libraries to push, a file with a path per line", \
     offsetof(T, device.tools)}, \
    {ARG_TEXT, 0, "vision-context", "FILE", "qnn: context binary of the vision tower", offsetof(T, device.vision_context)}, \
    {ARG_TEXT, 0, "embed-context", "FILE", "qnn: of the token embedder", offsetof(T, device.embed_context)}, \
    {ARG_TEXT, 0, "eyelet", "FILE", "cpu: this program built for the device (cross/aarch64, static)", \
     offsetof(T, device.eyelet)}, \
    {ARG_TEXT, 0, "adb", "FILE", "Android's debug bridge; left out: adb in PATH", offsetof(T, device.adb)}

struct device {
    const struct device_args *o;
    struct ui *ui;
    struct adb adb;
    const char *remote; /* folder there */
    char *sums;         /* "hash  name" of the files there, a line each; NULL = not asked */
    json_t *pushed, *kept; /* names */
};

/* Are the options there that the backend needs? pushes: its programs and contexts too. A usage error's exit code. */
int device_check(const struct command *cmd, const struct device_args *o, bool pushes);
/* "fp32", "fp16", "int8", … to the name in DIR; NULL = a usage error, which was said. */
const char *device_decoder_file(const struct command *cmd, const char *precision);

void device_open(struct device *d, struct ui *ui, const struct device_args *o);
void device_close(struct device *d);
/* A command in the device's folder, made if it is not there; it must succeed. sink, ctx: as adb_stream's. log (may be NULL):
 * a file here that gets all it printed, also if it failed. Says what went wrong; EXIT_DONE or EXIT_FAILED. */
int device_shell(struct device *d, const char *what, const char *command, adb_sink *sink, void *ctx, const char *log);
/* way: "push" or "pull". */
int device_transfer(struct device *d, const char *way, const char *from, const char *to);
/* Programs and model, except what the device has by its hash; d->pushed and d->kept get the names. */
int device_push(struct device *d, const char *decoder_file);

/* ---- verify ---- */
struct verify_args {
    float vision_cosine, vision_error, embed_cosine, embed_error, answer_gap; /* all 0 = the library's */
    const char *vision_info, *embed_info;
    int32_t n_threads;
};
/* Compares one run folder; a line per stage to stdout unless report is given, which gets an object. EXIT_FAILED: the first
 * stage that is off was named, or it could not be compared. */
int device_verify(struct ui *ui, const char *dir, const char *run, const struct verify_args *a, json_t **report);

#endif
