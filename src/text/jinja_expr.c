/* jinja, expressions: tokens to a tree, by Jinja's own precedence: if-else, or, and, not, comparisons, + -, ~, * / // %, unary
 * minus, then calls, members, filters and tests, which bind tightest. Recursion is bounded by EYE_JINJA_MAX_DEPTH. */
#include <string.h>

#include "text/jinja_impl.h"

static enum eye_status unary(struct eye_jparser *p, bool with_filter, struct eye_jnode **out);

static enum eye_status binary_node(struct eye_jparser *p, enum eye_jnode_kind kind, int op, size_t at, struct eye_jnode *a,
                                   struct eye_jnode *b, struct eye_jnode **out) {
    EYE_TRY(eye_jparse_node(p, kind, at, out));
    (*out)->op = op;
    (*out)->a = a;
    (*out)->b = b;
    return eye_jparse_done(p, *out);
}

static enum eye_status expect_op(struct eye_jparser *p, int op, const char *what) {
    return eye_jparse_is_op(p, op) ? eye_jparse_advance(p) : eye_jparse_expected(p, what);
}

/* ---- literals ---- */

static enum eye_status constant(struct eye_jparser *p, struct eye_jvalue v, struct eye_jnode **out) {
    EYE_TRY(eye_jparse_node(p, EYE_JN_CONST, p->tok.at, out));
    (*out)->value = v;
    EYE_TRY(eye_jparse_done(p, *out));
    return eye_jparse_advance(p);
}

/* Strings that follow each other are one. */
static enum eye_status string(struct eye_jparser *p, struct eye_jnode **out) {
    EYE_TRY(constant(p, eye_jstring((struct eye_jstr){p->tok.p, NULL, p->tok.len}), out));
    while (p->tok.kind == EYE_JT_STRING) {
        struct eye_jstr *s = &(*out)->value.s;
        char *both = eye_arena_alloc(&p->t->arena, s->n + p->tok.len + 1);
        if (!both) return eye_fail_nomem(p->err, s->n + p->tok.len);
        if (p->t->arena.total_bytes > EYE_JINJA_MAX_MEMORY)
            return eye_jinja_fail(p->t, p->tok.at, p->err, EYE_E_LIMIT, "the template's strings are too long");
        memcpy(both, s->p, s->n);
        memcpy(both + s->n, p->tok.p, p->tok.len);
        *s = (struct eye_jstr){both, NULL, s->n + p->tok.len};
        EYE_TRY(eye_jparse_advance(p));
    }
    return EYE_OK;
}

/* Items up to `close`, which is read; pairs: keys and values in turn. */
static enum eye_status items(struct eye_jparser *p, struct eye_jnode *n, int close, bool pairs) {
    struct eye_jnode **end = &n->list;
    while (!eye_jparse_is_op(p, close)) {
        EYE_TRY(eye_jparse_expr(p, end));
        end = &(*end)->next;
        if (pairs) {
            EYE_TRY(expect_op(p, ':', "\":\" after a dict's key"));
            EYE_TRY(eye_jparse_expr(p, end));
            end = &(*end)->next;
        }
        if (eye_jparse_is_op(p, ',')) EYE_TRY(eye_jparse_advance(p));
        else if (!eye_jparse_is_op(p, close))
            return eye_jparse_expected(p, pairs ? "\",\" or \"}\"" : "\",\" or the closing bracket");
    }
    EYE_TRY(eye_jparse_done(p, n));
    return eye_jparse_advance(p);
}

static enum eye_status bracketed(struct eye_jparser *p, struct eye_jnode **out) {
    int open = p->tok.op;
    size_t at = p->tok.at;
    EYE_TRY(eye_jparse_advance(p));
    if (open == '(') {
        if (!eye_jparse_is_op(p, ')')) {
            EYE_TRY(eye_jparse_tuple(p, true, out));
            return expect_op(p, ')', "\")\"");
        }
        EYE_TRY(eye_jparse_node(p, EYE_JN_LIST, at, out));
        return items(p, *out, ')', false);
    }
    EYE_TRY(eye_jparse_node(p, open == '{' ? EYE_JN_DICT : EYE_JN_LIST, at, out));
    return items(p, *out, open == '{' ? '}' : ']', open == '{');
}

