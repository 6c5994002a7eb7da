/* jinja, evaluator: walks the tree. A loop and a macro have a scope of their own that ends with them, an if has none.
 * Recursion is bounded by EYE_JINJA_MAX_CALLS, work by steps. */
#include <string.h>

#include "text/jinja_impl.h"
#include "text/unicode.h"

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

struct place { /* where a statement stands */
    struct eye_jrun *r;
    struct eye_jscope *scope;
    enum flow flow; /* set by break and continue, taken by the loop around them */
};

static enum eye_status eval(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out);
static enum eye_status exec(struct place *at, const struct eye_jnode *n);

static const struct eye_jvalue *lookup(const struct eye_jscope *s, struct eye_jstr name) {
    const struct eye_jvalue *v = NULL;
    for (; s && !v; s = s->parent) v = eye_jdict_get(&s->vars, name);
    return v;
}

/* ---- output ---- */

static enum eye_status write_text(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jstr s) {
    static const uint8_t plain[256];
    r->written += s.n;
    if (r->written > EYE_JINJA_MAX_MEMORY)
        return eye_jrun_fail(r, n, EYE_E_LIMIT, "the template writes more than %zu bytes", EYE_JINJA_MAX_MEMORY);
    EYE_TRY(eye_jrun_tick(r, n, s.n));
    eye_buf_add(&r->to->text, s.p, s.n);
    if (s.origin) eye_buf_add(&r->to->origin, s.origin, s.n);
    for (size_t i = 0; !s.origin && i < s.n; i += sizeof plain)
        eye_buf_add(&r->to->origin, plain, EYE_MIN(sizeof plain, s.n - i));
    return r->to->text.failed || r->to->origin.failed ? eye_fail_nomem(r->err, s.n) : EYE_OK;
}

static void out_init(struct eye_jout *o, const struct eye_alloc *alloc) {
    eye_buf_init(&o->text, alloc);
    eye_buf_init(&o->origin, alloc);
}

static void out_clear(struct eye_jout *o) {
    eye_buf_clear(&o->text);
    eye_buf_clear(&o->origin);
}

/* What the statements write, as a string. */
static enum eye_status collect(struct place *at, const struct eye_jnode *n, const struct eye_jnode *list,
                               struct eye_jvalue *out) {
    struct eye_jrun *r = at->r;
    struct eye_jout here, *before = r->to;
    out_init(&here, r->arena.alloc);
    r->to = &here;
    enum eye_status st = exec(at, list);
    r->to = before;
    struct eye_jstr part = {here.text.p, (const uint8_t *)here.origin.p, here.text.len};
    out->kind = EYE_J_STRING;
    if (st == EYE_OK) st = eye_jconcat(r, n, &part, 1, &out->s);
    out_clear(&here);
    return st;
}

/* ---- expressions ---- */

static enum eye_status arguments(struct place *at, const struct eye_jnode *list, struct eye_jargs *out) {
    out->n = 0;
    for (const struct eye_jnode *k = list; k; k = k->next) {
        bool keyword = k->kind == EYE_JN_KEYWORD;
        out->key[out->n] = keyword ? k->name : (struct eye_jstr){NULL, NULL, 0};
        EYE_TRY(eval(at, keyword ? k->a : k, &out->v[out->n]));
        out->n++;
    }
    return EYE_OK;
}

static enum eye_status call_macro(struct place *at, const struct eye_jnode *n, const struct eye_jnode *macro,
                                  const struct eye_jargs *args, struct eye_jvalue *out) {
    struct eye_jscope scope = {.parent = at->r->global};
    struct place inside = {.r = at->r, .scope = &scope};
    size_t i = 0;
    for (const struct eye_jnode *p = macro->names; p; p = p->next, i++) {
        struct eye_jvalue v = {.kind = EYE_J_UNDEFINED};
        const struct eye_jvalue *given = NULL;
        for (size_t k = 0; k < args->n && !given; k++)
            if (args->key[k].p ? eye_jstr_equal(args->key[k], p->name) : k == i) given = &args->v[k];
        if (given) v = *given;
        else if (p->a) EYE_TRY(eval(&inside, p->a, &v));
        EYE_TRY(eye_jdict_put(at->r, n, &scope.vars, p->name, v));
    }
    if (args->n > i) return eye_jrun_fail(at->r, n, EYE_E_ARG, "%zu arguments, the macro takes %zu", args->n, i);
    return collect(&inside, n, macro->list, out);
}

