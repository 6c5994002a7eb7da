/* samples: a calibration set for other tool chains: raw files, their list, and which pictures they are. The list is the set:
 * while files change there is none. Knows of a model only how it prepares pictures. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eyelet/calibrate.h"
#include "format/json.h"
#include "pack/calibration.h"
#include "session/session_impl.h"

#define MOST_SAMPLES 65536u
#define LIST_NAME "input_list.txt"

static const struct layout {
    const char *name;
    enum eye_dtype dtype;
    bool first; /* channels first */
} layout[] = {{"nchw-f32", EYE_F32, true}, {"nchw-f16", EYE_F16, true}, {"nchw-u8", EYE_U8, true},
              {"hwc-f32", EYE_F32, false}, {"hwc-f16", EYE_F16, false}, {"hwc-u8", EYE_U8, false}};

const char *eye_sample_layout_name(enum eye_sample_layout l) { return (size_t)l < EYE_COUNT(layout) ? layout[l].name : NULL; }

struct set {
    const struct eye_samples_opts *o;
    const struct layout *l;
    const char *dir;
    char list_dir[EYE_PATH_MAX];
    struct eye_model *model;
    struct eye_calibration pictures;
    size_t n, side, n_elems;
    uint8_t *u8;      /* [side, side, 3] */
    float *real;      /* the same in l's layout */
    uint8_t *out;     /* as the file has it */
    struct eye_rng rng;
    struct eye_samples_report *r;
};

/* ---- one sample ---- */

static void draw_noise(struct set *s) {
    for (size_t i = 0; i < s->n_elems; i++) s->u8[i] = (uint8_t)(eye_rng_u64(&s->rng) >> 56);
}

static enum eye_status look(struct set *s, size_t i, struct eye_err *err) {
    struct eye_image img;
    if (s->o->random) {
        draw_noise(s);
        return EYE_OK;
    }
    EYE_TRY(eye_calibration_image(&s->pictures, i, &img, err));
    enum eye_status st = eye_model_cut(s->model, &img, true, s->u8, err);
    eye_image_free(&img);
    return st;
}

static enum eye_status fill(struct set *s, struct eye_err *err) {
    size_t area = s->side * s->side;
    if (s->l->dtype == EYE_U8) {
        for (size_t i = 0; i < s->n_elems; i++) s->out[s->l->first ? i % 3 * area + i / 3 : i] = s->u8[i];
        return EYE_OK;
    }
    EYE_TRY(eye_model_normalise(s->model, s->u8, s->l->first ? EYE_PREPROC_CHW : EYE_PREPROC_HWC, s->real, err));
    eye_row_from_f32(s->l->dtype, s->real, s->out, s->n_elems);
    return EYE_OK;
}

static enum eye_status path_of(const struct set *s, const char *name, char out[EYE_PATH_MAX], struct eye_err *err) {
    if ((size_t)snprintf(out, EYE_PATH_MAX, "%s/%s", s->dir, name) < EYE_PATH_MAX) return EYE_OK;
    return eye_fail(err, EYE_E_LIMIT, "%s/%s: the path is too long", s->dir, name);
}

static enum eye_status write_file(const struct set *s, const char *name, const void *p, size_t n, struct eye_err *err) {
    char path[EYE_PATH_MAX];
    struct eye_writer w;
    EYE_TRY(path_of(s, name, path, err));
    EYE_TRY(eye_writer_open(&w, path, err));
    enum eye_status st = eye_writer_put(&w, p, n, err);
    if (st == EYE_OK) st = eye_writer_commit(&w, err);
    else eye_writer_abort(&w);
    return st;
}

static void name_of(size_t i, char out[32]) { snprintf(out, 32, "sample_%03zu.raw", i); }

/* ---- the folder ---- */

/* "sample_012.raw": 12; not such a name: -1. */
static int64_t index_of(const char *name) {
    int64_t i = 0;
    const char *p = name + 7;
    if (strncmp(name, "sample_", 7) != 0) return -1;
    for (; isdigit((unsigned char)*p) && i < INT32_MAX; p++) i = i * 10 + (*p - '0');
    char again[32];
    name_of((size_t)i, again);
    return strcmp(again, name) == 0 ? i : -1;
}

static enum eye_status remove_file(const struct set *s, const char *name, struct eye_err *err) {
    char path[EYE_PATH_MAX];
    EYE_TRY(path_of(s, name, path, err));
    if (unlink(path) == 0 || errno == ENOENT) return EYE_OK;
    return eye_fail(err, EYE_E_IO, "%s: cannot be removed: %s", path, strerror(errno));
}

/* What an earlier set left behind the last sample of this one. */
static enum eye_status remove_rest(struct set *s, struct eye_err *err) {
    enum eye_status st = EYE_OK;
    DIR *d = opendir(s->dir);
    if (!d) return eye_fail(err, EYE_E_IO, "%s: %s", s->dir, strerror(errno));
    for (struct dirent *e; st == EYE_OK && (e = readdir(d)) != NULL;) {
        if (index_of(e->d_name) < (int64_t)s->n) continue;
        st = remove_file(s, e->d_name, err);
        s->r->n_removed += st == EYE_OK;
    }
    closedir(d);
    return st;
}

