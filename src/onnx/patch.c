/* onnx/patch: fused operators out of a graph, plain ones in. This file goes through the nodes and clears up behind itself; the
 * rules are in patch_norm.c, patch_rope.c, patch_attention.c and patch_inputs.c.
 *
 * New nodes stand where the fused one stood, so the order stays topological; what several nodes share (a mask, looked up
 * cosines) is made at its first use. Afterwards nodes, constants and inputs that only the fused ones used are dropped, and
 * those alone: what was dead before is not ours to judge. */
#include "onnx/patch.h"

#include <stdio.h>
#include <string.h>

enum eye_status eye_patch_refuse(struct patcher *p, const EyeOnnx__NodeProto *n, const char *fmt, ...) {
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return eye_fail(p->err, EYE_E_UNSUPPORTED, "%s: node \"%.80s\" (%.40s): %s", p->m->where,
                    n->name && *n->name ? n->name : n->n_output ? n->output[0] : "", eye_onnx_str(n->op_type), text);
}

int64_t eye_patch_int(const EyeOnnx__NodeProto *n, const char *name, int64_t def) {
    const EyeOnnx__AttributeProto *a = eye_onnx_attr(n, name);
    return a && a->has_i ? a->i : def;
}
float eye_patch_float(const EyeOnnx__NodeProto *n, const char *name, float def) {
    const EyeOnnx__AttributeProto *a = eye_onnx_attr(n, name);
    return a && a->has_f ? a->f : def;
}

/* ---- what is known ---- */

static const struct patch_value *find_value(struct patcher *p, const char *name) {
    int32_t i = eye_strmap_get(&p->names, name, strlen(name));
    return i >= 0 ? &p->value[i] : NULL;
}

struct eye_onnx_shape eye_patch_shape(struct patcher *p, const char *name) {
    const struct patch_value *v = find_value(p, name);
    if (v && v->constant && v->constant->n_dims <= EYE_ONNX_MAX_RANK) {
        struct eye_onnx_shape s = {.type = v->constant->data_type, .known = true, .rank = v->constant->n_dims};
        for (size_t i = 0; i < s.rank; i++) s.dim[i] = v->constant->dims[i], s.param[i] = "";
        return s;
    }
    return v && v->info ? eye_onnx_shape_of(v->info) : (struct eye_onnx_shape){0};
}

/* The input through which a node passes on the width, or the tokens, of its result. */
static const char *through(const EyeOnnx__NodeProto *n, bool width) {
    static const char *const same[] = {"Add", "Sub", "Mul", "Div", "Cast", "Identity", "LayerNormalization", "RotaryEmbedding",
                                       "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "Sigmoid", "Tanh",
                                       "Relu", "Gelu", "Softmax", "DequantizeLinear", "QuantizeLinear"};
    const char *op = eye_onnx_str(n->op_type);
    for (size_t i = 0; i < EYE_COUNT(same); i++)
        if (strcmp(op, same[i]) == 0) return eye_patch_in(n, 0);
    if (!width && (strcmp(op, "MatMul") == 0 || strcmp(op, "GroupQueryAttention") == 0 || strcmp(op, "MatMulNBits") == 0))
        return eye_patch_in(n, 0);
    if (strcmp(op, "Gather") == 0) return eye_patch_in(n, width ? 0 : 1); /* rows of a table by ids */
    return "";
}

static const EyeOnnx__NodeProto *maker(struct patcher *p, const char *name) {
    int32_t i = eye_strmap_get(&p->makers, name, strlen(name));
    return i >= 0 ? p->old[i] : NULL;
}

