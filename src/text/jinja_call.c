/* jinja, calls: tables of filters and tests, functions. Methods are in jinja_method.c. A name that is in no table is refused by
 * that name. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_impl.h"

const struct eye_jvalue *eye_jarg(const struct eye_jargs *args, size_t i, const char *name) {
    for (size_t k = 0; k < args->n; k++)
        if (args->key[k].p ? name && eye_jstr_is(args->key[k], name) : k == i) return &args->v[k];
    return NULL;
}

#define SIGNATURE struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v, const struct eye_jargs *args, \
    struct eye_jvalue *out

/* A filter that is the method of the same name on str(v). */
static enum eye_status as_method(SIGNATURE) {
    static const char *const other[][2] = {{"trim", "strip"}};
    struct eye_jnode call = *n;
    for (size_t i = 0; i < EYE_COUNT(other); i++)
        if (eye_jstr_is(n->name, other[i][0])) call.name = eye_jliteral(other[i][1]);
    struct eye_jvalue text = {.kind = EYE_J_STRING};
    EYE_TRY(eye_jtext(r, n, v, &text.s));
    return eye_jmethod(r, &call, text, args, out);
}

static enum eye_status to_json(SIGNATURE) {
    const struct eye_jvalue *indent = eye_jarg(args, 2, "indent");
    for (size_t i = 0; i < args->n; i++)
        if (args->key[i].p && !eye_jstr_is(args->key[i], "indent") && !eye_jstr_is(args->key[i], "ensure_ascii"))
            return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "tojson: the argument \"%.*s\" is not supported, only indent",
                                 (int)EYE_MIN(args->key[i].n, 40), args->key[i].p);
    if (args->n && !args->key[0].p)
        return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "tojson: arguments by position are not supported, only indent=N");
    const struct eye_jvalue *ascii = eye_jarg(args, SIZE_MAX, "ensure_ascii");
    if (ascii && eye_jtruth(*ascii)) return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "tojson: ensure_ascii is not supported");
    bool lines = indent && indent->kind == EYE_J_INT;
    if (lines && (indent->i < 0 || indent->i > 16))
        return eye_jrun_fail(r, n, EYE_E_ARG, "tojson: indent is %" PRId64, indent->i);
    out->kind = EYE_J_STRING;
    return eye_jjson(r, n, v, lines ? (int)indent->i : -1, &out->s);
}

static enum eye_status length(SIGNATURE) {
    (void)args;
    if (v.kind == EYE_J_UNDEFINED) *out = eye_jint(0);
    else if (v.kind == EYE_J_STRING) *out = eye_jint((int64_t)eye_jstr_points(v.s));
    else if (v.kind == EYE_J_LIST) *out = eye_jint((int64_t)v.list->n);
    else if (v.kind == EYE_J_DICT) *out = eye_jint((int64_t)v.dict->n);
    else return eye_jrun_fail(r, n, EYE_E_ARG, "the length of %s", eye_jkind_name(v.kind));
    return eye_jrun_tick(r, n, v.kind == EYE_J_STRING ? v.s.n : 0);
}

static enum eye_status otherwise(SIGNATURE) {
    const struct eye_jvalue *def = eye_jarg(args, 0, "default_value"), *boolean = eye_jarg(args, 1, "boolean");
    (void)r, (void)n;
    bool take = v.kind == EYE_J_UNDEFINED || (boolean && eye_jtruth(*boolean) && !eye_jtruth(v));
    *out = !take ? v : def ? *def : eye_jstring(eye_jliteral(""));
    return EYE_OK;
}

static enum eye_status member(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v, struct eye_jstr path,
                              struct eye_jvalue *out) {
    size_t dot;
    *out = v;
    for (;;) {
        dot = eye_jstr_find(path, eye_jliteral("."), 0);
        struct eye_jvalue key = eye_jstring(eye_jstr_part(path, 0, EYE_MIN(dot, path.n)));
        EYE_TRY(eye_jindex(r, n, *out, key, out));
        if (dot == SIZE_MAX) return EYE_OK;
        path = eye_jstr_part(path, dot + 1, path.n);
    }
}

