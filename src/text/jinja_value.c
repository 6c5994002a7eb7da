/* jinja, values: what Python's operators do with strings, numbers, lists and dicts. Each string knows for each byte where it
 * came from; parts and joins keep that. Knows no syntax. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_impl.h"
#include "text/unicode.h"

enum eye_status eye_jrun_fail(struct eye_jrun *r, const struct eye_jnode *n, enum eye_status code, const char *fmt, ...) {
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return eye_jinja_fail(r->t, n->at, r->err, code, "%s", text);
}

enum eye_status eye_jrun_tick(struct eye_jrun *r, const struct eye_jnode *n, size_t bytes) {
    r->steps += 1 + bytes / 64;
    if (r->steps <= EYE_JINJA_MAX_STEPS) return EYE_OK;
    return eye_jrun_fail(r, n, EYE_E_LIMIT, "the template takes more than %" PRIu64 " steps", EYE_JINJA_MAX_STEPS);
}

enum eye_status eye_jrun_alloc(struct eye_jrun *r, const struct eye_jnode *n, size_t bytes, void **out) {
    EYE_TRY(eye_jrun_tick(r, n, bytes));
    if (bytes > EYE_JINJA_MAX_MEMORY || r->arena.total_bytes > EYE_JINJA_MAX_MEMORY - bytes)
        return eye_jrun_fail(r, n, EYE_E_LIMIT, "the template takes more than %zu bytes of memory", EYE_JINJA_MAX_MEMORY);
    *out = eye_arena_alloc(&r->arena, EYE_MAX(bytes, 1));
    return *out ? EYE_OK : eye_fail_nomem(r->err, bytes);
}

const char *eye_jkind_name(enum eye_jkind kind) {
    static const char *const names[] = {"an undefined value", "none", "a boolean", "an integer", "a float", "a string",
                                        "a list",
                                        "a dict", "a namespace", "a macro"};
    return names[kind];
}

/* ---- strings ---- */

struct eye_jstr eye_jliteral(const char *text) { return (struct eye_jstr){text, NULL, strlen(text)}; }

bool eye_jstr_equal(struct eye_jstr a, struct eye_jstr b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }

bool eye_jstr_is(struct eye_jstr s, const char *text) { return eye_jstr_equal(s, eye_jliteral(text)); }

struct eye_jstr eye_jstr_part(struct eye_jstr s, size_t from, size_t to) {
    return (struct eye_jstr){s.p + from, s.origin ? s.origin + from : NULL, to - from};
}

