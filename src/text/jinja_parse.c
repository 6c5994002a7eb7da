/* jinja, statements: the parser's ground and the tags {% ... %}. A statement that is not in the subset is refused by name here;
 * filters, tests and functions are looked up when they are met, since templates carry branches (tools, documents) that a
 * conversation never enters. */
#include <string.h>

#include "text/jinja_impl.h"
#include "text/unicode.h"

/* ---- ground ---- */

enum eye_status eye_jparse_advance(struct eye_jparser *p) { return eye_jinja_next(&p->lx, &p->tok, p->err); }

enum eye_status eye_jparse_peek(const struct eye_jparser *p, struct eye_jtoken *out) {
    struct eye_jlexer ahead = p->lx;
    return eye_jinja_next(&ahead, out, p->err);
}

bool eye_jparse_is_name(const struct eye_jparser *p, const char *name) {
    return p->tok.kind == EYE_JT_NAME && p->tok.len == strlen(name) && memcmp(p->tok.p, name, p->tok.len) == 0;
}

bool eye_jparse_is_op(const struct eye_jparser *p, int op) { return p->tok.kind == EYE_JT_OP && p->tok.op == op; }

enum eye_status eye_jparse_expected(struct eye_jparser *p, const char *what) {
    const struct eye_jtoken *t = &p->tok;
    if (t->kind == EYE_JT_END)
        return eye_jinja_fail(p->t, t->at, p->err, EYE_E_CORRUPT, "got the end of the template, expected %s", what);
    if (t->kind == EYE_JT_TEXT) return eye_jinja_fail(p->t, t->at, p->err, EYE_E_CORRUPT, "got text, expected %s", what);
    char got[48];
    size_t n = EYE_MIN(t->n, sizeof got - 1);
    while (n > 0 && n < t->n && ((uint8_t)p->t->src[t->at + n] & 0xC0) == 0x80) n--;
    memcpy(got, p->t->src + t->at, n);
    got[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)got[i] < 0x20) got[i] = ' ';
    return eye_jinja_fail(p->t, t->at, p->err, EYE_E_CORRUPT, "got %s, expected %s", got, what);
}

enum eye_status eye_jparse_node(struct eye_jparser *p, enum eye_jnode_kind kind, size_t at, struct eye_jnode **out) {
    if (++p->t->n_nodes > EYE_JINJA_MAX_NODES)
        return eye_jinja_fail(p->t, at, p->err, EYE_E_LIMIT, "the template has more than %d nodes", EYE_JINJA_MAX_NODES);
    struct eye_jnode *n = eye_arena_alloc(&p->t->arena, sizeof *n);
    if (!n) return eye_fail_nomem(p->err, sizeof *n);
    n->kind = (uint8_t)kind;
    n->at = at;
    *out = n;
    return EYE_OK;
}

enum eye_status eye_jparse_done(struct eye_jparser *p, struct eye_jnode *n) {
    const struct eye_jnode *const head[] = {n->a, n->b, n->c, n->list, n->names};
    n->depth = 0;
    for (size_t i = 0; i < EYE_COUNT(head); i++)
        for (const struct eye_jnode *k = head[i]; k; k = i < 3 ? NULL : k->next) n->depth = EYE_MAX(n->depth, k->depth);
    if (++n->depth <= EYE_JINJA_MAX_DEPTH) return EYE_OK;
    return eye_jinja_fail(p->t, n->at, p->err, EYE_E_LIMIT, "nested deeper than %d", EYE_JINJA_MAX_DEPTH);
}

/* ---- statements ---- */

static enum eye_status body(struct eye_jparser *p, const char *const *end, struct eye_jnode **out);

static enum eye_status block_end(struct eye_jparser *p) {
    return p->tok.kind == EYE_JT_BLOCK_END ? eye_jparse_advance(p) : eye_jparse_expected(p, "%}");
}

/* Statements up to one of `end` (its name is the token then), after the tag's own end. */
static enum eye_status block_body(struct eye_jparser *p, const char *const *end, struct eye_jnode **out) {
    EYE_TRY(block_end(p));
    return body(p, end, out);
}