int64_t eye_patch_width(struct patcher *p, const char *name) {
    for (int steps = 0; steps < 1000 && *name; steps++) {
        struct eye_onnx_shape s = eye_patch_shape(p, name);
        const EyeOnnx__NodeProto *n = maker(p, name);
        if (s.known && s.rank && s.dim[s.rank - 1] >= 0) return s.dim[s.rank - 1];
        if (!n) return -1;
        if (strcmp(eye_onnx_str(n->op_type), "MatMul") == 0) { /* its weight says it */
            s = eye_patch_shape(p, eye_patch_in(n, 1));
            return s.known && s.rank >= 2 ? s.dim[s.rank - 1] : -1;
        }
        if (strcmp(eye_onnx_str(n->op_type), "MatMulNBits") == 0) return eye_patch_int(n, "N", -1);
        name = through(n, true);
    }
    return -1;
}

int64_t eye_patch_tokens(struct patcher *p, const char *name, const char **param) {
    *param = "";
    for (int steps = 0; steps < 1000 && *name; steps++) {
        struct eye_onnx_shape s = eye_patch_shape(p, name);
        const EyeOnnx__NodeProto *n = maker(p, name);
        if (s.known && s.rank >= 2 && (s.dim[1] >= 0 || *s.param[1])) {
            *param = s.param[1];
            return s.dim[1];
        }
        if (!n) return -1;
        name = through(n, false);
    }
    return -1;
}

/* ---- new nodes ---- */

static enum eye_status take_name(struct patcher *p, const char *name, const EyeOnnx__ValueInfoProto *info,
                                 const EyeOnnx__TensorProto *constant) {
    bool there;
    if (!name || !*name) return EYE_OK;
    if (p->n_value >= INT32_MAX) return eye_fail(p->err, EYE_E_LIMIT, "%s: too many names", p->m->where);
    /* before its index is known */
    EYE_TRY(eye_alloc_grow(NULL, (void **)&p->value, &p->value_cap, p->n_value + 1, sizeof *p->value, p->err));
    EYE_TRY(eye_strmap_put(&p->names, name, strlen(name), (int32_t)p->n_value, &there, p->err));
    if (there) {
        struct patch_value *v = &p->value[eye_strmap_get(&p->names, name, strlen(name))];
        if (info && !v->info) v->info = info;
        if (constant) v->constant = constant;
        return EYE_OK;
    }
    p->value[p->n_value++] = (struct patch_value){info, constant};
    return EYE_OK;
}

static const char *fresh(struct patcher *p, const char *what) {
    for (;;) {
        char *name = p->m->failed ? NULL : eye_arena_printf(&p->m->arena, "%s/%s_%zu", p->scope, what, p->n_fresh++);
        if (!name || (eye_strmap_get(&p->names, name, strlen(name)) < 0 && take_name(p, name, NULL, NULL) != EYE_OK)) {
            p->m->failed = true;
            return NULL;
        }
        return name;
    }
}

EyeOnnx__NodeProto *eye_patch_last(struct patcher *p) { return p->m->failed ? NULL : p->node[p->n_node - 1]; }

const char *eye_patch_op(struct patcher *p, const char *op, const char *out, const char *a, const char *b, const char *c) {
    const char *in[3] = {a, b, c};
    size_t n_in = c ? 3 : b ? 2 : 1;
    if (!out) out = fresh(p, op);
    if (p->m->failed || !a) {
        p->m->failed = true;
        return NULL;
    }
    EyeOnnx__NodeProto *n = eye_onnx_make_node(p->m, op, out, in, n_in, &out, 1);
    eye_onnx_push(p->m, &p->n_node, &p->node, n);
    return p->m->failed ? NULL : out;
}

const char *eye_patch_cast(struct patcher *p, const char *x, int32_t type, const char *out) {
    const char *y = eye_patch_op(p, "Cast", out, x, NULL, NULL);
    eye_onnx_attr_int(p->m, eye_patch_last(p), "to", type);
    return y;
}

const char *eye_patch_ints(struct patcher *p, int32_t type, const int64_t *v, size_t n) {
    const char *name = fresh(p, "const");
    int32_t *narrow = type == EYE_ONNX_I32 ? eye_onnx_alloc(p->m, n, sizeof *narrow) : NULL;
    if (p->m->failed) return NULL;
    for (size_t i = 0; narrow && i < n; i++) narrow[i] = (int32_t)v[i];
    eye_onnx_add_const(p->m, p->g, name, type, (const int64_t[]){(int64_t)n}, 1, narrow ? (const void *)narrow : v);
    return p->m->failed ? NULL : name;
}

