/* hub: see hub.h. A file is fetched to blobs/ID.incomplete, under its lock, and gets its name when its bytes have the hash
 * that names it; so whatever is cut off, by the network or by kill -9, is gone on with, and no half file is ever found under a
 * name. */
#include "hub.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "http.h"

enum { MAX_TRIES = 5, MAX_WAIT_S = 300 }; /* tries in which nothing came; the longest wait that a server may ask for */
#define MAX_LIST_BYTES ((uint64_t)64 << 20)

struct pull {
    const struct hub_name *name;
    const struct hub_opts *o;
    struct hub_listing *list;
    struct http *http;
    uint64_t done; /* bytes of files that are there */
};

/* ---- what eyelet reads ---- */

static bool has_end(const char *path, const char *end) {
    size_t n = strlen(path), m = strlen(end);
    return n > m && strcmp(path + n - m, end) == 0;
}

static bool eyelet_reads(const char *path, bool has_safetensors) {
    static const char *const name[] = {
        "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json",
        "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
        "chat_template.jinja",
        "chat_template.json", "tokenizer.model", "model.safetensors.index.json"};
    if (strchr(path, '/')) return false; /* of a checkpoint eyelet reads one folder */
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        if (strcmp(path, name[i]) == 0) return true;
    if (has_end(path, ".safetensors") || has_end(path, ".gguf")) return true;
    return !has_safetensors && strncmp(path, "pytorch_model", 13) == 0 && (has_end(path, ".bin") || has_end(path,
        ".bin.index.json"));
}

static bool is_wanted(const struct hub_opts *o, const char *path, bool has_safetensors) {
    if (o->all) return true;
    for (size_t i = 0; i < o->n_include; i++)
        if (fnmatch(o->include[i], path, 0) == 0) return true;
    return o->n_include == 0 && eyelet_reads(path, has_safetensors);
}

static enum eye_status choose(struct pull *p, struct eye_err *err) {
    struct hub_listing *l = p->list;
    bool has_safetensors = false;
    for (size_t i = 0; i < l->n_files; i++)
        has_safetensors = has_safetensors || (!strchr(l->file[i].path, '/') && has_end(l->file[i].path, ".safetensors"));
    for (size_t i = 0; i < l->n_files; i++) {
        struct hub_file *f = &l->file[i];
        f->wanted = is_wanted(p->o, f->path, has_safetensors);
        l->n_wanted += f->wanted;
        l->wanted_bytes += f->wanted ? f->size : 0; /* 20000 files of 2^44 bytes fit */
    }
    if (l->n_wanted) return EYE_OK;
    return http_fail(err, EYE_E_ARG, "%s@%s: none of its %zu files (%.100s, …) is %s", p->name->repo, p->name->revision,
                     l->n_files,
                     l->file[0].path, p->o->n_include ? "what --include says" : "one that eyelet reads (--include, --all)");
}

/* ---- requests ---- */

static void note(struct pull *p, const char *fmt, ...) EYE_PRINTF(2, 3);
static void note(struct pull *p, const char *fmt, ...) {
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->o->on_note(p->o->ctx, text);
}

/* What a status that is no answer means for the one who asked. */
static enum eye_status refused(const struct pull *p, const struct http_answer *a, const char *what, struct eye_err *err) {
    const char *hint = "";
    if (a->status == 401 || a->status == 403)
        hint = p->o->token ? "; does HF_TOKEN's owner have access, its terms accepted on the hub?"
                           : "; private or gated: accept its terms on the hub and set HF_TOKEN";
    else if (a->status == 404)
        hint = p->o->token ? "; are name and revision right?" : "; are name and revision right? Private ones need HF_TOKEN";
    return http_fail(err, EYE_E_IO, "%s@%s: %.200s: the hub answers %ld%s%.150s%s", p->name->repo, p->name->revision, what,
                     a->status,
                     a->message[0] ? ", " : "", a->message, hint);
}

static bool passes(long status) { return status == 429 || status == 408 || status >= 500; } /* with time */

