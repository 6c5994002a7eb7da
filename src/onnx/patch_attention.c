/* onnx/patch_attention: com.microsoft.GroupQueryAttention taken apart.
 *
 *   query [B,S,H*D] (or query, key and value in one), key, value [B,S,Hkv*D], past_key, past_value [B,Hkv,P,D], seqlens_k [B] =
 *   positions held after this call - 1, total_sequence_length [], cos, sin [positions, dims/2], position_ids, attention_bias
 *   -> output [B,S,H*D], present_key, present_value
 *
 * Heads of one group share their keys: queries [B,H,S,D] are read as [B,Hkv,G*S,D], so no key is ever repeated. New keys are
 * turned, then joined to the past. Of the past's P positions the first seqlens_k + 1 - S hold something (all of them, unless
 * the caller keeps a buffer that is longer); new tokens are causal among themselves. Position j of the past is at j, new
 * token i at held + i, and a query sees what stands at most at its own position. So the mask is a comparison of positions;
 * or it is an input. */
#include <math.h>
#include <string.h>

#include "onnx/patch.h"

#define HIDDEN (-10000.0) /* exp of it is 0, also after f16 scores were added; its sum with them stays finite in f16 */

struct attention {
    const EyeOnnx__NodeProto *n;
    int64_t heads, kv_heads, width; /* of a head */
    int64_t tokens, past;           /* S, P; -1 = symbolic */
    const char *tokens_param, *past_param;
    int32_t type;
    bool has_past;
    const char *q, *k, *v, *past_k, *past_v, *seqlens;
};

/* ---- what the node says ---- */

static enum eye_status refuse_rest(struct patcher *p, const EyeOnnx__NodeProto *n) {
    static const struct {
        size_t i;
        const char *name;
    } inputs[] = {{11, "head_sink"}, {12, "k_scale"}, {13, "v_scale"}};
    for (size_t i = 0; i < EYE_COUNT(inputs); i++)
        if (*eye_patch_in(n, inputs[i].i)) return eye_patch_refuse(p, n, "its input %s is not taken apart", inputs[i].name);
    bool scores = eye_patch_out(n, 3) || eye_patch_int(n, "qk_output", 0);
    if (scores) return eye_patch_refuse(p, n, "its output output_qk is not taken apart");
    if (eye_patch_int(n, "causal", 1) != 1) return eye_patch_refuse(p, n, "attention that is not causal");
    if (eye_patch_int(n, "smooth_softmax", 0) > 0) return eye_patch_refuse(p, n, "smooth_softmax is not taken apart");
    if (eye_patch_int(n, "sliding_window_cache", 0)) return eye_patch_refuse(p, n, "sliding_window_cache is not taken apart");
    if (eye_patch_int(n, "kv_cache_bit_width", 0)) return eye_patch_refuse(p, n, "a quantized cache is not taken apart");
    return EYE_OK;
}

static enum eye_status find_width(struct patcher *p, struct attention *a) {
    const EyeOnnx__NodeProto *n = a->n;
    struct eye_onnx_shape past = eye_patch_shape(p, a->past_k);
    struct eye_onnx_shape present = eye_patch_out(n, 1) ? eye_patch_shape(p, eye_patch_out(n, 1)) : past;
    int64_t w = eye_patch_width(p, a->q), groups = *a->k ? a->heads : a->heads + 2 * a->kv_heads;
    if (past.known && past.rank == 4 && past.dim[3] > 0) a->width = past.dim[3];
    else if (present.known && present.rank == 4 && present.dim[3] > 0) a->width = present.dim[3];
    else if (w > 0 && w % groups == 0) a->width = w / groups;
    if (a->width <= 0 || a->width > INT32_MAX)
        return eye_patch_refuse(p, n, "the size of a head is not known: neither past_key nor query has a shape");
    return EYE_OK;
}

