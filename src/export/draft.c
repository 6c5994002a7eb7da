/* Draft: nodes and constants of one ONNX graph; see draft.h. */
#include "export/draft.h"

#include <stdio.h>
#include <string.h>

#include "tensor/tensor.h"

void eye_draft_init(struct eye_draft *d, struct eye_onnx *m, int opset, enum eye_onnx_type real,
                    const struct eye_alloc *alloc) {
    *d = (struct eye_draft){.m = m, .opset = opset, .real = real, .scope = ""};
    eye_strmap_init(&d->made, alloc);
}

void eye_draft_clear(struct eye_draft *d) { eye_strmap_clear(&d->made); }

bool eye_draft_first(struct eye_draft *d, const char *name) {
    bool was_there = false;
    struct eye_err err;
    if (eye_strmap_put(&d->made, name, strlen(name), 0, &was_there, &err) != EYE_OK) d->m->failed = true;
    return !was_there;
}

/* ---- nodes ---- */

const char *eye_draft_node(struct eye_draft *d, const char *op, const char *const *in, size_t n_in, EyeOnnx__NodeProto **node) {
    if (node) *node = NULL;
    for (size_t i = 0; i < n_in; i++)
        if (!in[i]) return NULL;
    const char *out = eye_arena_printf(&d->m->arena, "%s/%s_%u", d->scope, op, d->serial++);
    EyeOnnx__NodeProto *made = out ? eye_onnx_add_node(d->m, d->m->model->graph, op, out, in, n_in, &out, 1) : NULL;
    if (!made) d->m->failed = true;
    if (node) *node = made;
    return made ? out : NULL;
}

const char *eye_draft_1(struct eye_draft *d, const char *op, const char *a) {
    return eye_draft_node(d, op, (const char *[]){a}, 1, NULL);
}

const char *eye_draft_2(struct eye_draft *d, const char *op, const char *a, const char *b) {
    return eye_draft_node(d, op, (const char *[]){a, b}, 2, NULL);
}

/* The producer is the last node that has it, or near; what no node makes (an input, a weight) gets a node for it. */
void eye_draft_rename(struct eye_draft *d, const char *x, const char *name) {
    EyeOnnx__GraphProto *g = d->m->model->graph;
    char *kept = x ? eye_onnx_text(d->m, name) : NULL;
    size_t i = g->n_node;
    if (!kept) return;
    while (i > 0 && strcmp(g->node[i - 1]->output[0], x) != 0) i--;
    if (i == 0) {
        eye_onnx_add_node(d->m, g, "Identity", kept, &x, 1, (const char *[]){kept}, 1);
        return;
    }
    g->node[i - 1]->output[0] = kept;
    for (; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_input; k++)
            if (strcmp(eye_onnx_str(g->node[i]->input[k]), x) == 0) g->node[i]->input[k] = kept;
}

/* ---- constants ---- */

const char *eye_draft_ints(struct eye_draft *d, size_t n, const int64_t *v) {
    char name[256] = "ints";
    size_t at = 4;
    int64_t dims = (int64_t)n;
    for (size_t i = 0; i < n && at < sizeof name; i++)
        at += (size_t)snprintf(name + at, sizeof name - at, "_%lld", (long long)v[i]);
    const char *kept = eye_arena_strdup(&d->m->arena, name, strlen(name));
    if (!kept) d->m->failed = true;
    if (kept && eye_draft_first(d, kept)) eye_onnx_add_const(d->m, d->m->model->graph, kept, EYE_ONNX_I64, &dims, 1, v);
    return kept;
}

/* v as the type's bytes. */
static void put_number(enum eye_onnx_type type, double v, void *out) {
    float f = (float)v;
    uint16_t h = eye_f32_to_f16(f);
    int64_t i = (int64_t)v;
    if (type == EYE_ONNX_F32) memcpy(out, &f, sizeof f);
    if (type == EYE_ONNX_F16) memcpy(out, &h, sizeof h);
    if (type == EYE_ONNX_I64) memcpy(out, &i, sizeof i);
}

const char *eye_draft_scalar(struct eye_draft *d, enum eye_onnx_type type, double v) {
    char bytes[8];
    const char *kind = type == EYE_ONNX_I64 ? "int" : type == EYE_ONNX_F16 ? "half" : "float";
    const char *name = eye_arena_printf(&d->m->arena, "%s_%.9g", kind, v);
    if (!name) d->m->failed = true;
    put_number(type, v, bytes);
    if (name && eye_draft_first(d, name)) eye_onnx_add_const(d->m, d->m->model->graph, name, type, NULL, 0, bytes);
    return name;
}

