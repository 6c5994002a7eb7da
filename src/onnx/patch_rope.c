/* onnx/patch_rope: rotary position embedding taken apart. Of the first `dims` channels of each head, pairs (a, b) become
 * (a cos - b sin, b cos + a sin). Which channels are a pair is the node's to say: halves (i, i + dims/2), or interleaved
 * (2i, 2i + 1). With the wrong one a model speaks nonsense.
 *
 *   com.microsoft.RotaryEmbedding  x [B,S,H*D] or [B,H,S,D], positions [B,S] or [1] (of the first token), cos, sin [P, dims/2]
 *
 * Cosines are looked up once for all nodes that use the same table and positions; or come from the graph's inputs
 * position_ids_cos and position_ids_sin [1,1,S,dims/2]. */
#include <string.h>

#include "onnx/patch.h"

const char *eye_patch_rotate(struct patcher *p, const char *x, const struct patch_rope *r, const char *out) {
    bool whole = r->dims == r->width;
    const char *part[3] = {0}, *a, *b, *cos = r->cos, *sin = r->sin, *turned = x;
    int64_t half = r->dims / 2;
    if (r->interleaved) {
        const int64_t pairs[] = {0, 0, 0, half, 2}, back[] = {0, 0, 0, -1};
        if (!whole) {
            eye_patch_split(p, x, -1, (const int64_t[]){r->dims, r->width - r->dims}, 2, part);
            turned = part[0], part[2] = part[1];
        }
        turned = eye_patch_reshape(p, turned, pairs, 5, NULL);
        const char *ab[2] = {0};
        eye_patch_split(p, turned, -1, (const int64_t[]){1, 1}, 2, ab);
        cos = eye_patch_unsqueeze(p, cos, -1);
        sin = eye_patch_unsqueeze(p, sin, -1);
        a = eye_patch_op(p, "Sub", NULL, eye_patch_op(p, "Mul", NULL, ab[0], cos, NULL),
                         eye_patch_op(p, "Mul", NULL, ab[1], sin, NULL), NULL);
        b = eye_patch_op(p, "Add", NULL, eye_patch_op(p, "Mul", NULL, ab[1], cos, NULL),
                         eye_patch_op(p, "Mul", NULL, ab[0], sin, NULL), NULL);
        turned = eye_patch_concat(p, -1, a, b, NULL, NULL);
        turned = eye_patch_reshape(p, turned, back, 4, whole ? out : NULL);
        return whole ? turned : eye_patch_concat(p, -1, turned, part[2], NULL, out);
    }
    eye_patch_split(p, x, -1, (const int64_t[]){half, half, r->width - r->dims}, whole ? 2 : 3, part);
    a = eye_patch_op(p, "Sub", NULL, eye_patch_op(p, "Mul", NULL, part[0], cos, NULL),
                     eye_patch_op(p, "Mul", NULL, part[1], sin, NULL), NULL);
    b = eye_patch_op(p, "Add", NULL, eye_patch_op(p, "Mul", NULL, part[1], cos, NULL),
                     eye_patch_op(p, "Mul", NULL, part[0], sin, NULL), NULL);
    return eye_patch_concat(p, -1, a, b, whole ? NULL : part[2], out);
}

/* ---- cosines and sines ---- */

