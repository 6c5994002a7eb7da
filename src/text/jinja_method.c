/* jinja, methods: those of Python's str and dict that templates call, and loop.cycle. Nothing changes a value in place (append,
 * update): Jinja's sandbox refuses those too. */
#include <string.h>

#include "text/jinja_impl.h"

#define SIGNATURE struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v, const struct eye_jargs *args, \
    struct eye_jvalue *out

static enum eye_status text_arg(struct eye_jrun *r, const struct eye_jnode *n, const struct eye_jargs *args, size_t i,
                                const char *name, struct eye_jstr *out) {
    const struct eye_jvalue *a = eye_jarg(args, i, name);
    *out = (struct eye_jstr){NULL, NULL, 0};
    if (a && a->kind == EYE_J_STRING) {
        *out = a->s;
        return EYE_OK;
    }
    return eye_jrun_fail(r, n, EYE_E_ARG, "%.*s: argument %zu is %s, expected a string", (int)n->name.n, n->name.p, i + 1,
                         a ? eye_jkind_name(a->kind) : "missing");
}

static bool given(const struct eye_jargs *args, size_t i, const char *name) {
    const struct eye_jvalue *a = eye_jarg(args, i, name);
    return a && a->kind != EYE_J_NONE;
}

static enum eye_status strip(SIGNATURE) {
    int ends = eye_jstr_is(n->name, "lstrip") ? 1 : eye_jstr_is(n->name, "rstrip") ? 2 : 3;
    struct eye_jstr chars;
    bool some = given(args, 0, "chars");
    if (some) EYE_TRY(text_arg(r, n, args, 0, "chars", &chars));
    *out = eye_jstring(eye_jstr_strip(v.s, some ? &chars : NULL, ends));
    return eye_jrun_tick(r, n, v.s.n - out->s.n);
}

/* upper, lower, capitalize, title: ASCII. Other letters would need Unicode's tables of cases; none is guessed. */
static enum eye_status change_case(SIGNATURE) {
    bool up = eye_jstr_is(n->name, "upper"), low = eye_jstr_is(n->name, "lower"), title = eye_jstr_is(n->name, "title");
    bool inside = false;
    (void)args;
    EYE_TRY(eye_jconcat(r, n, &v.s, 1, &out->s));
    out->kind = EYE_J_STRING;
    char *p = (char *)(uintptr_t)out->s.p; /* fresh from the arena */
    for (size_t i = 0; i < v.s.n; i++) {
        bool small = p[i] >= 'a' && p[i] <= 'z', big = p[i] >= 'A' && p[i] <= 'Z', first = title ? !inside : i == 0;
        if ((uint8_t)p[i] >= 0x80)
            return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "%.*s of letters outside ASCII is not supported", (int)n->name.n,
                                 n->name.p);
        bool to_up = up || (!low && first);
        if ((to_up && small) || (!to_up && big)) p[i] = (char)(p[i] ^ 0x20);
        inside = small || big;
    }
    return EYE_OK;
}

/* How often at most; SIZE_MAX = no limit. */
static enum eye_status count_arg(struct eye_jrun *r, const struct eye_jnode *n, const struct eye_jargs *args, size_t i,
                                 const char *name, size_t *out) {
    const struct eye_jvalue *a = eye_jarg(args, i, name);
    *out = SIZE_MAX;
    if (!a || a->kind == EYE_J_NONE) return EYE_OK;
    if (a->kind != EYE_J_INT) return eye_jrun_fail(r, n, EYE_E_ARG, "%.*s: %s is no integer", (int)n->name.n, n->name.p, name);
    if (a->i >= 0) *out = (size_t)a->i;
    return EYE_OK;
}

/* Where the next word ends and where the one after it may begin; from right when `back`. */
static size_t white_from(struct eye_jstr s, size_t at, size_t *len) {
    while (at < s.n && !(*len = eye_jinja_space(s.p + at, s.n - at))) {
        do at++;
        while (at < s.n && ((uint8_t)s.p[at] & 0xC0) == 0x80);
    }
    return at;
}

static enum eye_status split_white(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jstr s, struct eye_jvalue *out) {
    size_t len = 0;
    EYE_TRY(eye_jnew_list(r, n, s.n / 2 + 1, out));
    out->list->n = 0;
    for (size_t at = 0; at < s.n;) {
        size_t to = white_from(s, at, &len);
        if (to > at) out->list->item[out->list->n++] = eye_jstring(eye_jstr_part(s, at, to));
        at = to < s.n ? to + len : s.n;
    }
    return EYE_OK;
}

static size_t find_last(struct eye_jstr s, struct eye_jstr what) {
    for (size_t i = s.n - what.n + 1; what.n <= s.n && i-- > 0;)
        if (memcmp(s.p + i, what.p, what.n) == 0) return i;
    return SIZE_MAX;
}

