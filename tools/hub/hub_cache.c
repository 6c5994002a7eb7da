/* hub_cache: see hub_cache.h. */
#include "hub_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "http.h"

#define COMMIT_HEX 40
#define MAX_PARTS 32 /* of a path inside a repository */

/* ---- names ---- */

bool hub_is_hex(const char *text, size_t n) { return strlen(text) == n && strspn(text, "0123456789abcdef") == n; }

/* One part of a repository's name. "--" stands for the slash in folder names, so it is in no part. */
static bool part_ok(const char *p, size_t n) {
    if (n == 0 || n > 96 || p[0] == '.' || p[0] == '-' || p[n - 1] == '.' || p[n - 1] == '-') return false;
    for (size_t i = 0; i < n; i++) {
        bool word = (p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') || (p[i] >= '0' &&
                                                                                     p[i] <= '9') || strchr("._-", p[i]);
        if (!word || (i && (p[i] == '-' || p[i] == '.') && p[i] == p[i - 1])) return false;
    }
    return true;
}

bool hub_path_ok(const char *path) {
    size_t n_parts = 0;
    if (strlen(path) > 1024) return false;
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, "/");
        if (n == 0 || n > 255 || ++n_parts > MAX_PARTS || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' &&
                                                                                      p[1] == '.')) return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)p[i] < ' ' || p[i] == 127 || p[i] == '\\') return false;
        p += n;
        if (!*p) return true;
    }
}

static bool revision_ok(const char *text) {
    for (const char *p = text; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("._-/+",
            *p))) return false;
    return hub_path_ok(text);
}

bool hub_name_parse(const char *text, struct hub_name *name) {
    const char *at = strchr(text, '@'), *slash = strchr(text, '/');
    size_t n = at ? (size_t)(at - text) : strlen(text);
    if (!slash || slash >= text + n || n >= sizeof name->repo || memchr(slash + 1, '/',
                                                                        n - (size_t)(slash + 1 - text))) return false;
    if (!part_ok(text, (size_t)(slash - text)) || !part_ok(slash + 1, n - (size_t)(slash + 1 - text))) return false;
    const char *revision = at ? at + 1 : "main";
    if (strlen(revision) >= sizeof name->revision || !revision_ok(revision)) return false;
    memcpy(name->repo, text, n);
    name->repo[n] = '\0';
    snprintf(name->revision, sizeof name->revision, "%s", revision);
    return true;
}

/* ---- places ---- */

enum eye_status hub_cache_dir(const char *given, char out[HUB_PATH_MAX], struct eye_err *err) {
    static const struct {
        const char *variable, *below;
    } place[] = {{"HF_HUB_CACHE", ""}, {"HUGGINGFACE_HUB_CACHE", ""}, {"HF_HOME", "/hub"}, {"XDG_CACHE_HOME",
        "/huggingface/hub"},
                 {"HOME", "/.cache/huggingface/hub"}};
    const char *dir = given, *below = "";
    for (size_t i = 0; !(dir && *dir) && i < sizeof place / sizeof place[0]; i++) {
        dir = getenv(place[i].variable);
        below = place[i].below;
    }
    if (!dir || !*dir) return http_fail(err, EYE_E_ARG, "no folder for models is known: set HF_HOME, HF_HUB_CACHE or HOME");
    if (snprintf(out, HUB_PATH_MAX, "%s%s", dir, below) >= HUB_PATH_MAX / 2)
        return http_fail(err, EYE_E_ARG, "the folder for models, %.200s…: its name is too long", dir);
    return EYE_OK;
}