static enum eye_status if_tag(struct eye_jparser *p, struct eye_jnode *n) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct eye_jnode **end = &n->list;
    for (bool last = false;; end = &(*end)->next) {
        EYE_TRY(eye_jparse_node(p, EYE_JN_BRANCH, p->tok.at, end));
        if (!last) EYE_TRY(eye_jparse_expr(p, &(*end)->a));
        EYE_TRY(block_body(p, ends, &(*end)->list));
        EYE_TRY(eye_jparse_done(p, *end));
        if (eye_jparse_is_name(p, "endif")) return eye_jparse_advance(p);
        if (last) return eye_jparse_expected(p, "endif");
        last = eye_jparse_is_name(p, "else");
        EYE_TRY(eye_jparse_advance(p));
    }
}

/* Names with commas, or one. */
static enum eye_status targets(struct eye_jparser *p, struct eye_jnode *n) {
    struct eye_jnode **end = &n->names;
    bool bracket = eye_jparse_is_op(p, '(');
    if (bracket) EYE_TRY(eye_jparse_advance(p));
    for (;;) {
        if (p->tok.kind != EYE_JT_NAME) return eye_jparse_expected(p, "a variable's name");
        EYE_TRY(eye_jparse_node(p, EYE_JN_NAME, p->tok.at, end));
        (*end)->name = (struct eye_jstr){p->tok.p, NULL, p->tok.len};
        (*end)->depth = 1;
        end = &(*end)->next;
        EYE_TRY(eye_jparse_advance(p));
        if (!eye_jparse_is_op(p, ',')) break;
        EYE_TRY(eye_jparse_advance(p));
    }
    if (!bracket) return EYE_OK;
    return eye_jparse_is_op(p, ')') ? eye_jparse_advance(p) : eye_jparse_expected(p, "\")\"");
}

static enum eye_status for_tag(struct eye_jparser *p, struct eye_jnode *n) {
    static const char *const ends[] = {"else", "endfor", NULL}, *const end[] = {"endfor", NULL};
    EYE_TRY(targets(p, n));
    if (!eye_jparse_is_name(p, "in")) return eye_jparse_expected(p, "\"in\"");
    EYE_TRY(eye_jparse_advance(p));
    EYE_TRY(eye_jparse_tuple(p, false, &n->a));
    if (eye_jparse_is_name(p, "if")) {
        EYE_TRY(eye_jparse_advance(p));
        EYE_TRY(eye_jparse_expr(p, &n->b));
    }
    if (eye_jparse_is_name(p, "recursive"))
        return eye_jinja_fail(p->t, p->tok.at, p->err, EYE_E_UNSUPPORTED, "recursive loops are not supported");
    EYE_TRY(block_body(p, ends, &n->list));
    if (eye_jparse_is_name(p, "else")) {
        EYE_TRY(eye_jparse_node(p, EYE_JN_GROUP, p->tok.at, &n->c));
        EYE_TRY(eye_jparse_advance(p));
        EYE_TRY(block_body(p, end, &n->c->list));
        EYE_TRY(eye_jparse_done(p, n->c));
    }
    return eye_jparse_advance(p);
}

static enum eye_status set_tag(struct eye_jparser *p, struct eye_jnode *n) {
    static const char *const end[] = {"endset", NULL};
    EYE_TRY(targets(p, n));
    if (eye_jparse_is_op(p, '.')) {
        EYE_TRY(eye_jparse_advance(p));
        if (p->tok.kind != EYE_JT_NAME || n->names->next) return eye_jparse_expected(p, "one member's name");
        n->attr = p->tok.p;
        n->n_attr = p->tok.len;
        EYE_TRY(eye_jparse_advance(p));
    }
    if (eye_jparse_is_op(p, '=')) {
        EYE_TRY(eye_jparse_advance(p));
        return eye_jparse_tuple(p, true, &n->a);
    }
    if (p->tok.kind != EYE_JT_BLOCK_END || n->names->next) return eye_jparse_expected(p, "\"=\"");
    EYE_TRY(block_body(p, end, &n->list));
    return eye_jparse_advance(p);
}