static enum eye_status read_node(struct patcher *p, const EyeOnnx__NodeProto *n, struct attention *a) {
    *a = (struct attention){.n = n, .heads = eye_patch_int(n, "num_heads", 0), .kv_heads = eye_patch_int(n, "kv_num_heads", 0),
                            .q = eye_patch_in(n, 0), .k = eye_patch_in(n, 1), .v = eye_patch_in(n, 2),
                                .past_k = eye_patch_in(n, 3),
                            .past_v = eye_patch_in(n, 4), .seqlens = eye_patch_in(n, 5), .tokens_param = "", .past_param = ""};
    if (!*a->q || !eye_patch_out(n, 0) || !*a->k != !*a->v || !*a->past_k != !*a->past_v)
        return eye_patch_refuse(p, n, "an input or its output is left out");
    if (a->heads <= 0 || a->kv_heads <= 0 || a->heads > 1 << 20 || a->heads % a->kv_heads)
        return eye_patch_refuse(p, n, "%lld heads over %lld for keys", (long long)a->heads, (long long)a->kv_heads);
    if (!*a->seqlens && !p->o->mask) return eye_patch_refuse(p, n, "without seqlens_k");
    EYE_TRY(refuse_rest(p, n));
    EYE_TRY(find_width(p, a));
    a->has_past = *a->past_k != 0;
    struct eye_onnx_shape past = eye_patch_shape(p, a->past_k), q = eye_patch_shape(p, a->q),
        cos = eye_patch_shape(p, eye_patch_in(n, 7));
    a->past = a->has_past ? past.known && past.rank == 4 ? past.dim[2] : -1 : 0;
    if (a->past < 0 && past.known && past.rank == 4) a->past_param = past.param[2];
    if (a->past == 0) a->has_past = false;
    a->tokens = eye_patch_tokens(p, a->q, &a->tokens_param);
    a->type = past.type ? past.type : q.type ? q.type : cos.type;
    if (!a->type) return eye_patch_refuse(p, n, "the type of its numbers is not known");
    return EYE_OK;
}

/* ---- positions ---- */

/* Positions held before this call, i32 [B,1]: seqlens_k + 1 - S, and none when it is the first. */
static const char *held(struct patcher *p, const struct attention *a) {
    const char *key = eye_patch_key(p, "held", a->seqlens, a->tokens >= 0 ? "" : a->tokens_param, a->tokens);
    const char *old = eye_patch_recall(p, key);
    if (old) return old;
    const char *x = eye_patch_reshape(p, a->seqlens, (const int64_t[]){-1, 1}, 2, NULL);
    x = eye_patch_cast(p, x, EYE_ONNX_I32, NULL);
    x = eye_patch_op(p, "Add", NULL, x, eye_patch_scalar(p, EYE_ONNX_I32, 1), NULL);
    x = eye_patch_op(p, "Sub", NULL, x, eye_patch_size(p, a->tokens, a->q, 1), NULL);
    x = eye_patch_op(p, "Max", NULL, x, eye_patch_scalar(p, EYE_ONNX_I32, 0), NULL);
    eye_patch_remember(p, key, x);
    return x;
}

/* Of the new tokens, i32 [B,S]. */
static const char *new_positions(struct patcher *p, const struct attention *a) {
    const char *key = eye_patch_key(p, "positions", a->seqlens, a->tokens >= 0 ? "" : a->tokens_param, a->tokens);
    const char *old = eye_patch_recall(p, key);
    if (old) return old;
    const char *x = eye_patch_op(p, "Add", NULL, held(p, a), eye_patch_arange(p, a->tokens, a->q, 1), NULL);
    eye_patch_remember(p, key, x);
    return x;
}

/* Where keys stand, i32 [B, P + S]: the past's at 0, 1, … as far as it is held, and out of sight beyond; then the new ones'.
 * */
static const char *key_positions(struct patcher *p, const struct attention *a) {
    const char *news = new_positions(p, a);
    if (!a->has_past) return news;
    const char *j = eye_patch_arange(p, a->past, a->past_v, 2); /* values: keys may be turned */
    const char *empty = eye_patch_op(p, "GreaterOrEqual", NULL, j, held(p, a), NULL); /* [P] against [B,1] */
    empty = eye_patch_cast(p, empty, EYE_ONNX_I32, NULL);
    empty = eye_patch_op(p, "Mul", NULL, empty, eye_patch_scalar(p, EYE_ONNX_I32, 1 << 30), NULL);
    return eye_patch_concat(p, -1, eye_patch_op(p, "Add", NULL, j, empty, NULL), news, NULL, NULL);
}

/* ---- masks: what is added to scores [B,1,S,P + S] ---- */

