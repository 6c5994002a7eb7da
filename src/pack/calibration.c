/* The calibration set: listing a folder, choosing pictures, finding their captions. File names and captions are outside bytes. */
#include "pack/calibration.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/sys.h"

#define MAX_NAMES 1000000u
#define MAX_CAPTION_BYTES ((size_t)256 << 20)

struct names {
    struct eye_arena arena;
    const struct eye_alloc *alloc;
    const char **name;
    size_t n, cap;
};

/* ---- the folder ---- */

static bool is_picture(const char *name) {
    static const char *const tail[] = {"jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm", "pbm", "pnm"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < EYE_COUNT(tail); i++)
        if (strcasecmp(dot + 1, tail[i]) == 0) return true;
    return false;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static enum eye_status list(struct names *names, const char *dir, struct eye_err *err) {
    enum eye_status st = EYE_OK;
    DIR *d = opendir(dir);
    if (!d) return eye_fail(err, EYE_E_IO, "%s: %s; expected a folder of pictures", dir, strerror(errno));
    for (struct dirent *e; st == EYE_OK && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.' || !is_picture(e->d_name)) continue;
        if (names->n >= MAX_NAMES) {
            st = eye_fail(err, EYE_E_LIMIT, "%s: more than %u pictures", dir, MAX_NAMES);
            break;
        }
        st = eye_alloc_grow(names->alloc, (void **)&names->name, &names->cap, names->n + 1, sizeof *names->name, err);
        if (st != EYE_OK) break;
        char *copy = eye_arena_strdup(&names->arena, e->d_name, strlen(e->d_name));
        if (!copy) st = eye_fail_nomem(err, strlen(e->d_name));
        else names->name[names->n++] = copy;
    }
    closedir(d);
    if (st == EYE_OK && names->n) qsort(names->name, names->n, sizeof *names->name, by_name);
    return st;
}

/* ---- captions ---- */

/* A caption as it stands in the file: without surrounding blanks and quotes; doubled quotes inside quotes are one. */
static char *clean_caption(struct eye_arena *arena, const char *p, size_t n) {
    while (n && (*p == ' ' || *p == '\t')) p++, n--;
    while (n && (p[n - 1] == ' ' || p[n - 1] == '\r')) n--;
    bool quoted = n >= 2 && p[0] == '"' && p[n - 1] == '"';
    char *out = eye_arena_strdup(arena, p + quoted, n - 2 * (size_t)quoted);
    if (!out || !quoted) return out;
    char *to = out;
    for (const char *from = out; *from; from++) {
        *to++ = *from;
        if (from[0] == '"' && from[1] == '"') from++;
    }
    *to = '\0';
    return out;
}

static enum eye_status take_line(struct eye_calibration *c, const struct eye_strmap *by_file, const char *p, size_t n,
                                 struct eye_err *err) {
    const char *cut = memchr(p, '\t', n);
    if (!cut) cut = memchr(p, ',', n);
    if (!cut) return EYE_OK;
    size_t len = (size_t)(cut - p);
    const char *mark = memchr(p, '#', len);
    int32_t i = eye_strmap_get(by_file, p, len);
    if (i < 0 && mark) i = eye_strmap_get(by_file, p, (size_t)(mark - p));
    if (i < 0 || c->item[i].caption[0]) return EYE_OK;
    char *text = clean_caption(&c->arena, cut + 1, n - len - 1);
    if (!text) return eye_fail_nomem(err, n);
    c->item[i].caption = text;
    c->n_captions += text[0] != '\0';
    return EYE_OK;
}

static enum eye_status read_captions(struct eye_calibration *c, const char *dir, const struct eye_strmap *by_file,
                                     struct eye_err *err) {
    static const char *const file[] = {"captions.tsv", "captions.txt"};
    struct eye_map map;
    const char *path = NULL;
    for (size_t i = 0; i < EYE_COUNT(file) && !path; i++) {
        char *p = eye_arena_printf(&c->arena, "%s/%s", dir, file[i]);
        if (!p) return eye_fail_nomem(err, strlen(dir));
        if (eye_path_exists(p)) path = p;
    }
    if (!path) return EYE_OK;
    EYE_TRY(eye_map_open(&map, path, true, MAX_CAPTION_BYTES, err));
    enum eye_status st = EYE_OK;
    const char *p = (const char *)map.p, *end = p ? p + map.size : p;
    while (st == EYE_OK && p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        if (!line_end) line_end = end;
        st = take_line(c, by_file, p, (size_t)(line_end - p), err);
        p = line_end < end ? line_end + 1 : end;
    }
    eye_map_close(&map);
    return st;
}

/* ---- choosing ---- */

static enum eye_status look(struct eye_calibration *c, const char *path, bool *readable, struct eye_err *err) {
    struct eye_image img;
    struct eye_image_opts opts = {.alloc = c->arena.alloc};
    struct eye_err why = {0};
    void *list = c->unreadable;
    *readable = eye_image_load(path, &opts, &img, &why) == EYE_OK;
    if (*readable) {
        eye_image_free(&img);
        return EYE_OK;
    }
    char *text = eye_arena_strdup(&c->arena, why.text, strlen(why.text));
    if (!text) return eye_fail_nomem(err, strlen(why.text));
    EYE_TRY(eye_alloc_grow(c->arena.alloc, &list, &c->unreadable_cap, c->n_unreadable + 1, sizeof *c->unreadable, err));
    c->unreadable = list;
    c->unreadable[c->n_unreadable++] = text;
    if (c->n_unreadable == 1)
        snprintf(c->first_unreadable, sizeof c->first_unreadable, "%.*s", (int)sizeof c->first_unreadable - 1, text);
    return EYE_OK;
}

/* The sorted names in at most max equal stretches; each gives its first picture that can be read. */
static enum eye_status choose(struct eye_calibration *c, const struct names *names, const char *dir, size_t max,
                              struct eye_strmap *by_file, struct eye_err *err) {
    size_t n = EYE_MIN(names->n, max);
    bool readable = false;
    c->item = eye_arena_alloc(&c->arena, n * sizeof *c->item);
    if (!c->item) return eye_fail_nomem(err, n * sizeof *c->item);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i * names->n / n; k < (i + 1) * names->n / n; k++) {
            char *path = eye_arena_printf(&c->arena, "%s/%s", dir, names->name[k]);
            if (!path) return eye_fail_nomem(err, strlen(dir));
            EYE_TRY(look(c, path, &readable, err));
            if (!readable) continue;
            EYE_TRY(eye_strmap_put(by_file, names->name[k], strlen(names->name[k]), (int32_t)c->n, NULL, err));
            c->item[c->n++] = (struct eye_calibration_item){path, ""};
            break;
        }
    }
    if (c->n) return EYE_OK;
    return eye_fail(err, EYE_E_ARG, "%s: none of %zu pictures can be read; the first: %s", dir, c->n_unreadable,
                    c->first_unreadable);
}

