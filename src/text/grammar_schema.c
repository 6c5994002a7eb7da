/* text/grammar_schema: JSON Schema to the program of grammar.h. Every schema that is reached becomes a rule, found again by its
 * place in the tree, so that $ref may go in circles; rules wait in a list, so nothing here recurses on what it reads. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"
#include "text/grammar_write.h"

#define MAX_PROPERTIES 256

static const struct { const char *name; unsigned type; } type_names[] = {
    {"null", EYE_GW_T_NULL}, {"boolean", EYE_GW_T_BOOL}, {"integer", EYE_GW_T_INTEGER}, {"number", EYE_GW_T_NUMBER},
    {"string", EYE_GW_T_STRING}, {"array", EYE_GW_T_ARRAY}, {"object", EYE_GW_T_OBJECT}};

static unsigned type_named(struct eye_gw *c, json_t *v) {
    const char *name = json_string_value(v);
    for (size_t i = 0; name && i < sizeof type_names / sizeof *type_names; i++)
        if (strcmp(type_names[i].name, name) == 0) return type_names[i].type;
    eye_gw_refuse(c, EYE_E_CORRUPT, "type \"%.40s\" is none of null, boolean, integer, number, string, array, object",
           name ? name : "?");
    return 0;
}

static const char *const bound_names[] = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"};

static bool has_bounds(json_t *s) {
    for (int i = 0; i < 4; i++) if (json_object_get(s, bound_names[i])) return true;
    return false;
}

unsigned eye_gw_types_of(struct eye_gw *c, json_t *s) {
    json_t *type = json_object_get(s, "type"), *v;
    unsigned types = 0;
    size_t i;
    if (json_is_array(type)) {
        json_array_foreach(type, i, v) types |= type_named(c, v);
        if (!types) eye_gw_refuse(c, EYE_E_CORRUPT, "type is an empty list");
        return types;
    }
    if (type) return type_named(c, type);
    if (json_object_get(s, "properties") || json_object_get(s, "required") || json_object_get(s, "additionalProperties"))
        types |= EYE_GW_T_OBJECT;
    if (json_object_get(s, "items") || json_object_get(s, "minItems") || json_object_get(s, "maxItems"))
        types |= EYE_GW_T_ARRAY;
    if (json_object_get(s, "minLength") || json_object_get(s, "maxLength") || json_object_get(s, "pattern"))
        types |= EYE_GW_T_STRING;
    if (has_bounds(s)) types |= EYE_GW_T_NUMBER;
    return types ? types : EYE_GW_T_ANY;
}

/* All keywords are known, and stand beside what they may stand beside. */
static void check_keywords(struct eye_gw *c, json_t *s) {
    static const char *const silent[] = {"title", "description", "default", "examples", "format", "deprecated", "readOnly",
                                         "writeOnly", "$schema", "$id", "$comment", "discriminator", "$defs", "definitions"};
    static const char *const alone[] = {"$ref", "anyOf", "oneOf", "enum", "const"};
    static const char *const known[] = {"type", "properties", "required", "additionalProperties", "items", "minItems",
                                        "maxItems", "minLength", "maxLength", "pattern", "minimum", "exclusiveMinimum",
                                        "maximum", "exclusiveMaximum"};
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
        if (!found) eye_gw_refuse(c, EYE_E_UNSUPPORTED, "the keyword \"%.60s\" is not done", key);
    }
    if (sole && !other && json_object_get(s, "type") && strcmp(sole, "enum") && strcmp(sole, "const")) other = "type";
    if (sole && other) eye_gw_refuse(c, EYE_E_UNSUPPORTED, "\"%.60s\" beside \"%s\" is not done", other, sole);
}

static int64_t count_of(struct eye_gw *c, json_t *s, const char *key, int64_t def) {
    json_t *v = json_object_get(s, key);
    if (!v) return def;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        eye_gw_refuse(c, EYE_E_CORRUPT, "%s: expected a number that is not negative", key);
    if (json_integer_value(v) > EYE_GRAMMAR_MAX_CODE) {
        if (strncmp(key, "max", 3) == 0) return -1; /* no answer is so long */
        eye_gw_refuse(c, EYE_E_LIMIT, "%s: %lld is too many", key, (long long)json_integer_value(v));
    }
    return json_integer_value(v);
}

