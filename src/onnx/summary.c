/* onnx/summary: what is in a file: inputs and outputs, operators counted, weights and where they lie; and its signature as
 * JSON. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "onnx/view.h"

struct summarizer {
    struct eye_onnx *m;
    struct eye_onnx_summary *s;
    struct eye_arena *arena;
    struct eye_strmap ops, files; /* -> index */
    struct eye_onnx_op_count *op;
    const char **file;
    size_t op_cap, file_cap;
};

/* ---- text of the arena ---- */

static char *keep(struct summarizer *k, struct eye_buf *b) {
    char *p = b->failed ? NULL : eye_arena_strdup(k->arena, b->p ? b->p : "", b->len);
    eye_buf_clear(b);
    return p;
}
static const char *keep_name(struct summarizer *k, const char *name) {
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    eye_onnx_name_text(eye_onnx_str(name), &b);
    return keep(k, &b);
}

/* ---- counting ---- */

static enum eye_status count_op(struct summarizer *k, const EyeOnnx__NodeProto *n, struct eye_err *err) {
    bool there;
    const char *domain = eye_onnx_str(n->domain), *op = eye_onnx_str(n->op_type);
    if (strcmp(domain, "ai.onnx") == 0) domain = "";
    char *key = eye_arena_printf(k->arena, "%s\t%s", domain, op);
    if (!key) return eye_fail_nomem(err, strlen(op));
    k->s->n_nodes++;
    EYE_TRY(eye_strmap_put(&k->ops, key, strlen(key), (int32_t)k->s->n_ops, &there, err));
    if (!there) {
        EYE_TRY(eye_alloc_grow(NULL, (void **)&k->op, &k->op_cap, k->s->n_ops + 1, sizeof *k->op, err));
        struct eye_onnx_op_count *c = &k->op[k->s->n_ops++];
        *c = (struct eye_onnx_op_count){keep_name(k, domain), keep_name(k, op), 0};
        if (!c->domain || !c->op) return eye_fail_nomem(err, strlen(op));
    }
    k->op[eye_strmap_get(&k->ops, key, strlen(key))].n++;
    return EYE_OK;
}

static enum eye_status count_file(struct summarizer *k, const EyeOnnx__TensorProto *t, struct eye_err *err) {
    for (size_t i = 0; i < t->n_external_data; i++) {
        bool there;
        const char *name = eye_onnx_str(t->external_data[i]->value);
        if (strcmp(eye_onnx_str(t->external_data[i]->key), "location") != 0) continue;
        EYE_TRY(eye_strmap_put(&k->files, name, strlen(name), 0, &there, err));
        if (there) continue;
        EYE_TRY(eye_alloc_grow(NULL, (void **)&k->file, &k->file_cap, k->s->n_data_files + 1, sizeof *k->file, err));
        if (!(k->file[k->s->n_data_files++] = keep_name(k, name))) return eye_fail_nomem(err, strlen(name));
    }
    return EYE_OK;
}

static enum eye_status count_message(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    struct summarizer *k = ctx;
    if (msg->descriptor == &eye_onnx__node_proto__descriptor) return count_op(k, (EyeOnnx__NodeProto *)(void *)msg, err);
    if (msg->descriptor == &eye_onnx__graph_proto__descriptor) {
        k->s->n_initializers += ((EyeOnnx__GraphProto *)(void *)msg)->n_initializer;
        return EYE_OK;
    }
    if (msg->descriptor != &eye_onnx__tensor_proto__descriptor) return EYE_OK;
    const EyeOnnx__TensorProto *t = (EyeOnnx__TensorProto *)(void *)msg;
    size_t n = 0;
    (void)eye_onnx_elements(t, &n); /* was checked */
    uint64_t bytes = (uint64_t)((double)n * (double)eye_onnx_type_bits(t->data_type) / 8);
    k->s->n_weights += n;
    k->s->weight_bytes += bytes;
    if (!eye_onnx_is_external(t)) return EYE_OK;
    k->s->outside_bytes += bytes;
    return count_file(k, t, err);
}

static int more_first(const void *a, const void *b) {
    const struct eye_onnx_op_count *x = a, *y = b;
    if (x->n != y->n) return x->n < y->n ? 1 : -1;
    int d = strcmp(x->domain, y->domain);
    return d ? d : strcmp(x->op, y->op);
}

/* ---- inputs and outputs ---- */

static json_t *text_or_null(const char *s) {
    json_t *v = json_string(s);
    return v ? v : json_string("?"); /* no UTF-8 */
}

