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

/* Picked rows: ids name them; without, x's rows are the call's. */
static bool picks(const struct eye_value *ids, const struct eye_value *x) {
    return !ids || (ids->kind == EYE_VAL_INPUT && ids->rank == 1 && ids->dtype == EYE_I32 && ids->dims[0] == x->dims[0]);
}

static enum eye_status eye_shape_rope(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0), *ids = in(g, n, 1);
    if (x->rank != 3 || x->dims[2] < 2 || x->dims[2] % 2) return bad(err, "rope wants [T,H,D] with an even D", x, x);
    if (!(n->attr.theta > 0)) return eye_fail(err, EYE_E_ARG, "rope: theta %g is not positive", n->attr.theta);
    if (!picks(ids, x)) return bad(err, "rope: picked rows", x, ids);
    copy_shape(out, x);
    return EYE_OK;
}

static enum eye_status eye_shape_attention(G *g, N *n, V *out, E *err) {
    const struct eye_value *q = in(g, n, 0), *k = in(g, n, 1), *v = in(g, n, 2), *kc = in(g, n, 3), *vc = in(g, n, 4);
    const struct eye_value *ids = in(g, n, 5);
    int r = q->rank;
    if ((r != 3 && r != 4) || k->rank != r || !same_dims(k, v)) return bad(err, "attention wants q, k, v [(N,)T,H,D]", q, k);
    int64_t h = q->dims[r - 2], hkv = k->dims[r - 2], d = q->dims[r - 1];
    if (k->dims[r - 1] != d || d < 1 || hkv < 1 || h < hkv || h % hkv || (!ids && k->dims[r - 3] != q->dims[r - 3]) ||
        (r == 4 && q->dims[0] != k->dims[0]))
        return bad(err, "attention: heads do not fit", q, k);
    if ((kc == NULL) != (vc == NULL)) return eye_fail(err, EYE_E_ARG, "attention: one of the two caches is missing");
    if (kc && (r != 3 || kc->kind != EYE_VAL_STATE || vc->kind != EYE_VAL_STATE || kc->dims[1] != hkv || kc->dims[2] != d || !same_dims(kc, vc)))
        return bad(err, "attention: cache", k, kc);
    if (ids && (r != 3 || k->dims[0] != EYE_DIM_T || (q->dims[0] != EYE_DIM_T && !picks(ids, q)) || !picks(ids, ids)))
        return bad(err, "attention: picked rows", q, ids);
    out->rank = r - 1;
    memcpy(out->dims, ids ? ids->dims : q->dims, (size_t)(r - 2) * sizeof out->dims[0]);
    out->dims[r - 2] = h * d;
    return EYE_OK;
}

/* Number of elements apart from symbols, and how many T and picked rows there are: all must survive a reshape. */
struct count { int64_t n, n_t, n_picked; };
static bool count(const int64_t *dims, int rank, struct count *c) {
    *c = (struct count){.n = 1};
    for (int i = 0; i < rank; i++) {
        if (dims[i] == EYE_DIM_T) c->n_t++;
        else if (dims[i] == EYE_DIM_PICKED) c->n_picked++;
        else if (dims[i] < 0 || __builtin_mul_overflow(c->n, dims[i], &c->n)) return false;
    }
    return true;
}

static enum eye_status eye_shape_reshape(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    struct count a, b;
    out->rank = n->attr.rank;
    memcpy(out->dims, n->attr.dims, sizeof out->dims);
    if (!count(x->dims, x->rank, &a) || !count(out->dims, out->rank, &b) || a.n != b.n || a.n_t != b.n_t ||
        a.n_picked != b.n_picked)
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

static enum eye_status eye_shape_quantize(G *g, N *n, V *out, E *err) {
    copy_shape(out, in(g, n, 0));
    return EYE_OK;
}
#define eye_shape_dequantize eye_shape_quantize

/* ---- training ---- */

static bool is_shape(const struct eye_value *v, int rank, const int64_t *dims) {
    return v->rank == rank && memcmp(v->dims, dims, (size_t)rank * sizeof *dims) == 0;
}

/* One number per row of x. */
static bool is_per_row(const struct eye_value *v, const struct eye_value *x) { return is_shape(v, x->rank - 1, x->dims); }

/* out becomes what an attribute says. */
static enum eye_status from_attr(N *n, int rank, V *out) {
    out->rank = rank;
    memcpy(out->dims, n->attr.dims, (size_t)rank * sizeof out->dims[0]);
    return EYE_OK;
}

static enum eye_status vector(int64_t n, V *out) {
    out->rank = 1;
    out->dims[0] = n;
    return EYE_OK;
}

/* Two inputs, the result of the first's shape. */
static enum eye_status eye_shape_act_grad(G *g, N *n, V *out, E *err) {
    if (!same_dims(in(g, n, 0), in(g, n, 1))) return bad(err, "two of one shape are wanted", in(g, n, 0), in(g, n, 1));
    copy_shape(out, in(g, n, 0));
    return EYE_OK;
}
#define eye_shape_softmax_grad eye_shape_act_grad

static enum eye_status eye_shape_dropout(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0), *seed = in(g, n, 1);
    if (!is_vector(seed, 2) || seed->dtype != EYE_I32) return bad(err, "dropout wants a seed [2] i32", x, seed);
    if (!(n->attr.p >= 0 && n->attr.p < 1))
        return eye_fail(err, EYE_E_ARG, "dropout: p %g is outside [0, 1)", (double)n->attr.p);
    copy_shape(out, x);
    return EYE_OK;
}

