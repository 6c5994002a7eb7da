/* text/jinja: a subset of Jinja, enough for the chat templates that checkpoints carry: parsed once to a tree, rendered any
 * number of times. Output is what transformers' apply_chat_template gives for the same template and variables (its environment:
 * trim_blocks, lstrip_blocks, tojson without HTML escapes, raise_exception, break and continue). Knows no conversation and no
 * model; script.h does. The subset is listed in doc/TEMPLATES.md; everything else is refused by name where it is met.
 *
 *   EYE_TRY(eye_jinja_parse(&t, text, n, "chat_template.jinja", alloc, err));
 *   eye_jinja_run_init(&run, t, alloc);
 *   EYE_TRY_GOTO(eye_jinja_set(&run, "messages", value, err));       values lie in run.arena
 *   EYE_TRY_GOTO(eye_jinja_render(&run, err));                       run.out.text, and the origin of each of its bytes
 *   fail: eye_jinja_run_clear(&run);
 *
 * Templates come with checkpoints: hostile. A template can compute a text and nothing else; tree depth, nodes, steps, memory
 * and output are bounded by the numbers below. A parsed template is read-only: any number of threads may render it. */
#ifndef EYE_JINJA_H
#define EYE_JINJA_H

#include "base/base.h"

#define EYE_JINJA_MAX_BYTES ((size_t)1 << 20)          /* of a template */
#define EYE_JINJA_MAX_NODES 65536
#define EYE_JINJA_MAX_DEPTH 128                        /* of the tree */
#define EYE_JINJA_MAX_CALLS 400                        /* nested evaluations: the tree's depth, and macros that call macros */
#define EYE_JINJA_MAX_STEPS ((uint64_t)4 << 20)        /* nodes visited, items looped over, and bytes worked on / 64 */
#define EYE_JINJA_MAX_MEMORY ((size_t)256 << 20)       /* values of one rendering, and its output */

/* Where a byte came from. Every operation keeps it, so that what a person wrote stays known in the finished prompt. */
enum eye_origin {
    EYE_ORIGIN_TEMPLATE,
    EYE_ORIGIN_WRITTEN, /* by an assistant, or a system's text */
    EYE_ORIGIN_USER,    /* by a user */
    EYE_ORIGIN_IMAGE,   /* the mark of an image */
    EYE_ORIGIN_ANSWER   /* stands for an answer that is in the context already */
};

/* A string: valid UTF-8, lengths and positions in code points as Python counts them. */
struct eye_jstr {
    const char *p;
    const uint8_t *origin; /* [n] enum eye_origin; NULL = all EYE_ORIGIN_TEMPLATE */
    size_t n;
};

enum eye_jkind {
    EYE_J_UNDEFINED, EYE_J_NONE, EYE_J_BOOL, EYE_J_INT, EYE_J_FLOAT, EYE_J_STRING, EYE_J_LIST, EYE_J_DICT,
    EYE_J_NAMESPACE, /* a dict whose members `set` may change */
    EYE_J_MACRO
};
struct eye_jvalue {
    enum eye_jkind kind;
    union {
        bool b;
        int64_t i;
        double f;
        struct eye_jstr s;
        struct eye_jlist *list;
        struct eye_jdict *dict;         /* of NAMESPACE too */
        const struct eye_jnode *macro;
    };
};
struct eye_jlist { struct eye_jvalue *item; size_t n; };
struct eye_jpair { struct eye_jstr key; struct eye_jvalue value; };
struct eye_jdict { struct eye_jpair *pair; size_t n, cap; };

struct eye_jinja;
/* UNSUPPORTED: a statement that is not in the subset; CORRUPT: syntax, with line, column and what was expected; LIMIT, NOMEM.
 * src and where are copied. */
EYE_MUST_CHECK enum eye_status eye_jinja_parse(struct eye_jinja **t, const char *src, size_t n, const char *where,
                                               const struct eye_alloc *alloc, struct eye_err *err);
void eye_jinja_free(struct eye_jinja *t); /* NULL is fine */
const char *eye_jinja_where(const struct eye_jinja *t);

struct eye_jout { struct eye_buf text, origin; }; /* the same length */

/* One rendering. */
struct eye_jrun {
    const struct eye_jinja *t;
    struct eye_arena arena;
    struct eye_jscope *global;
    struct eye_jout out;
    struct eye_jout *to;     /* where writing goes: out, or what a macro or a set block collects */
    uint64_t steps;
    size_t calls, written;   /* nested evaluations; bytes written in all */
    struct eye_err *err;
};
void eye_jinja_run_init(struct eye_jrun *r, const struct eye_jinja *t, const struct eye_alloc *alloc);
void eye_jinja_run_clear(struct eye_jrun *r);

/* Values for a rendering, in r->arena. Text is repaired to valid UTF-8. */
EYE_MUST_CHECK enum eye_status eye_jinja_str(struct eye_jrun *r, const char *text, size_t n, enum eye_origin origin,
                                             struct eye_jvalue *out, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_jinja_list(struct eye_jrun *r, size_t n, struct eye_jvalue *out, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_jinja_dict(struct eye_jrun *r, struct eye_jvalue *out, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_jinja_put(struct eye_jrun *r, struct eye_jvalue *dict, const char *key, struct eye_jvalue v,
                                             struct eye_err *err); /* key is borrowed; an old value is replaced */
EYE_MUST_CHECK enum eye_status eye_jinja_set(struct eye_jrun *r, const char *name, struct eye_jvalue v, struct eye_err *err);

/* Renders into r->out, once per run. ARG: the template itself refuses (raise_exception) or its types do not fit; UNSUPPORTED: a
 * filter, test, method or function outside the subset; LIMIT; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_jinja_render(struct eye_jrun *r, struct eye_err *err);

#endif
