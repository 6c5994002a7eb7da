/* text/grammar_schema: JSON Schema to the program of grammar.h. Every schema that is reached becomes a rule, found again by its
 * place in the tree, so that $ref may go in circles; rules wait in a list, so nothing here recurses on what it reads. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"
#include "text/grammar.h"

enum builtin { NONE, BLANK, CHAR, STRING, INTEGER, NUMBER, VALUE, OBJECT, ARRAY, N_BUILTIN };
enum type { T_NULL = 1, T_BOOL = 2, T_INTEGER = 4, T_NUMBER = 8, T_STRING = 16, T_ARRAY = 32, T_OBJECT = 64, T_ANY = 127 };

#define MAX_LABELS EYE_GRAMMAR_MAX_CODE
#define MAX_PROPERTIES 256
#define MAX_INDENT 16
#define MAX_DIGITS 15

struct source { /* of a rule */
    enum builtin builtin;
    json_t *schema;
    char path[96]; /* for errors */
};

struct compiler {
    struct eye_grammar_code *g;
    json_t *root;
    struct source *source;   /* [EYE_GRAMMAR_MAX_RULES] */
    int32_t builtin[N_BUILTIN]; /* their rules, -1 = not yet */
    int32_t single[256];     /* sets of one byte, -1 = not yet */
    int32_t *label;          /* [n_labels] where they stand, -1 = not yet */
    size_t n_labels, label_cap;
    const struct source *at; /* the rule that is written */
    enum eye_status st;      /* the first failure; all later calls do nothing */
    struct eye_err *err;
};

EYE_PRINTF(3, 4) static void refuse(struct compiler *c, enum eye_status st, const char *fmt, ...) {
    if (c->st != EYE_OK) return;
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->st = eye_fail(c->err, st, "schema, %s: %s", c->at ? c->at->path : "#", text);
}

/* ---- writing code ---- */

static void emit(struct compiler *c, enum eye_grammar_op op, int32_t a, bool deep) {
    struct eye_grammar_code *g = c->g;
    void *p = g->inst;
    if (c->st != EYE_OK) return;
    if (g->n_inst == EYE_GRAMMAR_MAX_CODE) {
        refuse(c, EYE_E_LIMIT, "too large: counts of items and characters, and enums, are written out, %d steps at most",
               EYE_GRAMMAR_MAX_CODE);
        return;
    }
    c->st = eye_alloc_grow(g->alloc, &p, &g->inst_cap, g->n_inst + 1, sizeof *g->inst, c->err);
    g->inst = p;
    if (c->st == EYE_OK) g->inst[g->n_inst++] = (struct eye_grammar_inst){(uint8_t)op, deep, a};
}

/* Labels are negative until all code is there. */
static int32_t new_label(struct compiler *c) {
    void *p = c->label;
    if (c->st != EYE_OK) return -1;
    if (c->n_labels == MAX_LABELS) {
        refuse(c, EYE_E_LIMIT, "too large");
        return -1;
    }
    c->st = eye_alloc_grow(c->g->alloc, &p, &c->label_cap, c->n_labels + 1, sizeof *c->label, c->err);
    c->label = p;
    if (c->st != EYE_OK) return -1;
    c->label[c->n_labels++] = -1;
    return -(int32_t)c->n_labels;
}

static void put_label(struct compiler *c, int32_t label) {
    if (c->st == EYE_OK) c->label[-label - 1] = (int32_t)c->g->n_inst;
}

static int32_t new_set(struct compiler *c) {
    if (c->g->n_sets == EYE_GRAMMAR_MAX_SETS) refuse(c, EYE_E_LIMIT, "too many kinds of bytes");
    return c->st == EYE_OK ? c->g->n_sets++ : 0;
}

/* Bytes of the ranges "azAZ__". */
static void one_of(struct compiler *c, const char *ranges) {
    int32_t k = new_set(c);
    for (size_t i = 0; ranges[i] && ranges[i + 1] && c->st == EYE_OK; i += 2)
        for (int b = (uint8_t)ranges[i]; b <= (uint8_t)ranges[i + 1]; b++) c->g->set[k][b / 32] |= 1u << (b % 32);
    emit(c, EYE_GRAMMAR_SET, k, false);
}

