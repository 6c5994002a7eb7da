/* State: see state.h. */
#include "train/state.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "format/safetensors_write.h"
#include "train/folder.h"

#define NAME_FORMAT "step-%08" PRId64 ".safetensors"
static const char kinds[] = "wmva"; /* weights, first and second moment, average */

static float **array_of(struct eye_train_param *p, char kind) {
    return kind == 'w' ? &p->w : kind == 'm' ? &p->m : kind == 'v' ? &p->v : &p->average;
}

/* ---- counters as texts ---- */

enum { COUNTER_INT, COUNTER_REAL, COUNTER_HASH };
static const struct counter { const char *key; int type; size_t offset; } counters[] = {
#define C(type, m) {#m, type, offsetof(struct eye_train_state, m)}
    C(COUNTER_INT, stage),      C(COUNTER_INT, stage_step), C(COUNTER_INT, step),        C(COUNTER_INT, evals),
    C(COUNTER_INT, bad_evals),  C(COUNTER_INT, bad_steps),  C(COUNTER_REAL, best_mark), C(COUNTER_REAL, seconds),    C(COUNTER_REAL, sum_loss),
    C(COUNTER_INT, n_loss),     C(COUNTER_HASH, recipe_hash), C(COUNTER_HASH, tokenizer_hash),
#undef C
};

static void counter_text(const struct eye_train_state *s, const struct counter *c, char out[64]) {
    const char *at = (const char *)s + c->offset;
    if (c->type == COUNTER_INT) snprintf(out, 64, "%" PRId64, *(const int64_t *)at);
    else if (c->type == COUNTER_REAL) snprintf(out, 64, "%.17g", *(const double *)at); /* reads back to the same bits */
    else snprintf(out, 64, "%016" PRIx64, *(const uint64_t *)at);
}

static bool counter_read(struct eye_train_state *s, const struct counter *c, const char *text) {
    char *at = (char *)s + c->offset, *end;
    if (c->type == COUNTER_INT) *(int64_t *)at = strtoll(text, &end, 10);
    else if (c->type == COUNTER_REAL) *(double *)at = strtod(text, &end);
    else *(uint64_t *)at = strtoull(text, &end, 16);
    return end != text && *end == '\0';
}

/* ---- saving ---- */

struct list { /* of what a file holds */
    struct eye_arena arena;
    struct eye_named_tensor *tensor;
    size_t n;
    struct eye_metadata meta[EYE_COUNT(counters) + 1];
};

static uint64_t hash_of(const struct eye_named_tensor *t, size_t n, const struct eye_metadata *meta, size_t n_meta) {
    uint64_t h = 0;
    for (size_t i = 0; i < n_meta; i++) h = eye_hash64(meta[i].value, strlen(meta[i].value), h);
    for (size_t i = 0; i < n; i++) {
        h = eye_hash64(t[i].name, strlen(t[i].name), h);
        h = eye_hash64(t[i].t.data, (size_t)eye_tensor_elems(&t[i].t) * sizeof(float), h);
    }
    return h;
}

static enum eye_status collect(struct list *l, const struct eye_train_state *s, const struct eye_params *p,
                               struct eye_err *err) {
    l->tensor = eye_arena_alloc(&l->arena, (4 * p->n + 1) * sizeof *l->tensor);
    if (!l->tensor) return eye_fail_nomem(err, p->n);
    for (const char *k = kinds; *k; k++)
        for (size_t i = 0; i < p->n; i++) {
            struct eye_named_tensor *t = &l->tensor[l->n];
            const float *data = *array_of(&p->param[i], *k);
            if (!data) continue;
            t->t = p->param[i].shape;
            t->t.data = data;
            if (!(t->name = eye_arena_printf(&l->arena, "%c.%s", *k, p->param[i].name))) return eye_fail_nomem(err, 1);
            l->n++;
        }
    for (size_t i = 0; i < EYE_COUNT(counters); i++) {
        char text[64];
        counter_text(s, &counters[i], text);
        l->meta[i] = (struct eye_metadata){counters[i].key, eye_arena_strdup(&l->arena, text, strlen(text))};
        if (!l->meta[i].value) return eye_fail_nomem(err, 1);
    }
    uint64_t h = hash_of(l->tensor, l->n, l->meta, EYE_COUNT(counters));
    struct eye_metadata *last = &l->meta[EYE_COUNT(counters)];
    *last = (struct eye_metadata){"xxh64", eye_arena_printf(&l->arena, "%016" PRIx64, h)};
    return last->value ? EYE_OK : eye_fail_nomem(err, 1);
}

static bool step_of(const char *name, int64_t *step) {
    char want[64];
    return sscanf(name, "step-%" SCNd64, step) == 1 && *step >= 0 &&
           snprintf(want, sizeof want, NAME_FORMAT, *step) < (int)sizeof want && strcmp(name, want) == 0;
}

/* The largest step of dir's files below limit, or -1. */
static int64_t newest_below(const char *dir, int64_t limit) {
    int64_t best = -1, step;
    DIR *d = opendir(dir);
    if (!d) return -1;
    for (const struct dirent *e; (e = readdir(d));)
        if (step_of(e->d_name, &step) && step < limit) best = EYE_MAX(best, step);
    closedir(d);
    return best;
}