/* Readers of the list cut its lines at blanks. */
static enum eye_status settle_dir(struct set *s, struct eye_err *err) {
    if (mkdir(s->dir, 0777) != 0 && !eye_path_is_dir(s->dir))
        return eye_fail(err, EYE_E_IO, "%s: cannot be made as a folder", s->dir);
    if (s->o->list_dir) {
        if ((size_t)snprintf(s->list_dir, sizeof s->list_dir, "%s", s->o->list_dir) >= sizeof s->list_dir)
            return eye_fail(err, EYE_E_LIMIT, "the folder for the list's paths is too long a name");
    } else if (!eye_path_real(s->dir, s->list_dir, sizeof s->list_dir)) {
        return eye_fail(err, EYE_E_IO, "%s: cannot be found", s->dir);
    }
    size_t len = strlen(s->list_dir);
    if (len > 1 && s->list_dir[len - 1] == '/') s->list_dir[len - 1] = 0;
    for (const char *p = s->list_dir; *p; p++)
        if (isspace((unsigned char)*p))
            return eye_fail(err, EYE_E_ARG, "%s: has a blank, where readers of " LIST_NAME " cut paths: take another folder, or "
                                            "another name for it in the list", s->list_dir);
    for (const char *p = s->o->input; p && *p; p++)
        if (isspace((unsigned char)*p) || *p == '=')
            return eye_fail(err, EYE_E_ARG, "%s: is no name of an input", s->o->input);
    return EYE_OK;
}

/* ---- the set ---- */