/* Before the next try. The server may say how long, up to a bound. */
static enum eye_status wait_for(struct pull *p, const struct http_answer *a, int n_failed, const char *why,
                                struct eye_err *err) {
    uint32_t s = a->retry_after_s ? a->retry_after_s : 1u << (n_failed - 1);
    if (s > MAX_WAIT_S)
        return http_fail(err, EYE_E_IO, "%s: the hub answers %ld and asks for a wait of %" PRIu32 " s: try again then",
                         p->name->repo,
                         a->status, s);
    note(p, "%s; trying again in %" PRIu32 " s", why, s);
    for (uint32_t tenth = 0; tenth < 10 * s; tenth++) {
        if (p->o->cancel(NULL)) return http_fail(err, EYE_E_CANCELLED, "stopped");
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return EYE_OK;
}

/* What the tries of one thing have in common. *more: try again. done: something came, so the count begins anew. */
static enum eye_status after_try(struct pull *p, enum eye_status st, const struct http_answer *a, bool progress,
                                 const char *what,
                                 int *n_failed, bool *more, struct eye_err *err) {
    char why[400];
    *more = false;
    if (st != EYE_OK && st != EYE_E_IO) return st;
    if (st == EYE_OK && (a->status == 200 || a->status == 206)) return EYE_OK;
    if (st == EYE_OK && !passes(a->status)) return refused(p, a, what, err);
    *n_failed = progress ? 1 : *n_failed + 1;
    if (st == EYE_OK) snprintf(why, sizeof why, "%.200s: the hub answers %ld", what, a->status);
    else snprintf(why, sizeof why, "%.350s", err->text);
    if (*n_failed >= MAX_TRIES) return st == EYE_OK ? refused(p, a, what, err) : st;
    *more = true;
    return wait_for(p, a, *n_failed, why, err);
}

/* Each part of path as URLs have it: everything but letters, digits and -._~ as %XX. */
static void escape(const char *path, bool slashes, char *out, size_t cap) {
    size_t at = 0;
    for (const unsigned char *c = (const unsigned char *)path; *c && at + 4 < cap; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-._~", *c);
        if (plain || (*c == '/' && !slashes)) out[at++] = (char)*c;
        else at += (size_t)snprintf(out + at, cap - at, "%%%02X", *c);
    }
    out[at] = '\0';
}

static enum eye_status check_etag(const struct http_answer *a, const char *blob, const char *path, struct eye_err *err) {
    size_t n = strlen(a->etag);
    if ((n != 40 && n != 64) || !hub_is_hex(a->etag, n) || strcmp(a->etag, blob) == 0) return EYE_OK;
    return http_fail(err, EYE_E_CORRUPT, "%.200s: the hub lists it as %.12s… and sends %.12s…: did it change just now?", path,
                     blob, a->etag);
}

/* ---- the list ---- */

struct text {
    char *p;
    size_t n, cap;
};

static enum eye_status add_text(void *ctx, const void *p, size_t n, struct eye_err *err) {
    struct text *t = ctx;
    if (t->n + n > t->cap) {
        size_t cap = 2 * (t->n + n);
        char *more = realloc(t->p, cap);
        if (!more) return http_fail(err, EYE_E_NOMEM, "out of memory");
        t->p = more;
        t->cap = cap;
    }
    memcpy(t->p + t->n, p, n);
    t->n += n;
    return EYE_OK;
}

static enum eye_status ask_list(struct pull *p, struct eye_err *err) {
    char url[2048], revision[3 * HUB_REVISION_MAX + 1];
    struct text text = {0};
    struct http_answer a;
    enum eye_status st;
    int n_failed = 0;
    bool more;
    escape(p->name->revision, true, revision, sizeof revision);
    if (snprintf(url, sizeof url, "%s/api/models/%s/revision/%s?blobs=true", p->o->endpoint, p->name->repo,
                 revision) >= (int)sizeof url)
        return http_fail(err, EYE_E_ARG, "HF_ENDPOINT is too long");
    const struct http_request r = {.url = url, .token = p->o->token, .max_bytes = MAX_LIST_BYTES, .on_body = add_text,
                                   .ctx = &text,
                                   .cancel = p->o->cancel};
    do {
        text.n = 0;
        st = http_get(p->http, &r, &a, err);
        st = after_try(p, st, &a, false, "its list of files", &n_failed, &more, err);
    } while (st == EYE_OK && more);
    if (st == EYE_OK) st = hub_listing_parse(text.p ? text.p : "", text.n, p->list, err);
    free(text.p);
    return st;
}

/* ---- a file ---- */

struct fetch {
    struct pull *p;
    const struct hub_file *file;
    char part[HUB_PATH_MAX]; /* blobs/ID.incomplete */
    FILE *f;
    uint64_t at, best; /* bytes of it; the most there ever were: a try brings something only beyond these */
};

static enum eye_status cannot(const char *path, const char *what, struct eye_err *err) {
    return http_fail(err, EYE_E_IO, "%.300s: cannot %s: %s", path, what, strerror(errno));
}

/* A server that cannot go on in the middle sends all of it. */
static enum eye_status on_head(void *ctx, const struct http_answer *a, struct eye_err *err) {
    struct fetch *t = ctx;
    enum eye_status st = check_etag(a, t->file->blob, t->file->path, err);
    if (st != EYE_OK) return st;
    if (a->status == 206) {
        if (a->has_range && a->range_first == t->at && a->range_total == t->file->size) return EYE_OK;
        return http_fail(err, EYE_E_CORRUPT, "%.200s: asked from byte %" PRIu64 " of %" PRIu64 " on, got another part",
                         t->file->path,
                         t->at, t->file->size);
    }
    if (t->at && (fflush(t->f) != 0 || ftruncate(fileno(t->f), 0) != 0)) return cannot(t->part, "empty it", err);
    rewind(t->f);
    t->at = 0;
    return EYE_OK;
}

static enum eye_status on_body(void *ctx, const void *bytes, size_t n, struct eye_err *err) {
    struct fetch *t = ctx;
    struct pull *p = t->p;
    if (n > t->file->size - t->at)
        return http_fail(err, EYE_E_CORRUPT, "%.200s: the hub sends more than the %" PRIu64 " bytes it lists", t->file->path,
                         t->file->size);
    if (fwrite(bytes, 1, n, t->f) != n) return cannot(t->part, "write", err);
    t->at += n;
    p->list->fetched_bytes += n;
    p->o->on_progress(p->o->ctx, t->file->path, p->done + t->at, p->list->wanted_bytes);
    return EYE_OK;
}

/* From t->at to the end, over as many tries as it takes while each brings something. */
static enum eye_status fetch_bytes(struct fetch *t, struct eye_err *err) {
    struct pull *p = t->p;
    char url[8192], path[4096];
    struct http_answer a;
    int n_failed = 0;
    bool more = true;
    escape(t->file->path, false, path, sizeof path);
    if (snprintf(url, sizeof url, "%s/%s/resolve/%s/%s", p->o->endpoint, p->name->repo, p->list->commit,
                 path) >= (int)sizeof url)
        return http_fail(err, EYE_E_ARG, "HF_ENDPOINT is too long");
    while (more && t->at < t->file->size) {
        struct http_request r = {.url = url, .token = p->o->token, .from = t->at, .max_bytes = t->file->size + 65536,
                                 .on_head = on_head,
                                 .on_body = on_body, .ctx = t, .cancel = p->o->cancel};
        t->best = t->at > t->best ? t->at : t->best;
        enum eye_status st = http_get(p->http, &r, &a, err);
        if (fflush(t->f) != 0) return cannot(t->part, "write", err);
        if (st == EYE_OK && a.status == 416 && t->at) { /* it is another file now, or ours is nonsense */
            if (ftruncate(fileno(t->f), 0) != 0) return cannot(t->part, "empty it", err);
            rewind(t->f);
            t->at = 0;
            st = http_fail(err, EYE_E_IO, "%.200s: the hub has no byte %" PRIu64, t->file->path, r.from);
        } else if (st == EYE_OK && (a.status == 200 || a.status == 206) && t->at < t->file->size) {
            st = http_fail(err, EYE_E_IO, "%.200s: ends at %" PRIu64 " of %" PRIu64 " bytes", t->file->path, t->at,
                           t->file->size);
        }
        st = after_try(p, st, &a, t->at > t->best, t->file->path, &n_failed, &more, err);
        if (st != EYE_OK) return st;
    }
    return EYE_OK;
}

/* One round: what is missing, then the hash of all. *wrong: the hash is another. */
static enum eye_status fetch_round(struct fetch *t, bool *wrong, struct eye_err *err) {
    char id[65];
    *wrong = false;
    t->f = fopen(t->part, "ab");
    if (!t->f || fseeko(t->f, 0, SEEK_END) != 0) {
        cannot(t->part, "write", err);
        if (t->f) fclose(t->f);
        return EYE_E_IO;
    }
    t->at = (uint64_t)ftello(t->f);
    t->best = 0;
    enum eye_status st = EYE_OK;
    if (t->at > t->file->size) {
        if (ftruncate(fileno(t->f), 0) != 0) st = cannot(t->part, "empty it", err);
        t->at = 0;
    }
    if (st == EYE_OK) st = fetch_bytes(t, err);
    if (st == EYE_OK && (fflush(t->f) != 0 || fsync(fileno(t->f)) != 0)) st = cannot(t->part, "write it to the disk", err);
    fclose(t->f);
    if (st == EYE_OK) st = hub_file_id(t->part, strlen(t->file->blob), id, err);
    if (st != EYE_OK || strcmp(id, t->file->blob) == 0) return st;
    *wrong = true;
    unlink(t->part);
    return http_fail(err, EYE_E_CORRUPT,
                     "%.200s: its bytes have the hash %.16s…, the hub lists %.16s…: damaged on the hub or on the way",
                     t->file->path, id, t->file->blob);
}

static bool file_has(const char *path, uint64_t size) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
}