static enum eye_status join(SIGNATURE) {
    const struct eye_jvalue *between = eye_jarg(args, 0, "d"), *attribute = eye_jarg(args, 1, "attribute");
    struct eye_jlist list;
    struct eye_jstr gap = eye_jliteral("");
    void *part;
    EYE_TRY(eye_jitems(r, n, v, &list));
    if (between) EYE_TRY(eye_jtext(r, n, *between, &gap));
    EYE_TRY(eye_jrun_alloc(r, n, 2 * list.n * sizeof(struct eye_jstr), &part));
    for (size_t i = 0; i < list.n; i++) {
        struct eye_jvalue item = list.item[i];
        if (attribute && attribute->kind == EYE_J_STRING) EYE_TRY(member(r, n, item, attribute->s, &item));
        EYE_TRY(eye_jtext(r, n, item, &((struct eye_jstr *)part)[2 * i]));
        ((struct eye_jstr *)part)[2 * i + 1] = gap;
    }
    out->kind = EYE_J_STRING;
    return eye_jconcat(r, n, part, list.n ? 2 * list.n - 1 : 0, &out->s);
}

static enum eye_status end_item(SIGNATURE) {
    struct eye_jlist list;
    (void)args;
    EYE_TRY(eye_jitems(r, n, v, &list));
    *out = (struct eye_jvalue){.kind = EYE_J_UNDEFINED};
    if (list.n) *out = list.item[eye_jstr_is(n->name, "first") ? 0 : list.n - 1];
    return EYE_OK;
}

static enum eye_status reverse(SIGNATURE) {
    const struct eye_jvalue none = {.kind = EYE_J_NONE}, part[3] = {none, none, eye_jint(-1)};
    (void)args;
    return eye_jslice(r, n, v, part, out);
}

static enum eye_status to_string(SIGNATURE) {
    (void)args;
    out->kind = EYE_J_STRING;
    return eye_jtext(r, n, v, &out->s);
}

static enum eye_status to_number(SIGNATURE) {
    const struct eye_jvalue *def = eye_jarg(args, 0, "default");
    bool whole = eye_jstr_is(n->name, "int");
    char text[40], *end = text;
    double f = v.kind == EYE_J_FLOAT ? v.f : v.kind == EYE_J_BOOL ? v.b : (double)v.i;
    (void)r;
    if (v.kind == EYE_J_STRING && v.s.n < sizeof text) {
        memcpy(text, v.s.p, v.s.n);
        text[v.s.n] = '\0';
        f = strtod(text, &end);
    }
    bool number = v.kind == EYE_J_INT || v.kind == EYE_J_FLOAT || v.kind == EYE_J_BOOL || (end > text && *end == '\0');
    if (!number || !(f > -9e15 && f < 9e15)) { /* beyond what a double counts exactly is no number of a template */
        *out = def ? *def : whole ? eye_jint(0) : (struct eye_jvalue){.kind = EYE_J_FLOAT};
        return EYE_OK;
    }
    *out = whole ? eye_jint((int64_t)f) : (struct eye_jvalue){.kind = EYE_J_FLOAT, .f = f};
    return EYE_OK;
}

static enum eye_status to_list(SIGNATURE) {
    struct eye_jlist list;
    (void)args;
    EYE_TRY(eye_jitems(r, n, v, &list));
    EYE_TRY(eye_jnew_list(r, n, list.n, out));
    if (list.n) memcpy(out->list->item, list.item, list.n * sizeof *list.item);
    return EYE_OK;
}

static enum eye_status unchanged(SIGNATURE) {
    (void)r, (void)n, (void)args;
    *out = v;
    return EYE_OK;
}

static enum eye_status pairs(SIGNATURE) {
    struct eye_jnode call = *n;
    call.name = eye_jliteral("items");
    if (v.kind == EYE_J_UNDEFINED) return eye_jnew_list(r, n, 0, out);
    return eye_jmethod(r, &call, v, args, out);
}

/* args without its first `skip`. */
static struct eye_jargs later(const struct eye_jargs *args, size_t skip) {
    struct eye_jargs rest = {.n = args->n > skip ? args->n - skip : 0};
    for (size_t i = 0; i < rest.n; i++) {
        rest.v[i] = args->v[i + skip];
        rest.key[i] = args->key[i + skip];
    }
    return rest;
}

static enum eye_status map(SIGNATURE) {
    const struct eye_jvalue *attribute = eye_jarg(args, SIZE_MAX, "attribute"), *name = eye_jarg(args, 0, NULL);
    const struct eye_jvalue *def = eye_jarg(args, SIZE_MAX, "default");
    struct eye_jlist list;
    if (attribute ? attribute->kind != EYE_J_STRING : !name || name->kind != EYE_J_STRING)
        return eye_jrun_fail(r, n, EYE_E_ARG, "map: expected attribute=\"NAME\" or a filter's name");
    struct eye_jargs rest = later(args, 1);
    EYE_TRY(eye_jitems(r, n, v, &list));
    EYE_TRY(eye_jnew_list(r, n, list.n, out));
    for (size_t i = 0; i < list.n; i++) {
        struct eye_jvalue *item = &out->list->item[i];
        if (attribute) EYE_TRY(member(r, n, list.item[i], attribute->s, item));
        else EYE_TRY(eye_jfilter(r, n, name->s, list.item[i], &rest, item));
        if (attribute && def && item->kind == EYE_J_UNDEFINED) *item = *def;
    }
    return EYE_OK;
}