static enum eye_status open_set(struct eye_calibration *c, struct names *names, struct eye_strmap *by_file, const char *dir,
                                size_t max, struct eye_err *err) {
    static const char *const below[] = {"images", "Images"};
    const char *at = dir;
    EYE_TRY(list(names, dir, err));
    for (size_t i = 0; i < EYE_COUNT(below) && names->n == 0; i++) {
        char *p = eye_arena_printf(&c->arena, "%s/%s", dir, below[i]);
        if (!p) return eye_fail_nomem(err, strlen(dir));
        if (!eye_path_is_dir(p)) continue;
        at = p;
        EYE_TRY(list(names, p, err));
    }
    if (names->n == 0)
        return eye_fail(err, EYE_E_ARG, "%s: no pictures; expected .jpg, .png, .webp, .bmp or .ppm files in it or in images/", dir);
    EYE_TRY(choose(c, names, at, max, by_file, err));
    return read_captions(c, dir, by_file, err);
}

enum eye_status eye_calibration_open(struct eye_calibration *c, const char *dir, size_t max_items, const struct eye_alloc *alloc,
                                     struct eye_err *err) {
    struct names names = {.alloc = alloc};
    struct eye_strmap by_file;
    memset(c, 0, sizeof *c);
    eye_arena_init(&c->arena, alloc);
    eye_arena_init(&names.arena, alloc);
    eye_strmap_init(&by_file, alloc);
    enum eye_status st = open_set(c, &names, &by_file, dir, max_items ? max_items : EYE_CALIBRATION_DEFAULT, err);
    eye_strmap_clear(&by_file);
    eye_alloc_free(alloc, (void *)names.name, names.cap * sizeof *names.name);
    eye_arena_clear(&names.arena);
    if (st != EYE_OK) eye_calibration_close(c);
    return st;
}

void eye_calibration_close(struct eye_calibration *c) {
    eye_alloc_free(c->arena.alloc, (void *)c->unreadable, c->unreadable_cap * sizeof *c->unreadable);
    eye_arena_clear(&c->arena);
    memset(c, 0, sizeof *c);
}

enum eye_status eye_calibration_image(const struct eye_calibration *c, size_t i, struct eye_image *img, struct eye_err *err) {
    struct eye_image_opts opts = {.alloc = c->arena.alloc};
    return eye_image_load(c->item[i].path, &opts, img, err);
}
