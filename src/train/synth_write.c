/* train/synth_write: the synthetic set as files that any other program reads; see eye_synth_write in train.h. */
#include <stdio.h>

#include "image/encode.h"
#include "train/folder.h"
#include "train/synth.h"

struct writing {
    const char *dir;
    const struct eye_synth_opts *o;
    struct eye_buf file;   /* of one picture */
    struct eye_buf karpathy, images[EYE_N_SPLITS], annotations[EYE_N_SPLITS];
    uint8_t *rgb;
};

static enum eye_status make_folder(const struct writing *w, const char *name, struct eye_err *err) {
    char path[EYE_PATH_CAP];
    EYE_TRY(eye_path_join(path, w->dir, name, err));
    return eye_folder_make(path, err);
}

static enum eye_status write_file(const struct writing *w, const char *name, const struct eye_buf *bytes, struct eye_err *err) {
    return bytes->failed ? eye_fail_nomem(err, bytes->len) : eye_folder_write(w->dir, name, bytes->p, bytes->len, err);
}

/* Karpathy's and COCO's word for it. */
static const char *file_split(enum eye_split s) { return s == EYE_SPLIT_DEV ? "val" : eye_split_name(s); }

/* Picture i and its entries in the lists. No text here needs escapes: it is all our own words. */
static enum eye_status write_picture(struct writing *w, size_t i, struct eye_err *err) {
    struct eye_synth_scene scene;
    char name[64], path[80], caption[EYE_SYNTH_CAPTION_MAX];
    size_t k;
    enum eye_split split = eye_synth_split(w->o, i, &k);
    const char *split_name = file_split(split);
    snprintf(name, sizeof name, "%s_%06zu.%s", eye_split_name(split), k, eye_image_encoding());
    eye_synth_scene(w->o, i, &scene);
    eye_synth_draw(&scene, w->o->side, w->rgb);
    w->file.len = 0;
    EYE_TRY(eye_image_encode(w->rgb, w->o->side, w->o->side, &w->file, err));
    snprintf(path, sizeof path, "images/%s", name);
    EYE_TRY(write_file(w, path, &w->file, err));
    eye_buf_printf(&w->karpathy, "%s\n  {\"imgid\": %zu, \"filename\": \"%s\", \"split\": \"%s\", \"sentences\": [",
                   i ? "," : "", i, name, split_name);
    eye_buf_printf(&w->images[split], "%s\n  {\"id\": %zu, \"file_name\": \"%s\", \"width\": %d, \"height\": %d}",
                   k ? "," : "", i, name, w->o->side, w->o->side);
    for (int c = 0; c < EYE_SYNTH_CAPTIONS; c++) {
        eye_synth_caption(&scene, c, caption);
        eye_buf_printf(&w->karpathy, "%s{\"raw\": \"%s\"}", c ? ", " : "", caption);
        eye_buf_printf(&w->annotations[split], "%s\n  {\"id\": %zu, \"image_id\": %zu, \"caption\": \"%s\"}", k || c ? "," : "",
                       i * EYE_SYNTH_CAPTIONS + (size_t)c, i, caption);
    }
    eye_buf_adds(&w->karpathy, "]}");
    return EYE_OK;
}

static enum eye_status write_lists(struct writing *w, struct eye_err *err) {
    char name[64];
    struct eye_buf *b = &w->file;
    for (int s = EYE_SPLIT_TRAIN; s < EYE_N_SPLITS; s++) {
        if (!w->o->n[s]) continue;
        if (w->images[s].failed || w->annotations[s].failed) return eye_fail_nomem(err, w->annotations[s].len);
        b->len = 0;
        eye_buf_printf(b, "{\"info\": {\"description\": \"eyelet data synth, level %d, seed %llu\"},\n \"images\": [",
                       w->o->level, (unsigned long long)w->o->seed);
        eye_buf_add(b, w->images[s].p, w->images[s].len);
        eye_buf_adds(b, "],\n \"annotations\": [");
        eye_buf_add(b, w->annotations[s].p, w->annotations[s].len);
        eye_buf_adds(b, "]}\n");
        snprintf(name, sizeof name, "annotations/captions_%s.json", file_split((enum eye_split)s));
        EYE_TRY(write_file(w, name, b, err));
    }
    eye_buf_adds(&w->karpathy, "],\n \"dataset\": \"synth\"}\n");
    return write_file(w, "dataset_synth.json", &w->karpathy, err); /* last: a folder with this file is whole */
}

static enum eye_status write_all(struct writing *w, void (*progress)(void *ctx, double done), eye_cancel_fn *cancel, void *ctx,
                                 struct eye_err *err) {
    size_t n = eye_synth_count(w->o);
    EYE_TRY(eye_folder_make(w->dir, err));
    EYE_TRY(make_folder(w, "images", err));
    EYE_TRY(make_folder(w, "annotations", err));
    eye_buf_adds(&w->karpathy, "{\"images\": [");
    for (size_t i = 0; i < n; i++) {
        if (cancel && cancel(ctx)) return eye_fail(err, EYE_E_CANCELLED, "%s: stopped", w->dir);
        EYE_TRY(write_picture(w, i, err));
        if (progress && i % 64 == 0) progress(ctx, (double)i / (double)n);
    }
    return write_lists(w, err);
}

enum eye_status eye_synth_write(const char *dir, const struct eye_synth_opts *opts,
                                void (*progress)(void *ctx, double done_0_to_1), eye_cancel_fn *cancel, void *ctx,
                                struct eye_err *err) {
    struct eye_synth_opts o = opts ? *opts : (struct eye_synth_opts){0};
    EYE_TRY(eye_synth_check(&o, err));
    struct writing w = {.dir = dir, .o = &o};
    size_t bytes = (size_t)o.side * (size_t)o.side * 3;
    w.rgb = eye_alloc_raw(NULL, bytes);
    if (!w.rgb) return eye_fail_nomem(err, bytes);
    enum eye_status st = write_all(&w, progress, cancel, ctx, err);
    for (int s = 0; s < EYE_N_SPLITS; s++) {
        eye_buf_clear(&w.images[s]);
        eye_buf_clear(&w.annotations[s]);
    }
    eye_buf_clear(&w.karpathy);
    eye_buf_clear(&w.file);
    eye_alloc_free(NULL, w.rgb, bytes);
    return st;
}