/* Nearest half of a number in its range, ties to even. */
static uint16_t to_f16(double v) {
    float f = (float)v;
    uint32_t b;
    memcpy(&b, &f, 4);
    uint32_t sign = b >> 16 & 0x8000u, mant = (b & 0x7fffffu) | 0x800000u;
    int exp = (int)(b >> 23 & 255) - 127 + 15, shift = exp <= 0 ? 14 - exp : 13;
    if (exp >= 31) return (uint16_t)(sign | 0x7c00u);
    if (shift > 24) return (uint16_t)sign;
    uint32_t q = mant >> shift, rest = mant & ((1u << shift) - 1), half = 1u << (shift - 1);
    q += rest > half || (rest == half && (q & 1));
    return (uint16_t)(sign | (exp <= 0 ? q : q + ((uint32_t)(exp - 1) << 10)));
}

const char *eye_patch_scalar(struct patcher *p, int32_t type, double v) {
    const char *name = fresh(p, "const");
    float f32 = (float)v;
    uint16_t f16 = to_f16(v);
    int32_t i32 = (int32_t)v;
    int64_t i64 = (int64_t)v;
    const void *bytes = type == EYE_ONNX_F16 ? (const void *)&f16 : type == EYE_ONNX_I32 ? (const void *)&i32
                        : type == EYE_ONNX_I64 ? (const void *)&i64 : (const void *)&f32;
    if (p->m->failed) return NULL;
    eye_onnx_add_const(p->m, p->g, name, type, NULL, 0, bytes);
    return p->m->failed ? NULL : name;
}

const char *eye_patch_reshape(struct patcher *p, const char *x, const int64_t *dims, size_t n, const char *out) {
    return eye_patch_op(p, "Reshape", out, x, eye_patch_ints(p, EYE_ONNX_I64, dims, n), NULL);
}

const char *eye_patch_transpose(struct patcher *p, const char *x, const int64_t *perm, size_t n, const char *out) {
    const char *y = eye_patch_op(p, "Transpose", out, x, NULL, NULL);
    eye_onnx_attr_ints(p->m, eye_patch_last(p), "perm", perm, n);
    return y;
}

const char *eye_patch_unsqueeze(struct patcher *p, const char *x, int64_t axis) {
    return eye_patch_op(p, "Unsqueeze", NULL, x, eye_patch_ints(p, EYE_ONNX_I64, &axis, 1), NULL);
}

void eye_patch_split(struct patcher *p, const char *x, int64_t axis, const int64_t *size, size_t n, const char **out) {
    for (size_t i = 0; i < n; i++) out[i] = fresh(p, "Split");
    const char *in[] = {x, eye_patch_ints(p, EYE_ONNX_I64, size, n)};
    if (p->m->failed || !x) {
        p->m->failed = true;
        return;
    }
    EyeOnnx__NodeProto *node = eye_onnx_make_node(p->m, "Split", out[0], in, 2, out, n);
    eye_onnx_push(p->m, &p->n_node, &p->node, node);
    eye_onnx_attr_int(p->m, node, "axis", axis);
}

const char *eye_patch_concat(struct patcher *p, int64_t axis, const char *a, const char *b, const char *c, const char *out) {
    const char *y = eye_patch_op(p, "Concat", out, a, b, c);
    eye_onnx_attr_int(p->m, eye_patch_last(p), "axis", axis);
    return y;
}

const char *eye_patch_size(struct patcher *p, int64_t n, const char *x, int64_t axis) {
    if (n >= 0) return eye_patch_scalar(p, EYE_ONNX_I32, (double)n);
    const char *key = eye_patch_key(p, "size", x, "", axis), *old = eye_patch_recall(p, key);
    if (old) return old;
    const char *dims = eye_patch_op(p, "Shape", NULL, x, NULL, NULL);
    const char *dim = eye_patch_op(p, "Gather", NULL, dims, eye_patch_scalar(p, EYE_ONNX_I64, (double)axis), NULL);
    dim = eye_patch_cast(p, dim, EYE_ONNX_I32, NULL);
    eye_patch_remember(p, key, dim);
    return dim;
}