bool hub_cache_path(const char *cache, const char *repo, char out[HUB_PATH_MAX], const char *rest_fmt, ...) {
    const char *slash = strchr(repo, '/');
    size_t at = (size_t)snprintf(out, HUB_PATH_MAX, "%s/models--%.*s--%s", cache, (int)(slash - repo), repo, slash + 1);
    va_list ap;
    if (at >= HUB_PATH_MAX) return false;
    va_start(ap, rest_fmt);
    int n = vsnprintf(out + at, HUB_PATH_MAX - at, rest_fmt, ap);
    va_end(ap);
    return n >= 0 && at + (size_t)n < HUB_PATH_MAX;
}

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool read_ref(const char *cache, const struct hub_name *name, char commit[COMMIT_HEX + 2]) {
    char path[HUB_PATH_MAX];
    FILE *f = hub_cache_path(cache, name->repo, path, "/refs/%s", name->revision) ? fopen(path, "r") : NULL;
    bool ok = f && fgets(commit, COMMIT_HEX + 2, f);
    if (f) fclose(f);
    if (ok) commit[strcspn(commit, "\r\n")] = '\0';
    return ok && hub_is_hex(commit, COMMIT_HEX);
}

enum eye_status hub_cache_find(const char *cache, const struct hub_name *name, char snapshot[HUB_PATH_MAX], char *commit,
                               struct eye_err *err) {
    char id[COMMIT_HEX + 2];
    bool found = true;
    if (hub_is_hex(name->revision, COMMIT_HEX)) snprintf(id, sizeof id, "%s", name->revision);
    else found = read_ref(cache, name, id);
    found = found && hub_cache_path(cache, name->repo, snapshot, "/snapshots/%s", id) && is_folder(snapshot);
    if (found && commit) memcpy(commit, id, COMMIT_HEX + 1);
    if (found) return EYE_OK;
    return http_fail(err, EYE_E_IO, "%s@%s is not in %.200s: \"eyelet pull %s\" fetches it", name->repo, name->revision, cache,
                     name->repo);
}

static bool ends_in(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

void hub_cache_model(const char *snapshot, char model[HUB_PATH_MAX], char *mmproj) {
    char found[HUB_PATH_MAX] = "";
    int n = 0;
    *mmproj = '\0';
    snprintf(model, HUB_PATH_MAX, "%s/config.json", snapshot);
    DIR *dir = access(model, F_OK) == 0 ? NULL : opendir(snapshot);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (!ends_in(e->d_name, ".gguf")) continue;
        bool eyes = strstr(e->d_name, "mmproj") != NULL;
        snprintf(eyes ? mmproj : found, HUB_PATH_MAX, "%s/%s", snapshot, e->d_name);
        n += !eyes;
    }
    if (dir) closedir(dir);
    snprintf(model, HUB_PATH_MAX, "%s", n == 1 ? found : snapshot);
}

/* ---- changing it ---- */

enum eye_status hub_make_folders(const char *path, struct eye_err *err) {
    char dir[HUB_PATH_MAX];
    if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir) return http_fail(err, EYE_E_ARG, "%.300s…: too long", path);
    for (char *p = dir + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        if (mkdir(dir, 0777) != 0 && errno != EEXIST)
            return http_fail(err, EYE_E_IO, "%.300s: cannot make the folder: %s", dir, strerror(errno));
        *p = '/';
    }
    return EYE_OK;
}

/* "../../blobs/ID", with a step more for each folder of path. */
static bool link_target(const char *path, const char *blob, char out[HUB_PATH_MAX]) {
    size_t at = (size_t)snprintf(out, HUB_PATH_MAX, "../../");
    for (const char *p = path; (p = strchr(p, '/')) && at < HUB_PATH_MAX; p++) at += (size_t)snprintf(out + at,
        HUB_PATH_MAX - at, "../");
    return at < HUB_PATH_MAX && snprintf(out + at, HUB_PATH_MAX - at, "blobs/%s", blob) < (int)(HUB_PATH_MAX - at);
}

static enum eye_status too_long(struct eye_err *err, const char *path) {
    return http_fail(err, EYE_E_ARG, "%.300s: the cache's folder and this name are too long together", path);
}