static enum eye_status call(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out) {
    const struct eye_jvalue *v = lookup(at->scope, n->name);
    struct eye_jargs args;
    EYE_TRY(arguments(at, n->list, &args));
    if (!v) return eye_jfunction(at->r, n, &args, out);
    if (v->kind == EYE_J_MACRO) return call_macro(at, n, v->macro, &args, out);
    return eye_jrun_fail(at->r, n, EYE_E_ARG, "%.*s is %s and cannot be called", (int)EYE_MIN(n->name.n, 40), n->name.p,
                         eye_jkind_name(v->kind));
}

static enum eye_status new_list(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out) {
    size_t len = 0;
    for (const struct eye_jnode *k = n->list; k; k = k->next) len++;
    EYE_TRY(eye_jnew_list(at->r, n, len, out));
    len = 0;
    for (const struct eye_jnode *k = n->list; k; k = k->next) EYE_TRY(eval(at, k, &out->list->item[len++]));
    return EYE_OK;
}

static enum eye_status new_dict(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out) {
    struct eye_jvalue key, v;
    EYE_TRY(eye_jnew_dict(at->r, n, EYE_J_DICT, out));
    for (const struct eye_jnode *k = n->list; k; k = k->next->next) {
        EYE_TRY(eval(at, k, &key));
        if (key.kind != EYE_J_STRING)
            return eye_jrun_fail(at->r, k, EYE_E_UNSUPPORTED, "a dict's key is %s, only strings are supported",
                                 eye_jkind_name(key.kind));
        EYE_TRY(eval(at, k->next, &v));
        EYE_TRY(eye_jdict_put(at->r, n, out->dict, key.s, v));
    }
    return EYE_OK;
}

static enum eye_status slice(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out) {
    struct eye_jvalue of, part[3];
    size_t i = 0;
    EYE_TRY(eval(at, n->a, &of));
    for (const struct eye_jnode *k = n->list; k; k = k->next) EYE_TRY(eval(at, k, &part[i++]));
    return eye_jslice(at->r, n, of, part, out);
}

/* A member of an undefined value is an error, as in Python: else a misspelt name would pass in silence. */
static enum eye_status attribute(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out) {
    struct eye_jvalue of;
    EYE_TRY(eval(at, n->a, &of));
    if (of.kind == EYE_J_UNDEFINED)
        return eye_jrun_fail(at->r, n, EYE_E_ARG, "the member \"%.*s\" of an undefined value", (int)EYE_MIN(n->name.n, 40),
                             n->name.p);
    *out = eye_jattr(of, n->name);
    return EYE_OK;
}

static enum eye_status negative(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out) {
    struct eye_jvalue v;
    EYE_TRY(eval(at, n->a, &v));
    return eye_jbinary(at->r, n, n->kind == EYE_JN_NEG ? '-' : '+', eye_jint(0), v, out);
}

/* Calls, filters and tests: what they are about, then their arguments. */
static enum eye_status applied(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out) {
    struct eye_jvalue v;
    struct eye_jargs args;
    bool yes;
    EYE_TRY(eval(at, n->a, &v));
    EYE_TRY(arguments(at, n->list, &args));
    if (n->kind == EYE_JN_METHOD) return eye_jmethod(at->r, n, v, &args, out);
    if (n->kind == EYE_JN_FILTER) return eye_jfilter(at->r, n, n->name, v, &args, out);
    EYE_TRY(eye_jtest(at->r, n, n->name, v, &args, &yes));
    *out = eye_jbool(yes != (n->op != 0));
    return EYE_OK;
}