static enum eye_status name(struct eye_jparser *p, struct eye_jnode **out) {
    static const struct { const char *name; struct eye_jvalue v; } known[] = {
        {"true", {.kind = EYE_J_BOOL, .b = true}}, {"True", {.kind = EYE_J_BOOL, .b = true}},
        {"false", {.kind = EYE_J_BOOL}}, {"False", {.kind = EYE_J_BOOL}},
        {"none", {.kind = EYE_J_NONE}}, {"None", {.kind = EYE_J_NONE}},
    };
    static const char *const reserved[] = {"and", "or", "not", "if", "else", "elif", "in", "is", "for"};
    for (size_t i = 0; i < EYE_COUNT(known); i++)
        if (eye_jparse_is_name(p, known[i].name)) return constant(p, known[i].v, out);
    for (size_t i = 0; i < EYE_COUNT(reserved); i++)
        if (eye_jparse_is_name(p, reserved[i])) return eye_jparse_expected(p, "an expression");
    EYE_TRY(eye_jparse_node(p, EYE_JN_NAME, p->tok.at, out));
    (*out)->name = (struct eye_jstr){p->tok.p, NULL, p->tok.len};
    EYE_TRY(eye_jparse_done(p, *out));
    return eye_jparse_advance(p);
}

static enum eye_status primary(struct eye_jparser *p, struct eye_jnode **out) {
    if (p->tok.kind == EYE_JT_NAME) return name(p, out);
    if (p->tok.kind == EYE_JT_STRING) return string(p, out);
    if (p->tok.kind == EYE_JT_INT) return constant(p, eye_jint(p->tok.i), out);
    if (p->tok.kind == EYE_JT_FLOAT) return constant(p, (struct eye_jvalue){.kind = EYE_J_FLOAT, .f = p->tok.f}, out);
    if (eye_jparse_is_op(p, '(') || eye_jparse_is_op(p, '[') || eye_jparse_is_op(p, '{')) return bracketed(p, out);
    return eye_jparse_expected(p, "an expression");
}

/* ---- what follows a value ---- */

/* "(" arguments ")" into n->list. */
static enum eye_status arguments(struct eye_jparser *p, struct eye_jnode *n) {
    struct eye_jnode **end = &n->list;
    size_t n_args = 0;
    struct eye_jtoken after;
    EYE_TRY(eye_jparse_advance(p));
    while (!eye_jparse_is_op(p, ')')) {
        if (++n_args > EYE_JINJA_MAX_ARGS)
            return eye_jinja_fail(p->t, p->tok.at, p->err, EYE_E_UNSUPPORTED, "more than %d arguments", EYE_JINJA_MAX_ARGS);
        EYE_TRY(eye_jparse_peek(p, &after));
        if (p->tok.kind == EYE_JT_NAME && after.kind == EYE_JT_OP && after.op == '=') {
            EYE_TRY(eye_jparse_node(p, EYE_JN_KEYWORD, p->tok.at, end));
            (*end)->name = (struct eye_jstr){p->tok.p, NULL, p->tok.len};
            EYE_TRY(eye_jparse_advance(p));
            EYE_TRY(eye_jparse_advance(p));
            EYE_TRY(eye_jparse_expr(p, &(*end)->a));
            EYE_TRY(eye_jparse_done(p, *end));
        } else {
            EYE_TRY(eye_jparse_expr(p, end));
        }
        end = &(*end)->next;
        if (eye_jparse_is_op(p, ',')) EYE_TRY(eye_jparse_advance(p));
        else if (!eye_jparse_is_op(p, ')')) return eye_jparse_expected(p, "\",\" or \")\"");
    }
    return eye_jparse_advance(p);
}

static enum eye_status undefined(struct eye_jparser *p, struct eye_jnode **out) {
    EYE_TRY(eye_jparse_node(p, EYE_JN_CONST, p->tok.at, out));
    return eye_jparse_done(p, *out);
}

