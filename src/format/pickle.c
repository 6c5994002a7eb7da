/* format/pickle: the stack machine; see pickle.h for what it takes. */
#include "format/pickle.h"

#include <stdio.h>
#include <string.h>

#include "base/cursor.h"

enum kind { NONE, BOOL, INT, OTHER, STRING, TUPLE, LIST, DICT, GLOBAL, STORAGE, TENSOR, MARK };
static const char *const kind_name[] = {"None", "a bool", "an integer", "a float", "a string", "a tuple", "a list", "a dict",
                                        "a function or class", "a storage", "a tensor", "a mark"};

enum global { ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, STORAGE_TYPE };
static const struct {
    const char *name; /* module and name as the file has them: two lines */
    enum global what;
    enum eye_dtype dtype;
} globals[] = {
    {"collections\nOrderedDict\n", ORDERED_DICT, 0},
    {"torch._utils\n_rebuild_tensor_v2\n", REBUILD_TENSOR, 0},
    {"torch._utils\n_rebuild_parameter\n", REBUILD_PARAMETER, 0},
    {"torch\nFloatStorage\n", STORAGE_TYPE, EYE_F32},      {"torch\nHalfStorage\n", STORAGE_TYPE, EYE_F16},
    {"torch\nBFloat16Storage\n", STORAGE_TYPE, EYE_BF16},  {"torch\nDoubleStorage\n", STORAGE_TYPE, EYE_F64},
    {"torch\nLongStorage\n", STORAGE_TYPE, EYE_I64},       {"torch\nIntStorage\n", STORAGE_TYPE, EYE_I32},
    {"torch\nShortStorage\n", STORAGE_TYPE, EYE_I16},      {"torch\nCharStorage\n", STORAGE_TYPE, EYE_I8},
    {"torch\nByteStorage\n", STORAGE_TYPE, EYE_U8},        {"torch\nBoolStorage\n", STORAGE_TYPE, EYE_BOOL},
};

struct seq;
struct value {
    enum kind kind;
    union {
        int64_t i;         /* INT; GLOBAL: index into globals */
        struct eye_str s;  /* STRING, in the pickle */
        struct seq *seq;   /* TUPLE; DICT: its first, empty piece */
        struct eye_pickle_tensor *tensor; /* STORAGE (only storage and dtype set), TENSOR */
    } u;
};
struct seq { /* items of a tuple; of a dict: key, value, key, … in pieces */
    struct value *v;
    size_t n;
    struct seq *next, *last; /* last: in a dict's first piece */
};

struct machine {
    const char *where;
    struct eye_cursor c;
    struct eye_arena *arena;
    struct value *stack, *memo;
    size_t n, stack_cap, n_memo, memo_cap;
    struct eye_err *err;
};

static enum eye_status corrupt(struct machine *m, const char *what) {
    return eye_fail(m->err, EYE_E_CORRUPT, "%s: pickle: %s, at byte %zu of %zu", m->where, what, m->c.pos, m->c.size);
}

static enum eye_status push(struct machine *m, struct value v) {
    void *p = m->stack;
    enum eye_status st = eye_alloc_grow(m->arena->alloc, &p, &m->stack_cap, m->n + 1, sizeof v, m->err);
    m->stack = p;
    if (st == EYE_OK) m->stack[m->n++] = v;
    return st;
}

static enum eye_status pop(struct machine *m, enum kind kind, struct value *out) {
    char what[96];
    if (m->n == 0) return corrupt(m, "the stack is empty");
    *out = m->stack[--m->n];
    if (out->kind == kind) return EYE_OK;
    snprintf(what, sizeof what, "expected %s, got %s", kind_name[kind], kind_name[out->kind]);
    return corrupt(m, what);
}

static enum eye_status push_int(struct machine *m, enum kind kind, int64_t i) { return push(m, (struct value){kind, {.i = i}}); }

/* The n values on top of the stack, taken off, as a piece. */
static enum eye_status take(struct machine *m, size_t n, struct seq **out) {
    struct seq *s = eye_arena_alloc(m->arena, sizeof *s);
    struct value *v = eye_arena_alloc(m->arena, n * sizeof *v + 1); /* n <= the pickle's bytes */
    if (!s || !v) return eye_fail_nomem(m->err, n * sizeof *v);
    m->n -= n;
    if (n) memcpy(v, m->stack + m->n, n * sizeof *v);
    *s = (struct seq){.v = v, .n = n};
    *out = s;
    return EYE_OK;
}