/* The graph's inputs, made when the first node asks; tokens as in `of`. */
static enum eye_status table_inputs(struct patcher *p, const EyeOnnx__NodeProto *n, int32_t type, int64_t half,
                                    const char *of) {
    static const char *const name[] = {"position_ids_cos", "position_ids_sin"};
    const char *param = "", *made = eye_patch_recall(p, "rope inputs");
    int64_t dims[] = {1, 1, eye_patch_tokens(p, of, &param), half};
    const char *params[] = {"", "", *param ? param : "sequence_length", ""};
    if (made) {
        struct eye_onnx_shape s = {0};
        for (size_t i = 0; i < p->g->n_input; i++)
            if (strcmp(eye_onnx_str(p->g->input[i]->name), made) == 0) s = eye_onnx_shape_of(p->g->input[i]);
        return s.dim[3] == half ? EYE_OK : eye_patch_refuse(p, n,
                                                            "turns %lld channels, others %lld: inputs for both there are not",
                                                            (long long)half * 2, (long long)s.dim[3] * 2);
    }
    for (int i = 0; i < 2; i++) {
        if (eye_strmap_get(&p->names, name[i], strlen(name[i])) >= 0)
            return eye_patch_refuse(p, n, "the graph has a tensor %s already", name[i]);
        eye_onnx_add_input(p->m, p->g, name[i], type, dims, 4, params);
    }
    if (p->m->failed) return eye_fail_nomem(p->err, 1);
    p->r->n_inputs_added += 2;
    eye_patch_remember(p, "rope inputs", name[0]);
    return EYE_OK;
}

/* [1,1,S,half] for x [B,S,H,D] is [1,S,1,half]. */
static const char *turn_input(struct patcher *p, const char *name, int heads_axis) {
    if (heads_axis == 1) return name;
    const char *key = eye_patch_key(p, "turned", name, "", 0), *old = eye_patch_recall(p, key);
    if (old) return old;
    const char *t = eye_patch_transpose(p, name, (const int64_t[]){0, 2, 1, 3}, 4, NULL);
    eye_patch_remember(p, key, t);
    return t;
}

static const char *look_up(struct patcher *p, const char *table, const char *positions, int heads_axis) {
    const char *key = eye_patch_key(p, "rope", table, positions, heads_axis), *old = eye_patch_recall(p, key);
    if (old) return old;
    const char *rows = eye_patch_op(p, "Gather", NULL, table, positions, NULL);
    rows = eye_patch_unsqueeze(p, rows, heads_axis);
    eye_patch_remember(p, key, rows);
    return rows;
}

enum eye_status eye_patch_tables(struct patcher *p, const EyeOnnx__NodeProto *n, const char *cos_cache, const char *sin_cache,
                                 const char *positions, const char *tokens_of, int heads_axis, struct patch_rope *r) {
    struct eye_onnx_shape cos = eye_patch_shape(p, cos_cache), sin = eye_patch_shape(p, sin_cache);
    if (!cos.known || cos.rank != 2 || cos.dim[1] <= 0 || !sin.known || sin.rank != 2 || sin.dim[1] != cos.dim[1] || !cos.type)
        return eye_patch_refuse(p, n, "its cos and sin tables have no known shape [positions, half]");
    if (cos.dim[1] > INT32_MAX || r->width < cos.dim[1] * 2)
        return eye_patch_refuse(p, n, "turns %lld channels of heads of %lld", (long long)cos.dim[1] * 2, (long long)r->width);
    r->dims = cos.dim[1] * 2;
    if (p->o->rope_inputs) {
        EYE_TRY(table_inputs(p, n, cos.type, cos.dim[1], tokens_of));
        r->cos = turn_input(p, "position_ids_cos", heads_axis);
        r->sin = turn_input(p, "position_ids_sin", heads_axis);
    } else {
        r->cos = look_up(p, cos_cache, positions, heads_axis);
        r->sin = look_up(p, sin_cache, positions, heads_axis);
    }
    return EYE_OK;
}

/* ---- the node ---- */