static bool path_of(const char *dir, int64_t step, char out[EYE_PATH_CAP]) {
    return snprintf(out, EYE_PATH_CAP, "%s/" NAME_FORMAT, dir, step) < EYE_PATH_CAP;
}

enum eye_status eye_state_save(const struct eye_train_state *s, const struct eye_params *p, const char *dir, int64_t keep,
                               struct eye_err *err) {
    char path[EYE_PATH_CAP];
    struct list l = {0};
    if (!path_of(dir, s->step, path)) return eye_fail(err, EYE_E_LIMIT, "%.100s: path too long", dir);
    eye_arena_init(&l.arena, p->alloc);
    enum eye_status st = collect(&l, s, p, err);
    if (st == EYE_OK) st = eye_safetensors_write(path, l.tensor, l.n, l.meta, EYE_COUNT(counters) + 1, p->alloc, err);
    eye_arena_clear(&l.arena);
    EYE_TRY(st);
    int64_t step = s->step + 1; /* the one just written is the first that stays */
    for (int64_t i = 0; i < keep && step >= 0; i++) step = newest_below(dir, step);
    while (step >= 0 && (step = newest_below(dir, step)) >= 0)
        if (path_of(dir, step, path)) (void)unlink(path);
    return EYE_OK;
}

/* ---- loading ---- */

static bool sound(const struct eye_safetensors *f, struct eye_train_state *s, const struct eye_alloc *alloc) {
    struct eye_metadata meta[EYE_COUNT(counters)] = {{0}};
    const char *hash = NULL;
    for (size_t i = 0; i < f->n_metadata; i++) {
        if (strcmp(f->metadata[i].key, "xxh64") == 0) hash = f->metadata[i].value;
        for (size_t k = 0; k < EYE_COUNT(counters); k++)
            if (strcmp(f->metadata[i].key, counters[k].key) == 0) meta[k] = f->metadata[i];
    }
    for (size_t k = 0; k < EYE_COUNT(counters); k++)
        if (!meta[k].value || !counter_read(s, &counters[k], meta[k].value)) return false;
    struct eye_named_tensor *t = hash ? eye_alloc_zero(alloc, (f->table.n + 1) * sizeof *t) : NULL;
    if (!t) return false;
    for (size_t i = 0; i < f->table.n; i++) t[i] = (struct eye_named_tensor){f->table.entry[i].name, f->table.entry[i].t};
    bool good = true;
    for (size_t i = 0; i < f->table.n; i++) good = good && t[i].t.dtype == EYE_F32;
    good = good && hash_of(t, f->table.n, meta, EYE_COUNT(counters)) == strtoull(hash, NULL, 16);
    eye_alloc_free(alloc, t, (f->table.n + 1) * sizeof *t);
    return good;
}

static enum eye_status take(struct eye_params *p, const struct eye_safetensors *f, const char *path, struct eye_err *err) {
    for (size_t i = 0; i < f->table.n; i++) {
        const struct eye_entry *e = &f->table.entry[i];
        struct eye_train_param *q = strlen(e->name) > 2 && strchr(kinds, e->name[0]) ? eye_params_find(p, e->name + 2) : NULL;
        bool adapter = !q && strncmp(e->name, "w.", 2) == 0 && strstr(e->name, ".lora_"); /* of the stage that was running */
        if (adapter) EYE_TRY(eye_params_adapter(p, e->name + 2, &e->t, &q, err));
        if (!q || (size_t)eye_tensor_elems(&e->t) != q->n)
            return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\" is none of this student's", path, e->name);
        float **to = array_of(q, e->name[0]);
        if (!*to && !(*to = eye_alloc_raw(p->alloc, q->n * sizeof **to))) return eye_fail_nomem(err, q->n * sizeof **to);
        memcpy(*to, e->t.data, q->n * sizeof **to);
    }
    return EYE_OK;
}

static enum eye_status check_owner(const struct eye_train_state *want, const struct eye_train_state *got, const char *path,
                                   struct eye_err *err) {
    if (want->recipe_hash && want->recipe_hash != got->recipe_hash)
        return eye_fail(err, EYE_E_ARG, "%s: belongs to another recipe; go on with the one that began it, or in another folder",
                        path);
    if (want->tokenizer_hash && want->tokenizer_hash != got->tokenizer_hash)
        return eye_fail(err, EYE_E_ARG, "%s: belongs to another tokenizer", path);
    return EYE_OK;
}

enum eye_status eye_state_load(struct eye_train_state *s, struct eye_params *p, const char *dir, bool *found, int *n_bad,
                               struct eye_err *err) {
    char path[EYE_PATH_CAP];
    *found = false;
    *n_bad = 0;
    for (int64_t step = INT64_MAX; (step = newest_below(dir, step)) >= 0;) {
        struct eye_safetensors f = {0};
        struct eye_train_state got = {0};
        if (!path_of(dir, step, path)) break;
        if (eye_safetensors_open(&f, path, true, p->alloc, err) != EYE_OK || !sound(&f, &got, p->alloc)) {
            ++*n_bad;
            eye_safetensors_close(&f);
            continue;
        }
        enum eye_status st = check_owner(s, &got, path, err);
        if (st == EYE_OK) eye_params_forget(p);
        if (st == EYE_OK) st = take(p, &f, path, err);
        eye_safetensors_close(&f);
        EYE_TRY(st);
        *s = got;
        *found = true;
        return EYE_OK;
    }
    return EYE_OK;
}