bool eye_gw_is_of_type(json_t *v, unsigned types) {
    switch (json_typeof(v)) {
    case JSON_NULL: return types & EYE_GW_T_NULL;
    case JSON_TRUE: case JSON_FALSE: return types & EYE_GW_T_BOOL;
    case JSON_INTEGER: return types & (EYE_GW_T_INTEGER | EYE_GW_T_NUMBER);
    case JSON_REAL: return types & EYE_GW_T_NUMBER;
    case JSON_STRING: return types & EYE_GW_T_STRING;
    case JSON_ARRAY: return types & EYE_GW_T_ARRAY;
    default: return types & EYE_GW_T_OBJECT;
    }
}

static void literal(struct eye_gw *c, json_t *v) {
    json_t *list = v ? json_pack("[O]", v) : NULL; /* jansson's writer wants a list or an object: its brackets are left out */
    struct eye_buf b;
    eye_buf_init(&b, c->g->alloc);
    if (!list || eye_json_write(list, 0, &b, NULL) != EYE_OK) eye_gw_refuse(c, EYE_E_NOMEM, "no memory for a value");
    for (size_t i = 1; i + 1 < b.len && c->st == EYE_OK; i++) eye_gw_byte(c, (uint8_t)b.p[i]);
    eye_buf_clear(&b);
    json_decref(list);
}

/* The values of enum, each as it would be written without blanks. */
static void choices(struct eye_gw *c, json_t *list, unsigned types) {
    size_t i, n = 0;
    json_t *v;
    if (!json_is_array(list)) eye_gw_refuse(c, EYE_E_CORRUPT, "enum: expected a list");
    json_array_foreach(list, i, v) {
        if (!eye_gw_is_of_type(v, types)) continue;
        int32_t next = eye_gw_or_else(c); /* after the last there is nothing */
        literal(c, v);
        eye_gw_give_back(c);
        eye_gw_put_label(c, next);
        n++;
    }
    if (n == 0) {
        eye_gw_refuse(c, EYE_E_UNSUPPORTED, "enum has no value of its type");
        return;
    }
    eye_gw_emit(c, EYE_GRAMMAR_JUMP, (int32_t)c->g->n_inst, false); /* a place that leads nowhere */
}

static void any_of(struct eye_gw *c, json_t *list, const char *name) {
    size_t i, n = json_array_size(list);
    json_t *v;
    if (n == 0) eye_gw_refuse(c, EYE_E_CORRUPT, "%s: expected a list of schemas", name);
    json_array_foreach(list, i, v) {
        char step[32];
        int32_t next = i + 1 < n ? eye_gw_or_else(c) : 0;
        snprintf(step, sizeof step, "%s/%zu", name, i);
        eye_gw_call_schema(c, v, step);
        eye_gw_give_back(c);
        if (i + 1 < n) eye_gw_put_label(c, next);
    }
}

bool eye_gw_is_place(const char *ref) { return ref && ref[0] == '#' && (!ref[1] || ref[1] == '/'); }

/* "#/$defs/name": a way through objects. */
json_t *eye_gw_find(const struct eye_gw *c, const char *ref) {
    const char *p = ref + 1;
    json_t *v = c->root;
    char step[128];
    while (*p && v) {
        size_t n = 0;
        for (p++; *p && *p != '/' && n + 1 < sizeof step; p++) {
            bool escaped = p[0] == '~' && (p[1] == '0' || p[1] == '1');
            step[n++] = !escaped ? *p : *++p == '0' ? '~' : '/';
        }
        step[n] = '\0';
        v = *p && *p != '/' ? NULL : json_object_get(v, step);
    }
    return json_is_object(v) || json_is_true(v) ? v : NULL;
}