static enum eye_status two(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out) {
    struct eye_jvalue a, b;
    EYE_TRY(eval(at, n->a, &a));
    if ((n->kind == EYE_JN_AND || n->kind == EYE_JN_OR) && eye_jtruth(a) == (n->kind == EYE_JN_OR)) {
        *out = a;
        return EYE_OK;
    }
    EYE_TRY(eval(at, n->b, &b));
    if (n->kind == EYE_JN_INDEX) return eye_jindex(at->r, n, a, b, out);
    if (n->kind == EYE_JN_BINARY) return eye_jbinary(at->r, n, n->op, a, b, out);
    *out = b;
    return EYE_OK;
}

static enum eye_status eval_kind(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out) {
    const struct eye_jvalue *v;
    struct eye_jvalue yes;
    switch (n->kind) {
    case EYE_JN_CONST: *out = n->value; return EYE_OK;
    case EYE_JN_NAME:
        v = lookup(at->scope, n->name);
        *out = v ? *v : (struct eye_jvalue){.kind = EYE_J_UNDEFINED};
        return EYE_OK;
    case EYE_JN_LIST: return new_list(at, n, out);
    case EYE_JN_DICT: return new_dict(at, n, out);
    case EYE_JN_ATTR: return attribute(at, n, out);
    case EYE_JN_SLICE: return slice(at, n, out);
    case EYE_JN_CALL: return call(at, n, out);
    case EYE_JN_METHOD: case EYE_JN_FILTER: case EYE_JN_TEST: return applied(at, n, out);
    case EYE_JN_NEG: case EYE_JN_POS: return negative(at, n, out);
    case EYE_JN_NOT:
        EYE_TRY(eval(at, n->a, &yes));
        *out = eye_jbool(!eye_jtruth(yes));
        return EYE_OK;
    case EYE_JN_COND:
        EYE_TRY(eval(at, n->b, &yes));
        *out = (struct eye_jvalue){.kind = EYE_J_UNDEFINED};
        return eye_jtruth(yes) ? eval(at, n->a, out) : n->c ? eval(at, n->c, out) : EYE_OK;
    default: return two(at, n, out);
    }
}

static enum eye_status eval(struct place *at, const struct eye_jnode *n, struct eye_jvalue *out) {
    struct eye_jrun *r = at->r;
    EYE_TRY(eye_jrun_tick(r, n, 0));
    if (++r->calls > EYE_JINJA_MAX_CALLS)
        return eye_jrun_fail(r, n, EYE_E_LIMIT, "more than %d evaluations inside each other", EYE_JINJA_MAX_CALLS);
    EYE_TRY(eval_kind(at, n, out));
    r->calls--;
    return EYE_OK;
}

/* ---- statements ---- */

static enum eye_status assign(struct place *at, const struct eye_jnode *n, const struct eye_jnode *names, struct eye_jvalue v,
                              struct eye_jscope *scope) {
    struct eye_jlist items;
    size_t i = 0;
    if (!names->next) return eye_jdict_put(at->r, n, &scope->vars, names->name, v);
    EYE_TRY(eye_jitems(at->r, n, v, &items));
    for (const struct eye_jnode *k = names; k; k = k->next, i++)
        if (i < items.n) EYE_TRY(eye_jdict_put(at->r, n, &scope->vars, k->name, items.item[i]));
    return i == items.n ? EYE_OK : eye_jrun_fail(at->r, n, EYE_E_ARG, "%zu values for %zu names", items.n, i);
}

static enum eye_status set(struct place *at, const struct eye_jnode *n) {
    struct eye_jvalue v;
    if (n->a) EYE_TRY(eval(at, n->a, &v));
    else EYE_TRY(collect(at, n, n->list, &v));
    if (!n->attr) return assign(at, n, n->names, v, at->scope);
    const struct eye_jvalue *of = lookup(at->scope, n->names->name);
    if (!of || of->kind != EYE_J_NAMESPACE)
        return eye_jrun_fail(at->r, n, EYE_E_ARG, "%.*s is %s, only a namespace's members can be set",
                             (int)EYE_MIN(n->names->name.n, 40), n->names->name.p,
                             eye_jkind_name(of ? of->kind : EYE_J_UNDEFINED));
    return eye_jdict_put(at->r, n, of->dict, (struct eye_jstr){n->attr, NULL, n->n_attr}, v);
}

