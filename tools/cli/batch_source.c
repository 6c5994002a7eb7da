/* batch_source: see batch_source.h. Folders are a stack of sorted lists of names, so memory is that of the folders on the way
 * down; a list is read through one buffer. */
#include "batch_source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ui.h"

#define LIST_BYTES 65536
#define POLL_MS 100

struct folder {
    char *path;
    char **name; /* sorted by bytes; the unread ones are owned */
    size_t n, i;
};
struct list {
    int fd; /* -1 = none is open */
    bool is_stdin;
    const char *name;
    size_t at, end; /* of buf: what was read and not handed out */
    uint64_t n_lines;
    char buf[LIST_BYTES];
};
struct batch_source {
    struct batch_source_opts opts;
    int i_input;
    struct folder folder[BATCH_MAX_DEPTH];
    int depth; /* open folders */
    struct list list;
};

/* ---- folders ---- */

static bool looks_like_picture(const char *name) {
    static const char *const ending[] = {"jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "ppm", "pgm", "pbm", "pnm"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof ending / sizeof ending[0]; i++)
        if (strcasecmp(dot + 1, ending[i]) == 0) return true;
    return false;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static char *join(const char *folder, const char *name) {
    size_t n = strlen(folder);
    char *path = NULL;
    if (asprintf(&path, "%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", name) < 0) return NULL;
    return path;
}

/* A folder, and no link to one. */
static bool is_folder(int dir, const struct dirent *e) {
    struct stat st;
    if (e->d_type != DT_UNKNOWN) return e->d_type == DT_DIR;
    return fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static enum eye_status add_name(struct folder *f, size_t *cap, const char *name, struct eye_err *err) {
    if (f->n == *cap) {
        size_t more = *cap ? 2 * *cap : 64;
        char **p = realloc(f->name, more * sizeof *p);
        if (!p) return ui_err(err, EYE_E_NOMEM, "%s: out of memory at %zu names", f->path, f->n);
        f->name = p;
        *cap = more;
    }
    f->name[f->n] = strdup(name);
    if (!f->name[f->n]) return ui_err(err, EYE_E_NOMEM, "%s: out of memory at %zu names", f->path, f->n);
    f->n++;
    return EYE_OK;
}

static void close_folder(struct batch_source *s) {
    struct folder *f = &s->folder[--s->depth];
    for (size_t i = f->i; i < f->n; i++) free(f->name[i]);
    free(f->name);
    free(f->path);
    *f = (struct folder){0};
}

/* Takes path, also on failure. */
static enum eye_status open_folder(struct batch_source *s, char *path, struct eye_err *err) {
    if (s->depth == BATCH_MAX_DEPTH) {
        ui_err(err, EYE_E_LIMIT, "%.300s: folders are more than %d deep", path, BATCH_MAX_DEPTH);
        free(path);
        return EYE_E_LIMIT;
    }
    struct folder *f = &s->folder[s->depth++];
    size_t cap = 0;
    *f = (struct folder){.path = path};
    DIR *dir = opendir(path);
    enum eye_status st = dir ? EYE_OK : ui_err(err, EYE_E_IO, "%.300s: cannot be read as a folder: %s", path, strerror(errno));
    struct dirent *e;
    for (errno = 0; st == EYE_OK && (e = readdir(dir)); errno = 0) {
        if (e->d_name[0] == '.') continue;
        bool folder = is_folder(dirfd(dir), e);
        if (folder ? s->opts.recursive : looks_like_picture(e->d_name)) st = add_name(f, &cap, e->d_name, err);
    }
    if (st == EYE_OK && errno)
        st = ui_err(err, EYE_E_IO, "%.300s: cannot read the folder to its end: %s", path, strerror(errno));
    if (dir) closedir(dir);
    if (st != EYE_OK) {
        close_folder(s);
        return st;
    }
    if (f->n) qsort(f->name, f->n, sizeof *f->name, by_name);
    return EYE_OK;
}

/* The next path of the innermost folder; END = that was its last. */
static enum batch_next next_in_folder(struct batch_source *s, char **path, struct eye_err *err) {
    struct folder *f = &s->folder[s->depth - 1];
    struct stat st;
    if (f->i == f->n) {
        close_folder(s);
        return BATCH_END;
    }
    char *name = f->name[f->i++];
    *path = join(f->path, name);
    free(name);
    if (!*path) return ui_err(err, EYE_E_NOMEM, "out of memory"), BATCH_FAILED;
    if (lstat(*path, &st) != 0 || !S_ISDIR(st.st_mode)) return BATCH_PATH;
    char *copy = strdup(*path); /* the folder's own */
    if (!copy) return free(*path), ui_err(err, EYE_E_NOMEM, "out of memory"), BATCH_FAILED;
    if (open_folder(s, copy, err) != EYE_OK) return BATCH_BAD_PATH;
    free(*path);
    *path = NULL;
    return BATCH_END; /* nothing yet: it goes on inside */
}

/* ---- lists ---- */

/* More bytes into an empty buffer: 1, 0 at the end, -1 failed. A pipe is waited for in slices, so that stop is heard. */
static int refill(struct list *l, batch_stop_fn *stop, void *stop_ctx, struct eye_err *err) {
    for (;;) {
        struct pollfd p = {.fd = l->fd, .events = POLLIN};
        if (stop(stop_ctx)) return ui_err(err, EYE_E_CANCELLED, "stopped"), -1;
        int ready = poll(&p, 1, POLL_MS);
        if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
        ssize_t got = read(l->fd, l->buf, sizeof l->buf);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got < 0) return ui_err(err, EYE_E_IO, "%.300s: cannot read: %s", l->name, strerror(errno)), -1;
        l->at = 0;
        l->end = (size_t)got;
        return got > 0;
    }
}

static void close_list(struct list *l) {
    if (l->fd >= 0 && !l->is_stdin) close(l->fd);
    l->fd = -1;
}

/* What a line says, checked: no path has a zero byte in it, and none is longer. */
static enum batch_next hand_out(struct list *l, const char *line, size_t n, bool too_long, char **path, struct eye_err *err) {
    *path = strndup(line, n);
    if (!*path) return ui_err(err, EYE_E_NOMEM, "out of memory"), BATCH_FAILED;
    if (too_long)
        return ui_err(err, EYE_E_LIMIT, "%.200s: line %llu is longer than %d bytes, no path is", l->name,
                    (unsigned long long)l->n_lines, BATCH_MAX_PATH - 1), BATCH_BAD_PATH;
    if (memchr(line, '\0', n))
        return ui_err(err, EYE_E_ARG, "%.200s: line %llu holds a zero byte, expected a path (paths that end in one: --null)",
                    l->name,
                    (unsigned long long)l->n_lines), BATCH_BAD_PATH;
    return BATCH_PATH;
}

/* Empty lines are passed over; a line's end may be "\r\n", and the last may have none. */
static enum batch_next next_line(struct batch_source *s, batch_stop_fn *stop, void *stop_ctx, char **path,
                                 struct eye_err *err) {
    struct list *l = &s->list;
    char line[BATCH_MAX_PATH];
    char end = s->opts.null ? '\0' : '\n';
    size_t n = 0;
    bool too_long = false;
    for (;;) {
        if (l->at == l->end) {
            int got = refill(l, stop, stop_ctx, err);
            if (got < 0) return BATCH_FAILED;
            if (got == 0) break;
        }
        const char *from = l->buf + l->at, *stop_at = memchr(from, end, l->end - l->at);
        size_t some = stop_at ? (size_t)(stop_at - from) : l->end - l->at, room = sizeof line - 1 - n;
        too_long = too_long || some > room;
        memcpy(line + n, from, some < room ? some : room);
        n += some < room ? some : room;
        l->at += some + (stop_at != NULL);
        if (!stop_at) continue;
        l->n_lines++;
        if (!s->opts.null && n && line[n - 1] == '\r') n--;
        if (n) return hand_out(l, line, n, too_long, path, err);
    }
    close_list(l);
    l->n_lines++;
    return n ? hand_out(l, line, n, too_long, path, err) : BATCH_END;
}

static enum eye_status open_list(struct batch_source *s, const char *name, struct eye_err *err) {
    bool is_stdin = strcmp(name, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ui_err(err, EYE_E_IO, "%.300s: cannot open: %s", name, strerror(errno));
    s->list.fd = fd;
    s->list.is_stdin = is_stdin;
    s->list.name = is_stdin ? "standard input" : name;
    s->list.at = s->list.end = 0;
    s->list.n_lines = 0;
    return EYE_OK;
}

/* ---- inputs ---- */

static bool is_picture_file(const char *input) {
    struct stat st;
    return stat(input, &st) == 0 && !S_ISDIR(st.st_mode) && looks_like_picture(input);
}

static enum eye_status open_input(struct batch_source *s, const char *input, struct eye_err *err) {
    struct stat st;
    if (strcmp(input, "-") != 0 && stat(input, &st) == 0 && S_ISDIR(st.st_mode)) {
        char *path = strdup(input);
        return path ? open_folder(s, path, err) : ui_err(err, EYE_E_NOMEM, "out of memory");
    }
    return open_list(s, input, err);
}

static enum eye_status check_input(const char *input, struct eye_err *err) {
    if (strcmp(input, "-") == 0) return EYE_OK;
    if (access(input, R_OK) != 0) return ui_err(err, EYE_E_IO, "%.300s: cannot read: %s", input, strerror(errno));
    return EYE_OK;
}

enum eye_status batch_source_open(const struct batch_source_opts *opts, struct batch_source **source, struct eye_err *err) {
    int n_stdin = 0;
    for (int i = 0; i < opts->n; i++) {
        enum eye_status st = check_input(opts->input[i], err);
        if (st != EYE_OK) return st;
        n_stdin += strcmp(opts->input[i], "-") == 0;
    }
    if (n_stdin > 1) return ui_err(err, EYE_E_ARG, "standard input (-) is named %d times: it can be read once", n_stdin);
    struct batch_source *s = calloc(1, sizeof *s);
    if (!s) return ui_err(err, EYE_E_NOMEM, "out of memory");
    s->opts = *opts;
    s->list.fd = -1;
    *source = s;
    return EYE_OK;
}

void batch_source_close(struct batch_source *s) {
    if (!s) return;
    while (s->depth) close_folder(s);
    close_list(&s->list);
    free(s);
}

enum batch_next batch_source_next(struct batch_source *s, batch_stop_fn *stop, void *stop_ctx, char **path,
                                  struct eye_err *err) {
    *path = NULL;
    for (;;) {
        enum batch_next next = BATCH_END;
        if (s->depth) next = next_in_folder(s, path, err);
        else if (s->list.fd >= 0) next = next_line(s, stop, stop_ctx, path, err);
        else if (s->i_input == s->opts.n) return BATCH_END;
        else if (is_picture_file(s->opts.input[s->i_input])) {
            *path = strdup(s->opts.input[s->i_input++]);
            next = *path ? BATCH_PATH : (ui_err(err, EYE_E_NOMEM, "out of memory"), BATCH_FAILED);
        } else if (open_input(s, s->opts.input[s->i_input++], err) != EYE_OK) {
            next = BATCH_FAILED;
        }
        if (next != BATCH_END) return next;
    }
}

bool batch_source_count(const struct batch_source_opts *opts, batch_stop_fn *stop, void *stop_ctx, uint64_t *n) {
    struct batch_source *s;
    struct eye_err err;
    struct stat st;
    char *path;
    enum batch_next next;
    *n = 0;
    for (int i = 0; i < opts->n; i++)
        if (strcmp(opts->input[i], "-") == 0 || stat(opts->input[i], &st) != 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
            return false;
    if (batch_source_open(opts, &s, &err) != EYE_OK) return false;
    while ((next = batch_source_next(s, stop, stop_ctx, &path, &err)) == BATCH_PATH || next == BATCH_BAD_PATH) {
        free(path);
        ++*n;
    }
    batch_source_close(s);
    return next == BATCH_END;
}