/* What stands in [ ]: an index, or up to three parts of a slice. */
static enum eye_status subscript(struct eye_jparser *p, struct eye_jnode *a, struct eye_jnode **out) {
    struct eye_jnode *n, **end;
    size_t at = p->tok.at;
    EYE_TRY(eye_jparse_advance(p));
    if (!eye_jparse_is_op(p, ':')) {
        EYE_TRY(eye_jparse_expr(p, &n));
        if (eye_jparse_is_op(p, ']')) {
            EYE_TRY(binary_node(p, EYE_JN_INDEX, 0, at, a, n, out));
            return eye_jparse_advance(p);
        }
    } else {
        EYE_TRY(undefined(p, &n));
    }
    EYE_TRY(eye_jparse_node(p, EYE_JN_SLICE, at, out));
    (*out)->a = a;
    (*out)->list = n;
    end = &n->next;
    for (int i = 1; i < 3; i++) {
        bool colon = eye_jparse_is_op(p, ':');
        if (colon) EYE_TRY(eye_jparse_advance(p));
        if (colon && !eye_jparse_is_op(p, ':') && !eye_jparse_is_op(p, ']')) EYE_TRY(eye_jparse_expr(p, end));
        else EYE_TRY(undefined(p, end));
        end = &(*end)->next;
    }
    EYE_TRY(eye_jparse_done(p, *out));
    return expect_op(p, ']', "\"]\"");
}

static enum eye_status member(struct eye_jparser *p, struct eye_jnode *a, struct eye_jnode **out) {
    struct eye_jtoken after;
    EYE_TRY(eye_jparse_advance(p));
    if (p->tok.kind != EYE_JT_NAME) return eye_jparse_expected(p, "a member's name after \".\"");
    EYE_TRY(eye_jparse_peek(p, &after));
    bool call = after.kind == EYE_JT_OP && after.op == '(';
    EYE_TRY(eye_jparse_node(p, call ? EYE_JN_METHOD : EYE_JN_ATTR, p->tok.at, out));
    (*out)->a = a;
    (*out)->name = (struct eye_jstr){p->tok.p, NULL, p->tok.len};
    EYE_TRY(eye_jparse_advance(p));
    if (call) EYE_TRY(arguments(p, *out));
    return eye_jparse_done(p, *out);
}

static enum eye_status call(struct eye_jparser *p, struct eye_jnode *a, struct eye_jnode **out) {
    if (a->kind != EYE_JN_NAME)
        return eye_jinja_fail(p->t, p->tok.at, p->err, EYE_E_UNSUPPORTED,
                              "a call of what an expression gives is not supported, "
                              "only of a name");
    EYE_TRY(eye_jparse_node(p, EYE_JN_CALL, a->at, out));
    (*out)->name = a->name;
    EYE_TRY(arguments(p, *out));
    return eye_jparse_done(p, *out);
}

static enum eye_status postfix(struct eye_jparser *p, struct eye_jnode **out) {
    for (;;) {
        struct eye_jnode *a = *out;
        if (eye_jparse_is_op(p, '.')) EYE_TRY(member(p, a, out));
        else if (eye_jparse_is_op(p, '[')) EYE_TRY(subscript(p, a, out));
        else if (eye_jparse_is_op(p, '(')) EYE_TRY(call(p, a, out));
        else return EYE_OK;
    }
}

static enum eye_status filter(struct eye_jparser *p, struct eye_jnode *a, struct eye_jnode **out) {
    EYE_TRY(eye_jparse_advance(p));
    if (p->tok.kind != EYE_JT_NAME) return eye_jparse_expected(p, "a filter's name after \"|\"");
    EYE_TRY(eye_jparse_node(p, EYE_JN_FILTER, p->tok.at, out));
    (*out)->a = a;
    (*out)->name = (struct eye_jstr){p->tok.p, NULL, p->tok.len};
    EYE_TRY(eye_jparse_advance(p));
    if (eye_jparse_is_op(p, '(')) EYE_TRY(arguments(p, *out));
    return eye_jparse_done(p, *out);
}

