/* onnx/lint: what a target will not take. For the NPU this is a table of the operators that Qualcomm's converters and their
 * ONNX Runtime provider list, less those that need shapes or numbers which are only known when the graph runs. It says nothing
 * of speed, nor of the limits that an operator has on a certain chip: those the converter alone knows. */
#include <stdlib.h>
#include <string.h>

#include "onnx/view.h"

static const char *const qnn_ops[] = { /* sorted */
    "Abs", "Add", "And", "ArgMax", "ArgMin", "Asin", "Atan", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip",
        "Concat",
    "Constant", "Conv", "ConvTranspose", "Cos", "CumSum", "DepthToSpace", "DequantizeLinear", "Div", "Einsum", "Elu", "Equal",
        "Erf",
    "Exp", "Expand", "Flatten", "Floor", "Gather", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater",
    "GreaterOrEqual", "GridSample", "GroupNormalization", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
        "LRN",
    "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "MatMul", "Max",
        "MaxPool",
    "Mean", "Min", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "Reciprocal", "ReduceL2",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Resize", "Round", "Sigmoid", "Sign",
    "Sin", "Slice", "Softmax", "Softplus", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tan", "Tanh", "Tile",
        "TopK",
    "Transpose", "Unsqueeze", "Where",
};
static const struct {
    const char *op, *why;
} known_refusals[] = {
    {"If", "control flow"}, {"Loop", "control flow"}, {"Scan", "control flow"},
    {"NonZero", "the result's shape depends on numbers"}, {"Unique", "the result's shape depends on numbers"},
    {"Range", "a shape made while the graph runs"}, {"Shape", "a shape made while the graph runs"},
    {"Size", "a shape made while the graph runs"}, {"ConstantOfShape", "a shape made while the graph runs"},
    {"ScatterElements", "writes into a tensor at places only known when the graph runs: let the caller own the cache"},
    {"ScatterND", "writes into a tensor at places only known when the graph runs: let the caller own the cache"},
    {"GatherND", "gathers along several axes"}, {"GatherElements", "gathers element by element"},
    {"GroupQueryAttention", "fused; \"eyelet onnx patch\" takes it apart"},
    {"RotaryEmbedding", "fused; \"eyelet onnx patch\" takes it apart"},
    {"SimplifiedLayerNormalization", "fused; \"eyelet onnx patch\" takes it apart"},
    {"SkipSimplifiedLayerNormalization", "fused; \"eyelet onnx patch\" takes it apart"},
};

static int by_name(const void *a, const void *b) { return strcmp(a, *(const char *const *)b); }

static const char *why_not(const char *op) {
    for (size_t i = 0; i < EYE_COUNT(known_refusals); i++)
        if (strcmp(known_refusals[i].op, op) == 0) return known_refusals[i].why;
    return NULL;
}

struct linter {
    struct eye_onnx *m;
    enum eye_onnx_target target;
    struct eye_onnx_report *r;
};

static enum eye_status refuse(struct linter *l, const EyeOnnx__NodeProto *n, const char *domain, const char *why,
                              struct eye_err *err) {
    struct eye_buf b;
    const char *op = eye_onnx_str(n->op_type), *name = n->name && *n->name ? n->name : n->n_output ? n->output[0] : "";
    eye_buf_init(&b, NULL);
    if (*domain) {
        eye_onnx_name_text(domain, &b);
        eye_buf_adds(&b, ".");
    }
    eye_onnx_name_text(op, &b);
    eye_buf_printf(&b, ": %s", why);
    enum eye_status st = b.failed ? eye_fail_nomem(err, b.len) : eye_onnx_report_add(l->r, EYE_ONNX_REFUSED_OP, name, b.p, err);
    eye_buf_clear(&b);
    return st;
}

/* Rows of a constant, by numbers that come in from outside: tables of embeddings, of angles. Other gathers shuffle activations
 * or shapes, which the NPU does slowly or, where an index counts from the end, not at all. */
static bool is_row_lookup(const struct linter *l, const EyeOnnx__NodeProto *n) {
    const EyeOnnx__GraphProto *g = l->m->model->graph;
    const EyeOnnx__AttributeProto *axis = eye_onnx_attr(n, "axis");
    bool table = false, ids = false;
    if (n->n_input != 2 || (axis && axis->i != 0)) return false;
    for (size_t i = 0; i < g->n_initializer && !table; i++)
        table = strcmp(eye_onnx_str(g->initializer[i]->name), n->input[0]) == 0;
    for (size_t i = 0; i < g->n_input && !ids; i++) ids = strcmp(eye_onnx_str(g->input[i]->name), n->input[1]) == 0;
    return table && ids;
}

static enum eye_status lint_node(struct linter *l, const EyeOnnx__NodeProto *n, struct eye_err *err) {
    const char *op = eye_onnx_str(n->op_type), *domain = eye_onnx_str(n->domain), *why = why_not(op);
    bool fused = why && strncmp(why, "fused", 5) == 0;
    if (strcmp(domain, "ai.onnx") == 0) domain = "";
    if (*domain || fused) return refuse(l, n, domain, fused ? why : "not one of ONNX's own operators", err);
    if (l->target == EYE_ONNX_TARGET_PLAIN) return EYE_OK;
    if (why) return refuse(l, n, domain, why, err);
    if (!bsearch(op, qnn_ops, EYE_COUNT(qnn_ops), sizeof *qnn_ops, by_name))
        return refuse(l, n, domain, "not in the NPU's list", err);
    if (strcmp(op, "Gather") == 0 && !is_row_lookup(l, n))
        return refuse(l, n, domain, "other than rows of a constant by an input", err);
    return EYE_OK;
}