const char *eye_draft_real(struct eye_draft *d, double v) { return eye_draft_scalar(d, d->real, v); }

const char *eye_draft_table(struct eye_draft *d, const char *name, enum eye_onnx_type type, size_t rank, const int64_t *dims,
                            const float *v) {
    const char *kept = eye_arena_strdup(&d->m->arena, name, strlen(name));
    const void *bytes = v;
    size_t n = 1, size = 0;
    if (!kept || !eye_draft_first(d, kept)) return kept;
    for (size_t i = 0; i < rank; i++) n *= (size_t)dims[i];
    if (type == EYE_ONNX_F16) {
        uint16_t *h = eye_mul_ok(n, sizeof *h, &size) ? eye_arena_alloc(&d->m->arena, size + 1) : NULL;
        if (h) eye_row_from_f32(EYE_F16, v, h, n);
        bytes = h;
    }
    if (!bytes) d->m->failed = true;
    if (bytes) eye_onnx_add_const(d->m, d->m->model->graph, kept, type, dims, rank, bytes);
    return kept;
}

/* ---- nodes with attributes ---- */

const char *eye_draft_cast(struct eye_draft *d, const char *x, enum eye_onnx_type to) {
    EyeOnnx__NodeProto *node;
    x = eye_draft_node(d, "Cast", (const char *[]){x}, 1, &node);
    eye_onnx_attr_int(d->m, node, "to", to);
    return x;
}

const char *eye_draft_reshape(struct eye_draft *d, const char *x, size_t rank, const int64_t *dims) {
    return eye_draft_2(d, "Reshape", x, eye_draft_ints(d, rank, dims));
}

const char *eye_draft_transpose(struct eye_draft *d, const char *x, size_t rank, const int64_t *perm) {
    EyeOnnx__NodeProto *node;
    x = eye_draft_node(d, "Transpose", (const char *[]){x}, 1, &node);
    eye_onnx_attr_ints(d->m, node, "perm", perm, rank);
    return x;
}

const char *eye_draft_unsqueeze(struct eye_draft *d, const char *x, size_t n, const int64_t *axes) {
    return eye_draft_2(d, "Unsqueeze", x, eye_draft_ints(d, n, axes));
}

/* Axes are an attribute up to opset 17, an input from 18 on. */
const char *eye_draft_reduce(struct eye_draft *d, const char *op, const char *x) {
    const int64_t last = -1;
    EyeOnnx__NodeProto *node;
    if (d->opset >= 18) return eye_draft_2(d, op, x, eye_draft_ints(d, 1, &last));
    x = eye_draft_node(d, op, (const char *[]){x}, 1, &node);
    eye_onnx_attr_ints(d->m, node, "axes", &last, 1);
    return x;
}

static const char *with_axis(struct eye_draft *d, const char *op, const char *const *in, size_t n_in, int64_t axis) {
    EyeOnnx__NodeProto *node;
    const char *y = eye_draft_node(d, op, in, n_in, &node);
    eye_onnx_attr_int(d->m, node, "axis", axis);
    return y;
}

const char *eye_draft_softmax(struct eye_draft *d, const char *x) { return with_axis(d, "Softmax", &x, 1, -1); }

const char *eye_draft_concat(struct eye_draft *d, int64_t axis, const char *a, const char *b) {
    return with_axis(d, "Concat", (const char *[]){a, b}, 2, axis);
}

const char *eye_draft_slice(struct eye_draft *d, const char *x, int64_t axis, int64_t begin, int64_t end) {
    const char *in[4] = {x, eye_draft_ints(d, 1, &begin), eye_draft_ints(d, 1, &end), eye_draft_ints(d, 1, &axis)};
    return eye_draft_node(d, "Slice", in, 4, NULL);
}

/* Two slices: Split changed its attributes in opset 18. */
void eye_draft_halves(struct eye_draft *d, const char *x, int64_t axis, int64_t half, const char *out[2]) {
    for (int i = 0; i < 2; i++) out[i] = eye_draft_slice(d, x, axis, i * half, (i + 1) * half);
}