const char *eye_patch_arange(struct patcher *p, int64_t n, const char *x, int64_t axis) {
    if (n < 0)
        return eye_patch_op(p, "Range", NULL, eye_patch_scalar(p, EYE_ONNX_I32, 0), eye_patch_size(p, -1, x, axis),
                            eye_patch_scalar(p, EYE_ONNX_I32, 1));
    int64_t *v = n <= 1 << 24 ? eye_onnx_alloc(p->m, (size_t)n, sizeof *v) : NULL;
    if (!v) {
        p->m->failed = true;
        return NULL;
    }
    for (int64_t i = 0; i < n; i++) v[i] = i;
    return eye_patch_ints(p, EYE_ONNX_I32, v, (size_t)n);
}

/* ---- what nodes share ---- */

const char *eye_patch_key(struct patcher *p, const char *kind, const char *a, const char *b, long long c) {
    struct eye_buf buf;
    eye_buf_init(&buf, NULL);
    eye_buf_printf(&buf, "%s\t%s\t%s\t%lld", kind, a ? a : "", b ? b : "", c);
    char *key = buf.failed ? NULL : eye_onnx_text(p->m, buf.p);
    eye_buf_clear(&buf);
    if (!key) p->m->failed = true;
    return key;
}

const char *eye_patch_recall(struct patcher *p, const char *key) {
    int32_t i = key ? eye_strmap_get(&p->memo, key, strlen(key)) : -1;
    return i >= 0 ? p->shared[i] : NULL;
}

void eye_patch_remember(struct patcher *p, const char *key, const char *name) {
    if (!key || !name) return;
    if (eye_alloc_grow(NULL, (void **)&p->shared, &p->shared_cap, p->n_shared + 1, sizeof *p->shared, p->err) != EYE_OK ||
        eye_strmap_put(&p->memo, key, strlen(key), (int32_t)p->n_shared, NULL, p->err) != EYE_OK) {
        p->m->failed = true;
        return;
    }
    p->shared[p->n_shared++] = name;
}

/* ---- who is used ---- */

/* of subgraphs: all inputs of nodes */
static enum eye_status use_names(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    if (msg->descriptor == &eye_onnx__node_proto__descriptor) {
        const EyeOnnx__NodeProto *n = (EyeOnnx__NodeProto *)(void *)msg;
        for (size_t i = 0; i < n->n_input; i++)
            EYE_TRY(eye_strmap_put(ctx, n->input[i], strlen(n->input[i]), 0, NULL, err));
    } else if (msg->descriptor == &eye_onnx__graph_proto__descriptor) { /* and outputs that pass on an outer name */
        const EyeOnnx__GraphProto *g = (EyeOnnx__GraphProto *)(void *)msg;
        for (size_t i = 0; i < g->n_output; i++) {
            const char *name = eye_onnx_str(g->output[i]->name);
            EYE_TRY(eye_strmap_put(ctx, name, strlen(name), 0, NULL, err));
        }
    }
    return EYE_OK;
}

/* Which of nodes [n], in topological order, an output of the graph needs; used: all names that those read. */
static enum eye_status find_live(struct patcher *p, EyeOnnx__NodeProto **node, size_t n, bool *live, struct eye_strmap *used) {
    for (size_t i = 0; i < p->g->n_output; i++) {
        const char *name = eye_onnx_str(p->g->output[i]->name);
        EYE_TRY(eye_strmap_put(used, name, strlen(name), 0, NULL, p->err));
    }
    for (size_t i = n; i-- > 0;) {
        live[i] = false;
        for (size_t k = 0; k < node[i]->n_output; k++)
            live[i] = live[i] || (*node[i]->output[k] && eye_strmap_get(used, node[i]->output[k],
                                                                        strlen(node[i]->output[k])) >= 0);
        if (live[i]) EYE_TRY(eye_onnx_walk(&node[i]->base, use_names, used, p->err));
    }
    return EYE_OK;
}