static enum eye_status split(SIGNATURE) {
    bool back = eye_jstr_is(n->name, "rsplit");
    struct eye_jstr s = v.s, sep;
    size_t most, n_parts = 0, at;
    EYE_TRY(count_arg(r, n, args, 1, "maxsplit", &most));
    if (!given(args, 0, "sep")) {
        if (most == SIZE_MAX) return split_white(r, n, s, out);
        return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "split: maxsplit without a separator is not supported");
    }
    EYE_TRY(text_arg(r, n, args, 0, "sep", &sep));
    if (sep.n == 0) return eye_jrun_fail(r, n, EYE_E_ARG, "split: the separator is empty");
    EYE_TRY(eye_jrun_tick(r, n, s.n));
    for (size_t i = 0; (i = eye_jstr_find(s, sep, i)) != SIZE_MAX; i += sep.n) n_parts++;
    n_parts = EYE_MIN(n_parts, most) + 1;
    EYE_TRY(eye_jnew_list(r, n, n_parts, out));
    for (size_t i = 0; i + 1 < n_parts; i++) {
        at = back ? find_last(s, sep) : eye_jstr_find(s, sep, 0);
        out->list->item[back ? n_parts - 1 - i : i] = eye_jstring(back ? eye_jstr_part(s, at + sep.n, s.n)
                                                                  : eye_jstr_part(s, 0, at));
        s = back ? eye_jstr_part(s, 0, at) : eye_jstr_part(s, at + sep.n, s.n);
    }
    out->list->item[back ? 0 : n_parts - 1] = eye_jstring(s);
    return EYE_OK;
}

static enum eye_status split_lines(SIGNATURE) {
    size_t n_lines = 0, from = 0;
    if (args->n) return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "splitlines: arguments are not supported");
    for (size_t i = 0; i < v.s.n; i++) n_lines += v.s.p[i] == '\n';
    EYE_TRY(eye_jnew_list(r, n, n_lines + 1, out));
    for (n_lines = 0; from < v.s.n; n_lines++) {
        size_t to = EYE_MIN(eye_jstr_find(v.s, eye_jliteral("\n"), from), v.s.n);
        struct eye_jstr line = eye_jstr_part(v.s, from, to);
        if (to < v.s.n && line.n && line.p[line.n - 1] == '\r') line.n--;
        out->list->item[n_lines] = eye_jstring(line);
        from = to + 1;
    }
    out->list->n = n_lines;
    return EYE_OK;
}

static enum eye_status at_end(SIGNATURE) {
    const struct eye_jvalue *a = eye_jarg(args, 0, NULL);
    bool start = eye_jstr_is(n->name, "startswith");
    size_t n_any = a && a->kind == EYE_J_LIST ? a->list->n : 1;
    struct eye_jstr s;
    *out = eye_jbool(false);
    for (size_t i = 0; i < n_any; i++) {
        struct eye_jargs one = {.v = {a && a->kind == EYE_J_LIST ? a->list->item[i] : a ? *a : eye_jnone()}, .n = 1};
        EYE_TRY(text_arg(r, n, &one, 0, NULL, &s));
        if (s.n <= v.s.n && (s.n == 0 || memcmp(start ? v.s.p : v.s.p + v.s.n - s.n, s.p, s.n) == 0)) out->b = true;
    }
    return EYE_OK;
}

static enum eye_status without(SIGNATURE) {
    struct eye_jstr s;
    bool start = eye_jstr_is(n->name, "removeprefix");
    EYE_TRY(text_arg(r, n, args, 0, NULL, &s));
    *out = v;
    if (s.n > v.s.n || s.n == 0 || memcmp(start ? v.s.p : v.s.p + v.s.n - s.n, s.p, s.n) != 0) return EYE_OK;
    out->s = start ? eye_jstr_part(v.s, s.n, v.s.n) : eye_jstr_part(v.s, 0, v.s.n - s.n);
    return EYE_OK;
}

static enum eye_status replace(SIGNATURE) {
    struct eye_jstr from, to;
    size_t most, hits = 0, k = 0, at = 0;
    void *mem;
    EYE_TRY(text_arg(r, n, args, 0, "old", &from));
    EYE_TRY(text_arg(r, n, args, 1, "new", &to));
    EYE_TRY(count_arg(r, n, args, 2, "count", &most));
    if (from.n == 0) return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "replace: an empty text is not supported");
    EYE_TRY(eye_jrun_tick(r, n, v.s.n));
    for (size_t i = 0; (i = eye_jstr_find(v.s, from, i)) != SIZE_MAX; i += from.n) hits++;
    hits = EYE_MIN(hits, most);
    EYE_TRY(eye_jrun_alloc(r, n, (2 * hits + 1) * sizeof(struct eye_jstr), &mem));
    struct eye_jstr *part = mem;
    for (; hits > 0; hits--) {
        size_t hit = eye_jstr_find(v.s, from, at);
        part[k++] = eye_jstr_part(v.s, at, hit);
        part[k++] = to;
        at = hit + from.n;
    }
    part[k++] = eye_jstr_part(v.s, at, v.s.n);
    out->kind = EYE_J_STRING;
    return eye_jconcat(r, n, part, k, &out->s);
}