static const char *added(struct patcher *p, const char *is_hidden, int32_t type) {
    return eye_patch_op(p, "Mul", NULL, eye_patch_cast(p, is_hidden, type, NULL), eye_patch_scalar(p, type, HIDDEN), NULL);
}

static const char *mask_of_lengths(struct patcher *p, const struct attention *a) {
    int64_t window = eye_patch_int(a->n, "local_window_size", -1);
    const char *key = eye_patch_key(p, "mask", a->seqlens, a->has_past && a->past < 0 ? a->past_param : "", a->past);
    key = eye_patch_key(p, key ? key : "", a->tokens_param, "", a->type * 4096 + window);
    const char *old = eye_patch_recall(p, key);
    if (old) return old;
    const char *rows = eye_patch_reshape(p, new_positions(p, a), (const int64_t[]){0, 1, -1, 1}, 4, NULL);
    const char *columns = eye_patch_reshape(p, key_positions(p, a), (const int64_t[]){0, 1, 1, -1}, 4, NULL);
    const char *hidden = eye_patch_op(p, "Greater", NULL, columns, rows, NULL);
    if (window > 0) { /* and what stands `window` or more behind */
        const char *oldest = eye_patch_op(p, "Sub", NULL, rows, eye_patch_scalar(p, EYE_ONNX_I32, (double)window), NULL);
        hidden = eye_patch_op(p, "Or", NULL, hidden, eye_patch_op(p, "LessOrEqual", NULL, columns, oldest, NULL), NULL);
    }
    const char *x = added(p, hidden, a->type);
    eye_patch_remember(p, key, x);
    return x;
}

/* attention_mask [B,1,S,P + S]: integers, of which any but 0 is seen (Genie writes -1), or numbers that are added. */
static enum eye_status mask_of_input(struct patcher *p, const struct attention *a, const char **out) {
    static const char name[] = "attention_mask/new";
    int32_t type = p->o->mask == EYE_ONNX_MASK_I32 ? EYE_ONNX_I32 : p->o->mask == EYE_ONNX_MASK_I64 ? EYE_ONNX_I64 : a->type;
    const char *key = eye_patch_key(p, "mask input", "", "", a->type);
    if ((*out = eye_patch_recall(p, key))) return EYE_OK;
    if (!p->mask_in) {
        int64_t all = a->past >= 0 && a->tokens >= 0 ? a->past + a->tokens : -1;
        struct eye_onnx_shape past = eye_patch_shape(p, a->past_k);
        int64_t batch = past.known && past.rank == 4 ? past.dim[0] : -1;
        const char *b = past.known && past.rank == 4 && *past.param[0] ? past.param[0] : "batch_size";
        const char *params[] = {b, "", *a->tokens_param ? a->tokens_param : "sequence_length", "total_sequence_length"};
        eye_onnx_add_input(p->m, p->g, name, type, (const int64_t[]){batch, 1, a->tokens, all}, 4, params);
        p->mask_in = name;
        p->r->n_inputs_added++;
    }
    const char *x = p->mask_in;
    if (p->o->mask != EYE_ONNX_MASK_ADDED)
        x = added(p, eye_patch_op(p, "Equal", NULL, x, eye_patch_scalar(p, type, 0), NULL), a->type);
    eye_patch_remember(p, key, x);
    *out = x;
    return EYE_OK;
}

/* ---- the node ---- */

/* [B,S,heads*D] -> [B,heads,S,D], normed per head and turned if the node does so. */
static enum eye_status heads_of(struct patcher *p, const struct attention *a, const char *x, int64_t heads, const char *gamma,
                                bool turn, const char *out, const char **result) {
    const EyeOnnx__NodeProto *n = a->n;
    bool bare = !turn && !*gamma;
    x = eye_patch_reshape(p, x, (const int64_t[]){0, 0, heads, a->width}, 4, NULL);
    if (*gamma)
        x = eye_patch_rms(p, x, a->type, gamma, eye_patch_float(n, "qk_norm_epsilon", 1e-6f), (const int64_t[]){-1}, 1, NULL,
                          NULL);
    x = eye_patch_transpose(p, x, (const int64_t[]){0, 2, 1, 3}, 4, bare || !turn ? out : NULL);
    if (turn) {
        struct patch_rope r = {.width = a->width, .interleaved = eye_patch_int(n, "rotary_interleaved", 0) != 0, .rank = 4};
        const char *positions = *eye_patch_in(n, 9) ? eye_patch_in(n, 9) : p->o->rope_inputs ? "" : new_positions(p, a);
        EYE_TRY(eye_patch_tables(p, n, eye_patch_in(n, 7), eye_patch_in(n, 8), positions, a->q, 1, &r));
        x = eye_patch_rotate(p, x, &r, out);
    }
    *result = x;
    return EYE_OK;
}

