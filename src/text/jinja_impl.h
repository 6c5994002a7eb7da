/* jinja, inside: what lexer, parser, evaluator and the tables of filters, tests and methods share. */
#ifndef EYE_JINJA_IMPL_H
#define EYE_JINJA_IMPL_H

#include "text/jinja.h"

struct eye_jinja {
    const struct eye_alloc *alloc;
    struct eye_arena arena;
    char *where, *src;     /* src [n]: line ends are \n, without the last one */
    size_t n;
    struct eye_jnode *body;
    size_t n_nodes;
};

/* Error of a place in the template: "where:line:column: ...". */
EYE_PRINTF(5, 6) enum eye_status eye_jinja_fail(const struct eye_jinja *t, size_t at, struct eye_err *err, enum eye_status code,
                                                const char *fmt, ...);

/* ---- lexer ---- */

enum eye_jtok { EYE_JT_END, EYE_JT_TEXT, EYE_JT_PRINT, EYE_JT_PRINT_END, EYE_JT_BLOCK, EYE_JT_BLOCK_END, EYE_JT_NAME,
                EYE_JT_STRING, EYE_JT_INT, EYE_JT_FLOAT, EYE_JT_OP };
#define EYE_J2(a, b) ((a) << 8 | (b)) /* an operator of two characters */

struct eye_jtoken {
    enum eye_jtok kind;
    size_t at, n;       /* bytes of the source */
    int op;             /* a character, or EYE_J2 */
    const char *p;      /* TEXT, NAME: [len] in the source; STRING: its value, in the arena */
    size_t len;
    int64_t i;
    double f;
};
struct eye_jlexer {
    struct eye_jinja *t;
    size_t at;
    int end;            /* '%' or '}' inside a tag: what closes it; 0 outside */
    int nesting;        /* open brackets in the tag: in them "}}" closes two dicts, not the tag */
};
EYE_MUST_CHECK enum eye_status eye_jinja_next(struct eye_jlexer *lx, struct eye_jtoken *out, struct eye_err *err);
/* Python's white space: bytes of the one at p, 0 = none. */
size_t eye_jinja_space(const char *p, size_t n);
size_t eye_jinja_space_before(const char *p, size_t n); /* that ends at p + n */

/* ---- tree ---- */

enum eye_jnode_kind {
    EYE_JN_TEXT,    /* value */
    EYE_JN_PRINT,   /* a */
    EYE_JN_IF,      /* list of BRANCH: a = condition (NULL: else), list = body */
    EYE_JN_BRANCH,
    EYE_JN_FOR,     /* names = targets; a = what; b = filter or NULL; list = body; c = GROUP for else, or NULL */
    EYE_JN_SET,     /* names = targets; a = value, or NULL: list = body; with attr: names is one, member attr of it */
    EYE_JN_MACRO,   /* name; names = parameters, a = default of each or NULL; list = body */
    EYE_JN_GROUP,   /* list */
    EYE_JN_BREAK, EYE_JN_CONTINUE,
    EYE_JN_CONST,   /* value */
    EYE_JN_NAME,    /* name */
    EYE_JN_LIST,    /* list */
    EYE_JN_DICT,    /* list: key, value, key, value */
    EYE_JN_ATTR,    /* a.name */
    EYE_JN_INDEX,   /* a[b] */
    EYE_JN_SLICE,   /* a[list of three, CONST undefined = left out] */
    EYE_JN_CALL,    /* name(list) */
    EYE_JN_METHOD,  /* a.name(list) */
    EYE_JN_FILTER,  /* a | name(list) */
    EYE_JN_TEST,    /* a is name(list); op = 1: is not */
    EYE_JN_KEYWORD, /* name = a, in list of a call */
    EYE_JN_NOT, EYE_JN_NEG, EYE_JN_POS,
    EYE_JN_BINARY,  /* a op b */
    EYE_JN_AND, EYE_JN_OR,
    EYE_JN_COND     /* a if b else c; c may be NULL */
};
enum { EYE_JOP_IN = 1, EYE_JOP_NOT_IN = 2 }; /* beside characters and EYE_J2 */

struct eye_jnode {
    uint8_t kind;
    uint16_t depth;
    int op;
    size_t at; /* byte of the source, for errors */
    struct eye_jnode *a, *b, *c, *list, *names, *next;
    struct eye_jstr name;
    const char *attr; /* of SET */
    size_t n_attr;
    struct eye_jvalue value;
};

struct eye_jparser {
    struct eye_jinja *t;
    struct eye_jlexer lx;
    struct eye_jtoken tok;
    int depth;
    struct eye_err *err;
};
EYE_MUST_CHECK enum eye_status eye_jparse_advance(struct eye_jparser *p);
EYE_MUST_CHECK enum eye_status eye_jparse_peek(const struct eye_jparser *p, struct eye_jtoken *out);
enum eye_status eye_jparse_expected(struct eye_jparser *p, const char *what); /* CORRUPT: got the token */
bool eye_jparse_is_name(const struct eye_jparser *p, const char *name);
bool eye_jparse_is_op(const struct eye_jparser *p, int op);
EYE_MUST_CHECK enum eye_status eye_jparse_node(struct eye_jparser *p, enum eye_jnode_kind kind, size_t at,
                                               struct eye_jnode **out);
/* The node's depth, after its children are known. LIMIT when too deep. */
EYE_MUST_CHECK enum eye_status eye_jparse_done(struct eye_jparser *p, struct eye_jnode *n);
/* An expression; with commas a list. */
EYE_MUST_CHECK enum eye_status eye_jparse_tuple(struct eye_jparser *p, bool with_condition, struct eye_jnode **out);
EYE_MUST_CHECK enum eye_status eye_jparse_expr(struct eye_jparser *p, struct eye_jnode **out);

