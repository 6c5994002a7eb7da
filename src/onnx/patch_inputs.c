/* onnx/patch_inputs: a graph's inputs as a runtime wants them, where no fused node asks for them: the attention mask's type,
 * masks of any non-zero number, and sines and cosines in place of positions. */
#include <stdlib.h>
#include <string.h>

#include "onnx/patch.h"

static EyeOnnx__ValueInfoProto *find_input(struct patcher *p, const char *name) {
    for (size_t i = 0; i < p->g->n_input; i++)
        if (strcmp(eye_onnx_str(p->g->input[i]->name), name) == 0) return p->g->input[i];
    return NULL;
}

static void read_instead(struct patcher *p, const char *old, const char *name) {
    for (size_t i = 0; i < p->n_old; i++)
        for (size_t k = 0; k < p->old[i]->n_input; k++)
            if (strcmp(p->old[i]->input[k], old) == 0) p->old[i]->input[k] = (char *)(uintptr_t)name;
}

/* Integers stay what they were for the graph behind it: cast back, and if asked, whatever is not 0 becomes 1 (Genie marks what
 * is seen with all bits set, -1). */
static enum eye_status patch_mask(struct patcher *p) {
    EyeOnnx__ValueInfoProto *v = find_input(p, "attention_mask");
    if (!p->o->mask_type && !p->o->mask_nonzero) return EYE_OK;
    struct eye_onnx_shape s = v ? eye_onnx_shape_of(v) : (struct eye_onnx_shape){0};
    if (s.type != EYE_ONNX_I64 && s.type != EYE_ONNX_I32)
        return eye_fail(p->err, EYE_E_ARG, "%s: no input attention_mask of integers", p->m->where);
    int32_t type = p->o->mask_type == EYE_ONNX_MASK_I32   ? EYE_ONNX_I32
                   : p->o->mask_type == EYE_ONNX_MASK_I64 ? EYE_ONNX_I64
                                                          : s.type;
    if (type == s.type && !p->o->mask_nonzero) return EYE_OK;
    p->scope = "attention_mask";
    const char *x = "attention_mask";
    if (p->o->mask_nonzero) x = eye_patch_cast(p, x, EYE_ONNX_BOOL, NULL);
    if (p->o->mask_nonzero || type != s.type) x = eye_patch_cast(p, x, s.type, NULL);
    if (p->m->failed) return eye_fail_nomem(p->err, 1);
    v->type->tensor_type->elem_type = type;
    read_instead(p, "attention_mask", x);
    p->r->n_inputs_changed++;
    return EYE_OK;
}

static const EyeOnnx__NodeProto *sole(struct patcher *p, const char *op, size_t *n) {
    const EyeOnnx__NodeProto *found = NULL;
    for (size_t i = 0; i < p->n_old; i++)
        if (strcmp(eye_onnx_str(p->old[i]->op_type), op) == 0) found = p->old[i], (*n)++;
    return found;
}

/* Are the angles two equal halves, one behind the other? */
static bool doubled(struct patcher *p, const char *angles) {
    int32_t i = eye_strmap_get(&p->makers, angles, strlen(angles));
    const EyeOnnx__NodeProto *n = i >= 0 ? p->old[i] : NULL;
    return n && strcmp(eye_onnx_str(n->op_type), "Concat") == 0 && n->n_input == 2 && strcmp(n->input[0], n->input[1]) == 0;
}

/* A graph that computes its angles: one Sin and one Cos of the same. Their results become inputs [1,1,S,half]; where the graph
 * repeats the angles for both halves of a head, it repeats these. The angles, and positions that only they read, are dropped.
 * */