static void byte(struct compiler *c, uint8_t b) {
    if (c->single[b] < 0 && c->st == EYE_OK) {
        int32_t k = new_set(c);
        if (c->st == EYE_OK) c->g->set[k][b / 32] |= 1u << (b % 32);
        c->single[b] = k;
    }
    emit(c, EYE_GRAMMAR_SET, c->single[b], false);
}

static void text(struct compiler *c, const char *s) {
    for (; *s; s++) byte(c, (uint8_t)*s);
}

static void split(struct compiler *c, int32_t label) { emit(c, EYE_GRAMMAR_SPLIT, label, false); }
static void jump(struct compiler *c, int32_t label) { emit(c, EYE_GRAMMAR_JUMP, label, false); }
static void give_back(struct compiler *c) { emit(c, EYE_GRAMMAR_RETURN, 0, false); }

/* ---- rules ---- */

static int32_t add_rule(struct compiler *c, enum builtin b, json_t *schema, const char *path) {
    struct eye_grammar_code *g = c->g;
    if (g->n_rules == EYE_GRAMMAR_MAX_RULES) refuse(c, EYE_E_LIMIT, "more than %d schemas in it", EYE_GRAMMAR_MAX_RULES);
    if (c->st != EYE_OK) return 0;
    c->source[g->n_rules] = (struct source){.builtin = b, .schema = schema};
    snprintf(c->source[g->n_rules].path, sizeof c->source->path, "%s", path);
    return g->n_rules++;
}

static void call_builtin(struct compiler *c, enum builtin b) {
    if (c->builtin[b] < 0) c->builtin[b] = add_rule(c, b, NULL, "#");
    emit(c, EYE_GRAMMAR_CALL, c->builtin[b], b == VALUE);
}

static void call_schema(struct compiler *c, json_t *schema, const char *step) {
    char path[96];
    int32_t k = 0;
    if (c->st != EYE_OK) return;
    if (json_is_true(schema)) {
        call_builtin(c, VALUE);
        return;
    }
    while (k < c->g->n_rules && c->source[k].schema != schema) k++;
    if (k == c->g->n_rules) {
        snprintf(path, sizeof path, "%.60s/%.30s", c->at ? c->at->path : "#", step);
        k = add_rule(c, NONE, schema, path);
    }
    emit(c, EYE_GRAMMAR_CALL, k, true);
}

static void blank(struct compiler *c) { call_builtin(c, BLANK); }

/* ---- what JSON is made of ---- */

/* Nothing, a blank, or a line's end and what it is indented by: what models write, and no room to dawdle in. */
static void write_blank(struct compiler *c) {
    int32_t end = new_label(c), line = new_label(c);
    split(c, end);
    split(c, line);
    byte(c, ' ');
    give_back(c);
    put_label(c, line);
    byte(c, '\n');
    for (int i = 0; i < MAX_INDENT; i++) {
        split(c, end);
        byte(c, ' ');
    }
    put_label(c, end);
    give_back(c);
}

/* One alternative of several: of each but the last. */
static int32_t or_else(struct compiler *c) {
    int32_t next = new_label(c);
    split(c, next);
    return next;
}

/* \uXXXX: no NUL and no controls, surrogates left out (as characters they may stand). */
static void write_escape(struct compiler *c) {
    static const char *const hex[][4] = {{"19acefACEF", "09afAF", "09afAF", "09afAF"}, {"DDdd", "07", "09afAF", "09afAF"},
                                         {"00", "19afAF", "09afAF", "09afAF"}, {"00", "00", "29afAF", "09afAF"}};
    byte(c, '\\');
    int32_t u = or_else(c);
    one_of(c, "\"\"\\\\//bbffnnrrtt");
    give_back(c);
    put_label(c, u);
    byte(c, 'u');
    for (int i = 0; i < 4; i++) {
        int32_t next = i < 3 ? or_else(c) : 0;
        for (int k = 0; k < 4; k++) one_of(c, hex[i][k]);
        give_back(c);
        if (i < 3) put_label(c, next);
    }
}

