/* Folders: see folder.h. */
#include "train/folder.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sys.h"

enum eye_status eye_path_join(char *out, const char *dir, const char *name, struct eye_err *err) {
    if (snprintf(out, EYE_PATH_CAP, "%s/%s", dir, name) < EYE_PATH_CAP) return EYE_OK;
    return eye_fail(err, EYE_E_LIMIT, "%.100s/…/%.100s: path too long", dir, name);
}

bool eye_text_ends(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

enum eye_status eye_folder_make(const char *dir, struct eye_err *err) {
    if (mkdir(dir, 0777) == 0 || eye_path_is_dir(dir)) return EYE_OK;
    return eye_fail(err, EYE_E_IO, "%s: cannot make the folder: %s", dir, strerror(errno));
}

enum eye_status eye_path_write(const char *path, const void *p, size_t n, struct eye_err *err) {
    struct eye_writer w;
    EYE_TRY(eye_writer_open(&w, path, err));
    enum eye_status st = eye_writer_put(&w, p, n, err);
    if (st == EYE_OK) return eye_writer_commit(&w, err);
    eye_writer_abort(&w);
    return st;
}

enum eye_status eye_folder_write(const char *dir, const char *name, const void *p, size_t n, struct eye_err *err) {
    char path[EYE_PATH_CAP];
    EYE_TRY(eye_path_join(path, dir, name, err));
    return eye_path_write(path, p, n, err);
}

enum eye_status eye_folder_copy(const char *from, const char *dir, const char *name, bool *copied, struct eye_err *err) {
    char path[EYE_PATH_CAP];
    struct eye_map m;
    EYE_TRY(eye_path_join(path, from, name, err));
    *copied = eye_path_exists(path);
    if (!*copied) return EYE_OK;
    EYE_TRY(eye_map_open(&m, path, true, 0, err));
    enum eye_status st = eye_folder_write(dir, name, m.p, m.size, err);
    eye_map_close(&m);
    return st;
}