static enum eye_status eye_shape_bn_stats(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    if (x->rank < 1 || last(x) < 1) return bad(err, "bn_stats wants [..,C]", x, x);
    out->rank = 2;
    out->dims[0] = 2;
    out->dims[1] = last(x);
    return EYE_OK;
}

static enum eye_status eye_shape_bn_apply(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0), *stats = in(g, n, 1);
    if (!is_shape(stats, 2, (int64_t[]){2, last(x)})) return bad(err, "bn_apply wants statistics [2,C]", x, stats);
    for (int i = 2; i < 4; i++)
        if (!is_vector(in(g, n, i), last(x))) return bad(err, "bn_apply: one number per channel is wanted", x, in(g, n, i));
    copy_shape(out, x);
    return EYE_OK;
}

/* Losses of rows: a [T,C] (and what goes with each row) -> [T]. first: where a stands among the inputs. */
static enum eye_status row_loss(G *g, N *n, int first, V *out, E *err) {
    const struct eye_value *a = in(g, n, first), *weight = in(g, n, n->n_in - 1);
    if (a->rank != 2 || last(a) < 1) return bad(err, "a loss wants rows [T,C]", a, a);
    if (!is_per_row(weight, a) || weight->dtype != EYE_F32) return bad(err, "a loss wants one weight per row", a, weight);
    if (first && !is_per_row(in(g, n, 0), a)) return bad(err, "a loss's gradient is one number per row", a, in(g, n, 0));
    if (first) copy_shape(out, a);
    else vector(a->dims[0], out);
    return EYE_OK;
}

static enum eye_status cross_entropy(G *g, N *n, int first, V *out, E *err) {
    const struct eye_value *z = in(g, n, first), *target = in(g, n, first + 1);
    EYE_TRY(row_loss(g, n, first, out, err));
    if (!(n->attr.smoothing >= 0 && n->attr.smoothing < 1))
        return eye_fail(err, EYE_E_ARG, "cross_entropy: smoothing %g is outside [0, 1)", (double)n->attr.smoothing);
    bool fits = is_per_row(target, z) && target->dtype == EYE_I32;
    return fits ? EYE_OK : bad(err, "cross_entropy wants targets [T] i32", z, target);
}
static enum eye_status eye_shape_cross_entropy(G *g, N *n, V *out, E *err) { return cross_entropy(g, n, 0, out, err); }
static enum eye_status eye_shape_cross_entropy_grad(G *g, N *n, V *out, E *err) { return cross_entropy(g, n, 1, out, err); }

static enum eye_status kl_rows(G *g, N *n, int first, V *out, E *err) {
    EYE_TRY(row_loss(g, n, first, out, err));
    if (!(n->attr.temp > 0)) return eye_fail(err, EYE_E_ARG, "kl_rows: temperature %g is not positive", (double)n->attr.temp);
    const struct eye_value *a = in(g, n, first), *b = in(g, n, first + 1);
    return same_dims(a, b) ? EYE_OK : bad(err, "kl_rows wants two of one shape", a, b);
}
static enum eye_status eye_shape_kl_rows(G *g, N *n, V *out, E *err) { return kl_rows(g, n, 0, out, err); }
static enum eye_status eye_shape_kl_rows_grad(G *g, N *n, V *out, E *err) { return kl_rows(g, n, 1, out, err); }