static bool is_used(const struct eye_strmap *m, const char *name) {
    name = eye_onnx_str(name);
    return eye_strmap_get(m, name, strlen(name)) >= 0;
}

/* Drops from an array of pointers what was used before and is not now. */
#define SWEEP(array, count, name_of, dropped) \
    do { \
        size_t kept_ = 0; \
        for (size_t i_ = 0; i_ < (count); i_++) { \
            bool gone_ = is_used(&before, (array)[i_]->name_of) && !is_used(&after, (array)[i_]->name_of); \
            if (gone_) (dropped)++; \
            else (array)[kept_++] = (array)[i_]; \
        } \
        (count) = kept_; \
    } while (0)

static enum eye_status clear_up(struct patcher *p) {
    EyeOnnx__GraphProto *g = p->g;
    struct eye_strmap before, after;
    enum eye_status st = EYE_OK;
    size_t constants = 0;
    bool *was = eye_onnx_alloc(p->m, p->n_old, 1), *is = eye_onnx_alloc(p->m, p->n_node, 1);
    if (p->m->failed) return eye_fail_nomem(p->err, p->n_old + p->n_node);
    eye_strmap_init(&before, NULL);
    eye_strmap_init(&after, NULL);
    EYE_TRY_GOTO(find_live(p, p->old, p->n_old, was, &before));
    EYE_TRY_GOTO(find_live(p, p->node, p->n_node, is, &after));
    size_t kept = 0, old = 0;
    for (size_t i = 0; i < p->n_node; i++) { /* both lists are in one order: an old node is met again */
        size_t at = old;
        while (at < p->n_old && p->old[at] != p->node[i]) at++;
        bool ours = at == p->n_old, dead_before = !ours && !was[at];
        if (!ours) old = at + 1;
        if (is[i] || dead_before) p->node[kept++] = p->node[i];
        else if (!ours) p->r->n_dropped++;
    }
    p->n_node = kept;
    if (p->mask_in) EYE_TRY_GOTO(eye_strmap_put(&after, p->mask_in, strlen(p->mask_in), 0, NULL, p->err));
    SWEEP(g->initializer, g->n_initializer, name, constants);
    SWEEP(g->input, g->n_input, name, p->r->n_inputs_dropped);
    SWEEP(g->value_info, g->n_value_info, name, constants);
fail:
    eye_strmap_clear(&before);
    eye_strmap_clear(&after);
    return st;
}

/* The new mask takes the name of the old one, which must be gone. */
static enum eye_status name_mask(struct patcher *p) {
    if (!p->mask_in) return EYE_OK;
    char *name = eye_onnx_text(p->m, "attention_mask");
    if (!name) return eye_fail_nomem(p->err, 16);
    for (size_t i = 0; i < p->g->n_input; i++)
        if (strcmp(eye_onnx_str(p->g->input[i]->name), name) == 0)
            return eye_fail(p->err, EYE_E_UNSUPPORTED,
                            "%s: the old attention_mask has other uses than lengths for attention: the new "
                                                       "one cannot take its place", p->m->where);
    for (size_t i = 0; i < p->g->n_input; i++)
        if (strcmp(eye_onnx_str(p->g->input[i]->name), p->mask_in) == 0) p->g->input[i]->name = name;
    for (size_t i = 0; i < p->n_node; i++)
        for (size_t k = 0; k < p->node[i]->n_input; k++)
            if (strcmp(p->node[i]->input[k], p->mask_in) == 0) p->node[i]->input[k] = name;
    return EYE_OK;
}