/* How many values lie above the topmost mark. */
static enum eye_status above_mark(struct machine *m, size_t *n) {
    for (*n = 0; *n < m->n; ++*n)
        if (m->stack[m->n - 1 - *n].kind == MARK) return EYE_OK;
    return corrupt(m, "a mark is missing");
}

static enum eye_status make_tuple(struct machine *m, size_t n) {
    struct seq *s = NULL;
    if (n > m->n) return corrupt(m, "the stack is too short for a tuple");
    EYE_TRY(take(m, n, &s));
    return push(m, (struct value){TUPLE, {.seq = s}});
}

static enum eye_status make_marked_tuple(struct machine *m) {
    struct seq *s = NULL;
    size_t n;
    EYE_TRY(above_mark(m, &n));
    EYE_TRY(take(m, n, &s));
    m->n--;
    return push(m, (struct value){TUPLE, {.seq = s}});
}

static enum eye_status make_dict(struct machine *m) {
    struct seq *s = NULL;
    EYE_TRY(take(m, 0, &s));
    s->last = s;
    return push(m, (struct value){DICT, {.seq = s}});
}

/* The top n values go to the dict below them, or are dropped for a list: no list has anything we need. marked: a mark between. */
static enum eye_status put_items(struct machine *m, size_t n, enum kind into, bool marked) {
    struct seq *s = NULL;
    if (n + marked >= m->n || m->stack[m->n - n - marked - 1].kind != into) return corrupt(m, "items without their container");
    if (into == DICT && n % 2) return corrupt(m, "a key without its value");
    EYE_TRY(take(m, n, &s));
    m->n -= marked;
    if (into == LIST) return EYE_OK;
    struct seq *head = m->stack[m->n - 1].u.seq;
    head->last = head->last->next = s;
    return EYE_OK;
}

static enum eye_status put_marked(struct machine *m, enum kind into) {
    size_t n;
    EYE_TRY(above_mark(m, &n));
    return put_items(m, n, into, true);
}

static enum eye_status memo_put(struct machine *m, uint32_t at) {
    if (m->n == 0 || m->stack[m->n - 1].kind == MARK) return corrupt(m, "nothing to remember");
    if (at > m->n_memo) return corrupt(m, "memo numbers out of order");
    if (at == m->n_memo) {
        void *p = m->memo;
        enum eye_status st = eye_alloc_grow(m->arena->alloc, &p, &m->memo_cap, m->n_memo + 1, sizeof *m->memo, m->err);
        m->memo = p;
        if (st != EYE_OK) return st;
        m->n_memo++;
    }
    m->memo[at] = m->stack[m->n - 1];
    return EYE_OK;
}

static enum eye_status memo_get(struct machine *m, uint32_t at) {
    return at < m->n_memo ? push(m, m->memo[at]) : corrupt(m, "an unknown memo number");
}

/* ---- names ---- */

static enum eye_status find_global(struct machine *m) {
    const char *p = (const char *)m->c.p + m->c.pos, *line = memchr(p, '\n', eye_cursor_left(&m->c));
    const char *end = line ? memchr(line + 1, '\n', eye_cursor_left(&m->c) - (size_t)(line + 1 - p)) : NULL;
    if (!end) return corrupt(m, "a name has no end");
    size_t len = (size_t)(end + 1 - p);
    for (size_t i = 0; i < EYE_COUNT(globals); i++)
        if (strlen(globals[i].name) == len && memcmp(globals[i].name, p, len) == 0) {
            m->c.pos += len;
            return push_int(m, GLOBAL, (int64_t)i);
        }
    return eye_fail(m->err, EYE_E_UNSUPPORTED,
                    "%s: pickle: names %.*s.%.*s; only tensors in a state dict are read (save model.state_dict())", m->where,
                    (int)EYE_MIN(line - p, 64), p, (int)EYE_MIN(end - line - 1, 64), line + 1);
}

/* ("storage", torch.FloatStorage, "0", "cpu", elements) */
static enum eye_status persistent(struct machine *m) {
    struct value id;
    EYE_TRY(pop(m, TUPLE, &id));
    const struct value *v = id.u.seq->v;
    if (id.u.seq->n != 5 || v[0].kind != STRING || v[0].u.s.len != 7 || memcmp(v[0].u.s.p, "storage", 7) != 0 ||
        v[1].kind != GLOBAL || globals[v[1].u.i].what != STORAGE_TYPE || v[2].kind != STRING || v[4].kind != INT || v[4].u.i < 0)
        return corrupt(m, "a persistent id that is no storage");
    struct eye_pickle_tensor *t = eye_arena_alloc(m->arena, sizeof *t);
    if (!t) return eye_fail_nomem(m->err, sizeof *t);
    *t = (struct eye_pickle_tensor){.storage = v[2].u.s, .dtype = globals[v[1].u.i].dtype, .storage_elems = v[4].u.i};
    return push(m, (struct value){STORAGE, {.tensor = t}});
}

