/* onnx/signature_read: what a graph's inputs and outputs should be. A signature is JSON, of a file or our own
 * (signature_texts.c):
 *
 *   {"name": "decoder", "static": true,
 *    "inputs":  [{"name": "inputs_embeds", "type": "float", "shape": [1, "n", "hidden"]}, …],
 *    "outputs": [{"name": "present.{i}.key", "type": ["f16", "f32"], "shape": [1, "heads", "cache+n", 64]}]}
 *
 * type: "f32", "i64", …; a list of them; "int" = i32 or i64; "float" = f32, f16 or bf16, the same one everywhere. A dim is a
 * number, a name that stands for one number throughout, a sum of such ("cache+n", "head_dim/2"), or null for any. "shapes": a
 * list of shapes in place of one. {i} in a name: one tensor for each layer. {"either": [[…], […]]} among inputs or outputs:
 * one of the lists. "static": no dim may be symbolic. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "onnx/signature.h"

static int find_var(struct matcher *k, const char *name, size_t len) {
    for (size_t i = 0; i < k->n_vars; i++)
        if (strlen(k->var[i].name) == len && memcmp(k->var[i].name, name, len) == 0) return (int)i;
    if (k->n_vars == MAX_VARS || len == 0 || len >= sizeof k->var[0].name) return -1;
    struct var *v = &k->var[k->n_vars];
    memcpy(v->name, name, len);
    v->value = UNBOUND;
    return (int)k->n_vars++;
}

/* "cache+n", "head_dim/2", "3"; false = it is none of these. */
static bool read_expr(struct matcher *k, const char *s, struct expr *e) {
    e->n = 0;
    for (;;) {
        size_t n = strcspn(s, "+/");
        struct term t = {.var = -1, .over = 1};
        bool digits = n > 0 && n < 10 && strspn(s, "0123456789") == n;
        if (digits) t.number = atol(s);
        else if ((t.var = find_var(k, s, n)) < 0) return false;
        s += n;
        if (*s == '/') {
            size_t d = strspn(s + 1, "0123456789");
            t.over = d > 0 && d < 10 ? atol(s + 1) : 0;
            if (t.over <= 0) return false;
            s += 1 + d;
        }
        if (e->n == MAX_TERMS) return false;
        e->term[e->n++] = t;
        if (!*s) return true;
        if (*s++ != '+') return false;
    }
}

static enum eye_status read_shape(struct matcher *k, const struct eye_json_at *at, struct spec *s, struct eye_err *err) {
    if (!json_is_array(at->v)) return eye_json_fail(at, NULL, "expected a list of dims", err);
    size_t rank = eye_json_len(at);
    if (rank > EYE_ONNX_MAX_RANK || s->n_shapes == MAX_SHAPES) return eye_json_fail(at, NULL, "too many dims, or shapes", err);
    s->shape[s->n_shapes].rank = rank;
    for (size_t i = 0; i < rank; i++) {
        struct eye_json_at dim = eye_json_item(at, i);
        struct expr *e = &s->shape[s->n_shapes].dim[i];
        if (json_is_integer(dim.v) && json_integer_value(dim.v) >= 0 && json_integer_value(dim.v) <= MAX_SIZE) {
            e->n = 1;
            e->term[0] = (struct term){-1, json_integer_value(dim.v), 1};
        } else if (!json_is_null(dim.v) && (!json_is_string(dim.v) || !read_expr(k, json_string_value(dim.v), e))) {
            return eye_json_fail(&dim, NULL, "expected a number, a name, a sum of them, or null", err);
        }
    }
    s->n_shapes++;
    return EYE_OK;
}

static bool add_type(struct spec *s, const char *name) {
    if (strcmp(name, "float") == 0) {
        s->precision = true;
        s->types |= FLOATS;
        return true;
    }
    if (strcmp(name, "int") == 0) {
        s->types |= 1u << EYE_ONNX_I64 | 1u << EYE_ONNX_I32;
        return true;
    }
    int32_t type = eye_onnx_type_find(name);
    s->types |= type > 0 && type < 32 ? 1u << type : 0;
    return type > 0;
}