/* A character of a string: UTF-8 as RFC 3629 has it, byte by byte. */
static void write_char(struct compiler *c) {
    static const char *const form[][4] = {{"\xC2\xDF", "\x80\xBF"}, {"\xE0\xE0", "\xA0\xBF", "\x80\xBF"},
        {"\xE1\xEC\xEE\xEF", "\x80\xBF", "\x80\xBF"}, {"\xED\xED", "\x80\x9F", "\x80\xBF"},
        {"\xF0\xF0", "\x90\xBF", "\x80\xBF", "\x80\xBF"}, {"\xF1\xF3", "\x80\xBF", "\x80\xBF", "\x80\xBF"},
        {"\xF4\xF4", "\x80\x8F", "\x80\xBF", "\x80\xBF"}};
    int32_t next = or_else(c);
    one_of(c, " !#[]~");
    give_back(c);
    put_label(c, next);
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        next = or_else(c);
        for (int k = 0; k < 4 && form[i][k]; k++) one_of(c, form[i][k]);
        give_back(c);
        put_label(c, next);
    }
    write_escape(c);
}

/* min to max of them; max < 0 = any number. */
static void characters(struct compiler *c, int64_t min, int64_t max) {
    int32_t end = new_label(c), again = new_label(c);
    byte(c, '"');
    for (int64_t i = 0; i < min && c->st == EYE_OK; i++) call_builtin(c, CHAR);
    for (int64_t i = min; i < max && c->st == EYE_OK; i++) {
        split(c, end);
        call_builtin(c, CHAR);
    }
    if (max < 0) {
        put_label(c, again);
        split(c, end);
        call_builtin(c, CHAR);
        jump(c, again);
    }
    put_label(c, end);
    byte(c, '"');
    give_back(c);
}

/* At most n digits more. */
static void digits(struct compiler *c, int n) {
    int32_t end = new_label(c);
    for (int i = 0; i < n; i++) {
        split(c, end);
        one_of(c, "09");
    }
    put_label(c, end);
}

static void write_integer(struct compiler *c) {
    int32_t plus = new_label(c);
    split(c, plus);
    byte(c, '-');
    put_label(c, plus);
    int32_t more = or_else(c);
    byte(c, '0');
    give_back(c);
    put_label(c, more);
    one_of(c, "19");
    digits(c, MAX_DIGITS - 1);
    give_back(c);
}

static void write_number(struct compiler *c) {
    int32_t exponent = new_label(c), end = new_label(c), bare = new_label(c);
    call_builtin(c, INTEGER);
    split(c, exponent);
    byte(c, '.');
    one_of(c, "09");
    digits(c, MAX_DIGITS - 1);
    put_label(c, exponent);
    split(c, end);
    one_of(c, "eeEE");
    split(c, bare);
    one_of(c, "++--");
    put_label(c, bare);
    one_of(c, "09");
    digits(c, 1);
    put_label(c, end);
    give_back(c);
}

/* end: a label, for one that may be left out; 0 = it may not. */
static void item(struct compiler *c, json_t *schema, bool comma, int32_t end) {
    if (end) split(c, end);
    if (comma) byte(c, ',');
    if (comma) blank(c);
    if (schema) call_schema(c, schema, "items");
    else call_builtin(c, VALUE);
}

/* min to max (< 0 = any number of) items, of schema or any value. */
static void items(struct compiler *c, json_t *schema, int64_t min, int64_t max) {
    int32_t end = new_label(c), again = new_label(c);
    byte(c, '[');
    blank(c);
    int64_t written = max < 0 ? EYE_MAX(min, 1) : max;
    for (int64_t i = 0; i < written && c->st == EYE_OK; i++) item(c, schema, i > 0, i >= min ? end : 0);
    if (max < 0) {
        put_label(c, again);
        item(c, schema, true, end);
        jump(c, again);
    }
    put_label(c, end);
    blank(c);
    byte(c, ']');
    give_back(c);
}

