/* Fields: see fields.h. */
#include "train/fields.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

static const struct eye_field *find(const struct eye_field *table, const char *key) {
    for (; table->type != EYE_FIELD_END; table++)
        if (strcmp(table->key, key) == 0) return table;
    return NULL;
}

static enum eye_status unknown_key(const struct eye_field *table, const struct eye_json_at *at, const char *key,
                                   struct eye_err *err) {
    char what[400];
    size_t n = (size_t)snprintf(what, sizeof what, "no such key; there are ");
    for (const struct eye_field *f = table; f->type != EYE_FIELD_END && n + 40 < sizeof what; f++)
        n += (size_t)snprintf(what + n, sizeof what - n, "%s%.32s", f == table ? "" : ", ", f->key);
    return eye_json_fail(at, key, what, err);
}

static enum eye_status copy_text(const char *s, size_t n, const char **out, struct eye_arena *arena, struct eye_err *err) {
    *out = eye_arena_strdup(arena, s, n);
    return *out ? EYE_OK : eye_fail_nomem(err, n);
}

static enum eye_status read_choice(const struct eye_field *f, const struct eye_json_at *at, int *out, struct eye_err *err) {
    char what[256];
    const char *s;
    EYE_TRY(eye_json_str(at, f->key, f->choices[(int)f->def], &s, NULL, err));
    for (*out = 0; f->choices[*out]; ++*out)
        if (strcmp(f->choices[*out], s) == 0) return EYE_OK;
    size_t n = (size_t)snprintf(what, sizeof what, "got \"%.40s\", expected one of ", s);
    for (int i = 0; f->choices[i] && n + 40 < sizeof what; i++)
        n += (size_t)snprintf(what + n, sizeof what - n, "%s%.32s", i ? ", " : "", f->choices[i]);
    return eye_json_fail(at, f->key, what, err);
}

static enum eye_status read_real(const struct eye_field *f, const struct eye_json_at *at, double *out, struct eye_err *err) {
    char what[96];
    EYE_TRY(eye_json_double(at, f->key, f->def, out, err));
    if (isfinite(*out) && *out >= f->lo && *out <= f->hi) return EYE_OK;
    snprintf(what, sizeof what, "expected a number in %g..%g, got %g", f->lo, f->hi, *out);
    return eye_json_fail(at, f->key, what, err);
}

/* A list of texts; one text alone is a list of one. */
static enum eye_status read_texts(const struct eye_field *f, const struct eye_json_at *at, struct eye_texts *out,
                                  struct eye_arena *arena, struct eye_err *err) {
    struct eye_json_at list;
    const char *s;
    size_t len;
    *out = (struct eye_texts){0};
    if (!eye_json_has(at, f->key)) return EYE_OK;
    bool alone = json_is_string(json_object_get(at->v, f->key));
    if (!alone) EYE_TRY(eye_json_array(at, f->key, &list, err));
    out->n = alone ? 1 : eye_json_len(&list);
    if (!(out->item = eye_arena_alloc(arena, (out->n + 1) * sizeof *out->item))) return eye_fail_nomem(err, out->n);
    for (size_t i = 0; i < out->n; i++) {
        struct eye_json_at item = alone ? *at : eye_json_item(&list, i);
        EYE_TRY(eye_json_need_str(&item, alone ? f->key : NULL, &s, NULL, err));
        len = strlen(s);
        EYE_TRY(copy_text(s, len, &out->item[i], arena, err));
    }
    return EYE_OK;
}

static enum eye_status read_list(const struct eye_field *f, const struct eye_json_at *at, struct eye_items *out,
                                 struct eye_arena *arena, struct eye_err *err) {
    struct eye_json_at list;
    *out = (struct eye_items){0};
    if (!eye_json_has(at, f->key)) return EYE_OK;
    bool alone = json_is_object(json_object_get(at->v, f->key));
    if (alone) EYE_TRY(eye_json_object(at, f->key, &list, err));
    else EYE_TRY(eye_json_array(at, f->key, &list, err));
    out->n = alone ? 1 : eye_json_len(&list);
    if (!(out->item = eye_arena_alloc(arena, (out->n + 1) * f->sub_bytes))) return eye_fail_nomem(err, out->n * f->sub_bytes);
    for (size_t i = 0; i < out->n; i++) {
        struct eye_json_at item = alone ? list : eye_json_item(&list, i);
        EYE_TRY(eye_fields_read(f->sub, &item, (char *)out->item + i * f->sub_bytes, arena, err));
    }
    return EYE_OK;
}

static enum eye_status read_json(const struct eye_field *f, const struct eye_json_at *at, struct eye_text *out,
                                 struct eye_arena *arena, struct eye_err *err) {
    struct eye_json_at object;
    struct eye_buf text;
    *out = (struct eye_text){0};
    EYE_TRY(eye_json_object(at, f->key, &object, err));
    if (!object.v) return EYE_OK;
    eye_buf_init(&text, arena->alloc);
    enum eye_status st = eye_json_write(object.v, 1, &text, err);
    out->len = text.len;
    if (st == EYE_OK) st = copy_text(text.p, text.len, &out->p, arena, err);
    eye_buf_clear(&text);
    return st;
}