static enum eye_status macro_tag(struct eye_jparser *p, struct eye_jnode *n) {
    static const char *const end[] = {"endmacro", NULL};
    struct eye_jnode **next = &n->names;
    if (p->tok.kind != EYE_JT_NAME) return eye_jparse_expected(p, "the macro's name");
    n->name = (struct eye_jstr){p->tok.p, NULL, p->tok.len};
    EYE_TRY(eye_jparse_advance(p));
    if (!eye_jparse_is_op(p, '(')) return eye_jparse_expected(p, "\"(\"");
    EYE_TRY(eye_jparse_advance(p));
    for (size_t n_params = 0; !eye_jparse_is_op(p, ')'); next = &(*next)->next) {
        if (p->tok.kind != EYE_JT_NAME) return eye_jparse_expected(p, "a parameter's name");
        if (++n_params > EYE_JINJA_MAX_ARGS)
            return eye_jinja_fail(p->t, p->tok.at, p->err, EYE_E_UNSUPPORTED, "more than %d parameters", EYE_JINJA_MAX_ARGS);
        EYE_TRY(eye_jparse_node(p, EYE_JN_NAME, p->tok.at, next));
        (*next)->name = (struct eye_jstr){p->tok.p, NULL, p->tok.len};
        EYE_TRY(eye_jparse_advance(p));
        if (eye_jparse_is_op(p, '=')) {
            EYE_TRY(eye_jparse_advance(p));
            EYE_TRY(eye_jparse_expr(p, &(*next)->a));
        }
        EYE_TRY(eye_jparse_done(p, *next));
        if (eye_jparse_is_op(p, ',')) EYE_TRY(eye_jparse_advance(p));
        else if (!eye_jparse_is_op(p, ')')) return eye_jparse_expected(p, "\",\" or \")\"");
    }
    EYE_TRY(eye_jparse_advance(p));
    EYE_TRY(block_body(p, end, &n->list));
    return eye_jparse_advance(p);
}

/* transformers' own tag: marks what the assistant wrote, prints the same. */
static enum eye_status generation_tag(struct eye_jparser *p, struct eye_jnode *n) {
    static const char *const end[] = {"endgeneration", NULL};
    EYE_TRY(block_body(p, end, &n->list));
    return eye_jparse_advance(p);
}

static enum eye_status no_more(struct eye_jparser *p, struct eye_jnode *n) {
    (void)p, (void)n;
    return EYE_OK;
}

static const struct tag {
    const char *name;
    enum eye_jnode_kind kind;
    enum eye_status (*parse)(struct eye_jparser *p, struct eye_jnode *n); /* after the name, up to the last tag's end */
} tags[] = {
    {"if", EYE_JN_IF, if_tag}, {"for", EYE_JN_FOR, for_tag}, {"set", EYE_JN_SET, set_tag}, {"macro", EYE_JN_MACRO, macro_tag},
    {"generation", EYE_JN_GROUP, generation_tag}, {"break", EYE_JN_BREAK, no_more}, {"continue", EYE_JN_CONTINUE, no_more},
};

/* At the name of a tag. */
static enum eye_status statement(struct eye_jparser *p, struct eye_jnode **out) {
    static const char *const enders[] = {"elif", "else", "endif", "endfor", "endset", "endmacro", "endgeneration"};
    for (size_t i = 0; i < EYE_COUNT(tags); i++) {
        if (!eye_jparse_is_name(p, tags[i].name)) continue;
        EYE_TRY(eye_jparse_node(p, tags[i].kind, p->tok.at, out));
        EYE_TRY(eye_jparse_advance(p));
        EYE_TRY(tags[i].parse(p, *out));
        EYE_TRY(eye_jparse_done(p, *out));
        return block_end(p);
    }
    if (p->tok.kind != EYE_JT_NAME) return eye_jparse_expected(p, "a statement's name");
    for (size_t i = 0; i < EYE_COUNT(enders); i++)
        if (eye_jparse_is_name(p, enders[i])) return eye_jparse_expected(p, "a statement that begins here");
    return eye_jinja_fail(p->t, p->tok.at, p->err, EYE_E_UNSUPPORTED,
                          "the statement \"%.*s\" is not supported, only if, for, set, "
                          "macro, break, continue, generation", (int)EYE_MIN(p->tok.len, 40), p->tok.p);
}