/* select, reject, selectattr, rejectattr: by truth, or by a test and its argument. */
static enum eye_status choose(SIGNATURE) {
    bool by_member = eye_jstr_is(n->name, "selectattr") || eye_jstr_is(n->name, "rejectattr");
    bool want = eye_jstr_is(n->name, "select") || eye_jstr_is(n->name, "selectattr");
    const struct eye_jvalue *path = by_member ? eye_jarg(args, 0, NULL) : NULL, *name = eye_jarg(args, by_member, NULL);
    struct eye_jargs rest = later(args, (size_t)by_member + 1);
    struct eye_jlist list;
    if ((by_member && (!path || path->kind != EYE_J_STRING)) || (name && name->kind != EYE_J_STRING))
        return eye_jrun_fail(r, n, EYE_E_ARG, "%.*s: expected a member's or a test's name", (int)n->name.n, n->name.p);
    EYE_TRY(eye_jitems(r, n, v, &list));
    EYE_TRY(eye_jnew_list(r, n, list.n, out));
    out->list->n = 0;
    for (size_t i = 0; i < list.n; i++) {
        struct eye_jvalue item = list.item[i];
        if (path) EYE_TRY(member(r, n, item, path->s, &item));
        bool yes = eye_jtruth(item);
        if (name) EYE_TRY(eye_jtest(r, n, name->s, item, &rest, &yes));
        if (yes == want) out->list->item[out->list->n++] = list.item[i];
    }
    return EYE_OK;
}

/* Each line but the first (and, unless told otherwise, empty ones) moves right. */
static enum eye_status indent(SIGNATURE) {
    const struct eye_jvalue *width = eye_jarg(args, 0, "width"), *first = eye_jarg(args, 1, "first"),
                            *blank = eye_jarg(args, 2, "blank");
    struct eye_jvalue text = {.kind = EYE_J_STRING};
    static const char spaces[65] = "                                                                ";
    int64_t w = width && width->kind == EYE_J_INT ? width->i : 4;
    if (w < 0 || w > 64 || (width && width->kind != EYE_J_INT))
        return eye_jrun_fail(r, n, EYE_E_ARG, "indent: the width is not 0 to 64");
    EYE_TRY(eye_jtext(r, n, v, &text.s));
    struct eye_jstr gap = {spaces, NULL, (size_t)w};
    size_t n_lines = 1, k = 0;
    void *mem;
    for (size_t i = 0; i < text.s.n; i++) n_lines += text.s.p[i] == '\n';
    EYE_TRY(eye_jrun_alloc(r, n, 2 * n_lines * sizeof(struct eye_jstr), &mem));
    struct eye_jstr *part = mem;
    for (size_t from = 0, line = 0; line < n_lines; line++) {
        size_t to = eye_jstr_find(text.s, eye_jliteral("\n"), from);
        bool last = to == SIZE_MAX, move = line > 0 || (first && eye_jtruth(*first));
        to = last ? text.s.n : to;
        if (move && (line == 0 || to > from || (blank && eye_jtruth(*blank)))) part[k++] = gap;
        part[k++] = eye_jstr_part(text.s, from, last ? to : to + 1);
        from = to + 1;
    }
    out->kind = EYE_J_STRING;
    return eye_jconcat(r, n, part, k, &out->s);
}

static const struct { const char *name; enum eye_status (*run)(SIGNATURE); } filters[] = {
    {"trim", as_method}, {"upper", as_method}, {"lower", as_method}, {"capitalize", as_method},
    {"replace", as_method}, {"tojson", to_json}, {"length", length}, {"count", length}, {"default", otherwise},
    {"d", otherwise}, {"join", join}, {"first", end_item}, {"last", end_item}, {"reverse", reverse}, {"string", to_string},
    {"int", to_number}, {"float", to_number}, {"list", to_list}, {"safe", unchanged}, {"items", pairs}, {"map", map},
    {"select", choose}, {"reject", choose}, {"selectattr", choose}, {"rejectattr", choose}, {"indent", indent},
};