static enum eye_status kl_topk(G *g, N *n, int first, V *out, E *err) {
    EYE_TRY(row_loss(g, n, first, out, err));
    const struct eye_value *a = in(g, n, first), *ids = in(g, n, first + 1), *logp = in(g, n, first + 2);
    if (!(n->attr.temp > 0)) return eye_fail(err, EYE_E_ARG, "kl_topk: temperature %g is not positive", (double)n->attr.temp);
    if (ids->rank != 2 || ids->dims[0] != a->dims[0] || ids->dtype != EYE_I32)
        return bad(err, "kl_topk wants ids [T,K] i32", a, ids);
    return same_dims(ids, logp) ? EYE_OK : bad(err, "kl_topk wants one log-probability per id", ids, logp);
}
static enum eye_status eye_shape_kl_topk(G *g, N *n, V *out, E *err) { return kl_topk(g, n, 0, out, err); }
static enum eye_status eye_shape_kl_topk_grad(G *g, N *n, V *out, E *err) { return kl_topk(g, n, 1, out, err); }

static enum eye_status eye_shape_mse_rows(G *g, N *n, V *out, E *err) {
    const struct eye_value *a = in(g, n, 0), *b = in(g, n, 1);
    if (a->rank < 2 || last(a) < 1 || !same_dims(a, b)) return bad(err, "two of one shape [..,C] are wanted", a, b);
    out->rank = a->rank - 1;
    memcpy(out->dims, a->dims, (size_t)out->rank * sizeof out->dims[0]);
    return EYE_OK;
}
#define eye_shape_cosine_rows eye_shape_mse_rows

static enum eye_status eye_shape_mse_rows_grad(G *g, N *n, V *out, E *err) {
    const struct eye_value *d = in(g, n, 0), *a = in(g, n, 1), *b = in(g, n, 2);
    if (!same_dims(a, b) || !is_per_row(d, a)) return bad(err, "d [R] and two of one shape [..,C] are wanted", d, a);
    copy_shape(out, a);
    return EYE_OK;
}
#define eye_shape_cosine_rows_grad eye_shape_mse_rows_grad

static enum eye_status eye_shape_sum(G *g, N *n, V *out, E *err) { return vector(1, out); }

static enum eye_status eye_shape_scale(G *g, N *n, V *out, E *err) {
    copy_shape(out, in(g, n, 0));
    return EYE_OK;
}

static enum eye_status eye_shape_matmul(G *g, N *n, V *out, E *err) {
    const struct eye_value *a = in(g, n, 0), *b = in(g, n, 1);
    bool fits = a->rank >= 1 && b->rank >= 1;
    if (n->attr.ta)
        fits = fits && a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)(a->rank - 1) * sizeof a->dims[0]) == 0;
    else
        fits = fits && b->rank == 2 && last(a) == b->dims[0];
    if (!fits) return bad(err, "matmul: rows and columns do not fit", a, b);
    if (n->attr.ta) {
        out->rank = 2;
        out->dims[0] = last(a);
    } else {
        copy_shape(out, a);
    }
    out->dims[out->rank - 1] = last(b);
    return EYE_OK;
}

static enum eye_status eye_shape_sum_rows(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    if (x->rank < 1 || last(x) < 1) return bad(err, "sum_rows wants [..,C]", x, x);
    return vector(last(x), out);
}

static enum eye_status eye_shape_spread(G *g, N *n, V *out, E *err) {
    const struct eye_value *x = in(g, n, 0);
    from_attr(n, n->attr.rank, out);
    bool image = x->rank == 4 && out->rank == 4 && x->dims[0] == out->dims[0] && x->dims[1] == 1 && x->dims[2] == 1 &&
                 x->dims[3] == out->dims[3];
    return image || is_vector(x, 1) ? EYE_OK : bad(err, "spread wants [1] or [N,1,1,C]", x, out);
}

/* The convolution from x with w gives d: checked by the forward's rule. */
static enum eye_status check_conv(N *n, const struct eye_value *x, const struct eye_value *w, const struct eye_value *d, E *err) {
    const struct eye_attr *a = &n->attr;
    if (x->rank != 4 || w->rank != 4 || d->rank != 4 || a->stride < 1 || a->groups < 1)
        return bad(err, "conv2d's gradient", x, w);
    int64_t h = x->dims[1] + a->pad_top + a->pad_bottom - w->dims[2], wd = x->dims[2] + a->pad_left + a->pad_right - w->dims[3];
    bool fits = h >= 0 && wd >= 0 && d->dims[0] == x->dims[0] && d->dims[1] == h / a->stride + 1 &&
                d->dims[2] == wd / a->stride + 1 && d->dims[3] == w->dims[0] && w->dims[1] * a->groups == x->dims[3] && w->dims[0] % a->groups == 0;
    return fits ? EYE_OK : bad(err, "conv2d's gradient does not fit", x, d);
}

static enum eye_status eye_shape_conv2d_dx(G *g, N *n, V *out, E *err) {
    from_attr(n, 4, out);
    return check_conv(n, out, in(g, n, 1), in(g, n, 0), err);
}