static enum eye_status read_sizes(struct machine *m, const struct value *v, int64_t *out, int *n) {
    if (v->kind != TUPLE) return corrupt(m, "a tensor's size or stride is no tuple");
    if (v->u.seq->n > EYE_MAX_RANK)
        return eye_fail(m->err, EYE_E_UNSUPPORTED, "%s: pickle: a tensor of %zu dimensions; at most %d are supported", m->where,
                        v->u.seq->n, EYE_MAX_RANK);
    *n = (int)v->u.seq->n;
    for (int i = 0; i < *n; i++) {
        const struct value *d = &v->u.seq->v[i];
        if (d->kind != INT || d->u.i < 0) return corrupt(m, "a tensor's size or stride is no number >= 0");
        out[i] = d->u.i;
    }
    return EYE_OK;
}

/* storage, offset, size, stride, requires_grad, hooks [, metadata] */
static enum eye_status rebuild_tensor(struct machine *m, const struct seq *args) {
    int n_strides;
    if (args->n < 4 || args->v[0].kind != STORAGE || args->v[1].kind != INT || args->v[1].u.i < 0)
        return corrupt(m, "_rebuild_tensor_v2 wants a storage, an offset, sizes and strides");
    struct eye_pickle_tensor *t = eye_arena_alloc(m->arena, sizeof *t);
    if (!t) return eye_fail_nomem(m->err, sizeof *t);
    *t = *args->v[0].u.tensor;
    t->offset = args->v[1].u.i;
    EYE_TRY(read_sizes(m, &args->v[2], t->dims, &t->rank));
    EYE_TRY(read_sizes(m, &args->v[3], t->strides, &n_strides));
    if (n_strides != t->rank) return corrupt(m, "a tensor has more or fewer strides than sizes");
    return push(m, (struct value){TENSOR, {.tensor = t}});
}

static enum eye_status reduce(struct machine *m) {
    struct value args, fn;
    EYE_TRY(pop(m, TUPLE, &args));
    EYE_TRY(pop(m, GLOBAL, &fn));
    const struct seq *a = args.u.seq;
    switch (globals[fn.u.i].what) {
    case ORDERED_DICT: return a->n == 0 ? make_dict(m) : corrupt(m, "OrderedDict with arguments");
    case REBUILD_TENSOR: return rebuild_tensor(m, a);
    case REBUILD_PARAMETER:
        if (a->n < 1 || a->v[0].kind != TENSOR) return corrupt(m, "_rebuild_parameter wants a tensor");
        return push(m, a->v[0]);
    case STORAGE_TYPE: break;
    }
    return corrupt(m, "a storage type is called");
}

/* Attributes of a state dict (its _metadata) are dropped. */
static enum eye_status build(struct machine *m) {
    if (m->n < 2 || m->stack[m->n - 2].kind != DICT) return corrupt(m, "BUILD of something that is no dict");
    m->n--;
    return EYE_OK;
}

/* ---- the loop ---- */

static enum eye_status push_text(struct machine *m) {
    uint32_t len = eye_cursor_u32(&m->c);
    struct value v = {STRING, {.s = {(const char *)eye_cursor_bytes(&m->c, len), len}}};
    return m->c.failed ? EYE_OK : push(m, v);
}

/* LONG1: two's complement of n bytes; more than 8 do not occur in sizes. */
static enum eye_status push_long(struct machine *m) {
    uint8_t n = eye_cursor_u8(&m->c);
    const uint8_t *p = eye_cursor_bytes(&m->c, n);
    uint64_t v = 0;
    if (!p) return n ? EYE_OK : push_int(m, INT, 0);
    if (n > 8) return push_int(m, OTHER, 0);
    for (int i = 0; i < 8; i++) v |= (uint64_t)(i < n ? p[i] : n && p[n - 1] & 0x80 ? 0xff : 0) << 8 * i;
    return push_int(m, INT, (int64_t)v);
}

