/* onnx/build: a model made piece by piece. Everything is in the model's arena; the first allocation that fails is remembered
 * and all later calls do nothing, so that who builds a graph reads as its formula. */
#include <string.h>

#include "onnx/pending.h"

void *eye_onnx_alloc(struct eye_onnx *m, size_t n, size_t bytes) {
    size_t all;
    void *p = !m->failed && eye_mul_ok(n, bytes, &all) ? eye_arena_alloc(&m->arena, all) : NULL;
    if (!p) m->failed = true;
    return p;
}

char *eye_onnx_text(struct eye_onnx *m, const char *s) {
    size_t n = strlen(s);
    char *p = eye_onnx_alloc(m, n + 1, 1);
    if (p) memcpy(p, s, n);
    return p;
}

/* Arrays hold a power of two: they are full when their count is one. decode.c keeps to it. memcpy, because the array's type is
 * the caller's. */
void eye_onnx_push(struct eye_onnx *m, size_t *n, void *array, void *item) {
    char *old;
    if (m->failed || !item) return;
    memcpy(&old, array, sizeof old);
    if ((*n & (*n - 1)) == 0) {
        char *grown = eye_onnx_alloc(m, *n ? *n * 2 : 1, sizeof item);
        if (!grown) return;
        if (*n) memcpy(grown, old, *n * sizeof item);
        memcpy(array, &grown, sizeof grown);
        old = grown;
    }
    memcpy(old + (*n)++ * sizeof item, &item, sizeof item);
}

static void *make(struct eye_onnx *m, const ProtobufCMessageDescriptor *d) {
    void *msg = eye_onnx_alloc(m, 1, d->sizeof_message);
    if (msg) protobuf_c_message_init(d, msg);
    return msg;
}

/* IR versions as ONNX's releases pair them with opsets. */
static int64_t ir_version(int opset) {
    return opset >= 23 ? 11 : opset >= 21 ? 10 : opset >= 19 ? 9 : opset >= 15 ? 8 : opset >= 12 ? 7 : 6;
}

enum eye_status eye_onnx_new(struct eye_onnx *m, const char *graph_name, int opset, const struct eye_alloc *alloc,
                             struct eye_err *err) {
    *m = (struct eye_onnx){0};
    eye_arena_init(&m->arena, alloc);
    if (opset < 7 || opset > 24) return eye_fail(err, EYE_E_ARG, "opset %d: expected 7 to 24", opset);
    EyeOnnx__ModelProto *model = make(m, &eye_onnx__model_proto__descriptor);
    EyeOnnx__OperatorSetIdProto *set = make(m, &eye_onnx__operator_set_id_proto__descriptor);
    if (model && set) {
        m->model = model;
        model->has_ir_version = 1;
        model->ir_version = ir_version(opset);
        model->producer_name = eye_onnx_text(m, "eyelet");
        set->domain = eye_onnx_text(m, "");
        set->has_version = 1;
        set->version = opset;
        eye_onnx_push(m, &model->n_opset_import, &model->opset_import, set);
        model->graph = make(m, &eye_onnx__graph_proto__descriptor);
        if (model->graph) m->where = model->graph->name = eye_onnx_text(m, graph_name);
    }
    if (!m->failed) return EYE_OK;
    eye_onnx_clear(m);
    return eye_fail_nomem(err, sizeof *model);
}

/* ---- nodes ---- */

static void add_names(struct eye_onnx *m, size_t *n, char ***array, const char *const *names, size_t n_names) {
    for (size_t i = 0; i < n_names; i++) eye_onnx_push(m, n, array, eye_onnx_text(m, names[i]));
}

EyeOnnx__NodeProto *eye_onnx_make_node(struct eye_onnx *m, const char *op, const char *name, const char *const *in, size_t n_in,
                                       const char *const *out, size_t n_out) {
    EyeOnnx__NodeProto *node = make(m, &eye_onnx__node_proto__descriptor);
    if (!node) return NULL;
    node->op_type = eye_onnx_text(m, op);
    node->name = name ? eye_onnx_text(m, name) : NULL;
    add_names(m, &node->n_input, &node->input, in, n_in);
    add_names(m, &node->n_output, &node->output, out, n_out);
    return m->failed ? NULL : node;
}