static enum eye_status eye_shape_conv2d_dw(G *g, N *n, V *out, E *err) {
    from_attr(n, 4, out);
    return check_conv(n, in(g, n, 1), out, in(g, n, 0), err);
}

static enum eye_status eye_shape_bn_sums(G *g, N *n, V *out, E *err) {
    const struct eye_value *d = in(g, n, 0), *x = in(g, n, 1), *stats = in(g, n, 2);
    if (!same_dims(d, x) || !is_shape(stats, 2, (int64_t[]){2, last(x)})) return bad(err, "bn_sums", d, stats);
    copy_shape(out, stats);
    return EYE_OK;
}

static enum eye_status eye_shape_bn_dx(G *g, N *n, V *out, E *err) {
    const struct eye_value *d = in(g, n, 0), *stats = in(g, n, 1), *gamma = in(g, n, 2), *x = in(g, n, 3), *sums = in(g, n, 4);
    if (!is_shape(stats, 2, (int64_t[]){2, last(d)}) || !is_vector(gamma, last(d))) return bad(err, "bn_dx", d, stats);
    if ((x == NULL) != (sums == NULL) || (x && (!same_dims(x, d) || !same_dims(sums, stats))))
        return bad(err, "bn_dx: x and sums", d, stats);
    copy_shape(out, d);
    return EYE_OK;
}

static enum eye_status eye_shape_layer_norm_dx(G *g, N *n, V *out, E *err) {
    const struct eye_value *d = in(g, n, 0), *x = in(g, n, 1), *w = in(g, n, 2);
    if (!same_dims(d, x) || !is_vector(w, last(x))) return bad(err, "norm's gradient", d, x);
    copy_shape(out, d);
    return EYE_OK;
}
#define eye_shape_rms_norm_dx eye_shape_layer_norm_dx

static enum eye_status eye_shape_layer_norm_dw(G *g, N *n, V *out, E *err) {
    const struct eye_value *d = in(g, n, 0), *x = in(g, n, 1);
    if (x->rank < 1 || !same_dims(d, x)) return bad(err, "norm's gradient", d, x);
    return vector(last(x), out);
}
#define eye_shape_rms_norm_dw eye_shape_layer_norm_dw

static enum eye_status eye_shape_embed_grad(G *g, N *n, V *out, E *err) {
    const struct eye_value *d = in(g, n, 0), *ids = in(g, n, 1);
    from_attr(n, 2, out);
    bool fits = d->rank == 2 && ids->rank == 1 && ids->dtype == EYE_I32 && ids->dims[0] == d->dims[0] &&
                (out->dims[0] > 0 || out->dims[0] == EYE_DIM_T) && out->dims[1] == d->dims[1];
    return fits ? EYE_OK : bad(err, "embed_grad wants d [T,C] and ids [T] i32", d, ids);
}

static enum eye_status eye_shape_positions_grad(G *g, N *n, V *out, E *err) {
    const struct eye_value *d = in(g, n, 0);
    from_attr(n, 2, out);
    return d->rank == 2 && d->dims[0] == EYE_DIM_T && out->dims[0] > 0 && out->dims[1] == d->dims[1]
               ? EYE_OK : bad(err, "positions_grad wants d [T,C]", d, out);
}

static enum eye_status eye_shape_attention_grad(G *g, N *n, V *out, E *err) {
    struct eye_node forward = {.op = EYE_OP_attention, .n_in = 3, .in = {n->in[1], n->in[2], n->in[3]}, .attr = n->attr};
    const struct eye_value *d = in(g, n, 0), *q = in(g, n, 1), *k = in(g, n, 2);
    EYE_TRY(eye_shape_attention(g, &forward, out, err));
    if (!same_dims(d, out)) return bad(err, "attention_grad", d, q);
    out->dims[out->rank - 1] = (q->dims[q->rank - 2] + 2 * k->dims[k->rank - 2]) * q->dims[q->rank - 1];
    return EYE_OK;
}

static enum eye_status eye_shape_slice_grad(G *g, N *n, V *out, E *err) {
    const struct eye_value *d = in(g, n, 0);
    const struct eye_attr *a = &n->attr;
    if (a->axis < 0 || a->axis >= d->rank || a->begin < 0 || d->dims[a->axis] < 1 || a->begin > a->length - d->dims[a->axis])
        return eye_fail(err, EYE_E_ARG, "slice_grad: \"%s\" at %d of axis %d does not lie in %d", d->name, a->begin, a->axis,
                        a->length);
    copy_shape(out, d);
    out->dims[a->axis] = a->length;
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
