/* The fold pass: what is linear and constant at inference is multiplied out, each rule in double, rounded to f32 at its end.
 *
 *   batch_norm(conv(x))        t = g / sqrt(var + eps): W' = t W, b' = beta + (b - mean) t
 *   batch_norm(x)              depthwise 1x1 convolution with W = t, b = beta - mean t   (an image x that no conv made)
 *   mul(conv(x), s), s weight  W' = s W, b' = s b; matrices keep their data and take s as row_scale
 *   add/sub(conv(x), conv(x))  W' = W1 +- W2 on the larger kernel and the fewer groups, b' = b1 +- b2
 *   add(x, conv(x)), depthwise W' = W + E: E is 1 at the centre tap
 *   conv 1x1, stride 1         linear
 *
 * A rule rewrites the consumer's node in place, so its result keeps its value and tap name. A weight made here carries the
 * name of the first weight that went into it ("X.weight", its bias "X.bias"). Sources: MobileOne (arXiv 2206.04040), FastViT
 * (arXiv 2303.14189) re-parameterisation.
 */
#include "graph/graph_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct kernel { /* one convolution's weights in double */
    double *w;  /* [o][c][kh][kw], c = channels per group */
    double *b;  /* [o] */
    int64_t o, c, kh, kw;
    int32_t groups;
    const char *name;
};

struct fold {
    struct eye_graph *g;
    struct eye_arena tmp; /* cleared after each rewrite */
    struct eye_err *err;
    bool changed;
};

static enum eye_status no_memory(struct fold *f) { return eye_fail(f->err, EYE_E_NOMEM, "fold: out of memory"); }

static double *doubles(struct fold *f, int64_t n) {
    size_t bytes;
    if (n < 0 || !eye_mul_ok((size_t)n, sizeof(double), &bytes)) return NULL;
    return eye_arena_alloc(&f->tmp, bytes ? bytes : 1);
}

/* A weight value as doubles, row_scale applied. NULL = no memory. */
static double *read_weight(struct fold *f, eye_val v) {
    const struct eye_value *w = &f->g->value[v];
    int64_t row = 1;
    for (int i = 1; i < w->rank; i++) row *= w->dims[i];
    double *d = doubles(f, w->dims[0] * row);
    float *tmp = eye_arena_alloc(&f->tmp, (size_t)row * sizeof *tmp + 1);
    if (!d || !tmp) return NULL;
    for (int64_t r = 0; r < w->dims[0]; r++) {
        struct eye_value plain = *w;
        plain.row_scale = NULL;
        eye_weight_row(&plain, r, tmp);
        for (int64_t i = 0; i < row; i++) d[r * row + i] = (double)tmp[i] * (w->row_scale ? (double)w->row_scale[r] : 1.0);
    }
    return d;
}

/* A weight whose numbers stay: trainable ones are not folded. */
static bool is_constant(const struct fold *f, eye_val v) {
    return v != EYE_NONE && f->g->value[v].kind == EYE_VAL_WEIGHT && !f->g->value[v].trainable;
}
/* And are there: those of a compiled file may not be. */
static bool is_weight(const struct fold *f, eye_val v) { return is_constant(f, v) && f->g->value[v].data; }
static bool is_closed(const struct fold *f, eye_val v) {
    return v != EYE_NONE && f->g->value[v].kind == EYE_VAL_WEIGHT && !is_weight(f, v);
}

static enum eye_status read_kernel(struct fold *f, const struct eye_node *n, struct kernel *k) {
    const struct eye_value *w = &f->g->value[n->in[1]];
    *k = (struct kernel){.o = w->dims[0], .c = w->dims[1], .kh = w->dims[2], .kw = w->dims[3], .groups = n->attr.groups, .name = w->name};
    k->w = read_weight(f, n->in[1]);
    k->b = n->n_in > 2 && n->in[2] != EYE_NONE ? read_weight(f, n->in[2]) : doubles(f, k->o);
    return k->w && k->b ? EYE_OK : no_memory(f);
}