/* Any names, values of schema or any. */
static void pairs(struct compiler *c, json_t *schema) {
    int32_t end = new_label(c), again = new_label(c), first = new_label(c);
    byte(c, '{');
    blank(c);
    split(c, end);
    jump(c, first);
    put_label(c, again);
    split(c, end);
    byte(c, ',');
    blank(c);
    put_label(c, first);
    call_builtin(c, STRING);
    byte(c, ':');
    blank(c);
    if (schema) call_schema(c, schema, "additionalProperties");
    else call_builtin(c, VALUE);
    jump(c, again);
    put_label(c, end);
    blank(c);
    byte(c, '}');
    give_back(c);
}

static void word(struct compiler *c, const char *s) {
    text(c, s);
    give_back(c);
}

static void write_builtin(struct compiler *c, enum builtin b) {
    switch (b) {
    case BLANK: write_blank(c); return;
    case CHAR: write_char(c); return;
    case STRING: characters(c, 0, -1); return;
    case INTEGER: write_integer(c); return;
    case NUMBER: write_number(c); return;
    case OBJECT: pairs(c, NULL); return;
    case ARRAY: items(c, NULL, 0, -1); return;
    default: break;
    }
    static const enum builtin kind[] = {STRING, NUMBER, OBJECT, ARRAY};
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 7; i++) {
        int32_t next = i < 6 ? or_else(c) : 0;
        if (i < 4) {
            call_builtin(c, kind[i]);
            give_back(c);
        } else {
            word(c, words[i - 4]);
        }
        if (i < 6) put_label(c, next);
    }
}

/* ---- a schema ---- */

static const struct { const char *name; unsigned type; } type_names[] = {
    {"null", T_NULL}, {"boolean", T_BOOL}, {"integer", T_INTEGER}, {"number", T_NUMBER},
    {"string", T_STRING}, {"array", T_ARRAY}, {"object", T_OBJECT}};

static unsigned type_named(struct compiler *c, json_t *v) {
    const char *name = json_string_value(v);
    for (size_t i = 0; name && i < sizeof type_names / sizeof *type_names; i++)
        if (strcmp(type_names[i].name, name) == 0) return type_names[i].type;
    refuse(c, EYE_E_CORRUPT, "type \"%.40s\" is none of null, boolean, integer, number, string, array, object",
           name ? name : "?");
    return 0;
}

static unsigned types_of(struct compiler *c, json_t *s) {
    json_t *type = json_object_get(s, "type"), *v;
    unsigned types = 0;
    size_t i;
    if (json_is_array(type)) {
        json_array_foreach(type, i, v) types |= type_named(c, v);
        if (!types) refuse(c, EYE_E_CORRUPT, "type is an empty list");
        return types;
    }
    if (type) return type_named(c, type);
    if (json_object_get(s, "properties") || json_object_get(s, "required") || json_object_get(s, "additionalProperties"))
        types |= T_OBJECT;
    if (json_object_get(s, "items") || json_object_get(s, "minItems") || json_object_get(s, "maxItems")) types |= T_ARRAY;
    if (json_object_get(s, "minLength") || json_object_get(s, "maxLength")) types |= T_STRING;
    return types ? types : T_ANY;
}

/* All keywords are known, and stand beside what they may stand beside. */
static void check_keywords(struct compiler *c, json_t *s) {
    static const char *const silent[] = {"title", "description", "default", "examples", "format", "deprecated", "readOnly",
                                         "writeOnly", "$schema", "$id", "$comment", "$defs", "definitions"};
    static const char *const alone[] = {"$ref", "anyOf", "enum", "const"};
    static const char *const known[] = {"type", "properties", "required", "additionalProperties", "items", "minItems",
                                        "maxItems", "minLength", "maxLength"};
    const char *key, *sole = NULL, *other = NULL;
    json_t *v;
    json_object_foreach(s, key, v) {
        bool found = false;
        for (size_t i = 0; i < sizeof silent / sizeof *silent && !found; i++) found = strcmp(silent[i], key) == 0;
        if (found) continue;
        for (size_t i = 0; i < sizeof alone / sizeof *alone && !found; i++) found = strcmp(alone[i], key) == 0;
        if (found && sole) other = key;
        if (found) sole = key;
        for (size_t i = 0; i < sizeof known / sizeof *known && !found; i++) {
            found = strcmp(known[i], key) == 0;
            if (found && i) other = key; /* type may stand beside enum and const */
        }
        if (!found) refuse(c, EYE_E_UNSUPPORTED, "the keyword \"%.60s\" is not done", key);
    }
    if (sole && !other && json_object_get(s, "type") && (!strcmp(sole, "$ref") || !strcmp(sole, "anyOf"))) other = "type";
    if (sole && other) refuse(c, EYE_E_UNSUPPORTED, "\"%.60s\" beside \"%s\" is not done", other, sole);
}

