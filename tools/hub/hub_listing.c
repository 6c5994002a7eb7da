/* hub_listing: what a hub says is in a revision. Every word of it may be wrong or meant to harm. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub.h"
#include "http.h"

#define MAX_FILES 20000
#define MAX_BYTES ((uint64_t)1 << 44) /* of one file: 16 TiB */

void hub_listing_clear(struct hub_listing *list) {
    for (size_t i = 0; i < list->n_files; i++) free(list->file[i].path);
    free(list->file);
    *list = (struct hub_listing){0};
}

static int by_path(const void *a, const void *b) { return strcmp(((const struct hub_file *)a)->path,
                                                                 ((const struct hub_file *)b)->path); }

static enum eye_status take_file(const json_t *o, struct hub_file *f, struct eye_err *err) {
    const char *path = json_string_value(json_object_get(o, "rfilename"));
    const json_t *lfs = json_object_get(o, "lfs"), *size = json_object_get(json_is_object(lfs) ? lfs : o, "size");
    const char *blob = json_string_value(json_is_object(lfs) ? json_object_get(lfs, "sha256") : json_object_get(o, "blobId"));
    if (!path || !hub_path_ok(path))
        return http_fail(err, EYE_E_CORRUPT, "the hub lists a file \"%.100s\": no path inside a repository",
                         path ? path : "(no name)");
    if (!blob || !hub_is_hex(blob, json_is_object(lfs) ? 64 : 40))
        return http_fail(err, EYE_E_CORRUPT, "the hub lists \"%.200s\" without its hash (%s)", path,
                         json_is_object(lfs) ? "lfs.sha256" : "blobId");
    if (!json_is_integer(size) || json_integer_value(size) < 0 || (uint64_t)json_integer_value(size) > MAX_BYTES)
        return http_fail(err, EYE_E_CORRUPT, "the hub lists \"%.200s\" without a size that can be", path);
    f->path = strdup(path);
    f->size = (uint64_t)json_integer_value(size);
    snprintf(f->blob, sizeof f->blob, "%s", blob);
    return f->path ? EYE_OK : http_fail(err, EYE_E_NOMEM, "out of memory");
}

static enum eye_status take_files(const json_t *list_of, struct hub_listing *list, struct eye_err *err) {
    size_t n = json_array_size(list_of);
    if (n == 0 || n > MAX_FILES) return http_fail(err, EYE_E_CORRUPT, "the hub lists %zu files, expected 1 to %d", n,
                                                  MAX_FILES);
    list->file = calloc(n, sizeof *list->file);
    if (!list->file) return http_fail(err, EYE_E_NOMEM, "out of memory");
    for (; list->n_files < n; list->n_files++) {
        enum eye_status st = take_file(json_array_get(list_of, list->n_files), &list->file[list->n_files], err);
        if (st != EYE_OK) return st;
    }
    qsort(list->file, n, sizeof *list->file, by_path);
    for (size_t i = 1; i < n; i++)
        if (strcmp(list->file[i - 1].path, list->file[i].path) == 0)
            return http_fail(err, EYE_E_CORRUPT, "the hub lists \"%.200s\" twice", list->file[i].path);
    return EYE_OK;
}

enum eye_status hub_listing_parse(const char *text, size_t n, struct hub_listing *list, struct eye_err *err) {
    json_error_t where;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
    const char *commit = json_string_value(json_object_get(root, "sha"));
    const char *license = json_string_value(json_object_get(json_object_get(root, "cardData"), "license"));
    enum eye_status st = EYE_OK;
    *list = (struct hub_listing){0};
    if (!root) st = http_fail(err, EYE_E_CORRUPT, "the hub's list of files is no JSON (byte %d: %.100s)", where.position,
                              where.text);
    else if (!commit || !hub_is_hex(commit, 40))
        st = http_fail(err, EYE_E_CORRUPT, "the hub's list of files has no commit (\"sha\"), is HF_ENDPOINT a hub?");
    if (st == EYE_OK) {
        memcpy(list->commit, commit, sizeof list->commit);
        for (size_t i = 0; license && license[i] && i + 1 < sizeof list->license; i++)
            list->license[i] = license[i] >= ' ' && license[i] < 127 ? license[i] : '?';
        st = take_files(json_object_get(root, "siblings"), list, err);
    }
    json_decref(root);
    return st;
}