static enum eye_status step(struct machine *m, uint8_t op) {
    switch (op) {
    case 0x80: { /* PROTO */
        uint8_t version = eye_cursor_u8(&m->c);
        if (version == 2 || m->c.failed) return EYE_OK;
        return eye_fail(m->err, EYE_E_UNSUPPORTED, "%s: pickle: protocol %d; torch.save writes 2", m->where, version);
    }
    case '(': return push_int(m, MARK, 0);
    case 'N': return push_int(m, NONE, 0);
    case 0x88: return push_int(m, BOOL, 1);
    case 0x89: return push_int(m, BOOL, 0);
    case 'J': return push_int(m, INT, (int32_t)eye_cursor_u32(&m->c));
    case 'K': return push_int(m, INT, eye_cursor_u8(&m->c));
    case 'M': return push_int(m, INT, eye_cursor_u16(&m->c));
    case 0x8a: return push_long(m);
    case 'G': eye_cursor_u64(&m->c); return push_int(m, OTHER, 0);
    case 'X': return push_text(m);
    case ')': return make_tuple(m, 0);
    case 0x85: return make_tuple(m, 1);
    case 0x86: return make_tuple(m, 2);
    case 0x87: return make_tuple(m, 3);
    case 't': return make_marked_tuple(m);
    case ']': return push_int(m, LIST, 0);
    case 'a': return put_items(m, 1, LIST, false);
    case 'e': return put_marked(m, LIST);
    case '}': return make_dict(m);
    case 's': return put_items(m, 2, DICT, false);
    case 'u': return put_marked(m, DICT);
    case 'q': return memo_put(m, eye_cursor_u8(&m->c));
    case 'r': return memo_put(m, eye_cursor_u32(&m->c));
    case 'h': return memo_get(m, eye_cursor_u8(&m->c));
    case 'j': return memo_get(m, eye_cursor_u32(&m->c));
    case 'c': return find_global(m);
    case 'Q': return persistent(m);
    case 'R': return reduce(m);
    case 'b': return build(m);
    default:
        return eye_fail(m->err, EYE_E_UNSUPPORTED, "%s: pickle: opcode 0x%02x at byte %zu is none that torch.save writes", m->where,
                        op, m->c.pos - 1);
    }
}

static enum eye_status run(struct machine *m) {
    for (uint8_t op; (op = eye_cursor_u8(&m->c)) != '.';) {
        if (m->c.failed) return corrupt(m, "it ends before its end");
        EYE_TRY(step(m, op));
        if (m->c.failed) return corrupt(m, "it ends within an operand");
    }
    return m->n == 1 ? EYE_OK : corrupt(m, "more or less than one value is left at the end");
}

/* ---- the state dict ---- */

static const struct seq *find_state_dict(const struct seq *dict) {
    for (const struct seq *s = dict; s; s = s->next)
        for (size_t i = 0; i + 1 < s->n; i += 2) {
            const struct value *k = &s->v[i];
            if (k->kind == STRING && k->u.s.len == 10 && memcmp(k->u.s.p, "state_dict", 10) == 0 && k[1].kind == DICT)
                return k[1].u.seq;
        }
    return dict;
}

static enum eye_status collect(struct machine *m, const struct eye_pickle_tensor **out, size_t *n_out) {
    struct value root;
    size_t n = 0;
    EYE_TRY(pop(m, DICT, &root));
    const struct seq *dict = find_state_dict(root.u.seq);
    for (const struct seq *s = dict; s; s = s->next)
        for (size_t i = 0; i < s->n; i += 2) n += s->v[i + 1].kind == TENSOR; /* <= the pickle's bytes */
    struct eye_pickle_tensor *t = eye_arena_alloc(m->arena, n * sizeof *t + 1);
    if (!t) return eye_fail_nomem(m->err, n * sizeof *t);
    *out = t;
    *n_out = 0;
    for (const struct seq *s = dict; s; s = s->next)
        for (size_t i = 0; i < s->n; i += 2) {
            const struct value *k = &s->v[i];
            if (k[1].kind != TENSOR) continue;
            if (k->kind != STRING) return corrupt(m, "a tensor's name is no string");
            t[*n_out] = *k[1].u.tensor;
            t[(*n_out)++].name = k->u.s;
        }
    return EYE_OK;
}

enum eye_status eye_pickle_read(const struct eye_pickle_tensor **out, size_t *n_out, const uint8_t *p, size_t n,
                                const char *where, struct eye_arena *arena, struct eye_err *err) {
    struct machine m = {.where = where, .c = eye_cursor_make(p, n), .arena = arena, .err = err};
    if (n > EYE_PICKLE_MAX_BYTES)
        return eye_fail(err, EYE_E_LIMIT, "%s: a pickle of %zu bytes; at most %zu are read", where, n, EYE_PICKLE_MAX_BYTES);
    enum eye_status st = run(&m);
    if (st == EYE_OK) st = collect(&m, out, n_out);
    eye_alloc_free(arena->alloc, m.stack, m.stack_cap * sizeof *m.stack);
    eye_alloc_free(arena->alloc, m.memo, m.memo_cap * sizeof *m.memo);
    return st;
}