static void reference(struct eye_gw *c, json_t *ref) {
    const char *p = json_string_value(ref);
    json_t *v = eye_gw_is_place(p) ? eye_gw_find(c, p) : NULL;
    if (!eye_gw_is_place(p))
        eye_gw_refuse(c, EYE_E_UNSUPPORTED, "$ref \"%.60s\": only places in this schema are followed, \"#/$defs/name\"",
                      p ? p : "?");
    else if (!v)
        eye_gw_refuse(c, EYE_E_CORRUPT, "$ref \"%.60s\" leads to no schema", p);
    else
        eye_gw_call_schema(c, v, p);
    eye_gw_give_back(c);
}

bool eye_gw_is_required(json_t *required, const char *name) {
    size_t i;
    json_t *v;
    json_array_foreach(required, i, v) if (json_is_string(v) && strcmp(json_string_value(v), name) == 0) return true;
    return false;
}

static void property(struct eye_gw *c, const char *name, json_t *schema) {
    json_t *key = json_string(name);
    literal(c, key);
    json_decref(key);
    eye_gw_byte(c, ':');
    eye_gw_blank(c);
    eye_gw_call_schema(c, schema, name);
}

static void check_required(struct eye_gw *c, json_t *required, json_t *properties) {
    size_t i;
    json_t *v;
    if (required && !json_is_array(required)) eye_gw_refuse(c, EYE_E_CORRUPT, "required: expected a list of names");
    json_array_foreach(required, i, v) {
        if (!json_is_string(v)) eye_gw_refuse(c, EYE_E_CORRUPT, "required: expected a list of names");
        else if (!json_object_get(properties, json_string_value(v)))
            eye_gw_refuse(c, EYE_E_UNSUPPORTED, "required: \"%.60s\" is not among the properties", json_string_value(v));
    }
}

/* Two chains over the properties: before anything is written, and after, when a comma comes first. */
static void object(struct eye_gw *c, json_t *s) {
    json_t *properties = json_object_get(s, "properties"), *required = json_object_get(s, "required"), *v;
    json_t *more = json_object_get(s, "additionalProperties");
    int32_t after[MAX_PROPERTIES + 1], end = eye_gw_new_label(c);
    const char *name;
    size_t n = json_object_size(properties), i = 0;
    if (properties && !json_is_object(properties)) eye_gw_refuse(c, EYE_E_CORRUPT, "properties: expected an object");
    if (more && !json_is_object(more) && !json_is_boolean(more))
        eye_gw_refuse(c, EYE_E_CORRUPT, "additionalProperties: expected a schema, true or false");
    if (n > MAX_PROPERTIES) eye_gw_refuse(c, EYE_E_LIMIT, "more than %d properties", MAX_PROPERTIES);
    check_required(c, required, properties);
    if (c->st != EYE_OK) return;
    if (n == 0 && !json_is_false(more)) {
        eye_gw_pairs(c, json_is_object(more) ? more : NULL);
        return;
    }
    for (size_t k = 0; k <= n; k++) after[k] = eye_gw_new_label(c);
    eye_gw_byte(c, '{');
    eye_gw_blank(c);
    bool over = false;
    json_object_foreach(properties, name, v) {
        int32_t skip = eye_gw_new_label(c);
        over = eye_gw_is_required(required, name);
        if (!over) eye_gw_split(c, skip);
        property(c, name, v);
        eye_gw_jump(c, after[++i]);
        eye_gw_put_label(c, skip);
        if (over) break; /* what follows has this one in front */
    }
    if (!over) eye_gw_jump(c, end);
    i = 0;
    json_object_foreach(properties, name, v) {
        eye_gw_put_label(c, after[i++]);
        if (!eye_gw_is_required(required, name)) eye_gw_split(c, after[i]);
        eye_gw_byte(c, ',');
        eye_gw_blank(c);
        property(c, name, v);
    }
    eye_gw_put_label(c, after[n]);
    eye_gw_put_label(c, end);
    eye_gw_blank(c);
    eye_gw_byte(c, '}');
    eye_gw_give_back(c);
}

