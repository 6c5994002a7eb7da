/* Shape rules: one function per row of ops.def. They also are the type check: what an engine lowering or an exporter may
 * assume about a node is asserted here, with a text that names the shapes. */
#include "graph/graph_impl.h"

#include <string.h>

static const struct eye_value *in(const struct eye_graph *g, const struct eye_node *n, int i) {
    return i < n->n_in && n->in[i] != EYE_NONE ? &g->value[n->in[i]] : NULL;
}

static enum eye_status bad(struct eye_err *err, const char *what, const struct eye_value *a, const struct eye_value *b) {
    char ta[96], tb[96];
    return eye_fail(err, EYE_E_CORRUPT, "%s: got %s \"%s\" and %s \"%s\"", what, eye_shape_text(a->dims, a->rank, ta, sizeof ta), a->name,
                    eye_shape_text(b->dims, b->rank, tb, sizeof tb), b->name);
}

static bool same_dims(const struct eye_value *a, const struct eye_value *b) {
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]) == 0;
}

static bool is_vector(const struct eye_value *v, int64_t n) { return v->rank == 1 && v->dims[0] == n; }

static void copy_shape(struct eye_value *out, const struct eye_value *x) {
    out->rank = x->rank;
    memcpy(out->dims, x->dims, sizeof out->dims);
}

static int64_t last(const struct eye_value *v) { return v->rank ? v->dims[v->rank - 1] : 1; }

typedef const struct eye_graph G;
typedef const struct eye_node N;
typedef struct eye_value V;
typedef struct eye_err E;

static enum eye_status eye_shape_conv2d(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0), *w = in(g, n, 1), *b = in(g, n, 2);
    const struct eye_attr *a = &n->attr;
    if (x->rank != 4 || w->rank != 4) return bad(err, "conv2d wants x [N,H,W,C] and w [O,C/g,kh,kw]", x, w);
    if (a->stride < 1 || a->groups < 1 || a->pad_top < 0 || a->pad_left < 0 || a->pad_bottom < 0 || a->pad_right < 0)
        return eye_fail(err, EYE_E_ARG, "conv2d: stride %d, groups %d or a padding is out of range", a->stride, a->groups);
    if (w->dims[0] < 1 || w->dims[2] < 1 || w->dims[3] < 1 || w->dims[1] * a->groups != x->dims[3] || w->dims[0] % a->groups != 0)
        return bad(err, "conv2d: channels and groups do not fit", x, w);
    if (b && !is_vector(b, w->dims[0])) return bad(err, "conv2d: bias", w, b);
    int64_t h = x->dims[1] + a->pad_top + a->pad_bottom - w->dims[2], wd = x->dims[2] + a->pad_left + a->pad_right - w->dims[3];
    if (x->dims[1] < 1 || x->dims[2] < 1 || h < 0 || wd < 0) return bad(err, "conv2d: the image is smaller than the kernel", x, w);
    out->rank = 4;
    out->dims[0] = x->dims[0];
    out->dims[1] = h / a->stride + 1;
    out->dims[2] = wd / a->stride + 1;
    out->dims[3] = w->dims[0];
    return EYE_OK;
}

static enum eye_status eye_shape_linear(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0), *w = in(g, n, 1), *b = in(g, n, 2), *r = in(g, n, 3);
    if (x->rank < 1 || w->rank != 2 || last(x) != w->dims[1] || w->dims[0] < 1) return bad(err, "linear wants x [..,K] and w [N,K]", x, w);
    if (b && !is_vector(b, w->dims[0])) return bad(err, "linear: bias", w, b);
    copy_shape(out, x);
    out->dims[out->rank - 1] = w->dims[0];
    return r && !same_dims(r, out) ? bad(err, "linear: residual", r, out) : EYE_OK;
}

static enum eye_status eye_shape_batch_norm(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    for (int i = 1; i < 5; i++)
        if (!is_vector(in(g, n, i), last(x))) return bad(err, "batch_norm: one number per channel is wanted", x, in(g, n, i));
    copy_shape(out, x);
    return EYE_OK;
}