static enum eye_status describe_loop(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jdict *loop,
                                     const struct eye_jlist *items, size_t i) {
    const struct eye_jvalue none = {.kind = EYE_J_UNDEFINED};
    const struct { const char *name; struct eye_jvalue v; } member[] = {
        {"index", eye_jint((int64_t)i + 1)}, {"index0", eye_jint((int64_t)i)}, {"first", eye_jbool(i == 0)},
        {"last", eye_jbool(i + 1 == items->n)}, {"length", eye_jint((int64_t)items->n)},
        {"revindex", eye_jint((int64_t)(items->n - i))}, {"revindex0", eye_jint((int64_t)(items->n - i) - 1)},
        {"previtem", i > 0 ? items->item[i - 1] : none}, {"nextitem", i + 1 < items->n ? items->item[i + 1] : none},
    };
    for (size_t k = 0; k < EYE_COUNT(member); k++)
        EYE_TRY(eye_jdict_put(r, n, loop, eye_jliteral(member[k].name), member[k].v));
    return EYE_OK;
}

/* Items that the loop's "if" lets through. */
static enum eye_status filter_items(struct place *at, const struct eye_jnode *n, struct eye_jlist *items) {
    struct eye_jvalue kept, yes;
    EYE_TRY(eye_jnew_list(at->r, n, items->n, &kept));
    kept.list->n = 0;
    for (size_t i = 0; i < items->n; i++) {
        struct eye_jscope scope = {.parent = at->scope};
        struct place inside = {.r = at->r, .scope = &scope};
        EYE_TRY(assign(at, n, n->names, items->item[i], &scope));
        EYE_TRY(eval(&inside, n->b, &yes));
        if (eye_jtruth(yes)) kept.list->item[kept.list->n++] = items->item[i];
    }
    *items = *kept.list;
    return EYE_OK;
}

static enum eye_status loop(struct place *at, const struct eye_jnode *n) {
    struct eye_jvalue over, about;
    struct eye_jlist items;
    EYE_TRY(eval(at, n->a, &over));
    EYE_TRY(eye_jitems(at->r, n, over, &items));
    if (n->b) EYE_TRY(filter_items(at, n, &items));
    EYE_TRY(eye_jnew_dict(at->r, n, EYE_J_DICT, &about));
    for (size_t i = 0; i < items.n; i++) {
        struct eye_jscope scope = {.parent = at->scope};
        struct place inside = {.r = at->r, .scope = &scope};
        EYE_TRY(eye_jrun_tick(at->r, n, 0));
        EYE_TRY(describe_loop(at->r, n, about.dict, &items, i));
        EYE_TRY(eye_jdict_put(at->r, n, &scope.vars, eye_jliteral("loop"), about));
        EYE_TRY(assign(at, n, n->names, items.item[i], &scope));
        EYE_TRY(exec(&inside, n->list));
        if (inside.flow == FLOW_BREAK) break;
    }
    return items.n == 0 && n->c ? exec(at, n->c->list) : EYE_OK;
}

static enum eye_status branch(struct place *at, const struct eye_jnode *n) {
    for (const struct eye_jnode *k = n->list; k; k = k->next) {
        struct eye_jvalue yes = eye_jbool(true);
        if (k->a) EYE_TRY(eval(at, k->a, &yes));
        if (eye_jtruth(yes)) return exec(at, k->list);
    }
    return EYE_OK;
}

static enum eye_status print(struct place *at, const struct eye_jnode *n) {
    struct eye_jvalue v;
    struct eye_jstr text;
    EYE_TRY(eval(at, n->a, &v));
    EYE_TRY(eye_jtext(at->r, n, v, &text));
    return write_text(at->r, n, text);
}

static enum eye_status statement(struct place *at, const struct eye_jnode *n) {
    switch (n->kind) {
    case EYE_JN_TEXT: return write_text(at->r, n, n->value.s);
    case EYE_JN_PRINT: return print(at, n);
    case EYE_JN_IF: return branch(at, n);
    case EYE_JN_FOR: return loop(at, n);
    case EYE_JN_SET: return set(at, n);
    case EYE_JN_GROUP: return exec(at, n->list);
    case EYE_JN_BREAK: at->flow = FLOW_BREAK; return EYE_OK;
    case EYE_JN_CONTINUE: at->flow = FLOW_CONTINUE; return EYE_OK;
    default: /* MACRO */
        return eye_jdict_put(at->r, n, &at->scope->vars, n->name, (struct eye_jvalue){.kind = EYE_J_MACRO, .macro = n});
    }
}