static int64_t count_of(struct compiler *c, json_t *s, const char *key, int64_t def) {
    json_t *v = json_object_get(s, key);
    if (!v) return def;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        refuse(c, EYE_E_CORRUPT, "%s: expected a number that is not negative", key);
    if (json_integer_value(v) > EYE_GRAMMAR_MAX_CODE) {
        if (strncmp(key, "max", 3) == 0) return -1; /* no answer is so long */
        refuse(c, EYE_E_LIMIT, "%s: %lld is too many", key, (long long)json_integer_value(v));
    }
    return json_integer_value(v);
}

static bool is_of_type(json_t *v, unsigned types) {
    switch (json_typeof(v)) {
    case JSON_NULL: return types & T_NULL;
    case JSON_TRUE: case JSON_FALSE: return types & T_BOOL;
    case JSON_INTEGER: return types & (T_INTEGER | T_NUMBER);
    case JSON_REAL: return types & T_NUMBER;
    case JSON_STRING: return types & T_STRING;
    case JSON_ARRAY: return types & T_ARRAY;
    default: return types & T_OBJECT;
    }
}

static void literal(struct compiler *c, json_t *v) {
    json_t *list = v ? json_pack("[O]", v) : NULL; /* jansson's writer wants a list or an object: its brackets are left out */
    struct eye_buf b;
    eye_buf_init(&b, c->g->alloc);
    if (!list || eye_json_write(list, 0, &b, NULL) != EYE_OK) refuse(c, EYE_E_NOMEM, "no memory for a value");
    for (size_t i = 1; i + 1 < b.len && c->st == EYE_OK; i++) byte(c, (uint8_t)b.p[i]);
    eye_buf_clear(&b);
    json_decref(list);
}

/* The values of enum, each as it would be written without blanks. */
static void choices(struct compiler *c, json_t *list, unsigned types) {
    size_t i, n = 0;
    json_t *v;
    if (!json_is_array(list)) refuse(c, EYE_E_CORRUPT, "enum: expected a list");
    json_array_foreach(list, i, v) {
        if (!is_of_type(v, types)) continue;
        int32_t next = or_else(c); /* after the last there is nothing */
        literal(c, v);
        give_back(c);
        put_label(c, next);
        n++;
    }
    if (n == 0) {
        refuse(c, EYE_E_UNSUPPORTED, "enum has no value of its type");
        return;
    }
    emit(c, EYE_GRAMMAR_JUMP, (int32_t)c->g->n_inst, false); /* a place that leads nowhere */
}

static void any_of(struct compiler *c, json_t *list) {
    size_t i, n = json_array_size(list);
    json_t *v;
    if (n == 0) refuse(c, EYE_E_CORRUPT, "anyOf: expected a list of schemas");
    json_array_foreach(list, i, v) {
        char step[32];
        int32_t next = i + 1 < n ? or_else(c) : 0;
        snprintf(step, sizeof step, "anyOf/%zu", i);
        call_schema(c, v, step);
        give_back(c);
        if (i + 1 < n) put_label(c, next);
    }
}

