/* Fields: JSON objects into structs by tables, strictly. A row of a table is a key: its type, range, default, meaning and the
 * place in the struct where its value goes. What no row names is an error; so are values of another type or out of range. The
 * same tables print the documentation of a recipe, so it cannot say anything else. Knows no recipe. */
#ifndef EYE_TRAIN_FIELDS_H
#define EYE_TRAIN_FIELDS_H

#include "format/json.h"

enum eye_field_type {
    EYE_FIELD_END,    /* closes a table */
    EYE_FIELD_INT,    /* int64_t in lo..hi */
    EYE_FIELD_REAL,   /* double in lo..hi */
    EYE_FIELD_BOOL,   /* bool */
    EYE_FIELD_TEXT,   /* const char *; text NULL = none */
    EYE_FIELD_CHOICE, /* int: the number of the name in choices (NULL-terminated) */
    EYE_FIELD_TEXTS,  /* struct eye_texts */
    EYE_FIELD_OBJECT, /* a struct of its own, by the table sub */
    EYE_FIELD_LIST,   /* struct eye_items of such structs; also given as one object */
    EYE_FIELD_JSON    /* struct eye_text: any object, as its text */
};

struct eye_text { const char *p; size_t len; }; /* p NULL = absent */
struct eye_texts { const char **item; size_t n; };
struct eye_items { void *item; size_t n; };

struct eye_field {
    enum eye_field_type type;
    const char *key;
    size_t offset;
    const char *doc;
    double lo, hi, def;         /* def: also of BOOL and CHOICE */
    const char *text;           /* default of TEXT */
    const char *const *choices;
    const struct eye_field *sub;
    size_t sub_bytes;           /* of LIST */
};

/* Fills out by the table; absent keys get their defaults. Texts and lists are copied into the arena. CORRUPT naming file and
 * key: unknown key (with the one it may have meant), type, range. */
EYE_MUST_CHECK enum eye_status eye_fields_read(const struct eye_field *table, const struct eye_json_at *at, void *out,
                                               struct eye_arena *arena, struct eye_err *err);
/* "stages.0.lr=1e-3" into the tree: the value is JSON if it parses as such, else a text. Objects on the way are made, items of
 * arrays must exist. CORRUPT: no '=', a path through something that is no object or array. */
EYE_MUST_CHECK enum eye_status eye_fields_set(const struct eye_json *j, const char *assignment, struct eye_err *err);
/* Appends a Markdown list of the table: "- `key` (0..1, default 0.5): meaning", sub-tables indented. */
void eye_fields_document(const struct eye_field *table, int depth, struct eye_buf *out);

#endif