size_t eye_jstr_find(struct eye_jstr s, struct eye_jstr what, size_t from) {
    if (from > s.n || what.n > s.n - from) return SIZE_MAX;
    if (what.n == 0) return from;
    const char *at = memmem(s.p + from, s.n - from, what.p, what.n);
    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

static bool begins_point(char c) { return ((uint8_t)c & 0xC0) != 0x80; }

size_t eye_jstr_points(struct eye_jstr s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += begins_point(s.p[i]);
    return n;
}

size_t eye_jstr_offset(struct eye_jstr s, size_t point) {
    for (size_t i = 0; i < s.n; i++)
        if (begins_point(s.p[i]) && point-- == 0) return i;
    return s.n;
}

static bool is_one_of(const char *p, size_t n, struct eye_jstr chars) {
    for (size_t i = 0; i + n <= chars.n; i++)
        if (begins_point(chars.p[i]) && memcmp(chars.p + i, p, n) == 0) return true;
    return false;
}

struct eye_jstr eye_jstr_strip(struct eye_jstr s, const struct eye_jstr *chars, int ends) {
    size_t from = 0, to = s.n, len;
    while ((ends & 1) && from < to) {
        if (chars) {
            for (len = 1; from + len < to && !begins_point(s.p[from + len]);) len++;
            if (!is_one_of(s.p + from, len, *chars)) break;
        } else if (!(len = eye_jinja_space(s.p + from, to - from))) {
            break;
        }
        from += len;
    }
    while ((ends & 2) && to > from) {
        if (chars) {
            for (len = 1; !begins_point(s.p[to - len]);) len++;
            if (!is_one_of(s.p + to - len, len, *chars)) break;
        } else if (!(len = eye_jinja_space_before(s.p + from, to - from))) {
            break;
        }
        to -= len;
    }
    return eye_jstr_part(s, from, to);
}

enum eye_status eye_jconcat(struct eye_jrun *r, const struct eye_jnode *n, const struct eye_jstr *part, size_t n_parts,
                            struct eye_jstr *out) {
    size_t total = 0;
    bool origins = false;
    void *p, *origin = NULL;
    for (size_t i = 0; i < n_parts; i++) {
        if (!eye_add_ok(total, part[i].n, &total)) return eye_fail_nomem(r->err, SIZE_MAX);
        origins |= part[i].origin && part[i].n;
    }
    EYE_TRY(eye_jrun_alloc(r, n, total, &p));
    if (origins) EYE_TRY(eye_jrun_alloc(r, n, total, &origin));
    *out = (struct eye_jstr){p, origin, 0};
    for (size_t i = 0; i < n_parts; i++) {
        if (!part[i].n) continue;
        memcpy((char *)p + out->n, part[i].p, part[i].n);
        if (part[i].origin) memcpy((uint8_t *)origin + out->n, part[i].origin, part[i].n);
        out->n += part[i].n;
    }
    return EYE_OK;
}

/* ---- lists and dicts ---- */

enum eye_status eye_jnew_list(struct eye_jrun *r, const struct eye_jnode *n, size_t len, struct eye_jvalue *out) {
    size_t bytes;
    void *list, *item;
    if (!eye_mul_ok(len, sizeof *out, &bytes)) return eye_fail_nomem(r->err, SIZE_MAX);
    EYE_TRY(eye_jrun_alloc(r, n, sizeof(struct eye_jlist), &list));
    EYE_TRY(eye_jrun_alloc(r, n, bytes, &item));
    *out = (struct eye_jvalue){.kind = EYE_J_LIST, .list = list};
    out->list->item = item;
    out->list->n = len;
    return EYE_OK;
}

enum eye_status eye_jnew_dict(struct eye_jrun *r, const struct eye_jnode *n, enum eye_jkind kind, struct eye_jvalue *out) {
    void *dict;
    EYE_TRY(eye_jrun_alloc(r, n, sizeof(struct eye_jdict), &dict));
    *out = (struct eye_jvalue){.kind = kind, .dict = dict};
    return EYE_OK;
}

const struct eye_jvalue *eye_jdict_get(const struct eye_jdict *d, struct eye_jstr key) {
    for (size_t i = 0; i < d->n; i++)
        if (eye_jstr_equal(d->pair[i].key, key)) return &d->pair[i].value;
    return NULL;
}

enum eye_status eye_jdict_put(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jdict *d, struct eye_jstr key,
                              struct eye_jvalue v) {
    EYE_TRY(eye_jrun_tick(r, n, d->n));
    for (size_t i = 0; i < d->n; i++)
        if (eye_jstr_equal(d->pair[i].key, key)) {
            d->pair[i].value = v;
            return EYE_OK;
        }
    if (d->n == d->cap) {
        size_t cap = d->cap ? 2 * d->cap : 8;
        void *pair;
        EYE_TRY(eye_jrun_alloc(r, n, cap * sizeof *d->pair, &pair));
        if (d->n) memcpy(pair, d->pair, d->n * sizeof *d->pair);
        d->pair = pair;
        d->cap = cap;
    }
    d->pair[d->n++] = (struct eye_jpair){key, v};
    return EYE_OK;
}

bool eye_jtruth(struct eye_jvalue v) {
    switch (v.kind) {
    case EYE_J_UNDEFINED: case EYE_J_NONE: return false;
    case EYE_J_BOOL: return v.b;
    case EYE_J_INT: return v.i != 0;
    case EYE_J_FLOAT: return v.f != 0;
    case EYE_J_STRING: return v.s.n > 0;
    case EYE_J_LIST: return v.list->n > 0;
    case EYE_J_DICT: return v.dict->n > 0;
    case EYE_J_NAMESPACE: case EYE_J_MACRO: return true;
    }
    return true;
}

static bool is_number(struct eye_jvalue v) { return v.kind == EYE_J_INT || v.kind == EYE_J_FLOAT || v.kind == EYE_J_BOOL; }
static int64_t int_of(struct eye_jvalue v) { return v.kind == EYE_J_BOOL ? v.b : v.i; }
static double double_of(struct eye_jvalue v) { return v.kind == EYE_J_FLOAT ? v.f : (double)int_of(v); }

/* Values never hold themselves, so depth ends; a namespace may, and is only equal to itself. */
enum eye_status eye_jequal(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue a, struct eye_jvalue b, bool *out) {
    *out = false;
    EYE_TRY(eye_jrun_tick(r, n, a.kind == EYE_J_STRING ? a.s.n : 0));
    if (is_number(a) && is_number(b)) {
        *out = a.kind == EYE_J_FLOAT || b.kind == EYE_J_FLOAT ? double_of(a) == double_of(b) : int_of(a) == int_of(b);
        return EYE_OK;
    }
    if (a.kind != b.kind) return EYE_OK;
    if (a.kind == EYE_J_STRING) *out = eye_jstr_equal(a.s, b.s);
    if (a.kind == EYE_J_NONE || a.kind == EYE_J_UNDEFINED) *out = true;
    if (a.kind == EYE_J_NAMESPACE) *out = a.dict == b.dict;
    if (a.kind == EYE_J_MACRO) *out = a.macro == b.macro;
    if (a.kind != EYE_J_LIST && a.kind != EYE_J_DICT) return EYE_OK;
    if (++r->calls > EYE_JINJA_MAX_CALLS) return eye_jrun_fail(r, n, EYE_E_LIMIT, "the values are nested too deep");
    size_t len = a.kind == EYE_J_LIST ? a.list->n : a.dict->n;
    *out = len == (a.kind == EYE_J_LIST ? b.list->n : b.dict->n);
    for (size_t i = 0; i < len && *out; i++) {
        const struct eye_jvalue *x = a.kind == EYE_J_LIST ? &a.list->item[i] : &a.dict->pair[i].value;
        const struct eye_jvalue *y = a.kind == EYE_J_LIST ? &b.list->item[i] : eye_jdict_get(b.dict, a.dict->pair[i].key);
        *out = y != NULL;
        if (y) EYE_TRY(eye_jequal(r, n, *x, *y, out));
    }
    r->calls--;
    return EYE_OK;
}

enum eye_status eye_jitems(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v, struct eye_jlist *out) {
    struct eye_jvalue list = {.kind = EYE_J_LIST};
    *out = (struct eye_jlist){NULL, 0};
    if (v.kind == EYE_J_UNDEFINED) return EYE_OK;
    if (v.kind == EYE_J_LIST) {
        *out = *v.list;
        return EYE_OK;
    }
    if (v.kind != EYE_J_STRING && v.kind != EYE_J_DICT)
        return eye_jrun_fail(r, n, EYE_E_ARG, "%s is nothing to loop over", eye_jkind_name(v.kind));
    EYE_TRY(eye_jnew_list(r, n, v.kind == EYE_J_DICT ? v.dict->n : eye_jstr_points(v.s), &list));
    *out = *list.list;
    if (v.kind == EYE_J_DICT) {
        for (size_t i = 0; i < out->n; i++) out->item[i] = eye_jstring(v.dict->pair[i].key);
        return EYE_OK;
    }
    for (size_t i = 0, from = 0; i < out->n; i++) {
        size_t to = from + 1;
        while (to < v.s.n && !begins_point(v.s.p[to])) to++;
        out->item[i] = eye_jstring(eye_jstr_part(v.s, from, to));
        from = to;
    }
    return EYE_OK;
}

/* ---- members, indices, slices ---- */

struct eye_jvalue eye_jattr(struct eye_jvalue v, struct eye_jstr name) {
    const struct eye_jvalue *found = v.kind == EYE_J_DICT || v.kind == EYE_J_NAMESPACE ? eye_jdict_get(v.dict, name) : NULL;
    return found ? *found : (struct eye_jvalue){.kind = EYE_J_UNDEFINED};
}

enum eye_status eye_jindex(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v, struct eye_jvalue key,
                           struct eye_jvalue *out) {
    *out = (struct eye_jvalue){.kind = EYE_J_UNDEFINED};
    if (v.kind == EYE_J_UNDEFINED) return eye_jrun_fail(r, n, EYE_E_ARG, "an item of an undefined value");
    if (key.kind == EYE_J_STRING) *out = eye_jattr(v, key.s);
    if (key.kind != EYE_J_INT || (v.kind != EYE_J_LIST && v.kind != EYE_J_STRING)) return EYE_OK;
    EYE_TRY(eye_jrun_tick(r, n, v.kind == EYE_J_STRING ? v.s.n : 0));
    int64_t len = (int64_t)(v.kind == EYE_J_LIST ? v.list->n : eye_jstr_points(v.s)), i = key.i < 0 ? key.i + len : key.i;
    if (i < 0 || i >= len) return EYE_OK;
    if (v.kind == EYE_J_LIST) {
        *out = v.list->item[i];
    } else {
        size_t from = eye_jstr_offset(v.s, (size_t)i);
        *out = eye_jstring(eye_jstr_part(v.s, from, from + eye_jstr_offset(eye_jstr_part(v.s, from, v.s.n), 1)));
    }
    return EYE_OK;
}

/* One bound of a slice, as Python resolves it. */
static enum eye_status bound(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v, int64_t len, int64_t def,
                             bool back,
                             int64_t *out) {
    *out = def;
    if (v.kind == EYE_J_UNDEFINED || v.kind == EYE_J_NONE) return EYE_OK;
    if (v.kind != EYE_J_INT)
        return eye_jrun_fail(r, n, EYE_E_ARG, "a slice's bound is %s, expected an integer", eye_jkind_name(v.kind));
    int64_t i = v.i < 0 ? v.i + len : v.i;
    *out = i < 0 ? (back ? -1 : 0) : i >= len ? (back ? len - 1 : len) : i;
    return EYE_OK;
}

enum eye_status eye_jslice(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v, const struct eye_jvalue part[3],
                           struct eye_jvalue *out) {
    struct eye_jlist all = {NULL, 0};
    int64_t step = 1, from, to;
    if (v.kind != EYE_J_LIST && v.kind != EYE_J_STRING)
        return eye_jrun_fail(r, n, EYE_E_ARG, "a slice of %s, expected a list or a string", eye_jkind_name(v.kind));
    if (part[2].kind == EYE_J_INT) step = part[2].i;
    if (step == 0 || step == INT64_MIN) return eye_jrun_fail(r, n, EYE_E_ARG, "a slice's step is %" PRId64, step);
    bool part_of_text = v.kind == EYE_J_STRING && step == 1; /* the usual case: no list of characters is made */
    if (!part_of_text) EYE_TRY(eye_jitems(r, n, v, &all));
    EYE_TRY(eye_jrun_tick(r, n, v.kind == EYE_J_STRING ? v.s.n : 0));
    int64_t len = (int64_t)(part_of_text ? eye_jstr_points(v.s) : all.n);
    EYE_TRY(bound(r, n, part[0], len, step > 0 ? 0 : len - 1, step < 0, &from));
    EYE_TRY(bound(r, n, part[1], len, step > 0 ? len : -1, step < 0, &to));
    if (part_of_text) {
        size_t first = eye_jstr_offset(v.s, (size_t)from);
        *out = eye_jstring(eye_jstr_part(v.s, first, EYE_MAX(eye_jstr_offset(v.s, (size_t)to), first)));
        return EYE_OK;
    }
    uint64_t distance = step > 0 ? (uint64_t)EYE_MAX(to - from, 0) : (uint64_t)EYE_MAX(from - to, 0);
    uint64_t stride = (uint64_t)(step > 0 ? step : -step);
    EYE_TRY(eye_jnew_list(r, n, (size_t)(distance / stride + (distance % stride != 0)), out));
    for (size_t i = 0; i < out->list->n; i++) out->list->item[i] = all.item[from + (int64_t)i * step];
    if (v.kind == EYE_J_LIST) return EYE_OK;
    void *piece;
    size_t n_pieces = out->list->n;
    EYE_TRY(eye_jrun_alloc(r, n, n_pieces * sizeof(struct eye_jstr), &piece));
    for (size_t i = 0; i < n_pieces; i++) ((struct eye_jstr *)piece)[i] = out->list->item[i].s;
    out->kind = EYE_J_STRING;
    return eye_jconcat(r, n, piece, n_pieces, &out->s);
}

/* ---- operators ---- */

static enum eye_status wrong_types(struct eye_jrun *r, const struct eye_jnode *n, const char *what, struct eye_jvalue a,
                                   struct eye_jvalue b) {
    return eye_jrun_fail(r, n, EYE_E_ARG, "%s of %s and %s", what, eye_jkind_name(a.kind), eye_jkind_name(b.kind));
}

static enum eye_status contains(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue item, struct eye_jvalue in,
                                bool *out) {
    *out = false;
    if (in.kind == EYE_J_UNDEFINED) return EYE_OK;
    if (in.kind == EYE_J_STRING && item.kind == EYE_J_STRING) {
        EYE_TRY(eye_jrun_tick(r, n, in.s.n));
        *out = eye_jstr_find(in.s, item.s, 0) != SIZE_MAX;
        return EYE_OK;
    }
    if (in.kind == EYE_J_DICT) {
        *out = item.kind == EYE_J_STRING && eye_jdict_get(in.dict, item.s);
        return EYE_OK;
    }
    if (in.kind != EYE_J_LIST) return wrong_types(r, n, "\"in\"", item, in);
    for (size_t i = 0; i < in.list->n && !*out; i++) EYE_TRY(eye_jequal(r, n, item, in.list->item[i], out));
    return EYE_OK;
}

static enum eye_status compare(struct eye_jrun *r, const struct eye_jnode *n, int op, struct eye_jvalue a, struct eye_jvalue b,
                               struct eye_jvalue *out) {
    int order;
    if (is_number(a) && is_number(b)) {
        order = (double_of(a) > double_of(b)) - (double_of(a) < double_of(b));
        if (a.kind != EYE_J_FLOAT && b.kind != EYE_J_FLOAT) order = (int_of(a) > int_of(b)) - (int_of(a) < int_of(b));
    } else if (a.kind == EYE_J_STRING && b.kind == EYE_J_STRING) { /* UTF-8 sorts as code points do */
        size_t least = EYE_MIN(a.s.n, b.s.n);
        order = least ? memcmp(a.s.p, b.s.p, least) : 0;
        if (order == 0) order = (a.s.n > b.s.n) - (a.s.n < b.s.n);
    } else {
        return wrong_types(r, n, "the order", a, b);
    }
    *out = eye_jbool(op == '<' ? order < 0 : op == '>' ? order > 0 : op == EYE_J2('<', '=') ? order <= 0 : order >= 0);
    return EYE_OK;
}

static enum eye_status arithmetic(struct eye_jrun *r, const struct eye_jnode *n, int op, struct eye_jvalue a,
                                  struct eye_jvalue b,
                                  struct eye_jvalue *out) {
    bool divides = op == '/' || op == '%' || op == EYE_J2('/', '/');
    if (!is_number(a) || !is_number(b)) return wrong_types(r, n, "arithmetic", a, b);
    if (divides && double_of(b) == 0) return eye_jrun_fail(r, n, EYE_E_ARG, "a division by zero");
    if (a.kind == EYE_J_FLOAT || b.kind == EYE_J_FLOAT || op == '/') {
        double x = double_of(a), y = double_of(b);
        double v = op == '+' ? x + y : op == '-' ? x - y : op == '*' ? x * y : op == '/' ? x / y : floor(x / y);
        *out = (struct eye_jvalue){.kind = EYE_J_FLOAT, .f = op == '%' ? x - y * floor(x / y) : v};
        return EYE_OK;
    }
    int64_t x = int_of(a), y = int_of(b), v = 0;
    bool over = op == '+' ? __builtin_add_overflow(x, y, &v) : op == '-' ? __builtin_sub_overflow(x, y, &v)
              : op == '*' ? __builtin_mul_overflow(x, y, &v) : x == INT64_MIN && y == -1;
    if (over) return eye_jrun_fail(r, n, EYE_E_LIMIT, "an integer beyond 64 bits");
    if (divides) { /* Python rounds down */
        int64_t rest = x % y;
        bool down = rest != 0 && (rest < 0) != (y < 0);
        v = op == '%' ? rest + (down ? y : 0) : x / y - down;
    }
    *out = eye_jint(v);
    return EYE_OK;
}

enum eye_status eye_jbinary(struct eye_jrun *r, const struct eye_jnode *n, int op, struct eye_jvalue a, struct eye_jvalue b,
                            struct eye_jvalue *out) {
    struct eye_jstr both[2];
    bool yes;
    if (op == EYE_JOP_IN || op == EYE_JOP_NOT_IN) {
        EYE_TRY(contains(r, n, a, b, &yes));
        *out = eye_jbool(yes == (op == EYE_JOP_IN));
        return EYE_OK;
    }
    if (op == EYE_J2('=', '=') || op == EYE_J2('!', '=')) {
        EYE_TRY(eye_jequal(r, n, a, b, &yes));
        *out = eye_jbool(yes == (op == EYE_J2('=', '=')));
        return EYE_OK;
    }
    if (op == '<' || op == '>' || op == EYE_J2('<', '=') || op == EYE_J2('>', '=')) return compare(r, n, op, a, b, out);
    if (op == '~' || (op == '+' && a.kind == EYE_J_STRING && b.kind == EYE_J_STRING)) {
        EYE_TRY(eye_jtext(r, n, a, &both[0]));
        EYE_TRY(eye_jtext(r, n, b, &both[1]));
        out->kind = EYE_J_STRING;
        return eye_jconcat(r, n, both, 2, &out->s);
    }
    if (op == '+' && a.kind == EYE_J_LIST && b.kind == EYE_J_LIST) {
        EYE_TRY(eye_jnew_list(r, n, a.list->n + b.list->n, out));
        for (size_t i = 0; i < out->list->n; i++)
            out->list->item[i] = i < a.list->n ? a.list->item[i] : b.list->item[i - a.list->n];
        return EYE_OK;
    }
    return arithmetic(r, n, op, a, b, out);
}
