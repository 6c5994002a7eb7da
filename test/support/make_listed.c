/* A checkpoint folder from a list: DIR/tensors.txt says "name offset gain dims…" a line, element i of a tensor is
 * (float)(offset + gain * eye_mk_uniform(name, 1, i)). DIR/config.json is copied, a tokenizer made. test/reference/compose.py
 * writes such lists.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sys.h"
#include "support/make_checkpoint.h"

struct listed {
    char name[EYE_NAME_MAX];
    double offset, gain;
    long long dims[4];
    int rank;
    size_t n;
};

static bool parse(const char *line, struct listed *t) {
    int at = 0;
    if (sscanf(line, "%127s %lf %lf %n", t->name, &t->offset, &t->gain, &at) != 3 || at == 0) return false;
    t->n = 1;
    for (char *end = NULL, *p = (char *)line + at; t->rank < 4; p = end) {
        long long d = strtoll(p, &end, 10);
        if (end == p) break;
        t->dims[t->rank++] = d;
        t->n *= (size_t)d;
    }
    return t->rank > 0;
}

static void put_data(struct eye_buf *data, const struct listed *t) {
    for (size_t i = 0; i < t->n; i++) {
        float f = (float)(t->offset + t->gain * eye_mk_uniform(t->name, 1, i));
        eye_buf_add(data, &f, sizeof f);
    }
}

static enum eye_status copy(const char *dir, const char *out, const char *name, struct eye_err *err) {
    char path[1024];
    struct eye_map m;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    EYE_TRY(eye_map_open(&m, path, true, 0, err));
    enum eye_status st = eye_mk_write_file(out, name, m.p, m.size, err);
    eye_map_close(&m);
    return st;
}

/* The safetensors file: 8 bytes of length, header, data. */
static enum eye_status write_tensors(FILE *list, const char *out, struct eye_err *err) {
    struct eye_buf header, data;
    char line[512];
    enum eye_status st = EYE_OK;
    eye_buf_init(&header, NULL);
    eye_buf_init(&data, NULL);
    eye_buf_add(&header, "\0\0\0\0\0\0\0\0{", 9);
    while (fgets(line, sizeof line, list)) {
        struct listed t = {.rank = 0};
        if (!parse(line, &t)) st = eye_fail(err, EYE_E_CORRUPT, "tensors.txt: cannot read %s", line);
        size_t from = data.len;
        put_data(&data, &t);
        eye_buf_printf(&header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", from ? "," : "", t.name);
        for (int i = 0; i < t.rank; i++) eye_buf_printf(&header, "%s%lld", i ? "," : "", t.dims[i]);
        eye_buf_printf(&header, "],\"data_offsets\":[%zu,%zu]}", from, data.len);
    }
    eye_buf_adds(&header, "}");
    while (header.len % 8) eye_buf_adds(&header, " ");
    uint64_t n = header.len - 8;
    if (!header.failed) memcpy(header.p, &n, sizeof n);
    eye_buf_add(&header, data.p, data.len);
    if (st == EYE_OK && (header.failed || data.failed)) st = eye_fail_nomem(err, header.cap);
    if (st == EYE_OK) st = eye_mk_write_file(out, "model.safetensors", header.p, header.len, err);
    eye_buf_clear(&header);
    eye_buf_clear(&data);
    return st;
}

enum eye_status eye_make_listed(const char *dir, int64_t n_bpe, const char *out, struct eye_err *err) {
    char path[1024];
    if (mkdir(out, 0777) != 0 && !eye_path_is_dir(out)) return eye_fail(err, EYE_E_IO, "%s: cannot create the folder", out);
    snprintf(path, sizeof path, "%s/tensors.txt", dir);
    FILE *list = fopen(path, "r");
    if (!list) return eye_fail(err, EYE_E_IO, "%s: cannot open", path);
    enum eye_status st = write_tensors(list, out, err);
    fclose(list);
    EYE_TRY(st);
    EYE_TRY(copy(dir, out, "config.json", err));
    return eye_make_tokenizer(n_bpe, false, out, err);
}