static enum eye_status patch_angles(struct patcher *p) {
    static const char *const name[] = {"position_ids_cos", "position_ids_sin"};
    size_t n_cos = 0, n_sin = 0;
    const EyeOnnx__NodeProto *node[] = {sole(p, "Cos", &n_cos), sole(p, "Sin", &n_sin)};
    if (!p->o->rope_inputs || (!n_cos && !n_sin)) return EYE_OK;
    if (n_cos != 1 || n_sin != 1 || strcmp(eye_patch_in(node[0], 0), eye_patch_in(node[1], 0)) != 0 ||
        !eye_patch_out(node[0], 0) || !eye_patch_out(node[1], 0))
        return eye_fail(p->err, EYE_E_UNSUPPORTED, "%s: %zu Cos and %zu Sin: expected one of each, of the same angles",
                        p->m->where,
                        n_cos, n_sin);
    const char *angles = eye_patch_in(node[0], 0), *param = "";
    struct eye_onnx_shape s = eye_patch_shape(p, angles), y = eye_patch_shape(p, eye_patch_out(node[0], 0));
    if (!s.known) s = y;
    if (!s.known || s.rank != 3 || s.dim[2] <= 0)
        return eye_patch_refuse(p, node[0], "its angles have no known shape [B,S,width] (run shape inference first)");
    bool twice = doubled(p, angles);
    int64_t half = twice ? s.dim[2] / 2 : s.dim[2], tokens = eye_patch_tokens(p, eye_patch_out(node[0], 0), &param);
    if (tokens < 0 && !*param) tokens = s.dim[1], param = s.param[1];
    int32_t type = y.type ? y.type : s.type ? s.type : EYE_ONNX_F32;
    for (int i = 0; i < 2; i++) {
        if (eye_strmap_get(&p->names, name[i], strlen(name[i])) >= 0)
            return eye_patch_refuse(p, node[i], "the graph has a tensor %s already", name[i]);
        eye_onnx_add_input(p->m, p->g, name[i], type, (const int64_t[]){1, 1, tokens, half}, 4,
                           (const char *const[]){"", "", *param ? param : "sequence_length", ""});
        p->scope = name[i];
        const char *x = eye_patch_reshape(p, name[i], (const int64_t[]){1, -1, half}, 3, NULL);
        if (twice) x = eye_patch_concat(p, -1, x, x, NULL, NULL);
        read_instead(p, eye_patch_out(node[i], 0), x);
        if (p->m->failed) return eye_fail_nomem(p->err, 1);
    }
    p->r->n_inputs_added += 2;
    p->r->n_inputs_changed++;
    return EYE_OK;
}

/* Symbolic dims that become numbers, in inputs, outputs and shapes alike. */
static enum eye_status fix_dim(struct patcher *p, const char *pair) {
    EyeOnnx__GraphProto *g = p->g;
    const char *eq = strchr(pair, '=');
    char *end;
    long long v = eq ? strtoll(eq + 1, &end, 10) : -1;
    size_t n = 0;
    if (!eq || eq == pair || end == eq + 1 || *end || v < 0)
        return eye_fail(p->err, EYE_E_ARG, "size \"%.80s\": expected NAME=NUMBER", pair);
    for (size_t i = 0; i < g->n_input + g->n_output + g->n_value_info; i++) {
        EyeOnnx__ValueInfoProto *info = i < g->n_input ? g->input[i]
                                        : i < g->n_input + g->n_output ? g->output[i - g->n_input]
                                                                       : g->value_info[i - g->n_input - g->n_output];
        struct eye_onnx_shape s = eye_onnx_shape_of(info);
        for (size_t d = 0; d < s.rank; d++) {
            EyeOnnx__TensorShapeProto__Dimension *dim = info->type->tensor_type->shape->dim[d];
            if (s.dim[d] >= 0 || strlen(s.param[d]) != (size_t)(eq - pair) ||
                strncmp(s.param[d], pair, (size_t)(eq - pair)) != 0) continue;
            dim->value_case = EYE_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim->dim_value = v;
            n++;
        }
    }
    p->r->n_inputs_changed += n > 0;
    return n ? EYE_OK : eye_fail(p->err, EYE_E_ARG, "%s: no dim is called \"%.*s\"", p->m->where, (int)(eq - pair), pair);
}

enum eye_status eye_patch_inputs(struct patcher *p) {
    for (size_t i = 0; i < p->o->n_dims; i++) EYE_TRY(fix_dim(p, p->o->dim[i]));
    EYE_TRY(patch_mask(p));
    return patch_angles(p);
}