enum eye_status hub_cache_link(const char *cache, const char *repo, const char *commit, const char *path, const char *blob,
                               struct eye_err *err) {
    char place[HUB_PATH_MAX], tmp[HUB_PATH_MAX], target[HUB_PATH_MAX], there[HUB_PATH_MAX];
    if (!hub_cache_path(cache, repo, place, "/snapshots/%s/%s", commit, path) || !link_target(path, blob, target) ||
        !hub_cache_path(cache, repo, tmp, "/snapshots/%s/%s.tmp-%ld", commit, path, (long)getpid()))
        return too_long(err, path);
    ssize_t n = readlink(place, there, sizeof there - 1);
    if (n >= 0 && (size_t)n == strlen(target) && memcmp(there, target, (size_t)n) == 0) return EYE_OK;
    enum eye_status st = hub_make_folders(place, err);
    if (st != EYE_OK) return st;
    unlink(tmp);
    if (symlink(target, tmp) == 0) {
        if (rename(tmp, place) == 0) return EYE_OK;
        int why = errno;
        unlink(tmp);
        return http_fail(err, EYE_E_IO, "%.300s: cannot be put in place: %s", place, strerror(why));
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) /* else a disk without links: FAT on a memory card */
        return http_fail(err, EYE_E_IO, "%.300s: cannot link: %s", place, strerror(errno));
    if (!hub_cache_path(cache, repo, target, "/blobs/%s", blob)) return too_long(err, path);
    if (rename(target, place) == 0) return EYE_OK;
    return http_fail(err, EYE_E_IO, "%.300s: cannot be put in place: %s", place, strerror(errno));
}

enum eye_status hub_cache_set_ref(const char *cache, const struct hub_name *name, const char *commit, struct eye_err *err) {
    char path[HUB_PATH_MAX], tmp[HUB_PATH_MAX];
    if (hub_is_hex(name->revision, COMMIT_HEX)) return EYE_OK;
    if (!hub_cache_path(cache, name->repo, path, "/refs/%s", name->revision) ||
        !hub_cache_path(cache, name->repo, tmp, "/refs/%s.tmp-%ld", name->revision, (long)getpid()))
        return too_long(err, name->revision);
    enum eye_status st = hub_make_folders(path, err);
    if (st != EYE_OK) return st;
    FILE *f = fopen(tmp, "w");
    bool ok = f && fputs(commit, f) >= 0;
    ok = f && fclose(f) == 0 && ok;
    if (ok && rename(tmp, path) == 0) return EYE_OK;
    http_fail(err, EYE_E_IO, "%.300s: cannot write: %s", path, strerror(errno));
    unlink(tmp);
    return EYE_E_IO;
}

enum eye_status hub_cache_lock(const char *cache, const char *repo, const char *blob, void (*on_wait)(void *ctx), void *ctx,
                               eye_cancel_fn *cancel, int *fd, struct eye_err *err) {
    char locks[HUB_PATH_MAX], path[HUB_PATH_MAX];
    if (snprintf(locks, sizeof locks, "%s/.locks", cache) >= (int)sizeof locks || !hub_cache_path(locks, repo, path,
        "/%s.lock", blob))
        return too_long(err, repo);
    enum eye_status st = hub_make_folders(path, err);
    if (st != EYE_OK) return st;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0) return http_fail(err, EYE_E_IO, "%.300s: cannot create: %s", path, strerror(errno));
    for (bool said = false; flock(*fd, LOCK_EX | LOCK_NB) != 0; said = true) {
        int why = errno;
        if ((why == EWOULDBLOCK || why == EINTR) && !cancel(NULL)) {
            if (!said) on_wait(ctx);
            nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
            continue;
        }
        close(*fd);
        return cancel(NULL) ? http_fail(err, EYE_E_CANCELLED, "stopped")
                            : http_fail(err, EYE_E_IO, "%.300s: cannot lock: %s", path, strerror(why));
    }
    return EYE_OK;
}