/* "#/$defs/name": a way through objects. */
static void reference(struct compiler *c, json_t *ref) {
    const char *p = json_string_value(ref);
    json_t *v = c->root;
    char step[128];
    if (!p || p[0] != '#' || (p[1] && p[1] != '/')) {
        refuse(c, EYE_E_UNSUPPORTED, "$ref \"%.60s\": only places in this schema are followed, \"#/$defs/name\"", p ? p : "?");
        return;
    }
    const char *whole = p++;
    while (*p && v) {
        size_t n = 0;
        for (p++; *p && *p != '/' && n + 1 < sizeof step; p++) {
            bool escaped = p[0] == '~' && (p[1] == '0' || p[1] == '1');
            step[n++] = !escaped ? *p : *++p == '0' ? '~' : '/';
        }
        step[n] = '\0';
        v = *p && *p != '/' ? NULL : json_object_get(v, step);
    }
    if (!json_is_object(v) && !json_is_true(v)) {
        refuse(c, EYE_E_CORRUPT, "$ref \"%.60s\" leads to no schema", whole);
        return;
    }
    call_schema(c, v, whole);
    give_back(c);
}

static bool is_required(json_t *required, const char *name) {
    size_t i;
    json_t *v;
    json_array_foreach(required, i, v) if (json_is_string(v) && strcmp(json_string_value(v), name) == 0) return true;
    return false;
}

static void property(struct compiler *c, const char *name, json_t *schema) {
    json_t *key = json_string(name);
    literal(c, key);
    json_decref(key);
    byte(c, ':');
    blank(c);
    call_schema(c, schema, name);
}

static void check_required(struct compiler *c, json_t *required, json_t *properties) {
    size_t i;
    json_t *v;
    if (required && !json_is_array(required)) refuse(c, EYE_E_CORRUPT, "required: expected a list of names");
    json_array_foreach(required, i, v) {
        if (!json_is_string(v)) refuse(c, EYE_E_CORRUPT, "required: expected a list of names");
        else if (!json_object_get(properties, json_string_value(v)))
            refuse(c, EYE_E_UNSUPPORTED, "required: \"%.60s\" is not among the properties", json_string_value(v));
    }
}

/* Two chains over the properties: before anything is written, and after, when a comma comes first. */
static void object(struct compiler *c, json_t *s) {
    json_t *properties = json_object_get(s, "properties"), *required = json_object_get(s, "required"), *v;
    json_t *more = json_object_get(s, "additionalProperties");
    int32_t after[MAX_PROPERTIES + 1], end = new_label(c);
    const char *name;
    size_t n = json_object_size(properties), i = 0;
    if (properties && !json_is_object(properties)) refuse(c, EYE_E_CORRUPT, "properties: expected an object");
    if (more && !json_is_object(more) && !json_is_boolean(more))
        refuse(c, EYE_E_CORRUPT, "additionalProperties: expected a schema, true or false");
    if (n > MAX_PROPERTIES) refuse(c, EYE_E_LIMIT, "more than %d properties", MAX_PROPERTIES);
    check_required(c, required, properties);
    if (c->st != EYE_OK) return;
    if (n == 0 && !json_is_false(more)) {
        pairs(c, json_is_object(more) ? more : NULL);
        return;
    }
    for (size_t k = 0; k <= n; k++) after[k] = new_label(c);
    byte(c, '{');
    blank(c);
    bool over = false;
    json_object_foreach(properties, name, v) {
        int32_t skip = new_label(c);
        over = is_required(required, name);
        if (!over) split(c, skip);
        property(c, name, v);
        jump(c, after[++i]);
        put_label(c, skip);
        if (over) break; /* what follows has this one in front */
    }
    if (!over) jump(c, end);
    i = 0;
    json_object_foreach(properties, name, v) {
        put_label(c, after[i++]);
        if (!is_required(required, name)) split(c, after[i]);
        byte(c, ',');
        blank(c);
        property(c, name, v);
    }
    put_label(c, after[n]);
    put_label(c, end);
    blank(c);
    byte(c, '}');
    give_back(c);
}