enum eye_status eye_jfilter(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jstr name, struct eye_jvalue v,
                            const struct eye_jargs *args, struct eye_jvalue *out) {
    struct eye_jnode call = *n; /* map calls filters by name: they look at their own */
    call.name = name;
    for (size_t i = 0; i < EYE_COUNT(filters); i++)
        if (eye_jstr_is(name, filters[i].name)) return filters[i].run(r, &call, v, args, out);
    return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "the filter \"%.*s\" is not supported", (int)EYE_MIN(name.n, 40), name.p);
}

/* ---- tests ---- */

enum test_name { T_DEFINED, T_UNDEFINED, T_NONE, T_STRING, T_NUMBER, T_INTEGER, T_FLOAT, T_BOOLEAN, T_MAPPING, T_SEQUENCE,
                 T_ITERABLE, T_TRUE, T_FALSE, T_ODD, T_EVEN, T_DIVISIBLE, T_EQUAL, T_NOT_EQUAL, T_IN };
static const struct { const char *name; enum test_name test; } tests[] = {
    {"defined", T_DEFINED}, {"undefined", T_UNDEFINED}, {"none", T_NONE}, {"string", T_STRING}, {"number", T_NUMBER},
    {"integer", T_INTEGER}, {"float", T_FLOAT}, {"boolean", T_BOOLEAN}, {"mapping", T_MAPPING}, {"sequence", T_SEQUENCE},
    {"iterable", T_ITERABLE}, {"true", T_TRUE}, {"false", T_FALSE}, {"odd", T_ODD}, {"even", T_EVEN},
    {"divisibleby", T_DIVISIBLE}, {"equalto", T_EQUAL}, {"eq", T_EQUAL}, {"sameas", T_EQUAL}, {"ne", T_NOT_EQUAL}, {"in", T_IN},
};

static enum eye_status test_of_two(struct eye_jrun *r, const struct eye_jnode *n, enum test_name test, struct eye_jvalue v,
                                   const struct eye_jargs *args, bool *out) {
    const struct eye_jvalue *other = eye_jarg(args, 0, NULL);
    struct eye_jvalue got;
    if (!other) return eye_jrun_fail(r, n, EYE_E_ARG, "the test \"%.*s\" wants an argument", (int)n->name.n, n->name.p);
    if (test == T_DIVISIBLE) {
        EYE_TRY(eye_jbinary(r, n, '%', v, *other, &got));
        *out = !eye_jtruth(got);
        return EYE_OK;
    }
    EYE_TRY(eye_jbinary(r, n, test == T_IN ? EYE_JOP_IN : test == T_EQUAL ? EYE_J2('=', '=') : EYE_J2('!', '='), v, *other,
                        &got));
    *out = got.b;
    return EYE_OK;
}

enum eye_status eye_jtest(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jstr name, struct eye_jvalue v,
                          const struct eye_jargs *args, bool *out) {
    enum eye_jkind k = v.kind;
    size_t i = 0;
    while (i < EYE_COUNT(tests) && !eye_jstr_is(name, tests[i].name)) i++;
    if (i == EYE_COUNT(tests))
        return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "the test \"%.*s\" is not supported", (int)EYE_MIN(name.n, 40), name.p);
    switch (tests[i].test) {
    case T_DEFINED: *out = k != EYE_J_UNDEFINED; return EYE_OK;
    case T_UNDEFINED: *out = k == EYE_J_UNDEFINED; return EYE_OK;
    case T_NONE: *out = k == EYE_J_NONE; return EYE_OK;
    case T_STRING: *out = k == EYE_J_STRING; return EYE_OK;
    case T_NUMBER: *out = k == EYE_J_INT || k == EYE_J_FLOAT || k == EYE_J_BOOL; return EYE_OK;
    case T_INTEGER: *out = k == EYE_J_INT; return EYE_OK;
    case T_FLOAT: *out = k == EYE_J_FLOAT; return EYE_OK;
    case T_BOOLEAN: *out = k == EYE_J_BOOL; return EYE_OK;
    case T_MAPPING: *out = k == EYE_J_DICT; return EYE_OK;
    case T_SEQUENCE: case T_ITERABLE:
        *out = k == EYE_J_STRING || k == EYE_J_LIST || k == EYE_J_DICT || k == EYE_J_UNDEFINED;
        return EYE_OK;
    case T_TRUE: *out = k == EYE_J_BOOL && v.b; return EYE_OK;
    case T_FALSE: *out = k == EYE_J_BOOL && !v.b; return EYE_OK;
    case T_ODD: case T_EVEN:
        if (k != EYE_J_INT) return eye_jrun_fail(r, n, EYE_E_ARG, "odd or even of %s", eye_jkind_name(k));
        *out = (v.i % 2 != 0) == (tests[i].test == T_ODD);
        return EYE_OK;
    default: return test_of_two(r, n, tests[i].test, v, args, out);
    }
}

