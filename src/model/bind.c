/* The binder: canonical names over a checkpoint, shape checks, and the account of what was used. */
#include "model/bind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/wish.h"

enum { UNUSED, USED, IGNORED };
enum { NAMES_SHOWN = 8 };

static enum eye_status add_tensor(struct eye_binder *b, size_t i, struct eye_err *err) {
    char canonical[EYE_NAME_MAX];
    const char *name = eye_checkpoint_tensor(b->ckpt, i)->name;
    bool was_there = false;
    b->canonical[i] = "";
    if (b->format == EYE_NAMES_GGUF) {
        if (strlen(name) >= sizeof canonical) return EYE_OK; /* no name of ours: left over */
        memcpy(canonical, name, strlen(name) + 1);
    } else {
        enum eye_name_kind kind = eye_name_to_canonical(name, canonical, sizeof canonical);
        if (kind == EYE_NAME_IGNORED) b->state[i] = IGNORED;
        if (kind != EYE_NAME_KNOWN) return EYE_OK;
    }
    b->canonical[i] = eye_arena_strdup(&b->arena, canonical, strlen(canonical));
    if (!b->canonical[i]) return eye_fail_nomem(err, strlen(canonical));
    EYE_TRY(eye_strmap_put(&b->map, b->canonical[i], strlen(canonical), (int32_t)i, &was_there, err));
    if (was_there)
        return eye_fail(err, EYE_E_CORRUPT,
                        "%s: tensor \"%s\" is there twice under different names (formats mixed in one folder?)", b->ckpt->path,
                        name);
    return EYE_OK;
}

enum eye_status eye_binder_init(struct eye_binder *b, const struct eye_checkpoint *ckpt, enum eye_name_format format,
                                const struct eye_alloc *alloc, struct eye_err *err) {
    enum eye_status st;
    memset(b, 0, sizeof *b);
    b->ckpt = ckpt;
    b->alloc = alloc;
    b->format = format;
    eye_arena_init(&b->arena, alloc);
    eye_strmap_init(&b->map, alloc);
    b->n = eye_checkpoint_n_tensors(ckpt);
    if (b->n > INT32_MAX) {
        st = eye_fail(err, EYE_E_LIMIT, "%s: %zu tensors", ckpt->path, b->n);
        goto fail;
    }
    EYE_TRY_GOTO(eye_strmap_reserve(&b->map, b->n, err));
    b->canonical = eye_arena_alloc(&b->arena, (b->n + 1) * sizeof *b->canonical);
    b->state = eye_arena_alloc(&b->arena, b->n + 1);
    if (!b->canonical || !b->state) {
        st = eye_fail_nomem(err, b->n * sizeof *b->canonical);
        goto fail;
    }
    for (size_t i = 0; i < b->n; i++) EYE_TRY_GOTO(add_tensor(b, i, err));
    return EYE_OK;
fail:
    eye_binder_clear(b);
    return st;
}

void eye_binder_clear(struct eye_binder *b) {
    eye_strmap_clear(&b->map);
    eye_arena_clear(&b->arena);
    memset(b, 0, sizeof *b);
}

const struct eye_tensor *eye_binder_find(const struct eye_binder *b, const char *canonical) {
    int32_t i = eye_strmap_get(&b->map, canonical, strlen(canonical));
    return i < 0 ? NULL : &eye_checkpoint_tensor(b->ckpt, (size_t)i)->t;
}

int64_t eye_binder_count(const struct eye_binder *b, const char *prefix) {
    size_t n = strlen(prefix);
    int64_t count = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (strncmp(b->canonical[i], prefix, n) != 0) continue;
        const char *digits = b->canonical[i] + n;
        char *end;
        if (*digits < '0' || *digits > '9') continue;
        long long v = strtoll(digits, &end, 10); /* saturates: still a number too large for any check that follows */
        if (*end == '.' && v < INT32_MAX) count = EYE_MAX(count, v + 1);
    }
    /* A list of layers has at least a tensor each; a name alone ("…block.99999999.…") must not make us build that many. */
    return EYE_MIN(count, (int64_t)b->n);
}

