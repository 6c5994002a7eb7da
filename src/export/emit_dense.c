/* Emitters of convolutions, matrices, norms and element-wise ops. What a converter recognises by its pattern (exact GELU) is
 * written as PyTorch's exporter writes it. */
#include <math.h>
#include <string.h>

#include "export/walk.h"

static const struct eye_value *value(const struct eye_walk *w, const struct eye_node *n, int i) {
    return i < n->n_in && n->in[i] != EYE_NONE ? &w->g->value[n->in[i]] : NULL;
}

static enum eye_status fused(const struct eye_node *n, struct eye_err *err) {
    return eye_fail(err, EYE_E_UNSUPPORTED, "ONNX: a %s with something fused into it", eye_op_info(n->op)->name);
}

static bool is_fused(const struct eye_node *n) { return n->attr.act != EYE_ACT_NONE || (n->n_in > 3 && n->in[3] != EYE_NONE); }

/* ---- convolutions and matrices ---- */

/* rank 0: the weight's own dims. */
static enum eye_status convolve(struct eye_walk *w, const struct eye_node *n, const struct eye_attr *a, size_t rank,
                                const int64_t *dims, struct eye_err *err) {
    struct eye_draft *d = w->d;
    const struct eye_value *k = value(w, n, 1), *b = value(w, n, 2);
    const char *in[3] = {eye_walk_factor(w, n, EYE_LAY_FIRST)};
    EyeOnnx__NodeProto *node;
    EYE_TRY(eye_walk_weight(w, n, EYE_FORM_ROWS, rank, dims, &in[1], err));
    if (b) EYE_TRY(eye_walk_bias(w, n, &in[2], err));
    const char *y = eye_draft_node(d, "Conv", in, b ? 3 : 2, &node);
    const int64_t shape[2] = {k->rank == 4 ? k->dims[2] : 1, k->rank == 4 ? k->dims[3] : 1}, dilations[2] = {1, 1},
                  strides[2] = {a->stride, a->stride}, pads[4] = {a->pad_top, a->pad_left, a->pad_bottom, a->pad_right};
    eye_onnx_attr_ints(d->m, node, "dilations", dilations, 2);
    eye_onnx_attr_int(d->m, node, "group", a->groups);
    eye_onnx_attr_ints(d->m, node, "kernel_shape", shape, 2);
    eye_onnx_attr_ints(d->m, node, "pads", pads, 4);
    eye_onnx_attr_ints(d->m, node, "strides", strides, 2);
    eye_walk_out(w, n->out, EYE_LAY_FIRST, y);
    return EYE_OK;
}

enum eye_status eye_emit_conv2d(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    return is_fused(n) ? fused(n, err) : convolve(w, n, &n->attr, 0, NULL, err);
}

/* x W^T: W turned round when the file is written, unless the graph has the table itself as well (a tied embedding). */
static enum eye_status matrix(struct eye_walk *w, const struct eye_node *n, const char **out, struct eye_err *err) {
    static const int64_t swap[] = {1, 0};
    const struct eye_value *m = value(w, n, 1);
    if (eye_walk_is_int8(w, n) || eye_strmap_get(&w->d->made, m->name, strlen(m->name)) < 0)
        return eye_walk_weight(w, n, EYE_FORM_TRANSPOSED, 0, NULL, out, err);
    EYE_TRY(eye_draft_weight(w->d, w->scratch, m, EYE_FORM_ROWS, 0, NULL, out, err));
    *out = eye_draft_transpose(w->d, *out, 2, swap);
    return EYE_OK;
}

/* On maps in [N,C,H,W] a matrix is a 1x1 convolution: no axis moves. */
enum eye_status eye_emit_linear(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    static const struct eye_attr one = {.stride = 1, .groups = 1};
    const struct eye_value *x = value(w, n, 0), *m = value(w, n, 1), *b = value(w, n, 2);
    const int64_t dims[4] = {m->dims[0], m->dims[1], 1, 1};
    const char *k, *bias;
    if (is_fused(n)) return fused(n, err);
    if (x->rank == 4 && eye_walk_layout(w, n->in[0]) == EYE_LAY_FIRST) return convolve(w, n, &one, 4, dims, err);
    EYE_TRY(matrix(w, n, &k, err));
    const char *y = eye_draft_2(w->d, "MatMul", eye_walk_factor(w, n, EYE_LAY_PLAIN), k);
    if (b) {
        EYE_TRY(eye_walk_vector(w, n->in[2], x->rank, EYE_LAY_PLAIN, &bias, err));
        y = eye_draft_2(w->d, "Add", y, bias);
    }
    eye_walk_out(w, n->out, EYE_LAY_PLAIN, y);
    return EYE_OK;
}