/* Is it there, as a blob, or on a disk without links in the snapshot itself? */
static bool is_there(const struct pull *p, const struct hub_file *f, const char *blob, bool *in_place) {
    char place[HUB_PATH_MAX];
    struct stat st;
    *in_place = hub_cache_path(p->o->cache, p->name->repo, place, "/snapshots/%s/%s", p->list->commit, f->path) &&
                lstat(place, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == f->size;
    return *in_place || file_has(blob, f->size);
}

static void on_wait(void *ctx) { note(ctx, "another process is fetching the same file: waiting for it"); }

static enum eye_status fetch_blob(struct pull *p, const struct hub_file *f, const char *blob, struct eye_err *err) {
    struct fetch t = {.p = p, .file = f};
    int lock;
    bool wrong = false, in_place;
    if (snprintf(t.part, sizeof t.part, "%s.incomplete", blob) >= (int)sizeof t.part)
        return http_fail(err, EYE_E_ARG, "the cache's folder: its name is too long");
    enum eye_status st = hub_make_folders(blob, err);
    if (st == EYE_OK) st = hub_cache_lock(p->o->cache, p->name->repo, f->blob, on_wait, p, p->o->cancel, &lock, err);
    if (st != EYE_OK) return st;
    if (!is_there(p, f, blob, &in_place)) {
        struct stat part;
        bool resumed = stat(t.part, &part) == 0 && part.st_size > 0;
        st = fetch_round(&t, &wrong, err);
        if (wrong && resumed) { /* what was there before may be what is wrong */
            note(p, "%.200s: what an earlier call left was damaged: fetching all of it", f->path);
            st = fetch_round(&t, &wrong, err);
        }
        if (st == EYE_OK && rename(t.part, blob) != 0) st = cannot(blob, "be put in place", err);
    }
    close(lock);
    return st;
}

static enum eye_status get_file(struct pull *p, const struct hub_file *f, struct eye_err *err) {
    char blob[HUB_PATH_MAX];
    bool in_place;
    if (!hub_cache_path(p->o->cache, p->name->repo, blob, "/blobs/%s", f->blob))
        return http_fail(err, EYE_E_ARG, "the cache's folder: its name is too long");
    enum eye_status st = is_there(p, f, blob, &in_place) ? EYE_OK : fetch_blob(p, f, blob, err);
    if (st == EYE_OK && !in_place) st = hub_cache_link(p->o->cache, p->name->repo, p->list->commit, f->path, f->blob, err);
    p->done += f->size;
    return st;
}

/* ---- all of it ---- */

/* Is there room for what is missing? */
static enum eye_status check_room(struct pull *p, struct eye_err *err) {
    char blob[HUB_PATH_MAX];
    struct statvfs disk;
    uint64_t missing = 0;
    bool in_place;
    for (size_t i = 0; i < p->list->n_files; i++) {
        const struct hub_file *f = &p->list->file[i];
        if (!f->wanted || !hub_cache_path(p->o->cache, p->name->repo, blob, "/blobs/%s", f->blob)) continue;
        missing += is_there(p, f, blob, &in_place) ? 0 : f->size;
    }
    if (!hub_cache_path(p->o->cache, p->name->repo, blob, "/blobs/x")) return EYE_OK;
    enum eye_status st = hub_make_folders(blob, err);
    if (st != EYE_OK || statvfs(p->o->cache, &disk) != 0) return st;
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (missing <= free_bytes) return EYE_OK;
    return http_fail(err, EYE_E_LIMIT, "%s: %.1f GB are to be fetched, %.1f GB are free in %.200s", p->name->repo,
                     (double)missing / 1e9,
                     (double)free_bytes / 1e9, p->o->cache);
}

enum eye_status hub_pull(const struct hub_name *name, const struct hub_opts *opts, struct hub_listing *list,
                         struct eye_err *err) {
    struct pull p = {.name = name, .o = opts, .list = list, .http = http_new()};
    *list = (struct hub_listing){0};
    if (!p.http) return http_fail(err, EYE_E_NOMEM, "out of memory");
    enum eye_status st = ask_list(&p, err);
    if (st == EYE_OK) st = choose(&p, err);
    if (st == EYE_OK) st = check_room(&p, err);
    for (size_t i = 0; st == EYE_OK && i < list->n_files; i++)
        if (list->file[i].wanted) st = get_file(&p, &list->file[i], err);
    if (st == EYE_OK) st = hub_cache_set_ref(opts->cache, name, list->commit,
                                             err); /* last: it never leads to half a snapshot */
    http_free(p.http);
    return st;
}
