/* grammars, inside: the writer that the parts share which make a grammar's program (grammar.h):
 *   grammar_write.c   steps, labels, sets, rules
 *   grammar_json.c    JSON's own values
 *   grammar_range.c   numbers between bounds
 *   grammar_pattern.c strings of a regular expression
 *   grammar_schema.c  JSON Schema
 *   grammar_apart.c   oneOf: can a value be of two schemas at once?
 * After the first failure nothing is written any more, so nobody has to ask between two steps. */
#ifndef EYE_GRAMMAR_WRITE_H
#define EYE_GRAMMAR_WRITE_H

#include <jansson.h>

#include "text/grammar.h"

enum eye_gw_kind { /* rules that no schema writes */
    EYE_GW_NONE, EYE_GW_BLANK, EYE_GW_CHAR, EYE_GW_WIDE, EYE_GW_STRING, EYE_GW_INTEGER, EYE_GW_NUMBER, EYE_GW_VALUE,
    EYE_GW_OBJECT, EYE_GW_ARRAY, EYE_GW_KINDS
};
#define EYE_GW_MAX_DIGITS 15 /* before and after the point */

struct eye_gw_rule {
    enum eye_gw_kind builtin;
    json_t *schema; /* with NONE */
    char path[96];  /* for errors */
};

struct eye_gw {
    struct eye_grammar_code *g;
    json_t *root;
    struct eye_gw_rule *source;    /* [EYE_GRAMMAR_MAX_RULES] */
    int32_t builtin[EYE_GW_KINDS]; /* their rules, -1 = not yet */
    int32_t single[256];           /* sets of one byte, -1 = not yet */
    int32_t *label;                /* [n_labels] where they stand, -1 = not yet */
    size_t n_labels, label_cap;
    const struct eye_gw_rule *at;  /* the rule that is written */
    int32_t n_compared;            /* steps that oneOf took so far */
    int32_t n_written;             /* steps and labels, those too that a pattern took back */
    enum eye_status st;            /* the first failure; all later calls do nothing */
    struct eye_err *err;
};

/* The first failure, with the rule's place in front. */
EYE_PRINTF(3, 4) void eye_gw_refuse(struct eye_gw *c, enum eye_status st, const char *fmt, ...);

/* ---- code ---- */
void eye_gw_emit(struct eye_gw *c, enum eye_grammar_op op, int32_t a, bool deep);
int32_t eye_gw_new_label(struct eye_gw *c); /* negative until all code is there */
void eye_gw_put_label(struct eye_gw *c, int32_t label);
void eye_gw_one_of(struct eye_gw *c, const char *ranges); /* a byte of the ranges "azAZ__" */
void eye_gw_byte(struct eye_gw *c, uint8_t b);
void eye_gw_text(struct eye_gw *c, const char *s);
void eye_gw_split(struct eye_gw *c, int32_t label);
void eye_gw_jump(struct eye_gw *c, int32_t label);
void eye_gw_give_back(struct eye_gw *c);
int32_t eye_gw_or_else(struct eye_gw *c); /* one alternative of several, of each but the last: the label is the next one's */

/* ---- rules ---- */
int32_t eye_gw_add_rule(struct eye_gw *c, enum eye_gw_kind b, json_t *schema, const char *path);
void eye_gw_call_builtin(struct eye_gw *c, enum eye_gw_kind b);
/* step: what is added to the place, for errors. */
void eye_gw_call_schema(struct eye_gw *c, json_t *schema, const char *step);
void eye_gw_blank(struct eye_gw *c);
/* All code is there: labels become places; bytes and nesting from each place to its rule's end are measured. */
void eye_gw_finish(struct eye_gw *c);

/* ---- JSON: each writes the rest of a rule, its end too ---- */
void eye_gw_write_builtin(struct eye_gw *c, enum eye_gw_kind b);
void eye_gw_word(struct eye_gw *c, const char *s);
void eye_gw_characters(struct eye_gw *c, int64_t min, int64_t max);            /* a string of so many; max < 0 = any number */
void eye_gw_items(struct eye_gw *c, json_t *schema, int64_t min, int64_t max); /* a list; schema NULL = any values */
void eye_gw_pairs(struct eye_gw *c, json_t *schema);                           /* an object of any names */
void eye_gw_digits(struct eye_gw *c, int n);                                   /* at most n; not a rule's end */
/* Numbers from lo to hi, both within EYE_GW_MAX_DIGITS digits, lo <= hi. fraction: those between whole ones too. */
void eye_gw_range(struct eye_gw *c, int64_t lo, int64_t hi, bool fraction);
void eye_gw_pattern(struct eye_gw *c, const char *pattern); /* a string in which it is found */

/* ---- schemas ---- */
enum eye_gw_type { EYE_GW_T_NULL = 1, EYE_GW_T_BOOL = 2, EYE_GW_T_INTEGER = 4, EYE_GW_T_NUMBER = 8, EYE_GW_T_STRING = 16,
                   EYE_GW_T_ARRAY = 32, EYE_GW_T_OBJECT = 64, EYE_GW_T_ANY = 127 };
unsigned eye_gw_types_of(struct eye_gw *c, json_t *s);  /* what type, or the keywords, say */
bool eye_gw_is_of_type(json_t *v, unsigned types);
bool eye_gw_is_required(json_t *required, const char *name);
bool eye_gw_is_place(const char *ref);                  /* "#…" */
json_t *eye_gw_find(const struct eye_gw *c, const char *ref); /* the schema there; NULL = none */
/* Refuses a list in which a value may be of two. */
void eye_gw_check_apart(struct eye_gw *c, json_t *list);

#endif