/* ---- norms ---- */

/* Only where nothing could take it in: as its formula. */
enum eye_status eye_emit_batch_norm(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    struct eye_draft *d = w->d;
    enum eye_layout layout = eye_walk_layout(w, n->in[0]);
    const char *v[5] = {eye_walk_in(w, n->in[0], layout)};
    for (int i = 1; i < 5; i++) EYE_TRY(eye_walk_vector(w, n->in[i], value(w, n, 0)->rank, layout, &v[i], err));
    const char *scale = eye_draft_1(d, "Sqrt", eye_draft_2(d, "Add", v[4], eye_draft_real(d, (double)n->attr.eps)));
    scale = eye_draft_2(d, "Div", v[1], scale);
    const char *y = eye_draft_2(d, "Mul", eye_draft_2(d, "Sub", v[0], v[3]), scale);
    eye_walk_out(w, n->out, layout, eye_draft_2(d, "Add", y, v[2]));
    return EYE_OK;
}

/* x / sqrt(mean(x x) + eps), in f32 also in a graph of half precision: squares of residual rows pass 65504. */
static const char *by_rms(struct eye_draft *d, const char *x, double eps) {
    const char *m = eye_draft_reduce(d, "ReduceMean", eye_draft_2(d, "Mul", x, x));
    m = eye_draft_1(d, "Sqrt", eye_draft_2(d, "Add", m, eye_draft_scalar(d, EYE_ONNX_F32, eps)));
    return eye_draft_2(d, "Mul", x, eye_draft_1(d, "Reciprocal", m));
}

/* Between the graph's type and f32. */
static const char *cast(struct eye_draft *d, const char *x, enum eye_onnx_type to) {
    return d->real == EYE_ONNX_F32 ? x : eye_draft_cast(d, x, to);
}

enum eye_status eye_emit_rms_norm(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    struct eye_draft *d = w->d;
    const char *gamma, *x = cast(d, eye_walk_in(w, n->in[0], EYE_LAY_PLAIN), EYE_ONNX_F32);
    EYE_TRY(eye_walk_vector(w, n->in[1], value(w, n, 0)->rank, EYE_LAY_PLAIN, &gamma, err));
    x = cast(d, by_rms(d, x, (double)n->attr.eps), d->real);
    eye_walk_out(w, n->out, EYE_LAY_PLAIN, eye_draft_2(d, "Mul", x, gamma));
    return EYE_OK;
}

/* One node from opset 17 on. */
enum eye_status eye_emit_layer_norm(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    struct eye_draft *d = w->d;
    int rank = value(w, n, 0)->rank;
    bool bias = value(w, n, 2) != NULL;
    const char *in[3] = {eye_walk_in(w, n->in[0], EYE_LAY_PLAIN)}, *y;
    for (int i = 1; i < 2 + bias; i++) EYE_TRY(eye_walk_vector(w, n->in[i], rank, EYE_LAY_PLAIN, &in[i], err));
    if (d->opset >= 17) {
        EyeOnnx__NodeProto *node;
        y = eye_draft_node(d, "LayerNormalization", in, 2 + (size_t)bias, &node);
        eye_onnx_attr_int(d->m, node, "axis", -1);
        eye_onnx_attr_float(d->m, node, "epsilon", n->attr.eps);
    } else {
        y = cast(d, in[0], EYE_ONNX_F32);
        y = eye_draft_2(d, "Sub", y, eye_draft_reduce(d, "ReduceMean", y));
        y = eye_draft_2(d, "Mul", cast(d, by_rms(d, y, (double)n->attr.eps), d->real), in[1]);
        if (bias) y = eye_draft_2(d, "Add", y, in[2]);
    }
    eye_walk_out(w, n->out, EYE_LAY_PLAIN, y);
    return EYE_OK;
}

/* ---- element-wise ---- */

static const char *gelu_tanh(struct eye_draft *d, const char *x) {
    const char *cube = eye_draft_2(d, "Mul", eye_draft_2(d, "Mul", x, x), x);
    const char *t = eye_draft_2(d, "Add", x, eye_draft_2(d, "Mul", cube, eye_draft_real(d, 0.044715)));
    t = eye_draft_1(d, "Tanh", eye_draft_2(d, "Mul", t, eye_draft_real(d, sqrt(2 / 3.14159265358979323846))));
    t = eye_draft_2(d, "Mul", x, eye_draft_2(d, "Add", t, eye_draft_real(d, 1)));
    return eye_draft_2(d, "Mul", t, eye_draft_real(d, 0.5));
}

