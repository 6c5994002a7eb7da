/* adb: see adb.h. */
#include "adb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "args.h"

#define MAX_ARGS 32
#define MAX_OUT ((size_t)16 << 20)

/* All that comes out of fd. NULL = no memory, or more than any answer has. */
static char *read_out(int fd) {
    size_t n = 0, cap = 4096;
    char *p = malloc(cap);
    while (p) {
        if (n + 1 == cap) {
            char *q = cap < MAX_OUT ? realloc(p, cap * 2) : NULL;
            if (!q) {
                free(p);
                return NULL;
            }
            p = q;
            cap *= 2;
        }
        ssize_t got = read(fd, p + n, cap - n - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n += (size_t)got;
    }
    if (p) p[n] = '\0';
    return p;
}

/* In the child: both streams into fd, then the program. 126 and 127 as shells have them; a message where the parent reads. */
static void become(int fd, const char *program, char *const *argv) {
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
    execvp(program, argv);
    _exit(errno == ENOENT ? 127 : 126);
}

int adb_call(const struct adb *a, const char *const *args, char **out) {
    char *argv[MAX_ARGS + 4];
    int n = 0, fds[2], status;
    *out = NULL;
    argv[n++] = (char *)a->program;
    if (a->serial) {
        argv[n++] = (char *)"-s";
        argv[n++] = (char *)a->serial;
    }
    for (int i = 0; args[i] && i < MAX_ARGS; i++) argv[n++] = (char *)args[i];
    argv[n] = NULL;
    if (pipe(fds) != 0) return ui_failf(a->ui, "cannot make a pipe: %s", strerror(errno)), -1;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        become(fds[1], a->program, argv);
    }
    close(fds[1]);
    if (pid > 0) *out = read_out(fds[0]);
    close(fds[0]);
    if (pid < 0) return ui_failf(a->ui, "cannot start %s: %s", a->program, strerror(errno)), -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -1;
    if (!*out) return ui_failf(a->ui, "%s: out of memory for its output", a->program), -1;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    if ((code != 126 && code != 127) || (*out)[0]) return code;
    free(*out);
    *out = NULL;
    ui_failf(a->ui, "%s: cannot be started: %s; install Android's platform tools, or name it with --adb", a->program,
             code == 127 ? "not found" : "not a program");
    return -1;
}

int adb_shell(const struct adb *a, const char *command, char **out) {
    const char *args[] = {"shell", command, NULL};
    return adb_call(a, args, out);
}

int adb_fail(const struct adb *a, const char *what, const char *out) {
    static const struct { const char *sign, *name, *hint; } known[] = {
        {"no devices/emulators found", "no device", "connect one and allow USB debugging on it"},
        {"unauthorized", "the device does not know this computer", "accept its key on the device's screen"},
        {"more than one device", "several devices", "choose one of \"eyelet device list\" with -s SERIAL"},
        {"offline", "the device is offline", "reconnect it, or \"adb reconnect\""},
        {"not found", "no such device", "\"eyelet device list\" shows their serials"},
        {"No space left on device", "no space left on the device", "free some there"},
        {"cannot connect to daemon", "adb's server does not start", "\"adb kill-server\", then again"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strstr(out, known[i].sign)) return ui_failf(a->ui, "%s: %s; %s", what, known[i].name, known[i].hint);
    size_t n = strlen(out);
    while (n && (out[n - 1] == '\n' || out[n - 1] == '\r')) n--;
    const char *line = out + n;
    while (line > out && line[-1] != '\n') line--;
    return ui_failf(a->ui, "%s: %.*s", what, (int)(out + n - line), line);
}

/* One line of "adb devices -l": SERIAL  STATE  key:value… */
static bool parse_device(const char *line, size_t len, struct adb_device *d) {
    char text[512];
    if (len == 0 || len >= sizeof text || line[0] == '*' || strncmp(line, "List of devices", 15) == 0) return false;
    memcpy(text, line, len);
    text[len] = '\0';
    memset(d, 0, sizeof *d);
    if (sscanf(text, "%63s %31s", d->serial, d->state) != 2) return false;
    const char *model = strstr(text, " model:");
    if (model) sscanf(model + 7, "%63s", d->model);
    return true;
}

int adb_devices(const struct adb *a, struct adb_device *list) {
    const char *args[] = {"devices", "-l", NULL};
    const struct adb all = {a->ui, a->program, NULL};
    char *out;
    int n = 0, code = adb_call(&all, args, &out);
    if (code != 0) {
        if (out) adb_fail(&all, "adb devices", out);
        free(out);
        return -1;
    }
    for (const char *p = out; *p && n < ADB_MAX_DEVICES;) {
        size_t len = strcspn(p, "\n");
        n += parse_device(p, len && p[len - 1] == '\r' ? len - 1 : len, &list[n]);
        p += len + (p[len] != '\0');
    }
    free(out);
    return n;
}
