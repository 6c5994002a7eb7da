/* text/grammar_apart: oneOf is anyOf where no value can be of two of its schemas. That is seen from their types, from the
 * values they list, and of objects from a property that both must have and that is never the same: {"kind": {"const": "a"}}.
 * What cannot be seen is refused: never an answer that oneOf does not allow. */
#include "text/grammar_write.h"

#define MAX_COMPARED (1 << 20)
#define MAX_FOLLOWED 8 /* $ref of $ref */

static bool more_steps(struct eye_gw *c, size_t n) {
    if (n > (size_t)(MAX_COMPARED - c->n_compared)) eye_gw_refuse(c, EYE_E_LIMIT, "oneOf: too much to compare");
    else c->n_compared += (int32_t)n;
    return c->st == EYE_OK;
}

static json_t *followed(const struct eye_gw *c, json_t *s) {
    for (int i = 0; i < MAX_FOLLOWED; i++) {
        const char *ref = json_string_value(json_object_get(s, "$ref"));
        if (!eye_gw_is_place(ref)) return s;
        s = eye_gw_find(c, ref);
    }
    return s;
}

/* The values of enum or const. */
static size_t n_values(json_t *s) { return json_object_get(s, "const") ? 1 : json_array_size(json_object_get(s, "enum")); }
static json_t *value_at(json_t *s, size_t i) {
    json_t *v = json_object_get(s, "const");
    return v ? v : json_array_get(json_object_get(s, "enum"), i);
}

/* Both list their values, and have none in common. Only strings are compared: numbers may be equal and look different. */
static bool values_apart(struct eye_gw *c, json_t *a, json_t *b) {
    size_t na = n_values(a), nb = n_values(b);
    if (!na || !nb || na > MAX_COMPARED || nb > MAX_COMPARED || !more_steps(c, na * nb)) return false;
    for (size_t i = 0; i < na; i++)
        for (size_t k = 0; k < nb; k++) {
            json_t *v = value_at(a, i), *w = value_at(b, k);
            bool same_kind = json_typeof(v) == json_typeof(w) || (json_is_number(v) && json_is_number(w));
            if (same_kind && (!json_is_string(v) || json_equal(v, w))) return false;
        }
    return true;
}

/* Types that answers of it have. */
static unsigned written(struct eye_gw *c, json_t *s) {
    unsigned types = 0;
    size_t n = n_values(s);
    if (!json_is_object(s) || json_object_get(s, "$ref") || json_object_get(s, "anyOf") || json_object_get(s, "oneOf"))
        return EYE_GW_T_ANY;
    if (!n) types = eye_gw_types_of(c, s);
    for (size_t i = 0; i < n && more_steps(c, 1); i++)
        for (unsigned t = 1; t <= EYE_GW_T_OBJECT; t <<= 1) if (eye_gw_is_of_type(value_at(s, i), t)) types |= t;
    if (types & (EYE_GW_T_INTEGER | EYE_GW_T_NUMBER)) types |= EYE_GW_T_INTEGER | EYE_GW_T_NUMBER;
    return types;
}

/* Types that it allows: without "type" keywords say nothing about values of other types. */
static unsigned allowed(struct eye_gw *c, json_t *s) {
    return n_values(s) || json_object_get(s, "type") ? written(c, s) : EYE_GW_T_ANY;
}

static bool tagged(struct eye_gw *c, json_t *a, json_t *b) {
    json_t *in_b = json_object_get(b, "properties"), *must_a = json_object_get(a, "required"), *v;
    json_t *must_b = json_object_get(b, "required");
    const char *name;
    json_object_foreach(json_object_get(a, "properties"), name, v) {
        json_t *w = json_object_get(in_b, name);
        if (!more_steps(c, 1)) return false;
        if (w && values_apart(c, followed(c, v), followed(c, w)) &&
            more_steps(c, json_array_size(must_a) + json_array_size(must_b)) && eye_gw_is_required(must_a, name) &&
            eye_gw_is_required(must_b, name)) return true;
    }
    return false;
}

void eye_gw_check_apart(struct eye_gw *c, json_t *list) {
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n && c->st == EYE_OK; i++)
        for (size_t k = 0; k < i && more_steps(c, 1); k++) {
            json_t *a = followed(c, json_array_get(list, i)), *b = followed(c, json_array_get(list, k));
            unsigned both = (written(c, a) & allowed(c, b)) | (written(c, b) & allowed(c, a));
            if (!both || values_apart(c, a, b) || (both == EYE_GW_T_OBJECT && tagged(c, a, b))) continue;
            eye_gw_refuse(c, EYE_E_UNSUPPORTED, "oneOf: a value may be of number %zu and %zu at once (anyOf allows that; a "
                          "required property with another \"const\" in each tells objects apart)", k, i);
        }
}