/* ---- functions ---- */

static enum eye_status raise_exception(struct eye_jrun *r, const struct eye_jnode *n, const struct eye_jargs *args) {
    struct eye_jstr why = eye_jliteral("without a reason");
    char text[256];
    if (args->n) EYE_TRY(eye_jtext(r, n, args->v[0], &why));
    size_t len = EYE_MIN(why.n, sizeof text - 1);
    while (len > 0 && len < why.n && ((uint8_t)why.p[len] & 0xC0) == 0x80) len--;
    for (size_t i = 0; i < len; i++) text[i] = (uint8_t)why.p[i] < 0x20 ? ' ' : why.p[i];
    text[len] = '\0';
    return eye_jrun_fail(r, n, EYE_E_ARG, "the template refuses this conversation: %s", text);
}

enum { MAX_RANGE = 100000 }; /* Jinja's sandbox has the same */

static enum eye_status range(struct eye_jrun *r, const struct eye_jnode *n, const struct eye_jargs *args,
                             struct eye_jvalue *out) {
    int64_t from = 0, to, step = 1;
    for (size_t i = 0; i < args->n; i++)
        if (args->v[i].kind != EYE_J_INT || args->v[i].i > INT32_MAX || args->v[i].i < -INT32_MAX)
            return eye_jrun_fail(r, n, EYE_E_ARG, "range: expected integers of 32 bits");
    if (args->n < 1 || args->n > 3) return eye_jrun_fail(r, n, EYE_E_ARG, "range: %zu arguments, expected 1 to 3", args->n);
    to = args->v[args->n > 1].i;
    if (args->n > 1) from = args->v[0].i;
    if (args->n > 2) step = args->v[2].i;
    if (step == 0) return eye_jrun_fail(r, n, EYE_E_ARG, "range: the step is 0");
    int64_t distance = step > 0 ? to - from : from - to, stride = step > 0 ? step : -step;
    int64_t len = distance <= 0 ? 0 : (distance + stride - 1) / stride;
    if (len > MAX_RANGE) return eye_jrun_fail(r, n, EYE_E_LIMIT, "range: more than %d items", MAX_RANGE);
    EYE_TRY(eye_jnew_list(r, n, (size_t)len, out));
    for (int64_t i = 0; i < len; i++) out->list->item[i] = eye_jint(from + i * step);
    return EYE_OK;
}

/* namespace() and dict(): keywords, after the pairs of one dict. */
static enum eye_status new_dict(struct eye_jrun *r, const struct eye_jnode *n, enum eye_jkind kind,
                                const struct eye_jargs *args,
                                struct eye_jvalue *out) {
    EYE_TRY(eye_jnew_dict(r, n, kind, out));
    for (size_t i = 0; i < args->n; i++) {
        if (args->key[i].p) {
            EYE_TRY(eye_jdict_put(r, n, out->dict, args->key[i], args->v[i]));
        } else if (args->v[i].kind == EYE_J_DICT) {
            const struct eye_jdict *d = args->v[i].dict;
            for (size_t k = 0; k < d->n; k++) EYE_TRY(eye_jdict_put(r, n, out->dict, d->pair[k].key, d->pair[k].value));
        } else {
            return eye_jrun_fail(r, n, EYE_E_ARG, "%.*s: expected NAME=VALUE", (int)n->name.n, n->name.p);
        }
    }
    return EYE_OK;
}

enum eye_status eye_jfunction(struct eye_jrun *r, const struct eye_jnode *n, const struct eye_jargs *args,
                              struct eye_jvalue *out) {
    if (eye_jstr_is(n->name, "raise_exception")) return raise_exception(r, n, args);
    if (eye_jstr_is(n->name, "range")) return range(r, n, args, out);
    if (eye_jstr_is(n->name, "namespace")) return new_dict(r, n, EYE_J_NAMESPACE, args, out);
    if (eye_jstr_is(n->name, "dict")) return new_dict(r, n, EYE_J_DICT, args, out);
    if (eye_jstr_is(n->name, "strftime_now"))
        return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED,
                             "the function \"strftime_now\" is not supported: a prompt does not depend on "
                             "the day");
    return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "the function \"%.*s\" is not supported", (int)EYE_MIN(n->name.n, 40),
                         n->name.p);
}