static const char *act(struct eye_draft *d, enum eye_act_kind kind, const char *x) {
    EyeOnnx__NodeProto *node;
    const char *y;
    switch (kind) {
    case EYE_ACT_GELU:
        y = eye_draft_1(d, "Erf", eye_draft_2(d, "Div", x, eye_draft_real(d, sqrt(2.0))));
        y = eye_draft_2(d, "Mul", x, eye_draft_2(d, "Add", y, eye_draft_real(d, 1)));
        return eye_draft_2(d, "Mul", y, eye_draft_real(d, 0.5));
    case EYE_ACT_GELU_TANH: return gelu_tanh(d, x);
    case EYE_ACT_QUICK_GELU:
        return eye_draft_2(d, "Mul", x, eye_draft_1(d, "Sigmoid", eye_draft_2(d, "Mul", x, eye_draft_real(d, 1.702))));
    case EYE_ACT_SILU: return eye_draft_2(d, "Mul", x, eye_draft_1(d, "Sigmoid", x));
    case EYE_ACT_SIGMOID: return eye_draft_1(d, "Sigmoid", x);
    case EYE_ACT_RELU: return eye_draft_1(d, "Relu", x);
    case EYE_ACT_HARDSWISH: return eye_draft_1(d, "HardSwish", x);
    case EYE_ACT_HARDSIGMOID:
        y = eye_draft_node(d, "HardSigmoid", &x, 1, &node);
        eye_onnx_attr_float(d->m, node, "alpha", 1.0F / 6);
        eye_onnx_attr_float(d->m, node, "beta", 0.5F);
        return y;
    case EYE_ACT_NONE:
    case EYE_N_ACT: break;
    }
    return x;
}

enum eye_status eye_emit_act(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    (void)err;
    enum eye_layout layout = eye_walk_layout(w, n->in[0]);
    eye_walk_out(w, n->out, layout, act(w->d, n->attr.act, eye_walk_in(w, n->in[0], layout)));
    return EYE_OK;
}

/* b: of a's shape, a vector over the last axis, or one row per picture; perhaps a weight. */
static enum eye_status binary(struct eye_walk *w, const struct eye_node *n, const char *op, struct eye_err *err) {
    const struct eye_value *a = value(w, n, 0), *b = value(w, n, 1);
    enum eye_layout layout = eye_walk_layout(w, n->in[0]);
    const char *second;
    if (a->kind == EYE_VAL_WEIGHT) return eye_fail(err, EYE_E_UNSUPPORTED, "ONNX: %s of a weight and something", op);
    if (b->kind == EYE_VAL_WEIGHT && b->rank == 1) {
        EYE_TRY(eye_walk_vector(w, n->in[1], a->rank, layout, &second, err));
    } else if (b->kind == EYE_VAL_WEIGHT) {
        layout = EYE_LAY_PLAIN;
        EYE_TRY(eye_draft_weight(w->d, w->scratch, b, EYE_FORM_ROWS, 0, NULL, &second, err));
    } else {
        if (a->rank == b->rank && eye_walk_layout(w, n->in[1]) == EYE_LAY_FIRST) layout = EYE_LAY_FIRST;
        if (b->rank < a->rank) layout = EYE_LAY_PLAIN; /* a computed vector */
        second = eye_walk_in(w, n->in[1], layout);
    }
    eye_walk_out(w, n->out, layout, eye_draft_2(w->d, op, eye_walk_in(w, n->in[0], layout), second));
    return EYE_OK;
}

enum eye_status eye_emit_add(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    return binary(w, n, "Add", err);
}

enum eye_status eye_emit_sub(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    return binary(w, n, "Sub", err);
}

enum eye_status eye_emit_mul(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    return binary(w, n, "Mul", err);
}

enum eye_status eye_emit_mean_hw(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    (void)err;
    eye_walk_out(w, n->out, EYE_LAY_FIRST, eye_draft_1(w->d, "GlobalAveragePool", eye_walk_in(w, n->in[0], EYE_LAY_FIRST)));
    return EYE_OK;
}

enum eye_status eye_emit_softmax(struct eye_walk *w, const struct eye_node *n, struct eye_err *err) {
    (void)err;
    eye_walk_out(w, n->out, EYE_LAY_PLAIN, eye_draft_softmax(w->d, eye_walk_in(w, n->in[0], EYE_LAY_PLAIN)));
    return EYE_OK;
}
