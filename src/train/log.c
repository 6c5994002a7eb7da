/* Log: see log.h. Lines are appended with one write each, so a run that is killed leaves whole lines, but for the last. */
#include "train/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "format/json.h"
#include "train/folder.h"

/* The lines whose step is at most last, as they are. */
static enum eye_status keep_lines(const struct eye_map *m, int64_t last, struct eye_buf *out, struct eye_err *err) {
    for (size_t i = 0, end; i < m->size; i = end + 1) {
        const uint8_t *newline = memchr(m->p + i, '\n', m->size - i);
        if (!newline) break; /* cut off by a kill */
        end = (size_t)(newline - m->p);
        json_t *line = json_loadb((const char *)m->p + i, end - i, 0, NULL);
        if (line && json_integer_value(json_object_get(line, "step")) <= last) eye_buf_add(out, m->p + i, end + 1 - i);
        json_decref(line);
    }
    return out->failed ? eye_fail_nomem(err, m->size) : EYE_OK;
}

enum eye_status eye_log_open(struct eye_train_log *l, const char *dir, int64_t from_step, const struct eye_alloc *alloc,
                             struct eye_err *err) {
    char path[EYE_PATH_CAP];
    struct eye_map m = {0};
    struct eye_buf kept;
    enum eye_status st = EYE_OK;
    *l = (struct eye_train_log){.alloc = alloc};
    EYE_TRY(eye_path_join(path, dir, "log.jsonl", err));
    eye_buf_init(&kept, alloc);
    if (from_step > 0 && eye_path_exists(path)) st = eye_map_open(&m, path, false, 0, err);
    if (st == EYE_OK) st = keep_lines(&m, from_step, &kept, err);
    eye_map_close(&m);
    if (st == EYE_OK) st = eye_folder_write(dir, "log.jsonl", kept.p, kept.len, err);
    eye_buf_clear(&kept);
    EYE_TRY(st);
    l->path_bytes = strlen(path) + 1;
    if (!(l->path = eye_alloc_raw(alloc, l->path_bytes))) return eye_fail_nomem(err, l->path_bytes);
    memcpy(l->path, path, l->path_bytes);
    return EYE_OK;
}

enum eye_status eye_log_add(struct eye_train_log *l, json_t *event, struct eye_err *err) {
    struct eye_buf line;
    enum eye_status st;
    if (!l->path) {
        json_decref(event);
        return EYE_OK;
    }
    eye_buf_init(&line, l->alloc);
    st = event ? eye_json_write(event, 0, &line, err) : eye_fail_nomem(err, 1);
    json_decref(event);
    eye_buf_adds(&line, "\n");
    if (st == EYE_OK && line.failed) st = eye_fail_nomem(err, line.cap);
    if (st == EYE_OK) {
        int fd = open(l->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0 || write(fd, line.p, line.len) != (ssize_t)line.len)
            st = eye_fail(err, EYE_E_IO, "%s: cannot write: %s", l->path, strerror(errno));
        if (fd >= 0) close(fd);
    }
    eye_buf_clear(&line);
    return st;
}

void eye_log_close(struct eye_train_log *l) {
    eye_alloc_free(l->alloc, l->path, l->path_bytes);
    *l = (struct eye_train_log){0};
}