/* Joins past and new; which of them is the output is the caller's wish. new_x was made under the output's name if it is it. */
static const char *join(struct patcher *p, const struct attention *a, int64_t axis, const char *past, const char *new_x,
                        const char *out) {
    if (!a->has_past) return new_x;
    return eye_patch_concat(p, axis, past, new_x, NULL, p->o->present == EYE_ONNX_PRESENT_NEW ? NULL : out);
}

static enum eye_status check_present(struct patcher *p, const struct attention *a, const char *present) {
    struct eye_onnx_shape s = present ? eye_patch_shape(p, present) : (struct eye_onnx_shape){0};
    if (!present || !a->has_past || p->o->present == EYE_ONNX_PRESENT_NEW || !s.known || s.rank != 4) return EYE_OK;
    bool same = a->past >= 0 ? s.dim[2] == a->past : *a->past_param && strcmp(a->past_param, s.param[2]) == 0;
    return same ? eye_patch_refuse(p, a->n,
                                   "past and present are one buffer, which only fused attention writes into: let it give the "
                                            "new keys and values alone (--present new)")
                : EYE_OK;
}

/* A present that holds the new tokens alone says so among the graph's outputs. */
static void narrow_output(struct patcher *p, const struct attention *a, const char *name) {
    if (p->o->present != EYE_ONNX_PRESENT_NEW || !name || !a->has_past) return;
    for (size_t i = 0; i < p->g->n_output + p->g->n_value_info; i++) {
        EyeOnnx__ValueInfoProto *v = i < p->g->n_output ? p->g->output[i] : p->g->value_info[i - p->g->n_output];
        struct eye_onnx_shape s = eye_onnx_shape_of(v);
        if (strcmp(eye_onnx_str(v->name), name) != 0 || !s.known || s.rank != 4) continue;
        EyeOnnx__TensorShapeProto__Dimension *d = v->type->tensor_type->shape->dim[2];
        if (a->tokens >= 0) {
            d->value_case = EYE_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            d->dim_value = a->tokens;
        } else {
            d->value_case = EYE_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            d->dim_param = eye_onnx_text(p->m, *a->tokens_param ? a->tokens_param : "sequence_length");
        }
    }
}

/* The cache's keys become [B,Hkv,D,P]: the graph's interface says so. */
static enum eye_status turn_interface(struct patcher *p, const struct attention *a, const char *name, bool output) {
    size_t n = output ? p->g->n_output : p->g->n_input;
    for (size_t i = 0; i < n; i++) {
        EyeOnnx__ValueInfoProto *v = output ? p->g->output[i] : p->g->input[i];
        if (strcmp(eye_onnx_str(v->name), name) != 0) continue;
        struct eye_onnx_shape s = eye_onnx_shape_of(v);
        if (!s.known || s.rank != 4) break;
        EyeOnnx__TensorShapeProto__Dimension **d = v->type->tensor_type->shape->dim, *third = d[2];
        d[2] = d[3];
        d[3] = third;
        return EYE_OK;
    }
    return eye_patch_refuse(p, a->n, "keys \"%.60s\" cannot be turned: no %s of the graph with 4 dims", name,
                            output ? "output" : "input");
}