static enum eye_status find(SIGNATURE) {
    struct eye_jstr what;
    EYE_TRY(text_arg(r, n, args, 0, NULL, &what));
    if (args->n > 1) return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "find: a second argument is not supported");
    EYE_TRY(eye_jrun_tick(r, n, v.s.n));
    size_t at = eye_jstr_find(v.s, what, 0);
    *out = eye_jint(at == SIZE_MAX ? -1 : (int64_t)eye_jstr_points(eye_jstr_part(v.s, 0, at)));
    return EYE_OK;
}

static enum eye_status count(SIGNATURE) {
    struct eye_jstr what;
    int64_t hits = 0;
    EYE_TRY(text_arg(r, n, args, 0, NULL, &what));
    if (what.n == 0) return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "count: an empty text is not supported");
    EYE_TRY(eye_jrun_tick(r, n, v.s.n));
    for (size_t i = 0; (i = eye_jstr_find(v.s, what, i)) != SIZE_MAX; i += what.n) hits++;
    *out = eye_jint(hits);
    return EYE_OK;
}

static enum eye_status join(SIGNATURE) {
    struct eye_jnode call = *n;
    struct eye_jargs by = {.v = {v}, .n = 1};
    if (args->n != 1) return eye_jrun_fail(r, n, EYE_E_ARG, "join: expected one list");
    call.name = eye_jliteral("join");
    return eye_jfilter(r, &call, call.name, args->v[0], &by, out);
}

static enum eye_status is_digit(SIGNATURE) {
    (void)args;
    *out = eye_jbool(v.s.n > 0);
    for (size_t i = 0; i < v.s.n; i++) out->b &= v.s.p[i] >= '0' && v.s.p[i] <= '9';
    return eye_jrun_tick(r, n, v.s.n);
}

static const struct { const char *name; enum eye_status (*run)(SIGNATURE); } of_text[] = {
    {"strip", strip}, {"lstrip", strip}, {"rstrip", strip}, {"upper", change_case}, {"lower", change_case},
    {"capitalize", change_case}, {"title", change_case}, {"split", split}, {"rsplit", split}, {"splitlines", split_lines},
    {"startswith", at_end}, {"endswith", at_end}, {"removeprefix", without}, {"removesuffix", without}, {"replace", replace},
    {"find", find}, {"count", count}, {"join", join}, {"isdigit", is_digit},
};

/* ---- dicts ---- */

static enum eye_status dict_method(SIGNATURE) {
    const struct eye_jdict *d = v.dict;
    bool keys = eye_jstr_is(n->name, "keys"), items = eye_jstr_is(n->name, "items"), values = eye_jstr_is(n->name, "values");
    struct eye_jstr key;
    if (eye_jstr_is(n->name, "get")) {
        const struct eye_jvalue *def = eye_jarg(args, 1, "default");
        EYE_TRY(text_arg(r, n, args, 0, "key", &key));
        const struct eye_jvalue *found = eye_jdict_get(d, key);
        *out = found ? *found : def ? *def : eye_jnone();
        return EYE_OK;
    }
    const struct eye_jvalue *index0 = eye_jdict_get(d, eye_jliteral("index0"));
    if (eye_jstr_is(n->name, "cycle") && index0 && index0->kind == EYE_J_INT && args->n) { /* loop.cycle */
        *out = args->v[(size_t)index0->i % args->n];
        return EYE_OK;
    }
    if (!keys && !items && !values)
        return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "the method \"%.*s\" of a dict is not supported",
                             (int)EYE_MIN(n->name.n, 40),
                             n->name.p);
    EYE_TRY(eye_jnew_list(r, n, d->n, out));
    for (size_t i = 0; i < d->n; i++) {
        struct eye_jvalue *item = &out->list->item[i];
        *item = values ? d->pair[i].value : eye_jstring(d->pair[i].key);
        if (!items) continue;
        EYE_TRY(eye_jnew_list(r, n, 2, item));
        item->list->item[0] = eye_jstring(d->pair[i].key);
        item->list->item[1] = d->pair[i].value;
    }
    return EYE_OK;
}

enum eye_status eye_jmethod(SIGNATURE) {
    int len = (int)EYE_MIN(n->name.n, 40);
    if (v.kind == EYE_J_DICT || v.kind == EYE_J_NAMESPACE) return dict_method(r, n, v, args, out);
    if (v.kind != EYE_J_STRING)
        return eye_jrun_fail(r, n, v.kind == EYE_J_LIST ? EYE_E_UNSUPPORTED : EYE_E_ARG, "the method \"%.*s\" of %s%s", len,
                             n->name.p, eye_jkind_name(v.kind), v.kind == EYE_J_LIST ? " is not supported" : "");
    for (size_t i = 0; i < EYE_COUNT(of_text); i++)
        if (eye_jstr_is(n->name, of_text[i].name)) return of_text[i].run(r, n, v, args, out);
    return eye_jrun_fail(r, n, EYE_E_UNSUPPORTED, "the method \"%.*s\" of a string is not supported", len, n->name.p);
}
