/* adb: see adb.h. */
#include "adb.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "args.h"

#define MAX_ARGS 32
#define MAX_OUT ((size_t)16 << 20)
#define ADB_BROKE_OFF "the connection to the device broke off", "reconnect it, then again: what is whole there stays"

struct text { /* both streams, in the order they came */
    char *p;
    size_t n, cap;
};

/* False: no memory, or more than any answer has. */
static bool text_add(struct text *t, const char *p, size_t n) {
    while (t->cap - t->n <= n) {
        size_t cap = t->cap ? t->cap * 2 : 4096;
        char *q = cap <= MAX_OUT ? realloc(t->p, cap) : NULL;
        if (!q) return false;
        t->p = q;
        t->cap = cap;
    }
    memcpy(t->p + t->n, p, n);
    t->p[t->n += n] = '\0';
    return true;
}

/* In the child: its streams, then the program. 126 and 127 as shells have them. */
static void become(int out, int err, const char *program, char *const *argv) {
    int none = open("/dev/null", O_RDONLY);
    if (none >= 0) dup2(none, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    for (int fd = 3; fd < 16; fd++) close(fd);
    execvp(program, argv);
    _exit(errno == ENOENT ? 127 : 126);
}

/* Until both have ended. Errors are read before what the same moment brought on standard output: "exit=" is the last. */
static bool read_both(int out, int err, adb_sink *sink, void *ctx, struct text *t) {
    struct pollfd fd[2] = {{.fd = err, .events = POLLIN}, {.fd = out, .events = POLLIN}};
    char buf[4096];
    while (fd[0].fd >= 0 || fd[1].fd >= 0) {
        if (ui_interrupted(NULL)) return false;
        if (poll(fd, 2, -1) < 0) {
            if (errno == EINTR) continue;
            return false;
        }
        int i = fd[0].fd >= 0 && fd[0].revents ? 0 : 1;
        ssize_t got = read(fd[i].fd, buf, sizeof buf);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) fd[i].fd = -1;
        else if (!text_add(t, buf, (size_t)got)) return false;
        else if (i == 1 && sink) sink(ctx, buf, (size_t)got);
    }
    return true;
}

static int start(const struct adb *a, char *const *argv, int fds[2], pid_t *pid) {
    int out[2], err[2];
    if (pipe(out) != 0) return ui_failf(a->ui, "cannot make a pipe: %s", strerror(errno)), -1;
    if (pipe(err) != 0) {
        close(out[0]), close(out[1]);
        return ui_failf(a->ui, "cannot make a pipe: %s", strerror(errno)), -1;
    }
    fflush(NULL);
    *pid = fork();
    if (*pid == 0) become(out[1], err[1], a->program, argv);
    close(out[1]), close(err[1]);
    fds[0] = out[0], fds[1] = err[0];
    if (*pid > 0) return 0;
    close(out[0]), close(err[0]);
    return ui_failf(a->ui, "cannot start %s: %s", a->program, strerror(errno)), -1;
}

int adb_stream(const struct adb *a, const char *const *args, adb_sink *sink, void *ctx, char **out) {
    struct text t = {0};
    char *argv[MAX_ARGS + 4];
    int n = 0, fds[2], status;
    pid_t pid;
    *out = NULL;
    argv[n++] = (char *)a->program;
    if (a->serial) {
        argv[n++] = (char *)"-s";
        argv[n++] = (char *)a->serial;
    }
    for (int i = 0; args[i] && i < MAX_ARGS; i++) argv[n++] = (char *)args[i];
    argv[n] = NULL;
    if (start(a, argv, fds, &pid) < 0) return -1;
    bool whole = read_both(fds[0], fds[1], sink, ctx, &t) && text_add(&t, "", 0);
    close(fds[0]), close(fds[1]);
    if (!whole) kill(pid, SIGTERM);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return free(t.p), -1;
    if (!whole || ui_interrupted(NULL)) { /* Ctrl-C reaches adb too: what it says then is no news */
        free(t.p);
        if (!ui_interrupted(NULL)) ui_failf(a->ui, "%s: its output takes more than %zu MiB", a->program, MAX_OUT >> 20);
        return -1;
    }
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    *out = t.p;
    if ((code != 126 && code != 127) || t.n) return code;
    free(t.p);
    *out = NULL;
    ui_failf(a->ui, "%s: cannot be started: %s; install Android's platform tools, or name it with --adb", a->program,
             code == 127 ? "not found" : "not a program");
    return -1;
}

int adb_call(const struct adb *a, const char *const *args, char **out) { return adb_stream(a, args, NULL, NULL, out); }

int adb_shell(const struct adb *a, const char *command, char **out) {
    const char *args[] = {"shell", command, NULL};
    return adb_call(a, args, out);
}

static const struct fault { const char *sign, *name, *hint; } faults[] = {
    {"no devices/emulators found", "no device", "connect one and allow USB debugging on it"},
    {"unauthorized", "the device does not know this computer", "accept its key on the device's screen"},
    {"more than one device", "several devices", "choose one of \"eyelet device list\" with -s SERIAL"},
    {"No space left on device", "no space left on the device", "free some there"},
    {"Read-only file system", "the device's folder cannot be written", "choose another with --remote-dir"},
    {"Permission denied", "the device's folder cannot be written", "choose another with --remote-dir"},
    {"offline", "the device is offline", "reconnect it, or \"adb reconnect\""},
    {"' not found", "no such device", "\"eyelet device list\" shows their serials"},
    {"cannot connect to daemon", "adb's server does not start", "\"adb kill-server\", then again"},
    {"Connection reset", ADB_BROKE_OFF}, {"connection closed", ADB_BROKE_OFF}, {"error: closed", ADB_BROKE_OFF},
    {"no response", ADB_BROKE_OFF}, {"protocol fault", ADB_BROKE_OFF}, {"Broken pipe", ADB_BROKE_OFF},
};

static const struct fault *find_fault(const char *out) {
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (strstr(out, faults[i].sign)) return &faults[i];
    return NULL;
}

bool adb_knows(const char *out) { return find_fault(out) != NULL; }

int adb_fail(const struct adb *a, const char *what, const char *out) {
    const struct fault *f = find_fault(out);
    if (f) return ui_failf(a->ui, "%s: %s; %s", what, f->name, f->hint);
    size_t n = strlen(out);
    while (n && (out[n - 1] == '\n' || out[n - 1] == '\r')) n--;
    const char *line = out + n;
    while (line > out && line[-1] != '\n') line--;
    if (n == 0) return ui_failf(a->ui, "%s: failed, and adb does not say why", what);
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