/* "is [not] NAME", an argument with or without brackets. */
static enum eye_status test(struct eye_jparser *p, struct eye_jnode *a, struct eye_jnode **out) {
    size_t at = p->tok.at;
    EYE_TRY(eye_jparse_advance(p));
    bool negated = eye_jparse_is_name(p, "not");
    if (negated) EYE_TRY(eye_jparse_advance(p));
    if (p->tok.kind != EYE_JT_NAME) return eye_jparse_expected(p, "a test's name after \"is\"");
    EYE_TRY(eye_jparse_node(p, EYE_JN_TEST, at, out));
    (*out)->a = a;
    (*out)->op = negated;
    (*out)->name = (struct eye_jstr){p->tok.p, NULL, p->tok.len};
    EYE_TRY(eye_jparse_advance(p));
    if (eye_jparse_is_op(p, '(')) {
        EYE_TRY(arguments(p, *out));
    } else if (p->tok.kind == EYE_JT_STRING || p->tok.kind == EYE_JT_INT || p->tok.kind == EYE_JT_FLOAT ||
               eye_jparse_is_op(p, '[') || eye_jparse_is_op(p, '{') ||
               (p->tok.kind == EYE_JT_NAME && !eye_jparse_is_name(p, "else") && !eye_jparse_is_name(p, "or") &&
                !eye_jparse_is_name(p, "and") && !eye_jparse_is_name(p, "if") && !eye_jparse_is_name(p, "is") &&
                !eye_jparse_is_name(p, "in") && !eye_jparse_is_name(p, "not"))) {
        EYE_TRY(primary(p, &(*out)->list));
        EYE_TRY(postfix(p, &(*out)->list));
    }
    return eye_jparse_done(p, *out);
}

static enum eye_status unary_of(struct eye_jparser *p, struct eye_jnode **out) {
    size_t at = p->tok.at;
    bool minus = eye_jparse_is_op(p, '-');
    struct eye_jnode *a;
    EYE_TRY(eye_jparse_advance(p));
    EYE_TRY(unary(p, false, &a));
    return binary_node(p, minus ? EYE_JN_NEG : EYE_JN_POS, 0, at, a, NULL, out);
}

static enum eye_status unary(struct eye_jparser *p, bool with_filter, struct eye_jnode **out) {
    if (++p->depth > EYE_JINJA_MAX_DEPTH)
        return eye_jinja_fail(p->t, p->tok.at, p->err, EYE_E_LIMIT, "nested deeper than %d", EYE_JINJA_MAX_DEPTH);
    if (eye_jparse_is_op(p, '-') || eye_jparse_is_op(p, '+')) EYE_TRY(unary_of(p, out));
    else EYE_TRY(primary(p, out));
    EYE_TRY(postfix(p, out));
    while (with_filter) {
        struct eye_jnode *a = *out;
        if (eye_jparse_is_op(p, '|')) EYE_TRY(filter(p, a, out));
        else if (eye_jparse_is_name(p, "is")) EYE_TRY(test(p, a, out));
        else if (eye_jparse_is_op(p, '(')) EYE_TRY(call(p, a, out));
        else break;
    }
    p->depth--;
    return EYE_OK;
}

/* ---- operators ---- */

/* Levels from the tightest; each joins what the level below gives, from left to right. */
static const int levels[3][5] = {{'*', '/', EYE_J2('/', '/'), '%', 0}, {'~', 0}, {'+', '-', 0}};

static enum eye_status joined(struct eye_jparser *p, int level, struct eye_jnode **out) {
    if (level < 0) return unary(p, true, out);
    EYE_TRY(joined(p, level - 1, out));
    for (;;) {
        struct eye_jnode *a = *out, *b;
        size_t at = p->tok.at;
        const int *op = levels[level];
        while (*op && !eye_jparse_is_op(p, *op)) op++;
        if (!*op) return EYE_OK;
        EYE_TRY(eye_jparse_advance(p));
        EYE_TRY(joined(p, level - 1, &b));
        EYE_TRY(binary_node(p, EYE_JN_BINARY, *op, at, a, b, out));
    }
}

/* The comparison that stands here; 0 = none. "not in" are two tokens. */
static enum eye_status comparison_op(struct eye_jparser *p, int *op) {
    static const int ops[] = {EYE_J2('=', '='), EYE_J2('!', '='), EYE_J2('<', '='), EYE_J2('>', '='), '<', '>'};
    struct eye_jtoken after;
    *op = 0;
    for (size_t i = 0; i < EYE_COUNT(ops); i++)
        if (eye_jparse_is_op(p, ops[i])) *op = ops[i];
    if (eye_jparse_is_name(p, "in")) *op = EYE_JOP_IN;
    if (eye_jparse_is_name(p, "not")) {
        EYE_TRY(eye_jparse_peek(p, &after));
        if (after.kind != EYE_JT_NAME || after.len != 2 || memcmp(after.p, "in", 2) != 0) return EYE_OK;
        *op = EYE_JOP_NOT_IN;
        EYE_TRY(eye_jparse_advance(p));
    }
    return *op ? eye_jparse_advance(p) : EYE_OK;
}