static enum eye_status write_samples(struct set *s, struct eye_err *err) {
    for (size_t i = 0; i < s->n; i++) {
        char name[32];
        if (s->o->cancel && s->o->cancel(s->o->cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "calibration set: cancelled");
        name_of(i, name);
        EYE_TRY(look(s, i, err));
        EYE_TRY(fill(s, err));
        EYE_TRY(write_file(s, name, s->out, s->r->sample_bytes, err));
        if (s->o->progress) s->o->progress(s->o->progress_ctx, (double)(i + 1) / (double)s->n);
    }
    return EYE_OK;
}

static enum eye_status write_list(const struct set *s, struct eye_err *err) {
    struct eye_buf b;
    eye_buf_init(&b, s->o->alloc);
    for (size_t i = 0; i < s->n; i++) {
        char name[32];
        name_of(i, name);
        if (s->o->input) eye_buf_printf(&b, "%s:=", s->o->input);
        eye_buf_printf(&b, "%s/%s\n", s->list_dir, name);
    }
    enum eye_status st = b.failed ? eye_fail_nomem(err, b.len) : write_file(s, LIST_NAME, b.p, b.len, err);
    eye_buf_clear(&b);
    return st;
}

/* File names are outside bytes: what is no UTF-8 stands as its last resort, "?". */
static json_t *text(const char *p) {
    json_t *t = json_string(p);
    char plain[512];
    size_t n = 0;
    if (t) return t;
    for (; *p && n + 1 < sizeof plain; p++) plain[n++] = (unsigned char)*p < 0x80 ? *p : '?';
    plain[n] = 0;
    return json_string(plain);
}

static json_t *describe(const struct set *s) {
    json_t *list = json_array(), *o;
    int side = (int)s->side;
    for (size_t i = 0; i < s->n; i++) {
        char name[32];
        name_of(i, name);
        json_t *e = json_pack("{s:s}", "file", name);
        if (e && !s->o->random) json_object_set_new(e, "picture", text(s->pictures.item[i].path));
        json_array_append_new(list, e);
    }
    o = json_pack("{s:s,s:[i,i,i,i],s:b,s:o}", "layout", s->l->name, "shape", 1, s->l->first ? 3 : side, side,
                  s->l->first ? side : 3, "random", s->o->random, "samples", list);
    return o;
}

static enum eye_status write_description(const struct set *s, struct eye_err *err) {
    struct eye_buf b;
    json_t *o = describe(s);
    eye_buf_init(&b, s->o->alloc);
    enum eye_status st = o ? eye_json_write(o, 1, &b, err) : eye_fail_nomem(err, s->n);
    eye_buf_adds(&b, "\n");
    if (st == EYE_OK) st = b.failed ? eye_fail_nomem(err, b.len) : write_file(s, "samples.json", b.p, b.len, err);
    eye_buf_clear(&b);
    json_decref(o);
    return st;
}

static enum eye_status write_set(struct set *s, struct eye_err *err) {
    EYE_TRY(settle_dir(s, err));
    EYE_TRY(remove_file(s, LIST_NAME, err));
    EYE_TRY(write_samples(s, err));
    EYE_TRY(remove_rest(s, err));
    EYE_TRY(write_description(s, err));
    return write_list(s, err);
}

static enum eye_status name_unreadable(struct set *s, struct eye_err *err) {
    struct eye_samples_report *r = s->r;
    for (size_t i = 0; i < s->pictures.n_unreadable; i++) {
        void *list = r->unreadable;
        size_t cap = r->unreadable_cap, len = strlen(s->pictures.unreadable[i]) + 1;
        EYE_TRY(eye_alloc_grow(r->alloc, &list, &cap, r->n_unreadable + 1, sizeof *r->unreadable, err));
        r->unreadable = list;
        r->unreadable_cap = cap;
        char *copy = eye_alloc_raw(r->alloc, len);
        if (!copy) return eye_fail_nomem(err, len);
        memcpy(copy, s->pictures.unreadable[i], len);
        r->unreadable[r->n_unreadable++] = copy;
    }
    return EYE_OK;
}

static enum eye_status prepare(struct set *s, const char *path, struct eye_err *err) {
    struct eye_model_opts mo = {.image_side = s->o->image_side, .mmproj = s->o->mmproj, .cancel = s->o->cancel,
                                .cancel_ctx = s->o->cancel_ctx, .alloc = s->o->alloc};
    size_t most = s->o->max_samples ? s->o->max_samples : EYE_CALIBRATION_DEFAULT;
    EYE_TRY(eye_model_open(path, &mo, &s->model, err));
    if (!eye_vlm_sees(&s->model->vlm)) return eye_fail(err, EYE_E_ARG, "%s: a model of text: it looks at no pictures", path);
    s->side = (size_t)s->model->opts.image_side;
    s->n_elems = s->side * s->side * 3;
    s->n = most;
    if (!s->o->random) {
        EYE_TRY(eye_calibration_open(&s->pictures, s->o->pictures, most, s->o->alloc, err));
        EYE_TRY(name_unreadable(s, err));
        s->n = s->pictures.n;
    }
    size_t size = s->l->dtype == EYE_F32 ? 4 : s->l->dtype == EYE_F16 ? 2 : 1;
    s->r->side = (int32_t)s->side;
    s->r->sample_bytes = s->n_elems * size;
    s->r->n_samples = s->n;
    eye_rng_seed(&s->rng, s->o->seed);
    s->u8 = eye_alloc_raw(s->o->alloc, s->n_elems);
    s->real = eye_alloc_raw(s->o->alloc, s->n_elems * sizeof *s->real);
    s->out = eye_alloc_raw(s->o->alloc, s->r->sample_bytes);
    return s->u8 && s->real && s->out ? EYE_OK : eye_fail_nomem(err, s->n_elems);
}

static enum eye_status check_opts(const struct eye_samples_opts *o, struct eye_err *err) {
    if (!eye_sample_layout_name(o->layout))
        return eye_fail(err, EYE_E_ARG, "calibration set: layout is not one of its enum's values");
    if (o->max_samples > MOST_SAMPLES)
        return eye_fail(err, EYE_E_ARG, "calibration set: %u samples, expected at most %u", o->max_samples, MOST_SAMPLES);
    if (!o->pictures && !o->random)
        return eye_fail(err, EYE_E_ARG, "calibration set: no folder of pictures; noise, of wrong ranges, only if asked for");
    if (o->pictures && o->random) return eye_fail(err, EYE_E_ARG, "calibration set: pictures or noise, not both");
    return EYE_OK;
}

void eye_samples_report_clear(struct eye_samples_report *r) {
    for (uint64_t i = 0; i < r->n_unreadable; i++) eye_alloc_free(r->alloc, r->unreadable[i], strlen(r->unreadable[i]) + 1);
    eye_alloc_free(r->alloc, r->unreadable, r->unreadable_cap * sizeof *r->unreadable);
    *r = (struct eye_samples_report){.alloc = r->alloc};
}

enum eye_status eye_samples_write(const char *path, const char *dir, const struct eye_samples_opts *opts,
                                  struct eye_samples_report *report, struct eye_err *err) {
    struct eye_samples_report r = {.alloc = opts->alloc};
    struct set s = {.o = opts, .dir = dir, .r = &r};
    if (report) *report = r;
    EYE_TRY(check_opts(opts, err));
    s.l = &layout[opts->layout];
    enum eye_status st = prepare(&s, path, err);
    if (st == EYE_OK) st = write_set(&s, err);
    eye_alloc_free(opts->alloc, s.u8, s.n_elems);
    eye_alloc_free(opts->alloc, s.real, s.n_elems * sizeof *s.real);
    eye_alloc_free(opts->alloc, s.out, r.sample_bytes);
    if (s.pictures.item) eye_calibration_close(&s.pictures);
    eye_model_close(s.model);
    if (report) *report = r;
    else eye_samples_report_clear(&r);
    return st;
}