static void of_type(struct compiler *c, json_t *s, unsigned type) {
    json_t *list = json_object_get(s, "items");
    int64_t min, max;
    switch (type) {
    case T_NULL: word(c, "null"); return;
    case T_BOOL: {
        int32_t next = or_else(c);
        word(c, "true");
        put_label(c, next);
        word(c, "false");
        return;
    }
    case T_INTEGER:
    case T_NUMBER:
        call_builtin(c, type == T_INTEGER ? INTEGER : NUMBER);
        give_back(c);
        return;
    case T_STRING:
        min = count_of(c, s, "minLength", 0);
        max = count_of(c, s, "maxLength", -1);
        if (max >= 0 && min > max) refuse(c, EYE_E_UNSUPPORTED, "minLength is above maxLength: nothing is so");
        characters(c, min, max);
        return;
    case T_ARRAY:
        min = count_of(c, s, "minItems", 0);
        max = count_of(c, s, "maxItems", -1);
        if (max >= 0 && min > max) refuse(c, EYE_E_UNSUPPORTED, "minItems is above maxItems: nothing is so");
        if (list && !json_is_object(list) && !json_is_true(list)) refuse(c, EYE_E_UNSUPPORTED, "items: expected a schema");
        items(c, json_is_object(list) ? list : NULL, min, max);
        return;
    default: object(c, s); return;
    }
}

static void write_schema(struct compiler *c, json_t *s) {
    if (!json_is_object(s)) {
        bool no = json_is_false(s);
        refuse(c, no ? EYE_E_UNSUPPORTED : EYE_E_CORRUPT, no ? "false: nothing is so" : "expected a schema");
        return;
    }
    check_keywords(c, s);
    if (c->st != EYE_OK) return;
    unsigned types = types_of(c, s);
    json_t *v;
    if ((v = json_object_get(s, "$ref"))) {
        reference(c, v);
    } else if ((v = json_object_get(s, "anyOf"))) {
        any_of(c, v);
    } else if ((v = json_object_get(s, "enum"))) {
        choices(c, v, types);
    } else if ((v = json_object_get(s, "const"))) {
        if (!is_of_type(v, types)) refuse(c, EYE_E_UNSUPPORTED, "const is not of its type");
        literal(c, v);
        give_back(c);
    } else if (types == T_ANY) {
        call_builtin(c, VALUE);
        give_back(c);
    } else {
        if (types & T_NUMBER) types &= ~(unsigned)T_INTEGER;
        for (unsigned t = 1; t <= T_OBJECT; t <<= 1) {
            if (!(types & t)) continue;
            types &= ~t;
            int32_t next = types ? or_else(c) : 0;
            of_type(c, s, t);
            if (types) put_label(c, next);
        }
    }
}

/* ---- the whole ---- */

static void resolve(struct compiler *c) {
    struct eye_grammar_code *g = c->g;
    for (size_t i = 0; i < g->n_inst; i++) {
        struct eye_grammar_inst *in = &g->inst[i];
        if ((in->op == EYE_GRAMMAR_SPLIT || in->op == EYE_GRAMMAR_JUMP) && in->a < 0) in->a = c->label[-in->a - 1];
    }
}

static uint32_t plus(uint32_t a, uint32_t b) { return a >= EYE_GRAMMAR_NEVER - b ? EYE_GRAMMAR_NEVER : a + b; }

/* Bytes and nesting from each place to its rule's end, at least: passes until nothing falls any more, each from the end, so that
 * only calls need more than one. */