/* A number between bounds; they have to be whole where the numbers do not (fraction). */
static void bounded(struct eye_gw *c, json_t *s, bool fraction) {
    const double most = 1e15 - 1; /* of EYE_GW_MAX_DIGITS digits */
    double lo = -most, hi = most;
    for (int i = 0; i < 4 && c->st == EYE_OK; i++) {
        json_t *v = json_object_get(s, bound_names[i]);
        double x = json_number_value(v);
        bool exclusive = i % 2, upper = i >= 2;
        if (!v) continue;
        if (!json_is_number(v)) eye_gw_refuse(c, EYE_E_CORRUPT, "%s: expected a number", bound_names[i]);
        else if (fraction && (exclusive || x != floor(x)))
            eye_gw_refuse(c, EYE_E_UNSUPPORTED, "%s of numbers that are not \"integer\"%s is not done", bound_names[i],
                          exclusive ? "" : ", where it is not whole,");
        if (upper) hi = fmin(hi, exclusive ? ceil(x) - 1 : floor(x));
        else lo = fmax(lo, exclusive ? floor(x) + 1 : ceil(x));
    }
    if (lo > hi) eye_gw_refuse(c, EYE_E_UNSUPPORTED, "no number of at most %d digits is within the bounds", EYE_GW_MAX_DIGITS);
    if (c->st == EYE_OK) eye_gw_range(c, (int64_t)lo, (int64_t)hi, fraction);
}

static void matching(struct eye_gw *c, json_t *s) {
    json_t *pattern = json_object_get(s, "pattern");
    if (!json_is_string(pattern)) eye_gw_refuse(c, EYE_E_CORRUPT, "pattern: expected text");
    else if (json_object_get(s, "minLength") || json_object_get(s, "maxLength"))
        eye_gw_refuse(c, EYE_E_UNSUPPORTED, "\"pattern\" beside \"minLength\" or \"maxLength\" is not done");
    else
        eye_gw_pattern(c, json_string_value(pattern));
}

static void of_type(struct eye_gw *c, json_t *s, unsigned type) {
    json_t *list = json_object_get(s, "items");
    int64_t min, max;
    switch (type) {
    case EYE_GW_T_NULL: eye_gw_word(c, "null"); return;
    case EYE_GW_T_BOOL: {
        int32_t next = eye_gw_or_else(c);
        eye_gw_word(c, "true");
        eye_gw_put_label(c, next);
        eye_gw_word(c, "false");
        return;
    }
    case EYE_GW_T_INTEGER:
    case EYE_GW_T_NUMBER:
        if (has_bounds(s)) {
            bounded(c, s, type == EYE_GW_T_NUMBER);
            return;
        }
        eye_gw_call_builtin(c, type == EYE_GW_T_INTEGER ? EYE_GW_INTEGER : EYE_GW_NUMBER);
        eye_gw_give_back(c);
        return;
    case EYE_GW_T_STRING:
        if (json_object_get(s, "pattern")) {
            matching(c, s);
            return;
        }
        min = count_of(c, s, "minLength", 0);
        max = count_of(c, s, "maxLength", -1);
        if (max >= 0 && min > max) eye_gw_refuse(c, EYE_E_UNSUPPORTED, "minLength is above maxLength: nothing is so");
        eye_gw_characters(c, min, max);
        return;
    case EYE_GW_T_ARRAY:
        min = count_of(c, s, "minItems", 0);
        max = count_of(c, s, "maxItems", -1);
        if (max >= 0 && min > max) eye_gw_refuse(c, EYE_E_UNSUPPORTED, "minItems is above maxItems: nothing is so");
        if (list && !json_is_object(list) && !json_is_true(list))
            eye_gw_refuse(c, EYE_E_UNSUPPORTED, "items: expected a schema");
        eye_gw_items(c, json_is_object(list) ? list : NULL, min, max);
        return;
    default: object(c, s); return;
    }
}