/* n and all after it. */
static enum eye_status exec(struct place *at, const struct eye_jnode *n) {
    struct eye_jrun *r = at->r;
    if (n && ++r->calls > EYE_JINJA_MAX_CALLS)
        return eye_jrun_fail(r, n, EYE_E_LIMIT, "more than %d evaluations inside each other", EYE_JINJA_MAX_CALLS);
    for (const struct eye_jnode *k = n; k && at->flow == FLOW_ON; k = k->next) {
        EYE_TRY(eye_jrun_tick(r, k, 0));
        EYE_TRY(statement(at, k));
    }
    if (n) r->calls--;
    return EYE_OK;
}

/* ---- a rendering ---- */

void eye_jinja_run_init(struct eye_jrun *r, const struct eye_jinja *t, const struct eye_alloc *alloc) {
    *r = (struct eye_jrun){.t = t};
    eye_arena_init(&r->arena, alloc);
    out_init(&r->out, alloc);
}

void eye_jinja_run_clear(struct eye_jrun *r) {
    eye_arena_clear(&r->arena);
    out_clear(&r->out);
}

static const struct eye_jnode nowhere; /* for errors while values are made */

enum eye_status eye_jinja_str(struct eye_jrun *r, const char *text, size_t n, enum eye_origin origin, struct eye_jvalue *out,
                              struct eye_err *err) {
    struct eye_buf valid;
    void *p = NULL, *o = NULL;
    r->err = err;
    eye_buf_init(&valid, r->arena.alloc);
    eye_utf8_lossy((const uint8_t *)text, n, &valid);
    enum eye_status st = valid.failed ? eye_fail_nomem(err, n) : eye_jrun_alloc(r, &nowhere, valid.len, &p);
    if (st == EYE_OK && origin != EYE_ORIGIN_TEMPLATE) st = eye_jrun_alloc(r, &nowhere, valid.len, &o);
    if (st == EYE_OK) {
        if (valid.len) memcpy(p, valid.p, valid.len);
        if (o) memset(o, (int)origin, valid.len);
        *out = eye_jstring((struct eye_jstr){p, o, valid.len});
    }
    eye_buf_clear(&valid);
    return st;
}

enum eye_status eye_jinja_list(struct eye_jrun *r, size_t n, struct eye_jvalue *out, struct eye_err *err) {
    r->err = err;
    return eye_jnew_list(r, &nowhere, n, out);
}

enum eye_status eye_jinja_dict(struct eye_jrun *r, struct eye_jvalue *out, struct eye_err *err) {
    r->err = err;
    return eye_jnew_dict(r, &nowhere, EYE_J_DICT, out);
}

enum eye_status eye_jinja_put(struct eye_jrun *r, struct eye_jvalue *dict, const char *key, struct eye_jvalue v,
                              struct eye_err *err) {
    r->err = err;
    return eye_jdict_put(r, &nowhere, dict->dict, eye_jliteral(key), v);
}

enum eye_status eye_jinja_set(struct eye_jrun *r, const char *name, struct eye_jvalue v, struct eye_err *err) {
    void *scope = r->global;
    r->err = err;
    if (!scope) EYE_TRY(eye_jrun_alloc(r, &nowhere, sizeof *r->global, &scope));
    r->global = scope;
    return eye_jdict_put(r, &nowhere, &r->global->vars, eye_jliteral(name), v);
}

enum eye_status eye_jinja_render(struct eye_jrun *r, struct eye_err *err) {
    struct eye_jscope top = {.parent = NULL};
    r->err = err;
    if (!r->global) r->global = &top;
    r->to = &r->out;
    struct place at = {.r = r, .scope = r->global};
    enum eye_status st = exec(&at, r->t->body);
    if (r->global == &top) r->global = NULL;
    return st;
}
