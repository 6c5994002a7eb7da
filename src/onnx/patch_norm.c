/* onnx/patch_norm: RMSNorm taken apart: y = x / sqrt(mean(x^2) + epsilon) * gamma.
 *
 *   SimplifiedLayerNormalization      x, gamma -> y, 1/rms                     axis -1, epsilon 1e-5, stash_type 1 (f32)
 *   RMSNormalization (opset 23)       x, gamma -> y                            the same
 *   SkipSimplifiedLayerNormalization  x, skip, gamma, bias -> y, -, 1/rms, sum  last axis, epsilon 1e-12; sum = x + skip + bias
 *                                     is what is normalised
 *
 * Epsilons are the node's; where it says none, the operator's own default, which differs between the two. Squares of f16
 * numbers overflow at 256 and vanish below 2^-12: so f16 is widened for the mean, as the operators do. */
#include <string.h>

#include "onnx/patch.h"

const char *eye_patch_rms(struct patcher *p, const char *x, int32_t type, const char *gamma, float eps, const int64_t *axes,
                          size_t n_axes, const char *inv_std, const char *out) {
    bool widen = type != EYE_ONNX_F32 && type != EYE_ONNX_F64 && type != 0 && !p->o->norms_as_stored;
    int32_t in = widen || !type ? EYE_ONNX_F32 : type;
    const char *wide = widen ? eye_patch_cast(p, x, EYE_ONNX_F32, NULL) : x;
    const char *y = eye_patch_op(p, "Mul", NULL, wide, wide, NULL);
    if (p->opset >= 18) {
        y = eye_patch_op(p, "ReduceMean", NULL, y, eye_patch_ints(p, EYE_ONNX_I64, axes, n_axes), NULL);
    } else {
        y = eye_patch_op(p, "ReduceMean", NULL, y, NULL, NULL);
        eye_onnx_attr_ints(p->m, eye_patch_last(p), "axes", axes, n_axes);
    }
    eye_onnx_attr_int(p->m, eye_patch_last(p), "keepdims", 1);
    y = eye_patch_op(p, "Add", NULL, y, eye_patch_scalar(p, in, (double)eps), NULL);
    y = eye_patch_op(p, "Sqrt", NULL, y, NULL, NULL);
    y = eye_patch_op(p, "Reciprocal", inv_std, y, NULL, NULL);
    y = eye_patch_op(p, "Mul", NULL, wide, y, NULL);
    if (widen) y = eye_patch_cast(p, y, type, NULL);
    return eye_patch_op(p, "Mul", out, y, gamma, NULL);
}

enum eye_status eye_patch_norm(struct patcher *p, const EyeOnnx__NodeProto *n) {
    bool skip = strcmp(n->op_type, "SkipSimplifiedLayerNormalization") == 0;
    const char *x = eye_patch_in(n, 0), *gamma = eye_patch_in(n, skip ? 2 : 1), *bias = skip ? eye_patch_in(n, 3) : "";
    int64_t axis = skip ? -1 : eye_patch_int(n, "axis", -1), axes[EYE_ONNX_MAX_RANK];
    size_t n_axes = 0;
    if (!*x || !*gamma || !eye_patch_out(n, 0) || (skip && !*eye_patch_in(n, 1)))
        return eye_patch_refuse(p, n, "an input or its output is left out");
    if (skip && eye_patch_out(n, 1)) return eye_patch_refuse(p, n, "its output \"mean\" is used; an RMS norm has none");
    if (eye_patch_int(n, "stash_type", EYE_ONNX_F32) != EYE_ONNX_F32)
        return eye_patch_refuse(p, n, "stash_type %lld; expected 1 (f32)", (long long)eye_patch_int(n, "stash_type", 1));
    struct eye_onnx_shape s = eye_patch_shape(p, x);
    if (axis >= 0 && !s.known) return eye_patch_refuse(p, n, "axis %lld counts from the front and x has no known rank",
                                                       (long long)axis);
    if (axis >= 0) axis -= (int64_t)s.rank;
    if (axis >= 0 || axis < -EYE_ONNX_MAX_RANK) return eye_patch_refuse(p, n, "its axis lies outside x");
    for (int64_t a = axis; a < 0; a++) axes[n_axes++] = a;

    int32_t type = s.type ? s.type : eye_patch_shape(p, gamma).type;
    if (!type) return eye_patch_refuse(p, n, "neither x nor gamma has a known type: it decides whether to widen");
    if (skip) {
        const char *sum = eye_patch_out(n, 3);
        x = eye_patch_op(p, "Add", *bias ? NULL : sum, x, eye_patch_in(n, 1), NULL);
        if (*bias) x = eye_patch_op(p, "Add", sum, x, bias, NULL);
    }
    eye_patch_rms(p, x, type, gamma, eye_patch_float(n, "epsilon", skip ? 1e-12f : 1e-5f), axes, n_axes,
                  eye_patch_out(n, skip ? 2 : 1), eye_patch_out(n, 0));
    p->r->n_norms++;
    return EYE_OK;
}