/* ---- values ---- */

struct eye_jscope {
    struct eye_jdict vars;
    struct eye_jscope *parent; /* NULL = the global one */
};

EYE_PRINTF(4, 5) enum eye_status eye_jrun_fail(struct eye_jrun *r, const struct eye_jnode *n, enum eye_status code,
                                               const char *fmt, ...);
EYE_MUST_CHECK enum eye_status eye_jrun_tick(struct eye_jrun *r, const struct eye_jnode *n, size_t bytes);
EYE_MUST_CHECK enum eye_status eye_jrun_alloc(struct eye_jrun *r, const struct eye_jnode *n, size_t bytes, void **out);

const char *eye_jkind_name(enum eye_jkind kind); /* "a string" */
static inline struct eye_jvalue eye_jbool(bool b) { return (struct eye_jvalue){.kind = EYE_J_BOOL, .b = b}; }
static inline struct eye_jvalue eye_jint(int64_t i) { return (struct eye_jvalue){.kind = EYE_J_INT, .i = i}; }
static inline struct eye_jvalue eye_jstring(struct eye_jstr s) { return (struct eye_jvalue){.kind = EYE_J_STRING, .s = s}; }
static inline struct eye_jvalue eye_jnone(void) { return (struct eye_jvalue){.kind = EYE_J_NONE}; }
struct eye_jstr eye_jliteral(const char *text);
bool eye_jstr_is(struct eye_jstr s, const char *text);
bool eye_jstr_equal(struct eye_jstr a, struct eye_jstr b);
struct eye_jstr eye_jstr_part(struct eye_jstr s, size_t from, size_t to); /* bytes */
size_t eye_jstr_find(struct eye_jstr s, struct eye_jstr what, size_t from); /* byte, SIZE_MAX = not there */
size_t eye_jstr_points(struct eye_jstr s);
size_t eye_jstr_offset(struct eye_jstr s, size_t point); /* byte of a code point; s.n past the end */
/* ends: 1 left, 2 right, 3 both; chars p NULL = white space. */
struct eye_jstr eye_jstr_strip(struct eye_jstr s, const struct eye_jstr *chars, int ends);
bool eye_jtruth(struct eye_jvalue v);
const struct eye_jvalue *eye_jdict_get(const struct eye_jdict *d, struct eye_jstr key); /* NULL = not there */
EYE_MUST_CHECK enum eye_status eye_jdict_put(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jdict *d,
                                             struct eye_jstr key, struct eye_jvalue v);
EYE_MUST_CHECK enum eye_status eye_jequal(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue a,
                                          struct eye_jvalue b, bool *out);
EYE_MUST_CHECK enum eye_status eye_jconcat(struct eye_jrun *r, const struct eye_jnode *n, const struct eye_jstr *part,
                                           size_t n_parts, struct eye_jstr *out);
/* Python's str(). A list or a dict is an error: write tojson. */
EYE_MUST_CHECK enum eye_status eye_jtext(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v,
                                         struct eye_jstr *out);
/* json.dumps(ensure_ascii=False); indent < 0 = on one line. */
EYE_MUST_CHECK enum eye_status eye_jjson(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v, int indent,
                                         struct eye_jstr *out);
/* What a loop runs over: items of a list, keys of a dict, characters of a string, nothing of an undefined value. */
EYE_MUST_CHECK enum eye_status eye_jitems(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v,
                                          struct eye_jlist *out);
EYE_MUST_CHECK enum eye_status eye_jnew_list(struct eye_jrun *r, const struct eye_jnode *n, size_t len, struct eye_jvalue *out);
EYE_MUST_CHECK enum eye_status eye_jnew_dict(struct eye_jrun *r, const struct eye_jnode *n, enum eye_jkind kind,
                                             struct eye_jvalue *out);
struct eye_jvalue eye_jattr(struct eye_jvalue v, struct eye_jstr name); /* undefined where there is none */
EYE_MUST_CHECK enum eye_status eye_jindex(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v,
                                          struct eye_jvalue key, struct eye_jvalue *out);
EYE_MUST_CHECK enum eye_status eye_jslice(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v,
                                          const struct eye_jvalue part[3], struct eye_jvalue *out);
EYE_MUST_CHECK enum eye_status eye_jbinary(struct eye_jrun *r, const struct eye_jnode *n, int op, struct eye_jvalue a,
                                           struct eye_jvalue b, struct eye_jvalue *out);

/* ---- calls ---- */

#define EYE_JINJA_MAX_ARGS 8
struct eye_jargs {
    struct eye_jvalue v[EYE_JINJA_MAX_ARGS];
    struct eye_jstr key[EYE_JINJA_MAX_ARGS]; /* p NULL = by position */
    size_t n;
};
/* The argument at a position or of a name; NULL = not given. */
const struct eye_jvalue *eye_jarg(const struct eye_jargs *args, size_t i, const char *name);
EYE_MUST_CHECK enum eye_status eye_jfilter(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jstr name,
                                           struct eye_jvalue v, const struct eye_jargs *args, struct eye_jvalue *out);
EYE_MUST_CHECK enum eye_status eye_jtest(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jstr name,
                                         struct eye_jvalue v,
                                         const struct eye_jargs *args, bool *out);
EYE_MUST_CHECK enum eye_status eye_jmethod(struct eye_jrun *r, const struct eye_jnode *n, struct eye_jvalue v,
                                           const struct eye_jargs *args, struct eye_jvalue *out);
EYE_MUST_CHECK enum eye_status eye_jfunction(struct eye_jrun *r, const struct eye_jnode *n, const struct eye_jargs *args,
                                             struct eye_jvalue *out);

#endif
