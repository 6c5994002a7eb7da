/* onnx/patch: what the files of patch share: a graph whose nodes are written anew, one after the other, fused ones as many
 * plain ones. Only for patch*.c. */
#ifndef EYE_ONNX_PATCH_H
#define EYE_ONNX_PATCH_H

#include "onnx/view.h"

struct patcher {
    struct eye_onnx *m;
    EyeOnnx__GraphProto *g;
    const struct eye_onnx_patch_opts *o;
    struct eye_onnx_patch_report *r;
    struct eye_err *err;
    int64_t opset;
    struct eye_strmap names;  /* all that are taken -> index into value, or a number without meaning */
    struct eye_strmap makers; /* -> index into old */
    struct eye_strmap memo;   /* what several nodes share -> index into shared */
    struct patch_value {
        const EyeOnnx__ValueInfoProto *info;
        const EyeOnnx__TensorProto *constant;
    } *value;
    const char **shared;
    EyeOnnx__NodeProto **old, **node; /* nodes before; now */
    size_t n_old, n_node, n_value, value_cap, n_shared, shared_cap;
    const char *scope;        /* names of new tensors begin so */
    size_t n_fresh;
    const char *mask_in;      /* the new input attention_mask, under its passing name; NULL = none */
};

/* Fails with "FILE: node "NAME" (OP): …". */
EYE_PRINTF(3, 4) enum eye_status eye_patch_refuse(struct patcher *p, const EyeOnnx__NodeProto *n, const char *fmt, ...);

/* ---- what is known of a tensor ---- */
struct eye_onnx_shape eye_patch_shape(struct patcher *p, const char *name);
/* Size of the last dim; of the second (the tokens of a call): seen through the nodes that keep it. -1 = not known. *param: its
 * symbolic name, or "". */
int64_t eye_patch_width(struct patcher *p, const char *name);
int64_t eye_patch_tokens(struct patcher *p, const char *name, const char **param);

/* ---- new nodes; results are names, NULL once the model has failed. out NULL: a fresh name ---- */
const char *eye_patch_op(struct patcher *p, const char *op, const char *out, const char *a, const char *b, const char *c);
EyeOnnx__NodeProto *eye_patch_last(struct patcher *p); /* the node made last, for its attributes; NULL as above */
const char *eye_patch_cast(struct patcher *p, const char *x, int32_t type, const char *out);
const char *eye_patch_ints(struct patcher *p, int32_t type, const int64_t *v, size_t n); /* i64 or i32 constant [n] */
const char *eye_patch_scalar(struct patcher *p, int32_t type, double v);            /* [] of f32, f16, i64 or i32 */
const char *eye_patch_reshape(struct patcher *p, const char *x, const int64_t *dims, size_t n, const char *out);
const char *eye_patch_transpose(struct patcher *p, const char *x, const int64_t *perm, size_t n, const char *out);
const char *eye_patch_unsqueeze(struct patcher *p, const char *x, int64_t axis);
/* Split along the last axis into n pieces. */
void eye_patch_split(struct patcher *p, const char *x, int64_t axis, const int64_t *size, size_t n, const char **out);
const char *eye_patch_concat(struct patcher *p, int64_t axis, const char *a, const char *b, const char *c, const char *out);
/* 0, 1, …, n - 1 as i32 [n]; n < 0: as many as dim `axis` of x has. */
const char *eye_patch_arange(struct patcher *p, int64_t n, const char *x, int64_t axis);
/* Dim `axis` of x as i32 scalar: a constant where n >= 0. */
const char *eye_patch_size(struct patcher *p, int64_t n, const char *x, int64_t axis);

/* What was made under this key before; NULL = nothing. */
const char *eye_patch_recall(struct patcher *p, const char *key);
void eye_patch_remember(struct patcher *p, const char *key, const char *name);
/* text of the arena */
const char *eye_patch_key(struct patcher *p, const char *kind, const char *a, const char *b, long long c);

/* ---- the rules ---- */
/* y = x / sqrt(mean(x^2) + eps) * gamma over axes; in f32 where x is f16, unless asked otherwise. inv_std, out may be NULL. */
const char *eye_patch_rms(struct patcher *p, const char *x, int32_t type, const char *gamma, float eps, const int64_t *axes,
                          size_t n_axes, const char *inv_std, const char *out);
struct patch_rope {
    const char *cos, *sin; /* to be multiplied with the two halves of x */
    int64_t dims;          /* that are turned, of width */
    int64_t width;
    bool interleaved;      /* pairs (0,1), (2,3), …; else (0, dims/2), … */
    int rank;              /* of x */
};
const char *eye_patch_rotate(struct patcher *p, const char *x, const struct patch_rope *r, const char *out);
/* cos and sin of the positions (i32 or i64 [B, S]) for x [B,H,S,D] (heads_axis 1) or [B,S,H,D] (2); made once for all nodes. */
EYE_MUST_CHECK enum eye_status eye_patch_tables(struct patcher *p, const EyeOnnx__NodeProto *n, const char *cos_cache,
                                                const char *sin_cache, const char *positions, const char *tokens_of,
                                                int heads_axis, struct patch_rope *r);

EYE_MUST_CHECK enum eye_status eye_patch_norm(struct patcher *p, const EyeOnnx__NodeProto *n);
EYE_MUST_CHECK enum eye_status eye_patch_rotary(struct patcher *p, const EyeOnnx__NodeProto *n);
EYE_MUST_CHECK enum eye_status eye_patch_gqa(struct patcher *p, const EyeOnnx__NodeProto *n);
/* Inputs of graphs without fused nodes: sin and cos in place of positions, the mask's type. Before the nodes are copied. */
EYE_MUST_CHECK enum eye_status eye_patch_inputs(struct patcher *p);

/* Attributes, with what the operator says when they are left out. */
int64_t eye_patch_int(const EyeOnnx__NodeProto *n, const char *name, int64_t def);
float eye_patch_float(const EyeOnnx__NodeProto *n, const char *name, float def);
static inline const char *eye_patch_in(const EyeOnnx__NodeProto *n, size_t i) { return i < n->n_input ? n->input[i] : ""; }
static inline const char *eye_patch_out(const EyeOnnx__NodeProto *n, size_t i) {
    return i < n->n_output && *n->output[i] ? n->output[i] : NULL;
}

#endif