void eye_binder_ignore(struct eye_binder *b, const char *canonical) {
    int32_t i = eye_strmap_get(&b->map, canonical, strlen(canonical));
    if (i >= 0) b->state[i] = IGNORED;
}

/* ---- the account ---- */

void eye_binder_check_begin(struct eye_binder *b, struct eye_bind_account *account) {
    for (size_t i = 0; i < b->n; i++)
        if (b->state[i] == USED) b->state[i] = UNUSED;
    eye_buf_init(&account->missing, b->alloc);
    account->n_missing = 0;
    b->account = account;
}

static enum eye_status report(const struct eye_binder *b, const struct eye_buf *names, size_t n, const char *what,
                              const char *hint, struct eye_err *err) {
    if (names->failed) return eye_fail_nomem(err, names->cap);
    /* names last: what does not fit err->text falls off their end */
    return eye_fail(err, EYE_E_CORRUPT, "%s: %zu tensor%s %s (%s): %s%s", b->ckpt->path, n, n == 1 ? "" : "s", what, hint,
                    names->p, n > NAMES_SHOWN ? ", …" : "");
}

static enum eye_status report_leftover(const struct eye_binder *b, struct eye_err *err) {
    struct eye_buf names;
    enum eye_status st = EYE_OK;
    size_t n = 0;
    eye_buf_init(&names, b->alloc);
    for (size_t i = 0; i < b->n; i++) {
        if (b->state[i] != UNUSED) continue;
        if (n++ < NAMES_SHOWN) eye_buf_printf(&names, "%s%.96s", n > 1 ? ", " : "", eye_checkpoint_tensor(b->ckpt, i)->name);
    }
    if (n)
        st = report(b, &names, n, "without a place in this model", "config.json of another model, or an architecture variant?",
                    err);
    eye_buf_clear(&names);
    return st;
}

enum eye_status eye_binder_check_end(struct eye_binder *b, enum eye_status first_error, struct eye_err *err) {
    struct eye_bind_account *a = b->account;
    enum eye_status st = first_error; /* err has its text: the graph that failed said why */
    b->account = NULL;
    if (a->n_missing)
        st = report(b, &a->missing, a->n_missing, "missing", "incomplete download, or config.json of another model?", err);
    else if (st == EYE_OK) st = report_leftover(b, err);
    eye_buf_clear(&a->missing);
    return st;
}

static void note_missing(struct eye_bind_account *a, const struct eye_binder *b, const char *canonical) {
    char name[2 * EYE_NAME_MAX];
    if (a->n_missing++ >= NAMES_SHOWN) return;
    (void)eye_name_from_canonical(canonical, b->format, name, sizeof name);
    eye_buf_printf(&a->missing, "%s%s", a->n_missing > 1 ? ", " : "", name);
}

/* ---- weights ---- */

enum how { REQUIRED, OPTIONAL, VECTOR, ROW, AGAIN, TRANSPOSED };

static bool fits(const struct eye_tensor *t, const struct eye_shape *s) {
    if (t->rank != s->rank) return false;
    for (int i = 0; i < s->rank; i++)
        if (t->dims[i] < 1 || t->dims[i] > INT32_MAX || (s->dims[i] != EYE_ANY && t->dims[i] != s->dims[i])) return false;
    return true;
}

/* Plain 16 and 32 bit floats everywhere; block types in matrices whose rows are whole blocks. */
static bool usable_dtype(const struct eye_tensor *t) {
    const struct eye_dtype_info *d = eye_dtype_info(t->dtype);
    if (t->dtype == EYE_F32 || t->dtype == EYE_F16 || t->dtype == EYE_BF16) return true;
    return d->is_float && d->block_elems > 1 && t->rank == 2 && t->dims[1] % d->block_elems == 0;
}