static void write_schema(struct eye_gw *c, json_t *s) {
    if (!json_is_object(s)) {
        bool no = json_is_false(s);
        eye_gw_refuse(c, no ? EYE_E_UNSUPPORTED : EYE_E_CORRUPT, no ? "false: nothing is so" : "expected a schema");
        return;
    }
    check_keywords(c, s);
    if (c->st != EYE_OK) return;
    unsigned types = eye_gw_types_of(c, s);
    json_t *v;
    if ((v = json_object_get(s, "$ref"))) {
        reference(c, v);
    } else if ((v = json_object_get(s, "anyOf"))) {
        any_of(c, v, "anyOf");
    } else if ((v = json_object_get(s, "oneOf"))) {
        eye_gw_check_apart(c, v);
        any_of(c, v, "oneOf");
    } else if ((v = json_object_get(s, "enum"))) {
        choices(c, v, types);
    } else if ((v = json_object_get(s, "const"))) {
        if (!eye_gw_is_of_type(v, types)) eye_gw_refuse(c, EYE_E_UNSUPPORTED, "const is not of its type");
        literal(c, v);
        eye_gw_give_back(c);
    } else if (types == EYE_GW_T_ANY) {
        eye_gw_call_builtin(c, EYE_GW_VALUE);
        eye_gw_give_back(c);
    } else {
        if (types & EYE_GW_T_NUMBER) types &= ~(unsigned)EYE_GW_T_INTEGER;
        for (unsigned t = 1; t <= EYE_GW_T_OBJECT; t <<= 1) {
            if (!(types & t)) continue;
            types &= ~t;
            int32_t next = types ? eye_gw_or_else(c) : 0;
            of_type(c, s, t);
            if (types) eye_gw_put_label(c, next);
        }
    }
}

/* ---- the whole ---- */

static enum eye_status compile(struct eye_grammar_code *g, json_t *root, enum eye_gw_kind whole, const struct eye_alloc *alloc,
                               struct eye_err *err) {
    size_t bytes = EYE_GRAMMAR_MAX_RULES * sizeof(struct eye_gw_rule);
    struct eye_gw c = {.g = g, .root = root, .err = err};
    *g = (struct eye_grammar_code){.alloc = alloc};
    for (int i = 0; i < EYE_GW_KINDS; i++) c.builtin[i] = -1;
    for (int i = 0; i < 256; i++) c.single[i] = -1;
    c.source = eye_alloc_raw(alloc, bytes);
    if (!c.source) return eye_fail_nomem(err, bytes);
    if (root && json_is_true(root)) whole = EYE_GW_VALUE;
    eye_gw_add_rule(&c, whole, whole ? NULL : root, "#");
    if (whole) c.builtin[whole] = 0;
    for (int32_t i = 0; i < g->n_rules && c.st == EYE_OK; i++) {
        g->rule[i] = (int32_t)g->n_inst;
        c.at = &c.source[i];
        if (c.at->builtin) eye_gw_write_builtin(&c, c.at->builtin);
        else write_schema(&c, c.at->schema);
    }
    eye_gw_finish(&c);
    c.at = NULL;
    if (c.st == EYE_OK && (g->cost[g->rule[0]] == EYE_GRAMMAR_NEVER || g->need[g->rule[0]] > EYE_GRAMMAR_MAX_NESTING))
        eye_gw_refuse(&c, EYE_E_UNSUPPORTED, "nothing finite is so, or it nests deeper than %d", EYE_GRAMMAR_MAX_NESTING);
    eye_alloc_free(alloc, c.label, c.label_cap * sizeof *c.label);
    eye_alloc_free(alloc, c.source, bytes);
    if (c.st != EYE_OK) eye_grammar_code_clear(g);
    return c.st;
}

enum eye_status eye_grammar_compile_json(struct eye_grammar_code *g, const struct eye_alloc *alloc, struct eye_err *err) {
    return compile(g, NULL, EYE_GW_OBJECT, alloc, err);
}

enum eye_status eye_grammar_compile_schema(struct eye_grammar_code *g, const char *text, size_t n,
                                           const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_json j;
    *g = (struct eye_grammar_code){.alloc = alloc};
    EYE_TRY(eye_json_parse(&j, text, n, EYE_GRAMMAR_MAX_SCHEMA_BYTES, "schema", err));
    enum eye_status st = compile(g, j.root, EYE_GW_NONE, alloc, err);
    eye_json_clear(&j);
    return st;
}