static enum eye_status read_field(const struct eye_field *f, const struct eye_json_at *at, void *to, struct eye_arena *arena,
                                  struct eye_err *err) {
    struct eye_json_at child;
    const char *s;
    switch (f->type) {
    case EYE_FIELD_INT: return eye_json_int_in(at, f->key, (int64_t)f->lo, (int64_t)f->hi, (int64_t)f->def, to, err);
    case EYE_FIELD_REAL: return read_real(f, at, to, err);
    case EYE_FIELD_BOOL: return eye_json_bool(at, f->key, f->def != 0, to, err);
    case EYE_FIELD_CHOICE: return read_choice(f, at, to, err);
    case EYE_FIELD_TEXTS: return read_texts(f, at, to, arena, err);
    case EYE_FIELD_LIST: return read_list(f, at, to, arena, err);
    case EYE_FIELD_JSON: return read_json(f, at, to, arena, err);
    case EYE_FIELD_OBJECT:
        EYE_TRY(eye_json_object(at, f->key, &child, err));
        return eye_fields_read(f->sub, &child, to, arena, err);
    case EYE_FIELD_TEXT:
        EYE_TRY(eye_json_str(at, f->key, f->text, &s, NULL, err));
        *(const char **)to = NULL;
        return s ? copy_text(s, strlen(s), to, arena, err) : EYE_OK;
    case EYE_FIELD_END: break;
    }
    return EYE_OK;
}

enum eye_status eye_fields_read(const struct eye_field *table, const struct eye_json_at *at, void *out, struct eye_arena *arena,
                                struct eye_err *err) {
    const char *key;
    json_t *value;
    if (at->v && !json_is_object(at->v)) return eye_json_fail(at, NULL, "expected an object", err);
    json_object_foreach(at->v, key, value)
        if (key[0] != '#' && !find(table, key)) return unknown_key(table, at, key, err); /* "#…": a remark */
    for (const struct eye_field *f = table; f->type != EYE_FIELD_END; f++)
        EYE_TRY(read_field(f, at, (char *)out + f->offset, arena, err));
    return EYE_OK;
}

/* ---- setting ---- */

static json_t *value_of(const char *text) {
    json_t *v = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    return v ? v : json_string(text);
}

/* The member or item of *v that the path's first name means; made if v is an object that lacks it. */
static json_t *descend(json_t *v, const char *name, size_t len) {
    char key[128], *end;
    if (len == 0 || len >= sizeof key) return NULL;
    memcpy(key, name, len);
    key[len] = '\0';
    if (json_is_array(v)) {
        unsigned long i = strtoul(key, &end, 10);
        return *end ? NULL : json_array_get(v, i);
    }
    json_t *child = json_object_get(v, key);
    if (!child && json_is_object(v) && json_object_set_new(v, key, json_object()) == 0) child = json_object_get(v, key);
    return child;
}

enum eye_status eye_fields_set(const struct eye_json *j, const char *assignment, struct eye_err *err) {
    const char *equal = strchr(assignment, '='), *name = assignment;
    json_t *v = j->root;
    if (!equal || equal == assignment)
        return eye_fail(err, EYE_E_ARG, "\"%.100s\": expected key.path=value", assignment);
    for (const char *dot; (dot = memchr(name, '.', (size_t)(equal - name))) != NULL; name = dot + 1)
        v = descend(v, name, (size_t)(dot - name));
    char key[128], *end;
    snprintf(key, sizeof key, "%.*s", (int)EYE_MIN(equal - name, 127), name);
    int rc = -1;
    unsigned long i = strtoul(key, &end, 10);
    if (json_is_object(v)) rc = json_object_set_new(v, key, value_of(equal + 1));
    else if (json_is_array(v) && end != key && !*end && i < json_array_size(v))
        rc = json_array_set_new(v, i, value_of(equal + 1));
    if (rc != 0)
        return eye_fail(err, EYE_E_ARG, "%s: \"%.*s\" leads to no object or item of a list", j->where,
                        (int)(equal - assignment), assignment);
    return EYE_OK;
}

/* ---- documentation ---- */

static void document_default(const struct eye_field *f, struct eye_buf *out) {
    switch (f->type) {
    case EYE_FIELD_INT:
    case EYE_FIELD_REAL: eye_buf_printf(out, " (%.10g..%.10g, default %.10g)", f->lo, f->hi, f->def); break;
    case EYE_FIELD_BOOL: eye_buf_printf(out, " (default %s)", f->def != 0 ? "true" : "false"); break;
    case EYE_FIELD_TEXT:
        if (f->text) eye_buf_printf(out, " (text, default \"%s\")", f->text);
        else eye_buf_adds(out, " (text)");
        break;
    case EYE_FIELD_TEXTS: eye_buf_adds(out, " (text or list of texts)"); break;
    case EYE_FIELD_OBJECT: eye_buf_adds(out, " (object)"); break;
    case EYE_FIELD_LIST: eye_buf_adds(out, " (object or list of objects)"); break;
    case EYE_FIELD_JSON: eye_buf_adds(out, " (object, taken as it is)"); break;
    case EYE_FIELD_CHOICE:
        for (int i = 0; f->choices[i]; i++)
            eye_buf_printf(out, "%s%s%s", i ? ", " : " (", f->choices[i], i == (int)f->def ? " (default)" : "");
        eye_buf_adds(out, ")");
        break;
    case EYE_FIELD_END: break;
    }
}

void eye_fields_document(const struct eye_field *table, int depth, struct eye_buf *out) {
    for (const struct eye_field *f = table; f->type != EYE_FIELD_END; f++) {
        eye_buf_printf(out, "%*s- `%s`", 2 * depth, "", f->key);
        document_default(f, out);
        eye_buf_printf(out, ": %s\n", f->doc);
        if (f->sub) eye_fields_document(f->sub, depth + 1, out);
    }
}