static void drop_imports(struct patcher *p) {
    EyeOnnx__ModelProto *m = p->m->model;
    size_t kept = 0;
    for (size_t i = 0; i < m->n_opset_import; i++) {
        bool used = strcmp(eye_onnx_str(m->opset_import[i]->domain), "com.microsoft") != 0 || m->n_functions > 0;
        for (size_t k = 0; k < p->n_node && !used; k++) {
            bool subgraphs = false;
            for (size_t a = 0; a < p->node[k]->n_attribute; a++)
                subgraphs = subgraphs || p->node[k]->attribute[a]->g || p->node[k]->attribute[a]->n_graphs;
            used = subgraphs || strcmp(eye_onnx_str(p->node[k]->domain), "com.microsoft") == 0;
        }
        if (used) m->opset_import[kept++] = m->opset_import[i];
    }
    m->n_opset_import = kept;
}

/* ---- the way through ---- */

static enum eye_status patch_node(struct patcher *p, EyeOnnx__NodeProto *n) {
    const char *op = eye_onnx_str(n->op_type), *domain = eye_onnx_str(n->domain);
    const struct eye_onnx_patch_opts *o = p->o;
    if (p->m->failed) return eye_fail_nomem(p->err, sizeof *n);
    bool microsoft = strcmp(domain, "com.microsoft") == 0, own = !*domain || strcmp(domain, "ai.onnx") == 0;
    p->scope = n->n_output && *n->output[0] ? n->output[0] : n->name && *n->name ? n->name : op;
    if ((microsoft || own) && !o->keep_norms &&
        (strcmp(op, "SimplifiedLayerNormalization") == 0 || strcmp(op, "SkipSimplifiedLayerNormalization") == 0))
        return eye_patch_norm(p, n);
    if (own && !o->keep_norms && strcmp(op, "RMSNormalization") == 0) return eye_patch_norm(p, n);
    if (microsoft && !o->keep_ropes && strcmp(op, "RotaryEmbedding") == 0) return eye_patch_rotary(p, n);
    if (microsoft && !o->keep_attentions && strcmp(op, "GroupQueryAttention") == 0) return eye_patch_gqa(p, n);
    eye_onnx_push(p->m, &p->n_node, &p->node, n);
    return EYE_OK;
}

static enum eye_status refuse_inner(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    struct patcher *p = ctx;
    (void)err;
    if (msg->descriptor != &eye_onnx__node_proto__descriptor) return EYE_OK;
    const EyeOnnx__NodeProto *n = (EyeOnnx__NodeProto *)(void *)msg;
    const char *op = eye_onnx_str(n->op_type);
    bool fused = strcmp(op, "GroupQueryAttention") == 0 || strcmp(op, "SimplifiedLayerNormalization") == 0 ||
                 strcmp(op, "SkipSimplifiedLayerNormalization") == 0 ||
                 (strcmp(op, "RotaryEmbedding") == 0 && strcmp(eye_onnx_str(n->domain), "com.microsoft") == 0);
    return fused ? eye_patch_refuse(p, n, "in a subgraph, where fused nodes are not taken apart") : EYE_OK;
}

static enum eye_status know_all(struct patcher *p) {
    EyeOnnx__GraphProto *g = p->g;
    for (size_t i = 0; i < g->n_input; i++) EYE_TRY(take_name(p, g->input[i]->name, g->input[i], NULL));
    for (size_t i = 0; i < g->n_value_info; i++) EYE_TRY(take_name(p, g->value_info[i]->name, g->value_info[i], NULL));
    for (size_t i = 0; i < g->n_output; i++) EYE_TRY(take_name(p, g->output[i]->name, g->output[i], NULL));
    for (size_t i = 0; i < g->n_initializer; i++) EYE_TRY(take_name(p, g->initializer[i]->name, NULL, g->initializer[i]));
    for (size_t i = 0; i < g->n_node; i++) {
        const EyeOnnx__NodeProto *n = g->node[i];
        for (size_t k = 0; k < n->n_output; k++) {
            EYE_TRY(take_name(p, n->output[k], NULL, NULL));
            EYE_TRY(eye_strmap_put(&p->makers, n->output[k], strlen(n->output[k]), (int32_t)i, NULL, p->err));
            bool constant = strcmp(eye_onnx_str(n->op_type), "Constant") == 0;
            const EyeOnnx__AttributeProto *value = constant ? eye_onnx_attr(n, "value") : NULL;
            if (value && value->t) EYE_TRY(take_name(p, n->output[k], NULL, value->t));
        }
        for (size_t a = 0; a < n->n_attribute; a++) {
            if (n->attribute[a]->g) EYE_TRY(eye_onnx_walk(&n->attribute[a]->g->base, refuse_inner, p, p->err));
            for (size_t k = 0; k < n->attribute[a]->n_graphs; k++)
                EYE_TRY(eye_onnx_walk(&n->attribute[a]->graphs[k]->base, refuse_inner, p, p->err));
        }
    }
    return EYE_OK;
}

