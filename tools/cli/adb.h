/* adb: Android's debug bridge as a child process: its output, and what went wrong by name. Knows no model. */
#ifndef EYELET_CLI_ADB_H
#define EYELET_CLI_ADB_H

#include <stdbool.h>

#include "ui.h"

struct adb {
    struct ui *ui;
    const char *program; /* "adb", or a path */
    const char *serial;  /* NULL = the only device */
};

/* What it writes to its standard output, when it comes. */
typedef void adb_sink(void *ctx, const char *p, size_t n);
/* adb [-s SERIAL] args…, to its end, with nothing on its standard input. sink may be NULL. *out: what it wrote to both
 * streams, malloc'd, NUL-terminated; NULL = no memory, or it cannot be started, which was said, or Ctrl-C, which ended it. Returns its
 * exit status; -1 = it did not run to its end. */
int adb_stream(const struct adb *a, const char *const *args, adb_sink *sink, void *ctx, char **out);
int adb_call(const struct adb *a, const char *const *args, char **out);
/* A command in the device's shell. */
int adb_shell(const struct adb *a, const char *command, char **out);
/* Is it one of the faults that adb_fail knows? */
bool adb_knows(const char *out);
/* Says what failed and what to do about it, by adb's output; returns the exit code. */
int adb_fail(const struct adb *a, const char *what, const char *out);

enum { ADB_MAX_DEVICES = 64 };
struct adb_device {
    char serial[64], state[32], model[64]; /* state "device" = ready */
};
/* The devices that adb knows; -1 = that failed, and was said. */
int adb_devices(const struct adb *a, struct adb_device *list);

#endif
