/* pairs: a folder as questions and answers in ids. */
#include "pack/pairs.h"

#include <stdio.h>
#include <string.h>

#include "base/sys.h"
#include "eyelet/experimental.h"
#include "eyelet/image.h"

#define ANSWER_TOKENS 32  /* of a model that answers itself */
#define MAX_TEXT_BYTES ((size_t)256 << 20)
#define HOLD_OUT 4        /* every so manieth */

struct open {
    struct eye_pairs *p;
    struct eye_model *m;
    struct eye_session *s;
    int32_t ids[EYE_PAIR_MAX_ROWS];
    size_t room; /* of these, positions the model has */
};

/* ---- ids ---- */

static enum eye_status add_pair(struct open *o, const struct eye_pair *from, size_t n, struct eye_err *err) {
    struct eye_pairs *p = o->p;
    struct eye_pair *pair = &p->pair[p->n];
    if (n < 2 || p->n_ids + n > EYE_PAIRS_MAX_ROWS) return EYE_OK;
    *pair = *from;
    pair->n = n;
    pair->n_prompt = EYE_MIN(pair->n_prompt, n);
    pair->held_out = p->n % HOLD_OUT == HOLD_OUT - 1;
    pair->ids = eye_arena_alloc(&p->arena, n * sizeof *pair->ids);
    if (!pair->ids) return eye_fail_nomem(err, n * sizeof *pair->ids);
    memcpy(pair->ids, o->ids, n * sizeof *pair->ids);
    p->n++;
    p->n_ids += n;
    p->n_held_out += pair->held_out;
    p->longest = EYE_MAX(p->longest, n);
    p->n_images += from->path != NULL;
    p->n_captions += from->text[0] != '\0';
    return EYE_OK;
}

/* text's ids behind the first n; returns how many there are now, cut to the room. */
static enum eye_status append_text(struct open *o, const char *text, uint32_t flags, size_t *n, struct eye_err *err) {
    size_t more, room = o->room - *n;
    EYE_TRY(eye_model_tokenize(o->m, text, strlen(text), flags, o->ids + *n, room, &more, err));
    *n += EYE_MIN(more, room);
    return EYE_OK;
}

/* No words around a question: it would be the beginning of the answer. */
static bool is_bare(const struct eye_model *m) {
    struct eye_model_info info;
    eye_model_get_info(m, &info);
    return strcmp(info.chat_template, "raw") == 0 || strcmp(info.chat_template, "tinyllava") == 0;
}

struct eye_query eye_pair_question(struct eye_model *m, const struct eye_image *img) {
    return (struct eye_query){.text = is_bare(m) ? "" : NULL, .images = img, .n_images = 1, .truncate = true};
}

static enum eye_status answer_itself(struct open *o, const struct eye_query *q, size_t *n, struct eye_err *err) {
    struct eye_generate_opts opts = {.n_predict = ANSWER_TOKENS, .n_beams = 1};
    struct eye_result r;
    eye_session_reset(o->s);
    EYE_TRY(eye_session_generate(o->s, q, &opts, &r, err));
    eye_session_reset(o->s);
    for (size_t i = 0; i < r.n_tokens && *n < o->room; i++) o->ids[(*n)++] = r.tokens[i];
    return EYE_OK;
}

static enum eye_status add_picture(struct open *o, const struct eye_calibration_item *item, const struct eye_image *img,
                                   struct eye_err *err) {
    struct eye_pair pair = {.path = eye_arena_strdup(&o->p->arena, item->path, strlen(item->path)),
                            .text = eye_arena_strdup(&o->p->arena, item->caption, strlen(item->caption))};
    struct eye_query q = eye_pair_question(o->m, img);
    size_t n;
    if (!pair.path || !pair.text) return eye_fail_nomem(err, strlen(item->path));
    EYE_TRY(eye_session_assemble(o->s, &q, o->ids, EYE_COUNT(o->ids), &n, NULL, err));
    n = EYE_MIN(n, o->room);
    pair.n_prompt = n;
    if (pair.text[0]) EYE_TRY(append_text(o, pair.text, 0, &n, err));
    else EYE_TRY(answer_itself(o, &q, &n, err));
    return add_pair(o, &pair, n, err);
}

static enum eye_status add_pictures(struct open *o, const char *dir, size_t max, struct eye_err *err) {
    struct eye_calibration set;
    enum eye_status st = EYE_OK;
    EYE_TRY(eye_calibration_open(&set, dir, max, o->p->arena.alloc, err));
    o->p->n_unreadable = set.n_unreadable;
    memcpy(o->p->first_unreadable, set.first_unreadable, sizeof o->p->first_unreadable);
    o->p->pair = eye_arena_alloc(&o->p->arena, set.n * sizeof *o->p->pair);
    if (!o->p->pair) st = eye_fail_nomem(err, set.n * sizeof *o->p->pair);
    for (size_t i = 0; st == EYE_OK && i < set.n; i++) {
        struct eye_image img;
        st = eye_calibration_image(&set, i, &img, err);
        if (st != EYE_OK) break;
        st = add_picture(o, &set.item[i], &img, err);
        eye_image_free(&img);
    }
    eye_calibration_close(&set);
    return st;
}

/* ---- text alone ---- */

static bool is_picture_name(const char *p, size_t n) {
    static const char *const tail[] = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm"};
    const char *mark = memchr(p, '#', n); /* Flickr8k's "x.jpg#2" */
    if (mark) n = (size_t)(mark - p);
    for (size_t i = 0; i < EYE_COUNT(tail); i++) {
        size_t len = strlen(tail[i]);
        if (n > len && memcmp(p + n - len, tail[i], len) == 0) return true;
    }
    return false;
}

