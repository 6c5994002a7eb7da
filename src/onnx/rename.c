/* onnx/rename: tensors get other names everywhere: inputs, outputs, shapes, initializers, annotations, nodes, subgraphs,
 * training graphs. Functions have names of their own and keep them.
 *
 * All renames happen at once, so a and b may change places. A new name must not be in use, nor be given twice: two tensors
 * would become one without a word. */
#include <string.h>

#include "onnx/view.h"

struct rule {
    const char *from, *to; /* with {i} */
};
static const struct rule genie[] = {
    {"past_key_values.{i}.key", "past_key_{i}_in"}, {"past_key_values.{i}.value", "past_value_{i}_in"},
    {"present.{i}.key", "past_key_{i}_out"}, {"present.{i}.value", "past_value_{i}_out"},
};

struct renamer {
    struct eye_onnx *m;
    struct rule *rule;
    size_t n_rules;
    bool *matched;          /* [n_rules] */
    struct eye_strmap seen; /* every name -> its number */
    const char **name, **to; /* [n] a name and its new one, or NULL */
    size_t n, cap, to_cap;
    size_t n_changed;
    uint8_t layers[4][512]; /* of genie's rows: a bit for each layer met */
};

/* ---- every place that holds a tensor's name ---- */

typedef enum eye_status name_fn(struct renamer *k, char **name, struct eye_err *err);

static enum eye_status visit_all(struct renamer *k, char **names, size_t n, name_fn *fn, struct eye_err *err) {
    for (size_t i = 0; i < n; i++) EYE_TRY(fn(k, &names[i], err));
    return EYE_OK;
}
static enum eye_status visit_values(struct renamer *k, EyeOnnx__ValueInfoProto **v, size_t n, name_fn *fn,
                                    struct eye_err *err) {
    for (size_t i = 0; i < n; i++) EYE_TRY(fn(k, &v[i]->name, err));
    return EYE_OK;
}
static enum eye_status visit_entries(struct renamer *k, EyeOnnx__StringStringEntryProto **e, size_t n, bool keys, name_fn *fn,
                                     struct eye_err *err) {
    for (size_t i = 0; i < n; i++) {
        if (keys) EYE_TRY(fn(k, &e[i]->key, err));
        EYE_TRY(fn(k, &e[i]->value, err));
    }
    return EYE_OK;
}

struct visit {
    struct renamer *k;
    name_fn *fn;
};

static enum eye_status visit_graph(struct renamer *k, EyeOnnx__GraphProto *g, name_fn *fn, struct eye_err *err) {
    EYE_TRY(visit_values(k, g->input, g->n_input, fn, err));
    EYE_TRY(visit_values(k, g->output, g->n_output, fn, err));
    EYE_TRY(visit_values(k, g->value_info, g->n_value_info, fn, err));
    for (size_t i = 0; i < g->n_initializer; i++) EYE_TRY(fn(k, &g->initializer[i]->name, err));
    for (size_t i = 0; i < g->n_sparse_initializer; i++)
        if (g->sparse_initializer[i]->values) EYE_TRY(fn(k, &g->sparse_initializer[i]->values->name, err));
    for (size_t i = 0; i < g->n_quantization_annotation; i++) {
        EyeOnnx__TensorAnnotation *a = g->quantization_annotation[i];
        EYE_TRY(fn(k, &a->tensor_name, err));
        EYE_TRY(visit_entries(k, a->quant_parameter_tensor_names, a->n_quant_parameter_tensor_names, false, fn, err));
    }
    for (size_t i = 0; i < g->n_node; i++) {
        EYE_TRY(visit_all(k, g->node[i]->input, g->node[i]->n_input, fn, err));
        EYE_TRY(visit_all(k, g->node[i]->output, g->node[i]->n_output, fn, err));
    }
    return EYE_OK;
}

static enum eye_status visit_message(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    struct visit *v = ctx;
    if (msg->descriptor == &eye_onnx__graph_proto__descriptor)
        return visit_graph(v->k, (EyeOnnx__GraphProto *)(void *)msg, v->fn, err);
    if (msg->descriptor != &eye_onnx__training_info_proto__descriptor) return EYE_OK;
    EyeOnnx__TrainingInfoProto *t = (EyeOnnx__TrainingInfoProto *)(void *)msg;
    EYE_TRY(visit_entries(v->k, t->initialization_binding, t->n_initialization_binding, true, v->fn, err));
    return visit_entries(v->k, t->update_binding, t->n_update_binding, true, v->fn, err);
}