static enum eye_status eye_shape_layer_norm(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    for (int i = 1; i < n->n_in; i++)
        if (in(g, n, i) && !is_vector(in(g, n, i), last(x))) return bad(err, "norm: one number per channel is wanted", x, in(g, n, i));
    copy_shape(out, x);
    return EYE_OK;
}
#define eye_shape_rms_norm eye_shape_layer_norm

static enum eye_status eye_shape_act(G *g, N *n, V *out, E *err) {
    if ((unsigned)n->attr.act >= EYE_N_ACT) return eye_fail(err, EYE_E_ARG, "act: unknown kind %d", (int)n->attr.act);
    copy_shape(out, in(g, n, 0));
    return EYE_OK;
}

static enum eye_status eye_shape_add(G *g, N *n, V *out, E *err) {
    const struct eye_value *a = in(g, n, 0), *b = in(g, n, 1);
    bool gate = a->rank == 4 && b->rank == 4 && b->dims[0] == a->dims[0] && b->dims[1] == 1 && b->dims[2] == 1 && b->dims[3] == a->dims[3];
    if (!same_dims(a, b) && !is_vector(b, last(a)) && !gate) return bad(err, "shapes do not combine", a, b);
    copy_shape(out, a);
    return EYE_OK;
}
#define eye_shape_sub eye_shape_add
#define eye_shape_mul eye_shape_add

static enum eye_status eye_shape_mean_hw(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    if (x->rank != 4) return bad(err, "mean_hw wants [N,H,W,C]", x, x);
    copy_shape(out, x);
    out->dims[1] = out->dims[2] = 1;
    return EYE_OK;
}

static enum eye_status eye_shape_softmax(G *g, N *n, V *out, E *err) {
    if (in(g, n, 0)->rank < 1) return bad(err, "softmax wants rows", in(g, n, 0), in(g, n, 0));
    copy_shape(out, in(g, n, 0));
    return EYE_OK;
}

static enum eye_status eye_shape_embed(G *g, N *n, V *out, E *err) {
    const struct eye_value *ids = in(g, n, 0), *table = in(g, n, 1);
    if (ids->rank != 1 || ids->dtype != EYE_I32 || table->rank != 2) return bad(err, "embed wants ids [T] i32 and a table [V,C]", ids, table);
    out->rank = 2;
    out->dims[0] = ids->dims[0];
    out->dims[1] = table->dims[1];
    return EYE_OK;
}

static enum eye_status eye_shape_positions(G *g, N *n, V *out, E *err) {
    const struct eye_value *table = in(g, n, 0);
    if (table->rank != 2 || table->dims[0] < 1 || table->dims[1] < 1) return bad(err, "positions wants a table [P,C]", table, table);
    out->rank = 2;
    out->dims[0] = EYE_DIM_T;
    out->dims[1] = table->dims[1];
    return EYE_OK;
}

static enum eye_status eye_shape_rope(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    if (x->rank != 3 || x->dims[2] < 2 || x->dims[2] % 2) return bad(err, "rope wants [T,H,D] with an even D", x, x);
    if (!(n->attr.theta > 0)) return eye_fail(err, EYE_E_ARG, "rope: theta %g is not positive", n->attr.theta);
    copy_shape(out, x);
    return EYE_OK;
}

static enum eye_status eye_shape_attention(G *g, N *n, V *out, E *err) {
    const struct eye_value *q = in(g, n, 0), *k = in(g, n, 1), *v = in(g, n, 2), *kc = in(g, n, 3), *vc = in(g, n, 4);
    int r = q->rank;
    if ((r != 3 && r != 4) || k->rank != r || !same_dims(k, v)) return bad(err, "attention wants q, k, v [(N,)T,H,D]", q, k);
    int64_t h = q->dims[r - 2], hkv = k->dims[r - 2], d = q->dims[r - 1];
    if (k->dims[r - 1] != d || d < 1 || hkv < 1 || h < hkv || h % hkv || k->dims[r - 3] != q->dims[r - 3] || (r == 4 && q->dims[0] != k->dims[0]))
        return bad(err, "attention: heads do not fit", q, k);
    if ((kc == NULL) != (vc == NULL)) return eye_fail(err, EYE_E_ARG, "attention: one of the two caches is missing");
    if (kc && (r != 3 || kc->kind != EYE_VAL_STATE || vc->kind != EYE_VAL_STATE || kc->dims[1] != hkv || kc->dims[2] != d || !same_dims(kc, vc)))
        return bad(err, "attention: cache", k, kc);
    out->rank = r - 1;
    memcpy(out->dims, q->dims, (size_t)(r - 2) * sizeof out->dims[0]);
    out->dims[r - 2] = h * d;
    return EYE_OK;
}

