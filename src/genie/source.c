/* genie/source: see source.h. */
#include "genie/source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum eye_status eye_genie_source_open(struct eye_genie_source *s, const char *path, bool part, struct eye_err *err) {
    memset(s, 0, sizeof *s);
    EYE_TRY(eye_checkpoint_open(&s->ckpt, path, NULL, NULL, err));
    enum eye_status st = eye_vlm_open(&s->vlm, &s->ckpt, NULL, err);
    if (st == EYE_OK && !part && s->vlm.parts != (1u << EYE_N_PART) - 1)
        st = eye_fail(err, EYE_E_ARG, "%s: one part of a model; expected a whole one", path);
    if (st != EYE_OK) eye_genie_source_close(s);
    return st;
}

void eye_genie_source_close(struct eye_genie_source *s) {
    if (s->vlm.ckpt) eye_vlm_clear(&s->vlm);
    eye_checkpoint_close(&s->ckpt);
}

struct eye_value eye_genie_weight(const struct eye_vlm *m, const char *canonical) {
    const struct eye_tensor *t = eye_binder_find(&m->bind, canonical);
    struct eye_value v = {.kind = EYE_VAL_WEIGHT, .name = canonical};
    if (!t) return v;
    bool turned = m->config.text.rope_pairs && (strstr(canonical, ".attn_q.") || strstr(canonical, ".attn_k."));
    v.dtype = t->dtype;
    v.rank = t->rank;
    memcpy(v.dims, t->dims, sizeof v.dims);
    v.data = t->data;
    if (turned) v.pair_rows = (int32_t)m->config.text.head_dim;
    return v;
}

enum eye_status eye_genie_write_file(const char *dir, const char *name, const void *p, size_t n, struct eye_err *err) {
    char path[4096];
    struct eye_writer w;
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return eye_fail(err, EYE_E_ARG, "%.200s…: the path is too long", dir);
    EYE_TRY(eye_writer_open(&w, path, err));
    enum eye_status st = eye_writer_put(&w, p, n, err);
    if (st == EYE_OK) st = eye_writer_commit(&w, err);
    eye_writer_abort(&w);
    return st;
}

enum eye_status eye_file_sha256(const char *path, char hex[65], struct eye_err *err) {
    struct eye_map map;
    struct eye_sha256 h;
    uint8_t sum[EYE_SHA256_BYTES];
    EYE_TRY(eye_map_open(&map, path, true, 0, err));
    eye_sha256_init(&h);
    eye_sha256_add(&h, map.p, map.size);
    eye_sha256_end(&h, sum);
    eye_map_close(&map);
    for (int i = 0; i < EYE_SHA256_BYTES; i++) snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return EYE_OK;
}

enum eye_status eye_genie_make_dir(const char *path, struct eye_err *err) {
    char part[4096];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) return eye_fail(err, EYE_E_ARG, "%.200s: expected a folder's name", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) == 0 || eye_path_is_dir(part)) continue;
        return eye_fail(err, EYE_E_IO, "%s: cannot make this folder: %s", part, strerror(errno));
    }
    return EYE_OK;
}