/* The functions are left out: they are parts of the model, not of its graph. */
static enum eye_status visit(struct renamer *k, name_fn *fn, struct eye_err *err) {
    struct visit v = {k, fn};
    EyeOnnx__ModelProto *model = k->m->model;
    EYE_TRY(eye_onnx_walk(&model->graph->base, visit_message, &v, err));
    for (size_t i = 0; i < model->n_training_info; i++)
        EYE_TRY(eye_onnx_walk(&model->training_info[i]->base, visit_message, &v, err));
    return EYE_OK;
}

/* ---- first all names, then their new ones ---- */

static const char *new_name(struct renamer *k, const char *name) {
    for (size_t r = 0; r < k->n_rules; r++) {
        int64_t layer;
        struct eye_buf b;
        if (!eye_onnx_name_match(k->rule[r].from, name, &layer)) continue;
        k->matched[r] = true;
        if (r < EYE_COUNT(k->layers) && (size_t)layer / 8 < sizeof k->layers[r])
            k->layers[r][layer / 8] |= (uint8_t)(1u << layer % 8);
        eye_buf_init(&b, NULL);
        eye_onnx_name_fill(k->rule[r].to, layer, &b);
        const char *to = b.failed ? NULL : eye_onnx_text(k->m, b.p);
        eye_buf_clear(&b);
        if (!to) k->m->failed = true;
        return to;
    }
    return NULL;
}

static enum eye_status collect(struct renamer *k, char **name, struct eye_err *err) {
    bool there;
    if (!*name || !**name) return EYE_OK;
    if (k->n >= INT32_MAX) return eye_fail(err, EYE_E_LIMIT, "%s: too many names", k->m->where);
    EYE_TRY(eye_strmap_put(&k->seen, *name, strlen(*name), (int32_t)k->n, &there, err));
    if (there) return EYE_OK;
    EYE_TRY(eye_alloc_grow(NULL, (void **)&k->name, &k->cap, k->n + 1, sizeof *k->name, err));
    EYE_TRY(eye_alloc_grow(NULL, (void **)&k->to, &k->to_cap, k->n + 1, sizeof *k->to, err));
    k->name[k->n] = *name;
    k->to[k->n] = new_name(k, *name);
    k->n_changed += k->to[k->n] != NULL;
    k->n++;
    return k->m->failed ? eye_fail_nomem(err, strlen(*name)) : EYE_OK;
}

static enum eye_status replace(struct renamer *k, char **name, struct eye_err *err) {
    int32_t at = *name && **name ? eye_strmap_get(&k->seen, *name, strlen(*name)) : -1;
    (void)err;
    if (at >= 0 && k->to[at]) *name = (char *)(uintptr_t)k->to[at];
    return EYE_OK;
}

/* ---- may it be? ---- */

static enum eye_status check_collisions(struct renamer *k, struct eye_err *err) {
    struct eye_strmap given;
    enum eye_status st = EYE_OK;
    eye_strmap_init(&given, NULL);
    for (size_t i = 0; i < k->n && st == EYE_OK; i++) {
        const char *to = k->to[i];
        bool twice = false;
        if (!to) continue;
        int32_t user = eye_strmap_get(&k->seen, to, strlen(to));
        if (user >= 0 && !k->to[user])
            st = eye_fail(err, EYE_E_ARG, "%s: \"%.100s\" cannot become \"%.100s\": another tensor is called so", k->m->where,
                          k->name[i], to);
        else
            st = eye_strmap_put(&given, to, strlen(to), 0, &twice, err);
        if (twice)
            st = eye_fail(err, EYE_E_ARG, "%s: two tensors would become \"%.100s\", one of them \"%.100s\"", k->m->where, to,
                          k->name[i]);
    }
    eye_strmap_clear(&given);
    return st;
}

static int64_t count_layers(const struct renamer *k, size_t row) {
    int64_t n = 0;
    for (size_t i = 0; i < sizeof k->layers[row] * 8; i++) n += k->layers[row][i / 8] >> i % 8 & 1;
    return n;
}

