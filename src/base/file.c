/* base/file: whole files in (mapped or read), one file out (atomically). Every error names the file and says why. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

static char *copy_text(const char *s, struct eye_err *err) {
    size_t n = strlen(s) + 1;
    char *p = eye_alloc_raw(NULL, n);
    if (p)
        memcpy(p, s, n);
    else
        eye_fail_nomem(err, n);
    return p;
}

static void free_text(char *s) {
    if (s) eye_alloc_free(NULL, s, strlen(s) + 1);
}

/* ---- reading ---- */

static enum eye_status too_big(struct eye_err *err, const char *path, size_t size, size_t max_bytes) {
    return eye_fail(err, EYE_E_LIMIT, "%s: at least %zu bytes; at most %zu are taken here", path, size, max_bytes);
}

/* Reads fd to its end. Works for pipes too; hint is the expected size (0 = unknown). The buffer is the process allocator's,
 * which does not need the capacity back. */
static enum eye_status read_all(struct eye_map *m, int fd, size_t hint, size_t max_bytes, struct eye_err *err) {
    void *p = NULL;
    size_t cap = 0, size = 0;
    enum eye_status st = EYE_OK;
    for (;;) {
        /* One byte more than the hint: the read that gives 0 needs room to be asked for. */
        size_t need = size == 0 ? EYE_MAX(hint + 1, 4096) : size + 1;
        EYE_TRY_GOTO(eye_alloc_grow(NULL, &p, &cap, need, 1, err));
        ssize_t n = read(fd, (char *)p + size, EYE_MIN(cap - size, (size_t)1 << 30));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            st = eye_fail(err, EYE_E_IO, "%s: cannot read: %s", m->path, strerror(errno));
            goto fail;
        }
        if (n == 0) break;
        size += (size_t)n;
        if (max_bytes && size > max_bytes) {
            st = too_big(err, m->path, size, max_bytes);
            goto fail;
        }
    }
    if (size == 0) {
        eye_alloc_free(NULL, p, cap);
        p = NULL;
    }
    m->p = p;
    m->size = size;
    return EYE_OK;
fail:
    eye_alloc_free(NULL, p, cap);
    return st;
}

static enum eye_status map_fd(struct eye_map *m, int fd, bool use_mmap, size_t max_bytes, struct eye_err *err) {
    struct stat s;
    if (fstat(fd, &s) != 0) return eye_fail(err, EYE_E_IO, "%s: cannot stat: %s", m->path, strerror(errno));
    if (S_ISDIR(s.st_mode)) return eye_fail(err, EYE_E_IO, "%s: expected a file, got a folder", m->path);
    if (!S_ISREG(s.st_mode)) return read_all(m, fd, 0, max_bytes, err);
    if ((uint64_t)s.st_size >= SIZE_MAX) return eye_fail(err, EYE_E_LIMIT, "%s: does not fit the address space", m->path);
    size_t size = (size_t)s.st_size;
    if (max_bytes && size > max_bytes) return too_big(err, m->path, size, max_bytes);
    if (!use_mmap || size == 0) return read_all(m, fd, size, max_bytes, err); /* files of /proc say 0 and have bytes */
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) return read_all(m, fd, size, max_bytes, err); /* a file system without mmap */
    m->p = p;
    m->size = size;
    m->mapped = true;
    return EYE_OK;
}

enum eye_status eye_map_open(struct eye_map *out, const char *path, bool use_mmap, size_t max_bytes, struct eye_err *err) {
    struct eye_map m = {.path = copy_text(path, err)};
    if (!m.path) return EYE_E_NOMEM;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum eye_status st = fd < 0 ? eye_fail(err, EYE_E_IO, "%s: cannot open: %s", path, strerror(errno))
                                : map_fd(&m, fd, use_mmap, max_bytes, err);
    if (fd >= 0) close(fd); /* a mapping outlives its descriptor */
    if (st != EYE_OK)
        free_text(m.path);
    else
        *out = m;
    return st;
}