/* Positions [B,S]: given, or counted from that of the first token. */
static enum eye_status find_positions(struct patcher *p, const EyeOnnx__NodeProto *n, const char *x, int tokens_axis,
                                      int64_t tokens,
                                      const char **out) {
    const char *ids = eye_patch_in(n, 1), *param;
    struct eye_onnx_shape s = eye_patch_shape(p, ids);
    *out = ids;
    if (p->o->rope_inputs || (s.known && s.rank == 2)) return EYE_OK;
    if (!s.known) { /* a tensor of the graph: seen through what keeps its rank */
        if (eye_patch_tokens(p, ids, &param) >= 0 || *param) return EYE_OK;
        return eye_patch_refuse(p, n, "the rank of its position_ids is not known");
    }
    if (s.rank != 1) return eye_patch_refuse(p, n, "its position_ids have %zu dims, expected 2 or 1", s.rank);
    const char *key = eye_patch_key(p, "counted", ids, tokens >= 0 ? "" : x, tokens), *old = eye_patch_recall(p, key);
    if (!old) {
        const char *first = eye_patch_cast(p, ids, EYE_ONNX_I32, NULL);
        old = eye_patch_op(p, "Add", NULL, first, eye_patch_arange(p, tokens, x, tokens_axis), NULL);
        old = eye_patch_unsqueeze(p, old, 0);
        eye_patch_remember(p, key, old);
    }
    *out = old;
    return EYE_OK;
}

enum eye_status eye_patch_rotary(struct patcher *p, const EyeOnnx__NodeProto *n) {
    const char *x = eye_patch_in(n, 0), *cos = eye_patch_in(n, 2), *positions, *param;
    struct eye_onnx_shape s = eye_patch_shape(p, x), table = eye_patch_shape(p, cos);
    int64_t heads = eye_patch_int(n, "num_heads", 0), dims = eye_patch_int(n, "rotary_embedding_dim", 0), tokens;
    if (!*x || !*eye_patch_in(n, 1) || !*cos || !*eye_patch_in(n, 3) || !eye_patch_out(n, 0))
        return eye_patch_refuse(p, n, "an input or its output is left out");
    if (eye_patch_int(n, "is_packed_batching", 0)) return eye_patch_refuse(p, n, "packed batches are not taken apart");
    if (eye_patch_float(n, "scale", 1) != 1) return eye_patch_refuse(p, n, "scale %g: expected 1",
                                                                     (double)eye_patch_float(n, "scale", 1));
    if (heads < 0 || heads > 1 << 20) return eye_patch_refuse(p, n, "%lld heads", (long long)heads);
    bool flat = s.known ? s.rank == 3 : true; /* what is not known comes out of a projection: [B,S,H*D] */
    if (s.known && s.rank != 3 && s.rank != 4) return eye_patch_refuse(p, n, "x has %zu dims, expected 3 or 4", s.rank);
    struct patch_rope r = {.interleaved = eye_patch_int(n, "interleaved", 0) != 0, .rank = 4};
    int64_t half = table.known && table.rank == 2 ? table.dim[1] : -1, width = eye_patch_width(p, x);
    r.width = flat ? heads > 0 ? width / heads : half * 2 : dims ? width : half * 2;
    if (r.width <= 0 || (flat && heads > 0 && (width < 0 || width % heads)))
        return eye_patch_refuse(p, n, "the size of a head is not known: x has no known width, or the tables no shape");
    if (dims && half * 2 != dims) return eye_patch_refuse(p, n, "rotary_embedding_dim %lld, tables for %lld", (long long)dims,
                                                          (long long)half * 2);

    tokens = flat ? eye_patch_tokens(p, x, &param) : s.dim[2];
    int heads_axis = flat ? 2 : 1;
    EYE_TRY(find_positions(p, n, x, flat ? 1 : 2, tokens, &positions));
    EYE_TRY(eye_patch_tables(p, n, cos, eye_patch_in(n, 3), positions, flat ? x : positions, heads_axis, &r));
    if (flat) x = eye_patch_reshape(p, x, (const int64_t[]){0, 0, heads > 0 ? heads : -1, r.width}, 4, NULL);
    const char *y = eye_patch_rotate(p, x, &r, flat ? NULL : eye_patch_out(n, 0));
    if (flat) eye_patch_reshape(p, y, (const int64_t[]){0, 0, -1}, 3, eye_patch_out(n, 0));
    p->r->n_ropes++;
    return EYE_OK;
}