EyeOnnx__NodeProto *eye_onnx_add_node(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *op, const char *name,
                                      const char *const *in, size_t n_in, const char *const *out, size_t n_out) {
    EyeOnnx__NodeProto *node = eye_onnx_make_node(m, op, name, in, n_in, out, n_out);
    if (node) eye_onnx_push(m, &g->n_node, &g->node, node);
    return m->failed ? NULL : node;
}

static EyeOnnx__AttributeProto *add_attr(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name,
                                         EyeOnnx__AttributeProto__AttributeType type) {
    EyeOnnx__AttributeProto *a = n ? make(m, &eye_onnx__attribute_proto__descriptor) : NULL;
    if (!a) return NULL;
    a->name = eye_onnx_text(m, name);
    a->has_type = 1;
    a->type = type;
    eye_onnx_push(m, &n->n_attribute, &n->attribute, a);
    return m->failed ? NULL : a;
}

void eye_onnx_attr_int(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, int64_t v) {
    EyeOnnx__AttributeProto *a = add_attr(m, n, name, EYE_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (!a) return;
    a->has_i = 1;
    a->i = v;
}

void eye_onnx_attr_float(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, float v) {
    EyeOnnx__AttributeProto *a = add_attr(m, n, name, EYE_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (!a) return;
    a->has_f = 1;
    a->f = v;
}

void eye_onnx_attr_str(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, const char *v) {
    EyeOnnx__AttributeProto *a = add_attr(m, n, name, EYE_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    char *text = a ? eye_onnx_text(m, v) : NULL;
    if (!text) return;
    a->has_s = 1;
    a->s = (ProtobufCBinaryData){strlen(v), (uint8_t *)text};
}

void eye_onnx_attr_ints(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, const int64_t *v, size_t n_v) {
    EyeOnnx__AttributeProto *a = add_attr(m, n, name, EYE_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    int64_t *copy = a ? eye_onnx_alloc(m, n_v, sizeof *copy) : NULL;
    if (!copy) return;
    if (n_v) memcpy(copy, v, n_v * sizeof *copy);
    a->n_ints = n_v;
    a->ints = copy;
}

void eye_onnx_attr_floats(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, const float *v, size_t n_v) {
    EyeOnnx__AttributeProto *a = add_attr(m, n, name, EYE_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS);
    float *copy = a ? eye_onnx_alloc(m, n_v, sizeof *copy) : NULL;
    if (!copy) return;
    if (n_v) memcpy(copy, v, n_v * sizeof *copy);
    a->n_floats = n_v;
    a->floats = copy;
}

void eye_onnx_attr_tensor(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, EyeOnnx__TensorProto *v) {
    EyeOnnx__AttributeProto *a = v ? add_attr(m, n, name, EYE_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR) : NULL;
    if (a) a->t = v;
}

/* ---- values ---- */

static EyeOnnx__TypeProto *make_type(struct eye_onnx *m, int32_t type, const int64_t *dims, size_t rank,
                                     const char *const *params) {
    EyeOnnx__TypeProto *t = make(m, &eye_onnx__type_proto__descriptor);
    EyeOnnx__TypeProto__Tensor *tensor = make(m, &eye_onnx__type_proto__tensor__descriptor);
    EyeOnnx__TensorShapeProto *shape = make(m, &eye_onnx__tensor_shape_proto__descriptor);
    if (m->failed) return NULL;
    t->value_case = EYE_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    t->tensor_type = tensor;
    tensor->has_elem_type = 1;
    tensor->elem_type = type;
    tensor->shape = shape;
    for (size_t i = 0; i < rank; i++) {
        EyeOnnx__TensorShapeProto__Dimension *d = make(m, &eye_onnx__tensor_shape_proto__dimension__descriptor);
        if (!d) return NULL;
        if (dims[i] >= 0) {
            d->value_case = EYE_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            d->dim_value = dims[i];
        } else if (params && params[i] && params[i][0]) {
            d->value_case = EYE_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            d->dim_param = eye_onnx_text(m, params[i]);
        }
        eye_onnx_push(m, &shape->n_dim, &shape->dim, d);
    }
    return m->failed ? NULL : t;
}

static EyeOnnx__ValueInfoProto *add_value(struct eye_onnx *m, size_t *n, EyeOnnx__ValueInfoProto ***array, const char *name,
                                          int32_t type, const int64_t *dims, size_t rank, const char *const *params) {
    EyeOnnx__ValueInfoProto *v = make(m, &eye_onnx__value_info_proto__descriptor);
    if (!v) return NULL;
    v->name = eye_onnx_text(m, name);
    v->type = make_type(m, type, dims, rank, params);
    eye_onnx_push(m, n, array, v);
    return m->failed ? NULL : v;
}

EyeOnnx__ValueInfoProto *eye_onnx_add_input(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                            const int64_t *dims, size_t rank, const char *const *params) {
    return add_value(m, &g->n_input, &g->input, name, type, dims, rank, params);
}

EyeOnnx__ValueInfoProto *eye_onnx_add_output(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                             const int64_t *dims, size_t rank, const char *const *params) {
    return add_value(m, &g->n_output, &g->output, name, type, dims, rank, params);
}

EyeOnnx__ValueInfoProto *eye_onnx_add_value_info(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                                 const int64_t *dims, size_t rank, const char *const *params) {
    return add_value(m, &g->n_value_info, &g->value_info, name, type, dims, rank, params);
}

/* ---- tensors ---- */

static EyeOnnx__TensorProto *add_tensor(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                        const int64_t *dims, size_t rank, size_t *bytes) {
    EyeOnnx__TensorProto *t = make(m, &eye_onnx__tensor_proto__descriptor);
    if (!t) return NULL;
    t->name = eye_onnx_text(m, name);
    t->has_data_type = 1;
    t->data_type = type;
    t->dims = rank ? eye_onnx_alloc(m, rank, sizeof *t->dims) : NULL;
    if (m->failed) return NULL;
    if (rank) memcpy(t->dims, dims, rank * sizeof *t->dims);
    t->n_dims = rank;
    size_t n, bits = eye_onnx_type_bits(type);
    if (!eye_onnx_elements(t, &n) || !bits || !eye_mul_ok(n, bits, bytes)) m->failed = true; /* no such tensor can exist */
    *bytes = (*bytes + 7) / 8;
    if (g) eye_onnx_push(m, &g->n_initializer, &g->initializer, t);
    return m->failed ? NULL : t;
}

EyeOnnx__TensorProto *eye_onnx_add_const(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                         const int64_t *dims, size_t rank, const void *bytes) {
    size_t n;
    EyeOnnx__TensorProto *t = add_tensor(m, g, name, type, dims, rank, &n);
    uint8_t *copy = t ? eye_onnx_alloc(m, n, 1) : NULL;
    if (!copy) return NULL;
    if (n) memcpy(copy, bytes, n);
    t->has_raw_data = 1;
    t->raw_data = (ProtobufCBinaryData){n, copy};
    return t;
}

static EyeOnnx__TensorProto *add_pending(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                         const int64_t *dims, size_t rank, struct eye_onnx_pending p) {
    EyeOnnx__TensorProto *t = add_tensor(m, g, name, type, dims, rank, &p.bytes);
    if (!t) return NULL;
    if (p.rows && eye_onnx_type_bits(type) % 8) m->failed = true; /* rows are whole bytes */
    if (m->failed) return NULL;
    if (eye_alloc_grow(m->arena.alloc, (void **)&m->pending, &m->pending_cap, m->n_pending + 1, sizeof p, NULL) != EYE_OK) {
        m->failed = true;
        return NULL;
    }
    p.t = t;
    m->pending[m->n_pending++] = p;
    return t;
}

EyeOnnx__TensorProto *eye_onnx_add_weight(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                          const int64_t *dims, size_t rank, const void *bytes) {
    return add_pending(m, g, name, type, dims, rank, (struct eye_onnx_pending){.data = bytes});
}

EyeOnnx__TensorProto *eye_onnx_add_rows(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                        const int64_t *dims, size_t rank, eye_onnx_rows_fn *rows, void *ctx) {
    return add_pending(m, g, name, type, dims, rank, (struct eye_onnx_pending){.rows = rows, .ctx = ctx});
}