enum eye_status eye_map_open_stdin(struct eye_map *out, size_t max_bytes, struct eye_err *err) {
    struct eye_map m = {.path = copy_text("(standard input)", err)};
    if (!m.path) return EYE_E_NOMEM;
    enum eye_status st = read_all(&m, STDIN_FILENO, 0, max_bytes, err);
    if (st != EYE_OK)
        free_text(m.path);
    else
        *out = m;
    return st;
}

void eye_map_close(struct eye_map *m) {
    eye_map_ahead_end(m);
    if (m->mapped)
        munmap((void *)(uintptr_t)m->p, m->size);
    else
        eye_alloc_free(NULL, (void *)(uintptr_t)m->p, m->size);
    free_text(m->path);
    *m = (struct eye_map){0};
}

void eye_file_forget(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

bool eye_path_is_dir(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

bool eye_path_exists(const char *path) {
    struct stat s;
    return stat(path, &s) == 0;
}

bool eye_program_dir(char *out, size_t cap) {
    ssize_t n = readlink("/proc/self/exe", out, cap); /* a full buffer may be a cut path */
    if (n <= 0 || (size_t)n >= cap) return false;
    while (n > 0 && out[n - 1] != '/') n--;
    if (n < 1) return false;
    out[n > 1 ? n - 1 : n] = '\0';
    return true;
}

bool eye_path_stamp(const char *path, uint64_t *size, int64_t *mtime_ns) {
    struct stat s;
    if (stat(path, &s) != 0) return false;
    *size = (uint64_t)s.st_size;
    *mtime_ns = (int64_t)s.st_mtim.tv_sec * 1000000000 + s.st_mtim.tv_nsec;
    return true;
}

bool eye_path_real(const char *path, char *out, size_t cap) {
    char *real = realpath(path, NULL);
    size_t n = real ? strlen(real) + 1 : 0;
    bool fits = real && n <= cap;
    if (fits) memcpy(out, real, n);
    free(real);
    return fits;
}

/* ---- writing ---- */

static enum eye_status write_failed(const struct eye_writer *w, const char *what, struct eye_err *err) {
    return eye_fail(err, EYE_E_IO, "%s: cannot %s: %s", w->path, what, strerror(errno));
}

/* Where the bytes end up: the target of a symbolic link is replaced, not the link. */
static char *final_path(const char *path, struct eye_err *err) {
    struct stat s;
    if (lstat(path, &s) != 0 || !S_ISLNK(s.st_mode)) return copy_text(path, err);
    char *real = realpath(path, NULL);
    if (!real) return copy_text(path, err);
    char *copy = copy_text(real, err);
    free(real);
    return copy;
}

/* An unfinished file is locked while somebody writes it: the lock of a process that is killed goes with it, and tells the file
 * from one that will still be renamed (eye_sweep_unfinished). Where a file system has no locks, nothing is swept. */
static int open_unfinished(const char *path) {
    for (;;) {
        struct stat mine, there;
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0) return fd;
        bool locked = flock(fd, LOCK_EX) == 0;
        bool swept = locked && fstat(fd, &mine) == 0 && (stat(path, &there) != 0 || there.st_ino != mine.st_ino);
        if (!swept && ftruncate(fd, 0) == 0) return fd;
        int why = errno;
        close(fd);
        errno = why;
        if (!swept) return -1;
    }
}

/* "start*.tmp-NUMBER" */
static bool is_unfinished(const char *name, const char *start) {
    const char *tmp = strncmp(name, start, strlen(start)) == 0 ? strstr(name + strlen(start), ".tmp-") : NULL;
    size_t n = tmp ? strspn(tmp + 5, "0123456789") : 0;
    return n && tmp[5 + n] == '\0';
}

void eye_sweep_unfinished(const char *path) {
    const char *slash = strrchr(path, '/'), *start = slash ? slash + 1 : path;
    char *dir = copy_text(slash ? path : "./", NULL);
    if (!dir) return;
    dir[slash ? slash - path + 1 : 2] = '\0';
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct stat s;
        if (!is_unfinished(e->d_name, start)) continue;
        int fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0) continue;
        if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0)
            (void)unlinkat(dirfd(d), e->d_name, 0);
        close(fd);
    }
    if (d) closedir(d);
    eye_alloc_free(NULL, dir, strlen(slash ? path : "./") + 1);
}