/* Number of elements apart from symbols, and how many T there are: both must survive a reshape. */
static bool count(const int64_t *dims, int rank, int64_t *n, int *n_t) {
    *n = 1;
    *n_t = 0;
    for (int i = 0; i < rank; i++) {
        if (dims[i] == EYE_DIM_T) ++*n_t;
        else if (dims[i] < 0 || __builtin_mul_overflow(*n, dims[i], n)) return false;
    }
    return true;
}

static enum eye_status eye_shape_reshape(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    int64_t a, b;
    int ta, tb;
    out->rank = n->attr.rank;
    memcpy(out->dims, n->attr.dims, sizeof out->dims);
    if (!count(x->dims, x->rank, &a, &ta) || !count(out->dims, out->rank, &b, &tb) || a != b || ta != tb)
        return bad(err, "reshape: element counts differ", x, out);
    return EYE_OK;
}

static enum eye_status eye_shape_transpose(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    unsigned seen = 0;
    out->rank = x->rank;
    for (int i = 0; i < x->rank; i++) {
        int32_t p = n->attr.perm[i];
        if (p < 0 || p >= x->rank || (seen >> p & 1)) return eye_fail(err, EYE_E_ARG, "transpose: axis %d given twice or out of range", p);
        seen |= 1u << p;
        out->dims[i] = x->dims[p];
    }
    return EYE_OK;
}

static enum eye_status eye_shape_concat(G *g, N *n, V *out, E *err) {
    const struct eye_value *a = in(g, n, 0), *b = in(g, n, 1);
    int axis = n->attr.axis;
    if (a->rank != b->rank || axis < 0 || axis >= a->rank || a->dims[axis] < 0 || b->dims[axis] < 0) return bad(err, "concat", a, b);
    for (int i = 0; i < a->rank; i++)
        if (i != axis && a->dims[i] != b->dims[i]) return bad(err, "concat: other axes differ", a, b);
    copy_shape(out, a);
    out->dims[axis] = a->dims[axis] + b->dims[axis];
    return EYE_OK;
}

static enum eye_status eye_shape_slice(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    const struct eye_attr *a = &n->attr;
    if (a->axis < 0 || a->axis >= x->rank || a->begin < 0 || a->length < 1 || x->dims[a->axis] < 0 ||
        a->begin > x->dims[a->axis] - a->length)
        return eye_fail(err, EYE_E_ARG, "slice [%d, +%d) of axis %d is outside \"%s\"", a->begin, a->length, a->axis, x->name);
    copy_shape(out, x);
    out->dims[a->axis] = a->length;
    return EYE_OK;
}

static enum eye_status eye_shape_ffn(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0), *w1 = in(g, n, 1), *w2 = in(g, n, 3), *r = in(g, n, 5);
    if (w1->rank != 2 || w2->rank != 2 || last(x) != w1->dims[1] || w1->dims[0] != w2->dims[1]) return bad(err, "ffn weights", w1, w2);
    copy_shape(out, x);
    out->dims[out->rank - 1] = w2->dims[0];
    return r && !same_dims(r, out) ? bad(err, "ffn: residual", r, out) : EYE_OK;
}

static enum eye_status eye_shape_swiglu(G *g, N *n, V *out, E *err) {
    if (!same_dims(in(g, n, 0), in(g, n, 1))) return bad(err, "swiglu", in(g, n, 0), in(g, n, 1));
    copy_shape(out, in(g, n, 0));
    return EYE_OK;
}

eye_shape_fn *eye_shape_rule(enum eye_op op) {
    static eye_shape_fn *const rule[EYE_N_OP] = {
#define OP(name, min_in, max_in, flags) eye_shape_##name,
#include "graph/ops.def"
    };
    assert(op < EYE_N_OP);
    return rule[op];
}