static eye_val store(struct fold *f, const double *d, int64_t n, int rank, const int64_t *dims, const char *name) {
    float *x = eye_arena_alloc(&f->g->arena, (size_t)n * sizeof *x + 1);
    if (!x) return EYE_NONE;
    for (int64_t i = 0; i < n; i++) x[i] = (float)d[i];
    struct eye_tensor t = {.data = x, .dtype = EYE_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    return eye_weight(f->g, name, &t);
}

/* "X.weight" -> "X.bias" */
static void bias_name(const char *weight, char *out, size_t cap) {
    size_t n = strlen(weight), s = strlen(".weight");
    if (n > s && strcmp(weight + n - s, ".weight") == 0) n -= s;
    snprintf(out, cap, "%.*s.bias", (int)EYE_MIN(n, cap - 8), weight);
}

/* Turns n into conv2d(x) with kernel k and the geometry of like. */
static enum eye_status become_conv(struct fold *f, struct eye_node *n, eye_val x, const struct kernel *k, const struct eye_attr *like) {
    char name[160];
    bias_name(k->name, name, sizeof name);
    eye_val w = store(f, k->w, k->o * k->c * k->kh * k->kw, 4, (int64_t[]){k->o, k->c, k->kh, k->kw}, k->name);
    eye_val b = store(f, k->b, k->o, 1, &k->o, name);
    if (w == EYE_NONE || b == EYE_NONE) return no_memory(f);
    while (n->n_in > 0) {
        n->n_in--;
        if (n->in[n->n_in] != EYE_NONE) f->g->value[n->in[n->n_in]].n_uses--;
        n->in[n->n_in] = EYE_NONE;
    }
    n->op = EYE_OP_conv2d;
    n->attr = *like;
    n->attr.groups = k->groups;
    eye_node_set_in(f->g, n, 0, x);
    eye_node_set_in(f->g, n, 1, w);
    eye_node_set_in(f->g, n, 2, b);
    f->changed = true;
    return EYE_OK;
}

/* The convolution with constant weights that makes v and feeds nobody else, or NULL. */
static struct eye_node *sole_conv(struct fold *f, eye_val v) {
    struct eye_node *p = eye_producer(f->g, v);
    if (!p || p->op != EYE_OP_conv2d || f->g->value[v].n_uses != 1 || p->attr.act != EYE_ACT_NONE || !is_weight(f, p->in[1]) ||
        (p->n_in > 2 && is_closed(f, p->in[2])))
        return NULL;
    return p;
}

static void kill_if_unused(struct fold *f, struct eye_node *n) {
    if (n->op != EYE_OP_DEAD && f->g->value[n->out].n_uses == 0) eye_node_kill(f->g, n);
}

static enum eye_status fold_batch_norm(struct fold *f, struct eye_node *n) {
    if (f->g->value[n->out].rank != 4) return EYE_OK;
    for (int i = 1; i < 5; i++)
        if (!is_weight(f, n->in[i])) return EYE_OK;
    const struct eye_node *p = eye_producer(f->g, n->in[0]);
    if (p && p->op == EYE_OP_conv2d && is_closed(f, p->in[1])) return EYE_OK; /* a convolution of its own would be no gain */
    double *g = read_weight(f, n->in[1]), *beta = read_weight(f, n->in[2]), *mean = read_weight(f, n->in[3]), *var = read_weight(f, n->in[4]);
    if (!g || !beta || !mean || !var) return no_memory(f);
    struct kernel k;
    struct eye_node *conv = sole_conv(f, n->in[0]);
    struct eye_attr like = {.stride = 1};
    eye_val x = n->in[0];
    if (conv) {
        EYE_TRY(read_kernel(f, conv, &k));
        like = conv->attr;
        x = conv->in[0];
    } else {
        k.o = f->g->value[n->out].dims[3];
        k.c = k.kh = k.kw = 1;
        k.groups = (int32_t)k.o;
        k.name = f->g->value[n->in[1]].name;
        k.w = doubles(f, k.o);
        k.b = doubles(f, k.o);
        if (!k.w || !k.b) return no_memory(f);
        for (int64_t o = 0; o < k.o; o++) k.w[o] = 1;
    }
    int64_t row = k.c * k.kh * k.kw;
    for (int64_t o = 0; o < k.o; o++) {
        double t = g[o] / sqrt(var[o] + (double)n->attr.eps);
        for (int64_t i = 0; i < row; i++) k.w[o * row + i] *= t;
        k.b[o] = beta[o] + (k.b[o] - mean[o]) * t;
    }
    EYE_TRY(become_conv(f, n, x, &k, &like));
    if (conv) kill_if_unused(f, conv);
    return EYE_OK;
}

/* mul(conv or linear, s): s goes into the rows. A matrix is not copied: s waits as row_scale. */
static enum eye_status fold_scale(struct fold *f, struct eye_node *n) {
    struct eye_graph *g = f->g;
    if (!is_weight(f, n->in[1]) || g->value[n->in[1]].rank != 1) return EYE_OK;
    struct eye_node *p = eye_producer(g, n->in[0]);
    if (!p || (p->op != EYE_OP_conv2d && p->op != EYE_OP_linear) || g->value[n->in[0]].n_uses != 1 || p->attr.act != EYE_ACT_NONE ||
        !is_weight(f, p->in[1]) || (p->n_in > 2 && is_closed(f, p->in[2])) || (p->op == EYE_OP_linear && p->n_in > 3))
        return EYE_OK;
    double *s = read_weight(f, n->in[1]);
    if (!s) return no_memory(f);
    struct eye_value w = g->value[p->in[1]];
    int64_t o = w.dims[0];
    float *scale = eye_arena_alloc(&g->arena, (size_t)o * sizeof *scale);
    if (!scale) return no_memory(f);
    for (int64_t i = 0; i < o; i++) scale[i] = (float)(s[i] * (w.row_scale ? (double)w.row_scale[i] : 1.0));
    eye_val b = EYE_NONE;
    if (p->n_in > 2 && p->in[2] != EYE_NONE) {
        double *old = read_weight(f, p->in[2]);
        if (!old) return no_memory(f);
        for (int64_t i = 0; i < o; i++) old[i] *= s[i];
        b = store(f, old, o, 1, &o, g->value[p->in[2]].name);
        if (b == EYE_NONE) return no_memory(f);
    }
    struct eye_tensor t = {.data = w.data, .dtype = w.dtype, .rank = w.rank};
    memcpy(t.dims, w.dims, sizeof t.dims);
    eye_val nw = eye_weight(g, w.name, &t);
    if (nw == EYE_NONE) return no_memory(f);
    g->value[nw].row_scale = scale;
    g->value[nw].transposed = w.transposed;
    eye_val x = p->in[0];
    struct eye_attr attr = p->attr;
    enum eye_op op = p->op;
    eye_node_set_in(g, n, 0, x);
    eye_node_set_in(g, n, 1, nw);
    if (b != EYE_NONE) eye_node_set_in(g, n, 2, b);
    n->op = op;
    n->attr = attr;
    kill_if_unused(f, p);
    f->changed = true;
    return EYE_OK;
}

/* dst += sign * src, src laid onto dst's larger kernel (centres meet) and fewer groups. */
static void add_kernel(struct kernel *dst, const struct kernel *src, double sign) {
    int64_t dy = (dst->kh - src->kh) / 2, dx = (dst->kw - src->kw) / 2;
    for (int64_t o = 0; o < src->o; o++) {
        int64_t from = o / (src->o / src->groups) * src->c;  /* first input channel the source reads */
        int64_t base = o / (dst->o / dst->groups) * dst->c;
        for (int64_t c = 0; c < src->c; c++)
            for (int64_t y = 0; y < src->kh; y++)
                for (int64_t x = 0; x < src->kw; x++)
                    dst->w[((o * dst->c + from + c - base) * dst->kh + y + dy) * dst->kw + x + dx] +=
                        sign * src->w[((o * src->c + c) * src->kh + y) * src->kw + x];
        dst->b[o] += sign * src->b[o];
    }
}

/* Do both convolutions look at the same pixels from the same centre? */
static bool same_geometry(const struct eye_node *a, const struct eye_node *b, const struct eye_value *wa, const struct eye_value *wb) {
    int64_t dy = wa->dims[2] - wb->dims[2], dx = wa->dims[3] - wb->dims[3];
    const struct eye_attr *p = &a->attr, *q = &b->attr;
    return p->stride == q->stride && wa->dims[0] == wb->dims[0] && dy % 2 == 0 && dx % 2 == 0 && p->pad_top - q->pad_top == dy / 2 &&
           p->pad_left - q->pad_left == dx / 2 && p->pad_bottom - q->pad_bottom == dy / 2 && p->pad_right - q->pad_right == dx / 2 &&
           (p->groups % q->groups == 0 || q->groups % p->groups == 0);
}

static enum eye_status fold_branches(struct fold *f, struct eye_node *n, struct eye_node *a, struct eye_node *b) {
    const struct eye_value *wa = &f->g->value[a->in[1]], *wb = &f->g->value[b->in[1]];
    if (a->in[0] != b->in[0] || !same_geometry(a, b, wa, wb)) return EYE_OK;
    struct kernel ka, kb, sum;
    EYE_TRY(read_kernel(f, a, &ka));
    EYE_TRY(read_kernel(f, b, &kb));
    sum = ka;
    sum.kh = EYE_MAX(ka.kh, kb.kh);
    sum.kw = EYE_MAX(ka.kw, kb.kw);
    sum.groups = EYE_MIN(ka.groups, kb.groups);
    sum.c = EYE_MAX(ka.c, kb.c);
    sum.w = doubles(f, sum.o * sum.c * sum.kh * sum.kw);
    sum.b = doubles(f, sum.o);
    if (!sum.w || !sum.b) return no_memory(f);
    add_kernel(&sum, &ka, 1);
    add_kernel(&sum, &kb, n->op == EYE_OP_sub ? -1 : 1);
    struct eye_attr like = ka.kh >= kb.kh ? a->attr : b->attr;
    EYE_TRY(become_conv(f, n, a->in[0], &sum, &like));
    kill_if_unused(f, a);
    kill_if_unused(f, b);
    return EYE_OK;
}

/* x + depthwise(x): the identity is one more tap. */
static enum eye_status fold_identity(struct fold *f, struct eye_node *n, struct eye_node *conv, eye_val x) {
    const struct eye_value *w = &f->g->value[conv->in[1]];
    const struct eye_attr *a = &conv->attr;
    if (conv->in[0] != x || a->stride != 1 || w->dims[0] != a->groups || w->dims[1] != 1 || w->dims[2] % 2 == 0 || w->dims[3] % 2 == 0 ||
        a->pad_top != w->dims[2] / 2 || a->pad_left != w->dims[3] / 2 || a->pad_bottom != a->pad_top || a->pad_right != a->pad_left)
        return EYE_OK;
    struct kernel k;
    EYE_TRY(read_kernel(f, conv, &k));
    for (int64_t o = 0; o < k.o; o++) k.w[(o * k.kh + k.kh / 2) * k.kw + k.kw / 2] += 1;
    struct eye_attr like = conv->attr;
    EYE_TRY(become_conv(f, n, x, &k, &like));
    kill_if_unused(f, conv);
    return EYE_OK;
}

static enum eye_status fold_sum(struct fold *f, struct eye_node *n) {
    struct eye_node *a = sole_conv(f, n->in[0]), *b = sole_conv(f, n->in[1]);
    if (a && b && a != b) return fold_branches(f, n, a, b);
    if (n->op != EYE_OP_add) return EYE_OK;
    if (b) return fold_identity(f, n, b, n->in[0]);
    if (a) return fold_identity(f, n, a, n->in[1]);
    return EYE_OK;
}

static enum eye_status fold_pointwise(struct fold *f, struct eye_node *n) {
    struct eye_value w = f->g->value[n->in[1]];
    const struct eye_attr *a = &n->attr;
    if (!is_constant(f, n->in[1]) || w.dims[2] != 1 || w.dims[3] != 1 || a->stride != 1 || a->groups != 1 || a->pad_top || a->pad_left ||
        a->pad_bottom || a->pad_right)
        return EYE_OK;
    struct eye_tensor t = {.data = w.data, .dtype = w.dtype, .rank = 2, .dims = {w.dims[0], w.dims[1]}};
    eye_val m = eye_weight(f->g, w.name, &t);
    if (m == EYE_NONE) return no_memory(f);
    f->g->value[m].row_scale = w.row_scale;
    eye_node_set_in(f->g, n, 1, m);
    n->op = EYE_OP_linear;
    n->attr = (struct eye_attr){.act = a->act, .wtype = a->wtype};
    return EYE_OK;
}

static enum eye_status fold_node(struct fold *f, struct eye_node *n) {
    switch (n->op) {
    case EYE_OP_batch_norm: return fold_batch_norm(f, n);
    case EYE_OP_mul: return fold_scale(f, n);
    case EYE_OP_add:
    case EYE_OP_sub: return fold_sum(f, n);
    default: return EYE_OK;
    }
}

enum eye_status eye_graph_fold(struct eye_graph *g, struct eye_err *err) {
    struct fold f = {.g = g, .err = err};
    enum eye_status st = EYE_OK;
    eye_arena_init(&f.tmp, g->alloc);
    do { /* nodes are in topological order: one sweep folds a whole branch tree, the next finds nothing */
        f.changed = false;
        for (size_t i = 0; i < g->n_nodes && st == EYE_OK; i++) {
            st = fold_node(&f, &g->node[i]);
            eye_arena_clear(&f.tmp);
        }
    } while (f.changed && st == EYE_OK);
    for (size_t i = 0; i < g->n_nodes && st == EYE_OK; i++)
        if (g->node[i].op == EYE_OP_conv2d) st = fold_pointwise(&f, &g->node[i]);
    eye_arena_clear(&f.tmp);
    return st == EYE_OK ? eye_graph_compact(g, err) : st;
}