static eye_val fault(struct eye_build *m, size_t i, enum eye_status code, const char *what, const struct eye_shape *s) {
    char got[96], want[96], any[96] = "";
    const struct eye_tensor *t = &eye_checkpoint_tensor(m->b->ckpt, i)->t;
    eye_shape_text(t->dims, t->rank, got, sizeof got);
    eye_shape_text(s->dims, s->rank, want, sizeof want);
    for (size_t k = 0, o = 0; want[k] && o + 2 < sizeof any; k++) { /* "-1" reads as "any" */
        if (want[k] == '-' && want[k + 1] == '1') k++, any[o++] = '?';
        else any[o++] = want[k];
        any[o] = '\0';
    }
    /* eye_vlm_graph says which file */
    return eye_graph_fail(m->g, code, "tensor \"%.100s\": %s: expected %s, got %s %s",
                          eye_checkpoint_tensor(m->b->ckpt, i)->name, what, any, eye_dtype_info(t->dtype)->name, got);
}

/* A tensor that exists on paper only. */
static eye_val grant(struct eye_build *m, enum how how, const struct eye_shape *shape, const char *name) {
    struct eye_tensor t;
    if (!eye_wish_tensor(m->b->wish, name, shape, &t))
        return eye_graph_fail(m->g, EYE_E_ARG, "tensor \"%s\": the configuration does not say how large it is", name);
    return how == TRANSPOSED ? eye_weight_transposed(m->g, name, &t) : eye_weight(m->g, name, &t);
}

/* An int8 matrix or kernel of a converted tower: its row scales are in a tensor of their own. */
static eye_val bind_int8(struct eye_build *m, size_t i, const struct eye_tensor *t, const char *name) {
    struct eye_name scales = eye_namef("%s_scale", name);
    int32_t at = eye_strmap_get(&m->b->map, scales.s, strlen(scales.s));
    const struct eye_tensor *s = at < 0 ? NULL : &eye_checkpoint_tensor(m->b->ckpt, (size_t)at)->t;
    if (!s || !s->data || s->dtype != EYE_F32 || s->rank != 1 || s->dims[0] != t->dims[0])
        return eye_graph_fail(m->g, EYE_E_CORRUPT, "tensor \"%.100s\" is int8: expected its %lld scales in \"%.100s\", f32",
                              eye_checkpoint_tensor(m->b->ckpt, i)->name, (long long)t->dims[0], scales.s);
    if (m->b->account) m->b->state[at] = USED;
    float *scale = eye_arena_alloc(&m->g->arena, (size_t)s->dims[0] * sizeof *scale);
    if (!scale) return eye_graph_fail(m->g, EYE_E_NOMEM, "out of memory");
    memcpy(scale, s->data, (size_t)s->dims[0] * sizeof *scale);
    for (int64_t k = 0; k < s->dims[0]; k++)
        if (!(scale[k] >= 1e-36f && scale[k] <= 1e30f))
            return eye_graph_fail(m->g, EYE_E_CORRUPT, "tensor \"%.100s\": scale %lld is not a positive number", scales.s,
                                  (long long)k);
    eye_val v = eye_weight(m->g, name, t);
    if (v != EYE_NONE) m->g->value[v].row_scale = scale;
    return v;
}

static bool may_be_int8(const struct eye_build *m, enum how how, const char *name) {
    return m->folded && how == REQUIRED && (strncmp(name, "v.", 2) == 0 || strncmp(name, "mm.", 3) == 0);
}