static enum eye_status measure(struct eye_grammar_code *g, struct eye_err *err) {
    void *cost = NULL, *need = NULL;
    EYE_TRY(eye_alloc_grow(g->alloc, &cost, &g->cost_cap, g->n_inst, sizeof *g->cost, err));
    g->cost = cost;
    EYE_TRY(eye_alloc_grow(g->alloc, &need, &g->need_cap, g->n_inst, 1, err));
    g->need = need;
    for (size_t i = 0; i < g->n_inst; i++) {
        g->cost[i] = EYE_GRAMMAR_NEVER;
        g->need[i] = UINT8_MAX;
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = g->n_inst; i-- > 0;) {
            const struct eye_grammar_inst *in = &g->inst[i];
            uint32_t next = i + 1 < g->n_inst ? g->cost[i + 1] : EYE_GRAMMAR_NEVER, c = 0;
            int need_next = i + 1 < g->n_inst ? g->need[i + 1] : UINT8_MAX, n = 0;
            int32_t to = in->op == EYE_GRAMMAR_CALL ? g->rule[in->a] : in->a;
            if (in->op == EYE_GRAMMAR_SET) c = plus(next, 1), n = need_next;
            if (in->op == EYE_GRAMMAR_JUMP) c = g->cost[to], n = g->need[to];
            if (in->op == EYE_GRAMMAR_SPLIT) c = EYE_MIN(next, g->cost[to]), n = EYE_MIN(need_next, g->need[to]);
            if (in->op == EYE_GRAMMAR_CALL)
                c = plus(next, g->cost[to]), n = EYE_MAX(need_next, EYE_MIN(g->need[to] + in->deep, UINT8_MAX));
            if (c < g->cost[i] || n < g->need[i]) {
                g->cost[i] = EYE_MIN(c, g->cost[i]);
                g->need[i] = (uint8_t)EYE_MIN(n, g->need[i]);
                changed = true;
            }
        }
    }
    return EYE_OK;
}

static enum eye_status compile(struct eye_grammar_code *g, json_t *root, enum builtin whole, const struct eye_alloc *alloc,
                               struct eye_err *err) {
    size_t bytes = EYE_GRAMMAR_MAX_RULES * sizeof(struct source);
    struct compiler c = {.g = g, .root = root, .err = err};
    *g = (struct eye_grammar_code){.alloc = alloc};
    for (int i = 0; i < N_BUILTIN; i++) c.builtin[i] = -1;
    for (int i = 0; i < 256; i++) c.single[i] = -1;
    c.source = eye_alloc_raw(alloc, bytes);
    if (!c.source) return eye_fail_nomem(err, bytes);
    if (root && json_is_true(root)) whole = VALUE;
    add_rule(&c, whole, whole ? NULL : root, "#");
    if (whole) c.builtin[whole] = 0;
    for (int32_t i = 0; i < g->n_rules && c.st == EYE_OK; i++) {
        g->rule[i] = (int32_t)g->n_inst;
        c.at = &c.source[i];
        if (c.at->builtin) write_builtin(&c, c.at->builtin);
        else write_schema(&c, c.at->schema);
    }
    if (c.st == EYE_OK) {
        resolve(&c);
        c.st = measure(g, err);
    }
    c.at = NULL;
    if (c.st == EYE_OK && (g->cost[g->rule[0]] == EYE_GRAMMAR_NEVER || g->need[g->rule[0]] > EYE_GRAMMAR_MAX_NESTING))
        refuse(&c, EYE_E_UNSUPPORTED, "nothing finite is so, or it nests deeper than %d", EYE_GRAMMAR_MAX_NESTING);
    eye_alloc_free(alloc, c.label, c.label_cap * sizeof *c.label);
    eye_alloc_free(alloc, c.source, bytes);
    if (c.st != EYE_OK) eye_grammar_code_clear(g);
    return c.st;
}

enum eye_status eye_grammar_compile_json(struct eye_grammar_code *g, const struct eye_alloc *alloc, struct eye_err *err) {
    return compile(g, NULL, OBJECT, alloc, err);
}

enum eye_status eye_grammar_compile_schema(struct eye_grammar_code *g, const char *text, size_t n, const struct eye_alloc *alloc,
                                           struct eye_err *err) {
    struct eye_json j;
    *g = (struct eye_grammar_code){.alloc = alloc};
    EYE_TRY(eye_json_parse(&j, text, n, EYE_GRAMMAR_MAX_SCHEMA_BYTES, "schema", err));
    enum eye_status st = compile(g, j.root, NONE, alloc, err);
    eye_json_clear(&j);
    return st;
}

void eye_grammar_code_clear(struct eye_grammar_code *g) {
    eye_alloc_free(g->alloc, g->inst, g->inst_cap * sizeof *g->inst);
    eye_alloc_free(g->alloc, g->cost, g->cost_cap * sizeof *g->cost);
    eye_alloc_free(g->alloc, g->need, g->need_cap);
    *g = (struct eye_grammar_code){0};
}