static enum eye_status comparison(struct eye_jparser *p, struct eye_jnode **out) {
    struct eye_jnode *a, *b;
    size_t at = p->tok.at;
    int op;
    EYE_TRY(joined(p, 2, out));
    EYE_TRY(comparison_op(p, &op));
    if (!op) return EYE_OK;
    a = *out;
    EYE_TRY(joined(p, 2, &b));
    EYE_TRY(binary_node(p, EYE_JN_BINARY, op, at, a, b, out));
    at = p->tok.at;
    EYE_TRY(comparison_op(p, &op));
    if (!op) return EYE_OK;
    return eye_jinja_fail(p->t, at, p->err, EYE_E_UNSUPPORTED, "comparisons in a chain are not supported, write \"and\"");
}

static enum eye_status negation(struct eye_jparser *p, struct eye_jnode **out) {
    size_t at = p->tok.at;
    int n_not = 0;
    for (; eye_jparse_is_name(p, "not"); n_not++) EYE_TRY(eye_jparse_advance(p));
    EYE_TRY(comparison(p, out));
    for (; n_not > 0; n_not--) EYE_TRY(binary_node(p, EYE_JN_NOT, 0, at, *out, NULL, out));
    return EYE_OK;
}

static enum eye_status logic(struct eye_jparser *p, bool is_or, struct eye_jnode **out) {
    EYE_TRY(is_or ? logic(p, false, out) : negation(p, out));
    while (eye_jparse_is_name(p, is_or ? "or" : "and")) {
        struct eye_jnode *a = *out, *b;
        size_t at = p->tok.at;
        EYE_TRY(eye_jparse_advance(p));
        EYE_TRY(is_or ? logic(p, false, &b) : negation(p, &b));
        EYE_TRY(binary_node(p, is_or ? EYE_JN_OR : EYE_JN_AND, 0, at, a, b, out));
    }
    return EYE_OK;
}

static enum eye_status expr(struct eye_jparser *p, bool with_condition, struct eye_jnode **out) {
    EYE_TRY(logic(p, true, out));
    while (with_condition && eye_jparse_is_name(p, "if")) {
        struct eye_jnode *a = *out, *b, *c = NULL;
        size_t at = p->tok.at;
        EYE_TRY(eye_jparse_advance(p));
        EYE_TRY(logic(p, true, &b));
        if (eye_jparse_is_name(p, "else")) {
            EYE_TRY(eye_jparse_advance(p));
            if (++p->depth > EYE_JINJA_MAX_DEPTH)
                return eye_jinja_fail(p->t, at, p->err, EYE_E_LIMIT, "nested deeper than %d", EYE_JINJA_MAX_DEPTH);
            EYE_TRY(expr(p, true, &c));
            p->depth--;
        }
        EYE_TRY(eye_jparse_node(p, EYE_JN_COND, at, out));
        (*out)->a = a;
        (*out)->b = b;
        (*out)->c = c;
        EYE_TRY(eye_jparse_done(p, *out));
    }
    return EYE_OK;
}

enum eye_status eye_jparse_expr(struct eye_jparser *p, struct eye_jnode **out) { return expr(p, true, out); }

enum eye_status eye_jparse_tuple(struct eye_jparser *p, bool with_condition, struct eye_jnode **out) {
    size_t at = p->tok.at;
    EYE_TRY(expr(p, with_condition, out));
    if (!eye_jparse_is_op(p, ',')) return EYE_OK;
    struct eye_jnode *first = *out, **end = &first->next;
    EYE_TRY(eye_jparse_node(p, EYE_JN_LIST, at, out));
    (*out)->list = first;
    while (eye_jparse_is_op(p, ',')) {
        EYE_TRY(eye_jparse_advance(p));
        if (p->tok.kind != EYE_JT_NAME && p->tok.kind != EYE_JT_STRING && p->tok.kind != EYE_JT_INT &&
            p->tok.kind != EYE_JT_FLOAT && p->tok.kind != EYE_JT_OP)
            break;
        if (eye_jparse_is_op(p, ')')) break;
        EYE_TRY(expr(p, with_condition, end));
        end = &(*end)->next;
    }
    return eye_jparse_done(p, *out);
}
