/* format/json: JSON text into a tree, and typed reads from it whose errors name file, key path, expected and got.
 *
 *   struct eye_json j;
 *   EYE_TRY(eye_json_parse(&j, p, n, EYE_JSON_MAX_BYTES, "config.json", err));
 *   struct eye_json_at root = eye_json_root(&j), text;
 *   EYE_TRY_GOTO(eye_json_object(&root, "text_config", &text, err));
 *   EYE_TRY_GOTO(eye_json_need_int(&text, "hidden_size", 1, 65536, &hidden, err));
 *   fail: eye_json_clear(&j);
 *
 * A thin layer over jansson: at.v may be handed to jansson's own calls. Reads of one tree may run on several threads. */
#ifndef EYE_FORMAT_JSON_H
#define EYE_FORMAT_JSON_H

#include "base/base.h"
#include "format/table.h"

struct json_t; /* jansson's */

#define EYE_JSON_MAX_BYTES ((size_t)256 << 20)
#define EYE_JSON_MAX_DEPTH 64

struct eye_json {
    struct json_t *root; /* owned */
    const char *where;   /* borrowed: the file's name for error texts; must outlive every eye_json_at */
};

/* A place in a tree. Borrows the tree and its parent place: both must outlive it. v NULL = absent, reads give defaults. */
struct eye_json_at {
    struct json_t *v;
    const char *where;
    const struct eye_json_at *parent; /* NULL at the root */
    const char *key;                  /* in an object, else NULL and: */
    size_t index;                     /* in an array */
};

/* p [n] bytes of UTF-8. LIMIT above max_bytes; CORRUPT (line and column) for bad syntax, duplicate keys, nesting deeper than
 * EYE_JSON_MAX_DEPTH, bytes after the end. "\u0000" is allowed in values. An integer outside int64 becomes a real (Hugging
 * Face writes "model_max_length": 1000000000000000019884624838656). */
EYE_MUST_CHECK enum eye_status eye_json_parse(struct eye_json *j, const void *p, size_t n, size_t max_bytes, const char *where,
                                              struct eye_err *err);
void eye_json_clear(struct eye_json *j);

struct eye_json_at eye_json_root(const struct eye_json *j);
/* CORRUPT "where: key.path: what"; for callers' own checks of a value. */
enum eye_status eye_json_fail(const struct eye_json_at *at, const char *key, const char *what, struct eye_err *err);

/* A member of an object: absent and null alike give child->v == NULL and OK. CORRUPT if it is there with another type. */
EYE_MUST_CHECK enum eye_status eye_json_object(const struct eye_json_at *at, const char *key, struct eye_json_at *child,
                                               struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_json_array(const struct eye_json_at *at, const char *key, struct eye_json_at *child,
                                              struct eye_err *err);
bool eye_json_has(const struct eye_json_at *at, const char *key); /* there and not null */
size_t eye_json_len(const struct eye_json_at *array);             /* 0 when v is NULL */
struct eye_json_at eye_json_item(const struct eye_json_at *array, size_t i); /* any type; v NULL past the end */

/* Typed members. Absent or null: the default. With key NULL `at` itself is read (an array's item). A real with an integral
 * value below 2^53 (1e6, 32.0) is an integer too; any number is a double. */
EYE_MUST_CHECK enum eye_status eye_json_int(const struct eye_json_at *at, const char *key, int64_t def, int64_t *out,
                                            struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_json_int_in(const struct eye_json_at *at, const char *key, int64_t lo, int64_t hi,
                                               int64_t def,
                                               int64_t *out, struct eye_err *err); /* CORRUPT outside lo..hi */
EYE_MUST_CHECK enum eye_status eye_json_need_int(const struct eye_json_at *at, const char *key, int64_t lo, int64_t hi,
                                                 int64_t *out, struct eye_err *err); /* and when absent */
EYE_MUST_CHECK enum eye_status eye_json_double(const struct eye_json_at *at, const char *key, double def, double *out,
                                               struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_json_bool(const struct eye_json_at *at, const char *key, bool def, bool *out,
                                             struct eye_err *err);
/* *out borrowed from the tree, NUL-terminated; *len may be NULL, then a string with a NUL inside is CORRUPT. */
EYE_MUST_CHECK enum eye_status eye_json_str(const struct eye_json_at *at, const char *key, const char *def, const char **out,
                                            size_t *len, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_json_need_str(const struct eye_json_at *at, const char *key, const char **out, size_t *len,
                                                 struct eye_err *err);
/* Array of integers into out [cap]; absent: *n = 0; more than cap: LIMIT. */
EYE_MUST_CHECK enum eye_status eye_json_ints(const struct eye_json_at *at, const char *key, int64_t *out, size_t cap, size_t *n,
                                             struct eye_err *err);

/* *out: the tree as text in one line. NOMEM, also of a tree that is NULL or jansson had no memory for. */
EYE_MUST_CHECK enum eye_status eye_json_text(const struct json_t *v, struct eye_arena *arena, struct eye_str *out,
                                             struct eye_err *err);
/* Appends a tree as text; indent 0 = in one line. NOMEM. */
EYE_MUST_CHECK enum eye_status eye_json_write(const struct json_t *v, int indent, struct eye_buf *out, struct eye_err *err);

#endif