enum eye_status eye_writer_open(struct eye_writer *out, const char *path, struct eye_err *err) {
    struct eye_writer w = {.path = final_path(path, err)};
    struct stat s;
    if (!w.path) return EYE_E_NOMEM;
    bool special = stat(w.path, &s) == 0 && !S_ISREG(s.st_mode); /* /dev/null, a pipe: written in place, never renamed over */
    if (special && S_ISDIR(s.st_mode)) {
        free_text(w.path);
        return eye_fail(err, EYE_E_IO, "%s: expected a file name to write to, got a folder", path);
    }
    if (!special) {
        size_t cap = strlen(w.path) + 32;
        char *tmp = eye_alloc_raw(NULL, cap);
        if (!tmp) {
            free_text(w.path);
            return eye_fail_nomem(err, cap);
        }
        snprintf(tmp, cap, "%s.tmp-%ld", w.path, (long)getpid());
        w.tmp_path = tmp;
    }
    int fd = w.tmp_path ? open_unfinished(w.tmp_path) : open(w.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    w.file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!w.file) {
        enum eye_status st = write_failed(&w, "open for writing", err);
        if (fd >= 0) close(fd);
        free_text(w.path);
        free_text(w.tmp_path);
        return st;
    }
    *out = w;
    return EYE_OK;
}

enum eye_status eye_writer_put(struct eye_writer *w, const void *p, size_t n, struct eye_err *err) {
    if (n && fwrite(p, 1, n, w->file) != n) return write_failed(w, "write", err);
    w->pos += n;
    return EYE_OK;
}

enum eye_status eye_writer_pad(struct eye_writer *w, size_t align, struct eye_err *err) {
    static const char zeros[256];
    for (uint64_t left = (align - w->pos % align) % align; left;) {
        size_t n = (size_t)EYE_MIN(left, sizeof zeros);
        EYE_TRY(eye_writer_put(w, zeros, n, err));
        left -= n;
    }
    return EYE_OK;
}

/* The rename is only as durable as the folder's entry. Not all file systems allow it, so failing is no error. */
static void sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char dir[4096];
    size_t n = slash ? EYE_MAX((size_t)(slash - path), 1) : 1;
    if (n >= sizeof dir) return;
    memcpy(dir, slash ? path : ".", n);
    dir[n] = '\0';
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

enum eye_status eye_writer_commit(struct eye_writer *w, struct eye_err *err) {
    enum eye_status st = EYE_OK;
    FILE *f = w->file;
    if (!f) return eye_fail(err, EYE_E_ARG, "the writer is not open");
    int lock = dup(fileno(f)); /* until it has its name */
    if (fflush(f) != 0 || (w->tmp_path && fsync(fileno(f)) != 0)) st = write_failed(w, "write", err);
    w->file = NULL;
    if (fclose(f) != 0 && st == EYE_OK) st = write_failed(w, "write", err);
    if (st == EYE_OK && w->tmp_path && rename(w->tmp_path, w->path) != 0) st = write_failed(w, "rename into place", err);
    if (st == EYE_OK && w->tmp_path) {
        sync_folder(w->path);
        free_text(w->tmp_path); /* nothing left to remove */
        w->tmp_path = NULL;
    }
    eye_writer_abort(w);
    if (lock >= 0) close(lock);
    return st;
}

void eye_writer_abort(struct eye_writer *w) {
    if (w->file) fclose(w->file);
    if (w->tmp_path) unlink(w->tmp_path);
    free_text(w->path);
    free_text(w->tmp_path);
    *w = (struct eye_writer){0};
}