static enum eye_status read_tensor(struct matcher *k, const struct eye_json_at *at, struct spec s, struct eye_err *err) {
    struct eye_json_at shape, shapes, type = {.v = json_object_get(at->v, "type"), .where = at->where, .parent = at,
                                              .key = "type"};
    EYE_TRY(eye_json_need_str(at, "name", &s.pattern, NULL, err));
    s.layered = strstr(s.pattern, "{i}") != NULL;
    for (size_t i = 0; i < (json_is_array(type.v) ? json_array_size(type.v) : 1); i++) {
        const json_t *t = json_is_array(type.v) ? json_array_get(type.v, i) : type.v;
        if (!json_is_string(t) || !add_type(&s, json_string_value(t)))
            return eye_json_fail(at, "type", "expected a type (\"f32\", \"i64\", \"float\", \"int\", …) or a list of them",
                                 err);
    }
    EYE_TRY(eye_json_array(at, "shape", &shape, err));
    EYE_TRY(eye_json_array(at, "shapes", &shapes, err));
    if (shape.v) EYE_TRY(read_shape(k, &shape, &s, err));
    for (size_t i = 0; i < eye_json_len(&shapes); i++) {
        struct eye_json_at one = eye_json_item(&shapes, i);
        EYE_TRY(read_shape(k, &one, &s, err));
    }
    if (k->n_specs == MAX_SPECS) return eye_json_fail(at, NULL, "more than 256 tensors (one with {i} stands for many)", err);
    k->spec[k->n_specs++] = s;
    return EYE_OK;
}

static enum eye_status read_list(struct matcher *k, const struct eye_json_at *root, const char *key, bool output,
                                 struct eye_err *err) {
    struct eye_json_at list, either;
    EYE_TRY(eye_json_array(root, key, &list, err));
    if (!list.v) return eye_json_fail(root, key, "expected a list of tensors", err);
    for (size_t i = 0; i < eye_json_len(&list); i++) {
        struct eye_json_at at = eye_json_item(&list, i);
        if (!json_is_object(at.v)) return eye_json_fail(&at, NULL, "expected an object", err);
        EYE_TRY(eye_json_array(&at, "either", &either, err));
        if (!either.v) {
            EYE_TRY(read_tensor(k, &at, (struct spec){.output = output}, err));
            continue;
        }
        k->n_groups++;
        for (size_t b = 0; b < eye_json_len(&either); b++) {
            struct eye_json_at branch = eye_json_item(&either, b);
            for (size_t t = 0; t < eye_json_len(&branch); t++) {
                struct eye_json_at one = eye_json_item(&branch, t);
                EYE_TRY(read_tensor(k, &one, (struct spec){.output = output, .group = (int)k->n_groups, .branch = (int)b},
                                    err));
            }
        }
    }
    return EYE_OK;
}

const char *eye_onnx_signature_name(size_t i) { /* each name once: the styles of one stand together */
    const struct eye_onnx_signature_text *t = eye_onnx_signature_texts;
    for (; t->name; t++) {
        if (t != eye_onnx_signature_texts && strcmp(t->name, t[-1].name) == 0) continue;
        if (i-- == 0) return t->name;
    }
    return NULL;
}

enum eye_status eye_onnx_read_signature(struct matcher *k, const struct eye_onnx_check_opts *o, struct eye_err *err) {
    const struct eye_onnx_signature_text *t = eye_onnx_signature_texts;
    const char *name = o->signature;
    for (; t->name; t++)
        if (strcmp(t->name, name) == 0 && (t->style < 0 || t->style == (int)o->kv_style)) break;
    if (t->name) {
        EYE_TRY(eye_json_parse(&k->json, t->json, strlen(t->json), EYE_JSON_MAX_BYTES, t->name, err));
    } else {
        struct eye_map map;
        size_t n = strlen(name);
        if (n < 5 || strcmp(name + n - 5, ".json") != 0)
            return eye_fail(err, EYE_E_ARG,
                            "no signature is called \"%.100s\"; expected vision, vision-tower, projector, embedder, "
                                            "decoder, decoder-with-projection, prefill, decoder-kv or a .json file", name);
        EYE_TRY(eye_map_open(&map, name, false, (size_t)16 << 20, err));
        enum eye_status st = eye_json_parse(&k->json, map.p, map.size, EYE_JSON_MAX_BYTES, name, err);
        eye_map_close(&map);
        EYE_TRY(st);
    }
    struct eye_json_at root = eye_json_root(&k->json);
    if (!json_is_object(root.v)) return eye_json_fail(&root, NULL, "expected an object with \"inputs\" and \"outputs\"", err);
    k->spec = eye_arena_alloc(&k->arena, MAX_SPECS * sizeof *k->spec);
    if (!k->spec) return eye_fail_nomem(err, MAX_SPECS * sizeof *k->spec);
    EYE_TRY(eye_json_str(&root, "name", name, &k->name, NULL, err));
    EYE_TRY(eye_json_bool(&root, "static", false, &k->is_static, err));
    EYE_TRY(read_list(k, &root, "inputs", false, err));
    return read_list(k, &root, "outputs", true, err);
}