static enum eye_status item(struct eye_jparser *p, struct eye_jnode **out) {
    if (p->tok.kind == EYE_JT_TEXT) {
        EYE_TRY(eye_jparse_node(p, EYE_JN_TEXT, p->tok.at, out));
        (*out)->value = eye_jstring((struct eye_jstr){p->tok.p, NULL, p->tok.len});
        EYE_TRY(eye_jparse_done(p, *out));
        return eye_jparse_advance(p);
    }
    if (p->tok.kind != EYE_JT_PRINT) return statement(p, out);
    EYE_TRY(eye_jparse_node(p, EYE_JN_PRINT, p->tok.at, out));
    EYE_TRY(eye_jparse_advance(p));
    EYE_TRY(eye_jparse_tuple(p, true, &(*out)->a));
    EYE_TRY(eye_jparse_done(p, *out));
    return p->tok.kind == EYE_JT_PRINT_END ? eye_jparse_advance(p) : eye_jparse_expected(p, "}}");
}

static enum eye_status body(struct eye_jparser *p, const char *const *end, struct eye_jnode **out) {
    char expected[64] = "";
    if (++p->depth > EYE_JINJA_MAX_DEPTH)
        return eye_jinja_fail(p->t, p->tok.at, p->err, EYE_E_LIMIT, "nested deeper than %d", EYE_JINJA_MAX_DEPTH);
    for (;;) {
        if (p->tok.kind == EYE_JT_BLOCK) {
            EYE_TRY(eye_jparse_advance(p));
            for (const char *const *e = end; *e; e++)
                if (eye_jparse_is_name(p, *e)) {
                    p->depth--;
                    return EYE_OK;
                }
        }
        if (p->tok.kind == EYE_JT_END) break;
        EYE_TRY(item(p, out));
        out = &(*out)->next;
    }
    p->depth--;
    if (!end[0]) return EYE_OK;
    for (const char *const *e = end; *e; e++) {
        strcat(expected, *e);
        if (e[1]) strcat(expected, e[2] ? ", " : " or ");
    }
    return eye_jparse_expected(p, expected);
}

/* ---- */

/* Line ends to \n, the last one dropped, as Jinja reads a source. */
static enum eye_status take_source(struct eye_jinja *t, const char *src, size_t n, struct eye_err *err) {
    struct eye_buf text;
    if (n > EYE_JINJA_MAX_BYTES)
        return eye_fail(err, EYE_E_LIMIT, "%.100s: %zu bytes; a template may have %zu", t->where, n, EYE_JINJA_MAX_BYTES);
    if (eye_utf8_valid((const uint8_t *)src, n) != n)
        return eye_fail(err, EYE_E_CORRUPT, "%.100s: the template is not UTF-8", t->where);
    eye_buf_init(&text, t->alloc);
    for (size_t i = 0; i < n; i++) {
        if (src[i] == '\r' && i + 1 < n && src[i + 1] == '\n') continue;
        eye_buf_add(&text, src[i] == '\r' ? "\n" : src + i, 1);
    }
    if (text.len > 0 && text.p[text.len - 1] == '\n') text.len--;
    t->n = text.len;
    t->src = text.failed ? NULL : eye_arena_strdup(&t->arena, text.len ? text.p : "", text.len);
    eye_buf_clear(&text);
    return t->src ? EYE_OK : eye_fail_nomem(err, n);
}

enum eye_status eye_jinja_parse(struct eye_jinja **out, const char *src, size_t n, const char *where,
                                const struct eye_alloc *alloc, struct eye_err *err) {
    static const char *const no_end[] = {NULL};
    struct eye_jinja *t = eye_alloc_zero(alloc, sizeof *t);
    enum eye_status st = EYE_OK;
    if (!t) return eye_fail_nomem(err, sizeof *t);
    t->alloc = alloc;
    eye_arena_init(&t->arena, alloc);
    t->where = eye_arena_strdup(&t->arena, where, strlen(where));
    if (!t->where) st = eye_fail_nomem(err, strlen(where));
    if (st == EYE_OK) st = take_source(t, src, n, err);
    struct eye_jparser p = {.t = t, .lx = {.t = t}, .err = err};
    if (st == EYE_OK) st = eye_jparse_advance(&p);
    if (st == EYE_OK) st = body(&p, no_end, &t->body);
    if (st != EYE_OK) {
        eye_jinja_free(t);
        return st;
    }
    *out = t;
    return EYE_OK;
}

void eye_jinja_free(struct eye_jinja *t) {
    if (!t) return;
    eye_arena_clear(&t->arena);
    eye_alloc_free(t->alloc, t, sizeof *t);
}

const char *eye_jinja_where(const struct eye_jinja *t) { return t->where; }