/* Behind the picture's name, if one stands there. */
static void only_text(const char **p, size_t *n) {
    const char *cut = memchr(*p, '\t', *n);
    if (!cut) cut = memchr(*p, ',', *n);
    if (cut && (*cut == '\t' || is_picture_name(*p, (size_t)(cut - *p)))) {
        *n -= (size_t)(cut + 1 - *p);
        *p = cut + 1;
    }
    while (*n && ((*p)[*n - 1] == '\r' || (*p)[*n - 1] == ' ')) --*n;
}

static const char *next_line(const char *p, const char *end, size_t *n) {
    const char *eol = memchr(p, '\n', (size_t)(end - p));
    *n = (size_t)((eol ? eol : end) - p);
    return eol ? eol + 1 : end;
}

/* Lines spread evenly over the file. */
static enum eye_status add_lines(struct open *o, const char *begin, const char *end, size_t max, struct eye_err *err) {
    size_t n_lines = 0, n, i = 0;
    for (const char *p = begin; p < end; n_lines++) p = next_line(p, end, &n);
    size_t want = EYE_MIN(n_lines, max);
    o->p->pair = eye_arena_alloc(&o->p->arena, (want + 1) * sizeof *o->p->pair);
    if (!o->p->pair) return eye_fail_nomem(err, want * sizeof *o->p->pair);
    for (const char *p = begin, *next; p < end && o->p->n < want; p = next, i++) {
        next = next_line(p, end, &n);
        if (i * want / n_lines == (i + 1) * want / n_lines) continue; /* not the last of its stretch */
        only_text(&p, &n);
        if (n == 0) continue;
        struct eye_pair pair = {.text = eye_arena_strdup(&o->p->arena, p, n)};
        size_t n_ids = 0;
        if (!pair.text) return eye_fail_nomem(err, n);
        EYE_TRY(append_text(o, pair.text, EYE_TOKENIZE_BOS, &n_ids, err));
        EYE_TRY(add_pair(o, &pair, n_ids, err));
    }
    return EYE_OK;
}

static enum eye_status add_texts(struct open *o, const char *dir, size_t max, struct eye_err *err) {
    static const char *const file[] = {"captions.tsv", "captions.txt"};
    if (!eye_path_is_dir(dir)) return eye_fail(err, EYE_E_IO, "%s: no such folder", dir);
    for (size_t i = 0; i < EYE_COUNT(file); i++) {
        struct eye_map map;
        char *path = eye_arena_printf(&o->p->arena, "%s/%s", dir, file[i]);
        if (!path) return eye_fail_nomem(err, strlen(dir));
        if (!eye_path_exists(path)) continue;
        EYE_TRY(eye_map_open(&map, path, true, MAX_TEXT_BYTES, err));
        const char *p = (const char *)map.p;
        enum eye_status st = p ? add_lines(o, p, p + map.size, max, err) : EYE_OK;
        eye_map_close(&map);
        return st;
    }
    return eye_fail(err, EYE_E_ARG, "%s: no captions.txt or captions.tsv: a model of text is calibrated on lines of text", dir);
}

/* ---- */

static enum eye_status open_pairs(struct open *o, const char *dir, size_t max, struct eye_err *err) {
    struct eye_model_info info;
    eye_model_get_info(o->m, &info);
    bool sees = info.image_side > 0;
    o->room = EYE_MIN((size_t)info.n_ctx, EYE_COUNT(o->ids));
    struct eye_session_opts opts = {.n_ctx = (int32_t)o->room};
    EYE_TRY(eye_session_new(o->m, &opts, &o->s, err));
    EYE_TRY(sees ? add_pictures(o, dir, max, err) : add_texts(o, dir, max, err));
    if (o->p->n == 0) return eye_fail(err, EYE_E_ARG, "%s: no pair of at least two tokens", dir);
    o->p->nothing_held_out = o->p->n_held_out == 0 && o->p->n < 2;
    if (o->p->n_held_out == 0 && o->p->n >= 2) { /* few pairs: the last one judges */
        o->p->pair[o->p->n - 1].held_out = true;
        o->p->n_held_out = 1;
    }
    return EYE_OK;
}

enum eye_status eye_pairs_open(struct eye_pairs *p, struct eye_model *m, const char *dir, size_t max,
                               const struct eye_alloc *alloc, struct eye_err *err) {
    memset(p, 0, sizeof *p);
    eye_arena_init(&p->arena, alloc);
    struct open *o = eye_alloc_zero(alloc, sizeof *o);
    if (!o) return eye_fail_nomem(err, sizeof *o);
    o->p = p;
    o->m = m;
    enum eye_status st = open_pairs(o, dir, max ? max : EYE_CALIBRATION_DEFAULT, err);
    eye_session_free(o->s);
    eye_alloc_free(alloc, o, sizeof *o);
    if (st != EYE_OK) eye_pairs_close(p);
    return st;
}

void eye_pairs_close(struct eye_pairs *p) {
    eye_arena_clear(&p->arena);
    memset(p, 0, sizeof *p);
}

/* ---- through the model ---- */

enum eye_status eye_pair_rows(const struct eye_pair *pair, struct eye_model *m, float *rows, struct eye_err *err) {
    struct eye_image img;
    struct eye_array a;
    struct eye_query q = {.images = &img, .n_images = 1};
    struct eye_probe p = {.stage = EYE_PROBE_EMBEDDINGS, .query = pair->path ? &q : NULL, .ids = pair->ids, .n_ids = pair->n};
    if (pair->path) EYE_TRY(eye_image_load(pair->path, NULL, &img, err));
    enum eye_status st = eye_probe_run(m, &p, &a, err);
    if (pair->path) eye_image_free(&img);
    if (st != EYE_OK) return st;
    memcpy(rows, a.data, a.bytes);
    eye_array_free(&a);
    return EYE_OK;
}