static bool qnn_takes(int32_t type) {
    switch (type) {
    case EYE_ONNX_F32: case EYE_ONNX_F16: case EYE_ONNX_U8: case EYE_ONNX_I8: case EYE_ONNX_U16: case EYE_ONNX_I16:
    case EYE_ONNX_I32: case EYE_ONNX_U32: case EYE_ONNX_BOOL:
    case EYE_ONNX_I64: /* --truncate_64bit_io and constants: the converter narrows them */
    case 0: return true; /* not said */
    default: return false;
    }
}

static enum eye_status lint_type(struct linter *l, const char *name, int32_t type, struct eye_err *err) {
    char text[64] = "";
    if (l->target == EYE_ONNX_TARGET_PLAIN || qnn_takes(type)) return EYE_OK;
    strncat(text, eye_onnx_type_name(type), 32);
    return eye_onnx_report_add(l->r, EYE_ONNX_REFUSED_TYPE, name, text, err);
}

static enum eye_status lint_rank(struct linter *l, const char *name, size_t rank, struct eye_err *err) {
    char text[] = "?? dims; the NPU has at most 5";
    if (l->target == EYE_ONNX_TARGET_PLAIN || rank <= 5) return EYE_OK;
    text[0] = rank < 10 ? ' ' : (char)('0' + EYE_MIN(rank, 99) / 10);
    text[1] = (char)('0' + EYE_MIN(rank, 99) % 10);
    return eye_onnx_report_add(l->r, EYE_ONNX_REFUSED_RANK, name, text + (rank < 10), err);
}

static enum eye_status lint_value(struct linter *l, const EyeOnnx__ValueInfoProto *v, bool io, struct eye_err *err) {
    struct eye_onnx_shape s = eye_onnx_shape_of(v);
    const char *name = eye_onnx_str(v->name);
    bool dynamic = !s.known;
    EYE_TRY(lint_type(l, name, s.type, err));
    EYE_TRY(lint_rank(l, name, s.rank, err));
    for (size_t i = 0; i < s.rank; i++) dynamic = dynamic || s.dim[i] < 0;
    if (l->target == EYE_ONNX_TARGET_PLAIN || !io || !dynamic) return EYE_OK;
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    if (s.known) eye_onnx_shape_text(&s, &b);
    else eye_buf_adds(&b, "no shape is said");
    enum eye_status st = b.failed ? eye_fail_nomem(err, b.len) : eye_onnx_report_add(l->r, EYE_ONNX_DYNAMIC_AXIS, name, b.p,
                                                                                     err);
    eye_buf_clear(&b);
    return st;
}

static enum eye_status lint_message(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    struct linter *l = ctx;
    if (msg->descriptor == &eye_onnx__node_proto__descriptor) return lint_node(l, (EyeOnnx__NodeProto *)(void *)msg, err);
    if (msg->descriptor == &eye_onnx__tensor_proto__descriptor) {
        const EyeOnnx__TensorProto *t = (EyeOnnx__TensorProto *)(void *)msg;
        EYE_TRY(lint_type(l, eye_onnx_str(t->name), t->data_type, err));
        return lint_rank(l, eye_onnx_str(t->name), t->n_dims, err);
    }
    if (msg->descriptor != &eye_onnx__graph_proto__descriptor) return EYE_OK;
    const EyeOnnx__GraphProto *g = (EyeOnnx__GraphProto *)(void *)msg;
    for (size_t i = 0; i < g->n_input; i++) EYE_TRY(lint_value(l, g->input[i], true, err));
    for (size_t i = 0; i < g->n_output; i++) EYE_TRY(lint_value(l, g->output[i], true, err));
    for (size_t i = 0; i < g->n_value_info; i++) EYE_TRY(lint_value(l, g->value_info[i], false, err));
    return EYE_OK;
}

enum eye_status eye_onnx_lint_model(struct eye_onnx *m, enum eye_onnx_target target, struct eye_onnx_report *r,
                                    struct eye_err *err) {
    struct linter l = {.m = m, .target = target, .r = r};
    r->n_inputs = m->model->graph->n_input;
    r->n_outputs = m->model->graph->n_output;
    return eye_onnx_walk(&m->model->base, lint_message, &l, err);
}

enum eye_status eye_onnx_lint(const char *path, enum eye_onnx_target target, struct eye_onnx_report *report,
                              struct eye_err *err) {
    struct eye_onnx m;
    eye_onnx_report_init(report);
    if ((unsigned)target > EYE_ONNX_TARGET_QNN) return eye_fail(err, EYE_E_ARG, "target %d is none", (int)target);
    EYE_TRY(eye_onnx_load(&m, path, NULL, err));
    enum eye_status st = eye_onnx_lint_model(&m, target, report, err);
    eye_onnx_clear(&m);
    if (st != EYE_OK) eye_onnx_report_clear(report);
    else eye_onnx_report_sort(report);
    return st;
}