static enum eye_status read_values(struct summarizer *k, EyeOnnx__ValueInfoProto **v, size_t n,
                                   const struct eye_onnx_value **out,
                                   json_t *list, struct eye_err *err) {
    struct eye_onnx_value *values = eye_arena_alloc(k->arena, n * sizeof *values);
    if (!values) return eye_fail_nomem(err, n * sizeof *values);
    for (size_t i = 0; i < n; i++) {
        struct eye_onnx_shape s = eye_onnx_shape_of(v[i]);
        struct eye_buf b;
        eye_buf_init(&b, NULL);
        if (s.known) eye_onnx_shape_text(&s, &b);
        values[i] = (struct eye_onnx_value){keep_name(k, v[i]->name), s.type ? eye_onnx_type_name(s.type) : "", keep(k, &b)};
        if (!values[i].name || !values[i].shape) return eye_fail_nomem(err, 1);
        json_t *o = json_object(), *shape = json_array();
        json_object_set_new(o, "name", text_or_null(eye_onnx_str(v[i]->name)));
        json_object_set_new(o, "type", json_string(s.type ? eye_onnx_type_name(s.type) : "?"));
        for (size_t d = 0; d < s.rank; d++) /* symbolic dims are any: their names may be no names of ours */
            json_array_append_new(shape, s.dim[d] >= 0 ? json_integer(s.dim[d]) : json_null());
        if (s.known) json_object_set_new(o, "shape", shape);
        else json_decref(shape);
        if (json_array_append_new(list, o) != 0) return eye_fail_nomem(err, 1);
    }
    *out = values;
    return EYE_OK;
}

static enum eye_status read_interface(struct summarizer *k, json_t *root, struct eye_err *err) {
    const EyeOnnx__GraphProto *g = k->m->model->graph;
    json_t *in = json_array(), *out = json_array();
    struct eye_buf b;
    json_object_set_new(root, "name", text_or_null(eye_onnx_str(g->name)));
    json_object_set_new(root, "inputs", in);
    json_object_set_new(root, "outputs", out);
    EYE_TRY(read_values(k, g->input, g->n_input, &k->s->input, in, err));
    EYE_TRY(read_values(k, g->output, g->n_output, &k->s->output, out, err));
    k->s->n_inputs = g->n_input;
    k->s->n_outputs = g->n_output;
    eye_buf_init(&b, NULL);
    enum eye_status st = eye_json_write(root, 0, &b, err);
    if (st != EYE_OK) {
        eye_buf_clear(&b);
        return st;
    }
    return (k->s->signature = keep(k, &b)) ? EYE_OK : eye_fail_nomem(err, 1);
}

static enum eye_status read_head(struct summarizer *k, struct eye_err *err) {
    const EyeOnnx__ModelProto *m = k->m->model;
    struct eye_onnx_op_set *sets = eye_arena_alloc(k->arena, m->n_opset_import * sizeof *sets);
    if (!sets) return eye_fail_nomem(err, m->n_opset_import * sizeof *sets);
    k->s->ir_version = m->ir_version;
    for (size_t i = 0; i < m->n_opset_import; i++) {
        sets[i].domain = keep_name(k, m->opset_import[i]->domain);
        sets[i].version = m->opset_import[i]->version;
        if (!sets[i].domain) return eye_fail_nomem(err, 1);
    }
    k->s->op_set = sets;
    k->s->n_op_sets = m->n_opset_import;
    k->s->producer = keep_name(k, m->producer_name);
    k->s->graph = keep_name(k, m->graph->name);
    return k->s->producer && k->s->graph ? EYE_OK : eye_fail_nomem(err, 1);
}

static enum eye_status summarize(struct summarizer *k, struct eye_err *err) {
    EYE_TRY(read_head(k, err));
    json_t *root = json_object();
    enum eye_status st = read_interface(k, root, err);
    json_decref(root);
    EYE_TRY(st);
    EYE_TRY(eye_onnx_walk(&k->m->model->base, count_message, k, err));
    struct eye_onnx_op_count *op = eye_arena_alloc(k->arena, k->s->n_ops * sizeof *op);
    const char **file = eye_arena_alloc(k->arena, k->s->n_data_files * sizeof *file);
    if (!op || !file) return eye_fail_nomem(err, k->s->n_ops * sizeof *op);
    if (k->s->n_ops) memcpy(op, k->op, k->s->n_ops * sizeof *op);
    if (k->s->n_data_files) memcpy(file, k->file, k->s->n_data_files * sizeof *file);
    qsort(op, k->s->n_ops, sizeof *op, more_first);
    k->s->op = op;
    k->s->data_file = file;
    return EYE_OK;
}

enum eye_status eye_onnx_summarize(const char *path, struct eye_onnx_summary *out, struct eye_err *err) {
    struct eye_onnx m;
    *out = (struct eye_onnx_summary){0};
    EYE_TRY(eye_onnx_load(&m, path, NULL, err));
    struct summarizer k = {.m = &m, .s = out, .arena = eye_alloc_zero(NULL, sizeof *k.arena)};
    enum eye_status st = k.arena ? EYE_OK : eye_fail_nomem(err, sizeof *k.arena);
    if (st == EYE_OK) {
        eye_arena_init(k.arena, NULL);
        out->memory = k.arena;
        eye_strmap_init(&k.ops, NULL);
        eye_strmap_init(&k.files, NULL);
        st = summarize(&k, err);
        eye_strmap_clear(&k.ops);
        eye_strmap_clear(&k.files);
        eye_alloc_free(NULL, k.op, k.op_cap * sizeof *k.op);
        eye_alloc_free(NULL, k.file, k.file_cap * sizeof *k.file);
    }
    eye_onnx_clear(&m);
    if (st != EYE_OK) eye_onnx_summary_clear(out);
    return st;
}

void eye_onnx_summary_clear(struct eye_onnx_summary *s) {
    if (s->memory) {
        eye_arena_clear(s->memory);
        eye_alloc_free(NULL, s->memory, sizeof(struct eye_arena));
    }
    *s = (struct eye_onnx_summary){0};
}