/* softmax(q k + mask) v of [B,H,S,D], [B,Hkv,D,T] and [B,Hkv,T,D]. */
static const char *attend(struct patcher *p, const struct attention *a, const char *q, const char *k, const char *v,
                          const char *mask) {
    const EyeOnnx__NodeProto *n = a->n;
    const int64_t grouped[] = {0, a->kv_heads, -1, 0}, single[] = {0, a->heads, -1, 0};
    bool groups = a->heads != a->kv_heads;
    float scale = eye_patch_float(n, "scale", 0), cap = eye_patch_float(n, "softcap", 0);
    double factor = scale != 0 ? (double)scale : 1 / sqrt((double)a->width);
    /* before the product, which f16 might not hold */
    q = eye_patch_op(p, "Mul", NULL, q, eye_patch_scalar(p, a->type, factor), NULL);
    if (groups) q = eye_patch_reshape(p, q, grouped, 4, NULL);
    const char *x = eye_patch_op(p, "MatMul", NULL, q, k, NULL);
    if (groups) x = eye_patch_reshape(p, x, single, 4, NULL);
    if (cap > 0) {
        x = eye_patch_op(p, "Tanh", NULL, eye_patch_op(p, "Mul", NULL, x, eye_patch_scalar(p, a->type, 1 / (double)cap),
                                                       NULL), NULL,
                         NULL);
        x = eye_patch_op(p, "Mul", NULL, x, eye_patch_scalar(p, a->type, (double)cap), NULL);
    }
    if (*eye_patch_in(n, 10)) x = eye_patch_op(p, "Add", NULL, x, eye_patch_in(n, 10), NULL);
    x = eye_patch_op(p, "Add", NULL, x, mask, NULL);
    x = eye_patch_op(p, "Softmax", NULL, x, NULL, NULL);
    eye_onnx_attr_int(p->m, eye_patch_last(p), "axis", -1);
    if (groups) x = eye_patch_reshape(p, x, grouped, 4, NULL);
    x = eye_patch_op(p, "MatMul", NULL, x, v, NULL);
    return groups ? eye_patch_reshape(p, x, single, 4, NULL) : x;
}

enum eye_status eye_patch_gqa(struct patcher *p, const EyeOnnx__NodeProto *n) {
    struct attention a;
    const char *q, *k, *v, *mask, *part[3] = {0};
    EYE_TRY(read_node(p, n, &a));
    EYE_TRY(check_present(p, &a, eye_patch_out(n, 1)));
    bool turn = eye_patch_int(n, "do_rotary", 0) != 0, new_out = !a.has_past || p->o->present == EYE_ONNX_PRESENT_NEW;
    bool turned_keys = p->o->turned_keys;
    const int64_t last_two[] = {0, 1, 3, 2};
    const char *key_out = new_out ? eye_patch_out(n, 1) : NULL;
    if (turn && (!*eye_patch_in(n, 7) || !*eye_patch_in(n, 8))) return eye_patch_refuse(p, n, "do_rotary without cos and sin");
    if (!*a.k) {
        const int64_t size[] = {a.heads * a.width, a.kv_heads * a.width, a.kv_heads * a.width};
        eye_patch_split(p, a.q, -1, size, 3, part);
    }
    EYE_TRY(heads_of(p, &a, *a.k ? a.q : part[0], a.heads, eye_patch_in(n, 14), turn, NULL, &q));
    EYE_TRY(heads_of(p, &a, *a.k ? a.k : part[1], a.kv_heads, eye_patch_in(n, 15), turn, turned_keys ? NULL : key_out, &k));
    EYE_TRY(heads_of(p, &a, *a.k ? a.v : part[2], a.kv_heads, "", false, new_out ? eye_patch_out(n, 2) : NULL, &v));
    if (turned_keys) k = eye_patch_transpose(p, k, last_two, 4, key_out);
    k = join(p, &a, turned_keys ? 3 : 2, a.past_k, k, eye_patch_out(n, 1));
    if (!turned_keys) k = eye_patch_transpose(p, k, last_two, 4, NULL);
    v = join(p, &a, 2, a.past_v, v, eye_patch_out(n, 2));
    if (p->o->mask) EYE_TRY(mask_of_input(p, &a, &mask));
    else mask = mask_of_lengths(p, &a);
    const char *x = attend(p, &a, q, k, v, mask);
    x = eye_patch_transpose(p, x, (const int64_t[]){0, 2, 1, 3}, 4, NULL);
    eye_patch_reshape(p, x, (const int64_t[]){0, 0, a.heads * a.width}, 3, eye_patch_out(n, 0));
    narrow_output(p, &a, eye_patch_out(n, 1));
    narrow_output(p, &a, eye_patch_out(n, 2));
    if (turned_keys && a.has_past) EYE_TRY(turn_interface(p, &a, a.past_k, false));
    if (turned_keys && eye_patch_out(n, 1)) EYE_TRY(turn_interface(p, &a, eye_patch_out(n, 1), true));
    p->r->n_attentions++;
    return EYE_OK;
}