static eye_val bind(struct eye_build *m, enum how how, struct eye_shape shape, const char *name) {
    const struct eye_binder *b = m->b;
    int32_t i = eye_strmap_get(&b->map, name, strlen(name));
    if (i < 0) {
        bool wanted = b->wish && (how != OPTIONAL || eye_wish_wants(b->wish, name));
        if (wanted && m->g->status == EYE_OK) return grant(m, how, &shape, name);
        if (how == OPTIONAL) return EYE_NONE;
        if (b->account) note_missing(b->account, b, name);
        return eye_graph_fail(m->g, EYE_E_CORRUPT, "tensor \"%s\" is missing", name);
    }
    struct eye_tensor t = eye_checkpoint_tensor(b->ckpt, (size_t)i)->t;
    if (b->account && how != AGAIN) {
        assert(b->state[i] != USED); /* two parts of one model asked for it: a family file's mistake */
        b->state[i] = USED;
    }
    if (m->g->status != EYE_OK) return EYE_NONE; /* shapes that follow from a failed graph mean nothing */
    if (how == VECTOR && t.rank == 3 && t.dims[1] == 1 && t.dims[2] == 1) t.rank = 1;
    if (how == ROW && t.rank == 1) {
        t.rank = 2;
        t.dims[1] = t.dims[0];
        t.dims[0] = 1;
    }
    if (!fits(&t, &shape)) return fault(m, (size_t)i, EYE_E_CORRUPT, "shape", &shape);
    if (t.dtype == EYE_I8 && t.rank >= 2 && may_be_int8(m, how, name)) return bind_int8(m, (size_t)i, &t, name);
    if (!usable_dtype(&t)) return fault(m, (size_t)i, EYE_E_UNSUPPORTED, "data type", &shape);
    eye_val first = how == AGAIN ? eye_graph_find(m->g, name) : EYE_NONE; /* both parts in one graph: one value, one gradient */
    if (first != EYE_NONE) return first;
    return how == TRANSPOSED ? eye_weight_transposed(m->g, name, &t) : eye_weight(m->g, name, &t);
}

#define NAME_FROM(fmt)                     \
    char name[EYE_NAME_MAX];               \
    va_list ap;                            \
    va_start(ap, fmt);                     \
    vsnprintf(name, sizeof name, fmt, ap); \
    va_end(ap)

struct eye_name eye_namef(const char *fmt, ...) {
    struct eye_name n;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(n.s, sizeof n.s, fmt, ap);
    va_end(ap);
    return n;
}

bool eye_build_has(const struct eye_build *m, const char *fmt, ...) {
    NAME_FROM(fmt);
    return eye_strmap_get(&m->b->map, name, strlen(name)) >= 0;
}

eye_val eye_build_weight(struct eye_build *m, struct eye_shape shape, const char *fmt, ...) {
    NAME_FROM(fmt);
    return bind(m, REQUIRED, shape, name);
}

eye_val eye_build_optional(struct eye_build *m, struct eye_shape shape, const char *fmt, ...) {
    NAME_FROM(fmt);
    return bind(m, OPTIONAL, shape, name);
}

eye_val eye_build_vector(struct eye_build *m, int64_t n, const char *fmt, ...) {
    NAME_FROM(fmt);
    return bind(m, VECTOR, EYE_SHAPE(n), name);
}

eye_val eye_build_row(struct eye_build *m, int64_t n, const char *fmt, ...) {
    NAME_FROM(fmt);
    return bind(m, ROW, EYE_SHAPE(1, n), name);
}

eye_val eye_build_transposed(struct eye_build *m, struct eye_shape shape, const char *fmt, ...) {
    NAME_FROM(fmt);
    assert(shape.rank == 2);
    return bind(m, TRANSPOSED, EYE_SHAPE(shape.dims[1], shape.dims[0]), name);
}

void eye_build_leave(struct eye_build *m, const char *prefix) {
    const struct eye_binder *b = m->b;
    if (!b->account) return;
    for (size_t i = 0; i < b->n; i++)
        if (strncmp(b->canonical[i], prefix, strlen(prefix)) == 0 && b->state[i] == UNUSED) b->state[i] = IGNORED;
}

eye_val eye_build_again(struct eye_build *m, struct eye_shape shape, const char *fmt, ...) {
    NAME_FROM(fmt);
    return bind(m, AGAIN, shape, name);
}