static enum eye_status patch_all(struct patcher *p) {
    const EyeOnnx__ModelProto *m = p->m->model;
    for (size_t i = 0; i < m->n_opset_import; i++)
        if (!*eye_onnx_str(m->opset_import[i]->domain) || strcmp(m->opset_import[i]->domain, "ai.onnx") == 0)
            p->opset = m->opset_import[i]->version;
    if (p->opset < 13)
        return eye_fail(p->err, EYE_E_UNSUPPORTED, "%s: operator set %lld: expected 13 or later", p->m->where,
                        (long long)p->opset);
    EYE_TRY(know_all(p));
    p->old = p->g->node;
    p->n_old = p->g->n_node;
    EYE_TRY(eye_patch_inputs(p));
    for (size_t i = 0; i < p->n_old; i++) EYE_TRY(patch_node(p, p->old[i]));
    struct eye_onnx_patch_report *r = p->r;
    if (p->m->failed) return eye_fail_nomem(p->err, p->n_node * sizeof *p->node);
    if (!r->n_norms && !r->n_ropes && !r->n_attentions && !r->n_inputs_changed)
        return eye_fail(p->err, EYE_E_ARG, "%s: nothing to patch: no fused normalization, rotation or attention in it",
                        p->m->where);
    EYE_TRY(clear_up(p));
    EYE_TRY(name_mask(p));
    p->g->node = p->node;
    p->g->n_node = p->n_node;
    drop_imports(p);
    return p->m->failed ? eye_fail_nomem(p->err, p->n_node * sizeof *p->node) : EYE_OK;
}

enum eye_status eye_onnx_patch_model(struct eye_onnx *m, const struct eye_onnx_patch_opts *opts,
                                     struct eye_onnx_patch_report *report,
                                     struct eye_err *err) {
    static const struct eye_onnx_patch_opts defaults;
    struct eye_onnx_patch_report own;
    struct eye_err own_err;
    struct patcher p = {.m = m, .g = m->model->graph, .o = opts ? opts : &defaults, .r = report ? report : &own,
                        .err = err ? err : &own_err};
    *p.r = (struct eye_onnx_patch_report){0};
    eye_strmap_init(&p.names, NULL);
    eye_strmap_init(&p.makers, NULL);
    eye_strmap_init(&p.memo, NULL);
    enum eye_status st = patch_all(&p);
    eye_strmap_clear(&p.names);
    eye_strmap_clear(&p.makers);
    eye_strmap_clear(&p.memo);
    eye_alloc_free(NULL, p.value, p.value_cap * sizeof *p.value);
    eye_alloc_free(NULL, p.shared, p.shared_cap * sizeof *p.shared);
    return st;
}

enum eye_status eye_onnx_patch(const char *in, const char *out, const struct eye_onnx_patch_opts *opts,
                               struct eye_onnx_patch_report *report, struct eye_err *err) {
    struct eye_onnx m;
    EYE_TRY(eye_onnx_load(&m, in, NULL, err));
    enum eye_status st = eye_onnx_patch_model(&m, opts, report, err);
    if (st == EYE_OK) st = eye_onnx_write(&(struct eye_onnx_file){&m, out}, 1, NULL, err);
    eye_onnx_clear(&m);
    return st;
}