static enum eye_status check_matches(const struct renamer *k, const struct eye_onnx_rename_opts *o, struct eye_err *err) {
    size_t n_fixed = o->names ? EYE_COUNT(genie) : 0;
    for (size_t i = 0; i < o->n_pairs; i++)
        if (!k->matched[n_fixed + i])
            return eye_fail(err, EYE_E_ARG, "%s: no tensor is called \"%.100s\"", k->m->where, k->rule[n_fixed + i].from);
    bool any = false;
    for (size_t r = 0; r < n_fixed; r++) any = any || k->matched[r];
    if (n_fixed && !any && !(o->n_pairs && !o->n_layers))
        return eye_fail(err, EYE_E_ARG, "%s: nothing to rename: no tensor is called like \"%s\" or \"%s\"", k->m->where,
                        k->rule[0].from, k->rule[2].from);
    for (size_t r = 0; o->n_layers && r < n_fixed; r++)
        if (count_layers(k, r) != o->n_layers)
            return eye_fail(err, EYE_E_ARG, "%s: \"%s\" is there for %lld layers, expected %lld", k->m->where, k->rule[r].from,
                            (long long)count_layers(k, r), (long long)o->n_layers);
    return EYE_OK;
}

static enum eye_status make_rules(struct renamer *k, const struct eye_onnx_rename_opts *o, struct eye_err *err) {
    size_t n_fixed = o->names ? EYE_COUNT(genie) : 0;
    if (!n_fixed && !o->n_pairs) return eye_fail(err, EYE_E_ARG,
                                                 "nothing to rename: neither a style of names nor a pair \"from=to\"");
    if (o->n_layers && !n_fixed) return eye_fail(err, EYE_E_ARG, "a number of layers needs a style of names");
    k->rule = eye_onnx_alloc(k->m, n_fixed + o->n_pairs, sizeof *k->rule);
    k->matched = eye_onnx_alloc(k->m, n_fixed + o->n_pairs, sizeof *k->matched);
    if (k->m->failed) return eye_fail_nomem(err, o->n_pairs * sizeof *k->rule);
    for (size_t i = 0; i < n_fixed; i++)
        k->rule[i] = o->names == EYE_ONNX_NAMES_GENIE ? genie[i] : (struct rule){genie[i].to, genie[i].from};
    k->n_rules = n_fixed;
    for (size_t i = 0; i < o->n_pairs; i++) {
        const char *eq = strchr(o->pair[i], '=');
        if (!eq || eq == o->pair[i] || !eq[1])
            return eye_fail(err, EYE_E_ARG, "\"%.100s\": expected FROM=TO", o->pair[i]);
        char *from = eye_onnx_text(k->m, o->pair[i]);
        if (!from) return eye_fail_nomem(err, strlen(o->pair[i]));
        from[eq - o->pair[i]] = '\0';
        k->rule[k->n_rules++] = (struct rule){from, from + (eq - o->pair[i]) + 1};
    }
    return EYE_OK;
}

static enum eye_status rename_all(struct renamer *k, const struct eye_onnx_rename_opts *o, struct eye_err *err) {
    EYE_TRY(make_rules(k, o, err));
    EYE_TRY(visit(k, collect, err));
    EYE_TRY(check_matches(k, o, err));
    EYE_TRY(check_collisions(k, err));
    return visit(k, replace, err);
}

enum eye_status eye_onnx_rename_model(struct eye_onnx *m, const struct eye_onnx_rename_opts *opts, size_t *n,
                                      struct eye_err *err) {
    struct renamer k = {.m = m};
    eye_strmap_init(&k.seen, NULL);
    enum eye_status st = rename_all(&k, opts, err);
    eye_strmap_clear(&k.seen);
    eye_alloc_free(NULL, k.name, k.cap * sizeof *k.name);
    eye_alloc_free(NULL, k.to, k.to_cap * sizeof *k.to);
    if (n) *n = k.n_changed;
    return st;
}

enum eye_status eye_onnx_rename(const char *in, const char *out, const struct eye_onnx_rename_opts *opts, size_t *n_renamed,
                                struct eye_err *err) {
    struct eye_onnx m;
    EYE_TRY(eye_onnx_load(&m, in, NULL, err));
    enum eye_status st = eye_onnx_rename_model(&m, opts, n_renamed, err);
    if (st == EYE_OK) st = eye_onnx_write(&(struct eye_onnx_file){&m, out}, 1, NULL, err);
    eye_onnx_clear(&m);
    return st;
}
